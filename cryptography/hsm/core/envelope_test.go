package core_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
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

// walk reads a message as the C SDK for enclaves does (section 5 of
// kms-recipient-attestation): forward only; of an element with an indefinite
// length it takes the header, of one with a definite length the whole. parts
// are where what differs between messages lies.
type walk struct {
	all []byte
	at  int
	err error
}

type parts struct{ ski, wrapped, iv, content []byte }

func (w *walk) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at byte %d: %s", w.at, fmt.Sprintf(format, args...))
	}
}

// head takes tag and length; n is -1 for an indefinite one.
func (w *walk) head(tag byte) (n int) {
	if w.err != nil || len(w.all)-w.at < 2 {
		w.fail("the end")
		return 0
	}
	if w.all[w.at] != tag {
		w.fail("tag %02x, not %02x", w.all[w.at], tag)
		return 0
	}
	l := w.all[w.at+1]
	w.at += 2
	switch {
	case l == 0x80:
		return -1
	case l < 0x80:
		n = int(l)
	case l == 0x81 && w.at < len(w.all) && w.all[w.at] >= 0x80:
		n = int(w.all[w.at])
		w.at++
	case l == 0x82 && w.at+1 < len(w.all) && w.all[w.at] > 0:
		n = int(w.all[w.at])<<8 | int(w.all[w.at+1])
		w.at += 2
	default:
		w.fail("length %02x", l)
		return 0
	}
	if n > len(w.all)-w.at {
		w.fail("an element of %d bytes", n)
		return 0
	}
	return n
}

func (w *walk) open(tag byte) {
	if w.head(tag) != -1 {
		w.fail("tag %02x has a definite length", tag)
	}
}

func (w *walk) whole(tag byte) []byte {
	n := w.head(tag)
	if n < 0 {
		w.fail("tag %02x has an indefinite length", tag)
		return nil
	}
	w.at += n
	return w.all[w.at-n : w.at]
}

func (w *walk) exactly(h string) {
	want, _ := hex.DecodeString(h)
	if w.err != nil || !bytes.HasPrefix(w.all[w.at:], want) {
		w.fail("not %s", h)
		return
	}
	w.at += len(want)
}

func parseEnvelope(b []byte) (p parts, err error) {
	w := &walk{all: b}
	w.open(0x30)
	w.exactly("06092a864886f70d010703")
	w.open(0xa0)
	w.open(0x30)
	w.exactly("020102")
	set := w.whole(0x31)
	in := &walk{all: set}
	one := &walk{all: in.whole(0x30)}
	if in.at != len(set) {
		w.fail("a second recipient")
	}
	one.exactly("020102")
	p.ski = one.whole(0x80)
	// Both forms of the parameters are read: the one we write, and that of older answers.
	if bytes.HasPrefix(one.all[one.at:], []byte{0x30, 0x0d}) {
		one.exactly("300d06092a864886f70d0101073000")
	} else {
		one.exactly("303c06092a864886f70d010107302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500")
	}
	p.wrapped = one.whole(0x04)
	if one.at != len(one.all) {
		one.fail("trailing bytes in the recipient")
	}
	w.open(0x30)
	w.exactly("06092a864886f70d010701" + "301d" + "060960864801650304012a")
	p.iv = w.whole(0x04)
	w.open(0xa0)
	for w.err == nil && w.at < len(b) && b[w.at] == 0x04 {
		piece := w.whole(0x04)
		if p.content == nil {
			p.content = piece
		} else {
			p.content = append(bytes.Clone(p.content), piece...)
		}
	}
	w.exactly("00000000000000000000")
	if w.at != len(b) {
		w.fail("trailing bytes")
	}
	return p, errors.Join(w.err, in.err, one.err)
}

func openEnvelope(key *rsa.PrivateKey, b []byte) ([]byte, error) {
	p, err := parseEnvelope(b)
	if err != nil {
		return nil, err
	}
	cek, err := rsa.DecryptOAEP(sha256.New(), nil, key, p.wrapped, nil)
	if err != nil || len(cek) != 32 || len(p.iv) != 16 || len(p.content) == 0 || len(p.content)%16 != 0 {
		return nil, fmt.Errorf("content key of %d bytes, IV of %d, content of %d: %w", len(cek), len(p.iv), len(p.content), err)
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(p.content))
	cipher.NewCBCDecrypter(block, p.iv).CryptBlocks(out, p.content)
	n := int(out[len(out)-1])
	if n < 1 || n > 16 || !bytes.Equal(out[len(out)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errors.New("padding")
	}
	return out[:len(out)-n], nil
}

func TestOurReaderOpensEveryRecordedEnvelope(t *testing.T) {
	for _, v := range recipientVectors(t) {
		got, err := openEnvelope(v.key, v.Ciphertext)
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
		p, err := parseEnvelope(ours)
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		theirs, err := parseEnvelope(v.Ciphertext)
		if err != nil {
			t.Fatal(err)
		}
		if ski := sha256.Sum256(v.spki); !bytes.Equal(p.ski, ski[:]) || hex.EncodeToString(p.ski) != v.SPKI {
			t.Errorf("%s: the key is called %x", v.ID, p.ski)
		}
		got, err := openEnvelope(v.key, ours)
		if err != nil || !bytes.Equal(got, v.plain) {
			t.Errorf("%s: opens to %x, %v", v.ID, got, err)
		}
		copy(p.wrapped, theirs.wrapped) // the parts point into ours
		copy(p.iv, theirs.iv)
		copy(p.content, theirs.content)
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
		if got, err := openEnvelope(key.key, e); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %v", n, err)
		}
		p, _ := parseEnvelope(e)
		if seen[string(p.iv)] || seen[string(p.wrapped)] {
			t.Error("an IV or a content key twice")
		}
		seen[string(p.iv)], seen[string(p.wrapped)] = true, true
	}
}

func TestOlderAnswersWithoutParametersAreRead(t *testing.T) {
	v := recipientVectors(t)[0]
	p, err := parseEnvelope(v.Ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := hex.DecodeString("30800609" + "2a864886f70d010703a0803080020102" + "3182013c" + "30820138" + "020102" + "8020" + hex.EncodeToString(p.ski) +
		"300d06092a864886f70d0101073000" + "04820100" + hex.EncodeToString(p.wrapped))
	tail := v.Ciphertext[bytes.Index(v.Ciphertext, p.wrapped)+len(p.wrapped):]
	if got, err := openEnvelope(v.key, append(old, tail...)); err != nil || !bytes.Equal(got, v.plain) {
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
