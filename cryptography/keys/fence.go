package keys

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/quorum"
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
// Related multi-Region keys have one fence, because they have one name in the
// boundary (boundName). It is closed when the last of them is; one that is
// closed while others are open moves the fence, and the others' tokens go
// along. Only those do that were at the same epoch: the others are of a store
// that was rolled back, and wait for their owner.

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
func (k *Key) fences() bool { return len(k.tokens()) > 0 }

// closed says whether a key in this state is closed in the boundary.
func (s State) closed() bool { return s.bit()&(disabled|deleting) != 0 }

// shut says whether the key is closed in the boundary: also while it waits for
// material that brings it back as Disabled.
func (k *Key) shut() bool { return k.State.closed() || k.awaitsDisabled }

// othersOpen says whether some relative of the own key can be used.
func (f *family) othersOpen() bool {
	return slices.ContainsFunc(f.all, func(r *relative) bool {
		return r != f.own && !r.cur.shut() && r.cur.fences()
	})
}

// behind notes that the fence moves to an epoch for which no token has been
// made yet. inStep are the relatives that move with it.
func (f *family) behind(epoch uint64, inStep []*relative) {
	for _, r := range inStep {
		r.next.fence = fenceRecord{Epoch: epoch, Behind: true}
	}
}

// inStep are the own key, its relatives that are at the same epoch, and those
// that are closed: they have no tokens that count.
func (f *family) inStep() (rs []*relative) {
	for _, r := range f.all {
		if r == f.own || r.cur.fence.Epoch == f.own.cur.fence.Epoch || r.cur.shut() {
			rs = append(rs, r)
		}
	}
	return rs
}

// renew gives a relative tokens of an epoch that the fence has reached; a
// closed one keeps its dead ones.
func (r *relative) renew(ctx context.Context, epoch uint64) error {
	if r.next.shut() {
		r.next.fence = fenceRecord{Epoch: epoch, Behind: true}
		return nil
	}
	r.next.materials = slices.Clone(r.next.materials)
	for i := range r.next.materials {
		m := &r.next.materials[i]
		if len(m.EKT) == 0 {
			continue
		}
		ekt, err := r.k.cfg.Boundary.Current(ctx, m.EKT, epoch)
		if err != nil {
			return r.k.boundaryError("bring a token up to date", r.next, err)
		}
		m.EKT = ekt
	}
	r.next.fence = fenceRecord{Epoch: epoch}
	return nil
}

// advance brings the tokens of those in step to an epoch that the fence has
// reached, and makes edit's change with them in one commit.
func (f *family) advance(ctx context.Context, epoch uint64, inStep []*relative, edit func() error) error {
	return f.change(ctx, func() error {
		if err := edit(); err != nil {
			return err
		}
		for _, r := range inStep {
			if err := r.renew(ctx, epoch); err != nil {
				return err
			}
		}
		return nil
	})
}

func nothingElse() error { return nil }

// close changes the state of a key to a closed one, and closes it in the
// boundary. When it fails after the change the key is closed here, and asking
// again closes it there.
func (k *Keys) close(ctx context.Context, key *Key, operation string, edit func(next *Key)) error {
	f, unlock, err := k.family(ctx, key.entry)
	if err != nil {
		return err
	}
	defer unlock()
	was, inStep, live := f.own.cur, f.inStep(), f.othersOpen()
	epoch := was.fence.Epoch + 1
	switch {
	case !live:
	case was.shut() && !slices.ContainsFunc(inStep, (*relative).openBehind):
		inStep, epoch = nil, 0 // what it had is dead, and its relatives have what they need
	case was.shut() || was.fence.Behind:
		epoch = was.fence.Epoch // a move that was interrupted
	default:
		// If its tokens are dead, because the store was rolled back, there is nothing to move the fence for, which would
		// take its relatives' tokens along.
		switch err := k.reach(ctx, was); {
		case errors.Is(err, hsm.ErrFenced):
			inStep, epoch = nil, 0
		case err != nil:
			return k.boundaryError("look at the fence", was, err)
		}
	}
	err = f.change(ctx, func() error {
		next := f.own.next
		if k.over(next) {
			return missing(next.ARN)
		}
		if err := next.State.Permits(operation, next.ARN); err != nil {
			return err
		}
		if !next.shut() && next.fences() && epoch > 0 {
			f.behind(epoch, inStep)
		}
		edit(next)
		return nil
	})
	own := f.own.cur
	if err != nil || !own.fences() || epoch == 0 {
		return err
	}
	now, err := k.cfg.Boundary.RaiseFence(ctx, own.tokens()[0], own.fence.Epoch, !live)
	switch {
	case err != nil:
		return k.boundaryError("close the fence", own, err)
	case live:
		return f.advance(ctx, now, inStep, nothingElse)
	case now == own.fence.Epoch:
		return nil
	}
	// The boundary knows of later moves than this store.
	return f.change(ctx, func() error { f.behind(now, inStep); return nil })
}

// openBehind says whether the relative waits for tokens.
func (r *relative) openBehind() bool { return !r.cur.shut() && r.cur.fence.Behind }

// Enable lets an Enabled or Disabled key be used. It is also how the owner of
// a key says that the key is to be used again after the store was restored
// from a backup: until then the boundary refuses the tokens in it.
//
// For a key whose conditions ask for proofs, ctx must carry that of this very
// call (WithProof).
func (k *Keys) Enable(ctx context.Context, key *Key) error {
	f, unlock, err := k.family(ctx, key.entry)
	if err != nil {
		return err
	}
	defer unlock()
	cur := f.own.cur.asOf(k.cfg.Clock.Now())
	if k.over(cur) {
		return missing(cur.ARN)
	}
	if err := cur.State.Permits("EnableKey", cur.ARN); err != nil {
		return err
	}
	if !cur.shut() {
		switch err := k.reach(ctx, cur); {
		case err == nil:
			return nil
		case !errors.Is(err, hsm.ErrFenced):
			return k.boundaryError("look at the fence", cur, err)
		}
	}
	enabled := func() error { f.own.next.State = StateEnabled; return nil }
	if !cur.fences() {
		return f.change(ctx, enabled)
	}
	for _, r := range f.all {
		if r == f.own || r.cur.shut() || !r.cur.fences() {
			continue
		}
		// The fence is open for a relative: the key joins it, and nobody's tokens die.
		switch err := k.reach(ctx, r.cur); {
		case err == nil:
			return f.advance(ctx, r.cur.fence.Epoch, []*relative{f.own}, enabled)
		case !errors.Is(err, hsm.ErrFenced):
			return k.boundaryError("look at the fence", cur, err)
		}
	}
	epoch, err := k.cfg.Boundary.RaiseFence(ctx, cur.tokens()[0], 0, false)
	if err != nil {
		return k.boundaryError("open the fence", cur, err)
	}
	return f.advance(ctx, epoch, []*relative{f.own}, enabled)
}

// reach asks the boundary whether the key's tokens count.
func (k *Keys) reach(ctx context.Context, key *Key) error {
	if !key.fences() {
		return nil
	}
	_, err := k.cfg.Boundary.Current(ctx, key.tokens()[0], key.fence.Epoch)
	return err
}

// refence makes a change after which every token from before is dead, while
// the key goes on: first the intention, then the fence, then the tokens
// together with the change.
func (f *family) refence(ctx context.Context, edit func() error) error {
	k, own := f.own.k, f.own.cur
	if !own.fences() || own.shut() {
		return f.change(ctx, edit) // a closed key has no token that counts
	}
	inStep := f.inStep()
	epoch := own.fence.Epoch
	if !own.fence.Behind {
		// In a store that was rolled back the next epoch may be the one that the fence has: that must not pass for it.
		if err := k.reach(ctx, own); err != nil {
			return k.boundaryError("look at the fence", own, err)
		}
		epoch++
		if err := f.change(ctx, func() error { f.behind(epoch, inStep); return nil }); err != nil {
			return err
		}
	}
	if _, err := k.cfg.Boundary.RaiseFence(ctx, own.tokens()[0], epoch, false); err != nil {
		return k.boundaryError("raise the fence", own, err)
	}
	return f.advance(ctx, epoch, inStep, edit)
}

// repair finishes what a crash, or a boundary that was away, interrupted.
func (k *Keys) repair(ctx context.Context, e *entry) error {
	f, unlock, err := k.family(ctx, e)
	if err != nil {
		return gone(err)
	}
	defer unlock()
	switch cur := f.own.cur; {
	case !cur.fence.Behind || !cur.fences():
		return nil
	case !cur.shut():
		return f.refence(ctx, nothingElse)
	case f.othersOpen():
		return nil // the fence is theirs to repair
	default:
		_, err := k.cfg.Boundary.RaiseFence(ctx, cur.tokens()[0], cur.fence.Epoch, true)
		return err
	}
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
	f, unlock, err := k.family(ctx, u.Key.entry)
	if err != nil {
		return err
	}
	defer unlock()
	cur, err := k.check(u, f.own.cur, "PutKeyConditions")
	if err != nil {
		return err
	}
	if err := cur.leads(); err != nil {
		return err
	}
	if !cur.fences() {
		return refuse(Unsupported, "%s has no key material of its own in this Region to seal conditions into.", cur.ARN)
	}
	if len(next.Context) > 0 && cur.Spec != SpecSymmetric {
		return refuse(Unsupported, "%s has no encryption context, and so no condition can ask for one.", cur.ARN)
	}
	if next.CallerProof {
		// The boundary compares the caller's request with what it is asked to do: with the key's ARN, which related keys
		// do not share, and with the ciphertext, of which it sees the inner one alone.
		switch {
		case cur.MultiRegion != nil:
			return refuse(Unsupported, "%s is a multi-Region key, of which no request can be proven to the HSM.", cur.ARN)
		case cur.Origin == OriginStore:
			return refuse(Unsupported, "%s is in an external key store, and requests with its ciphertexts cannot be proven to the HSM.", cur.ARN)
		}
	}
	if u.DryRun {
		return errDryRun
	}
	return f.change(ctx, func() error {
		epoch := uint64(0)
		members := slices.DeleteFunc(slices.Clone(f.all), func(r *relative) bool { return r == f.own })
		for _, r := range slices.Insert(members, 0, f.own) { // the command is for the first
			to := r.next
			to.materials = slices.Clone(to.materials)
			for _, i := range to.sealingOrder(command) {
				m := &to.materials[i]
				ekt, now, err := k.cfg.Boundary.SealConditions(ctx, m.EKT, &next, epoch, command)
				if err != nil {
					return k.boundaryError("seal conditions", cur, err)
				}
				m.EKT, epoch, command = ekt, now, nil
			}
			to.conditions, to.fence = next, fenceRecord{Epoch: epoch, Behind: to.shut()}
		}
		return nil
	})
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
