package sts

import (
	"context"
	"errors"

	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/operation"
)

// mayAssumeRoot asks the policies, and leaves the plan for the handler.
func (v service) mayAssumeRoot(ctx context.Context, in *sts.AssumeRootInput) ([]operation.Ask, error) {
	c, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	root := sessions.AssumeRoot{Target: in.TargetPrincipal}
	if in.TaskPolicyArn != nil {
		root.TaskARN = in.TaskPolicyArn.Arn
	}
	if in.DurationSeconds != nil {
		root.Duration = new(int(*in.DurationSeconds))
	}
	plan, err := v.sessions.PlanAssumeRoot(c, root)
	if err != nil {
		return nil, fault(err)
	}
	operation.CallFrom(ctx).Local = plan
	return []operation.Ask{plan.Ask}, nil
}

func (v service) assumeRoot(ctx context.Context, _ *sts.AssumeRootInput) (*sts.AssumeRootOutput, error) {
	call := operation.CallFrom(ctx)
	plan, ok := call.Local.(*sessions.RootPlan)
	if !ok {
		return nil, errors.New("service/sts: AssumeRoot without its plan")
	}
	cred, identity, err := v.sessions.AssumeRoot(ctx, plan)
	if err != nil {
		return nil, fault(err)
	}
	// The record goes into the member's own log as well: whose root was used must be known there.
	call.Concern(plan.Target())
	call.Touch(plan.Target(), "AWS::IAM::Root", plan.Ask.Resource)
	return &sts.AssumeRootOutput{Credentials: credentials(call, cred), SourceIdentity: identity}, nil
}
