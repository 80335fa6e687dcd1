package wire

import (
	"reflect"
	"strconv"
)

// A tracker notes, while an input is decoded, what can't be seen in the
// result any more: members that are absent, and texts that are present but
// empty. Validate joins the two.
type tracker struct {
	violations []violation
	depth      int // of nested structures, lists and maps
	steps      [MaxDepth + 1]step
	n          int // steps in use
	entries    int // of lists and maps so far

	// bound is what decodeREST found outside the body, for the finish of the
	// outermost structure.
	bound seen
}

// A step of the path to a value. For list entries index counts from 1, for
// map entries it is 0 and key is set.
type step struct {
	field *field
	index int
}

func (t *tracker) enter() error {
	if t.depth++; t.depth > MaxDepth {
		return errDepth
	}
	return nil
}

func (t *tracker) leave() { t.depth-- }

// another counts an entry of a list or map: three bytes of a body can make an
// entry of some hundred bytes in memory.
func (t *tracker) another() error {
	if t.entries++; t.entries > MaxEntries {
		return errEntries
	}
	return nil
}

func (t *tracker) push(f *field) {
	if t.n < len(t.steps) {
		t.steps[t.n] = step{field: f}
	}
	t.n++
}

func (t *tracker) pop() { t.n-- }

// entry sets the index of the list entry that the last step is in.
func (t *tracker) entry(i int) {
	if t.n > 0 && t.n <= len(t.steps) {
		t.steps[t.n-1].index = i
	}
}

// path returns the path of member f of the structure being decoded:
// "tags.1.member.key".
func (t *tracker) path(f *field) string {
	var b []byte
	for _, s := range t.steps[:min(t.n, len(t.steps))] {
		b = append(b, s.field.member...)
		b = append(b, '.')
		if s.index > 0 {
			b = strconv.AppendInt(b, int64(s.index), 10)
			b = append(b, ".member."...)
		}
	}
	return string(append(b, f.member...))
}

// finish is called at the end of each structure with what was there.
func (t *tracker) finish(st *structure, got *seen, v reflect.Value) {
	if t.n == 0 {
		for i := range got {
			got[i] |= t.bound[i]
		}
	}
	for i := range st.required {
		if missing := st.required[i] &^ got[i]; missing != 0 {
			for bit := range 64 {
				if missing&(1<<bit) != 0 {
					f := &st.fields[i*64+bit]
					t.add(violation{class: classRequired, field: f, path: t.path(f), shown: "null", text: mustNotBeNull})
				}
			}
		}
	}
	// Looked at only now: of duplicates the last one counts.
	for _, f := range st.texts {
		if !got.has(f.bit) {
			continue
		}
		tv := v.Field(f.index)
		if f.ptr {
			tv = tv.Elem()
		}
		if tv.Len() == 0 {
			for _, p := range f.checkText("") {
				t.add(violation{class: p.class, field: f, path: t.path(f), shown: "''", text: p.text})
			}
		}
	}
	if st.union && t.n > 0 {
		n := 0
		for i := range st.fields {
			if got.has(i) {
				n++
			}
		}
		if n != 1 {
			f := t.steps[min(t.n, len(t.steps))-1].field
			t.n--
			path := t.path(f)
			t.n++
			t.add(violation{class: classType, field: f, path: path, text: mustBeOneOf})
		}
	}
}

func (t *tracker) add(v violation) {
	if len(t.violations) < maxViolations {
		t.violations = append(t.violations, v)
	}
}
