package directory

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/base/id"
)

// A Group is a set of users with policies.
type Group struct {
	Account, ID, ARN string
	Name, Path       string
	Created          time.Time
}

// CreateGroup makes a group without members. An empty path is "/".
func (d *Directory) CreateGroup(ctx context.Context, account, name, path string) (Group, error) {
	e, err := d.create(ctx, account, entityRecord{Kind: GroupKind, ID: id.Unique("AGPA"), Name: name}, path)
	if err != nil {
		return Group{}, err
	}
	e.realm.mu.RLock()
	defer e.realm.mu.RUnlock()
	if e.rec == nil {
		return Group{}, noSuch(GroupKind, name)
	}
	return e.group(), nil
}

// group is the exported form. Caller holds realm.write or realm.mu.
func (e *entity) group() Group {
	return Group{Account: e.realm.account, ID: e.rec.ID, ARN: e.arn(), Name: e.rec.Name, Path: e.rec.Path, Created: instant(e.rec.Created)}
}

// GetGroup finds a group by name.
func (d *Directory) GetGroup(account, name string) (Group, error) {
	return view(d, account, GroupKind, name, func(e *entity) (Group, error) { return e.group(), nil })
}

// ListGroups lists groups under a path.
func (d *Directory) ListGroups(account string, list List) (Page[Group], error) {
	return listEntities(d, account, GroupKind, list, (*entity).group)
}

// ListGroupMembers lists the users of a group.
func (d *Directory) ListGroupMembers(account, name string, list List) (Page[User], error) {
	return view(d, account, GroupKind, name, func(g *entity) (Page[User], error) {
		members := make([]*entity, 0, g.rec.Members)
		for e := range g.realm.members[g.rec.ID] {
			members = append(members, e)
		}
		slices.SortFunc(members, func(a, b *entity) int { return strings.Compare(a.folded, b.folded) })
		return pageOf(list, len(members), func(i int) string { return members[i].folded }, func(i int) (User, bool) { return members[i].user(), true })
	})
}

// ListGroupsForUser lists the groups that a user is in.
func (d *Directory) ListGroupsForUser(account, user string, list List) (Page[Group], error) {
	return view(d, account, UserKind, user, func(e *entity) (Page[Group], error) {
		return pageOfNames(list, e.groups(), func(g Group) string { return fold(g.Name) })
	})
}

// groups are the groups of a user. Caller holds realm.write or realm.mu.
func (e *entity) groups() []Group {
	var groups []Group
	for _, id := range e.rec.Groups {
		if g := e.realm.entities[id]; g != nil {
			groups = append(groups, g.group())
		}
	}
	return groups
}

// UpdateGroup renames or moves a group. Its members and its policies stay.
func (d *Directory) UpdateGroup(ctx context.Context, account, name string, in UserUpdate) error {
	return d.rename(ctx, account, GroupKind, name, in)
}

// DeleteGroup deletes a group that has no members and no policies.
func (d *Directory) DeleteGroup(ctx context.Context, account, name string) error {
	return d.remove(ctx, account, GroupKind, name)
}

// AddUserToGroup makes a user a member: the group's policies are the user's own
// when it returns. Adding a member again changes nothing.
func (d *Directory) AddUserToGroup(ctx context.Context, account, group, user string) error {
	return d.join(ctx, account, group, user, func(ids []string, id string) ([]string, int, error) {
		switch {
		case slices.Contains(ids, id):
			return ids, 0, nil
		case len(ids) >= d.quotas.GroupsPerUser:
			return nil, 0, refuse(LimitExceeded, "Cannot exceed quota for GroupsPerUser: %d", d.quotas.GroupsPerUser)
		}
		return append(slices.Clone(ids), id), +1, nil
	})
}

// RemoveUserFromGroup ends a membership, and what came from it when it returns.
// As with AWS, that there was none is no error.
func (d *Directory) RemoveUserFromGroup(ctx context.Context, account, group, user string) error {
	return d.join(ctx, account, group, user, func(ids []string, id string) ([]string, int, error) {
		i := slices.Index(ids, id)
		if i < 0 {
			return ids, 0, nil
		}
		return slices.Delete(slices.Clone(ids), i, i+1), -1, nil
	})
}

// join changes the groups of a user by what edit makes of them; by is what that
// does to the number of the group's members.
func (d *Directory) join(ctx context.Context, account, group, user string, edit func(ids []string, id string) (after []string, by int, err error)) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		g, err := r.find(GroupKind, group)
		if err != nil {
			return err
		}
		u, err := r.find(UserKind, user)
		if err != nil {
			return err
		}
		member, of := *u.rec, *g.rec
		var by int
		if member.Groups, by, err = edit(member.Groups, of.ID); err != nil || by == 0 {
			return err
		}
		of.Members += by
		t.put(recordKey(account, sectionEntity, member.ID), member, u.mod)
		t.put(recordKey(account, sectionEntity, of.ID), of, g.mod)
		return nil
	})
}

// forgetMembers drops the snapshots of a group's users. They are built anew when
// they are asked for: a change to a large group costs a store to memory for each
// of its members, and no more. Caller holds r.mu.
func (r *realm) forgetMembers(group string) {
	for e := range r.members[group] {
		e.snapshot.Store(nil)
	}
}
