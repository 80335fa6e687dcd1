package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/leadglass/leadglass/daemon"
)

// maxQuota keeps every sum of quotas within the 32 bits of GetAccountSummary.
const maxQuota = 10_000_000

// quotas is the flag --quota: "NAME=N[,NAME=N...]", given as often as one likes.
// The names are those that a refusal tells ("Cannot exceed quota for
// UsersPerAccount: 5000"), so that who meets one knows which to raise.
type quotas struct {
	fields map[string]*int // immutable; what each name sets
	set    []string
}

func quotasOf(cfg *daemon.Config) *quotas {
	d, o := &cfg.Directory, &cfg.Organizations
	return &quotas{fields: map[string]*int{
		"UsersPerAccount": &d.Users, "RolesPerAccount": &d.Roles, "GroupsPerAccount": &d.Groups, "GroupsPerUser": &d.GroupsPerUser,
		"InstanceProfilesPerAccount": &d.Profiles, "PoliciesPerAccount": &d.Policies, "PoliciesPerPrincipal": &d.AttachedPolicies,
		"ACLSizePerRole":          &d.TrustPolicy,
		"AccountsPerOrganization": &o.Accounts, "UnitsPerOrganization": &o.Units, "PoliciesPerOrganization": &o.Policies,
	}}
}

func (q *quotas) Set(text string) error {
	for one := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(one, "=")
		field := q.fields[strings.TrimSpace(name)]
		if field == nil {
			return fmt.Errorf("no quota %q: there are %s", strings.TrimSpace(name), strings.Join(slices.Sorted(maps.Keys(q.fields)), ", "))
		}
		n, err := strconv.Atoi(strings.TrimSpace(number))
		if err != nil || n < 1 || n > maxQuota {
			return fmt.Errorf("quota %s: use a number from 1 to %d", strings.TrimSpace(name), maxQuota)
		}
		*field = n
		q.set = append(q.set, strings.TrimSpace(one))
	}
	return nil
}

func (q *quotas) String() string { return strings.Join(q.set, ",") }

func (q *quotas) Type() string { return "name=n" }
