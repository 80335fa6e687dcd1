package pebble_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

const (
	crashChild = "LEADGLASS_TEST_CRASH_CHILD" // set in the process that is killed: the store's folder
	workers    = 8
	keep       = 20 // of a worker's records; older ones are deleted in the same commit
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashChild); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child commits until it is killed, and says so after every acknowledgement.
func child(dir string) {
	s, err := pebble.Open(dir, pebble.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	var out sync.Mutex
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			err := work(context.Background(), s, w, func(n uint64) {
				out.Lock()
				defer out.Unlock()
				fmt.Printf("%d %d\n", w, n)
			})
			fmt.Fprintln(os.Stderr, err)
			os.Exit(4)
		})
	}
	wg.Wait()
}

func counterKey(w int) []byte { return kv.Table('C').Uint(uint64(w)) }

func recordKey(w int, n uint64, part string) []byte {
	return kv.Table('R').Uint(uint64(w)).Uint(n).Text(part)
}

func recordValue(w int, n uint64) []byte {
	return bytes.Repeat([]byte{byte(w), byte(n)}, 100+int(n%900))
}

// work commits the records of one worker in order: two parts and a counter,
// and takes an old record away, all in one transaction.
func work(ctx context.Context, s kv.Store, w int, acknowledged func(n uint64)) error {
	e, err := s.Get(ctx, counterKey(w))
	if err != nil {
		return err
	}
	n := uint64(0)
	if e.Mod != 0 {
		n = binary.BigEndian.Uint64(e.Value)
	}
	for mod := e.Mod; ; acknowledged(n) {
		n++
		ops := []kv.Op{
			{Key: recordKey(w, n, "a"), Value: recordValue(w, n)},
			{Key: counterKey(w), Value: binary.BigEndian.AppendUint64(nil, n)},
			{Key: recordKey(w, n, "b"), Value: recordValue(w, n)},
		}
		if n > keep {
			ops = append(ops, kv.Op{Key: kv.Table('R').Uint(uint64(w)).Uint(n - keep), EndKey: kv.Table('R').Uint(uint64(w)).Uint(n - keep + 1), Delete: true})
		}
		if mod, err = s.Commit(ctx, []kv.Cond{{Key: counterKey(w), Mod: mod}}, ops); err != nil {
			return err
		}
	}
}

// verify holds the store against what was acknowledged: each worker's counter
// is at its last acknowledged commit or at the one that was under way, and
// the records are exactly those that belong to that counter.
func verify(t *testing.T, s kv.Store, acked [workers]uint64) {
	t.Helper()
	want := 0
	for w := range workers {
		e, err := s.Get(t.Context(), counterKey(w))
		if err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		if e.Mod != 0 {
			n = binary.BigEndian.Uint64(e.Value)
			want++
		}
		if n < acked[w] || n > acked[w]+1 {
			t.Fatalf("worker %d: acknowledged %d, stored %d", w, acked[w], n)
		}
		for i := uint64(1); i <= n; i++ {
			for _, part := range []string{"a", "b"} {
				r, err := s.Get(t.Context(), recordKey(w, i, part))
				if err != nil {
					t.Fatal(err)
				}
				if i+keep > n {
					if want++; !bytes.Equal(r.Value, recordValue(w, i)) {
						t.Fatalf("worker %d: record %d%s of %d has %d bytes", w, i, part, n, len(r.Value))
					}
				} else if r.Mod != 0 {
					t.Fatalf("worker %d: record %d%s of %d was deleted and is back", w, i, part, n)
				}
				if i+2*keep < n {
					i = n - 2*keep // the oldest were checked in earlier rounds
				}
			}
		}
	}
	es, _, _, err := s.Scan(t.Context(), nil, nil, 0, 0, true)
	if err != nil || len(es) != want {
		t.Fatalf("%d entries, want %d: a commit is there in part (%v)", len(es), want, err)
	}
	replay(t, s, es)
}

// replay checks that the watch log tells the same story as the data.
func replay(t *testing.T, s kv.Store, es []kv.Entry) {
	t.Helper()
	_, _, rev, err := s.Scan(t.Context(), nil, nil, 1, 0, true)
	if err != nil || rev == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ch, err := s.Watch(ctx, nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]kv.Rev{}
	for last := kv.Rev(0); last < rev; {
		b, ok := <-ch
		if !ok {
			t.Fatal("the watch ended")
		}
		if last = b.Rev; b.Progress {
			continue
		}
		for _, e := range b.Events {
			if state[string(e.Key)] = b.Rev; e.Deleted {
				delete(state, string(e.Key))
			}
		}
	}
	if len(state) != len(es) {
		t.Fatalf("the log leads to %d entries, the store has %d", len(state), len(es))
	}
	for _, e := range es {
		if state[string(e.Key)] != e.Mod {
			t.Fatalf("%q was written at %d, by the log at %d", e.Key, e.Mod, state[string(e.Key)])
		}
	}
}

func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var acked [workers]uint64
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashChild+"="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, first := 0, make(chan struct{})
		read := make(chan struct{})
		go func() {
			defer close(read)
			for sc := bufio.NewScanner(out); sc.Scan(); lines++ {
				if lines == 0 {
					close(first)
				}
				var w int
				var n uint64
				// A line may be cut by the kill: it is no acknowledgement then.
				if _, err := fmt.Sscanf(sc.Text()+"\n", "%d %d\n", &w, &n); err == nil && n == acked[w]+1 {
					acked[w] = n
				}
			}
		}()
		select {
		case <-first:
		case <-time.After(20 * time.Second):
			t.Error("the child acknowledged nothing")
		}
		time.Sleep(time.Duration(20+rand.IntN(250)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-read
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
			t.Fatalf("the child ended by itself: %v %s", err, stderr.String())
		}
		began := time.Now()
		s, err := pebble.Open(dir, pebble.Config{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		opened := time.Since(began)
		verify(t, s, acked)
		for w := range workers { // a commit under way may have made it
			if e, err := s.Get(t.Context(), counterKey(w)); err == nil && e.Mod != 0 {
				acked[w] = binary.BigEndian.Uint64(e.Value)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d acknowledged, opened again in %v", round, lines, opened)
	}
}

// A power cut takes what was not synced, or a random part of it.
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	for seed := range uint64(6) {
		fs := vfs.NewCrashableMem()
		s, err := pebble.Open("store", pebble.Config{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var acked [workers]uint64
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				err := work(ctx, s, w, func(n uint64) {
					mu.Lock()
					defer mu.Unlock()
					acked[w] = n
				})
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Duration(30+rand.IntN(60)) * time.Millisecond)
		mu.Lock()
		before := acked
		mu.Unlock()
		cut := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 20, RNG: newRand(seed)})
		mu.Lock()
		after := acked // commits that were acknowledged while the copy was made may be in it or not
		mu.Unlock()
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := pebble.Open("store", pebble.Config{FS: cut})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for w := range workers {
			e, err := r.Get(t.Context(), counterKey(w))
			if err != nil {
				t.Fatal(err)
			}
			n := uint64(0)
			if e.Mod != 0 {
				n = binary.BigEndian.Uint64(e.Value)
			}
			if n < before[w] || n > after[w]+1 {
				t.Fatalf("seed %d, worker %d: acknowledged %d to %d, stored %d", seed, w, before[w], after[w], n)
			}
			before[w] = n
		}
		verify(t, r, before)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
