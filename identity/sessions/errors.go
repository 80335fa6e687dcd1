package sessions

import "fmt"

// A Code is STS's error code, as it stands in the answer.
type Code string

// The codes of this package (sts-and-fas section 3).
const (
	AccessDenied                Code = "AccessDenied"
	ValidationError             Code = "ValidationError"
	InvalidParameterValue       Code = "InvalidParameterValue"
	MalformedPolicyDocument     Code = "MalformedPolicyDocument"
	PackedPolicyTooLarge        Code = "PackedPolicyTooLarge"
	InvalidIdentityToken        Code = "InvalidIdentityToken"
	ExpiredToken                Code = "ExpiredTokenException"
	IDPCommunicationError       Code = "IDPCommunicationError"
	OutboundDisabled            Code = "OutboundWebIdentityFederationDisabledException"
	SessionDurationEscalation   Code = "SessionDurationEscalationException"
	PayloadTooLarge             Code = "JWTPayloadSizeExceededException"
	InvalidAuthorizationMessage Code = "InvalidAuthorizationMessageException"
)

// An Error is a refusal: Code and Message are what the caller of STS is answered.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return "sessions: " + string(e.Code) + ": " + e.Message }

func refuse(code Code, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}
