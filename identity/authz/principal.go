package authz

import "github.com/leadglass/leadglass/identity/policy"

// kinds says by which principals a statement speaks of the caller (§2).
type kinds uint8

const (
	direct  kinds = 1 << iota // the caller itself is listed
	role                      // the role of the session, or the user who federated
	account                   // the caller's account, and the caller is not its root
	anyone                    // *
)

// speaksOf gives the kinds by which a statement with principals speaks of the caller, 0
// if it does not.
func (e *evaluation) speaksOf(s *policy.Statement) (k kinds) {
	if s.NotPrincipal {
		if e.exempt(s.Principals) {
			return 0
		}
		return anyone
	}
	for i := range s.Principals {
		k |= e.p.matches(&s.Principals[i])
	}
	return k
}

// matches gives the kind by which one listed principal is the caller.
func (p *Principal) matches(ref *policy.PrincipalRef) kinds {
	switch ref.Form {
	case policy.FormEveryone:
		return anyone
	case policy.FormAccount:
		return p.ofAccount(p.Account != "" && ref.Account == p.Account)
	case policy.FormCanonicalUser:
		return p.ofAccount(p.CanonicalUser != "" && ref.Value == p.CanonicalUser)
	case policy.FormUser:
		switch p.Type {
		case User:
			return when(p.is(ref, p.ARN), direct)
		case FederatedUser:
			return when(p.is(ref, p.UserARN), role)
		}
	case policy.FormRole:
		return when(p.Type == AssumedRole && p.is(ref, p.RoleARN), role)
	case policy.FormRoleSession:
		return when(p.Type == AssumedRole && ref.Value == p.ARN, direct)
	case policy.FormFederatedUser:
		return when(p.Type == FederatedUser && ref.Value == p.ARN, direct)
	case policy.FormService:
		return when(p.Type == Service && ref.Value == p.ARN, direct)
	case policy.FormProvider:
		return when(p.Type == WebIdentity && ref.Value == p.Provider, direct)
	}
	return 0
}

// is compares by unique id where the document is bound to one, so that a new
// entity of an old name has nothing of the old one's (§1).
func (p *Principal) is(ref *policy.PrincipalRef, arn string) bool {
	if ref.Bound {
		return ref.ID != "" && ref.ID == p.ID
	}
	return arn != "" && ref.Value == arn
}

func (p *Principal) ofAccount(same bool) kinds {
	switch {
	case !same:
		return 0
	case p.Type == Root:
		return direct
	case p.Type == User || p.Type == AssumedRole || p.Type == FederatedUser:
		return account
	}
	return 0
}

func when(ok bool, k kinds) kinds {
	if ok {
		return k
	}
	return 0
}

// exempt says whether NotPrincipal spares the caller: only if the caller's own ARN,
// a session's role and the account are all listed, and never the anonymous nor a caller
// with a permissions boundary (§2).
func (e *evaluation) exempt(listed []policy.PrincipalRef) bool {
	if e.p.Type == Anonymous || e.policies.Boundary != nil {
		return false
	}
	var k kinds
	for i := range listed {
		k |= e.p.matches(&listed[i])
	}
	need := direct
	if e.p.Type == AssumedRole {
		need |= role
	}
	if e.p.Account != "" && e.p.Type != Root {
		need |= account
	}
	return k&need == need
}
