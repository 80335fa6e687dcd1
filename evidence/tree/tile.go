package tree

import (
	"fmt"
	"strconv"
	"strings"
)

// TileWidth is the number of hashes of a full tile, and of entries of a full bundle.
const TileWidth = 256

// Entries is the level of a Tile that is an entry bundle.
const Entries = -1

// A Tile is one immutable piece of a log (C2SP tlog-tiles): W hashes of level
// L, from the N-th group of 256 on, or an entry bundle when L is Entries.
type Tile struct {
	L int
	N uint64
	W int // 1 to 256
}

// Path is the tile's name below its log's prefix: tile/0/x001/067 or, for a
// partial one, tile/0/x001/067.p/12.
func (t Tile) Path() string {
	p := "tile/entries/"
	if t.L != Entries {
		p = "tile/" + strconv.Itoa(t.L) + "/"
	}
	p += Group(t.N)
	if t.W != TileWidth {
		p += ".p/" + strconv.Itoa(t.W)
	}
	return p
}

// Group writes n in groups of three digits, all but the last with an x:
// 1234067 is x001/x234/067.
func Group(n uint64) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	return s
}

// ParseTile is the inverse of Path.
func ParseTile(path string) (Tile, error) {
	bad := fmt.Errorf("%w: tile path", ErrMalformed)
	rest, ok := strings.CutPrefix(path, "tile/")
	level, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return Tile{}, bad
	}
	t := Tile{L: Entries, W: TileWidth}
	if level != "entries" {
		l, err := strconv.Atoi(level)
		if err != nil || l < 0 || l > 63 {
			return Tile{}, bad
		}
		t.L = l
	}
	if name, w, ok := strings.Cut(rest, ".p/"); ok {
		n, err := strconv.Atoi(w)
		if err != nil || n < 1 || n >= TileWidth {
			return Tile{}, bad
		}
		t.W, rest = n, name
	}
	for g := range strings.SplitSeq(rest, "/") {
		d, err := strconv.ParseUint(strings.TrimPrefix(g, "x"), 10, 64)
		if err != nil || t.N > (1<<63)/1000 {
			return Tile{}, bad
		}
		t.N = t.N*1000 + d
	}
	// One form only: no signs, no missing or superfluous groups.
	if t.Path() != path {
		return Tile{}, bad
	}
	return t, nil
}

// Tiles calls yield for every tile and entry bundle of a tree of the given
// size: full ones, and at each level the partial one. Bundles come first, then
// the levels from 0.
func Tiles(size uint64) func(yield func(Tile) bool) {
	return func(yield func(Tile) bool) {
		for l := Entries; l < 8; l++ {
			n := size >> (8 * max(l, 0))
			if n == 0 {
				return
			}
			for i := range n / TileWidth {
				if !yield(Tile{l, i, TileWidth}) {
					return
				}
			}
			if w := n % TileWidth; w != 0 && !yield(Tile{l, n / TileWidth, int(w)}) {
				return
			}
		}
	}
}

// TileRoot is the root over the hashes of a tile: for a full tile the hash one
// tile level up.
func TileRoot(hashes []Hash) Hash {
	var r Range
	for _, h := range hashes {
		r.Append(h, nil)
	}
	return r.Root()
}

// FromTiles is the Subtrees of a log whose tiles read returns; the tile is as
// wide as a tree of the given size has it.
func FromTiles(size uint64, read func(Tile) ([]byte, error)) Subtrees {
	return func(level int, n uint64) (Hash, error) {
		l, in := level/8, level%8
		first := n << in // in hashes of tile level l
		have := size >> (8 * l)
		if first+1<<in > have {
			return Hash{}, fmt.Errorf("%w: subtree outside a tree of %d", ErrProof, size)
		}
		t := Tile{l, first / TileWidth, int(min(have-first/TileWidth*TileWidth, TileWidth))}
		data, err := read(t)
		if err != nil {
			return Hash{}, err
		}
		if len(data) != t.W*HashSize {
			return Hash{}, fmt.Errorf("%w: tile %s has %d bytes", ErrMalformed, t.Path(), len(data))
		}
		hashes := make([]Hash, 1<<in)
		for i := range hashes {
			hashes[i] = Hash(data[(first%TileWidth+uint64(i))*HashSize:])
		}
		return TileRoot(hashes), nil
	}
}

// AppendEntry adds an entry to a bundle: u16 length || bytes.
func AppendEntry(dst, entry []byte) []byte {
	dst = append(dst, byte(len(entry)>>8), byte(len(entry)))
	return append(dst, entry...)
}

// ParseEntries splits a bundle into its entries, which point into it.
func ParseEntries(bundle []byte) ([][]byte, error) {
	var list [][]byte
	for len(bundle) > 0 {
		if len(bundle) < 2 {
			return nil, fmt.Errorf("%w: entry bundle", ErrMalformed)
		}
		n := int(bundle[0])<<8 | int(bundle[1])
		if len(bundle) < 2+n || len(list) == TileWidth {
			return nil, fmt.Errorf("%w: entry bundle", ErrMalformed)
		}
		list = append(list, bundle[2:2+n])
		bundle = bundle[2+n:]
	}
	return list, nil
}
