package directory

import (
	"errors"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/state/kv"
)

// A listed is an entity in its place among those of its kind. Name and path
// stand beside the pointer, so that a listing that leaves most entities out
// reads one slice from end to end and nothing else: 10^5 of them are passed
// over in less than a millisecond.
type listed struct {
	name string // folded
	path string
	e    *entity
}

// principal says whether entities of the kind act: these have a Snapshot.
func (k Kind) principal() bool { return k == UserKind || k == RoleKind }

// entity says whether the kind rests in an entityRecord.
func (k Kind) entity() bool { return k.principal() || k == GroupKind || k == ProfileKind }

// known refuses records of a kind of a later release: its rules are not known here.
func (k Kind) known(key kv.Key) error {
	if k.entity() {
		return nil
	}
	return corrupt(key, errors.New("unknown kind"))
}

// place finds a folded name in the order of its kind, or where it would stand.
// Caller holds r.write or r.mu.
func (r *realm) place(kind Kind, folded string) (int, bool) {
	return slices.BinarySearchFunc(r.order[kind], folded, func(l listed, name string) int { return strings.Compare(l.name, name) })
}

// list moves an entity from where its record put it to where rec, which comes
// next, puts it. Caller holds r.mu.
func (r *realm) list(e *entity, rec *entityRecord) {
	old := e.rec
	if old != nil && rec != nil && old.Kind == rec.Kind && old.Name == rec.Name && old.Path == rec.Path {
		return
	}
	if old != nil {
		all := r.order[old.Kind]
		// Of two processes' changes the second may be seen first, so that for a moment
		// two entities have one name.
		for i, _ := r.place(old.Kind, e.folded); i < len(all) && all[i].name == e.folded; i++ {
			if all[i].e == e {
				r.order[old.Kind] = slices.Delete(all, i, i+1)
				break
			}
		}
	}
	if rec == nil {
		return
	}
	e.folded = fold(rec.Name)
	at := listed{e.folded, rec.Path, e}
	if r.loading {
		r.order[rec.Kind] = append(r.order[rec.Kind], at)
		return
	}
	i, _ := r.place(rec.Kind, e.folded)
	r.order[rec.Kind] = slices.Insert(r.order[rec.Kind], i, at)
}

// loaded puts in order what was loaded. Caller holds r.mu.
func (r *realm) loaded() {
	for _, all := range r.order {
		slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	}
	r.loading = false
}
