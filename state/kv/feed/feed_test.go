package feed_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/feed"
)

func batch(rev kv.Rev) kv.Batch {
	return kv.Batch{Rev: rev, Events: []kv.Event{{Key: []byte("k"), Value: []byte(fmt.Sprint(rev))}}}
}

func TestTailWithoutLogSaysWhatIsGone(t *testing.T) {
	f := feed.New(0, feed.Config{Events: 10, Bytes: 1 << 20, Clock: clock.System})
	defer f.Close()
	for rev := kv.Rev(1); rev <= 50; rev++ {
		f.Append(batch(rev))
		f.Publish(rev)
	}
	_, err := f.Watch(t.Context(), nil, nil, 5)
	compacted, ok := errors.AsType[*kv.CompactedError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	ch, err := f.Watch(t.Context(), nil, nil, compacted.Oldest)
	if err != nil {
		t.Fatal(err)
	}
	for rev := compacted.Oldest + 1; rev <= 50; rev++ {
		if b := <-ch; b.Rev != rev {
			t.Fatalf("got %+v, want %d", b, rev)
		}
	}
}

func TestASlowWatcherReadsFromTheLog(t *testing.T) {
	var mu sync.Mutex
	var log []kv.Batch
	older := func(_ context.Context, after kv.Rev) ([]kv.Batch, error) {
		mu.Lock()
		defer mu.Unlock()
		return log[after:min(int(after)+7, len(log))], nil
	}
	f := feed.New(0, feed.Config{Events: 5, Bytes: 1 << 20, Clock: clock.System, Older: older})
	defer f.Close()
	ch, err := f.Watch(t.Context(), nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	for rev := kv.Rev(1); rev <= n; rev++ {
		mu.Lock()
		log = append(log, batch(rev))
		mu.Unlock()
		f.Append(batch(rev))
		f.Publish(rev)
	}
	for rev := kv.Rev(1); rev <= n; {
		b := <-ch
		if b.Progress {
			continue
		}
		if b.Rev != rev {
			t.Fatalf("got %+v, want %d", b, rev)
		}
		rev++
	}
}

func TestAWatcherThatFallsBehindIsToldToScanAgain(t *testing.T) {
	f := feed.New(0, feed.Config{Events: 5, Bytes: 1 << 20, Clock: clock.System})
	defer f.Close()
	ch, err := f.Watch(t.Context(), nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for rev := kv.Rev(1); rev <= 500; rev++ {
		f.Append(batch(rev))
		f.Publish(rev)
	}
	last := kv.Rev(0)
	for b := range ch {
		if !b.Progress && b.Rev != last+1 {
			t.Fatalf("revision %d after %d", b.Rev, last)
		}
		if last = b.Rev; last == 500 {
			return // fast enough after all
		}
	}
}

func TestNothingIsSeenBeforeItIsPublished(t *testing.T) {
	f := feed.New(0, feed.Config{Events: 2, Bytes: 1 << 20, Clock: clock.System})
	ch, err := f.Watch(t.Context(), nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for rev := kv.Rev(1); rev <= 10; rev++ {
		f.Append(batch(rev)) // beyond the bound, but not published: it must stay
	}
	select {
	case b := <-ch:
		if !b.Progress || b.Rev != 0 {
			t.Fatalf("saw %+v", b)
		}
	case <-time.After(20 * time.Millisecond):
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := f.WaitFor(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what is not durable: %v", err)
	}
	f.Publish(10)
	if err := f.WaitFor(t.Context(), 10); err != nil {
		t.Error(err)
	}
	for rev := kv.Rev(1); rev <= 10; {
		if b := <-ch; !b.Progress {
			if b.Rev != rev {
				t.Fatalf("got %+v, want %d", b, rev)
			}
			rev++
		}
	}
	f.Close()
	if err := f.WaitFor(t.Context(), 11); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("waiting after the end: %v", err)
	}
	if _, open := <-ch; open {
		t.Error("the watch goes on after the end")
	}
}
