// Package rotation changes the HSM's domain key every day, has all key tokens
// sealed anew under it, and lets the HSM destroy the keys that nothing needs
// any more (hsm-domain section 8).
//
// Start with New, and run Run beside everything else. A Holder is whoever
// keeps key tokens at rest; the rotation goes over all of them in their order.
// State tells how far it is.
//
// A domain without operators rotates by the clock of this process. One with
// operators rotates within their standing command; without one it does not,
// and State warns once the active key is older than the period. Whoever else
// rotates, by a command of the operators, is noticed within a minute, and the
// tokens follow.
//
// Not done here: what a token is, and how it is replaced, the holders know.
// Which domain keys may go, the HSM decides; it is told under which of them no
// token was found by a count of everything, made for that question alone.
//
// Promises. A pass never stands in the way of requests: the HSM has but a few
// of its tokens at a time. A token that could not be sealed anew keeps its
// domain key alive. After a crash the next start goes on where the tokens say.
package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// A Holder keeps key tokens.
type Holder interface {
	// Name is what errors call it.
	Name() string
	// Rewrap seals its tokens anew (seal) that are not under the active domain key. done hears of those that are
	// durable, as it goes. It goes on after a token that the HSM refuses.
	Rewrap(ctx context.Context, active hsm.DomainKeyID, seal Seal, done func(n int)) error
	// Count says how many tokens there are under each domain key. It fails if it is not certain.
	Count(ctx context.Context) (map[hsm.DomainKeyID]int, error)
}

// Seal has the HSM seal a token anew under its active domain key.
type Seal func(ctx context.Context, ekt []byte) ([]byte, error)

// An Event is something about rotation that belongs on record.
type Event struct {
	Name      string // DomainKeyRotated, RewrapStarted, RewrapEnded
	Serial    uint64 // of the domain's state
	Active    hsm.DomainKeyID
	Destroyed []hsm.DomainKeyID // of DomainKeyRotated
	Tokens    int               // under other keys at the start, or brought over by the end
	Left      int               // of RewrapEnded: still under other keys
	Problem   string            // of RewrapEnded
}

// Names of events.
const (
	Rotated       = "DomainKeyRotated"
	RewrapStarted = "RewrapStarted"
	RewrapEnded   = "RewrapEnded"
)

// Config is what a rotation needs. Log may be nil, the rest is required but as
// noted.
type Config struct {
	Pool    *hsm.Pool
	Clock   clock.Clock
	Period  time.Duration // from one domain key to the next; zero: nobody rotates by the clock
	Holders []Holder
	// Keep keeps the domain token of a state before it counts: what a lost domain is recovered from.
	Keep   func(ctx context.Context, token []byte) error
	Record func(ctx context.Context, e Event) error
	Log    *slog.Logger
}

// A Rotation changes domain keys. It is safe for concurrent use.
type Rotation struct {
	cfg Config

	mu    sync.Mutex
	state State // guarded by mu

	// Owned by Run, or whoever calls Round.
	settled hsm.DomainKeyID // under which a pass has brought what it could
	counted time.Time       // when that was
	begun   hsm.DomainKeyID // whose RewrapStarted is on record
	told    string          // the problem that is on record
}

// State is how far the rotation is.
type State struct {
	Active  hsm.DomainKeyID
	Made    time.Time // the active key
	Keys    int       // domain keys, the active one among them
	Running bool      // a pass is under way
	Tokens  int       // of the pass that runs, or of the last that had any: brought over so far
	Left    int       // tokens under other keys when it was last counted
	Problem string    // of the last attempt to rotate, seal anew or count; empty: none
	Overdue bool      // the active key is older than the period by an hour, and nothing rotates it
	Ruled   bool      // and it is for the operators to say so: a standing command is missing or over
}

// New returns a rotation that Run has not begun.
func New(cfg Config) (*Rotation, error) {
	if cfg.Pool == nil || cfg.Clock == nil || cfg.Keep == nil || cfg.Record == nil || cfg.Period < 0 {
		return nil, errors.New("rotation: incomplete configuration")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Rotation{cfg: cfg}, nil
}

const (
	look    = time.Minute // how late a rotation that somebody else made may be noticed
	grace   = time.Hour   // after which a key that was not rotated is overdue
	recount = time.Hour   // between passes when nobody has rotated: for tokens that were on their way during the last
)

// Run rotates and seals anew until ctx ends.
func (r *Rotation) Run(ctx context.Context) {
	said := ""
	for {
		wait, err := r.Round(ctx)
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said: // not every minute anew
			said = err.Error()
			r.cfg.Log.Error("rotation of domain keys; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.cfg.Clock.After(wait):
		}
	}
}

// State is how far the rotation is.
func (r *Rotation) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *Rotation) set(f func(s *State)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.state)
}

// Round does what there is to do, and says when to look again.
func (r *Rotation) Round(ctx context.Context) (wait time.Duration, err error) {
	defer func() {
		r.set(func(s *State) {
			s.Problem = ""
			if err != nil {
				s.Problem = err.Error()
			}
		})
	}()
	status, err := r.cfg.Pool.Status(ctx)
	if err != nil {
		return look, fmt.Errorf("rotation: %w", err)
	}
	// A pass that fails does not keep the key from being changed: new tokens are made under it.
	err = r.pass(ctx, status)
	wait, due := r.due(status)
	if !due || ctx.Err() != nil {
		return wait, err
	}
	if failed := r.rotate(ctx); failed != nil {
		return look, errors.Join(err, fmt.Errorf("rotation: the domain key was not rotated: %w", failed))
	}
	if status, err = r.cfg.Pool.Status(ctx); err != nil {
		return look, fmt.Errorf("rotation: %w", err)
	}
	return look, r.pass(ctx, status)
}

// due says whether it is time for the next key.
func (r *Rotation) due(s hsm.Status) (wait time.Duration, due bool) {
	now := r.cfg.Clock.Now()
	made := time.UnixMilli(int64(s.Rotated))
	ruled := s.Operators > 0 && uint64(now.UnixMilli()) > s.Standing
	r.set(func(st *State) {
		st.Overdue = r.cfg.Period > 0 && now.Sub(made) > r.cfg.Period+grace
		st.Ruled = ruled
	})
	if r.cfg.Period == 0 || ruled {
		return look, false
	}
	left := made.Add(r.cfg.Period).Sub(now)
	return min(max(left, 0), look), left <= 0
}

// rotate makes the next domain key, and before that says which of the old ones
// nothing needs.
func (r *Rotation) rotate(ctx context.Context) error {
	had, err := r.domain(ctx)
	if err != nil {
		return err
	}
	if err := r.report(ctx, had); err != nil {
		// A key is kept too long rather than not rotated.
		r.cfg.Log.Warn("rotation: old domain keys are kept", "error", err)
	}
	if err := r.cfg.Pool.Rotate(ctx, func(token []byte) error { return r.cfg.Keep(ctx, token) }); err != nil {
		return err
	}
	has, err := r.domain(ctx)
	if err != nil {
		return err
	}
	e := Event{Name: Rotated, Serial: has.Serial}
	left := map[hsm.DomainKeyID]bool{}
	for _, k := range has.Keys {
		if left[k.ID] = true; k.State == quorum.KeyActive {
			e.Active = k.ID
		}
	}
	for _, k := range had.Keys {
		if !left[k.ID] {
			e.Destroyed = append(e.Destroyed, k.ID)
		}
	}
	r.cfg.Log.Info("rotation: new domain key", "key", fmt.Sprintf("%x", e.Active), "serial", e.Serial, "destroyed", len(e.Destroyed))
	return r.cfg.Record(ctx, e)
}

func (r *Rotation) domain(ctx context.Context) (quorum.DomainState, error) {
	b, err := r.cfg.Pool.DomainState(ctx)
	if err != nil {
		return quorum.DomainState{}, err
	}
	return quorum.DecodeState(b)
}

// report tells the HSM which of its keys no token is under.
func (r *Rotation) report(ctx context.Context, d quorum.DomainState) error {
	found, err := r.count(ctx)
	if err != nil {
		return err
	}
	var unused []hsm.DomainKeyID
	for _, k := range d.Keys {
		if k.State == quorum.KeyDecryptOnly && found[k.ID] == 0 {
			unused = append(unused, k.ID)
		}
	}
	return r.cfg.Pool.ReportUnused(ctx, unused)
}

// count counts all tokens of all holders. Nothing is left out: where one
// cannot say, there is no count.
func (r *Rotation) count(ctx context.Context) (map[hsm.DomainKeyID]int, error) {
	all := map[hsm.DomainKeyID]int{}
	for _, h := range r.cfg.Holders {
		found, err := h.Count(ctx)
		if err != nil {
			return nil, fmt.Errorf("rotation: count of %s: %w", h.Name(), err)
		}
		for id, n := range found {
			all[id] += n
		}
	}
	return all, nil
}

// pass brings all tokens under the active key, if any are not.
func (r *Rotation) pass(ctx context.Context, s hsm.Status) error {
	r.set(func(st *State) {
		st.Active, st.Made, st.Keys = s.ActiveKey, time.UnixMilli(int64(s.Rotated)).UTC(), int(s.DomainKeys)
	})
	now := r.cfg.Clock.Now()
	if s.ActiveKey == r.settled && now.Sub(r.counted) < recount {
		return nil
	}
	left := func() (int, error) {
		found, err := r.count(ctx)
		if err != nil {
			return 0, err
		}
		n := 0
		for id := range maps.Keys(found) {
			if id != s.ActiveKey {
				n += found[id]
			}
		}
		r.set(func(st *State) { st.Left = n })
		return n, nil
	}
	old, countErr := left()
	if old == 0 && countErr == nil {
		r.settled, r.counted = s.ActiveKey, now
		return nil
	}
	if old > 0 && r.begun != s.ActiveKey {
		if err := r.cfg.Record(ctx, Event{Name: RewrapStarted, Serial: s.Serial, Active: s.ActiveKey, Tokens: old}); err != nil {
			return err
		}
		r.begun = s.ActiveKey
	}
	r.set(func(st *State) { st.Running, st.Tokens = true, 0 })
	problems := []error{}
	for _, h := range r.cfg.Holders {
		done := func(n int) { r.set(func(st *State) { st.Tokens += n; st.Left = max(st.Left-n, 0) }) }
		if err := h.Rewrap(ctx, s.ActiveKey, r.cfg.Pool.Rewrap, done); err != nil {
			problems = append(problems, fmt.Errorf("rotation: %s: %w", h.Name(), err))
		}
	}
	remain, err := left()
	problems = append(problems, err)
	err = errors.Join(problems...)
	r.set(func(st *State) { st.Running = false })
	if ctx.Err() != nil {
		return ctx.Err() // the next start goes on
	}
	e := Event{Name: RewrapEnded, Serial: s.Serial, Active: s.ActiveKey, Tokens: r.State().Tokens, Left: remain}
	if err != nil {
		e.Problem = err.Error()
	} else {
		r.settled, r.counted = s.ActiveKey, now
	}
	if e.Tokens > 0 || e.Problem != r.told {
		r.told = e.Problem
		r.cfg.Log.Info("rotation: key tokens sealed anew", "tokens", e.Tokens, "left", e.Left)
		err = errors.Join(err, r.cfg.Record(ctx, e))
	}
	return err
}
