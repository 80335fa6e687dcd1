package core

import (
	"bytes"
	"compress/flate"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// The session token of sts-and-fas section 4:
//
//	base64( 'L' ‖ 01 ‖ key id[4] ‖ IV[12] ‖ AES-256-GCM(K_tok, deflate(claims)) )
//
// with AAD "lg-sts-v1" ‖ access key id. Messages of DecodeAuthorizationMessage
// have the same envelope, another key, the AAD "lg-authz-v1" ‖ account, and
// the time of sealing (u64be ms) before the deflated text.
const (
	envelopeMagic  = 'L'
	envelopeV1     = 1
	envelopeHeader = 2 + 4
	tokenAAD       = "lg-sts-v1"
	messageAAD     = "lg-authz-v1"
	secretInfo     = "lg-sts-secret-v1"

	maxInflated = 64 << 10
	maxMessage  = 24 << 10
	messageLife = 24 * time.Hour
	longest     = 36 * time.Hour
)

// session is an opened token.
type session struct {
	key     keyID
	claims  message.Claims
	origin  string // account of the access key or provider at the start of the chain, or ""
	encoded []byte // the claims as the host gets them
}

// session opens a token, and checks that it is of this access key and still
// good. tag stands for the token in caches.
func (a *authority) session(akid string, token []byte) (s *session, tag [32]byte, err error) {
	if len(token) > message.MaxToken {
		return nil, tag, failure(message.StatusToken)
	}
	tag = sha256.Sum256(token)
	at := sha256.Sum256(append([]byte(akid), tag[:]...))
	s, ok := a.sessions.get(at)
	if !ok {
		if s, err = a.openToken(akid, token); err != nil {
			return nil, tag, err
		}
		a.sessions.put(at, s)
	}
	if !a.now().Before(s.claims.Expires) {
		return nil, tag, failure(message.StatusExpired)
	}
	if a.revocations.revoked(akid, s) {
		return nil, tag, failure(message.StatusRevoked)
	}
	return s, tag, nil
}

func (a *authority) openToken(akid string, token []byte) (*session, error) {
	key, plain, err := a.openEnvelope(token, purposeToken, tokenAAD+akid)
	if err != nil {
		return nil, err
	}
	s := &session{key: key}
	if s.encoded, err = inflate(plain); err != nil || s.claims.Decode(s.encoded) != nil {
		return nil, failure(message.StatusToken)
	}
	s.origin, _ = id.AccessKeyAccount(s.claims.CredentialID) // or of the OpenID Connect provider, whose id is made alike
	a.revocations.seen(s.claims.Issued)
	return s, nil
}

// sealEnvelope seals under the active keys.
func (a *authority) sealEnvelope(key keyID, purpose int, aad string, plain []byte) ([]byte, error) {
	out := make([]byte, 0, envelopeHeader+gcmOverhead+len(plain))
	out = append(append(out, envelopeMagic, envelopeV1), key[:]...)
	err := a.tokens.use(key, purpose, func(aead cipher.AEAD) error {
		out = aead.Seal(out, nil, plain, []byte(aad))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(nil, out), nil
}

// openEnvelope reverses sealEnvelope. Everything that is wrong with a token is
// the same refusal.
func (a *authority) openEnvelope(text []byte, purpose int, aad string) (key keyID, plain []byte, err error) {
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(raw, text)
	raw = raw[:max(n, 0)]
	if err != nil || len(raw) < envelopeHeader+gcmOverhead || raw[0] != envelopeMagic || raw[1] != envelopeV1 ||
		bytes.ContainsAny(text, "\r\n") { // which the decoder would ignore
		return key, nil, failure(message.StatusToken)
	}
	copy(key[:], raw[2:])
	err = a.tokens.use(key, purpose, func(aead cipher.AEAD) error {
		plain, err = aead.Open(nil, nil, raw[envelopeHeader:], []byte(aad))
		return err
	})
	if err != nil {
		return key, nil, failure(message.StatusToken)
	}
	return key, plain, nil
}

// issueSession makes session credentials.
func (a *authority) issueSession(p *message.Params, r *result) error {
	var claims message.Claims
	if claims.Decode(p.Claims) != nil {
		return failure(link.StatusBadRequest)
	}
	now := a.now()
	switch claims.Type {
	case message.AssumedRole, message.SessionToken, message.Federated, message.RootTask:
	default:
		return failure(link.StatusBadRequest)
	}
	if !claims.Expires.After(now) || claims.Expires.Sub(now) > longest+time.Minute {
		return failure(link.StatusBadRequest)
	}
	// Who shows a second factor is told by its code alone, and not by the host.
	var factor message.Factor
	if claims.MFA != nil {
		return failure(link.StatusBadRequest)
	}
	if len(p.Message) > 0 {
		if factor.Parse(p.Message) != nil || factor.Serial == "" || len(factor.Codes) != message.CodeLen || !digits(factor.Codes) {
			return failure(link.StatusBadRequest)
		}
		claims.MFA = &now
	}
	rand.Read(claims.SessionID[:])
	claims.Issued = a.revocations.issue(now)
	akid, err := id.AccessKey("ASIA", claims.Account)
	if err != nil {
		return failure(link.StatusBadRequest)
	}
	encoded, err := claims.Encode()
	if err != nil || len(encoded) > maxInflated {
		return failure(message.StatusTooLarge)
	}
	packed, err := a.deflater.deflate(nil, encoded)
	if err != nil {
		return err
	}
	key, err := a.tokens.active(a)
	if err != nil {
		return err
	}
	token, err := a.sealEnvelope(key, purposeToken, tokenAAD+akid, packed)
	if err != nil {
		return err
	}
	if len(token) > message.MaxToken {
		return failure(message.StatusTooLarge)
	}
	if claims.MFA != nil {
		// Last: a call that fails otherwise uses no code up.
		if err := a.useCode(&factor); err != nil {
			return err
		}
	}
	if err := a.tokens.secret(&session{key: key, claims: claims}, akid, &r.secret); err != nil {
		return err
	}
	r.AccessKeyID, r.Token, r.Secret = []byte(akid), token, r.secret[:]
	return nil
}

// secret derives the secret of a session: the first 40 characters of base64 of
// HKDF-SHA256(K_sec, salt = session id, info, 30 bytes).
func (t *tokenKeys) secret(s *session, akid string, dst *[message.SecretLen]byte) error {
	generation := t.get(s.key)
	if generation == nil {
		return failure(message.StatusToken)
	}
	return generation.keys[purposeSecret].Use(func(ksec []byte) error {
		raw, err := hkdf.Key(sha256.New, ksec, s.claims.SessionID[:], secretInfo+akid, 30)
		if err != nil {
			return err
		}
		base64.StdEncoding.Encode(dst[:], raw)
		secret.Wipe(raw)
		return nil
	})
}

// sealMessage seals the details of a refusal.
func (a *authority) sealMessage(p *message.Params, r *result) error {
	if len(p.Account) != 12 || len(p.Message) > maxMessage {
		return failure(link.StatusBadRequest)
	}
	plain := binary.BigEndian.AppendUint64(nil, uint64(a.now().UnixMilli()))
	plain, err := a.deflater.deflate(plain, p.Message)
	if err != nil {
		return err
	}
	key, err := a.tokens.active(a)
	if err != nil {
		return err
	}
	r.Message, err = a.sealEnvelope(key, purposeMessage, messageAAD+p.Account, plain)
	return err
}

func (a *authority) openMessage(p *message.Params, r *result) error {
	_, plain, err := a.openEnvelope(p.Message, purposeMessage, messageAAD+p.Account)
	if err != nil || len(plain) < 8 {
		return failure(message.StatusToken)
	}
	sealed := time.UnixMilli(int64(binary.BigEndian.Uint64(plain)))
	if a.now().Sub(sealed) > messageLife {
		return failure(message.StatusExpired)
	}
	if r.Message, err = inflate(plain[8:]); err != nil {
		return failure(message.StatusToken)
	}
	return nil
}

// deflater compresses. The state of a compressor is over a megabyte, so there
// is one, and nothing secret is given to it.
type deflater struct {
	mu sync.Mutex
	w  *flate.Writer // guarded by mu; made on first use
}

// maxStored is the longest text that is not worth compressing: a token of it is
// far from its limit, and setting up the compressor costs twice what the rest
// of issuing a session does.
const maxStored = 1 << 10

// deflate appends the compressed text to dst; a short one as the single stored
// block that RFC 1951 section 3.2.4 has for it.
func (d *deflater) deflate(dst, text []byte) ([]byte, error) {
	if n := uint16(len(text)); len(text) <= maxStored {
		dst = append(dst, 1) // BFINAL, BTYPE 00
		dst = binary.LittleEndian.AppendUint16(dst, n)
		dst = binary.LittleEndian.AppendUint16(dst, ^n)
		return append(dst, text...), nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out := bytes.NewBuffer(dst)
	if d.w == nil {
		w, err := flate.NewWriter(out, flate.DefaultCompression)
		if err != nil {
			return nil, err
		}
		d.w = w
	} else {
		d.w.Reset(out)
	}
	if _, err := d.w.Write(text); err != nil {
		return nil, err
	}
	if err := d.w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func inflate(packed []byte) ([]byte, error) {
	// One stored block needs no decompressor.
	if n := len(packed) - 5; n >= 0 && n <= maxStored && packed[0] == 1 &&
		binary.LittleEndian.Uint16(packed[1:]) == uint16(n) && binary.LittleEndian.Uint16(packed[3:]) == ^uint16(n) {
		return bytes.Clone(packed[5:]), nil
	}
	in := flate.NewReader(bytes.NewReader(packed))
	text, err := io.ReadAll(io.LimitReader(in, maxInflated+1))
	if err != nil || len(text) > maxInflated {
		return nil, failure(message.StatusToken)
	}
	return text, nil
}
