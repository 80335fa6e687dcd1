package core_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
)

type custodian = hsmtest.Custodian

var (
	five         = hsmtest.Custodians
	newCustodian = hsmtest.NewCustodian
	operatorsOf  = hsmtest.Operators
	order        = hsmtest.Signed
)

// state is the HSM's domain state.
func (h *hsm) state() quorum.DomainState {
	h.t.Helper()
	s, err := quorum.DecodeState(h.must(message.OpDomainState, nil, message.Params{}).Record)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *hsm) status() (s message.Status) {
	h.t.Helper()
	if err := s.Parse(h.must(message.OpStatus, nil, message.Params{}).Status); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// compose is a command for the HSM's present state, valid for a day.
func (h *hsm) compose(name string, arguments any) quorum.Command {
	h.t.Helper()
	s := h.state()
	return h.composeFor(s.ID, s.Serial, name, arguments)
}

func (h *hsm) composeFor(domain quorum.ID, serial uint64, name string, arguments any) quorum.Command {
	h.t.Helper()
	span := quorum.MaxSpan
	if r, ok := arguments.(quorum.RotateArguments); ok && r.Standing() {
		span = quorum.MaxStanding
	}
	c, err := quorum.NewCommand(domain, serial, name, arguments, h.now, span, "test")
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// submit brings a signed command to the HSM, by a host that has no say.
func (h *hsm) submit(signed []byte) (quorum.CommandResult, uint64) {
	h.t.Helper()
	r, status := h.doAs(stranger, message.OpCommand, nil, message.Params{Command: signed})
	if status != link.StatusOK {
		return quorum.CommandResult{}, status
	}
	result, err := quorum.ParseResult(r.Record)
	if err != nil {
		h.t.Fatal(err)
	}
	return result, status
}

func (h *hsm) obeys(name string, arguments any, signers ...*custodian) quorum.CommandResult {
	h.t.Helper()
	r, status := h.submit(order(h.t, h.compose(name, arguments), signers...))
	if status != link.StatusOK {
		h.t.Fatalf("%s: status %d", name, status)
	}
	return r
}

func (h *hsm) refuses(want uint64, name string, arguments any, signers ...*custodian) {
	h.t.Helper()
	before := h.status()
	if _, status := h.submit(order(h.t, h.compose(name, arguments), signers...)); status != want {
		h.t.Errorf("%s: status %d, want %d", name, status, want)
	}
	if after := h.status(); after.Serial != before.Serial || after.ActiveKey != before.ActiveKey {
		h.t.Errorf("%s was refused and changed the domain", name)
	}
}

// install brings a token to the HSM, with the signatures of two.
func (h *hsm) install(token []byte, signers ...*custodian) uint64 {
	h.t.Helper()
	parsed, err := quorum.ParseToken(token)
	if err != nil {
		h.t.Fatal(err)
	}
	c := h.composeFor(parsed.State.ID, parsed.State.Serial, quorum.InstallDomain, quorum.InstallArguments{Token: token})
	_, status := h.submit(order(h.t, c, signers...))
	return status
}

var stranger = &link.Peer{Roles: []string{core.RoleHost}}

// waiting is an HSM that has no domain.
func waiting(t testing.TB, s *store) *hsm {
	t.Helper()
	h, err := openWith(t, s, func(c *core.Config) { c.Await = true })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func openWith(t testing.TB, s *store, change func(*core.Config)) (*hsm, error) {
	t.Helper()
	memory, err := secret.NewArena(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	_, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	h := &hsm{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	seal, err := core.OpenSoftwareSeal(s, nil, memory)
	if err != nil {
		return nil, err
	}
	cfg := core.Config{Store: s, Sealer: seal, Memory: memory, Now: func() time.Time { return h.now }, Supervisor: spki, Build: "test"}
	if change != nil {
		change(&cfg)
	}
	h.supervisor = &link.Peer{ID: link.IDOf(spki), Roles: []string{core.RoleSupervisor, core.RoleHost}}
	h.HSM, err = core.Open(cfg)
	return h, err
}

func founding(h *hsm, all []*custodian, threshold uint64) quorum.CreateArguments {
	return hsmtest.Founding(quorum.MemberID(h.Identity()), all, threshold)
}

// found makes a waiting HSM the first member of a domain.
func (h *hsm) found(all []*custodian, threshold uint64) quorum.CommandResult {
	h.t.Helper()
	var id quorum.ID
	rand.Read(id[:])
	r, status := h.submit(order(h.t, h.composeFor(id, 0, quorum.CreateDomain, founding(h, all, threshold)), all...))
	if status != link.StatusOK {
		h.t.Fatalf("CreateDomain: status %d", status)
	}
	return r
}

// join makes a waiting HSM a member of the domain of others, who all install
// the new state.
func (h *hsm) join(all []*custodian, others ...*hsm) []byte {
	h.t.Helper()
	record := bytes.Clone(h.must(message.OpMember, nil, message.Params{}).Record)
	r := others[0].obeys(quorum.AddMember, quorum.AddArguments{Record: record}, all[0], all[1], all[2])
	for _, m := range append(slices.Clone(others), h) {
		if status := m.install(r.Token, all[0], all[2]); status != link.StatusOK {
			h.t.Fatalf("InstallDomain: status %d", status)
		}
	}
	return r.Token
}

// both encrypt and decrypt at each HSM with each other's tokens.
func understandEachOther(t *testing.T, members ...*hsm) {
	t.Helper()
	for i, a := range members {
		key := bytes.Clone(a.newKey())
		blob := bytes.Clone(a.must(message.OpEncrypt, key, message.Params{Data: []byte("plain")}).Blob)
		for k, b := range members {
			if r, status := b.do(message.OpDecrypt, key, message.Params{Blob: blob}); status != link.StatusOK || string(r.Data) != "plain" {
				t.Errorf("member %d does not open what member %d sealed: status %d", k, i, status)
			}
		}
	}
}

func (s *store) clone() *store { return &store{files: maps.Clone(s.files)} }

// dial connects as a host; nil if it is not let in.
func dial(t *testing.T, h *hsm, key *ecdsa.PrivateKey) *link.Client {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		_ = h.Serve(theirs)
		_ = theirs.Close()
	}()
	server, err := link.ParsePublic(h.Identity())
	if err != nil {
		t.Fatal(err)
	}
	c, err := link.Dial(t.Context(), ours, link.ClientConfig{Host: key, Server: server, Now: func() time.Time { return h.now }})
	if err != nil {
		return nil
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
