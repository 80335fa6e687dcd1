package directory

import (
	"errors"
	"fmt"
)

// A Code is IAM's error code, as it stands in the answer.
type Code string

// The codes of this package (sts-and-fas section 2).
const (
	NoSuchEntity            Code = "NoSuchEntity"
	EntityAlreadyExists     Code = "EntityAlreadyExists"
	DeleteConflict          Code = "DeleteConflict"
	LimitExceeded           Code = "LimitExceeded"
	ConcurrentModification  Code = "ConcurrentModification"
	MalformedPolicyDocument Code = "MalformedPolicyDocument"
	InvalidInput            Code = "InvalidInput"
	UnmodifiableEntity      Code = "UnmodifiableEntity"
	PolicyNotAttachable     Code = "PolicyNotAttachable"
	ValidationError         Code = "ValidationError"
	FeatureEnabled          Code = "FeatureEnabled"
	FeatureDisabled         Code = "FeatureDisabled"
	AccessDenied            Code = "AccessDenied" // a customer may not change what the operator manages

	InvalidAuthenticationCode Code = "InvalidAuthenticationCode"
	PasswordPolicyViolation   Code = "PasswordPolicyViolation"
	ReportExpired             Code = "ReportExpired"
	ReportNotPresent          Code = "ReportNotPresent"
)

// An Error is a refusal: Code and Message are what the caller of IAM is
// answered.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return "directory: " + string(e.Code) + ": " + e.Message }

// Is makes errors.Is(err, &Error{Code: c}) compare codes alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Code == e.Code
}

// CodeOf is the code of a refusal, or "" when err is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

func refuse(code Code, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// Errors of enrolment.
var (
	// ErrEnrolment: the code is unknown, replaced by a later one, or expired.
	ErrEnrolment = errors.New("directory: enrolment code is not valid")
	// ErrEnrolled: the code was redeemed already; if not by you, then by somebody else.
	ErrEnrolled = errors.New("directory: enrolment code was already redeemed")
	// ErrNoAccount: there is no such account.
	ErrNoAccount = errors.New("directory: no such account")
	// ErrUnavailable: the store or the authority cannot be reached; the outcome may be unknown.
	ErrUnavailable = errors.New("directory: unavailable")
)
