package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) policies() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreatePolicy, s.createPolicy, func(q question, in *iam.CreatePolicyInput) ([]operation.Ask, error) {
			return q.created(directory.PolicyKind, in.Path, in.PolicyName, "", in.Tags), nil
		}),
		serve(s, iam.GetPolicy, s.getPolicy, func(q question, in *iam.GetPolicyInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
		serve(s, iam.ListPolicies, s.listPolicies, func(q question, in *iam.ListPoliciesInput) ([]operation.Ask, error) {
			return []operation.Ask{q.under(directory.PolicyKind, in.PathPrefix)}, nil
		}),
		serve(s, iam.DeletePolicy, s.deletePolicy, func(q question, in *iam.DeletePolicyInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
		serve(s, iam.CreatePolicyVersion, s.createPolicyVersion, func(q question, in *iam.CreatePolicyVersionInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
		serve(s, iam.GetPolicyVersion, s.getPolicyVersion, func(q question, in *iam.GetPolicyVersionInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
		serve(s, iam.ListPolicyVersions, s.listPolicyVersions, func(q question, in *iam.ListPolicyVersionsInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
		serve(s, iam.DeletePolicyVersion, s.deletePolicyVersion, func(q question, in *iam.DeletePolicyVersionInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
		serve(s, iam.SetDefaultPolicyVersion, s.setDefaultPolicyVersion, func(q question, in *iam.SetDefaultPolicyVersionInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
	}
}

func (s *Service) createPolicy(ctx context.Context, account string, in *iam.CreatePolicyInput) (*iam.CreatePolicyOutput, error) {
	p, err := s.directory.CreatePolicy(ctx, account, directory.NewPolicy{
		Name: in.PolicyName, Path: in.Path, Description: in.Description, Document: in.PolicyDocument, Tags: tagsOf(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreatePolicyOutput{Policy: new(policyShape(p))}, nil
}

func (s *Service) getPolicy(_ context.Context, account string, in *iam.GetPolicyInput) (*iam.GetPolicyOutput, error) {
	p, err := s.directory.GetPolicy(account, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	return &iam.GetPolicyOutput{Policy: new(policyShape(p))}, nil
}

func (s *Service) listPolicies(_ context.Context, account string, in *iam.ListPoliciesInput) (*iam.ListPoliciesOutput, error) {
	filter := directory.PolicyFilter{
		Managed: in.Scope == iam.PolicyScopeTypeAWS, Local: in.Scope == iam.PolicyScopeTypeLocal,
		OnlyAttached: in.OnlyAttached != nil && *in.OnlyAttached, Usage: string(in.PolicyUsageFilter),
	}
	page, err := s.directory.ListPolicies(account, filter, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListPoliciesOutput)
	out.Policies, out.IsTruncated, out.Marker = pageOf(page, listedPolicy)
	return out, nil
}

func (s *Service) deletePolicy(ctx context.Context, account string, in *iam.DeletePolicyInput) (*iam.DeletePolicyOutput, error) {
	return none[iam.DeletePolicyOutput](s.directory.DeletePolicy(ctx, account, in.PolicyArn))
}

func (s *Service) createPolicyVersion(ctx context.Context, account string, in *iam.CreatePolicyVersionInput) (*iam.CreatePolicyVersionOutput, error) {
	v, err := s.directory.CreatePolicyVersion(ctx, account, in.PolicyArn, in.PolicyDocument, in.SetAsDefault != nil && *in.SetAsDefault)
	if err != nil {
		return nil, err
	}
	return &iam.CreatePolicyVersionOutput{PolicyVersion: new(listedVersion(v))}, nil
}

func (s *Service) getPolicyVersion(_ context.Context, account string, in *iam.GetPolicyVersionInput) (*iam.GetPolicyVersionOutput, error) {
	v, err := s.directory.GetPolicyVersion(account, in.PolicyArn, in.VersionId)
	if err != nil {
		return nil, err
	}
	return &iam.GetPolicyVersionOutput{PolicyVersion: new(versionShape(v))}, nil
}

func (s *Service) listPolicyVersions(_ context.Context, account string, in *iam.ListPolicyVersionsInput) (*iam.ListPolicyVersionsOutput, error) {
	page, err := s.directory.ListPolicyVersions(account, in.PolicyArn, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListPolicyVersionsOutput)
	out.Versions, out.IsTruncated, out.Marker = pageOf(page, listedVersion)
	return out, nil
}

func (s *Service) deletePolicyVersion(ctx context.Context, account string, in *iam.DeletePolicyVersionInput) (*iam.DeletePolicyVersionOutput, error) {
	return none[iam.DeletePolicyVersionOutput](s.directory.DeletePolicyVersion(ctx, account, in.PolicyArn, in.VersionId))
}

func (s *Service) setDefaultPolicyVersion(ctx context.Context, account string, in *iam.SetDefaultPolicyVersionInput) (*iam.SetDefaultPolicyVersionOutput, error) {
	return none[iam.SetDefaultPolicyVersionOutput](s.directory.SetDefaultPolicyVersion(ctx, account, in.PolicyArn, in.VersionId))
}
