package log

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"

	"github.com/leadglass/leadglass/evidence/tree"
)

// The state file says how far the derived files go, so that a start replays
// the tail of the write-ahead log only. It is written when the derived files
// that it speaks of are durable. It may be deleted: everything is then derived
// again from the whole write-ahead log.
const (
	stateMagic = "LGI1"
	saveBytes  = 32 << 20 // of new records after which the state is saved
	saveEpochs = 60       // or of new epochs
)

// encodeState writes the integrator's state as it is now.
func (l *Log) encodeState() []byte {
	b := append([]byte(nil), stateMagic...)
	b = binary.BigEndian.AppendUint64(b, l.next)
	b = binary.BigEndian.AppendUint32(b, l.end.segment)
	b = binary.BigEndian.AppendUint32(b, l.end.length)
	b = binary.BigEndian.AppendUint64(b, l.end.offset)
	b = binary.BigEndian.AppendUint32(b, l.endCRC)
	b = binary.BigEndian.AppendUint64(b, uint64(l.root.changes))
	b = appendRange(b, &l.root.tree)
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.saved)))
	for _, a := range l.saved {
		b = binary.BigEndian.AppendUint16(b, a.Slot)
		b = binary.BigEndian.AppendUint64(b, a.lastLeaf.Load())
		b = binary.BigEndian.AppendUint64(b, a.keyCount)
		b = binary.BigEndian.AppendUint64(b, a.published)
		b = append(b, a.publishedRoot[:]...)
		b = appendRange(b, &a.tree)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func appendRange(b []byte, r *tree.Range) []byte {
	b = binary.BigEndian.AppendUint64(b, r.Size())
	for _, h := range r.Roots() {
		b = append(b, h[:]...)
	}
	return b
}

// A stateReader reads numbers and remembers that it came to the end too early.
type stateReader struct {
	b   []byte
	bad bool
}

func (r *stateReader) take(n int) []byte {
	if n > len(r.b) {
		r.bad = true
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *stateReader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *stateReader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

func (r *stateReader) treeRange() tree.Range {
	size := r.u64()
	roots := make([]tree.Hash, 0, 64)
	for range bits.OnesCount64(size) {
		roots = append(roots, tree.Hash(r.take(tree.HashSize)))
	}
	t, err := tree.NewRange(size, roots)
	if err != nil {
		r.bad = true
	}
	return t
}

// loadState restores the state. It reports false when there is none that fits
// the files, in which case everything is derived again.
func (l *Log) loadState() (bool, error) {
	data, err := os.ReadFile(filepath.Join(l.cfg.Dir, "state"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("log: state: %w", err)
	}
	n := len(data) - sha256.Size
	if n < len(stateMagic) || string(data[:4]) != stateMagic {
		return false, nil
	}
	if sum := sha256.Sum256(data[:n]); !bytes.Equal(sum[:], data[n:]) {
		return false, nil
	}
	r := &stateReader{b: data[4:n]}
	next := r.u64()
	end := place{segment: r.u32(), length: r.u32(), offset: r.u64()}
	crc := r.u32()
	changes := r.u64()
	root := r.treeRange()
	type restored struct {
		last, keys, published uint64
		publishedRoot         tree.Hash
		tree                  tree.Range
	}
	accounts := make(map[*account]restored)
	for range r.u32() {
		slot := binary.BigEndian.Uint16(r.take(2))
		s := restored{r.u64(), r.u64(), r.u64(), tree.Hash(r.take(tree.HashSize)), r.treeRange()}
		if r.bad || int(slot) >= len(l.slots) {
			return false, fmt.Errorf("%w: the state names an account that is gone", ErrCorrupt)
		}
		if !l.slots[slot].holds(s.tree.Size(), s.keys) {
			return false, nil
		}
		accounts[l.slots[slot]] = s
	}
	if r.bad || len(r.b) != 0 {
		return false, nil
	}
	if err := l.checkEnd(end, next, crc); err != nil {
		return false, err
	}
	l.next, l.end, l.endCRC = next, end, crc
	l.root.changes, l.root.tree = int64(changes), root
	for a, s := range accounts {
		a.tree, a.keyCount, a.published, a.publishedRoot = s.tree, s.keys, s.published, s.publishedRoot
		a.lastLeaf.Store(s.last)
		a.integrated.Store(s.tree.Size())
	}
	return true, nil
}

// holds says whether the derived files are as long as the state says.
func (a *account) holds(size, keys uint64) bool {
	long := func(path string, n uint64) bool {
		if n == 0 {
			return true
		}
		fi, err := os.Stat(path)
		return err == nil && uint64(fi.Size()) >= n
	}
	ok := long(filepath.Join(a.dir, "leaves"), size*leafEntry) && long(filepath.Join(a.dir, "keys"), keys*keyEntry)
	for level := 1; ok && size>>(8*level) > 0; level++ {
		ok = long(a.tilePath(level), size>>(8*level)*tree.HashSize)
	}
	return ok
}

// checkEnd finds the last record that the state knows again in the write-ahead
// log: one that was rolled back or cut must not be continued.
func (l *Log) checkEnd(end place, next uint64, crc uint32) error {
	if next == 1 {
		return nil
	}
	f, err := os.Open(l.wal.path(end.segment))
	if err != nil {
		return fmt.Errorf("%w: the write-ahead log lost segment %08x, which was integrated", ErrCorrupt, end.segment)
	}
	defer f.Close()
	var buf []byte
	r, err := readRecord(f, int64(end.offset), int64(end.offset)+int64(end.length), &buf)
	if err != nil || r == nil || r.batch != next-1 || r.crc != crc {
		return fmt.Errorf("%w: the write-ahead log lost batch %d, which was integrated", ErrCorrupt, next-1)
	}
	return nil
}

// maybeSave starts saving the state when enough has happened since the last
// time. The files are made durable by another goroutine, of which only one
// runs at a time, because an integrator that waits for the disk would soon
// make the callers wait.
func (l *Log) maybeSave() {
	grown := l.end.segment != l.savedEnd.segment || l.end.offset-l.savedEnd.offset > saveBytes
	if !grown && l.root.tree.Size() < l.savedEpoch+saveEpochs || l.Err() != nil {
		return
	}
	select {
	case l.saving <- struct{}{}:
	default:
		return
	}
	paths, data := l.snapshot()
	l.savers.Go(func() {
		defer func() { <-l.saving }()
		l.check(l.save(paths, data))
	})
}

// snapshot takes the state and the names of the files that it depends on.
func (l *Log) snapshot() (paths []string, data []byte) {
	l.saved = l.saved[:0]
	view := *l.accounts.Load()
	for _, a := range view {
		if a.tree.Size() == 0 {
			continue
		}
		l.saved = append(l.saved, a)
		if !a.dirty {
			continue
		}
		a.dirty = false
		paths = append(paths, filepath.Join(a.dir, "leaves"), filepath.Join(a.dir, "keys"))
		for level := 1; a.tree.Size()>>(8*level) > 0; level++ {
			paths = append(paths, a.tilePath(level))
		}
	}
	for level := 1; l.root.tree.Size()>>(8*level) > 0; level++ {
		paths = append(paths, filepath.Join(l.root.dir, "tile"+strconv.Itoa(level)))
	}
	l.savedEnd, l.savedEpoch = l.end, l.root.tree.Size()
	return paths, l.encodeState()
}

func (l *Log) save(paths []string, data []byte) error {
	for _, p := range paths {
		if err := syncPath(p); err != nil {
			return fmt.Errorf("log: state: %w", err)
		}
	}
	if err := writeFile(filepath.Join(l.cfg.Dir, "state"), data); err != nil {
		return fmt.Errorf("log: state: %w", err)
	}
	return nil
}
