package main

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What leadglass seals, the official AWS Encryption SDKs open with keys of a
// running plane, unmodified, and the other way round.
func TestTheOfficialEncryptionSDKsOpenWhatSealSealsAndTheOtherWayRound(t *testing.T) {
	p := sharedPlane(t)
	var made struct{ KeyMetadata struct{ Arn string } }
	if _, err := p.client(t, "customer").json(t.Context(), "kms", "CreateKey", struct{}{}, &made); err != nil {
		t.Fatal(err)
	}
	key := made.KeyMetadata.Arn
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Env = append(p.env("customer"), runMain+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Log(name, args, string(out))
		}
		return err
	}
	dir := t.TempDir()
	for _, sdk := range []struct {
		name    string
		command func(t *testing.T, action, from, to, suite string) error
		suites  []string // "": what the library takes by default
	}{
		{"Go", func(t *testing.T, action, from, to, suite string) error {
			return run(officialGo(t), action, key, from, to)
		}, []string{""}},
		{"JavaScript", func(t *testing.T, action, from, to, suite string) error {
			return run(officialJS(t)[0], append(officialJS(t)[1:], action, key, from, to, suite)...)
		}, []string{"", "0378", "0178", "0078"}},
	} {
		t.Run(sdk.name, func(t *testing.T) {
			for _, n := range []int{0, 1, 4096, 10_007} {
				plain := make([]byte, n)
				rand.Read(plain)
				at := func(name string) string { return filepath.Join(dir, sdk.name+name) }
				if err := os.WriteFile(at("plain"), plain, 0o600); err != nil {
					t.Fatal(err)
				}
				same := func(name string) {
					t.Helper()
					got, err := os.ReadFile(at(name))
					if err != nil || !bytes.Equal(got, plain) {
						t.Errorf("%d bytes: %d came back, %v", n, len(got), err)
					}
				}
				for _, suite := range sdk.suites {
					options := []string{"--force", "--key", key}
					if suite != "" {
						options = append(options, "--suite", suite)
					}
					if err := run(self, append([]string{"seal", at("plain"), "-o", at("ours"), "--context", "tenant=a"}, options...)...); err != nil {
						t.Fatal(err)
					}
					if err := sdk.command(t, "open", at("ours"), at("theirs-of-ours"), suite); err != nil {
						t.Fatal(err)
					}
					same("theirs-of-ours")
					if err := sdk.command(t, "seal", at("plain"), at("theirs"), suite); err != nil {
						t.Fatal(err)
					}
					if err := run(self, "open", at("theirs"), "-o", at("ours-of-theirs"), "--force", "--key", key, "--allow-uncommitted", "--context", "tenant=a"); err != nil {
						t.Fatal(err)
					}
					same("ours-of-theirs")
				}
			}
		})
	}
}

// officialGo is the program around the AWS Encryption SDK for Go: a module of
// its own, for what it links would slow every build down. CI builds it.
func officialGo(t *testing.T) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "internal", "clients", "esdk", "esdk"))
	if err != nil {
		t.Fatal(err)
	}
	return built(t, path, path, "run go build in internal/clients/esdk to test with the AWS Encryption SDK for Go")
}

func officialJS(t *testing.T) []string {
	dir, err := filepath.Abs(filepath.Join("..", "..", "internal", "clients", "js"))
	if err != nil {
		t.Fatal(err)
	}
	need(t, "node", "--version")
	return []string{"node", built(t, filepath.Join(dir, "esdk.mjs"), filepath.Join(dir, "node_modules", "@aws-crypto"), "run npm ci in internal/clients/js to test with the AWS Encryption SDK for JavaScript")}
}

// built returns path if what it needs is there.
func built(t *testing.T, path, needs, hint string) string {
	t.Helper()
	if _, err := os.Stat(needs); err != nil {
		if os.Getenv("LEADGLASS_CI") == "" {
			t.Skip(hint)
		}
		t.Fatal(err)
	}
	return path
}
