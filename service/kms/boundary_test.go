package kms_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// newChip serves the real HSM core from this process.
func newChip(t testing.TB) *hsm.Client {
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
	return hsm.NewClient(l)
}
