// Package tree is the arithmetic of transparency logs: RFC 6962 hashes, proofs
// and compact ranges, the tiles, checkpoints and proof files of C2SP
// (tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature, tlog-proof),
// receipts, and the sparse map of the root log's epochs.
//
// Start with Range, which grows a tree and knows its root, and with
// VerifyInclusion and VerifyConsistency. OpenCheckpoint checks a signed
// checkpoint, Map is the epoch's map, Receipt the signed promise that an event
// is logged.
//
// Everything is a pure function of its arguments: no disk, no network, no
// clock, no private key. Signing happens elsewhere; this package says which
// bytes to sign and puts signatures into their form. All parsers accept one
// form only (canonical base64, no leading zeroes), so that a changed byte is
// always a changed meaning or an error.
package tree

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
)

// ErrMalformed is wrapped by the errors of all parsers.
var ErrMalformed = errors.New("tree: malformed")

// ErrProof is returned when a proof does not prove what it should.
var ErrProof = errors.New("tree: proof does not verify")

// HashSize is the length of every hash.
const HashSize = sha256.Size

// A Hash is a leaf or node hash, or the root of a tree.
type Hash [HashSize]byte

// String is the hash in base64, as checkpoints and proofs show it.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

// ParseHash is the inverse of String.
func ParseHash(s string) (h Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != HashSize || len(s) != 44 {
		return h, fmt.Errorf("%w: hash", ErrMalformed)
	}
	return Hash(b), nil
}

// Empty is the root of a tree without leaves: SHA-256 of nothing.
var Empty = Hash(sha256.Sum256(nil))

// LeafHash is the hash of an entry: SHA-256(0x00 || entry), RFC 6962 section 2.1.
func LeafHash(entry []byte) Hash {
	var buf [1 + 256]byte
	if len(entry) < len(buf) {
		n := 1 + copy(buf[1:], entry)
		return sha256.Sum256(buf[:n])
	}
	h := sha256.New()
	h.Write(buf[:1])
	h.Write(entry)
	return Hash(h.Sum(nil))
}

// NodeHash is the hash of an inner node: SHA-256(0x01 || left || right).
func NodeHash(left, right Hash) Hash {
	var buf [1 + 2*HashSize]byte
	buf[0] = 1
	copy(buf[1:], left[:])
	copy(buf[1+HashSize:], right[:])
	return sha256.Sum256(buf[:])
}

// A Range is the compact form of a growing tree: the roots of the perfect
// subtrees that it consists of, largest first, one for each bit of its size.
// The zero value is the empty tree.
type Range struct {
	size  uint64
	roots []Hash
}

// NewRange restores a range from what Size and Roots returned.
func NewRange(size uint64, roots []Hash) (Range, error) {
	if bits.OnesCount64(size) != len(roots) {
		return Range{}, fmt.Errorf("%w: %d subtrees for a tree of %d", ErrMalformed, len(roots), size)
	}
	return Range{size, append([]Hash(nil), roots...)}, nil
}

// Size is the number of leaves.
func (r *Range) Size() uint64 { return r.size }

// Roots are the roots of the perfect subtrees, largest first. The caller must
// not change them, and they are valid until the next Append.
func (r *Range) Roots() []Hash { return r.roots }

// Clone returns an independent copy.
func (r *Range) Clone() Range { return Range{r.size, append([]Hash(nil), r.roots...)} }

// Append adds a leaf. For every perfect subtree that it completes, from the
// smallest, it calls done (which may be nil) with the subtree's level and
// hash; level 0 is the leaf itself.
func (r *Range) Append(leaf Hash, done func(level int, h Hash)) {
	h := leaf
	if done != nil {
		done(0, h)
	}
	for level := range bits.TrailingZeros64(^r.size) {
		last := len(r.roots) - 1
		h = NodeHash(r.roots[last], h)
		r.roots = r.roots[:last]
		if done != nil {
			done(level+1, h)
		}
	}
	r.roots = append(r.roots, h)
	r.size++
}

// Root is the root of the tree, RFC 6962 section 2.1.
func (r *Range) Root() Hash {
	if r.size == 0 {
		return Empty
	}
	h := r.roots[len(r.roots)-1]
	for i := len(r.roots) - 2; i >= 0; i-- {
		h = NodeHash(r.roots[i], h)
	}
	return h
}
