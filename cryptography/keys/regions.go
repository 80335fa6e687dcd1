package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/state/kv"
)

// A MultiRegion is what each of several related keys knows of all of them
// (kms-api section 11). They have one id and one material, and everything else
// for themselves. Every record holds the same, and all change in one commit.
type MultiRegion struct {
	Primary  string   `cbor:"1,keyasint"`           // Region of the primary key
	Replicas []string `cbor:"2,keyasint,omitempty"` // Regions of its replicas, sorted
	// Window is how many days a primary key waits for its end once its last replica is gone; only in its own record,
	// and only while it is PendingReplicaDeletion.
	Window int `cbor:"3,keyasint,omitempty"`
}

// Types of multi-Region keys.
const (
	Primary = "PRIMARY"
	Replica = "REPLICA"
)

// regions are the Keys of all Regions of a deployment, over one store.
type regions struct {
	whole kv.Store
	names []string         // the home Region first
	keys  map[string]*Keys // read-only after newRegions

	adopting sync.Mutex // serialises adopt
}

func newRegions(store kv.Store, cfg Config) *regions {
	all := &regions{whole: store, names: append([]string{cfg.Region}, cfg.AdditionalRegions...), keys: map[string]*Keys{}}
	for i, name := range all.names {
		k := newKeys(store, cfg)
		k.cfg.Region, k.all = name, all
		if i > 0 {
			// The home Region's records lie where those of a deployment with one Region always lay.
			k.store = regionStore{whole: store, prefix: regionPrefix(name)}
		}
		all.keys[name] = k
	}
	return all
}

// load fills the memory of all Regions, and refuses to go on without one that
// the store holds keys of: their deletion dates would pass unseen, and related
// keys would part.
func (all *regions) load(ctx context.Context) error {
	stored, err := StoredRegions(ctx, all.whole)
	if err != nil {
		return err
	}
	for _, name := range stored {
		if all.keys[name] == nil {
			return fmt.Errorf("the store holds keys of %s: serve this Region too (--additional-regions)", name)
		}
	}
	for _, name := range all.names {
		if err := all.keys[name].load(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return all.check()
}

// check compares what related keys say of one another.
func (all *regions) check() (err error) {
	for _, name := range all.names {
		k := all.keys[name]
		k.byID.Range(func(_, v any) bool {
			key := v.(*entry).now.Load()
			if key.MultiRegion == nil {
				return true
			}
			known := false
			for region := range key.MultiRegion.regions() {
				other := all.find(region, key.ID)
				if other == nil || other.Account != key.Account || !other.MultiRegion.same(key.MultiRegion) {
					err = fmt.Errorf("%w: %s and its related key in %s do not know of each other", kv.ErrCorrupt, key.ARN, region)
					return false
				}
				known = known || region == name
			}
			if !known {
				err = fmt.Errorf("%w: %s does not know of itself", kv.ErrCorrupt, key.ARN)
			}
			return known
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// find is the newest snapshot of a key in one of the Regions; nil: there is
// none, or no such Region.
func (all *regions) find(region, id string) *Key {
	k := all.keys[region]
	if k == nil {
		return nil
	}
	e, ok := k.entry(id)
	if !ok {
		return nil
	}
	return e.now.Load()
}

// StoredRegions are the Regions beside the home Region that a store holds keys
// of.
func StoredRegions(ctx context.Context, store kv.Store) (names []string, err error) {
	start, end := kv.Table(regionTable).Prefix()
	for {
		es, _, _, err := store.Scan(ctx, start, end, 1, 0, true)
		if err != nil {
			return nil, err
		}
		if len(es) == 0 {
			return names, nil
		}
		name, _, err := kv.ReadText(es[0].Key[1:])
		if err != nil {
			return nil, fmt.Errorf("key of table %c: %w", regionTable, err)
		}
		names = append(names, name)
		_, start = regionPrefix(name).Prefix()
	}
}

// Region is the Region that all keys are in.
func (k *Keys) Region() string { return k.cfg.Region }

// Regions are all Regions of the deployment, the home Region first.
func (k *Keys) Regions() []string { return slices.Clone(k.all.names) }

// In gives the keys of a Region of the same deployment.
func (k *Keys) In(region string) (*Keys, bool) {
	if region == k.cfg.Region {
		return k, true
	}
	other, ok := k.all.keys[region]
	return other, ok
}

// isMultiRegion says whether an id is one of a multi-Region key.
func isMultiRegion(id string) bool { return strings.HasPrefix(id, "mrk-") }

// regions are the Regions of all related keys, the primary's first.
func (m *MultiRegion) regions() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if !yield(m.Primary) {
			return
		}
		for _, region := range m.Replicas {
			if !yield(region) {
				return
			}
		}
	}
}

func (m *MultiRegion) same(o *MultiRegion) bool {
	return o != nil && m.Primary == o.Primary && slices.Equal(m.Replicas, o.Replicas)
}

// MultiRegionType is Primary or Replica; empty for a key of one Region.
func (k *Key) MultiRegionType() string {
	switch {
	case k.MultiRegion == nil:
		return ""
	case k.MultiRegion.Primary == k.Region:
		return Primary
	}
	return Replica
}

// RelatedARN is the ARN of the related multi-Region key in a Region, whether
// or not there is one.
func (k *Key) RelatedARN(region string) string { return keyARN(region, k.Account, k.ID) }

func keyARN(region, account, id string) string {
	return "arn:" + arn.Partition + ":kms:" + region + ":" + account + ":key/" + id
}

// boundName is what the boundary binds the key's material to (attribute 5 of
// its tokens, hsm-domain section 6): the ARN, or for a multi-Region key what
// all related keys have in common, so that one token serves them all and the
// same material has the same id.
func (k *Key) boundName() string {
	if k.MultiRegion != nil {
		return k.Account + "/" + k.ID
	}
	return k.ARN
}

// NeedPrimary refuses an operation that only a primary key has.
func (k *Key) NeedPrimary() error {
	if k.MultiRegionType() != Primary {
		return refuse(Unsupported, "%s is not a multi-region primary key.", k.ARN)
	}
	return nil
}

// A relative is one of several related keys while all of them are changed.
type relative struct {
	k    *Keys
	e    *entry  // nil: the key is being made
	cur  *Key    // the newest snapshot; nil: the key is being made
	next *Key    // what the key is to be
	more []kv.Op // that go with it, in the Region's own store
}

// lock takes the write locks of a key and of all its relatives, and reads
// again what is not to be trusted. Several locks of entries are taken in the
// order of their ids, and those of one id in the order of their Regions: here
// and in UpdateAlias.
func (k *Keys) lock(ctx context.Context, e *entry) (rs []*relative, unlock func(), err error) {
	set := func() []*relative {
		if !isMultiRegion(e.id) {
			return []*relative{{k: k, e: e}}
		}
		return k.all.relatives(e.id)
	}
	for {
		rs = set()
		for _, r := range rs {
			r.e.write.Lock()
		}
		unlock = func() {
			for _, r := range rs {
				r.e.write.Unlock()
			}
		}
		err = nil
		for _, r := range rs {
			if r.cur, err = r.k.fresh(ctx, r.e); err != nil {
				break
			}
		}
		// A relative that was made, destroyed or found meanwhile changes the set; with all locks held nothing does.
		same := slices.EqualFunc(rs, set(), func(a, b *relative) bool { return a.e == b.e })
		if same && err == nil {
			return rs, unlock, nil
		}
		unlock()
		if same {
			return nil, nil, err
		}
	}
}

func (all *regions) relatives(id string) (rs []*relative) {
	for _, k := range all.keys {
		if e, ok := k.entry(id); ok {
			rs = append(rs, &relative{k: k, e: e})
		}
	}
	slices.SortFunc(rs, func(a, b *relative) int { return cmp.Compare(a.k.cfg.Region, b.k.cfg.Region) })
	return rs
}

// A family is a key and its relatives, locked, with copies of their newest
// snapshots to edit.
type family struct {
	own *relative
	all []*relative // own among them, in the order of their Regions
}

// in is the relative in a Region; nil: there is none.
func (f *family) in(region string) *relative {
	for _, r := range f.all {
		if r.k.cfg.Region == region {
			return r
		}
	}
	return nil
}

// family takes the write locks of a key and of all its relatives.
func (k *Keys) family(ctx context.Context, e *entry) (f *family, unlock func(), err error) {
	rs, unlock, err := k.lock(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	f = &family{all: rs}
	for _, r := range rs {
		if r.e == e {
			f.own = r
		}
	}
	if f.own == nil {
		unlock()
		return nil, nil, missing(k.ARN(e.account, e.id))
	}
	return f, unlock, nil
}

// change replaces the records of a family by what edit makes of the copies
// (next), in one commit: a crash leaves either all as they were or all
// changed.
func (f *family) change(ctx context.Context, edit func() error) (err error) {
	k := f.own.k
	for _, r := range f.all {
		if r.cur, err = r.k.fresh(ctx, r.e); err != nil {
			return err
		}
		next := *r.cur.asOf(k.cfg.Clock.Now()) // a change builds on what the key is now, not on what it was
		r.next, r.more = &next, nil
	}
	if err := edit(); err != nil {
		return err
	}
	f.follow()
	if err := k.all.commit(ctx, f); err != nil {
		return err
	}
	for _, r := range f.all {
		r.cur = r.next
	}
	return nil
}

// changeFamily is family and one change of it.
func (k *Keys) changeFamily(ctx context.Context, e *entry, edit func(f *family) error) (*family, error) {
	f, unlock, err := k.family(ctx, e)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return f, f.change(ctx, func() error { return edit(f) })
}

// commit writes a family and shows it.
func (all *regions) commit(ctx context.Context, f *family) error {
	var conds []kv.Cond
	var ops []kv.Op
	for _, r := range f.all {
		value, err := r.next.encode()
		if err != nil {
			return fmt.Errorf("keys: encode %s: %w", r.next.ARN, err)
		}
		at := keyKey(r.next.Account, r.next.ID)
		cond := kv.Cond{Key: r.k.full(at)} // of a key that is being made: there is none
		if r.e != nil {
			cond.Mod = r.e.mod
		}
		conds = append(conds, cond)
		ops = append(ops, kv.Op{Key: r.k.full(at), Value: value})
		for _, op := range r.more {
			op.Key = r.k.full(op.Key)
			ops = append(ops, op)
		}
	}
	rev, err := all.whole.Commit(ctx, conds, ops)
	if err != nil {
		return all.doubt(ctx, f, err)
	}
	// A key may get a ciphertext of its relative's new material before it is shown with it itself: see materialOf.
	for _, r := range f.all {
		if r.e != nil && !r.next.destroyed {
			r.k.index(r.e, r.cur, r.next)
		}
	}
	for _, r := range f.all {
		switch {
		case r.e == nil:
			r.k.admit(r.next, rev)
		case r.next.destroyed:
			r.k.forget(r.e)
		default:
			r.e.mod = rev
			r.e.now.Store(r.next)
			r.k.schedule(r.next)
		}
	}
	return nil
}

// doubt is what follows a commit that failed (see Keys.commit): nothing of the
// family is used before it was read again. A replica that such a commit may
// have made is found through the records of its relatives.
func (all *regions) doubt(ctx context.Context, f *family, cause error) error {
	if errors.Is(cause, kv.ErrTooLarge) || errors.Is(cause, kv.ErrReadOnly) {
		return fmt.Errorf("keys: commit: %w", cause) // nothing was written
	}
	for _, r := range f.all {
		if r.e != nil {
			r.e.close()
		}
	}
	for _, r := range f.all {
		if r.e == nil {
			continue
		}
		if err := r.k.reload(context.WithoutCancel(ctx), r.e); err != nil {
			r.k.cfg.Log.Error("keys: key closed until the store can be read", "key", r.e.id, "error", err)
		}
	}
	return fmt.Errorf("keys: commit: %w", cause)
}

// adopt takes those relatives of a key into memory that are only in the store:
// replicas that a commit of unknown outcome made. The caller holds the key's
// write lock, so none of them can be destroyed meanwhile.
func (all *regions) adopt(ctx context.Context, key *Key) error {
	if key.MultiRegion == nil {
		return nil
	}
	all.adopting.Lock()
	defer all.adopting.Unlock()
	for region := range key.MultiRegion.regions() {
		k := all.keys[region]
		if k == nil {
			return fmt.Errorf("%w: %s has a related key in %s, which is not served", kv.ErrCorrupt, key.ARN, region)
		}
		if _, there := k.entry(key.ID); there || region == key.Region {
			continue
		}
		en, err := k.store.Get(ctx, keyKey(key.Account, key.ID))
		if err != nil {
			return err
		}
		if en.Mod == 0 {
			return fmt.Errorf("%w: %s has no related key in %s", kv.ErrCorrupt, key.ARN, region)
		}
		other, err := k.decode(en.Value)
		if err != nil {
			return err
		}
		if !other.destroyed {
			k.admit(other, en.Mod)
		}
	}
	return nil
}
