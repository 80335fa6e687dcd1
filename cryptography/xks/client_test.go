package xks_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/cryptography/xks"
)

const accessKey = "AKIAI2SFODNN7EXAMPLE"

// proxied is a client of a server that answers what the test says.
func proxied(t *testing.T, answer http.HandlerFunc, timeout time.Duration) *xks.Client {
	t.Helper()
	s := httptest.NewTLSServer(answer)
	t.Cleanup(s.Close)
	return clientOf(t, s.URL, xks.DialerConfig{
		Clock: clock.System, Roots: []*x509.Certificate{s.Certificate()}, PrivateProxies: []string{"127.0.0.1"}, Timeout: timeout,
	})
}

func clientOf(t *testing.T, url string, cfg xks.DialerConfig) *xks.Client {
	t.Helper()
	d, err := xks.NewDialer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	raw, err := secret.From([]byte("FYtE5EFA5FT0mCc3DrGUe2sti527BitkQ0Zr9MO9fvE"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.NewClient("us-east-1", url, "/a/kms/xks/v1", accessKey, raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func kindOf(err error) xks.Kind {
	if e, ok := errors.AsType[*xks.Error](err); ok {
		return e.Kind
	}
	return 0
}

var meta = xks.RequestMetadata{AWSPrincipalArn: "arn:aws:iam::111122223333:user/a", KMSKeyArn: "arn:aws:kms:us-east-1:111122223333:key/k", KMSOperation: "Encrypt", KMSRequestID: "r"}

// good is a well-formed answer to Encrypt of "plaintext".
func good() map[string]any {
	s := xks.Sealed{Ciphertext: []byte("ciphertxt"), IV: make([]byte, 12), Tag: make([]byte, 16), Metadata: []byte("m")}
	sum := s.IntegrityValue([]byte("aad"))
	return map[string]any{
		"ciphertext": s.Ciphertext, "initializationVector": s.IV, "authenticationTag": s.Tag, "ciphertextMetadata": s.Metadata,
		"ciphertextDataIntegrityValue": sum[:], "somethingNew": true,
	}
}

func TestAnAnswerIsTakenOnlyIfEverythingInItIsRight(t *testing.T) {
	b := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for name, change := range map[string]func(m map[string]any) any{
		"as it should be":                nil,
		"no ciphertext":                  func(m map[string]any) any { delete(m, "ciphertext"); return m },
		"a longer ciphertext":            func(m map[string]any) any { m["ciphertext"] = b(10); return m },
		"a vector of 13 bytes":           func(m map[string]any) any { m["initializationVector"] = b(13); return m },
		"a tag of 12 bytes":              func(m map[string]any) any { m["authenticationTag"] = b(12); return m },
		"21 bytes of metadata":           func(m map[string]any) any { m["ciphertextMetadata"] = b(21); return m },
		"other metadata":                 func(m map[string]any) any { m["ciphertextMetadata"] = b(1); return m },
		"no integrity value":             func(m map[string]any) any { delete(m, "ciphertextDataIntegrityValue"); return m },
		"another integrity value":        func(m map[string]any) any { m["ciphertextDataIntegrityValue"] = b(32); return m },
		"base64 that is none":            func(m map[string]any) any { m["ciphertext"] = "%%%"; return m },
		"a list":                         func(m map[string]any) any { return []any{m} },
		"nothing":                        func(m map[string]any) any { return nil },
		"a string that is far too long ": func(m map[string]any) any { m["x"] = strings.Repeat("x", 20<<10); return m },
	} {
		t.Run(name, func(t *testing.T) {
			c := proxied(t, func(w http.ResponseWriter, r *http.Request) {
				var body any = good()
				if change != nil {
					body = change(good())
				}
				json.NewEncoder(w).Encode(body)
			}, 5*time.Second)
			_, err := c.Encrypt(t.Context(), "k", meta, []byte("plaintext"), []byte("aad"))
			if change == nil && err != nil || change != nil && kindOf(err) != xks.BadResponse {
				t.Error(err)
			}
		})
	}
}

func TestTheProxysErrorIsItsNameAndItsStatusTogether(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   xks.Kind
	}{
		{400, `{"errorName":"InvalidStateException","errorMessage":"secret words"}`, xks.InvalidState},
		{401, `{"errorName":"AuthenticationFailedException"}`, xks.AuthenticationFailed},
		{404, `{"errorName":"KeyNotFoundException"}`, xks.KeyNotFound},
		{404, `{"errorName":"InvalidUriPathException"}`, xks.InvalidURIPath},
		{429, `{"errorName":"ThrottlingException"}`, xks.Throttling},
		{503, `{"errorName":"DependencyTimeoutException"}`, xks.DependencyTimeout},
		{500, `{"errorName":"InternalException"}`, xks.Internal},
		{500, `{"errorName":"KeyNotFoundException"}`, xks.BadResponse},
		{400, `{"errorName":"NewException"}`, xks.BadResponse},
		{404, `<html>`, xks.BadResponse},
		{302, ``, xks.BadResponse},
	} {
		c := proxied(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://127.0.0.1:1/")
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
		}, 5*time.Second)
		_, err := c.Key(t.Context(), "k", meta)
		if kindOf(err) != test.want {
			t.Errorf("%d %s: %v", test.status, test.body, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret words") || strings.Contains(kindOf(err).Text(), "secret words")) {
			t.Errorf("the proxy's own words are passed on: %v", err)
		}
		if kindOf(err).Text() == "" {
			t.Errorf("no text for %v", err)
		}
	}
}

func TestARequestIsPostedSignedOverHostAndDateAlone(t *testing.T) {
	var got *http.Request
	c := proxied(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		io.WriteString(w, `{"keySpec":"AES_256","keyUsage":["ENCRYPT","DECRYPT"],"keyStatus":"ENABLED"}`)
	}, 5*time.Second)
	k, err := c.Key(t.Context(), "k-1", meta)
	if err != nil || k.Spec != "AES_256" || k.Status != "ENABLED" {
		t.Fatal(k, err)
	}
	a := got.Header.Get("Authorization")
	if got.Method != "POST" || got.RequestURI != "/a/kms/xks/v1/keys/k-1/metadata" || got.Header.Get("Content-Type") != "application/json" ||
		!strings.Contains(a, "/us-east-1/kms-xks-proxy/aws4_request") || !strings.Contains(a, "SignedHeaders=host;x-amz-date,") {
		t.Errorf("%s %s %v", got.Method, got.RequestURI, got.Header)
	}
}

func TestAProxyThatIsNotThereOrNotTrustedOrSlowIsToldApart(t *testing.T) {
	slow := make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-slow }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(slow) })
	roots := []*x509.Certificate{s.Certificate()}
	gone := httptest.NewTLSServer(nil)
	gone.Close()
	for name, test := range map[string]struct {
		url  string
		cfg  xks.DialerConfig
		want xks.Kind
	}{
		"an address of the operator's network": {s.URL, xks.DialerConfig{Roots: roots, Timeout: 5 * time.Second}, xks.Forbidden},
		"another host is excepted":             {s.URL, xks.DialerConfig{Roots: roots, Timeout: 5 * time.Second, PrivateProxies: []string{"localhost"}}, xks.Forbidden},
		"a certificate that nobody vouches":    {s.URL, xks.DialerConfig{Timeout: 5 * time.Second, PrivateProxies: []string{"127.0.0.1"}}, xks.BadTLS},
		"nobody listens":                       {gone.URL, xks.DialerConfig{Timeout: 5 * time.Second, PrivateProxies: []string{"127.0.0.1"}}, xks.Unreachable},
		"no answer in time":                    {s.URL, xks.DialerConfig{Roots: roots, Timeout: 100 * time.Millisecond, PrivateProxies: []string{"127.0.0.1"}}, xks.TimedOut},
	} {
		t.Run(name, func(t *testing.T) {
			test.cfg.Clock = clock.System
			_, err := clientOf(t, test.url, test.cfg).Health(context.Background(), meta)
			if kindOf(err) != test.want {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAnUnusableEndpointMakesNoClient(t *testing.T) {
	d, err := xks.NewDialer(xks.DialerConfig{Clock: clock.System})
	if err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{"http://keys.example", "https://", "https://u@keys.example", "https://keys.example/x", "https://keys.example?x", "keys.example"} {
		if _, err := d.NewClient("us-east-1", endpoint, "/kms/xks/v1", accessKey, nil); err == nil {
			t.Errorf("%s is taken", endpoint)
		}
	}
	c, err := d.NewClient("us-east-1", "https://keys.example", "/kms/xks/v1", accessKey, nil)
	if err != nil || c.Fits("..") || !c.Fits("k") {
		t.Error(err)
	}
}

// Whatever a proxy answers, it is an error or it is right.
func FuzzAnswers(f *testing.F) {
	ok, _ := json.Marshal(good())
	for _, s := range []string{string(ok), `{}`, `{"plaintext":"cGxhaW50ZXh0"}`, `{"keySpec":"AES_256","keyUsage":["ENCRYPT"],"keyStatus":"ENABLED"}`, `{"errorName":"InternalException"}`} {
		f.Add([]byte(s), 200)
	}
	f.Add([]byte(`{"errorName":"InternalException"}`), 500)
	d, err := xks.NewDialer(xks.DialerConfig{Clock: clock.System})
	if err != nil {
		f.Fatal(err)
	}
	var body []byte
	var status int
	d.Answer(func(q *http.Request) *http.Response {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(string(body))), Request: q}
	})
	raw, err := secret.From([]byte("FYtE5EFA5FT0mCc3DrGUe2sti527BitkQ0Zr9MO9fvE"))
	if err != nil {
		f.Fatal(err)
	}
	c, err := d.NewClient("us-east-1", "https://keys.example", "/kms/xks/v1", accessKey, raw)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte, code int) {
		body, status = answer, code
		ctx := context.Background()
		if s, err := c.Encrypt(ctx, "k", meta, []byte("plaintext"), []byte("aad")); err == nil {
			if s.Check(9) != nil {
				t.Error("sizes")
			}
		}
		if p, err := c.Decrypt(ctx, "k", meta, &xks.Sealed{Ciphertext: make([]byte, 9), IV: make([]byte, 12), Tag: make([]byte, 16)}, nil); err == nil && len(p) != 9 {
			t.Error("length")
		}
		if h, err := c.Health(ctx, meta); err == nil && len(h.Members) == 0 {
			t.Error("health")
		}
		_, err := c.Key(ctx, "k", meta)
		if e := (*xks.Error)(nil); err != nil && !errors.As(err, &e) {
			t.Error(fmt.Errorf("an error of another type: %w", err))
		}
	})
}
