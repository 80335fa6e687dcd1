// Package esdk writes and reads the message format of the AWS Encryption SDK,
// versions 1 and 2, so that what this program seals opens with the official
// libraries and the other way round.
//
// NewWriter seals a stream and NewReader opens one; both need memory for one
// frame, whatever the length of the stream. Where the data key comes from is
// a keyring's business: RawAES, RawRSA, KMS and KMSMultiRegion are the ones here, and a
// message can be sealed to several, of which any one opens it.
//
// What a Reader returns was authenticated, frame by frame, before it is
// returned; that nothing is missing at the end, and that the signature of a
// signing suite holds, is known only at io.EOF. Who must not act on a part of
// a message reads it to the end first.
//
// Not done here: caching of data keys, the hierarchical and ECDH keyrings,
// discovery by network, required encryption contexts that are not stored in
// the message. A message that is not framed is authenticated as a whole, and
// so must fit into memory (ReaderOptions.MaxUnframed).
//
// The format is client-side-encryption section 2; every suite of the format is
// read and written.
package esdk

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	_ "crypto/sha256" // the hash functions of the suites
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// Errors of a message. Every error of a Writer or Reader wraps one of them, or
// an error of the stream or of a keyring.
var (
	// ErrMessage is a message that is not well formed, or was changed.
	ErrMessage = errors.New("esdk: malformed message")
	// ErrAuthentication is a message that does not authenticate.
	ErrAuthentication = errors.New("esdk: the message does not authenticate")
	// ErrSignature is a message whose signature does not hold.
	ErrSignature = errors.New("esdk: the signature of the message does not hold")
	// ErrTruncated is a message that ends before its end.
	ErrTruncated = errors.New("esdk: the message is truncated")
	// ErrNoKey is returned when no keyring opens any of the data keys.
	ErrNoKey = errors.New("esdk: no keyring opens the message")
	// ErrContext is an encryption context that cannot be used, or is not what was required.
	ErrContext = errors.New("esdk: encryption context")
	// ErrUncommitted is a message without key commitment, when commitment was asked for.
	ErrUncommitted = errors.New("esdk: the message does not commit to its key")
	// ErrLimit is a message beyond a limit of the reader.
	ErrLimit = errors.New("esdk: limit exceeded")
)

// A Suite is an algorithm suite.
type Suite uint16

// The suites. Those of 0x0478 and 0x0578 commit to their key; those of 0x0214,
// 0x0346, 0x0378 and 0x0578 sign.
const (
	AES128                       Suite = 0x0014
	AES192                       Suite = 0x0046
	AES256                       Suite = 0x0078
	AES128HKDF                   Suite = 0x0114
	AES192HKDF                   Suite = 0x0146
	AES256HKDF                   Suite = 0x0178
	AES128HKDFECDSA256           Suite = 0x0214
	AES192HKDFECDSA384           Suite = 0x0346
	AES256HKDFECDSA384           Suite = 0x0378
	AES256HKDFCommitment         Suite = 0x0478
	AES256HKDFCommitmentECDSA384 Suite = 0x0578

	// DefaultSuite is that of the official libraries.
	DefaultSuite = AES256HKDFCommitmentECDSA384
)

const (
	ivLen, tagLen, commitmentLen = 12, 16, 32
	idLenV1, idLenV2             = 16, 32

	publicKeyName = "aws-crypto-public-key" // of the context
	reserved      = "aws-crypto-"

	contentUnframed, contentFramed byte = 1, 2
)

// properties are what a suite means.
type properties struct {
	keyLen  int
	kdf     crypto.Hash // 0: the data key is the key
	commits bool
	curve   elliptic.Curve // nil: not signed
	hash    crypto.Hash    // of the signature
	version byte
}

func (s Suite) properties() (p properties, ok bool) {
	switch s {
	case AES128:
		return properties{keyLen: 16, version: 1}, true
	case AES192:
		return properties{keyLen: 24, version: 1}, true
	case AES256:
		return properties{keyLen: 32, version: 1}, true
	case AES128HKDF:
		return properties{keyLen: 16, kdf: crypto.SHA256, version: 1}, true
	case AES192HKDF:
		return properties{keyLen: 24, kdf: crypto.SHA256, version: 1}, true
	case AES256HKDF:
		return properties{keyLen: 32, kdf: crypto.SHA256, version: 1}, true
	case AES128HKDFECDSA256:
		return properties{keyLen: 16, kdf: crypto.SHA256, curve: elliptic.P256(), hash: crypto.SHA256, version: 1}, true
	case AES192HKDFECDSA384:
		return properties{keyLen: 24, kdf: crypto.SHA384, curve: elliptic.P384(), hash: crypto.SHA384, version: 1}, true
	case AES256HKDFECDSA384:
		return properties{keyLen: 32, kdf: crypto.SHA384, curve: elliptic.P384(), hash: crypto.SHA384, version: 1}, true
	case AES256HKDFCommitment:
		return properties{keyLen: 32, kdf: crypto.SHA512, commits: true, version: 2}, true
	case AES256HKDFCommitmentECDSA384:
		return properties{keyLen: 32, kdf: crypto.SHA512, commits: true, curve: elliptic.P384(), hash: crypto.SHA384, version: 2}, true
	}
	return properties{}, false
}

// Commits says whether messages of the suite commit to their key: without
// that, somebody who knows two keys can make one message that opens under both
// to different texts.
func (s Suite) Commits() bool { p, _ := s.properties(); return p.commits }

// Signs says whether messages of the suite end in a signature.
func (s Suite) Signs() bool { p, _ := s.properties(); return p.curve != nil }

// KeyLen is the length of the suite's data keys in bytes, 0 if there is no
// such suite.
func (s Suite) KeyLen() int { p, _ := s.properties(); return p.keyLen }

// String is the suite's number as the format writes it.
func (s Suite) String() string { return fmt.Sprintf("%04x", uint16(s)) }

// Suites are all of them.
func Suites() []Suite {
	return []Suite{
		AES128, AES192, AES256, AES128HKDF, AES192HKDF, AES256HKDF, AES128HKDFECDSA256,
		AES192HKDFECDSA384, AES256HKDFECDSA384, AES256HKDFCommitment, AES256HKDFCommitmentECDSA384,
	}
}

// idLen is the length of a message id.
func (p *properties) idLen() int {
	if p.version == 2 {
		return idLenV2
	}
	return idLenV1
}

// derive makes the key of a message, and its commitment if the suite has one.
// Version 1: HKDF without salt over suite ‖ message id. Version 2: the salt is
// the message id (client-side-encryption section 2).
func (s Suite) derive(dataKey, messageID []byte) (aead cipher.AEAD, commitment []byte, err error) {
	p, ok := s.properties()
	if !ok || len(dataKey) != p.keyLen {
		return nil, nil, fmt.Errorf("esdk: a data key of %d bytes for suite %s", len(dataKey), s)
	}
	suite := []byte{byte(s >> 8), byte(s)}
	key := dataKey
	switch {
	case p.commits:
		prk, err := hkdf.Extract(sha512.New, dataKey, messageID)
		if err != nil {
			return nil, nil, fmt.Errorf("esdk: %w", err)
		}
		defer clear(prk)
		if key, err = hkdf.Expand(sha512.New, prk, string(suite)+"DERIVEKEY", p.keyLen); err != nil {
			return nil, nil, fmt.Errorf("esdk: %w", err)
		}
		defer clear(key)
		if commitment, err = hkdf.Expand(sha512.New, prk, "COMMITKEY", commitmentLen); err != nil {
			return nil, nil, fmt.Errorf("esdk: %w", err)
		}
	case p.kdf != 0:
		if key, err = hkdf.Key(p.kdf.New, dataKey, nil, string(suite)+string(messageID), p.keyLen); err != nil {
			return nil, nil, fmt.Errorf("esdk: %w", err)
		}
		defer clear(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, fmt.Errorf("esdk: %w", err)
	}
	aead, err = cipher.NewGCM(block)
	return aead, commitment, err
}

func sameCommitment(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// compress and decompress are the form of a verification key in the context.
func compress(key *ecdsa.PublicKey) (string, error) {
	point, err := key.Bytes()
	if err != nil {
		return "", fmt.Errorf("esdk: %w", err)
	}
	n := (len(point) - 1) / 2
	compressed := append([]byte{2 | point[len(point)-1]&1}, point[1:1+n]...)
	return base64.StdEncoding.EncodeToString(compressed), nil
}

func decompress(curve elliptic.Curve, text string) (*ecdsa.PublicKey, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: verification key", ErrMessage)
	}
	x, y := elliptic.UnmarshalCompressed(curve, b)
	if x == nil {
		return nil, fmt.Errorf("%w: verification key", ErrMessage)
	}
	n := (curve.Params().BitSize + 7) / 8
	point := make([]byte, 1+2*n)
	point[0] = 4
	x.FillBytes(point[1 : 1+n])
	y.FillBytes(point[1+n:])
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("%w: verification key", ErrMessage)
	}
	return key, nil
}

// The body's AAD names what part it is of.
const (
	labelFrame    = "AWSKMSEncryptionClient Frame"
	labelFinal    = "AWSKMSEncryptionClient Final Frame"
	labelUnframed = "AWSKMSEncryptionClient Single Block"
	finalMark     = 0xffffffff
)

// bodyAAD is message id ‖ label ‖ u32 sequence number ‖ u64 plaintext length.
func bodyAAD(b, messageID []byte, label string, sequence uint32, length uint64) []byte {
	b = append(append(b, messageID...), label...)
	b = append(b, byte(sequence>>24), byte(sequence>>16), byte(sequence>>8), byte(sequence))
	for i := 56; i >= 0; i -= 8 {
		b = append(b, byte(length>>i))
	}
	return b
}

// An EncryptedKey is a data key as a message carries it.
type EncryptedKey struct {
	Provider   string // aws-kms, or the namespace of a raw key
	Info       []byte // a key ARN, or the name of a raw key and more
	Ciphertext []byte
}

func (k *EncryptedKey) clone() EncryptedKey {
	return EncryptedKey{k.Provider, slices.Clone(k.Info), slices.Clone(k.Ciphertext)}
}
