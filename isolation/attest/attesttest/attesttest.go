// Package attesttest gives tests an attestation authority of the form of
// attestation-document section 5, and documents of cells that do not exist.
//
// Start with New; PKI.Root is what the code under test has to trust, and
// PKI.Document makes what a cell would present. Options.Edit spoils a
// certificate of the chain. EnclaveKey is the key that an enclave's secrets are
// encrypted to, and OpenEnvelope what an enclave does with them.
//
// Nothing here may be used outside tests: whoever holds a PKI can claim any
// measurement.
package attesttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/isolation/attest"
)

// Levels of the chain, for Options.Edit.
const (
	Root = iota
	Cluster
	HostGroup
	Host
	Leaf
)

// ModuleID is that of the cell that documents speak of.
const ModuleID = "i-0123456789abcdef0-enc0123456789abcdef"

// Options say how the authority is to be. Now is required.
type Options struct {
	Now    time.Time
	Tier   attest.Tier                          // that the host's certificate states
	NoHost bool                                 // it states nothing
	Edit   func(level int, c *x509.Certificate) // changes a template before it is signed
	Curve  func(level int) elliptic.Curve       // nil: P-384 everywhere
}

// A PKI is an authority and one cell under it.
type PKI struct {
	Bundle [][]byte // root first
	Leaf   []byte
	Key    *ecdsa.PrivateKey // of Leaf
	now    time.Time
}

// lifetimes of the levels, and their path lengths.
var lifetimes = [...]time.Duration{10 * 365 * 24 * time.Hour, 20 * 24 * time.Hour, 6 * 24 * time.Hour, 24 * time.Hour, 3*time.Hour + 3*time.Second}
var pathLens = [...]int{-1, 2, 1, 0, -1}
var subjects = [...]string{
	"test.leadglass-enclaves", "0123456789abcdef.test-1.leadglass-enclaves", "0123456789abcdef.zonal.test-1.leadglass-enclaves",
	"i-0123456789abcdef0.test-1.leadglass-enclaves", ModuleID + ".test-1.leadglass",
}

// New makes an authority.
func New(t testing.TB, o Options) *PKI {
	t.Helper()
	p := &PKI{now: o.Now}
	var parent *x509.Certificate
	var parentKey *ecdsa.PrivateKey
	for level, subject := range subjects {
		curve := elliptic.P384()
		if o.Curve != nil {
			curve = o.Curve(level)
		}
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(level + 1)),
			Subject:      pkix.Name{Country: []string{"US"}, Organization: []string{"Leadglass"}, CommonName: subject},
			NotBefore:    o.Now.Add(-time.Hour), NotAfter: o.Now.Add(lifetimes[level]),
			BasicConstraintsValid: true, IsCA: level < Leaf, MaxPathLen: pathLens[level], MaxPathLenZero: pathLens[level] == 0,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		}
		switch level {
		case Host:
			c.KeyUsage = x509.KeyUsageCertSign
			if !o.NoHost {
				h := attest.HostStatement{Tier: o.Tier}
				rand.Read(h.Runtime[:])
				rand.Read(h.Evidence[:])
				c.ExtraExtensions = []pkix.Extension{{Id: attest.HostStatementID(), Value: h.DER()}}
			}
		case Leaf:
			// Not critical in real leaves, which x509 would make it: digitalSignature and nonRepudiation.
			c.KeyUsage = 0
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{3, 2, 6, 0xc0}}}
		}
		if o.Edit != nil {
			o.Edit(level, c)
		}
		issuer, issuerKey := parent, parentKey
		if level == Root {
			issuer, issuerKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, issuer, key.Public(), issuerKey)
		if err != nil {
			t.Fatal(err)
		}
		if parent, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		parentKey = key
		if level == Leaf {
			p.Leaf, p.Key = der, key
		} else {
			p.Bundle = append(p.Bundle, der)
		}
	}
	return p
}

// Root is the root as a domain trusts it.
func (p *PKI) Root() attest.Root {
	return attest.Root{DER: p.Bundle[0], Name: "test", Tier: attest.Confidential, Hosts: true}
}

// Measured are the registers of a cell whose image is named so: 0 to 2 and 8
// depend on it, the others are zero.
func Measured(image byte) map[int][]byte {
	m := make(map[int][]byte, 16)
	for i := range 16 {
		m[i] = make([]byte, 48)
	}
	for _, i := range []int{0, 1, 2, 8} {
		for j := range m[i] {
			m[i][j] = image ^ byte(i)<<4 ^ 0x5a
		}
	}
	return m
}

// Document makes a document of the cell. What s leaves out is filled in: the
// module id, the time of the PKI, the registers of Measured(1), and always the
// chain.
func (p *PKI) Document(t testing.TB, s attest.Statement) []byte {
	t.Helper()
	if s.ModuleID == "" {
		s.ModuleID = ModuleID
	}
	if s.Timestamp.IsZero() {
		s.Timestamp = p.now
	}
	if s.PCRs == nil {
		s.PCRs = Measured(1)
	}
	s.Certificate, s.Bundle = p.Leaf, p.Bundle
	doc, err := attest.Sign(&s, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

var enclaveKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// EnclaveKey is an RSA key of 2048 bits and its SPKI, the same for all tests of
// a process.
func EnclaveKey(t testing.TB) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := enclaveKey()
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, spki
}
