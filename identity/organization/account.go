package organization

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/directory"
)

// ClosedLife is how long a closed account is shown as SUSPENDED; after it it is
// CLOSED. Nothing else changes then: it never acts again, and its keys stay.
const ClosedLife = 90 * 24 * time.Hour

// AccessRole is what the role of the management account in a new account is
// called unless the call names it.
const AccessRole = "OrganizationAccountAccessRole"

// An Account is a member of an organization.
type Account struct {
	ID, ARN, Email, Name, Path string
	Created                    bool // by the organization; else invited
	Joined                     time.Time
	Closed                     bool
	Gone                       bool // closed for longer than ClosedLife
}

// account is the exported form. Caller holds mu or write.
func (o *Organizations) account(org, id string) Account {
	m := o.st.members[id]
	d, _ := o.directory.Account(id)
	a := Account{
		ID: id, ARN: arnOf(o.st.orgs[org].rec.Management, "account", org, id), Email: o.email(id), Name: d.Name,
		Path: o.path(org, m.rec.Parent), Created: m.rec.Created, Joined: instant(m.rec.Joined),
	}
	if c, ok := o.st.closed[id]; ok {
		a.Closed = true
		a.Gone = !o.clock.Now().Before(instant(c.rec.Since).Add(ClosedLife))
	}
	return a
}

// Account finds a member.
func (o *Organizations) Account(org, id string) (Account, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if m, ok := o.st.members[id]; !ok || m.rec.Org != org {
		return Account{}, errAccount
	}
	return o.account(org, id), nil
}

// Accounts are all members, by number.
func (o *Organizations) Accounts(org string) []Account {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var all []Account
	for id, m := range o.st.members {
		if m.rec.Org == org {
			all = append(all, o.account(org, id))
		}
	}
	slices.SortFunc(all, func(a, b Account) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// AccountsUnder are the members right under a root or unit.
func (o *Organizations) AccountsUnder(org, parent string) ([]Account, error) {
	children, err := o.Children(org, parent, KindAccount)
	if err != nil {
		return nil, err
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	var all []Account
	for _, c := range children {
		if m, ok := o.st.members[c.ID]; ok && m.rec.Org == org {
			all = append(all, o.account(org, c.ID))
		}
	}
	return all, nil
}

// A Creation is a request to create an account.
type Creation struct {
	ID, Name, Account    string // Account: empty unless it succeeded
	State                string // IN_PROGRESS, SUCCEEDED, FAILED
	Reason               string // of a failure
	Requested, Completed time.Time
}

// States of a creation.
const (
	InProgress = "IN_PROGRESS"
	Succeeded  = "SUCCEEDED"
	Failed     = "FAILED"
)

func creationOf(id string, rec *creationRecord) Creation {
	c := Creation{ID: id, Name: rec.Name, State: rec.State, Reason: rec.Reason, Requested: instant(rec.Requested), Completed: instant(rec.Completed)}
	if rec.State == Succeeded {
		c.Account = rec.Account
	}
	return c
}

// Creation finds a request to create an account.
func (o *Organizations) Creation(org, id string) (Creation, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	h, ok := o.st.creations[org][id]
	if !ok {
		return Creation{}, refuse(CreationNotFound, "You specified a create account request that doesn't exist.")
	}
	return creationOf(id, h.rec), nil
}

// Creations are all requests to create accounts, the newest first.
func (o *Organizations) Creations(org string) []Creation {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var all []Creation
	for id, h := range o.st.creations[org] {
		all = append(all, creationOf(id, h.rec))
	}
	slices.SortFunc(all, func(a, b Creation) int {
		if c := b.Requested.Compare(a.Requested); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// A NewAccount is the input of CreateAccount.
type NewAccount struct {
	Name, Email, Role string
	Tags              []Tag
}

var roleName = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)

// CreateAccount makes a member account with one role, which the management
// account may assume and which may do everything: the way that AWS gives the
// organization into an account of its own making. The account has no enrolment
// code and can never get one, so nobody else has a way in, the operator
// included; who works in it gets in by what the role sets up.
//
// It is a member before it exists, so that there is no moment at which it is
// outside of the organization's policies. opened is called when the account
// exists, before anybody can act in it.
func (o *Organizations) CreateAccount(ctx context.Context, org string, in NewAccount, opened func(ctx context.Context, account string) error) (Creation, error) {
	if in.Role == "" {
		in.Role = AccessRole
	}
	if !roleName.MatchString(in.Role) {
		return Creation{}, invalid("INVALID_ROLE_NAME", "You provided a role name that isn't valid.")
	}
	if err := checkTags(in.Tags); err != nil {
		return Creation{}, err
	}
	request, account, management := "car-"+random(32), o.free(), ""
	err := o.change(ctx, func(t *tx) error {
		h, ok := o.st.orgs[org]
		if !ok {
			return errNotInUse
		}
		management = h.rec.Management
		members := 0
		rec := &creationRecord{Name: in.Name, Account: account, Role: in.Role, State: InProgress, Requested: o.clock.Now().UnixMilli()}
		for _, m := range o.st.members {
			if m.rec.Org != org {
				continue
			}
			members++
			if strings.EqualFold(m.rec.Email, in.Email) {
				// As with AWS the request is taken, and fails.
				rec.State, rec.Reason, rec.Completed, rec.Account = Failed, "EMAIL_ALREADY_EXISTS", rec.Requested, ""
			}
		}
		if members >= o.quotas.Accounts {
			return violates("ACCOUNT_NUMBER_LIMIT_EXCEEDED", "You have exceeded the allowed number of AWS accounts in your organization.")
		}
		t.org(org, h, nil)
		t.put(keyIn(sectionCreation, org, request), rec, 0)
		if rec.State == InProgress {
			t.put(key(sectionMember, account), &memberRecord{
				Org: org, Parent: h.rec.Root, Email: in.Email, Created: true, Joined: rec.Requested, Tags: tagRecords(in.Tags),
			}, 0)
		}
		return nil
	})
	if err != nil {
		return Creation{}, err
	}
	if c, err := o.Creation(org, request); err != nil || c.State == Failed {
		return c, err
	}
	err = o.directory.OpenMember(ctx, directory.NewMember{Account: account, Name: in.Name, Role: in.Role, Management: management})
	if errors.Is(err, directory.ErrUnavailable) {
		// Whether the account is in the store is not known; the next start settles the request by what is there.
		return Creation{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err == nil {
		err = opened(ctx, account)
	}
	if done := o.complete(context.WithoutCancel(ctx), org, request); done != nil {
		return Creation{}, done // the next start settles it
	}
	if err != nil {
		return Creation{}, fmt.Errorf("organization: open a member account: %w", err)
	}
	return o.Creation(org, request)
}

// free is an account number that nobody has.
func (o *Organizations) free() string {
	for {
		account := id.Account()
		if _, taken := o.directory.Account(account); !taken {
			return account
		}
	}
}

// complete settles a request by what the directory has: an account that was
// opened is a member, one that was not is none.
func (o *Organizations) complete(ctx context.Context, org, request string) error {
	return o.change(ctx, func(t *tx) error {
		c, ok := o.st.creations[org][request]
		if !ok || c.rec.State != InProgress {
			return nil
		}
		rec := clone(c)
		rec.State, rec.Completed = Succeeded, o.clock.Now().UnixMilli()
		t.org(org, o.st.orgs[org], nil)
		if _, ok := o.directory.Account(rec.Account); !ok {
			if m, ok := o.st.members[rec.Account]; ok && m.rec.Org == org {
				t.delete(key(sectionMember, rec.Account), m.mod)
			}
			rec.State, rec.Reason, rec.Account = Failed, "INTERNAL_FAILURE", ""
		}
		t.put(keyIn(sectionCreation, org, request), rec, c.mod)
		return nil
	})
}

// resume settles the requests that a crash left half done.
func (o *Organizations) resume(ctx context.Context) error {
	type request struct{ org, id string }
	var open []request
	o.mu.RLock()
	for org, all := range o.st.creations {
		for id, c := range all {
			if c.rec.State == InProgress {
				open = append(open, request{org, id})
			}
		}
	}
	o.mu.RUnlock()
	for _, r := range open {
		if err := o.complete(ctx, r.org, r.id); err != nil {
			return err
		}
	}
	return nil
}

// CloseAccount ends an account for good. From the moment that the call returns
// nobody acts in it and nobody uses what is in it. Nothing of it is deleted.
func (o *Organizations) CloseAccount(ctx context.Context, org, account string) error {
	return o.change(ctx, func(t *tx) error {
		h, ok := o.st.orgs[org]
		m, member := o.st.members[account]
		switch {
		case !ok:
			return errNotInUse
		case !member || m.rec.Org != org:
			return errAccount
		case h.rec.Management == account:
			return violates("CANNOT_CLOSE_MANAGEMENT_ACCOUNT", "You attempted to close the management account. To close the management account for the organization, you must first either remove or close all member accounts in the organization.")
		case len(m.rec.Delegated) > 0:
			return violates("CANNOT_REMOVE_DELEGATED_ADMINISTRATOR_FROM_ORG", "You attempted to close an account that is designated as a delegated administrator for a service enabled by your organization.")
		}
		if _, closed := o.st.closed[account]; closed {
			return refuse(AccountAlreadyClosed, "You attempted to close an account that is already closed.")
		}
		t.org(org, h, nil)
		t.put(key(sectionClosed, account), &closedRecord{Since: o.clock.Now().UnixMilli()}, 0)
		return nil
	})
}

// LeaveOrganization takes the calling account out of its organization.
func (o *Organizations) LeaveOrganization(ctx context.Context, account string) error {
	return o.change(ctx, func(t *tx) error { return o.part(t, account) })
}

// RemoveAccount takes a member out of its organization; it goes on by itself.
func (o *Organizations) RemoveAccount(ctx context.Context, org, account string) error {
	return o.change(ctx, func(t *tx) error {
		if m, ok := o.st.members[account]; !ok || m.rec.Org != org {
			return errAccount
		}
		return o.part(t, account)
	})
}

func (o *Organizations) part(t *tx, account string) error {
	m, ok := o.st.members[account]
	if !ok {
		return errNotInUse
	}
	h, ok := o.st.orgs[m.rec.Org]
	switch _, closed := o.st.closed[account]; {
	case !ok:
		return errInternal
	case h.rec.Management == account:
		return refuse(MasterCannotLeave, "You can't remove a management account from an organization. If you want the management account to become a member account in another organization, you must first delete the current organization of the management account.")
	case len(m.rec.Delegated) > 0:
		return violates("CANNOT_REMOVE_DELEGATED_ADMINISTRATOR_FROM_ORG", "You attempted to remove an account that is registered as a delegated administrator.")
	case closed:
		return violates("ACCOUNT_CANNOT_LEAVE_ORGANIZATION", "A closed account stays in its organization.")
	}
	for _, c := range o.st.creations[m.rec.Org] {
		if c.rec.Account == account && c.rec.State == InProgress {
			return violates("ACCOUNT_CREATION_NOT_COMPLETE", "Your account setup isn't complete or your account isn't fully active.")
		}
	}
	t.org(m.rec.Org, h, nil)
	t.delete(key(sectionMember, account), m.mod)
	return nil
}
