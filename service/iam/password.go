package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) passwords() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.GetAccountPasswordPolicy, s.getAccountPasswordPolicy, func(q question, _ *iam.GetAccountPasswordPolicyInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.UpdateAccountPasswordPolicy, s.updateAccountPasswordPolicy, func(q question, _ *iam.UpdateAccountPasswordPolicyInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.DeleteAccountPasswordPolicy, s.deleteAccountPasswordPolicy, func(q question, _ *iam.DeleteAccountPasswordPolicyInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.CreateLoginProfile, s.createLoginProfile, func(q question, in *iam.CreateLoginProfileInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.GetLoginProfile, s.getLoginProfile, func(q question, in *iam.GetLoginProfileInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.UpdateLoginProfile, s.updateLoginProfile, func(q question, in *iam.UpdateLoginProfileInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
		serve(s, iam.DeleteLoginProfile, s.deleteLoginProfile, func(q question, in *iam.DeleteLoginProfileInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.ChangePassword, s.changePassword, func(q question, _ *iam.ChangePasswordInput) ([]operation.Ask, error) {
			if !isUser(q.call) {
				return nil, notAUser
			}
			return one(q.caller(""))
		}),
	}
}

var notAUser = &iam.InvalidUserTypeException{Message: "Only IAM Users can change their own password."}

func (s *Service) getAccountPasswordPolicy(_ context.Context, account string, _ *iam.GetAccountPasswordPolicyInput) (*iam.GetAccountPasswordPolicyOutput, error) {
	p, err := s.directory.GetAccountPasswordPolicy(account)
	if err != nil {
		return nil, err
	}
	shape := &iam.PasswordPolicy{
		MinimumPasswordLength: new(int32(p.MinimumLength)), RequireSymbols: &p.Symbols, RequireNumbers: &p.Numbers,
		RequireUppercaseCharacters: &p.Upper, RequireLowercaseCharacters: &p.Lower,
		AllowUsersToChangePassword: &p.AllowUsersToChange, ExpirePasswords: new(p.MaxAge > 0), HardExpiry: &p.HardExpiry,
	}
	if p.MaxAge > 0 {
		shape.MaxPasswordAge = new(int32(p.MaxAge))
	}
	if p.ReusePrevention > 0 {
		shape.PasswordReusePrevention = new(int32(p.ReusePrevention))
	}
	return &iam.GetAccountPasswordPolicyOutput{PasswordPolicy: shape}, nil
}

// updateAccountPasswordPolicy sets the whole policy: what is not given goes to
// its default, as with AWS.
func (s *Service) updateAccountPasswordPolicy(ctx context.Context, account string, in *iam.UpdateAccountPasswordPolicyInput) (*iam.UpdateAccountPasswordPolicyOutput, error) {
	return none[iam.UpdateAccountPasswordPolicyOutput](s.directory.UpdateAccountPasswordPolicy(ctx, account, directory.PasswordPolicy{
		MinimumLength: given(in.MinimumPasswordLength, 6), Symbols: yes(in.RequireSymbols), Numbers: yes(in.RequireNumbers),
		Upper: yes(in.RequireUppercaseCharacters), Lower: yes(in.RequireLowercaseCharacters),
		AllowUsersToChange: yes(in.AllowUsersToChangePassword), HardExpiry: yes(in.HardExpiry),
		MaxAge: given(in.MaxPasswordAge, 0), ReusePrevention: given(in.PasswordReusePrevention, 0),
	}))
}

func given(v *int32, otherwise int) int {
	if v == nil {
		return otherwise
	}
	return int(*v)
}

func yes(v *bool) bool { return v != nil && *v }

func (s *Service) deleteAccountPasswordPolicy(ctx context.Context, account string, _ *iam.DeleteAccountPasswordPolicyInput) (*iam.DeleteAccountPasswordPolicyOutput, error) {
	return none[iam.DeleteAccountPasswordPolicyOutput](s.directory.DeleteAccountPasswordPolicy(ctx, account))
}

func loginShape(l directory.LoginProfile) *iam.LoginProfile {
	return &iam.LoginProfile{UserName: l.UserName, CreateDate: date(l.Created), PasswordResetRequired: &l.ResetRequired}
}

func (s *Service) createLoginProfile(ctx context.Context, account string, in *iam.CreateLoginProfileInput) (*iam.CreateLoginProfileOutput, error) {
	if in.Password == "" {
		// Only a root session may leave it out, and then there is nothing to keep.
		return nil, invalid("Must specify password when calling with non-root credentials")
	}
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	l, err := s.directory.CreateLoginProfile(ctx, account, name, directory.NewPassword{Password: in.Password, ResetRequired: in.PasswordResetRequired})
	if err != nil {
		return nil, err
	}
	return &iam.CreateLoginProfileOutput{LoginProfile: loginShape(l)}, nil
}

func (s *Service) getLoginProfile(ctx context.Context, account string, in *iam.GetLoginProfileInput) (*iam.GetLoginProfileOutput, error) {
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	l, err := s.directory.GetLoginProfile(account, name)
	if err != nil {
		return nil, err
	}
	return &iam.GetLoginProfileOutput{LoginProfile: loginShape(l)}, nil
}

func (s *Service) updateLoginProfile(ctx context.Context, account string, in *iam.UpdateLoginProfileInput) (*iam.UpdateLoginProfileOutput, error) {
	return none[iam.UpdateLoginProfileOutput](s.directory.UpdateLoginProfile(ctx, account, in.UserName,
		directory.NewPassword{Password: in.Password, ResetRequired: in.PasswordResetRequired}))
}

func (s *Service) deleteLoginProfile(ctx context.Context, account string, in *iam.DeleteLoginProfileInput) (*iam.DeleteLoginProfileOutput, error) {
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	return none[iam.DeleteLoginProfileOutput](s.directory.DeleteLoginProfile(ctx, account, name))
}

func (s *Service) changePassword(ctx context.Context, account string, in *iam.ChangePasswordInput) (*iam.ChangePasswordOutput, error) {
	name, err := s.callerOr(ctx, "")
	if err != nil {
		return nil, err
	}
	return none[iam.ChangePasswordOutput](s.directory.ChangePassword(ctx, account, name, directory.NewPassword{Password: in.NewPassword, Old: in.OldPassword}))
}
