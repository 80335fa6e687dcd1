package leadglass

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	api "github.com/leadglass/leadglass/api/leadglass"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/operation"
)

// A Domain is the HSMs and the domain that they share. Who reaches these
// operations carries papers to and fro: whether a command is obeyed each HSM
// decides by the signatures on it.
type Domain interface {
	Command(ctx context.Context, signed []byte) (quorum.CommandResult, error)
	State(ctx context.Context) ([]byte, error)
	Token(ctx context.Context) ([]byte, error) // the newest that this plane keeps; empty: none
	HSM(number int) (client *hsm.Client, identity []byte, ok bool)
	HSMs(ctx context.Context) []HSM
}

// An HSM is one of the HSMs of this node.
type HSM struct {
	Number           int // from 1 on
	Running, Serving bool
	Status           hsm.Status // if it is running
	LogSize          uint64     // of its command log, as it was recorded last
	LogProblem       string     // what is wrong with that log; empty: nothing
}

func (s *Service) submitDomainCommand(ctx context.Context, in *api.SubmitDomainCommandInput) (*api.SubmitDomainCommandOutput, error) {
	_, command, err := quorum.Parse(in.SignedCommand)
	if err != nil {
		return nil, &api.InvalidParameterException{Message: "This is no signed command: " + err.Error() + "."}
	}
	call := operation.CallFrom(ctx)
	call.Touch(call.Account, "Leadglass::Domain", domainARN(ctx, command.Domain))
	result, err := s.Domain.Command(ctx, in.SignedCommand)
	if err != nil {
		return nil, s.refusal(ctx, in.SignedCommand, err)
	}
	encoded, err := result.Encode()
	if err != nil {
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	return &api.SubmitDomainCommandOutput{Serial: new(int64(result.Serial)), StateHash: result.Hash, Result: encoded}, nil
}

// refusal says why a command was refused, in more words than the HSM has: what
// it goes by is public, so the same check here finds the same.
func (s *Service) refusal(ctx context.Context, signed []byte, err error) error {
	why := ""
	switch {
	case errors.Is(err, hsm.ErrNoMember):
		why = "the HSM that it is for is not here"
	case errors.Is(err, hsm.ErrWrongToken):
		why = "the domain token in it is older than the HSM's state, not the one that follows it, or not signed by a member that the HSM knows"
	case errors.Is(err, hsm.ErrStale), errors.Is(err, hsm.ErrDenied), errors.Is(err, hsm.ErrAuthFailed), errors.Is(err, hsm.ErrBadRequest):
		if b, stateErr := s.Domain.State(ctx); stateErr == nil {
			if state, stateErr := quorum.DecodeState(b); stateErr == nil {
				if _, _, e := quorum.Authorize(state.Quorum(), signed, s.Clock.Now(), func(quorum.ID) bool { return false }); e != nil {
					why = e.Error()
				}
			}
		}
	default:
		return fmt.Errorf("service/leadglass: %w", err)
	}
	if why == "" {
		why = err.Error() + " (it may have been used before, or ask for what this HSM cannot do now)"
	}
	return &api.DomainCommandRefusedException{Message: "The HSM refused the command: " + why + "."}
}

func domainARN(ctx context.Context, domain quorum.ID) string {
	call := operation.CallFrom(ctx)
	return arn.ARN{Partition: arn.Partition, Service: "leadglass", Region: call.Region, Account: call.Account, Resource: "domain/" + domain.String()}.String()
}

// millis is a time of the HSM's, zero if there is none.
func millis(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

func (s *Service) getDomain(ctx context.Context, _ *api.GetDomainInput) (*api.GetDomainOutput, error) {
	state, err := s.Domain.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	token, err := s.Domain.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	out := &api.GetDomainOutput{DomainState: state, StateHash: quorum.HashState(state), DomainToken: token}
	for _, h := range s.Domain.HSMs(ctx) {
		x := api.HSM{Number: new(int32(h.Number)), Running: new(h.Running), Serving: new(h.Serving), LogSize: new(int64(h.LogSize)), LogProblem: h.LogProblem}
		if h.Running {
			x.MemberId, x.Seal, x.Memory = quorum.ID(h.Status.Member).String(), h.Status.Seal, h.Status.Memory
			x.Serial, x.DomainKeys = new(int64(h.Status.Serial)), new(int64(h.Status.DomainKeys))
			x.RotationDate, x.StandingUntil = millis(h.Status.Rotated), millis(h.Status.Standing)
		}
		out.HSMs = append(out.HSMs, x)
	}
	return out, nil
}

func (s *Service) getMemberRecord(ctx context.Context, in *api.GetMemberRecordInput) (*api.GetMemberRecordOutput, error) {
	client, _, err := s.numbered(in.Number)
	if err != nil {
		return nil, err
	}
	record, err := client.Member(ctx)
	if err != nil {
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	return &api.GetMemberRecordOutput{MemberRecord: record}, nil
}

func (s *Service) listDomainCommandLog(ctx context.Context, in *api.ListDomainCommandLogInput) (*api.ListDomainCommandLogOutput, error) {
	client, identity, err := s.numbered(in.Number)
	if err != nil {
		return nil, err
	}
	from := uint64(1)
	if in.From != nil {
		from = uint64(*in.From)
	}
	page, err := client.CommandLog(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	return &api.ListDomainCommandLogOutput{Page: page, Identity: identity}, nil
}

// numbered is the HSM with this number; the first if none is named.
func (s *Service) numbered(number *int32) (*hsm.Client, []byte, error) {
	n := 1
	if number != nil {
		n = int(*number)
	}
	client, identity, ok := s.Domain.HSM(n)
	if !ok {
		return nil, nil, &api.NotFoundException{Message: "There is no HSM " + strconv.Itoa(n) + " on this node, or it has ended."}
	}
	return client, identity, nil
}
