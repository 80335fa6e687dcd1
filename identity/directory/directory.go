// Package directory knows who there is: accounts, users, groups, roles, their
// access keys and the policies that hang on them (sts-and-fas sections 1 and 2).
//
// Start with Open. The methods carry the names of IAM's operations and take
// the account first; service/iam translates shapes and errors and does nothing
// else. Users, roles, groups and instance profiles share what they have in
// common: attachments, inline policies and tags take a Kind. Every refusal is an
// *Error that carries IAM's code and message.
//
// Two lookups serve every request that the house answers and take no lock:
// Credential (access key id to its record) and Principal (unique id to an
// immutable Snapshot: name, tags and compiled policies as they are now). A
// change is visible to both before the call that made it returns. Both hand
// out the same pointer as long as nothing changed, so callers may cache what
// they derive from one and compare pointers.
//
// Secrets are not here: an access key's secret is made and sealed by the
// authority (Config.Authority), and what the store keeps is the sealed record.
// A group is nobody: it has no Snapshot and cannot be named as a principal. What
// hangs on it is part of its members' Snapshots. A service-linked role belongs to
// a service: beyond its description and its tags nothing of it can be changed.
//
// What is promised: names are unique without regard to case; an entity that
// was deleted and made anew has another unique id, and nothing that was bound
// to the old id (sessions, trust policies, key policies, grants) applies to it;
// a policy that this package accepted is enforced whole. Records are CBOR in
// the tables A and I of the store; every change is one commit, conditional on
// what it read.
package directory

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
)

// An Authority keeps the secrets that the directory must not have;
// *authority.Client is one.
type Authority interface {
	// NewSecret makes the secret of an access key. The sealed form can be opened by
	// the authority alone.
	NewSecret(ctx context.Context, account, accessKeyID string) (sealed []byte, sec *secret.Bytes, err error)
	// Revoke ends the sessions of a credential or principal. It is told after the
	// change is durable, when the directory's own answers (Credential, Principal) are
	// final already; it reaches those who cache.
	Revoke(ctx context.Context, r authority.Revocation) (epoch uint64, err error)
}

// A Config configures Open. Clock and Authority are required.
type Config struct {
	Clock     clock.Clock
	Authority Authority
	Quotas    Quotas // zero fields: AWS's defaults
}

// Quotas limit what one account may hold. Zero means the default in brackets.
type Quotas struct {
	Users            int // [5000]
	Roles            int // [1000]
	Groups           int // [300]
	GroupsPerUser    int // [10]
	Profiles         int // [1000] instance profiles
	Policies         int // [1500] customer managed
	AttachedPolicies int // [10] per user, role or group; at most 20
	TrustPolicy      int // [2048] characters; at most 4096
}

// A Directory is safe for concurrent use.
type Directory struct {
	store     kv.Store
	clock     clock.Clock
	authority Authority
	quotas    Quotas

	principals  sync.Map                   // unique id to *entity
	credentials sync.Map                   // access key id to *key
	managed     map[string]*operatorPolicy // immutable; by ARN

	mu     sync.RWMutex
	realms map[string]*realm // guarded by mu; by account

	parsed struct {
		mu   sync.Mutex
		docs map[parsedText]*policy.Document // guarded by mu
	}

	dirty dirty
	stop  context.CancelFunc
	done  chan struct{} // closed when run has returned
}

// Open loads every account from store and starts writing last uses in the
// background. The caller closes the directory before the store.
func Open(ctx context.Context, store kv.Store, cfg Config) (*Directory, error) {
	if err := cfg.valid(); err != nil {
		return nil, err
	}
	managed, err := operatorPolicies()
	if err != nil {
		return nil, err
	}
	d := &Directory{
		store: store, clock: cfg.Clock, authority: cfg.Authority, quotas: cfg.Quotas.orDefault(),
		managed: managed, realms: make(map[string]*realm), done: make(chan struct{}),
	}
	d.parsed.docs = make(map[parsedText]*policy.Document)
	d.dirty.uses = make(map[string]*realm)
	err = d.scan(ctx, kv.Table('A'), func(e kv.Entry) error {
		first, rest, err := kv.ReadText(e.Key[1:])
		if err != nil {
			return corrupt(e.Key, err)
		}
		if first != "account" {
			return nil
		}
		account, _, err := kv.ReadText(rest)
		if err != nil {
			return corrupt(e.Key, err)
		}
		return d.apply(d.realmToLoad(account), e.Key, e.Value, e.Mod)
	})
	if err != nil {
		return nil, err
	}
	if err := d.load(ctx); err != nil {
		return nil, err
	}
	for _, r := range d.realms {
		r.mu.Lock()
		r.loaded()
		r.mu.Unlock()
	}
	// The goroutine outlives the call that starts it; Close ends it.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	go d.run(running)
	return d, nil
}

// Close stops the background work and writes the last uses that are not
// written yet. Lookups stay possible; changes need the store.
func (d *Directory) Close(ctx context.Context) error {
	d.stop()
	<-d.done
	return d.flush(ctx)
}

func (c Config) valid() error {
	var errs []error
	if c.Clock == nil {
		errs = append(errs, errors.New("directory: Config.Clock is required"))
	}
	if c.Authority == nil {
		errs = append(errs, errors.New("directory: Config.Authority is required"))
	}
	if q := c.Quotas; q.AttachedPolicies > 20 || q.TrustPolicy > 4096 {
		errs = append(errs, errors.New("directory: Config.Quotas: at most 20 attached policies and 4096 characters of trust policy"))
	}
	return errors.Join(errs...)
}

func (q Quotas) orDefault() Quotas {
	return Quotas{
		Users:            cmp.Or(q.Users, 5000),
		Roles:            cmp.Or(q.Roles, 1000),
		Groups:           cmp.Or(q.Groups, 300),
		GroupsPerUser:    cmp.Or(q.GroupsPerUser, 10),
		Profiles:         cmp.Or(q.Profiles, 1000),
		Policies:         cmp.Or(q.Policies, 1500),
		AttachedPolicies: cmp.Or(q.AttachedPolicies, 10),
		TrustPolicy:      cmp.Or(q.TrustPolicy, 2048),
	}
}

// realm finds an account's realm, or nil.
func (d *Directory) realm(account string) *realm {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.realms[account]
}

// need is realm for callers that must have the account.
func (d *Directory) need(account string) (*realm, error) {
	if r := d.realm(account); r != nil {
		return r, nil
	}
	return nil, ErrNoAccount
}

// A Credential is one long-term access key as the authenticator needs it. It
// is immutable.
type Credential struct {
	AccessKeyID string
	Account     string
	PrincipalID string // AIDA...
	Sealed      []byte // opened by the authority alone; not to be changed
	Active      bool
	// SessionsSince is when the key was last set inactive: sessions that it made
	// until then are dead, even if it is active again.
	SessionsSince time.Time
}

// Credential finds an access key. It takes no lock.
func (d *Directory) Credential(accessKeyID string) (*Credential, bool) {
	v, ok := d.credentials.Load(accessKeyID)
	if !ok {
		return nil, false
	}
	c := v.(*key).credential.Load()
	return c, c != nil
}
