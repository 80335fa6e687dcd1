//go:build linux && (amd64 || arm64)

package boundary

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// namespaces that a child gets, by their names under /proc/PID/ns.
var namespaces = []string{"user", "mnt", "pid", "net", "ipc", "uts"}

const cloneFlags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// insideID is the child's user and group inside its user namespace. Not 0:
// then the kernel takes all capabilities away as the child is executed.
const insideID = 1000

// Child is a running boundary process.
type Child struct {
	cmd     *exec.Cmd
	links   []*os.File
	control *os.File
	report  Report
	hello   []byte

	done chan struct{} // closed when the process has ended
	err  error         // why; valid after done
	once sync.Once     // for Stop
}

// Link is the parent's end of a socket; the caller owns it from then on.
func (c *Child) Link(i int) *os.File { return c.links[i] }

// Hello is what the child's role told with Env.Ready.
func (c *Child) Hello() []byte { return c.hello }

// Lockdown says how far the child is locked down.
func (c *Child) Lockdown() Report { return c.report }

// PID is the process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Wait waits for the end of the process and says why it ended.
func (c *Child) Wait() error {
	<-c.done
	return c.err
}

// Stop ends the process and waits for it. A boundary has nothing to finish:
// what must last was durable before it was answered.
func (c *Child) Stop() {
	c.once.Do(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
		_ = c.control.Close()
		for _, l := range c.links {
			_ = l.Close()
		}
	})
}

// Start starts a child and returns when it is ready.
func Start(cfg Config) (*Child, error) {
	if err := cfg.valid(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second
	}
	var inherited closer
	defer inherited.close()
	inherited.add(cfg.Files...)

	state, err := OpenDir(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	stateFile := os.NewFile(uintptr(state.fd), "state")
	inherited.add(stateFile)

	var links, childLinks []*os.File
	keep := false
	defer func() {
		if !keep {
			(&closer{links}).close()
		}
	}()
	for range cfg.Links {
		ours, theirs, err := SocketPair()
		if err != nil {
			return nil, err
		}
		links, childLinks = append(links, ours), append(childLinks, theirs)
		inherited.add(theirs)
	}
	control, childControl, err := SocketPair()
	if err != nil {
		return nil, err
	}
	inherited.add(childControl)
	defer func() {
		if !keep {
			_ = control.Close()
		}
	}()
	setupFile, err := cfg.setupFile()
	if err != nil {
		return nil, err
	}
	inherited.add(setupFile)

	files := append([]*os.File{setupFile, childControl, stateFile}, childLinks...)
	c := &Child{links: links, control: control, done: make(chan struct{})}
	if err := c.spawn(&cfg, append(files, cfg.Files...)); err != nil {
		return nil, err
	}
	inherited.close() // or the end of the child would not be the end of its control socket
	if err := c.handshake(&cfg); err != nil {
		_ = c.cmd.Process.Kill()
		<-c.done
		return nil, err
	}
	keep = true
	return c, nil
}

type closer struct{ files []*os.File }

func (c *closer) add(f ...*os.File) { c.files = append(c.files, f...) }
func (c *closer) close() {
	for _, f := range c.files {
		_ = f.Close()
	}
}

// SocketPair returns two connected stream sockets.
func SocketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("boundary: socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "link"), nil
}

// setupFile holds the setup in memory, where both stages read it.
func (cfg *Config) setupFile() (*os.File, error) {
	s := setup{
		Name: cfg.Name, Links: cfg.Links, Files: len(cfg.Files), Secrets: cfg.Secrets, Insecure: cfg.Insecure,
		Outside: make(map[string]string), Setup: cfg.Setup,
	}
	if s.Secrets == 0 {
		s.Secrets = defaultSecrets
	}
	for _, ns := range namespaces {
		s.Outside[ns], _ = os.Readlink("/proc/self/ns/" + ns)
	}
	fd, err := unix.MemfdCreate("setup", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("boundary: setup: %w", err)
	}
	f := os.NewFile(uintptr(fd), "setup")
	text, err := json.Marshal(&s)
	if err == nil {
		_, err = f.Write(text)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("boundary: setup: %w", err)
	}
	return f, nil
}

// command builds the command anew for each way to start it: a Cmd is used once.
func (cfg *Config) command(files []*os.File, flags uintptr, log *lineWriter) *exec.Cmd {
	path := cfg.Path
	if path == "" {
		path = "/proc/self/exe"
	}
	args := cfg.Args
	if args == nil {
		args = []string{cfg.Name}
	}
	cmd := &exec.Cmd{
		Path: path,
		Args: append([]string{"leadglass-" + cfg.Name}, args...),
		Env: []string{
			"GOTRACEBACK=none", // a stack dump shows arguments
			// A child sleeps between any two messages, and the runtime's monitor thread falls asleep and is woken with it
			// each time: a quarter of the processor time of a busy child. A trace in the far future keeps it on its
			// own slow rhythm of 10 ms; once in 23 days of the machine it writes one line about the scheduler to the log.
			"GODEBUG=schedtrace=2147483647",
		},
		Dir:        "/",
		Stderr:     log,
		ExtraFiles: files,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: flags,
			Pdeathsig:  syscall.SIGKILL,
			Setsid:     true, // no terminal's signals
		},
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: insideID, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: insideID, HostID: os.Getegid(), Size: 1}}
	}
	return cmd
}

// spawn starts the process and the goroutine that waits for its end. That
// goroutine keeps the thread which started the child: the child gets its death
// signal when that thread ends, not when the process does.
func (c *Child) spawn(cfg *Config, files []*os.File) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		log := &lineWriter{emit: cfg.Log}
		var err error
		for _, flags := range waysToClone(cfg.Insecure) {
			c.cmd = cfg.command(files, flags, log)
			if err = c.cmd.Start(); err == nil {
				break
			}
		}
		if err != nil {
			// EPERM or EACCES where the administrator forbids them, ENOSPC where
			// their number is limited to none.
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) {
				err = fmt.Errorf("%w (missing: namespaces, which are forbidden here: %w)", ErrNotLocked, err)
			} else {
				err = fmt.Errorf("%w: %w", ErrStart, err)
			}
			started <- err
			return
		}
		// The locked memory of the child is more than an ordinary limit allows,
		// and a child in a user namespace cannot raise it itself. Where we may
		// not either, the child finds out what it can do.
		unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		_ = unix.Prlimit(c.cmd.Process.Pid, unix.RLIMIT_MEMLOCK, &unlimited, nil)
		started <- nil
		c.err = c.cmd.Wait()
		log.end()
		close(c.done)
	}()
	return <-started
}

// waysToClone are the namespaces to try, the best first. Root without the
// right to make user namespaces still has the others.
func waysToClone(insecure bool) []uintptr {
	ways := []uintptr{cloneFlags}
	if os.Geteuid() == 0 {
		ways = append(ways, cloneFlags&^unix.CLONE_NEWUSER)
	}
	if insecure {
		ways = append(ways, 0)
	}
	return ways
}

// handshake lets the child go and waits until it is ready.
func (c *Child) handshake(cfg *Config) error {
	_ = c.control.SetDeadline(time.Now().Add(cfg.Timeout)) // the kernel's clock: this is about a real process
	if _, err := c.control.Write([]byte{1}); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	in := bufio.NewScanner(c.control)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return fmt.Errorf("%w: unreadable line", ErrStart)
		}
		switch {
		case l.Error != "":
			if strings.HasPrefix(l.Error, ErrNotLocked.Error()) {
				return fmt.Errorf("%s: %w%s", cfg.Name, ErrNotLocked, strings.TrimPrefix(l.Error, ErrNotLocked.Error()))
			}
			return fmt.Errorf("%w: %s: %s", ErrStart, cfg.Name, l.Error)
		case l.Report != nil:
			c.report = *l.Report
			c.report.PID = c.cmd.Process.Pid
		case l.Hello != nil:
			c.hello = l.Hello
			return c.control.SetDeadline(time.Time{})
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrStart, cfg.Name, err)
	}
	<-c.done
	if c.err == nil {
		return fmt.Errorf("%w: %s ended before it was ready", ErrStart, cfg.Name)
	}
	return fmt.Errorf("%w: %s ended: %w", ErrStart, cfg.Name, c.err)
}

// lineWriter hands whole lines on; os/exec writes to it from one goroutine.
type lineWriter struct {
	emit func(string)
	rest []byte
}

const maxLine = 4096

func (w *lineWriter) Write(b []byte) (int, error) {
	if w.emit == nil {
		return len(b), nil
	}
	w.rest = append(w.rest, b...)
	for {
		text, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			if len(w.rest) > maxLine {
				w.end()
			}
			return len(b), nil
		}
		w.emit(string(text))
		w.rest = append(w.rest[:0], rest...)
	}
}

func (w *lineWriter) end() {
	if w.emit != nil && len(w.rest) > 0 {
		w.emit(string(w.rest))
	}
	w.rest = nil
}
