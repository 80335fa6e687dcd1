package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) attachments() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.AttachUserPolicy, s.attachUserPolicy, func(q question, in *iam.AttachUserPolicyInput) ([]operation.Ask, error) {
			a, err := q.carrier(directory.UserKind, in.UserName)
			return withPolicy(in.PolicyArn, a, err)
		}),
		serve(s, iam.AttachRolePolicy, s.attachRolePolicy, func(q question, in *iam.AttachRolePolicyInput) ([]operation.Ask, error) {
			a, err := q.carrier(directory.RoleKind, in.RoleName)
			return withPolicy(in.PolicyArn, a, err)
		}),
		serve(s, iam.DetachUserPolicy, s.detachUserPolicy, func(q question, in *iam.DetachUserPolicyInput) ([]operation.Ask, error) {
			a, err := q.carrier(directory.UserKind, in.UserName)
			return withPolicy(in.PolicyArn, a, err)
		}),
		serve(s, iam.DetachRolePolicy, s.detachRolePolicy, func(q question, in *iam.DetachRolePolicyInput) ([]operation.Ask, error) {
			a, err := q.carrier(directory.RoleKind, in.RoleName)
			return withPolicy(in.PolicyArn, a, err)
		}),
		serve(s, iam.ListAttachedUserPolicies, s.listAttachedUserPolicies, func(q question, in *iam.ListAttachedUserPoliciesInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
		serve(s, iam.ListAttachedRolePolicies, s.listAttachedRolePolicies, func(q question, in *iam.ListAttachedRolePoliciesInput) ([]operation.Ask, error) {
			return one(q.role(in.RoleName))
		}),
	}
}

func (s *Service) attachUserPolicy(ctx context.Context, account string, in *iam.AttachUserPolicyInput) (*iam.AttachUserPolicyOutput, error) {
	return none[iam.AttachUserPolicyOutput](s.directory.AttachPolicy(ctx, account, directory.UserKind, in.UserName, in.PolicyArn))
}

func (s *Service) attachRolePolicy(ctx context.Context, account string, in *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error) {
	return none[iam.AttachRolePolicyOutput](s.directory.AttachPolicy(ctx, account, directory.RoleKind, in.RoleName, in.PolicyArn))
}

func (s *Service) detachUserPolicy(ctx context.Context, account string, in *iam.DetachUserPolicyInput) (*iam.DetachUserPolicyOutput, error) {
	return none[iam.DetachUserPolicyOutput](s.directory.DetachPolicy(ctx, account, directory.UserKind, in.UserName, in.PolicyArn))
}

func (s *Service) detachRolePolicy(ctx context.Context, account string, in *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error) {
	return none[iam.DetachRolePolicyOutput](s.directory.DetachPolicy(ctx, account, directory.RoleKind, in.RoleName, in.PolicyArn))
}

func (s *Service) listAttachedUserPolicies(_ context.Context, account string, in *iam.ListAttachedUserPoliciesInput) (*iam.ListAttachedUserPoliciesOutput, error) {
	page, err := s.directory.ListAttachedPolicies(account, directory.UserKind, in.UserName, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListAttachedUserPoliciesOutput)
	out.AttachedPolicies, out.IsTruncated, out.Marker = pageOf(page, attachedShape)
	return out, nil
}

func (s *Service) listAttachedRolePolicies(_ context.Context, account string, in *iam.ListAttachedRolePoliciesInput) (*iam.ListAttachedRolePoliciesOutput, error) {
	page, err := s.directory.ListAttachedPolicies(account, directory.RoleKind, in.RoleName, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListAttachedRolePoliciesOutput)
	out.AttachedPolicies, out.IsTruncated, out.Marker = pageOf(page, attachedShape)
	return out, nil
}
