package iam

import (
	"strings"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

// A question makes the asks of one call.
type question struct {
	directory *directory.Directory
	call      *operation.Call
	action    string // iam:CreateUser
}

// on asks about an ARN of the caller's account.
func (q question) on(resource string) operation.Ask {
	return operation.Ask{Action: q.action, Resource: resource, Owner: q.call.Account}
}

// made asks about an entity that does not exist yet, under the ARN that it
// would get.
func (q question) made(kind directory.Kind, path, name string) operation.Ask {
	if path == "" {
		path = "/"
	}
	return q.on(arn.IAM(q.call.Account, kind.String(), path, name))
}

// under asks about all entities of a kind below a path: what AWS evaluates
// listings on, and names in their refusal.
func (q question) under(kind directory.Kind, prefix string) operation.Ask {
	return q.made(kind, prefix, "")
}

// user asks about a user.
func (q question) user(name string) (operation.Ask, error) {
	u, err := q.directory.GetUser(q.call.Account, name)
	return q.found(directory.UserKind, name, u.ARN, u.Tags, "", err)
}

// role asks about a role.
func (q question) role(name string) (operation.Ask, error) {
	r, err := q.directory.GetRole(q.call.Account, name)
	return q.found(directory.RoleKind, name, r.ARN, r.Tags, "", err)
}

// carrier asks about a user or role and says which boundary it has; AWS does
// so for the actions that change what a boundary is there to limit.
func (q question) carrier(kind directory.Kind, name string) (operation.Ask, error) {
	if kind == directory.RoleKind {
		r, err := q.directory.GetRole(q.call.Account, name)
		return q.found(kind, name, r.ARN, r.Tags, r.Boundary, err)
	}
	u, err := q.directory.GetUser(q.call.Account, name)
	return q.found(kind, name, u.ARN, u.Tags, u.Boundary, err)
}

// caller asks about the named user or, if the call names nobody, about the
// user who calls.
func (q question) caller(name string) (operation.Ask, error) {
	if isRoot(q.call, name) {
		return q.on(arn.Root(q.call.Account)), nil
	}
	if name != "" {
		return q.user(name)
	}
	u, err := callingUser(q.directory, q.call)
	if err != nil {
		return operation.Ask{}, err
	}
	return q.found(directory.UserKind, u.Name, u.ARN, u.Tags, "", nil)
}

// shown is what a refusal calls an entity. AWS says "user bob": the ARN
// with its path would tell a name that is taken from one that is not.
func shown(kind directory.Kind, name string) string {
	switch kind {
	case directory.UserKind:
		return "user " + name
	case directory.RoleKind:
		return "role " + name
	case directory.GroupKind:
		return "group " + name
	case directory.ProfileKind:
		return "instance profile " + name
	}
	return ""
}

// found asks about an entity or, where err says that there is none, about the
// ARN that the name would have: only who may ask is told that it is missing.
func (q question) found(kind directory.Kind, name, entity string, tags []directory.Tag, boundary string, err error) (operation.Ask, error) {
	if directory.CodeOf(err) == directory.NoSuchEntity {
		a := q.made(kind, "/", name)
		a.Shown = shown(kind, name)
		return a, nil
	}
	if err != nil {
		return operation.Ask{}, err
	}
	a := q.on(entity)
	a.Shown = shown(kind, name)
	for _, t := range tags {
		a.Context.Set("aws:ResourceTag/"+t.Key, t.Value)
		if kind == directory.UserKind || kind == directory.RoleKind { // AWS has iam:ResourceTag on no others
			a.Context.Set("iam:ResourceTag/"+t.Key, t.Value)
		}
	}
	if boundary != "" {
		a.Context.Set("iam:PermissionsBoundary", boundary)
	}
	return a, nil
}

// policy asks about a managed policy. Policies of other accounts are theirs:
// without a policy of the owner's that says so nobody else reaches them. The
// operator's policies are every account's own.
func (q question) policy(policyARN string) (operation.Ask, error) {
	owner, err := policyOwner(policyARN)
	if err != nil {
		return operation.Ask{}, err
	}
	a := operation.Ask{Action: q.action, Resource: policyARN, Owner: owner}
	switch owner {
	case managedOwner:
		a.Owner = q.call.Account
	case q.call.Account:
	default:
		return a, nil
	}
	p, err := q.directory.GetPolicy(q.call.Account, policyARN)
	if directory.CodeOf(err) == directory.NoSuchEntity {
		return a, nil
	}
	return q.found(directory.PolicyKind, "", policyARN, p.Tags, "", err)
}

// accessKey asks about the user whose key it is. Who has a key that nobody
// knows cannot be said: that is asked about under the users as such, so that
// who may not ask about users is refused all the same.
func (q question) accessKey(accessKeyID string) (operation.Ask, error) {
	u, err := q.directory.KeyOwner(q.call.Account, accessKeyID)
	if directory.CodeOf(err) == directory.NoSuchEntity {
		return q.under(directory.UserKind, "/"), nil
	}
	return q.found(directory.UserKind, u.Name, u.ARN, u.Tags, "", err)
}

// tagged is a with the tags that the call passes.
func tagged(a operation.Ask, tags []iam.Tag) operation.Ask {
	for _, t := range tags {
		a.Context.Set("aws:RequestTag/"+t.Key, t.Value)
		a.Context.Add("aws:TagKeys", t.Key)
	}
	return a
}

// created asks about the making of an entity. Tags at creation are also asked
// about as the tagging that they are.
func (q question) created(kind directory.Kind, path, name, boundary string, tags []iam.Tag) []operation.Ask {
	a := tagged(q.made(kind, path, name), tags)
	if boundary != "" {
		a.Context.Set("iam:PermissionsBoundary", boundary)
	}
	if len(tags) == 0 {
		return []operation.Ask{a}
	}
	q.action = "iam:Tag" + strings.TrimPrefix(q.action, "iam:Create")
	return []operation.Ask{a, tagged(q.made(kind, path, name), tags)}
}

// one makes the asks of a call that asks one question.
func one(a operation.Ask, err error) ([]operation.Ask, error) {
	if err != nil {
		return nil, err
	}
	return []operation.Ask{a}, nil
}

// withPolicy is one with the policy that is attached or detached.
func withPolicy(policyARN string, a operation.Ask, err error) ([]operation.Ask, error) {
	if err != nil {
		return nil, err
	}
	if _, err := policyOwner(policyARN); err != nil {
		return nil, err
	}
	a.Context.Set("iam:PolicyARN", policyARN)
	return []operation.Ask{a}, nil
}

// managedOwner stands for the operator in ARNs of its policies.
const managedOwner = "aws"

// policyOwner is the account in a managed policy's ARN: 12 digits or
// managedOwner. AWS looks at every part of such an ARN, so that a policy that
// was written about another spelling cannot be got around.
func policyOwner(policyARN string) (string, error) {
	a, err := arn.Parse(policyARN)
	if err != nil || a.Partition != arn.Partition || a.Service != "iam" || a.Region != "" {
		return "", notAnARN(policyARN)
	}
	kind, name := a.Split()
	if kind != directory.PolicyKind.String() || name == "" || a.Account != managedOwner && !arn.IsAccount(a.Account) {
		return "", notAnARN(policyARN)
	}
	return a.Account, nil
}

func notAnARN(s string) error {
	return &iam.InvalidInputException{Message: "ARN " + s + " is not valid."}
}

// isUser says whether the caller is a user, with a key or a session of its own.
func isUser(call *operation.Call) bool { return call.Principal.Type == authz.User }
