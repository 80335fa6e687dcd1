package sessions_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
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

// A node is a world over the authority's own core, whose clock and whose link
// the test holds, with an authenticator of each mode.
type node struct {
	*world
	client  *authority.Client
	link    *valve
	ring    *sessions.Keyring
	witness *sessions.Sessions // the world's own is in key mode

	mu     sync.Mutex
	issues []sessions.KeyIssue // guarded by mu
	refuse error               // guarded by mu; of whoever records issues
}

// A valve is a connection that a test can stop and cut.
type valve struct {
	io.ReadWriteCloser
	mu sync.Mutex // held while it is shut
}

func (v *valve) Read(b []byte) (int, error) {
	n, err := v.ReadWriteCloser.Read(b)
	v.mu.Lock()
	defer v.mu.Unlock()
	return n, err
}

func newNode(t testing.TB, cfg sessions.KeyringConfig) *node {
	t.Helper()
	c := clock.NewFake(time.Now())
	n := &node{world: &world{t: t, now: c, clock: c}}
	n.client = authoritytest.InProcess(t, t.TempDir(), authoritytest.Options{Now: c.Now, Cut: func(c io.ReadWriteCloser) io.ReadWriteCloser {
		n.link = &valve{ReadWriteCloser: c}
		return n.link
	}})
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	var err error
	n.directory, err = directory.Open(t.Context(), store, directory.Config{Clock: c, Authority: n.client})
	n.must(err)
	t.Cleanup(func() { n.directory.Close(context.Background()) })
	n.witness, err = sessions.New(n.directory, n.client, c)
	n.must(err)
	n.Sessions, err = sessions.New(n.directory, n.client, c)
	n.must(err)
	cfg.Authority, cfg.Clock = cmp.Or[sessions.KeyAuthority](cfg.Authority, n.client), c
	cfg.Issued = func(_ context.Context, k sessions.KeyIssue) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.issues = append(n.issues, k)
		return n.refuse
	}
	n.ring, err = sessions.NewKeyring(cfg)
	n.must(err)
	t.Cleanup(n.ring.Close)
	n.WithKeys(n.ring, sessions.AllServices)
	a, err := n.directory.CreateAccount(t.Context(), "hospital", false)
	n.must(err)
	n.account = a.ID
	n.eventually("the first word of the stream", func(s sessions.KeyringState) bool { return s.Live })
	return n
}

func (n *node) eventually(what string, ok func(sessions.KeyringState) bool) {
	n.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(n.ring.State()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("never: %s; %+v", what, n.ring.State())
		}
		if n.ring.State().Stream.Err != nil { // the machine stood still for seconds; the watch tries again by this clock
			n.clock.Advance(250 * time.Millisecond)
		}
	}
}

// advance moves the clock, and waits for the stream to have been heard since.
func (n *node) advance(d time.Duration) {
	n.t.Helper()
	n.clock.Advance(d)
	n.nudge()
	n.eventually("the stream after the clock was moved", func(s sessions.KeyringState) bool { return s.Stream.Age < time.Second })
}

// nudge has the stream say a word.
func (n *node) nudge() {
	n.t.Helper()
	_, err := n.client.Revoke(n.t.Context(), authority.Revocation{PrincipalID: "nobody"})
	n.must(err)
}

func (n *node) recorded() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.issues)
}

// outcome is what a client can tell of an answer.
func outcome(c *sessions.Caller, err error) string {
	switch e, ok := errors.AsType[*sigv4.Error](err); {
	case ok:
		code, status := e.Code(sigv4.Query)
		return fmt.Sprint(code, " ", status, " ", e.Message)
	case errors.Is(err, sessions.ErrUnavailable):
		return "unavailable"
	case err != nil:
		return err.Error()
	}
	return c.Principal.ARN + " " + c.PrincipalID + " " + c.AccessKeyID + " " + c.Expires.String()
}

func TestKeyModeBehavesAsWitnessModeDoes(t *testing.T) {
	t.Run("V4", func(t *testing.T) { compareModes(t, "") })
	t.Run("SigV4A", func(t *testing.T) { compareModes(t, "*") })
}

func compareModes(t *testing.T, regions string) {
	n := newNode(t, sessions.KeyringConfig{})
	n.regions = regions
	ctx := t.Context()
	_, cred := n.user("u")
	role := n.role("r")
	first, second := n.session(cred, role), n.session(cred, role)
	unknown := cred
	var err error
	unknown.akid, err = id.AccessKey("AKIA", n.account)
	n.must(err)
	with := func(c credential, change func(*credential)) credential { change(&c); return c }
	inactive := func() credential {
		n.user("idle")
		k, err := n.directory.CreateAccessKey(ctx, n.account, "idle")
		n.must(err)
		c := credential{k.ID, reveal(t, k.Secret), ""}
		n.must(n.directory.UpdateAccessKey(ctx, n.account, "idle", k.ID, false))
		return c
	}()
	revoked := n.session(cred, role)
	n.caller(revoked) // it is in the cache
	_, err = n.directory.RevokeSessions(ctx, n.account, directory.SessionsOf{AccessKeyID: revoked.akid}, time.Time{})
	n.must(err)
	orphan := func() credential {
		s := n.session(cred, n.role("gone"))
		n.caller(s)
		n.must(n.directory.DeleteRole(ctx, n.account, "gone"))
		return s
	}()
	for name, c := range map[string]struct {
		credential
		change func(*sigv4.Parsed, *[]byte, *[32]byte)
		ago    time.Duration // when it was signed
		want   string
	}{
		"a user":                       {cred, nil, 0, "arn:"},
		"a session":                    {first, nil, 0, "arn:"},
		"a wrong secret":               {with(cred, func(c *credential) { c.secret = strings.Repeat("x", 40) }), nil, 0, "SignatureDoesNotMatch"},
		"a wrong secret of a session":  {with(first, func(c *credential) { c.secret = strings.Repeat("x", 40) }), nil, 0, "SignatureDoesNotMatch"},
		"an unknown id":                {unknown, nil, 0, "InvalidClientTokenId"},
		"an inactive key":              {inactive, nil, 0, "InvalidClientTokenId"},
		"the token of another":         {with(first, func(c *credential) { c.token = second.token }), nil, 0, "InvalidClientTokenId"},
		"a token that is none":         {with(first, func(c *credential) { c.token = "x" }), nil, 0, "InvalidClientTokenId"},
		"a long-term key with a token": {with(cred, func(c *credential) { c.token = first.token }), nil, 0, "InvalidClientTokenId"},
		"a session without its token":  {with(first, func(c *credential) { c.token = "" }), nil, 0, "InvalidClientTokenId"},
		"a revoked session":            {revoked, nil, 0, "InvalidClientTokenId"},
		"a session of a deleted role":  {orphan, nil, 0, "InvalidClientTokenId"},
		"another digest":               {cred, func(_ *sigv4.Parsed, _ *[]byte, d *[32]byte) { d[0] ^= 1 }, 0, "SignatureDoesNotMatch"},
		"a changed signature": {first, func(p *sigv4.Parsed, _ *[]byte, _ *[32]byte) {
			if p.Signature[3] ^= 1; p.ECDSA != nil {
				p.ECDSA[len(p.ECDSA)-1] ^= 1
			}
		}, 0, "SignatureDoesNotMatch"},
		"another service in what was signed": {cred, func(_ *sigv4.Parsed, sts *[]byte, _ *[32]byte) {
			*sts = []byte(strings.Replace(string(*sts), "/kms/", "/sts/", 1))
		}, 0, "SignatureDoesNotMatch"},
		"no string to sign":                 {cred, func(_ *sigv4.Parsed, sts *[]byte, _ *[32]byte) { *sts = nil }, 0, "SignatureDoesNotMatch"},
		"a presigned URL of three days ago": {cred, nil, 72 * time.Hour, "arn:"},
	} {
		t.Run(name, func(t *testing.T) {
			w := *n.world
			w.t, w.now = t, clock.NewFake(n.clock.Now().Add(-c.ago))
			for range 3 { // out of the authority, and out of the cache
				p, sts, digest := w.sign(c.credential)
				if c.change != nil {
					c.change(p, &sts, &digest)
				}
				want := outcome(n.witness.Authenticate(ctx, p, sts, digest))
				if got := outcome(n.Authenticate(ctx, p, sts, digest)); got != want || !strings.HasPrefix(got, c.want) {
					t.Errorf("key mode %q, witness mode %q, want %q", got, want, c.want)
				}
			}
		})
	}
	// Public keys are no event.
	if s := n.ring.State(); s.Hits == 0 || s.Kept == 0 || (s.Issued == 0) != (regions != "") || s.Refusals == 0 || int(s.Issued) != n.recorded() {
		t.Errorf("%d recorded, %+v", n.recorded(), s)
	}
}

// The door's own checks come before; here only what is kept matters.
func TestAKeyIsAskedForOnceAMinuteAndNeverForAStranger(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{})
	_, cred := n.user("u")
	wrong := cred
	wrong.secret = newSecret()
	for range 3 {
		if _, err := n.call(wrong); err == nil {
			t.Error("a stranger came in")
		}
	}
	if n.recorded() != 0 {
		t.Errorf("a key was handed out for a stranger's guess: %+v", n.issues)
	}
	for range 5 {
		n.caller(cred)
	}
	n.mu.Lock()
	if len(n.issues) != 1 || n.issues[0] != (sessions.KeyIssue{
		AccessKeyID: cred.akid, Account: n.account, Date: n.clock.Now().Format("20060102"), Region: "us-east-1", Service: "kms", NotAfter: n.issues[0].NotAfter,
	}) {
		t.Errorf("issued %+v", n.issues)
	}
	n.mu.Unlock()
	asked := n.ring.State().Asked
	if _, err := n.call(wrong); err == nil || n.ring.State().Asked != asked+1 {
		t.Errorf("a wrong signature for a key that is kept: %v, %d questions", err, n.ring.State().Asked-asked)
	}
	n.advance(sessions.KeyTTL - time.Second)
	n.caller(cred)
	if n.recorded() != 1 {
		t.Errorf("%d keys after 59 seconds", n.recorded())
	}
	n.advance(time.Second)
	n.caller(cred)
	if n.recorded() != 2 {
		t.Errorf("%d keys after a minute", n.recorded())
	}
	n.clock.Advance(2 * sessions.KeyTTL)
	n.eventually("what nobody uses is wiped", func(s sessions.KeyringState) bool { return s.Kept == 0 && s.Evicted == 2 })
}

func TestAKeyEndsWithItsSessionAndWithItsDay(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{TTL: sessions.MaxKeyTTL})
	_, cred := n.user("u")
	s := n.session(cred, n.role("r"))
	c := n.caller(s)
	n.advance(c.Expires.Sub(n.clock.Now()) - time.Minute)
	n.caller(s)
	n.advance(time.Minute)
	if got := outcome(n.call(s)); !strings.HasPrefix(got, "ExpiredToken") {
		t.Errorf("after its end: %s", got)
	}
	midnight := n.clock.Now().Truncate(24 * time.Hour).Add(24 * time.Hour)
	n.advance(midnight.Sub(n.clock.Now()) - time.Minute)
	n.caller(cred)
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := n.issues[len(n.issues)-1]; !last.NotAfter.Equal(midnight.Add(15 * time.Minute)) {
		t.Errorf("good until %v", last.NotAfter)
	}
}

// I-5: a revocation is in force when it returns, whatever is kept.
func TestARevocationIsFeltByWhoeverKeepsTheKey(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{})
	ctx := t.Context()
	u, cred := n.user("u")
	role := n.role("r")
	dead := func(what string, c credential) {
		t.Helper()
		if got := outcome(n.call(c)); !strings.HasPrefix(got, "InvalidClientTokenId") {
			t.Errorf("%s: %s", what, got)
		}
	}
	for i, of := range []directory.SessionsOf{
		{AccessKeyID: "of the session"}, {AccessKeyID: cred.akid}, {Principal: role.ARN}, {Account: true},
		{AccessKeyID: "of the session"}, {AccessKeyID: cred.akid}, {Principal: role.ARN}, {Account: true},
	} {
		if n.regions = ""; i >= 4 { // by SigV4A
			n.regions = "us-*"
		}
		s := n.session(cred, role)
		// The stream tells again of the revocation before, and what is asked for just then is not kept.
		kept := false
		for try := 0; try < 100 && !kept; try++ {
			hits := n.ring.State().Hits
			n.caller(s)
			kept = n.ring.State().Hits > hits
		}
		if !kept {
			t.Fatal("nothing is kept, so nothing is shown")
		}
		if of.AccessKeyID == "of the session" {
			of.AccessKeyID = s.akid
		}
		_, err := n.directory.RevokeSessions(ctx, n.account, of, time.Time{})
		n.must(err)
		dead(fmt.Sprintf("%+v", of), s)
		if n.caller(cred).PrincipalID != u.ID {
			t.Error("the user is gone")
		}
		n.caller(n.session(cred, role)) // and the next session is let in
	}
	s := n.session(cred, role)
	n.caller(s)
	n.must(n.directory.UpdateAccessKey(ctx, n.account, "u", cred.akid, false))
	dead("made with a key that is inactive", s)
	dead("that key", cred)
}

// A remote authority is not told of by its client, but through the stream alone.
type remote struct{ *authority.Client }

func (r remote) Watch(c clock.Clock, apply func([]authority.Revocation), reset func()) *authority.Watch {
	return authority.NewWatch(authority.WatchConfig{Stream: r.Client, Clock: c, Apply: apply, Reset: reset})
}

func TestARevocationByAnotherNodeIsFeltThroughTheStream(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{})
	ring, err := sessions.NewKeyring(sessions.KeyringConfig{Authority: remote{n.client}, Clock: n.clock, Issued: func(context.Context, sessions.KeyIssue) error { return nil }})
	n.must(err)
	defer ring.Close()
	for !ring.State().Live {
		time.Sleep(time.Millisecond)
	}
	n.WithKeys(ring, "kms")
	_, cred := n.user("u")
	s := n.session(cred, n.role("r"))
	n.caller(s)
	if _, err := n.client.Revoke(t.Context(), authority.Revocation{AccessKeyID: s.akid}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Second); ; time.Sleep(100 * time.Microsecond) {
		if _, err := n.call(s); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not within a second")
		}
	}
}

func TestASilentStreamTurnsKeysIntoQuestionsAndThenShutsTheDoor(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{TTL: sessions.MaxKeyTTL})
	_, cred := n.user("u")
	n.caller(cred)
	n.caller(cred)
	before := n.ring.State()
	// A stream that has just not been heard, while the authority answers everything else.
	n.clock.Advance(authority.Silence)
	n.caller(cred)
	if s := n.ring.State(); s.Asked == before.Asked && s.Issued == before.Issued && !s.Live {
		t.Errorf("what is kept was used: %+v", s)
	}
	n.nudge()
	n.eventually("the stream again", func(s sessions.KeyringState) bool { return s.Live })
	hits := n.ring.State().Hits
	if n.caller(cred); n.ring.State().Hits != hits+1 {
		t.Errorf("what is kept is not used again: %+v", n.ring.State())
	}
	// Nothing comes through any more.
	n.link.mu.Lock()
	defer n.link.mu.Unlock()
	n.clock.Advance(authority.Silence)
	call := func(wait time.Duration) string {
		p, sts, digest := n.sign(cred)
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return outcome(n.Authenticate(ctx, p, sts, digest))
	}
	if got := call(50 * time.Millisecond); got != "unavailable" {
		t.Errorf("after ten seconds: %s", got)
	}
	n.clock.Advance(authority.Lost - authority.Silence)
	began := time.Now()
	if got := call(time.Minute); got != "unavailable" || time.Since(began) > 10*time.Second {
		t.Errorf("after a minute: %s, %v later", got, time.Since(began))
	}
}

func TestAnAuthorityThatIsLostLetsNobodyInForLong(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{TTL: sessions.MaxKeyTTL})
	_, cred := n.user("u")
	_, fresh := n.user("fresh")
	n.caller(cred)
	n.must(n.link.ReadWriteCloser.Close())
	n.eventually("a broken stream", func(s sessions.KeyringState) bool { return s.Stream.Err != nil })
	if n.caller(cred); n.ring.State().Hits == 0 { // what was heard nine seconds ago is relied on
		t.Error("not from what is kept")
	}
	for _, c := range []credential{fresh, {"AKIAAAAAAAAAAAAAAAAA", "x", ""}, {"ASIAAAAAAAAAAAAAAAAA", "x", "token"}} {
		if got := outcome(n.call(c)); got != "unavailable" {
			t.Errorf("of what is not kept: %s", got)
		}
	}
	n.clock.Advance(authority.Silence)
	if got := outcome(n.call(cred)); got != "unavailable" {
		t.Errorf("after ten seconds: %s", got)
	}
	p, sts, digest := n.sign(cred)
	if w := outcome(n.witness.Authenticate(t.Context(), p, sts, digest)); w != "unavailable" {
		t.Errorf("witness mode: %s", w)
	}
}

func TestAKeyWhoseIssueCannotBeRecordedIsNotUsed(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{})
	_, cred := n.user("u")
	n.mu.Lock()
	n.refuse = errors.New("the log is full")
	n.mu.Unlock()
	for range 2 {
		if got := outcome(n.call(cred)); got != "unavailable" {
			t.Errorf("got %s", got)
		}
	}
	if s := n.ring.State(); s.Kept != 0 {
		t.Errorf("%+v", s)
	}
	n.mu.Lock()
	n.refuse = nil
	n.mu.Unlock()
	n.caller(cred)
}

// A slow authority gives its answers when the test says so.
type slow struct {
	*authority.Client
	asked, answer chan struct{}
}

func (s *slow) Resolve(ctx context.Context, q authority.Request) (authority.SigningKey, error) {
	k, err := s.Client.Resolve(ctx, q)
	s.asked <- struct{}{}
	<-s.answer
	return k, err
}

func TestAnAnswerThatARevocationHasOvertakenIsNotKept(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{})
	_, cred := n.user("u")
	s := n.session(cred, n.role("r"))
	door := &slow{n.client, make(chan struct{}), make(chan struct{})}
	ring, err := sessions.NewKeyring(sessions.KeyringConfig{Authority: door, Clock: n.clock, Issued: func(context.Context, sessions.KeyIssue) error { return nil }})
	n.must(err)
	defer ring.Close()
	for !ring.State().Live {
		time.Sleep(time.Millisecond)
	}
	n.WithKeys(ring, "kms")
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := n.call(s); err != nil { // it was asked before the revocation
			t.Error(err)
		}
	})
	<-door.asked
	_, err = n.directory.RevokeSessions(t.Context(), n.account, directory.SessionsOf{AccessKeyID: s.akid}, time.Time{})
	n.must(err)
	close(door.answer)
	go func() {
		for range door.asked { // the rest is not slow
		}
	}()
	first.Wait()
	if k := ring.State().Kept; k != 0 {
		t.Errorf("%d keys kept", k)
	}
	if got := outcome(n.call(s)); !strings.HasPrefix(got, "InvalidClientTokenId") {
		t.Errorf("after the revocation: %s", got)
	}
	close(door.asked)
}

func TestAThousandAtOnceAskForOneKeyOnce(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{})
	_, cred := n.user("u")
	var all sync.WaitGroup
	for range 1000 {
		p, sts, digest := n.sign(cred)
		all.Go(func() {
			if _, err := n.Authenticate(context.Background(), p, sts, digest); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s := n.ring.State(); s.Issued != 1 || s.Asked != 0 {
		t.Errorf("%+v", s)
	}
}

func TestTheOldestKeysGoWhenThereAreTooMany(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{Limit: 128}) // a page of memory
	_, cred := n.user("u")
	role := n.role("r")
	first := n.session(cred, role)
	n.caller(first)
	for range 130 {
		n.caller(n.session(cred, role))
		n.caller(cred) // is always used
	}
	s := n.ring.State()
	if s.Kept != 128 || s.Evicted != 1+130+1-128 {
		t.Errorf("%+v", s)
	}
	n.caller(first)
	if again := n.ring.State(); again.Issued != s.Issued+1 {
		t.Errorf("the oldest was still there: %+v", again)
	}
	// Strangers' tokens displace no key.
	for range 200 {
		if _, err := n.call(credential{first.akid, "x", newText()}); err == nil {
			t.Fatal("let in")
		}
	}
	if s := n.ring.State(); s.Kept != 128 || s.Refusals != 128 {
		t.Errorf("%+v", s)
	}
}

func TestAKeyringIsRefusedWhatItMayNotKeep(t *testing.T) {
	good := sessions.KeyringConfig{Authority: &authority.Client{}, Clock: clock.System, Issued: func(context.Context, sessions.KeyIssue) error { return nil }}
	for name, change := range map[string]func(*sessions.KeyringConfig){
		"longer than five minutes": func(c *sessions.KeyringConfig) { c.TTL = sessions.MaxKeyTTL + 1 },
		"more than 100,000":        func(c *sessions.KeyringConfig) { c.Limit = sessions.MaxKeys + 1 },
		"nobody who records":       func(c *sessions.KeyringConfig) { c.Issued = nil },
		"no authority":             func(c *sessions.KeyringConfig) { c.Authority = nil },
	} {
		c := good
		change(&c)
		if _, err := sessions.NewKeyring(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
