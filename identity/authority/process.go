package authority

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
	"github.com/leadglass/leadglass/identity/authority/message"
)

// HSM is what Start needs of the HSM; *hsm.Process is one.
type HSM interface {
	Identity() []byte        // SPKI of its signing key
	AuthorityLink() *os.File // a socket that it serves
	PlaceHost(ctx context.Context, spki []byte, role string) error
	Ready(ctx context.Context) error
}

// Config says how to start the authority. StateDir and HSM are required.
type Config struct {
	StateDir string // holds the wrapped root key, the session keys and the revocations, all sealed
	HSM      HSM

	Insecure bool         // start even if the lockdown is incomplete
	Log      func(string) // lines that the child writes to stderr
	Clock    clock.Clock  // zero: clock.System
	Args     []string     // arguments with which the binary runs an authority; zero: "authority"
	Path     string       // the binary; zero: this one
}

// timeout bounds what is asked of a child that is ready.
const timeout = 20 * time.Second

// Process is a running authority.
type Process struct {
	child  *boundary.Child
	client *Client
}

// Start starts an authority, places it as a host of the HSM, closes the HSM's
// door behind it, connects with it, and lets it fetch its root key.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if cfg.HSM == nil {
		return nil, errors.New("authority: no HSM")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.Args == nil {
		cfg.Args = []string{"authority"}
	}
	key, spki, err := link.NewKey()
	if err != nil {
		return nil, fmt.Errorf("authority: host key: %w", err)
	}
	child, err := boundary.Start(boundary.Config{
		Name: "authority", Args: cfg.Args, Path: cfg.Path, StateDir: cfg.StateDir, Links: 1,
		Files: []*os.File{cfg.HSM.AuthorityLink()}, Setup: message.Setup(spki, cfg.HSM.Identity()),
		Insecure: cfg.Insecure, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	p := &Process{child: child}
	if err := p.connect(ctx, &cfg, key); err != nil {
		p.Stop()
		return nil, fmt.Errorf("authority: %w", err)
	}
	return p, nil
}

func (p *Process) connect(ctx context.Context, cfg *Config, key *ecdsa.PrivateKey) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	host, identity, err := message.SplitSetup(p.child.Hello())
	if err != nil {
		return err
	}
	server, err := link.ParsePublic(identity)
	if err != nil {
		return err
	}
	if err := cfg.HSM.PlaceHost(ctx, host, "authority"); err != nil {
		return err
	}
	if err := cfg.HSM.Ready(ctx); err != nil {
		return err
	}
	l, err := link.Dial(ctx, p.child.Link(0), link.ClientConfig{Host: key, Server: server, Now: cfg.Clock.Now})
	if err != nil {
		return err
	}
	p.client = NewClient(l)
	return p.client.call(ctx, message.OpOpen, &message.Params{}, nil)
}

// Client asks this authority.
func (p *Process) Client() *Client { return p.client }

// Lockdown says how far the process is locked down.
func (p *Process) Lockdown() boundary.Report { return p.child.Lockdown() }

// PID is the process id.
func (p *Process) PID() int { return p.child.PID() }

// Done is closed when the process has ended. A new one cannot join the same
// HSM, whose door is closed: the node starts both anew.
func (p *Process) Done() <-chan struct{} { return p.child.Done() }

// Wait waits for the end of the process and says why it ended.
func (p *Process) Wait() error { return p.child.Wait() }

// Stop ends the process and waits for it.
func (p *Process) Stop() {
	if p.client != nil {
		_ = p.client.link.Close()
	}
	p.child.Stop()
}
