package federation

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
)

// IssuerPath is where an Issuer's documents are: IssuerPath + id of the account's issuer.
const IssuerPath = "/_outbound/"

// ErrPayload: the claims are longer than a token may be.
var ErrPayload = errors.New("federation: the token's claims are too long")

// A Signer makes keys and tokens; *authority.Client is one.
type Signer interface {
	NewSigner(ctx context.Context, account, algorithm string) (sealed, jwk []byte, err error)
	SignIdentity(ctx context.Context, sealed []byte, i authority.Identity) (token string, expires time.Time, err error)
}

// An Issuer makes the tokens by which an account's principals are known
// outside, and publishes the keys to check them with. Each account has an issuer
// and keys of its own; its id is random, so that its URL does not name the account.
type Issuer struct {
	directory *directory.Directory
	signer    Signer
	base      func() string
}

// NewIssuer returns the issuer of a plane that the world outside knows under
// base, such as https://plane.hospital.example; base is called when it is
// needed, because a plane may learn where it serves after it was built.
func NewIssuer(d *directory.Directory, s Signer, base func() string) (*Issuer, error) {
	if d == nil || s == nil || base == nil {
		return nil, errors.New("federation: an issuer needs a directory, a signer and a base")
	}
	return &Issuer{directory: d, signer: s, base: base}, nil
}

// URL is what the iss claim of an issuer's tokens says.
func (i *Issuer) URL(issuer string) string { return i.base() + IssuerPath + issuer }

// Enable is EnableOutboundWebIdentityFederation; the answer is the issuer's URL.
func (i *Issuer) Enable(ctx context.Context, account string) (issuerURL string, err error) {
	o, err := i.directory.EnableOutbound(ctx, account, i.signer.NewSigner)
	if err != nil {
		return "", err
	}
	return i.URL(o.Issuer), nil
}

// Disable is DisableOutboundWebIdentityFederation.
func (i *Issuer) Disable(ctx context.Context, account string) error {
	return i.directory.DisableOutbound(ctx, account)
}

// Info is the URL of an account's issuer; refused as FeatureDisabled when the
// feature is not enabled.
func (i *Issuer) Info(account string) (issuerURL string, err error) {
	o, err := i.directory.GetOutbound(account)
	if err != nil {
		return "", err
	}
	return i.URL(o.Issuer), nil
}

// Sign makes a token. Its issuer is set here.
func (i *Issuer) Sign(ctx context.Context, id authority.Identity) (token string, expires time.Time, err error) {
	s, err := i.directory.OutboundSigner(ctx, id.Account, id.Algorithm, i.signer.NewSigner)
	if err != nil {
		return "", expires, err
	}
	id.Issuer = i.URL(s.Issuer)
	token, expires, err = i.signer.SignIdentity(ctx, s.Sealed, id)
	if errors.Is(err, authority.ErrTooLarge) {
		return "", expires, ErrPayload
	}
	return token, expires, err
}

// ServeHTTP answers for discovery document and keys of every account's issuer,
// to anybody (OpenID Connect Discovery 1.0 section 4). There is nothing else
// below IssuerPath, and nothing that a caller could change or make expensive.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, IssuerPath)
	id, document, _ := strings.Cut(rest, "/")
	keys, found := i.directory.IssuerKeys(id)
	if !ok || !found || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	var answer any
	switch document {
	case ".well-known/openid-configuration":
		answer = map[string]any{
			"issuer":                                i.URL(id),
			"jwks_uri":                              i.URL(id) + "/.well-known/jwks.json",
			"response_types_supported":              []string{"id_token"},
			"subject_types_supported":               []string{"public"},
			"id_token_signing_alg_values_supported": []string{authority.RS256, authority.ES384},
			"claims_supported":                      []string{"iss", "aud", "sub", "iat", "exp", "jti", "https://sts.amazonaws.com/"},
		}
	case ".well-known/jwks.json":
		answer = map[string]any{"keys": keys}
	default:
		http.NotFound(w, r)
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A key is published a day before it signs, so an hour-old copy is never too old.
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// The status says whether the client is still there; there is nothing to be done if not.
	_, _ = w.Write(body)
}
