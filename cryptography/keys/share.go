package keys

import (
	"context"
	"encoding/hex"
	"slices"
)

// What related keys share follows the primary key (kms-api sections 9 to 11):
// which materials there are, which of them encrypts, and when it rotates. The
// material itself is the same token everywhere, unless its owner imports it:
// that is done in each Region, and may end in each at another time.

// editFamily is edit for what related keys share: f changes f.own.next, and
// the replicas follow their primary key in the same commit.
func (k *Keys) editFamily(ctx context.Context, key *Key, operation string, f func(f *family) error) error {
	_, err := k.changeFamily(ctx, key.entry, func(fam *family) error {
		next := fam.own.next
		if k.over(next) {
			return missing(next.ARN)
		}
		if err := next.State.Permits(operation, next.ARN); err != nil {
			return err
		}
		return f(fam)
	})
	return err
}

// leads refuses replicas what is done with the primary key for all.
func (k *Key) leads() error {
	if k.MultiRegion == nil {
		return nil
	}
	return k.NeedPrimary()
}

// follow lets the replicas have what their primary key has, and puts right
// what follows from it.
func (f *family) follow() {
	for _, r := range f.all {
		if m := r.next.MultiRegion; m != nil && !r.next.destroyed && m.Primary != r.next.Region {
			if primary := f.in(m.Primary); primary != nil {
				r.next.followed(primary.next)
			}
		}
		if !r.next.destroyed {
			r.next.settle()
		}
	}
}

// followed takes over what a primary key shares.
func (k *Key) followed(primary *Key) {
	k.RotationPeriod, k.NextRotation = primary.RotationPeriod, primary.NextRotation
	materials := make([]material, 0, len(primary.materials))
	for _, m := range primary.materials {
		own := k.material([32]byte(m.ID))
		switch {
		case own != nil:
			m.EKT, m.ValidTo, m.Description = own.EKT, own.ValidTo, own.Description
		case k.Origin == OriginExternal:
			m.EKT, m.ValidTo, m.Description = nil, 0, "" // until it is imported here, too
		}
		materials = append(materials, m)
	}
	k.materials = materials
}

// pendingEverywhere says whether the material that the next rotation would
// bring has been imported in all Regions: after the rotation none of the keys
// could work without it.
func (f *family) pendingEverywhere() bool {
	for _, r := range f.all {
		if m := r.next.pending(); m == nil || len(m.EKT) == 0 {
			return false
		}
	}
	return true
}

// pendingElsewhere says whether some replica of a primary key has not got the
// pending material yet.
func (k *Keys) pendingElsewhere(key *Key) bool {
	m := key.pending()
	if m == nil || key.MultiRegionType() != Primary {
		return false
	}
	return slices.ContainsFunc(key.MultiRegion.Replicas, func(region string) bool {
		replica := k.all.find(region, key.ID)
		if replica == nil {
			return true
		}
		there := replica.material([32]byte(m.ID))
		return there == nil || len(there.EKT) == 0
	})
}

// rotationOf is what is told of one material, here and in the other Regions.
func (k *Keys) rotationOf(key *Key, m *material) Rotation {
	r := key.rotation(m)
	if m.Pending && k.pendingElsewhere(key) && r.MaterialID == hex.EncodeToString(key.pending().ID) {
		r.State = MaterialPendingElsewhere
	}
	return r
}
