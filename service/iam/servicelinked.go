package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) serviceLinkedRoles() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateServiceLinkedRole, s.createServiceLinkedRole, func(q question, in *iam.CreateServiceLinkedRoleInput) ([]operation.Ask, error) {
			path, name, err := directory.ServiceLinkedRoleName(in.AWSServiceName, in.CustomSuffix)
			if err != nil {
				// Refused by the handler, to those who may ask.
				path, name = "/aws-service-role/"+in.AWSServiceName+"/", "AWSServiceRoleFor"
			}
			a := q.made(directory.RoleKind, path, name)
			a.Context.Set("iam:AWSServiceName", in.AWSServiceName)
			return []operation.Ask{a}, nil
		}),
		serve(s, iam.DeleteServiceLinkedRole, s.deleteServiceLinkedRole, func(q question, in *iam.DeleteServiceLinkedRoleInput) ([]operation.Ask, error) {
			return one(q.role(in.RoleName))
		}),
		serve(s, iam.GetServiceLinkedRoleDeletionStatus, s.getServiceLinkedRoleDeletionStatus, func(q question, in *iam.GetServiceLinkedRoleDeletionStatusInput) ([]operation.Ask, error) {
			role, ok := directory.DeletionTaskRole(q.call.Account, in.DeletionTaskId)
			if !ok {
				return nil, &iam.InvalidInputException{Message: "The deletion task id is not valid."}
			}
			return []operation.Ask{q.on(role)}, nil
		}),
	}
}

func (s *Service) createServiceLinkedRole(ctx context.Context, account string, in *iam.CreateServiceLinkedRoleInput) (*iam.CreateServiceLinkedRoleOutput, error) {
	r, err := s.directory.CreateServiceLinkedRole(ctx, account, directory.NewServiceLinkedRole{
		Service: in.AWSServiceName, Suffix: in.CustomSuffix, Description: in.Description,
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateServiceLinkedRoleOutput{Role: new(listedRole(r))}, nil
}

func (s *Service) deleteServiceLinkedRole(ctx context.Context, account string, in *iam.DeleteServiceLinkedRoleInput) (*iam.DeleteServiceLinkedRoleOutput, error) {
	task, err := s.directory.DeleteServiceLinkedRole(ctx, account, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.DeleteServiceLinkedRoleOutput{DeletionTaskId: task}, nil
}

func (s *Service) getServiceLinkedRoleDeletionStatus(_ context.Context, account string, in *iam.GetServiceLinkedRoleDeletionStatusInput) (*iam.GetServiceLinkedRoleDeletionStatusOutput, error) {
	if err := s.directory.GetServiceLinkedRoleDeletion(account, in.DeletionTaskId); err != nil {
		return nil, err
	}
	return &iam.GetServiceLinkedRoleDeletionStatusOutput{Status: iam.DeletionTaskStatusTypeSucceeded}, nil
}
