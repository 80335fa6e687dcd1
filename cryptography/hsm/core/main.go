package core

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// Main is what an HSM process runs, inside its boundary.
type Main struct {
	Store   Store
	SealKey io.ReadWriter // a file of its own for the seal key; nil: in Store
	Memory  *secret.Arena
	Now     func() time.Time
	Setup   []byte                      // message.Setup; its supervisor is at the first link
	Links   []io.ReadWriter             // closed when their host is not let in, if they can be
	Ready   func(identity []byte) error // tells the supervisor whom to expect

	Build  string           // of the program, for the member record
	Lock   []string         // which walls stand, for the same
	Minute <-chan time.Time // each tick writes the counts of operations to the log; nil: they wait for its next reader
}

// Run opens the domain and serves all links. It ends when the supervisor's
// link, the first one, has ended.
func (m *Main) Run() error {
	if len(m.Links) == 0 {
		return errors.New("core: no link to serve")
	}
	var setup message.Setup
	if err := setup.Parse(m.Setup); err != nil {
		return fmt.Errorf("core: setup: %w", err)
	}
	cfg := Config{
		Store: m.Store, Memory: m.Memory, Now: m.Now, Supervisor: setup.Supervisor, Await: setup.Await, Volatile: setup.Volatile,
		Label: setup.Label, Offline: setup.Offline, Build: m.Build, Lock: m.Lock,
	}
	if !cfg.Volatile {
		seal, err := OpenSoftwareSeal(m.Store, m.SealKey, m.Memory)
		if err != nil {
			return err
		}
		cfg.Sealer = seal
	}
	h, err := Open(cfg)
	if err != nil {
		return err
	}
	if err := m.Ready(h.Identity()); err != nil {
		return fmt.Errorf("core: ready: %w", err)
	}
	// The others end with the process: there is nothing to finish for a host
	// whose supervisor is gone.
	for _, l := range m.Links[1:] {
		go func() {
			_ = h.Serve(l)
			if c, ok := l.(io.Closer); ok {
				_ = c.Close() // a host that was not let in must not wait
			}
		}()
	}
	ended := make(chan struct{})
	var keeping sync.WaitGroup
	keeping.Go(func() {
		for {
			select {
			case <-m.Minute:
				_ = h.KeepLog() // what could not be written is written with the next
			case <-ended:
				return
			}
		}
	})
	defer keeping.Wait()
	defer close(ended)
	return h.Serve(m.Links[0])
}
