package sessions

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/federation"
)

// Durations of identity tokens, in seconds (sts-and-fas section 3).
const (
	minIdentityDuration     = 60
	defaultIdentityDuration = 300
	maxIdentityDuration     = 3600
)

// An IdentityToken is the input of GetWebIdentityToken.
type IdentityToken struct {
	Audience  []string
	Algorithm string // RS256 or ES384
	Duration  int    // seconds; 0: 300
	Tags      []directory.Tag
}

// An IdentityPlan is a GetWebIdentityToken whose parameters are in order, with
// what must be allowed before IdentityToken may carry it out.
type IdentityPlan struct {
	Asks []authz.Ask

	caller *Caller
	in     IdentityToken
}

// PlanIdentityToken checks the parameters and says what must be allowed.
func (s *Sessions) PlanIdentityToken(caller *Caller, in IdentityToken) (*IdentityPlan, error) {
	if in.Duration == 0 {
		in.Duration = defaultIdentityDuration
	}
	switch {
	case in.Duration < minIdentityDuration || in.Duration > maxIdentityDuration:
		return nil, refuse(ValidationError, "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value between %d and %d", in.Duration, minIdentityDuration, maxIdentityDuration)
	case in.Algorithm != authority.RS256 && in.Algorithm != authority.ES384:
		return nil, refuse(ValidationError, "1 validation error detected: Value at 'signingAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RS256, ES384]")
	case len(in.Audience) == 0 || len(in.Audience) > 10:
		return nil, refuse(ValidationError, "1 validation error detected: Value at 'audience' failed to satisfy constraint: Member must have length between 1 and 10")
	}
	if err := (&Plan{in: AssumeRole{Tags: in.Tags}}).checkTags(); err != nil {
		return nil, err
	}
	ask := authz.Ask{Action: "sts:GetWebIdentityToken", Resource: "*", Owner: caller.Principal.Account}
	ask.Context.Set("sts:IdentityTokenAudience", in.Audience...)
	ask.Context.Set("sts:SigningAlgorithm", in.Algorithm)
	ask.Context.Set("sts:DurationSeconds", strconv.Itoa(in.Duration))
	requestTags(&ask.Context, in.Tags)
	p := &IdentityPlan{caller: caller, in: in, Asks: []authz.Ask{ask}}
	if len(in.Tags) > 0 {
		ask.Action = "sts:TagGetWebIdentityToken"
		p.Asks = append(p.Asks, ask)
	}
	return p, nil
}

// IdentityToken carries out a plan all of whose asks were allowed: a JWT that
// says who the caller is, to the audience and to nobody else. Its subject is the
// user or the role, not the session.
func (s *Sessions) IdentityToken(ctx context.Context, region string, p *IdentityPlan) (token string, expires time.Time, err error) {
	c := p.caller
	id := authority.Identity{
		Account: c.Principal.Account, Audience: p.in.Audience, Algorithm: p.in.Algorithm, Seconds: uint64(p.in.Duration), Region: region,
		PrincipalTags: tagMap(c.Tags), RequestTags: tagMap(p.in.Tags),
	}
	if l := s.organizations.Levels(c.Principal.Account); l != nil {
		id.Organization = l.Organization
	}
	switch c.Principal.Type {
	case authz.User:
		id.Subject = c.Principal.ARN
	case authz.AssumedRole:
		id.Subject = c.Principal.RoleARN
	default:
		return "", expires, refuse(AccessDenied, "Only users and roles can call GetWebIdentityToken.")
	}
	if c.Temporary() {
		id.SessionExpires = c.Expires.Unix()
		if s.clock.Now().Add(time.Duration(p.in.Duration) * time.Second).After(c.Expires) {
			return "", expires, refuse(SessionDurationEscalation, "The requested token duration would extend beyond the expiration of the session that asks for it.")
		}
	}
	if s.issuer == nil {
		return "", expires, refuse(OutboundDisabled, "Outbound Web Identity Federation is not enabled for your account")
	}
	token, expires, err = s.issuer.Sign(ctx, id)
	switch {
	case err == nil:
		return token, expires, nil
	case errors.Is(err, federation.ErrPayload):
		return "", expires, refuse(PayloadTooLarge, "The requested token payload size exceeds the maximum allowed size. Reduce the number of request tags.")
	case directory.CodeOf(err) == directory.FeatureDisabled:
		return "", expires, refuse(OutboundDisabled, "Outbound Web Identity Federation is not enabled for your account")
	}
	return "", expires, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func tagMap(tags []directory.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}
