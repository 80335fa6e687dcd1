package directory

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/leadglass/leadglass/state/kv"
)

// How the directory rests in the store. Values are CBOR maps with small
// integer labels, so that a later release may add fields; times are Unix
// milliseconds.
//
//	A "account" ACCOUNT                      accountRecord
//	A "enrolment" SHA256(code)               enrolmentRecord
//	A "alias" ALIAS                          account: what makes aliases unique
//	I ACCOUNT "entity" UNIQUE-ID             entityRecord (users, roles, groups, instance profiles)
//	I ACCOUNT "name" KIND lower(NAME)        unique id: what makes names unique
//	I ACCOUNT "policy" UNIQUE-ID             policyRecord
//	I ACCOUNT "version" UNIQUE-ID NUMBER     versionRecord
//	I ACCOUNT "key" ACCESS-KEY-ID            keyRecord
//	I ACCOUNT "used" ID                      usedRecord (access keys and roles)
//	I ACCOUNT "deletion" UUID                deletionRecord (of service-linked roles)
//	I ACCOUNT "oidc" URL                     oidcRecord (OpenID Connect providers)
//	I ACCOUNT "outbound" "issuer"            outboundRecord (outbound web identity)
//	I ACCOUNT "accessed" UNIQUE-ID           accessedRecord (users and roles)
//	I ACCOUNT "mfa" lower(PATH NAME)         mfaRecord
//	I ACCOUNT "login" UNIQUE-ID              loginRecord (users)
//	I ACCOUNT "password-policy" "account"    passwordPolicyRecord

type accountRecord struct {
	Name      string `cbor:"1,keyasint"`
	Created   int64  `cbor:"2,keyasint"`
	Operator  bool   `cbor:"3,keyasint,omitempty"`
	Enrolled  int64  `cbor:"4,keyasint,omitempty"`
	Enrolment []byte `cbor:"5,keyasint,omitempty"` // SHA-256 of the code that counts
	Alias     string `cbor:"6,keyasint,omitempty"`
}

type enrolmentRecord struct {
	Account  string `cbor:"1,keyasint"`
	Expires  int64  `cbor:"2,keyasint"`
	Redeemed int64  `cbor:"3,keyasint,omitempty"`
}

type tagRecord struct {
	_     struct{} `cbor:",toarray"`
	Key   string
	Value string
}

type inlineRecord struct {
	_    struct{} `cbor:",toarray"`
	Name string
	Text string
}

// An entityRecord is a user, a role, a group or an instance profile.
type entityRecord struct {
	Kind     Kind           `cbor:"1,keyasint"`
	ID       string         `cbor:"2,keyasint"`
	Name     string         `cbor:"3,keyasint"`
	Path     string         `cbor:"4,keyasint"`
	Created  int64          `cbor:"5,keyasint"`
	Boundary string         `cbor:"6,keyasint,omitempty"` // policy ARN
	Tags     []tagRecord    `cbor:"7,keyasint,omitempty"`
	Attached []string       `cbor:"8,keyasint,omitempty"` // policy ARNs
	Inline   []inlineRecord `cbor:"9,keyasint,omitempty"`
	// Keys are the access keys of a user. They stand here too, so that the limit of
	// two and the delete rule hold under concurrent commits: whoever adds or removes
	// a key writes this record.
	Keys        []string `cbor:"10,keyasint,omitempty"`
	Description string   `cbor:"11,keyasint,omitempty"`
	Trust       string   `cbor:"12,keyasint,omitempty"`
	// Bound are the unique ids of the users and roles that Trust named when it was
	// saved, by ARN (policy-evaluation section 1, "Principals are stored as ids").
	Bound      map[string]string `cbor:"13,keyasint,omitempty"`
	MaxSession int               `cbor:"14,keyasint,omitempty"`
	// Groups are the unique ids of the groups that a user is in. Members counts the
	// users of a group, so that joining and deleting a group collide in the store.
	Groups  []string `cbor:"15,keyasint,omitempty"`
	Members int      `cbor:"16,keyasint,omitempty"`
	// Profiles are the unique ids of the instance profiles that a role is in, and Role
	// is the unique id of the role of an instance profile: each delete rule needs its side.
	Profiles []string `cbor:"17,keyasint,omitempty"`
	Role     string   `cbor:"18,keyasint,omitempty"`
	// Service is the service principal that a service-linked role belongs to.
	Service string `cbor:"19,keyasint,omitempty"`
	// MFA are the devices of a user, and Login says whether there is a login
	// profile: here too, as Keys are.
	MFA   []string `cbor:"40,keyasint,omitempty"`
	Login bool     `cbor:"41,keyasint,omitempty"`
}

type policyRecord struct {
	ID          string          `cbor:"1,keyasint"`
	Name        string          `cbor:"2,keyasint"`
	Path        string          `cbor:"3,keyasint"`
	Description string          `cbor:"4,keyasint,omitempty"`
	Created     int64           `cbor:"5,keyasint"`
	Updated     int64           `cbor:"6,keyasint"`
	Default     uint64          `cbor:"7,keyasint"`
	Next        uint64          `cbor:"8,keyasint"` // number of the next version; numbers are not used twice
	Versions    []versionNumber `cbor:"9,keyasint"`
	Tags        []tagRecord     `cbor:"10,keyasint,omitempty"`
	// Uses counts attachments and uses as boundary. It stands here so that attaching
	// and deleting collide in the store; what is shown is counted in memory.
	Uses int `cbor:"11,keyasint,omitempty"`
}

type versionNumber struct {
	_       struct{} `cbor:",toarray"`
	Number  uint64
	Created int64
}

type versionRecord struct {
	Text string `cbor:"1,keyasint"`
}

type keyRecord struct {
	User    string `cbor:"1,keyasint"` // unique id
	Created int64  `cbor:"2,keyasint"`
	Active  bool   `cbor:"3,keyasint,omitempty"`
	Sealed  []byte `cbor:"4,keyasint"`
	// Since is when the key was last set inactive: sessions that it made before do
	// not come back when it is set active again.
	Since int64 `cbor:"5,keyasint,omitempty"`
}

type usedRecord struct {
	Time    int64  `cbor:"1,keyasint"`
	Service string `cbor:"2,keyasint"`
	Region  string `cbor:"3,keyasint"`
}

// Sections of table I.
const (
	sectionEntity  = "entity"
	sectionName    = "name"
	sectionPolicy  = "policy"
	sectionVersion = "version"
	sectionKey     = "key"
	sectionUsed    = "used"

	sectionDeletion       = "deletion"
	sectionAccessed       = "accessed"
	sectionMFA            = "mfa"
	sectionLogin          = "login"
	sectionPasswordPolicy = "password-policy"
)

func accountKey(account string) kv.Key { return kv.Table('A').Text("account").Text(account) }

func enrolmentKey(hash []byte) kv.Key {
	return kv.Table('A').Text("enrolment").Text(hex.EncodeToString(hash))
}

func recordKey(account, section, id string) kv.Key {
	return kv.Table('I').Text(account).Text(section).Text(id)
}

func nameKey(account string, kind Kind, name string) kv.Key {
	return kv.Table('I').Text(account).Text(sectionName).Text(kind.String()).Text(fold(name))
}

func versionKey(account, policy string, n uint64) kv.Key {
	return recordKey(account, sectionVersion, policy).Uint(n)
}

// A tx collects what one change reads and writes. Every record that is
// replaced is conditional on the revision it was read at, every new one on its
// absence.
type tx struct {
	conds []kv.Cond
	ops   []kv.Op
	err   error
}

func (t *tx) put(key kv.Key, record any, mod kv.Rev) {
	value, err := cbor.Marshal(record)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("directory: encode record: %w", err)
	}
	t.conds = append(t.conds, kv.Cond{Key: key, Mod: mod})
	t.ops = append(t.ops, kv.Op{Key: key, Value: value})
}

// putAlways writes a record that no condition guards.
func (t *tx) putAlways(key kv.Key, record any) {
	n := len(t.conds)
	t.put(key, record, 0)
	t.conds = t.conds[:n]
}

func (t *tx) insert(key kv.Key, record any) { t.put(key, record, 0) }

func (t *tx) delete(key kv.Key, mod kv.Rev) {
	t.conds = append(t.conds, kv.Cond{Key: key, Mod: mod})
	t.ops = append(t.ops, kv.Op{Key: key, Delete: true})
}

// drop deletes what no condition needs to guard, because the record it belongs to is guarded.
func (t *tx) drop(key kv.Key) { t.ops = append(t.ops, kv.Op{Key: key, Delete: true}) }

// index writes the name of an entity; the value is its id.
func (t *tx) index(key kv.Key, id string) {
	t.conds = append(t.conds, kv.Cond{Key: key})
	t.ops = append(t.ops, kv.Op{Key: key, Value: []byte(id)})
}

// attempts bounds how often a change is tried again after somebody else
// changed the same record.
const attempts = 8

// change runs build against the realm as it is, commits what it collected and
// publishes it before returning. Writers of one account take turns: build may
// read the realm without its lock, and conflicts come only from other processes.
func (d *Directory) change(ctx context.Context, r *realm, build func(t *tx) error) error {
	r.write.Lock()
	defer r.write.Unlock()
	if r.stale {
		if err := d.reload(ctx, r); err != nil {
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
		rev, err := d.store.Commit(ctx, t.conds, t.ops)
		switch _, conflict := errors.AsType[*kv.ConflictError](err); {
		case err == nil:
			return d.publish(r, t.ops, rev)
		case conflict:
			// Another process wrote this account; its commits are not followed yet.
			if err := d.reload(ctx, r); err != nil {
				return err
			}
		case errors.Is(err, kv.ErrTooLarge):
			return refuse(LimitExceeded, "Cannot exceed quota for PolicySize: %d", kv.MaxValue)
		case errors.Is(err, kv.ErrReadOnly):
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		default:
			return d.settle(ctx, r, &t, err)
		}
	}
	return refuse(ConcurrentModification, "The request was rejected because multiple requests to change this object were submitted simultaneously. Wait a few minutes and submit your request again.")
}

// settle finds out what became of a commit whose outcome is unknown.
func (d *Directory) settle(ctx context.Context, r *realm, t *tx, cause error) error {
	// The caller's context may be what ended the commit.
	ctx = context.WithoutCancel(ctx)
	done := true
	for _, op := range t.ops {
		e, err := d.store.Get(ctx, op.Key)
		if err != nil {
			r.stale = true // the next change starts with what the store says
			return fmt.Errorf("%w: %w", ErrUnavailable, cause)
		}
		if op.Delete != (e.Mod == 0) || !op.Delete && string(e.Value) != string(op.Value) {
			done = false
		}
		if err := d.apply(r, op.Key, e.Value, e.Mod); err != nil {
			return err
		}
	}
	if done {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}

// publish makes a commit visible to readers, all of it at once.
func (d *Directory) publish(r *realm, ops []kv.Op, rev kv.Rev) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range ops {
		mod := rev
		if op.Delete {
			mod = 0
		}
		if err := d.applyLocked(r, op.Key, op.Value, mod); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) apply(r *realm, key, value []byte, mod kv.Rev) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return d.applyLocked(r, key, value, mod)
}

// reload reads one account anew. Caller holds r.write.
func (d *Directory) reload(ctx context.Context, r *realm) error {
	e, err := d.store.Get(ctx, accountKey(r.account))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := d.apply(r, accountKey(r.account), e.Value, e.Mod); err != nil {
		return err
	}
	seen := make(map[string]bool)
	err = d.scan(ctx, kv.Table('I').Text(r.account), func(e kv.Entry) error {
		seen[string(e.Key)] = true
		return d.apply(r, e.Key, e.Value, e.Mod)
	})
	if err != nil {
		return err
	}
	for _, key := range r.recordKeys() {
		if !seen[string(key)] {
			if err := d.apply(r, key, nil, 0); err != nil {
				return err
			}
		}
	}
	r.stale = false
	return nil
}

// scan calls f for every entry under prefix, as of one revision.
func (d *Directory) scan(ctx context.Context, prefix kv.Key, f func(kv.Entry) error) error {
	return d.scanPages(ctx, prefix, func(page []kv.Entry) error {
		for _, e := range page {
			if err := f(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// scanPages is scan, page by page.
func (d *Directory) scanPages(ctx context.Context, prefix kv.Key, f func([]kv.Entry) error) error {
	for page, err := range kv.Pages(ctx, d.store, prefix, kv.MaxScan) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if err := f(page); err != nil {
			return err
		}
	}
	return nil
}

// applyLocked takes one entry of the store into memory; mod 0 is an absent
// one. Own commits, Open and (in a cluster) the commits of others come the same
// way, so that what is in memory is always what a restart would load.
func (d *Directory) applyLocked(r *realm, key, value []byte, mod kv.Rev) error {
	if len(key) == 0 {
		return fmt.Errorf("directory: %w: empty key", kv.ErrCorrupt)
	}
	first, rest, err := kv.ReadText(key[1:])
	if err != nil {
		return corrupt(key, err)
	}
	if key[0] == 'A' {
		if first != "account" {
			return nil // enrolments and aliases are read when they are asked for
		}
		var rec accountRecord
		if err := decode(key, value, mod, &rec); err != nil {
			return err
		}
		r.accountRec, r.accountMod = rec, mod
		return nil
	}
	section, rest, err := kv.ReadText(rest)
	if err != nil {
		return corrupt(key, err)
	}
	if section == sectionName {
		return nil // follows from the records
	}
	id, rest, err := kv.ReadText(rest)
	if err != nil {
		return corrupt(key, err)
	}
	switch section {
	case sectionEntity:
		var strange error
		err := applyRecord(key, value, mod, func(rec *entityRecord) {
			if rec != nil {
				if strange = rec.Kind.known(key); strange != nil {
					return
				}
			}
			d.setEntity(r, id, rec, mod)
		})
		return errors.Join(err, strange)
	case sectionPolicy:
		return applyRecord(key, value, mod, func(rec *policyRecord) { r.setPolicy(id, rec, mod) })
	case sectionKey:
		return applyRecord(key, value, mod, func(rec *keyRecord) { d.setKey(r, id, rec, mod) })
	case sectionUsed:
		return applyRecord(key, value, mod, func(rec *usedRecord) { r.setUsed(id, rec) })
	case sectionDeletion:
		return applyRecord(key, value, mod, func(rec *deletionRecord) { r.setDeletion(id, rec) })
	case sectionOIDC:
		return applyRecord(key, value, mod, func(rec *oidcRecord) { d.setProvider(r, id, rec, mod) })
	case sectionOutbound:
		return applyRecord(key, value, mod, func(rec *outboundRecord) { d.setOutbound(r, rec, mod) })
	case sectionAccessed:
		return applyRecord(key, value, mod, func(rec *accessedRecord) { d.setAccessed(r, id, rec) })
	case sectionMFA:
		return applyRecord(key, value, mod, func(rec *mfaRecord) { r.setMFA(id, rec, mod) })
	case sectionLogin:
		return applyRecord(key, value, mod, func(rec *loginRecord) { r.setLogin(id, rec, mod) })
	case sectionPasswordPolicy:
		return applyRecord(key, value, mod, func(rec *passwordPolicyRecord) { r.setPasswordPolicy(rec, mod) })
	case sectionVersion:
		n, _, err := kv.ReadUint(rest)
		if err != nil {
			return corrupt(key, err)
		}
		return applyRecord(key, value, mod, func(rec *versionRecord) { r.setVersion(id, n, rec) })
	}
	return corrupt(key, errors.New("unknown section"))
}

// applyRecord decodes a record and hands it to set; nil means it is gone.
func applyRecord[R any](key, value []byte, mod kv.Rev, set func(*R)) error {
	if mod == 0 {
		set(nil)
		return nil
	}
	rec := new(R)
	if err := decode(key, value, mod, rec); err != nil {
		return err
	}
	set(rec)
	return nil
}

func decode(key, value []byte, mod kv.Rev, rec any) error {
	if mod == 0 {
		return nil
	}
	if err := cbor.Unmarshal(value, rec); err != nil {
		return corrupt(key, err)
	}
	return nil
}

// corrupt names the key's section at most: the error may be logged.
func corrupt(key []byte, err error) error {
	return fmt.Errorf("directory: record under a key of %d bytes in table %q: %w: %w", len(key), key[:1], kv.ErrCorrupt, err)
}
