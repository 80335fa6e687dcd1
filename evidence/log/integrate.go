package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

// The derived files of an account, all of fixed-size entries, so that a tile
// or an entry bundle is a range of one of them:
//
//	leaves   leaf[128] || place of the blob in the write-ahead log[16]
//	tile<L>  hashes of tile level L, from 1 on; those of level 0 are hashed from the leaves
//	keys     key id[16] || index of its key record u64
const (
	leafEntry = record.LeafSize + 16
	keyEntry  = 16 + 8
)

// maxWaiting is how many durable events may wait for integration before the
// sequencer has to wait too: about 7 MB.
const maxWaiting = 32 << 10

// Durable events wait a little for others, so that the derived files are
// written once for many batches: opening and writing them cost more than the
// batches themselves. Whoever reads asks the integrator first and does not wait.
const (
	gather      = 20 * time.Millisecond
	manyWaiting = 4 << 10
)

// An item is one durable event on its way into the derived files.
type item struct {
	account *account
	leaf    [record.LeafSize]byte
	hash    tree.Hash
	place   place
}

// A task for the integrator: a batch, or a function to run on its state.
type task struct {
	items []item
	batch uint64
	end   place // of the batch's record
	crc   uint32
	do    func()
}

// tasks is the queue between sequencer and integrator, bounded by the number
// of events, not of batches: batches are small when the disk is fast.
type tasks struct {
	mu     sync.Mutex
	cond   sync.Cond
	list   []task        // guarded by mu
	events int           // guarded by mu
	closed bool          // guarded by mu
	wake   chan struct{} // something waits
	urgent chan struct{} // and not to be let wait: somebody asked for it, or it is much
}

func newTasks() *tasks {
	t := &tasks{wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1)}
	t.cond.L = &t.mu
	return t
}

// push adds a task; it reports false when the queue is closed.
func (t *tasks) push(k task) bool {
	t.mu.Lock()
	for t.events >= maxWaiting && !t.closed {
		t.cond.Wait()
	}
	if t.closed {
		t.mu.Unlock()
		return false
	}
	first := len(t.list) == 0
	t.list, t.events = append(t.list, k), t.events+len(k.items)
	urgent := k.do != nil || t.events >= manyWaiting
	t.mu.Unlock()
	if first {
		signal(t.wake)
	}
	if urgent {
		signal(t.urgent)
	}
	return true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take returns everything that waits, and whether more can come.
func (t *tasks) take() (list []task, open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, t.list, t.events = t.list, nil, 0
	t.cond.Broadcast()
	return list, !t.closed
}

func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	t.cond.Broadcast()
	t.mu.Unlock()
	signal(t.wake)
	signal(t.urgent)
}

// integrate is the integrator's goroutine. It alone owns the trees and the
// root log; everything it writes can be derived again, except root leaves,
// which are durable before anything refers to them.
func (l *Log) integrate() {
	tick := l.cfg.Clock.After(l.cfg.EpochInterval)
	for {
		select {
		case <-l.work.wake:
			select {
			case <-l.work.urgent:
			case <-l.cfg.Clock.After(gather):
			}
		case <-l.work.urgent:
		case <-tick:
			tick = l.cfg.Clock.After(l.cfg.EpochInterval)
			l.check(l.periodic())
		}
		list, open := l.work.take()
		for i := range list {
			if list[i].do != nil {
				// What came before must be in the files.
				l.check(l.flushFiles())
				list[i].do()
				continue
			}
			l.addBatch(&list[i])
		}
		l.check(l.flushFiles())
		l.maybeSave()
		if !open {
			return
		}
	}
}

// check stops the log when derived files cannot be written: the promise of
// every receipt is that the event appears in a tree, so taking more events
// would be promising what cannot be kept.
func (l *Log) check(err error) {
	if err != nil && !errors.Is(err, ErrUnavailable) {
		l.fail(err)
	}
}

// addBatch takes the events of a batch into the trees.
func (l *Log) addBatch(t *task) {
	for i := range t.items {
		it := &t.items[i]
		a := it.account
		if len(a.leaves) == 0 {
			l.touched = append(l.touched, a)
		}
		a.add(it)
	}
	l.next, l.end, l.endCRC = t.batch+1, t.end, t.crc
}

// add takes one event into the account's tree and into the buffers of its files.
func (a *account) add(it *item) {
	index := a.tree.Size()
	a.leaves = append(a.leaves, it.leaf[:]...)
	a.leaves = binary.BigEndian.AppendUint32(a.leaves, it.place.segment)
	a.leaves = binary.BigEndian.AppendUint32(a.leaves, it.place.length)
	a.leaves = binary.BigEndian.AppendUint64(a.leaves, it.place.offset)
	if record.Kind(it.leaf[4]) == record.KeyRecords {
		a.keys = append(a.keys, it.leaf[96:112]...)
		a.keys = binary.BigEndian.AppendUint64(a.keys, index)
	}
	a.tree.Append(it.hash, func(level int, h tree.Hash) {
		// Every eighth level is a hash of a tile level; level 0 is in the leaves.
		if level > 0 && level%8 == 0 && level/8 < len(a.tiles) {
			a.tiles[level/8] = append(a.tiles[level/8], h)
		}
	})
	a.lastLeaf.Store(binary.BigEndian.Uint64(it.leaf[8:]))
}

// flushFiles writes the buffers of all touched accounts and then lets readers
// see the new sizes.
func (l *Log) flushFiles() error {
	for _, a := range l.touched {
		if err := a.flush(); err != nil {
			return fmt.Errorf("log: integrate: %w", err)
		}
	}
	l.touched = l.touched[:0]
	return nil
}

func (a *account) flush() error {
	size := a.tree.Size()
	first := size - uint64(len(a.leaves)/leafEntry)
	if err := writeAt(filepath.Join(a.dir, "leaves"), a.leaves, int64(first)*leafEntry); err != nil {
		return err
	}
	for level, hashes := range a.tiles {
		if len(hashes) == 0 {
			continue
		}
		at := size>>(8*level) - uint64(len(hashes))
		b := make([]byte, 0, len(hashes)*tree.HashSize)
		for i := range hashes {
			b = append(b, hashes[i][:]...)
		}
		if err := writeAt(a.tilePath(level), b, int64(at)*tree.HashSize); err != nil {
			return err
		}
		a.tiles[level] = hashes[:0]
	}
	if len(a.keys) > 0 {
		// Written at the place that the count of keys gives, so that a replay
		// after a crash overwrites and does not repeat.
		if err := writeAt(filepath.Join(a.dir, "keys"), a.keys, int64(a.keyCount)*keyEntry); err != nil {
			return err
		}
		a.keyCount += uint64(len(a.keys) / keyEntry)
	}
	if cap(a.leaves) > 256<<10 {
		a.leaves = nil
	}
	a.leaves, a.keys, a.dirty = a.leaves[:0], a.keys[:0], true
	a.integrated.Store(size)
	return nil
}

func (a *account) tilePath(level int) string {
	return filepath.Join(a.dir, "tile"+strconv.Itoa(level))
}

// tileBytes reads hashes of a tile level.
func (a *account) tileBytes(t tree.Tile) ([]byte, error) {
	first := t.N * tree.TileWidth
	if t.L > 0 {
		return readAt(a.tilePath(t.L), int64(first)*tree.HashSize, t.W*tree.HashSize)
	}
	leaves, err := a.readLeaves(first, t.W)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, t.W*tree.HashSize)
	for i := range t.W {
		h := tree.LeafHash(leaves[i*leafEntry:][:record.LeafSize])
		b = append(b, h[:]...)
	}
	return b, nil
}

// readLeaves reads n entries of the leaves file.
func (a *account) readLeaves(first uint64, n int) ([]byte, error) {
	return readAt(filepath.Join(a.dir, "leaves"), int64(first)*leafEntry, n*leafEntry)
}

func placeOf(entry []byte) place {
	b := entry[record.LeafSize:]
	return place{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:])}
}

// blobs reads blobs out of the write-ahead log, keeping the segments open.
type blobs struct {
	log   *Log
	files map[uint32]*os.File
}

func (b *blobs) read(p place) ([]byte, error) {
	if p.length == 0 {
		return nil, nil
	}
	f := b.files[p.segment]
	if f == nil {
		var err error
		if f, err = os.Open(b.log.wal.path(p.segment)); err != nil {
			return nil, fmt.Errorf("log: blob: %w", err)
		}
		if b.files == nil {
			b.files = make(map[uint32]*os.File)
		}
		b.files[p.segment] = f
	}
	blob := make([]byte, p.length)
	if _, err := f.ReadAt(blob, int64(p.offset)); err != nil {
		return nil, fmt.Errorf("log: blob: %w", err)
	}
	return blob, nil
}

func (b *blobs) close() {
	for _, f := range b.files {
		f.Close()
	}
}

// keyIndex reads where the account's key records are.
func (a *account) keyIndex() (map[[16]byte]uint64, error) {
	data, err := os.ReadFile(filepath.Join(a.dir, "keys"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log: keys: %w", err)
	}
	size := a.integrated.Load()
	m := make(map[[16]byte]uint64, len(data)/keyEntry)
	for ; len(data) >= keyEntry; data = data[keyEntry:] {
		if i := binary.BigEndian.Uint64(data[16:]); i < size {
			m[[16]byte(data)] = i
		}
	}
	return m, nil
}
