package directory

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/leadglass/leadglass/state/kv"
)

// Loading reads the whole of table I at start-up. Three stages work at once: one
// reads pages from the store, one decodes the entities (they are most of what
// there is, and decoding is most of the time), and one, the caller, puts them in
// their places. 10^5 users and roles are there in less than a second.

// A loaded entry is one of the store's, decoded if it is an entity.
type loaded struct {
	entry            kv.Entry
	account, section string
	id               string        // of the entity
	entity           *entityRecord // nil: not an entity
}

// pagesAhead is how many pages a stage may be ahead of the next.
const pagesAhead = 2

// load reads table I into the realms.
func (d *Directory) load(ctx context.Context) error {
	// The group ends before load returns: a stage that fails ends the context of the
	// others, and so does an error here.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	pages := make(chan []kv.Entry, pagesAhead)
	decoded := make(chan []loaded, pagesAhead)
	g.Go(func() error {
		defer close(pages)
		return d.scanPages(ctx, kv.Table('I'), func(page []kv.Entry) error { return send(ctx, pages, page) })
	})
	g.Go(func() error {
		defer close(decoded)
		same := make(interned)
		for page := range pages {
			out := make([]loaded, 0, len(page))
			for _, e := range page {
				l, err := same.decode(e)
				if err != nil {
					return err
				}
				if l.section != sectionName { // follows from the records
					out = append(out, l)
				}
			}
			if err := send(ctx, decoded, out); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for page := range decoded {
			for _, l := range page {
				if err := d.loadEntry(l); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return g.Wait()
}

func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loadEntry puts one entry in its place. Nobody else knows the realm yet.
func (d *Directory) loadEntry(l loaded) error {
	r := d.realmToLoad(l.account)
	if l.entity == nil {
		return d.apply(r, l.entry.Key, l.entry.Value, l.entry.Mod)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.setEntity(r, l.id, l.entity, l.entry.Mod)
	return nil
}

// realmToLoad finds or makes the realm of an account while the directory opens.
func (d *Directory) realmToLoad(account string) *realm {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.realms[account]
	if r == nil {
		r = newRealm(account)
		r.loading = true
		d.realms[account] = r
	}
	return r
}

// interned holds texts that many entities have in common while they are loaded:
// paths, policy ARNs, tag keys and values, the trust policies of a fleet. One copy
// of each stays in memory.
type interned map[string]string

func (in interned) one(s string) string {
	if s == "" {
		return ""
	}
	if have, ok := in[s]; ok {
		return have
	}
	in[s] = s
	return s
}

// decode reads an entry's account and, if it is an entity, its record.
func (in interned) decode(e kv.Entry) (loaded, error) {
	l := loaded{entry: e}
	account, rest, err := kv.ReadText(e.Key[1:])
	if err != nil {
		return l, corrupt(e.Key, err)
	}
	l.account = in.one(account)
	if l.section, rest, err = kv.ReadText(rest); err != nil {
		return l, corrupt(e.Key, err)
	}
	if l.section != sectionEntity {
		return l, nil
	}
	if l.id, _, err = kv.ReadText(rest); err != nil {
		return l, corrupt(e.Key, err)
	}
	rec := new(entityRecord)
	if err := decode(e.Key, e.Value, e.Mod, rec); err != nil {
		return l, err
	}
	if err := rec.Kind.known(e.Key); err != nil {
		return l, err
	}
	if rec.ID == l.id {
		rec.ID = l.id // one copy
	}
	rec.Path, rec.Boundary, rec.Trust = in.one(rec.Path), in.one(rec.Boundary), in.one(rec.Trust)
	for i := range rec.Attached {
		rec.Attached[i] = in.one(rec.Attached[i])
	}
	for i := range rec.Groups {
		rec.Groups[i] = in.one(rec.Groups[i])
	}
	for i := range rec.Tags {
		rec.Tags[i].Key, rec.Tags[i].Value = in.one(rec.Tags[i].Key), in.one(rec.Tags[i].Value)
	}
	if len(rec.Bound) == 0 {
		rec.Bound = nil
	}
	l.entity = rec
	return l, nil
}
