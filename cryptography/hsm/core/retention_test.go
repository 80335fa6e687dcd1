package core_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// report tells the HSM which of its keys only open, but for those excepted.
func (h *hsm) report(except ...[8]byte) {
	h.t.Helper()
	var data []byte
	for _, k := range h.state().Keys {
		if k.State == quorum.KeyDecryptOnly && !slices.Contains(except, k.ID) {
			data = append(data, k.ID[:]...)
		}
	}
	h.must(message.OpUnused, nil, message.Params{Data: data})
}

func TestADomainKeyGoesOnlyWhenItIsUnusedAndItsTimeIsOver(t *testing.T) {
	h := mustOpen(t, newStore())
	first := h.state().Keys[0].ID
	rotate := func(after time.Duration) int {
		t.Helper()
		h.now = h.now.Add(after)
		h.must(message.OpRotateDomainKeys, nil, message.Params{})
		return len(h.state().Keys)
	}
	// A host that hurries: many keys on one day, all reported.
	for i := range 40 {
		h.report()
		if n := rotate(time.Minute); n != i+2 {
			t.Fatalf("%d keys after %d rotations in a row", n, i+1)
		}
	}
	// And one that waits, without a report.
	if n := rotate(31 * 24 * time.Hour); n != 42 {
		t.Errorf("%d keys: one went without a report", n)
	}
	// The report is about one state: it does not outlive a rotation.
	h.report()
	if n := rotate(time.Minute); n != 30 {
		t.Errorf("%d keys: want the 30 newest", n)
	}
	if n := rotate(31 * 24 * time.Hour); n != 31 {
		t.Errorf("%d keys: the report was used twice", n)
	}
	// What is in use stays.
	oldest := h.state().Keys[0].ID
	h.report(oldest)
	rotate(time.Minute)
	if got := h.state().Keys; got[0].ID != oldest || slices.ContainsFunc(got, func(k quorum.DomainKey) bool { return k.ID == first }) {
		t.Error("a key that is in use is gone, or the first one is not")
	}
	active := h.state().Keys[len(h.state().Keys)-1].ID
	if _, status := h.do(message.OpUnused, nil, message.Params{Data: active[:]}); status != link.StatusDenied {
		t.Errorf("a report of the active key: %d", status)
	}
	if _, status := h.do(message.OpUnused, nil, message.Params{Data: active[:7]}); status != link.StatusBadRequest {
		t.Errorf("half an id: %d", status)
	}
	if _, status := h.doAs(&link.Peer{Roles: []string{"host"}}, message.OpUnused, nil, message.Params{}); status != link.StatusDenied {
		t.Errorf("a report by a host that is not the supervisor: %d", status)
	}
}

// hsm-domain section 8: a stolen old token opens with none of the keys that a
// member holds after retention, whatever way the token and the domain went.
func TestAStolenTokenOpensNothingAfterRetention(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 8))
		s := newStore()
		h := mustOpen(t, s)
		token := bytes.Clone(h.newKey())
		blob := bytes.Clone(h.must(message.OpEncrypt, token, message.Params{Data: []byte("plain")}).Blob)
		var stolen [][]byte
		born := map[[8]byte]time.Time{}
		for range 45 + r.IntN(20) {
			stolen = append(stolen, token)
			born[[8]byte(token[4:])] = h.now
			if r.IntN(4) == 0 {
				now := h.now
				h = mustOpen(t, s)
				h.now = now
			}
			h.report([8]byte(token[4:])) // what it is under is in use
			h.now = h.now.Add(24*time.Hour + time.Duration(r.IntN(3600))*time.Second)
			h.must(message.OpRotateDomainKeys, nil, message.Params{})
			if r.IntN(5) > 0 { // now and then the host does not get round to it
				token = bytes.Clone(h.must(message.OpRewrapEKT, token, message.Params{}).Token)
			}
		}
		token = bytes.Clone(h.must(message.OpRewrapEKT, token, message.Params{}).Token)
		h.report()
		h.must(message.OpRotateDomainKeys, nil, message.Params{})
		if p := h.must(message.OpDecrypt, token, message.Params{Blob: blob}).Data; string(p) != "plain" {
			t.Fatalf("seed %d: the token that was moved opens %q", seed, p)
		}
		held := map[[8]byte]bool{}
		for _, k := range h.state().Keys {
			held[k.ID] = true
		}
		opened, dead := 0, 0
		for _, old := range stolen {
			_, status := h.do(message.OpDecrypt, old, message.Params{Blob: blob})
			age := h.now.Sub(born[[8]byte(old[4:])])
			switch {
			case age > 40*24*time.Hour && status != link.StatusStale:
				t.Errorf("seed %d: a token of %v ago: status %d", seed, age, status)
			case (status == link.StatusOK) != held[[8]byte(old[4:])]:
				t.Errorf("seed %d: status %d of a token under a key that is held: %v", seed, status, held[[8]byte(old[4:])])
			}
			if status == link.StatusOK {
				opened++
			} else {
				dead++
			}
		}
		if opened == 0 || dead == 0 {
			t.Errorf("seed %d: %d tokens open, %d do not", seed, opened, dead)
		}
		// Nor does the sealed state hold what is gone.
		if n := len(h.DomainSecrets()); n > 40 {
			t.Errorf("seed %d: %d secrets are held", seed, n)
		}
	}
}

// A member follows a rotation that lets keys go only if it would have let
// them go itself.
func TestMembersFollowTheEndOfAKeyAndNoEarlierEnd(t *testing.T) {
	all := five(t)
	first, second := waiting(t, newStore()), waiting(t, newStore())
	first.found(all, 0)
	second.join(all, first)
	now := first.now
	both := func(at time.Time) { first.now, second.now, now = at, at, at }
	both(now)
	day := uint64(24 * time.Hour / time.Millisecond)
	// Rotations by hand, which every member installs: more than the retention.
	for range 31 {
		r := first.obeys(quorum.RotateDomainKeys, quorum.RotateArguments{}, all[0], all[2])
		for _, h := range []*hsm{first, second} {
			if status := h.install(r.Token, all[0], all[2]); status != link.StatusOK {
				t.Fatalf("install: %d", status)
			}
		}
	}
	both(now.Add(31 * 24 * time.Hour))
	from := uint64(now.Add(-time.Hour).UnixMilli())
	signed := order(t, first.compose(quorum.RotateDomainKeys, quorum.RotateArguments{From: from, To: from + 20*day, Interval: day}), all[0], all[2])
	for _, h := range []*hsm{first, second} {
		if _, status := h.submit(signed); status != link.StatusOK {
			t.Fatalf("standing command: %d", status)
		}
	}
	before := len(first.state().Keys)
	first.report()
	token := bytes.Clone(first.must(message.OpRotateDomainKeys, nil, message.Params{}).Record)
	// The second member's clock is a month behind: for it the keys' time is not over.
	second.now = now.Add(-30 * 24 * time.Hour)
	if _, status := second.do(message.OpRotateDomainKeys, nil, message.Params{Command: token}); status != link.StatusDenied {
		t.Errorf("a rotation from the future: %d", status)
	}
	second.now = now
	for _, h := range []*hsm{first, second} {
		h.must(message.OpRotateDomainKeys, nil, message.Params{Command: token})
		if got := len(h.state().Keys); got >= before || got < 30 {
			t.Errorf("%d keys, of %d before", got, before)
		}
	}
	understandEachOther(t, first, second)
}
