package directory

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/arn"
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

// SessionsOf names what an account may revoke of its own. Exactly one field is set.
type SessionsOf struct {
	// AccessKeyID of a session (ASIA...) means that session; of a user (AKIA...),
	// whether it still exists or not, all sessions that were made with it.
	AccessKeyID string
	Principal   string // ARN of a role, of a user, or of the account's root
	Account     bool   // everybody's
}

// Revoked says what a revocation has done.
type Revoked struct {
	Epoch  uint64    // of the authority's log
	Before time.Time // sessions issued until then have ended; zero: one session, whenever it was issued
}

// RevokeSessions ends sessions of an account, for good and effective when it
// returns (I-5). Of those of a principal, a key or an account only what was
// issued until before is touched; zero means now. Long-term keys themselves are
// not touched: see UpdateAccessKey.
//
// Another account's things cannot be named: they do not exist here (I-7).
func (d *Directory) RevokeSessions(ctx context.Context, account string, of SessionsOf, before time.Time) (Revoked, error) {
	if _, err := d.need(account); err != nil {
		return Revoked{}, err
	}
	what := authority.Revocation{IssuedBefore: before} // zero: the authority's present
	if now := d.clock.Now(); before.IsZero() || before.After(now) {
		what.IssuedBefore, before = time.Time{}, now // what does not exist yet cannot be revoked
	}
	switch {
	case of.Account:
		what.Account = account
	case of.Principal != "":
		a, err := arn.Parse(of.Principal)
		principal, ok := d.ResolvePrincipal(of.Principal)
		kind, _ := a.Split()
		if err != nil || !ok || a.Service != "iam" || a.Account != account || principal == "" && a.Resource != "root" {
			return Revoked{}, refuse(NoSuchEntity, "The principal %s cannot be found.", of.Principal)
		}
		if principal == "" {
			principal = account // root's unique id is the account's
		} else if kind != "role" && kind != "user" {
			return Revoked{}, refuse(NoSuchEntity, "The principal %s has no sessions.", of.Principal)
		}
		what.PrincipalID, what.By = principal, account
	default:
		owner, err := id.AccessKeyAccount(of.AccessKeyID)
		if err != nil || owner != account {
			return Revoked{}, refuse(NoSuchEntity, "The Access Key with id %s cannot be found.", of.AccessKeyID)
		}
		if strings.HasPrefix(of.AccessKeyID, "ASIA") {
			// Nothing is stored of a session: whether there is one of that id nobody knows but its holder.
			what, before = authority.Revocation{AccessKeyID: of.AccessKeyID, By: account}, time.Time{}
		} else {
			what.CredentialID = of.AccessKeyID
		}
	}
	epoch, err := d.authority.Revoke(ctx, what)
	if err != nil {
		return Revoked{}, fmt.Errorf("%w: revoke sessions: %w", ErrUnavailable, err)
	}
	return Revoked{Epoch: epoch, Before: before}, nil
}
