package keys

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/leadglass/leadglass/state/kv"
)

// A regionStore is the part of a store that lies below a prefix, shown as a store
// of its own: so everything that keeps the records of one Region is written as
// if there were no other. Revisions are those of the whole store.
type regionStore struct {
	whole  kv.Store
	prefix kv.Key
}

// regionTable is where the Regions beside the home Region have their tables:
//
//	R | region | a key of the tables K, G and g
const regionTable = 'R'

func regionPrefix(region string) kv.Key { return kv.Table(regionTable).Text(region) }

func (w regionStore) full(key []byte) []byte {
	return append(w.prefix[:len(w.prefix):len(w.prefix)], key...)
}

func (w regionStore) conds(conds []kv.Cond) []kv.Cond {
	out := make([]kv.Cond, len(conds))
	for i, c := range conds {
		c.Key = w.full(c.Key)
		out[i] = c
	}
	return out
}

func (w regionStore) ops(ops []kv.Op) []kv.Op {
	out := make([]kv.Op, len(ops))
	for i, o := range ops {
		o.Key = w.full(o.Key)
		if o.EndKey != nil {
			o.EndKey = w.full(o.EndKey)
		}
		out[i] = o
	}
	return out
}

// Get implements kv.Store.
func (w regionStore) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	e, err := w.whole.Get(ctx, w.full(key))
	e.Key = bytes.TrimPrefix(e.Key, w.prefix)
	return e, err
}

// GetStale implements kv.Store.
func (w regionStore) GetStale(ctx context.Context, key []byte) (kv.Entry, error) {
	e, err := w.whole.GetStale(ctx, w.full(key))
	e.Key = bytes.TrimPrefix(e.Key, w.prefix)
	return e, err
}

// Scan implements kv.Store. No end means the end of what lies below the prefix.
func (w regionStore) Scan(ctx context.Context, start, end []byte, limit int, at kv.Rev, keysOnly bool) ([]kv.Entry, bool, kv.Rev, error) {
	_, last := w.prefix.Prefix()
	if end != nil {
		last = w.full(end)
	}
	es, more, rev, err := w.whole.Scan(ctx, w.full(start), last, limit, at, keysOnly)
	for i := range es {
		es[i].Key = bytes.TrimPrefix(es[i].Key, w.prefix)
	}
	return es, more, rev, err
}

// Commit implements kv.Store.
func (w regionStore) Commit(ctx context.Context, conds []kv.Cond, ops []kv.Op) (kv.Rev, error) {
	return w.whole.Commit(ctx, w.conds(conds), w.ops(ops))
}

// Watch implements kv.Store. Nobody follows the tables of keys.
func (w regionStore) Watch(context.Context, []byte, []byte, kv.Rev) (<-chan kv.Batch, error) {
	return nil, errors.New("keys: a Region's records cannot be watched")
}

// Backup implements kv.Store: backups are made of the whole store.
func (w regionStore) Backup(context.Context, io.Writer) (kv.Rev, error) {
	return 0, errors.New("keys: a backup is made of the whole store")
}

// Close implements kv.Store. The store is closed by whoever opened it.
func (w regionStore) Close() error { return nil }
