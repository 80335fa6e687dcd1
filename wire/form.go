package wire

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	errForm     = errors.New("the form is not correctly percent-encoded")
	errFormKeys = errors.New("the form has more than " + strconv.Itoa(MaxFormKeys) + " keys")
)

// A pair is one key of a form with its value.
type pair struct{ key, value string }

// parseForm reads a form or a query string, in which "+" is a space. The
// pairs keep their order.
func parseForm(s string) ([]pair, error) {
	if strings.Count(s, "&") >= MaxFormKeys {
		return nil, errFormKeys
	}
	var pairs []pair
	for part := range strings.SplitSeq(s, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		key, err := unescape(k, true)
		if err != nil {
			return nil, err
		}
		val, err := unescape(v, true)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{key, val})
	}
	return pairs, nil
}

// unescape decodes percent signs, strictly.
func unescape(s string, plus bool) (string, error) {
	clean := true
	for i := range len(s) {
		if s[i] == '%' || plus && s[i] == '+' {
			clean = false
			break
		}
	}
	if !clean {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case c == '+' && plus:
				b = append(b, ' ')
			case c == '%':
				if i+2 >= len(s) {
					return "", errForm
				}
				hi, ok1 := unhex(s[i+1])
				lo, ok2 := unhex(s[i+2])
				if !ok1 || !ok2 {
					return "", errForm
				}
				b = append(b, hi<<4|lo)
				i += 2
			default:
				b = append(b, c)
			}
		}
		s = string(b)
	}
	if !utf8.ValidString(s) {
		return "", errUTF8
	}
	return s, nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// compareKeys orders form keys so that all keys below one path lie together:
// the dot sorts before everything else.
func compareKeys(a, b pair) int {
	for i := range min(len(a.key), len(b.key)) {
		x, y := a.key[i], b.key[i]
		if x == y {
			continue
		}
		if x == '.' {
			return -1
		}
		if y == '.' {
			return 1
		}
		return int(x) - int(y)
	}
	return len(a.key) - len(b.key)
}

// A formDecoder reads the flattened members of awsQuery and ec2Query
// (sections 7 and 8).
type formDecoder struct {
	t   *tracker
	ec2 bool
}

// decodeForm reads an input out of a form's pairs, which it sorts.
func decodeForm(pairs []pair, ec2 bool, st *structure, v reflect.Value, t *tracker) error {
	// Stable, so that of equal keys the last one stays last.
	slices.SortStableFunc(pairs, compareKeys)
	d := formDecoder{t: t, ec2: ec2}
	return d.structure(st, v, pairs, 0)
}

// branch splits off the pairs whose next path element is that of the first
// pair. The keys of all pairs agree before at. When the element is the whole
// rest of the key, the pair is a leaf; leaves sort first, duplicates together.
func branch(pairs []pair, at int) (name string, leaf *pair, below, rest []pair) {
	name, _, _ = strings.Cut(pairs[0].key[at:], ".")
	end := at + len(name)
	n := 0
	for n < len(pairs) && len(pairs[n].key) >= end && pairs[n].key[at:end] == name &&
		(len(pairs[n].key) == end || pairs[n].key[end] == '.') {
		if len(pairs[n].key) == end {
			leaf = &pairs[n]
		}
		n++
	}
	first := 0
	for first < n && len(pairs[first].key) == end {
		first++
	}
	return name, leaf, pairs[first:n], pairs[n:]
}

func (d *formDecoder) structure(st *structure, v reflect.Value, pairs []pair, at int) error {
	if err := d.t.enter(); err != nil {
		return err
	}
	var got seen
	for len(pairs) > 0 {
		var name string
		var leaf *pair
		var below []pair
		name, leaf, below, pairs = branch(pairs, at)
		f := st.byQuery[name]
		if f == nil && st.strict && !(at == 0 && ofProtocol(name)) {
			return errStrict
		}
		if f == nil || f.in != inBody {
			continue
		}
		there, err := d.member(f, v.Field(f.index), leaf, below, at+len(name)+1)
		if err != nil {
			return unreadable(f, err)
		}
		if there {
			got.add(f.bit)
		}
	}
	d.t.finish(st, &got, v)
	d.t.leave()
	return nil
}

// ofProtocol says whether a name at the top of a form is not of the input: it says which operation is meant,
// or is part of a signature.
func ofProtocol(name string) bool {
	return name == "Action" || name == "Version" || strings.HasPrefix(name, "X-Amz-")
}

func (d *formDecoder) member(f *field, v reflect.Value, leaf *pair, below []pair, at int) (bool, error) {
	if f.kind < kindList && leaf == nil {
		return false, nil
	}
	if f.kind == kindStruct && len(below) == 0 {
		return false, nil
	}
	nested := f.kind >= kindList
	if nested {
		d.t.push(f)
		defer d.t.pop()
	}
	if f.ptr {
		p := reflect.New(f.typ)
		v.Set(p)
		v = p.Elem()
	}
	return true, d.value(&f.value, v, leaf, below, at)
}

// value reads a value whose keys continue at at.
func (d *formDecoder) value(p *value, v reflect.Value, leaf *pair, below []pair, at int) error {
	switch p.kind {
	case kindStruct:
		return d.structure(p.st, v, below, at)
	case kindList:
		return d.list(p, v, below, at)
	case kindMap:
		return d.mapping(p, v, below, at)
	}
	if leaf == nil {
		return errors.New("a list or map lacks an entry's value")
	}
	return setText(p, v, leaf.value)
}

// errNumbers refuses what a list or map cannot hold. Members that a structure
// does not know are ignored, as AWS does; an entry that is left out of a list
// of limits, such as session policies, would leave the limit out.
var errNumbers = errors.New("the entries of a list or map must be numbered from 1 without a gap")

// inner steps over the "member" or "entry" element of what is not flattened.
func (d *formDecoder) inner(element string, flat bool, below []pair, at int) ([]pair, int, error) {
	if flat || d.ec2 || len(below) == 0 {
		return below, at, nil
	}
	name, leaf, sub, rest := branch(below, at)
	if name != element || leaf != nil || len(rest) > 0 {
		return nil, at, errNumbers
	}
	return sub, at + len(element) + 1, nil
}

// numbered calls each with the entries 1, 2, … of which none may be missing.
func (d *formDecoder) numbered(below []pair, at int, each func(i int, leaf *pair, sub []pair, at int) error) error {
	type entry struct {
		leaf *pair
		sub  []pair
		at   int
	}
	entries := map[int]entry{}
	for len(below) > 0 {
		var name string
		var leaf *pair
		var sub []pair
		name, leaf, sub, below = branch(below, at)
		// 01 is not 1: one entry has one name.
		n, err := strconv.Atoi(name)
		if err != nil || strconv.Itoa(n) != name {
			return errNumbers
		}
		entries[n] = entry{leaf, sub, at + len(name) + 1}
	}
	for i := 1; i <= len(entries); i++ {
		e, ok := entries[i]
		if !ok {
			return errNumbers
		}
		if err := each(i, e.leaf, e.sub, e.at); err != nil {
			return err
		}
	}
	return nil
}

func (d *formDecoder) list(p *value, v reflect.Value, below []pair, at int) error {
	if err := d.t.enter(); err != nil {
		return err
	}
	// "Tags=" alone is a present, empty list.
	v.Set(reflect.MakeSlice(p.typ, 0, 0))
	below, at, err := d.inner(p.item, p.flat, below, at)
	if err != nil {
		return err
	}
	err = d.numbered(below, at, func(i int, leaf *pair, sub []pair, at int) error {
		if i > v.Cap() {
			v.Grow(max(4, i))
		}
		v.SetLen(i)
		d.t.entry(i)
		return d.value(p.elem, v.Index(i-1), leaf, sub, at)
	})
	d.t.leave()
	return err
}

func (d *formDecoder) mapping(p *value, v reflect.Value, below []pair, at int) error {
	if err := d.t.enter(); err != nil {
		return err
	}
	v.Set(reflect.MakeMap(p.typ))
	below, at, err := d.inner("entry", p.flat, below, at)
	if err != nil {
		return err
	}
	err = d.numbered(below, at, func(_ int, _ *pair, sub []pair, at int) error {
		var key *pair
		e := reflect.New(p.elem.typ).Elem()
		there := false
		for len(sub) > 0 {
			var name string
			var leaf *pair
			var in []pair
			name, leaf, in, sub = branch(sub, at)
			switch name {
			case p.key:
				key = leaf
			case p.val:
				there = true
				if err := d.value(p.elem, e, leaf, in, at+len(name)+1); err != nil {
					return err
				}
			}
		}
		if key == nil || !there {
			return errors.New("a map entry lacks its key or value")
		}
		v.SetMapIndex(reflect.ValueOf(key.value).Convert(p.typ.Key()), e)
		return nil
	})
	d.t.leave()
	return err
}

// setText sets a scalar from its text form in forms, XML, headers, labels and
// query strings.
func setText(p *value, v reflect.Value, s string) error {
	switch p.kind {
	case kindString:
		v.SetString(s)
	case kindBlob:
		b, err := decodeBase64([]byte(s))
		if err != nil {
			return err
		}
		v.SetBytes(b)
	case kindBool:
		b, err := parseBool(s)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case kindInt:
		n, err := parseInt(s, p.typ.Bits())
		if err != nil {
			return err
		}
		v.SetInt(n)
	case kindFloat:
		f, err := parseFloat(s, p.typ.Bits())
		if err != nil {
			return err
		}
		v.SetFloat(f)
	case kindTime:
		t, err := parseTime(s)
		if err != nil {
			return err
		}
		*v.Addr().Interface().(*time.Time) = t
	default:
		return errors.New("a member cannot be read from text")
	}
	return nil
}

// appendText is the reverse of setText. The time format is that of the place
// unless the model says otherwise.
func appendText(dst []byte, p *value, v reflect.Value, place timeFormat) []byte {
	switch p.kind {
	case kindString:
		return append(dst, v.String()...)
	case kindBlob:
		return base64Strict.AppendEncode(dst, v.Bytes())
	case kindBool:
		return strconv.AppendBool(dst, v.Bool())
	case kindInt:
		return strconv.AppendInt(dst, v.Int(), 10)
	case kindFloat:
		return appendFloat(dst, v.Float(), p.typ.Bits(), "")
	case kindTime:
		format := p.time
		if format == timeDefault {
			format = place
		}
		return appendTime(dst, *v.Addr().Interface().(*time.Time), format)
	}
	return dst
}
