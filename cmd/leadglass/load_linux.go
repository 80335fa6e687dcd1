package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load keeps every caller busy until end. Plain connections are served by one
// thread that waits for all of them at once, as the usual load generators do:
// a goroutine each would cost twice the processor time, for waking threads,
// and the callers run on the machine that they measure.
func load(ctx context.Context, callers []*caller, start, end time.Time) error {
	for _, c := range callers {
		if _, ok := c.conn.(*tls.Conn); ok {
			loadEach(ctx, callers, start, end)
			return nil
		}
	}
	preferThroughput() // nor does this thread push those off that it waits for
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll_create: %w", err)
	}
	defer unix.Close(ep)
	fds := make([]int, len(callers))
	for i, c := range callers {
		// A descriptor of our own, which the runtime's poller does not know.
		f, err := c.conn.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		defer f.Close()
		fds[i] = int(f.Fd())
		if err := unix.SetNonblock(fds[i], true); err != nil {
			return fmt.Errorf("set non-blocking: %w", err)
		}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fds[i], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	busy := 0
	// next starts a call, if it is not too late for one.
	next := func(i int) {
		c := callers[i]
		if c.began = time.Now(); c.began.After(end) {
			return
		}
		b, err := c.request()
		if err == nil {
			var n int
			if n, err = call(unix.SYS_WRITE, fds[i], unsafe.Pointer(&b[0]), len(b), 0); err == nil && n < len(b) {
				err = io.ErrShortWrite // a request of some hundred bytes after an answer always fits
			}
		}
		if err != nil {
			c.count(c.began, start, err)
			return
		}
		busy++
	}
	for i := range callers {
		next(i)
	}
	events := make([]unix.EpollEvent, len(callers))
	for busy > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := call(unix.SYS_EPOLL_PWAIT, ep, unsafe.Pointer(&events[0]), len(events), 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_pwait: %w", err)
		}
		for _, e := range events[:n] {
			c := callers[e.Fd]
			c.in = slices.Grow(c.in, 4096)
			n, err := call(unix.SYS_READ, fds[e.Fd], unsafe.Pointer(&c.in[:cap(c.in)][len(c.in)]), cap(c.in)-len(c.in), 0)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			var done bool
			if err == nil && n == 0 {
				err = io.ErrUnexpectedEOF
			}
			if err == nil {
				c.in = c.in[:len(c.in)+n]
				done, err = c.answered()
			}
			if !done && err == nil {
				continue
			}
			busy--
			c.count(time.Now(), start, err)
			if err != nil {
				// The connection is of no more use, and would be reported for ever.
				if err := unix.EpollCtl(ep, unix.EPOLL_CTL_DEL, fds[e.Fd], nil); err != nil {
					return fmt.Errorf("epoll_ctl: %w", err)
				}
				continue
			}
			next(int(e.Fd))
		}
	}
	return nil
}

// call is a system call that the scheduler is not told of. It would take the
// processor away from this thread whenever it waits, and wake another one to
// have something to do with it; there is nothing to be done.
func call(number uintptr, fd int, p unsafe.Pointer, n, timeout int) (int, error) {
	r, _, e := unix.RawSyscall6(number, uintptr(fd), uintptr(p), uintptr(n), uintptr(timeout), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}
