package wire_test

import (
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leadglass/leadglass/internal/apigen/shape"
)

// A typeMaker builds Go types from shapes as the generator would write them.
// Recursive shapes, which reflect can't build, are unrolled.
type typeMaker struct{ m *shape.Model }

const unroll = 8

func (tm *typeMaker) structure(ref *shape.Ref, depth int) reflect.Type {
	if ref == nil {
		return reflect.TypeFor[struct{}]()
	}
	s := tm.m.Shapes.ByKey[ref.Shape]
	var fields []reflect.StructField
	if tag := tm.m.StructTag(&s, ref, false); tag != "" {
		fields = append(fields, reflect.StructField{
			Name: "_", PkgPath: "wire_test", Type: reflect.TypeFor[struct{}](),
			Tag: reflect.StructTag(fmt.Sprintf("aws:%q", tag)),
		})
	}
	for _, name := range s.Members.Names {
		r := s.Members.ByKey[name]
		typ := tm.value(&r, depth+1)
		if typ == nil {
			continue
		}
		ms := tm.m.Shapes.ByKey[r.Shape]
		switch ms.Type {
		case "boolean", "integer", "long", "float", "double", "byte", "short":
			if !slices.Contains(s.Required, name) || s.Union {
				typ = reflect.PointerTo(typ)
			}
		case "structure":
			typ = reflect.PointerTo(typ)
		case "string", "timestamp":
			if s.Union {
				typ = reflect.PointerTo(typ)
			}
		case "blob":
			if s.Payload == name && ms.Streaming {
				typ = reflect.TypeFor[io.ReadCloser]()
			}
		}
		fields = append(fields, reflect.StructField{
			Name: goName(name), Type: typ,
			Tag: reflect.StructTag(fmt.Sprintf("aws:%q", tm.m.Tag(&s, name, shape.Extra{}, tm.pattern))),
		})
	}
	return reflect.StructOf(fields)
}

func (tm *typeMaker) pattern(string) int { return -1 }

func goName(member string) string { return shape.Upper(strings.ReplaceAll(member, "-", "_")) }

// value returns nil for what is nested too deeply.
func (tm *typeMaker) value(ref *shape.Ref, depth int) reflect.Type {
	if depth > unroll {
		return nil
	}
	s := tm.m.Shapes.ByKey[ref.Shape]
	switch s.Type {
	case "string":
		return reflect.TypeFor[string]()
	case "blob":
		return reflect.TypeFor[[]byte]()
	case "boolean":
		return reflect.TypeFor[bool]()
	case "integer", "byte", "short":
		return reflect.TypeFor[int32]()
	case "long":
		return reflect.TypeFor[int64]()
	case "float":
		return reflect.TypeFor[float32]()
	case "double":
		return reflect.TypeFor[float64]()
	case "timestamp":
		return reflect.TypeFor[time.Time]()
	case "structure":
		return tm.structure(&shape.Ref{Shape: ref.Shape}, depth)
	case "list":
		if e := tm.value(s.Member, depth+1); e != nil {
			return reflect.SliceOf(e)
		}
	case "map":
		if e := tm.value(s.Value, depth+1); e != nil {
			return reflect.MapOf(reflect.TypeFor[string](), e)
		}
	}
	return nil
}

// logical turns a Go value into the form that the cases give: blobs as text,
// times as seconds, what is blank left out.
func (tm *typeMaker) logical(ref *shape.Ref, v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	s := tm.m.Shapes.ByKey[ref.Shape]
	switch s.Type {
	case "blob":
		if r, ok := v.Interface().(io.Reader); ok {
			b, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			return string(b)
		}
		if v.IsNil() {
			return nil
		}
		return string(v.Bytes())
	case "timestamp":
		t := v.Interface().(time.Time)
		if t.IsZero() {
			return nil
		}
		return float64(t.UnixNano()) / 1e9
	case "integer", "long", "byte", "short":
		return float64(v.Int())
	case "float":
		f, _ := strconv.ParseFloat(strconv.FormatFloat(v.Float(), 'g', -1, 32), 64)
		return special(f)
	case "double":
		return special(v.Float())
	case "list":
		if v.IsNil() {
			return nil
		}
		l := []any{}
		for i := range v.Len() {
			l = append(l, tm.logical(s.Member, v.Index(i)))
		}
		return l
	case "map":
		if v.IsNil() {
			return nil
		}
		m := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			m[it.Key().String()] = tm.logical(s.Value, it.Value())
		}
		return m
	case "structure":
		m := map[string]any{}
		for _, name := range s.Members.Names {
			f := v.FieldByName(goName(name))
			if !f.IsValid() {
				continue
			}
			r := s.Members.ByKey[name]
			if x := tm.logical(&r, f); x != nil && x != "" {
				m[name] = x
			}
		}
		return m
	}
	return v.Interface()
}

func special(f float64) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return f
}

// fill is the reverse of logical.
func (tm *typeMaker) fill(ref *shape.Ref, v reflect.Value, x any) {
	if x == nil {
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	s := tm.m.Shapes.ByKey[ref.Shape]
	switch s.Type {
	case "blob":
		if v.Kind() == reflect.Interface {
			v.Set(reflect.ValueOf(io.NopCloser(strings.NewReader(x.(string)))))
			return
		}
		v.SetBytes([]byte(x.(string)))
	case "timestamp":
		f := x.(float64)
		v.Set(reflect.ValueOf(time.UnixMilli(int64(math.Round(f * 1000))).UTC()))
	case "integer", "long", "byte", "short":
		v.SetInt(int64(x.(float64)))
	case "float", "double":
		switch x {
		case "NaN":
			v.SetFloat(math.NaN())
		case "Infinity":
			v.SetFloat(math.Inf(1))
		case "-Infinity":
			v.SetFloat(math.Inf(-1))
		default:
			v.SetFloat(x.(float64))
		}
	case "list":
		l := x.([]any)
		v.Set(reflect.MakeSlice(v.Type(), len(l), len(l)))
		for i := range l {
			tm.fill(s.Member, v.Index(i), l[i])
		}
	case "map":
		v.Set(reflect.MakeMap(v.Type()))
		for key, value := range x.(map[string]any) {
			e := reflect.New(v.Type().Elem()).Elem()
			tm.fill(s.Value, e, value)
			v.SetMapIndex(reflect.ValueOf(key), e)
		}
	case "structure":
		for name, value := range x.(map[string]any) {
			r := s.Members.ByKey[name]
			f := v.FieldByName(goName(name))
			if !f.IsValid() {
				panic("no member " + name)
			}
			tm.fill(&r, f, value)
		}
	default:
		v.Set(reflect.ValueOf(x).Convert(v.Type()))
	}
}
