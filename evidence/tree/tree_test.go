package tree_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/leadglass/leadglass/evidence/tree"
)

// vectorDirs are the project's copy of the vectors and, when others brought
// some, theirs.
func vectorDirs(t *testing.T) []string {
	dirs := []string{filepath.Join("..", "..", "testdata", "vectors", "tlog")}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		if _, err := os.Stat(filepath.Join(extra, "tlog", "vectors.json")); err == nil {
			dirs = append(dirs, filepath.Join(extra, "tlog"))
		}
	}
	return dirs
}

func entry(i int) []byte { return fmt.Appendf(nil, "leadglass vector entry %d", i) }

// grown is a tree of n entries with all its subtrees, kept the simplest way.
func grown(n int, entry func(int) []byte) (tree.Range, tree.Subtrees) {
	var r tree.Range
	levels := make(map[int][]tree.Hash)
	for i := range n {
		r.Append(tree.LeafHash(entry(i)), func(l int, h tree.Hash) { levels[l] = append(levels[l], h) })
	}
	return r, func(l int, i uint64) (tree.Hash, error) {
		if i >= uint64(len(levels[l])) {
			return tree.Hash{}, fmt.Errorf("no subtree %d of level %d", i, l)
		}
		return levels[l][i], nil
	}
}

func parse(t *testing.T, list []string) []tree.Hash {
	t.Helper()
	var hs []tree.Hash
	for _, s := range list {
		h, err := tree.ParseHash(s)
		if err != nil {
			t.Fatal(err)
		}
		hs = append(hs, h)
	}
	return hs
}

func equal(a, b []tree.Hash) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

type vectors struct {
	LeafHashes []string          `json:"leaf_hashes_first8"`
	Roots      map[string]string `json:"roots"`
	Inclusion  []struct {
		Index, Size uint64
		Proof       []string
	}
	Consistency []struct {
		Old, New uint64
		Proof    []string
	}
	Log, Witness struct{ Name, VKey string }
	Files        map[string]string
}

func TestVectors(t *testing.T) {
	for _, dir := range vectorDirs(t) {
		data, err := os.ReadFile(filepath.Join(dir, "vectors.json"))
		if err != nil {
			t.Fatal(err)
		}
		var v vectors
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		for i, want := range v.LeafHashes {
			if got := tree.LeafHash(entry(i)).String(); got != want {
				t.Errorf("leaf %d is %s, want %s", i, got, want)
			}
		}
		whole, sub := grown(300, entry)
		rootOf := func(n uint64) tree.Hash {
			h, err := tree.RootOf(n, sub)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		for size, want := range v.Roots {
			var n uint64
			fmt.Sscan(size, &n)
			r, _ := grown(int(n), entry)
			if r.Root().String() != want || rootOf(n).String() != want {
				t.Errorf("root of %d is %s and %s, want %s", n, r.Root(), rootOf(n), want)
			}
		}
		for _, c := range v.Inclusion {
			want := parse(t, c.Proof)
			got, err := tree.Inclusion(c.Index, c.Size, sub)
			if err != nil || !equal(got, want) {
				t.Errorf("inclusion %d in %d: %v, %v", c.Index, c.Size, got, err)
			}
			if err := tree.VerifyInclusion(rootOf(c.Size), c.Size, c.Index, tree.LeafHash(entry(int(c.Index))), want); err != nil {
				t.Errorf("inclusion %d in %d: %v", c.Index, c.Size, err)
			}
		}
		for _, c := range v.Consistency {
			want := parse(t, c.Proof)
			got, err := tree.Consistency(c.Old, c.New, sub)
			if err != nil || !equal(got, want) {
				t.Errorf("consistency %d to %d: %v, %v", c.Old, c.New, got, err)
			}
			if err := tree.VerifyConsistency(c.Old, c.New, rootOf(c.Old), rootOf(c.New), want); err != nil {
				t.Errorf("consistency %d to %d: %v", c.Old, c.New, err)
			}
		}
		files := tiles(300, sub, entry)
		if len(files) != len(v.Files) {
			t.Errorf("%d tiles and bundles, want %d", len(files), len(v.Files))
		}
		for name, want := range v.Files {
			if sum := sha256.Sum256(files[name]); hex.EncodeToString(sum[:]) != want {
				t.Errorf("%s has another content", name)
			}
		}
		var known []*tree.Verifier
		for _, k := range []string{v.Log.VKey, v.Witness.VKey} {
			p, err := tree.ParseVerifier(k)
			if err != nil {
				t.Fatal(err)
			}
			known = append(known, p)
		}
		signed, err := os.ReadFile(filepath.Join(dir, "checkpoint.txt"))
		if err != nil {
			t.Fatal(err)
		}
		c, n, err := tree.OpenCheckpoint(signed, v.Log.Name, known...)
		if err != nil || c.Size != 300 || c.Root != whole.Root() || len(n.Verified) != 2 || n.Verified[1].Time != 1767225600 {
			t.Errorf("checkpoint: %+v, %+v, %v", c, n, err)
		}
		proof, err := os.ReadFile(filepath.Join(dir, "entry-123.tlog-proof"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := tree.ParseProofFile(proof)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Append(nil), proof) {
			t.Error("the proof file is written another way")
		}
		if _, _, err := p.Verify(tree.LeafHash(entry(123)), v.Log.Name, known...); err != nil {
			t.Error(err)
		}
		if _, _, err := p.Verify(tree.LeafHash(entry(124)), v.Log.Name, known...); err == nil {
			t.Error("the proof proves another entry")
		}
	}
}

// tiles are all files of a log of n entries.
func tiles(n uint64, sub tree.Subtrees, entry func(int) []byte) map[string][]byte {
	files := make(map[string][]byte)
	for t := range tree.Tiles(n) {
		var b []byte
		for i := range t.W {
			at := t.N*tree.TileWidth + uint64(i)
			if t.L == tree.Entries {
				b = tree.AppendEntry(b, entry(int(at)))
				continue
			}
			h, err := sub(8*t.L, at)
			if err != nil {
				panic(err)
			}
			b = append(b, h[:]...)
		}
		files[t.Path()] = b
	}
	return files
}

// The reference implementation is golang.org/x/mod/sumdb/tlog.
func TestProofsAgreeWithTheReference(t *testing.T) {
	const most = 700
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range int64(most) {
		hs, err := tlog.StoredHashes(i, entry(int(i)), reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hs...)
	}
	_, sub := grown(most, entry)
	files := tiles(most, sub, entry)
	fromTiles := tree.FromTiles(most, func(t tree.Tile) ([]byte, error) { return files[t.Path()], nil })
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		size := 1 + rnd.Int64N(most)
		index, old := rnd.Int64N(size), 1+rnd.Int64N(size)
		root, err := tlog.TreeHash(size, reader)
		if err != nil {
			t.Fatal(err)
		}
		oldRoot, err := tlog.TreeHash(old, reader)
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]tree.Subtrees{"subtrees": sub, "tiles": fromTiles} {
			if got, err := tree.RootOf(uint64(size), s); err != nil || got != tree.Hash(root) {
				t.Fatalf("%s: root of %d: %v", name, size, err)
			}
			got, err := tree.Inclusion(uint64(index), uint64(size), s)
			if err != nil {
				t.Fatal(err)
			}
			want, err := tlog.ProveRecord(size, index, reader)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(got, convert(want)) {
				t.Fatalf("%s: inclusion of %d in %d", name, index, size)
			}
			if err := tree.VerifyInclusion(tree.Hash(root), uint64(size), uint64(index), tree.LeafHash(entry(int(index))), got); err != nil {
				t.Fatal(err)
			}
			got, err = tree.Consistency(uint64(old), uint64(size), s)
			if err != nil {
				t.Fatal(err)
			}
			wantTree, err := tlog.ProveTree(size, old, reader)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(got, convert(wantTree)) {
				t.Fatalf("%s: consistency of %d and %d", name, old, size)
			}
			if err := tree.VerifyConsistency(uint64(old), uint64(size), tree.Hash(oldRoot), tree.Hash(root), got); err != nil {
				t.Fatal(err)
			}
			// Whatever is changed in a proof, both refuse it.
			if len(got) > 0 {
				got[rnd.IntN(len(got))][rnd.IntN(32)] ^= 1
				if tree.VerifyConsistency(uint64(old), uint64(size), tree.Hash(oldRoot), tree.Hash(root), got) == nil {
					t.Fatal("a changed proof verifies")
				}
				if tree.VerifyConsistency(uint64(old), uint64(size), tree.Hash(oldRoot), tree.Hash(root), got[1:]) == nil {
					t.Fatal("a shortened proof verifies")
				}
			}
		}
	}
}

func convert(list []tlog.Hash) []tree.Hash {
	var out []tree.Hash
	for _, h := range list {
		out = append(out, tree.Hash(h))
	}
	return out
}

func TestTilePathsAgreeWithTheReference(t *testing.T) {
	for _, size := range []int64{1, 255, 256, 257, 70000} {
		got := make(map[string]bool)
		for tl := range tree.Tiles(uint64(size)) {
			if tl.L != tree.Entries {
				got[tl.Path()] = true
			}
			back, err := tree.ParseTile(tl.Path())
			if err != nil || back != tl {
				t.Errorf("%s is read as %+v, %v", tl.Path(), back, err)
			}
		}
		want := make(map[string]bool)
		for _, tl := range tlog.NewTiles(8, 0, size) {
			// The reference has the height in its path: tile/8/0/...
			want["tile/"+tl.Path()[len("tile/8/"):]] = true
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("size %d: %v, want %v", size, got, want)
		}
	}
	if got := tree.Group(1234067); got != "x001/x234/067" {
		t.Error(got)
	}
	for _, bad := range []string{
		"", "tile", "tile/0", "tile/0/1", "tile/00/001", "tile/64/001", "tile/-1/001", "tile/0/x001", "tile/0/x000/001", "tile/0/001.p/0", "tile/0/001.p/256",
		"tile/0/001.p/01", "tile/0/001/", "tile/0/+01", "tile/entries/1", "tile/0/x001/067/x001", "tile/0/x99999999999999999999/001",
	} {
		if tl, err := tree.ParseTile(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, tl)
		}
	}
}

func TestBatchPathsLeadToTheRoot(t *testing.T) {
	var b tree.Batch
	for n := range 70 {
		var entries []tree.Hash
		for i := range n {
			entries = append(entries, tree.LeafHash(entry(i)))
		}
		b.Reset(entries)
		r, _ := grown(n, entry)
		if b.Root() != r.Root() {
			t.Fatalf("the root of %d entries differs", n)
		}
		for i := range n {
			if err := tree.VerifyInclusion(b.Root(), uint64(n), uint64(i), entries[i], b.Path(i)); err != nil {
				t.Errorf("entry %d of %d: %v", i, n, err)
			}
		}
	}
}

func TestNotesAreReadByTheReference(t *testing.T) {
	c := tree.Checkpoint{Origin: "audit.example/root", Size: 7, Root: tree.LeafHash(nil)}
	ed, _, known := signers(t, c.Origin)
	signed := sign(t, c, 1700000000, ed)
	ref, err := note.NewVerifier(known[0].String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(ref))
	if err != nil || n.Text != string(c.Text()) {
		t.Errorf("%v, %v", n, err)
	}
}
