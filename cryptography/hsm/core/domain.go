package core

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// dkID names a domain key.
type dkID [8]byte

// domain is a domain state with the secrets that belong to it, as one member
// holds it. It is not changed after it was made: a change makes the next one.
type domain struct {
	*identity // of this member
	state     quorum.DomainState
	encoded   []byte // state
	active    dkID
	keys      map[dkID]*secret.Bytes
}

const (
	dkLen = 32

	defaultRetention = 30
	defaultLabel     = "software"
)

// newDomain makes a domain of this HSM alone. The quorum's operators and rules
// are empty, and an empty list of rules allows no command; CreateDomain can
// still give it operators.
func newDomain(memory *secret.Arena, own quorum.Member, me *identity, now time.Time) (*domain, error) {
	var id quorum.ID
	rand.Read(id[:])
	state := quorum.DomainState{
		Version: 1, ID: id, Name: "leadglass", Previous: make([]byte, sha512.Size384),
		Members: []quorum.Member{own}, Retention: defaultRetention,
	}
	return (&domain{identity: me}).withKey(state, memory, now)
}

// with is the domain in another state, with the same keys.
func (d *domain) with(state quorum.DomainState) (*domain, error) {
	encoded, err := state.Encode()
	if err != nil {
		return nil, fmt.Errorf("core: state: %w", err)
	}
	next := *d
	next.state, next.encoded = state, encoded
	return &next, nil
}

// withKey is the domain in another state and with a new active key; the one
// before only decrypts from then on. Of the older ones it has those that the
// state names.
func (d *domain) withKey(state quorum.DomainState, memory *secret.Arena, now time.Time) (*domain, error) {
	key, err := randomSecret(memory, dkLen)
	if err != nil {
		return nil, err
	}
	next := *d
	rand.Read(next.active[:])
	state.Keys = slices.Clone(state.Keys)
	for i := range state.Keys {
		state.Keys[i].State = quorum.KeyDecryptOnly
	}
	state.Keys = append(state.Keys, quorum.DomainKey{ID: next.active, Created: uint64(now.UnixMilli()), State: quorum.KeyActive})
	next.keys = make(map[dkID]*secret.Bytes, len(state.Keys))
	for _, k := range state.Keys {
		next.keys[k.ID] = d.keys[k.ID]
	}
	next.keys[next.active] = key
	return next.with(state)
}

// following is the state that comes after the present one, before anything in
// it is changed. Nothing that it shares with the present one may be written
// to.
func (d *domain) following() quorum.DomainState {
	state := d.state
	state.Serial++
	state.Previous = quorum.HashState(d.encoded)
	return state
}

// created is when the active key was made.
func (d *domain) created() uint64 { return activeKey(d.state.Keys).Created }

func activeKey(keys []quorum.DomainKey) quorum.DomainKey {
	for _, k := range keys {
		if k.State == quorum.KeyActive {
			return k
		}
	}
	return quorum.DomainKey{}
}

// alone says that no other HSM is a member, in use or in a safe. The recovery
// key does not count: it installs nothing.
func (d *domain) alone() bool {
	return !slices.ContainsFunc(d.state.Members, func(m quorum.Member) bool {
		return m.ID != d.public.ID && m.Flags&quorum.MemberRecovery == 0
	})
}

var errKeys = errors.New("core: the domain's keys are not those of its state")

// domainOf puts a state and its secret keys together; keys are wiped. It
// refuses what does not fit: each key once, one of them active, and this
// member as the state has it.
func domainOf(me *identity, encoded []byte, keys [][]byte, memory *secret.Arena) (*domain, error) {
	defer func() {
		for _, k := range keys {
			secret.Wipe(k)
		}
	}()
	state, err := quorum.DecodeState(encoded)
	if err != nil {
		return nil, fmt.Errorf("core: state: %w", err)
	}
	own, member := state.Member(me.public.ID)
	if !member || !slices.Equal(own.HSK, me.public.HSK) || !slices.Equal(own.HAK, me.public.HAK) || !slices.Equal(own.KEM, me.public.KEM) {
		return nil, errors.New("core: the domain does not have this HSM's identity")
	}
	d := &domain{identity: me, state: state, encoded: slices.Clone(encoded), keys: make(map[dkID]*secret.Bytes)}
	if len(keys) != len(state.Keys) {
		return nil, errKeys
	}
	actives := 0
	for i, k := range state.Keys {
		if len(keys[i]) != dkLen || d.keys[k.ID] != nil {
			return nil, errKeys
		}
		if d.keys[k.ID], err = memory.From(keys[i]); err != nil {
			return nil, fmt.Errorf("core: %w", err)
		}
		if k.State == quorum.KeyActive {
			d.active = k.ID
			actives++
		}
	}
	if actives != 1 {
		return nil, errKeys
	}
	return d, nil
}

// shares says whether the keys that both domains name are the same, in
// constant time for each.
func (d *domain) shares(other *domain) bool {
	same := 1
	for id, key := range d.keys {
		if theirs := other.keys[id]; theirs != nil {
			_ = key.Use(func(a []byte) error {
				return theirs.Use(func(b []byte) error { same &= subtle.ConstantTimeCompare(a, b); return nil })
			})
		}
	}
	return same == 1
}

// destroy wipes the domain's keys at once, also from under calls under way,
// which fail.
func (d *domain) destroy() {
	for _, key := range d.keys {
		key.Destroy()
	}
}

// secrets writes the secret part of the domain: {1: [domain keys in the order
// of the state], 2: [from, to, interval] of the standing rotation}, the second
// only if there is one. The caller wipes it.
func (d *domain) secrets(s standing) ([]byte, error) {
	// Large enough from the start: growing would leave keys behind.
	b := make([]byte, 0, len(d.keys)*(dkLen+2)+64)
	pairs := 1
	if s.exists() {
		pairs++
	}
	b = link.AppendArray(link.AppendUint(link.AppendMap(b, pairs), 1), len(d.state.Keys))
	for _, k := range d.state.Keys {
		if err := d.keys[k.ID].Use(func(v []byte) error { b = link.AppendBytes(b, v); return nil }); err != nil {
			secret.Wipe(b)
			return nil, err
		}
	}
	if s.exists() {
		b = s.append(link.AppendUint(b, 2))
	}
	return b, nil
}

// parseSecrets reads what secrets wrote; the keys point into b.
func parseSecrets(b []byte) (keys [][]byte, s standing, err error) {
	r := link.NewReader(b)
	pairs := r.Map()
	r.Key(0)
	for n := r.Array(); n > 0 && !r.Failed(); n-- {
		keys = append(keys, r.Bytes())
	}
	if pairs == 2 {
		r.Key(1)
		s.parse(r)
	} else if pairs != 1 {
		r.Fail()
	}
	return keys, s, r.Done()
}

// export makes the domain's token, with an envelope for each of its members,
// signed by this one.
func (d *domain) export(s standing) ([]byte, error) {
	plain, err := d.secrets(s)
	if err != nil {
		return nil, err
	}
	defer func() { secret.Wipe(plain[:cap(plain)]) }()
	envelopes := make([]quorum.Envelope, 0, len(d.state.Members))
	secret.Do(func() {
		for _, m := range d.state.Members {
			var e quorum.Envelope
			if e, err = quorum.SealEnvelope(m, d.state.ID[:], quorum.KEKInfo(m.ID, d.encoded), plain); err != nil {
				return
			}
			envelopes = append(envelopes, e)
		}
	})
	if err != nil {
		return nil, err
	}
	payload, err := quorum.TokenPayload(d.encoded, envelopes)
	if err != nil {
		return nil, err
	}
	input, err := quorum.TokenSigningInput(payload, d.public.ID)
	if err != nil {
		return nil, err
	}
	sig, err := d.sign(input)
	if err != nil {
		return nil, err
	}
	return quorum.AssembleToken(payload, []quorum.TokenSignature{{Member: d.public.ID, Sig: sig}})
}

// openToken opens the envelope that a token has for the holder of an agreement
// key. The caller wipes what it returns.
func openToken(t *quorum.Token, holder quorum.ID, a agreement) ([]byte, error) {
	e, found := t.Envelope(holder)
	if !found {
		return nil, errors.New("core: the token has no envelope for this HSM")
	}
	return a.open(e, t.State.ID[:], quorum.KEKInfo(holder, t.StateBytes))
}

// envelopeKey is the key of an envelope: HKDF-SHA-384(ECDH ‖ ML-KEM secret,
// salt, info) (hsm-domain section 3). It encrypts once.
func envelopeKey(dh, shared, salt, info []byte) ([]byte, error) {
	ikm := make([]byte, 0, len(dh)+len(shared))
	ikm = append(append(ikm, dh...), shared...)
	defer secret.Wipe(ikm)
	return hkdf.Key(sha512.New384, ikm, salt, string(info), 32)
}

// digest writes SHA-256(label ‖ text) to dst. Not with a hash.Hash, whose state
// would keep the end of the text.
func digest(dst []byte, label string, text []byte) {
	b := make([]byte, 0, len(label)+len(text))
	b = append(append(b, label...), text...)
	sum := sha256.Sum256(b)
	secret.Wipe(b)
	copy(dst, sum[:])
}
