// Package id makes the identifiers of the house: request ids, unique ids of
// principals and access key ids. All of them are random; the access key ids
// also carry their account, as AWS's do (sts-and-fas section 1).
//
// Randomness comes from crypto/rand, which since Go 1.24 does not fail: it
// ends the process rather than hand out something guessable.
package id

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// alphabet is A-Z2-7, RFC 4648 base32 without padding.
var alphabet = base32.StdEncoding.WithPadding(base32.NoPadding)

// ErrMalformed is returned for an identifier that no version of this package
// could have made.
var ErrMalformed = errors.New("id: malformed identifier")

// UUID returns a random version 4 UUID in lower-case hex with dashes
// (RFC 9562 section 5.4).
func UUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return FormatUUID(b)
}

// FormatUUID writes a UUID in lower-case hex with dashes.
func FormatUUID(b [16]byte) string {
	var out [36]byte
	hex.Encode(out[0:8], b[0:4])
	out[8] = '-'
	hex.Encode(out[9:13], b[4:6])
	out[13] = '-'
	hex.Encode(out[14:18], b[6:8])
	out[18] = '-'
	hex.Encode(out[19:23], b[8:10])
	out[23] = '-'
	hex.Encode(out[24:36], b[10:16])
	return string(out[:])
}

// Hex returns n random bytes as 2n lower-case hex digits.
func Hex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Unique returns a unique id: the four letters of prefix (AIDA for a user,
// AROA for a role, ANPA for a managed policy, ...) and 17 random characters
// of A-Z2-7.
func Unique(prefix string) string {
	var b [11]byte
	rand.Read(b[:])
	return prefix + alphabet.EncodeToString(b[:])[:17]
}

// AccessKey returns a new access key id, AKIA (long-term) or ASIA (temporary)
// as prefix, whose 16 characters carry the account: the first six of the ten
// bytes are a 48-bit number v with account = (v & 0x7fffffffff80) >> 7.
func AccessKey(prefix, account string) (string, error) {
	n, err := strconv.ParseUint(account, 10, 64)
	if err != nil || len(account) != 12 {
		return "", fmt.Errorf("%w: account %q", ErrMalformed, account)
	}
	var b [10]byte
	rand.Read(b[:])
	v := uint64(b[0])<<40 | uint64(b[5])
	// Only the bits outside the mask stay random.
	v = v&^uint64(0x7fffffffff80) | n<<7
	var w [8]byte
	binary.BigEndian.PutUint64(w[:], v)
	copy(b[:6], w[2:])
	return prefix + alphabet.EncodeToString(b[:]), nil
}

// AccessKeyAccount reads the 12-digit account out of an access key id.
func AccessKeyAccount(key string) (string, error) {
	if len(key) != 20 {
		return "", ErrMalformed
	}
	b, err := alphabet.DecodeString(key[4:])
	if err != nil {
		return "", ErrMalformed
	}
	var w [8]byte
	copy(w[2:], b[:6])
	v := (binary.BigEndian.Uint64(w[:]) & 0x7fffffffff80) >> 7
	if v > 999999999999 {
		return "", ErrMalformed
	}
	return fmt.Sprintf("%012d", v), nil
}

// Account returns a random account number: 12 digits, the first not zero.
func Account() string {
	var b [8]byte
	rand.Read(b[:])
	n := binary.BigEndian.Uint64(b[:])%900000000000 + 100000000000
	return strconv.FormatUint(n, 10)
}
