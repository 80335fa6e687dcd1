package rotation_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/rotation"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

const (
	account = "111122223333"
	day     = 24 * time.Hour
)

// A plane is HSMs, keys and the rotation of both, under one fake clock.
type plane struct {
	testing.TB
	clock *clock.Fake
	pool  *hsm.Pool
	store kv.Store
	keys  *keys.Keys
	*rotation.Rotation

	mu     sync.Mutex
	events []rotation.Event // guarded by mu
	kept   [][]byte         // guarded by mu
}

// holder holds the keys' tokens, and can fail.
type holder struct {
	p    *plane
	fail error
}

func (h *holder) Name() string { return "keys" }

func (h *holder) Rewrap(ctx context.Context, active hsm.DomainKeyID, seal rotation.Seal, done func(int)) error {
	if h.fail != nil {
		return h.fail
	}
	_, err := h.p.keys.Rewrap(ctx, keys.Rewrap{Active: active, Seal: seal, Done: done})
	return err
}

func (h *holder) Count(context.Context) (map[hsm.DomainKeyID]int, error) {
	return h.p.keys.DomainKeys()
}

func newPlane(t testing.TB) *plane {
	return &plane{TB: t, clock: clock.NewFake(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)), pool: hsm.NewPool(), store: memory.Open()}
}

// open opens keys and rotation, as a start of the process does.
func (p *plane) open(period time.Duration) *holder {
	p.Helper()
	k, err := keys.Open(p.Context(), p.store, keys.Config{
		Boundary: p.pool.Client, Clock: p.clock, Region: "us-east-1", Principals: func(string) (string, bool) { return "", true },
	})
	p.must(err)
	p.keys = k
	h := &holder{p: p}
	p.Rotation, err = rotation.New(rotation.Config{
		Pool: p.pool, Clock: p.clock, Period: period, Holders: []rotation.Holder{h},
		Keep: func(_ context.Context, token []byte) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.kept = append(p.kept, token)
			return nil
		},
		Record: func(_ context.Context, e rotation.Event) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.events = append(p.events, e)
			return nil
		},
	})
	p.must(err)
	return h
}

func (p *plane) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *plane) create() *keys.Key {
	p.Helper()
	k, err := p.keys.Create(p.Context(), keys.NewKey{Account: account})
	p.must(err)
	return k
}

func (p *plane) round() {
	p.Helper()
	_, err := p.Round(p.Context())
	p.must(err)
}

// names are those of the events since the last call.
func (p *plane) names() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		out = append(out, e.Name)
	}
	p.events = nil
	return out
}

func TestADomainWithoutOperatorsRotatesEveryDay(t *testing.T) {
	p := newPlane(t)
	p.pool.Add(hsmtest.OpenWith(t, t.TempDir(), message.Setup{}, p.clock.Now))
	p.open(day)
	k := p.create()
	blob, err := p.keys.Encrypt(t.Context(), keys.Use{Key: k}, []byte("plain"), nil)
	p.must(err)
	p.round()
	if got := p.names(); len(got) != 0 {
		t.Errorf("on the first day: %v", got)
	}
	first := p.State().Active
	want := []string{rotation.Rotated, rotation.RewrapStarted, rotation.RewrapEnded}
	for i := range 40 {
		p.clock.Advance(day)
		p.round()
		if got := p.names(); !slices.Equal(got, want) {
			t.Fatalf("day %d: %v", i, got)
		}
		if s := p.State(); s.Left != 0 || s.Tokens != 1 || s.Running || s.Problem != "" || s.Overdue || s.Keys != min(i+2, 30) {
			t.Fatalf("day %d: %+v", i, s)
		}
		if i%7 == 0 {
			p.open(day) // a restart
		}
	}
	state, err := p.pool.DomainState(t.Context())
	p.must(err)
	d, err := quorum.DecodeState(state)
	p.must(err)
	if slices.ContainsFunc(d.Keys, func(k quorum.DomainKey) bool { return k.ID == first }) {
		t.Error("the first domain key is still there")
	}
	if token, err := quorum.ParseToken(p.kept[len(p.kept)-1]); err != nil || token.State.Serial != d.Serial {
		t.Errorf("the token that is kept is of serial %d, not %d: %v", token.State.Serial, d.Serial, err)
	}
	k, err = p.keys.ByID(t.Context(), k.ID)
	p.must(err)
	if got, _, err := p.keys.Decrypt(t.Context(), keys.Use{Key: k}, blob, nil); err != nil || string(got) != "plain" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestADomainKeyStaysForAsLongAsOneTokenNeedsIt(t *testing.T) {
	p := newPlane(t)
	p.pool.Add(hsmtest.OpenWith(t, t.TempDir(), message.Setup{}, p.clock.Now))
	h := p.open(day)
	p.create()
	h.fail = errors.New("the store is read-only")
	for range 40 {
		p.clock.Advance(day)
		if _, err := p.Round(t.Context()); !errors.Is(err, h.fail) {
			t.Fatal(err)
		}
	}
	if s := p.State(); s.Left != 1 || s.Problem == "" || s.Keys != 31 { // the 30 newest and the one
		t.Errorf("%+v", s)
	}
	p.clock.Advance(day)
	h.fail = nil
	p.round()
	p.clock.Advance(day)
	p.round()
	if s := p.State(); s.Left != 0 || s.Problem != "" || s.Keys != 30 {
		t.Errorf("once it is moved: %+v", s)
	}
}

func TestAHandMadeRotationIsNoticed(t *testing.T) {
	p := newPlane(t)
	p.pool.Add(hsmtest.OpenWith(t, t.TempDir(), message.Setup{}, p.clock.Now))
	p.open(0) // nobody rotates by the clock
	p.create()
	p.clock.Advance(100 * day)
	p.round()
	if s := p.State(); s.Overdue || len(p.names()) != 0 {
		t.Errorf("%+v", s)
	}
	p.must(p.pool.RotateDomainKeys(t.Context()))
	p.round()
	if got := p.names(); !slices.Equal(got, []string{rotation.RewrapStarted, rotation.RewrapEnded}) {
		t.Errorf("%v", got)
	}
}

func TestADomainWithOperatorsRotatesWithinTheirCommandAndAllMembersFollow(t *testing.T) {
	p := newPlane(t)
	ctx := t.Context()
	all := hsmtest.Custodians(t)
	submit := func(domain quorum.ID, serial uint64, name string, arguments any, span time.Duration, signers ...*hsmtest.Custodian) quorum.CommandResult {
		t.Helper()
		c, err := quorum.NewCommand(domain, serial, name, arguments, p.clock.Now().Add(-time.Minute), span, "test")
		p.must(err)
		r, err := p.pool.Command(ctx, hsmtest.Signed(t, c, signers...))
		p.must(err)
		return r
	}
	state := func() quorum.DomainState {
		t.Helper()
		b, err := p.pool.DomainState(ctx)
		p.must(err)
		s, err := quorum.DecodeState(b)
		p.must(err)
		return s
	}
	var members []*hsm.Client
	for i := range 3 {
		c := hsmtest.OpenWith(t, t.TempDir(), message.Setup{Await: true}, p.clock.Now)
		members = append(members, c)
		p.pool.Add(c)
		s, err := c.Status(ctx)
		p.must(err)
		if i == 0 {
			submit(quorum.ID{1}, 0, quorum.CreateDomain, hsmtest.Founding(s.Member, all, 0), time.Hour, all...)
			continue
		}
		record, err := c.Member(ctx)
		p.must(err)
		d := state()
		r := submit(d.ID, d.Serial, quorum.AddMember, quorum.AddArguments{Record: record}, time.Hour, all[:3]...)
		submit(d.ID, d.Serial+1, quorum.InstallDomain, quorum.InstallArguments{Token: r.Token}, time.Hour, all[:3]...)
	}
	p.open(day)
	const n = 60
	held := make([]*keys.Key, n)
	for i := range held {
		held[i] = p.create()
	}
	p.clock.Advance(day + 2*time.Hour)
	p.round()
	if s := p.State(); !s.Overdue || !s.Ruled || len(p.names()) != 0 {
		t.Errorf("without a standing command: %+v", s)
	}
	var failed, calls atomic.Int64
	var jump sync.RWMutex // a clock that jumps ends the sessions of calls under way
	stop := make(chan struct{})
	var group sync.WaitGroup
	for c := range 3 {
		group.Go(func() {
			for i := c; ; i = (i + 1) % n {
				select {
				case <-stop:
					return
				default:
				}
				jump.RLock()
				u := keys.Use{Key: held[i]}
				blob, err := p.keys.Encrypt(ctx, u, []byte("x"), nil)
				if err == nil {
					_, _, err = p.keys.Decrypt(ctx, u, blob, nil)
				}
				jump.RUnlock()
				if calls.Add(1); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}
		})
	}
	at := func() uint64 { return uint64(p.clock.Now().UnixMilli()) }
	order := func() {
		d := state()
		submit(d.ID, d.Serial, quorum.RotateDomainKeys, quorum.RotateArguments{From: at(), To: at() + uint64(30*day.Milliseconds()), Interval: uint64(day.Milliseconds())}, quorum.MaxStanding, all[0], all[2])
	}
	order()
	for i := range 40 {
		p.round()
		if got := p.names(); len(got) != 3 {
			t.Fatalf("day %d: %v", i, got)
		}
		if s := p.State(); s.Left != 0 || s.Tokens != n || s.Keys != min(i+2, 30) {
			t.Fatalf("day %d: %+v", i, s)
		}
		var active hsm.DomainKeyID
		for m, c := range members {
			s, err := c.Status(ctx)
			if err != nil || m > 0 && s.ActiveKey != active || int(s.DomainKeys) != min(i+2, 30) {
				t.Fatalf("day %d, member %d: %+v, %v", i, m, s, err)
			}
			active = s.ActiveKey
		}
		jump.Lock()
		p.clock.Advance(day)
		jump.Unlock()
		if i%20 == 19 {
			order()
		}
	}
	close(stop)
	group.Wait()
	if failed.Load() > 0 || calls.Load() == 0 {
		t.Errorf("%d of %d calls failed", failed.Load(), calls.Load())
	}
	if got := len(p.pool.Members()); got != 3 {
		t.Errorf("%d members serve", got)
	}
	p.clock.Advance(40 * day)
	p.round()
	if s := p.State(); !s.Overdue || !s.Ruled {
		t.Errorf("after the standing command: %+v", s)
	}
}

func TestRunRotatesByTheClock(t *testing.T) {
	p := newPlane(t)
	p.pool.Add(hsmtest.OpenWith(t, t.TempDir(), message.Setup{}, p.clock.Now))
	p.open(day)
	p.create()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { p.Run(ctx); close(ended) }()
	ends := 0
	for began := time.Now(); ends < 2; {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%+v", p.State())
		}
		p.clock.Advance(10 * time.Minute)
		time.Sleep(time.Millisecond)
		for _, name := range p.names() {
			if name == rotation.RewrapEnded {
				ends++
			}
		}
	}
	cancel()
	<-ended
}
