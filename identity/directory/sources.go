package directory

import "github.com/leadglass/leadglass/identity/policy"

// A PolicySource is an identity policy and who carries it.
type PolicySource struct {
	Document *policy.Document
	Kind     Kind   // UserKind, RoleKind or GroupKind
	Name     string // of the user, role or group
}

// PolicySources is a user, role or group as it is now, and where each of its identity policies comes
// from; a user has also those of its groups. Of a group the snapshot is that of nobody in particular: it says what
// membership gives.
func (d *Directory) PolicySources(account string, kind Kind, name string) (*Snapshot, []PolicySource, error) {
	r := d.realm(account)
	if r == nil {
		return nil, nil, noSuch(kind, name)
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, err := r.find(kind, name)
	if err != nil {
		return nil, nil, err
	}
	s, err := d.build(e)
	if err != nil {
		return nil, nil, err
	}
	// As build has them in order: the entity's own, then those of group after group.
	var sources []PolicySource
	rest := s.Policies.Identity
	take := func(rec *entityRecord) {
		for range len(rec.Attached) + len(rec.Inline) {
			sources = append(sources, PolicySource{rest[0], rec.Kind, rec.Name})
			rest = rest[1:]
		}
	}
	take(e.rec)
	for _, id := range e.rec.Groups {
		take(r.entities[id].rec)
	}
	return s, sources, nil
}
