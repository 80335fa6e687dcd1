package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
)

// Values of the members that a key of this package can have.
const (
	SpecSymmetric = "SYMMETRIC_DEFAULT"
	UsageEncrypt  = "ENCRYPT_DECRYPT"
	OriginKMS     = "AWS_KMS"
	// OriginExternal is that of a key whose owner brings the material: import.go.
	OriginExternal = "EXTERNAL"
)

// A Tag is a name and a value that a customer gave a key.
type Tag struct {
	Key   string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint"`
}

// A Key is what was known of one key at one moment. It never changes: a
// changed key has another Key.
type Key struct {
	ID, Account, ARN string
	Region           string
	MultiRegion      *MultiRegion // nil: a key of one Region; not to be changed
	Description      string
	Spec, Usage      string
	Origin           string
	State            State
	Created          time.Time
	DeletionDate     time.Time // zero unless pending deletion
	CustomKeyStoreID string    // empty: the plane itself
	XksKeyID         string    // of a key in an external key store
	MaterialID       string    // of the current material, 64 hex digits; empty when there is none
	Public           []byte    // SPKI of an asymmetric key; not to be changed
	Tags             []Tag     // sorted by key; not to be changed
	Aliases          []string  // names with "alias/", sorted; not to be changed
	RotationPeriod   int       // days between automatic rotations; 0: there are none
	NextRotation     time.Time // zero when there are none
	policy           *doc
	materials        []material // in the order of their use; one that is pending stands last. Not to be changed
	awaitsDisabled   bool       // it is pending import, and Disabled when that is over
	expires          time.Time  // the first end of one of the materials; zero: there is none
	conditions       Conditions
	fence            fenceRecord
	stale            bool // the store may say otherwise: use nothing of this before it was read again
	entry            *entry
	away             string // the Region, unless it is the home Region
	destroyed        bool   // a tombstone: only in the store
	same             sameKey
}

// Policy is the key policy, compiled and bound to the ids of its principals;
// nil, which allows nobody, when what is stored cannot be read.
func (k *Key) Policy() *policy.Document { return k.policy.compiled() }

// PolicyText is the key policy as it was put.
func (k *Key) PolicyText() string { return k.policy.text }

// Enabled says whether the key may be used.
func (k *Key) Enabled() bool { return k.State == StateEnabled }

// Formats at rest. Values are deterministic CBOR with integer keys; a reader
// refuses versions that it does not know.
//
//	K | account | "key"   | key id      keyRecord
//	K | account | "alias" | alias name  aliasRecord
//	K | account | "store" | store id    storeRecord (store.go)
//	K | account | "used"  | key id      usageRecord (usage.go)
//	K | ""      | "tracking" | ""       trackingRecord (usage.go)
//	G | key id  | grant id              grantRecord (grant.go)
//	g | "grantee"  | grantee  | key id | grant id   empty
//	g | "retiring" | retiring | key id | grant id   empty
//
// Those of the home Region lie just so; those of another below R | region
// (regionstore.go).
type keyRecord struct {
	Version     int               `cbor:"1,keyasint"`
	ID          string            `cbor:"2,keyasint"`
	Account     string            `cbor:"3,keyasint"`
	Spec        string            `cbor:"4,keyasint"`
	Usage       string            `cbor:"5,keyasint"`
	Origin      string            `cbor:"6,keyasint"`
	State       string            `cbor:"7,keyasint"`
	Created     int64             `cbor:"8,keyasint"` // ms
	Deletion    int64             `cbor:"9,keyasint,omitempty"`
	Description string            `cbor:"10,keyasint,omitempty"`
	Tags        []Tag             `cbor:"11,keyasint,omitempty"`
	Policy      string            `cbor:"12,keyasint"`
	Principals  map[string]string `cbor:"13,keyasint,omitempty"` // ARN in the policy -> unique id when it was put
	Materials   []material        `cbor:"14,keyasint,omitempty"`
	Destroyed   bool              `cbor:"15,keyasint,omitempty"` // the material is gone, the grants are being removed
	Public      []byte            `cbor:"16,keyasint,omitempty"` // SPKI
	Rotation    *rotationRecord   `cbor:"19,keyasint,omitempty"` // automatic rotation; nil: none
	Awaits      bool              `cbor:"20,keyasint,omitempty"` // pending import, and Disabled after it
	Region      string            `cbor:"21,keyasint,omitempty"` // absent: the home Region
	MultiRegion *MultiRegion      `cbor:"22,keyasint,omitempty"`
	StoreID     string            `cbor:"23,keyasint,omitempty"`
	XksKeyID    string            `cbor:"24,keyasint,omitempty"`
	Conditions  []byte            `cbor:"25,keyasint,omitempty"` // sealed into the materials, as message.Conditions writes them
	Fence       *fenceRecord      `cbor:"26,keyasint,omitempty"`
}

type aliasRecord struct {
	Version int    `cbor:"1,keyasint"`
	KeyID   string `cbor:"2,keyasint"`
	Created int64  `cbor:"3,keyasint"`
	Updated int64  `cbor:"4,keyasint"`
}

const recordVersion = 1

func keyKey(account, id string) kv.Key { return kv.Table('K').Text(account).Text("key").Text(id) }

func aliasKV(account, name string) kv.Key {
	return kv.Table('K').Text(account).Text("alias").Text(name)
}

// ARN is the ARN of a key, whether or not there is one.
func (k *Keys) ARN(account, id string) string {
	return keyARN(k.cfg.Region, account, id)
}

func (k *Keys) aliasARN(account, name string) string {
	return "arn:" + arn.Partition + ":kms:" + k.cfg.Region + ":" + account + ":" + name
}

// marshal writes deterministic CBOR (RFC 8949 section 4.2.1), so that equal
// records have equal bytes.
func marshal(v any) ([]byte, error) {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, err
	}
	return m.Marshal(v)
}

func (k *Key) encode() ([]byte, error) {
	r := keyRecord{
		Region: k.away, MultiRegion: k.MultiRegion,
		Version: recordVersion, ID: k.ID, Account: k.Account, Spec: k.Spec, Usage: k.Usage, Origin: k.Origin,
		State: string(k.State), Created: k.Created.UnixMilli(), Description: k.Description, Tags: k.Tags,
		Policy: k.policy.text, Principals: k.policy.ids, Materials: k.materials, Destroyed: k.destroyed, Public: k.Public,
		StoreID: k.CustomKeyStoreID, XksKeyID: k.XksKeyID,
	}
	if !k.DeletionDate.IsZero() {
		r.Deletion = k.DeletionDate.UnixMilli()
	}
	r.Awaits = k.awaitsDisabled
	if k.RotationPeriod > 0 {
		r.Rotation = &rotationRecord{Period: k.RotationPeriod, Next: k.NextRotation.UnixMilli()}
	}
	if !k.conditions.Empty() {
		r.Conditions = k.conditions.Append(nil)
	}
	if k.fence != (fenceRecord{}) {
		r.Fence = &k.fence
	}
	return marshal(&r)
}

// decode makes a snapshot, without aliases, of a stored record.
func (k *Keys) decode(value []byte) (*Key, error) {
	var r keyRecord
	if err := cbor.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("key record: %w", err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("key record %s: unknown version %d", r.ID, r.Version)
	}
	key := &Key{
		ID: r.ID, Account: r.Account, ARN: k.ARN(r.Account, r.ID), Region: k.cfg.Region, away: r.Region, MultiRegion: r.MultiRegion, Description: r.Description, Spec: r.Spec,
		Usage: r.Usage, Origin: r.Origin, State: State(r.State), Created: time.UnixMilli(r.Created).UTC(),
		Tags: r.Tags, policy: k.docs.of(r.Policy, r.Principals), materials: r.Materials, destroyed: r.Destroyed, Public: r.Public,
		CustomKeyStoreID: r.StoreID, XksKeyID: r.XksKeyID,
	}
	if r.Deletion != 0 {
		key.DeletionDate = time.UnixMilli(r.Deletion).UTC()
	}
	if r.Rotation != nil {
		key.RotationPeriod, key.NextRotation = r.Rotation.Period, time.UnixMilli(r.Rotation.Next).UTC()
	}
	if r.Region != k.away() {
		return nil, fmt.Errorf("key record %s: of Region %q, found in %s", r.ID, r.Region, k.cfg.Region)
	}
	if (r.MultiRegion != nil) != isMultiRegion(r.ID) {
		return nil, fmt.Errorf("key record %s: the id and the record disagree on whether it is a multi-Region key", r.ID)
	}
	if r.Fence != nil {
		key.fence = *r.Fence
	}
	if len(r.Conditions) > 0 {
		if err := key.conditions.Parse(r.Conditions); err != nil {
			return nil, fmt.Errorf("key record %s: %w", r.ID, err)
		}
	}
	if key.destroyed {
		return key, nil
	}
	if len(r.Materials) == 0 && r.Origin != OriginExternal {
		return nil, fmt.Errorf("key record %s: no material", r.ID)
	}
	for i, m := range r.Materials {
		if len(m.ID) != 32 {
			return nil, fmt.Errorf("key record %s: malformed material id", r.ID)
		}
		if len(m.EKT) == 0 && r.Origin != OriginExternal || m.Pending && i != len(r.Materials)-1 {
			return nil, fmt.Errorf("key record %s: malformed material", r.ID)
		}
	}
	key.awaitsDisabled = r.Awaits
	key.settle()
	return key, nil
}

// scan calls f for every entry of a prefix, as of one revision.
func (k *Keys) scan(ctx context.Context, prefix kv.Key, f func(kv.Entry) error) error {
	for page, err := range kv.Pages(ctx, k.store, prefix, kv.MaxScan/10) {
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// load fills the memory from the store and finishes what a crash interrupted.
func (k *Keys) load(ctx context.Context) error {
	var tombs []*Key
	named := map[string][]string{} // key id -> alias names
	err := k.scan(ctx, kv.Table('K'), func(en kv.Entry) error {
		account, kind, name, err := splitK(en.Key)
		if err != nil {
			return err
		}
		switch kind {
		case "key":
			key, err := k.decode(en.Value)
			if err != nil {
				return err
			}
			if key.ID != name || key.Account != account {
				return fmt.Errorf("key record %s/%s lies under %s/%s", key.Account, key.ID, account, name)
			}
			if key.destroyed {
				tombs = append(tombs, key)
				return nil
			}
			k.admit(key, en.Mod)
		case "alias":
			a, err := decodeAlias(name, en.Value)
			if err != nil {
				return err
			}
			k.aliases.Store(aliasKey{account, name}, a)
			named[a.KeyID] = append(named[a.KeyID], name)
		case "store":
			return k.loadStore(account, name, en)
		case kindUsed:
			return k.loadUsage(name, en.Value)
		case kindTracking:
			return k.loadTracking(en.Value)
		default:
			return fmt.Errorf("unknown record kind %q", kind)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, names := range named {
		e, ok := k.entry(id)
		if !ok {
			return fmt.Errorf("alias %s names key %s, which is not there", names[0], id)
		}
		slices.Sort(names)
		e.now.Load().Aliases = names // nobody else has seen this snapshot yet
	}
	err = k.scan(ctx, kv.Table('G'), func(en kv.Entry) error {
		g, err := k.decodeGrant(en.Value)
		if err != nil {
			return err
		}
		if e, ok := k.entry(g.KeyID); ok { // else: of a tombstone, removed below
			e.grants.add(g)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range tombs {
		if err := k.bury(ctx, t); err != nil {
			return fmt.Errorf("finish the destruction of %s: %w", t.ID, err)
		}
	}
	return nil
}

func splitK(key []byte) (account, kind, name string, err error) {
	rest := key[1:]
	for _, p := range []*string{&account, &kind, &name} {
		if *p, rest, err = kv.ReadText(rest); err != nil {
			return "", "", "", fmt.Errorf("key of table K: %w", err)
		}
	}
	return account, kind, name, nil
}

// admit makes an entry for a key that is in the store.
func (k *Keys) admit(key *Key, mod kv.Rev) *entry {
	e := &entry{id: key.ID, account: key.Account, mod: mod}
	key.entry = e
	e.now.Store(key)
	k.byID.Store(key.ID, e)
	_ = k.stores.join(key) // what is in the store of keys was unique when it was made
	for i := range key.materials {
		k.byMaterial.Store([32]byte(key.materials[i].ID), e)
	}
	k.mu.Lock()
	k.counts[key.Account]++
	k.mu.Unlock()
	k.schedule(key)
	return e
}

func (k *Keys) entry(id string) (*entry, bool) {
	v, ok := k.byID.Load(id)
	if !ok {
		return nil, false
	}
	return v.(*entry), true
}

// reload reads everything about one key from the store again. The caller
// holds e.write.
func (k *Keys) reload(ctx context.Context, e *entry) error {
	en, err := k.store.Get(ctx, keyKey(e.account, e.id))
	if err != nil {
		return err
	}
	gone := en.Mod == 0
	var key *Key
	if !gone {
		if key, err = k.decode(en.Value); err != nil {
			return err
		}
		gone = key.destroyed
	}
	if gone {
		k.forget(e)
		return nil
	}
	old := e.now.Load().Aliases
	seen := map[string]bool{}
	err = k.scan(ctx, kv.Table('K').Text(e.account).Text("alias"), func(en kv.Entry) error {
		_, _, name, err := splitK(en.Key)
		if err != nil {
			return err
		}
		a, err := decodeAlias(name, en.Value)
		if err != nil {
			return err
		}
		if a.KeyID == e.id {
			key.Aliases = append(key.Aliases, name)
		}
		// A name that this key had leads to where the store says, even if that is another key by now.
		if a.KeyID == e.id || slices.Contains(old, name) {
			k.aliases.Store(aliasKey{e.account, name}, a)
		}
		seen[name] = true
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range old {
		if !seen[name] {
			k.aliases.Delete(aliasKey{e.account, name})
		}
	}
	var gs []*Grant
	err = k.scan(ctx, kv.Table('G').Text(e.id), func(en kv.Entry) error {
		g, err := k.decodeGrant(en.Value)
		gs = append(gs, g)
		return err
	})
	if err != nil {
		return err
	}
	if err := k.all.adopt(ctx, key); err != nil {
		return err
	}
	e.grants.replace(gs)
	e.mod = en.Mod
	key.entry = e
	k.index(e, e.now.Load(), key)
	e.now.Store(key)
	k.schedule(key)
	return nil
}

// forget takes a key that is no longer in the store out of memory.
func (k *Keys) forget(e *entry) {
	last := e.now.Load()
	e.now.Store(nil)
	k.byID.Delete(e.id)
	k.stores.leave(last)
	if last != nil {
		for i := range last.materials {
			k.byMaterial.Delete([32]byte(last.materials[i].ID))
		}
		for _, name := range last.Aliases {
			k.aliases.Delete(aliasKey{e.account, name})
		}
	}
	e.grants.replace(nil)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts[e.account]--
	delete(k.due, e.id)
}

// sortTags puts tags into the order in which they are stored and listed.
func sortTags(tags []Tag) []Tag {
	tags = slices.Clone(tags)
	slices.SortFunc(tags, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return tags
}
