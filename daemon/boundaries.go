package daemon

import (
	"context"
	"path/filepath"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/identity/authority"
)

// startBoundaries starts the HSM and the identity authority. The authority
// talks to the HSM over a socket of its own, so that its sealing key never
// passes through this process; when both are ready no further host can be placed.
func (d *Daemon) startBoundaries(ctx context.Context) (err error) {
	roots, err := d.cfg.attestationRoots()
	if err != nil {
		return err
	}
	d.hsm, err = hsm.Start(ctx, hsm.Config{
		StateDir: filepath.Join(d.cfg.DataDir, "hsm"), SealKeyFile: d.cfg.SealKey, Guard: d.cfg.Guard, Roots: roots,
		Insecure: d.cfg.Insecure, Path: d.cfg.Binary, Log: d.childLog("hsm"),
	})
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
