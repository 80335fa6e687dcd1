package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The outer structure is COSE_Sign1 (RFC 9052 section 4.2): [protected,
// unprotected, payload, signature], with ES384 and nothing unprotected.
type envelope struct {
	protected, payload, signature []byte // as received: what was signed are bytes, not meanings
}

const (
	tagSign1  = 18
	algES384  = 34 // the argument of the negative integer -35 (RFC 9053 section 2.1)
	scalarLen = 48 // of P-384
)

// protectedES384 is {1: -35}, as every document has it.
var protectedES384 = [...]byte{0xa1, 0x01, 0x38, algES384}

func parseEnvelope(document []byte) (*envelope, error) {
	if len(document) == 0 || len(document) > MaxDocument {
		return nil, refuse(Malformed, "a document has 1 to 32768 bytes")
	}
	r := &reader{b: document}
	if document[0]>>5 == majorTag && r.want(majorTag) != tagSign1 {
		r.fail()
	}
	e := &envelope{}
	if r.count(majorArray, 1) != 4 {
		r.fail()
	}
	e.protected = r.bytes()
	if r.count(majorMap, 2) != 0 {
		r.fail()
	}
	e.payload = r.bytes()
	e.signature = r.bytes()
	if !r.done() || len(e.payload) == 0 || len(e.payload) > MaxPayload || len(e.signature) != 2*scalarLen {
		return nil, refuse(Malformed, "not an untagged or once tagged COSE_Sign1 of a payload and a signature of 96 bytes")
	}
	return e, checkProtected(e.protected)
}

// checkProtected takes a map of the algorithm alone: what another header
// means, and whether it may be ignored, nobody has said.
func checkProtected(b []byte) error {
	r := &reader{b: b}
	n := r.count(majorMap, 2)
	if n != 1 || r.uint() != 1 {
		return refuse(Malformed, "the protected header is not a map of the algorithm alone")
	}
	major, arg := r.head()
	if major != majorUint && major != majorNeg || !r.done() {
		return refuse(Malformed, "the algorithm is not a number")
	}
	if major != majorNeg || arg != algES384 {
		return refuse(UnsupportedAlgorithm, "the algorithm is not ES384")
	}
	return nil
}

// toBeSigned is the digest of Sig_structure (RFC 9052 section 4.4) with an
// empty external_aad.
func toBeSigned(protected, payload []byte) [sha512.Size384]byte {
	b := make([]byte, 0, len(payload)+len(protected)+32)
	b = appendText(appendHead(b, majorArray, 4), "Signature1")
	b = appendBytes(appendBytes(appendBytes(b, protected), nil), payload)
	return sha512.Sum384(b)
}

// signedBy checks r ‖ s, big-endian, 48 bytes each. High values of s are
// valid in ECDSA; zero and the order and above are not.
func (e *envelope) signedBy(key *ecdsa.PublicKey) bool {
	order := elliptic.P384().Params().N
	r, s := new(big.Int).SetBytes(e.signature[:scalarLen]), new(big.Int).SetBytes(e.signature[scalarLen:])
	if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(order) >= 0 || s.Cmp(order) >= 0 {
		return false
	}
	digest := toBeSigned(e.protected, e.payload)
	return ecdsa.Verify(key, digest[:], r, s)
}

// payload is what a document says. The slices point into it.
type payload struct {
	moduleID    string
	timestamp   time.Time
	pcrs        map[int][]byte
	certificate []byte
	bundle      [][]byte // root first
	publicKey   []byte
	userData    []byte
	nonce       []byte
}

const (
	maxPairs     = 32
	maxDepth     = 4       // of a member that we do not know
	maxTimestamp = 1 << 52 // ms; what is beyond does not fit every reader's numbers
)

// names of the members that we know; the first six are mandatory.
var names = [...]string{"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", "public_key", "user_data", "nonce"}

const mandatory = 6

func parsePayload(b []byte) (*payload, error) {
	p := &payload{}
	r := &reader{b: b}
	n := r.count(majorMap, 2)
	if n > maxPairs {
		r.fail()
	}
	seen := make([]string, 0, len(names))
	digest := ""
	for ; n > 0 && !r.bad; n-- {
		name := r.text()
		if slices.Contains(seen, name) {
			r.fail()
			break
		}
		seen = append(seen, name)
		switch name {
		case "module_id":
			p.moduleID = r.text()
		case "digest":
			digest = r.text()
		case "timestamp":
			ms := r.uint()
			if ms == 0 || ms > maxTimestamp {
				r.fail()
			}
			p.timestamp = time.UnixMilli(int64(ms)).UTC()
		case "pcrs":
			p.pcrs = r.registers()
		case "certificate":
			p.certificate = r.certificate()
		case "cabundle":
			n := r.count(majorArray, 1)
			if n == 0 || n > MaxBundle {
				r.fail()
			}
			for ; n > 0 && !r.bad; n-- {
				p.bundle = append(p.bundle, r.certificate())
			}
		case "public_key":
			// Empty is not the same as absent: a key has at least one byte, the others may be empty.
			if p.publicKey = r.optional(); p.publicKey != nil && len(p.publicKey) == 0 {
				r.fail()
			}
		case "user_data":
			p.userData = r.optional()
		case "nonce":
			p.nonce = r.optional()
		default:
			r.skip(maxDepth)
		}
	}
	for _, name := range names[:mandatory] {
		if !slices.Contains(seen, name) {
			r.fail()
		}
	}
	if !r.done() || p.moduleID == "" || len(p.moduleID) > maxModuleID ||
		len(p.publicKey) > MaxField || len(p.userData) > MaxField || len(p.nonce) > MaxField {
		return nil, refuse(Malformed, "the payload does not have its form")
	}
	if digest != "SHA384" {
		return nil, refuse(UnsupportedAlgorithm, "the registers are not of SHA384")
	}
	return p, nil
}

func (r *reader) certificate() []byte {
	b := r.bytes()
	if len(b) == 0 || len(b) > MaxCertificate {
		r.fail()
	}
	return b
}

// registers reads 1 to 32 PCRs.
func (r *reader) registers() map[int][]byte {
	n := r.count(majorMap, 2)
	if n == 0 || n > PCRs {
		r.fail()
	}
	out := make(map[int][]byte, n)
	for ; n > 0 && !r.bad; n-- {
		i, v := r.uint(), r.bytes()
		if i >= PCRs || out[int(i)] != nil || len(v) != 32 && len(v) != 48 && len(v) != 64 {
			r.fail()
			break
		}
		out[int(i)] = v
	}
	return out
}

// A Statement is what a document is to say.
type Statement struct {
	ModuleID    string // <host instance id>-enc<16 hex>
	Timestamp   time.Time
	PCRs        map[int][]byte
	Certificate []byte   // of the key that signs
	Bundle      [][]byte // root first, the issuer of Certificate last
	PublicKey   []byte   // nil: none; the same of the next two
	UserData    []byte
	Nonce       []byte
}

// ErrStatement is returned for a statement that would make a document which
// Verify, or any other verifier, refuses.
var ErrStatement = errors.New("attest: the statement does not fit into a document")

// Sign makes the document of a statement, in exactly the form of real ones
// (attestation-document sections 1 and 2). key is the private half of the
// certificate's key, on P-384; it may lie elsewhere.
func Sign(s *Statement, key crypto.Signer) ([]byte, error) {
	if public, ok := key.Public().(*ecdsa.PublicKey); !ok || public.Curve != elliptic.P384() {
		return nil, fmt.Errorf("%w: the key is not on P-384", ErrStatement)
	}
	body := s.encode()
	if _, err := parsePayload(body); err != nil || len(body) > MaxPayload {
		return nil, ErrStatement
	}
	digest := toBeSigned(protectedES384[:], body)
	der, err := key.Sign(rand.Reader, digest[:], crypto.SHA384)
	if err != nil {
		return nil, fmt.Errorf("attest: sign: %w", err)
	}
	var r, sig big.Int
	var pair cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&pair, asn1.SEQUENCE) || !in.Empty() || !pair.ReadASN1Integer(&r) || !pair.ReadASN1Integer(&sig) || !pair.Empty() ||
		r.Sign() <= 0 || sig.Sign() <= 0 || r.BitLen() > 8*scalarLen || sig.BitLen() > 8*scalarLen {
		return nil, errors.New("attest: the signer returned no ECDSA signature of P-384")
	}
	raw := make([]byte, 2*scalarLen)
	r.FillBytes(raw[:scalarLen])
	sig.FillBytes(raw[scalarLen:])
	out := appendHead(make([]byte, 0, len(body)+128), majorArray, 4)
	out = appendBytes(out, protectedES384[:])
	out = appendHead(out, majorMap, 0)
	return appendBytes(appendBytes(out, body), raw), nil
}

// encode writes the members in the order that real documents have.
func (s *Statement) encode() []byte {
	b := appendHead(make([]byte, 0, 8<<10), majorMap, uint64(len(names)))
	b = appendText(appendText(b, "module_id"), s.ModuleID)
	b = appendText(appendText(b, "digest"), "SHA384")
	b = appendHead(appendText(b, "timestamp"), majorUint, uint64(max(0, s.Timestamp.UnixMilli())))
	b = appendHead(appendText(b, "pcrs"), majorMap, uint64(len(s.PCRs)))
	for _, i := range slices.Sorted(maps.Keys(s.PCRs)) {
		b = appendBytes(appendHead(b, majorUint, uint64(max(0, i))), s.PCRs[i])
	}
	b = appendBytes(appendText(b, "certificate"), s.Certificate)
	b = appendHead(appendText(b, "cabundle"), majorArray, uint64(len(s.Bundle)))
	for _, c := range s.Bundle {
		b = appendBytes(b, c)
	}
	b = appendOptional(appendText(b, "public_key"), s.PublicKey)
	b = appendOptional(appendText(b, "user_data"), s.UserData)
	return appendOptional(appendText(b, "nonce"), s.Nonce)
}
