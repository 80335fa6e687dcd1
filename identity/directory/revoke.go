package directory

import (
	"context"
	"fmt"
)

// revokeCredential tells the authority that a credential is gone for good.
// Setting a key inactive is not told: it may come back, and Credential answers
// for it (Active, SessionsSince) on every request.
func (d *Directory) revokeCredential(ctx context.Context, account, accessKeyID string) error {
	if d.revoker == nil {
		return nil
	}
	if err := d.revoker.RevokeCredential(ctx, account, accessKeyID); err != nil {
		// The key is deleted and refused here; the caller must know that caches were not reached.
		return fmt.Errorf("%w: revoke %s: %w", ErrUnavailable, accessKeyID, err)
	}
	return nil
}

// revokePrincipal tells the authority that a user or role is gone.
func (d *Directory) revokePrincipal(ctx context.Context, account, id string) error {
	if d.revoker == nil {
		return nil
	}
	if err := d.revoker.RevokePrincipal(ctx, account, id); err != nil {
		return fmt.Errorf("%w: revoke %s: %w", ErrUnavailable, id, err)
	}
	return nil
}
