package hsm

import (
	"bytes"
	"context"
	"errors"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// A DomainKeyID names a domain key.
type DomainKeyID = [8]byte

// DomainKeyOf reads under which domain key a key token is sealed, which is in
// its public header (hsm-domain section 6); false for what is no token.
func DomainKeyOf(ekt []byte) (id DomainKeyID, ok bool) {
	const magic = "LGE1"
	if len(ekt) < len(magic)+len(id) || !bytes.HasPrefix(ekt, []byte(magic)) {
		return id, false
	}
	return DomainKeyID(ekt[len(magic):]), true
}

// ReportUnused tells the HSM under which domain keys a full pass over all key
// tokens has found none. With the next new domain key the HSM destroys those
// of them that the domain's retention lets go of; it does not take the caller's
// word for that. The report ends with any change of the domain.
func (c *Client) ReportUnused(ctx context.Context, ids []DomainKeyID) error {
	var data []byte
	for _, id := range ids {
		data = append(data, id[:]...)
	}
	return c.call(ctx, message.OpUnused, nil, &message.Params{Data: data}, nil)
}

// ReportUnused tells all members. One that has another state of the domain
// destroys nothing, and follows the one that does.
func (p *Pool) ReportUnused(ctx context.Context, ids []DomainKeyID) error {
	var problems []error
	for _, m := range p.Members() {
		if err := m.ReportUnused(ctx, ids); err != nil && !errors.Is(err, ErrStale) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
