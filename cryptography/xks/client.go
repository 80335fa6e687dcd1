package xks

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/publicnet"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/sigv4"
)

// DefaultTimeout is how long a proxy may take, connection included.
const DefaultTimeout = 250 * time.Millisecond

const (
	maxAnswer   = 16 << 10
	maxInFlight = 128 // requests to one key store at once
	idlePerHost = 64
)

// DialerConfig says how proxies may be reached. Clock is required.
type DialerConfig struct {
	Clock clock.Clock
	// Roots are certificates, beside the system's, that may vouch for a proxy.
	Roots []*x509.Certificate
	// PrivateProxies are hosts, or host:port, that may have private, link-local
	// or loopback addresses.
	PrivateProxies []string
	Timeout        time.Duration // of one request; 0: DefaultTimeout
}

// A Dialer holds the connections to all proxies. It is safe for concurrent
// use. Connections are shared by the key stores of one host: every request is
// signed by itself.
type Dialer struct {
	clock   clock.Clock
	timeout time.Duration
	http    *http.Client
}

// NewDialer returns a dialer.
func NewDialer(cfg DialerConfig) (*Dialer, error) {
	if cfg.Clock == nil {
		return nil, errors.New("xks: DialerConfig.Clock is required")
	}
	private, err := publicnet.NewHosts(cfg.PrivateProxies)
	if err != nil {
		return nil, fmt.Errorf("xks: DialerConfig.PrivateProxies: %w", err)
	}
	var roots *x509.CertPool // nil: the system's
	if len(cfg.Roots) > 0 {
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool() // a machine without any: the operator's alone count
		}
		for _, c := range cfg.Roots {
			roots.AddCert(c)
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	// A dial may outlive the request that wanted it, so it has a limit of its own.
	limit := 2 * cfg.Timeout
	open, guarded := &net.Dialer{Timeout: limit}, &net.Dialer{Timeout: limit, Control: publicnet.Control}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		d := guarded
		if private.Has(address) {
			d = open
		} else if port != "443" {
			return nil, publicnet.ErrPrivate // nor does a customer probe the ports of the public internet from here
		}
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		// HTTP/1.1 alone, which every proxy must have.
		t := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: host})
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, &handshakeError{err}
		}
		return t, nil
	}
	return &Dialer{clock: cfg.Clock, timeout: cfg.Timeout, http: &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // the environment must not redirect it
			DialTLSContext:         dial,
			DisableCompression:     true, // a small answer must stay small
			MaxIdleConnsPerHost:    idlePerHost,
			MaxIdleConns:           16 * idlePerHost,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// A handshakeError is a TLS connection that did not come about.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// Close gives the idle connections up.
func (d *Dialer) Close() { d.http.CloseIdleConnections() }

// A Client asks the proxy of one external key store. It is safe for
// concurrent use.
type Client struct {
	dialer      *Dialer
	region      string // of the credential scope
	host        string
	base        string // endpoint and path
	path        string
	accessKeyID string
	secret      *secret.Bytes
	places      chan struct{} // one for each request under way
}

// NewClient returns the client of one key store; region is the key service's
// own. The secret stays the caller's,
// who destroys it when the client is not used any more.
func (d *Dialer) NewClient(region, endpoint, path, accessKeyID string, raw *secret.Bytes) (*Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || !ValidPath(path) || region == "" {
		return nil, errors.New("xks: not an endpoint and path of a proxy")
	}
	return &Client{
		dialer: d, region: region, host: u.Host, base: "https://" + u.Host + path, path: path, accessKeyID: accessKeyID, secret: raw,
		places: make(chan struct{}, maxInFlight),
	}, nil
}

// Fits says whether the URIs of a key stay within the protocol's limit.
func (c *Client) Fits(keyID string) bool {
	return ValidKeyID(keyID) && len(c.base)+len("/keys/")+len(keyID)+len("/metadata") <= MaxURI
}

// Health asks how proxy and key managers are. An answer means that the proxy
// takes the credential; whether a manager works is in it.
func (c *Client) Health(ctx context.Context, m RequestMetadata) (*Health, error) {
	var h Health
	if err := c.call(ctx, "/health", &HealthRequest{&m}, &h); err != nil {
		return nil, err
	}
	if h.FleetSize <= 0 || h.ProxyVendor == "" || h.ProxyModel == "" || h.Vendor == "" || len(h.Members) == 0 || len(h.Members) > MaxMembers {
		return nil, &Error{Kind: BadResponse}
	}
	for _, m := range h.Members {
		if m.ID == "" || m.Model == "" || m.Status != HealthActive && m.Status != HealthDegraded && m.Status != HealthGone {
			return nil, &Error{Kind: BadResponse}
		}
	}
	return &h, nil
}

// Works says whether some key manager serves.
func (h *Health) Works() bool {
	for _, m := range h.Members {
		if m.Status != HealthGone {
			return true
		}
	}
	return false
}

// Key asks what an external key is.
func (c *Client) Key(ctx context.Context, keyID string, m RequestMetadata) (*Key, error) {
	var k Key
	if err := c.key(ctx, keyID, "metadata", &KeyRequest{&m}, &k); err != nil {
		return nil, err
	}
	if k.Spec == "" || len(k.Usage) == 0 || len(k.Usage) > MaxUsages || k.Status != StatusEnabled && k.Status != StatusDisabled {
		return nil, &Error{Kind: BadResponse}
	}
	return &k, nil
}

// Encrypt has the external key encrypt a plaintext, and checks that what comes
// back has the sizes and the integrity value of the protocol.
func (c *Client) Encrypt(ctx context.Context, keyID string, m RequestMetadata, plaintext, aad []byte) (*Sealed, error) {
	if len(plaintext) == 0 || len(plaintext) > MaxPlaintext || len(aad) > MaxAAD {
		return nil, &Error{Kind: Validation}
	}
	var r EncryptResponse
	err := c.key(ctx, keyID, "encrypt", &EncryptRequest{
		RequestMetadata: &m, AAD: aad, Plaintext: plaintext, Algorithm: AlgorithmGCM, IntegrityAlgorithm: IntegritySHA256,
	}, &r)
	if err != nil {
		return nil, err
	}
	if r.Check(len(plaintext)) != nil {
		return nil, &Error{Kind: BadResponse}
	}
	sum := r.IntegrityValue(aad)
	if subtle.ConstantTimeCompare(sum[:], r.Integrity) != 1 {
		return nil, &Error{Kind: BadResponse}
	}
	return &r.Sealed, nil
}

// Decrypt has the external key open what it sealed.
func (c *Client) Decrypt(ctx context.Context, keyID string, m RequestMetadata, s *Sealed, aad []byte) ([]byte, error) {
	if len(s.Ciphertext) == 0 || len(s.Ciphertext) > MaxPlaintext || s.Check(len(s.Ciphertext)) != nil || len(aad) > MaxAAD {
		return nil, &Error{Kind: InvalidCiphertext}
	}
	var r DecryptResponse
	if err := c.key(ctx, keyID, "decrypt", &DecryptRequest{RequestMetadata: &m, AAD: aad, Algorithm: AlgorithmGCM, Sealed: *s}, &r); err != nil {
		return nil, err
	}
	if len(r.Plaintext) != len(s.Ciphertext) {
		return nil, &Error{Kind: BadResponse}
	}
	return r.Plaintext, nil
}

func (c *Client) key(ctx context.Context, keyID, operation string, in, out any) error {
	if !c.Fits(keyID) {
		return &Error{Kind: KeyNotFound}
	}
	return c.call(ctx, "/keys/"+keyID+"/"+operation, in, out)
}

// call signs and sends one request, always POST (section API operations).
func (c *Client) call(ctx context.Context, what string, in, out any) error {
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	default:
		// A proxy that hangs costs its own customers, not the process.
		return &Error{Kind: Throttling}
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("xks: %w", err)
	}
	// Only host and date are signed, as the public service does (appendix A); the body is by its hash.
	signed := sigv4.Request{Method: http.MethodPost, Target: c.path + what, Host: c.host, Header: http.Header{}, ContentLength: int64(len(body))}
	err = c.secret.Use(func(raw []byte) error {
		s := sigv4.Signer{AccessKeyID: c.accessKeyID, SecretAccessKey: raw, Region: c.region, Service: Service}
		return s.Sign(&signed, body, c.dialer.clock.Now())
	})
	if err != nil {
		return fmt.Errorf("xks: sign: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.dialer.timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+what, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("xks: %w", err)
	}
	q.Header = signed.Header
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", "leadglass")
	// Every request of the protocol may be sent twice. Empty, the header is not sent: it lets net/http try again on a new
	// connection when an idle one turns out to be dead, as all are after a proxy was restarted.
	q.Header["Idempotency-Key"] = nil
	r, err := c.dialer.http.Do(q)
	if err != nil {
		return &Error{Kind: whyNot(err), Err: err}
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
	switch {
	case err != nil:
		return &Error{Kind: whyNot(err), Err: err}
	case len(answer) > maxAnswer:
		return &Error{Kind: BadResponse}
	case r.StatusCode == http.StatusOK:
		return parse(answer, out)
	}
	var e ErrorBody
	if parse(answer, &e) != nil {
		return &Error{Kind: BadResponse}
	}
	return &Error{Kind: kindOf(e.Name, r.StatusCode)}
}

// parse reads one JSON object and nothing after it. Unknown members are
// ignored: a later version of a proxy may have more.
func parse(answer []byte, out any) error {
	answer = bytes.TrimSpace(answer)
	if len(answer) == 0 || answer[0] != '{' || json.Unmarshal(answer, out) != nil {
		return &Error{Kind: BadResponse}
	}
	return nil
}

// whyNot tells a connection that is refused from one that is not trusted and
// one that takes too long.
func whyNot(err error) Kind {
	var timeout net.Error
	switch {
	case errors.Is(err, publicnet.ErrPrivate):
		return Forbidden
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	}
	if _, ok := errors.AsType[*handshakeError](err); ok {
		return BadTLS
	}
	return Unreachable
}
