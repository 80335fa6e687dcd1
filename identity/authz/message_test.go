package authz_test

import (
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

// Section 6, whole: every type of policy, explicit and implicit, told to a caller of the same account, of the same
// organization, and of elsewhere, who must learn nothing but that it was denied.
func TestEveryTypeOfPolicyIsToldInAWSsWords(t *testing.T) {
	const (
		start   = "User: " + alice + " is not authorized to perform: s3:GetObject on resource: " + object
		label   = "arn:aws:iam::111111111111:policy/p"
		denyAll = `{"Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`
		other   = `{"Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`
		public  = `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}]}`
		others  = `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]}`
	)
	all := parse(t, policy.Identity, allowAll)
	named := func(k policy.Kind, text string) *policy.Document { return parse(t, k, text).Named(label) }
	one := func(d *policy.Document) []*policy.Document { return []*policy.Document{d} }
	// For strangers the resource's policy must let them in, or its silence would be the reason.
	open := parse(t, policy.Resource, `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"s3:*","Resource":"*"}]}`)
	for _, c := range []struct {
		name               string
		put                func(p *authz.Policies, a *authz.Ask, deny bool)
		explicit, implicit string
		policyNamed        bool
	}{
		{"service control policy", func(p *authz.Policies, a *authz.Ask, deny bool) {
			p.SCPs = [][]*policy.Document{one(named(policy.SCP, choose(deny, denyAll, other)))}
		}, " with an explicit deny in a service control policy", " because no service control policy allows the s3:GetObject action", true},
		{"resource control policy", func(p *authz.Policies, a *authz.Ask, deny bool) {
			a.RCPs = [][]*policy.Document{one(named(policy.ManagedRCP, choose(deny, public, others)))}
		}, " with an explicit deny in a resource control policy", " because no resource control policy allows the s3:GetObject action", true},
		{"VPC endpoint policy", func(p *authz.Policies, a *authz.Ask, deny bool) {
			a.Endpoint = named(policy.Endpoint, choose(deny, public, others))
		}, " with an explicit deny in a VPC endpoint policy", " because no VPC endpoint policy allows the s3:GetObject action", false},
		{"resource-based policy", func(p *authz.Policies, a *authz.Ask, deny bool) {
			if a.Policy = nil; deny {
				a.Policy = named(policy.Resource, public)
			}
			if a.Owner == "111111111111" && !deny { // in one account only strict actions need the resource's word
				a.Policy, a.Action = parse(t, policy.Trust, `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"sts:AssumeRole"}]}`), "kms:GetObject"
			}
		}, " with an explicit deny in a resource-based policy", " because no resource-based policy allows the s3:GetObject action", false},
		{"identity-based policy", func(p *authz.Policies, a *authz.Ask, deny bool) {
			p.Identity = one(named(policy.Identity, choose(deny, denyAll, other)))
		}, " with an explicit deny in an identity-based policy", " because no identity-based policy allows the s3:GetObject action", true},
		{"permissions boundary", func(p *authz.Policies, a *authz.Ask, deny bool) {
			p.Boundary = named(policy.Boundary, choose(deny, denyAll, other))
		}, " with an explicit deny in a permissions boundary", " because no permissions boundary allows the s3:GetObject action", true},
		{"session policy", func(p *authz.Policies, a *authz.Ask, deny bool) {
			p.Session, p.SessionPassed = one(named(policy.Session, choose(deny, denyAll, other))), true
		}, " with an explicit deny in a session policy", " because no session policy allows the s3:GetObject action", true},
	} {
		for _, deny := range []bool{true, false} {
			want := choose(deny, c.explicit, c.implicit)
			if deny && c.policyNamed {
				want += ": " + label
			}
			for _, place := range []struct{ name, owner, org string }{
				{"the same account", "111111111111", ""}, {"the same organization", "222222222222", "o-a"}, {"another organization", "222222222222", "o-b"}, {"elsewhere", "222222222222", ""},
			} {
				p := &authz.Policies{Identity: one(all)}
				a := authz.Ask{Action: "s3:GetObject", Resource: object, Owner: place.owner, Policy: open}
				c.put(p, &a, deny)
				common := new(authz.Keys)
				common.Set("aws:PrincipalOrgID", "o-a")
				if place.org != "" {
					a.Context.Set("aws:ResourceOrgID", place.org)
				}
				d := authz.Decide(&authz.Request{Principal: user(), Policies: p, Ask: &a, Common: common}, nil)
				told := start
				// Inside an organization only its own policies are told: any other reason would tell whether the other account's
				// policy allows, and so whether the resource is there (I-7).
				ofOrganization := c.name == "service control policy" || c.name == "resource control policy"
				if place.name == "the same account" || place.name == "the same organization" && ofOrganization {
					told += want
				}
				told = strings.ReplaceAll(told, "s3:GetObject", a.Action)
				if got := d.Message(user(), &a); d.Allowed || d.Explicit != deny || got != told {
					t.Errorf("%s, %s, explicit %t: %+v\n got %s\nwant %s", c.name, place.name, deny, d, got, told)
				}
			}
		}
	}
}

func choose(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
