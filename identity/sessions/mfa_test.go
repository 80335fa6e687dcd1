package sessions_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/sessions"
)

// The outsider makes devices whose only good code is 123456; see IssueSessionWithFactor.

func (o *outsider) NewFactor(context.Context, string, string) (n authority.NewFactor, err error) {
	n.Sealed = []byte("sealed device")
	if n.Seed, err = secret.New(8); err != nil {
		return n, err
	}
	n.QR, err = secret.New(8)
	return n, err
}

func (o *outsider) PairFactor(_ context.Context, f authority.Factor, _ string) ([]byte, error) {
	return f.Sealed, nil
}

func (o *outsider) SetPassword(context.Context, authority.Password) ([]byte, error) {
	return nil, authority.ErrBadRequest
}

// device gives a user a device.
func (w *world) device(user string) (serial string) {
	w.t.Helper()
	m, err := w.directory.CreateVirtualMFADevice(w.t.Context(), w.account, directory.NewMFADevice{Name: "of-" + user})
	w.must(err)
	w.must(w.directory.EnableMFADevice(w.t.Context(), w.account, user, m.Serial, "111111", "222222"))
	return m.Serial
}

func TestASecondFactorIsTheCallersOwn(t *testing.T) {
	w := newWorld(t)
	_, alice := w.user("alice")
	_, bob := w.user("bob")
	serial := w.device("alice")
	const unknown = "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user."
	const wrong = "MultiFactorAuthentication failed with invalid MFA one time pass code."
	role := w.role("r")
	for _, c := range []struct {
		name    string
		cred    credential
		mfa     sessions.MFA
		message string // "": it works
	}{
		{"the user's device and its code", alice, sessions.MFA{Serial: serial, Code: "123456"}, ""},
		{"another code", alice, sessions.MFA{Serial: serial, Code: "123457"}, wrong},
		{"no code", alice, sessions.MFA{Serial: serial}, "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."},
		{"no device", alice, sessions.MFA{Code: "123456"}, "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."},
		{"a code that is none", alice, sessions.MFA{Serial: serial, Code: "12 456"}, wrong},
		{"a device that is not there", alice, sessions.MFA{Serial: serial + "x", Code: "123456"}, unknown},
		{"somebody else's device", bob, sessions.MFA{Serial: serial, Code: "123456"}, unknown},
	} {
		got, err := w.SessionToken(t.Context(), w.caller(c.cred), 0, c.mfa)
		_, assumed, err2 := w.assume(w.caller(c.cred), sessions.AssumeRole{RoleARN: role.ARN, MFA: c.mfa})
		if c.message != "" {
			w.refused(c.name+", GetSessionToken", err, sessions.AccessDenied, c.message)
			w.refused(c.name+", AssumeRole", err2, sessions.AccessDenied, c.message)
			continue
		}
		w.must(err)
		w.must(err2)
		w.clock.Advance(90 * time.Second)
		for _, s := range []credential{{got.AccessKeyID, reveal(t, got.Secret), got.Token}, assumed} {
			caller := w.caller(s)
			present, _ := caller.Keys.Get("aws:MultiFactorAuthPresent")
			age, _ := caller.Keys.Get("aws:MultiFactorAuthAge")
			if !caller.MFA || !slices.Equal(present, []string{"true"}) || !slices.Equal(age, []string{"90"}) {
				t.Errorf("%s: %v, %v, %v", c.name, caller.MFA, present, age)
			}
		}
	}

	// A role session has no device; not even one of the user behind it.
	_, session, err := w.assume(w.caller(alice), sessions.AssumeRole{RoleARN: role.ARN})
	w.must(err)
	_, _, err = w.assume(w.caller(session), sessions.AssumeRole{RoleARN: role.ARN, MFA: sessions.MFA{Serial: serial, Code: "123456"}})
	w.refused("a role session", err, sessions.AccessDenied, unknown)

	// The device is taken away.
	w.must(w.directory.DeactivateMFADevice(t.Context(), w.account, "alice", serial))
	_, err = w.SessionToken(t.Context(), w.caller(alice), 0, sessions.MFA{Serial: serial, Code: "123456"})
	w.refused("a device that was deactivated", err, sessions.AccessDenied, unknown)
}

func TestTrustThatAsksForASecondFactorIsAskedWithIt(t *testing.T) {
	w := newWorld(t)
	u, cred := w.user("alice")
	serial := w.device("alice")
	role, err := w.directory.CreateRole(t.Context(), w.account, directory.NewRole{Name: "guarded",
		TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + u.ARN + `"},"Action":"sts:AssumeRole",` +
			`"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"},"NumericLessThan":{"aws:MultiFactorAuthAge":"10"}}}]}`})
	w.must(err)
	plain, err := w.SessionToken(t.Context(), w.caller(cred), 0, sessions.MFA{})
	w.must(err)
	weak := w.caller(credential{plain.AccessKeyID, reveal(t, plain.Secret), plain.Token})
	for _, c := range []struct {
		name    string
		caller  *sessions.Caller
		mfa     sessions.MFA
		allowed bool
	}{
		{"a key without a factor", w.caller(cred), sessions.MFA{}, false},
		{"a key with a factor", w.caller(cred), sessions.MFA{Serial: serial, Code: "123456"}, true},
		{"a session without, and a factor", weak, sessions.MFA{Serial: serial, Code: "123456"}, true},
		{"a session without, and none", weak, sessions.MFA{}, false},
	} {
		p, err := w.PlanAssumeRole(c.caller, sessions.AssumeRole{RoleARN: role.ARN, SessionName: "night", MFA: c.mfa})
		w.must(err)
		d := authz.Decide(&authz.Request{Principal: &c.caller.Principal, Policies: c.caller.Policies, Ask: &p.Asks[0], Common: &c.caller.Keys}, nil)
		if d.Allowed != c.allowed {
			t.Errorf("%s: allowed %v", c.name, d.Allowed)
		}
	}
}
