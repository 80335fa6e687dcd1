package hsm_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// plane is some isolated HSMs of one domain and the people who rule it.
type plane struct {
	t       *testing.T
	all     []*hsmtest.Custodian
	members []*hsm.Process
	pool    *hsm.Pool
}

func waiting(t *testing.T) *hsm.Process {
	t.Helper()
	return hsmtest.Start(t, hsm.Config{StateDir: t.TempDir(), Await: true})
}

// found makes a domain of n HSMs.
func found(t *testing.T, n int) *plane {
	t.Helper()
	p := &plane{t: t, all: hsmtest.Custodians(t), members: []*hsm.Process{waiting(t)}}
	first := p.members[0].Client()
	p.pool = hsm.NewPool(first)
	s, err := first.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var id quorum.ID
	rand.Read(id[:])
	p.must(p.signed(id, 0, quorum.CreateDomain, hsmtest.Founding(s.Member, p.all, 0), p.all...))
	for range n - 1 {
		p.join()
	}
	return p
}

// join adds one more HSM.
func (p *plane) join() *hsm.Process {
	p.t.Helper()
	h := waiting(p.t)
	record, err := h.Client().Member(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	r := p.must(p.command(quorum.AddMember, quorum.AddArguments{Record: record}, p.all[:3]...))
	p.members = append(p.members, h)
	p.pool.Add(h.Client())
	p.must(p.installing(r.Token))
	return h
}

func (p *plane) state() quorum.DomainState {
	p.t.Helper()
	b, err := p.pool.DomainState(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := quorum.DecodeState(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *plane) signed(domain quorum.ID, serial uint64, name string, arguments any, signers ...*hsmtest.Custodian) []byte {
	p.t.Helper()
	span := quorum.MaxSpan
	if r, ok := arguments.(quorum.RotateArguments); ok && r.Standing() {
		span = quorum.MaxStanding
	}
	c, err := quorum.NewCommand(domain, serial, name, arguments, time.Now().Add(-time.Minute), span, "test")
	if err != nil {
		p.t.Fatal(err)
	}
	return hsmtest.Signed(p.t, c, signers...)
}

func (p *plane) command(name string, arguments any, signers ...*hsmtest.Custodian) []byte {
	p.t.Helper()
	s := p.state()
	return p.signed(s.ID, s.Serial, name, arguments, signers...)
}

func (p *plane) installing(token []byte) []byte {
	p.t.Helper()
	t, err := quorum.ParseToken(token)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.signed(t.State.ID, t.State.Serial, quorum.InstallDomain, quorum.InstallArguments{Token: token}, p.all[0], p.all[2])
}

func (p *plane) must(signed []byte) quorum.CommandResult {
	p.t.Helper()
	r, err := p.pool.Command(p.t.Context(), signed)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func TestSeveralHSMsServeOneDomain(t *testing.T) {
	p := found(t, 3)
	ctx := t.Context()
	k := newKey(t, p.members[0].Client())
	blob, err := p.members[1].Client().Encrypt(ctx, k.EKT, []byte("plain"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range p.members {
		if got, err := m.Client().Decrypt(ctx, k.EKT, blob, nil); err != nil || string(got) != "plain" {
			t.Errorf("member %d: %q, %v", i, got, err)
		}
		s, err := m.Client().Status(ctx)
		if err != nil || s.Members != 3 || s.Operators != 5 {
			t.Errorf("member %d: %+v, %v", i, s, err)
		}
		record, err := m.Client().Member(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := quorum.ParseMemberRecord(record); err != nil || len(r.Statement.Lock) < 5 {
			t.Errorf("member %d says of itself: %+v, %v", i, r.Statement, err)
		}
	}
	if err := p.pool.RotateDomainKeys(ctx); !errors.Is(err, hsm.ErrDenied) {
		t.Errorf("a rotation without the operators: %v", err)
	}
	two := p.command(quorum.RemoveMember, quorum.MemberArguments{Member: p.state().Members[2].ID}, p.all[0], p.all[1])
	if _, err := p.pool.Command(ctx, two); !errors.Is(err, hsm.ErrDenied) {
		t.Errorf("two of one organisation removed a member: %v", err)
	}
}

// All HSMs but one are killed while they serve: nobody notices.
func TestALostMemberIsNotMissed(t *testing.T) {
	p := found(t, 3)
	ctx := t.Context()
	k := newKey(t, p.pool.Client)
	var calls, failed atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				blob, err := p.pool.Encrypt(ctx, k.EKT, []byte("x"), nil)
				if err == nil {
					_, err = p.pool.Decrypt(ctx, k.EKT, blob, nil)
				}
				if calls.Add(1); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	after := func(n int64) {
		for from := calls.Load(); calls.Load() < from+n; {
			time.Sleep(time.Millisecond)
		}
	}
	after(200)
	p.members[0].Stop()
	after(200)
	p.members[2].Stop()
	after(200)
	close(stop)
	group.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d calls failed", failed.Load(), calls.Load())
	}
	if n := len(p.pool.Members()); n != 1 {
		t.Errorf("%d members are left", n)
	}
	p.members[1].Stop()
	if _, err := p.pool.Encrypt(ctx, k.EKT, []byte("x"), nil); !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("without any HSM: %v", err)
	}
}

// hsm-domain section 11: rotation under load with zero failed requests.
func TestDomainKeysAreRotatedWhileAllMembersServe(t *testing.T) {
	p := found(t, 2)
	ctx := t.Context()
	keys := []hsm.Key{newKey(t, p.pool.Client)}
	minute := uint64(time.Minute / time.Millisecond)
	now := uint64(time.Now().UnixMilli())
	p.must(p.command(quorum.RotateDomainKeys, quorum.RotateArguments{From: now - minute, To: now + 60*minute, Interval: minute}, p.all[0], p.all[2]))

	var mu sync.Mutex // guards keys
	var calls, failed atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				k := keys[len(keys)-1]
				mu.Unlock()
				_, blob, err := p.pool.GenerateDataKey(ctx, k.EKT, 32, nil, true)
				if err == nil {
					_, err = p.pool.Decrypt(ctx, k.EKT, blob, nil)
				}
				if calls.Add(1); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}
		})
	}
	for range 5 {
		r := p.must(p.command(quorum.RotateDomainKeys, quorum.RotateArguments{}, p.all[0], p.all[2]))
		p.must(p.installing(r.Token))
		k := newKey(t, p.pool.Client) // under the new key, at once used everywhere
		moved, err := p.pool.Rewrap(ctx, keys[0].EKT)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		keys = append(keys, k, hsm.Key{EKT: moved, MaterialID: keys[0].MaterialID})
		mu.Unlock()
		for from := calls.Load(); calls.Load() < from+50; {
			time.Sleep(time.Millisecond)
		}
	}
	close(stop)
	group.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d calls failed", failed.Load(), calls.Load())
	}
	var active [8]byte
	for i, m := range p.members {
		s, err := m.Client().Status(ctx)
		if err != nil || s.DomainKeys != 6 || i > 0 && s.ActiveKey != active {
			t.Errorf("member %d: %+v, %v", i, s, err)
		}
		active = s.ActiveKey
	}
}

func TestAStandingCommandRotatesAllMembersAndTheTokenIsKeptFirst(t *testing.T) {
	var late atomic.Int64 // hours
	now := func() time.Time { return time.Now().Add(time.Duration(late.Load()) * time.Hour) }
	p := &plane{t: t, all: hsmtest.Custodians(t), pool: hsm.NewPool()}
	ctx := t.Context()
	var clients []*hsm.Client
	for i := range 3 {
		c := hsmtest.OpenWith(t, t.TempDir(), message.Setup{Await: true}, now)
		clients = append(clients, c)
		p.pool.Add(c)
		s, err := c.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			p.must(p.signed(quorum.ID{1}, 0, quorum.CreateDomain, hsmtest.Founding(s.Member, p.all, 0), p.all...))
			continue
		}
		record, err := c.Member(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p.must(p.installing(p.must(p.command(quorum.AddMember, quorum.AddArguments{Record: record}, p.all[:3]...)).Token))
	}
	day := uint64(24 * time.Hour / time.Millisecond)
	from := uint64(now().Add(-time.Hour).UnixMilli())
	p.must(p.command(quorum.RotateDomainKeys, quorum.RotateArguments{From: from, To: from + 30*day, Interval: day}, p.all[0], p.all[2]))
	if err := p.pool.RotateDomainKeys(ctx); !errors.Is(err, hsm.ErrDenied) {
		t.Errorf("a rotation a moment after the domain was made: %v", err)
	}
	serial := p.state().Serial
	late.Add(25)
	full := errors.New("no place to keep it")
	if err := p.pool.Rotate(ctx, func([]byte) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if got := p.state().Serial; got != serial {
		t.Errorf("serial %d: rotated with a token that was not kept", got)
	}
	for range 3 {
		var kept []byte
		if err := p.pool.Rotate(ctx, func(token []byte) error { kept = token; return nil }); err != nil {
			t.Fatal(err)
		}
		if token, err := quorum.ParseToken(kept); err != nil || token.State.Serial != serial+1 {
			t.Errorf("kept a token of serial %d, %v", token.State.Serial, err)
		}
		serial++
		var active [8]byte
		for i, c := range clients {
			s, err := c.Status(ctx)
			if err != nil || s.Serial != serial || i > 0 && s.ActiveKey != active {
				t.Errorf("member %d: %+v, %v", i, s, err)
			}
			active = s.ActiveKey
		}
		if err := p.pool.RotateDomainKeys(ctx); !errors.Is(err, hsm.ErrDenied) {
			t.Errorf("twice on one day: %v", err)
		}
		late.Add(24)
	}
}

func TestAMemberThatMissedARotationIsPassedOver(t *testing.T) {
	p := found(t, 2)
	ctx := t.Context()
	r := p.must(p.command(quorum.RotateDomainKeys, quorum.RotateArguments{}, p.all[0], p.all[2]))
	install := p.installing(r.Token)
	if _, err := p.members[0].Client().Command(ctx, install); err != nil {
		t.Fatal(err)
	}
	k := newKey(t, p.members[0].Client())
	if _, err := p.members[1].Client().Encrypt(ctx, k.EKT, []byte("x"), nil); !errors.Is(err, hsm.ErrStale) {
		t.Errorf("the one that missed it: %v", err)
	}
	for range 10 {
		if _, err := p.pool.Encrypt(ctx, k.EKT, []byte("x"), nil); err != nil {
			t.Errorf("the pool: %v", err)
		}
	}
	// It catches up, and the pool says who had it already.
	if _, err := p.pool.Command(ctx, install); !errors.Is(err, hsm.ErrDenied) {
		t.Errorf("the same command again: %v", err)
	}
	if _, err := p.members[1].Client().Encrypt(ctx, k.EKT, []byte("x"), nil); err != nil {
		t.Errorf("after it caught up: %v", err)
	}
}

func TestTheCommandLogIsReadAndCheckedFromOutside(t *testing.T) {
	p := found(t, 2)
	ctx := t.Context()
	reader := hsm.LogReader{Identity: p.members[0].Identity()}
	var names []string
	take := func(e hsm.LogEntry) {
		if e.Name != "" {
			names = append(names, e.Name)
		}
	}
	head, err := p.members[0].Client().ReadLog(ctx, &reader, take)
	if err != nil || head.Size != reader.Size || len(names) != 3 || names[0] != quorum.CreateDomain || names[2] != quorum.InstallDomain {
		t.Fatalf("%v, %+v, %v", names, head, err)
	}
	p.must(p.command(quorum.ExportDomain, nil, p.all[0], p.all[2]))
	if _, err := p.members[0].Client().ReadLog(ctx, &reader, take); err != nil || len(names) != 4 || names[3] != quorum.ExportDomain {
		t.Errorf("%v, %v", names, err)
	}
	other := hsm.LogReader{Identity: p.members[1].Identity()}
	if _, err := p.members[0].Client().ReadLog(ctx, &other, take); !errors.Is(err, hsm.ErrLogHead) {
		t.Errorf("read as another's: %v", err)
	}
}

func TestADomainOfOurOwnIsGivenToOperators(t *testing.T) {
	h := hsmtest.Start(t, hsm.Config{StateDir: t.TempDir()})
	ctx := t.Context()
	k := newKey(t, h.Client())
	if err := h.Client().RotateDomainKeys(ctx); err != nil {
		t.Fatal(err)
	}
	p := &plane{t: t, all: hsmtest.Custodians(t), members: []*hsm.Process{h}, pool: hsm.NewPool(h.Client())}
	before := p.state()
	p.must(p.command(quorum.CreateDomain, hsmtest.Founding(before.Members[0].ID, p.all, 0), p.all...))
	if after := p.state(); after.ID != before.ID || len(after.Operators) != 5 {
		t.Errorf("%+v", after)
	}
	if _, err := h.Client().Encrypt(ctx, k.EKT, []byte("x"), nil); err != nil {
		t.Error(err)
	}
	if err := h.Client().RotateDomainKeys(ctx); !errors.Is(err, hsm.ErrDenied) {
		t.Errorf("the supervisor still rules: %v", err)
	}
	second := p.join()
	if _, err := second.Client().Encrypt(ctx, k.EKT, []byte("x"), nil); err != nil {
		t.Errorf("a key from before at a new member: %v", err)
	}
}

// Losing everything but the member in the safe loses no key: its state
// directory and the last token are enough.
func TestADomainComesBackFromTheMemberInTheSafe(t *testing.T) {
	p := found(t, 1)
	ctx := t.Context()
	safe := t.TempDir()
	offline, err := hsm.Start(ctx, hsm.Config{StateDir: safe, Await: true, Offline: true, Label: "safe"})
	if err != nil {
		t.Fatal(err)
	}
	record, err := offline.Client().Member(ctx)
	if err != nil {
		t.Fatal(err)
	}
	token := p.must(p.command(quorum.AddMember, quorum.AddArguments{Record: record}, p.all[:3]...)).Token
	if _, err := offline.Client().Command(ctx, p.installing(token)); err != nil {
		t.Fatal(err)
	}
	offline.Stop()

	token = p.must(p.command(quorum.RotateDomainKeys, quorum.RotateArguments{}, p.all[0], p.all[2])).Token
	p.must(p.installing(token))
	k := newKey(t, p.pool.Client)
	blob, err := p.pool.Encrypt(ctx, k.EKT, []byte("plain"), nil)
	if err != nil {
		t.Fatal(err)
	}
	install := p.installing(token)
	p.members[0].Stop() // and its directory is gone

	back := hsmtest.Start(t, hsm.Config{StateDir: safe})
	if _, err := back.Client().Command(ctx, install); err != nil {
		t.Fatal(err)
	}
	if got, err := back.Client().Decrypt(ctx, k.EKT, blob, nil); err != nil || !bytes.Equal(got, []byte("plain")) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAFenceIsRaisedAtAllMembersOrTheyDoNotServe(t *testing.T) {
	p := found(t, 3)
	ctx := t.Context()
	clients := []*hsm.Client{p.members[0].Client(), p.members[1].Client(), p.members[2].Client()}
	k := newKey(t, p.pool.Client)
	blob, err := p.pool.Encrypt(ctx, k.EKT, []byte("plain"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fenced := func(what string, ekt []byte) {
		t.Helper()
		for i, c := range clients {
			if _, err := c.Decrypt(ctx, ekt, blob, nil); !errors.Is(err, hsm.ErrFenced) {
				t.Errorf("%s: member %d: %v", what, i, err)
			}
		}
	}
	if _, err := p.pool.RaiseFence(ctx, k.EKT, 0, true); err != nil {
		t.Fatal(err)
	}
	fenced("a closed key", k.EKT)
	epoch, err := p.pool.RaiseFence(ctx, k.EKT, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	fenced("the token from before", k.EKT)
	opened, err := p.pool.Current(ctx, k.EKT, epoch)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _, err := p.pool.SealConditions(ctx, opened, &hsm.Conditions{Context: map[string]string{"a": "b"}}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	fenced("the token from before the sealing", opened)
	for i, c := range clients {
		if _, err := c.Encrypt(ctx, sealed, []byte("x"), map[string]string{"a": "b"}); err != nil {
			t.Errorf("member %d: the sealed token: %v", i, err)
		}
	}
	if n := len(p.pool.Members()); n != 3 {
		t.Fatalf("%d members are left", n)
	}

	// One is away while a fence moves.
	p.pool.Remove(clients[2])
	if _, err := p.pool.Destroy(ctx, [][]byte{sealed}); err != nil {
		t.Fatal(err)
	}
	if _, err := clients[2].Encrypt(ctx, sealed, []byte("x"), map[string]string{"a": "b"}); err != nil {
		t.Errorf("the one that was away: %v", err)
	}
	if err := p.pool.Admit(ctx, clients[2]); err != nil {
		t.Fatal(err)
	}
	fenced("a destroyed key", sealed)

	// One that did not follow a fence comes back when it has learned it, and not from nobody.
	alone := hsm.NewPool(clients[0], clients[1])
	lame, err := alone.GenerateKey(ctx, hsm.KeySpec{
		Spec: hsm.SymmetricDefault, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", KeyARN: "arn:aws:kms:us-east-1:111122223333:key/aaaaabcd-12ab-34cd-56ef-1234567890ab",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clients[1].RaiseFence(ctx, lame.EKT, 0, true); err != nil {
		t.Fatal(err)
	}
	if _, err := alone.RaiseFence(ctx, lame.EKT, 0, false); err != nil {
		t.Fatal(err)
	}
	if got := alone.Members(); len(got) != 1 || got[0] != clients[0] {
		t.Fatalf("%d members are left after one did not follow", len(got))
	}
	alone.Remove(clients[0])
	if err := alone.Admit(ctx, clients[1]); !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("admitted with what it missed: %v", err)
	}
	if err := alone.Admit(ctx, clients[0]); err != nil {
		t.Fatal(err)
	}
	if err := alone.Admit(ctx, clients[1]); err != nil {
		t.Fatal(err)
	}
	if n := len(alone.Members()); n != 2 {
		t.Errorf("%d members", n)
	}

	// So is one that is new in the domain.
	fourth := waiting(t)
	if err := p.pool.Admit(ctx, fourth.Client()); err == nil {
		t.Error("an HSM without a domain was admitted")
	}
	record, err := fourth.Client().Member(ctx)
	if err != nil {
		t.Fatal(err)
	}
	install := p.installing(p.must(p.command(quorum.AddMember, quorum.AddArguments{Record: record}, p.all[:3]...)).Token)
	p.must(install)
	if _, err := fourth.Client().Command(ctx, install); err != nil {
		t.Fatal(err)
	}
	if err := p.pool.Admit(ctx, fourth.Client()); err != nil {
		t.Fatal(err)
	}
	clients = append(clients, fourth.Client())
	fenced("a destroyed key", sealed)

	// The operators close a key for good: by its name, with no token of it.
	const other = "arn:aws:kms:us-east-1:111122223333:key/0000abcd-12ab-34cd-56ef-1234567890ab"
	victim, err := p.pool.GenerateKey(ctx, hsm.KeySpec{Spec: hsm.SymmetricDefault, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", KeyARN: other})
	if err != nil {
		t.Fatal(err)
	}
	if blob, err = p.pool.Encrypt(ctx, victim.EKT, []byte("plain"), nil); err != nil {
		t.Fatal(err)
	}
	p.must(p.command(quorum.RaiseFence, quorum.FenceArguments{Key: other, Epoch: hsm.FenceForever}, p.all[0], p.all[2]))
	fenced("a key that the operators closed", victim.EKT)

	// The one that was admitted first is the one that was away.
	const third = "arn:aws:kms:us-east-1:111122223333:key/1111abcd-12ab-34cd-56ef-1234567890ab"
	last, err := p.pool.GenerateKey(ctx, hsm.KeySpec{Spec: hsm.SymmetricDefault, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", KeyARN: third})
	if err != nil {
		t.Fatal(err)
	}
	if blob, err = p.pool.Encrypt(ctx, last.EKT, []byte("plain"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := clients[1].RaiseFence(ctx, last.EKT, 0, true); err != nil {
		t.Fatal(err)
	}
	again := hsm.NewPool(clients[0])
	for _, c := range clients[1:] {
		if err := again.Admit(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	fenced("a key that was closed while the others were away", last.EKT)
}

// The real process is killed while it rotates, again and again: what it
// acknowledged it still has, and no key is lost.
func TestWhatAnHSMAcknowledgedOutlivesAKill(t *testing.T) {
	p := found(t, 1)
	ctx := t.Context()
	dir := t.TempDir()
	h := hsmtest.Start(t, hsm.Config{StateDir: dir, Await: true})
	record, err := h.Client().Member(ctx)
	if err != nil {
		t.Fatal(err)
	}
	install := p.installing(p.must(p.command(quorum.AddMember, quorum.AddArguments{Record: record}, p.all[:3]...)).Token)
	p.must(install)
	if _, err := h.Client().Command(ctx, install); err != nil {
		t.Fatal(err)
	}
	k := newKey(t, p.pool.Client)
	reader := hsm.LogReader{Identity: h.Identity()}
	for round := range 6 {
		acknowledged := uint64(0)
		killed := make(chan struct{})
		for n := 0; ; n++ {
			// The other member makes the state and installs it, so that there is always a next one.
			token := p.must(p.command(quorum.RotateDomainKeys, quorum.RotateArguments{}, p.all[0], p.all[2])).Token
			install := p.installing(token)
			p.must(install)
			if n == 2 {
				go func() {
					time.Sleep(time.Duration(round) * time.Millisecond)
					_ = syscall.Kill(h.PID(), syscall.SIGKILL)
					close(killed)
				}()
			}
			r, err := h.Client().Command(ctx, install)
			if err != nil {
				if n < 2 || !errors.Is(err, hsm.ErrUnavailable) {
					t.Fatalf("round %d: %v", round, err)
				}
				break
			}
			acknowledged = r.Serial
		}
		<-killed
		h.Stop()
		h = hsmtest.Start(t, hsm.Config{StateDir: dir})
		s, err := h.Client().Status(ctx)
		if err != nil || s.Members != 2 || s.Serial < acknowledged {
			t.Fatalf("round %d: acknowledged serial %d, after the kill %d (%v)", round, acknowledged, s.Serial, err)
		}
		if _, err := h.Client().Encrypt(ctx, k.EKT, []byte("x"), nil); err != nil {
			t.Errorf("round %d: a key is lost: %v", round, err)
		}
		if _, err := h.Client().ReadLog(ctx, &reader, func(hsm.LogEntry) {}); err != nil {
			t.Errorf("round %d: the log: %v", round, err)
		}
	}
}
