package sigv4_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsv4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/leadglass/leadglass/identity/sigv4"
)

const (
	akid   = "AKIAIOSFODNN7EXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

var now = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func signer(service string) *sigv4.Signer {
	return &sigv4.Signer{AccessKeyID: akid, SecretAccessKey: []byte(secret), Region: "us-east-1", Service: service}
}

func kmsRequest() *sigv4.Request {
	return &sigv4.Request{Method: "POST", Target: "/", Host: "kms.us-east-1.amazonaws.com", ContentLength: 2,
		Header: map[string][]string{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"TrentService.ListKeys"}}}
}

// signed returns a request signed by us, which edit may then change.
func signed(t testing.TB, service string, body string, edit func(r *sigv4.Request)) *sigv4.Request {
	t.Helper()
	r := kmsRequest()
	if err := signer(service).Sign(r, []byte(body), now); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(r)
	}
	return r
}

func presigned(t testing.TB, service string, expires time.Duration, edit func(r *sigv4.Request)) *sigv4.Request {
	t.Helper()
	r := &sigv4.Request{Method: "GET", Target: "/t?versionId=3", Host: "h.example", Header: map[string][]string{}}
	target, err := signer(service).Presign(r, nil, expires, now)
	if err != nil {
		t.Fatal(err)
	}
	r.Target = target
	if edit != nil {
		edit(r)
	}
	return r
}

func authenticate(r *sigv4.Request, service, body string, at time.Time) error {
	c := requestCase{Service: service, Region: "us-east-1"}
	c.Credential.ID, c.Credential.Secret = akid, secret
	return c.authenticate(r, []byte(body), at)
}

func authHeader(f func(string) string) func(*sigv4.Request) {
	return func(r *sigv4.Request) { r.Header["Authorization"] = []string{f(r.Header["Authorization"][0])} }
}

func replace(old, new string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, new, 1) }
}

func TestRefusals(t *testing.T) {
	target := func(f func(string) string) func(*sigv4.Request) {
		return func(r *sigv4.Request) { r.Target = f(r.Target) }
	}
	set := func(name string, values ...string) func(*sigv4.Request) {
		return func(r *sigv4.Request) { r.Header[name] = values }
	}
	without := func(name string) func(*sigv4.Request) {
		return func(r *sigv4.Request) { delete(r.Header, name) }
	}
	for _, c := range []struct {
		name    string
		service string
		query   bool
		edit    func(*sigv4.Request)
		kind    sigv4.Kind
		message string // part of it
	}{
		{"nothing at all", "kms", false, without("Authorization"), sigv4.NoCredentials, "Missing Authentication Token"},
		{"two Authorization headers", "kms", false, func(r *sigv4.Request) {
			r.Header["Authorization"] = append(r.Header["Authorization"], "x")
		}, sigv4.Incomplete, "more than once"},
		{"header and query at once", "kms", true, set("Authorization", "AWS4-HMAC-SHA256 x=y"), sigv4.TwoMechanisms, "Only one auth mechanism"},
		{"an escaped name does not hide the second mechanism", "kms", false, func(r *sigv4.Request) { r.Target = "/?X%2DAmz-Algorithm=x" }, sigv4.TwoMechanisms, ""},
		{"SigV4A with a scope of V4", "kms", false, authHeader(replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")), sigv4.Incomplete, "4 slash-delimited"},
		{"another scheme", "kms", false, set("Authorization", "Basic QWxhZGRpbjpvcGVu"), sigv4.UnsupportedAlgorithm, "not supported"},
		{"an empty Authorization", "kms", false, set("Authorization", ""), sigv4.UnsupportedAlgorithm, ""},
		{"no parts", "kms", false, set("Authorization", "AWS4-HMAC-SHA256 "), sigv4.Incomplete,
			"Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter."},
		{"a part without equals sign", "kms", false, authHeader(replace("Signature=", "Signature")), sigv4.Incomplete, "missing equal-sign"},
		{"a part twice", "kms", false, authHeader(func(s string) string { return s + ", Signature=00" }), sigv4.Incomplete, "more than once"},
		{"an unknown part", "kms", false, authHeader(func(s string) string { return s + ", Extra=1" }), sigv4.Incomplete, "unknown parameter"},
		{"a header without end", "kms", false, authHeader(func(s string) string { return s + strings.Repeat(",", 20000) }), sigv4.Incomplete, "too long"},
		{"a short credential", "kms", false, authHeader(replace("/us-east-1/kms", "/kms")), sigv4.Incomplete, "5 slash-delimited"},
		{"a slash in the key id", "kms", false, authHeader(replace("AKIA", "AK/A")), sigv4.Incomplete, "5 slash-delimited"},
		{"a line feed in the region", "kms", false, authHeader(replace("us-east-1", "us\neast-1")), sigv4.Incomplete, "5 slash-delimited"},
		{"no date", "kms", false, without("X-Amz-Date"), sigv4.Incomplete, "existence of either a 'X-Amz-Date' or a 'Date' header"},
		{"a date that is none", "kms", false, set("X-Amz-Date", "20260231T090000Z"), sigv4.Incomplete, "ISO-8601"},
		{"a date twice", "kms", false, set("X-Amz-Date", "20261123T090000Z", "20261123T090000Z"), sigv4.Incomplete, "ISO-8601"},
		{"upper case in the signed headers", "kms", false, authHeader(replace("host;", "Host;")), sigv4.Incomplete, "lower-case"},
		{"signed headers out of order", "kms", false, authHeader(replace("content-type;host", "host;content-type")), sigv4.Incomplete, "ascending"},
		{"a signed header twice", "kms", false, authHeader(replace("host;", "host;host;")), sigv4.Incomplete, "ascending"},
		{"host not signed", "kms", false, authHeader(replace("host;", "")), sigv4.HeadersNotSigned, "'Host' or ':authority' must be a 'SignedHeader'"},
		{"the target not signed", "kms", false, authHeader(replace(";x-amz-target", "")), sigv4.HeadersNotSigned, "x-amz-target"},
		{"the date not signed", "kms", false, authHeader(replace(";x-amz-date", "")), sigv4.HeadersNotSigned, "x-amz-date"},
		{"two tokens", "kms", false, set("X-Amz-Security-Token", "t", "u"), sigv4.Incomplete, "more than once"},
		{"a signed header that is absent", "kms", false, authHeader(replace("x-amz-target", "x-amz-targeu")), sigv4.HeadersNotSigned, ""},
		{"a signed header taken away", "kms", false, without("Content-Type"), sigv4.BadSignature, "The request signature we calculated"},
		{"the method changed", "kms", false, func(r *sigv4.Request) { r.Method = "PUT" }, sigv4.BadSignature, ""},
		{"the host changed", "kms", false, func(r *sigv4.Request) { r.Host = "iam.amazonaws.com" }, sigv4.BadSignature, ""},
		{"a truncated signature", "kms", false, authHeader(func(s string) string { return s[:len(s)-2] }), sigv4.BadSignature, ""},
		{"an upper-case signature", "kms", false, authHeader(func(s string) string {
			i := strings.Index(s, "Signature=") + 10
			return s[:i] + strings.ToUpper(s[i:])
		}), sigv4.BadSignature, ""},
		{"another region", "kms", false, authHeader(replace("us-east-1", "eu-west-1")), sigv4.WrongScope, "Credential should be scoped to a valid region."},
		{"another service", "kms", false, authHeader(replace("/kms/", "/iam/")), sigv4.WrongScope, "Credential should be scoped to correct service: 'kms'."},
		{"another terminator", "kms", false, authHeader(replace("aws4_request", "aws5_request")), sigv4.WrongScope, "valid terminator: 'aws4_request'"},
		{"another day", "kms", false, authHeader(replace("20261123", "20261122")), sigv4.WrongScope, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP"},
		{"an S3 scope of another region names the right one", "s3", false, authHeader(replace("us-east-1", "eu-west-1")), sigv4.WrongScope, "the region 'eu-west-1' is wrong; expecting 'us-east-1'"},
		{"a declared hash that is none", "kms", false, set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), sigv4.InvalidPayloadHash, ""},
		{"a chunked payload instead of the signed one", "s3", false, set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), sigv4.BadSignature, ""},
		{"chunks of the other algorithm", "s3", false, set("X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), sigv4.InvalidPayloadHash, ""},
		{"a streaming form that is none", "s3", false, set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-EVENTS"), sigv4.InvalidPayloadHash, ""},
		{"a chunked payload where there is none", "kms", false, set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), sigv4.InvalidPayloadHash, ""},
		{"an unsigned S3 header", "s3", false, set("X-Amz-Acl", "public-read"), sigv4.HeadersNotSigned, "There were headers present in the request which were not signed"},
		{"a broken escape in the query", "kms", false, func(r *sigv4.Request) { r.Target = "/?a=%zz" }, sigv4.QueryMalformed, "Illegal hex"},
		{"a broken escape in an S3 path", "s3", false, func(r *sigv4.Request) { r.Target = "/%q" }, sigv4.InvalidURI, "Couldn't parse"},

		{"query: no date", "s3", true, target(replace("X-Amz-Date", "x-amz-date")), sigv4.QueryMalformed, "requires the X-Amz-Algorithm"},
		{"query: another algorithm", "s3", true, target(replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512")), sigv4.QueryMalformed, "only supports"},
		{"query: SigV4A with a scope of V4", "s3", true, target(replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")), sigv4.QueryMalformed, "SERVICE/aws4_request"},
		{"query: a parameter twice", "s3", true, target(func(s string) string { return s + "&X-Amz-Date=20261123T090000Z" }), sigv4.QueryMalformed, "more than once"},
		{"query: a bad credential", "s3", true, target(replace("%2Fs3%2F", "%2F")), sigv4.QueryMalformed, "X-Amz-Credential"},
		{"query: no life", "s3", true, target(replace("X-Amz-Expires", "Expires")), sigv4.QueryMalformed, "X-Amz-Expires parameters"},
		{"query: no life at all", "s3", true, target(replace("Expires=60", "Expires=0")), sigv4.QueryMalformed, "at least 1"},
		{"query: a negative life", "s3", true, target(replace("Expires=60", "Expires=-60")), sigv4.QueryMalformed, "non-negative"},
		{"query: a life in words", "s3", true, target(replace("Expires=60", "Expires=long")), sigv4.QueryMalformed, "a number"},
		{"query: more than a week", "s3", true, target(replace("Expires=60", "Expires=604801")), sigv4.QueryMalformed, "less than a week"},
		{"query: a life beyond all numbers", "s3", true, target(replace("Expires=60", "Expires="+strings.Repeat("9", 400))), sigv4.QueryMalformed, "less than a week"},
		{"query: an upper-case signature", "s3", true, target(func(s string) string { return s[:len(s)-64] + strings.Repeat("A", 64) }), sigv4.QueryMalformed, "64 lower-case"},
		{"query: a parameter added", "s3", true, target(func(s string) string { return s + "&acl" }), sigv4.BadSignature, ""},
		{"query: a longer life than signed", "s3", true, target(replace("Expires=60", "Expires=61")), sigv4.BadSignature, ""},
		{"query: another region", "s3", true, target(replace("us-east-1", "eu-west-1")), sigv4.WrongScope, "Error parsing the X-Amz-Credential parameter; the region 'eu-west-1' is wrong"},
		{"query: a token in the header as well", "s3", true, func(r *sigv4.Request) {
			r.Target += "&X-Amz-Security-Token=a"
			r.Header["X-Amz-Security-Token"] = []string{"b"}
		}, sigv4.Incomplete, "more than once"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r *sigv4.Request
			if c.query {
				r = presigned(t, c.service, time.Minute, c.edit)
			} else {
				r = signed(t, c.service, "{}", c.edit)
			}
			err := authenticate(r, c.service, "{}", now)
			e, ok := errors.AsType[*sigv4.Error](err)
			if !ok || e.Kind != c.kind || !strings.Contains(e.Message, c.message) {
				t.Errorf("got %v (%+v), want kind %d with %q", err, e, c.kind, c.message)
			}
		})
	}
}

func TestTokenMustBeSigned(t *testing.T) {
	r := signed(t, "kms", "{}", func(r *sigv4.Request) { r.Header["X-Amz-Security-Token"] = []string{"t"} })
	p, err := sigv4.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("{}"))
	_, _, err = p.StringToSign(r, &sum, nil)
	if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Kind != sigv4.HeadersNotSigned {
		t.Errorf("an unsigned token gave %v", err)
	}
}

func TestHeaderIsReadLeniently(t *testing.T) {
	for name, f := range map[string]func(string) string{
		"no blanks after commas": func(s string) string { return strings.ReplaceAll(s, ", ", ",") },
		"blanks round commas":    func(s string) string { return strings.ReplaceAll(s, ", ", " \t,  ") },
		"several spaces first":   replace("SHA256 ", "SHA256    "),
		"a comma at the end":     func(s string) string { return s + "," },
		"another order": func(s string) string {
			alg, rest, _ := strings.Cut(s, " ")
			parts := strings.Split(rest, ", ")
			return alg + " " + parts[2] + "," + parts[0] + "," + parts[1]
		},
	} {
		if err := authenticate(signed(t, "kms", "{}", authHeader(f)), "kms", "{}", now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDateHeaderStandsIn(t *testing.T) {
	for _, date := range []string{"Mon, 23 Nov 2026 09:00:00 GMT", "20261123T090000Z"} {
		r := kmsRequest()
		r.Header["Date"] = []string{date}
		s := signer("kms")
		if err := s.Sign(r, []byte("{}"), now); err != nil {
			t.Fatal(err)
		}
		// Sign covered X-Amz-Date too: sign once more by hand without it.
		delete(r.Header, "X-Amz-Date")
		r.Header["Authorization"][0] = strings.Replace(r.Header["Authorization"][0], "x-amz-date;", "", 1)
		p, err := sigv4.Parse(r)
		if err != nil {
			t.Fatalf("%s: %v", date, err)
		}
		sum := sha256.Sum256([]byte("{}"))
		sts, _, err := p.StringToSign(r, &sum, nil)
		if err != nil {
			t.Fatal(err)
		}
		key := sigv4.SigningKey([]byte(secret), "20261123", "us-east-1", "kms")
		mac := sigv4.MAC(&key, sts)
		auth := r.Header["Authorization"][0]
		r.Header["Authorization"][0] = auth[:len(auth)-64] + hex.EncodeToString(mac[:])
		if err := authenticate(r, "kms", "{}", now); err != nil {
			t.Errorf("%s: %v", date, err)
		}
		r.Header["Authorization"][0] = strings.Replace(r.Header["Authorization"][0], "date;", "", 1)
		err = authenticate(r, "kms", "{}", now)
		if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Kind != sigv4.HeadersNotSigned {
			t.Errorf("an unsigned Date gave %v", err)
		}
	}
}

func TestTimeWindow(t *testing.T) {
	header := func(*testing.T) *sigv4.Request { return signed(t, "kms", "", nil) }
	query := func(*testing.T) *sigv4.Request { return presigned(t, "kms", time.Minute, nil) }
	for _, c := range []struct {
		name    string
		r       func(*testing.T) *sigv4.Request
		at      time.Duration
		kind    sigv4.Kind // 0: accepted
		message string
	}{
		{"at once", header, 0, 0, ""},
		{"15 minutes late", header, 15 * time.Minute, 0, ""},
		{"15 minutes and a millisecond late", header, 15*time.Minute + time.Millisecond, sigv4.Skew, ""},
		{"20 minutes late", header, 20 * time.Minute, sigv4.Skew, "Signature expired: 20261123T090000Z is now earlier than 20261123T090500Z (20261123T092000Z - 15 min.)"},
		{"15 minutes early", header, -15 * time.Minute, 0, ""},
		{"20 minutes early", header, -20 * time.Minute, sigv4.Skew, "Signature not yet current: 20261123T090000Z is still later than 20261123T085500Z (20261123T084000Z + 15 min.)"},
		{"presigned, last second", query, time.Minute, 0, ""},
		{"presigned, a millisecond past it", query, time.Minute + time.Millisecond, sigv4.PresignExpired, ""},
		{"presigned, a minute past it", query, 2 * time.Minute, sigv4.PresignExpired, "Signature expired: 20261123T090000Z is now earlier than 20261123T090100Z (20261123T090200Z - 1 min.)"},
		{"presigned, 15 minutes early", query, -15 * time.Minute, 0, ""},
		{"presigned, 16 minutes early", query, -16 * time.Minute, sigv4.PresignEarly, "Signature not yet current"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := authenticate(c.r(t), "kms", "", now.Add(c.at))
			e, _ := errors.AsType[*sigv4.Error](err)
			switch {
			case c.kind == 0 && err != nil:
				t.Error(err)
			case c.kind != 0 && (e == nil || e.Kind != c.kind || !strings.Contains(e.Message, c.message)):
				t.Errorf("got %v, want kind %d with %q", err, c.kind, c.message)
			}
		})
	}
}

func TestMidnightBelongsToTheSigner(t *testing.T) {
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	r := kmsRequest()
	if err := signer("kms").Sign(r, nil, midnight.Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := authenticate(r, "kms", "", midnight.Add(10*time.Minute)); err != nil {
		t.Errorf("signed at 23:59:59, checked after midnight: %v", err)
	}
}

func TestS3ToleratesPathsAsSent(t *testing.T) {
	// A signer that leaves the path as it is on the wire: lower-case hex and a raw parenthesis.
	r := &sigv4.Request{Method: "GET", Target: "/a%c3%a9(1)?list-type=2&prefix=a(b", Host: "b.s3.amazonaws.com", Header: map[string][]string{
		"X-Amz-Date": {"20261123T090000Z"}, "X-Amz-Content-Sha256": {sigv4.EmptyHash}}}
	canonical := "GET\n/a%c3%a9(1)\nlist-type=2&prefix=a(b\nhost:b.s3.amazonaws.com\nx-amz-content-sha256:" + sigv4.EmptyHash +
		"\nx-amz-date:20261123T090000Z\n\nhost;x-amz-content-sha256;x-amz-date\n" + sigv4.EmptyHash
	sts := sigv4.StringToSign{Time: now, Date: "20261123", Region: "us-east-1", Service: "s3", CanonicalDigest: sha256.Sum256([]byte(canonical))}
	key := sigv4.SigningKey([]byte(secret), "20261123", "us-east-1", "s3")
	mac := sigv4.MAC(&key, sts.Append(nil))
	r.Header["Authorization"] = []string{"AWS4-HMAC-SHA256 Credential=" + akid + "/20261123/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=" + hex.EncodeToString(mac[:])}
	if err := authenticate(r, "s3", "", now); err != nil {
		t.Error(err)
	}
	r.Target = strings.Replace(r.Target, "(1)", "(2)", 1)
	if err := authenticate(r, "s3", "", now); err == nil {
		t.Error("another path was accepted")
	}
}

func TestEveryKindHasACodeInEveryFamily(t *testing.T) {
	for k := sigv4.NoCredentials; k <= sigv4.PostMalformed; k++ {
		for f := sigv4.Query; f <= sigv4.EC2; f++ {
			if code, status := (&sigv4.Error{Kind: k}).Code(f); code == "" || status < 400 || status > 501 {
				t.Errorf("kind %d in family %d: %q %d", k, f, code, status)
			}
		}
	}
	// Spot checks against section 8.
	for _, c := range []struct {
		kind   sigv4.Kind
		family sigv4.Family
		code   string
		status int
	}{
		{sigv4.NoCredentials, sigv4.RESTJSON, "MissingAuthenticationTokenException", 403},
		{sigv4.NoCredentials, sigv4.EC2, "AuthFailure", 401},
		{sigv4.BadToken, sigv4.Query, "InvalidClientTokenId", 403},
		{sigv4.BadToken, sigv4.RESTXML, "InvalidToken", 400},
		{sigv4.ExpiredToken, sigv4.EC2, "RequestExpired", 400},
		{sigv4.ExpiredToken, sigv4.JSON, "ExpiredTokenException", 400},
		{sigv4.Skew, sigv4.JSON, "InvalidSignatureException", 400},
		{sigv4.TwoMechanisms, sigv4.Query, "IncompleteSignature", 400},
		{sigv4.PayloadMismatch, sigv4.JSON, "InvalidSignatureException", 400},
	} {
		if code, status := (&sigv4.Error{Kind: c.kind}).Code(c.family); code != c.code || status != c.status {
			t.Errorf("kind %d in family %d: %s %d, want %s %d", c.kind, c.family, code, status, c.code, c.status)
		}
	}
}

func TestHMACIsTheStandardLibrarys(t *testing.T) {
	for n := range 200 {
		key, message := []byte(strings.Repeat("k", n)), []byte(strings.Repeat("m", 3*n))
		h := hmac.New(sha256.New, key)
		h.Write(message)
		if got := sigv4.HMAC(key, message); hex.EncodeToString(got[:]) != hex.EncodeToString(h.Sum(nil)) {
			t.Fatalf("key of %d bytes: %x", n, got)
		}
	}
}

func TestStringToSignIsParsedStrictly(t *testing.T) {
	good := "AWS4-HMAC-SHA256\n20261123T090000Z\n20261123/us-east-1/kms/aws4_request\n" + sigv4.EmptyHash
	s, err := sigv4.ParseStringToSign([]byte(good))
	if err != nil || s.Service != "kms" || s.Region != "us-east-1" || !s.Time.Equal(now) || string(s.Append(nil)) != good {
		t.Fatalf("%+v, %v", s, err)
	}
	for name, bad := range map[string]string{
		"empty":                    "",
		"another algorithm":        strings.Replace(good, "HMAC", "HMBC", 1),
		"a line too many":          good + "\n",
		"a line too few":           good[:len(good)-65],
		"upper-case digest":        strings.ToUpper(good[len(good)-64:]),
		"another day in the scope": strings.Replace(good, "\n20261123/", "\n20261124/", 1),
		"another terminator":       strings.Replace(good, "aws4", "aws5", 1),
		"no region":                strings.Replace(good, "us-east-1", "", 1),
		"a blank in the service":   strings.Replace(good, "kms", "k s", 1),
		"a part too many":          strings.Replace(good, "kms", "kms/x", 1),
		"too long":                 strings.Replace(good, "kms", strings.Repeat("k", 2000), 1),
	} {
		if _, err := sigv4.ParseStringToSign([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// Two independent implementations agree: the AWS SDK signs, we verify.
func TestSDKSignaturesVerify(t *testing.T) {
	creds := aws.Credentials{AccessKeyID: akid, SecretAccessKey: secret}
	for _, raw := range []string{"http://h.example/", "http://h.example:4599/a%20b/c/d/?b=2&a=1%2B1&a=&c", "http://h.example/%C3%A9/x+y?q=%20~"} {
		body := `{"KeyId":"x"}`
		sum := sha256.Sum256([]byte(body))
		req := httptest.NewRequest(http.MethodPost, raw, strings.NewReader(body))
		req.URL, _ = url.Parse(raw)
		req.Header.Set("X-Amz-Target", "TrentService.DescribeKey")
		req.Header.Set("Content-Type", " application/x-amz-json-1.1 ")
		req.Header.Set("User-Agent", "test")
		if err := awsv4.NewSigner().SignHTTP(context.Background(), creds, req, hex.EncodeToString(sum[:]), "kms", "us-east-1", now); err != nil {
			t.Fatal(err)
		}
		r := &sigv4.Request{Method: req.Method, Target: req.URL.RequestURI(), Host: req.URL.Host, Header: req.Header, ContentLength: int64(len(body))}
		if err := authenticate(r, "kms", body, now); err != nil {
			t.Errorf("%s: %v\n%v", raw, err, req.Header)
		}
		signedURL, _, err := awsv4.NewSigner().PresignHTTP(context.Background(), creds, httptest.NewRequest(http.MethodGet, raw, nil), sigv4.EmptyHash, "sts", "us-east-1", now)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(signedURL)
		if err != nil {
			t.Fatal(err)
		}
		r = &sigv4.Request{Method: http.MethodGet, Target: u.RequestURI(), Host: u.Host, Header: map[string][]string{}}
		if err := authenticate(r, "sts", "", now); err != nil {
			t.Errorf("presigned %s: %v", signedURL, err)
		}
	}
}
