package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/state/kv"
)

// Disable forbids every use: no use that starts after Disable returned
// succeeds.
func (k *Keys) Disable(ctx context.Context, key *Key) error {
	return k.close(ctx, key, "DisableKey", func(next *Key) { next.State = StateDisabled })
}

// ScheduleDeletion stops all use of the key and lets Run destroy it after the
// waiting period. The deletion date of a primary key with replicas is zero: its
// waiting period begins when the last of them is gone.
func (k *Keys) ScheduleDeletion(ctx context.Context, key *Key, days int) (deletion time.Time, err error) {
	if days < MinWindowDays || days > MaxWindowDays {
		return time.Time{}, refuse(Validation, "PendingWindowInDays must be between %d and %d (inclusive).", MinWindowDays, MaxWindowDays)
	}
	err = k.close(ctx, key, "ScheduleKeyDeletion", func(next *Key) {
		if next.awaitReplicas(days) {
			return
		}
		deletion = k.now().AddDate(0, 0, days)
		next.State, next.DeletionDate = StatePendingDeletion, deletion
	})
	return deletion, err
}

// CancelDeletion saves a key that waits for its end. It is Disabled then.
func (k *Keys) CancelDeletion(ctx context.Context, key *Key) error {
	return k.move(ctx, key, "CancelKeyDeletion", func(next *Key) {
		next.State, next.DeletionDate = StateDisabled, time.Time{}
		next.stopAwaiting()
	})
}

// SetDescription replaces the description.
func (k *Keys) SetDescription(ctx context.Context, key *Key, text string) error {
	return k.move(ctx, key, "UpdateKeyDescription", func(next *Key) { next.Description = text })
}

// move is one transition of a key's state.
func (k *Keys) move(ctx context.Context, key *Key, operation string, next func(next *Key)) error {
	return k.edit(ctx, key, operation, func(key *Key) error { next(key); return nil })
}

// List gives the ids of an account's keys in order, from after the marker on.
func (k *Keys) List(ctx context.Context, account, marker string, limit int) (ids []string, next string, err error) {
	prefix := kv.Table('K').Text(account).Text("key")
	found, next, err := k.page(ctx, prefix, "keys/"+account, marker, limit, func(key []byte) bool {
		e, ok := k.entry(lastText(key, prefix))
		if !ok {
			return false
		}
		now := e.now.Load()
		return now != nil && !k.over(now)
	})
	for _, key := range found {
		ids = append(ids, lastText(key, prefix))
	}
	return ids, next, err
}

// errCancelled: the deletion was called off before it began.
var errCancelled = errors.New("keys: deletion cancelled")

// destroy ends a key in two steps. The first commit removes the material and
// the aliases and leaves a tombstone: from then on no backup of the live
// store opens anything. The second step removes the grants, which may be more
// than one commit can hold, and the tombstone last, so that a crash in
// between is finished by the next Open.
func (k *Keys) destroy(ctx context.Context, id string) error {
	e, ok := k.entry(id)
	if !ok {
		return nil
	}
	k.aliasWrite.Lock()
	defer k.aliasWrite.Unlock()
	var tomb *Key
	_, err := k.changeFamily(ctx, e, func(f *family) error {
		cur := f.own.next
		if !k.over(cur) {
			return errCancelled
		}
		// First the boundary: from here on nothing opens a token of this key, out of whatever backup it comes. What it
		// states of that is in the log before the key is out of the store.
		tokens, err := k.lastTokens(ctx, cur)
		if err != nil {
			return fmt.Errorf("keys: destroy %s: %w", id, err)
		}
		if len(tokens) > 0 && len(f.all) == 1 { // else its relatives go on with what it had
			statement, err := k.cfg.Boundary.Destroy(ctx, tokens)
			if err == nil && k.cfg.Destroyed != nil {
				err = k.cfg.Destroyed(ctx, cur, statement)
			}
			if err != nil {
				return fmt.Errorf("keys: destroy %s: %w", id, err)
			}
		}
		for _, name := range cur.Aliases {
			f.own.more = append(f.own.more, kv.Op{Key: aliasKV(e.account, name), Delete: true})
		}
		cur.destroyed, cur.materials, cur.RotationPeriod, cur.Description, cur.Tags = true, nil, 0, "", nil
		f.leave(k.now())
		tomb = cur
		return nil
	})
	switch {
	case errors.Is(err, errCancelled):
		return nil
	case err != nil:
		return gone(err)
	}
	k.cfg.Log.Info("keys: key destroyed", "key", tomb.ARN)
	if err := k.bury(ctx, tomb); err != nil {
		// The key is gone; what is left is rubbish that the next start removes.
		k.cfg.Log.Warn("keys: grants of a destroyed key remain until the next start", "key", tomb.ARN, "error", err)
	}
	return nil
}

// lastTokens are those by which the boundary is told that a key ends. Of one
// whose imported material was deleted or has expired there is none, and yet
// backups may hold some: then it is one that is made for this and opens
// nothing; the boundary's statement names its material.
func (k *Keys) lastTokens(ctx context.Context, key *Key) ([][]byte, error) {
	if key.fences() || len(key.materials) == 0 {
		return key.tokens(), nil
	}
	made, err := k.cfg.Boundary.ClosingToken(ctx, key.boundary())
	switch {
	case errors.Is(err, hsm.ErrFenced):
		return nil, nil // the store was rolled back: what tokens its backups have are dead
	case err != nil:
		return nil, err
	}
	return [][]byte{made}, nil
}

// bury removes the grants of a destroyed key and then its tombstone.
func (k *Keys) bury(ctx context.Context, tomb *Key) error {
	const perCommit = kv.MaxOps / 4 // a grant is up to three entries
	start, end := kv.Table('G').Text(tomb.ID).Prefix()
	for {
		es, more, _, err := k.store.Scan(ctx, start, end, perCommit, 0, false)
		if err != nil {
			return err
		}
		var ops []kv.Op
		for _, en := range es {
			g, err := k.decodeGrant(en.Value)
			if err != nil {
				return err
			}
			for _, key := range g.places() {
				ops = append(ops, kv.Op{Key: key, Delete: true})
			}
		}
		if !more {
			ops = append(ops, kv.Op{Key: usageKey(tomb.Account, tomb.ID), Delete: true}, kv.Op{Key: keyKey(tomb.Account, tomb.ID), Delete: true})
		}
		if _, err := k.store.Commit(ctx, nil, ops); err != nil {
			return fmt.Errorf("remove the grants: %w", err)
		}
		if !more {
			return nil
		}
	}
}
