package core

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // RSAES_OAEP_SHA_1
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"

	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// A signature algorithm (kms-api section 3).
type signing struct {
	scheme scheme
	hash   crypto.Hash // of the message; 0: the scheme hashes for itself
}

type scheme uint8

const (
	pkcs1 scheme = iota + 1
	pss
	ecdsaASN1
	edPure
	edPrehash
	mldsaPure
)

func signingAlgorithm(name string) (signing, bool) {
	switch name {
	case "RSASSA_PKCS1_V1_5_SHA_256":
		return signing{pkcs1, crypto.SHA256}, true
	case "RSASSA_PKCS1_V1_5_SHA_384":
		return signing{pkcs1, crypto.SHA384}, true
	case "RSASSA_PKCS1_V1_5_SHA_512":
		return signing{pkcs1, crypto.SHA512}, true
	case "RSASSA_PSS_SHA_256":
		return signing{pss, crypto.SHA256}, true
	case "RSASSA_PSS_SHA_384":
		return signing{pss, crypto.SHA384}, true
	case "RSASSA_PSS_SHA_512":
		return signing{pss, crypto.SHA512}, true
	case "ECDSA_SHA_256":
		return signing{ecdsaASN1, crypto.SHA256}, true
	case "ECDSA_SHA_384":
		return signing{ecdsaASN1, crypto.SHA384}, true
	case "ECDSA_SHA_512":
		return signing{ecdsaASN1, crypto.SHA512}, true
	case "ED25519_SHA_512":
		return signing{edPure, 0}, true
	case "ED25519_PH_SHA_512":
		return signing{edPrehash, crypto.SHA512}, true
	case "ML_DSA_SHAKE_256":
		return signing{mldsaPure, 0}, true
	}
	return signing{}, false
}

// suits says whether keys of a spec sign with the algorithm.
func (s signing) suits(spec string) bool {
	switch s.scheme {
	case pkcs1, pss:
		return rsaBits(spec) > 0
	case ecdsaASN1:
		switch spec {
		case message.SpecP256, message.SpecSecp256k1:
			return s.hash == crypto.SHA256
		case message.SpecP384:
			return s.hash == crypto.SHA384
		case message.SpecP521:
			return s.hash == crypto.SHA512
		}
	case edPure, edPrehash:
		return spec == message.SpecEd25519
	case mldsaPure:
		_, is := mldsaParameters(spec)
		return is
	}
	return false
}

// input makes of the message what is signed: the message itself, its digest,
// or μ, as the message type says (kms-api section 3). mu says that it is μ.
func (s signing) input(messageType string, data []byte) (in []byte, mu, ok bool) {
	switch messageType {
	case message.MessageRaw:
		if len(data) == 0 || len(data) > message.MaxMessage || s.scheme == edPrehash {
			return nil, false, false
		}
		if s.hash == 0 {
			return data, false, true
		}
		return sum(s.hash, data), false, true
	case message.MessageDigest:
		if s.hash == 0 || len(data) != s.hash.Size() {
			return nil, false, false
		}
		if s.scheme == edPrehash {
			// AWS takes the digest for the message of Ed25519ph and hashes it again.
			data = sum(s.hash, data)
		}
		return data, false, true
	case message.MessageExternalMu:
		return data, true, s.scheme == mldsaPure && len(data) == muLen
	}
	return nil, false, false
}

// muLen is the length of the message representative of ML-DSA (FIPS 204
// algorithm 7, line 6).
const muLen = 64

func sum(h crypto.Hash, data []byte) []byte {
	s := h.New()
	s.Write(data)
	return s.Sum(nil)
}

// openSigning unwraps a key that signs and works out what is signed.
func (c *call) openSigning() (s signing, material, in []byte, mu bool, status uint64) {
	s, known := signingAlgorithm(c.params.Alg)
	if !known {
		return s, nil, nil, false, link.StatusBadRequest
	}
	material, status = c.open()
	switch {
	case status != link.StatusOK:
		return s, nil, nil, false, status
	case c.attrs.usage != message.UsageSign || !fits(c.attrs.spec, message.UsageSign):
		return s, nil, nil, false, link.StatusWrongToken
	case !s.suits(c.attrs.spec):
		return s, nil, nil, false, link.StatusBadRequest
	}
	in, mu, ok := s.input(c.params.MessageType, c.params.Data)
	if !ok {
		return s, nil, nil, false, link.StatusBadRequest
	}
	return s, material, in, mu, link.StatusOK
}

func (c *call) sign() uint64 {
	s, material, in, mu, status := c.openSigning()
	if status != link.StatusOK {
		return status
	}
	k, ok := parsePrivate(c.attrs.spec, material)
	if !ok {
		return link.StatusInternal
	}
	defer k.wipe()
	var err error
	switch {
	case s.scheme == pkcs1:
		c.private(func() { c.result.Data, err = rsa.SignPKCS1v15(rand.Reader, k.rsa, s.hash, in) })
	case s.scheme == pss:
		c.private(func() { c.result.Data, err = rsa.SignPSS(rand.Reader, k.rsa, s.hash, in, saltAsLongAsHash()) })
	case k.secp != nil:
		// Deterministic (RFC 6979), with the lower of the two values of s.
		c.result.Data = secpecdsa.Sign(k.secp, in).Serialize()
	case s.scheme == ecdsaASN1:
		c.result.Data, err = ecdsa.SignASN1(rand.Reader, k.ec, in)
	case s.scheme == edPrehash:
		c.result.Data, err = k.ed.Sign(nil, in, &ed25519.Options{Hash: crypto.SHA512})
	case s.scheme == edPure:
		c.result.Data = ed25519.Sign(k.ed, in)
	case mu:
		c.result.Data, err = k.mldsa.Sign(nil, in, mldsacrypto.MLDSAMu)
	default: // pure ML-DSA, empty context, hedged (FIPS 204 algorithm 2)
		c.result.Data, err = k.mldsa.Sign(nil, in, &mldsa.Options{})
	}
	if err != nil {
		return link.StatusInternal
	}
	return link.StatusOK
}

// saltAsLongAsHash are the options of PSS, also when verifying: a signature
// with a salt of another length is not one of the algorithm (kms-api
// section 3).
func saltAsLongAsHash() *rsa.PSSOptions {
	return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
}

// private runs the arithmetic of an RSA private key when it is its turn.
func (c *call) private(f func()) {
	c.h.turns.private <- struct{}{}
	defer func() { <-c.h.turns.private }()
	f()
}

func (c *call) verify() uint64 {
	s, material, in, mu, status := c.openSigning()
	if status != link.StatusOK {
		return status
	}
	public, ok := parsePublic(c.attrs.spec, material)
	if !ok {
		return link.StatusInternal
	}
	if !public.verify(s, in, mu, c.params.Signature) {
		return link.StatusAuthFailed
	}
	return link.StatusOK
}

func (p *publicKey) verify(s signing, in []byte, mu bool, sig []byte) bool {
	switch {
	case s.scheme == pkcs1:
		return rsa.VerifyPKCS1v15(p.rsa, s.hash, in, sig) == nil
	case s.scheme == pss:
		return rsa.VerifyPSS(p.rsa, s.hash, in, sig, saltAsLongAsHash()) == nil
	case p.secp != nil:
		parsed, err := secpecdsa.ParseDERSignature(sig)
		return err == nil && parsed.Verify(in, p.secp)
	case s.scheme == ecdsaASN1:
		return ecdsa.VerifyASN1(p.ec, in, sig)
	case s.scheme == edPrehash:
		return ed25519.VerifyWithOptions(p.ed, in, sig, &ed25519.Options{Hash: crypto.SHA512}) == nil
	case s.scheme == edPure:
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(p.ed, in, sig)
	case mu:
		return verifyMu(p.mldsa, in, sig)
	}
	return mldsa.Verify(p.mldsa, in, sig, &mldsa.Options{}) == nil
}

// oaepHash is the hash of an encryption algorithm; the mask has the same one.
func oaepHash(alg string) (crypto.Hash, bool) {
	switch alg {
	case "RSAES_OAEP_SHA_1":
		return crypto.SHA1, true
	case "RSAES_OAEP_SHA_256":
		return crypto.SHA256, true
	}
	return 0, false
}

// oaep is the hash of an algorithm, if the attributes are of an RSA key that
// encrypts. An encryption context is refused: nothing would bind it.
func (a *attributes) oaep(alg string, context []byte) (crypto.Hash, uint64) {
	h, known := oaepHash(alg)
	switch {
	case !known || len(context) > 0:
		return 0, link.StatusBadRequest
	case a.usage != message.UsageEncrypt || rsaBits(a.spec) == 0:
		return 0, link.StatusWrongToken
	}
	return h, link.StatusOK
}

func (c *call) encryptOAEP() uint64 {
	material, status := c.open()
	if status != link.StatusOK {
		return status
	}
	c.result.Blob, status = c.attrs.encryptOAEP(c.params.Alg, material, c.params.Data, c.params.Context)
	return status
}

// encryptOAEP encrypts by RFC 8017 section 7.1 with an empty label.
func (a *attributes) encryptOAEP(alg string, material, plaintext, context []byte) ([]byte, uint64) {
	h, status := a.oaep(alg, context)
	if status != link.StatusOK {
		return nil, status
	}
	k, ok := parsePublic(a.spec, material)
	if !ok {
		return nil, link.StatusInternal
	}
	if len(plaintext) == 0 || len(plaintext) > k.rsa.Size()-2*h.Size()-2 {
		return nil, link.StatusBadRequest
	}
	out, err := rsa.EncryptOAEP(h.New(), rand.Reader, k.rsa, plaintext, nil)
	if err != nil {
		return nil, link.StatusInternal
	}
	return out, link.StatusOK
}

func (c *call) decryptOAEP() uint64 {
	material, status := c.open()
	if status != link.StatusOK {
		return status
	}
	c.result.Data, status = c.openOAEP(material)
	return status
}

// openOAEP decrypts the call's blob into the call's memory.
func (c *call) openOAEP(material []byte) ([]byte, uint64) {
	h, status := c.attrs.oaep(c.params.Alg, c.params.Context)
	if status != link.StatusOK {
		return nil, status
	}
	k, ok := parsePrivate(c.attrs.spec, material)
	if !ok {
		return nil, link.StatusInternal
	}
	var plain []byte
	var err error
	c.private(func() { plain, err = rsa.DecryptOAEP(h.New(), nil, k.rsa, c.params.Blob, nil) })
	if err != nil || len(plain) == 0 {
		// An empty plaintext cannot have been made by Encrypt, and a result without data would look like none.
		return nil, link.StatusAuthFailed
	}
	defer secret.Wipe(plain)
	return c.plain[:copy(c.plain[:], plain)], link.StatusOK
}

// reEncrypt opens under one key and closes under another; either may be an RSA
// key. The blob of a data key pair stays one.
func (c *call) reEncrypt() uint64 {
	p := &c.params
	material, status := c.open()
	if status != link.StatusOK {
		return status
	}
	kind := byte(message.BlobSymmetric)
	var plain []byte
	switch {
	case p.Alg != "":
		plain, status = c.openOAEP(material)
	case !c.attrs.isSymmetric():
		status = link.StatusWrongToken
	default:
		if len(p.Blob) > 1 {
			kind = p.Blob[1]
		}
		plain, status = decryptBlob(c.plain[:0], material, &c.attrs.material, p.Blob, p.Context)
	}
	if status != link.StatusOK {
		return status
	}
	material, status = c.openTo()
	switch {
	case status != link.StatusOK:
		return status
	case p.ToAlg != "":
		c.result.Blob, status = c.attrs.encryptOAEP(p.ToAlg, material, plain, p.ToContext)
		return status
	case !c.attrs.isSymmetric():
		return link.StatusWrongToken
	}
	c.result.Blob, status = encryptBlob(nil, kind, material, &c.attrs.material, plain, p.ToContext)
	return status
}

// macAlgorithm is the hash of a MAC algorithm and the key spec that it is for.
func macAlgorithm(alg string) (h func() hash.Hash, spec string) {
	switch alg {
	case "HMAC_SHA_224":
		return sha256.New224, message.SpecHMAC224
	case "HMAC_SHA_256":
		return sha256.New, message.SpecHMAC256
	case "HMAC_SHA_384":
		return sha512.New384, message.SpecHMAC384
	case "HMAC_SHA_512":
		return sha512.New, message.SpecHMAC512
	}
	return nil, ""
}

// mac computes the MAC of the call's message (RFC 2104), at full length.
func (c *call) mac() ([]byte, uint64) {
	h, spec := macAlgorithm(c.params.Alg)
	if h == nil || len(c.params.Data) == 0 || len(c.params.Data) > message.MaxMessage {
		return nil, link.StatusBadRequest
	}
	key, status := c.open()
	switch {
	case status != link.StatusOK:
		return nil, status
	case c.attrs.usage != message.UsageMac || hmacLen(c.attrs.spec) == 0:
		return nil, link.StatusWrongToken
	case c.attrs.spec != spec:
		return nil, link.StatusBadRequest
	}
	m := hmac.New(h, key)
	m.Write(c.params.Data)
	return m.Sum(nil), link.StatusOK
}

func (c *call) generateMac() (status uint64) {
	c.result.Data, status = c.mac()
	return status
}

func (c *call) verifyMac() uint64 {
	want, status := c.mac()
	if status != link.StatusOK {
		return status
	}
	defer secret.Wipe(want) // whoever sees it can say it
	if subtle.ConstantTimeCompare(want, c.params.Signature) != 1 {
		return link.StatusAuthFailed
	}
	return link.StatusOK
}

// deriveSharedSecret is ECDH (SP 800-56A section 5.7.1.2): the x coordinate,
// without a KDF. The peer's point is checked to be on the curve.
func (c *call) deriveSharedSecret() uint64 {
	if c.params.Alg != "ECDH" || len(c.params.Public) > message.MaxPeer {
		return link.StatusBadRequest
	}
	material, status := c.open()
	if status != link.StatusOK {
		return status
	}
	var group ecdh.Curve
	switch curve(c.attrs.spec) {
	case elliptic.P256():
		group = ecdh.P256()
	case elliptic.P384():
		group = ecdh.P384()
	case elliptic.P521():
		group = ecdh.P521()
	default:
		return link.StatusWrongToken
	}
	if c.attrs.usage != message.UsageAgree {
		return link.StatusWrongToken
	}
	point, ok := parsePoint(c.attrs.spec, c.params.Public)
	if !ok {
		return link.StatusBadRequest
	}
	peer, err := group.NewPublicKey(point)
	if err != nil {
		return link.StatusBadRequest
	}
	k, ok := parsePrivate(c.attrs.spec, material)
	if !ok {
		return link.StatusInternal
	}
	defer k.wipe()
	own, err := k.ec.ECDH()
	if err != nil {
		return link.StatusInternal
	}
	shared, err := own.ECDH(peer)
	if err != nil {
		return link.StatusBadRequest
	}
	defer secret.Wipe(shared)
	c.result.Data = c.plain[:copy(c.plain[:], shared)]
	return link.StatusOK
}
