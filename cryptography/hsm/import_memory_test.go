package hsm_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// Material that an owner imports lies in the HSM only for the length of the
// call, by whatever way it was wrapped.
func TestImportedMaterialStaysInNoReadableMemory(t *testing.T) {
	p := hsmtest.Start(t, hsm.Config{StateDir: t.TempDir()})
	c := p.Client()
	material := make([]byte, 32)
	rand.Read(material)
	needle := bytes.Clone(material)
	for i := range needle {
		needle[i] ^= hsmtest.Mask
	}
	spec := hsm.KeySpec{Spec: hsm.SymmetricDefault, Usage: "ENCRYPT_DECRYPT", Origin: "EXTERNAL", KeyARN: "arn:aws:kms:us-east-1:111122223333:key/x"}
	var id [32]byte
	for _, alg := range []string{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"} {
		public, token, err := c.ImportBegin(t.Context(), 2048, alg, spec)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			wrapped, err := hsmtest.Wrap(public, alg, material)
			if err != nil {
				t.Fatal(err)
			}
			k, err := c.ImportKey(t.Context(), token, wrapped, spec, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if id != [32]byte{} && k.MaterialID != id {
				t.Errorf("%s: the same material has another id", alg)
			}
			id = k.MaterialID
		}
	}
	if !hsmtest.Holds(t, os.Getpid(), needle) {
		t.Error("the search does not find what is there")
	}
	if hsmtest.Holds(t, p.PID(), needle) {
		t.Error("imported material stayed in the HSM")
	}
	secret.Wipe(material)
}
