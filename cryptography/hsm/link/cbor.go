package link

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// The messages of the boundary are a small part of CBOR: unsigned integers,
// byte and text strings, arrays and maps with integer keys, in the
// deterministic form of RFC 8949 section 4.2.1. They are written and read by
// hand because a decoder that hands out copies (as every general one does)
// leaves secrets in memory that nobody can find again to wipe.

const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

var errCBOR = errors.New("link: malformed message")

func appendHead(b []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(b, m|byte(n))
	case n < 1<<8:
		return append(b, m|24, byte(n))
	case n < 1<<16:
		return append(b, m|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, m|27), n)
}

// AppendUint appends an unsigned integer; map keys are such.
func AppendUint(b []byte, n uint64) []byte { return appendHead(b, majorUint, n) }

// AppendBytes appends a byte string.
func AppendBytes(b, s []byte) []byte {
	return append(appendHead(b, majorBytes, uint64(len(s))), s...)
}

// AppendText appends a text string.
func AppendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// AppendMap begins a map of n pairs, whose keys must follow in rising order.
func AppendMap(b []byte, n int) []byte { return appendHead(b, majorMap, uint64(n)) }

// AppendArray begins an array of n items.
func AppendArray(b []byte, n int) []byte { return appendHead(b, majorArray, uint64(n)) }

// AppendBytesField appends a pair of a map unless the value is empty; empty
// fields are not sent.
func AppendBytesField(b []byte, key uint64, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return AppendBytes(AppendUint(b, key), v)
}

// AppendTextField appends a pair unless the text is empty.
func AppendTextField(b []byte, key uint64, v string) []byte {
	if v == "" {
		return b
	}
	return AppendText(AppendUint(b, key), v)
}

// AppendUintField appends a pair unless the number is zero.
func AppendUintField(b []byte, key, v uint64) []byte {
	if v == 0 {
		return b
	}
	return AppendUint(AppendUint(b, key), v)
}

// A Reader reads a message. Its first error sticks: after it every method
// answers zero, so that a parser checks once, at the end, with Done.
//
// What it returns points into the message: a caller copies what it keeps.
type Reader struct {
	b   []byte
	bad bool
}

// NewReader reads from b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Done reports whether the whole message was read and well formed.
func (r *Reader) Done() error {
	if r.bad || len(r.b) != 0 {
		return errCBOR
	}
	return nil
}

// Fail marks the message as malformed.
func (r *Reader) Fail() { r.bad, r.b = true, nil }

// Failed reports whether something was malformed so far.
func (r *Reader) Failed() bool { return r.bad }

func (r *Reader) head(want byte) uint64 {
	major, n, size := splitHead(r.b)
	if r.bad || size == 0 || major != want {
		r.Fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

// splitHead reads the head of an item; size 0 means that there is none, or
// that it is not the shortest form (RFC 8949 section 4.2.1).
func splitHead(b []byte) (major byte, n uint64, size int) {
	if len(b) == 0 {
		return 0, 0, 0
	}
	major, low := b[0]>>5, b[0]&31
	switch {
	case low < 24:
		return major, uint64(low), 1
	case low == 24 && len(b) >= 2 && b[1] >= 24:
		return major, uint64(b[1]), 2
	case low == 25 && len(b) >= 3:
		if n = uint64(binary.BigEndian.Uint16(b[1:])); n >= 1<<8 {
			return major, n, 3
		}
	case low == 26 && len(b) >= 5:
		if n = uint64(binary.BigEndian.Uint32(b[1:])); n >= 1<<16 {
			return major, n, 5
		}
	case low == 27 && len(b) >= 9:
		if n = binary.BigEndian.Uint64(b[1:]); n >= 1<<32 {
			return major, n, 9
		}
	}
	return 0, 0, 0
}

// Uint reads an unsigned integer.
func (r *Reader) Uint() uint64 { return r.head(majorUint) }

// Bytes reads a byte string, which stays part of the message.
func (r *Reader) Bytes() []byte { return r.take(r.head(majorBytes)) }

// Text reads a text string. Only texts that are no secret may be read so: a
// string cannot be wiped.
func (r *Reader) Text() string {
	b := r.take(r.head(majorText))
	if !utf8.Valid(b) {
		r.Fail()
		return ""
	}
	return string(b)
}

func (r *Reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.Fail()
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// Map reads the head of a map and returns its number of pairs.
func (r *Reader) Map() int { return r.count(majorMap, 2) }

// Array reads the head of an array and returns its number of items.
func (r *Reader) Array() int { return r.count(majorArray, 1) }

// count refuses numbers that the rest of the message cannot hold, so that a
// caller may allocate by them.
func (r *Reader) count(major byte, each uint64) int {
	n := r.head(major)
	if n > uint64(len(r.b))/each {
		r.Fail()
		return 0
	}
	return int(n)
}

// Key reads the next key of a map, which must be greater than last (0 for the
// first).
func (r *Reader) Key(last uint64) uint64 {
	k := r.head(majorUint)
	if k <= last {
		r.Fail()
		return 0
	}
	return k
}

// Raw reads one whole item of any kind, nested at most 8 deep, without
// interpreting it.
func (r *Reader) Raw() []byte {
	n := skip(r.b, 8)
	if r.bad || n == 0 {
		r.Fail()
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// skip returns the length of the item at the start of b, 0 if it is malformed.
func skip(b []byte, depth int) int {
	major, n, size := splitHead(b)
	if size == 0 || depth == 0 {
		return 0
	}
	rest := uint64(len(b) - size)
	switch major {
	case majorUint:
		return size
	case majorBytes, majorText:
		if n > rest {
			return 0
		}
		return size + int(n)
	case majorArray, majorMap:
		if n > rest {
			return 0
		}
		if major == majorMap {
			n *= 2
		}
		for ; n > 0; n-- {
			m := skip(b[size:], depth-1)
			if m == 0 {
				return 0
			}
			size += m
		}
		return size
	case 7: // the simple values false and true
		if b[0] == 0xf4 || b[0] == 0xf5 {
			return 1
		}
	}
	return 0
}
