package sessions

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/sigv4"
)

// Root sessions (sts:AssumeRoot): the management account of an organization,
// or IAM's delegated administrator, acts as the root of a member account for
// one task and at most fifteen minutes. The task's policy is the session's, and
// the policy engine holds a root to it (identity/authz). Nobody here has root
// credentials of another kind, so the tasks that make or delete them are not
// offered.

// maxRootDuration is the longest root session, in seconds, and the default.
const maxRootDuration = 900

const taskPath = "arn:aws:iam::aws:policy/root-task/"

// taskTexts are the tasks, by name. The names are AWS's, the documents are
// ours, for what there is.
var taskTexts = map[string]string{
	// Looks whether the root has credentials; of nobody else.
	"IAMAuditRootUserCredentials": `{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["iam:GetLoginProfile","iam:GetUser","iam:ListAccessKeys","iam:ListMFADevices","iam:ListSigningCertificates"],"Resource":"arn:aws:iam::*:root"},
{"Effect":"Allow","Action":"iam:GetAccountSummary","Resource":"*"}]}`,
	// Takes away a bucket policy that has locked everybody out.
	"S3UnlockBucketPolicy": `{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["s3:DeleteBucketPolicy","s3:GetBucketPolicy","s3:ListAllMyBuckets","s3:PutBucketPolicy"],"Resource":"*"}]}`,
}

func rootTasks() (map[string]*policy.Document, error) {
	tasks := make(map[string]*policy.Document, len(taskTexts))
	for name, text := range taskTexts {
		doc, err := policy.Parse(policy.Session, []byte(text))
		if err != nil {
			return nil, fmt.Errorf("root task %s: %w", name, err)
		}
		tasks[taskPath+name] = doc.Named(taskPath + name)
	}
	return tasks, nil
}

// WithOrganizations lets organizations have root sessions of their members. It
// is called before the first request. Without it there are none.
func (s *Sessions) WithOrganizations(o *organization.Organizations) *Sessions {
	s.organizations = o
	return s
}

// An AssumeRoot is the input of the operation.
type AssumeRoot struct {
	Target   string // account, or the ARN of its root
	TaskARN  string
	Duration *int // seconds; nil: 900
}

// A RootPlan is an AssumeRoot whose parameters are in order, with what must be
// allowed before AssumeRoot may carry it out.
type RootPlan struct {
	Ask authz.Ask

	caller       *Caller
	target, task string
	duration     time.Duration
}

// PlanAssumeRoot checks the parameters and says what the caller's policies
// must allow. Whether the target is a member of the caller's organization is
// looked at afterwards: only who may ask is told.
func (s *Sessions) PlanAssumeRoot(caller *Caller, in AssumeRoot) (*RootPlan, error) {
	target := in.Target
	if a, err := arn.Parse(target); err == nil && target == arn.Root(a.Account) {
		target = a.Account
	}
	duration := maxRootDuration
	if in.Duration != nil {
		duration = *in.Duration
	}
	switch t := caller.Principal.Type; {
	case t != authz.User && t != authz.AssumedRole:
		return nil, refuse(AccessDenied, "Only IAM users and roles may call AssumeRoot.")
	case !arn.IsAccount(target):
		return nil, refuse(ValidationError, "TargetPrincipal must be an account id or the ARN of an account's root user.")
	case s.tasks[in.TaskARN] == nil && strings.HasPrefix(in.TaskARN, taskPath):
		return nil, refuse(ValidationError, "The task policy %s is not served: there are no root user credentials here, and no services for it.", in.TaskARN)
	case s.tasks[in.TaskARN] == nil:
		return nil, refuse(ValidationError, "TaskPolicyArn must be the ARN of a root task policy.")
	case duration < 1 || duration > maxRootDuration:
		return nil, refuse(ValidationError, "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value between 1 and %d", duration, maxRootDuration)
	}
	p := &RootPlan{caller: caller, target: target, task: in.TaskARN, duration: time.Duration(duration) * time.Second}
	// The target has no policy that could speak of it, so the caller's account owns the question.
	p.Ask = authz.Ask{Action: "sts:AssumeRoot", Resource: arn.Root(target), Owner: caller.Principal.Account}
	p.Ask.Context.Set("sts:TaskPolicyArn", in.TaskARN)
	return p, nil
}

// Target is the account whose root the plan is about.
func (p *RootPlan) Target() string { return p.target }

// AssumeRoot carries out a plan whose ask was allowed.
func (s *Sessions) AssumeRoot(ctx context.Context, p *RootPlan) (Credentials, string, error) {
	c := p.caller
	if s.organizations == nil || !s.organizations.MayAssumeRoot(c.Principal.Account, p.target) {
		return Credentials{}, "", refuse(AccessDenied, "User: %s is not authorized to perform: sts:AssumeRoot on resource: %s", c.Principal.ARN, arn.Root(p.target))
	}
	depth := 1
	if c.Principal.Type == authz.AssumedRole {
		depth = c.Depth + 1
	}
	cred, err := s.issue(ctx, authority.Claims{
		Type: authority.RootTask, Account: p.target, ARN: arn.Root(p.target),
		// Who has it, so that it ends when that user or role does, and from which account.
		PrincipalID: c.Principal.ID, SessionName: c.Principal.Account,
		PolicyARNs: []string{p.task}, SourceIdentity: c.SourceIdentity,
		Expires: s.clock.Now().Add(p.duration), CredentialID: c.CredentialID, Depth: depth,
	})
	return cred, c.SourceIdentity, err
}

// rootSession is the caller of a root session. It ends as soon as the
// organization would not give it any more, and with the user or role that has it.
func (s *Sessions) rootSession(claims *authority.Claims, p *sigv4.Parsed) (*Caller, error) {
	holder, ok := s.directory.Principal(claims.PrincipalID)
	if !ok || holder.Account != claims.SessionName || len(claims.PolicyARNs) != 1 || len(claims.Policies) > 0 {
		return nil, sigv4.Refuse(sigv4.BadToken)
	}
	task := s.tasks[claims.PolicyARNs[0]]
	if task == nil || s.organizations == nil || !s.organizations.MayAssumeRoot(claims.SessionName, claims.Account) {
		return nil, sigv4.Refuse(sigv4.BadToken)
	}
	c := &Caller{
		Principal:   authz.Principal{Type: authz.Root, ARN: arn.Root(claims.Account), Account: claims.Account, ID: claims.Account},
		Policies:    &authz.Policies{Session: []*policy.Document{task}, SessionPassed: true},
		AccessKeyID: p.AccessKeyID, PrincipalID: claims.Account, Issued: claims.Issued, Expires: claims.Expires,
		SourceIdentity: claims.SourceIdentity, Depth: claims.Depth, CredentialID: claims.CredentialID,
	}
	k := &c.Keys
	k.Set("aws:PrincipalArn", c.Principal.ARN)
	k.Set("aws:PrincipalAccount", claims.Account)
	k.Set("aws:userid", claims.Account)
	k.Set("aws:PrincipalIsAWSService", "false")
	k.Set("aws:PrincipalType", "Account")
	k.Set("aws:AssumedRoot", "true")
	k.Set("aws:TokenIssueTime", claims.Issued.UTC().Format(iso))
	k.Set("aws:MultiFactorAuthPresent", "false")
	if c.SourceIdentity != "" {
		k.Set("aws:SourceIdentity", c.SourceIdentity)
	}
	return c, nil
}
