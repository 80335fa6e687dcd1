package authority_test

import (
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
)

func TestTheRootKeyFollowsTheDomainKeyWhenItIsTold(t *testing.T) {
	dir := t.TempDir()
	p := hsmtest.Start(t, hsm.Config{StateDir: dir + "/hsm"})
	c := authoritytest.InProcess(t, dir, authoritytest.Options{HSM: p})
	active := func() [8]byte {
		t.Helper()
		s, err := p.Client().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.ActiveKey
	}
	first := active()
	if err := p.Client().RotateDomainKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, err := c.RewrapRoot(t.Context(), [8]byte{}); err != nil || now != first {
		t.Errorf("asked only: %x, %v", now, err)
	}
	for range 2 { // the second time there is nothing to do
		if now, err := c.RewrapRoot(t.Context(), active()); err != nil || now != active() {
			t.Errorf("told: %x, %v", now, err)
		}
	}
	p.Stop()
	if now, err := c.RewrapRoot(t.Context(), [8]byte{}); err != nil || now == first {
		t.Errorf("without the HSM: %x, %v", now, err)
	}
	if _, err := c.RewrapRoot(t.Context(), first); err == nil {
		t.Error("rewrapped without an HSM")
	}
}
