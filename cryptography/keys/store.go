package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/state/kv"
)

// Custom key stores (kms-api section 12): external key managers of customers,
// reached through a proxy of theirs. The keys in one are encrypted twice, by
// the boundary and by the external key (external.go), so that neither side
// alone can decrypt.
//
//	                 Connect             health check passes
//	DISCONNECTED ─────────────▶ CONNECTING ─────────────▶ CONNECTED
//	      ▲                          │ it does not            │
//	      │        Disconnect        ▼                        │
//	      ├────────────────────── FAILED                      │
//	      └───────────────────────────────────────────────────┘
//
// The credential of the proxy is sealed by the boundary and never shown again.
// This process opens it to sign requests to the proxy, and has it in memory
// while the store is connected.

// Limits of custom key stores.
const (
	MaxStores = 10 // per account
	// StoreExternal is the only type that is served.
	StoreExternal = "EXTERNAL_KEY_STORE"
	// OriginStore is the origin of keys in an external key store.
	OriginStore = "EXTERNAL_KEY_STORE"
)

// A ConnectionState is where a custom key store is in its life.
type ConnectionState string

// The states of the API. Disconnecting takes no time here.
const (
	Connected    ConnectionState = "CONNECTED"
	Connecting   ConnectionState = "CONNECTING"
	Failed       ConnectionState = "FAILED"
	Disconnected ConnectionState = "DISCONNECTED"
)

// A Store is what was known of one custom key store at one moment. It never
// changes.
type Store struct {
	ID, Account, Name string
	Endpoint, Path    string
	AccessKeyID       string
	Created           time.Time
	State             ConnectionState
	ErrorCode         string // why it is FAILED

	ekt, sealed []byte // the key that the credential is sealed under, and the sealed credential
	mod         kv.Rev
	stale       bool // the store may say otherwise
}

type storeRecord struct {
	Version     int    `cbor:"1,keyasint"`
	ID          string `cbor:"2,keyasint"`
	Account     string `cbor:"3,keyasint"`
	Name        string `cbor:"4,keyasint"`
	Endpoint    string `cbor:"5,keyasint"`
	Path        string `cbor:"6,keyasint"`
	AccessKeyID string `cbor:"7,keyasint"`
	EKT         []byte `cbor:"8,keyasint"`
	Sealed      []byte `cbor:"9,keyasint"`
	Created     int64  `cbor:"10,keyasint"` // ms
	State       string `cbor:"11,keyasint"`
	ErrorCode   string `cbor:"12,keyasint,omitempty"`
}

// stores are the custom key stores of one set of keys. The zero value is empty.
type stores struct {
	// write serialises all changes of stores: they are rare, and names and URIs are unique among them.
	write sync.Mutex

	mu    sync.RWMutex
	byID  map[string]*storeEntry       // guarded by mu
	used  map[string]map[string]string // guarded by mu; store -> external key -> key
	queue []string                     // guarded by mu; stores to be connected
	wake  chan struct{}                // guarded by mu; made when first needed; one slot
}

// A storeEntry is the fixed place of one store in memory.
type storeEntry struct {
	id, account string
	now         atomic.Pointer[Store] // stored only under stores.write, after the commit

	dial   sync.Mutex
	client *xks.Client   // guarded by dial; of the snapshot dialed
	raw    *secret.Bytes // guarded by dial; client's
	dialed *Store        // guarded by dial
}

func storeKey(account, id string) kv.Key { return kv.Table('K').Text(account).Text("store").Text(id) }

func storeARN(region, account, id string) string {
	return "arn:" + arn.Partition + ":kms:" + region + ":" + account + ":custom-key-store/" + id
}

func (s *Store) encode() ([]byte, error) {
	return marshal(&storeRecord{
		Version: recordVersion, ID: s.ID, Account: s.Account, Name: s.Name, Endpoint: s.Endpoint, Path: s.Path, AccessKeyID: s.AccessKeyID,
		EKT: s.ekt, Sealed: s.sealed, Created: s.Created.UnixMilli(), State: string(s.State), ErrorCode: s.ErrorCode,
	})
}

func decodeStore(value []byte, mod kv.Rev) (*Store, error) {
	var r storeRecord
	if err := cbor.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("store record: %w", err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("store record %s: unknown version %d", r.ID, r.Version)
	}
	return &Store{
		ID: r.ID, Account: r.Account, Name: r.Name, Endpoint: r.Endpoint, Path: r.Path, AccessKeyID: r.AccessKeyID, ekt: r.EKT, sealed: r.Sealed,
		Created: time.UnixMilli(r.Created).UTC(), State: ConnectionState(r.State), ErrorCode: r.ErrorCode, mod: mod,
	}, nil
}

// loadStore takes a record into memory; only load calls it.
func (k *Keys) loadStore(account, id string, en kv.Entry) error {
	s, err := decodeStore(en.Value, en.Mod)
	if err != nil {
		return err
	}
	if s.ID != id || s.Account != account {
		return fmt.Errorf("store record %s/%s lies under %s/%s", s.Account, s.ID, account, id)
	}
	k.stores.add(s)
	if s.State == Connecting { // the process ended before it was known; RunStores tries again
		k.stores.enqueue(s.ID)
	}
	return nil
}

func (t *stores) add(s *Store) *storeEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = map[string]*storeEntry{}
	}
	e := &storeEntry{id: s.ID, account: s.Account}
	e.now.Store(s)
	t.byID[s.ID] = e
	return e
}

func (t *stores) get(id string) *storeEntry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

// of are the stores of an account, in the order of their ids.
func (t *stores) of(account string) []*Store {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all []*Store
	for _, e := range t.byID {
		if e.account == account {
			all = append(all, e.now.Load())
		}
	}
	slices.SortFunc(all, func(a, b *Store) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// join notes that a key uses an external key of a store. It refuses one that
// another key uses.
func (t *stores) join(key *Key) error {
	if key.CustomKeyStoreID == "" {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used == nil {
		t.used = map[string]map[string]string{}
	}
	in := t.used[key.CustomKeyStoreID]
	if in == nil {
		in = map[string]string{}
		t.used[key.CustomKeyStoreID] = in
	}
	if by, taken := in[key.XksKeyID]; taken && by != key.ID {
		return refuse(XksKeyInUse, "The external key %s is already associated with another KMS key in this custom key store.", key.XksKeyID)
	}
	in[key.XksKeyID] = key.ID
	return nil
}

// leave is the reverse of join.
func (t *stores) leave(key *Key) {
	if key == nil || key.CustomKeyStoreID == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if in := t.used[key.CustomKeyStoreID]; in[key.XksKeyID] == key.ID {
		delete(in, key.XksKeyID)
	}
}

func (t *stores) holdsKeys(id string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.used[id]) > 0
}

// A NewStore is an external key store as a customer describes it.
type NewStore struct {
	Account, Name  string
	Endpoint, Path string
	AccessKeyID    string
	Secret         []byte // raw secret access key; wiped
	Request        string // id of the request, for the proxy's log
}

var errNoStores = refuse(Unsupported, "External key stores are not served by this plane.")

func errStoreMissing(id string) *Error {
	return refuse(StoreNotFound, "Custom key store %s does not exist.", id)
}

// CreateStore makes an external key store after its proxy has answered. It is
// disconnected.
func (k *Keys) CreateStore(ctx context.Context, n NewStore) (*Store, error) {
	defer secret.Wipe(n.Secret)
	if k.cfg.Proxies == nil {
		return nil, errNoStores
	}
	if err := n.valid(); err != nil {
		return nil, err
	}
	s := &Store{
		ID: "cks-" + id.Hex(9)[:17], Account: n.Account, Name: n.Name, Endpoint: n.Endpoint, Path: n.Path, AccessKeyID: n.AccessKeyID,
		Created: k.now(), State: Disconnected,
	}
	if err := k.unique(s, true); err != nil {
		return nil, err
	}
	// The proxy is asked with nothing held: it may take its time.
	if err := k.probe(ctx, s, n.Secret, "CreateCustomKeyStore", n.Request); err != nil {
		return nil, err
	}
	made, err := k.cfg.Boundary.GenerateKey(ctx, hsm.KeySpec{Spec: SpecSymmetric, Usage: UsageEncrypt, Origin: OriginKMS, KeyARN: storeARN(k.cfg.Region, s.Account, s.ID)})
	if err != nil {
		return nil, fmt.Errorf("keys: create a key store: %w", err)
	}
	s.ekt = made.EKT
	if err := k.sealCredential(ctx, s, n.Secret); err != nil {
		return nil, err
	}
	k.stores.write.Lock()
	defer k.stores.write.Unlock()
	if err := k.unique(s, true); err != nil {
		return nil, err
	}
	value, err := s.encode()
	if err != nil {
		return nil, fmt.Errorf("keys: encode %s: %w", s.ID, err)
	}
	at := storeKey(s.Account, s.ID)
	if s.mod, err = k.store.Commit(ctx, []kv.Cond{{Key: at}}, []kv.Op{{Key: at, Value: value}}); err != nil {
		return nil, fmt.Errorf("keys: create a key store: %w", errors.Join(err, k.discard(ctx, at, err)))
	}
	k.stores.add(s)
	return s, nil
}

func (n *NewStore) valid() error {
	switch {
	case !xks.ValidPath(n.Path):
		return refuse(Validation, "XksProxyUriPath must be a path that ends with %s.", xks.PathSuffix)
	case !xks.ValidAccessKeyID(n.AccessKeyID):
		return refuse(Validation, "AccessKeyId must have 20 to 30 characters of A-Z and 2-7.")
	case !xks.ValidSecret(n.Secret):
		return refuse(Validation, "RawSecretAccessKey must have 43 to 64 characters of a-z, A-Z, 0-9, /, + and =.")
	}
	return nil
}

// unique refuses a name or a URI that another store of the account has.
func (k *Keys) unique(s *Store, isNew bool) error {
	all := k.stores.of(s.Account)
	if isNew && len(all) >= MaxStores {
		return refuse(LimitExceeded, "The account has reached its limit of %d custom key stores.", MaxStores)
	}
	for _, other := range all {
		switch {
		case other.ID == s.ID:
		case other.Name == s.Name:
			return refuse(StoreNameInUse, "The custom key store name %s is already in use.", s.Name)
		case strings.EqualFold(other.Endpoint, s.Endpoint) && other.Path == s.Path:
			return refuse(ProxyURIInUse, "The combination of XksProxyUriEndpoint and XksProxyUriPath is already associated with another external key store.")
		}
	}
	return nil
}

// sealContext ties a sealed credential to its store and to the access key.
func sealContext(s *Store) map[string]string {
	return map[string]string{"leadglass:custom-key-store": s.ID, "leadglass:access-key-id": s.AccessKeyID}
}

// sealCredential has the boundary encrypt the credential, and wipes it.
func (k *Keys) sealCredential(ctx context.Context, s *Store, raw []byte) (err error) {
	defer secret.Wipe(raw)
	if s.sealed, err = k.cfg.Boundary.Encrypt(ctx, s.ekt, raw, sealContext(s)); err != nil {
		return fmt.Errorf("keys: seal the credential of %s: %w", s.ID, err)
	}
	return nil
}

// Stores gives the custom key stores of an account, one of them by id or by
// name if either is given, from after the marker on.
func (k *Keys) Stores(account, storeID, name, marker string, limit int) (page []*Store, next string, err error) {
	all := k.stores.of(account)
	if storeID != "" || name != "" {
		all = slices.DeleteFunc(all, func(s *Store) bool { return s.ID != storeID && storeID != "" || s.Name != name && name != "" })
		if len(all) == 0 {
			return nil, "", errStoreMissing(storeID + name)
		}
	}
	ids := make([]string, len(all))
	for i, s := range all {
		ids[i] = s.ID
	}
	ids, next, err = pageOf(ids, "stores/"+account, marker, limit)
	for _, s := range all {
		if slices.Contains(ids, s.ID) {
			page = append(page, s)
		}
	}
	return page, next, err
}

// StoreOf finds one store of an account.
func (k *Keys) StoreOf(account, storeID string) (*Store, error) {
	e := k.stores.get(storeID)
	if e == nil || e.account != account {
		return nil, errStoreMissing(storeID)
	}
	return e.now.Load(), nil
}

// A StoreChange is what is to be different; empty members stay.
type StoreChange struct {
	Name, Endpoint, Path string
	AccessKeyID          string
	Secret               []byte // with AccessKeyID; wiped
	Request              string
}

// UpdateStore changes a store. Its endpoint can change only while it is
// disconnected; the proxy must answer to what else changes of the way to it.
func (k *Keys) UpdateStore(ctx context.Context, account, storeID string, c StoreChange) error {
	cur, err := k.StoreOf(account, storeID)
	if err != nil {
		return err
	}
	next := *cur
	next.Name, next.Endpoint = cmp.Or(c.Name, cur.Name), cmp.Or(c.Endpoint, cur.Endpoint)
	next.Path, next.AccessKeyID = cmp.Or(c.Path, cur.Path), cmp.Or(c.AccessKeyID, cur.AccessKeyID)
	switch {
	case next.Endpoint != cur.Endpoint && cur.State != Disconnected:
		return errStoreState(cur, "it must be disconnected to change its endpoint")
	case cur.State == Connecting || cur.State == Failed:
		return errStoreState(cur, "it must be connected or disconnected to be changed")
	}
	raw, err := k.credentialFor(ctx, cur, &c)
	if err != nil {
		return err
	}
	defer secret.Wipe(raw)
	n := NewStore{Path: next.Path, AccessKeyID: next.AccessKeyID, Secret: raw}
	if err := n.valid(); err != nil {
		return err
	}
	if err := k.unique(&next, false); err != nil {
		return err
	}
	if c.Endpoint != "" || c.Path != "" || c.AccessKeyID != "" {
		if err := k.probe(ctx, &next, raw, "UpdateCustomKeyStore", c.Request); err != nil {
			return err
		}
		if err := k.sealCredential(ctx, &next, raw); err != nil {
			return err
		}
	}
	_, err = k.changeStore(ctx, storeID, func(s *Store) error {
		if s.State != cur.State || s.mod != cur.mod {
			return errStoreState(s, "it was changed meanwhile")
		}
		next.State, next.ErrorCode, next.mod = s.State, s.ErrorCode, s.mod
		*s = next
		return k.unique(s, false)
	})
	return err
}

// credentialFor is the credential that a change results in, old or new.
func (k *Keys) credentialFor(ctx context.Context, cur *Store, c *StoreChange) ([]byte, error) {
	if (c.AccessKeyID == "") != (len(c.Secret) == 0) {
		return nil, refuse(Validation, "XksProxyAuthenticationCredential needs AccessKeyId and RawSecretAccessKey.")
	}
	if c.AccessKeyID != "" {
		return c.Secret, nil
	}
	raw, err := k.cfg.Boundary.Decrypt(ctx, cur.ekt, cur.sealed, sealContext(cur))
	if err != nil {
		return nil, fmt.Errorf("keys: open the credential of %s: %w", cur.ID, err)
	}
	return raw, nil
}

func errStoreState(s *Store, why string) *Error {
	return refuse(StoreInvalidState, "Custom key store %s is %s: %s.", s.ID, s.State, why)
}

// DeleteStore ends a disconnected store that holds no key.
func (k *Keys) DeleteStore(ctx context.Context, account, storeID string) error {
	if _, err := k.StoreOf(account, storeID); err != nil {
		return err
	}
	k.stores.write.Lock()
	defer k.stores.write.Unlock()
	e := k.stores.get(storeID)
	if e == nil {
		return errStoreMissing(storeID)
	}
	s, err := k.freshStore(ctx, e)
	switch {
	case err != nil:
		return err
	case s.State != Disconnected:
		return errStoreState(s, "it must be disconnected to be deleted")
	case k.stores.holdsKeys(storeID):
		return refuse(StoreHasKeys, "Custom key store %s has KMS keys.", storeID)
	}
	at := storeKey(account, storeID)
	if _, err := k.store.Commit(ctx, []kv.Cond{{Key: at, Mod: s.mod}}, []kv.Op{{Key: at, Delete: true}}); err != nil {
		k.closeStore(e)
		return fmt.Errorf("keys: delete a key store: %w", err)
	}
	k.stores.mu.Lock()
	defer k.stores.mu.Unlock()
	delete(k.stores.byID, storeID)
	delete(k.stores.used, storeID)
	e.hangUp()
	return nil
}

// changeStore replaces the record of a store by what edit makes of a copy.
func (k *Keys) changeStore(ctx context.Context, storeID string, edit func(next *Store) error) (*Store, error) {
	k.stores.write.Lock()
	defer k.stores.write.Unlock()
	e := k.stores.get(storeID)
	if e == nil {
		return nil, errStoreMissing(storeID)
	}
	cur, err := k.freshStore(ctx, e)
	if err != nil {
		return nil, err
	}
	next := *cur
	if err := edit(&next); err != nil {
		return nil, err
	}
	value, err := next.encode()
	if err != nil {
		return nil, fmt.Errorf("keys: encode %s: %w", storeID, err)
	}
	at := storeKey(e.account, storeID)
	if next.mod, err = k.store.Commit(ctx, []kv.Cond{{Key: at, Mod: cur.mod}}, []kv.Op{{Key: at, Value: value}}); err != nil {
		k.closeStore(e)
		return nil, fmt.Errorf("keys: change a key store: %w", err)
	}
	e.now.Store(&next)
	return &next, nil
}

// closeStore makes a store unusable whose record is not known for certain,
// until freshStore has read it.
func (k *Keys) closeStore(e *storeEntry) {
	closed := *e.now.Load()
	closed.stale = true
	e.now.Store(&closed)
}

// freshStore is the newest snapshot, read again if it must be. The caller
// holds stores.write.
func (k *Keys) freshStore(ctx context.Context, e *storeEntry) (*Store, error) {
	s := e.now.Load()
	if !s.stale {
		return s, nil
	}
	en, err := k.store.Get(ctx, storeKey(e.account, e.id))
	if err != nil {
		return nil, fmt.Errorf("keys: read key store %s: %w", e.id, err)
	}
	if en.Mod == 0 {
		k.stores.mu.Lock()
		delete(k.stores.byID, e.id)
		k.stores.mu.Unlock()
		return nil, errStoreMissing(e.id)
	}
	if s, err = decodeStore(en.Value, en.Mod); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	e.now.Store(s)
	return s, nil
}

// probe asks the proxy of a store, with a credential that may be new, whether
// it is one.
func (k *Keys) probe(ctx context.Context, s *Store, raw []byte, operation, request string) error {
	copied, err := secret.From(slices.Clone(raw))
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	defer copied.Destroy()
	c, err := k.cfg.Proxies.NewClient(k.cfg.Region, s.Endpoint, s.Path, s.AccessKeyID, copied)
	if err != nil {
		return refuse(Validation, "XksProxyUriEndpoint must be https:// and a host, without a path.")
	}
	if err := healthy(ctx, c, operation, request); err != nil {
		return storeError(err)
	}
	return nil
}

// healthy is the health check of all operations on stores.
func healthy(ctx context.Context, c *xks.Client, operation, request string) error {
	h, err := c.Health(ctx, xks.RequestMetadata{KMSOperation: operation, KMSRequestID: request})
	if err == nil && !h.Works() {
		err = &xks.Error{Kind: xks.Internal}
	}
	return err
}
