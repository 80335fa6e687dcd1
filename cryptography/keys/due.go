package keys

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/leadglass/leadglass/state/kv"
)

const (
	retryDue     = 10 * time.Second // after something that failed
	longestSleep = time.Hour        // a wall clock that is set forward is noticed after this at the latest
)

// event is when something has to be done about a key that nobody asks for:
// its end, the end of a material, a rotation. No snapshot waits for it in
// vain: what must not be used after that time is not, with or without Run.
func (k *Key) event() (at time.Time, waits bool) {
	earlier := func(t time.Time) {
		if !t.IsZero() && (!waits || t.Before(at)) {
			at, waits = t, true
		}
	}
	if k.State == StatePendingDeletion {
		earlier(k.DeletionDate)
	}
	earlier(k.expires)
	if k.State == StateEnabled && k.MultiRegionType() != Replica { // a rotation that became due in another state is made up for with the return to this one
		earlier(k.NextRotation)
	}
	return at, waits
}

// schedule notes the next event of a key, and wakes Run for one that comes
// before it wakes by itself.
func (k *Keys) schedule(key *Key) {
	at, waits := key.event()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !waits {
		delete(k.due, key.ID)
		return
	}
	k.due[key.ID] = at
	if at.Before(k.asleep) {
		select {
		case k.wake <- struct{}{}:
		default: // Run has a wake-up waiting already
		}
	}
}

// Run does what is due, until ctx ends: it destroys keys whose waiting period
// is over, takes imported material away that has expired, and rotates keys. It
// also writes the last uses of keys to the store.
func (k *Keys) Run(ctx context.Context) error {
	if err := k.repairAll(ctx); err != nil && ctx.Err() == nil {
		k.cfg.Log.Error("keys: fences could not be brought up to date; the keys are unavailable until they are enabled", "error", err)
	}
	var uses sync.WaitGroup
	uses.Go(func() { k.saveUses(ctx) })
	defer uses.Wait()
	for {
		wait := k.doDue(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-k.cfg.Clock.After(wait):
		}
	}
}

// doDue does what is due and says how long to sleep.
func (k *Keys) doDue(ctx context.Context) time.Duration {
	now := k.cfg.Clock.Now()
	var ids []string
	k.mu.Lock()
	k.asleep = now.Add(longestSleep)
	for id, at := range k.due {
		switch {
		case !now.Before(at):
			ids = append(ids, id)
		case at.Before(k.asleep):
			k.asleep = at
		}
	}
	k.mu.Unlock()
	retry := longestSleep
	for _, id := range ids {
		// Nothing is due any more of what was done: if something else is by then, schedule has set the alarm.
		if err := k.doOne(ctx, id); err != nil {
			if ctx.Err() == nil {
				k.cfg.Log.Error("keys: what is due failed; it is tried again", "key", id, "error", err)
			}
			retry = retryDue
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if again := now.Add(retry); again.Before(k.asleep) {
		k.asleep = again
	}
	return k.asleep.Sub(now)
}

func (k *Keys) doOne(ctx context.Context, id string) error {
	e, ok := k.entry(id)
	if !ok {
		return nil
	}
	key := e.now.Load()
	now := k.cfg.Clock.Now()
	switch {
	case key == nil:
		return nil
	case k.over(key):
		return k.destroy(ctx, id)
	case key.expired(now):
		return k.expire(ctx, e)
	case key.State == StateEnabled && !key.NextRotation.IsZero() && !now.Before(key.NextRotation):
		return gone(k.rotate(ctx, e))
	}
	return nil
}

// expire makes it durable that the time of materials is over.
func (k *Keys) expire(ctx context.Context, e *entry) error {
	next, err := k.change(ctx, e, func(*Key) ([]kv.Op, error) { return nil, nil }) // change itself takes them away
	if err != nil {
		if gone(err) == nil {
			return nil
		}
		return fmt.Errorf("keys: expire material: %w", err)
	}
	k.cfg.Log.Info("keys: imported key material expired", "key", next.ARN)
	return nil
}
