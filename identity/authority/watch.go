package authority

import (
	"context"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// Times of the stream of revocations (sigv4 section 9.6).
const (
	// Heartbeat is how long the authority may keep a quiet stream waiting.
	Heartbeat = 2 * time.Second
	// Silence is how old the last word may be before what was heard must no
	// longer be relied on.
	Silence = 10 * time.Second
	// Lost is how old it may be before nobody is let in on the authority's behalf.
	Lost = 60 * time.Second

	// grace is what an answer may take beyond the heartbeat.
	grace = 3 * time.Second
	// pause is between two attempts on a broken stream.
	pause = 250 * time.Millisecond
)

// A Stream is where a Watch gets revocations from; *Client is one.
type Stream interface {
	// Follow answers as Revocations does, but as long as there is nothing newer
	// than since it waits up to wait.
	Follow(ctx context.Context, since uint64, wait time.Duration) (list []Revocation, epoch uint64, err error)
}

// Follow waits up to wait for revocations newer than since. Other calls are
// not held up by it. An epoch below since says that the authority's log is not
// the one that since is from.
func (c *Client) Follow(ctx context.Context, since uint64, wait time.Duration) (list []Revocation, epoch uint64, err error) {
	return c.revocations(ctx, &message.Params{Since: since, Wait: uint64(max(wait.Milliseconds(), 0))})
}

// WatchConfig says what to watch. Stream, Clock and Apply are required.
type WatchConfig struct {
	Stream Stream
	Clock  clock.Clock
	// Apply takes what was revoked out of force; it is called with each piece
	// of the log in its order, and never twice at once.
	Apply func([]Revocation)
	// Reset is called when it is not known what was missed: at the first word,
	// and when the authority's log is not the one that was followed so far.
	// Nil: nothing.
	Reset func()

	Heartbeat time.Duration // zero: Heartbeat
}

// A Watch follows the authority's log of revocations: it applies what is new
// the moment that it is durable, takes up where it was after a break, and
// knows how long ago it last heard.
//
// A Watch made by Client.Watch has also applied what this client revokes when
// Revoke returns (I-5).
type Watch struct {
	cfg  WatchConfig
	stop context.CancelFunc
	done sync.WaitGroup
	from *Client // that it is registered with, or nil

	apply sync.Mutex // held while Apply or Reset runs

	mu      sync.Mutex
	began   time.Time // set once
	heard   time.Time // guarded by mu; when the last answer came; zero: none yet
	epoch   uint64    // guarded by mu; applied up to
	applied uint64    // guarded by mu; how many revocations
	breaks  uint64    // guarded by mu; how often the stream broke
	err     error     // guarded by mu; of the last attempt
}

// NewWatch starts to follow a stream, until Stop.
func NewWatch(cfg WatchConfig) *Watch {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = Heartbeat
	}
	if cfg.Reset == nil {
		cfg.Reset = func() {}
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &Watch{cfg: cfg, stop: stop, began: cfg.Clock.Now()}
	w.done.Go(func() { w.run(ctx) })
	return w
}

// Watch starts to follow this client's authority, until Stop.
func (c *Client) Watch(clk clock.Clock, apply func([]Revocation), reset func()) *Watch {
	w := NewWatch(WatchConfig{Stream: c, Clock: clk, Apply: apply, Reset: reset})
	w.from = c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches = append(c.watches, w)
	return w
}

// Stop ends the watch and waits for it.
func (w *Watch) Stop() {
	if c := w.from; c != nil {
		c.mu.Lock()
		for i, other := range c.watches {
			if other == w {
				c.watches = append(c.watches[:i:i], c.watches[i+1:]...)
				break
			}
		}
		c.mu.Unlock()
	}
	w.stop()
	w.done.Wait()
}

func (w *Watch) run(ctx context.Context) {
	// The first word is asked for at once: until it is there, nothing is relied on.
	wait := time.Duration(0)
	for ctx.Err() == nil {
		if err := w.once(ctx, wait); err != nil {
			wait = 0 // after a break what was missed is wanted now
			select {
			case <-ctx.Done():
			case <-w.cfg.Clock.After(pause):
			}
			continue
		}
		wait = w.cfg.Heartbeat
	}
}

// once asks once and applies the answer.
func (w *Watch) once(ctx context.Context, wait time.Duration) error {
	w.mu.Lock()
	since, first := w.epoch, w.heard.IsZero()
	w.mu.Unlock()
	// The deadline is of the machine's time: an answer that never comes must not hold the watch.
	call, cancel := context.WithTimeout(ctx, wait+grace)
	defer cancel()
	list, epoch, err := w.cfg.Stream.Follow(call, since, wait)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err == nil && ctx.Err() == nil {
			w.breaks++
		}
		w.err = err
		return err
	}
	reached := epoch
	if n := len(list); n > 0 {
		reached = list[n-1].Epoch // of what did not fit into one answer the rest is asked for next, and comes at once
	}
	w.apply.Lock()
	defer w.apply.Unlock()
	if first || epoch < since {
		w.cfg.Reset()
	}
	if len(list) > 0 {
		w.cfg.Apply(list)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard, w.err, w.epoch = w.cfg.Clock.Now(), nil, reached
	w.applied += uint64(len(list))
	return nil
}

// take applies one revocation at once, without waiting for the stream, which
// brings it again: its epoch is not noted, because others may lie before it.
func (w *Watch) take(r Revocation) {
	w.apply.Lock()
	defer w.apply.Unlock()
	w.cfg.Apply([]Revocation{r})
}

// WatchState is how a stream is.
type WatchState struct {
	Epoch   uint64        // applied up to
	Age     time.Duration // since the last word; since the start if there was none
	Heard   bool          // there was a word
	Applied uint64        // revocations so far
	Breaks  uint64        // how often the stream broke
	Err     error         // why the last attempt failed, if it did
}

// State says how the stream is.
func (w *Watch) State() WatchState {
	now := w.cfg.Clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := WatchState{Epoch: w.epoch, Heard: !w.heard.IsZero(), Applied: w.applied, Breaks: w.breaks, Err: w.err}
	last := w.heard
	if !s.Heard {
		last = w.began
	}
	s.Age = max(now.Sub(last), 0)
	return s
}

// Live says whether what was heard may be relied on.
func (w *Watch) Live() bool {
	s := w.State()
	return s.Heard && s.Age < Silence
}

// Gone says whether the authority has been silent for so long that nobody is
// let in on its behalf.
func (w *Watch) Gone() bool { return w.State().Age >= Lost }
