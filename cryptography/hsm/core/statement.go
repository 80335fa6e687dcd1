package core

import (
	"bytes"
	"crypto/sha512"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// destruction states, signed by this HSM, that a key is gone (hsm-domain
// section 9): from now on it opens no token of that name. The materials are
// those whose tokens the host brought (Data: array of tokens, besides the
// call's own), each of which was opened and is of this key.
func (c *call) destruction() uint64 {
	materials := [][]byte{bytes.Clone(c.attrs.material[:])}
	r := link.NewReader(c.params.Data)
	if len(c.params.Data) > 0 {
		for n := r.Array(); n > 0 && !r.Failed(); n-- {
			var a attributes
			_, status := c.d.unseal(r.Bytes(), &a, c.material[:])
			if status != link.StatusOK {
				return status
			}
			if a.name != c.attrs.name {
				return link.StatusWrongToken
			}
			materials = append(materials, bytes.Clone(a.material[:]))
		}
		if r.Done() != nil {
			return link.StatusBadRequest
		}
	}
	s := message.Destruction{
		Key: c.attrs.name, Materials: materials, Time: uint64(c.h.cfg.Now().UnixMilli()), Domain: c.d.state.ID[:], Member: link.IDOf(c.h.identity),
	}
	return c.state(message.DestructionHeader(s.Member[:]), s.Append(nil))
}

// state makes the proof of the result: a COSE_Sign1 of this HSM's, whose header
// says what it states.
func (c *call) state(header, payload []byte) uint64 {
	digest := sha512.Sum384(message.AnswerInput(header, payload))
	der, err := c.d.signIdentity(digest[:])
	if err != nil {
		return link.StatusInternal
	}
	sig, ok := rawSignature(der)
	if !ok {
		return link.StatusInternal
	}
	c.result.Proof = message.AppendSigned(nil, header, payload, sig)
	return link.StatusOK
}
