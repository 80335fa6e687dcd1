package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestTerraformsOrganization drives the calls of the provider's resources
// aws_organizations_organization, _organizational_unit, _account, _policy and
// _policy_attachment in its order: create, read, update, delete.
func TestTerraformsOrganization(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	admin, management := newCustomer(t, p, "terraform")
	cfg := sdkConfig(t, admin)
	c := organizations.NewFromConfig(cfg)
	_, err := c.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
	refusedAs[*orgtypes.AWSOrganizationsNotInUseException](t, "before", err)

	// aws_organizations_organization
	made, err := c.CreateOrganization(ctx, &organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll})
	if err != nil {
		t.Fatal(err)
	}
	if made.Organization.FeatureSet != orgtypes.OrganizationFeatureSetAll || *made.Organization.MasterAccountId != management || made.Organization.MasterAccountEmail == nil {
		t.Errorf("organization %+v", made.Organization)
	}
	_, err = c.CreateOrganization(ctx, &organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll})
	refusedAs[*orgtypes.AlreadyInOrganizationException](t, "a second one", err)
	if _, err := c.EnableAWSServiceAccess(ctx, &organizations.EnableAWSServiceAccessInput{ServicePrincipal: aws.String("cloudtrail.amazonaws.com")}); err != nil {
		t.Fatal(err)
	}
	roots, err := c.ListRoots(ctx, &organizations.ListRootsInput{})
	if err != nil || len(roots.Roots) != 1 || len(roots.Roots[0].PolicyTypes) != 0 {
		t.Fatalf("roots %+v, %v", roots, err)
	}
	root := roots.Roots[0].Id
	enabled, err := c.EnablePolicyType(ctx, &organizations.EnablePolicyTypeInput{RootId: root, PolicyType: orgtypes.PolicyTypeServiceControlPolicy})
	if err != nil || enabled.Root.PolicyTypes[0].Status != orgtypes.PolicyTypeStatusEnabled {
		t.Fatalf("%+v, %v", enabled, err)
	}
	_, err = c.EnablePolicyType(ctx, &organizations.EnablePolicyTypeInput{RootId: root, PolicyType: orgtypes.PolicyTypeServiceControlPolicy})
	refusedAs[*orgtypes.PolicyTypeAlreadyEnabledException](t, "twice", err)
	_, err = c.EnablePolicyType(ctx, &organizations.EnablePolicyTypeInput{RootId: root, PolicyType: orgtypes.PolicyTypeTagPolicy})
	refusedAs[*orgtypes.PolicyTypeNotAvailableForOrganizationException](t, "a type that is not enforced", err)
	if d, err := c.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{}); err != nil || *d.Organization.Id != *made.Organization.Id {
		t.Errorf("%+v, %v", d, err)
	}
	if l, err := c.ListAccounts(ctx, &organizations.ListAccountsInput{}); err != nil || len(l.Accounts) != 1 || *l.Accounts[0].Id != management {
		t.Errorf("%+v, %v", l, err)
	}
	services, err := c.ListAWSServiceAccessForOrganization(ctx, &organizations.ListAWSServiceAccessForOrganizationInput{})
	if err != nil || len(services.EnabledServicePrincipals) != 1 {
		t.Errorf("services %+v, %v", services, err)
	}

	// aws_organizations_organizational_unit
	unit, err := c.CreateOrganizationalUnit(ctx, &organizations.CreateOrganizationalUnitInput{ParentId: root, Name: aws.String("wards"), Tags: []orgtypes.Tag{{Key: aws.String("team"), Value: aws.String("")}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateOrganizationalUnit(ctx, &organizations.CreateOrganizationalUnitInput{ParentId: root, Name: aws.String("wards")})
	refusedAs[*orgtypes.DuplicateOrganizationalUnitException](t, "a second of the name", err)
	ou := unit.OrganizationalUnit.Id
	if d, err := c.DescribeOrganizationalUnit(ctx, &organizations.DescribeOrganizationalUnitInput{OrganizationalUnitId: ou}); err != nil || *d.OrganizationalUnit.Name != "wards" {
		t.Errorf("%+v, %v", d, err)
	}
	if l, err := c.ListParents(ctx, &organizations.ListParentsInput{ChildId: ou}); err != nil || *l.Parents[0].Id != *root || l.Parents[0].Type != orgtypes.ParentTypeRoot {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := c.ListAccountsForParent(ctx, &organizations.ListAccountsForParentInput{ParentId: ou}); err != nil || len(l.Accounts) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := c.ListTagsForResource(ctx, &organizations.ListTagsForResourceInput{ResourceId: ou}); err != nil || len(l.Tags) != 1 || *l.Tags[0].Value != "" {
		t.Errorf("%+v, %v", l, err)
	}
	if u, err := c.UpdateOrganizationalUnit(ctx, &organizations.UpdateOrganizationalUnitInput{OrganizationalUnitId: ou, Name: aws.String("stations")}); err != nil || *u.OrganizationalUnit.Name != "stations" {
		t.Errorf("%+v, %v", u, err)
	}

	// aws_organizations_account
	order, err := c.CreateAccount(ctx, &organizations.CreateAccountInput{AccountName: aws.String("laboratory"), Email: aws.String("lab@hospital.example"), Tags: []orgtypes.Tag{{Key: aws.String("ward"), Value: aws.String("3")}}})
	if err != nil {
		t.Fatal(err)
	}
	status := order.CreateAccountStatus
	for end := time.Now().Add(10 * time.Second); status.State == orgtypes.CreateAccountStateInProgress && time.Now().Before(end); {
		d, err := c.DescribeCreateAccountStatus(ctx, &organizations.DescribeCreateAccountStatusInput{CreateAccountRequestId: order.CreateAccountStatus.Id})
		if err != nil {
			t.Fatal(err)
		}
		status = d.CreateAccountStatus
	}
	if status.State != orgtypes.CreateAccountStateSucceeded {
		t.Fatalf("creation %+v", status)
	}
	account := status.AccountId
	if _, err := c.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: account, SourceParentId: root, DestinationParentId: ou}); err != nil {
		t.Fatal(err)
	}
	d, err := c.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: account})
	if err != nil || *d.Account.Email != "lab@hospital.example" || *d.Account.Name != "laboratory" || d.Account.JoinedMethod != orgtypes.AccountJoinedMethodCreated || d.Account.State != orgtypes.AccountStateActive {
		t.Errorf("%+v, %v", d, err)
	}
	again, err := c.CreateAccount(ctx, &organizations.CreateAccountInput{AccountName: aws.String("second"), Email: aws.String("LAB@hospital.example")})
	if err != nil || again.CreateAccountStatus.State != orgtypes.CreateAccountStateFailed || again.CreateAccountStatus.FailureReason != orgtypes.CreateAccountFailureReasonEmailAlreadyExists {
		t.Errorf("a second account of one address: %+v, %v", again, err)
	}

	// The management account gets in by the role, and nobody by a code.
	entry, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + *account + ":role/OrganizationAccountAccessRole"), RoleSessionName: aws.String("tf")})
	if err != nil {
		t.Fatal(err)
	}
	inside := sdkConfig(t, newClient(profile{Region: admin.Region, Endpoint: admin.Endpoint, AccessKeyID: *entry.Credentials.AccessKeyId, SecretAccessKey: *entry.Credentials.SecretAccessKey, Session: *entry.Credentials.SessionToken}))
	key, err := kms.NewFromConfig(inside).CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}

	// aws_organizations_policy and _policy_attachment
	content := guardrail("kms:ScheduleKeyDeletion")
	policy, err := c.CreatePolicy(ctx, &organizations.CreatePolicyInput{Name: aws.String("keep keys"), Description: aws.String("d"), Content: &content, Type: orgtypes.PolicyTypeServiceControlPolicy})
	if err != nil {
		t.Fatal(err)
	}
	id := policy.Policy.PolicySummary.Id
	if _, err := c.AttachPolicy(ctx, &organizations.AttachPolicyInput{PolicyId: id, TargetId: ou}); err != nil {
		t.Fatal(err)
	}
	_, err = c.AttachPolicy(ctx, &organizations.AttachPolicyInput{PolicyId: id, TargetId: ou})
	refusedAs[*orgtypes.DuplicatePolicyAttachmentException](t, "twice", err)
	on, err := c.ListPoliciesForTarget(ctx, &organizations.ListPoliciesForTargetInput{TargetId: ou, Filter: orgtypes.PolicyTypeServiceControlPolicy})
	if err != nil || len(on.Policies) != 2 {
		t.Errorf("%+v, %v", on, err)
	}
	if l, err := c.ListTargetsForPolicy(ctx, &organizations.ListTargetsForPolicyInput{PolicyId: id}); err != nil || len(l.Targets) != 1 || l.Targets[0].Type != orgtypes.TargetTypeOrganizationalUnit {
		t.Errorf("%+v, %v", l, err)
	}
	_, err = kms.NewFromConfig(inside).ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key.KeyMetadata.Arn})
	deniedBy(t, "under the guardrail", err, *id)
	softer := guardrail("kms:DisableKey")
	if u, err := c.UpdatePolicy(ctx, &organizations.UpdatePolicyInput{PolicyId: id, Content: &softer, Description: aws.String("")}); err != nil || *u.Policy.PolicySummary.Description != "" || *u.Policy.Content != softer {
		t.Errorf("%+v, %v", u, err)
	}
	_, err = kms.NewFromConfig(inside).DisableKey(ctx, &kms.DisableKeyInput{KeyId: key.KeyMetadata.Arn})
	deniedBy(t, "under the guardrail as it is now", err, *id)
	bad := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:*","Principal":"*","Resource":"*"}]}`
	_, err = c.UpdatePolicy(ctx, &organizations.UpdatePolicyInput{PolicyId: id, Content: &bad})
	refusedAs[*orgtypes.MalformedPolicyDocumentException](t, "a principal in an SCP", err)
	if _, err := c.DetachPolicy(ctx, &organizations.DetachPolicyInput{PolicyId: id, TargetId: ou}); err != nil {
		t.Error(err)
	}
	if _, err := c.DeletePolicy(ctx, &organizations.DeletePolicyInput{PolicyId: id}); err != nil {
		t.Error(err)
	}
	_, err = c.DescribePolicy(ctx, &organizations.DescribePolicyInput{PolicyId: id})
	refusedAs[*orgtypes.PolicyNotFoundException](t, "a deleted policy", err)

	// Destroyed in reverse order; the account is closed, as close_on_deletion asks.
	_, err = c.DeleteOrganizationalUnit(ctx, &organizations.DeleteOrganizationalUnitInput{OrganizationalUnitId: ou})
	refusedAs[*orgtypes.OrganizationalUnitNotEmptyException](t, "a unit with an account", err)
	if _, err := c.CloseAccount(ctx, &organizations.CloseAccountInput{AccountId: account}); err != nil {
		t.Fatal(err)
	}
	_, err = kms.NewFromConfig(inside).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.KeyMetadata.Arn})
	refusedWith(t, "a session of a closed account", err, "UnrecognizedClientException")
	_, err = sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + *account + ":role/OrganizationAccountAccessRole"), RoleSessionName: aws.String("tf")})
	refusedWith(t, "a role of a closed account", err, "AccessDenied")
	if d, err := c.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: account}); err != nil || d.Account.State != orgtypes.AccountStateSuspended {
		t.Errorf("%+v, %v", d, err)
	}
	_, err = c.CloseAccount(ctx, &organizations.CloseAccountInput{AccountId: account})
	refusedAs[*orgtypes.AccountAlreadyClosedException](t, "twice", err)
	if _, err := c.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: account, SourceParentId: ou, DestinationParentId: root}); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteOrganizationalUnit(ctx, &organizations.DeleteOrganizationalUnitInput{OrganizationalUnitId: ou}); err != nil {
		t.Error(err)
	}
	_, err = c.DescribeOrganizationalUnit(ctx, &organizations.DescribeOrganizationalUnitInput{OrganizationalUnitId: ou})
	refusedAs[*orgtypes.OrganizationalUnitNotFoundException](t, "a deleted unit", err)
	_, err = c.DeleteOrganization(ctx, &organizations.DeleteOrganizationInput{})
	refusedAs[*orgtypes.OrganizationNotEmptyException](t, "an organization with a member", err)
}

func TestTheAWSCLIManagesAnOrganization(t *testing.T) {
	tool := need(t, "aws", "--version")
	p := sharedPlane(t)
	admin, management := newCustomer(t, p, "by hand")
	call := func(args ...string) (string, error) {
		cmd := exec.Command(tool, append([]string{"--endpoint-url", p.url, "--output", "text"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+admin.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+admin.SecretAccessKey, "AWS_REGION=us-east-1",
			"AWS_DEFAULT_REGION=us-east-1", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			return out.String(), errors.New(strings.TrimSpace(errs.String()))
		}
		return strings.TrimSpace(out.String()), nil
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := call(append([]string{"organizations"}, args...)...)
		if err != nil {
			t.Fatalf("aws organizations %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	if out := must("create-organization", "--query", "Organization.MasterAccountId"); out != management {
		t.Errorf("management account %q", out)
	}
	root := must("list-roots", "--query", "Roots[0].Id")
	must("enable-policy-type", "--root-id", root, "--policy-type", "SERVICE_CONTROL_POLICY")
	unit := must("create-organizational-unit", "--parent-id", root, "--name", "wards", "--tags", "Key=a,Value=b", "--query", "OrganizationalUnit.Id")
	account := must("create-account", "--account-name", "ward", "--email", "ward@hospital.example", "--query", "CreateAccountStatus.AccountId")
	must("move-account", "--account-id", account, "--source-parent-id", root, "--destination-parent-id", unit)
	policy := must("create-policy", "--type", "SERVICE_CONTROL_POLICY", "--name", "guard", "--description", "", "--content", guardrail("kms:*"), "--query", "Policy.PolicySummary.Id")
	must("attach-policy", "--policy-id", policy, "--target-id", unit)
	if out := must("list-policies-for-target", "--target-id", unit, "--filter", "SERVICE_CONTROL_POLICY", "--query", "length(Policies)"); out != "2" {
		t.Errorf("%s policies", out)
	}
	if out := must("list-children", "--parent-id", unit, "--child-type", "ACCOUNT", "--query", "Children[0].Id"); out != account {
		t.Errorf("child %q", out)
	}
	if _, err := call("organizations", "delete-organizational-unit", "--organizational-unit-id", unit); err == nil || !strings.Contains(err.Error(), "(OrganizationalUnitNotEmptyException)") {
		t.Errorf("a unit with an account: %v", err)
	}
}
