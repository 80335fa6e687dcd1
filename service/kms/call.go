package kms

import (
	"context"
	"slices"

	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/operation"
)

// A call is one request between its target and its handler.
type call struct {
	*operation.Call
	keys     *keys.Keys // of the Region that the request is for
	subjects []*subject // what the caller must be allowed, in the order of the asks
	grantID  string     // RetireGrant: the grant that the token or the id means
	names    []string   // see grantees

	recipient *keys.Recipient // whom the secret of the answer is for; nil: the caller
	claims    *attest.Claims  // of the recipient
}

// A subject is one thing that a request wants to do with one key, alias or
// account.
type subject struct {
	call   *call
	action string // "kms:Decrypt"
	// key is the snapshot to decide on; nil for what concerns no key, and then resource says what.
	key      *keys.Key
	resource string
	alias    string // the alias by which the request named the key
	// grants gives those that might allow it; nil: no grant can.
	grants func(key *keys.Key) []operation.Grant
	// fill adds the condition keys that belong to the operation.
	fill func(k *operation.Keys)
	// refusal is the answer when the subject is refused. Nil: the gate's own, which names the key; that is right where
	// the request names it too.
	refusal func(d operation.Decision) error
}

// ask is the question for the policy engine about a snapshot of the subject's
// key.
func (j *subject) ask(key *keys.Key) operation.Ask {
	a := operation.Ask{Action: j.action}
	if key == nil {
		a.Resource, a.Owner, a.Policy = j.resource, j.call.Account, j.call.keys.Delegation(j.call.Account)
	} else {
		a.Resource, a.Owner, a.Policy = key.ARN, key.Account, key.Policy()
		if j.grants != nil {
			a.Grants = j.grants(key)
		}
		describe(&a.Context, key)
		if j.alias != "" {
			a.Context.Set("kms:RequestAlias", j.alias)
		}
	}
	a.Context.Set("kms:CallerAccount", j.call.Account)
	if j.fill != nil {
		j.fill(&a.Context)
	}
	j.call.attested(&a.Context, key)
	return a
}

// describe sets the condition keys that a key itself has.
func describe(k *operation.Keys, key *keys.Key) {
	specKeys(k, key.Spec, key.Usage, key.Origin)
	regionKeys(k, key.MultiRegionType())
	if len(key.Aliases) > 0 {
		k.Set("kms:ResourceAliases", key.Aliases...)
	}
	for _, t := range key.Tags {
		k.Set("aws:ResourceTag/"+t.Key, t.Value)
	}
}

func specKeys(k *operation.Keys, spec, usage, origin string) {
	k.Set("kms:KeySpec", spec)
	k.Set("kms:KeyUsage", usage)
	k.Set("kms:KeyOrigin", origin)
	k.Set("kms:CustomerMasterKeySpec", spec)
	k.Set("kms:CustomerMasterKeyUsage", usage)
}

// again decides once more, on a newer snapshot of the key. It must look at
// nothing but the snapshot: package keys calls it under the key's lock.
func (j *subject) again(now *keys.Key) error {
	a := j.ask(now)
	if d := j.call.Evaluate(a); !d.Allowed {
		return &operation.Denied{Ask: a, Decision: d}
	}
	return nil
}

// use is the subject for package keys.
func (j *subject) use(dryRun *bool) keys.Use {
	return keys.Use{Key: j.key, Again: j.again, DryRun: dryRun != nil && *dryRun, Event: j.call.EventID, Request: j.call.RequestID, Principal: j.call.Principal.ARN, For: j.call.recipient}
}

// grantees are the names by which the caller may be the grantee of a grant.
func (c *call) grantees() []string {
	if c.names == nil {
		p := &c.Principal
		c.names = []string{p.ID, p.ARN, p.RoleARN, p.UserARN, arn.Root(c.Account)}
	}
	return c.names
}

// byGrant gives the grants that allow an operation with an encryption context.
func (c *call) byGrant(operationName string, encCtx map[string]string) func(*keys.Key) []operation.Grant {
	return func(key *keys.Key) []operation.Grant {
		if !key.HasGrants() {
			return nil
		}
		return key.Grants(c.grantees(), operationName, encCtx)
	}
}

// add makes a subject about a key that is resolved already.
func (c *call) add(action string, key *keys.Key) *subject {
	j := &subject{call: c, action: action, key: key}
	c.subjects = append(c.subjects, j)
	return j
}

// addAccount makes a subject about something of the caller's account that is
// no key.
func (c *call) addAccount(action, resource string) *subject {
	j := &subject{call: c, action: action, resource: resource}
	c.subjects = append(c.subjects, j)
	return j
}

// A reach says which keys an operation takes.
type reach uint8

const (
	ownKeys    reach = iota      // of the caller's account, by id or key ARN
	anyAccount reach = 1 << iota // also of other accounts, by ARN (X in kms-api section 4)
	byAlias                      // also by alias
)

// resolve makes a subject about the key that a request names. prepare gives
// the subject its grants and condition keys.
//
// It is also where existence is hidden. A missing key is told only to a
// caller of its own account whom the account's IAM policies would allow the
// action on it; everyone else gets the denial that a key would give which
// refuses. Since the denial names the resource, a caller who named an alias is
// refused in the name of the alias, whether it leads to a key or not.
func (c *call) resolve(ctx context.Context, action, ref string, r reach, prepare func(j *subject)) error {
	f, err := c.keys.Find(ctx, c.Account, ref, r&byAlias != 0)
	if err != nil {
		return err
	}
	foreign := f.Account != c.Account
	hidden := operation.Ask{Action: action, Resource: f.ARN, Owner: f.Account}
	if foreign && (r&anyAccount == 0 || f.Key == nil) {
		// Within one organization the answer may give the reason of a policy above both accounts: it is the same
		// for a key that is there and refuses.
		return &operation.Denied{Ask: hidden, Decision: c.Evaluate(hidden)}
	}
	if f.Key == nil {
		return c.missing(&subject{call: c, action: action, resource: f.ARN}, f.Missing)
	}
	j := c.add(action, f.Key)
	j.alias = f.Alias
	if prepare != nil {
		prepare(j)
	}
	if f.Alias != "" {
		j.refusal = func(d operation.Decision) error {
			if foreign {
				d = operation.Decision{}
			}
			return &operation.Denied{Ask: hidden, Decision: d}
		}
	}
	return nil
}

// refused answers for the first subject that is refused, if its refusal is not
// the gate's own. It comes when all subjects are there, since what is asked of
// one may depend on another.
func (c *call) refused() error {
	if !slices.ContainsFunc(c.subjects, func(j *subject) bool { return j.refusal != nil }) {
		return nil
	}
	for _, j := range c.subjects {
		d := c.Evaluate(j.ask(j.key))
		switch {
		case d.Allowed:
		case j.refusal != nil:
			return j.refusal(d)
		default:
			return nil
		}
	}
	return nil
}

// resolveNext is resolve for a request that has subjects already. If one of
// these is refused, that is the answer, whatever became of the further key:
// else the order of the refusals would tell whether it exists.
func (c *call) resolveNext(ctx context.Context, action, ref string, r reach, prepare func(j *subject)) error {
	first := c.subjects
	err := c.resolve(ctx, action, ref, r, prepare)
	if err == nil {
		return nil
	}
	for _, j := range first {
		if !c.Evaluate(j.ask(j.key)).Allowed {
			c.subjects = first
			return nil
		}
	}
	return err
}

// missing answers for something of the caller's account that is not there:
// with the truth if the account's policies allow the caller to act on it,
// otherwise with a denial.
func (c *call) missing(j *subject, truth error) error {
	a := j.ask(nil)
	probe := a
	if isAlias(a.Resource) && j.action != "kms:UpdateAlias" && j.action != "kms:DeleteAlias" {
		// Permission to use keys is given on keys: who may use all of them may know that this alias leads to none.
		probe.Resource = "arn:" + arn.Partition + ":kms:" + c.keys.Region() + ":" + c.Account + ":key/*"
	}
	d := c.Evaluate(probe)
	if d.Allowed {
		return truth
	}
	return &operation.Denied{Ask: a, Decision: d}
}

func isAlias(resource string) bool {
	a, err := arn.Parse(resource)
	kind, _ := a.Split()
	return err == nil && kind == "alias"
}

// manage is the target of an operation that only the key's own account has,
// and that takes no alias.
func manage[I any](action string, keyID func(*I) string) target[I] {
	return func(ctx context.Context, c *call, in *I) error {
		return c.resolve(ctx, action, keyID(in), ownKeys, nil)
	}
}

// onAccount is the target of an operation that concerns the caller's account
// as a whole.
func onAccount[I any](action string) target[I] {
	return func(ctx context.Context, c *call, in *I) error {
		c.addAccount(action, "*")
		return nil
	}
}

// key is the first subject's.
func (c *call) key() *keys.Key { return c.subjects[0].key }

// limit is the page size that a request asks for.
func limit(asked *int32, byDefault int) int {
	if asked == nil {
		return byDefault
	}
	return int(*asked)
}
