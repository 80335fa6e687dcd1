package wire

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/leadglass/leadglass/base/canon"
)

// appendJSON writes the body members of a structure.
func appendJSON(dst []byte, st *structure, v reflect.Value) []byte {
	return append(appendJSONMembers(append(dst, '{'), st, v), '}')
}

// appendJSONMembers writes members; the byte before them says whether a comma
// is needed.
func appendJSONMembers(dst []byte, st *structure, v reflect.Value) []byte {
	for i := range st.fields {
		f := &st.fields[i]
		if !f.inAnswerBody() {
			continue
		}
		fv := v.Field(f.index)
		if !f.emitted(fv) {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(dst, f.quoted...)
		if f.ptr {
			fv = fv.Elem()
		}
		dst = appendJSONValue(dst, &f.value, fv)
	}
	return dst
}

func appendJSONValue(dst []byte, p *value, v reflect.Value) []byte {
	switch p.kind {
	case kindString:
		return canon.AppendString(dst, v.String())
	case kindBlob:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
		return append(dst, '"')
	case kindBool:
		return strconv.AppendBool(dst, v.Bool())
	case kindInt:
		return strconv.AppendInt(dst, v.Int(), 10)
	case kindFloat:
		return appendFloat(dst, v.Float(), p.typ.Bits(), `"`)
	case kindTime:
		t := v.Addr().Interface().(*time.Time)
		if p.time == timeDefault || p.time == timeUnix {
			return appendUnix(dst, *t)
		}
		dst = append(dst, '"')
		dst = appendTime(dst, *t, p.time)
		return append(dst, '"')
	case kindStruct:
		return appendJSON(dst, p.st, v)
	case kindList:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSONValue(dst, p.elem, v.Index(i))
		}
		return append(dst, ']')
	case kindMap:
		dst = append(dst, '{')
		for i, key := range sortedKeys(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(canon.AppendString(dst, key.String()), ':')
			dst = appendJSONValue(dst, p.elem, entryOf(v, key, p.elem))
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// sortedKeys returns a map's keys in order, for reproducible bytes.
func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		switch {
		case a.String() < b.String():
			return -1
		case a.String() > b.String():
			return 1
		}
		return 0
	})
	return keys
}

// entryOf returns a map's value as one that can be addressed, as the encoders
// expect.
func entryOf(m, key reflect.Value, elem *value) reflect.Value {
	e := reflect.New(elem.typ).Elem()
	e.Set(m.MapIndex(key))
	return e
}
