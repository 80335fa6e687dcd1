package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	db "github.com/cockroachdb/pebble/v2"

	"github.com/leadglass/leadglass/state/kv"
)

// Commit implements kv.Store.
func (s *Store) Commit(ctx context.Context, conds []kv.Cond, ops []kv.Op) (rev kv.Rev, err error) {
	if err := kv.CheckCommit(conds, ops); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	if err := s.free.check(s, ops); err != nil {
		return 0, err
	}
	b, rev, err := s.apply(conds, ops)
	if err != nil {
		// What made a condition fail may still be on its way to the disk.
		if waitErr := s.feed.WaitFor(ctx, rev); waitErr != nil {
			return 0, waitErr
		}
		return 0, err
	}
	return rev, s.sync(b, rev)
}

// apply checks and writes under the commit lock, without waiting for the
// disk. On a refusal it returns the revision that the refusal rests on.
func (s *Store) apply(conds []kv.Cond, ops []kv.Op) (b *db.Batch, rev kv.Rev, err error) {
	s.commit.Lock()
	defer s.commit.Unlock()
	now := s.cfg.Clock.Now()
	for _, c := range conds {
		have, err := s.mod(c.Key, now)
		if err != nil {
			return nil, 0, err
		}
		if c.Not && have == 0 || !c.Not && have != c.Mod {
			return nil, s.rev, &kv.ConflictError{Key: bytes.Clone(c.Key), Have: have}
		}
	}
	writes, err := s.resolve(ops)
	if err != nil {
		return nil, 0, err
	}
	return s.write(writes, nil, now)
}

// A write is what one key becomes.
type write struct {
	key, value []byte
	expire     int64
	deleted    bool
}

// resolve replaces ranges by the keys they meet, and several writes of one
// key by the last. The result is sorted. The caller holds commit.
func (s *Store) resolve(ops []kv.Op) ([]write, error) {
	writes := make([]write, 0, len(ops))
	met := 0
	for _, o := range ops {
		switch {
		case !o.Delete:
			writes = append(writes, write{key: bytes.Clone(o.Key), value: append([]byte{}, o.Value...), expire: kv.ExpireMilli(o.Expire)})
		case o.EndKey == nil:
			writes = append(writes, write{key: bytes.Clone(o.Key), deleted: true})
		case bytes.Compare(o.Key, o.EndKey) < 0:
			for i := range writes {
				if w := &writes[i]; bytes.Compare(w.key, o.Key) >= 0 && bytes.Compare(w.key, o.EndKey) < 0 {
					*w = write{key: w.key, deleted: true}
				}
			}
			it, err := s.db.NewIter(bounds(o.Key, o.EndKey))
			if err != nil {
				return nil, readError("commit", err)
			}
			for ok := it.First(); ok && met <= kv.MaxDeleted; ok = it.Next() {
				writes = append(writes, write{key: bytes.Clone(it.Key()[1:]), deleted: true})
				met++
			}
			if err := it.Close(); err != nil {
				return nil, readError("commit", err)
			}
			if met > kv.MaxDeleted {
				return nil, fmt.Errorf("%w: range of more than %d keys", kv.ErrTooLarge, kv.MaxDeleted)
			}
		}
	}
	if len(writes) > 1 {
		slices.SortStableFunc(writes, func(a, b write) int { return bytes.Compare(a.key, b.key) })
		last := writes[:0]
		for i, w := range writes {
			if i+1 == len(writes) || !bytes.Equal(w.key, writes[i+1].key) {
				last = append(last, w)
			}
		}
		writes = last
	}
	return writes, nil
}

// buffers are reused for encoding keys and values, which Pebble copies.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// write puts resolved writes, the new revision and its log record into one
// batch and applies it. unindex are expiry entries to remove along. The
// caller holds commit.
func (s *Store) write(writes []write, unindex [][]byte, now time.Time) (_ *db.Batch, rev kv.Rev, err error) {
	rev = s.rev + 1
	record := kv.Batch{Rev: rev, Events: make([]kv.Event, 0, len(writes))}
	b := s.db.NewBatch()
	scratch := buffers.Get().(*[]byte)
	defer buffers.Put(scratch)
	buf := *scratch
	defer func() { *scratch = buf[:0] }()
	for i := range writes {
		w := &writes[i]
		buf = append(append(buf[:0], dataTable), w.key...)
		n := len(buf)
		if w.deleted {
			_, closer, err := s.lookup(w.key)
			if err != nil {
				return nil, 0, err
			}
			if closer == nil {
				continue // nothing there: no event
			}
			if err := closer.Close(); err != nil {
				return nil, 0, readError("commit", err)
			}
			err = b.Delete(buf, nil)
			if err != nil {
				return nil, 0, readError("commit", err)
			}
			record.Events = append(record.Events, kv.Event{Key: w.key, Deleted: true})
			continue
		}
		buf = binary.BigEndian.AppendUint64(buf, uint64(rev))
		buf = binary.BigEndian.AppendUint64(buf, uint64(w.expire))
		buf = append(buf, w.value...)
		if err := b.Set(buf[:n], buf[n:], nil); err != nil {
			return nil, 0, readError("commit", err)
		}
		if w.expire != 0 {
			if err := b.Set(expireKey(w.expire, w.key), nil, nil); err != nil {
				return nil, 0, readError("commit", err)
			}
		}
		record.Events = append(record.Events, kv.Event{Key: w.key, Value: w.value})
	}
	for _, k := range unindex {
		if err := b.Delete(k, nil); err != nil {
			return nil, 0, readError("commit", err)
		}
	}
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(rev))
	if err := b.Set(metaRev, number[:], nil); err != nil {
		return nil, 0, readError("commit", err)
	}
	tail := s.tail
	buf = appendRecord(buf[:0], &tail, record, now)
	var key [9]byte
	if err := b.Set(logKey(key[:0], rev), buf, nil); err != nil {
		return nil, 0, readError("commit", err)
	}

	s.applying.Store(uint64(rev))
	if err := s.applyBatch(b); err != nil {
		return nil, rev, err
	}
	s.rev, s.tail = rev, tail
	s.feed.Append(record)
	return b, rev, nil
}

// applyBatch hands a batch to Pebble's log and memory. Pebble panics when its
// log cannot be written; that ends this store, not the process.
func (s *Store) applyBatch(b *db.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.fail(fmt.Errorf("pebble: commit: %v", r))
			err = fmt.Errorf("pebble: commit: %w", kv.ErrUnavailable)
		}
	}()
	if err := s.db.ApplyNoSyncWait(b, db.Sync); err != nil {
		s.fail(err)
		return fmt.Errorf("pebble: commit: %w", kv.ErrUnavailable)
	}
	return nil
}

// sync waits until a batch is on the disk. Commits that wait at the same time
// share the fsync. A failed one is the end: after it the kernel may have
// dropped the pages, so that a second fsync would succeed and prove nothing.
func (s *Store) sync(b *db.Batch, rev kv.Rev) error {
	if err := b.SyncWait(); err != nil {
		s.fail(err)
		return fmt.Errorf("pebble: commit: %w", kv.ErrUnavailable)
	}
	if s.isFailed.Load() {
		return fmt.Errorf("pebble: commit: %w", kv.ErrUnavailable)
	}
	s.feed.Publish(rev)
	if err := b.Close(); err != nil {
		return fmt.Errorf("pebble: commit: %w: %w", kv.ErrUnavailable, err)
	}
	return nil
}

// space knows how much room is left on the disk.
type space struct {
	checked atomic.Int64 // Unix ms of the last look
	written atomic.Int64 // bytes committed since
	low     atomic.Bool
}

// check refuses commits when the disk is nearly full: a full disk in the
// middle of a log write would be the end of the store. Commits that only
// delete pass, for they are how room is made.
func (sp *space) check(s *Store, ops []kv.Op) error {
	// A byte of a commit costs up to four on the disk: log and tables, each with the watch log's copy.
	const lookEvery = 1000
	lookBytes := int64(s.cfg.MinFree / 16)
	size := 0
	writes := false
	for _, o := range ops {
		size += len(o.Key) + len(o.Value) + 64
		writes = writes || !o.Delete
	}
	now := s.cfg.Clock.Now().UnixMilli()
	if last := sp.checked.Load(); sp.written.Add(int64(size)) > lookBytes || now-last >= lookEvery || now < last {
		sp.written.Store(0)
		sp.checked.Store(now)
		usage, err := s.cfg.FS.GetDiskUsage(s.dir)
		low := err == nil && usage.AvailBytes < s.cfg.MinFree
		if low != sp.low.Swap(low) {
			s.cfg.Logger.Warn("store: free disk space", "low", low, "free", usage.AvailBytes, "dir", s.dir)
		}
	}
	if writes && sp.low.Load() {
		return fmt.Errorf("%w: disk nearly full", kv.ErrReadOnly)
	}
	return nil
}
