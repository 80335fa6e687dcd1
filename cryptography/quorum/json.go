package quorum

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// clientData is what we need of a browser's clientDataJSON.
type clientData struct{ kind, challenge string }

// readClientData reads JSON (RFC 8259) strictly, without encoding/json, which
// the HSM must not link (I-11): one object, no name twice, nothing after it.
func readClientData(b []byte) (clientData, error) {
	var c clientData
	r := jsonReader{b: b}
	fields, ok := r.object(1)
	r.space()
	if !ok || len(r.b) != 0 || !utf8.Valid(b) {
		return c, fmt.Errorf("%w: client data", ErrMalformed)
	}
	c.kind, c.challenge = fields["type"], fields["challenge"]
	return c, nil
}

// jsonReader consumes b from the front.
type jsonReader struct{ b []byte }

const maxDepth = 8

func (r *jsonReader) space() {
	for len(r.b) > 0 && (r.b[0] == ' ' || r.b[0] == '\t' || r.b[0] == '\n' || r.b[0] == '\r') {
		r.b = r.b[1:]
	}
}

// eat consumes one byte that must be c, after white space.
func (r *jsonReader) eat(c byte) bool {
	r.space()
	if len(r.b) == 0 || r.b[0] != c {
		return false
	}
	r.b = r.b[1:]
	return true
}

// object reads an object and returns its members whose values are strings.
func (r *jsonReader) object(depth int) (map[string]string, bool) {
	texts, names := make(map[string]string), make(map[string]bool)
	if depth > maxDepth || !r.eat('{') {
		return nil, false
	}
	if r.eat('}') {
		return texts, true
	}
	for {
		name, ok := r.text()
		if !ok || names[name] || !r.eat(':') {
			return nil, false
		}
		names[name] = true
		r.space()
		if len(r.b) > 0 && r.b[0] == '"' {
			if texts[name], ok = r.text(); !ok {
				return nil, false
			}
		} else if !r.skip(depth + 1) {
			return nil, false
		}
		if r.eat('}') {
			return texts, true
		}
		if !r.eat(',') {
			return nil, false
		}
	}
}

// skip reads a value of any kind.
func (r *jsonReader) skip(depth int) bool {
	r.space()
	if len(r.b) == 0 || depth > maxDepth {
		return false
	}
	switch r.b[0] {
	case '{':
		_, ok := r.object(depth)
		return ok
	case '[':
		r.b = r.b[1:]
		if r.eat(']') {
			return true
		}
		for {
			if !r.skip(depth + 1) {
				return false
			}
			if r.eat(']') {
				return true
			}
			if !r.eat(',') {
				return false
			}
		}
	case '"':
		_, ok := r.text()
		return ok
	}
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(string(r.b[:min(len(r.b), 5)]), word) {
			r.b = r.b[len(word):]
			return true
		}
	}
	return r.number()
}

// number reads a number; its value is of no interest.
func (r *jsonReader) number() bool {
	digits := func() (n int) {
		for n < len(r.b) && r.b[n] >= '0' && r.b[n] <= '9' {
			n++
		}
		r.b = r.b[n:]
		return n
	}
	is := func(set string) bool {
		if len(r.b) > 0 && strings.IndexByte(set, r.b[0]) >= 0 {
			r.b = r.b[1:]
			return true
		}
		return false
	}
	is("-")
	zero := len(r.b) > 0 && r.b[0] == '0'
	if n := digits(); n == 0 || zero && n > 1 {
		return false
	}
	if is(".") && digits() == 0 {
		return false
	}
	if is("eE") {
		is("+-")
		return digits() > 0
	}
	return true
}

// text reads a string. Escapes of anything but ASCII characters are refused:
// what we compare has none, and names that differ in writing only cannot hide
// behind them.
func (r *jsonReader) text() (string, bool) {
	if !r.eat('"') {
		return "", false
	}
	var out []byte
	for len(r.b) > 0 {
		c := r.b[0]
		r.b = r.b[1:]
		switch {
		case c == '"':
			return string(out), true
		case c < 0x20:
			return "", false
		case c != '\\':
			out = append(out, c)
			continue
		}
		if len(r.b) == 0 {
			return "", false
		}
		c = r.b[0]
		r.b = r.b[1:]
		if c == 'u' {
			n, ok := r.hex4()
			if !ok || n >= utf8.RuneSelf {
				return "", false
			}
			out = append(out, byte(n))
			continue
		}
		at := strings.IndexByte(`"\/bfnrt`, c)
		if at < 0 {
			return "", false
		}
		out = append(out, "\"\\/\b\f\n\r\t"[at])
	}
	return "", false
}

func (r *jsonReader) hex4() (n int, ok bool) {
	if len(r.b) < 4 {
		return 0, false
	}
	for _, c := range r.b[:4] {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if d < 0 || c >= 'g' || c < '0' {
			return 0, false
		}
		n = n<<4 | d
	}
	r.b = r.b[4:]
	return n, true
}
