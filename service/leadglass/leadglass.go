// Package leadglass is the control plane's own API: the operator's vetted
// operations, which are all that an operator can do to a running plane (I-13),
// the enrolment of a new customer, and the export of an account's audit log.
//
// Start with Operations. CreateAccount, ListAccounts and GetHealth belong to
// the operator and return no customer data; so do those of the HSMs' domain
// (domain.go), which carry what custodians signed to the HSMs and grant nothing
// by themselves; RedeemEnrolment carries a one-time
// code instead of a signature; the rest is any account's view of its own log,
// and RevokeSessions, which ends sessions of the account.
//
// Not done here: reading events as CloudTrail does (service/cloudtrail), and
// verifying an export, which needs no server (verify/audit).
package leadglass

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	api "github.com/leadglass/leadglass/api/leadglass"
	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

// Health is what GetHealth tells, put together by the daemon.
type Health struct {
	Status, Version string
	Started         time.Time
	Boundaries      []Boundary
	Warnings        []string
	Authentication  Authentication
	DomainKeys      DomainKeys
}

// DomainKeys is how far the HSM's domain keys are rotated, and the key tokens
// sealed anew under the active one.
type DomainKeys struct {
	Active  string    // id; empty: not known yet
	Made    time.Time // the active one
	Keys    int       // held, the active one among them
	Running bool      // tokens are being sealed anew
	Tokens  int       // done, by the pass that runs or by the last one
	Left    int       // under older keys when they were last counted
	Problem string    // empty: none
}

// Authentication is how requests are authenticated (sigv4 section 9).
type Authentication struct {
	KeyMode   []string      // services in key mode; none: witness mode for all
	Epoch     uint64        // of the revocations that are in force here
	StreamAge time.Duration // since the authority was heard of last
	Issued    uint64        // signing keys handed out since the start
	Kept      int           // signing keys held now
}

// A Boundary is one of the locked-down children.
type Boundary struct {
	Name                string
	Running, LockedDown bool
	Measures, Missing   []string
}

// Config is what the service needs; all fields are required.
type Config struct {
	Directory *directory.Directory
	Log       *log.Log
	Clock     clock.Clock
	Operator  string // the operator's account
	Health    func() Health
	Domain    Domain
}

// A Service serves the control plane's API.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// Operations is the whole list of what can be asked of the control plane.
func (s *Service) Operations() []operation.Operation {
	return []operation.Operation{
		operation.New(api.CreateAccount, s.createAccount, operation.On(ownAccount[api.CreateAccountInput]("CreateAccount", "account/*")), operation.Operator),
		operation.New(api.ListAccounts, s.listAccounts, operation.On(ownAccount[api.ListAccountsInput]("ListAccounts", "account/*")), operation.Operator),
		operation.New(api.GetHealth, s.getHealth, operation.On(ownAccount[api.GetHealthInput]("GetHealth", "health")), operation.Operator),
		operation.New(api.RedeemEnrolment, s.redeemEnrolment, nil, operation.Unsigned),
		operation.New(api.DescribeAuditLog, s.describeAuditLog, operation.On(ownAccount[api.DescribeAuditLogInput]("DescribeAuditLog", "audit-log"))),
		operation.New(api.ExportAuditLog, s.exportAuditLog, operation.On(ownAccount[api.ExportAuditLogInput]("ExportAuditLog", "audit-log"))),
		operation.New(api.ReadAuditExport, s.readAuditExport, operation.On(ownAccount[api.ReadAuditExportInput]("ReadAuditExport", "audit-log"))),
		operation.New(api.GetAuditKeys, s.getAuditKeys, operation.On(ownAccount[api.GetAuditKeysInput]("GetAuditKeys", "audit-log"))),
		operation.New(api.SubmitDomainCommand, s.submitDomainCommand, operation.On(ownAccount[api.SubmitDomainCommandInput]("SubmitDomainCommand", "domain")), operation.Operator),
		operation.New(api.GetDomain, s.getDomain, operation.On(ownAccount[api.GetDomainInput]("GetDomain", "domain")), operation.Operator),
		operation.New(api.GetMemberRecord, s.getMemberRecord, operation.On(ownAccount[api.GetMemberRecordInput]("GetMemberRecord", "domain")), operation.Operator),
		operation.New(api.ListDomainCommandLog, s.listDomainCommandLog, operation.On(ownAccount[api.ListDomainCommandLogInput]("ListDomainCommandLog", "domain")), operation.Operator),
		operation.New(api.RevokeSessions, s.revokeSessions, operation.On(s.aimOfRevocation)),
	}
}

// ownAccount asks for an action on something of the caller's own account;
// there is no way to name another's.
func ownAccount[I any](action, resource string) func(context.Context, *I) (operation.Ask, error) {
	return func(ctx context.Context, _ *I) (operation.Ask, error) {
		call := operation.CallFrom(ctx)
		name := arn.ARN{Partition: arn.Partition, Service: "leadglass", Region: call.Region, Account: call.Account, Resource: resource}
		return operation.Ask{Action: "leadglass:" + action, Resource: name.String(), Owner: call.Account}, nil
	}
}

func (s *Service) createAccount(ctx context.Context, in *api.CreateAccountInput) (*api.CreateAccountOutput, error) {
	a, err := s.Directory.CreateAccount(ctx, in.Name, false)
	if err != nil {
		return nil, translate(err)
	}
	// A crash before this line leaves an account without a log, which nobody can use (nothing is answered without a
	// record); the daemon makes the log up at its next start.
	if err := s.Log.CreateAccount(ctx, a.ID); err != nil {
		return nil, fmt.Errorf("service/leadglass: audit log of a new account: %w", err)
	}
	code, err := s.Directory.NewEnrolment(ctx, a.ID)
	if err != nil {
		return nil, translate(err)
	}
	operation.CallFrom(ctx).Touch(a.ID, "Leadglass::Account", accountARN(ctx, a.ID))
	return &api.CreateAccountOutput{
		Account: describe(a), EnrolmentCode: code, ExpirationDate: s.Clock.Now().Add(directory.EnrolmentLife),
	}, nil
}

func accountARN(ctx context.Context, account string) string {
	call := operation.CallFrom(ctx)
	return arn.ARN{Partition: arn.Partition, Service: "leadglass", Region: call.Region, Account: call.Account, Resource: "account/" + account}.String()
}

func describe(a directory.Account) *api.Account {
	status := api.AccountStatusActive
	if a.Operator {
		status = api.AccountStatusOperator
	}
	return &api.Account{AccountId: a.ID, Name: a.Name, Status: status, CreationDate: a.Created, Enrolled: new(!a.Enrolled.IsZero())}
}

func (s *Service) listAccounts(_ context.Context, in *api.ListAccountsInput) (*api.ListAccountsOutput, error) {
	all := s.Directory.Accounts()
	slices.SortFunc(all, func(a, b directory.Account) int { return strings.Compare(a.ID, b.ID) })
	after := ""
	if in.NextToken != "" {
		b, err := base64.RawURLEncoding.DecodeString(in.NextToken)
		if err != nil || !arn.IsAccount(string(b)) {
			return nil, &api.InvalidNextTokenException{Message: "The pagination token is invalid."}
		}
		after = string(b)
	}
	most := 100
	if in.MaxResults != nil {
		most = int(*in.MaxResults)
	}
	out := &api.ListAccountsOutput{Accounts: []api.Account{}}
	for _, a := range all {
		if a.ID <= after {
			continue
		}
		if len(out.Accounts) == most {
			out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(out.Accounts[most-1].AccountId))
			break
		}
		out.Accounts = append(out.Accounts, *describe(a))
	}
	return out, nil
}

func (s *Service) getHealth(context.Context, *api.GetHealthInput) (*api.GetHealthOutput, error) {
	h := s.Health()
	out := &api.GetHealthOutput{Status: h.Status, Version: h.Version, StartTime: h.Started, Warnings: h.Warnings, Authentication: &api.Authentication{
		KeyModeServices: h.Authentication.KeyMode, RevocationEpoch: new(int64(h.Authentication.Epoch)),
		RevocationStreamAge: new(h.Authentication.StreamAge.Milliseconds()),
		SigningKeysIssued:   new(int64(h.Authentication.Issued)), SigningKeysKept: new(int64(h.Authentication.Kept)),
	}}
	if k := h.DomainKeys; k.Active != "" {
		out.DomainKeys = &api.DomainKeys{
			ActiveKeyId: k.Active, CreationDate: k.Made, Keys: new(int64(k.Keys)), Rewrapping: new(k.Running),
			TokensRewrapped: new(int64(k.Tokens)), TokensLeft: new(int64(k.Left)), Problem: k.Problem,
		}
	}
	for _, b := range h.Boundaries {
		out.Boundaries = append(out.Boundaries, api.Boundary{
			Name: b.Name, Running: new(b.Running), LockedDown: new(b.LockedDown), Measures: b.Measures, Missing: b.Missing,
		})
	}
	return out, nil
}

func (s *Service) redeemEnrolment(ctx context.Context, in *api.RedeemEnrolmentInput) (*api.RedeemEnrolmentOutput, error) {
	key, sec, err := s.Directory.Redeem(ctx, in.Code)
	if err != nil {
		return nil, translate(err)
	}
	credential, ok := s.Directory.Credential(key)
	if !ok {
		sec.Destroy()
		return nil, errors.New("service/leadglass: a redeemed credential is not there")
	}
	conf, err := s.Log.Configuration(credential.Account)
	if err != nil {
		sec.Destroy()
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	call := operation.CallFrom(ctx)
	// The record belongs into the new customer's own log: the first thing it reads there is who redeemed its code.
	call.Account = credential.Account
	call.Touch(credential.Account, "AWS::IAM::AccessKey", key)
	return &api.RedeemEnrolmentOutput{
		AccountId: credential.Account, UserName: directory.FirstUser, AccessKeyId: key, SecretAccessKey: call.Reveal(sec),
		LabelSalt: conf.Salt, VerifierKeys: conf.Verifiers,
	}, nil
}

// translate gives the directory's errors their names in this API. Everything
// else stays an internal error.
func translate(err error) error {
	switch {
	case errors.Is(err, directory.ErrEnrolled):
		return &api.InvalidEnrolmentCodeException{Message: "The enrolment code was already redeemed. If it was not you who redeemed it, somebody else holds this account's first credentials: do not use it, and ask for a new one."}
	case errors.Is(err, directory.ErrEnrolment):
		return &api.InvalidEnrolmentCodeException{Message: "The enrolment code is unknown or expired. Ask your operator for a new one."}
	}
	switch directory.CodeOf(err) {
	case directory.EntityAlreadyExists, directory.ValidationError:
		return &api.ConflictException{Message: message(err)}
	case directory.LimitExceeded:
		return &api.LimitExceededException{Message: message(err)}
	}
	return err
}

func message(err error) string {
	if e, ok := errors.AsType[*directory.Error](err); ok {
		return e.Message
	}
	return ""
}
