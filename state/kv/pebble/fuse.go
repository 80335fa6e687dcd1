package pebble

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fuse stands between Pebble and the disk. When an fsync fails, or a write of
// the log or the manifest, it ends the store and freezes the disk: nothing is
// written any more, as if the power had been cut at that moment. Pebble itself
// is told that all went well, because it answers such an error in the middle
// of a log rotation by crashing the process without a word; it dreams on
// until the process exits, and no commit is acknowledged (Store.sync looks at
// the failure after every wait).
type fuse struct {
	vfs.FS
	s *Store
}

// blow ends the store; err is returned while the store is still opening,
// for Open then fails in the ordinary way.
func (f *fuse) blow(what, name string, err error) error {
	if !f.s.open.Load() {
		return err
	}
	f.s.fail(fmt.Errorf("pebble: %s of %s: %w", what, f.PathBase(name), err))
	return nil
}

func (f *fuse) frozen() bool { return f.s.isFailed.Load() }

// vital files cannot be written a second time elsewhere, as tables can.
func (f *fuse) vital(name string) bool {
	base := f.PathBase(name)
	return strings.HasSuffix(base, ".log") || strings.HasPrefix(base, "MANIFEST") || strings.HasPrefix(base, "marker")
}

func (f *fuse) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &fusedFile{File: file, f: f, name: name}, nil
}

func (f *fuse) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.frozen() {
		return f.dream(name)
	}
	file, err := f.FS.Create(name, c)
	if err != nil && f.vital(name) {
		if err := f.blow("creation", name, err); err != nil {
			return nil, err
		}
		return f.dream(name)
	}
	f.patience(err)
	return f.wrap(name, file, err)
}

// dream returns a log that keeps nothing, so that a commit under way comes
// back. Whoever else wants a new file is a goroutine of Pebble's: it stops here
// until the process exits.
func (f *fuse) dream(name string) (vfs.File, error) {
	if !f.vital(name) {
		select {}
	}
	return vfs.NewMem().Create("nowhere", vfs.WriteCategoryUnspecified)
}

func (f *fuse) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.frozen() {
		return f.dream(to)
	}
	file, err := f.FS.ReuseForWrite(from, to, c)
	return f.wrap(to, file, err)
}

func (f *fuse) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.frozen() {
		return f.dream(name)
	}
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.wrap(name, file, err)
}

func (f *fuse) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return f.wrap(name, file, err)
}

func (f *fuse) Link(from, to string) error {
	if f.frozen() {
		return nil
	}
	return f.FS.Link(from, to)
}

func (f *fuse) Remove(name string) error {
	if f.frozen() {
		return nil
	}
	return f.FS.Remove(name)
}

func (f *fuse) RemoveAll(name string) error {
	if f.frozen() {
		return nil
	}
	return f.FS.RemoveAll(name)
}

func (f *fuse) Rename(from, to string) error {
	if f.frozen() {
		return nil
	}
	return f.FS.Rename(from, to)
}

func (f *fuse) MkdirAll(dir string, perm os.FileMode) error {
	if f.frozen() {
		return nil
	}
	return f.FS.MkdirAll(dir, perm)
}

func (f *fuse) Unwrap() vfs.FS { return f.FS }

// retryFull is how long a table that found no room waits before Pebble tries
// again, which it does for ever and would do at once: thousands of attempts,
// and of lines in the service's log, a second.
const retryFull = time.Second

// patience waits when err says that the disk is full. Only Pebble's background
// work writes tables, and holds no lock meanwhile.
func (f *fuse) patience(err error) {
	if !errors.Is(err, syscall.ENOSPC) || !f.s.open.Load() {
		return
	}
	select {
	case <-f.s.stop:
	case <-f.s.failed:
	case <-f.s.cfg.Clock.After(retryFull):
	}
}

type fusedFile struct {
	vfs.File
	f    *fuse
	name string
}

func (o *fusedFile) Write(p []byte) (int, error) {
	if o.f.frozen() {
		return len(p), nil
	}
	n, err := o.File.Write(p)
	if err != nil && o.f.vital(o.name) {
		if err := o.f.blow("write", o.name, err); err != nil {
			return n, err
		}
		return len(p), nil
	}
	o.f.patience(err)
	return n, err
}

func (o *fusedFile) WriteAt(p []byte, off int64) (int, error) {
	if o.f.frozen() {
		return len(p), nil
	}
	n, err := o.File.WriteAt(p, off)
	if err != nil && o.f.vital(o.name) {
		if err := o.f.blow("write", o.name, err); err != nil {
			return n, err
		}
		return len(p), nil
	}
	return n, err
}

// synced judges an fsync. Whatever file it was: after a failed one the kernel
// may have dropped the pages, and a second would succeed and prove nothing.
func (o *fusedFile) synced(err error) error {
	if err == nil {
		return nil
	}
	return o.f.blow("fsync", o.name, err)
}

func (o *fusedFile) Sync() error {
	if o.f.frozen() {
		return nil
	}
	return o.synced(o.File.Sync())
}

func (o *fusedFile) SyncData() error {
	if o.f.frozen() {
		return nil
	}
	return o.synced(o.File.SyncData())
}

func (o *fusedFile) SyncTo(length int64) (bool, error) {
	if o.f.frozen() {
		return false, nil
	}
	full, err := o.File.SyncTo(length)
	return full, o.synced(err)
}

func (o *fusedFile) Preallocate(offset, length int64) error {
	if o.f.frozen() {
		return nil
	}
	return o.File.Preallocate(offset, length)
}
