package core_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/authority/core"
	"github.com/leadglass/leadglass/identity/authority/message"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// entries are n revocations of one principal each, one a second, in the order of their epochs.
func entries(list []message.Revocation, n int, account string) []message.Revocation {
	for range n {
		at := len(list)
		list = append(list, message.Revocation{
			PrincipalID: fmt.Sprint("AROA", at), By: account, Epoch: uint64(at + 1), IssuedBefore: start.Add(time.Duration(at) * time.Second),
		})
	}
	return list
}

// ordered says whether epochs rise along the list, as whoever follows it needs.
func ordered(t *testing.T, list []message.Revocation) {
	t.Helper()
	for i := range list[1:] {
		if list[i].Epoch >= list[i+1].Epoch {
			t.Fatalf("epoch %d before %d", list[i].Epoch, list[i+1].Epoch)
		}
	}
}

const busy, quiet = "111122223333", "444455556666"

func TestAnAccountThatOverflowsTheLogIsCutAsAWhole(t *testing.T) {
	list := entries(nil, 3, quiet)
	list = entries(list, core.MaxOfAccount, busy)
	if got, merged, err := core.Bound(list); err != nil || merged || len(got) != len(list) {
		t.Fatalf("at the limit: %d of %d, %v, %v", len(got), len(list), merged, err)
	}
	key, err := id.AccessKey("AKIA", busy)
	if err != nil {
		t.Fatal(err)
	}
	// One more, which counts by the account in its id.
	list = append(list, message.Revocation{CredentialID: key, Epoch: uint64(len(list) + 1), IssuedBefore: start})
	newest := list[len(list)-2].IssuedBefore
	before := append([]message.Revocation(nil), list...)
	got, merged, err := core.Bound(list)
	if err != nil || !merged || len(got) != 4 {
		t.Fatalf("%d entries, %v, %v", len(got), merged, err)
	}
	ordered(t, got)
	whole := got[3]
	if whole.Account != busy || !whole.IssuedBefore.Equal(newest) || whole.Epoch != uint64(len(before)) {
		t.Errorf("cut by %+v", whole)
	}
	// Whatever an entry of the account ended is ended now, wherever it was made.
	for i := range before[3:] {
		e := &before[3+i]
		c := message.Claims{Account: busy, PrincipalID: e.PrincipalID, Issued: e.IssuedBefore}
		if e.CredentialID != "" {
			c = message.Claims{Account: quiet, CredentialID: e.CredentialID, Issued: e.IssuedBefore}
		}
		if !e.Ends("", busy, &c) || !whole.Ends("", busy, &c) {
			t.Fatalf("entry %d: %v, the whole: %v", i, e.Ends("", busy, &c), whole.Ends("", busy, &c))
		}
	}
	if whole.Ends("", quiet, &message.Claims{Account: quiet, Issued: start}) {
		t.Error("the other account is cut, too")
	}
}

func TestAFullLogCutsTheAccountWithTheMost(t *testing.T) {
	var list []message.Revocation
	for i := range 8 {
		list = entries(list, core.MaxEntries/8-16*i, fmt.Sprintf("%012d", i+1))
	}
	list = entries(list, core.MaxEntries-len(list), quiet)
	list = entries(list, 1, quiet)
	n := len(list)
	got, merged, err := core.Bound(list)
	if err != nil || !merged || len(got) != n-core.MaxEntries/8+1 {
		t.Fatalf("%d of %d entries, %v, %v", len(got), n, merged, err)
	}
	ordered(t, got)
	last, whole := got[len(got)-1], got[len(got)-2]
	if whole.Account != "000000000001" || last.By != quiet || last.Epoch != uint64(n)+1 {
		t.Errorf("%+v, then %+v", whole, last)
	}
}

func TestALogThatNobodyCanBeCutForRefusesRatherThanForgets(t *testing.T) {
	if _, _, err := core.Bound(entries(nil, core.MaxEntries+1, "")); err == nil {
		t.Error("something was forgotten")
	}
}
