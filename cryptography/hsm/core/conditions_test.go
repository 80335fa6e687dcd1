package core_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/isolation/attest"
)

// seal seals conditions into a token.
func (h *hsm) seal(token []byte, c message.Conditions, epoch uint64, command []byte) ([]byte, uint64, uint64) {
	h.t.Helper()
	r, status := h.do(message.OpSealConditions, token, message.Params{Conditions: c.Append(nil), Epoch: epoch, Command: command})
	var f message.Fence
	if status == link.StatusOK && f.Parse(r.Record) != nil {
		h.t.Fatal("the answer is no fence")
	}
	return r.Token, f.Epoch, status
}

func (h *hsm) sealed(name string, c message.Conditions) []byte {
	h.t.Helper()
	token, _, status := h.seal(h.named(name), c, 0, nil)
	if status != link.StatusOK {
		h.t.Fatalf("seal: %d", status)
	}
	return token
}

func measured(register uint64, b byte) message.Measurement {
	return message.Measurement{register: bytes.Repeat([]byte{b}, 48)}
}

func TestARequiredContextIsRequiredOfEveryUse(t *testing.T) {
	h := mustOpen(t, newStore())
	token := h.sealed("a", message.Conditions{Context: map[string]string{"app": "x", "stage": "prod"}})
	good, bad := context("app", "x", "more", "y", "stage", "prod"), context("app", "x", "stage", "test")
	blob := h.must(message.OpEncrypt, token, message.Params{Data: []byte("p"), Context: good}).Blob
	for op, p := range map[uint64]message.Params{
		message.OpEncrypt: {Data: []byte("p")}, message.OpDecrypt: {Blob: blob}, message.OpGenerateDataKey: {Length: 32},
		message.OpReEncrypt: {Blob: blob, ToToken: h.named("other")},
	} {
		for _, c := range [][]byte{bad, nil, context("app", "x"), good[:len(good)-1]} {
			p.Context = c
			if _, status := h.do(op, token, p); status != link.StatusDenied {
				t.Errorf("operation %d with the context %q: %d", op, c, status)
			}
		}
		p.Context = good
		if _, status := h.do(op, token, p); status != link.StatusOK {
			t.Errorf("operation %d with the context that is asked for: %d", op, status)
		}
	}
	// As the destination, what counts is the destination's context.
	other := h.named("other")
	from := h.must(message.OpEncrypt, other, message.Params{Data: []byte("p"), Context: good}).Blob
	for _, c := range []struct {
		to   []byte
		want uint64
	}{{bad, link.StatusDenied}, {good, link.StatusOK}} {
		if _, status := h.do(message.OpReEncrypt, other, message.Params{Blob: from, Context: good, ToToken: token, ToContext: c.to}); status != c.want {
			t.Errorf("into the sealed key with %q: %d, want %d", c.to, status, c.want)
		}
	}
}

func TestOnlyTheSealedOperationsAreDone(t *testing.T) {
	h := mustOpen(t, newStore())
	token := h.sealed("a", message.Conditions{Operations: 1<<message.OpEncrypt | 1<<message.OpReEncrypt})
	blob := h.must(message.OpEncrypt, token, message.Params{Data: []byte("p")}).Blob
	for op, p := range map[uint64]message.Params{message.OpDecrypt: {Blob: blob}, message.OpGenerateDataKey: {Length: 32}} {
		if _, status := h.do(op, token, p); status != link.StatusDenied {
			t.Errorf("operation %d: %d", op, status)
		}
	}
	if _, status := h.do(message.OpReEncrypt, token, message.Params{Blob: blob, ToToken: token}); status != link.StatusOK {
		t.Errorf("ReEncrypt: %d", status)
	}
	if _, status := h.do(message.OpRewrapEKT, token, message.Params{}); status != link.StatusOK {
		t.Errorf("a token is managed whatever the key may be used for: %d", status)
	}
}

func TestPlaintextOfAnAttestedKeyLeavesInNoOtherWay(t *testing.T) {
	h := mustOpen(t, newStore())
	want := message.Conditions{Measurements: []message.Measurement{measured(0, 7)}}
	token := h.sealed("a", want)
	blob := h.must(message.OpEncrypt, token, message.Params{Data: []byte("p")}).Blob
	for what, c := range map[string]struct {
		op     uint64
		p      message.Params
		status uint64
	}{
		"Decrypt":                                  {message.OpDecrypt, message.Params{Blob: blob}, link.StatusDenied},
		"GenerateDataKey":                          {message.OpGenerateDataKey, message.Params{Length: 32}, link.StatusDenied},
		"GenerateDataKey without plaintext":        {message.OpGenerateDataKey, message.Params{Length: 32, Flags: message.FlagNoPlaintext}, link.StatusOK},
		"ReEncrypt to an open key":                 {message.OpReEncrypt, message.Params{Blob: blob, ToToken: h.named("b")}, link.StatusDenied},
		"ReEncrypt to one of another measure":      {message.OpReEncrypt, message.Params{Blob: blob, ToToken: h.sealed("c", message.Conditions{Measurements: []message.Measurement{measured(0, 8)}})}, link.StatusDenied},
		"ReEncrypt to one of any measure":          {message.OpReEncrypt, message.Params{Blob: blob, ToToken: h.sealed("d", message.Conditions{Attested: true})}, link.StatusDenied},
		"ReEncrypt to one of this and another one": {message.OpReEncrypt, message.Params{Blob: blob, ToToken: h.sealed("e", message.Conditions{Measurements: []message.Measurement{measured(0, 7), measured(0, 8)}})}, link.StatusDenied},
		"ReEncrypt to one as strict":               {message.OpReEncrypt, message.Params{Blob: blob, ToToken: h.sealed("f", want)}, link.StatusDenied},
		"ReEncrypt to the same key":                {message.OpReEncrypt, message.Params{Blob: blob, ToToken: token}, link.StatusOK},
		"ReEncrypt to one that others can loosen":  {message.OpReEncrypt, message.Params{Blob: blob, ToToken: h.sealed("g", message.Conditions{Measurements: want.Measurements, Custodians: keepers(t, 1).encoded})}, link.StatusDenied},
	} {
		if _, status := h.do(c.op, token, c.p); status != c.status {
			t.Errorf("%s: %d, want %d", what, status, c.status)
		}
	}
}

func TestRegistersOfZerosMeetNothing(t *testing.T) {
	zeros := make([]byte, 48)
	claims := func(debug bool, pcrs map[int][]byte) *attest.Claims {
		return &attest.Claims{Debug: debug, PCRs: pcrs, Tier: attest.Software}
	}
	seven := bytes.Repeat([]byte{7}, 48)
	sets := message.Conditions{Measurements: []message.Measurement{{0: seven, 8: bytes.Repeat([]byte{9}, 48)}, measured(4, 1)}}
	for what, c := range map[string]struct {
		conditions message.Conditions
		claims     *attest.Claims
		want       bool
	}{
		"nobody attested":             {message.Conditions{Attested: true}, nil, false},
		"anybody attested":            {message.Conditions{Attested: true}, claims(false, map[int][]byte{0: seven}), true},
		"a simulated enclave":         {message.Conditions{Attested: true}, &attest.Claims{PCRs: map[int][]byte{0: seven}}, false},
		"a debug enclave":             {message.Conditions{Attested: true}, claims(true, map[int][]byte{0: zeros}), false},
		"half of the first set":       {sets, claims(false, map[int][]byte{0: seven}), false},
		"half with zeros":             {sets, claims(false, map[int][]byte{0: seven, 8: zeros}), false},
		"all of the second set":       {sets, claims(false, map[int][]byte{4: bytes.Repeat([]byte{1}, 48)}), true},
		"the first, but from a debug": {sets, claims(true, map[int][]byte{0: seven, 8: bytes.Repeat([]byte{9}, 48)}), false},
	} {
		if got := core.Met(&c.conditions, c.claims); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	h := mustOpen(t, newStore())
	for what, bad := range map[string]message.Conditions{
		"a register of zeros":     {Measurements: []message.Measurement{{0: zeros}}},
		"an empty set":            {Measurements: []message.Measurement{{}}},
		"no register":             {Measurements: []message.Measurement{{32: seven}}},
		"a value of 20 bytes":     {Measurements: []message.Measurement{{0: seven[:20]}}},
		"unreadable custodians":   {CallerProof: true, Custodians: []byte{1, 2, 3}},
		"too many pairs":          {Context: map[string]string{"a": "", "b": "", "c": "", "d": "", "e": "", "f": "", "g": "", "h": "", "i": "", "j": "", "k": "", "l": "", "m": "", "n": "", "o": "", "p": "", "q": ""}},
		"more than a token holds": {Context: map[string]string{"a": string(bytes.Repeat([]byte("x"), 3000))}},
	} {
		if _, _, status := h.seal(h.named("a"), bad, 0, nil); status != link.StatusBadRequest {
			t.Errorf("%s: %d", what, status)
		}
	}
}

// A quorum of one key.
type quorumOf struct {
	quorum.Custodians
	encoded []byte
	keys    []ed25519.PrivateKey
}

func keepers(t testing.TB, n int) quorumOf {
	t.Helper()
	var q quorumOf
	for i := range n {
		public, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		q.keys = append(q.keys, key)
		q.Operators = append(q.Operators, quorum.Operator{
			ID: quorum.OperatorID(quorum.Ed25519, public), Type: quorum.Ed25519, Public: public,
			Role: quorum.RoleTenantCustodian, Label: string(rune('a' + i)), Organisation: "clinic",
		})
	}
	q.Rules = []quorum.Rule{{Roles: map[string]uint64{quorum.RoleTenantCustodian: uint64(n/2 + 1)}, Organisations: 1}}
	var err error
	if q.encoded, err = q.Encode(); err != nil {
		t.Fatal(err)
	}
	return q
}

// command is a LoosenConditions with the signatures of the first n.
func (q quorumOf) command(t testing.TB, domain quorum.ID, a quorum.ConditionsArguments, now time.Time, n int) []byte {
	t.Helper()
	c, err := quorum.NewCommand(domain, 1, quorum.LoosenConditions, a, now, time.Hour, "test")
	if err != nil {
		t.Fatal(err)
	}
	var s quorum.SignedCommand
	if s.Command, err = c.Encode(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s.Signatures = append(s.Signatures, quorum.Signature{Operator: q.Operators[i].ID, Sig: ed25519.Sign(q.keys[i], quorum.SigningInput(s.Command))})
	}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (h *hsm) domainID() (id quorum.ID) {
	var s message.Status
	if err := s.Parse(h.must(message.OpStatus, nil, message.Params{}).Status); err != nil {
		h.t.Fatal(err)
	}
	return quorum.ID(s.Domain)
}

func TestTighteningIsFreeAndLooseningTakesTheCustodians(t *testing.T) {
	h := mustOpen(t, newStore())
	q := keepers(t, 3)
	first := message.Conditions{Attested: true, Custodians: q.encoded}
	name := "arn:aws:kms:us-east-1:111122223333:key/a"
	token, epoch, status := h.seal(h.named("a"), first, 0, nil)
	if status != link.StatusOK || epoch != 1 {
		t.Fatalf("seal: %d at %d", status, epoch)
	}
	material := h.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecSymmetric, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", Name: name, Epoch: 1, Conditions: first.Append(nil)})
	if _, status := h.do(message.OpGenerateDataKey, material.Token, message.Params{Length: 32}); status != link.StatusDenied {
		t.Errorf("new material of a sealed key gives plaintext: %d", status)
	}
	tighter := first
	tighter.Measurements = []message.Measurement{measured(0, 7)}
	token, epoch, status = h.seal(token, tighter, 0, nil)
	if status != link.StatusOK || epoch != 2 {
		t.Fatalf("tighten: %d at %d", status, epoch)
	}
	other := keepers(t, 1)
	for what, c := range map[string]message.Conditions{
		"back":                    first,
		"one more measure":        {Attested: true, Custodians: q.encoded, Measurements: append([]message.Measurement{measured(0, 8)}, tighter.Measurements...)},
		"nothing":                 {},
		"other custodians":        {Attested: true, Measurements: tighter.Measurements, Custodians: other.encoded},
		"no custodians any more":  {Attested: true, Measurements: tighter.Measurements},
		"another register":        {Attested: true, Measurements: []message.Measurement{measured(1, 7)}, Custodians: q.encoded},
		"operations, not measure": {Attested: true, Operations: 2, Custodians: q.encoded},
	} {
		if _, _, status := h.seal(token, c, 0, nil); status != link.StatusDenied {
			t.Errorf("%s: %d", what, status)
		}
	}
	next := message.Conditions{CallerProof: true, Custodians: q.encoded}
	attrs := h.materialOf(token)
	args := quorum.ConditionsArguments{Key: name, Material: attrs, Conditions: next.Append(nil), Epoch: 2}
	wrong := func(change func(*quorum.ConditionsArguments)) []byte {
		a := args
		change(&a)
		return q.command(t, h.domainID(), a, h.now, 2)
	}
	for what, command := range map[string][]byte{
		"too few":             q.command(t, h.domainID(), args, h.now, 1),
		"none":                q.command(t, h.domainID(), args, h.now, 0),
		"others":              other.command(t, h.domainID(), args, h.now, 1),
		"another domain":      q.command(t, quorum.ID{1}, args, h.now, 2),
		"another time":        q.command(t, h.domainID(), args, h.now.Add(-2*time.Hour), 2),
		"another key":         wrong(func(a *quorum.ConditionsArguments) { a.Key += "b" }),
		"another material":    wrong(func(a *quorum.ConditionsArguments) { a.Material = material.Material }),
		"an earlier epoch":    wrong(func(a *quorum.ConditionsArguments) { a.Epoch = 1 }),
		"other conditions":    wrong(func(a *quorum.ConditionsArguments) { a.Conditions = first.Append(nil) }),
		"no conditions":       wrong(func(a *quorum.ConditionsArguments) { a.Conditions = nil }),
		"bytes of no meaning": {1, 2, 3},
	} {
		if _, _, status := h.seal(token, next, 0, command); status != link.StatusDenied {
			t.Errorf("%s: %d", what, status)
		}
	}
	command := q.command(t, h.domainID(), args, h.now, 2)
	loose, epoch, status := h.seal(token, next, 0, command)
	if status != link.StatusOK || epoch != 3 {
		t.Fatalf("loosen: %d at %d", status, epoch)
	}
	if _, status := h.do(message.OpEncrypt, token, message.Params{Data: []byte("p")}); status != link.StatusFenced {
		t.Errorf("the token from before: %d", status)
	}
	// The key's other materials follow without the custodians: the conditions of the key are decided.
	if _, epoch, status := h.seal(material.Token, next, 3, nil); status != link.StatusOK || epoch != 3 {
		t.Errorf("another material: %d at %d", status, epoch)
	}
	// Tightened again, the command that loosened is worth nothing, with the newest token or an older one.
	tight, _, status := h.seal(loose, message.Conditions{CallerProof: true, Attested: true, Custodians: q.encoded}, 0, nil)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	for _, tok := range [][]byte{tight, token, loose} {
		if _, _, status := h.seal(tok, next, 0, command); status == link.StatusOK {
			t.Error("a command loosened twice")
		}
	}
}

// materialOf is the material id of a token; a blob of it says it.
func (h *hsm) materialOf(token []byte) []byte {
	h.t.Helper()
	id, err := message.MaterialOf(h.must(message.OpEncrypt, token, message.Params{Data: []byte("x")}).Blob)
	if err != nil {
		h.t.Fatal(err)
	}
	return id[:]
}

// What was looser once must not come back: neither as it is, nor rewrapped, nor
// as the beginning of something else.
func TestATokenFromBeforeTheSealingIsDead(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	loose := h.named("a")
	blob := h.must(message.OpEncrypt, loose, message.Params{Data: []byte("p")}).Blob
	strict := message.Conditions{Attested: true}
	token, epoch, status := h.seal(loose, strict, 0, nil)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	dead := func(what string, status uint64) {
		t.Helper()
		if status != link.StatusFenced {
			t.Errorf("%s: %d", what, status)
		}
	}
	for range 2 {
		_, status = h.do(message.OpDecrypt, loose, message.Params{Blob: blob})
		dead("used", status)
		_, status = h.do(message.OpDecrypt, h.must(message.OpRewrapEKT, loose, message.Params{}).Token, message.Params{Blob: blob})
		dead("rewrapped and used", status)
		_, status = h.current(loose, epoch)
		dead("brought up to date", status)
		_, status = h.raise(loose, 0, false)
		dead("as the token of a raise", status)
		_, _, status = h.seal(loose, message.Conditions{CallerProof: true}, 0, nil)
		dead("sealed otherwise", status)
		_, _, status = h.seal(loose, message.Conditions{}, epoch, nil)
		dead("sealed with nothing", status)
		h = mustOpen(t, s)
	}
	// A host that lost the answer to the sealing asks again and gets the same conditions.
	again, epoch2, status := h.seal(loose, strict, epoch, nil)
	if status != link.StatusOK || epoch2 != epoch {
		t.Fatalf("asked again: %d at %d", status, epoch2)
	}
	for _, tok := range [][]byte{token, again} {
		if _, status := h.do(message.OpDecrypt, tok, message.Params{Blob: blob}); status != link.StatusDenied {
			t.Errorf("plaintext to nobody attested: %d", status)
		}
	}
}

// Conditions survive whatever is done to a token.
func TestConditionsSurviveRotationOfDomainKeysAndFences(t *testing.T) {
	h := mustOpen(t, newStore())
	token := h.sealed("a", message.Conditions{Attested: true})
	h.must(message.OpRotateDomainKeys, nil, message.Params{})
	token = h.must(message.OpRewrapEKT, token, message.Params{}).Token
	f, status := h.raise(token, 0, false)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	if token, status = h.current(token, f.Epoch); status != link.StatusOK {
		t.Fatal(status)
	}
	if _, status := h.do(message.OpGenerateDataKey, token, message.Params{Length: 32}); status != link.StatusDenied {
		t.Errorf("status %d", status)
	}
}

func TestTighteningProperties(t *testing.T) {
	q := keepers(t, 1).encoded
	all := []message.Conditions{
		{}, {Attested: true}, {CallerProof: true}, {Operations: 3}, {Operations: 2}, {Context: map[string]string{"a": "b"}},
		{Context: map[string]string{"a": "b", "c": "d"}}, {Measurements: []message.Measurement{measured(0, 1)}},
		{Measurements: []message.Measurement{measured(0, 1), measured(0, 2)}},
		{Measurements: []message.Measurement{{0: bytes.Repeat([]byte{1}, 48), 1: bytes.Repeat([]byte{1}, 48)}}},
		{Attested: true, CallerProof: true, Custodians: q}, {Attested: true, Custodians: q},
	}
	for i, a := range all {
		var back message.Conditions
		if err := back.Parse(a.Append(nil)); err != nil || !bytes.Equal(back.Append(nil), a.Append(nil)) {
			t.Errorf("%d does not read back: %v", i, err)
		}
		if !a.Tightens(&a) {
			t.Errorf("%d does not tighten itself", i)
		}
		for j, b := range all {
			if i != j && a.Tightens(&b) && b.Tightens(&a) {
				t.Errorf("%d and %d tighten each other", i, j)
			}
			for k, c := range all {
				// Custodians named with the first conditions make an end of the chain.
				if a.Tightens(&b) && b.Tightens(&c) && !a.Tightens(&c) {
					t.Errorf("%d tightens %d, that %d, but %d not %d", i, j, k, i, k)
				}
			}
		}
	}
}

func FuzzConditions(f *testing.F) {
	c := message.Conditions{Attested: true, Measurements: []message.Measurement{measured(0, 1)}, Context: map[string]string{"a": "b"}, CallerProof: true, Operations: 48}
	f.Add(c.Append(nil))
	f.Add([]byte{0x82, 0xa0, 0x40})
	f.Add([]byte{0xa1, 1, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c message.Conditions
		if c.Parse(b) == nil && !bytes.Equal(c.Append(nil), b) {
			t.Errorf("conditions %x are written as %x", b, c.Append(nil))
		}
		var fence message.Fence
		if fence.Parse(b) == nil && !bytes.Equal(fence.Append(nil), b) {
			t.Errorf("a fence %x is written as %x", b, fence.Append(nil))
		}
	})
}
