package authz

import "strings"

// contextPrefix starts the condition keys that carry a call's encryption context.
const contextPrefix = "kms:EncryptionContext:"

// grant finds a grant of the key that allows the call. A grant to a whole account
// only delegates, like the account in a key policy: it comes back as a kind.
func (e *evaluation) grant() (found *Grant, delegated kinds) {
	if len(e.a.Grants) == 0 || !hasPrefixFold(e.a.Action, "kms:") {
		return nil, 0
	}
	operation := e.a.Action[len("kms:"):]
	for i := range e.a.Grants {
		g := &e.a.Grants[i]
		if !g.covers(operation) || !e.isGrantee(g, &delegated) {
			continue
		}
		if found == nil {
			found = g
		}
	}
	return found, delegated
}

// covers says whether the operation is granted; operations have no case here as in policies.
func (g *Grant) covers(operation string) bool {
	for _, o := range g.Operations {
		if strings.EqualFold(o, operation) {
			return true
		}
	}
	return false
}

func (e *evaluation) isGrantee(g *Grant, delegated *kinds) bool {
	if !e.meets(g) {
		return false
	}
	p := e.p
	switch {
	case g.GranteeID != "":
		return g.GranteeID == p.ID && (p.Type == User || p.Type == AssumedRole || p.Type == FederatedUser)
	case g.Grantee == "":
		return false
	case g.Grantee == p.ARN,
		p.Type == AssumedRole && g.Grantee == p.RoleARN,
		p.Type == FederatedUser && g.Grantee == p.UserARN:
		return true
	case namesAccount(g.Grantee, p.Account):
		if p.Type == Root {
			return true
		}
		*delegated |= account
	}
	return false
}

// namesAccount says whether s is the account's number or its root ARN.
func namesAccount(s, account string) bool {
	if account == "" || s == account {
		return account != ""
	}
	rest, ok := strings.CutSuffix(s, ":root")
	rest, last := strings.CutSuffix(rest, account)
	return ok && last && strings.HasPrefix(rest, "arn:") && strings.HasSuffix(rest, ":iam::")
}

// meets checks the grant's constraints on the encryption context (kms-api section 7):
// keys compare without regard to case, values with. Operations that take no
// encryption context are not constrained.
func (e *evaluation) meets(g *Grant) bool {
	if g.Subset == nil && g.Equals == nil {
		return true
	}
	for _, free := range [...]string{"kms:DescribeKey", "kms:RetireGrant", "kms:GetPublicKey"} {
		if equalAction(e.a.Action, free) {
			return true
		}
	}
	for k, v := range g.Subset {
		if !e.inContext(k, v) {
			return false
		}
	}
	if g.Equals == nil {
		return true
	}
	for k, v := range g.Equals {
		if !e.inContext(k, v) {
			return false
		}
	}
	return e.contextSize() == len(g.Equals)
}

// inContext says whether the encryption context has the pair. A key with two values (two
// spellings of one name) has none that one could rely on.
func (e *evaluation) inContext(key, value string) bool {
	found := false
	for name, values := range e.a.Context.All() {
		if len(name) > len(contextPrefix) && hasPrefixFold(name, contextPrefix) && strings.EqualFold(name[len(contextPrefix):], key) {
			if len(values) != 1 || values[0] != value {
				return false
			}
			found = true
		}
	}
	return found
}

func (e *evaluation) contextSize() (n int) {
	for name, values := range e.a.Context.All() {
		if hasPrefixFold(name, contextPrefix) {
			n += len(values)
		}
	}
	return n
}
