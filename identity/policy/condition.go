package policy

import (
	"fmt"
	"net/netip"
	"strings"
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
	Operator  Operator
	negated   bool   // of the operator
	wantTrue  bool   // Bool and Null: a value is true
	wantFalse bool   // Bool and Null: a value is false
	bit       uint64 // one bit, if the document repeats the condition under the same effect
	key       keyRef
	patterns  []Pattern      // String and Arn operators
	numbers   []number       // Numeric operators
	instants  []instant      // Date operators
	prefixes  []netip.Prefix // IP operators
	blobs     []blob         // BinaryEquals

	Key    string
	Values []string // as written; numbers and booleans by their JSON text
}

// Patterns are the values of a String or Arn operator in parts; nil for others.
func (c *Condition) Patterns() []Pattern { return c.patterns }

var operators = map[string]Op{
	"StringEquals":              StringEquals,
	"StringNotEquals":           StringNotEquals,
	"StringEqualsIgnoreCase":    StringEqualsIgnoreCase,
	"StringNotEqualsIgnoreCase": StringNotEqualsIgnoreCase,
	"StringLike":                StringLike,
	"StringNotLike":             StringNotLike,
	"NumericEquals":             NumericEquals,
	"NumericNotEquals":          NumericNotEquals,
	"NumericLessThan":           NumericLessThan,
	"NumericLessThanEquals":     NumericLessThanEquals,
	"NumericGreaterThan":        NumericGreaterThan,
	"NumericGreaterThanEquals":  NumericGreaterThanEquals,
	"DateEquals":                DateEquals,
	"DateNotEquals":             DateNotEquals,
	"DateLessThan":              DateLessThan,
	"DateLessThanEquals":        DateLessThanEquals,
	"DateGreaterThan":           DateGreaterThan,
	"DateGreaterThanEquals":     DateGreaterThanEquals,
	"Bool":                      Bool,
	"BinaryEquals":              BinaryEquals,
	"IpAddress":                 IPAddress,
	"NotIpAddress":              NotIPAddress,
	"ArnEquals":                 ArnEquals,
	"ArnLike":                   ArnLike,
	"ArnNotEquals":              ArnNotEquals,
	"ArnNotLike":                ArnNotLike,
	"Null":                      Null,
}

// Negated says whether an operator is true for values that match none of the list.
func (o Op) Negated() bool {
	switch o {
	case StringNotEquals, StringNotEqualsIgnoreCase, StringNotLike, NumericNotEquals,
		DateNotEquals, NotIPAddress, ArnNotEquals, ArnNotLike:
		return true
	}
	return false
}

func (o Op) String() string {
	for name, op := range operators {
		if op == o {
			return name
		}
	}
	return "Op(0)"
}

func (o Operator) String() string {
	s := o.Op.String()
	switch o.Set {
	case ForAllValues:
		s = "ForAllValues:" + s
	case ForAnyValue:
		s = "ForAnyValue:" + s
	}
	if o.IfExists {
		s += "IfExists"
	}
	return s
}

// parseOperator knows Null only bare: it asks about absence itself.
func parseOperator(s string) (o Operator, ok bool) {
	if rest, found := strings.CutPrefix(s, "ForAllValues:"); found {
		o.Set, s = ForAllValues, rest
	} else if rest, found := strings.CutPrefix(s, "ForAnyValue:"); found {
		o.Set, s = ForAnyValue, rest
	}
	s, o.IfExists = strings.CutSuffix(s, "IfExists")
	o.Op, ok = operators[s]
	return o, ok && (o.Op != Null || o == Operator{Op: Null})
}

// buildCondition compiles one key of a condition block. Values that the operator
// could never compare are refused, so that no Deny hangs on a slip of the pen.
func (p *parser) buildCondition(raw *rawCondition) (c Condition, err error) {
	operator, ok := parseOperator(raw.operator.s)
	if !ok {
		return c, p.fail(raw.operator.at, "Invalid Condition type : "+clip(raw.operator.s)+".", "unknown condition operator %q", clip(raw.operator.s))
	}
	if vendor, name, ok := strings.Cut(raw.key.s, ":"); !ok || vendor == "" || name == "" {
		return c, p.fail(raw.key.at, msgVendor, "a condition key is vendor:name")
	}
	c = Condition{Operator: operator, Key: raw.key.s, key: refer(raw.key.s), negated: operator.Op.Negated()}
	for _, v := range raw.values {
		c.Values = append(c.Values, v.s)
		if !c.add(v.s, p.vars) {
			return c, p.syntax(v.at, "not a value for %s: %q", operator, clip(v.s))
		}
	}
	return c, nil
}

func (c *Condition) add(s string, vars bool) (ok bool) {
	switch c.Operator.Op {
	case StringEquals, StringNotEquals, StringEqualsIgnoreCase, StringNotEqualsIgnoreCase, StringLike, StringNotLike:
		var p Pattern
		p, ok = newStringPattern(s, vars, c.Operator.Op == StringLike || c.Operator.Op == StringNotLike)
		c.patterns = append(c.patterns, p)
	case ArnEquals, ArnLike, ArnNotEquals, ArnNotLike:
		var p Pattern
		p, ok = newARNPattern(s, vars)
		c.patterns = append(c.patterns, p)
	case NumericEquals, NumericNotEquals, NumericLessThan, NumericLessThanEquals, NumericGreaterThan, NumericGreaterThanEquals:
		var n number
		n, ok = parseNumber(s)
		c.numbers = append(c.numbers, n)
	case DateEquals, DateNotEquals, DateLessThan, DateLessThanEquals, DateGreaterThan, DateGreaterThanEquals:
		var t instant
		t, ok = parseInstant(s)
		c.instants = append(c.instants, t)
	case IPAddress, NotIPAddress:
		var x netip.Prefix
		x, ok = parsePrefix(s)
		c.prefixes = append(c.prefixes, x)
	case BinaryEquals:
		var b blob
		b, ok = parseBlob(s)
		c.blobs = append(c.blobs, b)
	case Bool, Null:
		isTrue, isFalse := strings.EqualFold(s, "true"), strings.EqualFold(s, "false")
		c.wantTrue, c.wantFalse = c.wantTrue || isTrue, c.wantFalse || isFalse
		ok = isTrue || isFalse
	}
	return ok
}

// markRepeated gives the first 64 conditions that a document repeats a bit each: authors
// write the same address or the same MFA into statement after statement, and one answer
// does for all of them. The effect counts, see holds.
func markRepeated(statements []Statement) {
	type identity struct {
		effect      Effect
		operator    Operator
		key, values string
	}
	first := make(map[identity]*Condition)
	n := 0
	for i := range statements {
		s := &statements[i]
		for j := range s.Conditions {
			c := &s.Conditions[j]
			id := identity{s.Effect, c.Operator, c.Key, fmt.Sprintf("%q", c.Values)}
			f := first[id]
			switch {
			case f == nil:
				first[id] = c
				continue
			case f.bit == 0 && n == 64:
				continue
			case f.bit == 0:
				f.bit = 1 << n
				n++
			}
			c.bit = f.bit
		}
	}
	for i := range statements {
		for j := range statements[i].Conditions {
			statements[i].repeated |= statements[i].Conditions[j].bit
		}
	}
}

// holds evaluates the condition. The effect matters in one case: a key with several
// values under an operator for one, which AWS leaves undefined, must neither
// allow nor fail to deny (§3).
func (c *Condition) holds(q *Question, effect Effect) bool {
	a := q.lookup(&c.key)
	values, n := a.values, len(a.values)
	if a.deadlock {
		return effect == Deny // of two tags that differ by case one cannot even say whether the key is there
	}
	if c.Operator.Op == Null {
		return n == 0 && c.wantTrue || n > 0 && c.wantFalse
	}
	if n == 0 {
		switch c.Operator.Set {
		case ForAllValues:
			return true
		case ForAnyValue:
			return c.Operator.IfExists
		}
		return c.Operator.IfExists || c.negated
	}
	if n > 1 && c.Operator.Set == NoSet {
		return effect == Deny
	}
	for _, v := range values {
		ok := c.match(v, a, q) != c.negated
		switch {
		case c.Operator.Set == ForAllValues && !ok:
			return false
		case c.Operator.Set != ForAllValues && ok:
			return true
		}
	}
	return c.Operator.Set == ForAllValues
}

// match says whether a value of the request, one of the answer's, satisfies the
// operator's positive form against one of the listed values.
func (c *Condition) match(v string, from *answer, q *Question) bool {
	switch op := c.Operator.Op; op {
	case StringEquals, StringNotEquals, StringLike, StringNotLike:
		for i := range c.patterns {
			if c.patterns[i].matchString(v, false, q) {
				return true
			}
		}
	case StringEqualsIgnoreCase, StringNotEqualsIgnoreCase:
		for i := range c.patterns {
			if c.patterns[i].matchString(v, true, q) {
				return true
			}
		}
	case ArnEquals, ArnLike, ArnNotEquals, ArnNotLike:
		var segments [6]string
		if split(v, &segments) < 6 {
			return false
		}
		for i := range c.patterns {
			if c.patterns[i].matchARN(&segments, q) {
				return true
			}
		}
	case Bool:
		switch { // the usual spellings first
		case v == "true":
			return c.wantTrue
		case v == "false":
			return c.wantFalse
		case strings.EqualFold(v, "true"):
			return c.wantTrue
		case strings.EqualFold(v, "false"):
			return c.wantFalse
		}
	case BinaryEquals:
		for i := range c.blobs {
			if c.blobs[i].equal(v) {
				return true
			}
		}
	case IPAddress, NotIPAddress:
		a, ok := from.asAddr(v)
		for i := range c.prefixes {
			if ok && c.prefixes[i].Contains(a) {
				return true
			}
		}
	default:
		return c.matchOrdered(v, from)
	}
	return false
}

// matchOrdered is match for numbers and dates.
func (c *Condition) matchOrdered(v string, from *answer) bool {
	if len(c.instants) > 0 {
		t, ok := from.asInstant(v)
		for i := range c.instants {
			if ok && c.ordered(t.compare(c.instants[i])) {
				return true
			}
		}
		return false
	}
	n, ok := parseNumber(v)
	for i := range c.numbers {
		if ok && c.ordered(n.compare(&c.numbers[i])) {
			return true
		}
	}
	return false
}

func (c *Condition) ordered(comparison int) bool {
	switch c.Operator.Op {
	case NumericEquals, NumericNotEquals, DateEquals, DateNotEquals:
		return comparison == 0
	case NumericLessThan, DateLessThan:
		return comparison < 0
	case NumericLessThanEquals, DateLessThanEquals:
		return comparison <= 0
	case NumericGreaterThan, DateGreaterThan:
		return comparison > 0
	case NumericGreaterThanEquals, DateGreaterThanEquals:
		return comparison >= 0
	}
	return false
}
