package log

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"sync"
	"time"

	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

// A pending event is sealed and waits for its place in the log.
type pending struct {
	account *account
	dek     *dek // that sealed it, or that it records; nil for a heartbeat
	leaf    record.Leaf
	blob    []byte
	done    chan struct{} // buffered; receives once when the fields below are set

	// Set by the sequencer.
	err      error
	index    uint64
	hash     tree.Hash
	position int
	batch    *written
	before   uint64 // account.last before this event
}

// written is a batch that is durable; its events share it.
type written struct {
	number, time uint64
	tree         tree.Batch
	count        uint32
	sig          [64]byte
}

// pendings are reused together with their blob buffers: a blob of one or two
// KiB for each call would otherwise be most of what the collector has to do.
var pendings = sync.Pool{New: func() any { return &pending{done: make(chan struct{}, 1)} }}

func newPending() *pending { return pendings.Get().(*pending) }

// free gives back a pending event. The waiter calls it; one that stopped
// waiting does not, for the sequencer still holds it.
func (p *pending) free() {
	if cap(p.blob) > 64<<10 {
		p.blob = nil
	}
	*p = pending{blob: p.blob[:0], done: p.done}
	pendings.Put(p)
}

func (p *pending) fill(kind record.Kind, flags record.Flags, event [16]byte, at time.Time, keyID [16]byte) {
	p.leaf = record.Leaf{Kind: kind, Flags: flags, Time: uint64(max(at.UnixMilli(), 0)), EventID: event, KeyID: keyID}
}

func hashOf(b []byte) [32]byte { return sha256.Sum256(b) }

// Append records one event and returns once it is durable. A caller whose
// Append failed must not release the result of the call.
func (l *Log) Append(ctx context.Context, e Event) (Receipt, error) {
	p, err := l.submit(e)
	if err != nil {
		return Receipt{}, err
	}
	var one [1]*pending
	one[0] = p
	if err := l.wait(ctx, one[:]); err != nil {
		return Receipt{}, err
	}
	r := p.receipt()
	p.free()
	return r, nil
}

// AppendAll records several events, such as both copies of a cross-account
// call, and returns once all are durable.
func (l *Log) AppendAll(ctx context.Context, events []Event) ([]Receipt, error) {
	list := make([]*pending, 0, len(events))
	var failed error
	for _, e := range events {
		p, err := l.submit(e)
		if err != nil {
			failed = err
			break
		}
		list = append(list, p)
	}
	if err := l.wait(ctx, list); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	receipts := make([]Receipt, len(list))
	for i, p := range list {
		receipts[i] = p.receipt()
		p.free()
	}
	return receipts, nil
}

// submit seals an event and puts it into the queue.
func (l *Log) submit(e Event) (*pending, error) {
	a, err := l.account(e.Account)
	if err != nil {
		return nil, err
	}
	event, err := record.ParseUUID(e.ID)
	if err != nil {
		return nil, fmt.Errorf("log: append: %w", err)
	}
	kind := e.Kind
	if kind == 0 {
		kind = record.APIEvent
	}
	if !kind.Sealed() || e.Flags > 7 {
		return nil, fmt.Errorf("log: append: kind %d with flags %d is not for callers", kind, e.Flags)
	}
	if len(e.JSON) > record.MaxEvent {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(e.JSON))
	}
	d, err := l.key(a)
	if err != nil {
		return nil, err
	}
	at := e.Time
	if at.IsZero() {
		at = l.cfg.Clock.Now()
	}
	p := newPending()
	p.account, p.dek = a, d
	p.fill(kind, e.Flags, event, at, d.sealer.KeyID())
	p.blob, p.leaf.Commitment, p.leaf.Blob, err = d.sealer.Seal(p.blob[:0], kind, e.JSON)
	if err == nil {
		err = l.enqueue(p)
	}
	if err != nil {
		p.free()
		return nil, err
	}
	return p, nil
}

// enqueue hands a sealed event to the sequencer.
func (l *Log) enqueue(p *pending) error {
	l.qmu.Lock()
	if l.closed {
		l.qmu.Unlock()
		return l.stopped()
	}
	l.queue = append(l.queue, p)
	l.qmu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
	return nil
}

// wait returns when all events are durable, or the time for an append is over.
func (l *Log) wait(ctx context.Context, list []*pending) error {
	late := l.cfg.Clock.After(l.cfg.AppendTimeout)
	var first error
	for _, p := range list {
		select {
		case <-p.done:
			if p.err != nil && first == nil {
				first = p.err
			}
		case <-ctx.Done():
			return fmt.Errorf("log: append: %w", ctx.Err())
		case <-late:
			return ErrTimeout
		}
	}
	return first
}

// receipt is made by the waiter, so that the sequencer is free for the next batch.
func (p *pending) receipt() Receipt {
	return Receipt{
		Label: p.account.label, Index: p.index, Leaf: p.hash,
		Batch: p.batch.number, Time: p.batch.time, Count: p.batch.count,
		Position: uint32(p.position), Path: p.batch.tree.Path(p.position), Sig: p.batch.sig,
	}
}

// gather lets those append who are ready to, as long as more come: under load
// a signature and an fdatasync then serve many events instead of two. A lone
// caller waits for nobody, because nobody else is ready to run.
func (l *Log) gather() {
	for last, rounds := 0, 0; rounds < maxGather; rounds++ {
		l.qmu.Lock()
		n := len(l.queue)
		l.qmu.Unlock()
		if n == last {
			return
		}
		last = n
		runtime.Gosched()
	}
}

// maxGather bounds how often gather lets others run first.
const maxGather = 16

// sequence is the sequencer's goroutine: it takes what is in the queue (the
// fdatasync of the batch before was the time to gather it), writes it and
// wakes the callers.
func (l *Log) sequence() {
	defer l.work.close()
	for {
		l.gather()
		l.qmu.Lock()
		queue, closed := l.queue, l.closed
		l.queue = l.spare[:0]
		l.qmu.Unlock()
		for rest := queue; len(rest) > 0; {
			n, size := 0, 0
			for n < len(rest) && n < tree.MaxBatch && size < maxBatch {
				size += walEntry + len(rest[n].blob)
				n++
			}
			l.writeBatch(rest[:n])
			rest = rest[n:]
		}
		clear(queue)
		l.spare = queue
		if len(queue) > 0 {
			continue
		}
		if closed {
			return
		}
		<-l.wake
	}
}

// writeBatch gives the events their places, writes them and tells the
// callers. Nobody is told before fdatasync has returned.
func (l *Log) writeBatch(list []*pending) {
	now := uint64(l.cfg.Clock.Now().UnixMilli())
	kept := list[:0] // in place: the queue is ours
	for _, p := range list {
		if err := l.Err(); err != nil {
			p.fail(err)
		} else if p.dek != nil && p.dek.failed.Load() {
			p.fail(fmt.Errorf("%w: the record of the data key was not written", ErrUnavailable))
		} else {
			kept = append(kept, p)
		}
	}
	if len(kept) == 0 {
		return
	}
	b := &written{number: l.nextBatch, time: now, count: uint32(len(kept))}
	rec := append(l.buf[:0], walMagic...)
	rec = append(rec, 0, 0, 0, 0)
	rec = binary.BigEndian.AppendUint64(rec, b.number)
	rec = binary.BigEndian.AppendUint32(rec, b.count)
	entries := l.entries[:0]
	items := make([]item, len(kept))
	for i, p := range kept {
		a := p.account
		p.index, p.before, p.position, p.batch = a.next, a.last, i, b
		// Time never decreases within a log, and no caller can put it ahead of
		// the clock, which would drag all later leaves with it (section 5).
		p.leaf.Time = max(min(p.leaf.Time, now), a.last)
		a.next, a.last = a.next+1, p.leaf.Time
		rec = binary.BigEndian.AppendUint16(rec, a.Slot)
		at := len(rec)
		rec = p.leaf.Append(rec)
		p.hash = tree.LeafHash(rec[at:])
		items[i] = item{account: a, hash: p.hash, leaf: [record.LeafSize]byte(rec[at:])}
		rec = binary.BigEndian.AppendUint32(rec, uint32(len(p.blob)))
		items[i].place = place{length: uint32(len(p.blob)), offset: uint64(len(rec))}
		rec = append(rec, p.blob...)
		entries = append(entries, tree.BatchEntry(a.label, p.index, p.hash))
	}
	b.tree.Reset(entries)
	root := b.tree.Root()
	sig, err := l.cfg.Signer.Sign(l.ctx, Ed25519, tree.ReceiptMessage(b.number, now, b.count, root))
	if err == nil && len(sig) != len(b.sig) {
		err = errors.New("signature has the wrong length")
	}
	if err != nil {
		l.undo(kept, fmt.Errorf("%w: sign receipts: %w", ErrUnavailable, err))
		return
	}
	copy(b.sig[:], sig)
	rec = binary.BigEndian.AppendUint64(rec, now)
	rec = append(rec, root[:]...)
	rec = append(rec, b.sig[:]...)
	binary.BigEndian.PutUint32(rec[4:], uint32(len(rec)+4))
	rec = binary.BigEndian.AppendUint32(rec, crc32.Checksum(rec, castagnoli))
	l.buf, l.entries = rec[:0], entries

	at, err := l.wal.append(rec)
	switch {
	case errors.Is(err, errNotWritten):
		l.undo(kept, fmt.Errorf("%w: %w", ErrUnavailable, err))
		return
	case err != nil:
		// What the disk holds is unknown now: a kernel that failed an fsync may
		// report the next one as good although the pages are gone.
		l.fail(err)
		for _, p := range kept {
			p.fail(l.Err())
		}
		return
	}
	for i := range items {
		items[i].place.segment = at.segment
		items[i].place.offset += at.offset
	}
	l.nextBatch++
	// Before the callers: a Lookup that one of them makes next must find its event.
	l.work.push(task{items: items, batch: b.number, end: at, crc: binary.BigEndian.Uint32(rec[len(rec)-4:])})
	for _, p := range kept {
		p.done <- struct{}{}
	}
}

// undo takes back the places of events of which nothing was written.
func (l *Log) undo(list []*pending, err error) {
	for i := len(list) - 1; i >= 0; i-- {
		p := list[i]
		p.account.next, p.account.last = p.index, p.before
		p.fail(err)
	}
}

func (p *pending) fail(err error) {
	if p.leaf.Kind == record.KeyRecords {
		p.dek.failed.Store(true)
	}
	p.err = err
	p.done <- struct{}{}
}
