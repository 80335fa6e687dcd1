package authority_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
	"github.com/leadglass/leadglass/identity/sigv4"
)

// eventually waits for what other goroutines are to bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A listener collects what a Watch applies.
type listener struct {
	mu     sync.Mutex
	heard  []authority.Revocation
	resets int
}

func (l *listener) apply(list []authority.Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, list...)
}

func (l *listener) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resets++
}

// epochs are those of the stream; what a client tells its own watches at once may have none.
func (l *listener) epochs() (out []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.heard {
		out = append(out, r.Epoch)
	}
	return out
}

// A flaky stream is one that a test can take down.
type flaky struct {
	authority.Stream
	down atomic.Bool
}

func (f *flaky) Follow(ctx context.Context, since uint64, wait time.Duration) ([]authority.Revocation, uint64, error) {
	if f.down.Load() {
		return nil, 0, authority.ErrUnavailable
	}
	list, epoch, err := f.Stream.Follow(ctx, since, wait)
	if f.down.Load() { // it went down while the answer was on its way
		return nil, 0, authority.ErrUnavailable
	}
	return list, epoch, err
}

func revoke(t testing.TB, c *authority.Client, r authority.Revocation) uint64 {
	t.Helper()
	epoch, err := c.Revoke(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return epoch
}

func TestWhoFollowsHearsARevocationAtOnceAndAHeartbeatOtherwise(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		began := time.Now()
		list, epoch, err := c.Follow(t.Context(), 0, 100*time.Millisecond)
		if took := time.Since(began); err != nil || len(list) != 0 || epoch != 0 || took < 90*time.Millisecond || took > 5*time.Second {
			t.Fatalf("a quiet stream answered %v, %d, %v after %v", list, epoch, err, took)
		}
		// More of them wait than an authority does of slow operations at once, and nobody else is held up.
		var waiting sync.WaitGroup
		var heard atomic.Int64
		for range 48 {
			waiting.Go(func() {
				list, epoch, err := c.Follow(context.Background(), 0, 8*time.Second)
				if err == nil && epoch == 1 && len(list) == 1 && list[0].PrincipalID == "AROAX" {
					heard.Add(1)
				} else {
					t.Errorf("heard %v, %d, %v", list, epoch, err)
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		akid, sealed, sec := newKey(t, c)
		began = time.Now()
		if _, err := c.Witness(t.Context(), sign(akid, sec, "", sealed)); err != nil {
			t.Error(err)
		}
		if _, _, _, err := c.IssueSession(t.Context(), claimsFor(time.Hour)); err != nil { // a slow one
			t.Error(err)
		}
		revoke(t, c, authority.Revocation{PrincipalID: "AROAX"})
		waiting.Wait()
		if took := time.Since(began); took > 4*time.Second || heard.Load() != 48 {
			t.Errorf("%d heard within %v", heard.Load(), took)
		}
		// An epoch that is not there yet is of another log: that is said at once, too.
		if _, epoch, err := c.Follow(t.Context(), 900, 8*time.Second); err != nil || epoch != 1 {
			t.Errorf("epoch %d, %v", epoch, err)
		}
	})
}

func TestAWatchMissesNothingThroughABreak(t *testing.T) {
	c := inProcess(t, t.TempDir(), time.Now)
	revoke(t, c, authority.Revocation{PrincipalID: "from before"})
	var l listener
	stream := &flaky{Stream: c}
	w := authority.NewWatch(authority.WatchConfig{Stream: stream, Clock: clock.System, Apply: l.apply, Reset: l.reset, Heartbeat: 50 * time.Millisecond})
	defer w.Stop()
	eventually(t, "the first word", func() bool { return w.State().Epoch == 1 })
	for _, name := range []string{"a", "b"} {
		revoke(t, c, authority.Revocation{PrincipalID: name})
	}
	eventually(t, "two more", func() bool { return w.State().Epoch == 3 })
	stream.down.Store(true)
	eventually(t, "a broken stream", func() bool { return w.State().Err != nil })
	const missed = 310 // do not fit into one answer
	for range missed {
		revoke(t, c, authority.Revocation{SessionID: [16]byte([]byte(id.Hex(8)))})
	}
	stream.down.Store(false)
	eventually(t, "the rest", func() bool { return w.State().Epoch == 3+missed })
	var want []uint64
	for e := range uint64(3 + missed) {
		want = append(want, e+1)
	}
	if got := l.epochs(); !slices.Equal(got, want) {
		t.Errorf("heard %v", got)
	}
	if s := w.State(); l.resets != 1 || s.Breaks != 1 || !s.Heard || s.Err != nil || !w.Live() || w.Gone() {
		t.Errorf("%d resets, %+v", l.resets, s)
	}
}

// replaced is a stream whose authority was put back to an earlier state.
type replaced struct {
	mu sync.Mutex
	authority.Stream
}

func (r *replaced) Follow(ctx context.Context, since uint64, wait time.Duration) ([]authority.Revocation, uint64, error) {
	r.mu.Lock()
	s := r.Stream
	r.mu.Unlock()
	return s.Follow(ctx, since, wait)
}

func TestALogThatFellBackMakesAWatchStartAnew(t *testing.T) {
	first, second := inProcess(t, t.TempDir(), time.Now), inProcess(t, t.TempDir(), time.Now)
	for range 3 {
		revoke(t, first, authority.Revocation{PrincipalID: id.Hex(8)})
	}
	revoke(t, second, authority.Revocation{PrincipalID: "of the other log"})
	var l listener
	stream := &replaced{Stream: first}
	w := authority.NewWatch(authority.WatchConfig{Stream: stream, Clock: clock.System, Apply: l.apply, Reset: l.reset, Heartbeat: 20 * time.Millisecond})
	defer w.Stop()
	eventually(t, "the first log", func() bool { return w.State().Epoch == 3 })
	stream.mu.Lock()
	stream.Stream = second
	stream.mu.Unlock()
	eventually(t, "a second reset", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.resets == 2 })
	eventually(t, "the other log", func() bool { return w.State().Epoch == 1 })
	revoke(t, second, authority.Revocation{PrincipalID: "new"})
	eventually(t, "what is new in it", func() bool { return w.State().Epoch == 2 })
}

// A frozen connection delivers nothing, but does not end.
type frozen struct {
	io.ReadWriteCloser
	mu sync.Mutex // held while frozen
}

func (f *frozen) Read(b []byte) (int, error) {
	n, err := f.ReadWriteCloser.Read(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	return n, err
}

func TestASilentStreamIsNotReliedOn(t *testing.T) {
	var ice *frozen
	c := authoritytest.InProcess(t, t.TempDir(), authoritytest.Options{Cut: func(c io.ReadWriteCloser) io.ReadWriteCloser {
		ice = &frozen{ReadWriteCloser: c}
		return ice
	}})
	now := clock.NewFake(time.Now())
	var l listener
	w := authority.NewWatch(authority.WatchConfig{Stream: c, Clock: now, Apply: l.apply, Heartbeat: 20 * time.Millisecond})
	defer w.Stop()
	eventually(t, "the first word", w.Live)
	ice.mu.Lock()
	time.Sleep(100 * time.Millisecond) // what was under way has come
	now.Advance(authority.Silence - time.Second)
	if !w.Live() || w.Gone() {
		t.Errorf("after nine seconds: %+v", w.State())
	}
	now.Advance(time.Second)
	if w.Live() || w.Gone() {
		t.Errorf("after ten seconds: %+v", w.State())
	}
	now.Advance(authority.Lost - authority.Silence)
	if w.Live() || !w.Gone() {
		t.Errorf("after a minute: %+v", w.State())
	}
	ice.mu.Unlock()
	eventually(t, "the stream again", func() bool { now.Advance(time.Millisecond); return w.Live() && !w.Gone() })
}

func TestAnAuthorityThatDiesIsNoticed(t *testing.T) {
	p := authoritytest.Start(t, t.TempDir())
	now := clock.NewFake(time.Now())
	var l listener
	w := p.Client().Watch(now, l.apply, l.reset)
	defer w.Stop()
	eventually(t, "the first word", w.Live)
	p.Stop()
	eventually(t, "a broken stream", func() bool { return errors.Is(w.State().Err, authority.ErrUnavailable) })
	now.Advance(authority.Silence)
	if w.Live() {
		t.Errorf("%+v", w.State())
	}
	if _, err := p.Client().Revoke(t.Context(), authority.Revocation{PrincipalID: "x"}); !errors.Is(err, authority.ErrUnavailable) {
		t.Errorf("revoke: %v", err)
	}
	if got := l.epochs(); len(got) != 1 { // whether it came to be is not known, so what is cached of it goes
		t.Errorf("heard %v", got)
	}
}

// I-5: what a client revokes its own watches have applied when it returns.
func TestWhatAClientRevokesItsWatchesKnowAtOnce(t *testing.T) {
	c := authoritytest.Start(t, t.TempDir()).Client()
	var all [5]listener
	for i := range all {
		defer c.Watch(clock.System, all[i].apply, nil).Stop()
	}
	for n := range 50 {
		name := id.Hex(8)
		revoke(t, c, authority.Revocation{PrincipalID: name})
		for i := range all {
			l := &all[i]
			l.mu.Lock()
			if !slices.ContainsFunc(l.heard, func(r authority.Revocation) bool { return r.PrincipalID == name }) {
				t.Errorf("revocation %d was not known to watch %d", n, i)
			}
			l.mu.Unlock()
		}
	}
}

func TestARevocationReachesWhatItNamesInEveryAccount(t *testing.T) {
	const other = "444455556666"
	both(t, func(t *testing.T, c *authority.Client) {
		issue := func(change func(*authority.Claims)) (q authority.Request) {
			claims := claimsFor(time.Hour)
			change(&claims)
			akid, sec, token, err := c.IssueSession(t.Context(), claims)
			if err != nil {
				t.Fatal(err)
			}
			q = sign(akid, reveal(sec), token, nil)
			if _, err := c.Witness(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			return q
		}
		is := func(name string, q authority.Request, want error) {
			t.Helper()
			if _, err := c.Witness(t.Context(), q); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", name, err, want)
			}
		}
		own := func(*authority.Claims) {}
		one, beside := issue(own), issue(own)
		revoke(t, c, authority.Revocation{AccessKeyID: one.AccessKeyID, By: account})
		is("the session", one, authority.ErrRevoked)
		is("the one beside it", beside, nil)

		role := id.Unique("AROA")
		ofRole := issue(func(c *authority.Claims) { c.PrincipalID = role })
		asRoot := issue(func(c *authority.Claims) { c.Account, c.PrincipalID = other, role }) // AssumeRoot names who has it
		revoke(t, c, authority.Revocation{PrincipalID: role, By: account, IssuedBefore: time.Now().Add(-time.Minute)})
		is("issued after the cut", ofRole, nil)
		revoke(t, c, authority.Revocation{PrincipalID: role, By: account})
		is("issued before the cut", ofRole, authority.ErrRevoked)
		is("issued before the cut, for another account", asRoot, authority.ErrRevoked)
		is("issued after it, at once", issue(func(c *authority.Claims) { c.PrincipalID = role }), nil)

		// What an account's keys have opened elsewhere is ended with the account's own.
		key, err := id.AccessKey("AKIA", account)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere := issue(func(c *authority.Claims) { c.Account, c.CredentialID = other, key })
		foreign := issue(func(c *authority.Claims) { c.Account = other })
		revoke(t, c, authority.Revocation{Account: account})
		is("of the account", beside, authority.ErrRevoked)
		is("of a key of the account, elsewhere", elsewhere, authority.ErrRevoked)
		is("of the other account", foreign, nil)
		provider, err := id.AccessKey("OIDC", account)
		if err != nil {
			t.Fatal(err)
		}
		chained := issue(func(c *authority.Claims) { c.Account, c.CredentialID = other, provider })
		revoke(t, c, authority.Revocation{Account: account})
		is("elsewhere, of a chain that a provider of the account began", chained, authority.ErrRevoked)
	})
}

// A root session is its holder's and the root's that it uses; either side ends it.
func TestARootSessionEndsWithItsHolderAndWithItsRoot(t *testing.T) {
	const member, management, elsewhere = "444455556666", "777788889999", "123412341234"
	both(t, func(t *testing.T, c *authority.Client) {
		holder := id.Unique("AROA")
		key, err := id.AccessKey("AKIA", elsewhere) // of a stranger's user, who has assumed the holder
		if err != nil {
			t.Fatal(err)
		}
		for name, of := range map[string]authority.Revocation{
			"of the root itself": {PrincipalID: member, By: member}, "of the holder": {PrincipalID: holder, By: management},
			"of the member": {Account: member}, "of the holder's account": {Account: management}, "of the first key's account": {Account: elsewhere},
		} {
			claims := claimsFor(time.Hour)
			claims.Type, claims.Account, claims.PrincipalID, claims.SessionName, claims.CredentialID = authority.RootTask, member, holder, management, key
			akid, sec, token, err := c.IssueSession(t.Context(), claims)
			if err != nil {
				t.Fatal(err)
			}
			q := sign(akid, reveal(sec), token, nil)
			got, err := c.Witness(t.Context(), q)
			if err != nil {
				t.Fatalf("%s: %v before", name, err)
			}
			of.IssuedBefore = got.Issued
			if origin, _ := id.AccessKeyAccount(key); !of.Ends(akid, origin, got) {
				t.Errorf("%s: whoever keeps the key does not end it", name)
			}
			of.IssuedBefore = time.Time{}
			revoke(t, c, of)
			if _, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrRevoked) {
				t.Errorf("%s: %v", name, err)
			}
			claims.Type = authority.AssumedRole // a session name says nothing of an account elsewhere
			claims.CredentialID, claims.Account, claims.PrincipalID = "", account, id.Unique("AROA")
			of.IssuedBefore = time.Now().Add(time.Hour)
			if of.Ends(akid, "", &claims) {
				t.Errorf("%s ends a role session of another account", name)
			}
		}
	})
}

func TestAClockThatWasSetBackLeavesNoSessionOutOfReach(t *testing.T) {
	now := newHeld()
	c := inProcess(t, t.TempDir(), now.now)
	claims := claimsFor(time.Hour)
	claims.Expires = now.now().Add(6 * time.Hour)
	issue := func() authority.Request {
		akid, sec, token, err := c.IssueSession(t.Context(), claims)
		if err != nil {
			t.Fatal(err)
		}
		return sign(akid, reveal(sec), token, nil)
	}
	old := issue()
	now.advance(-time.Hour)
	revoke(t, c, authority.Revocation{PrincipalID: claims.PrincipalID})
	if _, err := c.Witness(t.Context(), old); !errors.Is(err, authority.ErrRevoked) {
		t.Errorf("a session from before, issued by the old clock: %v", err)
	}
	if _, err := c.Witness(t.Context(), issue()); err != nil {
		t.Errorf("a session from after, issued by the new clock: %v", err)
	}
}

func TestAKeyIsHandedOutForARightSignatureAlone(t *testing.T) {
	now := newHeld()
	c := inProcess(t, t.TempDir(), now.now)
	akid, sealed, sec := newKey(t, c)
	q := sign(akid, sec, "", sealed)
	none := func(name string, q authority.Request, want error) {
		t.Helper()
		if k, err := c.Resolve(t.Context(), q); !errors.Is(err, want) || k.Key != nil {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	wrong := q
	wrong.Signature[0] ^= 1
	none("a wrong signature", wrong, authority.ErrSignature)
	unknown := q
	unknown.Sealed = nil
	none("an unknown id", unknown, authority.ErrSignature)
	malformed := q
	malformed.StringToSign = []byte("x")
	none("no string to sign", malformed, authority.ErrBadRequest)
	k, err := c.Resolve(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sigv4.ParseStringToSign(q.StringToSign)
	if err != nil {
		t.Fatal(err)
	}
	want := sigv4.SigningKey([]byte(sec), s.Date, s.Region, s.Service)
	if !k.Key.Equal(want[:]) || k.Claims != nil || !k.NotAfter.After(now.now()) {
		t.Errorf("%+v", k)
	}
	now.advance(48 * time.Hour)
	none("a day that is over", q, authority.ErrDenied)
	if _, err := c.Witness(t.Context(), q); err != nil {
		t.Errorf("which a witness takes: %v", err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.KeysIssued != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// Target: less than 10 ms, two flushes of the disk included, with a thousand
// entries in the log, which is rewritten with each.
func BenchmarkRevoke(b *testing.B) {
	for name, entries := range map[string]int{"an empty log": 0, "1000 entries": 1000} {
		b.Run(name, func(b *testing.B) {
			c := authoritytest.Start(b, b.TempDir()).Client()
			for range entries {
				revoke(b, c, authority.Revocation{AccessKeyID: id.Hex(10), By: account})
			}
			for b.Loop() { // the same again and again, so that the log does not grow
				revoke(b, c, authority.Revocation{PrincipalID: "AROAX", By: account})
			}
		})
	}
}
