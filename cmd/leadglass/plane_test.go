package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// I-3: after secrets were made, shown and used, the front holds none of them.
func TestTheFrontProcessHoldsNoSecretInItsMemory(t *testing.T) {
	p := newPlane(t, filepath.Join(t.TempDir(), "data"))
	admin := p.client(t, "customer")
	var key struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	if _, err := admin.query(t.Context(), "iam", "2010-05-08", "CreateAccessKey", url.Values{"UserName": {"administrator"}}, &key); err != nil {
		t.Fatal(err)
	}
	second := *admin
	second.AccessKeyID, second.SecretAccessKey = key.ID, key.Secret
	var session struct {
		ID     string `xml:"GetSessionTokenResult>Credentials>AccessKeyId"`
		Secret string `xml:"GetSessionTokenResult>Credentials>SecretAccessKey"`
		Token  string `xml:"GetSessionTokenResult>Credentials>SessionToken"`
	}
	if _, err := second.query(t.Context(), "sts", "2011-06-15", "GetSessionToken", nil, &session); err != nil {
		t.Fatal(err)
	}
	third := *admin
	third.AccessKeyID, third.SecretAccessKey, third.Session = session.ID, session.Secret, session.Token
	var created struct{ KeyMetadata struct{ Arn string } }
	if _, err := admin.json(t.Context(), "kms", "CreateKey", struct{}{}, &created); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{admin, &second, &third} {
		for range 20 {
			if _, err := c.json(t.Context(), "kms", "Encrypt", map[string]any{"KeyId": created.KeyMetadata.Arn, "Plaintext": []byte("x")}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	var device struct {
		Seed []byte `xml:"CreateVirtualMFADeviceResult>VirtualMFADevice>Base32StringSeed"`
		QR   []byte `xml:"CreateVirtualMFADeviceResult>VirtualMFADevice>QRCodePNG"`
	}
	if _, err := admin.query(t.Context(), "iam", "2010-05-08", "CreateVirtualMFADevice", url.Values{"VirtualMFADeviceName": {"pager"}}, &device); err != nil {
		t.Fatal(err)
	}
	seed, seedErr := base64.StdEncoding.DecodeString(string(device.Seed)) // blobs are base64 in the answer
	qr, qrErr := base64.StdEncoding.DecodeString(string(device.QR))
	if seedErr != nil || qrErr != nil || len(qr) < 800 {
		t.Fatal(seedErr, qrErr, len(qr))
	}
	secrets := [][]byte{[]byte(admin.SecretAccessKey), []byte(key.Secret), []byte(session.Secret), seed, qr[600:680],
		// As they stood in the answer:
		device.Seed, device.QR[1000:1080]}
	scanned, hits, err := searchProcess(p.pid(), secrets...)
	if err != nil {
		t.Fatal(err)
	}
	if scanned < 4<<20 {
		t.Fatalf("only %d bytes could be read: the test proves nothing", scanned)
	}
	if hits != 0 {
		t.Errorf("found a secret %d times in the front's memory", hits)
	}
	// The search itself works: what the front must hold is found.
	if _, hits, err := searchProcess(p.pid(), []byte(admin.AccessKeyID)); err != nil || hits == 0 {
		t.Errorf("the access key id was found %d times, %v", hits, err)
	}
}

// kill -9 in a loop under load: no acknowledged write is lost, no answered
// call is without its record, and a restart needs no repair.
func TestKillingThePlaneLosesNothingThatWasAnswered(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	users, requests := map[string]bool{}, map[string]bool{}
	var n atomic.Int64
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		p, err := start(data)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 8 {
			c := p.client(t, "customer")
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					name := fmt.Sprintf("u%d", n.Add(1))
					id, err := c.query(t.Context(), "iam", "2010-05-08", "CreateUser", url.Values{"UserName": {name}}, nil)
					if err != nil {
						continue
					}
					mu.Lock()
					users[name], requests[id] = true, true
					mu.Unlock()
				}
			})
		}
		time.Sleep(700 * time.Millisecond)
		syscall.Kill(p.pid(), syscall.SIGKILL)
		<-p.exited
		close(stop)
		wg.Wait()
	}
	if len(users) < 20*rounds {
		t.Fatalf("only %d users were made: the test proves little", len(users))
	}
	p := newPlane(t, data)
	c := p.client(t, "customer")
	found := map[string]bool{}
	for marker := ""; ; {
		var page struct {
			Names     []string `xml:"ListUsersResult>Users>member>UserName"`
			Truncated bool     `xml:"ListUsersResult>IsTruncated"`
			Marker    string   `xml:"ListUsersResult>Marker"`
		}
		in := url.Values{"MaxItems": {"1000"}}
		if marker != "" {
			in.Set("Marker", marker)
		}
		if _, err := c.query(t.Context(), "iam", "2010-05-08", "ListUsers", in, &page); err != nil {
			t.Fatal(err)
		}
		for _, name := range page.Names {
			found[name] = true
		}
		if marker = page.Marker; !page.Truncated {
			break
		}
	}
	for name := range users {
		if !found[name] {
			t.Errorf("acknowledged user %s is lost", name)
		}
	}
	dir := filepath.Join(t.TempDir(), "export")
	if err := exportLog(t.Context(), c, dir); err != nil {
		t.Fatal(err)
	}
	logged := map[string]bool{}
	report, err := verifyLog(dir, verifyOptions{each: func(event []byte) error {
		var r struct {
			RequestID string `json:"requestID"`
		}
		err := json.Unmarshal(event, &r)
		logged[r.RequestID] = true
		return err
	}})
	if err != nil || !report.OK {
		t.Fatalf("the log does not verify: %v %v", err, report.Problems)
	}
	for id := range requests {
		if !logged[id] {
			t.Errorf("answered request %s has no record", id)
		}
	}
	t.Logf("%d users and %d records survived %d kills", len(users), len(requests), rounds)
}

// A service manager starts again what failed; whatever stood in the way of a
// first start, the one after it is gone must end with working credentials.
func TestAFirstStartThatFailsAgainAndAgainIsMadeUp(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(data, "client"), 0o755); err != nil {
		t.Fatal(err)
	}
	credentials, _ := clientFiles(data)
	// Each time a key is made, and then the disk is full.
	if err := os.Symlink("/dev/full", credentials+".new"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if p, err := start(data); err == nil {
			p.stop()
			t.Fatal("the plane starts without its client files")
		}
	}
	if err := os.Remove(credentials + ".new"); err != nil {
		t.Fatal(err)
	}
	p := newPlane(t, data)
	for _, name := range []string{"operator", "customer"} {
		if _, err := p.client(t, name).query(t.Context(), "sts", "2011-06-15", "GetCallerIdentity", nil, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for path, want := range map[string]os.FileMode{credentials: 0o600, filepath.Dir(credentials): 0o700 | os.ModeDir} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestTheTourHolds(t *testing.T) {
	tour := &tour{dir: t.TempDir(), narrate: func(c claim) {
		if !c.Holds {
			t.Errorf("does not hold: %+v", c)
		}
	}}
	if err := tour.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(tour.claims) < 31 {
		t.Errorf("only %d claims were tried", len(tour.claims))
	}
	for _, about := range []string{"guardrail", "OIDC issuer", "explains itself", "session that is ended", "Three custodians", "second HSM", "key store off", "sealed to a program", "forged front", "in the safe"} {
		if !slices.ContainsFunc(tour.claims, func(c claim) bool { return strings.Contains(c.Claim, about) }) {
			t.Errorf("no claim about: %s", about)
		}
	}
}

func TestHealthSaysWhetherThePlaneServes(t *testing.T) {
	p := sharedPlane(t)
	resp, err := http.Get(p.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("healthz answered %d", resp.StatusCode)
	}
}

// A boundary that dies takes the plane with it: nothing goes on half protected.
func TestAPlaneWithoutItsHSMStops(t *testing.T) {
	p := newPlane(t, filepath.Join(t.TempDir(), "data"))
	child := childOf(t, p.pid(), "hsm")
	syscall.Kill(child, syscall.SIGKILL)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		t.Error("the plane goes on without its HSM")
	}
}

// A stop answers what is under way: nobody who was heard goes without answer.
func TestAStoppedPlaneAnswersWhatIsUnderWay(t *testing.T) {
	p := newPlane(t, filepath.Join(t.TempDir(), "data"))
	var answered atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		c := p.client(t, "customer")
		wg.Go(func() {
			for {
				_, err := c.query(t.Context(), "sts", "2011-06-15", "GetCallerIdentity", nil, nil)
				if err == nil {
					answered.Add(1)
					continue
				}
				// Only a plane that is gone, or a connection that it closed between two requests, is no answer.
				if s := err.Error(); !strings.Contains(s, "refused") && !strings.Contains(s, "EOF") && !strings.Contains(s, "reset") {
					t.Errorf("answered %v", err)
				}
				return
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	if err := p.stop(); err != nil {
		t.Errorf("the plane did not end well: %v: %s", err, p.log)
	}
	wg.Wait()
	if answered.Load() == 0 {
		t.Error("nothing was answered: the test proves nothing")
	}
}

// childOf finds a child process by a word of its command line.
func childOf(t *testing.T, parent int, word string) int {
	t.Helper()
	for _, pid := range children(parent) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(cmdline), word) {
			return pid
		}
	}
	t.Fatalf("process %d has no child %q", parent, word)
	return 0
}
