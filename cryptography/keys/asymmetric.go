package keys

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// The uses of keys other than the symmetric cipher. Each checks, in this
// order, what the message must be for the algorithm, then does the work: state,
// usage and algorithm come before both (Key.Fits), and are checked again on
// whatever snapshot is used.

var (
	errSignature = &Error{Kind: InvalidSignature} // without a text (kms-api section 1)
	errMac       = &Error{Kind: InvalidMac}       // the same
)

// usable is with for an operation that has an algorithm.
func (k *Keys) usable(u Use, operation, algorithm string, f func(now *Key) error) error {
	if err := u.Key.Fits(operation, algorithm); err != nil {
		return err
	}
	return k.with(u, operation, f)
}

// PublicKey is the public half of a key (SPKI).
func (k *Keys) PublicKey(u Use) (public []byte, err error) {
	if err := u.Key.hasPublicKey(); err != nil {
		return nil, err
	}
	err = k.hold(u, "GetPublicKey", func(now *Key) error { public = now.Public; return nil })
	if err != nil {
		return nil, err
	}
	return public, nil
}

// Sign signs a message, its digest or its μ.
func (k *Keys) Sign(ctx context.Context, u Use, algorithm, messageType string, msg []byte) (sig []byte, err error) {
	err = k.usable(u, "Sign", algorithm, func(now *Key) error {
		if err := checkMessage(algorithm, messageType, msg); err != nil || u.DryRun {
			return err
		}
		var err error
		sig, err = k.cfg.Boundary.Sign(ctx, now.current().EKT, algorithm, messageType, msg)
		return k.boundaryError("sign", now, err)
	})
	if err != nil {
		return nil, err
	}
	return sig, nil
}

// Verify checks a signature. That it is wrong is an InvalidSignature refusal.
func (k *Keys) Verify(ctx context.Context, u Use, algorithm, messageType string, msg, sig []byte) error {
	return k.usable(u, "Verify", algorithm, func(now *Key) error {
		if err := checkMessage(algorithm, messageType, msg); err != nil {
			return err
		}
		err := k.cfg.Boundary.Verify(ctx, now.current().EKT, algorithm, messageType, msg, sig)
		if errors.Is(err, hsm.ErrAuthFailed) {
			return errSignature
		}
		return k.boundaryError("verify", now, err)
	})
}

// GenerateMac authenticates a message.
func (k *Keys) GenerateMac(ctx context.Context, u Use, algorithm string, msg []byte) (mac []byte, err error) {
	err = k.usable(u, "GenerateMac", algorithm, func(now *Key) error {
		if u.DryRun {
			return nil
		}
		var err error
		mac, err = k.cfg.Boundary.GenerateMac(ctx, now.current().EKT, algorithm, msg)
		return k.boundaryError("generate a MAC", now, err)
	})
	if err != nil {
		return nil, err
	}
	return mac, nil
}

// VerifyMac checks a MAC. That it is wrong is an InvalidMac refusal.
func (k *Keys) VerifyMac(ctx context.Context, u Use, algorithm string, msg, mac []byte) error {
	return k.usable(u, "VerifyMac", algorithm, func(now *Key) error {
		err := k.cfg.Boundary.VerifyMac(ctx, now.current().EKT, algorithm, msg, mac)
		if errors.Is(err, hsm.ErrAuthFailed) {
			return errMac
		}
		return k.boundaryError("verify a MAC", now, err)
	})
}

// DeriveSharedSecret agrees with the peer that has a public key (SPKI). The
// caller owns the secret and wipes it.
func (k *Keys) DeriveSharedSecret(ctx context.Context, u Use, algorithm string, peer []byte) (shared []byte, err error) {
	err = k.usable(u, "DeriveSharedSecret", algorithm, func(now *Key) error {
		var err error
		shared, err = k.boundary(u).DeriveSharedSecret(ctx, now.current().EKT, algorithm, peer)
		if errors.Is(err, hsm.ErrBadRequest) {
			return refuse(Validation, "The public key is not a valid key of the key spec %s.", now.Spec)
		}
		return k.boundaryError("derive a shared secret", now, err)
	})
	if err != nil {
		secret.Wipe(shared) // of a dry run, or of a use that a revocation overtook
		return nil, err
	}
	return shared, nil
}

// A KeyPair is a fresh data key pair.
type KeyPair struct {
	Private    []byte // PKCS#8; nil without plaintext. The caller wipes it
	Public     []byte // SPKI
	Blob       []byte // ciphertext of the private half
	MaterialID string // that it is encrypted under
}

// GenerateDataKeyPair makes a key pair inside the boundary and gives its
// private half encrypted, and also in the clear if withPlaintext; the caller
// wipes that.
func (k *Keys) GenerateDataKeyPair(ctx context.Context, u Use, spec string, encCtx map[string]string, withPlaintext bool) (pair KeyPair, err error) {
	if err := CheckContext(encCtx); err != nil {
		return KeyPair{}, err
	}
	operation := "GenerateDataKeyPairWithoutPlaintext"
	if withPlaintext {
		operation = "GenerateDataKeyPair"
	}
	err = k.usable(u, operation, SpecSymmetric, func(now *Key) error {
		if spec == "SM2" {
			return refuse(Unsupported, "KeyPairSpec %s is not supported.", spec)
		}
		if u.DryRun {
			return nil
		}
		made, err := k.boundary(u).GenerateDataKeyPair(ctx, now.current().EKT, spec, encCtx, withPlaintext)
		pair = KeyPair{made.Private, made.Public, made.Blob, now.MaterialID}
		return k.boundaryError("generate a data key pair", now, err)
	})
	if err != nil {
		secret.Wipe(pair.Private)
		return KeyPair{}, err
	}
	return pair, nil
}

// EncryptWith encrypts under the public half of an RSA key.
func (k *Keys) EncryptWith(ctx context.Context, u Use, algorithm string, plaintext []byte) (ciphertext []byte, err error) {
	err = k.usable(u, "Encrypt", algorithm, func(now *Key) error {
		if len(plaintext) > maxOAEP(now.Spec, algorithm) {
			return tooLong(now.Spec, algorithm)
		}
		if u.DryRun {
			return nil
		}
		var err error
		ciphertext, err = k.cfg.Boundary.EncryptWith(ctx, now.current().EKT, algorithm, plaintext)
		return k.boundaryError("encrypt", now, err)
	})
	if err != nil {
		return nil, err
	}
	return ciphertext, nil
}

// DecryptWith decrypts with the private half of an RSA key. The caller owns
// the plaintext and wipes it. An empty ciphertext with DryRun checks
// everything else.
func (k *Keys) DecryptWith(ctx context.Context, u Use, algorithm string, ciphertext []byte) (plaintext []byte, err error) {
	err = k.usable(u, "Decrypt", algorithm, func(now *Key) error {
		if u.DryRun && len(ciphertext) == 0 {
			return nil
		}
		var err error
		plaintext, err = k.boundary(u).DecryptWith(ctx, now.current().EKT, algorithm, ciphertext)
		return k.ciphertextError("decrypt", now, err)
	})
	if err != nil {
		secret.Wipe(plaintext)
		return nil, err
	}
	return plaintext, nil
}

// A Side is one of the two keys of ReEncryptWith.
type Side struct {
	Use
	Algorithm string            // SYMMETRIC_DEFAULT, or one of RSA
	Context   map[string]string // symmetric only
}

// boundary is the side with the material that it works with.
func (s *Side) boundary(m *material) hsm.Side {
	out := hsm.Side{EKT: m.EKT, Context: s.Context}
	if s.Algorithm != SpecSymmetric {
		out.Alg = s.Algorithm
	}
	return out
}

// ReEncryptWith is ReEncrypt where one side or both are RSA keys. The material
// ids are of the symmetric sides.
func (k *Keys) ReEncryptWith(ctx context.Context, from, to Side, blob []byte) (newBlob []byte, fromMaterial, toMaterial string, err error) {
	for _, s := range []*Side{&from, &to} {
		if err := CheckContext(s.Context); err != nil {
			return nil, "", "", err
		}
		if err := s.Key.Fits("ReEncrypt", s.Algorithm); err != nil {
			return nil, "", "", err
		}
	}
	err = k.with(from.Use, "ReEncrypt", func(src *Key) error {
		return k.hold(to.Use, "ReEncrypt", func(dst *Key) error {
			if from.DryRun && len(blob) == 0 {
				return nil
			}
			var err error
			m, inner := src.current(), blob
			if src.Symmetric() {
				if m, err = k.materialOf(src, blob); err != nil {
					return err
				}
				fromMaterial = hex.EncodeToString(m.ID)
				if inner, err = k.inward(ctx, from.Use, src, "ReEncrypt", blob, from.Context); err != nil {
					return err
				}
			}
			if dst.Symmetric() {
				toMaterial = dst.MaterialID
			}
			newBlob, err = k.cfg.Boundary.ReEncryptWith(ctx, from.boundary(m), inner, to.boundary(dst.current()))
			if err == nil {
				newBlob, err = k.outward(ctx, to.Use, dst, "ReEncrypt", newBlob, to.Context)
			}
			if errors.Is(err, hsm.ErrBadRequest) && !dst.Symmetric() {
				// The algorithms fit the keys, so it is the plaintext that does not fit.
				return tooLong(dst.Spec, to.Algorithm)
			}
			return k.ciphertextError("re-encrypt", src, err)
		})
	})
	if err != nil {
		return nil, "", "", err
	}
	k.note(to.Use, "ReEncrypt")
	return newBlob, fromMaterial, toMaterial, nil
}
