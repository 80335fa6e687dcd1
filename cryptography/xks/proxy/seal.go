package proxy

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/cryptography/xks"
)

// The cipher of an external key. The metadata of a ciphertext is
//
//	01 ‖ N[16]
//
// and the key that AES-256-GCM is used with is KDF(material, "leadglass xks
// proxy v1", N), SP 800-108 in counter mode with HMAC-SHA-256. N is random, so
// every ciphertext has a key of its own, and the random vector of 12 bytes
// never meets a key twice: a key is not worn out after 2^32 ciphertexts, as
// one that GCM uses directly would be (SP 800-38D section 8.3).
//
// The additional data of GCM is the protocol's form of AAD and metadata
// together, so that N and version are authenticated.
const (
	metadataVersion = 1
	metadataSize    = 17
	kdfLabel        = "leadglass xks proxy v1"
	ivSize          = 12
	keySize         = 32
)

var errSealed = errors.New("proxy: the ciphertext does not authenticate")

func aeadOf(material, nonce []byte) (cipher.AEAD, error) {
	if len(material) != keySize {
		return nil, errors.New("proxy: key material of another size")
	}
	var key [32]byte
	defer secret.Wipe(key[:])
	kdf.Derive(&key, material, kdfLabel, nonce)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	// The form that draws its own vector is what FIPS mode allows.
	return cipher.NewGCMWithRandomNonce(block)
}

func seal(material, plaintext, aad []byte) (*xks.Sealed, error) {
	meta := make([]byte, metadataSize)
	meta[0] = metadataVersion
	rand.Read(meta[1:])
	aead, err := aeadOf(material, meta[1:])
	if err != nil {
		return nil, err
	}
	b := aead.Seal(nil, nil, plaintext, xks.ManagerAAD(aad, meta)) // vector, ciphertext, tag
	end := len(b) - xks.TagSize
	return &xks.Sealed{Metadata: meta, IV: b[:ivSize], Ciphertext: b[ivSize:end], Tag: b[end:]}, nil
}

// open gives one answer to everything that is wrong with a ciphertext.
func open(material []byte, s *xks.Sealed, aad []byte) ([]byte, error) {
	if len(s.Metadata) != metadataSize || s.Metadata[0] != metadataVersion || len(s.IV) != ivSize || len(s.Tag) != xks.TagSize {
		return nil, errSealed
	}
	aead, err := aeadOf(material, s.Metadata[1:])
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(s.IV)+len(s.Ciphertext)+len(s.Tag))
	b = append(append(append(b, s.IV...), s.Ciphertext...), s.Tag...)
	out, err := aead.Open(nil, nil, b, xks.ManagerAAD(aad, s.Metadata))
	if err != nil {
		return nil, errSealed
	}
	return out, nil
}
