package gate

import (
	"context"
	"errors"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// commonFault is a common error in the request's own protocol.
func (x *exchange) commonFault(k wire.Kind, message string) *wire.Fault {
	return wire.CommonFault(k, x.service, x.protocol, message)
}

// settle turns the error of a stage into the fault that the client sees. What
// is not a modelled error is logged with the request id and answered with a
// fixed text: its own text could hold anything.
func (x *exchange) settle(err error) {
	if err == nil {
		return
	}
	x.out = nil
	for _, r := range x.call.TakeRevealed() {
		r.Secret.Destroy()
	}
	var (
		auth   *sigv4.Error
		denied *operation.Denied
	)
	switch {
	case errors.As(err, &auth):
		code, status := auth.Code(family(x.protocol))
		x.fault = &wire.Fault{Code: code, Message: auth.Message, Status: status}
	case errors.As(err, &denied):
		x.trace.Reset() // of a question that was answered before, if any
		x.fault = x.denial(&denied.Ask, denied.Decision)
	case errors.Is(err, refused{}):
		x.fault = x.denial(x.decided, x.decision)
	case errors.Is(err, sessions.ErrUnavailable):
		// Whoever cannot be authenticated is nobody: fail closed, and say that it may pass.
		x.gate.Logger.Error("cannot authenticate", "request", x.call.RequestID, "error", err)
		x.fault = x.commonFault(wire.Unavailable, "")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		x.fault = x.commonFault(wire.Unavailable, "")
	default:
		if fault, ok := wire.FaultOf(err); ok {
			x.fault = fault
			return
		}
		x.gate.Logger.Error("internal error", "request", x.call.RequestID, "operation", x.name(), "error", err)
		x.fault = x.commonFault(wire.Internal, "")
	}
}

// denial is the sentence that tools parse (wire-protocols section 13.2).
func (x *exchange) denial(a *operation.Ask, d authz.Decision) *wire.Fault {
	if x.caller == nil {
		return x.commonFault(wire.AccessDenied, "Access denied.")
	}
	// Of a refusal only the refused question is recorded, whether the engine refused it or the target did: the caller
	// reads its own log, and must not find there what the answer kept from it (I-7).
	x.asks = []operation.Ask{*a}
	x.decided, x.decision = &x.asks[0], d
	return x.commonFault(wire.AccessDenied, d.Message(&x.caller.Principal, a))
}

// withhold replaces the answer by the service's retryable internal error: the
// record of the call is not durable, so nothing of its result may leave (I-4).
func (x *exchange) withhold() {
	for _, r := range x.call.TakeRevealed() {
		r.Secret.Destroy()
	}
	x.out, x.receipt = nil, ""
	x.fault = x.commonFault(wire.Unrecorded, "")
}

// family is the protocol's column in sigv4 section 8.
func family(p wire.Protocol) sigv4.Family {
	switch p {
	case wire.Query:
		return sigv4.Query
	case wire.EC2:
		return sigv4.EC2
	case wire.RESTJSON:
		return sigv4.RESTJSON
	case wire.RESTXML:
		return sigv4.RESTXML
	}
	return sigv4.JSON
}
