// Package record is the audit record: what one event says, how it is written
// as JSON, and the fixed-size and sealed forms in which a log keeps it.
//
// Start with Record, which has the fields of a CloudTrail record (audit-log
// section 3); Record.AppendJSON writes it, Parse reads it. Leaf is the
// 128-byte entry of an account's log (section 5), Sealer and Open are the
// encrypted form (section 4), KeyRecord carries a wrapped data key, and
// AccountKey is the file with which a customer reads and checks its log
// offline.
//
// Not done here: storing, ordering, Merkle trees (evidence/tree) and the
// append path (evidence/log). The package holds no state and touches neither
// disk nor network, so that verify can use it anywhere.
//
// Promises: AppendJSON is deterministic, escapes whatever it is given into
// valid JSON, and keeps every limit of section 3; Parse keeps fields that it
// does not know and AppendJSON writes them back. The byte formats are fixed by
// docs/formats/audit.md.
package record

import (
	"encoding/json"
	"strings"
	"time"
)

// Version is the eventVersion of every record written here.
const Version = "1.11"

// Event types and categories (section 3).
const (
	TypeAPICall       = "AwsApiCall"
	TypeServiceEvent  = "AwsServiceEvent"
	TypeConsoleSignIn = "AwsConsoleSignIn"

	CategoryManagement = "Management"
	CategoryData       = "Data"
	CategoryNetwork    = "NetworkActivity"
)

// Internal is the source address and user agent of work that no client asked
// for; older records also show it for forwarded calls.
const Internal = "AWS Internal"

// A Record is one event. Strings are limited and cut by AppendJSON, so the
// caller fills in what it has. A raw JSON member must be a JSON value that the
// caller made itself; nil is written as null (or left out where the field is
// optional).
type Record struct {
	EventVersion        string // empty: Version
	UserIdentity        UserIdentity
	EventTime           time.Time // completion time; written in whole seconds, UTC
	EventSource         string    // kms.amazonaws.com
	EventName           string    // Decrypt
	AWSRegion           string
	SourceIPAddress     string
	UserAgent           string
	ErrorCode           string // empty: success
	ErrorMessage        string
	RequestParameters   json.RawMessage // an object, or nil for null
	ResponseElements    json.RawMessage // an object, or nil for null
	AdditionalEventData json.RawMessage // an object without the member "leadglass", or nil
	Leadglass           *Extension      // written as additionalEventData.leadglass
	RequestID           string
	EventID             string // UUID, lower case
	ReadOnly            bool
	Resources           []Resource
	EventType           string // empty: TypeAPICall
	APIVersion          string
	ManagementEvent     bool
	RecipientAccountID  string
	SharedEventID       string
	VPCEndpointID       string
	VPCEndpointAccount  string
	EventCategory       string // empty: CategoryManagement or CategoryData, after ManagementEvent
	ServiceEventDetails json.RawMessage
	TLS                 *TLSDetails
	ConsoleCredential   bool    // sessionCredentialFromConsole
	Unknown             []Field // what Parse did not know, in the order found
}

// A Field is a member of a JSON object that this version has no name for.
type Field struct {
	Name  string
	Value json.RawMessage
}

// Identity types (section 3.1).
const (
	Root               = "Root"
	IAMUser            = "IAMUser"
	AssumedRole        = "AssumedRole"
	FederatedUser      = "FederatedUser"
	AWSAccount         = "AWSAccount"
	AWSService         = "AWSService"
	WebIdentityUser    = "WebIdentityUser"
	SAMLUser           = "SAMLUser"
	IdentityCenterUser = "IdentityCenterUser"
	UnknownIdentity    = "Unknown"
)

// UserIdentity says who called (section 3.1). Empty members are left out.
type UserIdentity struct {
	Type             string
	PrincipalID      string
	ARN              string
	AccountID        string
	AccessKeyID      string
	UserName         string
	Session          *SessionContext
	InvokedBy        string
	InScopeOf        json.RawMessage
	IdentityProvider string
	Unknown          []Field
}

// SessionContext describes temporary credentials.
type SessionContext struct {
	Issuer              *SessionIssuer
	CreationDate        time.Time // zero: no attributes are written
	MFAAuthenticated    bool
	OtherAttributes     []Field // of attributes
	WebIDFederationData json.RawMessage
	SourceIdentity      string
	EC2RoleDelivery     string
	Unknown             []Field
}

// SessionIssuer is the role or user that a session was made from.
type SessionIssuer struct {
	Type        string // Role, IAMUser, Root
	PrincipalID string
	ARN         string
	AccountID   string
	UserName    string
	Unknown     []Field
}

// A Resource is something the call touched.
type Resource struct {
	AccountID string
	Type      string // AWS::KMS::Key
	ARN       string
	Unknown   []Field
}

// TLSDetails describes the connection the call came over.
type TLSDetails struct {
	Version     string // TLSv1.3
	CipherSuite string
	ClientHost  string // clientProvidedHostHeader
	KeyExchange string // X25519MLKEM768
	Unknown     []Field
}

// An Extension is what this project adds to a record; it is written only into
// additionalEventData.leadglass, where consumers of CloudTrail ignore it.
type Extension struct {
	ContingentAuthorizationID string
	ParentEventID             string
	FASChain                  []string // innermost first
	FASDigest                 string   // base64 SHA-256 of the token
	Custody                   json.RawMessage
	Enclave                   *Enclave
	Decision                  json.RawMessage // which statements decided and why, as identity/authz writes a Trace
	Unknown                   []Field
}

// Enclave names the attested caller.
type Enclave struct {
	PCR0     string // hex
	ModuleID string
}

// Failed says whether the call was refused or failed.
func (r *Record) Failed() bool { return r.ErrorCode != "" }

// Category is the event's category, after ManagementEvent when none is set.
func (r *Record) Category() string {
	switch {
	case r.EventCategory != "":
		return r.EventCategory
	case r.ManagementEvent:
		return CategoryManagement
	}
	return CategoryData
}

// Forwarded says whether a service made the call with the caller's forwarded
// authority. Both spellings count: fas.s3.amazonaws.com and the older
// "AWS Internal" beside a principal of the customer (section 3.1).
func (r *Record) Forwarded() bool {
	if r.UserIdentity.Type == AWSService {
		return false
	}
	return strings.HasPrefix(r.UserIdentity.InvokedBy, "fas.") || r.UserIdentity.InvokedBy == Internal
}

// Name is the user name that LookupEvents shows and filters by: the user's
// name, the session's name of a role, or "root".
func (u *UserIdentity) Name() string {
	switch {
	case u.UserName != "":
		return u.UserName
	case u.Type == AssumedRole, u.Type == FederatedUser:
		if _, name, ok := strings.Cut(u.PrincipalID, ":"); ok {
			return name
		}
	case u.Type == Root:
		return "root"
	}
	return ""
}

// OwnerCopy is the copy of a cross-account event for the log of the account
// that owns the resource: a foreign caller is reduced to its account, the
// event gets its own id, and sharedEventID ties both copies (section 3.1).
// The caller gives the original the same SharedEventID.
func (r *Record) OwnerCopy(owner, eventID, sharedEventID string) *Record {
	c := *r
	c.EventID, c.SharedEventID, c.RecipientAccountID = eventID, sharedEventID, owner
	if r.UserIdentity.AccountID != owner {
		c.UserIdentity = UserIdentity{
			Type:        AWSAccount,
			PrincipalID: r.UserIdentity.PrincipalID,
			AccountID:   r.UserIdentity.AccountID,
			InvokedBy:   r.UserIdentity.InvokedBy,
		}
		// Which statements allowed the call is the caller's own affair.
		if r.Leadglass != nil && r.Leadglass.Decision != nil {
			x := *r.Leadglass
			if x.Decision = nil; len(x.append(nil)) > len("{}") {
				c.Leadglass = &x
			} else {
				c.Leadglass = nil
			}
		}
	}
	return &c
}
