package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func operatorCommand() *cobra.Command {
	c := &cobra.Command{Use: "operator", Short: "The operator's vetted operations, and nothing more", Args: noArguments,
		Long: `The operator's vetted operations. This list, "account create" and "account
list" are all that an operator can do to a running plane; none of them returns
customer data, and each leaves a record in the operator's own log.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(operatorHealthCommand())
	return c
}

func operatorHealthCommand() *cobra.Command {
	var data, profile string
	var out output
	c := &cobra.Command{
		Use:   "health",
		Short: "How the plane is, how its boundaries are locked down, and how signatures are checked",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := operatorClient(data, profile)
			if err != nil {
				return err
			}
			var h struct {
				Status, Version string
				StartTime       float64
				Boundaries      []struct {
					Name                string
					Running, LockedDown bool
					Measures, Missing   []string
				}
				Authentication struct {
					KeyModeServices                                                          []string
					RevocationEpoch, RevocationStreamAge, SigningKeysIssued, SigningKeysKept int64
				}
				DomainKeys struct {
					ActiveKeyId, Problem              string
					CreationDate                      float64
					Keys, TokensRewrapped, TokensLeft int64
					Rewrapping                        bool
				}
				Warnings []string
			}
			if _, err := cl.json(cmd.Context(), "leadglass", "GetHealth", struct{}{}, &h); err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), h, func(w io.Writer) {
				fmt.Fprintf(w, "%s, version %s, since %s\n", h.Status, h.Version, seconds(h.StartTime).Format("2006-01-02 15:04:05 MST"))
				for _, b := range h.Boundaries {
					state := "locked down"
					switch {
					case !b.Running:
						state = "NOT RUNNING"
					case !b.LockedDown:
						state = "NOT LOCKED DOWN, missing: " + strings.Join(b.Missing, ", ")
					}
					fmt.Fprintf(w, "  %-10s %s (%s)\n", b.Name, state, strings.Join(b.Measures, ", "))
				}
				a := h.Authentication
				mode := "witness mode: no signing key leaves the authority"
				if len(a.KeyModeServices) > 0 {
					mode = fmt.Sprintf("key mode for %s: %d signing keys issued, %d kept", strings.Join(a.KeyModeServices, ", "), a.SigningKeysIssued, a.SigningKeysKept)
				}
				fmt.Fprintf(w, "  %-10s %s (revocations up to epoch %d, heard of %d ms ago)\n", "signatures", mode, a.RevocationEpoch, a.RevocationStreamAge)
				if k := h.DomainKeys; k.ActiveKeyId != "" {
					tokens := "all tokens under it"
					switch {
					case k.Rewrapping:
						tokens = fmt.Sprintf("tokens are being sealed anew: %d done, %d left", k.TokensRewrapped, k.TokensLeft)
					case k.TokensLeft > 0:
						tokens = fmt.Sprintf("%d tokens under older ones", k.TokensLeft)
					}
					fmt.Fprintf(w, "  %-10s %s since %s, %d held (%s)\n", "domain key", k.ActiveKeyId, seconds(k.CreationDate).Format("2006-01-02 15:04:05 MST"), k.Keys, tokens)
				}
				for _, x := range h.Warnings {
					fmt.Fprintln(w, "warning:", x)
				}
			})
		},
	}
	c.Flags().StringVar(&data, "data", dataDir(), "data folder of the plane, for the operator's profile")
	c.Flags().StringVar(&profile, "profile", "operator", "profile to sign with")
	out.flag(c)
	return c
}
