package directory_test

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

// large is an account's size that a hospital group or a fleet of machines reaches.
const large = 100_000

var raised = directory.Quotas{Users: 2 * large, Roles: 2 * large}

// largeStore is a store on disk with one account that has half of large as users
// and half as roles: paths, tags, attachments, every tenth user with a key. Made
// through the directory, in memory, and copied: nothing here knows the records.
func largeStore(tb testing.TB) (open func() kv.Store, account string) {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	ctx := tb.Context()
	made := memory.Open()
	defer made.Close()
	d, err := directory.Open(ctx, made, directory.Config{Clock: clock.NewFake(start), Authority: &outsider{}, Quotas: raised})
	must(err)
	a, err := d.CreateAccount(ctx, "large", false)
	must(err)
	p, err := d.CreatePolicy(ctx, a.ID, directory.NewPolicy{Name: "reader", Document: allow("kms:Decrypt")})
	must(err)
	for i := range large / 2 {
		user, role := fmt.Sprintf("user-%06d", i), fmt.Sprintf("role-%06d", i)
		path := fmt.Sprintf("/ward-%03d/", i%500)
		_, err := d.CreateUser(ctx, a.ID, directory.NewUser{Name: user, Path: path, Tags: []directory.Tag{{Key: "Team", Value: "Heart"}, {Key: "Number", Value: user}}})
		must(err)
		must(d.AttachPolicy(ctx, a.ID, directory.UserKind, user, p.ARN))
		if i%10 == 0 {
			k, err := d.CreateAccessKey(ctx, a.ID, user)
			must(err)
			k.Secret.Destroy()
		}
		_, err = d.CreateRole(ctx, a.ID, directory.NewRole{Name: role, Path: path, Description: "of machine " + role, TrustPolicy: trust(a.ID), Tags: []directory.Tag{{Key: "Team", Value: "Heart"}}})
		must(err)
		must(d.PutInlinePolicy(ctx, a.ID, directory.RoleKind, role, "own", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"arn:aws:kms:us-east-1:`+a.ID+`:key/`+role+`"}]}`))
	}
	must(d.Close(ctx))

	dir := tb.TempDir()
	open = func() kv.Store {
		s, err := pebble.Open(dir, pebble.Config{Clock: clock.NewFake(start), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		must(err)
		return s
	}
	to := open()
	var ops []kv.Op
	from := []byte{0}
	for {
		entries, more, _, err := made.Scan(ctx, from, nil, kv.MaxScan, 0, false)
		must(err)
		for _, e := range entries {
			ops = append(ops, kv.Op{Key: e.Key, Value: e.Value})
			if len(ops) == kv.MaxOps {
				_, err := to.Commit(ctx, nil, ops)
				must(err)
				ops = nil
			}
		}
		if !more || len(entries) == 0 {
			break
		}
		from = kv.After(entries[len(entries)-1].Key)
	}
	if len(ops) > 0 {
		_, err := to.Commit(ctx, nil, ops)
		must(err)
	}
	must(to.Close())
	return open, a.ID
}

// Targets for 10^5 users and roles: start-up at most 1 s, a page of a listing at
// most 10 ms wherever it is, the memory of the directory such that the whole plane
// stays below 400 MiB.
func BenchmarkALargeAccount(b *testing.B) {
	open, account := largeStore(b)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			s := open()
			d, err := directory.Open(b.Context(), s, directory.Config{Clock: clock.NewFake(start), Authority: &outsider{}, Quotas: raised})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := d.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
			s.Close()
			b.StartTimer()
		}
	})
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := open()
	defer s.Close()
	d, err := directory.Open(b.Context(), s, directory.Config{Clock: clock.NewFake(start), Authority: &outsider{}, Quotas: raised})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close(b.Context())
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("heap of %d users and roles: %d MiB", large, (after.HeapAlloc-before.HeapAlloc)>>20)

	page := func(b *testing.B, list directory.List) string {
		p, err := d.ListUsers(account, list)
		if err != nil || len(p.Items) == 0 {
			b.Fatal(len(p.Items), err)
		}
		return p.Marker
	}
	deep := directory.List{MaxItems: 1000}
	for range 40 {
		deep.Marker = page(b, deep)
	}
	for _, c := range []struct {
		name string
		list directory.List
	}{
		{"first page", directory.List{MaxItems: 1000}},
		{"deep page", deep},
		{"path prefix", directory.List{PathPrefix: "/ward-499/", MaxItems: 1000}},
		{"deep page with path prefix", directory.List{PathPrefix: "/ward-499/", MaxItems: 1000, Marker: deep.Marker}},
	} {
		b.Run("list users/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				page(b, c.list)
			}
		})
		b.Run("list roles/"+c.name, func(b *testing.B) {
			list := c.list
			if list.Marker != "" {
				list.Marker = rolesMarker(b, d, account)
			}
			for b.Loop() {
				if p, err := d.ListRoles(account, list); err != nil || len(p.Items) == 0 {
					b.Fatal(len(p.Items), err)
				}
			}
		})
	}
	policy := "arn:aws:iam::" + account + ":policy/reader"
	b.Run("entities for policy", func(b *testing.B) {
		for b.Loop() {
			if p, err := d.EntitiesForPolicy(account, policy, directory.EntityFilter{}, directory.List{PathPrefix: "/ward-499/", MaxItems: 1000}); err != nil || len(p.Items) != large/1000 {
				b.Fatal(len(p.Items), err)
			}
		}
	})
	b.Run("authorization details", func(b *testing.B) {
		list := directory.List{MaxItems: 1000}
		for b.Loop() {
			p, err := d.AuthorizationDetails(account, directory.DetailFilter{}, list)
			if err != nil {
				b.Fatal(err)
			}
			list.Marker = p.Marker
		}
	})
}

func rolesMarker(b *testing.B, d *directory.Directory, account string) string {
	list := directory.List{MaxItems: 1000}
	for range 40 {
		p, err := d.ListRoles(account, list)
		if err != nil {
			b.Fatal(err)
		}
		list.Marker = p.Marker
	}
	return list.Marker
}
