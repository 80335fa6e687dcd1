package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/state/kv"
)

// A NewKey is what a customer wants made. Empty members take the defaults of
// the API.
type NewKey struct {
	Account          string
	Description      string
	Spec, Usage      string
	Origin           string
	CustomKeyStoreID string
	XksKeyID         string
	MultiRegion      bool
	Principal        string // ARN of the caller, and the id of the request: an external key store is told
	Request          string
	Policy           string // empty: DefaultPolicy
	Tags             []Tag
	Check            PolicyCheck // of a policy that was given; nil: the lockout safety check is bypassed
}

// usages are the key specs of the API and what each may be used for
// (kms-api section 3). The first spec's usage is also the default.
var usages = map[string]string{
	SpecSymmetric:           UsageEncrypt,
	"RSA_2048":              "ENCRYPT_DECRYPT SIGN_VERIFY",
	"RSA_3072":              "ENCRYPT_DECRYPT SIGN_VERIFY",
	"RSA_4096":              "ENCRYPT_DECRYPT SIGN_VERIFY",
	"ECC_NIST_P256":         "SIGN_VERIFY KEY_AGREEMENT",
	"ECC_NIST_P384":         "SIGN_VERIFY KEY_AGREEMENT",
	"ECC_NIST_P521":         "SIGN_VERIFY KEY_AGREEMENT",
	"ECC_SECG_P256K1":       "SIGN_VERIFY",
	"ECC_NIST_EDWARDS25519": "SIGN_VERIFY",
	"HMAC_224":              "GENERATE_VERIFY_MAC",
	"HMAC_256":              "GENERATE_VERIFY_MAC",
	"HMAC_384":              "GENERATE_VERIFY_MAC",
	"HMAC_512":              "GENERATE_VERIFY_MAC",
	"ML_DSA_44":             "SIGN_VERIFY",
	"ML_DSA_65":             "SIGN_VERIFY",
	"ML_DSA_87":             "SIGN_VERIFY",
	"SM2":                   "ENCRYPT_DECRYPT SIGN_VERIFY KEY_AGREEMENT",
}

// Complete fills the defaults in and refuses what cannot be or is not served:
// a parameter that is not honoured is never accepted.
func (n *NewKey) Complete() error {
	if n.Spec == "" {
		n.Spec = SpecSymmetric
	}
	if n.Usage == "" {
		if n.Spec != SpecSymmetric {
			return refuse(Validation, "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
		}
		n.Usage = UsageEncrypt
	}
	if !slices.Contains(strings.Fields(usages[n.Spec]), n.Usage) {
		return refuse(Validation, "KeyUsage %s is not compatible with KeySpec %s", n.Usage, n.Spec)
	}
	if n.Origin == "" {
		n.Origin = OriginKMS
	}
	if done, err := n.completeStore(); done {
		return err
	}
	switch {
	case n.Spec == "SM2": // only in the public service's Regions of China
		return refuse(Unsupported, "KeySpec %s is not supported.", n.Spec)
	case n.Origin == OriginExternal && strings.HasPrefix(n.Spec, "ML_DSA_"):
		return refuse(Unsupported, "Origin %s is not supported with KeySpec %s.", n.Origin, n.Spec)
	case n.Origin != OriginKMS && n.Origin != OriginExternal:
		return refuse(Unsupported, "Origin %s is not supported.", n.Origin)
	}
	return nil
}

// Create makes a key. It is there for everyone when Create returns.
func (k *Keys) Create(ctx context.Context, n NewKey) (made *Key, err error) {
	if err := n.Complete(); err != nil {
		return nil, err
	}
	if err := checkTags(n.Tags); err != nil {
		return nil, err
	}
	text, check := n.Policy, n.Check
	if text == "" {
		text, check = DefaultPolicy(n.Account), nil
	}
	d, err := k.newPolicy(text)
	if err != nil {
		return nil, err
	}
	keyID := newID(n.MultiRegion)
	key := &Key{
		ID: keyID, Account: n.Account, ARN: k.ARN(n.Account, keyID), Region: k.cfg.Region, away: k.away(), Description: n.Description,
		Spec: n.Spec, Usage: n.Usage, Origin: n.Origin, State: StateEnabled, Created: k.now(),
		Tags: sortTags(n.Tags), policy: d,
	}
	if n.MultiRegion {
		key.MultiRegion = &MultiRegion{Primary: key.Region}
	}
	if check != nil && !check(key) {
		return nil, errLockout
	}
	// The place in the quota is taken before the slow part, so that a burst cannot overshoot it.
	if err := k.reserve(n.Account); err != nil {
		return nil, err
	}
	defer k.release(n.Account) // admit counts the key itself
	if err := k.enroll(ctx, &n, key); err != nil {
		return nil, err
	}
	defer func() {
		if made == nil {
			k.stores.leave(key)
		}
	}()
	if n.Origin != OriginExternal { // else its owner brings the material
		fresh, err := k.cfg.Boundary.GenerateKey(ctx, key.boundary())
		if err != nil {
			return nil, k.boundaryError("create", key, err)
		}
		key.materials = []material{{ID: fresh.MaterialID[:], EKT: fresh.EKT, Created: key.Created.UnixMilli()}}
		key.Public = fresh.Public
	}
	key.settle()
	value, err := key.encode()
	if err != nil {
		return nil, fmt.Errorf("keys: encode %s: %w", keyID, err)
	}
	at := keyKey(n.Account, keyID)
	rev, err := k.store.Commit(ctx, []kv.Cond{{Key: at}}, []kv.Op{{Key: at, Value: value}})
	if err != nil {
		return nil, fmt.Errorf("keys: create: %w", errors.Join(err, k.discard(ctx, at, err)))
	}
	k.admit(key, rev)
	return key, nil
}

// discard removes what a commit of unknown outcome may have left: nobody
// knows the new key's name yet. If that fails too, the key appears at the
// next start, in the list of its owner, who can delete it.
func (k *Keys) discard(ctx context.Context, at kv.Key, cause error) error {
	var conflict *kv.ConflictError
	if errors.As(cause, &conflict) || errors.Is(cause, kv.ErrTooLarge) || errors.Is(cause, kv.ErrReadOnly) {
		return nil
	}
	_, err := k.store.Commit(context.WithoutCancel(ctx), nil, []kv.Op{{Key: at, Delete: true}})
	return err
}

func (k *Keys) reserve(account string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts[account] >= MaxKeys {
		return refuse(LimitExceeded, "The account has reached its limit of %d keys.", MaxKeys)
	}
	k.counts[account]++
	return nil
}

func (k *Keys) release(account string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts[account]--
}
