package keys

import (
	"context"
	"encoding/hex"
	"slices"
	"time"
)

// Rotation (kms-api section 9): a key gets a new material, which encrypts from
// then on; everything that the others have encrypted stays readable for as
// long as the key lives.

// Limits of rotation, as the public service has them.
const (
	MinRotationDays      = 90
	MaxRotationDays      = 2560
	DefaultRotationDays  = 365
	MaxOnDemandRotations = 25 // of one key
)

// How a rotation came about.
const (
	RotationAutomatic = "AUTOMATIC"
	RotationOnDemand  = "ON_DEMAND"
)

// States of a material, and of an imported one.
const (
	MaterialCurrent = "CURRENT"
	MaterialOld     = "NON_CURRENT"
	MaterialPending = "PENDING_ROTATION"
	// MaterialPendingElsewhere is MaterialPending of a multi-Region key some replica of which has to import it first.
	MaterialPendingElsewhere = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"

	MaterialImported = "IMPORTED"
	MaterialAwaited  = "PENDING_IMPORT"
)

// rotationRecord is the schedule of automatic rotation at rest.
type rotationRecord struct {
	Period int   `cbor:"1,keyasint"` // days
	Next   int64 `cbor:"2,keyasint"` // ms
}

// rotates refuses keys that do not rotate: only symmetric ones do, and only
// where all of their material is the boundary's, or the owner brings it.
func (k *Key) rotates(automatic bool) error {
	switch {
	case k.Spec != SpecSymmetric:
		return refuse(Unsupported, "%s key spec is %s which is not valid for this operation.", k.ARN, k.Spec)
	case k.Origin == OriginKMS || k.Origin == OriginExternal && !automatic:
		return nil
	}
	return refuse(Unsupported, "%s origin is %s which is not valid for this operation.", k.ARN, k.Origin)
}

// EnableRotation lets Run rotate the key every so many days, from now on.
// Where that is so already, the next date stays what it is.
func (k *Keys) EnableRotation(ctx context.Context, key *Key, days int) error {
	if days < MinRotationDays || days > MaxRotationDays {
		return refuse(Validation, "RotationPeriodInDays must be between %d and %d (inclusive).", MinRotationDays, MaxRotationDays)
	}
	if err := key.rotates(true); err != nil {
		return err
	}
	if err := key.leads(); err != nil {
		return err
	}
	return k.editFamily(ctx, key, "EnableKeyRotation", func(f *family) error {
		next := f.own.next
		if err := next.leads(); err != nil {
			return err
		}
		if next.RotationPeriod != days {
			next.RotationPeriod, next.NextRotation = days, k.now().AddDate(0, 0, days)
		}
		return nil
	})
}

// DisableRotation ends automatic rotation.
func (k *Keys) DisableRotation(ctx context.Context, key *Key) error {
	if err := key.rotates(true); err != nil {
		return err
	}
	if err := key.leads(); err != nil {
		return err
	}
	return k.editFamily(ctx, key, "DisableKeyRotation", func(f *family) error {
		f.own.next.RotationPeriod, f.own.next.NextRotation = 0, time.Time{}
		return f.own.next.leads()
	})
}

// RotationStatus is the schedule of a key's automatic rotation: zero days if
// there is none now. It rests while the key waits for its end.
func (k *Keys) RotationStatus(key *Key) (days int, next time.Time, err error) {
	if err := key.rotates(false); err != nil {
		return 0, time.Time{}, err
	}
	if err := key.State.Permits("GetKeyRotationStatus", key.ARN); err != nil {
		return 0, time.Time{}, err
	}
	if key.State.bit() == deleting {
		return 0, time.Time{}, nil
	}
	return key.RotationPeriod, key.NextRotation, nil
}

// RotateOnDemand rotates a key now: to a new material of the boundary, or to
// the imported one that is pending.
func (k *Keys) RotateOnDemand(ctx context.Context, key *Key) error {
	may := func(key *Key) error {
		if err := key.rotates(false); err != nil {
			return err
		}
		if err := key.leads(); err != nil {
			return err
		}
		n := 0
		for _, m := range key.materials {
			if m.Rotated != nil && m.Rotated.Type == RotationOnDemand {
				n++
			}
		}
		if n >= MaxOnDemandRotations {
			return refuse(LimitExceeded, "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: %s", key.ARN)
		}
		if key.Origin == OriginExternal && (key.pending() == nil || k.pendingElsewhere(key)) {
			return notPending(key)
		}
		return nil
	}
	const operation = "RotateKeyOnDemand"
	if err := key.State.Permits(operation, key.ARN); err != nil {
		return err
	}
	if err := may(key); err != nil {
		return err
	}
	return k.editFamily(ctx, key, operation, func(f *family) error {
		if err := may(f.own.next); err != nil {
			return err
		}
		if key.Origin == OriginExternal && !f.pendingEverywhere() {
			return notPending(key)
		}
		return k.turn(ctx, f.own.next, RotationOnDemand, k.now())
	})
}

func notPending(key *Key) error {
	return refuse(InvalidState, "No available key material pending rotation for the key: %s.", key.ARN)
}

// rotate makes the rotation of a key that is due.
func (k *Keys) rotate(ctx context.Context, e *entry) error {
	now := k.now()
	turned := false
	_, err := k.changeFamily(ctx, e, func(f *family) error {
		next := f.own.next
		if next.leads() != nil || next.State != StateEnabled || next.NextRotation.IsZero() || now.Before(next.NextRotation) {
			return nil // not any more
		}
		turned = true
		next.NextRotation = now.AddDate(0, 0, next.RotationPeriod)
		return k.turn(ctx, next, RotationAutomatic, now)
	})
	if turned && err == nil {
		k.cfg.Log.Info("keys: key rotated", "key", k.ARN(e.account, e.id))
	}
	return err
}

// turn makes a new material of the boundary, or the one that is pending, the
// current one of a key. The boundary makes it while the key is locked: what it
// seals into the token, such as the place of the key's fence, must still be so
// when the token is stored.
func (k *Keys) turn(ctx context.Context, key *Key, how string, now time.Time) error {
	key.materials = slices.Clone(key.materials)
	if key.Origin != OriginExternal {
		made, err := k.cfg.Boundary.GenerateKey(ctx, key.boundary())
		if err != nil {
			return k.boundaryError("rotate", key, err)
		}
		key.materials = append(key.materials, material{ID: made.MaterialID[:], EKT: made.EKT, Created: now.UnixMilli()})
	}
	m := &key.materials[len(key.materials)-1]
	m.Pending, m.Rotated = false, &rotated{Type: how, Date: now.UnixMilli()}
	return nil
}

// A Rotation is one material of a key, and the rotation that brought it.
type Rotation struct {
	MaterialID      string
	State           string    // MaterialCurrent, MaterialOld, MaterialPending
	Type            string    // RotationAutomatic, RotationOnDemand; empty for a material that came with no rotation
	Date            time.Time // of the rotation
	ImportState     string    // of imported material, as the following: MaterialImported, MaterialAwaited
	ExpirationModel string    // only of what is imported
	ValidTo         time.Time
	Description     string
}

// ListRotations gives a key's rotations in order, from after the marker on;
// with all, also the material that it began with and the one that is pending.
func (k *Keys) ListRotations(key *Key, all bool, marker string, limit int) (found []Rotation, next string, err error) {
	if err := key.rotates(false); err != nil {
		return nil, "", err
	}
	if err := key.State.Permits("ListKeyRotations", key.ARN); err != nil {
		return nil, "", err
	}
	scope := "rotations/" + key.ID
	last := ""
	if marker != "" {
		if last, err = openMarker(scope, marker); err != nil {
			return nil, "", err
		}
	}
	skip := last != ""
	for i := range key.materials {
		m := &key.materials[i]
		id := hex.EncodeToString(m.ID)
		if skip {
			skip = id != last
			continue
		}
		if !all && m.Rotated == nil {
			continue
		}
		if len(found) == limit {
			return found, makeMarker(scope, found[limit-1].MaterialID), nil
		}
		found = append(found, k.rotationOf(key, m))
	}
	if skip {
		return nil, "", errMarker // pending material that was deleted meanwhile
	}
	return found, "", nil
}

func (k *Key) rotation(m *material) Rotation {
	r := Rotation{MaterialID: hex.EncodeToString(m.ID), State: MaterialOld, Description: m.Description}
	switch {
	case m.Pending:
		r.State = MaterialPending
	case m == k.current():
		r.State = MaterialCurrent
	}
	if m.Rotated != nil {
		r.Type, r.Date = m.Rotated.Type, time.UnixMilli(m.Rotated.Date).UTC()
	}
	if k.Origin == OriginExternal {
		r.ImportState = MaterialAwaited
		if len(m.EKT) > 0 {
			r.ImportState = MaterialImported
			r.ExpirationModel, r.ValidTo = m.expiry()
		}
	}
	return r
}

func (m *material) expiry() (model string, validTo time.Time) {
	if m.ValidTo == 0 {
		return DoesNotExpire, time.Time{}
	}
	return Expires, time.UnixMilli(m.ValidTo).UTC()
}

// Expiration says whether and when imported material of the key ends, the
// first of several; nothing while the key waits for material.
func (k *Key) Expiration() (model string, validTo time.Time) {
	if k.Origin != OriginExternal || !k.complete() {
		return "", time.Time{}
	}
	model = DoesNotExpire
	for i := range k.materials {
		m := &k.materials[i]
		if _, at := m.expiry(); !m.Pending && !at.IsZero() && (validTo.IsZero() || at.Before(validTo)) {
			model, validTo = Expires, at
		}
	}
	return model, validTo
}
