package sigv4

import (
	"strings"
	"time"
)

// parseHeader reads the header form: the algorithm, one or more spaces, then
// comma-separated pairs in any order with optional blanks round the comma.
func parseHeader(r *Request, auth string) (*Parsed, error) {
	if len(auth) > maxAuthorization {
		return nil, refuse(Incomplete, "Authorization header is too long.")
	}
	alg, rest, _ := strings.Cut(strings.Trim(auth, " \t"), " ")
	if err := checkAlgorithm(alg); err != nil {
		return nil, err
	}
	var credential, signed, signature string
	for pair := range strings.SplitSeq(rest, ",") {
		pair = strings.Trim(pair, " \t")
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, refuse(Incomplete, "Invalid key=value pair (missing equal-sign) in Authorization header.")
		}
		var dst *string
		switch name {
		case "Credential":
			dst = &credential
		case "SignedHeaders":
			dst = &signed
		case "Signature":
			dst = &signature
		default:
			return nil, refuse(Incomplete, "Authorization header has an unknown parameter.")
		}
		if *dst != "" {
			return nil, refuse(Incomplete, "Authorization header has a parameter more than once.")
		}
		*dst = value
	}

	xDate, date := r.Header["X-Amz-Date"], r.Header["Date"]
	if credential == "" || signature == "" || signed == "" || len(xDate) == 0 && len(date) == 0 {
		return nil, missingParts(credential, signature, signed, len(xDate) > 0 || len(date) > 0)
	}
	p := &Parsed{Algorithm: alg, SignedHeaders: signed}
	if !p.setCredential(credential) {
		return nil, refuse(Incomplete, credentialShape(alg))
	}
	if !validSigned(signed) {
		return nil, refuse(Incomplete, "SignedHeaders must be lower-case header names in ascending order, separated by semicolons.")
	}
	p.setSignature(signature)
	var ok bool
	if len(xDate) > 0 {
		p.Time, ok = parseTime(only(xDate))
	} else {
		p.Time, ok = parseDate(only(date))
	}
	if !ok {
		return nil, refuse(Incomplete, "Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601")
	}
	if err := p.setRegionSet(r); err != nil {
		return nil, err
	}
	if err := p.setTokenAndPayload(r); err != nil {
		return nil, err
	}
	return p, nil
}

// setRegionSet reads the header that takes the region's place in SigV4A
// (section 4). A presigned request may have it in its query instead.
func (p *Parsed) setRegionSet(r *Request) error {
	set := r.Header["X-Amz-Region-Set"]
	if !p.Asymmetric() {
		return nil // means nothing there; if it is signed it counts as any header
	}
	kind := Incomplete
	if p.Presigned {
		kind = QueryMalformed
	}
	if len(set) > 1 || len(set) == 1 && p.RegionSet != "" {
		return refuse(kind, "X-Amz-Region-Set was sent more than once.")
	}
	if len(set) == 1 {
		p.RegionSet = only(set)
	}
	if p.RegionSet == "" || len(p.RegionSet) > maxRegionSet {
		return refuse(kind, "AWS4-ECDSA-P256-SHA256 requires a valid 'X-Amz-Region-Set'.")
	}
	return nil
}

// checkAlgorithm is step 2.
func checkAlgorithm(alg string) error {
	if alg == Algorithm || alg == AlgorithmV4A {
		return nil
	}
	return refuse(UnsupportedAlgorithm, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
}

func missingParts(credential, signature, signed string, dated bool) error {
	var m []string
	if credential == "" {
		m = append(m, "Authorization header requires 'Credential' parameter.")
	}
	if signature == "" {
		m = append(m, "Authorization header requires 'Signature' parameter.")
	}
	if signed == "" {
		m = append(m, "Authorization header requires 'SignedHeaders' parameter.")
	}
	if !dated {
		m = append(m, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	return refuse(Incomplete, strings.Join(m, " "))
}

// setTokenAndPayload reads the headers that either form may carry.
func (p *Parsed) setTokenAndPayload(r *Request) error {
	if token := r.Header["X-Amz-Security-Token"]; len(token) > 0 {
		// Two tokens would let the one that is checked differ from the one that is meant.
		if len(token) > 1 || p.SessionToken != "" {
			return refuse(Incomplete, "X-Amz-Security-Token was sent more than once.")
		}
		p.SessionToken = only(token)
	}
	if hash := r.Header["X-Amz-Content-Sha256"]; len(hash) > 0 {
		if len(hash) > 1 || p.PayloadHash != "" {
			return refuse(InvalidPayloadHash, "x-amz-content-sha256 was sent more than once.")
		}
		p.PayloadHash = only(hash)
	}
	return nil
}

// only is the one value of a header, trimmed; "" if it was repeated.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return strings.Trim(values[0], " \t")
}

// parseDate reads a Date header: RFC 1123 as HTTP has it, or the ISO form.
func parseDate(s string) (time.Time, bool) {
	if t, ok := parseTime(s); ok {
		return t, true
	}
	t, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", s)
	return t.UTC(), err == nil && t.Year() >= 0 && t.Year() <= 9999
}
