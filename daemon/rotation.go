package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/cryptography/rotation"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/service/leadglass"
	"github.com/leadglass/leadglass/state/kv"
)

// domainTokenName is where the newest domain token rests: of no use without a
// member's agreement key, or enough shares of the recovery key.
var domainTokenName = kv.Table('T').Text("domain token")

// openRotation makes what rotates the domain key. Everything of this plane that
// keeps key tokens is a holder of it; a new one belongs here.
func (d *Daemon) openRotation() (err error) {
	d.rotation, err = rotation.New(rotation.Config{
		Pool: d.hsm.Pool(), Clock: clock.System, Period: d.cfg.DomainKeyRotation, Log: d.cfg.Logger,
		Holders: []rotation.Holder{keyTokens{d.keys}, auditTokens{d.log}, logToken{d}, rootToken{d}},
		Keep: func(ctx context.Context, token []byte) error {
			_, err := d.store.Commit(ctx, nil, []kv.Op{{Key: domainTokenName, Value: token}})
			return err
		},
		Record: d.recordRotation,
	})
	return err
}

// keyTokens are the tokens of customers' keys and of key stores.
type keyTokens struct{ keys *keys.Keys }

func (h keyTokens) Name() string { return "keys" }

func (h keyTokens) Rewrap(ctx context.Context, active hsm.DomainKeyID, seal rotation.Seal, done func(int)) error {
	_, err := h.keys.Rewrap(ctx, keys.Rewrap{Active: active, Seal: seal, Done: done})
	return err
}

func (h keyTokens) Count(context.Context) (map[hsm.DomainKeyID]int, error) {
	return h.keys.DomainKeys()
}

// countOf adds a token to a count.
func countOf(found map[hsm.DomainKeyID]int, token []byte) error {
	dk, ok := hsm.DomainKeyOf(token)
	if !ok {
		return fmt.Errorf("%w: a key token", kv.ErrCorrupt)
	}
	found[dk]++
	return nil
}

// replaced is a token under the active key: the one that there is, or a new one.
func replaced(ctx context.Context, active hsm.DomainKeyID, seal rotation.Seal, token []byte) ([]byte, error) {
	if dk, ok := hsm.DomainKeyOf(token); ok && dk == active {
		return token, nil
	}
	return seal(ctx, token)
}

// auditTokens are those of accounts' audit keys.
type auditTokens struct{ log *log.Log }

func (h auditTokens) Name() string { return "audit keys" }

func (h auditTokens) Rewrap(ctx context.Context, active hsm.DomainKeyID, seal rotation.Seal, done func(int)) error {
	n, err := h.log.ReplaceHandles(ctx, func(ctx context.Context, handle []byte) ([]byte, error) {
		return replaced(ctx, active, seal, handle)
	})
	done(n)
	return err
}

func (h auditTokens) Count(context.Context) (map[hsm.DomainKeyID]int, error) {
	found := map[hsm.DomainKeyID]int{}
	for _, handle := range h.log.Handles() {
		if err := countOf(found, handle); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// logToken is that of the audit log's signer. The store has what counts.
type logToken struct{ d *Daemon }

func (h logToken) Name() string { return "log signer" }

func (h logToken) load(ctx context.Context) (key logKey, at kv.Rev, err error) {
	e, err := h.d.store.Get(ctx, logKeyName)
	if err != nil {
		return key, 0, err
	}
	if err := cbor.Unmarshal(e.Value, &key); err != nil {
		return key, 0, fmt.Errorf("%w: log signer: %w", kv.ErrCorrupt, err)
	}
	return key, e.Mod, nil
}

func (h logToken) Rewrap(ctx context.Context, active hsm.DomainKeyID, seal rotation.Seal, done func(int)) error {
	key, at, err := h.load(ctx)
	if err != nil {
		return err
	}
	next, err := replaced(ctx, active, seal, key.EKT)
	if err != nil || bytes.Equal(next, key.EKT) {
		return err
	}
	key.EKT = next
	b, err := cbor.Marshal(key)
	if err != nil {
		return err
	}
	if _, err := h.d.store.Commit(ctx, []kv.Cond{{Key: logKeyName, Mod: at}}, []kv.Op{{Key: logKeyName, Value: b}}); err != nil {
		return err
	}
	h.d.logSigner.Store(&next)
	done(1)
	return nil
}

func (h logToken) Count(ctx context.Context) (map[hsm.DomainKeyID]int, error) {
	key, _, err := h.load(ctx)
	if err != nil {
		return nil, err
	}
	found := map[hsm.DomainKeyID]int{}
	return found, countOf(found, key.EKT)
}

// rootToken is that of the authority's root key, which the authority keeps and
// replaces itself.
type rootToken struct{ d *Daemon }

func (h rootToken) Name() string { return "authority" }

func (h rootToken) Rewrap(ctx context.Context, active hsm.DomainKeyID, _ rotation.Seal, done func(int)) error {
	before, err := h.d.authority.Client().RewrapRoot(ctx, hsm.DomainKeyID{})
	if err != nil || before == active {
		return err
	}
	if _, err := h.d.authority.Client().RewrapRoot(ctx, active); err != nil {
		return err
	}
	done(1)
	return nil
}

func (h rootToken) Count(ctx context.Context) (map[hsm.DomainKeyID]int, error) {
	dk, err := h.d.authority.Client().RewrapRoot(ctx, hsm.DomainKeyID{})
	return map[hsm.DomainKeyID]int{dk: 1}, err
}

// recordRotation makes an event of the operator's log.
func (d *Daemon) recordRotation(ctx context.Context, e rotation.Event) error {
	hex := func(dk hsm.DomainKeyID) string { return fmt.Sprintf("%x", dk) }
	var gone []string
	for _, dk := range e.Destroyed {
		gone = append(gone, hex(dk))
	}
	details, err := json.Marshal(struct {
		Serial    uint64   `json:"serial"`
		Active    string   `json:"activeKey"`
		Destroyed []string `json:"destroyedKeys,omitempty"`
		Tokens    int      `json:"tokens,omitempty"`
		Left      int      `json:"left,omitempty"`
		Problem   string   `json:"problem,omitempty"`
	}{e.Serial, hex(e.Active), gone, e.Tokens, e.Left, e.Problem})
	if err != nil {
		return fmt.Errorf("daemon: event of a rotation: %w", err)
	}
	r := record.Record{
		UserIdentity: record.UserIdentity{Type: record.AWSService, InvokedBy: "leadglass.amazonaws.com"},
		EventTime:    clock.System.Now(), EventSource: "leadglass.amazonaws.com", EventName: e.Name, AWSRegion: d.cfg.Region,
		SourceIPAddress: "leadglass.amazonaws.com", UserAgent: "leadglass.amazonaws.com", EventID: id.UUID(), EventType: record.TypeServiceEvent,
		ManagementEvent: true, EventCategory: record.CategoryManagement, RecipientAccountID: d.operator, ServiceEventDetails: details,
	}
	_, err = d.log.Append(ctx, log.Event{Account: d.operator, Kind: record.APIEvent, ID: r.EventID, Time: r.EventTime, JSON: r.AppendJSON(nil)})
	return err
}

// domainKeys is what health says of domain keys.
func (d *Daemon) domainKeys() leadglass.DomainKeys {
	s := d.rotation.State()
	out := leadglass.DomainKeys{Made: s.Made, Keys: s.Keys, Running: s.Running, Tokens: s.Tokens, Left: s.Left, Problem: s.Problem}
	if s.Keys > 0 {
		out.Active = fmt.Sprintf("%x", s.Active)
	}
	return out
}

// rotationWarnings say what keeps domain keys from being changed.
func (d *Daemon) rotationWarnings() []string {
	if d.rotation == nil {
		return nil
	}
	s := d.rotation.State()
	var out []string
	age := clock.System.Now().Sub(s.Made).Truncate(time.Hour)
	switch {
	case s.Overdue && s.Ruled:
		out = append(out, fmt.Sprintf("the HSM's domain key is %v old: the custodians' standing command to rotate it is missing or over (leadglass hsm rotate)", age))
	case s.Overdue:
		out = append(out, fmt.Sprintf("the HSM's domain key is %v old and was not rotated", age))
	}
	if s.Problem != "" {
		out = append(out, "domain keys: "+s.Problem)
	}
	return out
}

// signerToken is the token of the log's signer, as it is at present.
type signerToken = atomic.Pointer[[]byte]
