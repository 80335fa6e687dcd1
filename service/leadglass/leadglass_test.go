package leadglass_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	api "github.com/leadglass/leadglass/api/leadglass"
	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/service/leadglass"
	"github.com/leadglass/leadglass/state/kv/memory"
)

// noSecrets refuses: nothing here makes a credential.
type noSecrets struct{}

func (noSecrets) NewSecret(context.Context, string, string) ([]byte, *secret.Bytes, error) {
	return nil, nil, errors.New("no secrets here")
}

func (noSecrets) Revoke(context.Context, authority.Revocation) (uint64, error) { return 0, nil }

func newService(t *testing.T) (*leadglass.Service, *directory.Directory) {
	t.Helper()
	d, err := directory.Open(t.Context(), memory.Open(), directory.Config{Clock: clock.System, Authority: noSecrets{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(context.Background()) })
	return leadglass.New(leadglass.Config{Directory: d, Clock: clock.System, Operator: "999999999999"}), d
}

// I-13: the operator's operations are these and no others, and only the
// redemption of a code goes unsigned.
func TestTheTableSaysWhoReachesWhat(t *testing.T) {
	s, _ := newService(t)
	var operators, unsigned, free []string
	for _, o := range s.Operations() {
		if o.Operator {
			operators = append(operators, o.Info.Name)
		}
		if o.Unsigned {
			unsigned = append(unsigned, o.Info.Name)
		} else if o.Free {
			free = append(free, o.Info.Name)
		}
	}
	if want := []string{"CreateAccount", "ListAccounts", "GetHealth",
		"SubmitDomainCommand", "GetDomain", "GetMemberRecord", "ListDomainCommandLog"}; !slices.Equal(operators, want) {
		t.Errorf("operator operations %v, want %v", operators, want)
	}
	if want := []string{"RedeemEnrolment"}; !slices.Equal(unsigned, want) || free != nil {
		t.Errorf("unsigned %v, want %v; free %v, want none", unsigned, want, free)
	}
}

func TestAccountsAreListedPageByPage(t *testing.T) {
	s, d := newService(t)
	want := []string{}
	for _, name := range []string{"A", "B", "C", "D", "E"} {
		a, err := d.CreateAccount(t.Context(), name, false)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, a.ID)
	}
	slices.Sort(want)
	var list operation.Operation
	for _, o := range s.Operations() {
		if o.Info == api.ListAccounts.OpInfo {
			list = o
		}
	}
	var got []string
	for token, pages := "", 0; ; pages++ {
		out, err := list.Serve(t.Context(), &api.ListAccountsInput{MaxResults: new(int32(2)), NextToken: token})
		if err != nil {
			t.Fatal(err)
		}
		page := out.(*api.ListAccountsOutput)
		if len(page.Accounts) > 2 || pages > 3 {
			t.Fatalf("page %d has %d accounts", pages, len(page.Accounts))
		}
		for _, a := range page.Accounts {
			got = append(got, a.AccountId)
		}
		if token = page.NextToken; token == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for _, token := range []string{"!", "bm8gYWNjb3VudA"} {
		_, err := list.Serve(t.Context(), &api.ListAccountsInput{NextToken: token})
		if _, ok := errors.AsType[*api.InvalidNextTokenException](err); !ok {
			t.Errorf("token %q: %v", token, err)
		}
	}
}
