package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) boundaries() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.PutUserPermissionsBoundary, s.putUserPermissionsBoundary, func(q question, in *iam.PutUserPermissionsBoundaryInput) ([]operation.Ask, error) {
			a, err := q.user(in.UserName)
			return withBoundary(in.PermissionsBoundary, a, err)
		}),
		serve(s, iam.PutRolePermissionsBoundary, s.putRolePermissionsBoundary, func(q question, in *iam.PutRolePermissionsBoundaryInput) ([]operation.Ask, error) {
			a, err := q.role(in.RoleName)
			return withBoundary(in.PermissionsBoundary, a, err)
		}),
		serve(s, iam.DeleteUserPermissionsBoundary, s.deleteUserPermissionsBoundary, func(q question, in *iam.DeleteUserPermissionsBoundaryInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.UserKind, in.UserName))
		}),
		serve(s, iam.DeleteRolePermissionsBoundary, s.deleteRolePermissionsBoundary, func(q question, in *iam.DeleteRolePermissionsBoundaryInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.RoleKind, in.RoleName))
		}),
	}
}

// withBoundary is one with the boundary that is put: what a policy that lets
// somebody set one boundary alone compares. For a deletion it is the one there is.
func withBoundary(policyARN string, a operation.Ask, err error) ([]operation.Ask, error) {
	if err != nil {
		return nil, err
	}
	if _, err := policyOwner(policyARN); err != nil {
		return nil, err
	}
	a.Context.Set("iam:PermissionsBoundary", policyARN)
	return []operation.Ask{a}, nil
}

func (s *Service) putUserPermissionsBoundary(ctx context.Context, account string, in *iam.PutUserPermissionsBoundaryInput) (*iam.PutUserPermissionsBoundaryOutput, error) {
	return none[iam.PutUserPermissionsBoundaryOutput](s.directory.PutPermissionsBoundary(ctx, account, directory.UserKind, in.UserName, in.PermissionsBoundary))
}

func (s *Service) putRolePermissionsBoundary(ctx context.Context, account string, in *iam.PutRolePermissionsBoundaryInput) (*iam.PutRolePermissionsBoundaryOutput, error) {
	return none[iam.PutRolePermissionsBoundaryOutput](s.directory.PutPermissionsBoundary(ctx, account, directory.RoleKind, in.RoleName, in.PermissionsBoundary))
}

func (s *Service) deleteUserPermissionsBoundary(ctx context.Context, account string, in *iam.DeleteUserPermissionsBoundaryInput) (*iam.DeleteUserPermissionsBoundaryOutput, error) {
	return none[iam.DeleteUserPermissionsBoundaryOutput](s.directory.DeletePermissionsBoundary(ctx, account, directory.UserKind, in.UserName))
}

func (s *Service) deleteRolePermissionsBoundary(ctx context.Context, account string, in *iam.DeleteRolePermissionsBoundaryInput) (*iam.DeleteRolePermissionsBoundaryOutput, error) {
	return none[iam.DeleteRolePermissionsBoundaryOutput](s.directory.DeletePermissionsBoundary(ctx, account, directory.RoleKind, in.RoleName))
}
