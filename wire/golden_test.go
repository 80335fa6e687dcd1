package wire_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/leadglass/leadglass/api/cloudtrail"
	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// requestID is that of all golden answers.
const requestID = "7a62c49f-347e-4fc4-9331-6e8eeb0a3c1d"

// golden are the outputs that the golden requests are answered with.
func golden() map[string]any {
	day := time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)
	n := int32(42)
	return map[string]any{
		"Encrypt":           &kms.EncryptOutput{CiphertextBlob: []byte("ciphertext"), KeyId: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", EncryptionAlgorithm: kms.EncryptionAlgorithmSpecSymmetricDefault},
		"CreateAlias":       &kms.CreateAliasOutput{},
		"DescribeKey":       &kms.DescribeKeyOutput{KeyMetadata: &kms.KeyMetadata{KeyId: "1234abcd-12ab-34cd-56ef-1234567890ab", Arn: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", CreationDate: day.Add(123 * time.Millisecond), Enabled: new(true), KeyState: kms.KeyStateEnabled}},
		"LookupEvents":      &cloudtrail.LookupEventsOutput{Events: []cloudtrail.Event{{EventId: "e", EventTime: day, CloudTrailEvent: `{"eventVersion":"1.11"}`}}},
		"CreateRole":        &iam.CreateRoleOutput{Role: &iam.Role{Path: "/", RoleName: "r", RoleId: "AROAIOSFODNN7EXAMPLE", Arn: "arn:aws:iam::111122223333:role/r", CreateDate: day, AssumeRolePolicyDocument: `{"Version": "2012-10-17"}`, Tags: []iam.Tag{{Key: "a", Value: ""}}}},
		"DeleteRole":        &iam.DeleteRoleOutput{},
		"ListUsers":         &iam.ListUsersOutput{},
		"GetCallerIdentity": &sts.GetCallerIdentityOutput{UserId: "AIDAIOSFODNN7EXAMPLE", Account: "111122223333", Arn: "arn:aws:iam::111122223333:user/a"},
		"DescribeThings":    &thingsOutput{Things: []thing{{Name: "a", Made: day}, {Name: "b<"}}, Count: &n},
		"DeleteThing":       &struct{}{},
		"Put":               &putOutput{ETag: `"e"`, Names: []string{"a", "b,c"}, Meta: map[string]string{"one": "1"}, Owner: &owner{Type: "User", ID: "o"}, Grants: []grant{{Who: "x", Right: "READ"}}, Tags: []grant{{Who: "1"}, {Who: "2"}}, Notes: map[string]string{"b": "2", "a": "1"}, When: day, Data: []byte("blob")},
	}
}

type thingsInput struct {
	Names   []string `aws:"nameSet,q=Name,e.min=1"`
	Filters []filter `aws:"filterSet,q=Filter"`
	DryRun  *bool    `aws:"dryRun"`
	Max     *int32   `aws:"maxResults,min=5,max=100"`
}

type filter struct {
	Name   string   `aws:"name"`
	Values []string `aws:"Value"`
}

type thingsOutput struct {
	Things []thing `aws:"thingSet,item=item"`
	Count  *int32  `aws:"count"`
}

type thing struct {
	Name string    `aws:"thingName"`
	Made time.Time `aws:"createTime"`
}

// goldenRouter serves the generated services and one of ec2Query, restJson1
// and restXml each.
func goldenRouter(t testing.TB) *wire.Router {
	ops := []*wire.OpInfo{
		putXML.OpInfo, putJSON.OpInfo,
		wire.NewOp[thingsInput, thingsOutput](&wire.OpInfo{Service: ec2Service, Name: "DescribeThings", Method: "POST", Path: "/"}).OpInfo,
		wire.NewOp[struct{}, struct{}](&wire.OpInfo{Service: ec2Service, Name: "DeleteThing", Method: "POST", Path: "/", NoOutput: true}).OpInfo,
	}
	for _, list := range [][]*wire.OpInfo{kms.Operations(), iam.Operations(), sts.Operations(), cloudtrail.Operations(), organizations.Operations()} {
		ops = append(ops, list...)
	}
	r, err := wire.NewRouter(wire.RouterConfig{Regions: []string{"eu-central-1"}, Operations: ops})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serve takes a raw HTTP request through all that this package does and
// returns what gate would audit and the raw answer.
func serve(r *wire.Router, raw []byte) (parameters, answer string, err error) {
	hr, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return "", "", err
	}
	body, err := io.ReadAll(hr.Body)
	if err != nil {
		return "", "", err
	}
	req := &wire.Request{Method: hr.Method, RawPath: hr.URL.EscapedPath(), RawQuery: hr.URL.RawQuery, Host: hr.Host, Header: hr.Header, Body: body}
	s, p, err := r.Service(req)
	fail := func(err error) (string, string, error) {
		f, ok := wire.FaultOf(err)
		if !ok {
			return parameters, "", err
		}
		return parameters, rawAnswer(wire.EncodeError(s, p, requestID, f, nil)), nil
	}
	if err != nil {
		return fail(err)
	}
	op, err := r.Operation(s, req)
	if err != nil {
		return fail(err)
	}
	in := reflect.New(op.Input).Interface()
	if err := wire.Decode(op, p, req, in); err != nil {
		return fail(err)
	}
	parameters = string(wire.Parameters(op, in, nil)) + "\n"
	if err := wire.Validate(op, req, in); err != nil {
		return fail(err)
	}
	res, err := wire.EncodeOutput(op, p, requestID, golden()[op.Name], nil)
	if err != nil {
		return parameters, "", err
	}
	return parameters, rawAnswer(res), nil
}

func rawAnswer(res wire.Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\n", res.Status, http.StatusText(res.Status))
	if res.ContentType != "" {
		fmt.Fprintf(&b, "Content-Type: %s\n", res.ContentType)
	}
	for _, name := range slices.Sorted(maps.Keys(res.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(res.Header[name], "|"))
	}
	fmt.Fprintf(&b, "Content-Length: %d\n\n%s\n", len(res.Body), res.Body)
	return b.String()
}

func TestGoldenRequestsGiveGoldenAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	r := goldenRouter(t)
	for _, file := range files {
		if filepath.Base(file) == "faults.txtar" {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var fresh []txtar.File
			for i, f := range a.Files {
				name, isRequest := strings.CutSuffix(f.Name, "/request")
				if !isRequest {
					continue
				}
				head, body, _ := strings.Cut(string(f.Data), "\n\n")
				body = strings.TrimSuffix(body, "\n")
				raw := strings.ReplaceAll(head, "\n", "\r\n") + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				parameters, answer, err := serve(r, []byte(raw))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				fresh = append(fresh, f, txtar.File{Name: name + "/parameters", Data: []byte(parameters)}, txtar.File{Name: name + "/answer", Data: []byte(answer)})
				if *update {
					continue
				}
				if i+2 >= len(a.Files) {
					t.Fatalf("%s has no golden answer", name)
				}
				for j, got := range []string{parameters, answer} {
					if want := string(a.Files[i+1+j].Data); got != want {
						t.Errorf("%s:\n got %s\nwant %s", a.Files[i+1+j].Name, got, want)
					}
				}
			}
			if *update {
				a.Files = fresh
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Every common error in every family: what a client sees when something goes
// wrong before or around an operation.
func TestGoldenFaults(t *testing.T) {
	const file = "testdata/faults.txtar"
	services := []*wire.Service{kms.Service, cloudtrail.Service, iam.Service, sts.Service, ec2Service, jsonService, {Name: "s3", Protocol: wire.RESTXML, BareErrors: true}}
	kinds := []string{"NoCredentials", "WrongScope", "AccessDenied", "UnknownOperation", "Unreadable", "Throttled", "Internal", "Unavailable", "TooLarge", "Unrecorded", "NoSuchVersion"}
	var got txtar.Archive
	got.Comment = []byte("The common errors of wire-protocols section 13.3, as each family of protocols writes them.\nThose that only the signature stage finds are in identity/sigv4.\n")
	for _, s := range services {
		for k, kind := range kinds {
			res := wire.EncodeError(s, s.Protocol, requestID, wire.CommonFault(wire.Kind(k), s, s.Protocol, ""), nil)
			got.Files = append(got.Files, txtar.File{Name: s.Name + "/" + kind, Data: []byte(rawAnswer(res))})
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(&got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Files) != len(got.Files) {
		t.Fatalf("%d golden faults, %d made", len(want.Files), len(got.Files))
	}
	for i, w := range want.Files {
		if g := got.Files[i]; g.Name != w.Name || string(g.Data) != string(w.Data) {
			t.Errorf("%s:\n got %s\nwant %s", w.Name, g.Data, w.Data)
		}
	}
}
