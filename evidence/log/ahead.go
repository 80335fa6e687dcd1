package log

import (
	"os"

	"golang.org/x/sys/unix"
)

// An osFile is a segment on disk that is written once with zeroes shortly
// before it is written with records.
//
// Space that is only reserved must be turned into written space by the file
// system, through its journal, when a record first lands on it, and fdatasync
// waits for that: 0.39 ms where overwriting took 0.19 ms (ext4, virtio disk).
// So a goroutine keeps a few MiB ahead of the records materialised, in pieces
// small enough that a record's own fdatasync does not wait long behind one.
//
// One goroutine, the sequencer, calls WriteAt and Close. What is being zeroed
// and what is being recorded never overlap: WriteAt waits when it catches up.
type osFile struct {
	*os.File
	length int64

	mark int64      // everything below was written once, or is being recorded now
	job  chan int64 // receives the new mark when the goroutine is done; nil: none runs
}

const (
	aheadStretch = 8 << 20   // zeroed at a time
	aheadLeast   = 4 << 20   // left in front of the records when the next stretch begins
	aheadPiece   = 256 << 10 // between two fdatasyncs
)

func (f *osFile) Datasync() error { return unix.Fdatasync(int(f.Fd())) }

func (f *osFile) WriteAt(b []byte, off int64) (int, error) {
	f.prepare(off, off+int64(len(b)))
	return f.File.WriteAt(b, off)
}

// prepare sees to it that nothing below end is being zeroed, and that zeroing
// goes on in front of it.
func (f *osFile) prepare(off, end int64) {
	if f.mark == 0 {
		f.mark = off // of a segment that was opened again nothing is known but its records
	}
	if f.job != nil {
		select {
		case f.mark = <-f.job:
			f.job = nil
		default:
			if end > f.mark { // the job's stretch starts at mark
				f.mark, f.job = <-f.job, nil
			}
		}
	}
	f.mark = max(f.mark, end)
	if f.job == nil && f.mark-end < aheadLeast && f.mark < f.length {
		from, to := f.mark, min(f.mark+aheadStretch, f.length)
		job := make(chan int64, 1)
		f.job = job
		go func() { job <- f.zero(from, to) }()
	}
}

// zero writes zeroes from one offset to another and returns the new mark. An
// error is no reason to stop the log: what is not zeroed is still reserved.
//
// It must have an open file of its own: the kernel reports a failed write-back
// once to each, so with a shared one the failure of a record's page could be
// reported here, and the record's own fdatasync would then succeed (I-12).
func (f *osFile) zero(from, to int64) int64 {
	own, err := os.OpenFile(f.Name(), os.O_WRONLY, 0)
	if err != nil {
		return to
	}
	defer own.Close()
	piece := make([]byte, aheadPiece)
	for from < to {
		n := min(int64(len(piece)), to-from)
		if _, err := own.WriteAt(piece[:n], from); err != nil {
			return to
		}
		if unix.Fdatasync(int(own.Fd())) != nil {
			return to
		}
		from += n
	}
	return to
}

// Close waits for the goroutine.
func (f *osFile) Close() error {
	if f.job != nil {
		<-f.job
		f.job = nil
	}
	return f.File.Close()
}
