package keys_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// Material that its owner deleted opens nothing in the boundary either, out of
// whatever backup its token comes; the key's other material, and the same when
// it comes back, work on.
func TestATokenOfDeletedMaterialOpensNothing(t *testing.T) {
	w, k := newImporting(t)
	first, second := newMaterial(), newMaterial()
	firstID := w.bring(k, first, nil)
	old := w.sealed(k, "old")
	w.bring(k, second, asNew)
	w.rotateNow(k)
	blob := w.sealed(k, "new")
	before := w.now(k).Tokens()

	deleted, err := w.DeleteMaterial(t.Context(), w.now(k), firstID)
	if err != nil || deleted != firstID {
		t.Fatalf("deleted %q, %v", deleted, err)
	}
	if got := w.now(k); got.State != keys.StatePendingImport || len(got.Tokens()) != 1 {
		t.Fatalf("the key is %s with %d tokens", got.State, len(got.Tokens()))
	}
	for i, blob := range [][]byte{old, blob} {
		if err := w.stale(before[i], blob); !errors.Is(err, hsm.ErrFenced) {
			t.Errorf("token %d out of a backup: %v", i, err)
		}
	}
	w.reopen()
	w.must(w.Repair())
	if id := w.bring(k, first, func(in *keys.Import) { in.MaterialID = firstID }); id != firstID {
		t.Errorf("it came back as %q", id)
	}
	w.opens(k, old, "old")
	w.opens(k, blob, "new")

	// The last one leaves no token at all; the key is whole again when both are back.
	_, err = w.DeleteMaterial(t.Context(), w.now(k), firstID)
	w.must(err)
	before = w.now(k).Tokens()
	_, err = w.DeleteMaterial(t.Context(), w.now(k), "")
	w.must(err)
	if err := w.stale(before[0], blob); !errors.Is(err, hsm.ErrFenced) {
		t.Errorf("the last token out of a backup: %v", err)
	}
	_, err = w.DeleteMaterial(t.Context(), w.now(k), firstID) // again: there is nothing left of it
	w.must(err)
	w.bring(k, first, nil)
	w.bring(k, second, nil)
	w.opens(k, old, "old")
	w.opens(k, blob, "new")
}

// What the fence of a key is after its owner has forbidden it, and then brings
// its material back: closed, until EnableKey.
func TestMaterialThatComesBackOpensNoClosedKey(t *testing.T) {
	for name, forbid := range map[string]func(w *world, k *keys.Key) error{
		"deleted while it was disabled": func(w *world, k *keys.Key) error {
			if err := w.Disable(w.Context(), k); err != nil {
				return err
			}
			_, err := w.DeleteMaterial(w.Context(), w.now(k), "")
			return err
		},
		"disabled by a cancelled end, after it was deleted": func(w *world, k *keys.Key) error {
			if _, err := w.DeleteMaterial(w.Context(), k, ""); err != nil {
				return err
			}
			if _, err := w.ScheduleDeletion(w.Context(), w.now(k), 7); err != nil {
				return err
			}
			return w.CancelDeletion(w.Context(), w.now(k))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, k := newImporting(t)
			material := newMaterial()
			w.bring(k, material, nil)
			blob := w.sealed(k, "p")
			w.must(forbid(w, w.now(k)))
			w.reopen()
			w.must(w.Repair())
			w.bring(k, material, nil)
			got := w.now(k)
			if got.State != keys.StateDisabled {
				t.Fatalf("the key is %s", got.State)
			}
			if err := w.stale(got.Tokens()[0], blob); !errors.Is(err, hsm.ErrFenced) {
				t.Errorf("the token of a disabled key: %v", err)
			}
			w.must(w.Enable(t.Context(), w.now(k)))
			w.opens(k, blob, "p")
		})
	}
}

// A store from a time at which the material was away knows an older fence, and
// has no token with which its owner could enable the key.
func TestMaterialCanBeImportedIntoARolledBackStore(t *testing.T) {
	w, k := newImporting(t)
	material := newMaterial()
	w.bring(k, material, nil)
	blob := w.sealed(k, "p")
	_, err := w.DeleteMaterial(t.Context(), w.now(k), "")
	w.must(err)
	backup := copyStore(t, w.store.Store)
	w.bring(k, material, nil)
	_, err = w.DeleteMaterial(t.Context(), w.now(k), "")
	w.must(err)
	w.store.Store = backup
	w.reopen()
	w.must(w.Repair())
	w.bring(k, material, nil)
	w.opens(k, blob, "p")
}

// Deleted in one Region, the material works on in the others.
func TestMaterialDeletedInOneRegionIsThereInTheOthers(t *testing.T) {
	w := newRegions(t)
	w.clock.Set(time.Now().UTC().Truncate(time.Millisecond))
	k, err := w.Create(t.Context(), keys.NewKey{Account: acct, Origin: "EXTERNAL", MultiRegion: true})
	w.must(err)
	material := newMaterial()
	w.bring(k, material, nil)
	w.replicate(k, eu)
	there := w.at(eu)
	there.bring(k, material, nil)
	blob := w.sealed(k, "p")
	before := w.now(k).Tokens()[0]
	_, err = w.DeleteMaterial(t.Context(), w.now(k), "")
	w.must(err)
	if err := w.stale(before, blob); !errors.Is(err, hsm.ErrFenced) {
		t.Errorf("the token out of a backup: %v", err)
	}
	there.opens(k, blob, "p")
	w.bring(k, material, nil)
	w.opens(k, blob, "p")
	there.opens(k, blob, "p")
}

// A key can end without a token in the store. Its end is stated all the same,
// and what a backup still has of it opens nothing.
func TestAKeyWhoseMaterialWasDeletedEndsInTheBoundaryToo(t *testing.T) {
	w, k := newImporting(t)
	w.bring(k, newMaterial(), nil)
	blob := w.sealed(k, "p")
	token := w.now(k).Tokens()[0]
	var statement []byte
	w.stated = func(_ context.Context, _ *keys.Key, s []byte) error { statement = s; return nil }
	w.reopen()
	_, err := w.DeleteMaterial(t.Context(), w.now(k), "")
	w.must(err)
	_, err = w.ScheduleDeletion(t.Context(), w.now(k), 7)
	w.must(err)
	w.clock.Advance(8 * 24 * time.Hour)
	w.must(w.DoDue(t.Context()))
	record, err := w.hsm.Member(t.Context())
	w.must(err)
	member, err := quorum.ParseMemberRecord(record)
	w.must(err)
	if d, err := hsm.OpenDestruction(statement, member.Member.HSK); err != nil || d.Key != k.ARN {
		t.Errorf("stated %+v, %v", d, err)
	}
	// What it was closed by is good for nothing else, also of a key that is open.
	open := w.create(acct)
	closing, err := w.hsm.ClosingToken(t.Context(), hsm.KeySpec{Origin: keys.OriginKMS, KeyARN: open.ARN})
	w.must(err)
	if _, err := w.hsm.Client.Encrypt(t.Context(), closing, []byte("p"), nil); !errors.Is(err, hsm.ErrWrongToken) {
		t.Errorf("a closing token encrypts: %v", err)
	}
	if _, _, err := w.hsm.Client.GenerateDataKey(t.Context(), closing, 32, nil, true); !errors.Is(err, hsm.ErrWrongToken) {
		t.Errorf("a closing token makes data keys: %v", err)
	}
	// A host with the token and every epoch to try cannot bring it back.
	if err := w.stale(token, blob); !errors.Is(err, hsm.ErrFenced) {
		t.Errorf("a token out of a backup: %v", err)
	}
	for epoch := range uint64(8) {
		if _, err := w.hsm.Client.Current(t.Context(), token, epoch); !errors.Is(err, hsm.ErrFenced) {
			t.Errorf("brought to epoch %d: %v", epoch, err)
		}
	}
	if _, err := w.hsm.Client.RaiseFence(t.Context(), token, 0, false); !errors.Is(err, hsm.ErrFenced) {
		t.Errorf("opened again: %v", err)
	}
}
