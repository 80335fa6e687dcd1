package core

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"

	"filippo.io/mldsa"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// Private keys rest as PKCS#8 (RFC 5208) and public keys leave as
// SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), both DER. crypto/x509 would
// write them too, but it links the network, which the HSM must not (I-11).
//
// A key in material is always in the one form that appendPKCS8 writes, so that
// the same key has the same material id however it came in.
var (
	oidRSA       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}      // RFC 8017 appendix A.1
	oidEC        = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}          // RFC 5480 section 2.1.1
	oidP256      = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}       // RFC 5480 section 2.1.1.1
	oidP384      = asn1.ObjectIdentifier{1, 3, 132, 0, 34}                // the same
	oidP521      = asn1.ObjectIdentifier{1, 3, 132, 0, 35}                // the same
	oidSecp256k1 = asn1.ObjectIdentifier{1, 3, 132, 0, 10}                // SEC 2 section A.2.1
	oidEd25519   = asn1.ObjectIdentifier{1, 3, 101, 112}                  // RFC 8410 section 3
	oidMLDSA44   = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17} // RFC 9881 section 2
	oidMLDSA65   = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18} // the same
	oidMLDSA87   = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 19} // the same
)

// A privateKey is a customer's key that signs, decrypts or agrees, for the
// length of one call. Exactly one of the keys is there.
type privateKey struct {
	rsa   *rsa.PrivateKey
	ec    *ecdsa.PrivateKey // of a NIST curve
	secp  *secp256k1.PrivateKey
	ed    ed25519.PrivateKey
	mldsa *mldsa.PrivateKey
}

// wipe overwrites what can be reached. Big integers and the key schedules of
// the libraries are erased by secret.Do, under which all of this runs.
func (k *privateKey) wipe() {
	if k.secp != nil {
		k.secp.Zero()
	}
	clear(k.ed)
}

// A publicKey is the other half. Exactly one of the keys is there.
type publicKey struct {
	rsa   *rsa.PublicKey
	ec    *ecdsa.PublicKey
	secp  *secp256k1.PublicKey
	ed    ed25519.PublicKey
	mldsa *mldsa.PublicKey
}

func (k *privateKey) public() publicKey {
	switch {
	case k.rsa != nil:
		return publicKey{rsa: &k.rsa.PublicKey}
	case k.ec != nil:
		return publicKey{ec: &k.ec.PublicKey}
	case k.secp != nil:
		return publicKey{secp: k.secp.PubKey()}
	case k.ed != nil:
		return publicKey{ed: k.ed.Public().(ed25519.PublicKey)}
	}
	return publicKey{mldsa: k.mldsa.PublicKey()}
}

// curve is the NIST curve of a key spec; nil for another spec.
func curve(spec string) elliptic.Curve {
	switch spec {
	case message.SpecP256:
		return elliptic.P256()
	case message.SpecP384:
		return elliptic.P384()
	case message.SpecP521:
		return elliptic.P521()
	}
	return nil
}

func curveOID(c elliptic.Curve) asn1.ObjectIdentifier {
	switch c {
	case elliptic.P256():
		return oidP256
	case elliptic.P384():
		return oidP384
	}
	return oidP521
}

// rsaBits is the length of the modulus of a key spec; 0 for another spec.
func rsaBits(spec string) int {
	switch spec {
	case message.SpecRSA2048:
		return 2048
	case message.SpecRSA3072:
		return 3072
	case message.SpecRSA4096:
		return 4096
	}
	return 0
}

// mldsaParameters are those of a key spec; false for another spec.
func mldsaParameters(spec string) (mldsa.Parameters, bool) {
	switch spec {
	case message.SpecMLDSA44:
		return mldsa.MLDSA44(), true
	case message.SpecMLDSA65:
		return mldsa.MLDSA65(), true
	case message.SpecMLDSA87:
		return mldsa.MLDSA87(), true
	}
	return mldsa.Parameters{}, false
}

// hmacLen is the length of the key of a spec; 0 for another spec.
func hmacLen(spec string) int {
	switch spec {
	case message.SpecHMAC224:
		return 28
	case message.SpecHMAC256:
		return 32
	case message.SpecHMAC384:
		return 48
	case message.SpecHMAC512:
		return 64
	}
	return 0
}

// pkcs8Spec says whether the material of a spec is PKCS#8.
func pkcs8Spec(spec string) bool {
	return rsaBits(spec) > 0 || curve(spec) != nil || spec == message.SpecSecp256k1 || spec == message.SpecEd25519
}

// canonical checks material that came from outside against a key spec and
// appends the form in which it rests to b, with the public key (SPKI) where
// there is one. The buffer must hold maxMaterial bytes, so that it never
// grows: what it left behind would be the key.
func canonical(b []byte, spec string, material []byte) (out, public []byte, ok bool) {
	switch {
	case spec == message.SpecSymmetric:
		return append(b, material...), nil, len(material) == 32
	case hmacLen(spec) > 0:
		return append(b, material...), nil, len(material) == hmacLen(spec)
	case !pkcs8Spec(spec):
		return b, nil, false // ML-DSA is not imported (kms-api section 10)
	}
	k, ok := parsePrivate(spec, material)
	if !ok {
		return b, nil, false
	}
	defer k.wipe()
	if out, ok = appendPKCS8(b, k); !ok {
		return b, nil, false
	}
	pub := k.public()
	public, ok = pub.spki()
	return out, public, ok
}

// parsePrivate reads the private key of a spec out of material: PKCS#8, or the
// seed of ML-DSA. It checks that it is a key of just this spec, and that its
// halves belong together.
func parsePrivate(spec string, material []byte) (*privateKey, bool) {
	if params, is := mldsaParameters(spec); is {
		k, err := mldsa.NewPrivateKey(params, material)
		return &privateKey{mldsa: k}, err == nil
	}
	alg, inner, ok := openPKCS8(material)
	if !ok {
		return nil, false
	}
	switch {
	case rsaBits(spec) > 0:
		return parseRSA(alg, inner, rsaBits(spec))
	case spec == message.SpecEd25519:
		var seed cryptobyte.String
		if !alg.algorithm(oidEd25519) || !alg.Empty() || !inner.ReadASN1(&seed, der.OCTET_STRING) || !inner.Empty() ||
			len(seed) != ed25519.SeedSize {
			return nil, false
		}
		return &privateKey{ed: ed25519.NewKeyFromSeed(seed)}, true
	}
	return parseEC(alg, inner, spec)
}

// parsePublic reads only the public half out of material in canonical form:
// to verify or to encrypt, the private half need not be touched. The material
// came out of an authentic token, so what stands in it is right; it was
// checked when it went in.
func parsePublic(spec string, material []byte) (*publicKey, bool) {
	if _, is := mldsaParameters(spec); is || spec == message.SpecEd25519 { // whose material has no public half
		k, ok := parsePrivate(spec, material)
		if !ok {
			return nil, false
		}
		defer k.wipe()
		public := k.public()
		return &public, true
	}
	_, inner, ok := openPKCS8(material)
	var seq, outer cryptobyte.String
	var version int
	if !ok || !inner.ReadASN1(&seq, der.SEQUENCE) || !seq.ReadASN1Integer(&version) {
		return nil, false
	}
	if rsaBits(spec) > 0 {
		k := &rsa.PublicKey{N: new(big.Int)}
		return &publicKey{rsa: k}, seq.ReadASN1Integer(k.N) && seq.ReadASN1Integer(&k.E)
	}
	var bits asn1.BitString
	if !seq.SkipASN1(der.OCTET_STRING) || !seq.ReadASN1(&outer, der.Tag(1).Constructed().ContextSpecific()) || !outer.ReadASN1BitString(&bits) {
		return nil, false
	}
	if c := curve(spec); c != nil {
		k, err := ecdsa.ParseUncompressedPublicKey(c, bits.Bytes)
		return &publicKey{ec: k}, err == nil
	}
	k, err := secp256k1.ParsePubKey(bits.Bytes)
	return &publicKey{secp: k}, err == nil
}

// identified is the content of an AlgorithmIdentifier.
type identified struct{ cryptobyte.String }

func (s *identified) algorithm(want asn1.ObjectIdentifier) bool {
	var oid asn1.ObjectIdentifier
	return s.ReadASN1ObjectIdentifier(&oid) && oid.Equal(want)
}

// openPKCS8 reads version, algorithm and key; attributes and a public key that
// may follow (RFC 5958) are passed over, since the key is told by its private
// half alone.
func openPKCS8(b []byte) (alg *identified, inner cryptobyte.String, ok bool) {
	s := cryptobyte.String(b)
	var seq, id cryptobyte.String
	var version int
	if !s.ReadASN1(&seq, der.SEQUENCE) || !s.Empty() || !seq.ReadASN1Integer(&version) || version != 0 && version != 1 ||
		!seq.ReadASN1(&id, der.SEQUENCE) || !seq.ReadASN1(&inner, der.OCTET_STRING) {
		return nil, nil, false
	}
	if !seq.SkipOptionalASN1(der.Tag(0).Constructed().ContextSpecific()) ||
		!seq.SkipOptionalASN1(der.Tag(1).ContextSpecific()) || !seq.Empty() {
		return nil, nil, false
	}
	return &identified{id}, inner, true
}

// parseRSA reads an RSAPrivateKey (RFC 8017 appendix A.1.2).
func parseRSA(alg *identified, inner cryptobyte.String, bits int) (*privateKey, bool) {
	var seq, null cryptobyte.String
	if !alg.algorithm(oidRSA) || !alg.ReadASN1(&null, der.NULL) || !null.Empty() || !alg.Empty() ||
		!inner.ReadASN1(&seq, der.SEQUENCE) || !inner.Empty() {
		return nil, false
	}
	var version int
	n, d, p, q, dp, dq, qinv := new(big.Int), new(big.Int), new(big.Int), new(big.Int), new(big.Int), new(big.Int), new(big.Int)
	k := new(rsa.PrivateKey)
	if !seq.ReadASN1Integer(&version) || version != 0 || !seq.ReadASN1Integer(n) || !seq.ReadASN1Integer(&k.E) {
		return nil, false
	}
	for _, x := range []*big.Int{d, p, q, dp, dq, qinv} {
		if !seq.ReadASN1Integer(x) || x.Sign() <= 0 {
			return nil, false
		}
	}
	if !seq.Empty() || n.Sign() <= 0 || n.BitLen() != bits || k.E < 3 {
		return nil, false
	}
	k.N, k.D, k.Primes = n, d, []*big.Int{p, q}
	// The values for the Chinese remainder theorem are given, so that they are checked rather than made.
	k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv = dp, dq, qinv
	k.Precompute()
	if k.Validate() != nil {
		return nil, false
	}
	return &privateKey{rsa: k}, true
}

// parseEC reads an ECPrivateKey (RFC 5915 section 3).
func parseEC(alg *identified, inner cryptobyte.String, spec string) (*privateKey, bool) {
	want := oidSecp256k1
	if c := curve(spec); c != nil {
		want = curveOID(c)
	}
	var seq, scalar, optional cryptobyte.String
	var version int
	var present bool
	if !alg.algorithm(oidEC) || !alg.algorithm(want) || !alg.Empty() ||
		!inner.ReadASN1(&seq, der.SEQUENCE) || !inner.Empty() ||
		!seq.ReadASN1Integer(&version) || version != 1 || !seq.ReadASN1(&scalar, der.OCTET_STRING) {
		return nil, false
	}
	if !seq.ReadOptionalASN1(&optional, &present, der.Tag(0).Constructed().ContextSpecific()) {
		return nil, false
	}
	if named := (&identified{optional}); present && (!named.algorithm(want) || !named.Empty()) {
		return nil, false
	}
	if !seq.ReadOptionalASN1(&optional, &present, der.Tag(1).Constructed().ContextSpecific()) || !seq.Empty() {
		return nil, false
	}
	k, ok := ecKey(spec, scalar)
	if !ok {
		return nil, false
	}
	if present { // a public half that is given must be the right one
		var bits asn1.BitString
		pub := k.public()
		point, fine := pub.point()
		if !optional.ReadASN1BitString(&bits) || !optional.Empty() || bits.BitLength%8 != 0 || !fine || string(bits.Bytes) != string(point) {
			k.wipe()
			return nil, false
		}
	}
	return k, true
}

// ecKey makes the key of a scalar. Some writers leave leading zeroes out or
// put some in; the length of the curve is what is meant.
func ecKey(spec string, scalar []byte) (*privateKey, bool) {
	size := 32
	c := curve(spec)
	if c != nil {
		size = (c.Params().BitSize + 7) / 8
	}
	for len(scalar) > size && scalar[0] == 0 {
		scalar = scalar[1:]
	}
	if len(scalar) > size {
		return nil, false
	}
	var room [66]byte
	defer clear(room[:])
	d := room[:size]
	copy(d[size-len(scalar):], scalar)
	if c != nil {
		k, err := ecdsa.ParseRawPrivateKey(c, d)
		return &privateKey{ec: k}, err == nil
	}
	var s secp256k1.ModNScalar
	defer s.Zero()
	if s.SetByteSlice(d) || s.IsZero() { // not smaller than the order, or zero
		return nil, false
	}
	return &privateKey{secp: secp256k1.NewPrivateKey(&s)}, true
}

// point is the uncompressed form of a public key on a curve (SEC 1 section
// 2.3.3).
func (p *publicKey) point() ([]byte, bool) {
	if p.secp != nil {
		return p.secp.SerializeUncompressed(), true
	}
	b, err := p.ec.Bytes()
	return b, err == nil
}

// appendPKCS8 appends the PKCS#8 of a private key other than ML-DSA to b,
// which must have room for it.
func appendPKCS8(b []byte, k *privateKey) ([]byte, bool) {
	out := cryptobyte.NewFixedBuilder(b)
	out.AddASN1(der.SEQUENCE, func(out *cryptobyte.Builder) {
		out.AddASN1Int64(0)
		pub := k.public()
		pub.identify(out)
		out.AddASN1(der.OCTET_STRING, func(out *cryptobyte.Builder) { k.inner(out, &pub) })
	})
	pkcs8, err := out.Bytes()
	return pkcs8, err == nil
}

func (k *privateKey) inner(out *cryptobyte.Builder, pub *publicKey) {
	switch {
	case k.rsa != nil:
		out.AddASN1(der.SEQUENCE, func(out *cryptobyte.Builder) {
			out.AddASN1Int64(0)
			out.AddASN1BigInt(k.rsa.N)
			out.AddASN1Int64(int64(k.rsa.E))
			pre := &k.rsa.Precomputed
			for _, x := range []*big.Int{k.rsa.D, k.rsa.Primes[0], k.rsa.Primes[1], pre.Dp, pre.Dq, pre.Qinv} {
				out.AddASN1BigInt(x)
			}
		})
	case k.ed != nil:
		out.AddASN1OctetString(k.ed.Seed())
	default:
		var scalar []byte
		var err error
		if k.secp != nil {
			scalar = k.secp.Serialize()
		} else if scalar, err = k.ec.Bytes(); err != nil {
			out.SetError(err)
			return
		}
		defer clear(scalar)
		point, _ := pub.point()
		// As RFC 5915 has it inside PKCS#8: with the public key, without the curve, which the algorithm names.
		out.AddASN1(der.SEQUENCE, func(out *cryptobyte.Builder) {
			out.AddASN1Int64(1)
			out.AddASN1OctetString(scalar)
			out.AddASN1(der.Tag(1).Constructed().ContextSpecific(), func(out *cryptobyte.Builder) { out.AddASN1BitString(point) })
		})
	}
}

// identify writes the AlgorithmIdentifier.
func (p *publicKey) identify(out *cryptobyte.Builder) {
	out.AddASN1(der.SEQUENCE, func(out *cryptobyte.Builder) {
		switch {
		case p.rsa != nil:
			// Keys for PSS too have rsaEncryption (kms-api section 3).
			out.AddASN1ObjectIdentifier(oidRSA)
			out.AddASN1NULL()
		case p.ec != nil:
			out.AddASN1ObjectIdentifier(oidEC)
			out.AddASN1ObjectIdentifier(curveOID(p.ec.Curve))
		case p.secp != nil:
			out.AddASN1ObjectIdentifier(oidEC)
			out.AddASN1ObjectIdentifier(oidSecp256k1)
		case p.ed != nil:
			out.AddASN1ObjectIdentifier(oidEd25519)
		default:
			out.AddASN1ObjectIdentifier(map[mldsa.Parameters]asn1.ObjectIdentifier{
				mldsa.MLDSA44(): oidMLDSA44, mldsa.MLDSA65(): oidMLDSA65, mldsa.MLDSA87(): oidMLDSA87,
			}[p.mldsa.Parameters()])
		}
	})
}

// spki is the SubjectPublicKeyInfo.
func (p *publicKey) spki() ([]byte, bool) {
	var out cryptobyte.Builder
	out.AddASN1(der.SEQUENCE, func(out *cryptobyte.Builder) {
		p.identify(out)
		switch {
		case p.rsa != nil:
			out.AddASN1(der.BIT_STRING, func(out *cryptobyte.Builder) {
				out.AddUint8(0) // no unused bits
				out.AddASN1(der.SEQUENCE, func(out *cryptobyte.Builder) {
					out.AddASN1BigInt(p.rsa.N)
					out.AddASN1Int64(int64(p.rsa.E))
				})
			})
		case p.ed != nil:
			out.AddASN1BitString(p.ed)
		case p.mldsa != nil:
			out.AddASN1BitString(p.mldsa.Bytes())
		default:
			point, ok := p.point()
			if !ok {
				out.SetError(asn1.StructuralError{Msg: "core: point at infinity"})
				return
			}
			out.AddASN1BitString(point)
		}
	})
	b, err := out.Bytes()
	return b, err == nil
}

// parsePoint reads the SPKI of a peer on the NIST curve of a spec.
func parsePoint(spec string, spki []byte) ([]byte, bool) {
	c := curve(spec)
	s := cryptobyte.String(spki)
	var seq, id cryptobyte.String
	var bits asn1.BitString
	if c == nil || !s.ReadASN1(&seq, der.SEQUENCE) || !s.Empty() || !seq.ReadASN1(&id, der.SEQUENCE) ||
		!seq.ReadASN1BitString(&bits) || !seq.Empty() || bits.BitLength%8 != 0 {
		return nil, false
	}
	alg := &identified{id}
	if !alg.algorithm(oidEC) || !alg.algorithm(curveOID(c)) || !alg.Empty() {
		return nil, false
	}
	return bits.Bytes, true
}
