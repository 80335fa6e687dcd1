package organizations

import (
	"context"

	api "github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) organizationOperations() []operation.Operation {
	return []operation.Operation{
		serve(s, api.CreateOrganization, func(q *question, _ *api.CreateOrganizationInput) []operation.Ask { return q.mine().all() }, s.createOrganization),
		serve(s, api.DescribeOrganization, func(q *question, _ *api.DescribeOrganizationInput) []operation.Ask { return q.mine().all() }, s.describeOrganization),
		serve(s, api.DeleteOrganization, func(q *question, _ *api.DeleteOrganizationInput) []operation.Ask { return q.all() },
			within(func(ctx context.Context, org string, _ *api.DeleteOrganizationInput) (*api.DeleteOrganizationOutput, error) {
				return done[api.DeleteOrganizationOutput](s.Organizations.DeleteOrganization(ctx, org))
			})),
		serve(s, api.EnableAllFeatures, func(q *question, _ *api.EnableAllFeaturesInput) []operation.Ask { return q.all() },
			within(func(context.Context, string, *api.EnableAllFeaturesInput) (*api.EnableAllFeaturesOutput, error) {
				return nil, &api.HandshakeConstraintViolationException{
					Message: "The organization already has all features enabled.",
					Reason:  api.HandshakeConstraintViolationExceptionReasonOrganizationAlreadyHasAllFeatures,
				}
			})),
	}
}

// createOrganization makes an organization with all features: there is no
// billing here that one with fewer could be for.
func (s *Service) createOrganization(ctx context.Context, c caller, in *api.CreateOrganizationInput) (*api.CreateOrganizationOutput, error) {
	if in.FeatureSet == api.OrganizationFeatureSetConsolidatedBilling {
		return nil, &api.ConstraintViolationException{
			Message: "An organization for consolidated billing can't be created here: there is no billing. Create one with all features.",
			Reason:  api.ConstraintViolationExceptionReasonCreateOrganizationInBillingModeUnsupportedRegion,
		}
	}
	o, err := s.Organizations.CreateOrganization(ctx, c.account)
	if err != nil {
		return nil, err
	}
	return &api.CreateOrganizationOutput{Organization: organizationShape(o)}, nil
}

func (s *Service) describeOrganization(_ context.Context, c caller, _ *api.DescribeOrganizationInput) (*api.DescribeOrganizationOutput, error) {
	if c.org.ID == "" {
		return nil, &api.AWSOrganizationsNotInUseException{Message: "Your account is not a member of an organization."}
	}
	return &api.DescribeOrganizationOutput{Organization: organizationShape(c.org)}, nil
}

func organizationShape(o organization.Organization) *api.Organization {
	return &api.Organization{
		Id: o.ID, Arn: o.ARN, FeatureSet: api.OrganizationFeatureSetAll,
		MasterAccountId: o.Management, MasterAccountArn: o.ManagementARN, MasterAccountEmail: o.ManagementEmail,
		// AWS answers this for every organization with all features, whatever is enabled; ListRoots tells the truth.
		AvailablePolicyTypes: []api.PolicyTypeSummary{{Type: api.PolicyTypeServiceControlPolicy, Status: api.PolicyTypeStatusEnabled}},
	}
}

func (s *Service) treeOperations() []operation.Operation {
	o := s.Organizations
	return []operation.Operation{
		serve(s, api.ListRoots, func(q *question, _ *api.ListRootsInput) []operation.Ask { return q.reads().all() },
			within(func(_ context.Context, org string, in *api.ListRootsInput) (out *api.ListRootsOutput, err error) {
				out = new(api.ListRootsOutput)
				out.Roots, out.NextToken, err = page(o.Roots(org), in.NextToken, in.MaxResults, func(r organization.Root) string { return r.ID }, rootShape)
				return out, err
			})),
		serve(s, api.CreateOrganizationalUnit, func(q *question, in *api.CreateOrganizationalUnitInput) []operation.Ask {
			return q.tagging(q.one(in.ParentId), in.Tags, q.arn("ou", "*"))
		}, within(func(ctx context.Context, org string, in *api.CreateOrganizationalUnitInput) (*api.CreateOrganizationalUnitOutput, error) {
			u, err := o.CreateUnit(ctx, org, in.ParentId, in.Name, tagsOf(in.Tags))
			if err != nil {
				return nil, err
			}
			return &api.CreateOrganizationalUnitOutput{OrganizationalUnit: new(unitShape(u))}, nil
		})),
		serve(s, api.DescribeOrganizationalUnit, func(q *question, in *api.DescribeOrganizationalUnitInput) []operation.Ask {
			return q.reads().one(in.OrganizationalUnitId)
		}, within(func(_ context.Context, org string, in *api.DescribeOrganizationalUnitInput) (*api.DescribeOrganizationalUnitOutput, error) {
			u, err := o.Unit(org, in.OrganizationalUnitId)
			if err != nil {
				return nil, err
			}
			return &api.DescribeOrganizationalUnitOutput{OrganizationalUnit: new(unitShape(u))}, nil
		})),
		serve(s, api.UpdateOrganizationalUnit, func(q *question, in *api.UpdateOrganizationalUnitInput) []operation.Ask {
			return q.one(in.OrganizationalUnitId)
		}, within(func(ctx context.Context, org string, in *api.UpdateOrganizationalUnitInput) (*api.UpdateOrganizationalUnitOutput, error) {
			u, err := o.UpdateUnit(ctx, org, in.OrganizationalUnitId, in.Name)
			if err != nil {
				return nil, err
			}
			return &api.UpdateOrganizationalUnitOutput{OrganizationalUnit: new(unitShape(u))}, nil
		})),
		serve(s, api.DeleteOrganizationalUnit, func(q *question, in *api.DeleteOrganizationalUnitInput) []operation.Ask {
			return q.one(in.OrganizationalUnitId)
		}, within(func(ctx context.Context, org string, in *api.DeleteOrganizationalUnitInput) (*api.DeleteOrganizationalUnitOutput, error) {
			return done[api.DeleteOrganizationalUnitOutput](o.DeleteUnit(ctx, org, in.OrganizationalUnitId))
		})),
		serve(s, api.ListOrganizationalUnitsForParent, func(q *question, in *api.ListOrganizationalUnitsForParentInput) []operation.Ask {
			return q.reads().one(in.ParentId)
		}, within(func(_ context.Context, org string, in *api.ListOrganizationalUnitsForParentInput) (*api.ListOrganizationalUnitsForParentOutput, error) {
			units, err := o.Units(org, in.ParentId)
			if err != nil {
				return nil, err
			}
			out := new(api.ListOrganizationalUnitsForParentOutput)
			out.OrganizationalUnits, out.NextToken, err = page(units, in.NextToken, in.MaxResults, func(u organization.Unit) string { return u.ID }, unitShape)
			return out, err
		})),
		serve(s, api.ListChildren, func(q *question, in *api.ListChildrenInput) []operation.Ask { return q.reads().one(in.ParentId) },
			within(func(_ context.Context, org string, in *api.ListChildrenInput) (*api.ListChildrenOutput, error) {
				children, err := o.Children(org, in.ParentId, string(in.ChildType))
				if err != nil {
					return nil, err
				}
				out := new(api.ListChildrenOutput)
				out.Children, out.NextToken, err = page(children, in.NextToken, in.MaxResults, nodeID,
					func(n organization.Node) api.Child { return api.Child{Id: n.ID, Type: api.ChildType(n.Kind)} })
				return out, err
			})),
		serve(s, api.ListParents, func(q *question, in *api.ListParentsInput) []operation.Ask { return q.reads().one(in.ChildId) },
			within(func(_ context.Context, org string, in *api.ListParentsInput) (*api.ListParentsOutput, error) {
				parent, err := o.Parent(org, in.ChildId)
				if err != nil {
					return nil, err
				}
				out := new(api.ListParentsOutput)
				out.Parents, out.NextToken, err = page([]organization.Node{parent}, in.NextToken, in.MaxResults, nodeID,
					func(n organization.Node) api.Parent { return api.Parent{Id: n.ID, Type: api.ParentType(n.Kind)} })
				return out, err
			})),
		serve(s, api.MoveAccount, func(q *question, in *api.MoveAccountInput) []operation.Ask {
			return []operation.Ask{q.node(in.AccountId), q.node(in.SourceParentId), q.node(in.DestinationParentId)}
		}, within(func(ctx context.Context, org string, in *api.MoveAccountInput) (*api.MoveAccountOutput, error) {
			return concern[api.MoveAccountOutput](ctx, in.AccountId, o.MoveAccount(ctx, org, in.AccountId, in.SourceParentId, in.DestinationParentId))
		})),
	}
}

func nodeID(n organization.Node) string { return n.ID }

func rootShape(r organization.Root) api.Root {
	shape := api.Root{Id: r.ID, Arn: r.ARN, Name: r.Name, PolicyTypes: []api.PolicyTypeSummary{}}
	for _, t := range r.Types {
		shape.PolicyTypes = append(shape.PolicyTypes, api.PolicyTypeSummary{Type: api.PolicyType(t), Status: api.PolicyTypeStatusEnabled})
	}
	return shape
}

func unitShape(u organization.Unit) api.OrganizationalUnit {
	return api.OrganizationalUnit{Id: u.ID, Arn: u.ARN, Name: u.Name, Path: u.Path}
}
