// Package pebble is the embedded store of a single node: kv.Store over the
// Pebble engine. Open it and use it as a kv.Store; docs/formats/kv.md
// describes what is on the disk.
//
// Commits are checked under one lock, written to Pebble's log in revision
// order and then wait together for the disk, so that many callers share one
// fsync. Nothing is seen before it is durable: reads, conflicts and watchers
// wait for the sync of what they would show.
//
// When the disk is nearly full, commits are refused with kv.ErrReadOnly before
// anything is written. After a failed write or fsync nobody can know what is
// on the disk: the store stops serving for good, every call answers
// kv.ErrUnavailable, and Failed tells the owner of the process to exit. An
// fsync is never tried twice.
//
// Not here: sealing of backups (the stream is plain), replication.
package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	db "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/feed"
)

// Config is how a store is opened. The zero value is a good default.
type Config struct {
	Clock      clock.Clock   // nil: the system's
	Logger     *slog.Logger  // nil: silent
	CacheBytes int64         // block cache; 0: 16 MiB. A big store wants a quarter of the memory
	MinFree    uint64        // bytes of free disk under which commits are refused; 0: 64 MiB
	LogEvents  uint64        // events kept for watchers that come back; 0: 1,000,000
	LogAge     time.Duration // and for how long; 0: 10 minutes
	FS         vfs.FS        // nil: the disk
}

func (c *Config) fill() {
	if c.Clock == nil {
		c.Clock = clock.System
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 16 << 20
	}
	if c.MinFree == 0 {
		c.MinFree = 64 << 20
	}
	if c.LogEvents == 0 {
		c.LogEvents = 1_000_000
	}
	if c.LogAge == 0 {
		c.LogAge = 10 * time.Minute
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
}

// A Store is an open kv.Store on a directory.
type Store struct {
	cfg  Config
	dir  string
	db   *db.DB
	feed *feed.Feed
	pins pins
	free space

	stop chan struct{} // closed by Close
	done chan struct{} // closed when the sweeper ended

	failure  sync.Once
	failed   chan struct{} // closed after a failed write or fsync
	isFailed atomic.Bool
	open     atomic.Bool // set once Open succeeded

	// life is held for reading by every call, for writing by Close.
	life   sync.RWMutex
	closed bool // guarded by life

	// A reader that finds a key absent needs to know the newest commit that may have deleted it.
	applying atomic.Uint64 // newest revision handed to Pebble; stored before it is

	commit sync.Mutex
	rev    kv.Rev // guarded by commit; newest applied revision
	tail   totals // guarded by commit; running sums of the watch log
}

var _ kv.Store = (*Store)(nil)

// What is under which first byte. The rest of a data key is the caller's key.
const (
	dataTable   = 'u' // caller's key -> mod | expire | value
	expireTable = 'x' // expire, Unix ms | caller's key -> nothing
	logTable    = 'w' // rev -> one commit for watchers
	metaTable   = 'm'
)

var (
	metaFormat = []byte{metaTable, 'f'}
	metaRev    = []byte{metaTable, 'r'}
)

// The format byte. A store in which a restore did not come to its end stays
// marked, and is refused.
const (
	format    = 1
	restoring = 0xff
)

// headSize is what stands before a value: mod (8) and expire in Unix ms (8).
const headSize = 16

func table(t byte, key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), t), key...)
}

// Open opens the store in dir, or makes a new one. Only one process can have
// it open: a second Open fails at once.
func Open(dir string, cfg Config) (*Store, error) {
	cfg.fill()
	s := &Store{cfg: cfg, dir: dir, stop: make(chan struct{}), done: make(chan struct{}), failed: make(chan struct{})}
	s.pins.clock = cfg.Clock
	if err := cfg.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pebble: open: %w", err)
	}
	var err error
	if s.db, err = db.Open(dir, s.options()); err != nil {
		if db.IsCorruptionError(err) {
			return nil, fmt.Errorf("pebble: open %s: %w: %w", dir, kv.ErrCorrupt, err)
		}
		return nil, fmt.Errorf("pebble: open %s: %w", dir, err)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	s.feed = feed.New(s.rev, feed.Config{Events: 8192, Bytes: 4 << 20, Older: s.older, Clock: cfg.Clock})
	s.open.Store(true)
	go s.sweep()
	return s, nil
}

func (s *Store) options() *db.Options {
	o := &db.Options{
		CacheSize: s.cfg.CacheBytes,
		FS:        &fuse{s.cfg.FS, s},
		Logger:    logger{s},
		// A memtable starts small and doubles up to this, so that an idle store costs little.
		MemTableSize:                16 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                512,
		BytesPerSync:                512 << 10,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		FormatMajorVersion:          db.FormatNewest,
	}
	// Without filters a store that was reopened while it compacts reads ten times slower (state-store 4.1).
	o.Levels[0].BlockSize = 16 << 10
	o.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	for i := 1; i < len(o.Levels); i++ {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// load reads what the store knows of itself, or writes it into a new one.
func (s *Store) load() error {
	v, err := s.get(metaFormat)
	switch {
	case errors.Is(err, db.ErrNotFound):
		if err := s.isEmpty(); err != nil {
			return err
		}
		if err := s.db.Set(metaFormat, []byte{format}, db.Sync); err != nil {
			return fmt.Errorf("pebble: open: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("pebble: open: %w", err)
	case len(v) == 1 && v[0] == restoring:
		return fmt.Errorf("pebble: open %s: %w: a restore did not finish here; remove the folder and restore again", s.dir, kv.ErrCorrupt)
	case len(v) != 1 || v[0] != format:
		return fmt.Errorf("pebble: open %s: %w: unknown format", s.dir, kv.ErrCorrupt)
	}
	switch v, err = s.get(metaRev); {
	case errors.Is(err, db.ErrNotFound):
		return nil // nothing was ever committed
	case err != nil:
		return fmt.Errorf("pebble: open: %w", err)
	case len(v) != 8:
		return fmt.Errorf("pebble: open %s: %w: bad revision", s.dir, kv.ErrCorrupt)
	}
	s.rev = kv.Rev(binary.BigEndian.Uint64(v))
	s.applying.Store(uint64(s.rev))
	s.tail, err = s.totalsAt(s.rev)
	if errors.Is(err, db.ErrNotFound) {
		err = nil // a restored store has no log yet
	}
	return err
}

// isEmpty keeps Open from adopting a Pebble store of somebody else.
func (s *Store) isEmpty() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("pebble: open: %w", err)
	}
	strange := it.First()
	if err := it.Close(); err != nil {
		return fmt.Errorf("pebble: open: %w", err)
	}
	if strange {
		return fmt.Errorf("pebble: open %s: %w: data without a format", s.dir, kv.ErrCorrupt)
	}
	return nil
}

// get returns a copy of a raw value.
func (s *Store) get(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if err != nil {
		return nil, err
	}
	c := append([]byte{}, v...)
	return c, closer.Close()
}

// enter begins a call; the caller defers leave if it is nil.
func (s *Store) enter() error {
	s.life.RLock()
	if s.closed || s.isFailed.Load() {
		s.life.RUnlock()
		return kv.ErrUnavailable
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

// Failed is closed when a write or an fsync failed: the process must exit,
// and start again from what is really on the disk.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// fail ends the store after an error that leaves the disk's content unknown.
func (s *Store) fail(err error) {
	s.failure.Do(func() {
		s.isFailed.Store(true)
		s.cfg.Logger.Error("store failed: it serves no more", "dir", s.dir, "error", err)
		close(s.failed)
		s.feed.Stop() // lets go whoever waits for a revision that will never be durable; watchers end
	})
}

// readError turns Pebble's error of a read into ours.
func readError(what string, err error) error {
	if db.IsCorruptionError(err) {
		return fmt.Errorf("pebble: %s: %w: %w", what, kv.ErrCorrupt, err)
	}
	return fmt.Errorf("pebble: %s: %w: %w", what, kv.ErrUnavailable, err)
}

// closeFlush is how long Close lets Pebble write its tables.
const closeFlush = 10 * time.Second

// Close ends the store. A failed store keeps its files as they are.
func (s *Store) Close() error {
	if s.isFailed.Load() {
		// Pebble may hold its locks for ever after a failed write: leave it alone, the process exits.
		s.feed.Stop()
		return nil
	}
	s.life.Lock()
	if s.closed {
		s.life.Unlock()
		return nil
	}
	s.closed = true
	s.life.Unlock() // before the watchers end: one may be in a call and must find it closed
	close(s.stop)
	<-s.done
	s.feed.Close()
	s.pins.close()
	// What is in tables need not be read back from the log at the next start. It is durable in the log either way, so a
	// flush that cannot be done (a full disk: Pebble tries for ever) must not keep the process from ending.
	flushed, err := s.db.AsyncFlush()
	if err == nil {
		select {
		case <-flushed:
		case <-s.pins.clock.After(closeFlush):
			return fmt.Errorf("pebble: close: the tables could not be written within %v; nothing is lost: %w", closeFlush, kv.ErrUnavailable)
		}
	}
	if err := errors.Join(err, s.db.Close()); err != nil {
		return fmt.Errorf("pebble: close: %w", err)
	}
	if s.isFailed.Load() {
		return fmt.Errorf("pebble: close: %w", kv.ErrUnavailable)
	}
	return nil
}
