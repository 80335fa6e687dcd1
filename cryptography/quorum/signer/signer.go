// Package signer is the custodian's side of package quorum: keys that sign
// commands, and the files in which they and what they sign travel.
//
// A custodian's key is one of three: a Key in a file (Generate, ParseKey), a
// key in an ssh-agent (AgentKeys), or an authenticator with WebAuthn, which is
// asked in two steps (Challenge, ParseAssertion). What others need to know of
// a custodian is a Record.
//
// Not done here: deciding what to sign. A command is shown to its signer
// before; whether it takes effect only the HSM decides.
//
// Promised: files written today stay readable. Key files with a passphrase
// are useless without it; those without one protect nothing but by their mode.
package signer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// Errors of this package.
var (
	ErrKey        = errors.New("signer: not a usable key")
	ErrPassphrase = errors.New("signer: a passphrase is needed, or this one is wrong")
	ErrFile       = errors.New("signer: not a file of this kind")
)

// Key is a custodian's key pair from a file: one key that signs, and one that
// receives a share of the recovery key. A key that other tools made has no
// second one.
type Key struct {
	kind    quorum.KeyType
	public  []byte
	private crypto.Signer
	share   hpke.PrivateKey // nil: none
}

// The kinds of PEM blocks in a key file.
const (
	pemPrivate   = "PRIVATE KEY" // PKCS #8
	pemShare     = "LEADGLASS SHARE KEY"
	pemEncrypted = "LEADGLASS ENCRYPTED CUSTODIAN KEY"
)

// Generate makes a key pair: Ed25519, P256 or P384.
func Generate(kind quorum.KeyType) (*Key, error) {
	var private crypto.Signer
	var err error
	switch kind {
	case quorum.Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case quorum.P256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case quorum.P384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		return nil, fmt.Errorf("%w: files hold Ed25519, P-256 and P-384 keys", ErrKey)
	}
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	k, err := newKey(private)
	if err != nil {
		return nil, err
	}
	if k.share, err = hpke.MLKEM768X25519().GenerateKey(); err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	return k, nil
}

func newKey(private crypto.Signer) (*Key, error) {
	kind, public, err := publicOf(private.Public())
	if err != nil {
		return nil, err
	}
	return &Key{kind: kind, public: public, private: private}, nil
}

// publicOf is a public key in the form of an operator's record.
func publicOf(key crypto.PublicKey) (quorum.KeyType, []byte, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return quorum.Ed25519, k, nil
	case *ecdsa.PublicKey:
		spki, err := quorum.MarshalSPKI(k)
		if err != nil {
			return 0, nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		if k.Curve == elliptic.P256() {
			return quorum.P256, spki, nil
		}
		return quorum.P384, spki, nil
	}
	return 0, nil, fmt.Errorf("%w: keys are Ed25519, P-256 or P-384", ErrKey)
}

// Public is the kind of the key and its public half, as in an operator's
// record.
func (k *Key) Public() (quorum.KeyType, []byte) { return k.kind, k.public }

// SharePublic is the key that shares are encrypted to, nil if there is none.
func (k *Key) SharePublic() []byte {
	if k.share == nil {
		return nil
	}
	return k.share.PublicKey().Bytes()
}

// Sign signs the bytes of a command.
func (k *Key) Sign(command []byte) ([]byte, error) {
	input := quorum.SigningInput(command)
	var opts crypto.Hash // Ed25519 hashes itself
	switch k.kind {
	case quorum.P256:
		opts = crypto.SHA256
	case quorum.P384:
		opts = crypto.SHA384
	}
	if opts != 0 {
		h := opts.New()
		h.Write(input)
		input = h.Sum(nil)
	}
	sig, err := k.private.Sign(rand.Reader, input, opts)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	return sig, nil
}

// OpenShare opens this custodian's share of a domain's recovery key, for
// sealing it again to the HSM that recovers. The caller wipes it.
func (k *Key) OpenShare(domain quorum.ID, s quorum.SealedShare) ([]byte, error) {
	if k.share == nil {
		return nil, fmt.Errorf("%w: it cannot receive shares", ErrKey)
	}
	share, err := hpke.Open(k.share, hpke.HKDFSHA256(), hpke.AES256GCM(), quorum.ShareInfo(domain, s.Operator), s.Sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: the share is another custodian's, or another domain's", ErrKey)
	}
	return share, nil
}

// Encode writes a key file, encrypted if there is a passphrase.
func (k *Key) Encode(passphrase []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	file := pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der})
	if k.share != nil {
		seed, err := k.share.Bytes()
		if err != nil {
			return nil, fmt.Errorf("signer: %w", err)
		}
		file = append(file, pem.EncodeToMemory(&pem.Block{Type: pemShare, Bytes: seed})...)
	}
	if len(passphrase) == 0 {
		return file, nil
	}
	return encrypt(file, passphrase)
}

// ParseKey reads a key file: what Encode writes, or the bare PKCS #8 of other
// tools.
func ParseKey(file, passphrase []byte) (*Key, error) {
	if block, rest := pem.Decode(file); block != nil && block.Type == pemEncrypted {
		if len(bytes.TrimSpace(rest)) != 0 {
			return nil, ErrFile
		}
		plain, err := decrypt(block.Bytes, passphrase)
		if err != nil {
			return nil, err
		}
		file = plain
	}
	var k *Key
	var share hpke.PrivateKey
	for {
		block, rest := pem.Decode(file)
		if block == nil {
			break
		}
		file = rest
		switch {
		case block.Type == pemPrivate && k == nil:
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%w: not PKCS #8", ErrKey)
			}
			private, ok := parsed.(crypto.Signer)
			if !ok {
				return nil, fmt.Errorf("%w: keys are Ed25519, P-256 or P-384", ErrKey)
			}
			if k, err = newKey(private); err != nil {
				return nil, err
			}
		case block.Type == pemShare && share == nil:
			var err error
			if share, err = hpke.MLKEM768X25519().NewPrivateKey(block.Bytes); err != nil {
				return nil, fmt.Errorf("%w: its share key", ErrKey)
			}
		default:
			return nil, fmt.Errorf("%w: it holds something else, or a key twice", ErrFile)
		}
	}
	if k == nil {
		return nil, fmt.Errorf("%w: no private key in PEM form", ErrFile)
	}
	k.share = share
	return k, nil
}
