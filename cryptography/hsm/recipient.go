package hsm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// A Recipient is an attested enclave that the secret part of a result is for
// (kms-recipient-attestation). The HSM verifies its document and encrypts to
// the key in it; nothing secret comes back in the clear.
type Recipient struct {
	Document []byte // attestation document
	// Body is the request's body, as the client sent it, if the answer is to be
	// signed: the HSM checks that it executes this and nothing else, and refuses
	// with ErrAttestation what differs. Nil: no signature.
	Body []byte
}

// Sealed is a secret that only its recipient opens.
type Sealed struct {
	Envelope []byte // CiphertextForRecipient
	Proof    []byte // the HSM's signature over the answer, see VerifyAnswer; nil unless asked for
}

// A Root is a certificate that attestation documents may end in.
type Root = message.Root

func (r Recipient) set(p *message.Params) { p.Recipient, p.Answer = r.Document, r.Body }

// sealed copies the envelope, and fails when there is none: an HSM that gave
// something else instead has not done what it was asked for.
func sealed(r *message.Result, s *Sealed) error {
	if len(r.Envelope) == 0 || len(r.Data) > 0 {
		return ErrInternal
	}
	s.Envelope, s.Proof = bytes.Clone(r.Envelope), bytes.Clone(r.Proof)
	return nil
}

// callFor is call for an operation whose secret is for a recipient.
func (c *Client) callFor(ctx context.Context, op uint64, ekt []byte, p *message.Params, to Recipient, take func(*message.Result)) (s Sealed, err error) {
	if len(to.Document) == 0 {
		return Sealed{}, ErrAttestation // without one the secret would come back in the clear
	}
	to.set(p)
	var bad error
	err = c.call(ctx, op, ekt, p, func(r *message.Result) {
		if bad = sealed(r, &s); bad == nil && take != nil {
			take(r)
		}
	})
	return s, errors.Join(err, bad)
}

// DecryptFor is Decrypt, or DecryptWith if alg is not empty, for a recipient.
func (c *Client) DecryptFor(ctx context.Context, ekt, blob []byte, alg string, encCtx map[string]string, to Recipient) (Sealed, error) {
	p := message.Params{Blob: blob, Alg: alg}
	if alg == "" || len(encCtx) > 0 {
		aad, err := message.AppendContext(nil, encCtx)
		if err != nil {
			return Sealed{}, ErrAuthFailed // no blob can have been made with such a context
		}
		p.Context = aad
	}
	return c.callFor(ctx, message.OpDecrypt, ekt, &p, to, nil)
}

// GenerateDataKeyFor is GenerateDataKey with the plaintext for a recipient.
func (c *Client) GenerateDataKeyFor(ctx context.Context, ekt []byte, n int, encCtx map[string]string, to Recipient) (s Sealed, blob []byte, err error) {
	aad, err := message.AppendContext(nil, encCtx)
	if err != nil || n < 1 {
		return Sealed{}, nil, ErrBadRequest
	}
	p := message.Params{Length: uint64(n), Context: aad}
	s, err = c.callFor(ctx, message.OpGenerateDataKey, ekt, &p, to, func(r *message.Result) { blob = bytes.Clone(r.Blob) })
	return s, blob, err
}

// GenerateDataKeyPairFor is GenerateDataKeyPair with the private key for a
// recipient; pair.Private stays nil.
func (c *Client) GenerateDataKeyPairFor(ctx context.Context, ekt []byte, spec string, encCtx map[string]string, to Recipient) (s Sealed, pair KeyPair, err error) {
	aad, err := message.AppendContext(nil, encCtx)
	if err != nil {
		return Sealed{}, KeyPair{}, ErrBadRequest
	}
	p := message.Params{Spec: spec, Context: aad}
	s, err = c.callFor(ctx, message.OpGenerateDataKeyPair, ekt, &p, to, func(r *message.Result) {
		pair = KeyPair{Public: bytes.Clone(r.Public), Blob: bytes.Clone(r.Blob)}
	})
	return s, pair, err
}

// DeriveSharedSecretFor is DeriveSharedSecret for a recipient.
func (c *Client) DeriveSharedSecretFor(ctx context.Context, ekt []byte, alg string, peer []byte, to Recipient) (Sealed, error) {
	return c.callFor(ctx, message.OpDeriveSharedSecret, ekt, &message.Params{Alg: alg, Public: peer}, to, nil)
}

// RandomFor is Random for a recipient.
func (c *Client) RandomFor(ctx context.Context, n int, to Recipient) (Sealed, error) {
	if n < 1 {
		return Sealed{}, ErrBadRequest
	}
	return c.callFor(ctx, message.OpRandom, nil, &message.Params{Length: uint64(n)}, to, nil)
}

// AttestationRoots are the roots that the HSM accepts documents under. A host
// that verifies a document with them sees what the HSM will see; the HSM does
// not rely on it.
func (c *Client) AttestationRoots(ctx context.Context) (roots []Root, err error) {
	var parse error
	err = c.call(ctx, message.OpAttestationRoots, nil, &message.Params{}, func(r *message.Result) {
		roots, parse = message.ParseRoots(bytes.Clone(r.Record))
	})
	return roots, errors.Join(err, parse)
}

// TrustRoots makes the HSM accept documents under further roots, in the place
// of those that it was told of before, for as long as it runs and its domain has
// no operators. Only the supervisor can, before Ready.
func (c *Client) TrustRoots(ctx context.Context, roots []Root) error {
	if len(roots) > message.MaxRoots {
		return fmt.Errorf("%w: %d attestation roots", ErrBadRequest, len(roots))
	}
	return c.call(ctx, message.OpTrustRoots, nil, &message.Params{Data: message.AppendRoots(nil, roots)}, nil)
}

// An Answer is what a signed answer says.
type Answer = message.Answer

// ErrAnswer is returned for a proof that is not the HSM's, or not of this
// answer.
var ErrAnswer = errors.New("hsm: the answer's proof does not hold")

// VerifyAnswer checks a proof with the SPKI of the HSM that made it, against
// what the recipient sent and received: the request's body, its own document,
// and CiphertextForRecipient. The caller compares operation, key, time, domain
// and serial with what it expects.
func VerifyAnswer(proof, spki, body, document, envelope []byte) (*Answer, error) {
	header, payload, sig, err := message.SplitSigned(proof)
	if err != nil || len(sig) != 96 {
		return nil, fmt.Errorf("%w: its form", ErrAnswer)
	}
	key, err := link.ParsePublic(spki)
	if err != nil {
		return nil, fmt.Errorf("%w: the HSM's key: %w", ErrAnswer, err)
	}
	member := sha256.Sum256(spki)
	if !bytes.Equal(header, message.AnswerHeader(member[:16])) {
		return nil, fmt.Errorf("%w: its header", ErrAnswer)
	}
	digest := sha512.Sum384(message.AnswerInput(header, payload))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(sig[:48]), new(big.Int).SetBytes(sig[48:])) {
		return nil, fmt.Errorf("%w: its signature", ErrAnswer)
	}
	a := &Answer{}
	if err := a.Parse(payload); err != nil {
		return nil, fmt.Errorf("%w: its payload", ErrAnswer)
	}
	if a.Body != sha256.Sum256(body) || a.Document != sha512.Sum384(document) || a.Envelope != sha256.Sum256(envelope) {
		return nil, fmt.Errorf("%w: it is of another answer", ErrAnswer)
	}
	return a, nil
}
