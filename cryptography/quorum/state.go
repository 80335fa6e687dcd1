package quorum

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// DomainState is the public part of a domain (hsm-domain section 3).
type DomainState struct {
	Version    uint64            `cbor:"1,keyasint"` // 1
	ID         ID                `cbor:"2,keyasint"`
	Name       string            `cbor:"3,keyasint"`
	Serial     uint64            `cbor:"4,keyasint"` // +1 with each change
	Previous   []byte            `cbor:"5,keyasint"` // Hash of the state before, 48 bytes
	Members    []Member          `cbor:"6,keyasint"`
	Operators  []Operator        `cbor:"7,keyasint"`
	Rules      Rules             `cbor:"8,keyasint"`
	Hosts      []Host            `cbor:"9,keyasint"`
	Keys       []DomainKey       `cbor:"10,keyasint"`
	Retention  uint64            `cbor:"11,keyasint"`
	Roots      [][]byte          `cbor:"12,keyasint"` // of attestation documents, DER
	Flags      uint64            `cbor:"13,keyasint"`
	FenceEpoch uint64            `cbor:"14,keyasint"`
	LogKeys    []cbor.RawMessage `cbor:"15,keyasint"`
}

// A Member is an HSM of a domain.
type Member struct {
	ID    ID     `cbor:"1,keyasint"` // MemberID(HSK)
	HSK   []byte `cbor:"2,keyasint"` // SPKI, ECDSA P-384: what it signs with
	HAK   []byte `cbor:"3,keyasint"` // SPKI, ECDH P-384: what is agreed with it
	KEM   []byte `cbor:"4,keyasint"` // ML-KEM-768 encapsulation key
	Label string `cbor:"5,keyasint"`
	Flags uint64 `cbor:"6,keyasint"`
}

// Flags of a member.
const (
	MemberOffline  = 1 // its sealed state lies in a safe; it serves nobody
	MemberRecovery = 2 // no HSM: the public half of the recovery key, whose secret is in shares
)

// MemberID is the id of the HSM with this HSK: the first 16 bytes of SHA-256
// of its SPKI.
func MemberID(hsk []byte) (id ID) {
	sum := sha256.Sum256(hsk)
	copy(id[:], sum[:])
	return id
}

const kemLen = 1184 // of an ML-KEM-768 encapsulation key (FIPS 203)

// Check refuses a member whose record is not sound in itself. The recovery
// member has HAK in the place of HSK, so that its id is defined too.
func (m Member) Check() error {
	if m.ID != MemberID(m.HSK) || len(m.KEM) != kemLen || !text(m.Label) {
		return fmt.Errorf("%w: member %s", ErrMalformed, m.ID)
	}
	for _, key := range [][]byte{m.HSK, m.HAK} {
		if _, err := ParseSPKI(elliptic.P384(), key); err != nil {
			return fmt.Errorf("quorum: member %s: %w", m.ID, err)
		}
	}
	return nil
}

// Verify checks an ECDSA-P384-SHA384 signature (ASN.1) of this member's HSK
// over a message.
func (m Member) Verify(message, sig []byte) error {
	key, err := ParseSPKI(elliptic.P384(), m.HSK)
	if err != nil || m.Flags&MemberRecovery != 0 {
		return fmt.Errorf("%w: member %s cannot sign", ErrSignature, m.ID)
	}
	sum := sha512.Sum384(message)
	if !ecdsa.VerifyASN1(key, sum[:], sig) {
		return fmt.Errorf("%w of member %s", ErrSignature, m.ID)
	}
	return nil
}

// A Host may ask the HSMs of the domain.
type Host struct {
	ID    ID       `cbor:"1,keyasint"`
	SPKI  []byte   `cbor:"2,keyasint"`
	Roles []string `cbor:"3,keyasint"`
}

// States of a domain key.
const (
	KeyActive      = 1
	KeyDecryptOnly = 2
)

// A DomainKey is the public side of a domain key.
type DomainKey struct {
	ID      [8]byte `cbor:"1,keyasint"`
	Created uint64  `cbor:"2,keyasint"` // ms since 1970
	State   uint64  `cbor:"3,keyasint"`
}

// Encode writes the state.
func (s DomainState) Encode() ([]byte, error) { return encode(s) }

// DecodeState reads what Encode writes.
func DecodeState(b []byte) (DomainState, error) {
	var s DomainState
	if err := decode(b, &s); err != nil {
		return s, err
	}
	if s.Version != 1 || len(s.Previous) != sha512.Size384 || len(s.Members) > maxMembers || len(s.Operators) > maxOperators {
		return s, fmt.Errorf("%w: not a domain state of version 1", ErrMalformed)
	}
	return s, nil
}

// HashState is the hash of an encoded state that the next one names.
func HashState(encoded []byte) []byte {
	sum := sha512.Sum384(encoded)
	return sum[:]
}

// Quorum is the part of the state that decides about commands.
func (s DomainState) Quorum() State {
	return State{Domain: s.ID, Serial: s.Serial, Operators: s.Operators, Rules: s.Rules}
}

// Member returns the member with this id.
func (s DomainState) Member(id ID) (Member, bool) {
	for _, m := range s.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// MemberRecord is what a waiting HSM says of itself, signed with its HSK. It
// proves that whoever made it has the keys; what it says of its build is worth
// as much as the hand that carried it, or the quote in it.
type MemberRecord struct {
	Member    Member    `cbor:"1,keyasint"`
	Statement Statement `cbor:"2,keyasint"`
	Sig       []byte    `cbor:"3,keyasint"`
}

// Statement is what a member says about how it runs.
type Statement struct {
	Build   string   `cbor:"1,keyasint"` // of the program, as it knows it
	Lock    []string `cbor:"2,keyasint"` // which walls stand: "landlock", "seccomp", ...
	Memory  string   `cbor:"3,keyasint"` // where key material lies
	Seal    string   `cbor:"4,keyasint"` // what guards it at rest
	Created uint64   `cbor:"5,keyasint"` // ms since 1970
	Quote   []byte   `cbor:"6,keyasint,omitempty"`
}

const recordContext = "leadglass hsm member\x00"

// SigningInput is what the HSM signs.
func (r MemberRecord) SigningInput() ([]byte, error) {
	b, err := encode([]any{r.Member, r.Statement})
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum384(b)
	return append([]byte(recordContext), sum[:]...), nil
}

// Encode writes the record.
func (r MemberRecord) Encode() ([]byte, error) { return encode(r) }

// ParseMemberRecord reads a record and checks it and its signature.
func ParseMemberRecord(b []byte) (MemberRecord, error) {
	var r MemberRecord
	if len(b) > maxBlob {
		return r, fmt.Errorf("%w: a member record has at most %d bytes", ErrMalformed, maxBlob)
	}
	if err := decode(b, &r); err != nil {
		return r, err
	}
	if err := r.Member.Check(); err != nil {
		return r, err
	}
	input, err := r.SigningInput()
	if err != nil {
		return r, err
	}
	return r, r.Member.Verify(input, r.Sig)
}
