package authz_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/authz"
)

var update = flag.Bool("update", false, "write docs/condition-keys.md anew")

const (
	root    = "../.."
	keysDoc = root + "/docs/condition-keys.md"
)

// keysDocument is docs/condition-keys.md, as the rows have it.
func keysDocument() string {
	var b strings.Builder
	b.WriteString(`# Condition keys

What the conditions of a policy can ask a request for. Written from the rows in ` + "`identity/authz/conditionkeys.go`" + ` by
` + "`go test ./identity/authz -run ConditionKeys -update`" + `; a test compares them with what the code sets.

Names have no case. A name that ends in ` + "`/` or `:`" + ` stands for all that begin so: ` + "`aws:PrincipalTag/ward`" + `. Two tags that
differ only by case satisfy no operator. "several": the key may have several values, use ` + "`ForAllValues:` or `ForAnyValue:`" + `.
"recorded": the audit record of a denial may show the request's value, and with it ` + "`leadglass why`" + `.

| key | type | | recorded | operations | present when; value |
|---|---|---|---|---|---|
`)
	row := func(k authz.ConditionKey) {
		several, recorded := "", ""
		if k.Multi {
			several = "several"
		}
		if k.Recorded {
			recorded = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", k.Name, k.Kind, several, recorded, k.On, k.When)
	}
	for _, k := range authz.ConditionKeys {
		row(k)
	}
	row(authz.ProviderKeys)
	b.WriteString(`
## Always absent

Keys of AWS that no request has on this plane. A policy that asks for one is accepted, and the key is absent: an allow that
needs it does not allow. Mind negated operators (` + "`StringNotEquals`" + `) and ` + "`...IfExists`" + `, which hold for an absent key.

| key | why |
|---|---|
`)
	for _, k := range authz.AbsentKeys {
		fmt.Fprintf(&b, "| `%s` | %s |\n", k.Name, k.When)
	}
	return b.String()
}

func TestTheDocumentOfTheConditionKeysIsThatOfTheRows(t *testing.T) {
	want := keysDocument()
	if *update {
		if err := os.WriteFile(keysDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(keysDoc)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the rows say (%v): run this test with -update", keysDoc, err)
	}
	for _, rows := range [][]authz.ConditionKey{authz.ConditionKeys, authz.AbsentKeys} {
		if !slices.IsSortedFunc(rows, func(a, b authz.ConditionKey) int { return strings.Compare(a.Name, b.Name) }) {
			t.Error("the rows are not in the order of their names")
		}
	}
}

// sets finds the condition keys that the code sets, by the literals that it sets them with. Simulations and test cases
// set what they are told to.
var (
	sets = regexp.MustCompile(`\.(?:Set|Add)\("((?:aws|kms|iam|sts|s3|organizations|leadglass|ec2|cloudtrail):[^"]*)"`)
	// The subjects of service/kms get them in pairs.
	pairs   = regexp.MustCompile(`"(kms:[A-Z][A-Za-z]*)", (?:string|messageType)\(`)
	without = []string{"identity/authz", "identity/simulator", "identity/policy"}
)

func keysThatTheCodeSets(t *testing.T) map[string]string {
	found := map[string]string{}
	for _, dir := range []string{"identity", "service", "gate", "cryptography", "daemon", "operation"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(root, path)
			switch {
			case err != nil:
				return err
			case e.IsDir() && slices.Contains(without, filepath.ToSlash(rel)):
				return filepath.SkipDir
			case e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			text, err := os.ReadFile(path)
			for _, m := range append(sets.FindAllStringSubmatch(string(text), -1), pairs.FindAllStringSubmatch(string(text), -1)...) {
				found[m[1]] = rel
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) < 30 {
		t.Fatalf("only %d keys found: the test proves nothing", len(found))
	}
	return found
}

func TestEveryConditionKeyThatTheCodeSetsHasARow(t *testing.T) {
	set := keysThatTheCodeSets(t)
	for name, file := range set {
		if !slices.ContainsFunc(authz.ConditionKeys, func(k authz.ConditionKey) bool { return k.Name == name }) {
			t.Errorf("%s sets %s, which has no row in identity/authz/conditionkeys.go", file, name)
		}
	}
	for _, k := range authz.ConditionKeys {
		if _, ok := set[k.Name]; !ok {
			t.Errorf("%s has a row, and nothing sets it", k.Name)
		}
	}
	for _, k := range authz.AbsentKeys {
		for name, file := range set {
			if strings.HasPrefix(name, k.Name) {
				t.Errorf("%s sets %s, which is said to be absent", file, name)
			}
		}
	}
}

// The keys of policy-evaluation section 7: each is set, or known to be absent.
func TestEveryConditionKeyOfTheSpecificationIsAccountedFor(t *testing.T) {
	for name := range strings.FieldsSeq(`
aws:CurrentTime aws:EpochTime aws:RequestedRegion aws:SecureTransport aws:UserAgent aws:PrincipalType aws:PrincipalAccount aws:userid aws:ViaAWSService
aws:PrincipalIsAWSService aws:ResourceAccount aws:PrincipalArn aws:PrincipalOrgID aws:PrincipalOrgPaths aws:PrincipalTag/k aws:PrincipalServiceName
aws:PrincipalServiceNamesList aws:username aws:SourceIp aws:VpcSourceIp aws:SourceVpc aws:SourceVpce aws:TokenIssueTime aws:MultiFactorAuthPresent
aws:MultiFactorAuthAge aws:FederatedProvider aws:SourceIdentity aws:SourceArn aws:SourceAccount aws:SourceOrgID aws:SourceOrgPaths aws:CalledVia
aws:CalledViaFirst aws:CalledViaLast aws:RequestTag/k aws:TagKeys aws:ResourceTag/k aws:ResourceOrgID aws:ResourceOrgPaths aws:AssumedRoot
aws:ChatbotSourceArn ec2:SourceInstanceARN aws:Ec2InstanceSourceVpc aws:Ec2InstanceSourcePrivateIPv4 lambda:SourceFunctionArn ec2:RoleDelivery
sts:ExternalId sts:RoleSessionName sts:SourceIdentity sts:TransitiveTagKeys sts:DurationSeconds iam:PassedToService iam:AssociatedResourceArn iam:PolicyARN
iam:PermissionsBoundary iam:AWSServiceName iam:ResourceTag/k kms:ViaService kms:CallerAccount kms:EncryptionContext:k kms:EncryptionContextKeys
kms:GrantIsForAWSResource kms:GranteePrincipal kms:GrantOperations kms:RequestAlias kms:ResourceAliases kms:RecipientAttestation:ImageSha384
kms:RecipientAttestation:PCR0 kms:RecipientAttestation:PCR31 kms:KeySpec kms:KeyUsage kms:KeyOrigin kms:MultiRegion s3:prefix s3:x-amz-acl
s3:ExistingObjectTag/k leadglass:Custody leadglass:OriginSourceIp leadglass:OriginSourceVpce leadglass:OriginAgeSeconds`) {
		known := func(k authz.ConditionKey) bool {
			open := strings.HasSuffix(k.Name, "/") || strings.HasSuffix(k.Name, ":") || strings.HasSuffix(k.Name, ":PCR")
			return k.Name == name || open && strings.HasPrefix(name, k.Name)
		}
		if !slices.ContainsFunc(authz.ConditionKeys, known) && !slices.ContainsFunc(authz.AbsentKeys, known) {
			t.Errorf("%s is in no table", name)
		}
	}
}
