// Package federation lets identities of elsewhere in, and ours out: it checks
// the tokens of OpenID Connect issuers that an account has registered
// (sts-and-fas section 3, web identity), and it is the issuer of the tokens that
// our principals show to the world outside (GetWebIdentityToken).
//
// Inbound, start with New. Parse reads a token and refuses what can be refused
// without asking anybody; Verifier.Verify then finds the issuer's keys by
// discovery and checks the signature and the audience. What a token may do is
// not decided here: identity/sessions turns it into a caller, and the trust
// policy of the role decides.
//
// Outbound, start with NewIssuer. Tokens are built and signed by the authority;
// Issuer.ServeHTTP publishes discovery document and keys of each account's
// issuer, to anybody.
//
// An issuer's URL is chosen by a customer, and fetched by us without any
// credential of anybody. So the fetch goes by https alone, with the system's
// roots and the operator's (Config.Roots), to public addresses alone unless the
// operator has named the host (Config.PrivateIssuers); it follows no redirect,
// and it is bounded in time, size and number. Keys are kept ten minutes for one
// provider of one account: accounts share nothing, not even time.
//
// Not done here: SAML, and any flow of a browser. Tokens are ID tokens or other
// JWTs in compact form, signed with RS256, RS384, RS512, ES256, ES384 or ES512.
package federation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/publicnet"
	"github.com/leadglass/leadglass/identity/directory"
)

// What an issuer may cost.
const (
	keysKept     = 10 * time.Minute
	retryAfter   = time.Minute     // of a fetch that failed, or for a key id that is not known
	fetchTimeout = 5 * time.Second // discovery document and keys together
	maxDocument  = 64 << 10
	maxKeySet    = 256 << 10
	maxKeys      = 100
	maxFetches   = 32 // at once
	perAccount   = 4  // of them for one account
	maxWaiting   = 64 // callers that wait for one provider's keys
	maxProviders = 10_000
)

// Config says where issuers may be. Clock is required.
type Config struct {
	Clock clock.Clock
	// Roots are certificates, beside the system's, that may vouch for an issuer: of
	// the hospital's own authority, say.
	Roots []*x509.Certificate
	// PrivateIssuers are hosts, or host:port, that may have private, link-local or
	// loopback addresses. All others must have public ones: a customer that chooses
	// a URL must not reach into the operator's network with it.
	PrivateIssuers []string
}

// A Verifier checks tokens. It is safe for concurrent use and runs nothing of its own.
type Verifier struct {
	clock   clock.Clock
	roots   func() *x509.CertPool // made when it is first needed: the system's are many
	private publicnet.Hosts
	decoys  map[jose.SignatureAlgorithm]any // immutable

	fetches chan struct{} // a place for each fetch under way

	mu        sync.Mutex
	providers map[string]*keySet // guarded by mu; by the provider's unique id
	busy      map[string]int     // guarded by mu; fetches under way by account
}

// New returns a verifier.
func New(cfg Config) (*Verifier, error) {
	if cfg.Clock == nil {
		return nil, errors.New("federation: Config.Clock is required")
	}
	roots := func() *x509.CertPool {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a machine without any: the operator's alone count
		}
		for _, c := range cfg.Roots {
			pool.AddCert(c)
		}
		return pool
	}
	v := &Verifier{
		clock: cfg.Clock, roots: sync.OnceValue(roots), fetches: make(chan struct{}, maxFetches),
		providers: make(map[string]*keySet), busy: make(map[string]int),
	}
	var err error
	if v.private, err = publicnet.NewHosts(cfg.PrivateIssuers); err != nil {
		return nil, fmt.Errorf("federation: Config.PrivateIssuers: %w", err)
	}
	if v.decoys, err = decoys(); err != nil {
		return nil, err
	}
	return v, nil
}

// A Kind says what is wrong with a token, in STS's terms.
type Kind uint8

// The kinds.
const (
	// Invalid: the token is none, or not acceptable to any provider.
	Invalid Kind = iota + 1
	// Expired: its time is over.
	Expired
	// Refused: this account does not take it. Which of the reasons it is, among them
	// that the account knows no such issuer, is told to the account alone (I-7).
	Refused
	// Unreachable: the issuer's keys cannot be had now.
	Unreachable
)

// An Error is a refusal. Message holds nothing of the token but, of Invalid and
// Expired, what its bearer knows.
type Error struct {
	Kind    Kind
	Message string
}

func (e *Error) Error() string { return "federation: " + e.Message }

// Verify says whether a token is good for a provider: its audience is one of
// the provider's client ids, and a key of the issuer signed it. It returns the
// audience that counts; with an error, too, when the token is genuine and its
// audience is what is wrong. A nil provider refuses after the work of a check,
// so that time does not tell an issuer that the account knows from another.
func (v *Verifier) Verify(ctx context.Context, p *directory.OIDCProvider, t *Token) (audience string, err error) {
	if p == nil {
		v.checkDecoy(t)
		return "", &Error{Refused, "the account has no such provider"}
	}
	if p.Issuer() != t.Issuer {
		return "", &Error{Refused, "the token is of another issuer"}
	}
	keys, err := v.keys(ctx, p, t.keyID)
	if err != nil {
		return "", err
	}
	ok, tries := t.signedBy(keys)
	if tries == 0 {
		v.checkDecoy(t) // a made-up key id must not be faster for an issuer that the account knows
	}
	if !ok {
		return "", &Error{Refused, "no key of the issuer made the token's signature"}
	}
	if audience, ok = t.audienceOf(p.ClientIDs); !ok {
		return audience, &Error{Refused, "the token's audience is no client id of the provider"}
	}
	return audience, nil
}
