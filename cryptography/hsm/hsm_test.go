package hsm_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// TestMain makes the test binary its own child, as the real binary is.
func TestMain(m *testing.M) {
	hsmtest.Child(map[string]boundary.Role{"hsm": hsmtest.Role})
	if len(os.Args) > 3 && os.Args[1] == "unmask" {
		if err := unmask(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// isolated starts a real child.
func isolated(t testing.TB, dir string) *hsm.Client {
	t.Helper()
	return hsmtest.Start(t, hsm.Config{StateDir: dir}).Client()
}

// both runs one test against the two forms.
func both(t *testing.T, test func(t *testing.T, c *hsm.Client)) {
	t.Run("in process", func(t *testing.T) { test(t, hsmtest.Open(t, t.TempDir())) })
	t.Run("isolated", func(t *testing.T) { test(t, isolated(t, t.TempDir())) })
}

const keyARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

func newKey(t testing.TB, c *hsm.Client) hsm.Key {
	t.Helper()
	k, err := c.GenerateKey(t.Context(), hsm.KeySpec{
		Spec: hsm.SymmetricDefault, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", KeyARN: keyARN,
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWhatWasEncryptedIsDecrypted(t *testing.T) {
	both(t, func(t *testing.T, c *hsm.Client) {
		k := newKey(t, c)
		for _, n := range []int{1, 32, 4096} {
			plain := make([]byte, n)
			rand.Read(plain)
			blob, err := c.Encrypt(t.Context(), k.EKT, plain, map[string]string{"a": "b", "c": ""})
			if err != nil {
				t.Fatal(err)
			}
			if len(blob) != n+86 {
				t.Errorf("%d bytes became a blob of %d", n, len(blob))
			}
			if id, err := hsm.MaterialOf(blob); err != nil || id != k.MaterialID {
				t.Errorf("the blob names material %x (%v), want %x", id, err, k.MaterialID)
			}
			got, err := c.Decrypt(t.Context(), k.EKT, blob, map[string]string{"c": "", "a": "b"})
			if err != nil || string(got) != string(plain) {
				t.Fatalf("%d bytes: decrypt: %v", n, err)
			}
		}
	})
}

func TestADataKeyComesWithItsCiphertext(t *testing.T) {
	both(t, func(t *testing.T, c *hsm.Client) {
		k := newKey(t, c)
		for _, n := range []int{1, 16, 32, 1024} {
			plain, blob, err := c.GenerateDataKey(t.Context(), k.EKT, n, map[string]string{"a": "b"}, true)
			if err != nil || len(plain) != n {
				t.Fatalf("%d bytes: %d, %v", n, len(plain), err)
			}
			again, err := c.Decrypt(t.Context(), k.EKT, blob, map[string]string{"a": "b"})
			if err != nil || string(again) != string(plain) {
				t.Errorf("%d bytes: the blob holds another key (%v)", n, err)
			}
		}
		plain, blob, err := c.GenerateDataKey(t.Context(), k.EKT, 32, nil, false)
		if err != nil || plain != nil || len(blob) != 118 {
			t.Errorf("without plaintext: %d and %d bytes, %v", len(plain), len(blob), err)
		}
		if r, err := c.Random(t.Context(), 1024); err != nil || len(r) != 1024 {
			t.Errorf("random: %d bytes, %v", len(r), err)
		}
	})
}

func TestReEncryptMovesACiphertextToAnotherKeyAndContext(t *testing.T) {
	both(t, func(t *testing.T, c *hsm.Client) {
		from, to := newKey(t, c), newKey(t, c)
		blob, err := c.Encrypt(t.Context(), from.EKT, []byte("plain"), map[string]string{"at": "first"})
		if err != nil {
			t.Fatal(err)
		}
		moved, err := c.ReEncrypt(t.Context(), from.EKT, blob, map[string]string{"at": "first"}, to.EKT, map[string]string{"at": "second"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decrypt(t.Context(), to.EKT, moved, map[string]string{"at": "second"}); err != nil || string(got) != "plain" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := c.ReEncrypt(t.Context(), from.EKT, blob, nil, to.EKT, nil); !errors.Is(err, hsm.ErrAuthFailed) {
			t.Errorf("with a wrong context: %v", err)
		}
	})
}

func TestErrorsSayWhatKindOfRefusalItWas(t *testing.T) {
	both(t, func(t *testing.T, c *hsm.Client) {
		k := newKey(t, c)
		blob, err := c.Encrypt(t.Context(), k.EKT, []byte("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		large := map[string]string{"a": strings.Repeat("x", 8192)}
		for name, c := range map[string]struct{ err, want error }{
			"a wrong context":         {second(c.Decrypt(ctx, k.EKT, blob, map[string]string{"a": "b"})), hsm.ErrAuthFailed},
			"a context that is large": {second(c.Decrypt(ctx, k.EKT, blob, large)), hsm.ErrAuthFailed},
			"the same for Encrypt":    {second(c.Encrypt(ctx, k.EKT, []byte("x"), large)), hsm.ErrBadRequest},
			"no blob":                 {second(c.Decrypt(ctx, k.EKT, []byte("no blob"), nil)), hsm.ErrAuthFailed},
			"no token":                {second(c.Decrypt(ctx, []byte("no token"), blob, nil)), hsm.ErrWrongToken},
			"too much plaintext":      {second(c.Encrypt(ctx, k.EKT, make([]byte, 4097), nil)), hsm.ErrBadRequest},
			"far too much":            {second(c.Encrypt(ctx, k.EKT, make([]byte, 70000), nil)), hsm.ErrBadRequest},
			"no random bytes":         {second(c.Random(ctx, 0)), hsm.ErrBadRequest},
			"an unknown spec":         {second(c.GenerateKey(ctx, hsm.KeySpec{Spec: "SM2", Usage: "SIGN_VERIFY", Origin: "AWS_KMS"})), hsm.ErrBadRequest},
			"a cancelled call":        {second(c.Random(cancelled, 1)), context.Canceled},
			"nothing wrong":           {second(c.Random(ctx, 1)), nil},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v, want %v", name, c.err, c.want)
			}
		}
		if _, err := hsm.MaterialOf([]byte("no blob")); !errors.Is(err, hsm.ErrAuthFailed) {
			t.Errorf("MaterialOf nonsense: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// Whatever context a ciphertext was made with, any other does not open it.
func TestAWrongContextNeverDecrypts(t *testing.T) {
	c := isolated(t, t.TempDir())
	k := newKey(t, c)
	random := mathrand.New(mathrand.NewPCG(1, 2))
	word := func() string { return strings.Repeat("ab"[random.IntN(2):][:1], random.IntN(3)) }
	contexts := func() map[string]string {
		m := make(map[string]string)
		for range random.IntN(4) {
			m[word()] = word()
		}
		return m
	}
	for range 3000 {
		made, asked := contexts(), contexts()
		blob, err := c.Encrypt(t.Context(), k.EKT, []byte("plain"), made)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Decrypt(t.Context(), k.EKT, blob, asked)
		if same := maps.Equal(made, asked); same && err != nil || !same && !errors.Is(err, hsm.ErrAuthFailed) {
			t.Fatalf("made with %v, opened with %v: %v", made, asked, err)
		}
	}
}

func TestTheLogKeySignsForBothAlgorithms(t *testing.T) {
	both(t, func(t *testing.T, c *hsm.Client) {
		ekt, edPublic, pqPublic, err := c.GenerateLogKey(t.Context(), "example.org")
		if err != nil {
			t.Fatal(err)
		}
		note := []byte("example.org/root\n7\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n")
		sig, err := c.SignLog(t.Context(), ekt, hsm.LogEd25519, note)
		if err != nil || !ed25519.Verify(edPublic, note, sig) {
			t.Errorf("Ed25519: %v", err)
		}
		text := []byte("subtree/v1\n\x00\x04name12345678\x06origin" + strings.Repeat("\x00", 48))
		sig, err = c.SignLog(t.Context(), ekt, hsm.LogMLDSA44, text)
		if err != nil {
			t.Fatal(err)
		}
		key, err := mldsa.NewPublicKey(mldsa.MLDSA44(), pqPublic)
		if err != nil {
			t.Fatal(err)
		}
		if err := mldsa.Verify(key, text, sig, nil); err != nil {
			t.Errorf("ML-DSA-44: %v", err)
		}
		for _, alg := range []hsm.LogAlg{0, hsm.LogEd25519, hsm.LogMLDSA44, 3} {
			if _, err := c.SignLog(t.Context(), ekt, alg, []byte("pay 1000 to Mallory")); !errors.Is(err, hsm.ErrBadRequest) {
				t.Errorf("another text: %v", err)
			}
		}
	})
}

func TestTheAuditKeyOpensOnlyItsAccountsDataKeys(t *testing.T) {
	both(t, func(t *testing.T, c *hsm.Client) {
		ekt, public, err := c.GenerateAuditKey(t.Context(), "111122223333")
		if err != nil {
			t.Fatal(err)
		}
		kem := hpke.MLKEM768X25519()
		key, err := kem.NewPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		seal := func(info string) (enc, ct []byte) {
			enc, s, err := hpke.NewSender(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info))
			if err != nil {
				t.Fatal(err)
			}
			if ct, err = s.Seal(nil, []byte("a data key of exactly 32 bytes !")); err != nil {
				t.Fatal(err)
			}
			return enc, ct
		}
		info := "leadglass/audit/dek/v1" + "111122223333" + strings.Repeat("k", 16)
		enc, ct := seal(info)
		dek, err := c.OpenAuditKey(t.Context(), ekt, enc, ct, []byte(info))
		if err != nil || string(dek) != "a data key of exactly 32 bytes !" {
			t.Fatalf("%q, %v", dek, err)
		}
		ct[0] ^= 1
		if _, err := c.OpenAuditKey(t.Context(), ekt, enc, ct, []byte(info)); !errors.Is(err, hsm.ErrAuthFailed) {
			t.Errorf("a changed ciphertext: %v", err)
		}
		foreign := strings.Replace(info, "1111", "9999", 1)
		enc, ct = seal(foreign)
		if _, err := c.OpenAuditKey(t.Context(), ekt, enc, ct, []byte(foreign)); !errors.Is(err, hsm.ErrDenied) {
			t.Errorf("another account's: %v", err)
		}
	})
}

func TestKeysSurviveTheProcess(t *testing.T) {
	dir, sealKey := t.TempDir(), filepath.Join(t.TempDir(), "key")
	p := hsmtest.Start(t, hsm.Config{StateDir: dir, SealKeyFile: sealKey})
	k := newKey(t, p.Client())
	blob, err := p.Client().Encrypt(t.Context(), k.EKT, []byte("plain"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Client().RotateDomainKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if _, err := p.Client().Random(t.Context(), 1); !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "seal.key")); err == nil {
		t.Error("there is a seal key in the state directory")
	}
	p = hsmtest.Start(t, hsm.Config{StateDir: dir, SealKeyFile: sealKey})
	moved, err := p.Client().Rewrap(t.Context(), k.EKT)
	if err != nil {
		t.Fatal(err)
	}
	for _, ekt := range [][]byte{k.EKT, moved} {
		if got, err := p.Client().Decrypt(t.Context(), ekt, blob, nil); err != nil || string(got) != "plain" {
			t.Errorf("%q, %v", got, err)
		}
	}
	s, err := p.Client().Status(t.Context())
	if err != nil || s.DomainKeys != 2 || s.Memory != secret.MemfdSecret || s.Seal != "software" {
		t.Errorf("status %+v, %v", s, err)
	}
	p.Stop()
	if _, err := hsm.Start(t.Context(), hsm.Config{StateDir: dir}); err == nil {
		t.Error("the domain opened without its seal key")
	}
}

func TestPlacingEndsWithReady(t *testing.T) {
	p := hsmtest.Start(t, hsm.Config{StateDir: t.TempDir()})
	key, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.PlaceHost(t.Context(), spki, "authority"); !errors.Is(err, hsm.ErrDenied) {
		t.Errorf("a host placed after Ready: %v", err)
	}
	server, err := link.ParsePublic(p.Identity())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := link.Dial(t.Context(), p.AuthorityLink(), link.ClientConfig{Host: key, Server: server, Now: time.Now}); err == nil {
		t.Error("a host that was not placed got in")
	}
	if _, err := p.Client().Random(t.Context(), 1); err != nil {
		t.Errorf("the supervisor's own link suffered: %v", err)
	}
}
