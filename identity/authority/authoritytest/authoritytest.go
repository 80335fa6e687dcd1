// Package authoritytest gives tests a real identity authority, in a process of
// its own, with a real HSM in another.
//
// The test binary has to be its own child, as the plane's binary is: its
// TestMain is Main. Then call Start. Nothing here may be used outside tests.
package authoritytest

import (
	"os"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/core"
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
