package wire_test

import (
	"strings"
	"testing"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/wire"
)

// nested has constraints in places that the served APIs don't.
type nested struct {
	Numbers []int32             `aws:"Numbers,e.min=1,e.max=9"`
	Blobs   [][]byte            `aws:"Blobs,e.max=2"`
	Lists   [][]string          `aws:"Lists,e.max=2,e.e.min=1"`
	Maps    []map[string]string `aws:"Maps,e.k.max=2,e.e.max=3"`
	ByName  map[string][]string `aws:"ByName,k.max=3,e.max=1"`
	Secrets []string            `aws:"Secrets,e.max=2,e.sens"`
	Deep    map[string]nested   `aws:"Deep"`
	Count   int32               `aws:"Count,req,min=2"`
}

var nestedOp = wire.NewOp[nested, nested](&wire.OpInfo{Service: jsonService, Name: "Nested"})

func TestConstraintsOfNestedEntries(t *testing.T) {
	entry := func(value, path, what, text string) string {
		if value != "" {
			value = "'" + value + "' "
		}
		return "1 validation error detected: Value " + value + "at '" + path + "' failed to satisfy constraint: " + what + "[" + text + "]"
	}
	const member, keys, values = "Member must satisfy constraint: ", "Map keys must satisfy constraint: ", "Map value must satisfy constraint: "
	for body, want := range map[string]string{
		`"Numbers":[1,9]`: "",
		`"Numbers":[1,10]`: entry("[1, 10]", "numbers", member,
			"Member must have value less than or equal to 9, Member must have value greater than or equal to 1"),
		`"Blobs":["YWI="]`:                "",
		`"Blobs":["YWJj"]`:                entry("", "blobs", member, "Member must have length less than or equal to 2"),
		`"Lists":[["a"],["b","c"]]`:       "",
		`"Lists":[["a","b","c"]]`:         entry("", "lists", member, "Member must have length less than or equal to 2"),
		`"Lists":[[""]]`:                  entry("", "lists", member, "Member must have length less than or equal to 2"),
		`"Maps":[{"ab":"abc"}]`:           "",
		`"Maps":[{"abc":""}]`:             entry("", "maps", member, ""),
		`"Maps":[{"a":"abcd"}]`:           entry("", "maps", member, ""),
		`"ByName":{"abc":["x"]}`:          "",
		`"ByName":{"abcd":[]}`:            entry("", "byName", keys, "Member must have length less than or equal to 3"),
		`"ByName":{"a":["x","y"]}`:        entry("", "byName", values, "Member must have length less than or equal to 1"),
		`"Secrets":["abc"]`:               entry("", "secrets", member, "Member must have length less than or equal to 2"),
		`"Deep":{"a":{"Count":1}}`:        "1 validation error detected: Value '1' at 'deep.count' failed to satisfy constraint: Member must have value greater than or equal to 2",
		`"Deep":{"a":{}}`:                 "1 validation error detected: Value null at 'deep.count' failed to satisfy constraint: Member must not be null",
		`"Deep":{"a":{"Count":2}},"x":{}`: "",
	} {
		in := new(nested)
		req := &wire.Request{Body: []byte(`{"Count":2,` + body + `}`)}
		if err := wire.Decode(nestedOp.OpInfo, wire.JSON11, req, in); err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		got := ""
		if f, ok := wire.FaultOf(wire.Validate(nestedOp.OpInfo, req, in)); ok {
			got = f.Message
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
}

func TestARequiredNumberThatIsAbsentIsNotZero(t *testing.T) {
	in := new(nested)
	req := &wire.Request{Body: []byte(`{}`)}
	if err := wire.Decode(nestedOp.OpInfo, wire.JSON11, req, in); err != nil {
		t.Fatal(err)
	}
	err := wire.Validate(nestedOp.OpInfo, req, in)
	if f, ok := wire.FaultOf(err); !ok || !strings.Contains(f.Message, "Value null at 'count'") {
		t.Error(err)
	}
}

func TestLongValuesAreCutInMessages(t *testing.T) {
	in := &kms.DescribeKeyInput{KeyId: strings.Repeat("é", 5000)}
	f, ok := wire.FaultOf(wire.Validate(kms.DescribeKey.OpInfo, nil, in))
	if !ok || len(f.Message) > 2300 || !strings.HasPrefix(f.Message, "1 validation error detected: Value 'éé") {
		t.Errorf("%d bytes: %v", len(f.Message), f)
	}
}

func TestTextsThatJSONMustEscape(t *testing.T) {
	out := &kms.EncryptOutput{KeyId: "\"\\\n\r\t\x00\x1f/<>&é𝄞\u2028\xffx\x7f"}
	res, err := wire.EncodeOutput(kms.Encrypt.OpInfo, wire.JSON11, "", out, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"KeyId":"\"\\\n\r\t\u0000\u001f/<>&é𝄞` + "\u2028\uFFFD" + `x` + "\x7f" + `"}`
	if string(res.Body) != want {
		t.Errorf("got %s\nwant %s", res.Body, want)
	}
}

func TestTextsThatXMLMustEscape(t *testing.T) {
	out := &sts.GetCallerIdentityOutput{Arn: "<a b=\"c\">&'\r\n\t\x00\xff𝄞\uFFFE"}
	res, err := wire.EncodeOutput(sts.GetCallerIdentity.OpInfo, wire.Query, "", out, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "<Arn>&lt;a b=&quot;c&quot;&gt;&amp;'&#xD;&#xA;&#x9;\uFFFD\uFFFD𝄞\uFFFD</Arn>"
	if !strings.Contains(string(res.Body), want) {
		t.Errorf("got %s\nwant %s", res.Body, want)
	}
}

func TestTheRefusalOfCBORIsCBOR(t *testing.T) {
	res := wire.EncodeError(nil, wire.CBOR, "id", &wire.Fault{Code: "UnknownOperationException", Message: strings.Repeat("m", 300), Status: 404}, nil)
	want := "\xa2\x66__type\x78\x19UnknownOperationException\x67message\x79\x01\x2c" + strings.Repeat("m", 300)
	if string(res.Body) != want || res.ContentType != "application/cbor" || res.Status != 404 {
		t.Errorf("got %q %+v", res.Body, res)
	}
}

func TestEC2NamesTheMissingParameter(t *testing.T) {
	type input struct {
		Name string `aws:"keyName,q=TheName,req"`
	}
	op := wire.NewOp[input, struct{}](&wire.OpInfo{Service: ec2Service, Name: "Op"})
	req := &wire.Request{Method: "POST", Body: []byte("Action=Op&KeyName=not-this")}
	in := new(input)
	if err := wire.Decode(op.OpInfo, wire.EC2, req, in); err != nil {
		t.Fatal(err)
	}
	if err := wire.Validate(op.OpInfo, req, in); err == nil || err.Error() != "MissingParameter: The request must contain the parameter TheName" {
		t.Error(err)
	}
}

func TestLabelsThatFollowAGreedyOne(t *testing.T) {
	type input struct {
		Key  string `aws:"Key,in=uri"`
		Last string `aws:"Last,in=uri"`
	}
	op := wire.NewOp[input, struct{}](&wire.OpInfo{Service: jsonService, Name: "Op", Method: "GET", Path: "/x/{Key+}/y"})
	for path, want := range map[string]string{"/x/a/b/y": "a/b", "/x/a%2Fb/y": "a/b", "/x/y": ""} {
		in := new(input)
		err := wire.Decode(op.OpInfo, wire.RESTJSON, &wire.Request{Method: "GET", RawPath: path}, in)
		// Last isn't in the template: what the types ask for, the path lacks.
		if err == nil {
			t.Errorf("%s: decoded %+v", path, in)
		}
		type key struct {
			Key string `aws:"Key,in=uri"`
		}
		op := wire.NewOp[key, struct{}](&wire.OpInfo{Service: jsonService, Name: "Op", Method: "GET", Path: "/x/{Key+}/y"})
		got := new(key)
		if err := wire.Decode(op.OpInfo, wire.RESTJSON, &wire.Request{Method: "GET", RawPath: path}, got); (err != nil) != (want == "") || got.Key != want {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
}

func TestNamesAndLimitsOfProtocols(t *testing.T) {
	for p, want := range map[wire.Protocol]string{wire.JSON10: "awsJson1_0", wire.JSON11: "awsJson1_1", wire.Query: "awsQuery", wire.EC2: "ec2Query", wire.RESTJSON: "restJson1", wire.RESTXML: "restXml", wire.CBOR: "rpcv2Cbor", 0: "unknown protocol"} {
		if p.String() != want {
			t.Errorf("%d is %s", p, p)
		}
		limit := int64(1 << 20)
		if p == wire.RESTXML {
			limit = 2 << 20
		}
		if p.BodyLimit() != limit {
			t.Errorf("%s bodies are limited to %d", p, p.BodyLimit())
		}
	}
	if kms.Encrypt.Action() != "kms:Encrypt" || kms.Encrypt.Info() != kms.Encrypt.OpInfo {
		t.Error(kms.Encrypt.Action())
	}
}
