package hsm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// NodeConfig says how to start the HSMs of a machine.
type NodeConfig struct {
	// HSM is the first one's; the others are like it, with -2, -3 ... behind
	// StateDir, and always wait for their domain.
	HSM Config
	// Members is how many HSMs there are to be. Those whose state directories
	// are there already are started in any case.
	Members int
	// Commands are signed commands (quorum.SignedCommand) that are submitted in
	// turn if no HSM has a domain: CreateDomain, InstallDomain or RecoverShares.
	Commands [][]byte
}

// A Node is the HSMs of one machine: several processes, which serve as one
// Pool as far as they have the newest state of the domain. The others run
// beside and wait for a command that lets them in.
type Node struct {
	pool      *Pool
	processes []*Process // nil: it did not start
	problems  []string   // of those

	mu     sync.Mutex
	inPool []bool // guarded by mu; which processes serve

	changing sync.Mutex // held while a command is submitted, so that nobody is let in by an older answer
	watchers sync.WaitGroup
	done     chan struct{} // closed when no process is left that serves
	once     sync.Once     // closes done
}

// ErrWaiting is returned when the HSMs run and none has a domain.
var ErrWaiting = errors.New("hsm: no HSM has a domain")

// StateDirs are the state directories of a node's HSMs that exist, and those
// up to n.
func StateDirs(first string, n int) []string {
	out := []string{first}
	for i := 2; ; i++ {
		dir := fmt.Sprintf("%s-%d", first, i)
		if _, err := os.Stat(dir); i > n && err != nil {
			return out
		}
		out = append(out, dir)
	}
}

// StartNode starts the HSMs of a machine. Their doors are open: to the
// authority the node is one HSM, which places it and closes them.
//
// One that does not start is a problem (Problems), not an error, as long as
// another one serves.
func StartNode(ctx context.Context, cfg NodeConfig) (n *Node, err error) {
	n = &Node{pool: NewPool(), done: make(chan struct{})}
	defer func() {
		if err != nil {
			n.Stop()
			n = nil
		}
	}()
	var failed []error
	for i, dir := range StateDirs(cfg.HSM.StateDir, cfg.Members) {
		one := cfg.HSM
		one.StateDir = dir
		if i > 0 {
			one.Await = true
			one.Label = fmt.Sprintf("%s %d", labelOf(cfg.HSM.Label), i+1)
		}
		p, err := Start(ctx, one)
		if err != nil {
			failed = append(failed, err)
			n.problems = append(n.problems, fmt.Sprintf("HSM %d does not start: %v", i+1, err))
		}
		n.processes = append(n.processes, p)
	}
	n.inPool = make([]bool, len(n.processes))
	if slices.IndexFunc(n.processes, func(p *Process) bool { return p != nil }) < 0 {
		return n, errors.Join(failed...)
	}
	if err := n.Refresh(ctx); err != nil {
		return n, err
	}
	for _, signed := range cfg.Commands {
		if n.Serving() != nil {
			break // it has its domain; what these files say happened, or is for custodians to submit
		}
		if _, err := n.Command(ctx, signed); err != nil {
			return n, fmt.Errorf("hsm: command for an HSM without a domain: %w", err)
		}
	}
	if n.Serving() == nil {
		return n, fmt.Errorf("%w: %s", ErrWaiting, strings.Join(n.waiting(ctx), ", "))
	}
	// What one of them missed while it was away, it learns before anybody is answered.
	if err := n.pool.SyncFences(ctx); err != nil {
		return n, err
	}
	for i, p := range n.processes {
		if p != nil {
			n.watchers.Go(func() { n.watch(i, p) })
		}
	}
	return n, nil
}

func labelOf(label string) string {
	if label == "" {
		return "software"
	}
	return label
}

// waiting are the ids of the HSMs that run.
func (n *Node) waiting(ctx context.Context) (out []string) {
	for i, p := range n.processes {
		if p == nil {
			continue
		}
		if s, err := p.client.Status(ctx); err == nil {
			out = append(out, fmt.Sprintf("HSM %d is member %s", i+1, quorum.ID(s.Member)))
		}
	}
	return out
}

// watch waits for the end of one process. The pool finds out by itself that it
// is gone.
func (n *Node) watch(i int, p *Process) {
	<-p.Done()
	n.mu.Lock()
	n.inPool[i] = false
	left := slices.Contains(n.inPool, true)
	n.mu.Unlock()
	n.pool.Remove(p.client)
	if !left {
		n.once.Do(func() { close(n.done) })
	}
}

// Refresh lets in whoever has the newest state of the domain and knows the
// fences that the others know, and leaves out whoever has not: behind a newer
// state lie changes that were made so that it should not serve, or not so.
func (n *Node) Refresh(ctx context.Context) error {
	n.changing.Lock()
	defer n.changing.Unlock()
	return n.refresh(ctx)
}

// refresh does it; the caller holds n.changing.
func (n *Node) refresh(ctx context.Context) error {
	newest := uint64(0)
	has := make([]uint64, len(n.processes)) // serial and one; 0: no domain, or it does not answer
	for i, p := range n.processes {
		if p == nil || ended(p) {
			continue
		}
		// One that does not answer is about to end.
		if s, err := p.client.Status(ctx); err == nil && s.Members > 0 {
			has[i], newest = s.Serial+1, max(newest, s.Serial+1)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var problems []error
	for i, p := range n.processes {
		serves := has[i] > 0 && has[i] == newest
		if serves {
			// Also one that is thought to be in: the pool leaves out by itself
			// who does not follow a fence.
			if err := n.pool.Admit(ctx, p.client); err != nil {
				serves = false
				problems = append(problems, fmt.Errorf("hsm: HSM %d: %w", i+1, err))
			}
		}
		if !serves && p != nil {
			n.pool.Remove(p.client)
		}
		n.mu.Lock()
		n.inPool[i] = serves && !ended(p) // else watch, which may have been here, would be overruled
		n.mu.Unlock()
	}
	return errors.Join(problems...)
}

func ended(p *Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// Client asks the HSMs that serve, as one.
func (n *Node) Client() *Client { return n.pool.Client }

// Pool is the HSMs that serve.
func (n *Node) Pool() *Pool { return n.pool }

// Processes are the HSMs in the order of their state directories; nil stands
// for one that did not start.
func (n *Node) Processes() []*Process { return n.processes }

// Problems says why HSMs are missing.
func (n *Node) Problems() []string { return n.problems }

// Serves says whether the HSM with this index, from 0 on, is in use: it was let
// in, and the pool has not left it out since.
func (n *Node) Serves(i int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.inPool[i] && slices.Contains(n.pool.Members(), n.processes[i].client)
}

// Serving is the first HSM that serves, nil if none does.
func (n *Node) Serving() *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.inPool, true); i >= 0 {
		return n.processes[i]
	}
	return nil
}

// Identity is the SPKI of the HSM that AuthorityLink leads to: the first that
// serves.
func (n *Node) Identity() []byte { return n.Serving().Identity() }

// AuthorityLink is the socket for the authority, of that HSM.
func (n *Node) AuthorityLink() *os.File { return n.Serving().AuthorityLink() }

// PlaceHost lets a host in at all HSMs. The authority talks to one only, but
// every one believes what it vouches for.
func (n *Node) PlaceHost(ctx context.Context, spki []byte, role string) error {
	return n.each(func(p *Process) error { return p.PlaceHost(ctx, spki, role) })
}

// A Door is the first HSM that serves, for a host that all HSMs have to know:
// who is placed there is placed at each, and Ready closes the doors of all.
type Door struct {
	*Process
	node *Node
}

// Door is nil if no HSM serves.
func (n *Node) Door() *Door {
	if p := n.Serving(); p != nil {
		return &Door{p, n}
	}
	return nil
}

// PlaceHost lets a host talk to all HSMs in a role.
func (d *Door) PlaceHost(ctx context.Context, spki []byte, role string) error {
	for _, p := range d.node.processes {
		if p == nil || ended(p) {
			continue
		}
		if err := p.PlaceHost(ctx, spki, role); err != nil {
			return err
		}
	}
	return nil
}

// Ready closes the doors.
func (d *Door) Ready(ctx context.Context) error { return d.node.Ready(ctx) }

// Ready closes the doors of all HSMs: no host can be placed any more.
func (n *Node) Ready(ctx context.Context) error {
	return n.each(func(p *Process) error { return p.Ready(ctx) })
}

func (n *Node) each(do func(*Process) error) error {
	for _, p := range n.processes {
		if p == nil || ended(p) {
			continue
		}
		if err := do(p); err != nil {
			return err
		}
	}
	return nil
}

// Command submits a signed command to the HSMs that it is for, whether they
// serve or wait, and lets in whoever has the newest state then. Submitting
// grants nothing: each HSM asks its own rules.
func (n *Node) Command(ctx context.Context, signed []byte) (quorum.CommandResult, error) {
	n.changing.Lock()
	defer n.changing.Unlock()
	result, err := NewPool(n.addressees(ctx, signed)...).Command(ctx, signed)
	// Also after an error: some may have obeyed.
	served := n.Serving() != nil
	err = errors.Join(err, n.refresh(context.WithoutCancel(ctx)))
	if served && n.Serving() == nil {
		n.once.Do(func() { close(n.done) })
	}
	return result, err
}

// addressees are the HSMs that run, the serving ones first. InstallDomain is
// not for those that have no domain and no place in the one that comes, nor for
// those that have its state, which would only say that they used the command:
// the same paper serves whoever is behind.
func (n *Node) addressees(ctx context.Context, signed []byte) []*Client {
	var brought *quorum.DomainState
	if _, command, err := quorum.Parse(signed); err == nil {
		if arguments, err := quorum.DecodeArguments(command.Name, command.Arguments); err == nil {
			if a, ok := arguments.(*quorum.InstallArguments); ok {
				if t, err := quorum.ParseToken(a.Token); err == nil {
					brought = &t.State
				}
			}
		}
	}
	var first, rest, beyond []*Client
	for i, p := range n.processes {
		if p == nil || ended(p) {
			continue
		}
		s, err := p.client.Status(ctx)
		if err != nil {
			continue
		}
		waits := s.Members == 0
		switch {
		case brought != nil && waits && !slices.ContainsFunc(brought.Members, func(m quorum.Member) bool { return m.ID == s.Member }):
		case brought != nil && !waits && s.Serial >= brought.Serial:
			beyond = append(beyond, p.client)
		case n.Serves(i):
			first = append(first, p.client)
		default:
			rest = append(rest, p.client)
		}
	}
	if out := append(first, rest...); len(out) > 0 {
		return out
	}
	return beyond // for their refusal
}

// Done is closed when no HSM is left that serves.
func (n *Node) Done() <-chan struct{} { return n.done }

// Wait waits for that and says why the HSMs ended.
func (n *Node) Wait() error {
	<-n.done
	var errs []error
	for i, p := range n.processes {
		if p != nil && ended(p) {
			errs = append(errs, fmt.Errorf("hsm: HSM %d ended: %v", i+1, p.Wait()))
		}
	}
	if len(errs) == 0 {
		return ErrWaiting // they left it, or were told to destroy it
	}
	return errors.Join(errs...)
}

// Stop ends all processes and waits for them.
func (n *Node) Stop() {
	for _, p := range n.processes {
		if p != nil {
			p.Stop()
		}
	}
	n.watchers.Wait()
}

// lockState makes sure that one HSM at a time works with a state directory:
// two would each believe to be the whole of it, and fork its log. The lock
// lies beside the directory, which the HSM's own files fill.
func lockState(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("hsm: %w", err)
	}
	f, err := os.OpenFile(strings.TrimRight(dir, "/")+".lock", os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("hsm: %s is in use by another HSM", dir)
	}
	return f, nil
}
