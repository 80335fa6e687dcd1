// Package operation is what a service hands to the gate: a table of
// operations, and that table is the whole list of what can be done to it.
// Nothing else is reachable, which is what "every operation is pre-vetted"
// means in code.
//
// A service builds its table with New. Each entry joins the wire facts of the
// operation (generated, package api/...), the handler, and the Target: the
// questions that the policy engine must answer with yes before the handler
// runs. A handler never sees HTTP, never sees a signature and never calls the
// policy engine for its own action; it learns who calls from CallFrom.
//
// The package holds types only. The stages that use them are in package gate.
package operation

import (
	"context"
	"fmt"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/wire"
)

// The authorization types that services fill, so that they need not import
// the policy engine.
type (
	Ask       = authz.Ask
	Keys      = authz.Keys
	Grant     = authz.Grant
	Decision  = authz.Decision
	Principal = authz.Principal
)

// A Target answers: which questions must the policy engine say yes to before
// the handler runs? It resolves names and defaults; it changes nothing. All
// asks must be allowed. An empty list means that nothing may be done: it is
// refused, unless the operation is Free.
type Target[I any] func(ctx context.Context, in *I) ([]Ask, error)

// An Operation is one entry of a service's table.
type Operation struct {
	Info *wire.OpInfo

	// NewInput makes an empty input for the codec to fill.
	NewInput func() any
	// Target gives the asks for an input made by NewInput.
	Target func(ctx context.Context, in any) ([]Ask, error)
	// Serve runs the handler.
	Serve func(ctx context.Context, in any) (out any, err error)

	// Free: authenticated, never authorised (sts:GetCallerIdentity).
	Free bool
	// Unsigned: may be called without a signature; the input itself carries what authenticates the caller.
	Unsigned bool
	// Identified: unsigned, and the target finds out from the input who calls, by leaving the caller in Call.Session;
	// the asks are then put for that caller. Without one nothing is allowed.
	Identified bool
	// Operator: only principals of the operator's own account reach it, whatever their policies say.
	Operator bool
}

// An Option changes an operation from the ordinary: signed and authorised.
type Option func(*Operation)

// Unsigned lets callers without credentials in.
func Unsigned(o *Operation) { o.Unsigned = true; o.Free = true }

// Identified lets callers in whose input says who they are (sts:AssumeRoleWithWebIdentity).
func Identified(o *Operation) { o.Unsigned = true; o.Identified = true }

// Operator reserves the operation for the operator's account.
func Operator(o *Operation) { o.Operator = true }

// New joins an operation's wire facts, its handler and its target. A nil
// target makes the operation Free.
func New[I, O any](op wire.Op[I, O], serve func(context.Context, *I) (*O, error), target Target[I], opts ...Option) Operation {
	o := Operation{
		Info:     op.Info(),
		NewInput: func() any { return new(I) },
		Serve: func(ctx context.Context, in any) (any, error) {
			out, err := serve(ctx, in.(*I))
			if out == nil {
				return nil, err // an untyped nil: the codec must not meet a typed one
			}
			return out, err
		},
		Free: target == nil,
	}
	if target != nil {
		o.Target = func(ctx context.Context, in any) ([]Ask, error) { return target(ctx, in.(*I)) }
	}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// On is the target of an operation that asks one question.
func On[I any](ask func(ctx context.Context, in *I) (Ask, error)) Target[I] {
	return func(ctx context.Context, in *I) ([]Ask, error) {
		a, err := ask(ctx, in)
		if err != nil {
			return nil, err
		}
		return []Ask{a}, nil
	}
}

// OnAll is the target of an operation that concerns no single resource: the
// action on "*" of the caller's account.
func OnAll[I any](action string) Target[I] {
	return func(ctx context.Context, _ *I) ([]Ask, error) {
		return []Ask{{Action: action, Resource: "*", Owner: CallFrom(ctx).Account}}, nil
	}
}

// A Denied error is answered exactly like the refusal of its ask. Services
// return it for what the caller may not know to be missing.
type Denied struct {
	Ask Ask
	// Decision is what Call.Evaluate said of the ask, or of the one that the ask stands for: the answer gives its
	// reason. The zero Decision gives none, as for a caller of another account.
	Decision Decision
}

func (d *Denied) Error() string {
	return fmt.Sprintf("operation: %s denied on %s", d.Ask.Action, d.Ask.Resource)
}
