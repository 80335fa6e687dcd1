package operation

import "slices"

// A Remark is a member of the audit record's additionalEventData.
type Remark struct {
	Name string
	JSON []byte
}

// Remark puts a member into the record's additionalEventData. It must hold
// nothing that the caller's account may not read in its log (I-9).
func (c *Call) Remark(name string, json []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remarks = append(c.remarks, Remark{name, json})
}

// Remarks are the members so far.
func (c *Call) Remarks() []Remark {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.remarks)
}

// Prove gives the gate a proof of the answer, which a successful one carries in
// the header x-leadglass-answer-proof. Handlers call it when WantProof is set.
func (c *Call) Prove(proof []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proof = proof
}

// Proof is what Prove was given; nil if nothing.
func (c *Call) Proof() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proof
}
