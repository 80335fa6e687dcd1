package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha512"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers, as the content bytes of their DER. Compared as bytes:
// arcs of any length are then no question.
var (
	oidECPublicKey      = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01}             // 1.2.840.10045.2.1
	oidP384             = []byte{0x2b, 0x81, 0x04, 0x00, 0x22}                         // 1.3.132.0.34
	oidECDSAWithSHA384  = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}       // 1.2.840.10045.4.3.3
	oidRSAEncryption    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01} // 1.2.840.113549.1.1.1
	oidKeyUsage         = []byte{0x55, 0x1d, 0x0f}                                     // 2.5.29.15
	oidBasicConstraints = []byte{0x55, 0x1d, 0x13}                                     // 2.5.29.19
	oidHostStatement    = appendOID(nil, HostStatementID())
)

// Bits of keyUsage, as the first byte of the bit string has them (RFC 5280
// section 4.2.1.3).
const (
	usageDigitalSignature = 0x80
	usageKeyCertSign      = 0x04
)

// A certificate is what the rules about chains look at.
type certificate struct {
	tbs, signature      []byte
	issuer, subject     []byte // DER
	notBefore, notAfter time.Time
	key                 *ecdsa.PublicKey
	ca                  bool
	pathLen             int // -1: no limit
	usage               byte
	host                *HostStatement
}

// parseCertificate reads one certificate (RFC 5280 section 4.1): version 3,
// ECDSA with SHA-384, P-384, and no extension that is critical and not
// understood.
func parseCertificate(der []byte) (*certificate, bool) {
	c := &certificate{pathLen: -1}
	in := cryptobyte.String(der)
	var outer, tbs, signature cryptobyte.String
	if !in.ReadASN1(&outer, asn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1Element(&tbs, asn1.SEQUENCE) ||
		!readECDSAWithSHA384(&outer) || !readBits(&outer, &signature) || !outer.Empty() {
		return nil, false
	}
	c.tbs, c.signature = tbs, signature

	var version int64
	var wrapped, serial, issuer, subject, validity cryptobyte.String
	if !tbs.ReadASN1(&tbs, asn1.SEQUENCE) || !tbs.ReadASN1(&wrapped, asn1.Tag(0).Constructed().ContextSpecific()) ||
		!wrapped.ReadASN1Integer(&version) || !wrapped.Empty() || version != 2 ||
		!tbs.ReadASN1(&serial, asn1.INTEGER) || !readECDSAWithSHA384(&tbs) ||
		!tbs.ReadASN1Element(&issuer, asn1.SEQUENCE) || !tbs.ReadASN1(&validity, asn1.SEQUENCE) ||
		!readTime(&validity, &c.notBefore) || !readTime(&validity, &c.notAfter) || !validity.Empty() ||
		!tbs.ReadASN1Element(&subject, asn1.SEQUENCE) {
		return nil, false
	}
	c.issuer, c.subject = issuer, subject
	if c.key = readP384(&tbs); c.key == nil {
		return nil, false
	}
	// No unique identifiers: RFC 5280 forbids their use, and no real chain has them.
	var extensions cryptobyte.String
	if !tbs.ReadASN1(&wrapped, asn1.Tag(3).Constructed().ContextSpecific()) || !tbs.Empty() ||
		!wrapped.ReadASN1(&extensions, asn1.SEQUENCE) || !wrapped.Empty() {
		return nil, false
	}
	return c, c.extensions(extensions)
}

func (c *certificate) extensions(in cryptobyte.String) bool {
	var seen [][]byte
	for !in.Empty() {
		var extension, id, value cryptobyte.String
		critical := false
		if !in.ReadASN1(&extension, asn1.SEQUENCE) || !extension.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) {
			return false
		}
		// FALSE is the default and so has no encoding in DER.
		if extension.PeekASN1Tag(asn1.BOOLEAN) && (!extension.ReadASN1Boolean(&critical) || !critical) {
			return false
		}
		if !extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return false
		}
		for _, s := range seen {
			if bytes.Equal(s, id) {
				return false
			}
		}
		seen = append(seen, id)
		ok := true
		switch {
		case bytes.Equal(id, oidBasicConstraints):
			ok = c.basicConstraints(value)
		case bytes.Equal(id, oidKeyUsage):
			ok = c.keyUsage(value)
		case bytes.Equal(id, oidHostStatement):
			c.host, ok = parseHostStatement(value)
		default:
			ok = !critical
		}
		if !ok {
			return false
		}
	}
	return true
}

func (c *certificate) basicConstraints(in cryptobyte.String) bool {
	var s cryptobyte.String
	if !in.ReadASN1(&s, asn1.SEQUENCE) || !in.Empty() {
		return false
	}
	if s.PeekASN1Tag(asn1.BOOLEAN) && (!s.ReadASN1Boolean(&c.ca) || !c.ca) {
		return false
	}
	if s.PeekASN1Tag(asn1.INTEGER) {
		var n int64
		if !c.ca || !s.ReadASN1Integer(&n) || n < 0 || n > 255 {
			return false
		}
		c.pathLen = int(n)
	}
	return s.Empty()
}

func (c *certificate) keyUsage(in cryptobyte.String) bool {
	var bits cryptobyte.String
	if !in.ReadASN1(&bits, asn1.BIT_STRING) || !in.Empty() || len(bits) < 2 || len(bits) > 3 || bits[0] > 7 {
		return false
	}
	if unused := bits[len(bits)-1] & (1<<bits[0] - 1); unused != 0 {
		return false // DER: unused bits are zero
	}
	c.usage = bits[1]
	return true
}

// readECDSAWithSHA384 reads the algorithm identifier, which has no parameters
// (RFC 5758 section 3.2).
func readECDSAWithSHA384(in *cryptobyte.String) bool {
	var alg, id cryptobyte.String
	return in.ReadASN1(&alg, asn1.SEQUENCE) && alg.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) && alg.Empty() && bytes.Equal(id, oidECDSAWithSHA384)
}

// readBits reads a bit string of whole bytes.
func readBits(in, out *cryptobyte.String) bool {
	var unused uint8
	return in.ReadASN1(out, asn1.BIT_STRING) && out.ReadUint8(&unused) && unused == 0
}

func readTime(in *cryptobyte.String, t *time.Time) bool {
	if in.PeekASN1Tag(asn1.UTCTime) {
		return in.ReadASN1UTCTime(t)
	}
	return in.ReadASN1GeneralizedTime(t)
}

// readP384 reads a SubjectPublicKeyInfo of a key on P-384; nil for any other.
func readP384(in *cryptobyte.String) *ecdsa.PublicKey {
	var spki, alg, id, curve, point cryptobyte.String
	if !in.ReadASN1(&spki, asn1.SEQUENCE) || !spki.ReadASN1(&alg, asn1.SEQUENCE) || !alg.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) ||
		!alg.ReadASN1(&curve, asn1.OBJECT_IDENTIFIER) || !alg.Empty() || !readBits(&spki, &point) || !spki.Empty() ||
		!bytes.Equal(id, oidECPublicKey) || !bytes.Equal(curve, oidP384) {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P384(), point) // refuses what is not on the curve
	if err != nil {
		return nil
	}
	return key
}

// parseRSA reads the SubjectPublicKeyInfo of a key that secrets may be
// encrypted to (kms-recipient-attestation section 3, step 6): rsaEncryption
// with NULL (RFC 4055 section 1.2), 2048 to 4096 bits in whole bytes, e = 65537.
func parseRSA(der []byte) (*rsa.PublicKey, bool) {
	in := cryptobyte.String(der)
	var spki, alg, id, null, bits, key cryptobyte.String
	if !in.ReadASN1(&spki, asn1.SEQUENCE) || !in.Empty() || !spki.ReadASN1(&alg, asn1.SEQUENCE) || !alg.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) ||
		!alg.ReadASN1(&null, asn1.NULL) || len(null) != 0 || !alg.Empty() || !readBits(&spki, &bits) || !spki.Empty() ||
		!bytes.Equal(id, oidRSAEncryption) || !bits.ReadASN1(&key, asn1.SEQUENCE) || !bits.Empty() {
		return nil, false
	}
	n, e := new(big.Int), int64(0)
	if !key.ReadASN1Integer(n) || !key.ReadASN1Integer(&e) || !key.Empty() ||
		n.Sign() <= 0 || n.Bit(0) == 0 || n.BitLen() < 2048 || n.BitLen() > 4096 || n.BitLen()%8 != 0 || e != 65537 {
		return nil, false
	}
	return &rsa.PublicKey{N: n, E: int(e)}, true
}

// A HostStatement is the extension by which the authority of hosts' certificates
// says how a host isolates its cells (attestation-document section 5).
type HostStatement struct {
	Tier     Tier
	Runtime  [sha512.Size384]byte // SHA-384 of the cell runtime's binary
	Evidence [sha512.Size384]byte // SHA-384 of the evidence that the authority checked
}

// HostStatementID is the object identifier of the extension, which is not
// critical: other verifiers pass over it. The arc comes from a random UUID
// (ed879f19-e1a0-42f7-889d-27110f3d21a0) by the published rule for
// 1.2.840.113556.1.8000.2554, so that its numbers stay short enough for the
// verifiers that keep them in machine words; those of 2.25 do not.
func HostStatementID() []int {
	return []int{1, 2, 840, 113556, 1, 8000, 2554, 60807, 40729, 57760, 17143, 34973, 2560271, 4006304, 1}
}

const hostStatementVersion = 1

// DER encodes the statement: SEQUENCE { version INTEGER, tier ENUMERATED,
// runtimeMeasurement OCTET STRING, evidenceDigest OCTET STRING }.
func (h *HostStatement) DER() []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(hostStatementVersion)
		b.AddASN1Enum(int64(h.Tier))
		b.AddASN1OctetString(h.Runtime[:])
		b.AddASN1OctetString(h.Evidence[:])
	})
	return b.BytesOrPanic() // nothing in it can be too long
}

func parseHostStatement(in cryptobyte.String) (*HostStatement, bool) {
	h := &HostStatement{}
	var s, runtime, evidence cryptobyte.String
	var version int64
	var tier int
	if !in.ReadASN1(&s, asn1.SEQUENCE) || !in.Empty() || !s.ReadASN1Integer(&version) || !s.ReadASN1Enum(&tier) ||
		!s.ReadASN1(&runtime, asn1.OCTET_STRING) || !s.ReadASN1(&evidence, asn1.OCTET_STRING) || !s.Empty() ||
		version != hostStatementVersion || tier < int(Simulated) || tier > int(Hardware) ||
		copy(h.Runtime[:], runtime) != len(runtime) || len(runtime) != len(h.Runtime) ||
		copy(h.Evidence[:], evidence) != len(evidence) || len(evidence) != len(h.Evidence) {
		return nil, false
	}
	h.Tier = Tier(tier)
	return h, true
}

// appendOID appends the content bytes of an object identifier.
func appendOID(b []byte, arcs []int) []byte {
	arcs = append([]int{40*arcs[0] + arcs[1]}, arcs[2:]...)
	for _, a := range arcs {
		var digits []byte
		for first := true; first || a > 0; first, a = false, a>>7 {
			d := byte(a & 0x7f)
			if !first {
				d |= 0x80
			}
			digits = append([]byte{d}, digits...)
		}
		b = append(b, digits...)
	}
	return b
}
