package directory

import (
	"fmt"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

// A Snapshot is a user or role as it is now, with its policies compiled. It is
// immutable; a change replaces it, so equal pointers mean that nothing changed.
type Snapshot struct {
	Kind       Kind
	Account    string
	ID         string // AIDA... or AROA...
	Name, Path string
	ARN        string
	Tags       []Tag            // not to be changed
	Policies   *authz.Policies  // identity policies and boundary; never nil
	Trust      *policy.Document // roles; principals bound to unique ids
	MaxSession int              // seconds; roles
	// ServiceLinked: a service-linked role, which organizations' policies do not limit.
	ServiceLinked bool
}

// Principal finds a user or role by its unique id. It takes no lock unless the
// principal or one of its policies changed since the last call.
func (d *Directory) Principal(id string) (*Snapshot, bool) {
	v, ok := d.principals.Load(id)
	if !ok {
		return nil, false
	}
	return d.snapshot(v.(*entity))
}

// RoleByARN finds a role by its ARN, in any account.
func (d *Directory) RoleByARN(roleARN string) (*Snapshot, bool) {
	a, err := arn.Parse(roleARN)
	if err != nil || a.Service != "iam" {
		return nil, false
	}
	e := d.byARN(a, roleARN)
	if e == nil {
		return nil, false
	}
	s, ok := d.snapshot(e)
	return s, ok && s.Kind == RoleKind && s.ARN == roleARN
}

func (d *Directory) snapshot(e *entity) (*Snapshot, bool) {
	if s := e.snapshot.Load(); s != nil {
		return s, true
	}
	e.realm.mu.RLock()
	defer e.realm.mu.RUnlock()
	if e.rec == nil {
		return nil, false
	}
	s, err := d.build(e)
	if err != nil {
		// What was accepted once no longer compiles, or is gone: without all of its
		// policies, denials among them, nobody acts.
		return nil, false
	}
	// Under mu no change can come between reading and storing.
	e.snapshot.Store(s)
	return s, true
}

// build compiles what an entity is. Caller holds e.realm.mu.
func (d *Directory) build(e *entity) (*Snapshot, error) {
	rec := e.rec
	s := &Snapshot{
		Kind: rec.Kind, Account: e.realm.account, ID: rec.ID, Name: rec.Name, Path: rec.Path, ARN: e.arn(),
		Tags: tagsOf(rec.Tags), Policies: &authz.Policies{}, MaxSession: rec.MaxSession, ServiceLinked: rec.Service != "",
	}
	var err error
	if s.Policies.Identity, err = d.grants(e.realm, nil, rec); err != nil {
		return nil, err
	}
	for _, id := range rec.Groups {
		g := e.realm.entities[id]
		if g == nil || g.rec.Kind != GroupKind {
			return nil, fmt.Errorf("directory: group %s of %s is gone", id, rec.ID)
		}
		if s.Policies.Identity, err = d.grants(e.realm, s.Policies.Identity, g.rec); err != nil {
			return nil, err
		}
	}
	if rec.Boundary != "" {
		doc, err := d.compiled(e.realm, rec.Boundary)
		if err != nil {
			return nil, err
		}
		s.Policies.Boundary = doc
	}
	if rec.Trust != "" {
		doc, err := d.parse(policy.Trust, rec.Trust)
		if err != nil {
			return nil, err
		}
		s.Trust = doc.Bind(rec.Bound)
	}
	return s, nil
}

// grants appends the compiled policies that hang on a record. Caller holds r.mu.
func (d *Directory) grants(r *realm, docs []*policy.Document, rec *entityRecord) ([]*policy.Document, error) {
	for _, p := range rec.Attached {
		doc, err := d.compiled(r, p)
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	for _, in := range rec.Inline {
		doc, err := d.parse(policy.Identity, in.Text)
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc.Named(in.Name))
	}
	return docs, nil
}

// compiled is the default version of a managed policy. It is compiled once,
// whether it serves as identity policy, boundary or session policy: the language
// of the three is the same. Caller holds r.mu.
func (d *Directory) compiled(r *realm, policyARN string) (*policy.Document, error) {
	if op, ok := d.managed[policyARN]; ok {
		return op.compiled, nil
	}
	m := r.byARN[policyARN]
	if m == nil {
		return nil, fmt.Errorf("directory: policy %s is gone", policyARN)
	}
	v := r.versions[m.id][m.rec.Default]
	if v == nil {
		return nil, fmt.Errorf("directory: policy %s has lost its default version", policyARN)
	}
	if doc := v.compiled.Load(); doc != nil {
		return doc, nil
	}
	doc, err := policy.Parse(policy.Identity, []byte(v.text))
	if err != nil {
		return nil, err
	}
	// Of two who compile at once both must end with the same pointer.
	v.compiled.CompareAndSwap(nil, doc.Named(policyARN))
	return v.compiled.Load(), nil
}

// ManagedPolicy is the default version of a managed policy that account can
// use, compiled; the same pointer as long as it is the default version.
func (d *Directory) ManagedPolicy(account, policyARN string) (*policy.Document, bool) {
	r := d.realm(account)
	if r == nil {
		return nil, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	doc, err := d.compiled(r, policyARN)
	return doc, err == nil
}

// parse compiles a document, or finds it compiled: many principals carry the
// same inline text, and every trust policy of a fleet is alike.
func (d *Directory) parse(kind policy.Kind, text string) (*policy.Document, error) {
	at := parsedText{kind, text}
	d.parsed.mu.Lock()
	doc := d.parsed.docs[at]
	d.parsed.mu.Unlock()
	if doc != nil {
		return doc, nil
	}
	doc, err := policy.Parse(kind, []byte(text))
	if err != nil {
		return nil, err
	}
	d.parsed.mu.Lock()
	defer d.parsed.mu.Unlock()
	if len(d.parsed.docs) >= maxParsed {
		clear(d.parsed.docs) // snapshots keep what they use
	}
	d.parsed.docs[at] = doc
	return doc, nil
}

// maxParsed bounds the documents that are kept only to be shared.
const maxParsed = 10000

type parsedText struct {
	kind policy.Kind
	text string
}

// byARN finds the user or role of a parsed ARN.
func (d *Directory) byARN(a arn.ARN, whole string) *entity {
	if a.Partition != arn.Partition || a.Region != "" {
		return nil
	}
	r := d.realm(a.Account)
	if r == nil {
		return nil
	}
	kindName, pathAndName := a.Split()
	var kind Kind
	switch kindName {
	case "user":
		kind = UserKind
	case "role":
		kind = RoleKind
	default:
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, err := r.find(kind, lastSegment(pathAndName))
	if err != nil || e.arn() != whole {
		return nil
	}
	return e
}

// ResolvePrincipal answers for a principal of a resource or trust policy. For
// the ARN of a user or role it is the unique id; for an account (12 digits or
// the root ARN), a role session or a federated session the answer is "", true
// if the account or the role exists. ok is false for whatever does not exist:
// such a policy is refused.
func (d *Directory) ResolvePrincipal(principal string) (id string, ok bool) {
	if arn.IsAccount(principal) {
		return "", d.realm(principal) != nil
	}
	a, err := arn.Parse(principal)
	if err != nil || a.Partition != arn.Partition || a.Region != "" || d.realm(a.Account) == nil {
		return "", false
	}
	switch {
	case a.Service == "iam" && a.Resource == "root":
		return "", true
	case a.Service == "iam":
		e := d.byARN(a, principal)
		if e == nil {
			return "", false
		}
		e.realm.mu.RLock()
		defer e.realm.mu.RUnlock()
		if e.rec == nil {
			return "", false
		}
		return e.rec.ID, true
	case a.Service == "sts":
		kind, name := a.Split()
		switch kind {
		case "federated-user":
			return "", validName.MatchString(name)
		case "assumed-role":
			role, session := cutLast(name)
			_, exists := d.RoleByName(a.Account, role)
			return "", exists && validName.MatchString(session)
		}
	}
	return "", false
}

// RoleByName finds a role of an account.
func (d *Directory) RoleByName(account, name string) (*Snapshot, bool) {
	r := d.realm(account)
	if r == nil {
		return nil, false
	}
	r.mu.RLock()
	e, err := r.find(RoleKind, name)
	r.mu.RUnlock()
	if err != nil {
		return nil, false
	}
	return d.snapshot(e)
}

// PrincipalARN is the ARN that the user or role with this unique id has now.
func (d *Directory) PrincipalARN(id string) (principal string, ok bool) {
	v, ok := d.principals.Load(id)
	if !ok {
		return "", false
	}
	e := v.(*entity)
	e.realm.mu.RLock()
	defer e.realm.mu.RUnlock()
	if e.rec == nil {
		return "", false
	}
	return e.arn(), true
}
