package sigv4

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// KeyPair derives the key pair of SigV4A from a secret access key (section 4):
// SP 800-108 in counter mode gives candidates, of which FIPS 186 takes the
// first that is in range. Unlike V4's key it depends on neither day, region
// nor service.
func KeyPair(accessKeyID string, secret []byte) (*ecdsa.PrivateKey, error) {
	key := make([]byte, 0, 5+len(secret))
	key = append(append(key, "AWS4A"...), secret...)
	defer clear(key)
	input := make([]byte, 0, 4+len(AlgorithmV4A)+1+len(accessKeyID)+1+4)
	input = binary.BigEndian.AppendUint32(input, 1)
	input = append(append(input, AlgorithmV4A...), 0)
	input = append(append(input, accessKeyID...), 0) // the last is the external counter
	counter := len(input) - 1
	input = binary.BigEndian.AppendUint32(input, 256)
	for c := 1; c <= 254; c++ {
		input[counter] = byte(c)
		d, ok := candidate(hmac(key, input))
		if !ok {
			continue // the chance is 2^-32: even a test must look for such a key
		}
		defer clear(d[:])
		return ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	}
	return nil, errors.New("sigv4: no key pair can be derived")
}

// orderMinus2 is n-2 for the order n of P-256.
var orderMinus2 = [32]byte{
	0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
}

// candidate returns k+1 if k <= n-2. Both the comparison and the increment
// touch every byte whatever it holds: a candidate is a private key. That the
// comparison's outcome shows is FIPS 186's own: a refused candidate is none.
func candidate(k [32]byte) (d [32]byte, ok bool) {
	var borrow uint // of n-2-k
	carry := uint(1)
	for i := 31; i >= 0; i-- {
		borrow = (uint(orderMinus2[i]) - uint(k[i]) - borrow) >> 8 & 1
		sum := uint(k[i]) + carry
		d[i], carry = byte(sum), sum>>8
	}
	return d, borrow == 0
}

// SignV4A is a signature of a string to sign: ASN.1 DER, another one each time.
func SignV4A(key *ecdsa.PrivateKey, stringToSign []byte) ([]byte, error) {
	digest := sha256.Sum256(stringToSign)
	return ecdsa.SignASN1(rand.Reader, key, digest[:])
}

// VerifyV4A says whether der is a signature of a string to sign. A high s is
// accepted, as AWS's clients do not normalise it (section 4).
func VerifyV4A(key *ecdsa.PublicKey, stringToSign, der []byte) bool {
	digest := sha256.Sum256(stringToSign)
	return ecdsa.VerifyASN1(key, digest[:], der)
}
