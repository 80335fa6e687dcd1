package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

// absent are the listings of what users cannot have here: SSH keys, signing
// certificates and credentials of single services, of which none can be made.
// Tools ask for them before they delete a user, and the true answer is an empty
// list.
func (s *Service) absent() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.ListSSHPublicKeys, s.listSSHPublicKeys, func(q question, in *iam.ListSSHPublicKeysInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.ListSigningCertificates, s.listSigningCertificates, func(q question, in *iam.ListSigningCertificatesInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.ListServiceSpecificCredentials, s.listServiceSpecificCredentials, func(q question, in *iam.ListServiceSpecificCredentialsInput) ([]operation.Ask, error) {
			if in.AllUsers != nil && *in.AllUsers {
				return []operation.Ask{q.under(directory.UserKind, "")}, nil
			}
			return one(q.caller(in.UserName))
		}),
	}
}

// noneOf refuses a user that is not there, and a page behind the only one.
func (s *Service) noneOf(ctx context.Context, account, user, marker string) error {
	if marker != "" {
		return invalid("Invalid Marker.")
	}
	name, err := s.callerOr(ctx, user)
	if err != nil {
		return err
	}
	_, err = s.directory.GetUser(account, name)
	return err
}

func (s *Service) listSSHPublicKeys(ctx context.Context, account string, in *iam.ListSSHPublicKeysInput) (*iam.ListSSHPublicKeysOutput, error) {
	if err := s.noneOf(ctx, account, in.UserName, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListSSHPublicKeysOutput{IsTruncated: new(false)}, nil
}

func (s *Service) listSigningCertificates(ctx context.Context, account string, in *iam.ListSigningCertificatesInput) (*iam.ListSigningCertificatesOutput, error) {
	if err := s.noneOf(ctx, account, in.UserName, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListSigningCertificatesOutput{IsTruncated: new(false)}, nil
}

func (s *Service) listServiceSpecificCredentials(ctx context.Context, account string, in *iam.ListServiceSpecificCredentialsInput) (*iam.ListServiceSpecificCredentialsOutput, error) {
	if in.AllUsers != nil && *in.AllUsers {
		if in.Marker != "" || in.UserName != "" {
			return nil, invalid("AllUsers cannot be combined with UserName or Marker.")
		}
	} else if err := s.noneOf(ctx, account, in.UserName, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListServiceSpecificCredentialsOutput{IsTruncated: new(false)}, nil
}
