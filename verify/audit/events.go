package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

// An eventCheck carries what the leaves of an account's log must agree on from
// one to the next.
type eventCheck struct {
	v       *verification
	tree    *rebuild
	last    uint64            // time of the leaf before, ms
	keys    map[[16]byte]bool // key records seen
	seen    map[seenID]bool
	ids     map[[16]byte]bool   // of all events, for step 9
	parents map[[16]byte]uint64 // parent ids that are not seen yet, and who names them
	absent  map[[16]byte]uint64 // events whose blob is gone, until a tombstone names them
	partly  bool                // blobs are missing, so key records may be among them
}

type seenID struct {
	kind record.Kind
	id   [16]byte
}

// accountLog is steps 4 to 9 over the account's own log.
func (v *verification) accountLog(c tree.Checkpoint) error {
	e := &eventCheck{
		v: v, tree: &rebuild{v: v, size: c.Size},
		keys: make(map[[16]byte]bool), seen: make(map[seenID]bool), ids: make(map[[16]byte]bool),
		parents: make(map[[16]byte]uint64), absent: make(map[[16]byte]uint64),
	}
	var failed error
	e.prefix()
	whole := e.tree.bundles(func(t tree.Tile, entries [][]byte) {
		name := blobName(t)
		bundle := blobBundle{data: v.read(name)}
		for _, entry := range entries {
			blob, ok := bundle.next()
			if !ok && bundle.data != nil {
				v.problem("%s: not a bundle of %d blobs", name, t.W)
				bundle.data = nil
			}
			if err := e.leaf(entry, blob, ok); err != nil && failed == nil {
				failed = err
			}
		}
		if bundle.data != nil && len(bundle.rest()) != 0 {
			v.problem("%s: not a bundle of %d blobs", name, t.W)
		}
	})
	if failed != nil {
		return failed
	}
	if !whole {
		return nil
	}
	e.tree.finish(c.Root, "checkpoint")
	e.end()
	for size, list := range v.rootsAt {
		if size > c.Size {
			v.problem("%s: the log had %d events then and has %d now: it was rolled back", list[0].what, size, c.Size)
		}
	}
	return nil
}

// blobName is the file with the blobs of an entry bundle.
func blobName(t tree.Tile) string { return "blobs/" + strings.TrimPrefix(t.Path(), "tile/entries/") }

// A blobBundle is a file of blobs: u32 length || blob for each leaf.
type blobBundle struct {
	data []byte // nil when missing or broken
	at   int
}

func (b *blobBundle) next() ([]byte, bool) {
	if len(b.data)-b.at < 4 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint32(b.data[b.at:]))
	if n > len(b.data)-b.at-4 {
		return nil, false
	}
	blob := b.data[b.at+4:][:n:n]
	b.at += 4 + n
	return blob, true
}

func (b *blobBundle) rest() []byte { return b.data[b.at:] }

// prefix compares the tree as it is now with every root that was promised for
// this size.
func (e *eventCheck) prefix() {
	for _, want := range e.v.rootsAt[e.tree.tree.Size()] {
		if e.tree.tree.Root() != want.root {
			e.v.problem("%s: the first %d events are not the ones that were signed", want.what, e.tree.tree.Size())
		}
	}
}

// leaf checks one leaf and its blob.
func (e *eventCheck) leaf(entry, blob []byte, have bool) error {
	index := e.tree.tree.Size()
	hash := tree.LeafHash(entry)
	e.tree.add(hash)
	e.prefix()
	for _, r := range e.v.receipts[index] {
		if r.leaf != hash {
			e.v.problem("receipt %d: event %d is not the one that was promised: the receipt is not honoured", r.n, index)
		}
	}
	l, err := record.ParseLeaf(entry)
	if err != nil {
		e.v.problem("event %d: %v", index, err)
		return nil
	}
	e.order(&l, index)
	if !have {
		e.partly = true
		return nil // the bundle is missing, which is reported
	}
	switch {
	case l.Kind == record.Heartbeat:
		if len(blob) != 0 || l.Blob != [32]byte{} || l.Commitment != [32]byte{} || l.KeyID != [16]byte{} {
			e.v.problem("event %d: a heartbeat with content", index)
		}
		return nil
	case len(blob) == 0:
		e.absent[l.EventID] = index
		return nil
	case sha256.Sum256(blob) != l.Blob:
		e.v.problem("event %d: its blob was changed", index)
		return nil
	case l.Kind == record.KeyRecords:
		k, err := record.ParseKeyRecord(blob)
		if err != nil || k.KeyID != l.KeyID || l.Commitment != [32]byte{} {
			e.v.problem("event %d: malformed key record", index)
			return nil
		}
		e.keys[k.KeyID] = true
		return nil
	}
	if l.Kind == record.Tombstone {
		delete(e.absent, l.EventID)
	}
	return e.event(&l, index, blob)
}

// order checks time, silence and that no event occurs twice.
func (e *eventCheck) order(l *record.Leaf, index uint64) {
	if l.Time < e.last {
		e.v.problem("event %d: its time lies before that of the one before", index)
	}
	if index > 0 {
		e.gap(e.last, l.Time, fmt.Sprintf("event %d", index))
	}
	e.last = l.Time
	id := seenID{l.Kind, l.EventID}
	if e.seen[id] {
		e.v.problem("event %d: the event %s occurs twice", index, l.ID())
	}
	e.seen[id], e.ids[l.EventID] = true, true
}

// gap is step 7.
func (e *eventCheck) gap(from, to uint64, before string) {
	if e.v.opt.MaxGap < 0 || to < from || to-from <= uint64(e.v.opt.MaxGap.Milliseconds()) {
		return
	}
	e.v.problem("silence of %s before %s without a heartbeat", (time.Duration(to-from) * time.Millisecond).Round(time.Second), before)
}

// event is step 6 for a sealed event.
func (e *eventCheck) event(l *record.Leaf, index uint64, blob []byte) error {
	if id, err := record.BlobKey(blob); err != nil || id != l.KeyID {
		e.v.problem("event %d: not sealed under the key that its leaf names", index)
		return nil
	}
	if !e.keys[l.KeyID] && !e.partly {
		e.v.problem("event %d: sealed under a key whose record does not come before it", index)
		return nil
	}
	if len(e.v.openers) == 0 {
		e.v.report.VerifiedEvents++ // without data keys: order and integrity, not content
		return nil
	}
	o := e.v.openers[l.KeyID]
	if o == nil {
		e.v.missing(fmt.Sprintf("data key %x of event %d", l.KeyID, index))
		return nil
	}
	json, blind, err := o.Open(l.Kind, blob)
	if err != nil {
		e.v.problem("event %d: %v", index, err)
		return nil
	}
	if record.Commit(&blind, json) != l.Commitment {
		e.v.problem("event %d: it is not the event that was committed to", index)
		return nil
	}
	r, err := record.Parse(json)
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		e.v.problem("event %d: %v", index, err)
		return nil
	}
	if why := e.agree(l, r); why != "" {
		e.v.problem("event %d: %s", index, why)
		return nil
	}
	if x := r.Leadglass; x != nil && x.ParentEventID != "" && r.SharedEventID == "" {
		parent, err := record.ParseUUID(x.ParentEventID)
		if err != nil {
			e.v.problem("event %d: parentEventId is no UUID", index)
			return nil
		}
		// A parent is completed after what it caused, so it may come later.
		e.parents[parent] = index
	}
	e.v.report.VerifiedEvents++
	if e.v.opt.Each == nil {
		return nil
	}
	return e.v.opt.Each(Event{index, l.Kind, l.When(), json, r})
}

// agree says where leaf and record contradict each other.
func (e *eventCheck) agree(l *record.Leaf, r *record.Record) string {
	d := l.When().Sub(r.EventTime)
	switch {
	case r.EventID != l.ID():
		return "leaf and record have different ids"
	case r.RecipientAccountID != e.v.key.Account:
		return "the record is of another account"
	case d < -timeSlack || d > timeSlack+time.Second: // eventTime has whole seconds
		return "leaf and record have different times"
	case r.Failed() != (l.Flags&record.Failure != 0):
		return "leaf and record disagree on failure"
	case (r.Category() == record.CategoryData) != (l.Flags&record.DataEvent != 0):
		return "leaf and record disagree on the category"
	}
	return ""
}

// end is what can be said only when all leaves were seen.
func (e *eventCheck) end() {
	e.gap(e.last, e.v.rootTime, "the last epoch")
	for parent, index := range e.parents {
		if !e.ids[parent] {
			e.v.problem("event %d: the event that caused it, %s, is not in the log", index, id.FormatUUID(parent))
		}
	}
	for _, index := range e.absent {
		e.v.missing(fmt.Sprintf("blob of event %d", index))
	}
}
