package kv_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/leadglass/leadglass/state/kv"
)

func TestKeysSortAsTheirComponents(t *testing.T) {
	keys := []kv.Key{
		kv.Table('K').Text(""),
		kv.Table('K').Text("\x00"),
		kv.Table('K').Text("\x00\x00"),
		kv.Table('K').Text("\x00\x01"),
		kv.Table('K').Text("a"),
		kv.Table('K').Text("a").Text("z"),
		kv.Table('K').Text("a\x00"),
		kv.Table('K').Text("a\x00b"),
		kv.Table('K').Text("a\x01"),
		kv.Table('K').Text("ab"),
		kv.Table('K').Text("\xff"),
		kv.Table('O').Down(2),
		kv.Table('O').Down(1),
		kv.Table('U').Uint(1),
		kv.Table('U').Uint(256),
	}
	if !slices.IsSortedFunc(keys, func(a, b kv.Key) int { return bytes.Compare(a, b) }) {
		t.Errorf("out of order: %q", keys)
	}
	for i, k := range keys {
		start, end := k.Prefix()
		for j, other := range keys {
			in := bytes.Compare(other, start) >= 0 && (end == nil || bytes.Compare(other, end) < 0)
			if in != bytes.HasPrefix(other, k) {
				t.Errorf("key %d in the prefix range of key %d: %v", j, i, in)
			}
		}
	}
	if _, end := (kv.Key{0xff, 0xff}).Prefix(); end != nil {
		t.Errorf("the last prefix ends at %q", end)
	}
}

func FuzzKey(f *testing.F) {
	f.Add("acct", uint64(7), []byte("K\x00\x01"))
	f.Add("a\x00\xff", uint64(0), []byte{0, 2})
	f.Fuzz(func(t *testing.T, s string, n uint64, raw []byte) {
		k := kv.Table('K').Text(s).Uint(n)
		text, rest, err := kv.ReadText(k[1:])
		if err != nil || text != s {
			t.Fatalf("%q read back as %q: %v", s, text, err)
		}
		number, rest, err := kv.ReadUint(rest)
		if err != nil || number != n || len(rest) > 0 {
			t.Fatalf("%d read back as %d: %v", n, number, err)
		}
		// What can be read from arbitrary bytes writes back to the same bytes.
		if text, rest, err := kv.ReadText(raw); err == nil {
			if again := append(kv.Key(nil).Text(text), rest...); !bytes.Equal(again, raw) {
				t.Fatalf("%q became %q", raw, again)
			}
		}
	})
}

func FuzzReadBackup(f *testing.F) {
	var b bytes.Buffer
	w := kv.NewBackupWriter(&b, 3, time.UnixMilli(5))
	if err := w.Add(kv.Entry{Key: []byte("a"), Value: []byte("1"), Mod: 2}, time.Time{}); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("LGKV1\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var out bytes.Buffer
		var entries []kv.Entry
		var expires []time.Time
		rev, created, err := kv.ReadBackup(bytes.NewReader(stream), func(e kv.Entry, expire time.Time) error {
			entries, expires = append(entries, e), append(expires, expire)
			return nil
		})
		if err != nil {
			return
		}
		w := kv.NewBackupWriter(&out, rev, created)
		for i, e := range entries {
			if err := w.Add(e, expires[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil || !bytes.Equal(out.Bytes(), stream) {
			t.Fatalf("written again it differs: %v", err)
		}
	})
}

func TestBackupWriterKeepsOrder(t *testing.T) {
	var b bytes.Buffer
	w := kv.NewBackupWriter(&b, 3, time.UnixMilli(5))
	if err := w.Add(kv.Entry{Key: []byte("b"), Mod: 1}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Add(kv.Entry{Key: []byte("a"), Mod: 1}, time.Time{}); err == nil {
		t.Error("entries out of order were written")
	}
}
