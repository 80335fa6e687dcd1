//go:build !(linux && (amd64 || arm64))

package boundary

import "os"

// Dir is a directory of small files.
type Dir struct{}

// OpenDir has no use where no boundary runs.
func OpenDir(string) (*Dir, error) { return nil, ErrUnsupported }

// Close does nothing.
func (*Dir) Close() error { return nil }

// Load fails with ErrUnsupported.
func (*Dir) Load(string) ([]byte, bool, error) { return nil, false, ErrUnsupported }

// Save fails with ErrUnsupported.
func (*Dir) Save(string, []byte) error { return ErrUnsupported }

// ReadFile fails with ErrUnsupported.
func ReadFile(*os.File) ([]byte, error) { return nil, ErrUnsupported }

// SocketPair fails with ErrUnsupported.
func SocketPair() (a, b *os.File, err error) { return nil, nil, ErrUnsupported }

// Child is a running boundary process; there is none here.
type Child struct{}

// Start fails with ErrUnsupported.
func Start(Config) (*Child, error) { return nil, ErrUnsupported }

// Link returns nil.
func (*Child) Link(int) *os.File { return nil }

// Hello returns nil.
func (*Child) Hello() []byte { return nil }

// Lockdown returns an empty report.
func (*Child) Lockdown() Report { return Report{} }

// PID returns 0.
func (*Child) PID() int { return 0 }

// Done returns nil.
func (*Child) Done() <-chan struct{} { return nil }

// Wait fails with ErrUnsupported.
func (*Child) Wait() error { return ErrUnsupported }

// Stop does nothing.
func (*Child) Stop() {}

// Run fails with ErrUnsupported.
func Run(Role) error { return ErrUnsupported }

// Harden fails with ErrUnsupported.
func Harden() error { return ErrUnsupported }
