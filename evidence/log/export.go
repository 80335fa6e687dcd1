package log

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

// The files of an export (docs/formats/audit.md):
//
//	checkpoint            signed checkpoint of the account's log
//	tile/...              its tiles and entry bundles, as a tlog-tiles log serves them
//	blobs/<N>[.p/<W>]     for each leaf of entry bundle N: u32 length || blob
//	epochs                map proofs of this account: of the last epoch and a sample of earlier ones
//	root/checkpoint       signed checkpoint of the root log
//	root/tile/...         its tiles and entry bundles
const (
	epochsMagic = "LGM1"
	sampled     = 16 // earlier epochs with a proof
	maxExports  = 32 // kept for reading; the oldest goes first
)

// A savedExport is an export that is being read: the sizes that bound it and
// the files that are not ranges of our own files.
type savedExport struct {
	Export
	account *account
	size    uint64 // of the account's log
	made    map[string][]byte
}

// Export makes a consistent export of an account's log: it first integrates
// everything appended before the call, makes an epoch of it and signs it. The
// files are then read with ReadExport; the 32 latest exports can be.
func (l *Log) Export(ctx context.Context, name string) (*Export, error) {
	a, err := l.account(name)
	if err != nil {
		return nil, err
	}
	e := &savedExport{account: a}
	var root *signedRoot
	var own tree.Checkpoint
	var changes int64
	err = l.run(ctx, func() error {
		if err := l.publish(); err != nil {
			return err
		}
		if a.published == 0 {
			return fmt.Errorf("%w: %s has no event yet", ErrNoAccount, a.Account)
		}
		root, changes = l.root.signed.Load(), l.root.changes
		own = tree.Checkpoint{Origin: record.Origin(l.cfg.Domain, a.label), Size: a.published, Root: a.publishedRoot}
		return nil
	})
	if err != nil {
		return nil, err
	}
	note, err := l.sign(ctx, own)
	if err != nil {
		return nil, err
	}
	proofs, err := l.mapProofs(a.label, root.size, changes)
	if err != nil {
		return nil, err
	}
	e.ID, e.Epoch, e.AccountSize, e.size = id.UUID(), root.size, own.Size, own.Size
	e.made = map[string][]byte{"checkpoint": note, "epochs": proofs, "root/checkpoint": root.note}
	if err := e.list(); err != nil {
		return nil, err
	}
	l.emu.Lock()
	defer l.emu.Unlock()
	if l.exports = append(l.exports, e); len(l.exports) > maxExports {
		l.exports = slices.Delete(l.exports, 0, 1)
	}
	return &e.Export, nil
}

// mapProofs makes the epochs file: proofs of the account's entry at the last
// epoch and at up to 16 epochs before it, evenly spread, from which a reader
// sees that the log only grew. Entries are
// u64 epoch || u64 size || root[32] || u16 length || proof.
func (l *Log) mapProofs(label tree.Hash, last uint64, changes int64) ([]byte, error) {
	var want []uint64
	for i := range uint64(sampled) {
		if n := 1 + (last-1)*i/sampled; len(want) == 0 || n > want[len(want)-1] {
			want = append(want, n)
		}
	}
	if want[len(want)-1] != last {
		want = append(want, last)
	}
	out := []byte(epochsMagic)
	var m tree.Map
	d := dummies{seed: l.root.dummies.seed}
	emit := func(epoch uint64) error {
		size, root, ok := m.Get(label)
		if !ok {
			return nil // the account is younger
		}
		d.set(&m, epoch)
		p, err := m.Proof(label)
		if err != nil {
			return err
		}
		b := p.Append(nil)
		out = binary.BigEndian.AppendUint64(out, epoch)
		out = binary.BigEndian.AppendUint64(out, size)
		out = append(out, root[:]...)
		out = binary.BigEndian.AppendUint16(out, uint16(len(b)))
		out = append(out, b...)
		return nil
	}
	var failed error
	err := eachChange(filepath.Join(l.root.dir, "map"), 0, changes, func(epoch uint64, label tree.Hash, size uint64, root tree.Hash) bool {
		for len(want) > 0 && want[0] < epoch && failed == nil {
			failed = emit(want[0])
			want = want[1:]
		}
		m.Set(label, size, root)
		return failed == nil
	})
	for ; err == nil && failed == nil && len(want) > 0; want = want[1:] {
		failed = emit(want[0])
	}
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("log: map proofs: %w", err)
	}
	return out, nil
}

// list names all files of the export with their sizes.
func (e *savedExport) list() error {
	for name, data := range e.made {
		e.Files = append(e.Files, File{name, int64(len(data))})
	}
	slices.SortFunc(e.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	for t := range tree.Tiles(e.size) {
		e.Files = append(e.Files, File{t.Path(), tileSize(t, record.LeafSize)})
		if t.L != tree.Entries {
			continue
		}
		places, err := e.places(t)
		if err != nil {
			return err
		}
		size := int64(0)
		for _, p := range places {
			size += 4 + int64(p.length)
		}
		e.Files = append(e.Files, File{blobName(t), size})
	}
	for t := range tree.Tiles(e.Epoch) {
		e.Files = append(e.Files, File{"root/" + t.Path(), tileSize(t, tree.RootLeafSize)})
	}
	return nil
}

func tileSize(t tree.Tile, entry int64) int64 {
	if t.L == tree.Entries {
		return int64(t.W) * (2 + entry)
	}
	return int64(t.W) * tree.HashSize
}

func blobName(t tree.Tile) string {
	return "blobs/" + strings.TrimPrefix(t.Path(), "tile/entries/")
}

// places are where the blobs of a bundle lie.
func (e *savedExport) places(t tree.Tile) ([]place, error) {
	leaves, err := e.account.readLeaves(t.N*tree.TileWidth, t.W)
	if err != nil {
		return nil, fmt.Errorf("log: export: %w", err)
	}
	list := make([]place, t.W)
	for i := range list {
		list[i] = placeOf(leaves[i*leafEntry:][:leafEntry])
	}
	return list, nil
}

// find returns an export by its id; one of another account does not exist.
func (l *Log) find(name, export string) (*savedExport, error) {
	l.emu.Lock()
	defer l.emu.Unlock()
	for _, e := range l.exports {
		if e.ID == export && e.account.Account == name {
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: export is unknown or too old", ErrNoFile)
}

// FindExport returns an export that was made earlier.
func (l *Log) FindExport(name, export string) (*Export, error) {
	e, err := l.find(name, export)
	if err != nil {
		return nil, err
	}
	return &e.Export, nil
}

// ReadExport reads a part of a file of an export into p, from offset off on.
// It fills p unless the file ends before; behind the end it returns 0.
func (l *Log) ReadExport(ctx context.Context, name, export, file string, off int64, p []byte) (int, error) {
	e, err := l.find(name, export)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fmt.Errorf("%w: offset", ErrNoFile)
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("log: export: %w", err)
	}
	if data, ok := e.made[file]; ok {
		return slice(data, off, p)
	}
	if rest, ok := strings.CutPrefix(file, "root/"); ok {
		t, err := e.tile(rest, e.Epoch)
		if err != nil {
			return 0, err
		}
		data, err := l.root.exportTile(t)
		if err != nil {
			return 0, fmt.Errorf("log: export: %w", err)
		}
		return slice(data, off, p)
	}
	if rest, ok := strings.CutPrefix(file, "blobs/"); ok {
		t, err := e.tile("tile/entries/"+rest, e.size)
		if err != nil {
			return 0, err
		}
		return l.readBlobs(e, t, off, p)
	}
	t, err := e.tile(file, e.size)
	if err != nil {
		return 0, err
	}
	data, err := e.account.exportTile(t)
	if err != nil {
		return 0, fmt.Errorf("log: export: %w", err)
	}
	return slice(data, off, p)
}

// tile reads the name of a tile that a tree of this size has.
func (e *savedExport) tile(name string, size uint64) (tree.Tile, error) {
	t, err := tree.ParseTile(name)
	if err != nil || t.L > 7 {
		return t, ErrNoFile
	}
	n := size >> (8 * max(t.L, 0))
	if full := n / tree.TileWidth; t.N > full || t.N < full && t.W != tree.TileWidth || t.N == full && uint64(t.W) != n%tree.TileWidth {
		return t, ErrNoFile
	}
	return t, nil
}

func slice(data []byte, off int64, p []byte) (int, error) {
	if off >= int64(len(data)) {
		return 0, nil
	}
	return copy(p, data[off:]), nil
}

func (a *account) exportTile(t tree.Tile) ([]byte, error) {
	if t.L != tree.Entries {
		return a.tileBytes(t)
	}
	leaves, err := a.readLeaves(t.N*tree.TileWidth, t.W)
	if err != nil {
		return nil, err
	}
	return bundle(leaves, leafEntry, record.LeafSize), nil
}

func (r *rootLog) exportTile(t tree.Tile) ([]byte, error) {
	if t.L != tree.Entries {
		return r.tileBytes(t)
	}
	leaves, err := readAt(filepath.Join(r.dir, "leaves"), int64(t.N)*tree.TileWidth*tree.RootLeafSize, t.W*tree.RootLeafSize)
	if err != nil {
		return nil, err
	}
	return bundle(leaves, tree.RootLeafSize, tree.RootLeafSize), nil
}

// bundle makes an entry bundle out of fixed-size entries of a file.
func bundle(data []byte, step, n int) []byte {
	out := make([]byte, 0, len(data)/step*(n+2))
	for ; len(data) >= step; data = data[step:] {
		out = tree.AppendEntry(out, data[:n])
	}
	return out
}

// readBlobs fills p from a blob bundle, reading only the blobs that p touches:
// a bundle of large events has many megabytes.
func (l *Log) readBlobs(e *savedExport, t tree.Tile, off int64, p []byte) (int, error) {
	places, err := e.places(t)
	if err != nil {
		return 0, err
	}
	r := blobs{log: l}
	defer r.close()
	at, n := int64(0), 0
	for _, pl := range places {
		end := at + 4 + int64(pl.length)
		if end <= off {
			at = end
			continue
		}
		if n == len(p) {
			return n, nil
		}
		blob, err := r.read(pl)
		if err != nil {
			return n, err
		}
		part := append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(blob)), pl.length), blob...)
		part = part[max(off-at, 0):]
		k := copy(p[n:], part)
		n += k
		if k < len(part) {
			return n, nil
		}
		at = end
	}
	return n, nil
}

// AccountKey is the account key file (record.AccountKey as JSON) with every
// data key up to now, opened through the KeyStore. It reads the whole log:
// give it to the account's principals only.
func (l *Log) AccountKey(ctx context.Context, name string) ([]byte, error) {
	a, err := l.account(name)
	if err != nil {
		return nil, err
	}
	c, err := l.Configuration(name)
	if err != nil {
		return nil, err
	}
	if err := l.run(ctx, func() error { return nil }); err != nil {
		return nil, err
	}
	k := record.AccountKey{Format: record.AccountKeyFormat, Account: a.Account, Domain: l.cfg.Domain, Salt: a.Salt, Logs: c.Verifiers}
	s := scan{log: l, account: a, ctx: ctx, blobs: blobs{log: l}}
	defer s.close()
	if s.keys, err = a.keyIndex(); err != nil {
		return nil, err
	}
	ids := make([][16]byte, 0, len(s.keys))
	for keyID := range s.keys {
		ids = append(ids, keyID)
	}
	slices.SortFunc(ids, func(x, y [16]byte) int { return int(int64(s.keys[x]) - int64(s.keys[y])) })
	defer func() {
		for _, d := range k.Keys {
			secret.Wipe(d.Key)
		}
	}()
	for _, keyID := range ids {
		dek, err := s.dek(keyID)
		if err != nil {
			return nil, err
		}
		k.Keys = append(k.Keys, record.DataKey{ID: hex.EncodeToString(keyID[:]), Key: dek})
	}
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("log: account key: %w", err)
	}
	return append(data, '\n'), nil
}
