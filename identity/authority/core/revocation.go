package core

import (
	"slices"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// Bounds of the log. It is rewritten as a whole with every entry, so one
// customer's thousands must not become everybody's wait.
const (
	// An account that has more entries in force than this is cut as a whole: its
	// entries become one, which ends all sessions that it has issued until now.
	// More is ended than was asked for, never less.
	maxOfAccount = 4096
	// When there are more than these of all accounts together, the account with
	// the most of them is cut.
	maxEntries = 32768

	keptFor = longest + time.Hour // then the longest session is over
	maxName = 64                  // of an id in an entry: maxListed of them fit into an answer
)

// maxListed entries fit into one answer.
const maxListed = 300

// maxWait bounds how long a poll may ask to wait, in ms.
const maxWait = 10_000

// revocations is the log of what was revoked, with an epoch that only rises
// (sigv4 section 9.6). An entry ends sessions issued until an instant, so it
// is of no more use when the longest of them is over.
type revocations struct {
	write sync.Mutex // held while an entry is made durable
	root  *root      // guarded by write

	mu      sync.RWMutex
	epoch   uint64               // guarded by mu
	list    []message.Revocation // guarded by mu; in the order of epochs; replaced, not changed
	ended   map[single]bool      // guarded by mu; index of list: single sessions
	until   map[cut]time.Time    // guarded by mu; index of list: everything else
	changed chan struct{}        // guarded by mu; closed and replaced when an entry is in force

	// A clock that was set back must neither leave sessions out of reach nor
	// make new ones that are born dead.
	latest  time.Time // guarded by mu; the newest instant of issue that this process has given or seen
	lastCut time.Time // guarded by mu; the newest in list
}

// single names one session, by one of the two.
type single struct {
	akid    string
	session [16]byte
}

// A cut names what is cut at an instant.
type cut struct {
	kind byte
	name string
}

// Kinds of cuts.
const (
	byPrincipal  = 'p'
	byCredential = 'c'
	byAccount    = 'a'
)

func (v *revocations) size() (epoch, n uint64) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.epoch, uint64(len(v.list))
}

// revoked says whether a session was ended (message.Revocation.Ends, for all
// entries at once).
func (v *revocations) revoked(akid string, s *session) bool {
	c := &s.claims
	v.mu.RLock()
	defer v.mu.RUnlock()
	if len(v.list) == 0 {
		return false
	}
	if v.ended[single{session: c.SessionID}] || v.ended[single{akid: akid}] {
		return true
	}
	root, holder := c.RootTask()
	for _, at := range [...]cut{
		{byPrincipal, c.PrincipalID}, {byPrincipal, root}, {byCredential, c.CredentialID},
		{byAccount, c.Account}, {byAccount, s.origin}, {byAccount, holder},
	} { // no entry has the name ""
		if t, ok := v.until[at]; ok && !c.Issued.After(t) {
			return true
		}
	}
	return false
}

// add enters e into the index. v.mu is held, or v is not shared yet.
func (v *revocations) add(e *message.Revocation) {
	var at cut
	switch {
	case e.AccessKeyID != "":
		v.ended[single{akid: e.AccessKeyID}] = true
		return
	case e.PrincipalID != "":
		at.kind, at.name = byPrincipal, e.PrincipalID
	case e.CredentialID != "":
		at.kind, at.name = byCredential, e.CredentialID
	case e.Account != "":
		at.kind, at.name = byAccount, e.Account
	default:
		v.ended[single{session: e.SessionID}] = true
		return
	}
	if v.until[at].Before(e.IssuedBefore) {
		v.until[at] = e.IssuedBefore
	}
}

// issue is the instant that a new session gets: now, but never one that is cut already.
func (v *revocations) issue(now time.Time) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	now = now.Truncate(time.Millisecond)
	if !now.After(v.lastCut) {
		now = v.lastCut.Add(time.Millisecond)
	}
	if now.After(v.latest) {
		v.latest = now
	}
	return now
}

// seen notes the instant of a session that this process has opened.
func (v *revocations) seen(issued time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.latest.Before(issued) {
		v.latest = issued
	}
}

func (a *authority) revoke(p *message.Params, r *result) error {
	asked, err := message.DecodeRevocations(p.Revocation)
	if err != nil || len(asked) != 1 {
		return failure(link.StatusBadRequest)
	}
	e := asked[0]
	for _, name := range []string{e.AccessKeyID, e.PrincipalID, e.CredentialID, e.Account, e.By} {
		if len(name) > maxName {
			return failure(link.StatusBadRequest)
		}
	}
	v := &a.revocations
	v.write.Lock()
	defer v.write.Unlock()
	now := a.now().Truncate(time.Millisecond)
	v.mu.RLock()
	if v.latest.After(now) {
		now = v.latest
	}
	if e.IssuedBefore.IsZero() || e.IssuedBefore.After(now) || e.Single() {
		// Nothing can be said about sessions that do not exist yet.
		e.IssuedBefore = now
	}
	next := make([]message.Revocation, 0, len(v.list)+1)
	gone := false
	for i := range v.list {
		switch old := &v.list[i]; {
		case now.Sub(old.IssuedBefore) >= keptFor:
			gone = true
		case covers(&e, old):
		default:
			next = append(next, *old)
		}
	}
	e.Epoch = v.epoch + 1
	v.mu.RUnlock()
	next, merged, err := bound(append(next, e))
	if err != nil {
		return err
	}
	epoch := next[len(next)-1].Epoch
	encoded, err := message.EncodeRevocations(next)
	if err != nil {
		return err
	}
	plain := link.AppendBytes(link.AppendUint(link.AppendArray(nil, 2), epoch), encoded)
	if err := a.saveState(v.root, revocationsName, plain); err != nil {
		return err
	}
	v.replace(next, epoch, gone || merged)
	r.Epoch = epoch
	return nil
}

// replace puts a list in force whose last entry is new, and tells who waits.
func (v *revocations) replace(next []message.Revocation, epoch uint64, rebuild bool) {
	fresh := &revocations{ended: make(map[single]bool), until: make(map[cut]time.Time)}
	if rebuild { // outside the lock: every call waits for it
		for i := range next {
			fresh.add(&next[i])
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if rebuild {
		v.ended, v.until = fresh.ended, fresh.until
	} else {
		v.add(&next[len(next)-1]) // what it covers stays in the index and says nothing more
	}
	v.list, v.epoch = next, epoch
	for i := range next {
		if v.lastCut.Before(next[i].IssuedBefore) {
			v.lastCut = next[i].IssuedBefore
		}
	}
	if v.changed != nil {
		close(v.changed)
	}
	v.changed = make(chan struct{})
}

// owner is the account that an entry counts against, or "" for one of a front
// that did not say.
func owner(e *message.Revocation) string {
	switch {
	case e.By != "":
		return e.By
	case e.Account != "":
		return e.Account
	}
	for _, key := range []string{e.CredentialID, e.AccessKeyID} {
		if account, err := id.AccessKeyAccount(key); key != "" && err == nil {
			return account
		}
	}
	return ""
}

// bound keeps a list within its limits by making the entries of an account one
// that covers them all. The last entry is the new one.
func bound(list []message.Revocation) (_ []message.Revocation, merged bool, err error) {
	last := list[len(list)-1]
	of := owner(&last)
	count := make(map[string]int)
	for i := range list {
		count[owner(&list[i])]++
	}
	if of == "" || count[of] <= maxOfAccount {
		if len(list) <= maxEntries {
			return list, false, nil
		}
		of = ""
		for account, n := range count {
			if account != "" && (of == "" || n > count[of]) {
				of = account
			}
		}
		if of == "" {
			return nil, false, failure(link.StatusDenied) // nothing may be forgotten
		}
	}
	whole := message.Revocation{Account: of, Epoch: last.Epoch}
	kept := list[:0]
	for i := range list {
		if owner(&list[i]) != of {
			kept = append(kept, list[i])
		} else if whole.IssuedBefore.Before(list[i].IssuedBefore) {
			whole.IssuedBefore = list[i].IssuedBefore
		}
	}
	kept = append(kept, whole)
	if owner(&last) != of {
		// Two entries, two epochs: whoever follows the log page by page has to see both.
		last.Epoch++
		kept[len(kept)-2], kept[len(kept)-1] = whole, last
	}
	return kept, true, nil
}

func (v *revocations) load(a *authority, r *root) error {
	v.write.Lock()
	defer v.write.Unlock()
	v.root = r
	plain, found, err := a.loadState(r, revocationsName)
	if err != nil {
		return err
	}
	var epoch uint64
	var list []message.Revocation
	if found {
		in := link.NewReader(plain)
		if in.Array() != 2 {
			in.Fail()
		}
		n, encoded := in.Uint(), in.Bytes()
		if in.Done() != nil {
			return errState
		}
		if list, err = message.DecodeRevocations(encoded); err != nil {
			return err
		}
		epoch = n
	}
	v.replace(list, epoch, true)
	return nil
}

// covers says whether e makes an older entry superfluous.
func covers(e, old *message.Revocation) bool {
	return e.SessionID == old.SessionID && e.AccessKeyID == old.AccessKeyID && e.PrincipalID == old.PrincipalID &&
		e.CredentialID == old.CredentialID && e.Account == old.Account &&
		!e.IssuedBefore.Before(old.IssuedBefore)
}

// Waits says that asking for revocations may wait for one (link.Waiter).
func (a *authority) Waits(op uint64) bool { return op == message.OpRevocations }

// Wait waits until there is an entry with another epoch than the one that the
// host knows, and no longer than it asks.
func (a *authority) Wait(q *link.Request, ended <-chan struct{}) {
	var p message.Params
	if p.Parse(q.Params) != nil || p.Wait == 0 {
		return
	}
	v := &a.revocations
	v.mu.RLock()
	changed, news := v.changed, v.epoch != p.Since
	v.mu.RUnlock()
	if news || changed == nil { // nil: not opened yet, which Handle says
		return
	}
	late := time.NewTimer(time.Duration(min(p.Wait, maxWait)) * time.Millisecond)
	defer late.Stop()
	select {
	case <-changed:
	case <-late.C:
	case <-ended:
	}
}

func (a *authority) listRevocations(p *message.Params, r *result) error {
	v := &a.revocations
	v.mu.RLock()
	list, epoch := v.list, v.epoch
	v.mu.RUnlock()
	at := 0
	if p.Since > 0 { // epochs rise along the list
		at, _ = slices.BinarySearchFunc(list, p.Since+1, func(e message.Revocation, epoch uint64) int {
			switch {
			case e.Epoch < epoch:
				return -1
			case e.Epoch > epoch:
				return 1
			}
			return 0
		})
	}
	var err error
	r.Revocations, err = message.EncodeRevocations(list[at:min(len(list), at+maxListed)])
	r.Epoch = epoch
	return err
}
