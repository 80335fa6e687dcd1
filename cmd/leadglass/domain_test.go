package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
)

// A desk is a folder of custodians' files and the program that they run.
type desk struct {
	t   *testing.T
	dir string
	env []string
}

func newDesk(t *testing.T) *desk {
	return &desk{t, t.TempDir(), append(os.Environ(), runMain+"=1")}
}

// try runs `leadglass hsm` with these arguments.
func (d *desk) try(args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"hsm"}, args...)...)
	cmd.Dir, cmd.Env = d.dir, d.env
	out, err := cmd.CombinedOutput()
	if err != nil && os.Getenv("LEADGLASS_CI") == "" && slices.Contains(args, "--state") && !slices.Contains(args, "--insecure-no-lockdown") &&
		bytes.Contains(out, []byte("--insecure-no-lockdown")) {
		return d.try(append(args, "--insecure-no-lockdown")...) // a machine that cannot lock an HSM down, as in start
	}
	return string(out), err
}

func (d *desk) run(args ...string) string {
	d.t.Helper()
	out, err := d.try(args...)
	if err != nil {
		d.t.Fatalf("hsm %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (d *desk) write(name string, b []byte) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), b, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// found makes three custodians with keys in files, who found the domain of a
// plane.
func (d *desk) found(data string) {
	d.t.Helper()
	d.run("custodian", "new", "--label", "Ana", "--organisation", "Hospital", "--out", "ana.key", "--record", "ana.pem")
	d.run("custodian", "new", "--label", "Ben", "--organisation", "Platform", "--out", "ben.key", "--record", "ben.pem")
	d.run("custodian", "new", "--label", "Cy", "--organisation", "Platform", "--out", "cy.key", "--record", "cy.pem")
	d.run("create-domain", "--data", data, "--name", "Ward", "--custodian", "ana.pem", "--custodian", "ben.pem", "--custodian", "cy.pem", "--reason", "test", "--out", "create.pem")
	for _, key := range []string{"ana.key", "ben.key", "cy.key"} {
		d.run("sign", "create.pem", "--key", key)
	}
	d.run("submit", "create.pem", "--data", data)
}

// join lets the second HSM of a plane in.
func (d *desk) join(data string) {
	d.t.Helper()
	d.run("member", "--data", data, "--number", "2", "--out", "second.pem")
	d.run("command", "add-member", "--member", "second.pem", "--data", data, "--reason", "test", "--out", "add.pem")
	d.run("sign", "add.pem", "--key", "ana.key")
	d.run("sign", "add.pem", "--key", "ben.key")
	d.run("submit", "add.pem", "--data", data, "--out-token", "token.pem")
	d.run("command", "install", "--token", "token.pem", "--data", data, "--reason", "test", "--out", "install.pem")
	d.run("sign", "install.pem", "--key", "ana.key")
	d.run("sign", "install.pem", "--key", "ben.key")
	d.run("submit", "install.pem", "--data", data)
}

// hsmsOf are the HSMs that a plane started, by the order of their ids.
func hsmsOf(p *plane) []int {
	var out []int
	for _, pid := range children(p.pid()) {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.HasSuffix(line, []byte("\x00hsm\x00")) {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// One HSM of two is killed under load: no call fails. When the other is killed
// too, the plane ends rather than go on without.
func TestALostHSMStopsNothingWhileAnotherServes(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := newPlane(t, data, "--hsm-members", "2")
	d := newDesk(t)
	d.found(data)
	d.join(data)
	c := p.client(t, "customer")
	var key struct{ KeyMetadata struct{ Arn string } }
	if _, err := c.json(t.Context(), "kms", "CreateKey", struct{}{}, &key); err != nil {
		t.Fatal(err)
	}
	encrypt := func() error {
		_, err := c.json(t.Context(), "kms", "Encrypt", map[string]any{"KeyId": key.KeyMetadata.Arn, "Plaintext": []byte("x")}, nil)
		return err
	}
	hsms := hsmsOf(p)
	if len(hsms) != 2 {
		t.Fatalf("HSMs %v: not two", hsms)
	}
	for i := range 100 {
		if i == 20 {
			if err := syscall.Kill(hsms[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if err := encrypt(); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	out, err := d.try("domain", "--data", data)
	if err != nil || !strings.Contains(out, "DOES NOT RUN") {
		t.Errorf("the loss is not told: %v: %s", err, out)
	}
	if err := syscall.Kill(hsms[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		t.Error("the plane goes on without an HSM")
	}
}

// Custodians whose keys are in an ssh-agent and in an authenticator found a
// domain with one whose key is in a file.
func TestCustodiansSignWithAnSSHAgentAndAnAuthenticator(t *testing.T) {
	p := newPlane(t, filepath.Join(t.TempDir(), "data"))
	d := newDesk(t)
	socket := filepath.Join(d.dir, "agent")
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: &private, Comment: "ana@home"}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(keyring, conn)
		}
	}()
	d.env = append(d.env, "SSH_AUTH_SOCK="+socket)

	fob, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&fob.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	d.write("credential.json", fmt.Appendf(nil, `{"rawId":"%s","response":{"publicKey":"%s"}}`, b64.EncodeToString([]byte("fob")), b64.EncodeToString(spki)))

	d.run("custodian", "new", "--label", "Ana", "--organisation", "Hospital", "--ssh-agent", "--share-key", "ana.share", "--record", "ana.pem")
	d.run("custodian", "new", "--label", "Ben", "--organisation", "Platform", "--webauthn-credential", "credential.json", "--webauthn-rp-id", "custody.example", "--record", "ben.pem")
	d.run("custodian", "new", "--label", "Cy", "--organisation", "Platform", "--out", "cy.key", "--record", "cy.pem")
	if out := d.run("custodian", "show", "ana.pem", "ben.pem"); !strings.Contains(out, "WebAuthn P-256; cannot hold a share") || !strings.Contains(out, "Ed25519; can hold a share") {
		t.Error(out)
	}
	d.run("create-domain", "--data", p.data, "--name", "Ward", "--custodian", "ana.pem", "--custodian", "ben.pem", "--custodian", "cy.pem", "--shares", "2", "--reason", "test", "--out", "create.pem")
	d.run("sign", "create.pem", "--ssh-agent")
	d.run("sign", "create.pem", "--key", "cy.key")
	if out, err := d.try("sign", "create.pem", "--ssh-agent", "--ssh-key", "nobody"); err == nil || !strings.Contains(out, "ana@home") {
		t.Errorf("a key that the agent lacks: %v: %s", err, out)
	}

	fobFlags := []string{"--webauthn-credential", "credential.json", "--webauthn-rp-id", "custody.example"}
	var asked struct{ Challenge, RPID string }
	if err := json.Unmarshal([]byte(d.run(append([]string{"sign", "create.pem", "--webauthn-challenge"}, fobFlags...)...)), &asked); err != nil {
		t.Fatal(err)
	}
	answer := func(challenge string) []byte {
		client := fmt.Appendf(nil, `{"type":"webauthn.get","challenge":"%s","origin":"https://custody.example"}`, challenge)
		rp, hash := sha256.Sum256([]byte(asked.RPID)), sha256.Sum256(client)
		data := append(rp[:], 5, 0, 0, 0, 1)
		sum := sha256.Sum256(append(bytes.Clone(data), hash[:]...))
		sig, err := ecdsa.SignASN1(rand.Reader, fob, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Appendf(nil, `{"response":{"authenticatorData":"%s","clientDataJSON":"%s","signature":"%s"}}`,
			b64.EncodeToString(data), b64.EncodeToString(client), b64.EncodeToString(sig))
	}
	d.write("other.json", answer(b64.EncodeToString(make([]byte, 48))))
	if out, err := d.try(append([]string{"sign", "create.pem", "--webauthn-response", "other.json"}, fobFlags...)...); err == nil || !strings.Contains(out, "wrong signature") {
		t.Errorf("an answer to another challenge: %v: %s", err, out)
	}
	d.write("answer.json", answer(asked.Challenge))
	if out := d.run(append([]string{"sign", "create.pem", "--webauthn-response", "answer.json"}, fobFlags...)...); !strings.Contains(out, "met: all founders have signed") {
		t.Error(out)
	}
	d.run("submit", "create.pem", "--data", p.data)
	if out := d.run("domain", "--data", p.data); !strings.Contains(out, "custodian Ben (operator of Platform), WebAuthn P-256") {
		t.Error(out)
	}
}

// An HSM that is to wait for its domain has none until founders gave it one,
// and the plane says what to do.
func TestAPlaneWaitsForItsFounders(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	d := newDesk(t)
	p, err := start(data, "--hsm-await-domain")
	if err == nil {
		_ = p.stop()
		t.Fatal("it serves without a domain")
	}
	if !strings.Contains(err.Error(), "no HSM has a domain") || !strings.Contains(err.Error(), "leadglass hsm create-domain") {
		t.Errorf("%v", err)
	}
	d.run("member", "--state", filepath.Join(data, "hsm"), "--out", "hsm.pem")
	for _, who := range []string{"Ana/Hospital", "Ben/Platform", "Cy/Platform"} {
		name, organisation, _ := strings.Cut(who, "/")
		d.run("custodian", "new", "--label", name, "--organisation", organisation, "--out", name+".key", "--record", name+".pem")
	}
	d.run("create-domain", "--member", "hsm.pem", "--name", "Ward", "--custodian", "Ana.pem", "--custodian", "Ben.pem", "--custodian", "Cy.pem", "--reason", "test", "--out", "create.pem")
	d.run("sign", "create.pem", "--key", "Ana.key")
	d.run("sign", "create.pem", "--key", "Ben.key")
	command := filepath.Join(d.dir, "create.pem")
	if p, err := start(data, "--hsm-await-domain", "--hsm-command", command); err == nil {
		_ = p.stop()
		t.Fatal("two of three found a domain")
	}
	d.run("sign", "create.pem", "--key", "Cy.key")
	p, err = start(data, "--hsm-await-domain", "--hsm-command", command)
	if err != nil {
		t.Fatal(err)
	}
	if out := d.run("domain", "--data", data); !strings.Contains(out, "(Ward), state 1") {
		t.Error(out)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	// The same line starts it again, and the paper is no longer needed.
	if p, err = start(data, "--hsm-await-domain", "--hsm-command", command); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
}

// What an HSM's log says lands in the operator's audit log; a log with another
// past is noticed.
func TestTheHeadOfTheHSMsLogIsInTheOperatorsLog(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := newPlane(t, data)
	operator := p.client(t, "operator")
	heads := func() []string {
		var out struct {
			Events []struct{ CloudTrailEvent string }
		}
		if _, err := operator.json(t.Context(), "cloudtrail", "LookupEvents", map[string]any{
			"LookupAttributes": []map[string]string{{"AttributeKey": "EventName", "AttributeValue": "HSMLogHead"}},
		}, &out); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, e := range out.Events {
			texts = append(texts, e.CloudTrailEvent)
		}
		return texts
	}
	wait := func(what string, ok func([]string) bool) {
		t.Helper()
		for range 100 {
			if ok(heads()) {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("%s: %q", what, heads())
	}
	wait("a head after the start", func(h []string) bool { return len(h) == 1 && strings.Contains(h[0], `"memberId"`) })
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	// The HSM's log is put back to before it began.
	logs, err := filepath.Glob(filepath.Join(data, "hsm", "commands.*"))
	if err != nil || len(logs) == 0 {
		t.Fatal("no command log in the HSM's folder", err)
	}
	for _, path := range logs {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	p = newPlane(t, data)
	operator = p.client(t, "operator")
	wait("the fork is on record", func(h []string) bool {
		for _, e := range h {
			if strings.Contains(e, `"problem"`) {
				return true
			}
		}
		return false
	})
	var health struct{ Warnings []string }
	if _, err := operator.json(t.Context(), "leadglass", "GetHealth", struct{}{}, &health); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(health.Warnings, "\n"), "the command log of hsm is not what it was") {
		t.Errorf("health does not tell: %q", health.Warnings)
	}
}

// An HSM that comes back with an older state does not serve until its
// custodians brought it up to date, and one that was told to destroy itself
// never does; the plane serves without.
func TestAnHSMThatIsBehindOrDestroyedDoesNotServe(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := newPlane(t, data, "--hsm-members", "2")
	d := newDesk(t)
	d.found(data)
	d.join(data)
	stop := func() {
		t.Helper()
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
	}
	signed := func(name string, args ...string) {
		t.Helper()
		d.run(append([]string{"command"}, append(args, "--data", data, "--reason", "test", "--out", name)...)...)
		d.run("sign", name, "--key", "ana.key")
		d.run("sign", name, "--key", "ben.key")
	}
	stop()
	if out, err := exec.Command("cp", "-a", filepath.Join(data, "hsm-2"), filepath.Join(d.dir, "old")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p = newPlane(t, data)
	signed("rotate.pem", "rotate")
	d.run("submit", "rotate.pem", "--data", data, "--out-token", "rotated.pem")
	signed("installed.pem", "install", "--token", "rotated.pem")
	d.run("submit", "installed.pem", "--data", data)
	if out := d.run("domain", "--data", data); strings.Count(out, "serves, state 3") != 2 {
		t.Fatal(out)
	}
	stop()
	// The second one's medium is put back to where it was before.
	if err := os.RemoveAll(filepath.Join(data, "hsm-2")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(d.dir, "old"), filepath.Join(data, "hsm-2")); err != nil {
		t.Fatal(err)
	}
	p = newPlane(t, data)
	if out := d.run("domain", "--data", data); !strings.Contains(out, "waits for its custodians, state 2") || strings.Count(out, "serves, state 3") != 1 {
		t.Fatalf("an HSM with an older state: %s", out)
	}
	d.run("submit", "installed.pem", "--data", data) // the same paper: it is for whoever is behind
	if out := d.run("domain", "--data", data); strings.Count(out, "serves, state 3") != 2 {
		t.Fatalf("after it was brought up to date: %s", out)
	}

	state, err := (&reach{data: data, profile: "operator"}).readDomain(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	second := ""
	for _, m := range state.Members {
		if m.Label == "software 2" {
			second = m.ID.String()
		}
	}
	signed("destroy.pem", "self-destruct", "--member", second)
	d.run("submit", "destroy.pem", "--data", data)
	if out := d.run("domain", "--data", data); strings.Count(out, "serves, state 3") != 1 {
		t.Errorf("after it was destroyed: %s", out)
	}
	stop()
	p = newPlane(t, data)
	var health struct {
		Status   string
		Warnings []string
	}
	if _, err := p.client(t, "operator").json(t.Context(), "leadglass", "GetHealth", struct{}{}, &health); err != nil {
		t.Fatal(err)
	}
	if health.Status != "ok" || !strings.Contains(strings.Join(health.Warnings, "\n"), "HSM 2 does not start") {
		t.Errorf("%+v", health)
	}
}
