// Package kvtest is the one suite that every engine of state/kv must pass:
// the semantics of the store's specification, section 2.1. An engine's test
// calls Run; Model compares two engines by random histories; what only engines
// with a disk can suffer (crash, full disk, failed fsync) is tested beside them.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
)

// A Harness says how the suite gets its stores.
type Harness struct {
	// Open opens the store in dir, empty if dir is. The suite closes it.
	Open func(t testing.TB, dir string, c clock.Clock) kv.Store
	// Durable: what was committed is there when dir is opened again.
	Durable bool
	// OpenTwice tries to open a dir that is open already; nil if the engine has no such thing.
	OpenTwice func(dir string) error
}

var start = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"what is put is there, what is deleted is not", putGetDelete},
		{"conditions decide, and a conflict names the first that failed", conditions},
		{"a refused commit writes nothing", refusedWritesNothing},
		{"ops apply in order", opsInOrder},
		{"revisions grow with every commit", revisionsGrow},
		{"a scan is ordered, bounded and paged", scanPages},
		{"pages of one revision are one snapshot for 60 seconds", snapshot},
		{"an expired entry is absent at once and gone within a minute", expiry},
		{"limits are refused before anything is written", limits},
		{"concurrent increments lose nothing", increments},
		{"scan then watch misses nothing and repeats nothing", scanThenWatch},
		{"a watch sees its range, grouped by commit", watchRange},
		{"an idle watch shows progress", watchProgress},
		{"a watch resumes, or says that it cannot", watchResume},
		{"a backup is what a scan shows, and damage is found", backup},
		{"a cancelled call does nothing", cancelled},
		{"a closed store is unavailable", closedStore},
		{"reopening shows every commit and resumes watches", reopen},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, h) })
	}
}

func (h Harness) fresh(t testing.TB, c clock.Clock) kv.Store {
	t.Helper()
	s := h.Open(t, t.TempDir(), c)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func put(k, v string) kv.Op      { return kv.Op{Key: []byte(k), Value: []byte(v)} }
func del(k string) kv.Op         { return kv.Op{Key: []byte(k), Delete: true} }
func delRange(a, b string) kv.Op { return kv.Op{Key: []byte(a), EndKey: []byte(b), Delete: true} }

func commit(t testing.TB, s kv.Store, ops ...kv.Op) kv.Rev {
	t.Helper()
	rev, err := s.Commit(t.Context(), nil, ops)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return rev
}

func get(t testing.TB, s kv.Store, k string) kv.Entry {
	t.Helper()
	e, err := s.Get(t.Context(), []byte(k))
	if err != nil {
		t.Fatalf("get %s: %v", k, err)
	}
	return e
}

// dump is the whole store as text, for comparing.
func dump(t testing.TB, s kv.Store, at kv.Rev) (string, kv.Rev) {
	t.Helper()
	var b bytes.Buffer
	for from := []byte(nil); ; {
		es, more, rev, err := s.Scan(t.Context(), from, nil, 0, at, false)
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		for _, e := range es {
			fmt.Fprintf(&b, "%q=%q@%d\n", e.Key, e.Value, e.Mod)
		}
		if at = rev; !more {
			return b.String(), rev
		}
		from = kv.After(es[len(es)-1].Key)
	}
}

func putGetDelete(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	if e := get(t, s, "a"); e.Mod != 0 || e.Value != nil {
		t.Errorf("an absent key gave %+v", e)
	}
	r1 := commit(t, s, put("a", "1"), put("empty", ""))
	if e := get(t, s, "a"); string(e.Value) != "1" || e.Mod != r1 || string(e.Key) != "a" {
		t.Errorf("got %+v, want 1 at %d", e, r1)
	}
	if e := get(t, s, "empty"); e.Mod != r1 || e.Value == nil || len(e.Value) != 0 {
		t.Errorf("an empty value came back as %+v", e)
	}
	value := []byte("2")
	r2, err := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte("a"), Value: value}})
	if err != nil {
		t.Fatal(err)
	}
	value[0] = 'x' // the caller's memory is the caller's again
	if e := get(t, s, "a"); string(e.Value) != "2" || e.Mod != r2 {
		t.Errorf("got %+v, want 2 at %d", e, r2)
	}
	e := get(t, s, "a")
	e.Value[0] = 'y' // and so is the answer
	if e := get(t, s, "a"); string(e.Value) != "2" {
		t.Error("an answer shares memory with the store")
	}
	commit(t, s, del("a"), del("never-there"))
	if e := get(t, s, "a"); e.Mod != 0 {
		t.Errorf("deleted, still %+v", e)
	}
	if e, err := s.GetStale(t.Context(), []byte("empty")); err != nil || e.Mod != r1 {
		t.Errorf("GetStale: %+v, %v", e, err)
	}
	// Any bytes make a key.
	odd := string([]byte{0, 0xff, 0, 1, 0xff})
	commit(t, s, put(odd, "odd"))
	if e := get(t, s, odd); string(e.Value) != "odd" {
		t.Errorf("an odd key gave %+v", e)
	}
}

func conditions(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	rev := commit(t, s, put("there", "v"))
	for _, c := range []struct {
		name  string
		conds []kv.Cond
		bad   string // the key that the conflict names; "": committed
		have  kv.Rev
	}{
		{"absent as wanted", []kv.Cond{{Key: []byte("no")}}, "", 0},
		{"present, wanted absent", []kv.Cond{{Key: []byte("there")}}, "there", rev},
		{"at the wanted revision", []kv.Cond{{Key: []byte("there"), Mod: rev}}, "", 0},
		{"at another revision", []kv.Cond{{Key: []byte("there"), Mod: rev + 1}}, "there", rev},
		{"absent, wanted at a revision", []kv.Cond{{Key: []byte("no"), Mod: rev}}, "no", 0},
		{"present as wanted", []kv.Cond{{Key: []byte("there"), Not: true, Mod: 99}}, "", 0},
		{"absent, wanted present", []kv.Cond{{Key: []byte("no"), Not: true}}, "no", 0},
		{"the first failing one is named", []kv.Cond{{Key: []byte("there"), Mod: rev}, {Key: []byte("x"), Not: true}, {Key: []byte("y"), Not: true}}, "x", 0},
	} {
		_, err := s.Commit(t.Context(), c.conds, []kv.Op{put("mark", c.name)})
		conflict, isConflict := errors.AsType[*kv.ConflictError](err)
		switch {
		case c.bad == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.bad != "" && (!isConflict || string(conflict.Key) != c.bad || conflict.Have != c.have):
			t.Errorf("%s: %v, want a conflict at %s (have %d)", c.name, err, c.bad, c.have)
		case (c.bad == "") != (string(get(t, s, "mark").Value) == c.name):
			t.Errorf("%s: written although refused, or not written", c.name)
		}
	}
	if _, err := s.Commit(t.Context(), []kv.Cond{{Key: []byte("there"), Mod: rev}}, nil); err != nil {
		t.Errorf("conditions alone: %v", err)
	}
}

func refusedWritesNothing(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	commit(t, s, put("a", "1"), put("b", "1"))
	before, rev := dump(t, s, 0)
	_, err := s.Commit(t.Context(), []kv.Cond{{Key: []byte("a"), Mod: 99}}, []kv.Op{put("a", "2"), del("b"), put("c", "3"), delRange("a", "z")})
	if _, ok := errors.AsType[*kv.ConflictError](err); !ok {
		t.Fatalf("got %v, want a conflict", err)
	}
	if after, rev2 := dump(t, s, 0); after != before || rev != rev2 {
		t.Errorf("a refused commit changed\n%s(%d) to\n%s(%d)", before, rev, after, rev2)
	}
}

func opsInOrder(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	commit(t, s, put("r1", "old"), put("r2", "old"), put("s", "old"))
	rev := commit(t, s,
		put("a", "1"), put("a", "2"), // the last wins
		put("b", "1"), del("b"), // never seen
		del("c"), put("c", "1"),
		put("r3", "new"), delRange("r", "s"), put("r2", "again")) // the range meets old and new, and spares what comes later
	want := fmt.Sprintf("\"a\"=\"2\"@%d\n\"c\"=\"1\"@%d\n\"r2\"=\"again\"@%d\n\"s\"=\"old\"@%d\n", rev, rev, rev, rev-1)
	if got, _ := dump(t, s, 0); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	commit(t, s, delRange("z", "a")) // an empty range
	if got, _ := dump(t, s, 0); got != want {
		t.Errorf("an empty range deleted something:\n%s", got)
	}
}

func revisionsGrow(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	last := kv.Rev(0)
	for i := range 50 {
		var ops []kv.Op
		if i%3 > 0 {
			ops = append(ops, put("k", fmt.Sprint(i)))
		}
		if rev := commit(t, s, ops...); rev <= last {
			t.Fatalf("commit %d has revision %d after %d", i, rev, last)
		} else {
			last = rev
		}
	}
}

func limits(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	big := bytes.Repeat([]byte("v"), kv.MaxValue)
	many := make([]kv.Op, kv.MaxOps)
	for i := range many {
		many[i] = put(fmt.Sprintf("m%03d", i), "v")
	}
	longest := bytes.Repeat([]byte("k"), kv.MaxKey)
	for _, c := range []struct {
		name  string
		conds []kv.Cond
		ops   []kv.Op
		ok    bool
	}{
		{"the longest key", nil, []kv.Op{{Key: longest}}, true},
		{"a key too long", nil, []kv.Op{{Key: append(longest, 'k')}}, false},
		{"no key", nil, []kv.Op{{}}, false},
		{"a condition without key", []kv.Cond{{}}, nil, false},
		{"an end key too long", nil, []kv.Op{{Key: []byte("a"), EndKey: append(longest, 'k'), Delete: true}}, false},
		{"the greatest value", nil, []kv.Op{{Key: []byte("k"), Value: big}}, true},
		{"a value too great", nil, []kv.Op{{Key: []byte("k"), Value: append(big, 'v')}}, false},
		{"as many ops as there may be", nil, many, true},
		{"an op too many", nil, append(many[:len(many):len(many)], put("n", "")), false},
		{"a condition too many", []kv.Cond{{Key: []byte("x")}}, many, false},
		{"too much altogether", nil, []kv.Op{{Key: []byte("a"), Value: big}, {Key: []byte("b"), Value: big}}, false},
	} {
		_, before := dump(t, s, 0)
		_, err := s.Commit(t.Context(), c.conds, c.ops)
		if c.ok && err != nil || !c.ok && !errors.Is(err, kv.ErrTooLarge) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, after := dump(t, s, 0); !c.ok && after != before {
			t.Errorf("%s: a revision was made", c.name)
		}
	}
	for i := 0; i <= kv.MaxDeleted; {
		var ops []kv.Op
		for ; len(ops) < kv.MaxOps; i++ {
			ops = append(ops, put(fmt.Sprintf("range%06d", i), ""))
		}
		commit(t, s, ops...)
	}
	if _, err := s.Commit(t.Context(), nil, []kv.Op{delRange("range", "rangf")}); !errors.Is(err, kv.ErrTooLarge) {
		t.Errorf("a range of too many keys: %v", err)
	}
	commit(t, s, delRange("range", "range000500"))
	commit(t, s, delRange("range", "rangf"))
	if es, _, _, err := s.Scan(t.Context(), []byte("range"), []byte("rangf"), 1, 0, true); err != nil || len(es) != 0 {
		t.Errorf("after deleting the range: %d entries, %v", len(es), err)
	}
}

func increments(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	const workers, each = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				e, err := s.Get(t.Context(), []byte("n"))
				if err != nil {
					t.Error(err)
					return
				}
				_, err = s.Commit(t.Context(), []kv.Cond{{Key: []byte("n"), Mod: e.Mod}}, []kv.Op{{Key: []byte("n"), Value: append(e.Value, '.')}})
				if _, conflict := errors.AsType[*kv.ConflictError](err); conflict {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				done++
				// Linearizable: my own commit is seen by the read that starts after it.
				if after, err := s.Get(t.Context(), []byte("n")); err != nil || len(after.Value) <= len(e.Value) {
					t.Errorf("read %d after writing %d (%v)", len(after.Value), len(e.Value)+1, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if e := get(t, s, "n"); len(e.Value) != workers*each {
		t.Errorf("%d increments, want %d", len(e.Value), workers*each)
	}
}

func cancelled(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, errCommit := s.Commit(ctx, nil, []kv.Op{put("a", "1")})
	_, errGet := s.Get(ctx, []byte("a"))
	_, _, _, errScan := s.Scan(ctx, nil, nil, 1, 0, false)
	_, errWatch := s.Watch(ctx, nil, nil, 0)
	for name, err := range map[string]error{"commit": errCommit, "get": errGet, "scan": errScan, "watch": errWatch} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e := get(t, s, "a"); e.Mod != 0 {
		t.Error("the cancelled commit was written")
	}
}

func closedStore(t *testing.T, h Harness) {
	s := h.Open(t, t.TempDir(), clock.System)
	ch, err := s.Watch(t.Context(), nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	for range ch { // ends because the store closes it
	}
	_, errCommit := s.Commit(t.Context(), nil, []kv.Op{put("a", "1")})
	_, errGet := s.Get(t.Context(), []byte("a"))
	_, _, _, errScan := s.Scan(t.Context(), nil, nil, 1, 0, false)
	_, errWatch := s.Watch(t.Context(), nil, nil, 0)
	_, errBackup := s.Backup(t.Context(), new(bytes.Buffer))
	for name, err := range map[string]error{"commit": errCommit, "get": errGet, "scan": errScan, "watch": errWatch, "backup": errBackup} {
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
