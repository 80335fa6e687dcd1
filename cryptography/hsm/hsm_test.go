package hsm_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// TestMain makes the test binary its own child, as the real binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "hsm" {
		if err := boundary.Run(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func role(env *boundary.Env) error {
	m := core.Main{Store: env.State, Memory: env.Memory, Now: time.Now, Supervisor: env.Setup, Ready: env.Ready}
	for _, l := range env.Links {
		m.Links = append(m.Links, l)
	}
	if len(env.Files) > 0 {
		m.SealKey = env.Files[0]
	}
	return m.Run()
}

// isolated starts a real child.
func isolated(t testing.TB, dir string) *hsm.Client {
	return process(t, hsm.Config{StateDir: dir}).Client()
}

func process(t testing.TB, cfg hsm.Config) *hsm.Process {
	t.Helper()
	cfg.Log = func(line string) { t.Log("child:", line) }
	p, err := hsm.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// inProcess serves the same core from a goroutine of this process.
func inProcess(t testing.TB, dir string) *hsm.Client {
	t.Helper()
	state, err := boundary.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := secret.NewArena(1 << 18)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := link.MarshalPublic(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := boundary.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	identity := make(chan []byte, 1)
	ended := make(chan error, 1)
	m := core.Main{
		Store: state, Memory: memory, Now: time.Now, Supervisor: spki, Links: []io.ReadWriter{theirs},
		Ready: func(id []byte) error { identity <- id; return nil },
	}
	go func() { ended <- m.Run() }()
	var server *ecdsa.PublicKey
	select {
	case id := <-identity:
		if server, err = link.ParsePublic(id); err != nil {
			t.Fatal(err)
		}
	case err := <-ended:
		t.Fatal(err)
	}
	l, err := link.Dial(context.Background(), ours, link.ClientConfig{Host: key, Server: server, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-ended; err != nil {
			t.Errorf("the core ended with %v", err)
		}
		_ = theirs.Close()
		_ = state.Close()
	})
	return hsm.NewClient(l)
}

// both runs one test against the two forms.
func both(t *testing.T, test func(t *testing.T, c *hsm.Client)) {
	t.Run("in process", func(t *testing.T) { test(t, inProcess(t, t.TempDir())) })
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
