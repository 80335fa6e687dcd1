package organizations

import (
	"context"

	api "github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) delegationOperations() []operation.Operation {
	o := s.Organizations
	return []operation.Operation{
		serve(s, api.EnableAWSServiceAccess, func(q *question, in *api.EnableAWSServiceAccessInput) []operation.Ask {
			return serviced(q.all(), in.ServicePrincipal)
		}, within(func(ctx context.Context, org string, in *api.EnableAWSServiceAccessInput) (*api.EnableAWSServiceAccessOutput, error) {
			return done[api.EnableAWSServiceAccessOutput](o.EnableService(ctx, org, in.ServicePrincipal))
		})),
		serve(s, api.DisableAWSServiceAccess, func(q *question, in *api.DisableAWSServiceAccessInput) []operation.Ask {
			return serviced(q.all(), in.ServicePrincipal)
		}, within(func(ctx context.Context, org string, in *api.DisableAWSServiceAccessInput) (*api.DisableAWSServiceAccessOutput, error) {
			return done[api.DisableAWSServiceAccessOutput](o.DisableService(ctx, org, in.ServicePrincipal))
		})),
		serve(s, api.ListAWSServiceAccessForOrganization, func(q *question, _ *api.ListAWSServiceAccessForOrganizationInput) []operation.Ask {
			return q.reads().all()
		}, within(func(_ context.Context, org string, in *api.ListAWSServiceAccessForOrganizationInput) (out *api.ListAWSServiceAccessForOrganizationOutput, err error) {
			out = new(api.ListAWSServiceAccessForOrganizationOutput)
			out.EnabledServicePrincipals, out.NextToken, err = page(o.Services(org), in.NextToken, in.MaxResults, servicePrincipal,
				func(v organization.Service) api.EnabledServicePrincipal {
					return api.EnabledServicePrincipal{ServicePrincipal: v.Principal, DateEnabled: v.Since}
				})
			return out, err
		})),
		serve(s, api.RegisterDelegatedAdministrator, func(q *question, in *api.RegisterDelegatedAdministratorInput) []operation.Ask {
			return serviced(q.one(in.AccountId), in.ServicePrincipal)
		}, within(func(ctx context.Context, org string, in *api.RegisterDelegatedAdministratorInput) (*api.RegisterDelegatedAdministratorOutput, error) {
			return concern[api.RegisterDelegatedAdministratorOutput](ctx, in.AccountId, o.RegisterAdministrator(ctx, org, in.AccountId, in.ServicePrincipal))
		})),
		serve(s, api.DeregisterDelegatedAdministrator, func(q *question, in *api.DeregisterDelegatedAdministratorInput) []operation.Ask {
			return serviced(q.one(in.AccountId), in.ServicePrincipal)
		}, within(func(ctx context.Context, org string, in *api.DeregisterDelegatedAdministratorInput) (*api.DeregisterDelegatedAdministratorOutput, error) {
			return concern[api.DeregisterDelegatedAdministratorOutput](ctx, in.AccountId, o.DeregisterAdministrator(ctx, org, in.AccountId, in.ServicePrincipal))
		})),
		serve(s, api.ListDelegatedAdministrators, func(q *question, in *api.ListDelegatedAdministratorsInput) []operation.Ask {
			return serviced(q.reads().all(), in.ServicePrincipal)
		}, within(func(_ context.Context, org string, in *api.ListDelegatedAdministratorsInput) (out *api.ListDelegatedAdministratorsOutput, err error) {
			out = new(api.ListDelegatedAdministratorsOutput)
			out.DelegatedAdministrators, out.NextToken, err = page(o.Administrators(org, in.ServicePrincipal), in.NextToken, in.MaxResults,
				func(a organization.Administrator) string { return a.ID }, administratorShape)
			return out, err
		})),
		serve(s, api.ListDelegatedServicesForAccount, func(q *question, in *api.ListDelegatedServicesForAccountInput) []operation.Ask {
			return q.reads().one(in.AccountId)
		}, within(func(_ context.Context, org string, in *api.ListDelegatedServicesForAccountInput) (*api.ListDelegatedServicesForAccountOutput, error) {
			all, err := o.Delegated(org, in.AccountId)
			if err != nil {
				return nil, err
			}
			out := new(api.ListDelegatedServicesForAccountOutput)
			out.DelegatedServices, out.NextToken, err = page(all, in.NextToken, in.MaxResults, servicePrincipal,
				func(v organization.Service) api.DelegatedService {
					return api.DelegatedService{ServicePrincipal: v.Principal, DelegationEnabledDate: v.Since}
				})
			return out, err
		})),
		serve(s, api.PutResourcePolicy, func(q *question, in *api.PutResourcePolicyInput) []operation.Ask {
			name := q.arn("resourcepolicy", "*")
			return q.tagging([]operation.Ask{q.on(name)}, in.Tags, name)
		}, within(func(ctx context.Context, org string, in *api.PutResourcePolicyInput) (*api.PutResourcePolicyOutput, error) {
			p, err := o.PutResourcePolicy(ctx, org, in.Content, tagsOf(in.Tags))
			if err != nil {
				return nil, err
			}
			return &api.PutResourcePolicyOutput{ResourcePolicy: resourcePolicyShape(p)}, nil
		})),
		serve(s, api.DescribeResourcePolicy, func(q *question, _ *api.DescribeResourcePolicyInput) []operation.Ask { return q.reads().all() },
			within(func(_ context.Context, org string, _ *api.DescribeResourcePolicyInput) (*api.DescribeResourcePolicyOutput, error) {
				p, err := o.ResourcePolicy(org)
				if err != nil {
					return nil, err
				}
				return &api.DescribeResourcePolicyOutput{ResourcePolicy: resourcePolicyShape(p)}, nil
			})),
		serve(s, api.DeleteResourcePolicy, func(q *question, _ *api.DeleteResourcePolicyInput) []operation.Ask { return q.all() },
			within(func(ctx context.Context, org string, _ *api.DeleteResourcePolicyInput) (*api.DeleteResourcePolicyOutput, error) {
				return done[api.DeleteResourcePolicyOutput](o.DeleteResourcePolicy(ctx, org))
			})),
	}
}

func servicePrincipal(v organization.Service) string { return v.Principal }

func administratorShape(a organization.Administrator) api.DelegatedAdministrator {
	of := accountShape(a.Account)
	return api.DelegatedAdministrator{
		Id: of.Id, Arn: of.Arn, Email: of.Email, Name: of.Name, Status: of.Status, State: of.State, JoinedMethod: of.JoinedMethod,
		JoinedTimestamp: of.JoinedTimestamp, DelegationEnabledDate: a.Since,
	}
}

func resourcePolicyShape(p organization.ResourcePolicy) *api.ResourcePolicy {
	return &api.ResourcePolicy{ResourcePolicySummary: &api.ResourcePolicySummary{Id: p.ID, Arn: p.ARN}, Content: p.Text}
}

func (s *Service) tagOperations() []operation.Operation {
	o := s.Organizations
	return []operation.Operation{
		serve(s, api.TagResource, func(q *question, in *api.TagResourceInput) []operation.Ask {
			return q.tagging(q.one(in.ResourceId), in.Tags, "")
		}, within(func(ctx context.Context, org string, in *api.TagResourceInput) (*api.TagResourceOutput, error) {
			return done[api.TagResourceOutput](o.Tag(ctx, org, in.ResourceId, tagsOf(in.Tags)))
		})),
		serve(s, api.UntagResource, func(q *question, in *api.UntagResourceInput) []operation.Ask {
			asks := q.one(in.ResourceId)
			asks[0].Context.Set("aws:TagKeys", in.TagKeys...)
			return asks
		}, within(func(ctx context.Context, org string, in *api.UntagResourceInput) (*api.UntagResourceOutput, error) {
			return done[api.UntagResourceOutput](o.Untag(ctx, org, in.ResourceId, in.TagKeys))
		})),
		serve(s, api.ListTagsForResource, func(q *question, in *api.ListTagsForResourceInput) []operation.Ask {
			return q.reads().one(in.ResourceId)
		},
			within(func(_ context.Context, org string, in *api.ListTagsForResourceInput) (*api.ListTagsForResourceOutput, error) {
				tags, err := o.Tags(org, in.ResourceId)
				if err != nil {
					return nil, err
				}
				// At most MaxTags: one page.
				out := &api.ListTagsForResourceOutput{Tags: []api.Tag{}}
				for _, t := range tags {
					out.Tags = append(out.Tags, api.Tag(directory.Tag(t)))
				}
				return out, nil
			})),
	}
}
