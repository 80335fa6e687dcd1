package log

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

// A Log is the audit log of one deployment. Use Open. It is safe for
// concurrent use.
type Log struct {
	cfg      Config
	lock     *os.File
	ctx      context.Context // of the signer's calls; ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup // sequencer and integrator
	accounts atomic.Pointer[map[string]*account]

	amu   sync.Mutex
	slots []*account // guarded by amu; by the number that the write-ahead log uses

	qmu    sync.Mutex
	queue  []*pending // guarded by qmu
	closed bool       // guarded by qmu
	wake   chan struct{}

	// Owned by the sequencer.
	wal       wal
	nextBatch uint64
	buf       []byte
	entries   []tree.Hash
	spare     []*pending

	work *tasks // from the sequencer to the integrator

	// Owned by the integrator.
	root       rootLog
	touched    []*account
	next       uint64 // number of the next batch to integrate
	end        place  // last record integrated
	endCRC     uint32
	saved      []*account
	savedEnd   place
	savedEpoch uint64
	beat       time.Time // when heartbeats were last looked for

	saving chan struct{} // holds one token while a state is being saved
	savers sync.WaitGroup

	emu     sync.Mutex
	exports []*savedExport // guarded by emu; oldest first

	fmu    sync.Mutex
	err    error // guarded by fmu
	failed chan struct{}
}

// closeTimeout is how long Close waits for the signer.
const closeTimeout = 5 * time.Second

// valid reports everything that is wrong with a Config and fills in defaults.
func (c *Config) valid() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("log: config: "+what))
		}
	}
	need(c.Dir != "", "no Dir")
	need(c.Domain != "", "no Domain")
	need(c.Clock != nil, "no Clock")
	need(c.Signer != nil, "no Signer")
	need(c.Keys != nil, "no Keys")
	for _, alg := range []struct {
		typ byte
		key []byte
	}{{tree.TypeEd25519, c.Ed25519}, {tree.TypeMLDSA44, c.MLDSA44}} {
		if _, err := tree.NewVerifier(record.RootOrigin(c.Domain), alg.typ, alg.key); err != nil {
			errs = append(errs, fmt.Errorf("log: config: public key: %w", err))
		}
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = segmentSize
	}
	if c.AppendTimeout == 0 {
		c.AppendTimeout = 2 * time.Second
	}
	if c.EpochInterval == 0 {
		c.EpochInterval = time.Second
	}
	if c.disk == nil {
		c.disk = openSegment
	}
	return errors.Join(errs...)
}

// Open opens the log in cfg.Dir, or makes an empty one there. It reads what
// was written since the last saved state and refuses to start (ErrCorrupt) on
// any damage but a torn tail, which was never acknowledged.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if err := cfg.valid(); err != nil {
		return nil, err
	}
	for _, sub := range []string{"wal", "accounts", "root"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("log: open: %w", err)
		}
	}
	if err := syncDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("log: open: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Log{
		cfg: cfg, lock: lock, work: newTasks(), next: 1,
		wake: make(chan struct{}, 1), saving: make(chan struct{}, 1), failed: make(chan struct{}),
		wal:  wal{dir: filepath.Join(cfg.Dir, "wal"), size: cfg.SegmentSize, open: cfg.disk},
		root: rootLog{dir: filepath.Join(cfg.Dir, "root")},
	}
	if err := l.recover(); err != nil {
		if l.wal.file != nil {
			l.wal.file.Close()
		}
		lock.Close()
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		l.wal.file.Close()
		lock.Close()
		return nil, fmt.Errorf("log: open: %w", err)
	}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.running.Go(l.sequence)
	l.running.Go(l.integrate)
	return l, nil
}

// recover brings the log's memory and its derived files to the end of what is
// durable.
func (l *Log) recover() error {
	if err := l.loadAccounts(); err != nil {
		return err
	}
	if !l.cfg.Check {
		if _, err := l.loadState(); err != nil {
			return err
		}
	}
	segment, offset := max(l.end.segment, 1), int64(l.end.offset)+int64(l.end.length)
	if err := l.wal.replay(segment, offset, l.next, l.replayed); err != nil {
		return err
	}
	if err := l.flushFiles(); err != nil {
		return err
	}
	for _, a := range l.slots {
		a.next, a.last = a.tree.Size(), a.lastLeaf.Load()
		a.ready.Store(a.next > 0)
	}
	l.nextBatch = l.next
	l.savedEnd = l.end
	return l.recoverRoot()
}

// replayed takes a record found in the write-ahead log into the trees.
func (l *Log) replayed(r *walRecord, at place) error {
	t := task{items: make([]item, len(r.entries)), batch: r.batch, end: at, crc: r.crc}
	entries := make([]tree.Hash, len(r.entries))
	next := make(map[*account]uint64)
	for i, e := range r.entries {
		if int(e.slot) >= len(l.slots) {
			return fmt.Errorf("%w: batch %d has events of an account that is gone", ErrCorrupt, r.batch)
		}
		a := l.slots[e.slot]
		if _, err := record.ParseLeaf(e.leaf); err != nil {
			return fmt.Errorf("%w: batch %d: %w", ErrCorrupt, r.batch, err)
		}
		it := &t.items[i]
		it.account, it.leaf, it.hash = a, [record.LeafSize]byte(e.leaf), tree.LeafHash(e.leaf)
		it.place = place{at.segment, uint32(len(e.blob)), at.offset + uint64(e.offset)}
		if _, ok := next[a]; !ok {
			next[a] = a.tree.Size()
		}
		entries[i] = tree.BatchEntry(a.label, next[a], it.hash)
		next[a]++
	}
	// The root was signed with the receipts: it ties every event to its index.
	var b tree.Batch
	b.Reset(entries)
	if b.Root() != r.root {
		return fmt.Errorf("%w: batch %d is not what was signed", ErrCorrupt, r.batch)
	}
	if l.cfg.Check {
		if err := l.checkRecord(r); err != nil {
			return err
		}
	}
	l.addBatch(&t)
	if len(l.touched) > 0 && len(l.touched[0].leaves) > 1<<20 {
		return l.flushFiles()
	}
	return nil
}

// checkRecord checks what a start need not: the receipts' signature and the
// hash of every blob.
func (l *Log) checkRecord(r *walRecord) error {
	m := tree.ReceiptMessage(r.batch, r.time, uint32(len(r.entries)), r.root)
	if !ed25519.Verify(l.cfg.Ed25519, m, r.sig[:]) {
		return fmt.Errorf("%w: signature of batch %d", ErrCorrupt, r.batch)
	}
	for i, e := range r.entries {
		leaf, err := record.ParseLeaf(e.leaf)
		if err != nil {
			return fmt.Errorf("%w: batch %d: %w", ErrCorrupt, r.batch, err)
		}
		if leaf.Kind != record.Heartbeat && hashOf(e.blob) != leaf.Blob {
			return fmt.Errorf("%w: blob of event %d of batch %d", ErrCorrupt, i, r.batch)
		}
	}
	return nil
}

// Close stops taking events, writes and integrates those that were taken,
// makes a last epoch of them and closes the files.
func (l *Log) Close() error {
	l.qmu.Lock()
	was := l.closed
	l.closed = true
	l.qmu.Unlock()
	if was {
		l.running.Wait()
		return nil
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	ended := make(chan error, 1)
	go func() { ended <- l.finish() }()
	var err error
	select {
	case err = <-ended:
	case <-l.cfg.Clock.After(closeTimeout):
		l.cancel() // a signer that hangs must not keep the process from ending
		err = <-ended
	}
	l.cancel()
	if cerr := l.wal.file.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("log: close segment: %w", cerr)
	}
	l.lock.Close()
	return err
}

// finish waits for the goroutines and leaves everything durable.
func (l *Log) finish() error {
	l.running.Wait()
	l.savers.Wait()
	if err := l.Err(); err != nil {
		return err
	}
	// The integrator has ended, its state is ours now. A signer that is gone
	// already only delays the checkpoint to the next start.
	if err := l.publish(); err != nil && !errors.Is(err, ErrUnavailable) {
		return err
	}
	return l.save(l.snapshot())
}

// fail stops the log for good.
func (l *Log) fail(err error) {
	l.fmu.Lock()
	defer l.fmu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("%w: %w", ErrStopped, err)
		close(l.failed)
	}
}

// Failed is closed when the log has stopped for good; Err then says why. A
// process that sees it should end: its answers would all be refusals.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// Err is why the log stopped for good, or nil.
func (l *Log) Err() error {
	l.fmu.Lock()
	defer l.fmu.Unlock()
	return l.err
}

// stopped is the error of a call on a log that takes no more.
func (l *Log) stopped() error {
	if err := l.Err(); err != nil {
		return err
	}
	l.qmu.Lock()
	defer l.qmu.Unlock()
	if l.closed {
		return ErrStopped
	}
	return nil
}

// run has the integrator run f once everything is integrated that was durable
// before the call.
func (l *Log) run(ctx context.Context, f func() error) error {
	if err := l.stopped(); err != nil {
		return err
	}
	done := make(chan error, 1)
	if !l.work.push(task{do: func() {
		if err := l.Err(); err != nil {
			done <- err
			return
		}
		done <- f()
	}}) {
		return ErrStopped
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("log: %w", ctx.Err())
	}
}

// Flush integrates every event appended before the call and makes an epoch of
// them whose checkpoint is signed.
func (l *Log) Flush(ctx context.Context) error { return l.run(ctx, l.publish) }

// Checkpoint is the signed checkpoint of the root log's last epoch, nil before
// the first.
func (l *Log) Checkpoint() []byte {
	if s := l.root.signed.Load(); s != nil {
		return s.note
	}
	return nil
}
