package keys_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/cryptography/keys"
)

func FuzzGrantToken(f *testing.F) {
	w := newWorldIn(f)
	k := w.create(acct)
	_, token, err := w.CreateGrant(f.Context(), use(k), decryptFor(bob))
	w.must(err)
	f.Add(token)
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		keyID, grantID, err := keys.OpenToken(s)
		if err == nil && (len(grantID) != 64 || keyID == "") {
			t.Errorf("%q opens as %q, %q", s, keyID, grantID)
		}
		if (keys.CheckTokens([]string{s}, k) == nil) != (err == nil && keyID == k.ID) {
			t.Errorf("%q is judged differently twice", s)
		}
	})
}

func FuzzKeyIdentifier(f *testing.F) {
	w := newWorldIn(f)
	k := w.create(acct)
	w.must(w.CreateAlias(f.Context(), k, "alias/a"))
	for _, s := range []string{k.ID, k.ARN, "alias/a", "arn:aws:kms:us-east-1:" + acct + ":alias/a", "mrk-", "arn:::::", ""} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, aliases bool) {
		found, err := w.Find(t.Context(), acct, s, aliases)
		switch {
		case err != nil && (found.Key != nil || found.Missing != nil):
			t.Errorf("%q: an error and an answer", s)
		case err == nil && (found.Key == nil) == (found.Missing == nil):
			t.Errorf("%q: neither found nor missing, or both", s)
		case err == nil && !strings.HasSuffix(found.ARN, s):
			t.Errorf("%q is shown as %s", s, found.ARN)
		}
	})
}

func FuzzMarker(f *testing.F) {
	w := newWorldIn(f)
	for range 3 {
		w.create(acct)
	}
	all, _, err := w.List(f.Context(), acct, "", 10)
	w.must(err)
	_, next, err := w.List(f.Context(), acct, "", 1)
	w.must(err)
	f.Add(next)
	f.Add("")
	f.Add("AAAAAAAA")
	f.Fuzz(func(t *testing.T, marker string) {
		ids, _, err := w.List(t.Context(), acct, marker, 10)
		for _, id := range ids {
			if err != nil || !slices.Contains(all, id) {
				t.Errorf("marker %q gives %s, %v", marker, id, err)
			}
		}
	})
}
