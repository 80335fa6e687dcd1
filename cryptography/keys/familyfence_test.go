package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/keys"
)

// works checks in which Regions a key can be used.
func (w *world) works(when string, k *keys.Key, blob []byte, want ...string) {
	w.Helper()
	for _, region := range w.Regions() {
		in := w.at(region)
		_, _, err := in.Decrypt(context.Background(), use(in.now(k)), blob, nil)
		if should := slices.Contains(want, region); should != (err == nil) {
			w.Errorf("%s, in %s: %v", when, region, err)
		}
	}
}

// Related keys have one fence: what one of them takes away kills the tokens
// from before, wherever they lie, and the others go on with new ones.
func TestAFamilyHasOneFence(t *testing.T) {
	w := newRegions(t)
	ctx := t.Context()
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	blob := w.sealed(k, "p")
	w.must(w.RotateOnDemand(ctx, w.now(k)))
	tokens := func() (all [][]byte) {
		for _, region := range w.Regions() {
			all = append(all, w.at(region).now(k).Tokens()...)
		}
		return all
	}
	dead := func(when string, old [][]byte) {
		t.Helper()
		for i, token := range old {
			if err := w.stale(token, blob); !errors.Is(err, hsm.ErrFenced) {
				t.Errorf("%s: token %d from before: %v", when, i, err)
			}
		}
	}
	w.must(w.stale(tokens()[0], blob))

	old := tokens()
	g := w.at(eu).grant(w.at(eu).now(k), decryptFor(bob))
	w.must(w.at(eu).RevokeGrant(ctx, use(w.at(eu).now(k)), g.ID))
	dead("RevokeGrant", old)
	w.works("RevokeGrant", k, blob, us, eu, ap)

	old = tokens()
	w.must(w.at(eu).Disable(ctx, w.at(eu).now(k)))
	dead("DisableKey of one", old)
	w.works("DisableKey of one", k, blob, us, ap)
	before := w.now(k).Tokens()
	w.must(w.at(eu).Disable(ctx, w.at(eu).now(k))) // again, as after a lost answer
	w.reopen()
	w.must(w.at(eu).Repair())
	w.works("after a restart", k, blob, us, ap)
	w.must(w.at(eu).Enable(ctx, w.at(eu).now(k)))
	w.works("EnableKey of one", k, blob, us, eu, ap)
	if !slices.EqualFunc(before, w.now(k).Tokens(), slices.Equal) {
		t.Error("the relatives got new tokens for nothing")
	}
	dead("EnableKey of one", old)

	// The last that closes closes the fence: not even the newest token counts.
	for i, region := range []string{ap, us, eu} {
		w.must(w.at(region).Disable(ctx, w.at(region).now(k)))
		w.works(fmt.Sprintf("%d closed", i+1), k, blob, []string{us, eu}[min(i, 2):][:max(0, 2-i)]...)
	}
	dead("all disabled", tokens())
	w.reopen()
	for _, region := range w.Regions() {
		w.must(w.at(region).Repair())
	}
	w.must(w.at(ap).Enable(ctx, w.at(ap).now(k)))
	w.works("one enabled", k, blob, ap)
	w.must(w.at(us).Disable(ctx, w.at(us).now(k))) // is so already, and is nothing to the others
	w.works("one enabled, another disabled again", k, blob, ap)
	w.must(w.Enable(ctx, w.now(k)))
	w.works("two enabled", k, blob, us, ap)
	w.must(w.RotateOnDemand(ctx, w.now(k)))
	w.must(w.at(eu).Enable(ctx, w.at(eu).now(k)))
	w.works("all enabled", k, blob, us, eu, ap)
	for _, region := range w.Regions() {
		w.at(region).opens(k, w.sealed(k, "new"), "new")
	}
}

// No use by a stale front, in whatever Region's name, succeeds that starts
// after the answer; uses in the other Regions go on.
func TestUsesElsewhereGoOnWhileAKeyOfTheFamilyLosesGrants(t *testing.T) {
	w := newRegions(t)
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	blob := w.sealed(k, "p")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, region := range w.Regions() {
		in := w.at(region)
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				now, err := in.ByID(context.Background(), k.ID)
				if err == nil {
					_, _, err = in.Decrypt(context.Background(), use(now), blob, nil)
				}
				if err != nil {
					t.Errorf("a use in %s: %v", in.Region(), err)
					return
				}
			}
		})
	}
	for i := range 20 {
		in := w.at(w.Regions()[i%3])
		token := in.now(k).Tokens()[0]
		w.must(in.RevokeGrant(t.Context(), use(in.now(k)), in.grant(in.now(k), decryptFor(bob)).ID))
		if err := w.stale(token, blob); !errors.Is(err, hsm.ErrFenced) {
			t.Errorf("the token from before: %v", err)
		}
	}
	close(stop)
	wg.Wait()
}

// A family out of a backup opens nothing until its owner says so, in each
// Region for itself.
func TestARolledBackFamilyWaitsForItsOwnerInEveryRegion(t *testing.T) {
	w := newRegions(t)
	ctx := t.Context()
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	blob := w.sealed(k, "p")
	backup := copyStore(t, w.store.Store)
	for _, region := range w.Regions() {
		w.must(w.at(region).Disable(ctx, w.at(region).now(k)))
	}
	w.must(w.at(eu).Enable(ctx, w.at(eu).now(k))) // the fence is open again, and elsewhere
	w.store.Store = backup
	w.reopen()
	check := func(when string, want ...string) {
		t.Helper()
		for _, region := range w.Regions() {
			w.must(w.at(region).Repair())
		}
		w.works(when, k, blob, want...)
	}
	check("rolled back")
	if err := w.RotateOnDemand(ctx, w.now(k)); !errors.Is(err, &keys.Error{Kind: keys.Unavailable}) {
		t.Errorf("rotation: %v", err)
	}
	w.must(w.at(ap).Enable(ctx, w.at(ap).now(k)))
	check("one enabled", ap)
	in := w.at(ap)
	w.must(in.RevokeGrant(ctx, use(in.now(k)), in.grant(in.now(k), decryptFor(bob)).ID)) // moves the fence for itself alone
	check("one enabled, and a grant revoked", ap)
	w.must(w.at(us).Disable(ctx, w.at(us).now(k))) // whose tokens are dead already
	check("another disabled", ap)
	w.reopen()
	check("after a restart", ap)
	w.must(w.at(us).Enable(ctx, w.at(us).now(k)))
	w.must(w.at(eu).Enable(ctx, w.at(eu).now(k)))
	check("all enabled", us, eu, ap)
}

// A crash, or a lost wire, in the middle: it is finished by the next start or
// by asking again, and no Region stays closed that its owner did not close.
func TestAnInterruptedMoveOfAFamilysFenceIsFinished(t *testing.T) {
	for name, fail := range map[string]func(w *world, on bool){
		"the store does not answer": func(w *world, on bool) { w.store.set(on1(on, errStore), nil, nil) },
		"its answer is lost":        func(w *world, on bool) { w.store.set(nil, on1(on, errStore), nil) },
		"the boundary is away":      func(w *world, on bool) { w.hsm.set(on1(on, hsm.ErrUnavailable)) },
	} {
		for op, take := range map[string]func(in *world, k *keys.Key, g *keys.Grant) error{
			"RevokeGrant": func(in *world, k *keys.Key, g *keys.Grant) error {
				return in.RevokeGrant(in.Context(), use(in.now(k)), g.ID)
			},
			"DisableKey": func(in *world, k *keys.Key, _ *keys.Grant) error { return in.Disable(in.Context(), in.now(k)) },
		} {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, restart %v", op, name, restart), func(t *testing.T) {
					w := newRegions(t)
					k := w.createMultiRegion()
					w.replicate(k, eu, ap)
					blob := w.sealed(k, "p")
					g := w.at(eu).grant(w.at(eu).now(k), decryptFor(bob))
					token := w.now(k).Tokens()[0]
					fail(w, true)
					if err := take(w.at(eu), k, g); err == nil {
						t.Fatal("the failure was not told")
					}
					fail(w, false)
					if restart {
						w.reopen()
						for _, region := range w.Regions() {
							w.must(w.at(region).Repair())
						}
					}
					if err := take(w.at(eu), k, g); err != nil && !errors.Is(err, &keys.Error{Kind: keys.NotFound}) {
						t.Fatalf("asked again: %v", err)
					}
					if err := w.stale(token, blob); !errors.Is(err, hsm.ErrFenced) {
						t.Errorf("the token from before: %v", err)
					}
					if op == "DisableKey" {
						w.works("afterwards", k, blob, us, ap)
						w.must(w.at(eu).Enable(t.Context(), w.at(eu).now(k)))
					}
					w.works("in the end", k, blob, us, eu, ap)
				})
			}
		}
	}
}

// Another change than the one that was interrupted finishes that, too.
func TestDisableFinishesAnInterruptedRevocationOfAFamily(t *testing.T) {
	for name, interrupt := range map[string]func(w *world, on bool){
		"before the fence moved": func(w *world, on bool) { w.hsm.stick(on) },
		"behind the fence": func(w *world, on bool) {
			if w.store.set(nil, nil, nil); on {
				w.store.failAfter(1) // the intention is written, and nothing after it
			}
		},
	} {
		t.Run(name, func(t *testing.T) { interruptedRevocation(t, interrupt) })
	}
}

func (c *chip) stick(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = on
}

func interruptedRevocation(t *testing.T, interrupt func(w *world, on bool)) {
	w := newRegions(t)
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	blob := w.sealed(k, "p")
	in := w.at(eu)
	g := in.grant(in.now(k), decryptFor(bob))
	token := w.now(k).Tokens()[0]
	interrupt(w, true)
	if err := in.RevokeGrant(t.Context(), use(in.now(k)), g.ID); err == nil {
		t.Fatal("the failure was not told")
	}
	interrupt(w, false)
	w.must(in.Disable(t.Context(), in.now(k)))
	if err := w.stale(token, blob); !errors.Is(err, hsm.ErrFenced) {
		t.Errorf("the token from before: %v", err)
	}
	w.works("afterwards", k, blob, us, ap)
}

// That its material is gone is stated when the last of a family goes.
func TestTheEndOfAFamilyIsStatedOnce(t *testing.T) {
	w := newRegions(t)
	ctx := t.Context()
	var stated []string
	w.stated = func(_ context.Context, key *keys.Key, _ []byte) error {
		stated = append(stated, key.Region)
		return nil
	}
	w.reopen()
	k := w.createMultiRegion()
	w.replicate(k, eu)
	blob, token := w.sealed(k, "p"), w.now(k).Tokens()[0]
	_, err := w.at(eu).ScheduleDeletion(ctx, w.at(eu).now(k), 7)
	w.must(err)
	w.clock.Advance(8 * 24 * time.Hour)
	w.must(w.at(eu).DoDue(ctx))
	if len(stated) != 0 {
		t.Errorf("stated in %q while the primary lives", stated)
	}
	if _, _, err := w.Decrypt(ctx, use(w.now(k)), blob, nil); err != nil {
		t.Errorf("the primary: %v", err)
	}
	_, err = w.ScheduleDeletion(ctx, w.now(k), 7)
	w.must(err)
	w.clock.Advance(8 * 24 * time.Hour)
	w.must(w.DoDue(ctx))
	if !slices.Equal(stated, []string{us}) {
		t.Errorf("stated in %q", stated)
	}
	if err := w.stale(token, blob); !errors.Is(err, hsm.ErrFenced) {
		t.Errorf("a token out of a backup: %v", err)
	}
}

// Conditions are sealed into the material, and so are those of all Regions.
func TestConditionsOfAFamilyAreSetOnItsPrimary(t *testing.T) {
	w := newRegions(t)
	ctx := t.Context()
	k := w.createMultiRegion()
	w.replicate(k, eu)
	ward := keys.Conditions{Context: map[string]string{"ward": "3"}}
	err := w.at(eu).PutConditions(ctx, use(w.at(eu).now(k)), ward, nil)
	w.refused(err, keys.Unsupported, k.RelatedARN(eu)+" is not a multi-region primary key.")
	err = w.PutConditions(ctx, use(w.now(k)), keys.Conditions{CallerProof: true}, nil)
	w.refused(err, keys.Unsupported, k.ARN+" is a multi-Region key, of which no request can be proven to the HSM.")
	w.must(w.PutConditions(ctx, use(w.now(k)), ward, nil))
	w.replicate(k, ap) // what comes later has them, too
	w.must(w.RotateOnDemand(ctx, w.now(k)))
	for range 2 {
		for _, region := range w.Regions() {
			in := w.at(region)
			if got := in.now(k).Conditions().Context; got["ward"] != "3" {
				t.Errorf("conditions in %s: %v", region, got)
			}
			blob, err := in.Encrypt(ctx, use(in.now(k)), []byte("p"), map[string]string{"ward": "3"})
			w.must(err)
			for _, to := range w.Regions() {
				if _, _, err := w.at(to).Decrypt(ctx, use(w.at(to).now(k)), blob, map[string]string{"ward": "3"}); err != nil {
					t.Errorf("from %s to %s: %v", region, to, err)
				}
			}
			if _, err := in.Encrypt(ctx, use(in.now(k)), []byte("p"), nil); err == nil {
				t.Errorf("in %s without the context that the key asks for", region)
			}
		}
		w.reopen()
	}
}
