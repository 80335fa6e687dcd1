package main

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/daemon"
)

func TestAQuotaIsRaisedByTheNameThatItsRefusalTells(t *testing.T) {
	p := newPlane(t, filepath.Join(t.TempDir(), "data"), "--quota", "UsersPerAccount=3,GroupsPerAccount=1", "--quota=RolesPerAccount=20000,AccountsPerOrganization=1")
	admin := p.client(t, "customer")
	call := func(op string, in url.Values, out any) error {
		_, err := admin.query(t.Context(), "iam", "2010-05-08", op, in, out)
		return err
	}
	for _, name := range []string{"a", "b"} { // beside the administrator
		if err := call("CreateUser", url.Values{"UserName": {name}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := call("CreateUser", url.Values{"UserName": {"c"}}, nil); err == nil || !strings.Contains(err.Error(), "Cannot exceed quota for UsersPerAccount: 3") {
		t.Errorf("a user too many: %v", err)
	}
	if err := call("CreateGroup", url.Values{"GroupName": {"g"}}, nil); err != nil {
		t.Error(err)
	}
	if err := call("CreateGroup", url.Values{"GroupName": {"h"}}, nil); err == nil || !strings.Contains(err.Error(), "GroupsPerAccount: 1") {
		t.Errorf("a group too many: %v", err)
	}
	var summary struct {
		Entries []struct {
			Key   string `xml:"key"`
			Value int    `xml:"value"`
		} `xml:"GetAccountSummaryResult>SummaryMap>entry"`
	}
	if err := call("GetAccountSummary", nil, &summary); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, e := range summary.Entries {
		got[e.Key] = e.Value
	}
	if got["UsersQuota"] != 3 || got["RolesQuota"] != 20000 || got["PoliciesQuota"] != 1500 {
		t.Errorf("the summary tells %v", got)
	}
	if _, err := admin.json(t.Context(), "organizations", "CreateOrganization", struct{}{}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := admin.json(t.Context(), "organizations", "CreateAccount", map[string]string{"AccountName": "second", "Email": "s@example.com"}, nil)
	if err == nil || !strings.Contains(err.Error(), "exceed") {
		t.Errorf("an account too many: %v", err)
	}
}

func TestAQuotaThatMeansNothingIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"Users=3":              "no quota \"Users\": there are ACLSizePerRole, ",
		"UsersPerAccount":      "use a number from 1",
		"UsersPerAccount=0":    "use a number from 1",
		"UsersPerAccount=many": "use a number from 1",
		"UsersPerAccount=3,":   "no quota \"\"",
	} {
		var cfg daemon.Config
		if err := quotasOf(&cfg).Set(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := start(filepath.Join(t.TempDir(), "data"), "--quota", "PoliciesPerPrincipal=21"); err == nil || !strings.Contains(err.Error(), "at most 20 attached") {
		t.Errorf("more policies than the engine takes: %v", err)
	}
}
