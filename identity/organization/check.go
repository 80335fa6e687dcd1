package organization

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/state/kv"
)

// Check reads every organization from the store and compares the records with
// each other and with the accounts that there are. A problem names
// identifiers only. Nothing is repaired.
func (o *Organizations) Check(ctx context.Context) (problems []string, err error) {
	st := newState()
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	err = scan(ctx, o.store, func(e kv.Entry) error {
		if err := st.apply(e.Key, e.Value, e.Mod); err != nil {
			problem("%v", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for org, h := range st.orgs {
		if m, ok := st.members[h.rec.Management]; !ok || m.rec.Org != org {
			problem("organization %s: its management account is no member", org)
		}
		for _, t := range h.rec.Types {
			if !t.Type.served() || t.Epoch == 0 || t.Epoch > h.rec.Generation {
				problem("organization %s: type %s is enabled in no epoch", org, t.Type)
			}
		}
		if d := h.rec.Delegation; d != nil && st.delegations[org] == nil {
			problem("organization %s: its resource policy is none any more", org)
		}
		st.checkAttached(org, h.rec.Root, h.rec, h.rec.Attached, problem)
		st.checkUnits(org, h.rec, problem)
		for id, p := range st.policies[org] {
			if _, err := policy.Parse(p.rec.Type.kind(), []byte(p.rec.Text)); err != nil || !p.rec.Type.served() {
				problem("organization %s: policy %s is none any more", org, id)
			}
		}
		for id, c := range st.creations[org] {
			_, exists := o.directory.Account(c.rec.Account)
			if c.rec.State == Succeeded && !exists {
				problem("organization %s: request %s made an account that is not there", org, id)
			}
		}
	}
	opening := make(map[string]bool) // accounts that a crash may have left half made; the next start settles them
	for _, all := range st.creations {
		for _, c := range all {
			opening[c.rec.Account] = c.rec.State == InProgress
		}
	}
	for account, m := range st.members {
		h, ok := st.orgs[m.rec.Org]
		if !ok {
			problem("account %s is a member of no organization", account)
			continue
		}
		a, exists := o.directory.Account(account)
		if !exists && !opening[account] || a.Operator {
			problem("organization %s: member %s is no customer's account", m.rec.Org, account)
		}
		if _, ok := st.units[m.rec.Org][m.rec.Parent]; !ok && m.rec.Parent != h.rec.Root {
			problem("organization %s: member %s hangs under nothing", m.rec.Org, account)
		}
		st.checkAttached(m.rec.Org, account, h.rec, m.rec.Attached, problem)
	}
	for account := range st.closed {
		if _, exists := o.directory.Account(account); !exists {
			problem("closed account %s is not there", account)
		}
	}
	for section, orgs := range map[string][]string{
		sectionUnit: slices.Collect(maps.Keys(st.units)), sectionPolicy: slices.Collect(maps.Keys(st.policies)),
		sectionHandshake: slices.Collect(maps.Keys(st.handshakes)), sectionCreation: slices.Collect(maps.Keys(st.creations)),
	} {
		for _, org := range orgs {
			if _, ok := st.orgs[org]; !ok {
				problem("records of kind %s of organization %s, which is not there", section, org)
			}
		}
	}
	slices.Sort(problems) // the records came out of maps
	return problems, nil
}

// checkAttached: what is attached is there, once, and not too much of it.
func (s *state) checkAttached(org, target string, rec *orgRecord, list []attachRecord, problem func(string, ...any)) {
	for _, t := range []Type{SCP, RCP} {
		if epochOf(rec, t) == 0 {
			continue
		}
		ids := attached(rec, list, t)
		if len(ids) == 0 || len(ids) > MaxAttached || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
			problem("organization %s: %s has %d policies of type %s", org, target, len(ids), t)
		}
		for _, id := range ids {
			if p, ok := s.policies[org][id]; id != fullID(t) && (!ok || p.rec.Type != t) {
				problem("organization %s: policy %s is attached to %s, and is not there", org, id, target)
			}
		}
	}
}

// checkUnits: every unit hangs under the root, not too deep, by a name of its own.
func (s *state) checkUnits(org string, rec *orgRecord, problem func(string, ...any)) {
	names := make(map[string]bool)
	for id, u := range s.units[org] {
		s.checkAttached(org, id, rec, u.rec.Attached, problem)
		at, depth := u.rec.Parent, 1
		for ; at != rec.Root && depth <= MaxDepth; depth++ {
			above, ok := s.units[org][at]
			if !ok {
				break
			}
			at = above.rec.Parent
		}
		if at != rec.Root || depth > MaxDepth {
			problem("organization %s: unit %s does not hang under the root", org, id)
		}
		name := u.rec.Parent + "/" + strings.ToLower(u.rec.Name)
		if names[name] {
			problem("organization %s: two units under %s have one name", org, u.rec.Parent)
		}
		names[name] = true
	}
}
