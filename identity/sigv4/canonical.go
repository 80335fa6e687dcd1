package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// scratch is reused between requests; nothing secret passes through it
// (a session token may: it is cleared before it goes back).
type scratch struct {
	text   []byte  // the canonical request
	arena  []byte  // encoded query pieces
	pieces []piece // offsets into arena
}

type piece struct{ name, equals, end int }

var scratches = sync.Pool{New: func() any { return &scratch{text: make([]byte, 0, 2048)} }}

func (s *scratch) put() {
	clear(s.text)
	clear(s.arena)
	if cap(s.text)+cap(s.arena) <= 256<<10 {
		s.text, s.arena, s.pieces = s.text[:0], s.arena[:0], s.pieces[:0]
		scratches.Put(s)
	}
}

// StringToSign builds the canonical request and from it the text under the
// signature, appended to dst, with the canonical request's digest (sections 2
// and 3). body is the SHA-256 of the body; if the request declares another,
// that is a *Error here. A nil body means "not read yet": then the request
// must declare its hash, and the caller calls CheckBody once it has read it,
// or reads it with package chunked if p.Streaming. Who has read the body
// cannot have read it so: with a body the streaming forms are refused.
//
// Of a form upload the string to sign is its policy, and the digest that
// text's hash; r and body play no part.
func (p *Parsed) StringToSign(r *Request, body *[32]byte, dst []byte) (sts []byte, canonicalDigest [32]byte, err error) {
	if p.badSignature {
		return nil, canonicalDigest, Refuse(BadSignature)
	}
	if p.Post {
		return append(dst, p.Policy...), sha256.Sum256([]byte(p.Policy)), nil
	}
	if err := p.checkSigned(r); err != nil {
		return nil, canonicalDigest, err
	}
	var hash [64]byte
	payload, err := p.payload(body, &hash)
	if err != nil {
		return nil, canonicalDigest, err
	}
	style := normalised
	if pathIsKey(p.Service) {
		style = key
	}
	canonicalDigest, err = p.digest(r, style, payload)
	if err != nil {
		return nil, canonicalDigest, err
	}
	return p.appendStringToSign(dst, &canonicalDigest), canonicalDigest, nil
}

// Canonical is the canonical request that StringToSign hashed, for those who
// pass it on to be checked elsewhere. S3 and form uploads have no use for it.
func (p *Parsed) Canonical(r *Request, body *[32]byte) ([]byte, error) {
	if p.Post || pathIsKey(p.Service) {
		return nil, refuse(UnsupportedPayload, "There is no canonical request of this kind.")
	}
	var hash [64]byte
	payload, err := p.payload(body, &hash)
	if err != nil {
		return nil, err
	}
	s := scratches.Get().(*scratch)
	defer s.put()
	if s.text, err = p.appendCanonical(s, r, normalised, payload); err != nil {
		return nil, err
	}
	return bytes.Clone(s.text), nil
}

// Alternate is the second string to sign that S3 tolerates (section 2): some
// signers leave the path and the query exactly as they are on the wire. Both
// texts denote the same object, so nothing is weakened. ok is false where
// there is no second one. Call it only after StringToSign succeeded.
func (p *Parsed) Alternate(r *Request, body *[32]byte, dst []byte) (sts []byte, canonicalDigest [32]byte, ok bool) {
	var hash [64]byte
	if !pathIsKey(p.Service) || p.Post {
		return nil, canonicalDigest, false
	}
	payload, err := p.payload(body, &hash)
	if err != nil {
		return nil, canonicalDigest, false
	}
	first, err := p.digest(r, key, payload)
	if err != nil {
		return nil, canonicalDigest, false
	}
	canonicalDigest, err = p.digest(r, raw, payload)
	if err != nil || canonicalDigest == first {
		return nil, canonicalDigest, false
	}
	return p.appendStringToSign(dst, &canonicalDigest), canonicalDigest, true
}

// CheckBody compares the body's hash with the declared one, for callers that
// read the body after the signature (section 7, step 7).
func (p *Parsed) CheckBody(body *[32]byte) error {
	if p.PayloadHash == "" || p.unsigned() {
		return nil
	}
	var declared [32]byte
	if !decodeAnyHash(&declared, p.PayloadHash) || declared != *body {
		return refuse(PayloadMismatch, "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	return nil
}

// unsigned says whether the body is not covered; only S3 has that.
func (p *Parsed) unsigned() bool {
	return pathIsKey(p.Service) && (p.PayloadHash == UnsignedPayload || p.PayloadHash == "" && p.Presigned)
}

// The forms in which S3 takes a body in chunks (section 5).
const (
	StreamingV4              = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingV4Trailer       = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingV4A             = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
	StreamingV4ATrailer      = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// Streaming says whether the body is sent in chunks, each of which carries its
// own proof or none: then package chunked reads it.
func (p *Parsed) Streaming() bool {
	if !pathIsKey(p.Service) || p.Post {
		return false
	}
	switch p.PayloadHash {
	case StreamingUnsignedTrailer:
		return true
	case StreamingV4, StreamingV4Trailer:
		return !p.Asymmetric()
	case StreamingV4A, StreamingV4ATrailer:
		// The chunks are signed as the request is: a chain of another algorithm has no first link.
		return p.Asymmetric()
	}
	return false
}

// payload finds the last line of the canonical request and refuses every
// form that is not served (section 5). hash is room for it.
func (p *Parsed) payload(body *[32]byte, hash *[64]byte) ([]byte, error) {
	var declared [32]byte
	switch s3 := pathIsKey(p.Service); {
	case p.unsigned():
		return []byte(UnsignedPayload), nil
	case p.PayloadHash == "" && s3:
		return nil, refuse(MissingPayloadHash, "Missing required header for this request: x-amz-content-sha256")
	case p.PayloadHash == "" && body == nil:
		return nil, refuse(MissingPayloadHash, "x-amz-content-sha256 is needed when the body is streamed.")
	case p.PayloadHash == "":
		hex.Encode(hash[:], body[:])
		return hash[:], nil
	case p.Streaming() && body == nil:
		return []byte(p.PayloadHash), nil
	case p.Streaming():
		return nil, refuse(UnsupportedPayload, "A header you provided implies functionality that is not implemented: x-amz-content-sha256")
	case !decodeAnyHash(&declared, p.PayloadHash):
		return nil, refuse(InvalidPayloadHash, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.")
	}
	copy(hash[:], p.PayloadHash) // as sent: the client signed these characters
	if body != nil {
		return hash[:], p.CheckBody(body)
	}
	return hash[:], nil
}

func decodeAnyHash(dst *[32]byte, s string) bool {
	if len(s) != 64 {
		return false
	}
	n, err := hex.Decode(dst[:], []byte(s))
	return err == nil && n == 32
}

// checkSigned refuses requests in which something that changes their meaning
// is outside the signature (section 2, "Must be signed").
func (p *Parsed) checkSigned(r *Request) error {
	var missing []string
	need := func(canonical string) {
		if len(r.Header[canonical]) > 0 && !p.signedFold(canonical) {
			missing = append(missing, strings.ToLower(canonical))
		}
	}
	if !p.Signed("host") {
		missing = append(missing, "host")
	}
	if pathIsKey(p.Service) {
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Amz-") {
				need(name)
			}
		}
	} else {
		need("X-Amz-Target")
		need("X-Amz-Security-Token")
		if p.Asymmetric() {
			need("X-Amz-Region-Set")
		}
	}
	if !p.Presigned && !pathIsKey(p.Service) {
		need("X-Amz-Date")
	}
	if !p.Presigned && len(r.Header["X-Amz-Date"]) == 0 {
		need("Date")
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	e := &Error{Kind: HeadersNotSigned, Headers: strings.Join(missing, ", "), Query: p.Presigned}
	switch {
	case pathIsKey(p.Service):
		e.Message = "There were headers present in the request which were not signed"
	case slices.Contains(missing, "host"):
		e.Message = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
	default:
		e.Message = "'" + missing[0] + "' must be a 'SignedHeader' in the AWS Authorization."
	}
	return e
}

func (p *Parsed) signedFold(name string) bool {
	for n := range strings.SplitSeq(p.SignedHeaders, ";") {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func (p *Parsed) appendStringToSign(dst []byte, digest *[32]byte) []byte {
	s := StringToSign{Asymmetric: p.Asymmetric(), Time: p.Time, Date: p.Date, Region: p.Region, Service: p.Service, CanonicalDigest: *digest}
	return s.Append(dst)
}

// A style is how the path (and for raw also the query) becomes canonical.
type style uint8

const (
	normalised style = iota // dot segments removed, then encoded again
	key                     // S3: decoded and encoded once
	raw                     // S3's tolerance: as sent
)

// digest hashes the canonical request.
func (p *Parsed) digest(r *Request, how style, payload []byte) (sum [32]byte, err error) {
	s := scratches.Get().(*scratch)
	defer s.put()
	s.text, err = p.appendCanonical(s, r, how, payload)
	if err != nil {
		return sum, err
	}
	return sha256.Sum256(s.text), nil
}

// appendCanonical writes the canonical request of section 2.
func (p *Parsed) appendCanonical(s *scratch, r *Request, how style, payload []byte) (dst []byte, err error) {
	path, query := r.split()
	dst = append(append(s.text[:0], r.Method...), '\n')
	dst, ok := appendPath(dst, path, how)
	if !ok {
		return dst, refuse(InvalidURI, "Couldn't parse the specified URI.")
	}
	dst = append(dst, '\n')
	if query != "" {
		if dst, ok = s.appendQuery(dst, query, how == raw, p.Presigned); !ok {
			return dst, refuse(QueryMalformed, illegalEscape)
		}
	}
	dst = append(dst, '\n')
	for name := range strings.SplitSeq(p.SignedHeaders, ";") {
		dst = append(append(dst, name...), ':')
		if dst, ok = appendHeader(dst, r, name); !ok {
			// Signed but absent: nothing could match.
			return dst, Refuse(BadSignature)
		}
		dst = append(dst, '\n')
	}
	dst = append(dst, '\n')
	dst = append(append(dst, p.SignedHeaders...), '\n')
	return append(dst, payload...), nil
}

func appendPath(dst []byte, path string, how style) (_ []byte, ok bool) {
	if path == "" {
		return append(dst, '/'), true
	}
	switch how {
	case raw:
		return append(dst, path...), true
	case key:
		return appendRecoded(dst, path, true)
	}
	start := len(dst)
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			// Back to before the last segment; at the root there is none.
			dst = dst[:start+max(0, bytes.LastIndexByte(dst[start:], '/'))]
		default:
			dst = appendEncoded(append(dst, '/'), segment, false)
		}
	}
	if len(dst) == start || path[len(path)-1] == '/' {
		dst = append(dst, '/')
	}
	return dst, true
}

// appendQuery writes the canonical query: pieces decoded, encoded and sorted
// by encoded name, then value, in byte order.
func (s *scratch) appendQuery(dst []byte, query string, asSent, dropSignature bool) (_ []byte, ok bool) {
	s.arena, s.pieces = s.arena[:0], s.pieces[:0]
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		if len(s.pieces) >= maxQueryPieces {
			return dst, false
		}
		start := len(s.arena)
		if asSent {
			s.arena = append(s.arena, name...)
		} else if s.arena, ok = appendRecoded(s.arena, name, false); !ok {
			return dst, false
		}
		// X-Amz-Signature alone is left out, and only of the query form.
		if dropSignature && string(s.arena[start:]) == "X-Amz-Signature" {
			s.arena = s.arena[:start]
			continue
		}
		equals := len(s.arena)
		if asSent {
			s.arena = append(s.arena, value...)
		} else if s.arena, ok = appendRecoded(s.arena, value, false); !ok {
			return dst, false
		}
		s.pieces = append(s.pieces, piece{start, equals, len(s.arena)})
	}
	slices.SortStableFunc(s.pieces, func(a, b piece) int {
		if c := bytes.Compare(s.arena[a.name:a.equals], s.arena[b.name:b.equals]); c != 0 {
			return c
		}
		return bytes.Compare(s.arena[a.equals:a.end], s.arena[b.equals:b.end])
	})
	for i, pc := range s.pieces {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(append(dst, s.arena[pc.name:pc.equals]...), '=')
		dst = append(dst, s.arena[pc.equals:pc.end]...)
	}
	return dst, true
}

// appendHeader writes the values of a header: trimmed, inner white space
// collapsed, joined by commas in order of arrival.
func appendHeader(dst []byte, r *Request, name string) (_ []byte, ok bool) {
	var buf [64]byte
	values := r.Header[string(appendCanonicalName(buf[:0], name))]
	if len(values) == 0 || name == "host" {
		// net/http takes these out of the map.
		switch {
		case name == "host" && r.Host != "":
			return appendTrimmed(dst, r.Host), true
		case name == "content-length" && r.ContentLength >= 0:
			return strconv.AppendInt(dst, r.ContentLength, 10), true
		case name == "transfer-encoding" && r.ContentLength < 0:
			return append(dst, "chunked"...), true
		case len(values) == 0:
			return dst, false
		}
	}
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTrimmed(dst, v)
	}
	return dst, true
}

// appendCanonicalName turns x-amz-date into X-Amz-Date, as net/http keys its map.
func appendCanonicalName(dst []byte, name string) []byte {
	up := true
	for i := range len(name) {
		c := name[i]
		if up && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		up = c == '-'
		dst = append(dst, c)
	}
	return dst
}

func appendTrimmed(dst []byte, v string) []byte {
	start, gap := len(dst), false
	for i := range len(v) {
		switch c := v[i]; c {
		case ' ', '\t', '\r', '\n':
			gap = true
		default:
			if gap && len(dst) > start {
				dst = append(dst, ' ')
			}
			gap = false
			dst = append(dst, c)
		}
	}
	return dst
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

const upperHex = "0123456789ABCDEF"

func appendByte(dst []byte, c byte, keepSlash bool) []byte {
	if unreserved(c) || keepSlash && c == '/' {
		return append(dst, c)
	}
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

// appendEncoded is enc(s) of section 2.
func appendEncoded(dst []byte, s string, keepSlash bool) []byte {
	for i := range len(s) {
		dst = appendByte(dst, s[i], keepSlash)
	}
	return dst
}

// appendRecoded is enc(percent-decoded s).
func appendRecoded(dst []byte, s string, keepSlash bool) (_ []byte, ok bool) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) || anyHex(s[i+1])|anyHex(s[i+2]) > 15 {
				return dst, false
			}
			c = anyHex(s[i+1])<<4 | anyHex(s[i+2])
			i += 2
		}
		dst = appendByte(dst, c, keepSlash)
	}
	return dst, true
}
