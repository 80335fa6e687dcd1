package authz

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/leadglass/leadglass/base/canon"
	"github.com/leadglass/leadglass/identity/policy"
)

// String is the short name of a policy type, as audit records carry it.
func (b By) String() string {
	switch b {
	case ByIdentity:
		return "identity"
	case ByResource:
		return "resource"
	case ByBoundary:
		return "boundary"
	case BySession:
		return "session"
	case BySCP:
		return "scp"
	case ByRCP:
		return "rcp"
	case ByEndpoint:
		return "vpce"
	case ByGrant:
		return "grant"
	case ByRoot:
		return "root"
	case ByIdentityAndResource:
		return "identity+resource"
	}
	return "none"
}

// long is the type's name in a sentence, and whether the sentence may name the policy (§6).
func (b By) long() (name string, named bool) {
	switch b {
	case BySCP:
		return "service control policy", true
	case ByRCP:
		return "resource control policy", true
	case ByEndpoint:
		return "VPC endpoint policy", false
	case ByResource:
		return "resource-based policy", false
	case ByBoundary:
		return "permissions boundary", true
	case BySession:
		return "session policy", true
	}
	return "identity-based policy", true
}

// Reason says in few words how the decision came about, for records and logs.
func (d Decision) Reason() string {
	switch {
	case d.Allowed:
		return "allow: " + d.By.String()
	case d.Explicit:
		return "explicit deny: " + d.By.String()
	}
	return "implicit deny: " + d.By.String()
}

// Message is the sentence of a denial (§6). A caller from elsewhere learns only that it
// was denied, one of the same account or organisation also why.
func (d Decision) Message(p *Principal, a *Ask) string {
	if p.Type == WebIdentity {
		return "Not authorized to perform " + a.Action
	}
	who := p.ARN
	if p.Type == Anonymous {
		who = "anonymous"
	}
	s := "User: " + who + " is not authorized to perform: " + a.Action + " on resource: " + cmp.Or(a.Shown, a.Resource)
	// STS gives no reason: it would tell a role that exists from one that does not
	// (sts-and-fas section 3).
	if !d.near || hasPrefixFold(a.Action, "sts:AssumeRole") || withAssumeRole(a.Action) {
		return s
	}
	name, named := d.By.long()
	if !d.Explicit {
		return s + " because no " + name + " allows the " + a.Action + " action"
	}
	s += " with an explicit deny in a" + article(name) + " " + name
	if named && strings.HasPrefix(d.Policy, "arn:") {
		s += ": " + d.Policy
	}
	return s
}

func article(name string) string {
	if name[0] == 'i' {
		return "n"
	}
	return ""
}

// A Matched is a statement that spoke about the request.
type Matched struct {
	By       By
	Document *policy.Document
	Index    int // of the statement
}

// Statement is the statement as data.
func (m Matched) Statement() *policy.Statement { return &m.Document.Statements()[m.Index] }

// Name is the statement's name in records: the label of its document (or the
// policy type) and its Sid (or index), as in arn:aws:iam::aws:policy/ReadOnly#0.
func (m Matched) Name() string {
	label := m.Document.Label()
	if label == "" {
		label = m.By.String()
	}
	if sid := m.Statement().Sid; sid != "" {
		return label + "#" + sid
	}
	return label + "#" + strconv.Itoa(m.Index)
}

// A Trace collects the statements that matched, in the order of §5. Its slices are the
// caller's buffers. If Missing is not nil, it also collects the condition keys that a statement
// asked for and that were absent, as the documents spell them; that is for
// simulators and costs the evaluation of every condition.
type Trace struct {
	Allow, Deny []Matched
	Missing     []string
}

// Reset empties the trace and keeps its memory.
func (t *Trace) Reset() { t.Allow, t.Deny, t.Missing = t.Allow[:0], t.Deny[:0], t.Missing[:0] }

// AppendJSON writes the audit record's policyDecision: the names of the matched
// statements and the reason.
func (t *Trace) AppendJSON(dst []byte, d Decision) []byte {
	dst = append(dst, `{"allow":`...)
	dst = appendNames(dst, t.Allow)
	dst = append(dst, `,"deny":`...)
	dst = appendNames(dst, t.Deny)
	dst = append(dst, `,"reason":"`...)
	dst = append(dst, d.Reason()...)
	return append(dst, `"}`...)
}

func appendNames(dst []byte, all []Matched) []byte {
	dst = append(dst, '[')
	for i, m := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = canon.AppendString(dst, m.Name())
	}
	return append(dst, ']')
}
