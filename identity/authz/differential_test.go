package authz_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/authz/authztest"
)

// asksPerWorld is how many requests are put to the policies of one world.
const asksPerWorld = 10

// differ makes one world from a seed, asks several requests in it and compares the decision with
// the reference: without a trace, with one, and with the missing keys collected, as the
// simulator does.
func differ(seed uint64, count map[string]int) error {
	w := authztest.New(seed)
	var trace authz.Trace
	missing := authz.Trace{Missing: []string{}}
	for range asksPerWorld {
		w.Next()
		trace.Reset()
		missing.Reset()
		wantDecision, wantBy := w.Reference()
		with, without, collecting := authz.Decide(w.Request, &trace), authz.Decide(w.Request, nil), authz.Decide(w.Request, &missing)
		if with != without || with != collecting {
			return fmt.Errorf("seed %d: the trace changes the answer: %+v, without %+v, collecting %+v", seed, with, without, collecting)
		}
		got := "implicit_deny"
		switch {
		case with.Allowed:
			got = "allow"
		case with.Explicit:
			got = "explicit_deny"
		}
		if got != wantDecision || with.By.String() != wantBy {
			return fmt.Errorf("seed %d: got %s by %s, the reference says %s by %s\n%s", seed, got, with.By, wantDecision, wantBy, w)
		}
		if with.Explicit && len(trace.Deny) == 0 {
			return fmt.Errorf("seed %d: an explicit deny without a statement in the trace", seed)
		}
		if count != nil {
			count[wantDecision+" by "+wantBy]++
		}
	}
	return nil
}

// manyCases names the variable with the number of random cases; a release is tested with 10,000,000.
const manyCases = "LEADGLASS_DIFFERENTIAL_CASES"

func TestRandomRequestsAgreeWithTheReference(t *testing.T) {
	cases := 20_000
	if v := os.Getenv(manyCases); v != "" {
		var err error
		if cases, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	var next atomic.Uint64
	worlds := uint64(cases / asksPerWorld)
	var wg sync.WaitGroup
	counts := make([]map[string]int, runtime.GOMAXPROCS(0))
	for i := range counts {
		counts[i] = map[string]int{}
		wg.Go(func() {
			for !t.Failed() {
				seed := next.Add(1) - 1
				if seed >= worlds {
					return
				}
				if err := differ(seed, counts[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	count := map[string]int{}
	for _, c := range counts {
		for outcome, n := range c {
			count[outcome] += n
		}
	}
	t.Log(cases, "cases:", count)
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
	f.Fuzz(func(t *testing.T, seed uint64) {
		if err := differ(seed, nil); err != nil {
			t.Fatal(err)
		}
	})
}
