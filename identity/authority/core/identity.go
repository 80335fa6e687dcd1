package core

import (
	"bytes"
	"crypto"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// Identity tokens are what an account's principals show to the world outside
// (GetWebIdentityToken): JWTs (RFC 7519) under keys of the account. The keys are
// made and used here and rest with the directory, sealed:
//
//	"LGI1" ‖ root id[4] ‖ KDF nonce[16] ‖ IV[12] ‖ private key ‖ tag[16]
//
// key = KDF(record key, "leadglass identity signer v1", KDF nonce), AAD = bytes
// 0..23 ‖ "lg-identity-signer-v1" ‖ algorithm ‖ account: a key signs for the
// account and by the algorithm that it was made for. The private key is p ‖ q
// (192 bytes each) for RS256, d (48 bytes) for ES384.
//
// What is signed is never text of the front's: a token is built here, of typed
// claims, so that the operation is no oracle for other signatures, and a token
// of one account cannot speak of principals of another.
const (
	signerMagic  = "LGI1"
	signerHeader = len(signerMagic) + 4 + kdfNonce
	signerLabel  = "leadglass identity signer v1"
	signerAAD    = "lg-identity-signer-v1"

	rsaBits     = 3072
	rsaPrime    = rsaBits / 16
	rsaExponent = 65537
	p384Scalar  = 48

	minIdentity = 60
	maxIdentity = 3600
	maxPayload  = 8 << 10
)

// namespace of AWS's claims in an identity token.
const namespace = "https://sts.amazonaws.com/"

// signer is an opened key.
type signer struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}

// newSigner makes a key for an account's identity tokens. The public half, a
// JWK (RFC 7517) with the key's RFC 7638 thumbprint as its id, is the answer.
func (a *authority) newSigner(p *message.Params, r *result) error {
	if !isAccount(p.Account) {
		return failure(link.StatusBadRequest)
	}
	var s signer
	var plain []byte
	defer func() { secret.Wipe(plain) }()
	switch alg := string(p.Message); alg {
	case message.RS256:
		key, err := rsa.GenerateKey(rand.Reader, rsaBits)
		if err != nil {
			return err
		}
		plain = make([]byte, 2*rsaPrime)
		key.Primes[0].FillBytes(plain[:rsaPrime])
		key.Primes[1].FillBytes(plain[rsaPrime:])
		s.rsa = key
	case message.ES384:
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			return err
		}
		if plain, err = key.Bytes(); err != nil {
			return err
		}
		s.ec = key
	default:
		return failure(link.StatusBadRequest)
	}
	root := a.root.Load()
	out := make([]byte, 0, signerHeader+gcmOverhead+len(plain))
	out = append(append(out, signerMagic...), root.id[:]...)
	out = appendRandom(out, kdfNonce)
	err := derived(root.record, signerLabel, out[signerHeader-kdfNonce:], func(aead cipher.AEAD) error {
		out = aead.Seal(out, nil, plain, signerBound(out, string(p.Message), p.Account))
		return nil
	})
	if err != nil {
		return err
	}
	if r.Message, err = s.jwk(); err != nil {
		return err
	}
	r.Sealed = out
	return nil
}

func signerBound(header []byte, alg, account string) []byte {
	b := append(append([]byte(nil), header[:signerHeader]...), signerAAD...)
	return append(append(b, alg...), account...) // both of one length each
}

// openSigner opens a sealed key. One that is not this account's fails like one that is none.
func openSigner(r *root, sealed []byte, alg, account string) (s signer, err error) {
	if len(sealed) < signerHeader+gcmOverhead || !bytes.HasPrefix(sealed, []byte(signerMagic)) || [4]byte(sealed[len(signerMagic):]) != r.id {
		return s, failure(message.StatusToken)
	}
	var plain []byte
	defer func() { secret.Wipe(plain) }()
	err = derived(r.record, signerLabel, sealed[signerHeader-kdfNonce:signerHeader], func(aead cipher.AEAD) (err error) {
		if plain, err = aead.Open(nil, nil, sealed[signerHeader:], signerBound(sealed, alg, account)); err != nil {
			return failure(message.StatusToken)
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	switch {
	case alg == message.RS256 && len(plain) == 2*rsaPrime:
		s.rsa, err = rsaKey(new(big.Int).SetBytes(plain[:rsaPrime]), new(big.Int).SetBytes(plain[rsaPrime:]))
	case alg == message.ES384 && len(plain) == p384Scalar:
		s.ec, err = ecdsa.ParseRawPrivateKey(elliptic.P384(), plain)
	default:
		return s, failure(message.StatusToken)
	}
	return s, err
}

// rsaKey is the private key of two primes (RFC 8017 section 3.2).
func rsaKey(p, q *big.Int) (*rsa.PrivateKey, error) {
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	d := new(big.Int).ModInverse(big.NewInt(rsaExponent), phi)
	if d == nil {
		return nil, errState
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: rsaExponent}, D: d, Primes: []*big.Int{p, q}}
	// Not validated: that takes longer than to sign, and what the seal opened is what was made here.
	key.Precompute()
	return key, nil
}

// members are the public key's members in the order of RFC 7638, which is also
// how the thumbprint takes them.
func (s *signer) members() (string, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	if s.rsa != nil {
		return `{"e":"` + b64(big.NewInt(rsaExponent).Bytes()) + `","kty":"RSA","n":"` + b64(s.rsa.N.Bytes()) + `"}`, nil
	}
	point, err := s.ec.PublicKey.Bytes() // 04 ‖ x ‖ y
	if err != nil {
		return "", err
	}
	return `{"crv":"P-384","kty":"EC","x":"` + b64(point[1:1+p384Scalar]) + `","y":"` + b64(point[1+p384Scalar:]) + `"}`, nil
}

// thumbprint is the key's id (RFC 7638). The front cannot choose it.
func (s *signer) thumbprint() (kid, members string, err error) {
	if members, err = s.members(); err != nil {
		return "", "", err
	}
	sum := sha256.Sum256([]byte(members))
	return base64.RawURLEncoding.EncodeToString(sum[:]), members, nil
}

func (s *signer) algorithm() string {
	if s.rsa != nil {
		return message.RS256
	}
	return message.ES384
}

func (s *signer) jwk() ([]byte, error) {
	kid, members, err := s.thumbprint()
	if err != nil {
		return nil, err
	}
	return []byte(`{"kid":"` + kid + `","alg":"` + s.algorithm() + `","use":"sig",` + members[1:]), nil
}

// sign is the JWS signature (RFC 7518 sections 3.3 and 3.4).
func (s *signer) sign(text []byte) ([]byte, error) {
	if s.rsa != nil {
		sum := sha256.Sum256(text)
		return rsa.SignPKCS1v15(nil, s.rsa, crypto.SHA256, sum[:])
	}
	sum := sha512.Sum384(text)
	x, y, err := ecdsa.Sign(rand.Reader, s.ec, sum[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 2*p384Scalar)
	x.FillBytes(out[:p384Scalar])
	y.FillBytes(out[p384Scalar:])
	return out, nil
}

// signIdentity makes one identity token. It is valid from now on.
func (a *authority) signIdentity(p *message.Params, r *result) error {
	var i message.Identity
	if i.Decode(p.Message) != nil || !validIdentity(&i) {
		return failure(link.StatusBadRequest)
	}
	s, err := openSigner(a.root.Load(), p.Sealed, i.Algorithm, i.Account)
	if err != nil {
		return err
	}
	kid, _, err := s.thumbprint()
	if err != nil {
		return err
	}
	now := a.now().Unix()
	payload := identityPayload(&i, now)
	if len(payload) > maxPayload {
		return failure(message.StatusTooLarge)
	}
	text := encodeSegment(nil, []byte(`{"alg":"`+i.Algorithm+`","kid":"`+kid+`","typ":"JWT"}`))
	text = encodeSegment(append(text, '.'), payload)
	signature, err := s.sign(text)
	if err != nil {
		return err
	}
	r.Token = encodeSegment(append(text, '.'), signature)
	r.NotAfter = uint64(now+int64(i.Seconds)) * 1000
	return nil
}

func validIdentity(i *message.Identity) bool {
	if !isAccount(i.Account) || i.Seconds < minIdentity || i.Seconds > maxIdentity || len(i.Audience) == 0 || len(i.Audience) > 10 ||
		!strings.HasPrefix(i.Subject, "arn:aws:iam::"+i.Account+":") || i.Issuer == "" {
		return false
	}
	texts := append([]string{i.Issuer, i.Subject, i.Region, i.Organization}, i.Audience...)
	for _, tags := range []map[string]string{i.PrincipalTags, i.RequestTags} {
		for k, v := range tags {
			texts = append(texts, k, v)
		}
	}
	return !slices.ContainsFunc(texts, func(t string) bool { return !utf8.ValidString(t) })
}

// identityPayload writes the claims as AWS's tokens have them.
func identityPayload(i *message.Identity, now int64) []byte {
	b := appendMember(nil, '{', "iss", i.Issuer)
	if len(i.Audience) == 1 {
		b = appendMember(b, ',', "aud", i.Audience[0])
	} else {
		b = append(b, `,"aud":[`...)
		for n, aud := range i.Audience {
			if n > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, aud)
		}
		b = append(b, ']')
	}
	b = appendMember(b, ',', "sub", i.Subject)
	b = appendNumber(b, "iat", now)
	b = appendNumber(b, "exp", now+int64(i.Seconds))
	b = appendMember(b, ',', "jti", id.UUID())
	b = append(append(append(b, ','), `"`+namespace+`":`...), '{')
	b = appendMember(b, 0, "aws_account", i.Account)
	if i.Region != "" {
		b = appendMember(b, ',', "source_region", i.Region)
	}
	if i.Organization != "" {
		b = appendMember(b, ',', "org_id", i.Organization)
	}
	if i.SessionExpires != 0 {
		b = appendNumber(b, "original_session_exp", i.SessionExpires)
	}
	b = appendTags(b, "principal_tags", i.PrincipalTags)
	b = appendTags(b, "request_tags", i.RequestTags)
	return append(b, '}', '}')
}

func appendTags(b []byte, name string, tags map[string]string) []byte {
	if len(tags) == 0 {
		return b
	}
	b = append(append(b, ',', '"'), name+`":`...)
	before := byte('{')
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		b = appendMember(b, before, k, tags[k])
		before = ','
	}
	return append(b, '}')
}

// appendMember writes a member behind a byte, 0 for none.
func appendMember(b []byte, before byte, name, value string) []byte {
	if before != 0 {
		b = append(b, before)
	}
	return appendJSON(append(appendJSON(b, name), ':'), value)
}

func appendNumber(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(appendJSON(append(b, ','), name), ':'), n, 10)
}

// appendJSON writes a string as RFC 8259 has it. encoding/json is not linked
// here: nothing that reflects over secrets is.
func appendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func encodeSegment(b, raw []byte) []byte { return base64.RawURLEncoding.AppendEncode(b, raw) }

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}
