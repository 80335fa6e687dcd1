package quorum_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// hsm is a member with its secret keys.
type hsm struct {
	quorum.Member
	hsk, hak *ecdsa.PrivateKey
	kem      *mlkem.DecapsulationKey768
}

func newHSM(t testing.TB, label string) hsm {
	t.Helper()
	var h hsm
	var err error
	public := func(k **ecdsa.PrivateKey) []byte {
		if *k, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		// The standard library's encoding, as a second opinion on ours.
		spki, err := x509.MarshalPKIXPublicKey(&(*k).PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return spki
	}
	h.HSK, h.HAK = public(&h.hsk), public(&h.hak)
	if h.kem, err = mlkem.GenerateKey768(); err != nil {
		t.Fatal(err)
	}
	h.ID, h.KEM, h.Label = quorum.MemberID(h.HSK), h.kem.EncapsulationKey().Bytes(), label
	return h
}

func (h hsm) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	sum := sha512.Sum384(message)
	sig, err := ecdsa.SignASN1(rand.Reader, h.hsk, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func (h hsm) record(t testing.TB) []byte {
	t.Helper()
	r := quorum.MemberRecord{Member: h.Member, Statement: quorum.Statement{Build: "test", Memory: "memory", Seal: "none", Created: 5}}
	input, err := r.SigningInput()
	if err != nil {
		t.Fatal(err)
	}
	r.Sig = h.sign(t, input)
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newToken(t testing.TB, state quorum.DomainState, content []byte, by ...hsm) []byte {
	t.Helper()
	encodedState, err := state.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var envelopes []quorum.Envelope
	for _, m := range state.Members {
		e, err := quorum.SealEnvelope(m, state.ID[:], quorum.KEKInfo(m.ID, encodedState), content)
		if err != nil {
			t.Fatal(err)
		}
		envelopes = append(envelopes, e)
	}
	payload, err := quorum.TokenPayload(encodedState, envelopes)
	if err != nil {
		t.Fatal(err)
	}
	var sigs []quorum.TokenSignature
	for _, h := range by {
		input, err := quorum.TokenSigningInput(payload, h.ID)
		if err != nil {
			t.Fatal(err)
		}
		sigs = append(sigs, quorum.TokenSignature{Member: h.ID, Sig: h.sign(t, input)})
	}
	b, err := quorum.AssembleToken(payload, sigs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newState(c []custodian, members ...hsm) quorum.DomainState {
	s := quorum.DomainState{Version: 1, ID: domain, Name: "ward", Serial: 7, Previous: make([]byte, 48), Retention: 30,
		Operators: operators(c), Rules: quorum.DefaultRules(operators(c)),
		Keys: []quorum.DomainKey{{ID: [8]byte{1}, Created: 9, State: quorum.KeyActive}}}
	for _, m := range members {
		s.Members = append(s.Members, m.Member)
	}
	return s
}

func TestATokenCarriesTheDomainToItsMembers(t *testing.T) {
	a, b, stranger := newHSM(t, "a"), newHSM(t, "b"), newHSM(t, "stranger")
	state := newState(crew(t, 3, "hospital", "platform"), a, b)
	content := []byte("the secret domain keys")
	raw := newToken(t, state, content, a)
	token, err := quorum.ParseToken(raw)
	if err != nil {
		t.Fatal(err)
	}
	if by, err := token.SignedBy(state.Members); err != nil || len(by) != 1 || by[0] != a.ID {
		t.Errorf("signed by %v, %v", by, err)
	}
	if _, err := token.SignedBy([]quorum.Member{stranger.Member}); !errors.Is(err, quorum.ErrSigner) {
		t.Errorf("signed by a stranger: %v", err)
	}
	for _, h := range []hsm{a, b, stranger} {
		e, ok := token.Envelope(h.ID)
		if !ok {
			if h.ID != stranger.ID {
				t.Errorf("no envelope for %s", h.Label)
			}
			e = token.Envelopes[0]
		}
		hak, err := h.hak.ECDH()
		if err != nil {
			t.Fatal(err)
		}
		info := quorum.KEKInfo(h.ID, token.StateBytes)
		got, err := quorum.OpenEnvelope(e, hak, h.kem, domain[:], info)
		if want := h.ID != stranger.ID; (err == nil && bytes.Equal(got, content)) != want {
			t.Errorf("%s opens its envelope: %v", h.Label, err)
		}
		// The state is bound to the envelope: one for another state is worthless.
		if _, err := quorum.OpenEnvelope(e, hak, h.kem, domain[:], quorum.KEKInfo(h.ID, append(token.StateBytes, 0))); err == nil {
			t.Errorf("%s opens it for another state", h.Label)
		}
		if _, err := quorum.OpenEnvelope(e, hak, h.kem, []byte("other"), info); err == nil {
			t.Errorf("%s opens it for another domain", h.Label)
		}
	}
	// A signature that claims to be a member's and is not.
	payload := bytes.Clone(token.Payload)
	forged, err := quorum.AssembleToken(payload, []quorum.TokenSignature{{Member: b.ID, Sig: stranger.sign(t, payload)}})
	if err != nil {
		t.Fatal(err)
	}
	if token, err = quorum.ParseToken(forged); err != nil {
		t.Fatal(err)
	}
	if _, err := token.SignedBy(state.Members); !errors.Is(err, quorum.ErrSignature) {
		t.Errorf("a forged token: %v", err)
	}
	if _, err := quorum.AssembleToken(payload, nil); err == nil {
		t.Error("a token without a signature")
	}
	for n := range len(raw) {
		if _, err := quorum.ParseToken(raw[:n]); err == nil {
			t.Fatalf("%d bytes of it are a token", n)
		}
	}
}

func TestTheRecoveryMemberSignsNothing(t *testing.T) {
	a := newHSM(t, "recovery")
	a.Flags = quorum.MemberRecovery
	token, err := quorum.ParseToken(newToken(t, newState(nil, a), []byte("x"), a))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.SignedBy([]quorum.Member{a.Member}); !errors.Is(err, quorum.ErrSigner) {
		t.Errorf("%v", err)
	}
	if err := a.Verify([]byte("x"), a.sign(t, []byte("x"))); !errors.Is(err, quorum.ErrSignature) {
		t.Errorf("%v", err)
	}
}

func TestAStateIsReadBack(t *testing.T) {
	a := newHSM(t, "a")
	s := newState(crew(t, 3, "hospital", "platform"), a)
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := quorum.DecodeState(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("%v: %x, %x", err, again, b)
	}
	if m, ok := got.Member(a.ID); !ok || m.Check() != nil {
		t.Errorf("member: %v %v", ok, m.Check())
	}
}

func TestAMemberRecordProvesThatItsMakerHasTheKey(t *testing.T) {
	a, b := newHSM(t, "a"), newHSM(t, "b")
	if r, err := quorum.ParseMemberRecord(a.record(t)); err != nil || r.Member.ID != a.ID {
		t.Fatal(err)
	}
	a.hsk = b.hsk
	if _, err := quorum.ParseMemberRecord(a.record(t)); !errors.Is(err, quorum.ErrSignature) {
		t.Errorf("signed by another: %v", err)
	}
	b.Label = "two\nlines"
	if _, err := quorum.ParseMemberRecord(b.record(t)); !errors.Is(err, quorum.ErrMalformed) {
		t.Errorf("a label of two lines: %v", err)
	}
}

func TestSPKIAgreesWithTheStandardLibrary(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		want, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		got, err := quorum.MarshalSPKI(&key.PublicKey)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v: %x", curve.Params().Name, err, got)
		}
		if back, err := quorum.ParseSPKI(curve, got); err != nil || !back.Equal(&key.PublicKey) {
			t.Errorf("%s: %v", curve.Params().Name, err)
		}
		for n := range len(got) {
			if _, err := quorum.ParseSPKI(curve, got[:n]); err == nil {
				t.Fatalf("%d bytes of it are a key", n)
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quorum.MarshalSPKI(&key.PublicKey); err == nil {
		t.Error("a key on P-521")
	}
}
