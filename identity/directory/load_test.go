package directory_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

func TestManyPagesLoadWholeOrNotAtAll(t *testing.T) {
	ctx := t.Context()
	store := memory.Open()
	defer store.Close()
	open := func() (*directory.Directory, error) {
		return directory.Open(ctx, store, directory.Config{Clock: clock.NewFake(start), Authority: &outsider{}, Quotas: directory.Quotas{Users: kv.MaxScan}})
	}
	d, err := open()
	if err != nil {
		t.Fatal(err)
	}
	a, err := d.CreateAccount(ctx, "many", false)
	if err != nil {
		t.Fatal(err)
	}
	// Each user is two entries: more than a page of them. Names do not come in the
	// order of the ids, by which they are stored.
	n := kv.MaxScan*2/3 + 1
	for i := range n {
		if _, err := d.CreateUser(ctx, a.ID, directory.NewUser{Name: fmt.Sprintf("u%05d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if d, err = open(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for list := (directory.List{MaxItems: 1000}); ; {
		page, err := d.ListUsers(a.ID, list)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Items {
			if u.Name != fmt.Sprintf("u%05d", seen) {
				t.Fatalf("user %d is %s", seen, u.Name)
			}
			if s, ok := d.Principal(u.ID); !ok || s.Name != u.Name {
				t.Fatalf("%s has no snapshot", u.Name)
			}
			seen++
		}
		if list.Marker = page.Marker; list.Marker == "" {
			break
		}
	}
	if seen != n {
		t.Errorf("%d users of %d", seen, n)
	}
	if err := d.Close(ctx); err != nil {
		t.Fatal(err)
	}

	prefix, end := kv.Table('I').Text(a.ID).Text("entity").Prefix()
	entries, _, _, err := store.Scan(ctx, prefix, end, kv.MaxScan, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, len(entries) - 1} {
		e := entries[i]
		for what, value := range map[string][]byte{
			"that is damaged":              []byte("nonsense"),
			"of a kind of a later release": {0xa1, 0x01, 0x18, 0x63},
			"of a kind that has its own":   {0xa1, 0x01, 0x03}, // managed policies
		} {
			if _, err := store.Commit(ctx, nil, []kv.Op{{Key: e.Key, Value: value}}); err != nil {
				t.Fatal(err)
			}
			if _, err := open(); !errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("record %d %s: %v", i, what, err)
			}
		}
		if _, err := store.Commit(ctx, nil, []kv.Op{{Key: e.Key, Value: e.Value}}); err != nil {
			t.Fatal(err)
		}
	}
}
