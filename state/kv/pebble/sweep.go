package pebble

import (
	"bytes"
	"encoding/binary"
	"time"

	db "github.com/cockroachdb/pebble/v2"

	"github.com/leadglass/leadglass/state/kv"
)

const sweepEvery = 10 * time.Second // promised: expired entries are gone within 60 s

func expireKey(ms int64, key []byte) []byte {
	k := make([]byte, 0, 9+len(key))
	return append(binary.BigEndian.AppendUint64(append(k, expireTable), uint64(ms)), key...)
}

// sweep does the housekeeping until Close or failure.
func (s *Store) sweep() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			return
		case <-s.failed:
			return
		case <-s.cfg.Clock.After(sweepEvery):
		}
		if err := s.sweepOnce(); err != nil {
			s.cfg.Logger.Warn("store: housekeeping", "error", err)
		}
	}
}

func (s *Store) sweepOnce() error {
	now := s.cfg.Clock.Now()
	s.pins.expire()
	for {
		n, err := s.removeExpired(now)
		if err != nil {
			return err
		}
		if n == 0 {
			return s.trim(now)
		}
		select {
		case <-s.stop:
			return nil
		default:
		}
	}
}

// removeExpired deletes a portion of what expired, as an ordinary commit that
// watchers see. An index entry whose key was since written again, with
// another expiry, is only dropped.
func (s *Store) removeExpired(now time.Time) (n int, err error) {
	const portion = 1000
	b, rev, n, err := func() (*db.Batch, kv.Rev, int, error) {
		s.commit.Lock()
		defer s.commit.Unlock()
		it, err := s.db.NewIter(&db.IterOptions{LowerBound: []byte{expireTable}, UpperBound: expireKey(now.UnixMilli()+1, nil)})
		if err != nil {
			return nil, 0, 0, err
		}
		var writes []write
		var index [][]byte
		for ok := it.First(); ok && len(index) < portion; ok = it.Next() {
			index = append(index, bytes.Clone(it.Key()))
		}
		if err := it.Close(); err != nil || len(index) == 0 {
			return nil, 0, 0, err
		}
		for _, k := range index {
			due, key := int64(binary.BigEndian.Uint64(k[1:])), k[9:]
			v, closer, err := s.lookup(key)
			if err != nil {
				return nil, 0, 0, err
			}
			if closer == nil {
				continue
			}
			if v.expire == due {
				writes = append(writes, write{key: bytes.Clone(key), deleted: true})
			}
			if err := closer.Close(); err != nil {
				return nil, 0, 0, err
			}
		}
		b, rev, err := s.write(writes, index, now)
		return b, rev, len(index), err
	}()
	if err != nil || n == 0 {
		return 0, err
	}
	return n, s.sync(b, rev)
}
