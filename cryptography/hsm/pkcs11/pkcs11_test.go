//go:build cgo

package pkcs11_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/pkcs11"
)

// softToken makes a token in software, and returns the module.
func softToken(t *testing.T, labels ...string) string {
	t.Helper()
	module := ""
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			module = path
		}
	}
	if _, err := exec.LookPath("softhsm2-util"); err != nil || module == "" {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatal("no softhsm2 here")
		}
		t.Skip("no softhsm2 here")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	for _, label := range labels {
		if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", "1234", "--so-pin", "5678").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return module
}

// ask serves one token for as long as f asks it.
func ask(t *testing.T, o pkcs11.Options, pin string, f func(*pkcs11.Guard)) error {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- pkcs11.Serve(theirs, o, []byte(pin))
		_ = theirs.Close()
	}()
	f(pkcs11.New(ours))
	_ = ours.Close()
	return <-ended
}

func TestAKeyIsWrappedByTheTokenAlone(t *testing.T) {
	module := softToken(t, "leadglass", "other")
	o := pkcs11.Options{Module: module, Token: "leadglass", Key: "domain"}
	key := bytes.Repeat([]byte{0xa5}, 32)
	for _, noGCM := range []bool{false, true} {
		o.NoGCM = noGCM
		var wrapped []byte
		err := ask(t, o, "1234", func(g *pkcs11.Guard) {
			var err error
			if wrapped, err = g.Protect(key); err != nil || bytes.Contains(wrapped, key[:8]) {
				t.Fatalf("%x, %v", wrapped, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		err = ask(t, o, "1234", func(g *pkcs11.Guard) { // a new login finds the key that is there
			got, err := g.Recover(wrapped)
			if err != nil || !bytes.Equal(got, key) {
				t.Errorf("%x, %v", got, err)
			}
			for i := range wrapped {
				changed := bytes.Clone(wrapped)
				changed[i] ^= 1
				if got, err := g.Recover(changed); err == nil {
					t.Errorf("byte %d changed, and %x is recovered", i, got)
				}
				if _, err := g.Recover(wrapped[:i]); err == nil {
					t.Errorf("%d bytes recover something", i)
				}
			}
			if got, err := g.Recover(wrapped); err != nil || !bytes.Equal(got, key) {
				t.Errorf("after refusals: %x, %v", got, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		other := o
		other.Token = "other"
		_ = ask(t, other, "1234", func(g *pkcs11.Guard) {
			if _, err := g.Recover(wrapped); err == nil {
				t.Error("another token unwraps it")
			}
		})
	}
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	module := softToken(t, "leadglass")
	for want, o := range map[string]struct {
		pkcs11.Options
		pin string
	}{
		`no token is labelled "x"`: {pkcs11.Options{Module: module, Token: "x", Key: "domain"}, "1234"},
		"login":                    {pkcs11.Options{Module: module, Token: "leadglass", Key: "domain"}, "9999"},
		"is no PKCS#11 module":     {pkcs11.Options{Module: "/nowhere.so", Token: "leadglass", Key: "domain"}, "1234"},
	} {
		err := ask(t, o.Options, o.pin, func(g *pkcs11.Guard) {
			if _, err := g.Protect(make([]byte, 32)); err == nil {
				t.Errorf("%s: protected", want)
			}
		})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "9999") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestAKeyThatCouldLeaveTheTokenIsRefused(t *testing.T) {
	module := softToken(t, "leadglass")
	if _, err := exec.LookPath("pkcs11-tool"); err != nil {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no pkcs11-tool here")
	}
	out, err := exec.Command("pkcs11-tool", "--module", module, "--token-label", "leadglass", "--login", "--pin", "1234",
		"--keygen", "--key-type", "AES:32", "--label", "domain", "--extractable").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err = ask(t, pkcs11.Options{Module: module, Token: "leadglass", Key: "domain"}, "1234", func(*pkcs11.Guard) {})
	if err == nil || !strings.Contains(err.Error(), "can leave the token") {
		t.Error(err)
	}
}
