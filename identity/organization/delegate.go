package organization

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/policy"
)

// IAM is the service that central management of root access belongs to.
const IAM = "iam.amazonaws.com"

// services are the service principals that an organization can give access to:
// those of services that are in this house.
var services = []string{
	"access-analyzer.amazonaws.com", "account.amazonaws.com", "cloudtrail.amazonaws.com", IAM, "kms.amazonaws.com", "s3.amazonaws.com",
}

// maxDelegated is how many accounts may administer one service.
const maxDelegated = 5

// A Service is a service principal and since when it has what it has.
type Service struct {
	Principal string
	Since     time.Time
}

func servicesOf(records []serviceRecord) []Service {
	var all []Service
	for _, r := range records {
		all = append(all, Service{r.Principal, instant(r.Since)})
	}
	slices.SortFunc(all, func(a, b Service) int { return strings.Compare(a.Principal, b.Principal) })
	return all
}

func hasService(records []serviceRecord, principal string) bool {
	return slices.ContainsFunc(records, func(r serviceRecord) bool { return r.Principal == principal })
}

func without(records []serviceRecord, principal string) []serviceRecord {
	return slices.DeleteFunc(slices.Clone(records), func(r serviceRecord) bool { return r.Principal == principal })
}

func checkService(principal string) error {
	if !slices.Contains(services, principal) {
		return invalid("UNRECOGNIZED_SERVICE_PRINCIPAL", "You specified an unrecognized service principal.")
	}
	return nil
}

// Services are those with access to the organization.
func (o *Organizations) Services(org string) []Service {
	o.mu.RLock()
	defer o.mu.RUnlock()
	h, ok := o.st.orgs[org]
	if !ok {
		return nil
	}
	return servicesOf(h.rec.Services)
}

// EnableService gives a service access to the organization. To do it again
// changes nothing.
func (o *Organizations) EnableService(ctx context.Context, org, principal string) error {
	if err := checkService(principal); err != nil {
		return err
	}
	return o.edit(ctx, org, func(rec *orgRecord) error {
		if !hasService(rec.Services, principal) {
			rec.Services = append(slices.Clip(rec.Services), serviceRecord{Principal: principal, Since: o.clock.Now().UnixMilli()})
		}
		return nil
	})
}

// DisableService takes a service's access, and what rests on it, back.
func (o *Organizations) DisableService(ctx context.Context, org, principal string) error {
	if err := checkService(principal); err != nil {
		return err
	}
	return o.edit(ctx, org, func(rec *orgRecord) error {
		for _, m := range o.st.members {
			if m.rec.Org == org && hasService(m.rec.Delegated, principal) {
				return violates("DELEGATED_ADMINISTRATOR_EXISTS_FOR_THIS_SERVICE", "You attempted to disable a service that has a delegated administrator. Deregister it first.")
			}
		}
		rec.Services = without(rec.Services, principal)
		if principal == IAM {
			rec.Sessions, rec.Roots = false, false
		}
		return nil
	})
}

// edit changes an organization's own record.
func (o *Organizations) edit(ctx context.Context, org string, change func(*orgRecord) error) error {
	return o.change(ctx, func(t *tx) error {
		h, ok := o.st.orgs[org]
		if !ok {
			return errNotInUse
		}
		rec := clone(h)
		if err := change(rec); err != nil {
			return err
		}
		rec.Generation++
		t.put(key(sectionOrganization, org), rec, h.mod)
		return nil
	})
}

// Delegated are the services that an account administers for its organization.
func (o *Organizations) Delegated(org, account string) ([]Service, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	m, ok := o.st.members[account]
	if !ok || m.rec.Org != org {
		return nil, errAccount
	}
	if len(m.rec.Delegated) == 0 {
		return nil, refuse(AccountNotRegistered, "The specified account is not a delegated administrator for this AWS service.")
	}
	return servicesOf(m.rec.Delegated), nil
}

// An Administrator is an account that administers services.
type Administrator struct {
	Account
	Since time.Time // of its first registration
}

// Administrators are the accounts that administer a service, or any if principal is empty.
func (o *Organizations) Administrators(org, principal string) []Administrator {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var all []Administrator
	for id, m := range o.st.members {
		if m.rec.Org != org || len(m.rec.Delegated) == 0 || principal != "" && !hasService(m.rec.Delegated, principal) {
			continue
		}
		since := m.rec.Delegated[0].Since
		for _, d := range m.rec.Delegated {
			since = min(since, d.Since)
		}
		all = append(all, Administrator{o.account(org, id), instant(since)})
	}
	slices.SortFunc(all, func(a, b Administrator) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// IsAdministrator says whether an account administers a service (any, if
// principal is empty) for its organization.
func (o *Organizations) IsAdministrator(account, principal string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	m, ok := o.st.members[account]
	if !ok {
		return false
	}
	return hasService(m.rec.Delegated, principal) || principal == "" && len(m.rec.Delegated) > 0
}

// RegisterAdministrator lets a member administer a service.
func (o *Organizations) RegisterAdministrator(ctx context.Context, org, account, principal string) error {
	if err := checkService(principal); err != nil {
		return err
	}
	return o.change(ctx, func(t *tx) error {
		h, ok := o.st.orgs[org]
		m, member := o.st.members[account]
		switch _, closed := o.st.closed[account]; {
		case !ok:
			return errNotInUse
		case !member || m.rec.Org != org:
			return errAccount
		case h.rec.Management == account:
			return violates("CANNOT_REGISTER_MASTER_AS_DELEGATED_ADMINISTRATOR", "You attempted to register the management account of the organization as a delegated administrator for an AWS service integrated with Organizations. You can designate only a member account as a delegated administrator.")
		case closed:
			return violates("CANNOT_REGISTER_SUSPENDED_ACCOUNT_AS_DELEGATED_ADMINISTRATOR", "You attempted to register a suspended account as a delegated administrator.")
		case !hasService(h.rec.Services, principal):
			return violates("SERVICE_ACCESS_NOT_ENABLED", "You attempted to register a delegated administrator before you enabled service access. Call the EnableAWSServiceAccess API first.")
		case hasService(m.rec.Delegated, principal):
			return refuse(AccountAlreadyRegistered, "The specified account is already a delegated administrator for this AWS service.")
		}
		n := 0
		for _, other := range o.st.members {
			if other.rec.Org == org && hasService(other.rec.Delegated, principal) {
				n++
			}
		}
		if n >= maxDelegated {
			return violates("MAX_DELEGATED_ADMINISTRATORS_FOR_SERVICE_LIMIT_EXCEEDED", "You attempted to register more delegated administrators than allowed for the service principal.")
		}
		rec := clone(m)
		rec.Delegated = append(slices.Clip(rec.Delegated), serviceRecord{Principal: principal, Since: o.clock.Now().UnixMilli()})
		t.org(org, h, nil)
		t.put(key(sectionMember, account), rec, m.mod)
		return nil
	})
}

// DeregisterAdministrator takes it back.
func (o *Organizations) DeregisterAdministrator(ctx context.Context, org, account, principal string) error {
	if err := checkService(principal); err != nil {
		return err
	}
	return o.change(ctx, func(t *tx) error {
		m, ok := o.st.members[account]
		switch {
		case !ok || m.rec.Org != org:
			return errAccount
		case !hasService(m.rec.Delegated, principal):
			return refuse(AccountNotRegistered, "The specified account is not a delegated administrator for this AWS service.")
		}
		rec := clone(m)
		rec.Delegated = without(rec.Delegated, principal)
		t.org(org, o.st.orgs[org], nil)
		t.put(key(sectionMember, account), rec, m.mod)
		return nil
	})
}

// A Feature is a part of the central management of root access.
type Feature string

// The features.
const (
	RootSessions    Feature = "RootSessions"
	RootCredentials Feature = "RootCredentialsManagement"
)

// Features are those that are enabled.
func (o *Organizations) Features(org string) (all []Feature) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if h, ok := o.st.orgs[org]; ok {
		return featuresOf(h.rec)
	}
	return nil
}

func featuresOf(rec *orgRecord) (all []Feature) {
	if rec.Roots {
		all = append(all, RootCredentials)
	}
	if rec.Sessions {
		all = append(all, RootSessions)
	}
	return all
}

// ErrServiceAccess: IAM has no access to the organization.
var ErrServiceAccess = errors.New("organization: IAM has no access to the organization")

// SetFeature enables or disables a feature, and gives those that are enabled then.
func (o *Organizations) SetFeature(ctx context.Context, org string, f Feature, on bool) (all []Feature, err error) {
	err = o.edit(ctx, org, func(rec *orgRecord) error {
		if !hasService(rec.Services, IAM) {
			return ErrServiceAccess
		}
		if f == RootSessions {
			rec.Sessions = on
		} else {
			rec.Roots = on
		}
		all = featuresOf(rec)
		return nil
	})
	return all, err
}

// MayAssumeRoot says whether principals of account may have a root session of
// target: of another member of their organization that has the feature on, and
// from the management account or IAM's administrator.
func (o *Organizations) MayAssumeRoot(account, target string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	m, ok := o.st.members[account]
	t, member := o.st.members[target]
	if !ok || !member || m.rec.Org != t.rec.Org {
		return false
	}
	h, ok := o.st.orgs[m.rec.Org]
	_, closed := o.st.closed[target]
	return ok && !closed && h.rec.Sessions && target != h.rec.Management && target != account &&
		(account == h.rec.Management || hasService(m.rec.Delegated, IAM))
}

// A ResourcePolicy says which members may do what in the organization.
type ResourcePolicy struct{ ID, ARN, Text string }

// Delegation is the compiled resource policy of an organization, nil without
// one. Principals are bound to their unique ids.
func (o *Organizations) Delegation(org string) *policy.Document {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.st.delegations[org]
}

// ResourcePolicy finds an organization's resource policy.
func (o *Organizations) ResourcePolicy(org string) (ResourcePolicy, error) {
	o.mu.RLock()
	h, ok := o.st.orgs[org]
	o.mu.RUnlock()
	if !ok || h.rec.Delegation == nil {
		return ResourcePolicy{}, errResourcePolicy
	}
	d := h.rec.Delegation
	return ResourcePolicy{
		ID: d.ID, ARN: arnOf(h.rec.Management, "resourcepolicy", org, d.ID), Text: o.directory.ShowPrincipals(d.Text, d.Bound),
	}, nil
}

var errResourcePolicy = &Error{Code: ResourcePolicyNotFound, Message: "We can't find a resource policy request with the parameter that you specified."}

// PutResourcePolicy sets the resource policy. It may let members look and
// manage policies and tags, not change who is in the organization.
func (o *Organizations) PutResourcePolicy(ctx context.Context, org, text string, tags []Tag) (ResourcePolicy, error) {
	if err := checkTags(tags); err != nil {
		return ResourcePolicy{}, err
	}
	doc, err := policy.Parse(policy.Resource, []byte(text))
	if err != nil {
		return ResourcePolicy{}, invalid("INVALID_RESOURCE_POLICY_JSON", "The provided resource policy is not valid: %v", err)
	}
	if err := o.checkDelegation(org, doc); err != nil {
		return ResourcePolicy{}, err
	}
	bound, err := o.directory.BindPrincipals(doc)
	if directory.CodeOf(err) == directory.MalformedPolicyDocument {
		return ResourcePolicy{}, errPrincipal
	}
	if err != nil {
		return ResourcePolicy{}, err
	}
	err = o.edit(ctx, org, func(rec *orgRecord) error {
		d := &delegateRecord{ID: "rp-" + random(8), Text: text, Bound: bound, Tags: tagRecords(tags)}
		if was := rec.Delegation; was != nil {
			if len(tags) > 0 {
				return invalid("INVALID_LIST_MEMBER", "Tags can be given only when the resource policy is made. Use TagResource.")
			}
			d.ID, d.Tags = was.ID, was.Tags
		}
		rec.Delegation = d
		return nil
	})
	if err != nil {
		return ResourcePolicy{}, err
	}
	return o.ResourcePolicy(org)
}

// DeleteResourcePolicy deletes it.
func (o *Organizations) DeleteResourcePolicy(ctx context.Context, org string) error {
	return o.edit(ctx, org, func(rec *orgRecord) error {
		if rec.Delegation == nil {
			return errResourcePolicy
		}
		rec.Delegation = nil
		return nil
	})
}

var errPrincipal = &Error{Code: InvalidInput, Reason: "INVALID_PRINCIPAL", Message: "The resource policy names a principal that is no member account of the organization, or nothing in one."}

// delegable are the actions that a resource policy may speak of.
var delegable = []string{
	"AttachPolicy", "CreatePolicy", "DeletePolicy", "DescribeAccount", "DescribeCreateAccountStatus", "DescribeEffectivePolicy",
	"DescribeHandshake", "DescribeOrganization", "DescribeOrganizationalUnit", "DescribePolicy", "DescribeResourcePolicy", "DetachPolicy",
	"DisablePolicyType", "EnablePolicyType", "ListAWSServiceAccessForOrganization", "ListAccounts", "ListAccountsForParent",
	"ListChildren", "ListCreateAccountStatus", "ListDelegatedAdministrators", "ListDelegatedServicesForAccount",
	"ListHandshakesForOrganization", "ListOrganizationalUnitsForParent", "ListParents", "ListPolicies", "ListPoliciesForTarget",
	"ListRoots", "ListTagsForResource", "ListTargetsForPolicy", "TagResource", "UntagResource", "UpdatePolicy",
}

func (o *Organizations) checkDelegation(org string, doc *policy.Document) error {
	for i := range doc.Statements() {
		s := &doc.Statements()[i]
		if s.NotPrincipal {
			return errPrincipal
		}
		if s.NotAction || s.NotResource {
			return invalid("INVALID_RESOURCE_POLICY_JSON", "NotAction and NotResource are not allowed in a resource policy of an organization.")
		}
		for _, a := range s.Actions {
			if !isDelegable(a) {
				return invalid("UNSUPPORTED_ACTION_IN_RESOURCE_POLICY", "%s can't be delegated by a resource policy.", a)
			}
		}
		for j := range s.Resources {
			if r := s.Resources[j].Text(); r != "*" && !strings.HasPrefix(r, "arn:aws:organizations::") {
				return invalid("UNSUPPORTED_RESOURCE_IN_RESOURCE_POLICY", "%s is no resource of an organization.", r)
			}
		}
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, p := range doc.Principals() {
		m, ok := o.st.members[p.Account]
		if p.Type != "AWS" || p.Form == policy.FormEveryone || !arn.IsAccount(p.Account) || !ok || m.rec.Org != org {
			return errPrincipal
		}
	}
	return nil
}

// isDelegable takes the actions above, and all that only looks.
func isDelegable(action string) bool {
	service, name, ok := strings.Cut(action, ":")
	if !ok || !strings.EqualFold(service, "organizations") {
		return false
	}
	return strings.EqualFold(name, "Describe*") || strings.EqualFold(name, "List*") ||
		slices.ContainsFunc(delegable, func(d string) bool { return strings.EqualFold(d, name) })
}
