package federation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses repeated names and compares them exactly

	"github.com/leadglass/leadglass/identity/directory"
)

// Rules for every token (sts-and-fas section 3).
const (
	maxToken   = 20_000 // characters
	maxSubject = 255
	maxAge     = 24 * time.Hour
	// skew is how far an issuer's clock may be ahead of ours. Nothing is added to a token's end.
	skew = time.Minute
)

// Claims that AWS gives a meaning to.
const (
	tagsClaim     = "https://aws.amazon.com/tags"
	identityClaim = "https://aws.amazon.com/source_identity"
)

// algorithms are those that a signature may have.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}
}

// A Token is a token that was read. Nothing in it is true before Verify said so.
type Token struct {
	Issuer, Subject string
	Audience        []string
	Authorized      string // azp: the client that the token was issued to
	Expires, Issued time.Time

	Tags           []directory.Tag // to be session tags
	TransitiveTags []string        // their keys
	SourceIdentity string

	notBefore time.Time           // zero: at once
	claims    map[string][]string // as condition keys have them
	algorithm jose.SignatureAlgorithm
	keyID     string
	jws       *jose.JSONWebSignature
}

func invalid(format string, args ...any) error { return &Error{Invalid, fmt.Sprintf(format, args...)} }

// Parse reads a token and refuses, as Invalid or Expired, what no provider
// could make good. It asks nobody, so its answers tell nothing of any account.
func Parse(text string, now time.Time) (*Token, error) {
	if len(text) > maxToken {
		return nil, invalid("The ID Token provided is too long.")
	}
	jws, err := jose.ParseSignedCompact(text, algorithms())
	if err != nil || len(jws.Signatures) != 1 {
		return nil, invalid("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	h := jws.Signatures[0].Protected
	if !ordinary(h.ExtraHeaders) {
		return nil, invalid("The ID Token is a JWT of another kind.")
	}
	t := &Token{algorithm: jose.SignatureAlgorithm(h.Algorithm), keyID: h.KeyID, jws: jws}
	// Not true yet; go-jose names it so.
	if err := t.read(jws.UnsafePayloadWithoutVerification()); err != nil {
		return nil, err
	}
	switch {
	case !now.Before(t.Expires):
		return nil, &Error{Expired, fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", now.Unix(), t.Expires.Unix())}
	case now.Sub(t.Issued) > maxAge:
		return nil, invalid("The ID Token was issued more than 24 hours ago.")
	case t.Issued.Sub(now) > skew, t.notBefore.Sub(now) > skew:
		return nil, invalid("The ID Token is not valid yet.")
	}
	return t, nil
}

// ordinary says whether a header is an ID or access token's. Issuers sign other
// things by the same keys, for other readers (RFC 8725 section 3.11): what says
// that it is something else is not taken. Extensions that a reader must
// understand, we do not.
func ordinary(header map[jose.HeaderKey]any) bool {
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, there := header[name]; there {
			return false
		}
	}
	kind, there := header[jose.HeaderType]
	if !there {
		return true
	}
	text, ok := kind.(string)
	text = strings.TrimPrefix(strings.ToLower(text), "application/")
	return ok && (text == "jwt" || text == "at+jwt")
}

// read takes the claims apart.
func (t *Token) read(payload []byte) error {
	var raw map[string]json.RawMessage
	if json.Unmarshal(payload, &raw) != nil || raw == nil {
		return invalid("The ID Token provided is not a valid JWT.")
	}
	t.claims = make(map[string][]string)
	seen := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		// Condition keys do not know case: of two such claims one would stand in the other's place.
		fold := strings.ToLower(name)
		if seen[fold] {
			return invalid("The ID Token has two claims whose names differ by case alone.")
		}
		seen[fold] = true
		if values, ok := plain(raw[name]); ok {
			t.claims[name] = values
		}
	}
	if _, event := raw["events"]; event {
		return invalid("The ID Token is a JWT of another kind.") // a logout or another security event (RFC 8417)
	}
	var err error
	for _, c := range []struct {
		name string
		to   *string
	}{{"iss", &t.Issuer}, {"sub", &t.Subject}, {"azp", &t.Authorized}, {identityClaim, &t.SourceIdentity}} {
		if v, there := raw[c.name]; there && json.Unmarshal(v, c.to) != nil {
			return invalid("The ID Token's %s claim is not a string.", c.name)
		}
	}
	if t.Audience, err = audience(raw["aud"]); err != nil {
		return err
	}
	if t.Expires, err = instant(raw, "exp"); err != nil {
		return err
	}
	if t.Issued, err = instant(raw, "iat"); err != nil {
		return err
	}
	if _, there := raw["nbf"]; there {
		if t.notBefore, err = instant(raw, "nbf"); err != nil {
			return err
		}
	}
	switch {
	case t.Issuer == "":
		return invalid("The ID Token has no iss claim.")
	case t.Subject == "" || len(t.Subject) > maxSubject:
		return invalid("The ID Token has no sub claim of 1 to %d characters.", maxSubject)
	case len(t.Audience) == 0 && t.Authorized == "" || slices.Contains(t.Audience, ""):
		return invalid("The ID Token has no aud claim.")
	}
	return t.readTags(raw)
}

// plain is a claim as condition keys have it: text, number, truth value, or a
// list of them. Anything else is no condition key, as if it were absent.
func plain(raw json.RawMessage) ([]string, bool) {
	if len(raw) > 0 && raw[0] == '[' {
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			return nil, false
		}
		var values []string
		for _, e := range list {
			v, ok := scalar(e)
			if !ok {
				return nil, false
			}
			values = append(values, v)
		}
		return values, len(values) > 0
	}
	v, ok := scalar(raw)
	return []string{v}, ok
}

func scalar(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 {
		return "", false
	}
	switch c := raw[0]; {
	case c == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	case c == '-' || '0' <= c && c <= '9', c == 't', c == 'f':
		return string(raw), true
	}
	return "", false
}

func audience(raw json.RawMessage) (list []string, err error) {
	var one string
	switch {
	case len(raw) == 0:
		return nil, nil
	case json.Unmarshal(raw, &one) == nil && raw[0] == '"':
		return []string{one}, nil
	case json.Unmarshal(raw, &list) == nil && raw[0] == '[':
		return list, nil
	}
	return nil, invalid("The ID Token's aud claim is neither a string nor a list of strings.")
}

// instant reads a NumericDate (RFC 7519 section 2), which may have a fraction.
func instant(raw map[string]json.RawMessage, name string) (time.Time, error) {
	var seconds float64
	v := raw[name]
	if len(v) == 0 || json.Unmarshal(v, &seconds) != nil || seconds < 0 || seconds > 1e11 {
		return time.Time{}, invalid("The ID Token has no %s claim that is a date.", name)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// readTags reads session tags: as one claim with principal_tags and
// transitive_tag_keys inside, or flat, for issuers that cannot nest claims.
func (t *Token) readTags(raw map[string]json.RawMessage) error {
	bad := invalid("The ID Token's %s claim is not in the form of session tags.", tagsClaim)
	var nested struct {
		Tags       map[string]json.RawMessage `json:"principal_tags"`
		Transitive []string                   `json:"transitive_tag_keys"`
	}
	if v, ok := raw[tagsClaim]; ok {
		var members map[string]json.RawMessage
		if json.Unmarshal(v, &members) != nil || json.Unmarshal(v, &nested) != nil {
			return bad
		}
		// A member that is not understood could have been meant to narrow the session.
		for name := range members {
			if name != "principal_tags" && name != "transitive_tag_keys" {
				return bad
			}
		}
	}
	tags := nested.Tags
	if tags == nil {
		tags = make(map[string]json.RawMessage)
	}
	for name, v := range raw {
		switch key, flat := strings.CutPrefix(name, tagsClaim+"/principal_tags/"); {
		case flat:
			if _, twice := tags[key]; twice {
				return bad
			}
			tags[key] = v
		case name == tagsClaim+"/transitive_tag_keys":
			if nested.Transitive != nil || json.Unmarshal(v, &nested.Transitive) != nil {
				return bad
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		values, ok := plain(tags[key])
		if !ok || len(values) != 1 {
			return bad
		}
		t.Tags = append(t.Tags, directory.Tag{Key: key, Value: values[0]})
	}
	t.TransitiveTags = nested.Transitive
	return nil
}

// ConditionKeys are the claims as condition keys of the issuer, by their names:
// every claim that is plain. aud is the audience that counts, as AWS has it: the
// client that the token was issued to, where it says so; oaud is then the
// audience that the token names.
func (t *Token) ConditionKeys(audience string) map[string][]string {
	keys := maps.Clone(t.claims)
	for name := range keys {
		switch {
		case slices.Contains([]string{"iss", "exp", "iat", "nbf", "jti"}, name): // of the token, not of whom it speaks of
			delete(keys, name)
		case strings.HasPrefix(name, tagsClaim) || name == identityClaim: // these have condition keys of their own
			delete(keys, name)
		case strings.EqualFold(name, "aud") || strings.EqualFold(name, "oaud"): // said here; an AUD must not stand in for it
			delete(keys, name)
		case name != "azp" && strings.EqualFold(name, "azp"), name != "amr" && strings.EqualFold(name, "amr"):
			delete(keys, name) // claims that issuers do not make, in the place of those that they do
		}
	}
	keys["aud"] = []string{audience}
	if t.Authorized != "" && len(t.Audience) > 0 {
		keys["oaud"] = t.Audience
	}
	return keys
}

// audienceOf is the audience that is one of clients: azp alone where the token
// has it, else the first of aud that is one. Without any it is what the token says.
func (t *Token) audienceOf(clients []string) (audience string, ok bool) {
	candidates := t.Audience
	if t.Authorized != "" {
		candidates = []string{t.Authorized}
	}
	for _, c := range candidates {
		if slices.Contains(clients, c) {
			return c, true
		}
	}
	return candidates[0], false
}

// maxTries bounds the keys that a token without a key id is held against: each
// costs us, and its bearer nothing.
const maxTries = 10

// signedBy says whether one of the keys made the signature, and how many were tried.
func (t *Token) signedBy(keys []jose.JSONWebKey) (ok bool, tries int) {
	for i := 0; i < len(keys) && tries < maxTries; i++ {
		if keys[i].KeyID != t.keyID && t.keyID != "" || !fits(&keys[i], t.algorithm) {
			continue
		}
		tries++
		if _, err := t.jws.Verify(keys[i].Key); err == nil {
			return true, tries
		}
	}
	return false, tries
}

// fits says whether a published key may make signatures by an algorithm. The
// key decides, not the token: a key for encryption, or of another curve, does not.
func fits(k *jose.JSONWebKey, a jose.SignatureAlgorithm) bool {
	if k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != string(a) {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512}, a) &&
			key.N.BitLen() >= 2048 && key.N.BitLen() <= 4096 && key.E >= 3
	case *ecdsa.PublicKey:
		return key.Curve == curves()[a] && key.Curve != nil
	}
	return false
}

func curves() map[jose.SignatureAlgorithm]elliptic.Curve {
	return map[jose.SignatureAlgorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()}
}

// decoys are keys of nobody, one for each algorithm, for issuers that an account
// does not know. A modulus needs no factors to cost what a real one costs.
func decoys() (map[jose.SignatureAlgorithm]any, error) {
	keys := make(map[jose.SignatureAlgorithm]any)
	var n []byte
	for i := range 4 {
		sum := sha512.Sum512([]byte{byte(i)})
		n = append(n, sum[:]...)
	}
	n[0] |= 0x80
	n[len(n)-1] |= 1
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
	keys[jose.RS256], keys[jose.RS384], keys[jose.RS512] = key, key, key
	for a, c := range curves() {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("federation: decoy: %w", err)
		}
		keys[a] = &k.PublicKey
	}
	return keys, nil
}

// checkDecoy does the work of a check.
func (v *Verifier) checkDecoy(t *Token) {
	_, _ = t.jws.Verify(v.decoys[t.algorithm]) // fails; only its time counts
}
