package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
)

// newCustomer opens an account as the operator and redeems its code.
func newCustomer(t *testing.T, p *plane, name string) (*client, string) {
	t.Helper()
	operator, err := operatorClient(p.data, "operator")
	if err != nil {
		t.Fatal(err)
	}
	created, err := createAccount(t.Context(), operator, name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := redeem(t.Context(), p.url, operator.Region, created.EnrolmentCode)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(profile{Name: name, Region: operator.Region, Endpoint: p.url, AccessKeyID: r.AccessKeyId, SecretAccessKey: r.SecretAccessKey}), r.AccountId
}

// anOrganization is a management account and its organization, with both
// types of policies in force.
type anOrganization struct {
	*organizations.Client
	cfg        aws.Config
	management string
	id, root   string
}

func newOrganization(t *testing.T, p *plane, name string) *anOrganization {
	t.Helper()
	c, account := newCustomer(t, p, name)
	cfg := sdkConfig(t, c)
	o := &anOrganization{Client: organizations.NewFromConfig(cfg), cfg: cfg, management: account}
	created, err := o.CreateOrganization(t.Context(), &organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll})
	if err != nil {
		t.Fatal(err)
	}
	o.id = *created.Organization.Id
	roots, err := o.ListRoots(t.Context(), &organizations.ListRootsInput{})
	if err != nil || len(roots.Roots) != 1 {
		t.Fatalf("roots %+v, %v", roots, err)
	}
	o.root = *roots.Roots[0].Id
	for _, kind := range []orgtypes.PolicyType{orgtypes.PolicyTypeServiceControlPolicy, orgtypes.PolicyTypeResourceControlPolicy} {
		if _, err := o.EnablePolicyType(t.Context(), &organizations.EnablePolicyTypeInput{RootId: &o.root, PolicyType: kind}); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func (o *anOrganization) unit(t *testing.T, parent, name string) string {
	t.Helper()
	u, err := o.CreateOrganizationalUnit(t.Context(), &organizations.CreateOrganizationalUnitInput{ParentId: &parent, Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	return *u.OrganizationalUnit.Id
}

func (o *anOrganization) policy(t *testing.T, kind orgtypes.PolicyType, name, text string) string {
	t.Helper()
	p, err := o.CreatePolicy(t.Context(), &organizations.CreatePolicyInput{Type: kind, Name: &name, Description: aws.String(""), Content: &text})
	if err != nil {
		t.Fatal(err)
	}
	return *p.Policy.PolicySummary.Id
}

func (o *anOrganization) attach(t *testing.T, policy, target string) {
	t.Helper()
	if _, err := o.AttachPolicy(t.Context(), &organizations.AttachPolicyInput{PolicyId: &policy, TargetId: &target}); err != nil {
		t.Fatal(err)
	}
}

func (o *anOrganization) detach(t *testing.T, policy, target string) {
	t.Helper()
	if _, err := o.DetachPolicy(t.Context(), &organizations.DetachPolicyInput{PolicyId: &policy, TargetId: &target}); err != nil {
		t.Fatal(err)
	}
}

// invite makes an existing account a member by its own consent.
func (o *anOrganization) invite(t *testing.T, account string, member *organizations.Client) {
	t.Helper()
	h, err := o.InviteAccountToOrganization(t.Context(), &organizations.InviteAccountToOrganizationInput{
		Target: &orgtypes.HandshakeParty{Id: &account, Type: orgtypes.HandshakePartyTypeAccount}, Notes: aws.String("join us"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.AcceptHandshake(t.Context(), &organizations.AcceptHandshakeInput{HandshakeId: h.Handshake.Id}); err != nil {
		t.Fatal(err)
	}
}

// A guardrail is the policy that denies actions.
func guardrail(actions ...string) string {
	return `{"Version":"2012-10-17","Statement":[{"Sid":"Guardrail","Effect":"Deny","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"*"}]}`
}

// deniedBy expects the refusal that names a policy.
func deniedBy(t *testing.T, what string, err error, policy string) {
	t.Helper()
	refusedWith(t, what, err, "AccessDeniedException")
	if err != nil && !strings.Contains(err.Error(), policy) {
		t.Errorf("%s: %v does not name %s", what, err, policy)
	}
}

func TestAGuardrailHoldsAtEachOfFiveLevelsForTheMembersOwnAdministrator(t *testing.T) {
	p := sharedPlane(t)
	o := newOrganization(t, p, "five levels")
	member, account := newCustomer(t, p, "deep")
	cfg := sdkConfig(t, member)
	own, keys := organizations.NewFromConfig(cfg), kms.NewFromConfig(cfg)
	o.invite(t, account, own)
	ctx := t.Context()

	levels, parent := []string{o.root}, o.root
	for i := range 5 {
		parent = o.unit(t, parent, fmt.Sprintf("level %d", i+1))
		levels = append(levels, parent)
	}
	_, err := o.CreateOrganizationalUnit(ctx, &organizations.CreateOrganizationalUnitInput{ParentId: &parent, Name: aws.String("too deep")})
	refusedAs[*orgtypes.ConstraintViolationException](t, "a sixth level", err)
	if _, err := o.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: &account, SourceParentId: &o.root, DestinationParentId: &parent}); err != nil {
		t.Fatal(err)
	}
	deny := o.policy(t, orgtypes.PolicyTypeServiceControlPolicy, "no keys", guardrail("kms:CreateKey", "organizations:LeaveOrganization"))
	list := func() error { _, err := keys.ListKeys(ctx, &kms.ListKeysInput{}); return err }
	create := func() error { _, err := keys.CreateKey(ctx, &kms.CreateKeyInput{}); return err }
	if err := create(); err != nil {
		t.Fatalf("without a guardrail: %v", err)
	}
	for i, target := range append(levels, account) {
		o.attach(t, deny, target)
		deniedBy(t, fmt.Sprintf("level %d", i), create(), "with an explicit deny in a service control policy: arn:aws:organizations::"+o.management+":policy/"+o.id+"/service_control_policy/"+deny)
		if err := list(); err != nil {
			t.Errorf("level %d: what the guardrail does not speak of: %v", i, err)
		}
		_, err := own.LeaveOrganization(ctx, &organizations.LeaveOrganizationInput{})
		deniedBy(t, "leaving", err, deny)
		_, err = own.DetachPolicy(ctx, &organizations.DetachPolicyInput{PolicyId: &deny, TargetId: &target})
		refusedWith(t, "the member takes the guardrail off", err, "AccessDeniedException")
		o.detach(t, deny, target)
		if err := create(); err != nil {
			t.Errorf("level %d: after detaching: %v", i, err)
		}
	}

	// A level without an allow denies what is below it.
	only := o.policy(t, orgtypes.PolicyTypeServiceControlPolicy, "only reading", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:List*","kms:Describe*"],"Resource":"*"}]}`)
	o.attach(t, only, levels[3])
	o.detach(t, "p-FullAWSAccess", levels[3])
	deniedBy(t, "what no policy of a level allows", create(), "because no service control policy allows the kms:CreateKey action")
	if err := list(); err != nil {
		t.Error(err)
	}
	_, err = o.DetachPolicy(ctx, &organizations.DetachPolicyInput{PolicyId: &only, TargetId: &levels[3]})
	refusedAs[*orgtypes.ConstraintViolationException](t, "the last policy of a target", err)
	_, err = o.DeletePolicy(ctx, &organizations.DeletePolicyInput{PolicyId: &only})
	refusedAs[*orgtypes.PolicyInUseException](t, "a policy in use", err)

	// The management account is exempt, wherever the policy hangs.
	o.attach(t, deny, o.root)
	if _, err := kms.NewFromConfig(o.cfg).CreateKey(ctx, &kms.CreateKeyInput{}); err != nil {
		t.Errorf("the management account: %v", err)
	}
}

func TestMovingAnAccountChangesWhatAppliesBeforeTheCallReturns(t *testing.T) {
	p := sharedPlane(t)
	o := newOrganization(t, p, "movers")
	member, account := newCustomer(t, p, "moved")
	cfg := sdkConfig(t, member)
	keys := kms.NewFromConfig(cfg)
	o.invite(t, account, organizations.NewFromConfig(cfg))
	strict, free := o.unit(t, o.root, "strict"), o.unit(t, o.root, "free")
	o.attach(t, o.policy(t, orgtypes.PolicyTypeServiceControlPolicy, "nothing listed", guardrail("kms:ListKeys")), strict)
	ctx := t.Context()

	// Others keep asking meanwhile, so that what is cached is warm.
	stop, done := context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for stop.Err() == nil {
			_, _ = keys.ListKeys(stop, &kms.ListKeysInput{})
		}
	}()
	at := o.root
	for i := range 20 {
		to := strict
		if i%2 == 1 {
			to = free
		}
		if _, err := o.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: &account, SourceParentId: &at, DestinationParentId: &to}); err != nil {
			t.Fatal(err)
		}
		at = to
		_, err := keys.ListKeys(ctx, &kms.ListKeysInput{})
		if denied := err != nil; denied != (to == strict) {
			t.Fatalf("move %d: under %s: %v", i, to, err)
		}
	}
	done()
	<-asked
	_, err := o.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: &account, SourceParentId: &o.root, DestinationParentId: &strict})
	refusedAs[*orgtypes.SourceParentNotFoundException](t, "from where it is not", err)
}

func TestAResourceControlPolicyClosesKeysAndRolesToStrangers(t *testing.T) {
	p := sharedPlane(t)
	o := newOrganization(t, p, "perimeter")
	ours, account := newCustomer(t, p, "ours")
	stranger, strange := newCustomer(t, p, "stranger")
	cfg, other := sdkConfig(t, ours), sdkConfig(t, stranger)
	o.invite(t, account, organizations.NewFromConfig(cfg))
	ctx := t.Context()

	// The owner lets a stranger in, by the key's policy and by a role's.
	both := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::%s:root","arn:aws:iam::%s:root"]},"Action":"kms:*","Resource":"*"}]}`, account, strange)
	key, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{Policy: &both})
	if err != nil {
		t.Fatal(err)
	}
	trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"sts:AssumeRole"}]}`, strange)
	role, err := iam.NewFromConfig(cfg).CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("visitor"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	use := func() error {
		_, err := kms.NewFromConfig(other).Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.Arn, Plaintext: []byte("x")})
		return err
	}
	assume := func() error {
		_, err := sts.NewFromConfig(other).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("visit")})
		return err
	}
	if err := use(); err != nil {
		t.Fatalf("before the perimeter: %v", err)
	}
	if err := assume(); err != nil {
		t.Fatalf("before the perimeter: %v", err)
	}
	perimeter := o.policy(t, orgtypes.PolicyTypeResourceControlPolicy, "perimeter", `{"Version":"2012-10-17","Statement":[{"Sid":"OursOnly","Effect":"Deny","Principal":"*",
		"Action":["kms:*","sts:AssumeRole"],"Resource":"*","Condition":{"StringNotEqualsIfExists":{"aws:PrincipalOrgID":"`+o.id+`"},"BoolIfExists":{"aws:PrincipalIsAWSService":"false"}}}]}`)
	o.attach(t, perimeter, o.root)
	refusedWith(t, "a stranger uses the key", use(), "AccessDeniedException")
	if err := use(); err != nil && strings.Contains(err.Error(), "resource control policy") {
		t.Errorf("a stranger is told why: %v", err)
	}
	refusedWith(t, "a stranger takes the role", assume(), "AccessDenied")
	if _, err := kms.NewFromConfig(cfg).Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.Arn, Plaintext: []byte("x")}); err != nil {
		t.Errorf("the owner: %v", err)
	}

	// As a member of the same organization the stranger is one no longer.
	o.invite(t, strange, organizations.NewFromConfig(other))
	if err := use(); err != nil {
		t.Errorf("a member: %v", err)
	}
	if err := assume(); err != nil {
		t.Errorf("a member: %v", err)
	}
	// An SCP can tell resources of the organization from others.
	outside := o.policy(t, orgtypes.PolicyTypeServiceControlPolicy, "not within", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:Encrypt","Resource":"*","Condition":{
		"StringEquals":{"aws:ResourceOrgID":"`+o.id+`","aws:ResourceAccount":"`+account+`"},"ForAnyValue:StringLike":{"aws:ResourceOrgPaths":"`+o.id+`/*"}}}]}`)
	o.attach(t, outside, strange)
	deniedBy(t, "a resource of the organization", use(), outside)
	o.detach(t, outside, strange)
	if err := use(); err != nil {
		t.Error(err)
	}

	// What a key says or whether it is there is not told inside of an organization either.
	private, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{Tags: []kmstypes.Tag{{TagKey: aws.String("ward"), TagValue: aws.String("3")}}})
	if err != nil {
		t.Fatal(err)
	}
	there := *private.KeyMetadata.Arn
	missing := there[:len(there)-12] + "000000000000"
	alike := func(when string) {
		t.Helper()
		say := func(key string) string {
			_, err := kms.NewFromConfig(other).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
			refusedWith(t, when, err, "AccessDeniedException")
			return strings.ReplaceAll(err.Error()[strings.Index(err.Error(), "api error"):], key, "KEY")
		}
		if a, b := say(there), say(missing); a != b {
			t.Errorf("%s:\n%s\n%s", when, a, b)
		}
	}
	alike("nobody allows")
	if _, err := iam.NewFromConfig(other).PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("administrator"), PolicyName: aws.String("probe"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:DescribeKey","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/ward":"3"}}}]}`)}); err != nil {
		t.Fatal(err)
	}
	alike("a policy of the caller's that probes for tags")
	probe := o.policy(t, orgtypes.PolicyTypeServiceControlPolicy, "no describing", guardrail("kms:DescribeKey"))
	o.attach(t, probe, strange)
	alike("an SCP denies")
	o.detach(t, probe, strange)

	_, err = o.DetachPolicy(ctx, &organizations.DetachPolicyInput{PolicyId: aws.String("p-RCPFullAWSAccess"), TargetId: &o.root})
	refusedAs[*orgtypes.InvalidInputException](t, "detaching RCPFullAWSAccess", err)

	// And of the organization's path, which conditions can name.
	o.detach(t, perimeter, o.root)
	unit := o.unit(t, o.root, "research")
	if _, err := o.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: &strange, SourceParentId: &o.root, DestinationParentId: &unit}); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:Encrypt","Resource":"*","Condition":{"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"%s/%s/%s/*"}}}]}`, account, o.id, o.root, unit)
	if _, err := kms.NewFromConfig(cfg).PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyMetadata.Arn, Policy: &path}); err != nil {
		t.Fatal(err)
	}
	if err := use(); err != nil {
		t.Errorf("by the path of its unit: %v", err)
	}
	if _, err := o.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: &strange, SourceParentId: &unit, DestinationParentId: &o.root}); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, "elsewhere in the organization", use(), "AccessDeniedException")
}

func TestRootSessionsOfAMemberAreHeldToTheirTask(t *testing.T) {
	p := sharedPlane(t)
	o := newOrganization(t, p, "root tasks")
	member, account := newCustomer(t, p, "rooted")
	cfg := sdkConfig(t, member)
	o.invite(t, account, organizations.NewFromConfig(cfg))
	ctx := t.Context()
	users, tokens := iam.NewFromConfig(o.cfg), sts.NewFromConfig(o.cfg)
	audit := &ststypes.PolicyDescriptorType{Arn: aws.String("arn:aws:iam::aws:policy/root-task/IAMAuditRootUserCredentials")}
	assume := func() (*sts.AssumeRootOutput, error) {
		return tokens.AssumeRoot(ctx, &sts.AssumeRootInput{TargetPrincipal: &account, TaskPolicyArn: audit})
	}
	_, err := assume()
	refusedWith(t, "before the feature is on", err, "AccessDenied")
	_, err = users.EnableOrganizationsRootSessions(ctx, &iam.EnableOrganizationsRootSessionsInput{})
	refusedAs[*iamtypes.ServiceAccessNotEnabledException](t, "before trusted access", err)
	if _, err := o.EnableAWSServiceAccess(ctx, &organizations.EnableAWSServiceAccessInput{ServicePrincipal: aws.String("iam.amazonaws.com")}); err != nil {
		t.Fatal(err)
	}
	on, err := users.EnableOrganizationsRootSessions(ctx, &iam.EnableOrganizationsRootSessionsInput{})
	if err != nil || !slices.Contains(on.EnabledFeatures, iamtypes.FeatureTypeRootSessions) || *on.OrganizationId != o.id {
		t.Fatalf("%+v, %v", on, err)
	}
	_, err = iam.NewFromConfig(cfg).EnableOrganizationsRootSessions(ctx, &iam.EnableOrganizationsRootSessionsInput{})
	refusedAs[*iamtypes.AccountNotManagementOrDelegatedAdministratorException](t, "a member", err)
	_, err = sts.NewFromConfig(cfg).AssumeRoot(ctx, &sts.AssumeRootInput{TargetPrincipal: &o.management, TaskPolicyArn: audit})
	refusedWith(t, "a member takes the management account's root", err, "AccessDenied")
	_, err = tokens.AssumeRoot(ctx, &sts.AssumeRootInput{TargetPrincipal: &account, TaskPolicyArn: &ststypes.PolicyDescriptorType{Arn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")}})
	refusedWith(t, "a policy that is no task", err, "ValidationError")

	got, err := assume()
	if err != nil {
		t.Fatal(err)
	}
	c := got.Credentials
	root := sdkConfig(t, newClient(profile{Region: member.Region, Endpoint: member.Endpoint, AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, Session: *c.SessionToken}))
	who, err := sts.NewFromConfig(root).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws:iam::"+account+":root" || *who.UserId != account {
		t.Errorf("%+v, %v", who, err)
	}
	if keys, err := iam.NewFromConfig(root).ListAccessKeys(ctx, &iam.ListAccessKeysInput{}); err != nil || len(keys.AccessKeyMetadata) != 0 {
		t.Errorf("%+v, %v", keys, err)
	}
	_, err = iam.NewFromConfig(root).ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: aws.String("administrator")})
	refusedWith(t, "somebody else's keys", err, "AccessDenied")
	_, err = iam.NewFromConfig(root).CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("backdoor")})
	refusedWith(t, "beyond the task", err, "AccessDenied")
	// The default key policy names the account's root: it does not mean who borrows it.
	key, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = kms.NewFromConfig(root).Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.Arn, Plaintext: []byte("x")})
	refusedWith(t, "the member's key", err, "AccessDeniedException")

	// A role that may have this task and no other; the session ends with the role.
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + o.management + `"},"Action":"sts:AssumeRole"}]}`
	role, err := users.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("auditor"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	only := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoot","Resource":"arn:aws:iam::` + account + `:root","Condition":{"StringEquals":{"sts:TaskPolicyArn":"` + *audit.Arn + `"}}}]}`
	if _, err := users.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("auditor"), PolicyName: aws.String("p"), PolicyDocument: &only}); err != nil {
		t.Fatal(err)
	}
	as, err := tokens.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("audit")})
	if err != nil {
		t.Fatal(err)
	}
	auditor := sts.NewFromConfig(sdkConfig(t, newClient(profile{Region: member.Region, Endpoint: member.Endpoint, AccessKeyID: *as.Credentials.AccessKeyId, SecretAccessKey: *as.Credentials.SecretAccessKey, Session: *as.Credentials.SessionToken})))
	_, err = auditor.AssumeRoot(ctx, &sts.AssumeRootInput{TargetPrincipal: &account, TaskPolicyArn: &ststypes.PolicyDescriptorType{Arn: aws.String("arn:aws:iam::aws:policy/root-task/S3UnlockBucketPolicy")}})
	refusedWith(t, "another task", err, "AccessDenied")
	short, err := auditor.AssumeRoot(ctx, &sts.AssumeRootInput{TargetPrincipal: aws.String("arn:aws:iam::" + account + ":root"), TaskPolicyArn: audit, DurationSeconds: aws.Int32(60)})
	if err != nil {
		t.Fatal(err)
	}
	borrowed := sts.NewFromConfig(sdkConfig(t, newClient(profile{Region: member.Region, Endpoint: member.Endpoint, AccessKeyID: *short.Credentials.AccessKeyId, SecretAccessKey: *short.Credentials.SecretAccessKey, Session: *short.Credentials.SessionToken})))
	if _, err := borrowed.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}
	_, err = borrowed.AssumeRoot(ctx, &sts.AssumeRootInput{TargetPrincipal: &account, TaskPolicyArn: audit})
	refusedWith(t, "a root session makes another", err, "AccessDenied")
	if _, err := users.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String("auditor"), PolicyName: aws.String("p")}); err != nil {
		t.Fatal(err)
	}
	if _, err := users.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("auditor")}); err != nil {
		t.Fatal(err)
	}
	_, err = borrowed.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	refusedWith(t, "a root session without its holder", err, "InvalidClientTokenId")

	// The member reads in its own log that its root was used, and by whom.
	given, err := cloudtrail.NewFromConfig(cfg).LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("AssumeRoot")}}})
	if err != nil {
		t.Fatal(err)
	}
	byManagement := 0 // the refused attempts of the member and of the root session are there, too
	for _, e := range given.Events {
		if strings.Contains(*e.CloudTrailEvent, `"type":"AWSAccount"`) && strings.Contains(*e.CloudTrailEvent, `"accountId":"`+o.management+`"`) {
			byManagement++
		}
		if strings.Contains(*e.CloudTrailEvent, *c.SecretAccessKey) || strings.Contains(*e.CloudTrailEvent, *c.SessionToken) {
			t.Errorf("recorded as %s", *e.CloudTrailEvent)
		}
	}
	if byManagement != 2 {
		t.Errorf("%d of 2 uses of its root by the management account stand in the member's log", byManagement)
	}

	// Root is under the guardrails too.
	o.attach(t, o.policy(t, orgtypes.PolicyTypeServiceControlPolicy, "no root", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:ListAccessKeys","Resource":"*","Condition":{"Null":{"aws:AssumedRoot":"false"}}}]}`), account)
	_, err = iam.NewFromConfig(root).ListAccessKeys(ctx, &iam.ListAccessKeysInput{})
	refusedWith(t, "root under an SCP", err, "AccessDenied")
	if _, err := users.DisableOrganizationsRootSessions(ctx, &iam.DisableOrganizationsRootSessionsInput{}); err != nil {
		t.Fatal(err)
	}
	_, err = sts.NewFromConfig(root).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	refusedWith(t, "a root session after the feature is off", err, "InvalidClientTokenId")
}

func TestInvitationsAreTheInvitedAccountsToAnswer(t *testing.T) {
	p := sharedPlane(t)
	o := newOrganization(t, p, "inviting")
	guest, account := newCustomer(t, p, "guest")
	member := organizations.NewFromConfig(sdkConfig(t, guest))
	ctx := t.Context()
	invite := func(account string) (*organizations.InviteAccountToOrganizationOutput, error) {
		return o.InviteAccountToOrganization(ctx, &organizations.InviteAccountToOrganizationInput{Target: &orgtypes.HandshakeParty{Id: &account, Type: orgtypes.HandshakePartyTypeAccount}})
	}
	h, err := invite(account)
	if err != nil || h.Handshake.State != orgtypes.HandshakeStateOpen || len(h.Handshake.Parties) != 2 {
		t.Fatalf("%+v, %v", h, err)
	}
	_, err = invite(account)
	refusedAs[*orgtypes.DuplicateHandshakeException](t, "twice", err)
	// Whether there is such an account is not told.
	if _, err := invite("999999999999"); err != nil {
		t.Errorf("an account that is not there: %v", err)
	}
	_, err = o.AcceptHandshake(ctx, &organizations.AcceptHandshakeInput{HandshakeId: h.Handshake.Id})
	refusedAs[*orgtypes.HandshakeNotFoundException](t, "the inviter accepts", err)
	stranger, _ := newCustomer(t, p, "third")
	_, err = organizations.NewFromConfig(sdkConfig(t, stranger)).DescribeHandshake(ctx, &organizations.DescribeHandshakeInput{HandshakeId: h.Handshake.Id})
	refusedAs[*orgtypes.HandshakeNotFoundException](t, "a third party looks", err)
	seen, err := member.ListHandshakesForAccount(ctx, &organizations.ListHandshakesForAccountInput{})
	if err != nil || len(seen.Handshakes) != 1 {
		t.Fatalf("%+v, %v", seen, err)
	}
	if d, err := member.DeclineHandshake(ctx, &organizations.DeclineHandshakeInput{HandshakeId: h.Handshake.Id}); err != nil || d.Handshake.State != orgtypes.HandshakeStateDeclined {
		t.Errorf("%+v, %v", d, err)
	}
	_, err = member.AcceptHandshake(ctx, &organizations.AcceptHandshakeInput{HandshakeId: h.Handshake.Id})
	refusedAs[*orgtypes.InvalidHandshakeTransitionException](t, "after declining", err)
	h, err = invite(account)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.CancelHandshake(ctx, &organizations.CancelHandshakeInput{HandshakeId: h.Handshake.Id}); err != nil {
		t.Fatal(err)
	}
	o.invite(t, account, member)
	if d, err := member.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{}); err != nil || *d.Organization.Id != o.id {
		t.Errorf("%+v, %v", d, err)
	}
	_, err = member.ListAccounts(ctx, &organizations.ListAccountsInput{})
	refusedWith(t, "a member lists the organization", err, "AccessDeniedException")

	// Delegation: what the resource policy says, and no more.
	delegation := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":["organizations:List*","organizations:CreatePolicy"],"Resource":"*","Condition":{"StringEqualsIfExists":{"organizations:PolicyType":"SERVICE_CONTROL_POLICY"}}}]}`, account)
	if _, err := o.PutResourcePolicy(ctx, &organizations.PutResourcePolicyInput{Content: &delegation}); err != nil {
		t.Fatal(err)
	}
	if l, err := member.ListAccounts(ctx, &organizations.ListAccountsInput{}); err != nil || len(l.Accounts) != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	content := guardrail("kms:*")
	if _, err := member.CreatePolicy(ctx, &organizations.CreatePolicyInput{Name: aws.String("mine"), Description: aws.String(""), Content: &content, Type: orgtypes.PolicyTypeServiceControlPolicy}); err != nil {
		t.Error(err)
	}
	_, err = member.CreatePolicy(ctx, &organizations.CreatePolicyInput{Name: aws.String("rcp"), Description: aws.String(""), Content: &content, Type: orgtypes.PolicyTypeResourceControlPolicy})
	refusedWith(t, "another type of policy", err, "AccessDeniedException")
	_, err = member.DeleteOrganization(ctx, &organizations.DeleteOrganizationInput{})
	refusedWith(t, "a member deletes the organization", err, "AccessDeniedException")
	for _, action := range []string{"organizations:*", "organizations:RemoveAccountFromOrganization", "kms:Decrypt"} {
		text := strings.Replace(delegation, "organizations:CreatePolicy", action, 1)
		_, err = o.PutResourcePolicy(ctx, &organizations.PutResourcePolicyInput{Content: &text})
		refusedAs[*orgtypes.InvalidInputException](t, action, err)
	}
	if _, err := o.DeleteResourcePolicy(ctx, &organizations.DeleteResourcePolicyInput{}); err != nil {
		t.Fatal(err)
	}
	_, err = member.ListAccounts(ctx, &organizations.ListAccountsInput{})
	refusedWith(t, "after the delegation", err, "AccessDeniedException")

	// A delegated administrator looks, and cannot leave.
	if _, err := o.EnableAWSServiceAccess(ctx, &organizations.EnableAWSServiceAccessInput{ServicePrincipal: aws.String("access-analyzer.amazonaws.com")}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.RegisterDelegatedAdministrator(ctx, &organizations.RegisterDelegatedAdministratorInput{AccountId: &account, ServicePrincipal: aws.String("access-analyzer.amazonaws.com")}); err != nil {
		t.Fatal(err)
	}
	if l, err := member.ListAccounts(ctx, &organizations.ListAccountsInput{}); err != nil || len(l.Accounts) != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	_, err = member.LeaveOrganization(ctx, &organizations.LeaveOrganizationInput{})
	refusedAs[*orgtypes.ConstraintViolationException](t, "a delegated administrator leaves", err)
	if _, err := o.DeregisterDelegatedAdministrator(ctx, &organizations.DeregisterDelegatedAdministratorInput{AccountId: &account, ServicePrincipal: aws.String("access-analyzer.amazonaws.com")}); err != nil {
		t.Fatal(err)
	}
	if _, err := member.LeaveOrganization(ctx, &organizations.LeaveOrganizationInput{}); err != nil {
		t.Error(err)
	}
	_, err = member.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
	refusedAs[*orgtypes.AWSOrganizationsNotInUseException](t, "after leaving", err)
	_, err = o.LeaveOrganization(ctx, &organizations.LeaveOrganizationInput{})
	refusedAs[*orgtypes.MasterCannotLeaveOrganizationException](t, "the management account leaves", err)
}

func TestTheOperatorTakesNoPartInOrganizations(t *testing.T) {
	p := sharedPlane(t)
	o := newOrganization(t, p, "without operator")
	ctx := t.Context()
	oc := p.client(t, "operator")
	operator := organizations.NewFromConfig(sdkConfig(t, oc))
	_, err := operator.CreateOrganization(ctx, &organizations.CreateOrganizationInput{})
	refusedWith(t, "the operator manages an organization", err, "AccessDeniedException")
	who, err := sts.NewFromConfig(sdkConfig(t, oc)).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := o.InviteAccountToOrganization(ctx, &organizations.InviteAccountToOrganizationInput{Target: &orgtypes.HandshakeParty{Id: who.Account, Type: orgtypes.HandshakePartyTypeAccount}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = operator.AcceptHandshake(ctx, &organizations.AcceptHandshakeInput{HandshakeId: h.Handshake.Id})
	refusedWith(t, "the operator joins", err, "AccessDeniedException")
	deny := o.policy(t, orgtypes.PolicyTypeServiceControlPolicy, "guard", guardrail("kms:CreateKey"))
	_, err = operator.DeletePolicy(ctx, &organizations.DeletePolicyInput{PolicyId: &deny})
	refusedAs[*orgtypes.AWSOrganizationsNotInUseException](t, "the operator deletes a guardrail", err)
	_, err = operator.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: &o.management})
	refusedAs[*orgtypes.AWSOrganizationsNotInUseException](t, "the operator looks at a member", err)
}
