package sessions

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/policy"
)

// Durations in seconds (sts-and-fas section 3).
const (
	minDuration     = 900
	defaultDuration = 3600
	maxDuration     = 43200 // of any role
	chainedDuration = 3600  // of a role session that a role session asked for

	defaultTokenDuration = 43200
	maxTokenDuration     = 129600
)

// An AssumeRole is the input of the operation.
type AssumeRole struct {
	RoleARN        string
	SessionName    string
	Duration       int // seconds; 0: 3600
	ExternalID     *string
	Policy         *string  // inline session policy
	PolicyARNs     []string // managed session policies
	Tags           []directory.Tag
	TransitiveKeys []string
	SourceIdentity string
	MFA            MFA
}

// A Plan is an AssumeRole whose parameters are in order, with what must be
// allowed before Issue may carry it out.
type Plan struct {
	Asks []authz.Ask

	caller   *Caller
	in       AssumeRole
	action   string              // sts:AssumeRole or its like
	token    *WebIdentity        // of AssumeRoleWithWebIdentity; nil otherwise
	role     *directory.Snapshot // nil: there is none, and the asks are denied
	tags     []directory.Tag     // of the session: inherited and passed
	transit  []string
	identity string // source identity
}

var (
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalID  = regexp.MustCompile(`^[\w+=,.@:/-]+$`)
	tagText     = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// PlanAssumeRole checks what can be checked without looking at the role, and
// says what the policies must allow: sts:AssumeRole; sts:TagSession if the
// session will have tags; sts:SetSourceIdentity if it will have a source
// identity. Both are also asked for what a chain hands down.
//
// A role that does not exist is asked about like one that trusts nobody, so
// that the answer is the same.
func (s *Sessions) PlanAssumeRole(caller *Caller, in AssumeRole) (*Plan, error) {
	if caller.Principal.Type == authz.Root {
		return nil, refuse(AccessDenied, "Roles may not be assumed by root accounts.")
	}
	p := &Plan{caller: caller, in: in, action: "sts:AssumeRole"}
	return s.plan(p)
}

// plan is what every way to assume a role has in common.
func (s *Sessions) plan(p *Plan) (*Plan, error) {
	in := p.in
	account, err := roleAccount(in.RoleARN)
	if err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := p.inherit(); err != nil {
		return nil, err
	}
	ask := authz.Ask{Action: p.action, Resource: in.RoleARN, Owner: account, Policy: s.nobody}
	if role, ok := s.directory.RoleByARN(in.RoleARN); ok {
		p.role, ask.Policy = role, role.Trust
	}
	p.Asks = []authz.Ask{p.with(ask, p.action)}
	if len(p.tags) > 0 {
		p.Asks = append(p.Asks, p.with(ask, "sts:TagSession"))
	}
	if p.identity != "" {
		p.Asks = append(p.Asks, p.with(ask, "sts:SetSourceIdentity"))
	}
	return p, nil
}

// roleAccount reads the account out of what is in the form of a role's ARN.
func roleAccount(roleARN string) (string, error) {
	a, err := arn.Parse(roleARN)
	kind, name := a.Split()
	if err != nil || a.Partition != arn.Partition || a.Service != "iam" || a.Region != "" || !arn.IsAccount(a.Account) || kind != "role" || name == "" {
		return "", refuse(ValidationError, "%s is invalid", roleARN)
	}
	return a.Account, nil
}

// check refuses parameters that no role could make right.
func (p *Plan) check() error {
	in := &p.in
	if err := in.MFA.check(); err != nil {
		return err
	}
	if !sessionName.MatchString(in.SessionName) {
		return refuse(ValidationError, "1 validation error detected: Value at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*")
	}
	if in.ExternalID != nil && (len(*in.ExternalID) < 2 || len(*in.ExternalID) > 1224 || !externalID.MatchString(*in.ExternalID)) {
		return refuse(ValidationError, "1 validation error detected: Value at 'externalId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@:\\/-]*")
	}
	if in.SourceIdentity != "" && (!sessionName.MatchString(in.SourceIdentity) || strings.HasPrefix(in.SourceIdentity, "aws:")) {
		return refuse(ValidationError, "1 validation error detected: Value at 'sourceIdentity' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*")
	}
	if in.Duration == 0 {
		in.Duration = defaultDuration
	}
	if in.Duration < minDuration || in.Duration > maxDuration {
		return refuse(ValidationError, "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value between %d and %d", in.Duration, minDuration, maxDuration)
	}
	if p.chained() && in.Duration > chainedDuration {
		return refuse(ValidationError, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	return p.checkTags()
}

// chained says whether a role session asks.
func (p *Plan) chained() bool { return p.caller.Principal.Type == authz.AssumedRole }

func (p *Plan) checkTags() error {
	in := &p.in
	if len(in.Tags) > 50 || len(in.TransitiveKeys) > 50 {
		return refuse(ValidationError, "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50")
	}
	for i, t := range in.Tags {
		if n := utf8.RuneCountInString(t.Key); n < 1 || n > 128 || utf8.RuneCountInString(t.Value) > 256 || !tagText.MatchString(t.Key) || !tagText.MatchString(t.Value) {
			return refuse(ValidationError, "1 validation error detected: Value at 'tags.%d.member' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+", i+1)
		}
		if len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:") {
			return refuse(InvalidParameterValue, "Tag keys that start with aws: are reserved.")
		}
		if find(in.Tags[:i], t.Key) >= 0 {
			return refuse(InvalidParameterValue, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
	}
	for _, k := range in.TransitiveKeys {
		if find(in.Tags, k) < 0 {
			return refuse(InvalidParameterValue, "The specified transitive tag key must be included in the requested tags.")
		}
	}
	return nil
}

// inherit adds what the calling session passes on, which nothing may change.
func (p *Plan) inherit() error {
	for _, t := range p.caller.sessionTags {
		if !contains(p.caller.transitive, t.Key) {
			continue
		}
		if find(p.in.Tags, t.Key) >= 0 {
			return refuse(InvalidParameterValue, "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		p.tags = append(p.tags, t)
		p.transit = append(p.transit, t.Key)
	}
	p.tags = append(p.tags, p.in.Tags...)
	for _, k := range p.in.TransitiveKeys {
		if !contains(p.transit, k) {
			p.transit = append(p.transit, k)
		}
	}
	p.identity = p.in.SourceIdentity
	if inherited := p.caller.SourceIdentity; inherited != "" {
		if p.identity != "" && p.identity != inherited {
			return refuse(AccessDenied, "User: %s is not authorized to perform: sts:SetSourceIdentity on resource: %s", p.caller.Principal.ARN, p.in.RoleARN)
		}
		p.identity = inherited
	}
	return nil
}

// with completes an ask by the condition keys of the call.
func (p *Plan) with(ask authz.Ask, action string) authz.Ask {
	ask.Action = action
	var k authz.Keys
	k.Set("sts:RoleSessionName", p.in.SessionName)
	p.in.MFA.set(&k)
	// The duration that the session would have, so that a limit on it cannot be
	// evaded by leaving the parameter out.
	k.Set("sts:DurationSeconds", strconv.Itoa(p.in.Duration))
	if p.in.ExternalID != nil {
		k.Set("sts:ExternalId", *p.in.ExternalID)
	}
	if p.identity != "" {
		k.Set("sts:SourceIdentity", p.identity)
	}
	if len(p.transit) > 0 {
		k.Set("sts:TransitiveTagKeys", p.transit...)
	}
	if len(p.tags) > 0 {
		var keys []string
		for _, t := range p.tags {
			k.Set("aws:RequestTag/"+t.Key, t.Value)
			keys = append(keys, t.Key)
		}
		k.Set("aws:TagKeys", keys...)
	}
	if p.role != nil {
		for _, t := range p.role.Tags {
			k.Set("aws:ResourceTag/"+t.Key, t.Value)
			k.Set("iam:ResourceTag/"+t.Key, t.Value)
		}
	}
	ask.Context = k
	return ask
}

// Credentials are new session credentials.
type Credentials struct {
	AccessKeyID string
	Secret      *secret.Bytes // 40 characters; the caller destroys it
	Token       string
	Expires     time.Time
}

// An Assumed is the answer to AssumeRole.
type Assumed struct {
	Credentials
	ID, ARN        string // AROA...:session and the session's ARN
	Account        string // of the role
	RoleARN        string
	PackedSize     int // percent of what fits; -1 when there was nothing to pack
	SourceIdentity string
}

// AssumeRole carries out a plan all of whose asks were allowed.
func (s *Sessions) AssumeRole(ctx context.Context, p *Plan) (Assumed, error) {
	role := p.role
	if role == nil {
		return Assumed{}, p.denied() // nothing allows it; this is the second lock
	}
	// The role that was asked about, not one that took its name since.
	if now, ok := s.directory.Principal(role.ID); !ok {
		return Assumed{}, p.denied()
	} else {
		role = now
	}
	if p.in.Duration > role.MaxSession {
		return Assumed{}, refuse(ValidationError, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	if err := s.checkSessionPolicies(role.Account, &p.in); err != nil {
		return Assumed{}, err
	}
	claims := authority.Claims{
		Type: authority.AssumedRole, Account: role.Account, PrincipalID: role.ID,
		ARN: arn.AssumedRole(role.Account, role.Name, p.in.SessionName), RoleARN: role.ARN, SessionName: p.in.SessionName,
		Expires:    s.clock.Now().Add(time.Duration(p.in.Duration) * time.Second),
		PolicyARNs: p.in.PolicyARNs, TransitiveTags: p.transit, SourceIdentity: p.identity,
		CredentialID: p.caller.CredentialID, Depth: 1,
	}
	if p.token != nil {
		claims.Provider = p.caller.Provider // of a session that the provider opened, not of those that follow
	}
	if p.in.Policy != nil {
		claims.Policies = []string{*p.in.Policy}
	}
	if len(p.tags) > 0 {
		claims.Tags = make(map[string]string, len(p.tags))
		for _, t := range p.tags {
			claims.Tags[t.Key] = t.Value
		}
	}
	if p.chained() {
		claims.Depth = p.caller.Depth + 1
	}
	packed, err := packedSize(&claims)
	if err != nil {
		return Assumed{}, err
	}
	cred, err := s.issueFor(ctx, p.caller, claims, p.in.MFA)
	if err != nil {
		return Assumed{}, err
	}
	return Assumed{
		Credentials: cred, ID: role.ID + ":" + p.in.SessionName, ARN: claims.ARN, Account: role.Account, RoleARN: role.ARN,
		PackedSize: packed, SourceIdentity: p.identity,
	}, nil
}

func (p *Plan) denied() error {
	if p.token != nil {
		return refuse(AccessDenied, "%s", notAuthorized)
	}
	return refuse(AccessDenied, "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", p.caller.Principal.ARN, p.in.RoleARN)
}

// checkSessionPolicies refuses session policies that could not be enforced.
func (s *Sessions) checkSessionPolicies(account string, in *AssumeRole) error {
	plain := 0
	if in.Policy != nil {
		plain = utf8.RuneCountInString(*in.Policy)
		if plain > policy.LimitSession {
			return refuse(ValidationError, "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", policy.LimitSession)
		}
		if _, err := policy.Parse(policy.Session, []byte(*in.Policy)); err != nil {
			if bad, ok := errors.AsType[*policy.Error](err); ok {
				return refuse(MalformedPolicyDocument, "%s", bad.Message)
			}
			return refuse(MalformedPolicyDocument, "Syntax errors in policy.")
		}
	}
	if len(in.PolicyARNs) > 10 {
		return refuse(ValidationError, "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to 10")
	}
	for _, a := range in.PolicyARNs {
		if _, ok := s.directory.ManagedPolicy(account, a); !ok {
			return refuse(MalformedPolicyDocument, "Policy %s does not exist or is not attachable.", a)
		}
		plain += len(a)
	}
	if plain > policy.LimitSession {
		return refuse(PackedPolicyTooLarge, "The session policies are longer than %d characters together.", policy.LimitSession)
	}
	in.PolicyARNs = slices.Compact(slices.Sorted(slices.Values(in.PolicyARNs)))
	return nil
}

func (s *Sessions) issue(ctx context.Context, claims authority.Claims) (Credentials, error) {
	akid, sec, token, err := s.authority.IssueSession(ctx, claims)
	return issued(claims, akid, sec, token, err)
}

func issued(claims authority.Claims, akid string, sec *secret.Bytes, token string, err error) (Credentials, error) {
	switch {
	case errors.Is(err, authority.ErrCode):
		return Credentials{}, refuse(AccessDenied, "%s", invalidCode)
	case errors.Is(err, authority.ErrTooLarge):
		// The one thing that depends on the caller and was not checked: how well its claims compress.
		return Credentials{}, refuse(PackedPolicyTooLarge, "The session token would be longer than 4096 characters.")
	case err != nil:
		return Credentials{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return Credentials{akid, sec, token, claims.Expires}, nil
}

// SessionToken makes temporary credentials that are the user itself.
func (s *Sessions) SessionToken(ctx context.Context, caller *Caller, duration int, mfa MFA) (Credentials, error) {
	if why := caller.Restricted("sts:GetSessionToken"); why != "" {
		return Credentials{}, refuse(AccessDenied, "%s", why)
	}
	if caller.Principal.Type != authz.User {
		return Credentials{}, refuse(AccessDenied, "Only an IAM user can call GetSessionToken.")
	}
	if err := mfa.check(); err != nil {
		return Credentials{}, err
	}
	if duration == 0 {
		duration = defaultTokenDuration
	}
	if duration < minDuration || duration > maxTokenDuration {
		return Credentials{}, refuse(ValidationError, "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value between %d and %d", duration, minDuration, maxTokenDuration)
	}
	return s.issueFor(ctx, caller, authority.Claims{
		Type: authority.SessionToken, Account: caller.Principal.Account, PrincipalID: caller.Principal.ID, ARN: caller.Principal.ARN,
		Expires: s.clock.Now().Add(time.Duration(duration) * time.Second), CredentialID: caller.CredentialID,
	}, mfa)
}
