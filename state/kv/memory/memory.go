// Package memory is the store of tests: everything in one process's memory,
// nothing survives. It is also the model that the other engines are checked
// against, so it is written for plainness: a sorted slice of keys, each with
// its versions, under one lock.
package memory

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/feed"
)

// How much of the past can be watched again.
const (
	keepEvents = 1_000_000
	keepAge    = 10 * time.Minute
	sweepEvery = 10 * time.Second // promised: gone within 60 s
)

// A Store is an in-memory kv.Store.
type Store struct {
	clock clock.Clock
	feed  *feed.Feed
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the sweeper ended

	mu     sync.RWMutex
	keys   []*history // guarded by mu; sorted by key
	rev    kv.Rev     // guarded by mu
	marks  []mark     // guarded by mu; when revisions were made, oldest first
	oldest kv.Rev     // guarded by mu; oldest revision that can still be scanned
	closed bool       // guarded by mu
}

// A history is one key's versions, oldest first, the last is the newest.
type history struct {
	key      []byte
	versions []version
}

type version struct {
	rev     kv.Rev
	value   []byte
	expire  time.Time
	deleted bool
}

type mark struct {
	rev kv.Rev
	at  time.Time
}

var _ kv.Store = (*Store)(nil)

// Open returns an empty store on the system's clock.
func Open() *Store { return OpenAt(clock.System) }

// OpenAt returns an empty store on the given clock.
func OpenAt(c clock.Clock) *Store {
	s := &Store{clock: c, stop: make(chan struct{}), done: make(chan struct{}),
		feed: feed.New(0, feed.Config{Events: keepEvents, Bytes: 1 << 30, Age: keepAge, Clock: c})}
	go s.sweep()
	return s
}

// at returns the version that a reader of rev sees, or nil.
func (h *history) at(rev kv.Rev, now time.Time) *version {
	for i := len(h.versions) - 1; i >= 0; i-- {
		if v := &h.versions[i]; v.rev <= rev {
			if v.deleted || !v.expire.IsZero() && !now.Before(v.expire) {
				return nil
			}
			return v
		}
	}
	return nil
}

func (h *history) present() bool {
	return len(h.versions) > 0 && !h.versions[len(h.versions)-1].deleted
}

func (s *Store) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(s.keys, key, func(h *history, k []byte) int { return bytes.Compare(h.key, k) })
}

// Get implements kv.Store.
func (s *Store) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	if err := ctx.Err(); err != nil {
		return kv.Entry{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return kv.Entry{}, kv.ErrUnavailable
	}
	e := kv.Entry{Key: bytes.Clone(key)}
	if i, ok := s.find(key); ok {
		if v := s.keys[i].at(s.rev, s.clock.Now()); v != nil {
			e.Value, e.Mod = clone(v.value), v.rev
		}
	}
	return e, nil
}

// clone keeps a present empty value apart from an absent one.
func clone(b []byte) []byte { return append([]byte{}, b...) }

// GetStale implements kv.Store.
func (s *Store) GetStale(ctx context.Context, key []byte) (kv.Entry, error) { return s.Get(ctx, key) }

// Scan implements kv.Store.
func (s *Store) Scan(ctx context.Context, start, end []byte, limit int, at kv.Rev, keysOnly bool) (es []kv.Entry, more bool, rev kv.Rev, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, false, 0, kv.ErrUnavailable
	}
	now := s.clock.Now()
	if at == 0 {
		at = s.rev
	} else if at > s.rev || at < s.oldest {
		return nil, false, 0, &kv.CompactedError{Oldest: s.oldest}
	}
	limit = kv.PageLimit(limit)
	size := 0
	i, _ := s.find(start)
	for ; i < len(s.keys); i++ {
		h := s.keys[i]
		if end != nil && bytes.Compare(h.key, end) >= 0 {
			break
		}
		v := h.at(at, now)
		if v == nil {
			continue
		}
		if len(es) == limit || size > kv.MaxPage {
			return es, true, at, nil
		}
		e := kv.Entry{Key: bytes.Clone(h.key), Mod: v.rev}
		if !keysOnly {
			e.Value = clone(v.value)
		}
		size += len(e.Key) + len(e.Value)
		es = append(es, e)
	}
	return es, false, at, nil
}

// Commit implements kv.Store.
func (s *Store) Commit(ctx context.Context, conds []kv.Cond, ops []kv.Op) (kv.Rev, error) {
	if err := kv.CheckCommit(conds, ops); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, kv.ErrUnavailable
	}
	now := s.clock.Now()
	for _, c := range conds {
		var have kv.Rev
		if i, ok := s.find(c.Key); ok {
			if v := s.keys[i].at(s.rev, now); v != nil {
				have = v.rev
			}
		}
		if c.Not && have == 0 || !c.Not && have != c.Mod {
			return 0, &kv.ConflictError{Key: bytes.Clone(c.Key), Have: have}
		}
	}
	return s.apply(ops, now)
}

// apply writes ops, in order, as one revision. The caller holds mu.
func (s *Store) apply(ops []kv.Op, now time.Time) (kv.Rev, error) {
	final := map[string]version{} // what each touched key is after all ops
	deleted := 0
	for _, o := range ops {
		switch {
		case !o.Delete:
			final[string(o.Key)] = version{value: clone(o.Value), expire: kv.ExpireTime(kv.ExpireMilli(o.Expire))}
		case o.EndKey == nil:
			final[string(o.Key)] = version{deleted: true}
		default:
			for i, _ := s.find(o.Key); i < len(s.keys) && bytes.Compare(s.keys[i].key, o.EndKey) < 0; i++ {
				if s.keys[i].present() {
					final[string(s.keys[i].key)] = version{deleted: true}
					deleted++
				}
			}
			for k := range final {
				if k >= string(o.Key) && k < string(o.EndKey) {
					final[k] = version{deleted: true}
				}
			}
			if deleted > kv.MaxDeleted {
				return 0, kv.ErrTooLarge
			}
		}
	}
	keys := make([]string, 0, len(final))
	for k := range final {
		keys = append(keys, k)
	}
	slices.Sort(keys)

	s.rev++
	b := kv.Batch{Rev: s.rev}
	for _, k := range keys {
		v := final[k]
		v.rev = s.rev
		i, ok := s.find([]byte(k))
		if v.deleted && (!ok || !s.keys[i].present()) {
			continue
		}
		if !ok {
			s.keys = slices.Insert(s.keys, i, &history{key: []byte(k)})
		}
		s.keys[i].versions = append(s.keys[i].versions, v)
		b.Events = append(b.Events, kv.Event{Key: []byte(k), Value: v.value, Deleted: v.deleted})
	}
	s.marks = append(s.marks, mark{s.rev, now})
	s.feed.Append(b)
	s.feed.Publish(b.Rev)
	return s.rev, nil
}

// Watch implements kv.Store.
func (s *Store) Watch(ctx context.Context, start, end []byte, after kv.Rev) (<-chan kv.Batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.feed.Watch(ctx, start, end, after)
}

// Backup implements kv.Store.
func (s *Store) Backup(ctx context.Context, w io.Writer) (kv.Rev, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return 0, kv.ErrUnavailable
	}
	now := s.clock.Now()
	b := kv.NewBackupWriter(w, s.rev, now)
	for _, h := range s.keys {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if v := h.at(s.rev, now); v != nil {
			if err := b.Add(kv.Entry{Key: h.key, Value: v.value, Mod: v.rev}, v.expire); err != nil {
				return 0, err
			}
		}
	}
	return s.rev, b.Close()
}

// Close implements kv.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.done
	s.feed.Close()
	return nil
}

// sweep removes what expired, and versions that no scan can ask for any more.
func (s *Store) sweep() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			return
		case <-s.clock.After(sweepEvery):
			s.sweepOnce()
		}
	}
}

func (s *Store) sweepOnce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := s.clock.Now()
	var expired []kv.Op
	for _, h := range s.keys {
		if v := h.versions[len(h.versions)-1]; !v.deleted && !v.expire.IsZero() && !now.Before(v.expire) {
			expired = append(expired, kv.Op{Key: h.key, Delete: true})
		}
	}
	for c := range slices.Chunk(expired, kv.MaxOps) {
		if _, err := s.apply(c, now); err != nil {
			return
		}
	}
	s.compact(now)
}

// compact forgets versions that were overwritten before the oldest revision
// that must stay readable. The caller holds mu.
func (s *Store) compact(now time.Time) {
	n := 0
	for n < len(s.marks) && now.Sub(s.marks[n].at) > kv.KeepAtLeast {
		s.oldest = s.marks[n].rev
		n++
	}
	s.marks = s.marks[n:]
	kept := s.keys[:0]
	for _, h := range s.keys {
		first := 0
		for i := range h.versions {
			if h.versions[i].rev <= s.oldest {
				first = i
			}
		}
		h.versions = h.versions[first:]
		if len(h.versions) == 1 && h.versions[0].deleted && h.versions[0].rev <= s.oldest {
			continue
		}
		kept = append(kept, h)
	}
	clear(s.keys[len(kept):])
	s.keys = kept
}
