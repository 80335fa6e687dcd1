package message

import (
	"errors"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// MaxLinks is how many links one call may have: with signatures of SigV4A they
// fill most of a frame.
const MaxLinks = 500

// A Link is one signature of a body that is sent in chunks (sigv4 section 5):
// it covers the signature before it and the hash of a chunk, or of the block
// of trailers. What was hashed stays with the host.
type Link struct {
	Trailer   bool
	Hash      [32]byte
	Signature []byte // 32 bytes, or ASN.1 DER
}

var errLinks = errors.New("message: malformed links")

// EncodeLinks encodes the links of one call.
func EncodeLinks(links []Link) ([]byte, error) {
	if len(links) == 0 || len(links) > MaxLinks {
		return nil, errLinks
	}
	b := link.AppendArray(make([]byte, 0, 16+len(links)*112), len(links))
	for i := range links {
		l := &links[i]
		kind := uint64(0)
		if l.Trailer {
			kind = 1
		}
		b = link.AppendUint(link.AppendArray(b, 3), kind)
		b = link.AppendBytes(link.AppendBytes(b, l.Hash[:]), l.Signature)
	}
	return b, nil
}

// DecodeLinks calls each with the links in order, until it returns false. The
// signatures point into b.
func DecodeLinks(b []byte, each func(*Link) bool) error {
	r := link.NewReader(b)
	n := r.Array()
	if n == 0 || n > MaxLinks {
		return errLinks
	}
	var l Link
	for ; n > 0; n-- {
		if r.Array() != 3 {
			return errLinks
		}
		kind := r.Uint()
		hash := r.Bytes()
		l.Signature = r.Bytes()
		if r.Failed() || kind > 1 || len(hash) != len(l.Hash) {
			return errLinks
		}
		l.Trailer, l.Hash = kind == 1, [32]byte(hash)
		if !each(&l) {
			return nil
		}
	}
	if r.Done() != nil {
		return errLinks
	}
	return nil
}
