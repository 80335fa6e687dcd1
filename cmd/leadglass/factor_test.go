package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// codeAt is what an authenticator app shows (RFC 6238).
func codeAt(t *testing.T, seed string, at time.Time) *string {
	t.Helper()
	key, err := base32.StdEncoding.DecodeString(seed)
	if err != nil {
		t.Fatal(err)
	}
	var step [8]byte
	binary.BigEndian.PutUint64(step[:], uint64(at.Unix()/30))
	m := hmac.New(sha1.New, key)
	m.Write(step[:])
	sum := m.Sum(nil)
	return aws.String(fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000))
}

// as is a client with temporary credentials, or those of a key.
func as(admin *client, id, secret, token *string) *client {
	return newClient(profile{Region: admin.Region, Endpoint: admin.Endpoint, AccessKeyID: *id, SecretAccessKey: *secret, Session: aws.ToString(token)})
}

func TestTheGoSDKShowsASecondFactor(t *testing.T) {
	ctx := t.Context()
	admin := sharedPlane(t).client(t, "customer")
	cfg := sdkConfig(t, admin)
	users := iam.NewFromConfig(cfg)
	name := aws.String("surgeon")
	made, err := users.CreateUser(ctx, &iam.CreateUserInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	account := strings.Split(*made.User.Arn, ":")[4]
	// What the user may do with a second factor only, and a role that only it opens.
	guarded := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:ListUsers","kms:ListKeys"],"Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"},"NumericLessThan":{"aws:MultiFactorAuthAge":"3600"}}}]}`
	if _, err := users.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("guarded"), PolicyDocument: &guarded}); err != nil {
		t.Fatal(err)
	}
	trust, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Principal": map[string]string{"AWS": *made.User.Arn}, "Action": "sts:AssumeRole", "Condition": map[string]any{"Bool": map[string]string{"aws:MultiFactorAuthPresent": "true"}}}}})
	role, err := users.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("theatre"), AssumeRolePolicyDocument: aws.String(string(trust))})
	if err != nil {
		t.Fatal(err)
	}
	key, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	surgeon := as(admin, key.AccessKey.AccessKeyId, key.AccessKey.SecretAccessKey, nil)

	device, err := users.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: name, Path: aws.String("/staff/"), Tags: []iamtypes.Tag{{Key: aws.String("ward"), Value: aws.String("3")}}})
	if err != nil {
		t.Fatal(err)
	}
	serial, seed := device.VirtualMFADevice.SerialNumber, string(device.VirtualMFADevice.Base32StringSeed)
	if *serial != "arn:aws:iam::"+account+":mfa/staff/surgeon" || len(seed) != 64 {
		t.Fatalf("serial %s, a seed of %d characters", *serial, len(seed))
	}
	if _, err := png.Decode(bytes.NewReader(device.VirtualMFADevice.QRCodePNG)); err != nil {
		t.Fatal(err)
	}
	_, err = users.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("Surgeon"), Path: aws.String("/staff/")})
	refusedAs[*iamtypes.EntityAlreadyExistsException](t, "the same name in another case", err)

	tokens := sts.NewFromConfig(sdkConfig(t, surgeon))
	now := time.Now()
	_, err = tokens.GetSessionToken(ctx, &sts.GetSessionTokenInput{SerialNumber: serial, TokenCode: codeAt(t, seed, now)})
	refusedWith(t, "a device that is nobody's", err, "AccessDenied")
	_, err = users.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{UserName: name, SerialNumber: serial, AuthenticationCode1: codeAt(t, seed, now), AuthenticationCode2: codeAt(t, seed, now)})
	refusedAs[*iamtypes.InvalidAuthenticationCodeException](t, "one code twice", err)
	if _, err := users.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{UserName: name, SerialNumber: serial,
		AuthenticationCode1: codeAt(t, seed, now.Add(-time.Minute)), AuthenticationCode2: codeAt(t, seed, now.Add(-30*time.Second))}); err != nil {
		t.Fatal(err)
	}
	mine, err := users.ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: name})
	if err != nil || len(mine.MFADevices) != 1 || *mine.MFADevices[0].SerialNumber != *serial || mine.MFADevices[0].EnableDate == nil {
		t.Fatalf("%+v, %v", mine, err)
	}

	plain, err := tokens.GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	c := plain.Credentials
	without := sdkConfig(t, as(admin, c.AccessKeyId, c.SecretAccessKey, c.SessionToken))
	_, err = iam.NewFromConfig(without).ListUsers(ctx, &iam.ListUsersInput{})
	refusedWith(t, "IAM without a second factor", err, "AccessDenied")

	ask := &sts.GetSessionTokenInput{SerialNumber: serial, TokenCode: codeAt(t, seed, now)}
	strong, err := tokens.GetSessionToken(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tokens.GetSessionToken(ctx, ask)
	refusedWith(t, "a code that was used", err, "AccessDenied")
	if err != nil && !strings.Contains(err.Error(), "MultiFactorAuthentication failed with invalid MFA one time pass code.") {
		t.Error(err)
	}
	c = strong.Credentials
	with := sdkConfig(t, as(admin, c.AccessKeyId, c.SecretAccessKey, c.SessionToken))
	if _, err := iam.NewFromConfig(with).ListUsers(ctx, &iam.ListUsersInput{}); err != nil {
		t.Errorf("IAM with a second factor: %v", err)
	}
	if _, err := kms.NewFromConfig(with).ListKeys(ctx, &kms.ListKeysInput{}); err != nil {
		t.Errorf("KMS with a second factor: %v", err)
	}

	open := &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("night")}
	_, err = tokens.AssumeRole(ctx, open)
	refusedWith(t, "the role without a second factor", err, "AccessDenied")
	open.SerialNumber, open.TokenCode = serial, codeAt(t, seed, now)
	_, err = tokens.AssumeRole(ctx, open)
	refusedWith(t, "the role with a used code", err, "AccessDenied")
	open.TokenCode = codeAt(t, seed, now.Add(30*time.Second))
	opened, err := tokens.AssumeRole(ctx, open)
	if err != nil {
		t.Fatal(err)
	}
	c = opened.Credentials
	if _, err := sts.NewFromConfig(sdkConfig(t, as(admin, c.AccessKeyId, c.SecretAccessKey, c.SessionToken))).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}

	// What is recorded tells the device and no code, no seed.
	trail := cloudtrail.NewFromConfig(cfg)
	for event, must := range map[string]string{"CreateVirtualMFADevice": *serial, "EnableMFADevice": *serial, "GetSessionToken": *serial, "ListUsers": `"mfaAuthenticated":"true"`} {
		found, err := trail.LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String(event)}}})
		if err != nil {
			t.Fatal(err)
		}
		seen := false
		for _, e := range found.Events {
			text := *e.CloudTrailEvent
			seen = seen || strings.Contains(text, must)
			if strings.Contains(text, seed) || strings.Contains(text, `"`+*ask.TokenCode+`"`) || strings.Contains(text, `"`+*codeAt(t, seed, now.Add(-time.Minute))+`"`) {
				t.Errorf("%s is recorded as %s", event, text)
			}
		}
		if !seen {
			t.Errorf("no record of %s has %s", event, must)
		}
	}

	_, err = users.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: serial})
	refusedAs[*iamtypes.DeleteConflictException](t, "a device in use", err)
	if _, err := users.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: name, SerialNumber: serial}); err != nil {
		t.Fatal(err)
	}
	if _, err := users.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: serial}); err != nil {
		t.Fatal(err)
	}
	_, err = users.GetMFADevice(ctx, &iam.GetMFADeviceInput{SerialNumber: serial})
	refusedAs[*iamtypes.NoSuchEntityException](t, "a deleted device", err)
}

func TestTheGoSDKKeepsPasswordsAndReadsReports(t *testing.T) {
	ctx := t.Context()
	admin := sharedPlane(t).client(t, "customer")
	cfg := sdkConfig(t, admin)
	users := iam.NewFromConfig(cfg)
	name := aws.String("clerk")
	made, err := users.CreateUser(ctx, &iam.CreateUserInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	_, err = users.GetAccountPasswordPolicy(ctx, &iam.GetAccountPasswordPolicyInput{})
	refusedAs[*iamtypes.NoSuchEntityException](t, "no password policy", err)
	if _, err := users.UpdateAccountPasswordPolicy(ctx, &iam.UpdateAccountPasswordPolicyInput{MinimumPasswordLength: aws.Int32(12), RequireNumbers: true, MaxPasswordAge: aws.Int32(90), PasswordReusePrevention: aws.Int32(3)}); err != nil {
		t.Fatal(err)
	}
	policy, err := users.GetAccountPasswordPolicy(ctx, &iam.GetAccountPasswordPolicyInput{})
	if err != nil || !policy.PasswordPolicy.ExpirePasswords || !policy.PasswordPolicy.RequireNumbers || policy.PasswordPolicy.RequireSymbols || *policy.PasswordPolicy.MinimumPasswordLength != 12 {
		t.Fatalf("%+v, %v", policy, err)
	}
	_, err = users.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: name, Password: aws.String("correct horse")})
	refusedAs[*iamtypes.PasswordPolicyViolationException](t, "a password without a number", err)
	first := "correct horse 1"
	profile, err := users.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: name, Password: &first, PasswordResetRequired: true})
	if err != nil || !profile.LoginProfile.PasswordResetRequired {
		t.Fatalf("%+v, %v", profile, err)
	}
	grant := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:ChangePassword","kms:List*"],"Resource":"*"},{"Effect":"Deny","Action":"kms:ListAliases","Resource":"*"}]}`
	if _, err := users.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("p"), PolicyDocument: &grant}); err != nil {
		t.Fatal(err)
	}
	key, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	own := sdkConfig(t, as(admin, key.AccessKey.AccessKeyId, key.AccessKey.SecretAccessKey, nil))
	clerk := iam.NewFromConfig(own)
	second := "battery staple 2"
	_, err = clerk.ChangePassword(ctx, &iam.ChangePasswordInput{OldPassword: &second, NewPassword: &second})
	refusedWith(t, "a wrong old password", err, "AccessDenied")
	if _, err := clerk.ChangePassword(ctx, &iam.ChangePasswordInput{OldPassword: &first, NewPassword: &second}); err != nil {
		t.Fatal(err)
	}
	_, err = clerk.ChangePassword(ctx, &iam.ChangePasswordInput{OldPassword: &second, NewPassword: &first})
	refusedAs[*iamtypes.PasswordPolicyViolationException](t, "a password that was used", err)
	got, err := users.GetLoginProfile(ctx, &iam.GetLoginProfileInput{UserName: name})
	if err != nil || got.LoginProfile.PasswordResetRequired {
		t.Errorf("%+v, %v", got, err)
	}
	changes, err := cloudtrail.NewFromConfig(cfg).LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("ChangePassword")}}})
	if err != nil || len(changes.Events) != 3 {
		t.Fatalf("%d events, %v", len(changes.Events), err)
	}
	for _, e := range changes.Events {
		if strings.Contains(*e.CloudTrailEvent, first) || strings.Contains(*e.CloudTrailEvent, second) {
			t.Errorf("recorded as %s", *e.CloudTrailEvent)
		}
	}

	// Attempts count, whatever became of them; what was not tried is named as such.
	if _, err := kms.NewFromConfig(own).ListKeys(ctx, &kms.ListKeysInput{}); err != nil {
		t.Fatal(err)
	}
	_, err = kms.NewFromConfig(own).ListAliases(ctx, &kms.ListAliasesInput{})
	refusedWith(t, "what is denied", err, "AccessDeniedException")
	job, err := users.GenerateServiceLastAccessedDetails(ctx, &iam.GenerateServiceLastAccessedDetailsInput{Arn: made.User.Arn, Granularity: iamtypes.AccessAdvisorUsageGranularityTypeActionLevel})
	if err != nil {
		t.Fatal(err)
	}
	report, err := users.GetServiceLastAccessedDetails(ctx, &iam.GetServiceLastAccessedDetailsInput{JobId: job.JobId})
	if err != nil || report.JobStatus != iamtypes.JobStatusTypeCompleted || len(report.ServicesLastAccessed) != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, s := range report.ServicesLastAccessed {
		var actions []string
		for _, a := range s.TrackedActionsLastAccessed {
			actions = append(actions, *a.ActionName)
		}
		if got := fmt.Sprintf("%s %d %s", *s.ServiceNamespace, *s.TotalAuthenticatedEntities, actions); got != "iam 1 [ChangePassword]" && got != "kms 1 [ListAliases ListKeys]" || *s.LastAuthenticatedEntity != *made.User.Arn || time.Since(*s.LastAuthenticated) > time.Minute {
			t.Errorf("%s by %s at %v", got, *s.LastAuthenticatedEntity, s.LastAuthenticated)
		}
	}
	entities, err := users.GetServiceLastAccessedDetailsWithEntities(ctx, &iam.GetServiceLastAccessedDetailsWithEntitiesInput{JobId: job.JobId, ServiceNamespace: aws.String("kms")})
	if err != nil || len(entities.EntityDetailsList) != 1 || *entities.EntityDetailsList[0].EntityInfo.Id != *made.User.UserId || entities.EntityDetailsList[0].LastAuthenticated == nil {
		t.Errorf("%+v, %v", entities, err)
	}
	granting, err := users.ListPoliciesGrantingServiceAccess(ctx, &iam.ListPoliciesGrantingServiceAccessInput{Arn: made.User.Arn, ServiceNamespaces: []string{"kms", "s3"}})
	if err != nil || len(granting.PoliciesGrantingServiceAccess) != 2 || len(granting.PoliciesGrantingServiceAccess[0].Policies) != 1 || len(granting.PoliciesGrantingServiceAccess[1].Policies) != 0 {
		t.Errorf("%+v, %v", granting, err)
	}

	_, err = users.GetCredentialReport(ctx, &iam.GetCredentialReportInput{})
	refusedAs[*iamtypes.CredentialReportNotPresentException](t, "no report", err)
	for _, want := range []iamtypes.ReportStateType{iamtypes.ReportStateTypeStarted, iamtypes.ReportStateTypeComplete} {
		if out, err := users.GenerateCredentialReport(ctx, &iam.GenerateCredentialReportInput{}); err != nil || out.State != want {
			t.Fatalf("%+v, %v, want %s", out, err, want)
		}
	}
	credentials, err := users.GetCredentialReport(ctx, &iam.GetCredentialReportInput{})
	if err != nil || credentials.ReportFormat != iamtypes.ReportFormatTypeTextCsv {
		t.Fatalf("%+v, %v", credentials, err)
	}
	rows, err := csv.NewReader(bytes.NewReader(credentials.Content)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, row := range rows {
		if row[0] == "clerk" {
			found = true
			if row[1] != *made.User.Arn || row[3] != "true" || row[7] != "false" || row[8] != "true" || row[12] != "kms" || row[13] != "false" {
				t.Errorf("row %q", row)
			}
		}
	}
	if !found || rows[1][0] != "<root_account>" {
		t.Errorf("rows %q", rows)
	}

	_, err = users.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	refusedAs[*iamtypes.DeleteConflictException](t, "a user with a login profile", err)
	if _, err := users.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	if _, err := users.DeleteAccountPasswordPolicy(ctx, &iam.DeleteAccountPasswordPolicyInput{}); err != nil {
		t.Fatal(err)
	}
}
