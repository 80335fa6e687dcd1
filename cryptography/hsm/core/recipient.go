package core

import (
	"bytes"
	"crypto/sha256"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/isolation/attest"
)

// Recipients: an attested enclave that the secret part of a result is for
// (kms-recipient-attestation). The document is verified before the operation
// runs, so that conditions sealed into a key can ask what was measured; the
// secret is encrypted after it succeeded. Operations know nothing of it.

// recipients are the operations with a secret in their result that an enclave
// can ask for, by AWS's names.
var recipients = map[uint64]string{
	message.OpDecrypt:             "Decrypt",
	message.OpGenerateDataKey:     "GenerateDataKey",
	message.OpGenerateDataKeyPair: "GenerateDataKeyPair",
	message.OpRandom:              "GenerateRandom",
	message.OpDeriveSharedSecret:  "DeriveSharedSecret",
}

// admit verifies the recipient of the call, if it has one.
func (c *call) admit() uint64 {
	p := &c.params
	if len(p.Recipient) == 0 {
		if len(p.Answer) > 0 { // what is signed is who may open the answer
			return link.StatusBadRequest
		}
		return link.StatusOK
	}
	if recipients[c.op] == "" || p.Flags&message.FlagNoPlaintext != 0 {
		return link.StatusBadRequest
	}
	// The host shows the body of which an answer is to be signed; that this is what is executed must not rest on its
	// word.
	if len(p.Answer) > 0 && !c.executes(p.Answer) {
		return link.StatusAttestation
	}
	// Debug enclaves are let in: their registers of zeros meet no condition (attest.Claims.Measures), and policies
	// can deny them.
	claims, err := attest.Verify(p.Recipient, attest.Options{
		Roots: c.roots(), Now: c.h.cfg.Now(), Debug: true, Key: true, Chains: &c.h.chains,
	})
	if err != nil {
		return link.StatusAttestation
	}
	c.claims = claims
	return link.StatusOK
}

// envelop puts the secret part of the result into an envelope for the
// recipient, so that none of it leaves in the clear.
func (c *call) envelop() uint64 {
	if c.claims == nil {
		return link.StatusOK
	}
	envelope, err := envelop(c.claims.RSA, c.claims.PublicKey, c.result.Data)
	secret.Wipe(c.result.Data)
	c.result.Data = nil
	if err != nil {
		return link.StatusInternal
	}
	c.result.Envelope = envelope
	return c.prove()
}

// prove signs the answer (kms-recipient-attestation, "signed answers"), if
// that was asked for.
func (c *call) prove() uint64 {
	p := &c.params
	if len(p.Answer) == 0 {
		return link.StatusOK
	}
	a := message.Answer{
		Body: sha256.Sum256(p.Answer), Operation: recipients[c.op], Key: c.attrs.name, Envelope: sha256.Sum256(c.result.Envelope),
		Document: c.claims.Digest, Time: uint64(c.h.cfg.Now().UnixMilli()), Serial: c.d.state.Serial,
	}
	copy(a.Domain[:], c.d.state.ID[:])
	member := sha256.Sum256(c.h.identity) // its first 16 bytes are the member id
	return c.state(message.AnswerHeader(member[:16]), a.Append(nil))
}

// Bits of the domain's policy flags (hsm-domain section 3, field 13).
const flagAWSAttestation = 1 // documents under the root of the public cloud's hardware count

// roots are those that documents may end in. Once a domain has operators they
// alone decide; before, what the supervisor said at the start counts as well:
// it could have started anything.
func (c *call) roots() []attest.Root {
	s := &c.d.state
	aws := attest.AWSRootG1()
	var roots []attest.Root
	for _, der := range s.Roots {
		if bytes.Equal(der, aws.DER) {
			roots = append(roots, aws)
			continue
		}
		roots = append(roots, attest.Root{DER: der, Name: "domain", Tier: attest.Confidential, Hosts: true})
	}
	if s.Flags&flagAWSAttestation != 0 {
		roots = append(roots, aws)
	}
	if len(s.Operators) == 0 {
		c.h.mu.RLock()
		defer c.h.mu.RUnlock()
		roots = append(roots, c.h.extra...)
	}
	return roots
}

// canBeRoots says whether operators can make these the domain's roots. A place
// is left for the one that comes by flag.
func canBeRoots(roots [][]byte) bool {
	for _, der := range roots {
		if attest.CheckRoot(der) != nil {
			return false
		}
	}
	return len(roots) < message.MaxRoots
}

// trustRoots takes further roots from the supervisor, until Ready.
func (c *call) trustRoots() uint64 {
	roots, err := message.ParseRoots(c.params.Data)
	if err != nil {
		return link.StatusBadRequest
	}
	extra := make([]attest.Root, 0, len(roots))
	for _, r := range roots {
		if attest.CheckRoot(r.DER) != nil || r.Tier > uint64(attest.Hardware) || len(r.Name) > maxName {
			return link.StatusBadRequest
		}
		extra = append(extra, attest.Root{DER: bytes.Clone(r.DER), Name: r.Name, Tier: attest.Tier(r.Tier), Hosts: r.Hosts})
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if c.h.ready {
		return link.StatusDenied
	}
	c.h.extra = extra
	return link.StatusOK
}

// attestationRoots tells a host which documents the HSM will take, so that it
// can decide by what they say. What the HSM does depends on nothing of this.
func (c *call) attestationRoots() uint64 {
	var roots []message.Root
	for _, r := range c.roots() {
		roots = append(roots, message.Root{DER: r.DER, Name: r.Name, Tier: uint64(r.Tier), Hosts: r.Hosts})
	}
	c.result.Record = message.AppendRoots(nil, roots)
	return link.StatusOK
}

// rawSignature turns an ECDSA signature of P-384 from ASN.1 into the form of
// COSE: r and s of 48 bytes each (RFC 9053 section 2.1).
func rawSignature(der []byte) ([]byte, bool) {
	var r, s big.Int
	var pair cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&pair, asn1.SEQUENCE) || !in.Empty() || !pair.ReadASN1Integer(&r) || !pair.ReadASN1Integer(&s) || !pair.Empty() ||
		r.Sign() <= 0 || s.Sign() <= 0 || r.BitLen() > 8*scalarLen || s.BitLen() > 8*scalarLen {
		return nil, false
	}
	raw := make([]byte, 2*scalarLen)
	r.FillBytes(raw[:scalarLen])
	s.FillBytes(raw[scalarLen:])
	return raw, true
}
