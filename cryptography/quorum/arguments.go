package quorum

import (
	"fmt"
	"time"
)

// CreateArguments found a domain. The keys are those of DomainState where it
// has the same field.
type CreateArguments struct {
	Name      string        `cbor:"3,keyasint"`
	Member    ID            `cbor:"6,keyasint"` // the HSM that is to be the first member, so that no other founds a second domain with the same papers
	Operators []Operator    `cbor:"7,keyasint"`
	Rules     Rules         `cbor:"8,keyasint"`
	Retention uint64        `cbor:"11,keyasint"` // domain keys kept
	Roots     [][]byte      `cbor:"12,keyasint,omitempty"`
	Flags     uint64        `cbor:"13,keyasint,omitempty"`
	Threshold uint64        `cbor:"64,keyasint,omitempty"` // shares that recover the domain; 0: none are made
	Holders   []ShareHolder `cbor:"65,keyasint,omitempty"`
}

// A ShareHolder is to receive a share of the recovery key. It has a key of its
// own for that, because keys that sign cannot all receive (an authenticator,
// an ssh-agent); all founders sign whom it belongs to.
type ShareHolder struct {
	Operator ID     `cbor:"1,keyasint"`
	Public   []byte `cbor:"2,keyasint"` // HPKE MLKEM768-X25519
}

// ShareKeyLen is the length of ShareHolder.Public: an ML-KEM-768
// encapsulation key and an X25519 public key.
const ShareKeyLen = 1184 + 32

// InstallArguments put a token's state into effect.
type InstallArguments struct {
	Token []byte `cbor:"1,keyasint"`
}

// AddArguments make an HSM a member: it is the record that it made of itself.
type AddArguments struct {
	Record []byte `cbor:"1,keyasint"` // MemberRecord
}

// MemberArguments name the member that RemoveMember, LeaveDomain or
// SelfDestruct is about.
type MemberArguments struct {
	Member ID `cbor:"1,keyasint"`
}

// OperatorsArguments are the complete new list of operators, and new rules if
// the old ones do not fit them.
type OperatorsArguments struct {
	Operators []Operator `cbor:"7,keyasint"`
	Rules     Rules      `cbor:"8,keyasint,omitempty"`
}

// RulesArguments are the complete new rules.
type RulesArguments struct {
	Rules Rules `cbor:"8,keyasint"`
}

// RotateArguments are empty for one rotation now. A standing command allows a
// rotation each Interval, from From to To.
type RotateArguments struct {
	From     uint64 `cbor:"1,keyasint,omitempty"` // ms since 1970
	To       uint64 `cbor:"2,keyasint,omitempty"` // ms since 1970
	Interval uint64 `cbor:"3,keyasint,omitempty"` // ms, at most 24 h
}

// Standing says whether it allows more than one rotation.
func (a RotateArguments) Standing() bool { return a != RotateArguments{} }

// RootsArguments are the complete new roots of attestation documents, DER.
type RootsArguments struct {
	Roots [][]byte `cbor:"12,keyasint"`
}

// FenceArguments shut out tokens of a key that are older than an epoch.
type FenceArguments struct {
	Key   string `cbor:"1,keyasint"` // what the token's attributes name: the key's ARN
	Epoch uint64 `cbor:"2,keyasint"`
}

// HostArguments let a host in.
type HostArguments struct {
	Public []byte `cbor:"1,keyasint"` // SPKI, P-384
	Role   string `cbor:"2,keyasint"`
}

// RecoverArguments rebuild the recovery key inside an HSM that has no domain.
type RecoverArguments struct {
	Member ID          `cbor:"1,keyasint"` // the HSM that it is for
	Token  []byte      `cbor:"2,keyasint"`
	Shares []SentShare `cbor:"3,keyasint"`
}

// A SentShare is a share that its holder opened and sealed again, to the HSM
// that is to recover (SealEnvelope with RecoveryInfo).
type SentShare struct {
	Operator ID       `cbor:"1,keyasint"`
	Envelope Envelope `cbor:"2,keyasint"`
}

// ConditionsArguments allow a key token with looser sealed conditions.
type ConditionsArguments struct {
	Key        string `cbor:"1,keyasint"` // the key's ARN
	Material   []byte `cbor:"2,keyasint"` // its material id
	Conditions []byte `cbor:"3,keyasint"` // as sealed into the token; empty: none
	Epoch      uint64 `cbor:"4,keyasint,omitempty"`
}

// empty are the arguments of a command that takes none.
type empty struct{}

const (
	maxMembers = 64
	maxToken   = 56 << 10
	maxRetain  = 366
	maxRoots   = 16
	maxRoot    = 8 << 10
	maxKeyName = 2048
	maxBlob    = 4096
)

// shape is a new value of the arguments of a command, nil for an unknown name.
func shape(name string) any {
	switch name {
	case CreateDomain:
		return new(CreateArguments)
	case InstallDomain:
		return new(InstallArguments)
	case AddMember:
		return new(AddArguments)
	case RemoveMember, LeaveDomain, SelfDestruct:
		return new(MemberArguments)
	case ModifyOperators:
		return new(OperatorsArguments)
	case ModifyRules:
		return new(RulesArguments)
	case RotateDomainKeys:
		return new(RotateArguments)
	case SetRoots:
		return new(RootsArguments)
	case RaiseFence:
		return new(FenceArguments)
	case PlaceHost:
		return new(HostArguments)
	case RecoverShares:
		return new(RecoverArguments)
	case LoosenConditions:
		return new(ConditionsArguments)
	case ExportDomain, ExportAudit:
		return new(empty)
	}
	return nil
}

// EncodeArguments writes the arguments of a command, a struct of this package
// or a pointer to one; nil for a command that takes none.
func EncodeArguments(name string, arguments any) ([]byte, error) {
	if arguments == nil {
		arguments = empty{}
	}
	b, err := encode(arguments)
	if err != nil {
		return nil, err
	}
	// Reading it back refuses arguments of another command and bad ones.
	_, err = DecodeArguments(name, b)
	return b, err
}

// DecodeArguments reads and checks the arguments of a command: a pointer to
// the struct that belongs to the name.
func DecodeArguments(name string, raw []byte) (any, error) {
	v := shape(name)
	if v == nil {
		return nil, ErrCommand
	}
	if err := decode(raw, v); err != nil {
		return nil, fmt.Errorf("%w of %s: %w", ErrArguments, name, err)
	}
	if err := checkArguments(v); err != nil {
		return nil, fmt.Errorf("%w of %s: %w", ErrArguments, name, err)
	}
	return v, nil
}

func checkArguments(v any) error {
	switch a := v.(type) {
	case *CreateArguments:
		return a.check()
	case *InstallArguments:
		_, err := ParseToken(a.Token)
		return err
	case *AddArguments:
		_, err := ParseMemberRecord(a.Record)
		return err
	case *OperatorsArguments:
		return checkOperators(a.Operators)
	case *RotateArguments:
		if a.Standing() && (a.To <= a.From || a.To-a.From > uint64(MaxStanding.Milliseconds()) ||
			a.Interval < uint64(time.Minute.Milliseconds()) || a.Interval > uint64(MaxSpan.Milliseconds())) {
			return fmt.Errorf("%w: a standing rotation is for at most %s, every minute to every day", ErrTime, MaxStanding)
		}
	case *RootsArguments:
		return checkRoots(a.Roots)
	case *FenceArguments:
		if a.Key == "" || len(a.Key) > maxKeyName {
			return fmt.Errorf("%w: a fence names a key", ErrMalformed)
		}
	case *HostArguments:
		if !text(a.Role) || len(a.Public) == 0 || len(a.Public) > maxPublic {
			return fmt.Errorf("%w: a host has a role and a key", ErrMalformed)
		}
	case *RecoverArguments:
		if len(a.Shares) == 0 || len(a.Shares) > maxOperators {
			return fmt.Errorf("%w: 1 to %d shares", ErrMalformed, maxOperators)
		}
		_, err := ParseToken(a.Token)
		return err
	case *ConditionsArguments:
		if a.Key == "" || len(a.Key) > maxKeyName || len(a.Material) != 32 || len(a.Conditions) > maxBlob {
			return fmt.Errorf("%w: the key is named by ARN and material", ErrMalformed)
		}
	}
	return nil
}

func (a *CreateArguments) check() error {
	if !text(a.Name) || a.Retention == 0 || a.Retention > maxRetain {
		return fmt.Errorf("%w: a domain has a name, and keeps 1 to %d domain keys", ErrMalformed, maxRetain)
	}
	if err := a.Rules.Check(a.Operators); err != nil {
		return err
	}
	if err := checkRoots(a.Roots); err != nil {
		return err
	}
	// One share alone, or one that is not needed by anybody, is no secret shared.
	if a.Threshold == 1 || a.Threshold > uint64(len(a.Holders)) || a.Threshold == 0 && len(a.Holders) > 0 {
		return fmt.Errorf("%w: 2 or more of the share holders recover", ErrMalformed)
	}
	for i, h := range a.Holders {
		known := false
		for _, o := range a.Operators {
			known = known || o.ID == h.Operator
		}
		for _, other := range a.Holders[:i] {
			known = known && other.Operator != h.Operator
		}
		if !known || len(h.Public) != ShareKeyLen {
			return fmt.Errorf("%w: a share holder is an operator, once, with a key for it", ErrMalformed)
		}
	}
	return nil
}

func checkRoots(roots [][]byte) error {
	if len(roots) > maxRoots {
		return fmt.Errorf("%w: at most %d roots", ErrMalformed, maxRoots)
	}
	for _, r := range roots {
		if len(r) == 0 || len(r) > maxRoot {
			return fmt.Errorf("%w: a root is a certificate of at most %d bytes", ErrMalformed, maxRoot)
		}
	}
	return nil
}
