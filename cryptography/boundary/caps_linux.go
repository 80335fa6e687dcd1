//go:build linux && (amd64 || arm64)

package boundary

import (
	"errors"

	"golang.org/x/sys/unix"
)

// dropCapabilities takes every capability from this thread, and the ways to
// get one back. In a user namespace the kernel has done so already, because
// the child is not its root; there remains to check it.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return err
	}
	if caps[0].Permitted|caps[1].Permitted|caps[0].Effective|caps[1].Effective == 0 {
		return nil
	}
	// Root without a user namespace: executing a program would give all of its
	// capabilities back unless the bounding set is empty and root is no root.
	const noRoot = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 // NOROOT, NO_SETUID_FIXUP and their locks, KEEP_CAPS locked off
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noRoot, 0, 0, 0); err != nil {
		return err
	}
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // past the last one that this kernel knows
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	caps = [2]unix.CapUserData{}
	return unix.Capset(&header, &caps[0])
}
