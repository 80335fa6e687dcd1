package keys_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/state/kv"
)

func decryptFor(grantee string) keys.NewGrant {
	return keys.NewGrant{Grantee: grantee, Issuer: acct, Operations: []string{"Decrypt"}}
}

func (w *world) grant(k *keys.Key, n keys.NewGrant) *keys.Grant {
	w.Helper()
	g, _, err := w.CreateGrant(w.Context(), use(k), n)
	if err != nil {
		w.Fatal(err)
	}
	return g
}

func TestGrantsAreInForceAtOnceAndAfterARestart(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	g := w.grant(k, keys.NewGrant{Name: "night", Grantee: bob, Retiring: alice, Issuer: acct,
		Operations: []string{"Decrypt", "Decrypt", "DescribeKey"}, Subset: map[string]string{"ward": "3"}})
	check := func() {
		t.Helper()
		k := w.now(k)
		if got := k.Grants([]string{"AIDABOB"}, "Decrypt", map[string]string{"WARD": "3", "x": "y"}); len(got) != 1 || got[0].ID != g.ID {
			t.Errorf("the grant gives %v", got)
		}
		if got := k.Grants([]string{"AIDABOB"}, "DescribeKey", nil); len(got) != 1 {
			t.Error("DescribeKey is bound by the constraint")
		}
		for why, got := range map[string]int{
			"another operation": len(k.Grants([]string{"AIDABOB"}, "Encrypt", map[string]string{"ward": "3"})),
			"another value":     len(k.Grants([]string{"AIDABOB"}, "Decrypt", map[string]string{"ward": "4"})),
			"no context":        len(k.Grants([]string{"AIDABOB"}, "Decrypt", nil)),
			"two spellings":     len(k.Grants([]string{"AIDABOB"}, "Decrypt", map[string]string{"ward": "3", "Ward": "4"})),
			"someone else":      len(k.Grants([]string{"AIDAALICE", "", bob}, "Decrypt", map[string]string{"ward": "3"})),
		} {
			if got != 0 {
				t.Errorf("the grant allows %s", why)
			}
		}
		if gs, _, err := w.ListRetirable(ctx, alice, "", 10); err != nil || len(gs) != 1 || gs[0].ID != g.ID {
			t.Errorf("retirable by alice: %v %v", gs, err)
		}
		for _, filter := range [][2]string{{"", ""}, {g.ID, ""}, {"", bob}} {
			if gs, _, err := w.ListGrants(ctx, k, filter[0], filter[1], "", 10); err != nil || len(gs) != 1 || gs[0].Name != "night" || !slices.Equal(gs[0].Operations, []string{"Decrypt", "DescribeKey"}) {
				t.Errorf("list %v: %v %v", filter, gs, err)
			}
		}
	}
	check()
	w.reopen()
	check()
	w.must(w.RetireGrant(ctx, use(w.now(k)), g.ID))
	for range 2 {
		if got := w.now(k).Grants([]string{"AIDABOB"}, "Decrypt", map[string]string{"ward": "3"}); len(got) != 0 {
			t.Error("a retired grant still gives something")
		}
		if gs, _, err := w.ListRetirable(ctx, alice, "", 10); err != nil || len(gs) != 0 {
			t.Errorf("retirable by alice: %v %v", gs, err)
		}
		w.refused(w.RevokeGrant(ctx, use(w.now(k)), g.ID), keys.NotFound, "Grant ID "+g.ID+" not found")
		w.reopen()
	}
	w.refused(w.RevokeGrant(ctx, use(w.now(k)), "short"), keys.InvalidGrantID, "Invalid grant id short")
}

func TestEqualsConstraintWantsTheWholeContext(t *testing.T) {
	w := newWorld(t)
	k := w.create(acct)
	n := decryptFor(bob)
	n.Equals = map[string]string{"a": "1", "b": "2"}
	w.grant(k, n)
	for _, c := range []struct {
		ctx  map[string]string
		want bool
	}{
		{map[string]string{"a": "1", "b": "2"}, true},
		{map[string]string{"A": "1", "B": "2"}, true},
		{map[string]string{"a": "1"}, false},
		{map[string]string{"a": "1", "b": "2", "c": "3"}, false},
		{map[string]string{"a": "1", "A": "1"}, false},
		{map[string]string{"a": "1", "A": "1", "b": "2"}, false},
		{map[string]string{"a": "1", "b": "x"}, false},
		{nil, false},
	} {
		if got := len(k.Grants([]string{"AIDABOB"}, "Decrypt", c.ctx)) == 1; got != c.want {
			t.Errorf("context %v: allowed %v", c.ctx, got)
		}
	}
}

func TestSameNameAndParametersAreTheSameGrant(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	n := keys.NewGrant{Name: "n", Grantee: bob, Issuer: acct, Operations: []string{"Decrypt", "Encrypt"}}
	first, token, err := w.CreateGrant(ctx, use(k), n)
	w.must(err)
	for range 2 {
		n.Operations = []string{"Encrypt", "Decrypt"} // order says nothing
		again, other, err := w.CreateGrant(ctx, use(w.now(k)), n)
		w.must(err)
		if again.ID != first.ID || other == token {
			t.Errorf("grant %s and %s, tokens equal: %v", first.ID, again.ID, other == token)
		}
		w.reopen()
	}
	for why, change := range map[string]func(*keys.NewGrant){
		"another name":       func(n *keys.NewGrant) { n.Name = "m" },
		"no name":            func(n *keys.NewGrant) { n.Name = "" },
		"another grantee":    func(n *keys.NewGrant) { n.Grantee = alice },
		"a constraint":       func(n *keys.NewGrant) { n.Subset = map[string]string{"a": "b"} },
		"a retiring one":     func(n *keys.NewGrant) { n.Retiring = alice },
		"fewer operations":   func(n *keys.NewGrant) { n.Operations = n.Operations[:1] },
		"another constraint": func(n *keys.NewGrant) { n.Equals = map[string]string{"a": "b"} },
	} {
		m := n
		change(&m)
		if g := w.grant(w.now(k), m); g.ID == first.ID {
			t.Errorf("%s gave the same grant", why)
		}
	}
	n.Name = ""
	nameless := w.grant(w.now(k), n)
	if w.grant(w.now(k), n).ID == nameless.ID {
		t.Error("grants without a name are one")
	}
	// After it is gone the name is free.
	w.must(w.RevokeGrant(ctx, use(w.now(k)), first.ID))
	n.Name = "n"
	if w.grant(w.now(k), n).ID == first.ID {
		t.Error("a revoked grant came back")
	}
}

func TestGrantParameters(t *testing.T) {
	w := newWorld(t)
	k := w.create(acct)
	many := map[string]string{}
	for i := range 9 {
		many[fmt.Sprint(i)] = ""
	}
	for name, c := range map[string]struct {
		change func(*keys.NewGrant)
		kind   keys.Kind
		text   string
	}{
		"a grantee that is not there":     {func(n *keys.NewGrant) { n.Grantee = "arn:aws:iam::111122223333:user/x" }, keys.InvalidARN, "ARN does not refer to a valid principal: arn:aws:iam::111122223333:user/x"},
		"a grantee that is no ARN":        {func(n *keys.NewGrant) { n.Grantee = "alice" }, keys.InvalidARN, "ARN does not refer to a valid principal: alice"},
		"a retirer that is not there":     {func(n *keys.NewGrant) { n.Retiring = "arn:aws:iam::111122223333:role/x" }, keys.InvalidARN, "ARN does not refer to a valid principal: arn:aws:iam::111122223333:role/x"},
		"signing with a symmetric key":    {func(n *keys.NewGrant) { n.Operations = []string{"Sign"} }, keys.Validation, "Grant operation Sign is not supported for KeyUsage ENCRYPT_DECRYPT."},
		"no operation":                    {func(n *keys.NewGrant) { n.Operations = nil }, keys.Validation, "A grant must allow at least one operation."},
		"too many pairs":                  {func(n *keys.NewGrant) { n.Subset = many }, keys.Validation, "A grant constraint can have at most 8 encryption context pairs."},
		"too long a value":                {func(n *keys.NewGrant) { n.Equals = map[string]string{"a": strings.Repeat("é", 385)} }, keys.Validation, "A value in a grant constraint can have at most 384 characters."},
		"names that differ in their case": {func(n *keys.NewGrant) { n.Equals = map[string]string{"a": "1", "A": "2"} }, keys.Validation, "Two names in a grant constraint differ only in case."},
	} {
		t.Run(name, func(t *testing.T) {
			n := decryptFor(bob)
			c.change(&n)
			_, _, err := w.CreateGrant(t.Context(), use(k), n)
			w.TB = t
			w.refused(err, c.kind, c.text)
		})
	}
	w.TB = t
	n := decryptFor(bob)
	n.Equals = map[string]string{"a": strings.Repeat("é", 384)}
	w.grant(k, n)
	w.grant(k, decryptFor(arn.Root(other)))
	w.grant(k, decryptFor("arn:aws:sts::111122223333:assumed-role/app/one"))
	w.must(w.Disable(t.Context(), k))
	_, _, err := w.CreateGrant(t.Context(), use(w.now(k)), decryptFor(bob))
	w.refused(err, keys.Disabled, k.ARN+" is disabled.")
}

func TestChildGrantsAreNoWiderThanTheirParent(t *testing.T) {
	pairs := func(s string) map[string]string {
		m := map[string]string{}
		for _, p := range strings.Fields(s) {
			a, b, _ := strings.Cut(p, "=")
			m[a] = b
		}
		if len(m) == 0 {
			return nil
		}
		return m
	}
	for _, c := range []struct {
		name                                               string
		subset, equals, childOps, childSubset, childEquals string
		want                                               bool
	}{
		{"no constraint, fewer operations", "", "", "Decrypt", "", "", true},
		{"an operation that the parent lacks", "", "", "Encrypt", "", "", false},
		{"subset, no constraint", "a=1", "", "Decrypt", "", "", false},
		{"subset, the same subset", "a=1", "", "Decrypt", "A=1", "", true},
		{"subset, a greater subset", "a=1", "", "Decrypt", "a=1 b=2", "", true},
		{"subset, a smaller subset", "a=1 b=2", "", "Decrypt", "a=1", "", false},
		{"subset, another value", "a=1", "", "Decrypt", "a=2", "", false},
		{"subset, equals that holds it", "a=1", "", "Decrypt", "", "a=1 b=2", true},
		{"subset, equals without it", "a=1", "", "Decrypt", "", "b=2", false},
		{"equals, the same equals", "", "a=1", "Decrypt", "", "a=1", true},
		{"equals, a greater equals", "", "a=1", "Decrypt", "", "a=1 b=2", false},
		{"equals, a subset", "", "a=1", "Decrypt", "a=1", "", false},
		{"equals, none", "", "a=1", "Decrypt", "", "", false},
		{"both, one only", "a=1", "a=1 b=2", "Decrypt", "a=1", "", false},
		{"both, the equals", "a=1", "a=1 b=2", "Decrypt", "", "a=1 b=2", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			k := w.create(acct)
			parent := keys.NewGrant{Grantee: bob, Issuer: acct, Operations: []string{"CreateGrant", "Decrypt"}, Subset: pairs(c.subset), Equals: pairs(c.equals)}
			g := w.grant(k, parent)
			child := keys.NewGrant{Grantee: alice, Issuer: other, Operations: strings.Fields(c.childOps), Subset: pairs(c.childSubset), Equals: pairs(c.childEquals)}
			got := k.Parents([]string{"AIDABOB"}, &child)
			if (len(got) == 1) != c.want {
				t.Errorf("parents: %v", got)
			}
			if c.want && (got[0].ID != g.ID || got[0].Subset != nil || got[0].Equals != nil) {
				t.Errorf("parent for the engine: %+v", got[0])
			}
			if k.Parents([]string{"AIDAALICE"}, &child) != nil {
				t.Error("someone else's grant is a parent")
			}
		})
	}
}

func TestGrantTokens(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k, second := w.create(acct), w.create(acct)
	g, token, err := w.CreateGrant(ctx, use(k), decryptFor(bob))
	w.must(err)
	if keyID, grantID, err := keys.OpenToken(token); err != nil || keyID != k.ID || grantID != g.ID {
		t.Errorf("token of %s %s: %v", keyID, grantID, err)
	}
	w.must(keys.CheckTokens([]string{token}, second, k))
	w.refused(keys.CheckTokens([]string{token}, second), keys.InvalidGrantToken, "Invalid grant token")
	for i := range token {
		bad := token[:i] + string(token[i]^1) + token[i+1:]
		if keys.CheckTokens([]string{bad}, k) == nil {
			t.Errorf("mangled at %d and taken", i)
		}
	}
	w.must(w.RevokeGrant(ctx, use(k), g.ID))
	w.must(keys.CheckTokens([]string{token}, w.now(k))) // gives nothing, and is no error
}

func TestListsOfGrantsArePaged(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	for i := range 30 {
		n := decryptFor(bob)
		n.Retiring = alice
		if i%3 == 0 {
			n.Grantee = alice
		}
		w.grant(k, n)
	}
	collect := func(page func(marker string) ([]*keys.Grant, string, error)) (n int) {
		t.Helper()
		seen, marker := map[string]bool{}, ""
		for {
			gs, next, err := page(marker)
			w.must(err)
			if len(gs) > 7 || next != "" && len(gs) != 7 {
				t.Errorf("a page of %d", len(gs))
			}
			for _, g := range gs {
				seen[g.ID] = true
			}
			if marker = next; marker == "" {
				return len(seen)
			}
		}
	}
	if n := collect(func(m string) ([]*keys.Grant, string, error) { return w.ListGrants(ctx, k, "", "", m, 7) }); n != 30 {
		t.Errorf("%d of all", n)
	}
	if n := collect(func(m string) ([]*keys.Grant, string, error) { return w.ListGrants(ctx, k, "", bob, m, 7) }); n != 20 {
		t.Errorf("%d of bob's", n)
	}
	if n := collect(func(m string) ([]*keys.Grant, string, error) { return w.ListRetirable(ctx, alice, m, 7) }); n != 30 {
		t.Errorf("%d of alice's to retire", n)
	}
}

func TestAGranteeThatIsMadeAgainHasNothing(t *testing.T) {
	w := newWorld(t)
	k := w.create(acct)
	w.grant(k, decryptFor(bob))
	w.rename(bob, "AIDANEWBOB")
	if k.Grants([]string{"AIDANEWBOB", bob}, "Decrypt", nil) != nil {
		t.Error("the new bob has the old bob's grant")
	}
}

func TestGrantLimit(t *testing.T) {
	if keys.MaxGrants != 50_000 {
		t.Errorf("the quota is %d", keys.MaxGrants)
	}
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	w.LimitGrants(20)
	n := decryptFor(bob)
	n.Name = "n"
	w.grant(k, n)
	for range 19 {
		w.grant(k, decryptFor(bob))
	}
	_, _, err := w.CreateGrant(ctx, use(k), decryptFor(alice))
	w.refused(err, keys.LimitExceeded, "The key "+k.ARN+" has reached its limit of 20 grants.")
	if got := k.Grants([]string{"AIDAALICE"}, "Decrypt", nil); got != nil {
		t.Error("the refused grant is there")
	}
	w.grant(k, n) // the same again needs no room
}

func (w *world) empty() {
	w.Helper()
	if es := w.left(); len(es) != 0 {
		w.Errorf("left in the store: %q ...", es[0].Key)
	}
}

// left is what the store holds, but for since when uses are tracked, which is
// no key's.
func (w *world) left() []kv.Entry {
	w.Helper()
	es, _, _, err := w.store.Scan(context.Background(), []byte{0}, nil, 10, 0, true)
	w.must(err)
	return slices.DeleteFunc(es, func(e kv.Entry) bool {
		return bytes.Equal(e.Key, kv.Table('K').Text("").Text("tracking").Text(""))
	})
}
