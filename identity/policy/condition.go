package policy

import (
	"net/netip"
)

// An Op is a condition operator without its set prefix and IfExists.
type Op uint8

// The operators (§3). ArnEquals is ArnLike, ArnNotEquals is ArnNotLike.
const (
	StringEquals Op = iota + 1
	StringNotEquals
	StringEqualsIgnoreCase
	StringNotEqualsIgnoreCase
	StringLike
	StringNotLike
	NumericEquals
	NumericNotEquals
	NumericLessThan
	NumericLessThanEquals
	NumericGreaterThan
	NumericGreaterThanEquals
	DateEquals
	DateNotEquals
	DateLessThan
	DateLessThanEquals
	DateGreaterThan
	DateGreaterThanEquals
	Bool
	BinaryEquals
	IPAddress
	NotIPAddress
	ArnEquals
	ArnLike
	ArnNotEquals
	ArnNotLike
	Null
)

// A Set is how an operator reads a key with several values.
type Set uint8

// The set prefixes.
const (
	NoSet Set = iota
	ForAllValues
	ForAnyValue
)

// An Operator is a condition operator as written: ForAllValues:StringEqualsIfExists.
type Operator struct {
	Op       Op
	Set      Set
	IfExists bool
}

// A Condition is one key under one operator of a condition block. All conditions
// of a statement must hold.
type Condition struct {
	Operator Operator
	Key      string
	Values   []string // as written; numbers and booleans by their JSON text

	key       keyRef
	patterns  []Pattern      // String and Arn operators
	numbers   []number       // Numeric operators
	instants  []instant      // Date operators
	prefixes  []netip.Prefix // IP operators
	blobs     []blob         // BinaryEquals
	wantTrue  bool           // Bool and Null: a value is true
	wantFalse bool           // Bool and Null: a value is false
}

// Patterns are the values of a String or Arn operator in parts; nil for others.
func (c *Condition) Patterns() []Pattern { return c.patterns }
