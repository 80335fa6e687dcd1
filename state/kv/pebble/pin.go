package pebble

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	db "github.com/cockroachdb/pebble/v2"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
)

const (
	keepPin = kv.KeepAtLeast + 5*time.Second // a page may be read at the last moment
	maxPins = 512
)

// pins are the snapshots behind revisions that scans returned. Scans of the
// same revision share one.
type pins struct {
	clock clock.Clock

	mu  sync.Mutex
	all []*pin // guarded by mu; ascending by rev
}

type pin struct {
	snap *db.Snapshot
	rev  kv.Rev

	// The rest is guarded by pins.mu.
	used  time.Time // when a scan last returned this revision
	paged bool      // somebody was told that there is more
	refs  int
	gone  bool // no longer in all: the last user closes it
}

// take returns the pin of a revision, 0 being now.
func (ps *pins) take(s *Store, at kv.Rev) (*pin, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	newest := kv.Rev(s.applying.Load())
	want := at
	if at == 0 {
		want = newest
	}
	for i := len(ps.all) - 1; i >= 0 && ps.all[i].rev >= want; i-- {
		if p := ps.all[i]; p.rev == want {
			p.refs++
			return p, nil
		}
	}
	if at != 0 && at != newest {
		return nil, ps.compacted(newest)
	}
	p := &pin{snap: s.db.NewSnapshot(), refs: 1}
	// The revision is part of the data, so the snapshot itself says which one it is.
	v, closer, err := p.snap.Get(metaRev)
	switch {
	case errors.Is(err, db.ErrNotFound):
	case err != nil:
		_ = p.snap.Close()
		return nil, readError("scan", err)
	default:
		p.rev = kv.Rev(binary.BigEndian.Uint64(v))
		_ = closer.Close()
	}
	if at != 0 && p.rev != at {
		_ = p.snap.Close()
		return nil, ps.compacted(p.rev)
	}
	if n := len(ps.all); n > 0 && ps.all[n-1].rev == p.rev {
		// A commit was announced but not visible yet: this revision is pinned already.
		_ = p.snap.Close()
		p = ps.all[n-1]
		p.refs++
		return p, nil
	}
	ps.all = append(ps.all, p)
	return p, nil
}

func (ps *pins) compacted(newest kv.Rev) error {
	if len(ps.all) > 0 {
		newest = ps.all[0].rev
	}
	return &kv.CompactedError{Oldest: newest}
}

func (ps *pins) release(p *pin, more bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.refs--
	p.used = ps.clock.Now()
	p.paged = p.paged || more
	if p.gone && p.refs == 0 {
		_ = p.snap.Close()
	}
	if len(ps.all) > maxPins {
		ps.evict()
	}
}

// evict drops the oldest pin, and rather one whose scan was complete.
func (ps *pins) evict() {
	victim := 0
	for i, p := range ps.all {
		if !p.paged {
			victim = i
			break
		}
	}
	ps.drop(victim)
}

func (ps *pins) drop(i int) {
	p := ps.all[i]
	ps.all = append(ps.all[:i], ps.all[i+1:]...)
	if p.gone = true; p.refs == 0 {
		_ = p.snap.Close()
	}
}

// expire drops pins that nobody may ask for any more.
func (ps *pins) expire() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	now := ps.clock.Now()
	for i := len(ps.all) - 1; i >= 0; i-- {
		if p := ps.all[i]; p.refs == 0 && now.Sub(p.used) > keepPin {
			ps.drop(i)
		}
	}
}

func (ps *pins) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for len(ps.all) > 0 {
		ps.drop(0)
	}
}
