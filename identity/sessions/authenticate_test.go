package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
)

// keys writes the condition keys of a caller in order, without regard to case.
func keys(c *sessions.Caller) string {
	m := make(map[string]string)
	for k, v := range c.Keys.All() {
		m[strings.ToLower(k)] = fmt.Sprintf("%s=%s", strings.ToLower(k), strings.Join(v, ","))
	}
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, m[k])
	}
	return strings.Join(lines, "\n")
}

func TestAUserAsACaller(t *testing.T) {
	w := newWorld(t)
	u, cred := w.user("alice")
	w.must(w.directory.AttachPolicy(t.Context(), w.account, directory.UserKind, "alice", directory.AdministratorAccess))
	c := w.caller(cred)
	if c.Principal != (authz.Principal{Type: authz.User, ARN: u.ARN, Account: w.account, ID: u.ID}) {
		t.Errorf("principal %+v", c.Principal)
	}
	if c.PrincipalID != u.ID || c.UserName != "alice" || c.AccessKeyID != cred.akid || c.Temporary() || c.Depth != 0 || c.Issuer != nil {
		t.Errorf("%+v", c)
	}
	if len(c.Policies.Identity) != 1 || c.Policies.SessionPassed {
		t.Errorf("policies %+v", c.Policies)
	}
	want := strings.Join([]string{
		"aws:principalaccount=" + w.account, "aws:principalarn=" + u.ARN, "aws:principalisawsservice=false",
		"aws:principaltag/team=cardiology", "aws:principaltype=User", "aws:userid=" + u.ID, "aws:username=alice",
	}, "\n")
	if got := keys(c); got != want {
		t.Errorf("keys\n%s", got)
	}
	if again := w.caller(cred); again != c {
		t.Error("nothing changed, and the caller was made anew")
	}
	last, err := w.directory.GetAccessKeyLastUsed(w.account, cred.akid)
	w.must(err)
	if last.Service != "kms" || last.Region != "us-east-1" || !last.Time.Equal(start) {
		t.Errorf("last used %+v", last)
	}
	w.must(w.directory.DetachPolicy(t.Context(), w.account, directory.UserKind, "alice", directory.AdministratorAccess))
	if len(w.caller(cred).Policies.Identity) != 0 {
		t.Error("a detached policy is still in force")
	}
}

func TestARoleSessionAsACaller(t *testing.T) {
	w := newWorld(t)
	_, cred := w.user("alice")
	role := w.role("doctor")
	w.clock.Advance(90 * time.Second)
	a, session, err := w.assume(w.caller(cred), sessions.AssumeRole{
		RoleARN: role.ARN, SessionName: "night@ward", SourceIdentity: "badge-7",
		Tags: []sessions.Tag{{Key: "unit", Value: "session"}, {Key: "Shift", Value: "night"}},
	})
	w.must(err)
	if a.ID != role.ID+":night@ward" || a.ARN != "arn:aws:sts::"+w.account+":assumed-role/doctor/night@ward" || a.SourceIdentity != "badge-7" ||
		!a.Expires.Equal(w.clock.Now().Add(time.Hour)) || a.PackedSize < 1 || a.PackedSize > 5 {
		t.Errorf("%+v", a)
	}
	c := w.caller(session)
	if c.Principal != (authz.Principal{Type: authz.AssumedRole, ARN: a.ARN, Account: w.account, RoleARN: role.ARN, ID: role.ID}) {
		t.Errorf("principal %+v", c.Principal)
	}
	if c.PrincipalID != a.ID || c.SessionName != "night@ward" || c.UserName != "" || c.Depth != 1 || !c.Issued.Equal(w.clock.Now()) || c.CredentialID != cred.akid {
		t.Errorf("%+v", c)
	}
	if *c.Issuer != (sessions.SessionIssuer{Type: "Role", PrincipalID: role.ID, ARN: role.ARN, AccountID: w.account, UserName: "doctor"}) {
		t.Errorf("issuer %+v", c.Issuer)
	}
	want := strings.Join([]string{
		"aws:multifactorauthpresent=false", "aws:principalaccount=" + w.account, "aws:principalarn=" + role.ARN, "aws:principalisawsservice=false",
		"aws:principaltag/cost=7", "aws:principaltag/shift=night", "aws:principaltag/unit=session", "aws:principaltype=AssumedRole",
		"aws:sourceidentity=badge-7", "aws:tokenissuetime=2026-11-24T12:01:30Z", "aws:userid=" + a.ID,
	}, "\n")
	if got := keys(c); got != want {
		t.Errorf("keys\n%s", got)
	}
	if w.caller(session) != c {
		t.Error("nothing changed, and the caller was made anew")
	}
	got, err := w.directory.GetRole(w.account, "doctor")
	w.must(err)
	if got.LastUsed.Service != "kms" {
		t.Errorf("role last used %+v", got.LastUsed)
	}
}

func TestASessionTokenIsTheUserButMayNotDoAll(t *testing.T) {
	w := newWorld(t)
	u, cred := w.user("alice")
	long := w.caller(cred)
	got, err := w.SessionToken(t.Context(), long, 0, sessions.MFA{})
	w.must(err)
	if !got.Expires.Equal(start.Add(12 * time.Hour)) {
		t.Errorf("expires %v", got.Expires)
	}
	c := w.caller(credential{got.AccessKeyID, reveal(t, got.Secret), got.Token})
	if c.Principal != (authz.Principal{Type: authz.User, ARN: u.ARN, Account: w.account, ID: u.ID, TemporaryUser: true}) || c.Depth != 0 || c.UserName != "alice" {
		t.Errorf("%+v", c)
	}
	if v, _ := c.Keys.Get("aws:MultiFactorAuthPresent"); !slices.Equal(v, []string{"false"}) {
		t.Errorf("MultiFactorAuthPresent %v", v)
	}
	role := w.role("doctor")
	_, session, err := w.assume(c, sessions.AssumeRole{RoleARN: role.ARN, Duration: 7200}) // no chaining: the caller is the user
	w.must(err)
	rs := w.caller(session)
	if rs.Depth != 1 || rs.CredentialID != cred.akid {
		t.Errorf("depth %d, credential %s", rs.Depth, rs.CredentialID)
	}
	for _, k := range []struct {
		action               string
		long, token, assumed bool
	}{
		{"sts:GetCallerIdentity", true, true, true},
		{"sts:AssumeRole", true, true, true},
		{"sts:TagSession", true, true, true},
		{"STS:getsessiontoken", true, false, false},
		{"sts:GetFederationToken", true, false, false},
		{"sts:DecodeAuthorizationMessage", true, false, true},
		{"sts:GetAccessKeyInfo", true, false, true},
		{"iam:GetUser", true, false, true},
		{"IAM:CreateUser", true, false, true},
		{"kms:Decrypt", true, true, true},
		{"iamx:Get", true, true, true},
	} {
		for name, is := range map[string]struct {
			c  *sessions.Caller
			ok bool
		}{"key": {long, k.long}, "token": {c, k.token}, "role": {rs, k.assumed}} {
			if why := is.c.Restricted(k.action); (why == "") != is.ok {
				t.Errorf("%s with %s: %q", k.action, name, why)
			}
		}
	}
	for _, bad := range []struct {
		name     string
		caller   *sessions.Caller
		duration int
		mfa      sessions.MFA
		code     sessions.Code
	}{
		{"from a session token", c, 0, sessions.MFA{}, sessions.AccessDenied},
		{"from a role session", rs, 0, sessions.MFA{}, sessions.AccessDenied},
		{"too short", long, 899, sessions.MFA{}, sessions.ValidationError},
		{"too long", long, 129601, sessions.MFA{}, sessions.ValidationError},
		{"with a second factor that nobody has", long, 0, sessions.MFA{Serial: "arn:aws:iam::111122223333:mfa/x", Code: "123456"}, sessions.AccessDenied},
	} {
		_, err := w.SessionToken(t.Context(), bad.caller, bad.duration, bad.mfa)
		w.refused(bad.name, err, bad.code, "")
	}
	if _, err := w.SessionToken(t.Context(), long, 129600, sessions.MFA{}); err != nil {
		t.Error(err)
	}
}

func (w *world) refused(name string, err error, code sessions.Code, message string) {
	w.t.Helper()
	e, ok := errors.AsType[*sessions.Error](err)
	if !ok || e.Code != code || message != "" && e.Message != message {
		w.t.Errorf("%s: got %v, want %s: %s", name, err, code, message)
	}
}

func TestCredentialsThatAreNoGood(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(w *world) credential
		want    sigv4.Kind
	}{
		{"an id that nobody has", func(w *world) credential { return credential{"AKIAAAAAAAAAAAAAAAAA", "secret", ""} }, sigv4.UnknownKey},
		{"a wrong secret", func(w *world) credential {
			_, c := w.user("u")
			c.secret = strings.ToUpper(c.secret)
			return c
		}, sigv4.BadSignature},
		{"an inactive key", func(w *world) credential {
			_, c := w.user("u")
			w.must(w.directory.UpdateAccessKey(w.t.Context(), w.account, "u", c.akid, false))
			return c
		}, sigv4.UnknownKey},
		{"a deleted key", func(w *world) credential {
			_, c := w.user("u")
			w.caller(c)
			w.must(w.directory.DeleteAccessKey(w.t.Context(), w.account, "u", c.akid))
			return c
		}, sigv4.UnknownKey},
		{"a key with somebody's session token", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			c.token = s.token
			return c
		}, sigv4.BadToken},
		{"a session without its token", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			s.token = ""
			return s
		}, sigv4.UnknownKey},
		{"a session with the token of another", func(w *world) credential {
			_, c := w.user("u")
			r := w.role("r")
			s := w.session(c, r)
			s.token = w.session(c, r).token
			return s
		}, sigv4.BadToken},
		{"a session signed with another secret", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			s.secret = c.secret
			return s
		}, sigv4.BadSignature},
		{"an expired session", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			w.caller(s)
			w.clock.Advance(time.Hour)
			return s
		}, sigv4.ExpiredToken},
		{"a session of a deleted role", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			w.caller(s)
			w.must(w.directory.DeleteRole(w.t.Context(), w.account, "r"))
			return s
		}, sigv4.BadToken},
		{"a session of a role that was made anew", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			w.must(w.directory.DeleteRole(w.t.Context(), w.account, "r"))
			w.role("r")
			return s
		}, sigv4.BadToken},
		{"a session whose key is inactive", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			w.caller(s)
			w.must(w.directory.UpdateAccessKey(w.t.Context(), w.account, "", c.akid, false))
			return s
		}, sigv4.BadToken},
		{"a session whose key was inactive for a while", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			w.clock.Advance(time.Second)
			w.must(w.directory.UpdateAccessKey(w.t.Context(), w.account, "", c.akid, false))
			w.must(w.directory.UpdateAccessKey(w.t.Context(), w.account, "", c.akid, true))
			w.caller(c)
			w.clock.Advance(time.Millisecond)
			w.caller(w.session(c, directory.Role{ARN: "arn:aws:iam::" + w.account + ":role/app/r"})) // a new one is good
			return s
		}, sigv4.BadToken},
		{"a chained session whose first key is gone", func(w *world) credential {
			_, c := w.user("u")
			r := w.role("r")
			s := w.session(w.session(w.session(c, r), w.role("r2")), r)
			w.caller(s)
			w.must(w.directory.DeleteAccessKey(w.t.Context(), w.account, "", c.akid))
			return s
		}, sigv4.BadToken},
		{"a session token of a deleted user", func(w *world) credential {
			_, c := w.user("u")
			got, err := w.SessionToken(w.t.Context(), w.caller(c), 0, sessions.MFA{})
			w.must(err)
			w.must(w.directory.DeleteAccessKey(w.t.Context(), w.account, "", c.akid))
			w.must(w.directory.DeleteUser(w.t.Context(), w.account, "u"))
			return credential{got.AccessKeyID, reveal(w.t, got.Secret), got.Token}
		}, sigv4.BadToken},
		{"a revoked session", func(w *world) credential {
			_, c := w.user("u")
			s := w.session(c, w.role("r"))
			w.outside.revoked = append(w.outside.revoked, authority.Revocation{SessionID: w.outside.tokens[s.token].claims.SessionID})
			return s
		}, sigv4.BadToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			cred := c.prepare(w)
			asked := w.outside.asked
			_, err := w.call(cred)
			if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Kind != c.want {
				t.Errorf("got %v, want kind %d", err, c.want)
			}
			if w.outside.asked != asked+1 {
				t.Error("the authority was not asked: time tells which ids exist")
			}
		})
	}
}

// session assumes a role and returns the credentials.
func (w *world) session(c credential, r directory.Role) credential {
	w.t.Helper()
	_, s, err := w.assume(w.caller(c), sessions.AssumeRole{RoleARN: r.ARN})
	w.must(err)
	return s
}

func TestAnUnreachableAuthorityIsNoRefusal(t *testing.T) {
	w := newWorld(t)
	_, cred := w.user("u")
	caller := w.caller(cred)
	w.outside.down = true
	for _, c := range []credential{cred, {"AKIAAAAAAAAAAAAAAAAA", "x", ""}, {"ASIAAAAAAAAAAAAAAAAA", "x", "token"}} {
		if _, err := w.call(c); !errors.Is(err, sessions.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := w.SessionToken(t.Context(), caller, 0, sessions.MFA{}); !errors.Is(err, sessions.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestSessionPoliciesAreThoseOfNow(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, cred := w.user("u")
	role := w.role("r")
	w.must(w.directory.AttachPolicy(ctx, w.account, directory.RoleKind, "r", directory.AdministratorAccess))
	p, err := w.directory.CreatePolicy(ctx, w.account, directory.NewPolicy{Name: "p",
		Document: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:List*","Resource":"*"}]}`})
	w.must(err)
	inline := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Describe*","Resource":"*"}]}`
	_, session, err := w.assume(w.caller(cred), sessions.AssumeRole{RoleARN: role.ARN, Policy: &inline, PolicyARNs: []string{p.ARN, p.ARN}})
	w.must(err)
	allowed := func(action string) bool {
		c := w.caller(session)
		return authz.Decide(&authz.Request{Principal: &c.Principal, Policies: c.Policies, Common: &c.Keys,
			Ask: &authz.Ask{Action: action, Resource: "*", Owner: w.account}}, nil).Allowed
	}
	expect := func(what, want string) {
		t.Helper()
		var got []string
		for _, a := range []string{"kms:ListKeys", "kms:DescribeKey", "kms:CreateKey"} {
			if allowed(a) {
				got = append(got, a)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	expect("as passed", "kms:ListKeys kms:DescribeKey")
	if a, b := w.caller(session), w.caller(session); a != b {
		t.Error("nothing changed, and the caller was made anew")
	}
	_, err = w.directory.CreatePolicyVersion(ctx, w.account, p.ARN, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Create*","Resource":"*"}]}`, true)
	w.must(err)
	expect("the managed policy changed", "kms:DescribeKey kms:CreateKey")
	w.must(w.directory.DeletePolicyVersion(ctx, w.account, p.ARN, "v1"))
	w.must(w.directory.DeletePolicy(ctx, w.account, p.ARN))
	expect("the managed policy is gone, and with it what it may have denied", "")
	c := w.caller(session)
	bucket, err := policy.Parse(policy.Resource, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+c.Principal.ARN+`"},"Action":"s3:GetObject","Resource":"*"}]}`))
	w.must(err)
	if authz.Decide(&authz.Request{Principal: &c.Principal, Policies: c.Policies, Common: &c.Keys,
		Ask: &authz.Ask{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/o", Owner: w.account, Policy: bucket}}, nil).Allowed {
		t.Error("what is gone may have denied what a resource policy gives to the session")
	}
	w.must(w.directory.DetachPolicy(ctx, w.account, directory.RoleKind, "r", directory.AdministratorAccess))
	expect("the role has no policy", "")
}

func TestManyAuthenticateWhileThingsChange(t *testing.T) {
	w := newWorld(t)
	_, cred := w.user("u")
	session := w.session(cred, w.role("r"))
	var wg sync.WaitGroup
	for _, c := range []credential{cred, session} {
		p, sts, digest := w.sign(c)
		for range 2 {
			wg.Go(func() {
				for range 200 {
					caller, err := w.Authenticate(t.Context(), p, sts, digest)
					if err != nil || len(caller.Policies.Identity) > 1 {
						t.Errorf("%v", err)
						return
					}
				}
			})
		}
	}
	wg.Go(func() {
		for range 100 {
			for _, k := range []struct {
				kind directory.Kind
				name string
			}{{directory.UserKind, "u"}, {directory.RoleKind, "r"}} {
				if err := errors.Join(
					w.directory.AttachPolicy(t.Context(), w.account, k.kind, k.name, directory.AdministratorAccess),
					w.directory.DetachPolicy(t.Context(), w.account, k.kind, k.name, directory.AdministratorAccess)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	wg.Wait()
}

// An open door lets everybody in, so that the benchmark shows what Authenticate
// itself costs.
type openDoor struct {
	*outsider
	claims *authority.Claims
}

func (o openDoor) Witness(context.Context, authority.Request) (*authority.Claims, error) {
	return o.claims, nil
}

// BenchmarkAuthenticate is Authenticate without the authority's round trip.
// Target: 1 to 2 µs.
func BenchmarkAuthenticate(b *testing.B) {
	w := newWorld(b)
	_, cred := w.user("u")
	session := w.session(cred, w.role("r"))
	claims := w.outside.tokens[session.token].claims
	for name, c := range map[string]credential{"user": cred, "role": session} {
		b.Run(name, func(b *testing.B) {
			door := openDoor{w.outside, nil}
			if c.token != "" {
				door.claims = &claims
			}
			s, err := sessions.New(w.directory, door, w.clock)
			if err != nil {
				b.Fatal(err)
			}
			p, sts, digest := w.sign(c)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Authenticate(b.Context(), p, sts, digest); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
