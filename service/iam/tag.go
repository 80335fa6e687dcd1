package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) tags() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.TagUser, s.tagUser, func(q question, in *iam.TagUserInput) ([]operation.Ask, error) {
			a, err := q.user(in.UserName)
			return one(tagged(a, in.Tags), err)
		}),
		serve(s, iam.TagRole, s.tagRole, func(q question, in *iam.TagRoleInput) ([]operation.Ask, error) {
			a, err := q.role(in.RoleName)
			return one(tagged(a, in.Tags), err)
		}),
		serve(s, iam.TagPolicy, s.tagPolicy, func(q question, in *iam.TagPolicyInput) ([]operation.Ask, error) {
			a, err := q.policy(in.PolicyArn)
			return one(tagged(a, in.Tags), err)
		}),
		serve(s, iam.UntagUser, s.untagUser, func(q question, in *iam.UntagUserInput) ([]operation.Ask, error) {
			a, err := q.user(in.UserName)
			return one(untagged(a, in.TagKeys), err)
		}),
		serve(s, iam.UntagRole, s.untagRole, func(q question, in *iam.UntagRoleInput) ([]operation.Ask, error) {
			a, err := q.role(in.RoleName)
			return one(untagged(a, in.TagKeys), err)
		}),
		serve(s, iam.UntagPolicy, s.untagPolicy, func(q question, in *iam.UntagPolicyInput) ([]operation.Ask, error) {
			a, err := q.policy(in.PolicyArn)
			return one(untagged(a, in.TagKeys), err)
		}),
		serve(s, iam.ListUserTags, s.listUserTags, func(q question, in *iam.ListUserTagsInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
		serve(s, iam.ListRoleTags, s.listRoleTags, func(q question, in *iam.ListRoleTagsInput) ([]operation.Ask, error) {
			return one(q.role(in.RoleName))
		}),
		serve(s, iam.ListPolicyTags, s.listPolicyTags, func(q question, in *iam.ListPolicyTagsInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
	}
}

// untagged is a with the keys of the tags that the call takes away.
func untagged(a operation.Ask, keys []string) operation.Ask {
	a.Context.Add("aws:TagKeys", keys...)
	return a
}

func (s *Service) tagUser(ctx context.Context, account string, in *iam.TagUserInput) (*iam.TagUserOutput, error) {
	return none[iam.TagUserOutput](s.directory.Tag(ctx, account, directory.UserKind, in.UserName, tagsOf(in.Tags)))
}

func (s *Service) tagRole(ctx context.Context, account string, in *iam.TagRoleInput) (*iam.TagRoleOutput, error) {
	return none[iam.TagRoleOutput](s.directory.Tag(ctx, account, directory.RoleKind, in.RoleName, tagsOf(in.Tags)))
}

func (s *Service) tagPolicy(ctx context.Context, account string, in *iam.TagPolicyInput) (*iam.TagPolicyOutput, error) {
	return none[iam.TagPolicyOutput](s.directory.Tag(ctx, account, directory.PolicyKind, in.PolicyArn, tagsOf(in.Tags)))
}

func (s *Service) untagUser(ctx context.Context, account string, in *iam.UntagUserInput) (*iam.UntagUserOutput, error) {
	return none[iam.UntagUserOutput](s.directory.Untag(ctx, account, directory.UserKind, in.UserName, in.TagKeys))
}

func (s *Service) untagRole(ctx context.Context, account string, in *iam.UntagRoleInput) (*iam.UntagRoleOutput, error) {
	return none[iam.UntagRoleOutput](s.directory.Untag(ctx, account, directory.RoleKind, in.RoleName, in.TagKeys))
}

func (s *Service) untagPolicy(ctx context.Context, account string, in *iam.UntagPolicyInput) (*iam.UntagPolicyOutput, error) {
	return none[iam.UntagPolicyOutput](s.directory.Untag(ctx, account, directory.PolicyKind, in.PolicyArn, in.TagKeys))
}

func (s *Service) listUserTags(_ context.Context, account string, in *iam.ListUserTagsInput) (*iam.ListUserTagsOutput, error) {
	page, err := s.directory.ListTags(account, directory.UserKind, in.UserName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListUserTagsOutput)
	out.Tags, out.IsTruncated, out.Marker = pageOf(page, tagShape)
	return out, nil
}

func (s *Service) listRoleTags(_ context.Context, account string, in *iam.ListRoleTagsInput) (*iam.ListRoleTagsOutput, error) {
	page, err := s.directory.ListTags(account, directory.RoleKind, in.RoleName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListRoleTagsOutput)
	out.Tags, out.IsTruncated, out.Marker = pageOf(page, tagShape)
	return out, nil
}

func (s *Service) listPolicyTags(_ context.Context, account string, in *iam.ListPolicyTagsInput) (*iam.ListPolicyTagsOutput, error) {
	page, err := s.directory.ListTags(account, directory.PolicyKind, in.PolicyArn, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListPolicyTagsOutput)
	out.Tags, out.IsTruncated, out.Marker = pageOf(page, tagShape)
	return out, nil
}
