// Package attest reads, checks and makes attestation documents: what a machine
// whose software was measured says of itself, signed by a key that a chain of
// certificates leads to (attestation-document). It is the format of the public
// cloud's enclaves, byte for byte; documents of Leadglass's own cells have the
// same form under another root.
//
// Start with Verify, which takes a document, the roots that are trusted and the
// time, and gives Claims: what may be believed. Every refusal is an *Error with
// one of the classes of the specification; none of them repeats what stood in
// the document. Sign is the other half: it makes a document with the key of a
// cell. AWSRootG1 is the root of the public cloud's hardware.
//
// Strict on purpose: one encoding rule broken, one certificate out of order,
// one critical extension that is not understood, and the document is refused.
// There is no search for a path: the bundle is the path. The root in a document
// is never believed by itself.
//
// Not done here: deciding what a measurement is worth (policies and sealed
// conditions do), issuing certificates, revocation lists (the certificates live
// for hours), remembering nonces.
//
// This package runs inside the HSM. It therefore reads X.509 itself (crypto/x509
// links the network) and imports nothing but what house.txt lists for it.
// Promised: Verify never panics, whatever the bytes, takes at most MaxDocument
// of them, and checks at most MaxBundle+1 signatures.
package attest

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/subtle"
	"strings"
	"time"
)

// Limits of a document (attestation-document sections 1 and 2).
const (
	MaxDocument    = 32 << 10 // bytes of a document
	MaxPayload     = 16 << 10 // of its payload
	MaxCertificate = 1024     // of one certificate in it
	MaxBundle      = 8        // certificates above the leaf; real documents have four
	MaxField       = 1024     // of public key, user data and nonce each
	PCRs           = 32       // there are so many registers

	maxModuleID = 128
)

// How old a document may be for the key service, and how far ahead of our clock
// (kms-recipient-attestation section 3, step 5).
const (
	DefaultMaxAge   = 5 * time.Minute
	DefaultMaxAhead = time.Minute
)

// A Tier says what isolates the machine that a document speaks of
// (attestation-document section 5). More is better.
type Tier uint8

// The tiers.
const (
	Simulated    Tier = 0 // no claim
	Software     Tier = 1 // software isolation
	MeasuredBoot Tier = 2 // software isolation on a measured boot, whose TPM quote was checked
	Confidential Tier = 3 // a confidential VM, whose report was checked
	Hardware     Tier = 4 // a hardware enclave
)

// A Root is a certificate that documents may end in.
type Root struct {
	DER  []byte
	Name string // for records: who stands behind it
	// Tier is what documents under this root are worth; with Hosts, at most.
	Tier Tier
	// Hosts: the tier is what the certificate of the host says that issued the leaf (HostStatement), and Simulated
	// if it says nothing. The authority of these certificates assigns it, never the host.
	Hosts bool
}

// Options are what a document is checked against. Roots and Now are required:
// the zero Options refuse every document.
type Options struct {
	Roots []Root
	Now   time.Time
	// MaxAge and MaxAhead bound the distance of the document's time from Now; zero means DefaultMaxAge and
	// DefaultMaxAhead. Archived documents are checked with the time at which they were received as Now.
	MaxAge, MaxAhead time.Duration
	Nonce            []byte         // must be in the document; nil: not asked. That it is used once is the caller's to see
	PCRs             map[int][]byte // must be in the document, with these values; a value of zeros is never met
	Debug            bool           // take documents of debug enclaves, whose PCR 0 to 2 are zero
	Key              bool           // there must be an RSA key that secrets can be encrypted to: Claims.RSA
	Chains           *Chains        // remembers chains that were verified; nil: each is verified anew
}

// Claims are what a verified document says. The caller may keep them; they do
// not point into the document.
type Claims struct {
	ModuleID   string
	InstanceID string // the part of ModuleID before "-enc"
	Timestamp  time.Time
	PCRs       map[int][]byte // 1 to 32 registers, index 0 to 31; ask Measures, which knows of zeros
	Debug      bool           // PCR 0, 1 and 2 are zero: nothing was measured

	Tier Tier
	Root string         // Name of the root
	Host *HostStatement // of the host's certificate; nil if it has none

	PublicKey []byte         // as it stands in the document; nil if there is none
	RSA       *rsa.PublicKey // PublicKey, if it is a key that secrets can be encrypted to; else nil
	UserData  []byte
	Nonce     []byte

	Digest [sha512.Size384]byte // SHA-384 of the document's bytes
}

// Measures says whether register i was measured and holds this value. A
// register of zeros was not: it measures nothing, whatever is expected of it
// (kms-recipient-attestation section 3, step 7).
func (c *Claims) Measures(i int, value []byte) bool {
	got := c.PCRs[i]
	return !Zero(got) && bytes.Equal(got, value)
}

// Zero says whether a register's value is all zeros, or absent.
func Zero(value []byte) bool {
	for _, b := range value {
		if b != 0 {
			return false
		}
	}
	return true
}

// Verify checks a document. The steps are those of attestation-document
// section 4, in its order; the first that fails is the error.
func Verify(document []byte, o Options) (*Claims, error) {
	// Steps 1 and 2: form of the envelope and of what is in it.
	e, err := parseEnvelope(document)
	if err != nil {
		return nil, err
	}
	p, err := parsePayload(e.payload)
	if err != nil {
		return nil, err
	}
	// Step 3: the root must be one of ours, byte for byte.
	root := trusted(o.Roots, p.bundle[0])
	if root == nil {
		return nil, refuse(UntrustedRoot, "the chain ends in a root that is not configured")
	}
	// Step 4: the chain, at the document's time and now (kms-recipient-attestation section 3, step 3).
	c, err := o.Chains.chain(p.bundle, p.certificate)
	if err != nil {
		return nil, err
	}
	if !c.valid(o.Now) || !c.valid(p.timestamp) {
		return nil, refuse(CertificateExpired, "a certificate is outside its validity")
	}
	// Step 5: the document itself.
	if !e.signedBy(c.leaf) {
		return nil, refuse(BadSignature, "the document is not signed by its certificate's key")
	}
	// Steps 6 and 7: freshness and what else was expected.
	claims := p.claims()
	claims.Digest = sha512.Sum384(document)
	claims.Root, claims.Tier, claims.Host = root.Name, root.Tier, c.host
	if root.Hosts {
		claims.Tier = Simulated
		if c.host != nil {
			claims.Tier = min(c.host.Tier, root.Tier)
		}
	}
	if err := o.expect(claims); err != nil {
		return nil, err
	}
	return claims, nil
}

func trusted(roots []Root, der []byte) *Root {
	for i := range roots {
		if bytes.Equal(roots[i].DER, der) {
			return &roots[i]
		}
	}
	return nil
}

// expect compares what is proven with what was expected.
func (o *Options) expect(c *Claims) error {
	maxAge, maxAhead := o.MaxAge, o.MaxAhead
	if maxAge == 0 {
		maxAge = DefaultMaxAge
	}
	if maxAhead == 0 {
		maxAhead = DefaultMaxAhead
	}
	if age := o.Now.Sub(c.Timestamp); age > maxAge || -age > maxAhead {
		return refuse(Stale, "the document is too old or from the future")
	}
	if o.Nonce != nil && subtle.ConstantTimeCompare(o.Nonce, c.Nonce) != 1 {
		return refuse(NonceMismatch, "the nonce is not the one that was issued")
	}
	for i := range PCRs {
		if want, asked := o.PCRs[i]; asked && !c.Measures(i, want) {
			return &Error{Class: PCRMismatch, Index: i, detail: "a register has another value"}
		}
	}
	for i := range o.PCRs {
		if i < 0 || i >= PCRs { // a register that no document has
			return &Error{Class: PCRMismatch, Index: i, detail: "there is no such register"}
		}
	}
	if c.Debug && !o.Debug {
		return refuse(DebugNotAllowed, "the enclave runs in debug mode")
	}
	if o.Key && c.RSA == nil {
		return refuse(MissingPublicKey, "there is no RSA key of 2048 to 4096 bits with exponent 65537")
	}
	return nil
}

func (p *payload) claims() *Claims {
	c := &Claims{
		ModuleID: p.moduleID, Timestamp: p.timestamp, PCRs: make(map[int][]byte, len(p.pcrs)),
		PublicKey: bytes.Clone(p.publicKey), UserData: bytes.Clone(p.userData), Nonce: bytes.Clone(p.nonce),
	}
	c.InstanceID, _, _ = strings.Cut(p.moduleID, "-enc")
	for i, v := range p.pcrs {
		c.PCRs[i] = bytes.Clone(v)
	}
	c.Debug = Zero(c.PCRs[0]) && Zero(c.PCRs[1]) && Zero(c.PCRs[2])
	if key, ok := parseRSA(c.PublicKey); ok {
		c.RSA = key
	}
	return c
}
