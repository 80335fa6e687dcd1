package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	db "github.com/cockroachdb/pebble/v2"

	"github.com/leadglass/leadglass/state/kv"
)

// stored is a decoded value of the data table; value points into Pebble's memory.
type stored struct {
	mod    kv.Rev
	expire int64
	value  []byte
}

func decode(v []byte) (stored, error) {
	if len(v) < headSize {
		return stored{}, fmt.Errorf("pebble: %w: short value", kv.ErrCorrupt)
	}
	return stored{
		mod:    kv.Rev(binary.BigEndian.Uint64(v)),
		expire: int64(binary.BigEndian.Uint64(v[8:])),
		value:  v[headSize:],
	}, nil
}

func (v stored) expired(now time.Time) bool { return v.expire != 0 && now.UnixMilli() >= v.expire }

// Get implements kv.Store.
func (s *Store) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	e, err := s.GetStale(ctx, key)
	if err != nil {
		return e, err
	}
	seen := e.Mod
	if seen == 0 {
		// It may be absent because a commit just deleted it.
		seen = kv.Rev(s.applying.Load())
	}
	if err := s.feed.WaitFor(ctx, seen); err != nil {
		return kv.Entry{}, err
	}
	return e, nil
}

// GetStale implements kv.Store. It may show a commit whose fsync is still
// under way.
func (s *Store) GetStale(ctx context.Context, key []byte) (kv.Entry, error) {
	if err := ctx.Err(); err != nil {
		return kv.Entry{}, err
	}
	if err := s.enter(); err != nil {
		return kv.Entry{}, err
	}
	defer s.leave()
	e := kv.Entry{Key: bytes.Clone(key)}
	v, closer, err := s.lookup(key)
	if err != nil || closer == nil {
		return e, err
	}
	if !v.expired(s.cfg.Clock.Now()) {
		e.Value, e.Mod = append([]byte{}, v.value...), v.mod
	}
	if err := closer.Close(); err != nil {
		return kv.Entry{}, readError("get", err)
	}
	return e, nil
}

// lookup finds the physical entry of a key: expired or not. closer is nil if
// there is none.
func (s *Store) lookup(key []byte) (v stored, closer io.Closer, err error) {
	var buf [128]byte
	raw, closer, err := s.db.Get(append(append(buf[:0], dataTable), key...))
	if errors.Is(err, db.ErrNotFound) {
		return v, nil, nil
	}
	if err != nil {
		return v, nil, readError("get", err)
	}
	if v, err = decode(raw); err != nil {
		_ = closer.Close()
		return v, nil, err
	}
	return v, closer, nil
}

// mod is the revision that conditions see: 0 if absent or expired.
func (s *Store) mod(key []byte, now time.Time) (kv.Rev, error) {
	v, closer, err := s.lookup(key)
	if err != nil || closer == nil {
		return 0, err
	}
	rev := v.mod
	if v.expired(now) {
		rev = 0
	}
	if err := closer.Close(); err != nil {
		return 0, readError("get", err)
	}
	return rev, nil
}

// bounds are a scan's limits in the data table.
func bounds(start, end []byte) *db.IterOptions {
	o := &db.IterOptions{LowerBound: table(dataTable, start), UpperBound: []byte{dataTable + 1}}
	if end != nil {
		o.UpperBound = table(dataTable, end)
	}
	return o
}

// Scan implements kv.Store. An end that is not greater than start is an
// empty range.
func (s *Store) Scan(ctx context.Context, start, end []byte, limit int, at kv.Rev, keysOnly bool) (es []kv.Entry, more bool, rev kv.Rev, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, 0, err
	}
	if err := s.enter(); err != nil {
		return nil, false, 0, err
	}
	defer s.leave()
	p, err := s.pins.take(s, at)
	if err != nil {
		return nil, false, 0, err
	}
	defer func() { s.pins.release(p, more) }()
	es, more, err = s.page(p, start, end, kv.PageLimit(limit), keysOnly)
	if err == nil {
		err = s.feed.WaitFor(ctx, p.rev)
	}
	if err != nil {
		return nil, false, 0, err
	}
	return es, more, p.rev, nil
}

func (s *Store) page(p *pin, start, end []byte, limit int, keysOnly bool) (es []kv.Entry, more bool, err error) {
	if end != nil && bytes.Compare(start, end) >= 0 {
		return nil, false, nil
	}
	it, err := p.snap.NewIter(bounds(start, end))
	if err != nil {
		return nil, false, readError("scan", err)
	}
	now := s.cfg.Clock.Now()
	size := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		raw, rawErr := it.ValueAndErr()
		if err = rawErr; err != nil {
			break
		}
		var v stored
		if v, err = decode(raw); err != nil || v.expired(now) {
			continue
		}
		if len(es) == limit || size > kv.MaxPage {
			more = true
			break
		}
		e := kv.Entry{Key: bytes.Clone(it.Key()[1:]), Mod: v.mod}
		if !keysOnly {
			e.Value = append([]byte{}, v.value...)
		}
		size += len(e.Key) + len(e.Value)
		es = append(es, e)
	}
	if closeErr := it.Close(); err == nil && closeErr != nil {
		err = readError("scan", closeErr)
	}
	if err != nil {
		return nil, false, err
	}
	return es, more, nil
}

// Backup implements kv.Store. The stream is not sealed.
func (s *Store) Backup(ctx context.Context, w io.Writer) (kv.Rev, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	p, err := s.pins.take(s, 0)
	if err != nil {
		return 0, err
	}
	defer s.pins.release(p, false)
	if err := s.feed.WaitFor(ctx, p.rev); err != nil {
		return 0, err
	}
	it, err := p.snap.NewIter(bounds(nil, nil))
	if err != nil {
		return 0, readError("backup", err)
	}
	now := s.cfg.Clock.Now()
	b := kv.NewBackupWriter(w, p.rev, now)
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var raw []byte
		if raw, err = it.ValueAndErr(); err != nil {
			break
		}
		var v stored
		if v, err = decode(raw); err != nil || v.expired(now) {
			continue
		}
		if err = ctx.Err(); err == nil {
			err = b.Add(kv.Entry{Key: it.Key()[1:], Value: v.value, Mod: v.mod}, kv.ExpireTime(v.expire))
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return 0, fmt.Errorf("pebble: backup: %w", err)
	}
	return p.rev, b.Close()
}
