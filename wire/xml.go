package wire

import (
	"errors"
	"reflect"
	"strings"
	"unicode/utf8"
)

// An xmlDecoder reads restXml documents.
type xmlDecoder struct {
	s *xmlScanner
	t *tracker
}

// decodeXML reads a document whose root element's members are the structure's
// body members. The root's name isn't checked: S3 doesn't either.
func decodeXML(body []byte, st *structure, v reflect.Value, t *tracker) error {
	s, err := newXMLScanner(body)
	if err != nil {
		return err
	}
	root, err := s.next()
	if err != nil {
		return err
	}
	d := xmlDecoder{s: s, t: t}
	if err := d.structure(st, v, root.attrs); err != nil {
		return err
	}
	// What follows may only be comments and space.
	switch end, err := s.next(); {
	case err != nil:
		return err
	case end.kind != tokenEOF:
		return errXML
	}
	return nil
}

// structure reads up to the end of the element that has begun.
func (d *xmlDecoder) structure(st *structure, v reflect.Value, attrs []pair) error {
	if err := d.t.enter(); err != nil {
		return err
	}
	var got seen
	for i := range st.fields {
		f := &st.fields[i]
		if !f.attr {
			continue
		}
		for _, a := range attrs {
			if a.key == f.name {
				got.add(i)
				if err := d.attribute(f, v.Field(f.index), a.value); err != nil {
					return unreadable(f, err)
				}
			}
		}
	}
	for {
		t, err := d.s.next()
		switch {
		case err != nil:
			return err
		case t.kind == tokenEnd:
			d.t.finish(st, &got, v)
			d.t.leave()
			return nil
		case t.kind == tokenText:
			continue // between elements
		}
		f := st.byName[t.name]
		if f == nil && st.strict {
			return errStrict
		}
		if f == nil || f.attr {
			if err := d.skip(); err != nil {
				return err
			}
			continue
		}
		again := got.has(f.bit)
		got.add(f.bit)
		if err := d.member(f, v.Field(f.index), t.attrs, again); err != nil {
			return unreadable(f, err)
		}
	}
}

func (d *xmlDecoder) attribute(f *field, v reflect.Value, s string) error {
	if f.ptr {
		p := reflect.New(f.typ)
		v.Set(p)
		v = p.Elem()
	}
	return setText(&f.value, v, s)
}

// member reads a member's element. Of a flattened list or map every entry is
// one: again says that this isn't the first.
func (d *xmlDecoder) member(f *field, v reflect.Value, attrs []pair, again bool) error {
	if f.kind >= kindList {
		d.t.push(f)
		defer d.t.pop()
	}
	if f.ptr {
		p := reflect.New(f.typ)
		v.Set(p)
		v = p.Elem()
	}
	if f.flat && f.kind == kindList {
		if !again {
			v.Set(reflect.MakeSlice(f.typ, 0, 0))
		}
		return d.item(&f.value, v, attrs)
	}
	if f.flat && f.kind == kindMap {
		if !again {
			v.Set(reflect.MakeMap(f.typ))
		}
		return d.entry(&f.value, v)
	}
	return d.value(&f.value, v, attrs)
}

// value reads up to the end of the element that has begun.
func (d *xmlDecoder) value(p *value, v reflect.Value, attrs []pair) error {
	switch p.kind {
	case kindStruct:
		return d.structure(p.st, v, attrs)
	case kindList:
		v.Set(reflect.MakeSlice(p.typ, 0, 0))
		return d.children(p.item, func(t token) error { return d.item(p, v, t.attrs) })
	case kindMap:
		v.Set(reflect.MakeMap(p.typ))
		return d.children("entry", func(token) error { return d.entry(p, v) })
	}
	s, err := d.text()
	if err != nil {
		return err
	}
	if p.kind != kindString {
		s = strings.Trim(s, " \t\r\n")
	}
	return setText(p, v, s)
}

// children calls each for every child element of this name and skips others.
func (d *xmlDecoder) children(name string, each func(token) error) error {
	if err := d.t.enter(); err != nil {
		return err
	}
	for {
		t, err := d.s.next()
		switch {
		case err != nil:
			return err
		case t.kind == tokenEnd:
			d.t.leave()
			return nil
		case t.kind == tokenText:
		case t.name == name:
			err = each(t)
		default:
			err = d.skip()
		}
		if err != nil {
			return err
		}
	}
}

func (d *xmlDecoder) item(p *value, v reflect.Value, attrs []pair) error {
	if err := d.t.another(); err != nil {
		return err
	}
	i := v.Len()
	if i == v.Cap() {
		v.Grow(max(4, i))
	}
	v.SetLen(i + 1)
	d.t.entry(i + 1)
	return d.value(p.elem, v.Index(i), attrs)
}

func (d *xmlDecoder) entry(p *value, v reflect.Value) error {
	if err := d.t.another(); err != nil {
		return err
	}
	var key *string
	e := reflect.New(p.elem.typ).Elem()
	there := false
	for {
		t, err := d.s.next()
		switch {
		case err != nil:
			return err
		case t.kind == tokenEnd:
			if key == nil || !there {
				return errors.New("a map entry lacks its key or value")
			}
			v.SetMapIndex(reflect.ValueOf(*key).Convert(p.typ.Key()), e)
			return nil
		case t.kind == tokenText:
		case t.name == p.key:
			var s string
			s, err = d.text()
			key = &s
		case t.name == p.val:
			there = true
			err = d.value(p.elem, e, t.attrs)
		default:
			err = d.skip()
		}
		if err != nil {
			return err
		}
	}
}

// text reads the text of the element that has begun.
func (d *xmlDecoder) text() (string, error) {
	var s strings.Builder // comments and CDATA cut a text into pieces
	for {
		t, err := d.s.next()
		switch {
		case err != nil:
			return "", err
		case t.kind == tokenEnd:
			return s.String(), nil
		case t.kind == tokenText:
			s.WriteString(t.text)
		default:
			return "", errXML // an element where text belongs
		}
	}
}

// skip reads over the element that has begun.
func (d *xmlDecoder) skip() error {
	for depth := 1; depth > 0; {
		t, err := d.s.next()
		switch {
		case err != nil:
			return err
		case t.kind == tokenStart:
			depth++
		case t.kind == tokenEnd:
			depth--
		}
	}
	return nil
}

// An xmlStyle is what differs between the XML of query, ec2 and rest answers.
type xmlStyle struct {
	time timeFormat
}

// appendXMLMembers writes the body members of a structure as elements.
func (x xmlStyle) appendMembers(dst []byte, st *structure, v reflect.Value) []byte {
	for i := range st.fields {
		f := &st.fields[i]
		if !f.inAnswerBody() || f.attr {
			continue
		}
		fv := v.Field(f.index)
		if !f.emitted(fv) {
			continue
		}
		if f.ptr {
			fv = fv.Elem()
		}
		switch {
		case f.esc && f.kind == kindString:
			dst = append(append(append(dst, '<'), f.name...), '>')
			dst = appendPercent(dst, fv.String())
			dst = appendEndTag(dst, f.name)
		case f.flat && f.kind == kindList:
			for j := range fv.Len() {
				dst = x.appendElement(dst, f.name, f.elem, fv.Index(j))
			}
		case f.flat && f.kind == kindMap:
			for _, key := range sortedKeys(fv) {
				dst = x.appendEntry(dst, f.name, f.ns, &f.value, fv, key)
			}
		default:
			dst = x.appendElement(dst, f.name, &f.value, fv)
		}
	}
	return dst
}

// appendElement writes a value in an element. The namespace of a structure's
// shape is that of documents made of it, not of members.
func (x xmlStyle) appendElement(dst []byte, name string, p *value, v reflect.Value) []byte {
	dst = append(append(append(dst, '<'), name...), p.ns...)
	if p.kind == kindStruct {
		dst = x.appendAttributes(dst, p.st, v)
	}
	start := len(dst)
	dst = append(dst, '>')
	switch p.kind {
	case kindStruct:
		dst = x.appendMembers(dst, p.st, v)
	case kindList:
		for i := range v.Len() {
			dst = x.appendElement(dst, p.item, p.elem, v.Index(i))
		}
	case kindMap:
		for _, key := range sortedKeys(v) {
			dst = x.appendEntry(dst, "entry", "", p, v, key)
		}
	case kindString:
		dst = appendXMLText(dst, v.String())
	default:
		dst = appendText(dst, p, v, x.time)
	}
	if len(dst) == start+1 {
		return append(dst[:start], "/>"...)
	}
	return appendEndTag(dst, name)
}

func (x xmlStyle) appendEntry(dst []byte, name, ns string, p *value, m, key reflect.Value) []byte {
	dst = append(append(dst, '<'), name...)
	dst = append(append(dst, ns...), '>')
	dst = x.appendElement(dst, p.key, p.mapKey, key)
	dst = x.appendElement(dst, p.val, p.elem, entryOf(m, key, p.elem))
	return appendEndTag(dst, name)
}

func (x xmlStyle) appendAttributes(dst []byte, st *structure, v reflect.Value) []byte {
	for i := range st.fields {
		f := &st.fields[i]
		if !f.attr {
			continue
		}
		fv := v.Field(f.index)
		if !f.emitted(fv) {
			continue
		}
		if f.ptr {
			fv = fv.Elem()
		}
		dst = append(append(append(dst, ' '), f.name...), '=', '"')
		dst = appendXMLText(dst, string(appendText(nil, &f.value, fv, x.time)))
		dst = append(dst, '"')
	}
	return dst
}

func appendEndTag(dst []byte, name string) []byte {
	return append(append(append(dst, '<', '/'), name...), '>')
}

// appendXMLText escapes text for elements and attributes. What XML can't
// hold becomes the replacement character.
func appendXMLText(dst []byte, s string) []byte {
	for i, r := range s {
		switch {
		case r == '&':
			dst = append(dst, "&amp;"...)
		case r == '<':
			dst = append(dst, "&lt;"...)
		case r == '>':
			dst = append(dst, "&gt;"...)
		case r == '"':
			dst = append(dst, "&quot;"...)
		case r == '\r':
			dst = append(dst, "&#xD;"...)
		case r == '\n':
			dst = append(dst, "&#xA;"...)
		case r == '\t':
			dst = append(dst, "&#x9;"...)
		case r == utf8.RuneError, !validXMLRune(r):
			dst = append(dst, "\uFFFD"...)
		case r < utf8.RuneSelf:
			dst = append(dst, s[i])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// appendPercent escapes per RFC 3986: everything but the unreserved
// characters. IAM answers policy documents so.
func appendPercent(dst []byte, s string) []byte {
	const upper = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upper[c>>4], upper[c&15])
		}
	}
	return dst
}
