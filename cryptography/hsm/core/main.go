package core

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// Main is what an HSM process runs, inside its boundary.
type Main struct {
	Store      Store
	SealKey    io.ReadWriter // a file of its own for the seal key; nil: in Store
	Memory     *secret.Arena
	Now        func() time.Time
	Supervisor []byte                      // SPKI of the host that is at the first link
	Links      []io.ReadWriter             // closed when their host is not let in, if they can be
	Ready      func(identity []byte) error // tells the supervisor whom to expect
}

// Run opens the domain and serves all links. It ends when the supervisor's
// link, the first one, has ended.
func (m *Main) Run() error {
	if len(m.Links) == 0 {
		return errors.New("core: no link to serve")
	}
	seal, err := OpenSoftwareSeal(m.Store, m.SealKey, m.Memory)
	if err != nil {
		return err
	}
	h, err := Open(Config{Store: m.Store, Sealer: seal, Memory: m.Memory, Now: m.Now, Supervisor: m.Supervisor})
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
	return h.Serve(m.Links[0])
}
