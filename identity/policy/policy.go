// Package policy is the policy language: it reads a document strictly,
// compiles it once, and says which of its statements speak about a request.
// It decides nothing: the order of the policy types, who the caller is and what
// wins belong to identity/authz.
//
// Start with Parse. It refuses whatever the house would not enforce: an unknown
// element, an unknown operator, a key written twice, a value that an operator
// could never compare. The error carries the message AWS's tools know and the
// line and column of the fault. A Document never changes after Parse, so it is
// shared between goroutines and kept in snapshots; Named and Bind give changed
// copies that share the compiled parts.
//
// To match, fill a Question, let it Walk over a document's candidates (the statements of
// one effect whose actions match) and ask each one Applies (resource and conditions). Matching
// allocates nothing, unless a variable expands a pattern beyond some hundred bytes.
// Glob matching is iterative with one backtrack point; regular expressions
// are not used, and no document or request makes it exponential.
//
// What a simulator or a reasoner needs, the parsed statements give as data:
// effect, actions, resource patterns in parts, principals, conditions and their
// place in the text. All of it is read-only.
//
// What the language means is written in the specification of policy evaluation;
// comments cite its sections as §.
package policy

import (
	"slices"
	"unicode/utf8"
)

// A Kind says where a document is attached, which decides the elements it may
// hold (§1).
type Kind uint8

// The kinds of documents. ManagedRCP is a resource control policy that comes
// with the installation, such as RCPFullAWSAccess: only those may allow.
const (
	Identity Kind = iota + 1
	Boundary
	Session
	SCP
	RCP
	ManagedRCP
	Endpoint
	Resource
	Trust
	Key
)

func (k Kind) String() string {
	names := [...]string{"", "identity", "boundary", "session", "scp", "rcp", "managed rcp", "endpoint", "resource", "trust", "key"}
	if k < Identity || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Limits of documents in the unit that Size measures (§1). Where a service
// counts bytes as stored, the constant says so.
const (
	LimitManaged       = 6144
	LimitInlineUser    = 2048 // sum of a user's inline policies
	LimitInlineGroup   = 5120
	LimitInlineRole    = 10240
	LimitTrust         = 2048
	LimitTrustRaised   = 4096
	LimitSession       = 2048   // characters, white space included; also the sum with managed ARNs
	LimitOrganization  = 5120   // SCP and RCP: bytes as stored
	LimitBucket        = 20480  // bytes as stored
	LimitKey           = 32768  // bytes as stored
	LimitEndpoint      = 20480  // bytes as stored
	LimitParameter     = 131072 // any raw document; Parse refuses more
	ManagedVersions    = 5
	ManagedPerEntity   = 10
	AttachedPerOrgNode = 5
)

// Size counts the characters of a document without the white space outside of
// strings, as IAM's quotas do.
func Size(text []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			// The escaped character cannot end the string; both count.
			n++
			i++
			if i < len(text) {
				n++
			}
		case c == '"':
			quoted = !quoted
			n++
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
		case utf8.RuneStart(c):
			n++
		}
	}
	return n
}

// Version is the version of the language.
type Version uint8

// The two versions. A document without Version is of 2008, which has no variables.
const (
	Version2008 Version = iota
	Version2012
)

// Effect is what a statement does.
type Effect uint8

// The effects.
const (
	Allow Effect = iota + 1
	Deny
)

func (e Effect) String() string {
	switch e {
	case Allow:
		return "Allow"
	case Deny:
		return "Deny"
	}
	return "Effect(0)"
}

// A Position is a place in the text; lines and columns (in characters) start at 1.
type Position struct{ Offset, Line, Column int }

// A Document is one parsed and compiled policy. It is immutable.
type Document struct {
	kind       Kind
	version    Version
	id         string
	label      string
	text       []byte
	statements []Statement
	index      index
}

// A Statement is one statement as data. Its slices belong to the document and
// must not be changed.
type Statement struct {
	// What every decision reads stands together.
	Index        int    // place in the document, from 0
	repeated     uint64 // the bits of the conditions
	Effect       Effect
	NotPrincipal bool           // Principals lists the exempt
	NotAction    bool           // Actions lists the exempt
	NotResource  bool           // Resources lists the exempt
	anyResource  bool           // the resources need no look: *, or none
	Principals   []PrincipalRef // empty where the kind of document has none
	Conditions   []Condition
	Resources    []Pattern // empty in a trust policy: the role itself

	Sid        string
	Actions    []string // as written
	Start, End Position // first and behind the last character of the statement

	actions []action
}

// Kind is the kind the document was parsed as.
func (d *Document) Kind() Kind { return d.kind }

// Version is the document's version of the language.
func (d *Document) Version() Version { return d.version }

// ID is the document's Id element.
func (d *Document) ID() string { return d.id }

// Text is the document as it was given. The caller must not change it.
func (d *Document) Text() []byte { return d.text }

// Label is what Named set: the ARN or the name of the policy.
func (d *Document) Label() string { return d.label }

// Named gives the document with a label for denial messages and traces.
func (d *Document) Named(label string) *Document {
	c := *d
	c.label = label
	return &c
}

// AllowsEverything says whether the document is one statement that allows every action on every resource to
// whomever it speaks of, without conditions: FullAWSAccess, AdministratorAccess. Organizations have one at each level.
func (d *Document) AllowsEverything() bool { return d.index.everything }

// Statements are the document's statements in their order; read-only.
func (d *Document) Statements() []Statement { return d.statements }

// Principals are those of all Principal and NotPrincipal elements, without
// repetitions.
func (d *Document) Principals() []PrincipalRef {
	var all []PrincipalRef
	for i := range d.statements {
		for _, p := range d.statements[i].Principals {
			if !slices.ContainsFunc(all, func(q PrincipalRef) bool { return q.Type == p.Type && q.Value == p.Value }) {
				all = append(all, p)
			}
		}
	}
	return all
}

// Bind gives the document with the named users and roles tied to unique ids
// (§1, "Principals are stored as ids"): ids maps a principal's ARN to its id.
// From then on the id alone matches. An ARN bound to "" (the entity was deleted)
// matches nobody, not even a new entity of the same name. ARNs that ids does
// not hold stay as they are.
func (d *Document) Bind(ids map[string]string) *Document {
	c := *d
	c.statements = slices.Clone(d.statements)
	for i := range c.statements {
		refs := slices.Clone(c.statements[i].Principals)
		for j := range refs {
			if id, ok := ids[refs[j].Value]; ok && (refs[j].Form == FormUser || refs[j].Form == FormRole) {
				refs[j].ID, refs[j].Bound = id, true
			}
		}
		c.statements[i].Principals = refs
	}
	return &c
}
