package hsm

import (
	"bytes"
	"context"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// Algorithms and message types go by AWS's names (kms-api section 3). What
// does not fit the key's spec is ErrBadRequest, a key of another usage
// ErrWrongToken.

// A KeyPair is a fresh asymmetric key pair whose private half is encrypted
// under a symmetric key.
type KeyPair struct {
	Private []byte // PKCS#8; nil unless asked for. The caller wipes it
	Public  []byte // SPKI
	Blob    []byte // ciphertext of Private, for Decrypt
}

// A Side is one of the two keys of ReEncryptWith.
type Side struct {
	EKT     []byte
	Alg     string            // empty: symmetric
	Context map[string]string // symmetric only
}

// Sign signs a message of at most 4096 bytes, or its digest, or its μ.
func (c *Client) Sign(ctx context.Context, ekt []byte, alg, messageType string, msg []byte) (sig []byte, err error) {
	p := message.Params{Data: msg, Alg: alg, MessageType: messageType}
	err = c.call(ctx, message.OpSign, ekt, &p, func(r *message.Result) { sig = bytes.Clone(r.Data) })
	return sig, err
}

// Verify checks a signature. A wrong one is ErrAuthFailed.
func (c *Client) Verify(ctx context.Context, ekt []byte, alg, messageType string, msg, sig []byte) error {
	p := message.Params{Data: msg, Alg: alg, MessageType: messageType, Signature: sig}
	return c.call(ctx, message.OpVerify, ekt, &p, nil)
}

// GenerateMac authenticates a message of at most 4096 bytes.
func (c *Client) GenerateMac(ctx context.Context, ekt []byte, alg string, msg []byte) (mac []byte, err error) {
	p := message.Params{Data: msg, Alg: alg}
	err = c.call(ctx, message.OpGenerateMac, ekt, &p, func(r *message.Result) { mac = bytes.Clone(r.Data) })
	return mac, err
}

// VerifyMac checks a MAC. A wrong one is ErrAuthFailed.
func (c *Client) VerifyMac(ctx context.Context, ekt []byte, alg string, msg, mac []byte) error {
	p := message.Params{Data: msg, Alg: alg, Signature: mac}
	return c.call(ctx, message.OpVerifyMac, ekt, &p, nil)
}

// DeriveSharedSecret agrees with the peer whose SPKI is given, which must be a
// point on the key's own curve, else ErrBadRequest. The secret is the raw x
// coordinate; the caller wipes it.
func (c *Client) DeriveSharedSecret(ctx context.Context, ekt []byte, alg string, peer []byte) (secret []byte, err error) {
	p := message.Params{Alg: alg, Public: peer}
	err = c.call(ctx, message.OpDeriveSharedSecret, ekt, &p, func(r *message.Result) { secret = bytes.Clone(r.Data) })
	return secret, err
}

// GenerateDataKeyPair makes a key pair of a spec and encrypts its private half
// under a symmetric key; without withPlaintext that leaves the HSM in no other
// form.
func (c *Client) GenerateDataKeyPair(ctx context.Context, ekt []byte, spec string, encCtx map[string]string, withPlaintext bool) (pair KeyPair, err error) {
	aad, err := message.AppendContext(nil, encCtx)
	if err != nil {
		return KeyPair{}, ErrBadRequest
	}
	p := message.Params{Spec: spec, Context: aad}
	if !withPlaintext {
		p.Flags = message.FlagNoPlaintext
	}
	err = c.call(ctx, message.OpGenerateDataKeyPair, ekt, &p, func(r *message.Result) {
		pair = KeyPair{Private: bytes.Clone(r.Data), Public: bytes.Clone(r.Public), Blob: bytes.Clone(r.Blob)}
	})
	return pair, err
}

// EncryptWith encrypts under a public key.
func (c *Client) EncryptWith(ctx context.Context, ekt []byte, alg string, plaintext []byte) (ciphertext []byte, err error) {
	p := message.Params{Data: plaintext, Alg: alg}
	err = c.call(ctx, message.OpEncrypt, ekt, &p, func(r *message.Result) { ciphertext = bytes.Clone(r.Blob) })
	return ciphertext, err
}

// DecryptWith decrypts with a private key.
func (c *Client) DecryptWith(ctx context.Context, ekt []byte, alg string, ciphertext []byte) (plaintext []byte, err error) {
	p := message.Params{Blob: ciphertext, Alg: alg}
	err = c.call(ctx, message.OpDecrypt, ekt, &p, func(r *message.Result) { plaintext = bytes.Clone(r.Data) })
	return plaintext, err
}

// ReEncryptWith is ReEncrypt where one side or both are asymmetric.
func (c *Client) ReEncryptWith(ctx context.Context, from Side, blob []byte, to Side) (newBlob []byte, err error) {
	fromAAD, err := message.AppendContext(nil, from.Context)
	if err != nil {
		return nil, ErrAuthFailed // no blob can have been made with such a context
	}
	toAAD, err := message.AppendContext(nil, to.Context)
	if err != nil {
		return nil, ErrBadRequest
	}
	p := message.Params{Blob: blob, ToToken: to.EKT, Alg: from.Alg, ToAlg: to.Alg}
	// A context belongs to the symmetric side only; the HSM refuses it elsewhere.
	if from.Alg == "" || len(from.Context) > 0 {
		p.Context = fromAAD
	}
	if to.Alg == "" || len(to.Context) > 0 {
		p.ToContext = toAAD
	}
	err = c.call(ctx, message.OpReEncrypt, from.EKT, &p, func(r *message.Result) { newBlob = bytes.Clone(r.Blob) })
	return newBlob, err
}
