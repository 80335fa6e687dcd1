package core

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	hsm "github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// Files in the store.
const (
	rootName        = "root.sealed"        // the root key as the HSM wrapped it
	tokenKeysName   = "tokens.sealed"      // keys that make sessions
	revocationsName = "revocations.sealed" // what was revoked
	attemptsName    = "attempts.sealed"    // codes that were used, and wrong attempts
)

const (
	roleAuthority = "authority"
	hsmTimeout    = 10 * time.Second
)

// rootContext is the encryption context of the root key's data key.
func rootContext() ([]byte, error) {
	return hsm.AppendContext(nil, map[string]string{"leadglass": "authority root v1"})
}

// openRoot fetches the root key from the HSM and loads what it seals. Until it
// has succeeded nothing else is answered; once it has, it does nothing.
//
// The root key is a data key under a key of the HSM whose token demands the
// role "authority": a front that gets hold of token and ciphertext (they lie
// in the store) is refused by the HSM itself.
func (a *authority) openRoot(*message.Params, *result) error {
	a.open.Lock()
	defer a.open.Unlock()
	if a.root.Load() != nil {
		return nil
	}
	server, err := link.ParsePublic(a.hsm)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), hsmTimeout)
	defer cancel()
	c, err := link.Dial(ctx, a.hsmLink, link.ClientConfig{Host: a.host, Server: server, Now: a.now})
	if err != nil {
		return err
	}
	opened := false
	defer func() {
		if !opened {
			_ = c.Close()
		}
	}()
	key, id, err := a.fetchRoot(ctx, c)
	if err != nil {
		return err
	}
	defer key.Destroy()
	next := &root{id: id}
	for _, part := range []struct {
		dst   **secret.Bytes
		label string
	}{{&next.record, "leadglass authority records v1"}, {&next.state, "leadglass authority state v1"}} {
		if *part.dst, err = a.memory.New(32); err != nil {
			return err
		}
		err = key.Use(func(own []byte) error {
			return (*part.dst).Use(func(out []byte) error {
				kdf.Derive((*[32]byte)(out), own, part.label, nil)
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	var nobody [message.SecretLen]byte
	rand.Read(nobody[:])
	if next.dummy, err = sealRecord(next, dummyID, nobody[:]); err != nil {
		return err
	}
	if err := a.tokens.load(a, next); err != nil {
		return err
	}
	if err := a.revocations.load(a, next); err != nil {
		return err
	}
	if err := a.attempts.load(a, next); err != nil {
		return err
	}
	// The link stays, for rewrapRoot alone.
	a.hsmClient, opened = c, true
	a.root.Store(next)
	return nil
}

// fetchRoot opens the stored root key, or has the HSM make one. Either way the
// key's token is left sealed under the HSM's present domain key.
func (a *authority) fetchRoot(ctx context.Context, c *link.Client) (key *secret.Bytes, id [4]byte, err error) {
	bound, err := rootContext()
	if err != nil {
		return nil, id, err
	}
	call := func(op uint64, token []byte, p *hsm.Params, take func(*hsm.Result) error) error {
		return ask(ctx, c, op, token, p, take)
	}
	keep := func(r *hsm.Result) (err error) {
		if len(r.Data) != 32 {
			return errState
		}
		key, err = a.memory.From(r.Data)
		return err
	}
	stored, found, err := a.store.Load(rootName)
	if err != nil {
		return nil, id, err
	}
	var token, blob []byte
	if found {
		if token, blob, id, err = parseRoot(stored); err != nil {
			return nil, id, err
		}
		if err := call(hsm.OpDecrypt, token, &hsm.Params{Blob: blob, Context: bound}, keep); err != nil {
			return nil, id, fmt.Errorf("core: root key: %w", err)
		}
		err = call(hsm.OpRewrapEKT, token, &hsm.Params{}, func(r *hsm.Result) error {
			token = bytes.Clone(r.Token)
			return nil
		})
	} else {
		rand.Read(id[:])
		p := hsm.Params{Spec: hsm.SpecSymmetric, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", Name: "authority", Role: roleAuthority}
		err = call(hsm.OpGenerateKey, nil, &p, func(r *hsm.Result) error { token = bytes.Clone(r.Token); return nil })
		if err == nil {
			err = call(hsm.OpGenerateDataKey, token, &hsm.Params{Length: 32, Context: bound}, func(r *hsm.Result) error {
				blob = bytes.Clone(r.Blob)
				return keep(r)
			})
		}
	}
	if err != nil {
		return nil, id, fmt.Errorf("core: root key: %w", err)
	}
	return key, id, a.saveRoot(token, blob, id)
}

// saveState seals and stores a file of this process. The name is part of the
// AAD, so that one file does not pass for another.
func (a *authority) saveState(r *root, name string, plain []byte) error {
	out := appendRandom(make([]byte, 0, kdfNonce+len(plain)+gcmOverhead), kdfNonce)
	err := derived(r.state, "leadglass authority file v1", out, func(aead cipher.AEAD) error {
		out = aead.Seal(out, nil, plain, []byte(name))
		return nil
	})
	if err != nil {
		return err
	}
	return a.store.Save(name, out)
}

// loadState reverses saveState. The caller wipes what it gets.
func (a *authority) loadState(r *root, name string) (plain []byte, found bool, err error) {
	sealed, found, err := a.store.Load(name)
	if err != nil || !found {
		return nil, false, err
	}
	if len(sealed) < kdfNonce+gcmOverhead {
		return nil, false, errState
	}
	err = derived(r.state, "leadglass authority file v1", sealed[:kdfNonce], func(aead cipher.AEAD) error {
		plain, err = aead.Open(nil, nil, sealed[kdfNonce:], []byte(name))
		if err != nil {
			return errState
		}
		return nil
	})
	return plain, err == nil, err
}
