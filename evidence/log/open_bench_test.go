package log_test

import (
	"testing"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/log/logtest"
)

// Target: at most 50 ms; a first start makes a log, its first segment of 256
// MiB included.
func BenchmarkOpenNew(b *testing.B) {
	for b.Loop() {
		cfg := logtest.Config(b, b.TempDir(), clock.System)
		cfg.SegmentSize = 0
		l, err := log.Open(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		l.Close()
		b.StartTimer()
	}
}
