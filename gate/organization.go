package gate

import (
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/operation"
)

// Organizations limit a request from two sides (policy-evaluation section 4):
// the caller by the service control policies above its account, and every ask
// by the resource control policies above the account that owns the resource.
// Both are put on here, for all callers and all asks, so that no service and
// no sort of session can forget them.

// limit takes the caller as its organization has it now. A closed account's
// callers are nobody, whatever credential they hold.
func (x *exchange) limit(c *sessions.Caller) error {
	x.principal, x.policies = c.Principal, authz.Policies{}
	if c.Policies != nil {
		x.policies = *c.Policies
	}
	l := x.gate.Organizations.Levels(c.Principal.Account)
	if l == nil {
		return nil
	}
	if l.Closed {
		return sigv4.Refuse(sigv4.UnknownKey)
	}
	x.principal.ManagementAccount = l.Management
	x.policies.SCPs = l.SCPs
	return nil
}

// organizationKeys sets the condition keys of the caller's organization. Who
// has not signed (a web identity) is in none.
func (x *exchange) organizationKeys() {
	switch x.principal.Type {
	case authz.User, authz.AssumedRole, authz.FederatedUser, authz.Root:
	default:
		return
	}
	if l := x.gate.Organizations.Levels(x.principal.Account); l != nil && l.Organization != "" {
		x.common.Set("aws:PrincipalOrgID", l.Organization)
		x.common.Set("aws:PrincipalOrgPaths", l.Path)
	}
}

// govern puts on an ask what limits its resource from above. It is false for
// what belongs to a closed account, which nobody uses any more.
func (x *exchange) govern(a *operation.Ask) bool {
	l := x.gate.Organizations.Levels(a.Owner)
	x.common.Set("aws:ResourceAccount", a.Owner)
	if l == nil || l.Organization == "" {
		// Those of the ask before are no longer true.
		x.common.Set("aws:ResourceOrgID")
		x.common.Set("aws:ResourceOrgPaths")
	} else {
		a.OwnerManagement, a.RCPs = l.Management, l.RCPs
		x.common.Set("aws:ResourceOrgID", l.Organization)
		x.common.Set("aws:ResourceOrgPaths", l.Path)
	}
	return l == nil || !l.Closed
}
