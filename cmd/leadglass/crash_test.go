package main

import (
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// kill -9 in a loop under writes of every kind of record that IAM and
// Organizations keep: each is whole or absent, what was answered is there, and
// fsck finds nothing, without any repair.
func TestKillingThePlaneLeavesIdentitiesAndOrganizationsWhole(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	var mu sync.Mutex
	users, devices, joined, units, accounts := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	note := func(set map[string]bool, name string) {
		mu.Lock()
		defer mu.Unlock()
		set[name] = true
	}
	var n atomic.Int64
	var root, boundary string
	flags := []string{"--quota", "UsersPerAccount=100000,GroupsPerAccount=100000,InstanceProfilesPerAccount=100000,RolesPerAccount=100000,AccountsPerOrganization=100000,UnitsPerOrganization=100000"}
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	for round := range rounds {
		p, err := start(data, flags...)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		first := p.client(t, "customer")
		if round == 0 {
			var roots struct{ Roots []struct{ ID string } }
			var made struct {
				ARN string `xml:"CreatePolicyResult>Policy>Arn"`
			}
			if _, err := first.json(t.Context(), "organizations", "CreateOrganization", struct{}{}, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := first.json(t.Context(), "organizations", "ListRoots", struct{}{}, &roots); err != nil {
				t.Fatal(err)
			}
			if _, err := first.query(t.Context(), "iam", "2010-05-08", "CreatePolicy", url.Values{"PolicyName": {"edge"}, "PolicyDocument": {`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}`}}, &made); err != nil {
				t.Fatal(err)
			}
			root, boundary = roots.Roots[0].ID, made.ARN
		}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		loop := func(work func(c *client, name string)) {
			c := p.client(t, "customer")
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						work(c, fmt.Sprintf("x%d", n.Add(1)))
					}
				}
			})
		}
		iam := func(c *client, op string, out any, pairs ...string) bool {
			in := url.Values{}
			for i := 0; i < len(pairs); i += 2 {
				in.Set(pairs[i], pairs[i+1])
			}
			_, err := c.query(t.Context(), "iam", "2010-05-08", op, in, out)
			return err == nil
		}
		for range 4 {
			loop(func(c *client, name string) {
				if iam(c, "CreateUser", nil, "UserName", name, "PermissionsBoundary", boundary) {
					note(users, name)
				}
				if iam(c, "CreateGroup", nil, "GroupName", name) && iam(c, "AddUserToGroup", nil, "GroupName", name, "UserName", name) {
					note(joined, name)
				}
				iam(c, "AttachGroupPolicy", nil, "GroupName", name, "PolicyArn", boundary)
				var device struct {
					Serial string `xml:"CreateVirtualMFADeviceResult>VirtualMFADevice>SerialNumber"`
					Seed   []byte `xml:"CreateVirtualMFADeviceResult>VirtualMFADevice>Base32StringSeed"`
				}
				if iam(c, "CreateVirtualMFADevice", &device, "VirtualMFADeviceName", name) {
					note(devices, device.Serial)
				}
			})
		}
		loop(func(c *client, name string) {
			iam(c, "CreateUser", nil, "UserName", name)
			iam(c, "CreateLoginProfile", nil, "UserName", name, "Password", "Xy1!"+name+"longer") // slow, as hashing a password must be
			iam(c, "CreateRole", nil, "RoleName", name, "AssumeRolePolicyDocument", trust)
			iam(c, "CreateInstanceProfile", nil, "InstanceProfileName", name)
			iam(c, "AddRoleToInstanceProfile", nil, "InstanceProfileName", name, "RoleName", name)
			iam(c, "CreateOpenIDConnectProvider", nil, "Url", "https://"+name+".example.com")
			iam(c, "DeleteOpenIDConnectProvider", nil, "OpenIDConnectProviderArn", name)
			iam(c, "RemoveRoleFromInstanceProfile", nil, "InstanceProfileName", name, "RoleName", name)
			iam(c, "DeleteRole", nil, "RoleName", name)
		})
		loop(func(c *client, name string) {
			var unit struct{ OrganizationalUnit struct{ ID string } }
			if _, err := c.json(t.Context(), "organizations", "CreateOrganizationalUnit", map[string]string{"ParentId": root, "Name": name}, &unit); err == nil {
				note(units, unit.OrganizationalUnit.ID)
			}
			var made struct{ CreateAccountStatus struct{ AccountID string } }
			if _, err := c.json(t.Context(), "organizations", "CreateAccount", map[string]string{"AccountName": name, "Email": name + "@example.com"}, &made); err != nil || made.CreateAccountStatus.AccountID == "" {
				return
			}
			note(accounts, made.CreateAccountStatus.AccountID)
			c.json(t.Context(), "organizations", "MoveAccount", map[string]string{"AccountId": made.CreateAccountStatus.AccountID, "SourceParentId": root, "DestinationParentId": unit.OrganizationalUnit.ID}, nil)
		})
		time.Sleep(700 * time.Millisecond)
		syscall.Kill(p.pid(), syscall.SIGKILL)
		<-p.exited
		close(stop)
		wg.Wait()
	}
	if len(joined) < 5*rounds || len(accounts) < 3*rounds || len(devices) < 5*rounds {
		t.Fatalf("only %d groups, %d accounts and %d devices were made: the test proves little", len(joined), len(accounts), len(devices))
	}

	p := newPlane(t, data, flags...)
	c := p.client(t, "customer")
	for _, list := range []struct {
		op, key, item string
		want          map[string]bool
	}{
		{"ListUsers", "UserName", "Users", users}, {"ListGroups", "GroupName", "Groups", joined}, {"ListVirtualMFADevices", "SerialNumber", "VirtualMFADevices", devices},
	} {
		found := strings.Builder{}
		for marker := ""; ; {
			var page struct {
				Parts []struct { // the result, then the metadata
					Items     string `xml:",innerxml"`
					Truncated bool   `xml:"IsTruncated"`
					Marker    string
				} `xml:",any"`
			}
			in := url.Values{"MaxItems": {"1000"}}
			if marker != "" {
				in.Set("Marker", marker)
			}
			if _, err := c.query(t.Context(), "iam", "2010-05-08", list.op, in, &page); err != nil {
				t.Fatal(err)
			}
			found.WriteString(page.Parts[0].Items)
			if marker = page.Parts[0].Marker; !page.Parts[0].Truncated {
				break
			}
		}
		for name := range list.want {
			if !strings.Contains(found.String(), "<"+list.key+">"+name+"</"+list.key+">") {
				t.Errorf("%s: acknowledged %s is lost", list.op, name)
			}
		}
	}
	for name := range joined {
		var groups struct {
			Names []string `xml:"ListGroupsForUserResult>Groups>member>GroupName"`
		}
		if _, err := c.query(t.Context(), "iam", "2010-05-08", "ListGroupsForUser", url.Values{"UserName": {name}}, &groups); err != nil || len(groups.Names) != 1 {
			t.Errorf("%s is in %v, %v", name, groups.Names, err)
		}
	}
	for id := range accounts {
		var parents struct{ Parents []struct{ ID string } }
		if _, err := c.json(t.Context(), "organizations", "ListParents", map[string]string{"ChildId": id}, &parents); err != nil || len(parents.Parents) != 1 {
			t.Errorf("account %s: %v, %v", id, parents, err)
		}
	}
	for id := range units {
		if _, err := c.json(t.Context(), "organizations", "DescribeOrganizationalUnit", map[string]string{"OrganizationalUnitId": id}, nil); err != nil {
			t.Errorf("unit %s: %v", id, err)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	fsck(t, data)
	t.Logf("%d users, %d memberships, %d devices, %d units and %d accounts survived %d kills", len(users), len(joined), len(devices), len(units), len(accounts), rounds)
}

// fsck runs leadglass fsck over a stopped plane's folder, which must be well.
func fsck(t *testing.T, data string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"fsck", "--data", data, "--output", "json"}
	if os.Getenv("LEADGLASS_CI") == "" {
		args = append(args, "--insecure-no-lockdown") // only where it cannot be had
	}
	out, err := exec.Command(self, args...).CombinedOutput()
	if err != nil {
		t.Errorf("fsck: %v: %s", err, out)
	}
}

// I-3 for what is no access key: the seed that a device is given is not in the
// front's memory after its use, in any of its forms. (A password is: its owner
// sends it, and a request's bytes pass through the front like every other's.)
func TestTheFrontProcessHoldsNoSeedAfterItsUse(t *testing.T) {
	p := newPlane(t, filepath.Join(t.TempDir(), "data"))
	admin := p.client(t, "customer")
	iam := func(op string, in url.Values, out any) {
		t.Helper()
		if _, err := admin.query(t.Context(), "iam", "2010-05-08", op, in, out); err != nil {
			t.Fatal(op, err)
		}
	}
	iam("CreateUser", url.Values{"UserName": {"nurse"}}, nil)
	var device struct {
		Serial string `xml:"CreateVirtualMFADeviceResult>VirtualMFADevice>SerialNumber"`
		Seed   []byte `xml:"CreateVirtualMFADeviceResult>VirtualMFADevice>Base32StringSeed"`
	}
	iam("CreateVirtualMFADevice", url.Values{"VirtualMFADeviceName": {"pager"}}, &device)
	seed, err := base64.StdEncoding.DecodeString(string(device.Seed)) // Base32StringSeed is a blob: base32 in base64
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	iam("EnableMFADevice", url.Values{"UserName": {"nurse"}, "SerialNumber": {device.Serial},
		"AuthenticationCode1": {*codeAt(t, string(seed), now.Add(-30*time.Second))}, "AuthenticationCode2": {*codeAt(t, string(seed), now)}}, nil)
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(string(seed), "="))
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"seed as answered": device.Seed, "seed": seed, "seed as bytes": raw,
	} {
		scanned, hits, err := searchProcess(p.pid(), secret)
		if err != nil || scanned < 4<<20 {
			t.Fatalf("%d bytes could be read, %v", scanned, err)
		}
		if hits != 0 {
			t.Errorf("found the %s %d times in the front's memory", name, hits)
		}
	}
}
