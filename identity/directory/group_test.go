package directory_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv/memory"
)

func (w *world) group(name string, members ...string) directory.Group {
	w.t.Helper()
	g, err := w.CreateGroup(w.t.Context(), w.account, name, "/")
	w.must(err)
	for _, u := range members {
		w.must(w.AddUserToGroup(w.t.Context(), w.account, name, u))
	}
	return g
}

// labels are the policies of a user or role, by name.
func (w *world) labels(id string) string {
	w.t.Helper()
	s, ok := w.Principal(id)
	if !ok {
		w.t.Fatalf("no principal %s", id)
	}
	var names []string
	for _, p := range s.Policies.Identity {
		names = append(names, p.Label()[strings.LastIndexByte(p.Label(), '/')+1:])
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestWhatHangsOnAGroupHangsOnItsMembersAtOnce(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	u, other := w.user("u"), w.user("other")
	p := w.policy("p")
	w.group("g", "u")
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"a member of an empty group has nothing", func() error { return nil }, ""},
		{"attaching", func() error { return w.AttachPolicy(ctx, w.account, directory.GroupKind, "G", p.ARN) }, "p"},
		{"an inline policy", func() error {
			return w.PutInlinePolicy(ctx, w.account, directory.GroupKind, "g", "in", allow("kms:Encrypt"))
		}, "in p"},
		{"the user's own beside it", func() error {
			return w.PutInlinePolicy(ctx, w.account, directory.UserKind, "u", "own", allow("kms:Sign"))
		}, "in own p"},
		{"renaming the group", func() error {
			return w.UpdateGroup(ctx, w.account, "g", directory.UserUpdate{NewName: "G2", NewPath: "/staff/"})
		}, "in own p"},
		{"leaving", func() error { return w.RemoveUserFromGroup(ctx, w.account, "g2", "u") }, "own"},
		{"leaving again", func() error { return w.RemoveUserFromGroup(ctx, w.account, "g2", "u") }, "own"},
		{"coming back", func() error { return w.AddUserToGroup(ctx, w.account, "g2", "U") }, "in own p"},
		{"coming back again", func() error { return w.AddUserToGroup(ctx, w.account, "g2", "u") }, "in own p"},
		{"detaching", func() error { return w.DetachPolicy(ctx, w.account, directory.GroupKind, "g2", p.ARN) }, "in own"},
		{"deleting the inline policy", func() error {
			return w.DeleteInlinePolicy(ctx, w.account, directory.GroupKind, "g2", "IN")
		}, "own"},
	}
	for _, s := range steps {
		w.must(s.do())
		if got := w.labels(u.ID); got != s.want {
			t.Errorf("%s: %q, want %q", s.name, got, s.want)
		}
		if got := w.labels(other.ID); got != "" {
			t.Errorf("%s: who is no member has %q", s.name, got)
		}
	}
	t.Run("another default version is in force for the members", func(t *testing.T) {
		w.must(w.AttachPolicy(ctx, w.account, directory.GroupKind, "g2", p.ARN))
		before, _ := w.Principal(u.ID)
		_, err := w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:List*"), true)
		w.must(err)
		after, _ := w.Principal(u.ID)
		if before == after || slices.Equal(before.Policies.Identity, after.Policies.Identity) {
			t.Error("the member's snapshot is the old one")
		}
	})
	t.Run("what does not concern a member leaves its snapshot", func(t *testing.T) {
		before, _ := w.Principal(u.ID)
		w.must(w.UpdateGroup(ctx, w.account, "g2", directory.UserUpdate{NewPath: "/"}))
		w.must(w.AddUserToGroup(ctx, w.account, "g2", "other"))
		if after, _ := w.Principal(u.ID); before != after {
			t.Error("it was built anew")
		}
	})
	t.Run("a restart changes nothing", func(t *testing.T) {
		w.restart()
		if got := w.labels(u.ID) + "; " + w.labels(other.ID); got != "own p; p" {
			t.Errorf("%q", got)
		}
	})
}

func TestAGroupIsNobody(t *testing.T) {
	w := newWorld(t)
	g := w.group("g")
	if _, ok := w.Principal(g.ID); ok {
		t.Error("it has a snapshot")
	}
	if _, ok := w.ResolvePrincipal(g.ARN); ok {
		t.Error("it can be named as principal")
	}
	_, err := w.CreateRole(t.Context(), w.account, directory.NewRole{Name: "r", TrustPolicy: trust(g.ARN)})
	w.refused(err, directory.MalformedPolicyDocument, "")
	w.restart()
	if _, ok := w.Principal(g.ID); ok {
		t.Error("it has a snapshot after a restart")
	}
}

func TestGroupsNamesLimitsAndDeleteRules(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("u")
	p := w.policy("p")
	w.group("g", "u")
	_, err := w.CreateGroup(ctx, w.account, "G", "")
	w.refused(err, directory.EntityAlreadyExists, "Group with name G already exists.")
	_, err = w.CreateGroup(ctx, w.account, strings.Repeat("g", 129), "")
	w.refused(err, directory.ValidationError, "")
	_, err = w.CreateGroup(ctx, w.account, strings.Repeat("g", 128), "")
	w.must(err)
	_, err = w.GetGroup(w.account, "x")
	w.refused(err, directory.NoSuchEntity, "The group with name x cannot be found.")
	w.refused(w.AddUserToGroup(ctx, w.account, "x", "u"), directory.NoSuchEntity, "The group with name x cannot be found.")
	w.refused(w.AddUserToGroup(ctx, w.account, "g", "x"), directory.NoSuchEntity, "The user with name x cannot be found.")
	w.refused(w.UpdateGroup(ctx, w.account, "g", directory.UserUpdate{NewName: strings.Repeat("g", 128)}), directory.EntityAlreadyExists, "")

	w.must(w.AttachPolicy(ctx, w.account, directory.GroupKind, "g", p.ARN))
	w.refused(w.DeletePolicy(ctx, w.account, p.ARN), directory.DeleteConflict, "Cannot delete a policy attached to entities.")
	const users = "Cannot delete entity, must remove users from group first."
	w.refused(w.DeleteGroup(ctx, w.account, "g"), directory.DeleteConflict, users)
	w.refused(w.DeleteUser(ctx, w.account, "u"), directory.DeleteConflict, users)
	w.must(w.RemoveUserFromGroup(ctx, w.account, "g", "u"))
	w.refused(w.DeleteGroup(ctx, w.account, "g"), directory.DeleteConflict, "Cannot delete entity, must detach all policies first.")
	w.must(w.DetachPolicy(ctx, w.account, directory.GroupKind, "g", p.ARN))
	w.must(w.PutInlinePolicy(ctx, w.account, directory.GroupKind, "g", "in", allow("kms:*")))
	w.refused(w.DeleteGroup(ctx, w.account, "g"), directory.DeleteConflict, "Cannot delete entity, must delete policies first.")
	w.must(w.DeleteInlinePolicy(ctx, w.account, directory.GroupKind, "g", "in"))
	w.must(w.DeleteGroup(ctx, w.account, "g"))
	w.must(w.DeleteUser(ctx, w.account, "u"))
	w.must(w.DeletePolicy(ctx, w.account, p.ARN))

	large := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"` + strings.Repeat("x", 3000) + `"}]}`
	w.group("h")
	w.must(w.PutInlinePolicy(ctx, w.account, directory.GroupKind, "h", "a", strings.ReplaceAll(large, `"Resource":"`, `"Resource":"arn:aws:kms:*:*:key/`)))
	err = w.PutInlinePolicy(ctx, w.account, directory.GroupKind, "h", "b", strings.ReplaceAll(large, `"Resource":"`, `"Resource":"arn:aws:kms:*:*:key/`))
	w.refused(err, directory.LimitExceeded, "Maximum policy size of 5120 bytes exceeded for group h")

	w.user("many")
	for i := range 10 {
		w.group(fmt.Sprintf("m%d", i), "many")
	}
	w.group("m10")
	w.refused(w.AddUserToGroup(ctx, w.account, "m10", "many"), directory.LimitExceeded, "Cannot exceed quota for GroupsPerUser: 10")
	for i := 13; i < 300; i++ {
		w.group(fmt.Sprintf("q%d", i))
	}
	_, err = w.CreateGroup(ctx, w.account, "full", "/")
	w.refused(err, directory.LimitExceeded, "Cannot exceed quota for GroupsPerAccount: 300")
}

func TestADeletedMemberOrGroupGetsNothingBack(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("u")
	w.group("g", "u")
	w.must(w.PutInlinePolicy(ctx, w.account, directory.GroupKind, "g", "in", allow("kms:*")))
	w.must(w.RemoveUserFromGroup(ctx, w.account, "g", "u"))
	w.must(w.DeleteUser(ctx, w.account, "u"))
	again := w.user("u")
	if got := w.labels(again.ID); got != "" {
		t.Errorf("the new user has %q", got)
	}
	w.must(w.DeleteInlinePolicy(ctx, w.account, directory.GroupKind, "g", "in"))
	w.must(w.AddUserToGroup(ctx, w.account, "g", "u"))
	w.must(w.RemoveUserFromGroup(ctx, w.account, "g", "u"))
	w.must(w.DeleteGroup(ctx, w.account, "g"))
	w.group("g")
	page, err := w.ListGroupMembers(w.account, "g", directory.List{})
	w.must(err)
	if len(page.Items) != 0 {
		t.Errorf("the new group has %v", page.Items)
	}
}

func TestMembersAndGroupsAreListedInPages(t *testing.T) {
	w := newWorld(t)
	w.group("g")
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("u%d", i)
		if i%2 == 0 {
			name = strings.ToUpper(name)
		}
		w.user(name)
		w.must(w.AddUserToGroup(t.Context(), w.account, "g", name))
		want = append(want, name)
	}
	var got []string
	for list := (directory.List{MaxItems: 3}); ; {
		page, err := w.ListGroupMembers(w.account, "g", list)
		w.must(err)
		for _, u := range page.Items {
			got = append(got, u.Name)
		}
		if list.Marker = page.Marker; list.Marker == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("members %v", got)
	}
	for _, n := range []string{"c", "A", "b"} {
		w.group(n, "u1")
	}
	page, err := w.ListGroupsForUser(w.account, "U1", directory.List{})
	w.must(err)
	got = nil
	for _, g := range page.Items {
		got = append(got, g.Name)
	}
	if strings.Join(got, "") != "Abcg" {
		t.Errorf("groups %v", got)
	}
}

// Two processes on one store: whatever comes second sees what came first.
func TestAGroupIsNotDeletedUnderSomebodyWhoJoinsIt(t *testing.T) {
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	open := func() *directory.Directory {
		d, err := directory.Open(t.Context(), store, directory.Config{Clock: clock.NewFake(start), Authority: &outsider{}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close(context.Background()) })
		return d
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	one := open()
	a, err := one.CreateAccount(ctx, "x", false)
	must(err)
	_, err = one.CreateUser(ctx, a.ID, directory.NewUser{Name: "u"})
	must(err)
	for _, g := range []string{"joined", "deleted"} {
		_, err = one.CreateGroup(ctx, a.ID, g, "")
		must(err)
	}
	two := open()
	must(two.AddUserToGroup(ctx, a.ID, "joined", "u"))
	if err := one.DeleteGroup(ctx, a.ID, "joined"); directory.CodeOf(err) != directory.DeleteConflict {
		t.Errorf("deleting a group that another process added to: %v", err)
	}
	must(one.DeleteGroup(ctx, a.ID, "deleted"))
	if err := two.AddUserToGroup(ctx, a.ID, "deleted", "u"); directory.CodeOf(err) != directory.NoSuchEntity {
		t.Errorf("joining a group that another process deleted: %v", err)
	}
	if problems, err := one.Check(ctx); err != nil || len(problems) != 0 {
		t.Errorf("%q, %v", problems, err)
	}
}

// A change to a group of 10^4 members is to cost no more than what its commit
// costs and a millisecond: the members' snapshots are built when they are asked for.
func BenchmarkAChangeToAGroupOfTenThousand(b *testing.B) {
	ctx := b.Context()
	store := memory.Open()
	defer store.Close()
	d, err := directory.Open(ctx, store, directory.Config{Clock: clock.NewFake(start), Authority: &outsider{}, Quotas: directory.Quotas{Users: 20000}})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close(ctx)
	a, err := d.CreateAccount(ctx, "large", false)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := d.CreateGroup(ctx, a.ID, "g", ""); err != nil {
		b.Fatal(err)
	}
	var first string
	for i := range 10000 {
		name := fmt.Sprintf("u%05d", i)
		u, err := d.CreateUser(ctx, a.ID, directory.NewUser{Name: name})
		if err != nil {
			b.Fatal(err)
		}
		if err := d.AddUserToGroup(ctx, a.ID, "g", name); err != nil {
			b.Fatal(err)
		}
		first = u.ID
	}
	texts := []string{allow("kms:Encrypt"), allow("kms:Decrypt")}
	b.Run("change", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if err := d.PutInlinePolicy(ctx, a.ID, directory.GroupKind, "g", "in", texts[i%2]); err != nil {
				b.Fatal(err)
			}
			i++
			if _, ok := d.Principal(first); !ok {
				b.Fatal("no snapshot")
			}
		}
	})
}
