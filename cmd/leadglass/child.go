package main

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/hsm/pkcs11"
	"github.com/leadglass/leadglass/cryptography/hsm/tpm"
	"github.com/leadglass/leadglass/cryptography/secret"
	authority "github.com/leadglass/leadglass/identity/authority/core"
)

// runChild runs this process as one of the two boundaries, when it was started
// as one: `leadglass hsm` and `leadglass authority` are for `leadglass serve`
// alone, which gives them their sockets and their state directory.
func runChild(args []string) (code int, isChild bool) {
	if len(args) == 5 && args[1] == hsm.TokenCommand {
		if err := runToken(args[2:]); err != nil {
			os.Stderr.WriteString("leadglass " + args[1] + ": " + err.Error() + "\n")
			return 1, true
		}
		return 0, true
	}
	if len(args) != 2 {
		return 0, false
	}
	role, isChild := map[string]boundary.Role{"hsm": hsmRole, "authority": authorityRole}[args[1]]
	if !isChild {
		return 0, false
	}
	// A child serves the front, which has work of its own: half of the processors each. On a small machine that is one,
	// and then the scheduler wakes no second thread for every message, which cost more than the message.
	runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	if err := boundary.Run(role); err != nil {
		os.Stderr.WriteString("leadglass " + args[1] + ": " + err.Error() + "\n")
		if args[1] == "hsm" { // a custodian may have typed it
			os.Stderr.WriteString("leadglass: leadglass hsm --help lists what custodians do\n")
		}
		return 1, true
	}
	return 0, true
}

func hsmRole(env *boundary.Env) error {
	m := core.Main{Store: env.State, Memory: env.Memory, Now: time.Now, Setup: env.Setup, Ready: env.Ready, Build: version(), Lock: env.Report.Walls(), Minute: time.Tick(time.Minute), Second: collecting()}
	for _, l := range env.Links {
		m.Links = append(m.Links, l)
	}
	for _, f := range env.Files {
		m.Files = append(m.Files, f)
	}
	m.Guard = func(kind string, conn io.ReadWriter, soft *core.SoftwareSeal) (core.Guard, error) {
		if kind == message.GuardPKCS11 {
			return pkcs11.New(conn), nil
		}
		auth, err := soft.Derive("leadglass tpm auth v1")
		if err != nil {
			return nil, err
		}
		defer secret.Wipe(auth)
		return tpm.New(conn, auth)
	}
	return m.Run()
}

// runToken runs this process as the one that a PKCS#11 module is loaded into
// (`leadglass hsm-p11`); it, too, is for `leadglass serve` alone. What it is to
// do is in its arguments, the socket of the HSM is descriptor 3, the PIN is
// read from descriptor 4.
func runToken(args []string) error {
	if err := boundary.Harden(); err != nil {
		return err
	}
	pin, err := io.ReadAll(io.LimitReader(os.NewFile(4, "pin"), 4096))
	if err != nil {
		return err
	}
	o := pkcs11.Options{Module: args[0], Token: args[1], Key: args[2]}
	return pkcs11.Serve(os.NewFile(3, "hsm"), o, bytes.TrimSpace(pin))
}

// collecting ticks where it bounds the life of dead secrets, and nowhere else.
func collecting() <-chan time.Time {
	if !secret.Erasing {
		return nil
	}
	return time.Tick(time.Second)
}

func authorityRole(env *boundary.Env) error {
	m := authority.Main{
		Store: env.State, Memory: env.Memory, Now: time.Now, Setup: env.Setup,
		FrontLink: env.Links[0], HSMLink: env.Files[0], Ready: env.Ready, Second: collecting(),
	}
	return m.Run()
}
