package pebble_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

func openBench(b *testing.B) *pebble.Store {
	b.Helper()
	s, err := pebble.Open(filepath.Join(b.TempDir(), "store"), pebble.Config{CacheBytes: 256 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func value(n int) []byte {
	v := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(v)
	return v
}

// Durable commits of one 1 KiB value. Target: at 64 clients >= 20,000/s on the
// reference machine; at one client the disk's fsync decides.
func BenchmarkCommit(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := openBench(b)
			v := value(1 << 10)
			var n atomic.Uint64
			b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
			one := func() bool {
				key := kv.Table('K').Uint(n.Add(1))
				_, err := s.Commit(b.Context(), []kv.Cond{{Key: key}}, []kv.Op{{Key: key, Value: v}})
				return err == nil
			}
			start := time.Now()
			if clients == 1 {
				for b.Loop() {
					if !one() {
						b.Fatal("commit failed")
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if !one() {
							b.Error("commit failed")
							return
						}
					}
				})
			}
			b.ReportMetric(float64(n.Load())/time.Since(start).Seconds(), "commits/s")
		})
	}
}

// fill loads n entries of 1 KiB.
func fill(b *testing.B, s kv.Store, n int) {
	b.Helper()
	v := value(1 << 10)
	for i := 0; i < n; {
		var ops []kv.Op
		for ; len(ops) < 100 && i < n; i++ {
			ops = append(ops, kv.Op{Key: kv.Table('K').Uint(uint64(i)), Value: v})
		}
		if _, err := s.Commit(context.Background(), nil, ops); err != nil {
			b.Fatal(err)
		}
	}
}

// Target: >= 70,000 warm point reads/s on one core.
func BenchmarkGet(b *testing.B) {
	s := openBench(b)
	const n = 50_000
	fill(b, s, n)
	b.ReportAllocs()
	key := make([]byte, 9)
	for b.Loop() {
		key[0] = 'K'
		binary.BigEndian.PutUint64(key[1:], rand.Uint64N(n))
		if e, err := s.Get(b.Context(), key); err != nil || e.Mod == 0 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
}

// Target: >= 1,000,000 listed keys/s on one core, in pages of 1000.
func BenchmarkScan(b *testing.B) {
	s := openBench(b)
	const n = 50_000
	fill(b, s, n)
	from, to := kv.Table('K').Prefix()
	start, keys := from, 0
	at := kv.Rev(0)
	for b.Loop() {
		es, more, rev, err := s.Scan(b.Context(), start, to, 1000, at, true)
		if err != nil {
			b.Fatal(err)
		}
		keys += len(es)
		if start, at = kv.After(es[len(es)-1].Key), rev; !more {
			start, at = from, 0
		}
	}
	b.ReportMetric(float64(keys)/b.Elapsed().Seconds(), "keys/s")
}

// Target: < 50 ms for a store that holds something.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "store")
	s, err := pebble.Open(dir, pebble.Config{})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, s, 20_000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := pebble.Open(dir, pebble.Config{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
