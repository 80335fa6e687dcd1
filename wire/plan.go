package wire

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/leadglass/leadglass/base/canon"
)

// A kind is what a value is on the wire.
type kind uint8

const (
	kindString kind = iota + 1
	kindBlob
	kindBool
	kindInt
	kindFloat
	kindTime
	kindList
	kindMap
	kindStruct
	kindStream
)

// A binding is the part of an HTTP message that holds a member.
type binding uint8

const (
	inBody binding = iota // a member of the body
	inURI
	inQuery
	inHeader
	inPrefix  // headers with a common prefix
	inStatus  // the status code
	inPayload // the whole body
)

// A timeFormat is how a timestamp is written.
type timeFormat uint8

const (
	timeDefault timeFormat = iota
	timeISO
	timeHTTP
	timeUnix
	timeMillis // ISO with exactly three decimals: EC2, S3
)

// A value is the plan of one value: what it is, and everything that the tags
// say about it.
type value struct {
	kind   kind
	ptr    bool         // the Go value is a pointer to typ
	typ    reflect.Type // without the pointer
	time   timeFormat
	flat   bool
	item   string // element names of lists and maps
	key    string
	val    string
	ns     string // rendered: ` xmlns="…"`
	elem   *value // of lists and maps
	mapKey *value
	st     *structure

	sens           bool
	hasMin, hasMax bool
	min, max       int64
	pat            *Pattern
	enum           []string
}

// constrained says whether the value itself has something to validate.
func (v *value) constrained() bool {
	return v.hasMin || v.hasMax || v.pat != nil || v.enum != nil
}

// A field is the plan of one member of a structure.
type field struct {
	value
	name   string // on the wire
	quoted []byte // `"name":`
	member string // member name with its first letter lower-cased: paths, audit
	query  string // in forms
	index  int    // in the Go struct
	bit    int    // in a seen set
	in     binding
	req    bool
	always bool
	attr   bool
	esc    bool
}

// seen is a set of fields.
type seen [4]uint64

func (s *seen) add(i int)      { s[i>>6] |= 1 << (i & 63) }
func (s *seen) drop(i int)     { s[i>>6] &^= 1 << (i & 63) }
func (s *seen) has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }

// maxFields is the capacity of seen.
const maxFields = len(seen{}) * 64

// A structure is the plan of one Go struct type. It is immutable once
// published.
type structure struct {
	typ      reflect.Type
	root     string // element name of a document made of it, "" for the default
	ns       string
	union    bool
	strict   bool // unknown members are refused: what they restrict would not be
	fields   []field
	byName   map[string]*field // body members by wire name
	byQuery  map[string]*field // members by form name
	required seen
	payload  *field   // the member that is the whole body
	bound    bool     // some member is not in the body
	body     bool     // some member is in the body
	texts    []*field // constrained texts, which may be present and empty
}

// plan returns the plan of a struct type, compiling it at first use.
func (s *Service) plan(t reflect.Type) (*structure, error) {
	if st, ok := s.plans.Load(t); ok {
		return st.(*structure), nil
	}
	c := compiler{service: s, done: map[reflect.Type]*structure{}}
	st, err := c.structure(t)
	if err != nil {
		return nil, err
	}
	// Racing compilers made equal plans; the first one stays.
	for t, st := range c.done {
		s.plans.LoadOrStore(t, st)
	}
	return st, nil
}

func (op *OpInfo) input() (*structure, error) {
	if st := op.inPlan.Load(); st != nil {
		return st, nil
	}
	st, err := op.Service.plan(op.Input)
	if err == nil {
		op.inPlan.Store(st)
	}
	return st, err
}

func (op *OpInfo) output() (*structure, error) {
	if st := op.outPlan.Load(); st != nil {
		return st, nil
	}
	st, err := op.Service.plan(op.Output)
	if err == nil {
		op.outPlan.Store(st)
	}
	return st, err
}

// A compiler makes plans of types that may refer to each other.
type compiler struct {
	service *Service
	done    map[reflect.Type]*structure
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	valuesType = reflect.TypeFor[interface{ Values() []string }]()
)

func (c *compiler) structure(t reflect.Type) (*structure, error) {
	if st := c.done[t]; st != nil {
		return st, nil
	}
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("wire: %v is no struct", t)
	}
	st := &structure{typ: t, byName: map[string]*field{}, byQuery: map[string]*field{}}
	c.done[t] = st
	st.fields = make([]field, 0, t.NumField())
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, tagged := sf.Tag.Lookup("aws")
		if !tagged {
			return nil, fmt.Errorf("wire: %v.%s has no aws tag", t, sf.Name)
		}
		words := strings.Split(tag, ",")
		if sf.Name == "_" {
			st.root = words[0]
			for _, w := range words[1:] {
				if ns, ok := strings.CutPrefix(w, "ns="); ok {
					st.ns = namespace(ns)
				}
				st.union = st.union || w == "union"
				st.strict = st.strict || w == "strict"
			}
			continue
		}
		if len(st.fields) == maxFields {
			return nil, fmt.Errorf("wire: %v has more than %d members", t, maxFields)
		}
		f := field{
			name: words[0], index: i, bit: len(st.fields),
			member: strings.ToLower(sf.Name[:1]) + sf.Name[1:],
			quoted: append(canon.AppendString(nil, words[0]), ':'),
			query:  words[0],
		}
		if c.service.Protocol == EC2 && f.name != "" {
			f.query = strings.ToUpper(f.name[:1]) + f.name[1:]
		}
		if err := c.value(&f.value, sf.Type, words[1:], "", true); err != nil {
			return nil, fmt.Errorf("wire: %v.%s: %w", t, sf.Name, err)
		}
		if err := f.words(words[1:]); err != nil {
			return nil, fmt.Errorf("wire: %v.%s: %w", t, sf.Name, err)
		}
		st.fields = append(st.fields, f)
	}
	for i := range st.fields {
		f := &st.fields[i]
		switch f.in {
		case inBody:
			st.byName[f.name], st.body = f, true
		case inPayload:
			st.payload, st.bound = f, true
		default:
			st.bound = true
		}
		st.byQuery[f.query] = f
		if f.req {
			st.required.add(i)
		}
		if f.kind == kindString && f.constrained() {
			st.texts = append(st.texts, f)
		}
	}
	return st, nil
}

// words reads the tag items that belong to the member, not to its value.
func (f *field) words(words []string) error {
	for _, w := range words {
		key, arg, _ := strings.Cut(w, "=")
		switch key {
		case "q":
			f.query = arg
		case "in":
			in, ok := map[string]binding{
				"uri": inURI, "query": inQuery, "header": inHeader, "prefix": inPrefix, "status": inStatus, "body": inPayload,
			}[arg]
			if !ok {
				return fmt.Errorf("unknown binding %q", arg)
			}
			f.in = in
		case "req":
			f.req = true
		case "always":
			f.always = true
		case "esc":
			f.esc = true
		case "own":
			// The service refuses wrong values with an error of its own.
			f.hasMin, f.hasMax, f.pat, f.enum = false, false, nil, nil
		case "attr":
			f.attr = true
		}
	}
	return nil
}

// value compiles the plan of a value. Only a member's own value may be a
// pointer. Tag items of list elements and map values start with "e." once per
// level, those of map keys with "k.".
func (c *compiler) value(v *value, t reflect.Type, words []string, prefix string, member bool) error {
	if member && t.Kind() == reflect.Pointer {
		v.ptr, t = true, t.Elem()
	}
	v.typ = t
	v.item, v.key, v.val = "member", "key", "value"
	if err := c.valueWords(v, words, prefix); err != nil {
		return err
	}
	sub := func(p string, t reflect.Type) (*value, error) {
		e := new(value)
		return e, c.value(e, t, words, prefix+p, false)
	}
	var err error
	switch t.Kind() {
	case reflect.String:
		v.kind = kindString
		if t.Implements(valuesType) {
			v.enum = reflect.Zero(t).Interface().(interface{ Values() []string }).Values()
		}
	case reflect.Bool:
		v.kind = kindBool
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.kind = kindInt
	case reflect.Float32, reflect.Float64:
		v.kind = kindFloat
	case reflect.Interface:
		v.kind = kindStream
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			v.kind = kindBlob
			break
		}
		v.kind = kindList
		v.elem, err = sub("e.", t.Elem())
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return fmt.Errorf("a map with keys of %v", t.Key())
		}
		v.kind = kindMap
		if v.mapKey, err = sub("k.", t.Key()); err == nil {
			v.elem, err = sub("e.", t.Elem())
		}
	case reflect.Struct:
		if t == timeType {
			v.kind = kindTime
			break
		}
		v.kind = kindStruct
		v.st, err = c.structure(t)
	default:
		return fmt.Errorf("no wire form for %v", t)
	}
	return err
}

func (c *compiler) valueWords(v *value, words []string, prefix string) error {
	for _, w := range words {
		w, mine := strings.CutPrefix(w, prefix)
		if !mine {
			continue
		}
		key, arg, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "item":
			v.item = arg
		case "key":
			v.key = arg
		case "val":
			v.val = arg
		case "flat":
			v.flat = true
		case "ns":
			v.ns = namespace(arg)
		case "sens":
			v.sens = true
		case "ts":
			v.time = map[string]timeFormat{"iso8601": timeISO, "rfc822": timeHTTP, "unix": timeUnix}[arg]
		case "min":
			v.hasMin = true
			v.min, err = strconv.ParseInt(arg, 10, 64)
		case "max":
			v.hasMax = true
			v.max, err = strconv.ParseInt(arg, 10, 64)
		case "pat":
			var i int
			if i, err = strconv.Atoi(arg); err == nil {
				if i < 0 || i >= len(c.service.Patterns) {
					return fmt.Errorf("no pattern %d", i)
				}
				v.pat = c.service.Patterns[i]
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// namespace renders "prefix|uri" as an attribute.
func namespace(s string) string {
	prefix, uri, _ := strings.Cut(s, "|")
	if prefix != "" {
		prefix = ":" + prefix
	}
	return " xmlns" + prefix + `="` + string(appendXMLText(nil, uri)) + `"`
}

// inAnswerBody says whether a member is in the body of an answer: labels and
// query keys exist in requests only.
func (f *field) inAnswerBody() bool { return f.in == inBody || f.in == inURI || f.in == inQuery }

// blank returns whether a member holds nothing: those are not emitted unless
// they are required (section 5).
func (f *field) blank(v reflect.Value) bool {
	if f.ptr {
		return v.IsNil()
	}
	switch f.kind {
	case kindString:
		return v.Len() == 0
	case kindBlob, kindList, kindMap, kindStream:
		return v.IsNil()
	case kindTime:
		return v.Addr().Interface().(*time.Time).IsZero()
	}
	return false // a required number or truth value is always there
}

// emitted returns whether a member is written: what is blank is not, but
// required texts, blobs, lists and maps are, as empty ones.
func (f *field) emitted(v reflect.Value) bool {
	if !f.blank(v) {
		return true
	}
	if f.ptr || !f.req && !f.always {
		return false
	}
	switch f.kind {
	case kindString, kindBlob, kindList, kindMap:
		return true
	}
	return false
}
