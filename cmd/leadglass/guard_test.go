package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// softwareTPM is a TPM of the test's own, listening at the returned argument of
// --tpm.
func softwareTPM(t *testing.T) (device string) {
	t.Helper()
	swtpm := need(t, "swtpm", "--version")
	dir := t.TempDir()
	sock := filepath.Join(dir, "sock")
	// A connection to swtpm's socket is one client; when that is gone, swtpm waits for the next.
	cmd := exec.Command(swtpm, "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+sock, "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 300 {
		if _, err := os.Stat(sock); err == nil {
			return "unix:" + sock
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("swtpm does not listen")
	return ""
}

// tokenFlags are the flags of a PKCS#11 token in software.
func tokenFlags(t *testing.T) []string {
	t.Helper()
	module := "/usr/lib/softhsm/libsofthsm2.so"
	if _, err := os.Stat(module); err != nil {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no softhsm2 here")
	}
	dir := t.TempDir()
	conf, pin := filepath.Join(dir, "softhsm2.conf"), filepath.Join(dir, "pin")
	for path, text := range map[string]string{conf: fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\n", dir), pin: "1234\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "vault", "--pin", "1234", "--so-pin", "5678").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return []string{"--pkcs11-module", module, "--pkcs11-token", "vault", "--pkcs11-pin-file", pin}
}

// A plane whose HSM is guarded by hardware starts again with it, and not
// without it; one that was sealed in software moves to it when it is asked to.
func TestThePlaneIsGuardedByATPMOrAToken(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags func() []string
		seal  string
	}{
		{"TPM", func() []string { return []string{"--tpm", softwareTPM(t)} }, "TPM 2.0"},
		{"PKCS#11", func() []string { return tokenFlags(t) }, "PKCS#11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			flags, data := c.flags(), t.TempDir()
			serve := func(flags ...string) (*plane, error) {
				p, err := start(data, flags...)
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { p.stop() })
				return p, nil
			}
			encrypt := func(p *plane) (key, blob string) {
				var made struct{ KeyMetadata struct{ Arn string } }
				if _, err := p.client(t, "customer").json(t.Context(), "kms", "CreateKey", struct{}{}, &made); err != nil {
					t.Fatal(err)
				}
				var out struct{ CiphertextBlob string }
				if _, err := p.client(t, "customer").json(t.Context(), "kms", "Encrypt", map[string]string{"KeyId": made.KeyMetadata.Arn, "Plaintext": "YQ=="}, &out); err != nil {
					t.Fatal(err)
				}
				return made.KeyMetadata.Arn, out.CiphertextBlob
			}
			decrypt := func(p *plane, blob string) {
				t.Helper()
				var out struct{ Plaintext string }
				if _, err := p.client(t, "customer").json(t.Context(), "kms", "Decrypt", map[string]string{"CiphertextBlob": blob}, &out); err != nil || out.Plaintext != "YQ==" {
					t.Errorf("%q, %v", out.Plaintext, err)
				}
			}
			// Begun in software.
			p, err := serve()
			if err != nil {
				t.Fatal(err)
			}
			_, blob := encrypt(p)
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			// The guard is not slipped in unasked, nor left out afterwards.
			if _, err := serve(flags...); err == nil || !strings.Contains(err.Error(), "--seal-upgrade") {
				t.Fatalf("unasked: %v", err)
			}
			for _, f := range [][]string{append(flags[:len(flags):len(flags)], "--seal-upgrade"), flags} {
				if p, err = serve(f...); err != nil {
					t.Fatal(err)
				}
				decrypt(p, blob)
				if err := p.stop(); err != nil {
					t.Fatal(err)
				}
			}
			if p, err := serve(); err == nil {
				p.stop()
				t.Error("the plane starts without its guard")
			}
		})
	}
	t.Run("not there", func(t *testing.T) {
		for want, flags := range map[string][]string{
			"no such file":                    {"--tpm", "/nowhere/tpm"},
			"needs the label of a token":      {"--pkcs11-module", "/nowhere.so"},
			"not by both":                     {"--tpm", "/dev/null", "--pkcs11-module", "/nowhere.so"},
			"no guard to upgrade the seal to": {"--seal-upgrade"},
			"is no PKCS#11 module":            {"--pkcs11-module", "/nowhere.so", "--pkcs11-token", "t", "--pkcs11-pin-file", "/dev/null"},
			"no TPM 2.0 answers":              {"--tpm", "unix:" + deaf(t)},
		} {
			if p, err := start(t.TempDir(), flags...); err == nil || !strings.Contains(err.Error(), want) {
				if err == nil {
					p.stop()
				}
				t.Errorf("%v: %v", flags, err)
			}
		}
	})
}

// deaf is a socket on which nobody answers as a TPM does.
func deaf(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	return path
}
