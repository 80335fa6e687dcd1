package main

import (
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

func signCommand() *cobra.Command {
	var r reach
	var keys keySource
	var domain, out, response string
	var challenge, fido2 bool
	c := &cobra.Command{
		Use:   "sign FILE (--key KEYFILE | --ssh-agent | --webauthn-credential FILE --webauthn-rp-id ID)",
		Short: "Sign a command, after showing what it does",
		Long: `Sign a command, after showing what it does. The signature is added to the file,
or to a copy with --out. Read it with inspect before: a signature cannot be
taken back, but the command runs out.

An authenticator is asked in two steps. --webauthn-challenge prints what
navigator.credentials.get takes (with --fido2, what fido2-assert -G -v takes);
--webauthn-response takes the answer.`,
		Args: exactly(1, "the file of a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !keys.named() {
				return usageError{errors.New("sign needs a key: --key, --ssh-agent or --webauthn-credential")}
			}
			if keys.credential != "" && challenge == (response != "") {
				return usageError{errors.New("an authenticator is asked with --webauthn-challenge and answers with --webauthn-response")}
			}
			s, command, err := readCommands(args)
			if err != nil {
				return err
			}
			var o quorum.Operator
			var sig []byte
			if keys.credential != "" {
				c, err := keys.webauthn()
				if err != nil {
					return err
				}
				if challenge {
					text := c.FIDO2(s.Command)
					if !fido2 {
						if text, err = c.Options(s.Command); err != nil {
							return err
						}
						text = append(text, '\n')
					}
					_, err = cmd.OutOrStdout().Write(text)
					return err
				}
				answer, err := readInput(response)
				if err != nil {
					return err
				}
				if o.Type, o.Public, err = c.Public(); err != nil {
					return err
				}
				if sig, err = c.ParseAssertion(s.Command, answer); err != nil {
					return err
				}
			} else {
				by, done, err := keys.signatory()
				if err != nil {
					return err
				}
				defer done()
				o.Type, o.Public = by.Public()
				if sig, err = by.Sign(s.Command); err != nil {
					return err
				}
			}
			o.ID = quorum.OperatorID(o.Type, o.Public)
			if err := s.Add(o, sig); err != nil {
				return err
			}
			if err := describeCommand(cmd.OutOrStdout(), s, command, r.judge(cmd, domain, command)); err != nil {
				return err
			}
			if out == "" {
				return replaceCommand(args[0], s)
			}
			b, err := s.Encode()
			if err != nil {
				return err
			}
			return writeArmored(cmd.OutOrStdout(), out, pemCommand, b)
		},
	}
	r.flags(c)
	keys.flags(c)
	f := c.Flags()
	f.StringVar(&domain, "domain", "", "file of the domain's state or of a token, to say what is still missing")
	f.StringVar(&out, "out", "", "write the signed command to this file (default: into FILE)")
	f.BoolVar(&challenge, "webauthn-challenge", false, "print what the authenticator is to sign")
	f.StringVar(&response, "webauthn-response", "", "file with what the authenticator answered; - is standard input")
	f.BoolVar(&fido2, "fido2", false, "print the challenge for fido2-assert")
	return c
}

func submitCommand() *cobra.Command {
	var r reach
	var token, shares string
	c := &cobra.Command{
		Use:   "submit FILE... [--out-token FILE]",
		Short: "Carry a signed command to the HSMs",
		Long: `Carry a signed command to the HSMs of a running plane, or to one HSM with
--state. Several files are copies of one command, each with some of the
signatures.

A change of the domain is made in two steps: the first command answers with a
domain token, which the HSM that serves alone puts into effect at once; where
there are several, write "command install" for that token and have it signed.
Keep tokens: together with an offline HSM, or with shares, the newest one is
what a lost domain is rebuilt from.`,
		Args: someFiles("submit", "the file of a command, or of its copies"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, command, err := readCommands(args)
			if err != nil {
				return err
			}
			signed, err := s.Encode()
			if err != nil {
				return err
			}
			// Nothing is submitted whose answer could not be kept.
			for _, path := range []string{token} {
				if _, err := os.Stat(path); path != "" && path != "-" && err == nil {
					return fmt.Errorf("%s is there already", path)
				}
			}
			if shares != "" {
				if err := os.MkdirAll(shares, 0o700); err != nil {
					return err
				}
			}
			a, done, err := r.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			result, err := a.command(cmd.Context(), signed)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if len(result.Token) > 0 && token != "" {
				if err := writeArmored(w, token, pemToken, result.Token); err != nil {
					return err
				}
			}
			for _, share := range result.Shares {
				if shares == "" {
					break
				}
				b, err := share.Encode()
				if err != nil {
					return err
				}
				block := pem.Block{Type: pemShare, Headers: map[string]string{"Domain": command.Domain.String()}, Bytes: b}
				if err := writeNew(w, shareFile(shares, share.Operator), pem.EncodeToMemory(&block), 0o600); err != nil {
					return err
				}
			}
			if token == "-" {
				return nil
			}
			return describeResult(w, command, result, token, shares)
		},
	}
	r.flags(c)
	c.Flags().StringVar(&token, "out-token", "", "write the domain token of the answer to this file")
	c.Flags().StringVar(&shares, "out-shares", "", "write the shares of a founding command to this folder, a file for each holder")
	return c
}

func describeResult(w io.Writer, command quorum.Command, result quorum.CommandResult, token, shares string) error {
	fmt.Fprintf(w, "done: %s", command.Name)
	if result.Serial > 0 {
		fmt.Fprintf(w, "; the HSM has state %d (%s)", result.Serial, hex.EncodeToString(result.Hash)[:min(16, 2*len(result.Hash))])
	}
	fmt.Fprintln(w)
	if len(result.Shares) > 0 {
		if shares == "" {
			fmt.Fprintf(w, "There are %d recovery shares; submit with --out-shares, or export, gives them.\n", len(result.Shares))
		} else {
			fmt.Fprintf(w, "%d recovery shares are in %s; each opens for its holder alone.\n", len(result.Shares), shares)
		}
	}
	if len(result.Token) == 0 {
		return nil
	}
	t, err := quorum.ParseToken(result.Token)
	if err != nil {
		return err
	}
	if t.State.Serial > result.Serial {
		where := token
		if where == "" {
			where = "TOKEN"
		}
		fmt.Fprintf(w, "State %d is made and not yet in effect. Next:\n  leadglass hsm command install --token %s --reason WHY --out FILE\n", t.State.Serial, where)
	}
	return nil
}

func memberCommand() *cobra.Command {
	var r reach
	var out string
	c := &cobra.Command{
		Use:   "member [--out FILE]",
		Short: "Have an HSM say who it is and how it runs, for add-member and create-domain",
		Long: `Have an HSM say who it is and how it runs, signed with its own key. An HSM in a
new --state makes its keys first; with --offline it calls itself an offline
member, whose state folder then goes into a safe.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, done, err := r.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			b, err := a.member(cmd.Context())
			if err != nil {
				return err
			}
			record, err := quorum.ParseMemberRecord(b)
			if err != nil {
				return err
			}
			if out != "" {
				if err := writeArmored(cmd.OutOrStdout(), out, pemMember, b); err != nil || out == "-" {
					return err
				}
			}
			for _, line := range describeMember(record) {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			return nil
		},
	}
	r.flags(c)
	c.Flags().StringVar(&out, "out", "", "write the record to this file")
	return c
}

func domainStatusCommand() *cobra.Command {
	var r reach
	var out, file, token string
	c := &cobra.Command{
		Use:   "domain [--out FILE]",
		Short: "Show the domain: its HSMs, custodians, rules and keys",
		Long: `Show the domain. --out writes its public state to a file, with which commands
can be written, read and checked on machines that do not reach the plane.
--file shows such a file, or a domain token, instead.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := r.readDomain(cmd.Context(), file)
			if err != nil {
				return err
			}
			if out != "" {
				b, err := state.Encode()
				if err != nil {
					return err
				}
				if err := writeArmored(cmd.OutOrStdout(), out, pemState, b); err != nil || out == "-" {
					return err
				}
			}
			if token != "" {
				if err := r.saveToken(cmd, token); err != nil || token == "-" {
					return err
				}
			}
			showDomain(cmd.OutOrStdout(), state)
			if file == "" && r.state == "" {
				return r.showHSMs(cmd)
			}
			return nil
		},
	}
	r.flags(c)
	c.Flags().StringVar(&out, "out", "", "write the state to this file")
	c.Flags().StringVar(&token, "out-token", "", "write the newest domain token that the plane keeps to this file, for the backups")
	c.Flags().StringVar(&file, "file", "", "show this file of a state or a token")
	return c
}

// saveToken writes the newest token that a plane keeps.
func (r *reach) saveToken(cmd *cobra.Command, path string) error {
	cl, err := operatorClient(r.data, r.profile)
	if err != nil {
		return err
	}
	var out struct{ DomainToken []byte }
	if _, err := cl.json(cmd.Context(), "leadglass", "GetDomain", struct{}{}, &out); err != nil {
		return err
	}
	if len(out.DomainToken) == 0 {
		return errors.New("the plane keeps no token yet: custodians have one made with hsm command export")
	}
	return writeArmored(cmd.OutOrStdout(), path, pemToken, out.DomainToken)
}

func showDomain(w io.Writer, s quorum.DomainState) {
	fmt.Fprintf(w, "domain %s (%s), state %d\n", s.ID, s.Name, s.Serial)
	for _, line := range describeState(s) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	for _, k := range s.Keys {
		if k.State == quorum.KeyActive {
			fmt.Fprintf(w, "  active key %x since %s; %d are kept\n", k.ID, moment(k.Created), s.Retention)
		}
	}
	for _, root := range s.Roots {
		fmt.Fprintf(w, "  %s\n", describeRoot(root))
	}
	for _, line := range describeRules(s.Rules) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if len(s.Operators) == 0 {
		fmt.Fprintln(w, "  no custodians: whoever operates the plane rules it alone")
	}
}

// showHSMs shows how the HSMs of a plane are.
func (r *reach) showHSMs(cmd *cobra.Command) error {
	cl, err := operatorClient(r.data, r.profile)
	if err != nil {
		return err
	}
	var out struct {
		HSMs []struct {
			Number           int
			MemberId         string
			Running, Serving bool
			Serial           uint64
			StandingUntil    float64
			LogSize          uint64
			LogProblem       string
		}
	}
	if _, err := cl.json(cmd.Context(), "leadglass", "GetDomain", struct{}{}, &out); err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	for _, h := range out.HSMs {
		state := "serves"
		switch {
		case !h.Running:
			state = "DOES NOT RUN"
		case !h.Serving:
			state = "waits for its custodians"
		}
		fmt.Fprintf(w, "  HSM %d %s %s, state %d, command log recorded up to %d\n", h.Number, h.MemberId, state, h.Serial, h.LogSize)
		if h.StandingUntil > 0 {
			fmt.Fprintf(w, "    rotates by standing command until %s\n", seconds(h.StandingUntil).UTC().Format("2006-01-02 15:04:05 UTC"))
		}
		if h.LogProblem != "" {
			fmt.Fprintf(w, "    ITS COMMAND LOG IS NOT WHAT IT WAS: %s\n", h.LogProblem)
		}
	}
	return nil
}

func commandLogCommand() *cobra.Command {
	var r reach
	var domain string
	c := &cobra.Command{
		Use:   "log [--domain FILE]",
		Short: "Read an HSM's own log of commands, sessions and counts, and verify it",
		Long: `Read an HSM's own log and verify the chain of its entries and the HSM's signature
over its head. Whose key that is, the domain's state says: give your own copy of
it (--domain) rather than believe the plane.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := r.readDomain(cmd.Context(), domain)
			if err != nil {
				return err
			}
			a, done, err := r.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return showLog(cmd, a, state)
		},
	}
	r.flags(c)
	c.Flags().StringVar(&domain, "domain", "", "file of the domain's state or of a token (default: what the plane or the HSM tells)")
	return c
}

func showLog(cmd *cobra.Command, a access, state quorum.DomainState) error {
	w := cmd.OutOrStdout()
	var reader hsm.LogReader
	names := make(map[quorum.ID]string)
	for _, o := range state.Operators {
		names[o.ID] = o.Label
	}
	for {
		page, identity, err := a.log(cmd.Context(), reader.Size+1)
		if err != nil {
			return err
		}
		if reader.Identity == nil {
			if _, ok := state.Member(quorum.MemberID(identity)); !ok {
				return fmt.Errorf("%s is no member of the domain", quorum.MemberID(identity))
			}
			reader.Identity = identity
		}
		entries, head, err := reader.Next(page)
		if err != nil {
			return err
		}
		for _, e := range entries {
			fmt.Fprintf(w, "%6d  %s  %s\n", e.Number, moment(e.Time), describeEntry(e, names))
		}
		if reader.Size >= head.Size {
			fmt.Fprintf(w, "The log is whole up to entry %d; its head %s is signed by HSM %s.\n", head.Size, hex.EncodeToString(head.Hash[:])[:16], quorum.ID(head.Member))
			return nil
		}
	}
}

func describeEntry(e hsm.LogEntry, names map[quorum.ID]string) string {
	kind := map[uint64]string{1: "start", 2: "command", 3: "session", 4: "counts", 5: "rotation", 6: "LOST: what was before is not this HSM's"}[e.Kind]
	if e.Kind == 0 || kind == "" {
		kind = fmt.Sprintf("entry of kind %d", e.Kind)
	}
	out := kind
	if e.Name != "" {
		out += " " + e.Name
	}
	if e.Status != 0 {
		out += fmt.Sprintf(" REFUSED (status %d)", e.Status)
	}
	if e.Serial > 0 {
		out += fmt.Sprintf(", state %d", e.Serial)
	}
	var by []string
	for _, id := range e.Signers {
		name := names[id]
		if name == "" {
			name = quorum.ID(id).String()
		}
		by = append(by, name)
	}
	if len(by) > 0 {
		slices.Sort(by)
		out += fmt.Sprintf(", signed by %v", by)
	}
	total := uint64(0)
	for _, c := range e.Counters {
		total += c.N
	}
	if total > 0 {
		out += fmt.Sprintf(": %d operations", total)
	}
	return out
}

func shareCommand() *cobra.Command {
	var keys keySource
	var token, member, out string
	c := &cobra.Command{
		Use:   "share FILE --key KEYFILE --token FILE --member FILE --out FILE",
		Short: "Open your share of a recovery key and seal it to the HSM that recovers",
		Long: `Open your share of a recovery key and seal it to the HSM that recovers the
domain, and to nobody else. Make sure that the member record is that HSM's:
whoever gets enough shares can open every key of the domain.`,
		Args: exactly(1, "the file of a share"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keys.file == "" || token == "" || member == "" || out == "" {
				return usageError{errors.New("share needs --key, --token, --member and --out")}
			}
			block, err := readBlock(args[0], pemShare)
			if err != nil {
				return err
			}
			domain, err := quorum.ParseID(block.Headers["Domain"])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			sealed, err := quorum.ParseSealedShare(block.Bytes)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			raw, t, err := readToken(token)
			if err != nil {
				return err
			}
			if t.State.ID != domain {
				return errors.New("the token is of another domain than the share")
			}
			record, err := readMember(member)
			if err != nil {
				return err
			}
			key, err := keys.key()
			if err != nil {
				return err
			}
			share, err := key.OpenShare(domain, sealed)
			if err != nil {
				return err
			}
			defer clear(share)
			e, err := quorum.SealEnvelope(record.Member, domain[:], quorum.RecoveryInfo(sealed.Operator, record.Member.ID, raw), share)
			if err != nil {
				return err
			}
			b, err := quorum.SentShare{Operator: sealed.Operator, Envelope: e}.Encode()
			if err != nil {
				return err
			}
			if err := writeArmored(cmd.OutOrStdout(), out, pemSentShare, b); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Your share of domain %s is sealed to HSM %s %q and opens only there.\n", domain, record.Member.ID, record.Member.Label)
			return nil
		},
	}
	keys.flags(c)
	f := c.Flags()
	f.StringVar(&token, "token", "", "the newest token of the domain, the same for all holders")
	f.StringVar(&member, "member", "", "record of the HSM that recovers")
	f.StringVar(&out, "out", "", "write the sealed share to this file")
	return c
}
