package quorum_test

import (
	"errors"
	"fmt"
	"math/bits"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// allowed is the rule of the design, said in other words than the code's: of n
// custodians n/2+1 of two organisations, or any two.
func allowed(name string, n int, signers []custodian) bool {
	organisations := make(map[string]bool)
	for _, s := range signers {
		organisations[s.Organisation] = true
	}
	if name == quorum.RotateDomainKeys {
		return len(signers) >= 2
	}
	return 2*len(signers) > n && len(organisations) >= 2
}

func TestExactlyTheSubsetsThatMeetTheRulePass(t *testing.T) {
	for _, n := range []int{3, 4, 5} {
		c := crew(t, n, "hospital", "platform")
		s := stateOf(c)
		commands := map[string][]byte{
			quorum.RotateDomainKeys: encoded(t, quorum.RotateDomainKeys, quorum.RotateArguments{}),
			quorum.RemoveMember:     encoded(t, quorum.RemoveMember, quorum.MemberArguments{Member: quorum.ID{9}}),
			quorum.SetRoots:         encoded(t, quorum.SetRoots, quorum.RootsArguments{Roots: [][]byte{{1}}}),
		}
		for name, command := range commands {
			for set := range 1 << n {
				var by []custodian
				for i := range n {
					if set>>i&1 == 1 {
						by = append(by, c[i])
					}
				}
				_, signers, err := quorum.Authorize(s, sign(t, command, by...), start, unseen)
				if want := allowed(name, n, by); (err == nil) != want {
					t.Errorf("%s by %0*b of %d: %v, want allowed %v", name, n, set, n, err, want)
				}
				if err == nil && len(signers) != bits.OnesCount(uint(set)) {
					t.Errorf("%s: %d signers of %0*b", name, len(signers), n, set)
				}
				if err != nil && !errors.Is(err, quorum.ErrQuorum) {
					t.Errorf("%s by %0*b: %v", name, n, set, err)
				}
			}
		}
	}
}

func TestTheOrderOfSignaturesDoesNotMatter(t *testing.T) {
	c := crew(t, 3, "hospital", "platform")
	command := encoded(t, quorum.RemoveMember, quorum.MemberArguments{Member: quorum.ID{9}})
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0}, {0, 1}} {
		var by []custodian
		for _, i := range order {
			by = append(by, c[i])
		}
		if _, _, err := quorum.Authorize(stateOf(c), sign(t, command, by...), start, unseen); err != nil {
			t.Errorf("%v: %v", order, err)
		}
	}
}

func TestTwoKeysOfOneOrganisationAreOneOrganisation(t *testing.T) {
	c := crew(t, 3, "hospital", "platform", "platform")
	command := encoded(t, quorum.RemoveMember, quorum.MemberArguments{Member: quorum.ID{9}})
	if _, _, err := quorum.Authorize(stateOf(c), sign(t, command, c[1], c[2]), start, unseen); !errors.Is(err, quorum.ErrQuorum) {
		t.Errorf("two of one organisation: %v", err)
	}
	if _, _, err := quorum.Authorize(stateOf(c), sign(t, command, c[0], c[2]), start, unseen); err != nil {
		t.Errorf("two of two organisations: %v", err)
	}
}

func TestARoleThatIsNotAskedForLendsNoWeight(t *testing.T) {
	c := crew(t, 3, "platform")
	c = append(c, newCustodian(t, quorum.Ed25519, quorum.RoleTenantCustodian, "patient's own", "hospital"))
	s := stateOf(c)
	s.Rules = quorum.Rules{quorum.RemoveMember: {{Roles: map[string]uint64{quorum.RoleOperator: 2}, Organisations: 2}}}
	command := encoded(t, quorum.RemoveMember, quorum.MemberArguments{Member: quorum.ID{9}})
	if _, _, err := quorum.Authorize(s, sign(t, command, c...), start, unseen); !errors.Is(err, quorum.ErrQuorum) {
		t.Errorf("three operators of one organisation and a custodian of another: %v", err)
	}
	s.Rules[quorum.RemoveMember][0].Roles[quorum.RoleTenantCustodian] = 1
	if _, _, err := quorum.Authorize(s, sign(t, command, c...), start, unseen); err != nil {
		t.Errorf("when the rule asks for the custodian: %v", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	c := crew(t, 3, "hospital", "platform")
	stranger := newCustodian(t, quorum.Ed25519, quorum.RoleOperator, "stranger", "elsewhere")
	s := stateOf(c)
	arguments := quorum.MemberArguments{Member: quorum.ID{9}}
	command := encoded(t, quorum.RemoveMember, arguments)
	good := sign(t, command, c[0], c[1])

	change := func(f func(*quorum.SignedCommand)) []byte {
		parsed, _, err := quorum.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		f(&parsed)
		b, err := parsed.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	with := func(f func(*quorum.State)) quorum.State { out := s; f(&out); return out }
	cases := []struct {
		name   string
		state  quorum.State
		signed []byte
		now    time.Time
		seen   func(quorum.ID) bool
		want   error
	}{
		{"it was for another domain", with(func(s *quorum.State) { s.Domain = quorum.ID{4} }), good, start, unseen, quorum.ErrDomain},
		{"the HSM has no domain", quorum.State{}, good, start, unseen, quorum.ErrDomain},
		{"the state has moved on", with(func(s *quorum.State) { s.Serial = 8 }), good, start, unseen, quorum.ErrSerial},
		{"the state is older", with(func(s *quorum.State) { s.Serial = 6 }), good, start, unseen, quorum.ErrSerial},
		{"it is too early", s, good, start.Add(-time.Millisecond), unseen, quorum.ErrTime},
		{"it is too late", s, good, start.Add(time.Hour + time.Millisecond), unseen, quorum.ErrTime},
		{"the clock is before 1970", s, good, time.UnixMilli(-1), unseen, quorum.ErrTime},
		{"it was seen before", s, good, start, func(quorum.ID) bool { return true }, quorum.ErrReplay},
		{"nobody remembers what was seen", s, good, start, nil, quorum.ErrReplay},
		{"one signature stands twice", s, change(func(p *quorum.SignedCommand) { p.Signatures[1] = p.Signatures[0] }), start, unseen, quorum.ErrSigner},
		{"a third, of a stranger, stands beside two good ones", s, change(func(p *quorum.SignedCommand) {
			sig, _ := stranger.key.Sign(command)
			p.Signatures = append(p.Signatures, quorum.Signature{Operator: stranger.ID, Sig: sig})
		}), start, unseen, quorum.ErrSigner},
		{"a signature is another operator's", s, change(func(p *quorum.SignedCommand) { p.Signatures[1].Sig = p.Signatures[0].Sig }), start, unseen, quorum.ErrSignature},
		{"a third that is wrong stands beside two good ones", s, change(func(p *quorum.SignedCommand) {
			p.Signatures = append(p.Signatures, quorum.Signature{Operator: c[2].ID, Sig: []byte{1}})
		}), start, unseen, quorum.ErrSignature},
		{"the command was exchanged", s, change(func(p *quorum.SignedCommand) {
			p.Command = encoded(t, quorum.RemoveMember, quorum.MemberArguments{Member: quorum.ID{8}})
		}), start, unseen, quorum.ErrSignature},
		{"there is no signature", s, sign(t, command), start, unseen, quorum.ErrQuorum},
		{"no rule is written for it", with(func(s *quorum.State) { s.Rules = quorum.Rules{} }), good, start, unseen, quorum.ErrCommand},
		{"its list of rules is empty", with(func(s *quorum.State) { s.Rules = quorum.Rules{quorum.RemoveMember: {}} }), good, start, unseen, quorum.ErrCommand},
		{"a rule without roles is none", with(func(s *quorum.State) { s.Rules = quorum.Rules{quorum.RemoveMember: {{Organisations: 1}}} }), good, start, unseen, quorum.ErrQuorum},
		{"there is something after it", s, append(append([]byte{}, good...), 0), start, unseen, quorum.ErrMalformed},
	}
	for _, x := range cases {
		if _, _, err := quorum.Authorize(x.state, x.signed, x.now, x.seen); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.name, err, x.want)
		}
	}
	if _, _, err := quorum.Authorize(s, good, start, unseen); err != nil {
		t.Errorf("the good one: %v", err)
	}
	// The ends of its time belong to it.
	if _, _, err := quorum.Authorize(s, good, start.Add(time.Hour), unseen); err != nil {
		t.Errorf("the good one at its end: %v", err)
	}
}

func TestASignatureIsForOneKindOfMessage(t *testing.T) {
	c := crew(t, 3, "hospital", "platform")
	command := encoded(t, quorum.RotateDomainKeys, nil)
	for _, x := range c {
		if sig, err := x.key.Sign(append([]byte("x"), command...)); err != nil || quorum.Verify(x.Operator, command, sig) == nil {
			t.Errorf("%s: %v", x.Type, err)
		}
	}
}

func TestACommandLastsADayAndAStandingOneAMonth(t *testing.T) {
	ms := func(d time.Duration) uint64 { return uint64(start.Add(d).UnixMilli()) }
	standing := quorum.RotateArguments{From: ms(0), To: ms(31 * 24 * time.Hour), Interval: uint64((24 * time.Hour).Milliseconds())}
	for _, x := range []struct {
		name      string
		arguments any
		span      time.Duration
		want      error
	}{
		{quorum.RotateDomainKeys, nil, 24 * time.Hour, nil},
		{quorum.RotateDomainKeys, nil, 24*time.Hour + time.Millisecond, quorum.ErrTime},
		{quorum.RotateDomainKeys, nil, 0, quorum.ErrTime},
		{quorum.RotateDomainKeys, nil, -time.Hour, quorum.ErrTime},
		{quorum.RotateDomainKeys, standing, 31 * 24 * time.Hour, nil},
		{quorum.RotateDomainKeys, standing, 32 * 24 * time.Hour, quorum.ErrTime},
		{quorum.RotateDomainKeys, quorum.RotateArguments{From: ms(0), To: ms(32 * 24 * time.Hour), Interval: standing.Interval}, time.Hour, quorum.ErrTime},
		{quorum.RotateDomainKeys, quorum.RotateArguments{From: ms(0), To: ms(time.Hour), Interval: standing.Interval + 1}, time.Hour, quorum.ErrTime},
		{quorum.RotateDomainKeys, quorum.RotateArguments{From: ms(0), To: ms(time.Hour), Interval: 1}, time.Hour, quorum.ErrTime},
		{quorum.RotateDomainKeys, quorum.RotateArguments{From: ms(time.Hour), To: ms(0), Interval: standing.Interval}, time.Hour, quorum.ErrTime},
		{quorum.SetRoots, quorum.RootsArguments{Roots: [][]byte{{1}}}, 31 * 24 * time.Hour, quorum.ErrTime},
	} {
		if _, err := quorum.NewCommand(domain, 1, x.name, x.arguments, start, x.span, ""); !errors.Is(err, x.want) {
			t.Errorf("%s for %s: %v, want %v", x.name, x.span, err, x.want)
		}
	}
}

func TestFoundingNeedsAllFounders(t *testing.T) {
	c := crew(t, 3, "hospital", "platform")
	arguments := quorum.CreateArguments{
		Name: "ward", Member: quorum.ID{5}, Operators: operators(c), Rules: quorum.DefaultRules(operators(c)), Retention: 30,
	}
	for _, x := range []struct {
		name  string
		by    []custodian
		state quorum.State
		want  error
	}{
		{"all, on an HSM without a domain", c, quorum.State{}, nil},
		{"all, on the domain that an HSM made for itself", c, quorum.State{Domain: domain}, nil},
		{"all but one", c[1:], quorum.State{}, quorum.ErrQuorum},
		{"nobody", nil, quorum.State{}, quorum.ErrQuorum},
		{"all, for another domain", c, quorum.State{Domain: quorum.ID{7}}, quorum.ErrDomain},
		{"all, but it has operators already", c, quorum.State{Domain: domain, Operators: operators(c), Rules: arguments.Rules}, quorum.ErrQuorum},
		{"all, but the domain has moved on", c, quorum.State{Domain: domain, Serial: 1}, quorum.ErrSerial},
	} {
		command, err := quorum.NewCommand(domain, 0, quorum.CreateDomain, arguments, start, time.Hour, "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := command.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := quorum.Authorize(x.state, sign(t, b, x.by...), start, unseen); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.name, err, x.want)
		}
	}
}

func TestLooseningARuleNeedsWhatTheOldRuleAsked(t *testing.T) {
	c := crew(t, 5, "hospital", "platform")
	s := stateOf(c)
	// Three may change rules, but only five may destroy.
	all := []quorum.Rule{{Roles: map[string]uint64{quorum.RoleOperator: 5}, Organisations: 2}}
	s.Rules[quorum.SelfDestruct] = all
	next := quorum.DefaultRules(operators(c))
	loosen := encoded(t, quorum.ModifyRules, quorum.RulesArguments{Rules: next})
	if _, _, err := quorum.Authorize(s, sign(t, loosen, c[:3]...), start, unseen); !errors.Is(err, quorum.ErrQuorum) {
		t.Errorf("three loosen what asks for five: %v", err)
	}
	if _, _, err := quorum.Authorize(s, sign(t, loosen, c...), start, unseen); err != nil {
		t.Errorf("five loosen what asks for five: %v", err)
	}
	// The same by way of new operators.
	hidden := encoded(t, quorum.ModifyOperators, quorum.OperatorsArguments{Operators: operators(c), Rules: next})
	if _, _, err := quorum.Authorize(s, sign(t, hidden, c[:3]...), start, unseen); !errors.Is(err, quorum.ErrQuorum) {
		t.Errorf("three loosen it beside the operators: %v", err)
	}
	// Tightening is free.
	s.Rules, next[quorum.SelfDestruct] = quorum.DefaultRules(operators(c)), all
	tighten := encoded(t, quorum.ModifyRules, quorum.RulesArguments{Rules: next})
	if _, _, err := quorum.Authorize(s, sign(t, tighten, c[:3]...), start, unseen); err != nil {
		t.Errorf("three tighten: %v", err)
	}
}

func TestNewOperatorsMustBeAbleToMeetTheRules(t *testing.T) {
	c := crew(t, 3, "hospital", "platform")
	others := crew(t, 3, "platform")
	command := encoded(t, quorum.ModifyOperators, quorum.OperatorsArguments{Operators: operators(others)})
	if _, _, err := quorum.Authorize(stateOf(c), sign(t, command, c...), start, unseen); !errors.Is(err, quorum.ErrRules) {
		t.Errorf("operators of one organisation under rules that ask for two: %v", err)
	}
}

func TestWhichRulesAndOperatorsAreRefused(t *testing.T) {
	c := crew(t, 3, "hospital", "platform")
	ops := operators(c)
	role := func(role string, n, organisations uint64) []quorum.Rule {
		return []quorum.Rule{{Roles: map[string]uint64{role: n}, Organisations: organisations}}
	}
	for name, rules := range map[string]quorum.Rules{
		"that one person meets":          {quorum.AddMember: role(quorum.RoleOperator, 1, 1)},
		"that no organisations meet":     {quorum.AddMember: role(quorum.RoleOperator, 2, 3)},
		"that too few could meet":        {quorum.AddMember: role(quorum.RoleOperator, 4, 2)},
		"of a role that nobody has":      {quorum.AddMember: role(quorum.RoleSecurityOfficer, 2, 1)},
		"of an unknown role":             {quorum.AddMember: role("root", 2, 1)},
		"of a host":                      {quorum.AddMember: role("host", 2, 1)},
		"for an unknown command":         {"ExportKeys": role(quorum.RoleOperator, 2, 1)},
		"for founding":                   {quorum.CreateDomain: role(quorum.RoleOperator, 2, 1)},
		"without roles":                  {quorum.AddMember: {{Organisations: 2}}},
		"that ask for no organisation":   {quorum.AddMember: role(quorum.RoleOperator, 2, 0)},
		"that ask for none of a role":    {quorum.AddMember: {{Roles: map[string]uint64{quorum.RoleOperator: 2, quorum.RoleSecurityOfficer: 0}, Organisations: 1}}},
		"of which only the second is no": {quorum.AddMember: append(role(quorum.RoleOperator, 2, 1), role(quorum.RoleOperator, 1, 1)...)},
	} {
		if err := rules.Check(ops); !errors.Is(err, quorum.ErrRules) {
			t.Errorf("rules %s: %v", name, err)
		}
	}
	if err := quorum.DefaultRules(ops).Check(ops); err != nil {
		t.Errorf("the default ones: %v", err)
	}
	if err := (quorum.Rules{quorum.ExportAudit: role(quorum.RoleOperator, 1, 1)}).Check(ops); err != nil {
		t.Errorf("one person reads the log: %v", err)
	}

	edit := func(f func(*quorum.Operator)) []quorum.Operator {
		out := operators(c)
		f(&out[1])
		return out
	}
	for name, list := range map[string][]quorum.Operator{
		"two":                    ops[:2],
		"one twice":              append(operators(c), ops[0]),
		"one label twice":        edit(func(o *quorum.Operator) { o.Label = ops[0].Label }),
		"a foreign id":           edit(func(o *quorum.Operator) { o.ID[0]++ }),
		"no label":               edit(func(o *quorum.Operator) { o.Label = "" }),
		"a label of two lines":   edit(func(o *quorum.Operator) { o.Label = "a\nb" }),
		"a label that turns":     edit(func(o *quorum.Operator) { o.Label = "a\u202eb" }),
		"no organisation":        edit(func(o *quorum.Operator) { o.Organisation = "" }),
		"a padded organisation":  edit(func(o *quorum.Operator) { o.Organisation = "platform " }),
		"the role of a host":     edit(func(o *quorum.Operator) { o.Role = "host" }),
		"another kind of key":    edit(func(o *quorum.Operator) { o.Type = quorum.P384; o.ID = quorum.OperatorID(o.Type, o.Public) }),
		"an unknown kind of key": edit(func(o *quorum.Operator) { o.Type = 9; o.ID = quorum.OperatorID(o.Type, o.Public) }),
	} {
		if err := quorum.DefaultRules(list).Check(list); !errors.Is(err, quorum.ErrOperators) {
			t.Errorf("operators with %s: %v", name, err)
		}
	}
}

func TestOneKeyBehindWebAuthnAndBareIsOneKey(t *testing.T) {
	c := crew(t, 3, "hospital", "platform")
	list := operators(c)
	public, err := quorum.WebAuthnPublic(c[1].Public, "example.org")
	if err != nil {
		t.Fatal(err)
	}
	list = append(list, quorum.Operator{ID: quorum.OperatorID(quorum.WebAuthnP256, public), Type: quorum.WebAuthnP256, Public: public,
		Role: quorum.RoleOperator, Label: "again", Organisation: "elsewhere"})
	if err := quorum.DefaultRules(list).Check(list); !errors.Is(err, quorum.ErrOperators) {
		t.Errorf("the same key in two forms: %v", err)
	}
}

func TestTheDefaultRulesCountOfficersAndOperatorsTogether(t *testing.T) {
	c := crew(t, 3, "platform")
	for i := range 2 {
		c = append(c, newCustodian(t, quorum.Ed25519, quorum.RoleSecurityOfficer, fmt.Sprint("officer ", i), "hospital"))
	}
	s := stateOf(c)
	if err := s.Rules.Check(s.Operators); err != nil {
		t.Fatal(err)
	}
	command := encoded(t, quorum.RemoveMember, quorum.MemberArguments{Member: quorum.ID{9}})
	for set := range 1 << 5 {
		var by []custodian
		for i := range 5 {
			if set>>i&1 == 1 {
				by = append(by, c[i])
			}
		}
		_, _, err := quorum.Authorize(s, sign(t, command, by...), start, unseen)
		if want := allowed(quorum.RemoveMember, 5, by); (err == nil) != want {
			t.Errorf("%05b: %v, want allowed %v", set, err, want)
		}
	}
}

func TestMissingSaysWhatIsLacking(t *testing.T) {
	c := crew(t, 5, "hospital", "platform")
	rule := quorum.DefaultRules(operators(c))[quorum.AddMember][0]
	roles, organisations := rule.Missing(operators([]custodian{c[0], c[2]}))
	if roles[quorum.RoleOperator] != 1 || organisations != 1 {
		t.Errorf("%v, %d organisations", roles, organisations)
	}
}

func TestEveryCommandHasArgumentsAndNoOtherTakesThem(t *testing.T) {
	for _, name := range quorum.Names() {
		if _, err := quorum.EncodeArguments(name, map[uint64]string{99: "x"}); !errors.Is(err, quorum.ErrArguments) {
			t.Errorf("%s takes anything: %v", name, err)
		}
	}
	if _, err := quorum.EncodeArguments("ExportKeys", nil); !errors.Is(err, quorum.ErrCommand) {
		t.Errorf("an unknown command: %v", err)
	}
	if _, err := quorum.EncodeArguments(quorum.RemoveMember, nil); !errors.Is(err, quorum.ErrArguments) {
		t.Errorf("a member to remove that is not named: %v", err)
	}
}

// The target is that checking a command costs nothing beside its disk write:
// less than 5 ms for three signatures.
func BenchmarkAuthorize(b *testing.B) {
	c := crew(b, 3, "hospital", "platform")
	s := stateOf(c)
	signed := sign(b, encoded(b, quorum.RotateDomainKeys, nil), c...)
	for b.Loop() {
		if _, _, err := quorum.Authorize(s, signed, start, unseen); err != nil {
			b.Fatal(err)
		}
	}
}
