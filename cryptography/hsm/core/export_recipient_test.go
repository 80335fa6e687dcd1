package core

import (
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// Envelop makes a CiphertextForRecipient.
var Envelop = envelop

// Executes says whether an operation with parameters is what a body asks for.
func Executes(op uint64, p message.Params, body []byte) bool {
	c := &call{op: op, params: p}
	return c.executes(body)
}

// FlagAWSAttestation is the bit of the domain's policy flags.
const FlagAWSAttestation = flagAWSAttestation

// Govern gives the domain roots, flags and an operator, as commands do.
func (h *HSM) Govern(roots [][]byte, flags uint64, operators bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held, next := *h.held, *h.held.d
	next.state.Roots, next.state.Flags, next.state.Operators = roots, flags, next.state.Operators[:0:0]
	if operators {
		next.state.Operators = slices.Grow(next.state.Operators, 1)[:1]
	}
	held.d = &next
	h.held = &held
}
