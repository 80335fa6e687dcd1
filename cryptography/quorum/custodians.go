package quorum

import (
	"fmt"
	"time"
)

// Custodians are the people who together can loosen the conditions that are
// sealed into one key (hsm-domain section 6, attribute 10). The key's owner
// names them; they are no operators of the domain, and one alone may do: what
// they guard is the owner's own.
type Custodians struct {
	Operators []Operator `cbor:"1,keyasint"`
	Rules     []Rule     `cbor:"2,keyasint"` // any one suffices
}

// maxCustodians bounds what travels in every token of the key.
const maxCustodians = 16

// Check refuses custodians who are not sound, and rules that they cannot meet.
func (c Custodians) Check() error {
	if len(c.Operators) == 0 || len(c.Operators) > maxCustodians {
		return fmt.Errorf("%w: a key has 1 to %d custodians", ErrOperators, maxCustodians)
	}
	for i, o := range c.Operators {
		if err := o.Check(); err != nil {
			return err
		}
		if o.Role != RoleTenantCustodian {
			return fmt.Errorf("%w: operator %s: the custodian of a key has the role %s", ErrOperators, o.ID, RoleTenantCustodian)
		}
		for _, other := range c.Operators[:i] {
			if other.ID == o.ID || other.Label == o.Label || sameKey(other, o) {
				return fmt.Errorf("%w: operator %s is there twice, by id, key or label", ErrOperators, o.ID)
			}
		}
	}
	if len(c.Rules) == 0 || len(c.Rules) > maxCustodians {
		return fmt.Errorf("%w: custodians have 1 to %d rules", ErrRules, maxCustodians)
	}
	for _, r := range c.Rules {
		if err := r.check(LoosenConditions, c.Operators); err != nil {
			return err
		}
	}
	return nil
}

// Encode is how custodians stand in a token.
func (c Custodians) Encode() ([]byte, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	return encode(c)
}

// ParseCustodians reads what Encode wrote.
func ParseCustodians(b []byte) (Custodians, error) {
	var c Custodians
	if err := decode(b, &c); err != nil {
		return Custodians{}, err
	}
	return c, c.Check()
}

// Authorize decides whether the custodians allow looser conditions by a signed
// LoosenConditions of this domain, and gives its arguments, which the caller
// compares with what it is asked to do.
//
// Unlike a command that changes the domain, it is bound to no serial, so that
// custodians need not hurry between two rotations of the domain key, and its
// nonce is not remembered: the epoch in its arguments moves on when it is
// obeyed, so that it serves once.
func (c Custodians) Authorize(domain ID, signed []byte, now time.Time) (ConditionsArguments, []Operator, error) {
	_, command, err := Parse(signed)
	if err != nil {
		return ConditionsArguments{}, nil, err
	}
	if command.Name != LoosenConditions {
		return ConditionsArguments{}, nil, ErrCommand
	}
	s := State{Domain: domain, Serial: command.Serial, Operators: c.Operators, Rules: Rules{LoosenConditions: c.Rules}}
	_, signers, err := Authorize(s, signed, now, func(ID) bool { return false })
	if err != nil {
		return ConditionsArguments{}, signers, err
	}
	v, err := DecodeArguments(command.Name, command.Arguments)
	a, ok := v.(*ConditionsArguments)
	if err != nil || !ok {
		return ConditionsArguments{}, signers, ErrArguments
	}
	return *a, signers, nil
}
