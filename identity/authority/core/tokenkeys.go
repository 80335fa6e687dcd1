package core

import (
	"crypto/cipher"
	"crypto/rand"
	"sync"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// What a generation of keys is for: K_tok, K_sec, and the key of messages.
const (
	purposeToken = iota
	purposeSecret
	purposeMessage
	purposes
)

const (
	keyActiveFor = 24 * time.Hour
	// A generation is kept until the longest session made on its last day is
	// over, and is then erased: no later theft opens those tokens.
	keyKeptFor = keyActiveFor + longest + time.Hour
)

// keyID names a generation in a token.
type keyID [4]byte

type generation struct {
	id      keyID
	created time.Time
	keys    [purposes]*secret.Bytes
}

// tokenKeys are the daily keys (sts-and-fas section 4), the oldest first.
type tokenKeys struct {
	mu   sync.RWMutex
	list []*generation // guarded by mu; replaced, not changed
	make sync.Mutex    // held while a new generation is made
	root *root         // guarded by make
}

func (t *tokenKeys) len() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return uint64(len(t.list))
}

func (t *tokenKeys) get(id keyID) *generation {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range t.list {
		if g.id == id {
			return g
		}
	}
	return nil
}

func (t *tokenKeys) use(id keyID, purpose int, f func(cipher.AEAD) error) error {
	g := t.get(id)
	if g == nil {
		return errRefused
	}
	return g.keys[purpose].Use(func(key []byte) error {
		aead, err := newGCM(key)
		if err != nil {
			return err
		}
		return f(aead)
	})
}

// active returns today's generation, and makes it if there is none yet.
func (t *tokenKeys) active(a *authority) (keyID, error) {
	now := a.now()
	current := func() (id keyID, ok bool) {
		t.mu.RLock()
		defer t.mu.RUnlock()
		if len(t.list) == 0 {
			return id, false
		}
		g := t.list[len(t.list)-1]
		return g.id, now.Sub(g.created) < keyActiveFor
	}
	if id, ok := current(); ok {
		return id, nil
	}
	t.make.Lock()
	defer t.make.Unlock()
	if id, ok := current(); ok {
		return id, nil
	}
	g := &generation{created: now}
	rand.Read(g.id[:])
	for i := range g.keys {
		key, err := a.memory.New(32)
		if err != nil {
			return g.id, err
		}
		if err := key.Use(func(b []byte) error { rand.Read(b); return nil }); err != nil {
			return g.id, err
		}
		g.keys[i] = key
	}
	var next, gone []*generation
	t.mu.RLock()
	for _, old := range t.list {
		if now.Sub(old.created) < keyKeptFor {
			next = append(next, old)
		} else {
			gone = append(gone, old)
		}
	}
	t.mu.RUnlock()
	next = append(next, g)
	// Durable before the first token: a session must survive a restart.
	if err := t.save(a, next); err != nil {
		return g.id, err
	}
	t.mu.Lock()
	t.list = next
	t.mu.Unlock()
	for _, old := range gone {
		for _, key := range old.keys {
			key.Destroy()
		}
	}
	return g.id, nil
}

// save stores the generations: an array of [id, created ms, K_tok, K_sec,
// message key].
func (t *tokenKeys) save(a *authority, list []*generation) error {
	b := make([]byte, 0, 16+len(list)*(32+purposes*40)) // of its final size: growing would leave keys behind
	defer func() { secret.Wipe(b[:cap(b)]) }()
	b = link.AppendArray(b, len(list))
	for _, g := range list {
		b = link.AppendArray(b, 2+purposes)
		b = link.AppendBytes(b, g.id[:])
		b = link.AppendUint(b, uint64(g.created.UnixMilli()))
		for _, key := range g.keys {
			if err := key.Use(func(own []byte) error { b = link.AppendBytes(b, own); return nil }); err != nil {
				return err
			}
		}
	}
	return a.saveState(t.root, tokenKeysName, b)
}

func (t *tokenKeys) load(a *authority, r *root) error {
	t.make.Lock()
	defer t.make.Unlock()
	t.root = r
	plain, found, err := a.loadState(r, tokenKeysName)
	if err != nil || !found {
		return err
	}
	defer secret.Wipe(plain)
	in := link.NewReader(plain)
	var list []*generation
	for n := in.Array(); n > 0 && !in.Failed(); n-- {
		g := &generation{}
		if in.Array() != 2+purposes || copy(g.id[:], in.Bytes()) != len(g.id) {
			return errState
		}
		g.created = time.UnixMilli(int64(in.Uint()))
		for i := range g.keys {
			own := in.Bytes()
			if len(own) != 32 {
				return errState
			}
			if g.keys[i], err = a.memory.From(own); err != nil {
				return err
			}
		}
		list = append(list, g)
	}
	if in.Done() != nil {
		return errState
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = list
	return nil
}
