//go:build linux && (amd64 || arm64)

package boundary

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readAndRun = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE

	// What the state directory may be used for.
	stateAccess = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// fsRights and netRights are what each ABI knows; all of it is denied unless a
// rule allows it.
func fsRights(abi int) uint64 {
	rights := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1) // ABI 1: execute to make_sym
	if abi >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		rights |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

// restrictFiles restricts this thread, and what it executes, to the state
// directory and to the files that this very image was loaded from. It returns
// the ABI that it used.
func restrictFiles(stateFD int) (int, error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	abi := int(v)
	attr := unix.LandlockRulesetAttr{Handled_access_fs: fsRights(abi)}
	if abi >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	// An older kernel accepts the longer structure as long as what it does not
	// know is zero.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return 0, fmt.Errorf("ruleset: %w", errno)
	}
	defer unix.Close(int(fd))
	if err := allow(int(fd), stateFD, stateAccess&attr.Handled_access_fs); err != nil {
		return 0, fmt.Errorf("state directory: %w", err)
	}
	if err := allowImage(int(fd)); err != nil {
		return 0, err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return 0, fmt.Errorf("restrict: %w", errno)
	}
	return abi, nil
}

func allow(ruleset, fd int, access uint64) error {
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// allowImage allows to read and execute what is mapped now: the binary and, if
// it was linked with cgo, the loader and its libraries. The second stage needs
// exactly these; the filter forbids it to execute anything after that.
func allowImage(ruleset int) error {
	files := map[string]uint64{"/proc/self/exe": readAndRun}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	for in := bufio.NewScanner(maps); in.Scan(); {
		if fields := strings.Fields(in.Text()); len(fields) == 6 && strings.HasPrefix(fields[5], "/") {
			files[fields[5]] = readAndRun
		}
	}
	if len(files) > 2 {
		files["/etc/ld.so.cache"] = unix.LANDLOCK_ACCESS_FS_READ_FILE
	}
	for path, access := range files {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if path != "/proc/self/exe" && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES)) {
			continue // replaced since, or the binary under a path that is closed to us
		}
		if err == nil {
			err = allow(ruleset, fd, access)
			_ = unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("own image: %w", err)
		}
	}
	return nil
}
