package sessions

import (
	"context"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
)

// An MFA is the second factor that a call shows: the serial number (ARN) of
// the caller's device, and its code of now. The zero MFA shows none.
type MFA struct{ Serial, Code string }

func (m MFA) shown() bool { return m != MFA{} }

// The refusals, in AWS's words.
const (
	invalidCode   = "MultiFactorAuthentication failed with invalid MFA one time pass code."
	unknownDevice = "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user."
	halfAFactor   = "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."
)

// check refuses half a factor.
func (m MFA) check() error {
	switch {
	case !m.shown():
		return nil
	case m.Serial == "" || m.Code == "":
		return refuse(AccessDenied, "%s", halfAFactor)
	case len(m.Code) != 6:
		return refuse(AccessDenied, "%s", invalidCode)
	}
	for _, c := range m.Code {
		if c < '0' || c > '9' {
			return refuse(AccessDenied, "%s", invalidCode)
		}
	}
	return nil
}

// set sets the condition keys of the call itself, over those of the caller's
// credentials. The code is looked at after the decision, by the authority, in
// the step that makes the session: what a policy allows only with a second
// factor is not carried out without, and a call that is denied uses no code up.
func (m MFA) set(k *authz.Keys) {
	if m.shown() {
		k.Set("aws:MultiFactorAuthPresent", "true")
		k.Set("aws:MultiFactorAuthAge", "0")
	}
}

// issueFor issues a session to a caller who may show a second factor. Devices
// belong to users: a role session has none.
func (s *Sessions) issueFor(ctx context.Context, caller *Caller, claims authority.Claims, mfa MFA) (Credentials, error) {
	if !mfa.shown() {
		return s.issue(ctx, claims)
	}
	f, ok := authority.Factor{}, false
	if caller.Principal.Type == authz.User {
		f, ok = s.directory.MFAFactor(caller.Principal.Account, caller.Principal.ID, mfa.Serial)
	}
	if !ok {
		return Credentials{}, refuse(AccessDenied, "%s", unknownDevice)
	}
	f.Code = mfa.Code
	akid, sec, token, err := s.authority.IssueSessionWithFactor(ctx, claims, f)
	return issued(claims, akid, sec, token, err)
}
