package directory

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/state/kv"
)

// flushEvery is how often last uses are written; a crash forgets at most that much.
const flushEvery = 30 * time.Second

// grain is how exact the time of a last use is. Within it a repeated use for
// the same service costs two loads.
const grain = int64(time.Minute / time.Millisecond)

// A use is the last use of one access key or role, and of a user or role what
// it asked for.
type use struct {
	last   atomic.Pointer[usedRecord]  // nil: never
	access atomic.Pointer[accessTable] // nil: nothing; replaced under accesses.mu
}

// The uses that are not in the store yet.
type dirty struct {
	mu   sync.Mutex
	uses map[string]*realm // guarded by mu; by id
}

// Used notes that a credential (access key id) or a role (unique id) was used
// now. It is cheap, and written to the store later.
func (d *Directory) Used(id, service, region string) {
	var u *use
	var r *realm
	if k, ok := d.credentials.Load(id); ok {
		u, r = k.(*key).used, k.(*key).realm
	} else if e, ok := d.principals.Load(id); ok {
		u, r = e.(*entity).used, e.(*entity).realm
	} else {
		return
	}
	now := d.clock.Now().UnixMilli()
	if last := u.last.Load(); last != nil && last.Service == service && last.Region == region && now-last.Time < grain {
		return
	}
	u.last.Store(&usedRecord{now, service, region})
	d.dirty.mu.Lock()
	d.dirty.uses[id] = r
	d.dirty.mu.Unlock()
}

// useOf returns the place for the last use of id. Caller holds r.mu.
func (r *realm) useOf(id string) *use {
	u := r.used[id]
	if u == nil {
		u = new(use)
		r.used[id] = u
	}
	return u
}

// setUsed takes a stored last use into memory. Caller holds r.mu.
func (r *realm) setUsed(id string, rec *usedRecord) {
	if rec == nil {
		return
	}
	u := r.useOf(id)
	if last := u.last.Load(); last == nil || last.Time < rec.Time {
		u.last.Store(rec)
	}
}

// flush writes what Used noted. What cannot be written now is kept for later.
func (d *Directory) flush(ctx context.Context) error {
	d.dirty.mu.Lock()
	batch := d.dirty.uses
	d.dirty.uses = make(map[string]*realm)
	d.dirty.mu.Unlock()
	var failed error
	for id, r := range batch {
		if err := d.writeUse(ctx, r, id); err != nil {
			failed = err
			d.dirty.mu.Lock()
			d.dirty.uses[id] = r
			d.dirty.mu.Unlock()
		}
	}
	return errors.Join(failed, d.flushAccesses(ctx))
}

func (d *Directory) writeUse(ctx context.Context, r *realm, id string) error {
	r.mu.RLock()
	owner, u := recordKey(r.account, sectionKey, id), r.used[id]
	if r.keys[id] == nil {
		owner = recordKey(r.account, sectionEntity, id)
	}
	r.mu.RUnlock()
	if u == nil || u.last.Load() == nil {
		return nil // deleted meanwhile
	}
	var t tx
	t.putAlways(recordKey(r.account, sectionUsed, id), u.last.Load())
	// Only beside its owner: a deleted key must not leave a record behind.
	t.conds = append(t.conds, kv.Cond{Key: owner, Not: true})
	if t.err != nil {
		return t.err
	}
	_, err := d.store.Commit(ctx, t.conds, t.ops)
	if _, gone := errors.AsType[*kv.ConflictError](err); gone {
		return nil
	}
	return err
}

// run writes last uses from time to time until Close.
func (d *Directory) run(ctx context.Context) {
	defer close(d.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.clock.After(flushEvery):
			d.sweepAccesses()
			// An error leaves the uses noted; Close reports one that stays.
			_ = d.flush(ctx)
		}
	}
}
