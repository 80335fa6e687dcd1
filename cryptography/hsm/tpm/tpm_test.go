package tpm_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/tpm"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// A machine is one with a software TPM, which can be started again.
type machine struct {
	t     *testing.T
	state string
	cmd   *exec.Cmd
	conn  net.Conn
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no swtpm here")
	}
	m := &machine{t: t, state: t.TempDir()}
	m.boot()
	t.Cleanup(m.off)
	return m
}

// boot starts the TPM, as at power-on: PCRs are zero again.
func (m *machine) boot() {
	m.t.Helper()
	m.off()
	sock := filepath.Join(m.state, "sock")
	_ = os.Remove(sock)
	m.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.state, "--server", "type=unixio,path="+sock, "--flags", "not-need-init,startup-clear")
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for range 200 {
		var err error
		if m.conn, err = net.Dial("unix", sock); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.t.Fatal("swtpm does not listen")
}

func (m *machine) off() {
	if m.conn != nil {
		_ = m.conn.Close()
	}
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
	}
	m.cmd, m.conn = nil, nil
}

// measure extends a PCR, as a changed boot would.
func (m *machine) measure(pcr uint32) {
	m.t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{1}, 32)}}},
	}.Execute(transport.FromReadWriter(m.conn))
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) guard(sealKey string) *tpm.Guard {
	m.t.Helper()
	g, err := tpm.New(m.conn, []byte(sealKey))
	if err != nil {
		m.t.Fatal(err)
	}
	return g
}

func TestAKeyLeavesOnlyItsOwnMachineInItsOwnState(t *testing.T) {
	m := newMachine(t)
	key := bytes.Repeat([]byte{0xa5}, 32)
	wrapped, err := m.guard("seal key").Protect(key)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(wrapped, key[:8]) {
		t.Error("the sealed key shows the key")
	}
	m.boot()
	g := m.guard("seal key")
	if got, err := g.Recover(wrapped); err != nil || !bytes.Equal(got, key) {
		t.Fatalf("%x, %v", got, err)
	}
	if _, err := m.guard("another").Recover(wrapped); !errors.Is(err, tpm.ErrRefused) {
		t.Errorf("with another seal key: %v", err)
	}
	for i := range wrapped {
		if i >= 4 && i%5 == 0 {
			changed := bytes.Clone(wrapped)
			changed[i] ^= 1
			if got, err := g.Recover(changed); err == nil && bytes.Equal(got, key) && i > 6 {
				t.Errorf("byte %d changed, and the key is released", i)
			}
		}
	}
	for n := range wrapped {
		if _, err := g.Recover(wrapped[:n]); err == nil {
			t.Fatalf("%d bytes of %d release something", n, len(wrapped))
		}
	}
	for _, pcr := range []uint32{0, 2, 4, 7, 11} {
		m.boot()
		m.measure(pcr)
		if _, err := m.guard("seal key").Recover(wrapped); !errors.Is(err, tpm.ErrRefused) {
			t.Errorf("PCR %d is another: %v", pcr, err)
		}
	}
	m.boot()
	m.measure(12) // not of the policy
	if _, err := m.guard("seal key").Recover(wrapped); err != nil {
		t.Error(err)
	}
	if _, err := newMachine(t).guard("seal key").Recover(wrapped); !errors.Is(err, tpm.ErrRefused) {
		t.Errorf("on another machine: %v", err)
	}
}

func TestTheCounterGoesOnAndCannotBeReset(t *testing.T) {
	m := newMachine(t)
	g := m.guard("k")
	wrapped, err := g.Protect(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	first, err := g.Count()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := g.Advance(); err != nil {
			t.Fatal(err)
		}
	}
	m.boot()
	g = m.guard("k")
	if _, err := g.Count(); err == nil {
		t.Error("a counter that is not known yet counts")
	}
	if _, err := g.Recover(wrapped); err != nil {
		t.Fatal(err)
	}
	if n, err := g.Count(); err != nil || n != first+3 {
		t.Errorf("%d, %v after %d and three more", n, err, first)
	}
	// The owner can delete the counter. One in its place counts on.
	public, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(0x01804c47)}.Execute(transport.FromReadWriter(m.conn))
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVUndefineSpace{AuthHandle: tpm2.TPMRHOwner, NVIndex: tpm2.NamedHandle{Handle: 0x01804c47, Name: public.NVName}}.Execute(transport.FromReadWriter(m.conn))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Count(); err == nil {
		t.Error("a deleted counter counts")
	}
	again := m.guard("k")
	if _, err := again.Protect(make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	if n, err := again.Count(); err != nil || n <= first+3 {
		t.Errorf("a new counter stands at %d, %v", n, err)
	}
}

func TestSomethingThatIsNoTPMIsSaidToBeNone(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		_, _ = io.ReadFull(b, make([]byte, 10))
		_ = b.Close()
	}()
	if _, err := tpm.New(a, []byte("k")); err == nil {
		t.Error("a closed pipe is a TPM")
	}
}

// open opens a domain in dir that the machine's TPM guards.
func open(t *testing.T, m *machine, dir string, upgrade bool) (*core.HSM, error) {
	t.Helper()
	store, err := boundary.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	memory, err := secret.NewArena(1 << 18)
	if err != nil {
		t.Fatal(err)
	}
	soft, err := core.OpenSoftwareSeal(store, nil, memory)
	if err != nil {
		t.Fatal(err)
	}
	_, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return core.Open(core.Config{
		Store: store, Sealer: core.NewGuardedSeal(soft, m.guard("k"), memory, upgrade), Memory: memory, Now: time.Now, Supervisor: spki,
	})
}

func TestADomainOpensOnItsMachineAloneAndNoOldCopyOfIt(t *testing.T) {
	m, dir := newMachine(t), t.TempDir()
	h, err := open(t, m, dir, false)
	if err != nil {
		t.Fatal(err)
	}
	identity := h.Identity()
	sealed := filepath.Join(dir, "domain.sealed")
	old, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	m.boot()
	if h, err = open(t, m, dir, false); err != nil || !bytes.Equal(h.Identity(), identity) {
		t.Fatalf("after a restart: %v", err)
	}
	if _, err := open(t, newMachine(t), dir, false); err == nil {
		t.Error("a copy opens on another machine, with the seal key in it")
	}
	// The present copy is one step further; the old one is put back.
	if err := m.guardOf(dir).Advance(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sealed, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, m, dir, false); !errors.Is(err, core.ErrRolledBack) {
		t.Errorf("an old copy: %v", err)
	}
}

// guardOf is a guard that knows the counter of the domain in dir.
func (m *machine) guardOf(dir string) *tpm.Guard {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "domain.sealed"))
	if err != nil {
		m.t.Fatal(err)
	}
	g := m.guard("k")
	n := int(b[13])<<8 | int(b[14])
	if _, err := g.Recover(b[15 : 15+n]); err != nil {
		m.t.Fatal(err)
	}
	return g
}

func TestADomainOfSoftwareMovesToTheTPMWhenAsked(t *testing.T) {
	m, dir := newMachine(t), t.TempDir()
	store, err := boundary.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := secret.NewArena(1 << 18)
	if err != nil {
		t.Fatal(err)
	}
	soft, err := core.OpenSoftwareSeal(store, nil, memory)
	if err != nil {
		t.Fatal(err)
	}
	_, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := core.Open(core.Config{Store: store, Sealer: soft, Memory: memory, Now: time.Now, Supervisor: spki}); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, m, dir, false); !errors.Is(err, core.ErrSealed) {
		t.Errorf("unasked: %v", err)
	}
	if _, err := open(t, m, dir, true); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, m, dir, false); err != nil {
		t.Errorf("after the move: %v", err)
	}
}
