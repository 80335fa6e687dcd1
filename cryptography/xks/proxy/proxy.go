// Package proxy is an external key store proxy: the side of package xks that
// the owner of the keys runs, at home, for a key service elsewhere. Every key
// service that speaks the public External Key Store Proxy API can use it.
//
// Start with OpenFolder, which holds the external keys and the credentials of
// the key service, and New, which makes an http.Handler of it. The folder is
// read again whenever a file in it changed, so that a key that is disabled is
// dead with the next request, and a folder that cannot be read serves nothing.
//
// A key's material stands in the folder itself (mode 0600), or encrypted under
// a key of a key service that the owner trusts (an Opener): then it is opened
// for each request and wiped after it, and disabling that one key ends them
// all.
//
// Who may use a key is the key service's to decide; beside that a key can be
// limited here to KMS keys and principals (Limits), which the service cannot
// get round. Requests are logged with what the specification asks for, without
// plaintext or ciphertext.
//
// Promised: the formats of the folder and of ciphertext metadata, version 1,
// stay readable (docs/formats/xks.md). Not done here: TLS (the server's), and
// any API to make keys over the network.
package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/identity/sigv4"
)

const (
	maxSkew = 5 * time.Minute // appendix A, task 4
	maxBody = 64 << 10        // the longest plaintext and AAD of the protocol take 17 KiB, ARNs 2 KiB each
	// PingPath answers load balancers, which cannot sign.
	PingPath = "/ping"
)

// Config says what to serve. All but Log are required.
type Config struct {
	Folder *Folder
	Path   string // [/prefix]/kms/xks/v1
	Clock  clock.Clock
	Log    *slog.Logger // nil: nothing is logged
	// Model is how GetHealthStatus calls this proxy: product and version.
	Model string
}

// A Proxy answers a key service. It is safe for concurrent use.
type Proxy struct{ cfg Config }

// New returns a proxy.
func New(cfg Config) (*Proxy, error) {
	if cfg.Folder == nil || cfg.Clock == nil || cfg.Model == "" {
		return nil, errors.New("proxy: Config.Folder, Clock and Model are required")
	}
	if !xks.ValidPath(cfg.Path) {
		return nil, errors.New("proxy: the path is [/prefix]" + xks.PathSuffix + ", of letters, digits, - and _, at most 128 characters")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Proxy{cfg}, nil
}

// A refusal is an answer of the protocol that is no success.
type refusal struct {
	kind xks.Kind
	text string // printable ASCII, and nothing secret
	err  error  // for the log
}

func (r *refusal) Error() string { return r.kind.Name() + ": " + r.text }

func refuse(k xks.Kind, text string) *refusal { return &refusal{kind: k, text: text} }

// A request is one call under way; the log reads it when it is over.
type request struct {
	operation, key string
	meta           xks.RequestMetadata
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == PingPath && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.WriteHeader(http.StatusOK)
		return
	}
	began := p.cfg.Clock.Now()
	var q request
	out, err := p.serve(w, r, &q)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	level, name := slog.LevelInfo, "ok"
	if err == nil {
		body, merr := json.Marshal(out)
		if err = merr; err == nil {
			w.Write(body)
			secret.Wipe(body)
		}
	}
	if err != nil {
		ref, ok := errors.AsType[*refusal](err)
		if !ok {
			ref = &refusal{kind: xks.Internal, text: "The proxy could not do it.", err: err}
		}
		level, name, err = slog.LevelWarn, ref.kind.Name(), ref.err
		status := ref.kind.Status()
		if q.operation == methodNotAllowed {
			status = http.StatusMethodNotAllowed
			w.Header().Set("Allow", http.MethodPost)
		}
		w.WriteHeader(status)
		body, _ := json.Marshal(xks.ErrorBody{Name: ref.kind.Name(), Message: ref.text}) // two strings: it cannot fail
		w.Write(body)
	}
	attrs := []slog.Attr{
		slog.String("operation", q.operation), slog.String("key", q.key), slog.String("result", name),
		slog.String("kmsRequestId", q.meta.KMSRequestID), slog.String("kmsOperation", q.meta.KMSOperation),
		slog.String("awsPrincipalArn", q.meta.AWSPrincipalArn), slog.String("kmsKeyArn", q.meta.KMSKeyArn),
		slog.String("kmsViaService", q.meta.KMSViaService), slog.Duration("took", p.cfg.Clock.Now().Sub(began)),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	p.cfg.Log.LogAttrs(r.Context(), level, "xks-proxy: request", attrs...)
}

const methodNotAllowed = "(method)"

// serve goes through the stages: method, URI, signature, body, key.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, q *request) (any, error) {
	if r.Method != http.MethodPost {
		q.operation = methodNotAllowed
		return nil, refuse(xks.UnsupportedOperation, "Only POST is served.")
	}
	if err := q.route(r, p.cfg.Path); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	defer secret.Wipe(body)
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return nil, refuse(xks.UnsupportedOperation, "The request is longer than this proxy takes.")
		}
		return nil, refuse(xks.Validation, "The request could not be read.")
	}
	if err := p.authenticate(r, body); err != nil {
		return nil, err
	}
	switch q.operation {
	case "health":
		return p.health(r.Context(), q, body)
	case "metadata":
		return p.metadata(q, body)
	case "encrypt":
		return p.encrypt(r.Context(), q, body)
	}
	return p.decrypt(r.Context(), q, body)
}

// route reads the URI, which is one of four and nothing near them.
func (q *request) route(r *http.Request, path string) error {
	bad := refuse(xks.InvalidURIPath, "The URI path is not valid.")
	rest, ok := strings.CutPrefix(r.RequestURI, path+"/")
	if !ok || len("https://")+len(r.Host)+len(r.RequestURI) > xks.MaxURI {
		return bad
	}
	if rest == "health" {
		q.operation = rest
		return nil
	}
	rest, ok = strings.CutPrefix(rest, "keys/")
	id, operation, cut := strings.Cut(rest, "/")
	if !ok || !cut || !xks.ValidKeyID(id) || operation != "metadata" && operation != "encrypt" && operation != "decrypt" {
		return bad
	}
	q.operation, q.key = operation, id
	return nil
}

// authenticate checks the signature over everything that the request is
// (appendix A). The answer does not tell which part of it was wrong.
func (p *Proxy) authenticate(r *http.Request, body []byte) error {
	bad := refuse(xks.AuthenticationFailed, "The request could not be authenticated.")
	s := sigv4.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header, ContentLength: int64(len(body))}
	parsed, err := sigv4.Parse(&s)
	if err != nil {
		bad.err = err
		return bad
	}
	now := p.cfg.Clock.Now()
	switch {
	case parsed.Asymmetric(), parsed.Presigned, parsed.Post, parsed.SessionToken != "", parsed.Streaming(),
		!parsed.Signed("host"), !parsed.Signed("x-amz-date"),
		parsed.PayloadHash == sigv4.UnsignedPayload,
		parsed.Time.Sub(now) > maxSkew, now.Sub(parsed.Time) > maxSkew:
		return bad
	}
	// The region is the key service's own, whichever that is.
	if err := parsed.CheckScope(now, []string{parsed.Region}, xks.Service); err != nil {
		bad.err = err
		return bad
	}
	sum := sha256.Sum256(body)
	sts, _, err := parsed.StringToSign(&s, &sum, nil)
	if err != nil {
		bad.err = err
		return bad
	}
	raw, found, err := p.cfg.Folder.credential(parsed.AccessKeyID)
	if err != nil {
		return &refusal{kind: xks.Internal, text: "The proxy's credentials cannot be read.", err: err}
	}
	good := false
	err = raw.Use(func(raw []byte) error {
		key := sigv4.SigningKey(raw, parsed.Date, parsed.Region, xks.Service)
		good = sigv4.Verify(&key, sts, &parsed.Signature)
		secret.Wipe(key[:])
		return nil
	})
	if err != nil || !found || !good { // an unknown access key costs the time of a known one
		return bad
	}
	return nil
}

// decode reads a body, and its request metadata, of which need says what the
// operation cannot do without.
func decode(q *request, body []byte, in any, meta func() *xks.RequestMetadata, need func(m *xks.RequestMetadata) bool) error {
	bad := refuse(xks.Validation, "One or more input parameters are missing or not valid.")
	d := bytes.TrimSpace(body)
	if len(d) == 0 || d[0] != '{' || json.Unmarshal(d, in) != nil {
		return bad
	}
	m := meta()
	if m == nil || m.KMSOperation == "" || m.KMSRequestID == "" || !need(m) || !shortEnough(m) {
		return bad
	}
	q.meta = *m
	return nil
}

// shortEnough bounds what goes to the log; ARNs may have 2048 characters.
func shortEnough(m *xks.RequestMetadata) bool {
	for _, s := range []string{m.AWSPrincipalArn, m.AWSSourceVpc, m.AWSSourceVpce, m.KMSKeyArn, m.KMSOperation, m.KMSRequestID, m.KMSViaService} {
		if len(s) > 2048 {
			return false
		}
	}
	return true
}

func (p *Proxy) health(ctx context.Context, q *request, body []byte) (any, error) {
	var in xks.HealthRequest
	err := decode(q, body, &in, func() *xks.RequestMetadata { return in.RequestMetadata }, func(*xks.RequestMetadata) bool { return true })
	if err != nil {
		return nil, err
	}
	id, model, err := p.cfg.Folder.Probe(ctx)
	if err != nil {
		return nil, &refusal{kind: xks.Internal, text: "The external key manager does not work.", err: err}
	}
	return &xks.Health{
		FleetSize: 1, ProxyVendor: "Leadglass", ProxyModel: p.cfg.Model, Vendor: "Leadglass",
		Members: []xks.Member{{ID: id, Model: model, Status: xks.HealthActive}},
	}, nil
}

func (p *Proxy) metadata(q *request, body []byte) (any, error) {
	var in xks.KeyRequest
	err := decode(q, body, &in, func() *xks.RequestMetadata { return in.RequestMetadata }, func(m *xks.RequestMetadata) bool { return m.AWSPrincipalArn != "" })
	if err != nil {
		return nil, err
	}
	k, err := p.find(q)
	if err != nil {
		return nil, err
	}
	status := xks.StatusDisabled
	if k.Enabled {
		status = xks.StatusEnabled
	}
	return &xks.Key{Spec: xks.SpecAES256, Usage: k.Usage, Status: status}, nil
}

// find finds the key of the request and checks that the caller is one that its
// owner lets use it. One whom it does not let is told so, not that there is none: the
// credential is the same for all.
func (p *Proxy) find(q *request) (*Key, error) {
	k, err := p.cfg.Folder.key(q.key)
	switch {
	case err != nil:
		return nil, &refusal{kind: xks.Internal, text: "The proxy's keys cannot be read.", err: err}
	case k == nil:
		return nil, refuse(xks.KeyNotFound, "There is no such external key.")
	case !k.Limits.allow(&q.meta):
		return nil, refuse(xks.AccessDenied, "The external key is limited to other callers.")
	}
	return k, nil
}

// usable is find for the operations that use a key.
func (p *Proxy) usable(q *request, usage string) (*Key, error) {
	k, err := p.find(q)
	switch {
	case err != nil:
		return nil, err
	case !k.Enabled:
		return nil, refuse(xks.InvalidState, "The external key is disabled.")
	case !k.may(usage):
		return nil, refuse(xks.InvalidKeyUsage, "The external key does not support the operation.")
	}
	return k, nil
}

func named(m *xks.RequestMetadata) bool { return m.AWSPrincipalArn != "" && m.KMSKeyArn != "" }

func (p *Proxy) encrypt(ctx context.Context, q *request, body []byte) (any, error) {
	var in xks.EncryptRequest
	defer func() { secret.Wipe(in.Plaintext) }()
	if err := decode(q, body, &in, func() *xks.RequestMetadata { return in.RequestMetadata }, named); err != nil {
		return nil, err
	}
	switch {
	case len(in.Plaintext) == 0 || in.Algorithm != xks.AlgorithmGCM || in.IntegrityAlgorithm != "" && in.IntegrityAlgorithm != xks.IntegritySHA256:
		return nil, refuse(xks.Validation, "One or more input parameters are missing or not valid.")
	case len(in.AAD) > xks.MaxAAD:
		return nil, refuse(xks.UnsupportedOperation, "The additional authenticated data is longer than this proxy takes.")
	}
	k, err := p.usable(q, xks.UsageEncrypt)
	if err != nil {
		return nil, err
	}
	if in.IntegrityAlgorithm != "" && !k.may(xks.UsageDecrypt) {
		return nil, refuse(xks.InvalidKeyUsage, "The integrity value promises that the key can decrypt, which it may not.")
	}
	var out xks.EncryptResponse
	err = p.cfg.Folder.use(ctx, k, func(material []byte) error {
		s, err := seal(material, in.Plaintext, in.AAD)
		if err != nil {
			return err
		}
		out.Sealed = *s
		if in.IntegrityAlgorithm == "" {
			return nil
		}
		// The value first, the check after it: bits that turn over in between would
		// else be covered by the value (appendix C).
		sum := s.IntegrityValue(in.AAD)
		again, err := open(material, s, in.AAD)
		defer secret.Wipe(again)
		if err != nil || !bytes.Equal(again, in.Plaintext) {
			return errors.New("proxy: what was just encrypted does not decrypt")
		}
		out.Integrity = sum[:]
		return nil
	})
	if err != nil {
		return nil, manager(err)
	}
	return &out, nil
}

func (p *Proxy) decrypt(ctx context.Context, q *request, body []byte) (any, error) {
	var in xks.DecryptRequest
	if err := decode(q, body, &in, func() *xks.RequestMetadata { return in.RequestMetadata }, named); err != nil {
		return nil, err
	}
	switch {
	case in.Algorithm != xks.AlgorithmGCM || len(in.Ciphertext) == 0 || len(in.IV) == 0 || len(in.Tag) == 0:
		return nil, refuse(xks.Validation, "One or more input parameters are missing or not valid.")
	case len(in.AAD) > xks.MaxAAD:
		return nil, refuse(xks.UnsupportedOperation, "The additional authenticated data is longer than this proxy takes.")
	}
	k, err := p.usable(q, xks.UsageDecrypt)
	if err != nil {
		return nil, err
	}
	var out xks.DecryptResponse
	err = p.cfg.Folder.use(ctx, k, func(material []byte) (err error) {
		out.Plaintext, err = open(material, &in.Sealed, in.AAD)
		return err
	})
	if err != nil {
		return nil, manager(err)
	}
	return &out, nil
}

// manager is what a failure of the keys' keeper means to the key service.
func manager(err error) error {
	switch {
	case errors.Is(err, errSealed):
		return refuse(xks.InvalidCiphertext, "The ciphertext, its metadata, its vector, its tag or the additional data is not valid.")
	case errors.Is(err, ErrDisabled):
		return refuse(xks.InvalidState, "The external key is disabled.")
	case errors.Is(err, context.DeadlineExceeded):
		return &refusal{kind: xks.DependencyTimeout, text: "The external key manager did not answer in time.", err: err}
	}
	return &refusal{kind: xks.Internal, text: "The external key manager could not do it.", err: err}
}
