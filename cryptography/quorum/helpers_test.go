package quorum_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/quorum/signer"
)

// custodian is an operator with the key that signs for it.
type custodian struct {
	quorum.Operator
	key *signer.Key
}

func newCustodian(t testing.TB, kind quorum.KeyType, role, label, organisation string) custodian {
	t.Helper()
	key, err := signer.Generate(kind)
	if err != nil {
		t.Fatal(err)
	}
	_, public := key.Public()
	return custodian{quorum.Operator{
		ID: quorum.OperatorID(kind, public), Type: kind, Public: public, Role: role, Label: label, Organisation: organisation,
	}, key}
}

// crew is n custodians with all kinds of keys; the organisations take turns.
func crew(t testing.TB, n int, organisations ...string) []custodian {
	t.Helper()
	var out []custodian
	for i := range n {
		kind := []quorum.KeyType{quorum.Ed25519, quorum.P256, quorum.P384}[i%3]
		out = append(out, newCustodian(t, kind, quorum.RoleOperator, fmt.Sprintf("custodian %d", i+1), organisations[i%len(organisations)]))
	}
	return out
}

func operators(c []custodian) (out []quorum.Operator) {
	for _, x := range c {
		out = append(out, x.Operator)
	}
	return out
}

var (
	start  = time.UnixMilli(1_800_000_000_000)
	domain = quorum.ID{1, 2, 3}
)

func stateOf(c []custodian) quorum.State {
	return quorum.State{Domain: domain, Serial: 7, Operators: operators(c), Rules: quorum.DefaultRules(operators(c))}
}

func unseen(quorum.ID) bool { return false }

func encoded(t testing.TB, name string, arguments any) []byte {
	t.Helper()
	c, err := quorum.NewCommand(domain, 7, name, arguments, start, time.Hour, "a test")
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sign(t testing.TB, command []byte, by ...custodian) []byte {
	t.Helper()
	s := quorum.SignedCommand{Command: command, Signatures: []quorum.Signature{}}
	for _, c := range by {
		sig, err := c.key.Sign(command)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Add(c.Operator, sig); err != nil {
			t.Fatal(err)
		}
	}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
