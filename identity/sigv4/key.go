package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// SigningKey derives the key of one day, region and service from a secret
// access key (section 4). The caller owns and wipes both.
func SigningKey(secret []byte, date, region, service string) [32]byte {
	first := make([]byte, 0, 4+len(secret))
	first = append(append(first, "AWS4"...), secret...)
	key := hmac(first, []byte(date))
	clear(first)
	key = hmac(key[:], []byte(region))
	key = hmac(key[:], []byte(service))
	return hmac(key[:], []byte(terminator))
}

// Verify says whether sig is the signature of a string to sign under a
// signing key. It compares in constant time.
func Verify(key *[32]byte, stringToSign []byte, sig *[32]byte) bool {
	mac := hmac(key[:], stringToSign)
	return subtle.ConstantTimeCompare(mac[:], sig[:]) == 1
}

// MAC is the signature of a string to sign under a signing key.
func MAC(key *[32]byte, stringToSign []byte) [32]byte { return hmac(key[:], stringToSign) }

// hmac is HMAC-SHA256 (RFC 2104). crypto/hmac computes the same (a test
// compares them), but allocates its state and leaves the key, padded, in
// memory that nobody wipes; here both stay in buffers that are cleared.
func hmac(key, message []byte) [32]byte {
	const block = sha256.BlockSize
	var pad [block]byte
	if len(key) > block {
		sum := sha256.Sum256(key)
		copy(pad[:], sum[:])
		clear(sum[:])
	} else {
		copy(pad[:], key)
	}
	var short [block + 384]byte // strings to sign have about 140 bytes, those of chunks 280
	inner := append(append(short[:0], pad[:]...), message...)
	for i := range block {
		inner[i] ^= 0x36
	}
	sum := sha256.Sum256(inner)
	clear(inner[:block])

	var outer [block + sha256.Size]byte
	for i := range block {
		outer[i] = pad[i] ^ 0x5c
	}
	copy(outer[block:], sum[:])
	mac := sha256.Sum256(outer[:])
	clear(outer[:])
	clear(pad[:])
	return mac
}

// A StringToSign is the parsed form of what a signature covers.
type StringToSign struct {
	Asymmetric            bool // SigV4A, which has no region here
	Time                  time.Time
	Date, Region, Service string
	CanonicalDigest       [32]byte // SHA-256 of the canonical request
}

var errStringToSign = errors.New("sigv4: malformed string to sign")

// ParseStringToSign reads a string to sign. The authority signs or witnesses
// nothing that it does not accept: every accepted text is the one and only
// encoding of its fields.
func ParseStringToSign(sts []byte) (StringToSign, error) {
	var s StringToSign
	if len(sts) > 1024 {
		return s, errStringToSign
	}
	lines := strings.Split(string(sts), "\n")
	if len(lines) != 4 || lines[0] != Algorithm && lines[0] != AlgorithmV4A {
		return s, errStringToSign
	}
	asymmetric := lines[0] == AlgorithmV4A
	t, ok := parseTime(lines[1])
	if !ok {
		return s, errStringToSign
	}
	scope := strings.Split(lines[2], "/")
	if asymmetric && len(scope) == 3 {
		scope = []string{scope[0], "-", scope[1], scope[2]}
	} else if asymmetric {
		return s, errStringToSign
	}
	if len(scope) != 4 || scope[3] != terminator || scope[0] != lines[1][:8] ||
		scope[1] == "" || scope[2] == "" || !printable(scope[1]) || !printable(scope[2]) || !decodeHash(&s.CanonicalDigest, lines[3]) {
		return StringToSign{}, errStringToSign
	}
	if s.Time, s.Date, s.Service = t, scope[0], scope[2]; asymmetric {
		s.Asymmetric = true
	} else {
		s.Region = scope[1]
	}
	return s, nil
}

// Append is the inverse of ParseStringToSign.
func (s StringToSign) Append(dst []byte) []byte {
	alg := Algorithm
	if s.Asymmetric {
		alg = AlgorithmV4A
	}
	dst = append(append(dst, alg...), '\n')
	dst = append(appendTime(dst, s.Time), '\n')
	dst = append(append(dst, s.Date...), '/')
	if !s.Asymmetric {
		dst = append(append(dst, s.Region...), '/')
	}
	dst = append(append(dst, s.Service...), '/')
	dst = append(append(dst, terminator...), '\n')
	return hex.AppendEncode(dst, s.CanonicalDigest[:])
}
