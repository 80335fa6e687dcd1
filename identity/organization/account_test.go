package organization_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

func opened(context.Context, string) error { return nil }

func TestAnAccountThatAnOrganizationMadeHasOneWayIn(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, management := w.organization()
	c, err := w.CreateAccount(ctx, org, organization.NewAccount{Name: "lab", Email: "lab@example.org", Tags: []organization.Tag{{Key: "ward", Value: "3"}}}, opened)
	w.must(err)
	if c.State != organization.Succeeded || c.Account == "" || c.Completed.IsZero() {
		t.Fatalf("%+v", c)
	}
	a, err := w.Account(org, c.Account)
	if err != nil || a.Name != "lab" || a.Email != "lab@example.org" || !a.Created || a.Path != org+"/"+root+"/" {
		t.Errorf("%+v, %v", a, err)
	}
	role, err := w.directory.GetRole(c.Account, organization.AccessRole)
	if err != nil || role.TrustPolicy != `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+management+`:root"},"Action":"sts:AssumeRole"}]}` {
		t.Errorf("%+v, %v", role, err)
	}
	// Whoever opens accounts for customers has no way into this one.
	if _, err := w.directory.NewEnrolment(ctx, c.Account); !errors.Is(err, directory.ErrEnrolled) {
		t.Errorf("an enrolment code: %v", err)
	}
	again, err := w.CreateAccount(ctx, org, organization.NewAccount{Name: "lab 2", Email: "Lab@example.org"}, opened)
	if err != nil || again.State != organization.Failed || again.Reason != "EMAIL_ALREADY_EXISTS" || again.Account != "" {
		t.Errorf("a second account of one address: %+v, %v", again, err)
	}
	_, err = w.CreateAccount(ctx, org, organization.NewAccount{Name: "x", Email: "x@example.org", Role: "a role"}, opened)
	w.refused("a bad role name", err, organization.InvalidInput, "INVALID_ROLE_NAME")
	if all := w.Creations(org); len(all) != 2 {
		t.Errorf("%d requests", len(all))
	}
	w.sound()
	w.restart()
	if l := w.Levels(c.Account); l == nil || l.Organization != org {
		t.Errorf("after a restart: %+v", l)
	}
	w.sound()
}

// TestAHalfDoneCreationIsSettledAtTheNextStart: the crash comes between the
// membership and the account.
func TestAHalfDoneCreationIsSettledAtTheNextStart(t *testing.T) {
	store := &failing{Store: memory.Open()}
	w := newWorldOn(t, store)
	ctx := t.Context()
	org, _, _ := w.organization()
	crash := &crashing{Store: store.Store, left: 1}
	store.Store = crash
	if _, err := w.CreateAccount(ctx, org, organization.NewAccount{Name: "lab", Email: "lab@example.org"}, opened); !errors.Is(err, organization.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	if c := w.Creations(org); len(c) != 1 || c[0].State != organization.InProgress {
		t.Fatalf("%+v", c)
	}
	w.sound() // as a crash leaves it
	crash.left = 1000
	w.restart()
	if c := w.Creations(org); c[0].State != organization.Failed || c[0].Reason != "INTERNAL_FAILURE" {
		t.Errorf("%+v", c)
	}
	if n := len(w.Accounts(org)); n != 1 {
		t.Errorf("%d members", n)
	}
	w.sound()
}

// crashing takes so many commits and no more.
type crashing struct {
	kv.Store
	left int
}

func (c *crashing) Commit(ctx context.Context, conds []kv.Cond, ops []kv.Op) (kv.Rev, error) {
	if c.left == 0 {
		return 0, errLost
	}
	c.left--
	return c.Store.Commit(ctx, conds, ops)
}

func TestAClosedAccountStaysClosed(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, management := w.organization()
	account := w.customer("clinic")
	w.join(org, account)
	w.refused("the management account", w.CloseAccount(ctx, org, management), organization.ConstraintViolation, "CANNOT_CLOSE_MANAGEMENT_ACCOUNT")
	w.refused("nobody's", w.CloseAccount(ctx, org, "999999999999"), organization.AccountNotFound, "")
	w.must(w.CloseAccount(ctx, org, account))
	if !w.Levels(account).Closed {
		t.Error("not closed when the call returned")
	}
	w.refused("twice", w.CloseAccount(ctx, org, account), organization.AccountAlreadyClosed, "")
	w.refused("removing it", w.RemoveAccount(ctx, org, account), organization.ConstraintViolation, "ACCOUNT_CANNOT_LEAVE_ORGANIZATION")
	w.refused("an organization with it", w.DeleteOrganization(ctx, org), organization.OrganizationNotEmpty, "")
	w.clock.Advance(organization.ClosedLife)
	if a, err := w.Account(org, account); err != nil || !a.Gone {
		t.Errorf("%+v, %v", a, err)
	}
	unit := w.unit(org, root, "u")
	w.scp(org, "p", "kms:*")
	w.must(w.DeleteOrganization(ctx, org))
	if l := w.Levels(account); l == nil || !l.Closed || l.Organization != "" {
		t.Errorf("after its organization is gone: %+v", l)
	}
	if w.Levels(management) != nil {
		t.Error("the management account is still in an organization")
	}
	if _, err := w.Unit(org, unit); organization.CodeOf(err) != organization.UnitNotFound {
		t.Errorf("a unit of no organization: %v", err)
	}
	w.sound()
	w.restart()
	if l := w.Levels(account); l == nil || !l.Closed {
		t.Errorf("after a restart: %+v", l)
	}
	w.sound()
}

func TestInvitations(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, _, _ := w.organization()
	other, _, _ := w.organization()
	a := w.customer("a")
	h, err := w.Invite(ctx, org, a, "come", nil)
	w.must(err)
	if got, err := w.Invitation(a, h.ID); err != nil || got.Notes != "come" || got.State != organization.HandshakeOpen {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = w.Handshake(other, h.ID)
	w.refused("another organization looks", err, organization.HandshakeNotFound, "")
	_, err = w.CancelHandshake(ctx, other, h.ID)
	w.refused("another organization cancels", err, organization.HandshakeNotFound, "")
	_, err = w.AcceptHandshake(ctx, w.customer("b"), h.ID)
	w.refused("another account accepts", err, organization.HandshakeNotFound, "")
	second, err := w.Invite(ctx, other, a, "", nil)
	w.must(err)
	w.must(func() error { _, err := w.AcceptHandshake(ctx, a, h.ID); return err }())
	_, err = w.AcceptHandshake(ctx, a, second.ID)
	w.refused("a second organization", err, organization.HandshakeConstraint, "ALREADY_IN_AN_ORGANIZATION")
	_, err = w.AcceptHandshake(ctx, a, h.ID)
	w.refused("twice", err, organization.HandshakeConstraint, "ALREADY_IN_AN_ORGANIZATION")

	b := w.customer("late")
	h, err = w.Invite(ctx, org, b, "", nil)
	w.must(err)
	w.clock.Advance(organization.InvitationLife)
	_, err = w.AcceptHandshake(ctx, b, h.ID)
	w.refused("too late", err, organization.InvalidHandshakeChange, "")
	if got, err := w.Handshake(org, h.ID); err != nil || got.State != organization.HandshakeExpired {
		t.Errorf("%+v, %v", got, err)
	}
	for range 3 {
		_, err = w.Invite(ctx, org, w.customer("many"), "", nil)
		w.must(err)
	}
	_, err = w.Invite(ctx, org, w.customer("too many"), "", nil)
	w.refused("a fourth open one", err, organization.HandshakeConstraint, "HANDSHAKE_RATE_LIMIT_EXCEEDED")
	w.clock.Advance(60 * 24 * time.Hour)
	if n := len(w.Handshakes(org)); n != 0 {
		t.Errorf("%d invitations are shown long after their end", n)
	}
	_, err = w.Invite(ctx, org, w.customer("new"), "", nil) // clears away what is old
	w.must(err)

	operator, err := w.directory.CreateAccount(ctx, "operator", true)
	w.must(err)
	h, err = w.Invite(ctx, org, operator.ID, "", nil)
	w.must(err)
	_, err = w.AcceptHandshake(ctx, operator.ID, h.ID)
	w.refused("the operator joins", err, organization.AccessDenied, "")
	_, err = w.CreateOrganization(ctx, operator.ID)
	w.refused("the operator manages", err, organization.AccessDenied, "")
	w.sound()
}

func TestDelegation(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, management := w.organization()
	a := w.customer("a")
	w.join(org, a)
	w.refused("before access", w.RegisterAdministrator(ctx, org, a, organization.IAM), organization.ConstraintViolation, "SERVICE_ACCESS_NOT_ENABLED")
	w.refused("a service that is not here", w.EnableService(ctx, org, "sso.amazonaws.com"), organization.InvalidInput, "UNRECOGNIZED_SERVICE_PRINCIPAL")
	w.must(w.EnableService(ctx, org, organization.IAM))
	w.must(w.EnableService(ctx, org, organization.IAM))
	if n := len(w.Services(org)); n != 1 {
		t.Errorf("%d services", n)
	}
	w.refused("the management account", w.RegisterAdministrator(ctx, org, management, organization.IAM), organization.ConstraintViolation, "CANNOT_REGISTER_MASTER_AS_DELEGATED_ADMINISTRATOR")
	w.must(w.RegisterAdministrator(ctx, org, a, organization.IAM))
	w.refused("twice", w.RegisterAdministrator(ctx, org, a, organization.IAM), organization.AccountAlreadyRegistered, "")
	w.refused("disabling under it", w.DisableService(ctx, org, organization.IAM), organization.ConstraintViolation, "DELEGATED_ADMINISTRATOR_EXISTS_FOR_THIS_SERVICE")
	w.refused("closing it", w.CloseAccount(ctx, org, a), organization.ConstraintViolation, "CANNOT_REMOVE_DELEGATED_ADMINISTRATOR_FROM_ORG")

	b := w.customer("b")
	w.join(org, b)
	if w.MayAssumeRoot(management, b) {
		t.Error("root sessions before the feature is on")
	}
	features, err := w.SetFeature(ctx, org, organization.RootSessions, true)
	w.must(err)
	if len(features) != 1 {
		t.Errorf("features %v", features)
	}
	stranger := w.customer("stranger")
	for _, c := range []struct {
		name, from, to string
		want           bool
	}{
		{"the management account", management, b, true},
		{"IAM's administrator", a, b, true},
		{"any member", b, a, false},
		{"the management account's root", a, management, false},
		{"its own root", a, a, false},
		{"a stranger's root", management, stranger, false},
		{"a stranger", stranger, b, false},
	} {
		if got := w.MayAssumeRoot(c.from, c.to); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	w.must(w.DeregisterAdministrator(ctx, org, a, organization.IAM))
	w.refused("twice", w.DeregisterAdministrator(ctx, org, a, organization.IAM), organization.AccountNotRegistered, "")
	w.must(w.DisableService(ctx, org, organization.IAM))
	if w.MayAssumeRoot(management, b) || len(w.Features(org)) != 0 {
		t.Error("features outlived IAM's access")
	}

	// The resource policy: members only, some actions only, bound to unique ids (I-6).
	_, err = w.directory.CreateUser(ctx, a, directory.NewUser{Name: "eve"})
	w.must(err)
	text := func(principal, action string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"` + action + `","Resource":"*"}]}`
	}
	for name, c := range map[string]struct{ text, reason string }{
		"everybody":         {text("*", "organizations:ListAccounts"), "INVALID_PRINCIPAL"},
		"a stranger":        {text(stranger, "organizations:ListAccounts"), "INVALID_PRINCIPAL"},
		"nobody":            {text("arn:aws:iam::"+a+":user/nobody", "organizations:ListAccounts"), "INVALID_PRINCIPAL"},
		"everything":        {text(a, "organizations:*"), "UNSUPPORTED_ACTION_IN_RESOURCE_POLICY"},
		"a hidden wildcard": {text(a, "organizations:?eleteOrganization"), "UNSUPPORTED_ACTION_IN_RESOURCE_POLICY"},
		"another service":   {text(a, "kms:ListKeys"), "UNSUPPORTED_ACTION_IN_RESOURCE_POLICY"},
		"no policy":         {"{}", "INVALID_RESOURCE_POLICY_JSON"},
	} {
		_, err := w.PutResourcePolicy(ctx, org, c.text, nil)
		w.refused(name, err, organization.InvalidInput, c.reason)
	}
	eve := "arn:aws:iam::" + a + ":user/eve"
	rp, err := w.PutResourcePolicy(ctx, org, text(eve, "organizations:CreatePolicy"), nil)
	w.must(err)
	if p := w.Delegation(org).Principals(); len(p) != 1 || !p[0].Bound || p[0].ID == "" {
		t.Errorf("principals %+v", p)
	}
	w.must(w.directory.DeleteUser(ctx, a, "eve"))
	_, err = w.directory.CreateUser(ctx, a, directory.NewUser{Name: "eve"})
	w.must(err)
	if now, err := w.ResourcePolicy(org); err != nil || now.ID != rp.ID || now.Text == rp.Text {
		t.Errorf("the new eve stands in the policy of the old one: %+v, %v", now, err)
	}
	w.restart()
	if p := w.Delegation(org).Principals(); len(p) != 1 || !p[0].Bound {
		t.Errorf("after a restart: %+v", p)
	}
	w.must(w.DeleteResourcePolicy(ctx, org))
	w.refused("twice", w.DeleteResourcePolicy(ctx, org), organization.ResourcePolicyNotFound, "")
	_ = root
	w.sound()
}

func TestCheckFindsWhatDoesNotFitTogether(t *testing.T) {
	for name, damage := range map[string]func(w *world, org, root, account, policy, unit string) kv.Op{
		"a policy is gone": func(_ *world, org, _, _, policy, _ string) kv.Op {
			return kv.Op{Key: kv.Table('H').Text("policy").Text(org).Text(policy), Delete: true}
		},
		"a unit is gone": func(_ *world, org, _, _, _, unit string) kv.Op {
			return kv.Op{Key: kv.Table('H').Text("unit").Text(org).Text(unit), Delete: true}
		},
		"the organization is gone": func(_ *world, org, _, _, _, _ string) kv.Op {
			return kv.Op{Key: kv.Table('H').Text("organization").Text(org), Delete: true}
		},
		"a record is none": func(_ *world, org, _, _, policy, _ string) kv.Op {
			return kv.Op{Key: kv.Table('H').Text("policy").Text(org).Text(policy), Value: []byte{0xff}}
		},
		"an account is gone": func(_ *world, _, _, account, _, _ string) kv.Op {
			return kv.Op{Key: kv.Table('H').Text("closed").Text("123456789012"), Value: []byte{0xa1, 1, 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ctx := t.Context()
			org, root, _ := w.organization()
			account := w.customer("a")
			w.join(org, account)
			policy, unit := w.scp(org, "p", "kms:*"), w.unit(org, root, "u")
			w.must(w.AttachPolicy(ctx, org, policy, unit))
			w.must(w.MoveAccount(ctx, org, account, root, unit))
			w.sound()
			_, err := w.store.Commit(ctx, nil, []kv.Op{damage(w, org, root, account, policy, unit)})
			w.must(err)
			problems, err := w.Check(ctx)
			if err != nil || len(problems) == 0 {
				t.Errorf("Check = %q, %v", problems, err)
			}
		})
	}
}

// TestADamagedPolicyAllowsNothing: what cannot be read may have held a denial (I-1).
func TestADamagedPolicyAllowsNothing(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	org, root, _ := w.organization()
	account := w.customer("a")
	w.join(org, account)
	policy := w.scp(org, "p", "kms:*")
	w.must(w.AttachPolicy(ctx, org, policy, root))
	_, err := w.store.Commit(ctx, nil, []kv.Op{{Key: kv.Table('H').Text("policy").Text(org).Text(policy), Delete: true}})
	w.must(err)
	w.restart()
	if l := w.Levels(account); len(l.SCPs) != 2 || len(l.SCPs[0]) != 0 {
		t.Errorf("levels %s", shape(l))
	}
}

// FuzzResourcePolicy: whatever is accepted delegates nothing but what may be
// delegated, and nothing makes it panic.
func FuzzResourcePolicy(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"organizations:List*","Resource":"*"}]}`)
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","NotPrincipal":{"AWS":"123456789012"},"NotAction":"organizations:*","Resource":"*"}}`)
	f.Add(`{"Statement":[{"Effect":"Allow","Principal":{"Service":"x.amazonaws.com"},"Action":["Organizations:createpolicy"],"Resource":"arn:aws:kms:::"}]}`)
	store := memory.Open()
	now := clock.NewFake(start)
	d, err := directory.Open(context.Background(), store, directory.Config{Clock: now, Authority: outsider{}})
	if err != nil {
		f.Fatal(err)
	}
	o, err := organization.Open(context.Background(), store, organization.Config{Clock: now, Directory: d})
	if err != nil {
		f.Fatal(err)
	}
	a, err := d.CreateAccount(context.Background(), "a", false)
	if err != nil {
		f.Fatal(err)
	}
	org, err := o.CreateOrganization(context.Background(), a.ID)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := o.PutResourcePolicy(t.Context(), org.ID, strings.ReplaceAll(text, "123456789012", a.ID), nil); err != nil {
			return
		}
		statements := o.Delegation(org.ID).Statements()
		for i := range statements {
			for _, action := range statements[i].Actions {
				if l := strings.ToLower(action); !strings.HasPrefix(l, "organizations:") || strings.ContainsAny(strings.TrimRight(l, "*"), "*?") {
					t.Errorf("delegated %q", action)
				}
			}
		}
	})
}
