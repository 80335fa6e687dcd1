package core

import (
	"slices"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// Rotation of domain keys (hsm-domain sections 4 and 8). A domain without
// operators rotates when its supervisor says so. One with operators rotates by
// a command of theirs each time, or within a standing command, which every
// member has. Then, too, there are two steps if there are several members: one
// makes the next key and the token of the state that has it, and all of them,
// this one included, take it over from the token. They need no signatures for
// that, because they see that it changes nothing but what the standing command
// allows.

// standing is a standing order to rotate; the zero value is none.
type standing struct {
	from, to, interval uint64 // ms since 1970, ms
}

func (s standing) exists() bool { return s != standing{} }

func (s standing) append(b []byte) []byte {
	b = link.AppendArray(b, 3)
	return link.AppendUint(link.AppendUint(link.AppendUint(b, s.from), s.to), s.interval)
}

func (s *standing) parse(r *link.Reader) {
	if r.Array() != 3 {
		r.Fail()
	}
	s.from, s.to, s.interval = r.Uint(), r.Uint(), r.Uint()
	if s.interval == 0 {
		r.Fail()
	}
}

// allows says whether a key may be made at a time when the one before was made
// at another.
func (s standing) allows(at, before uint64) bool {
	return s.exists() && at >= s.from && at <= s.to && at >= before && at-before >= s.interval
}

// clockSkew is how far the clocks of two members may be apart.
const clockSkew = uint64(5 * time.Minute / time.Millisecond)

func (c *call) rotate() uint64 {
	h := c.h
	h.changing.Lock() // before the domain is read, so that no rotation is lost
	defer h.changing.Unlock()
	held := h.custody()
	if held.d == nil {
		return link.StatusStale
	}
	now := h.cfg.Now()
	next := *held
	switch ruled := len(held.d.state.Operators) > 0; {
	case len(c.params.Command) > 0:
		var status uint64
		if next.d, status = h.follow(held, c.params.Command, uint64(now.UnixMilli())); status != link.StatusOK {
			return status
		}
	case ruled && !held.standing.allows(uint64(now.UnixMilli()), held.d.created()):
		return link.StatusDenied
	default:
		var err error
		state := held.d.following()
		state.Keys = h.kept(state, now)
		if next.d, err = held.d.withKey(state, h.cfg.Memory, now); err != nil {
			return link.StatusInternal
		}
		if c.result.Record, err = next.d.export(held.standing); err != nil {
			return link.StatusInternal
		}
		if !held.d.alone() {
			return link.StatusOK // with nothing changed: the token is to be taken over
		}
	}
	entry := message.LogEntry{Kind: message.LogRotation, Serial: next.d.state.Serial, State: quorum.HashState(next.d.encoded)}
	if err := h.log.add(entry); err != nil {
		return link.StatusInternal
	}
	// Durable first: a token under a key that a crash forgets is lost.
	if err := h.enact(&next); err != nil {
		return link.StatusInternal
	}
	held.d.release(next.d)
	return link.StatusOK
}

// follow takes over rotations that another member made within the standing
// order, from its token. Nothing else in the state may differ: what a token
// changes beyond that needs InstallDomain.
func (h *HSM) follow(held *custody, token []byte, now uint64) (*domain, uint64) {
	t, err := quorum.ParseToken(token)
	if err != nil {
		return nil, link.StatusBadRequest
	}
	own := held.d.state
	if _, err := t.SignedBy(own.Members); err != nil || t.State.Serial <= own.Serial {
		return nil, link.StatusWrongToken
	}
	if !held.standing.exists() || !held.standing.leadsTo(own, held.d.following().Previous, t.State, now) {
		return nil, link.StatusDenied
	}
	next, _, err := h.openDomain(t)
	if err != nil || !held.d.shares(next) {
		return nil, link.StatusWrongToken
	}
	next.adopt(held.d)
	return next, link.StatusOK
}

// leadsTo says whether a state is that of own after rotations that the
// standing order allows, one for each serial between them, and with no key gone that
// this member would not have let go.
func (s standing) leadsTo(own quorum.DomainState, previous []byte, next quorum.DomainState, now uint64) bool {
	fresh := next.Keys // those that are left when the ones that we have are taken away
	made := next.Serial - own.Serial
	if made < 1 || made > uint64(len(fresh)) || made == 1 && !slices.Equal(next.Previous, previous) {
		return false
	}
	for i, k := range own.Keys {
		newer := len(own.Keys) - 1 - i + int(made)
		k.State = quorum.KeyDecryptOnly
		switch {
		case len(fresh) > 0 && fresh[0] == k:
			fresh = fresh[1:]
		case !spent(k, newer, own.Retention, activeKey(next.Keys).Created):
			return false // let go before its time
		}
	}
	if uint64(len(fresh)) != made {
		return false
	}
	before := activeKey(own.Keys).Created
	for i, k := range fresh {
		if active := i == len(fresh)-1; !s.allows(k.Created, before) || k.Created > now+clockSkew || active != (k.State == quorum.KeyActive) {
			return false
		}
		before = k.Created
	}
	// With keys, serial and previous put back, nothing may differ.
	next.Keys, next.Serial, next.Previous = own.Keys, own.Serial, own.Previous
	a, err := next.Encode()
	if err != nil {
		return false
	}
	b, err := own.Encode()
	return err == nil && slices.Equal(a, b)
}

// openDomain opens a token's envelope for this HSM.
func (h *HSM) openDomain(t *quorum.Token) (*domain, standing, error) {
	me := h.custody().me
	plain, err := openToken(t, me.public.ID, me.agreement)
	if err != nil {
		return nil, standing{}, err
	}
	return h.domainFrom(t, plain, me)
}
