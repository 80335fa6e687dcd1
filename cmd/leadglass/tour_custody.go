package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/isolation/attest/exampleenclave"
)

const custodyPromise = "no single party rules the keys"

// program runs this program once more, in a folder, as anybody at a terminal
// does, and returns what it says.
func (t *tour) program(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); ok && stderr.Len() > 0 {
			err = errors.New(lastLine(stderr.String()))
		}
		return stdout.String(), fmt.Errorf("leadglass %s: %w", strings.Join(args, " "), err)
	}
	return stdout.String(), nil
}

// custodians are the people of the domain: Ana of hospital A, and two of the
// operator's.
var custodians = [...]struct{ name, organisation string }{{"Ana", "Hospital A"}, {"Ben", "Operator"}, {"Cy", "Operator"}}

// hsm runs leadglass hsm at the custodians' desk.
func (t *tour) hsm(ctx context.Context, args ...string) (string, error) {
	if slices.Contains(args, "--state") && t.unlocked {
		args = append(args, "--insecure-no-lockdown")
	}
	return t.program(ctx, t.desk, nil, append([]string{"hsm"}, args...)...)
}

// do runs commands that must succeed, and returns what the last one says.
func (t *tour) do(ctx context.Context, commands ...[]string) (out string, err error) {
	for _, c := range commands {
		if out, err = t.hsm(ctx, c...); err != nil {
			return out, err
		}
	}
	return out, nil
}

// sign signs a command as custodians.
func (t *tour) sign(ctx context.Context, file string, names ...string) error {
	for _, n := range names {
		if _, err := t.hsm(ctx, "sign", file, "--key", n+".key", "--domain", "state.pem"); err != nil {
			return err
		}
	}
	return nil
}

// enact has a change of the domain made and installed by custodians; at are the
// arguments that say where.
func (t *tour) enact(ctx context.Context, name string, at, command []string, names ...string) error {
	change, token, install := name+".pem", name+"-token.pem", name+"-install.pem"
	if _, err := t.hsm(ctx, slices.Concat([]string{"command"}, command, at, []string{"--reason", name, "--out", change})...); err != nil {
		return err
	}
	if err := t.sign(ctx, change, names...); err != nil {
		return err
	}
	return t.install(ctx, change, token, install, at, names...)
}

// install submits a change that is signed, and has its token installed.
func (t *tour) install(ctx context.Context, change, token, install string, at []string, names ...string) error {
	if _, err := t.do(ctx,
		slices.Concat([]string{"submit", change, "--out-token", token}, at),
		slices.Concat([]string{"command", "install", "--token", token, "--reason", "install", "--out", install}, at),
	); err != nil {
		return err
	}
	if err := t.sign(ctx, install, names...); err != nil {
		return err
	}
	_, err := t.hsm(ctx, slices.Concat([]string{"submit", install}, at)...)
	return err
}

// refusal is what an HSM said to a command, in its own words.
func refusal(err error) string {
	if err == nil {
		return "DONE"
	}
	text := err.Error()
	if _, why, ok := strings.Cut(text, "The HSM refused the command: quorum: "); ok {
		return `refused, "` + strings.TrimSuffix(why, ".") + `"`
	}
	return text
}

func refusedByHSM(err error) bool {
	return err != nil && strings.Contains(err.Error(), "DomainCommandRefusedException")
}

// foundDomain gives the HSM's domain to three custodians of two organisations.
// Until now whoever operates the plane ruled it alone.
func (t *tour) foundDomain(ctx context.Context) (err error) {
	t.desk = filepath.Join(t.dir, "custodians")
	if err := os.Mkdir(t.desk, 0o700); err != nil {
		return err
	}
	if t.enclaves, err = exampleenclave.New(time.Now()); err != nil {
		return err
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: t.enclaves.Root()})
	if err := os.WriteFile(filepath.Join(t.desk, "enclaves.pem"), root, 0o600); err != nil {
		return err
	}
	create := []string{"create-domain", "--data", t.plane.data, "--name", "Two hospitals", "--root", "enclaves.pem", "--shares", "2", "--reason", "founding", "--out", "create.pem"}
	for _, c := range custodians {
		if _, err := t.hsm(ctx, "custodian", "new", "--label", c.name, "--organisation", c.organisation, "--out", c.name+".key", "--record", c.name+".pem"); err != nil {
			return err
		}
		create = append(create, "--custodian", c.name+".pem")
	}
	submit := []string{"submit", "create.pem", "--data", t.plane.data, "--out-shares", "shares"}
	if _, err := t.do(ctx, create, []string{"sign", "create.pem", "--key", "Ben.key"}, []string{"sign", "create.pem", "--key", "Cy.key"}); err != nil {
		return err
	}
	_, without := t.hsm(ctx, submit...)
	if _, err := t.do(ctx, []string{"sign", "create.pem", "--key", "Ana.key"}, submit, []string{"domain", "--data", t.plane.data, "--out", "state.pem"}); err != nil {
		return err
	}
	_, _, opens := t.open(ctx, t.a)
	t.add(claim{
		Promise:  custodyPromise,
		Claim:    "Three custodians of two organisations take the domain of all keys over from the operator, and no key is lost",
		By:       "Ana of hospital A, Ben and Cy of the operator, each with a key of their own",
		Tried:    "leadglass hsm create-domain, sign, submit: by the operator's two alone, then by all three; hospital A opens its records",
		Happened: fmt.Sprintf("without Ana: %s; with her: founded; the records open: %v", refusal(without), opens == nil),
		Evidence: "the refusal is the HSM's, which checks every signature itself; the operator only carries the file",
		Holds:    refusedByHSM(without) && opens == nil,
	})
	return nil
}

// rotateDomain changes the domain key: two custodians of different
// organisations can, one cannot, and what they signed is good for once.
func (t *tour) rotateDomain(ctx context.Context) error {
	submit := []string{"submit", "rotate.pem", "--data", t.plane.data}
	if _, err := t.hsm(ctx, "command", "rotate", "--data", t.plane.data, "--reason", "the day is over", "--out", "rotate.pem"); err != nil {
		return err
	}
	if err := t.sign(ctx, "rotate.pem", "Ana"); err != nil {
		return err
	}
	_, alone := t.hsm(ctx, submit...)
	if err := t.sign(ctx, "rotate.pem", "Ben"); err != nil {
		return err
	}
	done, err := t.hsm(ctx, submit...)
	if err != nil {
		return err
	}
	_, again := t.hsm(ctx, submit...)
	_, _, opens := t.open(ctx, t.a)
	t.add(claim{
		Promise:  custodyPromise,
		Claim:    "Two custodians of different organisations rotate the domain key; one alone cannot, and nobody replays what they signed",
		By:       "Ana and Ben; then the operator, who has the signed file",
		Tried:    "submit with Ana's signature alone; with Ben's too; the same file once more",
		Happened: fmt.Sprintf("%s; %s; %s; records of before the rotation open: %v", refusal(alone), lastLine(done), refusal(again), opens == nil),
		Evidence: "leadglass hsm log has the obeyed and the refused ones, signed by the HSM",
		Holds:    refusedByHSM(alone) && refusedByHSM(again) && opens == nil,
	})
	return nil
}

// addHSM lets the plane's second HSM in, which two of one organisation cannot.
func (t *tour) addHSM(ctx context.Context) error {
	data := []string{"--data", t.plane.data}
	if _, err := t.do(ctx,
		slices.Concat([]string{"domain", "--out", "state2.pem"}, data),
		slices.Concat([]string{"member", "--number", "2", "--out", "second.pem"}, data),
		slices.Concat([]string{"command", "add-member", "--member", "second.pem", "--reason", "one is none", "--out", "add.pem"}, data),
	); err != nil {
		return err
	}
	if err := t.sign(ctx, "add.pem", "Ben", "Cy"); err != nil {
		return err
	}
	_, oneOrganisation := t.hsm(ctx, slices.Concat([]string{"submit", "add.pem"}, data)...)
	if err := t.sign(ctx, "add.pem", "Ana"); err != nil {
		return err
	}
	if err := t.install(ctx, "add.pem", "add-token.pem", "add-install.pem", data, "Ana", "Cy"); err != nil {
		return err
	}
	domain, err := t.hsm(ctx, slices.Concat([]string{"domain"}, data)...)
	if err != nil {
		return err
	}
	log, err := t.hsm(ctx, slices.Concat([]string{"log", "--domain", "add-token.pem"}, data)...)
	if err != nil {
		return err
	}
	refused := 0
	for line := range strings.Lines(log) {
		if strings.Contains(line, "REFUSED") {
			refused++
		}
	}
	serving := strings.Count(domain, "serves, state")
	t.add(claim{
		Promise:  custodyPromise,
		Claim:    "A second HSM gets the keys from custodians of two organisations; two of one organisation cannot give them away",
		By:       "Ben and Cy, both the operator's; then with Ana of hospital A",
		Tried:    "leadglass hsm command add-member for an HSM of the operator's, signed by its own two; then with Ana's signature",
		Happened: fmt.Sprintf("the operator's two: %s; with Ana: %d HSMs serve", refusal(oneOrganisation), serving),
		Evidence: fmt.Sprintf("the HSM's own log has %d refusals. %s", refused, lastLine(log)),
		Holds:    refusedByHSM(oneOrganisation) && serving == 2 && refused == 4,
	})
	return nil
}
