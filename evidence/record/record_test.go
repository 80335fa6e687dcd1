package record_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/evidence/record"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)

const key = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// samples are records of every shape that section 3 knows.
func samples() map[string]*record.Record {
	user := record.UserIdentity{
		Type: record.IAMUser, PrincipalID: "AIDAEXAMPLEEXAMPLE2A3", ARN: "arn:aws:iam::111122223333:user/ward7",
		AccountID: "111122223333", AccessKeyID: "AKIAEXAMPLE234567ABC", UserName: "ward7",
	}
	base := record.Record{
		EventVersion: record.Version, UserIdentity: user, EventTime: noon.Truncate(time.Second), EventSource: "kms.amazonaws.com", EventName: "Decrypt",
		AWSRegion: "eu-central-1", SourceIPAddress: "192.0.2.7", UserAgent: "aws-cli/2.15",
		RequestParameters: json.RawMessage(`{"encryptionContext":{"patient":"4711"},"keyId":"` + key + `"}`),
		RequestID:         "0d0b1c2d-1111-4222-8333-444455556666", EventID: "5f6b1c2d-aaaa-4bbb-8ccc-dddd0000eeee",
		ReadOnly: true, Resources: []record.Resource{{AccountID: "111122223333", Type: "AWS::KMS::Key", ARN: key}},
		EventType: record.TypeAPICall, ManagementEvent: true, RecipientAccountID: "111122223333", EventCategory: record.CategoryManagement,
	}
	all := map[string]*record.Record{}
	plain := base
	all["user"] = &plain

	role := base
	role.UserIdentity = record.UserIdentity{
		Type: record.AssumedRole, PrincipalID: "AROAEXAMPLEEXAMPLE2A3:dr.grün", ARN: "arn:aws:sts::111122223333:assumed-role/reader/dr.grün",
		AccountID: "111122223333", AccessKeyID: "ASIAEXAMPLE234567ABC",
		Session: &record.SessionContext{
			Issuer:       &record.SessionIssuer{Type: "Role", PrincipalID: "AROAEXAMPLEEXAMPLE2A3", ARN: "arn:aws:iam::111122223333:role/reader", AccountID: "111122223333", UserName: "reader"},
			CreationDate: noon.Add(-time.Hour).Truncate(time.Second), MFAAuthenticated: true, SourceIdentity: "grün",
		},
	}
	role.TLS = &record.TLSDetails{Version: "TLSv1.3", CipherSuite: "TLS_AES_256_GCM_SHA384", ClientHost: "kms.eu-central-1.amazonaws.com", KeyExchange: "X25519MLKEM768"}
	role.Leadglass = &record.Extension{Decision: json.RawMessage(`{"allow":["ReadOwnWard"],"reason":"identity"}`)}
	all["role"] = &role

	failed := base
	failed.ErrorCode, failed.ErrorMessage = "AccessDenied", "User: arn:aws:iam::111122223333:user/ward7 is not authorized to perform: kms:Decrypt"
	failed.RequestParameters, failed.Resources = nil, nil
	all["failed"] = &failed

	forwarded := base
	forwarded.UserIdentity.InvokedBy = "fas.s3.amazonaws.com"
	forwarded.SourceIPAddress, forwarded.UserAgent = "fas.s3.amazonaws.com", "fas.s3.amazonaws.com"
	forwarded.AdditionalEventData = json.RawMessage(`{"SignatureVersion":"SigV4"}`)
	forwarded.Leadglass = &record.Extension{
		ParentEventID: "00000000-aaaa-4bbb-8ccc-dddd0000eeee", FASChain: []string{"kms", "s3"}, FASDigest: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
		Custody: json.RawMessage(`{"hop":1}`), Enclave: &record.Enclave{PCR0: "00ff", ModuleID: "i-1"},
	}
	all["forwarded"] = &forwarded

	shared := base.OwnerCopy("444455556666", "99999999-aaaa-4bbb-8ccc-dddd0000eeee", "77777777-aaaa-4bbb-8ccc-dddd0000eeee")
	all["owner-copy"] = shared

	service := base
	service.UserIdentity = record.UserIdentity{Type: record.AWSService, InvokedBy: "kms.amazonaws.com"}
	service.SourceIPAddress, service.UserAgent, service.EventType = record.Internal, record.Internal, record.TypeServiceEvent
	service.ServiceEventDetails = json.RawMessage(`{"keyId":"` + key + `"}`)
	service.APIVersion, service.VPCEndpointID, service.VPCEndpointAccount, service.ConsoleCredential = "2014-11-01", "vpce-1", "111122223333", true
	all["service"] = &service
	return all
}

func TestRecordsAreWrittenAsTheGoldenFilesSay(t *testing.T) {
	for name, r := range samples() {
		t.Run(name, func(t *testing.T) {
			got := r.AppendJSON(nil)
			if !json.Valid(got) {
				t.Fatalf("no JSON: %s", got)
			}
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, append(bytes.Clone(got), '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(got)+"\n" != string(want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestParseIsTheInverseOfAppendJSON(t *testing.T) {
	for name, r := range samples() {
		text := r.AppendJSON(nil)
		back, err := record.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := back.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(r, back); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if again := back.AppendJSON(nil); !bytes.Equal(again, text) {
			t.Errorf("%s: written again it is\n%s\nfirst it was\n%s", name, again, text)
		}
	}
}

func TestUnknownMembersSurvive(t *testing.T) {
	const text = `{"eventVersion":"1.99","userIdentity":{"type":"IAMUser","sessionContext":{"sessionIssuer":{"type":"Role","later":1},` +
		`"attributes":{"creationDate":"2026-11-24T11:00:00Z","mfaAuthenticated":"false","later":[2]},"later":{"a":3}},"later":"4"},` +
		`"eventTime":"2026-11-24T12:00:00Z","eventSource":"a","eventName":"b","awsRegion":"c","sourceIPAddress":"d","userAgent":"e",` +
		`"requestParameters":null,"responseElements":null,"additionalEventData":{"leadglass":{"parentEventId":"p","later":null},"x":1},` +
		`"requestID":"f","eventID":"g","readOnly":false,"resources":[{"ARN":"r","ARNPrefix":"q"}],"eventType":"AwsApiCall","managementEvent":true,` +
		`"recipientAccountId":"h","eventCategory":"Management","tlsDetails":{"tlsVersion":"TLSv1.3","later":5},"edgeDeviceDetails":{"deep":[{"er":null}]},"addendum":{"reason":"x"}}`
	r, err := record.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(r.AppendJSON(nil)); got != text {
		t.Errorf("got  %s\nwant %s", got, text)
	}
}

func TestBothSpellingsOfAForwardedCallAreUnderstood(t *testing.T) {
	for text, want := range map[string]bool{
		`{"userIdentity":{"type":"IAMUser","invokedBy":"fas.s3.amazonaws.com"}}`: true,
		`{"userIdentity":{"type":"AssumedRole","invokedBy":"AWS Internal"}}`:     true,
		`{"userIdentity":{"type":"AWSService","invokedBy":"s3.amazonaws.com"}}`:  false,
		`{"userIdentity":{"type":"IAMUser"}}`:                                    false,
	} {
		r, err := record.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if r.Forwarded() != want {
			t.Errorf("%s: forwarded is %v", text, r.Forwarded())
		}
	}
}

func TestTheOwnersCopyTellsLittleOfAForeignCaller(t *testing.T) {
	r := samples()["role"]
	c := r.OwnerCopy("444455556666", "e", "s")
	text := string(c.AppendJSON(nil))
	for _, private := range []string{"assumed-role", "ASIA", "sessionContext", "policyDecision", "ReadOwnWard"} {
		if strings.Contains(text, private) {
			t.Errorf("the copy has %s: %s", private, text)
		}
	}
	own := string(r.OwnerCopy("111122223333", "e", "s").AppendJSON(nil))
	if !strings.Contains(own, "ReadOwnWard") || !strings.Contains(own, "ASIA") {
		t.Errorf("the copy for the caller's own account lacks something: %s", own)
	}
}

func TestLongFieldsAreCutAndSaySo(t *testing.T) {
	r := *samples()["user"]
	r.UserAgent = strings.Repeat("ü", 1000)
	r.ErrorCode, r.ErrorMessage = strings.Repeat("c", 2000), strings.Repeat("m", 2000)
	long := strings.Repeat("x", 60<<10)
	r.RequestParameters = json.RawMessage(`{"a":"` + long + `","b":"` + long + `","c":"small"}`)
	r.ResponseElements = json.RawMessage(`["` + long + long + `"]`)
	r.AdditionalEventData = json.RawMessage(`{"big":"` + long + `","small":1}`)
	r.Leadglass = &record.Extension{ParentEventID: "p", Custody: json.RawMessage(`{"proof":"` + long + `"}`)}
	text := r.AppendJSON(nil)
	if len(text) > 240<<10 {
		t.Errorf("%d bytes", len(text))
	}
	var got struct {
		UserAgent, ErrorCode, ErrorMessage string
		RequestParameters                  map[string]any
		ResponseElements                   map[string]any
		AdditionalEventData                map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.UserAgent != strings.Repeat("ü", 512) || len(got.ErrorCode) != 1024 || len(got.ErrorMessage) != 1024 {
		t.Errorf("texts of %d, %d, %d bytes", len(got.UserAgent), len(got.ErrorCode), len(got.ErrorMessage))
	}
	if p := got.RequestParameters; p["omitted"] != true || p["a"] == nil || p["b"] != nil || p["c"] != "small" {
		t.Errorf("of the parameters remain %d, want those that fit", len(p))
	}
	if p := got.ResponseElements; len(p) != 1 || p["omitted"] != true {
		t.Errorf("what is no object is not omitted whole: %v", p)
	}
	p := got.AdditionalEventData
	if string(p["omitted"]) != "true" || string(p["small"]) != "1" || p["big"] != nil || !strings.Contains(string(p["leadglass"]), `"parentEventId":"p"`) {
		t.Errorf("additional data has %d members", len(p))
	}
	if _, err := record.Parse(text); err != nil {
		t.Errorf("a cut record is not read: %v", err)
	}
}

func TestHostileTextStaysInItsString(t *testing.T) {
	for _, s := range []string{`","readOnly":true,"x":"`, "\x00\x1f\"\\\n\r\t", "\xff\xfe\u2028</script>", "\u007f", strings.Repeat("\xe2\x82", 900)} {
		r := *samples()["user"]
		r.UserAgent, r.ErrorMessage, r.UserIdentity.UserName = s, s, s
		text := r.AppendJSON(nil)
		back, err := record.Parse(text)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		want := strings.ToValidUTF8(s, "\ufffd")
		if len(s) < 1000 && (back.UserAgent != want && len(want) == len(s) || back.RequestID != r.RequestID || len(back.Unknown) > 0) {
			t.Errorf("%q is read back as %q", s, back.UserAgent)
		}
	}
}

func TestParseRefusesWhatIsNoRecord(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "an array": "[]", "half": `{"eventName":"x"`, "two values": `{}{}`, "a member twice": `{"eventName":"a","eventName":"b"}`,
		"a number as text": `{"eventName":1}`, "a text as flag": `{"readOnly":"true"}`, "another time": `{"eventTime":"2026-11-24 12:00:00"}`,
		"a list as identity": `{"userIdentity":[]}`, "an object as list": `{"resources":{}}`,
	} {
		if _, err := record.Parse([]byte(text)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range samples() {
		f.Add(r.AppendJSON(nil))
	}
	f.Add([]byte(`{"additionalEventData":{"leadglass":null,"":{}},"\u0000":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := record.Parse(data)
		if err != nil {
			return
		}
		text := r.AppendJSON(nil)
		again, err := record.Parse(text)
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%s", err, text)
		}
		if twice := again.AppendJSON(nil); !bytes.Equal(text, twice) {
			t.Fatalf("written twice:\n%s\n%s", text, twice)
		}
	})
}

// Target: at most 2 µs and no allocation, once for every answered call.
func BenchmarkAppendJSON(b *testing.B) {
	r := samples()["role"]
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendJSON(buf[:0])
	}
}

// Target: at most 15 µs; a search without a fitting index parses every event.
func BenchmarkParse(b *testing.B) {
	text := samples()["role"].AppendJSON(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := record.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
