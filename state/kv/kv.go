// Package kv is the ordered store that everything with a name rests in:
// accounts, keys, grants, policies. It declares the interface, its errors and
// the key encoding; the engines are in the packages below it (memory for
// tests, pebble embedded), and kvtest is the one suite that all must pass.
//
// Every committed transaction gets one revision (Rev); reads are
// linearizable, commits strictly serializable and durable when they return.
// The store knows nothing of what it holds: values are opaque.
package kv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Rev is a store-wide, strictly growing revision. Every committed transaction
// gets one Rev; all its writes carry it. Rev 0 means "does not exist".
type Rev uint64

// Limits of every engine. Beyond them a call fails with ErrTooLarge before
// anything is written.
const (
	MaxKey      = 3072             // bytes of one key; a key has at least one byte
	MaxValue    = 512 << 10        // bytes of one value
	MaxOps      = 128              // conditions and operations of one commit together
	MaxCommit   = 1 << 20          // bytes of all keys and values of one commit
	MaxScan     = 10000            // entries of one page
	KeepAtLeast = 60 * time.Second // a scan's revision stays readable so long
)

// An Entry is one key with its newest value.
type Entry struct {
	Key, Value []byte
	Mod        Rev // revision of the last write of this key; 0: absent
}

// A Store is an ordered map from bytes to bytes with transactions and watch.
type Store interface {
	// Get returns the newest committed value (linearizable). Absent: Mod == 0, no error.
	Get(ctx context.Context, key []byte) (Entry, error)
	// GetStale may answer from a local replica; Mod tells how old it is. Used behind caches only.
	GetStale(ctx context.Context, key []byte) (Entry, error)
	// Scan returns entries with start <= key < end in byte order, at most limit (<= MaxScan), all as of one
	// revision (returned). keysOnly leaves Value nil. at == 0 means now. A nil end means the end of the store.
	Scan(ctx context.Context, start, end []byte, limit int, at Rev, keysOnly bool) (es []Entry, more bool, rev Rev, err error)
	// Commit applies ops atomically if all conds hold, else returns *ConflictError naming the first failing cond
	// and writes nothing. Durable when it returns nil. Any other error than ConflictError, ErrTooLarge and
	// ErrReadOnly means unknown outcome: callers re-read.
	Commit(ctx context.Context, conds []Cond, ops []Op) (Rev, error)
	// Watch streams every commit that touches [start,end) with Rev > after, in Rev order, complete and without
	// duplicates, grouped per commit, until ctx ends, when the channel is closed. If after is compacted it returns
	// *CompactedError, and the caller re-scans. A Progress batch (no events) is sent at least every 250 ms while idle.
	Watch(ctx context.Context, start, end []byte, after Rev) (<-chan Batch, error)
	// Backup writes a consistent copy while the store stays in use.
	Backup(ctx context.Context, w io.Writer) (Rev, error)
	// Close ends the store; later calls fail with ErrUnavailable.
	Close() error
}

// A Cond is a condition of a commit.
type Cond struct {
	Key []byte
	Mod Rev  // the key's Mod must equal this (0: must be absent)
	Not bool // true: must be present, any Mod (Mod ignored)
}

// An Op is one write of a commit. Ops apply in order.
type Op struct {
	Key, Value []byte
	Delete     bool
	EndKey     []byte    // with Delete: range [Key, EndKey)
	Expire     time.Time // zero: never; readers treat the entry as absent at once, the engine removes it within 60 s
}

// A Batch is one commit as a watcher sees it.
type Batch struct {
	Rev      Rev
	Events   []Event
	Progress bool // no events: everything up to Rev was delivered
}

// An Event is one key's change.
type Event struct {
	Key, Value []byte
	Deleted    bool
}

var (
	// ErrTooLarge: a limit of this package was exceeded; nothing was written.
	ErrTooLarge = errors.New("kv: too large")
	// ErrUnavailable: the store cannot answer now.
	ErrUnavailable = errors.New("kv: unavailable")
	// ErrReadOnly: the store takes no writes (disk full, read-only file system); nothing was written.
	ErrReadOnly = errors.New("kv: read-only")
	// ErrCorrupt: what is stored cannot be trusted.
	ErrCorrupt = errors.New("kv: corrupt")
)

// A ConflictError says which condition failed, and what is there instead.
type ConflictError struct {
	Key  []byte
	Have Rev
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("kv: conflict at %q (rev %d)", e.Key, e.Have)
}

// A CompactedError says that a revision is no longer readable; Oldest is.
type CompactedError struct{ Oldest Rev }

func (e *CompactedError) Error() string { return fmt.Sprintf("kv: compacted up to rev %d", e.Oldest) }
