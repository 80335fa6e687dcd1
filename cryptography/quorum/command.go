package quorum

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Version stands in every command.
const Version = "leadglass-hsm-command-v1"

// Limits of a command.
const (
	// MaxSigned is the longest signed command; with what surrounds it, it fits
	// a frame of the link.
	MaxSigned = 60 << 10
	// MaxSpan is how long a command can be valid, and MaxStanding how long a
	// standing one can.
	MaxSpan     = 24 * time.Hour
	MaxStanding = 31 * 24 * time.Hour

	maxReason = 1024
)

// A Command is one change of a domain as custodians sign it (hsm-domain
// section 4).
type Command struct {
	Version   string          `cbor:"1,keyasint"`
	Domain    ID              `cbor:"2,keyasint"`
	Serial    uint64          `cbor:"3,keyasint"` // of the state that it was written for; InstallDomain and RecoverShares: of the state that they bring
	Name      string          `cbor:"4,keyasint"`
	Arguments cbor.RawMessage `cbor:"5,keyasint"` // a map: see EncodeArguments
	Nonce     ID              `cbor:"6,keyasint"` // remembered until NotAfter
	NotBefore uint64          `cbor:"7,keyasint"` // ms since 1970
	NotAfter  uint64          `cbor:"8,keyasint"` // ms since 1970
	Reason    string          `cbor:"9,keyasint"` // for the people who sign and for the log
}

// NewCommand is a command for a domain in the state of this serial, valid from
// now on for span. The arguments are the struct that belongs to the name; nil
// where a command takes none.
func NewCommand(domain ID, serial uint64, name string, arguments any, now time.Time, span time.Duration, reason string) (Command, error) {
	raw, err := EncodeArguments(name, arguments)
	if err != nil {
		return Command{}, err
	}
	c := Command{
		Version: Version, Domain: domain, Serial: serial, Name: name, Arguments: raw,
		NotBefore: uint64(now.UnixMilli()), NotAfter: uint64(now.Add(span).UnixMilli()), Reason: reason,
	}
	rand.Read(c.Nonce[:])
	return c, c.check()
}

// Encode is the bytes that are signed.
func (c Command) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return encode(c)
}

// DecodeCommand reads what Encode writes, and checks all that does not depend
// on a domain or the time.
func DecodeCommand(b []byte) (Command, error) {
	var c Command
	if len(b) > MaxSigned {
		return c, fmt.Errorf("%w: a command has at most %d bytes", ErrMalformed, MaxSigned)
	}
	if err := decode(b, &c); err != nil {
		return c, err
	}
	return c, c.check()
}

// check refuses a command that no domain could ever obey.
func (c Command) check() error {
	if c.Version != Version {
		return fmt.Errorf("%w: not a command of this version", ErrMalformed)
	}
	if !slices.Contains(Names(), c.Name) {
		return ErrCommand
	}
	if len(c.Reason) > maxReason {
		return fmt.Errorf("%w: a reason has at most %d bytes", ErrMalformed, maxReason)
	}
	arguments, err := DecodeArguments(c.Name, c.Arguments)
	if err != nil {
		return err
	}
	longest := MaxSpan
	if r, ok := arguments.(*RotateArguments); ok && r.Standing() {
		longest = MaxStanding
	}
	// The subtraction is guarded by the comparison before it.
	if c.NotAfter <= c.NotBefore || c.NotAfter-c.NotBefore > uint64(longest.Milliseconds()) {
		return fmt.Errorf("%w: at most %s", ErrTime, longest)
	}
	return nil
}

// A Signature is one operator's signature over a command.
type Signature struct {
	Operator ID     `cbor:"1,keyasint"`
	Sig      []byte `cbor:"2,keyasint"`
}

// SignedCommand is a command with the signatures collected so far.
type SignedCommand struct {
	Command    []byte      `cbor:"1,keyasint"` // as Command.Encode wrote it
	Signatures []Signature `cbor:"2,keyasint"`
}

// Encode writes the signed command.
func (s SignedCommand) Encode() ([]byte, error) {
	b, err := encode(s)
	if err == nil && len(b) > MaxSigned {
		return nil, fmt.Errorf("%w: a signed command has at most %d bytes", ErrMalformed, MaxSigned)
	}
	return b, err
}

// Parse reads a signed command and the command in it, and verifies nothing.
func Parse(signed []byte) (SignedCommand, Command, error) {
	var s SignedCommand
	if len(signed) > MaxSigned {
		return s, Command{}, fmt.Errorf("%w: a signed command has at most %d bytes", ErrMalformed, MaxSigned)
	}
	if err := decode(signed, &s); err != nil {
		return s, Command{}, err
	}
	if len(s.Signatures) > maxOperators {
		return s, Command{}, fmt.Errorf("%w: at most %d signatures", ErrMalformed, maxOperators)
	}
	c, err := DecodeCommand(s.Command)
	return s, c, err
}

// State is what of a domain's state decides about a command. An HSM without a
// domain has the zero State; for InstallDomain and RecoverShares it takes the
// one of the token that they bring.
type State struct {
	Domain    ID
	Serial    uint64
	Operators []Operator
	Rules     Rules
}

// Authorize decides whether a domain in state s obeys a signed command at this
// time, and says who signed it. seen says whether a nonce was used before; the
// caller remembers the command's nonce, durably, before it obeys.
//
// The order of checks is the design's: domain, serial, time, nonce, no
// operator twice, every signature, rule. A signature that does not hold
// refuses the command even if the others would do: it means that somebody
// tampers, or that a file was mixed up.
//
// CreateDomain founds: it is taken only by a domain without operators, and
// needs the signatures of all whom it names. (That the HSM it names is this
// one, only the caller knows.) ModifyRules needs, for each command that it
// loosens, also what the old rules asked for that command.
func Authorize(s State, signed []byte, now time.Time, seen func(nonce ID) bool) (Command, []Operator, error) {
	parsed, c, err := Parse(signed)
	if err != nil {
		return c, nil, err
	}
	arguments, err := DecodeArguments(c.Name, c.Arguments)
	if err != nil {
		return c, nil, err
	}
	operators := s.Operators
	founding, _ := arguments.(*CreateArguments)
	if founding != nil {
		if len(s.Operators) != 0 {
			return c, nil, fmt.Errorf("%w: the domain has its operators already", ErrQuorum)
		}
		operators = founding.Operators
	}
	// An HSM without a domain joins the one that the founders chose, at its
	// beginning.
	fresh := founding != nil && s.Domain == ID{}
	if c.Domain == (ID{}) || !fresh && c.Domain != s.Domain {
		return c, nil, ErrDomain
	}
	if c.Serial != s.Serial {
		return c, nil, fmt.Errorf("%w: it is for serial %d, the state has %d", ErrSerial, c.Serial, s.Serial)
	}
	if at := now.UnixMilli(); at < 0 || uint64(at) < c.NotBefore || uint64(at) > c.NotAfter {
		return c, nil, ErrTime
	}
	if seen == nil || seen(c.Nonce) {
		return c, nil, ErrReplay
	}
	signers, err := verified(operators, parsed)
	if err != nil {
		return c, nil, err
	}
	if founding != nil {
		if len(signers) != len(operators) {
			return c, signers, fmt.Errorf("%w: all %d founders must sign", ErrQuorum, len(operators))
		}
		return c, signers, nil
	}
	if len(s.Rules[c.Name]) == 0 {
		return c, signers, fmt.Errorf("%w: no rule allows %s", ErrCommand, c.Name)
	}
	if !s.Rules.Met(c.Name, signers) {
		return c, signers, fmt.Errorf("%w: %s", ErrQuorum, c.Name)
	}
	return c, signers, s.checkChange(arguments, signers)
}

// verified are the operators whose signatures stand on the command, if all of
// them hold.
func verified(operators []Operator, parsed SignedCommand) ([]Operator, error) {
	var signers []Operator
	for i, sig := range parsed.Signatures {
		at := slices.IndexFunc(operators, func(o Operator) bool { return o.ID == sig.Operator })
		if at < 0 {
			return nil, fmt.Errorf("%w: %s is no operator of the domain", ErrSigner, sig.Operator)
		}
		for _, other := range parsed.Signatures[:i] {
			if other.Operator == sig.Operator {
				return nil, fmt.Errorf("%w: %s signed twice", ErrSigner, sig.Operator)
			}
		}
		signers = append(signers, operators[at])
	}
	for i, sig := range parsed.Signatures {
		if err := Verify(signers[i], parsed.Command, sig.Sig); err != nil {
			return nil, err
		}
	}
	return signers, nil
}

// checkChange refuses new operators and rules that do not fit together, and a
// loosening that the old rules do not carry.
func (s State) checkChange(arguments any, signers []Operator) error {
	operators, rules := s.Operators, s.Rules
	switch a := arguments.(type) {
	case *OperatorsArguments:
		operators = a.Operators
		if a.Rules != nil {
			rules = a.Rules
		}
	case *RulesArguments:
		rules = a.Rules
	default:
		return nil
	}
	if err := rules.Check(operators); err != nil {
		return err
	}
	for _, name := range s.Rules.Loosened(rules) {
		if !s.Rules.Met(name, signers) {
			return fmt.Errorf("%w: it loosens %s, and needs those who could have allowed that", ErrQuorum, name)
		}
	}
	return nil
}

// Add adds an operator's signature after checking it; an operator that signed
// already is left as it is.
func (s *SignedCommand) Add(o Operator, sig []byte) error {
	if err := Verify(o, s.Command, sig); err != nil {
		return err
	}
	if !slices.ContainsFunc(s.Signatures, func(x Signature) bool { return x.Operator == o.ID }) {
		s.Signatures = append(s.Signatures, Signature{o.ID, sig})
	}
	return nil
}

// Merge adds the signatures of another copy of the same command, unverified.
func (s *SignedCommand) Merge(other SignedCommand) error {
	if string(s.Command) != string(other.Command) {
		return fmt.Errorf("%w: two commands, not two copies of one", ErrMalformed)
	}
	for _, sig := range other.Signatures {
		if !slices.ContainsFunc(s.Signatures, func(x Signature) bool { return x.Operator == sig.Operator }) {
			s.Signatures = append(s.Signatures, sig)
		}
	}
	return nil
}
