package directory_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/directory"
)

func TestABoundaryIsSetChangedAndTakenAway(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	u, r := w.user("u"), w.role("r", w.account)
	p, q := w.policy("p"), w.policy("q")
	for _, c := range []struct {
		kind     directory.Kind
		name, id string
	}{{directory.UserKind, "u", u.ID}, {directory.RoleKind, "r", r.ID}} {
		boundary := func() string {
			s, ok := w.Principal(c.id)
			if !ok {
				t.Fatal("no snapshot")
			}
			if s.Policies.Boundary == nil {
				return ""
			}
			return s.Policies.Boundary.Label()
		}
		if boundary() != "" {
			t.Errorf("%s has one from the start", c.name)
		}
		for _, arn := range []string{p.ARN, p.ARN, q.ARN, directory.AdministratorAccess, q.ARN} {
			w.must(w.PutPermissionsBoundary(ctx, w.account, c.kind, c.name, arn))
			if boundary() != arn {
				t.Errorf("%s has %s, want %s", c.name, boundary(), arn)
			}
		}
		w.refused(w.PutPermissionsBoundary(ctx, w.account, c.kind, c.name, p.ARN+"x"), directory.NoSuchEntity, "Scope ARN: "+p.ARN+"x does not exist or is not attachable.")
		w.refused(w.PutPermissionsBoundary(ctx, w.account, c.kind, "x", p.ARN), directory.NoSuchEntity, "")
		w.refused(w.DeletePolicy(ctx, w.account, q.ARN), directory.DeleteConflict, "")
		w.must(w.DeletePermissionsBoundary(ctx, w.account, c.kind, c.name))
		w.must(w.DeletePermissionsBoundary(ctx, w.account, c.kind, c.name))
		if boundary() != "" {
			t.Errorf("%s still has one", c.name)
		}
	}
	w.must(w.DeletePolicy(ctx, w.account, p.ARN))
	w.must(w.DeletePolicy(ctx, w.account, q.ARN))
	if problems, err := w.Check(ctx); err != nil || len(problems) > 0 {
		t.Errorf("%q, %v", problems, err)
	}
}

func TestAnInstanceProfileHoldsOneRole(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	r := w.role("r", w.account)
	w.role("s", w.account)
	made, err := w.CreateInstanceProfile(ctx, w.account, directory.NewProfile{Name: "Box", Path: "/vm/", Tags: []directory.Tag{{Key: "a", Value: "1"}}})
	w.must(err)
	if !strings.HasPrefix(made.ID, "AIPA") || made.ARN != "arn:aws:iam::"+w.account+":instance-profile/vm/Box" || len(made.Roles) != 0 || len(made.Tags) != 1 {
		t.Errorf("%+v", made)
	}
	_, err = w.CreateInstanceProfile(ctx, w.account, directory.NewProfile{Name: "bOX"})
	w.refused(err, directory.EntityAlreadyExists, "Instance Profile bOX already exists.")
	_, err = w.GetInstanceProfile(w.account, "x")
	w.refused(err, directory.NoSuchEntity, "Instance Profile x cannot be found.")
	w.must(w.Tag(ctx, w.account, directory.ProfileKind, "box", []directory.Tag{{Key: "b", Value: "2"}}))
	w.must(w.Untag(ctx, w.account, directory.ProfileKind, "box", []string{"A"}))

	w.must(w.AddRoleToInstanceProfile(ctx, w.account, "box", "R"))
	for _, role := range []string{"r", "s"} {
		w.refused(w.AddRoleToInstanceProfile(ctx, w.account, "box", role), directory.LimitExceeded, "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
	}
	w.refused(w.RemoveRoleFromInstanceProfile(ctx, w.account, "box", "s"), directory.NoSuchEntity, "The role with name s cannot be found.")
	w.refused(w.RemoveRoleFromInstanceProfile(ctx, w.account, "x", "r"), directory.NoSuchEntity, "Instance Profile x cannot be found.")
	w.restart()
	got, err := w.GetInstanceProfile(w.account, "box")
	w.must(err)
	if len(got.Roles) != 1 || got.Roles[0].ID != r.ID || got.Roles[0].TrustPolicy != r.TrustPolicy || len(got.Tags) != 1 || got.Tags[0].Key != "b" {
		t.Errorf("%+v", got)
	}
	page, err := w.ListInstanceProfilesForRole(w.account, "r", directory.List{})
	w.must(err)
	if len(page.Items) != 1 || page.Items[0].ID != made.ID {
		t.Errorf("profiles of the role: %+v", page)
	}
	const first = "Cannot delete entity, must remove roles from instance profile first."
	w.refused(w.DeleteRole(ctx, w.account, "r"), directory.DeleteConflict, first)
	w.refused(w.DeleteInstanceProfile(ctx, w.account, "box"), directory.DeleteConflict, first)
	w.must(w.RemoveRoleFromInstanceProfile(ctx, w.account, "box", "r"))
	w.must(w.DeleteRole(ctx, w.account, "r"))
	w.role("r", w.account)
	if got, _ := w.GetInstanceProfile(w.account, "box"); len(got.Roles) != 0 {
		t.Errorf("a role made anew is back in the profile: %+v", got)
	}
	w.must(w.DeleteInstanceProfile(ctx, w.account, "box"))
	if all, _ := w.ListInstanceProfiles(w.account, directory.List{}); len(all.Items) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestAServiceLinkedRoleIsItsServicesOwn(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	r, err := w.CreateServiceLinkedRole(ctx, w.account, directory.NewServiceLinkedRole{Service: "autoscaling.amazonaws.com", Description: "scales"})
	w.must(err)
	const name = "AWSServiceRoleForAutoScaling"
	if r.Name != name || r.Path != "/aws-service-role/autoscaling.amazonaws.com/" || r.Service != "autoscaling.amazonaws.com" || !strings.Contains(r.TrustPolicy, `"Principal":{"Service":"autoscaling.amazonaws.com"}`) {
		t.Errorf("%+v", r)
	}
	s, ok := w.Principal(r.ID)
	if !ok || !s.ServiceLinked || len(s.Policies.Identity) != 0 || s.Policies.Boundary != nil {
		t.Errorf("snapshot %+v", s)
	}
	if ordinary, _ := w.Principal(w.role("r", w.account).ID); ordinary.ServiceLinked {
		t.Error("an ordinary role is taken for a service's")
	}
	for _, c := range []struct {
		service, suffix string
		code            directory.Code
		message         string
	}{
		{"autoscaling.amazonaws.com", "", directory.InvalidInput, "Service role name " + name + " has been taken in this account, please try a different suffix."},
		{"autoscaling.amazonaws.com", "two", "", ""},
		{"es.amazonaws.com", "two", directory.InvalidInput, "Custom suffix is not allowed for es.amazonaws.com"},
		{"nothing.amazonaws.com", "", directory.InvalidInput, ""},
		{"ES.amazonaws.com", "", directory.InvalidInput, ""},
	} {
		r, err := w.CreateServiceLinkedRole(ctx, w.account, directory.NewServiceLinkedRole{Service: c.service, Suffix: c.suffix})
		if c.code == "" {
			w.must(err)
			if r.Name != name+"_two" {
				t.Errorf("%+v", r)
			}
			continue
		}
		w.refused(err, c.code, c.message)
	}

	p := w.policy("p")
	_, err = w.CreateInstanceProfile(ctx, w.account, directory.NewProfile{Name: "box"})
	w.must(err)
	protected := "Cannot perform the operation on the protected role '" + name + "' - this role is only modifiable by AWS"
	for what, err := range map[string]error{
		"AttachPolicy":              w.AttachPolicy(ctx, w.account, directory.RoleKind, name, p.ARN),
		"DetachPolicy":              w.DetachPolicy(ctx, w.account, directory.RoleKind, name, p.ARN),
		"PutInlinePolicy":           w.PutInlinePolicy(ctx, w.account, directory.RoleKind, name, "in", allow("kms:*")),
		"DeleteInlinePolicy":        w.DeleteInlinePolicy(ctx, w.account, directory.RoleKind, name, "in"),
		"UpdateAssumeRolePolicy":    w.UpdateAssumeRolePolicy(ctx, w.account, name, trust(w.account)),
		"UpdateRole of the session": w.UpdateRole(ctx, w.account, name, directory.RoleUpdate{MaxSession: new(7200)}),
		"PutPermissionsBoundary":    w.PutPermissionsBoundary(ctx, w.account, directory.RoleKind, name, p.ARN),
		"DeletePermissionsBoundary": w.DeletePermissionsBoundary(ctx, w.account, directory.RoleKind, name),
		"AddRoleToInstanceProfile":  w.AddRoleToInstanceProfile(ctx, w.account, "box", name),
		"DeleteRole":                w.DeleteRole(ctx, w.account, name),
	} {
		if e, ok := err.(*directory.Error); !ok || e.Code != directory.UnmodifiableEntity || e.Message != protected {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.must(w.UpdateRole(ctx, w.account, name, directory.RoleUpdate{Description: new("scales more")}))
	w.must(w.Tag(ctx, w.account, directory.RoleKind, name, []directory.Tag{{Key: "a", Value: "1"}}))
	w.must(w.Untag(ctx, w.account, directory.RoleKind, name, []string{"b"}))
	w.restart()
	if r, err := w.GetRole(w.account, name); err != nil || r.Description != "scales more" || len(r.Tags) != 1 || r.MaxSession != 3600 || r.Service == "" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = w.CreateRole(ctx, w.account, directory.NewRole{Name: "AWSServiceRoleForECS", Path: "/aws-service-role/ecs.amazonaws.com/", TrustPolicy: trust(w.account)})
	w.refused(err, directory.InvalidInput, "")
}

func TestTheDeletionOfAServiceLinkedRoleCanBeAskedFor(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.role("r", w.account)
	made, err := w.CreateServiceLinkedRole(ctx, w.account, directory.NewServiceLinkedRole{Service: "ecs.amazonaws.com"})
	w.must(err)
	_, err = w.DeleteServiceLinkedRole(ctx, w.account, "r")
	w.refused(err, directory.NoSuchEntity, "There is no service-linked role with name r.")
	task, err := w.DeleteServiceLinkedRole(ctx, w.account, "AWSServiceRoleForECS")
	w.must(err)
	if !strings.HasPrefix(task, "task/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS/") || len(task) != len("task/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS/")+36 {
		t.Errorf("task %s", task)
	}
	if _, ok := w.Principal(made.ID); ok {
		t.Error("the role acts on")
	}
	if n := len(w.outside.revoked); n == 0 || w.outside.revoked[n-1].PrincipalID != made.ID {
		t.Errorf("its sessions were not revoked: %v", w.outside.revoked)
	}
	if arn, ok := directory.DeletionTaskRole(w.account, task); !ok || arn != made.ARN {
		t.Errorf("role of the task: %s, %v", arn, ok)
	}
	_, err = w.DeleteServiceLinkedRole(ctx, w.account, "AWSServiceRoleForECS")
	w.refused(err, directory.NoSuchEntity, "")
	w.restart()
	w.must(w.GetServiceLinkedRoleDeletion(w.account, task))
	other, err := w.CreateAccount(ctx, "other", false)
	w.must(err)
	w.refused(w.GetServiceLinkedRoleDeletion(other.ID, task), directory.NoSuchEntity, "")
	w.refused(w.GetServiceLinkedRoleDeletion(w.account, strings.Replace(task, "ForECS", "ForEKS", 1)), directory.NoSuchEntity, "")
	w.refused(w.GetServiceLinkedRoleDeletion(w.account, "task/x"), directory.InvalidInput, "")

	// The name is free again, and after a week a deletion is forgotten with the next.
	_, err = w.CreateServiceLinkedRole(ctx, w.account, directory.NewServiceLinkedRole{Service: "ecs.amazonaws.com"})
	w.must(err)
	w.clock.Advance(8 * 24 * time.Hour)
	second, err := w.DeleteServiceLinkedRole(ctx, w.account, "AWSServiceRoleForECS")
	w.must(err)
	w.must(w.GetServiceLinkedRoleDeletion(w.account, second))
	w.refused(w.GetServiceLinkedRoleDeletion(w.account, task), directory.NoSuchEntity, "")
}

func FuzzTheTaskOfADeletion(f *testing.F) {
	f.Add("task/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS/00000000-0000-4000-8000-000000000000")
	f.Add("task/aws-service-role///")
	f.Add("")
	f.Fuzz(func(t *testing.T, task string) {
		role, ok := directory.DeletionTaskRole("111122223333", task)
		if !ok {
			return
		}
		// What is asked about is a role of this account and of a service, whatever the task says.
		rest, is := strings.CutPrefix(role, "arn:aws:iam::111122223333:role/aws-service-role/")
		if !is || strings.Count(rest, "/") != 1 || strings.ContainsAny(rest, "*?:$") {
			t.Errorf("%q is a role of %q", role, task)
		}
	})
}

func TestAnAccountAliasIsUniqueAndTellsNothingElse(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	other, err := w.CreateAccount(ctx, "other", false)
	w.must(err)
	for _, bad := range []string{"ab", "A-b", "-abc", "abc-", "a--b", "a_b", "123456789012", strings.Repeat("a", 64), ""} {
		w.refused(w.CreateAccountAlias(ctx, w.account, bad), directory.ValidationError, "")
	}
	w.must(w.CreateAccountAlias(ctx, w.account, "clinic"))
	for _, a := range []string{w.account, other.ID} {
		w.refused(w.CreateAccountAlias(ctx, a, "clinic"), directory.EntityAlreadyExists, "The account alias clinic already exists.")
	}
	w.refused(w.DeleteAccountAlias(ctx, other.ID, "clinic"), directory.NoSuchEntity, "The account alias clinic cannot be found.")
	w.refused(w.DeleteAccountAlias(ctx, other.ID, "nobodys"), directory.NoSuchEntity, "The account alias nobodys cannot be found.")
	// A new one takes the place of the old, which others may have then.
	w.must(w.CreateAccountAlias(ctx, w.account, "hospital"))
	w.must(w.CreateAccountAlias(ctx, other.ID, "clinic"))
	w.restart()
	for account, want := range map[string]string{w.account: "hospital", other.ID: "clinic"} {
		if got, err := w.AccountAlias(account); err != nil || got != want {
			t.Errorf("alias %q, %v, want %q", got, err, want)
		}
	}
	w.must(w.DeleteAccountAlias(ctx, w.account, "hospital"))
	w.refused(w.DeleteAccountAlias(ctx, w.account, "hospital"), directory.NoSuchEntity, "")
	w.refused(w.DeleteAccountAlias(ctx, w.account, ""), directory.NoSuchEntity, "")
	if problems, err := w.Check(ctx); err != nil || len(problems) > 0 {
		t.Errorf("%q, %v", problems, err)
	}
}

func TestWhoHasAPolicyIsListedByKindPathAndUse(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	p := w.policy("p")
	_, err := w.CreateUser(ctx, w.account, directory.NewUser{Name: "Ada", Path: "/ward/", Boundary: p.ARN})
	w.must(err)
	w.user("bea")
	w.user("none")
	w.role("worker", w.account)
	w.group("nurses")
	for kind, name := range map[directory.Kind]string{directory.UserKind: "bea", directory.RoleKind: "worker", directory.GroupKind: "nurses"} {
		w.must(w.AttachPolicy(ctx, w.account, kind, name, p.ARN))
	}
	w.must(w.AttachPolicy(ctx, w.account, directory.UserKind, "ada", p.ARN))
	for _, c := range []struct {
		name   string
		filter directory.EntityFilter
		prefix string
		want   string
	}{
		{"all, once each", directory.EntityFilter{}, "", "nurses Ada bea worker"},
		{"users", directory.EntityFilter{Kind: directory.UserKind}, "", "Ada bea"},
		{"groups", directory.EntityFilter{Kind: directory.GroupKind}, "", "nurses"},
		{"roles", directory.EntityFilter{Kind: directory.RoleKind}, "", "worker"},
		{"a path", directory.EntityFilter{}, "/ward/", "Ada"},
		{"boundaries", directory.EntityFilter{Usage: "PermissionsBoundary"}, "", "Ada"},
		{"permissions of users", directory.EntityFilter{Kind: directory.UserKind, Usage: "PermissionsPolicy"}, "", "Ada bea"},
	} {
		for _, size := range []int{1, 100} {
			var got []string
			for list := (directory.List{PathPrefix: c.prefix, MaxItems: size}); ; {
				page, err := w.EntitiesForPolicy(w.account, p.ARN, c.filter, list)
				w.must(err)
				for _, e := range page.Items {
					got = append(got, e.Name)
				}
				if list.Marker = page.Marker; list.Marker == "" {
					break
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s in pages of %d: %v, want %s", c.name, size, got, c.want)
			}
		}
	}
	t.Run("of many, in the same order", func(t *testing.T) {
		for i := range 40 {
			w.user(fmt.Sprintf("c%02d", i))
			if i%2 == 0 {
				w.must(w.AttachPolicy(ctx, w.account, directory.UserKind, fmt.Sprintf("c%02d", i), p.ARN))
			}
		}
		var got []string
		for list := (directory.List{MaxItems: 7}); ; {
			page, err := w.EntitiesForPolicy(w.account, p.ARN, directory.EntityFilter{Kind: directory.UserKind}, list)
			w.must(err)
			for _, e := range page.Items {
				got = append(got, e.Name)
			}
			if list.Marker = page.Marker; list.Marker == "" {
				break
			}
		}
		if len(got) != 22 || got[0] != "Ada" || got[2] != "c00" || got[21] != "c38" {
			t.Errorf("%v", got)
		}
	})
	_, err = w.EntitiesForPolicy(w.account, p.ARN+"x", directory.EntityFilter{}, directory.List{})
	w.refused(err, directory.NoSuchEntity, "Policy "+p.ARN+"x was not found.")
}

func TestAuthorizationDetailsAreWholeInPagesOfAnySize(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	p := w.policy("p")
	_, err := w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:List*"), false)
	w.must(err)
	w.user("u")
	w.role("r", w.account)
	w.group("g", "u")
	w.must(w.AttachPolicy(ctx, w.account, directory.UserKind, "u", directory.AdministratorAccess))
	w.must(w.PutInlinePolicy(ctx, w.account, directory.GroupKind, "g", "in", allow("kms:*")))
	_, err = w.CreateInstanceProfile(ctx, w.account, directory.NewProfile{Name: "box"})
	w.must(err)
	w.must(w.AddRoleToInstanceProfile(ctx, w.account, "box", "r"))

	describe := func(d directory.Detail) string {
		switch d.Kind {
		case directory.UserKind:
			return fmt.Sprintf("user %s groups %v attached %v inline %d", d.User.Name, d.Groups, d.Attached[0].Name, len(d.Inline))
		case directory.GroupKind:
			return fmt.Sprintf("group %s inline %v", d.Group.Name, d.Inline[0].Name)
		case directory.RoleKind:
			return fmt.Sprintf("role %s profile %s of %s", d.Role.Name, d.Profiles[0].Name, d.Profiles[0].Roles[0].Name)
		}
		return fmt.Sprintf("policy %s versions %d", d.Policy.Name, len(d.Versions))
	}
	all := []string{
		"group g inline in", "user u groups [g] attached AdministratorAccess inline 0", "role r profile box of r",
		"policy p versions 2", "policy AdministratorAccess versions 1",
	}
	for _, c := range []struct {
		name   string
		filter directory.DetailFilter
		want   []string
	}{
		{"everything", directory.DetailFilter{}, all},
		{"users and the operator's policies", directory.DetailFilter{Users: true, Managed: true}, []string{all[1], all[4]}},
		{"groups and the account's policies", directory.DetailFilter{Groups: true, Local: true}, []string{all[0], all[3]}},
		{"roles", directory.DetailFilter{Roles: true}, []string{all[2]}},
	} {
		for _, size := range []int{1, 2, 100} {
			var got []string
			for list := (directory.List{MaxItems: size}); ; {
				page, err := w.AuthorizationDetails(w.account, c.filter, list)
				w.must(err)
				for _, d := range page.Items {
					got = append(got, describe(d))
				}
				if list.Marker = page.Marker; list.Marker == "" {
					break
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("%s in pages of %d: %q", c.name, size, got)
			}
		}
	}
}

func TestTheSummaryCountsWhatThereIs(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	p := w.policy("p")
	_, err := w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:List*"), false)
	w.must(err)
	w.user("u")
	w.user("v")
	w.role("r", w.account)
	w.group("g")
	_, err = w.CreateInstanceProfile(ctx, w.account, directory.NewProfile{Name: "box"})
	w.must(err)
	got, err := w.AccountSummary(w.account)
	w.must(err)
	for name, want := range map[string]int{
		"Users": 2, "Roles": 1, "Groups": 1, "InstanceProfiles": 1, "Policies": 1, "PolicyVersionsInUse": 2,
		"UsersQuota": 5000, "GroupsQuota": 300, "GroupsPerUserQuota": 10, "RolesQuota": 1000, "AttachedPoliciesPerGroupQuota": 10,
		"GroupPolicySizeQuota": 5120, "AccountAccessKeysPresent": 0,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s = %d, %v, want %d", name, n, ok, want)
		}
	}
}
