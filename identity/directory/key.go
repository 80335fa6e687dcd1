package directory

import (
	"context"
	"slices"

	"github.com/leadglass/leadglass/identity/authority"
)

// keysPerUser is IAM's limit.
const keysPerUser = 2

func noSuchKey(accessKeyID string) error {
	return refuse(NoSuchEntity, "The Access Key with id %s cannot be found.", accessKeyID)
}

// CreateAccessKey makes an access key. The secret is in the answer and nowhere else in the clear.
func (d *Directory) CreateAccessKey(ctx context.Context, account, user string) (NewAccessKey, error) {
	full := refuse(LimitExceeded, "Cannot exceed quota for AccessKeysPerUser: %d", keysPerUser)
	// Before the authority is troubled; the change looks again.
	_, err := view(d, account, UserKind, user, func(e *entity) (struct{}, error) {
		if len(e.rec.Keys) >= keysPerUser {
			return struct{}{}, full
		}
		return struct{}{}, nil
	})
	if err != nil {
		return NewAccessKey{}, err
	}
	akid, sealed, sec, err := d.newKey(ctx, account)
	if err != nil {
		return NewAccessKey{}, err
	}
	out := NewAccessKey{AccessKey{ID: akid, Active: true}, sec}
	err = d.alter(ctx, account, UserKind, user, func(t *tx, e *entity, rec *entityRecord) error {
		if len(rec.Keys) >= keysPerUser {
			return full
		}
		now := d.clock.Now()
		out.UserName, out.Created = rec.Name, now
		rec.Keys = append(slices.Clone(rec.Keys), akid)
		t.insert(recordKey(account, sectionKey, akid), keyRecord{User: rec.ID, Created: now.UnixMilli(), Active: true, Sealed: sealed})
		return nil
	})
	if err != nil {
		sec.Destroy()
		return NewAccessKey{}, err
	}
	return out, nil
}

// ListAccessKeys lists the keys of a user.
func (d *Directory) ListAccessKeys(account, user string, list List) (Page[AccessKey], error) {
	return view(d, account, UserKind, user, func(e *entity) (Page[AccessKey], error) {
		var keys []AccessKey
		for _, id := range e.rec.Keys {
			if k := e.realm.keys[id]; k != nil {
				keys = append(keys, AccessKey{ID: id, UserName: e.rec.Name, Active: k.rec.Active, Created: instant(k.rec.Created)})
			}
		}
		return pageOfNames(list, keys, func(k AccessKey) string { return k.ID })
	})
}

// owned finds a key and the user that has it; a user name that does not fit
// answers like a key that does not exist. Caller holds r.write or r.mu.
func (r *realm) owned(user, accessKeyID string) (*key, *entity, error) {
	if user != "" {
		if _, err := r.find(UserKind, user); err != nil {
			return nil, nil, err
		}
	}
	k := r.keys[accessKeyID]
	if k == nil {
		return nil, nil, noSuchKey(accessKeyID)
	}
	e := r.entities[k.rec.User]
	if e == nil || user != "" && fold(e.rec.Name) != fold(user) {
		return nil, nil, noSuchKey(accessKeyID)
	}
	return k, e, nil
}

// KeyOwner is the user that has the access key.
func (d *Directory) KeyOwner(account, accessKeyID string) (User, error) {
	r, err := d.need(account)
	if err != nil {
		return User{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, e, err := r.owned("", accessKeyID)
	if err != nil {
		return User{}, err
	}
	return e.user(), nil
}

// UpdateAccessKey sets a key active or inactive, effective when it returns. An
// inactive key also ends the sessions that were made with it, for good. user may be "".
func (d *Directory) UpdateAccessKey(ctx context.Context, account, user, accessKeyID string, active bool) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	err = d.change(ctx, r, func(t *tx) error {
		k, _, err := r.owned(user, accessKeyID)
		if err != nil {
			return err
		}
		rec := *k.rec
		rec.Active = active
		if !active {
			rec.Since = d.clock.Now().UnixMilli()
		}
		t.put(recordKey(account, sectionKey, accessKeyID), rec, k.mod)
		return nil
	})
	if err != nil || active {
		return err
	}
	return d.revoke(ctx, authority.Revocation{CredentialID: accessKeyID})
}

// DeleteAccessKey deletes a key, effective when it returns. user may be "".
func (d *Directory) DeleteAccessKey(ctx context.Context, account, user, accessKeyID string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	err = d.change(ctx, r, func(t *tx) error {
		k, e, err := r.owned(user, accessKeyID)
		if err != nil {
			return err
		}
		rec := *e.rec
		rec.Keys = slices.DeleteFunc(slices.Clone(rec.Keys), func(id string) bool { return id == accessKeyID })
		t.put(recordKey(account, sectionEntity, rec.ID), rec, e.mod)
		t.delete(recordKey(account, sectionKey, accessKeyID), k.mod)
		t.drop(recordKey(account, sectionUsed, accessKeyID))
		return nil
	})
	if err != nil {
		return err
	}
	return d.revoke(ctx, authority.Revocation{CredentialID: accessKeyID})
}

// GetAccessKeyLastUsed says when and for what a key was used last.
func (d *Directory) GetAccessKeyLastUsed(account, accessKeyID string) (LastUse, error) {
	r, err := d.need(account)
	if err != nil {
		return LastUse{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, e, err := r.owned("", accessKeyID)
	if err != nil {
		return LastUse{}, err
	}
	use := k.used.public()
	use.UserName = e.rec.Name
	return use, nil
}

func (u *use) public() LastUse {
	last := u.last.Load()
	if last == nil {
		return LastUse{Service: "N/A", Region: "N/A"}
	}
	return LastUse{Time: instant(last.Time), Service: last.Service, Region: last.Region}
}
