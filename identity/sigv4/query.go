package sigv4

import (
	"strings"
	"time"
)

// queryForm says whether a raw query carries authentication parameters.
func queryForm(query string) bool {
	if query == "" {
		return false
	}
	for piece := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(piece, "=")
		if name, ok := unescape(name); ok {
			switch name {
			case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature":
				return true
			}
		}
	}
	return false
}

// parseQuery reads the query form. Names are case-sensitive (section 1).
func parseQuery(r *Request, query string) (*Parsed, error) {
	var q struct{ algorithm, credential, date, expires, signed, signature, token, hash, regions string }
	n := 0
	for piece := range strings.SplitSeq(query, "&") {
		if n++; n > maxQueryPieces {
			return nil, refuse(QueryMalformed, "Too many query parameters.")
		}
		rawName, rawValue, _ := strings.Cut(piece, "=")
		name, ok := unescape(rawName)
		if !ok {
			return nil, refuse(QueryMalformed, illegalEscape)
		}
		var dst *string
		switch name {
		case "X-Amz-Algorithm":
			dst = &q.algorithm
		case "X-Amz-Credential":
			dst = &q.credential
		case "X-Amz-Date":
			dst = &q.date
		case "X-Amz-Expires":
			dst = &q.expires
		case "X-Amz-SignedHeaders":
			dst = &q.signed
		case "X-Amz-Signature":
			dst = &q.signature
		case "X-Amz-Security-Token":
			dst = &q.token
		case "X-Amz-Content-Sha256":
			dst = &q.hash
		case "X-Amz-Region-Set":
			dst = &q.regions
		default:
			continue
		}
		value, ok := unescape(rawValue)
		if !ok {
			return nil, refuse(QueryMalformed, illegalEscape)
		}
		if *dst != "" {
			return nil, refuse(QueryMalformed, "Query parameter "+name+" was sent more than once.")
		}
		*dst = value
	}

	if q.algorithm == "" || q.credential == "" || q.signature == "" || q.date == "" || q.signed == "" {
		return nil, refuse(QueryMalformed, queryNeeds)
	}
	if checkAlgorithm(q.algorithm) != nil {
		return nil, refuse(QueryMalformed, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"")
	}
	p := &Parsed{Algorithm: q.algorithm, SignedHeaders: q.signed, SessionToken: q.token, PayloadHash: q.hash, Presigned: true}
	if !p.setCredential(q.credential) {
		return nil, refuse(QueryMalformed, "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \""+credentialForm(q.algorithm)+"\".")
	}
	if !validSigned(q.signed) {
		return nil, refuse(QueryMalformed, "X-Amz-SignedHeaders must be lower-case header names in ascending order, separated by semicolons.")
	}
	if p.setSignature(q.signature); p.badSignature {
		return nil, refuse(QueryMalformed, signatureForm("X-Amz-Signature", q.algorithm))
	}
	var ok bool
	if p.Time, ok = parseTime(q.date); !ok {
		return nil, refuse(QueryMalformed, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	var err error
	if p.Expires, err = parseExpires(q.expires, p.Service); err != nil {
		return nil, err
	}
	if p.Asymmetric() {
		p.RegionSet = q.regions
	}
	if err := p.setRegionSet(r); err != nil {
		return nil, err
	}
	if err := p.setTokenAndPayload(r); err != nil {
		return nil, err
	}
	return p, nil
}

// credentialForm is what a credential parameter must look like, in AWS's words.
func credentialForm(alg string) string {
	if alg == AlgorithmV4A {
		return "<YOUR-AKID>/YYYYMMDD/SERVICE/aws4_request"
	}
	return "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"
}

func signatureForm(name, alg string) string {
	if alg == AlgorithmV4A {
		return name + " must be at most 144 lower-case hexadecimal digits."
	}
	return name + " must be 64 lower-case hexadecimal digits."
}

const (
	queryNeeds    = "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
	illegalEscape = "Illegal hex characters in escape (%) pattern"
)

// parseExpires reads the life of a presigned request (section 6): S3 insists
// on it, others have a default.
func parseExpires(s, service string) (time.Duration, error) {
	if s == "" {
		if pathIsKey(service) {
			return 0, refuse(QueryMalformed, queryNeeds)
		}
		return defaultExpires, nil
	}
	if strings.HasPrefix(s, "-") && digits(s[1:]) {
		return 0, refuse(QueryMalformed, "X-Amz-Expires must be non-negative")
	}
	if !digits(s) {
		return 0, refuse(QueryMalformed, "X-Amz-Expires should be a number")
	}
	var seconds time.Duration
	for _, c := range strings.TrimLeft(s, "0") {
		seconds = seconds*10 + time.Duration(c-'0')
		if seconds*time.Second > maxExpires {
			return 0, refuse(QueryMalformed, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
		}
	}
	if seconds == 0 {
		return 0, refuse(QueryMalformed, "X-Amz-Expires must be at least 1")
	}
	return seconds * time.Second, nil
}

// unescape percent-decodes s; '+' is a plus (section 2).
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) || anyHex(s[i+1])|anyHex(s[i+2]) > 15 {
				return "", false
			}
			c = anyHex(s[i+1])<<4 | anyHex(s[i+2])
			i += 2
		}
		b = append(b, c)
	}
	return string(b), true
}

func anyHex(c byte) byte {
	if 'A' <= c && c <= 'F' {
		return c - 'A' + 10
	}
	return lowerHex(c)
}
