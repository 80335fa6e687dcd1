package tree

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// A Map is the sparse Merkle tree of depth 256 that an epoch commits to: from
// an account's label to the size and root of its log (audit-log section 7).
// The zero value is the empty map. It is not safe for concurrent use.
//
// The tree is kept as a binary trie whose leaves hang as high as their labels
// allow; the hash of a leaf is carried down to where it hangs once and kept,
// so an epoch costs about 250 hashes for each entry that changed.
type Map struct {
	root *mapNode
	n    int
}

// A mapNode is a leaf (entry set) or an inner node with at least one child.
type mapNode struct {
	child [2]*mapNode
	entry *mapEntry
	hash  Hash // of the subtree at the depth where the node hangs
	clean bool // hash is up to date
}

type mapEntry struct {
	label, root Hash
	size        uint64
}

// MapLeaf is the hash of an entry: SHA-256(0x02 || label || size || root).
func MapLeaf(label Hash, size uint64, root Hash) Hash {
	var b [1 + 32 + 8 + 32]byte
	b[0] = 2
	copy(b[1:], label[:])
	binary.BigEndian.PutUint64(b[33:], size)
	copy(b[41:], root[:])
	return sha256.Sum256(b[:])
}

// mapNodeHash is SHA-256(0x03 || left || right), but zero over two empty children.
func mapNodeHash(l, r Hash) Hash {
	if l == (Hash{}) && r == (Hash{}) {
		return Hash{}
	}
	var b [1 + 2*HashSize]byte
	b[0] = 3
	copy(b[1:], l[:])
	copy(b[33:], r[:])
	return sha256.Sum256(b[:])
}

// bit is the bit of the label that decides at depth d: the d-th most significant.
func bit(label *Hash, d int) int { return int(label[d>>3]>>(7-d&7)) & 1 }

// Len is the number of entries.
func (m *Map) Len() int { return m.n }

// Get returns the entry of a label.
func (m *Map) Get(label Hash) (size uint64, root Hash, ok bool) {
	n := m.root
	for d := 0; n != nil; d++ {
		if n.entry != nil {
			if n.entry.label != label {
				return 0, Hash{}, false
			}
			return n.entry.size, n.entry.root, true
		}
		n = n.child[bit(&label, d)]
	}
	return 0, Hash{}, false
}

// Set adds or changes an entry.
func (m *Map) Set(label Hash, size uint64, root Hash) {
	e := &mapEntry{label, root, size}
	at := &m.root
	for d := 0; ; d++ {
		n := *at
		switch {
		case n == nil:
			*at = &mapNode{entry: e}
			m.n++
			return
		case n.entry != nil && n.entry.label == label:
			n.entry, n.clean = e, false
			return
		case n.entry != nil:
			// Two labels share the path so far: the old leaf moves one down.
			n.clean = false
			inner := &mapNode{}
			inner.child[bit(&n.entry.label, d)] = n
			*at, n = inner, inner
		}
		n.clean = false
		at = &n.child[bit(&label, d)]
	}
}

// Delete removes an entry.
func (m *Map) Delete(label Hash) {
	if _, _, ok := m.Get(label); ok {
		m.root = remove(m.root, &label, 0)
		m.n--
	}
}

func remove(n *mapNode, label *Hash, d int) *mapNode {
	if n.entry != nil {
		return nil
	}
	i := bit(label, d)
	n.child[i] = remove(n.child[i], label, d+1)
	n.clean = false
	c, other := n.child[i], n.child[1-i]
	switch {
	case c == nil && other == nil:
		return nil
	case c == nil && other.entry != nil:
		other.clean = false
		return other
	case other == nil && c.entry != nil:
		c.clean = false
		return c
	}
	return n
}

// Root is the map's root.
func (m *Map) Root() Hash { return m.root.sum(0) }

func (n *mapNode) sum(d int) Hash {
	if n == nil {
		return Hash{}
	}
	if !n.clean {
		if n.entry != nil {
			n.hash = climb(n.entry, d)
		} else {
			n.hash = mapNodeHash(n.child[0].sum(d+1), n.child[1].sum(d+1))
		}
		n.clean = true
	}
	return n.hash
}

// climb is the hash at depth d of a subtree that holds nothing but the entry.
func climb(e *mapEntry, d int) Hash {
	h := MapLeaf(e.label, e.size, e.root)
	for i := 255; i >= d; i-- {
		if bit(&e.label, i) == 0 {
			h = mapNodeHash(h, Hash{})
		} else {
			h = mapNodeHash(Hash{}, h)
		}
	}
	return h
}

// A MapProof shows one entry of a map. Depth d of the bitmap (the d-th most
// significant bit) is set when the sibling that the bit of depth d passes by
// is not empty; Siblings has those, from the leaf to the root.
type MapProof struct {
	Bitmap   [32]byte
	Siblings []Hash
}

// Proof makes the proof of a label that is in the map.
func (m *Map) Proof(label Hash) (MapProof, error) {
	var p MapProof
	n := m.root
	for d := 0; n != nil && n.entry == nil; d++ {
		i := bit(&label, d)
		if sib := n.child[1-i].sum(d + 1); sib != (Hash{}) {
			p.Bitmap[d>>3] |= 1 << (7 - d&7)
			p.Siblings = append(p.Siblings, sib)
		}
		n = n.child[i]
	}
	if n == nil || n.entry.label != label {
		return MapProof{}, fmt.Errorf("%w: label is not in the map", ErrProof)
	}
	for i, j := 0, len(p.Siblings)-1; i < j; i, j = i+1, j-1 {
		p.Siblings[i], p.Siblings[j] = p.Siblings[j], p.Siblings[i]
	}
	return p, nil
}

// Append writes the proof: bitmap || siblings.
func (p *MapProof) Append(dst []byte) []byte {
	dst = append(dst, p.Bitmap[:]...)
	for i := range p.Siblings {
		dst = append(dst, p.Siblings[i][:]...)
	}
	return dst
}

// ParseMapProof reads a proof from the front of b and returns what is left.
func ParseMapProof(b []byte) (MapProof, []byte, error) {
	var p MapProof
	if len(b) < 32 {
		return p, nil, fmt.Errorf("%w: map proof", ErrMalformed)
	}
	b = b[copy(p.Bitmap[:], b):]
	for d := range 256 {
		if p.Bitmap[d>>3]>>(7-d&7)&1 == 0 {
			continue
		}
		if len(b) < HashSize {
			return MapProof{}, nil, fmt.Errorf("%w: map proof", ErrMalformed)
		}
		p.Siblings, b = append(p.Siblings, Hash(b)), b[HashSize:]
	}
	return p, b, nil
}

// Verify checks that the map with this root holds the entry.
func (p *MapProof) Verify(root, label Hash, size uint64, logRoot Hash) error {
	h := MapLeaf(label, size, logRoot)
	next := 0
	for d := 255; d >= 0; d-- {
		var sib Hash
		if p.Bitmap[d>>3]>>(7-d&7)&1 == 1 {
			if next == len(p.Siblings) || p.Siblings[next] == (Hash{}) {
				return fmt.Errorf("%w: map", ErrProof)
			}
			sib = p.Siblings[next]
			next++
		}
		if bit(&label, d) == 0 {
			h = mapNodeHash(h, sib)
		} else {
			h = mapNodeHash(sib, h)
		}
	}
	if next != len(p.Siblings) || h != root {
		return fmt.Errorf("%w: map", ErrProof)
	}
	return nil
}
