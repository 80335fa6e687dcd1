package message

import "github.com/leadglass/leadglass/cryptography/hsm/link"

// Operations on second factors and passwords. Their parameters are a Factor or
// a Password in Params.Message; OpIssueSession takes a Factor there too, and
// then makes a session with a second factor.
const (
	OpNewFactor   = 40 // a new virtual MFA device: Result.Sealed, and Factor.Reveal in Result.Secret
	OpPairFactor  = 41 // two consecutive codes: Result.Sealed
	OpSetPassword = 42 // Result.Sealed
)

// Statuses of these operations.
const (
	StatusCode     = 40 // not the code of now, used already, or too many wrong ones
	StatusPassword = 41 // not the password so far, or too many wrong ones
	StatusReused   = 42 // the password is one of the last ones
)

const (
	// CodeLen is the length of a code: six digits.
	CodeLen = 6
	// SeedLen is the length of a device's seed in bytes: 64 characters of base32.
	SeedLen = 40
	// MaxPasswords is how many passwords of a user are remembered.
	MaxPasswords = 24
)

// A Factor is a virtual MFA device and what is asked of it.
type Factor struct {
	Serial string // its ARN, to which its record is bound
	Sealed []byte // its record; empty for a new one
	Codes  []byte // one code, or two consecutive ones
	Label  string // of a new one, how an authenticator shows it: percent-encoded
}

// Append appends the encoded factor to b.
func (f *Factor) Append(b []byte) []byte {
	b = link.AppendText(link.AppendArray(b, 4), f.Serial)
	b = link.AppendBytes(link.AppendBytes(b, f.Sealed), f.Codes)
	return link.AppendText(b, f.Label)
}

// Parse reads a factor. The byte fields point into b.
func (f *Factor) Parse(b []byte) error {
	r := link.NewReader(b)
	if r.Array() != 4 {
		r.Fail()
	}
	f.Serial, f.Sealed, f.Codes, f.Label = r.Text(), r.Bytes(), r.Bytes(), r.Text()
	return r.Done()
}

// JoinReveal joins what the owner of a new device is shown, both in base64:
// the base32 text of the seed, and the PNG of the QR code.
func JoinReveal(b, seed, qr []byte) []byte {
	return link.AppendBytes(link.AppendBytes(link.AppendArray(b, 2), seed), qr)
}

// SplitReveal reverses JoinReveal. The results point into b.
func SplitReveal(b []byte) (seed, qr []byte, err error) { return SplitSetup(b) }

// A Password is a user's new password and what it is measured by.
type Password struct {
	User   string // unique id, to which the record is bound
	Sealed []byte // the record so far; empty for the first password
	Old    []byte // the password so far; empty: need not be known
	New    []byte
	Reuse  uint64 // how many of the last passwords may not come back
}

// Append appends the encoded password to b.
func (p *Password) Append(b []byte) []byte {
	b = link.AppendText(link.AppendArray(b, 5), p.User)
	b = link.AppendBytes(link.AppendBytes(link.AppendBytes(b, p.Sealed), p.Old), p.New)
	return link.AppendUint(b, p.Reuse)
}

// Parse reads a password. The byte fields point into b.
func (p *Password) Parse(b []byte) error {
	r := link.NewReader(b)
	if r.Array() != 5 {
		r.Fail()
	}
	p.User, p.Sealed, p.Old, p.New, p.Reuse = r.Text(), r.Bytes(), r.Bytes(), r.Bytes(), r.Uint()
	return r.Done()
}
