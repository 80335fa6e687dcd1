package policy

import (
	"math/bits"
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

// An index finds the statements of one effect whose actions may match without
// asking each one. Its size and the time to build it grow with the document, not
// faster.
type index struct {
	services table[*serviceIndex]
	wild     []uint16 // statements with a star, or with NotAction
}

// A serviceIndex is what the statements say about one service. All lists ascend.
type serviceIndex struct {
	exact    table[[]uint16] // names without wildcards
	patterns []pattern       // names with
	except   []exception     // NotAction statements that name the service
}

type pattern struct {
	statement uint16
	name      matcher
}

// An exception is a NotAction statement that names all of the service, or some of it.
type exception struct {
	statement uint16
	whole     bool
}

// A table finds values by a name that the question has hashed once for all documents.
type table[V any] struct {
	rows []row[V] // open addressing, at most half full; a free row has no name
}

type row[V any] struct {
	hash  uint64
	name  string
	value V
}

func newTable[V any](from map[string]V) (t table[V]) {
	if len(from) == 0 {
		return t
	}
	t.rows = make([]row[V], 1<<bits.Len(uint(2*len(from)-1)))
	for name, v := range from {
		h := fold(name)
		i := t.home(h)
		for t.rows[i].name != "" {
			i = (i + 1) & (len(t.rows) - 1)
		}
		t.rows[i] = row[V]{h, name, v}
	}
	return t
}

func (t *table[V]) home(hash uint64) int { return int(hash & uint64(len(t.rows)-1)) }

func (t *table[V]) find(hash uint64, name []byte) (v V) {
	if len(t.rows) == 0 {
		return v
	}
	for i := t.home(hash); t.rows[i].name != ""; i = (i + 1) & (len(t.rows) - 1) {
		if r := &t.rows[i]; r.hash == hash && r.name == string(name) {
			return r.value
		}
	}
	return v
}

// newIndex relies on LimitParameter: no document has 65536 statements.
func newIndex(statements []Statement, effect Effect) (x index) {
	services := make(map[string]*serviceIndex)
	exact := make(map[string]map[string][]uint16)
	for i := range statements {
		s, n := &statements[i], uint16(i)
		all := slices.ContainsFunc(s.actions, func(a action) bool { return a.all })
		if s.Effect != effect || all && s.NotAction {
			continue // NotAction * is no action
		}
		if all || s.NotAction {
			x.wild = append(x.wild, n)
		}
		for j := range s.actions {
			a := &s.actions[j]
			if all {
				break
			}
			if services[a.service] == nil {
				services[a.service], exact[a.service] = new(serviceIndex), make(map[string][]uint16)
			}
			services[a.service].add(n, a, s.NotAction, exact[a.service])
		}
	}
	for name, s := range services {
		s.exact = newTable(exact[name])
	}
	x.services = newTable(services)
	return x
}

func (x *serviceIndex) add(n uint16, a *action, not bool, exact map[string][]uint16) {
	switch {
	case not:
		if l := len(x.except); l == 0 || x.except[l-1].statement != n {
			x.except = append(x.except, exception{statement: n})
		}
		last := &x.except[len(x.except)-1]
		last.whole = last.whole || a.name.shape == shapeAll
	case a.name.shape != shapeExact:
		x.patterns = append(x.patterns, pattern{n, a.name})
	default:
		// Ascending, so that a repetition can only be the last.
		if l := exact[a.name.text]; len(l) == 0 || l[len(l)-1] != n {
			exact[a.name.text] = append(l, n)
		}
	}
}

// Candidates are the statements of an effect whose actions match the question, in their
// order.
func (d *Document) Candidates(q *Question, effect Effect) Candidates {
	x := &d.allows
	if effect == Deny {
		x = &d.denies
	}
	c := Candidates{d: d, q: q, wild: x.wild}
	if s := x.services.find(q.serviceHash, q.lower[:q.colon]); s != nil {
		c.patterns, c.except = s.patterns, s.except
		c.exact = s.exact.find(q.nameHash, q.lower[q.colon+1:len(q.action)])
	}
	return c
}

// Candidates walks over statements; see Document.Candidates.
type Candidates struct {
	d           *Document
	q           *Question
	exact, wild []uint16
	patterns    []pattern
	except      []exception
}

// Next gives the next statement, nil at the end.
func (c *Candidates) Next() *Statement {
	// A merge of ascending lists: those that surely match, and those still to be asked.
	for {
		const end = 1 << 16
		next := end
		if len(c.exact) > 0 {
			next = int(c.exact[0])
		}
		if len(c.wild) > 0 {
			next = min(next, int(c.wild[0]))
		}
		if len(c.patterns) > 0 {
			next = min(next, int(c.patterns[0].statement))
		}
		if next == end {
			return nil
		}
		matched := false
		if len(c.exact) > 0 && int(c.exact[0]) == next {
			c.exact, matched = c.exact[1:], true
		}
		if len(c.wild) > 0 && int(c.wild[0]) == next {
			c.wild, matched = c.wild[1:], c.unexcepted(next)
		}
		for len(c.patterns) > 0 && int(c.patterns[0].statement) == next {
			p := &c.patterns[0]
			matched = matched || p.name.shape == shapeAll || p.name.matchFold(c.q.name())
			c.patterns = c.patterns[1:]
		}
		if matched {
			return &c.d.statements[next]
		}
	}
}

// unexcepted says whether a statement that speaks of every service speaks of this
// action. Statements that do not name the service in NotAction need no look.
func (c *Candidates) unexcepted(statement int) bool {
	for len(c.except) > 0 && int(c.except[0].statement) < statement {
		c.except = c.except[1:]
	}
	if len(c.except) == 0 || int(c.except[0].statement) != statement {
		return true
	}
	return !c.except[0].whole && c.d.statements[statement].matchesAction(c.q)
}

// matchesAction says whether the statement's Action or NotAction matches, without an index.
func (s *Statement) matchesAction(q *Question) bool {
	for i := range s.actions {
		a := &s.actions[i]
		if a.all || len(a.service) == q.colon && equalFold(a.service, q.vendor()) && a.name.matchFold(q.name()) {
			return !s.NotAction
		}
	}
	return s.NotAction
}
