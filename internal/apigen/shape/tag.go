package shape

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// An Extra is what the overrides file adds to one member.
type Extra struct {
	Always bool // emit when empty
	Escape bool // percent-encode in answers (policy documents of IAM)
	Own    bool // the service checks the value and has an error of its own for it
}

// Tag returns the value of the aws tag of a structure's member. The index of
// a pattern in the package's table comes from pattern.
func (m *Model) Tag(st *Shape, name string, extra Extra, pattern func(string) int) string {
	ref := st.Members.ByKey[name]
	sh := m.Shapes.ByKey[ref.Shape]
	b := &tagWriter{model: m, pattern: pattern}
	wireName := name
	switch {
	case ref.LocationName != "":
		wireName = ref.LocationName
	case st.Payload == name && sh.Type == "structure":
		// The payload's root element, in XML.
		if wireName = sh.LocationName; wireName == "" {
			wireName = ref.Shape
		}
	}
	b.word(wireName)
	if ref.QueryName != "" {
		b.pair("q", ref.QueryName)
	} else if ref.LocationName == "" && m.Metadata.Protocol == "query" && m.flat(&ref, &sh) && sh.Member != nil && sh.Member.LocationName != "" {
		// In requests of awsQuery a flattened list has no element of its own:
		// the item's name replaces the member's (section 7).
		b.pair("q", sh.Member.LocationName)
	}
	switch {
	case st.Payload == name:
		b.pair("in", "body")
	case ref.Location != "":
		b.pair("in", map[string]string{"uri": "uri", "querystring": "query", "header": "header", "headers": "prefix", "statusCode": "status"}[ref.Location])
	}
	if slices.Contains(st.Required, name) {
		b.word("req")
	}
	if extra.Always {
		b.word("always")
	}
	if extra.Escape {
		b.word("esc")
	}
	if extra.Own {
		b.word("own")
	}
	if ref.XMLAttribute {
		b.word("attr")
	}
	b.value("", &ref, 0)
	return b.String()
}

// StructTag returns the value of the tag on a structure's blank field, or ""
// when it needs none: the name and namespace of its root element, union, strict.
func (m *Model) StructTag(st *Shape, ref *Ref, strict bool) string {
	b := new(tagWriter)
	name, ns := st.LocationName, st.XMLNamespace
	if name == "" && ref != nil && m.Metadata.Protocol == "rest-xml" {
		name = ref.Shape
	}
	if ref != nil {
		if ref.LocationName != "" {
			name = ref.LocationName
		}
		if ref.XMLNamespace != nil {
			ns = ref.XMLNamespace
		}
	}
	b.word(name)
	b.namespace("", ns)
	if st.Union {
		b.word("union")
	}
	if strict {
		b.word("strict")
	}
	if b.String() == "" {
		return ""
	}
	return b.String()
}

func (m *Model) flat(ref *Ref, sh *Shape) bool { return ref.Flattened || sh.Flattened }

type tagWriter struct {
	model   *Model
	pattern func(string) int
	items   []string
}

func (b *tagWriter) String() string         { return strings.TrimRight(strings.Join(b.items, ","), ",") }
func (b *tagWriter) word(w string)          { b.items = append(b.items, w) }
func (b *tagWriter) pair(key, value string) { b.items = append(b.items, key+"="+value) }

func (b *tagWriter) namespace(prefix string, ns *Namespace) {
	if ns != nil {
		b.pair(prefix+"ns", ns.Prefix+"|"+ns.URI)
	}
}

// value writes what a value's shape says. Items of list elements and map
// values are prefixed "e.", those of map keys "k.", once per level.
func (b *tagWriter) value(prefix string, ref *Ref, depth int) {
	sh := b.model.Shapes.ByKey[ref.Shape]
	if b.model.flat(ref, &sh) && (sh.Type == "list" || sh.Type == "map") {
		b.word(prefix + "flat")
	}
	format := ref.TimestampFormat
	if format == "" {
		format = sh.TimestampFormat
	}
	if sh.Type == "timestamp" && format != "" {
		b.pair(prefix+"ts", map[string]string{
			"iso8601": "iso8601", "rfc822": "rfc822", "unixTimestamp": "unix",
		}[format])
	}
	ns := ref.XMLNamespace
	if ns == nil && sh.Type != "structure" {
		ns = sh.XMLNamespace
	}
	b.namespace(prefix, ns)
	bound := func(key string, n json.Number) {
		if n != "" {
			b.pair(prefix+key, trimFloat(n))
		}
	}
	bound("min", sh.Min)
	bound("max", sh.Max)
	if sh.Pattern != "" && sh.Type == "string" && b.pattern != nil {
		if i := b.pattern(sh.Pattern); i >= 0 {
			b.pair(prefix+"pat", strconv.Itoa(i))
		}
	}
	if sh.Sensitive {
		b.word(prefix + "sens")
	}
	switch {
	case depth > 8: // a list that contains itself
	case sh.Type == "list":
		if sh.Member.LocationName != "" && sh.Member.LocationName != "member" {
			b.pair(prefix+"item", sh.Member.LocationName)
		}
		b.value(prefix+"e.", sh.Member, depth+1)
	case sh.Type == "map":
		if sh.Key.LocationName != "" && sh.Key.LocationName != "key" {
			b.pair(prefix+"key", sh.Key.LocationName)
		}
		if sh.Value.LocationName != "" && sh.Value.LocationName != "value" {
			b.pair(prefix+"val", sh.Value.LocationName)
		}
		b.value(prefix+"k.", sh.Key, depth+1)
		b.value(prefix+"e.", sh.Value, depth+1)
	}
}

// trimFloat writes 1.0 as 1: some models give whole bounds as floats.
func trimFloat(n json.Number) string {
	if f, err := n.Float64(); err == nil && f == float64(int64(f)) {
		return strconv.FormatInt(int64(f), 10)
	}
	return n.String()
}
