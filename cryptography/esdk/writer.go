package esdk

import (
	"context"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"math"
)

// DefaultFrameLength is what the official libraries use, in bytes.
const DefaultFrameLength = 4096

// maxFrameLength bounds the memory of readers and writers.
const maxFrameLength = 64 << 20

// WriterOptions say how to seal. The zero value is the default suite and frame
// length and no encryption context.
type WriterOptions struct {
	Suite       Suite             // 0: DefaultSuite
	FrameLength int               // bytes; 0: DefaultFrameLength
	Context     map[string]string // stored in the clear, and authenticated
}

// A Writer seals what is written to it. Close finishes the message; without it
// the message is truncated, which a reader notices.
type Writer struct {
	dst     io.Writer
	aead    cipher.AEAD
	id      []byte
	sign    *ecdsa.PrivateKey // nil: not signed
	digest  hash.Hash         // of all that was written, if signed
	frame   []byte            // plaintext of the frame under way
	out     []byte
	aad     []byte
	next    uint32 // sequence number
	err     error
	written Header
}

// NewWriter makes a data key with the first keyring, seals it with all of
// them, and writes the header to dst.
func NewWriter(ctx context.Context, dst io.Writer, o WriterOptions, keyrings ...Keyring) (*Writer, error) {
	if o.Suite == 0 {
		o.Suite = DefaultSuite
	}
	if o.FrameLength == 0 {
		o.FrameLength = DefaultFrameLength
	}
	p, ok := o.Suite.properties()
	switch {
	case !ok:
		return nil, fmt.Errorf("esdk: no suite %s", o.Suite)
	case o.FrameLength < 1 || o.FrameLength > maxFrameLength:
		return nil, fmt.Errorf("esdk: a frame length of %d; it must be 1 to %d", o.FrameLength, maxFrameLength)
	case len(keyrings) == 0:
		return nil, errors.New("esdk: no keyring")
	}
	if err := checkOwn(o.Context); err != nil {
		return nil, err
	}
	w := &Writer{dst: dst, next: 1, frame: make([]byte, 0, o.FrameLength)}
	h := Header{Suite: o.Suite, MessageID: make([]byte, p.idLen()), Context: maps.Clone(o.Context), Framed: true, FrameLength: uint32(o.FrameLength)}
	if h.Context == nil {
		h.Context = map[string]string{}
	}
	rand.Read(h.MessageID)
	if p.curve != nil {
		// A key of its own for each message: it binds header and body together, and is then forgotten.
		key, err := ecdsa.GenerateKey(p.curve, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("esdk: %w", err)
		}
		if h.Context[publicKeyName], err = compress(&key.PublicKey); err != nil {
			return nil, err
		}
		w.sign, w.digest = key, p.hash.New()
	}
	dataKey, sealed, err := keyrings[0].Generate(ctx, p.keyLen, h.Context)
	if err != nil {
		return nil, err
	}
	defer clear(dataKey)
	h.Keys = append(h.Keys, sealed)
	for _, k := range keyrings[1:] {
		if sealed, err = k.Wrap(ctx, dataKey, h.Context); err != nil {
			return nil, err
		}
		h.Keys = append(h.Keys, sealed)
	}
	if w.aead, h.commitment, err = o.Suite.derive(dataKey, h.MessageID); err != nil {
		return nil, err
	}
	w.id, w.written = h.MessageID, h
	body, err := h.encode()
	if err != nil {
		return nil, err
	}
	// The IV of the header is all zeros, those of the frames their numbers from 1 on: the key is this message's
	// own, so none comes twice.
	zero := make([]byte, ivLen)
	out := body[:len(body):len(body)]
	if p.version == 1 {
		out = append(out, zero...)
	}
	return w, w.emit(w.aead.Seal(out, zero, nil, body))
}

// Header is what was written.
func (w *Writer) Header() Header { return w.written }

func (w *Writer) emit(b []byte) error {
	if w.digest != nil {
		w.digest.Write(b)
	}
	if _, err := w.dst.Write(b); err != nil {
		w.err = fmt.Errorf("esdk: %w", err)
	}
	return w.err
}

// Write seals p, frame by frame.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if w.err != nil {
			return n, w.err
		}
		// A full frame waits for the next byte: the last frame of a message looks different.
		if len(w.frame) == cap(w.frame) {
			if err := w.flush(false); err != nil {
				return n, err
			}
		}
		k := copy(w.frame[len(w.frame):cap(w.frame)], p)
		w.frame = w.frame[:len(w.frame)+k]
		n, p = n+k, p[k:]
	}
	return n, w.err
}

var errClosed = errors.New("esdk: the writer is closed")

// Close writes the last frame and the signature. It does not close what the
// message was written to.
func (w *Writer) Close() error {
	if w.err != nil {
		if errors.Is(w.err, errClosed) {
			return nil
		}
		return w.err
	}
	if err := w.flush(true); err != nil {
		return err
	}
	if w.sign != nil {
		sig, err := ecdsa.SignASN1(rand.Reader, w.sign, w.digest.Sum(nil))
		if err != nil {
			w.err = fmt.Errorf("esdk: %w", err)
			return w.err
		}
		w.digest = nil
		if err := w.emit(append(binary.BigEndian.AppendUint16(nil, uint16(len(sig))), sig...)); err != nil {
			return err
		}
	}
	w.err = errClosed
	return nil
}

// flush writes the frame: u32 sequence number ‖ IV ‖ ciphertext ‖ tag; the
// final one begins with ffffffff and says its length.
func (w *Writer) flush(final bool) error {
	if w.next == math.MaxUint32 { // the number is the mark of the final frame
		w.err = fmt.Errorf("%w: too many frames; use a greater frame length", ErrLimit)
		return w.err
	}
	label, b := labelFrame, w.out[:0]
	if final {
		label, b = labelFinal, binary.BigEndian.AppendUint32(b, finalMark)
	}
	b = binary.BigEndian.AppendUint32(b, w.next)
	b = append(b, make([]byte, ivLen-4)...)
	b = binary.BigEndian.AppendUint32(b, w.next)
	iv := b[len(b)-ivLen:]
	if final {
		b = binary.BigEndian.AppendUint32(b, uint32(len(w.frame)))
	}
	w.aad = bodyAAD(w.aad[:0], w.id, label, w.next, uint64(len(w.frame)))
	w.out = w.aead.Seal(b, iv, w.frame, w.aad)
	w.frame = w.frame[:0]
	w.next++
	return w.emit(w.out)
}
