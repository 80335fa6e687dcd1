package keys_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/keys"
)

func TestIdentifiers(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	w.must(w.CreateAlias(ctx, k, "alias/ward"))
	aliasARN := "arn:aws:kms:us-east-1:" + acct + ":alias/ward"
	const absent = "01234567-89ab-cdef-0123-456789abcdef"
	cases := []struct {
		name, account, ref string
		aliases            bool
		found              bool
		text               string // of the error or of Missing
	}{
		{"a key id", acct, k.ID, false, true, ""},
		{"a key ARN", acct, k.ARN, false, true, ""},
		{"a key ARN from another account", other, k.ARN, true, true, ""},
		{"a key id from another account", other, k.ID, true, false, "Key 'arn:aws:kms:us-east-1:" + other + ":key/" + k.ID + "' does not exist"},
		{"an alias", acct, "alias/ward", true, true, ""},
		{"an alias ARN", acct, aliasARN, true, true, ""},
		{"an alias ARN from another account", other, aliasARN, true, true, ""},
		{"an alias of another account", other, "alias/ward", true, false, "Alias arn:aws:kms:us-east-1:" + other + ":alias/ward is not found."},
		{"an alias where none is taken", acct, "alias/ward", false, false, "Invalid keyId 'alias/ward'"},
		{"an alias ARN where none is taken", acct, aliasARN, false, false, "Invalid keyId '" + aliasARN + "'"},
		{"an id that is not there", acct, absent, true, false, "Key 'arn:aws:kms:us-east-1:" + acct + ":key/" + absent + "' does not exist"},
		{"a multi-Region id that is not there", acct, "mrk-" + strings.Repeat("a", 32), true, false, "Key 'arn:aws:kms:us-east-1:" + acct + ":key/mrk-" + strings.Repeat("a", 32) + "' does not exist"},
		{"an alias that is not there", acct, "alias/x", true, false, "Alias arn:aws:kms:us-east-1:" + acct + ":alias/x is not found."},
		{"upper case", acct, strings.ToUpper(absent), true, false, "Invalid keyId '" + strings.ToUpper(absent) + "'"},
		{"no UUID", acct, "key", true, false, "Invalid keyId 'key'"},
		{"another Region", acct, "arn:aws:kms:eu-west-1:" + acct + ":key/" + k.ID, true, false, "Invalid arn eu-west-1"},
		{"an ARN of something else", acct, "arn:aws:s3:us-east-1:" + acct + ":key/" + k.ID, true, false, "Invalid keyId 'arn:aws:s3:us-east-1:" + acct + ":key/" + k.ID + "'"},
		{"an ARN without type", acct, "arn:aws:kms:us-east-1:" + acct + ":" + k.ID, true, false, "Invalid keyId 'arn:aws:kms:us-east-1:" + acct + ":" + k.ID + "'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := w.Find(ctx, c.account, c.ref, c.aliases)
			if err == nil {
				err = f.Missing
			}
			if (f.Key != nil) != c.found || c.found && f.Key.ID != k.ID {
				t.Fatalf("found %v, error %v", f.Key, err)
			}
			if c.text != "" {
				w.TB = t
				w.refused(err, keys.NotFound, c.text)
			}
		})
	}
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	w.refused(w.Tag(ctx, k, []keys.Tag{{"a", "1"}, {"a", "2"}}), keys.Tagging, "Duplicate tag keys")
	w.refused(w.Tag(ctx, k, []keys.Tag{{"aws:a", "1"}}), keys.Tagging, "Tags beginning with aws: are reserved")
	w.refused(w.Untag(ctx, k, []string{"aws:a"}), keys.Tagging, "Tags beginning with aws: are reserved")
	var many []keys.Tag
	for i := range keys.MaxTags {
		many = append(many, keys.Tag{Key: fmt.Sprintf("t%02d", i), Value: "v"})
	}
	w.refused(w.Tag(ctx, k, append(many, keys.Tag{Key: "one more"})), keys.Tagging, "Too many tags")
	w.must(w.Tag(ctx, k, many))
	w.refused(w.Tag(ctx, w.now(k), []keys.Tag{{"one more", ""}}), keys.Tagging, "Too many tags")
	w.must(w.Tag(ctx, w.now(k), []keys.Tag{{"t07", "new"}}))
	w.must(w.Untag(ctx, w.now(k), []string{"t00", "no such tag"}))
	var all []keys.Tag
	marker := ""
	for pages := 0; ; pages++ {
		page, next, err := w.ListTags(w.now(k), marker, 20)
		w.must(err)
		all = append(all, page...)
		if marker = next; marker == "" {
			if pages != 2 {
				t.Errorf("%d more pages", pages)
			}
			break
		}
	}
	if len(all) != keys.MaxTags-1 || all[6] != (keys.Tag{Key: "t07", Value: "new"}) {
		t.Errorf("tags %v", all)
	}
	_, _, err := w.ListTags(w.now(k), "nonsense", 20)
	w.refused(err, keys.InvalidMarker, "Could not deserialize marker")
}

func TestAliases(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	a, b := w.create(acct), w.create(acct)
	w.must(w.CreateAlias(ctx, a, "alias/one"))
	w.refused(w.CreateAlias(ctx, b, "alias/one"), keys.AlreadyExists, "An alias with the name arn:aws:kms:us-east-1:"+acct+":alias/one already exists")
	w.refused(w.CreateAlias(ctx, b, "one"), keys.Validation, `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	w.refused(w.CreateAlias(ctx, b, "alias/aws/s3"), keys.NotAuthorized, "")
	w.refused(w.DeleteAlias(ctx, b, "alias/aws/s3"), keys.NotAuthorized, "")
	w.refused(w.DeleteAlias(ctx, b, "alias/none"), keys.NotFound, "Alias arn:aws:kms:us-east-1:"+acct+":alias/none is not found.")
	w.must(w.CreateAlias(ctx, w.create(other), "alias/one")) // another account's names are its own

	w.clock.Advance(time.Hour)
	w.must(w.UpdateAlias(ctx, a, b, "alias/one"))
	for range 2 {
		if got := w.now(a).Aliases; len(got) != 0 {
			t.Errorf("the old key still has %v", got)
		}
		if got := w.now(b).Aliases; !slices.Equal(got, []string{"alias/one"}) {
			t.Errorf("the new key has %v", got)
		}
		as, _, err := w.ListAliases(ctx, acct, nil, "", 10)
		w.must(err)
		if len(as) != 1 || as[0].KeyID != b.ID || as[0].Updated.Sub(as[0].Created) != time.Hour {
			t.Errorf("list: %+v", as)
		}
		w.reopen()
	}
	a, b = w.now(a), w.now(b)
	err := w.UpdateAlias(ctx, a, b, "alias/one") // it was decided on a, which no longer has it
	w.refused(err, keys.Unavailable, "Alias arn:aws:kms:us-east-1:"+acct+":alias/one was changed during the call.")

	_, err = w.ScheduleDeletion(ctx, a, 7)
	w.must(err)
	w.refused(w.UpdateAlias(ctx, b, a, "alias/one"), keys.InvalidState, a.ARN+" is pending deletion.")
	w.refused(w.CreateAlias(ctx, a, "alias/two"), keys.InvalidState, a.ARN+" is pending deletion.")
	w.must(w.DeleteAlias(ctx, b, "alias/one"))
	if f, err := w.Find(ctx, acct, "alias/one", true); err != nil || f.Key != nil {
		t.Errorf("a deleted alias leads to %v, %v", f.Key, err)
	}

	for i := range keys.MaxAliases {
		w.must(w.CreateAlias(ctx, b, fmt.Sprintf("alias/n%02d", i)))
	}
	w.refused(w.CreateAlias(ctx, b, "alias/more"), keys.LimitExceeded, "The key "+b.ARN+" has reached its limit of 50 aliases.")
	var names []string
	marker := ""
	for {
		as, next, err := w.ListAliases(ctx, acct, w.now(b), marker, 7)
		w.must(err)
		for _, a := range as {
			names = append(names, a.Name)
		}
		if marker = next; marker == "" {
			break
		}
	}
	if !slices.Equal(names, w.now(b).Aliases) {
		t.Errorf("pages gave %v", names)
	}
	_, _, err = w.ListAliases(ctx, acct, nil, marker+"x", 7)
	w.refused(err, keys.InvalidMarker, "Could not deserialize marker")
}

func TestListsOfKeysArePaged(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	want := map[string]bool{}
	for range 23 {
		want[w.create(acct).ID] = true
	}
	w.create(other)
	var got []string
	marker, pages := "", 0
	for {
		ids, next, err := w.List(ctx, acct, marker, 5)
		w.must(err)
		got = append(got, ids...)
		pages++
		if marker = next; marker == "" {
			break
		}
		if _, _, err := w.List(ctx, other, marker, 5); !errors.Is(err, &keys.Error{Kind: keys.InvalidMarker}) {
			t.Errorf("a marker of another list is taken: %v", err)
		}
	}
	if pages != 5 || len(got) != len(want) || !slices.IsSorted(got) {
		t.Errorf("%d pages, %d keys", pages, len(got))
	}
	for _, id := range got {
		if !want[id] {
			t.Errorf("%s is not of this account", id)
		}
	}
	if ids, next, err := w.List(ctx, acct, "", 23); err != nil || len(ids) != 23 || next != "" {
		t.Errorf("a page that just fits: %d, %q, %v", len(ids), next, err)
	}
}
