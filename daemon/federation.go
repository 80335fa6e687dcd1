package daemon

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/federation"
)

// openFederation makes what lets identities of elsewhere in, and ours out.
func (d *Daemon) openFederation() error {
	roots, err := readCertificates(d.cfg.IssuerCA)
	if err != nil {
		return err
	}
	v, err := federation.New(federation.Config{Clock: clock.System, Roots: roots, PrivateIssuers: d.cfg.PrivateIssuers})
	if err != nil {
		return err
	}
	d.issuer, err = federation.NewIssuer(d.directory, d.authority.Client(), d.publicURL)
	if err != nil {
		return err
	}
	d.sessions.WithFederation(v, d.issuer)
	return nil
}

// publicURL is how the world outside knows this plane.
func (d *Daemon) publicURL() string {
	if d.cfg.PublicURL != "" {
		return d.cfg.PublicURL
	}
	return d.URL()
}

// validPublicURL: verifiers compare it to the letter, so it has one form.
func validPublicURL(s string) error {
	u, err := url.Parse(s)
	if s != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		return fmt.Errorf("public URL %q: use https://HOST, without a path", s)
	}
	return nil
}

// readCertificates reads a PEM file of certificates, and nothing else.
func readCertificates(path string) (certs []*x509.Certificate, err error) {
	if path == "" {
		return nil, nil
	}
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %s beside certificates", path, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New(path + " holds no certificate")
	}
	return certs, nil
}
