package operation

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// A Call is what a handler may know of the request it serves. The gate makes
// it; handlers read it, and may only reveal secrets, name resources, and remark
// on or prove what they did.
type Call struct {
	RequestID string // the same as in the answer's header and in the audit record
	EventID   string // of the audit record
	Time      time.Time
	Region    string
	SourceIP  string
	UserAgent string
	Secure    bool // came over TLS

	Account     string // the caller's; empty when unsigned
	Principal   Principal
	PrincipalID string // aws:userid: AIDA…, or AROA…:session
	AccessKeyID string
	UserName    string
	SessionName string
	Issued      time.Time // of temporary credentials; zero for long-term keys
	Depth       int       // of role chaining: 0 for a long-term key, 1 for its first session, …
	MFA         bool

	// Body is the request's body as it was signed; not to be changed.
	Body []byte
	// WantProof: the client asks for an answer that is signed where it was made (x-leadglass-answer-proof: 1).
	WantProof bool

	// Signed gives the request as its caller signed it, for a boundary that checks that itself. Nil: the signature is
	// one that only the authority can check (SigV4), or there is none.
	Signed func(ctx context.Context) (SignedRequest, error)

	// Session is the caller as package identity/sessions knows it; only service/sts looks inside.
	Session any

	// Local belongs to the service, between the target and the handler of the same call. The gate never reads it.
	Local any

	// Evaluate answers a further question about the same caller, for checks that belong to the handler, such as
	// whether a new key policy would lock its author out. It never replaces the target's asks.
	Evaluate func(Ask) Decision

	mu        sync.Mutex
	revealed  []Revealed // guarded by mu
	resources []Resource // guarded by mu
	concerned []string   // guarded by mu
	remarks   []Remark   // guarded by mu
	proof     []byte     // guarded by mu
}

// A SignedRequest is all that it takes to check a SigV4A signature.
type SignedRequest struct {
	Canonical    []byte // the canonical request
	StringToSign []byte
	Signature    []byte // ECDSA P-256, ASN.1
	CallerKey    []byte // the public key that checks it, as the identity authority states it
	Body         []byte
}

// Revealed is a secret on its way to the caller, and the placeholder that
// stands for it in the output.
type Revealed struct {
	Placeholder string
	Secret      *secret.Bytes
}

// A Resource is named in the audit record.
type Resource struct{ Account, Type, ARN string }

// Reveal returns a placeholder of the secret's length for an output member.
// The gate writes the secret itself over it in the bytes that go to the
// socket, so that no Go string ever holds it (I-3), and destroys it then.
//
// The placeholder is made of characters that every protocol writes as they
// are, and so must the secret be: access-key secrets are base64.
func (c *Call) Reveal(s *secret.Bytes) string {
	p := ""
	for len(p) < s.Len() {
		p += id.Hex(20)
	}
	p = p[:s.Len()]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revealed = append(c.revealed, Revealed{p, s})
	return p
}

// RevealBlob is Reveal for a member that protocols write as base64: s holds
// that text itself. The stand-in is random, and what base64 makes of it is the
// placeholder.
func (c *Call) RevealBlob(s *secret.Bytes) []byte {
	n := base64.StdEncoding.DecodedLen(s.Len())
	_ = s.Use(func(text []byte) error {
		// The length without the padding, which the stand-in must have too.
		n -= bytes.Count(text[max(0, len(text)-2):], []byte("="))
		return nil
	})
	b := make([]byte, n)
	rand.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revealed = append(c.revealed, Revealed{base64.StdEncoding.EncodeToString(b), s})
	return b
}

// Reveals says whether the handler gives a secret to the caller.
func (c *Call) Reveals() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.revealed) > 0
}

// TakeRevealed gives the gate what the handler revealed, once.
func (c *Call) TakeRevealed() []Revealed {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.revealed
	c.revealed = nil
	return r
}

// Touch names a resource for the audit record beside those of the asks.
func (c *Call) Touch(account, kind, arn string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resources = append(c.resources, Resource{account, kind, arn})
}

// Touched are the resources named so far.
func (c *Call) Touched() []Resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resources
}

// Concern says that the call did something to another account that the asks do
// not show: when it succeeds, that account's log gets a copy of the record.
func (c *Call) Concern(account string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.concerned = append(c.concerned, account)
}

// Concerned are the accounts named so far.
func (c *Call) Concerned() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.concerned
}

type callKey struct{}

// WithCall is ctx carrying c.
func WithCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// CallFrom returns the call that ctx carries. It panics when there is none:
// a handler outside the gate is a broken invariant, not an input.
func CallFrom(ctx context.Context) *Call {
	return ctx.Value(callKey{}).(*Call)
}
