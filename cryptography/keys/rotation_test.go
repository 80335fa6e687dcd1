package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/keys"
)

const day = 24 * time.Hour

func TestAKeyRotatesOnItsScheduleAndOnlyWhileItIsEnabled(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	status := func(days int, next time.Time) {
		t.Helper()
		d, n, err := w.RotationStatus(w.now(k))
		if err != nil || d != days || !n.Equal(next) {
			t.Errorf("every %d days, next %v, %v; want %d, %v", d, n, err, days, next)
		}
	}
	turned := func(n int) func(k *keys.Key) bool {
		return func(k *keys.Key) bool {
			rs, _, err := w.ListRotations(k, false, "", 1000)
			return err == nil && len(rs) == n
		}
	}
	status(0, time.Time{})
	w.refused(w.EnableRotation(ctx, k, 89), keys.Validation, "RotationPeriodInDays must be between 90 and 2560 (inclusive).")
	w.refused(w.EnableRotation(ctx, k, 2561), keys.Validation, "RotationPeriodInDays must be between 90 and 2560 (inclusive).")
	w.must(w.EnableRotation(ctx, k, 90))
	first := w.clock.Now().AddDate(0, 0, 90)
	status(90, first)
	w.clock.Advance(10 * day)
	w.must(w.EnableRotation(ctx, w.now(k), 90)) // as before: nothing changes
	status(90, first)
	w.must(w.EnableRotation(ctx, w.now(k), 100)) // another period begins now
	second := w.clock.Now().AddDate(0, 0, 100)
	status(100, second)
	w.reopen()
	status(100, second)

	blob := w.sealed(k, "before")
	w.clock.Set(second.Add(-time.Millisecond))
	w.untilDurable(k, turned(0))
	w.clock.Set(second)
	w.untilDurable(k, turned(1))
	status(100, second.AddDate(0, 0, 100))
	now := w.now(k)
	if now.MaterialID == k.MaterialID || now.ARN != k.ARN || !now.Created.Equal(k.Created) {
		t.Errorf("after the rotation: %+v", now)
	}
	rs, _, err := w.ListRotations(now, true, "", 10)
	w.must(err)
	want := []keys.Rotation{
		{MaterialID: k.MaterialID, State: keys.MaterialOld},
		{MaterialID: now.MaterialID, State: keys.MaterialCurrent, Type: keys.RotationAutomatic, Date: second},
	}
	if !slices.Equal(rs, want) {
		t.Errorf("got  %+v\nwant %+v", rs, want)
	}
	w.opens(k, blob, "before")
	w.opens(k, w.sealed(k, "after"), "after")

	// Disabled, it is overdue for a long time, and turns once when it is enabled.
	w.must(w.Disable(ctx, w.now(k)))
	w.refused(w.EnableRotation(ctx, w.now(k), 90), keys.Disabled, k.ARN+" is disabled.")
	w.refused(w.DisableRotation(ctx, w.now(k)), keys.Disabled, k.ARN+" is disabled.")
	w.refused(w.RotateOnDemand(ctx, w.now(k)), keys.Disabled, k.ARN+" is disabled.")
	w.clock.Advance(500 * day)
	w.untilDurable(k, turned(1))
	_, err = w.ScheduleDeletion(ctx, w.now(k), 7)
	w.must(err)
	status(0, time.Time{})
	w.untilDurable(k, turned(1))
	w.must(w.CancelDeletion(ctx, w.now(k)))
	w.must(w.Enable(ctx, w.now(k)))
	w.untilDurable(k, turned(2))
	status(100, w.clock.Now().AddDate(0, 0, 100))
	w.must(w.DisableRotation(ctx, w.now(k)))
	status(0, time.Time{})
	w.clock.Advance(500 * day)
	w.untilDurable(k, turned(2))
	w.opens(k, blob, "before")
}

// Run must not sleep over a rotation that is scheduled while it waits for
// something later, nor give up after a boundary that was away.
func TestRunWakesForWhatBecomesDueWhileItWaits(t *testing.T) {
	w := newWorld(t)
	k := w.create(acct)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.must(w.EnableRotation(ctx, k, 90))
	w.hsm.set(errors.New("the boundary is away"))
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
			w.clock.Advance(time.Minute)
		}
	}
	w.clock.Advance(90 * day)
	for range 20 { // it fails, again and again
		time.Sleep(time.Millisecond)
		w.clock.Advance(time.Minute)
	}
	if w.now(k).MaterialID != k.MaterialID {
		t.Fatal("rotated without a boundary")
	}
	w.hsm.set(nil)
	await("it has not rotated", func() bool { return w.now(k).MaterialID != k.MaterialID })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The property of rotation: every ciphertext of every material opens, after
// any number of rotations and a restart.
func TestEveryOldCiphertextOpensAfterRotationsAndARestart(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	var blobs [][]byte
	for i := range keys.MaxOnDemandRotations {
		blobs = append(blobs, w.sealed(k, fmt.Sprint(i)))
		w.must(w.RotateOnDemand(ctx, w.now(k)))
		if i%10 == 3 {
			w.reopen()
		}
	}
	limit := "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: " + k.ARN
	w.refused(w.RotateOnDemand(ctx, w.now(k)), keys.LimitExceeded, limit)
	w.reopen()
	w.refused(w.RotateOnDemand(ctx, w.now(k)), keys.LimitExceeded, limit)
	seen := map[string]bool{}
	for i, blob := range blobs {
		w.opens(k, blob, fmt.Sprint(i))
		found, err := w.ByCiphertext(ctx, blob)
		if err != nil || found.ID != k.ID {
			t.Errorf("ciphertext %d leads to %v, %v", i, found, err)
		}
		_, material, err := w.Decrypt(ctx, use(w.now(k)), blob, nil)
		w.must(err)
		if seen[material] {
			t.Errorf("material %s encrypted twice", material)
		}
		seen[material] = true
	}

	// The list, in pages.
	var all []keys.Rotation
	for marker := ""; ; {
		page, next, err := w.ListRotations(w.now(k), true, marker, 7)
		w.must(err)
		all = append(all, page...)
		if marker = next; marker == "" {
			break
		}
	}
	if len(all) != 26 || all[0].Type != "" || all[1].Type != keys.RotationOnDemand || all[25].State != keys.MaterialCurrent || all[25].MaterialID != w.now(k).MaterialID {
		t.Errorf("%d rotations: %+v", len(all), all)
	}
	if only, _, err := w.ListRotations(w.now(k), false, "", 100); err != nil || len(only) != 25 {
		t.Errorf("%d rotations without the first material, %v", len(only), err)
	}
	_, _, err := w.ListRotations(w.now(k), true, "x", 7)
	w.refused(err, keys.InvalidMarker, "Could not deserialize marker")
}

func TestUsesGoOnWhileAKeyRotates(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	k := w.create(acct)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
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
				key, err := w.ByID(ctx, k.ID)
				if err != nil {
					t.Error(err)
					return
				}
				blob, err := w.Encrypt(ctx, use(key), []byte("x"), nil)
				if err != nil {
					t.Error(err)
					return
				}
				found, err := w.ByCiphertext(ctx, blob)
				if err != nil {
					t.Error(err)
					return
				}
				if p, _, err := w.Decrypt(ctx, use(found), blob, nil); err != nil || string(p) != "x" {
					t.Errorf("%q, %v", p, err)
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

// Rotations at once: each is one, and none goes over the limit.
func TestRotationsAtOnceStayWithinTheLimit(t *testing.T) {
	w := newWorld(t)
	k := w.create(acct)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if err := w.RotateOnDemand(t.Context(), k); err != nil && !errors.Is(err, &keys.Error{Kind: keys.LimitExceeded}) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rs, _, err := w.ListRotations(w.now(k), false, "", 100); err != nil || len(rs) != keys.MaxOnDemandRotations {
		t.Errorf("%d rotations, %v", len(rs), err)
	}
}

func TestARotationOfUnknownOutcomeLosesNoCiphertext(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	blob := w.sealed(k, "x")
	w.store.set(nil, errStore, nil)
	if err := w.RotateOnDemand(ctx, w.now(k)); !errors.Is(err, errStore) {
		t.Fatal(err)
	}
	w.store.set(errStore, nil, nil)
	if err := w.RotateOnDemand(ctx, w.now(k)); !errors.Is(err, errStore) {
		t.Fatal(err)
	}
	w.store.set(nil, nil, nil)
	if rs, _, err := w.ListRotations(w.now(k), false, "", 100); err != nil || len(rs) != 1 {
		t.Errorf("%d rotations, %v", len(rs), err)
	}
	newer := w.sealed(k, "y")
	if found, err := w.ByCiphertext(ctx, newer); err != nil || found.ID != k.ID {
		t.Errorf("the new ciphertext leads nowhere: %v", err)
	}
	w.reopen()
	w.opens(k, blob, "x")
	w.opens(k, newer, "y")
}
