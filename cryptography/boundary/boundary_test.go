//go:build linux && (amd64 || arm64)

package boundary_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net" // also makes the test binary one with cgo, where there is a C compiler
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// TestMain makes the test binary its own child, as the real binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "boundary-child" {
		if err := boundary.Run(child); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "boundary-parent" {
		parent(os.Args[2])
	}
	os.Exit(m.Run())
}

func start(t testing.TB, cfg boundary.Config, mode string) *boundary.Child {
	t.Helper()
	cfg.Name, cfg.Args, cfg.Setup = "test", []string{"boundary-child"}, []byte(mode)
	if cfg.StateDir == "" {
		cfg.StateDir = t.TempDir()
	}
	if cfg.Links == 0 {
		cfg.Links = 1
	}
	if cfg.Log == nil {
		cfg.Log = func(line string) { t.Log("child:", line) }
	}
	c, err := boundary.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// child is what runs behind the boundary: it says hello, waits for a byte and
// does what the mode says.
func child(env *boundary.Env) error {
	mode := string(env.Setup)
	var s *secret.Bytes
	if rest, ok := strings.CutPrefix(mode, "hold "); ok {
		canary := []byte(rest)
		for i := range canary {
			canary[i] ^= 0x55 // the setup, which the parent wrote, holds it only so
		}
		var err error
		if s, err = env.Memory.From(canary); err != nil {
			return err
		}
		secret.Wipe(canary)
		mode = "hold"
	}
	hello := fmt.Sprintf("pid %d", os.Getpid())
	if s != nil {
		_ = s.Use(func(b []byte) error { hello = fmt.Sprint(uintptr(unsafe.Pointer(&b[0]))); return nil })
	}
	if err := env.Ready([]byte(hello)); err != nil {
		return err
	}
	link := env.Links[0]
	buf := make([]byte, 64)
	if _, err := link.Read(buf); err != nil {
		return nil // the parent is gone
	}
	if mode == "hold" {
		_, _ = link.Read(buf)
		return nil
	}
	if mode == "work" {
		return work(env, link)
	}
	if mode == "panic" {
		panic("as asked")
	}
	if mode == "absolute" {
		const stateDescriptor = 5 // the one that the filter accepts; absolute paths ignore it
		if _, err := os.ReadFile("/etc/hostname"); err == nil {
			_, _ = link.Write([]byte("read a file; "))
		}
		for _, path := range []string{"/etc/hostname", "/proc/self/status", "/dev/null"} {
			if fd, err := unix.Openat(stateDescriptor, path, unix.O_RDONLY, 0); err == nil || !errors.Is(err, unix.EACCES) {
				_, _ = link.Write([]byte(fmt.Sprintf("opened %s: %d, %v; ", path, fd, err)))
			}
		}
	}
	if f, ok := forbidden[mode]; ok {
		f(env)
	}
	_, err := link.Write([]byte("survived"))
	return err
}

// work does what a server of keys does: threads, memory, files, timers.
func work(env *boundary.Env, link *os.File) error {
	done := make(chan error)
	for i := range 32 {
		go func() {
			runtime.LockOSThread() // a thread each, which ends with the goroutine
			name := fmt.Sprintf("file%d", i%4)
			for range 8 {
				if i < 4 {
					if err := env.State.Save(name, bytes.Repeat([]byte{byte(i)}, 20000)); err != nil {
						done <- err
						return
					}
					if b, ok, err := env.State.Load(name); err != nil || !ok || len(b) != 20000 {
						done <- fmt.Errorf("load: %d bytes, %v, %w", len(b), ok, err)
						return
					}
				}
				_ = make([]byte, 1<<20)
				time.Sleep(time.Millisecond)
			}
			s, err := env.Memory.New(32)
			if err == nil {
				s.Destroy()
			}
			if err == nil {
				s, err = secret.New(100)
			}
			if err == nil {
				s.Destroy()
			}
			done <- err
		}()
	}
	var err error
	for range 32 {
		err = errors.Join(err, <-done)
	}
	runtime.GC()
	if _, found, loadErr := env.State.Load("absent"); found || loadErr != nil {
		err = errors.Join(err, errors.New("an absent file was found"))
	}
	if env.State.Save("../escape", nil) == nil {
		err = errors.Join(err, errors.New("a name with a path was accepted"))
	}
	answer := "done"
	if err != nil {
		answer = err.Error()
	}
	_, err = link.Write([]byte(answer))
	return err
}

// forbidden are things that no boundary does.
var forbidden = map[string]func(env *boundary.Env){
	"socket":    func(*boundary.Env) { _, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) },
	"listen":    func(*boundary.Env) { _, _ = net.Listen("unix", "@x") },
	"sendmsg":   func(env *boundary.Env) { _ = unix.Sendmsg(int(env.Links[0].Fd()), nil, unix.UnixRights(5), nil, 0) },
	"execve":    func(*boundary.Env) { _ = syscall.Exec("/proc/self/exe", []string{"x"}, nil) },
	"fork":      func(*boundary.Env) { _, _ = syscall.ForkExec("/bin/true", []string{"x"}, nil) },
	"ptrace":    func(*boundary.Env) { _ = unix.PtraceAttach(1) },
	"bpf":       func(*boundary.Env) { _, _, _ = unix.Syscall(unix.SYS_BPF, 0, 0, 0) },
	"kill":      func(*boundary.Env) { _ = unix.Kill(1, 0) },
	"unshare":   func(*boundary.Env) { _ = unix.Unshare(unix.CLONE_NEWUSER) },
	"setrlimit": func(*boundary.Env) { _ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}) },
	"dumpable":  func(*boundary.Env) { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) },
	"memfd_secret": func(*boundary.Env) {
		_, _, _ = unix.Syscall(unix.SYS_MEMFD_SECRET, 0, 0, 0)
	},
	"process_vm_readv": func(*boundary.Env) {
		_, _ = unix.ProcessVMReadv(1, nil, nil, 0)
	},
	"executable memory": func(*boundary.Env) {
		_, _ = unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	},
	"memory made executable": func(*boundary.Env) {
		m, _ := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		_ = unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
	},
	"a call of another thread": func(*boundary.Env) { // the filter is on all threads
		done := make(chan bool)
		go func() {
			runtime.LockOSThread()
			_, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			done <- true
		}()
		<-done
	},
}

func TestAChildIsLockedDownAndDoesItsWork(t *testing.T) {
	dir := t.TempDir()
	c := start(t, boundary.Config{StateDir: dir}, "work")
	r := c.Lockdown()
	t.Logf("%+v", r)
	if !r.Complete() || !r.Seccomp || !r.NoNewPrivs || !r.NoCapabilities || !r.Undumpable || r.LandlockABI < 4 || len(r.Namespaces) < 5 {
		t.Errorf("incomplete lockdown: %+v", r)
	}
	if string(c.Hello()) != "pid 1" {
		t.Errorf("hello = %q, want that of the first process of a pid namespace", c.Hello())
	}
	link := c.Link(0)
	if _, err := link.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(link)
	if err != nil || string(answer) != "done" {
		t.Fatalf("work: %q, %v", answer, err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the child ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "file0")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "escape")); err == nil {
		t.Error("a file was written outside the state directory")
	}
}

func TestAForbiddenSystemCallKillsTheChild(t *testing.T) {
	for mode := range forbidden {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := start(t, boundary.Config{}, mode)
			if _, err := c.Link(0).Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(c.Link(0))
			if len(answer) > 0 {
				t.Fatalf("the child %s", answer)
			}
			exit, ok := errors.AsType[*exec.ExitError](c.Wait())
			if !ok || !exit.Sys().(syscall.WaitStatus).Signaled() || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
				t.Errorf("the child ended with %v, want SIGSYS", exit)
			}
		})
	}
}

// The landlock rules are a second wall, which the filter hides from ordinary
// tests. Here files are also asked for by the one way that the filter lets through.
func TestNoFileOutsideTheStateDirectoryOpens(t *testing.T) {
	c := start(t, boundary.Config{}, "absolute")
	if _, err := c.Link(0).Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c.Link(0))
	if err != nil || string(answer) != "survived" {
		t.Errorf("the child answered %q, %v", answer, err)
	}
}

func TestSecretMemoryOfAChildCannotBeReadByAnyone(t *testing.T) {
	canary := make([]byte, 40) // made here: a constant would lie in the child's copy of this binary
	for i := range canary {
		canary[i] = 'a' + byte(rand.IntN(20))
	}
	masked := bytes.Clone(canary)
	for i := range masked {
		masked[i] ^= 0x55
	}
	c := start(t, boundary.Config{}, "hold "+string(masked))
	if c.Lockdown().Memory != secret.MemfdSecret {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatal("no memfd_secret memory here")
		}
		t.Skip("this kernel gives no memfd_secret memory")
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", c.PID()))
	if err != nil {
		t.Skipf("may not read the child's memory at all: %v", err) // not root: even better
	}
	defer mem.Close()
	var at int64
	if _, err := fmt.Sscan(string(c.Hello()), &at); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(canary))
	if _, err := mem.ReadAt(buf, at); !errors.Is(err, syscall.EIO) {
		t.Errorf("reading the secret's own page: %v (%q), want EIO", err, buf)
	}
	pages, found := scan(t, c.PID(), mem, canary)
	if pages == 0 {
		t.Error("no page of the child could be read: the search says nothing")
	}
	if found {
		t.Error("the canary lies in readable memory of the child")
	}
}

// scan searches every readable page of a process.
func scan(t *testing.T, pid int, mem *os.File, canary []byte) (pages int, found bool) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || mode[0] != 'r' || strings.Contains(line, "[v") {
			continue
		}
		for at := from; at < to; at += int64(len(buf)) - 64 { // overlapping
			n, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			pages += n / 4096
			if bytes.Contains(buf[:n], canary) {
				return pages, true
			}
		}
	}
	return pages, false
}

func TestAChildDiesWithItsParent(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "boundary-parent", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil || pid == 0 {
		t.Fatal("the parent did not start its child:", err)
	}
	if err := unix.Kill(pid, 0); err != nil {
		t.Fatalf("the child does not run: %v", err)
	}
	_ = cmd.Process.Kill() // no chance to clean up
	_ = cmd.Wait()
	for range 200 {
		if gone(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	t.Error("the child outlived its parent")
}

// gone treats a zombie, which its new parent has yet to collect, as gone.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func parent(dir string) {
	c, err := boundary.Start(boundary.Config{
		Name: "test", Args: []string{"boundary-child"}, StateDir: dir, Links: 1, Setup: []byte("orphan"),
	})
	if err != nil {
		fmt.Println(0, err)
		os.Exit(1)
	}
	r := c.Lockdown()
	fmt.Printf("%d %v %+v\n", c.PID(), r.Complete(), r)
	select {}
}

// An ordinary user gets the same boundary as root.
func TestAChildNeedsNoPrivilege(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("every other test here is this one already")
	}
	dir, err := os.MkdirTemp("/tmp", "boundary") // whose parents anybody may enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "boundary-parent", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if fields := strings.Fields(line); err != nil || len(fields) < 2 || fields[1] != "true" {
		t.Errorf("%q, %v", line, err)
	}
	t.Log(line)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestAnIncompleteLockdownNeedsConsent(t *testing.T) {
	// The filter and landlock cannot be taken away from a test; secret memory of
	// an impossible size can.
	cfg := boundary.Config{
		Name: "test", Args: []string{"boundary-child"}, StateDir: t.TempDir(), Links: 1, Setup: []byte("work"), Secrets: 1 << 30,
	}
	if c, err := boundary.Start(cfg); err == nil {
		c.Stop()
		t.Skip("this system gives even that")
	} else if !errors.Is(err, boundary.ErrNotLocked) || !strings.Contains(err.Error(), "memfd_secret") {
		t.Fatal(err)
	}
	cfg.Insecure = true
	c, err := boundary.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	r := c.Lockdown()
	if r.Complete() || !r.Insecure || !r.Seccomp || r.Memory != secret.LockedPages {
		t.Errorf("report %+v", r)
	}
	if _, err := c.Link(0).Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(c.Link(0)); err != nil || string(answer) != "done" {
		t.Errorf("work: %q, %v", answer, err)
	}
}

func TestAPanicOfTheChildShowsNoStack(t *testing.T) {
	lines := make(chan string, 100)
	c := start(t, boundary.Config{Log: func(line string) { lines <- line }}, "panic")
	_, _ = c.Link(0).Write([]byte{1})
	if c.Wait() == nil {
		t.Error("the child survived its panic")
	}
	close(lines)
	all := ""
	for l := range lines {
		all += l + "\n"
	}
	if !strings.Contains(all, "as asked") || strings.Contains(all, "goroutine") || strings.Contains(all, ".go:") {
		t.Errorf("stderr of the child: %q", all)
	}
}

func TestAChildNeedsItsParent(t *testing.T) {
	out, err := exec.Command("/proc/self/exe", "boundary-child").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "leadglass itself starts") {
		t.Errorf("started by hand: %v, %q", err, out)
	}
}

func TestAnIdleChildIsSmall(t *testing.T) {
	c := start(t, boundary.Config{}, "hold x")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kb := 0; strings.HasPrefix(line, "VmRSS:") {
			if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err != nil {
				t.Fatal(err)
			}
			t.Logf("RSS %d KiB", kb)
			if kb > 20<<10 && !raceDetector { // of 120 MiB that a whole idle node may use
				t.Errorf("RSS %d KiB", kb)
			}
		}
	}
}
