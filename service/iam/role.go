package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) roles() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateRole, s.createRole, func(q question, in *iam.CreateRoleInput) ([]operation.Ask, error) {
			return q.created(directory.RoleKind, in.Path, in.RoleName, in.PermissionsBoundary, in.Tags), nil
		}),
		serve(s, iam.GetRole, s.getRole, func(q question, in *iam.GetRoleInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.RoleKind, in.RoleName))
		}),
		serve(s, iam.ListRoles, s.listRoles, func(q question, in *iam.ListRolesInput) ([]operation.Ask, error) {
			return []operation.Ask{q.under(directory.RoleKind, in.PathPrefix)}, nil
		}),
		serve(s, iam.UpdateRole, s.updateRole, func(q question, in *iam.UpdateRoleInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.RoleKind, in.RoleName))
		}),
		serve(s, iam.UpdateRoleDescription, s.updateRoleDescription, func(q question, in *iam.UpdateRoleDescriptionInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.RoleKind, in.RoleName))
		}),
		serve(s, iam.UpdateAssumeRolePolicy, s.updateAssumeRolePolicy, func(q question, in *iam.UpdateAssumeRolePolicyInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.RoleKind, in.RoleName))
		}),
		serve(s, iam.DeleteRole, s.deleteRole, func(q question, in *iam.DeleteRoleInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.RoleKind, in.RoleName))
		}),
	}
}

func (s *Service) createRole(ctx context.Context, account string, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	role := directory.NewRole{
		Name: in.RoleName, Path: in.Path, Description: in.Description, TrustPolicy: in.AssumeRolePolicyDocument,
		Boundary: in.PermissionsBoundary, Tags: tagsOf(in.Tags),
	}
	if in.MaxSessionDuration != nil {
		role.MaxSession = int(*in.MaxSessionDuration)
	}
	r, err := s.directory.CreateRole(ctx, account, role)
	if err != nil {
		return nil, err
	}
	shape := roleShape(r)
	shape.RoleLastUsed = nil // only GetRole tells it
	return &iam.CreateRoleOutput{Role: &shape}, nil
}

func (s *Service) getRole(_ context.Context, account string, in *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
	r, err := s.directory.GetRole(account, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.GetRoleOutput{Role: new(roleShape(r))}, nil
}

func (s *Service) listRoles(_ context.Context, account string, in *iam.ListRolesInput) (*iam.ListRolesOutput, error) {
	page, err := s.directory.ListRoles(account, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListRolesOutput)
	out.Roles, out.IsTruncated, out.Marker = pageOf(page, listedRole)
	return out, nil
}

func (s *Service) updateRole(ctx context.Context, account string, in *iam.UpdateRoleInput) (*iam.UpdateRoleOutput, error) {
	update := directory.RoleUpdate{Description: in.Description}
	if in.MaxSessionDuration != nil {
		update.MaxSession = new(int(*in.MaxSessionDuration))
	}
	return none[iam.UpdateRoleOutput](s.directory.UpdateRole(ctx, account, in.RoleName, update))
}

// updateRoleDescription is UpdateRole's elder, which answers the role.
func (s *Service) updateRoleDescription(ctx context.Context, account string, in *iam.UpdateRoleDescriptionInput) (*iam.UpdateRoleDescriptionOutput, error) {
	if err := s.directory.UpdateRole(ctx, account, in.RoleName, directory.RoleUpdate{Description: &in.Description}); err != nil {
		return nil, err
	}
	r, err := s.directory.GetRole(account, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.UpdateRoleDescriptionOutput{Role: new(listedRole(r))}, nil
}

func (s *Service) updateAssumeRolePolicy(ctx context.Context, account string, in *iam.UpdateAssumeRolePolicyInput) (*iam.UpdateAssumeRolePolicyOutput, error) {
	return none[iam.UpdateAssumeRolePolicyOutput](s.directory.UpdateAssumeRolePolicy(ctx, account, in.RoleName, in.PolicyDocument))
}

func (s *Service) deleteRole(ctx context.Context, account string, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	return none[iam.DeleteRoleOutput](s.directory.DeleteRole(ctx, account, in.RoleName))
}
