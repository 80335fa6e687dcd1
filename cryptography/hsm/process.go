package hsm

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// Config says how to start the HSM. StateDir is required.
type Config struct {
	StateDir string // holds the sealed domain, and the seal key unless SealKeyFile is set

	// SealKeyFile holds the key that the domain is sealed with; an empty or
	// absent one is filled with a new key. It can lie on other media or be a
	// credential of the service manager. Whoever reads it and StateDir has all
	// keys: in StateDir, the default, it protects nothing but the form.
	SealKeyFile string

	// Roots are further roots of attestation documents. They count while the
	// domain has no operators; those decide by commands.
	Roots []Root

	// Await makes an HSM that has no domain wait for one (CreateDomain,
	// InstallDomain or RecoverShares, see Client.Command) instead of making a
	// domain of its own without operators.
	Await bool
	// Volatile keeps nothing: a restart forgets identity and keys, and the HSM
	// has to join its domain anew. It needs Await.
	Volatile bool
	Offline  bool   // the HSM calls itself an offline member, whose state directory lies on media in a safe
	Label    string // what the HSM calls itself as a member; empty: "software"

	// Guard is hardware that guards the seal besides.
	Guard Guard

	Insecure bool         // start even if the lockdown is incomplete
	Log      func(string) // lines that the child writes to stderr
	Clock    clock.Clock  // zero: clock.System
	Args     []string     // arguments with which the binary runs an HSM; zero: "hsm"
	Path     string       // the binary; zero: this one
}

// Links of the child.
const (
	linkSupervisor = 0
	linkAuthority  = 1
	links          = 2
)

// timeout bounds the handshake with a child that is ready.
const timeout = 20 * time.Second

// Process is a running HSM.
type Process struct {
	child     *boundary.Child
	client    *Client
	link      *link.Client // of client
	authority *os.File
	key       *ecdsa.PrivateKey
	lock      *os.File // of the state directory
}

// Start starts an HSM and connects with it. The caller places the authority
// (PlaceHost) and then closes the door (Ready).
//
// The key with which this process proves itself to the HSM exists only here and
// only as long as it lives. The HSM believes it because the process that
// started it says so: on plain Linux a supervisor is trusted while it starts.
func Start(ctx context.Context, cfg Config) (p *Process, err error) {
	lock, err := lockState(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.Args == nil {
		cfg.Args = []string{"hsm"}
	}
	key, spki, err := link.NewKey()
	if err != nil {
		return nil, fmt.Errorf("hsm: host key: %w", err)
	}
	var files []*os.File
	if cfg.SealKeyFile != "" {
		f, err := openSealKey(cfg.SealKeyFile)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	guard, err := cfg.Guard.start(cfg.Path, cfg.Log)
	if err != nil {
		return nil, errors.Join(err, closeAll(files))
	}
	// Once the HSM is ready it asks its guard nothing more.
	defer guard.end()
	if guard.conn != nil {
		files = append(files, guard.conn)
	}
	setup := message.Setup{
		Supervisor: spki, Await: cfg.Await, Volatile: cfg.Volatile, Offline: cfg.Offline, Label: cfg.Label,
		Guard: cfg.Guard.kind(), Upgrade: cfg.Guard.Upgrade, SealKey: cfg.SealKeyFile != "",
	}
	child, err := boundary.Start(boundary.Config{
		Name: "hsm", Args: cfg.Args, Path: cfg.Path, StateDir: cfg.StateDir, Links: links, Files: files,
		Setup: setup.Append(nil), Insecure: cfg.Insecure, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", err)
	}
	p = &Process{child: child, authority: child.Link(linkAuthority), key: key, lock: lock}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	server, err := link.ParsePublic(child.Hello())
	if err == nil {
		p.link, err = link.Dial(ctx, child.Link(linkSupervisor), link.ClientConfig{Host: key, Server: server, Now: cfg.Clock.Now})
		p.client = NewClient(p.link)
	}
	if err == nil && len(cfg.Roots) > 0 {
		err = p.client.TrustRoots(ctx, cfg.Roots)
	}
	if err != nil {
		child.Stop()
		return nil, fmt.Errorf("hsm: %w", err)
	}
	return p, nil
}

// openSealKey opens without reading: the key is for the child alone.
func openSealKey(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrPermission) || err != nil && !errors.Is(err, os.ErrNotExist) {
		f, err = os.Open(path) // credentials of a service manager are read-only
	}
	if err != nil {
		return nil, fmt.Errorf("hsm: seal key: %w", err)
	}
	return f, nil
}

// Client asks this HSM.
func (p *Process) Client() *Client { return p.client }

// Identity is the SPKI of the HSM's signing key.
func (p *Process) Identity() []byte { return p.child.Hello() }

// Lockdown says how far the process is locked down.
func (p *Process) Lockdown() boundary.Report { return p.child.Lockdown() }

// PID is the process id.
func (p *Process) PID() int { return p.child.PID() }

// AuthorityLink is a socket whose other end the HSM serves, for a host that is
// to be placed as the authority. What passes over it never passes through this
// process.
func (p *Process) AuthorityLink() *os.File { return p.authority }

// PlaceHost lets a host with this key talk to the HSM in a role. It fails
// after Ready.
func (p *Process) PlaceHost(ctx context.Context, spki []byte, role string) error {
	return p.client.call(ctx, message.OpPlaceHost, nil, &message.Params{Public: spki, Role: role}, nil)
}

// Ready ends the placing of hosts, for as long as the HSM runs.
func (p *Process) Ready(ctx context.Context) error {
	return p.client.call(ctx, message.OpReady, nil, &message.Params{}, nil)
}

// Done is closed when the process has ended. Nothing brings it back: a host
// that is placed proves itself with a key of its own process, so the node
// starts HSM and authority anew, together.
func (p *Process) Done() <-chan struct{} { return p.child.Done() }

// Wait waits for the end of the process and says why it ended.
func (p *Process) Wait() error { return p.child.Wait() }

// Stop ends the process and waits for it.
func (p *Process) Stop() {
	if p.link != nil {
		_ = p.link.Close()
	}
	p.child.Stop()
	_ = p.lock.Close()
}
