package boundary

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64
	sysRename = unix.SYS_RENAMEAT
)

// archAllowed are calls that only this architecture has.
var archAllowed = []uint32{unix.SYS_EPOLL_WAIT}
