package wire_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/internal/apigen/shape"
	"github.com/leadglass/leadglass/wire"
)

// A suite is a miniature model with its cases (aws-protocols/README.md).
type suite struct {
	Metadata json.RawMessage
	Shapes   json.RawMessage
	Cases    []vector
}

type vector struct {
	ID, Description string
	Given           shape.Operation `json:"-"`
	RawGiven        json.RawMessage `json:"given"`
	Params, Result  map[string]any
	Error           map[string]any
	ErrorCode       string
	ErrorMessage    string
	Serialized      struct {
		Method, URI, Body string
		Headers           map[string]string
	}
	Response struct {
		Status  int `json:"status_code"`
		Headers map[string]string
		Body    string
	}
}

const (
	aPath        = "a base path of the endpoint is taken off before routing"
	aDocument    = "document types: no served API has one"
	aCompression = "request compression: no served API has it"
	aStream      = "event streams: no served API has one"
	aJSONValue   = "JSON as text (jsonvalue), which clients take apart: no served API has it"
	aNull        = "sparse lists and maps: no served API has one; null in a list is refused"
	aTolerance   = "what a client must tolerate and a server never sends"
	aFill        = "the client fills in a default: body and parameters differ on purpose"
	aNothing     = "the wire doesn't tell absent from empty here"
	aConflict    = "what a client does with contradictory parameters"
)

// notApplicable lists cases that are not driven, by id, with the reason.
var notApplicable = map[string]string{
	"input/query/QueryEmptyQueryMaps":                        aNothing,
	"input/rest-json/RestJsonOmitsEmptyListQueryValues":      aNothing,
	"input/rest-json/RestJsonHttpPrefixHeadersAreNotPresent": aNothing,
	"input/rest-json/RestJsonHostWithPath":                   aPath,
	"input/rest-json/RestJsonQueryPrecedence":                aConflict,
	"input/rest-json/RestJsonHttpWithEmptyStructurePayload":  aFill,
	"input/ec2/Ec2ProtocolIdempotencyTokenAutoFill":          aFill,
	"input/query/QueryProtocolIdempotencyTokenAutoFill":      aFill,
	"output/json/AwsJson11IntEnums":                          "the answer's headers are those of a request",
	"output/rest-json/HttpPrefixHeadersResponse":             "a prefix of nothing: no served API has it",
	"output/rest-xml/InvalidGreetingError":                   aTolerance, // an unmodelled member
	"input/rest-xml/QueryIdempotencyTokenAutoFill":           aFill,
}

// notApplicableElsewhere are the like of the whole collection, of which the
// project holds a sample.
var notApplicableElsewhere = map[string]string{
	"input/ec2/Ec2EmptyQueryLists":                        aNothing,
	"input/rest-xml/HttpPrefixHeadersAreNotPresent":       aNothing,
	"input/rest-xml/RestXmlQueryPrecedence":               aConflict,
	"input/rest-json/RestJsonHttpWithHeadersButNoPayload": aFill,
}

// inapplicable finds the cases that need what no served API has, also among
// those that others bring.
func inapplicable(m *shape.Model, c *vector) string {
	uses := func(what func(shape.Ref, shape.Shape) bool) bool {
		return c.Given.Input != nil && reaches(m, c.Given.Input, c.Params, what) ||
			c.Given.Output != nil && reaches(m, c.Given.Output, c.Result, what)
	}
	switch {
	case strings.Contains(string(c.RawGiven), `"requestcompression"`):
		return aCompression
	case uses(func(_ shape.Ref, s shape.Shape) bool { return s.Document }):
		return aDocument
	case uses(func(_ shape.Ref, s shape.Shape) bool { return s.EventStream }):
		return aStream
	case uses(func(r shape.Ref, _ shape.Shape) bool { return r.JSONValue }):
		return aJSONValue
	case tolerance(c):
		return aTolerance
	case hasNull(m, c.Given.Input, c.Params), hasNull(m, c.Given.Output, c.Result):
		return aNull
	case strings.HasPrefix(c.Serialized.URI, "/custom/") && strings.Contains(c.Given.HTTP.RequestURI, "HostWithPath"):
		return aPath
	case strings.Contains(c.ID, "TokenAutoFill") && len(c.Params) == 0:
		return aFill
	}
	return ""
}

// reaches says whether a value has a part of whose shape what holds.
func reaches(m *shape.Model, r *shape.Ref, x any, what func(shape.Ref, shape.Shape) bool) bool {
	s := m.Shapes.ByKey[r.Shape]
	if what(*r, s) {
		return true
	}
	switch x := x.(type) {
	case map[string]any:
		for k, v := range x {
			below := s.Value
			if s.Type == "structure" {
				ref := s.Members.ByKey[k]
				below = &ref
			}
			if below != nil && reaches(m, below, v, what) {
				return true
			}
		}
	case []any:
		for _, v := range x {
			if s.Member != nil && reaches(m, s.Member, v, what) {
				return true
			}
		}
	}
	return false
}

// tolerance finds answers that test a client's patience.
func tolerance(c *vector) bool {
	for _, words := range []string{"clients can correctly parse", "tolera", "client-only", "gracefully", "Ignores an unrecognized", "ignore JSON output"} {
		if strings.Contains(strings.ReplaceAll(c.Description, "\n", " "), words) {
			return true
		}
	}
	return strings.Contains(c.Response.Body, ": null")
}

// hasNull looks for null in lists and maps and below; members that are null
// are just absent.
func hasNull(m *shape.Model, r *shape.Ref, x any) bool {
	if r == nil {
		return false
	}
	s := m.Shapes.ByKey[r.Shape]
	switch x := x.(type) {
	case map[string]any:
		for k, v := range x {
			below := s.Value
			if s.Type == "structure" {
				ref := s.Members.ByKey[k]
				below = &ref
			} else if v == nil {
				return true
			}
			if hasNull(m, below, v) {
				return true
			}
		}
	case []any:
		for _, v := range x {
			if v == nil || hasNull(m, s.Member, v) {
				return true
			}
		}
	}
	return false
}

var protocols = map[string]wire.Protocol{
	"json": wire.JSON11, "json_1_0": wire.JSON10, "query": wire.Query, "ec2": wire.EC2, "rest-json": wire.RESTJSON, "rest-xml": wire.RESTXML,
}

// eachVector runs the cases of the project and those that others bring.
func eachVector(t *testing.T, direction string, run func(*testing.T, wire.Protocol, *shape.Model, *vector)) {
	dirs := []string{filepath.Join("..", "testdata", "vectors", "aws-protocols", direction)}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		dirs = append(dirs, filepath.Join(extra, "aws-protocols", direction))
	}
	seen := map[string]bool{}
	for _, dir := range dirs {
		for file, protocol := range protocols {
			text, err := os.ReadFile(filepath.Join(dir, file+".json"))
			if errors.Is(err, os.ErrNotExist) && dir != dirs[0] {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			var suites []suite
			if err := json.Unmarshal(text, &suites); err != nil {
				t.Fatal(err)
			}
			for _, s := range suites {
				m, err := shape.Parse(fmt.Appendf(nil, `{"metadata":%s,"operations":{},"shapes":%s}`, s.Metadata, s.Shapes))
				if err != nil {
					t.Fatal(err)
				}
				for i := range s.Cases {
					c := &s.Cases[i]
					if err := json.Unmarshal(c.RawGiven, &c.Given); err != nil {
						t.Fatal(err)
					}
					name := direction + "/" + file + "/" + c.ID
					seen[name] = true
					t.Run(strings.TrimPrefix(name, direction+"/"), func(t *testing.T) {
						if why := notApplicable[name]; why != "" {
							t.Skip(why)
						}
						if why := notApplicableElsewhere[name]; why != "" {
							t.Skip(why)
						}
						if why := inapplicable(m, c); why != "" {
							t.Skip(why)
						}
						run(t, protocol, m, c)
					})
				}
			}
		}
	}
	for name := range notApplicable {
		if strings.HasPrefix(name, direction+"/") && !seen[name] {
			t.Errorf("%s is listed as not applicable, but there is no such case", name)
		}
	}
}

// operation makes what the generator would write for the case's operation.
func (tm *typeMaker) operation(p wire.Protocol, c *vector) *wire.OpInfo {
	meta := tm.m.Metadata
	g := c.Given
	if g.HTTP.RequestURI == "" {
		g.HTTP.RequestURI, g.HTTP.Method = "/", "POST"
	}
	op := &wire.OpInfo{
		Service: &wire.Service{
			Name: "test", SigningName: "test", Protocol: p, Version: meta.APIVersion,
			TargetPrefix: meta.TargetPrefix, Namespace: meta.XMLNamespace.URI,
		},
		Name: g.Name, Method: g.HTTP.Method, Path: g.HTTP.RequestURI, Status: g.HTTP.ResponseCode, NoOutput: g.Output == nil,
		Input: tm.structure(g.Input, 0), Output: tm.structure(g.Output, 0),
	}
	if g.Output != nil {
		op.ResultWrapper = g.Output.ResultWrapper
		if op.ResultWrapper == "" && p == wire.Query && strings.Contains(c.Response.Body, g.Name+"Result>") {
			op.ResultWrapper = g.Name + "Result" // the cases leave it out of their models
		}
	}
	return op
}

func TestRequestsOfTheProtocolCasesAreDecoded(t *testing.T) {
	eachVector(t, "input", func(t *testing.T, p wire.Protocol, m *shape.Model, c *vector) {
		tm := &typeMaker{m: m}
		op := tm.operation(p, c)
		path, query, _ := strings.Cut(c.Serialized.URI, "?")
		req := &wire.Request{Method: c.Serialized.Method, RawPath: path, RawQuery: query, Header: http.Header{}, Body: []byte(c.Serialized.Body)}
		for name, value := range c.Serialized.Headers {
			req.Header.Set(name, value)
		}
		r, err := wire.NewRouter(wire.RouterConfig{Operations: []*wire.OpInfo{op}})
		if err != nil {
			t.Fatal(err)
		}
		if target := req.Header.Get("X-Amz-Target"); target == "" && (p == wire.JSON10 || p == wire.JSON11) {
			t.Log("the case gives no target")
		} else if found, err := r.Operation(op.Service, req); err != nil || found != op {
			t.Errorf("not routed to its operation: %v", err)
		}
		in := reflect.New(op.Input)
		if err := wire.Decode(op, p, req, in.Interface()); err != nil {
			t.Fatalf("%v\n%s", err, c.Serialized.Body)
		}
		want, got := any(map[string]any{}), any(map[string]any{})
		if c.Given.Input != nil {
			want, got = tm.normal(c.Given.Input, c.Params), tm.logical(c.Given.Input, in.Elem())
			if want == nil {
				want = map[string]any{}
			}
			tm.trimQueryMaps(c.Given.Input, want, got)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("decoded input (-want +got):\n%s\n%s", d, c.Serialized.Body)
		}
		if err := wire.Validate(op, req, in.Interface()); err != nil {
			t.Errorf("valid input refused: %v", err)
		}
	})
}

// normal leaves out null and empty texts of members, which Go values of ours
// don't tell from absent ones.
func (tm *typeMaker) normal(ref *shape.Ref, x any) any {
	s := tm.m.Shapes.ByKey[ref.Shape]
	switch x := x.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, v := range x {
			if s.Type == "map" {
				m[k] = tm.normal(s.Value, v)
			} else if r := s.Members.ByKey[k]; v != nil && v != "" {
				m[k] = tm.normal(&r, v)
			}
		}
		return m
	case []any:
		l := []any{}
		for _, v := range x {
			l = append(l, tm.normal(s.Member, v))
		}
		return l
	}
	return x
}

// trimQueryMaps takes from maps of query keys what is bound to other members:
// a server gives it to both, but the cases list what the client was told.
func (tm *typeMaker) trimQueryMaps(ref *shape.Ref, want, got any) {
	s := tm.m.Shapes.ByKey[ref.Shape]
	w, g := want.(map[string]any), got.(map[string]any)
	for _, name := range s.Members.Names {
		r := s.Members.ByKey[name]
		if r.Location != "querystring" || tm.m.Shapes.ByKey[r.Shape].Type != "map" || g[name] == nil {
			continue
		}
		wanted, _ := w[name].(map[string]any)
		for key := range g[name].(map[string]any) {
			if wanted[key] == nil {
				delete(g[name].(map[string]any), key)
			}
		}
		if wanted == nil {
			delete(g, name)
		}
	}
}

func TestAnswersOfTheProtocolCasesAreEncoded(t *testing.T) {
	const id = "requestid"
	eachVector(t, "output", func(t *testing.T, p wire.Protocol, m *shape.Model, c *vector) {
		tm := &typeMaker{m: m}
		op := tm.operation(p, c)
		var res wire.Response
		if c.ErrorCode != "" {
			res = encodeErrorCase(t, tm, op, p, c)
		} else {
			out := reflect.New(op.Output)
			if c.Given.Output != nil {
				tm.fill(c.Given.Output, out.Elem(), any(c.Result))
			}
			var err error
			if res, err = wire.EncodeOutput(op, p, id, out.Interface(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if want := c.Response.Status; res.Status != want && (c.ErrorCode == "" || p == wire.RESTJSON || p == wire.RESTXML) {
			t.Errorf("status %d, want %d", res.Status, want)
		}
		for name, want := range c.Response.Headers {
			got := res.Header.Get(name)
			if http.CanonicalHeaderKey(name) == "Content-Type" {
				got = res.ContentType
				if p == wire.Query || p == wire.EC2 || got == "application/octet-stream" || c.Response.Body == "" {
					continue // ours are those of the real services; a blob's is the service's to know
				}
			}
			if http.CanonicalHeaderKey(name) == "Content-Length" {
				got = strconv.Itoa(len(res.Body)) // gate's
			}
			if slices.Contains([]string{"X-Amzn-Requestid", "X-Amzn-Errortype"}, http.CanonicalHeaderKey(name)) {
				continue // gate's, and checked by encodeErrorCase
			}
			if got != want {
				t.Errorf("header %s is %q, want %q", name, got, want)
			}
		}
		body := res.Body
		if res.Stream != nil {
			var err error
			if body, err = io.ReadAll(res.Stream); err != nil {
				t.Fatal(err)
			}
		}
		compareBodies(t, p, m, c, res, body)
	})
}

func encodeErrorCase(t *testing.T, tm *typeMaker, op *wire.OpInfo, p wire.Protocol, c *vector) wire.Response {
	for _, e := range c.Given.Errors {
		s := tm.m.Shapes.ByKey[e.Shape]
		code := e.Shape
		if (p == wire.Query || p == wire.RESTXML || p == wire.EC2) && s.Error.Code != "" {
			code = s.Error.Code
		}
		if code != c.ErrorCode {
			continue
		}
		detail := reflect.New(tm.structure(&shape.Ref{Shape: e.Shape}, 0))
		tm.fill(&shape.Ref{Shape: e.Shape}, detail.Elem(), any(c.Error))
		message := c.ErrorMessage
		for name, x := range c.Error {
			if strings.EqualFold(name, "message") && message == "" {
				message, _ = x.(string)
			}
		}
		if _, after, ok := strings.Cut(c.Response.Body, "<Message>"); ok && message == "" {
			message, _, _ = strings.Cut(after, "<") // some cases have it only there
		}
		f := &wire.Fault{Code: code, Message: message, Status: s.Error.HTTPStatusCode, Server: s.Fault}
		if f.Status == 0 {
			f.Status = 400
		}
		res := wire.EncodeErrorOf(op.Service, p, "requestid", f, detail.Interface())
		switch p {
		case wire.RESTJSON:
			if got := res.Header.Get("X-Amzn-Errortype"); got != code {
				t.Errorf("x-amzn-errortype is %q", got)
			}
		case wire.JSON10, wire.JSON11:
			if !bytes.HasPrefix(res.Body, []byte(`{"__type":"`+code+`"`)) {
				t.Errorf("no type in %s", res.Body)
			}
		}
		return res
	}
	t.Fatalf("no shape for the error %s", c.ErrorCode)
	return wire.Response{}
}

func compareBodies(t *testing.T, p wire.Protocol, m *shape.Model, c *vector, res wire.Response, got []byte) {
	t.Helper()
	want := []byte(c.Response.Body)
	raw := c.Given.Output != nil && c.ErrorCode == "" && rawPayload(m, m.Shapes.ByKey[c.Given.Output.Shape])
	switch {
	case raw:
		if string(got) != string(want) {
			t.Errorf("body %q, want %q", got, want)
		}
	case p == wire.Query || p == wire.EC2 || p == wire.RESTXML:
		hasMap := false
		for _, s := range m.Shapes.ByKey {
			hasMap = hasMap || s.Type == "map"
		}
		empty := hasEmptyText(c.Result)
		if len(want) == 0 && len(res.ContentType) > 0 && p != wire.RESTXML {
			want = fmt.Appendf(nil, "<%sResponse/>", c.Given.Name) // the cases don't care; AWS sends the frame
		}
		g, w := canonicalXML(t, got, hasMap, empty), canonicalXML(t, want, hasMap, empty)
		// EC2 and S3 write milliseconds (section 5), the cases don't.
		g = strings.ReplaceAll(g, ".000Z", "Z")
		if c.Given.Output != nil && c.ErrorCode == "" && m.Shapes.ByKey[c.Given.Output.Shape].Payload != "" {
			// Clients don't look at a payload's root, and the cases disagree.
			g, w = g[strings.IndexAny(g+" ", " >"):], w[strings.IndexAny(w+" ", " >"):]
			g, w = g[:strings.LastIndex("<"+g, "<")], w[:strings.LastIndex("<"+w, "<")]
		}
		if g != w {
			t.Errorf("body\n%s\nwant\n%s\n(%s)\n%s", g, w, got, want)
		}
	default:
		g, w := canonicalJSON(t, got), canonicalJSON(t, want)
		if d := cmp.Diff(w, g); d != "" {
			t.Errorf("body (-want +got):\n%s", d)
		}
	}
}

// hasEmptyText says whether a result has a member that is an empty text: our
// types don't tell those from absent ones.
func hasEmptyText(x any) bool {
	switch x := x.(type) {
	case map[string]any:
		for _, v := range x {
			if v == "" || hasEmptyText(v) {
				return true
			}
		}
	case []any:
		for _, v := range x {
			if hasEmptyText(v) {
				return true
			}
		}
	}
	return false
}

func rawPayload(m *shape.Model, s shape.Shape) bool {
	if s.Payload == "" {
		return false
	}
	return m.Shapes.ByKey[s.Members.ByKey[s.Payload].Shape].Type != "structure"
}

// canonicalJSON drops what names the error's type; an empty body is no value.
func canonicalJSON(t *testing.T, body []byte) any {
	t.Helper()
	if len(body) == 0 {
		return nil
	}
	var x any
	if err := json.Unmarshal(body, &x); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if m, ok := x.(map[string]any); ok {
		for _, k := range []string{"__type", "code"} {
			delete(m, k)
		}
		if len(m) == 0 {
			return nil
		}
	}
	return x
}

// canonicalXML writes a document without what may differ: prefixes of
// namespaces, request ids, white space between elements, the order of members
// (not of entries of a list).
func canonicalXML(t *testing.T, body []byte, sortAll, dropEmpty bool) string {
	t.Helper()
	if len(body) == 0 {
		return ""
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	space := "" // of the root; elements below inherit it
	var element func(start xml.StartElement, root bool) string
	element = func(start xml.StartElement, root bool) string {
		var children []string
		text := ""
		for {
			tok, err := d.Token()
			if err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			switch tok := tok.(type) {
			case xml.StartElement:
				c := element(tok, false)
				switch tok.Name.Local {
				case "RequestId", "RequestID", "requestId", "ResponseMetadata":
				default:
					if !dropEmpty || !strings.HasSuffix(c, "></"+tok.Name.Local+">") || strings.Contains(c, "=") {
						children = append(children, c)
					}
				}
				continue
			case xml.CharData:
				text += string(tok)
				continue
			case xml.Comment:
				continue
			case xml.EndElement:
			}
			break
		}
		name := func(s string) string { return s[1:strings.IndexAny(s, " >")] }
		slices.SortStableFunc(children, func(a, b string) int {
			if sortAll {
				return strings.Compare(a, b)
			}
			return strings.Compare(name(a), name(b))
		})
		b := "<" + start.Name.Local
		var attrs []string
		if start.Name.Space != space {
			attrs = append(attrs, fmt.Sprintf(" xmlns=%q", start.Name.Space))
		}
		for _, a := range start.Attr {
			if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
				attrs = append(attrs, fmt.Sprintf(" %s=%q", a.Name.Local, a.Value))
			}
		}
		slices.Sort(attrs)
		b += strings.Join(attrs, "")
		if strings.TrimSpace(text) == "" && (root || dropEmpty || strings.Contains(text, "\n")) {
			text = ""
		}
		if len(children) > 0 {
			text = strings.Join(children, "")
		}
		return b + ">" + text + "</" + start.Name.Local + ">"
	}
	for {
		tok, err := d.Token()
		if err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		if start, ok := tok.(xml.StartElement); ok {
			space = start.Name.Space
			return element(start, true)
		}
	}
}
