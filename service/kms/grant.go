package kms

import (
	"context"
	"maps"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/operation"
)

func newGrant(c *call, in *kms.CreateGrantInput) keys.NewGrant {
	n := keys.NewGrant{Name: in.Name, Grantee: in.GranteePrincipal, Retiring: in.RetiringPrincipal, Issuer: c.Account}
	for _, op := range in.Operations {
		n.Operations = append(n.Operations, string(op))
	}
	if in.Constraints != nil {
		n.Subset, n.Equals = in.Constraints.EncryptionContextSubset, in.Constraints.EncryptionContextEquals
	}
	return n
}

func createGrantAsks(ctx context.Context, c *call, in *kms.CreateGrantInput) error {
	if err := keys.CheckTokens(in.GrantTokens); err != nil {
		return err
	}
	n := newGrant(c, in)
	return c.resolve(ctx, "kms:CreateGrant", in.KeyId, anyAccount, func(j *subject) {
		// A grantee may hand on only what the parent grant covers: the others do not count for this request.
		j.grants = func(key *keys.Key) []operation.Grant { return key.Parents(c.grantees(), &n) }
		j.fill = func(k *operation.Keys) {
			grantKeys(k, n.Grantee, n.Retiring, n.Operations, n.Subset, n.Equals)
			k.Set("kms:GrantIsForAWSResource", "false")
		}
	})
}

// grantKeys sets the condition keys of a grant that a request makes.
func grantKeys(k *operation.Keys, grantee, retiring string, operations []string, subset, equals map[string]string) {
	k.Set("kms:GranteePrincipal", grantee)
	if retiring != "" {
		k.Set("kms:RetiringPrincipal", retiring)
	}
	if len(operations) > 0 {
		k.Set("kms:GrantOperations", operations...)
	}
	if len(equals) > 0 {
		k.Add("kms:GrantConstraintType", "EncryptionContextEquals")
	}
	if len(subset) > 0 {
		k.Add("kms:GrantConstraintType", "EncryptionContextSubset")
	}
	// The constraint stands for the contexts that the grant will allow.
	pairs := maps.Clone(equals)
	if pairs == nil {
		pairs = map[string]string{}
	}
	for name, value := range subset {
		if v, both := pairs[name]; both && v != value {
			k.Add("kms:EncryptionContext:"+name, value) // both values show
			continue
		}
		pairs[name] = value
	}
	contextKeys(k, pairs)
}

func createGrant(ctx context.Context, c *call, in *kms.CreateGrantInput) (*kms.CreateGrantOutput, error) {
	if err := keys.CheckTokens(in.GrantTokens, c.key()); err != nil {
		return nil, err
	}
	g, token, err := c.keys.CreateGrant(ctx, c.subjects[0].use(in.DryRun), newGrant(c, in))
	if err != nil {
		return nil, err
	}
	return &kms.CreateGrantOutput{GrantId: g.ID, GrantToken: token}, nil
}

func grantEntry(g *keys.Grant) kms.GrantListEntry {
	e := kms.GrantListEntry{
		KeyId: g.KeyARN, GrantId: g.ID, Name: g.Name, CreationDate: g.Created, GranteePrincipal: g.Grantee,
		RetiringPrincipal: g.Retiring, IssuingAccount: arn.Root(g.Issuer),
	}
	for _, op := range g.Operations {
		e.Operations = append(e.Operations, kms.GrantOperation(op))
	}
	if g.Subset != nil || g.Equals != nil {
		e.Constraints = &kms.GrantConstraints{EncryptionContextSubset: g.Subset, EncryptionContextEquals: g.Equals}
	}
	return e
}

func grantEntries(gs []*keys.Grant) []kms.GrantListEntry {
	es := make([]kms.GrantListEntry, 0, len(gs))
	for _, g := range gs {
		es = append(es, grantEntry(g))
	}
	return es
}

const grantPage = 50

func forNoService(k *operation.Keys) { k.Set("kms:GrantIsForAWSResource", "false") }

func listGrantsAsks(ctx context.Context, c *call, in *kms.ListGrantsInput) error {
	return c.resolve(ctx, "kms:ListGrants", in.KeyId, anyAccount, func(j *subject) { j.fill = forNoService })
}

func listGrants(ctx context.Context, c *call, in *kms.ListGrantsInput) (*kms.ListGrantsOutput, error) {
	gs, next, err := c.keys.ListGrants(ctx, c.key(), in.GrantId, in.GranteePrincipal, in.Marker, limit(in.Limit, grantPage))
	if err != nil {
		return nil, err
	}
	return &kms.ListGrantsOutput{Grants: grantEntries(gs), NextMarker: next, Truncated: new(next != "")}, nil
}

// listRetirableGrantsAsks: the grants may be on keys of any account, but only
// the retiring principal's own account may ask.
func listRetirableGrantsAsks(ctx context.Context, c *call, in *kms.ListRetirableGrantsInput) error {
	a, err := arn.Parse(in.RetiringPrincipal)
	if err != nil || !arn.IsAccount(a.Account) {
		return &kms.InvalidArnException{Message: "ARN does not refer to a valid principal: " + in.RetiringPrincipal}
	}
	j := c.addAccount("kms:ListRetirableGrants", "*")
	if a.Account != c.Account {
		return &operation.Denied{Ask: j.ask(nil)}
	}
	return nil
}

func listRetirableGrants(ctx context.Context, c *call, in *kms.ListRetirableGrantsInput) (*kms.ListRetirableGrantsOutput, error) {
	gs, next, err := c.keys.ListRetirable(ctx, in.RetiringPrincipal, in.Marker, limit(in.Limit, grantPage))
	if err != nil {
		return nil, err
	}
	return &kms.ListRetirableGrantsOutput{Grants: grantEntries(gs), NextMarker: next, Truncated: new(next != "")}, nil
}

func revokeGrantAsks(ctx context.Context, c *call, in *kms.RevokeGrantInput) error {
	return c.resolve(ctx, "kms:RevokeGrant", in.KeyId, anyAccount, func(j *subject) { j.fill = forNoService })
}

func revokeGrant(ctx context.Context, c *call, in *kms.RevokeGrantInput) (*kms.RevokeGrantOutput, error) {
	return &kms.RevokeGrantOutput{}, c.keys.RevokeGrant(ctx, c.subjects[0].use(in.DryRun), in.GrantId)
}

// retireGrantAsks: the grant itself names who may retire it, beside those whom
// policies allow (kms-api section 7).
func retireGrantAsks(ctx context.Context, c *call, in *kms.RetireGrantInput) error {
	switch byID := in.KeyId != "" && in.GrantId != ""; {
	case in.GrantToken != "" && (in.KeyId != "" || in.GrantId != ""):
		return invalid("Specify either a grant token or a key ID and a grant ID.")
	case in.GrantToken != "":
		return c.retireByToken(ctx, in.GrantToken)
	case !byID:
		return invalid("Specify either a grant token or a key ID and a grant ID.")
	}
	c.grantID = in.GrantId
	return c.resolve(ctx, "kms:RetireGrant", in.KeyId, anyAccount, func(j *subject) {
		j.grants = c.mayRetire
		j.fill = c.retireKeys(j.key)
	})
}

// retireByToken resolves a token. Whoever holds the token of a grant that is
// there knows the key already. One whose grant is not there may be made up to
// probe for keys, so it is simply invalid, except for those of the key's own
// account whose policies allow them to retire.
func (c *call) retireByToken(ctx context.Context, token string) error {
	keyID, grantID, err := keys.OpenToken(token)
	if err != nil {
		return err
	}
	unknown := &kms.InvalidGrantTokenException{Message: "Invalid grant token"}
	key, err := c.keys.ByID(ctx, keyID)
	if err != nil {
		return err
	}
	if key == nil {
		return unknown
	}
	c.grantID = grantID
	j := c.add("kms:RetireGrant", key)
	j.grants = c.mayRetire
	j.fill = c.retireKeys(key)
	if _, ok := key.Grant(grantID); !ok && (key.Account != c.Account || !c.Evaluate(j.ask(key)).Allowed) {
		return unknown
	}
	return nil
}

// mayRetire gives, as grants of RetireGrant, the rights that a grant gives to
// its retiring principal, to its grantee if that operation is among its own,
// and to the root user of the key's account.
func (c *call) mayRetire(key *keys.Key) []operation.Grant {
	g, ok := key.Grant(c.grantID)
	if !ok {
		return nil
	}
	var may []operation.Grant
	add := func(grantee, id string) {
		may = append(may, operation.Grant{ID: g.ID, Grantee: grantee, GranteeID: id, Operations: []string{"RetireGrant"}})
	}
	if g.Retiring != "" {
		add(g.Retiring, g.RetiringID)
	}
	for _, op := range g.Operations {
		if op == "RetireGrant" {
			add(g.Grantee, g.GranteeID)
		}
	}
	// A grant to the root ARN would mean everyone in the account; this is for the root user alone.
	if c.Account == key.Account && c.Principal.ARN == arn.Root(c.Account) {
		add(c.Principal.ARN, "")
	}
	return may
}

// retireKeys sets the condition keys of the grant that goes.
func (c *call) retireKeys(key *keys.Key) func(*operation.Keys) {
	return func(k *operation.Keys) {
		if g, ok := key.Grant(c.grantID); ok {
			grantKeys(k, g.Grantee, g.Retiring, g.Operations, g.Subset, g.Equals)
		}
	}
}

func retireGrant(ctx context.Context, c *call, in *kms.RetireGrantInput) (*kms.RetireGrantOutput, error) {
	return &kms.RetireGrantOutput{}, c.keys.RetireGrant(ctx, c.subjects[0].use(in.DryRun), c.grantID)
}
