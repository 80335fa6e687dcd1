package core

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// commandLog is the HSM's own record of commands, sessions, rotations and
// counts (package message has its formats). Nobody outside can take an entry
// out or put one in: the chain of hashes shows it to whoever has seen a later
// head, and a key of the HSM's own authenticates what lies in the store. A
// store that is put back to an older state makes the log fork, which the
// reader that knows the newer head finds.
type commandLog struct {
	store Store
	me    *identity
	now   func() time.Time

	counters [maxOperation][maxStatus]atomic.Uint64 // since the last entry of counts

	mu      sync.Mutex
	size    uint64                 // guarded by mu; number of the last entry
	hash    [message.ChainLen]byte // guarded by mu; of the chain up to it
	kept    []uint64               // guarded by mu; first numbers of the segments, oldest first
	current segment                // guarded by mu; the last of them
}

const (
	maxOperation = 128
	maxStatus    = 16

	// A segment is rewritten for each of its entries, so it is small; the ring
	// of them keeps about two weeks of a busy node, and never more.
	ringSize    = 64
	segmentLen  = 48 << 10
	maxPageLen  = 40 << 10
	maxEntryLen = 8 << 10
	segmentTag  = 32
	logMagic    = "LGL1"
)

// segment is one file of the log: entries without a gap, and the chain before
// them.
type segment struct {
	index   uint64
	first   uint64
	before  [message.ChainLen]byte
	entries [][]byte
	length  int
}

func segmentName(index uint64) string { return fmt.Sprintf("commands.%02d", index%ringSize) }

// encode is "LGL1" ‖ {1: index, 2: first number, 3: chain before, 4: [entries]}
// ‖ HMAC-SHA-256 of all before.
func (s *segment) encode(key []byte) []byte {
	b := append(make([]byte, 0, s.length+256), logMagic...)
	b = link.AppendMap(b, 4)
	b = link.AppendUint(link.AppendUint(b, 1), s.index)
	b = link.AppendUint(link.AppendUint(b, 2), s.first)
	b = link.AppendBytes(link.AppendUint(b, 3), s.before[:])
	b = link.AppendArray(link.AppendUint(b, 4), len(s.entries))
	for _, e := range s.entries {
		b = link.AppendBytes(b, e)
	}
	var tag [segmentTag]byte
	kdf.LongHMAC(&tag, key, b)
	return append(b, tag[:]...)
}

var errSegment = errors.New("core: not a segment of this HSM's command log")

func parseSegment(b, key []byte) (*segment, error) {
	if len(b) < len(logMagic)+segmentTag || !bytes.HasPrefix(b, []byte(logMagic)) {
		return nil, errSegment
	}
	body, tag := b[:len(b)-segmentTag], b[len(b)-segmentTag:]
	var want [segmentTag]byte
	kdf.LongHMAC(&want, key, body)
	if subtle.ConstantTimeCompare(tag, want[:]) != 1 {
		return nil, errSegment
	}
	s := &segment{}
	r := link.NewReader(body[len(logMagic):])
	if r.Map() != 4 {
		r.Fail()
	}
	r.Key(0)
	s.index = r.Uint()
	r.Key(1)
	s.first = r.Uint()
	r.Key(2)
	if copy(s.before[:], r.Bytes()) != len(s.before) {
		r.Fail()
	}
	r.Key(3)
	for n := r.Array(); n > 0 && !r.Failed(); n-- {
		e := r.Bytes()
		s.entries = append(s.entries, e)
		s.length += len(e)
	}
	if r.Done() != nil || s.first == 0 {
		return nil, errSegment
	}
	return s, nil
}

// key is what authenticates segments; the caller wipes it.
func (l *commandLog) key(out *[32]byte) error { return l.me.subkey(out, "leadglass command log v1") }

// openLog reads what the store has of the log. What is there and is not this
// HSM's, or lacks what must be there, is left out, and the log says so.
func openLog(store Store, me *identity, now func() time.Time) (*commandLog, error) {
	l := &commandLog{store: store, me: me, now: now}
	lost := false
	found := make(map[uint64]*segment)
	last := uint64(0)
	for slot := range uint64(ringSize) {
		s, present, err := l.load(slot)
		switch {
		case errors.Is(err, errSegment) || present && s.index%ringSize != slot:
			lost = true
		case err != nil:
			return nil, err
		case present:
			found[s.index] = s
			last = max(last, s.index)
		}
	}
	for index := last; found[index] != nil; index-- {
		s := found[index]
		l.kept = append([]uint64{s.first}, l.kept...)
		if index == last {
			l.current = *s
			l.size, l.hash = s.first-1+uint64(len(s.entries)), chain(s.before, s.entries)
		}
		if index == 0 {
			break
		}
	}
	if len(l.kept) == 0 {
		l.kept, l.current = []uint64{1}, segment{first: 1}
	}
	if lost {
		if err := l.add(message.LogEntry{Kind: message.LogLost}); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *commandLog) load(index uint64) (*segment, bool, error) {
	b, found, err := l.store.Load(segmentName(index))
	if err != nil || !found {
		if err != nil {
			err = fmt.Errorf("core: command log: %w", err)
		}
		return nil, false, err
	}
	var key [32]byte
	defer secret.Wipe(key[:])
	if err := l.key(&key); err != nil {
		return nil, false, err
	}
	s, err := parseSegment(b, key[:])
	return s, err == nil, err
}

func chain(hash [message.ChainLen]byte, entries [][]byte) [message.ChainLen]byte {
	for _, e := range entries {
		hash = message.Chain(hash, e)
	}
	return hash
}

// add appends an entry and makes it durable. Number and time are set here.
func (l *commandLog) add(e message.LogEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Number, e.Time = l.size+1, uint64(l.now().UnixMilli())
	encoded := e.Append(nil)
	if len(encoded) > maxEntryLen {
		return errors.New("core: command log: an entry is too long")
	}
	next, kept := l.current, l.kept
	if next.length+len(encoded) > segmentLen {
		next = segment{index: next.index + 1, first: e.Number, before: l.hash}
		if kept = append(kept[:len(kept):len(kept)], next.first); len(kept) > ringSize {
			kept = kept[1:] // whose file this one takes
		}
	}
	next.entries = append(next.entries[:len(next.entries):len(next.entries)], encoded)
	next.length += len(encoded)
	var key [32]byte
	defer secret.Wipe(key[:])
	if err := l.key(&key); err != nil {
		return err
	}
	if err := l.store.Save(segmentName(next.index), next.encode(key[:])); err != nil {
		return fmt.Errorf("core: command log: %w", err)
	}
	l.current, l.kept = next, kept
	l.size, l.hash = e.Number, message.Chain(l.hash, encoded)
	return nil
}

// count notes that an operation was answered. Denials are counted rather than
// written one by one: a host that is denied often must not fill the log.
func (l *commandLog) count(op, status uint64) {
	l.counters[min(op, maxOperation-1)][min(status, maxStatus-1)].Add(1)
}

// flush writes what was counted since the last time, if anything was.
func (l *commandLog) flush() error {
	var counts []message.Count
	for op := range l.counters {
		for status := range l.counters[op] {
			if n := l.counters[op][status].Swap(0); n > 0 {
				counts = append(counts, message.Count{Op: uint64(op), Status: uint64(status), N: n})
			}
		}
	}
	if len(counts) == 0 {
		return nil
	}
	err := l.add(message.LogEntry{Kind: message.LogCounters, Counters: counts})
	if err != nil {
		for _, c := range counts {
			l.counters[c.Op][c.Status].Add(c.N)
		}
	}
	return err
}

// page is the page from an entry on, with the head signed now.
func (l *commandLog) page(from uint64) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := message.LogHead{Member: l.me.public.ID, Size: l.size, Hash: l.hash, Time: uint64(l.now().UnixMilli())}
	var err error
	if head.Signature, err = l.me.signIdentity(head.Digest()); err != nil {
		return nil, err
	}
	p := message.LogPage{Before: l.hash, First: l.size + 1, Head: head.Append(nil)}
	if from <= l.size {
		if err := l.fill(&p, max(from, l.kept[0])); err != nil {
			return nil, err
		}
	}
	return p.Append(nil), nil
}

// fill adds the entries from one on that is kept. l.mu is held.
func (l *commandLog) fill(p *message.LogPage, from uint64) error {
	length := 0
	oldest := l.current.index + 1 - uint64(len(l.kept))
	for i, first := range l.kept {
		if i+1 < len(l.kept) && l.kept[i+1] <= from {
			continue
		}
		s := &l.current
		if i+1 < len(l.kept) {
			loaded, found, err := l.load(oldest + uint64(i))
			if err != nil || !found || loaded.first != first {
				return errors.Join(errSegment, err)
			}
			s = loaded
		}
		skip := uint64(0)
		if length == 0 {
			skip = from - s.first
			p.First, p.Before = from, chain(s.before, s.entries[:skip])
		}
		for _, e := range s.entries[skip:] {
			if length += len(e); length > maxPageLen && len(p.Entries) > 0 {
				return nil
			}
			p.Entries = append(p.Entries, e)
		}
	}
	return nil
}

// KeepLog writes the counts of the time since it was called before, if there
// are any. Main calls it each minute.
func (h *HSM) KeepLog() error { return h.log.flush() }

func (c *call) commandLog() uint64 {
	if c.h.log.flush() != nil {
		return link.StatusInternal
	}
	page, err := c.h.log.page(max(c.params.Length, 1))
	if err != nil {
		return link.StatusInternal
	}
	c.result.Record = page
	return link.StatusOK
}

// memoryStore is the store of an HSM that keeps nothing.
type memoryStore struct {
	mu    sync.Mutex
	files map[string][]byte // guarded by mu
}

// Load returns what was saved.
func (m *memoryStore) Load(name string) (data []byte, found bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, found := m.files[name]
	return bytes.Clone(b), found, nil
}

// Save keeps it until the process ends.
func (m *memoryStore) Save(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = bytes.Clone(data)
	return nil
}
