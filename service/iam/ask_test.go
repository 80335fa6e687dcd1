package iam_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/operation"
)

// An asked is what a test wants to be asked: the action without its prefix, the
// resource without arn:aws:iam::ACCOUNT:, and the keys.
type asked struct {
	action, resource string
	keys             map[string][]string
}

// asks runs the target of an operation alone.
func (p *plane) asks(as *caller, in any) ([]operation.Ask, error) {
	p.t.Helper()
	call, _ := p.call(as)
	name := strings.TrimPrefix(strings.TrimSuffix(typeName(in), "Input"), "*iam.")
	return p.table[name].Target(operation.WithCall(p.t.Context(), call), in)
}

// askCases asks everything of entities that have all that condition keys can
// tell: tags and a boundary. The map's keys are operations.
func askCases(p *plane) map[string]struct {
	in   any
	want []asked
} {
	type keys = map[string][]string
	edge := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "edge", PolicyDocument: allowAll}).Policy.Arn
	tags := []api.Tag{{Key: "Team", Value: "Heart"}}
	do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{Path: "/ward/", UserName: "Ada", Tags: tags, PermissionsBoundary: edge})
	do[api.CreateRoleOutput](p, p.admin, &api.CreateRoleInput{Path: "/app/", RoleName: "Worker", Tags: tags, PermissionsBoundary: edge, AssumeRolePolicyDocument: p.trust()})
	policy := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{Path: "/x/", PolicyName: "Reader", Tags: tags, PolicyDocument: allowRead}).Policy.Arn
	key := do[api.CreateAccessKeyOutput](p, p.admin, &api.CreateAccessKeyInput{UserName: "Ada"}).AccessKey.AccessKeyId

	with := func(parts ...keys) keys {
		all := keys{}
		for _, part := range parts {
			maps.Copy(all, part)
		}
		return all
	}
	has := keys{"aws:ResourceTag/Team": {"Heart"}, "iam:ResourceTag/Team": {"Heart"}}
	policyHas := keys{"aws:ResourceTag/Team": {"Heart"}}
	bounded := keys{"iam:PermissionsBoundary": {edge}}
	reader := keys{"iam:PolicyARN": {policy}}
	passed := []api.Tag{{Key: "a", Value: "1"}, {Key: "b", Value: ""}}
	passes := keys{"aws:RequestTag/a": {"1"}, "aws:RequestTag/b": {""}, "aws:TagKeys": {"a", "b"}}
	drops := keys{"aws:TagKeys": {"a", "b"}}

	ada, worker, read := "user/ward/Ada", "role/app/Worker", "policy/x/Reader"
	type c = struct {
		in   any
		want []asked
	}
	all := map[string]c{
		"CreateUser": {&api.CreateUserInput{Path: "/new/", UserName: "Eve", PermissionsBoundary: edge, Tags: passed},
			[]asked{{"CreateUser", "user/new/Eve", with(passes, bounded)}, {"TagUser", "user/new/Eve", passes}}},
		"GetUser":   {&api.GetUserInput{UserName: "ada"}, []asked{{"GetUser", ada, has}}},
		"ListUsers": {&api.ListUsersInput{PathPrefix: "/ward/"}, []asked{{"ListUsers", "user/ward/", keys{}}}},
		"UpdateUser": {&api.UpdateUserInput{UserName: "ada", NewPath: new("/q/"), NewUserName: "Eve"},
			[]asked{{"UpdateUser", ada, has}, {"UpdateUser", "user/q/Eve", has}}},
		"DeleteUser": {&api.DeleteUserInput{UserName: "ADA"}, []asked{{"DeleteUser", ada, has}}},

		"CreateAccessKey":      {&api.CreateAccessKeyInput{UserName: "ada"}, []asked{{"CreateAccessKey", ada, has}}},
		"ListAccessKeys":       {&api.ListAccessKeysInput{UserName: "ada"}, []asked{{"ListAccessKeys", ada, has}}},
		"UpdateAccessKey":      {&api.UpdateAccessKeyInput{UserName: "ada", AccessKeyId: key, Status: "Active"}, []asked{{"UpdateAccessKey", ada, has}}},
		"DeleteAccessKey":      {&api.DeleteAccessKeyInput{UserName: "ada", AccessKeyId: key}, []asked{{"DeleteAccessKey", ada, has}}},
		"GetAccessKeyLastUsed": {&api.GetAccessKeyLastUsedInput{AccessKeyId: key}, []asked{{"GetAccessKeyLastUsed", ada, has}}},

		"CreateRole": {&api.CreateRoleInput{RoleName: "New", PermissionsBoundary: edge, Tags: passed, AssumeRolePolicyDocument: p.trust()},
			[]asked{{"CreateRole", "role/New", with(passes, bounded)}, {"TagRole", "role/New", passes}}},
		"GetRole":                {&api.GetRoleInput{RoleName: "worker"}, []asked{{"GetRole", worker, with(has, bounded)}}},
		"ListRoles":              {&api.ListRolesInput{}, []asked{{"ListRoles", "role/", keys{}}}},
		"UpdateRole":             {&api.UpdateRoleInput{RoleName: "worker"}, []asked{{"UpdateRole", worker, with(has, bounded)}}},
		"UpdateRoleDescription":  {&api.UpdateRoleDescriptionInput{RoleName: "worker"}, []asked{{"UpdateRoleDescription", worker, with(has, bounded)}}},
		"UpdateAssumeRolePolicy": {&api.UpdateAssumeRolePolicyInput{RoleName: "worker"}, []asked{{"UpdateAssumeRolePolicy", worker, with(has, bounded)}}},
		"DeleteRole":             {&api.DeleteRoleInput{RoleName: "worker"}, []asked{{"DeleteRole", worker, with(has, bounded)}}},

		"CreatePolicy": {&api.CreatePolicyInput{PolicyName: "New", Path: "/y/", Tags: passed},
			[]asked{{"CreatePolicy", "policy/y/New", passes}, {"TagPolicy", "policy/y/New", passes}}},
		"GetPolicy":               {&api.GetPolicyInput{PolicyArn: policy}, []asked{{"GetPolicy", read, policyHas}}},
		"ListPolicies":            {&api.ListPoliciesInput{PathPrefix: "/x/"}, []asked{{"ListPolicies", "policy/x/", keys{}}}},
		"DeletePolicy":            {&api.DeletePolicyInput{PolicyArn: policy}, []asked{{"DeletePolicy", read, policyHas}}},
		"CreatePolicyVersion":     {&api.CreatePolicyVersionInput{PolicyArn: policy, SetAsDefault: new(true)}, []asked{{"CreatePolicyVersion", read, policyHas}}},
		"GetPolicyVersion":        {&api.GetPolicyVersionInput{PolicyArn: policy}, []asked{{"GetPolicyVersion", read, policyHas}}},
		"ListPolicyVersions":      {&api.ListPolicyVersionsInput{PolicyArn: policy}, []asked{{"ListPolicyVersions", read, policyHas}}},
		"DeletePolicyVersion":     {&api.DeletePolicyVersionInput{PolicyArn: policy}, []asked{{"DeletePolicyVersion", read, policyHas}}},
		"SetDefaultPolicyVersion": {&api.SetDefaultPolicyVersionInput{PolicyArn: policy}, []asked{{"SetDefaultPolicyVersion", read, policyHas}}},

		"AttachUserPolicy": {&api.AttachUserPolicyInput{UserName: "ada", PolicyArn: policy}, []asked{{"AttachUserPolicy", ada, with(has, bounded, reader)}}},
		"AttachRolePolicy": {&api.AttachRolePolicyInput{RoleName: "worker", PolicyArn: policy}, []asked{{"AttachRolePolicy", worker, with(has, bounded, reader)}}},
		"DetachUserPolicy": {&api.DetachUserPolicyInput{UserName: "ada", PolicyArn: policy}, []asked{{"DetachUserPolicy", ada, with(has, bounded, reader)}}},
		"DetachRolePolicy": {&api.DetachRolePolicyInput{RoleName: "worker", PolicyArn: policy}, []asked{{"DetachRolePolicy", worker, with(has, bounded, reader)}}},

		"ListAttachedUserPolicies": {&api.ListAttachedUserPoliciesInput{UserName: "ada"}, []asked{{"ListAttachedUserPolicies", ada, has}}},
		"ListAttachedRolePolicies": {&api.ListAttachedRolePoliciesInput{RoleName: "worker"}, []asked{{"ListAttachedRolePolicies", worker, has}}},

		"PutUserPolicy":    {&api.PutUserPolicyInput{UserName: "ada"}, []asked{{"PutUserPolicy", ada, with(has, bounded)}}},
		"PutRolePolicy":    {&api.PutRolePolicyInput{RoleName: "worker"}, []asked{{"PutRolePolicy", worker, with(has, bounded)}}},
		"GetUserPolicy":    {&api.GetUserPolicyInput{UserName: "ada"}, []asked{{"GetUserPolicy", ada, has}}},
		"GetRolePolicy":    {&api.GetRolePolicyInput{RoleName: "worker"}, []asked{{"GetRolePolicy", worker, has}}},
		"ListUserPolicies": {&api.ListUserPoliciesInput{UserName: "ada"}, []asked{{"ListUserPolicies", ada, has}}},
		"ListRolePolicies": {&api.ListRolePoliciesInput{RoleName: "worker"}, []asked{{"ListRolePolicies", worker, has}}},
		"DeleteUserPolicy": {&api.DeleteUserPolicyInput{UserName: "ada"}, []asked{{"DeleteUserPolicy", ada, with(has, bounded)}}},
		"DeleteRolePolicy": {&api.DeleteRolePolicyInput{RoleName: "worker"}, []asked{{"DeleteRolePolicy", worker, with(has, bounded)}}},

		"TagUser":        {&api.TagUserInput{UserName: "ada", Tags: passed}, []asked{{"TagUser", ada, with(has, passes)}}},
		"TagRole":        {&api.TagRoleInput{RoleName: "worker", Tags: passed}, []asked{{"TagRole", worker, with(has, passes)}}},
		"TagPolicy":      {&api.TagPolicyInput{PolicyArn: policy, Tags: passed}, []asked{{"TagPolicy", read, with(policyHas, passes)}}},
		"UntagUser":      {&api.UntagUserInput{UserName: "ada", TagKeys: []string{"a", "b"}}, []asked{{"UntagUser", ada, with(has, drops)}}},
		"UntagRole":      {&api.UntagRoleInput{RoleName: "worker", TagKeys: []string{"a", "b"}}, []asked{{"UntagRole", worker, with(has, drops)}}},
		"UntagPolicy":    {&api.UntagPolicyInput{PolicyArn: policy, TagKeys: []string{"a", "b"}}, []asked{{"UntagPolicy", read, with(policyHas, drops)}}},
		"ListUserTags":   {&api.ListUserTagsInput{UserName: "ada"}, []asked{{"ListUserTags", ada, has}}},
		"ListRoleTags":   {&api.ListRoleTagsInput{RoleName: "worker"}, []asked{{"ListRoleTags", worker, has}}},
		"ListPolicyTags": {&api.ListPolicyTagsInput{PolicyArn: policy}, []asked{{"ListPolicyTags", read, policyHas}}},

		"SimulateCustomPolicy":             {&api.SimulateCustomPolicyInput{}, []asked{{"SimulateCustomPolicy", "*", keys{}}}},
		"SimulatePrincipalPolicy":          {&api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf("user/ward/Ada")}, []asked{{"SimulatePrincipalPolicy", ada, has}}},
		"GetContextKeysForCustomPolicy":    {&api.GetContextKeysForCustomPolicyInput{}, []asked{{"GetContextKeysForCustomPolicy", "*", keys{}}}},
		"GetContextKeysForPrincipalPolicy": {&api.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: p.arnOf("role/app/Worker")}, []asked{{"GetContextKeysForPrincipalPolicy", worker, has}}},
	}
	maps.Copy(all, entityAskCases(p, edge, policy))
	maps.Copy(all, federationAskCases(p))
	maps.Copy(all, factorAskCases(p))
	return all
}

func TestEveryOperationAsksAboutItsEntity(t *testing.T) {
	p := newPlane(t)
	cases := askCases(p)
	for _, name := range served() {
		c, ok := cases[name]
		if !ok {
			t.Errorf("%s has no case", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			got, err := p.asks(p.admin, c.in)
			if err != nil {
				t.Fatal(err)
			}
			var have []asked
			for _, a := range got {
				if a.Owner != p.account || a.Policy != nil || a.Grants != nil {
					t.Errorf("%s on %s is not the account's own: owner %s", a.Action, a.Resource, a.Owner)
				}
				have = append(have, asked{strings.TrimPrefix(a.Action, "iam:"), strings.TrimPrefix(a.Resource, p.arnOf("")), maps.Collect(a.Context.All())})
			}
			if d := cmp.Diff(c.want, have, cmp.AllowUnexported(asked{})); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// A reference is AWS's Service Authorization Reference; see its README in
// testdata/vectors/service-authorization.
type reference struct {
	Services map[string]struct {
		Actions map[string]struct {
			Resources map[string]struct {
				Keys []string `json:"c"`
			} `json:"r"`
			Keys []string `json:"c"`
		} `json:"a"`
		Resources map[string]struct {
			ARN  string   `json:"arn"`
			Keys []string `json:"c"`
		} `json:"r"`
	} `json:"services"`
}

func TestAsksAgreeWithTheServiceAuthorizationReference(t *testing.T) {
	p := newPlane(t)
	cases := askCases(p)
	for name, ref := range references(t) {
		t.Run(name, func(t *testing.T) {
			iam := ref.Services["iam"]
			for _, c := range cases {
				asks, err := p.asks(p.admin, c.in)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range asks {
					action, ok := iam.Actions[strings.TrimPrefix(a.Action, "iam:")]
					if !ok {
						t.Errorf("%s is no action of AWS's", a.Action)
						continue
					}
					allowed := slices.Clone(action.Keys)
					fits := len(action.Resources) == 0 // listings: AWS documents "*" and evaluates the path
					for kind, r := range action.Resources {
						allowed = append(append(allowed, r.Keys...), iam.Resources[kind].Keys...)
						fits = fits || pattern(iam.Resources[kind].ARN).MatchString(a.Resource)
					}
					if !fits {
						t.Errorf("%s: AWS has no such resource: %s", a.Action, a.Resource)
					}
					for key := range a.Context.All() {
						if !slices.ContainsFunc(allowed, func(k string) bool { return pattern(k).MatchString(key) }) {
							t.Errorf("%s: AWS does not set %s", a.Action, key)
						}
					}
					for _, k := range allowed {
						// Role templates are AWS's own service's. A profile is given a role before a machine has it. Entities that are being made have no tags yet.
						// Security keys are not served.
						if k == "iam:RegisterSecurityKey" || strings.HasPrefix(k, "iam:FIDO") {
							continue
						}
						if k == "iam:RoleTemplateARN" || k == "iam:AssociatedResourceArn" || strings.Contains(k, ":ResourceTag/") && made(a.Action, asks) {
							continue
						}
						if !slices.ContainsFunc(slices.Collect(maps.Keys(maps.Collect(a.Context.All()))), pattern(k).MatchString) {
							t.Errorf("%s: AWS sets %s", a.Action, k)
						}
					}
				}
			}
		})
	}
}

// made says whether an ask is about something that does not exist yet.
func made(action string, asks []operation.Ask) bool {
	return action == "iam:CreateServiceLinkedRole" || action == "iam:GetServiceLinkedRoleDeletionStatus" || len(asks) == 2 && strings.HasPrefix(asks[0].Action, "iam:Create")
}

// references are the committed reference and those that others bring.
func references(t *testing.T) map[string]reference {
	t.Helper()
	const committed = "../../testdata/vectors/service-authorization"
	found := make(map[string]reference)
	read := func(dir string) {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) != ".json" {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var ref reference
			if err := json.Unmarshal(text, &ref); err != nil {
				return err
			}
			if _, ok := ref.Services["iam"]; ok {
				found[path] = ref
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read(committed)
	if len(found) == 0 {
		t.Fatal("no reference found")
	}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		if dir := filepath.Join(extra, "service-authorization"); exists(dir) {
			read(dir)
		}
	}
	return found
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// pattern makes an expression of a text with ${Placeholders}.
func pattern(s string) *regexp.Regexp {
	parts := regexp.MustCompile(`\$\{\w+\}`).Split(s, -1)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".+") + "$")
}
