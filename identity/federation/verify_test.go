package federation_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/federation"
	"github.com/leadglass/leadglass/identity/federation/exampleissuer"
)

// A house is a verifier and an issuer that it can reach.
type house struct {
	t        *testing.T
	clock    *clock.Fake
	issuer   *exampleissuer.Issuer
	verifier *federation.Verifier
	provider *directory.OIDCProvider
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, clock: clock.NewFake(start), issuer: issuer(t)}
	h.verifier = h.newVerifier([]*x509.Certificate{h.issuer.Root()}, h.issuer.Host())
	h.provider = h.newProvider("OIDCA")
	return h
}

func (h *house) newVerifier(roots []*x509.Certificate, private ...string) *federation.Verifier {
	h.t.Helper()
	v, err := federation.New(federation.Config{Clock: h.clock, Roots: roots, PrivateIssuers: private})
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *house) newProvider(id string) *directory.OIDCProvider {
	return &directory.OIDCProvider{Account: "111122223333", ID: id, URL: strings.TrimPrefix(h.issuer.URL(), "https://"), ClientIDs: []string{exampleissuer.ClientID, "second"}}
}

// verify mints and checks, at the clock's time.
func (h *house) verify(c exampleissuer.Claims) (string, error) {
	h.t.Helper()
	if c["sub"] == nil {
		c["sub"] = "dr-schmidt"
	}
	text, err := h.issuer.Mint(h.clock.Now(), c)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.check(h.verifier, h.provider, text)
}

func (h *house) check(v *federation.Verifier, p *directory.OIDCProvider, text string) (string, error) {
	h.t.Helper()
	tok, err := federation.Parse(text, h.clock.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	return v.Verify(h.t.Context(), p, tok)
}

func TestEveryAlgorithmOfTheListIsTaken(t *testing.T) {
	h := newHouse(t)
	for _, a := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512} {
		if err := h.issuer.Rotate(a); err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(time.Minute) // the key is new
		if got, err := h.verify(exampleissuer.Claims{}); err != nil || got != exampleissuer.ClientID {
			t.Errorf("%s: %q %v", a, got, err)
		}
	}
}

func TestTheAudienceMustBeAClientOfTheProvider(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		name   string
		claims exampleissuer.Claims
		want   string
		kind   federation.Kind
	}{
		{"one", exampleissuer.Claims{"aud": "second"}, "second", 0},
		{"one of several", exampleissuer.Claims{"aud": []string{"account", "second"}}, "second", 0},
		{"none of several", exampleissuer.Claims{"aud": []string{"account", "x"}}, "account", federation.Refused},
		{"the client that it was issued to", exampleissuer.Claims{"aud": "account", "azp": "second"}, "second", 0},
		{"another client than the audience", exampleissuer.Claims{"aud": "second", "azp": "x"}, "x", federation.Refused},
		{"in another case", exampleissuer.Claims{"aud": "SECOND"}, "SECOND", federation.Refused},
	} {
		if got, err := h.verify(c.claims); got != c.want || kindOf(err) != c.kind {
			t.Errorf("%s: %q %v", c.name, got, err)
		}
	}
}

func TestASignatureCountsOnlyByAKeyThatIsThereForIt(t *testing.T) {
	h := newHouse(t)
	other := issuer(t)
	forged, err := other.Mint(start, exampleissuer.Claims{"sub": "dr-schmidt", "iss": h.issuer.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if audience, err := h.check(h.verifier, h.provider, forged); kindOf(err) != federation.Refused || audience != "" {
		t.Errorf("another's key: %q %v", audience, err)
	}
	good := mint(t, h.issuer, exampleissuer.Claims{"sub": "dr-schmidt"})
	changed := strings.Split(good, ".")
	evil := strings.Split(mint(t, h.issuer, exampleissuer.Claims{"sub": "dr-evil"}), ".")
	if _, err := h.check(h.verifier, h.provider, changed[0]+"."+evil[1]+"."+changed[2]); kindOf(err) != federation.Refused {
		t.Errorf("another payload: %v", err)
	}
	if _, err := h.check(h.verifier, nil, good); kindOf(err) != federation.Refused {
		t.Errorf("no provider: %v", err)
	}
	wrong := h.newProvider("OIDCX")
	wrong.URL += "/other"
	if _, err := h.check(h.verifier, wrong, good); kindOf(err) != federation.Refused {
		t.Errorf("a provider of another issuer: %v", err)
	}
	t.Run("a key for encryption, a private key, a weak one and rubbish beside it do no harm", func(t *testing.T) {
		h.issuer.Publish(json.RawMessage(`{"kty":"oct","k":"c2VjcmV0","kid":"s"}`), json.RawMessage(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`),
			json.RawMessage(`{"kty":"RSA","n":"AQAB","e":"AQAB"}`), json.RawMessage(`"key"`), json.RawMessage(`{"kty":"new"}`))
		h.clock.Advance(10 * time.Minute)
		if _, err := h.verify(exampleissuer.Claims{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a key that is no longer published signs nothing after ten minutes", func(t *testing.T) {
		old, err := h.issuer.Mint(h.clock.Now(), exampleissuer.Claims{"sub": "dr-schmidt", "exp": start.Add(time.Hour).Unix()})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.issuer.Rotate(jose.ES256); err != nil {
			t.Fatal(err)
		}
		h.issuer.Retire()
		if _, err := h.check(h.verifier, h.provider, old); err != nil {
			t.Errorf("while the keys are kept: %v", err)
		}
		h.clock.Advance(10 * time.Minute)
		if _, err := h.check(h.verifier, h.provider, old); kindOf(err) != federation.Refused {
			t.Errorf("then: %v", err)
		}
	})
}

func TestAnIssuerIsAskedNoMoreThanItMust(t *testing.T) {
	h := newHouse(t)
	fetches := func(name string, want int64) {
		t.Helper()
		if got := h.issuer.Fetches(); got != want {
			t.Errorf("%s: asked %d times, want %d", name, got, want)
		}
	}
	for range 20 {
		if _, err := h.verify(exampleissuer.Claims{}); err != nil {
			t.Fatal(err)
		}
	}
	fetches("twenty tokens", 2)
	h.clock.Advance(9*time.Minute + 59*time.Second)
	h.verify(exampleissuer.Claims{})
	fetches("shortly before ten minutes", 2)
	h.clock.Advance(time.Second)
	h.verify(exampleissuer.Claims{})
	fetches("after ten minutes", 4)

	if err := h.issuer.Rotate(jose.ES256); err != nil {
		t.Fatal(err)
	}
	if _, err := h.verify(exampleissuer.Claims{}); kindOf(err) != federation.Refused {
		t.Errorf("a new key within the minute: %v", err)
	}
	fetches("a key that is not known, within the minute", 4)
	h.clock.Advance(time.Minute)
	if _, err := h.verify(exampleissuer.Claims{}); err != nil {
		t.Errorf("a new key after a minute: %v", err)
	}
	fetches("a key that is not known, after a minute", 6)

	t.Run("another account's keys are its own", func(t *testing.T) {
		if _, err := h.check(h.verifier, h.newProvider("OIDCB"), mint(t, h.issuer, exampleissuer.Claims{"sub": "s", "iat": h.clock.Now().Unix(), "exp": h.clock.Now().Add(time.Minute).Unix()})); err != nil {
			t.Error(err)
		}
		fetches("another account", 8)
	})
	t.Run("an issuer that fails is left alone for a minute", func(t *testing.T) {
		h.clock.Advance(10 * time.Minute)
		h.issuer.Answer(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
		for range 5 {
			if _, err := h.verify(exampleissuer.Claims{}); kindOf(err) != federation.Unreachable {
				t.Errorf("%v", err)
			}
		}
		fetches("a failure", 9)
		h.issuer.Answer(nil)
		h.clock.Advance(time.Minute)
		if _, err := h.verify(exampleissuer.Claims{}); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
}

func TestManyWhoComeAtOnceAreOneFetch(t *testing.T) {
	h := newHouse(t)
	text := mint(t, h.issuer, exampleissuer.Claims{"sub": "s"})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			tok, err := federation.Parse(text, start)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := h.verifier.Verify(t.Context(), h.provider, tok); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := h.issuer.Fetches(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

func TestAnAnswerThatIsNoIssuersIsOfNoUse(t *testing.T) {
	h := newHouse(t)
	discovery := func(issuer, keys string) string {
		b, _ := json.Marshal(map[string]string{"issuer": issuer, "jwks_uri": keys})
		return string(b)
	}
	at := h.issuer.URL()
	for _, c := range []struct {
		name      string
		discovery string // "": the issuer's own
		keys      string // likewise
		header    map[string]string
		status    int
	}{
		{name: "another issuer", discovery: discovery(at+"/", at+"/protocol/openid-connect/certs")},
		{name: "keys by http", discovery: discovery(at, "http://"+h.issuer.Host()+"/realms/ward/protocol/openid-connect/certs")},
		{name: "keys with credentials in the URL", discovery: discovery(at, strings.Replace(at, "https://", "https://a:b@", 1)+"/protocol/openid-connect/certs")},
		{name: "keys in a file", discovery: discovery(at, "file:///etc/passwd")},
		{name: "no keys", discovery: discovery(at, "")},
		{name: "no JSON", discovery: "x"},
		{name: "too long", discovery: `{"x":"` + strings.Repeat("x", 64<<10) + `"}`},
		{name: "keys too long", keys: `{"keys":[],"x":"` + strings.Repeat("x", 256<<10) + `"}`},
		{name: "too many keys", keys: `{"keys":[` + strings.Repeat(`{},`, 100) + `{}]}`},
		{name: "no key set", keys: `[]`},
		{name: "a redirect to itself", status: http.StatusFound, header: map[string]string{"Location": at + "/.well-known/openid-configuration?"}},
		{name: "an error", status: http.StatusInternalServerError},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.clock.Advance(10 * time.Minute)
			h.issuer.Answer(func(w http.ResponseWriter, r *http.Request) bool {
				text := c.keys
				if strings.HasSuffix(r.URL.Path, "openid-configuration") {
					text = c.discovery
				}
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
				if c.status != 0 {
					w.WriteHeader(c.status)
				}
				w.Write([]byte(text))
				return text != "" || c.status != 0
			})
			if _, err := h.verify(exampleissuer.Claims{}); kindOf(err) != federation.Unreachable {
				t.Errorf("%v", err)
			}
		})
	}
	h.issuer.Answer(nil)
	h.clock.Advance(10 * time.Minute)
	if _, err := h.verify(exampleissuer.Claims{}); err != nil {
		t.Errorf("the issuer itself: %v", err)
	}
}

// A customer chooses the URL; it must not lead into the operator's network.
func TestAnIssuerMustBePublicUnlessTheOperatorNamedItsHost(t *testing.T) {
	h := newHouse(t)
	roots := []*x509.Certificate{h.issuer.Root()}
	text := mint(t, h.issuer, exampleissuer.Claims{"sub": "s"})
	host, _, _ := strings.Cut(h.issuer.Host(), ":")
	for _, c := range []struct {
		name    string
		private []string
		kind    federation.Kind
	}{
		{"nothing named", nil, federation.Unreachable},
		{"another port named", []string{host + ":1"}, federation.Unreachable},
		{"another host named", []string{"localhost"}, federation.Unreachable},
		{"the host named", []string{host}, 0},
		{"host and port named", []string{h.issuer.Host()}, 0},
	} {
		before := h.issuer.Fetches()
		_, err := h.check(h.newVerifier(roots, c.private...), h.provider, text)
		if kindOf(err) != c.kind || c.kind != 0 && h.issuer.Fetches() != before {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	t.Run("a host that is named does not lead to one that is not", func(t *testing.T) {
		other := issuer(t)
		h.issuer.Answer(func(w http.ResponseWriter, r *http.Request) bool {
			w.Write([]byte(`{"issuer":"` + h.issuer.URL() + `","jwks_uri":"` + other.URL() + `/protocol/openid-connect/certs"}`))
			return true
		})
		v := h.newVerifier([]*x509.Certificate{h.issuer.Root(), other.Root()}, h.issuer.Host())
		if _, err := h.check(v, h.provider, text); kindOf(err) != federation.Unreachable || other.Fetches() != 0 {
			t.Errorf("%v, %d fetches", err, other.Fetches())
		}
	})
}

func TestACertificateMustBeVouchedFor(t *testing.T) {
	h := newHouse(t)
	text := mint(t, h.issuer, exampleissuer.Claims{"sub": "s"})
	for _, c := range []struct {
		name   string
		prints []string
		kind   federation.Kind
	}{
		{"by nobody", nil, federation.Unreachable},
		{"by a thumbprint of another", []string{strings.Repeat("f", 40)}, federation.Unreachable},
		{"by the thumbprint of its root", []string{strings.Repeat("f", 40), h.issuer.Thumbprint()}, 0},
	} {
		p := h.newProvider("OIDC" + c.name)
		p.Thumbprints = c.prints
		if _, err := h.check(h.newVerifier(nil, h.issuer.Host()), p, text); kindOf(err) != c.kind {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := federation.New(federation.Config{Clock: h.clock, PrivateIssuers: []string{"*.example"}}); err == nil {
		t.Error("a pattern of hosts is taken")
	}
}

// Nobody waits for an issuer longer than a few seconds, and who leaves does not spoil it for the others.
func TestAnIssuerThatHangsCostsAFewSeconds(t *testing.T) {
	h := newHouse(t)
	text := mint(t, h.issuer, exampleissuer.Claims{"sub": "s"})
	hang := make(chan struct{})
	h.issuer.Answer(func(http.ResponseWriter, *http.Request) bool { <-hang; return true })
	tok, err := federation.Parse(text, start)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	began := time.Now()
	wg.Go(func() {
		if _, err := h.verifier.Verify(context.Background(), h.provider, tok); kindOf(err) != federation.Unreachable {
			t.Errorf("the one who asks: %v", err)
		}
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("took %v", took)
		}
	})
	time.Sleep(200 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := h.verifier.Verify(ctx, h.provider, tok); err == nil || kindOf(err) != 0 {
		t.Errorf("one whose patience ends: %v", err)
	}
	wg.Wait()
	close(hang)
}

// A check costs one signature, whether the account knows the issuer or not; at most 150 µs by a key of 2048 bits.
func BenchmarkVerify(b *testing.B) {
	i := issuer(b)
	v, err := federation.New(federation.Config{Clock: clock.NewFake(start), Roots: []*x509.Certificate{i.Root()}, PrivateIssuers: []string{i.Host()}})
	if err != nil {
		b.Fatal(err)
	}
	p := &directory.OIDCProvider{Account: "111122223333", ID: "OIDCA", URL: strings.TrimPrefix(i.URL(), "https://"), ClientIDs: []string{exampleissuer.ClientID}}
	text := mint(b, i, exampleissuer.DoctorOf("dr-schmidt", "3"))
	for _, c := range []struct {
		name     string
		provider *directory.OIDCProvider
	}{{"known", p}, {"unknown", nil}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tok, err := federation.Parse(text, start)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := v.Verify(b.Context(), c.provider, tok); (err == nil) != (c.provider != nil) {
					b.Fatal(err)
				}
			}
		})
	}
}

// Whatever an issuer answers, it is a set of keys or of no use, and nobody's key is taken for another's.
func FuzzWhatAnIssuerAnswers(f *testing.F) {
	i := issuer(f)
	v, err := federation.New(federation.Config{Clock: clock.NewFake(start), Roots: []*x509.Certificate{i.Root()}, PrivateIssuers: []string{i.Host()}})
	if err != nil {
		f.Fatal(err)
	}
	tok, err := federation.Parse(mint(f, i, exampleissuer.Claims{"sub": "s"}), start)
	if err != nil {
		f.Fatal(err)
	}
	good := `{"issuer":"` + i.URL() + `","jwks_uri":"` + i.URL() + `/keys"}`
	f.Add(good, `{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB","x5c":["AAAA"]}]}`)
	f.Add(good, `{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"oct","k":"AA"},null]}`)
	f.Add(`{"issuer":[]}`, "")
	f.Add("[[[[", "{}")
	n := 0
	f.Fuzz(func(t *testing.T, discovery, keys string) {
		i.Answer(func(w http.ResponseWriter, r *http.Request) bool {
			text := keys
			if strings.HasSuffix(r.URL.Path, "openid-configuration") {
				text = discovery
			}
			w.Write([]byte(text))
			return true
		})
		n++
		p := &directory.OIDCProvider{Account: "111122223333", ID: fmt.Sprint("OIDC", n), URL: strings.TrimPrefix(i.URL(), "https://"), ClientIDs: []string{exampleissuer.ClientID}}
		if _, err := v.Verify(t.Context(), p, tok); kindOf(err) != federation.Refused && kindOf(err) != federation.Unreachable {
			t.Errorf("%v", err)
		}
	})
}
