package authz

import (
	"strings"

	"github.com/leadglass/leadglass/identity/policy"
)

// Decide answers a request. The trace may be nil; it changes no answer.
//
// The steps are those of §5, in its order. With a trace every type is evaluated to
// the end, for the audit record; without one, evaluation stops where the answer can no
// longer change, never before an explicit deny could still be found.
func Decide(r *Request, t *Trace) Decision {
	if r == nil || r.Principal == nil || r.Ask == nil {
		return Decision{}
	}
	e := evaluation{p: r.Principal, a: r.Ask, policies: r.Policies, trace: t}
	if e.policies == nil {
		e.policies = &none
	}
	var missing *[]string
	if t != nil && t.Missing != nil {
		missing = &t.Missing
	}
	if !e.q.Reset(e.a.Action, e.a.Resource, r.Common, &e.a.Context, missing) {
		return Decision{}
	}
	d := e.decide()
	if !d.Allowed {
		d.near = e.near(d.By)
	}
	return d
}

// none stands for the policies of a caller without any; it is never written.
var none Policies

// An evaluation is one Decide.
type evaluation struct {
	p        *Principal
	a        *Ask
	policies *Policies
	trace    *Trace
	q        policy.Question
}

// An outcome is what the documents of one type say.
type outcome struct {
	deny  *policy.Document // the first with a matching Deny
	allow *policy.Document // the first with a matching Allow
	kinds kinds            // by which principals the Allow statements matched
	gap   bool             // of levels: some level has no matching Allow
}

func (e *evaluation) decide() Decision {
	p, a := e.p, e.a
	if p.Type < Anonymous || p.Type > WebIdentity {
		return Decision{}
	}
	var scp, rcp, endpoint, resource, identity, boundary, session outcome

	if equalAction(a.Action, "sts:GetCallerIdentity") && p.Type != Anonymous {
		return e.callerIdentity()
	}

	// D1 to D7: any Deny ends it, the first type in this order names it.
	stop := e.trace == nil
	if e.underSCPs() {
		scp = e.levels(BySCP, e.policies.SCPs)
		if scp.deny != nil && stop {
			return denied(BySCP, scp.deny)
		}
	}
	if !a.OwnerManagement && !p.ServiceLinked {
		rcp = e.levels(ByRCP, a.RCPs)
		if rcp.deny != nil && stop {
			return denied(ByRCP, rcp.deny)
		}
	}
	if a.Endpoint != nil {
		e.scan(ByEndpoint, a.Endpoint, &endpoint, false)
		if endpoint.deny != nil && stop {
			return denied(ByEndpoint, endpoint.deny)
		}
	}
	if a.Policy != nil {
		e.scan(ByResource, a.Policy, &resource, e.repairsBucketPolicy())
		if resource.deny != nil && stop {
			return denied(ByResource, resource.deny)
		}
	}
	for _, d := range e.policies.Identity {
		e.scan(ByIdentity, d, &identity, false)
	}
	if identity.deny != nil && stop {
		return denied(ByIdentity, identity.deny)
	}
	if e.policies.Boundary != nil {
		e.scan(ByBoundary, e.policies.Boundary, &boundary, false)
		if boundary.deny != nil && stop {
			return denied(ByBoundary, boundary.deny)
		}
	}
	for _, d := range e.policies.Session {
		e.scan(BySession, d, &session, false)
	}
	switch {
	case scp.deny != nil:
		return denied(BySCP, scp.deny)
	case rcp.deny != nil:
		return denied(ByRCP, rcp.deny)
	case endpoint.deny != nil:
		return denied(ByEndpoint, endpoint.deny)
	case resource.deny != nil:
		return denied(ByResource, resource.deny)
	case identity.deny != nil:
		return denied(ByIdentity, identity.deny)
	case boundary.deny != nil:
		return denied(ByBoundary, boundary.deny)
	case session.deny != nil:
		return denied(BySession, session.deny)
	}

	// L1 to L3: guards that need an allow.
	switch {
	case rcp.gap:
		return Decision{By: ByRCP}
	case scp.gap:
		return Decision{By: BySCP}
	case a.Endpoint != nil && endpoint.allow == nil:
		return Decision{By: ByEndpoint}
	}

	if p.Type == Anonymous || p.Type == Service || p.Type == WebIdentity {
		if resource.kinds != 0 {
			return allowed(ByResource, resource.allow)
		}
		return Decision{By: ByResource}
	}
	if e.forbiddenToTemporaryUser() {
		return Decision{By: BySession}
	}
	return e.accountRules(&resource, &identity, &boundary, &session)
}

// accountRules is the end of §5: same account and other account.
func (e *evaluation) accountRules(resource, identity, boundary, session *outcome) Decision {
	p, a := e.p, e.a
	root := p.Type == Root
	i := root || identity.allow != nil
	b := root || e.policies.Boundary == nil || boundary.allow != nil
	s := session.allow != nil ||
		!e.policies.SessionPassed && len(e.policies.Session) == 0 && p.Type != FederatedUser
	grant, delegated := e.grant()
	k := resource.kinds | delegated
	strict := e.strict()

	if p.Account == "" || p.Account != a.Owner {
		switch {
		case k == 0 && grant == nil:
			return Decision{By: ByResource}
		case !i:
			return Decision{By: ByIdentity}
		case !b:
			return Decision{By: ByBoundary}
		case !s:
			return Decision{By: BySession}
		case k == 0:
			return Decision{Allowed: true, By: ByGrant, GrantID: grant.ID}
		}
		return allowed(ByIdentityAndResource, identity.allow)
	}

	if root && !s {
		// A root session for a task (sts:AssumeRoot). A resource policy that names the root means the account's
		// owner, not who borrows it for something else: it does not get around the task's policy.
		return Decision{By: BySession}
	}
	if k&(direct|anyone) != 0 {
		// Permission for the very principal that asks is no identity permission:
		// neither boundary nor session policy limit it.
		return allowed(ByResource, resource.allow)
	}
	if root && (!strict || k&account != 0) {
		return Decision{Allowed: true, By: ByRoot}
	}
	var base Decision
	switch {
	case grant != nil:
		base = Decision{Allowed: true, By: ByGrant, GrantID: grant.ID}
	case k&role != 0:
		base = allowed(ByResource, resource.allow)
	case strict && k&account == 0:
		return Decision{By: ByResource} // nothing delegates to the account
	case i:
		base = allowed(ByIdentity, identity.allow)
	default:
		return Decision{By: ByIdentity}
	}
	switch {
	case !b:
		return Decision{By: ByBoundary}
	case !s:
		return Decision{By: BySession}
	}
	return base
}

// callerIdentity: the question who one is needs no permission and cannot be denied, but
// for a VPC endpoint policy (§5, notes).
func (e *evaluation) callerIdentity() Decision {
	var endpoint outcome
	if e.a.Endpoint != nil {
		e.scan(ByEndpoint, e.a.Endpoint, &endpoint, false)
		if endpoint.deny != nil {
			return denied(ByEndpoint, endpoint.deny)
		}
		if endpoint.allow == nil {
			return Decision{By: ByEndpoint}
		}
	}
	if e.p.Type == Root {
		return Decision{Allowed: true, By: ByRoot}
	}
	return Decision{Allowed: true, By: ByIdentity}
}

// scan asks one document. With spared, its Deny statements do not apply.
func (e *evaluation) scan(by By, d *policy.Document, o *outcome, spared bool) {
	if d == nil {
		return
	}
	// Without a trace the first deny of a type says all, and so does its first allow; of a
	// resource policy every allow counts, for the kinds of its principals.
	all := e.trace != nil
	if d.AllowsEverything() {
		e.scanOpen(by, d, o)
		return
	}
	if !spared && (all || o.deny == nil) {
		e.q.Walk(d, policy.Deny)
		for s := e.q.Next(); s != nil; s = e.q.Next() {
			if len(s.Principals) > 0 && e.speaksOf(s) == 0 || !s.Applies(&e.q) {
				continue
			}
			if o.deny == nil {
				o.deny = d
			}
			if !all {
				return
			}
			e.trace.Deny = append(e.trace.Deny, Matched{by, d, s.Index})
		}
	}
	if !all && by != ByResource && o.allow != nil {
		return
	}
	// Statements of documents without principals speak of their owner directly. Where principals
	// are due, a document without them was put in the wrong place: it allows nobody, but denies.
	unnamed := direct
	if by == ByResource || by == ByRCP || by == ByEndpoint {
		unnamed = 0
	}
	e.q.Walk(d, policy.Allow)
	for s := e.q.Next(); s != nil; s = e.q.Next() {
		k := unnamed
		if len(s.Principals) > 0 {
			k = e.speaksOf(s)
		}
		if k == 0 || !s.Applies(&e.q) {
			continue
		}
		o.kinds |= k
		if o.allow == nil {
			o.allow = d
		}
		switch {
		case all:
			e.trace.Allow = append(e.trace.Allow, Matched{by, d, s.Index})
		case by != ByResource:
			return
		}
	}
}

// scanOpen is scan for a document that allows everything: only whom it speaks of is to be asked.
func (e *evaluation) scanOpen(by By, d *policy.Document, o *outcome) {
	s, k := &d.Statements()[0], direct
	switch {
	case len(s.Principals) > 0:
		k = e.speaksOf(s)
	case by == ByResource || by == ByRCP || by == ByEndpoint:
		k = 0 // see scan
	}
	if k == 0 {
		return
	}
	o.kinds |= k
	if o.allow == nil {
		o.allow = d
	}
	if e.trace != nil {
		e.trace.Allow = append(e.trace.Allow, Matched{by, d, 0})
	}
}

// levels asks documents that limit level by level: each needs an allow of its own.
func (e *evaluation) levels(by By, levels [][]*policy.Document) (all outcome) {
	for _, level := range levels {
		var o outcome
		for _, d := range level {
			e.scan(by, d, &o, false)
		}
		if o.allow == nil {
			all.gap = true
		}
		if all.deny == nil {
			all.deny = o.deny
		}
	}
	return all
}

// underSCPs: the management account, service-linked roles and callers without an
// account are exempt (§4).
func (e *evaluation) underSCPs() bool {
	switch e.p.Type {
	case Anonymous, Service, WebIdentity:
		return false
	}
	return !e.p.ManagementAccount && !e.p.ServiceLinked
}

// repairsBucketPolicy is the exception to D4: the owner's root can always mend a bucket policy.
func (e *evaluation) repairsBucketPolicy() bool {
	return e.p.Type == Root && e.p.Account != "" && e.p.Account == e.a.Owner &&
		(equalAction(e.a.Action, "s3:GetBucketPolicy") ||
			equalAction(e.a.Action, "s3:PutBucketPolicy") ||
			equalAction(e.a.Action, "s3:DeleteBucketPolicy"))
}

// strict says that the resource policy must let identity policies in: for actions on
// a KMS key and for assuming a role, with tags and a source identity, if it is with any: a role that trusts
// somebody does not trust what they say of themselves (sts-and-fas section 3). KMS actions on no key (kms:ListKeys, or on an alias
// alone) have no key policy to ask.
func (e *evaluation) strict() bool {
	if hasPrefixFold(e.a.Action, "sts:AssumeRole") {
		return true
	}
	if e.a.Policy != nil && withAssumeRole(e.a.Action) {
		return true
	}
	if !hasPrefixFold(e.a.Action, "kms:") {
		return false
	}
	return e.a.Policy != nil || len(e.a.Grants) > 0 || isKey(e.a.Resource)
}

// withAssumeRole: these two are no calls, but asked on behalf of one that assumes a role.
func withAssumeRole(action string) bool {
	return equalAction(action, "sts:TagSession") || equalAction(action, "sts:SetSourceIdentity")
}

func isKey(resource string) bool {
	for range 5 {
		_, rest, ok := strings.Cut(resource, ":")
		if !ok {
			return false
		}
		resource = rest
	}
	return strings.HasPrefix(resource, "key/")
}

// forbiddenToTemporaryUser: a GetSessionToken session may not call IAM without MFA, nor
// STS except AssumeRole and GetCallerIdentity (§5, notes).
func (e *evaluation) forbiddenToTemporaryUser() bool {
	if e.p.Type != User || !e.p.TemporaryUser {
		return false
	}
	if hasPrefixFold(e.a.Action, "sts:") {
		return !equalAction(e.a.Action, "sts:AssumeRole") && !withAssumeRole(e.a.Action)
	}
	if !hasPrefixFold(e.a.Action, "iam:") {
		return false
	}
	mfa, _ := e.key("aws:MultiFactorAuthPresent")
	return !strings.EqualFold(mfa, "true")
}

// near says whether caller and resource share an account or an organisation, so that the
// denial may name the policy. Across the accounts of an organisation only what stands above both
// is told: the resource's own policy would tell one that exists from one that does not, and so would
// the caller's, which the caller can write so that it turns on the resource's tags (I-7).
func (e *evaluation) near(by By) bool {
	if e.p.Account != "" && e.p.Account == e.a.Owner {
		return true
	}
	if by != BySCP && by != ByRCP {
		return false
	}
	mine, ok := e.key("aws:PrincipalOrgID")
	theirs, known := e.key("aws:ResourceOrgID")
	return ok && known && mine == theirs
}

// key gives the one value of a condition key.
func (e *evaluation) key(name string) (string, bool) {
	v, ok := e.a.Context.Get(name)
	if !ok && e.q.Call != nil {
		v, ok = e.q.Call.Get(name)
	}
	if !ok || len(v) != 1 {
		return "", false
	}
	return v[0], true
}

func allowed(by By, d *policy.Document) Decision {
	return Decision{Allowed: true, By: by, Policy: label(d)}
}

func denied(by By, d *policy.Document) Decision {
	return Decision{Explicit: true, By: by, Policy: label(d)}
}

func label(d *policy.Document) string {
	if d == nil {
		return ""
	}
	return d.Label()
}

// equalAction compares actions, which have no case.
func equalAction(a, b string) bool { return len(a) == len(b) && hasPrefixFold(a, b) }

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
