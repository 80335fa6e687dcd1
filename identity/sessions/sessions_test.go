package sessions_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

// An outsider stands for the authority's process in the tests of this package:
// it makes secrets, checks signatures by identity/sigv4 and knows its tokens.
type outsider struct {
	clock clock.Clock

	mu      sync.Mutex
	secrets map[string]string // by sealed record
	tokens  map[string]issued
	revoked []authority.Revocation
	down    bool
	asked   int // witness calls
}

type issued struct {
	akid, secret string
	claims       authority.Claims
}

func newSecret() string {
	var b [30]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
}

func (o *outsider) NewSecret(_ context.Context, _, akid string) ([]byte, *secret.Bytes, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := newSecret()
	o.secrets["sealed "+akid] = s
	b, err := secret.From([]byte(s))
	return []byte("sealed " + akid), b, err
}

func (o *outsider) Revoke(_ context.Context, r authority.Revocation) (uint64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.IssuedBefore.IsZero() {
		r.IssuedBefore = o.clock.Now()
	}
	o.revoked = append(o.revoked, r)
	return uint64(len(o.revoked)), nil
}

func (o *outsider) Witness(_ context.Context, q authority.Request) (*authority.Claims, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	if o.down {
		return nil, authority.ErrUnavailable
	}
	text, claims := o.secrets[string(q.Sealed)], (*authority.Claims)(nil)
	if q.SessionToken != "" {
		t, ok := o.tokens[q.SessionToken]
		if !ok || t.akid != q.AccessKeyID {
			return nil, authority.ErrToken
		}
		if !o.clock.Now().Before(t.claims.Expires) {
			return nil, authority.ErrExpired
		}
		for _, r := range o.revoked {
			if r.SessionID == t.claims.SessionID {
				return nil, authority.ErrRevoked
			}
		}
		text, claims = t.secret, new(t.claims)
	}
	s, err := sigv4.ParseStringToSign(q.StringToSign)
	if err != nil || s.CanonicalDigest != q.CanonicalDigest {
		return nil, authority.ErrBadRequest
	}
	key := sigv4.SigningKey([]byte(text), s.Date, s.Region, s.Service)
	if text == "" || !sigv4.Verify(&key, q.StringToSign, &q.Signature) {
		return nil, authority.ErrSignature
	}
	return claims, nil
}

func (o *outsider) IssueSession(_ context.Context, c authority.Claims) (string, *secret.Bytes, string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return "", nil, "", authority.ErrUnavailable
	}
	akid, err := id.AccessKey("ASIA", c.Account)
	if err != nil {
		return "", nil, "", authority.ErrBadRequest
	}
	rand.Read(c.SessionID[:])
	c.Issued = o.clock.Now()
	s, token := newSecret(), id.Hex(20)
	o.tokens[token] = issued{akid, s, c}
	b, err := secret.From([]byte(s))
	return akid, b, token, err
}

func (o *outsider) CallerKey(context.Context, string, []byte, string) ([]byte, error) {
	return []byte("stated"), nil
}

func (o *outsider) SealMessage(_ context.Context, account string, plain []byte) (string, error) {
	return base64.StdEncoding.EncodeToString(append([]byte(account), plain...)), nil
}

func (o *outsider) OpenMessage(_ context.Context, account, message string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(message)
	if err != nil || len(b) < 12 || string(b[:12]) != account {
		return nil, authority.ErrToken
	}
	return b[12:], nil
}

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

type world struct {
	*sessions.Sessions
	t         testing.TB
	now       clock.Clock // what clients sign by
	clock     *clock.Fake
	outside   *outsider
	directory *directory.Directory
	store     kv.Store
	account   string
	regions   string // region set of SigV4A; empty: clients sign by V4
}

// A credential is what a client holds.
type credential struct{ akid, secret, token string }

func newWorld(t testing.TB) *world {
	t.Helper()
	c := clock.NewFake(start)
	w := &world{t: t, now: c, clock: c, outside: &outsider{clock: c, secrets: map[string]string{}, tokens: map[string]issued{}}}
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	w.store = store
	d, err := directory.Open(t.Context(), store, directory.Config{Clock: c, Authority: w.outside, Factors: w.outside})
	w.must(err)
	t.Cleanup(func() { d.Close(context.Background()) })
	w.directory = d
	w.Sessions, err = sessions.New(d, w.outside, c)
	w.must(err)
	a, err := d.CreateAccount(t.Context(), "hospital", false)
	w.must(err)
	w.account = a.ID
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func reveal(t testing.TB, s *secret.Bytes) (text string) {
	t.Helper()
	if err := s.Use(func(b []byte) error { text = string(b); return nil }); err != nil {
		t.Fatal(err)
	}
	return text
}

// user makes a user with a key.
func (w *world) user(name string) (directory.User, credential) {
	w.t.Helper()
	u, err := w.directory.CreateUser(w.t.Context(), w.account, directory.NewUser{Name: name, Path: "/staff/", Tags: []directory.Tag{{Key: "Team", Value: "cardiology"}}})
	w.must(err)
	k, err := w.directory.CreateAccessKey(w.t.Context(), w.account, name)
	w.must(err)
	return u, credential{k.ID, reveal(w.t, k.Secret), ""}
}

func (w *world) role(name string) directory.Role {
	w.t.Helper()
	r, err := w.directory.CreateRole(w.t.Context(), w.account, directory.NewRole{Name: name, Path: "/app/", MaxSession: 7200,
		TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + w.account + `"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`,
		Tags:        []directory.Tag{{Key: "Unit", Value: "role"}, {Key: "Cost", Value: "7"}}})
	w.must(err)
	return r
}

// call signs a request as a client does and authenticates it as the gate does.
func (w *world) call(c credential) (*sessions.Caller, error) {
	w.t.Helper()
	p, sts, digest := w.sign(c)
	return w.Authenticate(w.t.Context(), p, sts, digest)
}

func (w *world) sign(c credential) (*sigv4.Parsed, []byte, [32]byte) {
	w.t.Helper()
	empty := sha256.Sum256(nil)
	r := &sigv4.Request{Method: "POST", Target: "/", Host: "kms.us-east-1.amazonaws.com", Header: map[string][]string{}}
	s := &sigv4.Signer{AccessKeyID: c.akid, SecretAccessKey: []byte(c.secret), SessionToken: c.token, Region: "us-east-1", Service: "kms", RegionSet: w.regions}
	w.must(s.Sign(r, nil, w.now.Now()))
	p, err := sigv4.Parse(r)
	w.must(err)
	sts, digest, err := p.StringToSign(r, &empty, nil)
	w.must(err)
	return p, sts, digest
}

// caller is call for credentials that must be good.
func (w *world) caller(c credential) *sessions.Caller {
	w.t.Helper()
	caller, err := w.call(c)
	w.must(err)
	return caller
}

// assume plans and carries out, without asking the policies.
func (w *world) assume(c *sessions.Caller, in sessions.AssumeRole) (sessions.Assumed, credential, error) {
	w.t.Helper()
	if in.SessionName == "" {
		in.SessionName = "session"
	}
	p, err := w.PlanAssumeRole(c, in)
	if err != nil {
		return sessions.Assumed{}, credential{}, err
	}
	a, err := w.AssumeRole(w.t.Context(), p)
	if err != nil {
		return sessions.Assumed{}, credential{}, err
	}
	return a, credential{a.AccessKeyID, reveal(w.t, a.Secret), a.Token}, nil
}

// IssueSessionWithFactor takes one code of one device as good.
func (o *outsider) IssueSessionWithFactor(ctx context.Context, c authority.Claims, f authority.Factor) (string, *secret.Bytes, string, error) {
	if f.Code != "123456" || string(f.Sealed) != "sealed device" {
		return "", nil, "", authority.ErrCode
	}
	c.MFA = new(o.clock.Now())
	return o.IssueSession(ctx, c)
}
