package sigv4_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

// vectorDirs are the project's own vectors and those that others bring.
func vectorDirs(t *testing.T) []string {
	t.Helper()
	own := filepath.Join("..", "..", "testdata", "vectors", "sigv4")
	if _, err := os.Stat(own); err != nil {
		t.Fatal(err)
	}
	dirs := []string{own}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		if _, err := os.Stat(filepath.Join(extra, "sigv4")); err == nil {
			dirs = append(dirs, filepath.Join(extra, "sigv4"))
		}
	}
	return dirs
}

// readJSON reads a file of a vector folder; only our own folder must have it.
func readJSON(t *testing.T, dir, name string, own bool, v any) bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		if own {
			t.Fatal(err)
		}
		return false
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return true
}

func TestKeyDerivationVectors(t *testing.T) {
	for i, dir := range vectorDirs(t) {
		var f struct {
			SigV4 []struct {
				Secret  string `json:"secret_access_key"`
				Date    string
				Region  string
				Service string
				Key     string `json:"k_signing"`
			}
			SigV4A []struct {
				ID     string `json:"access_key_id"`
				Secret string `json:"secret_access_key"`
				D      string `json:"private_key_d"`
				X      string `json:"public_x"`
				Y      string `json:"public_y"`
			}
		}
		if !readJSON(t, dir, "key-derivation.json", i == 0, &f) {
			continue
		}
		if i == 0 && (len(f.SigV4) < 4 || len(f.SigV4A) < 4) {
			t.Fatalf("only %d and %d derivations", len(f.SigV4), len(f.SigV4A))
		}
		for _, v := range f.SigV4A {
			pair, err := sigv4.KeyPair(v.ID, []byte(v.Secret))
			if err != nil {
				t.Fatal(err)
			}
			d, err := pair.Bytes()
			if err != nil || hex.EncodeToString(d) != v.D {
				t.Errorf("%s: d = %x, want %s, %v", v.ID, d, v.D, err)
			}
			q, err := pair.PublicKey.Bytes()
			if err != nil || hex.EncodeToString(q) != "04"+v.X+v.Y {
				t.Errorf("%s: Q = %x, want 04%s%s, %v", v.ID, q, v.X, v.Y, err)
			}
		}
		for _, v := range f.SigV4 {
			key := sigv4.SigningKey([]byte(v.Secret), v.Date, v.Region, v.Service)
			if got := hex.EncodeToString(key[:]); got != v.Key {
				t.Errorf("%s/%s/%s: kSigning = %s, want %s", v.Date, v.Region, v.Service, got, v.Key)
			}
		}
	}
}

type requestCase struct {
	Name, Why, Service, Region, Now string
	Credential                      struct {
		ID     string  `json:"access_key_id"`
		Secret string  `json:"secret_access_key"`
		Token  *string `json:"session_token"`
	}
	Method, Target string
	Headers        [][2]string
	Body           string `json:"body_base64"`
	Canonical      string `json:"canonical_request"`
	StringToSign   string `json:"string_to_sign"`
	Signature      string
	Expect         struct {
		OK     bool
		Error  string
		Status int
	}
}

func family(service string) sigv4.Family {
	switch service {
	case "s3", "s3express", "s3-object-lambda":
		return sigv4.RESTXML
	case "iam", "sts":
		return sigv4.Query
	case "ec2":
		return sigv4.EC2
	case "access-analyzer", "execute-api":
		return sigv4.RESTJSON
	}
	return sigv4.JSON
}

// authenticate goes the whole way of the spec's section 7 as a server that
// knows exactly one credential.
func (c *requestCase) authenticate(r *sigv4.Request, body []byte, now time.Time) error {
	p, err := c.parse(r, body)
	if err != nil {
		return err
	}
	if err := p.CheckScope(now, []string{c.Region}, c.Service); err != nil {
		return err
	}
	if p.AccessKeyID != c.Credential.ID {
		return sigv4.Refuse(sigv4.UnknownKey)
	}
	if token := c.Credential.Token; token != nil && p.SessionToken != *token || token == nil && p.SessionToken != "" {
		return sigv4.Refuse(sigv4.BadToken)
	}
	// S3 verifies before it reads the body; the others have read it.
	sum := sha256.Sum256(body)
	early := &sum
	if family(c.Service) == sigv4.RESTXML {
		early = nil
	}
	sts, _, err := p.StringToSign(r, early, nil)
	if err != nil {
		return err
	}
	if !c.verify(p, sts) {
		second, _, ok := p.Alternate(r, early, nil)
		if !ok || !c.verify(p, second) {
			return sigv4.Refuse(sigv4.BadSignature)
		}
	}
	switch {
	case p.Post:
		return nil
	case p.Streaming():
		return c.readChunks(p, r, body)
	}
	return p.CheckBody(&sum)
}

// parse is Parse, or ParsePost of a form.
func (c *requestCase) parse(r *sigv4.Request, body []byte) (*sigv4.Parsed, error) {
	kind, params, err := mime.ParseMediaType(strings.Join(r.Header["Content-Type"], ""))
	if c.Service != "s3" || r.Method != "POST" || err != nil || kind != "multipart/form-data" {
		return sigv4.Parse(r)
	}
	form, err := multipart.NewReader(bytes.NewReader(body), params["boundary"]).ReadForm(1 << 20)
	if err != nil {
		return nil, err
	}
	return sigv4.ParsePost(form.Value)
}

func (c *requestCase) verify(p *sigv4.Parsed, sts []byte) bool {
	if p.Asymmetric() {
		pair, err := sigv4.KeyPair(c.Credential.ID, []byte(c.Credential.Secret))
		return err == nil && sigv4.VerifyV4A(&pair.PublicKey, sts, p.ECDSA)
	}
	key := sigv4.SigningKey([]byte(c.Credential.Secret), p.Date, p.Region, p.Service)
	return sigv4.Verify(&key, sts, &p.Signature)
}

func (c *requestCase) readChunks(p *sigv4.Parsed, r *sigv4.Request, body []byte) error {
	plan, err := chunked.NewPlan(p, r)
	if err != nil {
		return err
	}
	key := sigv4.SigningKey([]byte(c.Credential.Secret), p.Date, p.Region, p.Service)
	v := chunked.Key(p, &key)
	if p.Asymmetric() {
		pair, err := sigv4.KeyPair(c.Credential.ID, []byte(c.Credential.Secret))
		if err != nil {
			return err
		}
		v = chunked.PublicKey(p, &pair.PublicKey)
	}
	in, err := chunked.NewReader(context.Background(), bytes.NewReader(body), plan, p, chunked.Config{Verifier: v})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

func TestRequestVectors(t *testing.T) {
	for i, dir := range vectorDirs(t) {
		var f struct{ Cases []requestCase }
		if !readJSON(t, dir, "requests.json", i == 0, &f) {
			continue
		}
		if i == 0 && len(f.Cases) < 40 {
			t.Fatalf("only %d cases", len(f.Cases))
		}
		for _, c := range f.Cases {
			t.Run(c.Name, func(t *testing.T) {
				body, err := base64.StdEncoding.DecodeString(c.Body)
				if err != nil {
					t.Fatal(err)
				}
				now, err := time.Parse("20060102T150405Z", c.Now)
				if err != nil {
					t.Fatal(err)
				}
				r := &sigv4.Request{Method: c.Method, Target: c.Target, Header: map[string][]string{}, ContentLength: int64(len(body))}
				for _, h := range c.Headers {
					addHeader(r, h[0], h[1])
				}
				if c.Expect.OK {
					c.checkTexts(t, r, body)
				}
				err = c.authenticate(r, body, now)
				if c.Expect.OK {
					if err != nil {
						t.Fatalf("%s: %v", c.Why, err)
					}
					return
				}
				if e, ok := errors.AsType[*chunked.Error](err); ok {
					if e.Code != c.Expect.Error || e.Status != c.Expect.Status {
						t.Errorf("%v, want %s %d", e, c.Expect.Error, c.Expect.Status)
					}
					return
				}
				e, ok := errors.AsType[*sigv4.Error](err)
				if !ok {
					t.Fatalf("accepted or other error (%v), want %s %d", err, c.Expect.Error, c.Expect.Status)
				}
				if code, status := e.Code(family(c.Service)); status != c.Expect.Status || code != c.Expect.Error {
					t.Errorf("%s %d (%s), want %s %d", code, status, e.Message, c.Expect.Error, c.Expect.Status)
				}
			})
		}
	}
}

// checkTexts compares canonical request, string to sign and signature with
// those of the independent implementation that wrote the vectors.
func (c *requestCase) checkTexts(t *testing.T, r *sigv4.Request, body []byte) {
	t.Helper()
	p, err := c.parse(r, body)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	whole := &sum
	if p.Streaming() {
		whole = nil
	}
	sts, _, err := p.StringToSign(r, whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Canonical // a form has none
	if !p.Post {
		if got, err = sigv4.CanonicalRequest(p, r, whole); err != nil {
			t.Fatal(err)
		}
	}
	if c.Canonical != "" && got != c.Canonical {
		// A client may have signed the path or query as it lies on the wire: S3's tolerance.
		var digest [32]byte
		if sts, digest, _ = p.Alternate(r, whole, nil); digest != sha256.Sum256([]byte(c.Canonical)) {
			t.Errorf("canonical request\n%s\nwant\n%s", got, c.Canonical)
		}
	}
	if c.StringToSign != "" && string(sts) != c.StringToSign {
		t.Errorf("string to sign\n%s\nwant\n%s", sts, c.StringToSign)
	}
	if p.Asymmetric() {
		return // the signature is another each time; authenticate verifies it
	}
	key := sigv4.SigningKey([]byte(c.Credential.Secret), p.Date, p.Region, p.Service)
	if mac := sigv4.MAC(&key, sts); c.Signature != "" && hex.EncodeToString(mac[:]) != c.Signature {
		t.Errorf("signature %x, want %s", mac, c.Signature)
	}
}

func addHeader(r *sigv4.Request, name, value string) {
	name = textproto.CanonicalMIMEHeaderKey(name)
	if name == "Host" {
		r.Host = value
		return
	}
	r.Header[name] = append(r.Header[name], value)
}

// readRequest reads the suite's raw requests: the target may hold blanks and
// raw bytes, header lines may be folded.
func readRequest(t *testing.T, file string) (r *sigv4.Request, body []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := bytes.Cut(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n\n"))
	lines := strings.Split(strings.TrimRight(string(head), "\n"), "\n")
	method, target, ok := strings.Cut(strings.TrimSuffix(lines[0], " HTTP/1.1"), " ")
	if !ok {
		t.Fatalf("%s: no request line", file)
	}
	r = &sigv4.Request{Method: method, Target: target, Header: map[string][]string{}}
	var name, value string
	flush := func() {
		if name != "" {
			addHeader(r, name, value)
		}
	}
	for _, line := range lines[1:] {
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			value += "\n" + line
			continue
		}
		flush()
		name, value, _ = strings.Cut(line, ":")
	}
	flush()
	if n, err := strconv.Atoi(strings.Join(r.Header["Content-Length"], "")); err == nil && n <= len(rest) {
		body, r.ContentLength = rest[:n], int64(n)
	}
	return r, body
}

type suiteContext struct {
	Credentials struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
		Token  string
	}
	Expires   int64 `json:"expiration_in_seconds"`
	Normalize bool
	Region    string
	Service   string
	SignBody  bool `json:"sign_body"`
	Timestamp time.Time
	OmitToken bool `json:"omit_session_token"`
}

func TestSuiteVectors(t *testing.T) {
	ran := 0
	for _, dir := range vectorDirs(t) {
		for _, suite := range []string{"v4", "v4a"} {
			cases, err := filepath.Glob(filepath.Join(dir, suite, "*", "context.json"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range cases {
				dir := filepath.Dir(file)
				for _, form := range []string{"header", "query"} {
					ran++
					t.Run(suite+"/"+filepath.Base(dir)+"/"+form, func(t *testing.T) { suiteCase(t, dir, form, suite == "v4a") })
				}
			}
		}
	}
	if ran < 100 {
		t.Errorf("only %d cases", ran)
	}
}

func suiteCase(t *testing.T, dir, form string, asymmetric bool) {
	var c suiteContext
	readJSON(t, dir, "context.json", true, &c)
	pair, err := sigv4.KeyPair(c.Credentials.ID, []byte(c.Credentials.Secret))
	if err != nil {
		t.Fatal(err)
	}
	var public struct{ X, Y string }
	if asymmetric && readJSON(t, dir, "public-key.json", false, &public) {
		if q, err := pair.PublicKey.Bytes(); err != nil || hex.EncodeToString(q) != "04"+public.X+public.Y {
			t.Errorf("Q = %x, want %+v, %v", q, public, err)
		}
	}
	want := map[string]string{}
	for _, part := range []string{"canonical-request", "string-to-sign", "signature"} {
		b, err := os.ReadFile(filepath.Join(dir, form+"-"+part+".txt"))
		if err != nil {
			t.Skipf("not applicable: no %s-%s.txt", form, part)
		}
		want[part] = strings.ReplaceAll(string(b), "\r\n", "\n")
	}

	// The server's side: what the suite's signer sent.
	if !c.OmitToken { // Leadglass services include the token always (spec section 2)
		r, body := readRequest(t, filepath.Join(dir, form+"-signed-request.txt"))
		p, err := sigv4.Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckScope(c.Timestamp, []string{c.Region}, c.Service); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(body)
		canonical, err := sigv4.CanonicalRequest(p, r, &sum)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Normalize {
			// No service of ours leaves paths as they are and encodes them twice: compare the rest.
			lines := strings.SplitN(canonical, "\n", 3)
			path, _, _ := strings.Cut(r.Target, "?")
			canonical = lines[0] + "\n" + sigv4.Encode(path) + "\n" + lines[2]
		}
		if canonical != want["canonical-request"] {
			t.Fatalf("canonical request\n%s\nwant\n%s", canonical, want["canonical-request"])
		}
		sts, _, err := p.StringToSign(r, &sum, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Normalize {
			parsed, err := sigv4.ParseStringToSign(sts)
			if err != nil {
				t.Fatal(err)
			}
			parsed.CanonicalDigest = sha256.Sum256([]byte(canonical))
			sts = parsed.Append(nil)
		}
		if string(sts) != want["string-to-sign"] {
			t.Fatalf("string to sign\n%s\nwant\n%s", sts, want["string-to-sign"])
		}
		if asymmetric {
			// Signatures are random: that of the request and that of the file are two good ones.
			sample, err := hex.DecodeString(strings.TrimSpace(want["signature"]))
			if err != nil || !sigv4.VerifyV4A(&pair.PublicKey, sts, sample) || !sigv4.VerifyV4A(&pair.PublicKey, sts, p.ECDSA) {
				t.Fatalf("a signature does not verify (%v)", err)
			}
			sts[len(sts)-1] ^= 1
			if sigv4.VerifyV4A(&pair.PublicKey, sts, p.ECDSA) {
				t.Fatal("the signature verifies another string to sign")
			}
		} else {
			if got := hex.EncodeToString(p.Signature[:]); got != strings.TrimSpace(want["signature"]) {
				t.Fatalf("parsed signature %s, want %s", got, want["signature"])
			}
			key := sigv4.SigningKey([]byte(c.Credentials.Secret), p.Date, p.Region, p.Service)
			if !sigv4.Verify(&key, sts, &p.Signature) {
				t.Fatal("the signature does not verify")
			}
		}
	}

	// The client's side: our signer makes the same signature of the unsigned request.
	if !c.Normalize {
		return
	}
	r, body := readRequest(t, filepath.Join(dir, "request.txt"))
	s := sigv4.Signer{AccessKeyID: c.Credentials.ID, SecretAccessKey: []byte(c.Credentials.Secret), Region: c.Region, Service: c.Service}
	if !c.OmitToken {
		s.SessionToken = c.Credentials.Token
	}
	if asymmetric {
		s.RegionSet = c.Region
	}
	var signed string
	if form == "header" {
		if c.SignBody {
			sum := sha256.Sum256(body)
			addHeader(r, "X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		}
		if err := s.Sign(r, body, c.Timestamp); err != nil {
			t.Fatal(err)
		}
		signed = r.Header["Authorization"][0]
	} else {
		var err error
		if signed, err = s.Presign(r, body, time.Duration(c.Expires)*time.Second, c.Timestamp); err != nil {
			t.Fatal(err)
		}
	}
	if asymmetric {
		if form == "query" {
			r.Target = signed
		}
		p, err := sigv4.Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(body)
		canonical, err := sigv4.CanonicalRequest(p, r, &sum)
		if err != nil || canonical != want["canonical-request"] {
			t.Errorf("our own canonical request\n%s\nwant\n%s\n%v", canonical, want["canonical-request"], err)
		}
		sts, _, err := p.StringToSign(r, &sum, nil)
		if err != nil || string(sts) != want["string-to-sign"] || !sigv4.VerifyV4A(&pair.PublicKey, sts, p.ECDSA) {
			t.Errorf("our own string to sign\n%s\nwant\n%s\n%v", sts, want["string-to-sign"], err)
		}
		return
	}
	if !strings.HasSuffix(signed, "Signature="+strings.TrimSpace(want["signature"])) {
		t.Errorf("signed %s, want signature %s", signed, want["signature"])
	}
}
