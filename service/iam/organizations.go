package iam

import (
	"context"
	"errors"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// WithOrganizations serves the central management of root access for the
// organizations of o. It is called before Operations.
func (s *Service) WithOrganizations(o *organization.Organizations) *Service {
	s.organizations = o
	return s
}

// rootAccess are the operations of the central management of root access:
// what an organization's management account, or its administrator for IAM, may
// do to the root users of the members (sts:AssumeRoot).
func (s *Service) rootAccess() []operation.Operation {
	if s.organizations == nil {
		return nil
	}
	return []operation.Operation{
		rootFeature(s, iam.EnableOrganizationsRootSessions, organization.RootSessions, true, func(org string, f []iam.FeatureType) *iam.EnableOrganizationsRootSessionsOutput {
			return &iam.EnableOrganizationsRootSessionsOutput{OrganizationId: org, EnabledFeatures: f}
		}),
		rootFeature(s, iam.DisableOrganizationsRootSessions, organization.RootSessions, false, func(org string, f []iam.FeatureType) *iam.DisableOrganizationsRootSessionsOutput {
			return &iam.DisableOrganizationsRootSessionsOutput{OrganizationId: org, EnabledFeatures: f}
		}),
		rootFeature(s, iam.EnableOrganizationsRootCredentialsManagement, organization.RootCredentials, true, func(org string, f []iam.FeatureType) *iam.EnableOrganizationsRootCredentialsManagementOutput {
			return &iam.EnableOrganizationsRootCredentialsManagementOutput{OrganizationId: org, EnabledFeatures: f}
		}),
		rootFeature(s, iam.DisableOrganizationsRootCredentialsManagement, organization.RootCredentials, false, func(org string, f []iam.FeatureType) *iam.DisableOrganizationsRootCredentialsManagementOutput {
			return &iam.DisableOrganizationsRootCredentialsManagementOutput{OrganizationId: org, EnabledFeatures: f}
		}),
		serve(s, iam.ListOrganizationsFeatures, func(_ context.Context, account string, _ *iam.ListOrganizationsFeaturesInput) (*iam.ListOrganizationsFeaturesOutput, error) {
			org, err := s.rootAdministrator(account)
			if err != nil {
				return nil, err
			}
			return &iam.ListOrganizationsFeaturesOutput{OrganizationId: org, EnabledFeatures: featureShapes(s.organizations.Features(org))}, nil
		}, askAll[iam.ListOrganizationsFeaturesInput]),
	}
}

func askAll[I any](q question, _ *I) ([]operation.Ask, error) { return []operation.Ask{q.on("*")}, nil }

// rootFeature is one switch of the central management of root access.
func rootFeature[I, O any](s *Service, op wire.Op[I, O], f organization.Feature, on bool, shape func(org string, f []iam.FeatureType) *O) operation.Operation {
	return serve(s, op, func(ctx context.Context, account string, _ *I) (*O, error) {
		org, err := s.rootAdministrator(account)
		if err != nil {
			return nil, err
		}
		features, err := s.organizations.SetFeature(ctx, org, f, on)
		if errors.Is(err, organization.ErrServiceAccess) {
			return nil, &iam.ServiceAccessNotEnabledException{Message: "Trusted access for IAM is not enabled in the organization. Call EnableAWSServiceAccess for iam.amazonaws.com first."}
		}
		if err != nil {
			return nil, err
		}
		return shape(org, featureShapes(features)), nil
	}, askAll[I])
}

// rootAdministrator is the organization whose root access an account manages.
func (s *Service) rootAdministrator(account string) (org string, err error) {
	of, ok := s.organizations.Of(account)
	switch {
	case !ok:
		return "", &iam.OrganizationNotFoundException{Message: "Your account is not a member of an organization."}
	case of.Management != account && !s.organizations.IsAdministrator(account, organization.IAM):
		return "", &iam.AccountNotManagementOrDelegatedAdministratorException{Message: "Your account is neither the management account nor a delegated administrator for IAM."}
	}
	return of.ID, nil
}

func featureShapes(all []organization.Feature) []iam.FeatureType {
	shapes := []iam.FeatureType{}
	for _, f := range all {
		shapes = append(shapes, iam.FeatureType(f))
	}
	return shapes
}

// isRoot says whether a root session calls about itself: the root user has
// no name, and no credentials of its own here.
func isRoot(call *operation.Call, name string) bool {
	return name == "" && call.Principal.Type == authz.Root
}

// rootUser is what GetUser answers to a root session.
func rootUser(d *directory.Directory, account string) *iam.GetUserOutput {
	a, _ := d.Account(account)
	return &iam.GetUserOutput{User: &iam.User{UserId: account, Arn: arn.Root(account), CreateDate: date(a.Created)}}
}
