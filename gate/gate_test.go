package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/api/leadglass"
	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/gate"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

const (
	account  = "111111111111"
	operator = "999999999999"
	keySec   = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// fixture is a gate over a handful of operations, with everything around it that
// a test wants to see or break.
type fixture struct {
	t      *testing.T
	server *httptest.Server
	gate   *gate.Gate
	clock  *clock.Fake

	identify func(ctx context.Context) ([]operation.Ask, error) // the target of AssumeRoleWithWebIdentity

	mu      sync.Mutex
	events  []log.Event
	appends func() error // nil: succeeds

	region string                          // that requests are signed for; empty: us-east-1
	set    string                          // the region set of requests, which are then signed with SigV4A
	policy string                          // of the caller
	asks   func() ([]operation.Ask, error) // of kms:Encrypt; nil: about a key of the caller's account
	serve  func(ctx context.Context, in *kms.EncryptInput) (*kms.EncryptOutput, error)
	served int
}

func (f *fixture) Append(ctx context.Context, e log.Event) (log.Receipt, error) {
	rs, err := f.AppendAll(ctx, []log.Event{e})
	if err != nil {
		return log.Receipt{}, err
	}
	return rs[0], nil
}

func (f *fixture) AppendAll(_ context.Context, es []log.Event) ([]log.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.appends != nil {
		if err := f.appends(); err != nil {
			return nil, err
		}
	}
	for _, e := range es {
		e.JSON = bytes.Clone(e.JSON)
		f.events = append(f.events, e)
	}
	return make([]log.Receipt, len(es)), nil
}

// Authenticate knows one customer and one operator, both with the same secret.
func (f *fixture) CallerKey(context.Context, *sigv4.Parsed) ([]byte, error) {
	return []byte("stated"), nil
}

func (f *fixture) Authenticate(_ context.Context, p *sigv4.Parsed, sts []byte, _ [32]byte) (*sessions.Caller, error) {
	of := map[string]string{"AKIACUSTOMER": account, "AKIAOPERATOR": operator}[p.AccessKeyID]
	if of == "" {
		return nil, sigv4.Refuse(sigv4.UnknownKey)
	}
	key := sigv4.SigningKey([]byte(keySec), p.Date, p.Region, p.Service)
	// SigV4A is taken unchecked: what matters here is what becomes of its region set.
	if !p.Asymmetric() && !sigv4.Verify(&key, sts, &p.Signature) {
		return nil, sigv4.Refuse(sigv4.BadSignature)
	}
	c := &sessions.Caller{
		Principal:   authz.Principal{Type: authz.User, ARN: "arn:aws:iam::" + of + ":user/eve", Account: of, ID: "AIDAEVE"},
		Policies:    &authz.Policies{},
		AccessKeyID: p.AccessKeyID, PrincipalID: "AIDAEVE", UserName: "eve",
	}
	if f.policy != "" {
		d, err := policy.Parse(policy.Identity, []byte(f.policy))
		if err != nil {
			return nil, err
		}
		c.Policies.Identity = []*policy.Document{d}
	}
	return c, nil
}

// newFixture serves us-east-1 and the regions that are given.
func newFixture(t *testing.T, more ...string) *fixture {
	f := &fixture{t: t, policy: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`}
	f.serve = func(context.Context, *kms.EncryptInput) (*kms.EncryptOutput, error) {
		return &kms.EncryptOutput{CiphertextBlob: []byte("sealed")}, nil
	}
	keyARN := "arn:aws:kms:us-east-1:" + account + ":key/1"
	keyPolicy, err := policy.Parse(policy.Key, []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"kms:*","Resource":"*"}}`))
	if err != nil {
		t.Fatal(err)
	}
	ops := []operation.Operation{
		operation.New(kms.Encrypt, func(ctx context.Context, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
			f.mu.Lock()
			f.served++
			f.mu.Unlock()
			return f.serve(ctx, in)
		}, func(context.Context, *kms.EncryptInput) ([]operation.Ask, error) {
			if f.asks != nil {
				return f.asks()
			}
			return []operation.Ask{{Action: "kms:Encrypt", Resource: keyARN, Owner: account, Policy: keyPolicy}}, nil
		}),
		operation.New(sts.GetCallerIdentity, func(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
			return &sts.GetCallerIdentityOutput{Account: operation.CallFrom(ctx).Account}, nil
		}, nil),
		operation.New(iam.CreateAccessKey, func(ctx context.Context, _ *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
			s, err := secret.From([]byte("SECRETsecretSECRETsecretSECRETsecret/+12"))
			if err != nil {
				return nil, err
			}
			return &iam.CreateAccessKeyOutput{AccessKey: &iam.AccessKey{UserName: "eve", AccessKeyId: "AKIANEW", Status: "Active", SecretAccessKey: operation.CallFrom(ctx).Reveal(s)}}, nil
		}, operation.OnAll[iam.CreateAccessKeyInput]("iam:CreateAccessKey")),
		f.identified(),
		operation.New(leadglass.GetHealth, func(context.Context, *leadglass.GetHealthInput) (*leadglass.GetHealthOutput, error) {
			return &leadglass.GetHealthOutput{Status: "ok"}, nil
		}, operation.OnAll[leadglass.GetHealthInput]("leadglass:GetHealth"), operation.Operator),
		operation.New(leadglass.RedeemEnrolment, func(ctx context.Context, _ *leadglass.RedeemEnrolmentInput) (*leadglass.RedeemEnrolmentOutput, error) {
			operation.CallFrom(ctx).Account = account
			return &leadglass.RedeemEnrolmentOutput{AccountId: account}, nil
		}, nil, operation.Unsigned),
	}
	served := make([]*wire.OpInfo, len(ops))
	for i := range ops {
		served[i] = ops[i].Info
	}
	router, err := wire.NewRouter(wire.RouterConfig{Regions: append([]string{"us-east-1"}, more...), Operations: served})
	if err != nil {
		t.Fatal(err)
	}
	f.clock = clock.NewFake(now)
	f.gate, err = gate.New(gate.Config{
		Router: router, Operations: ops, Authenticator: f, Recorder: f, Clock: f.clock, Region: "us-east-1", AdditionalRegions: more, Operator: operator,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.server = httptest.NewServer(f.gate)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fixture) scope(s *sigv4.Signer) {
	if f.region != "" {
		s.Region = f.region
	}
	s.RegionSet = f.set
}

type answer struct {
	status int
	header http.Header
	body   string
}

// send signs as key, unless key is empty, and sends.
func (f *fixture) send(key, service string, header http.Header, body string) answer {
	f.t.Helper()
	req, err := http.NewRequest("POST", f.server.URL+"/", strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header = header
	if key != "" {
		signer := sigv4.Signer{AccessKeyID: key, SecretAccessKey: []byte(keySec), Region: "us-east-1", Service: service}
		f.scope(&signer)
		r := sigv4.Request{Method: "POST", Target: "/", Host: req.URL.Host, Header: req.Header, ContentLength: int64(len(body))}
		if err := signer.Sign(&r, []byte(body), now); err != nil {
			f.t.Fatal(err)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func target(name string) http.Header {
	return http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {name}}
}

const encrypt = `{"KeyId":"1","Plaintext":"aGVsbG8="}`

func (f *fixture) encrypt(body string) answer {
	return f.send("AKIACUSTOMER", "kms", target("TrentService.Encrypt"), body)
}

func TestStrangersCannotFillTheDisk(t *testing.T) {
	f := newFixture(t)
	refused := func() answer { return f.send("AKIANOBODY", "kms", target("TrentService.ListKeys"), "{}") }
	for i := range 500 {
		if a := refused(); strings.Contains(a.body, "Throttling") {
			t.Fatalf("refusal %d is throttled", i+1)
		}
	}
	for range 7 {
		if a := refused(); a.status != 400 || !strings.Contains(a.body, "ThrottlingException") {
			t.Fatalf("after the burst: %d %s", a.status, a.body)
		}
	}
	if n := len(f.events); n != 500 {
		t.Errorf("%d records of 507 refusals, not 500", n)
	}
	if a := f.encrypt(`{"KeyId":"k","Plaintext":"AAAA"}`); a.status != 200 {
		t.Errorf("who is known is served all the same: %d %s", a.status, a.body)
	}
	f.clock.Advance(time.Second)
	if a := refused(); strings.Contains(a.body, "Throttling") {
		t.Errorf("a second later: %s", a.body)
	}
	if got := fmt.Sprint(f.last()["additionalEventData"]); !strings.Contains(got, "RefusalsNotRecorded:7") {
		t.Errorf("the next record says %s of the seven that were not recorded", got)
	}
	refused()
	if got, ok := f.last()["additionalEventData"]; ok && got != nil {
		t.Errorf("the record after it says %v once more", got)
	}
}

func (f *fixture) last() map[string]any {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) == 0 {
		f.t.Fatal("there is no audit event")
	}
	var m map[string]any
	if err := json.Unmarshal(f.events[len(f.events)-1].JSON, &m); err != nil {
		f.t.Fatal(err)
	}
	return m
}

func TestAnAllowedCallIsServedAndRecorded(t *testing.T) {
	f := newFixture(t)
	a := f.encrypt(encrypt)
	if a.status != 200 || !strings.Contains(a.body, `"CiphertextBlob":"c2VhbGVk"`) {
		t.Fatalf("answer %d %s", a.status, a.body)
	}
	e := f.last()
	if e["eventName"] != "Encrypt" || e["requestID"] != a.header.Get("X-Amzn-Requestid") || e["recipientAccountId"] != account {
		t.Errorf("event %v", e)
	}
	if a.header.Get("X-Leadglass-Audit-Receipt") == "" || a.header.Get("Date") == "" {
		t.Errorf("headers %v", a.header)
	}
	if strings.Contains(string(f.events[0].JSON), "aGVsbG8=") {
		t.Error("the event holds the plaintext")
	}
}

func TestEveryRefusalHasItsCodeAndItsRecord(t *testing.T) {
	for _, c := range []struct {
		name         string
		change       func(f *fixture)
		key, service string
		header       http.Header
		body         string
		status       int
		code         string
		recordedIn   string
		serves       int
	}{
		{"no policy allows it", func(f *fixture) { f.policy = "" }, "AKIACUSTOMER", "kms", target("TrentService.Encrypt"), encrypt, 400, "AccessDeniedException", account, 0},
		{"no signature", nil, "", "", target("TrentService.Encrypt"), encrypt, 400, "MissingAuthenticationTokenException", operator, 0},
		{"an unknown key", nil, "AKIANOBODY", "kms", target("TrentService.Encrypt"), encrypt, 400, "UnrecognizedClientException", operator, 0},
		{"the scope of another service", nil, "AKIACUSTOMER", "sts", target("TrentService.Encrypt"), encrypt, 400, "InvalidSignatureException", operator, 0},
		{"an unknown operation", nil, "AKIACUSTOMER", "kms", target("TrentService.Frobnicate"), encrypt, 400, "UnknownOperationException", account, 0},
		{"an operation of the model that is not served", nil, "AKIACUSTOMER", "kms", target("TrentService.Sign"), encrypt, 400, "UnknownOperationException", account, 0},
		{"a body that is no JSON", nil, "AKIACUSTOMER", "kms", target("TrentService.Encrypt"), `{"KeyId":`, 400, "SerializationException", account, 0},
		{"a member of the wrong type", nil, "AKIACUSTOMER", "kms", target("TrentService.Encrypt"), `{"KeyId":1}`, 400, "SerializationException", account, 0},
		{"a missing member", nil, "AKIACUSTOMER", "kms", target("TrentService.Encrypt"), `{"KeyId":"1"}`, 400, "ValidationException", account, 0},
		{"a customer at an operator's operation", nil, "AKIACUSTOMER", "leadglass", target("Leadglass_20261101.GetHealth"), `{}`, 400, "AccessDeniedException", account, 0},
		{"a modelled error", func(f *fixture) {
			f.serve = func(context.Context, *kms.EncryptInput) (*kms.EncryptOutput, error) {
				return nil, &kms.DisabledException{Message: "k is disabled."}
			}
		}, "AKIACUSTOMER", "kms", target("TrentService.Encrypt"), encrypt, 400, "DisabledException", account, 1},
		{"an internal error", func(f *fixture) {
			f.serve = func(context.Context, *kms.EncryptInput) (*kms.EncryptOutput, error) {
				return nil, errors.New("the vault's combination is zq-1234-qz")
			}
		}, "AKIACUSTOMER", "kms", target("TrentService.Encrypt"), encrypt, 500, "KMSInternalException", account, 1},
		{"a panic", func(f *fixture) {
			f.serve = func(context.Context, *kms.EncryptInput) (*kms.EncryptOutput, error) { panic("combination zq-1234-qz") }
		}, "AKIACUSTOMER", "kms", target("TrentService.Encrypt"), encrypt, 500, "KMSInternalException", account, 1},
		{"a body above the limit", nil, "AKIACUSTOMER", "kms", target("TrentService.Encrypt"), `{"KeyId":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "RequestEntityTooLarge", operator, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			if c.change != nil {
				c.change(f)
			}
			a := f.send(c.key, c.service, c.header, c.body)
			var e struct {
				Type string `json:"__type"`
			}
			if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != c.status || e.Type != c.code {
				t.Errorf("answered %d %s, want %d %s", a.status, a.body, c.status, c.code)
			}
			r := f.last()
			if r["errorCode"] != c.code || r["recipientAccountId"] != c.recordedIn {
				t.Errorf("recorded %v in %v, want %s in %s", r["errorCode"], r["recipientAccountId"], c.code, c.recordedIn)
			}
			if f.served != c.serves {
				t.Errorf("the handler ran %d times, want %d", f.served, c.serves)
			}
			for _, leak := range []string{a.body, string(f.events[len(f.events)-1].JSON)} {
				if strings.Contains(leak, "zq-1234-qz") || strings.Contains(leak, keySec) {
					t.Errorf("leaks: %s", leak)
				}
			}
		})
	}
}

func TestNoAnswerLeavesWithoutItsRecord(t *testing.T) {
	f := newFixture(t)
	f.appends = func() error { return log.ErrStopped }
	a := f.encrypt(encrypt)
	if a.status != 500 || !strings.Contains(a.body, "KMSInternalException") || strings.Contains(a.body, "c2VhbGVk") {
		t.Errorf("answered %d %s", a.status, a.body)
	}
	if a.header.Get("X-Leadglass-Audit-Receipt") != "" {
		t.Error("a receipt for nothing")
	}
	a = f.send("AKIACUSTOMER", "sts", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "Action=GetCallerIdentity&Version=2011-06-15")
	if a.status != 503 || !strings.Contains(a.body, "<Code>ServiceUnavailable</Code>") {
		t.Errorf("answered %d %s", a.status, a.body)
	}
	a = f.send("AKIACUSTOMER", "iam", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "Action=CreateAccessKey&Version=2010-05-08")
	if a.status != 503 || strings.Contains(a.body, "SECRETsecret") {
		t.Errorf("answered %d %s", a.status, a.body)
	}
}

func TestASecretReachesItsOwnerAndNoRecord(t *testing.T) {
	f := newFixture(t)
	a := f.send("AKIACUSTOMER", "iam", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "Action=CreateAccessKey&Version=2010-05-08")
	if a.status != 200 || !strings.Contains(a.body, "<SecretAccessKey>SECRETsecretSECRETsecretSECRETsecret/+12</SecretAccessKey>") {
		t.Fatalf("answered %d %s", a.status, a.body)
	}
	if strings.Contains(string(f.events[0].JSON), "SECRETsecret") {
		t.Error("the secret is in the record")
	}
	if got := f.last()["responseElements"].(map[string]any)["accessKey"].(map[string]any)["secretAccessKey"]; got != "HIDDEN_DUE_TO_SECURITY_REASONS" {
		t.Errorf("secretAccessKey is recorded as %v", got)
	}
}

func TestTheOperatorReachesItsOwnOperations(t *testing.T) {
	f := newFixture(t)
	if a := f.send("AKIAOPERATOR", "leadglass", target("Leadglass_20261101.GetHealth"), `{}`); a.status != 200 {
		t.Errorf("answered %d %s", a.status, a.body)
	}
	if k := f.events[0].Kind; k != 7 {
		t.Errorf("recorded as kind %d, want 7: operator operation", k)
	}
	if a := f.send("AKIAOPERATOR", "kms", target("TrentService.Encrypt"), encrypt); a.status != 400 || !strings.Contains(a.body, "AccessDeniedException") {
		t.Errorf("the operator used a customer's key: %d %s", a.status, a.body)
	}
}

func TestAnUnsignedOperationNeedsNoSignature(t *testing.T) {
	f := newFixture(t)
	if a := f.send("", "", target("Leadglass_20261101.RedeemEnrolment"), `{"Code":"0123456789abcdef"}`); a.status != 200 {
		t.Errorf("answered %d %s", a.status, a.body)
	}
	if strings.Contains(string(f.events[0].JSON), "0123456789abcdef") {
		t.Error("the code is in the record")
	}
}

// The record of a redemption belongs to the account that it opens; whoever
// signs it all the same finds it in its own log too.
func TestARedemptionIsRecordedWhereItConcernsSomebody(t *testing.T) {
	f := newFixture(t)
	f.send("", "", target("Leadglass_20261101.RedeemEnrolment"), `{"Code":"0123456789abcdef"}`)
	f.send("AKIAOPERATOR", "leadglass", target("Leadglass_20261101.RedeemEnrolment"), `{"Code":"0123456789abcdef"}`)
	var in []string
	for _, e := range f.events {
		in = append(in, e.Account)
	}
	if want := []string{account, operator, account}; !slices.Equal(in, want) {
		t.Errorf("recorded in %v, want %v", in, want)
	}
}

// A request is authentic for what was signed, when it was signed, and nothing
// else; each way of bending it ends in the error that clients know.
func TestABentRequestIsRefusedAsClientsExpect(t *testing.T) {
	for _, c := range []struct {
		name string
		bend func(r *http.Request, body *string)
		at   time.Time
		code string
		text string
	}{
		{"signed a quarter of an hour and a second ago", nil, now.Add(-15*time.Minute - time.Second), "InvalidSignatureException", "Signature expired: "},
		{"signed a quarter of an hour and a second ahead", nil, now.Add(15*time.Minute + time.Second), "InvalidSignatureException", "Signature not yet current: "},
		{"replayed with another body", func(_ *http.Request, b *string) { *b = `{"KeyId":"2","Plaintext":"aGVsbG8="}` }, now, "InvalidSignatureException", "does not match"},
		{"replayed at another operation", func(r *http.Request, _ *string) { r.Header.Set("X-Amz-Target", "TrentService.Decrypt") }, now, "InvalidSignatureException", "does not match"},
		{"a truncated signature", func(r *http.Request, _ *string) {
			a := r.Header.Get("Authorization")
			r.Header.Set("Authorization", a[:len(a)-1])
		}, now, "InvalidSignatureException", ""},
		{"no signature in the header", func(r *http.Request, _ *string) {
			a, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature=")
			r.Header.Set("Authorization", a)
		}, now, "IncompleteSignatureException", ""},
		{"another algorithm's name", func(r *http.Request, _ *string) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256", "AWS4-HMAC-MD5", 1))
		}, now, "IncompleteSignatureException", ""},
		{"both header and query", func(r *http.Request, _ *string) { r.URL.RawQuery = "X-Amz-Signature=00" }, now, "IncompleteSignatureException", ""},
		{"an unsigned target", func(r *http.Request, _ *string) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), ";x-amz-target", "", 1))
		}, now, "InvalidSignatureException", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			body := encrypt
			req, err := http.NewRequest("POST", f.server.URL+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = target("TrentService.Encrypt")
			signer := sigv4.Signer{AccessKeyID: "AKIACUSTOMER", SecretAccessKey: []byte(keySec), Region: "us-east-1", Service: "kms"}
			if err := signer.Sign(&sigv4.Request{Method: "POST", Target: "/", Host: req.URL.Host, Header: req.Header, ContentLength: int64(len(body))}, []byte(body), c.at); err != nil {
				t.Fatal(err)
			}
			if c.bend != nil {
				c.bend(req, &body)
			}
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 400 || !strings.Contains(string(b), `"__type":"`+c.code+`"`) || !strings.Contains(string(b), c.text) {
				t.Errorf("answered %d %s, want %s %q", resp.StatusCode, b, c.code, c.text)
			}
			if f.served != 0 {
				t.Error("the handler ran")
			}
		})
	}
}

func TestHostileJSONIsRefusedOrHarmless(t *testing.T) {
	f := newFixture(t)
	var got string
	f.serve = func(_ context.Context, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
		got = in.KeyId
		return &kms.EncryptOutput{}, nil
	}
	for name, body := range map[string]string{
		"nested ten thousand deep": `{"KeyId":"1","Plaintext":"aA==","X":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`,
		"text after the end":       encrypt + "x",
		"no UTF-8":                 "{\"KeyId\":\"\xff\",\"Plaintext\":\"aA==\"}",
		"half a surrogate":         `{"KeyId":"\ud800","Plaintext":"aA=="}`,
		"bad base64":               `{"KeyId":"1","Plaintext":"a*=="}`,
		"a bare word":              `Encrypt`,
	} {
		if a := f.encrypt(body); a.status != 400 || !strings.Contains(a.body, "SerializationException") {
			t.Errorf("%s: answered %d %.200s", name, a.status, a.body)
		}
	}
	if a := f.encrypt(`{"KeyId":"first","Plaintext":"aA==","KeyId":"last","Unknown":{"deep":[1,{"x":null}]}}`); a.status != 200 || got != "last" {
		t.Errorf("a duplicate member: answered %d %s, the handler saw %q", a.status, a.body, got)
	}
}

// Shapes that make two parsers disagree about where a request ends must end in
// one clear refusal, and the connection with it.
func TestSmugglingShapesEndTheConnection(t *testing.T) {
	f := newFixture(t)
	host := f.server.Listener.Addr().String()
	for name, raw := range map[string]string{
		"two content lengths":           "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
		"length and chunked, unsigned":  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"an unknown transfer encoding":  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"a blank before the colon":      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 2\r\n\r\n{}",
		"two hosts":                     "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"a negative length":             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -2\r\n\r\n{}",
		"a line feed in a header value": "POST / HTTP/1.1\r\nHost: h\r\nX-A: b\nc\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			io.WriteString(conn, raw)
			conn.(*net.TCPConn).CloseWrite()
			b, _ := io.ReadAll(conn)
			if !bytes.HasPrefix(b, []byte("HTTP/1.1 4")) && !bytes.HasPrefix(b, []byte("HTTP/1.1 501")) {
				t.Errorf("answered %q", b)
			}
			if n := bytes.Count(b, []byte("HTTP/1.1 ")); n != 1 {
				t.Errorf("answered %d times: %q", n, b)
			}
			if f.served != 0 {
				t.Error("a handler ran")
			}
		})
	}
}

// Strangers who send long bodies slowly cannot fill the memory: beyond a limit
// they are turned away at once, and ordinary requests are served all the while.
func TestSlowLongBodiesAreBounded(t *testing.T) {
	f := newFixture(t)
	address := strings.TrimPrefix(f.server.URL, "http://")
	open := func() net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: TrentService.Encrypt\r\nContent-Length: 1048576\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var first net.Conn
	for range gate.MaxBodies >> 20 {
		if c := open(); first == nil {
			first = c
		}
	}
	// When all of them have been read so far, one more is refused.
	refused := func() bool {
		c := open()
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		b := make([]byte, 1<<10)
		n, _ := c.Read(b)
		return strings.Contains(string(b[:n]), " 503 ")
	}
	deadline := time.Now().Add(10 * time.Second)
	for !refused() {
		if time.Now().After(deadline) {
			t.Fatal("there is no end to long bodies")
		}
	}
	if a := f.encrypt(encrypt); a.status != 200 {
		t.Errorf("an ordinary request: %d %s", a.status, a.body)
	}
	first.Close()
	long := strings.Replace(encrypt, "{", "{"+strings.Repeat(" ", 64<<10), 1)
	for f.encrypt(long).status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("the room of a body that is gone is not given back")
		}
	}
}

func TestTwoTablesMayNotHoldOneOperation(t *testing.T) {
	op := operation.New(sts.GetCallerIdentity, func(context.Context, *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
		return nil, nil
	}, nil)
	router, err := wire.NewRouter(wire.RouterConfig{Operations: []*wire.OpInfo{op.Info}})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{}
	if _, err := gate.New(gate.Config{Router: router, Operations: []operation.Operation{op, op}, Authenticator: f, Recorder: f, Clock: clock.System, Region: "r", Operator: operator}); err == nil {
		t.Error("New took the same operation twice")
	}
}
