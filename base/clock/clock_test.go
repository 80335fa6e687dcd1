package clock_test

import (
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
)

func TestAFakeClockWakesItsWaitersWhenTheirTimeHasCome(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := clock.NewFake(start)
	early, late, now := c.After(time.Minute), c.After(time.Hour), c.After(0)
	select {
	case <-now:
	default:
		t.Error("a wait of nothing is not over")
	}
	c.Advance(time.Minute)
	select {
	case at := <-early:
		if !at.Equal(start.Add(time.Minute)) {
			t.Errorf("woken at %v", at)
		}
	default:
		t.Error("the minute is over and nobody was woken")
	}
	select {
	case <-late:
		t.Error("woken an hour early")
	default:
	}
	if got := c.Now(); !got.Equal(start.Add(time.Minute)) {
		t.Errorf("Now = %v", got)
	}
}
