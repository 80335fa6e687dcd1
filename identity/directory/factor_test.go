package directory_test

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

// The outsider's devices are paired by 111111 and 222222; its records name what they are of.

func (o *outsider) NewFactor(_ context.Context, serial, label string) (n authority.NewFactor, err error) {
	if o.down {
		return n, authority.ErrUnavailable
	}
	n.Sealed = []byte("device " + serial + " " + label)
	if n.Seed, err = secret.From([]byte("c2VlZA==")); err != nil {
		return n, err
	}
	n.QR, err = secret.From([]byte("cGljdHVyZQ=="))
	return n, err
}

func (o *outsider) PairFactor(_ context.Context, f authority.Factor, second string) ([]byte, error) {
	if f.Code != "111111" || second != "222222" || !strings.HasPrefix(string(f.Sealed), "device "+f.Serial) {
		return nil, authority.ErrCode
	}
	return append(slices.Clone(f.Sealed), " paired"...), nil
}

// SetPassword keeps all passwords in the clear: it is the real one's business how.
func (o *outsider) SetPassword(_ context.Context, p authority.Password) ([]byte, error) {
	had := strings.Split(strings.TrimPrefix(string(p.Sealed), p.User+"\n"), "\n")
	switch {
	case p.Sealed != nil && !strings.HasPrefix(string(p.Sealed), p.User):
		return nil, authority.ErrBadRequest
	case len(p.Old) > 0 && had[0] != string(p.Old):
		return nil, authority.ErrPassword
	case slices.Contains(had[:min(len(had), p.Reuse)], string(p.New)):
		return nil, authority.ErrReused
	}
	return []byte(p.User + "\n" + string(p.New) + "\n" + strings.Join(had, "\n")), nil
}

func (w *world) device(name string) (serial string) {
	w.t.Helper()
	m, err := w.CreateVirtualMFADevice(w.t.Context(), w.account, directory.NewMFADevice{Name: name, Path: "/ward/"})
	w.must(err)
	m.Seed.Destroy()
	m.QR.Destroy()
	return m.Serial
}

func TestADeviceIsOneUsersAtATime(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := w.user("alice")
	w.user("bob")
	serial := w.device("Pager")
	if serial != "arn:aws:iam::"+w.account+":mfa/ward/Pager" {
		t.Fatal(serial)
	}
	_, err := w.CreateVirtualMFADevice(ctx, w.account, directory.NewMFADevice{Name: "pager", Path: "/Ward/"})
	w.refused(err, directory.EntityAlreadyExists, "MFADevice entity at the same path and name already exists.")
	_, err = w.CreateVirtualMFADevice(ctx, w.account, directory.NewMFADevice{Name: strings.Repeat("x", 227)})
	w.refused(err, directory.ValidationError, "")
	w.refused(w.EnableMFADevice(ctx, w.account, "alice", serial, "111111", "333333"), directory.InvalidAuthenticationCode, "Authentication code for device is not valid.")
	w.refused(w.EnableMFADevice(ctx, w.account, "nobody", serial, "111111", "222222"), directory.NoSuchEntity, "")
	w.refused(w.EnableMFADevice(ctx, w.account, "alice", serial+"x", "111111", "222222"), directory.NoSuchEntity, "VirtualMFADevice with serial number "+serial+"x doesn't exist.")
	if _, ok := w.MFAFactor(w.account, alice.ID, serial); ok {
		t.Error("a device that is nobody's is alice's")
	}
	if _, ok := w.MFAFactor(w.account, "", serial); ok {
		t.Error("a device that is nobody's is nobody's to show")
	}
	w.must(w.EnableMFADevice(ctx, w.account, "alice", serial, "111111", "222222"))
	w.restart()
	w.refused(w.EnableMFADevice(ctx, w.account, "bob", serial, "111111", "222222"), directory.EntityAlreadyExists, "")
	w.refused(w.ResyncMFADevice(ctx, w.account, "bob", serial, "111111", "222222"), directory.NoSuchEntity, "")
	w.refused(w.DeactivateMFADevice(ctx, w.account, "bob", serial), directory.NoSuchEntity, "")
	w.refused(w.DeleteVirtualMFADevice(ctx, w.account, serial), directory.DeleteConflict, "MFA VirtualDevice in use. Must deactivate first.")
	w.refused(w.DeleteUser(ctx, w.account, "alice"), directory.DeleteConflict, "Cannot delete entity, must delete MFA device first.")
	w.must(w.ResyncMFADevice(ctx, w.account, "alice", serial, "111111", "222222"))
	f, ok := w.MFAFactor(w.account, alice.ID, serial)
	if !ok || !strings.HasSuffix(string(f.Sealed), "paired paired") {
		t.Errorf("%s, %v", f.Sealed, ok)
	}
	for _, s := range []string{strings.ToLower(serial), strings.Replace(serial, w.account, "111122223333", 1)} {
		if _, ok := w.MFAFactor(w.account, alice.ID, s); ok {
			t.Errorf("%s is taken for %s", s, serial)
		}
	}
	if all, inUse := w.CountMFADevices(w.account); all != 1 || inUse != 1 {
		t.Errorf("%d devices, %d in use", all, inUse)
	}
	w.must(w.DeactivateMFADevice(ctx, w.account, "alice", serial))
	if _, ok := w.MFAFactor(w.account, alice.ID, serial); ok {
		t.Error("a device that was taken away can be shown")
	}
	w.must(w.DeleteVirtualMFADevice(ctx, w.account, serial))
	w.must(w.DeleteUser(ctx, w.account, "alice"))

	// Who has the name and the device's name anew has nothing of the old.
	w.device("Pager")
	again := w.user("alice")
	if _, ok := w.MFAFactor(w.account, again.ID, serial); ok {
		t.Error("a device of the same name is the user's of the same name")
	}
	problems, err := w.Check(ctx)
	w.must(err)
	if len(problems) > 0 {
		t.Errorf("%q", problems)
	}
}

func TestAUserHasEightDevicesAtMost(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	for i := range 9 {
		err := w.EnableMFADevice(t.Context(), w.account, "alice", w.device(fmt.Sprint("d", i)), "111111", "222222")
		if i < 8 {
			w.must(err)
		} else {
			w.refused(err, directory.LimitExceeded, "Cannot exceed quota for MFADevicesPerUser: 8")
		}
	}
	var got []string
	list := directory.List{MaxItems: 3}
	for {
		page, err := w.ListMFADevices(w.account, "alice", list)
		w.must(err)
		for _, m := range page.Items {
			got = append(got, m.Name)
		}
		if list.Marker = page.Marker; list.Marker == "" {
			break
		}
	}
	if strings.Join(got, " ") != "d0 d1 d2 d3 d4 d5 d6 d7" {
		t.Errorf("%q", got)
	}
	for status, want := range map[directory.MFAStatus]int{directory.AnyMFA: 9, directory.AssignedMFA: 8, directory.UnassignedMFA: 1} {
		page, err := w.ListVirtualMFADevices(w.account, status, directory.List{})
		w.must(err)
		if len(page.Items) != want {
			t.Errorf("status %d: %d devices", status, len(page.Items))
		}
	}
}

func TestOfTwoUsersWhoPairOneDeviceOneGetsIt(t *testing.T) {
	w := newWorld(t)
	serial := w.device("d")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 6 {
		name := fmt.Sprint("u", i)
		w.user(name)
		wg.Go(func() {
			err := w.EnableMFADevice(context.Background(), w.account, name, serial, "111111", "222222")
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if c := directory.CodeOf(err); c != directory.EntityAlreadyExists && c != directory.ConcurrentModification {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d users have it", won)
	}
	problems, err := w.Check(t.Context())
	w.must(err)
	if len(problems) > 0 {
		t.Errorf("%q", problems)
	}
}

func TestTagsOfADevice(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	serial := w.device("d")
	w.must(w.TagMFADevice(ctx, w.account, serial, []directory.Tag{{Key: "Ward", Value: "3"}, {Key: "x", Value: "y"}}))
	w.must(w.TagMFADevice(ctx, w.account, serial, []directory.Tag{{Key: "ward", Value: "4"}}))
	w.must(w.UntagMFADevice(ctx, w.account, serial, []string{"X", "none"}))
	w.restart()
	page, err := w.ListMFADeviceTags(w.account, serial, directory.List{})
	w.must(err)
	if len(page.Items) != 1 || page.Items[0] != (directory.Tag{Key: "ward", Value: "4"}) {
		t.Errorf("%v", page.Items)
	}
	w.refused(w.TagMFADevice(ctx, w.account, serial, []directory.Tag{{Key: "aws:x"}}), directory.InvalidInput, "")
}

func TestPasswordsObeyThePolicy(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("alice")
	create := func(password string) error {
		_, err := w.CreateLoginProfile(ctx, w.account, "alice", directory.NewPassword{Password: password})
		if err == nil {
			w.must(w.DeleteLoginProfile(ctx, w.account, "alice"))
		}
		return err
	}
	_, err := w.GetAccountPasswordPolicy(w.account)
	w.refused(err, directory.NoSuchEntity, "The Password Policy with domain name "+w.account+" cannot be found.")
	w.refused(w.DeleteAccountPasswordPolicy(ctx, w.account), directory.NoSuchEntity, "")
	check := func(policy string, good, bad []string) {
		t.Helper()
		for _, p := range good {
			if err := create(p); err != nil {
				t.Errorf("%s: %q: %v", policy, p, err)
			}
		}
		for _, p := range bad {
			w.refused(create(p), directory.PasswordPolicyViolation, "Password does not conform to the account password policy.")
		}
	}
	check("AWS's default", []string{"Abcdefg1", "abcdef1!", "ABCDEF1!", "Abcdefg_"}, []string{"Abcdef1", "abcdefgh1", "ABCDEFGH", "hospital"})
	w.refused(w.UpdateAccountPasswordPolicy(ctx, w.account, directory.PasswordPolicy{MinimumLength: 5}), directory.ValidationError, "")
	w.must(w.UpdateAccountPasswordPolicy(ctx, w.account, directory.PasswordPolicy{MinimumLength: 6}))
	check("only a length", []string{"aaaaaa"}, []string{"aaaaa", "äöüß1"})
	w.must(w.UpdateAccountPasswordPolicy(ctx, w.account, directory.PasswordPolicy{MinimumLength: 6, Symbols: true, Numbers: true, Upper: true, Lower: true}))
	w.restart()
	check("of all kinds", []string{"aA1!xx"}, []string{"AA1!XX", "aa1!xx", "aAb!xx", "aA1bxx", "aA1~xx"})
	w.must(w.DeleteAccountPasswordPolicy(ctx, w.account))
	w.restart()
	check("the default again", []string{"Abcdefg1"}, []string{"aA1!xx"})
}

func TestALoginProfileLives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("alice")
	w.must(w.UpdateAccountPasswordPolicy(ctx, w.account, directory.PasswordPolicy{MinimumLength: 6, ReusePrevention: 2, MaxAge: 30, HardExpiry: true}))
	set := func(p, old string) error {
		return w.ChangePassword(ctx, w.account, "alice", directory.NewPassword{Password: p, Old: old})
	}
	w.refused(set("first!", "x"), directory.NoSuchEntity, "Login Profile for User alice cannot be found.")
	w.refused(w.UpdateLoginProfile(ctx, w.account, "alice", directory.NewPassword{ResetRequired: new(true)}), directory.NoSuchEntity, "")
	l, err := w.CreateLoginProfile(ctx, w.account, "Alice", directory.NewPassword{Password: "first!", ResetRequired: new(true)})
	w.must(err)
	if l.UserName != "alice" || !l.ResetRequired || !l.Created.Equal(start) {
		t.Errorf("%+v", l)
	}
	_, err = w.CreateLoginProfile(ctx, w.account, "alice", directory.NewPassword{Password: "second"})
	w.refused(err, directory.EntityAlreadyExists, "Login Profile for user alice already exists.")
	w.clock.Advance(24 * time.Hour)
	w.refused(set("second", "wrong!"), directory.AccessDenied, "The old password was incorrect.")
	w.must(set("second", "first!"))
	w.refused(set("first!", "second"), directory.PasswordPolicyViolation, "Policy constraint violation with password reuse prevention during password change.")
	w.refused(w.UpdateLoginProfile(ctx, w.account, "alice", directory.NewPassword{Password: "second"}), directory.PasswordPolicyViolation, "")
	w.restart()
	if l, err = w.GetLoginProfile(w.account, "alice"); err != nil || l.ResetRequired || !l.Created.Equal(start) || !l.Changed.Equal(start.Add(24*time.Hour)) {
		t.Errorf("%+v, %v", l, err)
	}
	w.refused(w.DeleteUser(ctx, w.account, "alice"), directory.DeleteConflict, "Cannot delete entity, must delete login profile first.")
	w.clock.Advance(30 * 24 * time.Hour)
	w.refused(set("third!", "second"), directory.AccessDenied, "")
	w.must(w.UpdateLoginProfile(ctx, w.account, "alice", directory.NewPassword{Password: "third!", ResetRequired: new(true)}))
	w.must(w.UpdateLoginProfile(ctx, w.account, "alice", directory.NewPassword{ResetRequired: new(false)}))
	w.must(w.DeleteLoginProfile(ctx, w.account, "alice"))
	w.must(w.DeleteUser(ctx, w.account, "alice"))
	w.user("alice")
	_, err = w.GetLoginProfile(w.account, "alice")
	w.refused(err, directory.NoSuchEntity, "")
}

func TestWithoutAnAuthorityNoFactorIsMade(t *testing.T) {
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	d, err := directory.Open(t.Context(), store, directory.Config{Clock: clock.NewFake(start), Authority: &outsider{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(context.Background()) })
	a, err := d.CreateAccount(t.Context(), "x", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.CreateVirtualMFADevice(t.Context(), a.ID, directory.NewMFADevice{Name: "d"}); !errors.Is(err, directory.ErrUnavailable) {
		t.Error(err)
	}
}

// asked is what a report says of each service: how often "kms:Decrypt/region" was asked for, by the newest of each.
func (w *world) asked(of string) map[string]string {
	w.t.Helper()
	job, err := w.GenerateServiceLastAccessedDetails(w.account, of, true)
	w.must(err)
	r, err := w.ServiceLastAccessedDetails(w.account, job)
	w.must(err)
	got := map[string]string{}
	for _, s := range r.Services {
		got[s.Namespace] = fmt.Sprint(s.Authenticated)
		for _, a := range s.Actions {
			got[s.Namespace] += " " + a.Action + "@" + a.Last.Format("15:04") + " by " + a.Entity[strings.LastIndex(a.Entity, "/")+1:]
		}
	}
	return got
}

func TestLastAccessedDataIsOfWhoAskedAndWhatIsAllowed(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob, role := w.user("alice"), w.user("bob"), w.role("r", w.account)
	w.group("g", "alice")
	p := w.policy("p") // kms:Decrypt
	w.must(w.AttachPolicy(ctx, w.account, directory.GroupKind, "g", p.ARN))
	w.must(w.AttachPolicy(ctx, w.account, directory.UserKind, "alice", p.ARN))
	w.must(w.AttachPolicy(ctx, w.account, directory.RoleKind, "r", p.ARN))
	w.must(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "bob", "all-but-IAM", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":["iam:*","kms:Decrypt"],"Resource":"*"}]}`))
	w.must(w.PutInlinePolicy(ctx, w.account, directory.UserKind, "alice", "sts", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"},{"Effect":"Allow","Action":"STS:Assume*","Resource":"*"}]}`))

	w.Accessed(alice.ID, "kms", "Decrypt", "eu-central-1")
	w.clock.Advance(2 * time.Hour)
	w.Accessed(alice.ID, "kms", "Encrypt", "eu-central-1")
	w.Accessed(alice.ID, "kms", "Decrypt", "eu-central-1")
	w.Accessed(alice.ID, "iam", "GetUser", "us-east-1") // not allowed by any policy: not in the report
	w.Accessed(role.ID, "kms", "Decrypt", "eu-central-1")
	w.clock.Advance(time.Minute)
	w.Accessed(role.ID, "kms", "Decrypt", "eu-central-1") // within the grain
	w.Accessed("AIDANOBODY", "kms", "Decrypt", "eu-central-1")
	for restarted := range 2 {
		for _, c := range []struct{ of, want string }{
			{alice.ARN, "map[kms:1 Decrypt@14:00 by alice Encrypt@14:00 by alice sts:0]"},
			{role.ARN, "map[kms:1 Decrypt@14:00 by r]"},
			{p.ARN, "map[kms:2 Decrypt@14:00 by r Encrypt@14:00 by alice]"},
			{"arn:aws:iam::" + w.account + ":group/g", "map[kms:1 Decrypt@14:00 by alice Encrypt@14:00 by alice]"},
			{bob.ARN, "map[access-analyzer:0 cloudtrail:0 ebs:0 ec2:0 kms:0 leadglass:0 organizations:0 s3:0 sts:0]"},
		} {
			if got := fmt.Sprint(w.asked(c.of)); got != c.want {
				t.Errorf("restarted %d: %s: %s, want %s", restarted, c.of, got, c.want)
			}
		}
		w.restart()
	}
	granting, err := w.PoliciesGranting(w.account, alice.ARN, "kms")
	w.must(err)
	if len(granting) != 2 || granting[0].ARN != p.ARN || granting[1].ARN != p.ARN {
		t.Errorf("%+v", granting)
	}
	granting, err = w.PoliciesGranting(w.account, alice.ARN, "sts")
	w.must(err)
	if len(granting) != 1 || granting[0] != (directory.Granting{Policy: "sts", Carrier: directory.UserKind, CarrierName: "alice"}) {
		t.Errorf("%+v", granting)
	}
	_, err = w.PoliciesGranting(w.account, p.ARN, "sts")
	w.refused(err, directory.InvalidInput, "")
	for _, of := range []string{"arn:aws:iam::" + w.account + ":user/nobody", "arn:aws:iam::" + w.account + ":user/x/alice", "arn:aws:iam::" + w.account + ":policy/none"} {
		_, err := w.GenerateServiceLastAccessedDetails(w.account, of, false)
		w.refused(err, directory.NoSuchEntity, "")
	}
	_, err = w.GenerateServiceLastAccessedDetails(w.account, "arn:aws:iam::"+w.account+":mfa/x", false)
	w.refused(err, directory.InvalidInput, "")

	// Who has the name anew has asked for nothing.
	w.must(w.DetachPolicy(ctx, w.account, directory.RoleKind, "r", p.ARN))
	w.must(w.DeleteRole(ctx, w.account, "r"))
	again := w.role("r", w.account)
	w.must(w.AttachPolicy(ctx, w.account, directory.RoleKind, "r", p.ARN))
	if got := fmt.Sprint(w.asked(again.ARN)); got != "map[kms:0]" {
		t.Error(got)
	}
	problems, err := w.Check(ctx)
	w.must(err)
	if len(problems) > 0 {
		t.Errorf("%q", problems)
	}
}

func TestLastAccessedDataIsForgottenAfterFourHundredDays(t *testing.T) {
	w := newWorld(t)
	u := w.user("alice")
	w.must(w.PutInlinePolicy(t.Context(), w.account, directory.UserKind, "alice", "p", allow("kms:*")))
	stored := func() bool {
		entries, _, _, err := w.store.Scan(t.Context(), []byte{'I'}, []byte{'J'}, 1000, 0, false)
		w.must(err)
		return slices.ContainsFunc(entries, func(e kv.Entry) bool { return strings.Contains(string(e.Key), "accessed") })
	}
	w.Accessed(u.ID, "kms", "Decrypt", "r")
	w.restart()
	if !stored() {
		t.Fatal("nothing is stored")
	}
	w.clock.Advance(directory.AccessPeriod - time.Minute)
	if got := fmt.Sprint(w.asked(u.ARN)); !strings.HasPrefix(got, "map[kms:1 Decrypt") {
		t.Error(got)
	}
	w.clock.Advance(2 * time.Minute)
	if got := fmt.Sprint(w.asked(u.ARN)); got != "map[kms:0]" {
		t.Error(got)
	}
	// The next time that the background looks, it goes from the store as well.
	for deadline := time.Now().Add(5 * time.Second); stored(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it stays in the store")
		}
		w.clock.Advance(time.Minute)
	}
}

func TestJobsAreOfTheirAccountAndEnd(t *testing.T) {
	w := newWorld(t)
	u := w.user("alice")
	job, err := w.GenerateServiceLastAccessedDetails(w.account, u.ARN, false)
	w.must(err)
	other, err := w.CreateAccount(t.Context(), "other", false)
	w.must(err)
	_, err = w.ServiceLastAccessedDetails(other.ID, job)
	w.refused(err, directory.NoSuchEntity, "")
	_, err = w.GenerateServiceLastAccessedDetails(other.ID, u.ARN, false)
	w.refused(err, directory.NoSuchEntity, "")
	for range 100 {
		_, err := w.GenerateServiceLastAccessedDetails(w.account, u.ARN, false)
		w.must(err)
	}
	_, err = w.ServiceLastAccessedDetails(w.account, job)
	w.refused(err, directory.NoSuchEntity, "") // the oldest of more than a hundred
	job, err = w.GenerateServiceLastAccessedDetails(w.account, u.ARN, false)
	w.must(err)
	w.clock.Advance(24 * time.Hour)
	_, err = w.ServiceLastAccessedDetails(w.account, job)
	w.refused(err, directory.NoSuchEntity, "")
}

func TestTheCredentialReport(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("alice")
	w.user("bob")
	w.must(w.UpdateAccountPasswordPolicy(ctx, w.account, directory.PasswordPolicy{MinimumLength: 6, MaxAge: 90}))
	_, err := w.CreateLoginProfile(ctx, w.account, "alice", directory.NewPassword{Password: "first!"})
	w.must(err)
	w.must(w.EnableMFADevice(ctx, w.account, "alice", w.device("d"), "111111", "222222"))
	k := w.key("alice")
	w.Used(k, "kms", "eu-central-1")
	second := w.key("alice")
	w.must(w.UpdateAccessKey(ctx, w.account, "alice", second, false))
	_, err = w.GetCredentialReport(w.account)
	w.refused(err, directory.ReportNotPresent, "")
	if started, err := w.GenerateCredentialReport(w.account); err != nil || !started {
		t.Fatal(started, err)
	}
	if started, err := w.GenerateCredentialReport(w.account); err != nil || started {
		t.Fatal(started, err)
	}
	r, err := w.GetCredentialReport(w.account)
	w.must(err)
	rows, err := csv.NewReader(strings.NewReader(string(r.Content))).ReadAll()
	w.must(err)
	const at = "2026-11-24T12:00:00+00:00"
	want := []string{
		"user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,mfa_active," +
			"access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service," +
			"access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service," +
			"cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated",
		"<root_account>,arn:aws:iam::" + w.account + ":root," + at + ",false,N/A,N/A,N/A,false,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
		"alice,arn:aws:iam::" + w.account + ":user/alice," + at + ",true,no_information," + at + ",2027-02-22T12:00:00+00:00,true," +
			"true," + at + "," + at + ",eu-central-1,kms,false," + at + ",N/A,N/A,N/A,false,N/A,false,N/A",
		"bob,arn:aws:iam::" + w.account + ":user/bob," + at + ",false,N/A,N/A,N/A,false,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
	}
	for i, row := range rows {
		if got := strings.Join(row, ","); i >= len(want) || got != want[i] {
			t.Errorf("row %d: %s", i, got)
		}
	}
	w.clock.Advance(directory.ReportLife)
	_, err = w.GetCredentialReport(w.account)
	w.refused(err, directory.ReportExpired, "")
	if started, err := w.GenerateCredentialReport(w.account); err != nil || !started {
		t.Fatal(started, err)
	}
}

// Every request passes here. Target: below 300 ns, which is
// half a percent of the cheapest request, and no allocation.
func BenchmarkAccessed(b *testing.B) {
	store := memory.Open()
	b.Cleanup(func() { store.Close() })
	d, err := directory.Open(b.Context(), store, directory.Config{Clock: clock.System, Authority: &outsider{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close(context.Background()) })
	a, err := d.CreateAccount(b.Context(), "x", false)
	if err != nil {
		b.Fatal(err)
	}
	u, err := d.CreateUser(b.Context(), a.ID, directory.NewUser{Name: "u"})
	if err != nil {
		b.Fatal(err)
	}
	actions := []string{"Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey", "ListKeys", "ListAliases", "Sign", "Verify"}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		d.Accessed(u.ID, "kms", actions[i&7], "us-east-1")
		i++
	}
}
