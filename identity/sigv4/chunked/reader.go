package chunked

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"strings"

	"github.com/leadglass/leadglass/identity/sigv4"
)

// A Reader gives out the content of a chunked body. One goroutine uses it.
type Reader struct {
	ctx  context.Context
	in   *bufio.Reader // as long as a line may be; long reads go past its buffer
	plan *Plan
	cfg  Config

	hold         []byte // content of the chunks that are gathered
	given, ready int    // hold[given:ready] may be given out
	previous     []byte // the signature before links
	links        []Link // to be verified
	arena        []byte // their signatures

	direct bool   // the present chunk is given out while it is read
	left   int64  // of the present chunk
	short  bool   // a chunk below minChunk was read: it must have been the last
	sig    []byte // of the present chunk

	sum  hash.Hash // of the present chunk
	sums hash.Hash // the announced checksum, of the content; or nil

	content, verified int64
	trailers          map[string]string
	err               error // io.EOF: all was right
}

func newReader(ctx context.Context, body io.Reader, plan *Plan, p *sigv4.Parsed, cfg Config) *Reader {
	r := &Reader{ctx: ctx, in: bufio.NewReaderSize(body, maxLine), plan: plan, cfg: cfg}
	if plan.signed {
		r.sum = sha256.New()
		r.previous = append(make([]byte, 0, maxDER), p.Signature[:]...)
		if plan.asymmetric {
			r.previous = append(r.previous[:0], p.ECDSA...)
		}
	}
	if plan.checksum != nil {
		r.sums = plan.checksum.make()
	}
	return r
}

// Verified is how much of the content is proven, from the beginning: by
// signatures, or once io.EOF was returned. It is behind what Read has given
// only within a chunk longer than MaxHold, and in the unsigned form.
func (r *Reader) Verified() int64 { return r.verified }

// Trailers are the trailers by their lower-case names; nil before io.EOF.
func (r *Reader) Trailers() map[string]string {
	if r.err != io.EOF {
		return nil
	}
	return maps.Clone(r.trailers)
}

// Read implements io.Reader. It returns io.EOF only if all was right.
func (r *Reader) Read(b []byte) (int, error) {
	for len(b) > 0 {
		if n := copy(b, r.hold[r.given:r.ready]); n > 0 {
			r.given += n
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		if r.direct && r.left > 0 {
			n, err := r.data(b)
			if err != nil {
				r.err = err
			}
			return n, r.err
		}
		r.err = r.next()
	}
	return 0, nil
}

// WriteTo implements io.WriterTo, which saves io.Copy a copy.
func (r *Reader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if r.given < r.ready {
			n, err := w.Write(r.hold[r.given:r.ready])
			r.given += n
			written += int64(n)
			if err == nil && r.given < r.ready {
				err = io.ErrShortWrite
			}
			if err != nil {
				return written, err
			}
		}
		switch {
		case r.err == io.EOF:
			return written, nil
		case r.err != nil:
			return written, r.err
		case r.direct && r.left > 0:
			r.grow(piece)
			n, err := r.data(r.hold[:piece])
			r.given, r.ready, r.err = 0, n, err
		default:
			r.err = r.next()
		}
	}
}

// data reads a piece of the present chunk.
func (r *Reader) data(b []byte) (int, error) {
	if int64(len(b)) > r.left {
		b = b[:r.left]
	}
	n, err := r.in.Read(b)
	r.left -= int64(n)
	r.content += int64(n)
	if r.sum != nil {
		r.sum.Write(b[:n])
	}
	if r.sums != nil {
		r.sums.Write(b[:n])
	}
	if r.left == 0 {
		err = nil // whatever comes next will see it again
	}
	return n, readError(err)
}

// readError tells a body that ends too early from a connection that failed.
func readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return incomplete()
	}
	return fmt.Errorf("chunked: read: %w", err)
}

// grow makes hold at least n long, with what is in it.
func (r *Reader) grow(n int) {
	if cap(r.hold) < n {
		size := max(2*cap(r.hold), 2*piece)
		for size < n {
			size *= 2
		}
		r.hold = append(make([]byte, 0, size), r.hold...)
	}
	if len(r.hold) < n {
		r.hold = r.hold[:n]
	}
}

// next goes on to where something can be given out, or to the end. Everything
// that was ready has been given out.
func (r *Reader) next() error {
	err := r.advance()
	if _, refused := errors.AsType[*Error](err); refused && len(r.links) > 0 {
		// How many chunks are gathered must not decide which of two errors a client sees: a wrong signature comes first.
		if verr := r.verify(); verr != nil {
			return verr
		}
	}
	return err
}

func (r *Reader) advance() error {
	if r.direct { // at its end
		r.direct = false
		if err := r.endChunk(); err != nil {
			return err
		}
		if err := r.verify(); err != nil {
			return err
		}
	}
	r.hold, r.given, r.ready = r.hold[:0], 0, 0
	for {
		size, err := r.size()
		if err != nil {
			return err
		}
		if size == 0 {
			return r.finish()
		}
		r.left = size
		if !r.plan.signed || size > MaxHold {
			// What was gathered comes first, in order.
			r.direct, r.sig = true, bytes.Clone(r.sig)
			if err := r.verify(); err != nil {
				return err
			}
			r.ready = len(r.hold)
			return nil
		}
		for r.left > 0 {
			at := len(r.hold)
			r.grow(at + int(min(r.left, piece)))
			n, err := r.data(r.hold[at:])
			r.hold = r.hold[:at+n]
			if err != nil {
				return err
			}
		}
		if err := r.endChunk(); err != nil {
			return err
		}
		if len(r.hold) >= r.cfg.Batch || len(r.links) == MaxLinks {
			if err := r.verify(); err != nil {
				return err
			}
			r.ready = len(r.hold)
			return nil
		}
	}
}

// size reads the line before a chunk.
func (r *Reader) size() (int64, error) {
	line, err := r.line()
	if err != nil {
		return 0, err
	}
	digits, sig, signed := bytes.Cut(line, []byte(";"))
	var size int64
	if len(digits) == 0 || len(digits) > 15 {
		return 0, malformed()
	}
	for _, c := range digits {
		if 'A' <= c && c <= 'F' {
			c += 'a' - 'A'
		}
		n := hexDigit(c)
		if n > 15 {
			return 0, malformed()
		}
		size = size<<4 | int64(n)
	}
	if signed != r.plan.signed {
		return 0, malformed()
	}
	if signed {
		var ok bool
		if sig, ok = bytes.CutPrefix(sig, []byte("chunk-signature=")); !ok {
			return 0, malformed()
		}
		if r.sig, ok = r.signature(sig); !ok {
			return 0, badSignature()
		}
	}
	switch {
	case size == 0:
		return 0, r.endOfContent()
	case r.short:
		return 0, refuse("InvalidChunkSizeError", 403, "Only the last chunk is allowed to have a size less than 8192 bytes")
	case size > r.plan.Length-r.content:
		return 0, incomplete()
	}
	r.short = size < minChunk
	return size, nil
}

// endOfContent is the chunk without data: signed as any other.
func (r *Reader) endOfContent() error {
	if r.content != r.plan.Length {
		return incomplete()
	}
	r.link(false)
	return nil
}

// endChunk reads the line end behind a chunk.
func (r *Reader) endChunk() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	if len(line) > 0 {
		return malformed()
	}
	r.link(false)
	return nil
}

// link adds the present chunk, or block of trailers, to what is to be verified.
func (r *Reader) link(trailer bool) {
	if !r.plan.signed {
		return
	}
	r.links = append(r.links, Link{Trailer: trailer, Signature: r.sig})
	r.sum.Sum(r.links[len(r.links)-1].Hash[:0])
	r.sum.Reset()
}

// verify asks for all links. In the unsigned form there is none.
func (r *Reader) verify() error {
	if len(r.links) == 0 {
		return nil
	}
	ok, err := r.cfg.Verifier.Verify(r.ctx, r.previous, r.links)
	if err != nil {
		return fmt.Errorf("chunked: verify: %w", err)
	}
	if !ok {
		return badSignature()
	}
	r.previous = append(r.previous[:0], r.links[len(r.links)-1].Signature...)
	r.links, r.arena = r.links[:0], r.arena[:0]
	r.verified = r.content
	return nil
}

// finish reads what follows the last chunk. Its return is the end: io.EOF, or
// what is wrong; before io.EOF the content that was gathered becomes ready.
func (r *Reader) finish() error {
	values, err := r.readTrailers()
	if err != nil {
		return err
	}
	if _, err := r.in.ReadByte(); err == nil {
		return malformed() // what is that?
	} else if !errors.Is(err, io.EOF) {
		return readError(err)
	}
	if err := r.verify(); err != nil {
		return err
	}
	if c := r.plan.checksum; c != nil {
		if err := c.check(r.sums.Sum(nil), values[c.trailer]); err != nil {
			return err
		}
	}
	r.trailers, r.verified = values, r.content
	r.ready = len(r.hold)
	return io.EOF
}

// readTrailers reads lines to the empty one: none, or those announced, and
// behind them their signature.
func (r *Reader) readTrailers() (map[string]string, error) {
	values := map[string]string{}
	signed := false
	for {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := strings.Cut(string(line), ":")
		name, value = strings.ToLower(strings.Trim(name, " \t")), strings.Trim(value, " \t")
		if !r.plan.trailer {
			return nil, malformed()
		}
		if _, twice := values[name]; !ok || twice || signed || len(values) > len(r.plan.Trailers) || strings.Contains(value, "\r") {
			return nil, trailerError()
		}
		if name != trailerSignature {
			values[name] = value
			continue
		}
		if !r.plan.signed {
			return nil, trailerError()
		}
		signed = true
		if r.sig, ok = r.signature([]byte(value)); !ok {
			return nil, badSignature()
		}
	}
	if signed != (r.plan.signed && r.plan.trailer) || len(values) != len(r.plan.Trailers) {
		return nil, trailerError()
	}
	for _, name := range r.plan.Trailers {
		value, ok := values[name]
		if !ok {
			return nil, trailerError()
		}
		if signed {
			// The block that is signed: sorted, trimmed, LF alone (section 5).
			r.sum.Write([]byte(name + ":" + value + "\n"))
		}
	}
	if signed {
		r.link(true)
	}
	return values, nil
}

const (
	trailerSignature = "x-amz-trailer-signature"
	maxDER           = 72
)

// line reads a line without its end, which may be LF alone: some old clients
// send that. It is good until the next read.
func (r *Reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, malformed()
	}
	if err != nil {
		return nil, readError(err)
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// signature reads lower-case hex. That of SigV4A is filled up with stars, so
// that the length of a body is known before it is signed; they are not part of
// what the next signature covers.
func (r *Reader) signature(b []byte) ([]byte, bool) {
	if r.plan.asymmetric {
		if len(b) > 2*maxDER {
			return nil, false
		}
		b = bytes.TrimRight(b, "*")
	} else if len(b) != 64 {
		return nil, false
	}
	start := len(r.arena)
	for ; len(b) >= 2; b = b[2:] {
		hi, lo := hexDigit(b[0]), hexDigit(b[1])
		if hi|lo > 15 {
			return nil, false
		}
		r.arena = append(r.arena, hi<<4|lo)
	}
	sig := r.arena[start:len(r.arena):len(r.arena)]
	return sig, len(b) == 0 && len(sig) > 0
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
