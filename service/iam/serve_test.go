package iam_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
)

// tierOne are the operations of sts-and-fas section 2, tier 1, without groups,
// and UpdateRoleDescription, which older clients call.
var tierOne = strings.Fields(`
	CreateUser GetUser ListUsers DeleteUser UpdateUser
	CreateAccessKey ListAccessKeys UpdateAccessKey DeleteAccessKey GetAccessKeyLastUsed
	CreateRole GetRole ListRoles DeleteRole UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy
	CreatePolicy GetPolicy ListPolicies DeletePolicy
	CreatePolicyVersion GetPolicyVersion ListPolicyVersions DeletePolicyVersion SetDefaultPolicyVersion
	AttachUserPolicy DetachUserPolicy ListAttachedUserPolicies AttachRolePolicy DetachRolePolicy ListAttachedRolePolicies
	PutUserPolicy GetUserPolicy DeleteUserPolicy ListUserPolicies PutRolePolicy GetRolePolicy DeleteRolePolicy ListRolePolicies
	TagRole UntagRole ListRoleTags TagUser UntagUser ListUserTags TagPolicy UntagPolicy ListPolicyTags
	SimulateCustomPolicy SimulatePrincipalPolicy GetContextKeysForCustomPolicy GetContextKeysForPrincipalPolicy`)

// served are all operations that the table must have.
func served() []string { return slices.Concat(tierOne, tierTwoEntities, tierThree, federationOperations) }

func TestTheTableIsWhatWasSaidAndNothingElse(t *testing.T) {
	p := newPlane(t)
	for _, name := range served() {
		op, ok := p.table[name]
		switch {
		case !ok:
			t.Errorf("%s is not served", name)
		case op.Target == nil || op.Free || op.Unsigned || op.Operator:
			t.Errorf("%s is not signed and authorised like every call of IAM", name)
		case op.Info.Service != api.Service:
			t.Errorf("%s belongs to another service", name)
		}
	}
	for name := range p.table {
		if !slices.Contains(served(), name) {
			t.Errorf("%s is served, but nobody said so", name)
		}
	}
}

// second is now as IAM tells it.
var second = now.Truncate(time.Second)

func TestAUserLivesFromCreationToDeletion(t *testing.T) {
	p := newPlane(t)
	tags := []api.Tag{{Key: "Team", Value: "Heart"}, {Key: "empty", Value: ""}}
	boundary := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "edge", PolicyDocument: allowAll}).Policy.Arn
	made := do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{Path: "/ward/", UserName: "Ada", PermissionsBoundary: boundary, Tags: tags}).User
	if !regexp.MustCompile(`^AIDA[A-Z2-7]{17}$`).MatchString(made.UserId) {
		t.Errorf("UserId = %q", made.UserId)
	}
	want := &api.User{
		Path: "/ward/", UserName: "Ada", UserId: made.UserId, Arn: p.arnOf("user/ward/Ada"), CreateDate: second, Tags: tags,
		PermissionsBoundary: &api.AttachedPermissionsBoundary{
			PermissionsBoundaryType: "Policy", PermissionsBoundaryArn: boundary,
		},
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Errorf("CreateUser (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, do[api.GetUserOutput](p, p.admin, &api.GetUserInput{UserName: "aDA"}).User); d != "" {
		t.Errorf("GetUser in another case (-want +got):\n%s", d)
	}

	listed := do[api.ListUsersOutput](p, p.admin, &api.ListUsersInput{PathPrefix: "/ward/"})
	short := api.User{Path: "/ward/", UserName: "Ada", UserId: made.UserId, Arn: p.arnOf("user/ward/Ada"), CreateDate: second}
	if d := cmp.Diff(&api.ListUsersOutput{Users: []api.User{short}, IsTruncated: new(false)}, listed); d != "" {
		t.Errorf("ListUsers tells no tags and no boundary (-want +got):\n%s", d)
	}

	do[api.UpdateUserOutput](p, p.admin, &api.UpdateUserInput{UserName: "Ada", NewPath: new("/"), NewUserName: "Lovelace"})
	moved := do[api.GetUserOutput](p, p.admin, &api.GetUserInput{UserName: "Lovelace"}).User
	if moved.Arn != p.arnOf("user/Lovelace") || moved.UserId != made.UserId {
		t.Errorf("after UpdateUser: %+v", moved)
	}
	p.wantCode(p.admin, &api.GetUserInput{UserName: "Ada"}, "NoSuchEntity")

	do[api.DeleteUserOutput](p, p.admin, &api.DeleteUserInput{UserName: "Lovelace"})
	p.wantCode(p.admin, &api.GetUserInput{UserName: "Lovelace"}, "NoSuchEntity")
}

func TestAnAccessKeyLivesFromCreationToDeletion(t *testing.T) {
	p := newPlane(t)
	ada := p.user("/", "Ada", allow(`"iam:*AccessKey*"`, `"`+p.arnOf("user/Ada")+`"`))

	out, call, err := p.try(ada, &api.CreateAccessKeyInput{}) // without a name: her own
	if err != nil {
		t.Fatal(err)
	}
	key := out.(*api.CreateAccessKeyOutput).AccessKey
	if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(key.AccessKeyId) || key.UserName != "Ada" || key.Status != "Active" || !key.CreateDate.Equal(second) {
		t.Errorf("CreateAccessKey = %+v", key)
	}
	revealed := call.TakeRevealed()
	if len(revealed) != 1 || revealed[0].Placeholder != key.SecretAccessKey || !revealed[0].Secret.Equal([]byte(testSecret)) {
		t.Errorf("the secret was not handed to the gate")
	}
	if len(key.SecretAccessKey) != 40 || key.SecretAccessKey == testSecret {
		t.Errorf("the output holds the secret itself, or a placeholder of another length")
	}
	revealed[0].Secret.Destroy()
	if c, ok := p.directory.Credential(key.AccessKeyId); !ok || c.PrincipalID != ada.principalID || !c.Active {
		t.Errorf("the new key is no credential of hers: %+v", c)
	}

	want := []api.AccessKeyMetadata{{UserName: "Ada", AccessKeyId: key.AccessKeyId, Status: "Active", CreateDate: second}}
	for _, as := range []*caller{ada, p.admin} {
		in := &api.ListAccessKeysInput{}
		if as == p.admin {
			in.UserName = "ada"
		}
		if d := cmp.Diff(want, do[api.ListAccessKeysOutput](p, as, in).AccessKeyMetadata); d != "" {
			t.Errorf("ListAccessKeys (-want +got):\n%s", d)
		}
	}

	never := &api.GetAccessKeyLastUsedOutput{UserName: "Ada", AccessKeyLastUsed: &api.AccessKeyLastUsed{ServiceName: "N/A", Region: "N/A"}}
	if d := cmp.Diff(never, do[api.GetAccessKeyLastUsedOutput](p, ada, &api.GetAccessKeyLastUsedInput{AccessKeyId: key.AccessKeyId})); d != "" {
		t.Errorf("GetAccessKeyLastUsed before use (-want +got):\n%s", d)
	}
	p.directory.Used(key.AccessKeyId, "kms", "eu-central-1")
	used := &api.AccessKeyLastUsed{LastUsedDate: second, ServiceName: "kms", Region: "eu-central-1"}
	if d := cmp.Diff(used, do[api.GetAccessKeyLastUsedOutput](p, ada, &api.GetAccessKeyLastUsedInput{AccessKeyId: key.AccessKeyId}).AccessKeyLastUsed); d != "" {
		t.Errorf("GetAccessKeyLastUsed (-want +got):\n%s", d)
	}

	do[api.UpdateAccessKeyOutput](p, ada, &api.UpdateAccessKeyInput{AccessKeyId: key.AccessKeyId, Status: "Inactive"})
	if c, _ := p.directory.Credential(key.AccessKeyId); c.Active {
		t.Error("an inactive key is active")
	}
	do[api.UpdateAccessKeyOutput](p, p.admin, &api.UpdateAccessKeyInput{UserName: "Ada", AccessKeyId: key.AccessKeyId, Status: "Active"})
	if c, _ := p.directory.Credential(key.AccessKeyId); !c.Active {
		t.Error("an activated key is inactive")
	}

	// Somebody else's key is not found under one's own name.
	p.wantCode(ada, &api.DeleteAccessKeyInput{AccessKeyId: p.admin.accessKeyID}, "NoSuchEntity")
	p.wantCode(ada, &api.UpdateAccessKeyInput{AccessKeyId: p.admin.accessKeyID, Status: "Inactive"}, "NoSuchEntity")

	do[api.DeleteAccessKeyOutput](p, ada, &api.DeleteAccessKeyInput{AccessKeyId: key.AccessKeyId})
	if _, ok := p.directory.Credential(key.AccessKeyId); ok {
		t.Error("a deleted key is still a credential")
	}
}

func TestARoleLivesFromCreationToDeletion(t *testing.T) {
	p := newPlane(t)
	tags := []api.Tag{{Key: "Team", Value: "Heart"}}
	boundary := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "edge", PolicyDocument: allowAll}).Policy.Arn
	made := do[api.CreateRoleOutput](p, p.admin, &api.CreateRoleInput{
		Path: "/app/", RoleName: "Worker", AssumeRolePolicyDocument: p.trust(), Description: "Works.", MaxSessionDuration: new(int32(7200)),
		PermissionsBoundary: boundary, Tags: tags,
	}).Role
	if !regexp.MustCompile(`^AROA[A-Z2-7]{17}$`).MatchString(made.RoleId) {
		t.Errorf("RoleId = %q", made.RoleId)
	}
	want := &api.Role{
		Path: "/app/", RoleName: "Worker", RoleId: made.RoleId, Arn: p.arnOf("role/app/Worker"), CreateDate: second,
		AssumeRolePolicyDocument: p.trust(), Description: "Works.", MaxSessionDuration: new(int32(7200)), Tags: tags,
		PermissionsBoundary: &api.AttachedPermissionsBoundary{
			PermissionsBoundaryType: "Policy", PermissionsBoundaryArn: boundary,
		},
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Errorf("CreateRole (-want +got):\n%s", d)
	}
	get := func() *api.Role {
		t.Helper()
		return do[api.GetRoleOutput](p, p.admin, &api.GetRoleInput{RoleName: "worker"}).Role
	}
	want.RoleLastUsed = &api.RoleLastUsed{}
	if d := cmp.Diff(want, get()); d != "" {
		t.Errorf("GetRole (-want +got):\n%s", d)
	}
	p.directory.Used(made.RoleId, "kms", "eu-central-1")
	want.RoleLastUsed = &api.RoleLastUsed{LastUsedDate: second, Region: "eu-central-1"}
	if d := cmp.Diff(want, get()); d != "" {
		t.Errorf("GetRole after use (-want +got):\n%s", d)
	}

	short := *want
	short.Tags, short.PermissionsBoundary, short.RoleLastUsed = nil, nil, nil
	listed := do[api.ListRolesOutput](p, p.admin, &api.ListRolesInput{})
	if d := cmp.Diff(&api.ListRolesOutput{Roles: []api.Role{short}, IsTruncated: new(false)}, listed); d != "" {
		t.Errorf("ListRoles tells no tags, boundary and use (-want +got):\n%s", d)
	}

	do[api.UpdateRoleOutput](p, p.admin, &api.UpdateRoleInput{RoleName: "Worker", MaxSessionDuration: new(int32(3600))})
	if r := get(); r.Description != "Works." || *r.MaxSessionDuration != 3600 {
		t.Errorf("UpdateRole without description: %+v", r)
	}
	do[api.UpdateRoleOutput](p, p.admin, &api.UpdateRoleInput{RoleName: "Worker", Description: new("")})
	if r := get(); r.Description != "" || *r.MaxSessionDuration != 3600 {
		t.Errorf("UpdateRole with an empty description: %+v", r)
	}
	if r := do[api.UpdateRoleDescriptionOutput](p, p.admin, &api.UpdateRoleDescriptionInput{RoleName: "Worker", Description: "Again."}).Role; r.Description != "Again." || r.Arn != made.Arn {
		t.Errorf("UpdateRoleDescription = %+v", r)
	}
	trust := strings.Replace(p.trust(), `"sts:AssumeRole"`, `["sts:AssumeRole","sts:TagSession"]`, 1)
	do[api.UpdateAssumeRolePolicyOutput](p, p.admin, &api.UpdateAssumeRolePolicyInput{RoleName: "Worker", PolicyDocument: trust})
	if r := get(); r.AssumeRolePolicyDocument != trust {
		t.Errorf("trust policy = %s", r.AssumeRolePolicyDocument)
	}

	do[api.DeleteRoleOutput](p, p.admin, &api.DeleteRoleInput{RoleName: "Worker"})
	p.wantCode(p.admin, &api.GetRoleInput{RoleName: "Worker"}, "NoSuchEntity")
}

func TestAManagedPolicyLivesFromCreationToDeletion(t *testing.T) {
	p := newPlane(t)
	tags := []api.Tag{{Key: "Team", Value: "Heart"}}
	made := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{
		PolicyName: "Reader", Path: "/x/", PolicyDocument: allowRead, Description: "Reads.", Tags: tags,
	}).Policy
	if !regexp.MustCompile(`^ANPA[A-Z2-7]{17}$`).MatchString(made.PolicyId) {
		t.Errorf("PolicyId = %q", made.PolicyId)
	}
	want := &api.Policy{
		PolicyName: "Reader", PolicyId: made.PolicyId, Arn: p.arnOf("policy/x/Reader"), Path: "/x/", DefaultVersionId: "v1",
		AttachmentCount: new(int32(0)), PermissionsBoundaryUsageCount: new(int32(0)), IsAttachable: new(true),
		Description: "Reads.", CreateDate: second, UpdateDate: second, Tags: tags,
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Errorf("CreatePolicy (-want +got):\n%s", d)
	}

	p.clock.Set(now.Add(time.Hour))
	later := second.Add(time.Hour)
	v2 := do[api.CreatePolicyVersionOutput](p, p.admin, &api.CreatePolicyVersionInput{PolicyArn: made.Arn, PolicyDocument: allowAll})
	if d := cmp.Diff(&api.PolicyVersion{VersionId: "v2", IsDefaultVersion: new(false), CreateDate: later}, v2.PolicyVersion); d != "" {
		t.Errorf("CreatePolicyVersion (-want +got):\n%s", d)
	}
	do[api.SetDefaultPolicyVersionOutput](p, p.admin, &api.SetDefaultPolicyVersionInput{PolicyArn: made.Arn, VersionId: "v2"})
	got := do[api.GetPolicyVersionOutput](p, p.admin, &api.GetPolicyVersionInput{PolicyArn: made.Arn, VersionId: "v2"})
	if d := cmp.Diff(&api.PolicyVersion{Document: allowAll, VersionId: "v2", IsDefaultVersion: new(true), CreateDate: later}, got.PolicyVersion); d != "" {
		t.Errorf("GetPolicyVersion (-want +got):\n%s", d)
	}
	versions := do[api.ListPolicyVersionsOutput](p, p.admin, &api.ListPolicyVersionsInput{PolicyArn: made.Arn})
	if d := cmp.Diff(&api.ListPolicyVersionsOutput{IsTruncated: new(false), Versions: []api.PolicyVersion{
		{VersionId: "v2", IsDefaultVersion: new(true), CreateDate: later}, {VersionId: "v1", IsDefaultVersion: new(false), CreateDate: second},
	}}, versions); d != "" {
		t.Errorf("ListPolicyVersions (-want +got):\n%s", d)
	}

	p.user("/", "Ada", "")
	do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{UserName: "Eve", PermissionsBoundary: made.Arn})
	do[api.AttachUserPolicyOutput](p, p.admin, &api.AttachUserPolicyInput{UserName: "Ada", PolicyArn: made.Arn})
	want.AttachmentCount, want.PermissionsBoundaryUsageCount, want.DefaultVersionId, want.UpdateDate = new(int32(1)), new(int32(1)), "v2", later
	if d := cmp.Diff(want, do[api.GetPolicyOutput](p, p.admin, &api.GetPolicyInput{PolicyArn: made.Arn}).Policy); d != "" {
		t.Errorf("GetPolicy (-want +got):\n%s", d)
	}
	short := *want
	short.Description, short.Tags = "", nil
	for _, in := range []*api.ListPoliciesInput{
		{Scope: "Local"}, {Scope: "All", PathPrefix: "/x/"}, {PathPrefix: "/x/"}, {Scope: "Local", OnlyAttached: new(true)},
		{Scope: "Local", PolicyUsageFilter: "PermissionsBoundary"}, {Scope: "Local", PolicyUsageFilter: "PermissionsPolicy"},
	} {
		if d := cmp.Diff([]api.Policy{short}, do[api.ListPoliciesOutput](p, p.admin, in).Policies); d != "" {
			t.Errorf("ListPolicies %+v (-want +got):\n%s", in, d)
		}
	}
	managed := do[api.ListPoliciesOutput](p, p.admin, &api.ListPoliciesInput{Scope: "AWS"}).Policies
	if !slices.ContainsFunc(managed, func(m api.Policy) bool { return m.Arn == directory.AdministratorAccess && *m.AttachmentCount == 1 }) {
		t.Errorf("AdministratorAccess, which the first user has, is not listed: %+v", managed)
	}
	if slices.ContainsFunc(managed, func(m api.Policy) bool { return m.Arn == made.Arn }) {
		t.Error("the account's own policy is listed among the operator's")
	}

	do[api.DetachUserPolicyOutput](p, p.admin, &api.DetachUserPolicyInput{UserName: "Ada", PolicyArn: made.Arn})
	do[api.DeleteUserOutput](p, p.admin, &api.DeleteUserInput{UserName: "Eve"})
	do[api.DeletePolicyVersionOutput](p, p.admin, &api.DeletePolicyVersionInput{PolicyArn: made.Arn, VersionId: "v1"})
	do[api.DeletePolicyOutput](p, p.admin, &api.DeletePolicyInput{PolicyArn: made.Arn})
	p.wantCode(p.admin, &api.GetPolicyInput{PolicyArn: made.Arn}, "NoSuchEntity")
}

func TestAttachmentsAndInlinePoliciesAreInForceAtOnce(t *testing.T) {
	p := newPlane(t)
	// Each case gives a caller the right to list users and takes it away again.
	ada := p.user("/", "Ada", "")
	worker := p.role("worker", allowRead)
	right := allow(`"iam:ListUsers"`, `"*"`)
	policy := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "list", PolicyDocument: right}).Policy.Arn
	for _, c := range []struct {
		name       string
		as         *caller
		give, take any
		list       any
		wantListed any
	}{
		{"managed policy of a user", ada,
			&api.AttachUserPolicyInput{UserName: "ada", PolicyArn: policy}, &api.DetachUserPolicyInput{UserName: "ADA", PolicyArn: policy},
			&api.ListAttachedUserPoliciesInput{UserName: "Ada"},
			&api.ListAttachedUserPoliciesOutput{AttachedPolicies: []api.AttachedPolicy{{PolicyName: "list", PolicyArn: policy}}, IsTruncated: new(false)}},
		{"managed policy of a role", worker,
			&api.AttachRolePolicyInput{RoleName: "worker", PolicyArn: policy}, &api.DetachRolePolicyInput{RoleName: "worker", PolicyArn: policy},
			&api.ListAttachedRolePoliciesInput{RoleName: "worker", PathPrefix: "/"},
			&api.ListAttachedRolePoliciesOutput{AttachedPolicies: []api.AttachedPolicy{{PolicyName: "list", PolicyArn: policy}}, IsTruncated: new(false)}},
		{"inline policy of a user", ada,
			&api.PutUserPolicyInput{UserName: "Ada", PolicyName: "list", PolicyDocument: right}, &api.DeleteUserPolicyInput{UserName: "Ada", PolicyName: "LIST"},
			&api.ListUserPoliciesInput{UserName: "Ada"},
			&api.ListUserPoliciesOutput{PolicyNames: []string{"list"}, IsTruncated: new(false)}},
		{"inline policy of a role", worker,
			&api.PutRolePolicyInput{RoleName: "worker", PolicyName: "list", PolicyDocument: right}, &api.DeleteRolePolicyInput{RoleName: "worker", PolicyName: "list"},
			&api.ListRolePoliciesInput{RoleName: "worker"},
			&api.ListRolePoliciesOutput{PolicyNames: []string{"inline", "list"}, IsTruncated: new(false)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.in(t)
			p.wantCode(c.as, &api.ListUsersInput{}, "AccessDenied")
			p.wantCode(p.admin, c.give, "")
			p.wantCode(c.as, &api.ListUsersInput{}, "")
			listed, _, err := p.try(p.admin, c.list)
			if d := cmp.Diff(c.wantListed, listed); err != nil || d != "" {
				t.Errorf("%T: %v (-want +got):\n%s", c.list, err, d)
			}
			p.wantCode(p.admin, c.take, "")
			p.wantCode(c.as, &api.ListUsersInput{}, "AccessDenied")
		})
	}

	do[api.PutUserPolicyOutput](p, p.admin, &api.PutUserPolicyInput{UserName: "Ada", PolicyName: "doc", PolicyDocument: right})
	wantUser := &api.GetUserPolicyOutput{UserName: "Ada", PolicyName: "doc", PolicyDocument: right}
	if d := cmp.Diff(wantUser, do[api.GetUserPolicyOutput](p, p.admin, &api.GetUserPolicyInput{UserName: "Ada", PolicyName: "doc"})); d != "" {
		t.Errorf("GetUserPolicy (-want +got):\n%s", d)
	}
	wantRole := &api.GetRolePolicyOutput{RoleName: "worker", PolicyName: "inline", PolicyDocument: allowRead}
	if d := cmp.Diff(wantRole, do[api.GetRolePolicyOutput](p, p.admin, &api.GetRolePolicyInput{RoleName: "worker", PolicyName: "inline"})); d != "" {
		t.Errorf("GetRolePolicy (-want +got):\n%s", d)
	}
}

func TestTagsAreAddedReplacedAndRemoved(t *testing.T) {
	p := newPlane(t)
	p.user("/", "Ada", "")
	p.role("worker", allowRead)
	policy := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "p", PolicyDocument: allowAll}).Policy.Arn
	first := []api.Tag{{Key: "Team", Value: "Heart"}, {Key: "cost", Value: "1"}}
	second := []api.Tag{{Key: "team", Value: "Lung"}}
	for _, c := range []struct {
		name string
		tag  func(tags []api.Tag) any
		drop any
		list func(p *plane) []api.Tag
	}{
		{"user", func(tags []api.Tag) any { return &api.TagUserInput{UserName: "Ada", Tags: tags} },
			&api.UntagUserInput{UserName: "Ada", TagKeys: []string{"COST", "absent"}},
			func(p *plane) []api.Tag {
				return do[api.ListUserTagsOutput](p, p.admin, &api.ListUserTagsInput{UserName: "Ada"}).Tags
			}},
		{"role", func(tags []api.Tag) any { return &api.TagRoleInput{RoleName: "worker", Tags: tags} },
			&api.UntagRoleInput{RoleName: "worker", TagKeys: []string{"COST", "absent"}},
			func(p *plane) []api.Tag {
				return do[api.ListRoleTagsOutput](p, p.admin, &api.ListRoleTagsInput{RoleName: "worker"}).Tags
			}},
		{"policy", func(tags []api.Tag) any { return &api.TagPolicyInput{PolicyArn: policy, Tags: tags} },
			&api.UntagPolicyInput{PolicyArn: policy, TagKeys: []string{"COST", "absent"}},
			func(p *plane) []api.Tag {
				return do[api.ListPolicyTagsOutput](p, p.admin, &api.ListPolicyTagsInput{PolicyArn: policy}).Tags
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.in(t)
			p.wantCode(p.admin, c.tag(first), "")
			if d := cmp.Diff([]api.Tag{first[1], first[0]}, c.list(p)); d != "" {
				t.Errorf("after tagging (-want +got):\n%s", d)
			}
			p.wantCode(p.admin, c.tag(second), "")
			p.wantCode(p.admin, c.drop, "")
			if d := cmp.Diff(second, c.list(p)); d != "" {
				t.Errorf("after replacing and removing (-want +got):\n%s", d)
			}
		})
	}
}
