package gate

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// An exchange is one request and its answer on their way through the stages.
// One goroutine owns it.
type exchange struct {
	gate   *Gate
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	cancel context.CancelFunc

	request  wire.Request
	held     int64 // bytes of the body that count in gate.bodies
	service  *wire.Service
	protocol wire.Protocol
	op       *operation.Operation
	call     *operation.Call
	caller   *sessions.Caller // nil until authenticated, and for unsigned operations

	asymmetric bool // the request says that it is signed with SigV4A
	// The caller as its organization limits it: what the policy engine is asked about.
	principal authz.Principal
	policies  authz.Policies

	in, out any
	valid   bool // in was decoded and has the right shape
	asks    []operation.Ask

	// What the policy engine said of the ask that decided: the refused one, else the last.
	decision authz.Decision
	decided  *operation.Ask
	refused  bool // authorize itself said no: the trace is of that decision

	*scratch

	fault      *wire.Fault // nil: success
	unrecorded int         // refusals before this one that were only counted
	receipt    string
}

// A scratch is the memory that one request after the other uses. Nothing of it
// outlives the exchange; the answer, which may hold a customer's plaintext, is
// wiped.
type scratch struct {
	common authz.Keys  // condition keys of the call and the caller
	trace  authz.Trace // of the ask that decided
	json   []byte      // the audit record
	answer []byte      // the encoded answer
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// release gives the scratch back. What one huge request grew is let go.
func (x *exchange) release() {
	s := x.scratch
	x.scratch = nil
	secret.Wipe(s.answer)
	if cap(s.json) > 64<<10 || cap(s.answer) > 64<<10 {
		return
	}
	s.common.Reset()
	s.trace.Reset()
	s.json, s.answer = s.json[:0], s.answer[:0]
	scratches.Put(s)
}

// accept is stage 1: ids, deadline, where the call came from.
func (g *Gate) accept(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{gate: g, w: w, r: r, scratch: scratches.Get().(*scratch), call: &operation.Call{
		RequestID: id.UUID(), EventID: id.UUID(),
		Time: g.Clock.Now(), Region: g.Region,
		SourceIP: sourceIP(r), UserAgent: r.UserAgent(), Secure: r.TLS != nil,
		WantProof: r.Header.Get(proofHeader) == "1",
	}}
	x.request = wire.Request{Method: r.Method, RawPath: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Host: r.Host, Header: r.Header}
	ctx, cancel := context.WithTimeout(r.Context(), Deadline)
	x.ctx, x.cancel = operation.WithCall(ctx, x.call), cancel
	return x
}

// end gives back what the exchange held.
func (x *exchange) end() {
	x.cancel()
	if x.held > 0 {
		x.gate.bodies.Add(-x.held)
	}
	x.release()
}

// sourceIP is the peer's address. Forwarding headers are not believed: there
// is no trusted proxy in front.
func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if i := strings.IndexByte(host, '%'); i >= 0 {
		host = host[:i] // an IPv6 zone is the machine's own business
	}
	return host
}

// signed is the request as package sigv4 looks at it.
func (x *exchange) signed() *sigv4.Request {
	return &sigv4.Request{
		Method: x.r.Method, Target: x.r.RequestURI, Host: x.r.Host, Header: x.r.Header, ContentLength: x.r.ContentLength,
	}
}

// name of the operation for a log line.
func (x *exchange) name() string {
	if x.op == nil {
		return "unknown"
	}
	return x.op.Info.Action()
}

func stack() string {
	b := make([]byte, 8<<10)
	return string(b[:runtime.Stack(b, false)])
}
