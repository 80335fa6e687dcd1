package core

import (
	"bytes"
	"context"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	hsm "github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// The root key's token after a rotation of the HSM's domain key. This process
// keeps it, and the HSM seals it anew for nobody else, since it demands the
// role "authority". The front says under which domain key tokens are to be, and
// hears under which this one is: names, and nothing that opens anything.

// ask makes one call of the HSM.
func ask(ctx context.Context, c *link.Client, op uint64, token []byte, p *hsm.Params, take func(*hsm.Result) error) error {
	return c.Call(ctx, op, token, p.Append, func(body []byte) error {
		var r hsm.Result
		if err := r.Parse(body); err != nil {
			return err
		}
		return take(&r)
	})
}

// parseRoot reads the stored root key: [token, ciphertext, id].
func parseRoot(stored []byte) (token, blob []byte, id [4]byte, err error) {
	in := link.NewReader(stored)
	if in.Array() != 3 {
		in.Fail()
	}
	token, blob = in.Bytes(), in.Bytes()
	if copy(id[:], in.Bytes()) != len(id) || in.Done() != nil {
		return nil, nil, id, errState
	}
	return token, blob, id, nil
}

func (a *authority) saveRoot(token, blob []byte, id [4]byte) error {
	out := link.AppendArray(nil, 3)
	out = link.AppendBytes(link.AppendBytes(link.AppendBytes(out, token), blob), id[:])
	return a.store.Save(rootName, out)
}

// domainKeyOf is the id of the domain key that a token is under (hsm-domain
// section 6: "LGE1" and then the id).
func domainKeyOf(token []byte) []byte {
	if len(token) < 12 {
		return nil
	}
	return bytes.Clone(token[4:12])
}

// rewrapRoot brings the root key's token under the domain key that Message
// names, if it is under another one, and answers with the id of the one that
// it is under then. Without a name it only answers.
func (a *authority) rewrapRoot(p *message.Params, r *result) error {
	a.open.Lock()
	defer a.open.Unlock()
	stored, found, err := a.store.Load(rootName)
	if err != nil {
		return err
	}
	if !found {
		return errState
	}
	token, blob, id, err := parseRoot(stored)
	if err != nil {
		return err
	}
	if r.Message = domainKeyOf(token); len(p.Message) == 0 || bytes.Equal(r.Message, p.Message) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), hsmTimeout)
	defer cancel()
	err = ask(ctx, a.hsmClient, hsm.OpRewrapEKT, token, &hsm.Params{}, func(r *hsm.Result) error {
		token = bytes.Clone(r.Token)
		return nil
	})
	if err != nil {
		return err
	}
	r.Message = domainKeyOf(token)
	return a.saveRoot(token, blob, id)
}
