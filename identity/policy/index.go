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

// An index finds the statements whose actions may match without asking each one. Its
// size and the time to build it grow with the document, not faster.
type index struct {
	services table[*serviceIndex]
	others   serviceIndex // for services that no statement names

	everything     bool // see Document.AllowsEverything
	allows, denies bool // there are statements of the effect: most documents have one of the two only
}

// A serviceIndex is what the statements say about one service, by their effect.
type serviceIndex struct{ allows, denies lists }

func (x *serviceIndex) of(effect Effect) *lists {
	if effect == Deny {
		return &x.denies
	}
	return &x.allows
}

// lists are the statements of one effect that may speak about a service. All ascend.
type lists struct {
	wild     []uint16        // statements with a star, or with NotAction
	patterns []pattern       // names with wildcards
	exact    table[[]uint16] // names without
	except   []exception     // NotAction statements of wild that name the service
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
func newIndex(statements []Statement) (x index) {
	services := make(map[string]*serviceIndex)
	exact := make(map[*lists]map[string][]uint16)
	for i := range statements {
		s, n := &statements[i], uint16(i)
		x.allows, x.denies = x.allows || s.Effect == Allow, x.denies || s.Effect == Deny
		all := slices.ContainsFunc(s.actions, func(a action) bool { return a.all })
		if all && s.NotAction {
			continue // NotAction * is no action
		}
		if all || s.NotAction {
			others := x.others.of(s.Effect)
			others.wild = append(others.wild, n)
		}
		for j := range s.actions {
			a := &s.actions[j]
			if all {
				break
			}
			if services[a.service] == nil {
				services[a.service] = new(serviceIndex)
			}
			l := services[a.service].of(s.Effect)
			if exact[l] == nil {
				exact[l] = make(map[string][]uint16)
			}
			l.add(n, a, s.NotAction, exact[l])
		}
	}
	for _, s := range services {
		for _, effect := range []Effect{Allow, Deny} {
			l := s.of(effect)
			l.exact = newTable(exact[l])
			l.share(x.others.of(effect).wild)
		}
	}
	x.services = newTable(services)
	if len(statements) == 1 {
		s := &statements[0]
		x.everything = s.Effect == Allow && !s.NotPrincipal && !s.NotAction && s.anyResource && len(s.Conditions) == 0 &&
			slices.ContainsFunc(s.actions, func(a action) bool { return a.all })
	}
	return x
}

func (l *lists) add(n uint16, a *action, not bool, exact map[string][]uint16) {
	switch {
	case not:
		if k := len(l.except); k == 0 || l.except[k-1].statement != n {
			l.except = append(l.except, exception{statement: n})
		}
		last := &l.except[len(l.except)-1]
		last.whole = last.whole || a.name.shape == shapeAll
	case a.name.shape != shapeExact:
		l.patterns = append(l.patterns, pattern{n, a.name})
	default:
		// Ascending, so that a repetition can only be the last.
		if k := exact[a.name.text]; len(k) == 0 || k[len(k)-1] != n {
			exact[a.name.text] = append(k, n)
		}
	}
}

// share gives a service the statements of every service. It gets a list of its own,
// without those that except all of it, if at least as many fall away as stay: then the lists of all
// services together are no longer than the document.
func (l *lists) share(wild []uint16) {
	l.wild = wild
	whole := 0
	for _, e := range l.except {
		if e.whole {
			whole++
		}
	}
	if whole == 0 || len(wild) > 2*whole {
		return
	}
	l.wild = make([]uint16, 0, len(wild)-whole)
	except := l.except
	for _, n := range wild {
		for len(except) > 0 && except[0].statement < n {
			except = except[1:]
		}
		if len(except) == 0 || except[0].statement != n || !except[0].whole {
			l.wild = append(l.wild, n)
		}
	}
	l.except = slices.DeleteFunc(l.except, func(e exception) bool { return e.whole })
}

// A walk goes over the candidates of one document. It is a part of the Question, as
// returning a fresh one costs more than all else here.
type walk struct {
	statements []Statement
	lists      *lists
	exact      []uint16 // of lists.exact, those of the question's action

	// The next of each list.
	nextExact, nextWild, nextPattern, nextException int

	// The document's repeated conditions that are known to hold, and not to, as in Condition.bit.
	held, failed uint64
}

// Walk starts over the candidates of a document: the statements of an effect whose actions
// match. Next gives them in their order. It ends the walk before.
func (q *Question) Walk(d *Document, effect Effect) {
	if effect == Allow && !d.index.allows || effect == Deny && !d.index.denies {
		q.walk.statements, q.walk.lists, q.walk.exact = nil, &nothing, nil
		q.walk.nextExact, q.walk.nextWild, q.walk.nextPattern = 0, 0, 0
		return
	}
	if q.document != d {
		q.document = d
		q.walk.held, q.walk.failed = 0, 0
		q.service = d.index.services.find(q.serviceHash, q.lower[:q.colon])
		if q.service == nil {
			q.service = &d.index.others
		}
	}
	w := &q.walk
	w.statements, w.lists, w.exact = d.statements, q.service.of(effect), nil
	w.nextExact, w.nextWild, w.nextPattern, w.nextException = 0, 0, 0, 0
	if len(w.lists.exact.rows) > 0 {
		w.exact = w.lists.exact.find(q.nameHash, q.lower[q.colon+1:len(q.action)])
	}
}

// nothing is what a document has of an effect that none of its statements has; it is never written.
var nothing lists

// Next gives the next candidate, nil at the end. It may leave out statements of which it
// is known already that Applies would be false.
func (q *Question) Next() *Statement {
	// A merge of ascending lists: those that surely match, and those still to be asked.
	w := &q.walk
	l := w.lists
	for {
		const end = 1 << 16
		next := end
		if w.nextExact < len(w.exact) {
			next = int(w.exact[w.nextExact])
		}
		if w.nextWild < len(l.wild) {
			next = min(next, int(l.wild[w.nextWild]))
		}
		if w.nextPattern < len(l.patterns) {
			next = min(next, int(l.patterns[w.nextPattern].statement))
		}
		if next >= len(w.statements) {
			return nil
		}
		matched := false
		if w.nextExact < len(w.exact) && int(w.exact[w.nextExact]) == next {
			w.nextExact++
			matched = true
		}
		if w.nextWild < len(l.wild) && int(l.wild[w.nextWild]) == next {
			w.nextWild++
			matched = len(l.except) == 0 || q.unexcepted(next)
		}
		for ; w.nextPattern < len(l.patterns); w.nextPattern++ {
			p := &l.patterns[w.nextPattern]
			if int(p.statement) != next {
				break
			}
			matched = matched || p.name.shape == shapeAll || p.name.matchFold(q.name())
		}
		if matched {
			if s := &w.statements[next]; s.repeated&w.failed == 0 {
				return s
			}
		}
	}
}

// unexcepted says whether a statement that speaks of every service speaks of this
// action. Statements that do not name the service in NotAction need no look.
func (q *Question) unexcepted(statement int) bool {
	w := &q.walk
	except := w.lists.except
	for w.nextException < len(except) && int(except[w.nextException].statement) < statement {
		w.nextException++
	}
	if w.nextException == len(except) || int(except[w.nextException].statement) != statement {
		return true
	}
	return !except[w.nextException].whole && w.statements[statement].matchesAction(q)
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
