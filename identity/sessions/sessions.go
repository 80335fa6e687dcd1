// Package sessions turns credentials into callers and callers into new
// sessions (sts-and-fas sections 3 and 4, sigv4 section 9).
//
// Start with New. Authenticate is what the gate calls for every request: it
// finds the credential, has the authority witness the signature, and returns a
// Caller with everything that authorization and the audit record need. Who may
// assume a role is asked by PlanAssumeRole and decided by the gate; AssumeRole
// then applies STS's rules and issues the session. service/sts is the shape of
// it for clients.
//
// Nothing is stored per session: what a session is stands in its token, which
// only the authority can make and open. What the session may do is not in it:
// role, user and policies are looked up as they are now, so that deleting or
// changing them is felt by every session at once. A session ends when it
// expires, when its role or user is deleted (one of the same name has another
// unique id), when the access key at the start of its chain is deleted or set
// inactive, or the OpenID Connect provider there is deleted, or the account of
// either is closed, or when the authority has a revocation for it.
//
// A web identity has no credential of ours: PlanWebIdentity finds out who it is
// by its token (identity/federation), and the same plan and AssumeRole follow.
// PlanFederationToken and PlanIdentityToken are the plans of GetFederationToken
// and GetWebIdentityToken.
//
// Signatures are witnessed by the authority, each one, unless WithKeys says
// otherwise: a Keyring checks by itself, with keys of the day that it keeps for
// a minute, and follows the authority's revocations to know when not to.
//
// Not done here: parsing signatures (identity/sigv4), the decision itself
// (identity/authz), checking the codes of MFA devices (the authority does, when
// it makes the session), and SAML.
package sessions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/federation"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/identity/policy"
)

// An Authority witnesses signatures and makes sessions; *authority.Client is one.
type Authority interface {
	Witness(ctx context.Context, q authority.Request) (*authority.Claims, error)
	IssueSession(ctx context.Context, c authority.Claims) (accessKeyID string, sec *secret.Bytes, token string, err error)
	// IssueSessionWithFactor is IssueSession for a caller who shows the code of an MFA device; authority.ErrCode if it is not good.
	IssueSessionWithFactor(ctx context.Context, c authority.Claims, f authority.Factor) (accessKeyID string, sec *secret.Bytes, token string, err error)
	// CallerKey states for the HSM which public key checks a credential's SigV4A signatures.
	CallerKey(ctx context.Context, accessKeyID string, sealed []byte, token string) (statement []byte, err error)
	SealMessage(ctx context.Context, account string, plain []byte) (string, error)
	OpenMessage(ctx context.Context, account, message string) ([]byte, error)
}

// ErrUnavailable: the authority cannot answer; the caller is not known to be wrong.
var ErrUnavailable = errors.New("sessions: the authority is unavailable")

// Sessions is safe for concurrent use.
type Sessions struct {
	directory *directory.Directory
	authority Authority
	clock     clock.Clock
	nobody    *policy.Document // stands for the trust policy of roles that do not exist
	nothing   *policy.Document // stands for a session policy that is gone

	organizations *organization.Organizations // nil: there are no root sessions
	tasks         map[string]*policy.Document // of root sessions, by ARN; immutable
	verifier      *federation.Verifier        // set by WithFederation, or nil
	issuer        *federation.Issuer          // likewise

	// callers holds the Caller of each credential that was used, by access key id.
	// When it has grown to maxCallers it is replaced by an empty one: sessions end
	// unnoticed, and making a Caller anew costs microseconds.
	callers atomic.Pointer[sync.Map] // of *cached
	size    atomic.Int64             // about how many there are

	keys  *Keyring        // set by WithKeys, or nil
	keyed map[string]bool // services in key mode
}

// AllServices stands for every service in WithKeys.
const AllServices = "*"

const maxCallers = 100_000

// trustNobody names a service that cannot call.
const trustNobody = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"nobody.leadglass.invalid"},"Action":"sts:AssumeRole"}]}`

const allowNothing = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

// New returns the sessions of a directory.
func New(d *directory.Directory, a Authority, c clock.Clock) (*Sessions, error) {
	nobody, err := policy.Parse(policy.Trust, []byte(trustNobody))
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	nothing, err := policy.Parse(policy.Session, []byte(allowNothing))
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	tasks, err := rootTasks()
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	s := &Sessions{directory: d, authority: a, clock: c, nobody: nobody, nothing: nothing, tasks: tasks}
	s.callers.Store(new(sync.Map))
	return s, nil
}

// WithKeys has the requests to some services, by their signing names or
// AllServices, checked in key mode by k. It is called before the first request.
func (s *Sessions) WithKeys(k *Keyring, services ...string) *Sessions {
	s.keys, s.keyed = k, make(map[string]bool, len(services))
	for _, name := range services {
		s.keyed[name] = true
	}
	return s
}

// A Caller is who sent a request, as of now. It is immutable and shared.
type Caller struct {
	Principal authz.Principal
	Policies  *authz.Policies

	AccessKeyID string
	PrincipalID string    // aws:userid: AIDA..., or AROA...:session
	UserName    string    // of a user
	SessionName string    // of a role session
	Issued      time.Time // of temporary credentials; zero for long-term keys
	Expires     time.Time // likewise
	MFA         bool      // a second factor was shown when the session was made
	MFATime     time.Time // when
	// Tags are aws:PrincipalTag: the tags of the user, or of the role overlaid by those of the session.
	Tags           []directory.Tag
	SourceIdentity string
	Provider       string // federation provider
	Depth          int    // of role chaining: 0 for a user, 1 for a role that a user assumed, ...
	// CredentialID is the long-term access key at the start of the chain; for a
	// user's own key that key.
	CredentialID string

	// Keys are the condition keys that follow from the caller: aws:Principal*,
	// aws:userid, aws:username, aws:TokenIssueTime, aws:MultiFactorAuth*,
	// aws:SourceIdentity, aws:FederatedProvider.
	Keys authz.Keys

	Issuer *SessionIssuer // of a role session; nil otherwise

	sessionTags []directory.Tag // as passed or inherited
	transitive  []string        // keys of those that are passed on
}

// A SessionIssuer is the role behind a session, as the audit record names it.
type SessionIssuer struct {
	Type        string // "Role"
	PrincipalID string // AROA...
	ARN         string
	AccountID   string
	UserName    string // the role's name
}

// Temporary says whether the caller uses temporary credentials.
func (c *Caller) Temporary() bool { return !c.Issued.IsZero() }

// Restricted says why this sort of session may not use an action whatever its
// policies say, or "" (sts-and-fas section 3, policy-evaluation section 5).
// Action is service:Operation, in any case.
func (c *Caller) Restricted(action string) string {
	service, operation, _ := cutAction(action)
	switch {
	case service == "sts" && (operation == "getsessiontoken" || operation == "getfederationtoken") && c.Temporary():
		return "Cannot call " + properName[operation] + " with session credentials"
	case c.Principal.Type == authz.FederatedUser && (service == "iam" || service == "sts" && operation != "getcalleridentity"):
		return "Federated users cannot call IAM, and only GetCallerIdentity of STS"
	case !c.Principal.TemporaryUser:
		return ""
	case service == "iam" && !c.MFA:
		return "Credentials from GetSessionToken without MFA cannot be used to call IAM"
	case service == "sts" && operation != "assumerole" && operation != "getcalleridentity" &&
		// These two are asked on behalf of AssumeRole alone.
		operation != "tagsession" && operation != "setsourceidentity":
		return "Credentials from GetSessionToken can call only AssumeRole and GetCallerIdentity of STS"
	}
	return ""
}

var properName = map[string]string{"getsessiontoken": "GetSessionToken", "getfederationtoken": "GetFederationToken"}
