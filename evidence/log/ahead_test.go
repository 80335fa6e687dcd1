package log

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Zeroing ahead must never touch a record: records of random sizes, some
// larger than the stretch, are written through several stretches and read back.
func TestZeroingAheadNeverTouchesARecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f, err := openSegment(path, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var want bytes.Buffer
	for want.Len() < 40<<20 {
		n := 1 + random.IntN(200<<10)
		if random.IntN(20) == 0 {
			n = aheadStretch + random.IntN(1<<20)
		}
		rec := bytes.Repeat([]byte{byte(1 + random.IntN(255))}, n)
		if _, err := f.WriteAt(rec, int64(want.Len())); err != nil {
			t.Fatal(err)
		}
		want.Write(rec)
	}
	if err := f.Datasync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:want.Len()], want.Bytes()) {
		t.Error("a record was overwritten")
	}
	if bytes.Trim(got[want.Len():], "\x00") != nil && len(bytes.Trim(got[want.Len():], "\x00")) != 0 {
		t.Error("there is something behind the records")
	}
}
