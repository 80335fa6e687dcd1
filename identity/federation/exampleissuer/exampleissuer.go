// Package exampleissuer is a small OpenID Connect issuer on a loopback address,
// for tests and for the tour: it serves a discovery document and keys as
// Keycloak does, over TLS with a certificate of its own, and mints tokens of
// whatever claims it is told.
//
// Start with Start. The issuer proves nothing to anybody: whoever holds it is
// everybody. Never point a real account at one.
package exampleissuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ClientID is the client that tokens are for unless their claims say otherwise.
const ClientID = "leadglass"

// An Issuer serves until it is closed. It is safe for concurrent use.
type Issuer struct {
	server   *http.Server
	listener net.Listener
	done     chan struct{} // closed when the server has ended
	path     string
	root     *x509.Certificate
	fetches  atomic.Int64

	mu      sync.Mutex
	signing key                                           // guarded by mu
	retired []jose.JSONWebKey                             // guarded by mu; published still
	extra   []json.RawMessage                             // guarded by mu; published beside
	answer  func(http.ResponseWriter, *http.Request) bool // guarded by mu
}

type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
}

// Start starts an issuer at https://127.0.0.1:PORT/realms/NAME.
func Start(name string) (*Issuer, error) {
	i := &Issuer{path: "/realms/" + name, done: make(chan struct{})}
	cert, err := i.certificate()
	if err != nil {
		return nil, fmt.Errorf("exampleissuer: %w", err)
	}
	if err := i.Rotate(jose.RS256); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("exampleissuer: %w", err)
	}
	i.listener = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	i.server = &http.Server{Handler: http.HandlerFunc(i.serve), ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(i.done)
		// Its end is Close's doing; there is nobody to tell of another.
		_ = i.server.Serve(i.listener)
	}()
	return i, nil
}

// Close ends the issuer.
func (i *Issuer) Close() error {
	err := i.server.Close()
	<-i.done
	return err
}

// URL is the issuer's: what its tokens' iss claim says.
func (i *Issuer) URL() string { return "https://" + i.Host() + i.path }

// Host is the issuer's host and port.
func (i *Issuer) Host() string { return i.listener.Addr().String() }

// Roots is the certificate that vouches for the issuer, as PEM.
func (i *Issuer) Roots() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.root.Raw})
}

// Root is the certificate that vouches for the issuer.
func (i *Issuer) Root() *x509.Certificate { return i.root }

// Thumbprint names that certificate, for CreateOpenIDConnectProvider.
func (i *Issuer) Thumbprint() string {
	sum := sha1.Sum(i.root.Raw)
	return hex.EncodeToString(sum[:])
}

// Fetches says how many documents the issuer was asked for.
func (i *Issuer) Fetches() int64 { return i.fetches.Load() }

// Rotate makes a new key, which signs from now on. The one before it stays published.
func (i *Issuer) Rotate(algorithm jose.SignatureAlgorithm) error {
	k := key{id: base64.RawURLEncoding.EncodeToString(random(12)), algorithm: algorithm}
	var err error
	switch algorithm {
	case jose.ES256:
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		k.private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		k.private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.RS256, jose.RS384, jose.RS512:
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = errors.New("no key for the algorithm " + string(algorithm))
	}
	if err != nil {
		return fmt.Errorf("exampleissuer: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.signing.private != nil {
		i.retired = append(i.retired, i.signing.public())
	}
	i.signing = k
	return nil
}

// Retire stops publishing every key but the one that signs.
func (i *Issuer) Retire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.retired = nil
}

// Publish adds keys to those that are published, as they stand.
func (i *Issuer) Publish(keys ...json.RawMessage) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.extra = append(i.extra, keys...)
}

// Answer has f answer in the issuer's place whenever it returns true; nil ends that.
func (i *Issuer) Answer(f func(http.ResponseWriter, *http.Request) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = f
}

// Claims are the claims of a token, by name.
type Claims map[string]any

// Mint makes a token of claims. What they do not say is filled in: the issuer,
// ClientID as audience, issued now and valid for five minutes.
func (i *Issuer) Mint(now time.Time, claims Claims) (string, error) {
	all := Claims{
		"iss": i.URL(), "aud": ClientID, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"jti": hex.EncodeToString(random(8)), "typ": "ID",
	}
	for name, v := range claims {
		if v == nil {
			delete(all, name)
			continue
		}
		all[name] = v
	}
	payload, err := json.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("exampleissuer: %w", err)
	}
	return i.Sign(payload)
}

// Sign makes a token of any payload.
func (i *Issuer) Sign(payload []byte) (string, error) {
	i.mu.Lock()
	k := i.signing
	i.mu.Unlock()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: k.algorithm, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("exampleissuer: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("exampleissuer: %w", err)
	}
	return jws.CompactSerialize()
}

// DoctorOf are the claims of a doctor: her name, and the ward whose records she
// may reach, as a session tag.
func DoctorOf(name, ward string) Claims {
	return Claims{
		"sub": name, "preferred_username": name, "azp": ClientID,
		"https://aws.amazon.com/tags": map[string]any{
			"principal_tags":      map[string][]string{"Ward": {ward}},
			"transitive_tag_keys": []string{"Ward"},
		},
		"https://aws.amazon.com/source_identity": name,
	}
}

func (k key) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: string(k.algorithm), Use: "sig"}
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.fetches.Add(1)
	i.mu.Lock()
	answer := i.answer
	i.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	path, ok := strings.CutPrefix(r.URL.Path, i.path)
	switch {
	case ok && path == "/.well-known/openid-configuration":
		write(w, i.discovery())
	case ok && path == "/protocol/openid-connect/certs":
		keys, err := i.keys()
		if err != nil {
			http.Error(w, "", http.StatusInternalServerError)
			return
		}
		write(w, map[string]any{"keys": keys})
	default:
		http.NotFound(w, r)
	}
}

func write(w http.ResponseWriter, v any) {
	// Everything here is made of strings; a client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(v)
}

// discovery is the document as Keycloak has it, as far as it matters and somewhat further.
func (i *Issuer) discovery() map[string]any {
	at := i.URL() + "/protocol/openid-connect/"
	return map[string]any{
		"issuer": i.URL(), "authorization_endpoint": at + "auth", "token_endpoint": at + "token",
		"introspection_endpoint": at + "token/introspect", "userinfo_endpoint": at + "userinfo",
		"end_session_endpoint": at + "logout", "jwks_uri": at + "certs",
		"grant_types_supported":                 []string{"authorization_code", "refresh_token", "client_credentials", "urn:openid:params:grant-type:ciba"},
		"response_types_supported":              []string{"code", "none", "id_token", "code id_token"},
		"subject_types_supported":               []string{"public", "pairwise"},
		"id_token_signing_alg_values_supported": []string{"PS384", "RS384", "EdDSA", "ES384", "HS256", "ES256", "RS256", "ES512", "PS256", "PS512", "RS512"},
		"claims_supported":                      []string{"aud", "sub", "iss", "auth_time", "name", "preferred_username", "email", "acr"},
		"claims_parameter_supported":            true,
		"mtls_endpoint_aliases":                 map[string]string{"token_endpoint": at + "token"},
	}
}

// keys are the published keys: before the one that signs, one for encryption,
// as Keycloak has it.
func (i *Issuer) keys() ([]json.RawMessage, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	encryption := i.signing.public()
	encryption.KeyID, encryption.Use, encryption.Algorithm = "enc-"+encryption.KeyID, "enc", "RSA-OAEP"
	all := append([]jose.JSONWebKey{encryption}, append(i.retired[:len(i.retired):len(i.retired)], i.signing.public())...)
	keys := append([]json.RawMessage(nil), i.extra...)
	for _, k := range all {
		raw, err := k.MarshalJSON()
		if err != nil {
			return nil, err
		}
		keys = append(keys, raw)
	}
	return keys, nil
}

// certificate makes the issuer's root and its certificate for 127.0.0.1.
func (i *Issuer) certificate() (tls.Certificate, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	// Wide, so that tests may hold the clock anywhere.
	from, to := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example issuer's root"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "example issuer"}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	if i.root, err = x509.ParseCertificate(rootDER); err != nil {
		return tls.Certificate{}, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, i.root, &leafKey.PublicKey, rootKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leafDER, rootDER}, PrivateKey: leafKey}, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
