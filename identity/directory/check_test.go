package directory_test

import (
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv"
)

func TestCheckFindsWhatDoesNotFitTogether(t *testing.T) {
	populate := func(t *testing.T) *world {
		w := newWorld(t)
		ctx := t.Context()
		p := w.policy("p")
		_, err := w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:List*"), true)
		w.must(err)
		_, err = w.CreateUser(ctx, w.account, directory.NewUser{Name: "u", Boundary: p.ARN})
		w.must(err)
		w.role("r", w.account)
		w.must(w.AttachPolicy(ctx, w.account, directory.RoleKind, "r", p.ARN))
		w.must(w.AttachPolicy(ctx, w.account, directory.UserKind, "u", directory.AdministratorAccess))
		w.must(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "u", "in", allow("kms:*")))
		w.Used(w.key("u"), "kms", "r")
		_, err = w.CreateOIDCProvider(ctx, w.account, directory.NewOIDCProvider{URL: "https://i.example/x", ClientIDs: []string{"a"}})
		w.must(err)
		deleted, err := w.CreateOIDCProvider(ctx, w.account, directory.NewOIDCProvider{URL: "https://j.example"})
		w.must(err)
		w.must(w.DeleteOIDCProvider(ctx, w.account, deleted.ARN))
		_, err = w.EnableOutbound(ctx, w.account, newSigner)
		w.must(err)
		gone := w.key("u")
		w.must(w.DeleteAccessKey(ctx, w.account, "u", gone))
		w.must(w.UpdateUser(ctx, w.account, "u", directory.UserUpdate{NewName: "v"}))
		w.group("g", "v")
		w.must(w.PutInlinePolicy(ctx, w.account, directory.GroupKind, "g", "in", allow("kms:*")))
		_, err = w.CreateInstanceProfile(ctx, w.account, directory.NewProfile{Name: "box"})
		w.must(err)
		w.must(w.AddRoleToInstanceProfile(ctx, w.account, "box", "r"))
		for _, service := range []string{"ecs.amazonaws.com", "rds.amazonaws.com"} {
			_, err = w.CreateServiceLinkedRole(ctx, w.account, directory.NewServiceLinkedRole{Service: service})
			w.must(err)
		}
		_, err = w.DeleteServiceLinkedRole(ctx, w.account, "AWSServiceRoleForRDS")
		w.must(err)
		w.must(w.CreateAccountAlias(ctx, w.account, "hospital"))
		serial := w.device("pager")
		w.must(w.EnableMFADevice(ctx, w.account, "v", serial, "111111", "222222"))
		_, err = w.CreateLoginProfile(ctx, w.account, "v", directory.NewPassword{Password: "correct Horse 1"})
		w.must(err)
		w.must(w.UpdateAccountPasswordPolicy(ctx, w.account, directory.PasswordPolicy{MinimumLength: 8}))
		v, err := w.GetUser(w.account, "v")
		w.must(err)
		w.Accessed(v.ID, "kms", "Decrypt", "r")
		w.restart()
		return w
	}
	w := populate(t)
	problems, err := w.Check(t.Context())
	w.must(err)
	if len(problems) != 0 {
		t.Fatalf("a sound directory: %q", problems)
	}
	entries, _, _, err := w.store.Scan(t.Context(), []byte{'I'}, []byte{'J'}, 1000, 0, false)
	w.must(err)
	// Every record is missed, and every damaged one noticed, but for last uses and what
	// became of deletions, which nobody needs, and for a password policy, without which AWS's default holds.
	for i, e := range entries {
		for _, value := range [][]byte{nil, []byte("\xa1\x01\x01"), []byte("nonsense")} {
			if strings.Contains(string(e.Key), "used") || value == nil && (strings.Contains(string(e.Key), "deletion") || strings.Contains(string(e.Key), "accessed") || strings.Contains(string(e.Key), "password-policy")) {
				continue
			}
			w.damage(t, entries, i, value)
		}
	}
	w.must(w.put(kv.Op{Key: kv.Table('I').Text(w.account).Text("used").Text("AKIAGONE"), Value: []byte{0xa0}}))
	w.must(w.put(kv.Op{Key: kv.Table('I').Text(w.account).Text("strange").Text("x"), Value: []byte{0xa0}}))
	w.must(w.put(kv.Op{Key: kv.Table('I').Text("999999999999").Text("used").Text("x"), Value: []byte{0xa0}}))
	problems, err = w.Check(t.Context())
	w.must(err)
	if len(problems) != 4 {
		t.Errorf("%d problems: %q", len(problems), problems)
	}
}

func TestCheckFindsBondsThatOnlyOneSideHas(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("u")
	w.role("r", w.account)
	w.group("g", "u")
	_, err := w.CreateInstanceProfile(ctx, w.account, directory.NewProfile{Name: "box"})
	w.must(err)
	w.must(w.AddRoleToInstanceProfile(ctx, w.account, "box", "r"))
	w.must(w.CreateAccountAlias(ctx, w.account, "hospital"))
	before := make(map[string]kv.Entry)
	scan := func() (all []kv.Entry) {
		for _, table := range []byte{'A', 'I'} {
			entries, _, _, err := w.store.Scan(ctx, []byte{table}, []byte{table + 1}, 1000, 0, false)
			w.must(err)
			all = append(all, entries...)
		}
		return all
	}
	for _, e := range scan() {
		before[string(e.Key)] = e
	}
	w.must(w.RemoveUserFromGroup(ctx, w.account, "g", "u"))
	w.must(w.RemoveRoleFromInstanceProfile(ctx, w.account, "box", "r"))
	w.must(w.DeleteAccountAlias(ctx, w.account, "hospital"))
	// Now each record that the second half changed is put back to the first alone.
	after := make(map[string]kv.Entry)
	for _, e := range scan() {
		after[string(e.Key)] = e
	}
	put := 0
	for key, was := range before {
		is := after[key]
		if string(is.Value) == string(was.Value) {
			continue
		}
		put++
		w.must(w.put(kv.Op{Key: was.Key, Value: was.Value}))
		problems, err := w.Check(ctx)
		w.must(err)
		if len(problems) == 0 {
			t.Errorf("%q of another day was not noticed", key)
		}
		w.must(w.put(kv.Op{Key: was.Key, Value: is.Value, Delete: is.Mod == 0}))
	}
	if put != 6 {
		t.Errorf("%d records were changed, want user, group, role, instance profile, account and alias", put)
	}
	problems, err := w.Check(ctx)
	w.must(err)
	if len(problems) != 0 {
		t.Errorf("in the end: %q", problems)
	}
}

func (w *world) put(op kv.Op) error {
	_, err := w.store.Commit(w.t.Context(), nil, []kv.Op{op})
	return err
}

// damage deletes one entry or replaces its value, checks, and puts it back.
func (w *world) damage(t *testing.T, entries []kv.Entry, i int, value []byte) {
	t.Helper()
	e := entries[i]
	w.must(w.put(kv.Op{Key: e.Key, Value: value, Delete: value == nil}))
	problems, err := w.Check(t.Context())
	w.must(err)
	if len(problems) == 0 {
		t.Errorf("%q = %q was not noticed", e.Key, value)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p, "directory of account "+w.account+": ") {
			t.Errorf("%q", p)
		}
	}
	w.must(w.put(kv.Op{Key: e.Key, Value: e.Value}))
}
