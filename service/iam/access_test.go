package iam_test

import (
	"fmt"
	"strings"
	"testing"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func typeName(v any) string { return fmt.Sprintf("%T", v) }

func TestWhetherAnEntityExistsIsToldOnlyToWhoMayAsk(t *testing.T) {
	p := newPlane(t)
	p.user("/ward/", "Ada", "")
	p.role("worker", allowRead)
	policy := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "p", PolicyDocument: allowAll}).Policy.Arn
	key := do[api.CreateAccessKeyOutput](p, p.admin, &api.CreateAccessKeyInput{UserName: "Ada"}).AccessKey.AccessKeyId

	nobody := p.user("/", "nobody", "")
	everybody := p.user("/", "everybody", allow(`"iam:*"`, `"*"`))
	// May do everything, but nothing to users: neither to those there are nor to others.
	noUsers := p.user("/", "noUsers", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iam:*","Resource":"`+p.arnOf("user/*")+`"}]}`)

	for _, c := range []struct {
		name             string
		existing, absent any
	}{
		{"user", &api.GetUserInput{UserName: "Ada"}, &api.GetUserInput{UserName: "Bea"}},
		{"role", &api.GetRoleInput{RoleName: "worker"}, &api.GetRoleInput{RoleName: "other"}},
		{"policy", &api.GetPolicyInput{PolicyArn: policy}, &api.GetPolicyInput{PolicyArn: policy + "x"}},
		{"access key", &api.GetAccessKeyLastUsedInput{AccessKeyId: key}, &api.GetAccessKeyLastUsedInput{AccessKeyId: "AKIA2222222222222222"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.in(t)
			p.wantCode(nobody, c.existing, "AccessDenied")
			p.wantCode(nobody, c.absent, "AccessDenied")
			p.wantCode(everybody, c.existing, "")
			p.wantCode(everybody, c.absent, "NoSuchEntity")
			if c.name == "user" || c.name == "access key" {
				p.wantCode(noUsers, c.existing, "AccessDenied")
				p.wantCode(noUsers, c.absent, "AccessDenied")
			}
		})
	}
}

func TestAnotherAccountIsOutOfReach(t *testing.T) {
	p := newPlane(t)
	_, stranger := p.open("elsewhere")
	p.user("/", "Ada", "")
	policy := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "p", PolicyDocument: allowAll}).Policy.Arn
	key := do[api.CreateAccessKeyOutput](p, p.admin, &api.CreateAccessKeyInput{UserName: "Ada"}).AccessKey.AccessKeyId

	p.wantCode(stranger, &api.GetUserInput{UserName: "Ada"}, "NoSuchEntity")
	p.wantCode(stranger, &api.GetAccessKeyLastUsedInput{AccessKeyId: key}, "NoSuchEntity")
	p.wantCode(stranger, &api.DeleteAccessKeyInput{AccessKeyId: key}, "NoSuchEntity")
	for _, in := range []any{
		&api.GetPolicyInput{PolicyArn: policy},
		&api.GetPolicyVersionInput{PolicyArn: policy, VersionId: "v1"},
		&api.CreatePolicyVersionInput{PolicyArn: policy, PolicyDocument: allowRead, SetAsDefault: new(true)},
		&api.DeletePolicyInput{PolicyArn: policy},
		&api.TagPolicyInput{PolicyArn: policy, Tags: []api.Tag{{Key: "a", Value: "b"}}},
	} {
		p.wantCode(stranger, in, "AccessDenied")
	}
	do[api.CreateUserOutput](p, stranger, &api.CreateUserInput{UserName: "Ada"})
	p.wantCode(stranger, &api.AttachUserPolicyInput{UserName: "Ada", PolicyArn: policy}, "NoSuchEntity")
	if got := do[api.ListPoliciesOutput](p, stranger, &api.ListPoliciesInput{Scope: "Local"}).Policies; len(got) != 0 {
		t.Errorf("a stranger lists %v", got)
	}
}

func TestWhatTheOperatorManagesIsReadOnly(t *testing.T) {
	p := newPlane(t)
	const managed = directory.AdministratorAccess
	p.wantCode(p.admin, &api.GetPolicyInput{PolicyArn: managed}, "")
	p.wantCode(p.admin, &api.GetPolicyVersionInput{PolicyArn: managed, VersionId: "v1"}, "")
	p.wantCode(p.admin, &api.ListPolicyTagsInput{PolicyArn: managed}, "")
	for _, in := range []any{
		&api.CreatePolicyVersionInput{PolicyArn: managed, PolicyDocument: allowRead, SetAsDefault: new(true)},
		&api.SetDefaultPolicyVersionInput{PolicyArn: managed, VersionId: "v1"},
		&api.DeletePolicyVersionInput{PolicyArn: managed, VersionId: "v1"},
		&api.DeletePolicyInput{PolicyArn: managed},
		&api.TagPolicyInput{PolicyArn: managed, Tags: []api.Tag{{Key: "a", Value: "b"}}},
		&api.UntagPolicyInput{PolicyArn: managed, TagKeys: []string{"a"}},
	} {
		p.wantCode(p.admin, in, "AccessDenied")
	}
}

func TestPoliciesOnIAMItselfHold(t *testing.T) {
	p := newPlane(t)
	edge := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "edge", PolicyDocument: allowRead}).Policy.Arn
	reader := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "reader", PolicyDocument: allowRead}).Policy.Arn
	heart := []api.Tag{{Key: "Team", Value: "Heart"}}
	do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{Path: "/ward/", UserName: "Ada", Tags: heart})
	do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{UserName: "Boss"})
	do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{UserName: "Bound", PermissionsBoundary: edge})

	anyUser := `"` + p.arnOf("user/*") + `"`
	for i, c := range []struct {
		name     string
		document string
		in       any
		want     string
	}{
		{"a Deny holds however the name is spelled",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"` + p.arnOf("user/Boss") + `"}]}`,
			&api.DeleteUserInput{UserName: "bOSS"}, "AccessDenied"},
		{"a path is part of the name that is asked about", allow(`"iam:GetUser"`, `"`+p.arnOf("user/ward/*")+`"`), &api.GetUserInput{UserName: "Ada"}, ""},
		{"another path is not", allow(`"iam:GetUser"`, `"`+p.arnOf("user/ward/*")+`"`), &api.GetUserInput{UserName: "Boss"}, "AccessDenied"},
		{"tags of the user let in", allow(`"iam:*"`, `"*"`, `{"StringEquals":{"iam:ResourceTag/Team":"Heart"}}`), &api.GetUserInput{UserName: "Ada"}, ""},
		{"a user without them stays shut", allow(`"iam:*"`, `"*"`, `{"StringEquals":{"aws:ResourceTag/Team":"Heart"}}`), &api.GetUserInput{UserName: "Boss"}, "AccessDenied"},
		{"only this policy may be attached", allow(`"iam:AttachUserPolicy"`, anyUser, `{"ArnEquals":{"iam:PolicyARN":"`+reader+`"}}`),
			&api.AttachUserPolicyInput{UserName: "Boss", PolicyArn: reader}, ""},
		{"and no other", allow(`"iam:AttachUserPolicy"`, anyUser, `{"ArnEquals":{"iam:PolicyARN":"`+reader+`"}}`),
			&api.AttachUserPolicyInput{UserName: "Boss", PolicyArn: directory.AdministratorAccess}, "AccessDenied"},
		{"users are made with the boundary", allow(`"iam:CreateUser"`, anyUser, `{"ArnEquals":{"iam:PermissionsBoundary":"`+edge+`"}}`),
			&api.CreateUserInput{UserName: "n1", PermissionsBoundary: edge}, ""},
		{"and not without", allow(`"iam:CreateUser"`, anyUser, `{"ArnEquals":{"iam:PermissionsBoundary":"`+edge+`"}}`),
			&api.CreateUserInput{UserName: "n2"}, "AccessDenied"},
		{"policies of bounded users may be written", allow(`"iam:PutUserPolicy"`, anyUser, `{"ArnEquals":{"iam:PermissionsBoundary":"`+edge+`"}}`),
			&api.PutUserPolicyInput{UserName: "Bound", PolicyName: "x", PolicyDocument: allowAll}, ""},
		{"of others not", allow(`"iam:PutUserPolicy"`, anyUser, `{"ArnEquals":{"iam:PermissionsBoundary":"`+edge+`"}}`),
			&api.PutUserPolicyInput{UserName: "Boss", PolicyName: "x", PolicyDocument: allowAll}, "AccessDenied"},
		{"creation with tags is tagging too", allow(`"iam:CreateUser"`, anyUser), &api.CreateUserInput{UserName: "n3", Tags: heart}, "AccessDenied"},
		{"who may do both does", allow(`["iam:CreateUser","iam:TagUser"]`, anyUser), &api.CreateUserInput{UserName: "n4", Tags: heart}, ""},
		{"only known tag keys", allow(`["iam:TagUser"]`, anyUser, `{"ForAllValues:StringEquals":{"aws:TagKeys":["Team"]}}`),
			&api.TagUserInput{UserName: "Boss", Tags: []api.Tag{{Key: "Team", Value: "x"}, {Key: "admin", Value: "1"}}}, "AccessDenied"},
		{"nobody is moved out of a path", allow(`"iam:UpdateUser"`, `"`+p.arnOf("user/ward/*")+`"`), &api.UpdateUserInput{UserName: "Ada", NewPath: new("/")}, "AccessDenied"},
		{"nor into it", allow(`"iam:UpdateUser"`, `"`+p.arnOf("user/ward/*")+`"`), &api.UpdateUserInput{UserName: "Boss", NewPath: new("/ward/")}, "AccessDenied"},
		{"within it they may", allow(`"iam:UpdateUser"`, `"`+p.arnOf("user/ward/*")+`"`), &api.UpdateUserInput{UserName: "Ada", NewPath: new("/ward/1/")}, ""},
		{"listing is asked about under the path", allow(`"iam:ListUsers"`, `"`+p.arnOf("user/ward/*")+`"`), &api.ListUsersInput{PathPrefix: "/ward/"}, ""},
		{"and not beyond it", allow(`"iam:ListUsers"`, `"`+p.arnOf("user/ward/*")+`"`), &api.ListUsersInput{}, "AccessDenied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := p.in(t)
			as := p.user("/", fmt.Sprintf("caller%d", i), c.document)
			p.wantCode(as, c.in, c.want)
		})
	}
}

func TestWithoutANameACallIsAboutTheUserWhoCalls(t *testing.T) {
	p := newPlane(t)
	ada := p.user("/ward/", "Ada", allow(`"iam:*"`, `"`+p.arnOf("user/ward/${aws:username}")+`"`))
	worker := p.role("worker", allow(`"iam:*"`, `"*"`))

	// The variable has no value here: the gate sets it. What counts is who is asked about.
	for _, in := range []any{
		&api.GetUserInput{}, &api.CreateAccessKeyInput{}, &api.ListAccessKeysInput{},
		&api.UpdateAccessKeyInput{AccessKeyId: "AKIA2222222222222222", Status: "Active"}, &api.DeleteAccessKeyInput{AccessKeyId: "AKIA2222222222222222"},
	} {
		asks, err := p.asks(ada, in)
		if err != nil || len(asks) != 1 || asks[0].Resource != p.arnOf("user/ward/Ada") {
			t.Errorf("%T asks %+v, %v", in, asks, err)
		}
		_, _, err = p.try(worker, in)
		if code, status, message := codeOf(err); code != "ValidationError" || status != 400 || message != "Must specify userName when calling with non-User credentials" {
			t.Errorf("%T by a role: %s %d %q", in, code, status, message)
		}
	}
	if u := do[api.GetUserOutput](p, p.admin, &api.GetUserInput{}).User; u.UserName != directory.FirstUser || u.UserId != p.admin.principalID {
		t.Errorf("GetUser = %+v", u)
	}
	// A user who is renamed while the call is under way is still the same.
	call, _ := p.call(p.admin)
	do[api.UpdateUserOutput](p, p.admin, &api.UpdateUserInput{UserName: directory.FirstUser, NewUserName: "chief"})
	out, err := p.table["GetUser"].Serve(operation.WithCall(t.Context(), call), &api.GetUserInput{})
	if err != nil || out.(*api.GetUserOutput).User.UserName != "chief" {
		t.Errorf("GetUser after renaming = %+v, %v", out, err)
	}
}

func TestTheRefusalSaysWhoAndWhat(t *testing.T) {
	p := newPlane(t)
	ada := p.user("/", "Ada", "")
	_, _, err := p.try(ada, &api.ListRolesInput{})
	_, _, message := codeOf(err)
	want := "User: " + p.arnOf("user/Ada") + " is not authorized to perform: iam:ListRoles on resource: " + p.arnOf("role/")
	if !strings.HasPrefix(message, want) {
		t.Errorf("message = %q, want it to begin with %q", message, want)
	}
}
