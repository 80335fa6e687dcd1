// Package quorum holds what the custodians of an HSM domain sign, and the
// check that enough of the right ones did (hsm-domain sections 3 and 4).
//
// A domain is changed by a Command, which names the domain, the serial of the
// state that it was written for and what is to be done; custodians sign its
// bytes (SigningInput), the signatures travel beside them (SignedCommand), and
// every HSM asks Authorize, with the operators and rules of its own state,
// whether to obey. Nobody else decides: a plane that passes a command on
// gives it no weight.
//
// Start with Authorize. Operator and Rules say who there is and how many of
// whom each command needs; arguments.go has the arguments of each command,
// state.go the domain state that commands change, token.go the form in which
// a state travels between HSMs.
//
// Not done here: no key is made or used except public ones, nothing is
// stored, no clock is read; package signer signs, hsm/core obeys. Because the
// HSM links this package, it uses no crypto/x509 and no encoding/json, and
// parses their few bytes itself.
//
// Promised: everything is deterministic CBOR (RFC 8949 section 4.2.1), read
// strictly: bytes that this package would not have written are refused, so
// that nothing that was signed can be read in two ways. Version 1 of every
// format stays readable. Whatever a rule does not allow is refused.
package quorum

import (
	"encoding/hex"
	"errors"
)

// ID names an operator, an HSM (member) or a domain, and is a nonce.
type ID [16]byte

// String is the id in hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what String writes.
func ParseID(s string) (id ID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, errors.New("quorum: an id is 32 hexadecimal digits")
	}
	copy(id[:], b)
	return id, nil
}

// The classes of refusal, to be told apart with errors.Is.
var (
	ErrMalformed = errors.New("quorum: malformed")                         // not the bytes that this package writes
	ErrCommand   = errors.New("quorum: unknown command")                   // or one without a rule
	ErrArguments = errors.New("quorum: unusable arguments")                // of a known command
	ErrDomain    = errors.New("quorum: for another domain")                //
	ErrSerial    = errors.New("quorum: for another state of the domain")   //
	ErrTime      = errors.New("quorum: not valid now")                     // or for too long
	ErrReplay    = errors.New("quorum: seen before")                       //
	ErrSigner    = errors.New("quorum: signed by somebody who may not")    // unknown, or twice
	ErrSignature = errors.New("quorum: wrong signature")                   //
	ErrQuorum    = errors.New("quorum: not enough of those who must sign") //
	ErrOperators = errors.New("quorum: unusable operators")
	ErrRules     = errors.New("quorum: unusable rules")
)

// Names of commands.
const (
	CreateDomain     = "CreateDomain"
	ExportDomain     = "ExportDomain"
	InstallDomain    = "InstallDomain"
	LeaveDomain      = "LeaveDomain"
	AddMember        = "AddMember"
	RemoveMember     = "RemoveMember"
	ModifyOperators  = "ModifyOperators"
	ModifyRules      = "ModifyRules"
	RotateDomainKeys = "RotateDomainKeys"
	SetRoots         = "SetRoots"
	RaiseFence       = "RaiseFence"
	PlaceHost        = "PlaceHost"
	RecoverShares    = "RecoverShares"
	SelfDestruct     = "SelfDestruct"
	ExportAudit      = "ExportAudit"
	LoosenConditions = "LoosenConditions" // by the custodians of a key, whom the key's token names
)

// Names are the names of all commands, in the order of the design.
func Names() []string {
	return []string{CreateDomain, ExportDomain, InstallDomain, LeaveDomain, AddMember, RemoveMember, ModifyOperators,
		ModifyRules, RotateDomainKeys, SetRoots, RaiseFence, PlaceHost, RecoverShares, SelfDestruct, ExportAudit, LoosenConditions}
}

// Roles of operators. The fourth role of the design, host, is not for people:
// a host works with keys and takes no part in a quorum.
const (
	RoleOperator        = "operator"
	RoleSecurityOfficer = "security-officer"
	RoleTenantCustodian = "tenant-custodian" // a customer's key holder
)
