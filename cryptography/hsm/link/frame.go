package link

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A frameReader cuts a stream into frames: u32be length, then type and body.
type frameReader struct {
	conn io.Reader
	buf  []byte
	r, w int // unread bytes are buf[r:w]
}

func newFrameReader(conn io.Reader) *frameReader {
	return &frameReader{conn: conn, buf: make([]byte, 2*(4+MaxFrame))}
}

// peek returns the next frame if it is wholly buffered.
func (f *frameReader) peek() (frame []byte, ok bool, err error) {
	if f.w-f.r < 4 {
		return nil, false, nil
	}
	n := binary.BigEndian.Uint32(f.buf[f.r:])
	if n == 0 || n > MaxFrame {
		return nil, false, fmt.Errorf("%w: frame of %d bytes", ErrProtocol, n)
	}
	if uint32(f.w-f.r-4) < n {
		return nil, false, nil
	}
	return f.buf[f.r+4 : f.r+4+int(n)], true, nil
}

// buffered reports whether next would answer without reading.
func (f *frameReader) buffered() bool { _, ok, err := f.peek(); return ok || err != nil }

// next returns the next frame, which stays valid until the call after it. The
// caller may decrypt in place and must have wiped what it decrypted before it
// calls next again.
func (f *frameReader) next() ([]byte, error) {
	for {
		frame, ok, err := f.peek()
		if err != nil {
			return nil, err
		}
		if ok {
			f.r += 4 + len(frame)
			return frame, nil
		}
		if f.r > 0 {
			copy(f.buf, f.buf[f.r:f.w])
			f.r, f.w = 0, f.w-f.r
		}
		n, err := f.conn.Read(f.buf[f.w:])
		f.w += n
		if n > 0 {
			continue
		}
		if err == nil {
			err = io.ErrNoProgress
		}
		return nil, err
	}
}

// beginFrame appends a length to be set by endFrame, and the type.
func beginFrame(b []byte, kind byte) []byte { return append(b, 0, 0, 0, 0, kind) }

// endFrame sets the length of the frame that starts at start.
func endFrame(b []byte, start int) {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
}

// beginSealed starts a request or an answer. Type, token id and counter are
// the AAD of the body that follows.
func beginSealed(b []byte, kind byte, id [16]byte, counter uint64) []byte {
	b = append(beginFrame(b, kind), id[:]...)
	return binary.BigEndian.AppendUint64(b, counter)
}

// endSealed encrypts in place what was appended after beginSealed.
func (k *direction) endSealed(b []byte, start int, counter uint64) []byte {
	header := b[start+4 : start+4+headerLen]
	body := b[start+4+headerLen:]
	nonce := counterNonce(counter)
	sealed := k.aead.Seal(body[:0], nonce[:], body, header)
	b = b[:start+4+headerLen+len(sealed)]
	endFrame(b, start)
	return b
}

// open decrypts a frame in place.
func (k *direction) open(frame []byte, counter uint64) ([]byte, error) {
	nonce := counterNonce(counter)
	body := frame[headerLen:]
	return k.aead.Open(body[:0], nonce[:], body, frame[:headerLen])
}

// splitSealed reads the clear part of a request or an answer.
func splitSealed(frame []byte) (id [16]byte, counter uint64, ok bool) {
	if len(frame) < headerLen+tagLen {
		return id, 0, false
	}
	copy(id[:], frame[1:17])
	return id, binary.BigEndian.Uint64(frame[17:25]), true
}

// counterNonce is 4 zero bytes and the counter. A nonce never repeats under a
// key: each direction has its own key, the sender's counter only rises, and an
// answer uses the counter of the one request that it answers.
func counterNonce(counter uint64) (n [12]byte) {
	binary.BigEndian.PutUint64(n[4:], counter)
	return n
}

// window is the replay window of hsm-domain section 5: a counter is accepted
// once, and only if it is less than 1024 behind the highest seen.
type window struct {
	top  uint64
	seen [windowSize / 64]uint64
}

const windowSize = 1024

func (w *window) accept(c uint64) bool {
	switch {
	case c == 0:
		return false
	case c > w.top:
		if c-w.top >= windowSize {
			clear(w.seen[:])
		} else {
			for i := w.top + 1; i < c; i++ {
				w.seen[i%windowSize/64] &^= 1 << (i % 64)
			}
		}
		w.top = c
	case w.top-c >= windowSize, w.seen[c%windowSize/64]>>(c%64)&1 == 1:
		return false
	}
	w.seen[c%windowSize/64] |= 1 << (c % 64)
	return true
}
