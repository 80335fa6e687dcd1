package sts

import (
	"context"
	"errors"

	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/operation"
)

// federation are the operations that let identities of elsewhere in, and ours out.
func (v service) federation() []operation.Operation {
	return []operation.Operation{
		operation.New(sts.AssumeRoleWithWebIdentity, v.assumeRoleWithWebIdentity, v.mayAssumeRoleWithWebIdentity, operation.Identified),
		operation.New(sts.GetFederationToken, v.federationToken, v.mayGetFederationToken),
		operation.New(sts.GetWebIdentityToken, v.webIdentityToken, v.mayGetWebIdentityToken),
	}
}

// mayAssumeRoleWithWebIdentity finds out by the token who calls, and asks the
// role's trust policy about that caller.
func (v service) mayAssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) ([]operation.Ask, error) {
	if in.ProviderId != "" {
		return nil, invalid("ProviderId is for access tokens of OAuth 2.0, which are not supported.")
	}
	a := sessions.AssumeRole{RoleARN: in.RoleArn, SessionName: in.RoleSessionName, PolicyARNs: arns(in.PolicyArns)}
	if in.DurationSeconds != nil {
		a.Duration = int(*in.DurationSeconds)
	}
	if in.Policy != "" {
		a.Policy = &in.Policy
	}
	plan, who, err := v.sessions.PlanWebIdentity(ctx, in.WebIdentityToken, a)
	call := operation.CallFrom(ctx)
	if who != nil {
		call.Session = who
	}
	if err != nil {
		return nil, fault(err)
	}
	call.Local = plan
	return plan.Asks, nil
}

func (v service) assumeRoleWithWebIdentity(ctx context.Context, _ *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	call := operation.CallFrom(ctx)
	plan, ok := call.Local.(*sessions.Plan)
	if !ok || plan.WebIdentity() == nil {
		return nil, errors.New("service/sts: AssumeRoleWithWebIdentity without its plan")
	}
	a, err := v.sessions.AssumeRole(ctx, plan)
	if err != nil {
		return nil, fault(err)
	}
	who := plan.WebIdentity()
	out := &sts.AssumeRoleWithWebIdentityOutput{
		Credentials:                 credentials(call, a.Credentials),
		AssumedRoleUser:             &sts.AssumedRoleUser{AssumedRoleId: a.ID, Arn: a.ARN},
		SubjectFromWebIdentityToken: who.Subject, Audience: who.Audience, Provider: who.Provider,
		SourceIdentity: a.SourceIdentity,
	}
	if a.PackedSize >= 0 {
		out.PackedPolicySize = new(int32(a.PackedSize))
	}
	call.Touch(a.Account, "AWS::IAM::Role", a.RoleARN)
	return out, nil
}

func (v service) mayGetFederationToken(ctx context.Context, in *sts.GetFederationTokenInput) ([]operation.Ask, error) {
	c, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	f := sessions.FederationToken{Name: in.Name, PolicyARNs: arns(in.PolicyArns), Tags: tags(in.Tags)}
	if in.DurationSeconds != nil {
		f.Duration = int(*in.DurationSeconds)
	}
	if in.Policy != "" {
		f.Policy = &in.Policy
	}
	plan, err := v.sessions.PlanFederationToken(c, f)
	if err != nil {
		return nil, fault(err)
	}
	operation.CallFrom(ctx).Local = plan
	return plan.Asks, nil
}

func (v service) federationToken(ctx context.Context, _ *sts.GetFederationTokenInput) (*sts.GetFederationTokenOutput, error) {
	call := operation.CallFrom(ctx)
	plan, ok := call.Local.(*sessions.FederationPlan)
	if !ok {
		return nil, errors.New("service/sts: GetFederationToken without its plan")
	}
	f, err := v.sessions.FederationToken(ctx, plan)
	if err != nil {
		return nil, fault(err)
	}
	out := &sts.GetFederationTokenOutput{
		Credentials:   credentials(call, f.Credentials),
		FederatedUser: &sts.FederatedUser{FederatedUserId: f.ID, Arn: f.ARN},
	}
	if f.PackedSize >= 0 {
		out.PackedPolicySize = new(int32(f.PackedSize))
	}
	return out, nil
}

func (v service) mayGetWebIdentityToken(ctx context.Context, in *sts.GetWebIdentityTokenInput) ([]operation.Ask, error) {
	c, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	t := sessions.IdentityToken{Audience: in.Audience, Algorithm: in.SigningAlgorithm, Tags: tags(in.Tags)}
	if in.DurationSeconds != nil {
		t.Duration = int(*in.DurationSeconds)
	}
	plan, err := v.sessions.PlanIdentityToken(c, t)
	if err != nil {
		return nil, fault(err)
	}
	operation.CallFrom(ctx).Local = plan
	return plan.Asks, nil
}

func (v service) webIdentityToken(ctx context.Context, _ *sts.GetWebIdentityTokenInput) (*sts.GetWebIdentityTokenOutput, error) {
	call := operation.CallFrom(ctx)
	plan, ok := call.Local.(*sessions.IdentityPlan)
	if !ok {
		return nil, errors.New("service/sts: GetWebIdentityToken without its plan")
	}
	token, expires, err := v.sessions.IdentityToken(ctx, call.Region, plan)
	if err != nil {
		return nil, fault(err)
	}
	return &sts.GetWebIdentityTokenOutput{WebIdentityToken: token, Expiration: expires}, nil
}

func arns(in []sts.PolicyDescriptorType) (out []string) {
	for _, p := range in {
		out = append(out, p.Arn)
	}
	return out
}

func tags(in []sts.Tag) (out []sessions.Tag) {
	for _, t := range in {
		out = append(out, sessions.Tag{Key: t.Key, Value: t.Value})
	}
	return out
}
