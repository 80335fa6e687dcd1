package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) groupPolicies() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.AttachGroupPolicy, s.attachGroupPolicy, func(q question, in *iam.AttachGroupPolicyInput) ([]operation.Ask, error) {
			a, err := q.group(in.GroupName)
			return withPolicy(in.PolicyArn, a, err)
		}),
		serve(s, iam.DetachGroupPolicy, s.detachGroupPolicy, func(q question, in *iam.DetachGroupPolicyInput) ([]operation.Ask, error) {
			a, err := q.group(in.GroupName)
			return withPolicy(in.PolicyArn, a, err)
		}),
		serve(s, iam.ListAttachedGroupPolicies, s.listAttachedGroupPolicies, func(q question, in *iam.ListAttachedGroupPoliciesInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
		serve(s, iam.PutGroupPolicy, s.putGroupPolicy, func(q question, in *iam.PutGroupPolicyInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
		serve(s, iam.GetGroupPolicy, s.getGroupPolicy, func(q question, in *iam.GetGroupPolicyInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
		serve(s, iam.ListGroupPolicies, s.listGroupPolicies, func(q question, in *iam.ListGroupPoliciesInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
		serve(s, iam.DeleteGroupPolicy, s.deleteGroupPolicy, func(q question, in *iam.DeleteGroupPolicyInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
	}
}

func (s *Service) attachGroupPolicy(ctx context.Context, account string, in *iam.AttachGroupPolicyInput) (*iam.AttachGroupPolicyOutput, error) {
	return none[iam.AttachGroupPolicyOutput](s.directory.AttachPolicy(ctx, account, directory.GroupKind, in.GroupName, in.PolicyArn))
}

func (s *Service) detachGroupPolicy(ctx context.Context, account string, in *iam.DetachGroupPolicyInput) (*iam.DetachGroupPolicyOutput, error) {
	return none[iam.DetachGroupPolicyOutput](s.directory.DetachPolicy(ctx, account, directory.GroupKind, in.GroupName, in.PolicyArn))
}

func (s *Service) listAttachedGroupPolicies(_ context.Context, account string, in *iam.ListAttachedGroupPoliciesInput) (*iam.ListAttachedGroupPoliciesOutput, error) {
	page, err := s.directory.ListAttachedPolicies(account, directory.GroupKind, in.GroupName, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListAttachedGroupPoliciesOutput)
	out.AttachedPolicies, out.IsTruncated, out.Marker = pageOf(page, attachedShape)
	return out, nil
}

func (s *Service) putGroupPolicy(ctx context.Context, account string, in *iam.PutGroupPolicyInput) (*iam.PutGroupPolicyOutput, error) {
	return none[iam.PutGroupPolicyOutput](s.directory.PutInlinePolicy(ctx, account, directory.GroupKind, in.GroupName, in.PolicyName, in.PolicyDocument))
}

// getGroupPolicy answers names as the call spells them.
func (s *Service) getGroupPolicy(_ context.Context, account string, in *iam.GetGroupPolicyInput) (*iam.GetGroupPolicyOutput, error) {
	text, err := s.directory.GetInlinePolicy(account, directory.GroupKind, in.GroupName, in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iam.GetGroupPolicyOutput{GroupName: in.GroupName, PolicyName: in.PolicyName, PolicyDocument: text}, nil
}

func (s *Service) listGroupPolicies(_ context.Context, account string, in *iam.ListGroupPoliciesInput) (*iam.ListGroupPoliciesOutput, error) {
	page, err := s.directory.ListInlinePolicies(account, directory.GroupKind, in.GroupName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListGroupPoliciesOutput)
	out.PolicyNames, out.IsTruncated, out.Marker = pageOf(page, itself)
	return out, nil
}

func (s *Service) deleteGroupPolicy(ctx context.Context, account string, in *iam.DeleteGroupPolicyInput) (*iam.DeleteGroupPolicyOutput, error) {
	return none[iam.DeleteGroupPolicyOutput](s.directory.DeleteInlinePolicy(ctx, account, directory.GroupKind, in.GroupName, in.PolicyName))
}
