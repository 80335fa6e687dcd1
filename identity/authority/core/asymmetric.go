package core

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// SigV4A (sigv4 section 4). A key pair follows from the access key's id and
// secret alone. It is derived when it is needed, and of it only the public key
// is kept: the private one is of no use here, because nothing is signed.
//
// The public key is not stored beside the secret when an access key is made
// (section 9 would allow it): what the host stores, whoever writes the store
// can change, and a public key of one's own under another's id would make
// requests in the other's name. The sealed record is bound to its id, and of a
// session nothing is stored at all, so deriving is both the safe way and the
// only one that serves both.

const (
	algorithmV4A = "AWS4-ECDSA-P256-SHA256"
	maxDER       = 72 // SEQUENCE{r, s}, both of 33 bytes
)

// orderMinus2 is n-2 for the order n of P-256.
var orderMinus2 = [32]byte{
	0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
}

// increment turns a candidate k into d = k+1 in place, if k <= n-2. It touches
// every byte whatever it holds.
func increment(k *[32]byte) (ok bool) {
	var borrow uint // of n-2-k
	carry := uint(1)
	for i := 31; i >= 0; i-- {
		borrow = (uint(orderMinus2[i]) - uint(k[i]) - borrow) >> 8 & 1
		sum := uint(k[i]) + carry
		k[i], carry = byte(sum), sum>>8
	}
	return borrow == 0
}

// derivePublic computes the public key of SigV4A from the secret itself.
func (a *authority) derivePublic(c *credential) (*ecdsa.PublicKey, error) {
	var key [5 + message.SecretLen]byte
	defer secret.Wipe(key[:])
	copy(key[:], "AWS4A")
	if err := a.secretOf(c, (*[message.SecretLen]byte)(key[5:])); err != nil {
		return nil, err
	}
	// SP 800-108 in counter mode with one block; the byte that is counted is FIPS 186's.
	input := make([]byte, 0, 128)
	input = binary.BigEndian.AppendUint32(input, 1)
	input = append(append(input, algorithmV4A...), 0)
	input = append(append(input, c.akid...), 0)
	counter := len(input) - 1
	input = binary.BigEndian.AppendUint32(input, 256)
	var d [32]byte
	defer secret.Wipe(d[:])
	for n := 1; n <= 254; n++ {
		input[counter] = byte(n)
		if kdf.HMAC(&d, key[:], input); !increment(&d) {
			continue
		}
		// Neither ecdsa nor ecdh gives a public key without keeping copies of the private one on the heap, where nobody
		// can wipe them. The curve itself does; d is in range, for which that API does not look.
		x, y := elliptic.P256().ScalarBaseMult(d[:]) //lint:ignore SA1019 see above
		var point [65]byte
		point[0] = 4
		x.FillBytes(point[1:33])
		y.FillBytes(point[33:])
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[:])
	}
	return nil, failure(message.StatusSignature)
}

// publicOf is the key that checks the signatures of a credential.
func (a *authority) publicOf(c *credential) (key *ecdsa.PublicKey, at [32]byte, cached bool, err error) {
	at = sha256.Sum256(append(append(make([]byte, 0, 64), c.akid...), c.tag[:]...))
	if key, cached = a.public.get(at); cached {
		return key, at, true, nil
	}
	key, err = a.derivePublic(c)
	return key, at, false, err
}

// checkV4A says whether verify accepts the credential's key. An unknown
// credential and a wrong signature cost a derivation and a verification both,
// as in witness.
func (a *authority) checkV4A(c *credential, known bool, verify func(*ecdsa.PublicKey) bool) error {
	key, at, cached, err := a.publicOf(c)
	if err != nil {
		return err
	}
	if match := verify(key) && known; !match {
		if cached {
			_, _ = a.derivePublic(c)
		}
		return failure(message.StatusSignature)
	}
	if !cached {
		a.public.put(at, key)
	}
	return nil
}

// witnessV4A checks a signature of SigV4A (sigv4 section 9, witness mode).
func (a *authority) witnessV4A(p *message.Params, r *result) error {
	digest, ok := parseToSignV4A(p.StringToSign)
	if !ok || len(p.Signature) == 0 || len(p.Signature) > maxDER || len(p.Digest) != 32 || digest != [32]byte(p.Digest) {
		return failure(link.StatusBadRequest)
	}
	c, known, err := a.resolve(p)
	if err != nil {
		return err
	}
	err = a.checkV4A(&c, known, func(key *ecdsa.PublicKey) bool {
		hash := sha256.Sum256(p.StringToSign)
		return ecdsa.VerifyASN1(key, hash[:], p.Signature)
	})
	if err == nil && c.sess != nil {
		r.Claims = c.sess.encoded
	}
	return err
}

// publicKey is key mode for SigV4A: who has the public key can check, and can
// never sign. It is good for as long as the credential is; a host that keeps it
// has to listen to revocations.
func (a *authority) publicKey(p *message.Params, r *result) error {
	c, known, err := a.resolve(p)
	if err != nil {
		return err
	}
	key, at, cached, err := a.publicOf(&c)
	if err != nil {
		return err
	}
	if !known {
		return failure(message.StatusSignature)
	}
	if !cached {
		a.public.put(at, key)
	}
	if r.Key, err = key.Bytes(); err != nil { // uncompressed, 65 bytes
		return err
	}
	until := a.now().Add(24 * time.Hour)
	if c.sess != nil {
		r.Claims = c.sess.encoded
		if c.sess.claims.Expires.Before(until) {
			until = c.sess.claims.Expires
		}
	}
	r.NotAfter = uint64(until.UnixMilli())
	return nil
}
