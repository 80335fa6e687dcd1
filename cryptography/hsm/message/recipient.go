package message

import "github.com/leadglass/leadglass/cryptography/hsm/link"

// Operations about recipients of secrets: attested enclaves.
const (
	OpTrustRoots       = 78 // supervisor only, before OpReady: further roots of attestation documents
	OpAttestationRoots = 79 // the roots in force
	OpUnused           = 80 // supervisor only: ids of domain keys under which it has found no token, see Params.Data
)

// A Root is a certificate that attestation documents may end in, as package
// isolation/attest explains it.
type Root struct {
	DER   []byte // 1
	Name  string // 2
	Tier  uint64 // 3
	Hosts bool   // 4: the host's certificate states the tier; Tier is the most that it can
}

// MaxRoots is how many roots there can be.
const MaxRoots = 16

// AppendRoots appends the encoded roots to b.
func AppendRoots(b []byte, roots []Root) []byte {
	b = link.AppendArray(b, len(roots))
	for i := range roots {
		r := &roots[i]
		b = link.AppendMap(b, count(2, r.Tier > 0, r.Hosts))
		b = link.AppendBytes(link.AppendUint(b, 1), r.DER)
		b = link.AppendText(link.AppendUint(b, 2), r.Name)
		b = link.AppendUintField(b, 3, r.Tier)
		if r.Hosts {
			b = link.AppendUint(link.AppendUint(b, 4), 1)
		}
	}
	return b
}

// ParseRoots reads roots. The fields point into b.
func ParseRoots(b []byte) (roots []Root, err error) {
	in := link.NewReader(b)
	n := in.Array()
	if n > MaxRoots {
		in.Fail()
	}
	for ; n > 0 && !in.Failed(); n-- {
		var r Root
		last := uint64(0)
		for m := in.Map(); m > 0 && !in.Failed(); m-- {
			last = in.Key(last)
			switch last {
			case 1:
				r.DER = in.Bytes()
			case 2:
				r.Name = in.Text()
			case 3:
				r.Tier = in.Uint()
			case 4:
				r.Hosts = in.Uint() == 1
			default:
				in.Fail()
			}
		}
		roots = append(roots, r)
	}
	return roots, in.Done()
}

// An Answer is what the HSM signs about an answer that it encrypted to a
// recipient (kms-recipient-attestation, "signed answers"). The numbers are
// those of the map.
type Answer struct {
	Body      [32]byte // 1: SHA-256 of the request's body
	Operation string   // 2: by AWS's name
	Key       string   // 3: what the key token names: the key's ARN; empty of GenerateRandom
	Envelope  [32]byte // 4: SHA-256 of CiphertextForRecipient
	Document  [48]byte // 5: SHA-384 of the attestation document
	Time      uint64   // 6: ms since 1970
	Domain    [16]byte // 7: domain id
	Serial    uint64   // 8: of the domain state
}

// AnswerType is the content type in the protected header of a signed answer:
// no other statement of an HSM can be taken for one.
const AnswerType = "application/vnd.leadglass.answer+cbor"

// Append appends the encoded answer to b.
func (a *Answer) Append(b []byte) []byte {
	b = link.AppendMap(b, 8)
	b = link.AppendBytes(link.AppendUint(b, 1), a.Body[:])
	b = link.AppendText(link.AppendUint(b, 2), a.Operation)
	b = link.AppendText(link.AppendUint(b, 3), a.Key)
	b = link.AppendBytes(link.AppendUint(b, 4), a.Envelope[:])
	b = link.AppendBytes(link.AppendUint(b, 5), a.Document[:])
	b = link.AppendUint(link.AppendUint(b, 6), a.Time)
	b = link.AppendBytes(link.AppendUint(b, 7), a.Domain[:])
	return link.AppendUint(link.AppendUint(b, 8), a.Serial)
}

// Parse reads an answer.
func (a *Answer) Parse(b []byte) error {
	*a = Answer{}
	in := link.NewReader(b)
	if in.Map() != 8 {
		in.Fail()
	}
	fixed := func(dst []byte) {
		if v := in.Bytes(); len(v) != len(dst) || copy(dst, v) != len(dst) {
			in.Fail()
		}
	}
	for key := range uint64(8) {
		if in.Key(key) != key+1 {
			in.Fail()
		}
		switch key + 1 {
		case 1:
			fixed(a.Body[:])
		case 2:
			a.Operation = in.Text()
		case 3:
			a.Key = in.Text()
		case 4:
			fixed(a.Envelope[:])
		case 5:
			fixed(a.Document[:])
		case 6:
			a.Time = in.Uint()
		case 7:
			fixed(a.Domain[:])
		case 8:
			a.Serial = in.Uint()
		}
	}
	return in.Done()
}

// AnswerHeader is the protected header of a signed answer: {1: -35 (ES384),
// 3: AnswerType, 4: member id}.
func AnswerHeader(member []byte) []byte {
	b := link.AppendMap(nil, 3)
	b = append(b, 0x01, 0x38, 34) // 1: -35; package link writes no negative numbers
	b = link.AppendText(link.AppendUint(b, 3), AnswerType)
	return link.AppendBytes(link.AppendUint(b, 4), member)
}

// AnswerInput is what is hashed and signed: Sig_structure of RFC 9052 section
// 4.4 with an empty external_aad.
func AnswerInput(header, payload []byte) []byte {
	b := link.AppendText(link.AppendArray(nil, 4), "Signature1")
	b = link.AppendBytes(b, header)
	b = link.AppendBytes(b, nil)
	return link.AppendBytes(b, payload)
}

// AppendSigned appends the COSE_Sign1, untagged.
func AppendSigned(b, header, payload, signature []byte) []byte {
	b = link.AppendBytes(link.AppendArray(b, 4), header)
	b = link.AppendMap(b, 0)
	return link.AppendBytes(link.AppendBytes(b, payload), signature)
}

// SplitSigned reads a COSE_Sign1 that AppendSigned wrote. The parts point into
// b.
func SplitSigned(b []byte) (header, payload, signature []byte, err error) {
	in := link.NewReader(b)
	if in.Array() != 4 {
		in.Fail()
	}
	header = in.Bytes()
	if in.Map() != 0 {
		in.Fail()
	}
	payload, signature = in.Bytes(), in.Bytes()
	return header, payload, signature, in.Done()
}
