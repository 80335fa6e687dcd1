package core

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// Guessing: after freeAttempts wrong codes in a row every further one makes the
// next wait twice as long, up to longestWait. What comes while one must wait
// is refused unseen and does not count, so that nobody's wait grows without end.
// Three codes of a million are good at a time; at the longest wait a day gives
// 96 attempts, that is one chance in three thousand.
const (
	freeAttempts = 5
	firstWait    = 30 * time.Second
	longestWait  = 15 * time.Minute
	// forgetAfter is when wrong attempts are forgotten.
	forgetAfter = 24 * time.Hour
	// maxAttempts bounds the file. Beyond it the longest quiet of those that only guessed are forgotten.
	maxAttempts = 20_000
	// keptSteps is how long a used code is remembered by its own entry; after that the floor refuses it.
	keptSteps = 2*search + 2
)

// attempts remembers what was tried: for each device the last step whose code
// was used, and for devices and passwords the wrong attempts. It is a file, so
// that a restart gives nobody a second use of a code or fresh attempts.
type attempts struct {
	mu    sync.Mutex            // held from the look at an attempt until it is durable
	root  *root                 // guarded by mu
	floor int64                 // guarded by mu; codes of this step and before are used up, whoever's they are
	list  map[[16]byte]*attempt // guarded by mu
}

type attempt struct {
	step   int64 // last used; 0: none
	wrong  uint64
	failed time.Time // the last wrong one
}

// wait is how long after the last wrong attempt nothing is looked at.
func (e *attempt) wait() time.Duration {
	if e.wrong < freeAttempts {
		return 0
	}
	// Beyond six doublings it is longer than the longest.
	return min(longestWait, firstWait<<min(e.wrong-freeAttempts, 6))
}

// try lets check look at an attempt on id, and notes durably what it said,
// before anybody learns of it: the step of the code that is now used (0 for a
// password) and whether the attempt was right. check is given the last step used.
func (t *attempts) try(a *authority, id [16]byte, refusal error, check func(used int64) (step int64, ok bool)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := a.now()
	e := attempt{}
	if known := t.list[id]; known != nil {
		e = *known
	}
	if now.Sub(e.failed) >= forgetAfter {
		e.wrong = 0
	}
	if now.Sub(e.failed) < e.wait() {
		return refusal
	}
	step, ok := check(max(e.step, t.floor))
	if ok {
		e = attempt{step: max(step, e.step)}
	} else {
		e.wrong, e.failed = e.wrong+1, now
	}
	next, floor := t.pruned(now)
	next[id] = &e
	if e == (attempt{}) {
		delete(next, id) // a right password leaves nothing to remember
	}
	if !(e == (attempt{}) && t.list[id] == nil) {
		if err := t.save(a, next, floor); err != nil {
			return err // fail closed: what is not durable was not accepted
		}
	}
	t.list, t.floor = next, floor
	if !ok {
		return refusal
	}
	return nil
}

// pruned is the list without what no longer matters. The steps of entries that
// go raise the floor, so that a clock that is set back brings no used code back.
func (t *attempts) pruned(now time.Time) (next map[[16]byte]*attempt, floor int64) {
	next, floor = make(map[[16]byte]*attempt, len(t.list)+1), t.floor
	for id, e := range t.list {
		if e.step != 0 && stepOf(now)-e.step > keptSteps {
			floor = max(floor, e.step)
			e = &attempt{wrong: e.wrong, failed: e.failed}
		}
		if e.step != 0 || e.wrong > 0 && now.Sub(e.failed) < forgetAfter {
			next[id] = e
		}
	}
	if len(next) < maxAttempts {
		return next, floor
	}
	guessers := slices.SortedFunc(maps.Keys(next), func(a, b [16]byte) int {
		return cmp.Or(next[a].failed.Compare(next[b].failed), bytes.Compare(a[:], b[:]))
	})
	for _, id := range guessers {
		if len(next) <= maxAttempts*9/10 {
			break
		}
		if next[id].step == 0 {
			delete(next, id)
		}
	}
	return next, floor
}

// save stores [floor, [id, step, wrong, failed ms]...].
func (t *attempts) save(a *authority, list map[[16]byte]*attempt, floor int64) error {
	b := link.AppendUint(link.AppendArray(make([]byte, 0, 32+len(list)*48), 2), uint64(floor))
	b = link.AppendArray(b, len(list))
	for id, e := range list {
		b = link.AppendUint(link.AppendBytes(link.AppendArray(b, 4), id[:]), uint64(e.step))
		b = link.AppendUint(link.AppendUint(b, e.wrong), uint64(max(e.failed.UnixMilli(), 0)))
	}
	return a.saveState(t.root, attemptsName, b)
}

func (t *attempts) load(a *authority, r *root) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.root, t.list = r, make(map[[16]byte]*attempt)
	plain, found, err := a.loadState(r, attemptsName)
	if err != nil || !found {
		return err
	}
	in := link.NewReader(plain)
	if in.Array() != 2 {
		in.Fail()
	}
	t.floor = int64(in.Uint())
	for n := in.Array(); n > 0 && !in.Failed(); n-- {
		if in.Array() != 4 {
			in.Fail()
		}
		var id [16]byte
		if copy(id[:], in.Bytes()) != len(id) {
			in.Fail()
		}
		e := &attempt{step: int64(in.Uint()), wrong: in.Uint()}
		if ms := in.Uint(); ms > 0 {
			e.failed = time.UnixMilli(int64(ms))
		}
		t.list[id] = e
	}
	if in.Done() != nil {
		return errState
	}
	return nil
}
