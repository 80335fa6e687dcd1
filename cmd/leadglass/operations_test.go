package main

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// The operations that no other test here calls with the Go SDK: each does
// what it says, seen by the SDK.

func TestTheGoSDKReadsAndTagsWhatIAMHas(t *testing.T) {
	defer ended(t)
	p := newProvider(t)
	ctx, name := t.Context(), aws.String("rest")
	must(p.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: name, Tags: iamTags("Team=heart")}))
	must(p.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: &p.plan, Tags: iamTags("Team=heart")}))
	read := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:List*","Resource":"*"}]}`
	policy := must(p.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: name, PolicyDocument: &read})).Policy.Arn

	must(p.iam.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: policy}))
	if got := must(p.iam.ListAttachedUserPolicies(ctx, &iam.ListAttachedUserPoliciesInput{UserName: name})).AttachedPolicies; len(got) != 1 || *got[0].PolicyArn != *policy {
		t.Errorf("attached: %+v", got)
	}
	must(p.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: policy}))
	must(p.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("own"), PolicyDocument: &read}))
	p.same("the user's policy", *must(p.iam.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: name, PolicyName: aws.String("own")})).PolicyDocument, read)
	if got := must(p.iam.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: name})).PolicyNames; len(got) != 1 || got[0] != "own" {
		t.Errorf("policies of the user: %v", got)
	}
	must(p.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String("own")}))

	must(p.iam.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: policy}))
	if b := must(p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: name})).Role.PermissionsBoundary; b == nil || *b.PermissionsBoundaryArn != *policy {
		t.Errorf("boundary: %+v", b)
	}
	must(p.iam.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: name}))

	p.tags("the user's", must(p.iam.ListUserTags(ctx, &iam.ListUserTagsInput{UserName: name})).Tags, "Team=heart")
	p.tags("the role's", must(p.iam.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name})).Tags, "Team=heart")
	must(p.iam.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: policy, Tags: iamTags("Team=lung", "Ward=3")}))
	must(p.iam.UntagPolicy(ctx, &iam.UntagPolicyInput{PolicyArn: policy, TagKeys: []string{"Ward"}}))
	p.tags("the policy's", must(p.iam.ListPolicyTags(ctx, &iam.ListPolicyTagsInput{PolicyArn: policy})).Tags, "Team=lung")

	must(p.iam.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: policy, PolicyDocument: &read}))
	must(p.iam.SetDefaultPolicyVersion(ctx, &iam.SetDefaultPolicyVersionInput{PolicyArn: policy, VersionId: aws.String("v2")}))
	if got := must(p.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: policy})).Policy.DefaultVersionId; *got != "v2" {
		t.Errorf("default version: %s", *got)
	}

	must(p.iam.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: name}))
	must(p.iam.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: name, PolicyName: aws.String("own"), PolicyDocument: &read}))
	if got := must(p.iam.ListGroupPolicies(ctx, &iam.ListGroupPoliciesInput{GroupName: name})).PolicyNames; len(got) != 1 {
		t.Errorf("policies of the group: %v", got)
	}
	listed := map[string]bool{}
	for pages := iam.NewListGroupsPaginator(p.iam, &iam.ListGroupsInput{MaxItems: aws.Int32(1)}); pages.HasMorePages(); {
		for _, g := range must(pages.NextPage(ctx)).Groups {
			listed["group "+*g.GroupName] = true
		}
	}
	for pages := iam.NewListRolesPaginator(p.iam, &iam.ListRolesInput{MaxItems: aws.Int32(1)}); pages.HasMorePages(); {
		for _, r := range must(pages.NextPage(ctx)).Roles {
			listed["role "+*r.RoleName] = true
		}
	}
	for pages := iam.NewListPoliciesPaginator(p.iam, &iam.ListPoliciesInput{Scope: iamtypes.PolicyScopeTypeLocal}); pages.HasMorePages(); {
		for _, q := range must(pages.NextPage(ctx)).Policies {
			listed["policy "+*q.PolicyName] = true
		}
	}
	must(p.iam.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name}))
	for pages := iam.NewListInstanceProfilesPaginator(p.iam, &iam.ListInstanceProfilesInput{}); pages.HasMorePages(); {
		for _, q := range must(pages.NextPage(ctx)).InstanceProfiles {
			listed["profile "+*q.InstanceProfileName] = true
		}
	}
	for _, want := range []string{"group rest", "role rest", "policy rest", "profile rest"} {
		if !listed[want] {
			t.Errorf("%s is not listed: %v", want, listed)
		}
	}

	key := must(p.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})).AccessKey.AccessKeyId
	if got := must(p.iam.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: key})); *got.UserName != "rest" || *got.AccessKeyLastUsed.ServiceName != "N/A" {
		t.Errorf("last use: %+v", got)
	}
	must(p.iam.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: name, Password: aws.String("Correct-horse-7")}))
	must(p.iam.UpdateLoginProfile(ctx, &iam.UpdateLoginProfileInput{UserName: name, PasswordResetRequired: aws.Bool(true)}))
	if got := must(p.iam.GetLoginProfile(ctx, &iam.GetLoginProfileInput{UserName: name})); !got.LoginProfile.PasswordResetRequired {
		t.Error("the login profile was not updated")
	}
	device := must(p.iam.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: name})).VirtualMFADevice.SerialNumber
	must(p.iam.TagMFADevice(ctx, &iam.TagMFADeviceInput{SerialNumber: device, Tags: iamTags("Team=heart", "Ward=3")}))
	must(p.iam.UntagMFADevice(ctx, &iam.UntagMFADeviceInput{SerialNumber: device, TagKeys: []string{"Ward"}}))
	p.tags("the device's", must(p.iam.ListMFADeviceTags(ctx, &iam.ListMFADeviceTagsInput{SerialNumber: device})).Tags, "Team=heart")
	_, err := p.iam.ResyncMFADevice(ctx, &iam.ResyncMFADeviceInput{UserName: name, SerialNumber: device, AuthenticationCode1: aws.String("000000"), AuthenticationCode2: aws.String("000001")})
	p.noSuchEntity("resync of a device that is nobody's", err)

	s := sts.NewFromConfig(sdkConfig(t, sharedPlane(t).client(t, "customer")))
	if got := must(s.GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: key})); !strings.Contains(*policy, *got.Account) {
		t.Errorf("account of the key: %s", *got.Account)
	}
	_, err = s.DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: aws.String("bm9uc2Vuc2U")})
	refusedWith(t, "a message that nobody encoded", err, "InvalidAuthorizationMessageException")
}

func TestTheGoSDKReadsWhatAnOrganizationHas(t *testing.T) {
	defer ended(t)
	p := newPlane(t, t.TempDir())
	o := newOrganization(t, p, "Group")
	ctx := t.Context()
	unit := o.unit(t, o.root, "Wards")
	member, account := newCustomer(t, p, "Clinic")
	o.invite(t, account, organizations.NewFromConfig(sdkConfig(t, member)))

	if got := must(o.ListOrganizationalUnitsForParent(ctx, &organizations.ListOrganizationalUnitsForParentInput{ParentId: &o.root})).OrganizationalUnits; len(got) != 1 || *got[0].Id != unit {
		t.Errorf("units: %+v", got)
	}
	if got := must(o.ListChildren(ctx, &organizations.ListChildrenInput{ParentId: &o.root, ChildType: orgtypes.ChildTypeAccount})).Children; len(got) != 2 {
		t.Errorf("accounts under the root: %+v", got)
	}
	if got := must(o.ListHandshakesForOrganization(ctx, &organizations.ListHandshakesForOrganizationInput{})).Handshakes; len(got) != 1 || got[0].State != orgtypes.HandshakeStateAccepted {
		t.Errorf("handshakes: %+v", got)
	}
	if got := must(o.ListPolicies(ctx, &organizations.ListPoliciesInput{Filter: orgtypes.PolicyTypeServiceControlPolicy})).Policies; len(got) != 1 || *got[0].Id != "p-FullAWSAccess" {
		t.Errorf("policies: %+v", got)
	}
	if got := must(o.ListCreateAccountStatus(ctx, &organizations.ListCreateAccountStatusInput{})).CreateAccountStatuses; len(got) != 0 {
		t.Errorf("accounts being made: %+v", got)
	}
	_, err := o.EnableAllFeatures(ctx, &organizations.EnableAllFeaturesInput{})
	refusedWith(t, "all features once more", err, "HandshakeConstraintViolationException")
	_, err = o.DescribeEffectivePolicy(ctx, &organizations.DescribeEffectivePolicyInput{PolicyType: orgtypes.EffectivePolicyTypeTagPolicy, TargetId: &account})
	if err == nil {
		t.Error("an effective policy of a type that is not enforced")
	}
	_, err = o.DescribeResourcePolicy(ctx, &organizations.DescribeResourcePolicyInput{})
	refusedWith(t, "a delegation policy that is not there", err, "ResourcePolicyNotFoundException")

	service := aws.String("access-analyzer.amazonaws.com")
	must(o.EnableAWSServiceAccess(ctx, &organizations.EnableAWSServiceAccessInput{ServicePrincipal: service}))
	must(o.RegisterDelegatedAdministrator(ctx, &organizations.RegisterDelegatedAdministratorInput{AccountId: &account, ServicePrincipal: service}))
	if got := must(o.ListDelegatedAdministrators(ctx, &organizations.ListDelegatedAdministratorsInput{})).DelegatedAdministrators; len(got) != 1 || *got[0].Id != account {
		t.Errorf("delegated administrators: %+v", got)
	}
	if got := must(o.ListDelegatedServicesForAccount(ctx, &organizations.ListDelegatedServicesForAccountInput{AccountId: &account})).DelegatedServices; len(got) != 1 || *got[0].ServicePrincipal != *service {
		t.Errorf("delegated services: %+v", got)
	}
	must(o.DeregisterDelegatedAdministrator(ctx, &organizations.DeregisterDelegatedAdministratorInput{AccountId: &account, ServicePrincipal: service}))
	must(o.DisableAWSServiceAccess(ctx, &organizations.DisableAWSServiceAccessInput{ServicePrincipal: service}))
	must(o.DisablePolicyType(ctx, &organizations.DisablePolicyTypeInput{RootId: &o.root, PolicyType: orgtypes.PolicyTypeResourceControlPolicy}))

	i := iam.NewFromConfig(o.cfg)
	must(o.EnableAWSServiceAccess(ctx, &organizations.EnableAWSServiceAccessInput{ServicePrincipal: aws.String("iam.amazonaws.com")}))
	must(i.EnableOrganizationsRootCredentialsManagement(ctx, &iam.EnableOrganizationsRootCredentialsManagementInput{}))
	if got := must(i.ListOrganizationsFeatures(ctx, &iam.ListOrganizationsFeaturesInput{})).EnabledFeatures; len(got) != 1 || got[0] != iamtypes.FeatureTypeRootCredentialsManagement {
		t.Errorf("features: %v", got)
	}
	must(i.DisableOrganizationsRootCredentialsManagement(ctx, &iam.DisableOrganizationsRootCredentialsManagementInput{}))

	must(o.RemoveAccountFromOrganization(ctx, &organizations.RemoveAccountFromOrganizationInput{AccountId: &account}))
	if got := must(o.ListAccounts(ctx, &organizations.ListAccountsInput{})).Accounts; len(got) != 1 || *got[0].Id != o.management {
		t.Errorf("accounts afterwards: %+v", got)
	}
}
