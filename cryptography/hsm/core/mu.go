package core

import (
	"bytes"
	"crypto/sha3"
	"math/bits"

	"filippo.io/mldsa"
)

// verifyMu checks an ML-DSA signature of a message of which only μ is known
// (FIPS 204 algorithm 8 from line 8 on, with the μ of line 7 given). The library signs
// μ but verifies whole messages only, so the arithmetic of verification stands
// here, written down from the standard. All of it is public: key, μ and
// signature; nothing needs constant time. A test compares it with the library
// on the published vectors.
func verifyMu(key *mldsa.PublicKey, mu, sig []byte) bool {
	var p mldsaSet
	switch key.Parameters() {
	case mldsa.MLDSA44():
		p = mldsaSet{k: 4, l: 4, tau: 39, beta: 78, gamma1: 1 << 17, gamma2: (mldsaQ - 1) / 88, omega: 80, challenge: 32}
	case mldsa.MLDSA65():
		p = mldsaSet{k: 6, l: 5, tau: 49, beta: 196, gamma1: 1 << 19, gamma2: (mldsaQ - 1) / 32, omega: 55, challenge: 48}
	case mldsa.MLDSA87():
		p = mldsaSet{k: 8, l: 7, tau: 60, beta: 120, gamma1: 1 << 19, gamma2: (mldsaQ - 1) / 32, omega: 75, challenge: 64}
	default:
		return false
	}
	return len(mu) == muLen && p.verify(key.Bytes(), mu, sig)
}

const mldsaQ = 8380417 // FIPS 204 table 1

// mldsaSet is one column of FIPS 204 table 1.
type mldsaSet struct {
	k, l, tau, omega, challenge int
	beta, gamma1, gamma2        uint32
}

// A ring element: 256 coefficients, each below q.
type ring [256]uint32

func (p *mldsaSet) verify(pk, mu, sig []byte) bool {
	zBits := bits.Len32(p.gamma1-1) + 1
	zLen := 32 * zBits
	if len(pk) != 32+320*p.k || len(sig) != p.challenge+p.l*zLen+p.omega+p.k {
		return false
	}
	rho, t1 := pk[:32], pk[32:]
	challenge, packed := sig[:p.challenge], sig[p.challenge:]
	hints, ok := p.hints(packed[p.l*zLen:])
	if !ok {
		return false
	}
	zetas := zetas()
	z := make([]ring, p.l)
	for i := range z {
		unpack(packed[i*zLen:], zBits, func(j int, v uint32) {
			z[i][j] = (p.gamma1 + mldsaQ - v) % mldsaQ // BitUnpack, algorithm 19
		})
		for _, v := range z[i] {
			if min(v, mldsaQ-v) >= p.gamma1-p.beta {
				return false
			}
		}
		z[i].ntt(&zetas)
	}
	c := p.ball(challenge)
	c.ntt(&zetas)
	h := sha3.NewSHAKE256()
	h.Write(mu)
	for r := range p.k {
		// w = NTT⁻¹(Â∘NTT(z) − NTT(c)∘NTT(t₁·2^13)), one row at a time
		var t, w ring
		unpack(t1[320*r:], 10, func(j int, v uint32) { t[j] = v << 13 % mldsaQ })
		t.ntt(&zetas)
		for s := range p.l {
			a := expand(rho, byte(s), byte(r))
			for j := range w {
				w[j] = uint32((uint64(w[j]) + uint64(a[j])*uint64(z[s][j])) % mldsaQ)
			}
		}
		for j := range w {
			w[j] = uint32((uint64(w[j]) + mldsaQ*mldsaQ - uint64(c[j])*uint64(t[j])) % mldsaQ)
		}
		w.inverse(&zetas)
		for j := range w {
			w[j] = p.useHint(hints[r][j], w[j])
		}
		h.Write(pack(&w, bits.Len32((mldsaQ-1)/(2*p.gamma2)-1)))
	}
	again := make([]byte, p.challenge)
	h.Read(again)
	return bytes.Equal(challenge, again)
}

// hints is HintBitUnpack (algorithm 21), which accepts one encoding only.
func (p *mldsaSet) hints(y []byte) ([][256]bool, bool) {
	h := make([][256]bool, p.k)
	at := 0
	for i := range p.k {
		end := int(y[p.omega+i])
		if end < at || end > p.omega {
			return nil, false
		}
		for first := at; at < end; at++ {
			if at > first && y[at-1] >= y[at] {
				return nil, false
			}
			h[i][y[at]] = true
		}
	}
	for _, b := range y[at:p.omega] {
		if b != 0 {
			return nil, false
		}
	}
	return h, true
}

// useHint is algorithm 40, Decompose (algorithm 36) included.
func (p *mldsaSet) useHint(hint bool, r uint32) uint32 {
	m := (mldsaQ - 1) / (2 * p.gamma2)
	low := r % (2 * p.gamma2)
	high := r / (2 * p.gamma2)
	positive := low > 0 && low <= p.gamma2
	if low > p.gamma2 {
		high++
	}
	if high == m { // r − r₀ = q − 1: r₁ is 0 and r₀ one less, and so not positive
		high, positive = 0, false
	}
	switch {
	case !hint:
		return high
	case positive:
		return (high + 1) % m
	}
	return (high + m - 1) % m
}

// ball is SampleInBall (algorithm 29).
func (p *mldsaSet) ball(seed []byte) (c ring) {
	h := sha3.NewSHAKE256()
	h.Write(seed)
	var signs [8]byte
	h.Read(signs[:])
	var j [1]byte
	for i := 256 - p.tau; i < 256; i++ {
		for h.Read(j[:]); int(j[0]) > i; h.Read(j[:]) {
		}
		c[i] = c[j[0]]
		n := i + p.tau - 256
		c[j[0]] = 1
		if signs[n/8]>>(n%8)&1 == 1 {
			c[j[0]] = mldsaQ - 1
		}
	}
	return c
}

// expand is RejNTTPoly for one place of the matrix (algorithms 30 and 32).
func expand(rho []byte, column, row byte) (a ring) {
	h := sha3.NewSHAKE128()
	h.Write(rho)
	h.Write([]byte{column, row})
	var block [168]byte // the rate of SHAKE128, a multiple of 3
	for n := 0; n < 256; {
		h.Read(block[:])
		for b := block[:]; len(b) > 0 && n < 256; b = b[3:] {
			v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2]&0x7f)<<16
			if v < mldsaQ {
				a[n] = v
				n++
			}
		}
	}
	return a
}

// zetas are the powers of 1753 in bit-reversed order (FIPS 204 appendix B).
func zetas() (z [256]uint32) {
	power := uint64(1)
	for i := range 256 {
		z[bits.Reverse8(uint8(i))] = uint32(power)
		power = power * 1753 % mldsaQ
	}
	return z
}

// ntt is algorithm 41.
func (w *ring) ntt(zetas *[256]uint32) {
	m := 0
	for n := 128; n >= 1; n /= 2 {
		for start := 0; start < 256; start += 2 * n {
			m++
			for j := start; j < start+n; j++ {
				t := uint32(uint64(zetas[m]) * uint64(w[j+n]) % mldsaQ)
				w[j+n] = (w[j] + mldsaQ - t) % mldsaQ
				w[j] = (w[j] + t) % mldsaQ
			}
		}
	}
}

// inverse is algorithm 42.
func (w *ring) inverse(zetas *[256]uint32) {
	m := 256
	for n := 1; n < 256; n *= 2 {
		for start := 0; start < 256; start += 2 * n {
			m--
			zeta := uint64(mldsaQ - zetas[m])
			for j := start; j < start+n; j++ {
				t := w[j]
				w[j] = (t + w[j+n]) % mldsaQ
				w[j+n] = uint32(zeta * uint64(t+mldsaQ-w[j+n]) % mldsaQ)
			}
		}
	}
	for j := range w {
		w[j] = uint32(uint64(w[j]) * 8347681 % mldsaQ) // 256⁻¹ mod q
	}
}

// unpack reads 256 numbers of n bits, the lowest bits first (algorithm 18).
func unpack(b []byte, n int, set func(i int, v uint32)) {
	at := 0
	for i := range 256 {
		v := uint32(0)
		for k := range n {
			v |= uint32(b[at/8]>>(at%8)&1) << k
			at++
		}
		set(i, v)
	}
}

// pack writes 256 numbers of n bits (algorithm 16).
func pack(w *ring, n int) []byte {
	out := make([]byte, 32*n)
	at := 0
	for _, v := range w {
		for k := range n {
			out[at/8] |= byte(v>>k&1) << (at % 8)
			at++
		}
	}
	return out
}
