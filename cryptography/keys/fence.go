package keys

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/state/kv"
)

// Fences (hsm-domain section 9). What this package refuses, a front that lives
// in yesterday's store, or another program that holds tokens out of a backup,
// would still do: so the boundary knows of each key from which epoch on its
// tokens count, and whether it is closed, and that is moved before the answer
// to DisableKey, ScheduleKeyDeletion, RevokeGrant and RetireGrant.
//
// A grant is not in a token, so what a revocation takes away are all tokens of
// the key, and the key's other users go on with new ones: the fence moves to
// the next epoch, and the tokens are brought there in the same step. Whoever
// holds an older one has to come to this store for it, and here the grant is
// gone.
//
// The record says where the fence is, and notes a move before it is made
// (Behind), so that a crash in between leaves a key that the next start puts
// right. A store that was rolled back does not say so: its keys are refused by
// the boundary, until their owner enables them again.
//
// Multi-Region keys have no fences: the same tokens serve in every Region, and
// the boundary cannot tell which of them closed the key.

// fenceRecord is where the fence of a key is, at rest.
type fenceRecord struct {
	Epoch  uint64 `cbor:"1,keyasint"`
	Behind bool   `cbor:"2,keyasint,omitempty"` // tokens may be of an earlier epoch
}

// tokens are the materials that the boundary has a token of.
func (k *Key) tokens() (ekts [][]byte) {
	for i := range k.materials {
		if ekt := k.materials[i].EKT; len(ekt) > 0 {
			ekts = append(ekts, ekt)
		}
	}
	return ekts
}

// fences says whether the key has a fence in the boundary.
func (k *Key) fences() bool { return !isMultiRegion(k.ID) && len(k.tokens()) > 0 }

// closed says whether a key in this state is closed in the boundary.
func (s State) closed() bool { return s.bit()&(disabled|deleting) != 0 }

// closed says whether the key is closed in the boundary: it stays so while it
// waits for the material of an owner who has disabled it.
func (k *Key) closed() bool { return k.State.closed() || k.awaitsDisabled }

// close changes the state of a key to a closed one, and closes it in the
// boundary. When it fails after the change the key is closed here, and asking
// again closes it there.
func (k *Keys) close(ctx context.Context, key *Key, operation string, edit func(next *Key)) error {
	e := key.entry
	e.write.Lock()
	defer e.write.Unlock()
	next, err := k.changeLocked(ctx, e, nil, func(next *Key) ([]kv.Op, error) {
		if k.over(next) {
			return nil, missing(next.ARN)
		}
		if err := next.State.Permits(operation, next.ARN); err != nil {
			return nil, err
		}
		if !next.State.closed() && next.fences() {
			next.fence = fenceRecord{Epoch: next.fence.Epoch + 1, Behind: true}
		}
		edit(next)
		return nil, nil
	})
	if err != nil || !next.fences() {
		return err
	}
	epoch, err := k.cfg.Boundary.RaiseFence(ctx, next.tokens()[0], next.fence.Epoch, true)
	if err != nil {
		return k.boundaryError("close the fence", next, err)
	}
	if epoch == next.fence.Epoch {
		return nil
	}
	// The boundary knows of later moves than this store.
	_, err = k.changeLocked(ctx, e, nil, func(next *Key) ([]kv.Op, error) {
		next.fence = fenceRecord{Epoch: epoch, Behind: true}
		return nil, nil
	})
	return err
}

// Enable lets an Enabled or Disabled key be used. It is also how the owner of
// a key says that the key is to be used again after the store was restored
// from a backup: until then the boundary refuses the tokens in it.
//
// For a key whose conditions ask for proofs, ctx must carry that of this very
// call (WithProof).
func (k *Keys) Enable(ctx context.Context, key *Key) error {
	e := key.entry
	e.write.Lock()
	defer e.write.Unlock()
	cur, err := k.fresh(ctx, e)
	if err != nil {
		return err
	}
	cur = cur.asOf(k.cfg.Clock.Now())
	if k.over(cur) {
		return missing(cur.ARN)
	}
	if err := cur.State.Permits("EnableKey", cur.ARN); err != nil {
		return err
	}
	if !cur.State.closed() {
		switch err := k.reach(ctx, cur); {
		case err == nil:
			return nil
		case !errors.Is(err, hsm.ErrFenced):
			return k.boundaryError("look at the fence", cur, err)
		}
	}
	if !cur.fences() {
		_, err := k.changeLocked(ctx, e, nil, func(next *Key) ([]kv.Op, error) { next.State = StateEnabled; return nil, nil })
		return err
	}
	epoch, err := k.cfg.Boundary.RaiseFence(ctx, cur.tokens()[0], 0, false)
	if err != nil {
		return k.boundaryError("open the fence", cur, err)
	}
	return k.advance(ctx, e, epoch, func(next *Key) ([]kv.Op, error) {
		next.State = StateEnabled
		return nil, nil
	})
}

// reach asks the boundary whether the key's tokens count.
func (k *Keys) reach(ctx context.Context, key *Key) error {
	if !key.fences() {
		return nil
	}
	_, err := k.cfg.Boundary.Current(ctx, key.tokens()[0], key.fence.Epoch)
	return err
}

// advance brings the key's tokens to an epoch that the fence has reached, and
// makes edit's change with them in one commit. The caller holds e.write.
func (k *Keys) advance(ctx context.Context, e *entry, epoch uint64, edit func(next *Key) ([]kv.Op, error)) error {
	_, err := k.changeLocked(ctx, e, nil, func(next *Key) ([]kv.Op, error) {
		next.materials = slices.Clone(next.materials)
		for i := range next.materials {
			m := &next.materials[i]
			if len(m.EKT) == 0 {
				continue
			}
			ekt, err := k.cfg.Boundary.Current(ctx, m.EKT, epoch)
			if err != nil {
				return nil, k.boundaryError("bring a token up to date", next, err)
			}
			m.EKT = ekt
		}
		next.fence = fenceRecord{Epoch: epoch}
		return edit(next)
	})
	return err
}

// refence makes a change after which every token from before is dead, while
// the key goes on: first the intention, then the fence, then the tokens
// together with the change. The caller holds e.write.
func (k *Keys) refence(ctx context.Context, e *entry, edit func(next *Key) ([]kv.Op, error)) error {
	cur, err := k.fresh(ctx, e)
	if err != nil {
		return err
	}
	if !cur.fences() || cur.closed() {
		_, err := k.changeLocked(ctx, e, nil, edit) // a closed key has no token that counts
		return err
	}
	epoch := cur.fence.Epoch
	if !cur.fence.Behind {
		// In a store that was rolled back the next epoch may be the one that the fence has: that must not pass for it.
		if err := k.reach(ctx, cur); err != nil {
			return k.boundaryError("look at the fence", cur, err)
		}
		epoch++
		_, err := k.changeLocked(ctx, e, nil, func(next *Key) ([]kv.Op, error) {
			next.fence = fenceRecord{Epoch: epoch, Behind: true}
			return nil, nil
		})
		if err != nil {
			return err
		}
	}
	if _, err := k.cfg.Boundary.RaiseFence(ctx, cur.tokens()[0], epoch, false); err != nil {
		return k.boundaryError("raise the fence", cur, err)
	}
	return k.advance(ctx, e, epoch, edit)
}

// repair finishes what a crash, or a boundary that was away, interrupted.
func (k *Keys) repair(ctx context.Context, e *entry) error {
	e.write.Lock()
	defer e.write.Unlock()
	cur, err := k.fresh(ctx, e)
	if err != nil {
		return gone(err)
	}
	switch {
	case !cur.fence.Behind || !cur.fences():
		return nil
	case cur.closed():
		_, err := k.cfg.Boundary.RaiseFence(ctx, cur.tokens()[0], cur.fence.Epoch, true)
		return err
	}
	return k.refence(ctx, e, func(*Key) ([]kv.Op, error) { return nil, nil })
}

// repairAll closes in the boundary what is closed in the store, and brings
// tokens up to date that are behind. Run does it when it begins.
func (k *Keys) repairAll(ctx context.Context) error {
	var problems []error
	k.byID.Range(func(_, v any) bool {
		e := v.(*entry)
		if cur := e.now.Load(); cur != nil && cur.fence.Behind {
			if err := k.repair(ctx, e); err != nil {
				problems = append(problems, err)
			}
		}
		return ctx.Err() == nil
	})
	return errors.Join(problems...)
}

// moved says whether the key has newer tokens than a use that the boundary
// fenced off had: it waits for the change that is under way, if one is.
func (k *Keys) moved(e *entry, was *Key) bool {
	e.write.Lock()
	defer e.write.Unlock()
	now := e.now.Load()
	return now != nil && !now.fence.Behind && (was.fence.Behind || now.fence.Epoch > was.fence.Epoch)
}

// Conditions are what is sealed into a key and enforced by the boundary,
// whatever this process says. The zero value asks for nothing.
type Conditions = hsm.Conditions

// A Measurement is one set of registers and the values they must have.
type Measurement = hsm.Measurement

// Conditions are those of the key; not to be changed.
func (k *Key) Conditions() *Conditions { return &k.conditions }

// FenceEpoch is where the key's fence is: what a command that loosens its
// conditions has to name.
func (k *Key) FenceEpoch() uint64 { return k.fence.Epoch }

// WantsProof says whether the boundary acts on the key only for a request that
// it sees signed by its caller.
func (k *Key) WantsProof() bool { return k.conditions.CallerProof }

// A Proof is a caller's request as it was signed.
type Proof = hsm.Proof

// WithProof is ctx carrying a caller's signed request for the boundary.
func WithProof(ctx context.Context, p Proof) context.Context {
	return hsm.WithProof(ctx, p.Append(nil))
}

// Domain is the id of the domain that holds the key material: what custodians
// sign names it.
func (k *Keys) Domain(ctx context.Context) (quorum.ID, error) {
	s, err := k.cfg.Boundary.Status(ctx)
	if err != nil {
		return quorum.ID{}, &Error{Kind: Unavailable, Message: "The HSM is unavailable.", Err: err}
	}
	return quorum.ID(s.Domain), nil
}

// PutConditions seals conditions into the key and into all material that it
// will ever have. Stricter ones need nobody's leave but the policy's; looser
// ones a command signed by the custodians that the present conditions name.
//
// A call that is lost between the boundary and the store leaves the key
// closed; making it again puts it right.
func (k *Keys) PutConditions(ctx context.Context, u Use, next Conditions, command []byte) error {
	if err := next.Check(); err != nil {
		return refuse(Validation, "The conditions are malformed, too long, or such that nothing could meet them.")
	}
	if len(next.Custodians) > 0 {
		if _, err := quorum.ParseCustodians(next.Custodians); err != nil {
			return &Error{Kind: Validation, Message: "The custodians, or their rules, are not sound.", Err: err}
		}
	}
	e := u.Key.entry
	e.write.Lock()
	defer e.write.Unlock()
	cur, err := k.fresh(ctx, e)
	if err != nil {
		return err
	}
	if cur, err = k.check(u, cur, "PutKeyConditions"); err != nil {
		return err
	}
	if !cur.fences() {
		return refuse(Unsupported, "%s has no key material of its own in this Region to seal conditions into.", cur.ARN)
	}
	if len(next.Context) > 0 && cur.Spec != SpecSymmetric {
		return refuse(Unsupported, "%s has no encryption context, and so no condition can ask for one.", cur.ARN)
	}
	if u.DryRun {
		return errDryRun
	}
	_, err = k.changeLocked(ctx, e, nil, func(to *Key) ([]kv.Op, error) {
		to.materials = slices.Clone(to.materials)
		epoch := uint64(0)
		for _, i := range to.sealingOrder(command) {
			m := &to.materials[i]
			ekt, now, err := k.cfg.Boundary.SealConditions(ctx, m.EKT, &next, epoch, command)
			if err != nil {
				return nil, k.boundaryError("seal conditions", cur, err)
			}
			m.EKT, epoch, command = ekt, now, nil
		}
		to.conditions, to.fence = next, fenceRecord{Epoch: epoch, Behind: to.closed()}
		return nil, nil
	})
	return err
}

// sealingOrder are the places of the materials with a token, the one first
// that a command names.
func (k *Key) sealingOrder(command []byte) (order []int) {
	var first []byte
	if _, c, err := quorum.Parse(command); err == nil {
		if v, err := quorum.DecodeArguments(c.Name, c.Arguments); err == nil {
			if a, ok := v.(*quorum.ConditionsArguments); ok {
				first = a.Material
			}
		}
	}
	for i := range k.materials {
		if m := &k.materials[i]; len(m.EKT) > 0 {
			if order = append(order, i); slices.Equal(m.ID, first) {
				order[0], order[len(order)-1] = order[len(order)-1], order[0]
			}
		}
	}
	return order
}

// OperationBits is the condition that only these operations are done, by AWS's
// names; none means all. GenerateDataKey and GenerateDataKeyPair stand also for
// their forms without plaintext.
func OperationBits(names []string) (bits uint64, err error) {
	for _, name := range names {
		op, known := hsm.ConditionOperations[name]
		if !known {
			return 0, refuse(Validation, "The operation %s cannot be named in the conditions of a key.", name)
		}
		bits |= 1 << op
	}
	return bits, nil
}

// OperationNames reverses OperationBits.
func OperationNames(bits uint64) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(hsm.ConditionOperations)) {
		if bits>>hsm.ConditionOperations[name]&1 == 1 {
			names = append(names, name)
		}
	}
	return names
}
