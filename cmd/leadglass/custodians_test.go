package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// The runbook for custodians is true: its blocks are run as they stand, and a
// key of a customer survives the two worst days.
func TestTheRunbookOfCustodiansIsTrue(t *testing.T) {
	bash := need(t, "bash")
	text, err := os.ReadFile("../../docs/custodians.md")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	for _, err := range []error{
		os.Mkdir(bin, 0o700), os.Symlink(self, filepath.Join(bin, "leadglass")),
		// The page says of this one what it stands for.
		os.WriteFile(filepath.Join(bin, "id"), []byte("#!/bin/sh\nleadglass hsm custodian show $1 | sed -n 's/^ *id *//p'\n"), 0o700),
		os.WriteFile(filepath.Join(dir, "ana.passphrase"), []byte("correct horse battery staple\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var p *plane
	defer func() {
		if p != nil {
			_ = p.stop()
		}
	}()
	var key struct{ KeyMetadata struct{ Arn string } }
	var sealed struct{ CiphertextBlob []byte }
	serves := func() {
		t.Helper()
		c := p.client(t, "customer")
		if sealed.CiphertextBlob == nil {
			if _, err := c.json(t.Context(), "kms", "CreateKey", struct{}{}, &key); err != nil {
				t.Fatal(err)
			}
			if _, err := c.json(t.Context(), "kms", "Encrypt", map[string]any{"KeyId": key.KeyMetadata.Arn, "Plaintext": []byte("a heart")}, &sealed); err != nil {
				t.Fatal(err)
			}
		}
		var out struct{ Plaintext []byte }
		if _, err := c.json(t.Context(), "kms", "Decrypt", map[string]any{"CiphertextBlob": sealed.CiphertextBlob}, &out); err != nil || string(out.Plaintext) != "a heart" {
			t.Fatalf("Decrypt: %q, %v", out.Plaintext, err)
		}
	}
	env := append(os.Environ(), runMain+"=1", "PATH="+bin+":"+os.Getenv("PATH"))
	ran, refused, planes := 0, 0, 0
	inside := false
	for _, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "```sh":
			inside = true
			continue
		case line == "```":
			inside = false
		}
		if !inside || line == "" {
			continue
		}
		ran++
		command, note, _ := strings.Cut(line, "# ")
		words := strings.Fields(command)
		switch {
		case strings.HasPrefix(command, "leadglass serve --data "):
			flags := words[4:]
			for i, f := range flags {
				if strings.HasSuffix(f, ".pem") {
					flags[i] = filepath.Join(dir, f)
				}
			}
			if p, err = start(filepath.Join(dir, words[3]), flags...); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			planes++
			serves()
			continue
		case command == "systemctl stop leadglass":
			serves() // whatever was done since, the key still opens
			if err := p.stop(); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			continue
		}
		shell := func(command string) ([]byte, error) {
			cmd := exec.Command(bash, "-c", command)
			cmd.Dir, cmd.Env = dir, env
			return cmd.CombinedOutput()
		}
		out, err := shell(command)
		if err != nil && os.Getenv("LEADGLASS_CI") == "" && strings.Contains(command, "--state") && strings.Contains(string(out), "--insecure-no-lockdown") {
			out, err = shell(command + " --insecure-no-lockdown") // a machine that cannot lock an HSM down, as in start
		}
		if note == "refused" {
			refused++
			if err == nil {
				t.Fatalf("%s is not refused: %s", line, out)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	serves()
	if ran < 50 || refused != 2 || planes != 4 {
		t.Errorf("%d lines, %d refused, %d planes: the page is not what this test reads", ran, refused, planes)
	}
	// What a custodian sees on the last line of the page.
	state, err := (&reach{data: filepath.Join(dir, "plane"), profile: "operator"}).readDomain(t.Context(), "")
	if err != nil || state.Serial < 7 || len(state.Operators) != 3 {
		t.Errorf("state %d with %d custodians, %v", state.Serial, len(state.Operators), err)
	}
	hsms := 0
	for _, m := range state.Members {
		if m.Flags&quorum.MemberRecovery == 0 {
			hsms++
		}
	}
	if hsms != 1 {
		t.Errorf("%d HSMs are members; the lost ones must be out", hsms)
	}
}
