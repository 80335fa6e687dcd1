package iam_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
)

func TestRefusalsHaveAWSsCodesAndMessages(t *testing.T) {
	p := newPlane(t)
	p.user("/", "Ada", "")
	p.role("worker", allowRead)
	policy := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "Reader", PolicyDocument: allowRead}).Policy.Arn
	full := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "full", PolicyDocument: allowRead}).Policy.Arn
	for range 4 {
		do[api.CreatePolicyVersionOutput](p, p.admin, &api.CreatePolicyVersionInput{PolicyArn: full, PolicyDocument: allowRead})
	}
	absent := p.arnOf("policy/absent")
	p.user("/", "two", "")
	for range 2 {
		do[api.CreateAccessKeyOutput](p, p.admin, &api.CreateAccessKeyInput{UserName: "two"})
	}
	p.user("/", "three", "")
	for _, name := range []string{"PowerUserAccess", "ReadOnlyAccess", "IAMFullAccess"} {
		do[api.AttachUserPolicyOutput](p, p.admin, &api.AttachUserPolicyInput{UserName: "three", PolicyArn: "arn:aws:iam::aws:policy/" + name})
	}
	const unknownKey = "AKIA2222222222222222"
	noAction := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*"}]}`
	large := allow(`"kms:Get*"`, `["`+strings.Repeat("arn:aws:kms:us-east-1:111122223333:key/1234\",\"", 150)+`*"]`)
	stranger := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + p.arnOf("user/absent") + `"},"Action":"sts:AssumeRole"}]}`

	for _, c := range []struct {
		name    string
		in      any
		code    string
		status  int
		message string // whole, or its beginning with … at the end
	}{
		{"unknown user", &api.GetUserInput{UserName: "Eve"}, "NoSuchEntity", 404, "The user with name Eve cannot be found."},
		{"unknown role", &api.GetRoleInput{RoleName: "Eve"}, "NoSuchEntity", 404, "The role with name Eve cannot be found."},
		{"unknown policy", &api.GetPolicyInput{PolicyArn: absent}, "NoSuchEntity", 404, "Policy " + absent + " was not found."},
		{"unknown version", &api.GetPolicyVersionInput{PolicyArn: policy, VersionId: "v9"}, "NoSuchEntity", 404, "Policy " + policy + " version v9 does not exist or is not attachable."},
		{"unknown access key", &api.UpdateAccessKeyInput{UserName: "Ada", AccessKeyId: unknownKey, Status: "Active"}, "NoSuchEntity", 404, "The Access Key with id " + unknownKey + " cannot be found."},
		{"last use of an unknown access key", &api.GetAccessKeyLastUsedInput{AccessKeyId: unknownKey}, "NoSuchEntity", 404, "The Access Key with id " + unknownKey + " cannot be found."},
		{"unknown inline policy of a user", &api.GetUserPolicyInput{UserName: "Ada", PolicyName: "x"}, "NoSuchEntity", 404, "The user policy with name x cannot be found."},
		{"unknown inline policy of a role", &api.DeleteRolePolicyInput{RoleName: "worker", PolicyName: "x"}, "NoSuchEntity", 404, "The role policy with name x cannot be found."},
		{"attaching an unknown policy", &api.AttachRolePolicyInput{RoleName: "worker", PolicyArn: absent}, "NoSuchEntity", 404, "Policy " + absent + " does not exist or is not attachable."},
		{"detaching what is not attached", &api.DetachUserPolicyInput{UserName: "Ada", PolicyArn: policy}, "NoSuchEntity", 404, "Policy " + policy + " was not found."},
		{"unknown boundary", &api.CreateUserInput{UserName: "Eve", PermissionsBoundary: absent}, "NoSuchEntity", 404, "Scope ARN: " + absent + " does not exist or is not attachable."},
		{"tags of an unknown user", &api.ListUserTagsInput{UserName: "Eve"}, "NoSuchEntity", 404, "The user with name Eve cannot be found."},

		{"user there already, in another case", &api.CreateUserInput{UserName: "ADA"}, "EntityAlreadyExists", 409, "User with name ADA already exists."},
		{"role there already", &api.CreateRoleInput{RoleName: "worker", AssumeRolePolicyDocument: p.trust()}, "EntityAlreadyExists", 409, "Role with name worker already exists."},
		{"policy there already", &api.CreatePolicyInput{PolicyName: "reader", PolicyDocument: allowRead}, "EntityAlreadyExists", 409, "A policy called reader already exists. Duplicate names are not allowed."},
		{"renaming to a name that is taken", &api.UpdateUserInput{UserName: "Ada", NewUserName: "two"}, "EntityAlreadyExists", 409, "User with name two already exists."},

		{"third access key", &api.CreateAccessKeyInput{UserName: "two"}, "LimitExceeded", 409, "Cannot exceed quota for AccessKeysPerUser: 2"},
		{"sixth version", &api.CreatePolicyVersionInput{PolicyArn: full, PolicyDocument: allowRead}, "LimitExceeded", 409, "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version."},
		{"too many attached policies", &api.AttachUserPolicyInput{UserName: "three", PolicyArn: policy}, "LimitExceeded", 409, "Cannot exceed quota for PoliciesPerUser: 3"},
		{"managed policy too large", &api.CreatePolicyInput{PolicyName: "large", PolicyDocument: large}, "LimitExceeded", 409, "Cannot exceed quota for PolicySize: 6144"},
		{"inline policies too large", &api.PutUserPolicyInput{UserName: "Ada", PolicyName: "large", PolicyDocument: large}, "LimitExceeded", 409, "Maximum policy size of 2048 bytes exceeded for user Ada"},

		{"policy without action", &api.CreatePolicyInput{PolicyName: "bad", PolicyDocument: noAction}, "MalformedPolicyDocument", 400, "…"},
		{"inline policy that is no JSON", &api.PutRolePolicyInput{RoleName: "worker", PolicyName: "bad", PolicyDocument: "{"}, "MalformedPolicyDocument", 400, "…"},
		{"version that is no policy", &api.CreatePolicyVersionInput{PolicyArn: policy, PolicyDocument: "[]"}, "MalformedPolicyDocument", 400, "…"},
		{"trust policy without principal", &api.CreateRoleInput{RoleName: "bad", AssumeRolePolicyDocument: allowAll}, "MalformedPolicyDocument", 400, "…"},
		{"trust policy with a principal that is not there", &api.UpdateAssumeRolePolicyInput{RoleName: "worker", PolicyDocument: stranger}, "MalformedPolicyDocument", 400, `Invalid principal in policy: "AWS":"` + p.arnOf("user/absent") + `"`},

		{"duplicate tag keys", &api.TagUserInput{UserName: "Ada", Tags: []api.Tag{{Key: "a"}, {Key: "A"}}}, "InvalidInput", 400, "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"ARN of no policy", &api.GetPolicyInput{PolicyArn: p.arnOf("user/Ada-the-first")}, "InvalidInput", 400, "ARN " + p.arnOf("user/Ada-the-first") + " is not valid."},
		{"no ARN at all", &api.AttachUserPolicyInput{UserName: "Ada", PolicyArn: "ReadOnlyAccess-by-name"}, "InvalidInput", 400, "ARN ReadOnlyAccess-by-name is not valid."},
		{"ARN of another partition", &api.DetachRolePolicyInput{RoleName: "worker", PolicyArn: "arn:aws-cn:iam::aws:policy/ReadOnlyAccess"}, "InvalidInput", 400, "ARN arn:aws-cn:iam::aws:policy/ReadOnlyAccess is not valid."},
		{"ARN with a region", &api.GetPolicyInput{PolicyArn: "arn:aws:iam:us-east-1:aws:policy/ReadOnlyAccess"}, "InvalidInput", 400, "ARN arn:aws:iam:us-east-1:aws:policy/ReadOnlyAccess is not valid."},
		{"ARN of another service", &api.GetPolicyInput{PolicyArn: "arn:aws:kms::aws:policy/ReadOnlyAccess"}, "InvalidInput", 400, "ARN arn:aws:kms::aws:policy/ReadOnlyAccess is not valid."},
		{"ARN without account", &api.GetPolicyInput{PolicyArn: "arn:aws:iam:::policy/ReadOnlyAccess"}, "InvalidInput", 400, "ARN arn:aws:iam:::policy/ReadOnlyAccess is not valid."},
		{"ARN without name", &api.GetPolicyInput{PolicyArn: p.arnOf("policy/")}, "InvalidInput", 400, "ARN " + p.arnOf("policy/") + " is not valid."},

		{"status that nobody can set", &api.UpdateAccessKeyInput{UserName: "two", AccessKeyId: unknownKey, Status: "Expired"}, "ValidationError", 400, "1 validation error detected: Value 'Expired' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive]"},
		{"name with a slash", &api.CreateUserInput{UserName: "a/b"}, "ValidationError", 400, "The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"},
		{"path without its end", &api.CreateRoleInput{RoleName: "r", Path: "/x", AssumeRolePolicyDocument: p.trust()}, "ValidationError", 400, "…"},
		{"session that is too long", &api.UpdateRoleInput{RoleName: "worker", MaxSessionDuration: new(int32(43201))}, "ValidationError", 400, "…"},
		{"operator's policy", &api.DeletePolicyInput{PolicyArn: directory.AdministratorAccess}, "AccessDenied", 403, "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.in(t)
			_, _, err := p.try(p.admin, c.in)
			code, status, message := codeOf(err)
			if code != c.code || status != c.status {
				t.Errorf("%s %d %q, want %s %d", code, status, message, c.code, c.status)
			}
			if begin, open := strings.CutSuffix(c.message, "…"); message != c.message && !(open && message != "" && strings.HasPrefix(message, begin)) {
				t.Errorf("message %q, want %q", message, c.message)
			}
		})
	}
}

func TestTheHousesOwnTroubleIsNoAnswerOfIAMs(t *testing.T) {
	p := newPlane(t)
	p.user("/", "Ada", "")
	p.keeper.down = errors.New("authority is restarting")
	_, call, err := p.try(p.admin, &api.CreateAccessKeyInput{UserName: "Ada"})
	if code, _, _ := codeOf(err); code != "internal" || !errors.Is(err, directory.ErrUnavailable) || !strings.Contains(err.Error(), "iam: CreateAccessKey: ") {
		t.Errorf("error = %v, want one that the gate logs and replaces", err)
	}
	if revealed := call.TakeRevealed(); len(revealed) != 0 {
		t.Error("a secret was revealed by a call that failed")
	}
	p.keeper.down = nil
	if keys := do[api.ListAccessKeysOutput](p, p.admin, &api.ListAccessKeysInput{UserName: "Ada"}).AccessKeyMetadata; len(keys) != 0 {
		t.Errorf("keys without a secret: %v", keys)
	}
}

func TestDeletionWaitsForWhatHangsOnTheEntity(t *testing.T) {
	const (
		keys     = "Cannot delete entity, must delete access keys first."
		inline   = "Cannot delete entity, must delete policies first."
		attached = "Cannot delete entity, must detach all policies first."
		versions = "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy."
	)
	p := newPlane(t)
	policy := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "p", PolicyDocument: allowRead}).Policy.Arn
	do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{UserName: "Ada"})
	do[api.CreateRoleOutput](p, p.admin, &api.CreateRoleInput{RoleName: "worker", AssumeRolePolicyDocument: p.trust()})
	deleteUser, deleteRole, deletePolicy := &api.DeleteUserInput{UserName: "Ada"}, &api.DeleteRoleInput{RoleName: "worker"}, &api.DeletePolicyInput{PolicyArn: policy}
	key := ""
	for _, c := range []struct {
		name       string
		hang, take any
		deletion   any
		message    string
	}{
		{"a key", &api.CreateAccessKeyInput{UserName: "Ada"}, nil, deleteUser, keys},
		{"an inline policy of a user", &api.PutUserPolicyInput{UserName: "Ada", PolicyName: "i", PolicyDocument: allowRead}, &api.DeleteUserPolicyInput{UserName: "Ada", PolicyName: "i"}, deleteUser, inline},
		{"a managed policy of a user", &api.AttachUserPolicyInput{UserName: "Ada", PolicyArn: policy}, &api.DetachUserPolicyInput{UserName: "Ada", PolicyArn: policy}, deleteUser, attached},
		{"an inline policy of a role", &api.PutRolePolicyInput{RoleName: "worker", PolicyName: "i", PolicyDocument: allowRead}, &api.DeleteRolePolicyInput{RoleName: "worker", PolicyName: "i"}, deleteRole, inline},
		{"a managed policy of a role", &api.AttachRolePolicyInput{RoleName: "worker", PolicyArn: policy}, &api.DetachRolePolicyInput{RoleName: "worker", PolicyArn: policy}, deleteRole, attached},
		{"a user of the policy", &api.AttachUserPolicyInput{UserName: "Ada", PolicyArn: policy}, &api.DetachUserPolicyInput{UserName: "Ada", PolicyArn: policy}, deletePolicy, "Cannot delete a policy attached to entities."},
		{"a boundary", &api.CreateUserInput{UserName: "Bound", PermissionsBoundary: policy}, &api.DeleteUserInput{UserName: "Bound"}, deletePolicy, "Cannot delete a policy attached to entities."},
		{"a further version", &api.CreatePolicyVersionInput{PolicyArn: policy, PolicyDocument: allowAll}, &api.DeletePolicyVersionInput{PolicyArn: policy, VersionId: "v2"}, deletePolicy, versions},
		{"being the default version", nil, nil, &api.DeletePolicyVersionInput{PolicyArn: policy, VersionId: "v1"}, "Cannot delete the default version of a policy."},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.in(t)
			if c.hang != nil {
				out, call, err := p.try(p.admin, c.hang)
				if err != nil {
					t.Fatal(err)
				}
				if made, ok := out.(*api.CreateAccessKeyOutput); ok {
					key = made.AccessKey.AccessKeyId
					for _, r := range call.TakeRevealed() {
						r.Secret.Destroy()
					}
				}
			}
			_, _, err := p.try(p.admin, c.deletion)
			if code, status, message := codeOf(err); code != "DeleteConflict" || status != 409 || message != c.message {
				t.Errorf("%s %d %q, want DeleteConflict 409 %q", code, status, message, c.message)
			}
			if key != "" {
				do[api.DeleteAccessKeyOutput](p, p.admin, &api.DeleteAccessKeyInput{UserName: "Ada", AccessKeyId: key})
				key = ""
			}
			if c.take != nil {
				p.wantCode(p.admin, c.take, "")
			}
		})
	}
	for _, in := range []any{deleteUser, deleteRole, deletePolicy} {
		p.wantCode(p.admin, in, "")
	}
}

func TestListingsComeInPages(t *testing.T) {
	p := newPlane(t)
	do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{UserName: "Ada"})
	do[api.CreateRoleOutput](p, p.admin, &api.CreateRoleInput{RoleName: "Worker", AssumeRolePolicyDocument: p.trust()})
	policy := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "p-many", PolicyDocument: allowRead}).Policy.Arn
	for i := range 5 {
		name := fmt.Sprintf("n%d", i)
		do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{Path: "/many/", UserName: name})
		do[api.CreateRoleOutput](p, p.admin, &api.CreateRoleInput{Path: "/many/", RoleName: name, AssumeRolePolicyDocument: p.trust()})
		other := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{Path: "/many/", PolicyName: name, PolicyDocument: allowRead}).Policy.Arn
		do[api.PutUserPolicyOutput](p, p.admin, &api.PutUserPolicyInput{UserName: "Ada", PolicyName: name, PolicyDocument: allowRead})
		do[api.PutRolePolicyOutput](p, p.admin, &api.PutRolePolicyInput{RoleName: "Worker", PolicyName: name, PolicyDocument: allowRead})
		tags := []api.Tag{{Key: name, Value: "x"}}
		do[api.TagUserOutput](p, p.admin, &api.TagUserInput{UserName: "Ada", Tags: tags})
		do[api.TagRoleOutput](p, p.admin, &api.TagRoleInput{RoleName: "Worker", Tags: tags})
		do[api.TagPolicyOutput](p, p.admin, &api.TagPolicyInput{PolicyArn: policy, Tags: tags})
		if i < 3 { // the quota of this plane
			do[api.AttachUserPolicyOutput](p, p.admin, &api.AttachUserPolicyInput{UserName: "Ada", PolicyArn: other})
			do[api.AttachRolePolicyOutput](p, p.admin, &api.AttachRolePolicyInput{RoleName: "Worker", PolicyArn: other})
		}
		if i < 4 { // v1 is there
			do[api.CreatePolicyVersionOutput](p, p.admin, &api.CreatePolicyVersionInput{PolicyArn: policy, PolicyDocument: allowRead})
		}
		if i < 2 {
			do[api.CreateAccessKeyOutput](p, p.admin, &api.CreateAccessKeyInput{UserName: "Ada"})
		}
	}

	for _, c := range []struct {
		name string
		all  int
		page func(p *plane, marker string, max *int32) (items []string, truncated *bool, next string)
	}{
		{"ListUsers", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListUsersOutput](p, p.admin, &api.ListUsersInput{PathPrefix: "/many/", Marker: m, MaxItems: n})
			return names(out.Users, func(u api.User) string { return u.UserName }), out.IsTruncated, out.Marker
		}},
		{"ListRoles", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListRolesOutput](p, p.admin, &api.ListRolesInput{PathPrefix: "/many/", Marker: m, MaxItems: n})
			return names(out.Roles, func(r api.Role) string { return r.RoleName }), out.IsTruncated, out.Marker
		}},
		{"ListPolicies", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListPoliciesOutput](p, p.admin, &api.ListPoliciesInput{PathPrefix: "/many/", Marker: m, MaxItems: n})
			return names(out.Policies, func(r api.Policy) string { return r.PolicyName }), out.IsTruncated, out.Marker
		}},
		{"ListPolicyVersions", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListPolicyVersionsOutput](p, p.admin, &api.ListPolicyVersionsInput{PolicyArn: policy, Marker: m, MaxItems: n})
			return names(out.Versions, func(v api.PolicyVersion) string { return v.VersionId }), out.IsTruncated, out.Marker
		}},
		{"ListAccessKeys", 2, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListAccessKeysOutput](p, p.admin, &api.ListAccessKeysInput{UserName: "Ada", Marker: m, MaxItems: n})
			return names(out.AccessKeyMetadata, func(k api.AccessKeyMetadata) string { return k.AccessKeyId }), out.IsTruncated, out.Marker
		}},
		{"ListAttachedUserPolicies", 3, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListAttachedUserPoliciesOutput](p, p.admin, &api.ListAttachedUserPoliciesInput{UserName: "Ada", PathPrefix: "/many/", Marker: m, MaxItems: n})
			return names(out.AttachedPolicies, func(a api.AttachedPolicy) string { return a.PolicyName }), out.IsTruncated, out.Marker
		}},
		{"ListAttachedRolePolicies", 3, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListAttachedRolePoliciesOutput](p, p.admin, &api.ListAttachedRolePoliciesInput{RoleName: "Worker", Marker: m, MaxItems: n})
			return names(out.AttachedPolicies, func(a api.AttachedPolicy) string { return a.PolicyName }), out.IsTruncated, out.Marker
		}},
		{"ListUserPolicies", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListUserPoliciesOutput](p, p.admin, &api.ListUserPoliciesInput{UserName: "Ada", Marker: m, MaxItems: n})
			return out.PolicyNames, out.IsTruncated, out.Marker
		}},
		{"ListRolePolicies", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListRolePoliciesOutput](p, p.admin, &api.ListRolePoliciesInput{RoleName: "Worker", Marker: m, MaxItems: n})
			return out.PolicyNames, out.IsTruncated, out.Marker
		}},
		{"ListUserTags", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListUserTagsOutput](p, p.admin, &api.ListUserTagsInput{UserName: "Ada", Marker: m, MaxItems: n})
			return names(out.Tags, func(t api.Tag) string { return t.Key }), out.IsTruncated, out.Marker
		}},
		{"ListRoleTags", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListRoleTagsOutput](p, p.admin, &api.ListRoleTagsInput{RoleName: "Worker", Marker: m, MaxItems: n})
			return names(out.Tags, func(t api.Tag) string { return t.Key }), out.IsTruncated, out.Marker
		}},
		{"ListPolicyTags", 5, func(p *plane, m string, n *int32) ([]string, *bool, string) {
			out := do[api.ListPolicyTagsOutput](p, p.admin, &api.ListPolicyTagsInput{PolicyArn: policy, Marker: m, MaxItems: n})
			return names(out.Tags, func(t api.Tag) string { return t.Key }), out.IsTruncated, out.Marker
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.in(t)
			whole, truncated, next := c.page(p, "", nil)
			if len(whole) != c.all || truncated == nil || *truncated || next != "" {
				t.Fatalf("in one page: %v, truncated %v, marker %q", whole, truncated, next)
			}
			for _, size := range []int32{1, 2, int32(c.all)} {
				var got []string
				for marker, pages := "", 0; ; pages++ {
					items, truncated, next := c.page(p, marker, &size)
					if pages > c.all || len(items) > int(size) || *truncated != (next != "") {
						t.Fatalf("page of %d: %v, truncated %v, marker %q", size, items, *truncated, next)
					}
					got = append(got, items...)
					if next == "" {
						break
					}
					marker = next
				}
				if fmt.Sprint(got) != fmt.Sprint(whole) {
					t.Errorf("in pages of %d: %v, want %v", size, got, whole)
				}
			}
		})
	}
	p.wantCode(p.admin, &api.ListUsersInput{Marker: "!"}, "ValidationError")
	p.wantCode(p.admin, &api.ListUsersInput{MaxItems: new(int32(1001))}, "ValidationError")
	p.wantCode(p.admin, &api.ListRolesInput{PathPrefix: "many"}, "ValidationError")
}

func names[T any](items []T, name func(T) string) []string {
	var all []string
	for _, it := range items {
		all = append(all, name(it))
	}
	return all
}
