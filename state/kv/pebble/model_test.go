package pebble_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/kvtest"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

func TestAgreesWithTheModel(t *testing.T) {
	for seed := range uint64(4) {
		c := clock.NewFake(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
		fs := vfs.NewMem()
		open := func() *pebble.Store {
			s, err := pebble.Open("store", pebble.Config{Clock: c, FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		model, checked := memory.OpenAt(c), kv.Store(open())
		kvtest.Model(t, seed, 3000, c, model, checked, func(s kv.Store) kv.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			checked = open()
			return checked
		})
		if err := model.Close(); err != nil {
			t.Error(err)
		}
		if err := checked.Close(); err != nil {
			t.Error(err)
		}
	}
}
