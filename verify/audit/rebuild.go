package audit

import (
	"bytes"
	"strconv"

	"github.com/leadglass/leadglass/evidence/tree"
)

// A rebuild makes a log's tree again from its entry bundles and compares every
// tile on the way.
type rebuild struct {
	v      *verification
	prefix string // of the log's files
	size   uint64 // that the checkpoint says
	tree   tree.Range
	tiles  [9][]byte // the tile of each level that is growing
}

// bundles reads all entry bundles in order. It reports false when one is
// missing or unreadable, behind which nothing can be said.
func (r *rebuild) bundles(each func(t tree.Tile, entries [][]byte)) bool {
	for t := range tree.Tiles(r.size) {
		if t.L != tree.Entries {
			return true // bundles come first
		}
		name := r.prefix + t.Path()
		data := r.v.read(name)
		if data == nil {
			return false
		}
		entries, err := tree.ParseEntries(data)
		if err != nil || len(entries) != t.W {
			r.v.problem("%s: not a bundle of %d entries", name, t.W)
			return false
		}
		each(t, entries)
	}
	return true
}

// add takes the next leaf hash into the tree.
func (r *rebuild) add(leaf tree.Hash) {
	r.tree.Append(leaf, func(level int, h tree.Hash) {
		if level%8 != 0 || level/8 >= len(r.tiles) {
			return
		}
		l := level / 8
		r.tiles[l] = append(r.tiles[l], h[:]...)
		if len(r.tiles[l]) == tree.TileWidth*tree.HashSize {
			n := (r.tree.Size()+1)>>level/tree.TileWidth - 1 // the leaf is not counted yet
			r.compare(tree.Tile{L: l, N: n, W: tree.TileWidth})
		}
	})
}

// finish compares the partial tiles and the root.
func (r *rebuild) finish(root tree.Hash, checkpoint string) {
	for l, hashes := range r.tiles {
		if len(hashes) > 0 {
			r.compare(tree.Tile{L: l, N: r.size >> (8 * l) / tree.TileWidth, W: len(hashes) / tree.HashSize})
		}
	}
	if r.tree.Size() != r.size || r.tree.Root() != root {
		r.v.problem("%s: its root over %s leaves is not that of the entries", checkpoint, strconv.FormatUint(r.size, 10))
	}
}

func (r *rebuild) compare(t tree.Tile) {
	name := r.prefix + t.Path()
	if data := r.v.read(name); data != nil && !bytes.Equal(data, r.tiles[t.L]) {
		r.v.problem("%s: not the hashes of the entries", name)
	}
	r.tiles[t.L] = r.tiles[t.L][:0]
}
