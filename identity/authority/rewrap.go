package authority

import (
	"context"

	"github.com/leadglass/leadglass/identity/authority/message"
)

// RewrapRoot makes the authority have its root key's token sealed anew, if it
// is not under the HSM's active domain key yet, and says under which it is.
// With the zero id it only says so. It fails when the HSM that the authority
// talks to is gone; then the token is brought up to date at the next start.
func (c *Client) RewrapRoot(ctx context.Context, active [8]byte) (now [8]byte, err error) {
	p := message.Params{}
	if active != [8]byte{} {
		p.Message = active[:]
	}
	err = c.call(ctx, message.OpRewrapRoot, &p, func(r *message.Result) error {
		if copy(now[:], r.Message) != len(now) {
			return ErrInternal
		}
		return nil
	})
	return now, err
}
