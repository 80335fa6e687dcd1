package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// output is the --output flag of commands that people and programs read.
type output struct{ format string }

func (o *output) flag(c *cobra.Command) {
	c.Flags().StringVar(&o.format, "output", "text", "text or json")
}

// print writes v as JSON, or calls text.
func (o *output) print(w io.Writer, v any, text func(io.Writer)) error {
	switch o.format {
	case "text":
		text(w)
		return nil
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	return usageError{fmt.Errorf("--output %q: use text or json", o.format)}
}

// operatorClient signs with the operator's profile: of the data folder when it
// is there, else of the ordinary AWS files.
func operatorClient(data, name string) (*client, error) {
	credentials, config := clientFiles(data)
	if _, err := os.Stat(credentials); err == nil {
		p, err := readProfile(name, credentials, config)
		if err != nil {
			return nil, err
		}
		return newClient(p), nil
	}
	p, err := ambientProfile(name)
	if err != nil {
		return nil, err
	}
	return newClient(p), nil
}

func clientFiles(data string) (credentials, config string) {
	return filepath.Join(data, "client", "credentials"), filepath.Join(data, "client", "config")
}

// account is an account as the API and --output json show it.
type account struct {
	AccountId, Name, Status string
	CreationDate            float64
	Enrolled                bool
}

func accountCommand() *cobra.Command {
	c := &cobra.Command{Use: "account", Short: "Open customer accounts, and redeem an enrolment code", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(accountCreateCommand(), accountRedeemCommand(), accountListCommand())
	return c
}

func accountCreateCommand() *cobra.Command {
	var data, profile, name string
	var out output
	c := &cobra.Command{
		Use:   "create --name NAME",
		Short: "Open a customer account and print its one-time enrolment code (operator)",
		Long: `Open a customer account. What is printed is a one-time enrolment code, not
credentials: hand it to the customer, who redeems it with
  leadglass account redeem CODE
and alone sees the secret access key. A code that was redeemed once is refused
ever after, so a customer whose code fails knows that somebody else used it.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usageError{fmt.Errorf("account create needs --name")}
			}
			cl, err := operatorClient(data, profile)
			if err != nil {
				return err
			}
			answer, err := createAccount(cmd.Context(), cl, name)
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), answer, func(w io.Writer) {
				fmt.Fprintf(w, "Account %s (%s) is open.\n\nEnrolment code, valid once until %s:\n  %s\n\nThe customer redeems it:\n  leadglass account redeem --endpoint %s --profile NAME CODE\n",
					answer.Account.AccountId, answer.Account.Name, seconds(answer.ExpirationDate).Format(time.RFC3339), answer.EnrolmentCode, cl.Endpoint)
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "the customer's name")
	c.Flags().StringVar(&data, "data", dataDir(), "data folder of the plane, for the operator's profile")
	c.Flags().StringVar(&profile, "profile", "operator", "profile to sign with")
	out.flag(c)
	return c
}

type newAccount struct {
	Account        account
	EnrolmentCode  string
	ExpirationDate float64
}

func createAccount(ctx context.Context, c *client, name string) (newAccount, error) {
	var out newAccount
	_, err := c.json(ctx, "leadglass", "CreateAccount", map[string]string{"Name": name}, &out)
	return out, err
}

func accountListCommand() *cobra.Command {
	var data, profile string
	var out output
	c := &cobra.Command{
		Use:   "list",
		Short: "List the accounts (operator)",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := operatorClient(data, profile)
			if err != nil {
				return err
			}
			all := []account{}
			for token := ""; ; {
				in := map[string]any{}
				if token != "" {
					in["NextToken"] = token
				}
				var page struct {
					Accounts  []account
					NextToken string
				}
				if _, err := cl.json(cmd.Context(), "leadglass", "ListAccounts", in, &page); err != nil {
					return err
				}
				all = append(all, page.Accounts...)
				if token = page.NextToken; token == "" {
					break
				}
			}
			return out.print(cmd.OutOrStdout(), all, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "ACCOUNT\tNAME\tSTATUS\tOPENED\tENROLLED")
				for _, a := range all {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%v\n", a.AccountId, a.Name, a.Status, seconds(a.CreationDate).Format(time.DateOnly), a.Enrolled)
				}
				t.Flush()
			})
		},
	}
	c.Flags().StringVar(&data, "data", dataDir(), "data folder of the plane, for the operator's profile")
	c.Flags().StringVar(&profile, "profile", "operator", "profile to sign with")
	out.flag(c)
	return c
}

func accountRedeemCommand() *cobra.Command {
	var endpoint, region, profileName string
	var out output
	c := &cobra.Command{
		Use:   "redeem CODE",
		Short: "Redeem an enrolment code: get the first credentials of an account (customer)",
		Long: `Redeem a one-time enrolment code. The credentials are written to the ordinary
AWS files (AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE, or ~/.aws), readable
by you alone, as a new profile. What is needed to check your audit log later,
its verifier keys, is kept beside them: it pins the log from the first day.`,
		Args: exactly(1, "the enrolment code"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if endpoint == "" {
				endpoint = os.Getenv("AWS_ENDPOINT_URL")
			}
			if endpoint == "" {
				return usageError{fmt.Errorf("account redeem needs --endpoint, or AWS_ENDPOINT_URL")}
			}
			credentials, config := awsFiles()
			if err := checkNewProfile(profileName, credentials, config); err != nil {
				return err // the code is not spent yet
			}
			r, err := redeem(cmd.Context(), endpoint, region, strings.TrimSpace(args[0]))
			if err != nil {
				return err
			}
			p := profile{Name: profileName, Region: region, Endpoint: endpoint, AccessKeyID: r.AccessKeyId, SecretAccessKey: r.SecretAccessKey}
			if err := addProfile(p, credentials, config); err != nil {
				// The code is spent: better shown once than lost.
				fmt.Fprintf(cmd.ErrOrStderr(), "leadglass: the profile could not be written: %v\naws_access_key_id = %s\naws_secret_access_key = %s\n", err, r.AccessKeyId, r.SecretAccessKey)
				return silentError{}
			}
			pins, err := pinLog(filepath.Dir(credentials), p.Name, r)
			if err != nil {
				return err
			}
			shown := map[string]any{"AccountId": r.AccountId, "UserName": r.UserName, "AccessKeyId": r.AccessKeyId, "Profile": p.Name, "CredentialsFile": credentials, "LogKeys": pins}
			return out.print(cmd.OutOrStdout(), shown, func(w io.Writer) {
				fmt.Fprintf(w, "You are %s of account %s. Profile %q is in %s.\n\nNext:\n  export AWS_PROFILE=%s\n  aws kms create-key\n", r.UserName, r.AccountId, p.Name, credentials, p.Name)
			})
		},
	}
	c.Flags().StringVar(&endpoint, "endpoint", "", "URL of the plane")
	c.Flags().StringVar(&region, "region", "us-east-1", "region of the plane")
	c.Flags().StringVar(&profileName, "profile", "leadglass", "name of the new profile")
	out.flag(c)
	return c
}

type redeemed struct {
	AccountId, UserName, AccessKeyId, SecretAccessKey string
	LabelSalt                                         []byte
	VerifierKeys                                      []string
}

// redeem exchanges an enrolment code for credentials. The request is not signed: the code is what authenticates it.
func redeem(ctx context.Context, endpoint, region, code string) (redeemed, error) {
	var out redeemed
	c := newClient(profile{Endpoint: endpoint, Region: region})
	_, err := c.json(ctx, "leadglass", "RedeemEnrolment", map[string]string{"Code": code}, &out)
	return out, err
}

// pinLog keeps the log's verifier keys as they were at enrolment, so that a
// later export cannot bring other ones.
func pinLog(dir, name string, r redeemed) (string, error) {
	b, err := json.MarshalIndent(map[string]any{"accountId": r.AccountId, "labelSalt": r.LabelSalt, "verifierKeys": r.VerifierKeys}, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "leadglass-"+name+".logkeys.json")
	return path, os.WriteFile(path, append(b, '\n'), 0o600)
}

func seconds(s float64) time.Time { return time.UnixMilli(int64(s * 1000)).UTC() }
