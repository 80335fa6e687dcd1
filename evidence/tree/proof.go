package tree

import (
	"fmt"
	"math/bits"
)

// Subtrees gives the hash of the n-th perfect subtree of 2^level leaves.
type Subtrees func(level int, n uint64) (Hash, error)

// Inclusion makes the audit path of RFC 6962 section 2.1.1 for the leaf at
// index in the tree of the given size, leaf to root.
func Inclusion(index, size uint64, sub Subtrees) ([]Hash, error) {
	if index >= size {
		return nil, fmt.Errorf("%w: leaf %d of %d", ErrProof, index, size)
	}
	return path(index, 0, size, sub)
}

// path is PATH(m, D[lo:hi]); lo is a multiple of the largest power of two below hi-lo.
func path(m, lo, hi uint64, sub Subtrees) ([]Hash, error) {
	if hi-lo == 1 {
		return nil, nil
	}
	k := split(hi - lo)
	var p []Hash
	var h Hash
	var err error
	if m < lo+k {
		if p, err = path(m, lo, lo+k, sub); err == nil {
			h, err = rangeHash(lo+k, hi, sub)
		}
	} else {
		if p, err = path(m, lo+k, hi, sub); err == nil {
			h, err = rangeHash(lo, lo+k, sub)
		}
	}
	if err != nil {
		return nil, err
	}
	return append(p, h), nil
}

// Consistency makes the proof of RFC 6962 section 2.1.2 that the tree of size
// old is a prefix of the tree of size now.
func Consistency(old, now uint64, sub Subtrees) ([]Hash, error) {
	if old > now {
		return nil, fmt.Errorf("%w: %d is no prefix of %d", ErrProof, old, now)
	}
	if old == 0 || old == now {
		return nil, nil
	}
	return subproof(old, 0, now, true, sub)
}

// subproof is SUBPROOF(m, D[lo:hi], whole).
func subproof(m, lo, hi uint64, whole bool, sub Subtrees) ([]Hash, error) {
	if m == hi {
		if whole {
			return nil, nil
		}
		h, err := rangeHash(lo, hi, sub)
		return []Hash{h}, err
	}
	k := split(hi - lo)
	var p []Hash
	var h Hash
	var err error
	if m <= lo+k {
		if p, err = subproof(m, lo, lo+k, whole, sub); err == nil {
			h, err = rangeHash(lo+k, hi, sub)
		}
	} else {
		if p, err = subproof(m, lo+k, hi, false, sub); err == nil {
			h, err = rangeHash(lo, lo+k, sub)
		}
	}
	if err != nil {
		return nil, err
	}
	return append(p, h), nil
}

// rangeHash is MTH(D[lo:hi]) for a range whose perfect subtrees are aligned.
func rangeHash(lo, hi uint64, sub Subtrees) (Hash, error) {
	n := hi - lo
	if n&(n-1) == 0 {
		level := bits.TrailingZeros64(n)
		return sub(level, lo>>level)
	}
	k := split(n)
	l, err := rangeHash(lo, lo+k, sub)
	if err != nil {
		return Hash{}, err
	}
	r, err := rangeHash(lo+k, hi, sub)
	if err != nil {
		return Hash{}, err
	}
	return NodeHash(l, r), nil
}

// RootOf is the root of the tree of the given size.
func RootOf(size uint64, sub Subtrees) (Hash, error) {
	if size == 0 {
		return Empty, nil
	}
	return rangeHash(0, size, sub)
}

// split is the largest power of two smaller than n.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// VerifyInclusion checks that the leaf hash is at index in the tree with this
// size and root (RFC 9162 section 2.1.3.2).
func VerifyInclusion(root Hash, size, index uint64, leaf Hash, proof []Hash) error {
	got, err := inclusionRoot(size, index, leaf, proof)
	if err != nil {
		return err
	}
	if got != root {
		return fmt.Errorf("%w: inclusion", ErrProof)
	}
	return nil
}

func inclusionRoot(size, index uint64, leaf Hash, proof []Hash) (Hash, error) {
	if index >= size {
		return Hash{}, fmt.Errorf("%w: leaf %d of %d", ErrProof, index, size)
	}
	fn, sn, h := index, size-1, leaf
	for _, p := range proof {
		if sn == 0 {
			return Hash{}, fmt.Errorf("%w: too long", ErrProof)
		}
		if fn&1 == 1 || fn == sn {
			h = NodeHash(p, h)
			for fn&1 == 0 && fn != 0 {
				fn >>= 1
				sn >>= 1
			}
		} else {
			h = NodeHash(h, p)
		}
		fn >>= 1
		sn >>= 1
	}
	if sn != 0 {
		return Hash{}, fmt.Errorf("%w: too short", ErrProof)
	}
	return h, nil
}

// VerifyConsistency checks that the tree (old, oldRoot) is a prefix of the
// tree (now, root) (RFC 9162 section 2.1.4.2).
func VerifyConsistency(old, now uint64, oldRoot, root Hash, proof []Hash) error {
	bad := fmt.Errorf("%w: consistency", ErrProof)
	switch {
	case old > now:
		return bad
	case old == now:
		if len(proof) != 0 || oldRoot != root {
			return bad
		}
		return nil
	case old == 0:
		if len(proof) != 0 || oldRoot != Empty {
			return bad
		}
		return nil
	case len(proof) == 0:
		return bad
	}
	if old&(old-1) == 0 {
		proof = append([]Hash{oldRoot}, proof...)
	}
	fn, sn := old-1, now-1
	for fn&1 == 1 {
		fn >>= 1
		sn >>= 1
	}
	fr, sr := proof[0], proof[0]
	for _, c := range proof[1:] {
		if sn == 0 {
			return bad
		}
		if fn&1 == 1 || fn == sn {
			fr = NodeHash(c, fr)
			sr = NodeHash(c, sr)
			for fn&1 == 0 && fn != 0 {
				fn >>= 1
				sn >>= 1
			}
		} else {
			sr = NodeHash(sr, c)
		}
		fn >>= 1
		sn >>= 1
	}
	if sn != 0 || fr != oldRoot || sr != root {
		return bad
	}
	return nil
}
