package sessions

import (
	"context"
	"errors"
	"fmt"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

// A ChunkWitness witnesses the chunks of bodies; *authority.Client is one.
type ChunkWitness interface {
	WitnessChunks(ctx context.Context, q authority.Chain) error
}

// Chunks is witness mode for bodies that are sent in chunks: the verifier of
// the body of an authenticated request. It is to be used with
// chunked.WitnessBatch, because each of its answers is a call.
//
// The credential is looked up at every call. A long-term key that is
// deactivated or deleted while its body is under way, or a session that is
// revoked or over, ends the body as well: with an error as Authenticate's.
func Chunks(d *directory.Directory, w ChunkWitness, p *sigv4.Parsed) chunked.Verifier {
	return &chunkWitness{directory: d, witness: w, p: p}
}

type chunkWitness struct {
	directory *directory.Directory
	witness   ChunkWitness
	p         *sigv4.Parsed
	links     []authority.Link
}

func (v *chunkWitness) Verify(ctx context.Context, previous []byte, links []chunked.Link) (ok bool, err error) {
	p := v.p
	q := authority.Chain{
		AccessKeyID: p.AccessKeyID, SessionToken: p.SessionToken, Previous: previous,
		Scope: authority.Scope{Algorithm: p.Algorithm, Time: p.Time, Date: p.Date, Region: p.Region, Service: p.Service},
	}
	if p.Asymmetric() {
		q.Scope.Region = "" // there it is what the region set matched
	}
	if p.SessionToken == "" {
		c, known := v.directory.Credential(p.AccessKeyID)
		if !known || !c.Active {
			return false, sigv4.Refuse(sigv4.UnknownKey)
		}
		q.Sealed = c.Sealed
	}
	v.links = v.links[:0]
	for _, l := range links {
		v.links = append(v.links, authority.Link(l))
	}
	q.Links = v.links
	switch err := v.witness.WitnessChunks(ctx, q); {
	case err == nil:
		return true, nil
	case errors.Is(err, authority.ErrSignature):
		return false, nil
	case errors.Is(err, authority.ErrExpired):
		return false, sigv4.Refuse(sigv4.ExpiredToken)
	case isRefusal(err):
		return false, sigv4.Refuse(sigv4.BadToken)
	default:
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}
