package sessions_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/federation"
	"github.com/leadglass/leadglass/identity/federation/exampleissuer"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/identity/sessions"
)

// NewSigner and SignIdentity make an outsider the signer of identity tokens,
// too: its tokens are what it was told.
func (o *outsider) NewSigner(_ context.Context, account, algorithm string) (sealed, jwk []byte, err error) {
	return []byte(account + algorithm), []byte(`{}`), nil
}

func (o *outsider) SignIdentity(_ context.Context, sealed []byte, i authority.Identity) (string, time.Time, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return "", time.Time{}, authority.ErrUnavailable
	}
	if len(i.RequestTags["huge"]) > 0 {
		return "", time.Time{}, authority.ErrTooLarge
	}
	return fmt.Sprintf("%s %+v", sealed, i), o.clock.Now().Add(time.Duration(i.Seconds) * time.Second), nil
}

// A federation is a world with an issuer that its account has registered.
type federated struct {
	*world
	issuer   *exampleissuer.Issuer
	provider *directory.OIDCProvider
}

func newFederated(t *testing.T) *federated {
	t.Helper()
	f := &federated{world: newWorld(t)}
	var err error
	f.issuer, err = exampleissuer.Start("ward")
	f.must(err)
	t.Cleanup(func() { f.issuer.Close() })
	v, err := federation.New(federation.Config{Clock: f.clock, Roots: []*x509.Certificate{f.issuer.Root()}, PrivateIssuers: []string{f.issuer.Host()}})
	f.must(err)
	i, err := federation.NewIssuer(f.directory, f.outside, func() string { return "https://plane.example" })
	f.must(err)
	f.WithFederation(v, i)
	f.provider, err = f.directory.CreateOIDCProvider(t.Context(), f.account, directory.NewOIDCProvider{URL: f.issuer.URL(), ClientIDs: []string{exampleissuer.ClientID}})
	f.must(err)
	return f
}

// trusting makes a role that trusts the provider.
func (f *federated) trusting(name, actions string) directory.Role {
	f.t.Helper()
	r, err := f.directory.CreateRole(f.t.Context(), f.account, directory.NewRole{Name: name, MaxSession: 7200, Tags: []directory.Tag{{Key: "ward", Value: "of the role"}, {Key: "Unit", Value: "u"}},
		TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + f.provider.ARN + `"},"Action":` + actions + `}]}`})
	f.must(err)
	return r
}

// come plans and carries out, asking the trust policy as the gate does.
func (f *federated) come(claims exampleissuer.Claims, in sessions.AssumeRole) (sessions.Assumed, credential, error) {
	f.t.Helper()
	token, err := f.issuer.Mint(f.clock.Now(), claims)
	f.must(err)
	if in.SessionName == "" {
		in.SessionName = "session"
	}
	p, who, err := f.PlanWebIdentity(f.t.Context(), token, in)
	if err != nil {
		return sessions.Assumed{}, credential{}, err
	}
	for i := range p.Asks {
		if !authz.Decide(&authz.Request{Principal: &who.Principal, Policies: who.Policies, Ask: &p.Asks[i], Common: &who.Keys}, nil).Allowed {
			return sessions.Assumed{}, credential{}, fmt.Errorf("denied %s", p.Asks[i].Action)
		}
	}
	a, err := f.AssumeRole(f.t.Context(), p)
	if err != nil {
		return sessions.Assumed{}, credential{}, err
	}
	return a, credential{a.AccessKeyID, reveal(f.t, a.Secret), a.Token}, nil
}

const all = `["sts:AssumeRoleWithWebIdentity","sts:TagSession","sts:SetSourceIdentity"]`

func TestAWebIdentityBecomesARoleSession(t *testing.T) {
	f := newFederated(t)
	role := f.trusting("doctor", all)
	a, cred, err := f.come(exampleissuer.DoctorOf("dr-schmidt", "3"), sessions.AssumeRole{RoleARN: role.ARN, SessionName: "dr"})
	f.must(err)
	if a.SourceIdentity != "dr-schmidt" || a.PackedSize < 1 || a.ID != role.ID+":dr" {
		t.Errorf("%+v", a)
	}
	c := f.caller(cred)
	for key, want := range map[string]string{
		"aws:PrincipalTag/Ward": "3", "aws:PrincipalTag/Unit": "u", "aws:SourceIdentity": "dr-schmidt", "aws:FederatedProvider": f.provider.ARN,
		"aws:PrincipalType": "AssumedRole", "aws:PrincipalArn": role.ARN, "aws:userid": role.ID + ":dr",
	} {
		if got, _ := c.Keys.Get(key); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %s", key, got, want)
		}
	}
	if c.Depth != 1 || c.CredentialID != f.provider.ID || c.Provider != f.provider.ARN {
		t.Errorf("%+v", c)
	}
	t.Run("a chain carries ward and source identity, and not the provider", func(t *testing.T) {
		second := f.role("second")
		third := f.role("third")
		_, next, err := f.assume(c, sessions.AssumeRole{RoleARN: second.ARN, Tags: []sessions.Tag{{Key: "Extra", Value: "x"}}})
		f.must(err)
		b := f.caller(next)
		_, last, err := f.assume(b, sessions.AssumeRole{RoleARN: third.ARN})
		f.must(err)
		d := f.caller(last)
		for key, want := range map[string][]string{
			"aws:PrincipalTag/Ward": {"3"}, "aws:SourceIdentity": {"dr-schmidt"}, "aws:PrincipalTag/Extra": nil, "aws:FederatedProvider": nil,
		} {
			if got, _ := d.Keys.Get(key); !slices.Equal(got, want) {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		if d.Depth != 3 || d.CredentialID != f.provider.ID {
			t.Errorf("depth %d, from %s", d.Depth, d.CredentialID)
		}
		if _, _, err := f.assume(b, sessions.AssumeRole{RoleARN: third.ARN, Tags: []sessions.Tag{{Key: "WARD", Value: "4"}}}); codeOf(err) != sessions.InvalidParameterValue {
			t.Errorf("the ward changed: %v", err)
		}
		if _, _, err := f.assume(b, sessions.AssumeRole{RoleARN: third.ARN, Duration: 3601}); codeOf(err) != sessions.ValidationError {
			t.Errorf("longer than a chain may: %v", err)
		}
		f.must(f.directory.DeleteOIDCProvider(t.Context(), f.account, f.provider.ARN))
		for name, old := range map[string]credential{"the first": cred, "the second": next, "the third": last} {
			if _, err := f.call(old); err == nil {
				t.Errorf("%s session outlives the provider", name)
			}
		}
		_, err = f.directory.CreateOIDCProvider(t.Context(), f.account, directory.NewOIDCProvider{URL: f.issuer.URL(), ClientIDs: []string{exampleissuer.ClientID}})
		f.must(err)
		if _, err := f.call(cred); err == nil {
			t.Error("a session comes back with the provider's name")
		}
	})
}

func codeOf(err error) sessions.Code {
	if e, ok := errors.AsType[*sessions.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestWhatAWebIdentityMayNot(t *testing.T) {
	f := newFederated(t)
	open := f.trusting("open", all)
	bare := f.trusting("bare", `"sts:AssumeRoleWithWebIdentity"`)
	closed := f.role("closed")
	long := strings.Repeat("x", 300)
	tags := func(more map[string]any) exampleissuer.Claims {
		return exampleissuer.Claims{"sub": "s", "https://aws.amazon.com/tags": more}
	}
	for _, c := range []struct {
		name   string
		claims exampleissuer.Claims
		in     sessions.AssumeRole
		want   string // part of the error
	}{
		{"nothing wrong", exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: open.ARN}, ""},
		{"a role that trusts users alone", exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: closed.ARN}, "denied sts:AssumeRoleWithWebIdentity"},
		{"a role that is not there", exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: closed.ARN + "x"}, "denied sts:AssumeRoleWithWebIdentity"},
		{"tags where the trust policy has no word of them", tags(map[string]any{"principal_tags": map[string]any{"k": "v"}}), sessions.AssumeRole{RoleARN: bare.ARN}, "denied sts:TagSession"},
		{"a source identity where the trust policy has no word of it", exampleissuer.Claims{"sub": "s", "https://aws.amazon.com/source_identity": "me"}, sessions.AssumeRole{RoleARN: bare.ARN}, "denied sts:SetSourceIdentity"},
		{"a transitive key without its tag", tags(map[string]any{"transitive_tag_keys": []string{"k"}}), sessions.AssumeRole{RoleARN: open.ARN}, "InvalidParameterValue"},
		{"a reserved tag", tags(map[string]any{"principal_tags": map[string]any{"aws:x": "v"}}), sessions.AssumeRole{RoleARN: open.ARN}, "InvalidParameterValue"},
		{"a tag that is too long", tags(map[string]any{"principal_tags": map[string]any{"k": long}}), sessions.AssumeRole{RoleARN: open.ARN}, "ValidationError"},
		{"longer than the role allows", exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: open.ARN, Duration: 7201}, "MaxSessionDuration"},
		{"as long as the role allows", exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: open.ARN, Duration: 7200}, ""},
		{"a bad session name", exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: open.ARN, SessionName: "x y"}, "ValidationError"},
		{"no role's ARN", exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: "arn:aws:iam::" + f.account + ":user/u"}, "ValidationError"},
		{"a session policy that is none", exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: open.ARN, Policy: new("{}")}, "MalformedPolicyDocument"},
		{"an old token", exampleissuer.Claims{"sub": "s", "exp": f.clock.Now().Unix()}, sessions.AssumeRole{RoleARN: open.ARN}, "ExpiredTokenException"},
		{"no subject", exampleissuer.Claims{}, sessions.AssumeRole{RoleARN: open.ARN}, "InvalidIdentityToken"},
	} {
		_, _, err := f.come(c.claims, c.in)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	t.Run("an audience that is not registered is known to be this identity, and refused", func(t *testing.T) {
		token, err := f.issuer.Mint(f.clock.Now(), exampleissuer.Claims{"sub": "s", "aud": "else"})
		f.must(err)
		p, who, err := f.PlanWebIdentity(t.Context(), token, sessions.AssumeRole{RoleARN: open.ARN, SessionName: "session"})
		if p != nil || who == nil || who.PrincipalID != f.provider.ARN+":else:s" || codeOf(err) != sessions.AccessDenied {
			t.Errorf("%+v %+v %v", p, who, err)
		}
	})
	t.Run("claims are condition keys of the issuer", func(t *testing.T) {
		r, err := f.directory.CreateRole(t.Context(), f.account, directory.NewRole{Name: "otp", TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + f.provider.ARN +
			`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"ForAnyValue:StringEquals":{"` + f.provider.URL + `:amr":"otp"},"StringEquals":{"` + f.provider.URL + `:aud":"leadglass","sts:RoleSessionName":"session"},"Bool":{"` + f.provider.URL + `:email_verified":"true"}}}]}`})
		f.must(err)
		for name, c := range map[string]struct {
			claims exampleissuer.Claims
			ok     bool
		}{
			"two factors":    {exampleissuer.Claims{"sub": "s", "amr": []string{"pwd", "otp"}, "email_verified": true}, true},
			"one factor":     {exampleissuer.Claims{"sub": "s", "amr": []string{"pwd"}, "email_verified": true}, false},
			"none told":      {exampleissuer.Claims{"sub": "s", "email_verified": true}, false},
			"not verified":   {exampleissuer.Claims{"sub": "s", "amr": []string{"otp"}, "email_verified": false}, false},
			"in other cases": {exampleissuer.Claims{"sub": "s", "amr": "otp", "email_verified": true}, true},
		} {
			if _, _, err := f.come(c.claims, sessions.AssumeRole{RoleARN: r.ARN}); (err == nil) != c.ok {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("without federation nobody comes", func(t *testing.T) {
		f.WithFederation(nil, nil)
		if _, _, err := f.come(exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: open.ARN}); codeOf(err) != sessions.AccessDenied {
			t.Errorf("%v", err)
		}
	})
}

func (w *world) federate(c *sessions.Caller, in sessions.FederationToken) (sessions.FederatedUser, credential, error) {
	w.t.Helper()
	p, err := w.PlanFederationToken(c, in)
	if err != nil {
		return sessions.FederatedUser{}, credential{}, err
	}
	u, err := w.FederationToken(w.t.Context(), p)
	if err != nil {
		return sessions.FederatedUser{}, credential{}, err
	}
	return u, credential{u.AccessKeyID, reveal(w.t, u.Secret), u.Token}, nil
}

func TestAFederatedUserIsASessionOfItsUser(t *testing.T) {
	w := newWorld(t)
	user, key := w.user("u")
	me := w.caller(key)
	document := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`
	f, cred, err := w.federate(me, sessions.FederationToken{Name: "bob", Policy: &document, Tags: []sessions.Tag{{Key: "team", Value: "surgery"}, {Key: "Shift", Value: "night"}}})
	w.must(err)
	if f.ARN != "arn:aws:sts::"+w.account+":federated-user/bob" || f.ID != w.account+":bob" || f.PackedSize < 1 || !f.Expires.Equal(start.Add(12*time.Hour)) {
		t.Errorf("%+v", f)
	}
	c := w.caller(cred)
	if p := c.Principal; p.Type != authz.FederatedUser || p.ARN != f.ARN || p.UserARN != user.ARN || p.ID != user.ID || c.UserName != "" || c.SessionName != "bob" || !c.Policies.SessionPassed {
		t.Errorf("%+v", c)
	}
	for key, want := range map[string][]string{
		"aws:PrincipalArn": {f.ARN}, "aws:PrincipalType": {"FederatedUser"}, "aws:userid": {f.ID}, "aws:username": nil,
		"aws:PrincipalTag/Team": {"surgery"}, "aws:PrincipalTag/Shift": {"night"}, "aws:MultiFactorAuthPresent": {"false"},
	} {
		if got, _ := c.Keys.Get(key); !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for action, allowed := range map[string]bool{
		"sts:GetCallerIdentity": true, "kms:Decrypt": true, "sts:AssumeRole": false, "sts:GetFederationToken": false, "sts:GetSessionToken": false,
		"sts:GetWebIdentityToken": false, "sts:GetAccessKeyInfo": false, "iam:GetUser": false, "IAM:ListUsers": false,
	} {
		if why := c.Restricted(action); (why == "") != allowed {
			t.Errorf("%s: %q", action, why)
		}
	}
	t.Run("what may not be asked for", func(t *testing.T) {
		role := w.role("r")
		_, session, err := w.assume(me, sessions.AssumeRole{RoleARN: role.ARN})
		w.must(err)
		for _, c := range []struct {
			name   string
			caller *sessions.Caller
			in     sessions.FederationToken
			code   sessions.Code
		}{
			{"by a role", w.caller(session), sessions.FederationToken{Name: "bob"}, sessions.AccessDenied},
			{"by a federated user", c, sessions.FederationToken{Name: "bob"}, sessions.AccessDenied},
			{"a short name", me, sessions.FederationToken{Name: "b"}, sessions.ValidationError},
			{"a long name", me, sessions.FederationToken{Name: strings.Repeat("b", 33)}, sessions.ValidationError},
			{"a name with a slash", me, sessions.FederationToken{Name: "b/o"}, sessions.ValidationError},
			{"a short time", me, sessions.FederationToken{Name: "bob", Duration: 899}, sessions.ValidationError},
			{"a long time", me, sessions.FederationToken{Name: "bob", Duration: 129601}, sessions.ValidationError},
			{"a tag twice", me, sessions.FederationToken{Name: "bob", Tags: []sessions.Tag{{Key: "a"}, {Key: "A"}}}, sessions.InvalidParameterValue},
			{"a policy that is none", me, sessions.FederationToken{Name: "bob", Policy: new("{}")}, sessions.MalformedPolicyDocument},
			{"a policy that is not there", me, sessions.FederationToken{Name: "bob", PolicyARNs: []string{"arn:aws:iam::" + w.account + ":policy/x"}}, sessions.MalformedPolicyDocument},
		} {
			if _, _, err := w.federate(c.caller, c.in); codeOf(err) != c.code {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	})
	t.Run("it ends with its access key", func(t *testing.T) {
		w.must(w.directory.UpdateAccessKey(t.Context(), w.account, "u", key.akid, false))
		if _, err := w.call(cred); err == nil {
			t.Error("it does not")
		}
	})
}

func TestAnIdentityTokenSaysWhoAsks(t *testing.T) {
	f := newFederated(t)
	user, key := f.user("u")
	me := f.caller(key)
	role := f.role("r")
	_, cred, err := f.assume(me, sessions.AssumeRole{RoleARN: role.ARN, Duration: 900, Tags: []sessions.Tag{{Key: "Ward", Value: "3"}}})
	f.must(err)
	session := f.caller(cred)
	sign := func(c *sessions.Caller, in sessions.IdentityToken) (string, error) {
		t.Helper()
		p, err := f.PlanIdentityToken(c, in)
		if err != nil {
			return "", err
		}
		token, _, err := f.IdentityToken(t.Context(), "eu-central-1", p)
		return token, err
	}
	good := sessions.IdentityToken{Audience: []string{"https://partner.example"}, Algorithm: "ES384"}
	if _, err := sign(me, good); codeOf(err) != sessions.OutboundDisabled {
		t.Errorf("before it is enabled: %v", err)
	}
	_, err = f.directory.EnableOutbound(t.Context(), f.account, f.outside.NewSigner)
	f.must(err)
	for name, c := range map[string]struct {
		caller *sessions.Caller
		want   []string
	}{
		"a user":         {me, []string{"Subject:" + user.ARN, "Team:cardiology", "SessionExpires:0"}},
		"a role session": {session, []string{"Subject:" + role.ARN, "Ward:3", "Unit:role", fmt.Sprint("SessionExpires:", start.Add(15*time.Minute).Unix())}},
	} {
		text, err := sign(c.caller, good)
		f.must(err)
		for _, want := range append(c.want, "Issuer:https://plane.example/_outbound/", "Seconds:300", "Region:eu-central-1", "Audience:[https://partner.example]", f.account+"ES384") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s in %s", name, want, text)
			}
		}
	}
	p, err := f.PlanIdentityToken(session, sessions.IdentityToken{Audience: []string{"a", "b"}, Algorithm: "RS256", Duration: 60, Tags: []sessions.Tag{{Key: "job", Value: "x"}}})
	f.must(err)
	if len(p.Asks) != 2 || p.Asks[0].Action != "sts:GetWebIdentityToken" || p.Asks[1].Action != "sts:TagGetWebIdentityToken" {
		t.Errorf("%+v", p.Asks)
	}
	for key, want := range map[string][]string{
		"sts:IdentityTokenAudience": {"a", "b"}, "sts:SigningAlgorithm": {"RS256"}, "sts:DurationSeconds": {"60"}, "aws:RequestTag/job": {"x"}, "aws:TagKeys": {"job"},
	} {
		if got, _ := p.Asks[0].Context.Get(key); !slices.Equal(got, want) {
			t.Errorf("%s is %q", key, got)
		}
	}
	with := func(change func(*sessions.IdentityToken)) sessions.IdentityToken {
		in := good
		change(&in)
		return in
	}
	for _, c := range []struct {
		name string
		in   sessions.IdentityToken
		code sessions.Code
	}{
		{"beyond the session's end", with(func(i *sessions.IdentityToken) { i.Duration = 901 }), sessions.SessionDurationEscalation},
		{"to its end", with(func(i *sessions.IdentityToken) { i.Duration = 900 }), ""},
		{"too short", with(func(i *sessions.IdentityToken) { i.Duration = 59 }), sessions.ValidationError},
		{"too long", with(func(i *sessions.IdentityToken) { i.Duration = 3601 }), sessions.ValidationError},
		{"another algorithm", with(func(i *sessions.IdentityToken) { i.Algorithm = "HS256" }), sessions.ValidationError},
		{"for nobody", with(func(i *sessions.IdentityToken) { i.Audience = nil }), sessions.ValidationError},
		{"more than fits", with(func(i *sessions.IdentityToken) { i.Tags = []sessions.Tag{{Key: "huge", Value: "x"}} }), sessions.PayloadTooLarge},
	} {
		if _, err := sign(session, c.in); codeOf(err) != c.code || (err == nil) != (c.code == "") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	f.outside.mu.Lock()
	f.outside.down = true
	f.outside.mu.Unlock()
	if _, err := sign(me, good); !errors.Is(err, sessions.ErrUnavailable) {
		t.Errorf("without the authority: %v", err)
	}
}

// An unsigned call has these keys as well: without them a condition that
// compares with NotEquals would hold.
func TestATrustPolicyIsAskedWithThePrincipalsTypeAndId(t *testing.T) {
	f := newFederated(t)
	token, err := f.issuer.Mint(f.clock.Now(), exampleissuer.Claims{"sub": "s"})
	f.must(err)
	role := f.trusting("r", all)
	_, who, err := f.PlanWebIdentity(t.Context(), token, sessions.AssumeRole{RoleARN: role.ARN, SessionName: "s1"})
	f.must(err)
	for key, want := range map[string]string{"aws:PrincipalType": "Anonymous", "aws:userid": "anonymous"} {
		if got, _ := who.Keys.Get(key); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q", key, got)
		}
	}
}

// What a closed account's keys and providers have opened elsewhere is over with it.
func TestNothingThatBeganInAClosedAccountGoesOn(t *testing.T) {
	f := newFederated(t)
	ctx := t.Context()
	orgs, org, management := f.inOrganization()
	_, user := f.user("u")
	inside := f.trusting("inside", all)
	_, session, err := f.come(exampleissuer.Claims{"sub": "s"}, sessions.AssumeRole{RoleARN: inside.ARN})
	f.must(err)
	outside, err := f.directory.CreateRole(ctx, management, directory.NewRole{Name: "outside",
		TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + f.account + `"},"Action":"sts:AssumeRole"}]}`})
	f.must(err)
	elsewhere := map[string]credential{}
	for name, c := range map[string]credential{"by a user's key": user, "by a web identity": session} {
		_, chained, err := f.assume(f.caller(c), sessions.AssumeRole{RoleARN: outside.ARN})
		f.must(err)
		f.caller(chained)
		elsewhere[name] = chained
	}
	unknown, err := f.issuer.Mint(f.clock.Now(), exampleissuer.Claims{"sub": "s"})
	f.must(err)

	f.must(orgs.CloseAccount(ctx, org, f.account))
	for name, c := range elsewhere {
		if got := outcome(f.call(c)); !strings.HasPrefix(got, "InvalidClientTokenId") {
			t.Errorf("%s: %s", name, got)
		}
	}
	_, who, closed := f.PlanWebIdentity(ctx, unknown, sessions.AssumeRole{RoleARN: inside.ARN, SessionName: "s1"})
	_, _, none := f.PlanWebIdentity(ctx, unknown, sessions.AssumeRole{RoleARN: "arn:aws:iam::123412341234:role/none", SessionName: "s1"})
	if closed == nil || none == nil || closed.Error() != none.Error() || who != nil {
		t.Errorf("a closed account says %v, one that does not exist %v", closed, none)
	}
}

// inOrganization makes the account a member of an organization.
func (f *federated) inOrganization() (orgs *organization.Organizations, org, management string) {
	f.t.Helper()
	ctx := f.t.Context()
	orgs, err := organization.Open(ctx, f.store, organization.Config{Clock: f.clock, Directory: f.directory})
	f.must(err)
	f.WithOrganizations(orgs)
	m, err := f.directory.CreateAccount(ctx, "management", false)
	f.must(err)
	o, err := orgs.CreateOrganization(ctx, m.ID)
	f.must(err)
	h, err := orgs.Invite(ctx, o.ID, f.account, "", nil)
	f.must(err)
	_, err = orgs.AcceptHandshake(ctx, f.account, h.ID)
	f.must(err)
	return orgs, o.ID, m.ID
}

func TestAnIdentityTokenNamesTheOrganization(t *testing.T) {
	f := newFederated(t)
	_, key := f.user("u")
	_, err := f.directory.EnableOutbound(t.Context(), f.account, f.outside.NewSigner)
	f.must(err)
	sign := func() string {
		p, err := f.PlanIdentityToken(f.caller(key), sessions.IdentityToken{Audience: []string{"partner"}, Algorithm: "ES384"})
		f.must(err)
		token, _, err := f.IdentityToken(t.Context(), "eu-central-1", p)
		f.must(err)
		return token
	}
	if got := sign(); !strings.Contains(got, "Organization:}") {
		t.Errorf("without one: %s", got)
	}
	orgs, org, _ := f.inOrganization()
	if got := sign(); !strings.Contains(got, "Organization:"+org+"}") {
		t.Errorf("a member's: %s", got)
	}
	f.must(orgs.LeaveOrganization(t.Context(), f.account))
	if got := sign(); !strings.Contains(got, "Organization:}") {
		t.Errorf("after it has left: %s", got)
	}
}
