package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// keyFile is the account's key in an export: what opens the events and names
// the log's verifier keys. Whoever has it can read the exported log.
const keyFile = "account-key.json"

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Export your audit log, and verify an export offline", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(auditExportCommand(), auditVerifyCommand())
	return c
}

func auditExportCommand() *cobra.Command {
	var dir, profile string
	c := &cobra.Command{
		Use:   "export --out DIR",
		Short: "Download your account's whole audit log, with the key that reads it",
		Long: `Download the audit log of your account: sealed events, Merkle tree, root log,
and ` + keyFile + `, with which (and only with which) the events can be read.
Uses the ambient credentials and endpoint, like any AWS tool. DIR must be new or
empty.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError{errors.New("audit export needs --out DIR")}
			}
			p, err := ambientProfile(profile)
			if err != nil {
				return err
			}
			if err := exportLog(cmd.Context(), newClient(p), dir); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Exported to %s. Check it, anywhere and offline:\n  leadglass audit verify %s\n", dir, dir)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "out", "", "folder to write to")
	c.Flags().StringVar(&profile, "profile", "", "profile to sign with (default: as the AWS tools choose)")
	return c
}

// exportLog downloads one consistent export of the caller's log into dir.
func exportLog(ctx context.Context, c *client, dir string) error {
	if old, err := os.ReadDir(dir); err == nil && len(old) > 0 {
		return fmt.Errorf("%s is not empty; name a new folder, so that two exports never mix", dir)
	}
	var export struct {
		ExportId string
		Files    []struct {
			Name string
			Size int64
		}
	}
	if _, err := c.json(ctx, "leadglass", "ExportAuditLog", struct{}{}, &export); err != nil {
		return err
	}
	var keys struct{ KeyFile []byte }
	if _, err := c.json(ctx, "leadglass", "GetAuditKeys", struct{}{}, &keys); err != nil {
		return err
	}
	for _, f := range export.Files {
		// A name comes from the server, so it must not lead out of the folder.
		if !filepath.IsLocal(f.Name) || f.Name == keyFile {
			return fmt.Errorf("the server names a file %q", f.Name)
		}
		if err := download(ctx, c, export.ExportId, f.Name, f.Size, filepath.Join(dir, f.Name)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return os.WriteFile(filepath.Join(dir, keyFile), keys.KeyFile, 0o600)
}

func download(ctx context.Context, c *client, export, name string, size int64, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for at := int64(0); at < size; {
		var part struct{ Data []byte }
		if _, err := c.json(ctx, "leadglass", "ReadAuditExport", map[string]any{"ExportId": export, "Name": name, "Offset": at}, &part); err != nil {
			return err
		}
		if len(part.Data) == 0 {
			return fmt.Errorf("ends at byte %d of %d", at, size)
		}
		if _, err := f.Write(part.Data); err != nil {
			return err
		}
		at += int64(len(part.Data))
	}
	return f.Close()
}

func auditVerifyCommand() *cobra.Command {
	var o verifyOptions
	var out output
	var events bool
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check an export of your audit log, offline",
		Long: `Check an exported log: signatures, root log, map proof, Merkle tree, every sealed
event and its commitment, times and heartbeats. Needs no server and no
credentials. Exit status: 0 all holds, 1 something was altered or is missing.

With --log-keys (the file that "account redeem" wrote) the log must also be the
one of your first day; with --receipts, receipts that you kept (the value of the
header x-leadglass-audit-receipt, one a line) must be honoured.`,
		Args: exactly(1, "the folder of an export"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if events {
				o.each = func(event []byte) error {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", event)
					return err
				}
			}
			report, err := verifyLog(args[0], o)
			if err != nil {
				return err
			}
			if err := out.print(cmd.OutOrStdout(), report, func(w io.Writer) {
				for _, m := range report.Missing {
					fmt.Fprintln(w, "missing:", m)
				}
				for _, p := range report.Problems {
					fmt.Fprintln(w, "problem:", p)
				}
				verdict := "The log is whole."
				if !report.OK {
					verdict = "THE LOG DOES NOT VERIFY."
				}
				fmt.Fprintf(w, "%s %d events of account %s in a log of size %d; root log size %d, epoch %d\n",
					verdict, report.VerifiedEvents, report.Account, report.AccountSize, report.RootSize, report.Epoch)
			}); err != nil {
				return err
			}
			if !report.OK {
				return silentError{}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.key, "key", "", "the account's key file (default: "+keyFile+" of the export)")
	f.StringVar(&o.pins, "log-keys", "", "the log's keys as they were at enrolment")
	f.DurationVar(&o.maxGap, "max-gap", 0, "longest silence of the log (default 2h; a plane that was stopped for longer leaves one; negative: any)")
	f.StringSliceVar(&o.receipts, "receipts", nil, "files of receipts that must be honoured")
	f.BoolVar(&events, "events", false, "print every event, one JSON object a line, before the verdict")
	out.flag(c)
	return c
}
