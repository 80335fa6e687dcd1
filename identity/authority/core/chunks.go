package core

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// emptyHash is the hex SHA-256 of nothing, which stands for the headers that a
// chunk does not have (sigv4 section 5).
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// A chain is the part that the strings to sign of one body's chunks share.
// They are put together here, from fields, so that a host has nothing checked
// here but chunks and trailers.
type chain struct {
	asymmetric     bool
	scope          scope
	chunk, trailer []byte // up to where the previous signature stands
	previous       []byte
	text           []byte // scratch
}

func newChain(p *message.Params) (*chain, bool) {
	c := &chain{
		asymmetric: p.Algorithm == algorithmV4A, previous: p.Previous,
		scope: scope{p.Date, p.Region, p.Service}, text: make([]byte, 0, maxToSign),
	}
	where := p.Date + "/" + p.Region + "/" + p.Service
	if c.asymmetric {
		where = p.Date + "/" + p.Service
	}
	if p.Algorithm != algorithm && !c.asymmetric || c.asymmetric && p.Region != "" || !c.scope.validFor(c.asymmetric) ||
		!validTime(p.Time) || p.Time[:8] != p.Date || !c.validSignature(p.Previous) {
		return nil, false
	}
	rest := "\n" + p.Time + "\n" + where + "/" + terminator + "\n"
	c.chunk = []byte(p.Algorithm + "-PAYLOAD" + rest)
	c.trailer = []byte(p.Algorithm + "-TRAILER" + rest)
	return c, true
}

func (c *chain) validSignature(sig []byte) bool {
	if c.asymmetric {
		return len(sig) > 0 && len(sig) <= maxDER
	}
	return len(sig) == 32
}

// toSign is the string to sign of a link; it is good until the next call.
func (c *chain) toSign(l *message.Link) []byte {
	if l.Trailer {
		c.text = append(c.text[:0], c.trailer...)
	} else {
		c.text = append(c.text[:0], c.chunk...)
	}
	c.text = append(hex.AppendEncode(c.text, c.previous), '\n')
	if !l.Trailer {
		c.text = append(append(c.text, emptyHash...), '\n')
	}
	c.text = hex.AppendEncode(c.text, l.Hash[:])
	c.previous = l.Signature
	return c.text
}

// witnessChunks checks the signatures of consecutive chunks: all, or none.
func (a *authority) witnessChunks(p *message.Params, r *result) error {
	chain, ok := newChain(p)
	if !ok {
		return failure(link.StatusBadRequest)
	}
	c, known, err := a.resolve(p)
	if err != nil {
		return err
	}
	walk := func(verify func(sts, sig []byte) bool) (match bool, err error) {
		match = true
		err = message.DecodeLinks(p.Links, func(l *message.Link) bool {
			match = chain.validSignature(l.Signature) && verify(chain.toSign(l), l.Signature)
			return match
		})
		if err != nil {
			return false, failure(link.StatusBadRequest)
		}
		return match, nil
	}
	if chain.asymmetric {
		var malformed error
		err := a.checkV4A(&c, known, func(key *ecdsa.PublicKey) bool {
			match, err := walk(func(sts, sig []byte) bool {
				hash := sha256.Sum256(sts)
				return ecdsa.VerifyASN1(key, hash[:], sig)
			})
			malformed = err
			return match
		})
		if malformed != nil {
			return malformed
		}
		return err
	}
	return a.checkV4(&c, known, chain.scope, func(key []byte) (bool, error) {
		var want [32]byte
		defer secret.Wipe(want[:])
		return walk(func(sts, sig []byte) bool {
			kdf.HMAC(&want, key, sts)
			return subtle.ConstantTimeCompare(want[:], sig) == 1
		})
	})
}

// maxPolicy is what S3 takes of a form.
const maxPolicy = 20 << 10

// witnessPost checks the signature of a form upload to S3 (sigv4 section 1),
// whose string to sign is the policy's text. In base64 alone nothing can be
// the string to sign of a request or a chunk, which have line feeds.
func (a *authority) witnessPost(p *message.Params, r *result) error {
	s := scope{p.Date, p.Region, p.Service}
	asymmetric := p.Algorithm == algorithmV4A
	if p.Algorithm != algorithm && !asymmetric || !s.validFor(asymmetric) || len(p.StringToSign) > maxPolicy || !isBase64(p.StringToSign) {
		return failure(link.StatusBadRequest)
	}
	if asymmetric && (len(p.Signature) == 0 || len(p.Signature) > maxDER) || !asymmetric && len(p.Signature) != 32 {
		return failure(link.StatusBadRequest)
	}
	c, known, err := a.resolve(p)
	if err != nil {
		return err
	}
	if asymmetric {
		err = a.checkV4A(&c, known, func(key *ecdsa.PublicKey) bool {
			hash := sha256.Sum256(p.StringToSign)
			return ecdsa.VerifyASN1(key, hash[:], p.Signature)
		})
	} else {
		err = a.checkV4(&c, known, s, func(key []byte) (bool, error) {
			var want [32]byte
			defer secret.Wipe(want[:])
			kdf.LongHMAC(&want, key, p.StringToSign)
			return subtle.ConstantTimeCompare(want[:], p.Signature) == 1, nil
		})
	}
	if err == nil && c.sess != nil {
		r.Claims = c.sess.encoded
	}
	return err
}

func isBase64(b []byte) bool {
	for _, c := range b {
		if c == '\r' || c == '\n' { // which the decoder would skip
			return false
		}
	}
	_, err := base64.StdEncoding.Strict().DecodeString(string(b))
	return err == nil && len(b) > 0
}
