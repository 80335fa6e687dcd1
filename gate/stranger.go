package gate

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/leadglass/leadglass/wire"
)

// How many refusals of callers that nobody knows are put on record one by one.
// Whoever reaches the port could otherwise fill the disk with records of
// being refused: at the lasting rate of all together they take about 2 GB a
// day. A person who mistypes, or a fleet with a stale credential, stays within
// the burst.
const (
	strangerRate  = 5 // a second and source
	strangerBurst = 500
	strangersRate = 20 // a second, all sources together
	strangersMax  = 5000
	// strangerSlots is the memory for sources. Two that fall into one slot share their rate.
	strangerSlots = 4096
)

// strangers counts refusals that would go into the operator's log, because
// whose they are is not known.
type strangers struct {
	seed maphash.Seed

	mu      sync.Mutex
	sources [strangerSlots]bucket // guarded by mu
	all     bucket                // guarded by mu
	dropped int                   // guarded by mu; refusals that were not recorded since the last that was
}

// A bucket is a token bucket. The zero value is full.
type bucket struct {
	used float64 // tokens taken and not yet grown again
	at   time.Time
}

// take takes a token, if there is one.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.used = max(0, b.used-passed*rate)
		b.at = now
	}
	if b.used+1 > burst {
		return false
	}
	b.used++
	return true
}

// admit says whether one more refusal goes on record, and if so how many were
// not since the last.
func (s *strangers) admit(source string, now time.Time) (dropped int, ok bool) {
	// An IPv6 host has a whole /64 to call from.
	if a, err := netip.ParseAddr(source); err == nil && a.Is6() && !a.Is4In6() {
		if p, err := a.Prefix(64); err == nil {
			source = p.String()
		}
	}
	slot := maphash.String(s.seed, source) % strangerSlots
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sources[slot].take(now, strangerRate, strangerBurst) || !s.all.take(now, strangersRate, strangersMax) {
		s.dropped++
		return 0, false
	}
	dropped, s.dropped = s.dropped, 0
	return dropped, true
}

// throttled says whether this is a refusal of a caller that nobody knows
// beyond the rate. It is then answered as any service answers who asks too
// much, it is counted, and the count is on record with the next refusal of
// such a caller that is.
func (x *exchange) throttled() bool {
	if x.caller != nil || x.fault == nil {
		return false
	}
	dropped, ok := x.gate.strangers.admit(x.call.SourceIP, x.call.Time)
	if ok {
		x.unrecorded = dropped
		return false
	}
	x.fault = x.commonFault(wire.Throttled, "")
	return true
}
