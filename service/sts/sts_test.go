package sts_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	api "github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/service/sts"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/wire"
)

// An outsider stands for the authority's process; no signature reaches it here.
type outsider struct {
	issued []authority.Claims
	down   bool
}

func (o *outsider) NewSecret(context.Context, string, string) ([]byte, *secret.Bytes, error) {
	s, err := secret.New(40)
	return []byte("sealed"), s, err
}

func (o *outsider) Revoke(context.Context, authority.Revocation) (uint64, error) { return 1, nil }

func (o *outsider) Witness(context.Context, authority.Request) (*authority.Claims, error) {
	return nil, authority.ErrSignature
}

func (o *outsider) IssueSession(_ context.Context, c authority.Claims) (string, *secret.Bytes, string, error) {
	if o.down {
		return "", nil, "", authority.ErrUnavailable
	}
	o.issued = append(o.issued, c)
	akid, err := id.AccessKey("ASIA", c.Account)
	if err != nil {
		return "", nil, "", err
	}
	s, err := secret.From([]byte(strings.Repeat("s", 40)))
	return akid, s, "the token", err
}

func (o *outsider) SealMessage(_ context.Context, _ string, plain []byte) (string, error) {
	return base64.StdEncoding.EncodeToString(plain), nil
}

func (o *outsider) CallerKey(context.Context, string, []byte, string) ([]byte, error) {
	return nil, authority.ErrDenied
}

func (o *outsider) OpenMessage(_ context.Context, _, message string) ([]byte, error) {
	if b, err := base64.StdEncoding.DecodeString(message); err == nil {
		return b, nil
	}
	return nil, authority.ErrToken
}

type world struct {
	t       *testing.T
	outside *outsider
	table   map[string]operation.Operation
	user    directory.User
	role    directory.Role
	key     string
	call    *operation.Call // of the last do
}

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, outside: new(outsider), table: make(map[string]operation.Operation)}
	c := clock.NewFake(start)
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	d, err := directory.Open(t.Context(), store, directory.Config{Clock: c, Authority: w.outside})
	must(err)
	t.Cleanup(func() { d.Close(context.Background()) })
	s, err := sessions.New(d, w.outside, c)
	must(err)
	for _, op := range sts.Operations(s) {
		w.table[op.Info.Name] = op
	}
	a, err := d.CreateAccount(t.Context(), "hospital", false)
	must(err)
	w.user, err = d.CreateUser(t.Context(), a.ID, directory.NewUser{Name: "u"})
	must(err)
	k, err := d.CreateAccessKey(t.Context(), a.ID, "u")
	must(err)
	w.key = k.ID
	w.role, err = d.CreateRole(t.Context(), a.ID, directory.NewRole{Name: "r",
		TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + w.user.ARN + `"},"Action":"sts:*"}]}`})
	must(err)
	return w
}

func (w *world) caller() *sessions.Caller {
	return &sessions.Caller{
		Principal: authz.Principal{Type: authz.User, ARN: w.user.ARN, Account: w.user.Account, ID: w.user.ID},
		Policies:  &authz.Policies{}, AccessKeyID: w.key, PrincipalID: w.user.ID, UserName: "u", CredentialID: w.key,
	}
}

// do runs an operation as the gate does, with the wire's checks before it.
func (w *world) do(name string, caller *sessions.Caller, in any) (any, error) {
	w.t.Helper()
	op, ok := w.table[name]
	if !ok {
		w.t.Fatalf("%s is not served", name)
	}
	w.call = &operation.Call{Time: start, Region: "us-east-1"}
	if caller != nil {
		w.call.Account, w.call.Principal, w.call.PrincipalID, w.call.Session = caller.Principal.Account, caller.Principal, caller.PrincipalID, caller
	}
	ctx := operation.WithCall(w.t.Context(), w.call)
	if op.Target != nil {
		asks, err := op.Target(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, a := range asks {
			if !authz.Decide(&authz.Request{Principal: &w.call.Principal, Policies: caller.Policies, Common: &caller.Keys, Ask: &a}, nil).Allowed {
				return nil, &operation.Denied{Ask: a}
			}
		}
	}
	return op.Serve(ctx, in)
}

func (w *world) fault(name string, err error, code string, status int) {
	w.t.Helper()
	type faulty interface {
		error
		Fault() *wire.Fault
	}
	f, ok := errors.AsType[faulty](err)
	if !ok || f.Fault().Code != code || f.Fault().Status != status {
		w.t.Errorf("%s: got %v, want %s %d", name, err, code, status)
	}
}

func TestTheTable(t *testing.T) {
	w := newWorld(t)
	free := map[string]bool{
		"AssumeRole": false, "AssumeRoot": false, "DecodeAuthorizationMessage": false, "GetAccessKeyInfo": true, "GetCallerIdentity": true, "GetSessionToken": true,
		"AssumeRoleWithWebIdentity": false, "GetFederationToken": false, "GetWebIdentityToken": false,
	}
	for name, op := range w.table {
		want, ok := free[name]
		if !ok || op.Free != want || op.Unsigned != (name == "AssumeRoleWithWebIdentity") || op.Identified != op.Unsigned || op.Operator {
			t.Errorf("%s: free %v, unsigned %v", name, op.Free, op.Unsigned)
		}
	}
	if len(w.table) != len(free) {
		t.Errorf("%d operations", len(w.table))
	}
}

func TestAssumeRole(t *testing.T) {
	w := newWorld(t)
	out, err := w.do("AssumeRole", w.caller(), &api.AssumeRoleInput{
		RoleArn: w.role.ARN, RoleSessionName: "night", DurationSeconds: new(int32(900)), SourceIdentity: "badge",
		Policy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`,
		Tags:   []api.Tag{{Key: "Team", Value: "a"}}, TransitiveTagKeys: []string{"Team"},
		PolicyArns: []api.PolicyDescriptorType{{Arn: directory.AdministratorAccess}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := out.(*api.AssumeRoleOutput)
	if a.AssumedRoleUser.AssumedRoleId != w.role.ID+":night" || a.AssumedRoleUser.Arn != "arn:aws:sts::"+w.role.Account+":assumed-role/r/night" ||
		a.SourceIdentity != "badge" || *a.PackedPolicySize < 1 || a.Credentials.SessionToken != "the token" ||
		!a.Credentials.Expiration.Equal(start.Add(15*time.Minute)) || !strings.HasPrefix(a.Credentials.AccessKeyId, "ASIA") {
		t.Errorf("%+v %+v %+v", a, a.AssumedRoleUser, a.Credentials)
	}
	t.Run("the secret is only a placeholder", func(t *testing.T) {
		revealed := w.call.TakeRevealed()
		if len(revealed) != 1 || revealed[0].Placeholder != a.Credentials.SecretAccessKey || strings.Contains(a.Credentials.SecretAccessKey, "sss") {
			t.Errorf("%+v", revealed)
		}
	})
	if r := w.call.Touched(); len(r) != 1 || r[0].ARN != w.role.ARN || r[0].Account != w.role.Account {
		t.Errorf("resources %+v", r)
	}
	c := w.outside.issued[0]
	if c.Type != authority.AssumedRole || c.PrincipalID != w.role.ID || c.CredentialID != w.key || c.Depth != 1 || c.Tags["Team"] != "a" || len(c.Policies) != 1 || len(c.PolicyARNs) != 1 {
		t.Errorf("claims %+v", c)
	}
	t.Run("without tags and policies nothing is packed", func(t *testing.T) {
		out, err := w.do("AssumeRole", w.caller(), &api.AssumeRoleInput{RoleArn: w.role.ARN, RoleSessionName: "night"})
		if err != nil {
			t.Fatal(err)
		}
		if p := out.(*api.AssumeRoleOutput).PackedPolicySize; p != nil {
			t.Errorf("packed %d", *p)
		}
	})
}

func TestRefusalsOfAssumeRole(t *testing.T) {
	w := newWorld(t)
	in := func(change func(*api.AssumeRoleInput)) *api.AssumeRoleInput {
		i := &api.AssumeRoleInput{RoleArn: w.role.ARN, RoleSessionName: "night"}
		change(i)
		return i
	}
	for _, c := range []struct {
		name   string
		change func(*api.AssumeRoleInput)
		code   string
		status int
	}{
		{"a code without a device", func(i *api.AssumeRoleInput) { i.TokenCode = "123456" }, "AccessDenied", 403},
		{"a device without a code", func(i *api.AssumeRoleInput) { i.SerialNumber = "arn:aws:iam::1:mfa/x" }, "AccessDenied", 403},
		{"a provided context", func(i *api.AssumeRoleInput) { i.ProvidedContexts = []api.ProvidedContext{{}} }, "ValidationError", 400},
		{"too long", func(i *api.AssumeRoleInput) { i.DurationSeconds = new(int32(3601)) }, "ValidationError", 400},
		{"a malformed policy", func(i *api.AssumeRoleInput) { i.Policy = "{}" }, "MalformedPolicyDocument", 400},
		{"too much policy", func(i *api.AssumeRoleInput) {
			i.Policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"arn:aws:kms:::` + strings.Repeat("x", 1900) + `"}]}`
			for range 10 {
				i.PolicyArns = append(i.PolicyArns, api.PolicyDescriptorType{Arn: directory.AdministratorAccess})
			}
		}, "PackedPolicyTooLarge", 400},
		{"one key twice", func(i *api.AssumeRoleInput) { i.Tags = []api.Tag{{Key: "a"}, {Key: "A"}} }, "InvalidParameterValue", 400},
	} {
		_, err := w.do("AssumeRole", w.caller(), in(c.change))
		w.fault(c.name, err, c.code, c.status)
	}
	t.Run("a role that does not trust", func(t *testing.T) {
		for _, arn := range []string{"arn:aws:iam::" + w.role.Account + ":role/none", w.role.ARN} {
			stranger := w.caller()
			stranger.Principal.ID, stranger.Principal.ARN = "AIDASTRANGER", w.user.ARN+"2"
			_, err := w.do("AssumeRole", stranger, &api.AssumeRoleInput{RoleArn: arn, RoleSessionName: "night"})
			if d, ok := errors.AsType[*operation.Denied](err); !ok || d.Ask.Action != "sts:AssumeRole" || d.Ask.Resource != arn {
				t.Errorf("%s: %v", arn, err)
			}
		}
	})
	t.Run("nobody", func(t *testing.T) {
		_, err := w.do("GetSessionToken", nil, &api.GetSessionTokenInput{})
		w.fault("nobody", err, "AccessDenied", 403)
	})
	t.Run("the authority is down", func(t *testing.T) {
		w.outside.down = true
		_, err := w.do("AssumeRole", w.caller(), in(func(*api.AssumeRoleInput) {}))
		w.fault("down", err, "ServiceUnavailable", 503)
	})
}

func TestTheRest(t *testing.T) {
	w := newWorld(t)
	out, err := w.do("GetCallerIdentity", w.caller(), &api.GetCallerIdentityInput{})
	if want := (api.GetCallerIdentityOutput{UserId: w.user.ID, Account: w.user.Account, Arn: w.user.ARN}); err != nil || *out.(*api.GetCallerIdentityOutput) != want {
		t.Errorf("%+v, %v", out, err)
	}
	out, err = w.do("GetAccessKeyInfo", w.caller(), &api.GetAccessKeyInfoInput{AccessKeyId: w.key})
	if err != nil || out.(*api.GetAccessKeyInfoOutput).Account != w.user.Account {
		t.Errorf("%+v, %v", out, err)
	}
	for _, bad := range []string{"AKIA", "AKIA1111111111111111", "akiaaaaaaaaaaaaaaaaa", "AROAAAAAAAAAAAAAAAAA", strings.Repeat("A", 128)} {
		_, err = w.do("GetAccessKeyInfo", w.caller(), &api.GetAccessKeyInfoInput{AccessKeyId: bad})
		w.fault(bad, err, "ValidationError", 400)
	}
	token := w.caller()
	token.Principal.TemporaryUser, token.Issued = true, start
	_, err = w.do("GetAccessKeyInfo", token, &api.GetAccessKeyInfoInput{AccessKeyId: w.key})
	w.fault("GetAccessKeyInfo with a session token", err, "AccessDenied", 403)
	_, err = w.do("GetSessionToken", token, &api.GetSessionTokenInput{})
	w.fault("GetSessionToken with a session token", err, "AccessDenied", 403)
	if _, err = w.do("GetCallerIdentity", token, &api.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}
	out, err = w.do("GetSessionToken", w.caller(), &api.GetSessionTokenInput{DurationSeconds: new(int32(900))})
	if err != nil || !out.(*api.GetSessionTokenOutput).Credentials.Expiration.Equal(start.Add(15*time.Minute)) || len(w.call.TakeRevealed()) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = w.do("GetSessionToken", w.caller(), &api.GetSessionTokenInput{TokenCode: "123456", SerialNumber: "x"})
	w.fault("second factor", err, "AccessDenied", 403)

	_, err = w.do("DecodeAuthorizationMessage", w.caller(), &api.DecodeAuthorizationMessageInput{EncodedMessage: "e30="})
	if d, ok := errors.AsType[*operation.Denied](err); !ok || d.Ask.Action != "sts:DecodeAuthorizationMessage" {
		t.Errorf("got %v", err)
	}
	doc, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:Decode*","Resource":"*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	reader := w.caller()
	reader.Policies.Identity = []*policy.Document{doc}
	out, err = w.do("DecodeAuthorizationMessage", reader, &api.DecodeAuthorizationMessageInput{EncodedMessage: "e30="})
	if err != nil || out.(*api.DecodeAuthorizationMessageOutput).DecodedMessage != "{}" {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = w.do("DecodeAuthorizationMessage", reader, &api.DecodeAuthorizationMessageInput{EncodedMessage: "?"})
	w.fault("no message", err, "InvalidAuthorizationMessageException", 400)
}

// IssueSessionWithFactor takes one code of one device as good.
func (o *outsider) IssueSessionWithFactor(ctx context.Context, c authority.Claims, f authority.Factor) (string, *secret.Bytes, string, error) {
	if f.Code != "123456" || string(f.Sealed) != "sealed device" {
		return "", nil, "", authority.ErrCode
	}
	c.MFA = new(start)
	return o.IssueSession(ctx, c)
}
