package policy

import (
	"net/netip"
	"strings"
	"unique"
)

// A Question is one request as statements see it. Reset fills it; the zero value
// is not ready. It is used by one goroutine at a time.
type Question struct {
	// Call and Target hold the condition keys: those of the call and its caller, and
	// those of the one thing asked about, which win. Either may be nil. They must not
	// change until the next Reset: what has been looked up is remembered.
	Call, Target *Keys
	// Missing, if not nil, collects the condition keys that a statement asked for
	// and that were absent, as the documents spell them.
	Missing *[]string

	resource string
	segments [6]string
	count    int // segments of resource

	action string
	colon  int // first colon of action
	lower  [maxAction]byte

	serviceHash, nameHash uint64

	// What has been looked up, by open addressing, and whether there is any of it.
	known [answers]answer
	asked bool

	// Where the last document asked speaks of the action's service.
	document *Document
	service  *serviceIndex
	walk     walk
}

// maxAction bounds the names of actions, service included; AWS's are shorter.
const maxAction = 128

// Reset prepares the question for an action and a resource. It is false if the
// action is none: such a question must not be asked, it has no right answer.
func (q *Question) Reset(action, resource string, call, target *Keys, missing *[]string) bool {
	q.Call, q.Target, q.Missing = call, target, missing
	q.document, q.service, q.walk = nil, nil, walk{}
	if q.asked {
		clear(q.known[:])
		q.asked = false
	}
	q.resource = resource
	q.count = split(resource, &q.segments)
	q.action = action
	q.colon = strings.IndexByte(action, ':')
	if q.colon <= 0 || len(action) > maxAction {
		return false
	}
	for i := range len(action) {
		q.lower[i] = small(action[i])
	}
	// The hash has no case, so that of the action is that of lower.
	q.serviceHash, q.nameHash = fold(action[:q.colon]), fold(action[q.colon+1:])
	return true
}

func (q *Question) vendor() string { return q.action[:q.colon] }
func (q *Question) name() string   { return q.action[q.colon+1:] }

// split cuts s at its first five colons and returns the number of pieces. The pieces
// are short, so that a plain loop is the fastest.
func split(s string, into *[6]string) int {
	n, start := 0, 0
	for i := 0; i < len(s); i++ {
		if s[i] == ':' {
			into[n], start = s[start:i], i+1
			if n++; n == 5 {
				break
			}
		}
	}
	into[n] = s[start:]
	return n + 1
}

// answers is the number of answers that a Question remembers, a power of two.
// Policies ask for few keys, and for these again and again.
const answers = 16

// An answer is what a request says about one key. It holds until the next lookup.
type answer struct {
	key      unique.Handle[string] // zero: free
	values   []string              // none: the key is absent
	deadlock bool                  // the key is a tag set in two spellings

	// What has been read out of a single value, on demand.
	state   uint8
	addr    netip.Addr
	instant instant
}

// The states of an answer.
const (
	addrRead uint8 = 1 << iota
	addrValid
	instantRead
	instantValid
	literalRead
	literalValid
)

// lookup gives the values of a key.
func (q *Question) lookup(k *keyRef) *answer {
	if a := &q.known[k.hash%answers]; a.key == k.handle {
		return a
	}
	return q.search(k)
}

// search is lookup beyond the key's first place. The target's key hides the call's.
func (q *Question) search(k *keyRef) *answer {
	home := k.hash % answers
	a := &q.known[home] // without a free place the key takes another's, which is then looked up anew
	for i := range uint64(answers) {
		at := &q.known[(home+i)%answers]
		if at.key == k.handle {
			return at
		}
		if at.key == (unique.Handle[string]{}) {
			a = at
			break
		}
	}
	q.asked = true
	*a = answer{key: k.handle}
	if !a.find(q.Target, k) && !a.find(q.Call, k) {
		q.miss(k.name)
	}
	return a
}

func (a *answer) find(keys *Keys, k *keyRef) bool {
	if keys == nil {
		return false
	}
	e := keys.find(k.hash, k.name)
	if e == nil || e.n == 0 {
		return false
	}
	a.values, a.deadlock = keys.of(e), e.deadlock
	return true
}

// literal gives the single value of a key that can stand in a pattern: one with the
// bytes that stand for wildcards is no UTF-8 and resolves to nothing.
func (a *answer) literal() (string, bool) {
	if len(a.values) != 1 || a.deadlock {
		return "", false
	}
	v := a.values[0]
	if a.state&literalRead == 0 {
		a.state |= literalRead
		if strings.IndexByte(v, anyRun) < 0 && strings.IndexByte(v, anyRune) < 0 {
			a.state |= literalValid
		}
	}
	return v, a.state&literalValid != 0
}

// asAddr reads v, one of the answer's values, as an address.
func (a *answer) asAddr(v string) (netip.Addr, bool) {
	if len(a.values) != 1 {
		return parseAddr(v)
	}
	if a.state&addrRead == 0 {
		a.state |= addrRead
		var ok bool
		if a.addr, ok = parseAddr(v); ok {
			a.state |= addrValid
		}
	}
	return a.addr, a.state&addrValid != 0
}

// asInstant reads v, one of the answer's values, as a date.
func (a *answer) asInstant(v string) (instant, bool) {
	if len(a.values) != 1 {
		return parseInstant(v)
	}
	if a.state&instantRead == 0 {
		a.state |= instantRead
		var ok bool
		if a.instant, ok = parseInstant(v); ok {
			a.state |= instantValid
		}
	}
	return a.instant, a.state&instantValid != 0
}

func (q *Question) miss(name string) {
	if q.Missing == nil {
		return
	}
	for _, m := range *q.Missing {
		if strings.EqualFold(m, name) {
			return
		}
	}
	*q.Missing = append(*q.Missing, name)
}

// Applies says whether the statement's resources and conditions match the
// question. It looks neither at actions (Walk does) nor at principals
// (identity/authz does).
func (s *Statement) Applies(q *Question) bool {
	if !s.anyResource && !s.matchesResource(q) {
		return false
	}
	if q.Missing == nil {
		return s.holds(q)
	}
	holds := true
	for i := range s.Conditions { // all of them: each absence is wanted
		holds = s.Conditions[i].holds(q, s.Effect) && holds
	}
	return holds
}

func (s *Statement) holds(q *Question) bool {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		known := c.bit != 0 && q.walksOver(s)
		if known && q.walk.held&c.bit != 0 {
			continue
		}
		if !c.holds(q, s.Effect) {
			if known {
				q.walk.failed |= c.bit
			}
			return false
		}
		if known {
			q.walk.held |= c.bit
		}
	}
	return true
}

// walksOver says whether the statement is of the document that is being walked over.
func (q *Question) walksOver(s *Statement) bool {
	return s.Index < len(q.walk.statements) && s == &q.walk.statements[s.Index]
}

func (s *Statement) matchesResource(q *Question) bool {
	if !s.NotResource {
		for i := range s.Resources {
			if r := &s.Resources[i]; r.all || (q.Missing != nil || r.mayMatch(q)) && r.matchResource(q) == matches {
				return true
			}
		}
		return false
	}
	// NotResource with a variable that cannot be resolved: an Allow does not apply, a
	// Deny does (§3), whatever the other patterns say.
	matched := false
	for i := range s.Resources {
		switch s.Resources[i].matchResource(q) {
		case unresolved:
			return s.Effect == Deny
		case matches:
			matched = true
		}
	}
	return !matched
}
