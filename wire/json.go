package wire

import (
	"errors"
	"math"
	"reflect"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

var (
	errJSON     = errors.New("the body is not valid JSON")
	errJSONType = errors.New("a member has the wrong JSON type")
	errStrict   = errors.New("a structure that restricts has a member that is not known here")
	errNullItem = errors.New("a list or map holds null")
)

// A jsonDecoder reads a body in one pass, without building a tree. The body
// is known to be UTF-8 (decodeJSON checks it once).
type jsonDecoder struct {
	buf []byte
	pos int
	t   *tracker
}

// decodeJSON reads the body members of a structure. An empty body is an
// object without members.
func decodeJSON(body []byte, st *structure, v reflect.Value, t *tracker) error {
	if !utf8.Valid(body) {
		return errUTF8
	}
	d := jsonDecoder{buf: body, t: t}
	d.space()
	if d.pos == len(body) {
		var got seen
		t.finish(st, &got, v)
		return nil
	}
	if d.buf[d.pos] != '{' {
		return errJSONType
	}
	if err := d.structure(st, v); err != nil {
		return err
	}
	return d.end()
}

// end makes sure that nothing follows.
func (d *jsonDecoder) end() error {
	if d.space(); d.pos != len(d.buf) {
		return errJSON
	}
	return nil
}

func (d *jsonDecoder) space() {
	for d.pos < len(d.buf) {
		switch d.buf[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

// next skips space and returns the next byte without taking it, 0 at the end.
func (d *jsonDecoder) next() byte {
	d.space()
	if d.pos < len(d.buf) {
		return d.buf[d.pos]
	}
	return 0
}

func (d *jsonDecoder) take(c byte) error {
	if d.next() != c {
		return errJSON
	}
	d.pos++
	return nil
}

// literal takes true, false or null.
func (d *jsonDecoder) literal(s string) error {
	if len(d.buf)-d.pos < len(s) || string(d.buf[d.pos:d.pos+len(s)]) != s {
		return errJSON
	}
	d.pos += len(s)
	return nil
}

// more is called after a value in an object or array: it takes the comma, or
// the closing bracket and returns false.
func (d *jsonDecoder) more(closing byte) (bool, error) {
	switch d.next() {
	case ',':
		d.pos++
		return true, nil
	case closing:
		d.pos++
		return false, nil
	}
	return false, errJSON
}

// text takes a string and returns its bytes: a part of the body when it has
// no escapes, else a copy.
func (d *jsonDecoder) text() ([]byte, error) {
	if d.next() != '"' {
		return nil, errJSONType
	}
	d.pos++
	start := d.pos
	for i := start; i < len(d.buf); i++ {
		switch c := d.buf[i]; {
		case c == '"':
			d.pos = i + 1
			return d.buf[start:i], nil
		case c == '\\':
			return d.escaped(start, i)
		case c < ' ':
			return nil, errJSON
		}
	}
	return nil, errJSON
}

func (d *jsonDecoder) escaped(start, i int) ([]byte, error) {
	s := append(make([]byte, 0, i-start+32), d.buf[start:i]...)
	for i < len(d.buf) {
		c := d.buf[i]
		i++
		switch {
		case c == '"':
			d.pos = i
			return s, nil
		case c < ' ':
			return nil, errJSON
		case c != '\\':
			s = append(s, c)
			continue
		}
		if i == len(d.buf) {
			return nil, errJSON
		}
		c = d.buf[i]
		i++
		switch c {
		case '"', '\\', '/':
			s = append(s, c)
		case 'b':
			s = append(s, '\b')
		case 'f':
			s = append(s, '\f')
		case 'n':
			s = append(s, '\n')
		case 'r':
			s = append(s, '\r')
		case 't':
			s = append(s, '\t')
		case 'u':
			r, ok := d.hex4(i)
			if !ok {
				return nil, errJSON
			}
			i += 4
			if utf16.IsSurrogate(r) {
				// Halves must combine: a lone one has no UTF-8 form.
				var low rune
				if i+6 <= len(d.buf) && d.buf[i] == '\\' && d.buf[i+1] == 'u' {
					low, _ = d.hex4(i + 2)
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return nil, errUTF8
				}
				i += 6
			}
			s = utf8.AppendRune(s, r)
		default:
			return nil, errJSON
		}
	}
	return nil, errJSON
}

func (d *jsonDecoder) hex4(i int) (rune, bool) {
	if i+4 > len(d.buf) {
		return 0, false
	}
	var r rune
	for _, c := range d.buf[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number takes a number and returns its text, a part of the body.
func (d *jsonDecoder) number() ([]byte, error) {
	start, i := d.pos, d.pos
	digits := func() bool {
		first := i
		for i < len(d.buf) && d.buf[i] >= '0' && d.buf[i] <= '9' {
			i++
		}
		return i > first
	}
	if i < len(d.buf) && d.buf[i] == '-' {
		i++
	}
	lead := i
	if !digits() || d.buf[lead] == '0' && i > lead+1 {
		return nil, errJSON
	}
	if i < len(d.buf) && d.buf[i] == '.' {
		if i++; !digits() {
			return nil, errJSON
		}
	}
	if i < len(d.buf) && d.buf[i]|0x20 == 'e' {
		i++
		if i < len(d.buf) && (d.buf[i] == '+' || d.buf[i] == '-') {
			i++
		}
		if !digits() {
			return nil, errJSON
		}
	}
	d.pos = i
	return d.buf[start:i], nil
}

// structure takes an object.
func (d *jsonDecoder) structure(st *structure, v reflect.Value) error {
	if err := d.t.enter(); err != nil {
		return err
	}
	var got seen
	if d.next() != '{' {
		return errJSONType
	}
	d.pos++
	if d.next() == '}' {
		d.pos++
	} else {
		guess := 0 // SDKs write members in an order; so does our plan
		for more := true; more; {
			name, err := d.text()
			if err != nil {
				return errJSON
			}
			if err := d.take(':'); err != nil {
				return err
			}
			var f *field
			if guess < len(st.fields) && string(name) == st.fields[guess].name && st.fields[guess].in == inBody {
				f = &st.fields[guess]
			} else {
				f = st.byName[string(name)]
			}
			switch {
			case f == nil && st.strict:
				err = errStrict
			case f == nil:
				err = d.skip()
			case d.next() == 'n':
				// null is absence, also of what an earlier duplicate set.
				if err = d.literal("null"); err == nil {
					v.Field(f.index).SetZero()
					got.drop(f.bit)
				}
			default:
				guess = f.bit + 1
				got.add(f.bit)
				err = d.member(f, v.Field(f.index))
			}
			if err != nil {
				return unreadable(f, err)
			}
			if more, err = d.more('}'); err != nil {
				return err
			}
		}
	}
	d.t.finish(st, &got, v)
	d.t.leave()
	return nil
}

func (d *jsonDecoder) member(f *field, v reflect.Value) error {
	nested := f.kind >= kindList
	if nested {
		d.t.push(f)
	}
	if f.ptr {
		p := reflect.New(f.typ)
		v.Set(p)
		v = p.Elem()
	}
	err := d.value(&f.value, v)
	if nested {
		d.t.pop()
	}
	return err
}

// value takes a value that is not null.
func (d *jsonDecoder) value(p *value, v reflect.Value) error {
	switch p.kind {
	case kindString:
		s, err := d.text()
		if err != nil {
			return err
		}
		v.SetString(string(s))
		return nil
	case kindBlob:
		s, err := d.text()
		if err != nil {
			return err
		}
		b, err := decodeBase64(s)
		if err != nil {
			return err
		}
		v.SetBytes(b)
		return nil
	case kindBool:
		switch d.next() {
		case 't':
			v.SetBool(true)
			return d.literal("true")
		case 'f':
			v.SetBool(false)
			return d.literal("false")
		}
		return errJSONType
	case kindInt:
		s, err := d.scalar(false)
		if err != nil {
			return err
		}
		n, err := parseInt(s, p.typ.Bits())
		if err != nil {
			return err
		}
		v.SetInt(n)
		return nil
	case kindFloat:
		quoted := d.next() == '"'
		s, err := d.scalar(true)
		if err != nil {
			return err
		}
		f, err := parseFloat(s, p.typ.Bits())
		// Only the three names may come as strings.
		if err != nil || quoted != (math.IsNaN(f) || math.IsInf(f, 0)) {
			return errNumber
		}
		v.SetFloat(f)
		return nil
	case kindTime:
		s, err := d.scalar(true)
		if err != nil {
			return err
		}
		t, err := parseTime(s)
		if err != nil {
			return err
		}
		*v.Addr().Interface().(*time.Time) = t
		return nil
	case kindStruct:
		return d.structure(p.st, v)
	case kindList:
		return d.list(p, v)
	case kindMap:
		return d.mapping(p, v)
	}
	return errJSONType
}

// scalar takes a number, or where it may be one a string.
func (d *jsonDecoder) scalar(text bool) (string, error) {
	c := d.next()
	var s []byte
	var err error
	switch {
	case c == '-' || c >= '0' && c <= '9':
		s, err = d.number()
	case c == '"' && text:
		s, err = d.text()
	default:
		return "", errJSONType
	}
	return string(s), err
}

func (d *jsonDecoder) list(p *value, v reflect.Value) error {
	if d.next() != '[' {
		return errJSONType
	}
	d.pos++
	if err := d.t.enter(); err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(p.typ, 0, 0))
	if d.next() == ']' {
		d.pos++
		d.t.leave()
		return nil
	}
	for i, more := 0, true; more; i++ {
		if d.next() == 'n' {
			return errNullItem
		}
		if err := d.t.another(); err != nil {
			return err
		}
		if i == v.Cap() {
			v.Grow(max(4, i))
		}
		v.SetLen(i + 1)
		d.t.entry(i + 1)
		if err := d.value(p.elem, v.Index(i)); err != nil {
			return err
		}
		var err error
		if more, err = d.more(']'); err != nil {
			return err
		}
	}
	d.t.leave()
	return nil
}

// within says whether part is the bytes of buf at i, and not a copy.
func within(buf []byte, i int, part []byte) bool {
	return len(part) > 0 && i >= 0 && &buf[i] == &part[0]
}

func (d *jsonDecoder) mapping(p *value, v reflect.Value) error {
	if d.next() != '{' {
		return errJSONType
	}
	d.pos++
	if err := d.t.enter(); err != nil {
		return err
	}
	// The commonest map by far (tags, encryption contexts) needs no boxes.
	plain, _ := v.Addr().Interface().(*map[string]string)
	if plain != nil {
		*plain = map[string]string{}
	} else {
		v.Set(reflect.MakeMap(p.typ))
	}
	if d.next() == '}' {
		d.pos++
		d.t.leave()
		return nil
	}
	for more := true; more; {
		if err := d.t.another(); err != nil {
			return err
		}
		key, err := d.text()
		if err != nil {
			return errJSON
		}
		start := d.pos - 1 - len(key) // where the key lies, if it has no escapes
		if err := d.take(':'); err != nil {
			return err
		}
		switch {
		case d.next() == 'n':
			return errNullItem
		case plain != nil:
			s, err := d.text()
			if err != nil {
				return err
			}
			if within(d.buf, start, key) && within(d.buf, d.pos-1-len(s), s) {
				// One copy for both.
				both := string(d.buf[start : d.pos-1])
				(*plain)[both[:len(key)]] = both[len(both)-len(s):]
			} else {
				(*plain)[string(key)] = string(s)
			}
		default:
			name := string(key)
			e := reflect.New(p.elem.typ).Elem()
			if err := d.value(p.elem, e); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(name).Convert(p.typ.Key()), e)
		}
		if more, err = d.more('}'); err != nil {
			return err
		}
	}
	d.t.leave()
	return nil
}

// skip takes any value. What is unknown must still be JSON.
func (d *jsonDecoder) skip() error {
	switch c := d.next(); {
	case c == '"':
		_, err := d.text()
		return err
	case c == 't':
		return d.literal("true")
	case c == 'f':
		return d.literal("false")
	case c == 'n':
		return d.literal("null")
	case c == '{' || c == '[':
		if err := d.t.enter(); err != nil {
			return err
		}
		d.pos++
		closing := c + 2 // in ASCII both pairs lie two apart
		if d.next() == closing {
			d.pos++
			d.t.leave()
			return nil
		}
		for more := true; more; {
			if c == '{' {
				if _, err := d.text(); err != nil {
					return errJSON
				}
				if err := d.take(':'); err != nil {
					return err
				}
			}
			err := d.skip()
			if err == nil {
				more, err = d.more(closing)
			}
			if err != nil {
				return err
			}
		}
		d.t.leave()
		return nil
	case c == '-' || c >= '0' && c <= '9':
		_, err := d.number()
		return err
	}
	return errJSON
}
