package organization

import (
	"context"
	"slices"
	"strings"
	"time"
)

// How long an invitation can be accepted, and how long it is shown after that.
const (
	InvitationLife  = 15 * 24 * time.Hour
	invitationShown = 30 * 24 * time.Hour
)

// States of a handshake.
const (
	HandshakeOpen     = "OPEN"
	HandshakeAccepted = "ACCEPTED"
	HandshakeDeclined = "DECLINED"
	HandshakeCanceled = "CANCELED"
	HandshakeExpired  = "EXPIRED"
)

// A Handshake is an invitation of an account into an organization.
type Handshake struct {
	ID, ARN            string
	Organization       Organization
	Account            string // invited
	State              string
	Requested, Expires time.Time
	Notes              string
}

// handshake is the exported form. Caller holds mu or write.
func (o *Organizations) handshake(org, id string) Handshake {
	rec := o.st.handshakes[org][id].rec
	h := Handshake{
		ID: id, Organization: o.organization(org, o.st.orgs[org].rec), Account: rec.Account, State: o.handshakeState(rec),
		Requested: instant(rec.Requested), Expires: instant(rec.Expires), Notes: rec.Notes,
	}
	h.ARN = arnOf(h.Organization.Management, "handshake", org, "invite/"+id)
	return h
}

// handshakeState is the state as of now: an invitation expires without anybody's doing.
func (o *Organizations) handshakeState(rec *handshakeRecord) string {
	if rec.State == HandshakeOpen && !o.clock.Now().Before(instant(rec.Expires)) {
		return HandshakeExpired
	}
	return rec.State
}

// Invite invites an account. Whether there is such an account, and whether it
// is in another organization, is not told (I-7): an invitation that nobody can
// accept expires.
func (o *Organizations) Invite(ctx context.Context, org, account, notes string, tags []Tag) (Handshake, error) {
	if err := checkTags(tags); err != nil {
		return Handshake{}, err
	}
	id := "h-" + random(10)
	var out Handshake
	err := o.change(ctx, func(t *tx) error {
		h, ok := o.st.orgs[org]
		if !ok {
			return errNotInUse
		}
		if m, ok := o.st.members[account]; ok && m.rec.Org == org {
			return handshakeViolates("ALREADY_IN_AN_ORGANIZATION", "The account is already a member of this organization.")
		}
		open, old := 0, []string(nil)
		for other, s := range o.st.handshakes[org] {
			switch o.handshakeState(s.rec) {
			case HandshakeOpen:
				open++
				if s.rec.Account == account {
					return refuse(DuplicateHandshake, "A handshake with the same action and target already exists.")
				}
			default:
				if o.clock.Now().After(instant(s.rec.Expires).Add(invitationShown)) {
					old = append(old, other)
				}
			}
		}
		if open >= o.quotas.Invitations {
			return handshakeViolates("HANDSHAKE_RATE_LIMIT_EXCEEDED", "You have exceeded the number of invitations that can be open at a time.")
		}
		slices.Sort(old)
		for _, o2 := range old[:min(len(old), 20)] {
			t.delete(keyIn(sectionHandshake, org, o2), o.st.handshakes[org][o2].mod)
		}
		now := o.clock.Now()
		t.org(org, h, nil)
		t.put(keyIn(sectionHandshake, org, id), &handshakeRecord{
			Account: account, State: HandshakeOpen, Requested: now.UnixMilli(), Expires: now.Add(InvitationLife).UnixMilli(), Notes: notes, Tags: tagRecords(tags),
		}, 0)
		return nil
	})
	if err == nil {
		out, err = o.Handshake(org, id)
	}
	return out, err
}

var errHandshake = &Error{Code: HandshakeNotFound, Message: "You specified a handshake that doesn't exist."}

// Handshake finds a handshake of an organization.
func (o *Organizations) Handshake(org, id string) (Handshake, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if _, ok := o.st.handshakes[org][id]; !ok {
		return Handshake{}, errHandshake
	}
	return o.handshake(org, id), nil
}

// Invitation finds a handshake by the account that is invited.
func (o *Organizations) Invitation(account, id string) (Handshake, error) {
	for _, h := range o.Invitations(account) {
		if h.ID == id {
			return h, nil
		}
	}
	return Handshake{}, errHandshake
}

// Handshakes are an organization's invitations, the newest first.
func (o *Organizations) Handshakes(org string) []Handshake {
	return o.handshakes(func(in string, _ *handshakeRecord) bool { return in == org })
}

// Invitations are the invitations of an account, the newest first.
func (o *Organizations) Invitations(account string) []Handshake {
	return o.handshakes(func(_ string, rec *handshakeRecord) bool { return rec.Account == account })
}

func (o *Organizations) handshakes(want func(org string, rec *handshakeRecord) bool) []Handshake {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var all []Handshake
	for org, of := range o.st.handshakes {
		for id, h := range of {
			if want(org, h.rec) && !o.clock.Now().After(instant(h.rec.Expires).Add(invitationShown)) {
				all = append(all, o.handshake(org, id))
			}
		}
	}
	slices.SortFunc(all, func(a, b Handshake) int {
		if c := b.Requested.Compare(a.Requested); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// AcceptHandshake makes the invited account, which calls, a member.
func (o *Organizations) AcceptHandshake(ctx context.Context, account, id string) (Handshake, error) {
	a, ok := o.directory.Account(account)
	if !ok || a.Operator {
		return Handshake{}, refuse(AccessDenied, "The operator's account takes no part in organizations.")
	}
	return o.answer(ctx, id, HandshakeAccepted, func(t *tx, org string, rec *handshakeRecord) error {
		if rec.Account != account {
			return errHandshake
		}
		if _, ok := o.st.members[account]; ok {
			return handshakeViolates("ALREADY_IN_AN_ORGANIZATION", "The handshake request is invalid because the invited account is already a member of an organization.")
		}
		if _, closed := o.st.closed[account]; closed {
			return errHandshake
		}
		members := 0
		for _, m := range o.st.members {
			if m.rec.Org == org {
				members++
			}
		}
		if members >= o.quotas.Accounts {
			return handshakeViolates("ACCOUNT_NUMBER_LIMIT_EXCEEDED", "You have exceeded the allowed number of AWS accounts in your organization.")
		}
		t.put(key(sectionMember, account), &memberRecord{
			Org: org, Parent: o.st.orgs[org].rec.Root, Joined: o.clock.Now().UnixMilli(), Tags: rec.Tags,
		}, 0)
		return nil
	})
}

// DeclineHandshake is the invited account's no.
func (o *Organizations) DeclineHandshake(ctx context.Context, account, id string) (Handshake, error) {
	return o.answer(ctx, id, HandshakeDeclined, func(_ *tx, _ string, rec *handshakeRecord) error {
		if rec.Account != account {
			return errHandshake
		}
		return nil
	})
}

// CancelHandshake takes an organization's invitation back.
func (o *Organizations) CancelHandshake(ctx context.Context, org, id string) (Handshake, error) {
	return o.answer(ctx, id, HandshakeCanceled, func(_ *tx, of string, _ *handshakeRecord) error {
		if of != org {
			return errHandshake
		}
		return nil
	})
}

// answer ends a handshake. may says whether the caller is a party, and adds
// what comes with the answer.
func (o *Organizations) answer(ctx context.Context, id, state string, may func(t *tx, org string, rec *handshakeRecord) error) (Handshake, error) {
	org := ""
	err := o.change(ctx, func(t *tx) error {
		org = ""
		for of, all := range o.st.handshakes {
			if _, ok := all[id]; ok {
				org = of
			}
		}
		if org == "" {
			return errHandshake
		}
		h := o.st.handshakes[org][id]
		if err := may(t, org, h.rec); err != nil {
			return err
		}
		switch now := o.handshakeState(h.rec); {
		case now == state:
			return refuse(HandshakeAlreadyInState, "The specified handshake is already in the requested state.")
		case now != HandshakeOpen:
			return refuse(InvalidHandshakeChange, "You can't perform the operation on the handshake in its current state.")
		}
		rec := clone(h)
		rec.State = state
		t.org(org, o.st.orgs[org], nil)
		t.put(keyIn(sectionHandshake, org, id), rec, h.mod)
		return nil
	})
	if err != nil {
		return Handshake{}, err
	}
	return o.Handshake(org, id)
}
