package wire

import (
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/leadglass/leadglass/base/canon"
)

// Hidden stands for a sensitive member in audit records.
const Hidden = "HIDDEN_DUE_TO_SECURITY_REASONS"

// maxParameter is where a text in an audit record is cut.
const maxParameter = 4 << 10

// Parameters appends the audit form of an input or output of the operation (a
// pointer to its type; section 15): JSON with the first letter of every member
// lower-cased, sensitive members hidden, blobs left out, texts cut at 4 KiB.
// Only what is in the typed value gets in: a member that the model doesn't
// know can't leak. A value of another type gives null.
func Parameters(op *OpInfo, v any, dst []byte) []byte {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() || rv.Elem().Type() != op.Input && rv.Elem().Type() != op.Output {
		return append(dst, "null"...)
	}
	st, err := op.Service.plan(rv.Elem().Type())
	if err != nil {
		return append(dst, "null"...)
	}
	return appendParameters(dst, st, rv.Elem())
}

func appendParameters(dst []byte, st *structure, v reflect.Value) []byte {
	dst = append(dst, '{')
	for i := range st.fields {
		f := &st.fields[i]
		fv := v.Field(f.index)
		if f.blank(fv) || f.kind == kindStream || f.kind == kindBlob && !f.sens {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(canon.AppendString(dst, f.member), ':')
		if f.ptr {
			fv = fv.Elem()
		}
		dst = appendParameter(dst, &f.value, fv)
	}
	return append(dst, '}')
}

func appendParameter(dst []byte, p *value, v reflect.Value) []byte {
	if p.sens {
		return canon.AppendString(dst, Hidden)
	}
	switch p.kind {
	case kindString:
		return canon.AppendString(dst, clip(v.String()))
	case kindTime:
		dst = append(dst, '"')
		dst = v.Addr().Interface().(*time.Time).UTC().AppendFormat(dst, "2006-01-02T15:04:05Z")
		return append(dst, '"')
	case kindBool:
		return strconv.AppendBool(dst, v.Bool())
	case kindInt:
		return strconv.AppendInt(dst, v.Int(), 10)
	case kindFloat:
		return appendFloat(dst, v.Float(), p.typ.Bits(), `"`)
	case kindStruct:
		return appendParameters(dst, p.st, v)
	case kindList:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendParameter(dst, p.elem, v.Index(i))
		}
		return append(dst, ']')
	case kindMap:
		dst = append(dst, '{')
		for i, key := range sortedKeys(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			name := key.String()
			if p.mapKey.sens {
				name = Hidden
			}
			dst = append(canon.AppendString(dst, clip(name)), ':')
			dst = appendParameter(dst, p.elem, entryOf(v, key, p.elem))
		}
		return append(dst, '}')
	}
	// A blob inside a list or map: its place stays, its bytes don't.
	return append(dst, "null"...)
}

// clip cuts a text at a character's edge.
func clip(s string) string {
	if len(s) <= maxParameter {
		return s
	}
	n := maxParameter
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
