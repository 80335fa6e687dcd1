package core

import (
	"testing"
	"time"
)

// The vectors of RFC 6238, appendix B, for SHA-1: of their eight digits the
// last six, which is what six digits are.
func TestCodesAreThoseOfRFC6238(t *testing.T) {
	seed := []byte("12345678901234567890")
	for _, c := range []struct {
		unix int64
		want string
	}{
		{59, "287082"},
		{1111111109, "081804"},
		{1111111111, "050471"},
		{1234567890, "005924"},
		{2000000000, "279037"},
		{20000000000, "353130"},
	} {
		if got := code(seed, stepOf(time.Unix(c.unix, 0))); string(got[:]) != c.want {
			t.Errorf("at %d: %s, want %s", c.unix, got[:], c.want)
		}
	}
}

// The vectors of RFC 4226, appendix D.
func TestCodesAreThoseOfRFC4226(t *testing.T) {
	for i, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := code([]byte("12345678901234567890"), int64(i)); string(got[:]) != want {
			t.Errorf("count %d: %s, want %s", i, got[:], want)
		}
	}
}
