// Package organization knows which accounts belong together: organizations,
// their root, organizational units, member accounts, and the policies that limit
// what happens in them (policy-evaluation section 4, AWS Organizations).
//
// Start with Open. The gate asks Levels of two accounts for every request: the
// caller's, whose service control policies (SCPs) limit what it may do, and the
// resource owner's, whose resource control policies (RCPs) limit what may be
// done to its resources. The other methods carry the names of the API's
// operations and take the organization; service/organizations says who may call
// them and puts them into AWS's shapes. Every refusal is an *Error with the
// code and the reason of the API.
//
// Levels takes no lock and allocates nothing. Every change is one commit, and
// what it changes is in Levels of every account under it before the call returns
// (I-5). The same account keeps the same pointer as long as nothing changed
// for it, so callers may cache what they derive from one.
//
// What is promised:
//   - An account is in one organization at most, and gets there in two ways:
//     the organization made it, or a principal of the account accepted an
//     invitation. Nobody else can put it there, the operator not either (I-13):
//     its own account takes no part in organizations at all.
//   - A policy that was accepted is enforced whole; types of policies that
//     nothing here enforces are refused (I-2).
//   - A policy that is stored and cannot be read any more allows nothing at its
//     level (I-1).
//   - A closed account is refused everywhere from that moment on: its callers,
//     and everybody who asks for its resources. Its keys are not deleted.
//
// Not done here: the decision (identity/authz), accounts as such
// (identity/directory), billing, GovCloud, and all types of policies but SCPs
// and RCPs.
package organization

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
)

// A Config configures Open. Clock and Directory are required.
type Config struct {
	Clock     clock.Clock
	Directory *directory.Directory
	Quotas    Quotas // zero fields: the defaults
	Check     bool   // for fsck: load and settle nothing
}

// Quotas limit what one organization may hold. Zero means the default in
// brackets; those that AWS fixes are constants.
type Quotas struct {
	Accounts    int // [1000]
	Units       int // [2000]
	Policies    int // [1000] of each type
	PolicySize  int // [5120] bytes of one document as stored
	Invitations int // [20] open at a time
}

// Limits that AWS fixes.
const (
	MaxDepth    = 5 // levels of units under the root
	MaxAttached = 5 // policies of one type on one target
	MaxTags     = 50
)

// Organizations is safe for concurrent use. A nil one knows of no organization.
type Organizations struct {
	store     kv.Store
	clock     clock.Clock
	directory *directory.Directory
	quotas    Quotas
	full      map[Type]*managed // immutable: the policies that come with the installation

	// levels is what the hot path reads: by account, immutable, replaced as a whole
	// before the change that made it returns.
	levels atomic.Pointer[map[string]*Levels]

	write sync.Mutex // held by a change from its first read to its publication
	stale bool       // guarded by write: a commit's outcome is unknown, reload first

	mu sync.RWMutex
	st state // guarded by mu for writing, by write or mu for reading
}

// Open loads every organization from store.
func Open(ctx context.Context, store kv.Store, cfg Config) (*Organizations, error) {
	if cfg.Clock == nil || cfg.Directory == nil {
		return nil, errors.New("organization: Config.Clock and Config.Directory are required")
	}
	full, err := managedPolicies()
	if err != nil {
		return nil, err
	}
	q := cfg.Quotas
	o := &Organizations{
		store: store, clock: cfg.Clock, directory: cfg.Directory, full: full,
		quotas: Quotas{
			Accounts: cmp.Or(q.Accounts, 1000), Units: cmp.Or(q.Units, 2000), Policies: cmp.Or(q.Policies, 1000),
			PolicySize: cmp.Or(q.PolicySize, policy.LimitOrganization), Invitations: cmp.Or(q.Invitations, 20),
		},
	}
	o.write.Lock()
	err = o.reload(ctx)
	o.write.Unlock()
	if err != nil {
		return nil, err
	}
	if cfg.Check {
		return o, nil
	}
	return o, o.resume(ctx)
}

// Levels are what an organization says about one account. It is immutable and
// shared.
type Levels struct {
	Organization string // o-...; empty: the account is in none, and Closed is all there is to say
	Path         string // aws:PrincipalOrgPaths: o-.../r-.../ou-.../
	Management   bool   // the management account: no SCP and no RCP applies to it
	Closed       bool   // the account is closed: nobody acts in it, and nothing of it is used
	// SCPs and RCPs are the policies of the root, of each unit down to the account,
	// and of the account. Each level needs an allow of its own. Nil while the
	// organization has not enabled the type.
	SCPs, RCPs [][]*policy.Document
}

// Levels finds what limits an account, or nil if nothing does.
func (o *Organizations) Levels(account string) *Levels {
	if o == nil {
		return nil
	}
	return (*o.levels.Load())[account]
}
