package federation

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/leadglass/leadglass/base/publicnet"
	"github.com/leadglass/leadglass/identity/directory"
)

var errFetch = errors.New("federation: the issuer's answer is of no use")

// discover finds an issuer's keys (OpenID Connect Discovery 1.0 section 4): the
// document says where they are, and must say of itself that it is this issuer's.
func (v *Verifier) discover(ctx context.Context, p *directory.OIDCProvider) ([]jose.JSONWebKey, error) {
	text, err := v.get(ctx, strings.TrimSuffix(p.Issuer(), "/")+"/.well-known/openid-configuration", p.Thumbprints, maxDocument)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if json.Unmarshal(text, &doc) != nil || doc.Issuer != p.Issuer() {
		return nil, errFetch
	}
	if text, err = v.get(ctx, doc.Keys, p.Thumbprints, maxKeySet); err != nil {
		return nil, err
	}
	keys, ok := parseKeys(text)
	if !ok {
		return nil, errFetch
	}
	return keys, nil
}

// get fetches one document. Nothing is kept between two fetches.
func (v *Verifier) get(ctx context.Context, text string, thumbprints []string, limit int64) ([]byte, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errFetch
	}
	dialer := &net.Dialer{Timeout: fetchTimeout}
	if !v.private.Has(u.Host) {
		// The address is looked at when the connection is made, after the name was
		// resolved: a name that resolves to another address the second time gains nothing.
		dialer.Control = publicnet.Control
	}
	client := &http.Client{
		Transport: &http.Transport{
			Proxy:              nil, // the environment must not redirect it
			DialContext:        dialer.DialContext,
			DisableKeepAlives:  true,
			DisableCompression: true, // a small answer must stay small
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12,
				// VerifyConnection checks the chain instead: it may also end in a certificate that the provider's
				// thumbprints name, which the standard check cannot be told.
				InsecureSkipVerify: true,
				VerifyConnection: func(c tls.ConnectionState) error {
					return v.checkChain(c.PeerCertificates, u.Hostname(), thumbprints)
				},
			},
			ResponseHeaderTimeout:  fetchTimeout,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errFetch
	}
	q.Header.Set("Accept", "application/json")
	q.Header.Set("User-Agent", "leadglass")
	r, err := client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFetch, err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, errFetch // a redirect among others
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil || int64(len(body)) > limit {
		return nil, errFetch
	}
	return body, nil
}

// checkChain accepts a chain that ends in a root of the system or the operator,
// as AWS does; failing that, one that ends in a certificate of the chain itself
// whose SHA-1 is among the provider's thumbprints. These are the customer's
// word for its own issuer; to find another certificate with the same thumbprint
// would take a second preimage, which SHA-1 still withstands.
func (v *Verifier) checkChain(chain []*x509.Certificate, host string, thumbprints []string) error {
	if len(chain) == 0 {
		return errFetch
	}
	opts := x509.VerifyOptions{Roots: v.roots(), DNSName: host, CurrentTime: v.clock.Now(), Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(opts)
	if err == nil {
		return nil
	}
	for _, c := range chain {
		sum := sha1.Sum(c.Raw)
		if !slices.Contains(thumbprints, hex.EncodeToString(sum[:])) {
			continue
		}
		opts.Roots = x509.NewCertPool()
		opts.Roots.AddCert(c)
		if _, err := chain[0].Verify(opts); err == nil {
			return nil
		}
	}
	return err
}
