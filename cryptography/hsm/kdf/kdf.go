// Package kdf derives keys inside the boundaries: SP 800-108 in counter mode
// and the HMAC-SHA-256 under it (hsm-domain section 6).
//
// It exists because crypto/hmac keeps keys in states on the heap that nobody
// can wipe: here everything that depends on the key lies on the stack and is
// overwritten before a function returns. The price is that inputs are short.
package kdf

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/leadglass/leadglass/cryptography/secret"
)

const (
	// MaxKey is the longest key: one block of SHA-256.
	MaxKey = 64
	// MaxMessage is the longest message of HMAC.
	MaxMessage = 512
	// maxInput is how long label and context may be together.
	maxInput = 128
)

// Derive sets out to K(1) of SP 800-108 in counter mode, which for 256 bits is
// all of it: HMAC(key, u32be 1 ‖ label ‖ 00 ‖ context ‖ u32be 256). Label and
// context are together at most 128 bytes; both are constants of the formats.
func Derive(out *[32]byte, key []byte, label string, context []byte) {
	var in [4 + maxInput + 1 + 4]byte
	b := binary.BigEndian.AppendUint32(in[:0], 1)
	b = append(b, label...)
	b = append(b, 0)
	b = append(b, context...)
	b = binary.BigEndian.AppendUint32(b, 256)
	HMAC(out, key, b)
}

// HMAC sets out to HMAC-SHA-256 (RFC 2104). It panics when key or message are
// longer than the limits of this package, which callers check on input.
func HMAC(out *[32]byte, key, message []byte) {
	if len(key) > MaxKey || len(message) > MaxMessage {
		panic("kdf: key or message too long")
	}
	var inner [64 + MaxMessage]byte
	var outer [64 + 32]byte
	for i := range 64 {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i, k := range key {
		inner[i] ^= k
		outer[i] ^= k
	}
	// The message may be a key itself.
	n := 64 + copy(inner[64:], message)
	sum := sha256.Sum256(inner[:n])
	copy(outer[64:], sum[:])
	*out = sha256.Sum256(outer[:])
	secret.Wipe(inner[:n])
	secret.Wipe(outer[:])
	secret.Wipe(sum[:])
}

// LongHMAC is HMAC for messages without a limit: the one allocation holds the
// key, padded, and is overwritten.
func LongHMAC(out *[32]byte, key, message []byte) {
	if len(key) > MaxKey {
		panic("kdf: key too long")
	}
	inner := make([]byte, 64+len(message))
	defer secret.Wipe(inner[:64])
	var outer [64 + 32]byte
	defer secret.Wipe(outer[:])
	copy(inner, key)
	copy(outer[:], key)
	for i := range 64 {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	copy(inner[64:], message)
	sum := sha256.Sum256(inner)
	copy(outer[64:], sum[:])
	secret.Wipe(sum[:])
	*out = sha256.Sum256(outer[:])
}
