package gate_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

const (
	provider = "arn:aws:iam::" + account + ":oidc-provider/i.example"
	roleARN  = "arn:aws:iam::" + account + ":role/doctor"
)

// identified is an operation whose target finds out who calls.
func (f *fixture) identified() operation.Operation {
	return operation.New(sts.AssumeRoleWithWebIdentity, func(context.Context, *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
		f.mu.Lock()
		f.served++
		f.mu.Unlock()
		return &sts.AssumeRoleWithWebIdentityOutput{SubjectFromWebIdentityToken: "dr-schmidt"}, nil
	}, func(ctx context.Context, _ *sts.AssumeRoleWithWebIdentityInput) ([]operation.Ask, error) {
		return f.identify(ctx)
	}, operation.Identified)
}

// come calls, unsigned unless key is given.
func (f *fixture) come(key string) answer {
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {roleARN}, "RoleSessionName": {"session"}, "WebIdentityToken": {"the-token-itself"}}
	return f.send(key, "sts", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode())
}

func TestACallerWhomTheInputShowsIsAskedAboutAndRecorded(t *testing.T) {
	trusting, err := policy.Parse(policy.Trust, []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Federated":"`+provider+`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"i.example:sub":"dr-schmidt"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	as := func(subject string) func(context.Context) ([]operation.Ask, error) {
		return func(ctx context.Context) ([]operation.Ask, error) {
			call := operation.CallFrom(ctx)
			if call.Session != nil || call.Account != "" {
				t.Error("who signed is known to the target")
			}
			c := &sessions.Caller{
				Principal: authz.Principal{Type: authz.WebIdentity, ARN: provider, Account: account, Provider: provider},
				Policies:  &authz.Policies{}, PrincipalID: provider + ":leadglass:" + subject, UserName: subject, Provider: provider,
			}
			c.Keys.Set("i.example:sub", subject)
			call.Session = c
			return []operation.Ask{{Action: "sts:AssumeRoleWithWebIdentity", Resource: roleARN, Owner: account, Policy: trusting}}, nil
		}
	}
	refused := &wire.Fault{Code: "AccessDenied", Message: "Not authorized to perform sts:AssumeRoleWithWebIdentity", Status: 403}
	f := newFixture(t)
	for _, c := range []struct {
		name     string
		key      string
		identify func(context.Context) ([]operation.Ask, error)
		status   int
		kind     string // of userIdentity
		log      string // whose
	}{
		{"the trusted one", "", as("dr-schmidt"), 200, "WebIdentityUser", account},
		{"the trusted one, with somebody's signature", "AKIAOPERATOR", as("dr-schmidt"), 200, "WebIdentityUser", account},
		{"another of the same issuer", "", as("visitor"), 403, "WebIdentityUser", account},
		{"one whose token is no good", "", func(context.Context) ([]operation.Ask, error) { return nil, refused }, 403, "Unknown", operator},
		{"one whose role's name is no ARN", "", func(context.Context) ([]operation.Ask, error) {
			return nil, &wire.Fault{Code: "ValidationError", Message: "ward-of-a-customer is invalid", Status: 403}
		}, 403, "Unknown", operator},
		{"one whom the target does not name", "", func(context.Context) ([]operation.Ask, error) {
			return []operation.Ask{{Action: "sts:AssumeRoleWithWebIdentity", Resource: roleARN, Owner: account, Policy: trusting}}, nil
		}, 403, "Unknown", operator},
		{"one whom the target does not name, with a signature that may everything", "AKIACUSTOMER", func(context.Context) ([]operation.Ask, error) {
			return []operation.Ask{{Action: "sts:AssumeRoleWithWebIdentity", Resource: roleARN, Owner: account, Policy: trusting}}, nil
		}, 403, "Unknown", operator},
	} {
		f.identify = c.identify
		before := f.served
		a := f.come(c.key)
		if a.status != c.status || (f.served > before) != (c.status == 200) {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
		r := f.last()
		who, _ := r["userIdentity"].(map[string]any)
		if who["type"] != c.kind || r["recipientAccountId"] != c.log {
			t.Errorf("%s: %v in the log of %v", c.name, who, r["recipientAccountId"])
		}
		if c.kind == "WebIdentityUser" && (who["identityProvider"] != provider || who["arn"] != nil || who["accountId"] != nil || !strings.HasPrefix(who["principalId"].(string), provider+":leadglass:")) {
			t.Errorf("%s: %v", c.name, who)
		}
		// A stranger's claims about a customer's names are not the operator's to read.
		if p, there := r["requestParameters"]; (there && p != nil) != (c.log == account) || strings.Contains(f.text(), "the-token-itself") || strings.Contains(f.text(), "ward-of-a-customer") {
			t.Errorf("%s: parameters %v", c.name, p)
		}
	}
}

// text is the last record.
func (f *fixture) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.events[len(f.events)-1].JSON)
}

func TestAWebIdentityCannotFloodTheAccountItKnocksAt(t *testing.T) {
	f := newFixture(t)
	f.identify = func(ctx context.Context) ([]operation.Ask, error) {
		operation.CallFrom(ctx).Session = &sessions.Caller{
			Principal: authz.Principal{Type: authz.WebIdentity, ARN: provider, Account: account, Provider: provider}, Policies: &authz.Policies{},
		}
		return []operation.Ask{{Action: "sts:AssumeRoleWithWebIdentity", Resource: roleARN, Owner: account}}, nil
	}
	throttled := 0
	for range 510 {
		if a := f.come(""); strings.Contains(a.body, "Throttling") {
			throttled++
		}
	}
	if n := len(f.events); n != 500 || throttled != 10 {
		t.Errorf("%d records, %d throttled", n, throttled)
	}
}
