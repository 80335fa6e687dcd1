package pebble

import (
	"errors"
	"fmt"
)

// logger gives Pebble's lines to ours. They name files and sizes, not values.
type logger struct{ s *Store }

func (l logger) Infof(f string, args ...any) { l.s.cfg.Logger.Debug(fmt.Sprintf(f, args...)) }

func (l logger) Errorf(f string, args ...any) { l.s.cfg.Logger.Error(fmt.Sprintf(f, args...)) }

// errFatal is what a fatal error of Pebble unwinds a commit with.
var errFatal = errors.New("pebble: fatal error of the engine")

// Fatalf must not return: Pebble goes on as if nothing had happened.
// In a commit the panic is caught (see applyBatch); in Pebble's own goroutines
// it ends the process, which is right: the disk's content is unknown. If the
// store failed before, this is only the end of Pebble's dream (see fuse).
func (l logger) Fatalf(f string, args ...any) {
	if l.s.isFailed.Load() {
		select {}
	}
	err := fmt.Errorf("%w: %s", errFatal, fmt.Sprintf(f, args...))
	if l.s.open.Load() {
		l.s.fail(err)
	}
	panic(err)
}
