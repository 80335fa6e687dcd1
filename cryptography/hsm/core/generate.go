package core

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"runtime"
	"strings"

	"filippo.io/mldsa"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// turns bounds how much of the machine the slow arithmetic takes, so that
// symmetric traffic always finds a processor. Go gives a running goroutine up
// to ten milliseconds before another gets its place; with more of them than
// processors those add up.
type turns struct {
	rsaQueue chan struct{} // places for those that make an RSA key or wait to
	rsaTurn  chan struct{} // held by the one that makes one
	private  chan struct{} // held while an RSA private key works
}

// rsaQueueLen: finding the primes of an RSA-4096 key takes about a second, so
// the last in the queue waits a few. A longer queue would only make its
// callers time out.
const rsaQueueLen = 4

func newTurns() turns {
	return turns{
		rsaQueue: make(chan struct{}, rsaQueueLen), rsaTurn: make(chan struct{}, 1),
		private: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
}

// generateRSA makes an RSA key, one at a time. False: too many wait already.
func (t *turns) generateRSA(bits int) (*rsa.PrivateKey, error, bool) {
	select {
	case t.rsaQueue <- struct{}{}:
	default:
		return nil, nil, false
	}
	defer func() { <-t.rsaQueue }()
	t.rsaTurn <- struct{}{}
	defer func() { <-t.rsaTurn }()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	return k, err, true
}

// keyUsages says what a key of a spec may be used for (kms-api section 3).
func keyUsages(spec string) string {
	switch {
	case spec == message.SpecSymmetric:
		return message.UsageEncrypt
	case rsaBits(spec) > 0:
		return message.UsageEncrypt + " " + message.UsageSign
	case curve(spec) != nil:
		return message.UsageSign + " " + message.UsageAgree
	case hmacLen(spec) > 0:
		return message.UsageMac
	case spec == message.SpecSecp256k1, spec == message.SpecEd25519:
		return message.UsageSign
	}
	if _, is := mldsaParameters(spec); is {
		return message.UsageSign
	}
	return ""
}

// fits says whether a key of a spec may have a usage.
func fits(spec, usage string) bool {
	for u := range strings.FieldsSeq(keyUsages(spec)) {
		if u == usage {
			return true
		}
	}
	return false
}

// generateOther makes a key of any spec but the symmetric one.
func (c *call) generateOther() uint64 {
	p := &c.params
	if !fits(p.Spec, p.Usage) || p.Origin != originHere {
		return link.StatusBadRequest
	}
	if n := hmacLen(p.Spec); n > 0 {
		rand.Read(c.material[:n])
		return c.make(p.Spec, p.Usage, p.Origin, c.material[:n])
	}
	material, status := c.generatePrivate(c.material[:0], p.Spec)
	if status != link.StatusOK {
		return status
	}
	return c.make(p.Spec, p.Usage, p.Origin, material)
}

// generatePrivate makes a key pair: it appends the material of the private
// half to b, which must have room for it, and leaves the public half in the
// result.
func (c *call) generatePrivate(b []byte, spec string) ([]byte, uint64) {
	k := new(privateKey)
	defer k.wipe()
	var err error
	params, isMLDSA := mldsaParameters(spec)
	switch nist := curve(spec); {
	case isMLDSA:
		start := len(b)
		b = b[:start+mldsa.PrivateKeySize]
		rand.Read(b[start:])
		k.mldsa, err = mldsa.NewPrivateKey(params, b[start:])
	case rsaBits(spec) > 0:
		var admitted bool
		if k.rsa, err, admitted = c.h.turns.generateRSA(rsaBits(spec)); !admitted {
			return nil, link.StatusBusy
		}
	case nist != nil:
		k.ec, err = ecdsa.GenerateKey(nist, rand.Reader)
	case spec == message.SpecSecp256k1:
		k.secp, err = secp256k1.GeneratePrivateKey()
	case spec == message.SpecEd25519:
		_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, link.StatusBadRequest
	}
	if err != nil {
		return nil, link.StatusInternal
	}
	ok := true
	if !isMLDSA {
		b, ok = appendPKCS8(b, k)
	}
	public := k.public()
	spki, fine := public.spki()
	if !ok || !fine {
		return nil, link.StatusInternal
	}
	c.result.Public = spki
	return b, link.StatusOK
}

// generateDataKeyPair makes a key pair whose private half leaves only
// encrypted under the symmetric key of the call, and in the clear if the
// caller asks for it: it is the caller's, not the HSM's.
func (c *call) generateDataKeyPair() uint64 {
	p := &c.params
	if !pkcs8Spec(p.Spec) || p.Flags&^message.FlagNoPlaintext != 0 {
		return link.StatusBadRequest
	}
	hbk, status := c.openSymmetric()
	if status != link.StatusOK {
		return status
	}
	pkcs8, status := c.generatePrivate(c.plain[:0], p.Spec)
	if status != link.StatusOK {
		return status
	}
	c.result.Blob, status = encryptBlob(nil, message.BlobKeyPair, hbk, &c.attrs.material, pkcs8, p.Context)
	if p.Flags&message.FlagNoPlaintext == 0 {
		c.result.Data = pkcs8
	}
	return status
}
