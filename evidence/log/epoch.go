package log

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

const (
	idleEpoch   = time.Minute     // an epoch at least this often (section 7)
	heartbeat   = time.Hour       // a leaf at least this often (section 5)
	changeEntry = 8 + 32 + 8 + 32 // epoch, label, size, root
	minEntries  = 64              // of the map, dummies included
)

// A rootLog is the root log: leaves (104 bytes each) and the changes of the
// map with which any epoch's map can be made again. Owned by the integrator,
// except signed.
type rootLog struct {
	dir      string
	tree     tree.Range
	previous tree.Hash // leaf hash of the last epoch
	time     uint64    // of the last epoch, ms
	changes  int64     // bytes of the map file
	entries  tree.Map
	dummies  dummies
	signed   atomic.Pointer[signedRoot]
}

// A signedRoot is a signed checkpoint.
type signedRoot struct {
	size uint64
	note []byte
}

// periodic is what the integrator does every epoch interval.
func (l *Log) periodic() error {
	now := l.cfg.Clock.Now()
	if now.Sub(l.beat) >= time.Minute {
		l.beat = now
		if err := l.heartbeats(now); err != nil {
			return err
		}
	}
	idle := l.root.tree.Size() > 0 && now.UnixMilli()-int64(l.root.time) >= idleEpoch.Milliseconds()
	return l.epochAndSign(idle)
}

// publish makes an epoch of what has grown and sees that the last epoch is signed.
func (l *Log) publish() error { return l.epochAndSign(false) }

func (l *Log) epochAndSign(idle bool) error {
	if err := l.epoch(idle); err != nil {
		return err
	}
	s := l.root.signed.Load()
	if n := l.root.tree.Size(); n == 0 || s != nil && s.size == n {
		return nil
	}
	origin := record.RootOrigin(l.cfg.Domain)
	c := tree.Checkpoint{Origin: origin, Size: l.root.tree.Size(), Root: l.root.tree.Root()}
	note, err := l.sign(l.ctx, c)
	if err != nil {
		return err
	}
	// The file is for whoever serves the public log; it is derived and needs no fsync.
	tmp := filepath.Join(l.root.dir, "checkpoint.new")
	if err := os.WriteFile(tmp, note, 0o644); err != nil {
		return fmt.Errorf("log: checkpoint: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(l.root.dir, "checkpoint")); err != nil {
		return fmt.Errorf("log: checkpoint: %w", err)
	}
	l.root.signed.Store(&signedRoot{c.Size, note})
	return nil
}

// sign makes a signed checkpoint: Ed25519 and ML-DSA-44 (section 6).
func (l *Log) sign(ctx context.Context, c tree.Checkpoint) ([]byte, error) {
	keys, err := l.verifiersOf(c.Origin)
	if err != nil {
		return nil, err
	}
	text := c.Text()
	note := append(append([]byte(nil), text...), '\n')
	now := uint64(l.cfg.Clock.Now().Unix())
	for _, v := range keys {
		msg, err := v.Message(text, now)
		if err != nil {
			return nil, err
		}
		alg := Ed25519
		if v.Type == tree.TypeMLDSA44 {
			alg = MLDSA44
		}
		sig, err := l.cfg.Signer.Sign(ctx, alg, msg)
		if err != nil {
			return nil, fmt.Errorf("%w: sign checkpoint: %w", ErrUnavailable, err)
		}
		note = append(note, v.Line(now, sig)...)
	}
	return note, nil
}

// epoch commits to the account logs as they are, when one has grown or always.
func (l *Log) epoch(always bool) error {
	var grown []*account
	view := *l.accounts.Load()
	for _, a := range view {
		if a.tree.Size() > a.published {
			grown = append(grown, a)
		}
	}
	if len(grown) == 0 && !always {
		return nil
	}
	r := &l.root
	number := r.tree.Size() + 1
	changes := make([]byte, 0, len(grown)*changeEntry)
	for _, a := range grown {
		a.published, a.publishedRoot = a.tree.Size(), a.tree.Root()
		r.entries.Set(a.label, a.published, a.publishedRoot)
		changes = binary.BigEndian.AppendUint64(changes, number)
		changes = append(changes, a.label[:]...)
		changes = binary.BigEndian.AppendUint64(changes, a.published)
		changes = append(changes, a.publishedRoot[:]...)
	}
	r.dummies.set(&r.entries, number)
	leaf := tree.RootLeaf{
		Epoch: number, Time: max(uint64(l.cfg.Clock.Now().UnixMilli()), r.time),
		Map: r.entries.Root(), Previous: r.previous, Measurement: l.cfg.Measurement,
	}
	// Both are durable before anything is signed: a checkpoint that was shown to
	// somebody must never be followed by another history.
	if err := writeDurable(filepath.Join(r.dir, "map"), changes, r.changes); err != nil {
		return fmt.Errorf("log: epoch: %w", err)
	}
	data := leaf.Append(nil)
	if err := writeDurable(filepath.Join(r.dir, "leaves"), data, int64(number-1)*tree.RootLeafSize); err != nil {
		return fmt.Errorf("log: epoch: %w", err)
	}
	r.changes += int64(len(changes))
	return r.add(leaf, data)
}

// add takes a durable root leaf into the tree and the tile files.
func (r *rootLog) add(leaf tree.RootLeaf, data []byte) error {
	r.previous, r.time = tree.LeafHash(data), leaf.Time
	var err error
	r.tree.Append(r.previous, func(level int, h tree.Hash) {
		if level > 0 && level%8 == 0 && err == nil {
			at := leaf.Epoch>>level - 1
			err = writeAt(filepath.Join(r.dir, "tile"+strconv.Itoa(level/8)), h[:], int64(at)*tree.HashSize)
		}
	})
	if err != nil {
		return fmt.Errorf("log: root tiles: %w", err)
	}
	return nil
}

func writeDurable(path string, data []byte, off int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, off)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && off == 0 {
		err = syncDir(filepath.Dir(path)) // the file may be new
	}
	return err
}

// tileBytes reads hashes of a tile level of the root log.
func (r *rootLog) tileBytes(t tree.Tile) ([]byte, error) {
	first := int64(t.N) * tree.TileWidth
	if t.L > 0 {
		return readAt(filepath.Join(r.dir, "tile"+strconv.Itoa(t.L)), first*tree.HashSize, t.W*tree.HashSize)
	}
	leaves, err := readAt(filepath.Join(r.dir, "leaves"), first*tree.RootLeafSize, t.W*tree.RootLeafSize)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, t.W*tree.HashSize)
	for i := range t.W {
		h := tree.LeafHash(leaves[i*tree.RootLeafSize:][:tree.RootLeafSize])
		b = append(b, h[:]...)
	}
	return b, nil
}

// recoverRoot reads the root log at start: from the state's epoch on the
// leaves and the map's changes, then it makes the map again and compares it
// with what the last leaf commits to.
func (l *Log) recoverRoot() error {
	r := &l.root
	if err := r.dummies.load(filepath.Join(r.dir, "seed")); err != nil {
		return err
	}
	last, err := r.readLeaves()
	if err != nil {
		return err
	}
	if err := l.readChanges(); err != nil {
		return err
	}
	for _, a := range l.slots {
		if a.published == 0 {
			continue
		}
		if a.published > a.tree.Size() {
			return fmt.Errorf("%w: epoch %d committed to %d events of account %s, the write-ahead log has %d",
				ErrCorrupt, r.tree.Size(), a.published, a.Account, a.tree.Size())
		}
		root, err := tree.RootOf(a.published, tree.FromTiles(a.tree.Size(), a.tileBytes))
		if err != nil {
			return fmt.Errorf("%w: tiles of account %s: %w", ErrCorrupt, a.Account, err)
		}
		if root != a.publishedRoot {
			return fmt.Errorf("%w: account %s is not the log that epoch %d committed to", ErrCorrupt, a.Account, r.tree.Size())
		}
		r.entries.Set(a.label, a.published, root)
	}
	if n := r.tree.Size(); n > 0 {
		r.dummies.set(&r.entries, n)
		if r.entries.Root() != last.Map {
			return fmt.Errorf("%w: the map of epoch %d is not what its leaf commits to", ErrCorrupt, n)
		}
	}
	l.savedEpoch = r.tree.Size()
	return nil
}

// readLeaves takes the leaves behind the state's epoch into the tree. A torn
// last one was never signed and is dropped.
func (r *rootLog) readLeaves() (last tree.RootLeaf, err error) {
	known := r.tree.Size()
	f, err := os.Open(filepath.Join(r.dir, "leaves"))
	if errors.Is(err, os.ErrNotExist) && known == 0 {
		return last, nil
	}
	if err != nil {
		return last, fmt.Errorf("%w: root log: %w", ErrCorrupt, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return last, fmt.Errorf("log: root log: %w", err)
	}
	n := uint64(fi.Size()) / tree.RootLeafSize
	if n < known {
		return last, fmt.Errorf("%w: the root log has %d epochs, %d were made", ErrCorrupt, n, known)
	}
	data := make([]byte, tree.RootLeafSize)
	for i := max(known, 1) - 1; i < n; i++ {
		if _, err := f.ReadAt(data, int64(i)*tree.RootLeafSize); err != nil {
			return last, fmt.Errorf("log: root log: %w", err)
		}
		leaf, err := tree.ParseRootLeaf(data)
		if err != nil && i == n-1 && i >= known {
			return last, nil
		}
		if err != nil || leaf.Epoch != i+1 || i >= known && leaf.Previous != r.previous {
			return last, fmt.Errorf("%w: root leaf of epoch %d", ErrCorrupt, i+1)
		}
		last = leaf
		if i < known {
			r.previous, r.time = tree.LeafHash(data), leaf.Time
			continue
		}
		if err := r.add(leaf, data); err != nil {
			return last, err
		}
	}
	return last, nil
}

// readChanges applies the map's changes behind the state's to the accounts,
// and cuts off those of an epoch that has no leaf.
func (l *Log) readChanges() error {
	r := &l.root
	path := filepath.Join(r.dir, "map")
	byLabel := make(map[tree.Hash]*account, len(l.slots))
	for _, a := range l.slots {
		byLabel[a.label] = a
	}
	end := r.changes
	err := eachChange(path, r.changes, -1, func(epoch uint64, label tree.Hash, size uint64, root tree.Hash) bool {
		a := byLabel[label]
		if epoch < 1 || epoch > r.tree.Size() || a == nil {
			return false
		}
		a.published, a.publishedRoot = size, root
		end += changeEntry
		return true
	})
	if errors.Is(err, os.ErrNotExist) && r.tree.Size() == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: root map: %w", ErrCorrupt, err)
	}
	r.changes = end
	if err := os.Truncate(path, end); err != nil {
		return fmt.Errorf("log: root map: %w", err)
	}
	return nil
}

// eachChange reads the map's changes from off to end (-1: all), until f says no.
func eachChange(path string, off, end int64, f func(epoch uint64, label tree.Hash, size uint64, root tree.Hash) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if end < 0 {
		end = 1 << 62
	}
	in := io.NewSectionReader(file, off, end-off)
	buf := make([]byte, 1024*changeEntry)
	for {
		n, err := io.ReadFull(in, buf)
		for b := buf[:n]; len(b) >= changeEntry; b = b[changeEntry:] {
			if !f(binary.BigEndian.Uint64(b), tree.Hash(b[8:]), binary.BigEndian.Uint64(b[40:]), tree.Hash(b[48:])) {
				return nil
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// dummies fill the map up to a power of two, so that neither the map's shape
// nor its proofs tell how many accounts there are (section 7). They are a
// function of a secret seed and the epoch: nothing of them needs to be kept to
// make an old epoch's map again.
type dummies struct {
	seed   []byte
	labels []tree.Hash // of the dummies that are in the map
}

func (d *dummies) load(path string) error {
	seed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		seed = make([]byte, 32)
		rand.Read(seed)
		err = writeFile(path, seed)
	}
	if err != nil {
		return fmt.Errorf("log: root seed: %w", err)
	}
	if len(seed) != 32 {
		return fmt.Errorf("%w: root seed", ErrCorrupt)
	}
	d.seed = seed
	return nil
}

// set brings the map's dummies to what they are at an epoch.
func (d *dummies) set(m *tree.Map, epoch uint64) {
	real := m.Len() - len(d.labels)
	want := minEntries
	if real > want {
		want = 1 << bits.Len(uint(real-1))
	}
	want -= real
	for len(d.labels) > want {
		m.Delete(d.labels[len(d.labels)-1])
		d.labels = d.labels[:len(d.labels)-1]
	}
	for i := len(d.labels); i < want; i++ {
		d.labels = append(d.labels, d.prf("label", uint64(i), 0))
	}
	for i, label := range d.labels {
		// The label's own bytes are as random as any: they set how often, and by
		// how much, this log seems to grow.
		period, step := 1+uint64(label[30]%32), 1+uint64(label[31]%8)
		size := 1 + (epoch+uint64(label[29]))/period*step
		if have, _, ok := m.Get(label); ok && have == size {
			continue
		}
		m.Set(label, size, d.prf("root", uint64(i), size))
	}
}

func (d *dummies) prf(what string, i, size uint64) (h tree.Hash) {
	m := hmac.New(sha256.New, d.seed)
	m.Write([]byte(what))
	m.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, i), size))
	m.Sum(h[:0])
	return h
}

// heartbeats puts a leaf into every log that was silent for an hour, so that
// silence can be told from suppression.
func (l *Log) heartbeats(now time.Time) error {
	ms := uint64(now.UnixMilli())
	for _, a := range *l.accounts.Load() {
		silent := max(a.lastLeaf.Load(), a.heartbeat)
		if a.tree.Size() == 0 || ms < silent+uint64(heartbeat.Milliseconds()) {
			continue
		}
		event, err := record.ParseUUID(id.UUID())
		if err != nil {
			return err
		}
		a.heartbeat = ms
		p := newPending()
		p.account = a
		p.fill(record.Heartbeat, 0, event, now, [16]byte{})
		if err := l.enqueue(p); err != nil {
			return nil // closing
		}
	}
	return nil
}
