package wire_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/leadglass/leadglass/api/cloudtrail"
	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/wire"
)

// echoOps have the same type on both sides, so that what was decoded can be
// encoded and read again.
var (
	echoGrant  = wire.NewOp[kms.CreateGrantInput, kms.CreateGrantInput](&wire.OpInfo{Service: kms.Service, Name: "CreateGrant"})
	echoKey    = wire.NewOp[kms.EncryptInput, kms.EncryptInput](&wire.OpInfo{Service: kms.Service, Name: "Encrypt"})
	echoLookup = wire.NewOp[cloudtrail.LookupEventsInput, cloudtrail.LookupEventsInput](&wire.OpInfo{Service: cloudtrail.Service, Name: "LookupEvents"})
	echoAll    = wire.NewOp[everything, everything](&wire.OpInfo{Service: jsonService, Name: "Everything"})
	echoDoc    = wire.NewOp[everything, everything](&wire.OpInfo{Service: xmlService, Name: "Everything"})
	formRole   = wire.NewOp[iam.CreateRoleInput, iam.CreateRoleInput](&wire.OpInfo{Service: iam.Service, Name: "CreateRole"})
	formThings = wire.NewOp[thingsInput, thingsOutput](&wire.OpInfo{Service: ec2Service, Name: "DescribeThings"})
	formAll    = wire.NewOp[everything, everything](&wire.OpInfo{Service: iam.Service, Name: "Everything"})
)

// everything has a member of each kind and nesting.
type everything struct {
	_       struct{}            `aws:"Everything"`
	Text    string              `aws:"Text,min=2,max=5"`
	Blob    []byte              `aws:"Blob"`
	Int     *int32              `aws:"Int,min=3"`
	Long    *int64              `aws:"Long"`
	Float   *float64            `aws:"Float"`
	Small   *float32            `aws:"Small"`
	Flag    *bool               `aws:"Flag"`
	When    time.Time           `aws:"When"`
	HTTP    time.Time           `aws:"HTTP,ts=rfc822"`
	Self    []everything        `aws:"Self"`
	Next    *everything         `aws:"Next"`
	ByName  map[string]owner    `aws:"ByName"`
	Flat    []string            `aws:"Flat,flat,e.max=3"`
	FlatMap map[string]string   `aws:"FlatMap,flat"`
	Lists   [][]string          `aws:"Lists,item=L,e.item=M"`
	Maps    []map[string][]byte `aws:"Maps"`
	Choice  *choice             `aws:"Choice"`
}

// checkDecoded holds what must be true of any decoded input.
func checkDecoded(t *testing.T, op *wire.OpInfo, req *wire.Request, in any, err error) bool {
	if err != nil {
		f, ok := wire.FaultOf(err)
		if !ok {
			t.Fatalf("not a fault: %v", err)
		}
		if res := wire.EncodeError(op.Service, op.Service.Protocol, "id", f, nil); !utf8.Valid(res.Body) {
			t.Fatalf("the error's answer is not UTF-8: %q", res.Body)
		}
		return false
	}
	if p := wire.Parameters(op, in, nil); !json.Valid(p) {
		t.Fatalf("audit form %q", p)
	}
	if err := wire.Validate(op, req, in); err != nil {
		if f, ok := wire.FaultOf(err); !ok || !utf8.ValidString(f.Message) {
			t.Fatalf("validation: %v", err)
		}
	}
	return true
}

// checkRoundTrip encodes what was decoded, reads that and encodes it again:
// nothing may change.
func checkRoundTrip(t *testing.T, op *wire.OpInfo, in any) {
	p := op.Service.Protocol
	first, err := wire.EncodeOutput(op, p, "id", in, nil)
	if err != nil {
		t.Fatal(err)
	}
	again := reflect.New(op.Input).Interface()
	if err := wire.Decode(op, p, &wire.Request{Method: "POST", Body: first.Body}, again); err != nil {
		t.Fatalf("cannot read what was written: %v\n%s", err, first.Body)
	}
	second, err := wire.EncodeOutput(op, p, "id", again, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Body, second.Body) {
		t.Fatalf("written\n%s\nread and written again\n%s", first.Body, second.Body)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"KeyId":"k","Plaintext":"YQ==","EncryptionContext":{"a":"\u0062"},"DryRun":true,"x":[1,{"y":null}]}`,
		`{"Constraints":{"EncryptionContextSubset":{"a":"b"}},"Operations":["Encrypt"],"KeyId":"\ud834\udd1e"}`,
		`{"StartTime":1700000000.123,"EndTime":"2023-11-14T22:13:20Z","MaxResults":5}`,
		`{"Text":"","Int":1e3,"Float":"NaN","Small":1.5,"When":-1.25,"HTTP":"Tue, 14 Nov 2023 22:13:20 GMT","Self":[{"Next":{"Flag":false}}],"ByName":{"a":{"ID":"x"}},"Lists":[["a"],[]],"Maps":[{"k":""}],"Choice":{"Left":"l"}}`,
		`{"Float":"Infinity","Long":-9223372036854775808,"Int":2147483648}`, strings.Repeat(`{"Next":`, 40),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, op := range []*wire.OpInfo{echoKey.OpInfo, echoGrant.OpInfo, echoLookup.OpInfo, echoAll.OpInfo} {
			req := &wire.Request{Method: "POST", Body: body}
			in := reflect.New(op.Input).Interface()
			err := wire.Decode(op, op.Service.Protocol, req, in)
			if checkDecoded(t, op, req, in, err) {
				if len(body) > 0 && strings.TrimSpace(string(body)) != "" && !json.Valid(body) {
					t.Fatalf("accepted what is not JSON: %q", body)
				}
				checkRoundTrip(t, op, in)
			}
		}
	})
}

func FuzzDecodeXML(f *testing.F) {
	for _, seed := range []string{
		``, `<a/>`, `<?xml version="1.0"?><Everything xmlns="http://x/"><Text>a&lt;&#65;</Text><!-- c --><Flat>x</Flat><Flat>y</Flat></Everything>`,
		`<E><Self><member><Next><Flag>true</Flag></Next></member></Self><Lists><L><M>a</M></L><L/></Lists><Maps><member><entry><key>k</key><value>YQ==</value></entry></member></Maps></E>`,
		`<E><FlatMap><key>a</key><value>b</value></FlatMap><When>2023-11-14T22:13:20.5Z</When><Float>NaN</Float><ByName><entry><key>k</key><value xsi:type="t"><ID>i</ID></value></entry></ByName></E>`,
		`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, `<E><Text><![CDATA[]]]]><![CDATA[>]]></Text></E>`, strings.Repeat(`<Next>`, 80),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		op := echoDoc.OpInfo
		req := &wire.Request{Method: "POST", Body: body}
		in := new(everything)
		if checkDecoded(t, op, req, in, wire.Decode(op, wire.RESTXML, req, in)) {
			checkRoundTrip(t, op, in)
		}
	})
}

func FuzzDecodeQuery(f *testing.F) {
	for _, seed := range []string{
		"", "Action=CreateRole&Version=2010-05-08&RoleName=r&Tags.member.1.Key=a&Tags.member.1.Value=&MaxSessionDuration=3600",
		"Name.1=a&Filter.1.Name=x&Filter.1.Value.1=1&DryRun=true", "Tags=&Tags.member.2.Key=b&Tags.member.01.Key=c", "%2e=%2E&..=.&=&&&a=b=c&+=%20",
		"Self.member.1.Next.Flag=true&ByName.entry.1.key=k&ByName.entry.1.value.ID=i&FlatMap.1.key=a&FlatMap.1.value=b&Lists.L.1.M.1=x&Flat.1=y",
		strings.Repeat("Next.", 40) + "Text=x", "Flat.1=a&Flat.2=b&Flat.4=d&Flat.18446744073709551617=z",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, op := range []*wire.OpInfo{formRole.OpInfo, formThings.OpInfo, formAll.OpInfo} {
			for _, method := range []string{"POST", "GET"} {
				req := &wire.Request{Method: method, RawQuery: body, Body: []byte(body)}
				in := reflect.New(op.Input).Interface()
				checkDecoded(t, op, req, in, wire.Decode(op, op.Service.Protocol, req, in))
			}
		}
	})
}

func FuzzRoute(f *testing.F) {
	auth := "AWS4-HMAC-SHA256 Credential=AKIA/20261124/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=00"
	f.Add("POST", "/", "", "localhost", "TrentService.Encrypt", auth, "application/x-amz-json-1.1", "{}")
	f.Add("POST", "/", "", "sts.cloud.example:443", "", "", "application/x-www-form-urlencoded", "Action=AssumeRoleWithWebIdentity&Version=2011-06-15")
	f.Add("GET", "/b/a%2Fk", "X-Amz-Credential=A%2F20261124%2Feu-central-1%2Fj%2Faws4_request&X-Amz-Algorithm=AWS4-HMAC-SHA256", "b.s3.cloud.example", "", "", "", "")
	f.Add("PUT", "/b/"+strings.Repeat("a/", 100), "acl", "[::1]:80", ".", "AWS4-ECDSA-P256-SHA256 Credential=A/d/x/aws4_request", "text/plain; charset=\"", "")
	r := goldenRouter(f)
	f.Fuzz(func(t *testing.T, method, path, query, host, target, authorization, contentType, body string) {
		h := http.Header{}
		for name, v := range map[string]string{"X-Amz-Target": target, "Authorization": authorization, "Content-Type": contentType} {
			if v != "" {
				h[name] = []string{v}
			}
		}
		req := &wire.Request{Method: method, RawPath: path, RawQuery: query, Host: host, Header: h, Body: []byte(body)}
		s, p, err := r.Service(req)
		if err == nil {
			var op *wire.OpInfo
			if op, err = r.Operation(s, req); err == nil {
				in := reflect.New(op.Input).Interface()
				checkDecoded(t, op, req, in, wire.Decode(op, p, req, in))
				return
			}
		}
		fault, ok := wire.FaultOf(err)
		if !ok {
			t.Fatalf("not a fault: %v", err)
		}
		if res := wire.EncodeError(s, p, "id", fault, nil); res.Status < 400 || res.Status > 599 || len(res.Body) == 0 {
			t.Fatalf("answer %+v", res)
		}
	})
}
