package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/operation"
)

// outboundOperations say whether an account's principals may be known outside
// by tokens (sts:GetWebIdentityToken). AWS asks about them on no resource.
func (s *Service) outboundOperations() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.EnableOutboundWebIdentityFederation, s.enableOutbound, func(q question, _ *iam.EnableOutboundWebIdentityFederationInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.DisableOutboundWebIdentityFederation, s.disableOutbound, func(q question, _ *iam.DisableOutboundWebIdentityFederationInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.GetOutboundWebIdentityFederationInfo, s.outboundInfo, func(q question, _ *iam.GetOutboundWebIdentityFederationInfoInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
	}
}

// noIssuer is the answer of a plane that was started without one.
func (s *Service) noIssuer() error {
	if s.issuer != nil {
		return nil
	}
	return &iam.FeatureDisabledException{Message: "Outbound Web Identity Federation is not available here"}
}

func (s *Service) enableOutbound(ctx context.Context, account string, _ *iam.EnableOutboundWebIdentityFederationInput) (*iam.EnableOutboundWebIdentityFederationOutput, error) {
	if err := s.noIssuer(); err != nil {
		return nil, err
	}
	url, err := s.issuer.Enable(ctx, account)
	if err != nil {
		return nil, err
	}
	return &iam.EnableOutboundWebIdentityFederationOutput{IssuerIdentifier: url}, nil
}

func (s *Service) disableOutbound(ctx context.Context, account string, _ *iam.DisableOutboundWebIdentityFederationInput) (*iam.DisableOutboundWebIdentityFederationOutput, error) {
	if err := s.noIssuer(); err != nil {
		return nil, err
	}
	return none[iam.DisableOutboundWebIdentityFederationOutput](s.issuer.Disable(ctx, account))
}

func (s *Service) outboundInfo(_ context.Context, account string, _ *iam.GetOutboundWebIdentityFederationInfoInput) (*iam.GetOutboundWebIdentityFederationInfoOutput, error) {
	if err := s.noIssuer(); err != nil {
		return nil, err
	}
	url, err := s.issuer.Info(account)
	if err != nil {
		return nil, err
	}
	return &iam.GetOutboundWebIdentityFederationInfoOutput{IssuerIdentifier: url, JwtVendingEnabled: new(true)}, nil
}
