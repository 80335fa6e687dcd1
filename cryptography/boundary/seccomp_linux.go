//go:build linux && (amd64 || arm64)

package boundary

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data: the number, the architecture, and the lower
// halves of the arguments (both architectures are little-endian).
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

// BPF instructions that the filter uses.
const (
	load      = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpAny   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	jumpAbove = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	and       = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	ret       = unix.BPF_RET | unix.BPF_K
)

// allowed are the calls of hsm-domain section 1 that need no look at their
// arguments, the frequent ones first: each costs two instructions before the
// next. Not recvmsg, sendmsg and accept4: the child is born with its sockets,
// and over a message descriptors could pass. Those that architectures do not share are in archAllowed.
var allowed = []uint32{
	unix.SYS_FUTEX, unix.SYS_EPOLL_PWAIT, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME,
	unix.SYS_GETRANDOM, unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_CLOSE, unix.SYS_EPOLL_CTL, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_RT_SIGACTION,
	unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_GETTID, unix.SYS_GETPID,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RESTART_SYSCALL,
	unix.SYS_FSTAT, unix.SYS_FSYNC,
	// Beyond the list: locking pages of package secret, and what glibc does at
	// the start of a thread in a binary built with cgo.
	unix.SYS_MLOCK, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ,
}

// test is a condition on an argument; the call is killed unless all hold.
type test struct {
	arg  int
	high bool   // the upper half of the argument
	mask uint32 // of the bits that count
	want uint32
}

func checked(pid int) map[uint32][]test {
	const (
		all       = ^uint32(0)
		newSpaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	)
	return map[uint32][]test{
		// No memory that can be executed, nor made so.
		unix.SYS_MMAP:     {{arg: 2, mask: unix.PROT_EXEC}},
		unix.SYS_MPROTECT: {{arg: 2, mask: unix.PROT_EXEC}},
		// Threads, no processes.
		unix.SYS_CLONE: {{arg: 0, mask: unix.CLONE_THREAD | unix.CLONE_VM | newSpaces, want: unix.CLONE_THREAD | unix.CLONE_VM}},
		// Signals to itself.
		unix.SYS_TGKILL: {{arg: 0, mask: all, want: uint32(pid)}},
		// Limits are read, not set.
		unix.SYS_PRLIMIT64: {{arg: 2, mask: all}, {arg: 2, high: true, mask: all}},
		// The runtime names its mappings.
		unix.SYS_PRCTL: {{arg: 0, mask: all, want: unix.PR_SET_VMA}},
		// F_GETFL and F_SETFL of sockets; no lease, signal or seal, whose numbers
		// are higher.
		unix.SYS_FCNTL: {{arg: 1, mask: all &^ 7}},
		// Files only by the descriptor of the state directory; an absolute path
		// would ignore it, and is landlock's to refuse.
		unix.SYS_OPENAT:   {{arg: 0, mask: all, want: fdState}},
		unix.SYS_UNLINKAT: {{arg: 0, mask: all, want: fdState}},
		sysRename:         {{arg: 0, mask: all, want: fdState}, {arg: 2, mask: all, want: fdState}},
	}
}

// filter writes the program. What it does not know kills the process.
func filter(pid int) []unix.SockFilter {
	p := []unix.SockFilter{
		{Code: load, K: dataArch},
		{Code: jumpEqual, K: auditArch, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: dataNumber},
		// On amd64 the x32 calls have numbers of their own above this bit.
		{Code: jumpAbove, K: 0x40000000, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
	}
	for _, nr := range append(allowed[:len(allowed):len(allowed)], archAllowed...) {
		p = append(p,
			unix.SockFilter{Code: jumpEqual, K: nr, Jf: 1},
			unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	}
	for nr, tests := range checked(pid) {
		block := []unix.SockFilter{}
		otherwise := uint32(unix.SECCOMP_RET_KILL_PROCESS)
		if nr == unix.SYS_OPENAT {
			// glibc looks into /sys for the number of processors when a new
			// thread first allocates; it takes no for an answer.
			otherwise = unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)
		}
		for _, t := range tests {
			at := uint32(dataArgs + 8*t.arg)
			if t.high {
				at += 4
			}
			block = append(block,
				unix.SockFilter{Code: load, K: at},
				unix.SockFilter{Code: and, K: t.mask},
				unix.SockFilter{Code: jumpEqual, K: t.want, Jt: 1},
				unix.SockFilter{Code: ret, K: otherwise})
		}
		block = append(block, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
		p = append(p, unix.SockFilter{Code: jumpEqual, K: nr, Jf: uint8(len(block))})
		p = append(p, block...)
	}
	return append(p,
		// glibc falls back to clone, whose flags can be looked at.
		unix.SockFilter{Code: jumpEqual, K: unix.SYS_CLONE3, Jf: 1},
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS})
}

// installFilter puts the filter on all threads at once.
func installFilter() error {
	program := filter(unix.Getpid())
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if r != 0 {
		return fmt.Errorf("thread %d does not take the filter", r)
	}
	return nil
}
