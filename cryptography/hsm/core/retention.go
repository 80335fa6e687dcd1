package core

import (
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// Destruction of domain keys (hsm-domain section 8). A key that only opens is
// let go with the next new one if two have their say. The host reports that it
// has found no token under the key: the HSM cannot see the store. And the
// domain's own rule has to allow it, which no host can hasten: as many newer
// keys as the retention says, and as many days since the key was made. A host
// that lies can keep a key alive, or destroy what it could have deleted from
// its store, but not before every other copy of the store is as old as the
// domain's operators wanted.
//
// Destroyed is what the next state does not name: no token of the domain
// carries it, and the members wipe it once that state counts.

const day = uint64(24 * time.Hour / time.Millisecond)

// spent says whether the domain's rule lets go of a key, by the number of
// newer ones and the time.
func spent(k quorum.DomainKey, newer int, retention, at uint64) bool {
	retention = max(retention, 1)
	return k.State == quorum.KeyDecryptOnly && uint64(newer) >= retention && at >= k.Created && (at-k.Created)/day >= retention
}

// unused takes the host's report: ids of keys under which a full pass has found
// no token. It is good for the present state and is forgotten with the next,
// in memory only: a key is better kept too long.
func (c *call) unused() uint64 {
	const n = len(dkID{})
	if len(c.params.Data)%n != 0 {
		return link.StatusBadRequest
	}
	report := make(map[dkID]bool)
	for rest := c.params.Data; len(rest) > 0; rest = rest[n:] {
		report[dkID(rest)] = true
	}
	if report[c.d.active] {
		return link.StatusDenied // tokens are made under it as we speak
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if c.h.held.d != c.d {
		return link.StatusStale // the pass was over another state
	}
	c.h.report = report
	return link.StatusOK
}

// kept are the keys of a state that stay when a new one joins them.
func (h *HSM) kept(state quorum.DomainState, now time.Time) []quorum.DomainKey {
	h.mu.RLock()
	report := h.report
	h.mu.RUnlock()
	var kept []quorum.DomainKey
	for i, k := range state.Keys {
		if newer := len(state.Keys) - i; report[k.ID] && spent(k, newer, state.Retention, uint64(now.UnixMilli())) {
			continue
		}
		kept = append(kept, k)
	}
	return kept
}

// adopt makes the domain, which was opened from a token, keep those secrets
// that another has already, so that each exists once.
func (d *domain) adopt(before *domain) {
	for id, key := range before.keys {
		if double := d.keys[id]; double != nil && double != key {
			double.Destroy()
			d.keys[id] = key
		}
	}
}

// release wipes the keys that a later state of the domain does not have. It
// comes once that state counts.
func (d *domain) release(next *domain) {
	for id, key := range d.keys {
		if next.keys[id] == nil {
			key.Destroy()
		}
	}
}
