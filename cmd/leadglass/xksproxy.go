package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/cryptography/xks/proxy"
)

func xksProxyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "xks-proxy",
		Short: "Keep the keys of a key service at home: an external key store proxy",
		Long: `An external key store proxy, in front of keys that stay with you. A key service
(this one, or any that speaks the public External Key Store Proxy API) encrypts
with its own material first and then asks the proxy, so neither side alone can
decrypt; when the proxy is off, or a key in it is disabled, nothing decrypts.

  leadglass xks-proxy credential new          # give it to create-custom-key-store
  leadglass xks-proxy key new                 # its id is the XksKeyId of create-key
  leadglass xks-proxy serve --tls-cert ... --tls-key ...

Everything lies in one folder (--dir), readable by its owner alone.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	key := &cobra.Command{Use: "key", Short: "The external keys", Args: noArguments, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	key.AddCommand(xksKeyNewCommand(), xksKeyListCommand(), xksKeySetCommand("disable", false), xksKeySetCommand("enable", true))
	credential := &cobra.Command{Use: "credential", Short: "What key services sign with", Args: noArguments, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	credential.AddCommand(xksCredentialNewCommand(), xksCredentialListCommand(), xksCredentialDeleteCommand())
	c.AddCommand(xksProxyServeCommand(), key, credential)
	return c
}

// An xksFolder is the flags that say where keys lie.
type xksFolder struct{ dir, backend, profile string }

func (x *xksFolder) flags(c *cobra.Command, backend bool) {
	c.Flags().StringVar(&x.dir, "dir", filepath.Join(dataDir(), "xks-proxy"), "folder of keys and credentials")
	if !backend {
		return
	}
	c.Flags().StringVar(&x.backend, "backend", "folder", "where key material is: in the folder, or kms:KEYARN, encrypted under that key and opened by its key service for each request, with the ambient credentials and endpoint")
	c.Flags().StringVar(&x.profile, "profile", "", "profile to sign with for kms:KEYARN (default: as the AWS tools choose)")
}

func (x *xksFolder) open() (*proxy.Folder, error) {
	cfg := proxy.FolderConfig{Dir: x.dir, Clock: clock.System}
	if arn, ok := strings.CutPrefix(x.backend, "kms:"); ok && arn != "" {
		p, err := ambientProfile(x.profile)
		if err != nil {
			return nil, err
		}
		cfg.Opener = &kmsOpener{newClient(p), arn}
	} else if x.backend != "" && x.backend != "folder" {
		return nil, usageError{fmt.Errorf("--backend %q: use folder or kms:KEYARN", x.backend)}
	}
	return proxy.OpenFolder(cfg)
}

// A kmsOpener wraps external keys under a key of a key service. The
// encryption context ties a wrapped key to its id, and lets a policy tell this
// use from others.
type kmsOpener struct {
	client *client
	arn    string
}

func (o *kmsOpener) Name() string { return o.arn }

const xksContext = "leadglass:xks-key"

func (o *kmsOpener) Wrap(ctx context.Context, keyID string, material []byte) ([]byte, error) {
	var out struct{ CiphertextBlob []byte }
	_, err := o.client.json(ctx, "kms", "Encrypt", map[string]any{"KeyId": o.arn, "Plaintext": material, "EncryptionContext": map[string]string{xksContext: keyID}}, &out)
	return out.CiphertextBlob, err
}

func (o *kmsOpener) Open(ctx context.Context, keyID string, wrapped []byte) ([]byte, error) {
	var out struct{ Plaintext []byte }
	_, err := o.client.json(ctx, "kms", "Decrypt", map[string]any{"KeyId": o.arn, "CiphertextBlob": wrapped, "EncryptionContext": map[string]string{xksContext: keyID}}, &out)
	switch codeOf(err) {
	case "DisabledException", "KMSInvalidStateException", "AccessDeniedException":
		return nil, fmt.Errorf("%w: %w", proxy.ErrDisabled, err)
	}
	return out.Plaintext, err
}

func xksProxyServeCommand() *cobra.Command {
	var folder xksFolder
	var listen, cert, key, prefix, clientCA, clientName, logFormat, logLevel string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the keys of the folder to key services",
		Long: `Serve the keys of the folder, over TLS alone. Keys and credentials that are
changed meanwhile count from the next request on. GET /ping answers load
balancers.

With --client-ca and --client-name the key service must also show a client
certificate; the public service has the name cks.kms.REGION.amazonaws.com.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(cmd.ErrOrStderr(), logFormat, logLevel)
			if err != nil {
				return usageError{err}
			}
			if cert == "" || key == "" {
				return usageError{errors.New("a key service comes over TLS: give --tls-cert and --tls-key")}
			}
			f, err := folder.open()
			if err != nil {
				return err
			}
			p, err := proxy.New(proxy.Config{Folder: f, Path: prefix + xks.PathSuffix, Clock: clock.System, Log: logger, Model: "Leadglass XKS proxy " + version()})
			if err != nil {
				return usageError{err}
			}
			config, err := xksTLS(cert, key, clientCA, clientName)
			if err != nil {
				return err
			}
			return serveProxy(cmd.Context(), cmd.OutOrStdout(), listen, prefix, config, p)
		},
	}
	folder.flags(c, true)
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:4600", "address to serve at")
	c.Flags().StringVar(&cert, "tls-cert", "", "certificate chain (PEM)")
	c.Flags().StringVar(&key, "tls-key", "", "private key of the certificate (PEM)")
	c.Flags().StringVar(&prefix, "prefix", "", "what the URI path has before "+xks.PathSuffix+", as in /hospital")
	c.Flags().StringVar(&clientCA, "client-ca", "", "certificates (PEM) that vouch for the key service's client certificate")
	c.Flags().StringVar(&clientName, "client-name", "", "common name of the key service's client certificate")
	c.Flags().StringVar(&logFormat, "log-format", "text", "text or json")
	c.Flags().StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// xksTLS is the configuration that the specification asks for: TLS 1.2 or
// later, and client certificates of one name under one authority if wanted.
func xksTLS(cert, key, clientCA, clientName string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if (clientCA == "") != (clientName == "") {
		return nil, usageError{errors.New("--client-ca and --client-name belong together")}
	}
	if clientCA == "" {
		return config, nil
	}
	text, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, err
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", clientCA)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if s.PeerCertificates[0].Subject.CommonName != clientName {
			return errors.New("the client certificate has another name")
		}
		return nil
	}
	return config, nil
}

// serveProxy serves until ctx ends.
func serveProxy(ctx context.Context, out io.Writer, listen, prefix string, config *tls.Config, h http.Handler) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler: h, TLSConfig: config, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
	}
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(l, "", "") }()
	fmt.Fprintf(out, "Leadglass %s serves external keys at https://%s%s\n", version(), l.Addr(), prefix+xks.PathSuffix)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = s.Shutdown(stop)
	<-done
	return err
}

func xksKeyNewCommand() *cobra.Command {
	var folder xksFolder
	var id string
	var usage []string
	var limits proxy.Limits
	var out output
	c := &cobra.Command{
		Use:   "new",
		Short: "Make an external key",
		Long: `Make an external key of 256 bits. The id that is printed is the XksKeyId of
  aws kms create-key --origin EXTERNAL_KEY_STORE --custom-key-store-id ... --xks-key-id ...

--kms-key and --principal limit what the key service may use it for; they hold
whatever the key service's own policies say.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := folder.open()
			if err != nil {
				return err
			}
			for _, u := range usage {
				if u != xks.UsageEncrypt && u != xks.UsageDecrypt {
					return usageError{fmt.Errorf("--usage %q: use ENCRYPT, DECRYPT or both", u)}
				}
			}
			id, err := f.NewKey(cmd.Context(), id, usage, limits)
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), map[string]string{"XksKeyId": id}, func(w io.Writer) { fmt.Fprintln(w, id) })
		},
	}
	folder.flags(c, true)
	c.Flags().StringVar(&id, "id", "", "of the key (default: random)")
	c.Flags().StringSliceVar(&usage, "usage", nil, "ENCRYPT, DECRYPT or both (default both)")
	c.Flags().StringSliceVar(&limits.KMSKeys, "kms-key", nil, "ARNs of the KMS keys that may use it; a star at the end stands for anything (default all)")
	c.Flags().StringSliceVar(&limits.Principals, "principal", nil, "ARNs of the principals it may be used for; a star at the end stands for anything (default all)")
	out.flag(c)
	return c
}

func xksKeyListCommand() *cobra.Command {
	var folder xksFolder
	var out output
	c := &cobra.Command{
		Use:   "list",
		Short: "List the external keys",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := folder.open()
			if err != nil {
				return err
			}
			keys, err := f.Keys()
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), keys, func(w io.Writer) {
				for _, k := range keys {
					state := "enabled"
					if !k.Enabled {
						state = "disabled"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, state, strings.Join(k.Usage, ","), k.Created.Format(time.RFC3339))
				}
			})
		},
	}
	folder.flags(c, false)
	out.flag(c)
	return c
}

func xksKeySetCommand(name string, enabled bool) *cobra.Command {
	var folder xksFolder
	c := &cobra.Command{
		Use:   name + " ID",
		Short: strings.ToUpper(name[:1]) + name[1:] + " an external key, from the next request on",
		Args:  exactly(1, "the id of a key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := folder.open()
			if err != nil {
				return err
			}
			return f.SetEnabled(args[0], enabled)
		},
	}
	folder.flags(c, false)
	return c
}

func xksCredentialNewCommand() *cobra.Command {
	var folder xksFolder
	var prefix string
	c := &cobra.Command{
		Use:   "new",
		Short: "Make a credential for a key service; it is shown this once",
		Long: `Make a credential for a key service and print it once, as the configuration file
of the public specification. Its member XksProxyAuthenticationCredential is what
  aws kms create-custom-key-store --xks-proxy-authentication-credential
takes. Several credentials are good at once, so that a key service can change
from one to the next.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !xks.ValidPath(prefix + xks.PathSuffix) {
				return usageError{fmt.Errorf("--prefix %q: use letters, digits, - and _, as in /hospital", prefix)}
			}
			f, err := folder.open()
			if err != nil {
				return err
			}
			c, err := f.NewCredential()
			if err != nil {
				return err
			}
			file := output{"json"}
			return file.print(cmd.OutOrStdout(), map[string]any{
				"XksProxyUriPath": prefix + xks.PathSuffix,
				"XksProxyAuthenticationCredential": map[string]string{
					"AccessKeyId": c.AccessKeyID, "RawSecretAccessKey": c.RawSecretAccessKey,
				},
			}, nil)
		},
	}
	folder.flags(c, false)
	c.Flags().StringVar(&prefix, "prefix", "", "that the proxy is served with")
	return c
}

func xksCredentialListCommand() *cobra.Command {
	var folder xksFolder
	var out output
	c := &cobra.Command{
		Use:   "list",
		Short: "List the access key ids of credentials",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := folder.open()
			if err != nil {
				return err
			}
			ids, err := f.Credentials()
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), ids, func(w io.Writer) {
				for _, id := range ids {
					fmt.Fprintln(w, id)
				}
			})
		},
	}
	folder.flags(c, false)
	out.flag(c)
	return c
}

func xksCredentialDeleteCommand() *cobra.Command {
	var folder xksFolder
	c := &cobra.Command{
		Use:   "delete ACCESSKEYID",
		Short: "End a credential, from the next request on",
		Args:  exactly(1, "an access key id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := folder.open()
			if err != nil {
				return err
			}
			return f.DeleteCredential(args[0])
		},
	}
	folder.flags(c, false)
	return c
}
