// Package gate is the front door: it takes every request through the same
// stages in the same order, and nothing reaches a service in any other way.
//
// Start with Gate.ServeHTTP; the stages are listed in it, and each is one
// function: accept, route, read, authenticate, decode, validate, target,
// authorize, serve, record, write (wire-protocols section 3.1). A stage that
// fails ends the request with the error of its protocol, but from authenticate
// on every request, refused or not, still passes through record: no answer
// leaves before its audit record is durable (I-4). Only refusals of callers
// that nobody knows are counted instead of recorded beyond a rate, because
// anybody could fill the disk with them.
//
// Not done here: what a service does, what a policy means, how a signature is
// computed. The gate knows services only through their tables of operations.
package gate

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// Limits of every request (wire-protocols section 16).
const (
	// Deadline is what one operation may take.
	Deadline = 30 * time.Second
	// MaxBodies is how many bytes the bodies longer than smallBody may take together. They are read before anybody is
	// authenticated, so without a limit strangers could fill the memory of the process.
	MaxBodies = 128 << 20
	// smallBody is what nearly every request stays below.
	smallBody = 8 << 10
)

// An Authenticator finds out who signed a request.
type Authenticator interface {
	Authenticate(ctx context.Context, p *sigv4.Parsed, stringToSign []byte, canonicalDigest [32]byte) (*sessions.Caller, error)
	// CallerKey is the authority's statement of which public key checks the signature of a request that was
	// authenticated.
	CallerKey(ctx context.Context, p *sigv4.Parsed) ([]byte, error)
}

// A Recorder makes events durable. It limits by itself how long that may take
// (evidence/log: Config.AppendTimeout); a call whose record takes longer fails.
type Recorder interface {
	Append(ctx context.Context, e log.Event) (log.Receipt, error)
	AppendAll(ctx context.Context, es []log.Event) ([]log.Receipt, error)
}

// Config is what a gate needs; every field is required but AdditionalRegions, Accesses, Organizations, Resume and Logger.
type Config struct {
	Router        *wire.Router
	Operations    []operation.Operation
	Authenticator Authenticator
	Recorder      Recorder
	Clock         clock.Clock
	Region        string // the home region: of global services, and of requests that name none
	// AdditionalRegions are served as well: requests are for the region that they are signed for.
	AdditionalRegions []string
	// Operator is the operator's account. Its log keeps the refusals of callers whose account is not known, and only
	// its principals reach operator operations.
	Operator string
	Accesses Accesses // nil: not noted
	// Organizations says what limits an account from above; nil: nothing does.
	Organizations *organization.Organizations
	// Resume gives a connection back to the server that an answer with a secret took over, and says whether the server
	// has it; nil: such a connection is closed.
	Resume func(net.Conn) bool
	Logger *slog.Logger // nil: silent
}

func (c *Config) valid() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("gate: config lacks %s", what))
		}
	}
	need(c.Router != nil, "Router")
	need(len(c.Operations) > 0, "Operations")
	need(c.Authenticator != nil, "Authenticator")
	need(c.Recorder != nil, "Recorder")
	need(c.Clock != nil, "Clock")
	need(c.Region != "", "Region")
	need(c.Operator != "", "Operator")
	return errors.Join(errs...)
}

// A Gate is an http.Handler. Make one with New.
type Gate struct {
	Config
	table    map[*wire.OpInfo]*operation.Operation // read-only after New
	regions  []string
	requests sync.WaitGroup
	bodies   atomic.Int64 // bytes that bodies longer than smallBody take

	strangers strangers
}

// New builds a gate over the tables of all services. Two entries for one
// operation, or an entry that asks nothing and is not marked free, are refused.
func New(c Config) (*Gate, error) {
	if err := c.valid(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gate{Config: c, table: make(map[*wire.OpInfo]*operation.Operation, len(c.Operations)), regions: append([]string{c.Region}, c.AdditionalRegions...)}
	g.strangers.seed = maphash.MakeSeed()
	for i := range c.Operations {
		op := &c.Operations[i]
		if g.table[op.Info] != nil {
			return nil, fmt.Errorf("gate: %s is in two tables", op.Info.Action())
		}
		if op.Target == nil && !op.Free {
			return nil, fmt.Errorf("gate: %s asks nothing and is not free", op.Info.Action())
		}
		g.table[op.Info] = op
	}
	return g, nil
}

// ServeHTTP answers one request.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.requests.Add(1)
	defer g.requests.Done()
	x := g.accept(w, r)
	defer x.end()
	err := x.pass()
	x.settle(err)
	x.note()
	if x.recorded() && !x.throttled() {
		if err := x.record(); err != nil {
			g.Logger.Error("audit record not durable, answer withheld", "request", x.call.RequestID, "error", err)
			x.withhold()
		}
	}
	x.write()
}

// Drain waits until every request that was accepted has been answered.
func (g *Gate) Drain() { g.requests.Wait() }

// pass runs the stages until one fails. A panic is a broken invariant: it is
// logged and answered as an internal error, and the request is recorded.
func (x *exchange) pass() (err error) {
	defer func() {
		if p := recover(); p != nil {
			x.gate.Logger.Error("panic", "request", x.call.RequestID, "operation", x.name(), "panic", fmt.Sprintf("%T", p), "stack", stack())
			x.out = nil
			err = errors.New("gate: panic")
		}
	}()
	for _, stage := range [...]func(*exchange) error{
		(*exchange).route,
		(*exchange).read,
		(*exchange).authenticate,
		(*exchange).decode,
		(*exchange).validate,
		(*exchange).target,
		(*exchange).authorize,
		(*exchange).serve,
	} {
		if err := stage(x); err != nil {
			return err
		}
	}
	return nil
}
