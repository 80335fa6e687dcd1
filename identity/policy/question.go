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

	action  [maxAction]byte
	actionN int
	service uint64
	full    uint64
}

// maxAction bounds the name of an action; a longer one matches only a star.
const maxAction = 128

// Reset prepares the question for an action and a resource.
func (q *Question) Reset(action, resource string, call, target *Keys, missing *[]string) {
	q.Call, q.Target, q.Missing = call, target, missing
	q.resource = resource
	q.count = split(resource, &q.segments)
	q.actionN = 0
	q.service, q.full = 0, 0
	if len(action) > maxAction {
		return
	}
	q.actionN = len(action)
	colon := -1
	for i := range len(action) {
		c := action[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c == ':' && colon < 0 {
			colon = i
		}
		q.action[i] = c
	}
	if colon >= 0 {
		q.service = fold(action[:colon])
	}
	q.full = fold(action)
}

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
	for _, keys := range [2]*Keys{q.Target, q.Call} {
		if keys == nil {
			continue
		}
		if e := keys.find(k.hash, k.name); e != nil && e.n > 0 {
			return keys.values[e.off : e.off+e.n : e.off+e.n], e.n, e.deadlock
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
