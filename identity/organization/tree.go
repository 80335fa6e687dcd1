package organization

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/state/kv"
)

// An Organization is what DescribeOrganization tells.
type Organization struct {
	ID, ARN         string
	Management      string // account
	ManagementARN   string
	ManagementEmail string
}

// A Root is the top of an organization.
type Root struct {
	ID, ARN, Name string
	Types         []Type // enabled
}

// A Unit is an organizational unit.
type Unit struct{ ID, ARN, Name, Path string }

// Kinds of what a policy can be attached to and a tag can hang on.
const (
	KindRoot    = "ROOT"
	KindUnit    = "ORGANIZATIONAL_UNIT"
	KindAccount = "ACCOUNT"
)

// A Node is a root, unit or account as a parent, child or target.
type Node struct{ ID, ARN, Name, Kind string }

// Of finds the organization of an account.
func (o *Organizations) Of(account string) (Organization, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	m, ok := o.st.members[account]
	if !ok {
		return Organization{}, false
	}
	h, ok := o.st.orgs[m.rec.Org]
	if !ok {
		return Organization{}, false
	}
	return o.organization(m.rec.Org, h.rec), true
}

// organization is the exported form. Caller holds mu or write.
func (o *Organizations) organization(id string, rec *orgRecord) Organization {
	return Organization{
		ID: id, ARN: arnOf(rec.Management, "organization", id, ""), Management: rec.Management,
		ManagementARN: arnOf(rec.Management, "account", id, rec.Management), ManagementEmail: o.email(rec.Management),
	}
}

// email is an account's address. Accounts that the operator opened have none:
// the address then says so in a domain that can never exist (RFC 2606), as the
// shape must hold one.
func (o *Organizations) email(account string) string {
	if m, ok := o.st.members[account]; ok && m.rec.Email != "" {
		return m.rec.Email
	}
	return account + "@account.leadglass.invalid"
}

// CreateOrganization makes an account the management account of a new
// organization. The operator's account cannot be one (I-13).
func (o *Organizations) CreateOrganization(ctx context.Context, account string) (Organization, error) {
	a, ok := o.directory.Account(account)
	if !ok || a.Operator {
		return Organization{}, refuse(AccessDenied, "The operator's account takes no part in organizations.")
	}
	var out Organization
	err := o.change(ctx, func(t *tx) error {
		if _, ok := o.st.members[account]; ok {
			return refuse(AlreadyInOrganization, "The provided account is already a member of an organization.")
		}
		id, now := "o-"+random(10), o.clock.Now().UnixMilli()
		rec := &orgRecord{Management: account, Created: now, Root: "r-" + random(4), Generation: 1}
		t.put(key(sectionOrganization, id), rec, 0)
		// The account may have been a closed member before; a closed one cannot call. It joins as any other.
		t.put(key(sectionMember, account), &memberRecord{Org: id, Parent: rec.Root, Joined: now}, 0)
		out = o.organization(id, rec)
		return nil
	})
	return out, err
}

// DeleteOrganization dissolves an organization that has no other member.
// Accounts that were closed longer than ClosedLife ago do not count; they stay
// closed.
func (o *Organizations) DeleteOrganization(ctx context.Context, org string) error {
	for {
		left := 0
		err := o.change(ctx, func(t *tx) error {
			h, ok := o.st.orgs[org]
			if !ok {
				return errNotInUse
			}
			var gone []string // long closed
			for account, m := range o.st.members {
				if m.rec.Org != org || account == h.rec.Management {
					continue
				}
				if c, closed := o.st.closed[account]; !closed || o.clock.Now().Before(instant(c.rec.Since).Add(ClosedLife)) {
					return refuse(OrganizationNotEmpty, "The organization isn't empty. To delete an organization, you must first remove all accounts except the management account.")
				}
				gone = append(gone, account)
			}
			slices.Sort(gone)
			batch := gone[:min(len(gone), membersPerCommit)]
			for _, account := range batch {
				t.delete(key(sectionMember, account), o.st.members[account].mod)
			}
			if left = len(gone) - len(batch); left > 0 {
				t.org(org, h, nil)
				return nil
			}
			t.delete(key(sectionMember, h.rec.Management), o.st.members[h.rec.Management].mod)
			t.delete(key(sectionOrganization, org), h.mod)
			for _, section := range []string{sectionUnit, sectionPolicy, sectionHandshake, sectionCreation} {
				t.drop(key(section, org))
			}
			return nil
		})
		if err != nil || left == 0 {
			return err
		}
	}
}

// membersPerCommit keeps a dissolution within what one commit can hold.
const membersPerCommit = kv.MaxOps / 4

// Roots are the roots of an organization: one.
func (o *Organizations) Roots(org string) []Root {
	o.mu.RLock()
	defer o.mu.RUnlock()
	h, ok := o.st.orgs[org]
	if !ok {
		return nil
	}
	return []Root{rootOf(org, h.rec)}
}

func rootOf(org string, rec *orgRecord) Root {
	r := Root{ID: rec.Root, ARN: arnOf(rec.Management, "root", org, rec.Root), Name: "Root"}
	for i := range rec.Types {
		r.Types = append(r.Types, rec.Types[i].Type)
	}
	return r
}

// Node finds a root, unit or member account of an organization.
func (o *Organizations) Node(org, id string) (Node, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.node(org, id)
}

// node is Node for callers that hold mu or write.
func (o *Organizations) node(org, id string) (Node, bool) {
	h, ok := o.st.orgs[org]
	if !ok {
		return Node{}, false
	}
	if id == h.rec.Root {
		return Node{id, arnOf(h.rec.Management, "root", org, id), "Root", KindRoot}, true
	}
	if u, ok := o.st.units[org][id]; ok {
		return Node{id, arnOf(h.rec.Management, "ou", org, id), u.rec.Name, KindUnit}, true
	}
	if m, ok := o.st.members[id]; ok && m.rec.Org == org {
		a, _ := o.directory.Account(id)
		return Node{id, arnOf(h.rec.Management, "account", org, id), a.Name, KindAccount}, true
	}
	return Node{}, false
}

// isParent says whether id is the root or a unit. Caller holds mu or write.
func (o *Organizations) isParent(org, id string) bool {
	n, ok := o.node(org, id)
	return ok && n.Kind != KindAccount
}

// path is aws:PrincipalOrgPaths of a parent. Caller holds mu or write.
func (o *Organizations) path(org, id string) string {
	h, u := o.st.orgs[org], o.st.units[org]
	path := ""
	for depth := 0; depth <= MaxDepth && id != h.rec.Root; depth++ {
		at, ok := u[id]
		if !ok {
			break
		}
		path, id = id+"/"+path, at.rec.Parent
	}
	return org + "/" + h.rec.Root + "/" + path
}

// depth counts the units from the root down to id. Caller holds mu or write.
func (o *Organizations) depth(org, id string) int {
	return strings.Count(o.path(org, id), "/") - 2
}

// unit is the exported form. Caller holds mu or write.
func (o *Organizations) unit(org, id string) Unit {
	h, u := o.st.orgs[org], o.st.units[org][id]
	return Unit{ID: id, ARN: arnOf(h.rec.Management, "ou", org, id), Name: u.rec.Name, Path: o.path(org, id)}
}

// Unit finds an organizational unit.
func (o *Organizations) Unit(org, id string) (Unit, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if _, ok := o.st.units[org][id]; !ok {
		return Unit{}, errUnit
	}
	return o.unit(org, id), nil
}

// CreateUnit makes an organizational unit under a root or unit.
func (o *Organizations) CreateUnit(ctx context.Context, org, parent, name string, tags []Tag) (Unit, error) {
	if err := checkTags(tags); err != nil {
		return Unit{}, err
	}
	id := ""
	err := o.change(ctx, func(t *tx) error {
		h, ok := o.st.orgs[org]
		switch {
		case !ok:
			return errNotInUse
		case !o.isParent(org, parent):
			return errParent
		case o.depth(org, parent) >= MaxDepth:
			return violates("OU_DEPTH_LIMIT_EXCEEDED", "You have exceeded the maximum depth of the organizational unit tree.")
		case len(o.st.units[org]) >= o.quotas.Units:
			return violates("OU_NUMBER_LIMIT_EXCEEDED", "You have exceeded the allowed number of organizational units.")
		}
		if err := o.unitName(org, parent, name, ""); err != nil {
			return err
		}
		id = "ou-" + strings.TrimPrefix(h.rec.Root, "r-") + "-" + random(8)
		t.org(org, h, nil)
		t.put(keyIn(sectionUnit, org, id), &unitRecord{Parent: parent, Name: name, Tags: tagRecords(tags)}, 0)
		return nil
	})
	if err != nil {
		return Unit{}, err
	}
	return o.Unit(org, id)
}

// unitName refuses a name that a sibling has. Caller holds write.
func (o *Organizations) unitName(org, parent, name, self string) error {
	for id, u := range o.st.units[org] {
		if id != self && u.rec.Parent == parent && strings.EqualFold(u.rec.Name, name) {
			return refuse(DuplicateUnit, "An OU with the same name already exists.")
		}
	}
	return nil
}

// UpdateUnit renames a unit; an empty name changes nothing.
func (o *Organizations) UpdateUnit(ctx context.Context, org, id, name string) (Unit, error) {
	err := o.change(ctx, func(t *tx) error {
		h, ok := o.st.units[org][id]
		if !ok {
			return errUnit
		}
		if name == "" || name == h.rec.Name {
			return nil
		}
		if err := o.unitName(org, h.rec.Parent, name, id); err != nil {
			return err
		}
		rec := clone(h)
		rec.Name = name
		t.org(org, o.st.orgs[org], nil)
		t.put(keyIn(sectionUnit, org, id), rec, h.mod)
		return nil
	})
	if err != nil {
		return Unit{}, err
	}
	return o.Unit(org, id)
}

// DeleteUnit deletes a unit that holds neither accounts nor units.
func (o *Organizations) DeleteUnit(ctx context.Context, org, id string) error {
	return o.change(ctx, func(t *tx) error {
		h, ok := o.st.units[org][id]
		if !ok {
			return errUnit
		}
		if len(o.children(org, id)) > 0 {
			return refuse(UnitNotEmpty, "The specified OU is not empty. Move all accounts to another root or to other OUs, remove all child OUs, and try the operation again.")
		}
		t.org(org, o.st.orgs[org], nil)
		t.delete(keyIn(sectionUnit, org, id), h.mod)
		return nil
	})
}

// children are the units and accounts right under a parent, by id. Caller
// holds mu or write.
func (o *Organizations) children(org, parent string) (all []Node) {
	for id, u := range o.st.units[org] {
		if u.rec.Parent == parent {
			n, _ := o.node(org, id)
			all = append(all, n)
		}
	}
	for id, m := range o.st.members {
		if m.rec.Org == org && m.rec.Parent == parent {
			n, _ := o.node(org, id)
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Children are the children of one kind under a root or unit.
func (o *Organizations) Children(org, parent, kind string) ([]Node, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if !o.isParent(org, parent) {
		return nil, errParent
	}
	return slices.DeleteFunc(o.children(org, parent), func(n Node) bool { return n.Kind != kind }), nil
}

// Units are the units under a root or unit.
func (o *Organizations) Units(org, parent string) ([]Unit, error) {
	children, err := o.Children(org, parent, KindUnit)
	if err != nil {
		return nil, err
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	var all []Unit
	for _, c := range children {
		if _, ok := o.st.units[org][c.ID]; ok {
			all = append(all, o.unit(org, c.ID))
		}
	}
	return all, nil
}

// Parent is what a unit or account hangs under.
func (o *Organizations) Parent(org, child string) (Node, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	parent := ""
	if u, ok := o.st.units[org][child]; ok {
		parent = u.rec.Parent
	} else if m, ok := o.st.members[child]; ok && m.rec.Org == org {
		parent = m.rec.Parent
	}
	n, ok := o.node(org, parent)
	if !ok {
		return Node{}, refuse(ChildNotFound, "You specified a child that doesn't exist.")
	}
	return n, nil
}

// MoveAccount hangs an account under another parent. What applies to it
// changes before the call returns.
func (o *Organizations) MoveAccount(ctx context.Context, org, account, from, to string) error {
	return o.change(ctx, func(t *tx) error {
		m, ok := o.st.members[account]
		switch {
		case !ok || m.rec.Org != org:
			return errAccount
		case !o.isParent(org, from):
			return refuse(SourceParentNotFound, "You specified a source root or OU that doesn't exist.")
		case !o.isParent(org, to):
			return refuse(DestinationParentNotFound, "You specified a destination root or OU that doesn't exist.")
		case m.rec.Parent != from:
			// The account is there, but not where the caller believes: AWS has this answer for it.
			return refuse(SourceParentNotFound, "The specified source parent is not the parent of the account.")
		case to == from:
			return refuse(DuplicateAccount, "The account is already in the destination root or OU.")
		}
		rec := clone(m)
		rec.Parent = to
		t.org(org, o.st.orgs[org], nil)
		t.put(key(sectionMember, account), rec, m.mod)
		return nil
	})
}

// random is n characters of a-z2-7 for an id. They are no secret, but nobody
// should meet the id of something else by counting.
func random(n int) string {
	b := make([]byte, (n*5+7)/8)
	rand.Read(b)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))[:n]
}

// instant is a stored time; 0 is the zero Time.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

var errInternal = errors.New("organization: state does not fit together")
