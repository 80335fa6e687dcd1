package kvtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
)

// next waits for a batch with events.
func next(t testing.TB, ch <-chan kv.Batch) kv.Batch {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case b, ok := <-ch:
			if !ok {
				t.Fatal("the watch ended")
			}
			if !b.Progress {
				return b
			}
		case <-deadline:
			t.Fatal("no batch came")
		}
	}
}

func scanThenWatch(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	const workers, each = 6, 60
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begin := make(chan struct{})
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if i == each/4 && w == 0 {
					close(begin)
				}
				key := fmt.Sprintf("k%02d", (w*7+i)%20)
				op := put(key, fmt.Sprintf("%d.%d", w, i))
				if i%5 == 4 {
					op = del(key)
				}
				if _, err := s.Commit(ctx, nil, []kv.Op{op, put(fmt.Sprintf("w%d", w), fmt.Sprint(i))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	<-begin
	// How every cache starts: scan, then watch from the scan's revision.
	es, _, rev, err := s.Scan(ctx, nil, nil, 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	cache := map[string]string{}
	for _, e := range es {
		cache[string(e.Key)] = string(e.Value)
	}
	ch, err := s.Watch(ctx, nil, nil, rev)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var final kv.Rev
	for final == 0 || rev < final {
		select {
		case <-done:
			_, final = dump(t, s, 0)
			done = nil
		case b, ok := <-ch:
			if !ok {
				t.Fatal("the watch ended")
			}
			if b.Progress {
				if b.Rev < rev {
					t.Fatalf("progress to %d after %d", b.Rev, rev)
				}
				continue
			}
			if b.Rev != rev+1 {
				t.Fatalf("revision %d after %d: something is missing or doubled", b.Rev, rev)
			}
			rev = b.Rev
			for _, e := range b.Events {
				if e.Deleted {
					delete(cache, string(e.Key))
				} else {
					cache[string(e.Key)] = string(e.Value)
				}
			}
		}
	}
	want := map[string]string{}
	es, _, _, err = s.Scan(ctx, nil, nil, 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		want[string(e.Key)] = string(e.Value)
	}
	if !maps.Equal(cache, want) {
		t.Errorf("the cache holds %v, the store %v", cache, want)
	}
}

func watchRange(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch, err := s.Watch(ctx, []byte("b"), []byte("d"), 0)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, put("a", "1"))
	r2 := commit(t, s, put("b", "1"), put("a", "2"), put("c", "1"), put("d", "1"))
	commit(t, s, del("bb")) // was never there: nothing to see
	r4 := commit(t, s, delRange("a", "z"))
	if got, want := fmt.Sprintf("%+v", next(t, ch)), fmt.Sprintf("%+v", kv.Batch{Rev: r2, Events: []kv.Event{{Key: []byte("b"), Value: []byte("1")}, {Key: []byte("c"), Value: []byte("1")}}}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%+v", next(t, ch)), fmt.Sprintf("%+v", kv.Batch{Rev: r4, Events: []kv.Event{{Key: []byte("b"), Deleted: true}, {Key: []byte("c"), Deleted: true}}}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	cancel()
	for range ch { // must end
	}
}

func watchProgress(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	rev := commit(t, s, put("a", "1"))
	ch, err := s.Watch(t.Context(), []byte("x"), nil, rev)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() { // a load that does not concern the watcher must not starve it
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := s.Commit(t.Context(), nil, []kv.Op{put("a", "2")}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range 3 {
		select {
		case b := <-ch:
			if !b.Progress || len(b.Events) > 0 || b.Rev < rev {
				t.Fatalf("got %+v", b)
			}
			rev = b.Rev
		case <-time.After(2 * time.Second): // promised 250 ms; the machine may be busy
			t.Fatal("no progress")
		}
	}
}

func watchResume(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	var revs []kv.Rev
	for i := range 100 {
		revs = append(revs, commit(t, s, put("k", fmt.Sprint(i))))
	}
	for _, from := range []int{0, 57, 98} {
		ctx, cancel := context.WithCancel(t.Context())
		ch, err := s.Watch(ctx, nil, nil, revs[from])
		if err != nil {
			t.Fatal(err)
		}
		for i := from + 1; i < 100; i++ {
			if b := next(t, ch); b.Rev != revs[i] || string(b.Events[0].Value) != fmt.Sprint(i) {
				t.Fatalf("resumed after %d: got %+v, want commit %d", from, b, i)
			}
		}
		cancel()
	}
	_, err := s.Watch(t.Context(), nil, nil, revs[99]+5)
	if _, ok := errors.AsType[*kv.CompactedError](err); !ok {
		t.Errorf("a revision that never was: %v", err)
	}
}

func reopen(t *testing.T, h Harness) {
	if !h.Durable {
		t.Skip("this engine keeps nothing")
	}
	dir := t.TempDir()
	c := clock.NewFake(start)
	s := h.Open(t, dir, c)
	var revs []kv.Rev
	for i := range 50 {
		revs = append(revs, commit(t, s, put(fmt.Sprintf("k%02d", i), fmt.Sprint(i))))
	}
	commit(t, s, kv.Op{Key: []byte("token"), Expire: c.Now().Add(time.Minute)})
	before, rev := dump(t, s, 0)
	if h.OpenTwice != nil {
		if err := h.OpenTwice(dir); err == nil {
			t.Error("the store was opened twice")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = h.Open(t, dir, c)
	defer func() { _ = s.Close() }()
	if after, rev2 := dump(t, s, 0); after != before || rev2 != rev {
		t.Errorf("reopened at %d:\n%s\nwas %d:\n%s", rev2, after, rev, before)
	}
	ch, err := s.Watch(t.Context(), nil, nil, revs[20])
	if err != nil {
		t.Fatalf("resuming after a restart: %v", err)
	}
	next51 := commit(t, s, put("after", "restart"))
	if next51 != rev+1 {
		t.Errorf("revision %d after %d", next51, rev)
	}
	for i := 21; i < 50; i++ {
		if b := next(t, ch); b.Rev != revs[i] || string(b.Events[0].Value) != fmt.Sprint(i) {
			t.Fatalf("got %+v, want commit %d", b, i)
		}
	}
	if b := next(t, ch); string(b.Events[0].Key) != "token" {
		t.Errorf("got %+v", b)
	}
	if b := next(t, ch); b.Rev != next51 {
		t.Errorf("got %+v, want revision %d", b, next51)
	}
	c.Advance(time.Minute)
	if e := get(t, s, "token"); e.Mod != 0 {
		t.Error("an expiry was forgotten")
	}
}
