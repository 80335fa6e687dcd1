package hsm_test

import (
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

func startNode(t *testing.T, dir string, members int, commands ...[]byte) (*hsm.Node, error) {
	t.Helper()
	n, err := hsm.StartNode(t.Context(), hsm.NodeConfig{
		HSM: hsm.Config{StateDir: filepath.Join(dir, "hsm"), Await: true, Log: func(line string) { t.Log("hsm:", line) }}, Members: members, Commands: commands,
	})
	if err == nil {
		t.Cleanup(n.Stop)
	}
	return n, err
}

// A node waits for its domain, is founded by a paper, lets a second HSM in when
// custodians say so, goes on without the first, and ends with the last.
func TestANodeServesWithTheHSMsThatHaveTheNewestState(t *testing.T) {
	dir := t.TempDir()
	if _, err := startNode(t, dir, 2); !errors.Is(err, hsm.ErrWaiting) {
		t.Fatalf("a node without a domain: %v", err)
	}
	alone, err := hsm.Start(t.Context(), hsm.Config{StateDir: filepath.Join(dir, "hsm"), Await: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := alone.Client().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := startNode(t, dir, 1); err == nil {
		t.Error("two HSMs work with one state folder")
	}
	alone.Stop()

	p := &plane{t: t, all: hsmtest.Custodians(t)}
	var id quorum.ID
	rand.Read(id[:])
	if _, err := startNode(t, dir, 2, p.signed(id, 0, quorum.CreateDomain, hsmtest.Founding(s.Member, p.all, 0), p.all[:3]...)); !errors.Is(err, hsm.ErrDenied) {
		t.Fatalf("founded by three of four: %v", err)
	}
	n, err := startNode(t, dir, 2, p.signed(id, 0, quorum.CreateDomain, hsmtest.Founding(s.Member, p.all, 0), p.all...))
	if err != nil {
		t.Fatal(err)
	}
	p.pool = n.Pool()
	if !n.Serves(0) || n.Serves(1) || len(p.pool.Members()) != 1 {
		t.Fatal("the HSM that has no domain serves")
	}
	key, err := n.Client().GenerateKey(t.Context(), hsm.KeySpec{Spec: hsm.SymmetricDefault, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", KeyARN: keyARN})
	if err != nil {
		t.Fatal(err)
	}
	record, err := n.Processes()[1].Client().Member(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	added, err := n.Command(t.Context(), p.command(quorum.AddMember, quorum.AddArguments{Record: record}, p.all[:3]...))
	if err != nil {
		t.Fatal(err)
	}
	if n.Serves(1) {
		t.Error("it serves before the change is installed")
	}
	if _, err := n.Command(t.Context(), p.installing(added.Token)); err != nil {
		t.Fatal(err)
	}
	if !n.Serves(0) || !n.Serves(1) || len(p.pool.Members()) != 2 {
		t.Fatal("after the install not both serve")
	}

	// One that was left out while a fence moved learns of it, and serves again.
	second := n.Processes()[1].Client()
	n.Pool().Remove(second)
	if n.Serves(1) {
		t.Fatal("it was left out")
	}
	epoch, err := n.Client().RaiseFence(t.Context(), key.EKT, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Encrypt(t.Context(), key.EKT, []byte("p"), nil); err != nil {
		t.Errorf("the one that missed the fence: %v", err)
	}
	if err := n.Refresh(t.Context()); err != nil || !n.Serves(1) {
		t.Fatalf("after a refresh: %v, serves %v", err, n.Serves(1))
	}
	if _, err := second.Encrypt(t.Context(), key.EKT, []byte("p"), nil); !errors.Is(err, hsm.ErrFenced) {
		t.Errorf("the token from before: %v", err)
	}
	if key.EKT, err = n.Client().Current(t.Context(), key.EKT, epoch); err != nil {
		t.Fatal(err)
	}

	n.Processes()[0].Stop()
	for range 20 {
		if _, _, err := n.Client().GenerateDataKey(t.Context(), key.EKT, 32, nil, true); err != nil {
			t.Fatalf("after the first is lost: %v", err)
		}
	}
	select {
	case <-n.Done():
		t.Fatal("the node ends while an HSM serves")
	default:
	}
	if err := n.Refresh(t.Context()); err != nil || n.Serves(0) || !n.Serves(1) {
		t.Errorf("after a refresh: %v, %v %v", err, n.Serves(0), n.Serves(1))
	}
	n.Processes()[1].Stop()
	select {
	case <-n.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the node goes on without an HSM")
	}
	if n.Wait() == nil {
		t.Error("it does not say why")
	}
}
