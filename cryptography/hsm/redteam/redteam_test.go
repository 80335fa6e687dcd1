package redteam_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

const (
	account = "111122223333"
	arn     = "arn:aws:kms:us-east-1:" + account + ":key/"
)

// files are what an HSM keeps; the attacker copies and restores them.
type files struct {
	mu  sync.Mutex
	all map[string][]byte // guarded by mu
}

func (f *files) Load(name string) ([]byte, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.all[name]
	return bytes.Clone(b), ok, nil // whoever loads a secret wipes it
}

func (f *files) Save(name string, b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[name] = bytes.Clone(b)
	return nil
}

func (f *files) copy() *files {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &files{all: maps.Clone(f.all)}
}

// A world is one HSM, whose domain five custodians rule, with what surrounds
// it. Everything goes through front, the attacker's connection.
type world struct {
	t      testing.TB
	clock  *atomic.Int64 // ms
	store  *files
	hsm    *core.HSM
	front  *link.Client
	wire   *tap // what passes between front and HSM
	host   *ecdsa.PrivateKey
	people []*hsmtest.Custodian
	state  quorum.DomainState

	pki       *attesttest.PKI
	enclave   *rsa.PrivateKey
	spki      []byte            // of enclave
	authority *ecdsa.PrivateKey // vouches for callers' keys
	caller    *ecdsa.PrivateKey // of a customer's credential
}

func (w *world) now() time.Time { return time.UnixMilli(w.clock.Load()) }

func (w *world) sleep(d time.Duration) { w.clock.Add(d.Milliseconds()) }

// newWorld founds the domain and closes the door.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, clock: new(atomic.Int64), store: &files{all: make(map[string][]byte)}, people: hsmtest.Custodians(t)}
	w.clock.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli())
	w.pki = attesttest.New(t, attesttest.Options{Now: w.now(), Tier: attest.Software})
	w.enclave, w.spki = attesttest.EnclaveKey(t)
	var err error
	if w.caller, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.authority, w.host = newHost(t), newHost(t)
	supervisor := w.start(w.store)
	var s message.Status
	if err := s.Parse(w.as(supervisor).must(message.OpStatus, nil, message.Params{}).Status); err != nil {
		t.Fatal(err)
	}
	var id quorum.ID
	rand.Read(id[:])
	a := hsmtest.Founding(s.Member, w.people, 0)
	a.Roots = [][]byte{w.pki.Root().DER}
	w.as(supervisor).must(message.OpCommand, nil, message.Params{Command: w.signed(id, 0, quorum.CreateDomain, a, w.people...)})
	w.open(supervisor)
	return w
}

func newHost(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, _, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// start runs the HSM on these files, and connects its supervisor.
func (w *world) start(store *files) *link.Client {
	w.t.Helper()
	memory, err := secret.NewArena(1 << 16)
	if err != nil {
		w.t.Fatal(err)
	}
	seal, err := core.OpenSoftwareSeal(store, nil, memory)
	if err != nil {
		w.t.Fatal(err)
	}
	key := newHost(w.t)
	spki, err := link.MarshalPublic(&key.PublicKey)
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = store
	if w.hsm, err = core.Open(core.Config{Store: store, Sealer: seal, Memory: memory, Now: w.now, Supervisor: spki, Build: "test", Await: true}); err != nil {
		w.t.Fatal(err)
	}
	c, _ := w.dial(key)
	if c == nil {
		w.t.Fatal("the supervisor is not let in")
	}
	return c
}

// open places the authority and the front, closes the door, and leaves the
// front to the attacker.
func (w *world) open(supervisor *link.Client) {
	w.t.Helper()
	for role, key := range map[string]*ecdsa.PrivateKey{core.RoleAuthority: w.authority, core.RoleHost: w.host} {
		spki, err := link.MarshalPublic(&key.PublicKey)
		if err != nil {
			w.t.Fatal(err)
		}
		w.as(supervisor).must(message.OpPlaceHost, nil, message.Params{Public: spki, Role: role})
	}
	w.as(supervisor).must(message.OpReady, nil, message.Params{})
	_ = supervisor.Close()
	w.front, w.wire = w.dial(w.host)
	if w.front == nil {
		w.t.Fatal("the front is not let in")
	}
	var err error
	if w.state, err = quorum.DecodeState(w.must(message.OpDomainState, nil, message.Params{}).Record); err != nil {
		w.t.Fatal(err)
	}
}

// restart runs the HSM anew on other files, as whoever controls the node can.
func (w *world) restart(store *files) {
	w.t.Helper()
	_ = w.front.Close()
	w.open(w.start(store))
}

// dial connects a host; nil if it is not let in.
func (w *world) dial(key *ecdsa.PrivateKey) (*link.Client, *tap) {
	w.t.Helper()
	ours, theirs := net.Pipe()
	h := w.hsm
	ended := make(chan struct{})
	go func() {
		_ = h.Serve(theirs)
		_ = theirs.Close()
		close(ended)
	}()
	server, err := link.ParsePublic(h.Identity())
	if err != nil {
		w.t.Fatal(err)
	}
	wire := &tap{Conn: ours}
	c, err := link.Dial(w.t.Context(), wire, link.ClientConfig{Host: key, Server: server, Now: w.now})
	if err != nil {
		return nil, nil
	}
	w.t.Cleanup(func() {
		_ = c.Close()
		<-ended
	})
	return c, wire
}

// as is the world seen through another connection.
func (w *world) as(c *link.Client) *world {
	other := *w
	other.front = c
	return &other
}

// do is one operation at the HSM.
func (w *world) do(op uint64, token []byte, p message.Params) (message.Result, uint64) {
	w.t.Helper()
	var r message.Result
	err := w.front.Call(w.t.Context(), op, token, p.Append, func(b []byte) error { return r.Parse(bytes.Clone(b)) })
	if err == nil {
		return r, link.StatusOK
	}
	s, ok := err.(link.Status)
	if !ok {
		w.t.Fatalf("operation %d: %v", op, err)
	}
	return message.Result{}, uint64(s)
}

func (w *world) must(op uint64, token []byte, p message.Params) message.Result {
	w.t.Helper()
	r, status := w.do(op, token, p)
	if status != link.StatusOK {
		w.t.Fatalf("operation %d: status %d", op, status)
	}
	return r
}

func (w *world) signed(domain quorum.ID, serial uint64, name string, arguments any, signers ...*hsmtest.Custodian) []byte {
	w.t.Helper()
	c, err := quorum.NewCommand(domain, serial, name, arguments, w.now().Add(-time.Minute), quorum.MaxSpan, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	return hsmtest.Signed(w.t, c, signers...)
}

// newKey makes a symmetric key.
func (w *world) newKey(id string) []byte {
	w.t.Helper()
	return w.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecSymmetric, Usage: message.UsageEncrypt, Origin: "AWS_KMS", Name: arn + id}).Token
}

func (w *world) seal(token []byte, c message.Conditions) []byte {
	w.t.Helper()
	return w.must(message.OpSealConditions, token, message.Params{Conditions: c.Append(nil)}).Token
}

// measured asks for the image of attesttest with this number.
func measured(image byte) message.Measurement {
	m := message.Measurement{}
	for register, value := range attesttest.Measured(image) {
		if len(bytes.Trim(value, "\x00")) > 0 {
			m[uint64(register)] = value
		}
	}
	return m
}

// document is what the customer's enclave presents now.
func (w *world) document() []byte { return w.documentOf(attest.Statement{}) }

func (w *world) documentOf(s attest.Statement) []byte {
	w.t.Helper()
	if s.PublicKey == nil {
		s.PublicKey = w.spki
	}
	if s.Timestamp.IsZero() {
		s.Timestamp = w.now()
	}
	return w.pki.Document(w.t, s)
}

// opened is what the customer's enclave finds in an answer.
func (w *world) opened(r message.Result) string {
	w.t.Helper()
	plain, err := attesttest.OpenEnvelope(w.enclave, r.Envelope)
	if err != nil || len(r.Data) > 0 {
		w.t.Fatalf("%d bytes in the clear, %v", len(r.Data), err)
	}
	return string(plain)
}

// request is a request as a customer's SDK signs it.
type request struct {
	target, body string
	time         time.Time
	expires      time.Time // of the record of the caller's key
	headers      []string  // besides those that an SDK sends, in their place
	edit         func(*message.Proof)
}

func (w *world) prove(target, body string) []byte {
	return w.proveRequest(request{target: target, body: body})
}

func (w *world) proveRequest(r request) []byte {
	w.t.Helper()
	if r.time.IsZero() {
		r.time = w.now()
	}
	if r.expires.IsZero() {
		r.expires = w.now().Add(5 * time.Minute)
	}
	stamp := r.time.UTC().Format("20060102T150405Z")
	body := sha256.Sum256([]byte(r.body))
	headers := r.headers
	if headers == nil {
		headers = []string{"content-type:application/x-amz-json-1.1", "host:kms.example", "x-amz-date:" + stamp, "x-amz-region-set:us-east-1", "x-amz-target:TrentService." + r.target}
	}
	var names []string
	for _, h := range headers {
		name, _, _ := strings.Cut(h, ":")
		names = append(names, name)
	}
	lines := append([]string{"POST", "/", ""}, headers...)
	lines = append(lines, "", strings.Join(names, ";"), hex.EncodeToString(body[:]))
	canonical := strings.Join(lines, "\n")
	sum := sha256.Sum256([]byte(canonical))
	p := message.Proof{
		Canonical: []byte(canonical), Body: []byte(r.body),
		StringToSign: []byte(strings.Join([]string{"AWS4-ECDSA-P256-SHA256", stamp, stamp[:8] + "/kms/aws4_request", hex.EncodeToString(sum[:])}, "\n")),
		CallerKey:    w.record(w.authority, account, r.expires),
	}
	hash := sha256.Sum256(p.StringToSign)
	var err error
	if p.Signature, err = ecdsa.SignASN1(rand.Reader, w.caller, hash[:]); err != nil {
		w.t.Fatal(err)
	}
	if r.edit != nil {
		r.edit(&p)
	}
	return p.Append(nil)
}

// record says that the caller's key is of an account, signed by somebody.
func (w *world) record(by *ecdsa.PrivateKey, account string, expires time.Time) []byte {
	w.t.Helper()
	return w.recordOf(by, w.caller, account, expires)
}

func (w *world) recordOf(by, key *ecdsa.PrivateKey, account string, expires time.Time) []byte {
	w.t.Helper()
	public, err := key.PublicKey.Bytes()
	if err != nil {
		w.t.Fatal(err)
	}
	k := message.CallerKey{AccessKeyID: "AKIAEXAMPLE", Account: account, Public: public, NotAfter: uint64(expires.UnixMilli())}
	record := k.Append(nil)
	sig, err := ecdsa.SignASN1(rand.Reader, by, message.CallerKeyDigest(record))
	if err != nil {
		w.t.Fatal(err)
	}
	return message.AppendCallerKey(nil, record, sig)
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func pairs(kv ...string) []byte {
	m := make(map[string]string)
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	b, err := message.AppendContext(nil, m)
	if err != nil {
		panic(err)
	}
	return b
}

// canary is what the attacker is after.
const canary = "canary: the patient's name"

// A vault is the key that asks for everything, and what is encrypted under it.
type vault struct {
	*world
	loose, token []byte // before and after the sealing
	blob         []byte
	conditions   message.Conditions
}

func newVault(t testing.TB) *vault {
	v := &vault{world: newWorld(t), conditions: message.Conditions{Measurements: []message.Measurement{measured(1)}, CallerProof: true}}
	v.loose = v.newKey("vault")
	v.blob = v.must(message.OpEncrypt, v.loose, message.Params{Data: []byte(canary), Context: pairs("patient", "42")}).Blob
	v.token = v.seal(v.loose, v.conditions)
	return v
}

// body is the request by which the customer's enclave decrypts.
func (v *vault) body(document []byte) string {
	return fmt.Sprintf(`{"CiphertextBlob":"%s","EncryptionContext":{"patient":"42"},"Recipient":{"AttestationDocument":"%s","KeyEncryptionAlgorithm":"RSAES_OAEP_SHA_256"}}`,
		b64(v.blob), b64(document))
}

// decrypt are the parameters of that request.
func (v *vault) decrypt(document []byte) message.Params {
	p := message.Params{Blob: v.blob, Context: pairs("patient", "42"), Recipient: document}
	if document != nil {
		p.Proof = v.prove("Decrypt", v.body(document))
	}
	return p
}

// legitimate shows that the customer gets what the attacker does not.
func (v *vault) legitimate() {
	v.t.Helper()
	if got := v.opened(v.must(message.OpDecrypt, v.token, v.decrypt(v.document()))); got != canary {
		v.t.Errorf("the customer's enclave reads %q", got)
	}
}

// fails is one attack: whatever it is answered, it must not have worked.
func (w *world) fails(what string, op uint64, token []byte, p message.Params) {
	w.t.Helper()
	r, status := w.do(op, token, p)
	if status == link.StatusOK || bytes.Contains(r.Append(nil), []byte(canary)) {
		w.t.Errorf("%s: the attacker got status %d", what, status)
	}
	if status == link.StatusInternal {
		w.t.Errorf("%s: not refused, but broken", what)
	}
}

// A tap is a wire that the attacker reads and writes.
type tap struct {
	net.Conn
	mu     sync.Mutex
	sent   [][]byte          // guarded by mu; what the host wrote, write by write
	change func(read []byte) // guarded by mu; spoils what the host is to read
}

func (w *tap) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.sent = append(w.sent, bytes.Clone(b))
	w.mu.Unlock()
	return w.Conn.Write(b)
}

func (w *tap) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.change != nil {
		w.change(b[:n])
	}
	return n, err
}

func contextFor(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// some are the indices of every seventh byte, from one of the first on that is
// another in each run.
func some(b []byte) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := mathrand.IntN(7); i < len(b); i += 7 {
			if !yield(i) {
				return
			}
		}
	}
}
