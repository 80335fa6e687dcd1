package core

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"

	"filippo.io/mldsa"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// What the tests of the inside need to see.
var Signable = signable

// Operations are the numbers of the table.
func Operations() map[uint64]string {
	names := make(map[uint64]string)
	for op, row := range operations() {
		names[op] = row.name
	}
	return names
}

// ParseToken reads the public part of a token.
func ParseToken(ekt []byte) bool {
	_, _, ok := splitEKT(ekt, &attributes{})
	return ok
}

// Material opens a token and returns the key itself, which no operation does.
func (h *HSM) Material(ekt []byte) []byte {
	var a attributes
	m, status := h.domain().unseal(ekt, &a, make([]byte, maxMaterial))
	if status != link.StatusOK {
		return nil
	}
	return m
}

// DomainSecrets are all secrets of the domain.
func (h *HSM) DomainSecrets() (all [][]byte) {
	held := h.custody()
	copyOf := func(b []byte) error { all = append(all, append([]byte(nil), b...)); return nil }
	_ = held.me.hsk.Use(copyOf)
	_ = held.me.hak.Use(copyOf)
	_ = held.me.kem.Use(copyOf)
	if held.d != nil {
		for _, k := range held.d.keys {
			_ = k.Use(copyOf)
		}
	}
	return all
}

// WrapForeign makes a token with a condition that this version cannot enforce.
func (h *HSM) WrapForeign(material []byte, notAfter uint64, condition bool) []byte {
	d := h.domain()
	a := attributes{spec: "SYMMETRIC_DEFAULT", usage: usageEncrypt, origin: "EXTERNAL", notAfter: notAfter}
	if !condition {
		ekt, _ := d.wrap(&a, material)
		return ekt
	}
	a.role = "role"
	// The condition of number 7 becomes one of number 9, which nobody knows.
	attrs := a.append(nil)
	attrs[bytes.LastIndex(attrs, []byte{0xa1, 7})+1] = 9
	ekt, _ := d.wrapAs(attrs, material)
	return ekt
}

// Met is whether attested claims meet conditions.
var Met = met

// ParseJSON reads the body of a signed request: the text of a member, and
// whether the body can be read at all.
func ParseJSON(b []byte, member string) (text string, ok bool) {
	v, ok := parseJSON(b)
	return string(v.member(member).text), ok
}

// DecodeFences reads a file of fences.
func DecodeFences(b []byte) (n int, ok bool) {
	m, err := decodeFences(b, 0)
	return len(m), err == nil && (len(m) == 0 || bytes.Equal(encodeFences(m), b))
}

// Import makes a token of material that came from outside, in its canonical
// form, as the import of key material does.
func (h *HSM) Import(spec, usage string, material []byte) (ekt, public []byte, ok bool) {
	b, public, ok := canonical(make([]byte, 0, maxMaterial), spec, material)
	if !ok {
		return nil, nil, false
	}
	ekt, err := h.domain().wrap(&attributes{spec: spec, usage: usage, origin: "EXTERNAL", material: materialID("name", b)}, b)
	return ekt, public, err == nil
}

// ImportSeed makes a token of the seed of an ML-DSA key.
func (h *HSM) ImportSeed(spec string, seed []byte) []byte {
	ekt, _ := h.domain().wrap(&attributes{spec: spec, usage: "SIGN_VERIFY", origin: "AWS_KMS"}, seed)
	return ekt
}

// ImportScalar makes a token of the private key with a scalar.
func (h *HSM) ImportScalar(spec, usage string, scalar []byte) (ekt []byte, ok bool) {
	k, ok := ecKey(spec, scalar)
	if !ok {
		return nil, false
	}
	b, ok := appendPKCS8(make([]byte, 0, maxMaterial), k)
	if !ok {
		return nil, false
	}
	ekt, _, ok = h.Import(spec, usage, b)
	return ekt, ok
}

// ParseMaterial reads material of a spec and gives its canonical form and its
// public key.
func ParseMaterial(spec string, material []byte) (out, public []byte, ok bool) {
	return canonical(make([]byte, 0, maxMaterial), spec, material)
}

// ParsePoint reads the SPKI of a peer.
func ParsePoint(spec string, spki []byte) bool {
	_, ok := parsePoint(spec, spki)
	return ok
}

// VerifyInput verifies what an algorithm signs (a message or a digest, or μ)
// with a public key that is not in the HSM, as the published vectors have
// them. key is a pointer to an RSA, ECDSA, secp256k1 or ML-DSA key, or an
// Ed25519 key.
func VerifyInput(key any, alg string, mu bool, in, sig []byte) bool {
	s, ok := signingAlgorithm(alg)
	if !ok {
		return false
	}
	var p publicKey
	switch k := key.(type) {
	case *rsa.PublicKey:
		p.rsa = k
	case *ecdsa.PublicKey:
		p.ec = k
	case *secp256k1.PublicKey:
		p.secp = k
	case ed25519.PublicKey:
		p.ed = k
	case *mldsa.PublicKey:
		p.mldsa = k
	default:
		return false
	}
	return p.verify(s, in, mu, sig)
}

// HoldRSA takes the turn of making RSA keys until release is called.
func (h *HSM) HoldRSA() (release func()) {
	h.turns.rsaTurn <- struct{}{}
	return func() { <-h.turns.rsaTurn }
}

// RSAQueue is how many may wait for that turn.
const RSAQueue = rsaQueueLen

// Nonces is how many nonces are remembered.
func (h *HSM) Nonces() int { return len(h.custody().nonces) }

// Shamir's sharing, for tests of the arithmetic.
var (
	GFMul     = gfMul
	GFInverse = gfInverse
)

// Split is split with the points as slices.
func Split(whole []byte, t, n int) (xs []byte, ys [][]byte, err error) {
	shares, err := split(whole, t, n)
	for _, s := range shares {
		xs, ys = append(xs, s.x), append(ys, s.y)
	}
	return xs, ys, err
}

// Combine reverses Split.
func Combine(xs []byte, ys [][]byte) ([]byte, error) {
	shares := make([]share, len(xs))
	for i := range xs {
		shares[i] = share{xs[i], ys[i]}
	}
	return combine(shares)
}

// AddToLog writes an entry.
func (h *HSM) AddToLog(e message.LogEntry) error { return h.log.add(e) }

// The parsers of what lies in the store or comes out of an envelope, past what
// authenticates it.
var ParseSecrets = func(b []byte) { _, _, _ = parseSecrets(b) }

// ParseCustody reads a bundle as if it had just been unsealed.
func ParseCustody(b []byte) {
	memory, err := secret.NewArena(4096)
	if err == nil {
		_, _ = unsealCustody(openSeal{}, memory, bytes.Clone(b))
	}
}

// openSeal seals nothing.
type openSeal struct{}

func (openSeal) Name() string                    { return "none" }
func (openSeal) Seal(b []byte) ([]byte, error)   { return b, nil }
func (openSeal) Unseal(b []byte) ([]byte, error) { return b, nil }

// ParseSegment reads a segment of the log whose tag is right.
func ParseSegment(b []byte) {
	key := make([]byte, 32)
	_, _ = parseSegment(b, key)
	var tag [32]byte
	kdf.LongHMAC(&tag, key, b)
	_, _ = parseSegment(append(bytes.Clone(b), tag[:]...), key)
}

// ParseShare reads a share.
func ParseShare(b []byte) { _, _, _ = parseShare(b) }

// EncodedShare writes one.
func EncodedShare(y []byte) []byte { return share{1, y}.append(2) }

// SignToken signs the payload of a token as this member would.
func (h *HSM) SignToken(payload []byte) []byte {
	me := h.custody().me
	input, _ := quorum.TokenSigningInput(payload, me.public.ID)
	sig, _ := me.sign(input)
	return sig
}

// UnwrapPadded unwraps by RFC 5649 into memory of the size that a call has.
func UnwrapPadded(kek, wrapped []byte) ([]byte, bool) {
	return unwrapPadded(make([]byte, 0, message.MaxPlaintext+message.MaxBlob), kek, wrapped)
}
