package organization_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

// outsider stands for the authority's process, which has no part in this.
type outsider struct{}

func (outsider) NewSecret(context.Context, string, string) ([]byte, *secret.Bytes, error) {
	s, err := secret.New(40)
	return []byte("sealed"), s, err
}
func (outsider) Revoke(context.Context, authority.Revocation) (uint64, error) { return 1, nil }

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

type world struct {
	*organization.Organizations
	t         *testing.T
	store     kv.Store
	clock     *clock.Fake
	directory *directory.Directory
}

func newWorld(t *testing.T) *world { t.Helper(); return newWorldOn(t, memory.Open()) }

func newWorldOn(t *testing.T, store kv.Store) *world {
	t.Helper()
	w := &world{t: t, store: store, clock: clock.NewFake(start)}
	w.restart()
	t.Cleanup(func() {
		w.must(w.directory.Close(context.Background()))
		w.must(store.Close())
	})
	return w
}

// restart opens everything anew from the store.
func (w *world) restart() {
	w.t.Helper()
	if w.directory != nil {
		w.must(w.directory.Close(w.t.Context()))
	}
	var err error
	w.directory, err = directory.Open(w.t.Context(), w.store, directory.Config{Clock: w.clock, Authority: outsider{}})
	w.must(err)
	w.Organizations, err = organization.Open(w.t.Context(), w.store, organization.Config{
		Clock: w.clock, Directory: w.directory, Quotas: organization.Quotas{Accounts: 8, Units: 8, Policies: 8, Invitations: 3},
	})
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused expects a code and, if it is not empty, a reason.
func (w *world) refused(what string, err error, code organization.Code, reason string) {
	w.t.Helper()
	if organization.CodeOf(err) != code || organization.ReasonOf(err) != reason {
		w.t.Errorf("%s: %v (reason %q), want %s %s", what, err, organization.ReasonOf(err), code, reason)
	}
}

// sound expects that fsck finds nothing.
func (w *world) sound() {
	w.t.Helper()
	problems, err := w.Check(w.t.Context())
	if err != nil || len(problems) > 0 {
		w.t.Errorf("Check = %q, %v", problems, err)
	}
	problems, err = w.directory.Check(w.t.Context())
	if err != nil || len(problems) > 0 {
		w.t.Errorf("directory.Check = %q, %v", problems, err)
	}
}

func (w *world) customer(name string) string {
	w.t.Helper()
	a, err := w.directory.CreateAccount(w.t.Context(), name, false)
	w.must(err)
	return a.ID
}

// organization makes one with both types in force.
func (w *world) organization() (org, root, management string) {
	w.t.Helper()
	management = w.customer("management")
	o, err := w.CreateOrganization(w.t.Context(), management)
	w.must(err)
	root = w.Roots(o.ID)[0].ID
	for _, t := range []organization.Type{organization.SCP, organization.RCP} {
		_, err := w.EnableType(w.t.Context(), o.ID, root, t)
		w.must(err)
	}
	return o.ID, root, management
}

func (w *world) join(org, account string) {
	w.t.Helper()
	h, err := w.Invite(w.t.Context(), org, account, "", nil)
	w.must(err)
	_, err = w.AcceptHandshake(w.t.Context(), account, h.ID)
	w.must(err)
}

func (w *world) unit(org, parent, name string) string {
	w.t.Helper()
	u, err := w.CreateUnit(w.t.Context(), org, parent, name, nil)
	w.must(err)
	return u.ID
}

func (w *world) scp(org, name string, actions ...string) string {
	w.t.Helper()
	p, err := w.CreatePolicy(w.t.Context(), org, organization.NewPolicy{Type: organization.SCP, Name: name, Text: deny(actions...)})
	w.must(err)
	return p.ID
}

func deny(actions ...string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"*"}]}`
}

// shape writes the levels down: one name after the other, levels apart by bars.
func shape(l *organization.Levels) string {
	if l == nil {
		return "none"
	}
	var levels []string
	for _, level := range l.SCPs {
		var names []string
		for _, d := range level {
			names = append(names, d.Label()[strings.LastIndexByte(d.Label(), '/')+1:])
		}
		levels = append(levels, strings.Join(names, " "))
	}
	return l.Path + ": " + strings.Join(levels, " | ")
}

func TestLevelsFollowTheTreeAndSurviveARestart(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, management := w.organization()
	account, loner := w.customer("clinic"), w.customer("loner")
	if w.Levels(loner) != nil || w.Levels("000000000000") != nil || (*organization.Organizations)(nil).Levels(account) != nil {
		t.Error("levels of nobody's account")
	}
	w.join(org, account)
	base := org + "/" + root + "/"
	outer := w.unit(org, root, "outer")
	inner := w.unit(org, outer, "inner")
	check := func(want string) {
		t.Helper()
		if got := shape(w.Levels(account)); got != want {
			t.Errorf("levels\n got %s\nwant %s", got, want)
		}
	}
	const full = "p-FullAWSAccess"
	check(base + ": " + full + " | " + full)
	w.must(w.MoveAccount(ctx, org, account, root, inner))
	check(base + outer + "/" + inner + "/: " + full + " | " + full + " | " + full + " | " + full)
	p := w.scp(org, "guard", "kms:*")
	w.must(w.AttachPolicy(ctx, org, p, outer))
	want := base + outer + "/" + inner + "/: " + full + " | " + full + " " + p + " | " + full + " | " + full
	check(want)
	if l := w.Levels(account); l.Management || l.Closed || l.Organization != org || len(l.RCPs) != 4 {
		t.Errorf("%+v", l)
	}
	if !w.Levels(management).Management {
		t.Error("the management account is not one")
	}
	w.sound()
	w.restart()
	check(want)
	w.sound()

	// Disabled and enabled again: every attachment is lost.
	_, err := w.DisableType(ctx, org, root, organization.SCP)
	w.must(err)
	if l := w.Levels(account); l.SCPs != nil || l.RCPs == nil {
		t.Errorf("after disabling: %+v", l)
	}
	_, err = w.DisableType(ctx, org, root, organization.SCP)
	w.refused("twice", err, organization.TypeNotEnabled, "")
	w.refused("attaching a type that is not enabled", w.AttachPolicy(ctx, org, p, root), organization.TypeNotEnabled, "")
	w.must(w.DeletePolicy(ctx, org, p)) // attached nowhere any more
	_, err = w.EnableType(ctx, org, root, organization.SCP)
	w.must(err)
	check(base + outer + "/" + inner + "/: " + full + " | " + full + " | " + full + " | " + full)
	w.sound()
}

func TestLevelsKeepTheirPointerWhileNothingChangesForTheAccount(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, _ := w.organization()
	a, b := w.customer("a"), w.customer("b")
	w.join(org, a)
	w.join(org, b)
	unit := w.unit(org, root, "b's")
	w.must(w.MoveAccount(ctx, org, b, root, unit))
	p := w.scp(org, "guard", "kms:*")
	la, lb := w.Levels(a), w.Levels(b)
	w.must(w.Tag(ctx, org, a, []organization.Tag{{Key: "k", Value: "v"}}))
	w.must(w.AttachPolicy(ctx, org, p, unit))
	if err := w.AttachPolicy(ctx, org, p, unit); organization.CodeOf(err) != organization.DuplicateAttachment || !strings.Contains(err.Error(), "is already attached") {
		t.Errorf("attached twice: %v", err)
	}
	if w.Levels(a) != la {
		t.Error("a's levels were replaced by a change that is not above it")
	}
	if w.Levels(b) == lb {
		t.Error("b's levels were kept although a policy came")
	}
	lb = w.Levels(b)
	_, err := w.UpdatePolicy(ctx, org, p, organization.PolicyUpdate{Description: new("only words")})
	w.must(err)
	if w.Levels(b) != lb {
		t.Error("b's levels were replaced by a description")
	}
	_, err = w.UpdatePolicy(ctx, org, p, organization.PolicyUpdate{Text: new(deny("sts:*"))})
	w.must(err)
	if w.Levels(b) == lb || string(w.Levels(b).SCPs[1][1].Text()) != deny("sts:*") {
		t.Error("b's levels do not have the new text")
	}
	if n := testing.AllocsPerRun(100, func() { w.Levels(b) }); n != 0 {
		t.Errorf("Levels allocates %v times", n)
	}
}

// BenchmarkLevels is on the path of every request, twice. Target: below 50 ns
// among 10,000 accounts, no allocation.
func BenchmarkLevels(b *testing.B) {
	ctx := b.Context()
	store := memory.Open()
	defer store.Close()
	d, err := directory.Open(ctx, store, directory.Config{Clock: clock.NewFake(start), Authority: outsider{}})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close(ctx)
	o, err := organization.Open(ctx, store, organization.Config{Clock: clock.NewFake(start), Directory: d})
	if err != nil {
		b.Fatal(err)
	}
	a, err := d.CreateAccount(ctx, "a", false)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := o.CreateOrganization(ctx, a.ID); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if o.Levels(a.ID) == nil {
			b.Fatal("none")
		}
	}
}

// BenchmarkMoveAccount is a change in an organization of 1,000 accounts: all
// their levels are worked out anew. Target: below 5 ms in memory.
func BenchmarkMoveAccount(b *testing.B) {
	ctx := b.Context()
	store, now := memory.Open(), clock.NewFake(start)
	defer store.Close()
	d, err := directory.Open(ctx, store, directory.Config{Clock: now, Authority: outsider{}})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close(ctx)
	o, err := organization.Open(ctx, store, organization.Config{Clock: now, Directory: d})
	if err != nil {
		b.Fatal(err)
	}
	a, err := d.CreateAccount(ctx, "a", false)
	if err != nil {
		b.Fatal(err)
	}
	org, err := o.CreateOrganization(ctx, a.ID)
	if err != nil {
		b.Fatal(err)
	}
	root, account := o.Roots(org.ID)[0].ID, ""
	for i := range 999 {
		c, err := o.CreateAccount(ctx, org.ID, organization.NewAccount{Name: "n", Email: fmt.Sprint(i, "@example.org")}, opened)
		if err != nil {
			b.Fatal(err)
		}
		account = c.Account
	}
	unit, err := o.CreateUnit(ctx, org.ID, root, "u", nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := o.EnableType(ctx, org.ID, root, organization.SCP); err != nil {
		b.Fatal(err)
	}
	from, to := root, unit.ID
	for b.Loop() {
		if err := o.MoveAccount(ctx, org.ID, account, from, to); err != nil {
			b.Fatal(err)
		}
		from, to = to, from
	}
}

func TestLimitsOfTheTree(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, management := w.organization()
	_, err := w.CreateOrganization(ctx, management)
	w.refused("a second organization", err, organization.AlreadyInOrganization, "")
	parent := root
	for i := range organization.MaxDepth {
		parent = w.unit(org, parent, fmt.Sprint("level ", i))
	}
	_, err = w.CreateUnit(ctx, org, parent, "below", nil)
	w.refused("a sixth level", err, organization.ConstraintViolation, "OU_DEPTH_LIMIT_EXCEEDED")
	_, err = w.CreateUnit(ctx, org, root, "LEVEL 0", nil)
	w.refused("the name of a sibling", err, organization.DuplicateUnit, "")
	_, err = w.CreateUnit(ctx, org, "ou-none-none", "x", nil)
	w.refused("under nothing", err, organization.ParentNotFound, "")
	_, err = w.CreateUnit(ctx, org, management, "x", nil)
	w.refused("under an account", err, organization.ParentNotFound, "")
	for i := range 3 {
		w.unit(org, root, fmt.Sprint("other ", i))
	}
	_, err = w.CreateUnit(ctx, org, root, "one too many", nil)
	w.refused("a ninth unit", err, organization.ConstraintViolation, "OU_NUMBER_LIMIT_EXCEEDED")
	_, err = w.UpdateUnit(ctx, org, parent, "renamed")
	w.must(err)
	w.must(w.DeleteUnit(ctx, org, parent))
	w.refused("twice", w.DeleteUnit(ctx, org, parent), organization.UnitNotFound, "")
	units, err := w.Units(org, root)
	w.must(err)
	if len(units) != 4 {
		t.Errorf("%d units under the root", len(units))
	}

	ids := make([]string, 0, 8)
	for i := range 8 {
		ids = append(ids, w.scp(org, fmt.Sprint("p", i), "kms:*"))
	}
	_, err = w.CreatePolicy(ctx, org, organization.NewPolicy{Type: organization.SCP, Name: "p8", Text: deny("kms:*")})
	w.refused("a ninth policy", err, organization.ConstraintViolation, "POLICY_NUMBER_LIMIT_EXCEEDED")
	for i, id := range ids[:5] {
		err := w.AttachPolicy(ctx, org, id, root)
		if i < 4 {
			w.must(err)
			continue
		}
		w.refused("a sixth policy on a target", err, organization.ConstraintViolation, "MAX_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED")
	}
	_, err = w.UpdatePolicy(ctx, org, ids[0], organization.PolicyUpdate{Text: new(deny("kms:*") + strings.Repeat(" ", 5120))})
	w.refused("a long text", err, organization.ConstraintViolation, "POLICY_CONTENT_LIMIT_EXCEEDED")
	_, err = w.UpdatePolicy(ctx, org, ids[0], organization.PolicyUpdate{Name: new("p1")})
	w.refused("a taken name", err, organization.DuplicatePolicy, "")
	_, err = w.UpdatePolicy(ctx, org, "p-FullAWSAccess", organization.PolicyUpdate{Name: new("mine")})
	w.refused("the installation's policy", err, organization.InvalidInput, "IMMUTABLE_POLICY")
	_, err = w.CreatePolicy(ctx, org, organization.NewPolicy{Type: "TAG_POLICY", Name: "t", Text: "{}"})
	w.refused("a type that nothing enforces", err, organization.TypeNotAvailable, "")
	for name, text := range map[string]string{
		"not JSON": "x", "not UTF-8": "\xff", "an unknown element": `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Why":1}]}`,
	} {
		_, err = w.UpdatePolicy(ctx, org, ids[0], organization.PolicyUpdate{Text: &text})
		w.refused(name, err, organization.MalformedPolicyDocument, "")
	}
	w.sound()
}

func TestTagsOfEveryKind(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, management := w.organization()
	unit, policy := w.unit(org, root, "u"), w.scp(org, "p", "kms:*")
	rp, err := w.PutResourcePolicy(ctx, org, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+management+`"},"Action":"organizations:List*","Resource":"*"}]}`, nil)
	w.must(err)
	for _, id := range []string{root, unit, management, policy, rp.ID} {
		w.must(w.Tag(ctx, org, id, []organization.Tag{{Key: "Ward", Value: "3"}, {Key: "b", Value: ""}}))
		w.must(w.Tag(ctx, org, id, []organization.Tag{{Key: "ward", Value: "4"}}))
		w.must(w.Untag(ctx, org, id, []string{"B", "not there"}))
		tags, err := w.Tags(org, id)
		if err != nil || len(tags) != 1 || tags[0] != (organization.Tag{Key: "ward", Value: "4"}) {
			t.Errorf("tags of %s: %v, %v", id, tags, err)
		}
	}
	w.restart()
	if tags, err := w.Tags(org, policy); err != nil || len(tags) != 1 {
		t.Errorf("after a restart: %v, %v", tags, err)
	}
	w.refused("reserved", w.Tag(ctx, org, root, []organization.Tag{{Key: "aws:x"}}), organization.InvalidInput, "INVALID_SYSTEM_TAGS_PARAMETER")
	w.refused("twice", w.Tag(ctx, org, root, []organization.Tag{{Key: "x"}, {Key: "X"}}), organization.InvalidInput, "DUPLICATE_TAG_KEY")
	w.refused("nothing", w.Tag(ctx, org, "ou-none-none", []organization.Tag{{Key: "x"}}), organization.TargetNotFound, "")
	var many []organization.Tag
	for i := range organization.MaxTags {
		many = append(many, organization.Tag{Key: fmt.Sprint("k", i)})
	}
	w.refused("51", w.Tag(ctx, org, root, many), organization.ConstraintViolation, "MAX_TAG_LIMIT_EXCEEDED")
	w.sound()
}

func TestWritersTakeTurns(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, _ := w.organization()
	accounts := []string{w.customer("a"), w.customer("b"), w.customer("c"), w.customer("d")}
	unit := w.unit(org, root, "u")
	var all sync.WaitGroup
	for _, account := range accounts {
		w.join(org, account)
		all.Go(func() {
			for range 10 {
				if err := w.MoveAccount(ctx, org, account, root, unit); err != nil {
					t.Error(err)
				}
				if l := w.Levels(account); len(l.SCPs) != 3 {
					t.Errorf("after moving into the unit: %s", shape(l))
				}
				if err := w.MoveAccount(ctx, org, account, unit, root); err != nil {
					t.Error(err)
				}
				if l := w.Levels(account); len(l.SCPs) != 2 {
					t.Errorf("after moving back: %s", shape(l))
				}
			}
		})
	}
	all.Wait()
	w.sound()
}

// failing lets commits fail after they were written or before.
type failing struct {
	kv.Store
	mode string
}

var errLost = errors.New("connection lost")

func (f *failing) Commit(ctx context.Context, conds []kv.Cond, ops []kv.Op) (kv.Rev, error) {
	switch f.mode {
	case "before":
		return 0, errLost
	case "after":
		if rev, err := f.Store.Commit(ctx, conds, ops); err != nil {
			return rev, err
		}
		return 0, errLost
	}
	return f.Store.Commit(ctx, conds, ops)
}

func TestWhatIsInForceIsWhatIsStoredWhenTheOutcomeIsUnknown(t *testing.T) {
	store := &failing{Store: memory.Open()}
	w := newWorldOn(t, store)
	ctx := t.Context()
	org, root, _ := w.organization()
	account := w.customer("clinic")
	w.join(org, account)
	p := w.scp(org, "guard", "kms:*")
	for _, c := range []struct {
		mode string
		want int
	}{{"before", 1}, {"after", 2}} {
		store.mode = c.mode
		if err := w.AttachPolicy(ctx, org, p, root); !errors.Is(err, organization.ErrUnavailable) {
			t.Errorf("%s: %v", c.mode, err)
		}
		store.mode = ""
		if got := len(w.Levels(account).SCPs[0]); got != c.want {
			t.Errorf("lost %s the write: %d policies in force, %d stored", c.mode, got, c.want)
		}
	}
	w.sound()
}
