package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A plane is a `leadglass serve` of our own: the same program, the same
// processes and the same HTTP as anybody's.
type plane struct {
	url, data string
	cmd       *exec.Cmd
	log       *tail
	exited    chan struct{} // closed when the process has ended
	err       error         // why; valid after exited
}

// startPlane starts a plane on a free loopback port and waits until it serves.
func startPlane(ctx context.Context, data string, flags ...string) (*plane, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &plane{data: data, log: &tail{}, exited: make(chan struct{})}
	args := append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "warn"}, flags...)
	p.cmd = exec.CommandContext(ctx, self, args...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 20 * time.Second
	p.cmd.Stderr = p.log
	// A plane must not outlive the command that it serves.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go func() {
		s := bufio.NewScanner(stdout)
		for s.Scan() {
			if _, url, ok := strings.Cut(s.Text(), " at http"); ok {
				ready <- "http" + url
				break
			}
		}
		io.Copy(io.Discard, stdout)
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	select {
	case p.url = <-ready:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("the plane ended: %w: %s", errors.Join(p.err, errors.New("it never served")), p.log)
	case <-time.After(time.Minute):
		p.cmd.Process.Kill()
		return nil, fmt.Errorf("the plane did not start within a minute: %s", p.log)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *plane) pid() int { return p.cmd.Process.Pid }

// memory is the resident memory of the plane's processes in MiB: with pages
// that they share, such as the program itself, counted in each of them (RSS)
// and once in all (PSS).
func (p *plane) memory() (rss, pss float64) {
	for _, pid := range append(children(p.pid()), p.pid()) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			var kib float64
			if f := strings.Fields(line); len(f) == 3 {
				fmt.Sscan(f[1], &kib)
				switch f[0] {
				case "Rss:":
					rss += kib / 1024
				case "Pss:":
					pss += kib / 1024
				}
			}
		}
	}
	return rss, pss
}

// children are the processes that a process started.
func children(parent int) []int {
	var out []int
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		var pid, ppid int
		var state string
		fmt.Sscan(string(b), &pid)
		fmt.Sscan(string(b[bytes.LastIndexByte(b, ')')+1:]), &state, &ppid)
		if ppid == parent {
			out = append(out, pid)
		}
	}
	return out
}

func (p *plane) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return p.err
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		return errors.New("the plane did not stop within 20 s")
	}
}

// A tail keeps the end of what is written to it, for error messages.
type tail struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if n := len(t.b); n > 8<<10 {
		t.b = t.b[n-4<<10:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// searchProcess reads all readable, writable memory of a process and counts
// where one of the needles is.
func searchProcess(pid int, needles ...[]byte) (scanned int64, hits int, err error) {
	maps, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "maps"))
	if err != nil {
		return 0, 0, err
	}
	mem, err := os.Open(filepath.Join("/proc", fmt.Sprint(pid), "mem"))
	if err != nil {
		return 0, 0, err
	}
	defer mem.Close()
	longest := 0
	for _, n := range needles {
		longest = max(longest, len(n))
	}
	buf := make([]byte, 4<<20)
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		var from, to int64
		if len(f) < 2 || !strings.HasPrefix(f[1], "rw") {
			continue
		}
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err != nil {
			continue
		}
		// Reserved address space is not memory; what was never touched cannot be read or reads as zeroes.
		for at := from; at < to; at += int64(len(buf) - longest) {
			n, err := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			if n == 0 || err != nil && n == 0 {
				break
			}
			scanned += int64(n)
			for _, needle := range needles {
				hits += bytes.Count(buf[:n], needle)
			}
			if n < len(buf) {
				break
			}
		}
	}
	return scanned, hits, nil
}
