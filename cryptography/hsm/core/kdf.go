package core

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// maxKDFInput bounds label and context together, so that all fits on the stack.
const maxKDFInput = 128

// kdf is SP 800-108 in counter mode with HMAC-SHA-256 for 256 bits, which is
// one block: HMAC(key, u32be 1 ‖ label ‖ 00 ‖ context ‖ u32be 256). key is at
// most 64 bytes.
//
// HMAC is written out because crypto/hmac keeps the key in states on the heap;
// here every intermediate is wiped.
func kdf(out *[32]byte, key []byte, label string, context []byte) {
	var in [4 + maxKDFInput + 1 + 4]byte
	b := binary.BigEndian.AppendUint32(in[:0], 1)
	b = append(b, label...)
	b = append(b, 0)
	b = append(b, context...)
	b = binary.BigEndian.AppendUint32(b, 256)
	hmac256(out, key, b)
}

// hmac256 is HMAC-SHA-256 (RFC 2104) for a key of at most 64 bytes and a
// message of at most maxKDFInput + 9 bytes.
func hmac256(out *[32]byte, key, message []byte) {
	var inner [64 + 4 + maxKDFInput + 1 + 4]byte
	var outer [64 + 32]byte
	for i := range 64 {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i, k := range key {
		inner[i] ^= k
		outer[i] ^= k
	}
	sum := sha256.Sum256(append(inner[:64], message...))
	copy(outer[64:], sum[:])
	*out = sha256.Sum256(outer[:])
	secret.Wipe(inner[:])
	secret.Wipe(outer[:])
	secret.Wipe(sum[:])
}
