package attest

import (
	"errors"
	"strconv"
)

// A Class says why a document was refused (attestation-document section 4).
type Class string

// The classes.
const (
	Malformed            Class = "malformed"
	UnsupportedAlgorithm Class = "unsupported_algorithm"
	UntrustedRoot        Class = "untrusted_root"
	ChainInvalid         Class = "chain_invalid"
	CertificateExpired   Class = "certificate_expired" // or not valid yet
	BadSignature         Class = "bad_signature"
	Stale                Class = "stale"
	NonceMismatch        Class = "nonce_mismatch"
	DebugNotAllowed      Class = "debug_not_allowed"
	PCRMismatch          Class = "pcr_mismatch"
	MissingPublicKey     Class = "missing_public_key"
)

// An Error is a refusal. Its text is made of fixed words: nothing of the
// document is in it.
type Error struct {
	Class  Class
	Index  int // the register, of PCRMismatch
	detail string
}

func (e *Error) Error() string {
	s := "attest: " + string(e.Class)
	if e.Class == PCRMismatch {
		s += "{" + strconv.Itoa(e.Index) + "}"
	}
	return s + ": " + e.detail
}

func refuse(c Class, detail string) *Error { return &Error{Class: c, detail: detail} }

// ClassOf gives the class of a refusal, "" of any other error.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ""
}
