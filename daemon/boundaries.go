package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/identity/authority"
)

// maxHSMs bounds the HSMs of one node; each is a process with locked memory.
const maxHSMs = 16

// startBoundaries starts the HSMs and the identity authority. The authority
// talks to an HSM over a socket of its own, so that its sealing key never
// passes through this process; when all are ready no further host can be placed.
func (d *Daemon) startBoundaries(ctx context.Context) (err error) {
	roots, err := d.cfg.attestationRoots()
	if err != nil {
		return err
	}
	d.hsm, err = hsm.StartNode(ctx, hsm.NodeConfig{
		HSM: hsm.Config{
			StateDir: filepath.Join(d.cfg.DataDir, "hsm"), SealKeyFile: d.cfg.SealKey, Guard: d.cfg.Guard, Await: d.cfg.HSMAwait, Roots: roots,
			Insecure: d.cfg.Insecure, Path: d.cfg.Binary, Log: d.childLog("hsm"),
		},
		Members: d.cfg.HSMMembers, Commands: d.cfg.HSMCommands,
	})
	if errors.Is(err, hsm.ErrWaiting) {
		return fmt.Errorf("%w: give it one with leadglass hsm member --state, leadglass hsm create-domain and --hsm-command (docs/custodians.md)", err)
	}
	if err != nil {
		return err
	}
	d.authority, err = authority.Start(ctx, authority.Config{
		StateDir: filepath.Join(d.cfg.DataDir, "authority"), HSM: d.hsm,
		Insecure: d.cfg.Insecure, Path: d.cfg.Binary, Log: d.childLog("authority"),
	})
	return err
}

// childLog carries what a child writes to stderr, a crash above all, into our log.
func (d *Daemon) childLog(name string) func(string) {
	return func(line string) { d.cfg.Logger.Warn("boundary", "process", name, "line", line) }
}
