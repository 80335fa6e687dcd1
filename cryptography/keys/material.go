package keys

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
)

// A material is one generation of key material, as the boundary exported it.
type material struct {
	ID          []byte   `cbor:"1,keyasint"`           // 32 bytes
	EKT         []byte   `cbor:"2,keyasint,omitempty"` // empty: imported material that was deleted or has expired
	Created     int64    `cbor:"3,keyasint"`           // ms
	Rotated     *rotated `cbor:"4,keyasint,omitempty"` // how it became the current one; nil: as the first, or not yet
	Pending     bool     `cbor:"5,keyasint,omitempty"` // it becomes the current one with the next rotation on demand
	ValidTo     int64    `cbor:"6,keyasint,omitempty"` // ms; 0: for ever
	Description string   `cbor:"8,keyasint,omitempty"` // by the one who imported it
}

// rotated is a rotation of a key, noted with the material that came with it.
type rotated struct {
	Type string `cbor:"1,keyasint"` // RotationAutomatic, RotationOnDemand
	Date int64  `cbor:"2,keyasint"` // ms
}

// boundary is how the key is called inside the boundary, which seals all of it
// into the tokens of its materials.
func (k *Key) boundary() hsm.KeySpec {
	origin := k.Origin
	if origin == OriginStore {
		origin = OriginKMS // the boundary makes this material: it is the inner of two encryptions
	}
	return hsm.KeySpec{Spec: k.Spec, Usage: k.Usage, Origin: origin, KeyARN: k.boundName(), Conditions: &k.conditions, Epoch: k.fence.Epoch}
}

// current is the material that encrypts. A key without one is in a state in
// which no operation asks for it; what asks all the same gets one that opens
// nothing.
func (k *Key) current() *material {
	n := len(k.materials) - 1
	if n >= 0 && k.materials[n].Pending {
		n--
	}
	if n < 0 {
		return new(material)
	}
	return &k.materials[n]
}

// pending is the material that the next rotation on demand makes the current
// one; nil: there is none.
func (k *Key) pending() *material {
	if n := len(k.materials) - 1; n >= 0 && k.materials[n].Pending {
		return &k.materials[n]
	}
	return nil
}

// material finds the generation with this id.
func (k *Key) material(id [32]byte) *material {
	for i := range k.materials {
		if [32]byte(k.materials[i].ID) == id {
			return &k.materials[i]
		}
	}
	return nil
}

// complete says whether all materials are there that the key has ever used:
// without one of them it could not open all that it has encrypted.
func (k *Key) complete() bool {
	n := 0
	for i := range k.materials {
		if k.materials[i].Pending {
			continue
		}
		if len(k.materials[i].EKT) == 0 {
			return false
		}
		n++
	}
	return n > 0
}

// settle puts right what follows from the materials: the id of the current
// one, the first end of one, and, for a key whose owner brings the material,
// whether it waits for that (kms-api section 5, transitions).
func (k *Key) settle() {
	k.MaterialID, k.expires = hex.EncodeToString(k.current().ID), time.Time{}
	for i := range k.materials {
		m := &k.materials[i]
		if at := time.UnixMilli(m.ValidTo).UTC(); m.ValidTo != 0 && len(m.EKT) > 0 && (k.expires.IsZero() || at.Before(k.expires)) {
			k.expires = at
		}
	}
	if k.State != StatePendingImport {
		k.awaitsDisabled = false
	}
	if k.Origin != OriginExternal {
		return
	}
	switch complete := k.complete(); {
	case !complete && (k.State == StateEnabled || k.State == StateDisabled):
		k.awaitsDisabled = k.State == StateDisabled
		k.State = StatePendingImport
	case complete && k.State == StatePendingImport && k.awaitsDisabled:
		k.State, k.awaitsDisabled = StateDisabled, false // what its owner has forbidden does not come back with the material
	case complete && k.State == StatePendingImport:
		k.State = StateEnabled
	}
}

// expired says whether the time of some material is over, so that the key is
// not what its snapshot says.
func (k *Key) expired(now time.Time) bool { return !k.expires.IsZero() && !now.Before(k.expires) }

// expire takes the materials away whose time is over.
func (k *Key) expire(now time.Time) {
	if k.expired(now) {
		k.drop(func(m *material) bool { return m.ValidTo != 0 && now.UnixMilli() >= m.ValidTo })
	}
}

// drop takes materials away. Of one that the key has used its id remains, by
// which it can come back; one that is still pending leaves nothing behind.
func (k *Key) drop(which func(m *material) bool) {
	k.materials = slices.Clone(k.materials)
	if k.MultiRegionType() != Replica { // whose primary key says what is pending
		k.materials = slices.DeleteFunc(k.materials, func(m material) bool { return m.Pending && which(&m) })
	}
	for i := range k.materials {
		if m := &k.materials[i]; which(m) {
			m.EKT, m.ValidTo = nil, 0
		}
	}
	k.settle()
}

// asOf is the key as it is at a time: the same snapshot, or one without the
// materials whose time is over, whether or not Run has come round to it.
func (k *Key) asOf(now time.Time) *Key {
	if !k.expired(now) {
		return k
	}
	left := *k
	left.expire(now)
	return &left
}

// index lets ciphertexts of new materials find the key, and forgets those that
// it has lost. It comes before the new snapshot is shown: nobody may get a
// ciphertext that leads nowhere.
func (k *Keys) index(e *entry, old, now *Key) {
	for i := range now.materials {
		id := [32]byte(now.materials[i].ID)
		if old == nil || old.material(id) == nil {
			k.byMaterial.Store(id, e)
		}
	}
	if old == nil {
		return
	}
	for i := range old.materials {
		if id := [32]byte(old.materials[i].ID); now.material(id) == nil {
			k.byMaterial.Delete(id)
		}
	}
}
