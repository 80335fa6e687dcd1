package redteam_test

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

// command is a command for the domain as it stands.
func (w *world) command(name string, arguments any, signers ...*hsmtest.Custodian) []byte {
	w.t.Helper()
	s, err := quorum.DecodeState(w.must(message.OpDomainState, nil, message.Params{}).Record)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.signed(s.ID, s.Serial, name, arguments, signers...)
}

// The attacker has one custodian's key, and wants what takes three of five of
// both organisations: his root for attestations, his host, his rules, his HSM.
func TestOneCustodianKeyDecidesNothing(t *testing.T) {
	v := newVault(t)
	mine := attesttest.New(t, attesttest.Options{Now: v.now(), Tier: attest.Software})
	host := newHost(t)
	spki, err := link.MarshalPublic(&host.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ada, bo, cleo, eve := v.people[0], v.people[1], v.people[2], v.people[4] // cleo alone is of the other organisation
	stranger := hsmtest.NewCustodian(t, "zoe", "north", quorum.Ed25519)
	asked := map[string]any{
		quorum.SetRoots:        quorum.RootsArguments{Roots: [][]byte{mine.Root().DER}},
		quorum.PlaceHost:       quorum.HostArguments{Public: spki, Role: core.RoleAuthority},
		quorum.ModifyRules:     quorum.RulesArguments{Rules: quorum.DefaultRules(hsmtest.Operators(v.people[:3]))},
		quorum.ModifyOperators: quorum.OperatorsArguments{Operators: hsmtest.Operators([]*hsmtest.Custodian{ada, stranger, cleo})},
	}
	for name, arguments := range asked {
		forged := *bo
		forged.Sign = ada.Sign
		for what, signers := range map[string][]*hsmtest.Custodian{
			"nobody":                         {},
			"one":                            {ada},
			"one, three times":               {ada, ada, ada},
			"one, with another's name":       {ada, &forged, cleo},
			"one, with somebody unknown":     {ada, stranger, cleo},
			"two of both organisations":      {ada, cleo},
			"three, all of one organisation": {ada, bo, eve},
		} {
			v.fails(name+" by "+what, message.OpCommand, nil, message.Params{Command: v.command(name, arguments, signers...)})
		}
	}
	good := v.command(quorum.SetRoots, asked[quorum.SetRoots], ada, bo, cleo)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, status := v.do(message.OpCommand, nil, message.Params{Command: bad}); status == link.StatusOK {
			t.Fatalf("a command with byte %d changed is obeyed", i)
		}
	}
	v.legitimate()
	if c, _ := v.dial(host); c != nil {
		t.Error("his host is let in")
	}
	// Three of both organisations decide, and then his documents count: what stood in the way was the quorum alone.
	v.must(message.OpCommand, nil, message.Params{Command: good})
	document := mine.Document(t, attest.Statement{PublicKey: v.spki})
	if got := v.opened(v.must(message.OpDecrypt, v.token, v.decrypt(document))); got != canary {
		t.Errorf("under the new root: %q", got)
	}
}

// The attacker has commands that were obeyed once, and others' commands.
func TestCommandsServeOnceHereAndNow(t *testing.T) {
	v := newVault(t)
	all := v.people
	roots := func(p *attesttest.PKI) quorum.RootsArguments {
		return quorum.RootsArguments{Roots: [][]byte{p.Root().DER}}
	}
	old := attesttest.New(t, attesttest.Options{Now: v.now(), Tier: attest.Software})
	first := v.command(quorum.SetRoots, roots(old), all[0], all[1], all[2])
	later := v.command(quorum.SetRoots, roots(old), all[0], all[2], all[3])
	v.must(message.OpCommand, nil, message.Params{Command: first})
	v.must(message.OpCommand, nil, message.Params{Command: v.command(quorum.SetRoots, roots(v.pki), all[0], all[1], all[2])})
	v.fails("a command again", message.OpCommand, nil, message.Params{Command: first})
	v.fails("a command for a serial that is past", message.OpCommand, nil, message.Params{Command: later})
	s, err := quorum.DecodeState(v.must(message.OpDomainState, nil, message.Params{}).Record)
	if err != nil {
		t.Fatal(err)
	}
	var other quorum.ID
	rand.Read(other[:])
	v.fails("a command of another domain", message.OpCommand, nil, message.Params{Command: v.signed(other, s.Serial, quorum.SetRoots, roots(old), all...)})
	v.fails("a command for a serial that is to come", message.OpCommand, nil, message.Params{Command: v.signed(s.ID, s.Serial+1, quorum.SetRoots, roots(old), all...)})
	waits := v.signed(s.ID, s.Serial, quorum.SetRoots, roots(old), all...)
	v.sleep(quorum.MaxSpan + time.Minute)
	v.fails("a command that has expired", message.OpCommand, nil, message.Params{Command: waits})
	v.sleep(-quorum.MaxSpan - time.Minute)
	v.fails("a domain of his own over it", message.OpCommand, nil, message.Params{Command: v.signed(other, 0, quorum.CreateDomain, hsmtest.Founding(quorum.MemberID(v.hsm.Identity()), all, 0), all...)})
	v.fails("a rotation", message.OpRotateDomainKeys, nil, message.Params{})
	v.legitimate()
}

// Tokens carry the domain's keys from HSM to HSM. The attacker brings one of
// another domain, an old one, or lets in an HSM that he made.
func TestTheDomainsKeysGoToNobodyElse(t *testing.T) {
	v := newVault(t)
	all := v.people
	install := func(token []byte, signers ...*hsmtest.Custodian) []byte {
		parsed, err := quorum.ParseToken(token)
		if err != nil {
			t.Fatal(err)
		}
		return v.signed(parsed.State.ID, parsed.State.Serial, quorum.InstallDomain, quorum.InstallArguments{Token: token}, signers...)
	}
	result := func(r message.Result) quorum.CommandResult {
		c, err := quorum.ParseResult(r.Record)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	waiting := func() *world {
		h := *v
		w := h.world
		other := *w
		c := other.start(&files{all: make(map[string][]byte)})
		other.front = c
		return &other
	}
	his := waiting()
	record := his.must(message.OpMember, nil, message.Params{}).Record
	add := quorum.AddArguments{Record: record}
	v.fails("lets his HSM in with one key", message.OpCommand, nil, message.Params{Command: v.command(quorum.AddMember, add, all[0])})
	v.fails("lets it in with two", message.OpCommand, nil, message.Params{Command: v.command(quorum.AddMember, add, all[0], all[2])})
	for _, i := range []int{len(record) / 3, len(record) / 2, len(record) - 1} {
		forged := bytes.Clone(record)
		forged[i] ^= 1
		if _, err := quorum.ParseMemberRecord(forged); err == nil {
			v.fails("a record that its HSM did not sign", message.OpCommand, nil, message.Params{Command: v.command(quorum.AddMember, quorum.AddArguments{Record: forged}, all...)})
		}
	}
	// With the quorum it is let in: a token that only members open. Another waiting HSM gets nothing out of it.
	token := result(v.must(message.OpCommand, nil, message.Params{Command: v.command(quorum.AddMember, add, all[0], all[1], all[2])})).Token
	third := waiting()
	third.fails("installs a domain in an HSM that is no member", message.OpCommand, nil, message.Params{Command: install(token, all[0], all[2])})
	his.fails("installs it with one key", message.OpCommand, nil, message.Params{Command: install(token, all[0])})
	flipped := bytes.Clone(token)
	flipped[len(flipped)-1] ^= 1
	if _, err := quorum.ParseToken(flipped); err == nil {
		his.fails("installs one that was changed", message.OpCommand, nil, message.Params{Command: install(flipped, all[0], all[2])})
	}
	his.must(message.OpCommand, nil, message.Params{Command: install(token, all[0], all[2])})
	v.must(message.OpCommand, nil, message.Params{Command: install(token, all[0], all[2])})
	v.legitimate()

	// What was before the third member is older, and of no use any more.
	newer := result(v.must(message.OpCommand, nil, message.Params{Command: v.command(quorum.AddMember, quorum.AddArguments{Record: third.must(message.OpMember, nil, message.Params{}).Record}, all[0], all[1], all[2])})).Token
	for _, m := range []*world{v.world, his, third} {
		m.must(message.OpCommand, nil, message.Params{Command: install(newer, all[0], all[2])})
		m.fails("an older token", message.OpCommand, nil, message.Params{Command: install(token, all[0], all[2])})
	}
	// An HSM of another domain opens no token of this one, and takes none.
	foreign := newWorld(t)
	foreign.fails("a key of this domain at another", message.OpDecrypt, v.token, v.decrypt(v.document()))
	foreign.fails("a domain token of this domain at another", message.OpCommand, nil, message.Params{Command: install(newer, foreign.people...)})
	v.legitimate()
}

// Who can loosen a sealed key are the custodians that its owner named.
func TestSealedConditionsAreLoosenedByTheirCustodiansAlone(t *testing.T) {
	w := newWorld(t)
	named := quorum.Custodians{Rules: []quorum.Rule{{Roles: map[string]uint64{quorum.RoleTenantCustodian: 2}, Organisations: 1}}}
	var own []*hsmtest.Custodian
	for _, label := range []string{"kay", "lee", "max"} {
		c := hsmtest.NewCustodian(t, label, "clinic", quorum.Ed25519)
		c.Role = quorum.RoleTenantCustodian
		own = append(own, c)
	}
	named.Operators = hsmtest.Operators(own)
	encoded, err := named.Encode()
	if err != nil {
		t.Fatal(err)
	}
	loose := w.newKey("kept")
	blob := w.must(message.OpEncrypt, loose, message.Params{Data: []byte(canary)}).Blob
	strict := message.Conditions{Measurements: []message.Measurement{measured(1)}, Custodians: encoded}
	token := w.seal(loose, strict)
	id, err := message.MaterialOf(blob)
	if err != nil {
		t.Fatal(err)
	}
	none := message.Conditions{}
	loosen := quorum.ConditionsArguments{Key: arn + "kept", Material: id[:], Conditions: none.Append(nil), Epoch: 1}
	try := func(command []byte) (message.Result, uint64) {
		return w.do(message.OpSealConditions, token, message.Params{Conditions: none.Append(nil), Command: command})
	}
	other := loosen
	other.Key = arn + "other"
	for what, command := range map[string][]byte{
		"nobody":                      nil,
		"one of them":                 w.command(quorum.LoosenConditions, loosen, own[0]),
		"one of them twice":           w.command(quorum.LoosenConditions, loosen, own[0], own[0]),
		"the domain's own custodians": w.command(quorum.LoosenConditions, loosen, w.people...),
		"them, for another key":       w.command(quorum.LoosenConditions, other, own...),
		"them, in another domain":     w.signed(quorum.ID{1}, 1, quorum.LoosenConditions, loosen, own...),
	} {
		if _, status := try(command); status != link.StatusDenied {
			t.Errorf("loosened by %s: status %d", what, status)
		}
	}
	w.fails("Decrypt", message.OpDecrypt, token, message.Params{Blob: blob})
	r, status := try(w.command(quorum.LoosenConditions, loosen, own[0], own[2]))
	if status != link.StatusOK {
		t.Fatalf("loosened by two of them: status %d", status)
	}
	if got := w.must(message.OpDecrypt, r.Token, message.Params{Blob: blob}).Data; string(got) != canary {
		t.Errorf("loosened: %q", got)
	}
}
