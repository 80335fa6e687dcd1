package main

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// A draft is the flags that every command has when it is written.
type draft struct {
	reach
	domain, reason, out string
	valid               time.Duration
	delay               time.Duration
}

func (d *draft) flags(c *cobra.Command) {
	d.reach.flags(c)
	f := c.Flags()
	f.StringVar(&d.domain, "domain", "", "file of the domain's state or of a token (default: what a running plane tells)")
	f.StringVar(&d.reason, "reason", "", "why, for those who sign and for the log")
	f.StringVar(&d.out, "out", "", "write the command to this file")
	f.DurationVar(&d.valid, "valid", quorum.MaxSpan, "how long it can be used")
	f.DurationVar(&d.delay, "from", 0, "how long from now it begins to be valid")
}

// write writes a command without signatures.
func (d *draft) write(cmd *cobra.Command, domain quorum.ID, serial uint64, name string, arguments any, judge *quorum.DomainState) error {
	if d.out == "" || d.reason == "" {
		return usageError{fmt.Errorf("%s needs --reason and --out", cmd.CommandPath())}
	}
	c, err := quorum.NewCommand(domain, serial, name, arguments, time.Now().Add(d.delay), d.valid, d.reason)
	if err != nil {
		return err
	}
	b, err := c.Encode()
	if err != nil {
		return err
	}
	s := quorum.SignedCommand{Command: b}
	signed, err := s.Encode()
	if err != nil {
		return err
	}
	if err := writeArmored(cmd.OutOrStdout(), d.out, pemCommand, signed); err != nil || d.out == "-" {
		return err
	}
	if err := describeCommand(cmd.OutOrStdout(), s, c, judge); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\nNext: each custodian, on a copy or in turn:\n  leadglass hsm sign %s --key KEYFILE\nand then\n  leadglass hsm submit %[1]s\n", d.out)
	return nil
}

func createDomainCommand() *cobra.Command {
	var d draft
	var name, rules, member string
	var custodians, roots []string
	var threshold, retention uint64
	c := &cobra.Command{
		Use:   "create-domain --name NAME --custodian FILE... --reason WHY --out FILE",
		Short: "Write the command that founds a domain",
		Long: `Write the command that founds a domain, for all its custodians to sign.

A running plane has made a domain without custodians for itself; it keeps its
keys and gets custodians. For an HSM that waits for a domain (serve
--hsm-await-domain, or a new --state), name its record with --member.

Rules are those of the design unless --rules names a JSON file, such as
  {"AddMember": [{"roles": {"operator": 2}, "organisations": 2}], ...}
A command that has no rule is denied for ever, or until ModifyRules allows it.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" || len(custodians) == 0 {
				return usageError{errors.New("create-domain needs --name and --custodian")}
			}
			a := quorum.CreateArguments{Name: name, Retention: retention, Threshold: threshold}
			var holders []quorum.ShareHolder
			for _, path := range custodians {
				one, err := readCustodian(path)
				if err != nil {
					return err
				}
				a.Operators = append(a.Operators, one.Operator)
				if len(one.Share) > 0 {
					holders = append(holders, quorum.ShareHolder{Operator: one.Operator.ID, Public: one.Share})
				}
			}
			if threshold > 0 {
				a.Holders = holders
			}
			var err error
			if a.Rules, err = readRules(rules, a.Operators); err != nil {
				return err
			}
			if a.Roots, err = readRoots(roots); err != nil {
				return err
			}
			var domain quorum.ID
			var serial uint64
			if member != "" {
				r, err := readMember(member)
				if err != nil {
					return err
				}
				a.Member = r.Member.ID
			}
			if member == "" || d.domain != "" {
				state, err := d.readDomain(cmd.Context(), d.domain)
				if err != nil {
					return err
				}
				if len(state.Operators) > 0 || len(state.Members) != 1 {
					return errors.New("this domain is founded already; its custodians change it with hsm command")
				}
				domain, serial, a.Member = state.ID, state.Serial, state.Members[0].ID
			} else {
				rand.Read(domain[:])
			}
			return d.write(cmd, domain, serial, quorum.CreateDomain, a, &quorum.DomainState{ID: domain, Name: name, Serial: serial, Operators: a.Operators, Rules: a.Rules})
		},
	}
	d.flags(c)
	f := c.Flags()
	f.StringVar(&name, "name", "", "name of the domain")
	f.StringArrayVar(&custodians, "custodian", nil, "record of a custodian; one for each, at least three")
	f.StringVar(&rules, "rules", "", "JSON file of rules")
	f.StringVar(&member, "member", "", "record of the HSM that waits, as hsm member writes it")
	f.StringArrayVar(&roots, "root", nil, "certificate (PEM or DER) that attestation documents may come from")
	f.Uint64Var(&threshold, "shares", 0, "make a recovery key that so many custodians together can use; 0: none")
	f.Uint64Var(&retention, "retention", 30, "how many domain keys are kept")
	return c
}

func readRoots(paths []string) ([][]byte, error) {
	var out [][]byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if block, _ := pem.Decode(b); block != nil {
			b = block.Bytes
		}
		out = append(out, b)
	}
	return out, nil
}

func readMember(path string) (quorum.MemberRecord, error) {
	_, b, err := readArmored(path, pemMember)
	if err != nil {
		return quorum.MemberRecord{}, err
	}
	r, err := quorum.ParseMemberRecord(b)
	if err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// writeCommand is the tree of commands that can be written, by what they do.
func writeCommand() *cobra.Command {
	c := &cobra.Command{Use: "command", Short: "Write a command for the custodians to sign", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(
		simpleCommand("rotate", "Make a new domain key, once", quorum.RotateDomainKeys, quorum.RotateArguments{}),
		standingCommand(),
		simpleCommand("export", "Have the domain's token made again, for new media or another site", quorum.ExportDomain, nil),
		simpleCommand("export-audit", "Have the beginning of the HSM's command log", quorum.ExportAudit, nil),
		addMemberCommand(),
		aboutMember("remove-member", "Take an HSM out of the domain; a new domain key is made, which it never has", quorum.RemoveMember),
		aboutMember("leave", "Make an HSM erase the domain's keys", quorum.LeaveDomain),
		aboutMember("self-destruct", "Make an HSM erase everything, itself included", quorum.SelfDestruct),
		installCommand(), operatorsCommand(), rulesCommand(), rootsCommand(), fenceCommand(), recoverCommand(),
	)
	return c
}

// writing is a command whose arguments are made from flags, for the state of
// the domain.
func writing(use, short string, d *draft, name string, arguments func(quorum.DomainState) (any, error)) *cobra.Command {
	c := &cobra.Command{Use: use + " --reason WHY --out FILE", Short: short, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := d.readDomain(cmd.Context(), d.domain)
			if err != nil {
				return err
			}
			if len(state.Operators) == 0 {
				return errors.New("this domain has no custodians who could sign: found it with hsm create-domain")
			}
			a, err := arguments(state)
			if err != nil {
				return err
			}
			return d.write(cmd, state.ID, state.Serial, name, a, &state)
		}}
	d.flags(c)
	return c
}

func simpleCommand(use, short, name string, arguments any) *cobra.Command {
	return writing(use, short, &draft{}, name, func(quorum.DomainState) (any, error) { return arguments, nil })
}

func standingCommand() *cobra.Command {
	var d draft
	var every, length time.Duration
	c := writing("standing-rotation", "Let the HSMs rotate by themselves for up to 31 days", &d, quorum.RotateDomainKeys, func(quorum.DomainState) (any, error) {
		from := time.Now().Add(d.delay)
		return quorum.RotateArguments{From: uint64(from.UnixMilli()), To: uint64(from.Add(length).UnixMilli()), Interval: uint64(every.Milliseconds())}, nil
	})
	c.Flags().DurationVar(&every, "every", 24*time.Hour, "how often, at most a day")
	c.Flags().DurationVar(&length, "for", quorum.MaxStanding, "how long, at most 31 days")
	return c
}

func addMemberCommand() *cobra.Command {
	var d draft
	var member string
	c := writing("add-member --member FILE", "Give the domain's keys to one more HSM", &d, quorum.AddMember, func(quorum.DomainState) (any, error) {
		if _, err := readMember(member); err != nil {
			return nil, err
		}
		_, b, err := readArmored(member, pemMember)
		return quorum.AddArguments{Record: b}, err
	})
	c.Flags().StringVar(&member, "member", "", "record of the HSM, as hsm member writes it")
	return c
}

func aboutMember(use, short, name string) *cobra.Command {
	var d draft
	var id string
	c := writing(use+" --member ID", short, &d, name, func(state quorum.DomainState) (any, error) {
		member, err := quorum.ParseID(id)
		if err != nil {
			return nil, err
		}
		if _, ok := state.Member(member); !ok {
			return nil, fmt.Errorf("%s is no member of this domain", member)
		}
		return quorum.MemberArguments{Member: member}, nil
	})
	c.Flags().StringVar(&id, "member", "", "id of the HSM")
	return c
}

func fenceCommand() *cobra.Command {
	var d draft
	var a quorum.FenceArguments
	c := writing("raise-fence --arn ARN --epoch N", "Shut out the tokens of a key that are older than an epoch", &d, quorum.RaiseFence, func(quorum.DomainState) (any, error) {
		if a.Key == "" || a.Epoch == 0 {
			return nil, usageError{errors.New("raise-fence needs --arn and --epoch")}
		}
		return a, nil
	})
	c.Flags().StringVar(&a.Key, "arn", "", "the key, as its tokens name it")
	c.Flags().Uint64Var(&a.Epoch, "epoch", 0, "the oldest epoch that still opens")
	return c
}

// installCommand and recoverCommand bring a state with them, and are for that
// one: who signs is decided by the present one.
func installCommand() *cobra.Command {
	var d draft
	var token string
	c := &cobra.Command{Use: "install --token FILE --reason WHY --out FILE", Args: noArguments,
		Short: "Put the domain token of a change into effect, at all HSMs",
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, t, err := readToken(token)
			if err != nil {
				return err
			}
			judge := &t.State
			if state, err := d.readDomain(cmd.Context(), d.domain); err == nil && state.ID == t.State.ID {
				judge = &state
			}
			return d.write(cmd, t.State.ID, t.State.Serial, quorum.InstallDomain, quorum.InstallArguments{Token: b}, judge)
		}}
	d.flags(c)
	c.Flags().StringVar(&token, "token", "", "domain token, as hsm submit --out-token writes it")
	return c
}

func readToken(path string) ([]byte, *quorum.Token, error) {
	_, b, err := readArmored(path, pemToken)
	if err != nil {
		return nil, nil, err
	}
	t, err := quorum.ParseToken(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, t, nil
}

func operatorsCommand() *cobra.Command {
	var d draft
	var add, remove []string
	var rules string
	c := writing("modify-operators", "Add and remove custodians", &d, quorum.ModifyOperators, func(state quorum.DomainState) (any, error) {
		gone := make(map[string]bool)
		for _, label := range remove {
			gone[label] = true
		}
		var a quorum.OperatorsArguments
		for _, o := range state.Operators {
			if gone[o.Label] || gone[o.ID.String()] {
				delete(gone, o.Label)
				delete(gone, o.ID.String())
				continue
			}
			a.Operators = append(a.Operators, o)
		}
		for label := range gone {
			return nil, fmt.Errorf("%s is no custodian of this domain", label)
		}
		for _, path := range add {
			one, err := readCustodian(path)
			if err != nil {
				return nil, err
			}
			a.Operators = append(a.Operators, one.Operator)
		}
		switch rules {
		case "":
			return a, state.Rules.Check(a.Operators)
		case "default":
			a.Rules = quorum.DefaultRules(a.Operators)
			return a, a.Rules.Check(a.Operators)
		}
		var err error
		a.Rules, err = readRules(rules, a.Operators)
		return a, err
	})
	f := c.Flags()
	f.StringArrayVar(&add, "add", nil, "record of a custodian to add")
	f.StringArrayVar(&remove, "remove", nil, "name or id of a custodian to remove")
	f.StringVar(&rules, "rules", "", "JSON file of new rules, or default for those of the design; the old ones stay otherwise")
	return c
}

func rulesCommand() *cobra.Command {
	var d draft
	var rules string
	c := writing("modify-rules --rules FILE", "Replace the rules", &d, quorum.ModifyRules, func(state quorum.DomainState) (any, error) {
		if rules == "default" {
			rules = ""
		} else if rules == "" {
			return nil, usageError{errors.New("modify-rules needs --rules")}
		}
		r, err := readRules(rules, state.Operators)
		return quorum.RulesArguments{Rules: r}, err
	})
	c.Flags().StringVar(&rules, "rules", "", "JSON file, or default for those of the design")
	return c
}

func rootsCommand() *cobra.Command {
	var d draft
	var roots []string
	c := writing("set-roots --root FILE...", "Replace the roots that attestation documents may come from", &d, quorum.SetRoots, func(quorum.DomainState) (any, error) {
		r, err := readRoots(roots)
		return quorum.RootsArguments{Roots: r}, err
	})
	c.Flags().StringArrayVar(&roots, "root", nil, "certificate (PEM or DER); none: no root at all")
	return c
}

func recoverCommand() *cobra.Command {
	var d draft
	var token, member string
	var shares []string
	c := &cobra.Command{Use: "recover --token FILE --member FILE --share FILE... --reason WHY --out FILE", Args: noArguments,
		Short: "Rebuild a domain whose HSMs are lost, from shares, inside a new HSM",
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, t, err := readToken(token)
			if err != nil {
				return err
			}
			r, err := readMember(member)
			if err != nil {
				return err
			}
			a := quorum.RecoverArguments{Member: r.Member.ID, Token: b}
			for _, path := range shares {
				_, b, err := readArmored(path, pemSentShare)
				if err != nil {
					return err
				}
				s, err := quorum.ParseSentShare(b)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				a.Shares = append(a.Shares, s)
			}
			return d.write(cmd, t.State.ID, t.State.Serial, quorum.RecoverShares, a, &t.State)
		}}
	d.flags(c)
	f := c.Flags()
	f.StringVar(&token, "token", "", "the newest token of the domain")
	f.StringVar(&member, "member", "", "record of the new HSM, as hsm member writes it")
	f.StringArrayVar(&shares, "share", nil, "share that its holder sealed to the new HSM, as hsm share writes it")
	return c
}

// shareFile names the file of a holder's share.
func shareFile(dir string, o quorum.ID) string { return filepath.Join(dir, "share-"+o.String()+".pem") }
