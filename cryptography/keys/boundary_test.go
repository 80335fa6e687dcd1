package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// A chip is the real HSM core, served from this process, whose answers can be
// held back or lost.
type chip struct {
	*hsm.Client
	mu   sync.Mutex
	hold chan struct{} // guarded by mu; when not nil, a Decrypt's answer waits until it is closed
	fail error         // guarded by mu; when not nil, every call answers it
}

func (c *chip) set(fail error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

func (c *chip) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fail
}

func (c *chip) GenerateKey(ctx context.Context, spec hsm.KeySpec) (hsm.Key, error) {
	if err := c.broken(); err != nil {
		return hsm.Key{}, err
	}
	return c.Client.GenerateKey(ctx, spec)
}

func (c *chip) Encrypt(ctx context.Context, ekt, plaintext []byte, encCtx map[string]string) ([]byte, error) {
	if err := c.broken(); err != nil {
		return nil, err
	}
	return c.Client.Encrypt(ctx, ekt, plaintext, encCtx)
}

func (c *chip) Decrypt(ctx context.Context, ekt, blob []byte, encCtx map[string]string) ([]byte, error) {
	if err := c.broken(); err != nil {
		return nil, err
	}
	p, err := c.Client.Decrypt(ctx, ekt, blob, encCtx)
	c.mu.Lock()
	hold := c.hold
	c.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return p, err
}

func newChip(t testing.TB) *chip {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	state, err := boundary.OpenDir(t.TempDir())
	must(err)
	memory, err := secret.NewArena(1 << 18)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	spki, err := link.MarshalPublic(&key.PublicKey)
	must(err)
	ours, theirs, err := boundary.SocketPair()
	must(err)
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
		server, err = link.ParsePublic(id)
		must(err)
	case err := <-ended:
		t.Fatal(err)
	}
	l, err := link.Dial(context.Background(), ours, link.ClientConfig{Host: key, Server: server, Now: time.Now})
	must(err)
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-ended; err != nil {
			t.Errorf("the core ended with %v", err)
		}
		_ = theirs.Close()
		_ = state.Close()
	})
	return &chip{Client: hsm.NewClient(l)}
}
