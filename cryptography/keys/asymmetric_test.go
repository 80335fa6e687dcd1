package keys_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/keys"
)

// An overtaken boundary does the work, and something happens before its answer
// is there.
type overtaken struct {
	*chip
	then func()
}

func (o *overtaken) Sign(ctx context.Context, ekt []byte, alg, messageType string, msg []byte) ([]byte, error) {
	defer o.then()
	return o.chip.Sign(ctx, ekt, alg, messageType, msg)
}

func (o *overtaken) Verify(ctx context.Context, ekt []byte, alg, messageType string, msg, sig []byte) error {
	defer o.then()
	return o.chip.Verify(ctx, ekt, alg, messageType, msg, sig)
}

func (o *overtaken) GenerateMac(ctx context.Context, ekt []byte, alg string, msg []byte) ([]byte, error) {
	defer o.then()
	return o.chip.GenerateMac(ctx, ekt, alg, msg)
}

func (o *overtaken) VerifyMac(ctx context.Context, ekt []byte, alg string, msg, mac []byte) error {
	defer o.then()
	return o.chip.VerifyMac(ctx, ekt, alg, msg, mac)
}

func (o *overtaken) DeriveSharedSecret(ctx context.Context, ekt []byte, alg string, peer []byte) ([]byte, error) {
	defer o.then()
	return o.chip.DeriveSharedSecret(ctx, ekt, alg, peer)
}

func (o *overtaken) GenerateDataKeyPair(ctx context.Context, ekt []byte, spec string, encCtx map[string]string, withPlaintext bool) (hsm.KeyPair, error) {
	defer o.then()
	return o.chip.GenerateDataKeyPair(ctx, ekt, spec, encCtx, withPlaintext)
}

func (o *overtaken) EncryptWith(ctx context.Context, ekt []byte, alg string, plaintext []byte) ([]byte, error) {
	defer o.then()
	return o.chip.EncryptWith(ctx, ekt, alg, plaintext)
}

func (o *overtaken) DecryptWith(ctx context.Context, ekt []byte, alg string, ciphertext []byte) ([]byte, error) {
	defer o.then()
	return o.chip.DecryptWith(ctx, ekt, alg, ciphertext)
}

func (o *overtaken) ReEncryptWith(ctx context.Context, from hsm.Side, blob []byte, to hsm.Side) ([]byte, error) {
	defer o.then()
	return o.chip.ReEncryptWith(ctx, from, blob, to)
}

func (w *world) createOf(spec, usage string) *keys.Key {
	w.Helper()
	k, err := w.Create(w.Context(), keys.NewKey{Account: acct, Spec: spec, Usage: usage})
	if err != nil {
		w.Fatal(err)
	}
	return k
}

// What is under way while the key is disabled must not come out, whichever
// operation it is.
func TestNoAsymmetricUseOutlivesTheRightToIt(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	o := &overtaken{chip: w.hsm, then: func() {}}
	k, err := keys.Open(ctx, w.store, keys.Config{Boundary: o, Clock: w.clock, Region: "us-east-1", Principals: w.principal})
	w.must(err)
	w.Keys = k
	signer, mac, rsa := w.createOf("ECC_NIST_P256", "SIGN_VERIFY"), w.createOf("HMAC_256", "GENERATE_VERIFY_MAC"), w.createOf("RSA_2048", "ENCRYPT_DECRYPT")
	agrees, symmetric := w.createOf("ECC_NIST_P256", "KEY_AGREEMENT"), w.create(acct)
	msg := []byte("message")
	sig, err := w.Sign(ctx, use(signer), "ECDSA_SHA_256", "RAW", msg)
	w.must(err)
	sum, err := w.GenerateMac(ctx, use(mac), "HMAC_SHA_256", msg)
	w.must(err)
	blob, err := w.EncryptWith(ctx, use(rsa), "RSAES_OAEP_SHA_1", msg)
	w.must(err)
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	w.must(err)
	peer, err := x509.MarshalPKIXPublicKey(own.PublicKey())
	w.must(err)
	from := func() keys.Side { return keys.Side{Use: use(w.now(rsa)), Algorithm: "RSAES_OAEP_SHA_1"} }
	to := func() keys.Side { return keys.Side{Use: use(w.now(symmetric)), Algorithm: "SYMMETRIC_DEFAULT"} }
	for name, c := range map[string]struct {
		key *keys.Key
		do  func() (out []byte, err error)
	}{
		"Sign": {signer, func() ([]byte, error) { return w.Sign(ctx, use(w.now(signer)), "ECDSA_SHA_256", "RAW", msg) }},
		"Verify": {signer, func() ([]byte, error) {
			return nil, w.Verify(ctx, use(w.now(signer)), "ECDSA_SHA_256", "RAW", msg, sig)
		}},
		"GenerateMac":        {mac, func() ([]byte, error) { return w.GenerateMac(ctx, use(w.now(mac)), "HMAC_SHA_256", msg) }},
		"VerifyMac":          {mac, func() ([]byte, error) { return nil, w.VerifyMac(ctx, use(w.now(mac)), "HMAC_SHA_256", msg, sum) }},
		"DeriveSharedSecret": {agrees, func() ([]byte, error) { return w.DeriveSharedSecret(ctx, use(w.now(agrees)), "ECDH", peer) }},
		"GenerateDataKeyPair": {symmetric, func() ([]byte, error) {
			p, err := w.GenerateDataKeyPair(ctx, use(w.now(symmetric)), "ECC_NIST_P256", nil, true)
			return p.Private, err
		}},
		"EncryptWith": {rsa, func() ([]byte, error) { return w.EncryptWith(ctx, use(w.now(rsa)), "RSAES_OAEP_SHA_1", msg) }},
		"DecryptWith": {rsa, func() ([]byte, error) { return w.DecryptWith(ctx, use(w.now(rsa)), "RSAES_OAEP_SHA_1", blob) }},
		"ReEncryptWith, the source": {rsa, func() ([]byte, error) {
			out, _, _, err := w.ReEncryptWith(ctx, from(), to(), blob)
			return out, err
		}},
		"ReEncryptWith, the destination": {symmetric, func() ([]byte, error) {
			out, _, _, err := w.ReEncryptWith(ctx, from(), to(), blob)
			return out, err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w.TB = t
			if _, err := c.do(); err != nil {
				t.Fatalf("undisturbed: %v", err)
			}
			o.then = func() { w.must(w.Disable(context.Background(), w.now(c.key))) }
			out, err := c.do()
			o.then = func() {}
			w.refused(err, keys.Disabled, c.key.ARN+" is disabled.")
			if out != nil {
				t.Errorf("%d bytes came out", len(out))
			}
			w.must(w.Enable(context.Background(), w.now(c.key)))
		})
	}
}

func TestAsymmetricKeysSurviveARestart(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	for _, spec := range []string{"ECC_NIST_EDWARDS25519", "ML_DSA_87", "RSA_4096"} {
		alg := map[string]string{"ECC_NIST_EDWARDS25519": "ED25519_SHA_512", "ML_DSA_87": "ML_DSA_SHAKE_256", "RSA_4096": "RSASSA_PSS_SHA_512"}[spec]
		k := w.createOf(spec, "SIGN_VERIFY")
		public, err := w.PublicKey(use(k))
		w.must(err)
		sig, err := w.Sign(ctx, use(k), alg, "RAW", []byte("message"))
		w.must(err)
		w.reopen()
		now := w.now(k)
		after, err := w.PublicKey(use(now))
		if err != nil || len(after) == 0 || !bytes.Equal(after, public) {
			t.Errorf("%s: another public key, %v", spec, err)
		}
		w.must(w.Verify(ctx, use(now), alg, "RAW", []byte("message"), sig))
	}
}

// When too many RSA keys are wanted at once the caller is told to come back,
// in the way that SDKs understand.
func TestABusyBoundaryThrottles(t *testing.T) {
	w := newWorld(t)
	w.hsm.set(fmt.Errorf("%w: the queue is full", hsm.ErrBusy))
	_, err := w.Create(w.Context(), keys.NewKey{Account: acct, Spec: "RSA_4096", Usage: "SIGN_VERIFY"})
	w.refused(err, keys.Throttling, "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.")
	w.hsm.set(nil)
	if ids, _, err := w.List(w.Context(), acct, "", 10); err != nil || len(ids) != 0 {
		t.Errorf("a key is there: %v %v", ids, err)
	}
}
