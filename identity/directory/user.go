package directory

import (
	"context"
	"strings"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/authority"
)

// CreateUser makes a user. The boundary, if any, is in force from the start.
func (d *Directory) CreateUser(ctx context.Context, account string, in NewUser) (User, error) {
	rec := entityRecord{Kind: UserKind, ID: id.Unique("AIDA"), Name: in.Name, Boundary: in.Boundary, Tags: tagRecords(in.Tags)}
	e, err := d.create(ctx, account, rec, in.Path)
	if err != nil {
		return User{}, err
	}
	e.realm.mu.RLock()
	defer e.realm.mu.RUnlock()
	if e.rec == nil {
		return User{}, refuse(NoSuchEntity, "The user with name %s cannot be found.", in.Name)
	}
	return e.user(), nil
}

// create makes an entity from what is special about it.
func (d *Directory) create(ctx context.Context, account string, rec entityRecord, path string) (*entity, error) {
	r, err := d.need(account)
	if err != nil {
		return nil, err
	}
	if err := checkName(rec.Kind.member(), rec.Name, rec.Kind.longest()); err != nil {
		return nil, err
	}
	if rec.Path, err = checkPath(path); err != nil {
		return nil, err
	}
	if err := checkTags(tagsOf(rec.Tags)); err != nil {
		return nil, err
	}
	err = d.change(ctx, r, func(t *tx) error {
		if _, err := r.find(rec.Kind, rec.Name); err == nil {
			return alreadyThere(rec.Kind, rec.Name)
		}
		if quota, name := d.quota(rec.Kind); len(r.order[rec.Kind]) >= quota {
			return refuse(LimitExceeded, "Cannot exceed quota for %s: %d", name, quota)
		}
		if rec.Boundary != "" {
			if err := d.use(t, r, rec.Boundary, +1); err != nil {
				return refuse(NoSuchEntity, "Scope ARN: %s does not exist or is not attachable.", rec.Boundary)
			}
		}
		rec.Created = d.clock.Now().UnixMilli()
		t.index(nameKey(account, rec.Kind, rec.Name), rec.ID)
		t.insert(recordKey(account, sectionEntity, rec.ID), rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.entities[rec.ID]; e != nil {
		return e, nil
	}
	return nil, noSuch(rec.Kind, rec.Name) // deleted at once
}

func title(k Kind) string { return strings.ToUpper(k.String()[:1]) + k.String()[1:] }

func (d *Directory) quota(k Kind) (n int, name string) {
	switch k {
	case RoleKind:
		return d.quotas.Roles, "RolesPerAccount"
	case GroupKind:
		return d.quotas.Groups, "GroupsPerAccount"
	case ProfileKind:
		return d.quotas.Profiles, "InstanceProfilesPerAccount"
	}
	return d.quotas.Users, "UsersPerAccount"
}

// user is the exported form. Caller holds realm.write or realm.mu.
func (e *entity) user() User {
	return User{
		Account: e.realm.account, ID: e.rec.ID, ARN: e.arn(), Name: e.rec.Name, Path: e.rec.Path,
		Created: instant(e.rec.Created), Boundary: e.rec.Boundary, Tags: tagsOf(e.rec.Tags),
	}
}

// view runs f on an entity under the realm's lock.
func view[T any](d *Directory, account string, kind Kind, name string, f func(e *entity) (T, error)) (T, error) {
	var none T
	r, err := d.need(account)
	if err != nil {
		return none, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, err := r.find(kind, name)
	if err != nil {
		return none, err
	}
	return f(e)
}

// alter replaces the record of an entity by what edit makes of a copy. edit
// must not change what the copy's slices and maps point to. Service-linked roles
// are not altered: what may be changed of them uses alterAny.
func (d *Directory) alter(ctx context.Context, account string, kind Kind, name string, edit func(t *tx, e *entity, rec *entityRecord) error) error {
	return d.alterAny(ctx, account, kind, name, func(t *tx, e *entity, rec *entityRecord) error {
		if err := ordinary(rec); err != nil {
			return err
		}
		return edit(t, e, rec)
	})
}

// alterAny is alter, for service-linked roles too.
func (d *Directory) alterAny(ctx context.Context, account string, kind Kind, name string, edit func(t *tx, e *entity, rec *entityRecord) error) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		e, err := r.find(kind, name)
		if err != nil {
			return err
		}
		rec := *e.rec
		if err := edit(t, e, &rec); err != nil {
			return err
		}
		t.put(recordKey(account, sectionEntity, rec.ID), rec, e.mod)
		return nil
	})
}

// GetUser finds a user by name.
func (d *Directory) GetUser(account, name string) (User, error) {
	return view(d, account, UserKind, name, func(e *entity) (User, error) { return e.user(), nil })
}

// UserByID finds a user by its unique id, for GetUser without a name.
func (d *Directory) UserByID(id string) (User, error) {
	if v, ok := d.principals.Load(id); ok {
		e := v.(*entity)
		e.realm.mu.RLock()
		defer e.realm.mu.RUnlock()
		if e.rec != nil && e.rec.Kind == UserKind {
			return e.user(), nil
		}
	}
	return User{}, refuse(NoSuchEntity, "The user with id %s cannot be found.", id)
}

// ListUsers lists users under a path.
func (d *Directory) ListUsers(account string, list List) (Page[User], error) {
	return listEntities(d, account, UserKind, list, (*entity).user)
}

func listEntities[T any](d *Directory, account string, kind Kind, list List, form func(*entity) T) (Page[T], error) {
	prefix, err := checkPrefix(list.PathPrefix)
	if err != nil {
		return Page[T]{}, err
	}
	r, err := d.need(account)
	if err != nil {
		return Page[T]{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := r.order[kind]
	return pageOf(list, len(all), func(i int) string { return all[i].name }, func(i int) (it T, ok bool) {
		if !strings.HasPrefix(all[i].path, prefix) {
			return it, false
		}
		return form(all[i].e), true
	})
}

// UpdateUser renames or moves a user. Its unique id, and with it everything
// that was granted to it by trust and resource policies, stays.
func (d *Directory) UpdateUser(ctx context.Context, account, name string, in UserUpdate) error {
	return d.rename(ctx, account, UserKind, name, in)
}

// rename gives a user or group another name, another path, or both.
func (d *Directory) rename(ctx context.Context, account string, kind Kind, name string, in UserUpdate) error {
	if in.NewName != "" {
		if err := checkName("new"+title(kind)+"Name", in.NewName, kind.longest()); err != nil {
			return err
		}
	}
	path, err := checkPath(in.NewPath)
	if err != nil {
		return err
	}
	return d.alter(ctx, account, kind, name, func(t *tx, e *entity, rec *entityRecord) error {
		if in.NewPath != "" {
			rec.Path = path
		}
		if in.NewName == "" {
			return nil
		}
		if fold(in.NewName) != fold(rec.Name) {
			if _, err := e.realm.find(kind, in.NewName); err == nil {
				return alreadyThere(kind, in.NewName)
			}
			t.drop(nameKey(account, kind, rec.Name))
			t.index(nameKey(account, kind, in.NewName), rec.ID)
		}
		rec.Name = in.NewName
		return nil
	})
}

// DeleteUser deletes a user that has no keys and no policies and is in no group.
func (d *Directory) DeleteUser(ctx context.Context, account, name string) error {
	return d.remove(ctx, account, UserKind, name)
}

// remove deletes an entity. What was bound to its unique id applies to nobody
// from then on, its sessions included.
func (d *Directory) remove(ctx context.Context, account string, kind Kind, name string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	var gone string
	err = d.change(ctx, r, func(t *tx) error {
		e, err := r.find(kind, name)
		if err != nil {
			return err
		}
		if err := ordinary(e.rec); err != nil {
			return err
		}
		switch {
		case len(e.rec.Profiles) > 0, e.rec.Role != "":
			return refuse(DeleteConflict, "Cannot delete entity, must remove roles from instance profile first.")
		case len(e.rec.Groups) > 0, e.rec.Members > 0, len(r.members[e.rec.ID]) > 0:
			return refuse(DeleteConflict, "Cannot delete entity, must remove users from group first.")
		case len(e.rec.Keys) > 0:
			return refuse(DeleteConflict, "Cannot delete entity, must delete access keys first.")
		case len(e.rec.Inline) > 0:
			return refuse(DeleteConflict, "Cannot delete entity, must delete policies first.")
		case len(e.rec.Attached) > 0:
			return refuse(DeleteConflict, "Cannot delete entity, must detach all policies first.")
		case len(e.rec.MFA) > 0:
			return refuse(DeleteConflict, "Cannot delete entity, must delete MFA device first.")
		case e.rec.Login:
			return refuse(DeleteConflict, "Cannot delete entity, must delete login profile first.")
		}
		if e.rec.Boundary != "" {
			if err := d.use(t, r, e.rec.Boundary, -1); err != nil {
				return err
			}
		}
		gone = e.rec.ID
		t.delete(recordKey(account, sectionEntity, e.rec.ID), e.mod)
		t.drop(nameKey(account, kind, e.rec.Name))
		t.drop(recordKey(account, sectionUsed, e.rec.ID))
		t.drop(recordKey(account, sectionAccessed, e.rec.ID))
		return nil
	})
	if err != nil || !kind.principal() {
		return err
	}
	return d.revoke(ctx, authority.Revocation{PrincipalID: gone, By: account})
}
