package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// Fences are what the HSM remembers of keys beside their tokens, which others
// keep and can bring back from any backup (hsm-domain section 9). Of a key it
// is little: from which epoch on tokens count, whether the key is closed, and
// the digest of the conditions that are sealed into it now. The last is what
// keeps a token from before a sealing from ever becoming a current one.
//
// A fence only moves on: its epoch never falls, and a closed one opens only
// under a higher epoch. Of two fences of one key the later is therefore always
// known, and members of a domain can take over each other's in any order.
//
// The map lies in shards, each a file: a raise writes one of them, so that its
// cost is that of a small file and not that of all keys, and raises that come
// while a file is being written share the next write.
type fences struct {
	shards [fenceShards]fenceShard
	// seal and unseal protect a file; save stores it. They are set before the first use.
	seal func(plain, bound []byte) ([]byte, error)
	save func(name string, data []byte) error
}

const fenceShards = 64

// fenceID is the beginning of SHA-256 over a key's name (attribute 5).
type fenceID [16]byte

func fenceOf(name string) (id fenceID) {
	sum := sha256.Sum256([]byte(name))
	copy(id[:], sum[:])
	return id
}

// fence is the entry of one key. The zero value is that of a key nobody ever
// fenced or sealed.
type fence struct {
	message.Fence
	sealed [16]byte // see attributes.digest; set with the first entry
}

type fenceShard struct {
	mu     sync.RWMutex
	of     map[fenceID]fence // guarded by mu
	made   uint64            // guarded by mu; changes so far
	saved  uint64            // guarded by mu; changes that are durable
	saving bool              // guarded by mu; one goroutine writes the file
	idle   *sync.Cond        // on mu; broadcast when a write has ended
}

// digest stands for what is sealed into a token: origin, conditions, role,
// custodians. The origin is there so that nobody can import material that he
// knows into a sealed key whose material the HSM made.
func (a *attributes) digest() (d [16]byte) {
	b := link.AppendText([]byte("leadglass conditions v1\x00"), a.origin)
	b = a.sealed.AppendAttribute(b, a.role)
	sum := sha256.Sum256(append(b, a.sealed.Custodians...))
	copy(d[:], sum[:])
	return d
}

func (f *fences) shard(id fenceID) *fenceShard { return &f.shards[id[0]%fenceShards] }

// get is the fence of a key.
func (f *fences) get(id fenceID) fence {
	s := f.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.of[id]
}

// after says whether f is later than old: of a higher epoch, or closed at the
// same one.
func (f fence) after(old fence) bool {
	return f.Epoch > old.Epoch || f.Epoch == old.Epoch && f.Closed && !old.Closed
}

// raise replaces the fence of a key by what next makes of it, durably. Uses
// see it at once: what is not durable yet closes sooner, never later. If the
// file cannot be written the fence stays raised in memory, and the caller is
// told that no more is sure.
func (f *fences) raise(id fenceID, next func(old fence) (fence, uint64)) (fence, uint64) {
	s := f.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.of[id]
	now, status := next(old)
	if status != link.StatusOK {
		return old, status
	}
	if now != old {
		// Nothing asked for may take a fence back, whatever the reason was to ask.
		if !now.after(old) {
			return old, link.StatusFenced
		}
		if s.of == nil {
			s.of = make(map[fenceID]fence)
		}
		s.of[id] = now
		s.made++
	}
	// Also when nothing changes now: what an earlier call could not write must be durable before this one is answered.
	if f.settle(s, f.nameOf(id)) != nil {
		return now, link.StatusInternal
	}
	return now, link.StatusOK
}

// settle returns when all changes so far are durable. The caller holds s.mu.
func (f *fences) settle(s *fenceShard, name string) error {
	want := s.made
	for s.saved < want {
		if s.saving {
			s.idle.Wait()
			continue
		}
		s.saving = true
		plain, upTo := encodeFences(s.of), s.made
		s.mu.Unlock()
		data, err := f.seal(plain, []byte(name))
		if err == nil {
			err = f.save(name, data)
		}
		s.mu.Lock()
		s.saving = false
		if err == nil {
			s.saved = upTo
		}
		s.idle.Broadcast()
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *fences) nameOf(id fenceID) string { return fenceFile(int(id[0] % fenceShards)) }

// fenceFile is the name of a shard in the store.
func fenceFile(shard int) string { return "fences-" + strconv.Itoa(shard) + ".sealed" }

// fenceEntry is id[16] ‖ u64 epoch ‖ u8 closed ‖ digest[16].
const fenceEntry = 16 + 8 + 1 + 16

func encodeFences(m map[fenceID]fence) []byte {
	out := make([]byte, 0, len(m)*fenceEntry)
	ids := slices.SortedFunc(maps.Keys(m), func(a, b fenceID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		e := m[id]
		closed := byte(0)
		if e.Closed {
			closed = 1
		}
		out = append(out, id[:]...)
		out = binary.BigEndian.AppendUint64(out, e.Epoch)
		out = append(out, closed)
		out = append(out, e.sealed[:]...)
	}
	return out
}

var errFences = errors.New("core: a file of fences does not open: changed, or of another HSM")

func decodeFences(b []byte, shard int) (map[fenceID]fence, error) {
	if len(b)%fenceEntry != 0 {
		return nil, errFences
	}
	m := make(map[fenceID]fence, len(b)/fenceEntry)
	var last fenceID
	for ; len(b) > 0; b = b[fenceEntry:] {
		id := fenceID(b[:16])
		e := fence{Fence: message.Fence{Epoch: binary.BigEndian.Uint64(b[16:]), Closed: b[24] == 1}, sealed: [16]byte(b[25:])}
		if len(m) > 0 && bytes.Compare(last[:], id[:]) >= 0 || b[24] > 1 || int(id[0]%fenceShards) != shard || e.Epoch == 0 {
			return nil, errFences
		}
		m[id], last = e, id
	}
	return m, nil
}

// load reads all shards. A file that does not open stops the HSM: without it
// keys would be open that were closed.
func (f *fences) load(store Store, unseal func(sealed, bound []byte) ([]byte, error)) error {
	for i := range f.shards {
		s := &f.shards[i]
		s.idle = sync.NewCond(&s.mu)
		sealed, found, err := store.Load(fenceFile(i))
		if err != nil {
			return fmt.Errorf("core: %w", err)
		}
		if !found {
			continue
		}
		plain, err := unseal(sealed, []byte(fenceFile(i)))
		if err != nil {
			return errFences
		}
		if s.of, err = decodeFences(plain, i); err != nil {
			return err
		}
	}
	return nil
}

const (
	fenceMagic  = "LGF1"
	fenceHeader = len(fenceMagic) + kdfNonce
)

// openFences loads the fences of this HSM. Its files are sealed with a key
// that comes from the HSM's identity, which never changes; the KDF's answer
// tells nothing of the scalar, and its label is used for nothing else. The
// name is part of the AAD, so that no file passes for another.
func (h *HSM) openFences() error {
	me := h.custody().me
	key := func(dst *[32]byte, nonce []byte) error {
		return me.hsk.Use(func(scalar []byte) error {
			kdf.Derive(dst, scalar, "leadglass fences v1", nonce)
			return nil
		})
	}
	h.fences.save = h.cfg.Store.Save
	h.fences.seal = func(plain, bound []byte) ([]byte, error) { return sealUnder(key, fenceMagic, plain, bound) }
	return h.fences.load(h.cfg.Store, func(sealed, bound []byte) ([]byte, error) {
		return unsealUnder(key, fenceMagic, sealed, bound)
	})
}

// sealUnder gives magic ‖ KDF nonce ‖ IV ‖ ciphertext ‖ tag; AAD is what
// stands before the IV, and bound. Every message has a key of its own, so that
// an IV meets none twice.
func sealUnder(key func(dst *[32]byte, nonce []byte) error, magic string, plain, bound []byte) ([]byte, error) {
	out := appendRandom(append(make([]byte, 0, len(magic)+kdfNonce+len(plain)+gcmOverhead), magic...), kdfNonce)
	var own [32]byte
	defer secret.Wipe(own[:])
	if err := key(&own, out[len(magic):]); err != nil {
		return nil, err
	}
	aead, err := newGCM(own[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, plain, append(bytes.Clone(out), bound...)), nil
}

func unsealUnder(key func(dst *[32]byte, nonce []byte) error, magic string, sealed, bound []byte) ([]byte, error) {
	head := len(magic) + kdfNonce
	if len(sealed) < head+gcmOverhead || !bytes.HasPrefix(sealed, []byte(magic)) {
		return nil, errFences
	}
	var own [32]byte
	defer secret.Wipe(own[:])
	if err := key(&own, sealed[len(magic):head]); err != nil {
		return nil, err
	}
	aead, err := newGCM(own[:])
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, sealed[head:], append(bytes.Clone(sealed[:head]), bound...))
}

// refuses checks a token against the fence of its key, for a use.
func (f fence) refuses(a *attributes) bool { return f.Closed || a.epoch < f.Epoch }

// ofCustomer says whether a token is of a customer's key: the house's own, of
// logs and of the authority, and those that only wrap for an import, have
// neither fences nor sealed conditions.
func (a *attributes) ofCustomer() bool {
	return a.role == "" && a.spec != message.SpecLog && a.spec != message.SpecAudit && !strings.HasPrefix(a.usage, importPrefix)
}

// raiseFence moves the fence of the token's key: to Epoch, to the next one if
// Epoch is 0, closed or not (hsm-domain section 9). To open what is closed
// takes the customer's own signed request if the key wants such proofs: else
// a front could undo a DisableKey.
func (c *call) raiseFence() uint64 {
	p := &c.params
	adopting, closing := p.Flags == message.FlagCurrent, p.Flags == message.FlagClosed
	if p.Flags != 0 && !adopting && !closing {
		return link.StatusBadRequest
	}
	if _, status := c.d.unseal(c.token, &c.attrs, c.material[:]); status != link.StatusOK {
		return status
	}
	if status := c.attrs.admits(c.host, c.h.cfg.Now()); status != link.StatusOK {
		return status
	}
	if !c.attrs.ofCustomer() {
		return link.StatusWrongToken
	}
	a, proven := &c.attrs, false
	raise := func(old fence) (fence, uint64) {
		next := fence{Fence: message.Fence{Epoch: p.Epoch, Closed: closing}, sealed: old.sealed}
		if old.Epoch == 0 {
			next.sealed = a.digest()
		}
		reach := max(old.Epoch, old.Epoch+1) // the last epoch has none after it
		switch {
		case adopting:
			// A token of a later epoch was made where the fence stood there: at another member of the domain, which may
			// also have sealed other conditions. Whether the key is open is not in a token.
			if a.epoch <= old.Epoch {
				return old, link.StatusOK
			}
			return fence{Fence: message.Fence{Epoch: a.epoch, Closed: old.Closed}, sealed: a.digest()}, link.StatusOK
		case closing && old.Closed && p.Epoch <= old.Epoch:
			return old, link.StatusOK
		case p.Epoch == message.FenceForever && closing:
		case closing:
			next.Epoch = max(p.Epoch, reach)
		case p.Epoch == 0:
			next.Epoch = reach
		case p.Epoch == old.Epoch && !old.Closed:
			return old, link.StatusOK
		}
		switch {
		case next.Epoch > reach && !(closing && next.Epoch == message.FenceForever),
			next.Epoch == message.FenceForever && !closing, old.Epoch == message.FenceForever:
			// A host cannot use up the epochs, nor bring back what was destroyed.
			return old, link.StatusFenced
		case !closing && old.Epoch > 0 && a.digest() != old.sealed:
			return old, link.StatusFenced // a token from before a sealing opens nothing
		case !closing && old.Closed && a.sealed.CallerProof && !proven:
			return old, link.StatusDenied
		}
		return next, link.StatusOK
	}
	// The proof is checked outside the shard's lock: it costs two signatures.
	if p.Flags == 0 && a.sealed.CallerProof {
		proven = c.proves(a, "EnableKey") == link.StatusOK && c.proof.body.member("KeyId").means(a)
	}
	now, status := c.h.fences.raise(fenceOf(a.name), raise)
	if status != link.StatusOK {
		return status
	}
	c.result.Record = now.Append(nil)
	if now.Epoch == message.FenceForever {
		return c.destruction()
	}
	return link.StatusOK
}

// current gives a token the epoch of its key's fence, if what is sealed into
// it is what is sealed into the key. Epoch is what the host takes for the
// present: one that lives in an old copy of the store does not know it, and is
// refused rather than brought up to date (section 9: a stale front-end). A
// closed key has no present.
func (c *call) current(a *attributes) uint64 {
	now := c.h.fences.get(fenceOf(a.name))
	if now.Epoch == 0 && c.params.Epoch == 0 {
		return link.StatusOK
	}
	if now.Epoch != c.params.Epoch || now.Closed || a.digest() != now.sealed {
		return link.StatusFenced
	}
	a.epoch = now.Epoch
	return link.StatusOK
}

// inherit gives new material of a key what is sealed into the key's other
// materials. The host says what that is (Conditions and Epoch), the fence of
// the key knows whether it is right. A key without a fence has no conditions;
// new material of one that has a fence would without this be outside it.
func (c *call) inherit(a *attributes) uint64 {
	p, now := &c.params, c.h.fences.get(fenceOf(a.name))
	if len(p.Conditions) > 0 && a.sealed.Parse(p.Conditions) != nil {
		return link.StatusBadRequest
	}
	known := now.Epoch == 0 && a.sealed.Empty() || now.Epoch > 0 && a.digest() == now.sealed
	if !known || p.Epoch != now.Epoch || now.Epoch == message.FenceForever {
		return link.StatusFenced
	}
	a.epoch = now.Epoch
	return link.StatusOK
}

// fencesLabel is that of the key under which fences go from one member of a
// domain to another.
const fencesLabel = "leadglass fence page v1"

// fencePage is how many fences one page holds: they fit a frame.
const fencePage = 1024

// exchangeFences gives a page of the fences to another member of the domain,
// or takes one over (Blob). A page is of one shard (Length, 1 to 64), and
// begins behind the fence that Enc names. Only later fences are taken: a page
// from long ago changes nothing.
func (c *call) exchangeFences() uint64 {
	p := &c.params
	if p.Length < 1 || p.Length > fenceShards {
		return link.StatusBadRequest
	}
	i := int(p.Length - 1)
	s, bound := &c.h.fences.shards[i], []byte(fenceFile(i))
	if len(p.Blob) == 0 {
		s.mu.RLock()
		plain := encodeFences(s.of)
		s.mu.RUnlock()
		for len(plain) > 0 && bytes.Compare(plain[:16], p.Enc) <= 0 {
			plain = plain[fenceEntry:]
		}
		if len(plain) > fencePage*fenceEntry {
			plain = plain[:fencePage*fenceEntry]
			c.result.Public = bytes.Clone(plain[len(plain)-fenceEntry:][:16])
		}
		key := func(dst *[32]byte, nonce []byte) error { return c.d.derive(dst, c.d.active, fencesLabel, nonce) }
		page, err := sealUnder(key, fenceMagic+string(c.d.active[:]), plain, bound)
		if err != nil {
			return link.StatusInternal
		}
		c.result.Record = page
		return link.StatusOK
	}
	if len(p.Blob) < fenceHeader+len(dkID{}) {
		return link.StatusBadRequest
	}
	id := dkID(p.Blob[len(fenceMagic):])
	if c.d.keys[id] == nil {
		return link.StatusStale
	}
	key := func(dst *[32]byte, nonce []byte) error { return c.d.derive(dst, id, fencesLabel, nonce) }
	plain, err := unsealUnder(key, fenceMagic+string(id[:]), p.Blob, bound)
	if err != nil {
		return link.StatusAuthFailed
	}
	theirs, err := decodeFences(plain, i)
	if err != nil {
		return link.StatusBadRequest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, e := range theirs {
		if e.after(s.of[id]) {
			if s.of == nil {
				s.of = make(map[fenceID]fence)
			}
			s.of[id] = e
			s.made++
		}
	}
	if c.h.fences.settle(s, string(bound)) != nil {
		return link.StatusInternal
	}
	return link.StatusOK
}
