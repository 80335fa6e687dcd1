package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/policy"
)

func noSuchPolicy(policyARN string) error {
	return refuse(NoSuchEntity, "Policy %s was not found.", policyARN)
}

func noSuchVersion(policyARN, version string) error {
	return refuse(NoSuchEntity, "Policy %s version %s does not exist or is not attachable.", policyARN, version)
}

// checkDocument refuses what the policy language refuses, and what is too
// large, which the caller words.
func (d *Directory) checkDocument(kind policy.Kind, text string) (*policy.Document, error) {
	if len(text) > policy.LimitParameter {
		return nil, refuse(ValidationError, "1 validation error detected: Value at 'policyDocument' failed to satisfy constraint: Member must have length less than or equal to %d", policy.LimitParameter)
	}
	doc, err := d.parse(kind, text)
	if err != nil {
		if bad, ok := errors.AsType[*policy.Error](err); ok {
			return nil, refuse(MalformedPolicyDocument, "%s", bad.Message)
		}
		return nil, refuse(MalformedPolicyDocument, "Syntax errors in policy.")
	}
	return doc, nil
}

func (d *Directory) checkManaged(text string) error {
	if _, err := d.checkDocument(policy.Identity, text); err != nil {
		return err
	}
	if policy.Size([]byte(text)) > policy.LimitManaged {
		return refuse(LimitExceeded, "Cannot exceed quota for PolicySize: %d", policy.LimitManaged)
	}
	return nil
}

// CreatePolicy makes a managed policy with one version.
func (d *Directory) CreatePolicy(ctx context.Context, account string, in NewPolicy) (Policy, error) {
	r, err := d.need(account)
	if err != nil {
		return Policy{}, err
	}
	if err := checkName("policyName", in.Name, maxPolicyName); err != nil {
		return Policy{}, err
	}
	path, err := checkPath(in.Path)
	if err != nil {
		return Policy{}, err
	}
	if err := checkDescription(in.Description); err != nil {
		return Policy{}, err
	}
	if err := checkTags(in.Tags); err != nil {
		return Policy{}, err
	}
	if err := d.checkManaged(in.Document); err != nil {
		return Policy{}, err
	}
	rec := policyRecord{
		ID: id.Unique("ANPA"), Name: in.Name, Path: path, Description: in.Description, Tags: tagRecords(in.Tags),
		Default: 1, Next: 2,
	}
	err = d.change(ctx, r, func(t *tx) error {
		if r.byName[fold(in.Name)] != nil {
			return refuse(EntityAlreadyExists, "A policy called %s already exists. Duplicate names are not allowed.", in.Name)
		}
		if len(r.policies) >= d.quotas.Policies {
			return refuse(LimitExceeded, "Cannot exceed quota for PoliciesPerAccount: %d", d.quotas.Policies)
		}
		now := d.clock.Now().UnixMilli()
		rec.Created, rec.Updated, rec.Versions = now, now, []versionNumber{{Number: 1, Created: now}}
		t.index(nameKey(account, PolicyKind, in.Name), rec.ID)
		t.insert(recordKey(account, sectionPolicy, rec.ID), rec)
		t.insert(versionKey(account, rec.ID, 1), versionRecord{in.Document})
		return nil
	})
	if err != nil {
		return Policy{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if m := r.policies[rec.ID]; m != nil {
		return r.policy(m), nil
	}
	return Policy{}, refuse(NoSuchEntity, "A policy called %s was not found.", in.Name) // deleted at once
}

// policy is the exported form. Caller holds r.write or r.mu.
func (r *realm) policy(m *managed) Policy {
	return Policy{
		ARN: m.arn, ID: m.id, Name: m.rec.Name, Path: m.rec.Path, Description: m.rec.Description,
		DefaultVersion: versionID(m.rec.Default), Attachments: len(r.users[m.arn]), BoundaryUses: len(r.bounded[m.arn]),
		Created: instant(m.rec.Created), Updated: instant(m.rec.Updated), Tags: tagsOf(m.rec.Tags),
	}
}

func versionID(n uint64) string { return "v" + strconv.FormatUint(n, 10) }

// parseVersion reads "v12".
func parseVersion(s string) (uint64, bool) {
	digits, ok := strings.CutPrefix(s, "v")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && versionID(n) == s
}

// GetPolicy finds a managed policy, the account's or the operator's.
func (d *Directory) GetPolicy(account, policyARN string) (Policy, error) {
	r, err := d.need(account)
	if err != nil {
		return Policy{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if op := d.managed[policyARN]; op != nil {
		return op.in(r), nil
	}
	if m := r.byARN[policyARN]; m != nil {
		return r.policy(m), nil
	}
	return Policy{}, noSuchPolicy(policyARN)
}

// ListPolicies lists managed policies under a path, the account's own before
// the operator's.
func (d *Directory) ListPolicies(account string, f PolicyFilter, list List) (Page[Policy], error) {
	prefix, err := checkPrefix(list.PathPrefix)
	if err != nil {
		return Page[Policy]{}, err
	}
	r, err := d.need(account)
	if err != nil {
		return Page[Policy]{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	both := !f.Managed && !f.Local
	var arns []string
	if f.Local || both {
		for _, name := range r.policyNames() {
			arns = append(arns, r.byName[name].arn)
		}
	}
	if f.Managed || both {
		arns = append(arns, operatorOrder(d.managed)...)
	}
	key := func(i int) string { return d.policyOrder(arns[i]) }
	return pageOf(list, len(arns), key, func(i int) (Policy, bool) {
		var p Policy
		if op := d.managed[arns[i]]; op != nil {
			p = op.in(r)
		} else {
			p = r.policy(r.byARN[arns[i]])
		}
		if !strings.HasPrefix(p.Path, prefix) ||
			f.OnlyAttached && p.Attachments == 0 ||
			f.Usage == "PermissionsPolicy" && p.Attachments == 0 ||
			f.Usage == "PermissionsBoundary" && p.BoundaryUses == 0 {
			return Policy{}, false
		}
		return p, true
	})
}

// policyOrder is the sort key of a managed policy: the account's own before the
// operator's. Names are unique for each owner.
func (d *Directory) policyOrder(policyARN string) string {
	if d.managed[policyARN] != nil {
		return "2" + fold(lastSegment(policyARN))
	}
	return "1" + fold(lastSegment(policyARN))
}

// alterPolicy replaces the record of a managed policy by what edit makes of a
// copy. edit must not change what the copy's slices point to.
func (d *Directory) alterPolicy(ctx context.Context, account, policyARN string, edit func(t *tx, r *realm, rec *policyRecord) error) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	if d.managed[policyARN] != nil {
		return refuse(AccessDenied, "Policy %s is managed by the operator and cannot be changed.", policyARN)
	}
	return d.change(ctx, r, func(t *tx) error {
		m := r.byARN[policyARN]
		if m == nil {
			return noSuchPolicy(policyARN)
		}
		rec := *m.rec
		if err := edit(t, r, &rec); err != nil {
			return err
		}
		t.put(recordKey(account, sectionPolicy, rec.ID), rec, m.mod)
		return nil
	})
}

// DeletePolicy deletes a policy that nobody has attached or as boundary and
// that has no version but the default one.
func (d *Directory) DeletePolicy(ctx context.Context, account, policyARN string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	if d.managed[policyARN] != nil {
		return refuse(AccessDenied, "Policy %s is managed by the operator and cannot be deleted.", policyARN)
	}
	return d.change(ctx, r, func(t *tx) error {
		m := r.byARN[policyARN]
		switch {
		case m == nil:
			return noSuchPolicy(policyARN)
		case m.rec.Uses > 0 || len(r.users[policyARN])+len(r.bounded[policyARN]) > 0:
			return refuse(DeleteConflict, "Cannot delete a policy attached to entities.")
		case len(m.rec.Versions) > 1:
			return refuse(DeleteConflict, "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		t.delete(recordKey(account, sectionPolicy, m.id), m.mod)
		t.drop(versionKey(account, m.id, m.rec.Default))
		t.drop(nameKey(account, PolicyKind, m.rec.Name))
		return nil
	})
}

// CreatePolicyVersion adds a version.
func (d *Directory) CreatePolicyVersion(ctx context.Context, account, policyARN, document string, setDefault bool) (Version, error) {
	if err := d.checkManaged(document); err != nil {
		return Version{}, err
	}
	var v Version
	err := d.alterPolicy(ctx, account, policyARN, func(t *tx, _ *realm, rec *policyRecord) error {
		if len(rec.Versions) >= policy.ManagedVersions {
			return refuse(LimitExceeded, "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", policy.ManagedVersions)
		}
		now, n := d.clock.Now().UnixMilli(), rec.Next
		rec.Next++
		rec.Updated = now
		rec.Versions = append(slices.Clone(rec.Versions), versionNumber{Number: n, Created: now})
		if setDefault {
			rec.Default = n
		}
		t.insert(versionKey(account, rec.ID, n), versionRecord{document})
		v = Version{ID: versionID(n), Document: document, Default: setDefault, Created: instant(now)}
		return nil
	})
	if err != nil {
		return Version{}, err
	}
	return v, nil
}

// GetPolicyVersion finds a version with its document.
func (d *Directory) GetPolicyVersion(account, policyARN, version string) (Version, error) {
	r, err := d.need(account)
	if err != nil {
		return Version{}, err
	}
	if op := d.managed[policyARN]; op != nil {
		if version != op.version().ID {
			return Version{}, noSuchVersion(policyARN, version)
		}
		return op.version(), nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	m := r.byARN[policyARN]
	if m == nil {
		return Version{}, noSuchPolicy(policyARN)
	}
	n, ok := parseVersion(version)
	text := r.versions[m.id][n]
	if !ok || text == nil {
		return Version{}, noSuchVersion(policyARN, version)
	}
	for _, v := range m.rec.Versions {
		if v.Number == n {
			return Version{ID: version, Document: text.text, Default: n == m.rec.Default, Created: instant(v.Created)}, nil
		}
	}
	return Version{}, noSuchVersion(policyARN, version)
}

// ListPolicyVersions lists the newest first, without documents.
func (d *Directory) ListPolicyVersions(account, policyARN string, list List) (Page[Version], error) {
	r, err := d.need(account)
	if err != nil {
		return Page[Version]{}, err
	}
	var versions []Version
	var numbers []uint64
	if op := d.managed[policyARN]; op != nil {
		v := op.version()
		v.Document = ""
		versions, numbers = []Version{v}, []uint64{1}
	} else {
		r.mu.RLock()
		defer r.mu.RUnlock()
		m := r.byARN[policyARN]
		if m == nil {
			return Page[Version]{}, noSuchPolicy(policyARN)
		}
		for _, v := range slices.Backward(m.rec.Versions) {
			versions = append(versions, Version{ID: versionID(v.Number), Default: v.Number == m.rec.Default, Created: instant(v.Created)})
			numbers = append(numbers, v.Number)
		}
	}
	return pageOf(list, len(versions), func(i int) string { return fmt.Sprintf("%016x", ^numbers[i]) },
		func(i int) (Version, bool) { return versions[i], true })
}

// DeletePolicyVersion deletes a version that is not the default.
func (d *Directory) DeletePolicyVersion(ctx context.Context, account, policyARN, version string) error {
	return d.alterPolicy(ctx, account, policyARN, func(t *tx, _ *realm, rec *policyRecord) error {
		n, ok := parseVersion(version)
		i := slices.IndexFunc(rec.Versions, func(v versionNumber) bool { return v.Number == n })
		if !ok || i < 0 {
			return noSuchVersion(policyARN, version)
		}
		if n == rec.Default {
			return refuse(DeleteConflict, "Cannot delete the default version of a policy.")
		}
		rec.Versions = slices.Delete(slices.Clone(rec.Versions), i, i+1)
		t.drop(versionKey(account, rec.ID, n))
		return nil
	})
}

// SetDefaultPolicyVersion makes a version the one that is in force.
func (d *Directory) SetDefaultPolicyVersion(ctx context.Context, account, policyARN, version string) error {
	return d.alterPolicy(ctx, account, policyARN, func(_ *tx, _ *realm, rec *policyRecord) error {
		n, ok := parseVersion(version)
		if !ok || !slices.ContainsFunc(rec.Versions, func(v versionNumber) bool { return v.Number == n }) {
			return noSuchVersion(policyARN, version)
		}
		rec.Default, rec.Updated = n, d.clock.Now().UnixMilli()
		return nil
	})
}

// use counts a use of a managed policy up or down within t. The operator's are not counted.
func (d *Directory) use(t *tx, r *realm, policyARN string, by int) error {
	if d.managed[policyARN] != nil {
		return nil
	}
	m := r.byARN[policyARN]
	if m == nil {
		return noSuchPolicy(policyARN)
	}
	rec := *m.rec
	rec.Uses += by
	t.put(recordKey(r.account, sectionPolicy, m.id), rec, m.mod)
	return nil
}
