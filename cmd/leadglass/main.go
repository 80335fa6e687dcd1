// Command leadglass is the whole of Leadglass in one binary: the plane
// (serve), its two locked-down children (hsm, authority), and the tools of
// its operators and customers.
//
// Everything that the ordinary AWS tools can do is left to them; see
// `leadglass env`. Exit status: 0 done, 1 refused or failed, 2 usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// usageError marks mistakes of the command line.
type usageError struct{ error }

func main() { os.Exit(run()) }

func run() int {
	// The children come first: they must lock themselves down before anything else happens in them.
	if code, isChild := runChild(os.Args); isChild {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := root().ExecuteContext(ctx)
	var usage usageError
	var silent silentError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &silent):
		return 1
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "leadglass:", err)
		return 2
	}
	fmt.Fprintln(os.Stderr, "leadglass:", err)
	return 1
}

// silentError ends with status 1 after the command has said why itself.
type silentError struct{}

func (silentError) Error() string { return "failed" }

// root is the table of commands: each parses its flags and calls one package.
func root() *cobra.Command {
	c := &cobra.Command{
		Use:           "leadglass",
		Short:         "Identity, keys and proof that your operators cannot read",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("no command %q; leadglass --help lists them", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return c.Help() },
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	c.AddCommand(serveCommand(), hsmCommand(), accountCommand(), envCommand(), tourCommand(), auditCommand(), policyCommand(),
		operatorCommand(), sessionCommand(), keyCommand(), whyCommand(), sealCommand(), openCommand(), xksProxyCommand(), benchCommand(), fsckCommand(), versionCommand())
	return c
}
