package authority_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
	"github.com/leadglass/leadglass/identity/sigv4"
)

func masked(s *secret.Bytes) (out []byte) {
	_ = s.Use(func(b []byte) error {
		for _, c := range b {
			out = append(out, c^hsmtest.Mask)
		}
		return nil
	})
	return out
}

// The secret of an access key exists in the front only inside the secret.Bytes
// that it is handed on in, and in the authority not at all once answered.
func TestASecretLeavesNoTraceInEitherProcess(t *testing.T) {
	p := authoritytest.Start(t, t.TempDir())
	c := p.Client()
	for name, issue := range map[string]func() *secret.Bytes{
		"a long-term secret": func() *secret.Bytes {
			akid, err := id.AccessKey("AKIA", account)
			if err != nil {
				t.Fatal(err)
			}
			_, s, err := c.NewSecret(t.Context(), account, akid)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		"the secret of a session": func() *secret.Bytes {
			_, s, _, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := issue()
			needle := masked(s)
			if len(needle) != 40 {
				t.Fatalf("a secret of %d characters", len(needle))
			}
			// The secret itself may lie in memory that cannot be searched; a copy in
			// ordinary pages shows that the search finds what it can see.
			seen, err := secret.New(len(needle))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Use(func(own []byte) error { return seen.Use(func(b []byte) error { copy(b, own); return nil }) }); err != nil {
				t.Fatal(err)
			}
			if !hsmtest.Holds(t, os.Getpid(), needle) {
				t.Error("the search does not find what is there")
			}
			seen.Destroy()
			s.Destroy()
			if hsmtest.Holds(t, os.Getpid(), needle) {
				t.Error("it stayed in the front")
			}
			if hsmtest.Holds(t, p.PID(), needle) {
				t.Error("it stayed in the authority")
			}
		})
	}
}

// Of the 120 MiB that a whole idle node may use, each of the two may use 20.
func TestBothProcessesStaySmall(t *testing.T) {
	dir := t.TempDir()
	h := startHSM(t, dir+"/hsm")
	p, err := authority.Start(t.Context(), authority.Config{StateDir: dir + "/authority", HSM: h})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	for range 200 {
		akid, s, token, err := p.Client().IssueSession(t.Context(), claimsFor(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Client().Witness(t.Context(), sign(akid, reveal(s), token, nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Client().Random(t.Context(), 1024); err != nil {
			t.Fatal(err)
		}
	}
	for name, pid := range map[string]int{"hsm": h.PID(), "authority": p.PID()} {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if kb := 0; strings.HasPrefix(line, "VmRSS:") {
				if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: %d KiB", name, kb)
				if kb > 20<<10 && !raceDetector {
					t.Errorf("%s has %d KiB", name, kb)
				}
			}
		}
	}
}

// The private half of a SigV4A key pair is gone once the public one is known,
// and the secret that it came from.
func TestAKeyPairLeavesNoTraceInTheAuthority(t *testing.T) {
	p := authoritytest.Start(t, t.TempDir())
	c := p.Client()
	akid, sealed, sec := newKey(t, c)
	pair, err := sigv4.KeyPair(akid, []byte(sec))
	if err != nil {
		t.Fatal(err)
	}
	d, err := pair.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if !hsmtest.Holds(t, os.Getpid(), mask(d)) {
		t.Error("the search does not find what is there")
	}
	for range 3 {
		if _, err := c.Witness(t.Context(), signV4A(t, akid, sec, "", sealed)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.PublicKey(t.Context(), akid, sealed, ""); err != nil {
		t.Fatal(err)
	}
	if hsmtest.Holds(t, p.PID(), mask(d)) {
		t.Error("the private key stayed in the authority")
	}
	if hsmtest.Holds(t, p.PID(), mask([]byte(sec))) {
		t.Error("the secret stayed in the authority")
	}
}

func mask(b []byte) (out []byte) {
	for _, c := range b {
		out = append(out, c^hsmtest.Mask)
	}
	return out
}
