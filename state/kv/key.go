package kv

import (
	"encoding/binary"
	"errors"
)

// A Key is built from components whose byte order is the wanted order
// (state-store section 3): the table letter first, then text and integers.
//
//	kv.Table('K').Text(account).Text(keyID)
type Key []byte

// Table starts a key in the table named by one letter.
func Table(letter byte) Key { return Key{letter} }

// Text appends a text component: 0x00 becomes 0x00 0xFF, and 0x00 0x01 ends it,
// so that a shorter text sorts before every longer one that starts with it.
func (k Key) Text(s string) Key {
	k = k[:len(k):len(k)]
	for i := range len(s) {
		k = append(k, s[i])
		if s[i] == 0 {
			k = append(k, 0xff)
		}
	}
	return append(k, 0, 1)
}

// Uint appends eight bytes big-endian.
func (k Key) Uint(n uint64) Key { return binary.BigEndian.AppendUint64(k[:len(k):len(k)], n) }

// Down appends an integer so that greater ones sort first.
func (k Key) Down(n uint64) Key { return k.Uint(^n) }

// Prefix returns the range [k, end) of all keys that start with k.
func (k Key) Prefix() (start, end []byte) {
	end = append([]byte(nil), k...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return k, end[:i+1]
		}
	}
	return k, nil
}

// After is the smallest key greater than k: where the page after k starts.
func After(k []byte) []byte { return append(append([]byte(nil), k...), 0) }

var errKey = errors.New("kv: malformed key")

// ReadText takes a text component off the front of k.
func ReadText(k []byte) (s string, rest []byte, err error) {
	var b []byte
	for i := 0; i < len(k); i++ {
		if k[i] != 0 {
			b = append(b, k[i])
			continue
		}
		if i+1 >= len(k) {
			return "", nil, errKey
		}
		switch k[i+1] {
		case 1:
			return string(b), k[i+2:], nil
		case 0xff:
			b = append(b, 0)
			i++
		default:
			return "", nil, errKey
		}
	}
	return "", nil, errKey
}

// ReadUint takes an integer component off the front of k.
func ReadUint(k []byte) (n uint64, rest []byte, err error) {
	if len(k) < 8 {
		return 0, nil, errKey
	}
	return binary.BigEndian.Uint64(k), k[8:], nil
}
