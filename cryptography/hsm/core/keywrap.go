package core

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// paddedPrefix begins the alternative initial value of RFC 5649 section 3; the
// length of the key follows.
const paddedPrefix = 0xa65959a6

// unwrapPadded appends to b, which must have room for it, the key that was
// wrapped under an AES key with padding (RFC 5649 section 4.2). False: it was
// not, whatever is wrong with it.
func unwrapPadded(b, kek, wrapped []byte) ([]byte, bool) {
	n := len(wrapped)/8 - 1 // 64-bit blocks of the padded key
	if len(wrapped)%8 != 0 || n < 1 || cap(b)-len(b) < 8*n {
		return b, false
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return b, false
	}
	r := b[len(b) : len(b)+8*n]
	copy(r, wrapped[8:])
	var ab [16]byte // A of RFC 3394 section 2.2.2, and the block under way
	defer secret.Wipe(ab[:])
	copy(ab[:8], wrapped)
	if n == 1 {
		copy(ab[8:], r)
		block.Decrypt(ab[:], ab[:])
		copy(r, ab[8:])
	} else {
		for t := 6 * n; t > 0; t-- { // t counts down through j = 5..0 and i = n..1
			i := (t - 1) % n
			binary.BigEndian.PutUint64(ab[:8], binary.BigEndian.Uint64(ab[:8])^uint64(t))
			copy(ab[8:], r[8*i:])
			block.Decrypt(ab[:], ab[:])
			copy(r[8*i:], ab[8:])
		}
	}
	// All of the checks of section 3 are made before any decides: where it went wrong cannot be told by the time.
	length := int(binary.BigEndian.Uint32(ab[4:8]))
	good := subtle.ConstantTimeEq(int32(binary.BigEndian.Uint32(ab[:4])^paddedPrefix), 0)
	fits := length > 8*(n-1) && length <= 8*n
	if !fits {
		good, length = 0, 8*n
	}
	padding := byte(0)
	for i := 8 * (n - 1); i < 8*n; i++ {
		padding |= r[i] & byte(subtle.ConstantTimeLessOrEq(length, i)*0xff)
	}
	if good&subtle.ConstantTimeByteEq(padding, 0) != 1 {
		secret.Wipe(r)
		return b, false
	}
	return b[:len(b)+length], true
}
