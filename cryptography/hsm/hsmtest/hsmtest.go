// Package hsmtest gives tests a working HSM: the real core, served from the
// test's own process (Open) or from a child of it (Start). It also searches
// processes for what must not be in their memory (Holds).
//
// Start with Open, which needs nothing else. For Start the test binary has to
// be its own child, as the plane's binary is: its TestMain calls Child first.
//
// Nothing here may be used outside tests: an HSM that Open serves has no
// boundary around it.
package hsmtest

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// Child runs the role that this process was started for, and ends the process
// with it. It returns when the process was started to test.
func Child(roles map[string]boundary.Role) {
	if len(os.Args) < 2 {
		return
	}
	role, ok := roles[os.Args[1]]
	if !ok {
		return
	}
	if err := boundary.Run(role); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Role is the HSM inside its boundary, to be named "hsm" among the roles of
// Child.
func Role(env *boundary.Env) error {
	m := core.Main{Store: env.State, Memory: env.Memory, Now: time.Now, Setup: env.Setup, Ready: env.Ready, Lock: env.Report.Walls(), Minute: time.Tick(time.Minute)}
	for _, l := range env.Links {
		m.Links = append(m.Links, l)
	}
	for _, f := range env.Files {
		m.Files = append(m.Files, f)
	}
	return m.Run()
}

// Start starts an HSM in a process of its own, which ends with the test.
func Start(t testing.TB, cfg hsm.Config) *hsm.Process {
	t.Helper()
	cfg.Log = func(line string) { t.Log("hsm:", line) }
	p, err := hsm.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Open serves an HSM with its state in dir from a goroutine, which ends with
// the test. It accepts attestation documents under the roots.
func Open(t testing.TB, dir string, roots ...hsm.Root) *hsm.Client {
	t.Helper()
	return OpenWith(t, dir, message.Setup{}, time.Now, roots...)
}

// OpenWith is Open for an HSM that is set up in another way, or has another
// clock. The supervisor is set here.
func OpenWith(t testing.TB, dir string, setup message.Setup, now func() time.Time, roots ...hsm.Root) *hsm.Client {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	state, err := boundary.OpenDir(dir)
	must(err)
	memory, err := secret.NewArena(1 << 18)
	must(err)
	key, spki, err := link.NewKey()
	must(err)
	ours, theirs, err := boundary.SocketPair()
	must(err)
	setup.Supervisor = spki
	identity := make(chan []byte, 1)
	ended := make(chan error, 1)
	m := core.Main{
		Store: state, Memory: memory, Now: now, Setup: setup.Append(nil), Links: []io.ReadWriter{theirs},
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
	l, err := link.Dial(context.Background(), ours, link.ClientConfig{Host: key, Server: server, Now: now})
	must(err)
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-ended; err != nil {
			t.Errorf("the core ended with %v", err)
		}
		_ = theirs.Close()
		_ = state.Close()
	})
	c := hsm.NewClient(l)
	if len(roots) > 0 {
		must(c.TrustRoots(t.Context(), roots))
	}
	return c
}
