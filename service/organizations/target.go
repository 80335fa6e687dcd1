package organizations

import (
	"strings"

	api "github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
)

// A question makes the asks of one call.
type question struct {
	service *Service
	call    *operation.Call
	action  string                    // organizations:CreatePolicy
	org     organization.Organization // the caller's; zero: none
	looks   bool                      // the operation changes nothing
	own     bool                      // it is the caller's own affair
}

func (s *Service) question(call *operation.Call, action string) *question {
	q := &question{service: s, call: call, action: action}
	q.org, _ = s.Organizations.Of(call.Account)
	return q
}

// reads asks about what only looks: open to delegated administrators.
func (q *question) reads() *question { q.looks = true; return q }

// mine asks about what an account does for itself.
func (q *question) mine() *question { q.own = true; return q }

// on asks about an ARN, or "*".
func (q *question) on(resource string) operation.Ask {
	a := operation.Ask{Action: q.action, Resource: resource, Owner: q.call.Account}
	if q.own || q.org.ID == "" || q.looks && q.service.Organizations.IsAdministrator(q.call.Account, "") {
		return a
	}
	a.Owner, a.Policy = q.org.Management, q.service.Organizations.Delegation(q.org.ID)
	return a
}

// all asks about no single resource.
func (q *question) all() []operation.Ask { return []operation.Ask{q.on("*")} }

// arn is the name of something in the caller's organization.
func (q *question) arn(kind, rest string) string {
	account, org := q.org.Management, q.org.ID
	if org == "" {
		account, org = q.call.Account, "none"
	}
	return "arn:aws:organizations::" + account + ":" + kind + "/" + org + "/" + rest
}

// node asks about a root, unit, account, policy or resource policy by its id.
// One that is not there is asked about under the name that it would have.
func (q *question) node(id string) operation.Ask {
	o := q.service.Organizations
	a := q.on(q.nodeARN(id))
	if q.org.ID == "" {
		return a
	}
	if p, err := o.Policy(q.org.ID, id); err == nil {
		a.Resource = p.ARN
		a.Context.Set("organizations:PolicyType", string(p.Type))
	}
	tags, err := o.Tags(q.org.ID, id)
	if err != nil {
		return a
	}
	for _, t := range tags {
		a.Context.Set("aws:ResourceTag/"+t.Key, t.Value)
	}
	return a
}

func (q *question) nodeARN(id string) string {
	switch {
	case strings.HasPrefix(id, "r-"):
		return q.arn("root", id)
	case strings.HasPrefix(id, "ou-"):
		return q.arn("ou", id)
	case strings.HasPrefix(id, "p-"):
		return q.arn("policy", "unknown/"+id)
	case strings.HasPrefix(id, "rp-"):
		return q.arn("resourcepolicy", id)
	}
	return q.arn("account", id)
}

// one asks about one node.
func (q *question) one(id string) []operation.Ask { return []operation.Ask{q.node(id)} }

// policyOn asks about a policy and about what it is put on or taken off.
func (q *question) policyOn(policy, target string) []operation.Ask {
	p, t := q.node(policy), q.node(target)
	if kind, ok := p.Context.Get("organizations:PolicyType"); ok {
		t.Context.Set("organizations:PolicyType", kind...)
	}
	return []operation.Ask{p, t}
}

// typed adds the type of policy that the call is about.
func typed(asks []operation.Ask, t string) []operation.Ask {
	for i := range asks {
		asks[i].Context.Set("organizations:PolicyType", t)
	}
	return asks
}

// serviced adds the service principal that the call is about.
func serviced(asks []operation.Ask, principal string) []operation.Ask {
	if principal == "" {
		return asks
	}
	for i := range asks {
		asks[i].Context.Set("organizations:ServicePrincipal", principal)
	}
	return asks
}

// tagging adds the tags that a call passes. Tags given at creation need
// TagResource on what is created too, as with AWS.
func (q *question) tagging(asks []operation.Ask, tags []api.Tag, created string) []operation.Ask {
	if len(tags) == 0 {
		return asks
	}
	if created != "" {
		also := q.on(created)
		also.Action = "organizations:TagResource"
		asks = append(asks, also)
	}
	keys := make([]string, len(tags))
	for i, t := range tags {
		keys[i] = t.Key
	}
	for i := range asks {
		for _, t := range tags {
			asks[i].Context.Set("aws:RequestTag/"+t.Key, t.Value)
		}
		asks[i].Context.Set("aws:TagKeys", keys...)
	}
	return asks
}

func tagsOf(tags []api.Tag) []organization.Tag {
	var all []organization.Tag
	for _, t := range tags {
		all = append(all, directory.Tag{Key: t.Key, Value: t.Value})
	}
	return all
}
