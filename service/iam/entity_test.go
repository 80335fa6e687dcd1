package iam_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
)

func TestWhatAGroupMayItsMembersMay(t *testing.T) {
	p := newPlane(t)
	ada := p.user("/", "Ada", "")
	look := &api.ListUsersInput{}
	p.wantCode(ada, look, "AccessDenied")
	made := do[api.CreateGroupOutput](p, p.admin, &api.CreateGroupInput{GroupName: "Readers", Path: "/staff/"}).Group
	if made.Arn != p.arnOf("group/staff/Readers") || !strings.HasPrefix(made.GroupId, "AGPA") || !made.CreateDate.Equal(second) {
		t.Errorf("group %+v", made)
	}
	do[api.PutGroupPolicyOutput](p, p.admin, &api.PutGroupPolicyInput{GroupName: "readers", PolicyName: "in", PolicyDocument: allow(`"iam:List*"`, `"*"`)})
	p.wantCode(ada, look, "AccessDenied")
	do[api.AddUserToGroupOutput](p, p.admin, &api.AddUserToGroupInput{GroupName: "readers", UserName: "ada"})
	p.wantCode(ada, look, "")
	do[api.AttachGroupPolicyOutput](p, p.admin, &api.AttachGroupPolicyInput{GroupName: "readers", PolicyArn: directory.AdministratorAccess})
	p.wantCode(ada, &api.CreateUserInput{UserName: "new"}, "")
	// A denial that comes by a group holds against the member's own permission.
	do[api.PutGroupPolicyOutput](p, p.admin, &api.PutGroupPolicyInput{GroupName: "readers", PolicyName: "no", PolicyDocument: `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:ListUsers","Resource":"*"}]}`})
	do[api.PutUserPolicyOutput](p, p.admin, &api.PutUserPolicyInput{UserName: "Ada", PolicyName: "own", PolicyDocument: allowAll})
	p.wantCode(ada, look, "AccessDenied")
	do[api.RemoveUserFromGroupOutput](p, p.admin, &api.RemoveUserFromGroupInput{GroupName: "readers", UserName: "ada"})
	p.wantCode(ada, look, "")

	got := do[api.GetGroupOutput](p, p.admin, &api.GetGroupInput{GroupName: "READERS"})
	if d := cmp.Diff(&api.GetGroupOutput{Group: made, IsTruncated: new(false)}, got); d != "" {
		t.Errorf("GetGroup (-want +got):\n%s", d)
	}
}

func TestWhetherAGroupOrInstanceProfileExistsIsToldOnlyToWhoMayAsk(t *testing.T) {
	p := newPlane(t)
	do[api.CreateGroupOutput](p, p.admin, &api.CreateGroupInput{GroupName: "g", Path: "/hidden/"})
	do[api.CreateInstanceProfileOutput](p, p.admin, &api.CreateInstanceProfileInput{InstanceProfileName: "box", Path: "/hidden/"})
	nobody := p.user("/", "nobody", "")
	_, stranger := p.open("elsewhere")
	for _, c := range []struct {
		existing, absent any
		is, isNot        string
	}{
		{&api.GetGroupInput{GroupName: "g"}, &api.GetGroupInput{GroupName: "h"}, "group g ", "group h "},
		{&api.AddUserToGroupInput{GroupName: "g", UserName: "x"}, &api.AddUserToGroupInput{GroupName: "h", UserName: "x"}, "group g ", "group h "},
		{&api.GetInstanceProfileInput{InstanceProfileName: "box"}, &api.GetInstanceProfileInput{InstanceProfileName: "fox"}, "instance profile box ", "instance profile fox "},
	} {
		p.wantCode(nobody, c.existing, "AccessDenied")
		p.wantCode(nobody, c.absent, "AccessDenied")
		p.wantCode(stranger, c.existing, "NoSuchEntity")
		p.wantCode(p.admin, c.absent, "NoSuchEntity")
		_, _, one := p.try(nobody, c.existing)
		_, _, two := p.try(nobody, c.absent)
		a, b := one.(*denied).message, two.(*denied).message
		if !strings.Contains(a, c.is) || strings.Replace(a, c.is, c.isNot, 1) != b {
			t.Errorf("the refusals differ: %q, %q", a, b)
		}
	}
}

func TestBoundariesOnIAMItselfHold(t *testing.T) {
	p := newPlane(t)
	edge := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "edge", PolicyDocument: allowRead}).Policy.Arn
	do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{UserName: "Bound", PermissionsBoundary: edge})
	anyUser := `"` + p.arnOf("user/*") + `"`
	only := p.user("/", "only", allow(`["iam:PutUserPermissionsBoundary","iam:DeleteUserPermissionsBoundary"]`, anyUser, `{"ArnEquals":{"iam:PermissionsBoundary":"`+edge+`"}}`))
	p.wantCode(only, &api.PutUserPermissionsBoundaryInput{UserName: "only", PermissionsBoundary: directory.AdministratorAccess}, "AccessDenied")
	p.wantCode(only, &api.DeleteUserPermissionsBoundaryInput{UserName: "nobody"}, "AccessDenied")
	p.wantCode(only, &api.PutUserPermissionsBoundaryInput{UserName: "Bound", PermissionsBoundary: edge}, "")
	p.wantCode(only, &api.DeleteUserPermissionsBoundaryInput{UserName: "Bound"}, "")
	p.wantCode(only, &api.DeleteUserPermissionsBoundaryInput{UserName: "Bound"}, "AccessDenied") // there is none any more
	p.wantCode(p.admin, &api.PutUserPermissionsBoundaryInput{UserName: "Bound", PermissionsBoundary: "arn:aws:s3:::bucket-bucket"}, "InvalidInput")
	p.wantCode(p.admin, &api.PutUserPermissionsBoundaryInput{UserName: "Bound", PermissionsBoundary: edge + "x"}, "NoSuchEntity")

	// Whoever sets a boundary on itself cannot go beyond it from then on.
	self := p.user("/", "self", allowAll)
	p.wantCode(self, &api.PutUserPermissionsBoundaryInput{UserName: "self", PermissionsBoundary: edge}, "")
	p.wantCode(self, &api.DeleteUserPermissionsBoundaryInput{UserName: "self"}, "AccessDenied")
}

func TestARoleGoesIntoAProfileOnlyByWhoMayPassIt(t *testing.T) {
	p := newPlane(t)
	p.role("worker", allowRead)
	do[api.CreateInstanceProfileOutput](p, p.admin, &api.CreateInstanceProfileInput{InstanceProfileName: "box"})
	add := &api.AddRoleToInstanceProfileInput{InstanceProfileName: "box", RoleName: "worker"}
	half := p.user("/", "half", allow(`"iam:AddRoleToInstanceProfile"`, `"*"`))
	other := p.user("/", "other", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:AddRoleToInstanceProfile","Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"lambda.amazonaws.com"}}}]}`)
	both := p.user("/", "both", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:AddRoleToInstanceProfile","Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"`+p.arnOf("role/worker")+`","Condition":{"StringEquals":{"iam:PassedToService":"ec2.amazonaws.com"}}}]}`)
	p.wantCode(half, add, "AccessDenied")
	p.wantCode(other, add, "AccessDenied")
	p.wantCode(both, add, "")
	got := do[api.GetInstanceProfileOutput](p, p.admin, &api.GetInstanceProfileInput{InstanceProfileName: "box"}).InstanceProfile
	if len(got.Roles) != 1 || got.Roles[0].RoleName != "worker" || got.Roles[0].AssumeRolePolicyDocument != p.trust() {
		t.Errorf("profile %+v", got)
	}
}

func TestTheSDKSeesAnAccountAsAWhole(t *testing.T) {
	p := newPlane(t)
	c, tr := p.client(p.admin)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p.role("worker", allowRead)
	reader, err := c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("Reader"), PolicyDocument: aws.String(allowRead)})
	must(err)
	for _, name := range []string{"g1", "g2"} {
		must(errorOf(c.CreateGroup(ctx, &sdk.CreateGroupInput{GroupName: &name})))
		must(errorOf(c.AddUserToGroup(ctx, &sdk.AddUserToGroupInput{GroupName: &name, UserName: aws.String("administrator")})))
		must(errorOf(c.AttachGroupPolicy(ctx, &sdk.AttachGroupPolicyInput{GroupName: &name, PolicyArn: reader.Policy.Arn})))
		must(errorOf(c.PutGroupPolicy(ctx, &sdk.PutGroupPolicyInput{GroupName: &name, PolicyName: aws.String("in"), PolicyDocument: aws.String(allowRead)})))
	}
	inline, err := c.GetGroupPolicy(ctx, &sdk.GetGroupPolicyInput{GroupName: aws.String("g1"), PolicyName: aws.String("in")})
	must(err)
	if text, _ := url.QueryUnescape(*inline.PolicyDocument); text != allowRead || *inline.PolicyDocument == allowRead {
		t.Errorf("inline policy of a group %q", *inline.PolicyDocument)
	}

	users, groups, roles, policies := 0, 0, 0, 0
	pages := sdk.NewGetAccountAuthorizationDetailsPaginator(c, &sdk.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		must(err)
		users, groups, roles, policies = users+len(page.UserDetailList), groups+len(page.GroupDetailList), roles+len(page.RoleDetailList), policies+len(page.Policies)
		for _, r := range page.RoleDetailList {
			trust, _ := url.QueryUnescape(*r.AssumeRolePolicyDocument)
			in, _ := url.QueryUnescape(*r.RolePolicyList[0].PolicyDocument)
			if trust != p.trust() || in != allowRead || *r.AssumeRolePolicyDocument == trust {
				t.Errorf("role %q, %q in %s", trust, in, tr.last)
			}
		}
		for _, u := range page.UserDetailList {
			if strings.Join(u.GroupList, " ") != "g1 g2" || len(u.AttachedManagedPolicies) != 1 {
				t.Errorf("user %+v", u)
			}
		}
		for _, m := range page.Policies {
			if len(m.PolicyVersionList) != 1 || !m.PolicyVersionList[0].IsDefaultVersion || !strings.HasPrefix(*m.PolicyVersionList[0].Document, "%7B") {
				t.Errorf("policy %+v", m)
			}
		}
	}
	if users != 1 || groups != 2 || roles != 1 || policies != 2 {
		t.Errorf("%d users, %d groups, %d roles, %d policies", users, groups, roles, policies)
	}
	must(errorOf(c.CreateUser(ctx, &sdk.CreateUserInput{UserName: aws.String("bare")})))
	must(errorOf(c.ListAttachedUserPolicies(ctx, &sdk.ListAttachedUserPoliciesInput{UserName: aws.String("bare")})))
	if !strings.Contains(tr.last, "<AttachedPolicies/>") {
		t.Errorf("no empty AttachedPolicies in %s", tr.last)
	}
	must(errorOf(c.DeleteUser(ctx, &sdk.DeleteUserInput{UserName: aws.String("bare")})))
	filtered, err := c.GetAccountAuthorizationDetails(ctx, &sdk.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeGroup}})
	must(err)
	// Whoever reads filtered["UserDetailList"], as scripts do, finds an empty list there.
	for _, list := range []string{"UserDetailList", "RoleDetailList", "Policies"} {
		if !strings.Contains(tr.last, "<"+list+"/>") {
			t.Errorf("no empty %s in %s", list, tr.last)
		}
	}
	if len(filtered.GroupDetailList) != 2 || len(filtered.UserDetailList)+len(filtered.RoleDetailList)+len(filtered.Policies) != 0 {
		t.Errorf("groups alone: %s", tr.last)
	}

	entities, err := c.ListEntitiesForPolicy(ctx, &sdk.ListEntitiesForPolicyInput{PolicyArn: reader.Policy.Arn, EntityFilter: types.EntityTypeGroup})
	must(err)
	if len(entities.PolicyGroups) != 2 || *entities.PolicyGroups[0].GroupName != "g1" || !strings.HasPrefix(*entities.PolicyGroups[0].GroupId, "AGPA") {
		t.Errorf("entities %s", tr.last)
	}
	_, err = c.ListEntitiesForPolicy(ctx, &sdk.ListEntitiesForPolicyInput{PolicyArn: reader.Policy.Arn, EntityFilter: types.EntityTypeLocalManagedPolicy})
	if err == nil {
		t.Error("a filter that means nothing was taken")
	}

	summary, err := c.GetAccountSummary(ctx, &sdk.GetAccountSummaryInput{})
	must(err)
	if m := summary.SummaryMap; m["Users"] != 1 || m["Groups"] != 2 || m["Roles"] != 1 || m["Policies"] != 1 || m["GroupsPerUserQuota"] != 10 {
		t.Errorf("summary %v", m)
	}
	members := sdk.NewGetGroupPaginator(c, &sdk.GetGroupInput{GroupName: aws.String("g1")})
	page, err := members.NextPage(ctx)
	must(err)
	if len(page.Users) != 1 || *page.Users[0].UserName != "administrator" || page.IsTruncated {
		t.Errorf("members %s", tr.last)
	}
}

func TestTheSDKMakesAndDeletesAServiceLinkedRole(t *testing.T) {
	p := newPlane(t)
	c, tr := p.client(p.admin)
	ctx := t.Context()
	create := &sdk.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("autoscaling.amazonaws.com"), CustomSuffix: aws.String("x"), Description: aws.String("scales")}
	made, err := c.CreateServiceLinkedRole(ctx, create)
	if err != nil {
		t.Fatal(err)
	}
	if *made.Role.Arn != p.arnOf("role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling_x") || *made.Role.Description != "scales" || *made.Role.MaxSessionDuration != 3600 {
		t.Errorf("%s", tr.last)
	}
	_, err = c.CreateServiceLinkedRole(ctx, create)
	if e, ok := errors.AsType[*types.InvalidInputException](err); !ok || !strings.Contains(*e.Message, "has been taken in this account") {
		t.Errorf("second creation: %v", err)
	}
	_, err = c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: made.Role.RoleName, PolicyArn: aws.String(directory.AdministratorAccess)})
	if _, ok := errors.AsType[*types.UnmodifiableEntityException](err); !ok {
		t.Errorf("AttachRolePolicy: %v", err)
	}
	task, err := c.DeleteServiceLinkedRole(ctx, &sdk.DeleteServiceLinkedRoleInput{RoleName: made.Role.RoleName})
	if err != nil {
		t.Fatal(err)
	}
	status, err := c.GetServiceLinkedRoleDeletionStatus(ctx, &sdk.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task.DeletionTaskId})
	if err != nil || status.Status != types.DeletionTaskStatusTypeSucceeded {
		t.Errorf("status %v, %v", status, err)
	}
	// Who may make the role of one service may not make that of another.
	one := p.user("/", "one", allow(`"iam:CreateServiceLinkedRole"`, `"*"`, `{"StringEquals":{"iam:AWSServiceName":"ecs.amazonaws.com"}}`))
	p.wantCode(one, &api.CreateServiceLinkedRoleInput{AWSServiceName: "rds.amazonaws.com"}, "AccessDenied")
	p.wantCode(one, &api.CreateServiceLinkedRoleInput{AWSServiceName: "made-up.amazonaws.com"}, "AccessDenied")
	p.wantCode(one, &api.CreateServiceLinkedRoleInput{AWSServiceName: "ecs.amazonaws.com"}, "")
	p.wantCode(p.admin, &api.CreateServiceLinkedRoleInput{AWSServiceName: "made-up.amazonaws.com"}, "InvalidInput")
	p.wantCode(p.admin, &api.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: "task/x"}, "InvalidInput")
}

func TestWhatUsersCannotHaveIsListedAsNothing(t *testing.T) {
	p := newPlane(t)
	ada := p.user("/", "Ada", allow(`"iam:List*"`, `"`+p.arnOf("user/Ada")+`"`))
	for _, in := range []any{&api.ListSSHPublicKeysInput{}, &api.ListSigningCertificatesInput{}, &api.ListServiceSpecificCredentialsInput{}} {
		p.wantCode(ada, in, "")
	}
	for _, in := range []any{
		&api.ListSSHPublicKeysInput{UserName: "x"}, &api.ListSigningCertificatesInput{UserName: "x"}, &api.ListServiceSpecificCredentialsInput{UserName: "x"},
	} {
		p.wantCode(ada, in, "AccessDenied")
		p.wantCode(p.admin, in, "NoSuchEntity")
	}
	p.wantCode(ada, &api.ListServiceSpecificCredentialsInput{AllUsers: new(true)}, "AccessDenied")
	p.wantCode(p.admin, &api.ListServiceSpecificCredentialsInput{AllUsers: new(true)}, "")
	p.wantCode(p.admin, &api.ListServiceSpecificCredentialsInput{AllUsers: new(true), UserName: "Ada"}, "ValidationError")
	p.wantCode(p.admin, &api.ListSSHPublicKeysInput{Marker: "x"}, "ValidationError")
}

func TestAnAliasIsTheAccountsOwn(t *testing.T) {
	p := newPlane(t)
	c, _ := p.client(p.admin)
	ctx := t.Context()
	_, stranger := p.open("elsewhere")
	other, _ := p.client(stranger)
	if _, err := c.CreateAccountAlias(ctx, &sdk.CreateAccountAliasInput{AccountAlias: aws.String("clinic")}); err != nil {
		t.Fatal(err)
	}
	_, err := other.CreateAccountAlias(ctx, &sdk.CreateAccountAliasInput{AccountAlias: aws.String("clinic")})
	if _, ok := errors.AsType[*types.EntityAlreadyExistsException](err); !ok {
		t.Errorf("a name that is taken: %v", err)
	}
	_, err = other.DeleteAccountAlias(ctx, &sdk.DeleteAccountAliasInput{AccountAlias: aws.String("clinic")})
	if _, ok := errors.AsType[*types.NoSuchEntityException](err); !ok {
		t.Errorf("somebody else's: %v", err)
	}
	out, err := c.ListAccountAliases(ctx, &sdk.ListAccountAliasesInput{})
	if err != nil || len(out.AccountAliases) != 1 || out.AccountAliases[0] != "clinic" || out.IsTruncated {
		t.Errorf("%+v, %v", out, err)
	}
	if none, err := other.ListAccountAliases(ctx, &sdk.ListAccountAliasesInput{}); err != nil || len(none.AccountAliases) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
	p.wantCode(p.user("/", "nobody", ""), &api.ListAccountAliasesInput{}, "AccessDenied")
}
