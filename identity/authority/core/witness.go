package core

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// The signing key is derived here rather than by identity/sigv4, because that
// package knows HTTP and with it the network, which a boundary must not link.
// A test compares the two.

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	maxToSign  = kdf.MaxMessage
	maxScope   = 64 // of region and service
)

// scope is what a signing key is good for.
type scope struct{ date, region, service string }

// validFor says whether s is a scope of V4, or of SigV4A, which has no region.
func (s scope) validFor(asymmetric bool) bool {
	if asymmetric {
		if s.region != "" {
			return false
		}
		s.region = "-"
	}
	return s.valid()
}

func (s scope) valid() bool {
	if len(s.date) != 8 {
		return false
	}
	for _, c := range []byte(s.date) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s.region != "" && len(s.region) <= maxScope && s.service != "" && len(s.service) <= maxScope
}

// parseToSignV4A is parseToSign for SigV4A, whose key does not depend on the scope.
func parseToSignV4A(b []byte) (digest [32]byte, ok bool) {
	lines := bytes.Split(b, []byte("\n"))
	if len(b) > maxToSign || len(lines) != 4 || string(lines[0]) != algorithmV4A || !validTime(string(lines[1])) || len(lines[3]) != 2*len(digest) {
		return digest, false
	}
	parts := bytes.Split(lines[2], []byte("/"))
	if len(parts) != 3 || string(parts[2]) != terminator {
		return digest, false
	}
	if n, err := hex.Decode(digest[:], lines[3]); err != nil || n != len(digest) {
		return digest, false
	}
	s := scope{date: string(parts[0]), service: string(parts[1])}
	return digest, s.validFor(true) && string(lines[1][:8]) == s.date
}

// validTime says whether s has the form of a request's time. What it means is
// the host's to check.
func validTime(s string) bool {
	if len(s) != len("20060102T150405Z") || s[8] != 'T' || s[15] != 'Z' {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && i != 8 && i != 15 {
			return false
		}
	}
	return true
}

// parseToSign reads a string to sign (sigv4 section 3): algorithm, timestamp,
// scope, hash of the canonical request. Other algorithms are not witnessed.
func parseToSign(b []byte) (s scope, digest [32]byte, ok bool) {
	lines := bytes.Split(b, []byte("\n"))
	if len(b) > maxToSign || len(lines) != 4 || string(lines[0]) != algorithm || len(lines[1]) != len("20060102T150405Z") ||
		len(lines[3]) != 2*len(digest) {
		return s, digest, false
	}
	parts := bytes.Split(lines[2], []byte("/"))
	if len(parts) != 4 || string(parts[3]) != terminator {
		return s, digest, false
	}
	s = scope{string(parts[0]), string(parts[1]), string(parts[2])}
	if n, err := hex.Decode(digest[:], lines[3]); err != nil || n != len(digest) {
		return s, digest, false
	}
	return s, digest, s.valid() && string(lines[1][:8]) == s.date
}

// credential is whose secret a call is about.
type credential struct {
	akid   string
	sealed []byte   // of a long-term secret
	sess   *session // of a session
	tag    [32]byte // what stands for it in the cache
}

// resolve finds the credential of a call. An unknown one gets the dummy's
// record, so that it costs what a known one costs.
func (a *authority) resolve(p *message.Params) (c credential, known bool, err error) {
	switch {
	case len(p.AccessKeyID) != 20:
		return c, false, failure(link.StatusBadRequest)
	case len(p.Token) > 0 && len(p.Sealed) > 0:
		return c, false, failure(link.StatusBadRequest)
	case len(p.Token) > 0:
		c.akid = p.AccessKeyID
		c.sess, c.tag, err = a.session(p.AccessKeyID, p.Token)
		return c, err == nil, err
	case len(p.Sealed) > 0:
		return credential{akid: p.AccessKeyID, sealed: p.Sealed, tag: sha256.Sum256(p.Sealed)}, true, nil
	}
	dummy := a.root.Load().dummy
	return credential{akid: dummyID, sealed: dummy, tag: sha256.Sum256(dummy)}, false, nil
}

// secretOf opens or derives the secret access key.
func (a *authority) secretOf(c *credential, plain *[message.SecretLen]byte) error {
	if c.sess != nil {
		return a.tokens.secret(c.sess, c.akid, plain)
	}
	return openRecord(a.root.Load(), c.akid, c.sealed, plain)
}

// derive computes kSigning from the secret itself.
func (a *authority) derive(key *[32]byte, c *credential, s scope) error {
	first := [4 + message.SecretLen]byte{'A', 'W', 'S', '4'}
	defer secret.Wipe(first[:])
	if err := a.secretOf(c, (*[message.SecretLen]byte)(first[4:])); err != nil {
		return err
	}
	kdf.HMAC(key, first[:], []byte(s.date))
	kdf.HMAC(key, key[:], []byte(s.region))
	kdf.HMAC(key, key[:], []byte(s.service))
	kdf.HMAC(key, key[:], []byte(terminator))
	return nil
}

func cacheKey(c *credential, s scope) [32]byte {
	b := make([]byte, 0, 256)
	b = append(append(b, c.akid...), c.tag[:]...)
	for _, part := range []string{s.date, s.region, s.service} {
		b = append(append(b, byte(len(part))), part...)
	}
	return sha256.Sum256(b)
}

// witness checks a signature (sigv4 section 9, witness mode).
func (a *authority) witness(p *message.Params, r *result) error {
	s, digest, ok := parseToSign(p.StringToSign)
	if !ok || len(p.Signature) != 32 || len(p.Digest) != 32 || digest != [32]byte(p.Digest) {
		return failure(link.StatusBadRequest)
	}
	c, known, err := a.resolve(p)
	if err != nil {
		return err
	}
	err = a.checkV4(&c, known, s, func(key []byte) (bool, error) {
		var want [32]byte
		defer secret.Wipe(want[:])
		kdf.HMAC(&want, key, p.StringToSign)
		return subtle.ConstantTimeCompare(want[:], p.Signature) == 1, nil
	})
	if err == nil && c.sess != nil {
		r.Claims = c.sess.encoded
	}
	return err
}

// checkV4 says whether verify accepts the credential's key for a scope.
func (a *authority) checkV4(c *credential, known bool, s scope, verify func(key []byte) (bool, error)) error {
	var key [32]byte
	defer secret.Wipe(key[:])
	at := cacheKey(c, s)
	cached := a.cachedKey(at, &key)
	if !cached {
		if err := a.derive(&key, c, s); err != nil {
			return err
		}
	}
	match, err := verify(key[:])
	if err != nil {
		return err
	}
	if !match || !known {
		if cached {
			// A wrong signature costs a derivation always: else its time would
			// tell a key that is in use from one that does not exist.
			_ = a.derive(&key, c, s)
		}
		return failure(message.StatusSignature)
	}
	if !cached {
		a.keepKey(at, &key)
	}
	return nil
}

func (a *authority) cachedKey(at [32]byte, key *[32]byte) bool {
	kept, ok := a.signing.get(at)
	return ok && kept.Use(func(own []byte) error { copy(key[:], own); return nil }) == nil
}

// keepKey keeps a derived key in secret memory. A full arena only means that
// the next call derives again.
func (a *authority) keepKey(at [32]byte, key *[32]byte) {
	kept, err := a.memory.New(len(key))
	if err != nil {
		return
	}
	_ = kept.Use(func(own []byte) error { copy(own, key[:]); return nil })
	// The displaced keys are wiped when they are collected: another call may be
	// using one right now.
	a.signing.put(at, kept)
}

// signingKey hands out kSigning of a day that is today, within the skew that
// requests may have.
func (a *authority) signingKey(p *message.Params, r *result) error {
	s := scope{p.Date, p.Region, p.Service}
	until, err := a.today(s)
	if err != nil {
		return err
	}
	c, known, err := a.resolve(p)
	if err != nil {
		return err
	}
	if err := a.derive(&r.key, &c, s); err != nil { // for an unknown id as well: it must cost the same
		return err
	}
	if !known {
		return failure(message.StatusSignature)
	}
	a.handOut(&c, until, r)
	return nil
}

// resolveKey is key mode as the front uses it (sigv4 section 9, rule 3): a
// witness who also hands out the key by which the next requests of that day can
// be checked. It goes only to a host that holds a request of the customer's
// which this very key has signed; whoever guesses gets what a witness says.
func (a *authority) resolveKey(p *message.Params, r *result) error {
	s, _, ok := parseToSign(p.StringToSign)
	if !ok {
		return failure(link.StatusBadRequest)
	}
	until, err := a.today(s)
	if err != nil {
		return err
	}
	if err := a.witness(p, r); err != nil {
		return err
	}
	c, _, err := a.resolve(p)
	if err != nil {
		return err
	}
	// witness has just put the key into the cache, if there was room.
	if !a.cachedKey(cacheKey(&c, s), &r.key) {
		if err := a.derive(&r.key, &c, s); err != nil {
			return err
		}
	}
	a.handOut(&c, until, r)
	return nil
}

// today says until when the key of a scope is of use, and refuses a day that
// no request may be signed for.
func (a *authority) today(s scope) (until time.Time, err error) {
	day, err := time.Parse("20060102", s.date)
	if err != nil || !s.valid() {
		return until, failure(link.StatusBadRequest)
	}
	now := a.now()
	until = day.Add(24*time.Hour + maxSkew)
	if now.Before(day.Add(-maxSkew)) || !now.Before(until) {
		return until, failure(link.StatusDenied)
	}
	return until, nil
}

// handOut puts r.key into the answer.
func (a *authority) handOut(c *credential, until time.Time, r *result) {
	if c.sess != nil {
		r.Claims = c.sess.encoded
		if c.sess.claims.Expires.Before(until) {
			until = c.sess.claims.Expires
		}
	}
	r.Key, r.NotAfter = r.key[:], uint64(until.UnixMilli())
	a.issued.Add(1)
}

const maxSkew = 15 * time.Minute
