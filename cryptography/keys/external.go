package keys

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/xks"
)

// Keys in an external key store. The boundary encrypts with the key's own
// material; what comes of it, a whole ciphertext blob of type 02, goes to the
// external key as plaintext, and the external ciphertext is what the caller
// gets, in a blob of type 04 (message.ExternalBlob). So the proxy never sees a
// customer's plaintext, and nothing here decrypts without it. Nothing of an
// external answer is kept: a proxy that is switched off ends every use with
// the next call.
//
// The external ciphertext is bound, as its additional authenticated data, to
// SHA-256 of everything that names it: key ARN, material and encryption
// context. A hash, because the context may be as long as all the data that a
// proxy must take, and because the context is nobody's business there.

// The kinds of refusal that custom key stores have of their own.
const (
	StoreNotFound Kind = 96 + iota
	StoreNameInUse
	StoreInvalidState
	StoreHasKeys
	XksKeyInUse
	XksKeyInvalid
	XksKeyNotFound
	ProxyBadCredential
	ProxyInvalidConfiguration
	ProxyInvalidResponse
	ProxyURIInUse
	ProxyUnreachable
)

const externalPrefix = "leadglass xks aad v1\x00"

// completeStore checks the members of a new key that concern custom key stores. done
// means that nothing else about origin is to be checked.
func (n *NewKey) completeStore() (done bool, err error) {
	stored := n.Origin == OriginStore || n.Origin == "AWS_CLOUDHSM"
	switch {
	case n.XksKeyID != "" && n.Origin != OriginStore:
		return true, refuse(Validation, "XksKeyId is valid only for KMS keys with an Origin of EXTERNAL_KEY_STORE.")
	case n.CustomKeyStoreID != "" && !stored:
		return true, refuse(Validation, "CustomKeyStoreId is valid only for KMS keys with an Origin of AWS_CLOUDHSM or EXTERNAL_KEY_STORE.")
	case !stored:
		return false, nil
	case n.CustomKeyStoreID == "":
		return true, refuse(Validation, "CustomKeyStoreId is required for KMS keys with an Origin of %s.", n.Origin)
	case n.Spec != SpecSymmetric || n.Usage != UsageEncrypt:
		return true, refuse(Unsupported, "Custom key stores support only symmetric encryption keys.")
	case n.MultiRegion:
		return true, refuse(Unsupported, "Custom key stores do not support multi-Region keys.")
	case n.Origin == OriginStore && n.XksKeyID == "":
		return true, refuse(Validation, "XksKeyId is required for KMS keys with an Origin of EXTERNAL_KEY_STORE.")
	case n.XksKeyID != "" && !xks.ValidKeyID(n.XksKeyID):
		return true, refuse(Validation, "XksKeyId must have up to 128 letters, digits, hyphens, dots and underscores.")
	}
	return true, nil
}

// enroll checks, for a key that is to be made in a store, that the store is
// connected and the external key is what it must be, and takes the external
// key's place. The key that does not come about gives it back with stores.leave.
func (k *Keys) enroll(ctx context.Context, n *NewKey, key *Key) error {
	if n.CustomKeyStoreID == "" {
		return nil
	}
	s, err := k.StoreOf(n.Account, n.CustomKeyStoreID)
	switch {
	case err != nil:
		return err
	case n.Origin != OriginStore:
		return refuse(Unsupported, "Custom key store %s is an external key store: its KMS keys have the Origin EXTERNAL_KEY_STORE.", s.ID)
	case s.stale || s.State != Connected:
		return errStoreState(s, "it must be connected to make a KMS key in it")
	}
	key.CustomKeyStoreID, key.XksKeyID = n.CustomKeyStoreID, n.XksKeyID
	if err := k.stores.join(key); err != nil {
		return err
	}
	if err := k.inspect(ctx, key, s, n); err != nil {
		k.stores.leave(key)
		return err
	}
	return nil
}

// inspect asks what the external key is. All of the specification's three
// conditions must hold.
func (k *Keys) inspect(ctx context.Context, key *Key, s *Store, n *NewKey) error {
	e := k.stores.get(s.ID)
	if e == nil {
		return errStoreMissing(s.ID)
	}
	c, err := k.clientOf(ctx, e, s)
	if err != nil {
		return err
	}
	if !c.Fits(key.XksKeyID) {
		return refuse(XksKeyNotFound, "%s", xks.KeyNotFound.Text())
	}
	x, err := c.Key(ctx, key.XksKeyID, xks.RequestMetadata{AWSPrincipalArn: n.Principal, KMSOperation: "CreateKey", KMSRequestID: n.Request})
	if err != nil {
		return createError(s.ID, err)
	}
	if x.Spec != xks.SpecAES256 || x.Status != xks.StatusEnabled || !slices.Contains(x.Usage, xks.UsageEncrypt) || !slices.Contains(x.Usage, xks.UsageDecrypt) {
		return refuse(XksKeyInvalid, "The external key must be an enabled AES_256 key that encrypts and decrypts.")
	}
	return nil
}

// createError is what a proxy's failure means to whoever makes a key.
func createError(storeID string, err error) error {
	e, ok := errors.AsType[*xks.Error](err)
	if !ok {
		return err
	}
	kind := StoreInvalidState
	switch e.Kind {
	case xks.KeyNotFound:
		kind = XksKeyNotFound
	case xks.InvalidState, xks.InvalidKeyUsage:
		kind = XksKeyInvalid
	case xks.AccessDenied:
		kind = InvalidState
	}
	return &Error{Kind: kind, Message: inStore(storeID, e.Kind), Err: err}
}

// inStore names the store beside the public service's text. What the proxy
// said in words of its own stays out.
func inStore(storeID string, kind xks.Kind) string {
	return fmt.Sprintf("Custom key store %s: %s", storeID, kind.Text())
}

// reachable refuses the use of a key whose store is not connected.
func (k *Keys) reachable(key *Key) error {
	if key.CustomKeyStoreID == "" {
		return nil
	}
	_, _, err := k.connected(key)
	return err
}

func (k *Keys) connected(key *Key) (*storeEntry, *Store, error) {
	e := k.stores.get(key.CustomKeyStoreID)
	if e != nil {
		if s := e.now.Load(); s.State == Connected && !s.stale {
			return e, s, nil
		}
	}
	return nil, nil, refuse(InvalidState, "%s is unavailable: this KMS key is in custom key store %s, which is not connected to its external key store proxy. Connect the external key store and try the request again.", key.ARN, key.CustomKeyStoreID)
}

// shown is the key as others see it: Unavailable, while its store is not
// connected and it is not on its way to its end.
func (k *Keys) shown(key *Key) *Key {
	if key == nil || key.CustomKeyStoreID == "" || key.State != StateEnabled && key.State != StateDisabled || k.reachable(key) == nil {
		return key
	}
	away := *key
	away.State = StateUnavailable
	return &away
}

// outward has the external key encrypt what the boundary made. For a key of no
// store it is what the boundary made.
func (k *Keys) outward(ctx context.Context, u Use, key *Key, operation string, blob []byte, encCtx map[string]string) ([]byte, error) {
	if key.CustomKeyStoreID == "" {
		return blob, nil
	}
	e, s, err := k.connected(key)
	if err != nil {
		return nil, err
	}
	c, err := k.clientOf(ctx, e, s)
	if err != nil {
		return nil, err
	}
	id, err := message.MaterialOf(blob)
	if err != nil {
		return nil, fmt.Errorf("keys: encrypt with %s: %w", key.ID, err)
	}
	aad, err := externalAAD(key, id, encCtx)
	if err != nil {
		return nil, err
	}
	sealed, err := c.Encrypt(ctx, key.XksKeyID, u.metadata(key, operation), blob, aad)
	if err != nil {
		return nil, k.useError(s.ID, err)
	}
	return message.AppendExternal(nil, &message.ExternalBlob{Material: id, IV: sealed.IV, Tag: sealed.Tag, Metadata: sealed.Metadata, Ciphertext: sealed.Ciphertext})
}

// inward has the external key open a ciphertext, and gives what the boundary
// made. A key of a store takes no other blobs, and other keys not these.
func (k *Keys) inward(ctx context.Context, u Use, key *Key, operation string, blob []byte, encCtx map[string]string) ([]byte, error) {
	if key.CustomKeyStoreID == "" {
		if message.IsExternal(blob) {
			return nil, errCiphertext
		}
		return blob, nil
	}
	outer, err := message.ParseExternal(blob)
	if err != nil {
		return nil, errCiphertext
	}
	if u.For != nil && len(u.For.Body) > 0 {
		// The boundary signs what it sees in the request, and it sees no ciphertext of this kind.
		return nil, refuse(Unsupported, "A signed answer cannot be given for a ciphertext of a key in custom key store %s.", key.CustomKeyStoreID)
	}
	e, s, err := k.connected(key)
	if err != nil {
		return nil, err
	}
	c, err := k.clientOf(ctx, e, s)
	if err != nil {
		return nil, err
	}
	aad, err := externalAAD(key, outer.Material, encCtx)
	if err != nil {
		return nil, err
	}
	inner, err := c.Decrypt(ctx, key.XksKeyID, u.metadata(key, operation),
		&xks.Sealed{Ciphertext: outer.Ciphertext, IV: outer.IV, Tag: outer.Tag, Metadata: outer.Metadata}, aad)
	if err != nil {
		return nil, k.useError(s.ID, err)
	}
	// A proxy that answers with something else is caught by the boundary: it authenticates the inner blob.
	if id, err := message.MaterialOf(inner); err != nil || id != outer.Material {
		return nil, &Error{Kind: InvalidState, Message: inStore(s.ID, xks.BadResponse)}
	}
	return inner, nil
}

func externalAAD(key *Key, material [32]byte, encCtx map[string]string) ([]byte, error) {
	c, err := message.AppendContext(nil, encCtx)
	if err != nil {
		return nil, errCiphertext
	}
	b := binary.BigEndian.AppendUint32([]byte(externalPrefix), uint32(len(key.ARN)))
	b = append(append(append(b, key.ARN...), material[:]...), c...)
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// metadata is what the proxy is told of a use.
func (u *Use) metadata(key *Key, operation string) xks.RequestMetadata {
	return xks.RequestMetadata{AWSPrincipalArn: u.Principal, KMSKeyArn: key.ARN, KMSOperation: operation, KMSRequestID: u.Request}
}

// useError is what a proxy's failure means to whoever uses a key: always that
// the key's state forbids it (section Error codes of the specification).
func (k *Keys) useError(storeID string, err error) error {
	e, ok := errors.AsType[*xks.Error](err)
	if !ok {
		return err
	}
	k.cfg.Log.Warn("keys: a proxy did not do it", "store", storeID, "error", err)
	return &Error{Kind: InvalidState, Message: inStore(storeID, e.Kind), Err: err}
}

// materialIn reads the id of the material that a ciphertext names, whichever
// type it is of.
func materialIn(blob []byte) ([32]byte, error) {
	if !message.IsExternal(blob) {
		return hsm.MaterialOf(blob)
	}
	outer, err := message.ParseExternal(blob)
	if err != nil {
		return [32]byte{}, hsm.ErrAuthFailed
	}
	return outer.Material, nil
}
