package directory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
)

// stored is one account as the store has it.
type stored struct {
	account   string
	entities  map[string]*entityRecord
	policies  map[string]*policyRecord
	keys      map[string]*keyRecord
	versions  map[string]string // by store key: the text
	names     map[string]string // by store key: the unique id
	used      []string
	providers map[string]*oidcRecord // by URL
	outbound  *outboundRecord
	deleted   []*deletionRecord
	mfa       map[string]*mfaRecord
	logins    map[string]bool
	problems  []string
}

// Check reads every account from the store and compares the records with each
// other: what two records say of the same thing, and that every policy is still
// one. A problem names identifiers only. Nothing is repaired.
func (d *Directory) Check(ctx context.Context) (problems []string, err error) {
	all := make(map[string]*stored)
	err = d.scan(ctx, kv.Table('I'), func(e kv.Entry) error {
		account, rest, err := kv.ReadText(e.Key[1:])
		if err != nil {
			return corrupt(e.Key, err)
		}
		if all[account] == nil {
			all[account] = &stored{
				account: account, entities: make(map[string]*entityRecord), policies: make(map[string]*policyRecord),
				keys: make(map[string]*keyRecord), versions: make(map[string]string), names: make(map[string]string),
				providers: make(map[string]*oidcRecord),
				mfa:       make(map[string]*mfaRecord), logins: make(map[string]bool),
			}
		}
		if err := all[account].take(e, rest); err != nil {
			all[account].problem("%v", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, account := range slices.Sorted(maps.Keys(all)) {
		s := all[account]
		if r := d.realm(account); r == nil || r.accountOf().Created.IsZero() {
			s.problem("there is no such account")
		}
		d.compare(s)
		slices.Sort(s.problems) // the records came out of maps
		problems = append(problems, s.problems...)
	}
	aliases, err := d.checkAliases(ctx)
	slices.Sort(aliases)
	return append(problems, aliases...), err
}

func (s *stored) problem(format string, args ...any) {
	s.problems = append(s.problems, "directory of account "+s.account+": "+fmt.Sprintf(format, args...))
}

// take reads one entry; rest is its key behind the account.
func (s *stored) take(e kv.Entry, rest []byte) error {
	section, rest, err := kv.ReadText(rest)
	if err != nil {
		return corrupt(e.Key, err)
	}
	id, _, err := kv.ReadText(rest)
	if err != nil {
		return corrupt(e.Key, err)
	}
	switch section {
	case sectionName:
		s.names[string(e.Key)] = string(e.Value)
		return nil
	case sectionEntity:
		s.entities[id] = new(entityRecord)
		return decode(e.Key, e.Value, e.Mod, s.entities[id])
	case sectionPolicy:
		s.policies[id] = new(policyRecord)
		return decode(e.Key, e.Value, e.Mod, s.policies[id])
	case sectionKey:
		s.keys[id] = new(keyRecord)
		return decode(e.Key, e.Value, e.Mod, s.keys[id])
	case sectionVersion:
		var v versionRecord
		err := decode(e.Key, e.Value, e.Mod, &v)
		s.versions[string(e.Key)] = v.Text
		return err
	case sectionOIDC:
		s.providers[id] = new(oidcRecord)
		return decode(e.Key, e.Value, e.Mod, s.providers[id])
	case sectionOutbound:
		s.outbound = new(outboundRecord)
		return decode(e.Key, e.Value, e.Mod, s.outbound)
	case sectionUsed:
		s.used = append(s.used, id)
		return nil
	case sectionDeletion:
		s.deleted = append(s.deleted, new(deletionRecord))
		return decode(e.Key, e.Value, e.Mod, s.deleted[len(s.deleted)-1])
	case sectionAccessed:
		s.used = append(s.used, id)
		return decode(e.Key, e.Value, e.Mod, new(accessedRecord))
	case sectionMFA:
		s.mfa[id] = new(mfaRecord)
		return decode(e.Key, e.Value, e.Mod, s.mfa[id])
	case sectionLogin:
		var l loginRecord
		err := decode(e.Key, e.Value, e.Mod, &l)
		s.logins[id] = len(l.Sealed) > 0
		return err
	case sectionPasswordPolicy:
		var p passwordPolicyRecord
		if err := decode(e.Key, e.Value, e.Mod, &p); err != nil {
			return err
		}
		return p.public().valid()
	}
	return fmt.Errorf("unknown section %q", section)
}

// compare looks at everything from both sides. What was accounted for is taken
// out of names, versions and keys; what is left belongs to nobody.
func (d *Directory) compare(s *stored) {
	uses := make(map[string]int) // by policy ARN
	s.compareBonds()
	for id, rec := range s.entities {
		if !rec.Kind.entity() {
			s.problem("%s is of a kind that is not known", id)
			continue
		}
		s.named(nameKey(s.account, rec.Kind, rec.Name), id)
		for _, a := range rec.Attached {
			uses[a]++
		}
		if rec.Boundary != "" {
			uses[rec.Boundary]++
		}
		for _, in := range rec.Inline {
			s.compiles(id, policy.Identity, in.Text)
		}
		if rec.Kind == RoleKind {
			s.compiles(id, policy.Trust, rec.Trust)
		}
		for _, k := range rec.Keys {
			if s.keys[k] == nil || s.keys[k].User != id {
				s.problem("user %s lists access key %s, which is not its own", id, k)
			}
		}
	}
	for id, rec := range s.policies {
		s.named(nameKey(s.account, PolicyKind, rec.Name), id)
		name := policyARN(s.account, rec)
		if uses[name] != rec.Uses {
			s.problem("policy %s says that it is used %d times, and is used %d times", id, rec.Uses, uses[name])
		}
		delete(uses, name)
		current := false
		for _, v := range rec.Versions {
			current = current || v.Number == rec.Default
			at := string(versionKey(s.account, id, v.Number))
			text, ok := s.versions[at]
			if !ok {
				s.problem("policy %s has lost its version %s", id, versionID(v.Number))
				continue
			}
			s.compiles(id, policy.Identity, text)
			delete(s.versions, at)
		}
		if !current {
			s.problem("policy %s has no default version", id)
		}
	}
	for a := range uses {
		if d.managed[a] == nil {
			s.problem("policy %s is used, and is not there", a)
		}
	}
	for id, k := range s.keys {
		if u := s.entities[k.User]; u == nil || !slices.Contains(u.Keys, id) {
			s.problem("access key %s belongs to nobody", id)
		}
	}
	s.checkProviders()
	s.checkOutbound()
	s.compareFactors()
	for _, id := range s.used {
		if s.keys[id] == nil && s.entities[id] == nil {
			s.problem("a last use of %s, which is not there", id)
		}
	}
	if n := len(s.names); n > 0 {
		s.problem("%d names of nobody", n)
	}
	if n := len(s.versions); n > 0 {
		s.problem("%d versions of no policy", n)
	}
}

// compareBonds looks at what ties entities to each other: users to groups,
// roles to instance profiles, service-linked roles to their service.
func (s *stored) compareBonds() {
	members := make(map[string]int) // by group id
	for id, rec := range s.entities {
		for _, g := range rec.Groups {
			if of := s.entities[g]; rec.Kind != UserKind || of == nil || of.Kind != GroupKind {
				s.problem("%s is in group %s, which it cannot be", id, g)
			}
			members[g]++
		}
		for _, p := range rec.Profiles {
			if of := s.entities[p]; rec.Kind != RoleKind || of == nil || of.Role != id {
				s.problem("role %s is in instance profile %s, which does not have it", id, p)
			}
		}
		if rec.Role != "" {
			if of := s.entities[rec.Role]; rec.Kind != ProfileKind || of == nil || !slices.Contains(of.Profiles, id) {
				s.problem("instance profile %s has role %s, which is not in it", id, rec.Role)
			}
		}
		if serviceLinked := strings.HasPrefix(rec.Path, serviceRolePath); rec.Kind == RoleKind && serviceLinked != (rec.Service != "") {
			s.problem("role %s has the path of a service, and not the service, or the other way about", id)
		}
	}
	for id, rec := range s.entities {
		if members[id] != rec.Members {
			s.problem("group %s says that it has %d members, and has %d", id, rec.Members, members[id])
		}
	}
	for _, rec := range s.deleted {
		if rec.Role == "" || rec.Service == "" {
			s.problem("a deletion of no service-linked role")
		}
	}
}

func (s *stored) named(key kv.Key, id string) {
	if s.names[string(key)] != id {
		s.problem("the name of %s is not its own", id)
		return
	}
	delete(s.names, string(key))
}

func (s *stored) compiles(id string, kind policy.Kind, text string) {
	if _, err := policy.Parse(kind, []byte(text)); err != nil {
		s.problem("a policy of %s is none any more: %v", id, err)
	}
}

// compareFactors compares users with their MFA devices and login profiles.
func (s *stored) compareFactors() {
	for id, rec := range s.entities {
		for _, device := range rec.MFA {
			if m := s.mfa[device]; m == nil || m.User != id {
				s.problem("user %s lists an MFA device that is not its own", id)
			}
		}
		if rec.Login != s.logins[id] {
			s.problem("user %s and its login profile disagree", id)
		}
	}
	for id, m := range s.mfa {
		if id != mfaID(m.Path, m.Name) {
			s.problem("an MFA device rests under a name that is not its own")
		}
		if m.User == "" {
			continue
		}
		if u := s.entities[m.User]; u == nil || !slices.Contains(u.MFA, id) {
			s.problem("an MFA device says that it is of %s, which does not list it", m.User)
		}
	}
	for id := range s.logins {
		if s.entities[id] == nil {
			s.problem("a login profile of %s, which is not there", id)
		}
	}
}
