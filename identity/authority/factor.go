package authority

import (
	"context"
	"errors"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// Errors of second factors and passwords.
var (
	// ErrCode: the code is not the one of now, was used already, or came after too many wrong ones.
	ErrCode = errors.New("authority: the code is not valid")
	// ErrPassword: not the password so far, or it came after too many wrong ones.
	ErrPassword = errors.New("authority: the old password is wrong")
	// ErrReused: the new password is one of the last ones.
	ErrReused = errors.New("authority: the password was used before")
)

// A Factor is a virtual MFA device with the code that was shown for it.
type Factor struct {
	Serial string // its ARN
	Sealed []byte // its record, as NewFactor or PairFactor returned it
	Code   string
}

// A NewFactor is a virtual MFA device that was just made. The caller destroys
// both secrets.
type NewFactor struct {
	Sealed []byte
	// Seed is base64 of the base32 text of the seed, QR base64 of a PNG that an
	// authenticator app scans: the form in which the answer's blobs stand.
	Seed, QR *secret.Bytes
}

// factorErrors are the statuses that only these operations have.
func factorErrors(err error) error {
	if s, ok := errors.AsType[link.Status](err); ok {
		switch s {
		case message.StatusCode:
			return ErrCode
		case message.StatusPassword:
			return ErrPassword
		case message.StatusReused:
			return ErrReused
		}
	}
	return translate(err)
}

// ask is call for these operations. What they are asked with may be secret;
// the copy that is made here is wiped.
func (c *Client) ask(ctx context.Context, op uint64, p *message.Params, take func(*message.Result) error) error {
	defer secret.Wipe(p.Message)
	return factorErrors(c.link.Call(ctx, op, nil, p.Append, func(body []byte) error {
		var r message.Result
		if err := r.Parse(body); err != nil {
			return err
		}
		return take(&r)
	}))
}

// NewFactor makes a virtual MFA device for the ARN serial. label is what an
// authenticator app shows of it, percent-encoded as in a URI's path.
func (c *Client) NewFactor(ctx context.Context, serial, label string) (n NewFactor, err error) {
	f := message.Factor{Serial: serial, Label: label}
	err = c.ask(ctx, message.OpNewFactor, &message.Params{Message: f.Append(nil)}, func(r *message.Result) error {
		seed, qr, err := message.SplitReveal(r.Secret)
		if err != nil {
			return err
		}
		n.Sealed = append([]byte(nil), r.Sealed...)
		if n.Seed, err = c.keep(seed); err != nil {
			return err
		}
		n.QR, err = c.keep(qr)
		return err
	})
	if err != nil && n.Seed != nil {
		n.Seed.Destroy()
	}
	return n, err
}

// PairFactor shows two consecutive codes of a device, by which its clock is
// found. sealed takes the place of the record. ErrCode if they are not its.
func (c *Client) PairFactor(ctx context.Context, f Factor, second string) (sealed []byte, err error) {
	m := message.Factor{Serial: f.Serial, Sealed: f.Sealed, Codes: []byte(f.Code + second)}
	err = c.ask(ctx, message.OpPairFactor, &message.Params{Message: m.Append(nil)}, func(r *message.Result) error {
		sealed = append([]byte(nil), r.Sealed...)
		return nil
	})
	return sealed, err
}

// IssueSessionWithFactor is IssueSession for a caller who shows a code. The
// authority checks it, uses it up, and sets claims.MFA; nobody else can. The
// caller sees to it that the device is the user's. ErrCode if the code is not good.
func (c *Client) IssueSessionWithFactor(ctx context.Context, claims Claims, f Factor) (akid string, sec *secret.Bytes, token string, err error) {
	encoded, err := claims.Encode()
	if err != nil {
		return "", nil, "", ErrBadRequest
	}
	m := message.Factor{Serial: f.Serial, Sealed: f.Sealed, Codes: []byte(f.Code)}
	err = c.ask(ctx, message.OpIssueSession, &message.Params{Claims: encoded, Message: m.Append(nil)}, func(r *message.Result) error {
		akid, token = string(r.AccessKeyID), string(r.Token)
		var err error
		sec, err = c.keep(r.Secret)
		return err
	})
	if err != nil {
		return "", nil, "", err
	}
	return akid, sec, token, nil
}

// A Password is a user's new password and what it is measured by.
type Password struct {
	User   string // unique id
	Sealed []byte // the record so far; nil for the first password
	Old    []byte // the password so far; nil: need not be known
	New    []byte
	Reuse  int // how many of the last passwords may not come back; at most 24
}

// SetPassword returns the record that holds the new password, as a salted hash
// that only the authority can read, before those that it replaces.
func (c *Client) SetPassword(ctx context.Context, p Password) (sealed []byte, err error) {
	if p.Reuse < 0 {
		return nil, ErrBadRequest
	}
	m := message.Password{User: p.User, Sealed: p.Sealed, Old: p.Old, New: p.New, Reuse: uint64(p.Reuse)}
	// Of its final size: growing would leave passwords behind.
	b := m.Append(make([]byte, 0, 64+len(p.User)+len(p.Sealed)+len(p.Old)+len(p.New)))
	err = c.ask(ctx, message.OpSetPassword, &message.Params{Message: b}, func(r *message.Result) error {
		sealed = append([]byte(nil), r.Sealed...)
		return nil
	})
	return sealed, err
}
