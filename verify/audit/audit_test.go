package audit_test

import (
	"encoding/json"
	"testing"
	"testing/fstest"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/log/logtest"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/verify/audit"
)

const (
	alice = "111122223333"
	bob   = "444455556666"
)

func accountKey(t testing.TB, l *log.Log, account string) audit.AccountKey {
	t.Helper()
	data, err := l.AccountKey(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	k, err := record.ParseAccountKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return *k
}

func mapFS(files map[string][]byte) fstest.MapFS {
	m := make(fstest.MapFS, len(files))
	for name, data := range files {
		m[name] = &fstest.MapFile{Data: data}
	}
	return m
}

func verify(t testing.TB, files map[string][]byte, key audit.AccountKey, opt audit.Options) audit.Report {
	t.Helper()
	r, err := audit.Verify(mapFS(files), key, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// exported is an export of n events of alice, made with some of bob's between.
func exported(t testing.TB, n int) (map[string][]byte, audit.AccountKey, []log.Receipt, *log.Log) {
	t.Helper()
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice, bob)
	var receipts []log.Receipt
	for i := range n {
		receipts = append(receipts, logtest.Append(t, l, logtest.Event(alice, time.Now())))
		if i%5 == 0 {
			logtest.Append(t, l, logtest.Event(bob, time.Now()))
			if err := l.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return logtest.Files(t, l, alice), accountKey(t, l, alice), receipts, l
}

func TestAnUntouchedExportVerifies(t *testing.T) {
	for _, n := range []int{0, 1, 7, 300} {
		files, key, receipts, _ := exported(t, n)
		var read int
		r := verify(t, files, key, audit.Options{
			Receipts: receipts,
			Each: func(e audit.Event) error {
				if e.Record.EventName != "Decrypt" || !json.Valid(e.JSON) {
					t.Errorf("event %d was not read back", e.Index)
				}
				read++
				return nil
			},
		})
		if !r.OK || len(r.Problems)+len(r.Missing) > 0 {
			t.Fatalf("%d events: %+v", n, r)
		}
		if r.VerifiedEvents != uint64(n) || read != n || r.AccountSize != uint64(n)+1 || r.RootSize == 0 {
			t.Errorf("%d events: %d read, %+v", n, read, r)
		}
		key.Keys = nil
		if r := verify(t, files, key, audit.Options{}); !r.OK {
			t.Errorf("without data keys: %+v", r)
		}
	}
}

func TestEveryChangedByteIsFound(t *testing.T) {
	files, key, _, _ := exported(t, 3)
	total := 0
	for name, data := range files {
		for i := range data {
			total++
			if testing.Short() && total%7 != 0 {
				continue
			}
			data[i] ^= 1 << (i % 8)
			if r := verify(t, files, key, audit.Options{}); r.OK {
				t.Errorf("%s: a change of byte %d was not found", name, i)
			}
			data[i] ^= 1 << (i % 8)
		}
	}
	if r := verify(t, files, key, audit.Options{}); !r.OK {
		t.Fatalf("the bytes were not put back: %+v", r)
	}
	t.Logf("%d bytes in %d files", total, len(files))
}
