package core

import (
	"sync"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// revocations is the log of what was revoked, with an epoch that only rises
// (sigv4 section 9.6). An entry ends sessions issued until an instant, so it
// is of no more use when the longest of them is over.
type revocations struct {
	write sync.Mutex // held while an entry is made durable
	root  *root      // guarded by write

	mu       sync.RWMutex
	epoch    uint64               // guarded by mu
	list     []message.Revocation // guarded by mu; in the order of epochs
	sessions map[[16]byte]bool    // guarded by mu; index of list
	until    map[string]time.Time // guarded by mu; index of list: kind and name
}

// Prefixes of the index.
const (
	byPrincipal  = "p"
	byCredential = "c"
	byAccount    = "a"
)

func (v *revocations) size() (epoch, n uint64) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.epoch, uint64(len(v.list))
}

// revoked says whether a session was ended. A session of the very millisecond
// of the revocation counts as issued before it.
func (v *revocations) revoked(c *message.Claims) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if len(v.list) == 0 {
		return false
	}
	if v.sessions[c.SessionID] {
		return true
	}
	for _, name := range [...]string{byPrincipal + c.PrincipalID, byCredential + c.CredentialID, byAccount + c.Account} {
		if t, ok := v.until[name]; ok && !c.Issued.After(t) {
			return true
		}
	}
	return false
}

// index rebuilds the maps from the list. v.mu is held.
func (v *revocations) index() {
	v.sessions, v.until = make(map[[16]byte]bool), make(map[string]time.Time)
	for _, e := range v.list {
		name := ""
		switch {
		case e.PrincipalID != "":
			name = byPrincipal + e.PrincipalID
		case e.CredentialID != "":
			name = byCredential + e.CredentialID
		case e.Account != "":
			name = byAccount + e.Account
		default:
			v.sessions[e.SessionID] = true
			continue
		}
		if v.until[name].Before(e.IssuedBefore) {
			v.until[name] = e.IssuedBefore
		}
	}
}

func (a *authority) revoke(p *message.Params, r *result) error {
	list, err := message.DecodeRevocations(p.Revocation)
	if err != nil || len(list) != 1 {
		return failure(link.StatusBadRequest)
	}
	e := list[0]
	now := a.now().Truncate(time.Millisecond)
	if e.IssuedBefore.IsZero() || e.IssuedBefore.After(now) || e.SessionID != [16]byte{} {
		// Nothing can be said about sessions that do not exist yet.
		e.IssuedBefore = now
	}
	v := &a.revocations
	v.write.Lock()
	defer v.write.Unlock()
	v.mu.RLock()
	next := make([]message.Revocation, 0, len(v.list)+1)
	for _, old := range v.list {
		if now.Sub(old.IssuedBefore) < longest+time.Hour && !covers(&e, &old) {
			next = append(next, old)
		}
	}
	e.Epoch = v.epoch + 1
	v.mu.RUnlock()
	next = append(next, e)
	encoded, err := message.EncodeRevocations(next)
	if err != nil {
		return err
	}
	plain := link.AppendBytes(link.AppendUint(link.AppendArray(nil, 2), e.Epoch), encoded)
	if err := a.saveState(v.root, revocationsName, plain); err != nil {
		return err
	}
	v.mu.Lock()
	v.list, v.epoch = next, e.Epoch
	v.index()
	v.mu.Unlock()
	r.Epoch = e.Epoch
	return nil
}

func (v *revocations) load(a *authority, r *root) error {
	v.write.Lock()
	defer v.write.Unlock()
	v.root = r
	plain, found, err := a.loadState(r, revocationsName)
	if err != nil || !found {
		return err
	}
	in := link.NewReader(plain)
	if in.Array() != 2 {
		in.Fail()
	}
	epoch, encoded := in.Uint(), in.Bytes()
	if in.Done() != nil {
		return errState
	}
	list, err := message.DecodeRevocations(encoded)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.epoch, v.list = epoch, list
	v.index()
	return nil
}

// covers says whether e makes an older entry superfluous.
func covers(e, old *message.Revocation) bool {
	return e.SessionID == old.SessionID && e.PrincipalID == old.PrincipalID && e.CredentialID == old.CredentialID &&
		e.Account == old.Account && !e.IssuedBefore.Before(old.IssuedBefore)
}

// maxListed entries fit into one answer.
const maxListed = 400

func (a *authority) listRevocations(p *message.Params, r *result) error {
	v := &a.revocations
	v.mu.RLock()
	defer v.mu.RUnlock()
	var out []message.Revocation
	for _, e := range v.list {
		if e.Epoch > p.Since && len(out) < maxListed {
			out = append(out, e)
		}
	}
	var err error
	r.Revocations, err = message.EncodeRevocations(out)
	r.Epoch = v.epoch
	return err
}
