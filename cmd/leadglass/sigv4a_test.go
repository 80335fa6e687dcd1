package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithy "github.com/aws/smithy-go"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/leadglass/leadglass/identity/sigv4"
)

// v4aScheme is SigV4A as an auth scheme of the AWS SDK. The SDK's own signer is
// internal to it and only its S3 and EventBridge clients have it; ours takes
// its place in the same pipeline, and the vectors check it.
type v4aScheme struct {
	client  *client
	regions string
}

func (v4aScheme) SchemeID() string { return smithyauth.SchemeIDSigV4A }
func (v4aScheme) IdentityResolver(smithyauth.IdentityResolverOptions) smithyauth.IdentityResolver {
	return new(smithyauth.AnonymousIdentityResolver) // the signer has the credentials
}
func (s v4aScheme) Signer() smithyhttp.Signer { return s }

func (s v4aScheme) SignRequest(_ context.Context, r *smithyhttp.Request, _ smithyauth.Identity, p smithy.Properties) error {
	var body []byte
	if stream := r.GetStream(); stream != nil {
		var err error
		if body, err = io.ReadAll(stream); err != nil {
			return err
		}
		if err := r.RewindStream(); err != nil {
			return err
		}
	}
	name, _ := smithyhttp.GetSigV4ASigningName(&p)
	target := r.URL.EscapedPath()
	if target == "" {
		target = "/"
	}
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	signer := sigv4.Signer{AccessKeyID: s.client.AccessKeyID, SecretAccessKey: []byte(s.client.SecretAccessKey), SessionToken: s.client.Session, RegionSet: s.regions, Service: name}
	return signer.Sign(&sigv4.Request{Method: r.Method, Target: target, Host: r.URL.Host, Header: r.Header, ContentLength: int64(len(body))}, body, time.Now())
}

// option is the one of every service that chooses the scheme.
func option(id string, name string) []*smithyauth.Option {
	o := &smithyauth.Option{SchemeID: id}
	smithyhttp.SetSigV4ASigningName(&o.SignerProperties, name)
	return []*smithyauth.Option{o}
}

type (
	kmsV4A struct{}
	iamV4A struct{}
	stsV4A struct{}
	logV4A struct{}
)

func (kmsV4A) ResolveAuthSchemes(context.Context, *kms.AuthResolverParameters) ([]*smithyauth.Option, error) {
	return option(smithyauth.SchemeIDSigV4A, "kms"), nil
}
func (iamV4A) ResolveAuthSchemes(context.Context, *iam.AuthResolverParameters) ([]*smithyauth.Option, error) {
	return option(smithyauth.SchemeIDSigV4A, "iam"), nil
}
func (stsV4A) ResolveAuthSchemes(context.Context, *sts.AuthResolverParameters) ([]*smithyauth.Option, error) {
	return option(smithyauth.SchemeIDSigV4A, "sts"), nil
}
func (logV4A) ResolveAuthSchemes(context.Context, *cloudtrail.AuthResolverParameters) ([]*smithyauth.Option, error) {
	return option(smithyauth.SchemeIDSigV4A, "cloudtrail"), nil
}

// v4a are the clients of the SDK, signing with SigV4A for a region set.
type v4a struct {
	kms *kms.Client
	iam *iam.Client
	sts *sts.Client
	log *cloudtrail.Client
}

func newV4A(t *testing.T, c *client, regions string) v4a {
	t.Helper()
	cfg := sdkConfig(t, c)
	schemes := []smithyhttp.AuthScheme{v4aScheme{c, regions}}
	return v4a{
		kms.NewFromConfig(cfg, func(o *kms.Options) { o.AuthSchemes, o.AuthSchemeResolver = schemes, kmsV4A{} }),
		iam.NewFromConfig(cfg, func(o *iam.Options) { o.AuthSchemes, o.AuthSchemeResolver = schemes, iamV4A{} }),
		sts.NewFromConfig(cfg, func(o *sts.Options) { o.AuthSchemes, o.AuthSchemeResolver = schemes, stsV4A{} }),
		cloudtrail.NewFromConfig(cfg, func(o *cloudtrail.Options) { o.AuthSchemes, o.AuthSchemeResolver = schemes, logV4A{} }),
	}
}

func TestEveryServiceTakesSigV4A(t *testing.T) {
	ctx := t.Context()
	admin := sharedPlane(t).client(t, "customer")
	for _, regions := range []string{"*", admin.Region, admin.Region[:3] + "*", "eu-north-9, " + admin.Region} {
		a := newV4A(t, admin, regions)
		key, err := a.kms.CreateKey(ctx, &kms.CreateKeyInput{})
		if err != nil {
			t.Fatalf("%q: %v", regions, err)
		}
		sealed, err := a.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.KeyId, Plaintext: []byte("hello")})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.kms.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}); err != nil || string(got.Plaintext) != "hello" {
			t.Fatalf("%q: %v", regions, err)
		}
		if _, err := a.sts.GetCallerIdentity(ctx, nil); err != nil {
			t.Errorf("%q: %v", regions, err)
		}
		if _, err := a.iam.ListUsers(ctx, nil); err != nil {
			t.Errorf("%q: %v", regions, err)
		}
		found, err := a.log.LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyResourceName, AttributeValue: key.KeyMetadata.Arn}}})
		if err != nil || len(found.Events) != 3 {
			t.Fatalf("%q: %+v, %v", regions, found, err)
		}
		for _, e := range found.Events {
			if !strings.Contains(*e.CloudTrailEvent, `"SignatureVersion":"SigV4A"`) {
				t.Errorf("the record of %s does not say how it was signed: %s", *e.EventName, *e.CloudTrailEvent)
			}
		}
	}
	for _, regions := range []string{"eu-north-9", "eu-north-*", admin.Region + "0"} {
		a := newV4A(t, admin, regions)
		_, err := a.kms.ListKeys(ctx, nil)
		refusedWith(t, "KMS for "+regions, err, "InvalidSignatureException")
		_, err = a.sts.GetCallerIdentity(ctx, nil)
		refusedWith(t, "STS for "+regions, err, "SignatureDoesNotMatch")
		_, err = a.iam.ListUsers(ctx, nil)
		refusedWith(t, "IAM for "+regions, err, "SignatureDoesNotMatch")
	}
	wrong := *admin
	wrong.SecretAccessKey = strings.Repeat("x", 40)
	_, err := newV4A(t, &wrong, "*").kms.ListKeys(ctx, nil)
	refusedWith(t, "a wrong secret", err, "InvalidSignatureException")
	wrong.AccessKeyID = "AKIAIOSFODNN7EXAMPLE"
	_, err = newV4A(t, &wrong, "*").kms.ListKeys(ctx, nil)
	refusedWith(t, "an unknown key", err, "UnrecognizedClientException")
}

// Conditions see the request as it is, not how it was signed; and sessions
// that were asked for with SigV4A sign with it.
func TestPoliciesDoNotSeeTheAlgorithm(t *testing.T) {
	ctx := t.Context()
	admin := sharedPlane(t).client(t, "customer")
	a := newV4A(t, admin, "*")
	me, err := a.sts.GetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	role, err := a.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("v4a"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + *me.Account + `"},"Action":"sts:AssumeRole"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"kms:ListKeys","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"` + admin.Region + `"},"Bool":{"aws:SecureTransport":"false"}}},
		{"Effect":"Allow","Action":"kms:ListAliases","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-north-9"}}}]}`
	if _, err := a.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("v4a"), PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
		t.Fatal(err)
	}
	out, err := a.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("me")})
	if err != nil {
		t.Fatal(err)
	}
	c := out.Credentials
	session := newClient(profile{Region: admin.Region, Endpoint: admin.Endpoint, AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, Session: *c.SessionToken})
	as := newV4A(t, session, "*")
	if _, err := as.kms.ListKeys(ctx, nil); err != nil {
		t.Error(err)
	}
	_, err = as.kms.ListAliases(ctx, nil)
	refusedWith(t, "a condition on another region", err, "AccessDeniedException")
}

// A presigned request of SigV4A, as AWS's own tools do not make for STS but
// may: the region set stands in the query.
func TestAPresignedSigV4ARequest(t *testing.T) {
	c := sharedPlane(t).client(t, "customer")
	host := strings.TrimPrefix(c.Endpoint, "http://")
	get := func(regions string, edit func(string) string) (int, string) {
		s := sigv4.Signer{AccessKeyID: c.AccessKeyID, SecretAccessKey: []byte(c.SecretAccessKey), SessionToken: c.Session, RegionSet: regions, Service: "sts"}
		target, err := s.Presign(&sigv4.Request{Method: "GET", Target: "/?Action=GetCallerIdentity&Version=2011-06-15", Host: host}, nil, time.Minute, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Get(c.Endpoint + edit(target))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		if _, err := body.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body.String()
	}
	same := func(s string) string { return s }
	if status, body := get("*", same); status != 200 || !strings.Contains(body, "<Arn>") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get("eu-north-9", same); status != 403 || !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("for another region: %d %s", status, body)
	}
	if status, body := get(c.Region, func(s string) string { return strings.Replace(s, "Set="+c.Region, "Set=%2A", 1) }); status != 403 || !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("with the region set changed: %d %s", status, body)
	}
}
