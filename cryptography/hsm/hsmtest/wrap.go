package hsmtest

import (
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // of two wrapping algorithms
	_ "crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"strings"

	"crypto"
)

// Wrap wraps key material for import as a customer does: for the public key
// (SPKI) and by the algorithm, in AWS's names, of the import parameters.
func Wrap(public []byte, algorithm string, material []byte) ([]byte, error) {
	key, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("hsmtest: %w", err)
	}
	to, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("hsmtest: a wrapping key of type %T", key)
	}
	h := crypto.SHA1
	if strings.HasSuffix(algorithm, "_SHA_256") {
		h = crypto.SHA256
	}
	if strings.HasPrefix(algorithm, "RSAES_OAEP_") {
		return rsa.EncryptOAEP(h.New(), rand.Reader, to, material, nil)
	}
	kek := make([]byte, 32)
	rand.Read(kek)
	head, err := rsa.EncryptOAEP(h.New(), rand.Reader, to, kek, nil)
	if err != nil {
		return nil, err
	}
	tail, err := WrapPadded(kek, material)
	return append(head, tail...), err
}

// WrapPadded wraps a key under an AES key by RFC 5649 section 4.1.
func WrapPadded(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint64(nil, 0xa65959a6<<32|uint64(len(key)))
	out = append(out, key...)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	n := len(out)/8 - 1
	if n == 1 {
		block.Encrypt(out, out)
		return out, nil
	}
	var b [16]byte
	copy(b[:8], out)
	for t := uint64(1); t <= uint64(6*n); t++ {
		r := out[8+8*int((t-1)%uint64(n)):]
		copy(b[8:], r[:8])
		block.Encrypt(b[:], b[:])
		copy(r, b[8:])
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^t)
	}
	copy(out, b[:8])
	return out, nil
}
