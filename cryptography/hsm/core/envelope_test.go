package core_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

// A recipientVector is an entry of kms-recipient-cms/vectors.json.
type recipientVector struct {
	ID         string `json:"id"`
	Bits       int    `json:"rsaBits"`
	Plaintext  string `json:"plaintextHex"`
	Key        string `json:"privateKeyPkcs8Pem"`
	SPKI       string `json:"spkiSha256"`
	Ciphertext []byte `json:"ciphertextForRecipientB64"`

	key   *rsa.PrivateKey
	spki  []byte
	plain []byte
}

func recipientVectors(t testing.TB) (all []recipientVector) {
	t.Helper()
	files := []string{"../../../testdata/vectors/kms-recipient-cms/vectors.json"}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		if f := filepath.Join(extra, "kms-recipient-cms", "vectors.json"); exists(f) {
			files = append(files, f)
		}
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var vs []recipientVector
		if err := json.Unmarshal(b, &vs); err != nil {
			t.Fatal(err)
		}
		for _, v := range vs {
			block, _ := pem.Decode([]byte(v.Key))
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			v.key = key.(*rsa.PrivateKey)
			if v.spki, err = x509.MarshalPKIXPublicKey(v.key.Public()); err != nil {
				t.Fatal(err)
			}
			if v.plain, err = hex.DecodeString(v.Plaintext); err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
	}
	if len(all) < 10 {
		t.Fatalf("%d vectors", len(all))
	}
	return all
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func TestOurReaderOpensEveryRecordedEnvelope(t *testing.T) {
	for _, v := range recipientVectors(t) {
		got, err := attesttest.OpenEnvelope(v.key, v.Ciphertext)
		if err != nil || !bytes.Equal(got, v.plain) {
			t.Errorf("%s: %x, %v", v.ID, got, err)
		}
	}
}

// Byte for byte the form of the recorded ones: where the message is random, the
// recorded bytes are put in, and then nothing may differ.
func TestOurEnvelopesHaveTheFormOfTheRecordedOnes(t *testing.T) {
	for _, v := range recipientVectors(t) {
		ours, err := core.Envelop(&v.key.PublicKey, v.spki, v.plain)
		if err != nil {
			t.Fatal(err)
		}
		p, err := attesttest.ParseEnvelope(ours)
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		theirs, err := attesttest.ParseEnvelope(v.Ciphertext)
		if err != nil {
			t.Fatal(err)
		}
		if ski := sha256.Sum256(v.spki); !bytes.Equal(p.SKI, ski[:]) || hex.EncodeToString(p.SKI) != v.SPKI {
			t.Errorf("%s: the key is called %x", v.ID, p.SKI)
		}
		got, err := attesttest.OpenEnvelope(v.key, ours)
		if err != nil || !bytes.Equal(got, v.plain) {
			t.Errorf("%s: opens to %x, %v", v.ID, got, err)
		}
		copy(p.Wrapped, theirs.Wrapped) // the parts point into ours
		copy(p.IV, theirs.IV)
		copy(p.Content, theirs.Content)
		if !bytes.Equal(ours, v.Ciphertext) {
			t.Errorf("%s: the form differs:\n%x\n%x", v.ID, ours, v.Ciphertext)
		}
	}
}

func TestEnvelopesOfAllLengthsOpen(t *testing.T) {
	key := recipientVectors(t)[0]
	seen := map[string]bool{}
	for _, n := range []int{0, 1, 15, 16, 17, 32, 111, 112, 127, 128, 239, 240, 255, 256, 1024, 4095, 4096} {
		plain := make([]byte, n)
		rand.Read(plain)
		e, err := core.Envelop(&key.key.PublicKey, key.spki, plain)
		if err != nil {
			t.Fatal(err)
		}
		if n == 32 && len(e) != 493 {
			t.Errorf("a data key of 32 bytes is in an envelope of %d", len(e))
		}
		if got, err := attesttest.OpenEnvelope(key.key, e); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %v", n, err)
		}
		p, _ := attesttest.ParseEnvelope(e)
		if seen[string(p.IV)] || seen[string(p.Wrapped)] {
			t.Error("an IV or a content key twice")
		}
		seen[string(p.IV)], seen[string(p.Wrapped)] = true, true
	}
}

func TestOlderAnswersWithoutParametersAreRead(t *testing.T) {
	v := recipientVectors(t)[0]
	p, err := attesttest.ParseEnvelope(v.Ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := hex.DecodeString("30800609" + "2a864886f70d010703a0803080020102" + "3182013c" + "30820138" + "020102" + "8020" + hex.EncodeToString(p.SKI) +
		"300d06092a864886f70d0101073000" + "04820100" + hex.EncodeToString(p.Wrapped))
	tail := v.Ciphertext[bytes.Index(v.Ciphertext, p.Wrapped)+len(p.Wrapped):]
	if got, err := attesttest.OpenEnvelope(v.key, append(old, tail...)); err != nil || !bytes.Equal(got, v.plain) {
		t.Error(err)
	}
}

func TestOpenSSLOpensOurEnvelopes(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatal("openssl is missing")
		}
		t.Skip("no openssl here")
	}
	dir := t.TempDir()
	for i, v := range recipientVectors(t) {
		e, err := core.Envelop(&v.key.PublicKey, v.spki, v.plain)
		if err != nil {
			t.Fatal(err)
		}
		key, in, out := filepath.Join(dir, "key.pem"), filepath.Join(dir, "in"), filepath.Join(dir, fmt.Sprint("out", i))
		for name, b := range map[string][]byte{key: []byte(v.Key), in: e} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if msg, err := exec.Command(openssl, "cms", "-decrypt", "-inform", "DER", "-inkey", key, "-in", in, "-out", out).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", v.ID, err, msg)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, v.plain) {
			t.Errorf("%s: %x, %v", v.ID, got, err)
		}
	}
}
