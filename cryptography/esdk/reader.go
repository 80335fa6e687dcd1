package esdk

import (
	"context"
	"crypto/cipher"
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
)

// ReaderOptions say what to accept. The zero value accepts only messages that
// commit to their key, as the official libraries do by default.
type ReaderOptions struct {
	AllowUncommitted bool              // also suites without key commitment
	Context          map[string]string // pairs that the message must have; it may have more
	MaxKeys          int               // encrypted data keys; 0: 64
	MaxUnframed      int64             // bytes of a message that is not framed; 0: 64 MiB
	MaxFrame         int               // bytes of one frame; 0: 64 MiB
}

const (
	defaultMaxKeys     = 64
	defaultMaxUnframed = 64 << 20
)

// A Reader opens a message. What Read returns is authenticated, but whether
// the message is whole, and its signature good, is known only at io.EOF.
type Reader struct {
	src    io.Reader
	o      ReaderOptions
	header *Header
	aead   cipher.AEAD
	verify *ecdsa.PublicKey // nil: not signed
	digest hash.Hash
	want   uint32 // sequence number of the next frame
	buf    []byte
	aad    []byte
	plain  []byte // not yet returned
	last   bool   // the final frame was read
	err    error
}

// NewReader reads the header of a message and opens its data key with the
// first keyring that can.
func NewReader(ctx context.Context, src io.Reader, o ReaderOptions, keyrings ...Keyring) (*Reader, error) {
	if o.MaxKeys == 0 {
		o.MaxKeys = defaultMaxKeys
	}
	if o.MaxUnframed == 0 {
		o.MaxUnframed = defaultMaxUnframed
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = maxFrameLength
	}
	h, body, err := readHeader(src, o.MaxKeys)
	if err != nil {
		return nil, err
	}
	p, _ := h.Suite.properties()
	if !p.commits && !o.AllowUncommitted {
		return nil, fmt.Errorf("%w (suite %s)", ErrUncommitted, h.Suite)
	}
	if uint64(h.FrameLength) > uint64(o.MaxFrame) {
		return nil, fmt.Errorf("%w: frames of %d bytes", ErrLimit, h.FrameLength)
	}
	r := &Reader{src: src, o: o, header: h, want: 1}
	text, has := h.Context[publicKeyName]
	switch {
	case has != (p.curve != nil):
		return nil, fmt.Errorf("%w: the verification key does not fit the suite", ErrMessage)
	case has:
		if r.verify, err = decompress(p.curve, text); err != nil {
			return nil, err
		}
		r.digest = p.hash.New()
	}
	iv := make([]byte, ivLen)
	if p.version == 1 {
		if _, err := io.ReadFull(src, iv); err != nil {
			return nil, ended(err)
		}
	}
	tag := make([]byte, tagLen)
	if _, err := io.ReadFull(src, tag); err != nil {
		return nil, ended(err)
	}
	if err := r.open(ctx, keyrings, body, iv, tag); err != nil {
		return nil, err
	}
	for k, v := range o.Context {
		if got, ok := h.Context[k]; !ok || got != v {
			return nil, fmt.Errorf("%w: the message lacks a required pair, or has another value for it", ErrContext)
		}
	}
	if r.digest != nil {
		r.digest.Write(body)
		if p.version == 1 {
			r.digest.Write(iv)
		}
		r.digest.Write(tag)
	}
	return r, nil
}

// open tries the keyrings on the data keys until a data key opens, and then
// authenticates the header with it. A data key that opens and does not fit the
// header is the end: trying on would let a message choose among keys.
func (r *Reader) open(ctx context.Context, keyrings []Keyring, body, iv, tag []byte) error {
	h := r.header
	var failures []error
	for _, k := range keyrings {
		for i := range h.Keys {
			dataKey, err := k.Open(ctx, h.Keys[i].clone(), h.Suite.KeyLen(), h.Context)
			if errors.Is(err, ErrNotMine) {
				continue
			}
			if err != nil {
				failures = append(failures, err)
				continue
			}
			aead, commitment, err := h.Suite.derive(dataKey, h.MessageID)
			clear(dataKey)
			if err != nil {
				return err
			}
			if !sameCommitment(commitment, h.commitment) {
				return fmt.Errorf("%w: another key than the message commits to", ErrAuthentication)
			}
			if _, err := aead.Open(nil, iv, tag, body); err != nil {
				return fmt.Errorf("%w: header", ErrAuthentication)
			}
			r.aead = aead
			return nil
		}
	}
	if len(failures) > 0 {
		return fmt.Errorf("%w: %w", ErrNoKey, errors.Join(failures...))
	}
	return ErrNoKey
}

// Header is the authenticated header.
func (r *Reader) Header() Header { return *r.header }

// Read returns authenticated plaintext. io.EOF says that the message is whole
// and, if it is signed, that the signature holds; any other error that it is
// not to be trusted.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.plain) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.err = r.next(); r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.plain)
	clear(r.plain[:n])
	r.plain = r.plain[n:]
	return n, nil
}

func (r *Reader) next() error {
	switch {
	case r.last:
		return r.finish()
	case r.header.Framed:
		return r.frame()
	}
	return r.unframed()
}

// take reads n bytes into the buffer behind what is there.
func (r *Reader) take(n int) ([]byte, error) {
	start := len(r.buf)
	r.buf = slices.Grow(r.buf, n)[:start+n]
	if _, err := io.ReadFull(r.src, r.buf[start:]); err != nil {
		return nil, ended(err)
	}
	return r.buf[start:], nil
}

func (r *Reader) frame() error {
	r.buf = r.buf[:0]
	b, err := r.take(4)
	if err != nil {
		return err
	}
	label, n := labelFrame, int(r.header.FrameLength)
	sequence := binary.BigEndian.Uint32(b)
	if sequence == finalMark {
		label, r.last = labelFinal, true
		if b, err = r.take(4); err != nil {
			return err
		}
		sequence = binary.BigEndian.Uint32(b)
	}
	if sequence != r.want || sequence == finalMark {
		return fmt.Errorf("%w: frame %d in the place of frame %d", ErrMessage, sequence, r.want)
	}
	at := len(r.buf)
	if _, err := r.take(ivLen); err != nil {
		return err
	}
	if r.last {
		if b, err = r.take(4); err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(b)
		if length > r.header.FrameLength {
			return fmt.Errorf("%w: a final frame of %d bytes", ErrMessage, length)
		}
		n = int(length)
	}
	r.want++
	return r.decrypt(label, sequence, at, n)
}

// unframed is IV ‖ u64 length ‖ ciphertext ‖ tag. It is one GCM message, so no
// byte of it is known to be true before the last.
func (r *Reader) unframed() error {
	r.buf, r.last = r.buf[:0], true
	if _, err := r.take(ivLen); err != nil {
		return err
	}
	b, err := r.take(8)
	if err != nil {
		return err
	}
	length := binary.BigEndian.Uint64(b)
	if length > uint64(r.o.MaxUnframed) {
		return fmt.Errorf("%w: %d bytes that are not framed", ErrLimit, length)
	}
	// What the message says of its length is not yet known to be true: the memory grows with what really comes.
	for want := int(length) + tagLen; want > 0; {
		n := min(want, 1<<20)
		if _, err := r.take(n); err != nil {
			return err
		}
		want -= n
	}
	return r.authenticate(labelUnframed, 1, 0, int(length))
}

// decrypt reads and opens the ciphertext of a frame whose IV lies at a place of
// the buffer.
func (r *Reader) decrypt(label string, sequence uint32, iv, n int) error {
	if _, err := r.take(n + tagLen); err != nil {
		return err
	}
	return r.authenticate(label, sequence, iv, n)
}

// authenticate opens the n bytes and the tag at the end of the buffer.
func (r *Reader) authenticate(label string, sequence uint32, iv, n int) error {
	if r.digest != nil {
		r.digest.Write(r.buf)
	}
	r.aad = bodyAAD(r.aad[:0], r.header.MessageID, label, sequence, uint64(n))
	ct := r.buf[len(r.buf)-n-tagLen:]
	plain, err := r.aead.Open(ct[:0], r.buf[iv:iv+ivLen], ct, r.aad)
	if err != nil {
		return fmt.Errorf("%w: frame %d", ErrAuthentication, sequence)
	}
	r.plain = plain
	return nil
}

// finish checks the signature and that nothing follows.
func (r *Reader) finish() error {
	if r.verify != nil {
		var n [2]byte
		if _, err := io.ReadFull(r.src, n[:]); err != nil {
			return ended(err)
		}
		sig := make([]byte, binary.BigEndian.Uint16(n[:]))
		if _, err := io.ReadFull(r.src, sig); err != nil {
			return ended(err)
		}
		if !ecdsa.VerifyASN1(r.verify, r.digest.Sum(nil), sig) {
			return ErrSignature
		}
	}
	var more [1]byte
	switch _, err := io.ReadFull(r.src, more[:]); err {
	case io.EOF:
		return io.EOF
	case nil:
		return fmt.Errorf("%w: bytes after its end", ErrMessage)
	default:
		return fmt.Errorf("esdk: %w", err)
	}
}
