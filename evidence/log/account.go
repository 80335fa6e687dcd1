package log

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

// keyLife is how long a data key is used before a new one is made (section 4).
const keyLife = time.Hour

// An account is the state of one account's log.
type account struct {
	accountFile
	label [32]byte
	dir   string

	mu  sync.Mutex
	dek *dek // guarded by mu; nil until the first event of this process

	// Owned by the sequencer.
	next uint64 // index of the next leaf
	last uint64 // time of the last leaf

	ready      atomic.Bool   // the first key record is durable
	integrated atomic.Uint64 // leaves in the derived files; written by the integrator
	lastLeaf   atomic.Uint64 // time of the last integrated leaf, ms

	// Owned by the integrator.
	tree          tree.Range
	tiles         [8][]tree.Hash // hashes of tile level 1.. that are not written yet
	leaves, keys  []byte         // to be written
	dirty         bool           // files changed since the last saved state
	keyCount      uint64         // entries of the keys file
	published     uint64         // size in the last epoch
	publishedRoot tree.Hash
	heartbeat     uint64 // ms when one was last asked for
}

// accountFile is the JSON file that holds what cannot be derived.
type accountFile struct {
	Account string `json:"account"`
	Slot    uint16 `json:"slot"`
	Salt    []byte `json:"salt"`
	Handle  []byte `json:"handle"` // of the audit key, for the KeyStore; in an account guarded by mu
	Public  []byte `json:"public"`
}

// A dek is a data key in use. Its key record goes into the log before any
// event that it seals; when the record could not be written, no event may.
type dek struct {
	sealer *record.Sealer
	made   time.Time
	failed atomic.Bool
	record *pending
}

func validAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// CreateAccount makes an account's log: its salt, its audit key and its first
// key record, all durable when it returns. When it failed half way, calling it
// again completes it.
func (l *Log) CreateAccount(ctx context.Context, name string) error {
	if !validAccount(name) {
		return fmt.Errorf("log: create account: %w", ErrNoAccount)
	}
	l.amu.Lock()
	defer l.amu.Unlock()
	if err := l.stopped(); err != nil {
		return err
	}
	view := *l.accounts.Load()
	a := view[name]
	if a != nil && a.ready.Load() {
		return fmt.Errorf("%w: %s", ErrAccountExists, name)
	}
	if a == nil {
		var err error
		if a, err = l.newAccount(ctx, name, view); err != nil {
			return err
		}
	}
	d, err := l.key(a)
	if err != nil {
		return err
	}
	if err := l.wait(ctx, []*pending{d.record}); err != nil {
		return err
	}
	a.ready.Store(true)
	return nil
}

func (l *Log) newAccount(ctx context.Context, name string, view map[string]*account) (*account, error) {
	if len(l.slots) > 1<<16-1 {
		return nil, errors.New("log: no slot left for another account")
	}
	handle, public, err := l.cfg.Keys.NewAccountKey(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%w: audit key: %w", ErrUnavailable, err)
	}
	salt := make([]byte, 32)
	rand.Read(salt)
	a := l.makeAccount(accountFile{name, uint16(len(l.slots)), salt, handle, public})
	data, err := json.Marshal(a.accountFile)
	if err != nil {
		return nil, fmt.Errorf("log: create account: %w", err)
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, fmt.Errorf("log: create account: %w", err)
	}
	if err := syncDir(filepath.Dir(a.dir)); err != nil {
		return nil, fmt.Errorf("log: create account: %w", err)
	}
	if err := writeFile(filepath.Join(a.dir, "account"), data); err != nil {
		return nil, fmt.Errorf("log: create account: %w", err)
	}
	// Readers hold the old view until the new one is complete.
	grown := maps.Clone(view)
	grown[name] = a
	l.slots = append(l.slots, a)
	l.accounts.Store(&grown)
	return a, nil
}

func (l *Log) makeAccount(f accountFile) *account {
	return &account{accountFile: f, label: record.Label(f.Salt, f.Account), dir: filepath.Join(l.cfg.Dir, "accounts", f.Account)}
}

// loadAccounts reads the accounts' files at start.
func (l *Log) loadAccounts() error {
	entries, err := os.ReadDir(filepath.Join(l.cfg.Dir, "accounts"))
	if err != nil {
		return fmt.Errorf("log: accounts: %w", err)
	}
	view := make(map[string]*account, len(entries))
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(l.cfg.Dir, "accounts", e.Name(), "account"))
		if errors.Is(err, os.ErrNotExist) {
			continue // the folder of an account that was never made
		}
		if err != nil {
			return fmt.Errorf("log: account %s: %w", e.Name(), err)
		}
		var f accountFile
		if json.Unmarshal(data, &f) != nil || f.Account != e.Name() || !validAccount(f.Account) || len(f.Salt) != 32 {
			return fmt.Errorf("%w: file of account %s", ErrCorrupt, e.Name())
		}
		view[f.Account] = l.makeAccount(f)
	}
	l.slots = make([]*account, len(view))
	for _, a := range view {
		if int(a.Slot) >= len(l.slots) || l.slots[a.Slot] != nil {
			return fmt.Errorf("%w: slot of account %s", ErrCorrupt, a.Account)
		}
		l.slots[a.Slot] = a
	}
	l.accounts.Store(&view)
	return nil
}

func (l *Log) account(name string) (*account, error) {
	if a := (*l.accounts.Load())[name]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoAccount, name)
}

// HasAccount says whether the account has a log.
func (l *Log) HasAccount(name string) bool {
	a, err := l.account(name)
	return err == nil && a.ready.Load()
}

// Accounts are the accounts that have a log, in no order.
func (l *Log) Accounts() []string {
	var names []string
	for name := range *l.accounts.Load() {
		names = append(names, name)
	}
	return names
}

// Configuration is what an account's principals may know of their log.
func (l *Log) Configuration(name string) (Configuration, error) {
	a, err := l.account(name)
	if err != nil {
		return Configuration{}, err
	}
	v, err := l.verifiers(a)
	if err != nil {
		return Configuration{}, err
	}
	c := Configuration{
		Account: a.Account, Label: a.label, Salt: a.Salt,
		Origin: record.Origin(l.cfg.Domain, a.label), PublicKey: a.Public,
	}
	for _, k := range v {
		c.Verifiers = append(c.Verifiers, k.String())
	}
	return c, nil
}

// verifiers are the keys that sign the account's log and the root log. A key
// has the name of the log that it signs.
func (l *Log) verifiers(a *account) ([]*tree.Verifier, error) {
	var list []*tree.Verifier
	for _, origin := range []string{record.Origin(l.cfg.Domain, a.label), record.RootOrigin(l.cfg.Domain)} {
		v, err := l.verifiersOf(origin)
		if err != nil {
			return nil, err
		}
		list = append(list, v...)
	}
	return list, nil
}

func (l *Log) verifiersOf(origin string) ([]*tree.Verifier, error) {
	ed, err := tree.NewVerifier(origin, tree.TypeEd25519, l.cfg.Ed25519)
	if err != nil {
		return nil, err
	}
	pq, err := tree.NewVerifier(origin, tree.TypeMLDSA44, l.cfg.MLDSA44)
	if err != nil {
		return nil, err
	}
	return []*tree.Verifier{ed, pq}, nil
}

// key returns the data key for the account's next event. When a new one is
// due, its key record is put into the queue first, under the lock, so that no
// event that it seals can come before it.
func (l *Log) key(a *account) (*dek, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := l.cfg.Clock.Now()
	if d := a.dek; d != nil && !d.failed.Load() && d.sealer.Used() < record.MaxEvents && now.Sub(d.made) < keyLife {
		return d, nil
	}
	var keyID [16]byte
	rand.Read(keyID[:])
	key := make([]byte, 32)
	rand.Read(key)
	defer secret.Wipe(key)
	wrapped, err := record.WrapKey(a.Public, a.Account, keyID, uint64(now.UnixMilli()), key)
	if err != nil {
		return nil, err
	}
	sealer, err := record.NewSealer(a.Account, keyID, key)
	if err != nil {
		return nil, err
	}
	d := &dek{sealer: sealer, made: now}
	event, err := record.ParseUUID(id.UUID())
	if err != nil {
		return nil, err
	}
	p := newPending()
	p.account, p.dek, p.blob = a, d, wrapped.Append(p.blob[:0])
	p.fill(record.KeyRecords, 0, event, now, keyID)
	p.leaf.Blob = hashOf(p.blob)
	d.record = p
	if err := l.enqueue(p); err != nil {
		return nil, err
	}
	a.dek = d
	return d, nil
}
