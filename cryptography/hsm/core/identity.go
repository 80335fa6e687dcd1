package core

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// identity is the keys that make an HSM who it is, in any domain or none
// (hsm-domain section 2). It is not changed after it was made.
type identity struct {
	hsk *secret.Bytes // P-384 scalar, 48 bytes; signs
	agreement
	public quorum.Member // without label and flags
}

// agreement is what opens envelopes: an identity has one, and so has the
// recovery key of a domain.
type agreement struct {
	hak *secret.Bytes // P-384 scalar, 48 bytes
	kem *secret.Bytes // ML-KEM-768 seed, 64 bytes
}

const scalarLen = 48

func newIdentity(memory *secret.Arena) (*identity, error) {
	hsk, err := newScalar(memory)
	if err != nil {
		return nil, err
	}
	a, err := newAgreement(memory)
	if err != nil {
		return nil, err
	}
	return identityOf(hsk, a)
}

func newAgreement(memory *secret.Arena) (a agreement, err error) {
	if a.hak, err = newScalar(memory); err != nil {
		return a, err
	}
	a.kem, err = randomSecret(memory, mlkem.SeedSize)
	return a, err
}

// identityOf adds the public half, which is always derived: what a file says
// of it is not believed.
func identityOf(hsk *secret.Bytes, a agreement) (*identity, error) {
	id := &identity{hsk: hsk, agreement: a}
	var err error
	if id.public.HSK, err = spkiOf(hsk); err != nil {
		return nil, err
	}
	if id.public.HAK, id.public.KEM, err = a.publics(); err != nil {
		return nil, err
	}
	id.public.ID = quorum.MemberID(id.public.HSK)
	return id, nil
}

// newScalar makes a P-384 key.
func newScalar(memory *secret.Arena) (dst *secret.Bytes, err error) {
	secret.Do(func() {
		var key *ecdsa.PrivateKey
		if key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			return
		}
		var scalar []byte
		if scalar, err = key.Bytes(); err != nil {
			return
		}
		dst, err = memory.From(scalar)
	})
	if err != nil {
		return nil, fmt.Errorf("core: identity: %w", err)
	}
	return dst, nil
}

func spkiOf(scalar *secret.Bytes) (spki []byte, err error) {
	err = scalar.Use(func(b []byte) error {
		var err error
		secret.Do(func() {
			var key *ecdsa.PrivateKey
			if key, err = ecdsa.ParseRawPrivateKey(elliptic.P384(), b); err == nil {
				spki, err = link.MarshalPublic(&key.PublicKey)
			}
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("core: identity: %w", err)
	}
	return slices.Clone(spki), nil
}

// publics are the SPKI of the agreement key and the encapsulation key.
func (a agreement) publics() (hak, kem []byte, err error) {
	if hak, err = spkiOf(a.hak); err != nil {
		return nil, nil, err
	}
	err = a.kem.Use(func(seed []byte) error {
		var err error
		secret.Do(func() {
			var key *mlkem.DecapsulationKey768
			if key, err = mlkem.NewDecapsulationKey768(seed); err == nil {
				kem = key.EncapsulationKey().Bytes()
			}
		})
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("core: identity: %w", err)
	}
	return hak, slices.Clone(kem), nil
}

func randomSecret(memory *secret.Arena, n int) (*secret.Bytes, error) {
	s, err := memory.New(n)
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return s, s.Use(func(b []byte) error { rand.Read(b); return nil })
}

// signIdentity signs a SHA-384 digest with HSK.
func (i *identity) signIdentity(digest []byte) (sig []byte, err error) {
	err = i.hsk.Use(func(scalar []byte) error {
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

// sign signs a message with HSK.
func (i *identity) sign(message []byte) ([]byte, error) {
	sum := sha512.Sum384(message)
	return i.signIdentity(sum[:])
}

// subkey is a key of the HSM's own, for what it alone writes and reads.
func (i *identity) subkey(out *[32]byte, label string) error {
	return i.hak.Use(func(scalar []byte) error {
		kdf.Derive(out, scalar, label, i.public.ID[:])
		return nil
	})
}

// open opens an envelope (quorum.SealEnvelope). What it returns belongs to the
// caller, who wipes it.
func (a agreement) open(e quorum.Envelope, salt, info []byte) (plain []byte, err error) {
	theirs, err := link.ParsePublic(e.Ephemeral)
	if err != nil {
		return nil, fmt.Errorf("core: envelope: %w", err)
	}
	public, err := theirs.ECDH()
	if err != nil {
		return nil, fmt.Errorf("core: envelope: %w", err)
	}
	err = a.hak.Use(func(scalar []byte) error {
		return a.kem.Use(func(seed []byte) error {
			var err error
			secret.Do(func() { plain, err = openEnvelope(e, public, scalar, seed, salt, info) })
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("core: envelope: %w", err)
	}
	return plain, nil
}

func openEnvelope(e quorum.Envelope, theirs *ecdh.PublicKey, scalar, seed, salt, info []byte) ([]byte, error) {
	hak, err := ecdh.P384().NewPrivateKey(scalar)
	if err != nil {
		return nil, err
	}
	dh, err := hak.ECDH(theirs)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(dh)
	kem, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return nil, err
	}
	shared, err := kem.Decapsulate(e.KEM)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(shared)
	key, err := envelopeKey(dh, shared, salt, info)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(key)
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, e.Wrapped, nil)
}
