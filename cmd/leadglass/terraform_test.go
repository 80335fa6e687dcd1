package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
)

// What the AWS provider of Terraform and OpenTofu calls for each resource, in its
// order and with the parameters that it sends, its defaults included: create, read,
// update, read, delete, and the read after it that must find nothing. The provider
// retries what AWS makes visible late; here everything is visible at once, so a
// retry that would be needed is a failure.

// A provider holds the clients of one run.
type provider struct {
	*testing.T
	ctx  context.Context
	iam  *iam.Client
	kms  *kms.Client
	plan string // an account's root as trust policy
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	cfg := sdkConfig(t, sharedPlane(t).client(t, "customer"))
	p := &provider{T: t, ctx: t.Context(), iam: iam.NewFromConfig(cfg), kms: kms.NewFromConfig(cfg)}
	me := must(p.iam.GetUser(p.ctx, &iam.GetUserInput{}))
	account := strings.Split(*me.User.Arn, ":")[4]
	p.plan = `{"Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"}}],"Version":"2012-10-17"}`
	return p
}

// A failed call ends a test by a panic that ended turns into a failure: must
// can take the two results of a call and nothing else.
type failed struct{ error }

func must[T any](v T, err error) T {
	if err != nil {
		_, _, line, _ := runtime.Caller(1)
		panic(failed{fmt.Errorf("line %d: %w", line, err)})
	}
	return v
}

// ended is deferred by every test that uses must.
func ended(t *testing.T) {
	t.Helper()
	switch why := recover().(type) {
	case nil:
	case failed:
		t.Fatal(why.error)
	default:
		panic(why)
	}
}

func (p *provider) noSuchEntity(what string, err error) {
	p.Helper()
	refusedAs[*iamtypes.NoSuchEntityException](p.T, what, err)
}

// same compares two documents as the provider does: as JSON, once decoded.
func (p *provider) same(what, got, want string) {
	p.Helper()
	text, err := url.QueryUnescape(got)
	if err != nil {
		p.Fatalf("%s: %v", what, err)
	}
	var a, b any
	if json.Unmarshal([]byte(text), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || !reflect.DeepEqual(a, b) {
		p.Errorf("%s is %s, want %s", what, text, want)
	}
}

func (p *provider) tags(what string, got []iamtypes.Tag, want ...string) {
	p.Helper()
	var have []string
	for _, t := range got {
		have = append(have, *t.Key+"="+*t.Value)
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		p.Errorf("tags of %s are %v, want %v", what, have, want)
	}
}

func iamTags(pairs ...string) (tags []iamtypes.Tag) {
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		tags = append(tags, iamtypes.Tag{Key: &k, Value: &v})
	}
	return tags
}

const (
	tfAllow  = `{"Statement":[{"Action":["kms:Decrypt"],"Effect":"Allow","Resource":"*"}],"Version":"2012-10-17"}`
	tfAllow2 = `{"Statement":[{"Action":["kms:Encrypt"],"Effect":"Allow","Resource":"*"}],"Version":"2012-10-17"}`
)

func TestTerraformManagesAUserWithKeysAndGroups(t *testing.T) {
	defer ended(t)
	p := newProvider(t)
	name, path := "tf-user", "/tf/"
	edge := must(p.iam.CreatePolicy(p.ctx, &iam.CreatePolicyInput{PolicyName: aws.String("tf-edge"), Path: aws.String("/"), PolicyDocument: aws.String(tfAllow)})).Policy.Arn

	// aws_iam_user
	made := must(p.iam.CreateUser(p.ctx, &iam.CreateUserInput{UserName: &name, Path: aws.String("/"), Tags: iamTags("Team=Heart")})).User
	read := must(p.iam.GetUser(p.ctx, &iam.GetUserInput{UserName: &name})).User
	if *read.Arn != *made.Arn || *read.UserId != *made.UserId || *read.Path != "/" || read.PermissionsBoundary != nil {
		t.Errorf("user %+v", read)
	}
	p.tags("the user", read.Tags, "Team=Heart")
	must(p.iam.UpdateUser(p.ctx, &iam.UpdateUserInput{UserName: &name, NewUserName: &name, NewPath: &path}))
	must(p.iam.PutUserPermissionsBoundary(p.ctx, &iam.PutUserPermissionsBoundaryInput{UserName: &name, PermissionsBoundary: edge}))
	must(p.iam.UntagUser(p.ctx, &iam.UntagUserInput{UserName: &name, TagKeys: []string{"Team"}}))
	must(p.iam.TagUser(p.ctx, &iam.TagUserInput{UserName: &name, Tags: iamTags("Ward=3")}))
	read = must(p.iam.GetUser(p.ctx, &iam.GetUserInput{UserName: &name})).User
	if *read.Path != path || !strings.HasSuffix(*read.Arn, ":user/tf/tf-user") || *read.PermissionsBoundary.PermissionsBoundaryArn != *edge {
		t.Errorf("user after the update %+v", read)
	}
	p.tags("the user", read.Tags, "Ward=3")
	must(p.iam.DeleteUserPermissionsBoundary(p.ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: &name}))

	// aws_iam_access_key
	key := must(p.iam.CreateAccessKey(p.ctx, &iam.CreateAccessKeyInput{UserName: &name})).AccessKey
	if len(*key.SecretAccessKey) != 40 || key.Status != iamtypes.StatusTypeActive {
		t.Errorf("key %+v", key.AccessKeyId)
	}
	must(p.iam.UpdateAccessKey(p.ctx, &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: key.AccessKeyId, Status: iamtypes.StatusTypeInactive}))
	p.keys(name, *key.AccessKeyId+" Inactive")

	// aws_iam_group, aws_iam_group_membership, aws_iam_user_group_membership
	for _, g := range []string{"tf-group", "tf-second"} {
		must(p.iam.CreateGroup(p.ctx, &iam.CreateGroupInput{GroupName: &g, Path: aws.String("/")}))
		must(p.iam.GetGroup(p.ctx, &iam.GetGroupInput{GroupName: &g}))
	}
	must(p.iam.UpdateGroup(p.ctx, &iam.UpdateGroupInput{GroupName: aws.String("tf-group"), NewGroupName: aws.String("tf-renamed"), NewPath: &path}))
	_, err := p.iam.GetGroup(p.ctx, &iam.GetGroupInput{GroupName: aws.String("tf-group")})
	p.noSuchEntity("the old name of the group", err)
	must(p.iam.AddUserToGroup(p.ctx, &iam.AddUserToGroupInput{GroupName: aws.String("tf-renamed"), UserName: &name}))
	p.members("tf-renamed", name)
	must(p.iam.AddUserToGroup(p.ctx, &iam.AddUserToGroupInput{GroupName: aws.String("tf-second"), UserName: &name}))
	p.groupsOf(name, "tf-renamed", "tf-second")
	must(p.iam.PutGroupPolicy(p.ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("tf-renamed"), PolicyName: aws.String("in"), PolicyDocument: aws.String(tfAllow)}))
	p.same("the group's policy", *must(p.iam.GetGroupPolicy(p.ctx, &iam.GetGroupPolicyInput{GroupName: aws.String("tf-renamed"), PolicyName: aws.String("in")})).PolicyDocument, tfAllow)
	must(p.iam.AttachGroupPolicy(p.ctx, &iam.AttachGroupPolicyInput{GroupName: aws.String("tf-renamed"), PolicyArn: edge}))
	if at := must(iam.NewListAttachedGroupPoliciesPaginator(p.iam, &iam.ListAttachedGroupPoliciesInput{GroupName: aws.String("tf-renamed")}).NextPage(p.ctx)); len(at.AttachedPolicies) != 1 {
		t.Errorf("attached %+v", at)
	}

	// Deletion in the order of the dependencies, each read after it finding nothing.
	must(p.iam.DetachGroupPolicy(p.ctx, &iam.DetachGroupPolicyInput{GroupName: aws.String("tf-renamed"), PolicyArn: edge}))
	must(p.iam.DeleteGroupPolicy(p.ctx, &iam.DeleteGroupPolicyInput{GroupName: aws.String("tf-renamed"), PolicyName: aws.String("in")}))
	_, err = p.iam.GetGroupPolicy(p.ctx, &iam.GetGroupPolicyInput{GroupName: aws.String("tf-renamed"), PolicyName: aws.String("in")})
	p.noSuchEntity("the group's policy", err)
	must(p.iam.RemoveUserFromGroup(p.ctx, &iam.RemoveUserFromGroupInput{GroupName: aws.String("tf-renamed"), UserName: &name}))
	p.members("tf-renamed")
	must(p.iam.DeleteAccessKey(p.ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: key.AccessKeyId}))
	p.keys(name)
	p.destroyUser(name)
	_, err = p.iam.GetUser(p.ctx, &iam.GetUserInput{UserName: &name})
	p.noSuchEntity("the user", err)
	_, err = p.iam.ListAccessKeys(p.ctx, &iam.ListAccessKeysInput{UserName: &name})
	p.noSuchEntity("the keys of the user", err)
	for _, g := range []string{"tf-renamed", "tf-second"} {
		must(p.iam.DeleteGroup(p.ctx, &iam.DeleteGroupInput{GroupName: &g}))
		_, err = p.iam.GetGroup(p.ctx, &iam.GetGroupInput{GroupName: &g})
		p.noSuchEntity("group "+g, err)
	}
	must(p.iam.DeletePolicy(p.ctx, &iam.DeletePolicyInput{PolicyArn: edge}))
}

// destroyUser is the deletion of a user with force_destroy, but for what
// concerns MFA devices and login profiles.
func (p *provider) destroyUser(name string) {
	p.Helper()
	for _, g := range must(iam.NewListGroupsForUserPaginator(p.iam, &iam.ListGroupsForUserInput{UserName: &name}).NextPage(p.ctx)).Groups {
		must(p.iam.RemoveUserFromGroup(p.ctx, &iam.RemoveUserFromGroupInput{GroupName: g.GroupName, UserName: &name}))
	}
	must(iam.NewListAccessKeysPaginator(p.iam, &iam.ListAccessKeysInput{UserName: &name}).NextPage(p.ctx))
	must(iam.NewListSSHPublicKeysPaginator(p.iam, &iam.ListSSHPublicKeysInput{UserName: &name}).NextPage(p.ctx))
	must(iam.NewListSigningCertificatesPaginator(p.iam, &iam.ListSigningCertificatesInput{UserName: &name}).NextPage(p.ctx))
	must(p.iam.ListServiceSpecificCredentials(p.ctx, &iam.ListServiceSpecificCredentialsInput{UserName: &name}))
	must(p.iam.DeleteUser(p.ctx, &iam.DeleteUserInput{UserName: &name}))
}

func (p *provider) keys(user string, want ...string) {
	p.Helper()
	var got []string
	for pages := iam.NewListAccessKeysPaginator(p.iam, &iam.ListAccessKeysInput{UserName: &user}); pages.HasMorePages(); {
		for _, k := range must(pages.NextPage(p.ctx)).AccessKeyMetadata {
			got = append(got, *k.AccessKeyId+" "+string(k.Status))
		}
	}
	if !slices.Equal(got, want) {
		p.Errorf("keys %v, want %v", got, want)
	}
}

func (p *provider) members(group string, want ...string) {
	p.Helper()
	var got []string
	for pages := iam.NewGetGroupPaginator(p.iam, &iam.GetGroupInput{GroupName: &group}); pages.HasMorePages(); {
		for _, u := range must(pages.NextPage(p.ctx)).Users {
			got = append(got, *u.UserName)
		}
	}
	if !slices.Equal(got, want) {
		p.Errorf("members of %s: %v, want %v", group, got, want)
	}
}

func (p *provider) groupsOf(user string, want ...string) {
	p.Helper()
	var got []string
	for pages := iam.NewListGroupsForUserPaginator(p.iam, &iam.ListGroupsForUserInput{UserName: &user}); pages.HasMorePages(); {
		for _, g := range must(pages.NextPage(p.ctx)).Groups {
			got = append(got, *g.GroupName)
		}
	}
	if !slices.Equal(got, want) {
		p.Errorf("groups of %s: %v, want %v", user, got, want)
	}
}

func TestTerraformManagesARoleItsPoliciesAndItsInstanceProfile(t *testing.T) {
	defer ended(t)
	p := newProvider(t)
	role := aws.String("tf-role")

	// aws_iam_role: the provider sends path and duration always.
	made := must(p.iam.CreateRole(p.ctx, &iam.CreateRoleInput{RoleName: role, Path: aws.String("/"), MaxSessionDuration: aws.Int32(3600), AssumeRolePolicyDocument: &p.plan, Tags: iamTags("Team=Heart")})).Role
	read := must(p.iam.GetRole(p.ctx, &iam.GetRoleInput{RoleName: role})).Role
	if *read.Arn != *made.Arn || *read.Path != "/" || *read.MaxSessionDuration != 3600 || aws.ToString(read.Description) != "" || read.PermissionsBoundary != nil {
		t.Errorf("role %+v", read)
	}
	p.same("the trust policy", *read.AssumeRolePolicyDocument, p.plan)
	p.tags("the role", read.Tags, "Team=Heart")
	if l := must(iam.NewListRolePoliciesPaginator(p.iam, &iam.ListRolePoliciesInput{RoleName: role}).NextPage(p.ctx)); len(l.PolicyNames) != 0 {
		t.Errorf("inline policies %v", l.PolicyNames)
	}
	second := strings.Replace(p.plan, `"sts:AssumeRole"`, `["sts:AssumeRole","sts:TagSession"]`, 1)
	must(p.iam.UpdateAssumeRolePolicy(p.ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: &second}))
	must(p.iam.UpdateRoleDescription(p.ctx, &iam.UpdateRoleDescriptionInput{RoleName: role, Description: aws.String("for Terraform")}))
	must(p.iam.UpdateRole(p.ctx, &iam.UpdateRoleInput{RoleName: role, MaxSessionDuration: aws.Int32(7200)}))
	must(p.iam.UntagRole(p.ctx, &iam.UntagRoleInput{RoleName: role, TagKeys: []string{"Team"}}))
	must(p.iam.TagRole(p.ctx, &iam.TagRoleInput{RoleName: role, Tags: iamTags("Ward=3")}))
	read = must(p.iam.GetRole(p.ctx, &iam.GetRoleInput{RoleName: role})).Role
	if *read.MaxSessionDuration != 7200 || *read.Description != "for Terraform" {
		t.Errorf("role after the update %+v", read)
	}
	p.same("the trust policy after the update", *read.AssumeRolePolicyDocument, second)
	p.tags("the role", read.Tags, "Ward=3")
	must(p.iam.UpdateRoleDescription(p.ctx, &iam.UpdateRoleDescriptionInput{RoleName: role, Description: aws.String("")}))
	stranger := strings.Replace(p.plan, ":root", ":role/tf-absent", 1)
	_, err := p.iam.UpdateAssumeRolePolicy(p.ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: &stranger})
	if e, ok := errors.AsType[*iamtypes.MalformedPolicyDocumentException](err); !ok || !strings.Contains(*e.Message, "Invalid principal in policy") {
		t.Errorf("a principal that is not there: %v", err) // what the provider waits on
	}

	// aws_iam_policy, with more versions than there may be.
	policy := must(p.iam.CreatePolicy(p.ctx, &iam.CreatePolicyInput{PolicyName: aws.String("tf-policy"), Path: aws.String("/tf/"), Description: aws.String("d"), PolicyDocument: aws.String(tfAllow), Tags: iamTags("Team=Heart")})).Policy
	for i := range 7 {
		document := strings.Replace(tfAllow, `"*"`, fmt.Sprintf(`"arn:aws:kms:*:*:key/%d"`, i), 1)
		p.newVersion(policy.Arn, document)
		at := must(p.iam.GetPolicy(p.ctx, &iam.GetPolicyInput{PolicyArn: policy.Arn})).Policy
		p.tags("the policy", at.Tags, "Team=Heart")
		p.same("the policy", *must(p.iam.GetPolicyVersion(p.ctx, &iam.GetPolicyVersionInput{PolicyArn: policy.Arn, VersionId: at.DefaultVersionId})).PolicyVersion.Document, document)
	}

	// aws_iam_role_policy_attachment and aws_iam_role_policy
	must(p.iam.AttachRolePolicy(p.ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: policy.Arn}))
	p.attached(*role, *policy.Arn)
	must(p.iam.PutRolePolicy(p.ctx, &iam.PutRolePolicyInput{RoleName: role, PolicyName: aws.String("in"), PolicyDocument: aws.String(tfAllow2)}))
	p.same("the inline policy", *must(p.iam.GetRolePolicy(p.ctx, &iam.GetRolePolicyInput{RoleName: role, PolicyName: aws.String("in")})).PolicyDocument, tfAllow2)

	// aws_iam_instance_profile
	profile := aws.String("tf-profile")
	must(p.iam.CreateInstanceProfile(p.ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: profile, Path: aws.String("/"), Tags: iamTags("Team=Heart")}))
	if err := iam.NewInstanceProfileExistsWaiter(p.iam).Wait(p.ctx, &iam.GetInstanceProfileInput{InstanceProfileName: profile}, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	must(p.iam.AddRoleToInstanceProfile(p.ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: profile, RoleName: role}))
	box := must(p.iam.GetInstanceProfile(p.ctx, &iam.GetInstanceProfileInput{InstanceProfileName: profile})).InstanceProfile
	if len(box.Roles) != 1 || *box.Roles[0].RoleName != *role || *box.Roles[0].Arn != *made.Arn {
		t.Errorf("profile %+v", box)
	}
	p.tags("the profile", box.Tags, "Team=Heart")
	must(p.iam.TagInstanceProfile(p.ctx, &iam.TagInstanceProfileInput{InstanceProfileName: profile, Tags: iamTags("Ward=3")}))
	must(p.iam.UntagInstanceProfile(p.ctx, &iam.UntagInstanceProfileInput{InstanceProfileName: profile, TagKeys: []string{"Team"}}))
	p.tags("the profile", must(iam.NewListInstanceProfileTagsPaginator(p.iam, &iam.ListInstanceProfileTagsInput{InstanceProfileName: profile}).NextPage(p.ctx)).Tags, "Ward=3")

	// The role goes first where nothing says that the profile depends on it: the
	// provider takes it out of its profiles and deletes what hangs on it.
	if _, err := p.iam.DeleteRole(p.ctx, &iam.DeleteRoleInput{RoleName: role}); err == nil {
		t.Error("a role in use was deleted")
	} else {
		refusedAs[*iamtypes.DeleteConflictException](t, "DeleteRole", err)
	}
	for _, ip := range must(p.iam.ListInstanceProfilesForRole(p.ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: role})).InstanceProfiles {
		must(p.iam.RemoveRoleFromInstanceProfile(p.ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: ip.InstanceProfileName, RoleName: role}))
	}
	must(p.iam.DetachRolePolicy(p.ctx, &iam.DetachRolePolicyInput{RoleName: role, PolicyArn: policy.Arn}))
	_, err = p.iam.DetachRolePolicy(p.ctx, &iam.DetachRolePolicyInput{RoleName: role, PolicyArn: policy.Arn})
	p.noSuchEntity("the attachment", err)
	p.attached(*role)
	must(p.iam.DeleteRolePolicy(p.ctx, &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: aws.String("in")}))
	_, err = p.iam.GetRolePolicy(p.ctx, &iam.GetRolePolicyInput{RoleName: role, PolicyName: aws.String("in")})
	p.noSuchEntity("the inline policy", err)
	must(p.iam.DeleteRole(p.ctx, &iam.DeleteRoleInput{RoleName: role}))
	_, err = p.iam.GetRole(p.ctx, &iam.GetRoleInput{RoleName: role})
	p.noSuchEntity("the role", err)
	_, err = p.iam.ListAttachedRolePolicies(p.ctx, &iam.ListAttachedRolePoliciesInput{RoleName: role})
	p.noSuchEntity("the attachments of the role", err)
	_, err = p.iam.RemoveRoleFromInstanceProfile(p.ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: profile, RoleName: role})
	p.noSuchEntity("the role in the profile", err)
	must(p.iam.DeleteInstanceProfile(p.ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: profile}))
	_, err = p.iam.GetInstanceProfile(p.ctx, &iam.GetInstanceProfileInput{InstanceProfileName: profile})
	p.noSuchEntity("the profile", err)

	for _, v := range p.versions(policy.Arn) {
		if !v.IsDefaultVersion {
			must(p.iam.DeletePolicyVersion(p.ctx, &iam.DeletePolicyVersionInput{PolicyArn: policy.Arn, VersionId: v.VersionId}))
		}
	}
	must(p.iam.DeletePolicy(p.ctx, &iam.DeletePolicyInput{PolicyArn: policy.Arn}))
	_, err = p.iam.GetPolicy(p.ctx, &iam.GetPolicyInput{PolicyArn: policy.Arn})
	p.noSuchEntity("the policy", err)
	_, err = p.iam.ListPolicyVersions(p.ctx, &iam.ListPolicyVersionsInput{PolicyArn: policy.Arn})
	p.noSuchEntity("the versions of the policy", err)
}

// newVersion makes room for a version and makes it the default.
func (p *provider) newVersion(policy *string, document string) {
	p.Helper()
	if all := p.versions(policy); len(all) >= 5 {
		oldest := slices.MinFunc(all, func(a, b iamtypes.PolicyVersion) int {
			if a.IsDefaultVersion != b.IsDefaultVersion {
				return map[bool]int{true: 1, false: -1}[a.IsDefaultVersion]
			}
			return a.CreateDate.Compare(*b.CreateDate)
		})
		must(p.iam.DeletePolicyVersion(p.ctx, &iam.DeletePolicyVersionInput{PolicyArn: policy, VersionId: oldest.VersionId}))
	}
	must(p.iam.CreatePolicyVersion(p.ctx, &iam.CreatePolicyVersionInput{PolicyArn: policy, PolicyDocument: &document, SetAsDefault: true}))
}

func (p *provider) versions(policy *string) (all []iamtypes.PolicyVersion) {
	p.Helper()
	for pages := iam.NewListPolicyVersionsPaginator(p.iam, &iam.ListPolicyVersionsInput{PolicyArn: policy}); pages.HasMorePages(); {
		all = append(all, must(pages.NextPage(p.ctx)).Versions...)
	}
	return all
}

func (p *provider) attached(role string, want ...string) {
	p.Helper()
	var got []string
	for pages := iam.NewListAttachedRolePoliciesPaginator(p.iam, &iam.ListAttachedRolePoliciesInput{RoleName: &role}); pages.HasMorePages(); {
		for _, a := range must(pages.NextPage(p.ctx)).AttachedPolicies {
			got = append(got, *a.PolicyArn)
		}
	}
	if !slices.Equal(got, want) {
		p.Errorf("attached %v, want %v", got, want)
	}
}

func TestTerraformManagesAnAliasAndAServiceLinkedRole(t *testing.T) {
	defer ended(t)
	p := newProvider(t)
	// aws_iam_account_alias
	aliases := func(want ...string) {
		t.Helper()
		got := must(iam.NewListAccountAliasesPaginator(p.iam, &iam.ListAccountAliasesInput{}).NextPage(p.ctx)).AccountAliases
		if !slices.Equal(got, want) {
			t.Errorf("aliases %v, want %v", got, want)
		}
	}
	alias := aws.String("tf-hospital")
	must(p.iam.CreateAccountAlias(p.ctx, &iam.CreateAccountAliasInput{AccountAlias: alias}))
	aliases(*alias)
	must(p.iam.DeleteAccountAlias(p.ctx, &iam.DeleteAccountAliasInput{AccountAlias: alias}))
	aliases()
	_, err := p.iam.DeleteAccountAlias(p.ctx, &iam.DeleteAccountAliasInput{AccountAlias: alias})
	p.noSuchEntity("the alias", err)

	// aws_iam_service_linked_role: tags are set after creation.
	made := must(p.iam.CreateServiceLinkedRole(p.ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("autoscaling.amazonaws.com"), CustomSuffix: aws.String("tf"), Description: aws.String("d")})).Role
	parts := strings.Split(*made.Arn, "/")
	if len(parts) != 4 || parts[2] != "autoscaling.amazonaws.com" || parts[3] != "AWSServiceRoleForAutoScaling_tf" {
		t.Fatalf("ARN %s", *made.Arn) // the provider takes it apart like this
	}
	role := &parts[3]
	must(p.iam.TagRole(p.ctx, &iam.TagRoleInput{RoleName: role, Tags: iamTags("Team=Heart")}))
	must(p.iam.UpdateRole(p.ctx, &iam.UpdateRoleInput{RoleName: role, Description: aws.String("")}))
	read := must(p.iam.GetRole(p.ctx, &iam.GetRoleInput{RoleName: role})).Role
	if aws.ToString(read.Description) != "" || *read.Path != "/aws-service-role/autoscaling.amazonaws.com/" {
		t.Errorf("role %+v", read)
	}
	p.tags("the service-linked role", read.Tags, "Team=Heart")
	task := must(p.iam.DeleteServiceLinkedRole(p.ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: role})).DeletionTaskId
	if s := must(p.iam.GetServiceLinkedRoleDeletionStatus(p.ctx, &iam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task})); s.Status != iamtypes.DeletionTaskStatusTypeSucceeded {
		t.Errorf("deletion %+v", s)
	}
	_, err = p.iam.GetRole(p.ctx, &iam.GetRoleInput{RoleName: role})
	p.noSuchEntity("the service-linked role", err)
	_, err = p.iam.DeleteServiceLinkedRole(p.ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: role})
	p.noSuchEntity("the service-linked role, deleted again", err)
}

func TestTerraformManagesAKeyWithAliasAndGrant(t *testing.T) {
	defer ended(t)
	p := newProvider(t)
	// aws_kms_key: the provider sends its defaults, and reads until all of it is seen.
	made := must(p.kms.CreateKey(p.ctx, &kms.CreateKeyInput{
		BypassPolicyLockoutSafetyCheck: false, KeySpec: kmstypes.KeySpecSymmetricDefault, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt,
		Description: aws.String("tf"), Tags: []kmstypes.Tag{{TagKey: aws.String("Team"), TagValue: aws.String("Heart")}},
	})).KeyMetadata
	id := made.KeyId
	p.key(id, "tf", "Team=Heart")
	policy := *must(p.kms.GetKeyPolicy(p.ctx, &kms.GetKeyPolicyInput{KeyId: id, PolicyName: aws.String("default")})).Policy

	must(p.kms.UpdateKeyDescription(p.ctx, &kms.UpdateKeyDescriptionInput{KeyId: id, Description: aws.String("tf again")}))
	must(p.kms.PutKeyPolicy(p.ctx, &kms.PutKeyPolicyInput{KeyId: id, PolicyName: aws.String("default"), Policy: &policy, BypassPolicyLockoutSafetyCheck: false}))
	must(p.kms.UntagResource(p.ctx, &kms.UntagResourceInput{KeyId: id, TagKeys: []string{"Team"}}))
	must(p.kms.TagResource(p.ctx, &kms.TagResourceInput{KeyId: id, Tags: []kmstypes.Tag{{TagKey: aws.String("Ward"), TagValue: aws.String("3")}}}))
	must(p.kms.DisableKey(p.ctx, &kms.DisableKeyInput{KeyId: id}))
	must(p.kms.EnableKey(p.ctx, &kms.EnableKeyInput{KeyId: id}))
	p.key(id, "tf again", "Ward=3")
	p.same("the key policy", url.QueryEscape(*must(p.kms.GetKeyPolicy(p.ctx, &kms.GetKeyPolicyInput{KeyId: id, PolicyName: aws.String("default")})).Policy), policy)

	// enable_key_rotation with rotation_period_in_days, and without again.
	must(p.kms.EnableKeyRotation(p.ctx, &kms.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: aws.Int32(180)}))
	if s := must(p.kms.GetKeyRotationStatus(p.ctx, &kms.GetKeyRotationStatusInput{KeyId: id})); !s.KeyRotationEnabled || aws.ToInt32(s.RotationPeriodInDays) != 180 {
		t.Errorf("rotation %+v", s)
	}
	must(p.kms.DisableKeyRotation(p.ctx, &kms.DisableKeyRotationInput{KeyId: id}))
	p.key(id, "tf again", "Ward=3")

	// aws_kms_external_key: the provider wraps key_material_base64 and imports it, then reads.
	external := must(p.kms.CreateKey(p.ctx, &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt, Description: aws.String("tf")})).KeyMetadata
	parameters := must(p.kms.GetParametersForImport(p.ctx, &kms.GetParametersForImportInput{
		KeyId: external.KeyId, WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesOaepSha256, WrappingKeySpec: kmstypes.WrappingKeySpecRsa2048}))
	must(p.kms.ImportKeyMaterial(p.ctx, &kms.ImportKeyMaterialInput{
		KeyId: external.KeyId, ImportToken: parameters.ImportToken, ExpirationModel: kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire,
		EncryptedKeyMaterial: must(hsmtest.Wrap(parameters.PublicKey, "RSAES_OAEP_SHA_256", make([]byte, 32)))}))
	if m := must(p.kms.DescribeKey(p.ctx, &kms.DescribeKeyInput{KeyId: external.KeyId})).KeyMetadata; m.KeyState != kmstypes.KeyStateEnabled || !m.Enabled ||
		m.ExpirationModel != kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire || m.ValidTo != nil {
		t.Errorf("external key %+v", m)
	}

	// aws_kms_alias: found by listing, re-pointed by an update.
	other := must(p.kms.CreateKey(p.ctx, &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecSymmetricDefault, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt})).KeyMetadata
	alias := aws.String("alias/tf/key")
	must(p.kms.CreateAlias(p.ctx, &kms.CreateAliasInput{AliasName: alias, TargetKeyId: id}))
	if a := p.alias(*alias); a == nil || *a.TargetKeyId != *id || !strings.HasSuffix(*a.AliasArn, ":alias/tf/key") {
		t.Errorf("alias %+v", a)
	}
	must(p.kms.UpdateAlias(p.ctx, &kms.UpdateAliasInput{AliasName: alias, TargetKeyId: other.Arn}))
	if a := p.alias(*alias); a == nil || *a.TargetKeyId != *other.KeyId {
		t.Errorf("alias after the update %+v", a)
	}
	must(p.kms.DeleteAlias(p.ctx, &kms.DeleteAliasInput{AliasName: alias}))
	if a := p.alias(*alias); a != nil {
		t.Errorf("alias after deletion %+v", a)
	}
	_, err := p.kms.DeleteAlias(p.ctx, &kms.DeleteAliasInput{AliasName: alias})
	refusedAs[*kmstypes.NotFoundException](t, "the alias, deleted again", err)

	// aws_kms_grant: found by listing a hundred at a time; grantee not made yet is InvalidArn, which the provider waits on.
	role := must(p.iam.CreateRole(p.ctx, &iam.CreateRoleInput{RoleName: aws.String("tf-grantee"), Path: aws.String("/"), MaxSessionDuration: aws.Int32(3600), AssumeRolePolicyDocument: &p.plan})).Role
	grant := &kms.CreateGrantInput{
		KeyId: id, Name: aws.String("tf-grant"), GranteePrincipal: role.Arn, Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationEncrypt, kmstypes.GrantOperationDecrypt},
		Constraints: &kmstypes.GrantConstraints{EncryptionContextEquals: map[string]string{"Team": "Heart"}},
	}
	absent := *grant
	absent.GranteePrincipal = aws.String(*role.Arn + "-absent")
	_, err = p.kms.CreateGrant(p.ctx, &absent)
	refusedAs[*kmstypes.InvalidArnException](t, "a grantee that is not there", err)
	granted := must(p.kms.CreateGrant(p.ctx, grant))
	g := p.grant(*id, *granted.GrantId)
	if g == nil || *g.GranteePrincipal != *role.Arn || aws.ToString(g.Name) != "tf-grant" || len(g.Operations) != 2 || g.Constraints.EncryptionContextEquals["Team"] != "Heart" {
		t.Errorf("grant %+v", g)
	}
	must(p.kms.RevokeGrant(p.ctx, &kms.RevokeGrantInput{KeyId: id, GrantId: granted.GrantId}))
	if g := p.grant(*id, *granted.GrantId); g != nil {
		t.Errorf("grant after revocation %+v", g)
	}
	must(p.iam.DeleteRole(p.ctx, &iam.DeleteRoleInput{RoleName: role.RoleName}))

	// Deletion: pending is deleted to the provider, and deleting again tells that it is.
	for _, k := range []*string{id, other.KeyId} {
		must(p.kms.ScheduleKeyDeletion(p.ctx, &kms.ScheduleKeyDeletionInput{KeyId: k, PendingWindowInDays: aws.Int32(7)}))
		if m := must(p.kms.DescribeKey(p.ctx, &kms.DescribeKeyInput{KeyId: k})).KeyMetadata; m.KeyState != kmstypes.KeyStatePendingDeletion {
			t.Errorf("state %s", m.KeyState)
		}
		_, err = p.kms.ScheduleKeyDeletion(p.ctx, &kms.ScheduleKeyDeletionInput{KeyId: k})
		if e, ok := errors.AsType[*kmstypes.KMSInvalidStateException](err); !ok || !strings.Contains(*e.Message, "is pending deletion") {
			t.Errorf("deleted again: %v", err)
		}
	}
}

// key reads a key as the provider does.
func (p *provider) key(id *string, description string, tags ...string) {
	p.Helper()
	m := must(p.kms.DescribeKey(p.ctx, &kms.DescribeKeyInput{KeyId: id})).KeyMetadata
	if m.Origin != kmstypes.OriginTypeAwsKms || aws.ToString(m.Description) != description || !m.Enabled || aws.ToBool(m.MultiRegion) {
		p.Errorf("key %+v", m)
	}
	must(p.kms.GetKeyPolicy(p.ctx, &kms.GetKeyPolicyInput{KeyId: id, PolicyName: aws.String("default")}))
	if s := must(p.kms.GetKeyRotationStatus(p.ctx, &kms.GetKeyRotationStatusInput{KeyId: id})); s.KeyRotationEnabled {
		p.Errorf("rotation %+v", s)
	}
	var have []string
	for pages := kms.NewListResourceTagsPaginator(p.kms, &kms.ListResourceTagsInput{KeyId: id}); pages.HasMorePages(); {
		for _, t := range must(pages.NextPage(p.ctx)).Tags {
			have = append(have, *t.TagKey+"="+*t.TagValue)
		}
	}
	if !slices.Equal(have, tags) {
		p.Errorf("tags of the key %v, want %v", have, tags)
	}
}

func (p *provider) alias(name string) *kmstypes.AliasListEntry {
	p.Helper()
	for pages := kms.NewListAliasesPaginator(p.kms, &kms.ListAliasesInput{}); pages.HasMorePages(); {
		for _, a := range must(pages.NextPage(p.ctx)).Aliases {
			if *a.AliasName == name {
				return &a
			}
		}
	}
	return nil
}

func (p *provider) grant(key, id string) *kmstypes.GrantListEntry {
	p.Helper()
	for pages := kms.NewListGrantsPaginator(p.kms, &kms.ListGrantsInput{KeyId: &key, Limit: aws.Int32(100)}); pages.HasMorePages(); {
		for _, g := range must(pages.NextPage(p.ctx)).Grants {
			if *g.GrantId == id {
				return &g
			}
		}
	}
	return nil
}
