package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func envCommand() *cobra.Command {
	var data, name string
	c := &cobra.Command{
		Use:   "env",
		Short: "Print the environment with which the ordinary AWS tools use this plane",
		Long: `Print shell assignments for the ordinary AWS tools:
  eval "$(leadglass env --profile customer)"
Profiles of the data folder are found first, then those of the ordinary AWS
files. No secret is printed: the tools read it from the files themselves.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			credentials, config := clientFiles(data)
			p, err := readProfile(name, credentials, config)
			if err != nil {
				var ambient error
				credentials, config = awsFiles()
				if p, ambient = readProfile(name, credentials, config); ambient != nil {
					return fmt.Errorf("%w; and %w", err, ambient)
				}
			}
			for _, f := range []*string{&credentials, &config} {
				if abs, err := filepath.Abs(*f); err == nil {
					*f = abs
				}
			}
			w := cmd.OutOrStdout()
			// Keys of the environment would win over the profile in every tool.
			for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
				if os.Getenv(v) != "" {
					fmt.Fprintf(w, "unset %s\n", v)
				}
			}
			for _, kv := range [][2]string{
				{"AWS_PROFILE", p.Name}, {"AWS_REGION", p.Region}, {"AWS_DEFAULT_REGION", p.Region}, {"AWS_ENDPOINT_URL", p.Endpoint},
				{"AWS_SHARED_CREDENTIALS_FILE", credentials}, {"AWS_CONFIG_FILE", config},
			} {
				fmt.Fprintf(w, "export %s=%s\n", kv[0], shellQuote(kv[1]))
			}
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", dataDir(), "data folder of the plane")
	c.Flags().StringVar(&name, "profile", "customer", "profile to use")
	return c
}

// shellQuote quotes s for a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
