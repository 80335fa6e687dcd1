package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"sync"
	"time"
)

// A chain is a verified path from a leaf to a root. Nothing in it depends on
// the time of asking: when it holds is notBefore to notAfter.
type chain struct {
	leaf                *ecdsa.PublicKey
	host                *HostStatement // of the certificate that issued the leaf
	notBefore, notAfter time.Time      // within the validity of every certificate
}

// valid includes both ends (RFC 5280 section 4.1.2.5).
func (c *chain) valid(t time.Time) bool { return !t.Before(c.notBefore) && !t.After(c.notAfter) }

// verifyChain takes the bundle, root first, and the leaf, in that order (step
// 4 of attestation-document section 4). It says nothing about whether the root
// is trusted.
func verifyChain(bundle [][]byte, leaf []byte) (*chain, error) {
	all := make([]*certificate, 0, len(bundle)+1)
	for _, der := range append(bundle[:len(bundle):len(bundle)], leaf) {
		c, ok := parseCertificate(der)
		if !ok {
			return nil, refuse(ChainInvalid, "a certificate is not an X.509 certificate of the profile")
		}
		all = append(all, c)
	}
	last := len(all) - 1
	out := &chain{leaf: all[last].key, notBefore: all[0].notBefore, notAfter: all[0].notAfter}
	if last > 0 {
		out.host = all[last-1].host
	}
	for i, c := range all {
		if i < last && (!c.ca || c.usage&usageKeyCertSign == 0 || c.pathLen >= 0 && c.pathLen < last-1-i) {
			return nil, refuse(ChainInvalid, "a certificate above the leaf may not issue what is below it")
		}
		if i == last && (c.ca || c.usage&usageDigitalSignature == 0) {
			return nil, refuse(ChainInvalid, "the leaf may not sign documents")
		}
		if c.notBefore.After(out.notBefore) {
			out.notBefore = c.notBefore
		}
		if c.notAfter.Before(out.notAfter) {
			out.notAfter = c.notAfter
		}
	}
	// Signatures last: they cost most.
	for i := 1; i <= last; i++ {
		parent, c := all[i-1], all[i]
		if !bytes.Equal(parent.subject, c.issuer) {
			return nil, refuse(ChainInvalid, "an issuer is not the subject above it")
		}
		digest := sha512.Sum384(c.tbs)
		if !ecdsa.VerifyASN1(parent.key, digest[:], c.signature) {
			return nil, refuse(ChainInvalid, "a certificate is not signed by the one above it")
		}
	}
	return out, nil
}

// MaxChains is how many verified chains Chains remembers.
const MaxChains = 1024

// Chains remembers which chains were verified. One cell signs with one chain
// for hours, and of the five signatures of a document four are the chain's.
// Only what is true for ever is remembered, under a digest of every byte of the
// chain; validity, trust in the root and the document's own signature are
// checked each time. The zero value is empty and ready; it is safe for
// concurrent use. A nil one remembers nothing.
type Chains struct {
	mu sync.Mutex
	m  map[[sha256.Size]byte]*chain // guarded by mu
}

func (k *Chains) chain(bundle [][]byte, leaf []byte) (*chain, error) {
	if k == nil {
		return verifyChain(bundle, leaf)
	}
	id := chainID(bundle, leaf)
	k.mu.Lock()
	c := k.m[id]
	k.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := verifyChain(bundle, leaf)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil || len(k.m) >= MaxChains {
		// Letting all go is rare and costs each cell one verification; whoever could fill this has a certificate of a
		// trusted authority for every entry.
		k.m = make(map[[sha256.Size]byte]*chain)
	}
	k.m[id] = c
	return c, nil
}

// chainID is the digest of all certificates with their lengths.
func chainID(bundle [][]byte, leaf []byte) [sha256.Size]byte {
	b := make([]byte, 0, 4<<10)
	for _, der := range append(bundle[:len(bundle):len(bundle)], leaf) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(der)))
		b = append(b, der...)
	}
	return sha256.Sum256(b)
}

// CheckRoot refuses bytes that can be no root: what is configured and never
// matches would be a trap.
func CheckRoot(der []byte) error {
	c, ok := parseCertificate(der)
	if !ok || len(der) > MaxCertificate {
		return refuse(ChainInvalid, "the root is not an X.509 certificate of the profile")
	}
	if !c.ca || c.usage&usageKeyCertSign == 0 {
		return refuse(ChainInvalid, "the root may not issue certificates")
	}
	return nil
}
