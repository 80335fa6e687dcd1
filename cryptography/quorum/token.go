package quorum

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"math/big"

	"github.com/fxamacker/cbor/v2"
)

// An Envelope holds something for one member: in a token the domain's secret
// keys, in RecoverShares a share. Key = HKDF-SHA-384(ECDH(HAK, ephemeral) ‖
// ML-KEM secret, salt, info); both must break for the content to be read.
type Envelope struct {
	Member    ID     `cbor:"1,keyasint"`
	KEM       []byte `cbor:"2,keyasint"` // ML-KEM-768 ciphertext
	Ephemeral []byte `cbor:"3,keyasint"` // P-384 SPKI
	Wrapped   []byte `cbor:"4,keyasint"` // IV ‖ AES-256-GCM
}

// KEKInfo is the info of the envelopes of a token: "leadglass dk envelope v1"
// ‖ member id ‖ SHA-384(DomainState). The salt is the domain's id.
func KEKInfo(member ID, state []byte) []byte {
	return append(append([]byte("leadglass dk envelope v1"), member[:]...), HashState(state)...)
}

// RecoveryInfo is the info of an envelope with a share: who sends it to whom,
// for which token. The salt is the domain's id.
func RecoveryInfo(operator, member ID, token []byte) []byte {
	b := append([]byte("leadglass recovery share v1"), operator[:]...)
	return append(append(b, member[:]...), HashState(token)...)
}

// SealEnvelope encrypts plain to a member. The key is fresh for each
// envelope, so that the random IV cannot repeat under it.
func SealEnvelope(m Member, salt, info, plain []byte) (Envelope, error) {
	var e Envelope
	theirs, err := ParseSPKI(elliptic.P384(), m.HAK)
	if err != nil {
		return e, err
	}
	agreed, err := theirs.ECDH()
	if err != nil {
		return e, fmt.Errorf("quorum: member %s: %w", m.ID, err)
	}
	ours, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return e, fmt.Errorf("quorum: envelope: %w", err)
	}
	ephemeral, err := ours.ECDH()
	if err != nil {
		return e, fmt.Errorf("quorum: envelope: %w", err)
	}
	encapsulation, err := mlkem.NewEncapsulationKey768(m.KEM)
	if err != nil {
		return e, fmt.Errorf("%w: member %s", ErrMalformed, m.ID)
	}
	spki, err := MarshalSPKI(&ours.PublicKey)
	if err != nil {
		return e, err
	}
	secret, err := ephemeral.ECDH(agreed)
	if err != nil {
		return e, fmt.Errorf("quorum: envelope: %w", err)
	}
	kemSecret, ciphertext := encapsulation.Encapsulate()
	e = Envelope{Member: m.ID, KEM: ciphertext, Ephemeral: spki}
	e.Wrapped, err = wrap(secret, kemSecret, salt, info, plain)
	return e, err
}

func wrap(secret, kemSecret, salt, info, plain []byte) ([]byte, error) {
	ikm := append(bytes.Clone(secret), kemSecret...)
	key, err := hkdf.Key(sha512.New384, ikm, salt, string(info), 32)
	clear(ikm)
	clear(secret)
	clear(kemSecret)
	if err != nil {
		return nil, fmt.Errorf("quorum: envelope: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("quorum: envelope: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("quorum: envelope: %w", err)
	}
	return aead.Seal(nil, nil, plain, nil), nil
}

// OpenEnvelope reverses SealEnvelope for the holder of the secret keys. The
// HSM uses its own way, in which the keys never leave secret memory; this one
// is for tests and as its statement in few lines.
func OpenEnvelope(e Envelope, hak *ecdh.PrivateKey, kem *mlkem.DecapsulationKey768, salt, info []byte) ([]byte, error) {
	theirs, err := ParseSPKI(elliptic.P384(), e.Ephemeral)
	if err != nil {
		return nil, err
	}
	public, err := theirs.ECDH()
	if err != nil {
		return nil, fmt.Errorf("%w: envelope", ErrMalformed)
	}
	secret, err := hak.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("%w: envelope", ErrMalformed)
	}
	kemSecret, err := kem.Decapsulate(e.KEM)
	if err != nil {
		return nil, fmt.Errorf("%w: envelope", ErrMalformed)
	}
	key, err := hkdf.Key(sha512.New384, append(secret, kemSecret...), salt, string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("quorum: envelope: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("quorum: envelope: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("quorum: envelope: %w", err)
	}
	plain, err := aead.Open(nil, nil, e.Wrapped, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: envelope", ErrMalformed)
	}
	return plain, nil
}

// A Token is an exported domain: its state, and its secret keys in one
// envelope for each member. It is a COSE_Sign (RFC 9052 section 4.1), signed
// by one member or several; without a member's agreement key it is useless.
type Token struct {
	State      DomainState
	StateBytes []byte // the state as encoded in the payload
	Envelopes  []Envelope
	Payload    []byte
	Signatures []TokenSignature
}

// TokenSignature is one member's: ECDSA-P384-SHA384, r ‖ s (96 bytes).
type TokenSignature struct {
	Member ID
	Sig    []byte
}

type tokenPayload struct {
	State     cbor.RawMessage `cbor:"1,keyasint"`
	Envelopes []Envelope      `cbor:"2,keyasint"`
}

type coseSign struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected empty
	Payload     []byte
	Signatures  []coseSignature
}

type coseSignature struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected empty
	Signature   []byte
}

// coseHeader is the protected header of one signature: {1: ES384, 4: kid}.
type coseHeader struct {
	Alg int64 `cbor:"1,keyasint"`
	Kid ID    `cbor:"4,keyasint"`
}

const (
	coseES384 = -35 // RFC 9053 table 1
	p384Bytes = 48
)

// tagSign is the head of tag 98 (COSE_Sign). The decoder forbids tags, so this
// one is cut off before.
var tagSign = []byte{0xd8, 98}

// TokenPayload is what a token's signatures are over.
func TokenPayload(state []byte, envelopes []Envelope) ([]byte, error) {
	return encode(tokenPayload{State: state, Envelopes: envelopes})
}

// TokenSigningInput is the Sig_structure (RFC 9052 section 4.4) that a member
// signs: ["Signature", body_protected, sign_protected, external_aad, payload].
func TokenSigningInput(payload []byte, member ID) ([]byte, error) {
	header, err := encode(coseHeader{coseES384, member})
	if err != nil {
		return nil, err
	}
	return encode([]any{"Signature", []byte{}, header, []byte{}, payload})
}

// AssembleToken puts payload and signatures together. Signatures are in ASN.1,
// as crypto/ecdsa makes them.
func AssembleToken(payload []byte, sigs []TokenSignature) ([]byte, error) {
	out := coseSign{Protected: []byte{}, Payload: payload, Signatures: []coseSignature{}}
	for _, s := range sigs {
		header, err := encode(coseHeader{coseES384, s.Member})
		if err != nil {
			return nil, err
		}
		raw, err := rawSignature(s.Sig)
		if err != nil {
			return nil, err
		}
		out.Signatures = append(out.Signatures, coseSignature{Protected: header, Signature: raw})
	}
	b, err := encode(out)
	if err != nil {
		return nil, err
	}
	b = append(bytes.Clone(tagSign), b...)
	_, err = ParseToken(b)
	return b, err
}

// rawSignature is r ‖ s of an ASN.1 signature (RFC 9053 section 2.1).
func rawSignature(der []byte) ([]byte, error) {
	r, s, err := parseECDSA(der)
	if err != nil || r.BitLen() > 8*p384Bytes || s.BitLen() > 8*p384Bytes {
		return nil, fmt.Errorf("%w: signature", ErrMalformed)
	}
	raw := make([]byte, 2*p384Bytes)
	r.FillBytes(raw[:p384Bytes])
	s.FillBytes(raw[p384Bytes:])
	return raw, nil
}

// ParseToken reads a token and verifies nothing.
func ParseToken(b []byte) (*Token, error) {
	rest, ok := bytes.CutPrefix(b, tagSign)
	if !ok || len(b) > maxToken {
		return nil, fmt.Errorf("%w: not a domain token", ErrMalformed)
	}
	var outer coseSign
	if err := decode(rest, &outer); err != nil {
		return nil, err
	}
	t := &Token{Payload: outer.Payload}
	if len(outer.Protected) != 0 || len(outer.Signatures) == 0 || len(outer.Signatures) > maxMembers {
		return nil, fmt.Errorf("%w: not a signed domain token", ErrMalformed)
	}
	for _, s := range outer.Signatures {
		var h coseHeader
		if err := decode(s.Protected, &h); err != nil {
			return nil, err
		}
		if h.Alg != coseES384 || len(s.Signature) != 2*p384Bytes {
			return nil, fmt.Errorf("%w: not an ES384 signature", ErrMalformed)
		}
		t.Signatures = append(t.Signatures, TokenSignature{h.Kid, s.Signature})
	}
	var p tokenPayload
	if err := decode(outer.Payload, &p); err != nil {
		return nil, err
	}
	var err error
	if t.State, err = DecodeState(p.State); err != nil {
		return nil, err
	}
	t.StateBytes, t.Envelopes = p.State, p.Envelopes
	return t, nil
}

// SignedBy says which of the members signed the token. Signatures of others
// are passed over; one that claims to be a member's and is not its is an
// error, as is a token that none of them signed.
func (t *Token) SignedBy(members []Member) ([]ID, error) {
	var by []ID
	for _, s := range t.Signatures {
		for _, m := range members {
			if m.ID != s.Member || m.Flags&MemberRecovery != 0 {
				continue
			}
			input, err := TokenSigningInput(t.Payload, m.ID)
			if err != nil {
				return nil, err
			}
			key, err := ParseSPKI(elliptic.P384(), m.HSK)
			if err != nil {
				return nil, err
			}
			sum := sha512.Sum384(input)
			r, v := new(big.Int).SetBytes(s.Sig[:p384Bytes]), new(big.Int).SetBytes(s.Sig[p384Bytes:])
			if !ecdsa.Verify(key, sum[:], r, v) {
				return nil, fmt.Errorf("%w of member %s", ErrSignature, m.ID)
			}
			by = append(by, m.ID)
		}
	}
	if len(by) == 0 {
		return nil, fmt.Errorf("%w: no member signed the token", ErrSigner)
	}
	return by, nil
}

// Envelope returns the envelope for a member.
func (t *Token) Envelope(id ID) (Envelope, bool) {
	for _, e := range t.Envelopes {
		if e.Member == id {
			return e, true
		}
	}
	return Envelope{}, false
}

// CommandResult is what an HSM answers to a command that it obeyed
// (Result.Record of the operation).
type CommandResult struct {
	Serial uint64        `cbor:"1,keyasint"`           // of the state that this HSM has now
	Hash   []byte        `cbor:"2,keyasint"`           // HashState of it
	Token  []byte        `cbor:"3,keyasint,omitempty"` // the domain as it is, or as it becomes when the token is installed
	Shares []SealedShare `cbor:"4,keyasint,omitempty"` // of CreateDomain, once: the recovery key, for its holders
	Audit  []byte        `cbor:"5,keyasint,omitempty"` // of ExportAudit
}

// A SealedShare is a share for its holder: HPKE MLKEM768-X25519,
// HKDF-SHA256, AES-256-GCM; info = ShareInfo.
type SealedShare struct {
	Operator ID     `cbor:"1,keyasint"`
	Sealed   []byte `cbor:"2,keyasint"` // encapsulation ‖ ciphertext
}

// ShareInfo is the HPKE info of a share: whose, of which domain.
func ShareInfo(domain, operator ID) []byte {
	return append(append([]byte("leadglass domain share v1"), domain[:]...), operator[:]...)
}

// Encode writes the result.
func (r CommandResult) Encode() ([]byte, error) { return encode(r) }

// ParseResult reads what Encode writes.
func ParseResult(b []byte) (CommandResult, error) {
	var r CommandResult
	return r, decode(b, &r)
}

// Encode writes the share for its holder.
func (s SealedShare) Encode() ([]byte, error) { return encode(s) }

// ParseSealedShare reads what Encode writes.
func ParseSealedShare(b []byte) (SealedShare, error) {
	var s SealedShare
	return s, decode(b, &s)
}

// Encode writes the share on its way to the HSM that recovers.
func (s SentShare) Encode() ([]byte, error) { return encode(s) }

// ParseSentShare reads what Encode writes.
func ParseSentShare(b []byte) (SentShare, error) {
	var s SentShare
	return s, decode(b, &s)
}
