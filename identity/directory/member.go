package directory

import (
	"context"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/arn"
)

// A NewMember is an account that an organization makes for itself.
type NewMember struct {
	Account    string // its number, which the organization has chosen
	Name       string
	Role       string // of the management account in it
	Management string // account
}

// OpenMember opens an account of an organization: with one role, which the
// management account may assume and which may do everything, and no other way
// in. Account and role come in one commit. The enrolment of such an account is
// over when it begins: NewEnrolment is refused for it, so that no operator can
// make a code for an account that is somebody's already.
func (d *Directory) OpenMember(ctx context.Context, in NewMember) error {
	if !validAccountName(in.Name) {
		return refuse(ValidationError, "The specified value for name is invalid. It must have 1 to 50 printable characters.")
	}
	if err := checkName("roleName", in.Role, 64); err != nil {
		return err
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + arn.Root(in.Management) + `"},"Action":"sts:AssumeRole"}]}`
	bound, err := d.checkTrust(trust)
	if err != nil {
		return err
	}
	r := newRealm(in.Account)
	err = d.change(ctx, r, func(t *tx) error {
		if r.accountMod != 0 {
			return refuse(EntityAlreadyExists, "Account %s already exists.", r.account)
		}
		ms := d.clock.Now().UnixMilli()
		t.insert(accountKey(r.account), accountRecord{Name: in.Name, Created: ms, Enrolled: ms})
		role := entityRecord{
			Kind: RoleKind, ID: id.Unique("AROA"), Name: in.Role, Path: "/", Created: ms,
			Attached: []string{AdministratorAccess}, Trust: trust, Bound: bound, MaxSession: minMaxSession,
		}
		t.index(nameKey(r.account, RoleKind, role.Name), role.ID)
		t.insert(recordKey(r.account, sectionEntity, role.ID), role)
		return nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.realms[r.account] = r
	return nil
}
