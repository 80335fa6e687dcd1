package authority_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
)

// A meter is a connection that counts what is sent, and whose answers a test can hold.
type meter struct {
	io.ReadWriteCloser
	sent atomic.Int64
	held sync.Mutex
}

func (m *meter) Write(b []byte) (int, error) {
	m.sent.Add(int64(len(b)))
	return m.ReadWriteCloser.Write(b)
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.ReadWriteCloser.Read(b)
	m.held.Lock()
	defer m.held.Unlock()
	return n, err
}

// Guesses by SigV4A are dear. They do not fill the link's places for what takes long.
func TestAFloodOfSigV4AWaitsForItselfAlone(t *testing.T) {
	var m *meter
	c := authoritytest.InProcess(t, t.TempDir(), authoritytest.Options{Now: time.Now, Cut: func(c io.ReadWriteCloser) io.ReadWriteCloser {
		m = &meter{ReadWriteCloser: c}
		return m
	}})
	guess := signV4A(t, "AKIAAAAAAAAAAAAAAAAA", "a guess", "", nil)
	before := m.sent.Load()
	if _, err := c.Witness(t.Context(), guess); !errors.Is(err, authority.ErrSignature) {
		t.Fatal(err)
	}
	one := m.sent.Load() - before
	before = m.sent.Load()

	m.held.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	var guesses sync.WaitGroup
	for range 64 {
		guesses.Go(func() { _, _ = c.Witness(ctx, guess) })
	}
	time.Sleep(200 * time.Millisecond)
	if sent := (m.sent.Load() - before) / one; sent < 1 || sent > 20 {
		t.Errorf("%d of 64 guesses are under way", sent)
	}
	cancel()
	m.held.Unlock()
	guesses.Wait()
	if _, err := c.Witness(t.Context(), guess); !errors.Is(err, authority.ErrSignature) {
		t.Errorf("afterwards: %v", err)
	}
}
