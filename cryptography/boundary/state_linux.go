//go:build linux && (amd64 || arm64)

package boundary

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is a directory of small files, reached only through its descriptor: the
// child's filter lets it open nothing else.
type Dir struct {
	fd int
}

// OpenDir opens (and if need be makes) a state directory.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("boundary: state directory: %w", err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("boundary: state directory %s: %w", path, err)
	}
	return &Dir{fd: fd}, nil
}

// Close closes the directory.
func (d *Dir) Close() error { return unix.Close(d.fd) }

func checkName(name string) error {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") {
		return errors.New("boundary: not a name of a state file")
	}
	return nil
}

// Load reads a file; found is false if there is none.
func (d *Dir) Load(name string) (data []byte, found bool, err error) {
	if err := checkName(name); err != nil {
		return nil, false, err
	}
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("boundary: open %s: %w", name, err)
	}
	defer unix.Close(fd)
	data, err = readAll(fd)
	if err != nil {
		return nil, false, fmt.Errorf("boundary: read %s: %w", name, err)
	}
	return data, true, nil
}

// maxState bounds a state file; the largest is the list of revocations.
const maxState = 64 << 20

// readAll reads a descriptor without the runtime's poller, which would ask the
// kernel about the file.
func readAll(fd int) ([]byte, error) {
	data := make([]byte, 0, 8192)
	for {
		if len(data) == cap(data) {
			bigger := make([]byte, len(data), 2*cap(data))
			copy(bigger, data)
			clear(data) // what is read may be a key
			data = bigger
		}
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return data, nil
		}
		if data = data[:len(data)+n]; len(data) > maxState {
			return nil, errors.New("file too large")
		}
	}
}

// ReadFile reads what is left of a file that the child was given.
func ReadFile(f *os.File) ([]byte, error) {
	data, err := readAll(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("boundary: read: %w", err)
	}
	return data, nil
}

// Save writes a file so that after a crash there is the old or the new content
// and nothing else; when it returns the new one is durable.
func (d *Dir) Save(name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := d.save(name, data); err != nil {
		return fmt.Errorf("boundary: save %s: %w", name, err)
	}
	return nil
}

func (d *Dir) save(name string, data []byte) error {
	tmp := name + ".new"
	fd, err := unix.Openat(d.fd, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = write(fd, data)
	if err == nil {
		_, err = ignoringEINTR(func() (int, error) { return 0, unix.Fsync(fd) })
	}
	if closed := unix.Close(fd); err == nil {
		err = closed
	}
	if err == nil {
		err = unix.Renameat(d.fd, tmp, d.fd, name)
	}
	if err != nil {
		_ = unix.Unlinkat(d.fd, tmp, 0)
		return err
	}
	// The name itself is durable only when the directory is.
	_, err = ignoringEINTR(func() (int, error) { return 0, unix.Fsync(d.fd) })
	return err
}

func write(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := ignoringEINTR(func() (int, error) { return unix.Write(fd, data) })
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		data = data[n:]
	}
	return nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
