package hsmtest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"testing"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// A Custodian is an operator of a domain, with the keys that only the person
// has.
type Custodian struct {
	quorum.Operator
	Sign  func(input []byte) []byte // over quorum.SigningInput
	Share hpke.PrivateKey           // opens its share of a recovery key
}

// NewCustodian makes a custodian with a key of this type (not WebAuthn).
func NewCustodian(t testing.TB, label, organisation string, kind quorum.KeyType) *Custodian {
	t.Helper()
	c := &Custodian{Operator: quorum.Operator{Type: kind, Role: quorum.RoleOperator, Label: label, Organisation: organisation}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	curve := map[quorum.KeyType]elliptic.Curve{quorum.P256: elliptic.P256(), quorum.P384: elliptic.P384()}[kind]
	if curve == nil {
		public, key, err := ed25519.GenerateKey(rand.Reader)
		must(err)
		c.Public, c.Sign = public, func(input []byte) []byte { return ed25519.Sign(key, input) }
	} else {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(err)
		c.Public, err = quorum.MarshalSPKI(&key.PublicKey)
		must(err)
		c.Sign = func(input []byte) []byte {
			sum := sha512.Sum384(input)
			digest := sum[:]
			if kind == quorum.P256 {
				short := sha256.Sum256(input)
				digest = short[:]
			}
			sig, err := ecdsa.SignASN1(rand.Reader, key, digest)
			must(err)
			return sig
		}
	}
	c.ID = quorum.OperatorID(kind, c.Public)
	var err error
	c.Share, err = hpke.MLKEM768X25519().GenerateKey()
	must(err)
	return c
}

// Custodians are five: three of one organisation (0, 1, 4) and two of another.
func Custodians(t testing.TB) []*Custodian {
	t.Helper()
	return []*Custodian{
		NewCustodian(t, "ada", "north", quorum.Ed25519), NewCustodian(t, "bo", "north", quorum.P384),
		NewCustodian(t, "cleo", "south", quorum.P256), NewCustodian(t, "dan", "south", quorum.Ed25519),
		NewCustodian(t, "eve", "north", quorum.Ed25519),
	}
}

// Operators is their public side.
func Operators(all []*Custodian) (out []quorum.Operator) {
	for _, c := range all {
		out = append(out, c.Operator)
	}
	return out
}

// Signed is a command with its signatures.
func Signed(t testing.TB, c quorum.Command, signers ...*Custodian) []byte {
	t.Helper()
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := quorum.SignedCommand{Command: b, Signatures: []quorum.Signature{}}
	for _, who := range signers {
		s.Signatures = append(s.Signatures, quorum.Signature{Operator: who.ID, Sig: who.Sign(quorum.SigningInput(b))})
	}
	signed, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// Founding are arguments of CreateDomain with the default rules for these
// custodians. With a threshold each gets a share of a recovery key.
func Founding(member quorum.ID, all []*Custodian, threshold uint64) quorum.CreateArguments {
	a := quorum.CreateArguments{
		Name: "test domain", Member: member, Operators: Operators(all), Rules: quorum.DefaultRules(Operators(all)),
		Retention: 30, Threshold: threshold,
	}
	if threshold > 0 {
		for _, c := range all {
			a.Holders = append(a.Holders, quorum.ShareHolder{Operator: c.ID, Public: c.Share.PublicKey().Bytes()})
		}
	}
	return a
}
