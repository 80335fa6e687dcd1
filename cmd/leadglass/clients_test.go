package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

func sdkConfig(t *testing.T, c *client) aws.Config {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(c.Region), config.WithBaseEndpoint(c.Endpoint),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.Session)),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// refusedAs expects an SDK's typed error.
func refusedAs[E error](t *testing.T, what string, err error) {
	t.Helper()
	var want E
	if !errors.As(err, &want) {
		t.Errorf("%s: %v, want %T", what, err, want)
	}
}

func refusedWith(t *testing.T, what string, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestTheGoSDKProtectsDataAndFindsItsTraces(t *testing.T) {
	ctx := t.Context()
	cfg := sdkConfig(t, sharedPlane(t).client(t, "customer"))
	keys := kms.NewFromConfig(cfg)

	created, err := keys.CreateKey(ctx, &kms.CreateKeyInput{Description: aws.String("from Go"), Tags: []kmstypes.Tag{{TagKey: aws.String("ward"), TagValue: aws.String("3")}}})
	if err != nil {
		t.Fatal(err)
	}
	key := created.KeyMetadata
	if key.KeyState != kmstypes.KeyStateEnabled || !key.Enabled || key.KeySpec != kmstypes.KeySpecSymmetricDefault || aws.ToString(key.CurrentKeyMaterialId) == "" {
		t.Errorf("metadata %+v", key)
	}
	bound := map[string]string{"patient": "42", "ward": "é"}
	sealed, err := keys.Encrypt(ctx, &kms.EncryptInput{KeyId: key.Arn, Plaintext: []byte("x-ray"), EncryptionContext: bound})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: bound})
	if err != nil || string(opened.Plaintext) != "x-ray" || *opened.KeyId != *key.Arn {
		t.Fatalf("Decrypt = %+v, %v", opened, err)
	}
	_, err = keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	refusedAs[*kmstypes.InvalidCiphertextException](t, "Decrypt without the context", err)
	_, err = keys.Encrypt(ctx, &kms.EncryptInput{KeyId: key.Arn, Plaintext: []byte("x"), DryRun: aws.Bool(true)})
	refusedAs[*kmstypes.DryRunOperationException](t, "dry run", err)
	second, err := keys.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := keys.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: bound, DestinationKeyId: second.KeyMetadata.KeyId, DestinationEncryptionContext: map[string]string{"patient": "42"}})
	if err != nil || *moved.KeyId != *second.KeyMetadata.Arn || *moved.SourceKeyId != *key.Arn {
		t.Fatalf("ReEncrypt = %+v, %v", moved, err)
	}
	seen := map[string]bool{}
	for p := kms.NewListKeysPaginator(keys, &kms.ListKeysInput{Limit: aws.Int32(1)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			seen[*k.KeyArn] = true
		}
	}
	if !seen[*key.Arn] || !seen[*second.KeyMetadata.Arn] {
		t.Error("the paginator missed a key")
	}
	if _, err := keys.DisableKey(ctx, &kms.DisableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	_, err = keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: bound})
	refusedAs[*kmstypes.DisabledException](t, "Decrypt with a disabled key", err)

	trail := cloudtrail.NewFromConfig(cfg)
	found, err := trail.LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyResourceName, AttributeValue: key.Arn}}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found.Events {
		names = append(names, *e.EventName)
	}
	for _, want := range []string{"CreateKey", "Encrypt", "Decrypt", "ReEncrypt", "DisableKey"} {
		if !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("%s is not among the key's events %v", want, names)
		}
	}
}

func TestTheGoSDKManagesIdentities(t *testing.T) {
	ctx := t.Context()
	admin := sharedPlane(t).client(t, "customer")
	cfg := sdkConfig(t, admin)
	users, tokens := iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	who, err := tokens.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("nurse")}); err != nil {
		t.Fatal(err)
	}
	if err := iam.NewUserExistsWaiter(users).Wait(ctx, &iam.GetUserInput{UserName: aws.String("nurse")}, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	_, err = users.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("Nurse")})
	refusedAs[*iamtypes.EntityAlreadyExistsException](t, "the same name in other case", err)
	_, err = users.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("nurse"), PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Alow","Action":"*","Resource":"*"}]}`)})
	refusedAs[*iamtypes.MalformedPolicyDocumentException](t, "a misspelt effect", err)
	key, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("nurse")})
	if err != nil {
		t.Fatal(err)
	}
	nurse := newClient(profile{Region: admin.Region, Endpoint: admin.Endpoint, AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey})
	asNurse := sdkConfig(t, nurse)
	_, err = kms.NewFromConfig(asNurse).ListKeys(ctx, &kms.ListKeysInput{})
	refusedWith(t, "without a policy", err, "AccessDeniedException")

	// A role that only the nurse may assume, with an external id.
	trust, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Principal": map[string]string{"AWS": "arn:aws:iam::" + *who.Account + ":user/nurse"}, "Action": "sts:AssumeRole",
		"Condition": map[string]any{"StringEquals": map[string]string{"sts:ExternalId": "ward-3"}}}}})
	role, err := users.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("reader"), AssumeRolePolicyDocument: aws.String(string(trust))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("reader"), PolicyArn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")}); err != nil {
		t.Fatal(err)
	}
	ask := sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("night")}
	_, err = sts.NewFromConfig(asNurse).AssumeRole(ctx, &ask)
	refusedWith(t, "without the external id", err, "AccessDenied")
	ask.ExternalId = aws.String("ward-3")
	session, err := sts.NewFromConfig(asNurse).AssumeRole(ctx, &ask)
	if err != nil {
		t.Fatal(err)
	}
	c := session.Credentials
	asRole := sdkConfig(t, newClient(profile{Region: admin.Region, Endpoint: admin.Endpoint, AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, Session: *c.SessionToken}))
	if _, err := kms.NewFromConfig(asRole).ListKeys(ctx, &kms.ListKeysInput{}); err != nil {
		t.Errorf("the role may read: %v", err)
	}
	_, err = kms.NewFromConfig(asRole).CreateKey(ctx, &kms.CreateKeyInput{})
	refusedWith(t, "the role may only read", err, "AccessDeniedException")

	// The record says who was given which credentials, and not the credentials.
	given, err := cloudtrail.NewFromConfig(cfg).LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("AssumeRole")}}})
	if err != nil || len(given.Events) == 0 {
		t.Fatalf("%v %v", given, err)
	}
	if e := *given.Events[0].CloudTrailEvent; !strings.Contains(e, *c.AccessKeyId) || strings.Contains(e, *c.SecretAccessKey) || strings.Contains(e, *c.SessionToken) {
		t.Errorf("recorded as %s", e)
	}

	// The key at the start of the chain is deactivated: the session ends at once.
	if _, err := users.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("nurse"), AccessKeyId: key.AccessKey.AccessKeyId, Status: iamtypes.StatusTypeInactive}); err != nil {
		t.Fatal(err)
	}
	_, err = kms.NewFromConfig(asRole).ListKeys(ctx, &kms.ListKeysInput{})
	if err == nil {
		t.Error("a session outlived its access key")
	}
	_, err = users.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("nurse")})
	refusedAs[*iamtypes.DeleteConflictException](t, "a user with a key", err)
}

func TestClocksAndSignaturesThatAreWrongAreToldApart(t *testing.T) {
	c := sharedPlane(t).client(t, "customer")
	wrong := *c
	wrong.SecretAccessKey = strings.Repeat("x", 40)
	if _, err := wrong.json(t.Context(), "kms", "ListKeys", struct{}{}, nil); codeOf(err) != "InvalidSignatureException" {
		t.Errorf("wrong secret: %v", err)
	}
	wrong = *c
	wrong.AccessKeyID = "AKIAIOSFODNN7EXAMPLE"
	if _, err := wrong.json(t.Context(), "kms", "ListKeys", struct{}{}, nil); codeOf(err) != "UnrecognizedClientException" {
		t.Errorf("unknown key: %v", err)
	}
	wrong = *c
	wrong.Region = "eu-north-9"
	if _, err := wrong.json(t.Context(), "kms", "ListKeys", struct{}{}, nil); codeOf(err) != "InvalidSignatureException" {
		t.Errorf("another region: %v", err)
	}
	wrong = *c
	wrong.Session = "nonsense"
	if _, err := wrong.json(t.Context(), "kms", "ListKeys", struct{}{}, nil); codeOf(err) != "UnrecognizedClientException" {
		t.Errorf("a token that is none: %v", err)
	}
}

func TestTheAWSCLIWorksUnchanged(t *testing.T) {
	aws := need(t, "aws", "--version")
	p := sharedPlane(t)
	call := func(args ...string) (string, error) {
		// Versions before 2.13 do not know AWS_ENDPOINT_URL.
		cmd := exec.Command(aws, append([]string{"--endpoint-url", p.url}, args...)...)
		cmd.Env = p.env("customer")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			return out.String(), errors.New(strings.TrimSpace(errs.String()))
		}
		return strings.TrimSpace(out.String()), nil
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := call(args...)
		if err != nil {
			t.Fatalf("aws %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	dir := t.TempDir()
	plain, sealed := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed")
	if err := os.WriteFile(plain, records[:4000], 0o600); err != nil {
		t.Fatal(err)
	}
	account := must("sts", "get-caller-identity", "--query", "Account", "--output", "text")
	if len(account) != 12 {
		t.Errorf("account %q", account)
	}
	key := must("kms", "create-key", "--description", "from the CLI", "--tags", "TagKey=a,TagValue=b", "--query", "KeyMetadata.KeyId", "--output", "text")
	must("kms", "create-alias", "--alias-name", "alias/cli", "--target-key-id", key)
	blob := must("kms", "encrypt", "--key-id", "alias/cli", "--plaintext", "fileb://"+plain, "--encryption-context", "a=b", "--query", "CiphertextBlob", "--output", "text")
	if err := os.WriteFile(sealed, []byte(blob), 0o600); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(dir, "raw")
	if err := exec.Command("sh", "-c", "base64 -d < "+sealed+" > "+raw).Run(); err != nil {
		t.Fatal(err)
	}
	back := must("kms", "decrypt", "--ciphertext-blob", "fileb://"+raw, "--encryption-context", "a=b", "--query", "Plaintext", "--output", "text")
	if err := os.WriteFile(sealed, []byte(back), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-c", "base64 -d < "+sealed+" | cmp - "+plain).CombinedOutput(); err != nil {
		t.Errorf("what came back differs: %s", out)
	}
	if _, err := call("kms", "decrypt", "--ciphertext-blob", "fileb://"+raw); err == nil || !strings.Contains(err.Error(), "(InvalidCiphertextException)") {
		t.Errorf("without the context: %v", err)
	}
	must("iam", "create-role", "--role-name", "cli", "--assume-role-policy-document", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"sts:AssumeRole"}}`)
	if out := must("sts", "assume-role", "--role-arn", "arn:aws:iam::"+account+":role/cli", "--role-session-name", "cli", "--query", "AssumedRoleUser.Arn", "--output", "text"); out != "arn:aws:sts::"+account+":assumed-role/cli/cli" {
		t.Errorf("assumed %q", out)
	}
	if _, err := call("iam", "get-role", "--role-name", "missing"); err == nil || !strings.Contains(err.Error(), "(NoSuchEntity)") {
		t.Errorf("a missing role: %v", err)
	}
	if out := must("cloudtrail", "lookup-events", "--lookup-attributes", "AttributeKey=EventName,AttributeValue=AssumeRole", "--query", "Events[0].EventName", "--output", "text"); out != "AssumeRole" {
		t.Errorf("lookup-events gave %q", out)
	}
	if out := must("kms", "schedule-key-deletion", "--key-id", key, "--pending-window-in-days", "7", "--query", "KeyState", "--output", "text"); out != "PendingDeletion" {
		t.Errorf("state %q", out)
	}
}

func TestTheJavaScriptSDKWorksUnchanged(t *testing.T) {
	node := need(t, "node", "--version")
	dir := filepath.Join("..", "..", "internal", "clients", "js")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		if os.Getenv("LEADGLASS_CI") == "" {
			t.Skip("run npm ci in internal/clients/js to test with the AWS SDK for JavaScript")
		}
		t.Fatal(err)
	}
	drive(t, exec.Command(node, filepath.Join(dir, "drive.mjs")), "javascript ok")
}

func TestBoto3WorksUnchanged(t *testing.T) {
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import boto3").Run() == nil {
			drive(t, exec.Command(python, filepath.Join("..", "..", "internal", "clients", "python", "drive.py")), "python ok")
			return
		}
	}
	if os.Getenv("LEADGLASS_CI") != "" {
		t.Fatal("no Python here has boto3")
	}
	t.Skip("no Python here has boto3")
}

func drive(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	p := sharedPlane(t)
	cmd.Env = p.env("customer")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd.WaitDelay = time.Second
	done := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			cmd.Process.Kill()
		case <-done:
		}
	}()
	out, err := cmd.CombinedOutput()
	close(done)
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v\n%s", err, out)
	}
}
