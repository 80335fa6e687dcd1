package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/state/kv/memory"
)

// TestMain makes the test binary its own child, as the real binary is.
func TestMain(m *testing.M) { authoritytest.Main(m) }

// realWorld is newWorld with a real HSM and a real authority, in processes of their own.
func realWorld(t testing.TB) *world {
	t.Helper()
	w, _ := realWorldWith(t)
	return w
}

// realWorldWith is realWorld and its authority.
func realWorldWith(t testing.TB) (*world, *authority.Client) {
	t.Helper()
	w := &world{t: t}
	a := authoritytest.Start(t, t.TempDir())
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	var err error
	w.directory, err = directory.Open(t.Context(), store, directory.Config{Clock: clock.System, Authority: a.Client()})
	w.must(err)
	t.Cleanup(func() { w.directory.Close(context.Background()) })
	w.Sessions, err = sessions.New(w.directory, a.Client(), clock.System)
	w.must(err)
	w.now = clock.System
	account, err := w.directory.CreateAccount(t.Context(), "hospital", false)
	w.must(err)
	w.account = account.ID
	return w, a.Client()
}

func TestWithARealAuthority(t *testing.T) {
	w := realWorld(t)
	ctx := t.Context()
	kind := func(c credential, want sigv4.Kind) {
		t.Helper()
		_, err := w.call(c)
		if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Kind != want {
			t.Errorf("got %v, want kind %d", err, want)
		}
	}
	code, err := w.directory.NewEnrolment(ctx, w.account)
	w.must(err)
	akid, sec, err := w.directory.Redeem(ctx, code)
	w.must(err)
	admin := credential{akid, reveal(t, sec), ""}
	if c := w.caller(admin); c.UserName != directory.FirstUser {
		t.Errorf("%+v", c)
	}
	wrong := admin
	wrong.secret = strings.Repeat("x", 40)
	kind(wrong, sigv4.BadSignature)
	unknown := admin
	unknown.akid, err = id.AccessKey("AKIA", w.account)
	w.must(err)
	kind(unknown, sigv4.UnknownKey)

	_, cred := w.user("u")
	role := w.role("r")
	first := w.session(cred, role)
	c := w.caller(first)
	if c.Depth != 1 || c.Issued.IsZero() || c.Expires.Sub(c.Issued) < time.Hour-time.Second || c.Expires.Sub(c.Issued) > time.Hour+time.Second {
		t.Errorf("issued %v, expires %v", c.Issued, c.Expires)
	}
	t.Run("a token belongs to its access key id", func(t *testing.T) {
		other := w.session(cred, role)
		mixed := first
		mixed.token = other.token
		kind(mixed, sigv4.BadToken)
		mixed = first
		mixed.token = strings.ToLower(first.token)
		kind(mixed, sigv4.BadToken)
		mixed = first
		mixed.secret = other.secret
		kind(mixed, sigv4.BadSignature)
	})
	t.Run("the largest session that is let through fits into a token", func(t *testing.T) {
		name := func(n int) string {
			return strings.NewReplacer("/", "_", "+", ".").Replace(newSecret() + newSecret())[:n]
		}
		var path strings.Builder
		for path.Len() < 511 {
			path.WriteString("/" + name(63)[:min(63, 510-path.Len())])
		}
		_, err := w.directory.CreateRole(ctx, w.account, directory.NewRole{Name: name(64), Path: path.String() + "/",
			TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + w.account + `"},"Action":"sts:AssumeRole"}]}`})
		w.must(err)
		page, err := w.directory.ListRoles(w.account, directory.List{PathPrefix: path.String()})
		w.must(err)
		in := sessions.AssumeRole{RoleARN: page.Items[0].ARN, SessionName: name(64), SourceIdentity: name(64)}
		largest := 0
		for i := 0; ; i++ {
			in.Tags = append(in.Tags, sessions.Tag{Key: fmt.Sprint("k", i), Value: newText()[:64]})
			in.TransitiveKeys = append(in.TransitiveKeys, in.Tags[i].Key)
			a, got, err := w.assume(w.caller(cred), in)
			if err != nil {
				w.refused("too much", err, sessions.PackedPolicyTooLarge, "")
				if !strings.HasPrefix(err.(*sessions.Error).Message, "Packed policy consumes") {
					t.Errorf("the token was full before the packed size was: %v, after %d %%", err, largest)
				}
				break
			}
			largest = a.PackedSize
			if len(got.token) > 4096 {
				t.Errorf("a token of %d characters", len(got.token))
			}
			w.caller(got)
		}
		if largest < 95 {
			t.Errorf("refused after %d %%", largest)
		}
	})
	t.Run("a message is for its account", func(t *testing.T) {
		sealed, err := w.SealMessage(ctx, w.account, []byte(`{"allowed":false}`))
		w.must(err)
		if plain, err := w.OpenMessage(ctx, w.account, sealed); err != nil || string(plain) != `{"allowed":false}` {
			t.Errorf("%s, %v", plain, err)
		}
		_, err = w.OpenMessage(ctx, "111122223333", sealed)
		w.refused("another account", err, sessions.InvalidAuthorizationMessage, "")
	})
	t.Run("an inactive key ends its sessions for good", func(t *testing.T) {
		w.must(w.directory.UpdateAccessKey(ctx, w.account, "u", cred.akid, false))
		kind(first, sigv4.BadToken)
		kind(cred, sigv4.UnknownKey)
		w.must(w.directory.UpdateAccessKey(ctx, w.account, "u", cred.akid, true))
		kind(first, sigv4.BadToken)
		w.caller(cred)
		time.Sleep(2 * time.Millisecond) // a session of the same millisecond counts as one from before
		w.caller(w.session(cred, role))
	})
	t.Run("a deleted role ends its sessions", func(t *testing.T) {
		s := w.session(cred, role)
		w.must(w.directory.DeleteRole(ctx, w.account, "r"))
		kind(s, sigv4.BadToken)
		w.role("r")
		kind(s, sigv4.BadToken)
	})
}

// BenchmarkRealAuthenticate is Authenticate with everything, in parallel as the
// gate calls it. Target: no more than the authority's round trip.
func BenchmarkRealAuthenticate(b *testing.B) {
	w := realWorld(b)
	_, cred := w.user("u")
	p, sts, digest := w.sign(cred)
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.Authenticate(context.Background(), p, sts, digest); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
