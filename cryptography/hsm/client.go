package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// Errors of a call. Everything that a broken or foreign ciphertext, a wrong
// context or a wrong key can cause is ErrAuthFailed, without a reason.
var (
	ErrBadRequest  = errors.New("hsm: bad request")
	ErrWrongToken  = errors.New("hsm: wrong key token")
	ErrDenied      = errors.New("hsm: denied by a condition sealed into the key")
	ErrAttestation = errors.New("hsm: the recipient's attestation was rejected")
	ErrAuthFailed  = errors.New("hsm: authentication failed")
	ErrStale       = errors.New("hsm: stale domain")
	ErrFenced      = errors.New("hsm: the key is fenced")
	ErrInternal    = errors.New("hsm: internal error")
	ErrBusy        = errors.New("hsm: busy")
	ErrUnavailable = errors.New("hsm: unavailable")
)

// Key specs that GenerateKey makes.
const SymmetricDefault = message.SpecSymmetric

// KeySpec says what key to make. Everything in it is sealed into the key token.
type KeySpec struct {
	Spec   string // by AWS's name; one that the HSM does not make is ErrBadRequest
	Usage  string // one that the spec allows, else ErrBadRequest
	Origin string // AWS_KMS
	KeyARN string // the key's ARN; part of the material id

	// Further material of a key that has a fence: what is sealed into the key, and where its fence is. The HSM knows
	// both, and answers ErrFenced if they are others.
	Conditions *Conditions // nil: none
	Epoch      uint64
	Present    bool // ImportKey alone: at whatever epoch the fence is; Key.Epoch says at which
}

// params are the parameters by which a key is made or imported.
func (s *KeySpec) params() message.Params {
	p := message.Params{Spec: s.Spec, Usage: s.Usage, Origin: s.Origin, Name: s.KeyARN, Epoch: s.Epoch}
	if s.Conditions != nil && !s.Conditions.Empty() {
		p.Conditions = s.Conditions.Append(nil)
	}
	return p
}

// Key is a new key as the world outside the HSM knows it.
type Key struct {
	EKT        []byte   // the key, sealed under the domain key
	MaterialID [32]byte // what a ciphertext blob names
	Public     []byte   // SPKI, nil for a symmetric or HMAC key
	Epoch      uint64   // of the token, if KeySpec.Present asked for it
}

// Status is what the HSM says of itself.
type Status = message.Status

// LogAlg is a signature algorithm of the audit log.
type LogAlg uint64

// The two signatures that every checkpoint of a log carries.
const (
	LogEd25519 LogAlg = message.LogEd25519
	LogMLDSA44 LogAlg = message.LogMLDSA44
)

// A Client asks one HSM. It is safe for concurrent use; calls are pipelined
// over one connection. Where a call returns plaintext, the caller owns it and
// wipes it (secret.Wipe); the client keeps no copy.
type Client struct {
	link caller
}

// NewClient returns a client over an established link.
func NewClient(l *link.Client) *Client { return &Client{link: l} }

// call sends one operation and lets take copy out of the result, whose memory
// is wiped when take returns.
func (c *Client) call(ctx context.Context, op uint64, ekt []byte, p *message.Params, take func(*message.Result)) error {
	p.Proof = proofOf(ctx)
	err := c.link.Call(ctx, op, ekt, p.Append, func(body []byte) error {
		var r message.Result
		if err := r.Parse(body); err != nil {
			return err
		}
		if take != nil {
			take(&r)
		}
		return nil
	})
	return translate(err)
}

func translate(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := errors.AsType[link.Status](err); ok {
		switch s {
		case link.StatusBadRequest:
			return ErrBadRequest
		case link.StatusWrongToken:
			return ErrWrongToken
		case link.StatusDenied:
			return ErrDenied
		case link.StatusAttestation:
			return ErrAttestation
		case link.StatusAuthFailed:
			return ErrAuthFailed
		case link.StatusStale:
			return ErrStale
		case link.StatusFenced:
			return ErrFenced
		case link.StatusBusy:
			return ErrBusy
		case link.StatusMaterial:
			return ErrMaterial
		}
		return ErrInternal
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, link.ErrTooLarge) {
		return ErrBadRequest
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// GenerateKey makes a key inside the HSM.
func (c *Client) GenerateKey(ctx context.Context, spec KeySpec) (Key, error) {
	var k Key
	p := spec.params()
	err := c.call(ctx, message.OpGenerateKey, nil, &p, func(r *message.Result) {
		k.EKT, k.Public = bytes.Clone(r.Token), bytes.Clone(r.Public)
		copy(k.MaterialID[:], r.Material)
	})
	return k, err
}

// Encrypt encrypts at most 4096 bytes under the key, bound to the encryption
// context.
func (c *Client) Encrypt(ctx context.Context, ekt, plaintext []byte, encCtx map[string]string) (blob []byte, err error) {
	aad, err := message.AppendContext(nil, encCtx)
	if err != nil {
		return nil, ErrBadRequest
	}
	p := message.Params{Data: plaintext, Context: aad}
	err = c.call(ctx, message.OpEncrypt, ekt, &p, func(r *message.Result) { blob = bytes.Clone(r.Blob) })
	return blob, err
}

// Decrypt opens a ciphertext blob of the key with exactly the encryption
// context it was made with.
func (c *Client) Decrypt(ctx context.Context, ekt, blob []byte, encCtx map[string]string) (plaintext []byte, err error) {
	aad, err := message.AppendContext(nil, encCtx)
	if err != nil {
		return nil, ErrAuthFailed // no blob can have been made with such a context
	}
	p := message.Params{Blob: blob, Context: aad}
	err = c.call(ctx, message.OpDecrypt, ekt, &p, func(r *message.Result) { plaintext = bytes.Clone(r.Data) })
	return plaintext, err
}

// ReEncrypt decrypts under one key and encrypts under another inside the HSM.
func (c *Client) ReEncrypt(ctx context.Context, fromEKT, blob []byte, fromCtx map[string]string, toEKT []byte, toCtx map[string]string) (newBlob []byte, err error) {
	from, err := message.AppendContext(nil, fromCtx)
	if err != nil {
		return nil, ErrAuthFailed
	}
	to, err := message.AppendContext(nil, toCtx)
	if err != nil {
		return nil, ErrBadRequest
	}
	p := message.Params{Blob: blob, Context: from, ToToken: toEKT, ToContext: to}
	err = c.call(ctx, message.OpReEncrypt, fromEKT, &p, func(r *message.Result) { newBlob = bytes.Clone(r.Blob) })
	return newBlob, err
}

// GenerateDataKey returns n fresh random bytes (1 to 1024) and their ciphertext
// under the key; without withPlaintext the plaintext does not leave the HSM.
func (c *Client) GenerateDataKey(ctx context.Context, ekt []byte, n int, encCtx map[string]string, withPlaintext bool) (plaintext, blob []byte, err error) {
	aad, err := message.AppendContext(nil, encCtx)
	if err != nil || n < 1 {
		return nil, nil, ErrBadRequest
	}
	p := message.Params{Length: uint64(n), Context: aad}
	if !withPlaintext {
		p.Flags = message.FlagNoPlaintext
	}
	err = c.call(ctx, message.OpGenerateDataKey, ekt, &p, func(r *message.Result) {
		plaintext, blob = bytes.Clone(r.Data), bytes.Clone(r.Blob)
	})
	return plaintext, blob, err
}

// Random returns n random bytes, 1 to 1024.
func (c *Client) Random(ctx context.Context, n int) (out []byte, err error) {
	if n < 1 {
		return nil, ErrBadRequest
	}
	p := message.Params{Length: uint64(n)}
	err = c.call(ctx, message.OpRandom, nil, &p, func(r *message.Result) { out = bytes.Clone(r.Data) })
	return out, err
}

// Rewrap seals a key token anew under the active domain key.
func (c *Client) Rewrap(ctx context.Context, ekt []byte) (newEKT []byte, err error) {
	err = c.call(ctx, message.OpRewrapEKT, ekt, &message.Params{}, func(r *message.Result) { newEKT = bytes.Clone(r.Token) })
	return newEKT, err
}

// Status asks the HSM about itself.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	var parse error
	err = c.call(ctx, message.OpStatus, nil, &message.Params{}, func(r *message.Result) { parse = s.Parse(r.Status) })
	return s, errors.Join(err, parse)
}

// GenerateLogKey makes the signing key of an audit log: one token for an
// Ed25519 and an ML-DSA-44 key.
func (c *Client) GenerateLogKey(ctx context.Context, name string) (ekt, ed25519Public, mldsaPublic []byte, err error) {
	err = c.call(ctx, message.OpGenerateLogKey, nil, &message.Params{Name: name}, func(r *message.Result) {
		ekt, ed25519Public, mldsaPublic = bytes.Clone(r.Token), bytes.Clone(r.Public), bytes.Clone(r.Public2)
	})
	return ekt, ed25519Public, mldsaPublic, err
}

// SignLog signs a message of the audit log. The HSM refuses whatever is not a
// batch receipt, a checkpoint or a cosignature text (audit-log sections 6, 8).
func (c *Client) SignLog(ctx context.Context, ekt []byte, alg LogAlg, msg []byte) (sig []byte, err error) {
	p := message.Params{Data: msg, Algorithm: uint64(alg)}
	err = c.call(ctx, message.OpSignLog, ekt, &p, func(r *message.Result) { sig = bytes.Clone(r.Data) })
	return sig, err
}

// GenerateAuditKey makes the key that seals an account's audit events: HPKE
// with MLKEM768-X25519 (audit-log section 4).
func (c *Client) GenerateAuditKey(ctx context.Context, account string) (ekt, public []byte, err error) {
	err = c.call(ctx, message.OpGenerateAuditKey, nil, &message.Params{Name: account}, func(r *message.Result) {
		ekt, public = bytes.Clone(r.Token), bytes.Clone(r.Public)
	})
	return ekt, public, err
}

// OpenAuditKey opens the HPKE ciphertext of one data key of an account's audit
// log.
func (c *Client) OpenAuditKey(ctx context.Context, ekt, enc, ct, info []byte) (dek []byte, err error) {
	p := message.Params{Blob: ct, Enc: enc, Info: info}
	err = c.call(ctx, message.OpOpenAuditKey, ekt, &p, func(r *message.Result) { dek = bytes.Clone(r.Data) })
	return dek, err
}

// MaterialOf reads the id of the key material out of the public header of a
// ciphertext blob.
func MaterialOf(blob []byte) (id [32]byte, err error) {
	id, err = message.MaterialOf(blob)
	if err != nil {
		return id, ErrAuthFailed
	}
	return id, nil
}
