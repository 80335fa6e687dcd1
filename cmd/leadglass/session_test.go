package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/leadglass/leadglass/base/id"
)

// trustOfAccount trusts the account's own principals.
const trustOfAccount = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"sts:AssumeRole"}]}`

const allowEverything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// modes are the two ways to check signatures; nobody outside can tell which.
var modes = map[string][]string{
	"witness mode": nil,
	"key mode":     {"--key-mode", "all"},
}

// sessionPlane is a plane, its customer, and a role that it may assume.
type sessionPlane struct {
	*plane
	t       *testing.T
	admin   *client
	account string
	iam     *iam.Client
	sts     *sts.Client
	role    string
}

func newSessionPlane(t *testing.T, flags ...string) *sessionPlane {
	t.Helper()
	p := &sessionPlane{plane: newPlane(t, filepath.Join(t.TempDir(), "data"), flags...), t: t}
	p.admin = p.client(t, "customer")
	cfg := sdkConfig(t, p.admin)
	p.iam, p.sts = iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	var err error
	if p.account, err = id.AccessKeyAccount(p.admin.AccessKeyID); err != nil {
		t.Fatal(err)
	}
	p.role = p.newRole("worker")
	return p
}

func (p *sessionPlane) newRole(name string) string {
	p.t.Helper()
	r, err := p.iam.CreateRole(p.t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(fmt.Sprintf(trustOfAccount, p.account))})
	if err == nil {
		_, err = p.iam.PutRolePolicy(p.t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("all"), PolicyDocument: aws.String(allowEverything)})
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return *r.Role.Arn
}

// with is the admin's client with other credentials.
func (p *sessionPlane) with(c *ststypes.Credentials) *client {
	other := *p.admin
	other.AccessKeyID, other.SecretAccessKey, other.Session = *c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken
	return &other
}

func (p *sessionPlane) assume(role string) *client {
	p.t.Helper()
	out, err := p.sts.AssumeRole(p.t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.with(out.Credentials)
}

// try is what a client is answered to a call of each protocol.
func (p *sessionPlane) try(c *client) string {
	said := func(err error) string {
		if e, ok := errors.AsType[*apiError](err); ok {
			return fmt.Sprint(e.Status, " ", e.Error())
		}
		if err != nil {
			return err.Error()
		}
		return "200"
	}
	_, query := c.query(p.t.Context(), "iam", "2010-05-08", "ListUsers", url.Values{}, nil)
	_, json := c.json(p.t.Context(), "kms", "ListKeys", struct{}{}, nil)
	return said(query) + "; " + said(json)
}

func (p *sessionPlane) revoke(c *client, in map[string]any) error {
	_, err := c.json(p.t.Context(), "leadglass", "RevokeSessions", in, nil)
	return err
}

func (p *sessionPlane) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// One table of answers, in both modes: nobody can tell them apart.
func TestKeyModeAndWitnessModeAnswerAlike(t *testing.T) {
	const (
		good    = "200; 200"
		wrong   = "403 SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.; 400 InvalidSignatureException: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."
		invalid = "403 InvalidClientTokenId: The security token included in the request is invalid.; 400 UnrecognizedClientException: The security token included in the request is invalid."
	)
	for mode, flags := range modes {
		t.Run(mode, func(t *testing.T) {
			p := newSessionPlane(t, flags...)
			check := func(what, want string, c *client) {
				t.Helper()
				for range 3 { // from the authority, and in key mode from what is kept
					if got := p.try(c); got != want {
						t.Errorf("%s: %s, want %s", what, got, want)
					}
				}
			}
			change := func(c *client, f func(*client)) *client { other := *c; f(&other); return &other }
			unknown, err := id.AccessKey("AKIA", p.account)
			p.must(err)
			s, second := p.assume(p.role), p.assume(p.role)
			check("a user", good, p.admin)
			check("a role session", good, s)
			check("a wrong secret", wrong, change(p.admin, func(c *client) { c.SecretAccessKey = strings.Repeat("x", 40) }))
			check("a session's wrong secret", wrong, change(s, func(c *client) { c.SecretAccessKey = second.SecretAccessKey }))
			check("an unknown id", invalid, change(p.admin, func(c *client) { c.AccessKeyID = unknown }))
			check("another session's token", invalid, change(s, func(c *client) { c.Session = second.Session }))
			check("no token", invalid, change(s, func(c *client) { c.Session = "" }))
			check("a token that is none", invalid, change(s, func(c *client) { c.Session = "none" }))

			p.must(p.revoke(p.admin, map[string]any{"AccessKeyId": s.AccessKeyID}))
			check("a revoked session", invalid, s)
			check("the one beside it", good, second)
			p.must(p.revoke(p.admin, map[string]any{"PrincipalArn": p.role}))
			check("a session of a revoked role", invalid, second)
			check("a session from after", good, p.assume(p.role))

			_, err = p.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("idle")})
			p.must(err)
			_, err = p.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("idle"), PolicyName: aws.String("all"), PolicyDocument: aws.String(allowEverything)})
			p.must(err)
			key, err := p.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("idle")})
			p.must(err)
			idle := change(p.admin, func(c *client) {
				c.AccessKeyID, c.SecretAccessKey = *key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey
			})
			check("a second user", good, idle)
			made, err := sts.NewFromConfig(sdkConfig(t, idle)).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &p.role, RoleSessionName: aws.String("idle")})
			p.must(err)
			check("its session", good, p.with(made.Credentials))
			_, err = p.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: aws.String("idle"), AccessKeyId: key.AccessKey.AccessKeyId, Status: "Inactive"})
			p.must(err)
			check("an inactive key", invalid, idle)
			check("a session that it made", invalid, p.with(made.Credentials))

			gone := p.assume(p.newRole("gone"))
			check("a session of a second role", good, gone)
			_, err = p.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String("gone"), PolicyName: aws.String("all")})
			p.must(err)
			_, err = p.iam.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("gone")})
			p.must(err)
			check("a session of a deleted role", invalid, gone)
			p.newRole("gone")
			check("a role of that name again", invalid, gone)

			issued := p.issuedKeys()
			if (issued > 0) != (mode == "key mode") {
				t.Errorf("%d signing keys were handed out", issued)
			}
			p.checkRecordsOfIssues(mode == "key mode")
		})
	}
}

// issuedKeys is what the operator sees.
func (p *sessionPlane) issuedKeys() int64 {
	p.t.Helper()
	var h struct {
		Authentication struct {
			KeyModeServices                      []string
			RevocationEpoch, RevocationStreamAge int64
			SigningKeysIssued, SigningKeysKept   int64
		}
	}
	_, err := p.client(p.t, "operator").json(p.t.Context(), "leadglass", "GetHealth", struct{}{}, &h)
	p.must(err)
	a := h.Authentication
	if a.RevocationEpoch == 0 || a.RevocationStreamAge > 5000 || a.SigningKeysKept > a.SigningKeysIssued {
		p.t.Errorf("%+v", a)
	}
	return a.SigningKeysIssued
}

// sigv4 section 9.7: whose key was handed out finds it in its own log.
func (p *sessionPlane) checkRecordsOfIssues(any bool) {
	p.t.Helper()
	trail := cloudtrail.NewFromConfig(sdkConfig(p.t, p.admin))
	var found []cttypes.Event
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && (any && len(found) == 0 || found == nil); time.Sleep(50 * time.Millisecond) {
		out, err := trail.LookupEvents(p.t.Context(), &cloudtrail.LookupEventsInput{
			LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: "EventName", AttributeValue: aws.String("IssueSigningKey")}},
		})
		p.must(err)
		found = append([]cttypes.Event{}, out.Events...)
	}
	if any != (len(found) > 0) {
		p.t.Fatalf("%d events", len(found))
	}
	for _, e := range found {
		var r struct {
			EventType           string
			RecipientAccountID  string
			UserIdentity        struct{ Type, InvokedBy string }
			ServiceEventDetails struct{ AccessKeyID, Date, Region, Service, Instance, NotAfter string }
		}
		p.must(json.Unmarshal([]byte(*e.CloudTrailEvent), &r))
		d := r.ServiceEventDetails
		if account, err := id.AccessKeyAccount(d.AccessKeyID); err != nil || account != p.account || r.RecipientAccountID != p.account ||
			r.EventType != "AwsServiceEvent" || r.UserIdentity.Type != "AWSService" || d.Region != "us-east-1" || len(d.Date) != 8 || d.Service == "" || d.Instance == "" || d.NotAfter == "" {
			p.t.Errorf("%s", *e.CloudTrailEvent)
		}
	}
}

// The customary way, by a policy that an AWS console attaches, works as well.
func TestThePolicyThatRevokesOlderSessions(t *testing.T) {
	for mode, flags := range modes {
		t.Run(mode, func(t *testing.T) {
			p := newSessionPlane(t, flags...)
			old := p.assume(p.role)
			keys := kms.NewFromConfig(sdkConfig(t, old))
			if _, err := keys.ListKeys(t.Context(), &kms.ListKeysInput{}); err != nil {
				t.Fatal(err)
			}
			// aws:TokenIssueTime has whole seconds, as in AWS.
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
			now := time.Now().UTC().Format("2006-01-02T15:04:05Z")
			_, err := p.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("worker"), PolicyName: aws.String("AWSRevokeOlderSessions"), PolicyDocument: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["*"],"Resource":["*"],"Condition":{"DateLessThan":{"aws:TokenIssueTime":"` + now + `"}}}]}`)})
			p.must(err)
			_, err = keys.ListKeys(t.Context(), &kms.ListKeysInput{})
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" || !strings.Contains(api.ErrorMessage(), "explicit deny") {
				t.Errorf("a session from before: %v", err)
			}
			if _, err := kms.NewFromConfig(sdkConfig(t, p.assume(p.role))).ListKeys(t.Context(), &kms.ListKeysInput{}); err != nil {
				t.Errorf("a session from after: %v", err)
			}
		})
	}
}

// leadglass:RevokeSessions is asked for on what is named, and nothing else gives it.
func TestWhoMayRevokeSessions(t *testing.T) {
	p := newSessionPlane(t)
	arn := func(kind string) string { return "arn:aws:leadglass:us-east-1:" + p.account + ":" + kind }
	_, err := p.iam.TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("worker"), Tags: []iamtypes.Tag{{Key: aws.String("ward"), Value: aws.String("3")}}})
	p.must(err)
	other := p.newRole("other")
	victim := p.assume(other)
	allow := func(resource, condition string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"leadglass:RevokeSessions","Resource":"` + resource + `"` + condition + `}]}`
	}
	named := map[string]map[string]any{
		"the role":    {"PrincipalArn": p.role},
		"the other":   {"PrincipalArn": other},
		"the session": {"AccessKeyId": victim.AccessKeyID},
		"the account": {"AccountId": p.account},
	}
	for name, c := range map[string]struct{ document, may string }{
		"nothing":           {`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:*","sts:*","kms:*"],"Resource":"*"}]}`, ""},
		"one role":          {allow(p.role, ""), "the role"},
		"by its tag":        {allow("*", `,"Condition":{"StringEquals":{"aws:ResourceTag/ward":"3"}}`), "the role"},
		"any session":       {allow(arn("session/*"), ""), "the session"},
		"the whole account": {allow(arn("account/"+p.account), ""), "the account"},
	} {
		t.Run(name, func(t *testing.T) {
			user := strings.ReplaceAll(name, " ", "-")
			_, err := p.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &user})
			p.must(err)
			_, err = p.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("p"), PolicyDocument: &c.document})
			p.must(err)
			key, err := p.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user})
			p.must(err)
			as := *p.admin
			as.AccessKeyID, as.SecretAccessKey = *key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey
			for what, in := range named {
				want := "AccessDeniedException"
				if what == c.may {
					want = ""
				}
				if err := p.revoke(&as, in); codeOf(err) != want {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// Without its authority a plane in key mode lets nobody in on what it kept.
func TestAPlaneWithoutItsAuthorityStops(t *testing.T) {
	p := newSessionPlane(t, "--key-mode", "all")
	if got := p.try(p.admin); got != "200; 200" {
		t.Fatal(got)
	}
	syscall.Kill(childOf(t, p.pid(), "authority"), syscall.SIGKILL)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		t.Error("the plane goes on without its authority")
	}
}

func TestKeyModeSaysWhatItGivesUp(t *testing.T) {
	p := newPlane(t, filepath.Join(t.TempDir(), "data"), "--key-mode", "iam,sts", "--key-ttl", "30s")
	var h struct {
		Warnings       []string
		Authentication struct{ KeyModeServices []string }
	}
	if _, err := p.client(t, "operator").json(t.Context(), "leadglass", "GetHealth", struct{}{}, &h); err != nil {
		t.Fatal(err)
	}
	said := false
	for _, w := range h.Warnings {
		said = said || strings.HasPrefix(w, "key mode for iam, sts: ") && strings.Contains(w, "up to 30s")
	}
	if !said || len(h.Authentication.KeyModeServices) != 2 {
		t.Errorf("%+v", h)
	}
	for _, flags := range [][]string{{"--key-mode", "IAM"}, {"--key-ttl", "6m"}} {
		if p, err := start(filepath.Join(t.TempDir(), "data"), flags...); err == nil {
			p.stop()
			t.Errorf("%v was accepted", flags)
		}
	}
}
