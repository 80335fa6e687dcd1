package organizations

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	api "github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) accountOperations() []operation.Operation {
	o := s.Organizations
	return []operation.Operation{
		serve(s, api.CreateAccount, func(q *question, in *api.CreateAccountInput) []operation.Ask {
			return q.tagging(q.all(), in.Tags, q.arn("account", "*"))
		}, within(s.createAccount)),
		serve(s, api.DescribeCreateAccountStatus, func(q *question, _ *api.DescribeCreateAccountStatusInput) []operation.Ask { return q.reads().all() },
			within(func(_ context.Context, org string, in *api.DescribeCreateAccountStatusInput) (*api.DescribeCreateAccountStatusOutput, error) {
				c, err := o.Creation(org, in.CreateAccountRequestId)
				if err != nil {
					return nil, err
				}
				return &api.DescribeCreateAccountStatusOutput{CreateAccountStatus: new(creationShape(c))}, nil
			})),
		serve(s, api.ListCreateAccountStatus, func(q *question, _ *api.ListCreateAccountStatusInput) []operation.Ask { return q.reads().all() },
			within(func(_ context.Context, org string, in *api.ListCreateAccountStatusInput) (out *api.ListCreateAccountStatusOutput, err error) {
				all := o.Creations(org)
				if len(in.States) > 0 {
					all = slices.DeleteFunc(all, func(c organization.Creation) bool {
						return !slices.Contains(in.States, api.CreateAccountState(c.State))
					})
				}
				out = new(api.ListCreateAccountStatusOutput)
				out.CreateAccountStatuses, out.NextToken, err = page(all, in.NextToken, in.MaxResults,
					func(c organization.Creation) string { return newest(c.Requested, c.ID) }, creationShape)
				return out, err
			})),
		serve(s, api.ListAccounts, func(q *question, _ *api.ListAccountsInput) []operation.Ask { return q.reads().all() },
			within(func(_ context.Context, org string, in *api.ListAccountsInput) (out *api.ListAccountsOutput, err error) {
				out = new(api.ListAccountsOutput)
				out.Accounts, out.NextToken, err = page(o.Accounts(org), in.NextToken, in.MaxResults, accountID, accountShape)
				return out, err
			})),
		serve(s, api.ListAccountsForParent, func(q *question, in *api.ListAccountsForParentInput) []operation.Ask {
			return q.reads().one(in.ParentId)
		},
			within(func(_ context.Context, org string, in *api.ListAccountsForParentInput) (*api.ListAccountsForParentOutput, error) {
				all, err := o.AccountsUnder(org, in.ParentId)
				if err != nil {
					return nil, err
				}
				out := new(api.ListAccountsForParentOutput)
				out.Accounts, out.NextToken, err = page(all, in.NextToken, in.MaxResults, accountID, accountShape)
				return out, err
			})),
		serve(s, api.DescribeAccount, func(q *question, in *api.DescribeAccountInput) []operation.Ask { return q.reads().one(in.AccountId) },
			within(func(_ context.Context, org string, in *api.DescribeAccountInput) (*api.DescribeAccountOutput, error) {
				a, err := o.Account(org, in.AccountId)
				if err != nil {
					return nil, err
				}
				return &api.DescribeAccountOutput{Account: new(accountShape(a))}, nil
			})),
		serve(s, api.CloseAccount, func(q *question, in *api.CloseAccountInput) []operation.Ask { return q.one(in.AccountId) },
			within(func(ctx context.Context, org string, in *api.CloseAccountInput) (*api.CloseAccountOutput, error) {
				return concern[api.CloseAccountOutput](ctx, in.AccountId, o.CloseAccount(ctx, org, in.AccountId))
			})),
		serve(s, api.RemoveAccountFromOrganization, func(q *question, in *api.RemoveAccountFromOrganizationInput) []operation.Ask {
			return q.one(in.AccountId)
		}, within(func(ctx context.Context, org string, in *api.RemoveAccountFromOrganizationInput) (*api.RemoveAccountFromOrganizationOutput, error) {
			return concern[api.RemoveAccountFromOrganizationOutput](ctx, in.AccountId, o.RemoveAccount(ctx, org, in.AccountId))
		})),
		serve(s, api.LeaveOrganization, func(q *question, _ *api.LeaveOrganizationInput) []operation.Ask { return q.mine().all() },
			func(ctx context.Context, c caller, _ *api.LeaveOrganizationInput) (*api.LeaveOrganizationOutput, error) {
				return done[api.LeaveOrganizationOutput](o.LeaveOrganization(ctx, c.account))
			}),
	}
}

// createAccount makes a member account. IamUserAccessToBilling is taken: there
// is no billing that it could open or close.
func (s *Service) createAccount(ctx context.Context, org string, in *api.CreateAccountInput) (*api.CreateAccountOutput, error) {
	c, err := s.Organizations.CreateAccount(ctx, org, organization.NewAccount{
		Name: in.AccountName, Email: in.Email, Role: in.RoleName, Tags: tagsOf(in.Tags),
	}, s.Opened)
	if err != nil {
		return nil, err
	}
	if c.Account != "" {
		call := operation.CallFrom(ctx)
		call.Touch(call.Account, "AWS::Organizations::Account", "arn:aws:organizations::"+call.Account+":account/"+org+"/"+c.Account)
	}
	return &api.CreateAccountOutput{CreateAccountStatus: new(creationShape(c))}, nil
}

func creationShape(c organization.Creation) api.CreateAccountStatus {
	return api.CreateAccountStatus{
		Id: c.ID, AccountName: c.Name, State: api.CreateAccountState(c.State), RequestedTimestamp: c.Requested, CompletedTimestamp: c.Completed,
		AccountId: c.Account, FailureReason: api.CreateAccountFailureReason(c.Reason),
	}
}

func accountID(a organization.Account) string { return a.ID }

func accountShape(a organization.Account) api.Account {
	shape := api.Account{
		Id: a.ID, Arn: a.ARN, Email: a.Email, Name: a.Name, Status: api.AccountStatusActive, State: api.AccountStateActive,
		Paths: []string{a.Path + a.ID + "/"}, JoinedMethod: api.AccountJoinedMethodInvited, JoinedTimestamp: a.Joined,
	}
	if a.Created {
		shape.JoinedMethod = api.AccountJoinedMethodCreated
	}
	if a.Closed {
		shape.Status, shape.State = api.AccountStatusSuspended, api.AccountStateSuspended
	}
	if a.Gone {
		shape.State = api.AccountStateClosed
	}
	return shape
}

// newest is a key that sorts later times first.
func newest(t time.Time, id string) string {
	return fmt.Sprintf("%016x/%s", uint64(math.MaxInt64-t.UnixMilli()), id)
}
