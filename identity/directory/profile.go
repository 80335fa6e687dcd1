package directory

import (
	"context"
	"slices"
	"time"

	"github.com/leadglass/leadglass/base/id"
)

// An InstanceProfile hands a role to machines: at most one.
type InstanceProfile struct {
	Account, ID, ARN string
	Name, Path       string
	Created          time.Time
	Tags             []Tag
	Roles            []Role // none or one
}

// A NewProfile is the input of CreateInstanceProfile.
type NewProfile struct {
	Name, Path string // Path "": "/"
	Tags       []Tag
}

// CreateInstanceProfile makes an instance profile without a role.
func (d *Directory) CreateInstanceProfile(ctx context.Context, account string, in NewProfile) (InstanceProfile, error) {
	rec := entityRecord{Kind: ProfileKind, ID: id.Unique("AIPA"), Name: in.Name, Tags: tagRecords(in.Tags)}
	if _, err := d.create(ctx, account, rec, in.Path); err != nil {
		return InstanceProfile{}, err
	}
	return d.GetInstanceProfile(account, in.Name)
}

// profile is the exported form, but for the display of the role's trust policy.
// Caller holds realm.write or realm.mu.
func (e *entity) profile() InstanceProfile {
	p := InstanceProfile{
		Account: e.realm.account, ID: e.rec.ID, ARN: e.arn(), Name: e.rec.Name, Path: e.rec.Path,
		Created: instant(e.rec.Created), Tags: tagsOf(e.rec.Tags),
	}
	if role := e.realm.entities[e.rec.Role]; role != nil {
		p.Roles = []Role{role.role()}
	}
	return p
}

// showRoles completes profiles outside the realm's lock: trust policies look
// into other realms.
func (d *Directory) showRoles(profiles []InstanceProfile) {
	for i := range profiles {
		for k := range profiles[i].Roles {
			d.showTrust(&profiles[i].Roles[k])
		}
	}
}

// GetInstanceProfile finds an instance profile by name.
func (d *Directory) GetInstanceProfile(account, name string) (InstanceProfile, error) {
	p, err := view(d, account, ProfileKind, name, func(e *entity) (InstanceProfile, error) { return e.profile(), nil })
	if err != nil {
		return InstanceProfile{}, err
	}
	d.showRoles([]InstanceProfile{p})
	return p, nil
}

// ListInstanceProfiles lists instance profiles under a path.
func (d *Directory) ListInstanceProfiles(account string, list List) (Page[InstanceProfile], error) {
	page, err := listEntities(d, account, ProfileKind, list, (*entity).profile)
	d.showRoles(page.Items)
	return page, err
}

// ListInstanceProfilesForRole lists the instance profiles that a role is in.
func (d *Directory) ListInstanceProfilesForRole(account, role string, list List) (Page[InstanceProfile], error) {
	page, err := view(d, account, RoleKind, role, func(e *entity) (Page[InstanceProfile], error) {
		return pageOfNames(list, e.profiles(), func(p InstanceProfile) string { return fold(p.Name) })
	})
	d.showRoles(page.Items)
	return page, err
}

// profiles are the instance profiles of a role. Caller holds realm.write or realm.mu.
func (e *entity) profiles() []InstanceProfile {
	var profiles []InstanceProfile
	for _, id := range e.rec.Profiles {
		if p := e.realm.entities[id]; p != nil {
			profiles = append(profiles, p.profile())
		}
	}
	return profiles
}

// DeleteInstanceProfile deletes an instance profile that has no role.
func (d *Directory) DeleteInstanceProfile(ctx context.Context, account, name string) error {
	return d.remove(ctx, account, ProfileKind, name)
}

// AddRoleToInstanceProfile puts a role into an instance profile that has none.
func (d *Directory) AddRoleToInstanceProfile(ctx context.Context, account, profile, role string) error {
	return d.fill(ctx, account, profile, role, func(p, r *entityRecord) error {
		if p.Role != "" {
			return refuse(LimitExceeded, "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		if err := ordinary(r); err != nil {
			return err
		}
		p.Role = r.ID
		r.Profiles = append(slices.Clone(r.Profiles), p.ID)
		return nil
	})
}

// RemoveRoleFromInstanceProfile takes the role out of an instance profile.
func (d *Directory) RemoveRoleFromInstanceProfile(ctx context.Context, account, profile, role string) error {
	return d.fill(ctx, account, profile, role, func(p, r *entityRecord) error {
		if p.Role != r.ID {
			return noSuch(RoleKind, role)
		}
		p.Role = ""
		r.Profiles = slices.DeleteFunc(slices.Clone(r.Profiles), func(id string) bool { return id == p.ID })
		return nil
	})
}

// fill changes both sides of the bond between an instance profile and a role.
func (d *Directory) fill(ctx context.Context, account, profile, role string, edit func(p, r *entityRecord) error) error {
	return d.alter(ctx, account, ProfileKind, profile, func(t *tx, e *entity, p *entityRecord) error {
		of, err := e.realm.find(RoleKind, role)
		if err != nil {
			return err
		}
		r := *of.rec
		if err := edit(p, &r); err != nil {
			return err
		}
		t.put(recordKey(account, sectionEntity, r.ID), r, of.mod)
		return nil
	})
}
