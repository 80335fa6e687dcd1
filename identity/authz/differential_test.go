package authz_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/leadglass/leadglass/identity/authz"
)

// differ makes one world from a seed, asks several requests in it and compares the decision
// with the reference, with a trace and without one.
func differ(t *testing.T, seed uint64, asks int, count map[string]int) {
	t.Helper()
	d := dice{rand.New(rand.NewPCG(seed, 0x1ead61a55))}
	w, r := d.world()
	var trace authz.Trace
	for range asks {
		d.ask(w, r)
		trace.Reset()
		wantDecision, wantBy := w.refDecide()
		with, without := authz.Decide(r, &trace), authz.Decide(r, nil)
		if with != without {
			t.Fatalf("seed %d: the trace changes the answer: %+v, without %+v", seed, with, without)
		}
		got := "implicit_deny"
		switch {
		case with.Allowed:
			got = "allow"
		case with.Explicit:
			got = "explicit_deny"
		}
		if got != wantDecision || with.By.String() != wantBy {
			t.Fatalf("seed %d: got %s by %s, the reference says %s by %s\n%s", seed, got, with.By, wantDecision, wantBy, describe(w))
		}
		if with.Explicit && len(trace.Deny) == 0 {
			t.Fatalf("seed %d: an explicit deny without a statement in the trace", seed)
		}
		if count != nil {
			count[wantDecision+" by "+wantBy]++
		}
	}
}

func describe(w *refWorld) string {
	b, _ := json.Marshal(map[string]any{
		"identity": w.identity, "boundary": w.boundary, "session": w.session, "scps": w.scps, "rcps": w.rcps,
		"resource": w.resourcePolicy, "vpce": w.endpoint, "context": w.context, "action": w.action, "on": w.resource,
		"principal": fmt.Sprintf("%+v", w.p), "grants": fmt.Sprintf("%+v", w.grants),
	})
	return string(b)
}

func TestTwentyThousandRandomRequestsAgreeWithTheReference(t *testing.T) {
	count := map[string]int{}
	for seed := range uint64(2000) {
		differ(t, seed, 10, count)
	}
	// A generator that never reaches a rule proves nothing about it.
	for _, outcome := range []string{
		"allow by identity", "allow by resource", "allow by root", "allow by grant", "allow by identity+resource",
		"explicit_deny by scp", "explicit_deny by rcp", "explicit_deny by vpce", "explicit_deny by resource",
		"explicit_deny by identity", "explicit_deny by boundary", "explicit_deny by session",
		"implicit_deny by scp", "implicit_deny by rcp", "implicit_deny by vpce", "implicit_deny by resource",
		"implicit_deny by identity", "implicit_deny by boundary", "implicit_deny by session",
	} {
		if count[outcome] < 5 {
			t.Errorf("%s came up %d times only", outcome, count[outcome])
		}
	}
}

func FuzzDifferential(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed << 40)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { differ(t, seed, 10, nil) })
}
