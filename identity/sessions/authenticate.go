package sessions

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/sigv4"
)

// Authenticate finds out who signed a request: step 5 and 6 of sigv4 section
// 7, in witness mode or, for the services of WithKeys, in key mode. Scope and
// time are already checked. Refusals are *sigv4.Error of the kinds UnknownKey, BadToken, ExpiredToken and BadSignature;
// ErrUnavailable is none.
//
// An unknown access key id takes the same way as a known one, to the authority
// and back, so that time does not tell which ids exist.
func (s *Sessions) Authenticate(ctx context.Context, p *sigv4.Parsed, stringToSign []byte, canonicalDigest [32]byte) (*Caller, error) {
	q := authority.Request{
		AccessKeyID: p.AccessKeyID, StringToSign: stringToSign, Signature: p.Signature, ECDSA: p.ECDSA,
		CanonicalDigest: canonicalDigest, SessionToken: p.SessionToken,
	}
	// A long-term key has no token; an id with a token is a session's, whatever it looks like.
	var cred *directory.Credential
	if p.SessionToken == "" {
		if c, ok := s.directory.Credential(p.AccessKeyID); ok {
			cred, q.Sealed = c, c.Sealed
		}
	}
	claims, err := s.witness(ctx, p.Service, q)
	if err != nil && !isRefusal(err) {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if p.SessionToken == "" {
		switch {
		case cred == nil || !cred.Active:
			return nil, sigv4.Refuse(sigv4.UnknownKey)
		case err != nil:
			return nil, sigv4.Refuse(sigv4.BadSignature)
		}
		return s.user(cred, p)
	}
	switch {
	case errors.Is(err, authority.ErrSignature):
		return nil, sigv4.Refuse(sigv4.BadSignature)
	case errors.Is(err, authority.ErrExpired):
		return nil, sigv4.Refuse(sigv4.ExpiredToken)
	case err != nil || claims == nil:
		// A revoked session is answered like one whose role is gone: which of the two is found first must not show.
		return nil, sigv4.Refuse(sigv4.BadToken)
	}
	return s.session(claims, p)
}

// CallerKey is the authority's statement, for the HSM, of which public key
// checks the SigV4A signature of a request that Authenticate let pass.
func (s *Sessions) CallerKey(ctx context.Context, p *sigv4.Parsed) ([]byte, error) {
	var sealed []byte
	if p.SessionToken == "" {
		c, ok := s.directory.Credential(p.AccessKeyID)
		if !ok {
			return nil, sigv4.Refuse(sigv4.UnknownKey)
		}
		sealed = c.Sealed
	}
	statement, err := s.authority.CallerKey(ctx, p.AccessKeyID, sealed, p.SessionToken)
	if err != nil && !isRefusal(err) {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return statement, err
}

// witness asks whoever checks signatures for a service.
func (s *Sessions) witness(ctx context.Context, service string, q authority.Request) (*authority.Claims, error) {
	if s.keys != nil && (s.keyed[service] || s.keyed[AllServices]) {
		return s.keys.Witness(ctx, q)
	}
	return s.authority.Witness(ctx, q)
}

// isRefusal tells an answer of the authority from its absence.
func isRefusal(err error) bool {
	for _, e := range []error{authority.ErrSignature, authority.ErrToken, authority.ErrExpired, authority.ErrRevoked, authority.ErrBadRequest} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// A cached caller is good as long as everything it was made from is the same:
// the directory replaces what changes, so pointers are compared.
type cached struct {
	caller   *Caller
	cred     *directory.Credential
	snapshot *directory.Snapshot
	session  [16]byte           // session id; zero for a long-term key
	policies []*policy.Document // of the session's policy ARNs
}

func (s *Sessions) lookup(accessKeyID string, cred *directory.Credential, snap *directory.Snapshot, session [16]byte) *cached {
	v, ok := s.callers.Load().Load(accessKeyID)
	if !ok {
		return nil
	}
	c := v.(*cached)
	if c.cred != cred || c.snapshot != snap || c.session != session {
		return nil
	}
	return c
}

func (s *Sessions) remember(accessKeyID string, c *cached) {
	if s.size.Add(1) > maxCallers {
		s.callers.Store(new(sync.Map))
		s.size.Store(1)
	}
	s.callers.Load().Store(accessKeyID, c)
}

// user is the caller of a long-term key.
func (s *Sessions) user(cred *directory.Credential, p *sigv4.Parsed) (*Caller, error) {
	snap, ok := s.directory.Principal(cred.PrincipalID)
	if !ok || snap.Kind != directory.UserKind {
		return nil, sigv4.Refuse(sigv4.UnknownKey)
	}
	s.directory.Used(cred.AccessKeyID, p.Service, p.Region)
	if c := s.lookup(cred.AccessKeyID, cred, snap, [16]byte{}); c != nil {
		return c.caller, nil
	}
	c := &Caller{
		Principal:   authz.Principal{Type: authz.User, ARN: snap.ARN, Account: snap.Account, ID: snap.ID},
		Policies:    snap.Policies,
		AccessKeyID: cred.AccessKeyID, PrincipalID: snap.ID, UserName: snap.Name, Tags: snap.Tags,
		CredentialID: cred.AccessKeyID,
	}
	c.setKeys(snap, time.Time{})
	s.remember(cred.AccessKeyID, &cached{caller: c, cred: cred, snapshot: snap})
	return c, nil
}

// session is the caller of a session token whose claims the authority vouches for.
func (s *Sessions) session(claims *authority.Claims, p *sigv4.Parsed) (*Caller, error) {
	dead := sigv4.Refuse(sigv4.BadToken)
	if !s.clock.Now().Before(claims.Expires) {
		return nil, sigv4.Refuse(sigv4.ExpiredToken)
	}
	cred, ok := s.origin(claims)
	if !ok {
		return nil, dead
	}
	if claims.Type == authority.RootTask {
		return s.rootSession(claims, p)
	}
	snap, ok := s.directory.Principal(claims.PrincipalID)
	if !ok || snap.Account != claims.Account {
		return nil, dead
	}
	switch claims.Type {
	case authority.AssumedRole:
		if snap.Kind != directory.RoleKind {
			return nil, dead
		}
		s.directory.Used(snap.ID, p.Service, p.Region)
	case authority.SessionToken, authority.Federated:
		if snap.Kind != directory.UserKind || cred == nil || cred.PrincipalID != snap.ID {
			return nil, dead
		}
	default:
		return nil, dead
	}
	var managed []*policy.Document
	for _, a := range claims.PolicyARNs {
		doc, ok := s.directory.ManagedPolicy(claims.Account, a)
		if !ok {
			doc = nil // see sessionPolicies
		}
		managed = append(managed, doc)
	}
	if c := s.lookup(p.AccessKeyID, cred, snap, claims.SessionID); c != nil && same(c.policies, managed) {
		return c.caller, nil
	}
	c, err := s.makeSession(claims, p.AccessKeyID, snap, managed)
	if err != nil {
		return nil, err
	}
	if claims.MFA == nil { // the age of a second factor is another with every call
		s.remember(p.AccessKeyID, &cached{caller: c, cred: cred, snapshot: snap, session: claims.SessionID, policies: managed})
	}
	return c, nil
}

func same(a, b []*policy.Document) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (s *Sessions) makeSession(claims *authority.Claims, accessKeyID string, snap *directory.Snapshot, managed []*policy.Document) (*Caller, error) {
	c := &Caller{
		Policies:    snap.Policies,
		AccessKeyID: accessKeyID, Issued: claims.Issued, Expires: claims.Expires,
		SourceIdentity: claims.SourceIdentity, Provider: claims.Provider, Depth: claims.Depth, CredentialID: claims.CredentialID,
		Tags: snap.Tags, sessionTags: sortedTags(claims.Tags), transitive: claims.TransitiveTags,
	}
	if claims.MFA != nil {
		c.MFA, c.MFATime = true, *claims.MFA
	}
	switch claims.Type {
	case authority.Federated:
		c.federate(claims, snap)
	case authority.SessionToken:
		c.Principal = authz.Principal{Type: authz.User, ARN: snap.ARN, Account: snap.Account, ID: snap.ID, TemporaryUser: true}
		c.PrincipalID, c.UserName = snap.ID, snap.Name
	default:
		c.Principal = authz.Principal{Type: authz.AssumedRole, ARN: claims.ARN, Account: snap.Account, RoleARN: snap.ARN, ID: snap.ID, ServiceLinked: snap.ServiceLinked}
		c.PrincipalID, c.SessionName = snap.ID+":"+claims.SessionName, claims.SessionName
		c.Issuer = &SessionIssuer{Type: "Role", PrincipalID: snap.ID, ARN: snap.ARN, AccountID: snap.Account, UserName: snap.Name}
		c.Tags = overlay(snap.Tags, c.sessionTags)
	}
	if len(claims.Policies)+len(claims.PolicyARNs) > 0 {
		limited := *snap.Policies
		limited.SessionPassed = true
		for _, text := range claims.Policies {
			doc, err := policy.Parse(policy.Session, []byte(text))
			if err != nil {
				return nil, sigv4.Refuse(sigv4.BadToken) // the session was issued under another version of the language
			}
			limited.Session = append(limited.Session, doc)
		}
		for _, doc := range managed {
			if doc == nil {
				// A policy that was passed and is gone may have held a denial: what is left must
				// not be read without it. Nothing is allowed then, not even what a resource
				// policy gives to the very session.
				limited.Session = []*policy.Document{s.nothing}
				break
			}
			limited.Session = append(limited.Session, doc)
		}
		c.Policies = &limited
	}
	c.setKeys(snap, s.clock.Now())
	return c, nil
}

// iso is how condition keys write an instant.
const iso = "2006-01-02T15:04:05Z"

// setKeys sets the condition keys of policy-evaluation section 7 that follow
// from the caller. now is for the age of a second factor.
func (c *Caller) setKeys(snap *directory.Snapshot, now time.Time) {
	k := &c.Keys
	k.Set("aws:PrincipalArn", snap.ARN) // the role's own for a session
	k.Set("aws:PrincipalAccount", snap.Account)
	k.Set("aws:userid", c.PrincipalID)
	k.Set("aws:PrincipalIsAWSService", "false")
	switch c.Principal.Type {
	case authz.User:
		k.Set("aws:PrincipalType", "User")
		k.Set("aws:username", c.UserName)
	case authz.FederatedUser:
		k.Set("aws:PrincipalArn", c.Principal.ARN)
		k.Set("aws:PrincipalType", "FederatedUser")
	default:
		k.Set("aws:PrincipalType", "AssumedRole")
	}
	if c.Temporary() {
		k.Set("aws:TokenIssueTime", c.Issued.UTC().Format(iso))
		k.Set("aws:MultiFactorAuthPresent", strconv.FormatBool(c.MFA))
		if c.MFA {
			k.Set("aws:MultiFactorAuthAge", strconv.FormatInt(int64(now.Sub(c.MFATime)/time.Second), 10))
		}
	}
	for _, t := range c.Tags {
		k.Set("aws:PrincipalTag/"+t.Key, t.Value)
	}
	if c.SourceIdentity != "" {
		k.Set("aws:SourceIdentity", c.SourceIdentity)
	}
	if c.Provider != "" {
		k.Set("aws:FederatedProvider", c.Provider)
	}
}

// cutAction splits and lower-cases service:Operation.
func cutAction(action string) (service, operation string, ok bool) {
	return strings.Cut(strings.ToLower(action), ":")
}
