package hsm_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/secret"
)

func newKeyOf(t testing.TB, c *hsm.Client, spec, usage string) hsm.Key {
	t.Helper()
	k, err := c.GenerateKey(t.Context(), hsm.KeySpec{Spec: spec, Usage: usage, Origin: "AWS_KMS", KeyARN: keyARN})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAsymmetricKeysWorkOverTheLink(t *testing.T) {
	both(t, func(t *testing.T, c *hsm.Client) {
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		msg := []byte("message")
		signer := newKeyOf(t, c, "ECC_NIST_P256", "SIGN_VERIFY")
		sig, err := c.Sign(ctx, signer.EKT, "ECDSA_SHA_256", "RAW", msg)
		must(err)
		public, err := x509.ParsePKIXPublicKey(signer.Public)
		must(err)
		if digest := sha256.Sum256(msg); !ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), digest[:], sig) {
			t.Error("the signature does not verify")
		}
		must(c.Verify(ctx, signer.EKT, "ECDSA_SHA_256", "RAW", msg, sig))
		mac := newKeyOf(t, c, "HMAC_384", "GENERATE_VERIFY_MAC")
		sum, err := c.GenerateMac(ctx, mac.EKT, "HMAC_SHA_384", msg)
		must(err)
		must(c.VerifyMac(ctx, mac.EKT, "HMAC_SHA_384", msg, sum))
		cipher := newKeyOf(t, c, "RSA_4096", "ENCRYPT_DECRYPT")
		blob, err := c.EncryptWith(ctx, cipher.EKT, "RSAES_OAEP_SHA_256", msg)
		must(err)
		plain, err := c.DecryptWith(ctx, cipher.EKT, "RSAES_OAEP_SHA_256", blob)
		if err != nil || !bytes.Equal(plain, msg) {
			t.Errorf("decrypted %q, %v", plain, err)
		}
		symmetric := newKey(t, c)
		encCtx := map[string]string{"a": "b"}
		moved, err := c.ReEncryptWith(ctx, hsm.Side{EKT: cipher.EKT, Alg: "RSAES_OAEP_SHA_256"}, blob, hsm.Side{EKT: symmetric.EKT, Context: encCtx})
		must(err)
		if plain, err := c.Decrypt(ctx, symmetric.EKT, moved, encCtx); err != nil || !bytes.Equal(plain, msg) {
			t.Errorf("re-encrypted %q, %v", plain, err)
		}
		agrees := newKeyOf(t, c, "ECC_NIST_P384", "KEY_AGREEMENT")
		own, err := ecdh.P384().GenerateKey(rand.Reader)
		must(err)
		spki, err := x509.MarshalPKIXPublicKey(own.PublicKey())
		must(err)
		shared, err := c.DeriveSharedSecret(ctx, agrees.EKT, "ECDH", spki)
		if err != nil || len(shared) != 48 {
			t.Errorf("a secret of %d bytes, %v", len(shared), err)
		}
		pair, err := c.GenerateDataKeyPair(ctx, symmetric.EKT, "RSA_2048", encCtx, true)
		must(err)
		if got, err := c.Decrypt(ctx, symmetric.EKT, pair.Blob, encCtx); err != nil || !bytes.Equal(got, pair.Private) {
			t.Errorf("the blob of the pair holds something else: %v", err)
		}
		if _, err := x509.ParsePKCS8PrivateKey(pair.Private); err != nil {
			t.Error(err)
		}
		without, err := c.GenerateDataKeyPair(ctx, symmetric.EKT, "ECC_NIST_P521", encCtx, false)
		if err != nil || without.Private != nil || len(without.Public) == 0 {
			t.Errorf("a private key of %d bytes, %v", len(without.Private), err)
		}
		for name, c := range map[string]struct{ err, want error }{
			"a wrong signature":        {c.Verify(ctx, signer.EKT, "ECDSA_SHA_256", "RAW", msg, sum), hsm.ErrAuthFailed},
			"a wrong MAC":              {c.VerifyMac(ctx, mac.EKT, "HMAC_SHA_384", msg, sum[1:]), hsm.ErrAuthFailed},
			"another algorithm":        {second(c.Sign(ctx, signer.EKT, "ECDSA_SHA_512", "RAW", msg)), hsm.ErrBadRequest},
			"another usage":            {second(c.Sign(ctx, cipher.EKT, "RSASSA_PSS_SHA_256", "RAW", msg)), hsm.ErrWrongToken},
			"a context that is wrong":  {second(c.ReEncryptWith(ctx, hsm.Side{EKT: symmetric.EKT}, moved, hsm.Side{EKT: symmetric.EKT})), hsm.ErrAuthFailed},
			"a context for OAEP":       {second(c.ReEncryptWith(ctx, hsm.Side{EKT: symmetric.EKT, Context: encCtx}, moved, hsm.Side{EKT: cipher.EKT, Alg: "RSAES_OAEP_SHA_1", Context: encCtx})), hsm.ErrBadRequest},
			"a ciphertext of nobody's": {second(c.DecryptWith(ctx, cipher.EKT, "RSAES_OAEP_SHA_1", blob)), hsm.ErrAuthFailed},
			"a peer that is none":      {second(c.DeriveSharedSecret(ctx, agrees.EKT, "ECDH", signer.Public)), hsm.ErrBadRequest},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v, want %v", name, c.err, c.want)
			}
		}
	})
}

// What asymmetric operations open or agree on is their caller's, and stays
// nowhere in the HSM. (The bare numbers of private keys are another matter: the
// libraries leave them in structures of their own, until that memory is used
// again.)
func TestWhatAnAsymmetricOperationGivesOutStaysNowhere(t *testing.T) {
	p := hsmtest.Start(t, hsm.Config{StateDir: t.TempDir()})
	c, ctx := p.Client(), t.Context()
	needles := map[string][]byte{}
	mask := func(name string, b []byte) {
		t.Helper()
		if len(b) < 16 {
			t.Fatalf("%s: %d bytes", name, len(b))
		}
		for i := range b {
			b[i] ^= hsmtest.Mask
		}
		needles[name] = b
	}
	cipher, agrees, symmetric := newKeyOf(t, c, "RSA_2048", "ENCRYPT_DECRYPT"), newKeyOf(t, c, "ECC_NIST_P384", "KEY_AGREEMENT"), newKey(t, c)
	mac := newKeyOf(t, c, "HMAC_512", "GENERATE_VERIFY_MAC")
	plain := make([]byte, 32)
	rand.Read(plain)
	blob, err := c.EncryptWith(ctx, cipher.EKT, "RSAES_OAEP_SHA_256", plain)
	if err != nil {
		t.Fatal(err)
	}
	mask("the plaintext", plain)
	own, err := ecdh.P384().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(own.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		opened, err := c.DecryptWith(ctx, cipher.EKT, "RSAES_OAEP_SHA_256", blob)
		if err != nil {
			t.Fatal(err)
		}
		secret.Wipe(opened)
		shared, err := c.DeriveSharedSecret(ctx, agrees.EKT, "ECDH", spki)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := c.GenerateDataKeyPair(ctx, symmetric.EKT, "ECC_NIST_P256", nil, true)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := c.GenerateMac(ctx, mac.EKT, "HMAC_SHA_512", []byte("message"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.VerifyMac(ctx, mac.EKT, "HMAC_SHA_512", []byte("another"), sum); !errors.Is(err, hsm.ErrAuthFailed) {
			t.Fatal(err)
		}
		if i > 0 {
			secret.Wipe(shared)
			secret.Wipe(pair.Private)
			continue
		}
		mask("the shared secret", shared)
		mask("the private key of a pair", bytes.Clone(pair.Private[32:68])) // the scalar and what is before it
		secret.Wipe(pair.Private)
	}
	for name, needle := range needles {
		if hsmtest.Holds(t, p.PID(), needle) {
			t.Errorf("%s stayed in the HSM", name)
		}
	}
}
