//go:build linux && (amd64 || arm64)

package boundary

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// lockedName marks the second stage in the name under which it runs.
const lockedName = " (locked)"

// softMemory is where the collector of the child begins to work harder.
const softMemory = 48 << 20

// Run locks the process down and then runs the role. It is called first thing
// by a process that Start started; it returns when the role has ended, with
// the error that it also told the parent.
func Run(role Role) error {
	err := run(role)
	if err != nil {
		tell(line{Error: err.Error()})
	}
	return err
}

func run(role Role) error {
	s, err := readSetup()
	if err != nil {
		return fmt.Errorf("boundary: this is for a process that leadglass itself starts: %w", err)
	}
	if !strings.HasSuffix(os.Args[0], lockedName) {
		return s.firstStage()
	}
	return s.secondStage(role)
}

func readSetup() (*setup, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fdSetup, &stat); err != nil {
		return nil, err
	}
	if stat.Size > 1<<20 {
		return nil, fmt.Errorf("setup of %d bytes", stat.Size)
	}
	text := make([]byte, stat.Size)
	if _, err := unix.Pread(fdSetup, text, 0); err != nil {
		return nil, err
	}
	s := new(setup)
	return s, json.Unmarshal(text, s)
}

// tell sends a line to the parent. A parent that is gone needs none.
func tell(l line) {
	text, err := json.Marshal(&l)
	if err != nil {
		return
	}
	_ = write(fdControl, append(text, '\n'))
}

// firstStage does what must be done by a single thread and inherited by all.
// It only returns if it failed.
func (s *setup) firstStage() error {
	// Everything below is a property of this thread, which then becomes the
	// only one of the next image.
	runtime.LockOSThread()
	// The control socket came as a non-blocking one; the stages use it plainly.
	if err := unix.SetNonblock(fdControl, false); err != nil {
		return fmt.Errorf("boundary: control socket: %w", err)
	}
	if _, err := ignoringEINTR(func() (int, error) { return unix.Read(fdControl, make([]byte, 1)) }); err != nil {
		return fmt.Errorf("boundary: control socket: %w", err)
	}
	unix.Umask(0o077)
	// Waking up for a message must not push the parent off its processor: it is
	// about to send more, and goes on to do so (sched(7), SCHED_BATCH). On two
	// busy cores this saved a fifth of the time of a whole request. Where it is
	// refused everything works as well, only slower.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
	r := &s.Report
	r.Insecure = s.Insecure
	s.NoSwap = noSwap() // the second stage may no longer look
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		r.miss("no core dumps: " + err.Error())
	}
	// Again here: a change of ids on the way may have cleared it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		r.miss("death with the parent: " + err.Error())
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		r.miss("no new privileges: " + err.Error())
	} else {
		r.NoNewPrivs = true
	}
	for _, ns := range namespaces {
		inside, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil || inside == s.Outside[ns] {
			// Root without user namespaces drops its capabilities instead.
			if ns != "user" || os.Geteuid() != 0 {
				r.miss(ns + " namespace")
			}
			continue
		}
		r.Namespaces = append(r.Namespaces, ns)
	}
	if err := dropCapabilities(); err != nil {
		r.miss("no capabilities: " + err.Error())
	} else {
		r.NoCapabilities = true
	}
	abi, err := restrictFiles(fdState)
	r.LandlockABI = abi
	if err != nil {
		r.miss("landlock: " + err.Error())
	} else if abi < 4 {
		r.miss(fmt.Sprintf("landlock without TCP rules (ABI %d)", abi))
	}
	if err := s.check(); err != nil {
		return err
	}
	if err := s.rewrite(); err != nil {
		return fmt.Errorf("boundary: setup: %w", err)
	}
	args := slices.Clone(os.Args)
	args[0] += lockedName
	err = syscall.Exec("/proc/self/exe", args, os.Environ())
	return fmt.Errorf("boundary: second stage: %w", err)
}

// check fails closed.
func (s *setup) check() error {
	if s.Report.Complete() || s.Insecure {
		return nil
	}
	return fmt.Errorf("%w (missing: %s)", ErrNotLocked, strings.Join(s.Report.Missing, "; "))
}

// rewrite leaves the report for the second stage.
func (s *setup) rewrite() error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := unix.Ftruncate(fdSetup, int64(len(text))); err != nil {
		return err
	}
	_, err = unix.Pwrite(fdSetup, text, 0)
	return err
}

func (s *setup) secondStage(role Role) error {
	r := &s.Report
	// The zone's file could not be opened later.
	time.Local = time.UTC
	// A fixed number, or the runtime would keep reading the cgroup's files.
	runtime.GOMAXPROCS(min(runtime.NumCPU(), 8))
	debug.SetMemoryLimit(softMemory)

	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("boundary: death signal: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		r.miss("undumpable: " + err.Error())
	} else {
		r.Undumpable = true
	}
	r.MemoryLocked = s.lockMemory()
	if r.MemoryLocked == "" {
		r.miss("locked memory: raise RLIMIT_MEMLOCK, or switch swap off")
	}
	arena, err := secret.NewArena(s.Secrets)
	if err != nil {
		return fmt.Errorf("boundary: secret memory: %w", err)
	}
	r.Memory = arena.Kind()
	if r.Memory != secret.MemfdSecret {
		r.miss("memfd_secret")
	}
	env := &Env{Setup: s.Setup, State: &Dir{fd: fdState}, Memory: arena}
	for i := range s.Links {
		fd := fdFirst + i
		if err := unix.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("boundary: link: %w", err)
		}
		env.Links = append(env.Links, os.NewFile(uintptr(fd), "link"))
	}
	for i := range s.Files {
		env.Files = append(env.Files, os.NewFile(uintptr(fdFirst+s.Links+i), "file"))
	}
	if err := installFilter(); err != nil {
		r.miss("seccomp: " + err.Error())
	} else {
		r.Seccomp = true
	}
	if err := s.check(); err != nil {
		return err
	}
	env.Report = *r
	tell(line{Report: r})
	env.Ready = func(hello []byte) error {
		if hello == nil {
			hello = []byte{}
		}
		text, err := json.Marshal(&struct {
			Hello []byte `json:"hello"`
		}{hello})
		if err != nil {
			return err
		}
		return write(fdControl, append(text, '\n'))
	}
	return role(env)
}

// lockMemory keeps all pages out of swap, as they are first touched: the
// runtime reserves far more address space than it uses. It says what it
// achieved, or nothing.
func (s *setup) lockMemory() string {
	if unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) == nil {
		return "mlockall"
	}
	// Refused, typically because RLIMIT_MEMLOCK is small and we are not root.
	// Where there is no swap, nothing is written out anyway; secret memory is
	// locked in any case.
	if s.NoSwap {
		return "the host has no swap"
	}
	return ""
}

// noSwap reports whether the kernel has nowhere to write memory to.
func noSwap() bool {
	swaps, err := os.ReadFile("/proc/swaps")
	return err == nil && strings.Count(strings.TrimSpace(string(swaps)), "\n") == 0 // a heading and no line
}
