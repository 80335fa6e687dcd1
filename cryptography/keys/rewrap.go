package keys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/state/kv"
)

// After the boundary's domain key was rotated all tokens are sealed anew under
// the next one, in the background (hsm-domain section 8): those of all
// materials of all keys in all Regions, and of the custom key stores.
//
// The boundary works while nobody waits: a token is sealed anew without any
// lock, and takes its place only if the record still has the very token that
// it was made from. A rotation, an import, a fence or a deletion that came in
// between wins, and its token is seen by the next pass. Nothing about a pass is
// stored: a token says itself which domain key it needs, so that what a crash
// left is simply found again.

// A Rewrap says how tokens are to be sealed anew.
type Rewrap struct {
	Active hsm.DomainKeyID                                       // whose tokens are in order
	Seal   func(ctx context.Context, ekt []byte) ([]byte, error) // (*hsm.Client).Rewrap
	// InFlight is how many tokens the boundary is given at once, and so the most that a caller's request can have to
	// wait for; zero: 8.
	InFlight int
	Rate     int           // tokens a second at most; zero: as many as there is time for
	Done     func(now int) // hears of tokens that are durable; nil: nobody does
}

// Rewrapped is what a pass did.
type Rewrapped struct {
	Tokens  int // sealed anew and durable
	Refused int // the boundary does not seal them anew: expired, of a later version, or of a domain that it does not know
}

const (
	rewrapInFlight = 8
	rewrapRecords  = kv.MaxOps/2 - 4  // of one commit: each has a condition and an operation
	rewrapBytes    = kv.MaxCommit / 2 // of one commit, about
)

// Rewrap makes one pass over all tokens of all Regions, in the order of the
// keys' ids.
func (k *Keys) Rewrap(ctx context.Context, how Rewrap) (done Rewrapped, err error) {
	if how.InFlight == 0 {
		how.InFlight = rewrapInFlight
	}
	p := &rewrapPass{how: how, all: k.all, clock: k, began: k.cfg.Clock.Now()}
	for _, region := range k.all.names {
		if err := k.all.keys[region].RewrapStores(ctx, p.sealStore); err != nil {
			return p.result(), err
		}
	}
	ids := map[string]bool{}
	for _, region := range k.all.names {
		k.all.keys[region].byID.Range(func(id, v any) bool {
			if cur := v.(*entry).now.Load(); cur != nil && slices.ContainsFunc(cur.tokens(), p.old) {
				ids[id.(string)] = true
			}
			return true
		})
	}
	// The boundary seals the next batch while the store takes the one before.
	sealed := make(chan sealedBatch)
	var ahead sync.WaitGroup
	defer ahead.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait
	ahead.Go(func() {
		defer close(sealed)
		for batch := range p.batches(slices.Sorted(maps.Keys(ids))) {
			next := p.prepare(ctx, batch)
			select {
			case sealed <- next:
			case <-ctx.Done():
				return
			}
			if next.err != nil {
				return
			}
		}
	})
	for next := range sealed {
		if err := p.take(ctx, next); err != nil {
			return p.result(), err
		}
	}
	return p.result(), ctx.Err()
}

// DomainKeys counts the tokens under each of the boundary's domain keys, in all
// Regions. It fails while what the store holds is not known for certain.
func (k *Keys) DomainKeys() (map[hsm.DomainKeyID]int, error) {
	found := map[hsm.DomainKeyID]int{}
	var err error
	note := func(ekt []byte, stale bool, what string) {
		id, ok := hsm.DomainKeyOf(ekt)
		if !ok || stale {
			err = fmt.Errorf("keys: the tokens of %s are not known for certain", what)
		}
		found[id]++
	}
	for _, region := range k.all.names {
		r := k.all.keys[region]
		r.byID.Range(func(id, v any) bool {
			if cur := v.(*entry).now.Load(); cur != nil {
				for _, ekt := range cur.tokens() {
					note(ekt, cur.stale, cur.ARN)
				}
			}
			return true
		})
		r.stores.mu.RLock()
		for id, e := range r.stores.byID {
			if s := e.now.Load(); len(s.ekt) > 0 || s.stale {
				note(s.ekt, s.stale, id)
			}
		}
		r.stores.mu.RUnlock()
	}
	return found, err
}

// rewrapPass is one pass under way.
type rewrapPass struct {
	how   Rewrap
	all   *regions
	clock *Keys
	began time.Time

	mu   sync.Mutex
	done Rewrapped // guarded by mu
}

// sealedBatch is what the boundary made for some keys.
type sealedBatch struct {
	ids   []string
	fresh map[string][]byte // old token -> new one; nil: refused
	err   error
}

func (p *rewrapPass) result() Rewrapped {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// batches parts keys so that the records of each part fit into one commit.
func (p *rewrapPass) batches(ids []string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		var batch []string
		records, size := 0, 0
		for _, id := range ids {
			n, bytes := p.weight(id)
			if len(batch) > 0 && (records+n > rewrapRecords || size+bytes > rewrapBytes) {
				if !yield(batch) {
					return
				}
				batch, records, size = nil, 0, 0
			}
			batch, records, size = append(batch, id), records+n, size+bytes
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

// old says whether a token is under another domain key than the active one.
func (p *rewrapPass) old(ekt []byte) bool {
	id, ok := hsm.DomainKeyOf(ekt)
	return ok && id != p.how.Active
}

func (p *rewrapPass) sealStore(ctx context.Context, ekt []byte) ([]byte, error) {
	if !p.old(ekt) {
		return ekt, nil
	}
	fresh, err := p.how.Seal(ctx, ekt)
	if err == nil {
		p.note(1)
	}
	return fresh, err
}

func (p *rewrapPass) note(n int) {
	p.mu.Lock()
	p.done.Tokens += n
	p.mu.Unlock()
	if p.how.Done != nil {
		p.how.Done(n)
	}
}

// weight is how many records a key has, and about how many bytes they are.
func (p *rewrapPass) weight(id string) (records, bytes int) {
	for _, r := range p.all.relatives(id) {
		if cur := r.e.now.Load(); cur != nil {
			records++
			bytes += 2048 + len(cur.policy.text) + len(cur.Public) + 512*len(cur.Tags)
			for _, ekt := range cur.tokens() {
				bytes += len(ekt) + 256
			}
		}
	}
	return records, bytes
}

// prepare has the boundary seal the tokens of some keys anew.
func (p *rewrapPass) prepare(ctx context.Context, ids []string) sealedBatch {
	out := sealedBatch{ids: ids, fresh: map[string][]byte{}}
	for _, id := range ids {
		for _, r := range p.all.relatives(id) {
			cur := r.e.now.Load()
			if cur == nil {
				continue
			}
			for _, ekt := range cur.asOf(p.clock.now()).tokens() {
				if p.old(ekt) {
					out.fresh[string(ekt)] = nil
				}
			}
		}
	}
	out.err = p.seal(ctx, out.fresh)
	return out
}

// take writes a batch in one commit.
func (p *rewrapPass) take(ctx context.Context, b sealedBatch) error {
	if b.err != nil {
		return b.err
	}
	n, err := p.put(ctx, b.ids, b.fresh)
	if errors.Is(err, kv.ErrTooLarge) && len(b.ids) > 1 {
		// The records are larger than they seemed. Nothing was written.
		half := len(b.ids) / 2
		return errors.Join(
			p.take(ctx, sealedBatch{ids: b.ids[:half], fresh: b.fresh}),
			p.take(ctx, sealedBatch{ids: b.ids[half:], fresh: b.fresh}))
	}
	if err != nil {
		return fmt.Errorf("keys: rewrap: %w", err)
	}
	p.note(n)
	return p.pace(ctx)
}

// seal asks the boundary for the new tokens. Related keys have one token, and
// it stays one. One that the boundary refuses stays as it is.
func (p *rewrapPass) seal(ctx context.Context, fresh map[string][]byte) error {
	var mu sync.Mutex // guards fresh's values and problem
	var problem error
	var workers sync.WaitGroup
	work := make(chan string)
	for range min(p.how.InFlight, len(fresh)) {
		workers.Go(func() {
			for ekt := range work {
				sealed, err := p.how.Seal(ctx, []byte(ekt))
				mu.Lock()
				switch {
				case err == nil:
					fresh[ekt] = sealed
				case errors.Is(err, hsm.ErrDenied), errors.Is(err, hsm.ErrWrongToken), errors.Is(err, hsm.ErrStale):
					p.mu.Lock()
					p.done.Refused++
					p.mu.Unlock()
				default:
					problem = err
				}
				mu.Unlock()
			}
		})
	}
	for _, ekt := range slices.Collect(maps.Keys(fresh)) {
		work <- ekt
	}
	close(work)
	workers.Wait()
	if problem != nil {
		return fmt.Errorf("keys: rewrap: %w", problem)
	}
	return nil
}

// put gives the records of some keys their new tokens, where they still have
// the old ones, and says how many tokens that were. The locks of all of them
// are held for the commit and no longer; they are taken in the order that lock
// prescribes.
func (p *rewrapPass) put(ctx context.Context, ids []string, fresh map[string][]byte) (n int, err error) {
	f := &family{}
	used := map[string]bool{}
	for _, id := range ids { // sorted
		rs := p.all.relatives(id)
		for _, r := range rs {
			r.e.write.Lock()
			defer r.e.write.Unlock()
		}
		// A relative that was made or has gone since is for the next pass.
		if !slices.EqualFunc(rs, p.all.relatives(id), func(a, b *relative) bool { return a.e == b.e }) {
			continue
		}
		for _, r := range rs {
			if r.cur, err = r.k.fresh(ctx, r.e); err != nil {
				if gone(err) == nil {
					continue
				}
				return 0, err
			}
			if r.next = r.cur.resealed(p.clock.now(), fresh, used); r.next != nil {
				f.all = append(f.all, r)
			}
		}
	}
	if len(f.all) == 0 {
		return 0, nil
	}
	return len(used), p.all.commit(ctx, f)
}

// resealed is the key with other tokens for the same materials; nil: there is
// nothing to replace.
func (k *Key) resealed(now time.Time, fresh map[string][]byte, used map[string]bool) *Key {
	next := *k.asOf(now)
	next.materials = slices.Clone(next.materials)
	changed := false
	for i := range next.materials {
		m := &next.materials[i]
		if sealed := fresh[string(m.EKT)]; len(m.EKT) > 0 && sealed != nil {
			used[string(m.EKT)] = true
			m.EKT, changed = sealed, true
		}
	}
	if !changed {
		return nil
	}
	if !k.expired(now) {
		next.same = sameKey{self: &next, as: k.meaning()}
	}
	return &next
}

// pace waits until the rate allows for more.
func (p *rewrapPass) pace(ctx context.Context) error {
	if p.how.Rate > 0 {
		due := p.began.Add(time.Duration(p.result().Tokens) * time.Second / time.Duration(p.how.Rate))
		if wait := due.Sub(p.clock.cfg.Clock.Now()); wait > 0 {
			select {
			case <-ctx.Done():
			case <-p.clock.cfg.Clock.After(wait):
			}
		}
	}
	return ctx.Err()
}

// sameKey says of a snapshot that it differs from another one in nothing but
// its tokens. It counts only in the very snapshot that it was made for: a copy
// that is changed does not take it along.
type sameKey struct {
	self *Key
	as   weak.Pointer[Key] // weak, so that no snapshot is kept for its name alone
}

// meaning stands for everything about a snapshot that a decision can depend on:
// equal for snapshots that differ in their tokens alone. A use that was
// authorised on one of them need not be authorised again.
func (k *Key) meaning() weak.Pointer[Key] {
	if k.same.self == k {
		return k.same.as
	}
	return weak.Make(k)
}
