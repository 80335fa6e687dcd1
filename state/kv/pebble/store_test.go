package pebble_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	db "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

var begin = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string, cfg pebble.Config) *pebble.Store {
	t.Helper()
	s, err := pebble.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t *testing.T, s kv.Store, key, value string) kv.Rev {
	t.Helper()
	rev, err := s.Commit(t.Context(), nil, []kv.Op{{Key: []byte(key), Value: []byte(value)}})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func TestWatchLogIsBounded(t *testing.T) {
	for _, c := range []struct {
		name   string
		events uint64
		age    time.Duration
		pause  time.Duration // between the first half and the second
		oldest kv.Rev
	}{
		{"by events", 50, time.Hour, 0, 150},
		{"by age", 1 << 20, 10 * time.Minute, 11 * time.Minute, 100},
		{"not at all yet", 1 << 20, time.Hour, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			clk := clock.NewFake(begin)
			cfg := pebble.Config{Clock: clk, FS: vfs.NewMem(), LogEvents: c.events, LogAge: c.age}
			s := open(t, "store", cfg)
			for i := range 200 {
				if i == 100 {
					clk.Advance(c.pause)
				}
				put(t, s, "k", fmt.Sprint(i))
			}
			// The housekeeper runs every ten seconds; wait until it did its work, then forget the tail in memory.
			for i := 0; ; i++ {
				clk.Advance(10 * time.Second)
				time.Sleep(10 * time.Millisecond)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, "store", cfg)
				_, err := s.Watch(t.Context(), nil, nil, 0)
				compacted, ok := errors.AsType[*kv.CompactedError](err)
				switch {
				case c.oldest == 0 && err == nil, ok && compacted.Oldest == c.oldest:
				case i < 50:
					continue
				default:
					t.Fatalf("watching from the start: %v, want oldest %d", err, c.oldest)
				}
				break
			}
			ch, err := s.Watch(t.Context(), nil, nil, c.oldest)
			if err != nil {
				t.Fatal(err)
			}
			if b := <-ch; b.Rev != c.oldest+1 || string(b.Events[0].Value) != fmt.Sprint(c.oldest) {
				t.Errorf("the oldest that is left is %+v", b)
			}
		})
	}
}

func TestPagedScansOutliveManyOthers(t *testing.T) {
	s := open(t, "store", pebble.Config{FS: vfs.NewMem()})
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	_, more, at, err := s.Scan(t.Context(), nil, nil, 1, 0, false)
	if err != nil || !more {
		t.Fatal(more, err)
	}
	var last kv.Rev
	for range 700 { // more than there are pins
		put(t, s, "b", "2")
		if _, _, last, err = s.Scan(t.Context(), nil, nil, 10, 0, true); err != nil {
			t.Fatal(err)
		}
	}
	es, more, rev, err := s.Scan(t.Context(), []byte("b"), nil, 1, at, false)
	if err != nil || more || rev != at || string(es[0].Value) != "1" {
		t.Errorf("the second page: %+v, more %v, revision %d, %v", es, more, rev, err)
	}
	if _, _, _, err := s.Scan(t.Context(), nil, nil, 1, last, true); err != nil {
		t.Errorf("the newest revision: %v", err)
	}
}

func TestRestore(t *testing.T) {
	clk := clock.NewFake(begin)
	from := memory.OpenAt(clk)
	defer func() { _ = from.Close() }()
	for i := range 3000 {
		put(t, from, fmt.Sprintf("k%04d", i), strings.Repeat("v", 500))
	}
	if _, err := from.Commit(t.Context(), nil, []kv.Op{{Key: []byte("token"), Expire: begin.Add(time.Minute)}}); err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	rev, err := from.Backup(t.Context(), &stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := pebble.Config{Clock: clk, FS: vfs.NewMem()}
	if got, err := pebble.Restore("store", cfg, bytes.NewReader(stream.Bytes())); err != nil || got != rev {
		t.Fatalf("restored revision %d, want %d: %v", got, rev, err)
	}
	s := open(t, "store", cfg)
	var again bytes.Buffer
	if got, err := s.Backup(t.Context(), &again); err != nil || got != rev || !bytes.Equal(again.Bytes(), stream.Bytes()) {
		t.Errorf("the backup of the restored store differs (revision %d, %v)", got, err)
	}
	if _, err := s.Watch(t.Context(), nil, nil, rev-1); err == nil {
		t.Error("a watch resumed over a restore")
	}
	if next := put(t, s, "new", "1"); next != rev+1 {
		t.Errorf("revision %d after %d", next, rev)
	}
	clk.Advance(time.Minute)
	if e, err := s.Get(t.Context(), []byte("token")); err != nil || e.Mod != 0 {
		t.Errorf("an expiry was lost: %+v, %v", e, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pebble.Restore("store", cfg, bytes.NewReader(stream.Bytes())); err == nil {
		t.Error("restored into a store that holds something")
	}
	// A damaged backup leaves nothing that could be taken for a store.
	damaged := bytes.Clone(stream.Bytes())
	damaged[len(damaged)/2] ^= 1
	if _, err := pebble.Restore("other", cfg, bytes.NewReader(damaged)); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a damaged backup: %v", err)
	}
	if _, err := pebble.Open("other", cfg); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("opening what a failed restore left: %v", err)
	}
}

// quiet keeps Pebble's own lines out of the test's output.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) { panic("pebble: fatal") }

func TestForeignDataIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	d, err := db.Open("store", &db.Options{FS: fs, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Set([]byte("k"), []byte("v"), db.Sync); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pebble.Open("store", pebble.Config{FS: fs}); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("somebody else's store: %v", err)
	}
}

func TestNothingIsPrintedAndNoValueIsLogged(t *testing.T) {
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := open(t, filepath.Join(t.TempDir(), "store"), pebble.Config{Logger: log})
	for i := range 100 {
		put(t, s, fmt.Sprint("patient-name-", i), strings.Repeat("patient-record", 1000))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if lines.Len() == 0 {
		t.Error("Pebble's lines went elsewhere")
	}
	if strings.Contains(lines.String(), "patient-record") {
		t.Error("a value is in the log")
	}
}
