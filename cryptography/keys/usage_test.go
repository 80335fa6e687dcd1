package keys_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/state/kv"
)

// run lets Run work until f has returned, and ends it.
func (w *world) run(f func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	running := w.Keys
	go func() { done <- running.Run(ctx) }()
	f()
	cancel()
	w.must(<-done)
}

func TestTheLastUseOfAKeySurvivesARestart(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	began := w.clock.Now()
	k, idle := w.create(acct), w.create(acct)
	w.clock.Advance(time.Hour)
	u := use(k)
	u.Event, u.Request = "event", "request"
	_, err := w.Encrypt(ctx, u, []byte("x"), nil)
	w.must(err)
	want := keys.Usage{Operation: "Encrypt", Time: w.clock.Now(), Event: "event", Request: "request"}
	w.run(func() {})
	check := func(what string, k *keys.Key, want *keys.Usage, since time.Time) {
		t.Helper()
		last, from := w.LastUsage(w.now(k))
		if (last == nil) != (want == nil) || last != nil && *last != *want || !from.Equal(since) {
			t.Errorf("%s: %+v since %v, want %+v since %v", what, last, from, want, since)
		}
	}
	check("before the restart", k, &want, began)
	w.clock.Advance(time.Hour)
	w.reopen()
	check("after the restart", k, &want, began)
	check("a key that was not used", idle, nil, began)

	// A store that cannot write now gets the use later.
	w.store.set(errStore, nil, nil)
	blob := w.sealed(k, "y")
	want = keys.Usage{Operation: "Encrypt", Time: w.clock.Now(), Request: "r"}
	w.run(func() {})
	w.store.set(nil, nil, nil)
	w.run(func() {})
	w.reopen()
	check("after an outage of the store", k, &want, began)

	// Refused uses and dry runs are none.
	w.clock.Advance(time.Hour)
	u = use(w.now(k))
	u.DryRun = true
	if _, _, err := w.Decrypt(ctx, u, blob, nil); err == nil {
		t.Error("a dry run has no answer")
	}
	if _, _, err := w.Decrypt(ctx, use(w.now(k)), blob, map[string]string{"a": "b"}); err == nil {
		t.Error("a wrong context decrypts")
	}
	w.run(func() {})
	w.reopen()
	check("after what is no use", k, &want, began)
}

func TestLastUsesAreSavedWhileThePlaneRuns(t *testing.T) {
	w := newWorld(t)
	ks := make([]*keys.Key, 150) // more than one commit holds
	for i := range ks {
		ks[i] = w.create(acct)
	}
	saved := func() (n int) {
		for page, err := range kv.Pages(t.Context(), w.store, kv.Table('K').Text(acct).Text("used"), 100) {
			w.must(err)
			n += len(page)
		}
		return n
	}
	w.run(func() {
		for i, k := range ks {
			w.sealed(k, fmt.Sprint(i))
		}
		for deadline := time.Now().Add(30 * time.Second); saved() < len(ks); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d uses are in the store", saved(), len(ks))
			}
			w.clock.Advance(10 * time.Second)
		}
	})
	w.reopen()
	for _, k := range ks {
		if last, _ := w.LastUsage(w.now(k)); last == nil || last.Operation != "Encrypt" {
			t.Fatalf("key %s: %+v", k.ID, last)
		}
	}
}

// A key that ends takes its last use with it, also one that is still to be
// written, beside those of others that are.
func TestADestroyedKeyLeavesNoUse(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	gone, stays := w.create(acct), w.create(other)
	w.sealed(gone, "x")
	w.run(func() {})
	w.sealed(gone, "x")
	w.sealed(stays, "x")
	_, err := w.ScheduleDeletion(ctx, w.now(gone), 7)
	w.must(err)
	w.clock.Advance(7 * 24 * time.Hour)
	w.destroyed(gone)
	w.run(func() {})
	w.reopen()
	if last, _ := w.LastUsage(w.now(stays)); last == nil {
		t.Error("the other key's use is lost")
	}
	_, err = w.ScheduleDeletion(ctx, w.now(stays), 7)
	w.must(err)
	w.clock.Advance(7 * 24 * time.Hour)
	w.destroyed(stays)
	w.empty()
}
