package secret

import (
	"errors"
	"runtime"
	"sync"
	"syscall"
)

// ErrFull is returned when an arena has no room left.
var ErrFull = errors.New("secret: the arena is full")

// The two kinds of memory that an Arena can have.
const (
	// MemfdSecret is memory that the kernel has taken out of its own map:
	// reading it through /proc/PID/mem, process_vm_readv or a core dump fails,
	// for root as well. What stays possible is to make the process itself copy
	// it (ptrace), and a malicious kernel.
	MemfdSecret = "memfd_secret"
	// LockedPages are ordinary pages, locked and kept out of core dumps.
	LockedPages = "locked pages"
)

// An Arena is memory for many secrets, mapped once. A boundary process maps
// its arena before it gives up the right to map secret memory, and keeps every
// long-lived key in it.
type Arena struct {
	mem  []byte
	kind string

	mu   sync.Mutex
	used []bool // guarded by mu; one per unit
	next int    // guarded by mu; where the last search ended
}

// unit is what an arena hands out: the size of most keys.
const unit = 32

// NewArena maps size bytes, rounded up to pages, of the best kind of memory
// that the system gives.
func NewArena(size int) (*Arena, error) {
	page := syscall.Getpagesize()
	size = max((size+page-1)/page*page, page)
	mem, kind := mapSecret(size), MemfdSecret
	if mem == nil {
		var err error
		if mem, err = mapPages(size); err != nil {
			return nil, err
		}
		kind = LockedPages
	}
	a := &Arena{mem: mem, kind: kind, used: make([]bool, size/unit)}
	runtime.AddCleanup(a, wipeAndUnmap, mem)
	return a, nil
}

// Kind says what memory it is: MemfdSecret or LockedPages.
func (a *Arena) Kind() string { return a.kind }

// New returns a secret of n zero bytes inside the arena.
func (a *Arena) New(n int) (*Bytes, error) {
	s := &Bytes{n: n}
	if n == 0 {
		return s, nil
	}
	units := (n + unit - 1) / unit
	a.mu.Lock()
	at := a.find(a.next, units)
	if at < 0 {
		at = a.find(0, units)
	}
	if at < 0 {
		a.mu.Unlock()
		return nil, ErrFull
	}
	for i := at; i < at+units; i++ {
		a.used[i] = true
	}
	a.next = at + units
	a.mu.Unlock()

	s.data, s.arena, s.at = a.mem[at*unit:at*unit+n:at*unit+n], a, at
	// The arena must outlive its secrets, so the cleanup holds it.
	s.cleanup = runtime.AddCleanup(s, func(at int) { a.free(at, units) }, at)
	return s, nil
}

// find returns the first of units free units at or after from, or -1.
func (a *Arena) find(from, units int) int {
	run := 0
	for i := from; i < len(a.used); i++ {
		if a.used[i] {
			run = 0
			continue
		}
		if run++; run == units {
			return i - units + 1
		}
	}
	return -1
}

// free wipes and gives back.
func (a *Arena) free(at, units int) {
	Wipe(a.mem[at*unit : (at+units)*unit])
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := at; i < at+units; i++ {
		a.used[i] = false
	}
}

// From copies b into a new secret inside the arena and wipes b.
func (a *Arena) From(b []byte) (*Bytes, error) {
	s, err := a.New(len(b))
	if err != nil {
		return nil, err
	}
	copy(s.data, b)
	Wipe(b)
	return s, nil
}
