package sessions

import (
	"context"
	"errors"
	"strings"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/federation"
)

// WithFederation lets web identities in, by v, and gives ours out, by i. It is
// called before the first request. Without it both are refused.
func (s *Sessions) WithFederation(v *federation.Verifier, i *federation.Issuer) *Sessions {
	s.verifier, s.issuer = v, i
	return s
}

// notAuthorized is how a web identity learns that it may not, whatever the
// reason: a role, a provider or an account that does not exist, a token that is
// not the provider's, an audience that is not registered, a trust policy that
// says no (I-7).
const notAuthorized = "Not authorized to perform sts:AssumeRoleWithWebIdentity"

// A WebIdentity is what the answer to AssumeRoleWithWebIdentity tells of the token.
type WebIdentity struct {
	Subject, Audience, Provider string
}

// PlanWebIdentity reads the token, checks it against the provider that the
// role's account has registered for its issuer, and says what the role's trust
// policy must allow. The caller is the web identity; it is not nil as soon as
// the token is known to be genuine, even if the plan is refused, so that the
// account's log can tell of it.
//
// What is wrong with the token itself is said first, and is the same for every
// account. From then on every refusal is the same, and takes the time of a
// check; the one exception is an issuer that cannot be reached, which clients
// must be told to ask again.
func (s *Sessions) PlanWebIdentity(ctx context.Context, token string, in AssumeRole) (*Plan, *Caller, error) {
	t, err := federation.Parse(token, s.clock.Now())
	if err != nil {
		return nil, nil, tokenRefusal(err)
	}
	account, err := roleAccount(in.RoleARN)
	if err != nil {
		return nil, nil, err
	}
	in.Tags, in.TransitiveKeys, in.SourceIdentity = t.Tags, t.TransitiveTags, t.SourceIdentity
	p := &Plan{caller: new(Caller), in: in, action: "sts:AssumeRoleWithWebIdentity"}
	if err := p.check(); err != nil {
		return nil, nil, err
	}
	if s.verifier == nil {
		return nil, nil, refuse(AccessDenied, "%s", notAuthorized)
	}
	// Without a provider Verify takes the time of a check. A closed account has none.
	var provider *directory.OIDCProvider
	l := s.organizations.Levels(account)
	if url, ok := strings.CutPrefix(t.Issuer, "https://"); ok && (l == nil || !l.Closed) {
		provider, _ = s.directory.OIDCProvider(account, url)
	}
	audience, err := s.verifier.Verify(ctx, provider, t)
	if err != nil && audience == "" {
		return nil, nil, tokenRefusal(err)
	}
	p.caller = webIdentity(provider, t, audience)
	p.token = &WebIdentity{Subject: t.Subject, Audience: audience, Provider: provider.ARN}
	if err != nil {
		return nil, p.caller, tokenRefusal(err)
	}
	p, err = s.plan(p)
	if err != nil {
		return nil, nil, err
	}
	return p, p.caller, nil
}

// tokenRefusal puts a refusal of a token into STS's terms.
func tokenRefusal(err error) error {
	bad, ok := errors.AsType[*federation.Error](err)
	if !ok {
		return err
	}
	switch bad.Kind {
	case federation.Invalid:
		return refuse(InvalidIdentityToken, "%s", bad.Message)
	case federation.Expired:
		return refuse(ExpiredToken, "%s", bad.Message)
	case federation.Unreachable:
		return refuse(IDPCommunicationError, "%s", bad.Message)
	}
	return refuse(AccessDenied, "%s", notAuthorized)
}

// webIdentity is the caller that a genuine token stands for. It has no policies
// of its own: a trust policy alone can allow it something. Its chain starts at
// the provider, by the provider's unique id.
func webIdentity(p *directory.OIDCProvider, t *federation.Token, audience string) *Caller {
	c := &Caller{
		Principal: authz.Principal{Type: authz.WebIdentity, ARN: p.ARN, Account: p.Account, Provider: p.ARN},
		Policies:  &authz.Policies{},
		// As CloudTrail writes it.
		PrincipalID: p.ARN + ":" + audience + ":" + t.Subject,
		UserName:    t.Subject, Provider: p.ARN, CredentialID: p.ID,
	}
	// The call is unsigned, so these are as for a caller without a name. They must not be absent: a condition that
	// compares with NotEquals would hold.
	c.Keys.Set("aws:PrincipalType", "Anonymous")
	c.Keys.Set("aws:userid", "anonymous")
	for name, values := range t.ConditionKeys(audience) {
		c.Keys.Set(p.URL+":"+name, values...)
	}
	return c
}

// WebIdentity is what the plan's token says, for the answer; nil if the plan has none.
func (p *Plan) WebIdentity() *WebIdentity { return p.token }

// origin says whether the credential at the start of a session's chain is still
// good: the access key that asked for the first session, or the provider whose
// token did. Both are of no more use once their account is closed, and so is
// what they opened elsewhere.
func (s *Sessions) origin(claims *authority.Claims) (cred *directory.Credential, ok bool) {
	account, err := id.AccessKeyAccount(claims.CredentialID)
	if l := s.organizations.Levels(account); err != nil || l != nil && l.Closed {
		return nil, false
	}
	if strings.HasPrefix(claims.CredentialID, "OIDC") { // no access key id begins so
		_, ok = s.directory.OIDCProviderByID(claims.CredentialID)
		return nil, ok
	}
	cred, ok = s.directory.Credential(claims.CredentialID)
	return cred, ok && claims.CredentialID != "" && cred.Active && claims.Issued.After(cred.SessionsSince)
}
