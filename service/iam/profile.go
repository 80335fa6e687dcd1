package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) instanceProfiles() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateInstanceProfile, s.createInstanceProfile, func(q question, in *iam.CreateInstanceProfileInput) ([]operation.Ask, error) {
			return q.created(directory.ProfileKind, in.Path, in.InstanceProfileName, "", in.Tags), nil
		}),
		serve(s, iam.GetInstanceProfile, s.getInstanceProfile, func(q question, in *iam.GetInstanceProfileInput) ([]operation.Ask, error) {
			return one(q.profile(in.InstanceProfileName))
		}),
		serve(s, iam.ListInstanceProfiles, s.listInstanceProfiles, func(q question, in *iam.ListInstanceProfilesInput) ([]operation.Ask, error) {
			return []operation.Ask{q.under(directory.ProfileKind, in.PathPrefix)}, nil
		}),
		serve(s, iam.ListInstanceProfilesForRole, s.listInstanceProfilesForRole, func(q question, in *iam.ListInstanceProfilesForRoleInput) ([]operation.Ask, error) {
			return one(q.role(in.RoleName))
		}),
		serve(s, iam.DeleteInstanceProfile, s.deleteInstanceProfile, func(q question, in *iam.DeleteInstanceProfileInput) ([]operation.Ask, error) {
			return one(q.profile(in.InstanceProfileName))
		}),
		serve(s, iam.AddRoleToInstanceProfile, s.addRoleToInstanceProfile, askAddRole),
		serve(s, iam.RemoveRoleFromInstanceProfile, s.removeRoleFromInstanceProfile, func(q question, in *iam.RemoveRoleFromInstanceProfileInput) ([]operation.Ask, error) {
			return one(q.profile(in.InstanceProfileName))
		}),
		serve(s, iam.TagInstanceProfile, s.tagInstanceProfile, func(q question, in *iam.TagInstanceProfileInput) ([]operation.Ask, error) {
			a, err := q.profile(in.InstanceProfileName)
			return one(tagged(a, in.Tags), err)
		}),
		serve(s, iam.UntagInstanceProfile, s.untagInstanceProfile, func(q question, in *iam.UntagInstanceProfileInput) ([]operation.Ask, error) {
			a, err := q.profile(in.InstanceProfileName)
			return one(untagged(a, in.TagKeys), err)
		}),
		serve(s, iam.ListInstanceProfileTags, s.listInstanceProfileTags, func(q question, in *iam.ListInstanceProfileTagsInput) ([]operation.Ask, error) {
			return one(q.profile(in.InstanceProfileName))
		}),
	}
}

// profile asks about an instance profile.
func (q question) profile(name string) (operation.Ask, error) {
	p, err := q.directory.GetInstanceProfile(q.call.Account, name)
	return q.found(directory.ProfileKind, name, p.ARN, p.Tags, "", err)
}

// askAddRole asks about the profile and about passing the role: whoever may hand
// a machine a role gives away what the role may do.
func askAddRole(q question, in *iam.AddRoleToInstanceProfileInput) ([]operation.Ask, error) {
	profile, err := q.profile(in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	q.action = "iam:PassRole"
	role, err := q.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	// Instance profiles are for the machines of EC2 alone.
	role.Context.Set("iam:PassedToService", "ec2.amazonaws.com")
	return []operation.Ask{profile, role}, nil
}

// profileShape is an instance profile with all that GetInstanceProfile tells.
func profileShape(p directory.InstanceProfile) iam.InstanceProfile {
	s := listedProfile(p)
	s.Tags = tagShapes(p.Tags)
	return s
}

// listedProfile is an instance profile as listings tell it: without tags.
func listedProfile(p directory.InstanceProfile) iam.InstanceProfile {
	s := iam.InstanceProfile{Path: p.Path, InstanceProfileName: p.Name, InstanceProfileId: p.ID, Arn: p.ARN, CreateDate: date(p.Created)}
	for _, r := range p.Roles {
		role := listedRole(r)
		role.MaxSessionDuration, role.Description = nil, ""
		s.Roles = append(s.Roles, role)
	}
	return s
}

func (s *Service) createInstanceProfile(ctx context.Context, account string, in *iam.CreateInstanceProfileInput) (*iam.CreateInstanceProfileOutput, error) {
	p, err := s.directory.CreateInstanceProfile(ctx, account, directory.NewProfile{Name: in.InstanceProfileName, Path: in.Path, Tags: tagsOf(in.Tags)})
	if err != nil {
		return nil, err
	}
	return &iam.CreateInstanceProfileOutput{InstanceProfile: new(profileShape(p))}, nil
}

func (s *Service) getInstanceProfile(_ context.Context, account string, in *iam.GetInstanceProfileInput) (*iam.GetInstanceProfileOutput, error) {
	p, err := s.directory.GetInstanceProfile(account, in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	return &iam.GetInstanceProfileOutput{InstanceProfile: new(profileShape(p))}, nil
}

func (s *Service) listInstanceProfiles(_ context.Context, account string, in *iam.ListInstanceProfilesInput) (*iam.ListInstanceProfilesOutput, error) {
	page, err := s.directory.ListInstanceProfiles(account, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListInstanceProfilesOutput)
	out.InstanceProfiles, out.IsTruncated, out.Marker = pageOf(page, listedProfile)
	return out, nil
}

func (s *Service) listInstanceProfilesForRole(_ context.Context, account string, in *iam.ListInstanceProfilesForRoleInput) (*iam.ListInstanceProfilesForRoleOutput, error) {
	page, err := s.directory.ListInstanceProfilesForRole(account, in.RoleName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListInstanceProfilesForRoleOutput)
	out.InstanceProfiles, out.IsTruncated, out.Marker = pageOf(page, listedProfile)
	return out, nil
}

func (s *Service) deleteInstanceProfile(ctx context.Context, account string, in *iam.DeleteInstanceProfileInput) (*iam.DeleteInstanceProfileOutput, error) {
	return none[iam.DeleteInstanceProfileOutput](s.directory.DeleteInstanceProfile(ctx, account, in.InstanceProfileName))
}

func (s *Service) addRoleToInstanceProfile(ctx context.Context, account string, in *iam.AddRoleToInstanceProfileInput) (*iam.AddRoleToInstanceProfileOutput, error) {
	return none[iam.AddRoleToInstanceProfileOutput](s.directory.AddRoleToInstanceProfile(ctx, account, in.InstanceProfileName, in.RoleName))
}

func (s *Service) removeRoleFromInstanceProfile(ctx context.Context, account string, in *iam.RemoveRoleFromInstanceProfileInput) (*iam.RemoveRoleFromInstanceProfileOutput, error) {
	return none[iam.RemoveRoleFromInstanceProfileOutput](s.directory.RemoveRoleFromInstanceProfile(ctx, account, in.InstanceProfileName, in.RoleName))
}

func (s *Service) tagInstanceProfile(ctx context.Context, account string, in *iam.TagInstanceProfileInput) (*iam.TagInstanceProfileOutput, error) {
	return none[iam.TagInstanceProfileOutput](s.directory.Tag(ctx, account, directory.ProfileKind, in.InstanceProfileName, tagsOf(in.Tags)))
}

func (s *Service) untagInstanceProfile(ctx context.Context, account string, in *iam.UntagInstanceProfileInput) (*iam.UntagInstanceProfileOutput, error) {
	return none[iam.UntagInstanceProfileOutput](s.directory.Untag(ctx, account, directory.ProfileKind, in.InstanceProfileName, in.TagKeys))
}

func (s *Service) listInstanceProfileTags(_ context.Context, account string, in *iam.ListInstanceProfileTagsInput) (*iam.ListInstanceProfileTagsOutput, error) {
	page, err := s.directory.ListTags(account, directory.ProfileKind, in.InstanceProfileName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListInstanceProfileTagsOutput)
	out.Tags, out.IsTruncated, out.Marker = pageOf(page, tagShape)
	return out, nil
}
