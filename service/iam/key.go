package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) accessKeys() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateAccessKey, s.createAccessKey, func(q question, in *iam.CreateAccessKeyInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.ListAccessKeys, s.listAccessKeys, func(q question, in *iam.ListAccessKeysInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.UpdateAccessKey, s.updateAccessKey, func(q question, in *iam.UpdateAccessKeyInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.DeleteAccessKey, s.deleteAccessKey, func(q question, in *iam.DeleteAccessKeyInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.GetAccessKeyLastUsed, s.getAccessKeyLastUsed, func(q question, in *iam.GetAccessKeyLastUsedInput) ([]operation.Ask, error) {
			return one(q.accessKey(in.AccessKeyId))
		}),
	}
}

func (s *Service) createAccessKey(ctx context.Context, account string, in *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	k, err := s.directory.CreateAccessKey(ctx, account, name)
	if err != nil {
		return nil, err
	}
	return &iam.CreateAccessKeyOutput{AccessKey: &iam.AccessKey{
		UserName: k.UserName, AccessKeyId: k.ID, Status: status(k.Active), CreateDate: date(k.Created),
		// A placeholder: the gate writes the secret over it and destroys it.
		SecretAccessKey: operation.CallFrom(ctx).Reveal(k.Secret),
	}}, nil
}

func (s *Service) listAccessKeys(ctx context.Context, account string, in *iam.ListAccessKeysInput) (*iam.ListAccessKeysOutput, error) {
	if isRoot(operation.CallFrom(ctx), in.UserName) {
		return &iam.ListAccessKeysOutput{AccessKeyMetadata: []iam.AccessKeyMetadata{}, IsTruncated: new(false)}, nil
	}
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	page, err := s.directory.ListAccessKeys(account, name, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListAccessKeysOutput)
	out.AccessKeyMetadata, out.IsTruncated, out.Marker = pageOf(page, keyShape)
	return out, nil
}

func (s *Service) updateAccessKey(ctx context.Context, account string, in *iam.UpdateAccessKeyInput) (*iam.UpdateAccessKeyOutput, error) {
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	switch in.Status {
	case iam.StatusTypeActive, iam.StatusTypeInactive:
	default: // Expired is in the model, but nobody can set it
		return nil, invalid("1 validation error detected: Value '%s' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive]", in.Status)
	}
	return none[iam.UpdateAccessKeyOutput](s.directory.UpdateAccessKey(ctx, account, name, in.AccessKeyId, in.Status == iam.StatusTypeActive))
}

func (s *Service) deleteAccessKey(ctx context.Context, account string, in *iam.DeleteAccessKeyInput) (*iam.DeleteAccessKeyOutput, error) {
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	return none[iam.DeleteAccessKeyOutput](s.directory.DeleteAccessKey(ctx, account, name, in.AccessKeyId))
}

func (s *Service) getAccessKeyLastUsed(_ context.Context, account string, in *iam.GetAccessKeyLastUsedInput) (*iam.GetAccessKeyLastUsedOutput, error) {
	use, err := s.directory.GetAccessKeyLastUsed(account, in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	last := &iam.AccessKeyLastUsed{ServiceName: use.Service, Region: use.Region}
	if !use.Time.IsZero() {
		last.LastUsedDate = date(use.Time)
	}
	return &iam.GetAccessKeyLastUsedOutput{UserName: use.UserName, AccessKeyLastUsed: last}, nil
}
