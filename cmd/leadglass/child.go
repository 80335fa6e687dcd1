package main

import (
	"os"
	"runtime"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm/core"
	authority "github.com/leadglass/leadglass/identity/authority/core"
)

// runChild runs this process as one of the two boundaries, when it was started
// as one: `leadglass hsm` and `leadglass authority` are for `leadglass serve`
// alone, which gives them their sockets and their state directory.
func runChild(args []string) (code int, isChild bool) {
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
		return 1, true
	}
	return 0, true
}

func hsmRole(env *boundary.Env) error {
	m := core.Main{Store: env.State, Memory: env.Memory, Now: time.Now, Setup: env.Setup, Ready: env.Ready, Build: version(), Lock: env.Report.Walls(), Minute: time.Tick(time.Minute)}
	for _, l := range env.Links {
		m.Links = append(m.Links, l)
	}
	if len(env.Files) > 0 {
		m.SealKey = env.Files[0]
	}
	return m.Run()
}

func authorityRole(env *boundary.Env) error {
	m := authority.Main{
		Store: env.State, Memory: env.Memory, Now: time.Now, Setup: env.Setup,
		FrontLink: env.Links[0], HSMLink: env.Files[0], Ready: env.Ready,
	}
	return m.Run()
}
