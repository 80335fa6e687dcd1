package directory

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
)

// A realm is one account in memory. Fields "guarded by write and mu" change
// only while both are held, so holding either is enough to read them.
type realm struct {
	account string

	write sync.Mutex // held by a change from its first read to its publication
	stale bool       // guarded by write: a commit's outcome is unknown, reload first

	mu         sync.RWMutex
	accountRec accountRecord                   // guarded by write and mu
	accountMod kv.Rev                          // guarded by write and mu; 0: no such account
	entities   map[string]*entity              // guarded by write and mu; by unique id
	order      [kinds][]listed                 // guarded by write and mu; by folded name; see order.go
	loading    bool                            // guarded by write and mu; order is not in order yet
	policies   map[string]*managed             // guarded by write and mu; by unique id
	byARN      map[string]*managed             // guarded by write and mu
	byName     map[string]*managed             // guarded by write and mu; by folded name
	versions   map[string]map[uint64]*version  // guarded by write and mu; by the policy's unique id
	keys       map[string]*key                 // guarded by write and mu; by access key id
	used       map[string]*use                 // guarded by write and mu; by access key id or role id
	users      map[string]map[*entity]struct{} // guarded by write and mu; policy ARN to who has it attached
	bounded    map[string]map[*entity]struct{} // guarded by write and mu; policy ARN to who has it as boundary
	members    map[string]map[*entity]struct{} // guarded by write and mu; unique id of a group to its users
	deletions  map[string]*deletionRecord      // guarded by write and mu; by task id

	// sorted are the folded names of the managed policies in order, made on demand
	// under mu and forgotten when names change.
	sorted atomic.Pointer[[]string]
}

// An entity is the place of one user, role, group or instance profile. rec is
// immutable and replaced.
type entity struct {
	realm  *realm
	rec    *entityRecord // guarded by realm.write and realm.mu; nil: deleted
	folded string        // guarded by realm.write and realm.mu; rec.Name
	mod    kv.Rev        // guarded by realm.write and realm.mu
	// snapshot is built on demand under realm.mu (shared) and forgotten under
	// realm.mu (exclusive) with each change of what it was built from.
	snapshot atomic.Pointer[Snapshot]
	used     *use // set once; nil: of a group or instance profile
}

// A managed is the place of one customer managed policy.
type managed struct {
	id, arn string
	rec     *policyRecord // guarded by realm.write and realm.mu
	mod     kv.Rev        // guarded by realm.write and realm.mu
}

// A version is immutable but for its compiled form, which is made on demand.
type version struct {
	text     string
	compiled atomic.Pointer[policy.Document]
}

// A key is the place of one access key.
type key struct {
	realm *realm
	rec   *keyRecord // guarded by realm.write and realm.mu
	mod   kv.Rev     // guarded by realm.write and realm.mu
	// credential is what authenticators see; nil: deleted.
	credential atomic.Pointer[Credential]
	used       *use // set once
}

func newRealm(account string) *realm {
	return &realm{
		account:  account,
		entities: make(map[string]*entity),
		policies: make(map[string]*managed),
		byARN:    make(map[string]*managed),
		byName:   make(map[string]*managed),
		versions: make(map[string]map[uint64]*version),
		keys:     make(map[string]*key),
		used:     make(map[string]*use),
		users:    make(map[string]map[*entity]struct{}),
		bounded:  make(map[string]map[*entity]struct{}),
		members:  make(map[string]map[*entity]struct{}),

		deletions: make(map[string]*deletionRecord),
	}
}

func (e *entity) arn() string {
	return arn.IAM(e.realm.account, e.rec.Kind.String(), e.rec.Path, e.rec.Name)
}

// setEntity replaces a user, role, group or instance profile; rec nil removes
// it. Caller holds r.mu.
func (d *Directory) setEntity(r *realm, id string, rec *entityRecord, mod kv.Rev) {
	e := r.entities[id]
	if e == nil {
		if rec == nil {
			return
		}
		e = &entity{realm: r}
		r.entities[id] = e
		if rec.Kind.principal() {
			e.used = r.useOf(id)
			defer d.principals.Store(id, e) // when it is whole
		}
	}
	old := e.rec
	r.list(e, rec)
	if old != nil {
		for _, p := range old.Attached {
			unlink(r.users, p, e)
		}
		unlink(r.bounded, old.Boundary, e)
		for _, g := range old.Groups {
			unlink(r.members, g, e)
		}
	}
	e.rec, e.mod = rec, mod
	e.snapshot.Store(nil)
	if old != nil && old.Kind == GroupKind && (rec == nil || !sameGrants(old, rec)) {
		r.forgetMembers(id)
	}
	if rec == nil {
		delete(r.entities, id)
		delete(r.used, id)
		d.principals.Delete(id)
		return
	}
	for _, p := range rec.Attached {
		link(r.users, p, e)
	}
	if rec.Boundary != "" {
		link(r.bounded, rec.Boundary, e)
	}
	for _, g := range rec.Groups {
		link(r.members, g, e)
	}
}

// sameGrants says whether two records carry the same policies.
func sameGrants(a, b *entityRecord) bool {
	return slices.Equal(a.Attached, b.Attached) && slices.Equal(a.Inline, b.Inline)
}

func link(to map[string]map[*entity]struct{}, at string, e *entity) {
	if to[at] == nil {
		to[at] = make(map[*entity]struct{})
	}
	to[at][e] = struct{}{}
}

func unlink(from map[string]map[*entity]struct{}, at string, e *entity) {
	delete(from[at], e)
	if len(from[at]) == 0 {
		delete(from, at)
	}
}

// setPolicy replaces a managed policy; rec nil removes it. Caller holds r.mu.
func (r *realm) setPolicy(id string, rec *policyRecord, mod kv.Rev) {
	m := r.policies[id]
	if rec == nil {
		if m != nil {
			delete(r.policies, id)
			delete(r.byARN, m.arn)
			delete(r.byName, fold(m.rec.Name))
			r.sorted.Store(nil)
			r.forget(m.arn)
		}
		return
	}
	if m == nil {
		// Name and path of a policy never change.
		m = &managed{id: id, arn: policyARN(r.account, rec)}
		r.policies[id], r.byARN[m.arn], r.byName[fold(rec.Name)] = m, m, m
		r.sorted.Store(nil)
	}
	if m.rec == nil || m.rec.Default != rec.Default {
		r.forget(m.arn)
	}
	m.rec, m.mod = rec, mod
}

func policyARN(account string, rec *policyRecord) string {
	return arn.IAM(account, PolicyKind.String(), rec.Path, rec.Name)
}

// setVersion replaces a version's text; rec nil removes it. Caller holds r.mu.
func (r *realm) setVersion(id string, n uint64, rec *versionRecord) {
	if rec == nil {
		delete(r.versions[id], n)
		if len(r.versions[id]) == 0 {
			delete(r.versions, id)
		}
		return
	}
	if r.versions[id] == nil {
		r.versions[id] = make(map[uint64]*version)
	}
	r.versions[id][n] = &version{text: rec.Text}
	if m := r.policies[id]; m != nil {
		r.forget(m.arn)
	}
}

// forget drops the snapshots that were built with a policy. Caller holds r.mu.
func (r *realm) forget(policyARN string) {
	for e := range r.users[policyARN] {
		e.snapshot.Store(nil)
		if e.rec.Kind == GroupKind {
			r.forgetMembers(e.rec.ID)
		}
	}
	for e := range r.bounded[policyARN] {
		e.snapshot.Store(nil)
	}
}

// setKey replaces an access key; rec nil removes it. Caller holds r.mu.
func (d *Directory) setKey(r *realm, id string, rec *keyRecord, mod kv.Rev) {
	k := r.keys[id]
	if rec == nil {
		if k != nil {
			k.credential.Store(nil)
			delete(r.keys, id)
			delete(r.used, id)
			d.credentials.Delete(id)
		}
		return
	}
	if k == nil {
		k = &key{realm: r, used: r.useOf(id)}
		r.keys[id] = k
	}
	k.rec, k.mod = rec, mod
	k.credential.Store(&Credential{
		AccessKeyID: id, Account: r.account, PrincipalID: rec.User,
		Sealed: rec.Sealed, Active: rec.Active, SessionsSince: instant(rec.Since),
	})
	d.credentials.Store(id, k)
}

// find returns an entity by name. Caller holds r.write or r.mu.
func (r *realm) find(kind Kind, name string) (*entity, error) {
	if i, ok := r.place(kind, fold(name)); ok {
		return r.order[kind][i].e, nil
	}
	return nil, noSuch(kind, name)
}

// policyNames returns the folded names of the managed policies in order.
// Caller holds r.mu.
func (r *realm) policyNames() []string {
	if s := r.sorted.Load(); s != nil {
		return *s
	}
	s := slices.Sorted(maps.Keys(r.byName))
	r.sorted.Store(&s)
	return s
}

// recordKeys are the store's keys of everything that is in memory, for reload.
// Caller holds r.write.
func (r *realm) recordKeys() []kv.Key {
	var keys []kv.Key
	for id := range r.entities {
		keys = append(keys, recordKey(r.account, sectionEntity, id))
	}
	for id := range r.policies {
		keys = append(keys, recordKey(r.account, sectionPolicy, id))
	}
	for id, versions := range r.versions {
		for n := range versions {
			keys = append(keys, versionKey(r.account, id, n))
		}
	}
	for id := range r.keys {
		keys = append(keys, recordKey(r.account, sectionKey, id))
	}
	for id := range r.deletions {
		keys = append(keys, recordKey(r.account, sectionDeletion, id))
	}
	return keys
}

// instant is a stored time; 0 is the zero Time.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
