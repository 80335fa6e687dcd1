package core

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// bundleName is the sealed domain in the store.
const bundleName = "domain.sealed"

// dkID names a domain key.
type dkID [8]byte

// domainState is the public part of a domain (hsm-domain section 3).
type domainState struct {
	Version    uint64            `cbor:"1,keyasint"`
	ID         []byte            `cbor:"2,keyasint"`
	Name       string            `cbor:"3,keyasint"`
	Serial     uint64            `cbor:"4,keyasint"`
	Previous   []byte            `cbor:"5,keyasint"`
	Members    []member          `cbor:"6,keyasint"`
	Operators  []cbor.RawMessage `cbor:"7,keyasint"`
	Rules      map[string][]rule `cbor:"8,keyasint"`
	Hosts      []cbor.RawMessage `cbor:"9,keyasint"`
	Keys       []domainKey       `cbor:"10,keyasint"`
	Retention  uint64            `cbor:"11,keyasint"`
	Roots      [][]byte          `cbor:"12,keyasint"`
	Flags      uint64            `cbor:"13,keyasint"`
	FenceEpoch uint64            `cbor:"14,keyasint"`
	LogKeys    []cbor.RawMessage `cbor:"15,keyasint"`
}

type member struct {
	ID    []byte `cbor:"1,keyasint"`
	HSK   []byte `cbor:"2,keyasint"`
	HAK   []byte `cbor:"3,keyasint"`
	KEM   []byte `cbor:"4,keyasint"`
	Label string `cbor:"5,keyasint"`
	Flags uint64 `cbor:"6,keyasint"`
}

// rule is one way to allow a quorum command: how many of each role.
type rule struct {
	Roles         map[string]uint64 `cbor:"1,keyasint"`
	Organisations uint64            `cbor:"2,keyasint"`
}

// States of a domain key.
const (
	keyActive      = 1
	keyDecryptOnly = 2
)

type domainKey struct {
	ID      []byte `cbor:"1,keyasint"`
	Created uint64 `cbor:"2,keyasint"` // ms since 1970
	State   uint64 `cbor:"3,keyasint"`
}

// domain is a domain state with the secrets that belong to it. It is not
// changed after it was made: a change makes the next one.
type domain struct {
	state  domainState
	active dkID
	keys   map[dkID]*secret.Bytes
	hsk    *secret.Bytes // P-384 scalar, 48 bytes
	hak    *secret.Bytes // P-384 scalar, 48 bytes
	kem    *secret.Bytes // ML-KEM-768 seed, 64 bytes
}

const (
	scalarLen = 48
	dkLen     = 32

	defaultRetention = 30
)

// newDomain makes identity and domain keys. The only member is this HSM; the
// quorum's operators and rules are empty, and an empty list of rules allows no
// command.
func newDomain(memory *secret.Arena, now time.Time) (*domain, error) {
	d := &domain{keys: make(map[dkID]*secret.Bytes)}
	var err error
	hsk, err := d.newScalar(memory, &d.hsk)
	if err != nil {
		return nil, err
	}
	hak, err := d.newScalar(memory, &d.hak)
	if err != nil {
		return nil, err
	}
	if d.kem, err = randomSecret(memory, mlkem.SeedSize); err != nil {
		return nil, err
	}
	var kem []byte
	err = d.kem.Use(func(seed []byte) error {
		key, err := mlkem.NewDecapsulationKey768(seed)
		if err == nil {
			kem = key.EncapsulationKey().Bytes()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("core: identity: %w", err)
	}
	id := sha256.Sum256(hsk)
	d.state = domainState{
		Version: 1, ID: make([]byte, 16), Name: "leadglass", Previous: make([]byte, sha512.Size384),
		Members:   []member{{ID: id[:16], HSK: hsk, HAK: hak, KEM: kem, Label: "software"}},
		Operators: []cbor.RawMessage{}, Rules: map[string][]rule{}, Hosts: []cbor.RawMessage{},
		Retention: defaultRetention, Roots: [][]byte{}, LogKeys: []cbor.RawMessage{},
	}
	rand.Read(d.state.ID)
	return d, d.addKey(memory, now)
}

// newScalar makes a P-384 key and returns its SPKI.
func (d *domain) newScalar(memory *secret.Arena, dst **secret.Bytes) ([]byte, error) {
	var scalar, spki []byte
	var err error
	secret.Do(func() {
		var key *ecdsa.PrivateKey
		if key, spki, err = link.NewKey(); err != nil {
			return
		}
		if scalar, err = key.Bytes(); err != nil {
			return
		}
		*dst, err = memory.From(scalar)
	})
	if err != nil {
		return nil, fmt.Errorf("core: identity: %w", err)
	}
	return spki, nil
}

func randomSecret(memory *secret.Arena, n int) (*secret.Bytes, error) {
	s, err := memory.New(n)
	if err != nil {
		return nil, err
	}
	return s, s.Use(func(b []byte) error { rand.Read(b); return nil })
}

// addKey makes a new active domain key; the one before only decrypts from then
// on.
func (d *domain) addKey(memory *secret.Arena, now time.Time) error {
	key, err := randomSecret(memory, dkLen)
	if err != nil {
		return err
	}
	rand.Read(d.active[:])
	for i := range d.state.Keys {
		d.state.Keys[i].State = keyDecryptOnly
	}
	d.state.Keys = append(d.state.Keys, domainKey{ID: slices.Clone(d.active[:]), Created: uint64(now.UnixMilli()), State: keyActive})
	d.keys[d.active] = key
	return nil
}

// rotated is the domain with a new active key.
func (d *domain) rotated(memory *secret.Arena, now time.Time) (*domain, error) {
	encoded, err := encodeState(&d.state)
	if err != nil {
		return nil, err
	}
	previous := sha512.Sum384(encoded)
	next := *d
	next.state.Serial++
	next.state.Previous = previous[:]
	next.state.Keys = slices.Clone(d.state.Keys)
	next.keys = make(map[dkID]*secret.Bytes, len(d.keys)+1)
	for id, key := range d.keys {
		next.keys[id] = key
	}
	return &next, next.addKey(memory, now)
}

// created is when the active key was made.
func (d *domain) created() uint64 {
	for _, k := range d.state.Keys {
		if k.State == keyActive {
			return k.Created
		}
	}
	return 0
}

func (d *domain) identitySPKI() ([]byte, error) {
	if len(d.state.Members) != 1 {
		return nil, fmt.Errorf("core: a domain of %d members", len(d.state.Members))
	}
	return d.state.Members[0].HSK, nil
}

// signIdentity signs a SHA-384 digest with HSK.
func (d *domain) signIdentity(digest []byte) (sig []byte, err error) {
	err = d.hsk.Use(func(scalar []byte) error {
		var err error
		secret.Do(func() {
			var key *ecdsa.PrivateKey
			if key, err = ecdsa.ParseRawPrivateKey(elliptic.P384(), scalar); err == nil {
				sig, err = ecdsa.SignASN1(rand.Reader, key, digest)
			}
		})
		return err
	})
	return slices.Clone(sig), err
}

func encodeState(s *domainState) ([]byte, error) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, err
	}
	return mode.Marshal(s)
}

func decodeState(b []byte, s *domainState) error {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		return err
	}
	return mode.Unmarshal(b, s)
}

// seal encodes and seals the whole domain: {1: HSK, 2: HAK, 3: ML-KEM seed,
// 4: DomainState, 5: [domain keys in the order of the state]}.
func (d *domain) seal(sealer Sealer) ([]byte, error) {
	state, err := encodeState(&d.state)
	if err != nil {
		return nil, fmt.Errorf("core: state: %w", err)
	}
	// Large enough from the start: growing would leave keys behind.
	b := make([]byte, 0, len(state)+2*scalarLen+mlkem.SeedSize+len(d.keys)*(dkLen+2)+64)
	defer func() { secret.Wipe(b[:cap(b)]) }()
	b = link.AppendMap(b, 5)
	for i, s := range []*secret.Bytes{d.hsk, d.hak, d.kem} {
		b = link.AppendUint(b, uint64(i+1))
		if err := s.Use(func(v []byte) error { b = link.AppendBytes(b, v); return nil }); err != nil {
			return nil, err
		}
	}
	b = link.AppendBytes(link.AppendUint(b, 4), state)
	b = link.AppendArray(link.AppendUint(b, 5), len(d.state.Keys))
	for _, k := range d.state.Keys {
		if err := d.keys[dkID(k.ID)].Use(func(v []byte) error { b = link.AppendBytes(b, v); return nil }); err != nil {
			return nil, err
		}
	}
	return sealDomain(sealer, b)
}

// unsealDomain reverses seal.
func unsealDomain(sealer Sealer, memory *secret.Arena, sealed []byte) (*domain, error) {
	b, err := openDomain(sealer, sealed)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(b)
	d := &domain{keys: make(map[dkID]*secret.Bytes)}
	r := link.NewReader(b)
	if r.Map() != 5 {
		r.Fail()
	}
	keep := func(dst **secret.Bytes, n int) {
		v := r.Bytes()
		if len(v) != n || err != nil {
			r.Fail()
			return
		}
		*dst, err = memory.From(v)
	}
	for i, part := range []struct {
		dst **secret.Bytes
		n   int
	}{{&d.hsk, scalarLen}, {&d.hak, scalarLen}, {&d.kem, mlkem.SeedSize}} {
		r.Key(uint64(i))
		keep(part.dst, part.n)
	}
	r.Key(3)
	if state := r.Bytes(); !r.Failed() {
		if err := decodeState(state, &d.state); err != nil {
			return nil, fmt.Errorf("core: state: %w", err)
		}
	}
	r.Key(4)
	if r.Array() != len(d.state.Keys) {
		r.Fail()
	}
	for _, k := range d.state.Keys {
		var key *secret.Bytes
		keep(&key, dkLen)
		if len(k.ID) != len(dkID{}) || r.Failed() {
			break
		}
		d.keys[dkID(k.ID)] = key
		if k.State == keyActive {
			d.active = dkID(k.ID)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	if err := r.Done(); err != nil || d.keys[d.active] == nil || len(d.keys) != len(d.state.Keys) {
		return nil, fmt.Errorf("%w (its content is malformed)", ErrSealed)
	}
	return d, d.checkIdentity()
}

// checkIdentity makes sure that the secrets belong to the public state.
func (d *domain) checkIdentity() error {
	if len(d.state.Members) != 1 {
		return fmt.Errorf("core: a domain of %d members", len(d.state.Members))
	}
	m := d.state.Members[0]
	return d.hak.Use(func(scalar []byte) error {
		key, err := ecdh.P384().NewPrivateKey(scalar)
		if err != nil {
			return fmt.Errorf("core: identity: %w", err)
		}
		if len(m.HAK) < 97 || !slices.Equal(m.HAK[len(m.HAK)-97:], key.PublicKey().Bytes()) {
			return fmt.Errorf("%w (its identity is not its own)", ErrSealed)
		}
		return nil
	})
}

// digest writes SHA-256(label ‖ text) to dst. Not with a hash.Hash, whose state
// would keep the end of the text.
func digest(dst []byte, label string, text []byte) {
	b := make([]byte, 0, len(label)+len(text))
	b = append(append(b, label...), text...)
	sum := sha256.Sum256(b)
	secret.Wipe(b)
	copy(dst, sum[:])
}
