package iam

import (
	"cmp"
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) users() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateUser, s.createUser, func(q question, in *iam.CreateUserInput) ([]operation.Ask, error) {
			return q.created(directory.UserKind, in.Path, in.UserName, in.PermissionsBoundary, in.Tags), nil
		}),
		serve(s, iam.GetUser, s.getUser, func(q question, in *iam.GetUserInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.ListUsers, s.listUsers, func(q question, in *iam.ListUsersInput) ([]operation.Ask, error) {
			return []operation.Ask{q.under(directory.UserKind, in.PathPrefix)}, nil
		}),
		serve(s, iam.UpdateUser, s.updateUser, askUpdateUser),
		serve(s, iam.DeleteUser, s.deleteUser, func(q question, in *iam.DeleteUserInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
	}
}

func (s *Service) createUser(ctx context.Context, account string, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
	u, err := s.directory.CreateUser(ctx, account, directory.NewUser{
		Name: in.UserName, Path: in.Path, Boundary: in.PermissionsBoundary, Tags: tagsOf(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateUserOutput{User: new(userShape(u))}, nil
}

func (s *Service) getUser(ctx context.Context, account string, in *iam.GetUserInput) (*iam.GetUserOutput, error) {
	if isRoot(operation.CallFrom(ctx), in.UserName) {
		return rootUser(s.directory, account), nil
	}
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	u, err := s.directory.GetUser(account, name)
	if err != nil {
		return nil, err
	}
	return &iam.GetUserOutput{User: new(userShape(u))}, nil
}

func (s *Service) listUsers(_ context.Context, account string, in *iam.ListUsersInput) (*iam.ListUsersOutput, error) {
	page, err := s.directory.ListUsers(account, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListUsersOutput)
	out.Users, out.IsTruncated, out.Marker = pageOf(page, listedUser)
	return out, nil
}

// askUpdateUser asks about the user as it is and as it would be: who may only
// touch users under one path can move none out of it or into it.
func askUpdateUser(q question, in *iam.UpdateUserInput) ([]operation.Ask, error) {
	u, err := q.directory.GetUser(q.call.Account, in.UserName)
	now, err := q.found(directory.UserKind, in.UserName, u.ARN, u.Tags, "", err)
	if err != nil {
		return nil, err
	}
	// A user that is missing would be renamed under "/", where it is asked about.
	path, name := cmp.Or(u.Path, "/"), cmp.Or(in.NewUserName, u.Name, in.UserName)
	if in.NewPath != nil {
		path = *in.NewPath
	}
	after := now // the tags go with the user
	after.Resource = q.made(directory.UserKind, path, name).Resource
	if after.Resource == now.Resource {
		return []operation.Ask{now}, nil
	}
	return []operation.Ask{now, after}, nil
}

func (s *Service) updateUser(ctx context.Context, account string, in *iam.UpdateUserInput) (*iam.UpdateUserOutput, error) {
	update := directory.UserUpdate{NewName: in.NewUserName}
	if in.NewPath != nil {
		update.NewPath = *in.NewPath
	}
	return none[iam.UpdateUserOutput](s.directory.UpdateUser(ctx, account, in.UserName, update))
}

func (s *Service) deleteUser(ctx context.Context, account string, in *iam.DeleteUserInput) (*iam.DeleteUserOutput, error) {
	return none[iam.DeleteUserOutput](s.directory.DeleteUser(ctx, account, in.UserName))
}
