// Package chunked reads the bodies that S3 takes in chunks (sigv4 section 5):
// signed chunks, signed chunks with trailers, both of them also with SigV4A,
// and unsigned chunks with a checksum behind them.
//
//	plan, err := chunked.NewPlan(p, r)    // after the request's own signature was verified
//	body, err := chunked.NewReader(ctx, r.Body, plan, p, chunked.Config{Verifier: v})
//	n, err := io.Copy(store, body)        // io.EOF: all was right
//
// What the reader gives out of a chunk of at most MaxHold bytes was verified
// before. A longer chunk is given out while it is read, because holding it
// would be a way to use up memory: Verified then says how much is proven. So a
// store writes as it likes and commits only when Read said io.EOF, which it
// says when every signature, the order of the chunks, the trailers, the
// checksum and the length were right. After any other error nothing of the
// body may be kept.
//
// The unsigned form proves nothing by itself; it is for connections that do
// (TLS), and whoever accepts it checks that.
//
// A Verifier answers for signatures: Key and PublicKey with a key at hand, or
// somebody's witness, who is asked for many chunks at once (Config.Batch).
//
// Memory does not depend on the body: a buffer of one chunk or batch, at most
// MaxHold, and one line. The content is hashed once for its signature, and once
// more for each checksum. Not done here: the request's own signature and its
// headers' checksums, who the caller is, decoding what Content-Encoding says
// beside aws-chunked.
package chunked

import (
	"context"
	"errors"
	"io"

	"github.com/leadglass/leadglass/identity/sigv4"
)

const (
	// MaxHold is how long a chunk may be that is held back until its signature is verified.
	MaxHold = 16 << 20
	// WitnessBatch is the Batch for a verifier that is a call away: with chunks of
	// 64 KiB 5 GiB take 5,120 calls instead of 81,920.
	WitnessBatch = 1 << 20
	// MaxLinks is how many links a Verifier is given at once.
	MaxLinks = 256

	minChunk    = 8192     // of all but the last (section 5)
	maxLine     = 4096     // a size or a trailer, with its end
	piece       = 32 << 10 // is hashed while it is in the cache
	maxTrailers = 16
)

// A Link is one signature in the chain: it covers the signature before it and
// the hash of a chunk, or of the block of trailers.
type Link struct {
	Trailer   bool
	Hash      [32]byte
	Signature []byte // 32 bytes, or ASN.1 DER
}

// A Verifier says whether links follow each other and are signed by whom the
// request is from. previous is the signature before the first: at the beginning
// that of the request. It may not keep what it is given. An error says that
// nothing could be found out.
type Verifier interface {
	Verify(ctx context.Context, previous []byte, links []Link) (ok bool, err error)
}

// Config says how a body is verified.
type Config struct {
	// Verifier is required for the signed forms.
	Verifier Verifier
	// Batch is how many bytes of content are gathered before the Verifier is
	// asked, at most MaxHold. Zero: each chunk by itself, which is right with a
	// key. A witness gets WitnessBatch.
	Batch int
}

// An Error says why a body is refused, with the code and the status that S3
// answers. Its text holds nothing of the body.
type Error struct {
	Code    string
	Status  int
	Message string
}

func (e *Error) Error() string { return "chunked: " + e.Code + ": " + e.Message }

func refuse(code string, status int, message string) *Error { return &Error{code, status, message} }

func malformed() *Error {
	return refuse("InvalidRequest", 400, "The chunks of the body are not encoded as x-amz-content-sha256 says.")
}

func incomplete() *Error {
	return refuse("IncompleteBody", 400, "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header.")
}

func trailerError() *Error {
	return refuse("MalformedTrailerError", 400, "The request contained trailing data that was not well-formed or did not conform to our published schema.")
}

func badSignature() *Error {
	e := sigv4.Refuse(sigv4.BadSignature)
	code, status := e.Code(sigv4.RESTXML)
	return refuse(code, status, e.Message)
}

// NewReader reads the content of a body. ctx bounds the calls of the Verifier,
// not the reads of the body, which end when the connection does. The request's
// signature must have been verified: the chain begins with it.
func NewReader(ctx context.Context, body io.Reader, plan *Plan, p *sigv4.Parsed, cfg Config) (*Reader, error) {
	switch {
	case plan.signed && cfg.Verifier == nil:
		return nil, errors.New("chunked: a signed body needs a verifier")
	case cfg.Batch < 0 || cfg.Batch > MaxHold:
		return nil, errors.New("chunked: a batch is at most MaxHold long")
	}
	return newReader(ctx, body, plan, p, cfg), nil
}
