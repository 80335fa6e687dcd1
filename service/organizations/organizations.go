// Package organizations serves the API of AWS Organizations, version
// 2016-11-28: the tree of accounts, the policies that limit them, invitations,
// delegated administrators and tags.
//
// Start with New; Operations is the table that the gate serves, and the whole
// list of what can be done. The package is thin: it says who must be allowed
// what before a call runs (target.go), hands the call to
// identity/organization, and puts its answers into AWS's shapes and errors.
//
// Who may call is a question for the policy engine as everywhere. What changes
// an organization is asked as a resource of the management account, under
// the organization's resource policy: a principal of the management account
// needs an identity policy; one of a member account needs that and the resource
// policy. What only looks is asked of a delegated administrator as if it were
// its own. What a member does for itself (describing its organization,
// answering an invitation, leaving) is asked in its own account.
//
// Not done here: enforcing the policies (the gate puts them on every request),
// GovCloud, consolidated billing, transfer of responsibility, and the policy
// types that nothing in this house enforces. They are refused.
//
// What is promised:
//   - Everything that a call can name is looked up in the caller's own
//     organization; whether there is something of that name in another is not
//     told (I-7).
//   - The operator has no operation here, and its account can be in no
//     organization (I-13).
//   - What is done to one member account (moving, closing, removing it, putting
//     a policy on it) stands in that account's own log as well.
//   - CreateAccount is done when it answers: the status that it answers is the
//     final one.
package organizations

import (
	"context"
	"errors"
	"fmt"

	"github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// Config is what the service needs; all fields are required.
type Config struct {
	Organizations *organization.Organizations
	Directory     *directory.Directory
	// Opened makes what a new account needs beside its entry in the directory: its audit log.
	Opened func(ctx context.Context, account string) error
}

// A Service serves Organizations. It has no state of its own.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// A caller is the organization of the account that calls.
type caller struct {
	account string
	org     organization.Organization // zero: it is in none
}

// serve makes an entry of the table. Operations whose handler needs an
// organization are refused for callers without one, after the policies had
// their say.
func serve[I, O any](s *Service, op wire.Op[I, O], ask func(q *question, in *I) []operation.Ask, handle func(ctx context.Context, c caller, in *I) (*O, error)) operation.Operation {
	info := op.Info()
	return operation.New(op,
		func(ctx context.Context, in *I) (*O, error) {
			// The organization that was asked about: the account may be in another one by now.
			c, ok := operation.CallFrom(ctx).Local.(caller)
			if !ok {
				return nil, fmt.Errorf("organizations: %s without its caller", info.Name)
			}
			out, err := handle(ctx, c, in)
			if err != nil {
				return nil, translate(info, err)
			}
			return out, nil
		},
		func(ctx context.Context, in *I) ([]operation.Ask, error) {
			call := operation.CallFrom(ctx)
			q := s.question(call, info.Action())
			call.Local = caller{call.Account, q.org}
			return ask(q, in), nil
		})
}

// within is a handler that needs an organization.
func within[I, O any](handle func(ctx context.Context, org string, in *I) (*O, error)) func(context.Context, caller, *I) (*O, error) {
	return func(ctx context.Context, c caller, in *I) (*O, error) {
		if c.org.ID == "" {
			return nil, &organizations.AWSOrganizationsNotInUseException{Message: "Your account is not a member of an organization."}
		}
		return handle(ctx, c.org.ID, in)
	}
}

// Operations is the table: every operation of Organizations that is served.
func (s *Service) Operations() []operation.Operation {
	var all []operation.Operation
	all = append(all, s.organizationOperations()...)
	all = append(all, s.treeOperations()...)
	all = append(all, s.accountOperations()...)
	all = append(all, s.policyOperations()...)
	all = append(all, s.handshakeOperations()...)
	all = append(all, s.delegationOperations()...)
	all = append(all, s.tagOperations()...)
	return all
}

// done is the answer of operations that only say that it is done.
func done[O any](err error) (*O, error) {
	if err != nil {
		return nil, err
	}
	return new(O), nil
}

// concern is done for what was done to a member account: the member reads of
// it in its own log.
func concern[O any](ctx context.Context, account string, err error) (*O, error) {
	if err == nil && arn.IsAccount(account) {
		operation.CallFrom(ctx).Concern(account)
	}
	return done[O](err)
}

// translate puts a refusal into the API's error of that code. Errors in the
// API's form stay; any other is the house's own trouble, which the gate logs
// and answers with a fixed text.
func translate(op *wire.OpInfo, err error) error {
	refusal, ok := errors.AsType[*organization.Error](err)
	if !ok {
		if _, ok := errors.AsType[wire.Modelled](err); ok {
			return err
		}
		return fmt.Errorf("organizations: %s: %w", op.Name, err)
	}
	m := refusal.Message
	switch refusal.Code {
	case organization.ConstraintViolation:
		return &organizations.ConstraintViolationException{Message: m, Reason: organizations.ConstraintViolationExceptionReason(refusal.Reason)}
	case organization.HandshakeConstraint:
		return &organizations.HandshakeConstraintViolationException{Message: m, Reason: organizations.HandshakeConstraintViolationExceptionReason(refusal.Reason)}
	case organization.InvalidInput:
		return &organizations.InvalidInputException{Message: m, Reason: organizations.InvalidInputExceptionReason(refusal.Reason)}
	}
	// The other errors of the model have a message and nothing else.
	return &wire.Fault{Code: string(refusal.Code), Message: m, Status: 400, MessageKey: "Message"}
}
