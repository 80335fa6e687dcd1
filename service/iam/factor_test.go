package iam_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
)

// tierThree are those of MFA devices, passwords and reports.
var tierThree = strings.Fields(`
	CreateVirtualMFADevice DeleteVirtualMFADevice EnableMFADevice ResyncMFADevice DeactivateMFADevice ListMFADevices GetMFADevice
	ListVirtualMFADevices TagMFADevice UntagMFADevice ListMFADeviceTags
	GetAccountPasswordPolicy UpdateAccountPasswordPolicy DeleteAccountPasswordPolicy
	CreateLoginProfile GetLoginProfile UpdateLoginProfile DeleteLoginProfile ChangePassword
	GenerateCredentialReport GetCredentialReport GenerateServiceLastAccessedDetails GetServiceLastAccessedDetails
	GetServiceLastAccessedDetailsWithEntities ListPoliciesGrantingServiceAccess`)

// The keeper's devices are paired by 111111 and 222222.

func (k *keeper) NewFactor(context.Context, string, string) (n authority.NewFactor, err error) {
	if k.down != nil {
		return n, k.down
	}
	n.Sealed = []byte("sealed")
	if n.Seed, err = secret.From([]byte(base64.StdEncoding.EncodeToString([]byte("THESEED")))); err != nil {
		return n, err
	}
	n.QR, err = secret.From([]byte(base64.StdEncoding.EncodeToString([]byte("the picture of it")))) // another length of padding
	return n, err
}

func (k *keeper) PairFactor(_ context.Context, f authority.Factor, second string) ([]byte, error) {
	if f.Code != "111111" || second != "222222" {
		return nil, authority.ErrCode
	}
	return f.Sealed, nil
}

func (k *keeper) SetPassword(_ context.Context, p authority.Password) ([]byte, error) {
	return append([]byte("sealed "), p.New...), nil
}

// factorAskCases are askCases about devices, passwords and reports. They
// follow askCases: the user Ada is there, and the role Worker.
func factorAskCases(p *plane) map[string]struct {
	in   any
	want []asked
} {
	type keys = map[string][]string
	type c = struct {
		in   any
		want []asked
	}
	do[api.CreateVirtualMFADeviceOutput](p, p.admin, &api.CreateVirtualMFADeviceInput{Path: "/hw/", VirtualMFADeviceName: "Pager", Tags: []api.Tag{{Key: "Team", Value: "Heart"}}})
	do[api.TagUserOutput](p, p.admin, &api.TagUserInput{UserName: "administrator", Tags: []api.Tag{{Key: "Team", Value: "Heart"}}})
	serial, pager := p.arnOf("mfa/hw/Pager"), "mfa/hw/Pager"
	has := keys{"aws:ResourceTag/Team": {"Heart"}, "iam:ResourceTag/Team": {"Heart"}}
	deviceHas := keys{"aws:ResourceTag/Team": {"Heart"}}
	passed := []api.Tag{{Key: "a", Value: "1"}, {Key: "b", Value: ""}}
	passes := keys{"aws:RequestTag/a": {"1"}, "aws:RequestTag/b": {""}, "aws:TagKeys": {"a", "b"}}
	user := func(action string, in any) c { return c{in, []asked{{action, "user/ward/Ada", has}}} }
	whole := func(action string, in any) c { return c{in, []asked{{action, "*", keys{}}}} }
	const job = "00000000-0000-0000-0000-000000000000"
	return map[string]c{
		"CreateVirtualMFADevice": {&api.CreateVirtualMFADeviceInput{VirtualMFADeviceName: "New", Tags: passed},
			[]asked{{"CreateVirtualMFADevice", "mfa/New", passes}, {"TagMFADevice", "mfa/New", passes}}},
		"DeleteVirtualMFADevice": {&api.DeleteVirtualMFADeviceInput{SerialNumber: serial}, []asked{{"DeleteVirtualMFADevice", pager, deviceHas}}},
		"TagMFADevice": {&api.TagMFADeviceInput{SerialNumber: serial, Tags: passed}, []asked{{"TagMFADevice", pager,
			keys{"aws:ResourceTag/Team": {"Heart"}, "aws:RequestTag/a": {"1"}, "aws:RequestTag/b": {""}, "aws:TagKeys": {"a", "b"}}}}},
		"UntagMFADevice": {&api.UntagMFADeviceInput{SerialNumber: serial, TagKeys: []string{"a", "b"}},
			[]asked{{"UntagMFADevice", pager, keys{"aws:ResourceTag/Team": {"Heart"}, "aws:TagKeys": {"a", "b"}}}}},
		"ListMFADeviceTags":     {&api.ListMFADeviceTagsInput{SerialNumber: serial}, []asked{{"ListMFADeviceTags", pager, deviceHas}}},
		"EnableMFADevice":       user("EnableMFADevice", &api.EnableMFADeviceInput{UserName: "ada", SerialNumber: serial}),
		"ResyncMFADevice":       user("ResyncMFADevice", &api.ResyncMFADeviceInput{UserName: "ada", SerialNumber: serial}),
		"DeactivateMFADevice":   user("DeactivateMFADevice", &api.DeactivateMFADeviceInput{UserName: "ada", SerialNumber: serial}),
		"ListMFADevices":        user("ListMFADevices", &api.ListMFADevicesInput{UserName: "ada"}),
		"GetMFADevice":          user("GetMFADevice", &api.GetMFADeviceInput{UserName: "ada", SerialNumber: serial}),
		"ListVirtualMFADevices": whole("ListVirtualMFADevices", &api.ListVirtualMFADevicesInput{}),

		"GetAccountPasswordPolicy":    whole("GetAccountPasswordPolicy", &api.GetAccountPasswordPolicyInput{}),
		"UpdateAccountPasswordPolicy": whole("UpdateAccountPasswordPolicy", &api.UpdateAccountPasswordPolicyInput{}),
		"DeleteAccountPasswordPolicy": whole("DeleteAccountPasswordPolicy", &api.DeleteAccountPasswordPolicyInput{}),
		"CreateLoginProfile":          user("CreateLoginProfile", &api.CreateLoginProfileInput{UserName: "ada"}),
		"GetLoginProfile":             user("GetLoginProfile", &api.GetLoginProfileInput{UserName: "ada"}),
		"UpdateLoginProfile":          user("UpdateLoginProfile", &api.UpdateLoginProfileInput{UserName: "ada"}),
		"DeleteLoginProfile":          user("DeleteLoginProfile", &api.DeleteLoginProfileInput{UserName: "ada"}),
		"ChangePassword":              {&api.ChangePasswordInput{}, []asked{{"ChangePassword", "user/administrator", has}}},

		"GenerateCredentialReport":                  whole("GenerateCredentialReport", &api.GenerateCredentialReportInput{}),
		"GetCredentialReport":                       whole("GetCredentialReport", &api.GetCredentialReportInput{}),
		"GetServiceLastAccessedDetails":             whole("GetServiceLastAccessedDetails", &api.GetServiceLastAccessedDetailsInput{JobId: job}),
		"GetServiceLastAccessedDetailsWithEntities": whole("GetServiceLastAccessedDetailsWithEntities", &api.GetServiceLastAccessedDetailsWithEntitiesInput{JobId: job}),
		"GenerateServiceLastAccessedDetails":        user("GenerateServiceLastAccessedDetails", &api.GenerateServiceLastAccessedDetailsInput{Arn: p.arnOf("user/ward/Ada")}),
		"ListPoliciesGrantingServiceAccess":         user("ListPoliciesGrantingServiceAccess", &api.ListPoliciesGrantingServiceAccessInput{Arn: p.arnOf("user/ward/Ada")}),
	}
}

func TestASeedIsShownOnceAndAsItIs(t *testing.T) {
	p := newPlane(t)
	c, tr := p.client(p.admin)
	made, err := c.CreateVirtualMFADevice(t.Context(), &sdk.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("d")})
	if err != nil {
		t.Fatal(err)
	}
	if v := made.VirtualMFADevice; string(v.Base32StringSeed) != "THESEED" || string(v.QRCodePNG) != "the picture of it" {
		t.Errorf("%q, %q", v.Base32StringSeed, v.QRCodePNG)
	}
	listed, err := c.ListVirtualMFADevices(t.Context(), &sdk.ListVirtualMFADevicesInput{})
	if err != nil || len(listed.VirtualMFADevices) != 1 || len(listed.VirtualMFADevices[0].Base32StringSeed) > 0 || strings.Contains(tr.last, "Seed") {
		t.Errorf("%+v, %v, %s", listed, err, tr.last)
	}
	// What the handler answers holds stand-ins, which differ from call to call.
	out, call, err := p.try(p.admin, &api.CreateVirtualMFADeviceInput{VirtualMFADeviceName: "e"})
	if err != nil {
		t.Fatal(err)
	}
	v := out.(*api.CreateVirtualMFADeviceOutput).VirtualMFADevice
	revealed := call.TakeRevealed()
	if len(revealed) != 2 || bytes.Equal(v.Base32StringSeed, []byte("THESEED")) || base64.StdEncoding.EncodeToString(v.Base32StringSeed) != revealed[0].Placeholder ||
		len(revealed[0].Placeholder) != revealed[0].Secret.Len() || len(revealed[1].Placeholder) != revealed[1].Secret.Len() {
		t.Errorf("%q, %+v", v.Base32StringSeed, revealed)
	}
	for _, r := range revealed {
		r.Secret.Destroy()
	}
}

func TestWhoseADeviceIsIsToldOnlyToWhoMayAsk(t *testing.T) {
	p := newPlane(t)
	p.user("/", "Ada", "")
	serial := do[api.CreateVirtualMFADeviceOutput](p, p.admin, &api.CreateVirtualMFADeviceInput{VirtualMFADeviceName: "d"}).VirtualMFADevice.SerialNumber
	p.wantCode(p.admin, &api.EnableMFADeviceInput{UserName: "Ada", SerialNumber: serial, AuthenticationCode1: "111111", AuthenticationCode2: "111111"}, "InvalidAuthenticationCode")
	do[api.EnableMFADeviceOutput](p, p.admin, &api.EnableMFADeviceInput{UserName: "Ada", SerialNumber: serial, AuthenticationCode1: "111111", AuthenticationCode2: "222222"})
	nobody := p.user("/", "nobody", "")
	for _, in := range []any{
		&api.GetMFADeviceInput{SerialNumber: serial}, &api.GetMFADeviceInput{SerialNumber: serial + "x"}, &api.ListMFADevicesInput{},
		&api.DeleteVirtualMFADeviceInput{SerialNumber: serial}, &api.DeleteVirtualMFADeviceInput{SerialNumber: serial + "x"},
		&api.GenerateServiceLastAccessedDetailsInput{Arn: p.arnOf("user/Ada")}, &api.GenerateServiceLastAccessedDetailsInput{Arn: p.arnOf("user/Bea")},
	} {
		p.wantCode(nobody, in, "AccessDenied")
	}
	_, stranger := p.open("elsewhere")
	for _, in := range []any{
		&api.DeleteVirtualMFADeviceInput{SerialNumber: serial}, &api.DeleteVirtualMFADeviceInput{SerialNumber: serial + "x"}, &api.TagMFADeviceInput{SerialNumber: serial},
		&api.GenerateServiceLastAccessedDetailsInput{Arn: p.arnOf("user/Ada")}, &api.ListPoliciesGrantingServiceAccessInput{Arn: p.arnOf("role/none")},
	} {
		p.wantCode(stranger, in, "AccessDenied")
	}
	p.wantCode(stranger, &api.GetMFADeviceInput{SerialNumber: serial}, "NoSuchEntity")
	p.wantCode(p.admin, &api.GetMFADeviceInput{SerialNumber: serial + "x"}, "NoSuchEntity")
	p.wantCode(p.admin, &api.DeleteVirtualMFADeviceInput{SerialNumber: "GAHT12345678"}, "InvalidInput")
	p.wantCode(p.admin, &api.ListVirtualMFADevicesInput{AssignmentStatus: "Lost"}, "ValidationError")
	p.wantCode(p.admin, &api.GenerateServiceLastAccessedDetailsInput{Arn: p.arnOf("user/Ada"), Granularity: "FINE"}, "ValidationError")
}

func TestOnlyUsersChangeTheirPasswords(t *testing.T) {
	p := newPlane(t)
	session := p.role("worker", allowAll)
	p.wantCode(session, &api.ChangePasswordInput{OldPassword: "a", NewPassword: "b"}, "InvalidUserType")
	p.wantCode(p.admin, &api.ChangePasswordInput{OldPassword: "a", NewPassword: "Abcdefg1"}, "NoSuchEntity")
	p.wantCode(p.admin, &api.CreateLoginProfileInput{UserName: "administrator"}, "ValidationError")
	out := do[api.CreateLoginProfileOutput](p, p.admin, &api.CreateLoginProfileInput{UserName: "administrator", Password: "Abcdefg1"})
	if out.LoginProfile.UserName != "administrator" || *out.LoginProfile.PasswordResetRequired || !out.LoginProfile.CreateDate.Equal(second) {
		t.Errorf("%+v", out.LoginProfile)
	}
	other := p.user("/", "other", allow(`"iam:ChangePassword"`, `"`+p.arnOf("user/else")+`"`))
	p.wantCode(other, &api.ChangePasswordInput{OldPassword: "a", NewPassword: "b"}, "AccessDenied")
	do[api.UpdateAccountPasswordPolicyOutput](p, p.admin, &api.UpdateAccountPasswordPolicyInput{})
	got := do[api.GetAccountPasswordPolicyOutput](p, p.admin, &api.GetAccountPasswordPolicyInput{}).PasswordPolicy
	if *got.MinimumPasswordLength != 6 || *got.ExpirePasswords || got.MaxPasswordAge != nil || got.PasswordReusePrevention != nil || *got.AllowUsersToChangePassword {
		t.Errorf("%+v", got)
	}
}
