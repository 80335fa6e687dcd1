package directory

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/policy"
)

// AdministratorAccess is the ARN of the policy that the first user of every account gets.
const AdministratorAccess = "arn:aws:iam::aws:policy/AdministratorAccess"

// An operatorPolicy is a managed policy that comes with Leadglass and that
// customers can attach but not change. It has one version.
type operatorPolicy struct {
	arn, id, name, path, description string
	text                             string
	compiled                         *policy.Document
}

// operatorSince is the date of all operator-managed policies.
var operatorSince = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// read are the verbs by which AWS's services name what only looks.
const read = `"kms:Describe*", "kms:Get*", "kms:List*", "iam:Get*", "iam:List*", "iam:Generate*", "iam:Simulate*", "sts:GetCallerIdentity",
 "sts:GetAccessKeyInfo", "cloudtrail:Describe*", "cloudtrail:Get*", "cloudtrail:List*", "cloudtrail:LookupEvents",
 "ec2:Describe*", "ec2:Get*", "ebs:List*", "organizations:Describe*", "organizations:List*", "access-analyzer:Get*", "access-analyzer:List*"`

// operatorTexts are the operator-managed policies: path and name, description
// and document. The names are those of AWS, so that existing configurations
// find them; the documents are ours, for the services that there are.
var operatorTexts = [][3]string{
	{"/AdministratorAccess", "Everything.",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`},
	{"/PowerUserAccess", "Everything but users, roles, organisations and the account itself.",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"},` +
			`{"Effect":"Allow","Action":["iam:CreateServiceLinkedRole","iam:DeleteServiceLinkedRole","iam:ListRoles","organizations:DescribeOrganization","account:GetAccountInformation"],"Resource":"*"}]}`},
	{"/ReadOnlyAccess", "Looks at everything and changes nothing.",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[` + read + `,"s3:Get*","s3:List*","ebs:GetSnapshotBlock"],"Resource":"*"}]}`},
	{"/IAMFullAccess", "Everything about users, roles and policies.",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:*","organizations:DescribeAccount","organizations:DescribeOrganization","organizations:ListPoliciesForTarget"],"Resource":"*"}]}`},
	{"/IAMReadOnlyAccess", "Looks at users, roles and policies.",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:GenerateCredentialReport","iam:GenerateServiceLastAccessedDetails","iam:Get*","iam:List*","iam:SimulateCustomPolicy","iam:SimulatePrincipalPolicy"],"Resource":"*"}]}`},
	{"/AWSKeyManagementServicePowerUser", "Makes KMS keys and looks at them; what a key then does is for its key policy to say.",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:CreateAlias","kms:CreateKey","kms:DeleteAlias","kms:Describe*","kms:GenerateRandom","kms:Get*","kms:List*","kms:TagResource","kms:UntagResource","iam:ListGroups","iam:ListRoles","iam:ListUsers"],"Resource":"*"}]}`},
	{"/SecurityAudit", "Looks at the configuration of security, not at data.",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[` + read + `,"s3:GetBucket*","s3:GetEncryptionConfiguration","s3:GetAccountPublicAccessBlock","s3:ListAllMyBuckets"],"Resource":"*"}]}`},
	{"/job-function/ViewOnlyAccess", "Lists what there is, without looking into it.",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:List*","iam:List*","iam:GetAccountSummary","sts:GetCallerIdentity","cloudtrail:Describe*","cloudtrail:LookupEvents","ec2:Describe*","organizations:List*","access-analyzer:List*","s3:ListAllMyBuckets","s3:ListBucket"],"Resource":"*"}]}`},
}

// operatorPolicies compiles the operator-managed policies, by ARN.
func operatorPolicies() (map[string]*operatorPolicy, error) {
	all := make(map[string]*operatorPolicy, len(operatorTexts))
	for _, t := range operatorTexts {
		path, name := cutLast(t[0])
		p := &operatorPolicy{path: path + "/", name: name, description: t[1], text: t[2]}
		p.arn = arn.IAM("aws", PolicyKind.String(), p.path, p.name)
		doc, err := policy.Parse(policy.Identity, []byte(p.text))
		if err != nil {
			return nil, fmt.Errorf("directory: operator-managed policy %s: %w", p.name, err)
		}
		p.compiled = doc.Named(p.arn)
		// The same id on every installation, as the policies themselves are the same.
		h := sha256.Sum256([]byte(p.arn))
		p.id = "ANPA" + base32.StdEncoding.EncodeToString(h[:])[:17]
		all[p.arn] = p
	}
	return all, nil
}

// operatorOrder lists the ARNs in the order of the names.
func operatorOrder(all map[string]*operatorPolicy) []string {
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int { return strings.Compare(fold(all[a].name), fold(all[b].name)) })
}

// in is the exported form, with the uses in one account. Caller holds r.mu.
func (p *operatorPolicy) in(r *realm) Policy {
	return Policy{
		ARN: p.arn, ID: p.id, Name: p.name, Path: p.path, Description: p.description, DefaultVersion: p.version().ID,
		Attachments: len(r.users[p.arn]), BoundaryUses: len(r.bounded[p.arn]),
		Created: operatorSince, Updated: operatorSince, Managed: true,
	}
}

func (p *operatorPolicy) version() Version {
	return Version{ID: "v1", Document: p.text, Default: true, Created: operatorSince}
}
