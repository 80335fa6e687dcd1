package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sort"
	"time"

	db "github.com/cockroachdb/pebble/v2"

	"github.com/leadglass/leadglass/state/kv"
)

// The watch log: one record per revision, from which watchers resume, also
// after a restart. Every record carries running sums, so that the place to
// cut is found by bisection and nothing needs to be counted at start.
//
//	u64 time, Unix ms | u64 events so far | u64 bytes so far
//	( u8 deleted | uvarint klen | key | uvarint vlen | value )*
type totals struct {
	at            int64 // Unix ms
	events, bytes uint64
}

const (
	recordHead  = 24
	maxLogBytes = 256 << 20
)

func logKey(dst []byte, rev kv.Rev) []byte {
	return binary.BigEndian.AppendUint64(append(dst, logTable), uint64(rev))
}

func appendRecord(dst []byte, t *totals, b kv.Batch, now time.Time) []byte {
	t.at = now.UnixMilli()
	t.events += uint64(len(b.Events))
	for _, e := range b.Events {
		t.bytes += uint64(len(e.Key) + len(e.Value))
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.at))
	dst = binary.BigEndian.AppendUint64(dst, t.events)
	dst = binary.BigEndian.AppendUint64(dst, t.bytes)
	for _, e := range b.Events {
		deleted := byte(0)
		if e.Deleted {
			deleted = 1
		}
		dst = binary.AppendUvarint(append(dst, deleted), uint64(len(e.Key)))
		dst = append(dst, e.Key...)
		dst = binary.AppendUvarint(dst, uint64(len(e.Value)))
		dst = append(dst, e.Value...)
	}
	return dst
}

func readTotals(v []byte) (totals, error) {
	if len(v) < recordHead {
		return totals{}, fmt.Errorf("pebble: %w: short log record", kv.ErrCorrupt)
	}
	return totals{int64(binary.BigEndian.Uint64(v)), binary.BigEndian.Uint64(v[8:]), binary.BigEndian.Uint64(v[16:])}, nil
}

// readRecord copies what it returns.
func readRecord(rev kv.Rev, v []byte) (kv.Batch, error) {
	b := kv.Batch{Rev: rev}
	corrupt := fmt.Errorf("pebble: %w: log record of revision %d", kv.ErrCorrupt, rev)
	if len(v) < recordHead {
		return b, corrupt
	}
	v = bytes.Clone(v[recordHead:])
	part := func() ([]byte, bool) {
		n, used := binary.Uvarint(v)
		if used <= 0 || n > uint64(len(v)-used) {
			return nil, false
		}
		p := v[used : used+int(n) : used+int(n)]
		v = v[used+int(n):]
		return p, true
	}
	for len(v) > 0 {
		e := kv.Event{Deleted: v[0] == 1}
		v = v[1:]
		var ok, ok2 bool
		e.Key, ok = part()
		e.Value, ok2 = part()
		if !ok || !ok2 {
			return b, corrupt
		}
		if e.Deleted {
			e.Value = nil
		}
		b.Events = append(b.Events, e)
	}
	return b, nil
}

func (s *Store) totalsAt(rev kv.Rev) (totals, error) {
	v, err := s.get(logKey(nil, rev))
	if err != nil {
		return totals{}, err
	}
	return readTotals(v)
}

// Watch implements kv.Store.
func (s *Store) Watch(ctx context.Context, start, end []byte, after kv.Rev) (<-chan kv.Batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.isFailed.Load() {
		return nil, kv.ErrUnavailable
	}
	return s.feed.Watch(ctx, start, end, after)
}

// older reads the log for watchers that are behind the tail in memory.
func (s *Store) older(ctx context.Context, after kv.Rev) ([]kv.Batch, error) {
	const records, size = 1024, 1 << 20
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	it, err := s.db.NewIter(&db.IterOptions{LowerBound: logKey(nil, after+1), UpperBound: []byte{logTable + 1}})
	if err != nil {
		return nil, readError("watch", err)
	}
	var out []kv.Batch
	next, bytes := after+1, 0
	for ok := it.First(); ok && len(out) < records && bytes < size; ok = it.Next() {
		v, valueErr := it.ValueAndErr()
		if err = valueErr; err != nil {
			break
		}
		rev := kv.Rev(binary.BigEndian.Uint64(it.Key()[1:]))
		if rev != next {
			err = &kv.CompactedError{Oldest: rev - 1}
			break
		}
		var b kv.Batch
		if b, err = readRecord(rev, v); err != nil {
			break
		}
		out = append(out, b)
		bytes += len(v)
		next++
	}
	if closeErr := it.Close(); err == nil && closeErr != nil {
		err = readError("watch", closeErr)
	}
	if err == nil && len(out) == 0 {
		err = &kv.CompactedError{Oldest: kv.Rev(s.applying.Load())}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// trim cuts the log's old end: what is beyond the number of events, the
// bytes, or the age that are kept.
func (s *Store) trim(now time.Time) error {
	s.commit.Lock()
	newest, last := s.tail, s.rev
	s.commit.Unlock()
	first, err := s.firstLogged()
	if err != nil || first == 0 || first >= last {
		return err
	}
	oldest := now.Add(-s.cfg.LogAge).UnixMilli()
	// Revisions are dense between first and last: bisect for the first record to keep. The newest always stays.
	n := sort.Search(int(last-first), func(i int) bool {
		t, getErr := s.totalsAt(first + kv.Rev(i))
		if getErr != nil {
			err = getErr
			return true
		}
		return newest.events-t.events < s.cfg.LogEvents && newest.bytes-t.bytes < maxLogBytes && t.at >= oldest
	})
	if err != nil || n == 0 {
		return err
	}
	return s.db.DeleteRange([]byte{logTable}, logKey(nil, first+kv.Rev(n)), db.NoSync)
}

func (s *Store) firstLogged() (kv.Rev, error) {
	it, err := s.db.NewIter(&db.IterOptions{LowerBound: []byte{logTable}, UpperBound: []byte{logTable + 1}})
	if err != nil {
		return 0, err
	}
	var rev kv.Rev
	if it.First() {
		rev = kv.Rev(binary.BigEndian.Uint64(it.Key()[1:]))
	}
	return rev, it.Close()
}
