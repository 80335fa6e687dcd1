package pebble

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	db "github.com/cockroachdb/pebble/v2"

	"github.com/leadglass/leadglass/state/kv"
)

// Restore makes a new store in dir from a backup stream. It refuses a store
// that holds anything. Only after Restore returned nil is dir to be used; what
// is there after an error is to be thrown away.
func Restore(dir string, cfg Config, r io.Reader) (kv.Rev, error) {
	s, err := Open(dir, cfg)
	if err != nil {
		return 0, err
	}
	rev, err := s.restore(r)
	if closeErr := s.Close(); err == nil {
		err = closeErr
	}
	return rev, err
}

func (s *Store) restore(r io.Reader) (kv.Rev, error) {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.rev != 0 {
		return 0, fmt.Errorf("pebble: restore: %s is not empty", s.dir)
	}
	if err := s.db.Set(metaFormat, []byte{restoring}, db.Sync); err != nil {
		return 0, fmt.Errorf("pebble: restore: %w", err)
	}
	b := s.db.NewBatch()
	rev, _, err := kv.ReadBackup(r, func(e kv.Entry, expire time.Time) error {
		ms := kv.ExpireMilli(expire)
		v := binary.BigEndian.AppendUint64(nil, uint64(e.Mod))
		v = append(binary.BigEndian.AppendUint64(v, uint64(ms)), e.Value...)
		if err := b.Set(table(dataTable, e.Key), v, nil); err != nil {
			return err
		}
		if ms != 0 {
			if err := b.Set(expireKey(ms, e.Key), nil, nil); err != nil {
				return err
			}
		}
		if b.Len() < 1<<20 {
			return nil
		}
		if err := b.Commit(db.NoSync); err != nil {
			return err
		}
		b = s.db.NewBatch()
		return nil
	})
	if err != nil {
		return 0, err
	}
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(rev))
	if err := b.Set(metaRev, number[:], nil); err != nil {
		return 0, fmt.Errorf("pebble: restore: %w", err)
	}
	// Last of all, in the batch that carries the revision, the mark goes.
	if err := b.Set(metaFormat, []byte{format}, nil); err != nil {
		return 0, fmt.Errorf("pebble: restore: %w", err)
	}
	if err := b.Commit(db.Sync); err != nil {
		return 0, fmt.Errorf("pebble: restore: %w", err)
	}
	s.rev = rev
	s.applying.Store(uint64(rev))
	return rev, nil
}
