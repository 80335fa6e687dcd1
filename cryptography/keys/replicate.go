package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/state/kv"
)

// A NewReplica is what a customer wants made of a primary key in another
// Region. What keys do not share it has of its own.
type NewReplica struct {
	Region      string
	Description string
	Policy      string // empty: DefaultPolicy
	Tags        []Tag
	Check       PolicyCheck // of a policy that was given; nil: the lockout safety check is bypassed
}

// newID makes the id of a key (kms-api section 2).
func newID(multiRegion bool) string {
	if multiRegion {
		return "mrk-" + id.Hex(16)
	}
	return id.UUID()
}

// away is the Region as records name it: the home Region is not named.
func (k *Keys) away() string {
	if k.cfg.Region == k.all.names[0] {
		return ""
	}
	return k.cfg.Region
}

// Replicate makes a replica of a primary key in another Region. The replica
// and what its relatives know of it come into being in one commit, so it is
// Enabled from the first moment (an imported key waits for the import of the
// same material).
func (k *Keys) Replicate(ctx context.Context, u Use, n NewReplica) (replica *Key, err error) {
	if err := u.Key.NeedPrimary(); err != nil {
		return nil, err
	}
	if err := u.Key.State.Permits("ReplicateKey", u.Key.ARN); err != nil {
		return nil, err
	}
	there, ok := k.In(n.Region)
	if !ok {
		return nil, refuse(Unsupported, "The Region %s is not supported.", n.Region)
	}
	if err := checkTags(n.Tags); err != nil {
		return nil, err
	}
	text, check := n.Policy, n.Check
	if text == "" {
		text, check = DefaultPolicy(u.Key.Account), nil
	}
	d, err := there.newPolicy(text)
	if err != nil {
		return nil, err
	}
	if check != nil && !check(there.replicaOf(u.Key, n, d)) {
		return nil, errLockout
	}
	if err := there.reserve(u.Key.Account); err != nil {
		return nil, err
	}
	defer there.release(u.Key.Account) // admit counts the key itself
	// destroy holds it until nothing is left of a key: a former replica there must be wholly gone.
	there.aliasWrite.Lock()
	defer there.aliasWrite.Unlock()
	_, err = k.changeFamily(ctx, u.Key.entry, func(f *family) error {
		now, err := k.check(u, f.own.cur, "ReplicateKey")
		if err != nil {
			return err
		}
		if err := now.NeedPrimary(); err != nil {
			return err
		}
		if f.in(n.Region) != nil {
			return refuse(AlreadyExists, "A key with the id %s already exists in %s.", now.ID, n.Region)
		}
		if err := there.finish(ctx, now.Account, now.ID); err != nil {
			return err
		}
		replica = there.replicaOf(now, n, d)
		f.all = append(f.all, &relative{k: there, next: replica})
		replicas := append(slices.Clone(now.MultiRegion.Replicas), n.Region)
		slices.Sort(replicas)
		f.related(now.MultiRegion.Primary, replicas)
		return nil
	})
	if err != nil {
		return nil, err
	}
	k.cfg.Log.Info("keys: key replicated", "key", u.Key.ARN, "replica", replica.ARN)
	return replica, nil
}

// finish removes what an interrupted end left of a former replica, as the next
// start would. The caller holds aliasWrite.
func (k *Keys) finish(ctx context.Context, account, id string) error {
	en, err := k.store.Get(ctx, keyKey(account, id))
	if err != nil {
		return fmt.Errorf("keys: replicate: %w", err)
	}
	if en.Mod == 0 {
		return nil
	}
	tomb, err := k.decode(en.Value)
	if err != nil {
		return fmt.Errorf("keys: replicate: %w", err)
	}
	if !tomb.destroyed {
		return fmt.Errorf("keys: replicate: %w: %s is in the store and not in memory", kv.ErrCorrupt, tomb.ARN)
	}
	if err := k.bury(ctx, tomb); err != nil {
		return fmt.Errorf("keys: replicate: %w", err)
	}
	return nil
}

// replicaOf is a new replica of a key. What is not named here is shared, among
// it what the boundary enforces on the material.
func (k *Keys) replicaOf(key *Key, n NewReplica, policy *doc) *Key {
	replica := *key
	replica.Region, replica.away, replica.ARN = k.cfg.Region, k.away(), k.ARN(key.Account, key.ID)
	replica.Description, replica.Tags, replica.Aliases, replica.policy = n.Description, sortTags(n.Tags), nil, policy
	replica.State, replica.Created, replica.DeletionDate = StateEnabled, k.now(), time.Time{}
	replica.materials, replica.entry = nil, nil // the material follows the primary's: share.go
	return &replica
}

// related tells all members of a family which Regions they are in.
func (f *family) related(primary string, replicas []string) {
	for _, r := range f.all {
		m := &MultiRegion{Primary: primary, Replicas: replicas}
		if r.next.MultiRegion != nil {
			m.Window = r.next.MultiRegion.Window
		}
		r.next.MultiRegion = m
	}
}

// UpdatePrimaryRegion makes a replica the primary key, and the primary its
// replica: of both or of neither. Both uses are of the same operation, and both
// are authorised.
func (k *Keys) UpdatePrimaryRegion(ctx context.Context, primary, replica Use) error {
	const operation = "UpdatePrimaryRegion"
	if err := primary.Key.NeedPrimary(); err != nil {
		return err
	}
	for _, u := range []Use{primary, replica} {
		if err := u.Key.State.Permits(operation, u.Key.ARN); err != nil {
			return err
		}
	}
	to := replica.Key.Region
	_, err := k.changeFamily(ctx, primary.Key.entry, func(f *family) error {
		now, err := k.check(primary, f.own.cur, operation)
		if err != nil {
			return err
		}
		if err := now.NeedPrimary(); err != nil {
			return err
		}
		next := f.in(to)
		if next == nil {
			return missing(replica.Key.ARN)
		}
		if _, err := next.k.check(replica, next.cur, operation); err != nil {
			return err
		}
		if next == f.own {
			return refuse(Unsupported, "%s is the primary key already.", now.ARN)
		}
		replicas := slices.DeleteFunc(slices.Clone(now.MultiRegion.Replicas), func(r string) bool { return r == to })
		replicas = append(replicas, now.Region)
		slices.Sort(replicas)
		f.related(to, replicas)
		return nil
	})
	return err
}

// awaitReplicas lets a primary key that has replicas wait for their end, and
// says whether it has any.
func (k *Key) awaitReplicas(days int) bool {
	if k.MultiRegionType() != Primary || len(k.MultiRegion.Replicas) == 0 {
		return false
	}
	m := *k.MultiRegion
	m.Window = days
	k.MultiRegion, k.State = &m, StatePendingReplicaDeletion
	return true
}

// stopAwaiting takes awaitReplicas back.
func (k *Key) stopAwaiting() {
	if k.MultiRegion != nil && k.MultiRegion.Window != 0 {
		m := *k.MultiRegion
		m.Window = 0
		k.MultiRegion = &m
	}
}

// leave takes a family's own key, which is being destroyed, out of what its
// relatives know. With the last replica begins the waiting period of a primary
// key that was to go after it (kms-api section 11).
func (f *family) leave(now time.Time) {
	m := f.own.next.MultiRegion
	if m == nil {
		return
	}
	replicas := slices.DeleteFunc(slices.Clone(m.Replicas), func(r string) bool { return r == f.own.next.Region })
	f.related(m.Primary, replicas)
	primary := f.in(m.Primary)
	if primary == nil || len(replicas) > 0 || primary.next.State != StatePendingReplicaDeletion {
		return
	}
	primary.next.State, primary.next.DeletionDate = StatePendingDeletion, now.AddDate(0, 0, primary.next.MultiRegion.Window)
	primary.next.stopAwaiting()
}
