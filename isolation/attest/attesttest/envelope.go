package attesttest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// walk reads a message as the C SDK for enclaves does (section 5 of
// kms-recipient-attestation): forward only; of an element with an indefinite
// length it takes the header, of one with a definite length the whole.
type walk struct {
	all []byte
	at  int
	err error
}

// An Envelope is what differs between messages. The parts point into the
// message, unless the content came in pieces.
type Envelope struct {
	SKI     []byte // SHA-256 of the recipient's SPKI
	Wrapped []byte // content key
	IV      []byte
	Content []byte
}

func (w *walk) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at byte %d: %s", w.at, fmt.Sprintf(format, args...))
	}
}

// head takes tag and length; n is -1 for an indefinite one.
func (w *walk) head(tag byte) (n int) {
	if w.err != nil || len(w.all)-w.at < 2 {
		w.fail("the end")
		return 0
	}
	if w.all[w.at] != tag {
		w.fail("tag %02x, not %02x", w.all[w.at], tag)
		return 0
	}
	l := w.all[w.at+1]
	w.at += 2
	switch {
	case l == 0x80:
		return -1
	case l < 0x80:
		n = int(l)
	case l == 0x81 && w.at < len(w.all) && w.all[w.at] >= 0x80:
		n = int(w.all[w.at])
		w.at++
	case l == 0x82 && w.at+1 < len(w.all) && w.all[w.at] > 0:
		n = int(w.all[w.at])<<8 | int(w.all[w.at+1])
		w.at += 2
	default:
		w.fail("length %02x", l)
		return 0
	}
	if n > len(w.all)-w.at {
		w.fail("an element of %d bytes", n)
		return 0
	}
	return n
}

func (w *walk) open(tag byte) {
	if w.head(tag) != -1 {
		w.fail("tag %02x has a definite length", tag)
	}
}

func (w *walk) whole(tag byte) []byte {
	n := w.head(tag)
	if n < 0 {
		w.fail("tag %02x has an indefinite length", tag)
		return nil
	}
	w.at += n
	return w.all[w.at-n : w.at]
}

func (w *walk) exactly(h string) {
	want, _ := hex.DecodeString(h)
	if w.err != nil || !bytes.HasPrefix(w.all[w.at:], want) {
		w.fail("not %s", h)
		return
	}
	w.at += len(want)
}

// ParseEnvelope reads a CiphertextForRecipient, and takes nothing but the form of
// kms-recipient-attestation section 4, and of older answers.
func ParseEnvelope(b []byte) (p Envelope, err error) {
	w := &walk{all: b}
	w.open(0x30)
	w.exactly("06092a864886f70d010703")
	w.open(0xa0)
	w.open(0x30)
	w.exactly("020102")
	set := w.whole(0x31)
	in := &walk{all: set}
	one := &walk{all: in.whole(0x30)}
	if in.at != len(set) {
		w.fail("a second recipient")
	}
	one.exactly("020102")
	p.SKI = one.whole(0x80)
	// Both forms of the parameters are read: the one we write, and that of older answers.
	if bytes.HasPrefix(one.all[one.at:], []byte{0x30, 0x0d}) {
		one.exactly("300d06092a864886f70d0101073000")
	} else {
		one.exactly("303c06092a864886f70d010107302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500")
	}
	p.Wrapped = one.whole(0x04)
	if one.at != len(one.all) {
		one.fail("trailing bytes in the recipient")
	}
	w.open(0x30)
	w.exactly("06092a864886f70d010701" + "301d" + "060960864801650304012a")
	p.IV = w.whole(0x04)
	w.open(0xa0)
	for w.err == nil && w.at < len(b) && b[w.at] == 0x04 {
		piece := w.whole(0x04)
		if p.Content == nil {
			p.Content = piece
		} else {
			p.Content = append(bytes.Clone(p.Content), piece...)
		}
	}
	w.exactly("00000000000000000000")
	if w.at != len(b) {
		w.fail("trailing bytes")
	}
	return p, errors.Join(w.err, in.err, one.err)
}

// OpenEnvelope decrypts one as an enclave does.
func OpenEnvelope(key *rsa.PrivateKey, b []byte) ([]byte, error) {
	p, err := ParseEnvelope(b)
	if err != nil {
		return nil, err
	}
	cek, err := rsa.DecryptOAEP(sha256.New(), nil, key, p.Wrapped, nil)
	if err != nil || len(cek) != 32 || len(p.IV) != 16 || len(p.Content) == 0 || len(p.Content)%16 != 0 {
		return nil, fmt.Errorf("content key of %d bytes, IV of %d, content of %d: %w", len(cek), len(p.IV), len(p.Content), err)
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(p.Content))
	cipher.NewCBCDecrypter(block, p.IV).CryptBlocks(out, p.Content)
	n := int(out[len(out)-1])
	if n < 1 || n > 16 || !bytes.Equal(out[len(out)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errors.New("padding")
	}
	return out[:len(out)-n], nil
}
