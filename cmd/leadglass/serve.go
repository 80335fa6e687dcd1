package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/leadglass/leadglass/daemon"
)

// release is set by the linker in released builds.
var release string

func version() string {
	if release != "" {
		return release
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "0.1.0-dev"
}

// dataDir is where a plane lives when --data does not say.
func dataDir() string {
	if d := os.Getenv("LEADGLASS_DATA"); d != "" {
		return d
	}
	if os.Geteuid() == 0 {
		return "/var/lib/leadglass"
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "leadglass")
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".local", "share", "leadglass")
}

func serveCommand() *cobra.Command {
	cfg := daemon.Config{Version: version()}
	var logFormat, logLevel, configFile string
	var commands []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the plane: front door, HSM and identity authority",
		Long: `Run the plane. The first start needs no set-up: it creates the HSM domain, the
operator's identity and a first customer account, and writes AWS-style
credentials and config files under DATA/client (profiles "operator" and
"customer", readable by their owner alone).

Plain HTTP is served on loopback only; any other address needs --tls-cert and
--tls-key.

Settings may stand in a file (--config); the command line wins. OpenID Connect
issuers with a public address and an ordinary certificate need no setting,
others --private-issuers and --issuer-ca; so it is with the proxies of
external key stores (--private-xks-proxies, --xks-ca).`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			calmMonitor()
			if err := readConfig(cmd, configFile); err != nil {
				return usageError{err}
			}
			logger, err := newLogger(cmd.ErrOrStderr(), logFormat, logLevel)
			if err != nil {
				return usageError{err}
			}
			cfg.Logger = logger
			if cfg.HSMCommands, err = readHSMCommands(commands); err != nil {
				return err
			}
			// The front's live heap is a few MiB and its garbage is short-lived: twice the room halves the collections and
			// costs about 10 MiB. GOGC still wins.
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(200)
			}
			preferThroughput()
			return serve(cmd.Context(), cmd.OutOrStdout(), cfg)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.DataDir, "data", dataDir(), "folder of everything that the plane keeps")
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:4599", "address to serve at")
	f.StringVar(&cfg.TLSCert, "tls-cert", "", "certificate chain (PEM)")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "private key of the certificate (PEM)")
	f.StringVar(&cfg.Region, "region", "us-east-1", "home region: of identities, and of keys unless a request is signed for another")
	f.StringSliceVar(&cfg.AdditionalRegions, "additional-regions", nil, "further regions that the plane answers for, with keys of their own, as in eu-central-1,eu-west-1")
	f.StringVar(&cfg.SealKey, "seal-key", "", "file with the key that seals the HSM's state (default DATA/hsm/seal.key; keep it on other media)")
	f.IntVar(&cfg.HSMMembers, "hsm-members", 1, "HSMs of this node; those beyond the first wait for the custodians to let them in (docs/custodians.md)")
	f.BoolVar(&cfg.HSMAwait, "hsm-await-domain", false, "let the HSM wait for a domain of custodians, rather than make one that the operator rules alone")
	f.StringArrayVar(&commands, "hsm-command", nil, "file of a signed command that gives an HSM without a domain one: a founding, an install or a recovery")
	f.DurationVar(&cfg.DomainKeyRotation, "domain-key-rotation", 24*time.Hour, "how old the HSM's domain key gets before the next one takes over, by the custodians' standing command if there are any; 0: rotate by hand")
	guardFlags(f, &cfg)
	f.StringSliceVar(&cfg.KeyMode, "key-mode", nil, "services (signing names, or all) whose signatures this process checks itself, with keys of the day from the authority (docs/trust-model.md); empty: the authority witnesses every request")
	f.DurationVar(&cfg.KeyTTL, "key-ttl", 0, "how long key mode keeps a key, at most 5m (default 1m)")
	f.StringVar(&cfg.IssuerCA, "issuer-ca", "", "certificates (PEM) that may vouch for OpenID Connect issuers, beside the system's")
	f.StringSliceVar(&cfg.PrivateIssuers, "private-issuers", nil, "hosts, or host:port, of OpenID Connect issuers that may have private addresses")
	f.StringVar(&cfg.XKSCA, "xks-ca", "", "certificates (PEM) that may vouch for proxies of external key stores, beside the system's")
	f.StringSliceVar(&cfg.PrivateXKSProxies, "private-xks-proxies", nil, "hosts, or host:port, of external key store proxies that may have private addresses, and ports other than 443")
	f.DurationVar(&cfg.XKSTimeout, "xks-timeout", 0, "how long an external key store proxy may take, at most 5s (default 250ms)")
	f.StringSliceVar(&cfg.AttestationRoots, "attestation-root", nil, "files of certificates (PEM) that attestation documents of enclaves may end in, while the HSM's domain has no operators")
	f.BoolVar(&cfg.AWSAttestation, "allow-aws-attestation", false, "accept attestation documents of the public cloud's enclaves, while the HSM's domain has no operators")
	f.StringVar(&cfg.PublicURL, "public-url", "", "URL by which others reach the plane, for the tokens that it issues (default: where it serves)")
	f.Var(quotasOf(&cfg), "quota", "what an account or an organization may hold, where AWS's defaults are too few, as in UsersPerAccount=200000,RolesPerAccount=50000")
	f.BoolVar(&cfg.Insecure, "insecure-no-lockdown", false, "start the HSM and the authority even where they cannot be locked down; shown in health and log")
	f.StringVar(&logFormat, "log-format", "text", "text or json")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&configFile, "config", "", "file of settings, one \"name = value\" a line, the names of these flags")
	return c
}

// guardFlags are those of the hardware that guards the HSM's seal.
func guardFlags(f *pflag.FlagSet, cfg *daemon.Config) {
	f.StringVar(&cfg.Guard.TPM, "tpm", "", "TPM 2.0 that guards the HSM's state, as /dev/tpmrm0 (unix:PATH for one in software)")
	f.StringVar(&cfg.Guard.PKCS11Module, "pkcs11-module", "", "library of a PKCS#11 token that guards the HSM's state")
	f.StringVar(&cfg.Guard.PKCS11Token, "pkcs11-token", "", "label of the token")
	f.StringVar(&cfg.Guard.PKCS11Key, "pkcs11-key", "", "label of the token's AES key, made if absent (default leadglass)")
	f.StringVar(&cfg.Guard.PKCS11PINFile, "pkcs11-pin-file", "", "file with the token's PIN")
	f.BoolVar(&cfg.Guard.Upgrade, "seal-upgrade", false, "accept a state that was sealed without --tpm or --pkcs11-module, and seal it anew; for one start")
}

// readConfig sets the flags that a settings file names and the command line does not.
func readConfig(cmd *cobra.Command, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	file, err := readINI(path)
	if err != nil {
		return err
	}
	for name, value := range file[""] {
		flag := cmd.Flags().Lookup(name)
		if flag == nil || name == "config" {
			return fmt.Errorf("%s: no setting %q", path, name)
		}
		if flag.Changed {
			continue // the command line wins
		}
		if err := cmd.Flags().Set(name, value); err != nil {
			return fmt.Errorf("%s: %s: %w", path, name, err)
		}
	}
	return nil
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
	}
	return nil, fmt.Errorf("--log-format %q: use text or json", format)
}

// serve runs a plane until ctx ends or something that must not fail fails.
func serve(ctx context.Context, out io.Writer, cfg daemon.Config) error {
	d, err := daemon.Start(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Leadglass %s serves %s at %s\n", cfg.Version, strings.Join(append([]string{cfg.Region}, cfg.AdditionalRegions...), ", "), d.URL())
	for _, w := range d.Warnings() {
		fmt.Fprintln(out, "warning:", w)
	}
	if d.FirstStart() {
		fmt.Fprintf(out, `
This was the first start. Two profiles are in %s:
  customer   an account of its own, with an administrator
  operator   opens accounts and reads health, and reaches nothing of a customer's

Next, in another shell:
  eval "$(leadglass env --data %s --profile customer)"
  aws kms create-key
`, filepath.Join(cfg.DataDir, "client"), cfg.DataDir)
	}
	err = d.Wait(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if stopErr := d.Stop(stop); err == nil {
		err = stopErr
	}
	return err
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(cmd.OutOrStdout(), "leadglass", version())
			return nil
		},
	}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s takes %s", cmd.CommandPath(), what)}
		}
		return nil
	}
}
