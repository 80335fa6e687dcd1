// Package core is the inside of the identity authority: it holds the secrets
// of access keys and the keys that make sessions (sigv4 section 9, sts-and-fas
// section 4). Only the boundary process runs it.
//
// Main.Run serves one host, the front. Until that host says Open, the
// authority knows nothing; then it fetches its root key from the HSM, over a
// link of its own that does not pass the front, and from then on answers.
//
// A secret exists in three places: sealed in the record that the directory
// keeps, in the frame of the one answer that hands it to its customer, and on
// this process's stack for the microseconds of a check. Derived signing keys
// are kept, in secret memory, for as long as they are in use; of SigV4A's key
// pairs only the public half is.
//
// The seeds of MFA devices are kept in the same way, and their codes checked
// here (factor.go): a session says that a second factor was shown only if this
// process saw its code. Passwords are hashed here, and the hashes sealed
// (password.go). What was tried is remembered in a file (attempts.go).
//
// Not done here: who may have which session, and any policy. Forward access
// sessions and auth tickets are to be made here, because only here are the
// customers' signing keys.
//
// Promised: no operation outputs the secret of a credential or device
// that exists, and a sealed record and a token of version 1 stay readable.
package core

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
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
	"github.com/leadglass/leadglass/identity/authority/message"
)

// A Store keeps the authority's few small files: boundary.Dir inside a
// boundary.
type Store interface {
	Load(name string) (data []byte, found bool, err error)
	Save(name string, data []byte) error // durable and all or nothing
}

// Main is what an authority process runs, inside its boundary. All fields are
// required.
type Main struct {
	Store  Store
	Memory *secret.Arena
	Now    func() time.Time
	Setup  []byte // message.Setup of the front's and the HSM's SPKI

	FrontLink io.ReadWriter
	HSMLink   io.ReadWriteCloser

	// Ready tells the supervisor message.Setup of both keys of this process:
	// the one that is to be placed as a host of the HSM, and the one that
	// answers the front.
	Ready func(keys []byte) error

	Second <-chan time.Time // each tick collects what operations left on the heap (secret.Collector); nil: Go does when it likes
}

// Run serves the front until its link ends.
func (m *Main) Run() error {
	a, err := newAuthority(m)
	if err != nil {
		return err
	}
	if err := m.Ready(message.Setup(a.hostSPKI, a.identitySPKI)); err != nil {
		return fmt.Errorf("core: ready: %w", err)
	}
	defer a.hangUp()
	ended := make(chan struct{})
	var collecting sync.WaitGroup
	collecting.Go(func() {
		var dead secret.Collector
		for {
			select {
			case <-m.Second:
				dead.Tick(a.ended.Load())
			case <-ended:
				return
			}
		}
	})
	defer collecting.Wait()
	defer close(ended)
	return link.Serve(m.FrontLink, &link.ServerConfig{
		Identity: a.identitySPKI,
		Sign: func(digest []byte) ([]byte, error) {
			return ecdsa.SignASN1(rand.Reader, a.identity, digest)
		},
		Serial: func() uint64 { return 0 },
		Host: func(id link.HostID) *link.Peer {
			if id != a.front.ID {
				return nil
			}
			return a.front
		},
		// A session of this link ends with the process; its token opens nowhere.
		SealToken: func([]byte) ([]byte, error) {
			token := make([]byte, 32)
			rand.Read(token)
			return token, nil
		},
		Now:     m.Now,
		Handler: a,
	})
}

// authority is the state of the process. It is safe for concurrent use.
type authority struct {
	store  Store
	memory *secret.Arena
	now    func() time.Time
	front  *link.Peer

	host, identity         *ecdsa.PrivateKey // of this process alone; they end with it
	hostSPKI, identitySPKI []byte
	hsm                    []byte
	hsmLink                io.ReadWriteCloser
	hsmClient              *link.Client // guarded by open

	operations atomic.Uint64
	ended      atomic.Uint64        // of those, the ones that have left their secrets behind
	issued     atomic.Uint64        // keys of the day
	open       sync.Mutex           // held while the root key is fetched
	root       atomic.Pointer[root] // nil until opened

	tokens      tokenKeys
	sessions    cache[*session]
	signing     cache[*secret.Bytes]
	public      cache[*ecdsa.PublicKey] // of SigV4A
	revocations revocations
	attempts    attempts
	hasher      hasher
	deflater    deflater
}

// root is what the HSM gave, split by purpose.
type root struct {
	id     [4]byte       // names it in records
	record *secret.Bytes // seals secrets of access keys
	state  *secret.Bytes // seals this process's files
	dummy  []byte        // a sealed record of no one, for unknown access keys
}

func newAuthority(m *Main) (*authority, error) {
	spki, hsm, err := message.SplitSetup(m.Setup)
	if err != nil {
		return nil, fmt.Errorf("core: setup: %w", err)
	}
	front, err := link.ParsePublic(spki)
	if err != nil {
		return nil, fmt.Errorf("core: front: %w", err)
	}
	a := &authority{
		store: m.Store, memory: m.Memory, now: m.Now, hsm: hsm, hsmLink: m.HSMLink,
		front: &link.Peer{ID: link.IDOf(spki), Key: front},
	}
	a.sessions.limit, a.signing.limit, a.public.limit = 512, 4096, 1024
	for _, k := range []struct {
		key  **ecdsa.PrivateKey
		spki *[]byte
	}{{&a.host, &a.hostSPKI}, {&a.identity, &a.identitySPKI}} {
		if *k.key, *k.spki, err = link.NewKey(); err != nil {
			return nil, fmt.Errorf("core: identity: %w", err)
		}
	}
	return a, nil
}

// hangUp ends the link to the HSM.
func (a *authority) hangUp() {
	a.open.Lock()
	defer a.open.Unlock()
	if a.hsmClient != nil {
		_ = a.hsmClient.Close()
	}
}

var (
	errRefused = errors.New("core: refused")
	errState   = errors.New("core: a file of the authority does not open: changed, or of another domain")
)

// failure is an error with the status that the host gets.
type failure uint64

func (f failure) Error() string { return errRefused.Error() }

// status is what the host learns of an error.
func status(err error) uint64 {
	if err == nil {
		return link.StatusOK
	}
	if f, ok := errors.AsType[failure](err); ok {
		return uint64(f)
	}
	return link.StatusInternal
}

type operation struct {
	slow bool
	run  func(a *authority, p *message.Params, r *result) error
}

// result is a message.Result and the memory of the secrets in it, which is
// wiped after the answer was written.
type result struct {
	message.Result
	secret [message.SecretLen]byte
	key    [32]byte
	large  []byte // of a new device's seed and picture
}

// lookup is the table: the whole of what an authority does.
func lookup(op uint64) (operation, bool) {
	switch op {
	case message.OpOpen:
		return operation{true, (*authority).openRoot}, true
	case message.OpRewrapRoot:
		return operation{true, (*authority).rewrapRoot}, true
	case message.OpNewSecret:
		return operation{false, (*authority).newSecret}, true
	case message.OpWitness:
		return operation{false, (*authority).witness}, true
	case message.OpSigningKey:
		return operation{false, (*authority).signingKey}, true
	case message.OpWitnessV4A: // slow: an ECDSA verification would hold up the others
		return operation{true, (*authority).witnessV4A}, true
	case message.OpPublicKey:
		return operation{true, (*authority).publicKey}, true
	case message.OpCallerKey:
		return operation{true, (*authority).callerKey}, true
	case message.OpWitnessChunks:
		return operation{true, (*authority).witnessChunks}, true
	case message.OpWitnessPost:
		return operation{true, (*authority).witnessPost}, true
	case message.OpIssueSession:
		return operation{true, (*authority).issueSession}, true
	case message.OpSealMessage:
		return operation{true, (*authority).sealMessage}, true
	case message.OpOpenMessage:
		return operation{true, (*authority).openMessage}, true
	case message.OpRevoke:
		return operation{true, (*authority).revoke}, true
	case message.OpRevocations:
		return operation{false, (*authority).listRevocations}, true
	case message.OpResolve:
		return operation{false, (*authority).resolveKey}, true
	case message.OpNewFactor:
		return operation{true, (*authority).newFactor}, true
	case message.OpPairFactor:
		return operation{true, (*authority).pairFactor}, true
	case message.OpSetPassword:
		return operation{true, (*authority).setPassword}, true
	case message.OpStatus:
		return operation{false, (*authority).status}, true
	case message.OpNewSigner:
		return operation{true, (*authority).newSigner}, true
	case message.OpSignIdentity:
		return operation{true, (*authority).signIdentity}, true
	}
	return operation{}, false
}

// Slow reports whether an operation takes long or waits for a disk.
func (a *authority) Slow(q *link.Request) bool {
	o, _ := lookup(q.Op)
	return o.slow
}

// Handle does one operation. It is called by package link.
func (a *authority) Handle(q *link.Request, dst []byte) (out []byte, code uint64) {
	op, known := lookup(q.Op)
	if !known || len(q.Token) > 0 {
		return dst, link.StatusBadRequest
	}
	if q.Op != message.OpOpen && q.Op != message.OpStatus && a.root.Load() == nil {
		return dst, link.StatusBusy
	}
	var p message.Params
	if p.Parse(q.Params) != nil {
		return dst, link.StatusBadRequest
	}
	var r result
	defer func() {
		secret.Wipe(r.secret[:])
		secret.Wipe(r.key[:])
		secret.Wipe(r.large)
	}()
	// A broken invariant in one call must not end all authentication; what went
	// wrong is not told, because it could be part of a secret.
	defer func() {
		if recover() != nil {
			out, code = dst, link.StatusInternal
		}
	}()
	a.operations.Add(1)
	var err error
	secret.Do(func() {
		if err = op.run(a, &p, &r); err == nil {
			out = r.Append(dst)
		}
	})
	a.ended.Add(1)
	if err != nil {
		return dst, status(err)
	}
	return out, link.StatusOK
}

func (a *authority) status(_ *message.Params, r *result) error {
	s := message.Status{
		Memory: a.memory.Kind(), Open: a.root.Load() != nil, Operations: a.operations.Load(),
		CachedKeys: a.signing.len(), TokenKeys: a.tokens.len(), KeysIssued: a.issued.Load(),
	}
	s.Epoch, s.Revocations = a.revocations.size()
	var err error
	r.Status, err = s.Encode()
	return err
}

// derived uses a key made from base for one purpose and one nonce. A key that
// comes fresh from the KDF for every message meets no nonce twice.
func derived(base *secret.Bytes, label string, nonce []byte, use func(cipher.AEAD) error) error {
	var key [32]byte
	defer secret.Wipe(key[:])
	err := base.Use(func(own []byte) error {
		kdf.Derive(&key, own, label, nonce)
		return nil
	})
	if err != nil {
		return err
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return err
	}
	return use(aead)
}

// newGCM is AES-256-GCM that draws its nonce and puts it before the ciphertext.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

const (
	kdfNonce    = 16
	gcmOverhead = 12 + 16
)

func appendRandom(b []byte, n int) []byte {
	b = append(b, make([]byte, n)...)
	rand.Read(b[len(b)-n:])
	return b
}
