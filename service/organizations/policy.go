package organizations

import (
	"context"
	"strings"

	api "github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) policyOperations() []operation.Operation {
	o := s.Organizations
	return []operation.Operation{
		serve(s, api.CreatePolicy, func(q *question, in *api.CreatePolicyInput) []operation.Ask {
			name := q.arn("policy", strings.ToLower(string(in.Type))+"/*")
			return typed(q.tagging([]operation.Ask{q.on(name)}, in.Tags, name), string(in.Type))
		}, within(func(ctx context.Context, org string, in *api.CreatePolicyInput) (*api.CreatePolicyOutput, error) {
			p, err := o.CreatePolicy(ctx, org, organization.NewPolicy{
				Type: organization.Type(in.Type), Name: in.Name, Description: in.Description, Text: in.Content, Tags: tagsOf(in.Tags),
			})
			if err != nil {
				return nil, err
			}
			return &api.CreatePolicyOutput{Policy: policyShape(p)}, nil
		})),
		serve(s, api.DescribePolicy, func(q *question, in *api.DescribePolicyInput) []operation.Ask { return q.reads().one(in.PolicyId) },
			within(func(_ context.Context, org string, in *api.DescribePolicyInput) (*api.DescribePolicyOutput, error) {
				p, err := o.Policy(org, in.PolicyId)
				if err != nil {
					return nil, err
				}
				return &api.DescribePolicyOutput{Policy: policyShape(p)}, nil
			})),
		serve(s, api.UpdatePolicy, func(q *question, in *api.UpdatePolicyInput) []operation.Ask { return q.one(in.PolicyId) },
			within(func(ctx context.Context, org string, in *api.UpdatePolicyInput) (*api.UpdatePolicyOutput, error) {
				change := organization.PolicyUpdate{Description: in.Description}
				if in.Name != "" {
					change.Name = &in.Name
				}
				if in.Content != "" {
					change.Text = &in.Content
				}
				p, err := o.UpdatePolicy(ctx, org, in.PolicyId, change)
				if err != nil {
					return nil, err
				}
				return &api.UpdatePolicyOutput{Policy: policyShape(p)}, nil
			})),
		serve(s, api.DeletePolicy, func(q *question, in *api.DeletePolicyInput) []operation.Ask { return q.one(in.PolicyId) },
			within(func(ctx context.Context, org string, in *api.DeletePolicyInput) (*api.DeletePolicyOutput, error) {
				return done[api.DeletePolicyOutput](o.DeletePolicy(ctx, org, in.PolicyId))
			})),
		serve(s, api.ListPolicies, func(q *question, in *api.ListPoliciesInput) []operation.Ask {
			return typed(q.reads().all(), string(in.Filter))
		}, within(func(_ context.Context, org string, in *api.ListPoliciesInput) (out *api.ListPoliciesOutput, err error) {
			out = new(api.ListPoliciesOutput)
			out.Policies, out.NextToken, err = page(o.Policies(org, organization.Type(in.Filter)), in.NextToken, in.MaxResults, policyID, summaryShape)
			return out, err
		})),
		serve(s, api.AttachPolicy, func(q *question, in *api.AttachPolicyInput) []operation.Ask {
			return q.policyOn(in.PolicyId, in.TargetId)
		},
			within(func(ctx context.Context, org string, in *api.AttachPolicyInput) (*api.AttachPolicyOutput, error) {
				return concern[api.AttachPolicyOutput](ctx, in.TargetId, o.AttachPolicy(ctx, org, in.PolicyId, in.TargetId))
			})),
		serve(s, api.DetachPolicy, func(q *question, in *api.DetachPolicyInput) []operation.Ask {
			return q.policyOn(in.PolicyId, in.TargetId)
		},
			within(func(ctx context.Context, org string, in *api.DetachPolicyInput) (*api.DetachPolicyOutput, error) {
				return concern[api.DetachPolicyOutput](ctx, in.TargetId, o.DetachPolicy(ctx, org, in.PolicyId, in.TargetId))
			})),
		serve(s, api.ListPoliciesForTarget, func(q *question, in *api.ListPoliciesForTargetInput) []operation.Ask {
			return typed(q.reads().one(in.TargetId), string(in.Filter))
		}, within(func(_ context.Context, org string, in *api.ListPoliciesForTargetInput) (*api.ListPoliciesForTargetOutput, error) {
			all, err := o.Attached(org, in.TargetId, organization.Type(in.Filter))
			if err != nil {
				return nil, err
			}
			out := new(api.ListPoliciesForTargetOutput)
			out.Policies, out.NextToken, err = page(all, in.NextToken, in.MaxResults, policyID, summaryShape)
			return out, err
		})),
		serve(s, api.ListTargetsForPolicy, func(q *question, in *api.ListTargetsForPolicyInput) []operation.Ask {
			return q.reads().one(in.PolicyId)
		},
			within(func(_ context.Context, org string, in *api.ListTargetsForPolicyInput) (*api.ListTargetsForPolicyOutput, error) {
				all, err := o.Targets(org, in.PolicyId)
				if err != nil {
					return nil, err
				}
				out := new(api.ListTargetsForPolicyOutput)
				out.Targets, out.NextToken, err = page(all, in.NextToken, in.MaxResults, nodeID, func(n organization.Node) api.PolicyTargetSummary {
					return api.PolicyTargetSummary{TargetId: n.ID, Arn: n.ARN, Name: n.Name, Type: api.TargetType(n.Kind)}
				})
				return out, err
			})),
		serve(s, api.EnablePolicyType, func(q *question, in *api.EnablePolicyTypeInput) []operation.Ask {
			return typed(q.one(in.RootId), string(in.PolicyType))
		}, within(func(ctx context.Context, org string, in *api.EnablePolicyTypeInput) (*api.EnablePolicyTypeOutput, error) {
			r, err := o.EnableType(ctx, org, in.RootId, organization.Type(in.PolicyType))
			if err != nil {
				return nil, err
			}
			return &api.EnablePolicyTypeOutput{Root: new(rootShape(r))}, nil
		})),
		serve(s, api.DisablePolicyType, func(q *question, in *api.DisablePolicyTypeInput) []operation.Ask {
			return typed(q.one(in.RootId), string(in.PolicyType))
		}, within(func(ctx context.Context, org string, in *api.DisablePolicyTypeInput) (*api.DisablePolicyTypeOutput, error) {
			r, err := o.DisableType(ctx, org, in.RootId, organization.Type(in.PolicyType))
			if err != nil {
				return nil, err
			}
			return &api.DisablePolicyTypeOutput{Root: new(rootShape(r))}, nil
		})),
		serve(s, api.DescribeEffectivePolicy, func(q *question, in *api.DescribeEffectivePolicyInput) []operation.Ask {
			if in.TargetId == "" || in.TargetId == q.call.Account {
				q.mine()
			}
			target := in.TargetId
			if target == "" {
				target = q.call.Account
			}
			return typed(q.reads().one(target), string(in.PolicyType))
		}, within(s.effectivePolicy)),
	}
}

// effectivePolicy: AWS merges policies of the management types into one
// effective policy; none of those types is enforced here, so none can be
// enabled, and no target has one. SCPs and RCPs have no effective policy
// anywhere: every level counts by itself.
func (s *Service) effectivePolicy(ctx context.Context, org string, in *api.DescribeEffectivePolicyInput) (*api.DescribeEffectivePolicyOutput, error) {
	target := in.TargetId
	if target == "" {
		target = operation.CallFrom(ctx).Account
	}
	if n, ok := s.Organizations.Node(org, target); !ok || n.Kind != organization.KindAccount {
		return nil, &api.TargetNotFoundException{Message: "We can't find a root, OU, account, or policy with the TargetId that you specified."}
	}
	return nil, &api.EffectivePolicyNotFoundException{Message: "The policy type is not enabled, or the account doesn't have an effective policy of this type."}
}

func policyID(p organization.Policy) string { return p.ID }

func policyShape(p organization.Policy) *api.Policy {
	return &api.Policy{PolicySummary: new(summaryShape(p)), Content: p.Text}
}

func summaryShape(p organization.Policy) api.PolicySummary {
	return api.PolicySummary{Id: p.ID, Arn: p.ARN, Name: p.Name, Description: p.Description, Type: api.PolicyType(p.Type), AwsManaged: new(p.Managed)}
}
