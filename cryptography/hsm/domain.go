package hsm

import (
	"bytes"
	"context"
	"fmt"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// LogPage, LogEntry, LogHead and LogReader are the command log of an HSM as
// its readers see it; LogReader is what checks it.
type (
	LogPage   = message.LogPage
	LogEntry  = message.LogEntry
	LogHead   = message.LogHead
	LogReader = message.LogReader
)

// What a LogReader refuses.
var (
	ErrLogMalformed = message.ErrLogMalformed
	ErrLogHead      = message.ErrLogHead
	ErrLogGap       = message.ErrLogGap
	ErrLogFork      = message.ErrLogFork
)

// Command submits a signed command of the domain's operators
// (quorum.SignedCommand). Whether it is obeyed the HSM alone decides, by its
// own state and clock; the refusals are
//
//	ErrBadRequest  not a command, or one that this HSM does not do
//	ErrAuthFailed  a signature that does not hold
//	ErrStale       written for another serial of the domain
//	ErrWrongToken  the domain token in it is older, or not from this domain's members
//	ErrDenied      everything else: too few signatures, expired, seen before
//
// and quorum.Authorize with the present state says more. The result is a
// quorum.CommandResult.
func (c *Client) Command(ctx context.Context, signed []byte) (quorum.CommandResult, error) {
	var record []byte
	err := c.call(ctx, message.OpCommand, nil, &message.Params{Command: signed}, func(r *message.Result) { record = bytes.Clone(r.Record) })
	if err != nil {
		return quorum.CommandResult{}, err
	}
	result, err := quorum.ParseResult(record)
	if err != nil {
		return result, fmt.Errorf("hsm: result of a command: %w", err)
	}
	return result, nil
}

// Member is the record that the HSM makes of itself, which AddMember takes
// (quorum.MemberRecord).
func (c *Client) Member(ctx context.Context) (record []byte, err error) {
	err = c.call(ctx, message.OpMember, nil, &message.Params{}, func(r *message.Result) { record = bytes.Clone(r.Record) })
	return record, err
}

// DomainState is the encoded public state of the domain
// (quorum.DecodeState). ErrStale: the HSM has no domain.
func (c *Client) DomainState(ctx context.Context) (state []byte, err error) {
	err = c.call(ctx, message.OpDomainState, nil, &message.Params{}, func(r *message.Result) { state = bytes.Clone(r.Record) })
	return state, err
}

// Serial proves to another member of the domain, which Hear tells it, which
// serial this one has: a session token of no session.
func (c *Client) Serial(ctx context.Context) (proof []byte, err error) {
	err = c.call(ctx, message.OpDomainState, nil, &message.Params{}, func(r *message.Result) { proof = bytes.Clone(r.Token) })
	return proof, err
}

// Hear shows the HSM what Serial gave at another member. If that is ahead, the
// HSM works with no key (ErrStale) until it has the newer state too.
func (c *Client) Hear(ctx context.Context, proof []byte) error {
	return c.call(ctx, message.OpStatus, proof, &message.Params{}, nil)
}

// CommandLog is a page of the HSM's command log from an entry on, with the
// signed head of the whole log. Entries count from 1; what the HSM no longer
// keeps is left out at the beginning. A LogReader checks pages and follows
// them.
func (c *Client) CommandLog(ctx context.Context, from uint64) (page []byte, err error) {
	p := message.Params{Length: from}
	err = c.call(ctx, message.OpCommandLog, nil, &p, func(r *message.Result) { page = bytes.Clone(r.Record) })
	return page, err
}

// ReadLog reads the command log from where the reader is to its present end,
// hands each entry to take, and returns the head.
func (c *Client) ReadLog(ctx context.Context, reader *LogReader, take func(LogEntry)) (LogHead, error) {
	for {
		page, err := c.CommandLog(ctx, reader.Size+1)
		if err != nil {
			return LogHead{}, err
		}
		entries, head, err := reader.Next(page)
		if err != nil {
			return head, err
		}
		for _, e := range entries {
			take(e)
		}
		if reader.Size >= head.Size {
			return head, nil
		}
	}
}

// RotateDomainKeys makes a new active domain key; the old one only opens from
// then on. Key tokens are moved with Rewrap.
//
// An HSM whose domain has operators does it only within a standing command of
// theirs, and not more often than that says; otherwise it is ErrDenied. For a
// domain of several members use a Pool, or Rotate.
func (c *Client) RotateDomainKeys(ctx context.Context) error {
	token, err := c.Rotate(ctx, nil)
	if err != nil {
		return err
	}
	t, err := quorum.ParseToken(token)
	if err != nil {
		return fmt.Errorf("hsm: rotation: %w", err)
	}
	hsms := 0
	for _, m := range t.State.Members {
		if m.Flags&quorum.MemberRecovery == 0 {
			hsms++
		}
	}
	if hsms > 1 {
		_, err = c.Rotate(ctx, token)
	}
	return err
}

// Rotate is one step of a rotation. Without a token the HSM makes a key and
// the domain token of the state that has it; the only HSM of a domain has
// rotated with that, in a domain of several nothing has changed yet. With a
// token it takes the rotation over, and so must every member, also the one
// that made it. Whoever keeps the token before that loses no key if members
// are lost.
func (c *Client) Rotate(ctx context.Context, token []byte) (made []byte, err error) {
	p := message.Params{Command: token}
	err = c.call(ctx, message.OpRotateDomainKeys, nil, &p, func(r *message.Result) { made = bytes.Clone(r.Record) })
	return made, err
}
