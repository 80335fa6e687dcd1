package core

import (
	"bytes"
	"unicode/utf8"
)

// A small reader of JSON (RFC 8259) for the body of a request that its caller
// signed. It is strict where readers differ: a member twice, a lone surrogate,
// bytes that are not UTF-8, and anything behind the value are refused, so that
// this reader and the front's cannot see two requests in one body. Reflection
// has no place here (encoding/json), and texts without escapes are not copied:
// they may be plaintext, and lie in the frame, which is wiped.

const (
	jsonDepth   = 8
	jsonMembers = 256 // of one object or array
)

type jsonKind byte

const (
	jsonOther jsonKind = iota // null, or nothing
	jsonString
	jsonNumber
	jsonTrue
	jsonFalse
	jsonArray
	jsonObject
)

// jsonValue is a value; the names of an object's members are in names, in the
// order of items.
type jsonValue struct {
	kind  jsonKind
	text  []byte // of a string, decoded; of a number, as it stands
	names [][]byte
	items []jsonValue
}

// member finds a member of an object; the zero value stands for none.
func (v *jsonValue) member(name string) *jsonValue {
	for i, n := range v.names {
		if string(n) == name {
			return &v.items[i]
		}
	}
	return &jsonValue{}
}

// parseJSON reads one value that is all of b.
func parseJSON(b []byte) (v jsonValue, ok bool) {
	r := jsonReader{b: b}
	r.value(&v, jsonDepth)
	r.space()
	return v, !r.bad && len(r.b) == 0
}

type jsonReader struct {
	b   []byte
	bad bool
}

func (r *jsonReader) fail() { r.bad, r.b = true, nil }

func (r *jsonReader) space() { r.b = bytes.TrimLeft(r.b, " \t\r\n") }

// eat takes one byte if it is the next.
func (r *jsonReader) eat(c byte) bool {
	if len(r.b) == 0 || r.b[0] != c {
		return false
	}
	r.b = r.b[1:]
	return true
}

func (r *jsonReader) value(v *jsonValue, depth int) {
	r.space()
	switch {
	case r.bad || depth == 0 || len(r.b) == 0:
		r.fail()
	case r.b[0] == '"':
		v.kind, v.text = jsonString, r.string()
	case r.b[0] == '{':
		r.object(v, depth)
	case r.b[0] == '[':
		r.array(v, depth)
	case r.b[0] == '-' || r.b[0] >= '0' && r.b[0] <= '9':
		v.kind, v.text = jsonNumber, r.number()
	default:
		for _, w := range [...]struct {
			word string
			kind jsonKind
		}{{"true", jsonTrue}, {"false", jsonFalse}, {"null", jsonOther}} {
			if rest, found := bytes.CutPrefix(r.b, []byte(w.word)); found {
				v.kind, r.b = w.kind, rest
				return
			}
		}
		r.fail()
	}
}

func (r *jsonReader) object(v *jsonValue, depth int) {
	v.kind = jsonObject
	r.eat('{')
	if r.space(); r.eat('}') {
		return
	}
	for !r.bad {
		r.space()
		name := r.string()
		if r.space(); !r.eat(':') || len(v.names) == jsonMembers {
			r.fail()
			return
		}
		for _, other := range v.names {
			if bytes.Equal(other, name) {
				r.fail()
				return
			}
		}
		v.names, v.items = append(v.names, name), append(v.items, jsonValue{})
		r.value(&v.items[len(v.items)-1], depth-1)
		r.space()
		if r.eat('}') {
			return
		}
		if !r.eat(',') {
			r.fail()
		}
	}
}

func (r *jsonReader) array(v *jsonValue, depth int) {
	v.kind = jsonArray
	r.eat('[')
	if r.space(); r.eat(']') {
		return
	}
	for !r.bad {
		if len(v.items) == jsonMembers {
			r.fail()
			return
		}
		v.items = append(v.items, jsonValue{})
		r.value(&v.items[len(v.items)-1], depth-1)
		r.space()
		if r.eat(']') {
			return
		}
		if !r.eat(',') {
			r.fail()
		}
	}
}

// number takes the characters of a number; what it is worth is for whoever
// needs it to say.
func (r *jsonReader) number() []byte {
	n := 0
	for n < len(r.b) && bytes.IndexByte([]byte("+-.0123456789eE"), r.b[n]) >= 0 {
		n++
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// uint is a number that is a plain integer.
func (v *jsonValue) uint() (n uint64, ok bool) {
	if v.kind != jsonNumber || len(v.text) > 18 || len(v.text) > 1 && v.text[0] == '0' {
		return 0, false
	}
	for _, c := range v.text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

func (r *jsonReader) string() []byte {
	if !r.eat('"') {
		r.fail()
		return nil
	}
	for i, c := range r.b {
		switch {
		case c == '"':
			out := r.b[:i:i]
			r.b = r.b[i+1:]
			if !utf8.Valid(out) {
				r.fail()
				return nil
			}
			return out
		case c == '\\':
			return r.escaped(i)
		case c < ' ':
			r.fail()
			return nil
		}
	}
	r.fail()
	return nil
}

// escaped reads the rest of a string whose first n bytes have no escape.
func (r *jsonReader) escaped(n int) []byte {
	out := append([]byte(nil), r.b[:n]...)
	r.b = r.b[n:]
	for len(r.b) > 0 {
		c := r.b[0]
		r.b = r.b[1:]
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				r.fail()
			}
			return out
		case c < ' ':
			r.fail()
		case c != '\\':
			out = append(out, c)
		case len(r.b) == 0:
			r.fail()
		default:
			out = r.escape(out)
		}
	}
	r.fail()
	return nil
}

// escape reads what follows a backslash.
func (r *jsonReader) escape(out []byte) []byte {
	c := r.b[0]
	r.b = r.b[1:]
	if i := bytes.IndexByte([]byte(`"\/bfnrt`), c); i >= 0 {
		return append(out, "\"\\/\b\f\n\r\t"[i])
	}
	if c != 'u' {
		r.fail()
		return nil
	}
	first := r.hex4()
	switch {
	case first >= 0xd800 && first < 0xdc00:
		if !r.eat('\\') || !r.eat('u') {
			r.fail()
			return nil
		}
		second := r.hex4()
		if second < 0xdc00 || second > 0xdfff {
			r.fail()
			return nil
		}
		return utf8.AppendRune(out, 0x10000+(first-0xd800)<<10+(second-0xdc00))
	case first >= 0xdc00 && first < 0xe000:
		r.fail()
		return nil
	}
	return utf8.AppendRune(out, first)
}

func (r *jsonReader) hex4() (n rune) {
	if len(r.b) < 4 {
		r.fail()
		return 0
	}
	for _, c := range r.b[:4] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 + rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 + rune(c|0x20-'a'+10)
		default:
			r.fail()
			return 0
		}
	}
	r.b = r.b[4:]
	return n
}
