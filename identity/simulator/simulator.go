// Package simulator answers what would be allowed, under policies that are in
// force or only thought of: IAM's SimulateCustomPolicy and
// SimulatePrincipalPolicy. It decides nothing itself: every answer is one of
// authz.Decide, on documents compiled by the same code as those in force, so a
// simulation and the live decision agree by construction, and a test compares
// them case by case.
//
// Start with Simulation: fill it, call Run. Everything that bears on the answer
// is in it; the package reads no state. Who may simulate for whom, and which
// policies a principal has, is service/iam's business.
//
// What a simulation knows of the request's context is what its entries say and
// what follows from the caller (see Simulation.keys): nothing is made up. A key
// that a statement asked for and that nobody gave is listed in Result.Missing.
//
// What is not done here: policies of VPC endpoints, grants of KMS keys, and
// sessions with session policies: the API has no words for them.
package simulator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

// An Error says which of the inputs is refused, and why. Message is for the client.
type Error struct{ Message string }

func (e *Error) Error() string { return "simulator: " + e.Message }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Limits are what the organization of an account puts upon it. The zero value is that of an
// account outside of all organizations.
type Limits struct {
	Organization string // o-..., or ""
	Path         string // o-.../r-.../ou-.../
	Management   bool
	SCPs, RCPs   [][]*policy.Document // levels from the root to the account
}

// A Simulation is the question, for one caller, any number of actions and resources.
type Simulation struct {
	Caller   authz.Principal // a user or a role; without ARN somebody of Account of whom nothing is known
	Tags     map[string]string
	UserID   string         // aws:userid, or ""
	Policies authz.Policies // identity policies and boundary; not SCPs
	Limits   Limits         // of the caller's account

	Resource    *policy.Document // as if each resource had it; nil: none
	Owner       string           // account of resources whose ARN names none; "": the caller's
	OwnerLimits func(account string) Limits
	Context     []Entry
	Scenario    string // ResourceHandlingOption
	Actions     []string
	Resources   []string // none: "*"
}

// A Verdict is the outcome for one action on one resource.
type Verdict string

// The verdicts, as the API names them.
const (
	Allowed      Verdict = "allowed"
	ExplicitDeny Verdict = "explicitDeny"
	ImplicitDeny Verdict = "implicitDeny"
)

func verdict(d authz.Decision) Verdict {
	switch {
	case d.Allowed:
		return Allowed
	case d.Explicit:
		return ExplicitDeny
	}
	return ImplicitDeny
}

// worse orders verdicts by how much they restrict.
func worse(a, b Verdict) Verdict {
	rank := func(v Verdict) int {
		switch v {
		case ExplicitDeny:
			return 2
		case ImplicitDeny:
			return 1
		}
		return 0
	}
	if a == "" || rank(b) > rank(a) {
		return b
	}
	return a
}

// A Result is the answer for one action on all resources of the simulation: the most
// restrictive of them, with the statements and the missing keys of all.
type Result struct {
	Action    string
	Verdict   Verdict
	Matched   []authz.Matched // statements that decided, of identity and resource policies
	Missing   []string        // condition keys that a statement of these asked for and that were absent
	Details   map[string]Verdict
	Boundary  *bool // nil: there is no boundary; else whether it allows
	Org       *bool // nil: no organization's policy applies; else whether they all allow
	Resources []ResourceResult
}

// A ResourceResult is the answer for one action on one resource.
type ResourceResult struct {
	Resource string
	Decision authz.Decision
	Verdict  Verdict
	Matched  []authz.Matched
	Missing  []string
	Details  map[string]Verdict // of calls across accounts: verdicts of the policy types by their name
	Boundary *bool
	Org      *bool
}

// Run answers for the actions [from, to), which must be in range. A refusal is an *Error.
func (s *Simulation) Run(ctx context.Context, from, to int) ([]Result, error) {
	common, err := s.keys()
	if err != nil {
		return nil, err
	}
	resources := s.Resources
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	asks := make([]authz.Ask, len(resources))
	for i, r := range resources {
		if asks[i], err = s.ask(r); err != nil {
			return nil, err
		}
	}
	if err := s.scenario(); err != nil {
		return nil, err
	}
	for i, a := range s.Actions {
		if !isAction(a) {
			return nil, refuse("ActionNames.%d: %s is not a valid action name.", i+1, clip(a))
		}
	}
	results := make([]Result, 0, to-from)
	for _, action := range s.Actions[from:to] {
		r := Result{Action: action, Verdict: Allowed}
		for i := range asks {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			asks[i].Action = action
			r.add(s.one(&asks[i], common))
		}
		results = append(results, r)
	}
	return results, nil
}

// add joins the answer for one resource to that of all.
func (r *Result) add(one ResourceResult) {
	r.Resources = append(r.Resources, one)
	r.Verdict = worse(r.Verdict, one.Verdict)
	for _, m := range one.Matched {
		if !slices.Contains(r.Matched, m) {
			r.Matched = append(r.Matched, m)
		}
	}
	for _, k := range one.Missing {
		if !slices.ContainsFunc(r.Missing, func(o string) bool { return strings.EqualFold(o, k) }) {
			r.Missing = append(r.Missing, k)
		}
	}
	for name, v := range one.Details {
		if r.Details == nil {
			r.Details = make(map[string]Verdict)
		}
		r.Details[name] = worse(r.Details[name], v)
	}
	r.Boundary, r.Org = both(r.Boundary, one.Boundary), both(r.Org, one.Org)
}

func both(a, b *bool) *bool {
	if a == nil || b == nil {
		return b
	}
	return new(*a && *b)
}

// ask is the question about a resource, without the action.
func (s *Simulation) ask(resource string) (authz.Ask, error) {
	a := authz.Ask{Resource: resource, Owner: s.Owner, Policy: s.Resource}
	if resource != "*" {
		parsed, err := arn.Parse(resource)
		if err != nil {
			return a, refuse("ARN %s is not valid.", clip(resource))
		}
		// An ARN that names its account is of that account, whatever ResourceOwner says: that is
		// for those that do not.
		if arn.IsAccount(parsed.Account) {
			a.Owner = parsed.Account
		}
	}
	if a.Owner == "" {
		a.Owner = s.Caller.Account
	}
	var limits Limits
	switch {
	case a.Owner == s.Caller.Account:
		limits = s.Limits
	case s.OwnerLimits != nil && s.Limits.Organization != "":
		// Within one organization; what another one does is not the caller's to find out (I-7).
		if l := s.OwnerLimits(a.Owner); l.Organization == s.Limits.Organization {
			limits = l
		}
	}
	a.OwnerManagement, a.RCPs = limits.Management, limits.RCPs
	a.Context.Set("aws:ResourceAccount", a.Owner)
	if limits.Organization != "" {
		a.Context.Set("aws:ResourceOrgID", limits.Organization)
		a.Context.Set("aws:ResourceOrgPaths", limits.Path)
	}
	return a, s.override(&a.Context)
}

// one answers for one action on one resource.
func (s *Simulation) one(a *authz.Ask, common *authz.Keys) ResourceResult {
	policies := s.Policies
	policies.SCPs = s.Limits.SCPs
	caller := s.Caller
	caller.ManagementAccount = s.Limits.Management
	t := new(authz.Trace)
	d := authz.Decide(&authz.Request{Principal: &caller, Policies: &policies, Ask: a, Common: common}, t)
	r := ResourceResult{Resource: a.Resource, Decision: d, Verdict: verdict(d)}

	// The keys that an organization's policies ask for are no business of the account's: its
	// principals cannot read these policies.
	without := policies
	without.SCPs = nil
	open := *a
	open.RCPs = nil
	missing := &authz.Trace{Missing: []string{}}
	authz.Decide(&authz.Request{Principal: &caller, Policies: &without, Ask: &open, Common: common}, missing)
	r.Missing = missing.Missing

	if policies.Boundary != nil {
		r.Boundary = new(says(t, authz.ByBoundary) == Allowed)
	}
	scp := !caller.ManagementAccount && !caller.ServiceLinked && policies.SCPs != nil
	rcp := !a.OwnerManagement && !caller.ServiceLinked && a.RCPs != nil
	if scp || rcp {
		r.Org = new((!scp || levelsAllow(t, authz.BySCP, policies.SCPs)) && (!rcp || levelsAllow(t, authz.ByRCP, a.RCPs)))
	}
	if caller.Account != a.Owner && d.By != authz.BySCP {
		r.Details = map[string]Verdict{identityDetail: says(t, authz.ByIdentity), resourceDetail: says(t, authz.ByResource)}
		if policies.Boundary != nil {
			r.Details[boundaryDetail] = says(t, authz.ByBoundary)
		}
	}
	switch {
	case d.Allowed:
		r.Matched = of(t.Allow, authz.ByIdentity, authz.ByResource)
	case d.Explicit:
		r.Matched = of(t.Deny, authz.ByIdentity, authz.ByResource, authz.ByBoundary)
	}
	return r
}

// Names of policy types in Details.
const (
	identityDetail = "IAM Policy"
	resourceDetail = "Resource Policy"
	boundaryDetail = "Permissions Boundary Policy"
)

// of keeps the statements of some policy types. Those of organizations are not shown: the account's
// principals cannot read them.
func of(all []authz.Matched, types ...authz.By) (kept []authz.Matched) {
	for _, m := range all {
		if slices.Contains(types, m.By) {
			kept = append(kept, m)
		}
	}
	return kept
}

// says is what the policies of one type say by themselves.
func says(t *authz.Trace, by authz.By) Verdict {
	for _, m := range t.Deny {
		if m.By == by {
			return ExplicitDeny
		}
	}
	for _, m := range t.Allow {
		if m.By == by {
			return Allowed
		}
	}
	return ImplicitDeny
}

// levelsAllow says whether every level has an allow of its own, and none denies.
func levelsAllow(t *authz.Trace, by authz.By, levels [][]*policy.Document) bool {
	if says(t, by) == ExplicitDeny {
		return false
	}
	for _, level := range levels {
		found := false
		for _, m := range t.Allow {
			if m.By != by {
				continue
			}
			found = found || slices.Contains(level, m.Document)
		}
		if !found {
			return false
		}
	}
	return true
}

// isAction takes service:Name without wildcards.
func isAction(s string) bool {
	service, name, ok := strings.Cut(s, ":")
	if !ok || service == "" || name == "" || len(s) > 128 {
		return false
	}
	for _, c := range service + name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// clip shortens a piece of the input for a message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
