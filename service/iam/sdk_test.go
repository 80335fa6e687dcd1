package iam_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/wire"
)

// A transport answers the SDK's requests as the gate does, but for the
// signature: codec, validation, target, decision, handler.
type transport struct {
	plane  *plane
	as     *caller
	router *wire.Router
	last   string // body of the last answer
}

// client is the SDK's client of a caller.
func (p *plane) client(as *caller) (*sdk.Client, *transport) {
	p.t.Helper()
	var infos []*wire.OpInfo
	for _, op := range p.table {
		infos = append(infos, op.Info)
	}
	router, err := wire.NewRouter(wire.RouterConfig{Operations: infos})
	if err != nil {
		p.t.Fatal(err)
	}
	tr := &transport{plane: p, as: as, router: router}
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://iam.test"), HTTPClient: &http.Client{Transport: tr}, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA2222222222222222", SecretAccessKey: testSecret}, nil
		}),
	}), tr
}

func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	requestID := id.UUID()
	res, err := tr.answer(&wire.Request{Method: r.Method, RawPath: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Host: r.Host, Header: r.Header, Body: body}, requestID)
	if err != nil {
		f, ok := wire.FaultOf(err)
		var d *denied
		switch {
		case errors.As(err, &d):
			f = wire.CommonFault(wire.AccessDenied, api.Service, wire.Query, d.message)
		case !ok:
			return nil, err
		}
		res = wire.EncodeError(api.Service, wire.Query, requestID, f, nil)
	}
	tr.last = string(res.Body)
	return &http.Response{
		StatusCode: res.Status, Header: http.Header{"Content-Type": {res.ContentType}, "X-Amzn-Requestid": {requestID}},
		Body: io.NopCloser(strings.NewReader(tr.last)), Request: r,
	}, nil
}

func (tr *transport) answer(req *wire.Request, requestID string) (wire.Response, error) {
	service, protocol, err := tr.router.Service(req)
	if err != nil {
		return wire.Response{}, err
	}
	info, err := tr.router.Operation(service, req)
	if err != nil {
		return wire.Response{}, err
	}
	op := tr.plane.table[info.Name]
	in := op.NewInput()
	if err := wire.Decode(info, protocol, req, in); err != nil {
		return wire.Response{}, err
	}
	if err := wire.Validate(info, req, in); err != nil {
		return wire.Response{}, err
	}
	out, call, err := tr.plane.try(tr.as, in)
	if err != nil {
		return wire.Response{}, err
	}
	res, err := wire.EncodeOutput(info, protocol, requestID, out, nil)
	for _, r := range call.TakeRevealed() {
		// What the gate does at the socket.
		_ = r.Secret.Use(func(b []byte) error {
			res.Body = bytes.ReplaceAll(res.Body, []byte(r.Placeholder), b)
			return nil
		})
		r.Secret.Destroy()
	}
	return res, err
}

func TestTheSDKSetsUpARoleAsTerraformDoes(t *testing.T) {
	p := newPlane(t)
	c, tr := p.client(p.admin)
	ctx := t.Context()
	trust := p.trust()
	if _, err := c.CreateRole(ctx, &sdk.CreateRoleInput{
		RoleName: aws.String("app"), AssumeRolePolicyDocument: &trust, MaxSessionDuration: aws.Int32(7200), Description: aws.String("Größe & <Wert>"),
		Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("")}},
	}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("app")})
	if err != nil {
		t.Fatal(err)
	}
	r := got.Role
	if text, err := url.QueryUnescape(*r.AssumeRolePolicyDocument); err != nil || text != trust || strings.ContainsAny(*r.AssumeRolePolicyDocument, `{" `) {
		t.Errorf("trust policy = %q, want %s percent-encoded", *r.AssumeRolePolicyDocument, trust)
	}
	if *r.Path != "/" || *r.Description != "Größe & <Wert>" || *r.MaxSessionDuration != 7200 || r.RoleLastUsed == nil || len(r.Tags) != 1 || *r.Tags[0].Value != "" || !r.CreateDate.Equal(second) {
		t.Errorf("GetRole = %s", tr.last)
	}
	if !strings.Contains(tr.last, "<CreateDate>2026-11-24T12:00:00Z</CreateDate>") {
		t.Errorf("date in another form: %s", tr.last)
	}
	if _, err := c.PutRolePolicy(ctx, &sdk.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("in"), PolicyDocument: aws.String(allowRead)}); err != nil {
		t.Fatal(err)
	}
	inline, err := c.GetRolePolicy(ctx, &sdk.GetRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("in")})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := url.QueryUnescape(*inline.PolicyDocument); text != allowRead {
		t.Errorf("inline policy = %q", *inline.PolicyDocument)
	}
	if err := sdk.NewRoleExistsWaiter(c).Wait(ctx, &sdk.GetRoleInput{RoleName: aws.String("app")}, 1e9); err != nil {
		t.Errorf("waiter: %v", err)
	}
	key, err := c.CreateAccessKey(ctx, &sdk.CreateAccessKeyInput{})
	if err != nil || *key.AccessKey.SecretAccessKey != testSecret {
		t.Errorf("CreateAccessKey: %v, %s", err, tr.last)
	}
}

func TestThePaginatorsOfTheSDKSeeEverything(t *testing.T) {
	p := newPlane(t)
	c, _ := p.client(p.admin)
	ctx := t.Context()
	want := map[string]bool{"administrator": true}
	for i := range 7 {
		name := fmt.Sprintf("u%d", i)
		want[name] = true
		if _, err := c.CreateUser(ctx, &sdk.CreateUserInput{UserName: &name}); err != nil {
			t.Fatal(err)
		}
	}
	pages := sdk.NewListUsersPaginator(c, &sdk.ListUsersInput{MaxItems: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Users {
			if !want[*u.UserName] {
				t.Errorf("%s came twice, or from nowhere", *u.UserName)
			}
			delete(want, *u.UserName)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestErrorsArriveAsTheSDKsTypes(t *testing.T) {
	p := newPlane(t)
	c, _ := p.client(p.admin)
	nobody, _ := p.client(p.user("/", "nobody", ""))
	ctx := t.Context()

	_, err := c.GetUser(ctx, &sdk.GetUserInput{UserName: aws.String("Eve")})
	if e, ok := errors.AsType[*types.NoSuchEntityException](err); !ok || e.ErrorMessage() != "The user with name Eve cannot be found." {
		t.Errorf("GetUser: %v", err)
	}
	_, err = c.CreateUser(ctx, &sdk.CreateUserInput{UserName: aws.String("nobody")})
	if _, ok := errors.AsType[*types.EntityAlreadyExistsException](err); !ok {
		t.Errorf("CreateUser: %v", err)
	}
	_, err = c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String("{}")})
	if _, ok := errors.AsType[*types.MalformedPolicyDocumentException](err); !ok {
		t.Errorf("CreatePolicy: %v", err)
	}
	for call, err := range map[string]error{
		"AccessDenied":    errorOf(nobody.ListUsers(ctx, &sdk.ListUsersInput{})),
		"ValidationError": errorOf(c.CreateUser(ctx, &sdk.CreateUserInput{UserName: aws.String("a b")})),
		"InvalidAction":   errorOf(c.ListServerCertificates(ctx, &sdk.ListServerCertificatesInput{})),
	} {
		if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != call {
			t.Errorf("%v, want %s", err, call)
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }
