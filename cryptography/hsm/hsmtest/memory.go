package hsmtest

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Mask hides what is searched for, so that a search does not find itself:
// every byte of a needle is XORed with it.
const Mask = 0x55

// Holds searches the readable memory of a process for a masked needle. It
// skips the test where it may not, and fails it when it could read so little
// that the answer says nothing.
func Holds(t testing.TB, pid int, needle []byte) bool {
	t.Helper()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Skipf("may not read the process's memory: %v", err) // not root
	}
	defer mem.Close()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	buf, read := make([]byte, 1<<20), 0
	defer clear(buf) // what is found must not be found again
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || mode[0] != 'r' || strings.Contains(line, "[v") {
			continue
		}
		for at := from; at < to; at += int64(len(buf)) - 64 { // overlapping
			n, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			read += n
			if contains(buf[:n], needle) {
				return true
			}
		}
	}
	if read < 1<<20 {
		t.Errorf("only %d bytes could be read: the search says nothing", read)
	}
	return false
}

// contains is bytes.Contains for a masked needle. It looks for the first byte
// and compares from there, which is fast enough for the whole of a process.
func contains(b, needle []byte) bool {
	for {
		i := bytes.IndexByte(b, needle[0]^Mask)
		if i < 0 || len(b)-i < len(needle) {
			return false
		}
		same := 0
		for same < len(needle) && b[i+same]^Mask == needle[same] {
			same++
		}
		if same == len(needle) {
			return true
		}
		b = b[i+1:]
	}
}
