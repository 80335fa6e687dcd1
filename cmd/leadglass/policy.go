package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/identity/authz/cases"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Test policies without a server", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(policyTestCommand())
	return c
}

func policyTestCommand() *cobra.Command {
	var out output
	c := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run policy test cases: who may do what under which policies",
		Long: `Run policy test cases. A file is a JSON object with "cases", each with a
request, the policies that bear on it, and the decision that you expect:

  {"cases": [{"id": "ward-1",
    "request": {"principal": {"type": "user", "arn": "arn:aws:iam::111111111111:user/eve", "account": "111111111111"},
                "action": "kms:Decrypt", "resource": "arn:aws:kms:us-east-1:111111111111:key/1", "resource_account": "111111111111", "context": {}},
    "policies": {"identity": [{"Version": "2012-10-17", "Statement": []}]},
    "expect": {"decision": "implicit_deny", "by": "identity"}}]}

or cases with "kind", "document" and "valid" for documents that must be
accepted or refused. "-" reads standard input. Prints a line for each failure
and a count; exits 1 if any case failed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("policy test needs at least one file of cases")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			type failure struct {
				File   string `json:"file"`
				Case   string `json:"case"`
				Reason string `json:"reason"`
			}
			result := struct {
				Passed   int       `json:"passed"`
				Failed   int       `json:"failed"`
				Failures []failure `json:"failures"`
			}{Failures: []failure{}}
			for _, path := range args {
				all, err := loadCases(cmd.InOrStdin(), path)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				for _, one := range all {
					if r := one.Run(); r.OK {
						result.Passed++
					} else {
						result.Failed++
						result.Failures = append(result.Failures, failure{path, one.ID, r.Failure})
					}
				}
			}
			if err := out.print(cmd.OutOrStdout(), result, func(w io.Writer) {
				for _, f := range result.Failures {
					fmt.Fprintf(w, "%s: %s: %s\n", f.File, f.Case, f.Reason)
				}
				fmt.Fprintf(w, "%d passed, %d failed\n", result.Passed, result.Failed)
			}); err != nil {
				return err
			}
			if result.Failed > 0 {
				return silentError{}
			}
			return nil
		},
	}
	out.flag(c)
	return c
}

func loadCases(stdin io.Reader, path string) ([]cases.Case, error) {
	if path == "-" {
		return cases.Load(stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return cases.Load(f)
}
