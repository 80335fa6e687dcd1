package sessions_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

// asymmetric is call for SigV4A.
func (w *world) asymmetric(c credential) (*sessions.Caller, error) {
	w.t.Helper()
	empty := sha256.Sum256(nil)
	r := &sigv4.Request{Method: "POST", Target: "/", Host: "kms.us-east-1.amazonaws.com", Header: map[string][]string{}}
	s := &sigv4.Signer{AccessKeyID: c.akid, SecretAccessKey: []byte(c.secret), SessionToken: c.token, RegionSet: "us-*", Service: "kms"}
	w.must(s.Sign(r, nil, w.now.Now()))
	p, err := sigv4.Parse(r)
	w.must(err)
	w.must(p.CheckScope(w.now.Now(), []string{"us-east-1"}, "kms"))
	sts, digest, err := p.StringToSign(r, &empty, nil)
	w.must(err)
	return w.Authenticate(w.t.Context(), p, sts, digest)
}

func TestSigV4AGivesTheSameCaller(t *testing.T) {
	w := realWorld(t)
	_, cred := w.user("u")
	role := w.role("r")
	session := w.session(cred, role)
	for name, c := range map[string]credential{"a user": cred, "a session": session} {
		caller, err := w.asymmetric(c)
		w.must(err)
		if want := w.caller(c); caller.Principal != want.Principal || keys(caller) != keys(want) {
			t.Errorf("%s: %+v, want %+v", name, caller.Principal, want.Principal)
		}
	}
	unknown, err := id.AccessKey("AKIA", w.account)
	w.must(err)
	for _, c := range []struct {
		name string
		cred credential
		want sigv4.Kind
	}{
		{"another secret", credential{cred.akid, strings.Repeat("x", 40), ""}, sigv4.BadSignature},
		{"an unknown id", credential{unknown, cred.secret, ""}, sigv4.UnknownKey},
		{"another secret of a session", credential{session.akid, strings.Repeat("x", 40), session.token}, sigv4.BadSignature},
		{"a token that is none", credential{session.akid, session.secret, "x"}, sigv4.BadToken},
		{"a token of another id", credential{w.session(cred, role).akid, session.secret, session.token}, sigv4.BadToken},
	} {
		_, err := w.asymmetric(c.cred)
		if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Kind != c.want {
			t.Errorf("%s: %v, want kind %d", c.name, err, c.want)
		}
	}
	w.must(w.directory.UpdateAccessKey(t.Context(), w.account, "u", cred.akid, false))
	if _, err := w.asymmetric(cred); err == nil {
		t.Error("an inactive key was accepted")
	}
	if _, err := w.asymmetric(session); err == nil {
		t.Error("a session outlived its access key")
	}
}

// upload is the request and the body of a chunked upload, as a client makes it.
func (w *world) upload(c credential, regions string, chunks ...string) (*sigv4.Parsed, *chunked.Plan, string) {
	w.t.Helper()
	form, length := sigv4.StreamingV4, 0
	for _, data := range chunks {
		length += len(data)
	}
	if regions != "" {
		form = sigv4.StreamingV4A
	}
	r := &sigv4.Request{Method: "PUT", Target: "/b/k", Host: "h", Header: map[string][]string{
		"X-Amz-Content-Sha256": {form}, "X-Amz-Decoded-Content-Length": {strconv.Itoa(length)}}}
	s := &sigv4.Signer{AccessKeyID: c.akid, SecretAccessKey: []byte(c.secret), SessionToken: c.token, Region: "us-east-1", RegionSet: regions, Service: "s3"}
	w.must(s.Sign(r, nil, w.now.Now()))
	p, err := sigv4.Parse(r)
	w.must(err)
	w.must(p.CheckScope(w.now.Now(), []string{"us-east-1"}, "s3"))
	plan, err := chunked.NewPlan(p, r)
	w.must(err)
	var body strings.Builder
	previous := p.Signature[:]
	if p.Asymmetric() {
		previous = p.ECDSA
	}
	key := sigv4.SigningKey([]byte(c.secret), p.Date, "us-east-1", "s3")
	pair, err := sigv4.KeyPair(c.akid, []byte(c.secret))
	w.must(err)
	for _, data := range append(chunks, "") {
		l := chunked.Link{Hash: sha256.Sum256([]byte(data))}
		sts := chunked.AppendStringToSign(nil, p, previous, &l)
		if p.Asymmetric() {
			previous, err = sigv4.SignV4A(pair, sts)
			w.must(err)
		} else {
			mac := sigv4.MAC(&key, sts)
			previous = mac[:]
		}
		fmt.Fprintf(&body, "%x;chunk-signature=%x\r\n%s\r\n", len(data), previous, data)
	}
	return p, plan, body.String()
}

// gateway is a witness that does something before it is asked for the n-th time.
type gateway struct {
	sessions.ChunkWitness
	at, asked int
	then      func()
}

func (g *gateway) WitnessChunks(ctx context.Context, q authority.Chain) error {
	if g.asked++; g.asked == g.at {
		g.then()
	}
	return g.ChunkWitness.WitnessChunks(ctx, q)
}

func TestChunksAreWitnessedByTheAuthority(t *testing.T) {
	w, client := realWorldWith(t)
	_, cred := w.user("u")
	session := w.session(cred, w.role("r"))
	a, b, c := strings.Repeat("a", 8192), strings.Repeat("b", 8192), strings.Repeat("c", 10)
	read := func(witness sessions.ChunkWitness, who credential, regions, body string) (string, error) {
		p, plan, right := w.upload(who, regions, a, b, c)
		if body == "" {
			body = right
		}
		r, err := chunked.NewReader(t.Context(), strings.NewReader(body), plan, p, chunked.Config{Verifier: sessions.Chunks(w.directory, witness, p)})
		w.must(err)
		got, err := io.ReadAll(r)
		return string(got), err
	}
	for _, regions := range []string{"", "*"} {
		for _, who := range []credential{cred, session} {
			if got, err := read(client, who, regions, ""); err != nil || got != a+b+c {
				t.Errorf("regions %q: %d bytes, %v", regions, len(got), err)
			}
			_, _, other := w.upload(who, regions, a, b, "d")
			if got, err := read(client, who, regions, strings.Replace(other, "\r\nd\r\n", "\r\ne\r\n", 1)); err == nil || !strings.Contains(a+b, got) {
				t.Errorf("regions %q, a wrong body: %d bytes, %v", regions, len(got), err)
			}
		}
	}

	// What ends a credential ends the bodies that are under way.
	kind := func(name string, got string, err error, want sigv4.Kind) {
		t.Helper()
		if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Kind != want || got != a {
			t.Errorf("%s: %d bytes, %v, want kind %d", name, len(got), err, want)
		}
	}
	got, err := read(&gateway{client, 2, 0, func() {
		_, err := client.Revoke(t.Context(), authority.Revocation{Account: w.account})
		w.must(err)
	}}, session, "", "")
	kind("a revoked session", got, err, sigv4.BadToken)
	witness := &gateway{client, 1, 0, func() { w.must(w.directory.UpdateAccessKey(t.Context(), w.account, "u", cred.akid, false)) }}
	got, err = read(witness, cred, "", "")
	kind("a deactivated key", got, err, sigv4.UnknownKey)
}

// I-5, I-8: in key mode a body is checked with what is kept, and ends with its credential.
func TestChunksInKeyMode(t *testing.T) {
	n := newNode(t, sessions.KeyringConfig{})
	_, cred := n.user("u")
	role := n.role("r")
	a, b, c := strings.Repeat("a", 8192), strings.Repeat("b", 8192), strings.Repeat("c", 10)
	read := func(who credential, regions, body string, then func()) (string, error) {
		p, plan, right := n.upload(who, regions, a, b, c)
		if body == "" {
			body = right
		}
		r, err := chunked.NewReader(t.Context(), strings.NewReader(body), plan, p, chunked.Config{Verifier: n.ring.Chunks(n.directory, p)})
		n.must(err)
		first := make([]byte, len(a))
		if _, err := io.ReadFull(r, first); err != nil {
			return "", err
		}
		if then != nil {
			then()
		}
		rest, err := io.ReadAll(r)
		return string(first) + string(rest), err
	}
	for _, regions := range []string{"", "*"} {
		n.regions = regions
		session := n.session(cred, role)
		for _, who := range []credential{cred, session} {
			// Before the request itself has brought the key, the authority is asked.
			if got, err := read(who, regions, "", nil); err != nil || got != a+b+c {
				t.Errorf("regions %q, nothing kept: %d bytes, %v", regions, len(got), err)
			}
			n.let(who, regions)
			before := n.ring.State()
			if got, err := read(who, regions, "", nil); err != nil || got != a+b+c {
				t.Errorf("regions %q: %d bytes, %v", regions, len(got), err)
			}
			if s := n.ring.State(); s.Hits != before.Hits+4 || s.Asked != before.Asked {
				t.Errorf("regions %q: %+v, before %+v", regions, s, before)
			}
			_, _, other := n.upload(who, regions, a, b, "d")
			if got, err := read(who, regions, strings.Replace(other, "\r\nd\r\n", "\r\ne\r\n", 1), nil); err == nil {
				t.Errorf("regions %q, a wrong body: %d bytes", regions, len(got))
			}
		}
		got, err := read(session, regions, "", func() {
			_, err := n.client.Revoke(t.Context(), authority.Revocation{AccessKeyID: session.akid})
			n.must(err)
		})
		if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Kind != sigv4.BadToken || got != a {
			t.Errorf("regions %q, a revoked session: %d bytes, %v", regions, len(got), err)
		}
	}
	got, err := read(cred, "", "", func() { n.must(n.directory.UpdateAccessKey(t.Context(), n.account, "u", cred.akid, false)) })
	if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Kind != sigv4.UnknownKey || got != a {
		t.Errorf("a deactivated key: %d bytes, %v", len(got), err)
	}
}

// let has the keyring let the request of an upload in.
func (n *node) let(c credential, regions string) {
	n.t.Helper()
	r := &sigv4.Request{Method: "PUT", Target: "/b/k", Host: "h", Header: map[string][]string{}}
	s := &sigv4.Signer{AccessKeyID: c.akid, SecretAccessKey: []byte(c.secret), SessionToken: c.token, Region: "us-east-1", RegionSet: regions, Service: "s3"}
	n.must(s.Sign(r, nil, n.now.Now()))
	p, err := sigv4.Parse(r)
	n.must(err)
	empty := sha256.Sum256(nil)
	sts, digest, err := p.StringToSign(r, &empty, nil)
	n.must(err)
	_, err = n.Authenticate(n.t.Context(), p, sts, digest)
	n.must(err)
}

func TestAWitnessOfChunksThatIsGoneIsNoRefusal(t *testing.T) {
	w := newWorld(t)
	_, cred := w.user("u")
	p, plan, body := w.upload(cred, "", "0123456789")
	r, err := chunked.NewReader(t.Context(), strings.NewReader(body), plan, p, chunked.Config{Verifier: sessions.Chunks(w.directory, gone{}, p)})
	w.must(err)
	if got, err := io.ReadAll(r); !errors.Is(err, sessions.ErrUnavailable) || len(got) > 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

type gone struct{}

func (gone) WitnessChunks(context.Context, authority.Chain) error { return authority.ErrUnavailable }
