package memory_test

import (
	"testing"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/kvtest"
	"github.com/leadglass/leadglass/state/kv/memory"
)

func TestConformance(t *testing.T) {
	kvtest.Run(t, kvtest.Harness{Open: func(_ testing.TB, _ string, c clock.Clock) kv.Store { return memory.OpenAt(c) }})
}
