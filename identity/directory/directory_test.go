package directory_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

// An outsider stands for the authority's process: it makes secrets and notes
// revocations. What it seals it does not need to open here.
type outsider struct {
	mu      sync.Mutex
	revoked []authority.Revocation
	down    bool
}

func (o *outsider) NewSecret(context.Context, string, string) ([]byte, *secret.Bytes, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return nil, nil, authority.ErrUnavailable
	}
	var b [30]byte
	rand.Read(b[:])
	s, err := secret.From([]byte(base64.StdEncoding.EncodeToString(b[:])))
	return []byte("sealed"), s, err
}

func (o *outsider) Revoke(_ context.Context, r authority.Revocation) (uint64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return 0, authority.ErrUnavailable
	}
	o.revoked = append(o.revoked, r)
	return uint64(len(o.revoked)), nil
}

type world struct {
	*directory.Directory
	t       *testing.T
	store   kv.Store
	reopen  func() kv.Store // what a restart does to the store
	clock   *clock.Fake
	outside *outsider
	account string
}

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	return newWorldOn(t, func() kv.Store { return store })
}

func newWorldOn(t *testing.T, open func() kv.Store) *world {
	t.Helper()
	w := &world{t: t, reopen: open, clock: clock.NewFake(start), outside: &outsider{}}
	w.open()
	t.Cleanup(func() {
		w.must(w.Close(context.Background()))
		w.must(w.store.Close())
	})
	a, err := w.CreateAccount(t.Context(), "hospital", false)
	w.must(err)
	w.account = a.ID
	return w
}

func (w *world) open() {
	w.t.Helper()
	w.store = w.reopen()
	var err error
	w.Directory, err = directory.Open(w.t.Context(), w.store, directory.Config{Clock: w.clock, Authority: w.outside, Factors: w.outside})
	w.must(err)
}

// restart closes directory and store and opens them again; a memory store stays.
func (w *world) restart() {
	w.t.Helper()
	w.must(w.Close(w.t.Context()))
	if _, inMemory := w.store.(*memory.Store); !inMemory {
		if _, wrapped := w.store.(*flaky); !wrapped {
			w.must(w.store.Close())
		}
	}
	w.open()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refused(err error, code directory.Code, message string) {
	w.t.Helper()
	e, ok := errors.AsType[*directory.Error](err)
	if !ok || e.Code != code || message != "" && e.Message != message {
		w.t.Errorf("got %v, want %s: %s", err, code, message)
	}
}

func (w *world) user(name string) directory.User {
	w.t.Helper()
	u, err := w.CreateUser(w.t.Context(), w.account, directory.NewUser{Name: name})
	w.must(err)
	return u
}

func (w *world) role(name, trusted string) directory.Role {
	w.t.Helper()
	r, err := w.CreateRole(w.t.Context(), w.account, directory.NewRole{Name: name, TrustPolicy: trust(trusted)})
	w.must(err)
	return r
}

func (w *world) policy(name string) directory.Policy {
	w.t.Helper()
	p, err := w.CreatePolicy(w.t.Context(), w.account, directory.NewPolicy{Name: name, Document: allow("kms:Decrypt")})
	w.must(err)
	return p
}

func (w *world) key(user string) string {
	w.t.Helper()
	k, err := w.CreateAccessKey(w.t.Context(), w.account, user)
	w.must(err)
	k.Secret.Destroy()
	return k.ID
}

func allow(action string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + action + `","Resource":"*"}]}`
}

func trust(principal string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole"}]}`
}

func TestAnAccountIsOpenedByItsCustomerAlone(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	first, err := w.NewEnrolment(ctx, w.account)
	w.must(err)
	code, err := w.NewEnrolment(ctx, w.account)
	w.must(err)
	if first == code || len(code) < 32 {
		t.Errorf("codes %q and %q", first, code)
	}
	t.Run("a code that was replaced is worth nothing", func(t *testing.T) {
		if _, _, err := w.Redeem(ctx, first); !errors.Is(err, directory.ErrEnrolment) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the code is stored as its hash alone", func(t *testing.T) {
		entries, _, _, err := w.store.Scan(ctx, []byte{0}, nil, 1000, 0, false)
		w.must(err)
		for _, e := range entries {
			if strings.Contains(string(e.Key)+string(e.Value), code) {
				t.Error("the code is in the store")
			}
		}
	})
	akid, sec, err := w.Redeem(ctx, " "+code+"\n")
	w.must(err)
	if sec.Len() != 40 {
		t.Errorf("a secret of %d characters", sec.Len())
	}
	cred, ok := w.Credential(akid)
	if !ok || !cred.Active || cred.Account != w.account {
		t.Fatalf("credential %+v, %v", cred, ok)
	}
	snap, ok := w.Principal(cred.PrincipalID)
	if !ok || snap.Name != directory.FirstUser || len(snap.Policies.Identity) != 1 || snap.Policies.Identity[0].Label() != directory.AdministratorAccess {
		t.Errorf("snapshot %+v", snap)
	}
	t.Run("a second redemption is told that there was a first", func(t *testing.T) {
		if _, _, err := w.Redeem(ctx, code); !errors.Is(err, directory.ErrEnrolled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the operator has no second way in", func(t *testing.T) {
		if _, err := w.NewEnrolment(ctx, w.account); !errors.Is(err, directory.ErrEnrolled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the same after a restart", func(t *testing.T) {
		w.restart()
		if _, _, err := w.Redeem(ctx, code); !errors.Is(err, directory.ErrEnrolled) {
			t.Errorf("got %v", err)
		}
		if a, _ := w.Account(w.account); !a.Enrolled.Equal(start) || a.Name != "hospital" || a.Operator {
			t.Errorf("account %+v", a)
		}
	})
}

func TestAnEnrolmentCodeExpires(t *testing.T) {
	w := newWorld(t)
	code, err := w.NewEnrolment(t.Context(), w.account)
	w.must(err)
	w.clock.Advance(directory.EnrolmentLife)
	if _, _, err := w.Redeem(t.Context(), code); !errors.Is(err, directory.ErrEnrolment) {
		t.Errorf("got %v", err)
	}
	// Nobody got in, so the operator may try again.
	code, err = w.NewEnrolment(t.Context(), w.account)
	w.must(err)
	if _, _, err := w.Redeem(t.Context(), code); err != nil {
		t.Error(err)
	}
}

func TestOfManyWhoRedeemAtOnceOneSucceeds(t *testing.T) {
	w := newWorld(t)
	code, err := w.NewEnrolment(t.Context(), w.account)
	w.must(err)
	var wg sync.WaitGroup
	results := make(chan error, 16)
	for range cap(results) {
		wg.Go(func() { _, _, err := w.Redeem(context.Background(), code); results <- err })
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, directory.ErrEnrolled):
			t.Errorf("got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d redeemed", won)
	}
}

func TestWhatMustBeGoneBeforeADeletion(t *testing.T) {
	const keys = "Cannot delete entity, must delete access keys first."
	const inline = "Cannot delete entity, must delete policies first."
	const attached = "Cannot delete entity, must detach all policies first."
	for _, c := range []struct {
		name    string
		prepare func(w *world)
		delete  func(w *world) error
		message string
		clear   func(w *world) error
	}{
		{"a user with an access key",
			func(w *world) { w.user("u"); w.key("u") },
			func(w *world) error { return w.DeleteUser(w.t.Context(), w.account, "u") }, keys,
			func(w *world) error {
				page, err := w.ListAccessKeys(w.account, "u", directory.List{})
				w.must(err)
				return w.DeleteAccessKey(w.t.Context(), w.account, "u", page.Items[0].ID)
			}},
		{"a user with an inline policy",
			func(w *world) {
				w.user("u")
				w.must(w.PutInlinePolicy(w.t.Context(), w.account, directory.UserKind, "u", "p", allow("kms:*")))
			},
			func(w *world) error { return w.DeleteUser(w.t.Context(), w.account, "u") }, inline,
			func(w *world) error {
				return w.DeleteInlinePolicy(w.t.Context(), w.account, directory.UserKind, "u", "P")
			}},
		{"a user with an attached policy",
			func(w *world) {
				w.user("u")
				w.must(w.AttachPolicy(w.t.Context(), w.account, directory.UserKind, "u", directory.AdministratorAccess))
			},
			func(w *world) error { return w.DeleteUser(w.t.Context(), w.account, "u") }, attached,
			func(w *world) error {
				return w.DetachPolicy(w.t.Context(), w.account, directory.UserKind, "u", directory.AdministratorAccess)
			}},
		{"a role with an inline policy",
			func(w *world) {
				w.role("r", w.account)
				w.must(w.PutInlinePolicy(w.t.Context(), w.account, directory.RoleKind, "r", "p", allow("kms:*")))
			},
			func(w *world) error { return w.DeleteRole(w.t.Context(), w.account, "r") }, inline,
			func(w *world) error {
				return w.DeleteInlinePolicy(w.t.Context(), w.account, directory.RoleKind, "r", "p")
			}},
		{"a role with an attached policy",
			func(w *world) {
				w.role("r", w.account)
				w.must(w.AttachPolicy(w.t.Context(), w.account, directory.RoleKind, "r", w.policy("p").ARN))
			},
			func(w *world) error { return w.DeleteRole(w.t.Context(), w.account, "r") }, attached,
			func(w *world) error {
				return w.DetachPolicy(w.t.Context(), w.account, directory.RoleKind, "r", w.arn("policy/p"))
			}},
		{"a policy that is attached",
			func(w *world) {
				w.role("r", w.account)
				w.must(w.AttachPolicy(w.t.Context(), w.account, directory.RoleKind, "r", w.policy("p").ARN))
			},
			func(w *world) error { return w.DeletePolicy(w.t.Context(), w.account, w.arn("policy/p")) },
			"Cannot delete a policy attached to entities.",
			func(w *world) error {
				return w.DetachPolicy(w.t.Context(), w.account, directory.RoleKind, "r", w.arn("policy/p"))
			}},
		{"a policy that is a boundary",
			func(w *world) {
				_, err := w.CreateUser(w.t.Context(), w.account, directory.NewUser{Name: "u", Boundary: w.policy("p").ARN})
				w.must(err)
			},
			func(w *world) error { return w.DeletePolicy(w.t.Context(), w.account, w.arn("policy/p")) },
			"Cannot delete a policy attached to entities.",
			func(w *world) error { return w.DeleteUser(w.t.Context(), w.account, "u") }},
		{"a policy with a second version",
			func(w *world) {
				_, err := w.CreatePolicyVersion(w.t.Context(), w.account, w.policy("p").ARN, allow("kms:Encrypt"), false)
				w.must(err)
			},
			func(w *world) error { return w.DeletePolicy(w.t.Context(), w.account, w.arn("policy/p")) }, "",
			func(w *world) error { return w.DeletePolicyVersion(w.t.Context(), w.account, w.arn("policy/p"), "v2") }},
		{"a default version",
			func(w *world) {
				_, err := w.CreatePolicyVersion(w.t.Context(), w.account, w.policy("p").ARN, allow("kms:Encrypt"), true)
				w.must(err)
			},
			func(w *world) error { return w.DeletePolicyVersion(w.t.Context(), w.account, w.arn("policy/p"), "v2") },
			"Cannot delete the default version of a policy.",
			func(w *world) error {
				return w.SetDefaultPolicyVersion(w.t.Context(), w.account, w.arn("policy/p"), "v1")
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.prepare(w)
			w.refused(c.delete(w), directory.DeleteConflict, c.message)
			w.restart()
			w.refused(c.delete(w), directory.DeleteConflict, c.message)
			w.must(c.clear(w))
			w.must(c.delete(w))
			w.restart()
			w.refused(c.delete(w), directory.NoSuchEntity, "")
		})
	}
}

func (w *world) arn(resource string) string { return "arn:aws:iam::" + w.account + ":" + resource }

func TestNamesAreUniqueWithoutRegardToCase(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("Alice")
	w.role("Doctor", w.account)
	w.policy("Read")
	_, err := w.CreateUser(ctx, w.account, directory.NewUser{Name: "aLICE", Path: "/other/"})
	w.refused(err, directory.EntityAlreadyExists, "User with name aLICE already exists.")
	_, err = w.CreateRole(ctx, w.account, directory.NewRole{Name: "doctor", TrustPolicy: trust(w.account)})
	w.refused(err, directory.EntityAlreadyExists, "Role with name doctor already exists.")
	_, err = w.CreatePolicy(ctx, w.account, directory.NewPolicy{Name: "READ", Path: "/x/", Document: allow("kms:*")})
	w.refused(err, directory.EntityAlreadyExists, "A policy called READ already exists. Duplicate names are not allowed.")
	u, err := w.GetUser(w.account, "ALICE")
	w.must(err)
	if u.Name != "Alice" || u.ARN != w.arn("user/Alice") {
		t.Errorf("the name lost its case: %+v", u)
	}
	w.user("Bob")
	w.refused(w.UpdateUser(ctx, w.account, "Bob", directory.UserUpdate{NewName: "ALICE"}), directory.EntityAlreadyExists, "User with name ALICE already exists.")
	// A change of case alone is no conflict with itself.
	w.must(w.UpdateUser(ctx, w.account, "Bob", directory.UserUpdate{NewName: "BOB", NewPath: "/staff/"}))
	u, err = w.GetUser(w.account, "bob")
	w.must(err)
	if u.ARN != w.arn("user/staff/BOB") {
		t.Errorf("%+v", u)
	}
	w.must(w.UpdateUser(ctx, w.account, "bob", directory.UserUpdate{NewName: "carol"}))
	_, err = w.GetUser(w.account, "bob")
	w.refused(err, directory.NoSuchEntity, "The user with name bob cannot be found.")
	w.user("bob") // the name is free again, in the store too
	// Another account has names of its own.
	other, err := w.CreateAccount(ctx, "other", false)
	w.must(err)
	_, err = w.CreateUser(ctx, other.ID, directory.NewUser{Name: "alice"})
	w.must(err)
}

func TestWhatCannotBeANameOrAPath(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"", "a b", "a/b", "ü", strings.Repeat("x", 65), "a\n", "a:b"} {
		_, err := w.CreateUser(t.Context(), w.account, directory.NewUser{Name: name})
		w.refused(err, directory.ValidationError, "")
	}
	for _, path := range []string{"x", "/x", "x/", "/ü/", "//" + strings.Repeat("x", 512) + "/", "/a b/"} {
		_, err := w.CreateUser(t.Context(), w.account, directory.NewUser{Name: "ok", Path: path})
		w.refused(err, directory.ValidationError, "")
	}
	for _, name := range []string{"a", "A+=,.@-_9", strings.Repeat("x", 64)} {
		_, err := w.CreateUser(t.Context(), w.account, directory.NewUser{Name: name, Path: "/a/b!~/"})
		w.must(err)
	}
	_, err := w.CreatePolicy(t.Context(), w.account, directory.NewPolicy{Name: strings.Repeat("x", 128), Document: allow("kms:*")})
	w.must(err)
}

func TestLimits(t *testing.T) {
	ctx := t.Context()
	t.Run("two access keys per user", func(t *testing.T) {
		w := newWorld(t)
		w.user("u")
		w.key("u")
		k := w.key("u")
		_, err := w.CreateAccessKey(ctx, w.account, "u")
		w.refused(err, directory.LimitExceeded, "Cannot exceed quota for AccessKeysPerUser: 2")
		w.must(w.DeleteAccessKey(ctx, w.account, "u", k))
		w.key("u")
	})
	t.Run("five versions of a policy, and numbers are not used again", func(t *testing.T) {
		w := newWorld(t)
		p := w.policy("p")
		for range 4 {
			_, err := w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:*"), false)
			w.must(err)
		}
		_, err := w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:*"), false)
		w.refused(err, directory.LimitExceeded, "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
		w.must(w.DeletePolicyVersion(ctx, w.account, p.ARN, "v5"))
		v, err := w.CreatePolicyVersion(ctx, w.account, p.ARN, allow("kms:*"), false)
		w.must(err)
		if v.ID != "v6" {
			t.Errorf("the new version is %s", v.ID)
		}
		page, err := w.ListPolicyVersions(w.account, p.ARN, directory.List{MaxItems: 2})
		w.must(err)
		if page.Items[0].ID != "v6" || page.Items[1].ID != "v4" || page.Marker == "" {
			t.Errorf("%+v", page)
		}
	})
	t.Run("ten attached policies", func(t *testing.T) {
		w := newWorld(t)
		w.user("u")
		for i := range 10 {
			w.must(w.AttachPolicy(ctx, w.account, directory.UserKind, "u", w.policy(fmt.Sprint("p", i)).ARN))
		}
		w.refused(w.AttachPolicy(ctx, w.account, directory.UserKind, "u", directory.AdministratorAccess), directory.LimitExceeded, "Cannot exceed quota for PoliciesPerUser: 10")
		// What is attached already is attached still.
		w.must(w.AttachPolicy(ctx, w.account, directory.UserKind, "u", w.arn("policy/p3")))
	})
	big := func(n int) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"arn:aws:kms:::` + strings.Repeat("x", n) + `"}]}`
	}
	t.Run("a managed policy of 6144 characters, white space not counted", func(t *testing.T) {
		w := newWorld(t)
		room := 6144 - len(big(0))
		_, err := w.CreatePolicy(ctx, w.account, directory.NewPolicy{Name: "p", Document: big(room + 1)})
		w.refused(err, directory.LimitExceeded, "Cannot exceed quota for PolicySize: 6144")
		_, err = w.CreatePolicy(ctx, w.account, directory.NewPolicy{Name: "p", Document: strings.Repeat(" \n", 1000) + big(room)})
		w.must(err)
	})
	t.Run("inline policies together", func(t *testing.T) {
		w := newWorld(t)
		w.user("u")
		w.must(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "u", "a", big(1200)))
		w.refused(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "u", "b", big(1200)), directory.LimitExceeded, "Maximum policy size of 2048 bytes exceeded for user u")
		w.must(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "u", "A", big(1300))) // replaces
		page, err := w.ListInlinePolicies(w.account, directory.UserKind, "u", directory.List{})
		w.must(err)
		if len(page.Items) != 1 {
			t.Errorf("%v", page.Items)
		}
	})
	t.Run("a trust policy", func(t *testing.T) {
		w := newWorld(t)
		var many []string
		for range 60 {
			many = append(many, w.account, "arn:aws:iam::"+w.account+":root")
		}
		_, err := w.CreateRole(ctx, w.account, directory.NewRole{Name: "r", TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + strings.Join(many, `","`) + `"]},"Action":"sts:AssumeRole"}]}`})
		w.refused(err, directory.LimitExceeded, "Cannot exceed quota for ACLSizePerRole: 2048")
	})
	t.Run("fifty tags", func(t *testing.T) {
		w := newWorld(t)
		w.user("u")
		for i := range 50 {
			w.must(w.Tag(ctx, w.account, directory.UserKind, "u", []directory.Tag{{Key: fmt.Sprint("k", i), Value: "v"}}))
		}
		w.refused(w.Tag(ctx, w.account, directory.UserKind, "u", []directory.Tag{{Key: "more", Value: "v"}}), directory.LimitExceeded, "")
		w.must(w.Tag(ctx, w.account, directory.UserKind, "u", []directory.Tag{{Key: "K7", Value: "new"}}))
	})
	t.Run("users of an account", func(t *testing.T) {
		store := memory.Open()
		defer store.Close()
		d, err := directory.Open(ctx, store, directory.Config{Clock: clock.System, Authority: &outsider{}, Quotas: directory.Quotas{Users: 2}})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close(ctx)
		a, _ := d.CreateAccount(ctx, "small", false)
		for i := range 3 {
			_, err = d.CreateUser(ctx, a.ID, directory.NewUser{Name: fmt.Sprint("u", i)})
		}
		if directory.CodeOf(err) != directory.LimitExceeded {
			t.Errorf("got %v", err)
		}
	})
}
