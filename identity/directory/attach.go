package directory

import (
	"context"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/policy"
)

// maxInline is the sum of the sizes of the inline policies of one carrier.
func maxInline(k Kind) int {
	switch k {
	case RoleKind:
		return policy.LimitInlineRole
	case GroupKind:
		return policy.LimitInlineGroup
	}
	return policy.LimitInlineUser
}

// maxInlineRaw bounds what white space can add to the record of one carrier,
// well below the largest value that the store takes.
const maxInlineRaw = 256 << 10

// AttachPolicy attaches a managed policy to a user, role or group. Attaching what is
// attached already changes nothing.
func (d *Directory) AttachPolicy(ctx context.Context, account string, kind Kind, name, policyARN string) error {
	return d.alter(ctx, account, kind, name, func(t *tx, e *entity, rec *entityRecord) error {
		if slices.Contains(rec.Attached, policyARN) {
			return nil
		}
		if d.managed[policyARN] == nil && e.realm.byARN[policyARN] == nil {
			return refuse(NoSuchEntity, "Policy %s does not exist or is not attachable.", policyARN)
		}
		if len(rec.Attached) >= d.quotas.AttachedPolicies {
			return refuse(LimitExceeded, "Cannot exceed quota for PoliciesPer%s: %d", title(kind), d.quotas.AttachedPolicies)
		}
		rec.Attached = append(slices.Clone(rec.Attached), policyARN)
		return d.use(t, e.realm, policyARN, +1)
	})
}

// DetachPolicy takes a managed policy away from a user, role or group.
func (d *Directory) DetachPolicy(ctx context.Context, account string, kind Kind, name, policyARN string) error {
	return d.alter(ctx, account, kind, name, func(t *tx, e *entity, rec *entityRecord) error {
		i := slices.Index(rec.Attached, policyARN)
		if i < 0 {
			return noSuchPolicy(policyARN)
		}
		rec.Attached = slices.Delete(slices.Clone(rec.Attached), i, i+1)
		return d.use(t, e.realm, policyARN, -1)
	})
}

// ListAttachedPolicies lists the managed policies of a user, role or group.
func (d *Directory) ListAttachedPolicies(account string, kind Kind, name string, list List) (Page[Attached], error) {
	prefix, err := checkPrefix(list.PathPrefix)
	if err != nil {
		return Page[Attached]{}, err
	}
	return view(d, account, kind, name, func(e *entity) (Page[Attached], error) {
		var all []Attached
		for _, a := range e.rec.Attached {
			if pathOf(a, prefix) {
				all = append(all, Attached{a, lastSegment(a)})
			}
		}
		return pageOfNames(list, all, func(a Attached) string { return d.policyOrder(a.ARN) })
	})
}

// PutInlinePolicy adds or replaces an inline policy.
func (d *Directory) PutInlinePolicy(ctx context.Context, account string, kind Kind, name, policyName, document string) error {
	if err := checkName("policyName", policyName, maxPolicyName); err != nil {
		return err
	}
	// Whether there is such a carrier comes before what is wrong with the document.
	if _, err := view(d, account, kind, name, func(*entity) (struct{}, error) { return struct{}{}, nil }); err != nil {
		return err
	}
	if _, err := d.checkDocument(policy.Identity, document); err != nil {
		return err
	}
	return d.alter(ctx, account, kind, name, func(_ *tx, _ *entity, rec *entityRecord) error {
		rec.Inline = slices.Clone(rec.Inline)
		in := inlineRecord{Name: policyName, Text: document}
		if i := rec.inline(policyName); i >= 0 {
			rec.Inline[i] = in
		} else {
			rec.Inline = append(rec.Inline, in)
		}
		size, raw := 0, 0
		for _, in := range rec.Inline {
			size += policy.Size([]byte(in.Text))
			raw += len(in.Text)
		}
		if size > maxInline(kind) || raw > maxInlineRaw {
			return refuse(LimitExceeded, "Maximum policy size of %d bytes exceeded for %s %s", maxInline(kind), kind, rec.Name)
		}
		return nil
	})
}

// inline is the place of an inline policy, or -1.
func (rec *entityRecord) inline(name string) int {
	return slices.IndexFunc(rec.Inline, func(in inlineRecord) bool { return fold(in.Name) == fold(name) })
}

func noSuchInline(kind Kind, policyName string) error {
	return refuse(NoSuchEntity, "The %s policy with name %s cannot be found.", kind, policyName)
}

// GetInlinePolicy finds an inline policy; its name comes back in its own case.
func (d *Directory) GetInlinePolicy(account string, kind Kind, name, policyName string) (document string, err error) {
	return view(d, account, kind, name, func(e *entity) (string, error) {
		i := e.rec.inline(policyName)
		if i < 0 {
			return "", noSuchInline(kind, policyName)
		}
		return e.rec.Inline[i].Text, nil
	})
}

// DeleteInlinePolicy deletes an inline policy.
func (d *Directory) DeleteInlinePolicy(ctx context.Context, account string, kind Kind, name, policyName string) error {
	return d.alter(ctx, account, kind, name, func(_ *tx, _ *entity, rec *entityRecord) error {
		i := rec.inline(policyName)
		if i < 0 {
			return noSuchInline(kind, policyName)
		}
		rec.Inline = slices.Delete(slices.Clone(rec.Inline), i, i+1)
		return nil
	})
}

// ListInlinePolicies lists the names of the inline policies.
func (d *Directory) ListInlinePolicies(account string, kind Kind, name string, list List) (Page[string], error) {
	return view(d, account, kind, name, func(e *entity) (Page[string], error) {
		var names []string
		for _, in := range e.rec.Inline {
			names = append(names, in.Name)
		}
		return pageOfNames(list, names, func(s string) string { return fold(s) })
	})
}

// pathOf says whether the path of a managed policy starts with prefix.
func pathOf(policyARN, prefix string) bool {
	a, err := arn.Parse(policyARN)
	return err == nil && strings.HasPrefix(strings.TrimPrefix(a.Resource, PolicyKind.String()), prefix)
}
