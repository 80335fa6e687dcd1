package policy

import (
	"bytes"
	"strings"
)

// A Pattern is one string of Resource, NotResource, or of a condition on
// strings or ARNs.
type Pattern struct {
	variable bool
	never    bool // fewer than six segments and no star at the end: matches nothing
	all      bool // a resource of *
	straight bool // the program has wildcards only in its last instruction

	prefix   string        // of a program: the fixed text it begins with
	whole    matcher       // a string's value without variables; a resource's sixth segment, if there is a head
	head     string        // of a resource: the first five segments with their colons, if they hold no wildcard
	segments []matcher     // an ARN's; of a resource with variables the first five
	program  []instruction // with variables: what to expand, of a resource the sixth segment

	text  string
	parts []Part
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
	last       matcher // of the last instruction of a straight program: text, classified
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

// value is what stands for a variable, false if it has no single value and no default.
func (in *instruction) value(q *Question) (string, bool) {
	a := q.lookup(&in.key)
	if len(a.values) != 1 && in.hasDefault {
		return in.fallback, true
	}
	return a.literal()
}

// expand writes the pattern with its variables filled in, false if one has no value.
func expand(dst []byte, program []instruction, q *Question) ([]byte, bool) {
	for i := range program {
		in := &program[i]
		if !in.isKey {
			dst = append(dst, in.text...)
			continue
		}
		v, ok := in.value(q)
		if !ok {
			return dst, false
		}
		dst = append(dst, v...)
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
		if !isKeyName(name) {
			return p, 0
		}
		return Part{Kind: Variable, Text: name}, end + 1
	}
	rest := strings.TrimLeft(s[end+1:], " ")
	if !strings.HasPrefix(rest, "'") {
		return p, 0
	}
	value, after, ok := strings.Cut(rest[1:], "'")
	after = strings.TrimLeft(after, " ")
	if !ok || !strings.HasPrefix(after, "}") || !isKeyName(name) {
		return p, 0
	}
	return Part{Kind: Variable, Text: name, Default: value, HasDefault: true}, len(s) - len(after) + 1
}

// isKeyName says whether s can name a condition key: vendor:name.
func isKeyName(s string) bool {
	vendor, name, ok := strings.Cut(s, ":")
	return ok && vendor != "" && name != "" && !strings.ContainsAny(s, "${}*?'\"")
}

// newStringPattern compiles a value of a String operator; wilds says that the
// operator is a Like.
func newStringPattern(s string, vars, wilds bool) (p Pattern, ok bool) {
	parts, bad := scan(s, vars, wilds)
	if bad >= 0 {
		return p, false
	}
	p = Pattern{text: s, parts: parts, variable: hasVariable(parts)}
	compiled, program := compile(parts)
	if p.variable {
		p.setProgram(program)
	} else {
		p.whole = newMatcher(compiled)
	}
	return p, true
}

// newARNPattern compiles a value of an Arn operator. Variables may stand anywhere, so
// a pattern that has some is split only when they are filled in.
func newARNPattern(s string, vars bool) (p Pattern, ok bool) {
	parts, bad := scan(s, vars, true)
	if bad >= 0 {
		return p, false
	}
	p = Pattern{text: s, parts: parts, variable: hasVariable(parts)}
	compiled, program := compile(parts)
	if p.variable {
		p.setProgram(program)
	} else {
		p.setSegments(compiled)
	}
	return p, true
}

// newResourcePattern compiles a string of Resource or NotResource; message is
// AWS's sentence if it is none.
func newResourcePattern(s string, vars bool) (p Pattern, message string) {
	if s == "*" {
		return Pattern{text: s, parts: []Part{{Kind: AnyRun}}, all: true}, ""
	}
	var raw [6]string
	n := split(s, &raw)
	if raw[0] != "arn" || n < 2 {
		return p, "Resource " + clip(s) + ` must be in ARN format or "*".`
	}
	if n < 6 && vars && strings.Contains(s, "${") || n == 6 && vars && strings.Contains(s[:len(s)-len(raw[5])], "${") {
		return p, msgLegacy // variables only after the fifth colon
	}
	if raw[1] == "" || strings.ContainsFunc(raw[1], func(c rune) bool { return !isAlnum(c) && c != '-' && c != '*' && c != '?' }) {
		return p, `Partition "` + clip(raw[1]) + `" is not valid for resource "` + clip(s) + `".`
	}
	if n > 2 && raw[2] == "" {
		return p, "Resource vendor must be fully qualified and cannot contain regexes."
	}
	parts, bad := scan(s, vars, true)
	if bad >= 0 {
		return p, msgLegacy
	}
	p = Pattern{text: s, parts: parts, variable: hasVariable(parts)}
	if !p.variable {
		compiled, _ := compile(parts)
		p.setSegments(compiled)
		if len(p.segments) == 6 {
			p.whole = p.segments[5]
			p.setHead()
		}
		return p, ""
	}
	head, _ := scan(s[:len(s)-len(raw[5])-1], false, true)
	compiled, _ := compile(head)
	p.setSegments(compiled)
	p.never = false // the sixth segment follows
	tail, _ := scan(raw[5], vars, true)
	_, program := compile(tail)
	p.setProgram(program)
	p.setHead()
	return p, ""
}

func hasVariable(parts []Part) bool {
	for _, p := range parts {
		if p.Kind == Variable {
			return true
		}
	}
	return false
}

func (p *Pattern) setSegments(compiled string) {
	var raw [6]string
	n := split(compiled, &raw)
	for _, s := range raw[:n] {
		p.segments = append(p.segments, newMatcher(s))
	}
	p.never = n < 6 && (compiled == "" || compiled[len(compiled)-1] != anyRun)
}

func (p *Pattern) setHead() {
	var head strings.Builder
	for i := range 5 {
		if p.segments[i].shape != shapeExact {
			return
		}
		head.WriteString(p.segments[i].text)
		head.WriteByte(':')
	}
	p.head = head.String()
}

func (p *Pattern) setProgram(program []instruction) {
	p.program, p.straight = program, true
	for i := range program {
		in := &program[i]
		in.last = newMatcher(in.text)
		if i < len(program)-1 && in.last.shape != shapeExact {
			p.straight = false
		}
	}
	if first := &program[0].last; first.shape == shapeExact || first.shape == shapePrefix {
		p.prefix = first.text
	}
}

// A verdict is what matching a pattern with variables comes to.
type verdict uint8

const (
	differs verdict = iota
	matches
	unresolved // a variable has no single value and no default
)

// scratch is the room for one expanded pattern on the stack; longer ones go to the heap.
const scratch = 512

// mayMatch is a look at the end of the resource, where patterns differ most. It looks up no
// keys, so it must not stand in for matchResource where an unresolvable variable makes a
// difference.
func (p *Pattern) mayMatch(q *Question) bool {
	return !p.variable || q.count == 6 && strings.HasPrefix(q.segments[5], p.prefix)
}

// matchResource matches segment by segment (§3).
func (p *Pattern) matchResource(q *Question) verdict {
	switch {
	case p.all:
		return matches
	case p.variable:
		// Filled in before the rest is compared: NotResource must know of an
		// unresolvable variable whether or not the rest matches.
		v := p.matchProgram(q.segments[5], q)
		if v == matches && !p.matchHead(q) {
			return differs
		}
		return v
	case p.head != "":
		if q.count == 6 && p.whole.match(q.segments[5]) && p.matchHead(q) {
			return matches
		}
	case p.matchSegments(&q.segments, q.count):
		return matches
	}
	return differs
}

// matchHead compares the first five segments. The colons of a head can only be those of
// the resource, so that one comparison does for five.
func (p *Pattern) matchHead(q *Question) bool {
	if p.head != "" {
		return strings.HasPrefix(q.resource, p.head)
	}
	return q.count == 6 && matchAll(p.segments[:5], &q.segments)
}

// matchProgram matches s against the pattern with its variables filled in.
func (p *Pattern) matchProgram(s string, q *Question) verdict {
	if !p.straight {
		return p.matchExpanded(s, q)
	}
	// Without a star before it, every piece has its one place, and nothing needs to be written down.
	ok := true
	for i := range p.program {
		in := &p.program[i]
		piece := in.text
		if in.isKey {
			var resolved bool
			if piece, resolved = in.value(q); !resolved {
				return unresolved // even if s differs already
			}
		} else if i == len(p.program)-1 {
			ok, s = ok && in.last.match(s), ""
			break
		}
		if ok {
			s, ok = strings.CutPrefix(s, piece)
		}
	}
	if ok && s == "" {
		return matches
	}
	return differs
}

func (p *Pattern) matchExpanded(s string, q *Question) verdict {
	var room [scratch]byte
	text, ok := expand(room[:0], p.program, q)
	switch {
	case !ok:
		return unresolved
	case glob(text, s):
		return matches
	}
	return differs
}

// matchSegments: six segments match six. Fewer match only with a star at the end,
// which covers the rest; a wildcard before it stays inside its segment.
func (p *Pattern) matchSegments(segments *[6]string, count int) bool {
	return !p.never && count >= len(p.segments) && matchAll(p.segments, segments)
}

// matchAll begins at the end, where patterns differ most.
func matchAll(patterns []matcher, segments *[6]string) bool {
	for i := len(patterns) - 1; i >= 0; i-- {
		if !patterns[i].match(segments[i]) {
			return false
		}
	}
	return true
}

// matchARN matches the value of a condition key that holds six segments.
func (p *Pattern) matchARN(segments *[6]string, q *Question) bool {
	if !p.variable {
		return p.matchSegments(segments, 6)
	}
	var room [scratch]byte
	rest, ok := expand(room[:0], p.program, q)
	if !ok {
		return false
	}
	for i := range 6 {
		n := bytes.IndexByte(rest, ':')
		if i == 5 || n < 0 {
			// The last segment of the pattern; before the sixth it needs its star.
			return glob(rest, segments[i]) && (i == 5 || len(rest) > 0 && rest[len(rest)-1] == anyRun)
		}
		if !glob(rest[:n], segments[i]) {
			return false
		}
		rest = rest[n+1:]
	}
	return false
}

// matchString matches a whole string.
func (p *Pattern) matchString(v string, ignoreCase bool, q *Question) bool {
	if !p.variable {
		if ignoreCase {
			return strings.EqualFold(p.whole.text, v)
		}
		return p.whole.match(v)
	}
	if !ignoreCase {
		return p.matchProgram(v, q) == matches
	}
	var room [scratch]byte
	text, ok := expand(room[:0], p.program, q)
	return ok && strings.EqualFold(string(text), v)
}
