package tree_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/leadglass/leadglass/evidence/tree"
)

type mapEntry struct {
	size uint64
	root tree.Hash
}

// naive is the map's root straight from the definition in audit-log section 7.
func naive(entries map[tree.Hash]mapEntry, depth int) tree.Hash {
	if len(entries) == 0 {
		return tree.Hash{}
	}
	if depth == 256 {
		for label, e := range entries {
			b := append([]byte{2}, label[:]...)
			b = binary.BigEndian.AppendUint64(b, e.size)
			return sha256.Sum256(append(b, e.root[:]...))
		}
	}
	halves := [2]map[tree.Hash]mapEntry{{}, {}}
	for label, e := range entries {
		halves[label[depth/8]>>(7-depth%8)&1][label] = e
	}
	l, r := naive(halves[0], depth+1), naive(halves[1], depth+1)
	b := append([]byte{3}, l[:]...)
	return sha256.Sum256(append(b, r[:]...))
}

func TestTheMapIsWhatItsDefinitionSays(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var m tree.Map
	want := make(map[tree.Hash]mapEntry)
	random := func() (h tree.Hash) {
		for i := range h {
			h[i] = byte(rnd.Uint32())
		}
		return h
	}
	if m.Root() != (tree.Hash{}) {
		t.Error("the empty map has a root")
	}
	var labels []tree.Hash
	for step := range 120 {
		switch label := random(); {
		case step%5 == 4:
			label = labels[rnd.IntN(len(labels))]
			m.Delete(label)
			delete(want, label)
		case step%5 == 3 && len(labels) > 0:
			// Close to another label, so that the paths part late.
			label = labels[rnd.IntN(len(labels))]
			label[31] ^= 1 << rnd.IntN(8)
			fallthrough
		default:
			e := mapEntry{rnd.Uint64(), random()}
			m.Set(label, e.size, e.root)
			want[label] = e
			labels = append(labels, label)
		}
		if m.Len() != len(want) || m.Root() != naive(want, 0) {
			t.Fatalf("step %d: %d entries, want %d", step, m.Len(), len(want))
		}
	}
	root := m.Root()
	for label, e := range want {
		size, r, ok := m.Get(label)
		if !ok || size != e.size || r != e.root {
			t.Fatal("an entry is lost")
		}
		p, err := m.Proof(label)
		if err != nil {
			t.Fatal(err)
		}
		p, rest, err := tree.ParseMapProof(append(p.Append(nil), 'x'))
		if err != nil || string(rest) != "x" {
			t.Fatal(err)
		}
		if err := p.Verify(root, label, e.size, e.root); err != nil {
			t.Fatal(err)
		}
		if p.Verify(root, label, e.size+1, e.root) == nil || p.Verify(root, random(), e.size, e.root) == nil {
			t.Fatal("the proof proves something else")
		}
		for d := range 256 {
			p.Bitmap[d/8] ^= 1 << (d % 8)
			if p.Verify(root, label, e.size, e.root) == nil {
				t.Fatalf("the proof verifies with bit %d changed", d)
			}
			p.Bitmap[d/8] ^= 1 << (d % 8)
		}
	}
	if _, err := m.Proof(random()); err == nil {
		t.Error("a proof for a label that is not there")
	}
}

// Target: at most 10 ms for an epoch of 64 entries that all changed.
func BenchmarkMapEpoch(b *testing.B) {
	var m tree.Map
	var labels []tree.Hash
	for i := range 64 {
		labels = append(labels, tree.LeafHash(fmt.Append(nil, i)))
	}
	n := uint64(0)
	for b.Loop() {
		n++
		for _, l := range labels {
			m.Set(l, n, l)
		}
		m.Root()
	}
}
