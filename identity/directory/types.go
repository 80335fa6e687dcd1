package directory

import (
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// A Kind says what carries policies and tags.
type Kind uint8

// The kinds.
const (
	UserKind    Kind = 1
	RoleKind    Kind = 2
	PolicyKind  Kind = 3 // tags only
	GroupKind   Kind = 4 // policies only
	ProfileKind Kind = 5 // instance profiles: tags only

	kinds = 6
)

// A Tag is a key with a value. Keys are unique without regard to case.
type Tag struct{ Key, Value string }

// An Account is one customer, or the operator.
type Account struct {
	ID       string // 12 digits
	Name     string
	Created  time.Time
	Operator bool      // the operator's own account
	Enrolled time.Time // when the first access key was redeemed; zero: not yet
}

// A User is an IAM user.
type User struct {
	Account, ID, ARN string
	Name, Path       string
	Created          time.Time
	Boundary         string // ARN of the permissions boundary, or ""
	Tags             []Tag
}

// An AccessKey is a long-term access key without its secret.
type AccessKey struct {
	ID       string // AKIA...
	UserName string
	Active   bool
	Created  time.Time
}

// A NewAccessKey is an access key with its secret, which nobody will be shown again.
type NewAccessKey struct {
	AccessKey
	Secret *secret.Bytes // 40 characters; the caller destroys it
}

// LastUse says when and for what a credential was used last.
type LastUse struct {
	UserName        string // owner of the access key
	Time            time.Time
	Service, Region string // "N/A" when it was never used
}

// A Role is an IAM role.
type Role struct {
	Account, ID, ARN string
	Name, Path       string
	Description      string
	TrustPolicy      string // as saved; principals that were deleted since appear as their bare id
	MaxSession       int    // seconds
	Created          time.Time
	Boundary         string // ARN of the permissions boundary, or ""
	Tags             []Tag
	LastUsed         LastUse // zero Time: never
	Service          string  // of a service-linked role: the service principal

	bound map[string]string // ids of the principals in TrustPolicy, by ARN
}

// A Policy is a managed policy without its text.
type Policy struct {
	ARN, ID        string
	Name, Path     string
	Description    string
	DefaultVersion string // "v1"
	Attachments    int    // for an operator-managed policy: in the asking account
	BoundaryUses   int
	Created        time.Time
	Updated        time.Time
	Tags           []Tag
	Managed        bool // by the operator, under arn:aws:iam::aws:policy/
}

// A Version is one version of a managed policy.
type Version struct {
	ID       string // "v1"
	Document string
	Default  bool
	Created  time.Time
}

// An Attached is a managed policy as a list of attachments shows it.
type Attached struct{ ARN, Name string }

// A List says which page of a listing is wanted.
type List struct {
	PathPrefix string // "": "/"
	Marker     string // of the page before; "": the first page
	MaxItems   int    // 1..1000; 0: 100
}

// A Page is one page of a listing, in the order of the names without regard to case.
type Page[T any] struct {
	Items  []T
	Marker string // of the next page; "": this is the last
}

// A NewUser is the input of CreateUser.
type NewUser struct {
	Name, Path string // Path "": "/"
	Boundary   string // ARN of a managed policy, or ""
	Tags       []Tag
}

// A UserUpdate is the input of UpdateUser; empty fields stay as they are.
type UserUpdate struct{ NewName, NewPath string }

// A NewRole is the input of CreateRole.
type NewRole struct {
	Name, Path  string // Path "": "/"
	Description string
	TrustPolicy string
	MaxSession  int // seconds, 3600..43200; 0: 3600
	Boundary    string
	Tags        []Tag
}

// A RoleUpdate is the input of UpdateRole; nil fields stay as they are.
type RoleUpdate struct {
	Description *string
	MaxSession  *int
}

// A NewPolicy is the input of CreatePolicy.
type NewPolicy struct {
	Name, Path  string // Path "": "/"
	Description string
	Document    string
	Tags        []Tag
}

// A PolicyFilter narrows ListPolicies.
type PolicyFilter struct {
	Managed      bool // those of the operator
	Local        bool // those of the account; neither: both
	OnlyAttached bool
	Usage        string // "", "PermissionsPolicy" or "PermissionsBoundary"
}
