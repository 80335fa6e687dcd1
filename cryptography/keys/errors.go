package keys

import "fmt"

// A Kind says which of the service's modelled errors an Error is. The names
// are those of the KMS API without "Exception".
type Kind uint8

// The kinds of refusal.
const (
	NotFound Kind = iota + 1
	AlreadyExists
	Disabled
	IncorrectKey
	InvalidAliasName
	InvalidARN
	InvalidCiphertext
	InvalidGrantID
	InvalidGrantToken
	InvalidKeyUsage
	InvalidMarker
	DryRun
	ExpiredImportToken
	IncorrectKeyMaterial
	InvalidImportToken
	InvalidState
	LimitExceeded
	MalformedPolicy
	NotAuthorized // a reserved alias name
	Tagging
	Unsupported
	Unavailable // the key's state is not known now; try again
	Sealed      // the conditions sealed into the key refuse
	Validation
	InvalidSignature
	InvalidMac
	Throttling // the boundary has no room for more work of this kind
)

// An Error is a refusal that the caller is told of, with the text that it is
// told (kms-api section 1). Errors of other types are faults of the house.
type Error struct {
	Kind    Kind
	Message string
	Err     error // what lies behind it; never shown to a caller
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("keys: %s (%v)", e.Message, e.Err)
	}
	return "keys: " + e.Message
}

// Unwrap gives what lies behind the refusal.
func (e *Error) Unwrap() error { return e.Err }

// Is makes every Error of one kind equal for errors.Is.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && (t.Message == "" || t.Message == e.Message)
}

func refuse(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func missing(keyARN string) *Error { return refuse(NotFound, "Key '%s' does not exist", keyARN) }
