package core

import (
	"bytes"
	"crypto/mlkem"
	"errors"
	"fmt"
	"maps"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// bundleName is the sealed custody in the store.
const bundleName = "domain.sealed"

// ErrDestroyed is returned for the store of an HSM that obeyed SelfDestruct.
var ErrDestroyed = errors.New("core: this HSM was told to destroy itself; a new one needs a new state directory")

// custody is all that an HSM keeps from one start to the next, sealed as one:
// who it is, its domain, and what it remembers of commands. It is one file,
// and so a command's nonce, the state that it made and the standing order that
// it gave are durable together or not at all. It is not changed after it was
// made: a change makes the next one.
type custody struct {
	me       *identity // nil: destroyed
	d        *domain   // nil: none
	nonces   map[quorum.ID]uint64
	standing standing
	shares   []quorum.SealedShare // of the recovery key, sealed to their holders: an answer that was lost can be had again
}

// after is the custody once a command's nonce is used. Nonces that nothing can
// come with any more are forgotten.
func (c *custody) after(nonce quorum.ID, notAfter, now uint64) *custody {
	next := *c
	next.nonces = maps.Clone(c.nonces)
	maps.DeleteFunc(next.nonces, func(_ quorum.ID, until uint64) bool { return until < now })
	if next.nonces == nil {
		next.nonces = make(map[quorum.ID]uint64)
	}
	next.nonces[nonce] = notAfter
	return &next
}

// seal encodes and seals: {1: HSK, 2: HAK, 3: ML-KEM seed, 4: DomainState,
// 5: [domain keys in the order of the state], 6: [[nonce, until ms]],
// 7: [from, to, interval] of a standing rotation, 8: [[operator, sealed
// share]]}. Without a domain 4 and 5 are empty; 6 to 8 are there if they are
// not. The first five are what the version before wrote, for one that nobody
// commanded. A destroyed HSM is {9: 1}.
func (c *custody) seal(sealer Sealer) ([]byte, error) {
	if c.me == nil {
		return sealDomain(sealer, link.AppendUint(link.AppendUint(link.AppendMap(nil, 1), 9), 1))
	}
	var encoded []byte
	var order []quorum.DomainKey
	size := 2*scalarLen + mlkem.SeedSize + 64 + len(c.nonces)*32
	if c.d != nil {
		encoded, order = c.d.encoded, c.d.state.Keys
		size += len(encoded) + len(order)*(dkLen+2)
	}
	for _, s := range c.shares {
		size += len(s.Sealed) + 32
	}
	// Large enough from the start: growing would leave keys behind.
	b := make([]byte, 0, size)
	defer func() { secret.Wipe(b[:cap(b)]) }()
	b = link.AppendMap(b, 5+present(len(c.nonces) > 0, c.standing.exists(), len(c.shares) > 0))
	for i, s := range []*secret.Bytes{c.me.hsk, c.me.hak, c.me.kem} {
		b = link.AppendUint(b, uint64(i+1))
		if err := s.Use(func(v []byte) error { b = link.AppendBytes(b, v); return nil }); err != nil {
			return nil, err
		}
	}
	b = link.AppendBytes(link.AppendUint(b, 4), encoded)
	b = link.AppendArray(link.AppendUint(b, 5), len(order))
	for _, k := range order {
		if err := c.d.keys[k.ID].Use(func(v []byte) error { b = link.AppendBytes(b, v); return nil }); err != nil {
			return nil, err
		}
	}
	if len(c.nonces) > 0 {
		b = link.AppendArray(link.AppendUint(b, 6), len(c.nonces))
		for nonce, until := range c.nonces {
			b = link.AppendUint(link.AppendBytes(link.AppendArray(b, 2), nonce[:]), until)
		}
	}
	if c.standing.exists() {
		b = c.standing.append(link.AppendUint(b, 7))
	}
	if len(c.shares) > 0 {
		b = link.AppendArray(link.AppendUint(b, 8), len(c.shares))
		for _, s := range c.shares {
			b = link.AppendBytes(link.AppendBytes(link.AppendArray(b, 2), s.Operator[:]), s.Sealed)
		}
	}
	return sealDomain(sealer, b)
}

func present(flags ...bool) (n int) {
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}

// unsealCustody reverses seal.
func unsealCustody(sealer Sealer, memory *secret.Arena, sealed []byte) (*custody, error) {
	b, err := openDomain(sealer, sealed)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(b)
	c := &custody{}
	r := link.NewReader(b)
	var scalars, seeds [][]byte
	var encoded []byte
	var keys [][]byte
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		last = r.Key(last)
		switch last {
		case 1, 2:
			scalars = append(scalars, r.Bytes())
		case 3:
			seeds = append(seeds, r.Bytes())
		case 4:
			encoded = r.Bytes()
		case 5:
			for m := r.Array(); m > 0 && !r.Failed(); m-- {
				keys = append(keys, r.Bytes())
			}
		case 6:
			c.parseNonces(r)
		case 7:
			c.standing.parse(r)
		case 8:
			c.parseShares(r)
		case 9:
			if r.Uint() == 1 && r.Done() == nil {
				return nil, ErrDestroyed
			}
			r.Fail()
		default:
			r.Fail() // of a later version, whose promises this one does not know
		}
	}
	if r.Done() != nil || len(scalars) != 2 || len(scalars[0]) != scalarLen || len(scalars[1]) != scalarLen ||
		len(seeds) != 1 || len(seeds[0]) != mlkem.SeedSize {
		return nil, fmt.Errorf("%w (its content is malformed)", ErrSealed)
	}
	if c.me, err = keepIdentity(memory, scalars[0], scalars[1], seeds[0]); err != nil {
		return nil, err
	}
	if len(encoded) == 0 {
		return c, nil
	}
	if c.d, err = domainOf(c.me, encoded, keys, memory); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrSealed, err)
	}
	return c, nil
}

func keepIdentity(memory *secret.Arena, hsk, hak, kem []byte) (*identity, error) {
	var kept [3]*secret.Bytes
	for i, b := range [][]byte{hsk, hak, kem} {
		var err error
		if kept[i], err = memory.From(b); err != nil {
			return nil, fmt.Errorf("core: %w", err)
		}
	}
	return identityOf(kept[0], agreement{hak: kept[1], kem: kept[2]})
}

func (c *custody) parseNonces(r *link.Reader) {
	c.nonces = make(map[quorum.ID]uint64)
	for n := r.Array(); n > 0 && !r.Failed(); n-- {
		var id quorum.ID
		if r.Array() != 2 || copy(id[:], r.Bytes()) != len(id) {
			r.Fail()
		}
		c.nonces[id] = r.Uint()
	}
}

func (c *custody) parseShares(r *link.Reader) {
	for n := r.Array(); n > 0 && !r.Failed(); n-- {
		var s quorum.SealedShare
		if r.Array() != 2 || copy(s.Operator[:], r.Bytes()) != len(s.Operator) {
			r.Fail()
		}
		s.Sealed = bytes.Clone(r.Bytes())
		c.shares = append(c.shares, s)
	}
}

// save seals the custody and makes it durable. A volatile HSM keeps nothing.
func (h *HSM) save(c *custody) error {
	if h.cfg.Volatile {
		return nil
	}
	sealed, err := c.seal(h.cfg.Sealer)
	if err != nil {
		return err
	}
	if err := h.cfg.Store.Save(bundleName, sealed); err != nil {
		return fmt.Errorf("core: %w", err)
	}
	return domainSaved(h.cfg.Sealer)
}

// enact makes a custody durable, and then the one that counts. The caller
// holds h.changing.
func (h *HSM) enact(next *custody) error {
	if err := h.save(next); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = next
	h.report = nil // it was about the state before
	if next.d == nil {
		h.newest.Store(0) // serials of another domain are no news
	}
	return nil
}
