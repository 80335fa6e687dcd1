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

// create makes a user or a role from what is special about it.
func (d *Directory) create(ctx context.Context, account string, rec entityRecord, path string) (*entity, error) {
	r, err := d.need(account)
	if err != nil {
		return nil, err
	}
	if err := checkName(rec.Kind.String()+"Name", rec.Name, maxName); err != nil {
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
			return refuse(EntityAlreadyExists, "%s with name %s already exists.", title(rec.Kind), rec.Name)
		}
		if quota, name := d.quota(rec.Kind); r.count[rec.Kind] >= quota {
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
	return nil, refuse(NoSuchEntity, "The %s with name %s cannot be found.", rec.Kind, rec.Name) // deleted at once
}

func title(k Kind) string { return strings.ToUpper(k.String()[:1]) + k.String()[1:] }

func (d *Directory) quota(k Kind) (n int, name string) {
	if k == RoleKind {
		return d.quotas.Roles, "RolesPerAccount"
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

// view runs f on a user or role under the realm's lock.
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

// alter replaces the record of a user or role by what edit makes of a copy.
// edit must not change what the copy's slices and maps point to.
func (d *Directory) alter(ctx context.Context, account string, kind Kind, name string, edit func(t *tx, e *entity, rec *entityRecord) error) error {
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
	names := r.order(kind)
	return pageOf(list, len(names), func(i int) string { return names[i] }, func(i int) (T, bool) {
		e := r.names[nameOf{kind, names[i]}]
		if !strings.HasPrefix(e.rec.Path, prefix) {
			var none T
			return none, false
		}
		return form(e), true
	})
}

// UpdateUser renames or moves a user. Its unique id, and with it everything
// that was granted to it by trust and resource policies, stays.
func (d *Directory) UpdateUser(ctx context.Context, account, name string, in UserUpdate) error {
	if in.NewName != "" {
		if err := checkName("newUserName", in.NewName, maxName); err != nil {
			return err
		}
	}
	path, err := checkPath(in.NewPath)
	if err != nil {
		return err
	}
	return d.alter(ctx, account, UserKind, name, func(t *tx, e *entity, rec *entityRecord) error {
		if in.NewPath != "" {
			rec.Path = path
		}
		if in.NewName == "" {
			return nil
		}
		if fold(in.NewName) != fold(rec.Name) {
			if _, err := e.realm.find(UserKind, in.NewName); err == nil {
				return refuse(EntityAlreadyExists, "User with name %s already exists.", in.NewName)
			}
			t.drop(nameKey(account, UserKind, rec.Name))
			t.index(nameKey(account, UserKind, in.NewName), rec.ID)
		}
		rec.Name = in.NewName
		return nil
	})
}

// DeleteUser deletes a user that has no keys and no policies.
func (d *Directory) DeleteUser(ctx context.Context, account, name string) error {
	return d.remove(ctx, account, UserKind, name)
}

// remove deletes a user or role. What was bound to its unique id applies to
// nobody from then on, its sessions included.
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
		switch {
		case len(e.rec.Keys) > 0:
			return refuse(DeleteConflict, "Cannot delete entity, must delete access keys first.")
		case len(e.rec.Inline) > 0:
			return refuse(DeleteConflict, "Cannot delete entity, must delete policies first.")
		case len(e.rec.Attached) > 0:
			return refuse(DeleteConflict, "Cannot delete entity, must detach all policies first.")
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
		return nil
	})
	if err != nil {
		return err
	}
	return d.revoke(ctx, authority.Revocation{PrincipalID: gone, By: account})
}
