package wire_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/wire"
)

// What the generator would write for a small restXml and restJson1 API, with
// every binding and every form of list and map.
type putInput struct {
	_        struct{}          `aws:"Put,ns=|http://x.example/"`
	Bucket   string            `aws:"Bucket,in=uri,req"`
	Key      string            `aws:"Key,in=uri,req"`
	Version  string            `aws:"versionId,in=query"`
	Parts    []int32           `aws:"part,in=query"`
	Quiet    *bool             `aws:"x-quiet,in=header"`
	Since    time.Time         `aws:"If-Modified-Since,in=header"`
	Names    []string          `aws:"x-names,in=header"`
	Metadata map[string]string `aws:"x-meta-,in=prefix"`
	Owner    *owner            `aws:"Owner,ns=xsi|http://www.w3.org/2001/XMLSchema-instance"`
	Grants   []grant           `aws:"AccessControlList,item=Grant"`
	Tags     []grant           `aws:"Tag,flat"`
	Notes    map[string]string `aws:"Notes"`
	Flat     map[string]int32  `aws:"Flat,flat,key=K,val=V"`
	When     time.Time         `aws:"When"`
	Data     []byte            `aws:"Data"`
	Choice   *choice           `aws:"Choice"`
}

type owner struct {
	Type string `aws:"xsi:type,attr"`
	ID   string `aws:"ID,req,min=1"`
	Age  *int32 `aws:"Age"`
}

type grant struct {
	Who   string `aws:"Who"`
	Right string `aws:"Right"`
}

type choice struct {
	_     struct{} `aws:",union"`
	Left  *string  `aws:"Left"`
	Right *int32   `aws:"Right"`
}

type putOutput struct {
	_      struct{}          `aws:"PutResult,ns=|http://x.example/"`
	Code   *int32            `aws:"code,in=status"`
	ETag   string            `aws:"ETag,in=header"`
	Names  []string          `aws:"x-names,in=header"`
	Meta   map[string]string `aws:"x-meta-,in=prefix"`
	Owner  *owner            `aws:"Owner,ns=xsi|http://www.w3.org/2001/XMLSchema-instance"`
	Grants []grant           `aws:"AccessControlList,item=Grant"`
	Tags   []grant           `aws:"Tag,flat"`
	Notes  map[string]string `aws:"Notes"`
	Empty  []string          `aws:"Empty,req"`
	When   time.Time         `aws:"When"`
	Data   []byte            `aws:"Data"`
}

type streamInput struct {
	Key  string    `aws:"Key,in=uri"`
	Body io.Reader `aws:"Body,in=body"`
}

type streamOutput struct {
	Length *int64        `aws:"x-length,in=header"`
	Body   io.ReadCloser `aws:"Body,in=body"`
}

var (
	xmlService  = &wire.Service{Name: "x", SigningName: "x", Protocol: wire.RESTXML}
	jsonService = &wire.Service{Name: "j", SigningName: "j", Protocol: wire.RESTJSON}
	ec2Service  = &wire.Service{Name: "e", SigningName: "e", Protocol: wire.EC2, Version: "2016-11-15", Namespace: "http://ec2.amazonaws.com/doc/2016-11-15"}
	putXML      = wire.NewOp[putInput, putOutput](&wire.OpInfo{Service: xmlService, Name: "Put", Method: "PUT", Path: "/{Bucket}/{Key+}"})
	putJSON     = wire.NewOp[putInput, putOutput](&wire.OpInfo{Service: jsonService, Name: "Put", Method: "PUT", Path: "/{Bucket}/{Key+}", Status: 201})
	stream      = wire.NewOp[streamInput, streamOutput](&wire.OpInfo{Service: jsonService, Name: "Stream", Method: "PUT", Path: "/{Key}"})
)

func putRequest(body string) *wire.Request {
	return &wire.Request{
		Method: "PUT", RawPath: "/b%20b/a/%2F/c", RawQuery: "versionId=v+1&part=1&part=2&other=x",
		Header: http.Header{"X-Quiet": {"true"}, "If-Modified-Since": {"Tue, 14 Nov 2023 22:13:20 GMT"}, "X-Names": {`a, "b,c", d`, "e"}, "X-Meta-One": {"1"}, "X-Meta-Two": {"2"}},
		Body:   []byte(body),
	}
}

func bound() putInput {
	yes := true
	return putInput{
		Bucket: "b b", Key: "a///c", Version: "v 1", Parts: []int32{1, 2}, Quiet: &yes, Since: time.Unix(1700000000, 0).UTC(),
		Names: []string{"a", "b,c", "d", "e"}, Metadata: map[string]string{"one": "1", "two": "2"},
	}
}

func TestARestXMLRequestIsReadFromAllItsPlaces(t *testing.T) {
	age := int32(7)
	left := "l"
	want := bound()
	want.Owner = &owner{Type: "User", ID: "a<b>&\"'é", Age: &age}
	want.Grants = []grant{{Who: "x", Right: "READ"}, {}}
	want.Tags = []grant{{Who: "1"}, {Who: "2"}}
	want.Notes = map[string]string{"k": " v "}
	want.Flat = map[string]int32{"a": 1, "b": 2}
	want.When = time.Unix(1700000000, 5e8).UTC()
	want.Data = []byte("blob")
	want.Choice = &choice{Left: &left}
	var in putInput
	err := wire.Decode(putXML.OpInfo, wire.RESTXML, putRequest(`<?xml version="1.0"?><!-- hello -->
<p:Put xmlns:p="http://x.example/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <p:Owner xsi:type="User"><ID>a&lt;b&gt;&amp;&quot;&apos;&#xE9;</ID><Age> 7 </Age><Unknown><deep/></Unknown></p:Owner>
 <AccessControlList><Grant><Who>x</Who><Right>RE<!-- in --><![CDATA[AD]]></Right></Grant><Grant/><Other/></AccessControlList>
 <Tag><Who>1</Who></Tag><Nope>x</Nope><Tag><Who>2</Who></Tag>
 <Notes><entry><key>k</key><value> v </value></entry></Notes>
 <Flat><K>a</K><V>1</V></Flat><Flat><V>2</V><K>b</K></Flat>
 <When>2023-11-14T23:13:20.5+01:00</When><Data>YmxvYg==</Data><Choice><Left>l</Left></Choice>
</p:Put>
`), &in)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, in, cmp.AllowUnexported(putInput{}, choice{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestARestJSONRequestIsReadFromAllItsPlaces(t *testing.T) {
	want := bound()
	want.Owner = &owner{ID: "o"}
	want.Tags = []grant{{Who: "1"}}
	var in putInput
	if err := wire.Decode(putJSON.OpInfo, wire.RESTJSON, putRequest(`{"Owner":{"ID":"o"},"Tag":[{"Who":"1"}],"Bucket":"from the body"}`), &in); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, in, cmp.AllowUnexported(putInput{}, choice{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	in = putInput{}
	if err := wire.Decode(putJSON.OpInfo, wire.RESTJSON, putRequest(""), &in); err != nil {
		t.Errorf("no body: %v", err)
	}
}

func TestXMLThatIsRefused(t *testing.T) {
	deep := strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100)
	for name, body := range map[string]string{
		"no document":                   " ",
		"text alone":                    "x",
		"an unclosed element":           "<Put>",
		"an end alone":                  "</Put>",
		"crossed elements":              "<Put><Owner></Put></Owner>",
		"two roots":                     "<Put/><Put/>",
		"text after the root":           "<Put/>x",
		"a document type":               `<!DOCTYPE Put [<!ENTITY x "y">]><Put/>`,
		"a document type inside":        `<Put><!DOCTYPE x></Put>`,
		"an external entity":            `<!DOCTYPE Put SYSTEM "http://evil.example/x"><Put/>`,
		"an unknown entity":             "<Put><Owner><ID>&x;</ID></Owner></Put>",
		"an unclosed entity":            "<Put><Owner><ID>&lt</ID></Owner></Put>",
		"a NUL by reference":            "<Put><Owner><ID>&#0;</ID></Owner></Put>",
		"a surrogate by reference":      "<Put><Owner><ID>&#xD800;</ID></Owner></Put>",
		"a huge reference":              "<Put><Owner><ID>&#x110000;</ID></Owner></Put>",
		"a control character":           "<Put><Owner><ID>\x01</ID></Owner></Put>",
		"bytes that are not UTF-8":      "<Put><Owner><ID>\xff</ID></Owner></Put>",
		"an instruction":                `<Put><?php evil ?></Put>`,
		"a late declaration":            `<Put/><?xml version="1.0"?>`,
		"an attribute without quotes":   `<Put a=b/>`,
		"attributes without space":      `<Put a="b"c="d"/>`,
		"a tag in an attribute":         `<Put a="<"/>`,
		"too deep":                      "<Put>" + deep + "</Put>",
		"an element where text belongs": "<Put><Owner><ID><x/></ID></Owner></Put>",
		"a bad number":                  "<Put><Owner><Age>x</Age></Owner></Put>",
		"a bad time":                    "<Put><When>noon</When></Put>",
		"a bad blob":                    "<Put><Data>*</Data></Put>",
		"a map entry without a key":     "<Put><Notes><entry><value>v</value></entry></Notes></Put>",
		"a map entry without a value":   "<Put><Notes><entry><key>v</key></entry></Notes></Put>",
		"too many entries":              "<Put>" + strings.Repeat("<Tag/>", wire.MaxEntries+1) + "</Put>",
		"an unclosed comment":           "<Put><!-- ",
		"two hyphens in a comment":      "<Put><!-- -- --></Put>",
		"CDATA outside the root":        "<![CDATA[x]]><Put/>",
		"an unclosed CDATA":             "<Put><![CDATA[x</Put>",
		"the end of a CDATA in a text":  "<Put>]]></Put>",
	} {
		var in putInput
		if err := wire.Decode(putXML.OpInfo, wire.RESTXML, putRequest(body), &in); code(err) != "MalformedXML" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadBindingsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*wire.Request){
		"a bad truth value":  func(r *wire.Request) { r.Header["X-Quiet"] = []string{"yes"} },
		"a bad date":         func(r *wire.Request) { r.Header["If-Modified-Since"] = []string{"Tue, 14 Brumaire"} },
		"a bad number":       func(r *wire.Request) { r.RawQuery = "part=one" },
		"a bad query string": func(r *wire.Request) { r.RawQuery = "versionId=%" },
		"a bad label":        func(r *wire.Request) { r.RawPath = "/%zz/k" },
		"a label not UTF-8":  func(r *wire.Request) { r.RawPath = "/%ff/k" },
		"a header not UTF-8": func(r *wire.Request) { r.Header["X-Names"] = []string{"\xff"} },
	} {
		req := putRequest("")
		change(req)
		var in putInput
		if err := wire.Decode(putJSON.OpInfo, wire.RESTJSON, req, &in); code(err) != "SerializationException" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConstraintsInsideDocuments(t *testing.T) {
	for body, want := range map[string]string{
		`{"Owner":{}}`:                               "1 validation error detected: Value null at 'owner.iD' failed to satisfy constraint: Member must not be null",
		`{"Choice":{}}`:                              "1 validation error detected: Value at 'choice' failed to satisfy constraint: Member must have exactly one member set",
		`{"Choice":{"Left":"l","Right":1}}`:          "1 validation error detected: Value at 'choice' failed to satisfy constraint: Member must have exactly one member set",
		`{"Choice":{"Left":"l"},"Owner":{"ID":"i"}}`: "",
	} {
		req := putRequest(body)
		var in putInput
		if err := wire.Decode(putJSON.OpInfo, wire.RESTJSON, req, &in); err != nil {
			t.Fatal(err)
		}
		got := ""
		if f, ok := wire.FaultOf(wire.Validate(putJSON.OpInfo, req, &in)); ok {
			got = f.Message
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
}

func TestStreamsAreHandedOnUnread(t *testing.T) {
	body := strings.NewReader("block")
	var in streamInput
	if err := wire.Decode(stream.OpInfo, wire.RESTJSON, &wire.Request{Method: "PUT", RawPath: "/k", Stream: body}, &in); err != nil {
		t.Fatal(err)
	}
	if in.Body != body || body.Len() != 5 || in.Key != "k" {
		t.Errorf("got %+v, %d bytes left", in, body.Len())
	}
	n := int64(5)
	out := io.NopCloser(body)
	res, err := wire.EncodeOutput(stream.OpInfo, wire.RESTJSON, "", &streamOutput{Length: &n, Body: out}, nil)
	if err != nil || res.Stream != out || res.Body != nil || res.Header.Get("X-Length") != "5" {
		t.Errorf("got %+v, %v", res, err)
	}
}
