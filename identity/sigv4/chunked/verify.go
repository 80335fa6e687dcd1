package chunked

import (
	"context"
	"crypto/ecdsa"
	"encoding/hex"

	"github.com/leadglass/leadglass/identity/sigv4"
)

// AppendStringToSign appends what the signature of a link covers (section 5).
// p is the request of which it is the body.
func AppendStringToSign(dst []byte, p *sigv4.Parsed, previous []byte, l *Link) []byte {
	dst = append(dst, p.Algorithm...)
	if l.Trailer {
		dst = append(dst, "-TRAILER\n"...)
	} else {
		dst = append(dst, "-PAYLOAD\n"...)
	}
	dst = p.Time.UTC().AppendFormat(dst, "20060102T150405Z\n")
	dst = append(dst, p.Date...)
	dst = append(dst, '/')
	if !p.Asymmetric() {
		dst = append(append(dst, p.Region...), '/')
	}
	dst = append(append(dst, p.Service...), '/')
	dst = append(append(dst, p.Terminator...), '\n')
	dst = append(hex.AppendEncode(dst, previous), '\n')
	if !l.Trailer {
		// Where an event stream has its headers' hash.
		dst = append(append(dst, sigv4.EmptyHash...), '\n')
	}
	return hex.AppendEncode(dst, l.Hash[:])
}

// Key is a Verifier with V4's signing key at hand: key mode. The key is the
// caller's, who wipes it when the body is read. It serves one body.
func Key(p *sigv4.Parsed, key *[32]byte) Verifier {
	return &keyVerifier{p: p, check: func(sts, sig []byte) bool {
		return len(sig) == 32 && sigv4.Verify(key, sts, (*[32]byte)(sig))
	}}
}

// PublicKey is a Verifier with SigV4A's public key at hand. It serves one body.
func PublicKey(p *sigv4.Parsed, key *ecdsa.PublicKey) Verifier {
	return &keyVerifier{p: p, check: func(sts, sig []byte) bool { return sigv4.VerifyV4A(key, sts, sig) }}
}

type keyVerifier struct {
	p     *sigv4.Parsed
	check func(sts, sig []byte) bool
	text  []byte
}

func (v *keyVerifier) Verify(_ context.Context, previous []byte, links []Link) (bool, error) {
	for i := range links {
		v.text = AppendStringToSign(v.text[:0], v.p, previous, &links[i])
		if !v.check(v.text, links[i].Signature) {
			return false, nil
		}
		previous = links[i].Signature
	}
	return true, nil
}
