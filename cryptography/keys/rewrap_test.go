package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/keys"
)

// turn rotates the domain key and says which is the active one now.
func (w *world) turn() keys.Rewrap {
	w.Helper()
	w.must(w.hsm.RotateDomainKeys(w.Context()))
	s, err := w.hsm.Status(w.Context())
	w.must(err)
	return keys.Rewrap{Active: s.ActiveKey, Seal: w.hsm.Rewrap}
}

// wantOnly checks that all n tokens are under the active key, in memory and,
// after a restart, in the store.
func (w *world) wantOnly(active hsm.DomainKeyID, n int) {
	w.Helper()
	for _, when := range []string{"in memory", "in the store"} {
		found, err := w.DomainKeys()
		w.must(err)
		if len(found) != 1 || found[active] != n {
			w.Errorf("%s: tokens by domain key: %v, want %d under %x", when, found, n, active)
		}
		w.reopen()
	}
}

func TestAllTokensOfAllRegionsAreSealedAnew(t *testing.T) {
	w := newRegions(t)
	ctx := w.Context()
	single := w.create(acct)
	first, err := w.Encrypt(ctx, use(single), []byte("first"), nil)
	w.must(err)
	w.rotateNow(single)
	second, err := w.Encrypt(ctx, use(w.now(single)), []byte("second"), nil)
	w.must(err)
	closed := w.create(acct)
	kept, err := w.Encrypt(ctx, use(closed), []byte("closed"), nil)
	w.must(err)
	w.must(w.Disable(ctx, closed))
	family := w.createMultiRegion()
	w.replicate(family, eu, ap)
	shared, err := w.Encrypt(ctx, use(w.now(family)), []byte("shared"), nil)
	w.must(err)
	w.createOf("RSA_2048", "SIGN_VERIFY")
	away := w.at(eu).create(acct)
	calls := 0
	how := w.turn()
	how.InFlight = 1
	how.Seal = func(ctx context.Context, ekt []byte) ([]byte, error) { calls++; return w.hsm.Rewrap(ctx, ekt) }
	durable := 0
	how.Done = func(n int) { durable += n }
	got, err := w.Rewrap(ctx, how)
	w.must(err)
	// Two materials of one key, one of each of the others; the family's is one token in three records.
	if want := (keys.Rewrapped{Tokens: 6}); got != want || calls != 6 || durable != 6 {
		t.Errorf("%+v in %d calls, %d durable, want %+v", got, calls, durable, want)
	}
	w.wantOnly(how.Active, 8)
	for _, c := range []struct {
		region, want string
		key          *keys.Key
		blob         []byte
	}{{us, "first", single, first}, {us, "second", single, second}, {us, "shared", family, shared}, {eu, "shared", family, shared}, {ap, "shared", family, shared}} {
		in := w.at(c.region)
		if p, _, err := in.Decrypt(ctx, use(in.now(c.key)), c.blob, nil); err != nil || string(p) != c.want {
			t.Errorf("%s in %s: %q, %v", c.want, c.region, p, err)
		}
	}
	// What was closed is closed in the boundary too, and opens with the epoch that it has.
	w.must(w.Enable(ctx, w.now(closed)))
	if p, _, err := w.Decrypt(ctx, use(w.now(closed)), kept, nil); err != nil || string(p) != "closed" {
		t.Errorf("%q, %v", p, err)
	}
	if _, err := w.at(eu).Encrypt(ctx, use(w.at(eu).now(away)), []byte("x"), nil); err != nil {
		t.Error(err)
	}
	if got, err := w.Rewrap(ctx, how); err != nil || got != (keys.Rewrapped{}) {
		t.Errorf("once more: %+v, %v", got, err)
	}
}

func TestATokenThatChangedMeanwhileIsNotOverwritten(t *testing.T) {
	for name, change := range map[string]func(w *world, k *keys.Key) error{
		"rotated":  func(w *world, k *keys.Key) error { return w.RotateOnDemand(w.Context(), k) },
		"disabled": func(w *world, k *keys.Key) error { return w.Disable(w.Context(), k) },
		"refenced": func(w *world, k *keys.Key) error {
			return errors.Join(w.Disable(w.Context(), k), w.Enable(w.Context(), w.now(k)))
		},
		"scheduled": func(w *world, k *keys.Key) error { _, err := w.ScheduleDeletion(w.Context(), k, 7); return err },
		"destroyed": func(w *world, k *keys.Key) error {
			_, err := w.ScheduleDeletion(w.Context(), k, 7)
			w.clock.Advance(8 * 24 * time.Hour)
			return errors.Join(err, w.DoDue(w.Context()))
		},
		"sealed": func(w *world, k *keys.Key) error {
			return w.PutConditions(w.Context(), use(k), keys.Conditions{Context: map[string]string{"ward": "3"}}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ctx := w.Context()
			k, other := w.create(acct), w.create(acct)
			blob, err := w.Encrypt(ctx, use(k), []byte("x"), map[string]string{"ward": "3"})
			w.must(err)
			how := w.turn()
			var once sync.Once
			how.Seal = func(ctx context.Context, ekt []byte) ([]byte, error) {
				sealed, err := w.hsm.Rewrap(ctx, ekt)
				once.Do(func() { w.must(change(w, w.now(k))) })
				return sealed, err
			}
			how.InFlight = 1
			_, err = w.Rewrap(ctx, how)
			w.must(err)
			after, err := w.ByID(ctx, k.ID)
			w.must(err)
			if (after == nil) != (name == "destroyed") {
				t.Fatalf("%+v", after)
			}
			if after != nil {
				if after.State == keys.StatePendingDeletion {
					w.must(w.CancelDeletion(ctx, after))
				}
				w.must(w.Enable(ctx, w.now(k)))
				if p, _, err := w.Decrypt(ctx, use(w.now(k)), blob, map[string]string{"ward": "3"}); err != nil || string(p) != "x" {
					t.Errorf("afterwards: %q, %v", p, err)
				}
				if name == "sealed" {
					if _, _, err := w.Decrypt(ctx, use(w.now(k)), blob, nil); err == nil {
						t.Error("the conditions are gone")
					}
				}
			}
			how.Seal = w.hsm.Rewrap
			_, err = w.Rewrap(ctx, how)
			w.must(err)
			n := map[string]int{"rotated": 3, "destroyed": 1}[name]
			w.wantOnly(how.Active, max(n, 2-map[string]int{"destroyed": 1}[name]))
			if _, err := w.Encrypt(ctx, use(w.now(other)), []byte("x"), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// A use that was authorised goes on with the new tokens, without being
// authorised again; after a change of the key it is.
func TestRewrappingIsNoChangeOfTheKey(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	how := w.turn()
	_, err := w.Rewrap(ctx, how)
	w.must(err)
	u := keys.Use{Key: k} // without Again a changed key is refused
	if _, err := w.Encrypt(ctx, u, []byte("x"), nil); err != nil {
		t.Errorf("after a pass: %v", err)
	}
	w.must(w.SetDescription(ctx, w.now(k), "another"))
	how = w.turn()
	_, err = w.Rewrap(ctx, how)
	w.must(err)
	if _, err := w.Encrypt(ctx, u, []byte("x"), nil); kindOf(err) != keys.Unavailable {
		t.Errorf("after a change and a pass: %v", err)
	}
}

func TestAPassThatIsCutOffGoesOn(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	const n = 200
	var ids []*keys.Key
	for range n {
		ids = append(ids, w.create(acct))
	}
	how := w.turn()
	cut := errors.New("the HSM is gone")
	var calls atomic.Int64
	seal := how.Seal
	how.Seal = func(ctx context.Context, ekt []byte) ([]byte, error) {
		if calls.Add(1) > n/2 {
			return nil, cut
		}
		return seal(ctx, ekt)
	}
	got, err := w.Rewrap(ctx, how)
	if !errors.Is(err, cut) || got.Tokens == 0 || got.Tokens >= n {
		t.Fatalf("%+v, %v", got, err)
	}
	first := got.Tokens
	// The process is killed between two commits.
	w.reopen()
	how.Seal = seal
	// And the store fails once, with the outcome unknown.
	w.store.set(nil, errStore, nil)
	if _, err := w.Rewrap(ctx, how); !errors.Is(err, errStore) {
		t.Fatal(err)
	}
	w.store.set(nil, nil, nil)
	got, err = w.Rewrap(ctx, how)
	w.must(err)
	if got.Tokens == 0 || first+got.Tokens > n {
		t.Errorf("%d and %d of %d tokens", first, got.Tokens, n)
	}
	w.wantOnly(how.Active, n)
	for _, k := range ids[:20] {
		if _, err := w.Encrypt(ctx, use(w.now(k)), []byte("x"), nil); err != nil {
			t.Error(err)
		}
	}
}

func TestTheRateIsKept(t *testing.T) {
	w := newWorld(t)
	for range 100 {
		w.create(acct)
	}
	how := w.turn()
	how.Rate = 10
	done := make(chan error, 1)
	go func() { _, err := w.Rewrap(w.Context(), how); done <- err }()
	began := w.clock.Now()
	for {
		select {
		case err := <-done:
			w.must(err)
			if took := w.clock.Now().Sub(began); took < 9*time.Second {
				t.Errorf("100 tokens at 10 a second in %v", took)
			}
			return
		case <-time.After(time.Millisecond):
			w.clock.Advance(100 * time.Millisecond)
		}
	}
}

func TestOldKeyStoresAreRewrappedToo(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	key, _ := h.external(storeID)
	blob, err := h.Encrypt(t.Context(), use(key), []byte("plain"), nil)
	h.must(err)
	how := h.turn()
	got, err := h.Rewrap(t.Context(), how)
	h.must(err)
	if got.Tokens != 2 {
		t.Errorf("%+v: want the key's token and the store's", got)
	}
	found, err := h.DomainKeys()
	if err != nil || len(found) != 1 || found[how.Active] != 2 {
		t.Errorf("%v, %v", found, err)
	}
	h.restart()
	if p, _, err := h.Decrypt(t.Context(), use(h.now(key)), blob, nil); err != nil || string(p) != "plain" {
		t.Errorf("%q, %v", p, err)
	}
}

// Many keys, callers under way, three rotations: nobody's request fails.
func TestNoRequestFailsWhileTokensAreSealedAnew(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	all := make([]*keys.Key, 300)
	blobs := make([][]byte, len(all))
	for i := range all {
		all[i] = w.create(acct)
		var err error
		blobs[i], err = w.Encrypt(ctx, use(all[i]), []byte(fmt.Sprint(i)), nil)
		w.must(err)
	}
	var calls, failed atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for c := range 4 {
		group.Go(func() {
			for i := c; ; i = (i + 7) % len(all) {
				select {
				case <-stop:
					return
				default:
				}
				u := keys.Use{Key: all[i]} // the first snapshot, however often the tokens changed
				p, _, err := w.Decrypt(ctx, u, blobs[i], nil)
				if err == nil && string(p) != fmt.Sprint(i) {
					err = fmt.Errorf("plaintext %q", p)
				}
				if err == nil {
					_, err = w.Encrypt(ctx, u, []byte("x"), nil)
				}
				if calls.Add(1); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}
		})
	}
	var how keys.Rewrap
	for range 3 {
		how = w.turn()
		got, err := w.Rewrap(ctx, how)
		w.must(err)
		if got.Tokens != len(all) {
			t.Errorf("%+v", got)
		}
	}
	close(stop)
	group.Wait()
	if failed.Load() > 0 || calls.Load() < 100 {
		t.Errorf("%d of %d calls failed", failed.Load(), calls.Load())
	}
	w.wantOnly(how.Active, len(all))
	if slices.Contains(all, nil) {
		t.Fatal("no key")
	}
}
