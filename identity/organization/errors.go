package organization

import (
	"errors"
	"fmt"
)

// A Code is the API's error code, as it stands in the answer.
type Code string

// The codes of this package.
const (
	NotInUse                  Code = "AWSOrganizationsNotInUseException"
	AccessDenied              Code = "AccessDeniedException"
	AccountAlreadyClosed      Code = "AccountAlreadyClosedException"
	AccountAlreadyRegistered  Code = "AccountAlreadyRegisteredException"
	AccountNotFound           Code = "AccountNotFoundException"
	AccountNotRegistered      Code = "AccountNotRegisteredException"
	AlreadyInOrganization     Code = "AlreadyInOrganizationException"
	ChildNotFound             Code = "ChildNotFoundException"
	ConcurrentModification    Code = "ConcurrentModificationException"
	ConstraintViolation       Code = "ConstraintViolationException"
	CreationNotFound          Code = "CreateAccountStatusNotFoundException"
	DestinationParentNotFound Code = "DestinationParentNotFoundException"
	DuplicateAccount          Code = "DuplicateAccountException"
	DuplicateHandshake        Code = "DuplicateHandshakeException"
	DuplicateUnit             Code = "DuplicateOrganizationalUnitException"
	DuplicateAttachment       Code = "DuplicatePolicyAttachmentException"
	DuplicatePolicy           Code = "DuplicatePolicyException"
	EffectivePolicyNotFound   Code = "EffectivePolicyNotFoundException"
	HandshakeAlreadyInState   Code = "HandshakeAlreadyInStateException"
	HandshakeConstraint       Code = "HandshakeConstraintViolationException"
	HandshakeNotFound         Code = "HandshakeNotFoundException"
	InvalidHandshakeChange    Code = "InvalidHandshakeTransitionException"
	InvalidInput              Code = "InvalidInputException"
	MalformedPolicyDocument   Code = "MalformedPolicyDocumentException"
	MasterCannotLeave         Code = "MasterCannotLeaveOrganizationException"
	OrganizationNotEmpty      Code = "OrganizationNotEmptyException"
	UnitNotEmpty              Code = "OrganizationalUnitNotEmptyException"
	UnitNotFound              Code = "OrganizationalUnitNotFoundException"
	ParentNotFound            Code = "ParentNotFoundException"
	PolicyInUse               Code = "PolicyInUseException"
	PolicyNotAttached         Code = "PolicyNotAttachedException"
	PolicyNotFound            Code = "PolicyNotFoundException"
	TypeAlreadyEnabled        Code = "PolicyTypeAlreadyEnabledException"
	TypeNotAvailable          Code = "PolicyTypeNotAvailableForOrganizationException"
	TypeNotEnabled            Code = "PolicyTypeNotEnabledException"
	ResourcePolicyNotFound    Code = "ResourcePolicyNotFoundException"
	RootNotFound              Code = "RootNotFoundException"
	SourceParentNotFound      Code = "SourceParentNotFoundException"
	TargetNotFound            Code = "TargetNotFoundException"
)

// An Error is a refusal: what the caller of the API is answered.
type Error struct {
	Code    Code
	Reason  string // of the codes that have one
	Message string
}

func (e *Error) Error() string { return "organization: " + string(e.Code) + ": " + e.Message }

// CodeOf is the code of a refusal, or "" when err is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// ReasonOf is the reason of a refusal, or "".
func ReasonOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// ErrUnavailable: the store cannot be reached; the outcome may be unknown.
var ErrUnavailable = errors.New("organization: unavailable")

func refuse(code Code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func violates(reason, format string, args ...any) error {
	return &Error{ConstraintViolation, reason, fmt.Sprintf(format, args...)}
}

func invalid(reason, format string, args ...any) error {
	return &Error{InvalidInput, reason, fmt.Sprintf(format, args...)}
}

func handshakeViolates(reason, format string, args ...any) error {
	return &Error{HandshakeConstraint, reason, fmt.Sprintf(format, args...)}
}

// The refusals that many operations share, in AWS's words.
var (
	errNotInUse = &Error{Code: NotInUse, Message: "Your account is not a member of an organization."}
	errTarget   = &Error{Code: TargetNotFound, Message: "You specified a target that doesn't exist."}
	errPolicy   = &Error{Code: PolicyNotFound, Message: "You specified a policy that doesn't exist."}
	errAccount  = &Error{Code: AccountNotFound, Message: "You specified an account that doesn't exist."}
	errUnit     = &Error{Code: UnitNotFound, Message: "You specified an organizational unit that doesn't exist."}
	errParent   = &Error{Code: ParentNotFound, Message: "You specified a parent that doesn't exist."}
)
