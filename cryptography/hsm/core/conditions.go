package core

import (
	"bytes"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/isolation/attest"
)

// used is a key that a call works with, and the epoch of its token.
type used struct {
	id    fenceID
	epoch uint64
}

// use decides whether this call may use a key whose token was opened: it is
// the one place where fences and sealed conditions are enforced, whatever the
// host says (hsm-domain sections 6 and 9). context is the encryption context
// that goes with this key.
func (c *call) use(a *attributes, context []byte) uint64 {
	if status := a.admits(c.host, c.h.cfg.Now()); status != link.StatusOK {
		return status
	}
	id := fenceOf(a.name)
	if c.h.fences.get(id).refuses(a) {
		return link.StatusFenced
	}
	c.used = append(c.used, used{id, a.epoch})
	if a.sealed.Empty() {
		return link.StatusOK
	}
	return c.enforce(a, context)
}

// stillOpen looks at the fences again before an answer leaves: a use that was
// under way when its key was closed fails, even if it was allowed when it
// began.
func (c *call) stillOpen() uint64 {
	for _, u := range c.used {
		if c.h.fences.get(u.id).refuses(&attributes{epoch: u.epoch}) {
			return link.StatusFenced
		}
	}
	return link.StatusOK
}

// enforce checks the sealed conditions, all of them.
func (c *call) enforce(a *attributes, context []byte) uint64 {
	s := &a.sealed
	switch {
	case !s.Allows(c.op):
		return link.StatusDenied
	case s.Attests() && c.outputsPlaintext() && !met(s, c.claims):
		return link.StatusDenied
	case len(s.Context) > 0 && !holds(context, s.Context):
		return link.StatusDenied
	case s.CallerProof:
		return c.provesCall(a)
	}
	return link.StatusOK
}

// outputsPlaintext says whether the operation gives something in the clear
// that only the key could open or that the key protects. ReEncrypt does not,
// but see openTo: where it leads to must be as closed.
func (c *call) outputsPlaintext() bool {
	switch c.op {
	case message.OpDecrypt, message.OpDeriveSharedSecret:
		return true
	case message.OpGenerateDataKey, message.OpGenerateDataKeyPair:
		return c.params.Flags&message.FlagNoPlaintext == 0
	}
	return false
}

// leads says whether plaintext may move from one key to another inside the
// HSM, as far as the first key's conditions go.
//
// A caller's request names the key to which it goes, and it goes to no other.
// What only an attested recipient may see goes to no material that somebody
// else may know: imported material is known to whoever imported it, and a host
// imports what it likes. Nor does it go to another key at a host's word: what
// is sealed into that one now, another member of the domain may not have heard
// of, and opens it by a token from before.
func (c *call) leads(from, to *attributes) bool {
	s := &from.sealed
	if s.CallerProof && !c.proof.body.member("DestinationKeyId").means(to) {
		return false
	}
	if !s.Attests() || from.material == to.material {
		return s.Releases(&to.sealed)
	}
	return s.Releases(&to.sealed) && to.origin == originHere && (s.CallerProof || from.name == to.name)
}

// originHere is the origin of material that the HSM made and nobody knows.
const originHere = "AWS_KMS"

// met says whether the recipient was attested and measured as one of the sets
// asks. Registers of zeros measure nothing (kms-recipient-attestation section
// 3, step 7), and neither a debug enclave nor a simulated one, of which nobody
// claims anything, is ever a recipient of a sealed key.
func met(s *message.Conditions, claims *attest.Claims) bool {
	if claims == nil || claims.Debug || claims.Tier == attest.Simulated {
		return false
	}
	for _, m := range s.Measurements {
		all := len(m) > 0
		for register, value := range m {
			all = all && claims.Measures(int(register), value)
		}
		if all {
			return true
		}
	}
	return len(s.Measurements) == 0
}

// holds says whether a serialised encryption context has all pairs.
func holds(context []byte, pairs map[string]string) bool {
	if message.CheckContext(context) != nil {
		return false
	}
	for name, want := range pairs {
		if value, ok := message.ContextValue(context, name); !ok || string(value) != want {
			return false
		}
	}
	return true
}

// sealConditions gives a token other sealed conditions. To tighten is free for
// whoever the front lets; to loosen takes a command signed by the custodians
// whom the token itself names, for this key, material and epoch (hsm-domain
// section 6).
//
// The fence moves on with it, so that every older token, with its looser
// conditions, is dead; it also keeps the digest of the new conditions, which
// is how the key's other materials get the same (their tokens are brought one
// by one, with the epoch that the first was given) and how a host that lost
// the answer asks again.
func (c *call) sealConditions() uint64 {
	p := &c.params
	material, status := c.d.unseal(c.token, &c.attrs, c.material[:])
	if status == link.StatusOK {
		status = c.attrs.admits(c.host, c.h.cfg.Now())
	}
	if status != link.StatusOK {
		return status
	}
	if !c.attrs.ofCustomer() {
		return link.StatusWrongToken
	}
	old, next := c.attrs, c.attrs
	if err := next.sealed.Parse(p.Conditions); err != nil {
		return link.StatusBadRequest
	}
	if status := next.sealable(); status != link.StatusOK {
		return status
	}
	now, status := c.h.fences.raise(fenceOf(old.name), func(at fence) (fence, uint64) {
		switch {
		case at.Epoch == message.FenceForever:
			return at, link.StatusFenced
		case at.Epoch > 0 && next.digest() == at.sealed && (p.Epoch == at.Epoch || p.Epoch == 0):
			return at, link.StatusOK // another material of the key, or asked again
		case at.Epoch > 0 && (old.digest() != at.sealed || old.epoch < at.Epoch && !at.Closed):
			return at, link.StatusFenced
		case !next.sealed.Tightens(&old.sealed) && !c.loosens(&old, at.Epoch):
			return at, link.StatusDenied
		}
		return fence{Fence: message.Fence{Epoch: at.Epoch + 1, Closed: at.Closed}, sealed: next.digest()}, link.StatusOK
	})
	if status != link.StatusOK {
		return status
	}
	next.epoch = now.Epoch
	token, err := c.d.wrap(&next, material)
	if err != nil {
		return link.StatusInternal
	}
	c.result.Token, c.result.Record = token, now.Append(nil)
	return link.StatusOK
}

// sealable refuses conditions that this key could never meet, or that only
// later turn out to be unreadable.
func (a *attributes) sealable() uint64 {
	if len(a.sealed.Context) > 0 && !a.isSymmetric() {
		return link.StatusBadRequest // only these have an encryption context
	}
	if len(a.sealed.Custodians) > 0 {
		if _, err := quorum.ParseCustodians(a.sealed.Custodians); err != nil {
			return link.StatusBadRequest
		}
	}
	return link.StatusOK
}

// loosens says whether the custodians of the old conditions allow exactly what
// is asked. Whom nobody named, nobody can be.
func (c *call) loosens(old *attributes, epoch uint64) bool {
	if len(old.sealed.Custodians) == 0 || len(c.params.Command) == 0 {
		return false
	}
	custodians, err := quorum.ParseCustodians(old.sealed.Custodians)
	if err != nil {
		return false
	}
	a, _, err := custodians.Authorize(c.d.state.ID, c.params.Command, c.h.cfg.Now())
	return err == nil && a.Key == old.name && bytes.Equal(a.Material, old.material[:]) && a.Epoch == epoch &&
		bytes.Equal(a.Conditions, c.params.Conditions)
}
