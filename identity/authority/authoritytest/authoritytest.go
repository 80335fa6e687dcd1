// Package authoritytest gives tests a real identity authority, in a process of
// its own, with a real HSM in another.
//
// The test binary has to be its own child, as the plane's binary is: its
// TestMain is Main. Then call Start; InProcess serves the same core inside the
// test, for those that hold its clock or cut its link. Nothing here may be used outside tests.
package authoritytest

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/core"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// Main is a TestMain.
func Main(m *testing.M) {
	hsmtest.Child(map[string]boundary.Role{"hsm": hsmtest.Role, "authority": role})
	os.Exit(m.Run())
}

func role(env *boundary.Env) error {
	m := core.Main{
		Store: env.State, Memory: env.Memory, Now: time.Now, Setup: env.Setup,
		FrontLink: env.Links[0], HSMLink: env.Files[0], Ready: env.Ready,
	}
	return m.Run()
}

// Start starts an HSM and its authority, with their state in dir. Both end
// with the test.
func Start(t testing.TB, dir string) *authority.Process {
	t.Helper()
	p, err := authority.Start(t.Context(), authority.Config{
		StateDir: dir + "/authority", HSM: hsmtest.Start(t, hsm.Config{StateDir: dir + "/hsm"}),
		Log: func(line string) { t.Log("authority:", line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Options of InProcess.
type Options struct {
	Now func() time.Time                                  // zero: time.Now
	HSM *hsm.Process                                      // zero: one of its own
	Cut func(front io.ReadWriteCloser) io.ReadWriteCloser // stands between the client and its link; zero: nothing does
}

// InProcess serves an authority's core from a goroutine of the test, with its
// state in dir, beside a real HSM. It ends with the test.
func InProcess(t testing.TB, dir string, o Options) *authority.Client {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.HSM == nil {
		o.HSM = hsmtest.Start(t, hsm.Config{StateDir: dir + "/hsm"})
	}
	state, err := boundary.OpenDir(dir + "/authority")
	must(err)
	memory, err := secret.NewArena(1 << 20)
	must(err)
	key, spki, err := link.NewKey()
	must(err)
	ours, theirs, err := boundary.SocketPair()
	must(err)
	keys, ended := make(chan []byte, 1), make(chan error, 1)
	m := core.Main{
		Store: state, Memory: memory, Now: o.Now, Setup: message.Setup(spki, o.HSM.Identity()),
		FrontLink: theirs, HSMLink: io.ReadWriteCloser(o.HSM.AuthorityLink()),
		Ready: func(k []byte) error { keys <- k; return nil },
	}
	go func() { ended <- m.Run() }()
	host, identity, err := message.SplitSetup(<-keys)
	must(err)
	must(o.HSM.PlaceHost(t.Context(), host, "authority"))
	must(o.HSM.Ready(t.Context()))
	server, err := link.ParsePublic(identity)
	must(err)
	front := io.ReadWriteCloser(ours)
	if o.Cut != nil {
		front = o.Cut(front)
	}
	l, err := link.Dial(t.Context(), front, link.ClientConfig{Host: key, Server: server, Now: o.Now})
	must(err)
	p := message.Params{}
	must(l.Call(t.Context(), message.OpOpen, nil, p.Append, nil))
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-ended; err != nil {
			t.Errorf("the core ended with %v", err)
		}
		_ = theirs.Close()
		_ = state.Close()
	})
	return authority.NewClient(l)
}
