package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// EnrolmentLife is how long an enrolment code can be redeemed.
const EnrolmentLife = 7 * 24 * time.Hour

// FirstUser is the user that Redeem makes.
const FirstUser = "administrator"

// CreateAccount opens an account for a customer or, with operator, the
// operator's own. Nobody can act in it before NewEnrolment and Redeem.
func (d *Directory) CreateAccount(ctx context.Context, name string, operator bool) (Account, error) {
	if !validAccountName(name) {
		return Account{}, refuse(ValidationError, "The specified value for name is invalid. It must have 1 to 50 printable characters.")
	}
	for range attempts {
		r := newRealm(id.Account())
		err := d.change(ctx, r, func(t *tx) error {
			if r.accountMod != 0 {
				return refuse(EntityAlreadyExists, "Account %s already exists.", r.account)
			}
			t.insert(accountKey(r.account), accountRecord{Name: name, Created: d.clock.Now().UnixMilli(), Operator: operator})
			return nil
		})
		if CodeOf(err) == EntityAlreadyExists {
			continue
		}
		if err != nil {
			return Account{}, err
		}
		d.mu.Lock()
		d.realms[r.account] = r
		d.mu.Unlock()
		return r.accountOf(), nil
	}
	return Account{}, fmt.Errorf("%w: no free account number found", ErrUnavailable)
}

func validAccountName(name string) bool {
	n := utf8.RuneCountInString(name)
	return n >= 1 && n <= 50 && !strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func (r *realm) accountOf() Account {
	r.mu.RLock()
	defer r.mu.RUnlock()
	a := r.accountRec
	return Account{ID: r.account, Name: a.Name, Created: instant(a.Created), Operator: a.Operator, Enrolled: instant(a.Enrolled)}
}

// Account finds an account.
func (d *Directory) Account(account string) (Account, bool) {
	r := d.realm(account)
	if r == nil {
		return Account{}, false
	}
	return r.accountOf(), true
}

// Accounts lists all accounts in the order of their numbers.
func (d *Directory) Accounts() []Account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]Account, 0, len(d.realms))
	for _, r := range d.realms {
		all = append(all, r.accountOf())
	}
	slices.SortFunc(all, func(a, b Account) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// NewEnrolment makes the one-time code with which the customer redeems the
// first access key of the account. It is returned once and stored as its
// SHA-256 alone. It replaces an earlier code, and is refused with ErrEnrolled
// once a code was redeemed: whoever opens accounts has no second way in, and an
// operator who redeems a code itself leaves the customer with ErrEnrolled.
func (d *Directory) NewEnrolment(ctx context.Context, account string) (code string, err error) {
	r, err := d.need(account)
	if err != nil {
		return "", err
	}
	// 160 bits: nobody finds a code by trying, so Redeem needs no throttle and a
	// plain hash protects it at rest.
	var b [20]byte
	rand.Read(b[:])
	code = "lg-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	hash := sha256.Sum256([]byte(code))
	err = d.change(ctx, r, func(t *tx) error {
		a := r.accountRec
		if a.Enrolled != 0 {
			return ErrEnrolled
		}
		if a.Enrolment != nil {
			t.drop(enrolmentKey(a.Enrolment))
		}
		a.Enrolment = hash[:]
		t.put(accountKey(account), a, r.accountMod)
		t.insert(enrolmentKey(hash[:]), enrolmentRecord{Account: account, Expires: d.clock.Now().Add(EnrolmentLife).UnixMilli()})
		return nil
	})
	if err != nil {
		return "", err
	}
	return code, nil
}

// Redeem exchanges an enrolment code for the first access key of the account:
// the user FirstUser, made here with the policy AdministratorAccess. Code and
// key change hands in one commit, so of two who redeem at once one is refused.
func (d *Directory) Redeem(ctx context.Context, code string) (accessKeyID string, sec *secret.Bytes, err error) {
	hash := sha256.Sum256([]byte(strings.TrimSpace(code)))
	e, err := d.store.Get(ctx, enrolmentKey(hash[:]))
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var en enrolmentRecord
	if err := decode(e.Key, e.Value, e.Mod, &en); err != nil {
		return "", nil, err
	}
	now := d.clock.Now()
	switch {
	case e.Mod == 0:
		return "", nil, ErrEnrolment
	case en.Redeemed != 0:
		return "", nil, ErrEnrolled
	case !now.Before(instant(en.Expires)):
		return "", nil, ErrEnrolment
	}
	r, err := d.need(en.Account)
	if err != nil {
		return "", nil, err
	}
	accessKeyID, sealed, sec, err := d.newKey(ctx, r.account)
	if err != nil {
		return "", nil, err
	}
	err = d.change(ctx, r, func(t *tx) error {
		a := r.accountRec
		if a.Enrolled != 0 {
			return ErrEnrolled
		}
		if string(a.Enrolment) != string(hash[:]) {
			return ErrEnrolment
		}
		ms := now.UnixMilli()
		a.Enrolled = ms
		t.put(accountKey(r.account), a, r.accountMod)
		// The record stays as redeemed, so that a second redemption is told so.
		t.put(enrolmentKey(hash[:]), enrolmentRecord{Account: r.account, Expires: en.Expires, Redeemed: ms}, e.Mod)
		user := entityRecord{
			Kind: UserKind, ID: id.Unique("AIDA"), Name: FirstUser, Path: "/", Created: ms,
			Attached: []string{AdministratorAccess}, Keys: []string{accessKeyID},
		}
		t.index(nameKey(r.account, UserKind, FirstUser), user.ID)
		t.insert(recordKey(r.account, sectionEntity, user.ID), user)
		t.insert(recordKey(r.account, sectionKey, accessKeyID), keyRecord{User: user.ID, Created: ms, Active: true, Sealed: sealed})
		return nil
	})
	if err != nil {
		sec.Destroy()
		return "", nil, err
	}
	return accessKeyID, sec, nil
}

// newKey has the authority make a secret for a new access key id.
func (d *Directory) newKey(ctx context.Context, account string) (accessKeyID string, sealed []byte, sec *secret.Bytes, err error) {
	if accessKeyID, err = id.AccessKey("AKIA", account); err != nil {
		return "", nil, nil, err
	}
	if sealed, sec, err = d.authority.NewSecret(ctx, account, accessKeyID); err != nil {
		return "", nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return accessKeyID, sealed, sec, nil
}
