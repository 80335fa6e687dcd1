package policy

import "strings"

// A Question is one request as statements see it. Reset fills it; the zero value
// is not ready. It is used by one goroutine at a time.
type Question struct {
	// Call and Target hold the condition keys: those of the call and its caller, and
	// those of the one thing asked about, which win. Either may be nil.
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

	// Where the last document asked speaks of the action's service.
	document *Document
	service  *serviceIndex
}

// maxAction bounds the names of actions, service included; AWS's are shorter.
const maxAction = 128

// Reset prepares the question for an action and a resource. It is false if the
// action is none: such a question must not be asked, it has no right answer.
func (q *Question) Reset(action, resource string, call, target *Keys, missing *[]string) bool {
	q.Call, q.Target, q.Missing = call, target, missing
	q.document, q.service = nil, nil
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

// split cuts s at its first five colons and returns the number of pieces.
func split(s string, into *[6]string) int {
	for n := range 5 {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			into[n] = s
			return n + 1
		}
		into[n], s = s[:i], s[i+1:]
	}
	into[5] = s
	return 6
}

// lookup gives the values of a key and their number; deadlock says that the key is a tag
// set in two spellings. The target's key hides the call's.
func (q *Question) lookup(k *keyRef) (values []string, n int, deadlock bool) {
	if q.Target != nil {
		if e := q.Target.find(k.hash, k.name); e != nil && e.n > 0 {
			return q.Target.of(e), e.n, e.deadlock
		}
	}
	if q.Call != nil {
		if e := q.Call.find(k.hash, k.name); e != nil && e.n > 0 {
			return q.Call.of(e), e.n, e.deadlock
		}
	}
	q.miss(k.name)
	return nil, 0, false
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
// question. It looks neither at actions (Candidates does) nor at principals
// (identity/authz does).
func (s *Statement) Applies(q *Question) bool {
	if !s.matchesResource(q) {
		return false
	}
	holds := true
	for i := range s.Conditions {
		if !s.Conditions[i].holds(q, s.Effect) {
			holds = false
			if q.Missing == nil {
				break // else the other keys' absence is wanted, too
			}
		}
	}
	return holds
}

func (s *Statement) matchesResource(q *Question) bool {
	if len(s.Resources) == 0 {
		return true // a trust policy speaks about its role
	}
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
