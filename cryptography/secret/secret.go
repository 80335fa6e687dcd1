// Package secret holds bytes that must not be printed, logged, serialised or
// left behind.
//
// A Bytes has no String, no Format and no MarshalJSON that shows anything; its
// memory lies outside the Go heap, is locked, kept out of core dumps and wiped
// by Destroy. An Arena holds many secrets in one mapping; where the kernel has
// memfd_secret(2) that is memory which even root cannot read through /proc. The
// boundary processes keep all their long-lived keys so (cryptography/boundary).
//
// Not done here: keeping copies away that other packages make. Whoever works
// on a secret inside Use wipes its own intermediate results (Wipe, Do).
package secret

import (
	"crypto/subtle"
	"errors"
	"runtime"
	"sync"
	"syscall"
)

// ErrDestroyed is returned when a secret is used after Destroy.
var ErrDestroyed = errors.New("secret: used after it was destroyed")

// Bytes is a fixed-length secret. Use New or From; the zero value is an empty
// secret. It is safe for concurrent use.
type Bytes struct {
	mu   sync.RWMutex
	data []byte // guarded by mu; page-aligned mapping, nil after Destroy
	n    int    // length of the secret inside data; set once

	arena   *Arena          // where data lies, nil for pages of its own; set once
	at      int             // first unit inside the arena; set once
	cleanup runtime.Cleanup // gives the units back; set once, with arena
}

// New returns a secret of n zero bytes to be filled by Use.
func New(n int) (*Bytes, error) {
	s := &Bytes{n: n}
	if n == 0 {
		return s, nil
	}
	page := syscall.Getpagesize()
	size := (n + page - 1) / page * page
	m, err := mapPages(size)
	if err != nil {
		return nil, err
	}
	s.data = m
	// A forgotten secret is wiped when it is collected; Destroy does it at once.
	runtime.AddCleanup(s, func(m []byte) { wipeAndUnmap(m) }, m)
	return s, nil
}

// From copies b into a new secret and wipes b.
func From(b []byte) (*Bytes, error) {
	s, err := New(len(b))
	if err != nil {
		return nil, err
	}
	copy(s.data, b)
	Wipe(b)
	return s, nil
}

// Len is the length of the secret in bytes.
func (s *Bytes) Len() int { return s.n }

// Use calls f with the secret's own memory, which f must not keep.
func (s *Bytes) Use(f func(b []byte) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.data == nil && s.n > 0 {
		return ErrDestroyed
	}
	return f(s.data[:s.n])
}

// Equal compares in constant time (for secrets of equal length).
func (s *Bytes) Equal(b []byte) bool {
	eq := false
	_ = s.Use(func(own []byte) error { eq = subtle.ConstantTimeCompare(own, b) == 1; return nil })
	return eq
}

// Destroy wipes the secret. Later uses fail with ErrDestroyed.
func (s *Bytes) Destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		return
	}
	if s.arena != nil {
		s.cleanup.Stop()
		s.arena.free(s.at, (s.n+unit-1)/unit)
	} else {
		Wipe(s.data) // the mapping itself goes with the cleanup, which must not find it unmapped
	}
	s.data = nil
}

// String says only that there is a secret.
func (s *Bytes) String() string { return "[secret]" }

// GoString says only that there is a secret, for %#v.
func (s *Bytes) GoString() string { return "[secret]" }

// MarshalJSON refuses: a secret is never serialised.
func (s *Bytes) MarshalJSON() ([]byte, error) {
	return nil, errors.New("secret: a secret is never serialised")
}

// Wipe overwrites b with zeroes in a way that the compiler keeps.
func Wipe(b []byte) {
	clear(b)
	runtime.KeepAlive(&b)
}

func mapPages(size int) ([]byte, error) {
	m, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, err
	}
	// Locking may be refused by RLIMIT_MEMLOCK in an ordinary process; the boundary
	// processes lock all their memory at start and refuse to run otherwise.
	_ = syscall.Mlock(m)
	_ = syscall.Madvise(m, 16 /* MADV_DONTDUMP */)
	return m, nil
}

func wipeAndUnmap(m []byte) {
	clear(m)
	_ = syscall.Munmap(m)
}
