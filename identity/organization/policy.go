package organization

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/leadglass/leadglass/identity/policy"
)

// A Policy is an SCP or RCP.
type Policy struct {
	ID, ARN, Name, Description string
	Type                       Type
	Managed                    bool // comes with the installation
	Text                       string
}

func (o *Organizations) managed(id string) (Type, *managed) {
	for t, m := range o.full {
		if m.id == id {
			return t, m
		}
	}
	return "", nil
}

// policy finds a policy. Caller holds mu or write.
func (o *Organizations) policy(org, id string) (Policy, bool) {
	if t, m := o.managed(id); m != nil {
		return Policy{id, managedARN(t), m.name, m.description, t, true, m.text}, true
	}
	h, ok := o.st.policies[org][id]
	if !ok {
		return Policy{}, false
	}
	return Policy{id, policyARN(o.st.orgs[org].rec.Management, org, h.rec.Type, id), h.rec.Name, h.rec.Description, h.rec.Type, false, h.rec.Text}, true
}

// Policy finds a policy of an organization or of the installation.
func (o *Organizations) Policy(org, id string) (Policy, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	p, ok := o.policy(org, id)
	if !ok {
		return Policy{}, errPolicy
	}
	return p, nil
}

// Policies are all policies of a type, the installation's first.
func (o *Organizations) Policies(org string, t Type) []Policy {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if !t.served() {
		return nil
	}
	var all []Policy
	for id, h := range o.st.policies[org] {
		if h.rec.Type == t {
			p, _ := o.policy(org, id)
			all = append(all, p)
		}
	}
	p, _ := o.policy(org, fullID(t))
	all = append(all, p)
	slices.SortFunc(all, func(a, b Policy) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// A NewPolicy is the input of CreatePolicy.
type NewPolicy struct {
	Type                    Type
	Name, Description, Text string
	Tags                    []Tag
}

// CreatePolicy makes a policy, attached to nothing.
func (o *Organizations) CreatePolicy(ctx context.Context, org string, in NewPolicy) (Policy, error) {
	if !in.Type.served() {
		return Policy{}, errType
	}
	if err := errors.Join(o.checkText(in.Type, in.Text), checkTags(in.Tags)); err != nil {
		return Policy{}, err
	}
	id := ""
	err := o.change(ctx, func(t *tx) error {
		h, ok := o.st.orgs[org]
		if !ok {
			return errNotInUse
		}
		if err := o.policyName(org, in.Type, in.Name, ""); err != nil {
			return err
		}
		n := 0
		for _, p := range o.st.policies[org] {
			if p.rec.Type == in.Type {
				n++
			}
		}
		if n >= o.quotas.Policies {
			return violates("POLICY_NUMBER_LIMIT_EXCEEDED", "You have exceeded the allowed number of policies.")
		}
		for id = "p-" + random(10); ; id = "p-" + random(10) {
			if _, taken := o.st.compiled[id]; !taken {
				break
			}
		}
		t.org(org, h, nil)
		t.put(keyIn(sectionPolicy, org, id), &policyRecord{Type: in.Type, Name: in.Name, Description: in.Description, Text: in.Text, Tags: tagRecords(in.Tags)}, 0)
		return nil
	})
	if err != nil {
		return Policy{}, err
	}
	return o.Policy(org, id)
}

var errType = &Error{Code: TypeNotAvailable, Message: "You can't use the specified policy type with the feature set currently enabled for this organization. Service control policies and resource control policies are served here."}

// checkText refuses a document that the language refuses or that is too long.
func (o *Organizations) checkText(t Type, text string) error {
	if !utf8.ValidString(text) {
		return refuse(MalformedPolicyDocument, "The provided policy document does not meet the requirements of the specified policy type.")
	}
	if len(text) > o.quotas.PolicySize {
		return violates("POLICY_CONTENT_LIMIT_EXCEEDED", "You have exceeded the allowed content size of a policy: %d bytes.", o.quotas.PolicySize)
	}
	if _, err := policy.Parse(t.kind(), []byte(text)); err != nil {
		// AWS answers one sentence whatever is wrong; ours goes on to say where.
		detail := ""
		if bad, ok := errors.AsType[*policy.Error](err); ok {
			detail = " " + bad.Error()
		}
		return refuse(MalformedPolicyDocument, "The provided policy document does not meet the requirements of the specified policy type.%s", detail)
	}
	return nil
}

// policyName refuses a name that another policy of the type has. Caller holds write.
func (o *Organizations) policyName(org string, t Type, name, self string) error {
	taken := name == o.full[t].name
	for id, p := range o.st.policies[org] {
		taken = taken || id != self && p.rec.Type == t && p.rec.Name == name
	}
	if taken {
		return refuse(DuplicatePolicy, "A policy with the same name already exists.")
	}
	return nil
}

// A PolicyUpdate changes what is not nil.
type PolicyUpdate struct{ Name, Description, Text *string }

// UpdatePolicy changes a policy. It is in force under every target before the
// call returns.
func (o *Organizations) UpdatePolicy(ctx context.Context, org, id string, in PolicyUpdate) (Policy, error) {
	err := o.change(ctx, func(t *tx) error {
		if _, m := o.managed(id); m != nil {
			return invalid("IMMUTABLE_POLICY", "You can't modify a policy that is managed by AWS.")
		}
		h, ok := o.st.policies[org][id]
		if !ok {
			return errPolicy
		}
		rec := clone(h)
		if in.Name != nil {
			if err := o.policyName(org, rec.Type, *in.Name, id); err != nil {
				return err
			}
			rec.Name = *in.Name
		}
		if in.Description != nil {
			rec.Description = *in.Description
		}
		if in.Text != nil {
			if err := o.checkText(rec.Type, *in.Text); err != nil {
				return err
			}
			rec.Text = *in.Text
		}
		t.org(org, o.st.orgs[org], nil)
		t.put(keyIn(sectionPolicy, org, id), rec, h.mod)
		return nil
	})
	if err != nil {
		return Policy{}, err
	}
	return o.Policy(org, id)
}

// DeletePolicy deletes a policy that is attached nowhere.
func (o *Organizations) DeletePolicy(ctx context.Context, org, id string) error {
	return o.change(ctx, func(t *tx) error {
		if _, m := o.managed(id); m != nil {
			return invalid("IMMUTABLE_POLICY", "You can't delete a policy that is managed by AWS.")
		}
		h, ok := o.st.policies[org][id]
		if !ok {
			return errPolicy
		}
		if len(o.targets(org, id, h.rec.Type)) > 0 {
			return refuse(PolicyInUse, "The policy is attached to one or more entities. You must detach it from all roots, OUs, and accounts before performing this operation.")
		}
		t.org(org, o.st.orgs[org], nil)
		t.delete(keyIn(sectionPolicy, org, id), h.mod)
		return nil
	})
}

// targets are what a policy is attached to, by id. Caller holds mu or write.
func (o *Organizations) targets(org, id string, t Type) (all []Node) {
	h, ok := o.st.orgs[org]
	if !ok {
		return nil
	}
	add := func(target string, list []attachRecord) {
		if slices.Contains(attached(h.rec, list, t), id) {
			n, _ := o.node(org, target)
			all = append(all, n)
		}
	}
	add(h.rec.Root, h.rec.Attached)
	for unit, u := range o.st.units[org] {
		add(unit, u.rec.Attached)
	}
	for account, m := range o.st.members {
		if m.rec.Org == org {
			add(account, m.rec.Attached)
		}
	}
	slices.SortFunc(all, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Targets are what a policy is attached to.
func (o *Organizations) Targets(org, id string) ([]Node, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	p, ok := o.policy(org, id)
	if !ok {
		return nil, errPolicy
	}
	return o.targets(org, id, p.Type), nil
}

// attachments are the lists of a root, unit or account. Caller holds mu or write.
func (o *Organizations) attachments(org, target string) ([]attachRecord, bool) {
	n, ok := o.node(org, target)
	switch {
	case !ok:
		return nil, false
	case n.Kind == KindRoot:
		return o.st.orgs[org].rec.Attached, true
	case n.Kind == KindUnit:
		return o.st.units[org][target].rec.Attached, true
	}
	return o.st.members[target].rec.Attached, true
}

// Attached are the policies of a type right on a target.
func (o *Organizations) Attached(org, target string, t Type) ([]Policy, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	list, ok := o.attachments(org, target)
	if !ok {
		return nil, errTarget
	}
	var all []Policy
	for _, id := range attached(o.st.orgs[org].rec, list, t) {
		if p, ok := o.policy(org, id); ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Policy) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// AttachPolicy attaches a policy to a root, unit or account.
func (o *Organizations) AttachPolicy(ctx context.Context, org, id, target string) error {
	return o.reattach(ctx, org, id, target, func(t Type, ids []string) ([]string, error) {
		switch {
		case slices.Contains(ids, id):
			return nil, refuse(DuplicateAttachment, "The selected policy is already attached to the specified target.")
		case len(ids) >= MaxAttached:
			return nil, violates("MAX_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED", "You have attached the maximum number of policies of type %s to the target.", t)
		}
		return append(slices.Clip(ids), id), nil
	})
}

// DetachPolicy takes a policy off a target. One SCP must stay, and what lets
// everything through RCPs cannot be taken off at all.
func (o *Organizations) DetachPolicy(ctx context.Context, org, id, target string) error {
	return o.reattach(ctx, org, id, target, func(t Type, ids []string) ([]string, error) {
		i := slices.Index(ids, id)
		switch {
		case i < 0:
			return nil, refuse(PolicyNotAttached, "The policy isn't attached to the specified target in the specified root.")
		case id == fullID(RCP):
			return nil, invalid("NON_DETACHABLE_POLICY", "You can't detach this AWS managed policy.")
		case len(ids) == 1:
			return nil, violates("MIN_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED", "You cannot remove the last policy of type %s attached to the specified target.", t)
		}
		return slices.Delete(slices.Clone(ids), i, i+1), nil
	})
}

func (o *Organizations) reattach(ctx context.Context, org, id, target string, edit func(Type, []string) ([]string, error)) error {
	return o.change(ctx, func(t *tx) error {
		p, ok := o.policy(org, id)
		if !ok {
			return errPolicy
		}
		list, ok := o.attachments(org, target)
		if !ok {
			return errTarget
		}
		h := o.st.orgs[org]
		epoch := epochOf(h.rec, p.Type)
		if epoch == 0 {
			return refuse(TypeNotEnabled, "This operation can be performed only for enabled policy types.")
		}
		ids, err := edit(p.Type, attached(h.rec, list, p.Type))
		if err != nil {
			return err
		}
		// Lists of other epochs count no more.
		list = slices.DeleteFunc(slices.Clone(list), func(a attachRecord) bool { return a.Type == p.Type })
		list = append(list, attachRecord{Type: p.Type, Epoch: epoch, Policies: ids})
		if target == h.rec.Root {
			t.org(org, h, func(rec *orgRecord) { rec.Attached = list })
			return nil
		}
		t.org(org, h, nil)
		if u, ok := o.st.units[org][target]; ok {
			rec := clone(u)
			rec.Attached = list
			t.put(keyIn(sectionUnit, org, target), rec, u.mod)
			return nil
		}
		m := o.st.members[target]
		rec := clone(m)
		rec.Attached = list
		t.put(key(sectionMember, target), rec, m.mod)
		return nil
	})
}

// EnableType puts a type of policy in force. Every root, unit and account then
// has the policy that lets everything through, and nothing else of the type.
func (o *Organizations) EnableType(ctx context.Context, org, root string, t Type) (Root, error) {
	return o.setType(ctx, org, root, t, func(rec *orgRecord) error {
		if epochOf(rec, t) != 0 {
			return refuse(TypeAlreadyEnabled, "The specified policy type is already enabled.")
		}
		// A generation is never used twice, so neither is an epoch.
		rec.Types = append(slices.Clip(rec.Types), typeRecord{Type: t, Epoch: rec.Generation + 1})
		return nil
	})
}

// DisableType takes a type of policy out of force, and every attachment of the
// type is lost, as with AWS.
func (o *Organizations) DisableType(ctx context.Context, org, root string, t Type) (Root, error) {
	return o.setType(ctx, org, root, t, func(rec *orgRecord) error {
		if epochOf(rec, t) == 0 {
			return refuse(TypeNotEnabled, "The specified policy type isn't currently enabled for this root.")
		}
		rec.Types = slices.DeleteFunc(slices.Clone(rec.Types), func(r typeRecord) bool { return r.Type == t })
		return nil
	})
}

func (o *Organizations) setType(ctx context.Context, org, root string, t Type, edit func(*orgRecord) error) (Root, error) {
	if !t.served() {
		return Root{}, errType
	}
	var out Root
	err := o.change(ctx, func(x *tx) error {
		h, ok := o.st.orgs[org]
		if !ok {
			return errNotInUse
		}
		if h.rec.Root != root {
			return refuse(RootNotFound, "You specified a root that doesn't exist.")
		}
		rec := clone(h)
		if err := edit(rec); err != nil {
			return err
		}
		x.org(org, h, func(r *orgRecord) { r.Types = rec.Types })
		out = rootOf(org, rec)
		return nil
	})
	return out, err
}
