package chunked_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

const (
	akid   = "AKIAIOSFODNN7EXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	stamp  = "20261123T090000Z"
)

var now = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

var pair = sync.OnceValues(func() (*ecdsa.PrivateKey, error) { return sigv4.KeyPair(akid, []byte(secret)) })

// An upload is a client of one chunked form. Its chunks are written from the
// specification's section 5 and share no code with the reader.
type upload struct {
	t        testing.TB
	form     string
	trailers [][2]string // as they are sent, in order
	announce []string    // x-amz-trailer; nil: those that are sent
	length   int64       // x-amz-decoded-content-length
	eol      string      // "\r\n"
	extra    map[string][]string

	request *sigv4.Request
	parsed  *sigv4.Parsed
	key     [32]byte
	pair    *ecdsa.PrivateKey
	seed    []byte
}

// start signs the request and parses it as a server does.
func start(t testing.TB, form string, length int64, trailers ...[2]string) *upload {
	t.Helper()
	u := &upload{t: t, form: form, length: length, trailers: trailers, eol: "\r\n"}
	return u.sign()
}

func (u *upload) sign() *upload {
	u.t.Helper()
	u.request = &sigv4.Request{Method: "PUT", Target: "/b/k", Host: "s3.example", ContentLength: -1, Header: map[string][]string{
		"X-Amz-Content-Sha256": {u.form}, "Content-Encoding": {"aws-chunked"}, "X-Amz-Decoded-Content-Length": {strconv.FormatInt(u.length, 10)},
	}}
	names := u.announce
	if names == nil {
		for _, tr := range u.trailers {
			names = append(names, tr[0])
		}
	}
	if len(names) > 0 {
		u.request.Header["X-Amz-Trailer"] = []string{strings.Join(names, ",")}
	}
	for name, values := range u.extra {
		if delete(u.request.Header, name); values != nil {
			u.request.Header[name] = values
		}
	}
	s := &sigv4.Signer{AccessKeyID: akid, SecretAccessKey: []byte(secret), Region: "us-east-1", Service: "s3"}
	if strings.Contains(u.form, "ECDSA") {
		s.RegionSet = "us-*"
	}
	if err := s.Sign(u.request, nil, now); err != nil {
		u.t.Fatal(err)
	}
	var err error
	if u.parsed, err = sigv4.Parse(u.request); err != nil {
		u.t.Fatal(err)
	}
	if err := u.parsed.CheckScope(now, []string{"us-east-1"}, "s3"); err != nil {
		u.t.Fatal(err)
	}
	u.key = sigv4.SigningKey([]byte(secret), "20261123", "us-east-1", "s3")
	if u.asymmetric() {
		if u.pair, err = pair(); err != nil {
			u.t.Fatal(err)
		}
	}
	u.seed = u.parsed.Signature[:]
	if u.asymmetric() {
		u.seed = u.parsed.ECDSA
	}
	return u
}

func (u *upload) asymmetric() bool { return strings.Contains(u.form, "ECDSA") }
func (u *upload) signed() bool     { return !strings.Contains(u.form, "UNSIGNED") }
func (u *upload) trailing() bool   { return strings.HasSuffix(u.form, "-TRAILER") }

func sum(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

// signature of a chunk or of trailers, and its form on the wire.
func (u *upload) signature(kind string, parts ...string) (sig []byte, wire string) {
	u.t.Helper()
	alg, scope := "AWS4-HMAC-SHA256", "20261123/us-east-1/s3/aws4_request"
	if u.asymmetric() {
		alg, scope = "AWS4-ECDSA-P256-SHA256", "20261123/s3/aws4_request"
	}
	text := strings.Join(append([]string{alg + "-" + kind, stamp, scope}, parts...), "\n")
	if u.asymmetric() {
		der, err := sigv4.SignV4A(u.pair, []byte(text))
		if err != nil {
			u.t.Fatal(err)
		}
		wire = hex.EncodeToString(der)
		return der, wire + strings.Repeat("*", 144-len(wire))
	}
	h := hmac.New(sha256.New, u.key[:])
	h.Write([]byte(text))
	sig = h.Sum(nil)
	return sig, hex.EncodeToString(sig)
}

// parts are the pieces of the body: one per chunk, the last holds the end with its trailers.
func (u *upload) parts(chunks ...[]byte) []string {
	u.t.Helper()
	var out []string
	previous := u.seed
	for _, data := range append(chunks, nil) {
		head := fmt.Sprintf("%x", len(data))
		if u.signed() {
			sig, wire := u.signature("PAYLOAD", hex.EncodeToString(previous), sigv4.EmptyHash, sum(data))
			head += ";chunk-signature=" + wire
			previous = sig
		}
		chunk := head + u.eol + string(data)
		if len(data) > 0 {
			chunk += u.eol
		}
		out = append(out, chunk)
	}
	end := &out[len(out)-1]
	if u.trailing() {
		var block []string
		for _, tr := range u.trailers {
			*end += tr[0] + ":" + tr[1] + u.eol
			block = append(block, strings.ToLower(tr[0])+":"+strings.TrimSpace(tr[1])+"\n")
		}
		sort.Strings(block)
		if u.signed() {
			_, wire := u.signature("TRAILER", hex.EncodeToString(previous), sum([]byte(strings.Join(block, ""))))
			*end += "x-amz-trailer-signature:" + wire + u.eol
		}
	}
	*end += u.eol
	return out
}

func (u *upload) body(chunks ...[]byte) []byte { return []byte(strings.Join(u.parts(chunks...), "")) }

// verifier has the key at hand.
func (u *upload) verifier() chunked.Verifier {
	if u.asymmetric() {
		return chunked.PublicKey(u.parsed, &u.pair.PublicKey)
	}
	return chunked.Key(u.parsed, &u.key)
}

func (u *upload) plan() (*chunked.Plan, error) { return chunked.NewPlan(u.parsed, u.request) }

// split cuts content into chunks of one size.
func split(content []byte, size int) (chunks [][]byte) {
	for len(content) > size {
		chunks, content = append(chunks, content[:size]), content[size:]
	}
	if len(content) > 0 {
		chunks = append(chunks, content)
	}
	return chunks
}

func pattern(n int) []byte {
	b := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), n/36+1)[:n]
	for i := 0; i < n; i += 4096 {
		b[i] = byte(i >> 12)
	}
	return b
}
