// Package iam serves the API of IAM, version 2010-05-08: users, access keys,
// roles, groups, instance profiles, service-linked roles, managed and inline
// policies, attachments, boundaries and tags, the account's alias, and listings
// of the account as a whole: tier 1 of sts-and-fas section 2, and the entities of
// tier 2. Of tier 3: virtual MFA devices, passwords as stored data, last accessed
// data and the credential report.
//
// Start with New; Operations is the table that the gate serves, and the whole
// list of what can be done. The package is thin: it says who must be allowed
// what before a call runs (file target.go), hands the call to
// identity/directory, and puts its answers into AWS's shapes and errors
// (shape.go, error.go). Names, limits and delete rules are the directory's.
//
// What is not done here: deciding (package authz), signing and record keeping
// (package gate), percent-encoding of policy documents (package wire). What is
// not in the table is not served: the gate refuses it.
//
// What is promised:
//   - Whether an entity exists is told only to callers who may do what they
//     asked for: a missing name is asked about under the ARN that it would have,
//     with the path "/".
//   - An entity is asked about under its own ARN, whatever the case in which the
//     call spells its name, so no spelling gets around a Deny.
//   - Tags given at creation need the Tag action too, and renaming needs
//     UpdateUser on both ARNs, as with AWS.
//   - Secrets of access keys and seeds of MFA devices pass through as
//     *secret.Bytes: no string holds them. Passwords come in as strings, and go
//     on to the authority.
//   - No input is accepted and ignored.
//
// What is not promised: asks are made about an entity as it is when the call
// arrives. Tags or a path that somebody else changes in the moment between the
// decision and the handler are not looked at again.
package iam

import (
	"context"
	"fmt"

	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/federation"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// A Service serves IAM. It has no state of its own.
type Service struct {
	directory     *directory.Directory
	organizations *organization.Organizations // nil: no account is in an organization
	issuer        *federation.Issuer          // of outbound tokens; nil: there is none
}

// New serves what is in d.
func New(d *directory.Directory) *Service { return &Service{directory: d} }

// WithIssuer lets accounts have outbound tokens. It is called before the first request.
func (s *Service) WithIssuer(i *federation.Issuer) *Service {
	s.issuer = i
	return s
}

// A handler serves one operation for the caller's account.
type handler[I, O any] func(ctx context.Context, account string, in *I) (*O, error)

// serve makes an entry of the table. Both halves of it speak the directory's
// errors, which are translated here and nowhere else.
func serve[I, O any](s *Service, op wire.Op[I, O], handle handler[I, O], ask func(q question, in *I) ([]operation.Ask, error)) operation.Operation {
	info := op.Info()
	return operation.New(op,
		func(ctx context.Context, in *I) (*O, error) {
			out, err := handle(ctx, operation.CallFrom(ctx).Account, in)
			if err != nil {
				return nil, translate(info, err)
			}
			return out, nil
		},
		func(ctx context.Context, in *I) ([]operation.Ask, error) {
			call := operation.CallFrom(ctx)
			asks, err := ask(question{s.directory, call, info.Action()}, in)
			if err != nil {
				return nil, translate(info, err)
			}
			return asks, nil
		})
}

// Operations is the table: every operation of IAM that is served.
func (s *Service) Operations() []operation.Operation {
	var all []operation.Operation
	all = append(all, s.users()...)
	all = append(all, s.accessKeys()...)
	all = append(all, s.roles()...)
	all = append(all, s.policies()...)
	all = append(all, s.attachments()...)
	all = append(all, s.inlinePolicies()...)
	all = append(all, s.tags()...)
	all = append(all, s.simulations()...)
	all = append(all, s.groups()...)
	all = append(all, s.groupPolicies()...)
	all = append(all, s.boundaries()...)
	all = append(all, s.instanceProfiles()...)
	all = append(all, s.serviceLinkedRoles()...)
	all = append(all, s.accountWide()...)
	all = append(all, s.absent()...)
	all = append(all, s.rootAccess()...)
	all = append(all, s.oidcOperations()...)
	all = append(all, s.outboundOperations()...)
	all = append(all, s.mfaDevices()...)
	all = append(all, s.passwords()...)
	all = append(all, s.reports()...)
	return all
}

// callerOr is name or, if the call names nobody, the user who calls.
func (s *Service) callerOr(ctx context.Context, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	u, err := callingUser(s.directory, operation.CallFrom(ctx))
	return u.Name, err
}

// callingUser is the user who calls. By unique id: the name in the call is the
// one that the user had when the call was authenticated.
func callingUser(d *directory.Directory, call *operation.Call) (directory.User, error) {
	if !isUser(call) {
		return directory.User{}, invalid("Must specify userName when calling with non-User credentials")
	}
	return d.UserByID(call.Principal.ID)
}

// invalid is AWS's ValidationError.
func invalid(format string, args ...any) error {
	return &wire.Fault{Code: "ValidationError", Message: fmt.Sprintf(format, args...), Status: 400}
}

// none is the answer of operations that only say that it is done.
func none[O any](err error) (*O, error) {
	if err != nil {
		return nil, err
	}
	return new(O), nil
}
