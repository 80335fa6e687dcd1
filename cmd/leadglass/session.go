package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func sessionCommand() *cobra.Command {
	c := &cobra.Command{Use: "session", Short: "End sessions of your account", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(sessionRevokeCommand())
	return c
}

func sessionRevokeCommand() *cobra.Command {
	var key, principal, account, before, profile string
	var out output
	c := &cobra.Command{
		Use:   "revoke (--access-key-id ID | --principal ARN | --account ID)",
		Short: "End a session, or all sessions of an access key, a role, a user or the account",
		Long: `End sessions before they expire, effective when the command returns and for good.
Long-term access keys are not touched: set those inactive with
  aws iam update-access-key

--access-key-id ASIA...  ends the session of that id
--access-key-id AKIA...  ends all sessions that were made with that access key
--principal ARN          ends all sessions of a role or user
--account ID             ends all sessions of your account, and all that its
                         access keys have opened in others

Of all but a single session, only what was issued until now (or --issued-before)
is ended; whoever may, can sign in anew at once.

Needs leadglass:RevokeSessions on the role or user, on
arn:aws:leadglass:REGION:ACCOUNT:session/ACCESSKEYID, or on
arn:aws:leadglass:REGION:ACCOUNT:account/ACCOUNT.
Uses the ambient credentials and endpoint, like any AWS tool.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]any{}
			for name, value := range map[string]string{"AccessKeyId": key, "PrincipalArn": principal, "AccountId": account} {
				if value != "" {
					in[name] = value
				}
			}
			if len(in) != 1 {
				return usageError{errors.New("session revoke needs exactly one of --access-key-id, --principal and --account")}
			}
			if before != "" {
				t, err := time.Parse(time.RFC3339, before)
				if err != nil {
					return usageError{fmt.Errorf("--issued-before %q: write it as in 2026-11-24T12:00:00Z", before)}
				}
				in["IssuedBefore"] = float64(t.UnixMilli()) / 1000
			}
			p, err := ambientProfile(profile)
			if err != nil {
				return err
			}
			var done struct {
				Epoch        int64
				IssuedBefore float64 `json:",omitempty"`
			}
			if _, err := newClient(p).json(cmd.Context(), "leadglass", "RevokeSessions", in, &done); err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), done, func(w io.Writer) {
				if done.IssuedBefore == 0 {
					fmt.Fprintf(w, "The session of %s has ended.\n", key)
					return
				}
				fmt.Fprintf(w, "Sessions of %s that were issued until %s have ended.\n", key+principal+account, seconds(done.IssuedBefore).Format(time.RFC3339))
			})
		},
	}
	c.Flags().StringVar(&key, "access-key-id", "", "of a session (ASIA...), or of a user (AKIA...)")
	c.Flags().StringVar(&principal, "principal", "", "ARN of a role or user")
	c.Flags().StringVar(&account, "account", "", "your account: its 12 digits")
	c.Flags().StringVar(&before, "issued-before", "", "end only what was issued until then, as in 2026-11-24T12:00:00Z (default now)")
	c.Flags().StringVar(&profile, "profile", "", "profile to sign with (default: as the AWS tools choose)")
	out.flag(c)
	return c
}
