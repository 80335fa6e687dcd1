package pebble_test

import (
	"testing"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/kvtest"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

func TestConformance(t *testing.T) {
	kvtest.Run(t, kvtest.Harness{
		Open: func(t testing.TB, dir string, c clock.Clock) kv.Store {
			s, err := pebble.Open(dir, pebble.Config{Clock: c})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Durable: true,
		OpenTwice: func(dir string) error {
			s, err := pebble.Open(dir, pebble.Config{})
			if err == nil {
				_ = s.Close()
			}
			return err
		},
	})
}
