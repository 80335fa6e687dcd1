package wire

import (
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

var errLabel = errors.New("the path does not fit the operation")

// decodeREST reads the members that restJson1 and restXml put into path,
// query string and headers, and then the body (section 9).
func decodeREST(op *OpInfo, p Protocol, req *Request, st *structure, v reflect.Value, t *tracker) error {
	var got seen
	if st.bound {
		d := restDecoder{op: op, req: req}
		for i := range st.fields {
			f := &st.fields[i]
			if f.in == inBody || f.in == inPayload {
				continue
			}
			there, err := d.member(f, v.Field(f.index))
			if err != nil {
				return unreadable(f, err)
			}
			if there {
				got.add(i)
			}
		}
	}
	if f := st.payload; f != nil {
		there, err := decodePayload(f, p, req, v.Field(f.index), t)
		if err != nil {
			return unreadable(f, err)
		}
		if there {
			got.add(f.bit)
		}
		t.finish(st, &got, v)
		return nil
	}
	if !st.body || len(req.Body) == 0 {
		t.finish(st, &got, v)
		return nil
	}
	// The body decoders finish with what they saw themselves; the members
	// bound elsewhere are told to them.
	t.bound = got
	if p == RESTXML {
		return decodeXML(req.Body, st, v, t)
	}
	return decodeJSON(req.Body, st, v, t)
}

type restDecoder struct {
	op     *OpInfo
	req    *Request
	query  []pair
	parsed bool
}

func (d *restDecoder) member(f *field, v reflect.Value) (bool, error) {
	switch f.in {
	case inURI:
		s, err := label(d.op.Path, d.req.RawPath, f.name)
		if err != nil {
			return false, err
		}
		return true, setMember(f, v, s)
	case inHeader:
		lines := d.req.Header.Values(f.name)
		if len(lines) == 0 {
			return false, nil
		}
		if f.kind != kindList {
			return true, setMember(f, v, strings.TrimSpace(lines[0]))
		}
		return true, setHeaderList(f, v, strings.Join(lines, ","))
	case inPrefix:
		m := reflect.MakeMap(f.typ)
		for name, lines := range d.req.Header {
			if len(name) < len(f.name) || !strings.EqualFold(name[:len(f.name)], f.name) || len(lines) == 0 {
				continue
			}
			key := strings.ToLower(name[len(f.name):])
			m.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(lines[0]))
		}
		if m.Len() == 0 {
			return false, nil
		}
		v.Set(m)
		return true, nil
	case inQuery:
		if !d.parsed {
			var err error
			if d.query, err = parseForm(d.req.RawQuery); err != nil {
				return false, err
			}
			d.parsed = true
		}
		return d.fromQuery(f, v)
	}
	return false, nil // a status has no place in a request
}

func (d *restDecoder) fromQuery(f *field, v reflect.Value) (there bool, err error) {
	if f.kind == kindMap {
		return d.wholeQuery(f, v)
	}
	for _, p := range d.query {
		if p.key != f.name {
			continue
		}
		if f.kind != kindList {
			if err := setMember(f, v, p.value); err != nil {
				return false, err
			}
		} else if err := addItem(&f.value, v, p.value); err != nil {
			return false, err
		}
		there = true
	}
	return there, nil
}

// wholeQuery fills a map with all keys, those bound to other members too.
func (d *restDecoder) wholeQuery(f *field, v reflect.Value) (there bool, err error) {
	m := reflect.MakeMap(f.typ)
	for _, p := range d.query {
		key := reflect.ValueOf(p.key).Convert(f.typ.Key())
		e := reflect.New(f.elem.typ).Elem()
		if old := m.MapIndex(key); old.IsValid() {
			e.Set(old)
		}
		if f.elem.kind == kindList {
			err = addItem(f.elem, e, p.value)
		} else {
			err = setText(f.elem, e, p.value)
		}
		if err != nil {
			return false, err
		}
		m.SetMapIndex(key, e)
	}
	if m.Len() == 0 {
		return false, nil
	}
	v.Set(m)
	return true, nil
}

// setMember sets a scalar member from text.
func setMember(f *field, v reflect.Value, s string) error {
	if !utf8.ValidString(s) {
		return errUTF8
	}
	if f.ptr {
		p := reflect.New(f.typ)
		v.Set(p)
		v = p.Elem()
	}
	return setText(&f.value, v, s)
}

func addItem(p *value, v reflect.Value, s string) error {
	e := reflect.New(p.elem.typ).Elem()
	if err := setText(p.elem, e, s); err != nil {
		return err
	}
	v.Set(reflect.Append(v, e))
	return nil
}

// setHeaderList splits a header at its commas. Entries may be quoted; dates
// hold a comma themselves.
func setHeaderList(f *field, v reflect.Value, s string) error {
	if !utf8.ValidString(s) {
		return errUTF8
	}
	v.Set(reflect.MakeSlice(f.typ, 0, 0))
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		var item string
		if s[0] == '"' {
			var b strings.Builder
			i := 1
			for ; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' && i+1 < len(s) {
					i++
				}
				b.WriteByte(s[i])
			}
			item = b.String()
			_, s, _ = strings.Cut(s[min(i+1, len(s)):], ",")
		} else {
			var more bool
			item, s, more = strings.Cut(s, ",")
			if more && f.elem.kind == kindTime && f.elem.time != timeISO && f.elem.time != timeUnix {
				var rest string
				rest, s, _ = strings.Cut(s, ",")
				item += "," + rest
			}
		}
		if err := addItem(&f.value, v, strings.TrimSpace(item)); err != nil {
			return err
		}
	}
	return nil
}

// label returns the decoded value of a label of the path template.
func label(template, path, name string) (string, error) {
	template, _, _ = strings.Cut(template, "?")
	template, path = strings.Trim(template, "/"), strings.TrimPrefix(path, "/")
	for {
		t, moreT, _ := strings.Cut(template, "/")
		if t == "{"+name+"+}" {
			// Greedy: everything but what the template has after it.
			tail := strings.Count(template, "/")
			for range tail {
				i := strings.LastIndexByte(path, '/')
				if i < 0 {
					return "", errLabel
				}
				path = path[:i]
			}
			return unescape(path, false)
		}
		s, moreS, _ := strings.Cut(path, "/")
		if t == "{"+name+"}" {
			return unescape(s, false)
		}
		if template = moreT; template == "" {
			return "", errLabel
		}
		path = moreS
	}
}

// decodePayload reads the member that is the whole body.
func decodePayload(f *field, p Protocol, req *Request, v reflect.Value, t *tracker) (bool, error) {
	if f.kind == kindStream {
		body := req.Stream
		if body == nil {
			body = strings.NewReader(string(req.Body))
		}
		if !reflect.TypeOf(body).AssignableTo(f.typ) {
			body = io.NopCloser(body)
		}
		v.Set(reflect.ValueOf(body))
		return true, nil
	}
	if len(req.Body) == 0 {
		return false, nil
	}
	switch f.kind {
	case kindBlob:
		v.SetBytes(req.Body)
		return true, nil
	case kindStruct:
		e := reflect.New(f.typ)
		v.Set(e)
		t.push(f)
		defer t.pop()
		if p == RESTXML {
			return true, decodeXML(req.Body, f.st, e.Elem(), t)
		}
		return true, decodeJSON(req.Body, f.st, e.Elem(), t)
	}
	return true, setMember(f, v, string(req.Body))
}

// encodeREST writes an output or a modelled error of restJson1 or restXml.
func encodeREST(p Protocol, st *structure, v reflect.Value, noOutput bool, res *Response, dst []byte) {
	for i := range st.fields {
		f := &st.fields[i]
		fv := v.Field(f.index)
		if f.inAnswerBody() || f.in == inPayload || f.blank(fv) {
			continue
		}
		if f.ptr {
			fv = fv.Elem()
		}
		bindOutput(f, fv, res)
	}
	f := st.payload
	switch {
	case f != nil:
		encodePayload(p, f, v.Field(f.index), res, dst)
	case noOutput:
	case p == RESTJSON:
		res.ContentType, res.Body = "application/json", appendJSON(dst, st, v)
	case slices.ContainsFunc(st.fields, func(f field) bool { return f.inAnswerBody() }):
		res.ContentType, res.Body = "application/xml", appendXMLDocument(dst, st.root, "", st, v)
	}
}

func bindOutput(f *field, v reflect.Value, res *Response) {
	if f.in == inStatus {
		res.Status = int(v.Int())
		return
	}
	if res.Header == nil {
		res.Header = http.Header{}
	}
	switch {
	case f.in == inPrefix:
		for _, key := range sortedKeys(v) {
			res.Header.Set(f.name+key.String(), headerText(v.MapIndex(key).String()))
		}
	case f.kind == kindList:
		var items []string
		for i := range v.Len() {
			s := string(appendText(nil, f.elem, v.Index(i), timeHTTP))
			if f.elem.kind == kindString && strings.ContainsAny(s, `,"`) {
				s = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
			}
			items = append(items, s)
		}
		res.Header.Set(f.name, headerText(strings.Join(items, ", ")))
	default:
		res.Header.Set(f.name, headerText(string(appendText(nil, &f.value, v, timeHTTP))))
	}
}

// headerText takes out what could end the header line.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7F {
			return ' '
		}
		return r
	}, s)
}

func encodePayload(p Protocol, f *field, v reflect.Value, res *Response, dst []byte) {
	if f.blank(v) {
		return
	}
	if f.ptr {
		v = v.Elem()
	}
	switch f.kind {
	case kindStream:
		res.Stream, _ = v.Interface().(io.ReadCloser)
		res.ContentType = "application/octet-stream"
	case kindBlob:
		res.Body = append(dst, v.Bytes()...)
		res.ContentType = "application/octet-stream"
	case kindString:
		res.Body = append(dst, v.String()...)
		res.ContentType = "text/plain"
	case kindStruct:
		if p == RESTXML {
			res.ContentType, res.Body = "application/xml", appendXMLDocument(dst, f.name, f.ns, f.st, v)
			return
		}
		res.ContentType, res.Body = "application/json", appendJSON(dst, f.st, v)
	}
}

const xmlDeclaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func appendXMLDocument(dst []byte, root, ns string, st *structure, v reflect.Value) []byte {
	x := xmlStyle{time: timeMillis}
	if ns == "" {
		ns = st.ns
	}
	dst = append(dst, xmlDeclaration...)
	dst = append(append(append(dst, '<'), root...), ns...)
	dst = x.appendAttributes(dst, st, v)
	dst = append(dst, '>')
	dst = x.appendMembers(dst, st, v)
	return appendEndTag(dst, root)
}
