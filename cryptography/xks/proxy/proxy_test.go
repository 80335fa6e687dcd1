package proxy_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/cryptography/xks/proxy"
	"github.com/leadglass/leadglass/identity/sigv4"
)

const path = "/hospital/kms/xks/v1"

// A rig is a served proxy, its folder and its log.
type rig struct {
	t      *testing.T
	dir    string
	folder *proxy.Folder
	clock  *clock.Fake
	server *httptest.Server
	cred   proxy.Credential
	key    string
	log    *bytes.Buffer
	opener *opener
}

// opener wraps by the key's name, so that a test can switch it off.
type opener struct {
	disabled bool
	opened   []string
}

func (o *opener) Name() string { return "arn:aws:kms:eu-central-1:444455556666:key/home" }

func (o *opener) Wrap(_ context.Context, keyID string, material []byte) ([]byte, error) {
	return append([]byte(keyID+"/"), material...), nil
}

func (o *opener) Open(_ context.Context, keyID string, wrapped []byte) ([]byte, error) {
	if o.disabled {
		return nil, proxy.ErrDisabled
	}
	o.opened = append(o.opened, keyID)
	material, ok := bytes.CutPrefix(wrapped, []byte(keyID+"/"))
	if !ok {
		return nil, errors.New("wrapped for another key")
	}
	return bytes.Clone(material), nil
}

func newRig(t *testing.T, wrapped bool) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "keys"), clock: clock.NewFake(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)), log: &bytes.Buffer{}}
	cfg := proxy.FolderConfig{Dir: r.dir, Clock: r.clock}
	if wrapped {
		r.opener = &opener{}
		cfg.Opener = r.opener
	}
	var err error
	if r.folder, err = proxy.OpenFolder(cfg); err != nil {
		t.Fatal(err)
	}
	if r.cred, err = r.folder.NewCredential(); err != nil {
		t.Fatal(err)
	}
	if r.key, err = r.folder.NewKey(t.Context(), "", nil, proxy.Limits{}); err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{Folder: r.folder, Path: path, Clock: r.clock, Log: slog.New(slog.NewTextHandler(r.log, nil)), Model: "Leadglass test"})
	if err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewTLSServer(p)
	t.Cleanup(r.server.Close)
	return r
}

// A call is a request to the proxy, changed by a test before or after it is signed.
type call struct {
	path   string
	body   string
	cred   *proxy.Credential
	method string
	before func(r *sigv4.Request, s *sigv4.Signer)
	after  func(r *http.Request)
}

func (r *rig) do(c call) (status int, answer map[string]any) {
	r.t.Helper()
	if c.cred == nil {
		c.cred = &r.cred
	}
	if c.method == "" {
		c.method = "POST"
	}
	host := strings.TrimPrefix(r.server.URL, "https://")
	signed := sigv4.Request{Method: c.method, Target: c.path, Host: host, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(c.body))}
	s := sigv4.Signer{AccessKeyID: c.cred.AccessKeyID, SecretAccessKey: []byte(c.cred.RawSecretAccessKey), Region: "eu-west-1", Service: "kms-xks-proxy"}
	if c.before != nil {
		c.before(&signed, &s)
	}
	if err := s.Sign(&signed, []byte(c.body), r.clock.Now()); err != nil {
		r.t.Fatal(err)
	}
	q, err := http.NewRequestWithContext(r.t.Context(), c.method, r.server.URL+c.path, strings.NewReader(c.body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header = signed.Header
	if c.after != nil {
		c.after(q)
	}
	a, err := r.server.Client().Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(b) > 0 && json.Unmarshal(b, &answer) != nil {
		r.t.Fatalf("the answer is no JSON: %q", b)
	}
	if a.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("content type %q", a.Header.Get("Content-Type"))
	}
	return a.StatusCode, answer
}

const metadata = `"requestMetadata":{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab","kmsOperation":"Any","kmsRequestId":"4112f4d6","kmsViaService":"ebs"}`

func encryptBody(plaintext, aad, integrity string) string {
	body := `{` + metadata
	for name, v := range map[string]string{"plaintext": plaintext, "additionalAuthenticatedData": aad, "ciphertextDataIntegrityValueAlgorithm": integrity} {
		if v != "" {
			body += `,"` + name + `":"` + v + `"`
		}
	}
	return body + `,"encryptionAlgorithm":"AES_GCM"}`
}

func decryptBody(sealed map[string]any, aad string) string {
	body := `{` + metadata + `,"encryptionAlgorithm":"AES_GCM"`
	for _, name := range []string{"ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"} {
		if v, ok := sealed[name].(string); ok {
			body += `,"` + name + `":"` + v + `"`
		}
	}
	if aad != "" {
		body += `,"additionalAuthenticatedData":"` + aad + `"`
	}
	return body + `}`
}

func (r *rig) refused(what string, c call, status int, name string) {
	r.t.Helper()
	got, answer := r.do(c)
	if got != status || answer["errorName"] != name {
		r.t.Errorf("%s: %d %v, want %d %s", what, got, answer, status, name)
	}
	if m, _ := answer["errorMessage"].(string); len(m) > 511 || strings.ContainsFunc(m, func(c rune) bool { return c < ' ' || c > '~' }) {
		r.t.Errorf("%s: message %q", what, m)
	}
}

func (r *rig) ok(what string, c call) map[string]any {
	r.t.Helper()
	status, answer := r.do(c)
	if status != 200 {
		r.t.Fatalf("%s: %d %v", what, status, answer)
	}
	return answer
}

// The checks of the published test client (aws-samples/aws-kms-xksproxy-test-client 1.1.0).
func TestTheChecksOfThePublishedTestClientPass(t *testing.T) {
	for name, wrapped := range map[string]bool{"keys in the folder": false, "keys wrapped by a key service": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, wrapped)
			plaintext, aad, aad2 := "cGxhaW50ZXh0Cg==", "cHJvamVjdD1uaWxlLGRlcGFydG1lbnQ9bWFya2V0aW5n", "cHJvamVjdD1ibHVlLGRlcGFydG1lbnQ9ZmluYW5jZQ=="
			key := path + "/keys/" + r.key
			bodies := map[string]string{
				path + "/health":  `{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"1"}}`,
				key + "/metadata": `{` + metadata + `}`, key + "/encrypt": encryptBody(plaintext, "", ""),
			}
			for uri, body := range bodies {
				if answer := r.ok(uri, call{path: uri, body: body}); answer["healthStatus"] == nil && answer["keyStatus"] == nil && answer["ciphertext"] == nil && answer["ekmFleetDetails"] == nil {
					t.Errorf("%s: %v", uri, answer)
				}
				r.refused("no metadata", call{path: uri, body: `{}`}, 400, "ValidationException")
				r.refused("empty metadata", call{path: uri, body: `{"requestMetadata":{}}`}, 400, "ValidationException")
				r.refused("an unknown access key", call{path: uri, body: body, cred: &proxy.Credential{AccessKeyID: "Invalid" + r.cred.AccessKeyID, RawSecretAccessKey: r.cred.RawSecretAccessKey}}, 401, "AuthenticationFailedException")
				r.refused("a wrong secret", call{path: uri, body: body, cred: &proxy.Credential{AccessKeyID: r.cred.AccessKeyID, RawSecretAccessKey: "Invalid" + r.cred.RawSecretAccessKey}}, 401, "AuthenticationFailedException")
				r.refused("a wrong prefix", call{path: "/hospital/invalid" + strings.TrimPrefix(uri, "/hospital"), body: body}, 404, "InvalidUriPathException")
				if status, _ := r.do(call{path: uri, method: "GET"}); status != 405 {
					t.Errorf("GET %s: %d", uri, status)
				}
			}
			for _, op := range []string{"metadata", "encrypt"} {
				r.refused("no such key", call{path: path + "/keys/non_existing_key/" + op, body: encryptBody(plaintext, "", "")}, 404, "KeyNotFoundException")
			}
			r.refused("no plaintext", call{path: key + "/encrypt", body: encryptBody("", "", "")}, 400, "ValidationException")

			with := r.ok("encrypt with AAD", call{path: key + "/encrypt", body: encryptBody(plaintext, aad, "")})
			r.refused("no AAD", call{path: key + "/decrypt", body: decryptBody(with, "")}, 400, "InvalidCiphertextException")
			r.refused("another AAD", call{path: key + "/decrypt", body: decryptBody(with, aad2)}, 400, "InvalidCiphertextException")

			large := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("L"), 4300))
			for _, c := range []struct{ plaintext, aad, integrity string }{
				{plaintext, "", ""}, {plaintext, aad, ""}, {plaintext, aad, "SHA_256"}, {plaintext, "", "SHA_256"},
				{large, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("A"), 8192)), "SHA_256"},
			} {
				s := r.ok("encrypt", call{path: key + "/encrypt", body: encryptBody(c.plaintext, c.aad, c.integrity)})
				if (s["ciphertextDataIntegrityValue"] != nil) != (c.integrity != "") {
					t.Errorf("integrity value: %v", s)
				}
				if got := r.ok("decrypt", call{path: key + "/decrypt", body: decryptBody(s, c.aad)}); got["plaintext"] != c.plaintext {
					t.Errorf("decrypted %v", got)
				}
			}
			for part := range with {
				s := map[string]any{}
				for k, v := range with {
					s[k] = v
				}
				b, err := base64.StdEncoding.DecodeString(with[part].(string))
				if err != nil {
					t.Fatal(err)
				}
				b[len(b)-1] ^= 1
				s[part] = base64.StdEncoding.EncodeToString(b)
				r.refused("altered "+part, call{path: key + "/decrypt", body: decryptBody(s, aad)}, 400, "InvalidCiphertextException")
			}
		})
	}
}

func TestAKeyDoesWhatItsUsageSays(t *testing.T) {
	r := newRig(t, false)
	sealed := r.ok("encrypt", call{path: path + "/keys/" + r.key + "/encrypt", body: encryptBody("YQ==", "", "")})
	for usage, refused := range map[string]string{"ENCRYPT": "decrypt", "DECRYPT": "encrypt"} {
		id, err := r.folder.NewKey(t.Context(), "only-"+usage, []string{usage}, proxy.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		body := map[string]string{"encrypt": encryptBody("YQ==", "", ""), "decrypt": decryptBody(sealed, "")}[refused]
		r.refused(refused, call{path: path + "/keys/" + id + "/" + refused, body: body}, 400, "InvalidKeyUsageException")
		if got := r.ok("metadata", call{path: path + "/keys/" + id + "/metadata", body: `{` + metadata + `}`}); !slices.Equal(got["keyUsage"].([]any), []any{usage}) {
			t.Errorf("%v", got)
		}
	}
}

func TestAKeyThatOnlyEncryptsGivesNoIntegrityValue(t *testing.T) {
	r := newRig(t, false)
	if _, err := r.folder.NewKey(t.Context(), "enc", []string{"ENCRYPT"}, proxy.Limits{}); err != nil {
		t.Fatal(err)
	}
	r.ok("without", call{path: path + "/keys/enc/encrypt", body: encryptBody("YQ==", "", "")})
	r.refused("with", call{path: path + "/keys/enc/encrypt", body: encryptBody("YQ==", "", "SHA_256")}, 400, "InvalidKeyUsageException")
}

func TestADisabledKeyIsDeadWithTheNextRequestAndAliveAgain(t *testing.T) {
	r := newRig(t, false)
	uri := path + "/keys/" + r.key
	sealed := r.ok("encrypt", call{path: uri + "/encrypt", body: encryptBody("YQ==", "", "")})
	// Another process changes the folder.
	other, err := proxy.OpenFolder(proxy.FolderConfig{Dir: r.dir, Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := other.SetEnabled(r.key, false); err != nil {
			t.Fatal(err)
		}
		r.refused("disabled", call{path: uri + "/decrypt", body: decryptBody(sealed, "")}, 400, "InvalidStateException")
		r.refused("disabled", call{path: uri + "/encrypt", body: encryptBody("YQ==", "", "")}, 400, "InvalidStateException")
		if got := r.ok("metadata", call{path: uri + "/metadata", body: `{` + metadata + `}`}); got["keyStatus"] != "DISABLED" {
			t.Errorf("%v", got)
		}
		if err := other.SetEnabled(r.key, true); err != nil {
			t.Fatal(err)
		}
		if got := r.ok("decrypt", call{path: uri + "/decrypt", body: decryptBody(sealed, "")}); got["plaintext"] != "YQ==" {
			t.Errorf("%v", got)
		}
	}
	if err := other.DeleteCredential(r.cred.AccessKeyID); err != nil {
		t.Fatal(err)
	}
	r.refused("a deleted credential", call{path: uri + "/decrypt", body: decryptBody(sealed, "")}, 401, "AuthenticationFailedException")
}

func TestAWrappedKeyIsOpenedForEachUseAndDeadWithItsWrappingKey(t *testing.T) {
	r := newRig(t, true)
	uri := path + "/keys/" + r.key
	sealed := r.ok("encrypt", call{path: uri + "/encrypt", body: encryptBody("YQ==", "", "")})
	r.ok("decrypt", call{path: uri + "/decrypt", body: decryptBody(sealed, "")})
	if len(r.opener.opened) != 2 {
		t.Errorf("opened %v", r.opener.opened)
	}
	health := call{path: path + "/health", body: `{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"1"}}`}
	r.ok("health", health)
	if last := r.opener.opened[len(r.opener.opened)-1]; last == r.key {
		t.Error("a health check used the owner's key")
	}
	r.opener.disabled = true
	r.refused("disabled", call{path: uri + "/decrypt", body: decryptBody(sealed, "")}, 400, "InvalidStateException")
	r.refused("health", health, 500, "InternalException")
}

func TestAKeyIsLimitedToWhomItsOwnerNames(t *testing.T) {
	r := newRig(t, false)
	mine := proxy.Limits{KMSKeys: []string{"arn:aws:kms:us-east-2:123456789012:*"}, Principals: []string{"arn:aws:iam::123456789012:user/Alice"}}
	for id, test := range map[string]struct {
		limits proxy.Limits
		use    bool
	}{
		"mine": {mine, true}, "other-key": {proxy.Limits{KMSKeys: []string{"arn:aws:kms:us-east-2:999999999999:*"}}, false},
		"other-principal": {proxy.Limits{Principals: []string{"arn:aws:iam::123456789012:user/Ali"}}, false},
	} {
		if _, err := r.folder.NewKey(t.Context(), id, nil, test.limits); err != nil {
			t.Fatal(err)
		}
		c := call{path: path + "/keys/" + id + "/encrypt", body: encryptBody("YQ==", "", "")}
		if test.use {
			r.ok(id, c)
		} else {
			r.refused(id, c, 403, "AccessDeniedException")
		}
	}
}

func TestASignatureMustBeFreshAndCoverHostAndDate(t *testing.T) {
	r := newRig(t, false)
	base := call{path: path + "/keys/" + r.key + "/encrypt", body: encryptBody("YQ==", "", "")}
	r.ok("fresh", base)
	now := r.clock.Now()
	for name, change := range map[string]func(c *call){
		"the body is another": func(c *call) {
			c.after = func(q *http.Request) { q.Body = io.NopCloser(strings.NewReader(c.body[:len(c.body)-1] + " ")) }
		},
		"no signature":    func(c *call) { c.after = func(q *http.Request) { q.Header.Del("Authorization") } },
		"another host":    func(c *call) { c.after = func(q *http.Request) { q.Host = "keys.example" } },
		"another service": func(c *call) { c.before = func(_ *sigv4.Request, s *sigv4.Signer) { s.Service = "kms" } },
		"a session token": func(c *call) { c.before = func(_ *sigv4.Request, s *sigv4.Signer) { s.SessionToken = "x" } },
	} {
		c := base
		change(&c)
		r.refused(name, c, 401, "AuthenticationFailedException")
	}
	for _, skew := range []time.Duration{5*time.Minute + time.Second, -5*time.Minute - time.Second} {
		c := base
		c.after = func(*http.Request) { r.clock.Set(now.Add(skew)) }
		r.refused(skew.String(), c, 401, "AuthenticationFailedException")
		r.clock.Set(now)
	}
	c := base
	c.after = func(*http.Request) { r.clock.Set(now.Add(5*time.Minute - time.Second)) }
	r.ok("almost five minutes old", c)
}

func TestTheURIIsOneOfFourAndShortEnough(t *testing.T) {
	r := newRig(t, false)
	for _, uri := range []string{
		path, path + "/", path + "/keys/" + r.key, path + "/keys/" + r.key + "/", path + "/keys/" + r.key + "/sign", path + "/keys/../health",
		path + "/keys//encrypt", path + "/health?x=1", path + "/health/", "/kms/xks/v1/health", path + "/keys/" + strings.Repeat("a", 129) + "/encrypt",
		path + "/keys/" + strings.Repeat("a", 250) + "/encrypt",
	} {
		r.refused(uri, call{path: uri, body: `{}`}, 404, "InvalidUriPathException")
	}
	r.refused("a body that is too long", call{path: path + "/health", body: strings.Repeat(" ", 65<<10)}, 501, "UnsupportedOperationException")
	q, err := r.server.Client().Get(r.server.URL + proxy.PingPath)
	if err != nil || q.StatusCode != 200 {
		t.Error(q, err)
	}
}

func TestTheLogHasWhoAndWhyAndNothingOfWhat(t *testing.T) {
	r := newRig(t, false)
	plaintext := base64.StdEncoding.EncodeToString([]byte("the patient's name"))
	sealed := r.ok("encrypt", call{path: path + "/keys/" + r.key + "/encrypt", body: encryptBody(plaintext, "", "")})
	r.ok("decrypt", call{path: path + "/keys/" + r.key + "/decrypt", body: decryptBody(sealed, "")})
	log := r.log.String()
	for _, want := range []string{"kmsRequestId=4112f4d6", "key=" + r.key, "user/Alice", "operation=encrypt", "operation=decrypt", "result=ok", "took="} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the log", want)
		}
	}
	for _, secret := range []string{plaintext, "patient", sealed["ciphertext"].(string), r.cred.RawSecretAccessKey} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

func TestAFolderThatOthersCanReadOrThatIsDamagedServesNothing(t *testing.T) {
	r := newRig(t, false)
	c := call{path: path + "/keys/" + r.key + "/encrypt", body: encryptBody("YQ==", "", "")}
	file := filepath.Join(r.dir, "keys.json")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"readable":  func() error { return os.Chmod(file, 0o640) },
		"truncated": func() error { return os.WriteFile(file, good[:len(good)/2], 0o600) },
		"version 2": func() error {
			return os.WriteFile(file, bytes.Replace(good, []byte(`"version": 1`), []byte(`"version": 2`), 1), 0o600)
		},
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		r.refused(name, c, 500, "InternalException")
		r.refused(name, call{path: path + "/health", body: `{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"1"}}`}, 500, "InternalException")
		if err := errors.Join(os.WriteFile(file, good, 0o600), os.Chmod(file, 0o600)); err != nil {
			t.Fatal(err)
		}
		r.ok("whole again", c)
	}
	for _, name := range []string{"keys.json", "credentials.json"} {
		if info, err := os.Stat(filepath.Join(r.dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

// The two halves of the protocol fit together, over TLS.
func TestOurClientUsesOurProxy(t *testing.T) {
	r := newRig(t, false)
	d, err := xks.NewDialer(xks.DialerConfig{Clock: r.clock, Roots: []*x509.Certificate{r.server.Certificate()}, PrivateProxies: []string{"127.0.0.1"}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	raw, err := secret.From([]byte(r.cred.RawSecretAccessKey))
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.NewClient("us-east-1", r.server.URL, path, r.cred.AccessKeyID, raw)
	if err != nil {
		t.Fatal(err)
	}
	m := xks.RequestMetadata{AWSPrincipalArn: "arn:aws:iam::111122223333:user/a", KMSKeyArn: "arn", KMSOperation: "Encrypt", KMSRequestID: "r"}
	h, err := c.Health(t.Context(), m)
	if err != nil || !h.Works() {
		t.Fatal(h, err)
	}
	s, err := c.Encrypt(t.Context(), r.key, m, []byte("inner"), []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decrypt(t.Context(), r.key, m, s, []byte("aad")); err != nil || string(got) != "inner" {
		t.Errorf("%q %v", got, err)
	}
	_, err = c.Decrypt(t.Context(), r.key, m, s, []byte("other"))
	if e, ok := errors.AsType[*xks.Error](err); !ok || e.Kind != xks.InvalidCiphertext {
		t.Error(err)
	}
	_, err = c.Key(t.Context(), "no-such", m)
	if e, ok := errors.AsType[*xks.Error](err); !ok || e.Kind != xks.KeyNotFound {
		t.Error(err)
	}
}

// Whatever a body is, the answer is one of the protocol's.
// (Its coverage is random, so give it -fuzzminimizetime 1x.)
func FuzzBodies(f *testing.F) {
	dir := f.TempDir()
	os.Chmod(dir, 0o700)
	fake := clock.NewFake(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	folder, err := proxy.OpenFolder(proxy.FolderConfig{Dir: dir, Clock: fake})
	if err != nil {
		f.Fatal(err)
	}
	cred, err := folder.NewCredential()
	if err != nil {
		f.Fatal(err)
	}
	if _, err := folder.NewKey(f.Context(), "k", nil, proxy.Limits{}); err != nil {
		f.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{Folder: folder, Path: path, Clock: fake, Model: "m"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("encrypt", []byte(encryptBody("YQ==", "YQ==", "SHA_256")))
	f.Add("decrypt", []byte(decryptBody(map[string]any{"ciphertext": "YQ==", "initializationVector": "AAAAAAAAAAAAAAAA", "authenticationTag": "AAAAAAAAAAAAAAAAAAAAAA==", "ciphertextMetadata": "AQAAAAAAAAAAAAAAAAAAAAA="}, "")))
	f.Add("metadata", []byte(`{`+metadata+`}`))
	f.Fuzz(func(t *testing.T, op string, body []byte) {
		uri := path + "/keys/k/" + op
		q, err := http.NewRequest("POST", "https://keys.example"+uri, bytes.NewReader(body))
		if err != nil {
			return
		}
		q.RequestURI = uri
		signed := sigv4.Request{Method: "POST", Target: uri, Host: q.Host, Header: q.Header, ContentLength: int64(len(body))}
		s := sigv4.Signer{AccessKeyID: cred.AccessKeyID, SecretAccessKey: []byte(cred.RawSecretAccessKey), Region: "r", Service: "kms-xks-proxy"}
		if s.Sign(&signed, body, fake.Now()) != nil {
			return
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, q)
		var e xks.ErrorBody
		if json.Unmarshal(w.Body.Bytes(), &e) != nil || w.Code != 200 && e.Name == "" {
			t.Errorf("%d %q", w.Code, w.Body)
		}
	})
}

// One key store: the public service's default quota is 1,800 requests a second. Client, TLS and proxy together, both ends
// in this process.
func BenchmarkEncryptThroughTheProxy(b *testing.B) {
	fake := clock.NewFake(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	folder, err := proxy.OpenFolder(proxy.FolderConfig{Dir: filepath.Join(b.TempDir(), "keys"), Clock: fake})
	if err != nil {
		b.Fatal(err)
	}
	cred, err := folder.NewCredential()
	if err != nil {
		b.Fatal(err)
	}
	key, err := folder.NewKey(b.Context(), "", nil, proxy.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{Folder: folder, Path: path, Clock: fake, Model: "m"})
	if err != nil {
		b.Fatal(err)
	}
	s := httptest.NewTLSServer(p)
	defer s.Close()
	d, err := xks.NewDialer(xks.DialerConfig{Clock: fake, Roots: []*x509.Certificate{s.Certificate()}, PrivateProxies: []string{"127.0.0.1"}, Timeout: 5 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	raw, err := secret.From([]byte(cred.RawSecretAccessKey))
	if err != nil {
		b.Fatal(err)
	}
	c, err := d.NewClient("us-east-1", s.URL, path, cred.AccessKeyID, raw)
	if err != nil {
		b.Fatal(err)
	}
	m := xks.RequestMetadata{AWSPrincipalArn: "arn:aws:iam::111122223333:user/a", KMSKeyArn: "arn", KMSOperation: "GenerateDataKey", KMSRequestID: "r"}
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		blob, aad := make([]byte, 118), make([]byte, 32)
		for pb.Next() {
			if _, err := c.Encrypt(context.Background(), key, m, blob, aad); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func FuzzFolderFiles(f *testing.F) {
	f.Add([]byte(`{"version":1,"keys":[{"id":"k","enabled":true,"usage":["ENCRYPT"],"created":"2026-11-24T12:00:00Z","material":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","limits":{}}]}`))
	f.Add([]byte(`{"version":1,"credentials":[{"access_key_id":"AKIAI2SFODNN7EXAMPLE","secret":"RllFNUVGQTVGVDBtQ2MzRHJHVWUyc3RpNTI3Qml0a1EwWnI5TU85ZnZF","created":"2026-11-24T12:00:00Z"}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"keys.json", "credentials.json"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			folder, err := proxy.OpenFolder(proxy.FolderConfig{Dir: dir, Clock: clock.System})
			if err != nil {
				continue
			}
			keys, err := folder.Keys()
			if err != nil {
				t.Error(err)
			}
			for _, k := range keys {
				if !xks.ValidKeyID(k.ID) {
					t.Errorf("key %q", k.ID)
				}
			}
		}
	})
}
