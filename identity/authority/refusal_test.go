package authority_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
	"github.com/leadglass/leadglass/identity/sigv4"
)

func TestAWrongSignatureIsRefusedWithoutAReason(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		akid, sealed, sec := newKey(t, c)
		other, otherSealed, otherSec := newKey(t, c)
		good := sign(akid, sec, "", sealed)
		if _, err := c.Witness(t.Context(), good); err != nil { // its key is in the cache from here on
			t.Fatal(err)
		}
		for name, change := range map[string]func(q *authority.Request){
			"a changed signature":          func(q *authority.Request) { q.Signature[31] ^= 1 },
			"another secret":               func(q *authority.Request) { *q = sign(akid, otherSec, "", sealed) },
			"the record of another":        func(q *authority.Request) { q.Sealed = otherSealed },
			"the record under another id":  func(q *authority.Request) { q.AccessKeyID = other },
			"an unknown id":                func(q *authority.Request) { q.Sealed = nil },
			"a changed record":             func(q *authority.Request) { q.Sealed = bytes.Clone(sealed); q.Sealed[60] ^= 1 },
			"a record of another root key": func(q *authority.Request) { q.Sealed = bytes.Clone(sealed); q.Sealed[5] ^= 1 },
			"no record":                    func(q *authority.Request) { q.Sealed = []byte("LGR1") },
			"another time in what was signed": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("T12"), []byte("T13"), 1)
			},
			"the secret as it is stored twice": func(q *authority.Request) {
				*q = sign(other, sec, "", sealed)
			},
		} {
			q := good
			change(&q)
			if claims, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrSignature) || claims != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, change := range map[string]func(q *authority.Request){
			"another digest": func(q *authority.Request) { q.CanonicalDigest[0] ^= 1 },
			"another algorithm": func(q *authority.Request) {
				q.StringToSign = append([]byte("AWS4-ECDSA-P256-SHA256"), q.StringToSign[16:]...)
			},
			"a line more":     func(q *authority.Request) { q.StringToSign = append(bytes.Clone(q.StringToSign), '\n') },
			"an empty string": func(q *authority.Request) { q.StringToSign = nil },
			"far too long a string": func(q *authority.Request) {
				q.StringToSign = append(bytes.Clone(q.StringToSign), make([]byte, 1000)...)
			},
			"a day that is another": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("T12"), []byte("T1"), 1)
			},
			"no terminator": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("aws4_request"), []byte("aws5_request"), 1)
			},
			"record and token":       func(q *authority.Request) { q.SessionToken = "x" },
			"an id of 19 characters": func(q *authority.Request) { q.AccessKeyID = akid[:19] },
		} {
			q := good
			change(&q)
			if _, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrBadRequest) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := c.NewSecret(t.Context(), "999922223333", akid); !errors.Is(err, authority.ErrBadRequest) {
			t.Errorf("a secret for an id of another account: %v", err)
		}
		if _, err := c.Witness(t.Context(), good); err != nil {
			t.Errorf("the good one after all that: %v", err)
		}
	})
}

func TestATokenIsBoundToItsAccessKeyAndUnchanged(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		akid, sec, token, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		other, otherSec, otherToken, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		s, o := reveal(sec), reveal(otherSec)
		witness := func(q authority.Request) error { _, err := c.Witness(t.Context(), q); return err }
		if err := witness(sign(akid, s, token, nil)); err != nil {
			t.Fatal(err)
		}
		if err := witness(sign(other, o, token, nil)); !errors.Is(err, authority.ErrToken) {
			t.Errorf("a token with the id of another: %v", err)
		}
		if err := witness(sign(akid, o, token, nil)); !errors.Is(err, authority.ErrSignature) {
			t.Errorf("a token with the secret of another: %v", err)
		}
		if err := witness(sign(akid, s, otherToken, nil)); !errors.Is(err, authority.ErrToken) {
			t.Errorf("the token of another: %v", err)
		}
		raw, err := base64.StdEncoding.DecodeString(token)
		if err != nil || raw[0] != 'L' || raw[1] != 1 {
			t.Fatalf("the token begins with %x, %v", raw[:2], err)
		}
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 1
			if err := witness(sign(akid, s, base64.StdEncoding.EncodeToString(bad), nil)); !errors.Is(err, authority.ErrToken) {
				t.Fatalf("byte %d of the token changed: %v", i, err)
			}
		}
		for _, bad := range []string{"x", "TAE=", token + "\n", token[:len(token)-4], token + "AAAA", strings.Repeat("A", 5000), " " + token} {
			if err := witness(sign(akid, s, bad, nil)); !errors.Is(err, authority.ErrToken) {
				t.Errorf("token %.20q: %v", bad, err)
			}
		}
	})
}

func TestClaimsThatMayNotBeIssued(t *testing.T) {
	c := authoritytest.Start(t, t.TempDir()).Client()
	for name, change := range map[string]func(*authority.Claims){
		"no type":      func(c *authority.Claims) { c.Type = "" },
		"no account":   func(c *authority.Claims) { c.Account = "" },
		"in the past":  func(c *authority.Claims) { c.Expires = time.Now().Add(-time.Second) },
		"37 hours":     func(c *authority.Claims) { c.Expires = time.Now().Add(37 * time.Hour) },
		"a root depth": func(c *authority.Claims) { c.Depth = -1 },
	} {
		claims := claimsFor(time.Hour)
		change(&claims)
		if _, _, _, err := c.IssueSession(t.Context(), claims); !errors.Is(err, authority.ErrBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	claims := claimsFor(time.Hour)
	claims.Policies = []string{id.Hex(3000)}
	if _, _, _, err := c.IssueSession(t.Context(), claims); !errors.Is(err, authority.ErrTooLarge) {
		t.Errorf("a token above 4096 characters: %v", err)
	}
	// What compresses well may be long.
	claims.Policies = []string{strings.Repeat(`{"Effect":"Allow"}`, 1000)}
	if _, _, token, err := c.IssueSession(t.Context(), claims); err != nil || len(token) > 4096 {
		t.Errorf("%d characters, %v", len(token), err)
	}
}

// held is a clock that a test holds.
type held struct{ ms atomic.Int64 }

func newHeld() *held { h := &held{}; h.ms.Store(time.Now().UnixMilli()); return h }

func (h *held) now() time.Time          { return time.UnixMilli(h.ms.Load()).UTC() }
func (h *held) advance(d time.Duration) { h.ms.Add(d.Milliseconds()) }

func TestTimeEndsSessionsAndTheirKeys(t *testing.T) {
	clock := newHeld()
	c := inProcess(t, t.TempDir(), clock.now)
	akid, sec, token, err := c.IssueSession(t.Context(), claimsFor(36*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	q := sign(akid, reveal(sec), token, nil)
	message, err := c.SealMessage(t.Context(), account, []byte(`{"allowed":false}`))
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(25 * time.Hour)
	if _, err := c.Witness(t.Context(), q); err != nil {
		t.Errorf("the next day: %v", err)
	}
	if _, err := c.OpenMessage(t.Context(), account, message); !errors.Is(err, authority.ErrExpired) {
		t.Errorf("a message of yesterday: %v", err)
	}
	later := claimsFor(0)
	later.Expires = clock.now().Add(time.Hour)
	if _, _, _, err := c.IssueSession(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.TokenKeys != 2 {
		t.Errorf("%d generations of keys, %v", s.TokenKeys, err)
	}
	clock.advance(11*time.Hour + time.Minute)
	if _, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrExpired) {
		t.Errorf("after its end: %v", err)
	}
	clock.advance(48 * time.Hour)
	later.Expires = clock.now().Add(time.Hour)
	if _, _, _, err := c.IssueSession(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	// The first generation is erased, the second kept.
	if s, err := c.Status(t.Context()); err != nil || s.TokenKeys != 2 {
		t.Errorf("%d generations of keys, %v", s.TokenKeys, err)
	}
	if _, err := c.OpenMessage(t.Context(), account, message); !errors.Is(err, authority.ErrToken) {
		t.Errorf("a message under an erased key: %v", err)
	}
}

func TestKeyModeHandsOutTheKeyOfADay(t *testing.T) {
	clock := newHeld()
	c := inProcess(t, t.TempDir(), clock.now)
	akid, sealed, sec := newKey(t, c)
	today := clock.now().Format("20060102")
	k, err := c.SigningKey(t.Context(), akid, sealed, "", today, "eu-central-1", "iam")
	if err != nil {
		t.Fatal(err)
	}
	want := sigv4.SigningKey([]byte(sec), today, "eu-central-1", "iam")
	if !k.Key.Equal(want[:]) || k.Claims != nil {
		t.Error("another key than identity/sigv4 derives")
	}
	if midnight := clock.now().Truncate(24 * time.Hour).Add(24*time.Hour + 15*time.Minute); !k.NotAfter.Equal(midnight) {
		t.Errorf("good until %v, want %v", k.NotAfter, midnight)
	}
	for _, day := range []string{clock.now().AddDate(0, 0, 2).Format("20060102"), clock.now().AddDate(0, 0, -2).Format("20060102")} {
		if _, err := c.SigningKey(t.Context(), akid, sealed, "", day, "eu-central-1", "iam"); !errors.Is(err, authority.ErrDenied) {
			t.Errorf("the key of %s: %v", day, err)
		}
	}
	if _, err := c.SigningKey(t.Context(), akid, sealed, "", "2026-1-1", "r", "s"); !errors.Is(err, authority.ErrBadRequest) {
		t.Errorf("no day: %v", err)
	}
	if _, err := c.SigningKey(t.Context(), akid, nil, "", today, "r", "s"); !errors.Is(err, authority.ErrSignature) {
		t.Errorf("an unknown id: %v", err)
	}
	claims := claimsFor(0)
	claims.Expires = clock.now().Add(time.Minute)
	sessionID, sessionSecret, token, err := c.IssueSession(t.Context(), claims)
	if err != nil {
		t.Fatal(err)
	}
	k, err = c.SigningKey(t.Context(), sessionID, nil, token, today, "r", "s")
	if err != nil || k.Claims == nil || k.NotAfter.After(claims.Expires) {
		t.Fatalf("of a session: %+v, %v", k, err)
	}
	if want = sigv4.SigningKey([]byte(reveal(sessionSecret)), today, "r", "s"); !k.Key.Equal(want[:]) {
		t.Error("of a session: another key")
	}
}

func TestARevocationEndsWhatItNamesAndNothingElse(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		issue := func(change func(*authority.Claims)) (authority.Request, *authority.Claims) {
			claims := claimsFor(time.Hour)
			change(&claims)
			akid, sec, token, err := c.IssueSession(t.Context(), claims)
			if err != nil {
				t.Fatal(err)
			}
			q := sign(akid, reveal(sec), token, nil)
			got, err := c.Witness(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return q, got
		}
		last := uint64(0)
		for name, of := range map[string]func(victim *authority.Claims) (authority.Revocation, func(*authority.Claims)){
			"a session": func(v *authority.Claims) (authority.Revocation, func(*authority.Claims)) {
				return authority.Revocation{SessionID: v.SessionID}, func(*authority.Claims) {}
			},
			"a principal": func(v *authority.Claims) (authority.Revocation, func(*authority.Claims)) {
				return authority.Revocation{PrincipalID: v.PrincipalID}, func(c *authority.Claims) { c.PrincipalID = "AROAOTHEROTHEROTHER12" }
			},
			"a credential": func(v *authority.Claims) (authority.Revocation, func(*authority.Claims)) {
				return authority.Revocation{CredentialID: v.CredentialID}, func(c *authority.Claims) { c.CredentialID = "AKIAOTHEROTHEROTHER1" }
			},
			"an account": func(v *authority.Claims) (authority.Revocation, func(*authority.Claims)) {
				return authority.Revocation{Account: v.Account}, func(c *authority.Claims) { c.Account = "444455556666" }
			},
		} {
			unique := id.Hex(4)
			mine := func(c *authority.Claims) { c.PrincipalID += unique; c.CredentialID += unique; c.Account = id.Account() }
			victim, claims := issue(mine)
			revocation, different := of(claims)
			bystander, _ := issue(func(c *authority.Claims) { mine(c); different(c) })
			time.Sleep(2 * time.Millisecond)
			epoch, err := c.Revoke(t.Context(), revocation)
			if err != nil || epoch <= last {
				t.Fatalf("%s: epoch %d after %d, %v", name, epoch, last, err)
			}
			last = epoch
			if _, err := c.Witness(t.Context(), victim); !errors.Is(err, authority.ErrRevoked) {
				t.Errorf("%s: the victim got %v", name, err)
			}
			if _, err := c.Witness(t.Context(), bystander); err != nil {
				t.Errorf("%s: the bystander got %v", name, err)
			}
			time.Sleep(2 * time.Millisecond)
			if later, _ := issue(mine); name != "a session" {
				if _, err := c.Witness(t.Context(), later); err != nil {
					t.Errorf("%s: a later session got %v", name, err)
				}
			}
		}
		list, epoch, err := c.Revocations(t.Context(), 2)
		if err != nil || epoch != 4 || len(list) != 2 || list[0].Epoch != 3 || list[1].Epoch != 4 {
			t.Errorf("revocations after 2: %+v, %d, %v", list, epoch, err)
		}
		for _, bad := range []authority.Revocation{{}, {PrincipalID: "a", Account: "b"}} {
			if _, err := c.Revoke(t.Context(), bad); !errors.Is(err, authority.ErrBadRequest) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	})
}

func TestMessagesOpenForTheirAccountAlone(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		plain := []byte(strings.Repeat(`{"allowed":false,"explicitDeny":true}`, 100))
		sealed, err := c.SealMessage(t.Context(), account, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.OpenMessage(t.Context(), account, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		for name, q := range map[string][2]string{
			"another account": {"444455556666", sealed}, "a changed message": {account, sealed[:50] + "A" + sealed[51:]},
			"nothing": {account, ""},
		} {
			if _, err := c.OpenMessage(t.Context(), q[0], q[1]); !errors.Is(err, authority.ErrToken) && q[1] != sealed {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := c.OpenMessage(t.Context(), "444455556666", sealed); !errors.Is(err, authority.ErrToken) {
			t.Errorf("another account: %v", err)
		}
		_, _, token, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.OpenMessage(t.Context(), account, token); !errors.Is(err, authority.ErrToken) {
			t.Errorf("a session token: %v", err)
		}
	})
}

func TestEverythingSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	h := startHSM(t, dir+"/hsm")
	start := func() *authority.Process {
		p, err := authority.Start(t.Context(), authority.Config{StateDir: dir + "/authority", HSM: h})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		return p
	}
	p := start()
	c := p.Client()
	akid, sealed, sec := newKey(t, c)
	sessionID, sessionSecret, token, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	doomedID, doomedSecret, doomedToken, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	doomed := sign(doomedID, reveal(doomedSecret), doomedToken, nil)
	claims, err := c.Witness(t.Context(), doomed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revoke(t.Context(), authority.Revocation{SessionID: claims.SessionID}); err != nil {
		t.Fatal(err)
	}
	if err := h.Client().RotateDomainKeys(t.Context()); err != nil {
		t.Fatal(err)
	}

	// The front cannot open the root key, though it can read where it rests.
	stored, err := os.ReadFile(filepath.Join(dir, "authority", "root.sealed"))
	if err != nil {
		t.Fatal(err)
	}
	r := link.NewReader(stored)
	r.Array()
	ekt, blob := r.Bytes(), r.Bytes()
	if _, err := h.Client().Decrypt(t.Context(), ekt, blob, map[string]string{"leadglass": "authority root v1"}); !errors.Is(err, hsm.ErrDenied) {
		t.Errorf("the front opened the authority's root key: %v", err)
	}

	p.Stop()
	if _, err := c.Witness(t.Context(), doomed); !errors.Is(err, authority.ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := authority.Start(t.Context(), authority.Config{StateDir: dir + "/authority", HSM: h}); err == nil {
		t.Error("a second authority joined an HSM whose door is closed")
	}
	h.Stop()
	h = startHSM(t, dir+"/hsm")
	p = start()
	c = p.Client()
	if _, err := c.Witness(t.Context(), sign(akid, sec, "", sealed)); err != nil {
		t.Errorf("a long-term key: %v", err)
	}
	if _, err := c.Witness(t.Context(), sign(sessionID, reveal(sessionSecret), token, nil)); err != nil {
		t.Errorf("a session: %v", err)
	}
	if _, err := c.Witness(t.Context(), doomed); !errors.Is(err, authority.ErrRevoked) {
		t.Errorf("a revoked session: %v", err)
	}
	if s, err := c.Status(t.Context()); err != nil || !s.Open || s.Epoch != 1 || s.Revocations != 1 || s.TokenKeys != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
	p.Stop()
	h.Stop()

	// A file that was changed, or is another's, stops the start.
	for _, name := range []string{"revocations.sealed", "tokens.sealed", "root.sealed"} {
		path := filepath.Join(dir, "authority", name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		h := startHSM(t, dir+"/hsm")
		if _, err := authority.Start(t.Context(), authority.Config{StateDir: dir + "/authority", HSM: h}); err == nil {
			t.Errorf("a changed %s was accepted", name)
		}
		h.Stop()
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
