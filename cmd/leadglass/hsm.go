package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// hsmCommand is the custodians' side of the HSM's domain. "leadglass hsm" with
// nothing behind it is the HSM itself, which only leadglass serve starts.
func hsmCommand() *cobra.Command {
	c := &cobra.Command{Use: "hsm", Short: "The HSM's domain: what its custodians write, sign and submit", Args: noArguments,
		Long: `The HSM's domain belongs to its custodians. What changes it is a command that
enough of them have signed, each with a key of their own; every HSM checks the
signatures and the rule itself. Who submits a command needs no right to what it
does, and gives it none.

  custodian new     make a custodian's key
  create-domain     write the command that founds a domain
  command ...       write any other command
  inspect, sign     read a command, and sign it
  submit            carry it to the HSMs

docs/custodians.md has the whole procedure: founding, daily work, loss.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(custodianCommand(), createDomainCommand(), writeCommand(), inspectCommand(), signCommand(), submitCommand(),
		domainStatusCommand(), memberCommand(), commandLogCommand(), shareCommand())
	return c
}

// A reach is whom a command asks: the HSMs of a running plane, or one HSM that
// waits or lies in a safe and is started for this command alone.
type reach struct {
	data, profile, state, sealKey, label string
	number                               int
	offline, insecure                    bool
}

func (r *reach) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.data, "data", dataDir(), "data folder of the plane, for the operator's profile")
	f.StringVar(&r.profile, "profile", "operator", "profile to sign with")
	f.StringVar(&r.state, "state", "", "instead of a plane: state folder of an HSM that no plane uses now, such as DATA/hsm of a stopped one or a folder on removable media")
	f.StringVar(&r.sealKey, "seal-key", "", "with --state: file with the key that seals it (default STATE/seal.key)")
	f.StringVar(&r.label, "label", "", "with --state: what the HSM calls itself")
	f.BoolVar(&r.offline, "offline", false, "with --state: the HSM calls itself an offline member, which lies in a safe")
	f.BoolVar(&r.insecure, "insecure-no-lockdown", false, "with --state: start the HSM even where it cannot be locked down")
	f.IntVar(&r.number, "number", 1, "which HSM of the plane, counted from 1")
}

// An access is a reach that was opened.
type access interface {
	command(ctx context.Context, signed []byte) (quorum.CommandResult, error)
	domain(ctx context.Context) ([]byte, error)
	member(ctx context.Context) ([]byte, error)
	log(ctx context.Context, from uint64) (page, identity []byte, err error)
}

func (r *reach) open(ctx context.Context) (access, func(), error) {
	if r.state == "" {
		cl, err := operatorClient(r.data, r.profile)
		return planeAccess{cl, r.number}, func() {}, err
	}
	p, err := hsm.Start(ctx, hsm.Config{
		StateDir: r.state, SealKeyFile: r.sealKey, Await: true, Offline: r.offline, Label: r.label, Insecure: r.insecure,
	})
	if err != nil {
		return nil, nil, err
	}
	// The door is closed as for an HSM in service: nobody else is to be let in.
	if err := p.Ready(ctx); err != nil {
		p.Stop()
		return nil, nil, err
	}
	return stateAccess{p}, p.Stop, nil
}

// planeAccess asks a plane's API.
type planeAccess struct {
	*client
	number int
}

func (a planeAccess) command(ctx context.Context, signed []byte) (quorum.CommandResult, error) {
	var out struct{ Result []byte }
	if _, err := a.json(ctx, "leadglass", "SubmitDomainCommand", map[string]any{"SignedCommand": signed}, &out); err != nil {
		return quorum.CommandResult{}, err
	}
	return quorum.ParseResult(out.Result)
}

func (a planeAccess) domain(ctx context.Context) ([]byte, error) {
	var out struct{ DomainState []byte }
	_, err := a.json(ctx, "leadglass", "GetDomain", struct{}{}, &out)
	return out.DomainState, err
}

func (a planeAccess) member(ctx context.Context) ([]byte, error) {
	var out struct{ MemberRecord []byte }
	_, err := a.json(ctx, "leadglass", "GetMemberRecord", map[string]any{"Number": a.number}, &out)
	return out.MemberRecord, err
}

func (a planeAccess) log(ctx context.Context, from uint64) (page, identity []byte, err error) {
	var out struct{ Page, Identity []byte }
	_, err = a.json(ctx, "leadglass", "ListDomainCommandLog", map[string]any{"Number": a.number, "From": from}, &out)
	return out.Page, out.Identity, err
}

// stateAccess asks an HSM of our own.
type stateAccess struct{ *hsm.Process }

func (a stateAccess) command(ctx context.Context, signed []byte) (quorum.CommandResult, error) {
	return a.Client().Command(ctx, signed)
}

func (a stateAccess) domain(ctx context.Context) ([]byte, error) {
	b, err := a.Client().DomainState(ctx)
	if errors.Is(err, hsm.ErrStale) {
		return nil, errors.New("this HSM has no domain")
	}
	return b, err
}

func (a stateAccess) member(ctx context.Context) ([]byte, error) { return a.Client().Member(ctx) }

func (a stateAccess) log(ctx context.Context, from uint64) (page, identity []byte, err error) {
	page, err = a.Client().CommandLog(ctx, from)
	return page, a.Identity(), err
}

// readDomain is the domain state of a file, or of the reach if none is named.
func (r *reach) readDomain(ctx context.Context, file string) (quorum.DomainState, error) {
	if file != "" {
		kind, b, err := readArmored(file, pemState, pemToken)
		if err != nil {
			return quorum.DomainState{}, err
		}
		if kind == pemState {
			return quorum.DecodeState(b)
		}
		t, err := quorum.ParseToken(b)
		if err != nil {
			return quorum.DomainState{}, err
		}
		return t.State, nil
	}
	a, done, err := r.open(ctx)
	if err != nil {
		return quorum.DomainState{}, err
	}
	defer done()
	b, err := a.domain(ctx)
	if err != nil {
		return quorum.DomainState{}, err
	}
	return quorum.DecodeState(b)
}

// moment is a time of a command or a log, for people.
func moment(ms uint64) string {
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02 15:04:05 UTC")
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
