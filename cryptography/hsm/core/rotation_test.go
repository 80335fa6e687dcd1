package core_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

func TestAMemberThatHearsOfALaterStateStopsUntilItHasIt(t *testing.T) {
	all := five(t)
	first, second := waiting(t, newStore()), waiting(t, newStore())
	first.found(all, 0)
	second.join(all, first)
	key := bytes.Clone(first.newKey())
	serial := func(h *hsm) []byte { return bytes.Clone(h.must(message.OpDomainState, nil, message.Params{}).Token) }
	works := func() uint64 {
		_, status := second.do(message.OpEncrypt, key, message.Params{Data: []byte("x")})
		return status
	}
	token := first.obeys(quorum.ModifyOperators, quorum.OperatorsArguments{Operators: operatorsOf(all[:4])}, all[0], all[1], all[2]).Token
	second.must(message.OpStatus, serial(first), message.Params{})
	if status := works(); status != link.StatusOK {
		t.Errorf("a change that is in effect nowhere stopped a member: %d", status)
	}
	if status := first.install(token, all[0], all[2]); status != link.StatusOK {
		t.Fatal(status)
	}
	proof := serial(first)
	for i := range proof {
		bad := bytes.Clone(proof)
		bad[i] ^= 1
		second.must(message.OpStatus, bad, message.Params{})
	}
	second.must(message.OpStatus, proof[:20], message.Params{})
	second.now = second.now.Add(2 * time.Hour)
	second.must(message.OpStatus, proof, message.Params{})
	if status := works(); status != link.StatusOK {
		t.Errorf("a proof that is changed or expired stopped a member: %d", status)
	}
	second.now = first.now
	second.must(message.OpStatus, proof, message.Params{})
	if status := works(); status != link.StatusStale {
		t.Errorf("after it heard of a later state: %d", status)
	}
	first.must(message.OpStatus, serial(second), message.Params{})
	first.must(message.OpEncrypt, key, message.Params{Data: []byte("x")})
	if status := second.install(token, all[0], all[2]); status != link.StatusOK {
		t.Fatal(status)
	}
	if status := works(); status != link.StatusOK {
		t.Errorf("after it caught up: %d", status)
	}
}

func TestRotationIsTheOperatorsBusinessOnceThereAreSome(t *testing.T) {
	all := five(t)
	first, second, third := waiting(t, newStore()), waiting(t, newStore()), waiting(t, newStore())
	first.found(all, 0)
	second.join(all, first)
	if _, status := first.do(message.OpRotateDomainKeys, nil, message.Params{}); status != link.StatusDenied {
		t.Fatalf("the supervisor rotated: %d", status)
	}
	day := uint64(24 * time.Hour / time.Millisecond)
	from := uint64(first.now.UnixMilli())
	standing := quorum.RotateArguments{From: from, To: from + 30*day, Interval: day}
	signed := order(t, first.compose(quorum.RotateDomainKeys, standing), all[0], all[2])
	for _, m := range []*hsm{first, second} {
		if _, status := m.submit(signed); status != link.StatusOK {
			t.Fatalf("a standing command: %d", status)
		}
	}
	third.join(all, first, second) // gets the order with the domain
	members := []*hsm{first, second, third}
	at := func(d time.Duration) {
		for _, m := range members {
			m.now = m.now.Add(d)
		}
	}
	for day := range 5 {
		if _, status := first.do(message.OpRotateDomainKeys, nil, message.Params{}); status != link.StatusDenied {
			t.Fatalf("day %d: rotated before the interval was over: %d", day, status)
		}
		at(24 * time.Hour)
		maker := members[day%3]
		before := maker.status()
		token := bytes.Clone(maker.must(message.OpRotateDomainKeys, nil, message.Params{}).Record)
		if after := maker.status(); after.Serial != before.Serial || after.ActiveKey != before.ActiveKey {
			t.Errorf("day %d: the one that made the key used it before anybody else could have it", day)
		}
		for i, m := range members {
			if day == 3 && i == 2 {
				continue // misses one, and takes over two the day after
			}
			if _, status := m.do(message.OpRotateDomainKeys, nil, message.Params{Command: token}); status != link.StatusOK {
				t.Fatalf("day %d, member %d: taking over: %d", day, i, status)
			}
			if _, status := m.do(message.OpRotateDomainKeys, nil, message.Params{Command: token}); status != link.StatusWrongToken {
				t.Errorf("day %d, member %d: taking over again: %d", day, i, status)
			}
		}
		if day != 3 {
			understandEachOther(t, members...)
		}
	}
	at(40 * 24 * time.Hour)
	if _, status := first.do(message.OpRotateDomainKeys, nil, message.Params{}); status != link.StatusDenied {
		t.Errorf("rotated after the standing command had ended: %d", status)
	}
}

// What follows a standing order may only be a rotation: whatever else a token
// changes has to be installed by the operators.
func TestNothingButARotationIsTakenOver(t *testing.T) {
	all := five(t)
	first, second := waiting(t, newStore()), waiting(t, newStore())
	first.found(all, 0)
	second.join(all, first)
	day := uint64(24 * time.Hour / time.Millisecond)
	from := uint64(first.now.UnixMilli())
	signed := order(t, first.compose(quorum.RotateDomainKeys, quorum.RotateArguments{From: from, To: from + 30*day, Interval: day}), all[0], all[2])
	for _, m := range []*hsm{first, second} {
		if _, status := m.submit(signed); status != link.StatusOK {
			t.Fatal(status)
		}
	}
	first.now, second.now = first.now.Add(25*time.Hour), second.now.Add(25*time.Hour)
	_, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	added := waiting(t, newStore()).must(message.OpMember, nil, message.Params{}).Record
	for name, c := range map[string]struct {
		command   string
		arguments any
	}{
		"a host":          {quorum.PlaceHost, quorum.HostArguments{Public: spki, Role: core.RoleHost}},
		"a member":        {quorum.AddMember, quorum.AddArguments{Record: added}},
		"other operators": {quorum.ModifyOperators, quorum.OperatorsArguments{Operators: operatorsOf(all[:4])}},
	} {
		token := first.obeys(c.command, c.arguments, all[0], all[1], all[2]).Token
		if _, status := second.do(message.OpRotateDomainKeys, nil, message.Params{Command: token}); status != link.StatusDenied {
			t.Errorf("%s: %d", name, status)
		}
	}
	// Nor one for which there is no order.
	extra := first.obeys(quorum.RotateDomainKeys, once(), all[0], all[2]).Token
	if status := first.install(extra, all[0], all[2]); status != link.StatusOK {
		t.Fatal(status)
	}
	again := first.obeys(quorum.RotateDomainKeys, once(), all[0], all[2]).Token
	if status := first.install(again, all[0], all[2]); status != link.StatusOK {
		t.Fatal(status)
	}
	if _, status := second.do(message.OpRotateDomainKeys, nil, message.Params{Command: again}); status != link.StatusDenied {
		t.Errorf("two rotations on one day: %d", status)
	}
	for _, host := range []*link.Peer{stranger, authority} {
		if _, status := second.doAs(host, message.OpRotateDomainKeys, nil, message.Params{Command: extra}); status != link.StatusDenied {
			t.Errorf("a host that is no supervisor: %d", status)
		}
	}
}
