package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/identity/federation/exampleissuer"
	"github.com/leadglass/leadglass/isolation/attest/exampleenclave"
)

// records are what the tour protects: real, de-identified patient records.
//
//go:embed testdata/health/heart4.csv
var records []byte

// A claim is one thing that the tour tries, and what came of it.
type claim struct {
	Promise  string `json:"promise"` // which promise of the architecture, or "set-up"
	Claim    string `json:"claim"`
	By       string `json:"by"`
	Tried    string `json:"tried"`
	Happened string `json:"happened"`
	Evidence string `json:"evidence"`
	Holds    bool   `json:"holds"`
}

func tourCommand() *cobra.Command {
	var out output
	var keep bool
	c := &cobra.Command{
		Use:   "tour",
		Short: "The main job, end to end: two hospitals, one operator, real records",
		Long: `Run the main job on a plane of its own in a temporary folder: two hospitals are
customers of one operator, hospital A protects real heart-disease records with a
key that the operator cannot use, and proves afterwards what happened. For each
claim it prints what was tried, by whom, what happened, and the evidence; it
exits 1 if a claim does not hold.

Then the two hospitals join a group and are put under a guardrail that even
their administrators cannot lift, and hospital A's doctors sign in by the
hospital's own OpenID Connect issuer, each to her ward's records and no other's.

At last three custodians of two organisations take the HSM's domain over, keys
stay in a hospital's cellar, belong to a program, are imported and rotated, and
every HSM is lost but one in a safe.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out.format != "text" && out.format != "json" {
				return usageError{fmt.Errorf("--output %q: use text or json", out.format)}
			}
			dir, err := os.MkdirTemp("", "leadglass-tour-")
			if err != nil {
				return err
			}
			if keep {
				fmt.Fprintln(cmd.ErrOrStderr(), "keeping", dir)
			} else {
				defer os.RemoveAll(dir)
			}
			t := &tour{dir: dir, narrate: func(claim) {}}
			w := cmd.OutOrStdout()
			if out.format == "text" {
				fmt.Fprintln(w, "Leadglass tour: one operator, two hospitals, real patient records")
				t.narrate = func(c claim) { c.write(w) }
			}
			began := time.Now()
			err = t.run(cmd.Context())
			failed := 0
			for _, c := range t.claims {
				if !c.Holds {
					failed++
				}
			}
			result := struct {
				Claims  []claim `json:"claims"`
				Holds   bool    `json:"holds"`
				Seconds float64 `json:"seconds"`
				Error   string  `json:"error,omitempty"`
			}{t.claims, failed == 0 && err == nil, time.Since(began).Seconds(), ""}
			if err != nil {
				result.Error = err.Error()
			}
			if perr := out.print(w, result, func(w io.Writer) {
				if err == nil {
					fmt.Fprintf(w, "\n%d claims tried, %d held, %d did not (%.1f s)\n", len(t.claims), len(t.claims)-failed, failed, result.Seconds)
				}
			}); perr != nil {
				return perr
			}
			if err != nil && out.format == "text" {
				return err
			}
			if !result.Holds {
				return silentError{}
			}
			return nil
		},
	}
	out.flag(c)
	c.Flags().BoolVar(&keep, "keep", false, "keep the temporary folder")
	return c
}

func (c claim) write(w io.Writer) {
	mark := "HOLDS"
	if !c.Holds {
		mark = "DOES NOT HOLD"
	}
	fmt.Fprintf(w, "\n[%s] %s\n", mark, c.Claim)
	for _, l := range [][2]string{{"promise", c.Promise}, {"by", c.By}, {"tried", c.Tried}, {"happened", c.Happened}, {"evidence", c.Evidence}} {
		if l[1] != "" {
			fmt.Fprintf(w, "    %-9s %s\n", l[0], strings.ReplaceAll(l[1], "\n", "\n              "))
		}
	}
}

// A tour is one run. Its chapters run in order; each adds claims.
type tour struct {
	dir     string
	plane   *plane
	issuer  *exampleissuer.Issuer // hospital A's own sign-in
	claims  []claim
	narrate func(claim)

	operator, a, b *client
	accountA       string
	accountB       string
	keyARN         string
	wrapped        []byte // the data key under hospital A's key
	sealed         []byte // the records under the data key

	flags    []string // that the plane was started with
	unlocked bool     // this machine cannot lock an HSM down
	desk     string   // folder of the custodians' files
	enclaves *exampleenclave.Authority
	release  releasedKey
	vault    *vault
	kept     []kept // what must open when all HSMs were lost
}

func (t *tour) add(c claim) {
	t.claims = append(t.claims, c)
	t.narrate(c)
}

func (t *tour) run(ctx context.Context) error {
	flags, err := t.startIssuer()
	if err != nil {
		return fmt.Errorf("cannot start an issuer: %w", err)
	}
	defer t.issuer.Close()
	store, err := t.prepareVault()
	if err != nil {
		return fmt.Errorf("cannot prepare an external key store: %w", err)
	}
	flags = append(append(flags, store...), "--hsm-members", "2")
	p, err := startPlane(ctx, filepath.Join(t.dir, "plane"), flags...)
	if err != nil && strings.Contains(err.Error(), "--insecure-no-lockdown") {
		// The tour goes on where a machine cannot lock the boundaries down, and says so: that claim does hold here, that
		// nothing runs unprotected unnoticed. A plane for real data is started so only by whoever decides to.
		why := err
		t.unlocked, flags = true, append(flags, "--insecure-no-lockdown")
		if p, err = startPlane(ctx, filepath.Join(t.dir, "plane"), flags...); err == nil {
			t.add(claim{
				Promise: "3: key material only in the HSM process", Claim: "A boundary that cannot be locked down does not start unless told so in words", By: "operator",
				Tried:    "leadglass serve on this machine",
				Happened: "refused: " + lastLine(why.Error()), Evidence: "the tour goes on with --insecure-no-lockdown; what is missing is shown by leadglass operator health", Holds: true,
			})
		}
	}
	if err != nil {
		return fmt.Errorf("cannot start a plane: %w", err)
	}
	t.plane, t.flags = p, flags
	defer func() { _ = t.plane.stop() }() // the one that runs then
	for _, chapter := range []func(context.Context) error{
		t.openAccounts,
		t.protectRecords,
		t.refuseOthers,
		t.refuseTheOperator,
		t.searchStorage,
		t.searchMemory,
		t.revoke,
		t.tamper,
		t.prove,
		t.guardrail,
		t.federate,
		t.foundDomain,
		t.rotateDomain,
		t.addHSM,
		t.keepAtHome,
		t.sealToProgram,
		t.sealFile,
		t.signRecords,
		t.shred,
		t.rotate,
		t.loseOneHSM,
		t.loseAllHSMs,
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
