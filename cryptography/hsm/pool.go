package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// A Pool is several HSMs of one domain that stand in for each other. It does
// whatever a Client does, by the next member that can: one that is lost is
// left out from then on, one that has an older state of the domain (ErrStale)
// or no time (ErrBusy) is passed over. What moves a fence is done by one
// member and followed by all others before the call returns; one that does not
// follow is left out, because it would open what the others do not.
//
// A call whose member is lost under way is made again at another: it may have
// been executed twice, which nothing a Client does minds.
type Pool struct {
	*Client
	group *group
}

// ErrNoMember is returned when no member is left, or none that a command is
// for.
var ErrNoMember = fmt.Errorf("%w: no such HSM in the pool", ErrUnavailable)

// NewPool returns a pool of these members; Add takes more.
func NewPool(members ...*Client) *Pool {
	g := &group{members: slices.Clone(members)}
	return &Pool{Client: &Client{link: g}, group: g}
}

// Add takes one more member in as it is. One that may have missed fences is
// taken in with Admit.
func (p *Pool) Add(c *Client) { p.group.add(c) }

// Admit brings together the fences of the pool's members and of one more, and
// takes it in; it does nothing for one that is in. Without that a member that
// was away, or is new in the domain, would take key tokens that the others
// refuse, and so would they if it was they who were away. One that is known not
// to have followed a fence is not admitted before it learned it from another,
// as long as this process lives.
func (p *Pool) Admit(ctx context.Context, c *Client) error {
	p.group.fences.Lock() // no fence moves between what it was brought and its first call
	defer p.group.fences.Unlock()
	members := p.group.list(false)
	if slices.Contains(members, c) {
		return nil
	}
	if len(members) == 0 && p.group.behind(c) {
		return fmt.Errorf("hsm: a member is not admitted: %w: it did not follow a fence, and nobody is there who knows it", ErrUnavailable)
	}
	for _, m := range members {
		err := SyncFences(ctx, m, c)
		if err == nil {
			err = SyncFences(ctx, c, m)
		}
		if err != nil {
			return fmt.Errorf("hsm: a member is not admitted: %w", err)
		}
	}
	p.group.add(c)
	return nil
}

// Remove leaves a member out. One whose link has ended leaves by itself.
func (p *Pool) Remove(c *Client) { p.group.remove(c) }

// Members are those in use, in the order in which they came.
func (p *Pool) Members() []*Client { return slices.Clone(p.group.list(false)) }

// Command submits a signed command to the members that it is for:
// InstallDomain, RaiseFence and a standing rotation to all of them, one that
// names a member to that member, and any other to the first that is not stale.
// A command to all that only some obeyed is an error that says how many, with
// a result of one that did.
func (p *Pool) Command(ctx context.Context, signed []byte) (quorum.CommandResult, error) {
	_, command, err := quorum.Parse(signed)
	if err != nil {
		return quorum.CommandResult{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	arguments, err := quorum.DecodeArguments(command.Name, command.Arguments)
	if err != nil {
		return quorum.CommandResult{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	switch a := arguments.(type) {
	case *quorum.InstallArguments, *quorum.FenceArguments:
		return p.everyone(ctx, signed)
	case *quorum.RotateArguments:
		if a.Standing() {
			return p.everyone(ctx, signed)
		}
	case *quorum.MemberArguments:
		if command.Name != quorum.RemoveMember {
			return p.one(ctx, a.Member, signed)
		}
	case *quorum.CreateArguments:
		return p.one(ctx, a.Member, signed)
	case *quorum.RecoverArguments:
		return p.one(ctx, a.Member, signed)
	}
	err = ErrNoMember
	var result quorum.CommandResult
	for _, m := range p.group.list(false) {
		if result, err = m.Command(ctx, signed); !errors.Is(err, ErrStale) {
			break
		}
	}
	return result, err
}

func (p *Pool) everyone(ctx context.Context, signed []byte) (quorum.CommandResult, error) {
	members := p.group.list(false)
	var result quorum.CommandResult
	var problems []error
	done := 0
	for _, m := range members {
		r, err := m.Command(ctx, signed)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		result = r
		done++
	}
	if len(problems) > 0 && done > 0 {
		p.compare(ctx)
	}
	switch {
	case len(members) == 0:
		return result, ErrNoMember
	case len(problems) > 0:
		return result, fmt.Errorf("hsm: done by %d of %d members: %w", done, len(members), errors.Join(problems...))
	}
	return result, nil
}

func (p *Pool) one(ctx context.Context, member quorum.ID, signed []byte) (quorum.CommandResult, error) {
	for _, m := range p.group.list(false) {
		if s, err := m.Status(ctx); err == nil && s.Member == member {
			return m.Command(ctx, signed)
		}
	}
	return quorum.CommandResult{}, ErrNoMember
}

// RotateDomainKeys rotates at all members: see Rotate, without a place to keep
// the token.
func (p *Pool) RotateDomainKeys(ctx context.Context) error {
	return p.Rotate(ctx, func([]byte) error { return nil })
}

// Rotate lets one member make the next domain key and all members take it
// over. In between keep gets the domain token, and no member uses the key if
// it could not keep it. (The only HSM of a domain does at that time.) A member
// that fails to take it over is passed over from then on, until it does.
func (p *Pool) Rotate(ctx context.Context, keep func(token []byte) error) error {
	err := error(ErrNoMember)
	for _, m := range p.group.list(false) {
		var token []byte
		if token, err = m.Rotate(ctx, nil); err != nil {
			continue
		}
		if err = keep(token); err != nil {
			return err
		}
		return p.follow(ctx, token)
	}
	return err
}

// follow lets all members take a rotation over.
func (p *Pool) follow(ctx context.Context, token []byte) error {
	t, err := quorum.ParseToken(token)
	if err != nil {
		return fmt.Errorf("hsm: rotation: %w", err)
	}
	problem := error(ErrNoMember)
	done := false
	for _, m := range p.group.list(false) {
		s, err := m.Status(ctx)
		if err == nil && s.Serial < t.State.Serial {
			_, err = m.Rotate(ctx, token)
		}
		if err != nil {
			problem = err
			continue
		}
		done = true
	}
	if !done {
		return problem
	}
	p.compare(ctx)
	return nil
}

// compare tells the members of each other, so that one that missed a change
// does not go on with what it has. One that cannot be told is either lost or
// has no domain.
func (p *Pool) compare(ctx context.Context) {
	members := p.group.list(false)
	for _, m := range members {
		proof, err := m.Serial(ctx)
		if err != nil {
			continue
		}
		for _, other := range members {
			if other != m {
				_ = other.Hear(ctx, proof)
			}
		}
	}
}

// A caller does one operation: a link, or a group of them.
type caller interface {
	Call(ctx context.Context, op uint64, token []byte, params func([]byte) []byte, result func([]byte) error) error
}

// group is the members of a pool as one caller.
type group struct {
	fences sync.RWMutex // held for writing while a member is admitted, for reading while a fence moves

	mu      sync.Mutex
	members []*Client // guarded by mu; replaced, not changed, because calls under way hold it
	missed  []*Client // guarded by mu; left out because they did not follow a fence
	first   int       // guarded by mu; whose turn it is
}

// list is the members, beginning with whose turn it is, or in their order.
func (g *group) list(turn bool) []*Client {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !turn || len(g.members) < 2 {
		return g.members
	}
	g.first = (g.first + 1) % len(g.members)
	return slices.Concat(g.members[g.first:], g.members[:g.first])
}

func (g *group) add(c *Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(slices.Clone(g.members), c)
	g.missed = slices.DeleteFunc(g.missed, func(m *Client) bool { return m == c })
}

// miss leaves out a member that did not follow a fence.
func (g *group) miss(c *Client) {
	g.remove(c)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.missed, c) {
		g.missed = append(g.missed, c)
	}
}

// behind says whether a member did not follow a fence and has not learned it
// since.
func (g *group) behind(c *Client) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.missed, c)
}

func (g *group) remove(c *Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = slices.DeleteFunc(slices.Clone(g.members), func(m *Client) bool { return m == c })
}

// Call does one operation at a member that can.
func (g *group) Call(ctx context.Context, op uint64, token []byte, params func([]byte) []byte, result func([]byte) error) error {
	switch op {
	case message.OpRaiseFence, message.OpSealConditions:
		g.fences.RLock()
		defer g.fences.RUnlock()
		return g.everywhere(ctx, op, token, params, result)
	case message.OpCommand, message.OpRotateDomainKeys:
		// What comes in steps is done by one member as long as that can.
		_, err := g.one(ctx, g.list(false), op, token, params, result)
		return err
	}
	_, err := g.one(ctx, g.list(true), op, token, params, result)
	return err
}

// one does an operation at the first member that can, and says which it was.
func (g *group) one(ctx context.Context, members []*Client, op uint64, token []byte, params func([]byte) []byte, result func([]byte) error) (*Client, error) {
	err := error(ErrNoMember)
	for _, m := range members {
		err = m.link.Call(ctx, op, token, params, result)
		if g.lost(ctx, m, err) || errors.Is(err, link.Status(link.StatusStale)) || errors.Is(err, link.Status(link.StatusBusy)) {
			continue
		}
		return m, err
	}
	return nil, err
}

// everywhere moves a fence at one member, and then at all others to where it
// is at the first.
func (g *group) everywhere(ctx context.Context, op uint64, token []byte, params func([]byte) []byte, result func([]byte) error) error {
	var asked message.Params
	if err := asked.Parse(params(nil)); err != nil {
		return link.Status(link.StatusBadRequest)
	}
	members := g.list(false)
	var now message.Fence
	first, err := g.one(ctx, members, op, token, params, func(body []byte) error {
		var r message.Result
		if err := r.Parse(body); err != nil {
			return err
		}
		if err := now.Parse(r.Record); err != nil {
			return err
		}
		if op == message.OpSealConditions {
			token = bytes.Clone(r.Token) // which carries the new fence
		}
		return result(body)
	})
	if err != nil {
		return err
	}
	follow := message.Params{Epoch: now.Epoch, Flags: asked.Flags, Data: asked.Data, Proof: asked.Proof}
	if op == message.OpSealConditions {
		follow = message.Params{Flags: message.FlagCurrent} // they adopt what the token carries
	}
	// A caller that gave up must not leave the members apart.
	ctx = context.WithoutCancel(ctx)
	for _, m := range members {
		if m == first {
			continue
		}
		if m.link.Call(ctx, message.OpRaiseFence, token, follow.Append, func([]byte) error { return nil }) != nil {
			g.miss(m)
		}
	}
	return nil
}

// lost says whether an error means that the member is gone, and leaves it out
// then.
func (g *group) lost(ctx context.Context, m *Client, err error) bool {
	if err == nil || ctx.Err() != nil || errors.Is(err, link.ErrTooLarge) {
		return false
	}
	if _, answered := errors.AsType[link.Status](err); answered {
		return false
	}
	g.remove(m)
	return true
}
