package keys_test

import (
	"context"
	"sync"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
)

// A chip is the real HSM core, served from this process, whose answers can be
// held back or lost.
type chip struct {
	*hsm.Client
	mu   sync.Mutex
	hold chan struct{} // guarded by mu; when not nil, a Decrypt's answer waits until it is closed
	fail error         // guarded by mu; when not nil, every call answers it
	// guarded by mu; no fence can be raised, while everything else works
	stuck bool
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

func (c *chip) RaiseFence(ctx context.Context, ekt []byte, epoch uint64, closed bool) (uint64, error) {
	if err := c.broken(); err != nil {
		return 0, err
	}
	c.mu.Lock()
	stuck := c.stuck
	c.mu.Unlock()
	if stuck {
		return 0, hsm.ErrUnavailable
	}
	return c.Client.RaiseFence(ctx, ekt, epoch, closed)
}

func (c *chip) Current(ctx context.Context, ekt []byte, epoch uint64) ([]byte, error) {
	if err := c.broken(); err != nil {
		return nil, err
	}
	return c.Client.Current(ctx, ekt, epoch)
}

func newChip(t testing.TB) *chip {
	t.Helper()
	return &chip{Client: hsmtest.Open(t, t.TempDir())}
}
