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
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

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
	if !v.isPrivate(u.Host) {
		// The address is looked at when the connection is made, after the name was
		// resolved: a name that resolves to another address the second time gains nothing.
		dialer.Control = publicOnly
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

// publicOnly refuses a connection to an address that is not of the public internet.
func publicOnly(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !isPublic(a.Addr()) {
		return errFetch
	}
	return nil
}

// isPublic says whether an address is one of the public internet. What is
// carried inside of another address counts as that which it carries.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false // loopback, link-local, multicast, unspecified; RFC 1918 and RFC 4193
	}
	if a.Is6() && !netip.MustParsePrefix("2000::/3").Contains(a) {
		return false // nothing else is allocated
	}
	for _, p := range special() {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// special are the networks of the IANA's registries that are not of the public
// internet, or that lead to addresses which may not be.
func special() []netip.Prefix {
	var nets []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		nets = append(nets, netip.MustParsePrefix(s))
	}
	return nets
}
