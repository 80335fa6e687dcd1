package core_test

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// openShare is what a holder does with its share at home.
func openShare(t testing.TB, c *custodian, domain quorum.ID, sealed quorum.SealedShare) []byte {
	t.Helper()
	const enc = 1120 // of MLKEM768-X25519
	r, err := hpke.NewRecipient(sealed.Sealed[:enc], c.Share, hpke.HKDFSHA256(), hpke.AES256GCM(), quorum.ShareInfo(domain, c.ID))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := r.Open(nil, sealed.Sealed[enc:])
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// send seals opened shares to the HSM that recovers.
func send(t testing.TB, h *hsm, token []byte, shares map[*custodian][]byte) []quorum.SentShare {
	t.Helper()
	record, err := quorum.ParseMemberRecord(h.must(message.OpMember, nil, message.Params{}).Record)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := quorum.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	var out []quorum.SentShare
	for c, plain := range shares {
		e, err := quorum.SealEnvelope(record.Member, parsed.State.ID[:], quorum.RecoveryInfo(c.ID, record.Member.ID, token), plain)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, quorum.SentShare{Operator: c.ID, Envelope: e})
	}
	return out
}

// recover asks the HSM to recover a token's domain.
func (h *hsm) recover(token []byte, shares []quorum.SentShare, signers ...*custodian) uint64 {
	h.t.Helper()
	parsed, err := quorum.ParseToken(token)
	if err != nil {
		h.t.Fatal(err)
	}
	a := quorum.RecoverArguments{Member: h.status().Member, Token: token, Shares: shares}
	_, status := h.submit(order(h.t, h.composeFor(parsed.State.ID, parsed.State.Serial, quorum.RecoverShares, a), signers...))
	return status
}

func TestADomainWhoseHSMsAreAllLostIsRecoveredFromShares(t *testing.T) {
	all := five(t)
	first, second := waiting(t, newStore()), waiting(t, newStore())
	created := first.found(all, 3)
	if len(created.Shares) != 5 {
		t.Fatalf("%d shares", len(created.Shares))
	}
	second.join(all, first)
	key := bytes.Clone(second.newKey())
	blob := bytes.Clone(second.must(message.OpEncrypt, key, message.Params{Data: []byte("plain")}).Blob)
	exported := second.obeys(quorum.ExportDomain, nil, all[0], all[2])
	if again := first.obeys(quorum.ExportDomain, nil, all[0], all[2]); len(again.Shares) != 5 || !bytes.Equal(again.Shares[2].Sealed, created.Shares[2].Sealed) {
		t.Error("the founder does not give the shares again")
	}

	// All that is left: a token, and the holders' shares.
	id := first.state().ID
	opened := make([][]byte, len(all))
	for i, c := range all {
		at := slices.IndexFunc(created.Shares, func(s quorum.SealedShare) bool { return s.Operator == c.ID })
		opened[i] = openShare(t, c, id, created.Shares[at])
	}
	of := func(at ...int) map[*custodian][]byte {
		m := make(map[*custodian][]byte)
		for _, i := range at {
			m[all[i]] = bytes.Clone(opened[i])
		}
		return m
	}
	s := newStore()
	h := waiting(t, s)
	three := []*custodian{all[0], all[1], all[2]}
	if status := h.recover(exported.Token, send(t, h, exported.Token, of(0, 1, 2)), all[0], all[1]); status != link.StatusDenied {
		t.Errorf("two signatures recovered: %d", status)
	}
	if status := h.recover(exported.Token, send(t, h, exported.Token, of(0, 1)), three...); status != link.StatusAuthFailed {
		t.Errorf("two shares recovered: %d", status)
	}
	wrong := of(0, 1, 2)
	wrong[all[0]][len(wrong[all[0]])/2] ^= 1
	if status := h.recover(exported.Token, send(t, h, exported.Token, wrong), three...); status != link.StatusAuthFailed {
		t.Errorf("a wrong share recovered: %d", status)
	}
	twice := of(0, 1, 2)
	twice[all[0]] = bytes.Clone(opened[1])
	if status := h.recover(exported.Token, send(t, h, exported.Token, twice), three...); status != link.StatusAuthFailed {
		t.Errorf("a share twice recovered: %d", status)
	}
	elsewhere := waiting(t, newStore())
	if status := elsewhere.recover(exported.Token, send(t, h, exported.Token, of(0, 1, 2)), three...); status != link.StatusAuthFailed {
		t.Errorf("shares that were sent to another HSM recovered: %d", status)
	}
	if status := first.recover(exported.Token, send(t, first, exported.Token, of(0, 1, 2)), three...); status != link.StatusDenied {
		t.Errorf("an HSM that has a domain recovered one: %d", status)
	}
	if status := h.recover(exported.Token, send(t, h, exported.Token, of(4, 1, 3)), three...); status != link.StatusOK {
		t.Fatalf("RecoverShares: %d", status)
	}
	h = mustOpen(t, s)
	if r := h.must(message.OpDecrypt, key, message.Params{Blob: blob}); string(r.Data) != "plain" {
		t.Error("a key was lost")
	}
	state := h.state()
	if len(state.Members) != 2 || state.ID != id || h.status().ActiveKey == second.status().ActiveKey {
		t.Errorf("recovered: %d members, domain %s", len(state.Members), state.ID)
	}
	// From there the domain grows again, and is recovered again.
	next := waiting(t, newStore())
	token := next.join(all, h)
	understandEachOther(t, h, next)
	last := waiting(t, newStore())
	if status := last.recover(token, send(t, last, token, of(0, 3, 4)), three...); status != link.StatusOK {
		t.Errorf("the second recovery: %d", status)
	}
}

func TestADomainIsRecoveredFromTheMemberInTheSafe(t *testing.T) {
	all := five(t)
	safe := newStore()
	first := waiting(t, newStore())
	first.found(all, 0)
	offline, err := openWith(t, safe, func(c *core.Config) { c.Await, c.Offline, c.Label = true, true, "safe in the cellar" })
	if err != nil {
		t.Fatal(err)
	}
	offline.join(all, first)
	if got, _ := first.state().Member(offline.status().Member); got.Flags != quorum.MemberOffline || got.Label != "safe in the cellar" {
		t.Errorf("member %+v", got)
	}
	// Life goes on while it lies there: changes need a token that others can
	// use, and the last of them is kept.
	var token []byte
	for range 3 {
		token = first.obeys(quorum.RotateDomainKeys, once(), all[0], all[2]).Token
		if status := first.install(token, all[0], all[2]); status != link.StatusOK {
			t.Fatal(status)
		}
	}
	key := bytes.Clone(first.newKey())
	blob := bytes.Clone(first.must(message.OpEncrypt, key, message.Params{Data: []byte("plain")}).Blob)
	member := first.status().Member

	// The only HSM that served is lost. The safe is opened.
	offline = mustOpen(t, safe)
	if _, status := offline.do(message.OpDecrypt, key, message.Params{Blob: blob}); status != link.StatusStale {
		t.Errorf("before it has the last token: %d", status)
	}
	if status := offline.install(token, all[0], all[2]); status != link.StatusOK {
		t.Fatalf("InstallDomain: %d", status)
	}
	if r := offline.must(message.OpDecrypt, key, message.Params{Blob: blob}); string(r.Data) != "plain" {
		t.Error("a key was lost")
	}
	replacement := waiting(t, newStore())
	replacement.join(all, offline)
	r := replacement.obeys(quorum.RemoveMember, quorum.MemberArguments{Member: member}, all[0], all[1], all[2])
	for _, m := range []*hsm{offline, replacement} {
		if status := m.install(r.Token, all[0], all[2]); status != link.StatusOK {
			t.Fatal(status)
		}
	}
	understandEachOther(t, offline, replacement)
	if r := replacement.must(message.OpDecrypt, key, message.Params{Blob: blob}); string(r.Data) != "plain" {
		t.Error("a key was lost")
	}
	// A domain of members in safes alone would serve nobody.
	replacement.refuses(link.StatusDenied, quorum.RemoveMember, quorum.MemberArguments{Member: replacement.status().Member}, all[0], all[1], all[2])
}

func TestAVolatileHSMForgetsAndJoinsAgain(t *testing.T) {
	all := five(t)
	first := waiting(t, newStore())
	first.found(all, 0)
	volatile := func() *hsm {
		h, err := openWith(t, newStore(), func(c *core.Config) { c.Await, c.Volatile, c.Store, c.Sealer = true, true, nil, nil })
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := volatile()
	h.join(all, first)
	understandEachOther(t, first, h)
	if got := h.status(); got.Seal != "volatile" {
		t.Errorf("seal %q", got.Seal)
	}
	again := volatile()
	if bytes.Equal(again.Identity(), h.Identity()) || again.status().Members != 0 {
		t.Error("a restart did not forget")
	}
	again.join(all, first)
	understandEachOther(t, first, again)
	if _, err := openWith(t, newStore(), func(c *core.Config) { c.Volatile = true }); err == nil {
		t.Error("a volatile HSM made a domain of its own, which a restart would lose")
	}
}

func TestSelfDestructLeavesNothing(t *testing.T) {
	all := five(t)
	s := newStore()
	h := waiting(t, s)
	h.found(all, 2)
	key := bytes.Clone(h.newKey())
	own := quorum.MemberArguments{Member: h.status().Member}
	h.refuses(link.StatusDenied, quorum.SelfDestruct, quorum.MemberArguments{Member: quorum.ID{1}}, all[0], all[1], all[2])
	h.refuses(link.StatusDenied, quorum.SelfDestruct, own, all[0], all[1])
	secrets := h.DomainSecrets()
	h.obeys(quorum.SelfDestruct, own, all[0], all[1], all[2])
	for op, name := range core.Operations() {
		if _, status := h.do(op, key, message.Params{Data: []byte("x"), Length: 8}); status == link.StatusOK && op != message.OpReady {
			t.Errorf("%s still works", name)
		}
	}
	if len(secrets) < 4 {
		t.Fatal("the test sees no secrets")
	}
	if _, err := open(t, s); !errors.Is(err, core.ErrDestroyed) {
		t.Errorf("started again: %v", err)
	}
}

// Any t of n shares make the secret, and t-1 of them make nothing of it.
func TestSharesMakeTheSecretExactlyWhenThereAreEnough(t *testing.T) {
	whole := make([]byte, 112)
	rand.Read(whole)
	for n := 2; n <= 7; n++ {
		for k := 2; k <= n; k++ {
			xs, ys, err := core.Split(whole, k, n)
			if err != nil {
				t.Fatal(err)
			}
			for subset := range 1 << n {
				var x []byte
				var y [][]byte
				for i := range n {
					if subset&(1<<i) != 0 {
						x, y = append(x, xs[i]), append(y, ys[i])
					}
				}
				got, err := core.Combine(x, y)
				switch {
				case len(x) < 2:
					if err == nil {
						t.Fatalf("%d shares were combined", len(x))
					}
				case len(x) >= k && (err != nil || !bytes.Equal(got, whole)):
					t.Fatalf("%d of %d, threshold %d: not the secret (%v)", len(x), n, k, err)
				case len(x) < k && bytes.Equal(got, whole):
					t.Fatalf("%d of %d, threshold %d: the secret", len(x), n, k)
				}
			}
		}
	}
	for _, bad := range [][2]int{{1, 3}, {4, 3}, {0, 0}, {2, 256}} {
		if _, _, err := core.Split(whole, bad[0], bad[1]); err == nil {
			t.Errorf("%d of %d was split", bad[0], bad[1])
		}
	}
	if _, err := core.Combine([]byte{1, 1}, [][]byte{whole, whole}); err == nil {
		t.Error("a share twice was combined")
	}
	if _, err := core.Combine([]byte{0, 1}, [][]byte{whole, whole}); err == nil {
		t.Error("the secret itself was taken as a share")
	}
}

// One share less than enough says nothing: with a secret of one byte, every
// value of the other share leads to another secret, and all of them occur.
func TestTooFewSharesSayNothing(t *testing.T) {
	xs, ys, err := core.Split([]byte{42}, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[byte]bool)
	for guess := range 256 {
		got, err := core.Combine(xs, [][]byte{ys[0], {byte(guess)}})
		if err != nil {
			t.Fatal(err)
		}
		seen[got[0]] = true
	}
	if len(seen) != 256 {
		t.Errorf("only %d secrets are possible", len(seen))
	}
}

// The field is that of AES: FIPS 197 section 4.2 has the examples.
func TestTheFieldIsThatOfAES(t *testing.T) {
	if core.GFMul(0x57, 0x83) != 0xc1 || core.GFMul(0x57, 0x13) != 0xfe {
		t.Error("multiplication differs from FIPS 197")
	}
	for a := 1; a < 256; a++ {
		if core.GFMul(byte(a), core.GFInverse(byte(a))) != 1 {
			t.Errorf("%#x times its inverse is not 1", a)
		}
	}
	if core.GFInverse(0) != 0 {
		t.Error("0 has an inverse")
	}
}
