package log_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/evidence/log/logtest"
)

const (
	alice = "111122223333"
	bob   = "444455556666"
)

func TestAppendGivesConsecutiveReceiptsThatVerify(t *testing.T) {
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	l := logtest.Open(t, cfg, alice, bob)
	for i := range uint64(10) {
		r := logtest.Append(t, l, logtest.Event(alice, time.Now()))
		if r.Index != i+1 { // the key record is 0
			t.Errorf("event %d has index %d", i, r.Index)
		}
		if err := r.Verify(cfg.Ed25519); err != nil {
			t.Error(err)
		}
		r.Index++
		if r.Verify(cfg.Ed25519) == nil {
			t.Error("a receipt for another index verifies")
		}
	}
	if r := logtest.Append(t, l, logtest.Event(bob, time.Now())); r.Index != 1 {
		t.Errorf("the other account's first event has index %d", r.Index)
	}
}

func TestTheLogContinuesAfterBeingClosedAndOpened(t *testing.T) {
	cfg := logtest.Config(t, t.TempDir(), clock.System)
	l := logtest.Open(t, cfg, alice, bob)
	last := logtest.Append(t, l, logtest.Event(alice, time.Now()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l = logtest.Open(t, cfg)
		r := logtest.Append(t, l, logtest.Event(alice, time.Now()))
		if r.Index <= last.Index {
			t.Fatalf("index %d after %d", r.Index, last.Index)
		}
		last = r
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Without the saved state everything is derived again.
	if err := os.Remove(filepath.Join(cfg.Dir, "state")); err != nil {
		t.Fatal(err)
	}
	l = logtest.Open(t, cfg)
	if r := logtest.Append(t, l, logtest.Event(alice, time.Now())); r.Index <= last.Index {
		t.Fatalf("index %d after %d", r.Index, last.Index)
	}
	l.Close()
}

func benchmarkAppend(b *testing.B, callers int) {
	cfg := logtest.Config(b, b.TempDir(), clock.System)
	cfg.SegmentSize = 256 << 20
	l := logtest.Open(b, cfg, alice)
	e := logtest.Event(alice, time.Now())
	b.SetParallelism(max(callers/2, 1))
	b.ReportAllocs()
	b.ResetTimer()
	if callers == 1 {
		for b.Loop() {
			logtest.Append(b, l, e)
		}
		return
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			logtest.Append(b, l, e)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// Target: p50 of at most 0.5 ms on a disk whose fdatasync takes 0.25 ms.
func BenchmarkAppend1(b *testing.B) { benchmarkAppend(b, 1) }

// Target: at least 20,000 receipted events per second on two cores.
func BenchmarkAppend64(b *testing.B) { benchmarkAppend(b, 64) }
