// Package message is what a host and the identity authority say to each
// other: operation numbers, parameters, results, and the claims of a session
// (sts-and-fas section 4).
//
// As between host and HSM, the parameters of all operations are one map with
// integer keys of which an operation uses its own, and so are the results.
// Secrets are byte strings that are read where they lie.
package message

import "github.com/leadglass/leadglass/cryptography/hsm/link"

// Operations.
const (
	OpOpen         = 1 // supervisor only: fetch the sealing key from the HSM
	OpNewSecret    = 2
	OpWitness      = 3
	OpSigningKey   = 4
	OpIssueSession = 5
	OpSealMessage  = 6
	OpOpenMessage  = 7
	OpRevoke       = 8
	OpStatus       = 9
	OpRevocations  = 10
	OpResolve      = 11 // key mode: OpWitness that also gives the key of the day

	OpWitnessV4A    = 20
	OpPublicKey     = 21
	OpWitnessChunks = 22
	OpWitnessPost   = 23
	OpCallerKey     = 24 // which public key checks a credential's SigV4A signatures, stated for the HSM
	OpRewrapRoot    = 25 // seal the root key's token anew under the HSM's domain key that Message names
	OpNewSigner     = 50 // a key for an account's identity tokens
	OpSignIdentity  = 51
)

// Statuses beyond those of package link.
const (
	StatusSignature = 32
	StatusToken     = 33
	StatusExpired   = 34
	StatusRevoked   = 35
	StatusTooLarge  = 36 // the session token would be too long
)

// MaxToken is the longest session token, in characters.
const MaxToken = 4096

// SecretLen is the length of a secret access key: base64 of 30 random bytes.
const SecretLen = 40

// Params are the parameters of any operation. Empty fields are not sent.
type Params struct {
	AccessKeyID  string // 1
	Account      string // 2
	Sealed       []byte // 3: a credential's sealed record
	StringToSign []byte // 4
	Signature    []byte // 5
	Digest       []byte // 6: SHA-256 of the canonical request
	Token        []byte // 7: session token as the client sent it
	Claims       []byte // 8: encoded Claims
	Date         string // 9: YYYYMMDD
	Region       string // 10
	Service      string // 11
	Message      []byte // 12
	Revocation   []byte // 13: encoded Revocation
	Since        uint64 // 14: epoch
	Wait         uint64 // 15: ms that an answer without news may be late
	Algorithm    string // 20: of chunks and of a form upload
	Links        []byte // 21: encoded []Link
	Previous     []byte // 22: the signature before the first link
	Time         string // 23: YYYYMMDD'T'HHMMSS'Z'
}

// Result is the result of any operation. Empty fields are not sent.
type Result struct {
	Sealed      []byte // 1
	Secret      []byte // 2: a new secret access key, 40 characters
	Token       []byte // 3
	Claims      []byte // 4
	Key         []byte // 5: kSigning of one day, region and service; or the public key of SigV4A
	Message     []byte // 6
	AccessKeyID []byte // 7
	Revocations []byte // 8: encoded []Revocation
	Status      []byte // 9: encoded Status
	NotAfter    uint64 // 10: ms since 1970
	Epoch       uint64 // 11
}

func (p *Params) fields() (texts [7]*string, bytes [10]*[]byte) {
	return [7]*string{&p.AccessKeyID, &p.Account, &p.Date, &p.Region, &p.Service, &p.Algorithm, &p.Time},
		[10]*[]byte{&p.Sealed, &p.StringToSign, &p.Signature, &p.Digest, &p.Token, &p.Claims, &p.Message, &p.Revocation, &p.Links, &p.Previous}
}

// Append appends the encoded parameters to b.
func (p *Params) Append(b []byte) []byte {
	n := 0
	texts, bytes := p.fields()
	for _, t := range texts {
		if *t != "" {
			n++
		}
	}
	for _, s := range bytes {
		if len(*s) > 0 {
			n++
		}
	}
	for _, v := range [...]uint64{p.Since, p.Wait} {
		if v > 0 {
			n++
		}
	}
	b = link.AppendMap(b, n)
	b = link.AppendTextField(b, 1, p.AccessKeyID)
	b = link.AppendTextField(b, 2, p.Account)
	b = link.AppendBytesField(b, 3, p.Sealed)
	b = link.AppendBytesField(b, 4, p.StringToSign)
	b = link.AppendBytesField(b, 5, p.Signature)
	b = link.AppendBytesField(b, 6, p.Digest)
	b = link.AppendBytesField(b, 7, p.Token)
	b = link.AppendBytesField(b, 8, p.Claims)
	b = link.AppendTextField(b, 9, p.Date)
	b = link.AppendTextField(b, 10, p.Region)
	b = link.AppendTextField(b, 11, p.Service)
	b = link.AppendBytesField(b, 12, p.Message)
	b = link.AppendBytesField(b, 13, p.Revocation)
	b = link.AppendUintField(b, 14, p.Since)
	b = link.AppendUintField(b, 15, p.Wait)
	b = link.AppendTextField(b, 20, p.Algorithm)
	b = link.AppendBytesField(b, 21, p.Links)
	b = link.AppendBytesField(b, 22, p.Previous)
	return link.AppendTextField(b, 23, p.Time)
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
			p.AccessKeyID = r.Text()
		case 2:
			p.Account = r.Text()
		case 3:
			p.Sealed = r.Bytes()
		case 4:
			p.StringToSign = r.Bytes()
		case 5:
			p.Signature = r.Bytes()
		case 6:
			p.Digest = r.Bytes()
		case 7:
			p.Token = r.Bytes()
		case 8:
			p.Claims = r.Bytes()
		case 9:
			p.Date = r.Text()
		case 10:
			p.Region = r.Text()
		case 11:
			p.Service = r.Text()
		case 12:
			p.Message = r.Bytes()
		case 13:
			p.Revocation = r.Bytes()
		case 14:
			p.Since = r.Uint()
		case 15:
			p.Wait = r.Uint()
		case 20:
			p.Algorithm = r.Text()
		case 21:
			p.Links = r.Bytes()
		case 22:
			p.Previous = r.Bytes()
		case 23:
			p.Time = r.Text()
		default:
			r.Fail() // a parameter that is not understood must not be ignored
		}
	}
	return r.Done()
}

func (s *Result) bytes() [9]*[]byte {
	return [9]*[]byte{&s.Sealed, &s.Secret, &s.Token, &s.Claims, &s.Key, &s.Message, &s.AccessKeyID, &s.Revocations, &s.Status}
}

// Append appends the encoded result to b.
func (s *Result) Append(b []byte) []byte {
	n := 0
	for _, v := range s.bytes() {
		if len(*v) > 0 {
			n++
		}
	}
	if s.NotAfter > 0 {
		n++
	}
	if s.Epoch > 0 {
		n++
	}
	b = link.AppendMap(b, n)
	for i, v := range s.bytes() {
		b = link.AppendBytesField(b, uint64(i+1), *v)
	}
	b = link.AppendUintField(b, 10, s.NotAfter)
	return link.AppendUintField(b, 11, s.Epoch)
}

// Parse reads a result. The byte fields point into b.
func (s *Result) Parse(b []byte) error {
	*s = Result{}
	fields := s.bytes()
	r := link.NewReader(b)
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		last = r.Key(last)
		switch {
		case last >= 1 && last <= 9:
			*fields[last-1] = r.Bytes()
		case last == 10:
			s.NotAfter = r.Uint()
		case last == 11:
			s.Epoch = r.Uint()
		default:
			r.Fail()
		}
	}
	return r.Done()
}

// Setup joins the two public keys that parent and child tell each other at the
// start: front and HSM one way, host and identity the other.
func Setup(first, second []byte) []byte {
	return link.AppendBytes(link.AppendBytes(link.AppendArray(nil, 2), first), second)
}

// SplitSetup reverses Setup.
func SplitSetup(b []byte) (first, second []byte, err error) {
	r := link.NewReader(b)
	if r.Array() != 2 {
		r.Fail()
	}
	first, second = r.Bytes(), r.Bytes()
	return first, second, r.Done()
}
