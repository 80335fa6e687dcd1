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
	Store  Store
	Files  []io.ReadWriter // the seal key, if it has a file of its own, and the connection of the guard, if there is one
	Memory *secret.Arena
	Now    func() time.Time
	Setup  []byte                      // message.Setup; its supervisor is at the first link
	Links  []io.ReadWriter             // closed when their host is not let in, if they can be
	Ready  func(identity []byte) error // tells the supervisor whom to expect

	// Guard is the hardware that the setup names, over its connection; soft is the seal beneath it. Nil: no kind of
	// hardware is known here.
	Guard func(kind string, conn io.ReadWriter, soft *SoftwareSeal) (Guard, error)

	Build  string           // of the program, for the member record
	Lock   []string         // which walls stand, for the same
	Minute <-chan time.Time // each tick writes the counts of operations to the log; nil: they wait for its next reader
	Second <-chan time.Time // each tick collects what operations left on the heap (secret.Collector); nil: Go does when it likes
}

// seal is the seal that the setup asks for.
func (m *Main) seal(setup *message.Setup) (Sealer, error) {
	files := m.Files
	var key io.ReadWriter
	if setup.SealKey {
		if len(files) == 0 {
			return nil, errors.New("core: setup: no seal key")
		}
		key, files = files[0], files[1:]
	}
	soft, err := OpenSoftwareSeal(m.Store, key, m.Memory)
	if err != nil || setup.Guard == "" {
		return soft, err
	}
	if m.Guard == nil || len(files) == 0 {
		return nil, fmt.Errorf("core: setup: no guard %q here", setup.Guard)
	}
	guard, err := m.Guard(setup.Guard, files[0], soft)
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return NewGuardedSeal(soft, guard, m.Memory, setup.Upgrade), nil
}

// Run opens the domain and serves all links. It ends when the supervisor's
// link, the first one, has ended.
func (m *Main) Run() error {
	if len(m.Links) == 0 {
		return errors.New("core: no link to serve")
	}
	var setup message.Setup
	err := setup.Parse(m.Setup)
	if err != nil {
		return fmt.Errorf("core: setup: %w", err)
	}
	cfg := Config{
		Store: m.Store, Memory: m.Memory, Now: m.Now, Supervisor: setup.Supervisor, Await: setup.Await, Volatile: setup.Volatile,
		Label: setup.Label, Offline: setup.Offline, Build: m.Build, Lock: m.Lock,
	}
	if !cfg.Volatile {
		if cfg.Sealer, err = m.seal(&setup); err != nil {
			return err
		}
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
		var dead secret.Collector
		for {
			select {
			case <-m.Second:
				dead.Tick(h.operations.Load())
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
