package attest

import (
	"encoding/binary"
	"unicode/utf8"
)

// Major types of CBOR (RFC 8949 section 3.1).
const (
	majorUint  = 0
	majorNeg   = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
	majorOther = 7
)

const null = 0xf6

// A reader takes CBOR items off the front of b. The general libraries turn
// arrays into byte strings, match names without regard to case, and the like;
// a document that two verifiers may read differently is what attackers look
// for, so this one knows only what a document can hold. Indefinite lengths do
// not exist for it. Once something is wrong, bad stays set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

// head reads the head of the next item.
func (r *reader) head() (major byte, arg uint64) {
	if len(r.b) == 0 {
		r.fail()
		return 0, 0
	}
	major, info := r.b[0]>>5, r.b[0]&31
	r.b = r.b[1:]
	if info < 24 {
		return major, uint64(info)
	}
	n := 1 << (info - 24)
	if info > 27 || len(r.b) < n { // 28 to 30 are reserved, 31 is an indefinite length
		r.fail()
		return 0, 0
	}
	var wide [8]byte
	copy(wide[8-n:], r.b)
	r.b = r.b[n:]
	return major, binary.BigEndian.Uint64(wide[:])
}

func (r *reader) want(major byte) uint64 {
	got, arg := r.head()
	if got != major {
		r.fail()
		return 0
	}
	return arg
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uint() uint64  { return r.want(majorUint) }
func (r *reader) bytes() []byte { return r.take(r.want(majorBytes)) }

func (r *reader) text() string {
	b := r.take(r.want(majorText))
	if !utf8.Valid(b) {
		r.fail()
		return ""
	}
	return string(b)
}

// optional reads a byte string or null; both an absent and a null one are nil.
func (r *reader) optional() []byte {
	if len(r.b) > 0 && r.b[0] == null {
		r.b = r.b[1:]
		return nil
	}
	return r.bytes()
}

// count reads the head of an array or a map, whose elements take at least each
// bytes.
func (r *reader) count(major byte, each uint64) int {
	n := r.want(major)
	if n > uint64(len(r.b))/each {
		r.fail()
		return 0
	}
	return int(n)
}

// skip passes over one item of any kind, nested at most depth deep.
func (r *reader) skip(depth int) {
	major, arg := r.head()
	if depth == 0 {
		r.fail()
	}
	switch major {
	case majorBytes:
		r.take(arg)
	case majorText:
		if !utf8.Valid(r.take(arg)) {
			r.fail()
		}
	case majorArray, majorMap:
		if arg > uint64(len(r.b)) {
			r.fail()
			return
		}
		if major == majorMap {
			arg *= 2
		}
		for ; arg > 0 && !r.bad; arg-- {
			r.skip(depth - 1)
		}
	case majorTag:
		r.skip(depth - 1)
	}
}

func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }

// appendHead writes the shortest head.
func appendHead(b []byte, major byte, arg uint64) []byte {
	switch {
	case arg < 24:
		return append(b, major<<5|byte(arg))
	case arg < 1<<8:
		return append(b, major<<5|24, byte(arg))
	case arg < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major<<5|25), uint16(arg))
	case arg < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major<<5|26), uint32(arg))
	}
	return binary.BigEndian.AppendUint64(append(b, major<<5|27), arg)
}

func appendBytes(b, v []byte) []byte { return append(appendHead(b, majorBytes, uint64(len(v))), v...) }

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

func appendOptional(b, v []byte) []byte {
	if v == nil {
		return append(b, null)
	}
	return appendBytes(b, v)
}
