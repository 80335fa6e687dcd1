package core_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

var errPower = errors.New("the power went out")

// An HSM is killed at each of its writes, just before and just after the file
// is durable. Whatever happens, it comes back with the state before or after
// the change, knows all keys that it made, has a log that continues, and has
// done nothing that a restart forgets.
func TestAnHSMThatIsKilledInTheMiddleOfAChangeComesBackWhole(t *testing.T) {
	all := five(t)
	three := all[:3]
	day := uint64(24 * time.Hour / time.Millisecond)
	member := waiting(t, newStore())
	record := bytes.Clone(member.must(message.OpMember, nil, message.Params{}).Record)
	changes := map[string]func(h *hsm) []byte{
		"rotate": func(h *hsm) []byte { return order(t, h.compose(quorum.RotateDomainKeys, once()), three...) },
		"standing": func(h *hsm) []byte {
			from := uint64(h.now.UnixMilli())
			return order(t, h.compose(quorum.RotateDomainKeys, quorum.RotateArguments{From: from, To: from + day, Interval: day}), three...)
		},
		"add a member": func(h *hsm) []byte {
			return order(t, h.compose(quorum.AddMember, quorum.AddArguments{Record: record}), three...)
		},
		"export": func(h *hsm) []byte { return order(t, h.compose(quorum.ExportDomain, nil), three...) },
		"new operators": func(h *hsm) []byte {
			return order(t, h.compose(quorum.ModifyOperators, quorum.OperatorsArguments{Operators: operatorsOf(all[:4])}), three...)
		},
		"self-destruct": func(h *hsm) []byte {
			return order(t, h.compose(quorum.SelfDestruct, quorum.MemberArguments{Member: h.status().Member}), three...)
		},
	}
	prepared := newStore()
	h := waiting(t, prepared)
	h.found(all, 0)
	key := bytes.Clone(h.newKey())
	head := readLog(t, h, nil)
	for name, change := range changes {
		for at := 0; ; at++ {
			survived := false
			for _, durable := range []bool{false, true} {
				what := fmt.Sprintf("%s, killed at write %d (durable: %v)", name, at, durable)
				s := prepared.clone()
				h := mustOpen(t, s)
				signed := change(h)
				before := h.status()
				s.die(at, durable)
				_, status := h.submit(signed)
				if survived = s.alive(); survived && status != link.StatusOK {
					t.Fatalf("%s: status %d", what, status)
				}
				if !survived && status == link.StatusOK {
					t.Errorf("%s: it said that it was done", what)
				}
				s.revive()
				back, err := open(t, s)
				if errors.Is(err, core.ErrDestroyed) && name == "self-destruct" {
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				after := back.status()
				if after.Serial != before.Serial && after.Serial != before.Serial+1 {
					t.Errorf("%s: serial %d became %d", what, before.Serial, after.Serial)
				}
				if status == link.StatusOK && name == "rotate" && after.Serial != before.Serial+1 {
					t.Errorf("%s: it was acknowledged and forgotten", what)
				}
				if _, status := back.do(message.OpEncrypt, key, message.Params{Data: []byte("x")}); status != link.StatusOK {
					t.Errorf("%s: a key is lost: %d", what, status)
				}
				readLog(t, back, &head)
				// What is not done can be done again; what is done cannot.
				_, again := back.submit(signed)
				if done := after.Serial != before.Serial || after.Standing != before.Standing || back.Nonces() == 2 && status == link.StatusOK; done && again == link.StatusOK {
					t.Errorf("%s: done twice", what)
				} else if !done && again != link.StatusOK && again != link.StatusDenied {
					t.Errorf("%s: cannot be done again: %d", what, again)
				}
			}
			if survived {
				break
			}
		}
	}
}

func TestFoundingAndJoiningSurviveAKill(t *testing.T) {
	all := five(t)
	founder := waiting(t, newStore())
	founder.found(all, 0)
	prepared := newStore()
	waiting(t, prepared)
	for at := 0; at < 4; at++ {
		for _, durable := range []bool{false, true} {
			s := prepared.clone()
			h := waiting(t, s)
			s.die(at, durable)
			signed := order(t, h.composeFor(quorum.ID{7}, 0, quorum.CreateDomain, founding(h, all, 2)), all...)
			r, status := h.submit(signed)
			s.revive()
			back := mustOpen(t, s)
			switch members := back.status().Members; {
			case status == link.StatusOK && members != 2:
				t.Errorf("write %d: founded and forgotten", at)
			case members == 2:
				// The shares, which exist nowhere else, can be had again.
				if got := back.obeys(quorum.ExportDomain, nil, all[0], all[2]); len(got.Shares) != 5 {
					t.Errorf("write %d: %d shares", at, len(got.Shares))
				}
			default:
				if r, status = back.submit(signed); status != link.StatusOK || len(r.Shares) != 5 {
					t.Errorf("write %d: founding again: %d", at, status)
				}
			}
		}
	}
	record := bytes.Clone(mustOpen(t, prepared).must(message.OpMember, nil, message.Params{}).Record)
	token := founder.obeys(quorum.AddMember, quorum.AddArguments{Record: record}, all[0], all[1], all[2]).Token
	for at := 0; at < 3; at++ {
		for _, durable := range []bool{false, true} {
			s := prepared.clone()
			h := mustOpen(t, s)
			s.die(at, durable)
			status := h.install(token, all[0], all[2])
			s.revive()
			back := mustOpen(t, s)
			if status == link.StatusOK && back.status().Members != 2 {
				t.Errorf("write %d: joined and forgotten", at)
			}
			if status := back.install(token, all[0], all[2]); status != link.StatusOK {
				t.Errorf("write %d: joining again: %d", at, status)
			}
			understandEachOther(t, founder, back)
		}
	}
}

// die makes the store stop at its n-th write from now on, which is durable or
// not.
func (s *store) die(n int, durable bool) { s.left, s.durable, s.dying = n, durable, true }

// alive says whether it has not come to that.
func (s *store) alive() bool { return s.left >= 0 }

func (s *store) revive() { s.dying, s.fail = false, nil }
