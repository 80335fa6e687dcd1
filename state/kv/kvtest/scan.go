package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
)

func scanPages(t *testing.T, h Harness) {
	s := h.fresh(t, clock.System)
	var keys []string
	for i := range 25 {
		keys = append(keys, string(kv.Table('K').Text("acct").Uint(uint64(i))))
		commit(t, s, put(keys[i], fmt.Sprint(i)))
	}
	commit(t, s, put(string(kv.Table('J').Text("x")), ""), put(string(kv.Table('L').Text("x")), ""))
	from, to := kv.Table('K').Text("acct").Prefix()
	var got []string
	pages := 0
	for at := kv.Rev(0); ; pages++ {
		es, more, rev, err := s.Scan(t.Context(), from, to, 10, at, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			if e.Value != nil || e.Mod == 0 {
				t.Errorf("keys only gave %+v", e)
			}
			got = append(got, string(e.Key))
		}
		if at != 0 && rev != at {
			t.Errorf("the page is of revision %d, asked for %d", rev, at)
		}
		if at = rev; !more {
			break
		}
		if len(es) != 10 {
			t.Errorf("a page of %d with more to come", len(es))
		}
		from = kv.After(es[len(es)-1].Key)
	}
	if fmt.Sprint(got) != fmt.Sprint(keys) || pages != 2 {
		t.Errorf("got %q on %d pages", got, pages+1)
	}
	for _, c := range []struct {
		name       string
		start, end []byte
		n          int
	}{
		{"everything", nil, nil, 27},
		{"an empty range", []byte("z"), []byte("a"), 0},
		{"start is included, end is not", []byte(keys[3]), []byte(keys[5]), 2},
		{"from a key between keys", append([]byte(keys[3]), 0), []byte(keys[5]), 1},
	} {
		es, more, _, err := s.Scan(t.Context(), c.start, c.end, 0, 0, false)
		if err != nil || more || len(es) != c.n {
			t.Errorf("%s: %d entries, more %v, %v; want %d", c.name, len(es), more, err, c.n)
		}
	}
	// Exactly a page: no more.
	if es, more, _, err := s.Scan(t.Context(), []byte(keys[0]), []byte(keys[10]), 10, 0, false); err != nil || more || len(es) != 10 {
		t.Errorf("exactly one page: %d, more %v, %v", len(es), more, err)
	}
}

func snapshot(t *testing.T, h Harness) {
	c := clock.NewFake(start)
	s := h.fresh(t, c)
	for i := range 30 {
		commit(t, s, put(fmt.Sprintf("k%02d", i), "old"))
	}
	first, more, at, err := s.Scan(t.Context(), nil, nil, 10, 0, false)
	if err != nil || !more {
		t.Fatalf("more %v, %v", more, err)
	}
	before, _ := dump(t, s, at)
	// Everything changes under the reader's feet.
	commit(t, s, delRange("k", "k15"), put("k20", "new"), put("k05x", "new"))
	for i := range 100 {
		commit(t, s, put("k29", fmt.Sprint(i)))
	}
	c.Advance(kv.KeepAtLeast - time.Second)
	time.Sleep(20 * time.Millisecond) // lets a housekeeper that woke up do its worst
	if after, rev := dump(t, s, at); after != before || rev != at {
		t.Errorf("the snapshot changed:\n%s\nwas\n%s", after, before)
	}
	rest, more, rev, err := s.Scan(t.Context(), kv.After(first[9].Key), nil, 100, at, false)
	if err != nil || more || rev != at || len(rest) != 20 {
		t.Errorf("the second page: %d entries, more %v, revision %d, %v", len(rest), more, rev, err)
	}
	// Much later it is there, or it says that it is not.
	for range 20 {
		c.Advance(10 * time.Second)
		time.Sleep(5 * time.Millisecond)
	}
	_, _, _, err = s.Scan(t.Context(), nil, nil, 10, at, false)
	if compacted, ok := errors.AsType[*kv.CompactedError](err); err != nil && (!ok || compacted.Oldest <= at) {
		t.Errorf("an old revision: %v", err)
	}
	_, now := dump(t, s, 0)
	_, _, _, err = s.Scan(t.Context(), nil, nil, 10, now+1000, false)
	if _, ok := errors.AsType[*kv.CompactedError](err); !ok {
		t.Errorf("a revision of the future: %v", err)
	}
}

func expiry(t *testing.T, h Harness) {
	c := clock.NewFake(start)
	s := h.fresh(t, c)
	expiring := func(k, v string, after time.Duration) kv.Op {
		return kv.Op{Key: []byte(k), Value: []byte(v), Expire: c.Now().Add(after)}
	}
	rev := commit(t, s, expiring("token", "1", time.Minute), put("stays", "1"), expiring("renewed", "1", time.Minute), expiring("longer", "1", time.Hour))
	commit(t, s, expiring("renewed", "2", 10*time.Minute))
	ch, err := s.Watch(t.Context(), nil, nil, rev+1)
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Minute - time.Millisecond)
	if e := get(t, s, "token"); e.Mod != rev {
		t.Errorf("gone too early: %+v", e)
	}
	c.Advance(time.Millisecond)
	if e := get(t, s, "token"); e.Mod != 0 || e.Value != nil {
		t.Errorf("expired, still %+v", e)
	}
	if es, _, _, err := s.Scan(t.Context(), nil, nil, 0, 0, false); err != nil || len(es) != 3 {
		t.Errorf("a scan shows %d entries (%v), want 3", len(es), err)
	}
	if _, err := s.Commit(t.Context(), []kv.Cond{{Key: []byte("token"), Not: true}}, nil); err == nil {
		t.Error("a condition sees an expired entry")
	}
	// It goes for good, watchers see it, and nothing else goes.
	deadline := time.After(10 * time.Second)
	for deleted := ""; deleted == ""; {
		select {
		case b := <-ch:
			for _, e := range b.Events {
				if deleted = string(e.Key); deleted != "token" || !e.Deleted {
					t.Fatalf("the watcher saw %+v", e)
				}
			}
		case <-time.After(20 * time.Millisecond):
			if c.Advance(10 * time.Second); c.Now().Sub(start) > 2*time.Minute+20*time.Second {
				t.Fatal("an expired entry is still there after a minute")
			}
		case <-deadline:
			t.Fatal("no deletion came")
		}
	}
	if e := get(t, s, "renewed"); string(e.Value) != "2" {
		t.Errorf("the renewed entry is %+v", e)
	}
	// Put if absent works again at once after expiry.
	if _, err := s.Commit(t.Context(), []kv.Cond{{Key: []byte("token")}}, []kv.Op{expiring("token", "2", time.Minute)}); err != nil {
		t.Error(err)
	}
}

func backup(t *testing.T, h Harness) {
	c := clock.NewFake(start)
	s := h.fresh(t, c)
	for i := range 300 {
		commit(t, s, put(fmt.Sprintf("k%03d", i), fmt.Sprint(i)))
	}
	expire := start.Add(time.Hour)
	commit(t, s, kv.Op{Key: []byte("token"), Value: []byte("t"), Expire: expire}, kv.Op{Key: []byte("past"), Expire: start})
	var b bytes.Buffer
	rev, err := s.Backup(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	var seen time.Time
	read := func(stream []byte) (kv.Rev, error) {
		text.Reset()
		rev, created, err := kv.ReadBackup(bytes.NewReader(stream), func(e kv.Entry, expire time.Time) error {
			fmt.Fprintf(&text, "%q=%q@%d\n", e.Key, e.Value, e.Mod)
			if string(e.Key) == "token" {
				seen = expire
			}
			return nil
		})
		if err == nil && !created.Equal(start) {
			t.Errorf("created %v", created)
		}
		return rev, err
	}
	got, err := read(b.Bytes())
	if err != nil || got != rev {
		t.Fatalf("revision %d, want %d: %v", got, rev, err)
	}
	if want, wantRev := dump(t, s, 0); text.String() != want || rev != wantRev {
		t.Errorf("the backup at %d differs from the store at %d", rev, wantRev)
	}
	if !seen.Equal(expire) {
		t.Errorf("expiry %v, want %v", seen, expire)
	}
	for i := 0; i < b.Len(); i += 97 {
		damaged := bytes.Clone(b.Bytes())
		damaged[i] ^= 4
		if _, err := read(damaged); !errors.Is(err, kv.ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := read(b.Bytes()[:i]); !errors.Is(err, kv.ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := read(append(bytes.Clone(b.Bytes()), 0)); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
}
