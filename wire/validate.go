package wire

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Violations are reported in the order of their classes (section 12).
const (
	classRequired uint8 = iota
	classType
	classRange
	classEnum
	classPattern
)

const (
	maxViolations = 200 // collected
	maxReported   = 10
	maxShown      = 2048 // bytes of a value in a message
)

const (
	mustNotBeNull = "Member must not be null"
	mustBeOneOf   = "Member must have exactly one member set"
)

// A violation is a constraint that a value breaks.
type violation struct {
	class uint8
	field *field
	path  string
	shown string // the value as the message shows it, "" to leave it out
	text  string
}

// A problem is a violation without its place.
type problem struct {
	class uint8
	text  string
}

// Validate checks a decoded input against the constraints of its shapes and
// returns nil or the fault that AWS answers (section 12). req is what Decode
// read in from: only there can an absent member be told from an empty one.
// Without one (nil), empty counts as absent.
func Validate(op *OpInfo, req *Request, in any) error {
	st, err := op.input()
	if err != nil {
		return err
	}
	v := reflect.ValueOf(in)
	if v.Kind() != reflect.Pointer || v.Type().Elem() != st.typ || v.IsNil() {
		return wrongType(op, in)
	}
	var w validator
	if req != nil && req.decoded {
		w.decoded = true
		w.t.violations = req.violations
	}
	w.structure(st, v.Elem())
	if len(w.t.violations) == 0 {
		return nil
	}
	return invalid(op.Service.Protocol, w.t.violations)
}

// invalid makes the fault of some violations.
func invalid(p Protocol, all []violation) *Fault {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b violation) int { return int(a.class) - int(b.class) })
	all = all[:min(len(all), maxReported)]
	switch p {
	case EC2:
		// EC2 tells one problem at a time, by the parameter's request name.
		v := all[0]
		if v.class == classRequired {
			return &Fault{Code: "MissingParameter", Message: "The request must contain the parameter " + v.field.query, Status: 400}
		}
		shown := strings.TrimSuffix(strings.TrimPrefix(v.shown, "'"), "'")
		return &Fault{Code: "InvalidParameterValue", Message: "Value (" + shown + ") for parameter " + v.field.query + " is invalid. " + v.text, Status: 400}
	case RESTXML:
		return &Fault{Code: "InvalidArgument", Message: describe(all), Status: 400}
	case Query:
		return &Fault{Code: "ValidationError", Message: describe(all), Status: 400}
	}
	return &Fault{Code: "ValidationException", Message: describe(all), Status: 400}
}

func describe(all []violation) string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(len(all)))
	b.WriteString(" validation error")
	if len(all) > 1 {
		b.WriteByte('s')
	}
	b.WriteString(" detected: ")
	for i, v := range all {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString("Value ")
		if v.shown != "" {
			b.WriteString(v.shown + " ")
		}
		b.WriteString("at '" + v.path + "' failed to satisfy constraint: " + v.text)
	}
	return b.String()
}

// checkText returns what is wrong with a text.
func (v *value) checkText(s string) []problem {
	if !v.constrained() {
		return nil
	}
	var ps []problem
	// A code point has one to four bytes, so most lengths need no counting.
	if v.hasMin && int64(len(s)) < 4*v.min && int64(utf8.RuneCountInString(s)) < v.min {
		ps = append(ps, problem{classRange, v.minText("length")})
	}
	if v.hasMax && int64(len(s)) > v.max && int64(utf8.RuneCountInString(s)) > v.max {
		ps = append(ps, problem{classRange, v.maxText("length")})
	}
	if v.enum != nil && !slices.Contains(v.enum, s) {
		ps = append(ps, problem{classEnum, v.enumText()})
	}
	if v.pat != nil && !v.pat.matches(s) {
		ps = append(ps, problem{classPattern, v.patternText()})
	}
	return ps
}

// checkSize returns what is wrong with a number, or with the length of a
// blob, list or map.
func (v *value) checkSize(n int64, what string) []problem {
	var ps []problem
	if v.hasMin && n < v.min {
		ps = append(ps, problem{classRange, v.minText(what)})
	}
	if v.hasMax && n > v.max {
		ps = append(ps, problem{classRange, v.maxText(what)})
	}
	return ps
}

func (v *value) minText(what string) string {
	return "Member must have " + what + " greater than or equal to " + strconv.FormatInt(v.min, 10)
}

func (v *value) maxText(what string) string {
	return "Member must have " + what + " less than or equal to " + strconv.FormatInt(v.max, 10)
}

func (v *value) enumText() string {
	return "Member must satisfy enum value set: [" + strings.Join(v.enum, ", ") + "]"
}

func (v *value) patternText() string {
	return "Member must satisfy regular expression pattern: " + v.pat.Model
}

// constraints lists all that the scalar must satisfy: what AWS prints for an
// entry of a list or map.
func (v *value) constraints() string {
	what := "length"
	if v.kind == kindInt || v.kind == kindFloat {
		what = "value"
	}
	var all []string
	if v.hasMax {
		all = append(all, v.maxText(what))
	}
	if v.hasMin {
		all = append(all, v.minText(what))
	}
	if v.enum != nil {
		all = append(all, v.enumText())
	}
	if v.pat != nil {
		all = append(all, v.patternText())
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// A validator walks an input. Its tracker serves for the paths.
type validator struct {
	t       tracker
	decoded bool
}

func (w *validator) structure(st *structure, v reflect.Value) {
	if w.t.enter() != nil {
		return // deeper than Decode would have read
	}
	defer w.t.leave()
	for i := range st.fields {
		f := &st.fields[i]
		fv := v.Field(f.index)
		if f.blank(fv) {
			// After Decode the tracker has already said so.
			if f.req && !w.decoded {
				w.t.add(violation{class: classRequired, field: f, path: w.t.path(f), shown: "null", text: mustNotBeNull})
			}
			continue
		}
		if f.ptr {
			fv = fv.Elem()
		}
		w.member(f, fv)
	}
}

func (w *validator) member(f *field, v reflect.Value) {
	var ps []problem
	switch f.kind {
	case kindString:
		if s := v.String(); s != "" || !w.decoded {
			ps = f.checkText(s)
		}
	case kindInt:
		if v.Int() == 0 && w.absent(f) {
			return
		}
		ps = f.checkSize(v.Int(), "value")
	case kindBlob:
		ps = f.checkSize(int64(v.Len()), "length")
	case kindStruct:
		w.t.push(f)
		w.structure(f.st, v)
		w.t.pop()
		return
	case kindList:
		ps = f.checkSize(int64(v.Len()), "length")
		if w.entries(f, f.elem, v) {
			ps = append(ps, problem{f.elem.worst(), "Member must satisfy constraint: " + f.elem.constraints()})
		}
	case kindMap:
		ps = f.checkSize(int64(v.Len()), "length")
		keys, values := w.mapEntries(f, v)
		if keys {
			ps = append(ps, problem{f.mapKey.worst(), "Map keys must satisfy constraint: " + f.mapKey.constraints()})
		}
		if values {
			ps = append(ps, problem{f.elem.worst(), "Map value must satisfy constraint: " + f.elem.constraints()})
		}
	}
	for _, p := range ps {
		w.t.add(violation{class: p.class, field: f, path: w.t.path(f), shown: f.show(v), text: p.text})
	}
}

// absent says whether a required number, which is 0, wasn't there at all.
func (w *validator) absent(f *field) bool {
	return slices.ContainsFunc(w.t.violations, func(v violation) bool {
		return v.class == classRequired && v.field == f && v.path == w.t.path(f)
	})
}

// worst places the joint message about entries among the classes.
func (v *value) worst() uint8 {
	switch {
	case v.hasMin || v.hasMax:
		return classRange
	case v.enum != nil:
		return classEnum
	}
	return classPattern
}

// entries walks a list and returns whether some entry breaks a constraint
// that is told once for the whole list.
func (w *validator) entries(f *field, elem *value, v reflect.Value) (bad bool) {
	if elem.kind == kindStruct {
		w.t.push(f)
		for i := range v.Len() {
			w.t.entry(i + 1)
			w.structure(elem.st, v.Index(i))
		}
		w.t.pop()
		return false
	}
	if !elem.checkable() {
		return false
	}
	for i := range v.Len() {
		if w.scalarBad(f, elem, v.Index(i)) {
			return true
		}
	}
	return false
}

func (w *validator) mapEntries(f *field, v reflect.Value) (badKey, badValue bool) {
	walk := f.elem.kind == kindStruct || f.elem.checkable()
	if !f.mapKey.constrained() && !walk {
		return false, false
	}
	for it := v.MapRange(); it.Next(); {
		badKey = badKey || len(f.mapKey.checkText(it.Key().String())) > 0
		switch {
		case f.elem.kind == kindStruct:
			// Copied to be addressable, as the entries of a list are.
			e := reflect.New(f.elem.typ).Elem()
			e.Set(it.Value())
			w.t.push(f)
			w.structure(f.elem.st, e)
			w.t.pop()
		case walk:
			badValue = badValue || w.scalarBad(f, f.elem, it.Value())
		}
	}
	return badKey, badValue
}

// checkable says whether entries of this kind can break something.
func (v *value) checkable() bool {
	return v.constrained() || v.elem != nil && (v.elem.kind == kindStruct || v.elem.checkable()) || v.mapKey != nil && v.mapKey.constrained()
}

func (w *validator) scalarBad(f *field, elem *value, v reflect.Value) bool {
	switch elem.kind {
	case kindString:
		return len(elem.checkText(v.String())) > 0
	case kindInt:
		return len(elem.checkSize(v.Int(), "value")) > 0
	case kindBlob:
		return len(elem.checkSize(int64(v.Len()), "length")) > 0
	case kindList:
		return len(elem.checkSize(int64(v.Len()), "length")) > 0 || w.entries(f, elem.elem, v)
	case kindMap:
		if len(elem.checkSize(int64(v.Len()), "length")) > 0 {
			return true
		}
		for it := v.MapRange(); it.Next(); {
			if len(elem.mapKey.checkText(it.Key().String())) > 0 || w.scalarBad(f, elem.elem, it.Value()) {
				return true
			}
		}
	}
	return false
}

// show prints a value as AWS's messages do, or "" for what must not or can't
// be shown.
func (v *value) show(rv reflect.Value) string {
	if v.sens {
		return ""
	}
	switch v.kind {
	case kindString:
		return "'" + cut(rv.String()) + "'"
	case kindInt:
		return "'" + strconv.FormatInt(rv.Int(), 10) + "'"
	case kindList:
		if v.elem.sens || v.elem.kind != kindString && v.elem.kind != kindInt && rv.Len() > 0 {
			return ""
		}
		var b strings.Builder
		for i := range rv.Len() {
			if b.Len() > maxShown {
				break
			}
			if i > 0 {
				b.WriteString(", ")
			}
			if v.elem.kind == kindInt {
				b.WriteString(strconv.FormatInt(rv.Index(i).Int(), 10))
			} else {
				b.WriteString(cut(rv.Index(i).String()))
			}
		}
		return "'[" + cut(b.String()) + "]'"
	}
	return ""
}

// cut keeps messages short, at a character's edge.
func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	n := maxShown
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
