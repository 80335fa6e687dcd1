package sessions

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/sigv4"
)

// Bounds of a Keyring (sigv4 section 9.5).
const (
	KeyTTL    = 60 * time.Second  // how long a key is kept unless the config says otherwise
	MaxKeyTTL = 300 * time.Second // and at the most
	MaxKeys   = 100_000           // kept at once unless the config says otherwise

	refusalTTL  = 5 * time.Second
	maxRefusals = 8192
	sweepEvery  = 5 * time.Second

	// A key is put into its memory before the oldest makes room for it.
	spareKeys = 128
)

// A KeyAuthority is an authority for key mode; *authority.Client is one.
type KeyAuthority interface {
	Witness(ctx context.Context, q authority.Request) (*authority.Claims, error)
	Resolve(ctx context.Context, q authority.Request) (authority.SigningKey, error)
	PublicKey(ctx context.Context, accessKeyID string, sealed []byte, token string) (authority.PublicKey, error)
	ChunkWitness
	Watch(c clock.Clock, apply func([]authority.Revocation), reset func()) *authority.Watch
}

// A KeyIssue is one signing key that the authority handed out.
type KeyIssue struct {
	AccessKeyID string
	Account     string // of the access key
	Session     bool   // the key is of a session
	Date        string // YYYYMMDD: the scope that the key signs for
	Region      string
	Service     string
	NotAfter    time.Time // when it is of no more use
}

// KeyringConfig says how to keep keys. Authority, Clock and Issued are required.
type KeyringConfig struct {
	Authority KeyAuthority
	Clock     clock.Clock
	// Issued makes the audit event of an issue durable; a key is not used
	// before it has returned (sigv4 section 9.7, I-4).
	Issued func(context.Context, KeyIssue) error
	TTL    time.Duration // zero: KeyTTL
	Limit  int           // zero: MaxKeys
}

func (c *KeyringConfig) valid() error {
	switch {
	case c.Authority == nil, c.Clock == nil, c.Issued == nil:
		return errors.New("sessions: a keyring needs an authority, a clock and somebody who records issues")
	case c.TTL < 0 || c.TTL > MaxKeyTTL:
		return fmt.Errorf("sessions: signing keys may be kept for at most %v, not %v", MaxKeyTTL, c.TTL)
	case c.Limit < 0 || c.Limit > MaxKeys:
		return fmt.Errorf("sessions: at most %d signing keys may be kept, not %d", MaxKeys, c.Limit)
	}
	return nil
}

// A Keyring is an authenticator in key mode (sigv4 section 9): it checks
// signatures by itself, with signing keys of one day, region and service that
// it got from the authority and keeps for about a minute. To the outside it
// behaves as witness mode does; what it gives up is that whoever controls this
// process could sign, for the rest of the day and for these services, as a
// customer who called within that minute.
//
// It gets a key only for a request that this key has signed, so nobody's key
// comes here for a stranger's guess, and a wrong signature takes the same way,
// to the authority and back, whether or not the access key exists or is kept.
//
// Of SigV4A it keeps public keys, which nobody can sign with.
//
// What it keeps follows the stream of revocations: a revocation takes out what
// it names, a stream that is silent for authority.Silence turns every request
// into a question to the authority, and one that is silent for authority.Lost
// closes the door.
type Keyring struct {
	cfg    KeyringConfig
	arena  *secret.Arena
	watch  *authority.Watch
	stop   context.CancelFunc
	worker sync.WaitGroup

	issued, hits, asked atomic.Uint64

	mu       sync.Mutex
	keys     shelf                      // guarded by mu
	refusals shelf                      // guarded by mu; apart, so that strangers displace no key
	flights  map[[32]byte]chan struct{} // guarded by mu; resolutions under way, closed at their end
	events   uint64                     // guarded by mu; rises with every revocation
}

// NewKeyring starts to follow the authority's revocations, until Close.
func NewKeyring(cfg KeyringConfig) (*Keyring, error) {
	if err := cfg.valid(); err != nil {
		return nil, err
	}
	if cfg.TTL == 0 {
		cfg.TTL = KeyTTL
	}
	if cfg.Limit == 0 {
		cfg.Limit = MaxKeys
	}
	arena, err := secret.NewArena((cfg.Limit + spareKeys) * 32)
	if err != nil {
		return nil, fmt.Errorf("sessions: memory for signing keys: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &Keyring{
		cfg: cfg, arena: arena, stop: stop, flights: make(map[[32]byte]chan struct{}),
		keys: newShelf(cfg.Limit), refusals: newShelf(min(cfg.Limit, maxRefusals)),
	}
	k.watch = cfg.Authority.Watch(cfg.Clock, k.apply, k.reset)
	k.worker.Go(func() { k.sweep(ctx) })
	return k, nil
}

// Close ends the keyring and wipes its keys. No Witness may be under way.
func (k *Keyring) Close() {
	k.stop()
	k.worker.Wait()
	k.watch.Stop()
	k.reset()
}

// Memory says what memory the keys are in (package secret).
func (k *Keyring) Memory() string { return k.arena.Kind() }

// Witness is authority.Client.Witness, answered from here where that can be.
func (k *Keyring) Witness(ctx context.Context, q authority.Request) (*authority.Claims, error) {
	if k.watch.Gone() {
		return nil, fmt.Errorf("%w: silent for %v", authority.ErrUnavailable, authority.Lost)
	}
	s, err := sigv4.ParseStringToSign(q.StringToSign)
	// The authority answers for what is malformed, for an id that nobody has, and
	// for everything while the stream is silent.
	if err != nil || s.CanonicalDigest != q.CanonicalDigest || q.SessionToken == "" && len(q.Sealed) == 0 || !k.watch.Live() {
		return k.ask(ctx, q)
	}
	at := place(&q, &s)
	claims, found, err := k.look(at, &q)
	if found {
		return k.unless(ctx, q, claims, err)
	}
	k.mu.Lock()
	flight, under := k.flights[at]
	if !under {
		flight = make(chan struct{})
		k.flights[at] = flight
	}
	events := k.events
	k.mu.Unlock()
	if !under {
		defer func() {
			k.mu.Lock()
			delete(k.flights, at)
			k.mu.Unlock()
			close(flight)
		}()
		if s.Asymmetric {
			return k.resolvePublic(ctx, at, q, events)
		}
		return k.resolve(ctx, at, q, &s, events)
	}
	select {
	case <-flight:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if claims, found, err = k.look(at, &q); found {
		return k.unless(ctx, q, claims, err)
	}
	// Whoever was first had no luck, and may be a stranger: nobody waits for the next.
	return k.ask(ctx, q)
}

// unless leaves a signature to the authority that the kept key did not make, as
// it does for an id that nobody has: time must not tell which keys are kept.
func (k *Keyring) unless(ctx context.Context, q authority.Request, claims *authority.Claims, err error) (*authority.Claims, error) {
	if errors.Is(err, authority.ErrSignature) {
		return k.ask(ctx, q)
	}
	return claims, err
}

// ask leaves it to the authority.
func (k *Keyring) ask(ctx context.Context, q authority.Request) (*authority.Claims, error) {
	k.asked.Add(1)
	return k.cfg.Authority.Witness(ctx, q)
}

// look answers from what is kept, if there is something.
func (k *Keyring) look(at [32]byte, q *authority.Request) (claims *authority.Claims, found bool, err error) {
	now := k.cfg.Clock.Now()
	k.mu.Lock()
	e := k.keys.get(at, now)
	if e == nil {
		e = k.refusals.get(at, now)
	}
	k.mu.Unlock()
	switch {
	case e == nil:
		return nil, false, nil
	case e.refusal != nil:
		return nil, true, e.refusal
	}
	switch {
	case !e.match(q):
		return nil, true, authority.ErrSignature
	case e.claims != nil && !now.Before(e.claims.Expires):
		return nil, true, authority.ErrExpired
	}
	k.hits.Add(1)
	return e.claims, true, nil
}

// ofToken says whether a refusal is about the token, whoever sends it and with
// whatever signature.
func ofToken(err error) bool {
	return errors.Is(err, authority.ErrToken) || errors.Is(err, authority.ErrExpired) || errors.Is(err, authority.ErrRevoked)
}

// refuse keeps a refusal.
func (k *Keyring) refuse(e *entry, err error, events uint64) {
	e.refusal, e.until = err, k.cfg.Clock.Now().Add(refusalTTL)
	k.keep(&k.refusals, e, events)
}

// resolvePublic has the authority witness a request of SigV4A, and keeps the
// public key that made it. That one can sign nothing, so it is no event; but it
// is not fetched for a wrong signature, which must not be told from an unknown id.
func (k *Keyring) resolvePublic(ctx context.Context, at [32]byte, q authority.Request, events uint64) (*authority.Claims, error) {
	e := newEntry(at, &q)
	claims, err := k.ask(ctx, q)
	if err != nil {
		if ofToken(err) {
			k.refuse(e, err, events)
		}
		return nil, err
	}
	got, err := k.cfg.Authority.PublicKey(ctx, q.AccessKeyID, q.Sealed, q.SessionToken)
	if err != nil {
		return claims, nil // the request was witnessed; the next is asked about as well
	}
	if e.public, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), got.Key[:]); err != nil {
		return claims, nil
	}
	e.setClaims(got.Claims)
	if e.until = k.cfg.Clock.Now().Add(k.cfg.TTL); got.NotAfter.Before(e.until) {
		e.until = got.NotAfter
	}
	k.keep(&k.keys, e, events)
	return claims, nil
}

// resolve asks the authority, and keeps what it says. events is what k.events
// was before: an answer that a revocation has overtaken is not kept.
func (k *Keyring) resolve(ctx context.Context, at [32]byte, q authority.Request, s *sigv4.StringToSign, events uint64) (*authority.Claims, error) {
	e := newEntry(at, &q)
	got, err := k.cfg.Authority.Resolve(ctx, q)
	now := k.cfg.Clock.Now()
	switch {
	case errors.Is(err, authority.ErrDenied):
		// Signed on a day that is over, which a presigned URL may be: there is no key for it.
		return k.ask(ctx, q)
	case ofToken(err):
		k.refuse(e, err, events)
		return nil, err
	case err != nil:
		return nil, err
	}
	defer got.Key.Destroy()
	k.issued.Add(1)
	issue := KeyIssue{
		AccessKeyID: q.AccessKeyID, Account: e.account, Session: got.Claims != nil,
		Date: s.Date, Region: s.Region, Service: s.Service, NotAfter: got.NotAfter,
	}
	if err := k.cfg.Issued(ctx, issue); err != nil {
		return nil, fmt.Errorf("%w: the issue of a signing key was not recorded: %w", authority.ErrUnavailable, err)
	}
	e.setClaims(got.Claims)
	if e.until = now.Add(k.cfg.TTL); got.NotAfter.Before(e.until) {
		e.until = got.NotAfter
	}
	// Memory that is full only means that the next request is asked about, too.
	if e.key, err = k.arena.New(32); err == nil {
		err = got.Key.Use(func(key []byte) error {
			return e.key.Use(func(own []byte) error { copy(own, key); return nil })
		})
		if err == nil {
			k.keep(&k.keys, e, events)
		} else {
			e.key.Destroy()
		}
	}
	return got.Claims, nil
}

func (k *Keyring) keep(on *shelf, e *entry, events uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.events != events {
		e.wipe()
		return
	}
	on.put(e)
}

// apply takes out what was revoked.
func (k *Keyring) apply(list []authority.Revocation) {
	hit := matcher(list)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events++
	k.keys.drop(hit)
}

// matcher says which entries a list of revocations may end. One that is taken
// out for nothing costs a question, so of long lists it asks less exactly.
func matcher(list []authority.Revocation) func(*entry) bool {
	if len(list) <= 8 {
		return func(e *entry) bool {
			return slices.ContainsFunc(list, func(r authority.Revocation) bool {
				if e.claims != nil {
					return r.Ends(e.akid, e.origin, e.claims)
				}
				// The sessions of a long-term key are not the key itself; but a key that was just set inactive is of no more use.
				return r.CredentialID == e.akid || r.Account != "" && r.Account == e.account
			})
		}
	}
	names, sessions := make(map[string]bool), make(map[[16]byte]bool)
	for i := range list {
		r := &list[i]
		for _, name := range []string{r.AccessKeyID, r.PrincipalID, r.CredentialID, r.Account} {
			names[name] = true
		}
		sessions[r.SessionID] = true
	}
	delete(names, "")
	delete(sessions, [16]byte{})
	return func(e *entry) bool {
		c := e.claims
		if c != nil {
			if root, holder := c.RootTask(); names[root] || names[holder] {
				return true
			}
		}
		return names[e.akid] || names[e.account] || names[e.origin] ||
			c != nil && (names[c.PrincipalID] || names[c.CredentialID] || names[c.Account] || sessions[c.SessionID])
	}
}

// reset takes out everything.
func (k *Keyring) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events++
	all := func(*entry) bool { return true }
	k.keys.drop(all)
	k.refusals.drop(all)
}

// sweep wipes keys whose time is over and that nobody uses any more.
func (k *Keyring) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.cfg.Clock.After(sweepEvery):
		}
		now := k.cfg.Clock.Now()
		over := func(e *entry) bool { return !now.Before(e.until) }
		k.mu.Lock()
		k.keys.drop(over)
		k.refusals.drop(over)
		k.mu.Unlock()
	}
}

// KeyringState is how a keyring is: counts are since its start.
type KeyringState struct {
	Stream   authority.WatchState
	Live     bool   // what is kept is used
	Kept     int    // keys
	Refusals int    // kept
	Issued   uint64 // keys that the authority handed out
	Hits     uint64 // requests that were answered from here
	Asked    uint64 // requests that were left to the authority
	Evicted  uint64 // keys that were wiped
}

// State says how the keyring is.
func (k *Keyring) State() KeyringState {
	s := KeyringState{
		Stream: k.watch.State(), Live: k.watch.Live(),
		Issued: k.issued.Load(), Hits: k.hits.Load(), Asked: k.asked.Load(),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Kept, s.Refusals, s.Evicted = k.keys.order.Len(), k.refusals.order.Len(), k.keys.gone
	return s
}
