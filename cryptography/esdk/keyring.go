package esdk

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/leadglass/leadglass/identity/arn"
)

// A Keyring seals data keys and opens them. The first keyring of a writer
// makes the data key.
type Keyring interface {
	// Generate makes a data key of n bytes and seals it.
	Generate(ctx context.Context, n int, encCtx map[string]string) (dataKey []byte, sealed EncryptedKey, err error)
	// Wrap seals a data key that another keyring made.
	Wrap(ctx context.Context, dataKey []byte, encCtx map[string]string) (EncryptedKey, error)
	// Open opens a data key of n bytes. ErrNotMine says that the keyring has no part in it.
	Open(ctx context.Context, sealed EncryptedKey, n int, encCtx map[string]string) (dataKey []byte, err error)
}

// ErrNotMine is returned by a keyring for a data key that is not its own.
var ErrNotMine = errors.New("esdk: not a key of this keyring")

// generate makes a data key for keyrings that can only wrap.
func generate(ctx context.Context, k Keyring, n int, encCtx map[string]string) ([]byte, EncryptedKey, error) {
	key := make([]byte, n)
	rand.Read(key)
	sealed, err := k.Wrap(ctx, key, encCtx)
	if err != nil {
		clear(key)
		return nil, EncryptedKey{}, err
	}
	return key, sealed, nil
}

// rawAES is the raw AES keyring: AES-GCM under a key of the user's own. Info is
// key name ‖ u32 tag length in bits ‖ u32 IV length ‖ IV; the AAD is the
// context.
type rawAES struct {
	namespace, name string
	aead            cipher.AEAD
}

// RawAES is a keyring of an AES key of 16, 24 or 32 bytes, which the namespace
// and the name tell from others.
func RawAES(namespace, name string, key []byte) (Keyring, error) {
	if err := rawName(namespace, name); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("esdk: raw AES key of %d bytes", len(key))
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("esdk: %w", err)
	}
	return &rawAES{namespace, name, aead}, nil
}

func rawName(namespace, name string) error {
	if namespace == "" || name == "" || namespace == providerKMS {
		return fmt.Errorf("esdk: a raw key needs a name and a namespace other than %q", providerKMS)
	}
	return nil
}

func (k *rawAES) prefix() []byte {
	b := []byte(k.name)
	b = binary.BigEndian.AppendUint32(b, tagLen*8)
	return binary.BigEndian.AppendUint32(b, ivLen)
}

func (k *rawAES) Generate(ctx context.Context, n int, encCtx map[string]string) ([]byte, EncryptedKey, error) {
	return generate(ctx, k, n, encCtx)
}

// Wrap uses a random 96-bit IV: the key is the user's own and is used for data
// keys alone, far fewer than the 2^32 that SP 800-38D section 8.3 allows.
func (k *rawAES) Wrap(_ context.Context, dataKey []byte, encCtx map[string]string) (EncryptedKey, error) {
	aad, err := appendContext(nil, encCtx)
	if err != nil {
		return EncryptedKey{}, err
	}
	iv := make([]byte, ivLen)
	rand.Read(iv)
	return EncryptedKey{k.namespace, append(k.prefix(), iv...), k.aead.Seal(nil, iv, dataKey, aad)}, nil
}

func (k *rawAES) Open(_ context.Context, sealed EncryptedKey, n int, encCtx map[string]string) ([]byte, error) {
	prefix := k.prefix()
	if sealed.Provider != k.namespace || len(sealed.Info) != len(prefix)+ivLen || !bytes.HasPrefix(sealed.Info, prefix) {
		return nil, ErrNotMine
	}
	aad, err := appendContext(nil, encCtx)
	if err != nil {
		return nil, err
	}
	key, err := k.aead.Open(nil, sealed.Info[len(prefix):], sealed.Ciphertext, aad)
	if err != nil || len(key) != n {
		return nil, fmt.Errorf("%w: raw AES key %s", ErrAuthentication, k.name)
	}
	return key, nil
}

// rawRSA is the raw RSA keyring: OAEP without label, MGF1 with the same hash.
// It does not bind the encryption context, which the header's tag does.
type rawRSA struct {
	namespace, name string
	public          *rsa.PublicKey
	private         *rsa.PrivateKey
	hash            crypto.Hash
}

// RawRSA is a keyring of an RSA key. Without the private key it only seals,
// without the public key only opens. hash is that of OAEP: SHA-1, 256, 384 or
// 512.
func RawRSA(namespace, name string, public *rsa.PublicKey, private *rsa.PrivateKey, hash crypto.Hash) (Keyring, error) {
	if err := rawName(namespace, name); err != nil {
		return nil, err
	}
	if public == nil && private == nil || !hash.Available() {
		return nil, errors.New("esdk: a raw RSA keyring needs a key and a hash function")
	}
	return &rawRSA{namespace, name, public, private, hash}, nil
}

func (k *rawRSA) Generate(ctx context.Context, n int, encCtx map[string]string) ([]byte, EncryptedKey, error) {
	return generate(ctx, k, n, encCtx)
}

func (k *rawRSA) Wrap(_ context.Context, dataKey []byte, _ map[string]string) (EncryptedKey, error) {
	if k.public == nil {
		return EncryptedKey{}, fmt.Errorf("esdk: raw RSA key %s has no public key to seal with", k.name)
	}
	ct, err := rsa.EncryptOAEP(k.hash.New(), rand.Reader, k.public, dataKey, nil)
	if err != nil {
		return EncryptedKey{}, fmt.Errorf("esdk: raw RSA key %s: %w", k.name, err)
	}
	return EncryptedKey{k.namespace, []byte(k.name), ct}, nil
}

func (k *rawRSA) Open(_ context.Context, sealed EncryptedKey, n int, _ map[string]string) ([]byte, error) {
	if k.private == nil || sealed.Provider != k.namespace || string(sealed.Info) != k.name {
		return nil, ErrNotMine
	}
	key, err := rsa.DecryptOAEP(k.hash.New(), nil, k.private, sealed.Ciphertext, nil)
	if err != nil || len(key) != n {
		return nil, fmt.Errorf("%w: raw RSA key %s", ErrAuthentication, k.name)
	}
	return key, nil
}

// providerKMS is the provider id of data keys that a key service sealed.
const providerKMS = "aws-kms"

// KMSClient is what a KMS keyring asks of the key service.
type KMSClient interface {
	// GenerateDataKey returns keyARN too, whatever name the key was called by.
	GenerateDataKey(ctx context.Context, keyID string, n int, encCtx map[string]string) (plaintext, blob []byte, keyARN string, err error)
	Encrypt(ctx context.Context, keyID string, plaintext []byte, encCtx map[string]string) (blob []byte, keyARN string, err error)
	Decrypt(ctx context.Context, keyARN string, blob []byte, encCtx map[string]string) (plaintext []byte, usedARN string, err error)
}

type kms struct {
	client  KMSClient
	keyID   string
	related bool // also opens what a related multi-Region key sealed
}

// KMS is a keyring of one key of a key service. keyID is whatever the service
// takes; to open, it must be the key's ARN. An empty one opens what any key
// sealed (discovery), and seals nothing: then the message says which key the
// service is asked to use, and the service's policies are the only limit.
func KMS(client KMSClient, keyID string) Keyring { return &kms{client: client, keyID: keyID} }

// KMSMultiRegion is KMS that also opens what a related multi-Region key has
// sealed: one with the same id in another Region. The service is asked to use
// the key of this keyring, whose Region the client is for; related keys have
// the same material (AWS Encryption SDK, multi-Region-aware keyrings).
func KMSMultiRegion(client KMSClient, keyARN string) Keyring {
	return &kms{client: client, keyID: keyARN, related: true}
}

// related says whether two ARNs name one multi-Region key, in whichever Region.
func related(a, b string) bool {
	x, err := arn.Parse(a)
	if err != nil || x.Service != "kms" || !strings.HasPrefix(x.Resource, "key/mrk-") {
		return false
	}
	y, err := arn.Parse(b)
	x.Region = y.Region
	return err == nil && x == y
}

func (k *kms) Generate(ctx context.Context, n int, encCtx map[string]string) ([]byte, EncryptedKey, error) {
	if k.keyID == "" {
		return nil, EncryptedKey{}, errors.New("esdk: discovery seals nothing")
	}
	key, blob, keyARN, err := k.client.GenerateDataKey(ctx, k.keyID, n, encCtx)
	if err != nil {
		return nil, EncryptedKey{}, err
	}
	if len(key) != n || keyARN == "" {
		clear(key)
		return nil, EncryptedKey{}, errors.New("esdk: the key service answered without a data key")
	}
	return key, EncryptedKey{providerKMS, []byte(keyARN), blob}, nil
}

func (k *kms) Wrap(ctx context.Context, dataKey []byte, encCtx map[string]string) (EncryptedKey, error) {
	if k.keyID == "" {
		return EncryptedKey{}, errors.New("esdk: discovery seals nothing")
	}
	blob, keyARN, err := k.client.Encrypt(ctx, k.keyID, dataKey, encCtx)
	if err != nil {
		return EncryptedKey{}, err
	}
	return EncryptedKey{providerKMS, []byte(keyARN), blob}, nil
}

func (k *kms) Open(ctx context.Context, sealed EncryptedKey, n int, encCtx map[string]string) ([]byte, error) {
	keyARN := string(sealed.Info)
	if k.related && related(keyARN, k.keyID) {
		keyARN = k.keyID
	}
	if sealed.Provider != providerKMS || k.keyID != "" && keyARN != k.keyID {
		return nil, ErrNotMine
	}
	key, used, err := k.client.Decrypt(ctx, keyARN, sealed.Ciphertext, encCtx)
	if err != nil {
		return nil, err
	}
	if used != keyARN || len(key) != n {
		clear(key)
		return nil, fmt.Errorf("%w: the key service used %s", ErrAuthentication, used)
	}
	return key, nil
}
