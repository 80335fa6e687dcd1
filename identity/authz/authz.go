// Package authz decides: given who asks, for what, and all policies that
// have a say, yes or no, and why. The order of the policy types is that of §5 of
// the specification of policy evaluation; comments cite its sections as §.
//
// Start with Decide. It reads a Request, which the gate assembles from an
// immutable snapshot of the caller (Principal, Policies) and from what the
// operation asks (Ask), and changes nothing. It allocates nothing: traces go to
// buffers of the caller's. A nil Policies, a zero Ask or an unknown type of
// principal are denied.
//
// Afterwards a decision can be told: Decision.Message is AWS's sentence for the caller, Trace.AppendJSON and
// AppendDenial are for the audit record, Explain for DecodeAuthorizationMessage. ConditionKeys is the table of
// what a request can be asked for.
//
// What is not done here: finding the policies, checking credentials, the
// second evaluation that iam:PassRole or the source of a copy needs (one Ask each), and
// audit. An Ask must name the Owner of its resource; operations that act on
// no single resource name the caller's account.
package authz

import (
	"github.com/leadglass/leadglass/identity/policy"
)

// Keys are the condition keys of a request; see policy.Keys.
type Keys = policy.Keys

// A Type is the sort of a caller.
type Type uint8

// The sorts of callers. A GetSessionToken session is the User itself.
const (
	Anonymous Type = iota + 1
	User
	AssumedRole
	FederatedUser
	Root
	Service
	WebIdentity
)

// A Principal is the caller.
type Principal struct {
	Type     Type
	ARN      string // of the user, session or root; a service's name
	Account  string // empty for anonymous, service and web identity
	RoleARN  string // of an assumed role, with its path
	UserARN  string // of a federated-user session: the user who federated
	ID       string // unique id of the user (of a federated session: the federating user) or role, without session name
	Provider string // of a web identity: ARN of the provider, or its host name

	CanonicalUser     string // S3's canonical id of the account, if it is known
	ServiceLinked     bool   // a service-linked role: exempt from SCPs and RCPs
	ManagementAccount bool   // exempt from SCPs
	TemporaryUser     bool   // a GetSessionToken session of a user
}

// Policies are all documents on the caller's side. They are an immutable snapshot.
type Policies struct {
	Identity      []*policy.Document // of the user, its groups, or the role
	Boundary      *policy.Document
	Session       []*policy.Document
	SessionPassed bool                 // a session policy was passed, even if Session is empty
	SCPs          [][]*policy.Document // levels from root to account; nil without organisations
}

// A Grant is an active grant on the key that is asked about.
type Grant struct {
	ID         string
	Grantee    string // ARN
	GranteeID  string // unique id of the user or role; if set it matches instead of the ARN
	Operations []string
	Subset     map[string]string // EncryptionContextSubset; nil without
	Equals     map[string]string // EncryptionContextEquals; nil without
}

// An Ask is one action on one resource, with everything on the resource's side.
type Ask struct {
	Action          string // kms:Decrypt
	Resource        string // ARN, or * for actions without one
	Shown           string // what a denial calls the resource, where its ARN would tell too much; empty: Resource
	Owner           string // account of the resource; never empty, see the package doc
	OwnerManagement bool   // the owner is the management account: exempt from RCPs
	Policy          *policy.Document
	RCPs            [][]*policy.Document // levels of the owner; nil without organisations
	Endpoint        *policy.Document     // of the VPC endpoint the call came through
	Grants          []Grant
	Context         Keys // keys of this resource and operation; they win over Request.Common
}

// A Request is what Decide answers.
type Request struct {
	Principal *Principal
	Policies  *Policies // nil for callers without an account
	Ask       *Ask
	Common    *Keys // keys of the call and of the caller; may be nil
}

// By is the policy type that decided.
type By uint8

// The policy types. ByNone is in a Decision that Decide did not make.
const (
	ByNone By = iota
	ByIdentity
	ByResource
	ByBoundary
	BySession
	BySCP
	ByRCP
	ByEndpoint
	ByGrant
	ByRoot
	ByIdentityAndResource
)

// A Decision is the answer and its reason. The zero value is a denial.
type Decision struct {
	Allowed  bool
	Explicit bool   // denied by a Deny statement
	By       By     // the type that allowed, denied or failed to allow
	Policy   string // label of the document whose statement decided; empty for implicit denials
	GrantID  string // of a decision by grant

	near bool // caller and resource share an account or an organisation: the message may say why
}
