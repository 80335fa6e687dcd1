package message

import (
	"crypto/sha512"
	"errors"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// A Proof is a caller's signed request (hsm-domain section 7), which the HSM
// checks itself. Only SigV4A has signatures that a third party can check.
type Proof struct {
	Canonical    []byte // 1: the canonical request
	StringToSign []byte // 2
	Signature    []byte // 3: ECDSA P-256, ASN.1
	CallerKey    []byte // 4: a CallerKey, signed by the authority
	Body         []byte // 5: of the request
}

// ErrProof is returned for bytes that are no proof.
var ErrProof = errors.New("message: not a proof of a caller's request")

// Append appends the encoded proof to b.
func (p *Proof) Append(b []byte) []byte {
	fields := [...][]byte{p.Canonical, p.StringToSign, p.Signature, p.CallerKey, p.Body}
	b = link.AppendMap(b, len(fields))
	for i, f := range fields {
		b = link.AppendBytes(link.AppendUint(b, uint64(i+1)), f)
	}
	return b
}

// Parse reads a proof. The fields point into b.
func (p *Proof) Parse(b []byte) error {
	r := link.NewReader(b)
	fields := [...]*[]byte{&p.Canonical, &p.StringToSign, &p.Signature, &p.CallerKey, &p.Body}
	if r.Map() != len(fields) {
		r.Fail()
	}
	for i, f := range fields {
		if r.Key(uint64(i)) != uint64(i+1) {
			r.Fail()
		}
		*f = r.Bytes()
	}
	if r.Done() != nil {
		*p = Proof{}
		return ErrProof
	}
	return nil
}

// A CallerKey says which public key checks the SigV4A signatures of a
// credential. The authority derives that key from the credential's secret, and
// signs the record with the key by which the HSM knows it as a host: the HSM
// was given that before Ready, so a front can neither make such a record nor
// put another authority in place.
type CallerKey struct {
	AccessKeyID string // 1
	Account     string // 2: that the credential belongs to
	Principal   string // 3: ARN of a session; empty for a long-term key, whose user the authority does not know
	Public      []byte // 4: uncompressed point of P-256
	NotAfter    uint64 // 5: ms since 1970
}

// Append appends the encoded record, without a signature.
func (k *CallerKey) Append(b []byte) []byte {
	b = link.AppendMap(b, 5)
	b = link.AppendText(link.AppendUint(b, 1), k.AccessKeyID)
	b = link.AppendText(link.AppendUint(b, 2), k.Account)
	b = link.AppendText(link.AppendUint(b, 3), k.Principal)
	b = link.AppendBytes(link.AppendUint(b, 4), k.Public)
	return link.AppendUint(link.AppendUint(b, 5), k.NotAfter)
}

// Parse reads a record.
func (k *CallerKey) Parse(b []byte) error {
	r := link.NewReader(b)
	if r.Map() != 5 || r.Key(0) != 1 {
		r.Fail()
	}
	k.AccessKeyID = r.Text()
	r.Key(1)
	k.Account = r.Text()
	r.Key(2)
	k.Principal = r.Text()
	r.Key(3)
	k.Public = r.Bytes()
	if r.Key(4) != 5 {
		r.Fail()
	}
	k.NotAfter = r.Uint()
	if r.Done() != nil {
		*k = CallerKey{}
		return ErrProof
	}
	return nil
}

// CallerKeyDigest is what the authority signs (ECDSA P-384, ASN.1).
func CallerKeyDigest(record []byte) []byte {
	sum := sha512.Sum384(append([]byte("leadglass caller key v1\x00"), record...))
	return sum[:]
}

// AppendCallerKey appends a record with its signature: [record, signature].
func AppendCallerKey(b, record, signature []byte) []byte {
	return link.AppendBytes(link.AppendBytes(link.AppendArray(b, 2), record), signature)
}

// SplitCallerKey reverses AppendCallerKey.
func SplitCallerKey(b []byte) (record, signature []byte, err error) {
	r := link.NewReader(b)
	if r.Array() != 2 {
		r.Fail()
	}
	record, signature = r.Bytes(), r.Bytes()
	if r.Done() != nil {
		return nil, nil, ErrProof
	}
	return record, signature, nil
}
