// Package sigv4 signs requests and checks their signatures: AWS Signature
// Version 4 and its asymmetric sister SigV4A, each in the header form
// (Authorization), the query form (presigned) and the form upload of S3.
//
// A server goes through four calls, in the order of the spec's section 7:
//
//	p, err := sigv4.Parse(r)                       // 1 well formed, 2 algorithm known
//	err = p.CheckScope(now, regions, "kms")        // 3 scope, 4 time
//	// 5: the caller resolves p.AccessKeyID and p.SessionToken
//	sts, digest, err := p.StringToSign(r, &body, nil)
//	ok := sigv4.Verify(&key, sts, &p.Signature)    // 6; or the authority does it: witness mode
//
// For SigV4A (Parsed.Asymmetric) the last is VerifyV4A with p.ECDSA. A form
// upload begins with ParsePost, and its string to sign is the policy's text.
// A body that p.Streaming says is sent in chunks is read with package chunked.
//
// Every refusal is an *Error that carries AWS's own message; Error.Code gives
// the code and status that each protocol family answers with.
//
// A client uses Signer. SigningKey, KeyPair and ParseStringToSign show how
// keys come from a secret; the authority, the only process of a plane that
// holds secret access keys, has its own copy of it, and a test compares them.
//
// Not here: who the caller is (identity/sessions), secrets at rest
// (identity/authority), reading bodies. Signatures are compared in constant
// time, keys are wiped from the scratch memory they passed through, and no
// error holds a token, a secret or a signature. A SigV4A signature can be
// changed into another valid one by anybody who sees it, so it must never name
// a request or detect a replay; the string to sign's hash may.
package sigv4

import (
	"strings"
	"time"
)

// The algorithms a request can name.
const (
	Algorithm    = "AWS4-HMAC-SHA256"
	AlgorithmV4A = "AWS4-ECDSA-P256-SHA256"
)

const (
	terminator = "aws4_request"
	isoBasic   = "20060102T150405Z"

	// EmptyHash is the hex SHA-256 of an empty body.
	EmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	// UnsignedPayload stands for the body's hash where S3 leaves the body uncovered.
	// Whoever accepts it must insist on TLS.
	UnsignedPayload = "UNSIGNED-PAYLOAD"

	maxSkew    = 15 * time.Minute
	maxExpires = 7 * 24 * time.Hour
	// What a query form lives when it does not say (services other than S3).
	defaultExpires = 15 * time.Minute
)

// Limits against hostile headers; real ones stay far below.
const (
	maxAuthorization = 16 << 10
	maxSignedNames   = 128
	maxQueryPieces   = 1024
	maxRegionSet     = 1024
	maxDER           = 72 // SEQUENCE{r, s}, both of 33 bytes (section 4)
)

// A Request is what of an HTTP request takes part in a signature.
type Request struct {
	Method string
	Target string // the request target as received: raw path, and the raw query after the first '?'
	Host   string // as received, with the port if there was one
	// Header has net/http's canonical names and the values in order of arrival.
	// Host and Content-Length may be missing from it; the fields here stand in.
	Header        map[string][]string
	ContentLength int64 // -1: unknown (chunked)
}

func (r *Request) split() (path, query string) {
	path, query, _ = strings.Cut(r.Target, "?")
	return path, query
}

// A Parsed is the authentication data of one request, well formed but
// neither in scope, nor fresh, nor verified.
type Parsed struct {
	Algorithm   string
	AccessKeyID string

	// The scope as sent. That of SigV4A names no region: there Region is empty
	// until CheckScope, and then the server's region that RegionSet matched.
	Date, Region, Service, Terminator string
	RegionSet                         string // of SigV4A: for which regions the client signed

	Time          time.Time // the request's own timestamp
	SignedHeaders string    // lower-case names, ascending, separated by ';'
	Signature     [32]byte  // of V4; zero if it was not 64 lower-case hex digits: StringToSign then refuses
	ECDSA         []byte    // of SigV4A: ASN.1 DER; nil if it cannot be one: StringToSign then refuses
	SessionToken  string    // opaque; empty for long-term credentials

	Presigned bool
	Expires   time.Duration // of the query form: how long after Time it is valid
	Post      bool          // a form upload (ParsePost); Policy holds what is signed
	Policy    string        // of a form upload: base64, as sent

	// PayloadHash is the declared hash of the body, 64 hex digits or
	// UnsignedPayload or one of the streaming forms; empty if the request
	// declares none.
	PayloadHash string

	badSignature bool // the signature cannot match whatever the key is
}

// Asymmetric says whether the request is signed with SigV4A.
func (p *Parsed) Asymmetric() bool { return p.Algorithm == AlgorithmV4A }

// Scope is the credential scope as it stands in the string to sign.
func (p *Parsed) Scope() string {
	if p.Asymmetric() {
		return p.Date + "/" + p.Service + "/" + p.Terminator
	}
	return p.Date + "/" + p.Region + "/" + p.Service + "/" + p.Terminator
}

// Signed says whether the header named in lower case is covered.
func (p *Parsed) Signed(name string) bool {
	for n := range strings.SplitSeq(p.SignedHeaders, ";") {
		if n == name {
			return true
		}
	}
	return false
}

// S3-like services take the path as the object's name: encoded once, never
// normalised (section 2).
func pathIsKey(service string) bool {
	return service == "s3" || service == "s3-object-lambda" || service == "s3express"
}

// Unauthenticated says whether r carries no authentication at all.
func Unauthenticated(r *Request) bool {
	_, query := r.split()
	return len(r.Header["Authorization"]) == 0 && !queryForm(query)
}

// Parse reads the authentication data of r: steps 1 and 2 of section 7.
// Its errors are *Error.
func Parse(r *Request) (*Parsed, error) {
	_, query := r.split()
	auth := r.Header["Authorization"]
	switch inQuery := queryForm(query); {
	case inQuery && len(auth) > 0:
		return nil, refuse(TwoMechanisms, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case inQuery:
		return parseQuery(r, query)
	case len(auth) == 0:
		return nil, refuse(NoCredentials, "Missing Authentication Token")
	case len(auth) > 1:
		return nil, refuse(Incomplete, "Authorization header was sent more than once.")
	}
	return parseHeader(r, auth[0])
}

// setCredential splits a credential from the right, so that the rest is the
// access key id (section 1). Empty or odd parts of the scope are left for
// CheckScope, which has the better message.
func (p *Parsed) setCredential(s string) bool {
	var ok [4]bool
	s, p.Terminator, ok[0] = cutLast(s)
	s, p.Service, ok[1] = cutLast(s)
	if ok[2] = true; !p.Asymmetric() {
		s, p.Region, ok[2] = cutLast(s)
	}
	s, p.Date, ok[3] = cutLast(s)
	p.AccessKeyID = s
	return ok == [4]bool{true, true, true, true} && s != "" && len(s) <= 128 && !strings.Contains(s, "/") &&
		printable(s) && printable(p.Date) && printable(p.Region) && printable(p.Service)
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// printable keeps line feeds and other controls out of the string to sign,
// where they would let one field pass for two.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// validSigned says whether list is ascending lower-case names without duplicates.
func validSigned(list string) bool {
	last, n := "", 0
	for name := range strings.SplitSeq(list, ";") {
		if name <= last || !headerName(name) {
			return false
		}
		if n++; n > maxSignedNames {
			return false
		}
		last = name
	}
	return true
}

// headerName accepts RFC 9110 tokens without upper case.
func headerName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// credentialShape is how a credential must look, in AWS's words.
func credentialShape(alg string) string {
	if alg == AlgorithmV4A {
		return "Credential must have exactly 4 slash-delimited elements, e.g. keyid/date/service/term."
	}
	return "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
}

// setSignature notes what cannot be a signature instead of refusing it:
// a wrong scope or time is reported first, and then it simply does not match.
func (p *Parsed) setSignature(s string) {
	if p.Asymmetric() {
		p.ECDSA = decodeDER(s)
		p.badSignature = p.ECDSA == nil
		return
	}
	if !decodeHash(&p.Signature, s) {
		p.badSignature = true
		p.Signature = [32]byte{}
	}
}

// decodeDER reads up to 144 lower-case hex digits; nil if s is something else.
// What they encode is checked by whoever verifies.
func decodeDER(s string) []byte {
	if s == "" || len(s)%2 != 0 || len(s) > 2*maxDER {
		return nil
	}
	der := make([]byte, len(s)/2)
	for i := range der {
		hi, lo := lowerHex(s[2*i]), lowerHex(s[2*i+1])
		if hi|lo > 15 {
			return nil
		}
		der[i] = hi<<4 | lo
	}
	return der
}

// decodeHash reads exactly 64 lower-case hex digits.
func decodeHash(dst *[32]byte, s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range dst {
		hi, lo := lowerHex(s[2*i]), lowerHex(s[2*i+1])
		if hi|lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func lowerHex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// parseTime reads YYYYMMDD'T'HHMMSS'Z' and nothing near it.
func parseTime(s string) (time.Time, bool) {
	if len(s) != len(isoBasic) || s[8] != 'T' || s[15] != 'Z' || !digits(s[:8]) || !digits(s[9:15]) {
		return time.Time{}, false
	}
	two := func(i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(4), two(6)
	h, m, sec := two(9), two(11), two(13)
	t := time.Date(year, time.Month(month), day, h, m, sec, 0, time.UTC)
	// time.Date carries the 31st of February over into March: such a date is malformed.
	if month < 1 || month > 12 || t.Day() != day || h > 23 || m > 59 || sec > 59 {
		return time.Time{}, false
	}
	return t, true
}

// appendTime is the inverse of parseTime.
func appendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, isoBasic) }

func formatTime(t time.Time) string { return t.UTC().Format(isoBasic) }
