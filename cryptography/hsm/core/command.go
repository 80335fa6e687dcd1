package core

import (
	"crypto/sha512"
	"errors"
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// Signed commands of the domain's operators (hsm-domain section 4). Which host
// brings a command does not matter: quorum.Authorize decides, with the
// operators and rules of the state that this HSM has.
//
// A change is made in two steps. The command for it yields a token of the next
// state; nothing changes before InstallDomain puts that token into effect, at
// every member, this one included. Only a member that serves alone installs
// its own change at once, because nobody is there to disagree with it.

// maxNonces bounds what is remembered; each is of a command that a quorum
// signed.
const maxNonces = 4096

// change is what a command does to the custody, and what it answers.
type change struct {
	next   *custody
	result quorum.CommandResult
	before func() uint64 // what has to be durable before next is
	then   func()        // once next counts
}

func (c *call) command() uint64 {
	h := c.h
	h.changing.Lock()
	defer h.changing.Unlock()
	signed := c.params.Command
	held := h.custody()
	now := h.cfg.Now()
	subject := sha512.Sum384(signed)
	entry := message.LogEntry{Kind: message.LogCommand, Subject: subject[:]}

	state, status := h.judges(held, signed)
	var ch change
	if status == link.StatusOK {
		command, signers, err := quorum.Authorize(state, signed, now, func(nonce quorum.ID) bool {
			_, used := held.nonces[nonce]
			return used || len(held.nonces) >= maxNonces && !expired(held.nonces, uint64(now.UnixMilli()))
		})
		entry.Name = command.Name
		for _, s := range signers {
			entry.Signers = append(entry.Signers, s.ID)
		}
		if status = statusOf(err); err == nil {
			used := held.after(command.Nonce, command.NotAfter, uint64(now.UnixMilli()))
			ch, status = h.obey(used, command)
		}
	}
	if status != link.StatusOK {
		entry.Status = status
		if h.log.add(entry) != nil {
			return link.StatusInternal
		}
		return status
	}
	if d := ch.next.d; d != nil {
		entry.Serial, entry.State = d.state.Serial, quorum.HashState(d.encoded)
		ch.result.Serial, ch.result.Hash = entry.Serial, entry.State
	}
	record, err := ch.result.Encode()
	if err != nil || len(record) > link.MaxResult-64 {
		return link.StatusInternal
	}
	// The log first: what is done and not told is worse than what is told and
	// was not done, and a second entry says so if it comes to that.
	if h.log.add(entry) != nil {
		return link.StatusInternal
	}
	if ch.before != nil {
		status = ch.before()
	}
	if status == link.StatusOK && h.enact(ch.next) != nil {
		status = link.StatusInternal
	}
	if status != link.StatusOK {
		entry.Status = status
		_ = h.log.add(entry)
		return status
	}
	if ch.then != nil {
		ch.then()
	}
	c.result.Record = record
	return link.StatusOK
}

func expired(nonces map[quorum.ID]uint64, now uint64) bool {
	for _, until := range nonces {
		if until < now {
			return true
		}
	}
	return false
}

// statusOf is the status of a refusal. It is coarse: who wants to know more
// asks quorum.Authorize with the public state.
func statusOf(err error) uint64 {
	switch {
	case err == nil:
		return link.StatusOK
	case errors.Is(err, quorum.ErrSerial):
		return link.StatusStale
	case errors.Is(err, quorum.ErrSignature):
		return link.StatusAuthFailed
	case errors.Is(err, quorum.ErrMalformed), errors.Is(err, quorum.ErrArguments):
		return link.StatusBadRequest
	}
	return link.StatusDenied
}

// judges is the state whose operators and rules decide about a command: this
// HSM's own. One that has no domain takes those of the token that the command
// brings, whose serial the command has; so does InstallDomain for the serial
// alone, so that one signed command suits all members.
func (h *HSM) judges(held *custody, signed []byte) (quorum.State, uint64) {
	var state quorum.State
	if held.me == nil {
		return state, link.StatusDenied
	}
	_, command, err := quorum.Parse(signed)
	if err != nil {
		return state, statusOf(err)
	}
	arguments, err := quorum.DecodeArguments(command.Name, command.Arguments)
	if err != nil {
		return state, statusOf(err)
	}
	if held.d != nil {
		state = held.d.state.Quorum()
	}
	var brought []byte
	switch a := arguments.(type) {
	case *quorum.InstallArguments:
		brought = a.Token
	case *quorum.RecoverArguments:
		if held.d != nil {
			return state, link.StatusDenied // only where nothing can be lost
		}
		brought = a.Token
	case *quorum.CreateArguments:
		return state, link.StatusOK
	default:
		if held.d == nil {
			return state, link.StatusStale
		}
		return state, link.StatusOK
	}
	t, err := quorum.ParseToken(brought)
	if err != nil {
		return state, statusOf(err)
	}
	if held.d == nil {
		return t.State.Quorum(), link.StatusOK
	}
	state.Serial = t.State.Serial
	return state, link.StatusOK
}

// obey does what a command says, which enough have signed. held has its nonce.
func (h *HSM) obey(held *custody, command quorum.Command) (change, uint64) {
	arguments, err := quorum.DecodeArguments(command.Name, command.Arguments)
	if err != nil {
		return change{}, statusOf(err)
	}
	switch a := arguments.(type) {
	case *quorum.CreateArguments:
		return h.create(held, command.Domain, a)
	case *quorum.InstallArguments:
		return h.install(held, a)
	case *quorum.RecoverArguments:
		return h.recover(held, a)
	case *quorum.MemberArguments:
		switch command.Name {
		case quorum.LeaveDomain:
			return h.leave(held, a.Member)
		case quorum.SelfDestruct:
			return h.selfDestruct(held, a.Member)
		}
	case *quorum.FenceArguments:
		return change{next: held, before: func() uint64 { return h.fence(a) }}, link.StatusOK
	case *quorum.RotateArguments:
		if a.Standing() {
			if a.From > command.NotAfter {
				return change{}, link.StatusDenied // nobody gives orders for next year
			}
			next := *held
			next.standing = standing{from: a.From, to: a.To, interval: a.Interval}
			return change{next: &next}, link.StatusOK
		}
	}
	switch command.Name {
	case quorum.ExportDomain:
		token, err := held.d.export(held.standing)
		if err != nil {
			return change{}, link.StatusInternal
		}
		return change{next: held, result: quorum.CommandResult{Token: token, Shares: held.shares}}, link.StatusOK
	case quorum.ExportAudit:
		page, err := h.log.page(1)
		if err != nil {
			return change{}, link.StatusInternal
		}
		return change{next: held, result: quorum.CommandResult{Audit: page}}, link.StatusOK
	}
	return h.modify(held, arguments, command.Name)
}

// modify makes the next state.
func (h *HSM) modify(held *custody, arguments any, name string) (change, uint64) {
	state := held.d.following()
	order := held.standing
	rekey := false
	switch a := arguments.(type) {
	case *quorum.AddArguments:
		record, err := quorum.ParseMemberRecord(a.Record)
		if err != nil {
			return change{}, statusOf(err)
		}
		if _, known := state.Member(record.Member.ID); known || record.Member.Flags&^quorum.MemberOffline != 0 {
			return change{}, link.StatusDenied
		}
		state.Members = append(slices.Clone(state.Members), record.Member)
	case *quorum.MemberArguments:
		at := slices.IndexFunc(state.Members, func(m quorum.Member) bool { return m.ID == a.Member })
		if name != quorum.RemoveMember || at < 0 {
			return change{}, link.StatusDenied
		}
		state.Members = slices.Delete(slices.Clone(state.Members), at, at+1)
		if !serving(state.Members) || held.d.alone() && a.Member == held.me.public.ID {
			return change{}, link.StatusDenied // nobody would be left who has the keys
		}
		rekey = true // what is sealed from now on, the one who goes never could open
	case *quorum.OperatorsArguments:
		state.Operators = a.Operators
		if a.Rules != nil {
			state.Rules = a.Rules
		}
		// Others stand behind the domain now: they give their own orders.
		order = standing{}
	case *quorum.RulesArguments:
		state.Rules = a.Rules
		order = standing{}
	case *quorum.RotateArguments:
		rekey = true
	case *quorum.RootsArguments:
		if !canBeRoots(a.Roots) {
			return change{}, link.StatusBadRequest
		}
		state.Roots = a.Roots
	case *quorum.HostArguments:
		if _, err := link.ParsePublic(a.Public); err != nil || a.Role != RoleHost && a.Role != RoleAuthority {
			return change{}, link.StatusBadRequest
		}
		id := quorum.ID(link.IDOf(a.Public))
		if slices.ContainsFunc(state.Hosts, func(k quorum.Host) bool { return k.ID == id }) {
			return change{}, link.StatusDenied
		}
		state.Hosts = append(slices.Clone(state.Hosts), quorum.Host{ID: id, SPKI: a.Public, Roles: []string{a.Role}})
	default:
		// LoosenConditions is not about the domain: it goes with SealConditions.
		return change{}, link.StatusBadRequest
	}
	var d *domain
	var err error
	if rekey {
		state.Keys = h.kept(state, h.cfg.Now())
		d, err = held.d.withKey(state, h.cfg.Memory, h.cfg.Now())
	} else {
		d, err = held.d.with(state)
	}
	if err != nil {
		return change{}, link.StatusInternal
	}
	return h.propose(held, d, order)
}

// propose answers with the token of the next domain, and installs it if no
// other HSM has to.
func (h *HSM) propose(held *custody, d *domain, order standing) (change, uint64) {
	token, err := d.export(order)
	if err != nil {
		return change{}, link.StatusInternal
	}
	ch := change{next: held, result: quorum.CommandResult{Token: token}}
	if held.d == nil || held.d.alone() {
		next := *held
		next.d, next.standing = d, order
		ch.next = &next
		if before := held.d; before != nil {
			ch.then = func() { before.release(d) }
		}
	}
	return ch, link.StatusOK
}

// serving says whether a member is left that is an HSM and is not in a safe.
func serving(members []quorum.Member) bool {
	return slices.ContainsFunc(members, func(m quorum.Member) bool {
		return m.Flags&(quorum.MemberOffline|quorum.MemberRecovery) == 0
	})
}

// create founds a domain: on an HSM that has none, or by giving operators to
// the one that this HSM made for itself, which keeps its id and its keys.
func (h *HSM) create(held *custody, id quorum.ID, a *quorum.CreateArguments) (change, uint64) {
	// Another flag is a promise that this version does not know how to keep.
	if a.Member != held.me.public.ID || a.Flags&^flagAWSAttestation != 0 {
		return change{}, link.StatusDenied
	}
	if !canBeRoots(a.Roots) {
		return change{}, link.StatusBadRequest
	}
	state := quorum.DomainState{
		Version: 1, ID: id, Serial: 1, Previous: make([]byte, sha512.Size384), Members: []quorum.Member{h.member()},
	}
	d := &domain{identity: held.me}
	if held.d != nil {
		d, state = held.d, held.d.following()
	}
	state.Name, state.Operators, state.Rules = a.Name, a.Operators, a.Rules
	state.Retention, state.Roots, state.Flags = a.Retention, a.Roots, a.Flags
	var shares []quorum.SealedShare
	if a.Threshold > 0 {
		recovery, sealed, err := newRecovery(h.cfg.Memory, id, a.Threshold, a.Holders)
		if err != nil {
			return change{}, link.StatusInternal
		}
		state.Members = append(slices.Clone(state.Members), recovery)
		shares = sealed
	}
	var err error
	if held.d == nil {
		d, err = d.withKey(state, h.cfg.Memory, h.cfg.Now())
	} else {
		d, err = d.with(state)
	}
	if err != nil {
		return change{}, link.StatusInternal
	}
	ch, status := h.propose(held, d, standing{})
	if status != link.StatusOK {
		return ch, status
	}
	ch.next.shares, ch.result.Shares = shares, shares
	return ch, link.StatusOK
}

// sound says whether a domain could go on from a state: its rules can be met,
// and envelopes can be made for its members. No member makes another.
func sound(state *quorum.DomainState) bool {
	for i, m := range state.Members {
		again := slices.ContainsFunc(state.Members[:i], func(k quorum.Member) bool { return k.ID == m.ID })
		if m.Check() != nil || again {
			return false
		}
	}
	return state.Rules.Check(state.Operators) == nil
}

// install puts a token's state into effect. A member takes only what follows
// its own state: signed by a member that it knows, newer, and if it is the
// very next one with its own state named as the one before. A state without
// this member takes the keys from it.
func (h *HSM) install(held *custody, a *quorum.InstallArguments) (change, uint64) {
	t, err := quorum.ParseToken(a.Token)
	if err != nil {
		return change{}, statusOf(err)
	}
	trusted := t.State.Members
	if held.d != nil {
		trusted = held.d.state.Members
	}
	if _, err := t.SignedBy(trusted); err != nil {
		return change{}, link.StatusWrongToken
	}
	if !sound(&t.State) {
		return change{}, link.StatusWrongToken
	}
	own, member := t.State.Member(held.me.public.ID)
	if held.d == nil {
		if !member || own.Flags&quorum.MemberRecovery != 0 {
			return change{}, link.StatusWrongToken
		}
		d, order, err := h.openDomain(t)
		if err != nil {
			return change{}, link.StatusWrongToken
		}
		next := *held
		next.d, next.standing = d, order
		return change{next: &next}, link.StatusOK
	}
	switch before := held.d; {
	case slices.Equal(t.StateBytes, before.encoded):
		return change{next: held}, link.StatusOK // it is in effect
	case t.State.Serial <= before.state.Serial:
		return change{}, link.StatusWrongToken
	case t.State.Serial == before.state.Serial+1 && !slices.Equal(t.State.Previous, quorum.HashState(before.encoded)):
		return change{}, link.StatusWrongToken // another change was installed here
	}
	if !member {
		return h.forget(held), link.StatusOK
	}
	d, order, err := h.openDomain(t)
	if err != nil || !held.d.shares(d) {
		return change{}, link.StatusWrongToken
	}
	d.adopt(held.d)
	next := *held
	next.d, next.standing = d, order
	return change{next: &next, then: func() { held.d.release(d) }}, link.StatusOK
}

// recover makes this HSM the only one of a domain whose members are lost, with
// the recovery key in the place of an HSM's. It makes a new active key, for
// the lost ones may be in somebody's hands.
func (h *HSM) recover(held *custody, a *quorum.RecoverArguments) (change, uint64) {
	if a.Member != held.me.public.ID {
		return change{}, link.StatusDenied
	}
	t, err := quorum.ParseToken(a.Token)
	if err != nil {
		return change{}, statusOf(err)
	}
	if _, err := t.SignedBy(t.State.Members); err != nil || !sound(&t.State) {
		return change{}, link.StatusWrongToken
	}
	id, key, err := h.recoveryKey(a, t)
	if err != nil {
		return change{}, link.StatusAuthFailed
	}
	defer key.destroy()
	plain, err := openToken(t, id, key)
	if err != nil {
		return change{}, link.StatusWrongToken
	}
	recovery, _ := t.State.Member(id)
	keys, order, err := parseSecrets(plain)
	defer secret.Wipe(plain)
	if err != nil {
		return change{}, link.StatusWrongToken
	}
	// The lost domain as this HSM would have held it, had it been a member.
	state := t.State
	state.Members = []quorum.Member{h.member(), recovery}
	encoded, err := state.Encode()
	if err != nil {
		return change{}, link.StatusInternal
	}
	d, err := domainOf(held.me, encoded, keys, h.cfg.Memory)
	if err != nil {
		return change{}, link.StatusWrongToken
	}
	state.Serial++
	state.Previous = quorum.HashState(t.StateBytes)
	if d, err = d.withKey(state, h.cfg.Memory, h.cfg.Now()); err != nil {
		return change{}, link.StatusInternal
	}
	return h.propose(held, d, order)
}

// leave erases the domain from this HSM, which stays who it is. The last
// member that serves does not leave: nobody could open the keys any more, and
// SelfDestruct says so plainly.
func (h *HSM) leave(held *custody, member quorum.ID) (change, uint64) {
	others := slices.DeleteFunc(slices.Clone(held.d.state.Members), func(m quorum.Member) bool {
		return m.ID == member || m.Flags&quorum.MemberRecovery != 0
	})
	if member != held.me.public.ID || len(others) == 0 {
		return change{}, link.StatusDenied
	}
	return h.forget(held), link.StatusOK
}

// forget is the custody without the domain.
func (h *HSM) forget(held *custody) change {
	next := *held
	next.d, next.standing, next.shares = nil, standing{}, nil
	return change{next: &next, then: held.d.destroy}
}

// selfDestruct erases the identity too. The log stays in the store; nobody can
// sign its head any more.
func (h *HSM) selfDestruct(held *custody, member quorum.ID) (change, uint64) {
	if member != held.me.public.ID {
		return change{}, link.StatusDenied
	}
	return change{next: &custody{}, then: func() {
		held.d.destroy()
		held.me.hsk.Destroy()
		held.me.destroy()
	}}, link.StatusOK
}

// fence shuts out the tokens of a key that are older than an epoch, by order
// of the domain's operators; the last epoch closes it for ever. A key that
// nobody fenced yet has only that: this HSM knows it by no more than its name,
// and could not tell which conditions its next tokens are to have.
func (h *HSM) fence(a *quorum.FenceArguments) uint64 {
	_, status := h.fences.raise(fenceOf(a.Key), func(old fence) (fence, uint64) {
		next := fence{Fence: message.Fence{Epoch: a.Epoch, Closed: old.Closed}, sealed: old.sealed}
		switch {
		case a.Epoch == message.FenceForever:
			next.Closed = true
		case old.Epoch == 0 || a.Epoch < old.Epoch:
			return old, link.StatusFenced
		}
		return next, link.StatusOK
	})
	return status
}

// domainFrom is the domain of a token whose secret part was opened; plain is
// wiped.
func (h *HSM) domainFrom(t *quorum.Token, plain []byte, me *identity) (*domain, standing, error) {
	defer secret.Wipe(plain)
	keys, order, err := parseSecrets(plain)
	if err != nil {
		return nil, standing{}, err
	}
	d, err := domainOf(me, t.StateBytes, keys, h.cfg.Memory)
	return d, order, err
}

// memberRecord is what this HSM says of itself.
func (c *call) memberRecord() uint64 {
	h := c.h
	me := h.custody().me
	if me == nil {
		return link.StatusDenied
	}
	r := quorum.MemberRecord{Member: h.member(), Statement: quorum.Statement{
		Build: h.cfg.Build, Lock: h.cfg.Lock, Memory: h.cfg.Memory.Kind(), Seal: h.sealName(),
		Created: uint64(h.cfg.Now().UnixMilli()),
	}}
	input, err := r.SigningInput()
	if err != nil {
		return link.StatusInternal
	}
	if r.Sig, err = me.sign(input); err != nil {
		return link.StatusInternal
	}
	if c.result.Record, err = r.Encode(); err != nil {
		return link.StatusInternal
	}
	return link.StatusOK
}
