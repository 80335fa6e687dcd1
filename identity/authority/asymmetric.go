package authority

import (
	"bytes"
	"context"
	"time"

	"github.com/leadglass/leadglass/identity/authority/message"
)

// PublicKey is what key mode hands out for SigV4A. Who has it can check
// signatures and can never make one.
type PublicKey struct {
	Key      [65]byte // an uncompressed point of P-256
	Claims   *Claims  // nil for a long-term credential
	NotAfter time.Time
}

// PublicKey is key mode for SigV4A: the key that checks every signature of a
// credential, on any day, in any region, for any service. Exactly one of
// sealed and token is given.
func (c *Client) PublicKey(ctx context.Context, akid string, sealed []byte, token string) (k PublicKey, err error) {
	p := message.Params{AccessKeyID: akid, Sealed: sealed, Token: []byte(token)}
	err = c.call(ctx, message.OpPublicKey, &p, func(r *message.Result) error {
		if token != "" {
			k.Claims = new(Claims)
			if err := k.Claims.Decode(r.Claims); err != nil {
				return err
			}
		}
		k.NotAfter = time.UnixMilli(int64(r.NotAfter)).UTC()
		if copy(k.Key[:], r.Key) != len(k.Key) {
			return ErrInternal
		}
		return nil
	})
	if err != nil {
		return PublicKey{}, err
	}
	return k, nil
}

// CallerKey states for the HSM which public key checks the SigV4A signatures of
// a credential. Exactly one of sealed and token is given. It holds for minutes.
func (c *Client) CallerKey(ctx context.Context, akid string, sealed []byte, token string) (statement []byte, err error) {
	p := message.Params{AccessKeyID: akid, Sealed: sealed, Token: []byte(token)}
	err = c.call(ctx, message.OpCallerKey, &p, func(r *message.Result) error {
		statement = bytes.Clone(r.Message)
		return nil
	})
	return statement, err
}

// A Scope is what a signature of chunks or of a form upload is made for.
// Unlike a request's string to sign, theirs does not name it, or does not
// stand alone.
type Scope struct {
	Algorithm             string // AWS4-HMAC-SHA256 or AWS4-ECDSA-P256-SHA256
	Time                  time.Time
	Date, Region, Service string // Region is empty for SigV4A
}

// A Link is one signature in the chain of a body that is sent in chunks.
type Link = message.Link

// MaxLinks is how many links one call may have.
const MaxLinks = message.MaxLinks

// A Chain is a run of consecutive links of one body.
type Chain struct {
	AccessKeyID  string
	Sealed       []byte // as in Request
	SessionToken string
	Scope        Scope
	Previous     []byte // the signature before the first link: at the beginning that of the request
	Links        []Link
}

// WitnessChunks checks the signatures of consecutive chunks (sigv4 section 5)
// in one call: nil, or ErrSignature if any of them is wrong.
func (c *Client) WitnessChunks(ctx context.Context, q Chain) error {
	links, err := message.EncodeLinks(q.Links)
	if err != nil {
		return ErrBadRequest
	}
	p := message.Params{
		AccessKeyID: q.AccessKeyID, Sealed: q.Sealed, Token: []byte(q.SessionToken),
		Algorithm: q.Scope.Algorithm, Time: q.Scope.Time.UTC().Format("20060102T150405Z"),
		Date: q.Scope.Date, Region: q.Scope.Region, Service: q.Scope.Service, Previous: q.Previous, Links: links,
	}
	return c.call(ctx, message.OpWitnessChunks, &p, nil)
}

// A Post is a form upload to S3 to be witnessed.
type Post struct {
	AccessKeyID  string
	Sealed       []byte // as in Request
	SessionToken string
	Scope        Scope  // its Time plays no part
	Policy       []byte // base64, as sent: this is what is signed
	Signature    []byte // 32 bytes, or ASN.1 DER
}

// WitnessPost checks the signature of a form upload; it answers as Witness.
func (c *Client) WitnessPost(ctx context.Context, q Post) (*Claims, error) {
	p := message.Params{
		AccessKeyID: q.AccessKeyID, Sealed: q.Sealed, Token: []byte(q.SessionToken), Algorithm: q.Scope.Algorithm,
		Date: q.Scope.Date, Region: q.Scope.Region, Service: q.Scope.Service, StringToSign: q.Policy, Signature: q.Signature,
	}
	return c.witness(ctx, message.OpWitnessPost, &p)
}
