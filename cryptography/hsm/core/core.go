// Package core is the inside of the HSM: it holds key material and works with
// it (hsm-domain). Only the boundary process runs it.
//
// Open unseals what this HSM kept, or makes an identity and, unless it is told
// to await one, a domain of its own; HSM.Serve answers one host. command.go is
// where the domain's operators are obeyed, operations.go what hosts can ask.
// Whether a key may be used is decided in one place, call.use in conditions.go:
// by the conditions that are sealed into its token, by its fence (fence.go) and
// by the caller's own signed request (proof.go).
//
// Key material comes in three places: the domain's own keys and the identity's,
// which lie in an arena of secret memory for as long as the process lives; the
// key of one call, which is unwrapped from the token that the call brought,
// used, and wiped; and what the cipher implementations of the standard library
// make of it on the heap, which secret.Do erases in a binary built with
// GOEXPERIMENT=runtimesecret and which otherwise lives until the memory is
// used again.
//
// Not done here: HSMs never talk to each other; tokens are carried, and a
// session is with the HSM that opened it. A command is obeyed without proof
// that a log outside has it. No key goes to another domain, and none is kept
// inside hardware, which guards the seal alone (guard.go). A key token with a
// condition that this version cannot enforce is denied.
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

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/isolation/attest"
)

// A Store keeps the HSM's few small files: boundary.Dir inside a boundary.
type Store interface {
	Load(name string) (data []byte, found bool, err error)
	Save(name string, data []byte) error // durable and all or nothing
}

// Config says how to run an HSM. Memory, Now and Supervisor are required, and
// Store and Sealer for one that is not volatile.
type Config struct {
	Store      Store
	Sealer     Sealer
	Memory     *secret.Arena
	Now        func() time.Time
	Supervisor []byte // SPKI of the host that may place others until it says Ready

	Await    bool // without a domain, wait for one; zero: make one without operators
	Volatile bool // keep nothing: a restart forgets identity and keys. Needs Await

	// What the member record says. None of it is proof of anything.
	Label   string   // zero: "software"
	Offline bool     // the sealed state lies in a safe
	Build   string   // of the program
	Lock    []string // which walls stand
}

// Roles of hosts.
const (
	RoleHost       = "host"       // works with customers' keys
	RoleAuthority  = "authority"  // works with keys that require it, and no others
	RoleSupervisor = "supervisor" // places hosts before Ready
)

// HSM is one HSM, a member of a domain or waiting to become one. It is safe
// for concurrent use.
type HSM struct {
	cfg        Config
	identity   []byte // SPKI of HSK
	log        *commandLog
	table      map[uint64]operation
	calls      sync.Pool // of *call
	operations atomic.Uint64
	newest     atomic.Uint64 // the highest serial that another member was heard of
	fences     fences
	chains     attest.Chains // of attestation documents
	changing   sync.Mutex    // held while a next custody is made
	turns      turns         // of what takes long

	mu     sync.RWMutex
	held   *custody                   // guarded by mu; what it points to does not change
	hosts  map[link.HostID]*link.Peer // guarded by mu
	ready  bool                       // guarded by mu; no host can be placed any more
	extra  []attest.Root              // guarded by mu; roots that the supervisor trusts
	report map[dkID]bool              // guarded by mu; replaced, not changed: see unused
}

func (c *Config) valid() error {
	if c.Memory == nil || c.Now == nil || !c.Volatile && (c.Store == nil || c.Sealer == nil) {
		return errors.New("core: incomplete configuration")
	}
	if c.Volatile && !c.Await {
		// Every restart would make another domain, and lose all keys.
		return errors.New("core: a volatile HSM must await its domain")
	}
	return nil
}

// Open unseals what is kept in cfg.Store, or begins anew if there is nothing.
func Open(cfg Config) (*HSM, error) {
	if err := cfg.valid(); err != nil {
		return nil, err
	}
	key, err := link.ParsePublic(cfg.Supervisor)
	if err != nil {
		return nil, fmt.Errorf("core: supervisor: %w", err)
	}
	if cfg.Volatile {
		cfg.Store = &memoryStore{files: make(map[string][]byte)}
	}
	if cfg.Label == "" {
		cfg.Label = defaultLabel
	}
	h := &HSM{cfg: cfg, table: operations(), turns: newTurns(), hosts: make(map[link.HostID]*link.Peer)}
	h.calls.New = func() any { return new(call) }
	id := link.IDOf(cfg.Supervisor)
	h.hosts[id] = &link.Peer{ID: id, Key: key, Roles: []string{RoleSupervisor, RoleHost}}

	if h.held, err = h.unseal(); err != nil {
		return nil, err
	}
	h.identity = h.held.me.public.HSK
	if err := h.member().Check(); err != nil {
		return nil, fmt.Errorf("core: label: %w", err)
	}
	if h.log, err = openLog(cfg.Store, h.held.me, cfg.Now); err != nil {
		return nil, err
	}
	if err := h.openFences(); err != nil {
		return nil, err
	}
	start := message.LogEntry{Kind: message.LogStart, Subject: h.held.me.public.ID[:]}
	if d := h.held.d; d != nil {
		start.Serial, start.State = d.state.Serial, quorum.HashState(d.encoded)
	}
	return h, h.log.add(start)
}

// unseal is the custody that the store has, or a new one.
func (h *HSM) unseal() (*custody, error) {
	sealed, found, err := h.cfg.Store.Load(bundleName)
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	if found {
		c, err := unsealCustody(h.cfg.Sealer, h.cfg.Memory, sealed)
		if err == nil && upgraded(h.cfg.Sealer) {
			err = h.save(c)
		}
		return c, err
	}
	c := &custody{}
	if c.me, err = newIdentity(h.cfg.Memory); err != nil {
		return nil, err
	}
	if !h.cfg.Await {
		if c.d, err = newDomain(h.cfg.Memory, h.memberOf(c.me), c.me, h.cfg.Now()); err != nil {
			return nil, err
		}
	}
	return c, h.save(c)
}

// Identity is the SPKI of the key with which this HSM proves who it is.
func (h *HSM) Identity() []byte { return h.identity }

// member is this HSM as a domain is to know it.
func (h *HSM) member() quorum.Member { return h.memberOf(h.custody().me) }

func (h *HSM) memberOf(me *identity) quorum.Member {
	m := me.public
	m.Label = h.cfg.Label
	if h.cfg.Offline {
		m.Flags = quorum.MemberOffline
	}
	return m
}

func (h *HSM) sealName() string {
	if h.cfg.Volatile {
		return "volatile"
	}
	return h.cfg.Sealer.Name()
}

// Serve answers one host until the connection ends.
func (h *HSM) Serve(conn io.ReadWriter) error {
	return link.Serve(conn, &link.ServerConfig{
		Identity:  h.identity,
		Sign:      h.sign,
		Serial:    h.serial,
		Host:      h.host,
		SealToken: h.openSession,
		Now:       h.cfg.Now,
		Handler:   h,
	})
}

var errDestroyed = errors.New("core: destroyed")

func (h *HSM) sign(digest []byte) ([]byte, error) {
	me := h.custody().me
	if me == nil {
		return nil, errDestroyed
	}
	return me.signIdentity(digest)
}

func (h *HSM) serial() uint64 {
	if d := h.domain(); d != nil {
		return d.state.Serial
	}
	return 0
}

// host is a host that the supervisor placed for as long as this process runs,
// or that the domain's operators placed for good.
func (h *HSM) host(id link.HostID) *link.Peer {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if p := h.hosts[id]; p != nil || h.held.d == nil {
		return p
	}
	for _, k := range h.held.d.state.Hosts {
		if key, err := link.ParsePublic(k.SPKI); err == nil && link.IDOf(k.SPKI) == id {
			return &link.Peer{ID: id, Key: key, Roles: k.Roles}
		}
	}
	return nil
}

// custody is what this HSM holds at present.
func (h *HSM) custody() *custody {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.held
}

// domain is the present domain, nil if there is none; what it points to does
// not change.
func (h *HSM) domain() *domain { return h.custody().d }

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

// openSession notes a session in the log and makes its token (hsm-domain
// section 5, step 2).
func (h *HSM) openSession(plain []byte) ([]byte, error) {
	d := h.domain()
	entry := message.LogEntry{Kind: message.LogSession, Subject: plain[32:48], Serial: h.serial()}
	if err := h.log.add(entry); err != nil {
		return nil, err
	}
	if d == nil {
		// There is nobody else who could take the session over.
		return appendRandom(nil, 8+kdfNonce+len(plain)+gcmOverhead), nil
	}
	return d.sealSession(plain)
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
