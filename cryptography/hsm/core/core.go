// Package core is the inside of the HSM: it holds key material and works with
// it (hsm-domain). Only the boundary process runs it.
//
// Open makes or unseals the domain, and HSM.Serve answers one host. Key
// material comes in three places: the domain's own keys, which lie in an
// arena of secret memory for as long as the process lives; the key of one
// call, which is unwrapped from the token that the call brought, used, and
// wiped; and what the cipher implementations of the standard library make of
// it on the heap, which secret.Do erases in a binary built with
// GOEXPERIMENT=runtimesecret and which otherwise lives until the memory is
// used again.
//
// Not done here: replication, fences and quorum commands; their
// operation numbers are answered as bad requests, and a key token with a condition that this version cannot enforce is denied.
// There is one member and one seal, Sealer, which hardware can replace.
//
// Promised: no operation outputs key material in the clear, and a token or a
// ciphertext blob of version 1 stays readable.
package core

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// A Store keeps the HSM's few small files: boundary.Dir inside a boundary.
type Store interface {
	Load(name string) (data []byte, found bool, err error)
	Save(name string, data []byte) error // durable and all or nothing
}

// Config says how to run an HSM. Store, Sealer, Memory, Now and Supervisor are
// required.
type Config struct {
	Store      Store
	Sealer     Sealer
	Memory     *secret.Arena
	Now        func() time.Time
	Supervisor []byte // SPKI of the host that may place others until it says Ready
}

// Roles of hosts.
const (
	RoleHost       = "host"       // works with customers' keys
	RoleAuthority  = "authority"  // works with keys that require it, and no others
	RoleSupervisor = "supervisor" // places hosts before Ready
)

// HSM is one member of a domain. It is safe for concurrent use.
type HSM struct {
	cfg        Config
	identity   []byte // SPKI of HSK
	table      map[uint64]operation
	calls      sync.Pool // of *call
	operations atomic.Uint64
	rotation   sync.Mutex // held while a next domain is made
	turns      turns      // of what takes long

	mu    sync.RWMutex
	d     *domain                    // guarded by mu; the fields of a domain are replaced with it
	hosts map[link.HostID]*link.Peer // guarded by mu
	ready bool                       // guarded by mu; no host can be placed any more
}

// Open unseals the domain in cfg.Store, or makes a new one if there is none.
func Open(cfg Config) (*HSM, error) {
	if cfg.Store == nil || cfg.Sealer == nil || cfg.Memory == nil || cfg.Now == nil {
		return nil, errors.New("core: incomplete configuration")
	}
	key, err := link.ParsePublic(cfg.Supervisor)
	if err != nil {
		return nil, fmt.Errorf("core: supervisor: %w", err)
	}
	h := &HSM{cfg: cfg, table: operations(), turns: newTurns(), hosts: make(map[link.HostID]*link.Peer)}
	h.calls.New = func() any { return new(call) }
	id := link.IDOf(cfg.Supervisor)
	h.hosts[id] = &link.Peer{ID: id, Key: key, Roles: []string{RoleSupervisor, RoleHost}}

	sealed, found, err := cfg.Store.Load(bundleName)
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	if found {
		h.d, err = unsealDomain(cfg.Sealer, cfg.Memory, sealed)
	} else {
		h.d, err = newDomain(cfg.Memory, cfg.Now())
		if err == nil {
			err = h.save(h.d)
		}
	}
	if err != nil {
		return nil, err
	}
	h.identity, err = h.d.identitySPKI()
	return h, err
}

// Identity is the SPKI of the key with which this HSM proves who it is.
func (h *HSM) Identity() []byte { return h.identity }

// Serve answers one host until the connection ends.
func (h *HSM) Serve(conn io.ReadWriter) error {
	return link.Serve(conn, &link.ServerConfig{
		Identity:  h.identity,
		Sign:      func(digest []byte) ([]byte, error) { return h.domain().signIdentity(digest) },
		Serial:    func() uint64 { return h.domain().state.Serial },
		Host:      h.host,
		SealToken: h.sealToken,
		Now:       h.cfg.Now,
		Handler:   h,
	})
}

func (h *HSM) host(id link.HostID) *link.Peer {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.hosts[id]
}

// domain is the present domain; what it points to does not change.
func (h *HSM) domain() *domain {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.d
}

// save seals the domain and makes it durable.
func (h *HSM) save(d *domain) error {
	sealed, err := d.seal(h.cfg.Sealer)
	if err != nil {
		return err
	}
	if err := h.cfg.Store.Save(bundleName, sealed); err != nil {
		return fmt.Errorf("core: %w", err)
	}
	return nil
}

// placeHost lets one more host in. Both what it may do and that it exists at
// all rest on the supervisor, and end with Ready.
func (h *HSM) placeHost(spki []byte, role string) bool {
	key, err := link.ParsePublic(spki)
	if err != nil || role != RoleHost && role != RoleAuthority {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	id := link.IDOf(spki)
	if h.ready || h.hosts[id] != nil {
		return false
	}
	h.hosts[id] = &link.Peer{ID: id, Key: key, Roles: []string{role}}
	return true
}

// sealToken makes a session token: dk id, KDF nonce, then IV, ciphertext and
// tag of {SK, host, expiry, serial} (hsm-domain section 5, step 2).
func (h *HSM) sealToken(plain []byte) ([]byte, error) {
	d := h.domain()
	out := make([]byte, 0, 8+kdfNonce+len(plain)+gcmOverhead)
	out = append(out, d.active[:]...)
	out = appendRandom(out, kdfNonce)
	var key [32]byte
	defer secret.Wipe(key[:])
	err := d.keys[d.active].Use(func(dk []byte) error {
		kdf.Derive(&key, dk, "leadglass session token v1", out[8:8+kdfNonce])
		return nil
	})
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, plain, out), nil
}

const (
	kdfNonce    = 16
	gcmOverhead = 12 + 16
)

// newGCM is AES-GCM that draws its own nonce and puts it before the
// ciphertext, as the formats of hsm-domain section 6 have it and as FIPS mode
// demands. Every key it is used with here comes fresh from the KDF, so that a
// nonce never meets a key twice even if the random numbers repeat.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func appendRandom(b []byte, n int) []byte {
	for range n {
		b = append(b, 0)
	}
	rand.Read(b[len(b)-n:])
	return b
}
