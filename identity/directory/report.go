package directory

import (
	"slices"
	"strings"

	"github.com/leadglass/leadglass/identity/policy"
)

// Listings about a whole account: who uses a policy, everything there is, and
// how much of it.

// An EntityFilter narrows EntitiesForPolicy.
type EntityFilter struct {
	Kind  Kind   // UserKind, RoleKind or GroupKind; 0: all
	Usage string // "", "PermissionsPolicy" or "PermissionsBoundary"
}

// A PolicyEntity is a user, role or group that has a managed policy.
type PolicyEntity struct {
	Kind     Kind
	Name, ID string
}

// EntitiesForPolicy lists who has a managed policy attached or as boundary,
// under a path: groups, then users, then roles, each by name.
func (d *Directory) EntitiesForPolicy(account, policyARN string, f EntityFilter, list List) (Page[PolicyEntity], error) {
	prefix, err := checkPrefix(list.PathPrefix)
	if err != nil {
		return Page[PolicyEntity]{}, err
	}
	r, err := d.need(account)
	if err != nil {
		return Page[PolicyEntity]{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if d.managed[policyARN] == nil && r.byARN[policyARN] == nil {
		return Page[PolicyEntity]{}, noSuchPolicy(policyARN)
	}
	attached, bounded := r.users[policyARN], r.bounded[policyARN]
	if f.Usage == "PermissionsBoundary" {
		attached = nil
	}
	if f.Usage == "PermissionsPolicy" {
		bounded = nil
	}
	var parts []part[PolicyEntity]
	for _, kind := range []Kind{GroupKind, UserKind, RoleKind} {
		if f.Kind != 0 && f.Kind != kind {
			continue
		}
		all := r.having(kind, attached, bounded)
		parts = append(parts, part[PolicyEntity]{len(all), func(i int) string { return kind.rank() + all[i].name }, func(i int) (it PolicyEntity, ok bool) {
			if !strings.HasPrefix(all[i].path, prefix) || !within(all[i].e, attached, bounded) {
				return it, false
			}
			return PolicyEntity{kind, all[i].e.rec.Name, all[i].e.rec.ID}, true
		}})
	}
	return pageOfParts(list, parts)
}

func within(e *entity, sets ...map[*entity]struct{}) bool {
	for _, s := range sets {
		if _, ok := s[e]; ok {
			return true
		}
	}
	return false
}

// having lists the entities of a kind that may be in one of the sets, in order,
// each once: those of small sets are put in order, for large ones everything is
// in order already. Caller holds r.mu.
func (r *realm) having(kind Kind, sets ...map[*entity]struct{}) []listed {
	n := 0
	for _, s := range sets {
		n += len(s)
	}
	if n > len(r.order[kind])/16 {
		return r.order[kind]
	}
	var all []listed
	for _, s := range sets {
		for e := range s {
			if e.rec.Kind == kind {
				all = append(all, listed{e.folded, e.rec.Path, e})
			}
		}
	}
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	return slices.Compact(all)
}

// A part is one of several lists that are paged one behind the other, without
// making one of them. Its keys are greater than those of the part before.
type part[T any] struct {
	n    int
	key  func(i int) string
	item func(i int) (T, bool)
}

func pageOfParts[T any](list List, parts []part[T]) (Page[T], error) {
	n := 0
	for _, p := range parts {
		n += p.n
	}
	at := func(i int) (part[T], int) {
		for _, p := range parts {
			if i < p.n {
				return p, i
			}
			i -= p.n
		}
		return part[T]{}, 0
	}
	return pageOf(list, n, func(i int) string { p, k := at(i); return p.key(k) }, func(i int) (T, bool) { p, k := at(i); return p.item(k) })
}

// rank orders the kinds in lists of several.
func (k Kind) rank() string {
	switch k {
	case GroupKind:
		return "1"
	case UserKind:
		return "2"
	case RoleKind:
		return "3"
	}
	return "4"
}

// An Inline is an inline policy with its text.
type Inline struct{ Name, Document string }

// A Detail is all that there is to say of one user, group, role or managed
// policy; the member of its Kind is set.
type Detail struct {
	Kind     Kind
	User     User
	Group    Group
	Role     Role
	Policy   Policy
	Inline   []Inline
	Attached []Attached
	Groups   []string          // names, of a user
	Profiles []InstanceProfile // of a role
	Versions []Version         // of a policy, with their documents
}

// A DetailFilter says what AuthorizationDetails lists; the zero filter: all.
type DetailFilter struct{ Users, Groups, Roles, Local, Managed bool }

// AuthorizationDetails lists users, groups, roles and managed policies with all
// that belongs to them. Of the operator's policies those that the account uses.
func (d *Directory) AuthorizationDetails(account string, f DetailFilter, list List) (Page[Detail], error) {
	if f == (DetailFilter{}) {
		f = DetailFilter{true, true, true, true, true}
	}
	r, err := d.need(account)
	if err != nil {
		return Page[Detail]{}, err
	}
	page, err := d.detailPage(r, f, list)
	if err != nil {
		return Page[Detail]{}, err
	}
	for i := range page.Items {
		d.showTrust(&page.Items[i].Role)
		d.showRoles(page.Items[i].Profiles)
	}
	return page, nil
}

func (d *Directory) detailPage(r *realm, f DetailFilter, list List) (Page[Detail], error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var parts []part[Detail]
	for _, kind := range []Kind{GroupKind, UserKind, RoleKind} {
		if kind == GroupKind && f.Groups || kind == UserKind && f.Users || kind == RoleKind && f.Roles {
			all := r.order[kind]
			parts = append(parts, part[Detail]{len(all), func(i int) string { return kind.rank() + all[i].name }, func(i int) (Detail, bool) { return d.detail(all[i].e), true }})
		}
	}
	if f.Local {
		names := r.policyNames()
		parts = append(parts, part[Detail]{len(names), func(i int) string { return "5" + names[i] }, func(i int) (Detail, bool) { return r.policyDetail(r.byName[names[i]]), true }})
	}
	if f.Managed {
		var used []*operatorPolicy
		for _, a := range operatorOrder(d.managed) {
			if len(r.users[a])+len(r.bounded[a]) > 0 {
				used = append(used, d.managed[a])
			}
		}
		parts = append(parts, part[Detail]{len(used), func(i int) string { return "6" + fold(used[i].name) }, func(i int) (Detail, bool) {
			return Detail{Kind: PolicyKind, Policy: used[i].in(r), Versions: []Version{used[i].version()}}, true
		}})
	}
	return pageOfParts(list, parts)
}

// detail is all about a user, group or role. Caller holds realm.write or realm.mu.
func (d *Directory) detail(e *entity) Detail {
	it := Detail{Kind: e.rec.Kind}
	for _, in := range e.rec.Inline {
		it.Inline = append(it.Inline, Inline{in.Name, in.Text})
	}
	for _, a := range e.rec.Attached {
		it.Attached = append(it.Attached, Attached{a, lastSegment(a)})
	}
	switch e.rec.Kind {
	case UserKind:
		it.User = e.user()
		for _, g := range e.groups() {
			it.Groups = append(it.Groups, g.Name)
		}
	case GroupKind:
		it.Group = e.group()
	case RoleKind:
		it.Role, it.Profiles = e.role(), e.profiles()
	}
	return it
}

// policyDetail is a managed policy with the texts of its versions. Caller holds
// r.write or r.mu.
func (r *realm) policyDetail(m *managed) Detail {
	it := Detail{Kind: PolicyKind, Policy: r.policy(m)}
	for _, v := range slices.Backward(m.rec.Versions) {
		if text := r.versions[m.id][v.Number]; text != nil {
			it.Versions = append(it.Versions, Version{ID: versionID(v.Number), Document: text.text, Default: v.Number == m.rec.Default, Created: instant(v.Created)})
		}
	}
	return it
}

// AccountSummary counts what the account has and says how much it may have, by
// the names that GetAccountSummary has for it. What Leadglass does not have
// (certificates, a root user's keys and password) is zero.
func (d *Directory) AccountSummary(account string) (map[string]int, error) {
	r, err := d.need(account)
	if err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	versions := 0
	for _, m := range r.policies {
		versions += len(m.rec.Versions)
	}
	devices, inUse := r.countMFA()
	q := d.quotas
	return map[string]int{
		"MFADevices": devices, "MFADevicesInUse": inUse,
		"Users": len(r.order[UserKind]), "UsersQuota": q.Users,
		"Groups": len(r.order[GroupKind]), "GroupsQuota": q.Groups, "GroupsPerUserQuota": q.GroupsPerUser,
		"Roles": len(r.order[RoleKind]), "RolesQuota": q.Roles,
		"InstanceProfiles": len(r.order[ProfileKind]), "InstanceProfilesQuota": q.Profiles,
		"Policies": len(r.policies), "PoliciesQuota": q.Policies, "PolicySizeQuota": policy.LimitManaged,
		"PolicyVersionsInUse": versions, "PolicyVersionsInUseQuota": q.Policies * policy.ManagedVersions, "VersionsPerPolicyQuota": policy.ManagedVersions,
		"AttachedPoliciesPerUserQuota": q.AttachedPolicies, "AttachedPoliciesPerRoleQuota": q.AttachedPolicies, "AttachedPoliciesPerGroupQuota": q.AttachedPolicies,
		"UserPolicySizeQuota": policy.LimitInlineUser, "GroupPolicySizeQuota": policy.LimitInlineGroup, "RolePolicySizeQuota": policy.LimitInlineRole,
		"AssumeRolePolicySizeQuota": q.TrustPolicy, "AccessKeysPerUserQuota": keysPerUser,
		"AccountAccessKeysPresent": 0, "AccountPasswordPresent": 0, "AccountMFAEnabled": 0, "AccountSigningCertificatesPresent": 0,
		"ServerCertificates": 0, "ServerCertificatesQuota": 0, "SigningCertificatesPerUserQuota": 0,
	}, nil
}
