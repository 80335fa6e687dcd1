// Package boundary starts a child process that holds secrets, and locks it
// down (hsm-domain section 1).
//
// The parent calls Start; the child, the same binary under a subcommand, calls
// Run as the first thing it does. Between the two the child
//
//  1. is born in user, mount, pid, network, ipc and uts namespaces of its own,
//     under an id without capabilities, and dies with its parent;
//  2. gives up new privileges, limits its core to nothing, lets landlock take
//     away all files but its state directory (and what is needed to start
//     itself again), TCP, and signals and abstract sockets to the outside;
//  3. executes itself again, because landlock holds per thread and only a new
//     image begins with one;
//  4. becomes undumpable, locks its memory, maps its secret memory, and
//     installs a seccomp filter on all threads that kills the process on every
//     system call that a server of keys has no business to make: no program,
//     no socket, no executable memory, no file outside the state directory;
//  5. only then runs the role that it was started for.
//
// A child that cannot do all of this does not start, unless Config.Insecure
// says that it may; what is missing is then listed in its Report, which the
// node shows wherever it shows its health.
//
// What this does not do: on plain Linux a host's root who attacks the kernel,
// or who traces the process before it locks itself, gets at its memory. The
// supervisor (the parent) is trusted while it starts the children: it says
// which hosts the boundary listens to. After that it is a host like others.
package boundary

import (
	"errors"
	"os"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// Config says what child to start. Name and StateDir are required.
type Config struct {
	Name     string        // what the child is called in process lists
	Args     []string      // arguments with which the binary gets to Run; zero: the name
	Path     string        // the binary; zero: this one
	StateDir string        // the only directory the child may use; made if absent
	Links    int           // sockets to be connected with the child: Child.Link, Env.Links
	Files    []*os.File    // given to the child as Env.Files; Start closes them
	Setup    []byte        // given to the child as Env.Setup; nothing secret
	Secrets  int           // size of the child's secret memory; zero: 1 MiB
	Insecure bool          // start even without lockdown
	Log      func(string)  // lines that the child writes to stderr; zero: dropped
	Timeout  time.Duration // for the start; zero: 20 s
}

// Report says how far a child is locked down.
type Report struct {
	PID            int      `json:"pid"`
	Namespaces     []string `json:"namespaces"`
	NoNewPrivs     bool     `json:"noNewPrivs"`
	NoCapabilities bool     `json:"noCapabilities"`
	LandlockABI    int      `json:"landlockABI"` // 0: not restricted
	Seccomp        bool     `json:"seccomp"`
	Memory         string   `json:"memory"` // of secrets: secret.MemfdSecret or secret.LockedPages
	MemoryLocked   string   `json:"memoryLocked"`
	Undumpable     bool     `json:"undumpable"`
	Insecure       bool     `json:"insecure"` // Config.Insecure was set
	Missing        []string `json:"missing"`  // what a full lockdown has and this one lacks
}

// Complete reports whether nothing is missing.
func (r *Report) Complete() bool { return len(r.Missing) == 0 }

// Walls names what stands, for people and for statements.
func (r *Report) Walls() []string {
	walls := []string{}
	if len(r.Namespaces) > 0 {
		walls = append(walls, "namespaces")
	}
	for _, w := range []struct {
		name   string
		stands bool
	}{
		{"no new privileges", r.NoNewPrivs}, {"no capabilities", r.NoCapabilities}, {"landlock", r.LandlockABI > 0},
		{"seccomp", r.Seccomp}, {"undumpable", r.Undumpable},
	} {
		if w.stands {
			walls = append(walls, w.name)
		}
	}
	return walls
}

func (r *Report) miss(what string) { r.Missing = append(r.Missing, what) }

// Env is what a role finds inside the boundary.
type Env struct {
	Setup  []byte        // Config.Setup
	State  *Dir          // the state directory
	Links  []*os.File    // the child's ends of Config.Links
	Files  []*os.File    // Config.Files
	Memory *secret.Arena // mapped before the lock; nothing else can be mapped secret
	Report Report

	// Ready tells the parent that the role serves, and ends Start. hello is
	// what the parent gets to know of it (Child.Hello); nothing secret.
	Ready func(hello []byte) error
}

// Role is what a child does behind the boundary. It returns when it has
// nothing more to do; the process then ends.
type Role func(env *Env) error

var (
	// ErrUnsupported is returned on other systems than Linux on amd64 and arm64.
	ErrUnsupported = errors.New("boundary: unsupported system: the boundary processes need Linux on amd64 or arm64")
	// ErrNotLocked is returned by a child that could not lock itself down.
	ErrNotLocked = errors.New("boundary: lockdown incomplete; start with --insecure-no-lockdown if you accept that")
	// ErrStart is returned when the child ended before it was ready.
	ErrStart = errors.New("boundary: the child did not start")
)

// setup is what parent and child share besides the descriptors; it is public.
type setup struct {
	Name     string            `json:"name"`
	Links    int               `json:"links"`
	Files    int               `json:"files"`
	Secrets  int               `json:"secrets"`
	Insecure bool              `json:"insecure"`
	Outside  map[string]string `json:"outside"` // the parent's namespaces
	Report   Report            `json:"report"`  // what the first stage achieved
	NoSwap   bool              `json:"noSwap"`  // as the first stage saw
	Setup    []byte            `json:"setup"`
}

// Descriptors of the child. What follows are the links, then the files.
const (
	fdSetup   = 3 // memory file: setup, readable by both stages
	fdControl = 4 // socket: one byte from the parent, then lines from the child
	fdState   = 5
	fdFirst   = 6
)

// line is what a child tells its parent over the control socket.
type line struct {
	Error  string  `json:"error,omitempty"`
	Report *Report `json:"report,omitempty"`
	Hello  []byte  `json:"hello,omitempty"`
}

const defaultSecrets = 1 << 20

func (c *Config) valid() error {
	switch {
	case c.Name == "":
		return errors.New("boundary: a child needs a name")
	case c.StateDir == "":
		return errors.New("boundary: a child needs a state directory")
	case c.Links < 0 || c.Links > 16:
		return errors.New("boundary: at most 16 links")
	}
	return nil
}
