package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

func keyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "What only an HSM can promise of your KMS keys", Args: noArguments,
		Long: `What only an HSM can promise of your KMS keys: conditions that are sealed into a
key and that hold whatever anybody's policy says. Everything else about keys is
done with aws kms.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(keySealCommand(), keyConditionsCommand())
	return c
}

// keyConditions is KeyConditions of the API.
type keyConditions struct {
	Attested          bool              `json:",omitempty"`
	Measurements      []keyMeasurement  `json:",omitempty"`
	EncryptionContext map[string]string `json:",omitempty"`
	CallerProof       bool              `json:",omitempty"`
	Operations        []string          `json:",omitempty"`
	Custodians        []byte            `json:",omitempty"`
}

type keyMeasurement struct{ Registers map[string]string }

type sealedKey struct {
	KeyID         string `json:"KeyId"`
	KeyMaterialID string `json:"KeyMaterialId"`
	Domain        []byte
	FenceEpoch    uint64
	Conditions    keyConditions
}

// conditionFlags are the conditions of a command line.
type conditionFlags struct {
	attested   []string
	anyone     bool
	context    []string
	proof      bool
	operations []string
	custodians []string
	threshold  int
	loosen     string
	command    string
	reason     string
	nothing    bool
}

func keySealCommand() *cobra.Command {
	var s conditionFlags
	var profile string
	var out output
	c := &cobra.Command{
		Use:   "seal KEY [--attested PCRS] [--context K=V] [--caller-proof] [--operation NAME] [--custodian FILE]",
		Short: "Seal conditions into a key, which the HSM enforces whatever a policy says",
		Long: `Seal conditions into a key, into all its material and all that it will have. The
HSM enforces them itself: no policy, no grant and no operator gets past them.
What is given here is all of the key's conditions, not an addition to them.

--attested pcr0=HEX,pcr8=HEX  plaintext leaves only encrypted to an enclave that
                              was measured so; repeated: to any of them
--attested-any                the same for an enclave of any measurement
--context K=V                 every encryption context must hold this pair
--caller-proof                the HSM must see the request signed by a principal
                              of your account. Clients must sign with SigV4A and
                              name the key by its id or ARN, not by an alias
--operation NAME              only these operations are done, Decrypt for example

Stricter conditions take effect at once. LOOSER ONES NEED THE CUSTODIANS that
--custodian names when the key is sealed for the first time, --threshold of them
(default: more than half); without any, nobody can ever loosen the key again.
To loosen, write what is to be asked with --loosen FILE, let the custodians sign
it (leadglass hsm sign FILE), and repeat the command with --command FILE instead.
--nothing, in place of conditions, takes all of them away.

Needs kms:PutKeyConditions and kms:GetKeyConditions on the key; kms:* holds both.
Uses the ambient credentials and endpoint, like any AWS tool.`,
		Args: exactly(1, "a key id or key ARN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := ambientProfile(profile)
			if err != nil {
				return err
			}
			cl := newClient(p)
			next, err := s.conditions()
			if err != nil {
				return err
			}
			var now sealedKey
			if _, err := cl.json(cmd.Context(), "leadglass", "GetKeyConditions", map[string]any{"KeyId": args[0]}, &now); err != nil {
				return err
			}
			if len(next.Custodians) == 0 && !s.nothing {
				next.Custodians = now.Conditions.Custodians
			}
			if s.loosen != "" {
				return s.writeLoosening(cmd.OutOrStdout(), &now, next)
			}
			in := map[string]any{"KeyId": args[0], "Conditions": next}
			if s.command != "" {
				signed, _, err := readCommands([]string{s.command})
				if err != nil {
					return err
				}
				if in["Command"], err = signed.Encode(); err != nil {
					return err
				}
			}
			if _, err := cl.json(cmd.Context(), "leadglass", "PutKeyConditions", in, nil); err != nil {
				return err
			}
			now = sealedKey{} // what is absent from the answer is no longer so
			if _, err := cl.json(cmd.Context(), "leadglass", "GetKeyConditions", map[string]any{"KeyId": args[0]}, &now); err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), now, func(w io.Writer) { showConditions(w, &now) })
		},
	}
	f := c.Flags()
	f.StringArrayVar(&s.attested, "attested", nil, "registers that an enclave must have, as pcr0=HEX,pcr8=HEX; may be repeated")
	f.BoolVar(&s.anyone, "attested-any", false, "any attested enclave")
	f.StringArrayVar(&s.context, "context", nil, "pair that every encryption context must hold; may be repeated")
	f.BoolVar(&s.proof, "caller-proof", false, "the HSM checks the caller's own signature")
	f.StringArrayVar(&s.operations, "operation", nil, "operation that is allowed; may be repeated (default: all)")
	f.StringArrayVar(&s.custodians, "custodian", nil, "file of a custodian who may help to loosen; may be repeated")
	f.IntVar(&s.threshold, "threshold", 0, "how many custodians it takes (default: more than half)")
	f.StringVar(&s.loosen, "loosen", "", "write the command that the custodians are to sign to this file, and change nothing")
	f.StringVar(&s.command, "command", "", "file of the command that the custodians signed")
	f.StringVar(&s.reason, "reason", "", "what the custodians read as the reason")
	f.BoolVar(&s.nothing, "nothing", false, "no conditions at all")
	f.StringVar(&profile, "profile", "", "profile to sign with")
	out.flag(c)
	return c
}

// conditions reads the flags.
func (s *conditionFlags) conditions() (c keyConditions, err error) {
	c.Attested, c.CallerProof, c.Operations = s.anyone || len(s.attested) > 0, s.proof, s.operations
	for _, set := range s.attested {
		m := keyMeasurement{Registers: map[string]string{}}
		for one := range strings.SplitSeq(set, ",") {
			name, value, ok := strings.Cut(one, "=")
			register, isPCR := strings.CutPrefix(strings.ToLower(name), "pcr")
			if !ok || !isPCR || m.Registers[register] != "" {
				return c, usageError{fmt.Errorf("--attested %q: write it as pcr0=HEX,pcr8=HEX", set)}
			}
			m.Registers[register] = strings.ToLower(value)
		}
		c.Measurements = append(c.Measurements, m)
	}
	for _, pair := range s.context {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return c, usageError{fmt.Errorf("--context %q: write it as NAME=VALUE", pair)}
		}
		if c.EncryptionContext == nil {
			c.EncryptionContext = map[string]string{}
		}
		c.EncryptionContext[name] = value
	}
	empty := !c.Attested && !c.CallerProof && len(c.EncryptionContext)+len(c.Operations) == 0
	if empty != s.nothing {
		return c, usageError{errors.New("key seal needs conditions, or --nothing")}
	}
	c.Custodians, err = s.encodeCustodians()
	return c, err
}

func (s *conditionFlags) encodeCustodians() ([]byte, error) {
	if len(s.custodians) == 0 {
		return nil, nil
	}
	var q quorum.Custodians
	organisations := map[string]bool{}
	for _, path := range s.custodians {
		c, err := readCustodian(path)
		if err != nil {
			return nil, err
		}
		q.Operators = append(q.Operators, c.Operator)
		organisations[c.Operator.Organisation] = true
	}
	least := s.threshold
	if least == 0 {
		least = len(q.Operators)/2 + 1
	}
	if least < 1 || least > len(q.Operators) {
		return nil, usageError{fmt.Errorf("--threshold %d: there are %d custodians", s.threshold, len(q.Operators))}
	}
	q.Rules = []quorum.Rule{{Roles: map[string]uint64{quorum.RoleTenantCustodian: uint64(least)}, Organisations: 1}}
	return q.Encode()
}

// commandLife is how long custodians have to sign.
const commandLife = 24 * time.Hour

// writeLoosening writes the command by which custodians allow looser
// conditions: for this key, at this epoch, and for exactly these conditions.
func (s *conditionFlags) writeLoosening(w io.Writer, now *sealedKey, next keyConditions) error {
	if len(now.Conditions.Custodians) == 0 {
		return errors.New("this key has no custodians: its conditions can be made stricter, and never looser")
	}
	sealed, err := next.sealed()
	if err != nil {
		return err
	}
	material, err := hex.DecodeString(now.KeyMaterialID)
	if err != nil || len(now.Domain) != len(quorum.ID{}) {
		return errors.New("the plane's answer does not say which key and domain this is")
	}
	c, err := quorum.NewCommand(quorum.ID(now.Domain), 1, quorum.LoosenConditions, quorum.ConditionsArguments{
		Key: now.KeyID, Material: material, Conditions: sealed.Append(nil), Epoch: now.FenceEpoch,
	}, time.Now(), commandLife, s.reason)
	if err != nil {
		return err
	}
	encoded, err := c.Encode()
	if err != nil {
		return err
	}
	b, err := quorum.SignedCommand{Command: encoded, Signatures: []quorum.Signature{}}.Encode()
	if err != nil {
		return err
	}
	if err := writeArmored(w, s.loosen, pemCommand, b); err != nil || s.loosen == "-" {
		return err
	}
	_, err = fmt.Fprintf(w, "Let the custodians sign %s within %s, then repeat this command with --command %[1]s instead of --loosen.\n", s.loosen, commandLife)
	return err
}

// sealed are the conditions as the HSM will see them: what custodians sign is
// those bytes.
func (c *keyConditions) sealed() (s hsm.Conditions, err error) {
	s = hsm.Conditions{Attested: c.Attested, Context: c.EncryptionContext, CallerProof: c.CallerProof, Custodians: c.Custodians}
	for _, name := range c.Operations {
		op, known := hsm.ConditionOperations[name]
		if !known {
			return s, usageError{fmt.Errorf("--operation %s: it is one of %s", name, strings.Join(slices.Sorted(maps.Keys(hsm.ConditionOperations)), ", "))}
		}
		s.Operations |= 1 << op
	}
	for _, m := range c.Measurements {
		registers := hsm.Measurement{}
		for name, text := range m.Registers {
			var register uint64
			value, err := hex.DecodeString(text)
			if _, scanErr := fmt.Sscan(name, &register); err != nil || scanErr != nil {
				return s, usageError{fmt.Errorf("--attested: pcr%s is no register and its value in hexadecimal digits", name)}
			}
			registers[register] = value
		}
		s.Measurements = append(s.Measurements, registers)
	}
	return s, s.Check()
}

func keyConditionsCommand() *cobra.Command {
	var profile string
	var out output
	c := &cobra.Command{
		Use:   "conditions KEY",
		Short: "What is sealed into a key, and who can loosen it",
		Args:  exactly(1, "a key id or key ARN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := ambientProfile(profile)
			if err != nil {
				return err
			}
			var now sealedKey
			if _, err := newClient(p).json(cmd.Context(), "leadglass", "GetKeyConditions", map[string]any{"KeyId": args[0]}, &now); err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), now, func(w io.Writer) { showConditions(w, &now) })
		},
	}
	c.Flags().StringVar(&profile, "profile", "", "profile to sign with")
	out.flag(c)
	return c
}

func showConditions(w io.Writer, k *sealedKey) {
	fmt.Fprintf(w, "%s, fence epoch %d\n", k.KeyID, k.FenceEpoch)
	for _, line := range k.Conditions.describe() {
		fmt.Fprintf(w, "  %s\n", line)
	}
}

// describeConditions is what custodians read of the conditions that they sign.
func describeConditions(encoded []byte) []string {
	var s hsm.Conditions
	if s.Parse(encoded) != nil {
		return []string{"WHAT THIS VERSION CANNOT READ"}
	}
	c := keyConditions{Attested: s.Attested, EncryptionContext: s.Context, CallerProof: s.CallerProof, Custodians: s.Custodians}
	for _, name := range slices.Sorted(maps.Keys(hsm.ConditionOperations)) {
		if s.Operations>>hsm.ConditionOperations[name]&1 == 1 {
			c.Operations = append(c.Operations, name)
		}
	}
	for _, m := range s.Measurements {
		registers := map[string]string{}
		for register, value := range m {
			registers[fmt.Sprint(register)] = hex.EncodeToString(value)
		}
		c.Measurements = append(c.Measurements, keyMeasurement{registers})
	}
	return c.describe()
}

// describe says what the conditions ask for.
func (c *keyConditions) describe() (lines []string) {
	line := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch {
	case len(c.Measurements) > 0:
		for _, m := range c.Measurements {
			var registers []string
			for _, r := range slices.Sorted(maps.Keys(m.Registers)) {
				registers = append(registers, "pcr"+r+"="+m.Registers[r])
			}
			line("plaintext only to an enclave measured %s", strings.Join(registers, ","))
		}
	case c.Attested:
		line("plaintext only to an attested enclave")
	}
	for _, name := range slices.Sorted(maps.Keys(c.EncryptionContext)) {
		line("encryption context must hold %s=%s", oneLine(name), oneLine(c.EncryptionContext[name]))
	}
	if c.CallerProof {
		line("the HSM checks the caller's own signature")
	}
	if len(c.Operations) > 0 {
		line("only %s", strings.Join(c.Operations, ", "))
	}
	if !c.Attested && len(c.Measurements)+len(c.EncryptionContext)+len(c.Operations) == 0 && !c.CallerProof {
		return append(lines, "no conditions")
	}
	if len(c.Custodians) == 0 {
		return append(lines, "nobody can loosen this")
	}
	q, err := quorum.ParseCustodians(c.Custodians)
	if err != nil {
		return append(lines, "custodians: not readable by this version")
	}
	for _, r := range q.Rules {
		line("%d of these custodians can loosen it:", r.Roles[quorum.RoleTenantCustodian])
	}
	for _, o := range q.Operators {
		line("  %s %s", operatorName(o), o.ID)
	}
	return lines
}
