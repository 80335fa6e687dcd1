package directory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

func (w *world) snapshot(id string) *directory.Snapshot {
	w.t.Helper()
	s, ok := w.Principal(id)
	if !ok {
		w.t.Fatalf("no principal %s", id)
	}
	return s
}

// trusts says whether the role's trust policy lets the user in.
func (w *world) trusts(role string, u directory.User) bool {
	w.t.Helper()
	r, ok := w.RoleByName(w.account, role)
	if !ok {
		w.t.Fatalf("no role %s", role)
	}
	return authz.Decide(&authz.Request{
		Principal: &authz.Principal{Type: authz.User, ARN: u.ARN, Account: u.Account, ID: u.ID},
		Policies:  &authz.Policies{},
		Ask:       &authz.Ask{Action: "sts:AssumeRole", Resource: r.ARN, Owner: w.account, Policy: r.Trust},
	}, nil).Allowed
}

func TestAPrincipalThatIsMadeAnewGetsNothingBack(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	old := w.user("alice")
	w.must(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "alice", "p", allow("kms:*")))
	key := w.key("alice")
	role := w.role("doctor", old.ARN)
	if !w.trusts("doctor", old) {
		t.Fatal("the role does not trust the user that it names")
	}
	w.must(w.DeleteAccessKey(ctx, w.account, "alice", key))
	w.must(w.DeleteInlinePolicy(ctx, w.account, directory.UserKind, "alice", "p"))
	w.must(w.DeleteUser(ctx, w.account, "alice"))

	if _, ok := w.Principal(old.ID); ok {
		t.Error("the deleted user is still a principal")
	}
	if _, ok := w.Credential(key); ok {
		t.Error("the deleted key is still a credential")
	}
	again := w.user("alice")
	check := func() {
		t.Helper()
		if again.ID == old.ID || again.ARN != old.ARN {
			t.Errorf("old %+v, new %+v", old, again)
		}
		if len(w.snapshot(again.ID).Policies.Identity) != 0 {
			t.Error("the new user has the policies of the old one")
		}
		if w.trusts("doctor", again) {
			t.Error("the role trusts the new user of the old name")
		}
		r, err := w.GetRole(w.account, "doctor")
		w.must(err)
		if strings.Contains(r.TrustPolicy, old.ARN) || !strings.Contains(r.TrustPolicy, `"AWS":"`+old.ID+`"`) {
			t.Errorf("the trust policy shows %s", r.TrustPolicy)
		}
	}
	check()
	w.restart()
	check()
	t.Run("the bare id cannot be saved again", func(t *testing.T) {
		w.refused(w.UpdateAssumeRolePolicy(ctx, w.account, "doctor", trust(old.ID)), directory.MalformedPolicyDocument, "")
	})
	w.must(w.UpdateAssumeRolePolicy(ctx, w.account, "doctor", trust(old.ARN)))
	if !w.trusts("doctor", again) {
		t.Error("naming the new user did not help")
	}
	t.Run("a role likewise", func(t *testing.T) {
		w.must(w.DeleteRole(ctx, w.account, "doctor"))
		if r := w.role("doctor", w.account); r.ID == role.ID {
			t.Error("the new role has the old id")
		}
		if _, ok := w.Principal(role.ID); ok {
			t.Error("the deleted role is still a principal")
		}
	})
	want := []authority.Revocation{{CredentialID: key}, {PrincipalID: old.ID, By: w.account}, {PrincipalID: role.ID, By: w.account}}
	if !reflect.DeepEqual(w.outside.revoked, want) {
		t.Errorf("the authority was told %+v", w.outside.revoked)
	}
}

func TestARenamedUserStaysWhoItIs(t *testing.T) {
	w := newWorld(t)
	u := w.user("alice")
	doc := `{"Version":"2012-10-17","Statement":{"Effect":"Allow", "Principal" : {"AWS":[ "` + u.ARN + `", "` + w.account + `"]},` +
		`"Action":"sts:AssumeRole","Condition":{"StringNotEquals":{"aws:PrincipalArn":"` + u.ARN + `"}}}}`
	_, err := w.CreateRole(t.Context(), w.account, directory.NewRole{Name: "r", TrustPolicy: doc})
	w.must(err)
	w.must(w.UpdateUser(t.Context(), w.account, "alice", directory.UserUpdate{NewName: "eve", NewPath: "/x/"}))
	r, err := w.GetRole(w.account, "r")
	w.must(err)
	// The principal shows its new name; the condition is plain text and keeps the old one.
	if want := strings.Replace(doc, u.ARN, w.arn("user/x/eve"), 1); r.TrustPolicy != want {
		t.Errorf("shown  %s\nwanted %s", r.TrustPolicy, want)
	}
	if s := w.snapshot(u.ID); s.Name != "eve" || s.ARN != w.arn("user/x/eve") {
		t.Errorf("%+v", s)
	}
	if id, ok := w.ResolvePrincipal(u.ARN); ok {
		t.Errorf("the old name is still %s", id)
	}
}

func TestWhomAPolicyCanName(t *testing.T) {
	w := newWorld(t)
	other, err := w.CreateAccount(t.Context(), "other", false)
	w.must(err)
	u, err := w.CreateUser(t.Context(), other.ID, directory.NewUser{Name: "bob", Path: "/staff/"})
	w.must(err)
	role := w.role("r", w.account)
	for _, c := range []struct {
		principal, id string
		ok            bool
	}{
		{w.account, "", true},
		{"arn:aws:iam::" + other.ID + ":root", "", true},
		{u.ARN, u.ID, true},
		{role.ARN, role.ID, true},
		{"arn:aws:sts::" + w.account + ":assumed-role/r/session", "", true},
		{"arn:aws:sts::" + w.account + ":federated-user/bob", "", true},
		{"arn:aws:iam::" + other.ID + ":user/bob", "", false}, // without its path
		{"arn:aws:iam::" + w.account + ":user/bob", "", false},
		{"arn:aws:iam::" + w.account + ":role/nobody", "", false},
		{"arn:aws:sts::" + w.account + ":assumed-role/nobody/session", "", false},
		{"999999999999", "", false},
		{"arn:aws:iam::999999999999:root", "", false},
		{"arn:aws-cn:iam::" + w.account + ":root", "", false},
		{"arn:aws:iam:us-east-1:" + w.account + ":user/bob", "", false},
		{"*", "", false},
		{u.ID, "", false},
		{"", "", false},
	} {
		if id, ok := w.ResolvePrincipal(c.principal); id != c.id || ok != c.ok {
			t.Errorf("%s: %q, %v", c.principal, id, ok)
		}
		if c.ok {
			continue
		}
		if c.principal != "*" {
			_, err := w.CreateRole(t.Context(), w.account, directory.NewRole{Name: "x", TrustPolicy: trust(c.principal)})
			w.refused(err, directory.MalformedPolicyDocument, "")
		}
	}
	_, err = w.CreateRole(t.Context(), w.account, directory.NewRole{Name: "x", TrustPolicy: trust(w.arn("user/nobody"))})
	w.refused(err, directory.MalformedPolicyDocument, `Invalid principal in policy: "AWS":"`+w.arn("user/nobody")+`"`)
}

func TestAChangeIsInForceWhenTheCallReturns(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	u := w.user("u")
	p := w.policy("p")
	labels := func() string {
		var l []string
		for _, d := range w.snapshot(u.ID).Policies.Identity {
			l = append(l, d.Label()+":"+string(d.Text()))
		}
		return strings.Join(l, "\n")
	}
	w.must(w.AttachPolicy(ctx, w.account, directory.UserKind, "u", p.ARN))
	if labels() != p.ARN+":"+allow("kms:Decrypt") {
		t.Errorf("attached: %s", labels())
	}
	before := w.snapshot(u.ID)
	if w.snapshot(u.ID) != before {
		t.Error("nothing changed, and the snapshot did")
	}
	_, err := w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:Encrypt"), false)
	w.must(err)
	if labels() != p.ARN+":"+allow("kms:Decrypt") {
		t.Errorf("a version that is not the default is in force: %s", labels())
	}
	w.must(w.SetDefaultPolicyVersion(ctx, w.account, p.ARN, "v2"))
	if labels() != p.ARN+":"+allow("kms:Encrypt") {
		t.Errorf("another default: %s", labels())
	}
	_, err = w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:ReEncrypt*"), true)
	w.must(err)
	if labels() != p.ARN+":"+allow("kms:ReEncrypt*") {
		t.Errorf("a new default: %s", labels())
	}
	w.must(w.DetachPolicy(ctx, w.account, directory.UserKind, "u", p.ARN))
	if labels() != "" {
		t.Errorf("detached: %s", labels())
	}
	w.must(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "u", "in", allow("kms:List*")))
	if labels() != "in:"+allow("kms:List*") {
		t.Errorf("inline: %s", labels())
	}
	w.must(w.Tag(ctx, w.account, directory.UserKind, "u", []directory.Tag{{Key: "Team", Value: "a"}}))
	if tags := w.snapshot(u.ID).Tags; len(tags) != 1 || tags[0] != (directory.Tag{Key: "Team", Value: "a"}) {
		t.Errorf("tags: %v", tags)
	}
	if len(before.Policies.Identity) != 1 || len(before.Tags) != 0 || string(before.Policies.Identity[0].Text()) != allow("kms:Decrypt") {
		t.Error("a snapshot changed under its holder")
	}
	key := w.key("u")
	w.clock.Advance(time.Minute)
	w.must(w.UpdateAccessKey(ctx, w.account, "", key, false))
	if c, _ := w.Credential(key); c.Active || !c.SessionsSince.Equal(start.Add(time.Minute)) {
		t.Errorf("inactive: %+v", c)
	}
	w.must(w.UpdateAccessKey(ctx, w.account, "u", key, true))
	if c, _ := w.Credential(key); !c.Active || !c.SessionsSince.Equal(start.Add(time.Minute)) {
		t.Errorf("active again: %+v", c)
	}
	w.refused(w.UpdateAccessKey(ctx, w.account, "somebody", key, false), directory.NoSuchEntity, "The user with name somebody cannot be found.")
	w.user("somebody")
	w.refused(w.UpdateAccessKey(ctx, w.account, "somebody", key, false), directory.NoSuchEntity, "The Access Key with id "+key+" cannot be found.")
	w.refused(w.DeleteAccessKey(ctx, w.account, "somebody", key), directory.NoSuchEntity, "")
}

func TestABoundaryIsInForceFromTheStart(t *testing.T) {
	w := newWorld(t)
	p := w.policy("limit")
	u, err := w.CreateUser(t.Context(), w.account, directory.NewUser{Name: "u", Boundary: p.ARN})
	w.must(err)
	if b := w.snapshot(u.ID).Policies.Boundary; b == nil || b.Label() != p.ARN {
		t.Fatal("no boundary")
	}
	_, err = w.CreatePolicyVersion(t.Context(), w.account, p.ARN, allow("kms:List*"), true)
	w.must(err)
	w.restart()
	if b := w.snapshot(u.ID).Policies.Boundary; string(b.Text()) != allow("kms:List*") {
		t.Errorf("the boundary is %s", b.Text())
	}
	got, err := w.GetPolicy(w.account, p.ARN)
	w.must(err)
	if got.BoundaryUses != 1 || got.Attachments != 0 {
		t.Errorf("%+v", got)
	}
	_, err = w.CreateRole(t.Context(), w.account, directory.NewRole{Name: "r", TrustPolicy: trust(w.account), Boundary: w.arn("policy/none")})
	w.refused(err, directory.NoSuchEntity, "Scope ARN: "+w.arn("policy/none")+" does not exist or is not attachable.")
	other, err := w.CreateAccount(t.Context(), "other", false)
	w.must(err)
	_, err = w.CreateUser(t.Context(), other.ID, directory.NewUser{Name: "u", Boundary: p.ARN})
	w.refused(err, directory.NoSuchEntity, "")
	w.refused(w.AttachPolicy(t.Context(), other.ID, directory.UserKind, "u", p.ARN), directory.NoSuchEntity, "")
}

// TestReadersSeeWholeSnapshots runs readers against writers; its worth is in -race.
func TestReadersSeeWholeSnapshots(t *testing.T) {
	w := newWorld(t)
	u := w.user("u")
	w.user("other")
	a, b := w.policy("a"), w.policy("b")
	ctx, stop := context.WithCancel(context.Background())
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				s, ok := w.Principal(u.ID)
				if !ok {
					t.Error("the user was gone for a moment")
					return
				}
				if n := len(s.Policies.Identity); n > 2 || len(s.Tags) > 1 {
					t.Errorf("%d policies, %d tags", n, len(s.Tags))
					return
				}
				for _, d := range s.Policies.Identity {
					_ = d.Label()
				}
				if _, err := w.ListUsers(w.account, directory.List{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i, p := range []directory.Policy{a, b} {
		writers.Go(func() {
			for n := range 100 {
				errs := errors.Join(
					w.AttachPolicy(ctx, w.account, directory.UserKind, "u", p.ARN),
					w.Tag(ctx, w.account, directory.UserKind, "u", []directory.Tag{{Key: "k", Value: fmt.Sprint(n)}}),
					w.DetachPolicy(ctx, w.account, directory.UserKind, "u", p.ARN))
				if errs != nil {
					t.Error(errs)
				}
				if i == 0 {
					w.Used(u.ID, "kms", "us-east-1")
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	if s := w.snapshot(u.ID); len(s.Policies.Identity) != 0 || s.Tags[0].Value != "99" {
		t.Errorf("%+v", s)
	}
}

func TestARestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	w := newWorldOn(t, func() kv.Store {
		s, err := pebble.Open(dir, pebble.Config{Clock: clock.System})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
	ctx := t.Context()
	u, err := w.CreateUser(ctx, w.account, directory.NewUser{Name: "u", Path: "/p/", Tags: []directory.Tag{{Key: "k", Value: ""}}})
	w.must(err)
	p, err := w.CreatePolicy(ctx, w.account, directory.NewPolicy{Name: "pol", Path: "/p/", Description: "d", Document: allow("kms:*"), Tags: []directory.Tag{{Key: "t", Value: "v"}}})
	w.must(err)
	_, err = w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:List*"), true)
	w.must(err)
	role, err := w.CreateRole(ctx, w.account, directory.NewRole{Name: "r", Description: "d", TrustPolicy: trust(u.ARN), MaxSession: 7200, Boundary: p.ARN})
	w.must(err)
	for _, k := range []struct {
		kind directory.Kind
		name string
	}{{directory.UserKind, "u"}, {directory.RoleKind, "r"}} {
		w.must(w.AttachPolicy(ctx, w.account, k.kind, k.name, p.ARN))
		w.must(w.AttachPolicy(ctx, w.account, k.kind, k.name, directory.AdministratorAccess))
		w.must(w.PutInlinePolicy(ctx, w.account, k.kind, k.name, "in", allow("s3:*")))
	}
	key := w.key("u")
	w.Used(key, "kms", "eu-central-1")
	w.Used(role.ID, "sts", "us-east-1")

	state := func() []any {
		var all []any
		add := func(v any, err error) {
			t.Helper()
			w.must(err)
			all = append(all, v)
		}
		v, err := w.GetUser(w.account, "u")
		add(v, err)
		r, err := w.GetRole(w.account, "r")
		add(r, err)
		got, err := w.GetPolicy(w.account, p.ARN)
		add(got, err)
		for _, id := range []string{"v1", "v2"} {
			ver, err := w.GetPolicyVersion(w.account, p.ARN, id)
			add(ver, err)
		}
		keys, err := w.ListAccessKeys(w.account, "u", directory.List{})
		add(keys, err)
		last, err := w.GetAccessKeyLastUsed(w.account, key)
		add(last, err)
		for _, k := range []struct {
			kind directory.Kind
			name string
		}{{directory.UserKind, "u"}, {directory.RoleKind, "r"}} {
			at, err := w.ListAttachedPolicies(w.account, k.kind, k.name, directory.List{})
			add(at, err)
			in, err := w.GetInlinePolicy(w.account, k.kind, k.name, "in")
			add(in, err)
			tags, err := w.ListTags(w.account, k.kind, k.name, directory.List{})
			add(tags, err)
		}
		cred, ok := w.Credential(key)
		all = append(all, *cred, ok, w.Accounts())
		return all
	}
	before := state()
	w.restart()
	after := state()
	for i := range before {
		if !reflect.DeepEqual(before[i], after[i]) {
			t.Errorf("before %+v\nafter  %+v", before[i], after[i])
		}
	}
	if last, _ := w.GetAccessKeyLastUsed(w.account, key); last.Service != "kms" || last.Region != "eu-central-1" || !last.Time.Equal(start) || last.UserName != "u" {
		t.Errorf("last used %+v", last)
	}
}

// A flaky store answers a commit with an unknown outcome.
type flaky struct {
	kv.Store
	apply bool // whether the commit happens all the same
	once  bool
}

var errUnknown = errors.New("connection lost")

func (f *flaky) Commit(ctx context.Context, conds []kv.Cond, ops []kv.Op) (kv.Rev, error) {
	if !f.once {
		return f.Store.Commit(ctx, conds, ops)
	}
	f.once = false
	if f.apply {
		if _, err := f.Store.Commit(ctx, conds, ops); err != nil {
			return 0, err
		}
	}
	return 0, errUnknown
}

func TestACommitOfUnknownOutcomeIsLookedUp(t *testing.T) {
	for _, applied := range []bool{true, false} {
		t.Run(fmt.Sprint("applied: ", applied), func(t *testing.T) {
			w := newWorld(t)
			f := &flaky{Store: w.store, apply: applied}
			w.reopen = func() kv.Store { return f }
			w.restart()
			f.once = true
			_, err := w.CreateUser(t.Context(), w.account, directory.NewUser{Name: "u"})
			if applied && err != nil || !applied && !errors.Is(err, directory.ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
			if _, err := w.GetUser(w.account, "u"); (err == nil) != applied {
				t.Errorf("the user is there: %v", err)
			}
			w.restart()
			if _, err := w.GetUser(w.account, "u"); (err == nil) != applied {
				t.Errorf("after a restart the user is there: %v", err)
			}
		})
	}
}

func TestTwoWritersOfOneStore(t *testing.T) {
	w := newWorld(t)
	other, err := directory.Open(t.Context(), w.store, directory.Config{Clock: w.clock, Authority: w.outside})
	w.must(err)
	defer other.Close(context.Background())
	u := w.user("u") // which the other does not know of
	_, err = other.CreateUser(t.Context(), w.account, directory.NewUser{Name: "u"})
	w.refused(err, directory.EntityAlreadyExists, "User with name u already exists.")
	w.must(other.DeleteUser(t.Context(), w.account, "u"))
	w.refused(w.DeleteUser(t.Context(), w.account, "u"), directory.NoSuchEntity, "")
	u = w.user("u")
	w.must(w.Tag(t.Context(), w.account, directory.UserKind, "u", []directory.Tag{{Key: "a", Value: "1"}}))
	if s := w.snapshot(u.ID); len(s.Tags) != 1 {
		t.Errorf("%+v", s)
	}
}

func FuzzShowPrincipals(f *testing.F) {
	const was = "arn:aws:iam::111122223333:user/alice"
	f.Add(trust(was))
	f.Add(`{"Statement":{"Principal":{"AWS":["` + was + `","*"]},"Condition":{"StringEquals":{"aws:PrincipalArn":"` + was + `"}}}}`)
	f.Add(`{"Statement":[{"NotPrincipal":{"AWS":"\u0061rn:aws:iam::111122223333:user/alice"}}]`)
	d, err := directory.Open(f.Context(), memory.Open(), directory.Config{Clock: clock.System, Authority: &outsider{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		shown := d.ShowPrincipals(text, map[string]string{was: "AIDAGONE"})
		if json.Valid([]byte(text)) && !json.Valid([]byte(shown)) {
			t.Errorf("%q became %q", text, shown)
		}
		if doc, err := policy.Parse(policy.Trust, []byte(text)); err == nil {
			after, err := policy.Parse(policy.Trust, []byte(strings.ReplaceAll(shown, "AIDAGONE", was)))
			if err != nil || !reflect.DeepEqual(after.Principals(), doc.Principals()) {
				t.Errorf("%q became %q: %v", text, shown, err)
			}
			if slices.ContainsFunc(doc.Principals(), func(p policy.PrincipalRef) bool { return p.Value == was }) && !strings.Contains(shown, "AIDAGONE") {
				t.Errorf("%q still names the deleted user: %q", text, shown)
			}
		}
	})
}
