package sessions_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/sessions"
)

func TestTheRulesOfAssumeRole(t *testing.T) {
	const member = "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048"
	document := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`
	long := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"arn:aws:kms:::` + strings.Repeat("x", 2048) + `"}]}`
	var many []sessions.Tag
	for i := range 50 {
		many = append(many, sessions.Tag{Key: fmt.Sprint("k", i), Value: random(120)})
	}
	for _, c := range []struct {
		name    string
		chained bool // the caller is a role session already
		in      sessions.AssumeRole
		code    sessions.Code // "": it works
		message string
	}{
		{name: "nothing but the role"},
		{name: "15 minutes", in: sessions.AssumeRole{Duration: 900}},
		{name: "less than 15 minutes", in: sessions.AssumeRole{Duration: 899}, code: sessions.ValidationError},
		{name: "the role's longest", in: sessions.AssumeRole{Duration: 7200}},
		{name: "longer than the role allows", in: sessions.AssumeRole{Duration: 7201}, code: sessions.ValidationError,
			message: "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{name: "longer than any role allows", in: sessions.AssumeRole{Duration: 43201}, code: sessions.ValidationError},
		{name: "a chain of an hour", chained: true, in: sessions.AssumeRole{Duration: 3600}},
		{name: "a chain of more than an hour", chained: true, in: sessions.AssumeRole{Duration: 3601}, code: sessions.ValidationError,
			message: "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."},
		{name: "a bad session name", in: sessions.AssumeRole{SessionName: "a b"}, code: sessions.ValidationError},
		{name: "a short session name", in: sessions.AssumeRole{SessionName: "a"}, code: sessions.ValidationError},
		{name: "a long session name", in: sessions.AssumeRole{SessionName: strings.Repeat("x", 65)}, code: sessions.ValidationError},
		{name: "an external id", in: sessions.AssumeRole{ExternalID: new(strings.Repeat("x", 1224))}},
		{name: "an external id that is too long", in: sessions.AssumeRole{ExternalID: new(strings.Repeat("x", 1225))}, code: sessions.ValidationError},
		{name: "an empty external id", in: sessions.AssumeRole{ExternalID: new("")}, code: sessions.ValidationError},
		{name: "an ARN that is no ARN", in: sessions.AssumeRole{RoleARN: "arn:aws:iam::role/x"}, code: sessions.ValidationError},
		{name: "an ARN of a user", in: sessions.AssumeRole{RoleARN: "arn:aws:iam::111122223333:user/x"}, code: sessions.ValidationError,
			message: "arn:aws:iam::111122223333:user/x is invalid"},
		{name: "a second factor that nobody has", in: sessions.AssumeRole{MFA: sessions.MFA{Serial: "arn:aws:iam::111122223333:mfa/x", Code: "123456"}}, code: sessions.AccessDenied,
			message: "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user."},
		{name: "half a second factor", in: sessions.AssumeRole{MFA: sessions.MFA{Code: "123456"}}, code: sessions.AccessDenied,
			message: "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."},
		{name: "a code that is none", in: sessions.AssumeRole{MFA: sessions.MFA{Serial: "arn:aws:iam::111122223333:mfa/x", Code: "12345x"}}, code: sessions.AccessDenied,
			message: "MultiFactorAuthentication failed with invalid MFA one time pass code."},

		{name: "a session policy", in: sessions.AssumeRole{Policy: &document}},
		{name: "a session policy that is none", in: sessions.AssumeRole{Policy: new(`{"Version":"2012-10-17"}`)}, code: sessions.MalformedPolicyDocument},
		{name: "an empty session policy", in: sessions.AssumeRole{Policy: new("")}, code: sessions.MalformedPolicyDocument},
		{name: "a session policy with a principal", in: sessions.AssumeRole{Policy: new(strings.Replace(document, `"Action"`, `"Principal":"*","Action"`, 1))}, code: sessions.MalformedPolicyDocument},
		{name: "a session policy that is too long", in: sessions.AssumeRole{Policy: &long}, code: sessions.ValidationError, message: member},
		{name: "white space counts in a session policy", in: sessions.AssumeRole{Policy: new(strings.Repeat(" ", 2048) + document)}, code: sessions.ValidationError, message: member},
		{name: "a managed session policy", in: sessions.AssumeRole{PolicyARNs: []string{directory.AdministratorAccess}}},
		{name: "a managed session policy that does not exist", in: sessions.AssumeRole{PolicyARNs: []string{"arn:aws:iam::aws:policy/None"}}, code: sessions.MalformedPolicyDocument},
		{name: "eleven managed session policies", in: sessions.AssumeRole{PolicyARNs: slices.Repeat([]string{directory.AdministratorAccess}, 11)}, code: sessions.ValidationError},
		{name: "both kinds together too long", in: sessions.AssumeRole{
			Policy:     new(document + strings.Repeat(" ", 2048-len(document))),
			PolicyARNs: []string{directory.AdministratorAccess}}, code: sessions.PackedPolicyTooLarge},

		{name: "tags", in: sessions.AssumeRole{Tags: []sessions.Tag{{Key: "Team", Value: "a"}, {Key: "empty"}}, TransitiveKeys: []string{"team"}}},
		{name: "two tags of one key", in: sessions.AssumeRole{Tags: []sessions.Tag{{Key: "Team"}, {Key: "TEAM"}}}, code: sessions.InvalidParameterValue,
			message: "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{name: "a reserved tag", in: sessions.AssumeRole{Tags: []sessions.Tag{{Key: "Aws:x"}}}, code: sessions.InvalidParameterValue},
		{name: "a tag with a forbidden character", in: sessions.AssumeRole{Tags: []sessions.Tag{{Key: "a*"}}}, code: sessions.ValidationError},
		{name: "a tag without a key", in: sessions.AssumeRole{Tags: []sessions.Tag{{Value: "a"}}}, code: sessions.ValidationError},
		{name: "a transitive key that is no tag", in: sessions.AssumeRole{TransitiveKeys: []string{"x"}}, code: sessions.InvalidParameterValue},
		{name: "51 tags", in: sessions.AssumeRole{Tags: append(slices.Clone(many), sessions.Tag{Key: "more"})}, code: sessions.ValidationError},
		{name: "tags that do not pack", in: sessions.AssumeRole{Tags: many}, code: sessions.PackedPolicyTooLarge},

		{name: "a source identity", in: sessions.AssumeRole{SourceIdentity: "badge-7"}},
		{name: "a source identity with a blank", in: sessions.AssumeRole{SourceIdentity: "a b"}, code: sessions.ValidationError},
		{name: "the same source identity again", chained: true, in: sessions.AssumeRole{SourceIdentity: "first"}},
		{name: "another source identity in a chain", chained: true, in: sessions.AssumeRole{SourceIdentity: "second"}, code: sessions.AccessDenied},
		{name: "a transitive tag again in a chain", chained: true, in: sessions.AssumeRole{Tags: []sessions.Tag{{Key: "PASSED", Value: "x"}}}, code: sessions.InvalidParameterValue},
		{name: "another tag again in a chain", chained: true, in: sessions.AssumeRole{Tags: []sessions.Tag{{Key: "kept", Value: "x"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			_, cred := w.user("u")
			role := w.role("r")
			if c.chained {
				_, s, err := w.assume(w.caller(cred), sessions.AssumeRole{RoleARN: role.ARN, SourceIdentity: "first",
					Tags: []sessions.Tag{{Key: "Passed", Value: "down"}, {Key: "Kept", Value: "back"}}, TransitiveKeys: []string{"passed"}})
				w.must(err)
				cred = s
			}
			if c.in.RoleARN == "" {
				c.in.RoleARN = role.ARN
			}
			_, got, err := w.assume(w.caller(cred), c.in)
			if c.code != "" {
				w.refused(c.name, err, c.code, c.message)
				return
			}
			w.must(err)
			w.caller(got)
		})
	}
}

// random is text that does not deflate.
func random(n int) string { return newText()[:n] }

func newText() string { return newSecret() + newSecret() + newSecret() }

func TestWhatAChainHandsDown(t *testing.T) {
	w := newWorld(t)
	_, cred := w.user("u")
	role := w.role("r")
	_, first, err := w.assume(w.caller(cred), sessions.AssumeRole{RoleARN: role.ARN, SourceIdentity: "badge",
		Tags: []sessions.Tag{{Key: "Passed", Value: "down"}, {Key: "Kept", Value: "back"}}, TransitiveKeys: []string{"PASSED"}})
	w.must(err)
	_, second, err := w.assume(w.caller(first), sessions.AssumeRole{RoleARN: role.ARN, Tags: []sessions.Tag{{Key: "New", Value: "one"}}})
	w.must(err)
	_, third, err := w.assume(w.caller(second), sessions.AssumeRole{RoleARN: role.ARN})
	w.must(err)
	c := w.caller(third)
	tags := func(c *sessions.Caller) string {
		var s []string
		for _, t := range c.Tags {
			s = append(s, t.Key+"="+t.Value)
		}
		slices.Sort(s)
		return strings.Join(s, " ")
	}
	if got := tags(w.caller(first)); got != "Cost=7 Kept=back Passed=down Unit=role" {
		t.Errorf("first: %s", got)
	}
	if got := tags(w.caller(second)); got != "Cost=7 New=one Passed=down Unit=role" {
		t.Errorf("second: %s", got)
	}
	if got := tags(c); got != "Cost=7 Passed=down Unit=role" || c.SourceIdentity != "badge" || c.Depth != 3 {
		t.Errorf("third: %s, %s, depth %d", got, c.SourceIdentity, c.Depth)
	}
}

func TestWhatThePoliciesAreAsked(t *testing.T) {
	w := newWorld(t)
	u, cred := w.user("u")
	role := w.role("r")
	caller := w.caller(cred)
	p, err := w.PlanAssumeRole(caller, sessions.AssumeRole{RoleARN: role.ARN, SessionName: "night", ExternalID: new("ext"), SourceIdentity: "badge",
		Tags: []sessions.Tag{{Key: "Team", Value: "a"}, {Key: "Shift", Value: "b"}}, TransitiveKeys: []string{"Team"}})
	w.must(err)
	var actions []string
	for _, a := range p.Asks {
		actions = append(actions, a.Action)
		if a.Resource != role.ARN || a.Owner != w.account || a.Policy == nil {
			t.Errorf("%+v", a)
		}
		got := keysOf(&a.Context)
		if want := "aws:requesttag/shift=b aws:requesttag/team=a aws:resourcetag/cost=7 aws:resourcetag/unit=role aws:tagkeys=Team,Shift " +
			"iam:resourcetag/cost=7 iam:resourcetag/unit=role sts:durationseconds=3600 sts:externalid=ext sts:rolesessionname=night " +
			"sts:sourceidentity=badge sts:transitivetagkeys=Team"; got != want {
			t.Errorf("%s: %s", a.Action, got)
		}
	}
	if strings.Join(actions, " ") != "sts:AssumeRole sts:TagSession sts:SetSourceIdentity" {
		t.Errorf("asks %v", actions)
	}
	t.Run("what a chain hands down is asked about too", func(t *testing.T) {
		_, s, err := w.assume(caller, sessions.AssumeRole{RoleARN: role.ARN, SourceIdentity: "badge", Tags: []sessions.Tag{{Key: "Team", Value: "a"}}, TransitiveKeys: []string{"Team"}})
		w.must(err)
		p, err := w.PlanAssumeRole(w.caller(s), sessions.AssumeRole{RoleARN: role.ARN, SessionName: "next"})
		w.must(err)
		if len(p.Asks) != 3 {
			t.Errorf("%d asks", len(p.Asks))
		}
	})
	t.Run("a role that does not exist answers like one that trusts nobody", func(t *testing.T) {
		w.must(w.directory.PutInlinePolicy(t.Context(), w.account, directory.UserKind, "u", "all",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`))
		caller := w.caller(cred)
		other, err := w.directory.CreateUser(t.Context(), w.account, directory.NewUser{Name: "other"})
		w.must(err)
		closed, err := w.directory.CreateRole(t.Context(), w.account, directory.NewRole{Name: "closed",
			TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + other.ARN + `"},"Action":"sts:AssumeRole"}]}`})
		w.must(err)
		answer := func(arn string) string {
			p, err := w.PlanAssumeRole(caller, sessions.AssumeRole{RoleARN: arn, SessionName: "night"})
			w.must(err)
			d := authz.Decide(&authz.Request{Principal: &caller.Principal, Policies: caller.Policies, Common: &caller.Keys, Ask: &p.Asks[0]}, nil)
			if d.Allowed {
				t.Errorf("%s is open", arn)
			}
			return strings.ReplaceAll(d.Message(&caller.Principal, &p.Asks[0]), arn, "ROLE")
		}
		want := answer(closed.ARN)
		for _, arn := range []string{"arn:aws:iam::" + w.account + ":role/none", "arn:aws:iam::" + w.account + ":role/other/closed", "arn:aws:iam::" + w.account + ":role/CLOSED"} {
			if got := answer(arn); got != want {
				t.Errorf("%s: %s\nwanted %s", arn, got, want)
			}
		}
		p, err := w.PlanAssumeRole(caller, sessions.AssumeRole{RoleARN: "arn:aws:iam::" + w.account + ":role/none", SessionName: "night"})
		w.must(err)
		_, err = w.AssumeRole(t.Context(), p) // a gate that forgot to ask
		w.refused("none", err, sessions.AccessDenied, "User: "+u.ARN+" is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::"+w.account+":role/none")
	})
	t.Run("a role that was replaced between question and answer", func(t *testing.T) {
		p, err := w.PlanAssumeRole(caller, sessions.AssumeRole{RoleARN: role.ARN, SessionName: "night"})
		w.must(err)
		w.must(w.directory.DeleteRole(t.Context(), w.account, "r"))
		w.role("r")
		_, err = w.AssumeRole(t.Context(), p)
		w.refused("replaced", err, sessions.AccessDenied, "")
	})
	t.Run("root assumes nothing", func(t *testing.T) {
		root := &sessions.Caller{Principal: authz.Principal{Type: authz.Root, Account: w.account}}
		_, err := w.PlanAssumeRole(root, sessions.AssumeRole{RoleARN: role.ARN, SessionName: "night"})
		w.refused("root", err, sessions.AccessDenied, "Roles may not be assumed by root accounts.")
	})
}

func keysOf(k *authz.Keys) string {
	return strings.ReplaceAll(keys(&sessions.Caller{Keys: *k}), "\n", " ")
}

func TestAnEncodedMessageIsForItsAccount(t *testing.T) {
	w := newWorld(t)
	sealed, err := w.SealMessage(t.Context(), w.account, []byte(`{"allowed":false}`))
	w.must(err)
	plain, err := w.OpenMessage(t.Context(), w.account, sealed)
	w.must(err)
	if string(plain) != `{"allowed":false}` {
		t.Errorf("%s", plain)
	}
	_, err = w.OpenMessage(t.Context(), "999999999999", sealed)
	w.refused("another account", err, sessions.InvalidAuthorizationMessage, "")
	_, err = w.OpenMessage(t.Context(), w.account, "?")
	w.refused("garbage", err, sessions.InvalidAuthorizationMessage, "")
}

func TestMFAOfASessionIsToldByTheMinute(t *testing.T) {
	w := newWorld(t)
	u, cred := w.user("u")
	at := w.clock.Now()
	akid, sec, token, err := w.outside.IssueSession(t.Context(), authority.Claims{Type: authority.SessionToken, Account: w.account, PrincipalID: u.ID,
		ARN: u.ARN, Expires: at.Add(time.Hour), MFA: &at, CredentialID: cred.akid})
	w.must(err)
	c := credential{akid, reveal(t, sec), token}
	for _, age := range []string{"0", "60", "120"} {
		caller := w.caller(c)
		if got, _ := caller.Keys.Get("aws:MultiFactorAuthAge"); !slices.Equal(got, []string{age}) || caller.Restricted("iam:GetUser") != "" {
			t.Errorf("age %v, wanted %s", got, age)
		}
		w.clock.Advance(time.Minute)
	}
}
