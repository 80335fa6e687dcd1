package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/verify/audit"
)

// A CheckReport is what Check found in a data folder.
type CheckReport struct {
	Accounts int      `json:"accounts"`
	Entries  int      `json:"entries"` // of the store
	Events   uint64   `json:"events"`  // of all audit logs
	Problems []string `json:"problems"`
}

// Check examines the data folder of a stopped plane: it opens everything as a
// start would, without serving, reads every entry of the store, and verifies
// the audit log of every account from its first event to the root log. The
// events stay sealed: no data key is opened.
//
// An error means that the folder could not even be opened, which is itself a
// finding.
func Check(ctx context.Context, cfg Config) (report CheckReport, err error) {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := cfg.valid(); err != nil {
		return report, fmt.Errorf("daemon: %w", err)
	}
	if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
		return report, fmt.Errorf("daemon: %w", err)
	}
	for _, part := range []string{"state", "log", "hsm", "authority"} {
		if _, err := os.Stat(filepath.Join(cfg.DataDir, part)); err != nil {
			return report, fmt.Errorf("daemon: %s holds no plane: %w", cfg.DataDir, err)
		}
	}
	d := &Daemon{cfg: cfg, fatal: make(chan error, 1), checking: true}
	_, d.cancel = context.WithCancel(ctx)
	defer func() { err = errors.Join(err, d.stop(context.WithoutCancel(ctx))) }()
	for _, step := range []func(context.Context) error{d.openData, d.openState, d.findRegions, d.openLog, d.openDomains} {
		if err := step(ctx); err != nil {
			return report, fmt.Errorf("daemon: %w", err)
		}
	}
	report.Problems = []string{}
	if report.Entries, err = d.countEntries(ctx); err != nil {
		report.Problems = append(report.Problems, fmt.Sprintf("store: %v", err))
	}
	damaged, err := d.directory.Check(ctx)
	if err != nil {
		damaged = append(damaged, err.Error())
	}
	for _, p := range damaged {
		report.Problems = append(report.Problems, "identities: "+p)
	}
	if damaged, err = d.orgs.Check(ctx); err != nil {
		damaged = append(damaged, err.Error())
	}
	for _, p := range damaged {
		report.Problems = append(report.Problems, "organizations: "+p)
	}
	for _, a := range d.directory.Accounts() {
		report.Accounts++
		events, problems, err := d.checkLog(ctx, a.ID)
		if err != nil {
			problems = append(problems, err.Error())
		}
		report.Events += events
		for _, p := range problems {
			report.Problems = append(report.Problems, fmt.Sprintf("audit log of account %s: %s", a.ID, p))
		}
	}
	return report, nil
}

// findRegions takes the regions from the store: all that it holds keys of are
// examined.
func (d *Daemon) findRegions(ctx context.Context) error {
	e, err := d.store.Get(ctx, regionName)
	if err != nil {
		return err
	}
	if e.Mod != 0 {
		d.cfg.Region = string(e.Value)
	}
	d.cfg.AdditionalRegions, err = keys.StoredRegions(ctx, d.store)
	return err
}

// countEntries reads the whole store; its engine checks every block's sum.
func (d *Daemon) countEntries(ctx context.Context) (n int, err error) {
	start := []byte{0}
	for {
		es, more, _, err := d.store.Scan(ctx, start, nil, kv.MaxScan, 0, false)
		if err != nil {
			return n, err
		}
		n += len(es)
		if !more || len(es) == 0 {
			return n, nil
		}
		start = kv.After(es[len(es)-1].Key)
	}
}

// checkLog verifies one account's log as its customer would, but with a key
// file that holds no data key.
func (d *Daemon) checkLog(ctx context.Context, account string) (events uint64, problems []string, err error) {
	dir, err := os.MkdirTemp("", "leadglass-fsck-")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	export, err := d.log.Export(ctx, account)
	if err != nil {
		return 0, nil, err
	}
	for _, f := range export.Files {
		if err := d.copyExport(ctx, account, export.ID, f.Name, filepath.Join(dir, filepath.FromSlash(f.Name))); err != nil {
			return 0, nil, err
		}
	}
	conf, err := d.log.Configuration(account)
	if err != nil {
		return 0, nil, err
	}
	report, err := audit.Verify(os.DirFS(dir), record.AccountKey{
		Format: record.AccountKeyFormat, Account: account, Domain: auditDomain, Salt: conf.Salt, Logs: conf.Verifiers,
	}, audit.Options{MaxGap: -1}) // a plane that was stopped for a day is no damage
	if err != nil {
		return 0, nil, err
	}
	for _, m := range report.Missing {
		problems = append(problems, "missing: "+m)
	}
	return report.AccountSize, append(problems, report.Problems...), nil
}

func (d *Daemon) copyExport(ctx context.Context, account, export, name, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := d.log.ReadExport(ctx, account, export, name, at, b)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return f.Close()
		}
		if _, err := f.Write(b[:n]); err != nil {
			return err
		}
		at += int64(n)
	}
}
