package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/state/kv"
)

// A Usage is the last successful use of a key.
type Usage struct {
	Operation      string
	Time           time.Time
	Event, Request string
}

// saveEvery is how often last uses are written; a crash forgets at most that
// much. It costs a use no write of its own.
const saveEvery = 30 * time.Second

const (
	kindUsed     = "used"
	kindTracking = "tracking"
)

// usageRecord is a Usage at rest.
type usageRecord struct {
	Version   int    `cbor:"1,keyasint"`
	Operation string `cbor:"2,keyasint"`
	Time      int64  `cbor:"3,keyasint"` // ms
	Event     string `cbor:"4,keyasint,omitempty"`
	Request   string `cbor:"5,keyasint,omitempty"`
}

// trackingRecord says since when no use has been forgotten.
type trackingRecord struct {
	Version int   `cbor:"1,keyasint"`
	Since   int64 `cbor:"2,keyasint"` // ms
}

func usageKey(account, id string) kv.Key { return kv.Table('K').Text(account).Text(kindUsed).Text(id) }

func trackingKey() kv.Key { return kv.Table('K').Text("").Text(kindTracking).Text("") }

// note remembers a use. It is on the path of every operation.
func (k *Keys) note(u Use, operation string) {
	e := u.Key.entry
	e.used.Store(&Usage{operation, k.now(), u.Event, u.Request})
	if !e.unsaved.Load() && e.unsaved.CompareAndSwap(false, true) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.unsaved = append(k.unsaved, e)
	}
}

// LastUsage is the last successful use of a key since tracking began, nil if
// there was none. Tracking begins when the key is made, or when this store was
// first opened by a version that tracks, whichever is later.
func (k *Keys) LastUsage(key *Key) (last *Usage, since time.Time) {
	since = k.opened
	if key.Created.After(since) {
		since = key.Created
	}
	return key.entry.used.Load(), since
}

func (k *Keys) loadUsage(keyID string, value []byte) error {
	var r usageRecord
	if err := cbor.Unmarshal(value, &r); err != nil || r.Version != recordVersion {
		return fmt.Errorf("usage record %s, version %d: %w", keyID, r.Version, errors.Join(kv.ErrCorrupt, err))
	}
	if e, ok := k.entry(keyID); ok { // else: of a tombstone, and removed with it
		e.used.Store(&Usage{r.Operation, time.UnixMilli(r.Time).UTC(), r.Event, r.Request})
	}
	return nil
}

func (k *Keys) loadTracking(value []byte) error {
	var r trackingRecord
	if err := cbor.Unmarshal(value, &r); err != nil || r.Version != recordVersion {
		return fmt.Errorf("tracking record, version %d: %w", r.Version, errors.Join(kv.ErrCorrupt, err))
	}
	for _, name := range k.all.names { // the home Region's record, for all of them
		k.all.keys[name].opened = time.UnixMilli(r.Since).UTC()
	}
	k.tracked = true
	return nil
}

// saveUses writes last uses from time to time, and when ctx ends.
func (k *Keys) saveUses(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			k.save(context.WithoutCancel(ctx))
			return
		case <-k.cfg.Clock.After(saveEvery):
			k.save(ctx)
		}
	}
}

// save writes the uses that are not in the store. What cannot be written now
// is kept for the next time.
func (k *Keys) save(ctx context.Context) {
	k.mu.Lock()
	batch := k.unsaved
	k.unsaved = nil
	k.mu.Unlock()
	failed := k.saveTracking(ctx)
	for some := range slices.Chunk(batch, kv.MaxOps/2) { // each is a condition and a write
		err := k.saveSome(ctx, some)
		if isConflict(err) { // one of them was destroyed meanwhile
			err = nil
			for _, e := range some {
				if one := k.saveSome(ctx, []*entry{e}); !isConflict(one) {
					err = errors.Join(err, one)
				}
			}
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		k.cfg.Log.Warn("keys: last uses could not be saved; it is tried again", "error", failed)
	}
}

func isConflict(err error) bool {
	_, is := errors.AsType[*kv.ConflictError](err)
	return is
}

// saveSome writes the uses of a few keys in one commit, and only beside their
// keys: a key that was destroyed leaves nothing behind.
func (k *Keys) saveSome(ctx context.Context, some []*entry) error {
	var conds []kv.Cond
	var ops []kv.Op
	for _, e := range some {
		e.unsaved.Store(false) // before the use is read: one that comes now is written next time
		u := e.used.Load()
		value, err := marshal(&usageRecord{recordVersion, u.Operation, u.Time.UnixMilli(), u.Event, u.Request})
		if err != nil {
			return err
		}
		conds = append(conds, kv.Cond{Key: keyKey(e.account, e.id), Not: true})
		ops = append(ops, kv.Op{Key: usageKey(e.account, e.id), Value: value})
	}
	_, err := k.store.Commit(ctx, conds, ops)
	if err == nil || isConflict(err) {
		return err
	}
	for _, e := range some {
		if e.unsaved.CompareAndSwap(false, true) {
			k.mu.Lock()
			k.unsaved = append(k.unsaved, e)
			k.mu.Unlock()
		}
	}
	return err
}

// saveTracking notes, once for the whole store, since when uses are tracked.
func (k *Keys) saveTracking(ctx context.Context) error {
	if k.tracked || k.cfg.Region != k.all.names[0] {
		return nil
	}
	value, err := marshal(&trackingRecord{recordVersion, k.opened.UnixMilli()})
	if err == nil {
		_, err = k.store.Commit(ctx, nil, []kv.Op{{Key: trackingKey(), Value: value}})
	}
	k.tracked = err == nil
	return err
}
