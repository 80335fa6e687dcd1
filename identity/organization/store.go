package organization

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
)

// How organizations rest in the store. Values are CBOR maps with small integer
// labels; times are Unix milliseconds.
//
//	H "organization" ORG               orgRecord
//	H "member" ACCOUNT                 memberRecord: what keeps an account in one organization
//	H "closed" ACCOUNT                 closedRecord: outlives the membership
//	H "unit" ORG UNIT                  unitRecord
//	H "policy" ORG POLICY              policyRecord
//	H "handshake" ORG HANDSHAKE        handshakeRecord
//	H "creation" ORG REQUEST           creationRecord

// Sections of table H.
const (
	sectionOrganization = "organization"
	sectionMember       = "member"
	sectionClosed       = "closed"
	sectionUnit         = "unit"
	sectionPolicy       = "policy"
	sectionHandshake    = "handshake"
	sectionCreation     = "creation"
)

type tagRecord struct {
	_     struct{} `cbor:",toarray"`
	Key   string
	Value string
}

type serviceRecord struct {
	_         struct{} `cbor:",toarray"`
	Principal string
	Since     int64
}

// An attachRecord is the policies of one type on one target. It counts only in
// the epoch in which the type was last enabled: before, and without one, the
// target has the full-access policy alone. So enabling and disabling a type is
// one record, however large the organization is.
type attachRecord struct {
	_        struct{} `cbor:",toarray"`
	Type     Type
	Epoch    uint64
	Policies []string
}

type typeRecord struct {
	_     struct{} `cbor:",toarray"`
	Type  Type
	Epoch uint64 // of this enabling; never 0, never used twice
}

type orgRecord struct {
	Management string          `cbor:"1,keyasint"`
	Created    int64           `cbor:"2,keyasint"`
	Root       string          `cbor:"3,keyasint"` // r-...
	Types      []typeRecord    `cbor:"4,keyasint,omitempty"`
	Attached   []attachRecord  `cbor:"5,keyasint,omitempty"` // to the root
	Tags       []tagRecord     `cbor:"6,keyasint,omitempty"` // of the root
	Services   []serviceRecord `cbor:"7,keyasint,omitempty"` // with access
	Delegation *delegateRecord `cbor:"8,keyasint,omitempty"`
	Sessions   bool            `cbor:"9,keyasint,omitempty"`  // root sessions
	Roots      bool            `cbor:"10,keyasint,omitempty"` // management of root credentials
	// Generation counts the changes. Every change of anything in the organization
	// writes this record, so that in the store too they take turns.
	Generation uint64 `cbor:"11,keyasint"`
}

// A delegateRecord is the organization's resource policy.
type delegateRecord struct {
	ID    string            `cbor:"1,keyasint"`
	Text  string            `cbor:"2,keyasint"`
	Bound map[string]string `cbor:"3,keyasint,omitempty"` // unique ids of the principals, by ARN (I-6)
	Tags  []tagRecord       `cbor:"4,keyasint,omitempty"`
}

type unitRecord struct {
	Parent   string         `cbor:"1,keyasint"`
	Name     string         `cbor:"2,keyasint"`
	Attached []attachRecord `cbor:"3,keyasint,omitempty"`
	Tags     []tagRecord    `cbor:"4,keyasint,omitempty"`
}

type memberRecord struct {
	Org       string          `cbor:"1,keyasint"`
	Parent    string          `cbor:"2,keyasint"`
	Email     string          `cbor:"3,keyasint,omitempty"`
	Created   bool            `cbor:"4,keyasint,omitempty"` // by the organization; else invited
	Joined    int64           `cbor:"5,keyasint"`
	Attached  []attachRecord  `cbor:"6,keyasint,omitempty"`
	Tags      []tagRecord     `cbor:"7,keyasint,omitempty"`
	Delegated []serviceRecord `cbor:"8,keyasint,omitempty"` // services it administers
}

type closedRecord struct {
	Since int64 `cbor:"1,keyasint"`
}

type policyRecord struct {
	Type        Type        `cbor:"1,keyasint"`
	Name        string      `cbor:"2,keyasint"`
	Description string      `cbor:"3,keyasint,omitempty"`
	Text        string      `cbor:"4,keyasint"`
	Tags        []tagRecord `cbor:"5,keyasint,omitempty"`
}

type handshakeRecord struct {
	Account   string      `cbor:"1,keyasint"`
	State     string      `cbor:"2,keyasint"`
	Requested int64       `cbor:"3,keyasint"`
	Expires   int64       `cbor:"4,keyasint"`
	Notes     string      `cbor:"5,keyasint,omitempty"`
	Tags      []tagRecord `cbor:"6,keyasint,omitempty"` // of the account, once it joined
}

type creationRecord struct {
	Name      string `cbor:"1,keyasint"`
	Account   string `cbor:"2,keyasint,omitempty"`
	Role      string `cbor:"3,keyasint,omitempty"`
	State     string `cbor:"4,keyasint"`
	Requested int64  `cbor:"5,keyasint"`
	Completed int64  `cbor:"6,keyasint,omitempty"`
	Reason    string `cbor:"7,keyasint,omitempty"`
}

// held is a record in memory. Both are immutable and replaced together.
type held[R any] struct {
	rec *R
	mod kv.Rev
}

// state is everything, by id. Units, policies, handshakes and creations have the
// organization in front: "o-.../ou-...".
type state struct {
	orgs       map[string]held[orgRecord]
	members    map[string]held[memberRecord]
	closed     map[string]held[closedRecord]
	units      map[string]map[string]held[unitRecord]
	policies   map[string]map[string]held[policyRecord]
	handshakes map[string]map[string]held[handshakeRecord]
	creations  map[string]map[string]held[creationRecord]

	compiled map[string]*policy.Document // by policy id; nil: cannot be read any more
	// delegations are the compiled resource policies, by organization.
	delegations map[string]*policy.Document
}

func newState() state {
	return state{
		orgs: make(map[string]held[orgRecord]), members: make(map[string]held[memberRecord]), closed: make(map[string]held[closedRecord]),
		units: make(map[string]map[string]held[unitRecord]), policies: make(map[string]map[string]held[policyRecord]),
		handshakes: make(map[string]map[string]held[handshakeRecord]), creations: make(map[string]map[string]held[creationRecord]),
		compiled: make(map[string]*policy.Document), delegations: make(map[string]*policy.Document),
	}
}

func key(section, id string) kv.Key        { return kv.Table('H').Text(section).Text(id) }
func keyIn(section, org, id string) kv.Key { return key(section, org).Text(id) }
func set[R any](m map[string]held[R], id string, rec *R, mod kv.Rev) {
	if rec == nil {
		delete(m, id)
		return
	}
	m[id] = held[R]{rec, mod}
}

func setIn[R any](m map[string]map[string]held[R], org, id string, rec *R, mod kv.Rev) {
	if m[org] == nil {
		m[org] = make(map[string]held[R])
	}
	set(m[org], id, rec, mod)
	if len(m[org]) == 0 {
		delete(m, org)
	}
}

// A tx collects what one change writes. Every record that is replaced is
// conditional on the revision it was read at, every new one on its absence.
type tx struct {
	conds []kv.Cond
	ops   []kv.Op
	err   error
}

func (t *tx) put(k kv.Key, record any, mod kv.Rev) {
	value, err := cbor.Marshal(record)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("organization: encode record: %w", err)
	}
	t.conds = append(t.conds, kv.Cond{Key: k, Mod: mod})
	t.ops = append(t.ops, kv.Op{Key: k, Value: value})
}

func (t *tx) delete(k kv.Key, mod kv.Rev) {
	t.conds = append(t.conds, kv.Cond{Key: k, Mod: mod})
	t.ops = append(t.ops, kv.Op{Key: k, Delete: true})
}

// drop deletes everything under a prefix. The caller guards it by the
// organization's record, which every change of what is under it writes.
func (t *tx) drop(prefix kv.Key) {
	start, end := prefix.Prefix()
	t.ops = append(t.ops, kv.Op{Key: start, EndKey: end, Delete: true})
}

// attempts bounds how often a change is tried again after somebody else
// changed the same organization.
const attempts = 8

// change runs build against the state as it is, commits what it collected, and
// publishes it before returning (I-5). Writers take turns, so build reads the
// state without its lock; conflicts come only from other processes.
func (o *Organizations) change(ctx context.Context, build func(t *tx) error) error {
	o.write.Lock()
	defer o.write.Unlock()
	if o.stale {
		if err := o.reload(ctx); err != nil {
			return err
		}
	}
	for range attempts {
		var t tx
		if err := build(&t); err != nil {
			return err
		}
		if t.err != nil {
			return t.err
		}
		if len(t.ops) == 0 {
			return nil
		}
		rev, err := o.store.Commit(ctx, t.conds, t.ops)
		switch _, conflict := errors.AsType[*kv.ConflictError](err); {
		case err == nil:
			return o.publish(t.ops, rev)
		case conflict:
			if err := o.reload(ctx); err != nil {
				return err
			}
		case errors.Is(err, kv.ErrTooLarge):
			return violates("POLICY_CONTENT_LIMIT_EXCEEDED", "The change is too large to be stored.")
		case errors.Is(err, kv.ErrReadOnly):
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		default:
			// Whether it was written is not known. What is in force must be what is
			// stored, so that it is read anew, now or before the next change.
			o.stale = true
			if again := o.reload(context.WithoutCancel(ctx)); again != nil {
				err = errors.Join(err, again)
			}
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return refuse(ConcurrentModification, "The target of the operation is currently being modified by a different request. Try again later.")
}

// org writes the organization's record with the change that edit makes to it.
func (t *tx) org(id string, h held[orgRecord], edit func(*orgRecord)) {
	rec := *h.rec
	if edit != nil {
		edit(&rec)
	}
	rec.Generation++
	t.put(key(sectionOrganization, id), &rec, h.mod)
}

// publish makes a commit visible to readers, all of it at once.
func (o *Organizations) publish(ops []kv.Op, rev kv.Rev) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for _, op := range ops {
		switch {
		case op.EndKey != nil:
			section, rest, err := kv.ReadText(op.Key[1:])
			if err != nil {
				return corrupt(err)
			}
			org, _, err := kv.ReadText(rest)
			if err != nil {
				return corrupt(err)
			}
			o.st.forget(section, org)
		case op.Delete:
			errs = append(errs, o.st.apply(op.Key, nil, 0))
		default:
			errs = append(errs, o.st.apply(op.Key, op.Value, rev))
		}
	}
	o.derive()
	return errors.Join(errs...)
}

// reload reads everything anew. Caller holds write.
func (o *Organizations) reload(ctx context.Context) error {
	st := newState()
	if err := scan(ctx, o.store, func(e kv.Entry) error { return st.apply(e.Key, e.Value, e.Mod) }); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// Documents that did not change keep their pointers.
	for id, doc := range st.compiled {
		if old := o.st.compiled[id]; old != nil && doc != nil && old.Kind() == doc.Kind() && string(old.Text()) == string(doc.Text()) && old.Label() == doc.Label() {
			st.compiled[id] = old
		}
	}
	o.st = st
	o.derive()
	o.stale = false
	return nil
}

func scan(ctx context.Context, store kv.Store, f func(kv.Entry) error) error {
	for page, err := range kv.Pages(ctx, store, kv.Table('H'), kv.MaxScan) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		for _, e := range page {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply takes one entry of the store into memory; mod 0 is an absent one. Own
// commits and a restart come the same way.
func (s *state) apply(k, value []byte, mod kv.Rev) error {
	if len(k) == 0 {
		return corrupt(errors.New("empty key"))
	}
	section, rest, err := kv.ReadText(k[1:])
	if err != nil {
		return corrupt(err)
	}
	first, rest, err := kv.ReadText(rest)
	if err != nil {
		return corrupt(err)
	}
	switch section {
	case sectionOrganization:
		rec, err := decode[orgRecord](value, mod)
		if err != nil {
			return err
		}
		set(s.orgs, first, rec, mod)
		s.delegate(first, rec)
		return nil
	case sectionMember:
		rec, err := decode[memberRecord](value, mod)
		set(s.members, first, rec, mod)
		return err
	case sectionClosed:
		rec, err := decode[closedRecord](value, mod)
		set(s.closed, first, rec, mod)
		return err
	}
	id, _, err := kv.ReadText(rest)
	if err != nil {
		return corrupt(err)
	}
	switch section {
	case sectionUnit:
		rec, err := decode[unitRecord](value, mod)
		setIn(s.units, first, id, rec, mod)
		return err
	case sectionPolicy:
		rec, err := decode[policyRecord](value, mod)
		setIn(s.policies, first, id, rec, mod)
		s.compile(first, id, rec)
		return err
	case sectionHandshake:
		rec, err := decode[handshakeRecord](value, mod)
		setIn(s.handshakes, first, id, rec, mod)
		return err
	case sectionCreation:
		rec, err := decode[creationRecord](value, mod)
		setIn(s.creations, first, id, rec, mod)
		return err
	}
	return corrupt(errors.New("unknown section"))
}

// forget drops what an organization held in a section.
func (s *state) forget(section, org string) {
	switch section {
	case sectionUnit:
		delete(s.units, org)
	case sectionPolicy:
		for id := range s.policies[org] {
			delete(s.compiled, id)
		}
		delete(s.policies, org)
	case sectionHandshake:
		delete(s.handshakes, org)
	case sectionCreation:
		delete(s.creations, org)
	}
}

func decode[R any](value []byte, mod kv.Rev) (*R, error) {
	if mod == 0 {
		return nil, nil
	}
	rec := new(R)
	if err := cbor.Unmarshal(value, rec); err != nil {
		return nil, corrupt(err)
	}
	return rec, nil
}

// corrupt names no key: the error may be logged.
func corrupt(err error) error {
	return fmt.Errorf("organization: %w: %w", kv.ErrCorrupt, err)
}

// clone copies what a change is about to edit.
func clone[R any](h held[R]) *R {
	rec := *h.rec
	return &rec
}

// replaceLevels publishes the map that the hot path reads, with the old pointer
// for every account for which nothing changed.
func (o *Organizations) replaceLevels(next map[string]*Levels) {
	if old := o.levels.Load(); old != nil {
		for account, l := range next {
			if was := (*old)[account]; was != nil && was.same(l) {
				next[account] = was
			}
		}
		if maps.Equal(*old, next) {
			return
		}
	}
	o.levels.Store(&next)
}
