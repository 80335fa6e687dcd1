//go:build linux && (amd64 || arm64)

package secret

import "syscall"

const (
	sysMemfdSecret = 447 // both architectures; package syscall is frozen and lacks it
	madvDontFork   = 10
)

// mapSecret maps memory from memfd_secret(2), or returns nil where the kernel
// does not have it (before 5.14, or switched off) or RLIMIT_MEMLOCK is too low.
func mapSecret(size int) []byte {
	fd, _, errno := syscall.Syscall(sysMemfdSecret, syscall.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return nil
	}
	// The mapping keeps the memory; without the descriptor nothing else can map it.
	defer syscall.Close(int(fd))
	if err := syscall.Ftruncate(int(fd), int64(size)); err != nil {
		return nil
	}
	m, err := syscall.Mmap(int(fd), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	_ = syscall.Madvise(m, madvDontFork)
	return m
}
