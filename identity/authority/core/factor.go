package core

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
	"github.com/leadglass/leadglass/identity/authority/qr"
)

// The sealed record of a virtual MFA device:
//
//	"LGM1" ‖ root id[4] ‖ device id[16] ‖ KDF nonce[16] ‖ IV[12] ‖ seed[40] ‖ drift[1] ‖ tag[16]
//
// key = KDF(record key, "leadglass factor v1", KDF nonce), AAD = bytes 0..39 ‖
// "lg-mfa-v1" ‖ serial number. The serial number is the device's ARN, so a
// record opens for one device of one account. The device id is drawn once and
// stays when the record is sealed anew; codes are counted by it, so that a
// record moved under another name brings no fresh attempts.
const (
	factorMagic  = "LGM1"
	factorHeader = len(factorMagic) + 4 + 16 + kdfNonce
	factorLen    = factorHeader + gcmOverhead + message.SeedLen + 1
	factorAAD    = "lg-mfa-v1"
	factorLabel  = "leadglass factor v1"
)

const (
	stepLength = 30 // seconds (RFC 6238 section 4)
	// window is how many steps a code may be early or late (RFC 6238 section 5.2 recommends one).
	window = 1
	// search is how far the clock of a device may be off when it is paired. Two consecutive codes are guessed a
	// million times less likely than one, so it may be wider.
	search   = 10
	maxLabel = 700
)

// device is an opened record.
type device struct {
	id    [16]byte
	seed  [message.SeedLen]byte
	drift int8 // steps by which its clock is ahead
}

func (d *device) wipe() { secret.Wipe(d.seed[:]) }

func factorBound(header []byte, serial string) []byte {
	b := make([]byte, 0, factorHeader+len(factorAAD)+len(serial))
	return append(append(append(b, header[:factorHeader]...), factorAAD...), serial...)
}

func sealFactor(r *root, serial string, d *device) ([]byte, error) {
	out := make([]byte, 0, factorLen)
	out = append(append(append(out, factorMagic...), r.id[:]...), d.id[:]...)
	out = appendRandom(out, kdfNonce)
	var plain [message.SeedLen + 1]byte
	defer secret.Wipe(plain[:])
	copy(plain[:], d.seed[:])
	plain[message.SeedLen] = byte(d.drift)
	err := derived(r.record, factorLabel, out[factorHeader-kdfNonce:], func(aead cipher.AEAD) error {
		out = aead.Seal(out, nil, plain[:], factorBound(out, serial))
		return nil
	})
	return out, err
}

func openFactor(r *root, f *message.Factor, d *device) error {
	if len(f.Sealed) != factorLen || !bytes.HasPrefix(f.Sealed, []byte(factorMagic)) || [4]byte(f.Sealed[len(factorMagic):]) != r.id {
		return failure(message.StatusCode)
	}
	return derived(r.record, factorLabel, f.Sealed[factorHeader-kdfNonce:factorHeader], func(aead cipher.AEAD) error {
		var plain [message.SeedLen + 1]byte
		defer secret.Wipe(plain[:])
		if _, err := aead.Open(plain[:0], nil, f.Sealed[factorHeader:], factorBound(f.Sealed, f.Serial)); err != nil {
			return failure(message.StatusCode)
		}
		copy(d.id[:], f.Sealed[len(factorMagic)+4:])
		copy(d.seed[:], plain[:])
		d.drift = int8(plain[message.SeedLen])
		return nil
	})
}

// code is HOTP (RFC 4226 section 5.3) of one time step, with six digits.
// crypto/hmac would leave the seed in states on the heap (see package kdf).
func code(seed []byte, step int64) (out [message.CodeLen]byte) {
	var inner [64 + 8]byte
	var outer [64 + sha1.Size]byte
	defer secret.Wipe(inner[:])
	defer secret.Wipe(outer[:])
	for i := range 64 {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i, k := range seed { // at most 64 bytes: seeds are 40, the RFC's 20
		inner[i] ^= k
		outer[i] ^= k
	}
	for i := range 8 {
		inner[64+i] = byte(step >> (8 * (7 - i)))
	}
	sum := sha1.Sum(inner[:])
	copy(outer[64:], sum[:])
	sum = sha1.Sum(outer[:])
	defer secret.Wipe(sum[:])
	at := sum[len(sum)-1] & 15
	n := uint32(sum[at]&0x7f)<<24 | uint32(sum[at+1])<<16 | uint32(sum[at+2])<<8 | uint32(sum[at+3])
	for i := message.CodeLen - 1; i >= 0; i-- {
		out[i] = '0' + byte(n%10)
		n /= 10
	}
	return out
}

func stepOf(t time.Time) int64 { return t.Unix() / stepLength }

// match finds the step in [from, to] whose code (and, if there are two, the
// next step's) was shown. Every step is looked at, whether one was found or not.
func (d *device) match(codes []byte, from, to int64) (step int64, ok bool) {
	for s := from; s <= to; s++ {
		want := code(d.seed[:], s)
		equal := subtle.ConstantTimeCompare(want[:], codes[:message.CodeLen])
		if len(codes) > message.CodeLen {
			want = code(d.seed[:], s+1)
			equal &= subtle.ConstantTimeCompare(want[:], codes[message.CodeLen:])
		}
		if equal == 1 {
			step, ok = s, true
		}
		secret.Wipe(want[:])
	}
	return step, ok
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// newFactor makes a virtual MFA device. Its seed leaves once, in the two forms
// that AWS gives it: base32 text, and a QR code of the otpauth URI.
func (a *authority) newFactor(p *message.Params, r *result) error {
	var f message.Factor
	if f.Parse(p.Message) != nil || f.Serial == "" || len(f.Sealed)+len(f.Codes) > 0 || !label(f.Label) {
		return failure(link.StatusBadRequest)
	}
	var d device
	defer d.wipe()
	rand.Read(d.id[:])
	rand.Read(d.seed[:])
	sealed, err := sealFactor(a.root.Load(), f.Serial, &d)
	if err != nil {
		return err
	}
	var text [message.SeedLen * 8 / 5]byte
	defer secret.Wipe(text[:])
	base32.StdEncoding.Encode(text[:], d.seed[:])
	// The form that AWS documents for CreateVirtualMFADevice; the parameters that it leaves out are their defaults.
	uri := make([]byte, 0, 64+len(f.Label)+len(text))
	defer func() { secret.Wipe(uri[:cap(uri)]) }()
	uri = append(append(uri, "otpauth://totp/"...), f.Label...)
	uri = append(append(append(uri, "?secret="...), text[:]...), "&issuer=Leadglass"...)
	picture, err := qr.PNG(uri)
	if err != nil {
		return failure(link.StatusBadRequest)
	}
	defer secret.Wipe(picture)
	seed64 := base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(len(text))), text[:])
	defer secret.Wipe(seed64)
	picture64 := base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(len(picture))), picture)
	defer secret.Wipe(picture64)
	r.large = message.JoinReveal(make([]byte, 0, 16+len(seed64)+len(picture64)), seed64, picture64)
	r.Sealed, r.Secret = sealed, r.large
	return nil
}

// label says whether s may stand in the path of a URI as it is.
func label(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '%', c == '@', c == ':':
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxLabel
}

// pairFactor finds the clock of a device by two consecutive codes, and seals
// its record anew with what it found.
func (a *authority) pairFactor(p *message.Params, r *result) error {
	var f message.Factor
	if f.Parse(p.Message) != nil || f.Serial == "" || len(f.Codes) != 2*message.CodeLen || !digits(f.Codes) {
		return failure(link.StatusBadRequest)
	}
	root := a.root.Load()
	var d device
	defer d.wipe()
	if err := openFactor(root, &f, &d); err != nil {
		return err
	}
	now := stepOf(a.now())
	err := a.attempts.try(a, d.id, failure(message.StatusCode), func(used int64) (int64, bool) {
		first, ok := d.match(f.Codes, now-search, now+search)
		if !ok || first <= used {
			return 0, false
		}
		if d.drift = int8(first + 1 - now); d.drift >= -window && d.drift <= window {
			d.drift = 0 // that much is how long people take to type
		}
		return first + 1, true
	})
	if err != nil {
		return err
	}
	r.Sealed, err = sealFactor(root, f.Serial, &d)
	return err
}

// useCode checks the code of a device, which is good once.
func (a *authority) useCode(f *message.Factor) error {
	var d device
	defer d.wipe()
	if err := openFactor(a.root.Load(), f, &d); err != nil {
		return err
	}
	now := stepOf(a.now()) + int64(d.drift)
	return a.attempts.try(a, d.id, failure(message.StatusCode), func(used int64) (int64, bool) {
		step, ok := d.match(f.Codes, now-window, now+window)
		return step, ok && step > used
	})
}
