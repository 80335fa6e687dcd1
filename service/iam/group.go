package iam

import (
	"cmp"
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) groups() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateGroup, s.createGroup, func(q question, in *iam.CreateGroupInput) ([]operation.Ask, error) {
			return []operation.Ask{q.made(directory.GroupKind, in.Path, in.GroupName)}, nil
		}),
		serve(s, iam.GetGroup, s.getGroup, func(q question, in *iam.GetGroupInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
		serve(s, iam.ListGroups, s.listGroups, func(q question, in *iam.ListGroupsInput) ([]operation.Ask, error) {
			return []operation.Ask{q.under(directory.GroupKind, in.PathPrefix)}, nil
		}),
		serve(s, iam.UpdateGroup, s.updateGroup, askUpdateGroup),
		serve(s, iam.DeleteGroup, s.deleteGroup, func(q question, in *iam.DeleteGroupInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
		serve(s, iam.AddUserToGroup, s.addUserToGroup, func(q question, in *iam.AddUserToGroupInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
		serve(s, iam.RemoveUserFromGroup, s.removeUserFromGroup, func(q question, in *iam.RemoveUserFromGroupInput) ([]operation.Ask, error) {
			return one(q.group(in.GroupName))
		}),
		serve(s, iam.ListGroupsForUser, s.listGroupsForUser, func(q question, in *iam.ListGroupsForUserInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
	}
}

// group asks about a group. Groups have neither tags nor a boundary.
func (q question) group(name string) (operation.Ask, error) {
	g, err := q.directory.GetGroup(q.call.Account, name)
	return q.found(directory.GroupKind, name, g.ARN, nil, "", err)
}

// askUpdateGroup asks about the group as it is and as it would be, like
// askUpdateUser.
func askUpdateGroup(q question, in *iam.UpdateGroupInput) ([]operation.Ask, error) {
	g, err := q.directory.GetGroup(q.call.Account, in.GroupName)
	now, err := q.found(directory.GroupKind, in.GroupName, g.ARN, nil, "", err)
	if err != nil {
		return nil, err
	}
	after := now
	after.Resource = q.made(directory.GroupKind, cmp.Or(in.NewPath, g.Path), cmp.Or(in.NewGroupName, g.Name, in.GroupName)).Resource
	if after.Resource == now.Resource {
		return []operation.Ask{now}, nil
	}
	return []operation.Ask{now, after}, nil
}

func groupShape(g directory.Group) iam.Group {
	return iam.Group{Path: g.Path, GroupName: g.Name, GroupId: g.ID, Arn: g.ARN, CreateDate: date(g.Created)}
}

func (s *Service) createGroup(ctx context.Context, account string, in *iam.CreateGroupInput) (*iam.CreateGroupOutput, error) {
	g, err := s.directory.CreateGroup(ctx, account, in.GroupName, in.Path)
	if err != nil {
		return nil, err
	}
	return &iam.CreateGroupOutput{Group: new(groupShape(g))}, nil
}

// getGroup answers the group with a page of its users.
func (s *Service) getGroup(_ context.Context, account string, in *iam.GetGroupInput) (*iam.GetGroupOutput, error) {
	g, err := s.directory.GetGroup(account, in.GroupName)
	if err != nil {
		return nil, err
	}
	page, err := s.directory.ListGroupMembers(account, in.GroupName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &iam.GetGroupOutput{Group: new(groupShape(g))}
	out.Users, out.IsTruncated, out.Marker = pageOf(page, listedUser)
	return out, nil
}

func (s *Service) listGroups(_ context.Context, account string, in *iam.ListGroupsInput) (*iam.ListGroupsOutput, error) {
	page, err := s.directory.ListGroups(account, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListGroupsOutput)
	out.Groups, out.IsTruncated, out.Marker = pageOf(page, groupShape)
	return out, nil
}

func (s *Service) updateGroup(ctx context.Context, account string, in *iam.UpdateGroupInput) (*iam.UpdateGroupOutput, error) {
	return none[iam.UpdateGroupOutput](s.directory.UpdateGroup(ctx, account, in.GroupName, directory.UserUpdate{NewName: in.NewGroupName, NewPath: in.NewPath}))
}

func (s *Service) deleteGroup(ctx context.Context, account string, in *iam.DeleteGroupInput) (*iam.DeleteGroupOutput, error) {
	return none[iam.DeleteGroupOutput](s.directory.DeleteGroup(ctx, account, in.GroupName))
}

func (s *Service) addUserToGroup(ctx context.Context, account string, in *iam.AddUserToGroupInput) (*iam.AddUserToGroupOutput, error) {
	return none[iam.AddUserToGroupOutput](s.directory.AddUserToGroup(ctx, account, in.GroupName, in.UserName))
}

func (s *Service) removeUserFromGroup(ctx context.Context, account string, in *iam.RemoveUserFromGroupInput) (*iam.RemoveUserFromGroupOutput, error) {
	return none[iam.RemoveUserFromGroupOutput](s.directory.RemoveUserFromGroup(ctx, account, in.GroupName, in.UserName))
}

func (s *Service) listGroupsForUser(_ context.Context, account string, in *iam.ListGroupsForUserInput) (*iam.ListGroupsForUserOutput, error) {
	page, err := s.directory.ListGroupsForUser(account, in.UserName, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListGroupsForUserOutput)
	out.Groups, out.IsTruncated, out.Marker = pageOf(page, groupShape)
	return out, nil
}
