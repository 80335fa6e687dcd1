package quorum

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strings"
	"unicode/utf8"
)

// KeyType is the kind of key an operator signs with.
type KeyType uint64

// Kinds of keys (hsm-domain section 3, field 7) and what Operator.Public is
// for each.
const (
	Ed25519      KeyType = 1 // the 32 bytes of RFC 8032
	P256         KeyType = 2 // SPKI
	P384         KeyType = 3 // SPKI
	WebAuthnP256 KeyType = 4 // CBOR {1: SPKI, 2: SHA-256 of the relying party's id}, see WebAuthnPublic
)

// String is the name of the key type.
func (t KeyType) String() string {
	switch t {
	case Ed25519:
		return "Ed25519"
	case P256:
		return "ECDSA P-256"
	case P384:
		return "ECDSA P-384"
	case WebAuthnP256:
		return "WebAuthn P-256"
	}
	return "unknown"
}

// An Operator is a custodian as the domain knows one: who signs, with what
// key, in which role and for which organisation.
type Operator struct {
	ID           ID      `cbor:"1,keyasint"` // OperatorID of type and key
	Type         KeyType `cbor:"2,keyasint"`
	Public       []byte  `cbor:"3,keyasint"`
	Role         string  `cbor:"4,keyasint"`
	Label        string  `cbor:"5,keyasint"`
	Organisation string  `cbor:"6,keyasint"`
}

// OperatorID is the id of whoever holds this key: the first 16 bytes of
// SHA-256 of the type's byte and the public key. The type is part of it so
// that one key cannot stand for two kinds of signature.
func OperatorID(t KeyType, public []byte) (id ID) {
	sum := sha256.Sum256(append([]byte{byte(t)}, public...))
	copy(id[:], sum[:])
	return id
}

const (
	maxText      = 128 // of a label, an organisation or a role
	maxOperators = 64
	maxPublic    = 512
)

// text says whether s can stand in a state: short, not empty, and without
// characters that would make two names look like one on a terminal.
func text(s string) bool {
	return s != "" && len(s) <= maxText && utf8.ValidString(s) && s == strings.TrimSpace(s) &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		})
}

// Check refuses an operator whose record is not sound in itself.
func (o Operator) Check() error {
	switch {
	case !text(o.Label):
		return fmt.Errorf("%w: a label is 1 to %d printable bytes", ErrOperators, maxText)
	case !text(o.Organisation):
		return fmt.Errorf("%w: operator %s: an organisation is 1 to %d printable bytes", ErrOperators, o.ID, maxText)
	case o.Role != RoleOperator && o.Role != RoleSecurityOfficer && o.Role != RoleTenantCustodian:
		return fmt.Errorf("%w: operator %s: unknown role", ErrOperators, o.ID)
	case o.ID != OperatorID(o.Type, o.Public):
		return fmt.Errorf("%w: operator %s: its id is not that of its key", ErrOperators, o.ID)
	}
	if err := checkKey(o.Type, o.Public); err != nil {
		return fmt.Errorf("%w: operator %s: %w", ErrOperators, o.ID, err)
	}
	return nil
}

func checkKey(t KeyType, public []byte) error {
	switch t {
	case Ed25519:
		if len(public) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: an Ed25519 key has %d bytes", ErrMalformed, ed25519.PublicKeySize)
		}
		return nil
	case P256:
		_, err := ParseSPKI(elliptic.P256(), public)
		return err
	case P384:
		_, err := ParseSPKI(elliptic.P384(), public)
		return err
	case WebAuthnP256:
		_, _, err := parseWebAuthnPublic(public)
		return err
	}
	return fmt.Errorf("%w: unknown key type", ErrMalformed)
}

// checkOperators checks a whole list: as many as a quorum needs, nobody twice.
func checkOperators(operators []Operator) error {
	if len(operators) < 3 || len(operators) > maxOperators {
		return fmt.Errorf("%w: a domain has 3 to %d operators", ErrOperators, maxOperators)
	}
	for i, o := range operators {
		if err := o.Check(); err != nil {
			return err
		}
		for _, other := range operators[:i] {
			// A label twice is refused because people read labels, not ids.
			if other.ID == o.ID || other.Label == o.Label || sameKey(other, o) {
				return fmt.Errorf("%w: operator %s is there twice, by id, key or label", ErrOperators, o.ID)
			}
		}
	}
	return nil
}

// sameKey says whether two operators hold one P-256 key, once bare and once
// behind WebAuthn: their ids differ, but it is one person's key.
func sameKey(a, b Operator) bool { return bytes.Equal(bareKey(a), bareKey(b)) }

func bareKey(o Operator) []byte {
	if o.Type == WebAuthnP256 {
		if spki, _, err := parseWebAuthnPublic(o.Public); err == nil {
			return spki
		}
	}
	return o.Public
}

// signingContext stands before the hash, so that a signature over a command
// is none over anything else that such a key may sign.
const signingContext = "leadglass quorum\x00"

// SigningInput is what an operator signs for a command (hsm-domain section 4):
// "leadglass quorum\0" ‖ SHA-384(command). Ed25519 signs it as it is; ECDSA
// signs its SHA-256 (P-256) or SHA-384 (P-384), as ssh-agent does; WebAuthn
// signs the Challenge in its own way.
func SigningInput(command []byte) []byte {
	sum := sha512.Sum384(command)
	return append([]byte(signingContext), sum[:]...)
}

// Challenge is what a WebAuthn authenticator is asked to sign for a command.
func Challenge(command []byte) []byte {
	sum := sha512.Sum384(command)
	return sum[:]
}

// Verify checks one operator's signature over the bytes of a command. ECDSA
// signatures are in ASN.1.
func Verify(o Operator, command, sig []byte) error {
	input := SigningInput(command)
	ok := false
	switch o.Type {
	case Ed25519:
		ok = len(o.Public) == ed25519.PublicKeySize && ed25519.Verify(o.Public, input, sig)
	case P256:
		if key, err := ParseSPKI(elliptic.P256(), o.Public); err == nil {
			sum := sha256.Sum256(input)
			ok = ecdsa.VerifyASN1(key, sum[:], sig)
		}
	case P384:
		if key, err := ParseSPKI(elliptic.P384(), o.Public); err == nil {
			sum := sha512.Sum384(input)
			ok = ecdsa.VerifyASN1(key, sum[:], sig)
		}
	case WebAuthnP256:
		if err := verifyWebAuthn(o.Public, Challenge(command), sig); err != nil {
			return fmt.Errorf("%w of operator %s: %w", ErrSignature, o.ID, err)
		}
		ok = true
	}
	if !ok {
		return fmt.Errorf("%w of operator %s", ErrSignature, o.ID)
	}
	return nil
}
