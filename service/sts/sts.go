// Package sts is the Security Token Service in AWS's shapes: it translates
// between api/sts and identity/sessions, and nothing else.
//
// Start with Operations, the table for the gate. Served are AssumeRole, AssumeRoot,
// GetCallerIdentity, GetSessionToken, GetAccessKeyInfo and
// DecodeAuthorizationMessage; everything of federation and outbound identity is
// not in the table, so the gate refuses it.
//
// The secret of new credentials goes out through operation.Call.Reveal and
// never becomes a string here.
package sts

import (
	"context"
	"errors"
	"strings"

	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

type service struct {
	sessions *sessions.Sessions
}

// Operations is the table of STS.
func Operations(s *sessions.Sessions) []operation.Operation {
	v := service{s}
	return []operation.Operation{
		operation.New(sts.AssumeRole, v.assumeRole, v.mayAssumeRole),
		operation.New(sts.AssumeRoot, v.assumeRoot, v.mayAssumeRoot),
		operation.New(sts.DecodeAuthorizationMessage, v.decodeMessage,
			operation.OnAll[sts.DecodeAuthorizationMessageInput]("sts:DecodeAuthorizationMessage")),
		// No policy has a say in the following (sts-and-fas section 3): each answers
		// only about what the caller has shown already.
		operation.New(sts.GetAccessKeyInfo, v.accessKeyInfo, nil),
		operation.New(sts.GetCallerIdentity, v.callerIdentity, nil),
		operation.New(sts.GetSessionToken, v.sessionToken, nil),
	}
}

// caller is who calls, as package sessions knows it.
func caller(ctx context.Context) (*sessions.Caller, error) {
	c, ok := operation.CallFrom(ctx).Session.(*sessions.Caller)
	if !ok || c == nil {
		return nil, denied("Access denied") // a caller that is no user and no session: a service, or nobody
	}
	return c, nil
}

// mayAssumeRole asks the policies, and leaves the plan for the handler: what
// is carried out is what was asked about.
func (v service) mayAssumeRole(ctx context.Context, in *sts.AssumeRoleInput) ([]operation.Ask, error) {
	c, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if len(in.ProvidedContexts) > 0 {
		// Ignoring a context that was meant to narrow the session would widen it.
		return nil, invalid("ProvidedContexts is not supported.")
	}
	plan, err := v.sessions.PlanAssumeRole(c, assumeRole(in))
	if err != nil {
		return nil, fault(err)
	}
	operation.CallFrom(ctx).Local = plan
	return plan.Asks, nil
}

func assumeRole(in *sts.AssumeRoleInput) sessions.AssumeRole {
	a := sessions.AssumeRole{
		RoleARN: in.RoleArn, SessionName: in.RoleSessionName, TransitiveKeys: in.TransitiveTagKeys,
		SourceIdentity: in.SourceIdentity, MFA: in.SerialNumber != "" || in.TokenCode != "",
	}
	if in.DurationSeconds != nil {
		a.Duration = int(*in.DurationSeconds)
	}
	if in.ExternalId != "" {
		a.ExternalID = &in.ExternalId
	}
	if in.Policy != "" {
		a.Policy = &in.Policy
	}
	for _, p := range in.PolicyArns {
		a.PolicyARNs = append(a.PolicyARNs, p.Arn)
	}
	for _, t := range in.Tags {
		a.Tags = append(a.Tags, sessions.Tag{Key: t.Key, Value: t.Value})
	}
	return a
}

func (v service) assumeRole(ctx context.Context, _ *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	call := operation.CallFrom(ctx)
	plan, ok := call.Local.(*sessions.Plan)
	if !ok {
		return nil, errors.New("service/sts: AssumeRole without its plan")
	}
	a, err := v.sessions.AssumeRole(ctx, plan)
	if err != nil {
		return nil, fault(err)
	}
	out := &sts.AssumeRoleOutput{
		Credentials:     credentials(call, a.Credentials),
		AssumedRoleUser: &sts.AssumedRoleUser{AssumedRoleId: a.ID, Arn: a.ARN},
		SourceIdentity:  a.SourceIdentity,
	}
	if a.PackedSize >= 0 {
		out.PackedPolicySize = new(int32(a.PackedSize))
	}
	call.Touch(a.Account, "AWS::IAM::Role", a.RoleARN)
	return out, nil
}

func credentials(call *operation.Call, c sessions.Credentials) *sts.Credentials {
	return &sts.Credentials{
		AccessKeyId: c.AccessKeyID, SecretAccessKey: call.Reveal(c.Secret), SessionToken: c.Token, Expiration: c.Expires,
	}
}

func (v service) callerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	call := operation.CallFrom(ctx)
	return &sts.GetCallerIdentityOutput{UserId: call.PrincipalID, Account: call.Account, Arn: call.Principal.ARN}, nil
}

func (v service) sessionToken(ctx context.Context, in *sts.GetSessionTokenInput) (*sts.GetSessionTokenOutput, error) {
	c, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	duration := 0
	if in.DurationSeconds != nil {
		duration = int(*in.DurationSeconds)
	}
	cred, err := v.sessions.SessionToken(ctx, c, duration, in.SerialNumber != "" || in.TokenCode != "")
	if err != nil {
		return nil, fault(err)
	}
	return &sts.GetSessionTokenOutput{Credentials: credentials(operation.CallFrom(ctx), cred)}, nil
}

// accessKeyInfo reads the account that an access key id carries. It does not
// say whether there is such a key.
func (v service) accessKeyInfo(ctx context.Context, in *sts.GetAccessKeyInfoInput) (*sts.GetAccessKeyInfoOutput, error) {
	c, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	// The gate asks this of the actions it authorizes; here it authorizes none.
	if why := c.Restricted("sts:GetAccessKeyInfo"); why != "" {
		return nil, denied(why)
	}
	account, err := id.AccessKeyAccount(in.AccessKeyId)
	if err != nil || !strings.HasPrefix(in.AccessKeyId, "AKIA") && !strings.HasPrefix(in.AccessKeyId, "ASIA") {
		return nil, invalid("Invalid Access Key Id.")
	}
	return &sts.GetAccessKeyInfoOutput{Account: account}, nil
}

func (v service) decodeMessage(ctx context.Context, in *sts.DecodeAuthorizationMessageInput) (*sts.DecodeAuthorizationMessageOutput, error) {
	plain, err := v.sessions.OpenMessage(ctx, operation.CallFrom(ctx).Account, in.EncodedMessage)
	if err != nil {
		return nil, fault(err)
	}
	return &sts.DecodeAuthorizationMessageOutput{DecodedMessage: string(plain)}, nil
}

// fault turns refusals into STS's errors; everything else is for the gate.
func fault(err error) error {
	refusal, ok := errors.AsType[*sessions.Error](err)
	switch {
	case errors.Is(err, sessions.ErrUnavailable):
		return &wire.Fault{Code: "ServiceUnavailable", Message: "The request has failed due to a temporary failure of the server.", Status: 503, Server: true}
	case !ok:
		return err
	}
	switch refusal.Code {
	case sessions.MalformedPolicyDocument:
		return &sts.MalformedPolicyDocumentException{Message: refusal.Message}
	case sessions.PackedPolicyTooLarge:
		return &sts.PackedPolicyTooLargeException{Message: refusal.Message}
	case sessions.InvalidAuthorizationMessage:
		return &sts.InvalidAuthorizationMessageException{Message: refusal.Message}
	case sessions.AccessDenied:
		return denied(refusal.Message)
	}
	return &wire.Fault{Code: string(refusal.Code), Message: refusal.Message, Status: 400}
}

func denied(message string) error {
	return &wire.Fault{Code: "AccessDenied", Message: message, Status: 403}
}

func invalid(message string) error {
	return &wire.Fault{Code: "ValidationError", Message: message, Status: 400}
}
