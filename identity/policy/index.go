package policy

import (
	"slices"
	"strings"
)

// An action is one compiled string of Action or NotAction, in lower case.
type action struct {
	all     bool // * or *:*
	service string
	name    matcher
}

// compileAction returns AWS's sentence if s is no action.
func compileAction(s string) (a action, message string) {
	if s == "*" || s == "*:*" {
		return action{all: true}, ""
	}
	vendor, name, ok := strings.Cut(s, ":")
	switch {
	case !ok || vendor == "":
		return a, msgVendor
	case strings.Contains(name, ":"):
		return a, msgOneColon
	case strings.ContainsFunc(vendor, func(c rune) bool { return !isAlnum(c) && c != '-' }):
		return a, "Vendor " + clip(vendor) + " is not valid"
	case name == "" || strings.ContainsFunc(name, func(c rune) bool {
		return !isAlnum(c) && c != '*' && c != '?' && c != '-' && c != '_'
	}):
		return a, msgSyntax
	}
	parts, _ := scan(strings.ToLower(name), false, true)
	compiled, _ := compile(parts)
	return action{service: strings.ToLower(vendor), name: newMatcher(compiled)}, ""
}

// An index finds the statements whose actions may match without asking each one.
type index struct {
	exact   map[string][]uint16  // service:name without wildcards
	service map[string][]pattern // service: with wildcards in the name
	wild    []uint16             // any service: a star, or NotAction
}

type pattern struct {
	statement uint16
	name      matcher
}

// newIndex relies on LimitParameter: no document has 65536 statements.
func newIndex(statements []Statement) index {
	x := index{exact: make(map[string][]uint16), service: make(map[string][]pattern)}
	for i := range statements {
		s, n := &statements[i], uint16(i)
		if s.NotAction || slices.ContainsFunc(s.actions, func(a action) bool { return a.all }) {
			x.wild = append(x.wild, n)
			continue
		}
		for _, a := range s.actions {
			switch {
			case a.name.shape != shapeExact:
				x.service[a.service] = append(x.service[a.service], pattern{n, a.name})
			default:
				name := a.service + ":" + a.name.text
				// Ascending, so that a repetition can only be the last.
				if l := x.exact[name]; len(l) == 0 || l[len(l)-1] != n {
					x.exact[name] = append(l, n)
				}
			}
		}
	}
	return x
}

// Candidates are the statements of the document whose actions match the question,
// in their order.
func (d *Document) Candidates(q *Question) Candidates {
	x := &d.index
	c := Candidates{d: d, q: q, wild: x.wild}
	if q.colon >= 0 && len(q.action) <= maxAction {
		c.exact = x.exact[string(q.lower[:len(q.action)])]
		c.patterns = x.service[string(q.lower[:q.colon])]
	}
	return c
}

// Candidates walks over statements; see Document.Candidates.
type Candidates struct {
	d           *Document
	q           *Question
	exact, wild []uint16
	patterns    []pattern
}

// Next gives the next statement, nil at the end.
func (c *Candidates) Next() *Statement {
	// A merge of three ascending lists, of which two still have to be asked.
	for {
		next := 1 << 16
		if len(c.exact) > 0 {
			next = int(c.exact[0])
		}
		if len(c.wild) > 0 {
			next = min(next, int(c.wild[0]))
		}
		if len(c.patterns) > 0 {
			next = min(next, int(c.patterns[0].statement))
		}
		if next == 1<<16 {
			return nil
		}
		matched := false
		if len(c.exact) > 0 && int(c.exact[0]) == next {
			c.exact, matched = c.exact[1:], true
		}
		if len(c.wild) > 0 && int(c.wild[0]) == next {
			c.wild, matched = c.wild[1:], c.d.statements[next].matchesAction(c.q)
		}
		for len(c.patterns) > 0 && int(c.patterns[0].statement) == next {
			matched = matched || c.patterns[0].name.matchFold(c.q.name())
			c.patterns = c.patterns[1:]
		}
		if matched {
			return &c.d.statements[next]
		}
	}
}

// matchesAction says whether the statement's Action or NotAction matches, without an index.
func (s *Statement) matchesAction(q *Question) bool {
	for i := range s.actions {
		a := &s.actions[i]
		if a.all || q.colon >= 0 && len(a.service) == q.colon && equalFold(a.service, q.vendor()) && a.name.matchFold(q.name()) {
			return !s.NotAction
		}
	}
	return s.NotAction
}
