package keys

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/state/kv"
)

// A Grant lets one principal do some operations with one key. It never
// changes; it is there or it is not.
type Grant struct {
	ID, KeyID, KeyARN    string
	Name                 string
	Grantee, GranteeID   string // ARN as given, and the unique id that it had then
	Retiring, RetiringID string
	Issuer               string // account whose principal made the grant
	Operations           []string
	Subset, Equals       map[string]string // constraints on the encryption context; nil: none
	Created              time.Time
}

type grantRecord struct {
	Version    int               `cbor:"1,keyasint"`
	ID         string            `cbor:"2,keyasint"`
	KeyID      string            `cbor:"3,keyasint"`
	KeyARN     string            `cbor:"4,keyasint"`
	Name       string            `cbor:"5,keyasint,omitempty"`
	Grantee    string            `cbor:"6,keyasint"`
	GranteeID  string            `cbor:"7,keyasint,omitempty"`
	Retiring   string            `cbor:"8,keyasint,omitempty"`
	RetiringID string            `cbor:"9,keyasint,omitempty"`
	Issuer     string            `cbor:"10,keyasint"`
	Operations []string          `cbor:"11,keyasint"`
	Subset     map[string]string `cbor:"12,keyasint,omitempty"`
	Equals     map[string]string `cbor:"13,keyasint,omitempty"`
	Created    int64             `cbor:"14,keyasint"` // ms
}

func (g *Grant) encode() ([]byte, error) {
	return marshal(&grantRecord{
		recordVersion, g.ID, g.KeyID, g.KeyARN, g.Name, g.Grantee, g.GranteeID, g.Retiring, g.RetiringID, g.Issuer,
		g.Operations, g.Subset, g.Equals, g.Created.UnixMilli(),
	})
}

func (k *Keys) decodeGrant(value []byte) (*Grant, error) {
	var r grantRecord
	if err := cbor.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("grant record: %w", err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("grant record %s: unknown version %d", r.ID, r.Version)
	}
	return &Grant{
		r.ID, r.KeyID, r.KeyARN, r.Name, r.Grantee, r.GranteeID, r.Retiring, r.RetiringID, r.Issuer,
		r.Operations, r.Subset, r.Equals, time.UnixMilli(r.Created).UTC(),
	}, nil
}

// who is what a principal is found by: the unique id where it has one.
func who(principalARN, id string) string {
	if id != "" {
		return id
	}
	return principalARN
}

// places are the store keys of a grant: the record first, then its indexes.
func (g *Grant) places() []kv.Key {
	p := []kv.Key{
		kv.Table('G').Text(g.KeyID).Text(g.ID),
		kv.Table('g').Text("grantee").Text(who(g.Grantee, g.GranteeID)).Text(g.KeyID).Text(g.ID),
	}
	if g.Retiring != "" {
		p = append(p, kv.Table('g').Text("retiring").Text(who(g.Retiring, g.RetiringID)).Text(g.KeyID).Text(g.ID))
	}
	return p
}

// A grantSet holds the grants of one key. Readers and the one writer (who
// holds the entry's write lock) meet under mu, for as long as a map access
// takes.
type grantSet struct {
	mu        sync.RWMutex
	byID      map[string]*Grant   // guarded by mu
	byGrantee map[string][]*Grant // guarded by mu; a list is replaced, never changed
	byShape   map[[32]byte]*Grant // guarded by mu; named grants, for idempotency
}

func (s *grantSet) add(g *Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLocked(g)
}

func (s *grantSet) addLocked(g *Grant) {
	if s.byID == nil {
		s.byID, s.byGrantee, s.byShape = map[string]*Grant{}, map[string][]*Grant{}, map[[32]byte]*Grant{}
	}
	s.byID[g.ID] = g
	w := who(g.Grantee, g.GranteeID)
	// append into free room behind a list that readers hold is harmless: they never look behind their end.
	s.byGrantee[w] = append(s.byGrantee[w], g)
	if g.Name != "" {
		s.byShape[g.shape()] = g
	}
}

func (s *grantSet) remove(g *Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, g.ID)
	w := who(g.Grantee, g.GranteeID)
	if rest := slices.DeleteFunc(slices.Clone(s.byGrantee[w]), func(o *Grant) bool { return o.ID == g.ID }); len(rest) > 0 {
		s.byGrantee[w] = rest
	} else {
		delete(s.byGrantee, w)
	}
	if g.Name != "" {
		delete(s.byShape, g.shape())
	}
}

func (s *grantSet) replace(gs []*Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID, s.byGrantee, s.byShape = nil, nil, nil
	for _, g := range gs {
		s.addLocked(g)
	}
}

func (s *grantSet) get(id string) (*Grant, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g, ok := s.byID[id]
	return g, ok
}

func (s *grantSet) of(grantee string) []*Grant {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byGrantee[grantee]
}

func (s *grantSet) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byID)
}

func (s *grantSet) shaped(shape [32]byte) *Grant {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byShape[shape]
}

// shape identifies a named grant by everything that its author chose: the
// same name and the same parameters are the same grant (kms-api section 7).
func (g *Grant) shape() [32]byte {
	ops := slices.Clone(g.Operations)
	slices.Sort(ops)
	b, err := marshal(&grantRecord{
		Name: g.Name, Grantee: who(g.Grantee, g.GranteeID), Retiring: who(g.Retiring, g.RetiringID), Issuer: g.Issuer,
		Operations: ops, Subset: g.Subset, Equals: g.Equals,
	})
	if err != nil {
		return sha256.Sum256([]byte(g.ID)) // not encodable: equal to nothing but itself
	}
	return sha256.Sum256(b)
}

// Grants are the grants of the key for any of the grantees (unique ids or
// ARNs) that list the operation and whose constraints the encryption context
// meets, in the form that the policy engine takes. It reads the grants as they
// are now, not as they were when the snapshot was made: a grant counts until
// the moment it is revoked, not until that is noticed.
func (k *Key) Grants(grantees []string, operation string, encCtx map[string]string) []authz.Grant {
	return k.entry.grants.matching(grantees, operation, func(g *Grant) bool {
		return unconstrained(operation) || g.admits(encCtx)
	})
}

// HasGrants says whether the key has any grant at all.
func (k *Key) HasGrants() bool { return k.entry.grants.len() > 0 }

// Parents are the grants by which one of the grantees may make the grant n:
// those that list CreateGrant, hold every operation of n, and are no stricter
// than n is (kms-api section 7).
func (k *Key) Parents(grantees []string, n *NewGrant) []authz.Grant {
	return k.entry.grants.matching(grantees, "CreateGrant", func(g *Grant) bool { return g.begets(n) })
}

// matching goes through the grants of the grantees only, however many others
// the key has.
func (s *grantSet) matching(grantees []string, operation string, usable func(*Grant) bool) (out []authz.Grant) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.byID) == 0 {
		return nil
	}
	for i, w := range grantees {
		if w == "" || slices.Contains(grantees[:i], w) {
			continue
		}
		for _, g := range s.byGrantee[w] {
			if slices.Contains(g.Operations, operation) && usable(g) {
				out = append(out, g.forEngine(operation))
			}
		}
	}
	return out
}

// forEngine drops the constraints where they do not apply to the operation's
// own context, or have been checked here already.
func (g *Grant) forEngine(operation string) authz.Grant {
	a := authz.Grant{ID: g.ID, Grantee: g.Grantee, GranteeID: g.GranteeID, Operations: g.Operations}
	if !unconstrained(operation) {
		a.Subset, a.Equals = g.Subset, g.Equals
	}
	return a
}

// unconstrained operations carry no encryption context, and constraints do not
// touch them. CreateGrant is here because a constraint of the parent is about
// the child's constraints (see begets).
func unconstrained(operation string) bool {
	switch operation {
	case "DescribeKey", "RetireGrant", "GetPublicKey", "CreateGrant":
		return true
	}
	return false
}

// admits says whether an encryption context meets the constraints: names
// without regard to case, values exactly. Of several names that differ only in
// case all must have the value: an ambiguous context gets nothing more than a
// clear one.
func (g *Grant) admits(encCtx map[string]string) bool {
	for _, pairs := range []map[string]string{g.Subset, g.Equals} {
		for name, value := range pairs {
			found := false
			for n, v := range encCtx {
				if strings.EqualFold(n, name) {
					if v != value {
						return false
					}
					found = true
				}
			}
			if !found {
				return false
			}
		}
	}
	return g.Equals == nil || len(encCtx) == len(g.Equals)
}

// begets says whether g covers a grant that its grantee wants to make: fewer
// or the same operations, equally strict or stricter constraints.
func (g *Grant) begets(n *NewGrant) bool {
	for _, op := range n.Operations {
		if !slices.Contains(g.Operations, op) {
			return false
		}
	}
	if g.Equals != nil && !samePairs(g.Equals, n.Equals) {
		return false
	}
	if g.Subset == nil {
		return true
	}
	// Either constraint of the child makes every context that it admits hold the parent's pairs.
	return within(g.Subset, n.Subset) || within(g.Subset, n.Equals)
}

func samePairs(a, b map[string]string) bool { return b != nil && len(a) == len(b) && within(a, b) }

// within says whether b holds all pairs of a, names without regard to case.
func within(a, b map[string]string) bool {
	for name, value := range a {
		found := false
		for n, v := range b {
			found = found || strings.EqualFold(n, name) && v == value
		}
		if !found {
			return false
		}
	}
	return true
}

// A NewGrant is what a customer wants granted.
type NewGrant struct {
	Name              string
	Grantee, Retiring string // ARNs; Retiring may be empty
	Issuer            string // account of the caller
	Operations        []string
	Subset, Equals    map[string]string
}

func (k *Keys) grantOf(key *Key, n *NewGrant) (*Grant, error) {
	g := &Grant{
		ID: id.Hex(32), KeyID: key.ID, KeyARN: key.ARN, Name: n.Name, Grantee: n.Grantee, Retiring: n.Retiring,
		Issuer: n.Issuer, Subset: nilIfEmpty(n.Subset), Equals: nilIfEmpty(n.Equals), Created: k.now(),
	}
	for _, op := range n.Operations {
		if !key.grantable(op) {
			return nil, refuse(Validation, "Grant operation %s is not supported for KeyUsage %s.", op, key.Usage)
		}
		if !slices.Contains(g.Operations, op) {
			g.Operations = append(g.Operations, op)
		}
	}
	if len(g.Operations) == 0 {
		return nil, refuse(Validation, "A grant must allow at least one operation.")
	}
	for _, pairs := range []map[string]string{g.Subset, g.Equals} {
		if pairs != nil && !key.Symmetric() {
			return nil, refuse(Validation, "Encryption context constraints are valid only in grants on symmetric encryption keys.")
		}
		if err := checkConstraint(pairs); err != nil {
			return nil, err
		}
	}
	var err error
	if g.GranteeID, err = k.principal(n.Grantee); err != nil {
		return nil, err
	}
	if n.Retiring != "" {
		if g.RetiringID, err = k.principal(n.Retiring); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func nilIfEmpty(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

const (
	maxConstraintPairs = 8
	maxConstraintValue = 384 // characters
)

func checkConstraint(pairs map[string]string) error {
	if len(pairs) > maxConstraintPairs {
		return refuse(Validation, "A grant constraint can have at most %d encryption context pairs.", maxConstraintPairs)
	}
	seen := make([]string, 0, len(pairs))
	for name, value := range pairs {
		if utf8.RuneCountInString(value) > maxConstraintValue {
			return refuse(Validation, "A value in a grant constraint can have at most %d characters.", maxConstraintValue)
		}
		if slices.ContainsFunc(seen, func(s string) bool { return strings.EqualFold(s, name) }) {
			return refuse(Validation, "Two names in a grant constraint differ only in case.")
		}
		seen = append(seen, name)
	}
	return nil
}

// principal checks the ARN of a grantee or retiring principal and gives the
// id that it has now; empty where the ARN itself identifies it.
func (k *Keys) principal(principalARN string) (string, error) {
	a, err := arn.Parse(principalARN)
	if err == nil && (a.Service == "iam" || a.Service == "sts") && arn.IsAccount(a.Account) {
		if unique, ok := k.cfg.Principals(principalARN); ok {
			if arn.IsAccount(unique) {
				unique = "" // an account is found by its root ARN
			}
			return unique, nil
		}
	}
	return "", refuse(InvalidARN, "ARN does not refer to a valid principal: %s", principalARN)
}

// CreateGrant makes a grant, or finds the one with the same name and the same
// parameters. It is in force when CreateGrant returns. The token is new each
// time and nothing that needs hiding. With u.DryRun nothing is made and the
// answer is a DryRun refusal.
func (k *Keys) CreateGrant(ctx context.Context, u Use, n NewGrant) (g *Grant, token string, err error) {
	if err := u.Key.State.Permits("CreateGrant", u.Key.ARN); err != nil {
		return nil, "", err
	}
	if g, err = k.grantOf(u.Key, &n); err != nil {
		return nil, "", err
	}
	e := u.Key.entry
	e.write.Lock()
	defer e.write.Unlock()
	key, err := k.fresh(ctx, e)
	if err != nil {
		return nil, "", err
	}
	// Under the lock nothing changes any more: what is decided here holds for the commit.
	if key, err = k.check(u, key, "CreateGrant"); err != nil {
		return nil, "", err
	}
	old := e.grants.shaped(g.shape())
	if n.Name == "" || old == nil {
		old = nil
		if e.grants.len() >= k.maxGrants {
			return nil, "", refuse(LimitExceeded, "The key %s has reached its limit of %d grants.", key.ARN, k.maxGrants)
		}
	}
	if u.DryRun {
		return nil, "", errDryRun
	}
	if old != nil {
		return old, makeToken(old), nil
	}
	value, err := g.encode()
	if err != nil {
		return nil, "", fmt.Errorf("keys: encode grant: %w", err)
	}
	ops := make([]kv.Op, 0, 3)
	for _, p := range g.places() {
		ops = append(ops, kv.Op{Key: p, Value: []byte{}})
	}
	ops[0].Value = value
	// The key must still be the one that was looked at.
	conds := []kv.Cond{{Key: keyKey(e.account, e.id), Mod: e.mod}}
	if _, err := k.commit(ctx, []*entry{e}, conds, ops); err != nil {
		return nil, "", err
	}
	e.grants.add(g)
	return g, makeToken(g), nil
}

// RevokeGrant removes a grant: no use that starts after RevokeGrant returned
// succeeds through it.
func (k *Keys) RevokeGrant(ctx context.Context, u Use, grantID string) error {
	return k.removeGrant(ctx, u, grantID, "RevokeGrant")
}

// RetireGrant is RevokeGrant for those whom the grant itself names.
func (k *Keys) RetireGrant(ctx context.Context, u Use, grantID string) error {
	return k.removeGrant(ctx, u, grantID, "RetireGrant")
}

func (k *Keys) removeGrant(ctx context.Context, u Use, grantID, operation string) error {
	if !isGrantID(grantID) {
		return refuse(InvalidGrantID, "Invalid grant id %s", grantID)
	}
	e := u.Key.entry
	f, unlock, err := k.family(ctx, e)
	if err != nil {
		return err
	}
	defer unlock()
	g, ok := e.grants.get(grantID)
	if !ok {
		return refuse(NotFound, "Grant ID %s not found", grantID)
	}
	if _, err := k.check(u, f.own.cur, operation); err != nil {
		return err
	}
	if u.DryRun {
		return errDryRun
	}
	err = f.refence(ctx, func() error {
		for _, p := range g.places() {
			f.own.more = append(f.own.more, kv.Op{Key: p, Delete: true})
		}
		return nil
	})
	if err != nil {
		return err
	}
	// refence showed a new snapshot already, which makes every use that is on its way ask again; whoever asked
	// before this line and was answered with the grant meets the fence.
	e.grants.remove(g)
	next := *e.now.Load()
	e.now.Store(&next)
	return nil
}

// Grant finds a grant of the key.
func (k *Key) Grant(grantID string) (*Grant, bool) { return k.entry.grants.get(grantID) }

// ListGrants gives the grants of a key in the order of their ids, from after
// the marker on; only the one with an id, or only those of a grantee (an ARN),
// if these are not empty.
func (k *Keys) ListGrants(ctx context.Context, key *Key, grantID, grantee, marker string, limit int) (gs []*Grant, next string, err error) {
	var ids []string
	switch {
	case grantID != "":
		if !isGrantID(grantID) {
			return nil, "", refuse(InvalidGrantID, "Invalid grant id %s", grantID)
		}
		if ids, next, err = pageOf([]string{grantID}, "grants/"+key.ID+"/"+grantID, marker, limit); err != nil {
			return nil, "", err
		}
	case grantee != "":
		unique, err := k.principal(grantee)
		if err != nil {
			return nil, "", err
		}
		for _, g := range key.entry.grants.of(who(grantee, unique)) {
			ids = append(ids, g.ID)
		}
		slices.Sort(ids)
		if ids, next, err = pageOf(ids, "grants/"+key.ID+"/"+grantee, marker, limit); err != nil {
			return nil, "", err
		}
	default:
		prefix := kv.Table('G').Text(key.ID)
		found, more, err := k.page(ctx, prefix, "grants/"+key.ID, marker, limit, func(at []byte) bool {
			_, ok := key.Grant(lastText(at, prefix))
			return ok
		})
		if err != nil {
			return nil, "", err
		}
		for _, at := range found {
			ids = append(ids, lastText(at, prefix))
		}
		next = more
	}
	for _, i := range ids {
		if g, ok := key.Grant(i); ok && (grantee == "" || g.Grantee == grantee) {
			gs = append(gs, g)
		}
	}
	return gs, next, nil
}

// ListRetirable gives the grants, of all keys and accounts, that a principal
// may retire because it is their retiring principal.
func (k *Keys) ListRetirable(ctx context.Context, retiring, marker string, limit int) (gs []*Grant, next string, err error) {
	unique, err := k.principal(retiring)
	if err != nil {
		return nil, "", err
	}
	w := who(retiring, unique)
	prefix := kv.Table('g').Text("retiring").Text(w)
	get := func(at []byte) *Grant {
		keyID, rest, err := kv.ReadText(at[len(prefix):])
		if err != nil {
			return nil
		}
		e, ok := k.entry(keyID)
		if !ok {
			return nil
		}
		g, _ := e.grants.get(lastText(rest, nil))
		return g
	}
	found, next, err := k.page(ctx, prefix, "retirable/"+w, marker, limit, func(at []byte) bool { return get(at) != nil })
	for _, at := range found {
		if g := get(at); g != nil {
			gs = append(gs, g)
		}
	}
	return gs, next, err
}

func isGrantID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}
