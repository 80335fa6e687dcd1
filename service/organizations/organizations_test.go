package organizations_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	api "github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/service/organizations"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/wire"
)

// outsider stands for the authority's process, which has no part in this.
type outsider struct{}

func (outsider) NewSecret(context.Context, string, string) ([]byte, *secret.Bytes, error) {
	s, err := secret.New(40)
	return []byte("sealed"), s, err
}
func (outsider) Revoke(context.Context, authority.Revocation) (uint64, error) { return 1, nil }

type plane struct {
	t          *testing.T
	orgs       *organization.Organizations
	directory  *directory.Directory
	table      map[string]operation.Operation
	management string
	opened     []string
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	store, now := memory.Open(), clock.NewFake(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	p := &plane{t: t, table: make(map[string]operation.Operation)}
	var err error
	if p.directory, err = directory.Open(t.Context(), store, directory.Config{Clock: now, Authority: outsider{}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.directory.Close(context.Background()); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	if p.orgs, err = organization.Open(t.Context(), store, organization.Config{Clock: now, Directory: p.directory}); err != nil {
		t.Fatal(err)
	}
	service := organizations.New(organizations.Config{Organizations: p.orgs, Directory: p.directory, Opened: func(_ context.Context, account string) error {
		p.opened = append(p.opened, account)
		return nil
	}})
	for _, op := range service.Operations() {
		p.table[op.Info.Name] = op
	}
	p.management = p.account("management")
	return p
}

func (p *plane) account(name string) string {
	p.t.Helper()
	a, err := p.directory.CreateAccount(p.t.Context(), name, false)
	if err != nil {
		p.t.Fatal(err)
	}
	return a.ID
}

// call is what the gate would make for an administrator of the account.
func (p *plane) call(account string) *operation.Call {
	arn := "arn:aws:iam::" + account + ":user/admin"
	return &operation.Call{
		RequestID: id.UUID(), Region: "us-east-1", Account: account, PrincipalID: "AIDA" + account,
		Principal: authz.Principal{Type: authz.User, ARN: arn, Account: account, ID: "AIDA" + account},
	}
}

var administrator = func() *policy.Document {
	d, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`))
	if err != nil {
		panic(err)
	}
	return d
}()

var errDenied = errors.New("denied")

// try runs one call through target, decision and handler, as the gate does.
func (p *plane) try(account string, in any) (any, error) {
	p.t.Helper()
	op, ok := p.table[strings.TrimSuffix(reflect.TypeOf(in).Elem().Name(), "Input")]
	if !ok {
		p.t.Fatalf("%T is not served", in)
	}
	call := p.call(account)
	ctx := operation.WithCall(p.t.Context(), call)
	asks, err := op.Target(ctx, in)
	if err != nil {
		return nil, err
	}
	for i := range asks {
		if !authz.Decide(&authz.Request{
			Principal: &call.Principal, Policies: &authz.Policies{Identity: []*policy.Document{administrator}}, Ask: &asks[i], Common: new(authz.Keys),
		}, nil).Allowed {
			return nil, errDenied
		}
	}
	return op.Serve(ctx, in)
}

func do[O any](p *plane, account string, in any) *O {
	p.t.Helper()
	out, err := p.try(account, in)
	if err != nil {
		p.t.Fatalf("%T: %v", in, err)
	}
	return out.(*O)
}

func codeOf(err error) string {
	if f, ok := wire.FaultOf(err); ok {
		return f.Code
	}
	return ""
}

func TestNothingIsDoneForAnAccountWithoutAnOrganization(t *testing.T) {
	p := newPlane(t)
	without := map[string]string{ // what has an answer even so
		"CreateOrganization": "", "ListHandshakesForAccount": "", "AcceptHandshake": "HandshakeNotFoundException",
		"DeclineHandshake": "HandshakeNotFoundException", "DescribeHandshake": "HandshakeNotFoundException",
	}
	for name, op := range p.table {
		if name == "CreateOrganization" {
			continue // it would be in one then
		}
		want, ok := without[name]
		if !ok {
			want = "AWSOrganizationsNotInUseException"
		}
		if _, err := p.try(p.management, op.NewInput()); codeOf(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestAMemberMayOnlyWhatConcernsItself(t *testing.T) {
	p := newPlane(t)
	do[api.CreateOrganizationOutput](p, p.management, &api.CreateOrganizationInput{})
	member := p.account("member")
	h := do[api.InviteAccountToOrganizationOutput](p, p.management, &api.InviteAccountToOrganizationInput{Target: &api.HandshakeParty{Id: member, Type: api.HandshakePartyTypeAccount}})
	do[api.AcceptHandshakeOutput](p, member, &api.AcceptHandshakeInput{HandshakeId: h.Handshake.Id})
	own := []string{
		"AcceptHandshake", "CreateOrganization", "DeclineHandshake", "DescribeEffectivePolicy", "DescribeOrganization", "LeaveOrganization", "ListHandshakesForAccount",
	}
	for _, name := range slices.Sorted(maps.Keys(p.table)) {
		if name == "LeaveOrganization" {
			continue
		}
		_, err := p.try(member, p.table[name].NewInput())
		if denied := errors.Is(err, errDenied); denied == slices.Contains(own, name) {
			t.Errorf("%s by a member: %v", name, err)
		}
	}
	// A delegated administrator looks as well, and changes nothing.
	do[api.EnableAWSServiceAccessOutput](p, p.management, &api.EnableAWSServiceAccessInput{ServicePrincipal: "iam.amazonaws.com"})
	do[api.RegisterDelegatedAdministratorOutput](p, p.management, &api.RegisterDelegatedAdministratorInput{AccountId: member, ServicePrincipal: "iam.amazonaws.com"})
	for _, name := range slices.Sorted(maps.Keys(p.table)) {
		_, err := p.try(member, p.table[name].NewInput())
		looks := strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Describe")
		if denied := errors.Is(err, errDenied); denied == (looks || slices.Contains(own, name)) {
			t.Errorf("%s by a delegated administrator: %v", name, err)
		}
	}
}

func TestPagesAreWholeAndGoOnWhereTheyEnded(t *testing.T) {
	p := newPlane(t)
	do[api.CreateOrganizationOutput](p, p.management, &api.CreateOrganizationInput{})
	for i := range 24 {
		c := do[api.CreateAccountOutput](p, p.management, &api.CreateAccountInput{AccountName: "a", Email: string(rune('a'+i)) + "@example.org"})
		if c.CreateAccountStatus.State != api.CreateAccountStateSucceeded {
			t.Fatalf("%+v", c.CreateAccountStatus)
		}
	}
	if len(p.opened) != 24 {
		t.Errorf("%d logs were made", len(p.opened))
	}
	seen, requests := map[string]bool{}, map[string]bool{}
	for token := ""; ; {
		out := do[api.ListAccountsOutput](p, p.management, &api.ListAccountsInput{NextToken: token, MaxResults: new(int32(7))})
		if len(out.Accounts) > 7 || len(out.Accounts) == 0 {
			t.Fatalf("a page of %d", len(out.Accounts))
		}
		for _, a := range out.Accounts {
			if seen[a.Id] {
				t.Errorf("%s twice", a.Id)
			}
			seen[a.Id] = true
		}
		if token = out.NextToken; token == "" {
			break
		}
	}
	for token := ""; ; {
		out := do[api.ListCreateAccountStatusOutput](p, p.management, &api.ListCreateAccountStatusInput{NextToken: token, States: []api.CreateAccountState{api.CreateAccountStateSucceeded}})
		for _, c := range out.CreateAccountStatuses {
			requests[c.Id] = true
		}
		if token = out.NextToken; token == "" {
			break
		}
	}
	if len(seen) != 25 || len(requests) != 24 {
		t.Errorf("%d accounts, %d requests", len(seen), len(requests))
	}
	for _, token := range []string{"%", "garbage", "OTk5OTk5OTk5OTk5"} { // the last one is an account id in base64
		if _, err := p.try(p.management, &api.ListAccountsInput{NextToken: token}); codeOf(err) != "InvalidInputException" {
			t.Errorf("the bad token %s: %v", token, err)
		}
	}
}

// A reference is AWS's service authorization reference, as the vectors hold it.
type reference struct {
	Services map[string]struct {
		A map[string]struct {
			R map[string]struct{ C []string }
			C []string
		}
		R map[string]struct {
			ARN string `json:"arn"`
			C   []string
		}
	}
}

func TestWhatIsAskedIsWhatAWSAsks(t *testing.T) {
	p := newPlane(t)
	do[api.CreateOrganizationOutput](p, p.management, &api.CreateOrganizationInput{})
	root := do[api.ListRootsOutput](p, p.management, &api.ListRootsInput{}).Roots[0].Id
	for _, kind := range []api.PolicyType{api.PolicyTypeServiceControlPolicy, api.PolicyTypeResourceControlPolicy} {
		do[api.EnablePolicyTypeOutput](p, p.management, &api.EnablePolicyTypeInput{RootId: root, PolicyType: kind})
	}
	tags := []api.Tag{{Key: "Ward", Value: "3"}}
	unit := do[api.CreateOrganizationalUnitOutput](p, p.management, &api.CreateOrganizationalUnitInput{ParentId: root, Name: "u", Tags: tags}).OrganizationalUnit.Id
	account := do[api.CreateAccountOutput](p, p.management, &api.CreateAccountInput{AccountName: "a", Email: "a@example.org", Tags: tags}).CreateAccountStatus.AccountId
	scp := do[api.CreatePolicyOutput](p, p.management, &api.CreatePolicyInput{
		Type: api.PolicyTypeServiceControlPolicy, Name: "p", Tags: tags, Content: `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}`,
	}).Policy.PolicySummary.Id
	invited := p.account("invited")
	h := do[api.InviteAccountToOrganizationOutput](p, p.management, &api.InviteAccountToOrganizationInput{Target: &api.HandshakeParty{Id: invited, Type: api.HandshakePartyTypeAccount}}).Handshake.Id

	special := map[string]any{
		"CreateAccount": &api.CreateAccountInput{Tags: tags}, "CreateOrganizationalUnit": &api.CreateOrganizationalUnitInput{ParentId: unit, Tags: tags},
		"CreatePolicy":                &api.CreatePolicyInput{Type: api.PolicyTypeResourceControlPolicy, Tags: tags},
		"InviteAccountToOrganization": &api.InviteAccountToOrganizationInput{Target: &api.HandshakeParty{Id: account}, Tags: tags},
		"PutResourcePolicy":           &api.PutResourcePolicyInput{Tags: tags},
		"UntagResource":               &api.UntagResourceInput{ResourceId: scp, TagKeys: []string{"a"}},
		"TagResource":                 &api.TagResourceInput{ResourceId: account, Tags: tags},
	}
	values := map[string]string{
		"PolicyId": scp, "TargetId": account, "AccountId": account, "ParentId": unit, "RootId": root, "OrganizationalUnitId": unit, "ChildId": unit,
		"SourceParentId": root, "DestinationParentId": unit, "ResourceId": unit, "HandshakeId": h, "ServicePrincipal": "iam.amazonaws.com",
		"PolicyType": "SERVICE_CONTROL_POLICY", "Filter": "SERVICE_CONTROL_POLICY",
	}
	aws := referenceOf(t, "../../testdata/vectors/service-authorization")
	check := func(t *testing.T, name string, asks []operation.Ask) {
		for _, a := range asks {
			service, action, _ := strings.Cut(a.Action, ":")
			known, ok := aws.Services[service].A[action]
			if !ok {
				t.Errorf("%s asks for %s, which AWS does not have", name, a.Action)
				continue
			}
			keys := slices.Clone(known.C)
			fits := a.Resource == "*" && len(known.R) == 0
			for kind := range known.R {
				r := aws.Services[service].R[kind]
				keys = append(keys, r.C...)
				fits = fits || matches(r.ARN, a.Resource)
				if kind == "policy" { // the reference names the installation's policies apart
					fits = fits || matches(aws.Services[service].R["awspolicy"].ARN, a.Resource)
				}
			}
			if !fits {
				t.Errorf("%s asks for %s on %s", name, a.Action, a.Resource)
			}
			for key := range a.Context.All() {
				base, _, tagged := strings.Cut(key, "/")
				if tagged {
					key = base + "/${TagKey}"
				}
				if !slices.Contains(keys, key) {
					t.Errorf("%s asks for %s with %s, which AWS does not know there", name, a.Action, key)
				}
			}
		}
	}
	for name, op := range p.table {
		in, ok := special[name]
		if !ok {
			in = op.NewInput()
			v := reflect.ValueOf(in).Elem()
			for i := range v.NumField() {
				if s, ok := values[v.Type().Field(i).Name]; ok && v.Field(i).Kind() == reflect.String {
					v.Field(i).SetString(s)
				}
			}
		}
		account := p.management
		if name == "AcceptHandshake" || name == "DeclineHandshake" {
			account = invited
		}
		asks, err := op.Target(operation.WithCall(t.Context(), p.call(account)), in)
		if err != nil || len(asks) == 0 {
			t.Errorf("%s: %v, %v", name, asks, err)
		}
		if asks[0].Action != "organizations:"+name {
			t.Errorf("%s asks for %s", name, asks[0].Action)
		}
		check(t, name, asks)
	}
}

// matches fits an ARN into AWS's pattern of one.
func matches(pattern, arn string) bool {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(pattern, "${")
		b.WriteString(regexp.QuoteMeta(before))
		if !ok {
			break
		}
		_, pattern, _ = strings.Cut(rest, "}")
		b.WriteString("[^:/]+")
	}
	// What is about to be made has a star where its id will be.
	return regexp.MustCompile("^("+b.String()+")$").MatchString(strings.NewReplacer("/*", "/p-x").Replace(arn)) ||
		regexp.MustCompile("^("+b.String()+")$").MatchString(strings.NewReplacer("/*", "/ou-x").Replace(arn)) ||
		regexp.MustCompile("^("+b.String()+")$").MatchString(strings.NewReplacer("/*", "/rp-x").Replace(arn))
}

// referenceOf reads the vectors, and those of the same layout that the
// environment adds.
func referenceOf(t *testing.T, dir string) reference {
	t.Helper()
	var all reference
	read := func(dir string) {
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(b, &all); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
		}
	}
	read(dir)
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		dir := filepath.Join(extra, "service-authorization")
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			read(dir)
		}
	}
	if len(all.Services["organizations"].A) == 0 {
		t.Fatal("the vectors do not have Organizations")
	}
	return all
}
