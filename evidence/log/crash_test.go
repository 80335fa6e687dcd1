package log_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/log/logtest"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
	"github.com/leadglass/leadglass/verify/audit"
)

// crashDir tells the test binary to be the process that is killed.
const crashDir = "LEADGLASS_LOG_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		appendUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// appendUntilKilled appends from 16 goroutines and prints every receipt, as an
// API would answer its callers.
func appendUntilKilled(dir string) {
	var t testing.T
	l, err := log.Open(context.Background(), logtest.Config(&t, dir, clock.System))
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for i := range 16 {
		account := []string{alice, bob}[i%2]
		go func() {
			for {
				r, err := l.Append(context.Background(), logtest.Event(account, time.Now()))
				mu.Lock()
				if err != nil {
					fmt.Println("append:", err)
					os.Exit(1)
				}
				fmt.Println(r.String())
				mu.Unlock()
			}
		}()
	}
	select {}
}

// checked exports an account's log and verifies it with all receipts so far.
func checked(t *testing.T, l *log.Log, account string, receipts []log.Receipt) audit.Report {
	t.Helper()
	data, err := l.AccountKey(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	key, err := record.ParseAccountKey(data)
	if err != nil {
		t.Fatal(err)
	}
	fsys := make(fstest.MapFS)
	for name, data := range logtest.Files(t, l, account) {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	r, err := audit.Verify(fsys, *key, audit.Options{Receipts: receipts})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNoReceiptedEventIsLostWhenTheProcessIsKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	logtest.Open(t, logtest.Config(t, dir, clock.System), alice, bob).Close()
	receipts := make(map[[32]byte][]log.Receipt)
	rounds := 5
	if testing.Short() {
		rounds = 3
	}
	total := 0
	for round := range rounds {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Some rounds end before the first epoch, some after it; none before there is something to lose, which on a busy
		// machine takes a while.
		began, after, given := time.Now(), time.Duration(150+120*round)*time.Millisecond, 0
		hung := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		for in := bufio.NewScanner(out); in.Scan(); {
			if given++; given >= 40 && time.Since(began) >= after {
				cmd.Process.Kill()
			}
			r, err := tree.ParseReceiptString(in.Text())
			if err != nil {
				if strings.Contains(in.Text(), ":") {
					t.Fatal(in.Text())
				}
				continue // cut by the kill: nobody got this receipt
			}
			receipts[r.Label] = append(receipts[r.Label], r)
			total++
		}
		cmd.Wait()
		hung.Stop()
		l := logtest.Open(t, logtest.Config(t, dir, clock.System))
		for _, account := range []string{alice, bob} {
			c, err := l.Configuration(account)
			if err != nil {
				t.Fatal(err)
			}
			if r := checked(t, l, account, receipts[c.Label]); !r.OK || r.AccountSize < uint64(len(receipts[c.Label])) {
				t.Fatalf("round %d: %+v", round, r)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if total < 100 {
		t.Errorf("only %d receipts were given out", total)
	}
	t.Logf("%d receipts in %d rounds, all honoured", total, rounds)
}

// crashed is a copy of a log's directory as a crash leaves it: without a saved
// state, and without an epoch that would know of the last events.
func crashed(t *testing.T, events int) (dir string, receipts []log.Receipt) {
	t.Helper()
	from := t.TempDir()
	cfg := logtest.Config(t, from, clock.System)
	cfg.SegmentSize, cfg.EpochInterval = 64<<10, time.Hour
	l := logtest.Open(t, cfg, alice)
	for range events {
		receipts = append(receipts, logtest.Append(t, l, logtest.Event(alice, time.Now())))
	}
	dir = t.TempDir()
	for _, f := range []string{"wal/00000001.wal", "accounts/" + alice + "/account"} {
		copyFile(t, filepath.Join(from, f), filepath.Join(dir, f))
	}
	return dir, receipts
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// boundaries are the offsets at which the records of a segment begin, and the
// end of the last.
func boundaries(t *testing.T, wal []byte) []int {
	t.Helper()
	at := []int{0}
	for {
		n, _, err := log.ParseWAL(wal[at[len(at)-1]:])
		if err != nil {
			return at
		}
		at = append(at, at[len(at)-1]+n)
	}
}

func TestATornTailIsCutAtEveryByte(t *testing.T) {
	dir, receipts := crashed(t, 3)
	path := filepath.Join(dir, "wal", "00000001.wal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := boundaries(t, whole)
	last, end := at[len(at)-2], at[len(at)-1]
	cfg := logtest.Config(t, dir, clock.System)
	cfg.SegmentSize, cfg.EpochInterval = 64<<10, time.Hour
	for cut := last; cut < end; cut++ {
		if n, _, err := log.ParseWAL(whole[last:cut]); err == nil {
			t.Fatalf("a record cut at %d of %d is read as one of %d bytes", cut-last, end-last, n)
		}
		// To open a log takes a few fsyncs: all cuts in the head and the tail of the
		// record, and some of the sealed event between.
		if from := cut - last; from > 24 && cut < end-12 && from%83 != 0 {
			continue
		}
		torn := bytes.Clone(whole)
		if cut%2 == 0 {
			clear(torn[cut:]) // the rest was never written
		} else {
			torn = torn[:cut] // or the file was never so long
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := log.Open(t.Context(), cfg)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut-last, err)
		}
		if got, err := l.Lookup(t.Context(), alice, log.Query{}); err != nil || len(got.Events) != 2 {
			t.Fatalf("cut at %d: %d events, %v", cut-last, len(got.Events), err)
		}
		if cut%97 == 0 {
			// The log goes on where the last whole record ended.
			if r := logtest.Append(t, l, logtest.Event(alice, time.Now())); r.Index != receipts[2].Index+1 && r.Index != receipts[2].Index {
				t.Errorf("cut at %d: goes on at %d", cut-last, r.Index)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// The next round starts from the crash again.
		for _, name := range []string{"state", "root"} {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDamageThatIsNoTornTailRefusesToStart(t *testing.T) {
	dir, _ := crashed(t, 5)
	path := filepath.Join(dir, "wal", "00000001.wal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := boundaries(t, whole)
	cfg := logtest.Config(t, dir, clock.System)
	cfg.SegmentSize, cfg.EpochInterval = 64<<10, time.Hour
	for name, damage := range map[string]func([]byte) []byte{
		"a changed byte in the middle": func(b []byte) []byte { b[at[2]+100] ^= 1; return b },
		"a changed length":             func(b []byte) []byte { b[at[2]+7] ^= 1; return b },
		"a zeroed record":              func(b []byte) []byte { clear(b[at[2]:at[3]]); return b },
		"a record left out":            func(b []byte) []byte { return append(b[:at[2]], b[at[3]:]...) },
		"two records exchanged": func(b []byte) []byte {
			return append(append(append(b[:at[2]:at[2]], b[at[3]:at[4]]...), b[at[2]:at[3]]...), b[at[4]:]...)
		},
		"the first record lost": func(b []byte) []byte { return b[at[1]:] },
	} {
		if err := os.WriteFile(path, damage(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := log.Open(t.Context(), cfg)
		if !errors.Is(err, log.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			l.Close()
		}
	}
	// And once more whole, to show that it was the damage.
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestARolledBackLogRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	cfg := logtest.Config(t, dir, clock.System)
	cfg.SegmentSize = 16 << 10
	l := logtest.Open(t, cfg, alice)
	for range 40 {
		logtest.Append(t, l, logtest.Event(alice, time.Now()))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil || len(segments) < 3 {
		t.Fatal(segments, err)
	}
	for name, damage := range map[string]func(dir string) error{
		"the last segment is gone": func(dir string) error {
			return os.Remove(filepath.Join(dir, "wal", filepath.Base(segments[len(segments)-1])))
		},
		"a segment in the middle is gone, and the state": func(dir string) error {
			if err := os.Remove(filepath.Join(dir, "state")); err != nil {
				return err
			}
			return os.Remove(filepath.Join(dir, "wal", filepath.Base(segments[1])))
		},
		"the whole write-ahead log is gone, and the state": func(dir string) error {
			if err := os.Remove(filepath.Join(dir, "state")); err != nil {
				return err
			}
			return os.RemoveAll(filepath.Join(dir, "wal"))
		},
		"the root log is cut": func(dir string) error {
			return os.Truncate(filepath.Join(dir, "root", "leaves"), 0)
		},
		"a root leaf is changed": func(dir string) error { return flip(filepath.Join(dir, "root", "leaves"), 30) },
		"the map is changed": func(dir string) error {
			if err := os.Remove(filepath.Join(dir, "state")); err != nil {
				return err
			}
			return flip(filepath.Join(dir, "root", "map"), -1)
		},
		"the account is gone": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "accounts", alice)) },
	} {
		copied := filepath.Join(t.TempDir(), "log")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := damage(copied); err != nil {
			t.Fatal(err)
		}
		c := cfg
		c.Dir = copied
		l, err := log.Open(t.Context(), c)
		if !errors.Is(err, log.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			l.Close()
		}
	}
}

// flip changes a byte of a file; a negative offset counts from the end.
func flip(path string, at int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	return os.WriteFile(path, b, 0o600)
}

func TestLostDerivedFilesAreMadeAgain(t *testing.T) {
	dir := t.TempDir()
	cfg := logtest.Config(t, dir, clock.System)
	var receipts []log.Receipt
	l := logtest.Open(t, cfg, alice)
	for range 300 {
		receipts = append(receipts, logtest.Append(t, l, logtest.Event(alice, time.Now())))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{"accounts/" + alice + "/leaves", "accounts/" + alice + "/tile1", "accounts/" + alice + "/keys", "state"} {
		if err := os.Remove(filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}
		l := logtest.Open(t, cfg)
		if r := checked(t, l, alice, receipts); !r.OK {
			t.Fatalf("without %s: %+v", lost, r)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACheckReadsTheWholeLog(t *testing.T) {
	dir := t.TempDir()
	cfg := logtest.Config(t, dir, clock.System)
	l := logtest.Open(t, cfg, alice)
	for range 20 {
		logtest.Append(t, l, logtest.Event(alice, time.Now()))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Check = true
	if err := logtest.Open(t, cfg).Close(); err != nil {
		t.Fatal(err)
	}
	// Old damage lies before the saved state: an ordinary start does not read it.
	if err := flip(filepath.Join(dir, "wal", "00000001.wal"), 500); err != nil {
		t.Fatal(err)
	}
	if l, err := log.Open(t.Context(), cfg); !errors.Is(err, log.ErrCorrupt) {
		t.Errorf("%v", err)
		l.Close()
	}
	other := logtest.Config(t, dir, clock.System)
	other.Check, other.Ed25519 = true, bytes.Repeat([]byte{1}, 32)
	if err := flip(filepath.Join(dir, "wal", "00000001.wal"), 500); err != nil {
		t.Fatal(err)
	}
	if l, err := log.Open(t.Context(), other); !errors.Is(err, log.ErrCorrupt) {
		t.Errorf("signed by somebody else: %v", err)
		l.Close()
	}
}

// A faultyDisk fails its n-th write or sync.
type faultyDisk struct {
	mu          sync.Mutex
	writes      int   // guarded by mu; until the failing one, 0: never
	syncs       int   // guarded by mu
	opens       int   // guarded by mu
	err         error // what fails
	half        bool  // a failing write writes half
	failedTwice bool  // guarded by mu; somebody went on after a failure
	failed      bool  // guarded by mu
}

type faultyFile struct {
	log.SegmentFile
	disk *faultyDisk
}

func (d *faultyDisk) open(path string, size int64) (log.SegmentFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count(&d.opens) {
		return nil, d.err
	}
	f, err := log.OpenSegment(path, size)
	return faultyFile{f, d}, err
}

// count reports whether this call is the one to fail.
func (d *faultyDisk) count(left *int) bool {
	if *left == 0 {
		return false
	}
	*left--
	return *left == 0
}

func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.failed {
		f.disk.failedTwice = true
	}
	if f.disk.count(&f.disk.writes) {
		f.disk.failed = true
		n := 0
		if f.disk.half {
			n, _ = f.SegmentFile.WriteAt(p[:len(p)/2], off)
		}
		return n, f.disk.err
	}
	return f.SegmentFile.WriteAt(p, off)
}

func (f faultyFile) Datasync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.count(&f.disk.syncs) {
		f.disk.failed = true
		return f.disk.err
	}
	return f.SegmentFile.Datasync()
}

func TestAFailedWriteOrSyncStopsTheLogForGood(t *testing.T) {
	for name, arm := range map[string]func(*faultyDisk){
		"fdatasync fails":    func(d *faultyDisk) { d.syncs, d.err = 6, errors.New("input/output error") },
		"the write fails":    func(d *faultyDisk) { d.writes, d.err = 6, errors.New("no space left on device") },
		"half a write fails": func(d *faultyDisk) { d.writes, d.err, d.half = 6, io.ErrShortWrite, true },
	} {
		t.Run(name, func(t *testing.T) {
			disk := new(faultyDisk)
			cfg := logtest.Config(t, t.TempDir(), clock.System)
			l := logtest.Open(t, log.WithDisk(cfg, disk.open), alice)
			disk.mu.Lock()
			arm(disk)
			disk.mu.Unlock()
			var receipts []log.Receipt
			var failed error
			for range 20 {
				r, err := l.Append(t.Context(), logtest.Event(alice, time.Now()))
				if err == nil && failed != nil {
					t.Fatal("an event is acknowledged after the failure")
				}
				if err != nil {
					failed = err
					if !errors.Is(err, log.ErrStopped) {
						t.Fatalf("the failure is reported as %v", err)
					}
					continue
				}
				receipts = append(receipts, r)
			}
			select {
			case <-l.Failed():
			default:
				t.Fatal("Failed is not closed")
			}
			if len(receipts) != 5 || l.Err() == nil || disk.failedTwice {
				t.Errorf("%d receipts, %v, written after the failure: %v", len(receipts), l.Err(), disk.failedTwice)
			}
			if _, err := l.Lookup(t.Context(), alice, log.Query{}); !errors.Is(err, log.ErrStopped) {
				t.Errorf("lookup: %v", err)
			}
			if err := l.CreateAccount(t.Context(), bob); !errors.Is(err, log.ErrStopped) {
				t.Errorf("create account: %v", err)
			}
			l.Close()
			// On a disk that works again, everything that was acknowledged is there.
			l = logtest.Open(t, cfg)
			if r := checked(t, l, alice, receipts); !r.OK {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestAFullDiskRefusesEventsUntilThereIsSpace(t *testing.T) {
	disk := new(faultyDisk)
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	cfg.SegmentSize = 8 << 10
	l := logtest.Open(t, log.WithDisk(cfg, disk.open), alice)
	disk.mu.Lock()
	disk.opens, disk.err = 2, errors.New("no space left on device")
	disk.mu.Unlock()
	var receipts []log.Receipt
	refused := 0
	for range 30 {
		r, err := l.Append(t.Context(), logtest.Event(alice, time.Now()))
		if errors.Is(err, log.ErrUnavailable) {
			refused++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	if refused != 1 {
		t.Errorf("%d events were refused, want the one that found the disk full", refused)
	}
	if r := checked(t, l, alice, receipts); !r.OK || r.VerifiedEvents != uint64(len(receipts)) {
		t.Errorf("%+v", r)
	}
}

func FuzzWAL(f *testing.F) {
	cfg := logtest.Config(f, f.TempDir(), clock.System)
	cfg.SegmentSize = 16 << 10
	l := logtest.Open(f, cfg, alice)
	logtest.Append(f, l, logtest.Event(alice, time.Now()))
	l.Close()
	wal, err := os.ReadFile(filepath.Join(cfg.Dir, "wal", "00000001.wal"))
	if err != nil {
		f.Fatal(err)
	}
	n, _, err := log.ParseWAL(wal)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wal[:n])
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, events, err := log.ParseWAL(b); err == nil && (n > len(b) || events < 1) {
			t.Errorf("%d events in %d bytes of %d", events, n, len(b))
		}
	})
}
