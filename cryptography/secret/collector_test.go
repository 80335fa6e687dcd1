package secret_test

import (
	"runtime"
	"testing"

	"github.com/leadglass/leadglass/cryptography/secret"
)

func TestDeadSecretsAreCollectedOnlyWhereTheyAreErasedAndAfterWork(t *testing.T) {
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumGC
	}
	var c secret.Collector
	for _, step := range []struct {
		name       string
		operations uint64
		want       bool
	}{
		{"nothing was done", 0, false},
		{"the first operations", 3, secret.Erasing},
		{"nothing since", 3, false},
		{"one more", 4, secret.Erasing},
	} {
		before := collections()
		if got := c.Tick(step.operations); got != step.want {
			t.Errorf("%s: collected %v, want %v", step.name, got, step.want)
		}
		if step.want && collections() == before {
			t.Errorf("%s: the garbage collector did not run", step.name)
		}
	}
}
