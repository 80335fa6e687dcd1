package keys

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"weak"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
)

// PolicyName is the only name that a key policy can have.
const PolicyName = "default"

// DefaultPolicy is the policy of a key that was created without one: it lets
// the account's own IAM policies decide (kms-api section 6).
func DefaultPolicy(account string) string {
	return `{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"` +
		arn.Root(account) + `"},"Action":"kms:*","Resource":"*"}]}`
}

// Delegation is DefaultPolicy, compiled. It also stands for the policy of what
// has none of its own: aliases, the list of keys, a key that does not exist.
// There the account's IAM policies decide alone.
func (k *Keys) Delegation(account string) *policy.Document {
	return k.docs.of(DefaultPolicy(account), nil).compiled()
}

// A PolicyCheck answers whether the caller could still change the policy of a
// key if it were as proposed: the key, which may not exist yet, with its new
// policy.
type PolicyCheck func(proposed *Key) bool

// A doc is a policy as it is stored. Keys with the same policy share it, and
// it is compiled when it is first needed: a start with many keys stays short.
type doc struct {
	text string
	ids  map[string]string // principal ARN -> unique id when the policy was put; not to be changed
	once sync.Once
	done *policy.Document // written once, under once
}

func (d *doc) compiled() *policy.Document {
	d.once.Do(func() {
		p, err := policy.Parse(policy.Key, []byte(d.text))
		if err != nil {
			return // fail closed: no policy, no access
		}
		d.done = p.Bind(d.ids)
	})
	return d.done
}

// interned finds the doc that other keys use already. It keeps none alive.
type interned struct {
	byHash sync.Map // [32]byte -> weak.Pointer[doc]
}

func (in *interned) of(text string, ids map[string]string) *doc {
	h := sha256.New()
	part := func(s string) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s)))) // length first: parts cannot run into each other
		h.Write([]byte(s))
	}
	part(text)
	for _, a := range slices.Sorted(maps.Keys(ids)) {
		part(a)
		part(ids[a])
	}
	key := [32]byte(h.Sum(nil))
	if v, ok := in.byHash.Load(key); ok {
		if d := v.(weak.Pointer[doc]).Value(); d != nil {
			return d
		}
	}
	d := &doc{text: text, ids: ids}
	w := weak.Make(d)
	in.byHash.Store(key, w)
	runtime.AddCleanup(d, func(key [32]byte) { in.byHash.CompareAndDelete(key, w) }, key)
	return d
}

// newPolicy checks a policy that a customer gave and binds its principals to
// the ids that they have now (policy-evaluation section 1).
func (k *Keys) newPolicy(text string) (*doc, error) {
	if len(text) > MaxPolicy {
		return nil, refuse(LimitExceeded, "The key policy exceeds the limit of %d bytes.", MaxPolicy)
	}
	p, err := policy.Parse(policy.Key, []byte(text))
	if err != nil {
		return nil, &Error{Kind: MalformedPolicy, Message: malformed(err), Err: err}
	}
	ids := map[string]string{}
	for _, ref := range p.Principals() {
		switch {
		case ref.Value == "*" || ref.Type == "Service":
			continue
		case ref.Type != "AWS":
			return nil, errPrincipals
		}
		name := ref.Value
		if arn.IsAccount(name) {
			name = arn.Root(name)
		}
		id, ok := k.cfg.Principals(name)
		if !ok {
			return nil, errPrincipals
		}
		if id != "" && !arn.IsAccount(id) { // an account is its own id
			ids[ref.Value] = id
		}
	}
	return k.docs.of(text, ids), nil
}

// malformed is the policy parser's own message, which says what and where.
func malformed(err error) string {
	if e, ok := errors.AsType[*policy.Error](err); ok {
		return e.Message
	}
	return "Syntax errors in policy."
}

var errPrincipals = refuse(MalformedPolicy, "Policy contains a statement with one or more invalid principals.")

var errLockout = refuse(MalformedPolicy, "The new key policy will not allow you to update the key policy in the future.")

// PutPolicy replaces the key policy. A nil check is the bypass of the lockout
// safety check.
func (k *Keys) PutPolicy(ctx context.Context, key *Key, text string, check PolicyCheck) error {
	if err := key.State.Permits("PutKeyPolicy", key.ARN); err != nil {
		return err
	}
	d, err := k.newPolicy(text)
	if err != nil {
		return err
	}
	proposed := *key
	proposed.policy = d
	if check != nil && !check(&proposed) {
		return errLockout
	}
	_, err = k.change(ctx, key.entry, func(next *Key) ([]kv.Op, error) {
		next.policy = d
		return nil, next.State.Permits("PutKeyPolicy", next.ARN)
	})
	return err
}

// ShownPolicy is the policy as its owner reads it: principals that were
// deleted since, even if others have their names now, appear as the bare ids
// that they had (policy-evaluation section 1).
func (k *Keys) ShownPolicy(key *Key) string {
	renamed := map[string]string{}
	for ref, id := range key.policy.ids {
		if now, ok := k.cfg.Principals(ref); ok && now == id {
			continue
		}
		renamed[ref] = id
		if k.cfg.PrincipalARN != nil {
			if now, ok := k.cfg.PrincipalARN(id); ok {
				renamed[ref] = now
			}
		}
	}
	if len(renamed) == 0 {
		return key.policy.text
	}
	return policy.RenamePrincipals(key.policy.text, renamed)
}
