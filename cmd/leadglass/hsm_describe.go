package main

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

func inspectCommand() *cobra.Command {
	var r reach
	var domain string
	c := &cobra.Command{
		Use:   "inspect FILE... [--domain FILE]",
		Short: "Show what a command would do, who has signed it, and who is still needed",
		Long: `Show what a command would do and who has signed it. Several files are copies of
one command, each with some of the signatures.

Signatures are checked, and the rule is told, by the domain's state: --domain
(what "domain --out" wrote, or a domain token), else the one that a running
plane tells. Founders and their rules stand in the founding command itself.`,
		Args: someFiles("inspect", "the file of a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, command, err := readCommands(args)
			if err != nil {
				return err
			}
			return describeCommand(cmd.OutOrStdout(), s, command, r.judge(cmd, domain, command))
		},
	}
	r.flags(c)
	c.Flags().StringVar(&domain, "domain", "", "file of the domain's state or of a token")
	return c
}

func someFiles(name, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("hsm %s takes %s", name, what)}
		}
		return nil
	}
}

// judge is the state that a command is measured by; nil if it cannot be had,
// and then nothing is said of signatures.
func (r *reach) judge(cmd *cobra.Command, file string, command quorum.Command) *quorum.DomainState {
	arguments, err := quorum.DecodeArguments(command.Name, command.Arguments)
	if err != nil {
		return nil
	}
	if a, ok := arguments.(*quorum.CreateArguments); ok {
		return &quorum.DomainState{ID: command.Domain, Name: a.Name, Serial: command.Serial, Operators: a.Operators, Rules: a.Rules}
	}
	if command.Name == quorum.LoosenConditions {
		return nil // the key's own token names its custodians; the domain's operators have no say
	}
	state, err := r.readDomain(cmd.Context(), file)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "leadglass: without the domain's state signatures are not checked: %v\n", err)
		return nil
	}
	return &state
}

// describeCommand is what a custodian reads before signing.
func describeCommand(w io.Writer, s quorum.SignedCommand, c quorum.Command, state *quorum.DomainState) error {
	arguments, err := quorum.DecodeArguments(c.Name, c.Arguments)
	if err != nil {
		return err
	}
	name := ""
	if state != nil && state.ID == c.Domain {
		name = fmt.Sprintf(" (%s)", state.Name)
	}
	fmt.Fprintf(w, "%s\n  domain     %s%s, state %d\n  reason     %s\n  valid      %s to %s\n", c.Name, c.Domain, name, c.Serial, oneLine(c.Reason), moment(c.NotBefore), moment(c.NotAfter))
	for _, line := range describeArguments(arguments) {
		fmt.Fprintf(w, "  does       %s\n", line)
	}
	sum := sha512.Sum384(s.Command)
	fmt.Fprintf(w, "  hash       %s\n", hex.EncodeToString(sum[:]))
	var signers []quorum.Operator
	bad := false
	for _, sig := range s.Signatures {
		if state == nil {
			fmt.Fprintf(w, "  signature  of %s, not checked\n", sig.Operator)
			continue
		}
		at := slices.IndexFunc(state.Operators, func(o quorum.Operator) bool { return o.ID == sig.Operator })
		switch {
		case at < 0:
			fmt.Fprintf(w, "  signature  of %s, WHO IS NO CUSTODIAN OF THIS DOMAIN\n", sig.Operator)
			bad = true
		case quorum.Verify(state.Operators[at], s.Command, sig.Sig) != nil:
			fmt.Fprintf(w, "  signature  of %s DOES NOT HOLD\n", operatorName(state.Operators[at]))
			bad = true
		default:
			fmt.Fprintf(w, "  signature  of %s\n", operatorName(state.Operators[at]))
			signers = append(signers, state.Operators[at])
		}
	}
	if c.Name == quorum.LoosenConditions {
		fmt.Fprintln(w, "  rule       the custodians decide whom the key's own token names (leadglass key conditions)")
	}
	if state == nil {
		return nil
	}
	fmt.Fprintf(w, "  rule       %s\n", verdict(c, *state, signers, arguments, bad))
	return nil
}

// oneLine keeps a reason from looking like lines that we wrote.
func oneLine(s string) string {
	if s == "" {
		return "none given"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '·'
		}
		return r
	}, s)
}

// verdict says whether the rule is met, or what is missing.
func verdict(c quorum.Command, state quorum.DomainState, signers []quorum.Operator, arguments any, bad bool) string {
	if bad {
		return "refused, because of the signature above"
	}
	if founding, ok := arguments.(*quorum.CreateArguments); ok {
		if missing := len(founding.Operators) - len(signers); missing > 0 {
			return fmt.Sprintf("all %d founders must sign; missing: %s", len(founding.Operators), strings.Join(absent(founding.Operators, signers), ", "))
		}
		return "met: all founders have signed"
	}
	if c.Domain != state.ID {
		return "none: it is for another domain"
	}
	brings := false
	switch arguments.(type) {
	case *quorum.InstallArguments, *quorum.RecoverArguments:
		brings = true // the state that it names, it brings
	}
	if c.Serial != state.Serial && !brings {
		return fmt.Sprintf("none: it was written for state %d, the domain has state %d", c.Serial, state.Serial)
	}
	if len(state.Rules[c.Name]) == 0 {
		return "none: no rule of this domain allows " + c.Name
	}
	if state.Rules.Met(c.Name, signers) {
		return "met"
	}
	var ways []string
	for _, rule := range state.Rules[c.Name] {
		roles, organisations := rule.Missing(signers)
		var lacks []string
		for _, role := range slices.Sorted(maps.Keys(roles)) {
			lacks = append(lacks, plural(roles[role], role, role+"s"))
		}
		if organisations > 0 {
			lacks = append(lacks, plural(organisations, "more organisation", "more organisations"))
		}
		ways = append(ways, strings.Join(lacks, " and "))
	}
	return "NOT met; missing: " + strings.Join(ways, ", or ")
}

func absent(all, signers []quorum.Operator) []string {
	var out []string
	for _, o := range all {
		if !slices.ContainsFunc(signers, func(s quorum.Operator) bool { return s.ID == o.ID }) {
			out = append(out, o.Label)
		}
	}
	return out
}

// describeArguments says in words what a command does, a line each.
func describeArguments(arguments any) []string {
	switch a := arguments.(type) {
	case *quorum.CreateArguments:
		out := []string{fmt.Sprintf("found the domain %q at HSM %s, which keeps %d domain keys", a.Name, a.Member, a.Retention)}
		out = append(out, describeOperators(a.Operators)...)
		out = append(out, describeRules(a.Rules)...)
		for _, root := range a.Roots {
			out = append(out, describeRoot(root))
		}
		if a.Threshold > 0 {
			out = append(out, fmt.Sprintf("any %d of %d share holders can recover the domain", a.Threshold, len(a.Holders)))
		}
		if a.Flags != 0 {
			out = append(out, fmt.Sprintf("set the domain's flags to %#x", a.Flags))
		}
		return out
	case *quorum.InstallArguments:
		if t, err := quorum.ParseToken(a.Token); err == nil {
			return append([]string{fmt.Sprintf("put state %d of the domain into effect (%s)", t.State.Serial, hex.EncodeToString(quorum.HashState(t.StateBytes))[:16])},
				describeState(t.State)...)
		}
	case *quorum.AddArguments:
		if r, err := quorum.ParseMemberRecord(a.Record); err == nil {
			return append([]string{"give the domain's keys to this HSM:"}, describeMember(r)...)
		}
	case *quorum.MemberArguments:
		return []string{"it concerns HSM " + a.Member.String()}
	case *quorum.OperatorsArguments:
		out := describeOperators(a.Operators)
		if a.Rules != nil {
			out = append(out, describeRules(a.Rules)...)
		}
		return out
	case *quorum.RulesArguments:
		return describeRules(a.Rules)
	case *quorum.RotateArguments:
		if a.Standing() {
			return []string{fmt.Sprintf("let the HSMs make a new domain key every %s, from %s to %s", time.Duration(a.Interval)*time.Millisecond, moment(a.From), moment(a.To))}
		}
		return []string{"make a new domain key, once"}
	case *quorum.RootsArguments:
		out := []string{fmt.Sprintf("trust attestation documents of these %d roots and no others", len(a.Roots))}
		for _, root := range a.Roots {
			out = append(out, describeRoot(root))
		}
		return out
	case *quorum.FenceArguments:
		return []string{fmt.Sprintf("shut out tokens of key %s that are older than epoch %d", oneLine(a.Key), a.Epoch)}
	case *quorum.HostArguments:
		return []string{fmt.Sprintf("let a host in as %s: %s", a.Role, quorum.MemberID(a.Public))}
	case *quorum.RecoverArguments:
		out := []string{fmt.Sprintf("recover the domain inside HSM %s, with %s", a.Member, plural(uint64(len(a.Shares)), "share", "shares"))}
		if t, err := quorum.ParseToken(a.Token); err == nil {
			out = append(out, describeState(t.State)...)
		}
		return out
	case *quorum.ConditionsArguments:
		lines := []string{fmt.Sprintf("seal into key %s, at its epoch %d, in place of its conditions:", oneLine(a.Key), a.Epoch)}
		return append(lines, describeConditions(a.Conditions)...)
	}
	return nil
}

func describeRoot(der []byte) string {
	return fmt.Sprintf("root of attestation, SHA-384 %x", sha512.Sum384(der))
}

func describeOperators(operators []quorum.Operator) []string {
	var out []string
	for _, o := range operators {
		out = append(out, fmt.Sprintf("custodian %s, %s, id %s", operatorName(o), o.Type, o.ID))
	}
	return out
}

func describeRules(rules quorum.Rules) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		var ways []string
		for _, r := range rules[name] {
			var parts []string
			for _, role := range slices.Sorted(maps.Keys(r.Roles)) {
				parts = append(parts, plural(r.Roles[role], role, role+"s"))
			}
			ways = append(ways, fmt.Sprintf("%s from %s", strings.Join(parts, " and "), plural(r.Organisations, "organisation", "organisations")))
		}
		if len(ways) == 0 {
			ways = []string{"nobody"}
		}
		out = append(out, fmt.Sprintf("%s needs %s", name, strings.Join(ways, ", or ")))
	}
	return out
}

func describeMember(r quorum.MemberRecord) []string {
	kind := "in service"
	if r.Member.Flags&quorum.MemberOffline != 0 {
		kind = "offline, in a safe"
	}
	walls := "NO WALLS"
	if len(r.Statement.Lock) > 0 {
		walls = strings.Join(r.Statement.Lock, ", ")
	}
	return []string{
		fmt.Sprintf("HSM %s %q, %s", r.Member.ID, r.Member.Label, kind),
		fmt.Sprintf("it says that it runs %s behind %s, with keys in %s, sealed by %s, at %s",
			oneLine(r.Statement.Build), oneLine(walls), oneLine(r.Statement.Memory), oneLine(r.Statement.Seal), moment(r.Statement.Created)),
	}
}

func describeState(s quorum.DomainState) []string {
	var out []string
	for _, m := range s.Members {
		kind := "HSM"
		switch {
		case m.Flags&quorum.MemberRecovery != 0:
			kind = "recovery key"
		case m.Flags&quorum.MemberOffline != 0:
			kind = "offline HSM"
		}
		out = append(out, fmt.Sprintf("%s %s %q", kind, m.ID, m.Label))
	}
	out = append(out, describeOperators(s.Operators)...)
	return append(out, plural(uint64(len(s.Keys)), "domain key", "domain keys"))
}

// ruleFile is the rules as people write them.
type ruleFile map[string][]struct {
	Roles         map[string]uint64 `json:"roles"`
	Organisations uint64            `json:"organisations"`
}

// readRules reads rules in JSON; without a file they are the default ones.
func readRules(path string, operators []quorum.Operator) (quorum.Rules, error) {
	if path == "" {
		return quorum.DefaultRules(operators), nil
	}
	b, err := readInput(path)
	if err != nil {
		return nil, err
	}
	var file ruleFile
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if d.More() {
		return nil, errors.New(path + ": something stands behind the rules")
	}
	rules := make(quorum.Rules)
	for name, list := range file {
		rules[name] = []quorum.Rule{}
		for _, r := range list {
			rules[name] = append(rules[name], quorum.Rule{Roles: r.Roles, Organisations: r.Organisations})
		}
	}
	return rules, rules.Check(operators)
}
