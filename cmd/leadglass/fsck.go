package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/daemon"
)

func fsckCommand() *cobra.Command {
	cfg := daemon.Config{Version: version()}
	var out output
	c := &cobra.Command{
		Use:   "fsck",
		Short: "Check a stopped plane's data folder: store, keys, identities and every audit log",
		Long: `Check the data folder of a stopped plane: the store's own checksums, every
account, user, role, policy, organization and key, and that the audit log of
every account is whole, from its first event to the root log. Reads nothing of
what the events say: they stay sealed. Repairs nothing, but opens the folder as
a start does, which finishes what a crash interrupted. Exit status: 0 all is
well, 1 not.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Listen = "127.0.0.1:0"
			report, err := daemon.Check(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if err := out.print(cmd.OutOrStdout(), report, func(w io.Writer) {
				for _, p := range report.Problems {
					fmt.Fprintln(w, "problem:", p)
				}
				fmt.Fprintf(w, "%d accounts, %d store entries, %d audit events checked; %d problems\n", report.Accounts, report.Entries, report.Events, len(report.Problems))
			}); err != nil {
				return err
			}
			if len(report.Problems) > 0 {
				return silentError{}
			}
			return nil
		},
	}
	c.Flags().StringVar(&cfg.DataDir, "data", dataDir(), "data folder of the plane")
	c.Flags().StringVar(&cfg.SealKey, "seal-key", "", "file with the key that seals the HSM's state")
	guardFlags(c.Flags(), &cfg)
	c.Flags().BoolVar(&cfg.Insecure, "insecure-no-lockdown", false, "start the boundaries even where they cannot be locked down")
	out.flag(c)
	return c
}
