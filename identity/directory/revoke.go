package directory

import (
	"context"
	"fmt"

	"github.com/leadglass/leadglass/identity/authority"
)

// revoke tells the authority that what was issued so far on a credential or to
// a principal is void.
func (d *Directory) revoke(ctx context.Context, what authority.Revocation) error {
	if _, err := d.authority.Revoke(ctx, what); err != nil {
		// The change stands and is in force here; the caller must know that caches were not reached.
		return fmt.Errorf("%w: revoke: %w", ErrUnavailable, err)
	}
	return nil
}
