package core

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// The sealed record of a user's passwords:
//
//	"LGP1" ‖ root id[4] ‖ KDF nonce[16] ‖ IV[12] ‖ salt[16] ‖ hash[32]... ‖ tag[16]
//
// with the present password's hash first. key = KDF(record key, "leadglass
// password v1", KDF nonce), AAD = bytes 0..23 ‖ "lg-password-v1" ‖ the user's
// unique id. Whoever has the storage has no hash to try passwords on. All
// hashes of a user have one salt, so that one hash tells whether a password
// was used before; users never share one.
const (
	passwordMagic  = "LGP1"
	passwordHeader = len(passwordMagic) + 4 + kdfNonce
	passwordAAD    = "lg-password-v1"
	passwordLabel  = "leadglass password v1"

	saltLen = 16
	hashLen = 32
)

// Argon2id with 19 MiB, two passes and one lane (RFC 9106; the smallest of
// OWASP's recommendations of equal strength, so that a small boundary can do it).
const (
	argonTime   = 2
	argonMemory = 19 << 10 // KiB
	argonLanes  = 1
)

// hasher makes one hash at a time: the memory of more would be anybody's to claim.
type hasher struct{ mu sync.Mutex }

func (h *hasher) hash(password, salt []byte) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return argon2.IDKey(password, salt, argonTime, argonMemory, argonLanes, hashLen)
}

// setPassword puts a password before those that it replaces.
func (a *authority) setPassword(p *message.Params, r *result) error {
	var in message.Password
	if in.Parse(p.Message) != nil || in.User == "" || len(in.New) == 0 || in.Reuse > message.MaxPasswords || len(in.Old) > 0 && len(in.Sealed) == 0 {
		return failure(link.StatusBadRequest)
	}
	root := a.root.Load()
	plain := make([]byte, saltLen, saltLen+(message.MaxPasswords+1)*hashLen)
	defer func() { secret.Wipe(plain[:cap(plain)]) }()
	if len(in.Sealed) > 0 {
		var err error
		if plain, err = openPasswords(root, &in, plain); err != nil {
			return err
		}
	} else {
		rand.Read(plain)
	}
	if len(in.Old) > 0 {
		// Attempts are counted by user: an old password is as good to guess as a code.
		sum := sha256.Sum256([]byte(passwordAAD + in.User))
		err := a.attempts.try(a, [16]byte(sum[:16]), failure(message.StatusPassword), func(int64) (int64, bool) {
			old := a.hasher.hash(in.Old, plain[:saltLen])
			defer secret.Wipe(old)
			return 0, len(plain) > saltLen && subtle.ConstantTimeCompare(old, plain[saltLen:saltLen+hashLen]) == 1
		})
		if err != nil {
			return err
		}
	}
	hash := a.hasher.hash(in.New, plain[:saltLen])
	defer secret.Wipe(hash)
	reused := 0
	for i, at := uint64(0), saltLen; i < in.Reuse && at < len(plain); i, at = i+1, at+hashLen {
		reused |= subtle.ConstantTimeCompare(hash, plain[at:at+hashLen])
	}
	if reused == 1 {
		return failure(message.StatusReused)
	}
	// The oldest falls out.
	plain = plain[:min(len(plain)+hashLen, saltLen+message.MaxPasswords*hashLen)]
	copy(plain[saltLen+hashLen:], plain[saltLen:])
	copy(plain[saltLen:], hash)
	var err error
	r.Sealed, err = sealPasswords(root, in.User, plain)
	return err
}

func passwordBound(header []byte, user string) []byte {
	b := make([]byte, 0, passwordHeader+len(passwordAAD)+len(user))
	return append(append(append(b, header[:passwordHeader]...), passwordAAD...), user...)
}

func sealPasswords(r *root, user string, plain []byte) ([]byte, error) {
	out := make([]byte, 0, passwordHeader+gcmOverhead+len(plain))
	out = append(append(out, passwordMagic...), r.id[:]...)
	out = appendRandom(out, kdfNonce)
	err := derived(r.record, passwordLabel, out[passwordHeader-kdfNonce:], func(aead cipher.AEAD) error {
		out = aead.Seal(out, nil, plain, passwordBound(out, user))
		return nil
	})
	return out, err
}

// openPasswords opens a record into dst, whose capacity holds the largest.
func openPasswords(r *root, in *message.Password, dst []byte) (plain []byte, err error) {
	n := len(in.Sealed) - passwordHeader - gcmOverhead
	if n < saltLen || n > saltLen+message.MaxPasswords*hashLen || (n-saltLen)%hashLen != 0 ||
		!bytes.HasPrefix(in.Sealed, []byte(passwordMagic)) || [4]byte(in.Sealed[len(passwordMagic):]) != r.id {
		return dst, failure(link.StatusBadRequest)
	}
	err = derived(r.record, passwordLabel, in.Sealed[passwordHeader-kdfNonce:passwordHeader], func(aead cipher.AEAD) error {
		plain, err = aead.Open(dst[:0], nil, in.Sealed[passwordHeader:], passwordBound(in.Sealed, in.User))
		if err != nil {
			return failure(link.StatusBadRequest)
		}
		return nil
	})
	if err != nil {
		return dst, err
	}
	return plain, nil
}
