package sessions

import (
	"container/list"
	"crypto/ecdsa"
	"crypto/sha256"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/sigv4"
)

// An entry is what the authority said of one (access key id, token, date,
// region, service).
type entry struct {
	at      [32]byte
	akid    string
	account string            // of akid
	claims  *authority.Claims // of a session
	origin  string            // account of the access key that made it
	key     *secret.Bytes     // kSigning
	public  *ecdsa.PublicKey  // of SigV4A, instead
	refusal error             // instead of a key
	until   time.Time
}

// place names an entry. The sealed record stands for a long-term key, so that
// one that was made anew is another.
func place(q *authority.Request, s *sigv4.StringToSign) [32]byte {
	var room [512]byte
	b := append(append(room[:0], byte(len(q.AccessKeyID))), q.AccessKeyID...)
	of := sha256.Sum256(q.Sealed)
	if q.SessionToken != "" {
		of = sha256.Sum256([]byte(q.SessionToken))
	}
	b = append(b, of[:]...)
	if s.Asymmetric { // its key is of no day and no service
		return sha256.Sum256(append(b, 'A'))
	}
	for _, part := range [...]string{s.Date, s.Region, s.Service} {
		b = append(append(b, byte(len(part)), byte(len(part)>>8)), part...)
	}
	return sha256.Sum256(b)
}

// match says whether the entry's key made a signature.
func (e *entry) match(q *authority.Request) (match bool) {
	if e.public != nil {
		return sigv4.VerifyV4A(e.public, q.StringToSign, q.ECDSA)
	}
	// A key that was evicted this instant is destroyed, and matches nothing.
	_ = e.key.Use(func(own []byte) error {
		match = sigv4.Verify((*[32]byte)(own), q.StringToSign, &q.Signature)
		return nil
	})
	return match
}

// newEntry is an entry without what the authority says.
func newEntry(at [32]byte, q *authority.Request) *entry {
	e := &entry{at: at, akid: q.AccessKeyID}
	e.account, _ = id.AccessKeyAccount(q.AccessKeyID)
	return e
}

// setClaims makes it the entry of a session, or leaves it as it is.
func (e *entry) setClaims(c *authority.Claims) {
	if e.claims = c; c != nil {
		e.origin, _ = id.AccessKeyAccount(c.CredentialID)
	}
}

// A shelf keeps the entries that were used last, up to a limit. Its owner
// guards it.
type shelf struct {
	limit int
	at    map[[32]byte]*list.Element // of *entry
	order *list.List                 // the one used last in front
	gone  uint64                     // how many were removed
}

func newShelf(limit int) shelf {
	return shelf{limit: limit, at: make(map[[32]byte]*list.Element), order: list.New()}
}

// get returns an entry that is still good.
func (s *shelf) get(at [32]byte, now time.Time) *entry {
	el, ok := s.at[at]
	if !ok {
		return nil
	}
	e := el.Value.(*entry)
	if !now.Before(e.until) {
		s.remove(el)
		return nil
	}
	s.order.MoveToFront(el)
	return e
}

// put adds an entry.
func (s *shelf) put(e *entry) {
	if old, ok := s.at[e.at]; ok {
		s.remove(old)
	}
	for s.order.Len() >= s.limit {
		s.remove(s.order.Back())
	}
	s.at[e.at] = s.order.PushFront(e)
}

func (s *shelf) remove(el *list.Element) {
	e := s.order.Remove(el).(*entry)
	delete(s.at, e.at)
	s.gone++
	e.wipe()
}

// drop removes what hit says.
func (s *shelf) drop(hit func(*entry) bool) {
	var next *list.Element
	for el := s.order.Front(); el != nil; el = next {
		next = el.Next()
		if hit(el.Value.(*entry)) {
			s.remove(el)
		}
	}
}

func (e *entry) wipe() {
	if e.key != nil {
		e.key.Destroy()
	}
}
