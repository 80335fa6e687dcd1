package iam

import (
	"context"
	"slices"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

// accountWide are the operations about the account as a whole. AWS knows no
// resource for them but "*".
func (s *Service) accountWide() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateAccountAlias, s.createAccountAlias, func(q question, _ *iam.CreateAccountAliasInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.DeleteAccountAlias, s.deleteAccountAlias, func(q question, _ *iam.DeleteAccountAliasInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.ListAccountAliases, s.listAccountAliases, func(q question, _ *iam.ListAccountAliasesInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.GetAccountSummary, s.getAccountSummary, func(q question, _ *iam.GetAccountSummaryInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.GetAccountAuthorizationDetails, s.getAccountAuthorizationDetails, func(q question, _ *iam.GetAccountAuthorizationDetailsInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.ListEntitiesForPolicy, s.listEntitiesForPolicy, func(q question, in *iam.ListEntitiesForPolicyInput) ([]operation.Ask, error) {
			return one(q.policy(in.PolicyArn))
		}),
	}
}

func (s *Service) createAccountAlias(ctx context.Context, account string, in *iam.CreateAccountAliasInput) (*iam.CreateAccountAliasOutput, error) {
	return none[iam.CreateAccountAliasOutput](s.directory.CreateAccountAlias(ctx, account, in.AccountAlias))
}

func (s *Service) deleteAccountAlias(ctx context.Context, account string, in *iam.DeleteAccountAliasInput) (*iam.DeleteAccountAliasOutput, error) {
	return none[iam.DeleteAccountAliasOutput](s.directory.DeleteAccountAlias(ctx, account, in.AccountAlias))
}

// listAccountAliases answers one page always: an account has one alias at most.
func (s *Service) listAccountAliases(_ context.Context, account string, in *iam.ListAccountAliasesInput) (*iam.ListAccountAliasesOutput, error) {
	if in.Marker != "" {
		return nil, invalid("Invalid Marker.")
	}
	alias, err := s.directory.AccountAlias(account)
	if err != nil {
		return nil, err
	}
	out := &iam.ListAccountAliasesOutput{IsTruncated: new(false)}
	if alias != "" {
		out.AccountAliases = []string{alias}
	}
	return out, nil
}

func (s *Service) getAccountSummary(_ context.Context, account string, _ *iam.GetAccountSummaryInput) (*iam.GetAccountSummaryOutput, error) {
	counts, err := s.directory.AccountSummary(account)
	if err != nil {
		return nil, err
	}
	out := &iam.GetAccountSummaryOutput{SummaryMap: make(map[string]int32, len(counts))}
	for name, n := range counts {
		out.SummaryMap[name] = int32(n)
	}
	return out, nil
}

func (s *Service) getAccountAuthorizationDetails(_ context.Context, account string, in *iam.GetAccountAuthorizationDetailsInput) (*iam.GetAccountAuthorizationDetailsOutput, error) {
	var f directory.DetailFilter
	for _, kind := range in.Filter {
		switch kind {
		case iam.EntityTypeUser:
			f.Users = true
		case iam.EntityTypeGroup:
			f.Groups = true
		case iam.EntityTypeRole:
			f.Roles = true
		case iam.EntityTypeLocalManagedPolicy:
			f.Local = true
		case iam.EntityTypeAWSManagedPolicy:
			f.Managed = true
		default:
			return nil, invalid("1 validation error detected: Value '[%s]' at 'filter' failed to satisfy constraint: Member must satisfy enum value set: [User, Role, Group, LocalManagedPolicy, AWSManagedPolicy]", kind)
		}
	}
	page, err := s.directory.AuthorizationDetails(account, f, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &iam.GetAccountAuthorizationDetailsOutput{IsTruncated: new(page.Marker != ""), Marker: page.Marker}
	for _, d := range page.Items {
		switch d.Kind {
		case directory.UserKind:
			out.UserDetailList = append(out.UserDetailList, userDetail(d))
		case directory.GroupKind:
			out.GroupDetailList = append(out.GroupDetailList, groupDetail(d))
		case directory.RoleKind:
			out.RoleDetailList = append(out.RoleDetailList, roleDetail(d))
		case directory.PolicyKind:
			out.Policies = append(out.Policies, policyDetail(d))
		}
	}
	return out, nil
}

func userDetail(d directory.Detail) iam.UserDetail {
	u := d.User
	return iam.UserDetail{
		Path: u.Path, UserName: u.Name, UserId: u.ID, Arn: u.ARN, CreateDate: date(u.Created), UserPolicyList: inlineShapes(d.Inline), GroupList: d.Groups,
		AttachedManagedPolicies: attachedShapes(d.Attached), PermissionsBoundary: boundaryShape(u.Boundary), Tags: tagShapes(u.Tags),
	}
}

func groupDetail(d directory.Detail) iam.GroupDetail {
	g := d.Group
	return iam.GroupDetail{
		Path: g.Path, GroupName: g.Name, GroupId: g.ID, Arn: g.ARN, CreateDate: date(g.Created),
		GroupPolicyList: inlineShapes(d.Inline), AttachedManagedPolicies: attachedShapes(d.Attached),
	}
}

func roleDetail(d directory.Detail) iam.RoleDetail {
	r := roleShape(d.Role)
	s := iam.RoleDetail{
		Path: r.Path, RoleName: r.RoleName, RoleId: r.RoleId, Arn: r.Arn, CreateDate: r.CreateDate, AssumeRolePolicyDocument: r.AssumeRolePolicyDocument,
		RolePolicyList: inlineShapes(d.Inline), AttachedManagedPolicies: attachedShapes(d.Attached),
		PermissionsBoundary: r.PermissionsBoundary, Tags: r.Tags, RoleLastUsed: r.RoleLastUsed,
	}
	for _, p := range d.Profiles {
		s.InstanceProfileList = append(s.InstanceProfileList, listedProfile(p))
	}
	return s
}

func policyDetail(d directory.Detail) iam.ManagedPolicyDetail {
	p := listedPolicy(d.Policy)
	s := iam.ManagedPolicyDetail{
		PolicyName: p.PolicyName, PolicyId: p.PolicyId, Arn: p.Arn, Path: p.Path, DefaultVersionId: p.DefaultVersionId,
		AttachmentCount: p.AttachmentCount, PermissionsBoundaryUsageCount: p.PermissionsBoundaryUsageCount, IsAttachable: p.IsAttachable,
		CreateDate: p.CreateDate, UpdateDate: p.UpdateDate,
	}
	for _, v := range d.Versions {
		s.PolicyVersionList = append(s.PolicyVersionList, versionShape(v))
	}
	return s
}

func inlineShapes(all []directory.Inline) []iam.PolicyDetail {
	var shapes []iam.PolicyDetail
	for _, in := range all {
		shapes = append(shapes, iam.PolicyDetail{PolicyName: in.Name, PolicyDocument: in.Document})
	}
	return shapes
}

func attachedShapes(all []directory.Attached) []iam.AttachedPolicy {
	var shapes []iam.AttachedPolicy
	for _, a := range all {
		shapes = append(shapes, attachedShape(a))
	}
	return shapes
}

func (s *Service) listEntitiesForPolicy(_ context.Context, account string, in *iam.ListEntitiesForPolicyInput) (*iam.ListEntitiesForPolicyOutput, error) {
	f := directory.EntityFilter{Usage: string(in.PolicyUsageFilter)}
	if !slices.Contains([]iam.PolicyUsageType{"", iam.PolicyUsageTypePermissionsPolicy, iam.PolicyUsageTypePermissionsBoundary}, in.PolicyUsageFilter) {
		return nil, invalid("1 validation error detected: Value '%s' at 'policyUsageFilter' failed to satisfy constraint: Member must satisfy enum value set: [PermissionsPolicy, PermissionsBoundary]", in.PolicyUsageFilter)
	}
	switch in.EntityFilter {
	case "":
	case iam.EntityTypeUser:
		f.Kind = directory.UserKind
	case iam.EntityTypeRole:
		f.Kind = directory.RoleKind
	case iam.EntityTypeGroup:
		f.Kind = directory.GroupKind
	default: // managed policies are in the enumeration, but no policy is attached to one
		return nil, invalid("1 validation error detected: Value '%s' at 'entityFilter' failed to satisfy constraint: Member must satisfy enum value set: [User, Role, Group]", in.EntityFilter)
	}
	page, err := s.directory.EntitiesForPolicy(account, in.PolicyArn, f, listOf(in.PathPrefix, in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &iam.ListEntitiesForPolicyOutput{IsTruncated: new(page.Marker != ""), Marker: page.Marker}
	for _, e := range page.Items {
		switch e.Kind {
		case directory.UserKind:
			out.PolicyUsers = append(out.PolicyUsers, iam.PolicyUser{UserName: e.Name, UserId: e.ID})
		case directory.RoleKind:
			out.PolicyRoles = append(out.PolicyRoles, iam.PolicyRole{RoleName: e.Name, RoleId: e.ID})
		case directory.GroupKind:
			out.PolicyGroups = append(out.PolicyGroups, iam.PolicyGroup{GroupName: e.Name, GroupId: e.ID})
		}
	}
	return out, nil
}
