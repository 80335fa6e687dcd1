package keys_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/keys"
)

// What is encrypted with one of several related keys opens with each of them,
// with every material that they ever had, and after restarts.
func TestRelatedKeysRotateTogether(t *testing.T) {
	w := newRegions(t)
	ctx := w.Context()
	k := w.createMultiRegion()
	w.replicate(k, eu)
	primary := us
	blobs := map[string][]byte{}
	for i := range 6 {
		for _, region := range []string{us, eu} {
			text := fmt.Sprintf("%d in %s", i, region)
			blobs[text] = w.at(region).sealed(k, text)
		}
		other := map[string]string{us: eu, eu: us}[primary]
		text := k.RelatedARN(other) + " is not a multi-region primary key."
		w.refused(w.at(other).RotateOnDemand(ctx, w.at(other).now(k)), keys.Unsupported, text)
		w.must(w.at(primary).RotateOnDemand(ctx, w.at(primary).now(k)))
		switch i {
		case 1:
			w.must(w.movePrimary(k, primary, other))
			primary = other
		case 2:
			w.replicate(w.at(primary).now(k), ap) // which opens what was encrypted before it was there
		case 3:
			w.reopen()
		case 4:
			w.must(w.at(other).Disable(ctx, w.at(other).now(k))) // it rotates all the same: the next encrypts with it
			w.must(w.at(other).Enable(ctx, w.at(other).now(k)))
		}
	}
	for range 2 {
		ids := map[string]bool{}
		for _, region := range w.Regions() {
			in := w.at(region)
			ids[in.now(k).MaterialID] = true
			for text, blob := range blobs {
				in.opens(k, blob, text)
			}
			rs, _, err := in.ListRotations(in.now(k), true, "", 100)
			if err != nil || len(rs) != 7 || rs[6].State != keys.MaterialCurrent {
				t.Errorf("rotations in %s: %+v %v", region, rs, err)
			}
		}
		if len(ids) != 1 {
			t.Errorf("the current materials are %v", ids)
		}
		w.reopen()
	}
}

func TestThePrimaryRotatesOnScheduleForAll(t *testing.T) {
	w := newRegions(t)
	ctx := w.Context()
	const day = 24 * time.Hour
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	text := k.RelatedARN(eu) + " is not a multi-region primary key."
	w.refused(w.at(eu).EnableRotation(ctx, w.at(eu).now(k), 100), keys.Unsupported, text)
	w.refused(w.at(eu).DisableRotation(ctx, w.at(eu).now(k)), keys.Unsupported, text)
	w.must(w.EnableRotation(ctx, w.now(k), 100))
	status := func(want int, at time.Time) {
		t.Helper()
		for _, region := range w.Regions() {
			days, next, err := w.at(region).RotationStatus(w.at(region).now(k))
			if err != nil || days != want || !next.Equal(at) {
				t.Errorf("rotation in %s: %d days, %v, %v; want %d, %v", region, days, next, err, want, at)
			}
		}
	}
	began := w.clock.Now()
	status(100, began.Add(100*day))
	rotations := func(n int) bool {
		for _, region := range w.Regions() {
			rs, _, err := w.at(region).ListRotations(w.at(region).now(k), false, "", 100)
			if err != nil || len(rs) != n || n > 0 && (rs[n-1].Type != keys.RotationAutomatic || rs[n-1].MaterialID != w.at(us).now(k).MaterialID) {
				return false
			}
		}
		return true
	}
	w.clock.Advance(100 * day)
	w.settle(func() bool { return rotations(1) })
	// A disabled primary does not rotate, whatever its replicas are; enabled, it makes up for it.
	w.must(w.Disable(ctx, w.now(k)))
	w.clock.Advance(101 * day)
	for range 3 {
		for _, region := range w.Regions() {
			w.must(w.at(region).DoDue(ctx))
		}
	}
	if !rotations(1) {
		t.Error("a disabled primary key was rotated")
	}
	w.must(w.Enable(ctx, w.now(k)))
	w.settle(func() bool { return rotations(2) })
	// The schedule goes with the primary.
	w.must(w.movePrimary(k, us, ap))
	w.reopen()
	w.clock.Advance(100 * day)
	w.settle(func() bool { return rotations(3) })
	w.must(w.at(ap).DisableRotation(ctx, w.at(ap).now(k)))
	status(0, time.Time{})
}

// A ciphertext may travel faster than the news of the rotation: it opens.
func TestCiphertextsTravelWhileRelatedKeysRotate(t *testing.T) {
	w := newRegions(t)
	ctx := t.Context()
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 6 {
		from, to := w.at(w.Regions()[i%3]), w.at(w.Regions()[(i+1+i/3)%3])
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					if n == 0 {
						t.Error("nothing was used")
					}
					return
				default:
				}
				key, err := from.ByID(ctx, k.ID)
				if err != nil {
					t.Error(err)
					return
				}
				blob, err := from.Encrypt(ctx, use(key), []byte("x"), nil)
				if err != nil {
					t.Error(err)
					return
				}
				found, err := to.ByCiphertext(ctx, blob)
				if err != nil {
					t.Errorf("found %v", err)
					return
				}
				if p, _, err := to.Decrypt(ctx, use(found), blob, nil); err != nil || string(p) != "x" {
					t.Errorf("from %s to %s: %q, %v", from.Region(), to.Region(), p, err)
					return
				}
			}
		})
	}
	for range keys.MaxOnDemandRotations {
		w.must(w.RotateOnDemand(ctx, w.now(k)))
		time.Sleep(time.Millisecond)
	}
	close(stop)
	wg.Wait()
}

// Material of the owner's comes to the primary first and then, the same, to
// every replica; only when it is everywhere the keys rotate to it.
func TestImportedMaterialIsBroughtToEveryRegion(t *testing.T) {
	w := newRegions(t)
	w.clock.Set(time.Now().UTC().Truncate(time.Millisecond))
	ctx := w.Context()
	k, err := w.Create(ctx, keys.NewKey{Account: acct, MultiRegion: true, Origin: "EXTERNAL"})
	w.must(err)
	_, err = w.Replicate(ctx, use(k), keys.NewReplica{Region: eu})
	w.refused(err, keys.InvalidState, k.ARN+" is pending import.")
	first, second := newMaterial(), newMaterial()
	id := w.bring(k, first, nil)
	blob := w.sealed(k, "first")
	w.replicate(w.now(k), eu)
	w.wantFamily(k.ID, "us-east-1 PRIMARY Enabled, eu-central-1 REPLICA PendingImport")

	// The replica takes this material and no other, and nothing new of its own.
	away := w.at(eu)
	in := away.wrapped(away.now(k), second)
	_, err = away.ImportMaterial(ctx, away.now(k), in)
	w.refused(err, keys.IncorrectKeyMaterial, "The key material in the request is not what is expected for this KMS key.")
	in = away.wrapped(away.now(k), second)
	asNew(&in)
	_, err = away.ImportMaterial(ctx, away.now(k), in)
	w.refused(err, keys.Unsupported, k.RelatedARN(eu)+" is not a multi-region primary key.")
	end := w.clock.Now().Add(48 * time.Hour)
	if got := away.bring(k, first, until(end)); got != id {
		t.Errorf("the same material is %s here and %s there", id, got)
	}
	away.opens(k, blob, "first")
	if model, at := away.now(k).Expiration(); model != keys.Expires || !at.Equal(end) {
		t.Errorf("the replica's material ends %s %v", model, at)
	}
	if model, _ := w.now(k).Expiration(); model != keys.DoesNotExpire {
		t.Errorf("the primary's material ends, too: %s", model)
	}

	// A second material waits for the replica.
	next := w.bring(k, second, asNew)
	states := func(in *world) (all []string) {
		rs, _, err := in.ListRotations(in.now(k), true, "", 10)
		in.must(err)
		for _, r := range rs {
			all = append(all, r.State+" "+r.ImportState)
		}
		return all
	}
	if got := states(w); !slices.Equal(got, []string{"CURRENT IMPORTED", "PENDING_MULTI_REGION_IMPORT_AND_ROTATION IMPORTED"}) {
		t.Errorf("the primary's materials are %q", got)
	}
	if got := states(away); !slices.Equal(got, []string{"CURRENT IMPORTED", "PENDING_ROTATION PENDING_IMPORT"}) {
		t.Errorf("the replica's materials are %q", got)
	}
	w.refused(w.RotateOnDemand(ctx, w.now(k)), keys.InvalidState, "No available key material pending rotation for the key: "+k.ARN+".")
	w.wantFamily(k.ID, "us-east-1 PRIMARY Enabled, eu-central-1 REPLICA Enabled")
	w.reopen()
	away = w.at(eu)
	if got := away.bring(k, second, nil); got != next {
		t.Errorf("the second material is %s here and %s there", next, got)
	}
	if got := states(w); !slices.Equal(got, []string{"CURRENT IMPORTED", "PENDING_ROTATION IMPORTED"}) {
		t.Errorf("the primary's materials are %q", got)
	}
	// While it is pending it may be lost in one Region, and come back there.
	soon := w.clock.Now().Add(time.Hour)
	away.bring(k, second, until(soon))
	w.clock.Set(soon)
	w.must(away.DoDue(ctx))
	w.refused(w.RotateOnDemand(ctx, w.now(k)), keys.InvalidState, "No available key material pending rotation for the key: "+k.ARN+".")
	away.bring(k, second, nil)
	w.must(w.RotateOnDemand(ctx, w.now(k)))
	for _, in := range []*world{w, away} {
		if got := in.now(k).MaterialID; got != next {
			t.Errorf("%s encrypts with %s", in.Region(), got)
		}
		in.opens(k, w.sealed(k, "second"), "second")
		in.opens(k, blob, "first")
	}

	// Each Region may lose its own, and gets it back.
	_, err = w.DeleteMaterial(ctx, w.now(k), id)
	w.must(err)
	w.wantFamily(k.ID, "us-east-1 PRIMARY PendingImport, eu-central-1 REPLICA Enabled")
	away.opens(k, blob, "first")
	w.bring(k, first, nil)
	w.opens(k, blob, "first")
	// A third that the primary gives up again leaves nothing behind anywhere.
	third := w.bring(k, newMaterial(), asNew)
	_, err = w.DeleteMaterial(ctx, w.now(k), third)
	w.must(err)
	for _, in := range []*world{w, away} {
		if got := states(in); len(got) != 2 {
			t.Errorf("materials in %s: %q", in.Region(), got)
		}
	}
	w.clock.Set(end)
	w.wantState(eu, k, keys.StatePendingImport)
	w.wantState(us, k, keys.StateEnabled)
}

func (w *world) wantState(region string, k *keys.Key, want keys.State) {
	w.Helper()
	if got := w.at(region).now(k).State; got != want {
		w.Errorf("the key in %s is %s, want %s", region, got, want)
	}
}
