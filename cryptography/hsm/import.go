package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// ErrMaterial is returned for imported key material that was decrypted and is
// no key of the spec that it is for.
var ErrMaterial = errors.New("hsm: the key material does not fit the key")

// ErrExpired is returned for an import token that is older than a day.
var ErrExpired = errors.New("hsm: the import token has expired")

// ImportBegin makes an RSA key pair, of a modulus of this many bits, to wrap
// key material with by one of AWS's wrapping algorithms. The private key is in
// the token, which only the HSM opens, which is good for the key that spec
// describes and for no other, and which ends after message.ImportLifetime.
func (c *Client) ImportBegin(ctx context.Context, bits int, algorithm string, spec KeySpec) (public, token []byte, err error) {
	if bits <= 0 {
		return nil, nil, ErrBadRequest
	}
	p := message.Params{Length: uint64(bits / 8), Alg: algorithm, Spec: spec.Spec, Usage: spec.Usage, Name: spec.KeyARN}
	err = c.call(ctx, message.OpImportBegin, nil, &p, func(r *message.Result) {
		public, token = bytes.Clone(r.Public), bytes.Clone(r.Token)
	})
	return public, token, err
}

// ImportKey makes a key of material that its owner wrapped for the token's
// public key. The HSM does not use it after notAfter; the zero time is never.
// A token of another key is ErrWrongToken, one that is too old ErrExpired,
// what does not decrypt ErrAuthFailed, and what does but is no such key
// ErrMaterial. If the key asks for caller proof, ErrDenied says that the
// owner's signed ImportKeyMaterial of just this is missing, or that the token
// is too old.
func (c *Client) ImportKey(ctx context.Context, token, wrapped []byte, spec KeySpec, notAfter time.Time) (Key, error) {
	var k Key
	p := spec.params()
	p.Blob = wrapped
	if !notAfter.IsZero() {
		p.NotAfter = uint64(notAfter.UnixMilli())
	}
	if spec.Present {
		p.Flags = message.FlagCurrent
	}
	var bad error
	err := c.call(ctx, message.OpImportKey, token, &p, func(r *message.Result) {
		k.EKT, k.Public = bytes.Clone(r.Token), bytes.Clone(r.Public)
		copy(k.MaterialID[:], r.Material)
		if spec.Present {
			var at message.Fence
			bad = at.Parse(r.Record)
			k.Epoch = at.Epoch
		}
	})
	if err == nil && bad != nil {
		err = fmt.Errorf("hsm: import: %w", bad)
	}
	if errors.Is(err, ErrDenied) && (spec.Conditions == nil || !spec.Conditions.CallerProof) {
		err = ErrExpired // nothing else that is sealed into an import token can refuse a host
	}
	return k, err
}
