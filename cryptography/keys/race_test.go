package keys_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/state/kv"
)

var errNoGrant = errors.New("no grant")

// byGrant is a use by bob that only a grant can allow, decided as a service
// decides it: on the grants of the newest snapshot, and again on demand.
func (w *world) byGrant(id string) (keys.Use, error) {
	again := func(now *keys.Key) error {
		if len(now.Grants([]string{"AIDABOB"}, "Decrypt", nil)) == 0 {
			return errNoGrant
		}
		return nil
	}
	k, err := w.ByID(context.Background(), id)
	if err != nil {
		return keys.Use{}, err
	}
	if k == nil {
		return keys.Use{}, errors.New("no key")
	}
	return keys.Use{Key: k, Again: again}, again(k)
}

// hammer decrypts from many goroutines while stop runs, and fails if a use
// that started after stop returned succeeded.
func (w *world) hammer(k *keys.Key, blob []byte, stop func()) (before int64) {
	w.Helper()
	var (
		stopped   atomic.Bool
		done      atomic.Bool
		successes atomic.Int64
		late      atomic.Int64
		wg        sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			for !done.Load() {
				after := stopped.Load() // read before the use begins
				u, err := w.byGrant(k.ID)
				if err == nil {
					_, _, err = w.Decrypt(context.Background(), u, blob, nil)
				}
				if err == nil {
					successes.Add(1)
					if after {
						late.Add(1)
					}
				}
				runtime.Gosched()
			}
		})
	}
	for successes.Load() < 20 {
		time.Sleep(100 * time.Microsecond)
	}
	stop()
	stopped.Store(true)
	time.Sleep(2 * time.Millisecond)
	done.Store(true)
	wg.Wait()
	if n := late.Load(); n > 0 {
		w.Errorf("%d uses that started after the answer succeeded", n)
	}
	return successes.Load()
}

func TestNoUseSucceedsThatStartsAfterTheRevocationReturned(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	blob, err := w.Encrypt(ctx, use(k), []byte("secret"), nil)
	w.must(err)
	for range 20 {
		g := w.grant(w.now(k), decryptFor(bob))
		w.hammer(k, blob, func() { w.must(w.RevokeGrant(ctx, use(w.now(k)), g.ID)) })
	}
}

func TestNoUseSucceedsThatStartsAfterDisableReturned(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	blob, err := w.Encrypt(ctx, use(k), []byte("secret"), nil)
	w.must(err)
	w.grant(k, decryptFor(bob))
	for range 20 {
		w.hammer(k, blob, func() { w.must(w.Disable(ctx, w.now(k))) })
		w.must(w.Enable(ctx, w.now(k)))
	}
}

// What is stuck inside the boundary while the right to it goes must not come out.
func TestAUseUnderWayFailsWhenItsRightGoes(t *testing.T) {
	for name, stop := range map[string]func(*world, *keys.Key, *keys.Grant) error{
		"the grant is revoked": func(w *world, k *keys.Key, g *keys.Grant) error { return w.RevokeGrant(w.Context(), use(k), g.ID) },
		"the key is disabled":  func(w *world, k *keys.Key, g *keys.Grant) error { return w.Disable(w.Context(), k) },
		"deletion is scheduled": func(w *world, k *keys.Key, g *keys.Grant) error {
			_, err := w.ScheduleDeletion(w.Context(), k, 7)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			k := w.create(acct)
			g := w.grant(k, decryptFor(bob))
			blob, err := w.Encrypt(w.Context(), use(k), []byte("secret"), nil)
			w.must(err)
			u, err := w.byGrant(k.ID)
			w.must(err)
			gate := make(chan struct{})
			w.hsm.mu.Lock()
			w.hsm.hold = gate
			w.hsm.mu.Unlock()
			result := make(chan error)
			go func() {
				p, _, err := w.Decrypt(w.Context(), u, blob, nil)
				if p != nil {
					err = nil
				}
				result <- err
			}()
			time.Sleep(time.Millisecond) // mostly inside by now; the outcome is the same if not
			w.must(stop(w, k, g))
			close(gate)
			if err := <-result; err == nil {
				t.Error("the plaintext came out")
			}
		})
	}
}

func TestAChangedKeyAsksAgainAndAnUnchangedOneDoesNot(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	asked := 0
	u := keys.Use{Key: k, Again: func(now *keys.Key) error { asked++; return nil }}
	_, err := w.Encrypt(ctx, u, []byte("x"), nil)
	w.must(err)
	w.grant(k, decryptFor(bob)) // more rights for somebody: nothing to ask
	_, err = w.Encrypt(ctx, u, []byte("x"), nil)
	w.must(err)
	if asked != 0 {
		t.Errorf("asked %d times about an unchanged key", asked)
	}
	w.must(w.PutPolicy(ctx, k, policyFor(alice), nil))
	_, err = w.Encrypt(ctx, u, []byte("x"), nil)
	w.must(err)
	if asked != 1 {
		t.Errorf("asked %d times about a changed key", asked)
	}
	_, err = w.Encrypt(ctx, keys.Use{Key: k}, []byte("x"), nil)
	if !errors.Is(err, &keys.Error{Kind: keys.Unavailable}) {
		t.Errorf("a changed key and nobody to ask: %v", err)
	}
}

func TestACommitOfUnknownOutcomeIsReadBack(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	g := w.grant(k, decryptFor(bob))

	// It was written, and the answer got lost.
	w.store.set(nil, errStore, nil)
	if err := w.Disable(ctx, w.now(k)); !errors.Is(err, errStore) {
		t.Fatalf("disable: %v", err)
	}
	if s := w.now(k).State; s != keys.StateDisabled {
		t.Errorf("the store says disabled, memory says %s", s)
	}
	if err := w.RevokeGrant(ctx, use(w.now(k)), g.ID); !errors.Is(err, errStore) {
		t.Fatalf("revoke: %v", err)
	}
	if _, ok := w.now(k).Grant(g.ID); ok {
		t.Error("the revoked grant is in memory")
	}
	if err := w.CreateAlias(ctx, w.now(k), "alias/a"); !errors.Is(err, errStore) {
		t.Fatalf("alias: %v", err)
	}
	if f, err := w.Find(ctx, acct, "alias/a", true); err != nil || f.Key == nil {
		t.Errorf("the alias is in the store and not in memory: %v", err)
	}
	second := w.create2()
	if err := w.UpdateAlias(ctx, w.now(k), second, "alias/a"); !errors.Is(err, errStore) {
		t.Fatalf("alias: %v", err)
	}
	if f, err := w.Find(ctx, acct, "alias/a", true); err != nil || f.Key == nil || f.Key.ID != second.ID {
		t.Errorf("the alias leads to %v, %v", f.Key, err)
	}

	// It was not written.
	w.store.set(errStore, nil, nil)
	if err := w.Enable(ctx, w.now(k)); !errors.Is(err, errStore) {
		t.Fatalf("enable: %v", err)
	}
	if s := w.now(k).State; s != keys.StateDisabled {
		t.Errorf("state %s", s)
	}

	// Nothing can be read: the key is closed, and open again when it can.
	w.store.set(errStore, nil, errStore)
	u := use(w.now(k))
	if err := w.Enable(ctx, w.now(k)); !errors.Is(err, errStore) {
		t.Fatalf("enable: %v", err)
	}
	if _, err := w.ByID(ctx, k.ID); !errors.Is(err, &keys.Error{Kind: keys.Unavailable}) {
		t.Errorf("a key that nobody knows the state of: %v", err)
	}
	if _, err := w.Encrypt(ctx, u, []byte("x"), nil); !errors.Is(err, &keys.Error{Kind: keys.Unavailable}) {
		t.Errorf("its use: %v", err)
	}
	w.store.set(nil, nil, nil)
	w.must(w.Enable(ctx, w.now(k)))
	if _, err := w.Encrypt(ctx, use(w.now(k)), []byte("x"), nil); err != nil {
		t.Errorf("after the store is back: %v", err)
	}
}

// create2 makes a key while commits lose their answers: the key is in the
// store only, as after a crash.
func (w *world) create2() *keys.Key {
	w.Helper()
	w.store.set(nil, nil, nil)
	k := w.create(acct)
	w.store.set(nil, errStore, nil)
	return k
}

func TestACreationOfUnknownOutcomeLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.store.set(nil, errStore, nil)
	if _, err := w.Create(w.Context(), keys.NewKey{Account: acct}); !errors.Is(err, errStore) {
		t.Fatal(err)
	}
	w.store.set(nil, nil, nil)
	w.empty()
}

func TestAForeignWriteIsRefusedAndRead(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	// Another process disables the key behind our back.
	second, err := keys.Open(ctx, w.store, keys.Config{Boundary: w.hsm, Clock: w.clock, Region: "us-east-1", Principals: w.principal})
	w.must(err)
	theirs, err := second.ByID(ctx, k.ID)
	w.must(err)
	w.must(second.Disable(ctx, theirs))
	var conflict *kv.ConflictError
	if err := w.SetDescription(ctx, k, "x"); !errors.As(err, &conflict) {
		t.Fatalf("a write over a foreign write: %v", err)
	}
	if s := w.now(k).State; s != keys.StateDisabled {
		t.Errorf("state %s", s)
	}
}

// destroyed runs the worker until the key is gone.
func (w *world) destroyed(k *keys.Key) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Keys.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		es, _, _, err := w.store.Scan(ctx, kv.Table('K').Text(k.Account).Text("key").Text(k.ID), nil, 1, 0, true)
		w.must(err)
		start := kv.Table('K').Text(k.Account).Text("key").Text(k.ID)
		if len(es) == 0 || string(es[0].Key) != string(start) {
			break
		}
		if time.Now().After(deadline) {
			w.Fatal("the key is still there")
		}
	}
	cancel()
	if err := <-done; err != nil {
		w.Fatal(err)
	}
}

func TestAKeyEndsWithAllThatBelongsToIt(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	w.must(w.CreateAlias(ctx, k, "alias/a"))
	for range 70 { // more than one commit removes
		n := decryptFor(bob)
		n.Retiring = alice
		w.grant(w.now(k), n)
	}
	blob, err := w.Encrypt(ctx, use(w.now(k)), []byte("x"), nil)
	w.must(err)
	_, err = w.ScheduleDeletion(ctx, w.now(k), 7)
	w.must(err)
	w.clock.Advance(7*24*time.Hour - time.Millisecond)
	old := w.now(k)
	w.clock.Advance(time.Millisecond)
	// From this moment on it does not exist, even if nobody has removed it yet.
	if now, err := w.ByID(ctx, k.ID); now != nil || err != nil {
		t.Errorf("a key after its end: %v %v", now, err)
	}
	w.refused(w.CancelDeletion(ctx, old), keys.NotFound, "Key '"+k.ARN+"' does not exist")
	w.destroyed(k)
	w.empty()
	if _, err := w.ByCiphertext(ctx, blob); !errors.Is(err, &keys.Error{Kind: keys.InvalidCiphertext}) {
		t.Errorf("its ciphertext: %v", err)
	}
	if f, err := w.Find(ctx, acct, "alias/a", true); err != nil || f.Key != nil {
		t.Errorf("its alias: %v %v", f.Key, err)
	}
	w.refused(w.Enable(ctx, old), keys.NotFound, "Key '"+k.ARN+"' does not exist")
}

func TestACrashDuringTheEndIsFinishedByTheNextStart(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	w.grant(k, decryptFor(bob))
	_, err := w.ScheduleDeletion(ctx, k, 7)
	w.must(err)
	w.clock.Advance(8 * 24 * time.Hour)
	// The first commit is the tombstone; its answer is lost, which is like a crash behind it.
	w.store.set(nil, errStore, nil)
	runCtx, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- w.Keys.Run(runCtx) }()
	for {
		en, err := w.store.Get(ctx, kv.Table('K').Text(acct).Text("key").Text(k.ID))
		w.must(err)
		if en.Mod > 3 { // created, scheduled, buried
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	w.store.set(nil, nil, nil)
	w.reopen()
	w.empty()
}
