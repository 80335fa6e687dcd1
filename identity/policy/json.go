package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Sentences of AWS's services for documents they refuse; tools match on them (§1).
const (
	msgSyntax    = "Syntax errors in policy."
	msgLegacy    = "The policy failed legacy parsing"
	msgVersion   = "Policy document must be version 2012-10-17 or greater."
	msgNoPerson  = "Policy document should not specify a principal."
	msgVendor    = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	msgOneColon  = "Actions/Condition can contain only one colon."
	msgSidUnique = "Statement IDs (SID) in a single policy must be unique."
	msgActions   = "Policy statement must contain actions."
	msgResources = "Policy statement must contain resources."
)

// An Error is why a document is refused. Message is the sentence that AWS's tools
// know, Detail says in our words what is wrong at the Position.
type Error struct {
	Message string
	Detail  string
	Position
}

func (e *Error) Error() string {
	return fmt.Sprintf("policy: line %d, column %d: %s", e.Line, e.Column, e.Detail)
}

// A reader reads JSON by tokens. The standard decoder will not do: it merges
// duplicate keys silently and matches names without regard to case, and both
// have turned a Deny into an Allow elsewhere.
type reader struct {
	text []byte
	pos  int
	seen Position // a place already counted, so that positions in order cost one pass
}

// text is a decoded string and where it stands.
type text struct {
	s  string
	at int
}

func (r *reader) position(at int) Position {
	p := r.seen
	if at < p.Offset || p.Line == 0 {
		p = Position{0, 1, 1}
	}
	for ; p.Offset < at && p.Offset < len(r.text); p.Offset++ {
		switch c := r.text[p.Offset]; {
		case c == '\n':
			p.Line, p.Column = p.Line+1, 1
		case utf8.RuneStart(c):
			p.Column++
		}
	}
	r.seen = p
	return p
}

func (r *reader) fail(at int, message, format string, args ...any) error {
	return &Error{Message: message, Detail: fmt.Sprintf(format, args...), Position: r.position(at)}
}

func (r *reader) syntax(at int, format string, args ...any) error {
	return r.fail(at, msgSyntax, format, args...)
}

// characters checks the set of §1: tab, line feed, carriage return, U+0020 to U+00FF.
func (r *reader) characters() error {
	for i := 0; i < len(r.text); {
		c, n := utf8.DecodeRune(r.text[i:])
		if c == utf8.RuneError && n < 2 {
			return r.syntax(i, "not UTF-8")
		}
		if !allowed(c) {
			return r.syntax(i, "the character U+%04X is not allowed", c)
		}
		i += n
	}
	return nil
}

func allowed(c rune) bool {
	return c == '\t' || c == '\n' || c == '\r' || 0x20 <= c && c <= 0xFF
}

// peek gives the next byte that is no white space, 0 at the end.
func (r *reader) peek() byte {
	for r.pos < len(r.text) {
		switch c := r.text[r.pos]; c {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return c
		}
	}
	return 0
}

func (r *reader) expect(c byte) error {
	if r.peek() != c {
		return r.unexpected(fmt.Sprintf("%q", c))
	}
	r.pos++
	return nil
}

func (r *reader) unexpected(want string) error {
	if r.pos >= len(r.text) {
		return r.syntax(r.pos, "the document ends where %s is expected", want)
	}
	return r.syntax(r.pos, "expected %s", want)
}

// object reads { "name": value, ... } and calls member with the reader before each value.
func (r *reader) object(member func(name text) error) error {
	if err := r.expect('{'); err != nil {
		return err
	}
	names := make(map[string]bool)
	for first := true; ; first = false {
		if r.peek() == '}' && first {
			break
		}
		name, err := r.string()
		if err != nil {
			return err
		}
		if names[name.s] {
			return r.syntax(name.at, "%q is written twice", clip(name.s))
		}
		names[name.s] = true
		if err := r.expect(':'); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
		if r.peek() != ',' {
			break
		}
		r.pos++
	}
	return r.expect('}')
}

// list reads [ value, ... ], or a single value in place of a list of one.
func (r *reader) list(value func() error) error {
	if r.peek() != '[' {
		return value()
	}
	at := r.pos
	r.pos++
	if r.peek() == ']' {
		return r.syntax(at, "an empty list")
	}
	for {
		if r.peek() == '[' {
			return r.syntax(r.pos, "a list inside a list")
		}
		if err := value(); err != nil {
			return err
		}
		if r.peek() != ',' {
			break
		}
		r.pos++
	}
	return r.expect(']')
}

func (r *reader) strings() (all []text, err error) {
	err = r.list(func() error {
		s, err := r.string()
		all = append(all, s)
		return err
	})
	return all, err
}

// string reads a string. Escapes may spell only characters that the document could
// hold itself.
func (r *reader) string() (text, error) {
	if r.peek() != '"' {
		return text{}, r.unexpected("a string")
	}
	start := r.pos
	r.pos++
	for i := r.pos; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			s := string(r.text[r.pos:i])
			r.pos = i + 1
			return text{s, start}, nil
		case c < 0x20:
			return text{}, r.syntax(i, "a control character inside a string")
		case c == '\\':
			return r.escaped(start, i)
		}
	}
	r.pos = len(r.text)
	return text{}, r.unexpected(`"`)
}

// escaped reads on from the first backslash of a string.
func (r *reader) escaped(start, i int) (text, error) {
	var b strings.Builder
	b.Write(r.text[r.pos:i])
	for i < len(r.text) {
		c := r.text[i]
		switch {
		case c == '"':
			r.pos = i + 1
			return text{b.String(), start}, nil
		case c < 0x20:
			return text{}, r.syntax(i, "a control character inside a string")
		case c != '\\':
			b.WriteByte(c)
			i++
			continue
		}
		if i+1 >= len(r.text) {
			break
		}
		at := i
		e := r.text[i+1]
		i += 2
		switch e {
		case '"', '\\', '/':
			b.WriteByte(e)
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			var c rune
			for n := range 4 {
				if i+n >= len(r.text) || !isHex(r.text[i+n]) {
					return text{}, r.syntax(at, "a broken \\u escape")
				}
				c = c<<4 | unhex(r.text[i+n])
			}
			i += 4
			if !allowed(c) {
				return text{}, r.syntax(at, "the character U+%04X is not allowed", c)
			}
			b.WriteRune(c)
		default:
			// \b and \f are JSON, but spell characters outside of the allowed set.
			return text{}, r.syntax(at, "an unknown or forbidden escape")
		}
	}
	r.pos = len(r.text)
	return text{}, r.unexpected(`"`)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) rune {
	switch {
	case c <= '9':
		return rune(c - '0')
	case c <= 'F':
		return rune(c-'A') + 10
	}
	return rune(c-'a') + 10
}

// scalar reads a string, a number or a boolean; the latter two by their JSON text.
func (r *reader) scalar() (text, error) {
	if r.peek() == '"' {
		return r.string()
	}
	start := r.pos
	for r.pos < len(r.text) && strings.IndexByte(" \t\r\n,]}:[{\"", r.text[r.pos]) < 0 {
		r.pos++
	}
	word := string(r.text[start:r.pos])
	if word == "true" || word == "false" || isJSONNumber(word) {
		return text{word, start}, nil
	}
	r.pos = start
	return text{}, r.unexpected("a string, a number or a boolean")
}

// isJSONNumber follows RFC 8259 section 6.
func isJSONNumber(s string) bool {
	digits := func() bool {
		n := 0
		for n < len(s) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	s = strings.TrimPrefix(s, "-")
	if zero, ok := strings.CutPrefix(s, "0"); ok {
		s = zero
	} else if !digits() {
		return false
	}
	if frac, ok := strings.CutPrefix(s, "."); ok {
		if s = frac; !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}

// clip shortens text for a message.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	for i := most; ; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i] + "..."
		}
	}
}
