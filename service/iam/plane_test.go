package iam_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/service/iam"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/wire"

	api "github.com/leadglass/leadglass/api/iam"
)

// now is when the tests take place; the fraction must not show in answers.
var now = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)

const (
	allowAll  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	allowRead = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:Get*"],"Resource":"*"}]}`
)

// testSecret is what the test's authority answers for every key.
const testSecret = "abcdefghijABCDEFGHIJ0123456789+/abcdefgh"

// keeper stands in for the authority's process: it makes secrets, which are no
// part of what is tested here.
type keeper struct{ down error }

func (k *keeper) NewSecret(context.Context, string, string) ([]byte, *secret.Bytes, error) {
	if k.down != nil {
		return nil, nil, k.down
	}
	s, err := secret.From([]byte(testSecret))
	return []byte("sealed"), s, err
}

func (k *keeper) Revoke(context.Context, authority.Revocation) (uint64, error) { return 1, nil }

// A plane is IAM over a directory in memory, and an account with its first user.
type plane struct {
	t         *testing.T
	clock     *clock.Fake
	keeper    *keeper
	directory *directory.Directory
	table     map[string]operation.Operation
	account   string
	admin     *caller
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	store := memory.Open()
	p := &plane{t: t, clock: clock.NewFake(now), keeper: new(keeper), table: make(map[string]operation.Operation)}
	var err error
	p.directory, err = directory.Open(t.Context(), store, directory.Config{Clock: p.clock, Authority: p.keeper, Factors: p.keeper, Quotas: directory.Quotas{AttachedPolicies: 3}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.directory.Close(context.Background()); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	for _, op := range iam.New(p.directory).Operations() {
		p.table[op.Info.Name] = op
	}
	p.account, p.admin = p.open("clinic")
	return p
}

// in is the same plane for a subtest.
func (p plane) in(t *testing.T) *plane { p.t = t; return &p }

// open opens an account and redeems its enrolment.
func (p *plane) open(name string) (account string, admin *caller) {
	p.t.Helper()
	a, err := p.directory.CreateAccount(p.t.Context(), name, false)
	if err != nil {
		p.t.Fatal(err)
	}
	code, err := p.directory.NewEnrolment(p.t.Context(), a.ID)
	if err != nil {
		p.t.Fatal(err)
	}
	key, sec, err := p.directory.Redeem(p.t.Context(), code)
	if err != nil {
		p.t.Fatal(err)
	}
	sec.Destroy()
	return a.ID, p.byKey(key)
}

// A caller is somebody who calls; policies are looked up anew for each call.
type caller struct {
	principalID string
	accessKeyID string
	session     string // of a role
}

// byKey is the owner of an access key.
func (p *plane) byKey(accessKeyID string) *caller {
	p.t.Helper()
	c, ok := p.directory.Credential(accessKeyID)
	if !ok {
		p.t.Fatalf("no credential %s", accessKeyID)
	}
	return &caller{principalID: c.PrincipalID, accessKeyID: accessKeyID}
}

// user makes a user with an inline policy (none if empty) and gives it as caller.
func (p *plane) user(path, name, document string) *caller {
	p.t.Helper()
	out := do[api.CreateUserOutput](p, p.admin, &api.CreateUserInput{Path: path, UserName: name})
	if document != "" {
		do[api.PutUserPolicyOutput](p, p.admin, &api.PutUserPolicyInput{UserName: name, PolicyName: "inline", PolicyDocument: document})
	}
	return &caller{principalID: out.User.UserId}
}

// role makes a role that everybody of the account may take and gives a session of it.
func (p *plane) role(name, document string) *caller {
	p.t.Helper()
	out := do[api.CreateRoleOutput](p, p.admin, &api.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: p.trust()})
	do[api.PutRolePolicyOutput](p, p.admin, &api.PutRolePolicyInput{RoleName: name, PolicyName: "inline", PolicyDocument: document})
	return &caller{principalID: out.Role.RoleId, session: "work"}
}

func (p *plane) trust() string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + arn.Root(p.account) + `"},"Action":"sts:AssumeRole"}]}`
}

// call makes the operation.Call that the gate would make.
func (p *plane) call(as *caller) (*operation.Call, *directory.Snapshot) {
	p.t.Helper()
	s, ok := p.directory.Principal(as.principalID)
	if !ok {
		p.t.Fatalf("caller %s is gone", as.principalID)
	}
	c := &operation.Call{RequestID: id.UUID(), Time: p.clock.Now(), Region: "us-east-1", Account: s.Account, AccessKeyID: as.accessKeyID}
	if s.Kind == directory.RoleKind {
		c.Principal = authz.Principal{Type: authz.AssumedRole, ARN: arn.AssumedRole(s.Account, s.Name, as.session), Account: s.Account, RoleARN: s.ARN, ID: s.ID}
		c.PrincipalID, c.SessionName = s.ID+":"+as.session, as.session
		return c, s
	}
	c.Principal = authz.Principal{Type: authz.User, ARN: s.ARN, Account: s.Account, ID: s.ID}
	c.PrincipalID, c.UserName = s.ID, s.Name
	return c, s
}

// A denied error is what the gate answers for an ask that is not allowed.
type denied struct {
	ask     operation.Ask
	message string
}

func (d *denied) Error() string { return "AccessDenied: " + d.message }

// try runs one call through target, decision and handler, as the gate does.
func (p *plane) try(as *caller, in any) (out any, call *operation.Call, err error) {
	p.t.Helper()
	name := strings.TrimSuffix(reflect.TypeOf(in).Elem().Name(), "Input")
	op, ok := p.table[name]
	if !ok {
		p.t.Fatalf("%s is not served", name)
	}
	call, snapshot := p.call(as)
	ctx := operation.WithCall(p.t.Context(), call)
	asks, err := op.Target(ctx, in)
	if err != nil {
		return nil, call, err
	}
	if len(asks) == 0 {
		p.t.Fatalf("%s asks nothing", name)
	}
	for i := range asks {
		d := authz.Decide(&authz.Request{Principal: &call.Principal, Policies: snapshot.Policies, Ask: &asks[i], Common: new(authz.Keys)}, nil)
		if !d.Allowed {
			return nil, call, &denied{asks[i], d.Message(&call.Principal, &asks[i])}
		}
	}
	out, err = op.Serve(ctx, in)
	return out, call, err
}

// do is try for a call that must succeed.
func do[O any](p *plane, as *caller, in any) *O {
	p.t.Helper()
	out, _, err := p.try(as, in)
	if err != nil {
		p.t.Fatalf("%T: %v", in, err)
	}
	return out.(*O)
}

// codeOf is the code, HTTP status and message that a client would see.
func codeOf(err error) (code string, status int, message string) {
	var d *denied
	var m wire.Modelled
	switch {
	case err == nil:
		return "", 200, ""
	case errors.As(err, &d):
		return "AccessDenied", 403, d.message
	case errors.As(err, &m):
		f := m.Fault()
		return f.Code, f.Status, f.Message
	}
	return "internal", 500, err.Error()
}

// wantCode fails unless the call ends with the code.
func (p *plane) wantCode(as *caller, in any, code string) {
	p.t.Helper()
	_, _, err := p.try(as, in)
	if got, _, message := codeOf(err); got != code {
		p.t.Errorf("%T: %s %q, want %s", in, got, message, cmp.Or(code, "success"))
	}
}

// arnOf is the ARN of something in the plane's account: "user/a".
func (p *plane) arnOf(resource string) string {
	return fmt.Sprintf("arn:aws:iam::%s:%s", p.account, resource)
}

// allow is a policy with one statement.
func allow(actions, resources string, condition ...string) string {
	c := ""
	if len(condition) > 0 {
		c = `,"Condition":` + condition[0]
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":` + actions + `,"Resource":` + resources + c + `}]}`
}
