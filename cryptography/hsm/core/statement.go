package core

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
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
		Key: c.attrs.name, Materials: materials, Time: uint64(c.h.cfg.Now().UnixMilli()), Domain: c.d.state.ID, Member: link.IDOf(c.h.identity),
	}
	signed, err := c.d.sign1(message.DestructionType, s.Append(nil), s.Member[:])
	if err != nil {
		return link.StatusInternal
	}
	c.result.Proof = signed
	return link.StatusOK
}

// sign1 is COSE_Sign1 (RFC 9052 section 4.2) with ES384 by HSK: protected
// {1: -35, 3: content type, 4: kid}, nothing unprotected. The content type is
// what keeps a statement of one kind from passing for one of another.
func (d *domain) sign1(contentType string, payload, kid []byte) ([]byte, error) {
	protected := link.AppendMap(nil, 3)
	protected = append(link.AppendUint(protected, 1), message.ES384...)
	protected = link.AppendText(link.AppendUint(protected, 3), contentType)
	protected = link.AppendBytes(link.AppendUint(protected, 4), kid)
	digest := sha512.Sum384(message.Sign1Input(protected, payload))
	sig := make([]byte, 96) // r ‖ s
	err := d.hsk.Use(func(scalar []byte) error {
		var err error
		secret.Do(func() {
			var key *ecdsa.PrivateKey
			if key, err = ecdsa.ParseRawPrivateKey(elliptic.P384(), scalar); err != nil {
				return
			}
			r, s, e := ecdsa.Sign(rand.Reader, key, digest[:])
			if err = e; err == nil {
				r.FillBytes(sig[:48])
				s.FillBytes(sig[48:])
			}
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return message.AppendSign1(nil, protected, payload, sig), nil
}
