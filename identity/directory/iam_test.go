package directory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv/memory"
)

func TestListingsComeInPages(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("u%02d", i)
		if i%2 == 1 {
			name = strings.ToUpper(name)
		}
		path := "/"
		if i%5 == 0 {
			path = "/five/"
		}
		_, err := w.CreateUser(ctx, w.account, directory.NewUser{Name: name, Path: path})
		w.must(err)
		want = append(want, name)
	}
	var got []string
	list := directory.List{MaxItems: 10}
	pages := 0
	for {
		page, err := w.ListUsers(w.account, list)
		w.must(err)
		pages++
		for _, u := range page.Items {
			got = append(got, u.Name)
		}
		if page.Marker == "" {
			break
		}
		list.Marker = page.Marker
		// What is deleted between two pages moves nobody.
		if pages == 1 {
			w.must(w.DeleteUser(ctx, w.account, "u03"))
		}
	}
	if !slices.Equal(got, want) || pages != 3 {
		t.Errorf("%d pages: %v", pages, got)
	}
	page, err := w.ListUsers(w.account, directory.List{PathPrefix: "/five", MaxItems: 5})
	w.must(err)
	if len(page.Items) != 5 || page.Marker != "" {
		t.Errorf("%d of five, marker %q", len(page.Items), page.Marker)
	}
	for _, l := range []directory.List{{MaxItems: -1}, {MaxItems: 1001}, {Marker: "!"}, {Marker: "garbage"}, {Marker: "Zml2ZQ"}, {PathPrefix: "five"}} {
		_, err := w.ListUsers(w.account, l)
		w.refused(err, directory.ValidationError, "")
	}
}

func TestListPolicies(t *testing.T) {
	w := newWorld(t)
	p := w.policy("mine")
	w.policy("unused")
	w.user("u")
	w.must(w.AttachPolicy(t.Context(), w.account, directory.UserKind, "u", p.ARN))
	w.must(w.AttachPolicy(t.Context(), w.account, directory.UserKind, "u", "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess"))
	_, err := w.CreateRole(t.Context(), w.account, directory.NewRole{Name: "r", TrustPolicy: trust(w.account), Boundary: directory.AdministratorAccess})
	w.must(err)
	for _, c := range []struct {
		name   string
		filter directory.PolicyFilter
		prefix string
		want   string
	}{
		{"the account's own", directory.PolicyFilter{Local: true}, "", "mine unused"},
		{"those of a path", directory.PolicyFilter{Managed: true}, "/job-function/", "ViewOnlyAccess"},
		{"what is attached", directory.PolicyFilter{OnlyAttached: true}, "", "mine ViewOnlyAccess"},
		{"what is a boundary", directory.PolicyFilter{Usage: "PermissionsBoundary"}, "", "AdministratorAccess"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var names []string
			list := directory.List{PathPrefix: c.prefix, MaxItems: 1}
			for {
				page, err := w.ListPolicies(w.account, c.filter, list)
				w.must(err)
				for _, p := range page.Items {
					names = append(names, p.Name)
				}
				if list.Marker = page.Marker; list.Marker == "" {
					break
				}
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
	all, err := w.ListPolicies(w.account, directory.PolicyFilter{}, directory.List{})
	w.must(err)
	if len(all.Items) != 10 {
		t.Errorf("%d policies", len(all.Items))
	}
	attached, err := w.ListAttachedPolicies(w.account, directory.UserKind, "u", directory.List{PathPrefix: "/job"})
	w.must(err)
	if len(attached.Items) != 1 || attached.Items[0].Name != "ViewOnlyAccess" {
		t.Errorf("%+v", attached)
	}
}

func TestTheOperatorsPoliciesCannotBeChanged(t *testing.T) {
	w := newWorld(t)
	arn := directory.AdministratorAccess
	_, err := w.CreatePolicyVersion(t.Context(), w.account, arn, allow("kms:*"), true)
	w.refused(err, directory.AccessDenied, "")
	w.refused(w.DeletePolicy(t.Context(), w.account, arn), directory.AccessDenied, "")
	w.refused(w.DeletePolicyVersion(t.Context(), w.account, arn, "v1"), directory.AccessDenied, "")
	w.refused(w.SetDefaultPolicyVersion(t.Context(), w.account, arn, "v1"), directory.AccessDenied, "")
	w.refused(w.Tag(t.Context(), w.account, directory.PolicyKind, arn, []directory.Tag{{Key: "a", Value: "b"}}), directory.AccessDenied, "")
	v, err := w.GetPolicyVersion(w.account, arn, "v1")
	w.must(err)
	if !v.Default || !strings.Contains(v.Document, `"Action":"*"`) {
		t.Errorf("%+v", v)
	}
}

func TestWhatDoesNotExist(t *testing.T) {
	w := newWorld(t)
	ctx, a := t.Context(), w.account
	w.user("u")
	p := w.policy("p")
	none := w.arn("policy/none")
	get := func(_ any, err error) error { return err }
	for _, c := range []struct{ name, message string }{
		{"user", "The user with name x cannot be found."},
		{"role", "The role with name x cannot be found."},
		{"policy", "Policy " + none + " was not found."},
		{"attach", "Policy " + none + " does not exist or is not attachable."},
		{"detach", "Policy " + p.ARN + " was not found."},
		{"version", "Policy " + p.ARN + " version v7 does not exist or is not attachable."},
		{"odd version", "Policy " + p.ARN + " version v01 does not exist or is not attachable."},
		{"inline", "The user policy with name x cannot be found."},
		{"key", "The Access Key with id AKIAAAAAAAAAAAAAAAAA cannot be found."},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			switch c.name {
			case "user":
				err = get(w.GetUser(a, "x"))
			case "role":
				err = get(w.GetRole(a, "x"))
			case "policy":
				err = get(w.GetPolicy(a, none))
			case "attach":
				err = w.AttachPolicy(ctx, a, directory.UserKind, "u", none)
			case "detach":
				err = w.DetachPolicy(ctx, a, directory.UserKind, "u", p.ARN)
			case "version":
				err = get(w.GetPolicyVersion(a, p.ARN, "v7"))
			case "odd version":
				err = w.SetDefaultPolicyVersion(ctx, a, p.ARN, "v01")
			case "inline":
				err = get(w.GetInlinePolicy(a, directory.UserKind, "u", "x"))
			case "key":
				err = w.DeleteAccessKey(ctx, a, "u", "AKIAAAAAAAAAAAAAAAAA")
			}
			w.refused(err, directory.NoSuchEntity, c.message)
		})
	}
	if _, err := w.GetUser("000000000000", "u"); err != directory.ErrNoAccount {
		t.Errorf("got %v", err)
	}
}

func TestMalformedPoliciesAreRefusedWhereverTheyGo(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("u")
	w.role("r", w.account)
	p := w.policy("p")
	for _, bad := range []string{
		"", "{", `{"Statement":[]}`, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms","Resource":"*"}]}`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Resource":"*"}]}`,
		trust(w.account), strings.Repeat("[", 100000),
	} {
		_, err := w.CreatePolicy(ctx, w.account, directory.NewPolicy{Name: "bad", Document: bad})
		w.refused(err, directory.MalformedPolicyDocument, "")
		_, err = w.CreatePolicyVersion(ctx, w.account, p.ARN, bad, true)
		w.refused(err, directory.MalformedPolicyDocument, "")
		w.refused(w.PutInlinePolicy(ctx, w.account, directory.RoleKind, "r", "bad", bad), directory.MalformedPolicyDocument, "")
	}
	for _, bad := range []string{"", allow("sts:AssumeRole"), strings.Replace(trust(w.account), `"Action"`, `"Resource":"*","Action"`, 1)} {
		_, err := w.CreateRole(ctx, w.account, directory.NewRole{Name: "bad", TrustPolicy: bad})
		w.refused(err, directory.MalformedPolicyDocument, "")
		w.refused(w.UpdateAssumeRolePolicy(ctx, w.account, "r", bad), directory.MalformedPolicyDocument, "")
	}
	w.refused(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "nobody", "p", "{"), directory.NoSuchEntity, "")
	w.refused(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "u", "p", strings.Repeat(" ", 131073)), directory.ValidationError, "")
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	p := w.policy("p")
	tag := func(tags ...directory.Tag) error { return w.Tag(ctx, w.account, directory.PolicyKind, p.ARN, tags) }
	w.must(tag(directory.Tag{Key: "Team", Value: "a"}, directory.Tag{Key: "b", Value: ""}))
	w.must(tag(directory.Tag{Key: "TEAM", Value: "é/1"}))
	page, err := w.ListTags(w.account, directory.PolicyKind, p.ARN, directory.List{})
	w.must(err)
	if !slices.Equal(page.Items, []directory.Tag{{Key: "b"}, {Key: "TEAM", Value: "é/1"}}) {
		t.Errorf("%+v", page.Items)
	}
	w.refused(tag(directory.Tag{Key: "x"}, directory.Tag{Key: "X"}), directory.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	w.refused(tag(directory.Tag{Key: "AWS:x"}), directory.InvalidInput, "")
	w.refused(tag(directory.Tag{Key: ""}), directory.ValidationError, "")
	w.refused(tag(directory.Tag{Key: "x", Value: "a*b"}), directory.ValidationError, "")
	w.refused(tag(directory.Tag{Key: "x", Value: strings.Repeat("é", 257)}), directory.ValidationError, "")
	t.Run("the marker after a long key is short", func(t *testing.T) {
		long := strings.Repeat("é", 128)
		w.must(tag(directory.Tag{Key: long, Value: "1"}, directory.Tag{Key: long[:254] + "z", Value: "2"}))
		var got []string
		list := directory.List{MaxItems: 1}
		for {
			page, err := w.ListTags(w.account, directory.PolicyKind, p.ARN, list)
			w.must(err)
			got = append(got, page.Items[0].Value)
			if list.Marker = page.Marker; list.Marker == "" {
				break
			}
			if len(list.Marker) > 320 {
				t.Errorf("a marker of %d characters", len(list.Marker))
			}
		}
		if strings.Join(got, " ") != " é/1 2 1" {
			t.Errorf("got %q", got)
		}
		_, err := w.ListTags(w.account, directory.PolicyKind, p.ARN, directory.List{Marker: "~00"})
		w.refused(err, directory.ValidationError, "Invalid Marker.")
		w.must(w.Untag(ctx, w.account, directory.PolicyKind, p.ARN, []string{long, long[:254] + "z"}))
	})
	w.must(w.Untag(ctx, w.account, directory.PolicyKind, p.ARN, []string{"team", "unknown"}))
	got, err := w.GetPolicy(w.account, p.ARN)
	w.must(err)
	if !slices.Equal(got.Tags, []directory.Tag{{Key: "b"}}) {
		t.Errorf("%+v", got.Tags)
	}
}

func TestUpdateRole(t *testing.T) {
	w := newWorld(t)
	w.role("r", w.account)
	for _, bad := range []int{3599, 43201, 0} {
		w.refused(w.UpdateRole(t.Context(), w.account, "r", directory.RoleUpdate{MaxSession: &bad}), directory.ValidationError, "")
	}
	w.must(w.UpdateRole(t.Context(), w.account, "r", directory.RoleUpdate{MaxSession: new(43200), Description: new("d")}))
	r, err := w.GetRole(w.account, "R")
	w.must(err)
	if r.MaxSession != 43200 || r.Description != "d" || w.snapshot(r.ID).MaxSession != 43200 {
		t.Errorf("%+v", r)
	}
	w.refused(w.UpdateRole(t.Context(), w.account, "r", directory.RoleUpdate{Description: new("\x00")}), directory.ValidationError, "")
}

func TestLastUseIsWrittenInTheBackground(t *testing.T) {
	w := newWorld(t)
	w.user("u")
	key := w.key("u")
	never, err := w.GetAccessKeyLastUsed(w.account, key)
	w.must(err)
	if never.Service != "N/A" || never.Region != "N/A" || !never.Time.IsZero() {
		t.Errorf("%+v", never)
	}
	w.Used(key, "kms", "r1")
	w.Used("AKIAUNKNOWN", "kms", "r1")
	// The writer waits on the clock; then a second directory learns of it from the store.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		w.clock.Advance(time.Minute)
		other, err := directory.Open(t.Context(), w.store, directory.Config{Clock: clock.NewFake(start), Authority: w.outside})
		w.must(err)
		last, err := other.GetAccessKeyLastUsed(w.account, key)
		w.must(err)
		w.must(other.Close(t.Context()))
		if last.Service == "kms" && last.Region == "r1" && last.Time.Equal(start) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("never written: %+v", last)
		}
	}
	w.must(w.DeleteAccessKey(t.Context(), w.account, "u", key))
	w.Used(key, "kms", "r1")
	w.restart()
	entries, _, _, err := w.store.Scan(t.Context(), []byte{'I'}, []byte{'J'}, 1000, 0, true)
	w.must(err)
	for _, e := range entries {
		if strings.Contains(string(e.Key), key) {
			t.Errorf("the deleted key left %q behind", e.Key)
		}
	}
}

// BenchmarkOpen loads 10^5 users in 100 accounts. Target: about 1 s.
func BenchmarkOpen(b *testing.B) {
	store := memory.Open()
	defer store.Close()
	cfg := directory.Config{Clock: clock.System, Authority: &outsider{}}
	d, err := directory.Open(b.Context(), store, cfg)
	if err != nil {
		b.Fatal(err)
	}
	for range 100 {
		a, err := d.CreateAccount(b.Context(), "a", false)
		if err != nil {
			b.Fatal(err)
		}
		for range 1000 {
			if _, err := d.CreateUser(b.Context(), a.ID, directory.NewUser{Name: id.Hex(8), Tags: []directory.Tag{{Key: "team", Value: "cardiology"}}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	d.Close(b.Context())
	for b.Loop() {
		d, err := directory.Open(b.Context(), store, cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		d.Close(b.Context())
		b.StartTimer()
	}
}

// BenchmarkLookup finds a credential and its principal. Target: well below 1 µs.
func BenchmarkLookup(b *testing.B) {
	store := memory.Open()
	defer store.Close()
	d, err := directory.Open(b.Context(), store, directory.Config{Clock: clock.System, Authority: &outsider{}})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close(b.Context())
	a, _ := d.CreateAccount(b.Context(), "a", false)
	code, _ := d.NewEnrolment(b.Context(), a.ID)
	akid, sec, err := d.Redeem(b.Context(), code)
	if err != nil {
		b.Fatal(err)
	}
	sec.Destroy()
	b.ReportAllocs()
	for b.Loop() {
		c, ok := d.Credential(akid)
		if !ok {
			b.Fatal("no credential")
		}
		if _, ok := d.Principal(c.PrincipalID); !ok {
			b.Fatal("no principal")
		}
		d.Used(akid, "kms", "us-east-1")
	}
}
