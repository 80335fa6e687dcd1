package sessions

import (
	"context"
	"regexp"
	"time"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
)

// A FederationToken is the input of GetFederationToken.
type FederationToken struct {
	Name       string
	Duration   int // seconds; 0: 43200
	Policy     *string
	PolicyARNs []string
	Tags       []directory.Tag
}

var federatedName = regexp.MustCompile(`^[\w+=,.@-]{2,32}$`)

// A FederationPlan is a GetFederationToken whose parameters are in order, with
// what must be allowed before FederationToken may carry it out.
type FederationPlan struct {
	Asks []authz.Ask

	caller *Caller
	in     AssumeRole
}

// A FederatedUser is the answer to GetFederationToken.
type FederatedUser struct {
	Credentials
	ID, ARN    string // account:name and arn:aws:sts::account:federated-user/name
	PackedSize int    // percent of what fits; -1 when there was nothing to pack
}

// PlanFederationToken checks the parameters and says what the policies of the
// user who calls must allow.
func (s *Sessions) PlanFederationToken(caller *Caller, in FederationToken) (*FederationPlan, error) {
	if why := caller.Restricted("sts:GetFederationToken"); why != "" {
		return nil, refuse(AccessDenied, "%s", why)
	}
	if caller.Principal.Type != authz.User {
		return nil, refuse(AccessDenied, "Cannot call GetFederationToken with session credentials")
	}
	if !federatedName.MatchString(in.Name) {
		return nil, refuse(ValidationError, "1 validation error detected: Value at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*")
	}
	if in.Duration == 0 {
		in.Duration = defaultTokenDuration
	}
	if in.Duration < minDuration || in.Duration > maxTokenDuration {
		return nil, refuse(ValidationError, "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value between %d and %d", in.Duration, minDuration, maxTokenDuration)
	}
	as := AssumeRole{SessionName: in.Name, Duration: in.Duration, Policy: in.Policy, PolicyARNs: in.PolicyARNs, Tags: in.Tags}
	if err := (&Plan{in: as}).checkTags(); err != nil {
		return nil, err
	}
	account := caller.Principal.Account
	ask := authz.Ask{Action: "sts:GetFederationToken", Resource: federatedARN(account, in.Name), Owner: account}
	requestTags(&ask.Context, in.Tags)
	p := &FederationPlan{caller: caller, in: as, Asks: []authz.Ask{ask}}
	if len(in.Tags) > 0 {
		ask.Action = "sts:TagSession"
		p.Asks = append(p.Asks, ask)
	}
	return p, nil
}

func federatedARN(account, name string) string {
	return "arn:" + arn.Partition + ":sts::" + account + ":federated-user/" + name
}

func requestTags(k *authz.Keys, tags []directory.Tag) {
	for _, t := range tags {
		k.Set("aws:RequestTag/"+t.Key, t.Value)
		k.Add("aws:TagKeys", t.Key)
	}
}

// FederationToken carries out a plan all of whose asks were allowed. What the
// session may do is what its user's policies and the session policies both
// allow; without session policies it may do nothing that no resource policy
// gives to the session itself (policy-evaluation section 5).
func (s *Sessions) FederationToken(ctx context.Context, p *FederationPlan) (FederatedUser, error) {
	account := p.caller.Principal.Account
	if err := s.checkSessionPolicies(account, &p.in); err != nil {
		return FederatedUser{}, err
	}
	claims := authority.Claims{
		Type: authority.Federated, Account: account, PrincipalID: p.caller.Principal.ID,
		ARN: federatedARN(account, p.in.SessionName), SessionName: p.in.SessionName,
		Expires:    s.clock.Now().Add(time.Duration(p.in.Duration) * time.Second),
		PolicyARNs: p.in.PolicyARNs, CredentialID: p.caller.CredentialID,
	}
	if p.in.Policy != nil {
		claims.Policies = []string{*p.in.Policy}
	}
	if len(p.in.Tags) > 0 {
		claims.Tags = make(map[string]string, len(p.in.Tags))
		for _, t := range p.in.Tags {
			claims.Tags[t.Key] = t.Value
		}
	}
	packed, err := packedSize(&claims)
	if err != nil {
		return FederatedUser{}, err
	}
	cred, err := s.issue(ctx, claims)
	if err != nil {
		return FederatedUser{}, err
	}
	return FederatedUser{Credentials: cred, ID: account + ":" + p.in.SessionName, ARN: claims.ARN, PackedSize: packed}, nil
}

// federate makes c the caller of a federated-user session of the user snap.
func (c *Caller) federate(claims *authority.Claims, snap *directory.Snapshot) {
	c.Principal = authz.Principal{Type: authz.FederatedUser, ARN: claims.ARN, Account: snap.Account, UserARN: snap.ARN, ID: snap.ID}
	c.PrincipalID, c.SessionName = snap.Account+":"+claims.SessionName, claims.SessionName
	c.Issuer = &SessionIssuer{Type: "IAMUser", PrincipalID: snap.ID, ARN: snap.ARN, AccountID: snap.Account, UserName: snap.Name}
	c.Tags = overlay(snap.Tags, c.sessionTags)
}
