package log_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/log/logtest"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

func TestAFailingSignerRefusesEventsAndLosesNone(t *testing.T) {
	keys := logtest.NewKeys(t)
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	cfg.Signer = keys
	l := logtest.Open(t, cfg, alice)
	receipts := []log.Receipt{logtest.Append(t, l, logtest.Event(alice, time.Now()))}
	keys.SetFail(errors.New("the signer is gone"))
	for range 3 {
		if _, err := l.Append(t.Context(), logtest.Event(alice, time.Now())); !errors.Is(err, log.ErrUnavailable) {
			t.Fatalf("without a signer: %v", err)
		}
	}
	// The key record of a new account is refused like everything else, and the
	// account's next events must not be sealed under a key that nobody has.
	if err := l.CreateAccount(t.Context(), bob); !errors.Is(err, log.ErrUnavailable) {
		t.Fatalf("without a signer: %v", err)
	}
	if l.HasAccount(bob) {
		t.Error("the half-made account counts")
	}
	keys.SetFail(nil)
	if err := l.CreateAccount(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	if err := l.CreateAccount(t.Context(), bob); !errors.Is(err, log.ErrAccountExists) {
		t.Errorf("made twice: %v", err)
	}
	ofBob := []log.Receipt{logtest.Append(t, l, logtest.Event(bob, time.Now()))}
	receipts = append(receipts, logtest.Append(t, l, logtest.Event(alice, time.Now())))
	if r := checked(t, l, alice, receipts); !r.OK || r.VerifiedEvents != 2 {
		t.Errorf("%+v", r)
	}
	if r := checked(t, l, bob, ofBob); !r.OK || r.VerifiedEvents != 1 {
		t.Errorf("%+v", r)
	}
}

// A slowSigner signs when it is allowed to.
type slowSigner struct {
	log.Signer
	mu sync.Mutex
}

func (s *slowSigner) Sign(ctx context.Context, alg log.Alg, m []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Signer.Sign(ctx, alg, m)
}

func TestAnAppendThatTakesTooLongFails(t *testing.T) {
	signer := &slowSigner{Signer: logtest.NewKeys(t)}
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	cfg.Signer, cfg.AppendTimeout = signer, 50*time.Millisecond
	l, err := log.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for l.CreateAccount(t.Context(), alice) != nil { // a busy machine may be slow here, too
	}
	signer.mu.Lock()
	if _, err := l.Append(t.Context(), logtest.Event(alice, time.Now())); !errors.Is(err, log.ErrTimeout) {
		t.Errorf("%v, want %v", err, log.ErrTimeout)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, logtest.Event(alice, time.Now())); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	signer.mu.Unlock()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), logtest.Event(alice, time.Now())); !errors.Is(err, log.ErrStopped) {
		t.Errorf("after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// A hangingSigner answers only when its context ends.
type hangingSigner struct {
	log.Signer
	hang chan struct{}
}

func (s *hangingSigner) Sign(ctx context.Context, alg log.Alg, m []byte) ([]byte, error) {
	select {
	case <-s.hang:
		<-ctx.Done()
		return nil, ctx.Err()
	default:
		return s.Signer.Sign(ctx, alg, m)
	}
}

func TestAHangingSignerDoesNotKeepTheLogFromClosing(t *testing.T) {
	c := clock.NewFake(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
	signer := &hangingSigner{logtest.NewKeys(t), make(chan struct{})}
	cfg := logtest.Config(t, t.TempDir(), c)
	cfg.Signer = signer
	l, err := log.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CreateAccount(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	close(signer.hang)
	waiting := make(chan error, 1)
	go func() {
		_, err := l.Append(t.Context(), logtest.Event(alice, c.Now()))
		waiting <- err
	}()
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	for {
		select {
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
			if err := <-waiting; err == nil {
				t.Error("an event is acknowledged without a signature")
			}
			return
		case <-time.After(5 * time.Millisecond):
			c.Advance(time.Second)
		}
	}
}

func TestRefusedEventsSayWhy(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice)
	change := func(f func(*log.Event)) log.Event {
		e := logtest.Event(alice, time.Now())
		f(&e)
		return e
	}
	for name, c := range map[string]struct {
		e    log.Event
		want error
	}{
		"an account without a log": {logtest.Event(bob, time.Now()), log.ErrNoAccount},
		"no UUID":                  {change(func(e *log.Event) { e.ID = "x" }), record.ErrMalformed},
		"too large":                {change(func(e *log.Event) { e.JSON = make([]byte, record.MaxEvent+1) }), log.ErrTooLarge},
		"a heartbeat":              {change(func(e *log.Event) { e.Kind = record.Heartbeat }), nil},
		"a key record":             {change(func(e *log.Event) { e.Kind = record.KeyRecords }), nil},
		"unknown flags":            {change(func(e *log.Event) { e.Flags = 8 }), nil},
	} {
		if _, err := l.Append(t.Context(), c.e); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "1", "../../etc/passwd", "11112222333a"} {
		if err := l.CreateAccount(t.Context(), bad); err == nil {
			t.Errorf("account %q is made", bad)
		}
	}
	if r := logtest.Append(t, l, logtest.Event(alice, time.Now())); r.Index != 1 {
		t.Errorf("the refused events took %d places", r.Index-1)
	}
}

func TestSilenceIsFilledWithHeartbeats(t *testing.T) {
	c := clock.NewFake(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
	cfg := logtest.Config(t, t.TempDir(), c)
	l := logtest.Open(t, cfg, alice)
	var receipts []log.Receipt
	receipts = append(receipts, logtest.Append(t, l, logtest.Event(alice, c.Now())))
	for range 5 * 60 {
		c.Advance(time.Minute)
		if err := l.Flush(t.Context()); err != nil { // so that the integrator sees every minute
			t.Fatal(err)
		}
	}
	receipts = append(receipts, logtest.Append(t, l, logtest.Event(alice, c.Now())))
	r := checked(t, l, alice, receipts)
	if !r.OK || r.VerifiedEvents != 2 || r.AccountSize < 2+1+4 {
		t.Errorf("%+v", r)
	}
	// A log that was not served for hours shows it.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.Advance(3 * time.Hour)
	l = logtest.Open(t, cfg)
	logtest.Append(t, l, logtest.Event(alice, c.Now()))
	if r := checked(t, l, alice, receipts); r.OK || len(r.Problems) != 1 {
		t.Errorf("three hours of silence: %+v", r)
	}
}

func TestADataKeyIsUsedForAnHour(t *testing.T) {
	c := clock.NewFake(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), c), alice)
	var receipts []log.Receipt
	for range 10 {
		receipts = append(receipts, logtest.Append(t, l, logtest.Event(alice, c.Now())))
		c.Advance(25 * time.Minute)
	}
	data, err := l.AccountKey(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	key, err := record.ParseAccountKey(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(key.Keys) != 4 {
		t.Errorf("%d data keys in 225 minutes, want 4", len(key.Keys))
	}
	if r := checked(t, l, alice, receipts); !r.OK || r.VerifiedEvents != 10 {
		t.Errorf("%+v", r)
	}
}

func TestTimeNeverGoesBackInALog(t *testing.T) {
	start := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	c := clock.NewFake(start)
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), c), alice)
	// An event from the future does not drag the log along, one from the past is
	// moved up to its predecessor.
	logtest.Append(t, l, logtest.Event(alice, start.Add(2*time.Second)))
	c.Advance(time.Second)
	logtest.Append(t, l, logtest.Event(alice, c.Now()))
	logtest.Append(t, l, logtest.Event(alice, start.Add(-time.Second)))
	page, err := l.Lookup(t.Context(), alice, log.Query{})
	if err != nil || len(page.Events) != 3 {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{time.Second, time.Second, 0} {
		if got := page.Events[i].Time.Sub(start); got != want {
			t.Errorf("leaf %d has time %v, want %v", page.Events[i].Index, got, want)
		}
	}
	if r := checked(t, l, alice, nil); !r.OK {
		t.Errorf("%+v", r)
	}
}

func TestManyAccountsAtOnceHaveIndependentLogs(t *testing.T) {
	var accounts []string
	for i := range 70 { // more than the dummies of the smallest map
		accounts = append(accounts, fmt.Sprintf("%012d", 100000000000+i))
	}
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	cfg.EpochInterval = 20 * time.Millisecond
	l := logtest.Open(t, cfg, accounts[:60]...)
	var mu sync.Mutex
	receipts := make(map[string][]log.Receipt)
	var wg sync.WaitGroup
	work := func(accounts []string) {
		for g := range 8 {
			wg.Go(func() {
				for i := range 40 {
					a := accounts[(i*8+g)%len(accounts)]
					r, err := l.Append(context.Background(), logtest.Event(a, time.Now()))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					receipts[a] = append(receipts[a], r)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	work(accounts[:60])
	for _, a := range accounts[60:] {
		if err := l.CreateAccount(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	work(accounts)
	verify := func() {
		for _, i := range []int{0, 17, 59, 60, 69} {
			if r := checked(t, l, accounts[i], receipts[accounts[i]]); !r.OK || r.VerifiedEvents != uint64(len(receipts[accounts[i]])) {
				t.Errorf("account %d: %+v", i, r)
			}
		}
	}
	verify()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = logtest.Open(t, cfg)
	verify()
}

func TestBothCopiesOfACrossAccountCallAreAppended(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice, bob)
	now := time.Now()
	copied := logtest.Event(bob, now)
	copied.Flags |= record.CrossAccount
	got, err := l.AppendAll(t.Context(), []log.Event{logtest.Event(alice, now), copied})
	if err != nil || len(got) != 2 || got[0].Label == got[1].Label || got[1].Index != 1 {
		t.Fatal(got, err)
	}
	if _, err := l.AppendAll(t.Context(), []log.Event{logtest.Event(alice, now), logtest.Event("999999999999", now)}); !errors.Is(err, log.ErrNoAccount) {
		t.Errorf("one of two cannot be appended: %v", err)
	}
}

func TestAnExportIsReadByItsOwnAccountOnly(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice, bob)
	e, err := l.Export(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	var p [64]byte
	for name, c := range map[string]struct{ account, export, file string }{
		"another account":    {bob, e.ID, "checkpoint"},
		"another export":     {alice, id.UUID(), "checkpoint"},
		"no such file":       {alice, e.ID, "state"},
		"a path upwards":     {alice, e.ID, "tile/../../../../lock"},
		"a tile too many":    {alice, e.ID, "tile/0/001"},
		"a wider tile":       {alice, e.ID, "tile/0/000.p/2"},
		"an unknown blob":    {alice, e.ID, "blobs/000.p/2"},
		"a root tile beyond": {alice, e.ID, "root/tile/0/001.p/1"},
	} {
		if n, err := l.ReadExport(t.Context(), c.account, c.export, c.file, 0, p[:]); !errors.Is(err, log.ErrNoFile) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
	if _, err := l.ReadExport(t.Context(), alice, e.ID, "checkpoint", -1, p[:]); err == nil {
		t.Error("a negative offset is read")
	}
	if n, err := l.ReadExport(t.Context(), alice, e.ID, "checkpoint", 1<<40, p[:]); n != 0 || err != nil {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	// The export stays what it was while the log grows.
	before := e.Files
	for range 5 {
		logtest.Append(t, l, logtest.Event(alice, time.Now()))
	}
	again, err := l.FindExport(alice, e.ID)
	if err != nil || fmt.Sprint(again.Files) != fmt.Sprint(before) {
		t.Error("the export has changed", err)
	}
	for range 40 {
		if _, err := l.Export(t.Context(), bob); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.FindExport(alice, e.ID); !errors.Is(err, log.ErrNoFile) {
		t.Errorf("exports are kept for ever: %v", err)
	}
}

func TestTheRootLogIsPublished(t *testing.T) {
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	l := logtest.Open(t, cfg, alice)
	logtest.Append(t, l, logtest.Event(alice, time.Now()))
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	onDisk, err := os.ReadFile(filepath.Join(cfg.Dir, "root", "checkpoint"))
	if err != nil || string(onDisk) != string(l.Checkpoint()) {
		t.Error("the published checkpoint is another one", err)
	}
	v, err := tree.NewVerifier("audit.test.example/root", tree.TypeEd25519, cfg.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	if c, _, err := tree.OpenCheckpoint(onDisk, "audit.test.example/root", v); err != nil || c.Size < 1 {
		t.Error(c, err)
	}
}

func TestOneDirectoryHasOneLog(t *testing.T) {
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	logtest.Open(t, cfg, alice)
	if _, err := log.Open(t.Context(), cfg); err == nil {
		t.Error("the same directory is opened twice")
	}
}

func TestAConfigurationMustBeComplete(t *testing.T) {
	_, err := log.Open(t.Context(), log.Config{})
	if err == nil {
		t.Fatal("an empty configuration is accepted")
	}
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	cfg.MLDSA44 = cfg.MLDSA44[1:]
	if _, err := log.Open(t.Context(), cfg); err == nil {
		t.Error("a short public key is accepted")
	}
}

// Target: at most 100 ms for a log of 100,000 events that was closed.
func BenchmarkOpen100k(b *testing.B) {
	cfg := logtest.Config(b, b.TempDir(), clock.System)
	cfg.SegmentSize = 256 << 20
	l := logtest.Open(b, cfg, alice)
	e := logtest.Event(alice, time.Now())
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 100_000 / 64 {
				if _, err := l.Append(context.Background(), e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := log.Open(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		l.Close()
		b.StartTimer()
	}
}
