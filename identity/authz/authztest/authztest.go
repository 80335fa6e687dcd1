// Package authztest makes random policies and requests, and answers them by a
// reference evaluator: §5 of the specification of policy evaluation written
// down as it stands, slow and plain. It shares nothing with identity/authz but
// the text of the documents, so whoever decides by other means (the engine, the
// simulator, a reasoner) can be compared with it case by case.
//
// Start with New; World.Next gives one request after the other under the
// policies of the world, World.Reference says what must come out. Equal seeds
// give equal worlds. Only tests import this package.
package authztest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/leadglass/leadglass/identity/authz"
)

// A World is a set of policies and, after Next, a request to them.
type World struct {
	// Request is what the engine is asked. Its documents are compiled from the texts that the reference reads.
	Request *authz.Request

	dice dice
	ref  *refWorld
}

// New makes the policies of a world.
func New(seed uint64) *World {
	w := &World{dice: dice{rand.New(rand.NewPCG(seed, 0x1ead61a55))}}
	w.ref, w.Request = w.dice.world()
	return w
}

// Next puts another caller, action, resource and context into Request.
func (w *World) Next() { w.dice.ask(w.ref, w.Request) }

// Reference is the decision that must come out, "allow", "implicit_deny" or
// "explicit_deny", and the short name of the policy type that makes it.
func (w *World) Reference() (decision, by string) { return w.ref.refDecide() }

// String is the whole case, for the report of a difference.
func (w *World) String() string {
	r := w.ref
	b, err := json.Marshal(map[string]any{
		"identity": r.identity, "boundary": r.boundary, "session": r.session, "scps": r.scps, "rcps": r.rcps,
		"resource": r.resourcePolicy, "vpce": r.endpoint, "context": r.context, "common": r.common, "action": r.action, "on": r.resource,
		"principal": fmt.Sprintf("%+v", r.p), "grants": fmt.Sprintf("%+v", r.grants), "bound": r.bound,
	})
	if err != nil {
		return err.Error()
	}
	return string(b)
}
