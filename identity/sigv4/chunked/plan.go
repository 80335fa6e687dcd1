package chunked

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/leadglass/leadglass/identity/sigv4"
)

// A Plan is what a request says of its chunked body.
type Plan struct {
	Length          int64    // of the content: x-amz-decoded-content-length
	Trailers        []string // lower case, in ascending order: x-amz-trailer
	ContentEncoding string   // the header without aws-chunked: what is stored

	signed, asymmetric, trailer bool
	checksum                    *checksum // nil: none is announced
}

// NewPlan reads the plan of a request for which p.Streaming is true. That the
// headers are signed, sigv4 has seen to: S3 signs all that begin with x-amz-.
func NewPlan(p *sigv4.Parsed, r *sigv4.Request) (*Plan, error) {
	if !p.Streaming() {
		return nil, errors.New("chunked: the request has no chunked body")
	}
	plan := &Plan{
		signed:     p.PayloadHash != sigv4.StreamingUnsignedTrailer,
		asymmetric: p.Asymmetric(),
		trailer:    strings.HasSuffix(p.PayloadHash, "-TRAILER"),
	}
	length := r.Header["X-Amz-Decoded-Content-Length"]
	if len(length) == 0 {
		return nil, refuse("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
	}
	n, err := strconv.ParseUint(strings.Trim(length[0], " \t"), 10, 63)
	if len(length) > 1 || err != nil {
		return nil, refuse("InvalidArgument", 400, "x-amz-decoded-content-length must be a number.")
	}
	plan.Length = int64(n)
	var kept []string
	for _, value := range r.Header["Content-Encoding"] {
		for token := range strings.SplitSeq(value, ",") {
			if token = strings.Trim(token, " \t"); token != "" && !strings.EqualFold(token, "aws-chunked") {
				kept = append(kept, token)
			}
		}
	}
	plan.ContentEncoding = strings.Join(kept, ",")
	return plan, plan.setTrailers(r.Header["X-Amz-Trailer"])
}

// setTrailers reads x-amz-trailer. A checksum that is announced and not known
// is refused: it would not be checked (I-2).
func (plan *Plan) setTrailers(values []string) error {
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.ToLower(strings.Trim(name, " \t"))
			if name == "" && len(values) == 1 && !strings.Contains(value, ",") {
				continue // an empty header
			}
			if !validName(name) || name == trailerSignature || len(plan.Trailers) == maxTrailers {
				return refuse("InvalidRequest", 400, "The value specified in the x-amz-trailer header is not supported")
			}
			plan.Trailers = append(plan.Trailers, name)
			if !strings.HasPrefix(name, checksumPrefix) {
				continue
			}
			if plan.checksum != nil {
				return refuse("InvalidRequest", 400, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
			}
			if plan.checksum = checksumOf(name); plan.checksum == nil {
				return refuse("InvalidRequest", 400, "The value specified in the x-amz-trailer header is not supported")
			}
		}
	}
	slices.Sort(plan.Trailers)
	if len(slices.Compact(slices.Clone(plan.Trailers))) != len(plan.Trailers) || len(plan.Trailers) > 0 && !plan.trailer {
		return trailerError()
	}
	return nil
}

// validName accepts RFC 9110 tokens without upper case.
func validName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
