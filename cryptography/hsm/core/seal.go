package core

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// A Sealer guards the domain while the HSM does not run. A TPM or a PKCS#11
// token can be one.
type Sealer interface {
	// Name is what the HSM's status shows.
	Name() string
	// Seal returns what may be stored anywhere; it does not keep or change
	// bundle.
	Seal(bundle []byte) ([]byte, error)
	// Unseal reverses Seal. The caller wipes the bundle.
	Unseal(sealed []byte) ([]byte, error)
}

// ErrSealed is returned when the domain does not open: a wrong seal key, or a
// changed file.
var ErrSealed = errors.New("core: the domain does not unseal; is this the right seal key?")

// SoftwareSeal seals with a key from a file. Whoever reads both that file and
// the sealed domain has all keys: it protects against the loss of a disk or a
// backup only if the file lies elsewhere, and not against the host's root.
type SoftwareSeal struct {
	key *secret.Bytes
}

const (
	sealKeyName = "seal.key"
	minSealKey  = 32
	maxSealKey  = 4096
	sealMagic   = "LGD1\x01" // format and kind of seal
	sealHeader  = len(sealMagic) + kdfNonce
)

// OpenSoftwareSeal reads the seal key from file, which may be a file on other
// media or a credential of the service manager; if file is nil, from
// "seal.key" in the store. A key that is absent is made, if there is no domain
// yet that was sealed with another.
func OpenSoftwareSeal(store Store, file io.ReadWriter, memory *secret.Arena) (*SoftwareSeal, error) {
	text, err := readSealKey(store, file)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(text)
	if len(text) == 0 {
		_, exists, err := store.Load(bundleName)
		if err != nil {
			return nil, fmt.Errorf("core: %w", err)
		}
		if exists {
			return nil, fmt.Errorf("%w (there is no seal key)", ErrSealed)
		}
		text = make([]byte, minSealKey)
		rand.Read(text)
		if err := writeSealKey(store, file, text); err != nil {
			return nil, err
		}
	}
	if len(text) < minSealKey || len(text) > maxSealKey {
		return nil, fmt.Errorf("core: a seal key of %d bytes; it must have %d to %d", len(text), minSealKey, maxSealKey)
	}
	// Whatever form the key has (raw, hex, a credential), its digest is one.
	key, err := memory.New(32)
	if err != nil {
		return nil, err
	}
	return &SoftwareSeal{key: key}, key.Use(func(own []byte) error {
		digest(own, "leadglass seal key v1\x00", text)
		return nil
	})
}

func readSealKey(store Store, file io.ReadWriter) ([]byte, error) {
	if file == nil {
		text, _, err := store.Load(sealKeyName)
		if err != nil {
			return nil, fmt.Errorf("core: seal key: %w", err)
		}
		return text, nil
	}
	text := make([]byte, 0, maxSealKey+1) // of its final size: growing would leave copies
	for len(text) < cap(text) {
		n, err := file.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("core: seal key: %w", err)
		}
	}
	return text, nil
}

func writeSealKey(store Store, file io.ReadWriter, key []byte) error {
	if file == nil {
		if err := store.Save(sealKeyName, key); err != nil {
			return fmt.Errorf("core: seal key: %w", err)
		}
		return nil
	}
	if _, err := file.Write(key); err != nil {
		return fmt.Errorf("core: write seal key: %w", err)
	}
	// A domain sealed with a key that was lost in a crash is lost with it.
	if s, ok := file.(interface{ Sync() error }); ok {
		if err := s.Sync(); err != nil {
			return fmt.Errorf("core: write seal key: %w", err)
		}
	}
	return nil
}

// Derive is a value of 32 bytes that follows from the seal key and says nothing
// of it, for a guard that wants a password. The caller wipes it.
func (s *SoftwareSeal) Derive(label string) ([]byte, error) {
	var out [32]byte
	err := s.key.Use(func(own []byte) error { kdf.Derive(&out, own, label, nil); return nil })
	return out[:], err
}

// Name is "software".
func (s *SoftwareSeal) Name() string { return "software" }

// Seal returns magic ‖ KDF nonce ‖ IV ‖ ciphertext ‖ tag; the first two are
// the AAD.
func (s *SoftwareSeal) Seal(bundle []byte) ([]byte, error) {
	out := make([]byte, 0, sealHeader+len(bundle)+gcmOverhead)
	out = appendRandom(append(out, sealMagic...), kdfNonce)
	var key [32]byte
	defer secret.Wipe(key[:])
	if err := s.derive(&key, out); err != nil {
		return nil, err
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, bundle, out), nil
}

// Unseal reverses Seal.
func (s *SoftwareSeal) Unseal(sealed []byte) ([]byte, error) {
	if len(sealed) < sealHeader+gcmOverhead || !bytes.HasPrefix(sealed, []byte(sealMagic)) {
		return nil, ErrSealed
	}
	var key [32]byte
	defer secret.Wipe(key[:])
	if err := s.derive(&key, sealed[:sealHeader]); err != nil {
		return nil, err
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return nil, err
	}
	bundle, err := aead.Open(nil, nil, sealed[sealHeader:], sealed[:sealHeader])
	if err != nil {
		return nil, ErrSealed
	}
	return bundle, nil
}

func (s *SoftwareSeal) derive(key *[32]byte, header []byte) error {
	return s.key.Use(func(own []byte) error {
		kdf.Derive(key, own, "leadglass domain bundle v1", header[len(sealMagic):sealHeader])
		return nil
	})
}
