package message

import "fmt"

// Algorithms of identity tokens, by their names in JWS (RFC 7518 section 3.1).
const (
	RS256 = "RS256" // RSA 3072
	ES384 = "ES384" // ECDSA on P-384
)

// An Identity is what a token says that an account's signer signs for one of
// its principals (GetWebIdentityToken). The authority adds the times and an id.
// None of it is secret.
type Identity struct {
	Account        string            `cbor:"1,keyasint"`
	Issuer         string            `cbor:"2,keyasint"`
	Subject        string            `cbor:"3,keyasint"` // ARN of a role or user of Account
	Audience       []string          `cbor:"4,keyasint"`
	Algorithm      string            `cbor:"5,keyasint"`
	Seconds        uint64            `cbor:"6,keyasint"` // 60..3600
	Region         string            `cbor:"7,keyasint,omitempty"`
	PrincipalTags  map[string]string `cbor:"8,keyasint,omitempty"`
	RequestTags    map[string]string `cbor:"9,keyasint,omitempty"`
	SessionExpires int64             `cbor:"10,keyasint,omitempty"` // seconds since 1970; of the calling session
	Organization   string            `cbor:"11,keyasint,omitempty"` // o-...
}

// Encode returns the deterministic CBOR of the identity.
func (i *Identity) Encode() ([]byte, error) { return encoding.Marshal(i) }

// Decode reads an identity; it copies everything.
func (i *Identity) Decode(b []byte) error {
	*i = Identity{}
	if err := decoding.Unmarshal(b, i); err != nil {
		return fmt.Errorf("%w: identity", errMessage)
	}
	return nil
}
