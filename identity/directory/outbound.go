package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/state/kv"
)

// How the keys of outbound tokens change. A key is published as soon as it is
// made, signs from signerSettled on, so that whoever verifies may keep a copy of
// the published keys for so long, until its successor does, and is published
// signerKept longer, which outlives every token that it signed.
const (
	signerLife    = 90 * 24 * time.Hour
	signerSettled = 24 * time.Hour
	signerKept    = 24 * time.Hour
)

// An Outbound says how an account's principals are known to the world outside
// (GetWebIdentityToken).
type Outbound struct {
	Issuer  string // id of the account's issuer: a part of its URL; "": never enabled
	Enabled bool
}

// A Signer signs outbound tokens. The authority alone can open Sealed.
type Signer struct {
	Issuer    string
	Algorithm string // RS256 or ES384
	Sealed    []byte // not to be changed
}

// A NewSignerKey makes a key for tokens of an account: *authority.Client's NewSigner.
type NewSignerKey func(ctx context.Context, account, algorithm string) (sealed, jwk []byte, err error)

type outboundRecord struct {
	Issuer  string         `cbor:"1,keyasint"`
	Enabled bool           `cbor:"2,keyasint,omitempty"`
	Signers []signerRecord `cbor:"3,keyasint,omitempty"` // the eldest first
}

type signerRecord struct {
	Algorithm string `cbor:"1,keyasint"`
	JWK       []byte `cbor:"2,keyasint"`
	Sealed    []byte `cbor:"3,keyasint"`
	Created   int64  `cbor:"4,keyasint"`
}

const sectionOutbound = "outbound"

func outboundKey(account string) kv.Key { return recordKey(account, sectionOutbound, "issuer") }

// signerAlgorithms are what an account's issuer signs by.
func signerAlgorithms() []string { return []string{"RS256", "ES384"} }

// EnableOutbound lets an account's principals have outbound tokens. The issuer
// keeps its id when it was enabled before.
func (d *Directory) EnableOutbound(ctx context.Context, account string, make NewSignerKey) (Outbound, error) {
	r, err := d.need(account)
	if err != nil {
		return Outbound{}, err
	}
	if o := r.outboundNow(); o.Enabled {
		return Outbound{}, refuse(FeatureEnabled, "Outbound Web Identity Federation is already enabled for your account")
	}
	// Before the account is held: to make an RSA key takes a second.
	var fresh []signerRecord
	for _, alg := range signerAlgorithms() {
		rec, err := d.newSigner(ctx, account, alg, make)
		if err != nil {
			return Outbound{}, err
		}
		fresh = append(fresh, rec)
	}
	err = d.change(ctx, r, func(t *tx) error {
		rec := outboundRecord{Issuer: id.UUID()}
		if r.outbound != nil {
			rec = *r.outbound
		} else {
			t.index(federationName(account, sectionOutbound, rec.Issuer), rec.Issuer)
		}
		if rec.Enabled {
			return refuse(FeatureEnabled, "Outbound Web Identity Federation is already enabled for your account")
		}
		// What was published before the feature was disabled vouches for nothing any more.
		rec.Enabled, rec.Signers = true, fresh
		t.put(outboundKey(account), rec, r.outMod)
		return nil
	})
	if err != nil {
		return Outbound{}, err
	}
	return r.outboundNow(), nil
}

// DisableOutbound ends it: no more tokens, and the keys of those that are out
// are published no more.
func (d *Directory) DisableOutbound(ctx context.Context, account string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		if r.outbound == nil || !r.outbound.Enabled {
			return outboundDisabled()
		}
		t.put(outboundKey(account), outboundRecord{Issuer: r.outbound.Issuer}, r.outMod)
		return nil
	})
}

func outboundDisabled() error {
	return refuse(FeatureDisabled, "Outbound Web Identity Federation is not enabled for your account")
}

// GetOutbound is the state of an account's issuer; refused as FeatureDisabled
// when it was never enabled or is disabled.
func (d *Directory) GetOutbound(account string) (Outbound, error) {
	r, err := d.need(account)
	if err != nil {
		return Outbound{}, err
	}
	o := r.outboundNow()
	if !o.Enabled {
		return Outbound{}, outboundDisabled()
	}
	return o, nil
}

// OutboundSigner is the key that signs an account's tokens now. A key that is
// old gets its successor here.
func (d *Directory) OutboundSigner(ctx context.Context, account, algorithm string, make NewSignerKey) (Signer, error) {
	r, err := d.need(account)
	if err != nil {
		return Signer{}, err
	}
	if !slices.Contains(signerAlgorithms(), algorithm) {
		return Signer{}, refuse(ValidationError, "1 validation error detected: Value at 'signingAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RS256, ES384]")
	}
	now := d.clock.Now()
	current, newest := r.signer(algorithm, now)
	if newest == nil {
		return Signer{}, outboundDisabled()
	}
	if now.Sub(instant(newest.Created)) >= signerLife {
		if err := d.succeed(ctx, r, algorithm, now, make); err != nil {
			return Signer{}, err
		}
		if current, newest = r.signer(algorithm, now); newest == nil {
			return Signer{}, outboundDisabled()
		}
	}
	return Signer{Issuer: r.outboundNow().Issuer, Algorithm: algorithm, Sealed: current.Sealed}, nil
}

// succeed makes the next key, and forgets those whose time is over.
func (d *Directory) succeed(ctx context.Context, r *realm, algorithm string, now time.Time, make NewSignerKey) error {
	fresh, err := d.newSigner(ctx, r.account, algorithm, make)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		if r.outbound == nil || !r.outbound.Enabled {
			return outboundDisabled()
		}
		rec := *r.outbound
		i := lastSigner(rec.Signers, algorithm)
		if i >= 0 && now.Sub(instant(rec.Signers[i].Created)) < signerLife {
			return nil // somebody else was faster
		}
		rec.Signers = append(slices.Clone(rec.Signers), fresh)
		var kept []signerRecord
		for i, s := range rec.Signers {
			if next := nextSigner(rec.Signers, i); next < 0 || now.Sub(instant(rec.Signers[next].Created)) < signerSettled+signerKept {
				kept = append(kept, s)
			}
		}
		rec.Signers = kept
		t.put(outboundKey(r.account), rec, r.outMod)
		return nil
	})
}

func lastSigner(all []signerRecord, algorithm string) int {
	for i, s := range slices.Backward(all) {
		if s.Algorithm == algorithm {
			return i
		}
	}
	return -1
}

// nextSigner is the successor of a key, or -1.
func nextSigner(all []signerRecord, i int) int {
	for j := i + 1; j < len(all); j++ {
		if all[j].Algorithm == all[i].Algorithm {
			return j
		}
	}
	return -1
}

func (d *Directory) newSigner(ctx context.Context, account, algorithm string, make NewSignerKey) (signerRecord, error) {
	sealed, jwk, err := make(ctx, account, algorithm)
	if err != nil {
		return signerRecord{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return signerRecord{Algorithm: algorithm, JWK: jwk, Sealed: sealed, Created: d.clock.Now().UnixMilli()}, nil
}

// signer finds the key that signs, the newest that is settled or else the
// eldest, and the newest of all. Both are nil while the feature is disabled.
func (r *realm) signer(algorithm string, now time.Time) (current, newest *signerRecord) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.outbound == nil || !r.outbound.Enabled {
		return nil, nil
	}
	for i := range r.outbound.Signers {
		s := &r.outbound.Signers[i]
		if s.Algorithm != algorithm {
			continue
		}
		if current == nil || now.Sub(instant(s.Created)) >= signerSettled {
			current = s
		}
		newest = s
	}
	return current, newest
}

func (r *realm) outboundNow() Outbound {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.outbound == nil {
		return Outbound{}
	}
	return Outbound{Issuer: r.outbound.Issuer, Enabled: r.outbound.Enabled}
}

// IssuerKeys are the public keys that an account's issuer publishes, as JSON
// Web Keys; false if there is no such issuer or it is disabled.
func (d *Directory) IssuerKeys(issuer string) (keys []json.RawMessage, ok bool) {
	v, found := d.issuers.Load(issuer)
	if !found {
		return nil, false
	}
	r := v.(*realm)
	now := d.clock.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.outbound == nil || !r.outbound.Enabled || r.outbound.Issuer != issuer {
		return nil, false
	}
	for i, s := range r.outbound.Signers {
		if next := nextSigner(r.outbound.Signers, i); next < 0 || now.Sub(instant(r.outbound.Signers[next].Created)) < signerSettled+signerKept {
			keys = append(keys, s.JWK)
		}
	}
	return keys, true
}

// setOutbound replaces the issuer's record; rec nil removes it. Caller holds r.mu.
func (d *Directory) setOutbound(r *realm, rec *outboundRecord, mod kv.Rev) {
	if r.outbound != nil && (rec == nil || rec.Issuer != r.outbound.Issuer) {
		d.issuers.Delete(r.outbound.Issuer)
	}
	r.outbound, r.outMod = rec, mod
	if rec != nil {
		d.issuers.Store(rec.Issuer, r)
	}
}

// checkOutbound is Check for the issuer of one account.
func (s *stored) checkOutbound() {
	o := s.outbound
	if o == nil {
		return
	}
	s.named(federationName(s.account, sectionOutbound, o.Issuer), o.Issuer)
	for _, k := range o.Signers {
		if !slices.Contains(signerAlgorithms(), k.Algorithm) || len(k.Sealed) == 0 || !json.Valid(k.JWK) {
			s.problem("a key of outbound tokens is none")
		}
	}
	for _, alg := range signerAlgorithms() {
		if o.Enabled && lastSigner(o.Signers, alg) < 0 {
			s.problem("outbound tokens are enabled, and have no key for %s", alg)
		}
	}
}
