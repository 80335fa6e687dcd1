package quorum

import (
	"fmt"
	"maps"
	"slices"
)

// A Rule is one way to allow a command: at least so many signers of each role,
// who come from at least so many organisations.
type Rule struct {
	Roles         map[string]uint64 `cbor:"1,keyasint"`
	Organisations uint64            `cbor:"2,keyasint"`
}

// Rules says for each command which rules allow it; any one is enough. A
// command that is not there, or has no rule, is denied.
type Rules map[string][]Rule

// Met says whether these signers, who are distinct and have been verified,
// meet the rule. Only signers in the roles that the rule names count, also
// for the organisations: somebody the rule did not ask for lends no weight.
func (r Rule) Met(signers []Operator) bool {
	missing, organisations := r.Missing(signers)
	return len(r.Roles) > 0 && len(missing) == 0 && organisations == 0
}

// Missing is what these signers lack of the rule: how many of which role, and
// how many more organisations.
func (r Rule) Missing(signers []Operator) (roles map[string]uint64, organisations uint64) {
	have := make(map[string]uint64)
	from := make(map[string]bool)
	for _, s := range signers {
		if _, asked := r.Roles[s.Role]; asked {
			have[s.Role]++
			from[s.Organisation] = true
		}
	}
	roles = make(map[string]uint64)
	for role, least := range r.Roles {
		if have[role] < least {
			roles[role] = least - have[role]
		}
	}
	if n := uint64(len(from)); n < r.Organisations {
		organisations = r.Organisations - n
	}
	return roles, organisations
}

// least is how many people can meet the rule at the fewest.
func (r Rule) least() (n uint64) {
	for _, k := range r.Roles {
		n += k
	}
	return max(n, r.Organisations)
}

// covers says whether whoever meets r meets other as well.
func (r Rule) covers(other Rule) bool {
	for role, least := range other.Roles {
		if r.Roles[role] < least {
			return false
		}
	}
	// Organisations are counted among the roles of a rule: a rule with more
	// roles may count organisations that the other does not.
	for role := range r.Roles {
		if _, ok := other.Roles[role]; !ok && other.Organisations > 1 {
			return false
		}
	}
	return r.Organisations >= other.Organisations
}

// Met says whether the signers meet a rule of the command.
func (rules Rules) Met(name string, signers []Operator) bool {
	return slices.ContainsFunc(rules[name], func(r Rule) bool { return r.Met(signers) })
}

// alone are the commands that one person may be allowed: they change nothing
// and give away nothing (an exported domain opens only inside its members), or
// concern one customer's own key.
var alone = map[string]bool{ExportDomain: true, ExportAudit: true, LoosenConditions: true}

const maxRules = 64 // per command

// Check refuses rules that nobody could meet with these operators, that one
// person could meet alone, or that name what does not exist.
func (rules Rules) Check(operators []Operator) error {
	if err := checkOperators(operators); err != nil {
		return err
	}
	names := Names()
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if name == CreateDomain || !slices.Contains(names, name) {
			return fmt.Errorf("%w: they name a command that takes none", ErrRules)
		}
		if len(rules[name]) > maxRules {
			return fmt.Errorf("%w: %s has more than %d", ErrRules, name, maxRules)
		}
		for _, r := range rules[name] {
			if err := r.check(name, operators); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r Rule) check(name string, operators []Operator) error {
	if len(r.Roles) == 0 {
		return fmt.Errorf("%w: one of %s names no role", ErrRules, name)
	}
	for role, least := range r.Roles {
		if role != RoleOperator && role != RoleSecurityOfficer && role != RoleTenantCustodian || least == 0 || least > maxOperators {
			return fmt.Errorf("%w: one of %s has an unknown role, or asks for none of it", ErrRules, name)
		}
	}
	if r.Organisations == 0 || r.Organisations > maxOperators {
		return fmt.Errorf("%w: one of %s asks for no organisation", ErrRules, name)
	}
	if r.least() < 2 && !alone[name] {
		return fmt.Errorf("%w: one person could meet one of %s", ErrRules, name)
	}
	if !r.Met(operators) {
		return fmt.Errorf("%w: all operators together cannot meet one of %s", ErrRules, name)
	}
	return nil
}

// DefaultRules is the rules of the design for these operators: of n operators
// and security officers, n/2+1 from two organisations for whatever changes who
// has power or where keys are, and two for the daily work. Tenant custodians
// have no say in them. A customer's LoosenConditions has no rule here: the
// key's own token names its custodians.
//
// If all are of one organisation nobody can meet these rules, and Check says
// so: such a domain has to write its own.
func DefaultRules(operators []Operator) Rules {
	count := func(role string) (n uint64) {
		for _, o := range operators {
			if o.Role == role {
				n++
			}
		}
		return n
	}
	ops, officers := count(RoleOperator), count(RoleSecurityOfficer)
	strong := possible(splits((ops+officers)/2+1, ops, officers, 2), operators)
	daily := possible(splits(2, ops, officers, 1), operators)
	return Rules{
		ModifyRules: strong, ModifyOperators: strong, AddMember: strong, RemoveMember: strong, LeaveDomain: strong,
		RecoverShares: strong, SelfDestruct: strong, SetRoots: strong, PlaceHost: strong,
		RotateDomainKeys: daily, InstallDomain: daily, ExportDomain: daily, RaiseFence: daily, ExportAudit: daily,
	}
}

// splits are all ways to have m signers of two roles.
func splits(m, ops, officers, organisations uint64) []Rule {
	out := []Rule{}
	for a := range m + 1 {
		b := m - a
		if a > ops || b > officers {
			continue
		}
		r := Rule{Roles: map[string]uint64{}, Organisations: organisations}
		if a > 0 {
			r.Roles[RoleOperator] = a
		}
		if b > 0 {
			r.Roles[RoleSecurityOfficer] = b
		}
		out = append(out, r)
	}
	return out
}

// possible drops the ways that nobody can go, unless that leaves none: then
// Check is to say so.
func possible(rules []Rule, operators []Operator) []Rule {
	out := slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return !r.Met(operators) })
	if len(out) == 0 {
		return rules
	}
	return out
}

// Loosened are the commands that next allows to somebody whom rules, as long
// as it had a rule for the command, did not.
func (rules Rules) Loosened(next Rules) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(next)) {
		if len(rules[name]) == 0 {
			continue
		}
		for _, r := range next[name] {
			if !slices.ContainsFunc(rules[name], r.covers) {
				out = append(out, name)
				break
			}
		}
	}
	return out
}
