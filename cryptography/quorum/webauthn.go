package quorum

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// webAuthnPublic is Operator.Public of a WebAuthn key.
type webAuthnPublic struct {
	SPKI []byte `cbor:"1,keyasint"`
	RP   []byte `cbor:"2,keyasint"` // SHA-256 of the relying party's id
}

// WebAuthnPublic is Operator.Public of an authenticator's key: the SPKI of its
// P-256 credential, and the SHA-256 of the id of the relying party that it
// was made for. The hash is part of the operator's identity so that an
// assertion that a page elsewhere obtains is not one for this domain.
func WebAuthnPublic(spki []byte, relyingParty string) ([]byte, error) {
	hash := sha256.Sum256([]byte(relyingParty))
	b, err := encode(webAuthnPublic{spki, hash[:]})
	if err != nil {
		return nil, err
	}
	_, _, err = parseWebAuthnPublic(b)
	return b, err
}

func parseWebAuthnPublic(b []byte) (spki, rp []byte, err error) {
	var p webAuthnPublic
	if len(b) > maxPublic {
		return nil, nil, fmt.Errorf("%w: WebAuthn key", ErrMalformed)
	}
	if err := decode(b, &p); err != nil {
		return nil, nil, err
	}
	if len(p.RP) != sha256.Size {
		return nil, nil, fmt.Errorf("%w: WebAuthn key", ErrMalformed)
	}
	_, err = ParseSPKI(elliptic.P256(), p.SPKI)
	return p.SPKI, p.RP, err
}

// Assertion is the signature of a WebAuthn key: what the authenticator gave
// (WebAuthn Level 2, section 6.3.3).
type Assertion struct {
	AuthenticatorData []byte `cbor:"1,keyasint"`
	ClientDataJSON    []byte `cbor:"2,keyasint"`
	Signature         []byte `cbor:"3,keyasint"` // ASN.1
}

// Encode is the assertion as Signature.Sig.
func (a Assertion) Encode() ([]byte, error) { return encode(a) }

// Flags of authenticator data (WebAuthn Level 2, section 6.1).
const (
	userPresent  = 1 << 0
	userVerified = 1 << 2

	authDataLen   = 37 // hash, flags, counter; extensions follow
	maxClientData = 4096
)

// verifyWebAuthn is the part of WebAuthn Level 2, section 7.2, that concerns
// the key: type, challenge, relying party, presence and verification of the
// user, signature. The origin is not compared: it follows from the relying
// party's id, which the authenticator checked against it. The counter is not
// kept: the nonce of the command is what is used once.
func verifyWebAuthn(public, challenge, sig []byte) error {
	spki, rp, err := parseWebAuthnPublic(public)
	if err != nil {
		return err
	}
	var a Assertion
	if err := decode(sig, &a); err != nil {
		return err
	}
	if len(a.ClientDataJSON) > maxClientData || len(a.AuthenticatorData) < authDataLen || len(a.AuthenticatorData) > maxClientData {
		return fmt.Errorf("%w: assertion", ErrMalformed)
	}
	if subtle.ConstantTimeCompare(a.AuthenticatorData[:32], rp) != 1 {
		return fmt.Errorf("%w: made for another relying party", ErrSignature)
	}
	if a.AuthenticatorData[32]&(userPresent|userVerified) != userPresent|userVerified {
		return fmt.Errorf("%w: the authenticator did not verify its user", ErrSignature)
	}
	client, err := readClientData(a.ClientDataJSON)
	if err != nil {
		return err
	}
	if client.kind != "webauthn.get" {
		return fmt.Errorf("%w: not made by webauthn.get", ErrSignature)
	}
	said, err := base64.RawURLEncoding.Strict().DecodeString(client.challenge)
	if err != nil || !bytes.Equal(said, challenge) {
		return fmt.Errorf("%w: made for another command", ErrSignature)
	}
	key, err := ParseSPKI(elliptic.P256(), spki)
	if err != nil {
		return err
	}
	client256 := sha256.Sum256(a.ClientDataJSON)
	sum := sha256.Sum256(append(bytes.Clone(a.AuthenticatorData), client256[:]...))
	if !ecdsa.VerifyASN1(key, sum[:], a.Signature) {
		return ErrSignature
	}
	return nil
}

// parseECDSA reads an ASN.1 ECDSA signature (RFC 3279 section 2.2.3).
func parseECDSA(der []byte) (r, s *big.Int, err error) {
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	r, s = new(big.Int), new(big.Int)
	if len(der) > maxPublic || !in.ReadASN1(&seq, cryptobyte_asn1.SEQUENCE) || !in.Empty() || !seq.ReadASN1Integer(r) || !seq.ReadASN1Integer(s) ||
		!seq.Empty() || r.Sign() <= 0 || s.Sign() <= 0 {
		return nil, nil, fmt.Errorf("%w: signature", ErrMalformed)
	}
	return r, s, nil
}
