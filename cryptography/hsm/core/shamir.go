package core

import (
	"crypto/rand"
	"errors"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// Shamir's secret sharing over GF(2^8) with the polynomial of AES, byte by
// byte (A. Shamir, How to Share a Secret, 1979). There are no tables and no
// branches on secret bytes: both would show them to a cache.

// gfMul multiplies in GF(2^8) modulo x^8+x^4+x^3+x+1.
func gfMul(a, b byte) (p byte) {
	for range 8 {
		p ^= a & -(b & 1)
		carry := -(a >> 7)
		a = a<<1 ^ 0x1b&carry
		b >>= 1
	}
	return p
}

// gfInverse is a^254, which is 1/a (and 0 for 0).
func gfInverse(a byte) byte {
	square := gfMul(a, a)
	r := square
	for range 6 { // 2+4+8+16+32+64+128 = 254
		square = gfMul(square, square)
		r = gfMul(r, square)
	}
	return r
}

// A share is one point of the polynomials: x from 1 on, and y for each byte
// of the secret.
type share struct {
	x byte
	y []byte
}

var errShares = errors.New("core: these shares do not make a secret")

// split makes n shares of which any t make the secret, and fewer say nothing
// of it.
func split(whole []byte, t, n int) ([]share, error) {
	if t < 2 || t > n || n > 255 {
		return nil, errShares
	}
	shares := make([]share, n)
	for i := range shares {
		shares[i] = share{x: byte(i + 1), y: make([]byte, len(whole))}
	}
	coefficients := make([]byte, t)
	defer secret.Wipe(coefficients)
	for at, b := range whole {
		coefficients[0] = b
		rand.Read(coefficients[1:])
		for _, s := range shares {
			// Horner's rule, from the highest coefficient down.
			y := byte(0)
			for k := t - 1; k >= 0; k-- {
				y = gfMul(y, s.x) ^ coefficients[k]
			}
			s.y[at] = y
		}
	}
	return shares, nil
}

// combine is the value at 0 of the polynomials through the shares. It cannot
// know whether they are enough, or right: whoever asks checks what comes out.
func combine(shares []share) ([]byte, error) {
	if len(shares) < 2 {
		return nil, errShares
	}
	seen := [256]bool{0: true}
	for _, s := range shares {
		if seen[s.x] || len(s.y) != len(shares[0].y) {
			return nil, errShares
		}
		seen[s.x] = true
	}
	whole := make([]byte, len(shares[0].y))
	for i, s := range shares {
		// Lagrange's coefficient at 0; subtraction is XOR.
		l := byte(1)
		for k, other := range shares {
			if k != i {
				l = gfMul(l, gfMul(other.x, gfInverse(other.x^s.x)))
			}
		}
		for at := range whole {
			whole[at] ^= gfMul(l, s.y[at])
		}
	}
	return whole, nil
}
