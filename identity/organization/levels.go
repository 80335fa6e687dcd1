package organization

import (
	"slices"
	"strings"

	"github.com/leadglass/leadglass/identity/policy"
)

// derive works out the levels of every account. Caller holds mu for writing.
func (o *Organizations) derive() {
	next := make(map[string]*Levels, len(o.st.members)+len(o.st.closed))
	chains := make(map[string]*chain) // by organization and target
	for account, m := range o.st.members {
		h, ok := o.st.orgs[m.rec.Org]
		if !ok {
			// A member of nothing: nobody knows which policies it is under (I-1).
			next[account] = &Levels{Organization: m.rec.Org, SCPs: [][]*policy.Document{{}}, RCPs: [][]*policy.Document{{}}}
			continue
		}
		parent := o.chain(chains, m.rec.Org, h.rec, m.rec.Parent, MaxDepth)
		next[account] = &Levels{
			Organization: m.rec.Org, Path: parent.path, Management: h.rec.Management == account,
			SCPs: o.below(parent.scps, h.rec, m.rec.Attached, SCP), RCPs: o.below(parent.rcps, h.rec, m.rec.Attached, RCP),
		}
	}
	for account := range o.st.closed {
		l := Levels{Closed: true}
		if of := next[account]; of != nil {
			l = *of
			l.Closed = true
		}
		next[account] = &l
	}
	o.replaceLevels(next)
}

// A chain is what comes down to the children of a root or unit.
type chain struct {
	path       string
	scps, rcps [][]*policy.Document
}

// chain finds the chain of a parent, with those above it. A parent that is
// missing, or further down than units can be, lets nothing through.
func (o *Organizations) chain(known map[string]*chain, org string, rec *orgRecord, id string, depth int) *chain {
	at := org + "/" + id
	if c := known[at]; c != nil {
		return c
	}
	c := new(chain)
	switch u, ok := o.st.units[org][id]; {
	case id == rec.Root:
		c.path = org + "/" + id + "/"
		c.scps, c.rcps = o.below(nil, rec, rec.Attached, SCP), o.below(nil, rec, rec.Attached, RCP)
	case !ok || depth == 0:
		c.scps, c.rcps = [][]*policy.Document{{}}, [][]*policy.Document{{}}
		return c
	default:
		above := o.chain(known, org, rec, u.rec.Parent, depth-1)
		c.path = above.path + id + "/"
		c.scps, c.rcps = o.below(above.scps, rec, u.rec.Attached, SCP), o.below(above.rcps, rec, u.rec.Attached, RCP)
	}
	known[at] = c
	return c
}

// below adds a level for what is attached to a target; nil where the type is
// not enabled.
func (o *Organizations) below(above [][]*policy.Document, org *orgRecord, list []attachRecord, t Type) [][]*policy.Document {
	ids := attached(org, list, t)
	if ids == nil {
		return nil
	}
	level := make([]*policy.Document, 0, len(ids))
	for _, id := range ids {
		doc := o.st.compiled[id]
		if m := o.full[t]; id == m.id {
			doc = m.compiled
		}
		if doc == nil {
			// A document that is gone may have held a denial: what is left must not be read without it.
			level = level[:0]
			break
		}
		level = append(level, doc)
	}
	return append(slices.Clip(above), level)
}

// attached are the ids of the policies of a type on a target, nil where the
// type is not enabled.
func attached(org *orgRecord, list []attachRecord, t Type) []string {
	epoch := epochOf(org, t)
	if epoch == 0 {
		return nil
	}
	for i := range list {
		if list[i].Type == t && list[i].Epoch == epoch {
			return list[i].Policies
		}
	}
	return []string{fullID(t)}
}

// epochOf is the epoch in which a type is enabled, or 0.
func epochOf(org *orgRecord, t Type) uint64 {
	for i := range org.Types {
		if org.Types[i].Type == t {
			return org.Types[i].Epoch
		}
	}
	return 0
}

func (l *Levels) same(m *Levels) bool {
	return l.Organization == m.Organization && l.Path == m.Path && l.Management == m.Management && l.Closed == m.Closed &&
		sameLevels(l.SCPs, m.SCPs) && sameLevels(l.RCPs, m.RCPs)
}

func sameLevels(a, b [][]*policy.Document) bool {
	return (a == nil) == (b == nil) && slices.EqualFunc(a, b, func(x, y []*policy.Document) bool { return slices.Equal(x, y) })
}

// compile parses a policy's text; one that cannot be read any more is kept as
// nil, and lets nothing through.
func (s *state) compile(org, id string, rec *policyRecord) {
	if rec == nil {
		delete(s.compiled, id)
		return
	}
	label := ""
	if h, ok := s.orgs[org]; ok {
		label = policyARN(h.rec.Management, org, rec.Type, id)
	}
	if was := s.compiled[id]; was != nil && string(was.Text()) == rec.Text && was.Label() == label {
		return
	}
	doc, err := policy.Parse(rec.Type.kind(), []byte(rec.Text))
	if err != nil {
		s.compiled[id] = nil
		return
	}
	s.compiled[id] = doc.Named(label)
}

// delegate compiles an organization's resource policy. One that cannot be read
// any more delegates nothing.
func (s *state) delegate(org string, rec *orgRecord) {
	delete(s.delegations, org)
	if rec == nil || rec.Delegation == nil {
		return
	}
	if doc, err := policy.Parse(policy.Resource, []byte(rec.Delegation.Text)); err == nil {
		s.delegations[org] = doc.Bind(rec.Delegation.Bound)
	}
}

// A managed policy comes with the installation.
type managed struct {
	id, name, description, text string
	compiled                    *policy.Document
}

// managedPolicies compiles what every target has when a type is enabled.
func managedPolicies() (map[Type]*managed, error) {
	scp := &managed{id: fullID(SCP), name: "FullAWSAccess", description: "Allows access to every operation",
		text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`}
	rcp := &managed{id: fullID(RCP), name: "RCPFullAWSAccess", description: "Allows full access to every resource",
		text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`}
	var err error
	if scp.compiled, err = policy.Parse(policy.SCP, []byte(scp.text)); err != nil {
		return nil, err
	}
	if rcp.compiled, err = policy.Parse(policy.ManagedRCP, []byte(rcp.text)); err != nil {
		return nil, err
	}
	scp.compiled, rcp.compiled = scp.compiled.Named(managedARN(SCP)), rcp.compiled.Named(managedARN(RCP))
	return map[Type]*managed{SCP: scp, RCP: rcp}, nil
}

func fullID(t Type) string {
	if t == RCP {
		return "p-RCPFullAWSAccess"
	}
	return "p-FullAWSAccess"
}

// A Type is a type of policy.
type Type string

// The types that are enforced. No other can be enabled or created (I-2).
const (
	SCP Type = "SERVICE_CONTROL_POLICY"
	RCP Type = "RESOURCE_CONTROL_POLICY"
)

func (t Type) kind() policy.Kind {
	if t == RCP {
		return policy.RCP
	}
	return policy.SCP
}

func (t Type) served() bool { return t == SCP || t == RCP }

// The ARNs of an organization carry its management account.

func arnOf(management, kind, org, rest string) string {
	s := "arn:aws:organizations::" + management + ":" + kind + "/" + org
	if rest != "" {
		s += "/" + rest
	}
	return s
}

func policyARN(management, org string, t Type, id string) string {
	return arnOf(management, "policy", org, strings.ToLower(string(t))+"/"+id)
}

func managedARN(t Type) string {
	return "arn:aws:organizations::aws:policy/" + strings.ToLower(string(t)) + "/" + fullID(t)
}
