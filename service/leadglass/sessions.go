package leadglass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	api "github.com/leadglass/leadglass/api/leadglass"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

// AWS has no call that ends sessions: there one attaches a policy that denies
// everything to tokens issued before now. That works here, too, but it is felt
// only by what is decided by policies, and it stays. RevokeSessions ends the
// sessions themselves.
//
// It is a customer's operation, on its own account alone. The operator can
// revoke the sessions of its own account as anybody can, and nobody else's:
// what it may do to a customer is a fixed list (I-13), and cutting off a
// customer's work is not on it.

// aimOfRevocation is what is asked: the action leadglass:RevokeSessions
//   - on the role's or user's ARN, for the sessions of a principal;
//   - on arn:aws:leadglass:REGION:ACCOUNT:session/ACCESSKEYID, for those of an
//     access key id, long-term or temporary;
//   - on arn:aws:leadglass:REGION:ACCOUNT:account/ACCOUNT, for all of an account.
//
// The owner is the account that is named. Another's has no policy that could
// allow it, so naming its things is denied, whether or not they exist (I-7).
func (s *Service) aimOfRevocation(ctx context.Context, in *api.RevokeSessionsInput) (operation.Ask, error) {
	call := operation.CallFrom(ctx)
	ask := operation.Ask{Action: "leadglass:RevokeSessions"}
	named := 0
	for _, name := range []string{in.AccessKeyId, in.PrincipalArn, in.AccountId} {
		if name != "" {
			named++
		}
	}
	if named != 1 {
		return ask, &api.InvalidParameterException{Message: "Name exactly one of AccessKeyId, PrincipalArn and AccountId."}
	}
	own := arn.ARN{Partition: arn.Partition, Service: "leadglass", Region: call.Region}
	switch {
	case in.PrincipalArn != "":
		a, err := arn.Parse(in.PrincipalArn)
		if err != nil || a.Service != "iam" || !arn.IsAccount(a.Account) {
			return ask, &api.InvalidParameterException{Message: "PrincipalArn must be the ARN of a role or user, or of the account's root, as in arn:aws:iam::111122223333:role/name. The sessions of a single access key id are named by AccessKeyId."}
		}
		ask.Resource, ask.Owner = in.PrincipalArn, a.Account
		if a.Account != call.Account {
			break
		}
		if unique, ok := s.Directory.ResolvePrincipal(in.PrincipalArn); ok {
			if principal, ok := s.Directory.Principal(unique); ok {
				for _, t := range principal.Tags {
					ask.Context.Set("aws:ResourceTag/"+t.Key, t.Value)
				}
			}
		}
	case in.AccessKeyId != "":
		owner, err := id.AccessKeyAccount(in.AccessKeyId)
		if err != nil || !strings.HasPrefix(in.AccessKeyId, "AKIA") && !strings.HasPrefix(in.AccessKeyId, "ASIA") {
			return ask, &api.InvalidParameterException{Message: "AccessKeyId must be an access key id: AKIA and 16 characters of a user, ASIA and 16 characters of a session."}
		}
		if in.AccessKeyId[1] == 'S' && !in.IssuedBefore.IsZero() {
			return ask, &api.InvalidParameterException{Message: "IssuedBefore cannot be given for a single session."}
		}
		own.Account, own.Resource = owner, "session/"+in.AccessKeyId
		ask.Resource, ask.Owner = own.String(), owner
	default:
		own.Account, own.Resource = in.AccountId, "account/"+in.AccountId
		ask.Resource, ask.Owner = own.String(), in.AccountId
	}
	return ask, nil
}

func (s *Service) revokeSessions(ctx context.Context, in *api.RevokeSessionsInput) (*api.RevokeSessionsOutput, error) {
	call := operation.CallFrom(ctx)
	if in.AccountId != "" && in.AccountId != call.Account {
		// The gate has denied it. Said again, because here another's name would mean the caller's whole account.
		return nil, &operation.Denied{Ask: operation.Ask{Action: "leadglass:RevokeSessions", Resource: "*", Owner: in.AccountId}}
	}
	of := directory.SessionsOf{AccessKeyID: in.AccessKeyId, Principal: in.PrincipalArn, Account: in.AccountId != ""}
	done, err := s.Directory.RevokeSessions(ctx, call.Account, of, in.IssuedBefore)
	switch {
	case errors.Is(err, &directory.Error{Code: directory.NoSuchEntity}):
		return nil, &api.NotFoundException{Message: message(err)}
	case err != nil:
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	call.Touch(call.Account, "Leadglass::Sessions", cmp.Or(in.AccessKeyId, in.PrincipalArn, in.AccountId))
	return &api.RevokeSessionsOutput{Epoch: new(int64(done.Epoch)), IssuedBefore: done.Before}, nil
}
