package core

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// Session tokens (hsm-domain section 5), and what they tell one member of
// another. A token holds the serial of the domain at the member that made it,
// sealed under a domain key: a member that is shown one of a higher serial
// than its own knows that it missed a change, and works with no key until it
// has installed it (section 4, "stale domain"). It needs no token for that
// which is not in effect anywhere, so nobody can stop it with a mere proposal.

// Plaintext of a session token: SK[32] ‖ host id[16] ‖ u64 expiry ms ‖ u64
// serial.
const sessionLen = 32 + 16 + 8 + 8

// sealSession is dk id, KDF nonce, then IV, ciphertext and tag; the first two
// are the AAD.
func (d *domain) sealSession(plain []byte) ([]byte, error) {
	out := make([]byte, 0, len(d.active)+kdfNonce+len(plain)+gcmOverhead)
	out = appendRandom(append(out, d.active[:]...), kdfNonce)
	var key [32]byte
	defer secret.Wipe(key[:])
	if err := d.sessionKey(&key, d.active, out[len(d.active):]); err != nil {
		return nil, err
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, plain, out), nil
}

func (d *domain) sessionKey(key *[32]byte, id dkID, nonce []byte) error {
	return d.keys[id].Use(func(dk []byte) error {
		kdf.Derive(key, dk, "leadglass session token v1", nonce)
		return nil
	})
}

// hear looks at another member's session token for its serial. What does not
// open says nothing: it may be of a key that came later, which a key token
// under it would show as well, or be made up.
func (h *HSM) hear(d *domain, token []byte) {
	const head = len(dkID{}) + kdfNonce
	if len(token) != head+sessionLen+gcmOverhead {
		return
	}
	id := dkID(token)
	if d.keys[id] == nil {
		return
	}
	var key [32]byte
	defer secret.Wipe(key[:])
	if d.sessionKey(&key, id, token[len(id):head]) != nil {
		return
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return
	}
	plain, err := aead.Open(nil, nil, token[head:], token[:head])
	if err != nil {
		return
	}
	defer secret.Wipe(plain)
	expires, serial := binary.BigEndian.Uint64(plain[48:]), binary.BigEndian.Uint64(plain[56:])
	if expires < uint64(h.cfg.Now().UnixMilli()) {
		return
	}
	for {
		known := h.newest.Load()
		if serial <= known || h.newest.CompareAndSwap(known, serial) {
			return
		}
	}
}

// outdated says whether this HSM may not do an operation because it has no
// domain, or not the present state of it.
func (h *HSM) outdated(d *domain, op uint64) bool {
	if d == nil {
		return true
	}
	if d.state.Serial >= h.newest.Load() {
		return false
	}
	// What it needs to catch up, and to say how far it is.
	return op != message.OpDomainState && op != message.OpRotateDomainKeys
}

// domainState answers with the public state, and with a session token of no
// session that proves its serial to another member.
func (c *call) domainState() uint64 {
	plain := make([]byte, 48, sessionLen)
	rand.Read(plain[:32])
	copy(plain[32:], c.host.ID[:])
	plain = binary.BigEndian.AppendUint64(plain, uint64(c.h.cfg.Now().Add(link.Lifetime).UnixMilli()))
	plain = binary.BigEndian.AppendUint64(plain, c.d.state.Serial)
	defer secret.Wipe(plain)
	token, err := c.d.sealSession(plain)
	if err != nil {
		return link.StatusInternal
	}
	c.result.Record, c.result.Token = c.d.encoded, token
	return link.StatusOK
}
