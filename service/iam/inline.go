package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) inlinePolicies() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.PutUserPolicy, s.putUserPolicy, func(q question, in *iam.PutUserPolicyInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.UserKind, in.UserName))
		}),
		serve(s, iam.PutRolePolicy, s.putRolePolicy, func(q question, in *iam.PutRolePolicyInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.RoleKind, in.RoleName))
		}),
		serve(s, iam.GetUserPolicy, s.getUserPolicy, func(q question, in *iam.GetUserPolicyInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
		serve(s, iam.GetRolePolicy, s.getRolePolicy, func(q question, in *iam.GetRolePolicyInput) ([]operation.Ask, error) {
			return one(q.role(in.RoleName))
		}),
		serve(s, iam.ListUserPolicies, s.listUserPolicies, func(q question, in *iam.ListUserPoliciesInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
		serve(s, iam.ListRolePolicies, s.listRolePolicies, func(q question, in *iam.ListRolePoliciesInput) ([]operation.Ask, error) {
			return one(q.role(in.RoleName))
		}),
		serve(s, iam.DeleteUserPolicy, s.deleteUserPolicy, func(q question, in *iam.DeleteUserPolicyInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.UserKind, in.UserName))
		}),
		serve(s, iam.DeleteRolePolicy, s.deleteRolePolicy, func(q question, in *iam.DeleteRolePolicyInput) ([]operation.Ask, error) {
			return one(q.carrier(directory.RoleKind, in.RoleName))
		}),
	}
}

func (s *Service) putUserPolicy(ctx context.Context, account string, in *iam.PutUserPolicyInput) (*iam.PutUserPolicyOutput, error) {
	return none[iam.PutUserPolicyOutput](s.directory.PutInlinePolicy(ctx, account, directory.UserKind, in.UserName, in.PolicyName, in.PolicyDocument))
}

func (s *Service) putRolePolicy(ctx context.Context, account string, in *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error) {
	return none[iam.PutRolePolicyOutput](s.directory.PutInlinePolicy(ctx, account, directory.RoleKind, in.RoleName, in.PolicyName, in.PolicyDocument))
}

// getUserPolicy answers names as the call spells them.
func (s *Service) getUserPolicy(_ context.Context, account string, in *iam.GetUserPolicyInput) (*iam.GetUserPolicyOutput, error) {
	text, err := s.directory.GetInlinePolicy(account, directory.UserKind, in.UserName, in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetUserPolicyOutput{UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: text}, nil
}

// getRolePolicy answers names as the call spells them.
func (s *Service) getRolePolicy(_ context.Context, account string, in *iam.GetRolePolicyInput) (*iam.GetRolePolicyOutput, error) {
	text, err := s.directory.GetInlinePolicy(account, directory.RoleKind, in.RoleName, in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: text}, nil
}

func (s *Service) listUserPolicies(_ context.Context, account string, in *iam.ListUserPoliciesInput) (*iam.ListUserPoliciesOutput, error) {
	page, err := s.directory.ListInlinePolicies(account, directory.UserKind, in.UserName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListUserPoliciesOutput)
	out.PolicyNames, out.IsTruncated, out.Marker = pageOf(page, itself)
	return out, nil
}

func (s *Service) listRolePolicies(_ context.Context, account string, in *iam.ListRolePoliciesInput) (*iam.ListRolePoliciesOutput, error) {
	page, err := s.directory.ListInlinePolicies(account, directory.RoleKind, in.RoleName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListRolePoliciesOutput)
	out.PolicyNames, out.IsTruncated, out.Marker = pageOf(page, itself)
	return out, nil
}

func (s *Service) deleteUserPolicy(ctx context.Context, account string, in *iam.DeleteUserPolicyInput) (*iam.DeleteUserPolicyOutput, error) {
	return none[iam.DeleteUserPolicyOutput](s.directory.DeleteInlinePolicy(ctx, account, directory.UserKind, in.UserName, in.PolicyName))
}

func (s *Service) deleteRolePolicy(ctx context.Context, account string, in *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error) {
	return none[iam.DeleteRolePolicyOutput](s.directory.DeleteInlinePolicy(ctx, account, directory.RoleKind, in.RoleName, in.PolicyName))
}
