// Package keys is the life of KMS keys: what a key is called, what state it is
// in, who may use it by its policy and its grants, and the use itself, which
// happens inside the HSM boundary. This package never holds key material; it
// keeps exported key tokens, which only the boundary can open.
//
// Start with Open, which loads all keys of the store, and run Run beside it:
// it destroys keys whose waiting period is over. Find turns what a request
// calls a key into a Key, an immutable snapshot. Deciding whether a caller may
// do what it asks is not done here: the caller of this package takes policy,
// grants and aliases from the snapshot, asks the policy engine, and comes back
// with the same snapshot in a Use.
//
// Promises. A change is durable before it is visible, and visible before the
// call that made it returns. A use that starts after a key was disabled, its
// policy was changed or a grant was revoked sees that; a use that is already
// on its way when the change happens is checked again before the boundary is
// asked and once more before its result is given out, so that revocation wins
// races. A commit whose outcome is unknown closes the key until the store has
// been read again.
//
// A deployment may serve several Regions: each has keys, aliases, grants and
// quotas of its own, in a Keys of its own (In). Only multi-Region keys reach
// over that border: regions.go and replicate.go.
//
// Keys have material that the boundary made (rotation.go makes more of it) or
// that their owner brings (import.go). Those of an external key store have the
// boundary's, and around it a second key that their owner holds (external.go).
// Create refuses everything else. What must hold even when this package is in
// other hands, or its store was rolled back, the boundary enforces: sealed
// conditions and fences (fence.go). Rewrap brings tokens under the boundary's
// newest domain key (rewrap.go).
//
// One process owns the tables K, G, g and R of its store: others may read them,
// and a foreign write is noticed as a conflict and refused. Formats at rest
// are in record.go.
package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/state/kv"
)

// Quotas, as the public service has them (kms-api section 8).
const (
	MaxKeys           = 100_000 // per account
	MaxAliases        = 50      // per key
	MaxGrants         = 50_000  // per key
	MaxTags           = 50      // per key
	MaxPolicy         = 32_768  // bytes of a key policy
	MaxContext        = 8_192   // bytes of all names and values of one encryption context
	MinWindowDays     = 7       // between ScheduleDeletion and the end
	MaxWindowDays     = 30      // the same
	DefaultWindowDays = 30      // the same
)

// A Boundary does what needs key material. *hsm.Client is one.
type Boundary interface {
	GenerateKey(ctx context.Context, spec hsm.KeySpec) (hsm.Key, error)
	Encrypt(ctx context.Context, ekt, plaintext []byte, encCtx map[string]string) ([]byte, error)
	Decrypt(ctx context.Context, ekt, blob []byte, encCtx map[string]string) ([]byte, error)
	ReEncrypt(ctx context.Context, fromEKT, blob []byte, fromCtx map[string]string, toEKT []byte, toCtx map[string]string) ([]byte, error)
	GenerateDataKey(ctx context.Context, ekt []byte, n int, encCtx map[string]string, withPlaintext bool) (plaintext, blob []byte, err error)
	Random(ctx context.Context, n int) ([]byte, error)

	ImportBegin(ctx context.Context, bits int, algorithm string, spec hsm.KeySpec) (public, token []byte, err error)
	ImportKey(ctx context.Context, token, wrapped []byte, spec hsm.KeySpec, notAfter time.Time) (hsm.Key, error)
	Sign(ctx context.Context, ekt []byte, alg, messageType string, msg []byte) ([]byte, error)
	Verify(ctx context.Context, ekt []byte, alg, messageType string, msg, sig []byte) error
	GenerateMac(ctx context.Context, ekt []byte, alg string, msg []byte) ([]byte, error)
	VerifyMac(ctx context.Context, ekt []byte, alg string, msg, mac []byte) error
	DeriveSharedSecret(ctx context.Context, ekt []byte, alg string, peer []byte) ([]byte, error)
	GenerateDataKeyPair(ctx context.Context, ekt []byte, spec string, encCtx map[string]string, withPlaintext bool) (hsm.KeyPair, error)
	EncryptWith(ctx context.Context, ekt []byte, alg string, plaintext []byte) ([]byte, error)
	DecryptWith(ctx context.Context, ekt []byte, alg string, ciphertext []byte) ([]byte, error)
	ReEncryptWith(ctx context.Context, from hsm.Side, blob []byte, to hsm.Side) ([]byte, error)
	RaiseFence(ctx context.Context, ekt []byte, epoch uint64, closed bool) (now uint64, err error)
	Current(ctx context.Context, ekt []byte, epoch uint64) (newEKT []byte, err error)
	SealConditions(ctx context.Context, ekt []byte, next *hsm.Conditions, epoch uint64, command []byte) (newEKT []byte, now uint64, err error)
	Destroy(ctx context.Context, ekts [][]byte) (statement []byte, err error)
	ClosingToken(ctx context.Context, spec hsm.KeySpec) (ekt []byte, err error)
	Status(ctx context.Context) (hsm.Status, error)

	DecryptFor(ctx context.Context, ekt, blob []byte, alg string, encCtx map[string]string, to hsm.Recipient) (hsm.Sealed, error)
	GenerateDataKeyFor(ctx context.Context, ekt []byte, n int, encCtx map[string]string, to hsm.Recipient) (hsm.Sealed, []byte, error)
	GenerateDataKeyPairFor(ctx context.Context, ekt []byte, spec string, encCtx map[string]string, to hsm.Recipient) (hsm.Sealed, hsm.KeyPair, error)
	DeriveSharedSecretFor(ctx context.Context, ekt []byte, alg string, peer []byte, to hsm.Recipient) (hsm.Sealed, error)
	RandomFor(ctx context.Context, n int, to hsm.Recipient) (hsm.Sealed, error)
	AttestationRoots(ctx context.Context) ([]hsm.Root, error)
}

// Config is what Open cannot live without.
type Config struct {
	Boundary Boundary
	Clock    clock.Clock
	Region   string // the home Region: of the Keys that Open returns
	// AdditionalRegions have keys of their own, over the same store: see Keys.In.
	AdditionalRegions []string
	// Principals gives the unique id of the principal with an ARN (a user, role, session or account root), and
	// whether it exists. Policies and grants hold on to the id: a principal that is deleted and made again under
	// the same name gets nothing back. An empty id with true means that the ARN itself identifies it.
	Principals func(arn string) (id string, ok bool)
	// PrincipalARN gives the ARN that a unique id has now: a renamed principal is shown by it, a deleted one by its
	// bare id. Nil: all are shown by their ids.
	PrincipalARN func(id string) (arn string, ok bool)
	// Destroyed keeps what the boundary states of a key that it will never open again, before the key is taken out of
	// the store. If it cannot, the destruction is tried again. Nil: nobody keeps it.
	Destroyed func(ctx context.Context, key *Key, statement []byte) error
	Log       *slog.Logger // nil: nothing is logged
	// Proxies reaches the proxies of external key stores; nil: none are served.
	Proxies *xks.Dialer
}

func (c *Config) valid() error {
	var problems []error
	if c.Boundary == nil {
		problems = append(problems, errors.New("no boundary"))
	}
	if c.Clock == nil {
		problems = append(problems, errors.New("no clock"))
	}
	for i, region := range append([]string{c.Region}, c.AdditionalRegions...) {
		switch {
		case region == "":
			problems = append(problems, errors.New("no region"))
		case i > 0 && (region == c.Region || slices.Contains(c.AdditionalRegions[:i-1], region)):
			problems = append(problems, fmt.Errorf("region %s is named twice", region))
		}
	}
	if c.Principals == nil {
		problems = append(problems, errors.New("no principals"))
	}
	return errors.Join(problems...)
}

// Keys are all keys of one Region. It is safe for concurrent use.
type Keys struct {
	store  kv.Store  // of this Region alone
	cfg    Config    // Region is this one
	opened time.Time // since when uses are tracked: the first start that did. Written only before Open returns

	tracked bool // owned by saveUses; opened is in the store
	all     *regions

	maxGrants int // MaxGrants, but in tests

	byID       sync.Map // key id -> *entry
	byMaterial sync.Map // [32]byte -> *entry
	aliases    sync.Map // aliasKey -> *alias
	docs       interned
	stores     stores        // custom key stores: store.go
	chains     attest.Chains // of attestation documents

	// aliasWrite serialises all changes of aliases, because one change may concern two keys. It is taken
	// before any entry's own lock.
	aliasWrite sync.Mutex

	mu     sync.Mutex
	counts map[string]int       // guarded by mu; keys per account
	due    map[string]time.Time // guarded by mu; when Run has to do something about a key: due.go
	asleep time.Time            // guarded by mu; until when Run waits
	wake   chan struct{}        // tells Run that something is due before that; one slot

	unsaved []*entry // guarded by mu; keys whose last use is not in the store yet
}

// An entry is the fixed place of one key in memory; what changes is behind it.
type entry struct {
	id, account string

	// now is the newest snapshot. Readers load it; it is stored only under write, after the commit.
	now atomic.Pointer[Key]
	// used is the last successful use, for GetKeyLastUsage.
	used atomic.Pointer[Usage]
	// unsaved says that used is newer than the store, and that the entry is among Keys.unsaved.
	unsaved atomic.Bool

	// write serialises the changes of this key. It is held across the commit on purpose: memory must change in
	// the order of the store.
	write sync.Mutex
	mod   kv.Rev // guarded by write; revision of the key's record

	grants grantSet
}

// Open loads all keys, and returns those of the home Region.
func Open(ctx context.Context, store kv.Store, cfg Config) (*Keys, error) {
	if err := cfg.valid(); err != nil {
		return nil, fmt.Errorf("keys: configuration: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	all := newRegions(store, cfg)
	if err := all.load(ctx); err != nil {
		return nil, fmt.Errorf("keys: load: %w", err)
	}
	return all.keys[cfg.Region], nil
}

func newKeys(store kv.Store, cfg Config) *Keys {
	return &Keys{
		store: store, cfg: cfg, opened: cfg.Clock.Now(), maxGrants: MaxGrants,
		counts: map[string]int{}, due: map[string]time.Time{}, wake: make(chan struct{}, 1),
	}
}

// full is the key in the whole store of a key in this Region's own.
func (k *Keys) full(key kv.Key) kv.Key {
	if w, ok := k.store.(regionStore); ok {
		return w.full(key)
	}
	return key
}

// now is the time as the wire shows it: milliseconds.
func (k *Keys) now() time.Time { return k.cfg.Clock.Now().Truncate(time.Millisecond) }

// change replaces the key's record by what edit makes of a copy of the newest
// snapshot, in one commit together with further operations, and then shows it.
// It takes the entry's write lock.
func (k *Keys) change(ctx context.Context, e *entry, edit func(next *Key) (more []kv.Op, err error)) (*Key, error) {
	e.write.Lock()
	defer e.write.Unlock()
	return k.changeLocked(ctx, e, nil, edit)
}

// edit is one change of a key that an operation makes: the state table decides
// on the newest state, f on everything else.
func (k *Keys) edit(ctx context.Context, key *Key, operation string, f func(next *Key) error) error {
	_, err := k.change(ctx, key.entry, func(next *Key) ([]kv.Op, error) {
		if k.over(next) {
			return nil, missing(next.ARN)
		}
		if err := next.State.Permits(operation, next.ARN); err != nil {
			return nil, err
		}
		return nil, f(next)
	})
	return err
}

// changeLocked is change for callers that hold e.write.
func (k *Keys) changeLocked(ctx context.Context, e *entry, conds []kv.Cond, edit func(next *Key) ([]kv.Op, error)) (*Key, error) {
	cur, err := k.fresh(ctx, e)
	if err != nil {
		return nil, err
	}
	next := *cur.asOf(k.cfg.Clock.Now()) // a change builds on what the key is now, not on what it was
	ops, err := edit(&next)
	if err != nil {
		return nil, err
	}
	next.settle()
	value, err := next.encode()
	if err != nil {
		return nil, fmt.Errorf("keys: encode %s: %w", e.id, err)
	}
	at := keyKey(e.account, e.id)
	rev, err := k.commit(ctx, []*entry{e}, append(conds, kv.Cond{Key: at, Mod: e.mod}), append(ops, kv.Op{Key: at, Value: value}))
	if err != nil {
		return nil, err
	}
	e.mod = rev
	k.index(e, cur, &next)
	e.now.Store(&next)
	k.schedule(&next)
	return &next, nil
}

// commit writes, and closes the entries whose memory no longer can be trusted
// when the outcome is unknown: they stay closed until fresh has re-read them.
func (k *Keys) commit(ctx context.Context, concerned []*entry, conds []kv.Cond, ops []kv.Op) (kv.Rev, error) {
	rev, err := k.store.Commit(ctx, conds, ops)
	if err == nil {
		return rev, nil
	}
	if errors.Is(err, kv.ErrTooLarge) || errors.Is(err, kv.ErrReadOnly) {
		return 0, fmt.Errorf("keys: commit: %w", err) // nothing was written
	}
	// A conflict means that someone else wrote our tables, anything else that we do not know what was written.
	for _, e := range concerned {
		e.close()
	}
	for _, e := range concerned {
		// Mostly the store can be read; if it cannot, whoever needs the key next tries again.
		if rerr := k.reload(context.WithoutCancel(ctx), e); rerr != nil {
			k.cfg.Log.Error("keys: key closed until the store can be read", "key", e.id, "error", rerr)
		}
	}
	return 0, fmt.Errorf("keys: commit: %w", err)
}

// close lets nothing of the entry's memory be used before it was read again.
// The caller holds e.write.
func (e *entry) close() {
	if cur := e.now.Load(); cur != nil && !cur.stale {
		closed := *cur
		closed.stale = true
		e.now.Store(&closed)
	}
}

// fresh returns the newest snapshot, read again from the store if the memory
// is not to be trusted. The caller holds e.write.
func (k *Keys) fresh(ctx context.Context, e *entry) (*Key, error) {
	cur := e.now.Load()
	if cur == nil {
		return nil, missing(k.ARN(e.account, e.id))
	}
	if !cur.stale {
		return cur, nil
	}
	if err := k.reload(ctx, e); err != nil {
		return nil, &Error{Kind: Unavailable, Message: cur.ARN + " is unavailable.", Err: err}
	}
	if cur = e.now.Load(); cur == nil {
		return nil, missing(k.ARN(e.account, e.id))
	}
	return cur, nil
}
