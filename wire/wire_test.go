package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/api/cloudtrail"
	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/wire"
)

// decode decodes a JSON body into a fresh input.
func decode[I, O any](op wire.Op[I, O], body string) (*I, *wire.Request, error) {
	in := new(I)
	req := &wire.Request{Method: "POST", RawPath: "/", Body: []byte(body)}
	return in, req, wire.Decode(op.OpInfo, op.Service.Protocol, req, in)
}

func code(err error) string {
	if f, ok := wire.FaultOf(err); ok {
		return f.Code
	}
	return fmt.Sprint(err)
}

func TestJSONThatIsRefused(t *testing.T) {
	deep := strings.Repeat(`{"x":`, 40) + "1" + strings.Repeat("}", 40)
	for name, body := range map[string]string{
		"an array":                           `[]`,
		"a bare string":                      `"x"`,
		"null":                               `null`,
		"an unclosed object":                 `{"KeyId":"k"`,
		"an unclosed string":                 `{"KeyId":"k`,
		"a lone brace":                       `{`,
		"a comma before the end":             `{"KeyId":"k",}`,
		"something after the end":            `{"KeyId":"k"}x`,
		"a second object":                    `{"KeyId":"k"}{}`,
		"a number for a text":                `{"KeyId":7}`,
		"a text for a truth value":           `{"KeyId":"k","DryRun":"true"}`,
		"a control character in a text":      "{\"KeyId\":\"a\nb\"}",
		"a bad escape":                       `{"KeyId":"\q"}`,
		"a lone high surrogate":              `{"KeyId":"\ud834"}`,
		"a lone low surrogate":               `{"KeyId":"\udd1e"}`,
		"two high surrogates":                `{"KeyId":"\ud834\ud834"}`,
		"a cut escape":                       `{"KeyId":"\u00`,
		"bytes that are not UTF-8":           "{\"KeyId\":\"\xff\"}",
		"an overlong UTF-8 slash":            "{\"KeyId\":\"\xc0\xaf\"}",
		"base64 without padding":             `{"Plaintext":"YQ"}`,
		"base64 with a line end":             `{"Plaintext":"YQ\n=="}`,
		"base64 of the URL alphabet":         `{"Plaintext":"_-8="}`,
		"base64 with set trailing bits":      `{"Plaintext":"YR=="}`,
		"a list for a map":                   `{"EncryptionContext":[]}`,
		"null in a map":                      `{"EncryptionContext":{"a":null}}`,
		"null in a list":                     `{"GrantTokens":[null]}`,
		"an object for a list":               `{"GrantTokens":{}}`,
		"too many levels in what is unknown": `{"x":` + deep + `}`,
		"a leading zero in what is unknown":  `{"x":01}`,
		"an unquoted name":                   `{KeyId:"k"}`,
		"a plus sign":                        `{"x":+1}`,
		"NaN as a bare word":                 `{"x":NaN}`,
		"a comment":                          `{/**/"KeyId":"k"}`,
		"too many entries in lists":          `{"GrantTokens":[` + strings.Repeat(`"",`, wire.MaxEntries) + `""]}`,
		"too many entries in maps":           `{"EncryptionContext":{` + strings.Repeat(`"":"",`, wire.MaxEntries) + `"":""}}`,
		"a UTF-16 byte order mark":           "\xff\xfe{\x00}\x00",
		"a NUL after the end":                "{}\x00",
	} {
		in, _, err := decode(kms.Encrypt, body)
		if code(err) != "SerializationException" {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(new(kms.EncryptInput), in); d != "" {
			t.Errorf("%s left something behind: %s", name, d)
		}
	}
	// The innermost allowed level still is.
	ok := strings.Repeat(`{"x":`, wire.MaxDepth-1) + "{}" + strings.Repeat("}", wire.MaxDepth-1)
	if _, _, err := decode(kms.Encrypt, ok); err != nil {
		t.Errorf("%d levels: %v", wire.MaxDepth, err)
	}
	if _, _, err := decode(kms.Encrypt, `{"x":`+ok+`}`); err == nil {
		t.Errorf("%d levels were accepted", wire.MaxDepth+1)
	}
}

func TestJSONThatIsAccepted(t *testing.T) {
	yes := true
	for name, c := range map[string]struct {
		body string
		want kms.EncryptInput
	}{
		"an empty body":                      {``, kms.EncryptInput{}},
		"white space only":                   {" \r\n\t", kms.EncryptInput{}},
		"white space everywhere":             {" { \"KeyId\" : \"k\" , \"DryRun\" : true } ", kms.EncryptInput{KeyId: "k", DryRun: &yes}},
		"unknown members":                    {`{"x":[1,{"y":null}],"KeyId":"k","z":-1.5e+3}`, kms.EncryptInput{KeyId: "k"}},
		"null is absent":                     {`{"KeyId":null,"Plaintext":null}`, kms.EncryptInput{}},
		"the last duplicate wins":            {`{"KeyId":"a","KeyId":"b"}`, kms.EncryptInput{KeyId: "b"}},
		"a last null wins too":               {`{"KeyId":"a","KeyId":null}`, kms.EncryptInput{}},
		"a later list replaces a longer one": {`{"GrantTokens":["a","b"],"GrantTokens":["c"]}`, kms.EncryptInput{GrantTokens: []string{"c"}}},
		"an empty blob is present":           {`{"Plaintext":""}`, kms.EncryptInput{Plaintext: []byte{}}},
		"empty list and map are present":     {`{"GrantTokens":[],"EncryptionContext":{}}`, kms.EncryptInput{GrantTokens: []string{}, EncryptionContext: map[string]string{}}},
		"escapes and surrogate pairs":        {`{"KeyId":"\u00e9\ud834\udd1e\/\"\\\b\f\n\r\t"}`, kms.EncryptInput{KeyId: "é𝄞/\"\\\b\f\n\r\t"}},
		"escapes in map keys and values":     {`{"EncryptionContext":{"\u0061":"b","c":"\u0064","":""}}`, kms.EncryptInput{EncryptionContext: map[string]string{"a": "b", "c": "d", "": ""}}},
		"members in any order":               {`{"DryRun":true,"Plaintext":"YQ==","KeyId":"k"}`, kms.EncryptInput{KeyId: "k", Plaintext: []byte("a"), DryRun: &yes}},
	} {
		in, _, err := decode(kms.Encrypt, c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(&c.want, in); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestNumbersAndTimesInJSON(t *testing.T) {
	for text, want := range map[string]any{
		`{"NumberOfBytes":32}`:           int32(32),
		`{"NumberOfBytes":3.2e1}`:        int32(32),
		`{"NumberOfBytes":32.0}`:         int32(32),
		`{"NumberOfBytes":-1}`:           int32(-1),
		`{"NumberOfBytes":2147483648}`:   nil,
		`{"NumberOfBytes":3000000000.0}`: nil,
		`{"NumberOfBytes":1.5}`:          nil,
		`{"NumberOfBytes":"32"}`:         nil,
		`{"NumberOfBytes":1e400}`:        nil,
	} {
		in, _, err := decode(kms.GenerateRandom, text)
		switch {
		case want == nil && err == nil:
			t.Errorf("%s was accepted as %d", text, *in.NumberOfBytes)
		case want != nil && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != nil && *in.NumberOfBytes != want:
			t.Errorf("%s gave %d", text, *in.NumberOfBytes)
		}
	}
	when := time.Date(2023, 11, 14, 22, 13, 20, 123e6, time.UTC)
	for text, want := range map[string]time.Time{
		`1700000000.123`:                  when,
		`1700000000`:                      when.Truncate(time.Second),
		`1.7e9`:                           when.Truncate(time.Second),
		`-1`:                              time.Unix(-1, 0).UTC(),
		`"2023-11-14T22:13:20.123Z"`:      when,
		`"2023-11-14T23:13:20.123+01:00"`: when,
		`"Tue, 14 Nov 2023 22:13:20 GMT"`: when.Truncate(time.Second),
		`1e300`:                           {},
		`99999999999999`:                  {},
		`"yesterday"`:                     {},
		`""`:                              {},
		`true`:                            {},
	} {
		in, _, err := decode(cloudtrail.LookupEvents, `{"StartTime":`+text+`}`)
		if (err != nil) != want.IsZero() || !in.StartTime.Equal(want) {
			t.Errorf("%s gave %v, %v; want %v", text, in.StartTime, err, want)
		}
	}
}

func form(op *wire.OpInfo, in any, body string) (*wire.Request, error) {
	req := &wire.Request{Method: "POST", RawPath: "/", Body: []byte(body)}
	return req, wire.Decode(op, wire.Query, req, in)
}

func TestForms(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want *iam.TagUserInput // nil: refused
	}{
		"lists in any order":        {"Tags.member.2.Key=b&UserName=u&Tags.member.1.Value=1&Tags.member.1.Key=a&Tags.member.2.Value=2", &iam.TagUserInput{UserName: "u", Tags: []iam.Tag{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}}},
		"a tenth entry after two":   {"Tags.member.10.Key=j&Tags.member.1.Key=a&Tags.member.2.Key=b", nil},
		"a gap":                     {"Tags.member.1.Key=a&Tags.member.3.Key=c", nil},
		"no first entry":            {"Tags.member.2.Key=b", nil},
		"a list without its member": {"Tags.1.Key=a", nil},
		"a member without a number": {"Tags.member=a", nil},
		"an empty list":             {"Tags=", &iam.TagUserInput{Tags: []iam.Tag{}}},
		"absent":                    {"UserName=", &iam.TagUserInput{}},
		"plus and percent":          {"UserName=a+b%2Bc%c3%a9", &iam.TagUserInput{UserName: "a b+cé"}},
		"the last duplicate wins":   {"UserName=a&UserName=b", &iam.TagUserInput{UserName: "b"}},
		"an index with a zero":      {"Tags.member.01.Key=a", nil},
		"a huge index":              {"Tags.member.99999999999999999999.Key=a", nil},
		"unknown keys":              {"Foo.Bar.1=x&UserName=u&=&.=&..=1&Tags.member.1.Other=3", &iam.TagUserInput{UserName: "u", Tags: []iam.Tag{{}}}},
		"unknown keys in a list":    {"Tags.other=3", nil},
		"names that share a prefix": {"UserNameX=no&UserName-=no&UserName=u&UserName.x=no", &iam.TagUserInput{UserName: "u"}},
		"a cut escape":              {"UserName=%4", nil},
		"a bad escape":              {"UserName=%zz", nil},
		"bytes that are not UTF-8":  {"UserName=%ff", nil},
		"too many keys":             {strings.Repeat("a=1&", wire.MaxFormKeys+1), nil},
	} {
		in := new(iam.TagUserInput)
		_, err := form(iam.TagUser.OpInfo, in, c.body)
		switch {
		case c.want == nil && code(err) != "MalformedInput":
			t.Errorf("%s: %v", name, err)
		case c.want != nil && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != nil:
			if d := cmp.Diff(c.want, in); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	}
}

func TestValidationSpeaksAsAWSDoes(t *testing.T) {
	long := strings.Repeat("ü", 129)
	check := func(name string, err error, want string) {
		t.Helper()
		got := ""
		if f, ok := wire.FaultOf(err); ok {
			got = f.Message
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
	type run func() error
	js := func(op *wire.OpInfo, body string) run {
		return func() error {
			in := reflect.New(op.Input).Interface()
			req := &wire.Request{Method: "POST", Body: []byte(body)}
			if err := wire.Decode(op, wire.JSON11, req, in); err != nil {
				return err
			}
			return wire.Validate(op, req, in)
		}
	}
	for name, c := range map[string]struct {
		run  run
		want string
	}{
		"nothing wrong":                  {js(kms.Encrypt.OpInfo, `{"KeyId":"k","Plaintext":"YQ=="}`), ""},
		"two absent":                     {js(kms.Encrypt.OpInfo, `{}`), "2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null; Value null at 'plaintext' failed to satisfy constraint: Member must not be null"},
		"null":                           {js(kms.DescribeKey.OpInfo, `{"KeyId":null}`), "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"},
		"empty":                          {js(kms.DescribeKey.OpInfo, `{"KeyId":""}`), "1 validation error detected: Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"an empty text that is replaced": {js(kms.DescribeKey.OpInfo, `{"KeyId":"","KeyId":"k"}`), ""},
		"sensitive blob too long":        {js(kms.Encrypt.OpInfo, `{"KeyId":"k","Plaintext":"`+strings.Repeat("AAAA", 1366)+`"}`), "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		"empty sensitive blob":           {js(kms.Encrypt.OpInfo, `{"KeyId":"k","Plaintext":""}`), "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"enum":                           {js(kms.GenerateDataKey.OpInfo, `{"KeyId":"k","KeySpec":"AES_512"}`), "1 validation error detected: Value 'AES_512' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: [AES_256, AES_128]"},
		"number too small":               {js(kms.GenerateRandom.OpInfo, `{"NumberOfBytes":0}`), "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		"number too large":               {js(kms.GenerateRandom.OpInfo, `{"NumberOfBytes":1025}`), "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024"},
		"length counts code points":      {js(kms.TagResource.OpInfo, `{"KeyId":"k","Tags":[{"TagKey":"`+long[:256]+`","TagValue":""}]}`), ""},
		"in a list": {js(kms.TagResource.OpInfo, `{"KeyId":"k","Tags":[{"TagKey":"`+long+`","TagValue":"v"}]}`),
			"1 validation error detected: Value '" + long + "' at 'tags.1.member.tagKey' failed to satisfy constraint: Member must have length less than or equal to 128"},
		"absent in the second entry": {js(kms.TagResource.OpInfo, `{"KeyId":"k","Tags":[{"TagKey":"a","TagValue":""},{"TagKey":"b"}]}`), "1 validation error detected: Value null at 'tags.2.member.tagValue' failed to satisfy constraint: Member must not be null"},
		"entries of a list of texts": {js(kms.UntagResource.OpInfo, `{"KeyId":"k","TagKeys":["a",""]}`),
			"1 validation error detected: Value '[a, ]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]"},
		"enum in a list": {js(kms.CreateGrant.OpInfo, `{"KeyId":"k","GranteePrincipal":"p","Operations":["Decrypt","Fly"]}`),
			"1 validation error detected: Value '[Decrypt, Fly]' at 'operations' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [" + strings.Join(kms.GrantOperation("").Values(), ", ") + "]]"},
		"pattern":                           {js(kms.CreateAlias.OpInfo, `{"AliasName":"alias/a b","TargetKeyId":"k"}`), "1 validation error detected: Value 'alias/a b' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"},
		"a pattern matches to the very end": {js(kms.CreateAlias.OpInfo, `{"AliasName":"alias/a\n","TargetKeyId":"k"}`), "1 validation error detected: Value 'alias/a\n' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"},
		"in order of their classes":         {js(kms.CreateAlias.OpInfo, `{"AliasName":"a b"}`), "2 validation errors detected: Value null at 'targetKeyId' failed to satisfy constraint: Member must not be null; Value 'a b' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"},
	} {
		check(name, c.run(), c.want)
	}

	in := &sts.AssumeRoleInput{RoleArn: "short"}
	err := wire.Validate(sts.AssumeRole.OpInfo, nil, in)
	check("without a request, empty is absent", err, "2 validation errors detected: Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null; Value 'short' at 'roleArn' failed to satisfy constraint: Member must have length greater than or equal to 20")
	if code(err) != "ValidationError" {
		t.Errorf("a form protocol's code is %s", code(err))
	}
	many := `{"KeyId":"k","Tags":[` + strings.Repeat(`{},`, 30) + `{}]}`
	if f, _ := wire.FaultOf(js(kms.TagResource.OpInfo, many)()); f == nil || !strings.HasPrefix(f.Message, "10 validation errors detected: ") || strings.Count(f.Message, "; ") != 9 {
		t.Errorf("not ten of many: %v", f)
	}
}

func TestEveryPatternOfTheModelsCompiles(t *testing.T) {
	for _, s := range []*wire.Service{kms.Service, iam.Service, sts.Service, cloudtrail.Service, organizations.Service} {
		for i, p := range s.Patterns {
			if _, err := p.Compile(); err != nil {
				t.Errorf("%s pattern %d: %v", s.Name, i, err)
			}
		}
	}
}

func TestGrantConstraintsThatAreNotKnownAreRefused(t *testing.T) {
	_, _, err := decode(kms.CreateGrant, `{"Constraints":{"SourceArn":"arn:aws:x"}}`)
	if code(err) != "SerializationException" {
		t.Errorf("a constraint that would not be enforced was accepted: %v", err)
	}
}

func TestErrorTextsNeverHoldWhatTheClientSent(t *testing.T) {
	for _, body := range []string{`{"Plaintext":"topsecret!"}`, `{"KeyId":["topsecret"]}`, `{"EncryptionContext":{"topsecret":7}}`, `{"topsecret":`} {
		_, _, err := decode(kms.Encrypt, body)
		if err == nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v", body, err)
		}
	}
	in := &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: "n", KeyStorePassword: "topsecret" + strings.Repeat("!", 40)}
	if err := wire.Validate(kms.CreateCustomKeyStore.OpInfo, nil, in); err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("a sensitive value was printed: %v", err)
	}
}

func TestAuditParameters(t *testing.T) {
	yes := true
	for name, c := range map[string]struct {
		op   *wire.OpInfo
		v    any
		want string
	}{
		"blobs are left out, sensitive ones hidden": {kms.Encrypt.OpInfo, &kms.EncryptInput{KeyId: "k", Plaintext: []byte("secret"), EncryptionContext: map[string]string{"b": "2", "A": "1"}, DryRun: &yes},
			`{"keyId":"k","plaintext":"HIDDEN_DUE_TO_SECURITY_REASONS","encryptionContext":{"A":"1","b":"2"},"dryRun":true}`},
		"an output": {kms.Encrypt.OpInfo, &kms.EncryptOutput{CiphertextBlob: []byte("x"), KeyId: "k"}, `{"keyId":"k"}`},
		"policies stay text": {iam.CreateRole.OpInfo, &iam.CreateRoleInput{RoleName: "r", AssumeRolePolicyDocument: `{"Version":1}`, Tags: []iam.Tag{{Key: "a"}}},
			`{"roleName":"r","assumeRolePolicyDocument":"{\"Version\":1}","tags":[{"key":"a"}]}`},
		"access key secrets are hidden": {iam.CreateAccessKey.OpInfo, &iam.CreateAccessKeyOutput{AccessKey: &iam.AccessKey{UserName: "u", AccessKeyId: "AKIA", SecretAccessKey: "s", Status: iam.StatusTypeActive, CreateDate: time.Unix(0, 0)}},
			`{"accessKey":{"userName":"u","accessKeyId":"AKIA","status":"Active","secretAccessKey":"HIDDEN_DUE_TO_SECURITY_REASONS","createDate":"1970-01-01T00:00:00Z"}}`},
		"nothing":            {kms.Encrypt.OpInfo, &kms.EncryptInput{}, `{}`},
		"of another type":    {kms.Encrypt.OpInfo, &kms.DecryptInput{KeyId: "k"}, `null`},
		"no value at all":    {kms.Encrypt.OpInfo, nil, `null`},
		"long texts are cut": {kms.DescribeKey.OpInfo, &kms.DescribeKeyInput{KeyId: strings.Repeat("é", 3000)}, `{"keyId":"` + strings.Repeat("é", 2048) + `"}`},
	} {
		got := string(wire.Parameters(c.op, c.v, nil))
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: not JSON", name)
		}
	}
}

func TestFaultsAreFoundInChains(t *testing.T) {
	f, ok := wire.FaultOf(fmt.Errorf("service/kms: %w", &kms.DisabledException{Message: "k is disabled."}))
	if !ok || f.Code != "DisabledException" || f.Status != 400 || f.Message != "k is disabled." || f.Server {
		t.Errorf("got %+v", f)
	}
	if f, ok := wire.FaultOf(&kms.KeyUnavailableException{}); !ok || f.Status != 500 || !f.Server {
		t.Errorf("a server's fault: %+v", f)
	}
	if f, ok := wire.FaultOf(&iam.NoSuchEntityException{}); !ok || f.Code != "NoSuchEntity" || f.Status != 404 {
		t.Errorf("iam: %+v", f)
	}
	if _, ok := wire.FaultOf(context.DeadlineExceeded); ok {
		t.Error("a plain error passed for a fault")
	}
	if _, ok := wire.FaultOf(errors.New("x")); ok {
		t.Error("a plain error passed for a fault")
	}
}

func TestAValueOfAnotherTypeIsTheCallersMistake(t *testing.T) {
	req := &wire.Request{Body: []byte(`{}`)}
	for name, err := range map[string]error{
		"decode":   wire.Decode(kms.Encrypt.OpInfo, wire.JSON11, req, &kms.DecryptInput{}),
		"nil":      wire.Decode(kms.Encrypt.OpInfo, wire.JSON11, req, nil),
		"a struct": wire.Decode(kms.Encrypt.OpInfo, wire.JSON11, req, kms.EncryptInput{}),
		"validate": wire.Validate(kms.Encrypt.OpInfo, req, &kms.DecryptInput{}),
		"protocol": wire.Decode(kms.Encrypt.OpInfo, wire.CBOR, req, &kms.EncryptInput{}),
	} {
		if _, isFault := wire.FaultOf(err); err == nil || isFault {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := wire.EncodeOutput(kms.Encrypt.OpInfo, wire.JSON11, "", &kms.DecryptOutput{}, nil); err == nil {
		t.Error("an output of another type was encoded")
	}
}

func TestGeneratedFactsOfOperations(t *testing.T) {
	for _, c := range []struct {
		op       *wire.OpInfo
		readOnly bool
		unsigned bool
	}{
		{kms.Encrypt.OpInfo, true, false}, {kms.ScheduleKeyDeletion.OpInfo, false, false}, {kms.GetKeyPolicy.OpInfo, true, false},
		{kms.GenerateDataKeyPairWithoutPlaintext.OpInfo, true, false}, {kms.CreateGrant.OpInfo, false, false}, {kms.ImportKeyMaterial.OpInfo, false, false},
		{sts.AssumeRole.OpInfo, true, false}, {sts.AssumeRoleWithWebIdentity.OpInfo, true, true}, {sts.GetCallerIdentity.OpInfo, true, false},
		{sts.DecodeAuthorizationMessage.OpInfo, true, false}, {iam.CreateUser.OpInfo, false, false}, {iam.ListUsers.OpInfo, true, false},
		{cloudtrail.LookupEvents.OpInfo, true, false}, {cloudtrail.StopLogging.OpInfo, false, false},
	} {
		if c.op.ReadOnly != c.readOnly || c.op.Unsigned != c.unsigned {
			t.Errorf("%s: read-only %t, unsigned %t", c.op.Action(), c.op.ReadOnly, c.op.Unsigned)
		}
	}
	if n := len(kms.Operations()); n != 54 {
		t.Errorf("kms has %d operations", n)
	}
	if n := len(iam.Service.Known); n != 176 {
		t.Errorf("iam knows %d operations", n)
	}
	if kms.Service.EventSource != "kms.amazonaws.com" {
		t.Error(kms.Service.EventSource)
	}
}

func TestHeadersOfAnswersCannotBeSplit(t *testing.T) {
	type output struct {
		Name string `aws:"X-Name,in=header"`
	}
	op := wire.NewOp[struct{}, output](&wire.OpInfo{Service: &wire.Service{Name: "t", Protocol: wire.RESTJSON}, Name: "Op", Method: "GET", Path: "/"})
	res, err := wire.EncodeOutput(op.OpInfo, wire.RESTJSON, "", &output{Name: "a\r\nX-Evil: 1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("X-Name"); strings.ContainsAny(got, "\r\n") {
		t.Errorf("header %q", got)
	}
	if http.Header(res.Header).Get("X-Evil") != "" {
		t.Error("a header was smuggled in")
	}
}
