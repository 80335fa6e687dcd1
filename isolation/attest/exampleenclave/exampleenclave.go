// Package exampleenclave is an attestation authority and enclaves under it that
// exist nowhere, for the tour: their documents have the form of real ones
// (attestation-document) and can be sent with any call that takes a Recipient,
// and what comes back for them is opened here.
//
// Start with New; Authority.Root is what a domain has to trust. Nothing is
// measured and nothing is isolated: whoever holds an Authority can claim to be
// any image. Never let a domain that guards real keys trust one.
package exampleenclave

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"time"

	"github.com/leadglass/leadglass/isolation/attest"
)

// moduleID is that of every enclave.
const moduleID = "i-0123456789abcdef0-enc0123456789abcdef"

// An Authority issues the certificates of enclaves, on one host.
type Authority struct {
	bundle [][]byte // root first
	host   *x509.Certificate
	key    *ecdsa.PrivateKey // of host
}

// New makes an authority, whose certificates are good for an hour from now on.
// Its host says that it isolates by software (attest.Software), so that the
// conditions of keys can be met at all; nothing does.
func New(now time.Time) (*Authority, error) {
	a := &Authority{}
	for level, name := range []string{"example.leadglass-enclaves", "cluster.example.leadglass-enclaves", "zonal.example.leadglass-enclaves", "i-0123456789abcdef0.example.leadglass-enclaves"} {
		c := &x509.Certificate{
			IsCA: true, MaxPathLen: 3 - level, MaxPathLenZero: level == 3, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		}
		switch level {
		case 0:
			c.MaxPathLen = -1
		case 3:
			c.KeyUsage = x509.KeyUsageCertSign
			h := attest.HostStatement{Tier: attest.Software}
			c.ExtraExtensions = []pkix.Extension{{Id: attest.HostStatementID(), Value: h.DER()}}
		}
		if err := a.issue(c, name, now); err != nil {
			return nil, err
		}
		a.bundle = append(a.bundle, a.host.Raw)
	}
	return a, nil
}

// issue makes the next certificate of the chain, and goes on with its key.
func (a *Authority) issue(c *x509.Certificate, name string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return err
	}
	c.SerialNumber = big.NewInt(int64(len(a.bundle) + 1))
	c.Subject = pkix.Name{Country: []string{"US"}, Organization: []string{"Leadglass"}, CommonName: name}
	c.NotBefore, c.NotAfter, c.BasicConstraintsValid = now.Add(-time.Minute), now.Add(time.Hour), true
	issuer, issuerKey := a.host, a.key
	if issuer == nil {
		issuer, issuerKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, key.Public(), issuerKey)
	if err != nil {
		return err
	}
	a.host, err = x509.ParseCertificate(der)
	a.key = key
	return err
}

// Root is the root certificate, in DER.
func (a *Authority) Root() []byte { return a.bundle[0] }

// An Enclave runs an image, so it says.
type Enclave struct {
	bundle  [][]byte
	leaf    []byte
	signing *ecdsa.PrivateKey // of leaf
	opening *rsa.PrivateKey   // what is for the enclave is encrypted to it
	pcrs    map[int][]byte
}

// Enclave starts an enclave from an image.
func (a *Authority) Enclave(image []byte, now time.Time) (*Enclave, error) {
	leaf := Authority{a.bundle, a.host, a.key}
	// Not critical in the leaves of real enclaves, which x509 would make it: digitalSignature and nonRepudiation.
	if err := leaf.issue(&x509.Certificate{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{3, 2, 6, 0xc0}}}}, moduleID+".example.leadglass", now); err != nil {
		return nil, err
	}
	opening, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	e := &Enclave{bundle: a.bundle, leaf: leaf.host.Raw, signing: leaf.key, opening: opening, pcrs: make(map[int][]byte, 16)}
	for i := range 16 {
		e.pcrs[i] = make([]byte, sha512.Size384)
	}
	// A register is extended: SHA-384 of what it held, here zeros, and of the digest of what is measured.
	digest := sha512.Sum384(image)
	for i := range 3 {
		sum := sha512.Sum384(append(make([]byte, sha512.Size384), digest[:]...))
		e.pcrs[i] = sum[:]
	}
	return e, nil
}

// Image is register 0: what of the image is measured.
func (e *Enclave) Image() []byte { return e.pcrs[0] }

// Document is an attestation document of now, with the key to encrypt to.
func (e *Enclave) Document(now time.Time) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(e.opening.Public())
	if err != nil {
		return nil, err
	}
	return attest.Sign(&attest.Statement{ModuleID: moduleID, Timestamp: now, PCRs: e.pcrs, Certificate: e.leaf, Bundle: e.bundle, PublicKey: spki}, e.signing)
}

var errEnvelope = errors.New("exampleenclave: not an envelope for this enclave")

// Open opens a CiphertextForRecipient: CMS EnvelopedData (RFC 5652) with the
// content key under RSAES-OAEP with SHA-256 and the content under AES-256-CBC,
// in BER with indefinite lengths as kms-recipient-attestation section 4 has it.
func (e *Enclave) Open(ciphertextForRecipient []byte) ([]byte, error) {
	info, rest, err := read(ciphertextForRecipient)
	if err != nil || len(rest) != 0 {
		return nil, errEnvelope
	}
	// ContentInfo { type, [0] { EnvelopedData { version, SET of recipients, EncryptedContentInfo } } }
	data := info.child(1).child(0)
	recipient := data.child(1).child(0) // { version, [0] key id, algorithm, encrypted key }
	content := data.child(2)            // { type, { algorithm, iv }, [0] content }
	iv, sealed := content.child(1).child(1).bytes(), content.child(2).bytes()
	key, err := rsa.DecryptOAEP(sha256.New(), nil, e.opening, recipient.child(3).bytes(), nil)
	if err != nil || len(key) != 32 || len(iv) != aes.BlockSize || len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errEnvelope
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, sealed)
	padding := int(out[len(out)-1])
	if padding < 1 || padding > aes.BlockSize {
		return nil, errEnvelope
	}
	return out[:len(out)-padding], nil
}

// An element is one of BER.
type element struct {
	tag      byte
	value    []byte // of a primitive one
	children []element
}

// child is the i-th part, or an element that holds nothing.
func (e element) child(i int) element {
	if i < len(e.children) {
		return e.children[i]
	}
	return element{}
}

// bytes is the value, of a constructed string that of its pieces.
func (e element) bytes() []byte {
	out := e.value
	for _, c := range e.children {
		out = append(out, c.value...)
	}
	return out
}

const constructed = 0x20

// read reads the first element of b.
func read(b []byte) (e element, rest []byte, err error) { return readAt(b, 0) }

// deepest is how deep elements may lie in each other.
const deepest = 16

func readAt(b []byte, depth int) (e element, rest []byte, err error) {
	if len(b) < 2 || depth > deepest {
		return e, nil, errEnvelope
	}
	e.tag = b[0]
	n, head := int(b[1]), 2
	indefinite := n == 0x80 && e.tag&constructed != 0
	if n >= 0x80 && !indefinite {
		if n -= 0x80; n < 1 || n > 2 || len(b) < 2+n {
			return e, nil, errEnvelope
		}
		head += n
		n = 0
		for _, d := range b[2:head] {
			n = n<<8 | int(d)
		}
	}
	b = b[head:]
	if !indefinite {
		if n > len(b) {
			return e, nil, errEnvelope
		}
		b, rest = b[:n], b[n:]
	}
	if e.tag&constructed == 0 {
		e.value = b
		return e, rest, nil
	}
	for indefinite || len(b) > 0 {
		if indefinite && len(b) >= 2 && b[0] == 0 && b[1] == 0 {
			return e, b[2:], nil
		}
		var c element
		if c, b, err = readAt(b, depth+1); err != nil {
			return e, nil, err
		}
		e.children = append(e.children, c)
	}
	return e, rest, nil
}
