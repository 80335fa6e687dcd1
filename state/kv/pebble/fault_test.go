package pebble_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// faulty makes operations on the log of a store fail once it is switched on.
func faulty(base vfs.FS, err error, kinds ...errorfs.OpKind) (vfs.FS, *errorfs.Toggle) {
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		for _, k := range kinds {
			if op.Kind == k && strings.HasSuffix(op.Path, ".log") {
				return err
			}
		}
		return nil
	})}
	return errorfs.Wrap(base, toggle), toggle
}

// After the disk failed once nothing is acknowledged any more, nobody hangs,
// the owner is told, and what was acknowledged before is on the disk.
func TestFailedDiskEndsTheStore(t *testing.T) {
	syncs := []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}
	for _, c := range []struct {
		name  string
		err   error
		kinds []errorfs.OpKind
	}{
		{"fsync fails", syscall.EIO, syncs},
		{"a write of the log fails", syscall.EIO, []errorfs.OpKind{errorfs.OpFileWrite}},
		{"the disk is full in the middle of the log", syscall.ENOSPC, []errorfs.OpKind{errorfs.OpFileWrite}},
		{"the disk is full when syncing", syscall.ENOSPC, syncs},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			fs, toggle := faulty(mem, c.err, c.kinds...)
			s, err := pebble.Open("store", pebble.Config{FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			watch, err := s.Watch(t.Context(), nil, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var acked [workers]uint64
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					err := work(t.Context(), s, w, func(n uint64) {
						mu.Lock()
						defer mu.Unlock()
						acked[w] = n
					})
					if !errors.Is(err, kv.ErrUnavailable) {
						t.Errorf("the commit under way gave %v", err)
					}
				})
			}
			time.Sleep(30 * time.Millisecond)
			toggle.On()
			ended := make(chan struct{})
			go func() { wg.Wait(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("commits hang")
			}
			select {
			case <-s.Failed():
			default:
				t.Error("the owner was not told")
			}
			toggle.Off() // the disk recovers; the store must not
			_, errCommit := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte("late")}})
			_, errGet := s.Get(t.Context(), counterKey(0))
			_, _, _, errScan := s.Scan(t.Context(), nil, nil, 1, 0, true)
			_, errWatch := s.Watch(t.Context(), nil, nil, 0)
			for name, err := range map[string]error{"commit": errCommit, "get": errGet, "scan": errScan, "watch": errWatch} {
				if !errors.Is(err, kv.ErrUnavailable) {
					t.Errorf("%s afterwards: %v", name, err)
				}
			}
			for range watch { // ends
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			r, err := pebble.Open("store", pebble.Config{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
			if err != nil {
				t.Fatal(err)
			}
			verify(t, r, acked)
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A reader, a watcher and a conflict show nothing that is not on the disk.
func TestNothingIsSeenBeforeItIsDurable(t *testing.T) {
	slow := make(chan struct{})
	stalled := make(chan struct{}, 16)
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if strings.HasSuffix(op.Path, ".log") {
				stalled <- struct{}{}
				<-slow
			}
		}
		return nil
	})}
	s, err := pebble.Open("store", pebble.Config{FS: errorfs.Wrap(vfs.NewMem(), toggle)})
	if err != nil {
		t.Fatal(err)
	}
	rev, err := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte("gone"), Value: []byte("1")}})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := s.Watch(t.Context(), nil, nil, rev)
	if err != nil {
		t.Fatal(err)
	}
	toggle.On()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte("new"), Value: []byte("1")}, {Key: []byte("gone"), Delete: true}}); err != nil {
			t.Error(err)
		}
	})
	<-stalled
	impatient := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	_, errNew := s.Get(impatient(), []byte("new"))
	_, errGone := s.Get(impatient(), []byte("gone"))
	_, _, _, errScan := s.Scan(impatient(), nil, nil, 10, 0, false)
	_, errConflict := s.Commit(impatient(), []kv.Cond{{Key: []byte("new")}}, nil)
	for name, err := range map[string]error{"get": errNew, "get of a deleted key": errGone, "scan": errScan, "conflict": errConflict} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s while the fsync is under way: %v", name, err)
		}
	}
	if e, err := s.GetStale(t.Context(), []byte("new")); err != nil || e.Mod == 0 {
		t.Errorf("a stale read waits for nothing: %+v, %v", e, err)
	}
	select {
	case b := <-watch:
		if !b.Progress {
			t.Errorf("the watcher saw %+v", b)
		}
	default:
	}
	toggle.Off()
	close(slow)
	wg.Wait()
	if e, err := s.Get(t.Context(), []byte("new")); err != nil || e.Mod != rev+1 {
		t.Errorf("afterwards: %+v, %v", e, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestNearlyFullDiskIsReadOnly(t *testing.T) {
	mem := vfs.NewMem()
	c := clock.NewFake(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	s, err := pebble.Open("store", pebble.Config{FS: mem, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	put := []kv.Op{{Key: []byte("a"), Value: []byte("1")}}
	rev, err := s.Commit(t.Context(), nil, put)
	if err != nil {
		t.Fatal(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 30, UsedBytes: 1 << 29})
	c.Advance(time.Second)
	if _, err := s.Commit(t.Context(), nil, put); !errors.Is(err, kv.ErrReadOnly) {
		t.Errorf("a commit on a full disk: %v", err)
	}
	if e, err := s.Get(t.Context(), []byte("a")); err != nil || e.Mod != rev {
		t.Errorf("a read on a full disk: %+v, %v", e, err)
	}
	if _, err := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte("a"), Delete: true}}); err != nil {
		t.Errorf("deleting is how room is made: %v", err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 29, TotalBytes: 1 << 30, UsedBytes: 1 << 29})
	c.Advance(time.Second)
	if _, err := s.Commit(t.Context(), nil, put); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// On a real small disk: commits until it is nearly full, then refusals, then
// service again once there is room.
func TestSmallDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=192m"); err != nil {
		t.Skip("needs the right to mount a tmpfs: ", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	c := clock.NewFake(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	s, err := pebble.Open(filepath.Join(dir, "store"), pebble.Config{Clock: c, MinFree: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.NewChaCha8([32]byte{})
	value := make([]byte, kv.MaxValue)
	full := false
	acked := 0
	for i := 0; i < 1000 && !full; i++ {
		_, _ = r.Read(value) // does not compress
		_, err := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte(fmt.Sprint("k", i)), Value: value}})
		switch full = errors.Is(err, kv.ErrReadOnly); {
		case full:
		case err != nil:
			t.Fatalf("commit %d: %v", i, err)
		default:
			acked++
		}
	}
	if !full || acked < 10 {
		t.Fatalf("full %v after %d commits", full, acked)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = pebble.Open(filepath.Join(dir, "store"), pebble.Config{Clock: c, MinFree: 1 << 20})
	if err != nil {
		t.Fatalf("a full store must open again: %v", err)
	}
	if _, err := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte("small"), Value: []byte("1")}}); err != nil {
		t.Errorf("with the limit lowered there is room: %v", err)
	}
	if es, _, _, err := s.Scan(t.Context(), []byte("k"), []byte("l"), 0, 0, true); err != nil || len(es) != acked {
		t.Errorf("%d entries, %d were acknowledged (%v)", len(es), acked, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Pebble tries for ever to write a table that finds no room. It must not do so
// as fast as it can, with a line in the log each time.
func TestATableThatFindsNoRoomIsTriedAgainSlowly(t *testing.T) {
	var full atomic.Bool
	var attempts atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") {
			attempts.Add(1)
			return syscall.ENOSPC
		}
		return nil
	}))
	s, err := pebble.Open("store", pebble.Config{FS: fs, Clock: clock.System})
	if err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	value := make([]byte, 64<<10)
	for i := range 200 { // more than a memtable
		if _, err := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte{byte(i)}, Value: value}}); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	if n := attempts.Load(); n == 0 || n > 10 {
		t.Errorf("%d attempts in 0.3 s", n)
	}
	full.Store(false)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
