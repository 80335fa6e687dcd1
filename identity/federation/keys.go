package federation

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/leadglass/leadglass/identity/directory"
)

// A keySet holds the keys of one provider of one account.
type keySet struct {
	mu      sync.Mutex
	keys    []jose.JSONWebKey // guarded by mu; replaced, not changed
	fetched time.Time         // guarded by mu; when keys were had; zero: never
	tried   time.Time         // guarded by mu; of the last fetch, whether it went well or not
	flight  chan struct{}     // guarded by mu; closed when the fetch under way ends; nil: none
	waiting int               // guarded by mu; callers that wait for it
}

func unreachable() error {
	return &Error{Unreachable, "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements"}
}

// keys are a provider's keys. They are fetched when they are old, and once a
// minute at most when the token names a key that is not among them: whoever
// sends made-up key ids cannot turn us on an issuer. A caller whose key is known
// waits for nobody.
func (v *Verifier) keys(ctx context.Context, p *directory.OIDCProvider, keyID string) ([]jose.JSONWebKey, error) {
	s := v.keySet(p)
	for {
		s.mu.Lock()
		now := v.clock.Now()
		fresh := !s.fetched.IsZero() && now.Sub(s.fetched) < keysKept
		switch {
		case fresh && has(s.keys, keyID):
			keys := s.keys
			s.mu.Unlock()
			return keys, nil
		case s.flight != nil:
			flight := s.flight
			if s.waiting >= maxWaiting {
				s.mu.Unlock()
				return nil, unreachable()
			}
			s.waiting++
			s.mu.Unlock()
			err := wait(ctx, flight)
			s.mu.Lock()
			s.waiting--
			s.mu.Unlock()
			if err != nil {
				return nil, err
			}
		case !s.tried.IsZero() && now.Sub(s.tried) < retryAfter:
			keys := s.keys
			s.mu.Unlock()
			if !fresh {
				return nil, unreachable()
			}
			return keys, nil // the key is not among them, and was looked for already
		default:
			s.tried, s.flight = now, make(chan struct{})
			s.mu.Unlock()
			v.refresh(ctx, p, s)
		}
	}
}

func wait(ctx context.Context, flight <-chan struct{}) error {
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refresh fetches on behalf of all who wait: the first of them leaving must not
// spoil it for the others.
func (v *Verifier) refresh(ctx context.Context, p *directory.OIDCProvider, s *keySet) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	var keys []jose.JSONWebKey
	ok := v.enter(p.Account)
	if ok {
		var err error
		keys, err = v.discover(ctx, p)
		ok = err == nil
		v.leave(p.Account)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		// Of the keys' age the beginning of the fetch counts.
		s.keys, s.fetched = keys, s.tried
	}
	close(s.flight)
	s.flight = nil
}

// enter takes a place for a fetch, if there is one.
func (v *Verifier) enter(account string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.busy[account] >= perAccount {
		return false
	}
	select {
	case v.fetches <- struct{}{}:
		v.busy[account]++
		return true
	default:
		return false
	}
}

func (v *Verifier) leave(account string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.busy[account]--; v.busy[account] == 0 {
		delete(v.busy, account)
	}
	<-v.fetches
}

func (v *Verifier) keySet(p *directory.OIDCProvider) *keySet {
	v.mu.Lock()
	defer v.mu.Unlock()
	// The certificates that count are part of what the keys rest on: other thumbprints, other keys.
	at := p.ID
	for _, t := range p.Thumbprints {
		at += " " + t
	}
	s := v.providers[at]
	if s == nil {
		if len(v.providers) >= maxProviders {
			clear(v.providers) // of providers that are gone, mostly; the others' keys are fetched anew
		}
		s = new(keySet)
		v.providers[at] = s
	}
	return s
}

// has says whether a token's key can be among keys. A token without a key id
// may be of any.
func has(keys []jose.JSONWebKey, keyID string) bool {
	if keyID == "" {
		return true
	}
	for i := range keys {
		if keys[i].KeyID == keyID {
			return true
		}
	}
	return false
}

// parseKeys reads a key set (RFC 7517 section 5). Keys that cannot be read, or
// are for something else, are left out: issuers publish keys for encryption and
// of algorithms to come beside those that matter here.
func parseKeys(text []byte) ([]jose.JSONWebKey, bool) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &set) != nil || len(set.Keys) > maxKeys {
		return nil, false
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) != nil {
			continue
		}
		switch k.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey:
			if k.Use == "" || k.Use == "sig" {
				keys = append(keys, k)
			}
		}
	}
	return keys, true
}
