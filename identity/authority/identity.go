package authority

import (
	"context"
	"time"

	"github.com/leadglass/leadglass/identity/authority/message"
)

// An Identity is what an identity token says: see message.Identity.
type Identity = message.Identity

// Algorithms of identity tokens.
const (
	RS256 = message.RS256
	ES384 = message.ES384
)

// NewSigner makes a key for an account's identity tokens. sealed is the record
// that the directory keeps, jwk the public key as a JSON Web Key, with its id.
func (c *Client) NewSigner(ctx context.Context, account, algorithm string) (sealed, jwk []byte, err error) {
	p := message.Params{Account: account, Message: []byte(algorithm)}
	err = c.call(ctx, message.OpNewSigner, &p, func(r *message.Result) error {
		sealed, jwk = append([]byte(nil), r.Sealed...), append([]byte(nil), r.Message...)
		return nil
	})
	return sealed, jwk, err
}

// SignIdentity makes an identity token by a key that NewSigner made for the
// same account and algorithm; ErrToken if it did not. ErrTooLarge says that the
// claims are longer than a token may be.
func (c *Client) SignIdentity(ctx context.Context, sealed []byte, i Identity) (token string, expires time.Time, err error) {
	encoded, err := i.Encode()
	if err != nil {
		return "", expires, ErrBadRequest
	}
	err = c.call(ctx, message.OpSignIdentity, &message.Params{Sealed: sealed, Message: encoded}, func(r *message.Result) error {
		token, expires = string(r.Token), time.UnixMilli(int64(r.NotAfter)).UTC()
		return nil
	})
	return token, expires, err
}
