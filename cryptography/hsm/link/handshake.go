package link

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
)

const (
	// Lifetime is how long a session lasts (hsm-domain section 5: at most 1 h).
	Lifetime = time.Hour
	// renewAfter leaves half of the lifetime for calls under way.
	renewAfter = Lifetime / 2

	helloVersion = 1
	nonceLen     = 32

	helloContext   = "leadglass hsm hello\x00"
	helloOKContext = "leadglass hsm hello-ok\x00"
	sessionInfo    = "leadglass session"
)

// spkiP384 is the DER of a SubjectPublicKeyInfo up to the uncompressed point
// (RFC 5480): id-ecPublicKey, secp384r1. It is written out because crypto/x509
// links the network, which a boundary must not.
var spkiP384 = []byte{
	0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
	0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
}

const pointLen = 97

// NewKey makes the key with which an end of a link proves itself, and its SPKI,
// by which the other end knows it.
func NewKey() (key *ecdsa.PrivateKey, spki []byte, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		return nil, nil, fmt.Errorf("link: key: %w", err)
	}
	spki, err = MarshalPublic(&key.PublicKey)
	return key, spki, err
}

// MarshalPublic returns the SPKI of a P-384 key.
func MarshalPublic(k *ecdsa.PublicKey) ([]byte, error) {
	point, err := k.Bytes()
	if err != nil || len(point) != pointLen {
		return nil, fmt.Errorf("%w: not a P-384 key", ErrAuthentication)
	}
	return append(slices.Clone(spkiP384), point...), nil
}

// ParsePublic reads the SPKI of a P-384 key.
func ParsePublic(spki []byte) (*ecdsa.PublicKey, error) {
	point, ok := bytes.CutPrefix(spki, spkiP384)
	if !ok || len(point) != pointLen {
		return nil, fmt.Errorf("%w: not a P-384 SPKI", ErrAuthentication)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P384(), point)
}

// IDOf is the id of the host (or the member) with this SPKI.
func IDOf(spki []byte) (id HostID) {
	sum := sha256.Sum256(spki)
	copy(id[:], sum[:])
	return id
}

// direction is the cipher of one direction of a session.
type direction struct{ aead cipher.AEAD }

// session is what a handshake agrees on.
type session struct {
	id       [16]byte // first 16 bytes of SHA-256 of the token
	c2s, s2c direction
	host     *Peer // server side
	expires  time.Time
}

func newDirection(sk []byte, label string, nonce []byte) (direction, error) {
	key, err := hkdf.Expand(sha512.New384, sk, label+string(nonce), 32)
	if err != nil {
		return direction{}, err
	}
	defer secret.Wipe(key)
	aead, err := newGCM(key)
	return direction{aead}, err
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// newSession derives the two directions from the session key. The connection
// nonce is both handshake nonces, so no two connections share keys even if
// they shared a session key.
func newSession(sk, token, nonce []byte, expires time.Time) (*session, error) {
	s := &session{expires: expires}
	sum := sha256.Sum256(token)
	copy(s.id[:], sum[:])
	var err error
	if s.c2s, err = newDirection(sk, "c2s", nonce); err != nil {
		return nil, err
	}
	s.s2c, err = newDirection(sk, "s2c", nonce)
	return s, err
}

// agree is AK of hsm-domain section 5: HKDF-SHA-384 over both shared secrets,
// salted with both nonces.
func agree(ecdhSecret, kemSecret, nonce1, nonce2 []byte) ([]byte, error) {
	ikm := append(slices.Clone(ecdhSecret), kemSecret...)
	defer secret.Wipe(ikm)
	return hkdf.Key(sha512.New384, ikm, append(slices.Clone(nonce1), nonce2...), sessionInfo, 32)
}

type hello struct {
	host       HostID
	e1, kem    []byte
	nonce, sig []byte
}

func (h *hello) fields(b []byte, n int) []byte {
	b = AppendMap(b, n)
	b = AppendUint(AppendUint(b, 1), helloVersion)
	b = AppendBytes(AppendUint(b, 2), h.host[:])
	b = AppendBytes(AppendUint(b, 3), h.e1)
	b = AppendBytes(AppendUint(b, 4), h.kem)
	return AppendBytes(AppendUint(b, 5), h.nonce)
}

// digest is what the host signs: the fields 1 to 5.
func (h *hello) digest() []byte { return signedDigest(helloContext, h.fields(nil, 5)) }

func (h *hello) encode() []byte {
	return AppendBytes(AppendUint(h.fields(nil, 6), 6), h.sig)
}

func signedDigest(context string, fields ...[]byte) []byte {
	inner := sha512.New384()
	for _, f := range fields {
		inner.Write(f)
	}
	outer := sha512.New384()
	outer.Write([]byte(context))
	outer.Write(inner.Sum(nil))
	return outer.Sum(nil)
}

// fixed reads the value of key, a byte string of the wanted length.
func fixed(r *Reader, key uint64, n int) []byte {
	if r.Key(key-1) != key {
		r.Fail()
	}
	v := r.Bytes()
	if len(v) != n {
		r.Fail()
		return nil
	}
	return v
}

func number(r *Reader, key uint64) uint64 {
	if r.Key(key-1) != key {
		r.Fail()
	}
	return r.Uint()
}

func variable(r *Reader, key uint64, most int) []byte {
	if r.Key(key-1) != key {
		r.Fail()
	}
	v := r.Bytes()
	if len(v) > most {
		r.Fail()
		return nil
	}
	return v
}

const (
	spkiLen   = 23 + pointLen
	maxSig    = 110  // DER of a P-384 signature is at most 104 bytes
	maxToken  = 1024 // ours has 131
	wrappedSK = 12 + 32 + tagLen
)

func parseHello(b []byte) (*hello, error) {
	r := NewReader(b)
	if r.Map() != 6 || number(r, 1) != helloVersion {
		return nil, errCBOR
	}
	h := &hello{}
	copy(h.host[:], fixed(r, 2, len(h.host)))
	h.e1 = fixed(r, 3, spkiLen)
	h.kem = fixed(r, 4, mlkem.EncapsulationKeySize768)
	h.nonce = fixed(r, 5, nonceLen)
	h.sig = variable(r, 6, maxSig)
	return h, r.Done()
}

type helloOK struct {
	member    HostID
	e2, kem   []byte
	nonce     []byte
	token     []byte
	wrapped   []byte
	serial    uint64
	signature []byte
}

func (h *helloOK) fields(n int) []byte {
	b := AppendMap(nil, n)
	b = AppendUint(AppendUint(b, 1), helloVersion)
	b = AppendBytes(AppendUint(b, 2), h.member[:])
	b = AppendBytes(AppendUint(b, 3), h.e2)
	b = AppendBytes(AppendUint(b, 4), h.kem)
	b = AppendBytes(AppendUint(b, 5), h.nonce)
	b = AppendBytes(AppendUint(b, 6), h.token)
	b = AppendBytes(AppendUint(b, 7), h.wrapped)
	return AppendUint(AppendUint(b, 8), h.serial)
}

// digest binds the answer to the whole HELLO that it answers.
func (h *helloOK) digest(request []byte) []byte {
	return signedDigest(helloOKContext, request, h.fields(8))
}

func (h *helloOK) encode() []byte {
	return AppendBytes(AppendUint(h.fields(9), 9), h.signature)
}

func parseHelloOK(b []byte) (*helloOK, error) {
	r := NewReader(b)
	if r.Map() != 9 || number(r, 1) != helloVersion {
		return nil, errCBOR
	}
	h := &helloOK{}
	copy(h.member[:], fixed(r, 2, len(h.member)))
	h.e2 = fixed(r, 3, spkiLen)
	h.kem = fixed(r, 4, mlkem.CiphertextSize768)
	h.nonce = fixed(r, 5, nonceLen)
	h.token = variable(r, 6, maxToken)
	h.wrapped = fixed(r, 7, wrappedSK)
	h.serial = number(r, 8)
	h.signature = variable(r, 9, maxSig)
	return h, r.Done()
}

// offer is a host's half of a handshake under way.
type offer struct {
	ecdh    *ecdh.PrivateKey
	kem     *mlkem.DecapsulationKey768
	nonce   []byte
	request []byte // the encoded HELLO
}

func newOffer(host *ecdsa.PrivateKey) (*offer, error) {
	spki, err := MarshalPublic(&host.PublicKey)
	if err != nil {
		return nil, err
	}
	o := &offer{nonce: make([]byte, nonceLen)}
	rand.Read(o.nonce)
	if o.ecdh, err = ecdh.P384().GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	if o.kem, err = mlkem.GenerateKey768(); err != nil {
		return nil, err
	}
	h := &hello{
		host:  IDOf(spki),
		e1:    append(slices.Clone(spkiP384), o.ecdh.PublicKey().Bytes()...),
		kem:   o.kem.EncapsulationKey().Bytes(),
		nonce: o.nonce,
	}
	if h.sig, err = ecdsa.SignASN1(rand.Reader, host, h.digest()); err != nil {
		return nil, err
	}
	o.request = h.encode()
	return o, nil
}

// finish checks the answer and derives the session.
func (o *offer) finish(body []byte, server *ecdsa.PublicKey, now time.Time) (*session, error) {
	ok, err := parseHelloOK(body)
	if err != nil {
		return nil, err
	}
	spki, err := MarshalPublic(server)
	if err != nil {
		return nil, err
	}
	if ok.member != IDOf(spki) || !ecdsa.VerifyASN1(server, ok.digest(o.request), ok.signature) {
		return nil, ErrAuthentication
	}
	e2, err := ecdh.P384().NewPublicKey(ok.e2[len(spkiP384):])
	if err != nil || !bytes.HasPrefix(ok.e2, spkiP384) {
		return nil, ErrAuthentication
	}
	dh, err := o.ecdh.ECDH(e2)
	if err != nil {
		return nil, ErrAuthentication
	}
	defer secret.Wipe(dh)
	shared, err := o.kem.Decapsulate(ok.kem)
	if err != nil {
		return nil, ErrAuthentication
	}
	defer secret.Wipe(shared)
	ak, err := agree(dh, shared, o.nonce, ok.nonce)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(ak)
	aead, err := newGCM(ak)
	if err != nil {
		return nil, err
	}
	sk, err := aead.Open(nil, ok.wrapped[:12], ok.wrapped[12:], nil)
	if err != nil {
		return nil, ErrAuthentication
	}
	defer secret.Wipe(sk)
	return newSession(sk, ok.token, append(slices.Clone(o.nonce), ok.nonce...), now.Add(Lifetime))
}

// answer is the boundary's half: it checks a HELLO and returns the HELLO_OK
// and the session.
func (c *ServerConfig) answer(body []byte) ([]byte, *session, error) {
	h, err := parseHello(body)
	if err != nil {
		return nil, nil, err
	}
	peer := c.Host(h.host)
	if peer == nil || !ecdsa.VerifyASN1(peer.Key, h.digest(), h.sig) {
		return nil, nil, ErrAuthentication
	}
	e1, err := ecdh.P384().NewPublicKey(h.e1[len(spkiP384):])
	if err != nil || !bytes.HasPrefix(h.e1, spkiP384) {
		return nil, nil, ErrAuthentication
	}
	kem, err := mlkem.NewEncapsulationKey768(h.kem)
	if err != nil {
		return nil, nil, ErrAuthentication
	}
	own, err := ecdh.P384().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	dh, err := own.ECDH(e1)
	if err != nil {
		return nil, nil, ErrAuthentication
	}
	defer secret.Wipe(dh)
	shared, ct := kem.Encapsulate()
	defer secret.Wipe(shared)

	ok := &helloOK{
		member: IDOf(c.Identity),
		e2:     append(slices.Clone(spkiP384), own.PublicKey().Bytes()...),
		kem:    ct,
		nonce:  make([]byte, nonceLen),
		serial: c.Serial(),
	}
	rand.Read(ok.nonce)
	ak, err := agree(dh, shared, h.nonce, ok.nonce)
	if err != nil {
		return nil, nil, err
	}
	defer secret.Wipe(ak)
	sk := make([]byte, 32)
	defer secret.Wipe(sk)
	if _, err := io.ReadFull(rand.Reader, sk); err != nil {
		return nil, nil, err
	}
	expires := c.Now().Add(Lifetime)
	if ok.token, err = c.sessionToken(sk, h.host, expires); err != nil {
		return nil, nil, err
	}
	aead, err := newGCM(ak)
	if err != nil {
		return nil, nil, err
	}
	// AK encrypts once in its life, so any nonce is fresh; a random one keeps
	// the format the same in FIPS mode.
	ok.wrapped = make([]byte, 12, wrappedSK)
	rand.Read(ok.wrapped)
	ok.wrapped = aead.Seal(ok.wrapped, ok.wrapped[:12], sk, nil)
	if ok.signature, err = c.Sign(ok.digest(body)); err != nil {
		return nil, nil, err
	}
	s, err := newSession(sk, ok.token, append(slices.Clone(h.nonce), ok.nonce...), expires)
	if err != nil {
		return nil, nil, err
	}
	s.host = peer
	return ok.encode(), s, nil
}

// sessionToken seals {SK, host id, expiry, serial} so that any member of the
// domain could take the session over.
func (c *ServerConfig) sessionToken(sk []byte, host HostID, expires time.Time) ([]byte, error) {
	plain := make([]byte, 0, 32+16+8+8)
	plain = append(plain, sk...)
	defer func() { secret.Wipe(plain) }()
	plain = append(plain, host[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(expires.UnixMilli()))
	plain = binary.BigEndian.AppendUint64(plain, c.Serial())
	return c.SealToken(plain)
}
