package core_test

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/isolation/attest"
)

// The files were made by the version before domains had several members.
func TestADomainOfTheFirstVersionOpens(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile("testdata/domain-v1/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	s := newStore()
	s.files["domain.sealed"], s.files["seal.key"] = read("domain.sealed"), read("seal.key")
	h := mustOpen(t, s)
	if !bytes.Equal(h.Identity(), read("identity.spki")) {
		t.Error("the identity changed")
	}
	r, status := h.do(message.OpDecrypt, read("key.token"), message.Params{Blob: read("blob"), Context: context("a", "b")})
	if status != link.StatusOK || string(r.Data) != "made by version 1" {
		t.Errorf("status %d, %q", status, r.Data)
	}
	if got := h.status(); got.Serial != 1 || got.DomainKeys != 2 || got.Members != 1 || got.Operators != 0 {
		t.Errorf("status %+v", got)
	}
	// And it goes on: it rotates, is sealed anew, and can be given operators.
	h.must(message.OpRotateDomainKeys, nil, message.Params{})
	all := five(t)
	id := h.state().ID
	h.obeys(quorum.CreateDomain, founding(h, all, 0), all...)
	h = mustOpen(t, s)
	if got := h.state(); got.ID != id || got.Serial != 3 || len(got.Operators) != 5 || len(got.Keys) != 3 {
		t.Errorf("domain %s, serial %d, %d operators, %d keys", got.ID, got.Serial, len(got.Operators), len(got.Keys))
	}
	if r, status := h.do(message.OpDecrypt, read("key.token"), message.Params{Blob: read("blob"), Context: context("a", "b")}); status != link.StatusOK || string(r.Data) != "made by version 1" {
		t.Errorf("after CreateDomain: status %d", status)
	}
}

func TestAnHSMWithoutADomainOnlyWaits(t *testing.T) {
	s := newStore()
	h := waiting(t, s)
	identity := h.Identity()
	for op, name := range core.Operations() {
		_, status := h.do(op, nil, message.Params{Name: "x", Data: []byte("x"), Length: 8})
		switch op {
		case message.OpMember, message.OpStatus, message.OpCommandLog, message.OpReady:
			if status != link.StatusOK {
				t.Errorf("%s: status %d", name, status)
			}
		case message.OpCommand, message.OpTrustRoots:
			if status != link.StatusBadRequest {
				t.Errorf("%s: status %d", name, status)
			}
		case message.OpPlaceHost:
			if status != link.StatusDenied {
				t.Errorf("%s: status %d", name, status)
			}
		default:
			if status != link.StatusStale {
				t.Errorf("%s: status %d", name, status)
			}
		}
	}
	if got := h.status(); got.Members != 0 || got.Domain != [16]byte{} || got.Member != quorum.MemberID(identity) {
		t.Errorf("status %+v", got)
	}
	// It stays who it is, and does not make a domain of its own when it is
	// started without being told to wait.
	h = mustOpen(t, s)
	if !bytes.Equal(h.Identity(), identity) || h.status().Members != 0 {
		t.Error("a restart changed what it is")
	}
	record, err := quorum.ParseMemberRecord(h.must(message.OpMember, nil, message.Params{}).Record)
	if err != nil || !bytes.Equal(record.Member.HSK, identity) || record.Member.Label != "software" || record.Member.Flags != 0 {
		t.Errorf("member record %+v, %v", record, err)
	}
}

func TestADomainIsFoundedByAllItsOperators(t *testing.T) {
	all := five(t)
	s := newStore()
	h := waiting(t, s)
	id := quorum.ID{1, 2, 3}
	a := founding(h, all, 0)
	other := a
	other.Member = quorum.ID{9}
	flagged := a
	flagged.Flags = 1 << 40
	for name, c := range map[string]struct {
		command quorum.Command
		signers []*custodian
	}{
		"one signature is missing":                {h.composeFor(id, 0, quorum.CreateDomain, a), all[:4]},
		"it is for another HSM":                   {h.composeFor(id, 0, quorum.CreateDomain, other), all},
		"it sets a flag that nobody knows":        {h.composeFor(id, 0, quorum.CreateDomain, flagged), all},
		"somebody signs who is no operator of it": {h.composeFor(id, 0, quorum.CreateDomain, a), append(all[:4:4], newCustodian(t, "mallory", "east", quorum.Ed25519))},
	} {
		if _, status := h.submit(order(t, c.command, c.signers...)); status != link.StatusDenied {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if h.status().Members != 0 {
		t.Fatal("a refused command founded a domain")
	}
	signed := order(t, h.composeFor(id, 0, quorum.CreateDomain, a), all...)
	r, status := h.submit(signed)
	if status != link.StatusOK || r.Serial != 1 || len(r.Token) == 0 || len(r.Shares) != 0 {
		t.Fatalf("status %d, %+v", status, r)
	}
	if _, status := h.submit(signed); status != link.StatusDenied {
		t.Errorf("founded twice: status %d", status)
	}
	h = mustOpen(t, s)
	got := h.state()
	if got.ID != id || got.Serial != 1 || len(got.Operators) != 5 || len(got.Members) != 1 || got.Members[0].ID != a.Member {
		t.Errorf("after a restart: %+v", got)
	}
	understandEachOther(t, h)
}

func TestEnoughOfTheRightOperatorsMustSign(t *testing.T) {
	all := five(t)
	h := waiting(t, newStore())
	h.found(all, 0)
	rotate := quorum.RotateArguments{}
	rules := quorum.RulesArguments{Rules: quorum.DefaultRules(operatorsOf(all))}
	north := []*custodian{all[0], all[1], all[4]}
	h.refuses(link.StatusDenied, quorum.RotateDomainKeys, rotate)
	h.refuses(link.StatusDenied, quorum.RotateDomainKeys, rotate, all[0])
	h.refuses(link.StatusDenied, quorum.RotateDomainKeys, rotate, all[0], all[0])
	h.refuses(link.StatusDenied, quorum.RotateDomainKeys, rotate, all[0], newCustodian(t, "mallory", "south", quorum.Ed25519))
	h.refuses(link.StatusDenied, quorum.ModifyRules, rules, all[0], all[2])
	h.refuses(link.StatusDenied, quorum.ModifyRules, rules, north...) // three, but of one organisation
	forged := order(t, h.compose(quorum.RotateDomainKeys, rotate), all[0], all[2])
	for _, at := range []int{len(forged) / 4, len(forged) / 2, len(forged) - 2} {
		bad := bytes.Clone(forged)
		bad[at] ^= 1
		if _, status := h.submit(bad); status == link.StatusOK {
			t.Errorf("obeyed with byte %d changed", at)
		}
	}
	loose := quorum.DefaultRules(operatorsOf(all))
	loose[quorum.ModifyRules] = []quorum.Rule{{Roles: map[string]uint64{quorum.RoleOperator: 2}, Organisations: 1}}
	h.refuses(link.StatusDenied, quorum.ModifyRules, quorum.RulesArguments{Rules: loose}, all[0], all[2])

	before := h.status()
	if r := h.obeys(quorum.RotateDomainKeys, rotate, all[0], all[2]); r.Serial != before.Serial+1 {
		t.Errorf("serial %d", r.Serial)
	}
	if h.status().ActiveKey == before.ActiveKey {
		t.Error("nothing was rotated")
	}
	h.obeys(quorum.ModifyRules, quorum.RulesArguments{Rules: loose}, all[0], all[1], all[2])
	h.obeys(quorum.ModifyRules, rules, all[0], all[1]) // by the new rule
}

func TestACommandIsObeyedOnceAndOnlyWhereAndWhenItWasMeant(t *testing.T) {
	all := five(t)
	s := newStore()
	h := waiting(t, s)
	h.found(all, 0)
	other := waiting(t, newStore())
	other.found(all, 0)
	if _, status := h.submit(order(t, other.compose(quorum.RotateDomainKeys, once()), all[0], all[2])); status != link.StatusDenied {
		t.Errorf("a command for another domain: %d", status)
	}
	// ExportDomain does not change the serial, so only the nonce stands against a replay.
	export := order(t, h.compose(quorum.ExportDomain, nil), all[0], all[2])
	stale := order(t, h.compose(quorum.RotateDomainKeys, once()), all[0], all[2])
	future := h.compose(quorum.RotateDomainKeys, once())
	future.NotBefore += 3600_000
	if _, status := h.submit(order(t, future, all[0], all[2])); status != link.StatusDenied {
		t.Errorf("a command before its time: %d", status)
	}
	if _, status := h.submit(export); status != link.StatusOK {
		t.Fatalf("ExportDomain: %d", status)
	}
	for range 2 {
		if _, status := h.submit(export); status != link.StatusDenied {
			t.Errorf("the same command again: %d", status)
		}
		h = mustOpen(t, s) // and after a restart
	}
	h.obeys(quorum.RotateDomainKeys, once(), all[1], all[2])
	if _, status := h.submit(stale); status != link.StatusStale {
		t.Errorf("a command for the state before: %d", status)
	}
	late := order(t, h.compose(quorum.RotateDomainKeys, once()), all[0], all[2])
	h.now = h.now.Add(24*time.Hour + time.Second)
	if _, status := h.submit(late); status != link.StatusDenied {
		t.Errorf("a command after its time: %d", status)
	}
	// Once it could not come back anyway, the nonce is forgotten.
	h.obeys(quorum.ExportDomain, nil, all[0], all[2])
	if n := h.Nonces(); n != 1 {
		t.Errorf("%d nonces are remembered", n)
	}
}

func once() quorum.RotateArguments { return quorum.RotateArguments{} }

func TestHSMsJoinAndLeaveADomain(t *testing.T) {
	all := five(t)
	first := waiting(t, newStore())
	first.found(all, 0)
	key := bytes.Clone(first.newKey())
	blob := bytes.Clone(first.must(message.OpEncrypt, key, message.Params{Data: []byte("before")}).Blob)

	stores := []*store{newStore(), newStore()}
	second, third := waiting(t, stores[0]), waiting(t, stores[1])
	second.join(all, first)
	third.join(all, first, second)
	understandEachOther(t, first, second, third)
	if r := third.must(message.OpDecrypt, key, message.Params{Blob: blob}); string(r.Data) != "before" {
		t.Error("what was sealed before it joined does not open")
	}
	second, third = mustOpen(t, stores[0]), mustOpen(t, stores[1])
	understandEachOther(t, first, second, third)

	// A command to leave is for one member only, and brings nobody else down.
	leave := order(t, second.compose(quorum.LeaveDomain, quorum.MemberArguments{Member: second.status().Member}), all[0], all[1], all[2])
	if _, status := first.submit(leave); status != link.StatusDenied {
		t.Errorf("another member left: %d", status)
	}
	if _, status := second.submit(leave); status != link.StatusOK {
		t.Fatalf("LeaveDomain: %d", status)
	}
	if _, status := second.do(message.OpDecrypt, key, message.Params{Blob: blob}); status != link.StatusStale {
		t.Errorf("after leaving: %d", status)
	}
	if bytes.Contains(stores[0].files["domain.sealed"], []byte("test domain")) || mustOpen(t, stores[0]).status().Members != 0 {
		t.Error("the domain came back")
	}
	// The others take it out, and with it whatever it could still open.
	r := first.obeys(quorum.RemoveMember, quorum.MemberArguments{Member: second.status().Member}, all[0], all[1], all[2])
	if got := first.status(); got.Members != 3 {
		t.Errorf("a change counted before it was installed: %d members", got.Members)
	}
	active := first.status().ActiveKey
	for _, m := range []*hsm{first, third} {
		if status := m.install(r.Token, all[0], all[2]); status != link.StatusOK {
			t.Fatalf("InstallDomain: %d", status)
		}
	}
	if got := first.status(); got.Members != 2 || got.ActiveKey == active {
		t.Errorf("after RemoveMember: %+v", got)
	}
	if status := second.install(r.Token, all[0], all[2]); status != link.StatusWrongToken {
		t.Errorf("the one that was removed installed the token: %d", status)
	}
	understandEachOther(t, first, third)
}

func TestAMemberThatIsRemovedLosesTheKeys(t *testing.T) {
	all := five(t)
	first, second := waiting(t, newStore()), waiting(t, newStore())
	first.found(all, 0)
	second.join(all, first)
	key := bytes.Clone(second.newKey())
	r := first.obeys(quorum.RemoveMember, quorum.MemberArguments{Member: second.status().Member}, all[0], all[1], all[2])
	if status := second.install(r.Token, all[0], all[2]); status != link.StatusOK {
		t.Fatalf("InstallDomain: %d", status)
	}
	if _, status := second.do(message.OpEncrypt, key, message.Params{Data: []byte("x")}); status != link.StatusStale || second.status().Members != 0 {
		t.Errorf("status %d, %d members", status, second.status().Members)
	}
	first.install(r.Token, all[0], all[2])
	// The last one neither leaves nor is removed: all keys would be gone.
	last := quorum.MemberArguments{Member: first.status().Member}
	first.refuses(link.StatusDenied, quorum.LeaveDomain, last, all[0], all[1], all[2])
	first.refuses(link.StatusDenied, quorum.RemoveMember, last, all[0], all[1], all[2])
	first.must(message.OpEncrypt, key, message.Params{Data: []byte("x")})
}

func TestOnlyTheNextStateOfTheSameDomainIsInstalled(t *testing.T) {
	all := five(t)
	first, second := waiting(t, newStore()), waiting(t, newStore())
	created := first.found(all, 0)
	joined := second.join(all, first)
	one := first.obeys(quorum.RotateDomainKeys, once(), all[0], all[2]).Token
	two := second.obeys(quorum.RotateDomainKeys, once(), all[0], all[2]).Token
	if status := first.install(one, all[0]); status != link.StatusDenied {
		t.Errorf("one signature installed a token: %d", status)
	}
	if status := first.install(one, all[0], all[2]); status != link.StatusOK {
		t.Fatalf("InstallDomain: %d", status)
	}
	if status := first.install(one, all[1], all[2]); status != link.StatusOK {
		t.Errorf("the same token again: %d", status)
	}
	for name, token := range map[string][]byte{"the token before": joined, "the first token": created.Token, "another token of the same serial": two} {
		if status := first.install(token, all[0], all[2]); status != link.StatusWrongToken {
			t.Errorf("%s: %d", name, status)
		}
	}
	// A fork: the other member installs the other token, and the two part.
	if status := second.install(two, all[0], all[2]); status != link.StatusOK {
		t.Fatalf("InstallDomain: %d", status)
	}
	next := second.obeys(quorum.RotateDomainKeys, once(), all[0], all[2]).Token
	if status := first.install(next, all[0], all[2]); status != link.StatusWrongToken {
		t.Errorf("a state that follows another one than ours: %d", status)
	}
	// Another domain of the same people, with the same id.
	foreign := waiting(t, newStore())
	state := first.state()
	r, status := foreign.submit(order(t, foreign.composeFor(state.ID, 0, quorum.CreateDomain, founding(foreign, all, 0)), all...))
	if status != link.StatusOK {
		t.Fatal(status)
	}
	for foreign.status().Serial <= first.status().Serial {
		r = foreign.obeys(quorum.RotateDomainKeys, once(), all[0], all[2])
	}
	if status := first.install(r.Token, all[0], all[2]); status != link.StatusWrongToken {
		t.Errorf("a token that no member of ours signed: %d", status)
	}
	for i := range r.Token {
		if i%97 != 0 {
			continue
		}
		bad := bytes.Clone(one)
		bad[i%len(bad)] ^= 4
		if _, err := quorum.ParseToken(bad); err != nil {
			continue
		}
		if status := second.install(bad, all[0], all[2]); status == link.StatusOK {
			t.Errorf("a token with byte %d changed was installed", i)
		}
	}
}

func TestAMemberThatMissedChangesCatchesUpWithTheLastToken(t *testing.T) {
	all := five(t)
	first, second, third := waiting(t, newStore()), waiting(t, newStore()), waiting(t, newStore())
	first.found(all, 0)
	second.join(all, first)
	third.join(all, first, second)
	var token []byte
	for range 3 {
		token = first.obeys(quorum.RotateDomainKeys, once(), all[0], all[2]).Token
		for _, m := range []*hsm{first, second} {
			if status := m.install(token, all[0], all[2]); status != link.StatusOK {
				t.Fatal(status)
			}
		}
	}
	key := bytes.Clone(first.newKey())
	if _, status := third.do(message.OpEncrypt, key, message.Params{Data: []byte("x")}); status != link.StatusStale {
		t.Errorf("a token of a domain key that it has not: %d", status)
	}
	if status := third.install(token, all[0], all[2]); status != link.StatusOK {
		t.Fatalf("InstallDomain: %d", status)
	}
	understandEachOther(t, first, second, third)
}

func TestOperatorsPlaceHostsAndRoots(t *testing.T) {
	all := five(t)
	s := newStore()
	h := waiting(t, s)
	h.found(all, 0)
	key, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[string]uint64{core.RoleSupervisor: link.StatusBadRequest, "anything": link.StatusBadRequest} {
		h.refuses(want, quorum.PlaceHost, quorum.HostArguments{Public: spki, Role: role}, all[0], all[1], all[2])
	}
	h.obeys(quorum.PlaceHost, quorum.HostArguments{Public: spki, Role: core.RoleHost}, all[0], all[1], all[2])
	h.refuses(link.StatusBadRequest, quorum.SetRoots, quorum.RootsArguments{Roots: [][]byte{[]byte("root")}}, all[0], all[1], all[2])
	root := attest.AWSRootG1().DER
	h.obeys(quorum.SetRoots, quorum.RootsArguments{Roots: [][]byte{root}}, all[0], all[1], all[2])
	h = mustOpen(t, s)
	if got := h.state(); len(got.Hosts) != 1 || len(got.Roots) != 1 || !bytes.Equal(got.Roots[0], root) {
		t.Errorf("%d hosts, %d roots", len(got.Hosts), len(got.Roots))
	}
	if c := dial(t, h, key); c == nil {
		t.Error("the host was not let in")
	}
	stranger, _, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if c := dial(t, h, stranger); c != nil {
		t.Error("a stranger was let in")
	}
}

func TestOperatorsFenceAKeyByItsName(t *testing.T) {
	all := five(t)
	s := newStore()
	h := waiting(t, s)
	h.found(all, 0)
	key := bytes.Clone(h.newKey())
	name := newKeyParams().Name
	works := func(ekt []byte) uint64 {
		_, status := h.do(message.OpEncrypt, ekt, message.Params{Data: []byte("x")})
		return status
	}
	h.refuses(link.StatusDenied, quorum.RaiseFence, quorum.FenceArguments{Key: name, Epoch: message.FenceForever}, all[0])
	h.refuses(link.StatusFenced, quorum.RaiseFence, quorum.FenceArguments{Key: name, Epoch: 7}, all[0], all[2])
	h.must(message.OpRaiseFence, key, message.Params{})
	current := bytes.Clone(h.must(message.OpRewrapEKT, key, message.Params{Flags: message.FlagCurrent, Epoch: 1}).Token)
	if status := works(current); status != link.StatusOK {
		t.Fatalf("the current token: %d", status)
	}
	h.obeys(quorum.RaiseFence, quorum.FenceArguments{Key: name, Epoch: 7}, all[0], all[2])
	h.refuses(link.StatusFenced, quorum.RaiseFence, quorum.FenceArguments{Key: name, Epoch: 6}, all[0], all[2])
	if status := works(current); status != link.StatusFenced {
		t.Errorf("a token of an earlier epoch: %d", status)
	}
	again := bytes.Clone(h.must(message.OpRewrapEKT, current, message.Params{Flags: message.FlagCurrent, Epoch: 7}).Token)
	if status := works(again); status != link.StatusOK {
		t.Errorf("the token of the epoch: %d", status)
	}
	h.obeys(quorum.RaiseFence, quorum.FenceArguments{Key: name, Epoch: message.FenceForever}, all[0], all[2])
	h = mustOpen(t, s)
	if status := works(again); status != link.StatusFenced {
		t.Errorf("a key that is closed for ever: %d", status)
	}
}

func TestALabelThatNoDomainWouldTakeIsRefusedAtTheStart(t *testing.T) {
	for _, label := range []string{"two\nlines", " space", string(make([]byte, 200))} {
		if _, err := openWith(t, newStore(), func(c *core.Config) { c.Label = label }); err == nil {
			t.Errorf("%q was taken", label)
		}
	}
}

// A made-up domain is made with real keys, by somebody who has no HSM: a
// waiting HSM takes only a token that holds together.
func TestAWaitingHSMTakesNoTokenThatDoesNotHoldTogether(t *testing.T) {
	all := five(t)
	first, second := waiting(t, newStore()), waiting(t, newStore())
	first.found(all, 0)
	record := second.must(message.OpMember, nil, message.Params{}).Record
	token := first.obeys(quorum.AddMember, quorum.AddArguments{Record: record}, all[0], all[1], all[2]).Token
	other := waiting(t, newStore())
	if status := other.install(token, all[0], all[2]); status != link.StatusWrongToken {
		t.Errorf("a token without an envelope for it: %d", status)
	}
	if status := second.install(token, all[0]); status != link.StatusDenied {
		t.Errorf("one signature: %d", status)
	}
	parsed, err := quorum.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(change func(*quorum.DomainState)) []byte {
		t.Helper()
		state := parsed.State
		state.Members, state.Operators = slices.Clone(state.Members), slices.Clone(state.Operators)
		change(&state)
		encoded, err := state.Encode()
		if err != nil {
			t.Fatal(err)
		}
		payload, err := quorum.TokenPayload(encoded, parsed.Envelopes)
		if err != nil {
			t.Fatal(err)
		}
		b, err := quorum.AssembleToken(payload, []quorum.TokenSignature{{Member: quorum.MemberID(first.Identity()), Sig: first.SignToken(payload)}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, change := range map[string]func(*quorum.DomainState){
		"envelopes of another state": func(s *quorum.DomainState) { s.Name = "another" },
		"rules that nobody can meet": func(s *quorum.DomainState) { s.Operators = s.Operators[:3:3]; s.Operators[2].Role = "x" },
		"a member twice":             func(s *quorum.DomainState) { s.Members = append(s.Members, s.Members[0]) },
		"other keys for this member": func(s *quorum.DomainState) { s.Members[1].KEM = s.Members[0].KEM },
		"this HSM as a recovery key": func(s *quorum.DomainState) { s.Members[1].Flags = quorum.MemberRecovery },
		"no key":                     func(s *quorum.DomainState) { s.Keys = nil },
		"a key twice":                func(s *quorum.DomainState) { s.Keys = append(s.Keys[:1:1], s.Keys[0]) },
		"no active key": func(s *quorum.DomainState) {
			k := s.Keys[0]
			k.State = quorum.KeyDecryptOnly
			s.Keys = []quorum.DomainKey{k}
		},
	} {
		if status := second.install(forge(change), all[0], all[2]); status == link.StatusOK || status == link.StatusInternal {
			t.Errorf("%s: %d", name, status)
		}
		if second.status().Members != 0 {
			t.Fatalf("%s: it joined", name)
		}
	}
	if status := second.install(token, all[0], all[2]); status != link.StatusOK {
		t.Errorf("the real token: %d", status)
	}
}
