package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// A Guard is hardware that lets a key of 32 bytes out only on the machine, or
// to the token, that it was given to: a TPM, a PKCS#11 token.
type Guard interface {
	// Name is what the HSM's status shows.
	Name() string
	// Protect returns what may be stored anywhere; it does not keep or change key.
	Protect(key []byte) (wrapped []byte, err error)
	// Recover reverses Protect. The caller wipes the key.
	Recover(wrapped []byte) (key []byte, err error)
}

// A Counter is a Guard that can also count, and never backwards.
type Counter interface {
	// Count is where the counter stands.
	Count() (uint64, error)
	// Advance adds one.
	Advance() error
}

// ErrRolledBack is returned for a domain that is older than the hardware's
// counter says: somebody has put an old copy in its place.
var ErrRolledBack = errors.New("core: the sealed domain is older than the hardware remembers")

// GuardedSeal seals in software and then once more with a key that hardware
// guards, so that neither the seal key alone nor the machine alone opens
// anything. The hardware is asked at start; then its key lies in the secret
// memory, for hardware is far too slow to be asked for every file.
//
//	"LGD1" 02 ‖ u64 count ‖ u16 W ‖ wrapped key[W] ‖ KDF nonce[16] ‖ IV[12] ‖ ciphertext ‖ tag[16]
//
// key = KDF(guarded key, "leadglass guarded seal v1", KDF nonce); AAD =
// everything before IV; the plaintext is what the software seal made. count is
// 0 for what is not counted.
type GuardedSeal struct {
	inner  Sealer
	guard  Guard
	memory *secret.Arena
	// upgrade accepts what was sealed in software alone, before the guard came.
	upgrade bool

	mu      sync.Mutex
	key     *secret.Bytes // guarded by mu; nil until it was made or recovered
	wrapped []byte        // guarded by mu; key as the guard protects it
	pending bool          // guarded by mu; a counted file is about to be one ahead
	old     bool          // guarded by mu; something was opened that software alone had sealed
}

const (
	guardMagic  = "LGD1\x02"
	guardFixed  = len(guardMagic) + 8 + 2
	maxWrapped  = 4096
	guardedSize = 32
)

// NewGuardedSeal returns a seal over inner. upgrade lets it open what inner
// alone has sealed; whatever it seals is guarded.
func NewGuardedSeal(inner Sealer, guard Guard, memory *secret.Arena, upgrade bool) *GuardedSeal {
	return &GuardedSeal{inner: inner, guard: guard, memory: memory, upgrade: upgrade}
}

// Name is the guard's.
func (s *GuardedSeal) Name() string { return s.guard.Name() }

// Seal seals what is not counted.
func (s *GuardedSeal) Seal(bundle []byte) ([]byte, error) { return s.seal(bundle, 0) }

// Unseal reverses Seal.
func (s *GuardedSeal) Unseal(sealed []byte) ([]byte, error) {
	bundle, _, err := s.unseal(sealed)
	return bundle, err
}

func (s *GuardedSeal) seal(bundle []byte, count uint64) ([]byte, error) {
	inner, err := s.inner.Seal(bundle)
	if err != nil {
		return nil, err
	}
	key, wrapped, err := s.own()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, guardFixed+len(wrapped)+kdfNonce+len(inner)+gcmOverhead)
	out = binary.BigEndian.AppendUint64(append(out, guardMagic...), count)
	out = append(binary.BigEndian.AppendUint16(out, uint16(len(wrapped))), wrapped...)
	out = appendRandom(out, kdfNonce)
	var derived [32]byte
	defer secret.Wipe(derived[:])
	if err := deriveGuarded(&derived, key, out[len(out)-kdfNonce:]); err != nil {
		return nil, err
	}
	aead, err := newGCM(derived[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, inner, out), nil
}

func deriveGuarded(dst *[32]byte, key *secret.Bytes, nonce []byte) error {
	return key.Use(func(own []byte) error {
		kdf.Derive(dst, own, "leadglass guarded seal v1", nonce)
		return nil
	})
}

// own is the guarded key, made now if nothing was unsealed before.
func (s *GuardedSeal) own() (*secret.Bytes, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, s.wrapped, nil
	}
	key, err := randomSecret(s.memory, guardedSize)
	if err != nil {
		return nil, nil, err
	}
	var wrapped []byte
	err = key.Use(func(own []byte) error {
		var err error
		secret.Do(func() { wrapped, err = s.guard.Protect(own) })
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("core: %s: %w", s.guard.Name(), err)
	}
	if len(wrapped) == 0 || len(wrapped) > maxWrapped {
		return nil, nil, fmt.Errorf("core: %s: a wrapped key of %d bytes", s.guard.Name(), len(wrapped))
	}
	s.key, s.wrapped = key, bytes.Clone(wrapped)
	return s.key, s.wrapped, nil
}

// recovered is the guarded key of a file. All files of a store have the same,
// so the hardware is asked once.
func (s *GuardedSeal) recovered(wrapped []byte) (*secret.Bytes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil && bytes.Equal(s.wrapped, wrapped) {
		return s.key, nil
	}
	var key *secret.Bytes
	var err error
	secret.Do(func() {
		var raw []byte
		if raw, err = s.guard.Recover(wrapped); err != nil {
			return
		}
		defer secret.Wipe(raw)
		if len(raw) != guardedSize {
			err = ErrSealed
			return
		}
		key, err = s.memory.From(raw)
	})
	if err != nil {
		return nil, fmt.Errorf("core: %s: %w", s.guard.Name(), err)
	}
	s.key, s.wrapped = key, bytes.Clone(wrapped)
	return key, nil
}

func (s *GuardedSeal) unseal(sealed []byte) (bundle []byte, count uint64, err error) {
	if bytes.HasPrefix(sealed, []byte(sealMagic)) {
		if !s.upgrade {
			return nil, 0, fmt.Errorf("%w (it was sealed in software, before the %s; --seal-upgrade accepts it once)", ErrSealed, s.guard.Name())
		}
		s.mu.Lock()
		s.old = true
		s.mu.Unlock()
		bundle, err = s.inner.Unseal(sealed)
		return bundle, 0, err
	}
	if len(sealed) < guardFixed || !bytes.HasPrefix(sealed, []byte(guardMagic)) {
		return nil, 0, ErrSealed
	}
	n := int(binary.BigEndian.Uint16(sealed[guardFixed-2:]))
	end := guardFixed + n + kdfNonce
	if n == 0 || n > maxWrapped || len(sealed) < end+gcmOverhead {
		return nil, 0, ErrSealed
	}
	key, err := s.recovered(sealed[guardFixed : guardFixed+n])
	if err != nil {
		return nil, 0, err
	}
	var derived [32]byte
	defer secret.Wipe(derived[:])
	if err := deriveGuarded(&derived, key, sealed[end-kdfNonce:end]); err != nil {
		return nil, 0, err
	}
	aead, err := newGCM(derived[:])
	if err != nil {
		return nil, 0, err
	}
	inner, err := aead.Open(nil, nil, sealed[end:], sealed[:end])
	if err != nil {
		return nil, 0, ErrSealed
	}
	bundle, err = s.inner.Unseal(inner)
	return bundle, binary.BigEndian.Uint64(sealed[len(guardMagic):]), err
}

// The three steps of a counted file, here the domain. It is sealed with the
// next count, saved, and only then the counter advances: a crash between
// leaves a file that is one ahead, which is as good as done. What is behind
// the counter was put back by somebody.

// sealDomain seals the domain.
func sealDomain(sealer Sealer, bundle []byte) ([]byte, error) {
	s, counter := counted(sealer)
	if counter == nil {
		return sealer.Seal(bundle)
	}
	if _, _, err := s.own(); err != nil { // the counter is made with the first key
		return nil, err
	}
	count, err := counter.Count()
	if err != nil {
		return nil, fmt.Errorf("core: %s: counter: %w", sealer.Name(), err)
	}
	s.mu.Lock()
	s.pending = true
	s.mu.Unlock()
	return s.seal(bundle, count+1)
}

// domainSaved tells the counter that what sealDomain made is durable.
func domainSaved(sealer Sealer) error {
	s, counter := counted(sealer)
	if counter == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending {
		return nil
	}
	if err := counter.Advance(); err != nil {
		return fmt.Errorf("core: %s: counter: %w", sealer.Name(), err)
	}
	s.pending = false
	return nil
}

// openDomain unseals the domain and compares it with the counter.
func openDomain(sealer Sealer, sealed []byte) ([]byte, error) {
	s, counter := counted(sealer)
	if counter == nil {
		return sealer.Unseal(sealed)
	}
	bundle, count, err := s.unseal(sealed)
	if err != nil {
		return nil, err
	}
	if upgraded(sealer) {
		return bundle, nil // there was no counter yet
	}
	now, err := counter.Count()
	switch {
	case err != nil:
		err = fmt.Errorf("core: %s: counter: %w", sealer.Name(), err)
	case count < now:
		err = ErrRolledBack
	case count > now+1:
		err = fmt.Errorf("core: %s: the counter was reset; it stands at %d, and the domain was sealed at %d", sealer.Name(), now, count)
	case count == now+1: // a crash came between saving and counting
		err = counter.Advance()
	}
	if err != nil {
		secret.Wipe(bundle)
		return nil, err
	}
	return bundle, nil
}

// upgraded says whether something was opened that is to be sealed anew.
func upgraded(sealer Sealer) bool {
	s, ok := sealer.(*GuardedSeal)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.old
}

// counted is the seal's counter, nil if it has none.
func counted(sealer Sealer) (*GuardedSeal, Counter) {
	s, ok := sealer.(*GuardedSeal)
	if !ok {
		return nil, nil
	}
	c, _ := s.guard.(Counter)
	return s, c
}
