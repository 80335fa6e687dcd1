package sessions

import (
	"context"
	"fmt"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

// Chunks is key mode for bodies that are sent in chunks: the verifier of the
// body of a request that this keyring has let in. What its kept key does not
// answer, because it was evicted while the body was under way or did not make
// the signature, is left to the authority, as by the function Chunks; so a
// credential that ends, ends its bodies as well.
func (k *Keyring) Chunks(d *directory.Directory, p *sigv4.Parsed) chunked.Verifier {
	return &chunkKeyring{ring: k, directory: d, p: p, witness: Chunks(d, k.cfg.Authority, p)}
}

type chunkKeyring struct {
	ring      *Keyring
	directory *directory.Directory
	p         *sigv4.Parsed
	witness   chunked.Verifier
}

func (v *chunkKeyring) Verify(ctx context.Context, previous []byte, links []chunked.Link) (ok bool, err error) {
	k, p := v.ring, v.p
	if k.watch.Gone() {
		return false, fmt.Errorf("%w: silent for %v", ErrUnavailable, authority.Lost)
	}
	q := authority.Request{AccessKeyID: p.AccessKeyID, SessionToken: p.SessionToken}
	if p.SessionToken == "" {
		c, known := v.directory.Credential(p.AccessKeyID)
		if !known || !c.Active {
			return false, sigv4.Refuse(sigv4.UnknownKey)
		}
		q.Sealed = c.Sealed
	}
	if e := k.kept(&q, &sigv4.StringToSign{Asymmetric: p.Asymmetric(), Date: p.Date, Region: p.Region, Service: p.Service}); e != nil {
		if e.public != nil {
			ok, err = chunked.PublicKey(p, e.public).Verify(ctx, previous, links)
		} else {
			err = e.key.Use(func(own []byte) (err error) {
				ok, err = chunked.Key(p, (*[32]byte)(own)).Verify(ctx, previous, links)
				return err
			})
		}
		if ok && err == nil {
			k.hits.Add(1)
			return true, nil
		}
	}
	k.asked.Add(1)
	return v.witness.Verify(ctx, previous, links)
}

// kept is the entry with a key for a scope, if there is one that may be used.
func (k *Keyring) kept(q *authority.Request, s *sigv4.StringToSign) *entry {
	if !k.watch.Live() {
		return nil
	}
	now := k.cfg.Clock.Now()
	k.mu.Lock()
	e := k.keys.get(place(q, s), now)
	k.mu.Unlock()
	if e != nil && e.claims != nil && !now.Before(e.claims.Expires) {
		return nil
	}
	return e
}
