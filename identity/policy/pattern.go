package policy

import (
	"strings"
)

// A Pattern is one string of Resource, NotResource, or of a condition on
// strings or ARNs.
type Pattern struct {
	text     string
	parts    []Part
	variable bool

	// Without variables: compiled, and for ARNs split into segments.
	whole    matcher
	segments []matcher
	// With variables: what to expand. Of a resource the first five segments are
	// fixed and stand in segments; program holds the sixth.
	program []instruction
}

// A PartKind says what a piece of a pattern matches.
type PartKind uint8

// The parts of patterns.
const (
	Literal  PartKind = iota + 1 // exactly Text
	AnyRun                       // any characters, none included
	AnyRune                      // one character
	Variable                     // the value of the condition key Text, literally
)

// A Part is one piece of a pattern.
type Part struct {
	Kind       PartKind
	Text       string
	Default    string // of a variable
	HasDefault bool
}

// Text is the pattern as written.
func (p *Pattern) Text() string { return p.text }

// Parts are the pattern's pieces in order; read-only. Wildcards are parts only
// where they are wildcards: in a value of StringEquals a star is a literal.
func (p *Pattern) Parts() []Part { return p.parts }

// HasVariables says whether the pattern depends on condition keys.
func (p *Pattern) HasVariables() bool { return p.variable }

// An instruction is one step of expanding a pattern with variables: text to copy
// (wildcards already in their compiled bytes), or a key whose value to insert.
type instruction struct {
	text       string
	key        keyRef
	isKey      bool
	fallback   string
	hasDefault bool
}

// compile turns parts into compiled text and instructions.
func compile(parts []Part) (text string, program []instruction) {
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			program = append(program, instruction{text: b.String()})
			b.Reset()
		}
	}
	var last PartKind
	for _, p := range parts {
		switch p.Kind {
		case Literal:
			b.WriteString(p.Text)
		case AnyRun:
			if last != AnyRun { // a run of stars is one star
				b.WriteByte(anyRun)
			}
		case AnyRune:
			b.WriteByte(anyRune)
		case Variable:
			flush()
			program = append(program, instruction{key: refer(p.Text), isKey: true, fallback: p.Default, hasDefault: p.HasDefault})
		}
		last = p.Kind
	}
	flush()
	if len(program) == 1 && !program[0].isKey {
		text = program[0].text
	}
	return text, program
}

// expand writes the pattern with its variables filled in, false if one has no
// single value and no default. A value with the bytes that stand for wildcards is no
// UTF-8 and resolves to nothing.
func expand(dst []byte, program []instruction, q *Question) ([]byte, bool) {
	for i := range program {
		in := &program[i]
		if !in.isKey {
			dst = append(dst, in.text...)
			continue
		}
		v, n, _ := q.lookup(&in.key)
		switch {
		case n == 1 && strings.IndexByte(v[0], anyRun) < 0 && strings.IndexByte(v[0], anyRune) < 0:
			dst = append(dst, v[0]...)
		case n != 1 && in.hasDefault:
			dst = append(dst, in.fallback...)
		default:
			return dst, false
		}
	}
	return dst, true
}

// scan splits a pattern into parts. Variables are read if vars is set (Version
// 2012-10-17), wildcards if wilds is. It returns the offset of a malformed
// variable, else -1.
func scan(s string, vars, wilds bool) (parts []Part, bad int) {
	var lit strings.Builder
	emit := func(p Part) {
		if lit.Len() > 0 {
			parts = append(parts, Part{Kind: Literal, Text: lit.String()})
			lit.Reset()
		}
		if p.Kind != 0 {
			parts = append(parts, p)
		}
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case wilds && c == '*':
			emit(Part{Kind: AnyRun})
			i++
		case wilds && c == '?':
			emit(Part{Kind: AnyRune})
			i++
		case vars && strings.HasPrefix(s[i:], "${"):
			v, n := scanVariable(s[i:])
			if n == 0 {
				return nil, i
			}
			if v.Kind == Literal {
				lit.WriteString(v.Text)
			} else {
				emit(v)
			}
			i += n
		default:
			lit.WriteByte(c)
			i++
		}
	}
	emit(Part{})
	return parts, -1
}

// scanVariable reads ${key}, ${key, 'default'}, ${*}, ${?} or ${$}; n is 0 if s
// starts with none of them.
func scanVariable(s string) (p Part, n int) {
	end := strings.IndexAny(s, ",}")
	if end < 0 {
		return p, 0
	}
	name := strings.TrimSpace(s[2:end])
	if s[end] == '}' {
		if name == "*" || name == "?" || name == "$" {
			return Part{Kind: Literal, Text: name}, end + 1
		}
		return Part{Kind: Variable, Text: name}, keep(end+1, isKeyName(name))
	}
	rest := strings.TrimLeft(s[end+1:], " ")
	if !strings.HasPrefix(rest, "'") {
		return p, 0
	}
	value, after, ok := strings.Cut(rest[1:], "'")
	after = strings.TrimLeft(after, " ")
	if !ok || !strings.HasPrefix(after, "}") {
		return p, 0
	}
	p = Part{Kind: Variable, Text: name, Default: value, HasDefault: true}
	return p, keep(len(s)-len(after)+1, isKeyName(name))
}

func keep(n int, ok bool) int {
	if ok {
		return n
	}
	return 0
}

// isKeyName says whether s can name a condition key: vendor:name.
func isKeyName(s string) bool {
	vendor, name, ok := strings.Cut(s, ":")
	return ok && vendor != "" && name != "" && !strings.ContainsAny(s, "${}*?'\"")
}
