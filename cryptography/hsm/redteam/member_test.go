package redteam_test

import (
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// second is another HSM of the domain, as the front talks to it.
func (w *world) second() *world {
	w.t.Helper()
	other := *w
	other.front = other.start(&files{all: make(map[string][]byte)})
	add := quorum.AddArguments{Record: other.must(message.OpMember, nil, message.Params{}).Record}
	r, err := quorum.ParseResult(w.must(message.OpCommand, nil, message.Params{Command: w.command(quorum.AddMember, add, w.people[:3]...)}).Record)
	if err != nil {
		w.t.Fatal(err)
	}
	w.install(r.Token)
	other.install(r.Token)
	return &other
}

// install brings the HSM to the state of a domain token.
func (w *world) install(token []byte) {
	w.t.Helper()
	t, err := quorum.ParseToken(token)
	if err != nil {
		w.t.Fatal(err)
	}
	w.must(message.OpCommand, nil, message.Params{Command: w.signed(t.State.ID, t.State.Serial, quorum.InstallDomain,
		quorum.InstallArguments{Token: token}, w.people[0], w.people[2])})
}

// The domain has two HSMs, and the attacker tells one of them nothing. He
// seals a key of his own at the first as strictly as the customer's, moves the
// ciphertext to it there, and reads it with the token of before at the second.
func TestASealingThatAnotherHSMDoesNotHearOf(t *testing.T) {
	first := newWorld(t)
	second := first.second()
	want := message.Conditions{Measurements: []message.Measurement{measured(1)}}
	token := first.newKey("hers")
	blob := first.must(message.OpEncrypt, token, message.Params{Data: []byte(canary)}).Blob
	token = first.seal(token, want)
	// The front of that time was honest: both HSMs know of it.
	second.must(message.OpRaiseFence, token, message.Params{Flags: message.FlagCurrent})

	before := first.newKey("mine")
	after := first.seal(before, want)
	own := second.must(message.OpEncrypt, before, message.Params{Data: []byte(canary)}).Blob
	if got := second.must(message.OpDecrypt, before, message.Params{Blob: own}).Data; string(got) != canary {
		t.Fatalf("the second HSM has heard of it: %q", got)
	}
	first.fails("moves it to the key that he sealed", message.OpReEncrypt, token, message.Params{Blob: blob, ToToken: after})
	second.fails("moves it to the key as it was", message.OpReEncrypt, token, message.Params{Blob: blob, ToToken: before})
	for what, w := range map[string]*world{"first": first, "second": second} {
		w.fails("decrypts at the "+what, message.OpDecrypt, token, message.Params{Blob: blob})
		if got := w.opened(w.must(message.OpDecrypt, token, message.Params{Blob: blob, Recipient: w.document()})); got != canary {
			t.Errorf("the enclave reads %q at the %s", got, what)
		}
	}
	// Old pages of fences take nothing back.
	w := second
	for shard := uint64(1); shard <= 64; shard++ {
		page := first.must(message.OpFences, nil, message.Params{Length: shard}).Record
		w.must(message.OpFences, nil, message.Params{Length: shard, Blob: page})
	}
	second.fails("uses the token of before once the second HSM knows", message.OpDecrypt, before, message.Params{Blob: own})
}

// A session token of one HSM opens at another of the domain, by design; what is
// shown of another domain, or made up, opens nowhere and stops nothing.
func TestWhatAnotherDomainSaysOfItsSerialStopsNobody(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	token := w.newKey("k")
	blob := w.must(message.OpEncrypt, token, message.Params{Data: []byte(canary)}).Blob
	foreign.must(message.OpCommand, nil, message.Params{Command: foreign.command(quorum.SetRoots, quorum.RootsArguments{Roots: [][]byte{foreign.pki.Root().DER}}, foreign.people[:3]...)})
	theirs := foreign.must(message.OpDomainState, nil, message.Params{}).Token
	for _, said := range [][]byte{theirs, make([]byte, len(theirs)), theirs[:20]} {
		w.do(message.OpStatus, said, message.Params{})
	}
	if got := w.must(message.OpDecrypt, token, message.Params{Blob: blob}).Data; string(got) != canary {
		t.Errorf("%q", got)
	}
	second := w.second()
	r, err := quorum.ParseResult(w.must(message.OpCommand, nil, message.Params{Command: w.command(quorum.SetRoots, quorum.RootsArguments{Roots: [][]byte{w.pki.Root().DER}}, w.people[:3]...)}).Record)
	if err != nil {
		t.Fatal(err)
	}
	w.install(r.Token)
	if got := second.must(message.OpDecrypt, token, message.Params{Blob: blob}).Data; string(got) != canary {
		t.Errorf("before it hears of the newer state: %q", got)
	}
	said := w.must(message.OpDomainState, nil, message.Params{}).Token
	second.do(message.OpStatus, said, message.Params{})
	second.fails("works with the domain of before", message.OpDecrypt, token, message.Params{Blob: blob})
}
