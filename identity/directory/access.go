package directory

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/state/kv"
)

// Last accessed data: which user or role asked for which action last, and
// nothing else of the request. It is noted for every authenticated request
// whose action is known, allowed or not, as AWS does.

const (
	// AccessPeriod is how far back last accessed data goes; what is older is forgotten.
	AccessPeriod = 400 * 24 * time.Hour
	// accessGrain is how exact the times are. Within it a repeated use costs a few loads.
	accessGrain = int64(time.Hour / time.Millisecond)
	// maxAccessed bounds what is noted of one principal. There are fewer actions than that.
	maxAccessed = 1024
	// sweepEvery is how often everything is looked through for what is too old.
	sweepEvery = 24 * time.Hour
)

// An accessOf is an action: "kms" and "Decrypt".
type accessOf struct{ service, action string }

// An accessTime is when and where an action was asked for last.
type accessTime struct {
	ms     atomic.Int64
	region atomic.Pointer[string]
}

// An accessTable is replaced when an action is new, so that readers need no lock.
type accessTable map[accessOf]*accessTime

// An accessedRecord is a principal's last accessed data.
type accessedRecord struct {
	Actions []accessedAction `cbor:"1,keyasint"`
}

type accessedAction struct {
	_       struct{} `cbor:",toarray"`
	Service string
	Action  string
	Region  string
	Time    int64
}

// accesses are the principals whose last accessed data is not in the store yet.
type accesses struct {
	mu    sync.Mutex
	dirty map[string]*realm // guarded by mu; by unique id
	swept time.Time         // owned by run
}

// Accessed notes that a user or role (by unique id) asked for an action of a
// service now. It is cheap, and written to the store later.
func (d *Directory) Accessed(principal, service, action, region string) {
	v, ok := d.principals.Load(principal)
	if !ok {
		return
	}
	e := v.(*entity) // a user or role: nothing else is among the principals
	now := d.clock.Now().UnixMilli()
	if t := e.used.access.Load(); t != nil {
		if a := (*t)[accessOf{service, action}]; a != nil && now-a.ms.Load() < accessGrain {
			return
		}
	}
	d.note(e, principal, accessOf{service, action}, now, region)
}

// note is Accessed for what is new. It stands apart because it allocates.
func (d *Directory) note(e *entity, principal string, of accessOf, ms int64, region string) {
	d.accesses.mu.Lock()
	added := e.used.add(of, ms, region)
	d.accesses.mu.Unlock()
	if added {
		d.accessDirty(principal, e.realm)
	}
}

func (d *Directory) accessDirty(principal string, r *realm) {
	d.accesses.mu.Lock()
	defer d.accesses.mu.Unlock()
	if d.accesses.dirty == nil {
		d.accesses.dirty = make(map[string]*realm)
	}
	d.accesses.dirty[principal] = r
}

// add notes an action that is new, or newer. Caller holds accesses.mu.
func (u *use) add(of accessOf, ms int64, region string) bool {
	var old accessTable
	if t := u.access.Load(); t != nil {
		old = *t
	}
	if a := old[of]; a != nil {
		if a.ms.Load() < ms {
			a.region.Store(&region)
			a.ms.Store(ms)
		}
		return true
	}
	if len(old) >= maxAccessed {
		return false
	}
	next := make(accessTable, len(old)+1)
	maps.Copy(next, old)
	a := new(accessTime)
	a.ms.Store(ms)
	a.region.Store(&region)
	next[of] = a
	u.access.Store(&next)
	return true
}

// setAccessed takes stored data into memory. Caller holds r.mu.
func (d *Directory) setAccessed(r *realm, id string, rec *accessedRecord) {
	if rec == nil {
		return
	}
	u := r.useOf(id)
	d.accesses.mu.Lock()
	defer d.accesses.mu.Unlock()
	for _, a := range rec.Actions {
		u.add(accessOf{a.Service, a.Action}, a.Time, a.Region)
	}
}

// accessed is what is noted of a principal within the period, in the order of the names.
func (u *use) accessed(now time.Time) (actions []accessedAction) {
	t := u.access.Load()
	if t == nil {
		return nil
	}
	oldest := now.Add(-AccessPeriod).UnixMilli()
	for of, a := range *t {
		if ms := a.ms.Load(); ms > oldest {
			actions = append(actions, accessedAction{Service: of.service, Action: of.action, Region: *a.region.Load(), Time: ms})
		}
	}
	slices.SortFunc(actions, func(a, b accessedAction) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Action, b.Action))
	})
	return actions
}

// flushAccesses writes what Accessed noted. What cannot be written now is kept for later.
func (d *Directory) flushAccesses(ctx context.Context) error {
	d.accesses.mu.Lock()
	batch := d.accesses.dirty
	d.accesses.dirty = nil
	d.accesses.mu.Unlock()
	var failed error
	for id, r := range batch {
		if err := d.writeAccess(ctx, r, id); err != nil {
			failed = err
			d.accessDirty(id, r)
		}
	}
	return failed
}

func (d *Directory) writeAccess(ctx context.Context, r *realm, id string) error {
	r.mu.RLock()
	u := r.used[id]
	r.mu.RUnlock()
	if u == nil {
		return nil // deleted meanwhile
	}
	var t tx
	key := recordKey(r.account, sectionAccessed, id)
	if actions := u.accessed(d.clock.Now()); len(actions) > 0 {
		t.putAlways(key, accessedRecord{actions})
	} else {
		t.drop(key)
	}
	// Only beside its owner: a deleted principal must not leave a record behind.
	t.conds = append(t.conds, kv.Cond{Key: recordKey(r.account, sectionEntity, id), Not: true})
	if t.err != nil {
		return t.err
	}
	_, err := d.store.Commit(ctx, t.conds, t.ops)
	if _, gone := errors.AsType[*kv.ConflictError](err); gone {
		return nil
	}
	return err
}

// sweepAccesses forgets what is older than the period, once a day. Only run calls it.
func (d *Directory) sweepAccesses() {
	now := d.clock.Now()
	if now.Sub(d.accesses.swept) < sweepEvery {
		return
	}
	d.accesses.swept = now
	oldest := now.Add(-AccessPeriod).UnixMilli()
	d.principals.Range(func(id, v any) bool {
		e := v.(*entity)
		t := e.used.access.Load()
		if t == nil {
			return true
		}
		old := 0
		for _, a := range *t {
			if a.ms.Load() <= oldest {
				old++
			}
		}
		if old == 0 {
			return true
		}
		d.accesses.mu.Lock()
		next := maps.Clone(*e.used.access.Load())
		maps.DeleteFunc(next, func(_ accessOf, a *accessTime) bool { return a.ms.Load() <= oldest })
		e.used.access.Store(&next)
		d.accesses.mu.Unlock()
		d.accessDirty(id.(string), e.realm)
		return true
	})
}
