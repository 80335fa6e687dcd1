// Package feed turns the commits of a store into watch channels. Engines use
// it; services never do.
//
// An engine Appends every commit in revision order, and Publishes a revision
// once it is durable: watchers see nothing that could still be lost. Each
// watcher reads from a shared in-memory tail at its own pace, so a slow one
// holds up nobody; one that falls behind the tail reads from the engine's own
// log (Older), and one that falls behind that log has its channel closed, which
// tells it to scan again.
package feed

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
)

// Idle watchers get a Progress batch after this time; the interface promises 250 ms.
const progress = 200 * time.Millisecond

// Older reads commits with Rev > after from the engine's log, oldest first,
// as many as it likes but at least one. Revisions are dense, so the first one
// is after+1; if it is gone, Older returns *kv.CompactedError.
type Older func(ctx context.Context, after kv.Rev) ([]kv.Batch, error)

// Config bounds the tail. A commit leaves it when any bound is passed.
type Config struct {
	Events int           // events in all commits of the tail
	Bytes  int           // keys and values
	Age    time.Duration // 0: no bound
	Older  Older         // nil: there is nothing but the tail
	Clock  clock.Clock
}

// A Feed is the tail of one store's commits. New starts it; Close ends it
// together with all its watchers.
type Feed struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // watchers

	mu        sync.RWMutex
	tail      []commit      // guarded by mu; dense revisions, oldest first
	events    int           // guarded by mu; sums over tail
	bytes     int           // guarded by mu
	published kv.Rev        // guarded by mu; durable
	appended  kv.Rev        // guarded by mu
	wake      chan struct{} // guarded by mu; closed and replaced when published moves
	closed    bool          // guarded by mu

	durable atomic.Uint64 // published, for readers in a hurry
}

type commit struct {
	batch kv.Batch
	bytes int
	at    time.Time
}

// New returns the feed of a store whose newest durable revision is rev.
func New(rev kv.Rev, cfg Config) *Feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Feed{cfg: cfg, ctx: ctx, cancel: cancel, published: rev, appended: rev, wake: make(chan struct{})}
	f.durable.Store(uint64(rev))
	return f
}

// Append adds a commit, whose revision must follow the one before. The feed
// keeps the batch: nobody may change it afterwards.
func (f *Feed) Append(b kv.Batch) {
	c := commit{batch: b, at: f.cfg.Clock.Now()}
	for _, e := range b.Events {
		c.bytes += len(e.Key) + len(e.Value) + 64
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tail = append(f.tail, c)
	f.events += len(b.Events)
	f.bytes += c.bytes
	f.appended = b.Rev
	drop := 0
	for drop < len(f.tail)-1 && f.over(&f.tail[drop], c.at) {
		// Without a log, what is not published yet must stay.
		if f.cfg.Older == nil && f.tail[drop].batch.Rev > f.published {
			break
		}
		f.events -= len(f.tail[drop].batch.Events)
		f.bytes -= f.tail[drop].bytes
		drop++
	}
	// What is dropped is not cleared: watchers may still read it. It goes when append next moves the slice.
	f.tail = f.tail[drop:]
}

func (f *Feed) over(oldest *commit, now time.Time) bool {
	return f.events > f.cfg.Events || f.bytes > f.cfg.Bytes || len(f.tail) > f.cfg.Events+1 ||
		f.cfg.Age > 0 && now.Sub(oldest.at) > f.cfg.Age
}

// Publish says that everything up to rev is durable.
func (f *Feed) Publish(rev kv.Rev) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rev <= f.published || f.closed {
		return
	}
	f.published = rev
	f.durable.Store(uint64(rev))
	close(f.wake)
	f.wake = make(chan struct{})
}

// WaitFor returns once rev is durable: readers call it before they answer
// with what a crash could still take back.
func (f *Feed) WaitFor(ctx context.Context, rev kv.Rev) error {
	if f.durable.Load() >= uint64(rev) {
		return nil
	}
	for {
		f.mu.RLock()
		published, wake, closed := f.published, f.wake, f.closed
		f.mu.RUnlock()
		switch {
		case published >= rev:
			return nil
		case closed:
			return kv.ErrUnavailable
		}
		select {
		case <-wake:
		case <-f.ctx.Done():
			return kv.ErrUnavailable
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stop ends all watchers without waiting for them, and makes waits fail.
func (f *Feed) Stop() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
}

// Close is Stop, and waits until the watchers are gone.
func (f *Feed) Close() {
	f.Stop()
	f.wg.Wait()
}

// next returns the published commits after a revision, and a channel that is
// closed when there are more.
func (f *Feed) next(ctx context.Context, after kv.Rev) (batches []commit, published kv.Rev, wake <-chan struct{}, err error) {
	f.mu.RLock()
	published, wake = f.published, f.wake
	first := f.appended + 1 - kv.Rev(len(f.tail))
	switch {
	case after > published:
		// A revision of another life of this store (it was restored): what the caller knows is worth nothing here.
		f.mu.RUnlock()
		return nil, published, nil, &kv.CompactedError{Oldest: published}
	case after == published:
		f.mu.RUnlock()
		return nil, published, wake, nil
	case after+1 >= first:
		batches = f.tail[after+1-first : published+1-first]
		f.mu.RUnlock()
		return batches, published, wake, nil
	}
	f.mu.RUnlock()
	if f.cfg.Older == nil {
		return nil, published, nil, &kv.CompactedError{Oldest: first - 1}
	}
	old, err := f.cfg.Older(ctx, after)
	if err != nil {
		return nil, published, nil, err
	}
	for _, b := range old {
		if b.Rev > published {
			break
		}
		batches = append(batches, commit{batch: b})
	}
	return batches, published, wake, nil
}

// Watch implements kv.Store.Watch.
func (f *Feed) Watch(ctx context.Context, start, end []byte, after kv.Rev) (<-chan kv.Batch, error) {
	// The first read happens here, so that a compacted start is an error and not a closed channel.
	first, published, wake, err := f.next(ctx, after)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, kv.ErrUnavailable
	}
	f.wg.Add(1)
	f.mu.Unlock()
	w := &watcher{f: f, ctx: ctx, start: bytes.Clone(start), end: bytes.Clone(end), after: after, out: make(chan kv.Batch, 16)}
	go func() {
		defer f.wg.Done()
		defer close(w.out)
		w.run(first, published, wake)
	}()
	return w.out, nil
}

// A watcher is owned by its goroutine.
type watcher struct {
	f          *Feed
	ctx        context.Context
	start, end []byte
	after      kv.Rev // everything up to here was delivered
	out        chan kv.Batch
	timer      <-chan time.Time // when the next Progress is due
}

func (w *watcher) run(batches []commit, published kv.Rev, wake <-chan struct{}) {
	w.timer = w.f.cfg.Clock.After(progress)
	for {
		for i := range batches {
			b := w.filter(batches[i].batch)
			if len(b.Events) > 0 && !w.send(b) {
				return
			}
			w.after = b.Rev
		}
		// Also under a load that never concerns this watcher Progress must come.
		select {
		case <-w.timer:
			if !w.progress() {
				return
			}
		default:
		}
		for idle := w.after >= published; idle; {
			select {
			case <-wake:
				idle = false
			case <-w.timer:
				if !w.progress() {
					return
				}
			case <-w.ctx.Done():
				return
			case <-w.f.ctx.Done():
				return
			}
		}
		var err error
		if batches, published, wake, err = w.f.next(w.ctx, w.after); err != nil {
			return // compacted under a watcher that is too slow, or the log cannot be read: the closed channel says so
		}
	}
}

func (w *watcher) progress() bool {
	w.timer = w.f.cfg.Clock.After(progress)
	return w.send(kv.Batch{Rev: w.after, Progress: true})
}

func (w *watcher) send(b kv.Batch) bool {
	select {
	case w.out <- b:
		return true
	case <-w.ctx.Done():
		return false
	case <-w.f.ctx.Done():
		return false
	}
}

// filter keeps the events of the watcher's range; the events' order stays.
func (w *watcher) filter(b kv.Batch) kv.Batch {
	in := func(k []byte) bool {
		return bytes.Compare(k, w.start) >= 0 && (w.end == nil || bytes.Compare(k, w.end) < 0)
	}
	n := 0
	for _, e := range b.Events {
		if in(e.Key) {
			n++
		}
	}
	if n == len(b.Events) {
		return b
	}
	out := kv.Batch{Rev: b.Rev, Events: make([]kv.Event, 0, n)}
	for _, e := range b.Events {
		if in(e.Key) {
			out.Events = append(out.Events, e)
		}
	}
	return out
}
