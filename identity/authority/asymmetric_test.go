package authority_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

// signV4A is sign for SigV4A; the key pair is identity/sigv4's, so that it and
// the core check each other.
func signV4A(t testing.TB, akid, sec, token string, sealed []byte) authority.Request {
	t.Helper()
	q := sign(akid, sec, token, sealed)
	text := strings.Replace(string(q.StringToSign), "AWS4-HMAC-SHA256", sigv4.AlgorithmV4A, 1)
	q.StringToSign = []byte(strings.Replace(text, "/us-east-1/", "/", 1))
	pair, err := sigv4.KeyPair(akid, []byte(sec))
	if err != nil {
		t.Fatal(err)
	}
	q.Signature = [32]byte{}
	if q.ECDSA, err = sigv4.SignV4A(pair, q.StringToSign); err != nil {
		t.Fatal(err)
	}
	return q
}

func TestASigV4ASignatureIsWitnessed(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		akid, sealed, sec := newKey(t, c)
		other, otherSealed, otherSec := newKey(t, c)
		good := signV4A(t, akid, sec, "", sealed)
		for range 3 { // the second time with the public key from the cache
			if claims, err := c.Witness(t.Context(), good); err != nil || claims != nil {
				t.Fatalf("claims %v, error %v", claims, err)
			}
		}
		hmac := sign(akid, sec, "", sealed)
		for name, change := range map[string]func(q *authority.Request){
			"a changed signature":         func(q *authority.Request) { q.ECDSA = bytes.Clone(q.ECDSA); q.ECDSA[20] ^= 1 },
			"no DER":                      func(q *authority.Request) { q.ECDSA = []byte{1} },
			"zeros":                       func(q *authority.Request) { q.ECDSA = []byte{0x30, 6, 2, 1, 0, 2, 1, 0} },
			"another secret":              func(q *authority.Request) { *q = signV4A(t, akid, otherSec, "", sealed) },
			"the record of another":       func(q *authority.Request) { q.Sealed = otherSealed },
			"the record under another id": func(q *authority.Request) { q.AccessKeyID = other },
			"an unknown id":               func(q *authority.Request) { q.Sealed = nil },
			"a changed record":            func(q *authority.Request) { q.Sealed = bytes.Clone(sealed); q.Sealed[60] ^= 1 },
			"another time in what was signed": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("T12"), []byte("T13"), 1)
			},
			"the secret under another id": func(q *authority.Request) { *q = signV4A(t, other, sec, "", otherSealed) },
		} {
			q := good
			change(&q)
			if claims, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrSignature) || claims != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, change := range map[string]func(q *authority.Request){
			"another digest":              func(q *authority.Request) { q.CanonicalDigest[0] ^= 1 },
			"a string to sign of V4":      func(q *authority.Request) { q.StringToSign = hmac.StringToSign },
			"an HMAC of a string to sign": func(q *authority.Request) { q.ECDSA, q.Signature = nil, hmac.Signature },
			"a region in the scope": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("/kms"), []byte("/us-east-1/kms"), 1)
			},
			"a line more": func(q *authority.Request) { q.StringToSign = append(bytes.Clone(q.StringToSign), '\n') },
			"another algorithm": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("P256"), []byte("P384"), 1)
			},
			"no terminator": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("aws4"), []byte("aws5"), 1)
			},
			"a day that is another": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("\n20"), []byte("\n19"), 1)
			},
			"a signature longer than any": func(q *authority.Request) { q.ECDSA = make([]byte, 73) },
			"record and token":            func(q *authority.Request) { q.SessionToken = "x" },
			"an id of 19 characters":      func(q *authority.Request) { q.AccessKeyID = akid[:19] },
			"no service": func(q *authority.Request) {
				q.StringToSign = bytes.Replace(q.StringToSign, []byte("/kms"), []byte("/"), 1)
			},
			"far too long a string": func(q *authority.Request) {
				q.StringToSign = append(bytes.Clone(q.StringToSign), make([]byte, 1000)...)
			},
		} {
			q := good
			change(&q)
			if _, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrBadRequest) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := c.Witness(t.Context(), good); err != nil {
			t.Errorf("the good one after all that: %v", err)
		}
	})
}

func TestASessionSignsWithSigV4A(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		akid, sec, token, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		q := signV4A(t, akid, reveal(sec), token, nil)
		claims, err := c.Witness(t.Context(), q)
		if err != nil || claims == nil || claims.SessionName != "me" {
			t.Fatalf("%+v, %v", claims, err)
		}
		k, err := c.PublicKey(t.Context(), akid, nil, token)
		if err != nil || k.Claims == nil || k.Claims.SessionID != claims.SessionID || k.NotAfter.After(claims.Expires) {
			t.Fatalf("%+v, %v", k, err)
		}
		checkPublic(t, k.Key, &q)
		other, _, _, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		q.AccessKeyID = other
		if _, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrToken) {
			t.Errorf("the token with another id: %v", err)
		}
		q.AccessKeyID = akid
		if _, err := c.Revoke(t.Context(), authority.Revocation{SessionID: claims.SessionID}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrRevoked) {
			t.Errorf("a revoked session: %v", err)
		}
		if _, err := c.PublicKey(t.Context(), akid, nil, token); !errors.Is(err, authority.ErrRevoked) {
			t.Errorf("the key of a revoked session: %v", err)
		}
	})
}

func checkPublic(t *testing.T, point [65]byte, q *authority.Request) {
	t.Helper()
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[:])
	if err != nil || !sigv4.VerifyV4A(public, q.StringToSign, q.ECDSA) {
		t.Errorf("the public key does not verify (%v)", err)
	}
}

func TestKeyModeHandsOutPublicKeys(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		akid, sealed, sec := newKey(t, c)
		k, err := c.PublicKey(t.Context(), akid, sealed, "")
		if err != nil || k.Claims != nil || time.Until(k.NotAfter) < 23*time.Hour {
			t.Fatalf("%+v, %v", k, err)
		}
		pair, err := sigv4.KeyPair(akid, []byte(sec))
		if err != nil {
			t.Fatal(err)
		}
		if want, err := pair.PublicKey.Bytes(); err != nil || !bytes.Equal(want, k.Key[:]) {
			t.Errorf("another key than identity/sigv4 derives: %x, want %x", k.Key, want)
		}
		if again, err := c.PublicKey(t.Context(), akid, sealed, ""); err != nil || again.Key != k.Key {
			t.Errorf("the second time %x, %v", again.Key, err)
		}
		q := signV4A(t, akid, sec, "", sealed)
		checkPublic(t, k.Key, &q)
		for name, f := range map[string]func() (authority.PublicKey, error){
			"an unknown id": func() (authority.PublicKey, error) { return c.PublicKey(t.Context(), akid, nil, "") },
			"the record of another root": func() (authority.PublicKey, error) {
				return c.PublicKey(t.Context(), akid, append([]byte("LGR1xxxx"), sealed[8:]...), "")
			},
		} {
			if got, err := f(); !errors.Is(err, authority.ErrSignature) || got.Key != [65]byte{} {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// body makes the chain of a chunked upload of n chunks and its trailers, by the client.
func chainOf(t testing.TB, p *sigv4.Parsed, sec string, n int) (links []authority.Link) {
	t.Helper()
	key := sigv4.SigningKey([]byte(sec), p.Date, p.Region, p.Service)
	pair, err := sigv4.KeyPair(p.AccessKeyID, []byte(sec))
	if err != nil {
		t.Fatal(err)
	}
	previous := p.Signature[:]
	if p.Asymmetric() {
		previous = p.ECDSA
	}
	for i := range n + 1 {
		l := chunked.Link{Trailer: i == n, Hash: sha256.Sum256([]byte{byte(i)})}
		sts := chunked.AppendStringToSign(nil, p, previous, &l)
		if p.Asymmetric() {
			if l.Signature, err = sigv4.SignV4A(pair, sts); err != nil {
				t.Fatal(err)
			}
		} else {
			mac := sigv4.MAC(&key, sts)
			l.Signature = mac[:]
		}
		previous = l.Signature
		links = append(links, authority.Link(l))
	}
	return links
}

func parsedFor(t testing.TB, akid, sec, token string, asymmetric bool) *sigv4.Parsed {
	t.Helper()
	s := &sigv4.Signer{AccessKeyID: akid, SecretAccessKey: []byte(sec), SessionToken: token, Region: "us-east-1", Service: "s3"}
	if asymmetric {
		s.RegionSet = "*"
	}
	r := &sigv4.Request{Method: "PUT", Target: "/b/k", Host: "h", Header: map[string][]string{"X-Amz-Content-Sha256": {sigv4.StreamingV4Trailer}}}
	if asymmetric {
		r.Header["X-Amz-Content-Sha256"] = []string{sigv4.StreamingV4ATrailer}
	}
	if err := s.Sign(r, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	p, err := sigv4.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func chainFrom(p *sigv4.Parsed, sealed []byte, links []authority.Link) authority.Chain {
	q := authority.Chain{
		AccessKeyID: p.AccessKeyID, Sealed: sealed, SessionToken: p.SessionToken, Previous: p.Signature[:], Links: links,
		Scope: authority.Scope{Algorithm: p.Algorithm, Time: p.Time, Date: p.Date, Region: p.Region, Service: p.Service},
	}
	if p.Asymmetric() {
		q.Previous = p.ECDSA
	}
	return q
}

func TestChunksAreWitnessedTogether(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		akid, sealed, sec := newKey(t, c)
		sessionID, sessionSecret, token, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		sessionSec := reveal(sessionSecret)
		_, otherSealed, otherSec := newKey(t, c)
		for _, asymmetric := range []bool{false, true} {
			p := parsedFor(t, akid, sec, "", asymmetric)
			links := chainOf(t, p, sec, 5)
			good := chainFrom(p, sealed, links)
			if err := c.WitnessChunks(t.Context(), good); err != nil {
				t.Fatalf("asymmetric %v: %v", asymmetric, err)
			}
			// In two calls, as long bodies are.
			first, second := good, good
			first.Links = links[:2]
			second.Previous, second.Links = links[1].Signature, links[2:]
			if err := errors.Join(c.WitnessChunks(t.Context(), first), c.WitnessChunks(t.Context(), second)); err != nil {
				t.Errorf("asymmetric %v, in two calls: %v", asymmetric, err)
			}
			s := parsedFor(t, sessionID, sessionSec, token, asymmetric)
			if err := c.WitnessChunks(t.Context(), chainFrom(s, nil, chainOf(t, s, sessionSec, 3))); err != nil {
				t.Errorf("asymmetric %v, of a session: %v", asymmetric, err)
			}
			long := chainOf(t, s, sessionSec, authority.MaxLinks-1) // with a token, the longest of all calls
			if err := c.WitnessChunks(t.Context(), chainFrom(s, nil, long)); err != nil {
				t.Errorf("asymmetric %v, %d links: %v", asymmetric, len(long), err)
			}
			for name, change := range map[string]func(q *authority.Chain){
				"another hash":            func(q *authority.Chain) { q.Links[2].Hash[0] ^= 1 },
				"the last hash changed":   func(q *authority.Chain) { q.Links[5].Hash[31] ^= 1 },
				"another signature":       func(q *authority.Chain) { q.Links[3].Signature = links[4].Signature },
				"two in another order":    func(q *authority.Chain) { q.Links[1], q.Links[2] = q.Links[2], q.Links[1] },
				"one left out":            func(q *authority.Chain) { q.Links = slices.Delete(q.Links, 1, 2) },
				"the first left out":      func(q *authority.Chain) { q.Links = q.Links[1:] },
				"one twice":               func(q *authority.Chain) { q.Links = slices.Insert(q.Links, 1, q.Links[0]) },
				"a chunk for trailers":    func(q *authority.Chain) { q.Links[0].Trailer = true },
				"trailers for a chunk":    func(q *authority.Chain) { q.Links[5].Trailer = false },
				"another beginning":       func(q *authority.Chain) { q.Previous = bytes.Clone(q.Previous); q.Previous[9] ^= 1 },
				"another time":            func(q *authority.Chain) { q.Scope.Time = q.Scope.Time.Truncate(time.Hour).Add(59 * time.Minute) },
				"another service":         func(q *authority.Chain) { q.Scope.Service = "kms" },
				"an empty signature":      func(q *authority.Chain) { q.Links[2].Signature = nil },
				"a signature of 31 bytes": func(q *authority.Chain) { q.Links[2].Signature = q.Links[2].Signature[:31] },
				"an unknown id":           func(q *authority.Chain) { q.Sealed = nil },
				"the record of another":   func(q *authority.Chain) { q.Sealed = otherSealed },
				"the chain of another":    func(q *authority.Chain) { q.Links = chainOf(t, p, otherSec, 5) },
			} {
				q := good
				q.Links = slices.Clone(links)
				change(&q)
				if err := c.WitnessChunks(t.Context(), q); !errors.Is(err, authority.ErrSignature) {
					t.Errorf("asymmetric %v, %s: %v", asymmetric, name, err)
				}
			}
			for name, change := range map[string]func(q *authority.Chain){
				"no links":              func(q *authority.Chain) { q.Links = nil },
				"too many links":        func(q *authority.Chain) { q.Links = slices.Repeat(q.Links, 100) },
				"no algorithm":          func(q *authority.Chain) { q.Scope.Algorithm = "" },
				"a day that is another": func(q *authority.Chain) { q.Scope.Date = "20010101" },
				"a day that is none":    func(q *authority.Chain) { q.Scope.Date = "2001-1-1" },
				"no service":            func(q *authority.Chain) { q.Scope.Service = "" },
				"no beginning":          func(q *authority.Chain) { q.Previous = nil },
				"an endless beginning":  func(q *authority.Chain) { q.Previous = make([]byte, 100) },
				"a wrong region":        func(q *authority.Chain) { q.Scope.Region = map[bool]string{true: "us-east-1"}[asymmetric] },
			} {
				q := good
				change(&q)
				if err := c.WitnessChunks(t.Context(), q); !errors.Is(err, authority.ErrBadRequest) {
					t.Errorf("asymmetric %v, %s: %v", asymmetric, name, err)
				}
			}
			if err := c.WitnessChunks(t.Context(), good); err != nil {
				t.Errorf("asymmetric %v, the good one after all that: %v", asymmetric, err)
			}
		}
	})
}

func TestFormUploadsAreWitnessed(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		akid, sealed, sec := newKey(t, c)
		sessionID, sessionSecret, token, err := c.IssueSession(t.Context(), claimsFor(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		date := time.Now().UTC().Format("20060102")
		sessionSec := reveal(sessionSecret)
		post := func(akid, sec, token string, sealed []byte, policy string, asymmetric bool) authority.Post {
			q := authority.Post{AccessKeyID: akid, Sealed: sealed, SessionToken: token, Policy: []byte(policy),
				Scope: authority.Scope{Algorithm: sigv4.Algorithm, Date: date, Region: "us-east-1", Service: "s3"}}
			if !asymmetric {
				key := sigv4.SigningKey([]byte(sec), date, "us-east-1", "s3")
				mac := sigv4.MAC(&key, q.Policy)
				q.Signature = mac[:]
				return q
			}
			pair, err := sigv4.KeyPair(akid, []byte(sec))
			if err != nil {
				t.Fatal(err)
			}
			q.Scope.Algorithm, q.Scope.Region = sigv4.AlgorithmV4A, ""
			if q.Signature, err = sigv4.SignV4A(pair, q.Policy); err != nil {
				t.Fatal(err)
			}
			return q
		}
		long := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("policy"), 2000))
		for _, asymmetric := range []bool{false, true} {
			for _, policy := range []string{"e30=", long} {
				good := post(akid, sec, "", sealed, policy, asymmetric)
				if claims, err := c.WitnessPost(t.Context(), good); err != nil || claims != nil {
					t.Errorf("asymmetric %v: %v, %v", asymmetric, claims, err)
				}
				if claims, err := c.WitnessPost(t.Context(), post(sessionID, sessionSec, token, nil, policy, asymmetric)); err != nil || claims == nil {
					t.Errorf("asymmetric %v, a session: %v, %v", asymmetric, claims, err)
				}
				bad := good
				bad.Signature = bytes.Clone(bad.Signature)
				bad.Signature[len(bad.Signature)-1] ^= 1
				if _, err := c.WitnessPost(t.Context(), bad); !errors.Is(err, authority.ErrSignature) {
					t.Errorf("asymmetric %v, a changed signature: %v", asymmetric, err)
				}
				bad = good
				bad.Sealed = nil
				if _, err := c.WitnessPost(t.Context(), bad); !errors.Is(err, authority.ErrSignature) {
					t.Errorf("asymmetric %v, an unknown id: %v", asymmetric, err)
				}
			}
			// Nothing that could be the string to sign of something else.
			request := sign(akid, sec, "", sealed)
			for _, policy := range []string{string(request.StringToSign), "", "e30", "e3\n0=", "{}", long + long} {
				if _, err := c.WitnessPost(t.Context(), post(akid, sec, "", sealed, policy, asymmetric)); !errors.Is(err, authority.ErrBadRequest) {
					t.Errorf("asymmetric %v, %.20q: %v", asymmetric, policy, err)
				}
			}
		}
		q := post(akid, sec, "", sealed, "e30=", false)
		for name, change := range map[string]func(q *authority.Post){
			"no algorithm":                func(q *authority.Post) { q.Scope.Algorithm = "" },
			"no region":                   func(q *authority.Post) { q.Scope.Region = "" },
			"the other algorithm":         func(q *authority.Post) { q.Scope.Algorithm = sigv4.AlgorithmV4A },
			"a signature of another kind": func(q *authority.Post) { q.Signature = q.Signature[:31] },
		} {
			bad := q
			change(&bad)
			if _, err := c.WitnessPost(t.Context(), bad); !errors.Is(err, authority.ErrBadRequest) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// An id that does not exist must not be told from one that does by the time
// that a wrong signature takes. Both derive, and both verify; the margin is
// wide, because a test's machine has other things to do.
func TestAnUnknownKeyCostsWhatAWrongSignatureCosts(t *testing.T) {
	c := authoritytest.Start(t, t.TempDir()).Client()
	akid, sealed, sec := newKey(t, c)
	known := signV4A(t, akid, sec, "", sealed)
	if _, err := c.Witness(t.Context(), known); err != nil { // its public key is in the cache
		t.Fatal(err)
	}
	wrong := known
	wrong.ECDSA = bytes.Clone(known.ECDSA)
	wrong.ECDSA[len(wrong.ECDSA)-1] ^= 1
	unknown := wrong
	var err error
	if unknown.AccessKeyID, err = id.AccessKey("AKIA", account); err != nil {
		t.Fatal(err)
	}
	unknown.Sealed = nil
	once := func(q authority.Request) time.Duration {
		start := time.Now()
		if _, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrSignature) {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	medians := func() (of [2]time.Duration) {
		var all [2][]time.Duration
		for range 200 { // by turns, so that both meet the same machine
			all[0], all[1] = append(all[0], once(wrong)), append(all[1], once(unknown))
		}
		for i := range all {
			slices.Sort(all[i])
			of[i] = all[i][len(all[i])/2]
		}
		return of
	}
	var m [2]time.Duration
	for range 5 {
		m = medians()
		if ratio := float64(m[0]) / float64(m[1]); ratio > 0.8 && ratio < 1.25 {
			return
		}
	}
	t.Errorf("a wrong signature takes %v, an unknown id %v", m[0], m[1])
}

// Target: 5,000 calls/s with two cores, both processes included; the ECDSA
// verification is most of it.
func BenchmarkWitnessV4A(b *testing.B) {
	c := authoritytest.Start(b, b.TempDir()).Client()
	akid, sealed, sec := newKey(b, c)
	q := signV4A(b, akid, sec, "", sealed)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Witness(b.Context(), q); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// One upload's chunks, one call after the other. Target: <= 10 µs a chunk in
// calls of 16 (1 MiB of 64 KiB chunks): all of 5 GiB cost less than a second.
func BenchmarkWitnessChunks(b *testing.B) {
	c := authoritytest.Start(b, b.TempDir()).Client()
	akid, sealed, sec := newKey(b, c)
	for _, n := range []int{1, 16, 256} {
		for _, asymmetric := range []bool{false, true} {
			p := parsedFor(b, akid, sec, "", asymmetric)
			q := chainFrom(p, sealed, chainOf(b, p, sec, n-1))
			b.Run(map[bool]string{false: "V4", true: "SigV4A"}[asymmetric]+", "+strconv.Itoa(n)+" a call", func(b *testing.B) {
				for b.Loop() {
					if err := c.WitnessChunks(context.Background(), q); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/chunk")
			})
		}
	}
}

// The core parses what the front sends; a front that is taken over must not
// bring it down or get a key pair's private half.
func TestSignaturesOfRandomBytesAreRefused(t *testing.T) {
	c := inProcess(t, t.TempDir(), time.Now)
	akid, sealed, sec := newKey(t, c)
	q := signV4A(t, akid, sec, "", sealed)
	for n := 1; n <= 72; n++ {
		q.ECDSA = make([]byte, n)
		rand.Read(q.ECDSA)
		if _, err := c.Witness(t.Context(), q); !errors.Is(err, authority.ErrSignature) {
			t.Errorf("%d random bytes: %v", n, err)
		}
	}
}
