package directory

import (
	"context"
	"strings"

	"github.com/leadglass/leadglass/base/id"
)

// Bounds of a role's MaxSessionDuration, in seconds.
const (
	minMaxSession = 3600
	maxMaxSession = 43200
)

// CreateRole makes a role. Users and roles that its trust policy names are
// bound by their unique ids.
func (d *Directory) CreateRole(ctx context.Context, account string, in NewRole) (Role, error) {
	if in.MaxSession == 0 {
		in.MaxSession = minMaxSession
	}
	if err := checkMaxSession(in.MaxSession); err != nil {
		return Role{}, err
	}
	if err := checkDescription(in.Description); err != nil {
		return Role{}, err
	}
	if strings.HasPrefix(in.Path, serviceRolePath) {
		return Role{}, refuse(InvalidInput, "Roles with the path %s are made by CreateServiceLinkedRole alone.", serviceRolePath)
	}
	bound, err := d.checkTrust(in.TrustPolicy)
	if err != nil {
		return Role{}, err
	}
	rec := entityRecord{
		Kind: RoleKind, ID: id.Unique("AROA"), Name: in.Name, Boundary: in.Boundary, Tags: tagRecords(in.Tags),
		Description: in.Description, Trust: in.TrustPolicy, Bound: bound, MaxSession: in.MaxSession,
	}
	if _, err := d.create(ctx, account, rec, in.Path); err != nil {
		return Role{}, err
	}
	return d.GetRole(account, in.Name)
}

func checkMaxSession(seconds int) error {
	if seconds < minMaxSession || seconds > maxMaxSession {
		return refuse(ValidationError, "1 validation error detected: Value '%d' at 'maxSessionDuration' failed to satisfy constraint: Member must have value between %d and %d", seconds, minMaxSession, maxMaxSession)
	}
	return nil
}

// role is the exported form, but for the display of its trust policy. Caller
// holds realm.write or realm.mu.
func (e *entity) role() Role {
	return Role{
		Account: e.realm.account, ID: e.rec.ID, ARN: e.arn(), Name: e.rec.Name, Path: e.rec.Path,
		Description: e.rec.Description, TrustPolicy: e.rec.Trust, MaxSession: e.rec.MaxSession,
		Created: instant(e.rec.Created), Boundary: e.rec.Boundary, Tags: tagsOf(e.rec.Tags), LastUsed: e.used.public(), Service: e.rec.Service,
		bound: e.rec.Bound,
	}
}

// GetRole finds a role by name.
func (d *Directory) GetRole(account, name string) (Role, error) {
	role, err := view(d, account, RoleKind, name, func(e *entity) (Role, error) { return e.role(), nil })
	if err != nil {
		return Role{}, err
	}
	d.showTrust(&role) // looks into other realms, so not under this one's lock
	return role, nil
}

// ListRoles lists roles under a path.
func (d *Directory) ListRoles(account string, list List) (Page[Role], error) {
	page, err := listEntities(d, account, RoleKind, list, (*entity).role)
	if err != nil {
		return Page[Role]{}, err
	}
	for i := range page.Items {
		d.showTrust(&page.Items[i])
	}
	return page, nil
}

// UpdateRole changes description and longest session.
func (d *Directory) UpdateRole(ctx context.Context, account, name string, in RoleUpdate) error {
	if in.Description != nil {
		if err := checkDescription(*in.Description); err != nil {
			return err
		}
	}
	if in.MaxSession != nil {
		if err := checkMaxSession(*in.MaxSession); err != nil {
			return err
		}
	}
	return d.alterAny(ctx, account, RoleKind, name, func(_ *tx, _ *entity, rec *entityRecord) error {
		if in.MaxSession != nil {
			// Of a service-linked role the description alone can be changed.
			if err := ordinary(rec); err != nil {
				return err
			}
		}
		if in.Description != nil {
			rec.Description = *in.Description
		}
		if in.MaxSession != nil {
			rec.MaxSession = *in.MaxSession
		}
		return nil
	})
}

// UpdateAssumeRolePolicy replaces the trust policy.
func (d *Directory) UpdateAssumeRolePolicy(ctx context.Context, account, name, document string) error {
	if _, err := view(d, account, RoleKind, name, func(*entity) (struct{}, error) { return struct{}{}, nil }); err != nil {
		return err
	}
	bound, err := d.checkTrust(document)
	if err != nil {
		return err
	}
	return d.alter(ctx, account, RoleKind, name, func(_ *tx, _ *entity, rec *entityRecord) error {
		rec.Trust, rec.Bound = document, bound
		return nil
	})
}

// DeleteRole deletes a role that has no policies and is in no instance profile.
func (d *Directory) DeleteRole(ctx context.Context, account, name string) error {
	return d.remove(ctx, account, RoleKind, name)
}
