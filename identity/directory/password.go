package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/state/kv"
)

// Passwords are stored data: nothing signs in by one. They are kept for tools
// that manage login profiles, as salted hashes that only the authority can read.

// A PasswordPolicy is what an account asks of passwords.
type PasswordPolicy struct {
	MinimumLength                  int // 6..128
	Symbols, Numbers, Upper, Lower bool
	AllowUsersToChange, HardExpiry bool
	MaxAge                         int // days, 1..1095; 0: passwords do not expire
	ReusePrevention                int // 1..24; 0: none
}

// A LoginProfile says that a user has a password.
type LoginProfile struct {
	UserName      string
	Created       time.Time
	Changed       time.Time // when the password was last set
	ResetRequired bool
}

type passwordPolicyRecord struct {
	MinimumLength   int  `cbor:"1,keyasint"`
	Symbols         bool `cbor:"2,keyasint,omitempty"`
	Numbers         bool `cbor:"3,keyasint,omitempty"`
	Upper           bool `cbor:"4,keyasint,omitempty"`
	Lower           bool `cbor:"5,keyasint,omitempty"`
	UsersChange     bool `cbor:"6,keyasint,omitempty"`
	HardExpiry      bool `cbor:"7,keyasint,omitempty"`
	MaxAge          int  `cbor:"8,keyasint,omitempty"`
	ReusePrevention int  `cbor:"9,keyasint,omitempty"`
}

// A loginRecord is the login profile of the user under whose unique id it rests.
type loginRecord struct {
	Created int64  `cbor:"1,keyasint"`
	Changed int64  `cbor:"2,keyasint"`
	Reset   bool   `cbor:"3,keyasint,omitempty"`
	Sealed  []byte `cbor:"4,keyasint"`
}

// login is the place of one login profile.
type login struct {
	rec *loginRecord // guarded by realm.write and realm.mu
	mod kv.Rev       // guarded by realm.write and realm.mu
}

// passwordPolicyID is the id of the one record of its section.
const passwordPolicyID = "account"

// setPasswordPolicy replaces the policy; nil removes it. Caller holds r.mu.
func (r *realm) setPasswordPolicy(rec *passwordPolicyRecord, mod kv.Rev) {
	r.passwordPolicy, r.passwordPolicyMod = rec, mod
}

// setLogin replaces a login profile; rec nil removes it. Caller holds r.mu.
func (r *realm) setLogin(id string, rec *loginRecord, mod kv.Rev) {
	if rec == nil {
		delete(r.logins, id)
		return
	}
	r.logins[id] = &login{rec, mod}
}

func noPasswordPolicy(account string) error {
	return refuse(NoSuchEntity, "The Password Policy with domain name %s cannot be found.", account)
}

// GetAccountPasswordPolicy is the policy that the account has set.
func (d *Directory) GetAccountPasswordPolicy(account string) (PasswordPolicy, error) {
	r, err := d.need(account)
	if err != nil {
		return PasswordPolicy{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.passwordPolicy == nil {
		return PasswordPolicy{}, noPasswordPolicy(account)
	}
	return r.passwordPolicy.public(), nil
}

func (p *passwordPolicyRecord) public() PasswordPolicy {
	return PasswordPolicy{
		MinimumLength: p.MinimumLength, Symbols: p.Symbols, Numbers: p.Numbers, Upper: p.Upper, Lower: p.Lower,
		AllowUsersToChange: p.UsersChange, HardExpiry: p.HardExpiry, MaxAge: p.MaxAge, ReusePrevention: p.ReusePrevention,
	}
}

// UpdateAccountPasswordPolicy sets the whole policy. It applies to passwords
// that are set from then on.
func (d *Directory) UpdateAccountPasswordPolicy(ctx context.Context, account string, p PasswordPolicy) error {
	if err := p.valid(); err != nil {
		return err
	}
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		t.put(recordKey(account, sectionPasswordPolicy, passwordPolicyID), passwordPolicyRecord{
			MinimumLength: p.MinimumLength, Symbols: p.Symbols, Numbers: p.Numbers, Upper: p.Upper, Lower: p.Lower,
			UsersChange: p.AllowUsersToChange, HardExpiry: p.HardExpiry, MaxAge: p.MaxAge, ReusePrevention: p.ReusePrevention,
		}, r.passwordPolicyMod)
		return nil
	})
}

// valid refuses what AWS's limits do not allow.
func (p PasswordPolicy) valid() error {
	limit := func(member string, v, low, high int) error {
		if v < low || v > high {
			return refuse(ValidationError, "1 validation error detected: Value '%d' at '%s' failed to satisfy constraint: Member must have value between %d and %d", v, member, low, high)
		}
		return nil
	}
	return errors.Join(limit("minimumPasswordLength", p.MinimumLength, 6, 128), limit("maxPasswordAge", p.MaxAge, 0, 1095),
		limit("passwordReusePrevention", p.ReusePrevention, 0, 24))
}

// DeleteAccountPasswordPolicy goes back to AWS's default policy.
func (d *Directory) DeleteAccountPasswordPolicy(ctx context.Context, account string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		if r.passwordPolicy == nil {
			return noPasswordPolicy(account)
		}
		t.delete(recordKey(account, sectionPasswordPolicy, passwordPolicyID), r.passwordPolicyMod)
		return nil
	})
}

// symbols are those that AWS's policy counts.
const symbols = "!@#$%^&*()_+-=[]{}|'"

// conforms says whether a password fulfils the policy; nil is AWS's default:
// eight characters of three of the four kinds, and not the account's own name.
func (p *passwordPolicyRecord) conforms(password, accountName string) bool {
	lower := strings.ContainsFunc(password, func(c rune) bool { return c >= 'a' && c <= 'z' })
	upper := strings.ContainsFunc(password, func(c rune) bool { return c >= 'A' && c <= 'Z' })
	number := strings.ContainsFunc(password, func(c rune) bool { return c >= '0' && c <= '9' })
	symbol := strings.ContainsAny(password, symbols)
	n := utf8.RuneCountInString(password)
	if p != nil {
		return n >= p.MinimumLength && (lower || !p.Lower) && (upper || !p.Upper) && (number || !p.Numbers) && (symbol || !p.Symbols)
	}
	kinds := 0
	for _, has := range []bool{lower, upper, number, symbol} {
		if has {
			kinds++
		}
	}
	return n >= 8 && kinds >= 3 && !strings.EqualFold(password, accountName)
}

// A NewPassword is what CreateLoginProfile, UpdateLoginProfile and
// ChangePassword set.
type NewPassword struct {
	Password      string
	Old           string // ChangePassword: the password so far
	ResetRequired *bool  // nil: as it is
}

func noLogin(user string) error {
	return refuse(NoSuchEntity, "Login Profile for User %s cannot be found.", user)
}

// CreateLoginProfile gives a user a password.
func (d *Directory) CreateLoginProfile(ctx context.Context, account, user string, in NewPassword) (LoginProfile, error) {
	return d.setPassword(ctx, account, user, in, func(e *entity, l *login) error {
		if l != nil {
			return refuse(EntityAlreadyExists, "Login Profile for user %s already exists.", e.rec.Name)
		}
		return nil
	})
}

// UpdateLoginProfile sets the password anew, or only whether it must be changed.
func (d *Directory) UpdateLoginProfile(ctx context.Context, account, user string, in NewPassword) error {
	exists := func(e *entity, l *login) error {
		if l == nil {
			return noLogin(e.rec.Name)
		}
		return nil
	}
	if in.Password != "" {
		_, err := d.setPassword(ctx, account, user, in, exists)
		return err
	}
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		e, err := r.find(UserKind, user)
		if err != nil {
			return err
		}
		l := r.logins[e.rec.ID]
		if err := exists(e, l); err != nil || in.ResetRequired == nil {
			return err
		}
		rec := *l.rec
		rec.Reset = *in.ResetRequired
		t.put(recordKey(account, sectionLogin, e.rec.ID), rec, l.mod)
		return nil
	})
}

// ChangePassword is a user's own change, who must know the password so far.
func (d *Directory) ChangePassword(ctx context.Context, account, user string, in NewPassword) error {
	in.ResetRequired = new(false)
	_, err := d.setPassword(ctx, account, user, in, func(e *entity, l *login) error {
		if l == nil {
			return noLogin(e.rec.Name)
		}
		p := e.realm.passwordPolicy
		if p != nil && p.HardExpiry && p.MaxAge > 0 && d.clock.Now().Sub(instant(l.rec.Changed)) >= time.Duration(p.MaxAge)*24*time.Hour {
			return refuse(AccessDenied, "The password has expired. It must be set by an administrator.")
		}
		return nil
	})
	return err
}

// setPassword has the authority hash a password that conforms to the policy,
// and stores what it answers if look still agrees then.
func (d *Directory) setPassword(ctx context.Context, account, user string, in NewPassword, look func(*entity, *login) error) (LoginProfile, error) {
	var out LoginProfile
	r, err := d.need(account)
	if err != nil {
		return out, err
	}
	if d.factors == nil {
		return out, errNoFactors
	}
	p := authority.Password{New: []byte(in.Password), Old: []byte(in.Old)}
	// The strings that they were decoded into cannot be wiped; these can.
	defer secret.Wipe(p.New)
	defer secret.Wipe(p.Old)
	var before *loginRecord
	prepare := func() error {
		r.mu.RLock()
		defer r.mu.RUnlock()
		e, err := r.find(UserKind, user)
		if err != nil {
			return err
		}
		l := r.logins[e.rec.ID]
		if err := look(e, l); err != nil {
			return err
		}
		if !r.passwordPolicy.conforms(in.Password, r.accountRec.Name) {
			return refuse(PasswordPolicyViolation, "Password does not conform to the account password policy.")
		}
		p.User = e.rec.ID
		if l != nil {
			before, p.Sealed = l.rec, l.rec.Sealed
		}
		if r.passwordPolicy != nil {
			p.Reuse = r.passwordPolicy.ReusePrevention
		}
		return nil
	}
	if err := prepare(); err != nil {
		return out, err
	}
	sealed, err := d.factors.SetPassword(ctx, p)
	switch {
	case errors.Is(err, authority.ErrPassword):
		return out, refuse(AccessDenied, "The old password was incorrect.")
	case errors.Is(err, authority.ErrReused):
		return out, refuse(PasswordPolicyViolation, "Policy constraint violation with password reuse prevention during password change.")
	case err != nil:
		return out, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	err = d.change(ctx, r, func(t *tx) error {
		e, err := r.find(UserKind, user)
		if err != nil {
			return err
		}
		l := r.logins[e.rec.ID]
		if err := look(e, l); err != nil {
			return err
		}
		now := d.clock.Now().UnixMilli()
		rec := loginRecord{Created: now, Changed: now, Sealed: sealed}
		var mod kv.Rev
		if l != nil {
			rec.Created, rec.Reset, mod = l.rec.Created, l.rec.Reset, l.mod
		}
		if e.rec.ID != p.User || (l == nil) != (before == nil) || l != nil && string(l.rec.Sealed) != string(before.Sealed) {
			return refuse(ConcurrentModification, "The login profile was changed at the same time.")
		}
		if in.ResetRequired != nil {
			rec.Reset = *in.ResetRequired
		}
		if !e.rec.Login {
			// Here too, so that deleting the user collides in the store.
			owner := *e.rec
			owner.Login = true
			t.put(recordKey(account, sectionEntity, owner.ID), owner, e.mod)
		}
		t.put(recordKey(account, sectionLogin, e.rec.ID), rec, mod)
		out = rec.public(e.rec.Name)
		return nil
	})
	return out, err
}

func (l *loginRecord) public(user string) LoginProfile {
	return LoginProfile{UserName: user, Created: instant(l.Created), Changed: instant(l.Changed), ResetRequired: l.Reset}
}

// GetLoginProfile says whether a user has a password.
func (d *Directory) GetLoginProfile(account, user string) (LoginProfile, error) {
	return view(d, account, UserKind, user, func(e *entity) (LoginProfile, error) {
		l := e.realm.logins[e.rec.ID]
		if l == nil {
			return LoginProfile{}, noLogin(e.rec.Name)
		}
		return l.rec.public(e.rec.Name), nil
	})
}

// DeleteLoginProfile takes a user's password away, and forgets the earlier ones.
func (d *Directory) DeleteLoginProfile(ctx context.Context, account, user string) error {
	return d.alter(ctx, account, UserKind, user, func(t *tx, e *entity, rec *entityRecord) error {
		l := e.realm.logins[rec.ID]
		if l == nil {
			return noLogin(rec.Name)
		}
		rec.Login = false
		t.delete(recordKey(account, sectionLogin, rec.ID), l.mod)
		return nil
	})
}
