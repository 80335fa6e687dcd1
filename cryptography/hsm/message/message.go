// Package message is what a host and the HSM say to each other: operation
// numbers, parameters, results, and the parts of the ciphertext format that
// both sides need (hsm-domain sections 5 and 6).
//
// The parameters of all operations are one map with integer keys, of which an
// operation uses its own; so are the results. There is no number, parameter
// or result for key material in the clear, and none can be added without
// changing this package.
package message

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// Operations. The numbers below 64 are those of hsm-domain section 5; the
// numbers from 64 on are Leadglass's own. One that the HSM's table lacks is
// answered with status 1.
const (
	OpGenerateKey         = 1
	OpImportBegin         = 2
	OpImportKey           = 3
	OpEncrypt             = 4
	OpDecrypt             = 5
	OpReEncrypt           = 6
	OpGenerateDataKey     = 7
	OpGenerateDataKeyPair = 8
	OpSign                = 9
	OpVerify              = 10
	OpGenerateMac         = 11
	OpVerifyMac           = 12
	OpDeriveSharedSecret  = 13
	OpRandom              = 14
	OpRewrapEKT           = 15
	OpStatus              = 17
	OpRaiseFence          = 19

	OpGenerateLogKey   = 64
	OpSignLog          = 65
	OpGenerateAuditKey = 66
	OpOpenAuditKey     = 67
	OpPlaceHost        = 68 // supervisor only, before OpReady
	OpReady            = 69 // supervisor only: no host can be placed any more
	OpRotateDomainKeys = 70 // supervisor only; denied once the domain has operators
	OpCommand          = 71 // a signed command of the domain's operators
	OpMember           = 72 // the HSM's own member record, for AddMember
	OpCommandLog       = 73 // a page of the log of commands
	OpDomainState      = 74 // the public domain state
	OpSealConditions   = 75 // a key token with other sealed conditions
	OpFences           = 76 // a page of the fences, for another member; with a page: take it over
)

// Key specs. The first is AWS's name; the others are internal and never
// visible to a customer.
const (
	SpecSymmetric = "SYMMETRIC_DEFAULT"
	SpecLog       = "LEADGLASS_LOG"   // a seed for Ed25519 and one for ML-DSA-44
	SpecAudit     = "LEADGLASS_AUDIT" // HPKE MLKEM768-X25519
)

// Algorithms of OpSignLog.
const (
	LogEd25519 = 1
	LogMLDSA44 = 2
)

// Params are the parameters of any operation. Empty fields are not sent.
type Params struct {
	Data      []byte // 1: plaintext, or the message to sign
	Blob      []byte // 2: ciphertext
	Context   []byte // 3: encryption context, serialised by AppendContext
	ToToken   []byte // 4: second EKT, of ReEncrypt
	ToContext []byte // 5
	Length    uint64 // 6: bytes wanted
	Spec      string // 7
	Usage     string // 8
	Origin    string // 9
	Name      string // 10: key ARN, log name or account
	Role      string // 11: host role that the new key requires, or the role of a host to place
	Algorithm uint64 // 12
	Enc       []byte // 13: HPKE encapsulation
	Info      []byte // 14: HPKE info
	Public    []byte // 15: SPKI of a host to place
	Flags     uint64 // 16

	Recipient   []byte // 17: attestation document of the enclave that the secret part of the result is for
	Proof       []byte // 18: the caller's signed request, where a key's sealed conditions ask for it
	Alg         string // 19: algorithm by AWS's name: RSAES_OAEP_SHA_256, ECDSA_SHA_384, HMAC_SHA_256, ECDH
	MessageType string // 20: RAW, DIGEST or EXTERNAL_MU
	Signature   []byte // 21: signature or MAC to check
	ToAlg       string // 22: algorithm of the destination, of ReEncrypt
	NotAfter    uint64 // 23: ms since 1970, when imported material ends
	Epoch       uint64 // 24: fence epoch
	Conditions  []byte // 25: sealed conditions, deterministic CBOR
	Command     []byte // 26: signed command
	Answer      []byte // 27: what a signed answer is to be bound to besides the result
}

// Flags.
const (
	FlagNoPlaintext = 1 // GenerateDataKey and its like answer without the plaintext
	FlagCurrent     = 2 // RewrapEKT gives the token the epoch Epoch, which must be that of the key's fence; RaiseFence: the reverse; ImportKey takes the fence's, whatever Epoch says
	FlagClosed      = 4 // RaiseFence closes the key until it is opened again
)

// Result is the result of any operation. Empty fields are not sent.
type Result struct {
	Token    []byte // 1: EKT
	Public   []byte // 2
	Public2  []byte // 3: the ML-DSA-44 half of a log key
	Material []byte // 4: material id, 32 bytes
	Data     []byte // 5: the caller's own plaintext, a data key, random bytes, a signature
	Blob     []byte // 6
	Status   []byte // 7: see Status
	Envelope []byte // 8: the secret part of the result, encrypted to the attested recipient, in place of Data
	Proof    []byte // 9: the HSM's signature over this answer
	Record   []byte // 10: member record, domain token, domain state or page of the command log
}

func count(n int, present ...bool) int {
	for _, p := range present {
		if p {
			n++
		}
	}
	return n
}

// Append appends the encoded parameters to b.
func (p *Params) Append(b []byte) []byte {
	b = link.AppendMap(b, count(0, len(p.Data) > 0, len(p.Blob) > 0, len(p.Context) > 0, len(p.ToToken) > 0,
		len(p.ToContext) > 0, p.Length > 0, p.Spec != "", p.Usage != "", p.Origin != "", p.Name != "", p.Role != "",
		p.Algorithm > 0, len(p.Enc) > 0, len(p.Info) > 0, len(p.Public) > 0, p.Flags > 0,
		len(p.Recipient) > 0, len(p.Proof) > 0, p.Alg != "", p.MessageType != "", len(p.Signature) > 0, p.ToAlg != "",
		p.NotAfter > 0, p.Epoch > 0, len(p.Conditions) > 0, len(p.Command) > 0, len(p.Answer) > 0))
	b = link.AppendBytesField(b, 1, p.Data)
	b = link.AppendBytesField(b, 2, p.Blob)
	b = link.AppendBytesField(b, 3, p.Context)
	b = link.AppendBytesField(b, 4, p.ToToken)
	b = link.AppendBytesField(b, 5, p.ToContext)
	b = link.AppendUintField(b, 6, p.Length)
	b = link.AppendTextField(b, 7, p.Spec)
	b = link.AppendTextField(b, 8, p.Usage)
	b = link.AppendTextField(b, 9, p.Origin)
	b = link.AppendTextField(b, 10, p.Name)
	b = link.AppendTextField(b, 11, p.Role)
	b = link.AppendUintField(b, 12, p.Algorithm)
	b = link.AppendBytesField(b, 13, p.Enc)
	b = link.AppendBytesField(b, 14, p.Info)
	b = link.AppendBytesField(b, 15, p.Public)
	b = link.AppendUintField(b, 16, p.Flags)
	b = link.AppendBytesField(b, 17, p.Recipient)
	b = link.AppendBytesField(b, 18, p.Proof)
	b = link.AppendTextField(b, 19, p.Alg)
	b = link.AppendTextField(b, 20, p.MessageType)
	b = link.AppendBytesField(b, 21, p.Signature)
	b = link.AppendTextField(b, 22, p.ToAlg)
	b = link.AppendUintField(b, 23, p.NotAfter)
	b = link.AppendUintField(b, 24, p.Epoch)
	b = link.AppendBytesField(b, 25, p.Conditions)
	b = link.AppendBytesField(b, 26, p.Command)
	return link.AppendBytesField(b, 27, p.Answer)
}

// Parse reads parameters. The byte fields point into b.
func (p *Params) Parse(b []byte) error {
	*p = Params{}
	r := link.NewReader(b)
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		last = r.Key(last)
		switch last {
		case 1:
			p.Data = r.Bytes()
		case 2:
			p.Blob = r.Bytes()
		case 3:
			p.Context = r.Bytes()
		case 4:
			p.ToToken = r.Bytes()
		case 5:
			p.ToContext = r.Bytes()
		case 6:
			p.Length = r.Uint()
		case 7:
			p.Spec = r.Text()
		case 8:
			p.Usage = r.Text()
		case 9:
			p.Origin = r.Text()
		case 10:
			p.Name = r.Text()
		case 11:
			p.Role = r.Text()
		case 12:
			p.Algorithm = r.Uint()
		case 13:
			p.Enc = r.Bytes()
		case 14:
			p.Info = r.Bytes()
		case 15:
			p.Public = r.Bytes()
		case 16:
			p.Flags = r.Uint()
		case 17:
			p.Recipient = r.Bytes()
		case 18:
			p.Proof = r.Bytes()
		case 19:
			p.Alg = r.Text()
		case 20:
			p.MessageType = r.Text()
		case 21:
			p.Signature = r.Bytes()
		case 22:
			p.ToAlg = r.Text()
		case 23:
			p.NotAfter = r.Uint()
		case 24:
			p.Epoch = r.Uint()
		case 25:
			p.Conditions = r.Bytes()
		case 26:
			p.Command = r.Bytes()
		case 27:
			p.Answer = r.Bytes()
		default:
			r.Fail() // a parameter that is not understood must not be ignored
		}
	}
	return r.Done()
}

// Append appends the encoded result to b.
func (s *Result) Append(b []byte) []byte {
	b = link.AppendMap(b, count(0, len(s.Token) > 0, len(s.Public) > 0, len(s.Public2) > 0, len(s.Material) > 0,
		len(s.Data) > 0, len(s.Blob) > 0, len(s.Status) > 0, len(s.Envelope) > 0, len(s.Proof) > 0, len(s.Record) > 0))
	for i, v := range [...][]byte{s.Token, s.Public, s.Public2, s.Material, s.Data, s.Blob, s.Status, s.Envelope, s.Proof, s.Record} {
		b = link.AppendBytesField(b, uint64(i+1), v)
	}
	return b
}

// Parse reads a result. The fields point into b.
func (s *Result) Parse(b []byte) error {
	*s = Result{}
	fields := [...]*[]byte{&s.Token, &s.Public, &s.Public2, &s.Material, &s.Data, &s.Blob, &s.Status, &s.Envelope, &s.Proof, &s.Record}
	r := link.NewReader(b)
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		last = r.Key(last)
		if last == 0 || last > uint64(len(fields)) {
			r.Fail()
			break
		}
		*fields[last-1] = r.Bytes()
	}
	return r.Done()
}

// MaxContext bounds an encryption context: all keys and values together
// (kms-api section 3).
const MaxContext = 8192

// ErrContext is returned for an encryption context that is too long or not in
// the canonical form.
var ErrContext = errors.New("message: unusable encryption context")

// AppendContext appends the serialisation of an encryption context that is
// part of the AAD: u32be count, then pairs sorted by the bytes of the key,
// each u32be length and key, u32be length and value. Empty and absent are the
// same (hsm-domain section 6).
func AppendContext(b []byte, m map[string]string) ([]byte, error) {
	size := 0
	keys := make([]string, 0, len(m))
	for k, v := range m {
		size += len(k) + len(v)
		keys = append(keys, k)
	}
	if size > MaxContext {
		return b, ErrContext
	}
	slices.Sort(keys)
	b = binary.BigEndian.AppendUint32(b, uint32(len(keys)))
	for _, k := range keys {
		b = binary.BigEndian.AppendUint32(b, uint32(len(k)))
		b = append(b, k...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(m[k])))
		b = append(b, m[k]...)
	}
	return b, nil
}

// CheckContext accepts exactly what AppendContext writes. Two serialisations
// of one context would be two AADs, so the HSM checks rather than trusts.
func CheckContext(b []byte) error {
	if len(b) < 4 {
		return ErrContext
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	var last []byte
	size := 0
	for i := range n {
		k, rest, ok := cut(b)
		if !ok || i > 0 && string(k) <= string(last) {
			return ErrContext
		}
		v, rest, ok := cut(rest)
		if !ok {
			return ErrContext
		}
		size += len(k) + len(v)
		last, b = k, rest
	}
	if len(b) != 0 || size > MaxContext {
		return ErrContext
	}
	return nil
}

func cut(b []byte) (item, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if cmp.Less(uint64(len(b)-4), uint64(n)) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// The ciphertext blob of hsm-domain section 6.
const (
	BlobVersion   = 1
	BlobSymmetric = 2
	BlobKeyPair   = 3  // the private key of a data key pair; else like BlobSymmetric
	BlobOverhead  = 86 // header of 70 bytes and tag

	// MaxPlaintext is what one Encrypt takes (kms-api section 4).
	MaxPlaintext = 4096
	// MaxBlob is the longest blob a Decrypt looks at.
	MaxBlob = 6144
)

// ErrBlob is returned for bytes that are no ciphertext blob.
var ErrBlob = errors.New("message: not a ciphertext blob")

// MaterialOf reads the id of the key material out of the public header of a
// symmetric ciphertext blob.
func MaterialOf(blob []byte) (id [32]byte, err error) {
	if len(blob) < BlobOverhead || len(blob) > MaxBlob || blob[0] != BlobVersion ||
		blob[1] != BlobSymmetric && blob[1] != BlobKeyPair {
		return id, ErrBlob
	}
	copy(id[:], blob[2:34])
	return id, nil
}
