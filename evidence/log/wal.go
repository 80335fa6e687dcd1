package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

const (
	walMagic    = "LGW1"
	walHead     = 4 + 4 + 8 + 4    // magic, length, batch number, count
	walTail     = 8 + 32 + 64 + 4  // time, root, signature, CRC
	walEntry    = 2 + 128 + 4      // slot, leaf, blob length
	maxBatch    = 4 << 20          // bytes; one event more may lie on top
	maxRecord   = maxBatch + 2<<20 // what a reader accepts
	segmentSize = int64(256 << 20) // default
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A place is where something lies in the write-ahead log.
type place struct {
	segment uint32
	length  uint32
	offset  uint64
}

// A walRecord is one batch as it is written (audit-log section 8).
type walRecord struct {
	batch, time uint64
	root        tree.Hash
	sig         [64]byte
	entries     []walItem
	length      int
	crc         uint32
}

type walItem struct {
	slot   uint16
	leaf   []byte
	blob   []byte
	offset int // of the blob in the record
}

var errNoRecord = errors.New("log: no record")

// parseWAL reads the record at the front of b. Its slices point into b.
func parseWAL(b []byte) (*walRecord, error) {
	if len(b) < walHead+walTail || string(b[:4]) != walMagic {
		return nil, errNoRecord
	}
	n := int(binary.BigEndian.Uint32(b[4:]))
	if n < walHead+walTail || n > len(b) || n > maxRecord {
		return nil, errNoRecord
	}
	r := &walRecord{batch: binary.BigEndian.Uint64(b[8:]), length: n, crc: binary.BigEndian.Uint32(b[n-4:])}
	if crc32.Checksum(b[:n-4], castagnoli) != r.crc {
		return nil, errNoRecord
	}
	count := int(binary.BigEndian.Uint32(b[16:]))
	if count > tree.MaxBatch || count < 1 {
		return nil, errNoRecord
	}
	at, end := walHead, n-walTail
	r.entries = make([]walItem, 0, count)
	for range count {
		if end-at < walEntry {
			return nil, errNoRecord
		}
		it := walItem{slot: binary.BigEndian.Uint16(b[at:]), leaf: b[at+2 : at+2+record.LeafSize], offset: at + walEntry}
		size := int(binary.BigEndian.Uint32(b[at+2+record.LeafSize:]))
		if size > end-it.offset {
			return nil, errNoRecord
		}
		it.blob = b[it.offset : it.offset+size]
		at = it.offset + size
		r.entries = append(r.entries, it)
	}
	if at != end {
		return nil, errNoRecord
	}
	r.time = binary.BigEndian.Uint64(b[at:])
	r.root = tree.Hash(b[at+8:])
	copy(r.sig[:], b[at+40:])
	return r, nil
}

// A wal is the sequence of segment files.
type wal struct {
	dir     string
	size    int64 // of a segment
	open    func(path string, size int64) (segmentFile, error)
	segment uint32 // owned by the sequencer, as are the following
	file    segmentFile
	offset  int64
	length  int64 // of the open segment
}

func (w *wal) path(segment uint32) string {
	return filepath.Join(w.dir, fmt.Sprintf("%08x.wal", segment))
}

// errNotWritten wraps an error before which nothing was written: the next
// append may succeed.
var errNotWritten = errors.New("log: nothing written")

// append writes one record and makes it durable.
func (w *wal) append(rec []byte) (place, error) {
	if w.offset+int64(len(rec)) > w.length {
		size := max(w.size, int64(len(rec)))
		f, err := w.open(w.path(w.segment+1), size)
		if err != nil {
			return place{}, fmt.Errorf("%w: new segment: %w", errNotWritten, err)
		}
		if err := w.file.Close(); err != nil {
			f.Close()
			return place{}, fmt.Errorf("log: close segment: %w", err)
		}
		w.file, w.segment, w.offset, w.length = f, w.segment+1, 0, size
	}
	at := place{w.segment, uint32(len(rec)), uint64(w.offset)}
	if _, err := w.file.WriteAt(rec, w.offset); err != nil {
		return place{}, fmt.Errorf("log: write: %w", err)
	}
	if err := w.file.Datasync(); err != nil {
		return place{}, fmt.Errorf("log: fdatasync: %w", err)
	}
	w.offset += int64(len(rec))
	return at, nil
}

// replay reads records from the position on, calls each for every one, and
// leaves the log open for appending behind the last. next is the batch number
// that the first record must have. A torn tail is overwritten with zeroes; a
// damaged record with a valid one behind it is ErrCorrupt.
func (w *wal) replay(segment uint32, offset int64, next uint64, each func(*walRecord, place) error) error {
	f, err := w.open(w.path(segment), w.size)
	if err != nil {
		return fmt.Errorf("log: open segment: %w", err)
	}
	w.segment, w.file, w.offset = segment, f, offset
	var buf []byte
	for {
		if w.length, err = lengthOf(w.path(w.segment)); err != nil {
			return err
		}
		for {
			r, err := readRecord(w.file, w.offset, w.length, &buf)
			if err != nil {
				return fmt.Errorf("log: read segment: %w", err)
			}
			if r == nil {
				break
			}
			if r.batch != next {
				return fmt.Errorf("%w: segment %08x at %d holds batch %d, expected %d", ErrCorrupt, w.segment, w.offset, r.batch, next)
			}
			if err := each(r, place{w.segment, uint32(r.length), uint64(w.offset)}); err != nil {
				return err
			}
			next++
			w.offset += int64(r.length)
		}
		// What follows the last good record of this segment must be zero, or the
		// torn rest of one record that was never acknowledged.
		torn, err := w.checkTail(w.path(w.segment), w.offset)
		if err != nil {
			return err
		}
		more, err := w.startsWithRecord(w.segment+1, &buf)
		if err != nil {
			return err
		}
		if more && torn {
			return fmt.Errorf("%w: segment %08x is damaged at %d, and segment %08x follows", ErrCorrupt, w.segment, w.offset, w.segment+1)
		}
		if !more {
			if err := w.clean(torn); err != nil {
				return err
			}
			// What was replayed may still be in memory only; it is built upon from now on.
			if err := w.file.Datasync(); err != nil {
				return fmt.Errorf("log: fdatasync: %w", err)
			}
			return nil
		}
		w.file.Close()
		if w.file, err = w.open(w.path(w.segment+1), 0); err != nil {
			return fmt.Errorf("log: open segment: %w", err)
		}
		w.segment, w.offset = w.segment+1, 0
	}
}

func lengthOf(path string) (int64, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("log: segment: %w", err)
	}
	return fi.Size(), nil
}

// readRecord returns the record at off, or nil when there is no whole one.
func readRecord(f io.ReaderAt, off, length int64, buf *[]byte) (*walRecord, error) {
	if length-off < walHead+walTail {
		return nil, nil
	}
	var head [8]byte
	if _, err := f.ReadAt(head[:], off); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[4:]))
	if string(head[:4]) != walMagic || n < walHead+walTail || n > maxRecord || n > length-off {
		return nil, nil
	}
	if int64(cap(*buf)) < n {
		*buf = make([]byte, n)
	}
	b := (*buf)[:n]
	if _, err := f.ReadAt(b, off); err != nil {
		return nil, err
	}
	r, err := parseWAL(b)
	if err != nil {
		return nil, nil // what does not parse is no record; the caller looks behind it
	}
	return r, nil
}

// startsWithRecord says whether a segment exists and begins with a record.
func (w *wal) startsWithRecord(segment uint32, buf *[]byte) (bool, error) {
	f, err := os.Open(w.path(segment))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("log: segment: %w", err)
	}
	defer f.Close()
	length, err := lengthOf(w.path(segment))
	if err != nil {
		return false, err
	}
	r, err := readRecord(f, 0, length, buf)
	return r != nil, err
}

// checkTail looks at everything behind off. It reports whether anything but
// zeroes is there, and ErrCorrupt when that contains a valid record. With -1
// the whole segment should hold none.
func (w *wal) checkTail(path string, off int64) (torn bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("log: segment: %w", err)
	}
	defer f.Close()
	err = eachData(f, max(off, 0), func(at int64, b []byte) error {
		if allZero(b) {
			return nil
		}
		torn = true
		for i := 0; ; i++ {
			j := bytes.Index(b[i:], []byte(walMagic))
			if j < 0 {
				return nil
			}
			i += j
			if at+int64(i) == off {
				continue // the damaged record itself
			}
			var buf []byte
			length, err := lengthOf(path)
			if err != nil {
				return err
			}
			r, err := readRecord(f, at+int64(i), length, &buf)
			if err != nil {
				return err
			}
			if r != nil {
				return fmt.Errorf("%w: %s is damaged at %d, and batch %d follows at %d", ErrCorrupt, filepath.Base(path), off, r.batch, at+int64(i))
			}
		}
	})
	return torn, err
}

// eachData calls f for the parts of a file behind off that the file system
// has data for: preallocated space that was never written is skipped, which
// makes a start with an almost empty segment fast. Parts overlap by a few
// bytes, so that a record's magic is found across their border.
func eachData(file *os.File, off int64, f func(at int64, b []byte) error) error {
	parts, err := dataParts(file, off)
	if err != nil {
		return err
	}
	const chunk = 1 << 20
	buf := make([]byte, chunk+len(walMagic)-1)
	for _, p := range parts {
		for at := p[0]; at < p[1]; at += chunk {
			n, err := file.ReadAt(buf[:min(int64(len(buf)), p[1]-at)], at)
			if err != nil && err != io.EOF {
				return err
			}
			if err := f(at, buf[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// dataParts lists the parts that have data. All are found before any is read:
// what a read brings into the page cache counts as data from then on.
func dataParts(file *os.File, off int64) (parts [][2]int64, err error) {
	fd := int(file.Fd())
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	for off < end {
		start, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return parts, nil
		}
		stop := end
		if err == nil {
			stop, err = unix.Seek(fd, start, unix.SEEK_HOLE)
		}
		if err != nil { // a file system that does not know: everything is data
			return append(parts, [2]int64{off, end}), nil
		}
		parts = append(parts, [2]int64{start, stop})
		off = stop
	}
	return parts, nil
}

// clean overwrites a torn tail and everything in later segments with zeroes,
// so that no later scan takes it for a record.
func (w *wal) clean(torn bool) error {
	if torn {
		if err := zero(w.path(w.segment), w.offset, w.file); err != nil {
			return err
		}
	}
	names, err := filepath.Glob(filepath.Join(w.dir, "*.wal"))
	if err != nil {
		return err
	}
	for _, name := range names {
		var s uint32
		if _, err := fmt.Sscanf(filepath.Base(name), "%08x.wal", &s); err != nil || s <= w.segment {
			continue
		}
		torn, err := w.checkTail(name, -1)
		if err != nil {
			return err
		}
		if !torn {
			continue
		}
		f, err := w.open(name, 0)
		if err != nil {
			return fmt.Errorf("log: open segment: %w", err)
		}
		err = zero(name, 0, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func zero(path string, off int64, w segmentFile) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("log: segment: %w", err)
	}
	defer f.Close()
	if err := eachData(f, off, func(at int64, b []byte) error {
		if allZero(b) {
			return nil
		}
		_, err := w.WriteAt(make([]byte, len(b)), at)
		return err
	}); err != nil {
		return fmt.Errorf("log: cut torn tail: %w", err)
	}
	if err := w.Datasync(); err != nil {
		return fmt.Errorf("log: fdatasync: %w", err)
	}
	return nil
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
