package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/service/leadglass"
	"github.com/leadglass/leadglass/state/kv"
)

// hsmName is what health and warnings call an HSM: "hsm", "hsm-2", ...
func hsmName(i int) string {
	if i == 0 {
		return "hsm"
	}
	return fmt.Sprintf("hsm-%d", i+1)
}

// boundaryState is one child as health sees it.
type boundaryState struct {
	name   string
	report boundary.Report
	gone   <-chan struct{}
}

// boundaries are all children.
func (d *Daemon) boundaries() []boundaryState {
	var out []boundaryState
	for i, p := range d.hsm.Processes() {
		if p != nil {
			out = append(out, boundaryState{hsmName(i), p.Lockdown(), p.Done()})
		}
	}
	return append(out, boundaryState{"authority", d.authority.Lockdown(), d.authority.Done()})
}

// hsmWarnings are what whoever runs this plane should know of its HSMs.
func (d *Daemon) hsmWarnings(ctx context.Context) []string {
	out := append(d.hsm.Problems(), d.logHeads.problems()...)
	for i, p := range d.hsm.Processes() {
		if p == nil || d.hsm.Serves(i) {
			continue
		}
		select {
		case <-p.Done():
			out = append(out, fmt.Sprintf("%s has ended; the others serve in its place until the plane is started anew", hsmName(i)))
		default:
			out = append(out, fmt.Sprintf("%s does not serve: it has no domain, or an older state of it, and waits for its custodians (leadglass hsm member)", hsmName(i)))
		}
	}
	if s, err := d.hsm.Client().Status(ctx); err == nil && s.Operators == 0 {
		out = append(out, "the HSM's domain has no custodians: whoever operates this plane rules it alone. Found it with leadglass hsm create-domain (docs/custodians.md).")
	}
	return out
}

// hsmDomain is the HSMs' domain as the control plane's API sees it.
type hsmDomain struct{ d *Daemon }

// Command submits a signed command, and keeps the domain token that comes of
// it: an answer that is lost on its way must not be the only copy.
func (h hsmDomain) Command(ctx context.Context, signed []byte) (quorum.CommandResult, error) {
	result, err := h.d.hsm.Command(ctx, signed)
	if len(result.Token) > 0 {
		err = errors.Join(err, h.d.keepToken(context.WithoutCancel(ctx), result.Token))
	}
	return result, err
}

// tokenName is where the newest token of the domain rests. Without the keys of
// one of its members it opens nothing; with them it is what a domain is rebuilt
// from (hsm-domain section 4).
var tokenName = kv.Table('T').Text("domain token")

// keepToken makes a token of the domain durable, unless a newer one is there.
// It is what Pool.Rotate asks for before a new key is used.
func (d *Daemon) keepToken(ctx context.Context, token []byte) error {
	t, err := quorum.ParseToken(token)
	if err != nil {
		return fmt.Errorf("daemon: domain token: %w", err)
	}
	for {
		e, err := d.store.Get(ctx, tokenName)
		if err != nil {
			return err
		}
		if e.Mod != 0 {
			kept, err := quorum.ParseToken(e.Value)
			if err != nil {
				return fmt.Errorf("%w: domain token", kv.ErrCorrupt)
			}
			if kept.State.ID == t.State.ID && kept.State.Serial > t.State.Serial {
				return nil
			}
		}
		_, err = d.store.Commit(ctx, []kv.Cond{{Key: tokenName, Mod: e.Mod}}, []kv.Op{{Key: tokenName, Value: token}})
		if _, overtaken := errors.AsType[*kv.ConflictError](err); !overtaken {
			return err
		}
	}
}

// Token is the newest token that this plane keeps.
func (h hsmDomain) Token(ctx context.Context) ([]byte, error) {
	e, err := h.d.store.Get(ctx, tokenName)
	return e.Value, err
}

// State is the public state of the domain.
func (h hsmDomain) State(ctx context.Context) ([]byte, error) {
	return h.d.hsm.Client().DomainState(ctx)
}

// HSM is one HSM, counted from 1; false if there is none, or it has ended.
func (h hsmDomain) HSM(number int) (*hsm.Client, []byte, bool) {
	all := h.d.hsm.Processes()
	if number < 1 || number > len(all) || all[number-1] == nil {
		return nil, nil, false
	}
	p := all[number-1]
	select {
	case <-p.Done():
		return nil, nil, false
	default:
		return p.Client(), p.Identity(), true
	}
}

// HSMs is how all of them are.
func (h hsmDomain) HSMs(ctx context.Context) []leadglass.HSM {
	var out []leadglass.HSM
	for i := range h.d.hsm.Processes() {
		x := leadglass.HSM{Number: i + 1, Serving: h.d.hsm.Serves(i)}
		if client, _, ok := h.HSM(i + 1); ok {
			if s, err := client.Status(ctx); err == nil {
				x.Running, x.Status = true, s
			}
		}
		x.LogSize, x.LogProblem = h.d.logHeads.state(i)
		out = append(out, x)
	}
	return out
}

// A headWatch carries the heads of the HSMs' command logs into the operator's
// audit log, and notices a log whose past has changed: what it has recorded
// last rests in the store. It looks each minute. A head behind which there is
// nothing new but counts of operations waits for up to an hour: reading the log
// and recording its head are operations too, and an idle plane would otherwise
// make an event of them each minute, for ever.
type headWatch struct {
	d *Daemon

	mu   sync.Mutex
	seen []seenHead // guarded by mu; one for each HSM
}

// seenHead is what is known of one HSM's log.
type seenHead struct {
	reader   hsm.LogReader
	problem  string    // empty: none
	recorded time.Time // when a head was recorded; zero: not since the start
}

const (
	headPeriod  = time.Minute
	countPeriod = time.Hour
)

// storedHead is a seenHead in the store, under the HSM's member id.
type storedHead struct {
	Size uint64 `cbor:"1,keyasint"`
	Hash []byte `cbor:"2,keyasint"`
}

func headKey(member quorum.ID) kv.Key { return kv.Table('T').Text("hsm log head " + member.String()) }

func openHeads(ctx context.Context, d *Daemon) (*headWatch, error) {
	w := &headWatch{d: d, seen: make([]seenHead, len(d.hsm.Processes()))}
	for i, p := range d.hsm.Processes() {
		if p == nil {
			continue
		}
		w.seen[i].reader.Identity = p.Identity()
		e, err := d.store.Get(ctx, headKey(quorum.MemberID(p.Identity())))
		if err != nil {
			return nil, err
		}
		if e.Mod == 0 {
			continue
		}
		var s storedHead
		if err := cbor.Unmarshal(e.Value, &s); err != nil || len(s.Hash) != len(w.seen[i].reader.Hash) {
			return nil, fmt.Errorf("%w: head of an HSM's command log", kv.ErrCorrupt)
		}
		w.seen[i].reader.Size = s.Size
		copy(w.seen[i].reader.Hash[:], s.Hash)
	}
	return w, nil
}

// run looks at the logs until ctx ends.
func (w *headWatch) run(ctx context.Context) {
	for {
		// A member that missed a change or a fence and has caught up serves again.
		if err := w.d.hsm.Refresh(ctx); err != nil && ctx.Err() == nil {
			w.d.cfg.Logger.Warn("state of the HSMs", "error", err)
		}
		for i, p := range w.d.hsm.Processes() {
			if p == nil {
				continue
			}
			select {
			case <-p.Done():
				continue
			default:
			}
			if err := w.look(ctx, i, p); err != nil && ctx.Err() == nil {
				w.d.cfg.Logger.Warn("command log of an HSM", "hsm", hsmName(i), "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-clock.System.After(headPeriod):
		}
	}
}

// look follows one log to its end, and records the head if it is a new one, or
// what is wrong with it.
func (w *headWatch) look(ctx context.Context, i int, p *hsm.Process) error {
	w.mu.Lock()
	reader, before := w.seen[i].reader, w.seen[i]
	w.mu.Unlock()
	told := false
	head, err := p.Client().ReadLog(ctx, &reader, func(e hsm.LogEntry) { told = told || e.Kind != message.LogCounters })
	now := seenHead{reader: reader, recorded: clock.System.Now()}
	switch {
	case errors.Is(err, hsm.ErrLogFork), errors.Is(err, hsm.ErrLogGap), errors.Is(err, hsm.ErrLogHead), errors.Is(err, hsm.ErrLogMalformed):
		// What was seen stays what is compared with: a log does not become good again.
		now.reader, now.problem = before.reader, err.Error()
	case err != nil:
		return err
	}
	if now.problem == before.problem && (now.reader.Size == before.reader.Size || !told && now.recorded.Sub(before.recorded) < countPeriod) {
		return nil
	}
	if err := w.record(ctx, head, now); err != nil {
		return err
	}
	value, err := cbor.Marshal(storedHead{now.reader.Size, now.reader.Hash[:]})
	if err != nil {
		return err
	}
	if _, err := w.d.store.Commit(ctx, nil, []kv.Op{{Key: headKey(quorum.MemberID(p.Identity())), Value: value}}); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[i] = now
	return nil
}

// record makes the event of a head, in the operator's log.
func (w *headWatch) record(ctx context.Context, head hsm.LogHead, seen seenHead) error {
	details, err := json.Marshal(struct {
		Member    string `json:"memberId"`
		Size      uint64 `json:"size"`
		Hash      []byte `json:"hash"`
		Time      uint64 `json:"time"`
		Signature []byte `json:"signature"`
		Problem   string `json:"problem,omitempty"`
	}{quorum.ID(head.Member).String(), head.Size, head.Hash[:], head.Time, head.Signature, seen.problem})
	if err != nil {
		return fmt.Errorf("daemon: head of a command log: %w", err)
	}
	r := record.Record{
		UserIdentity: record.UserIdentity{Type: record.AWSService, InvokedBy: "leadglass.amazonaws.com"},
		EventTime:    clock.System.Now(), EventSource: "leadglass.amazonaws.com", EventName: "HSMLogHead", AWSRegion: w.d.cfg.Region,
		SourceIPAddress: "leadglass.amazonaws.com", UserAgent: "leadglass.amazonaws.com", EventID: id.UUID(), EventType: record.TypeServiceEvent,
		ManagementEvent: true, EventCategory: record.CategoryManagement, RecipientAccountID: w.d.operator, ServiceEventDetails: details,
	}
	_, err = w.d.log.Append(ctx, log.Event{Account: w.d.operator, Kind: record.APIEvent, ID: r.EventID, Time: r.EventTime, JSON: r.AppendJSON(nil)})
	return err
}

// state is what is known of one log.
func (w *headWatch) state(i int) (size uint64, problem string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[i].reader.Size, w.seen[i].problem
}

func (w *headWatch) problems() []string {
	var out []string
	for i := range w.seen {
		if _, problem := w.state(i); problem != "" {
			out = append(out, fmt.Sprintf("the command log of %s is not what it was: %s", hsmName(i), problem))
		}
	}
	return out
}
