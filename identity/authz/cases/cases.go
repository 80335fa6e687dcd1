// Package cases reads and runs test cases for policies: a request, the policies that
// have a say, and the decision that is expected; or a document and whether it is
// well-formed. Start with Load, then Run each Case.
//
// The form is that of the project's policy vectors (testdata/vectors/policy-eval,
// README.md), so the vectors and a customer's own cases are run by the same code. A
// case whose documents do not parse fails; it is never skipped.
package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

// A Case is one test case of either form.
type Case struct {
	ID   string `json:"id"`
	Area string `json:"area"`
	Why  string `json:"why"`

	Request  *Request  `json:"request"`
	Policies *Policies `json:"policies"`
	Expect   *Expect   `json:"expect"`

	Kind     string  `json:"kind"`
	Document *string `json:"document"`
	Valid    *bool   `json:"valid"`
	Message  string  `json:"message"` // optional: the sentence of the refusal
}

// A Request is who asks for what.
type Request struct {
	Principal          Principal         `json:"principal"`
	Action             string            `json:"action"`
	Resource           string            `json:"resource"`
	ResourceAccount    *string           `json:"resource_account"`
	ResourceManagement bool              `json:"resource_in_management_account"`
	Context            map[string]values `json:"context"`
}

// A Principal is the caller of a case.
type Principal struct {
	Type              string `json:"type"`
	ARN               string `json:"arn"`
	Account           string `json:"account"`
	RoleARN           string `json:"role_arn"`
	UserARN           string `json:"user_arn"`
	Provider          string `json:"provider"`
	ServiceLinked     bool   `json:"service_linked"`
	ManagementAccount bool   `json:"management_account"`
}

// Policies are the documents of a case, as JSON.
type Policies struct {
	Identity []json.RawMessage   `json:"identity"`
	Boundary json.RawMessage     `json:"boundary"`
	Session  *[]json.RawMessage  `json:"session"`
	Resource json.RawMessage     `json:"resource"`
	SCPs     [][]json.RawMessage `json:"scps"`
	RCPs     [][]json.RawMessage `json:"rcps"`
	Endpoint json.RawMessage     `json:"vpce"`
	Grants   []Grant             `json:"grants"`
}

// A Grant is a grant on the key that is the resource.
type Grant struct {
	Grantee    string            `json:"grantee"`
	Operations []string          `json:"operations"`
	Subset     map[string]string `json:"encryption_context_subset"`
	Equals     map[string]string `json:"encryption_context_equals"`
}

// Expect is the expected decision. By is compared for denials: it is the type that the
// denial message names.
type Expect struct {
	Decision string `json:"decision"`
	By       string `json:"by"`
}

// values takes a string, a number, a boolean, or a list of them.
type values []string

func (v *values) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil || list == nil {
		list = []json.RawMessage{b}
	}
	*v = values{}
	for _, one := range list {
		var s string
		if one[0] != '"' || json.Unmarshal(one, &s) != nil {
			var n any
			if err := json.Unmarshal(one, &n); err != nil {
				return err
			}
			switch n.(type) {
			case float64, bool:
				s = string(one)
			default:
				return errors.New("a context value is a string, a number, a boolean or a list of them")
			}
		}
		*v = append(*v, s)
	}
	return nil
}

// Load reads a file of cases.
func Load(r io.Reader) ([]Case, error) {
	var file struct {
		Format int    `json:"format"`
		Cases  []Case `json:"cases"`
	}
	if err := json.NewDecoder(r).Decode(&file); err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	if file.Format != 0 && file.Format != 1 {
		return nil, fmt.Errorf("cases: unknown format %d", file.Format)
	}
	for i := range file.Cases {
		if err := file.Cases[i].complete(); err != nil {
			return nil, fmt.Errorf("cases: case %d (%q): %w", i+1, file.Cases[i].ID, err)
		}
	}
	return file.Cases, nil
}

func (c *Case) complete() error {
	switch {
	case c.Document != nil && c.Valid != nil && c.Kind != "":
		return nil
	case c.Request == nil || c.Expect == nil:
		return errors.New("needs request and expect, or kind, document and valid")
	}
	switch c.Expect.Decision {
	case "allow", "implicit_deny", "explicit_deny":
		return nil
	}
	return fmt.Errorf("unknown decision %q", c.Expect.Decision)
}

// A Result is how a case came out.
type Result struct {
	OK      bool
	Failure string // one line, empty if OK

	Decision authz.Decision // of a case with a request
	Trace    authz.Trace
}

// Run runs the case.
func (c Case) Run() Result {
	if c.Document != nil {
		return c.runDocument()
	}
	return c.runRequest()
}

func (c Case) fail(format string, args ...any) Result {
	text := c.ID + ": " + fmt.Sprintf(format, args...)
	if c.Why != "" {
		text += " (" + c.Why + ")"
	}
	return Result{Failure: text}
}

var kinds = map[string]policy.Kind{
	"identity": policy.Identity,
	"boundary": policy.Boundary,
	"session":  policy.Session,
	"scp":      policy.SCP,
	"rcp":      policy.RCP,
	"vpce":     policy.Endpoint,
	"endpoint": policy.Endpoint,
	"resource": policy.Resource,
	"trust":    policy.Trust,
	"key":      policy.Key,
	"kms":      policy.Key,
}

func (c Case) runDocument() Result {
	kind, ok := kinds[c.Kind]
	if !ok {
		return c.fail("unknown kind of document %q", c.Kind)
	}
	_, err := policy.Parse(kind, []byte(*c.Document))
	var refused *policy.Error
	switch {
	case err == nil && *c.Valid:
		return Result{OK: true}
	case err == nil:
		return c.fail("the document is accepted, a refusal was expected")
	case *c.Valid:
		return c.fail("the document is refused: %v", err)
	case c.Message != "" && errors.As(err, &refused) && refused.Message != c.Message:
		return c.fail("refused with %q, expected %q", refused.Message, c.Message)
	}
	return Result{OK: true}
}

func (c Case) runRequest() Result {
	request, err := c.request()
	if err != nil {
		return c.fail("%v", err)
	}
	var t authz.Trace
	d := authz.Decide(request, &t)
	r := Result{OK: true, Decision: d, Trace: t}
	got := decisionName(d)
	if got != c.Expect.Decision || c.Expect.By != "" && d.By.String() != c.Expect.By {
		r = c.fail("got %s by %s, expected %s by %s", got, d.By, c.Expect.Decision, c.Expect.By)
		r.Decision, r.Trace = d, t
	}
	return r
}

func decisionName(d authz.Decision) string {
	switch {
	case d.Allowed:
		return "allow"
	case d.Explicit:
		return "explicit_deny"
	}
	return "implicit_deny"
}

var types = map[string]authz.Type{
	"anonymous":      authz.Anonymous,
	"user":           authz.User,
	"assumed-role":   authz.AssumedRole,
	"federated-user": authz.FederatedUser,
	"root":           authz.Root,
	"service":        authz.Service,
	"web-identity":   authz.WebIdentity,
}

// request builds what Decide reads, with the keys that the form's README promises to add.
func (c Case) request() (*authz.Request, error) {
	q, from := c.Request, c.Request.Principal
	p := &authz.Principal{
		Type: types[from.Type], ARN: from.ARN, Account: from.Account, RoleARN: from.RoleARN,
		UserARN: from.UserARN, Provider: from.Provider,
		ServiceLinked: from.ServiceLinked, ManagementAccount: from.ManagementAccount,
	}
	if p.Type == 0 {
		return nil, fmt.Errorf("unknown type of principal %q", from.Type)
	}
	a := &authz.Ask{Action: q.Action, Resource: q.Resource, Owner: p.Account, OwnerManagement: q.ResourceManagement}
	if q.ResourceAccount != nil {
		a.Owner = *q.ResourceAccount
	}
	for name, v := range q.Context {
		a.Context.Set(name, v...)
	}
	r := &authz.Request{Principal: p, Policies: &authz.Policies{}, Ask: a, Common: commonKeys(p, a)}
	if c.Policies == nil {
		return r, nil
	}
	return r, c.Policies.build(r)
}

func commonKeys(p *authz.Principal, a *authz.Ask) *authz.Keys {
	k := new(authz.Keys)
	set := func(name, value string) {
		if value != "" {
			k.Set(name, value)
		}
	}
	set("aws:ResourceAccount", a.Owner)
	signed := p.Type != authz.Anonymous && p.Type != authz.WebIdentity
	if signed {
		k.Set("aws:PrincipalIsAWSService", fmt.Sprint(p.Type == authz.Service))
	}
	switch p.Type {
	case authz.Anonymous:
		k.Set("aws:PrincipalType", "Anonymous")
	case authz.Service:
		k.Set("aws:PrincipalType", "Service")
	case authz.User:
		set("aws:PrincipalArn", p.ARN)
		k.Set("aws:PrincipalType", "User")
		if a, err := arn.Parse(p.ARN); err == nil {
			set("aws:username", lastPart(a.Resource))
		}
	case authz.AssumedRole:
		set("aws:PrincipalArn", p.RoleARN)
		k.Set("aws:PrincipalType", "AssumedRole")
	case authz.FederatedUser:
		set("aws:PrincipalArn", p.ARN)
		k.Set("aws:PrincipalType", "FederatedUser")
	case authz.Root:
		set("aws:PrincipalArn", p.ARN)
		k.Set("aws:PrincipalType", "Account")
	}
	set("aws:PrincipalAccount", p.Account)
	return k
}

// lastPart is a user's name without its path.
func lastPart(resource string) string {
	for i := len(resource) - 1; i >= 0; i-- {
		if resource[i] == '/' {
			return resource[i+1:]
		}
	}
	return ""
}

func (p *Policies) build(r *authz.Request) (err error) {
	to, a := r.Policies, r.Ask
	if to.Identity, err = parseAll(policy.Identity, "identity", p.Identity); err != nil {
		return err
	}
	if to.Boundary, err = parse(policy.Boundary, "boundary", p.Boundary); err != nil {
		return err
	}
	if p.Session != nil {
		to.SessionPassed = true
		if to.Session, err = parseAll(policy.Session, "session", *p.Session); err != nil {
			return err
		}
	}
	if to.SCPs, err = parseLevels(policy.SCP, "scps", p.SCPs); err != nil {
		return err
	}
	// Cases show RCPFullAWSAccess, too, which only the installation may write.
	if a.RCPs, err = parseLevels(policy.ManagedRCP, "rcps", p.RCPs); err != nil {
		return err
	}
	if a.Endpoint, err = parse(policy.Endpoint, "vpce", p.Endpoint); err != nil {
		return err
	}
	if a.Policy, err = parse(resourceKind(a.Action), "resource", p.Resource); err != nil {
		return err
	}
	for i, g := range p.Grants {
		a.Grants = append(a.Grants, authz.Grant{
			ID: fmt.Sprint(i), Grantee: g.Grantee, Operations: g.Operations, Subset: g.Subset, Equals: g.Equals,
		})
	}
	return nil
}
