package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// packSafe makes an HSM that lies in a safe, with all keys in it.
func (t *tour) packSafe(ctx context.Context) error {
	data := []string{"--data", t.plane.data}
	if _, err := t.hsm(ctx, "member", "--state", "safe", "--offline", "--label", "safe", "--out", "safe.pem"); err != nil {
		return err
	}
	if err := t.enact(ctx, "safe-joins", data, []string{"add-member", "--member", "safe.pem"}, "Ana", "Ben"); err != nil {
		return err
	}
	_, err := t.hsm(ctx, "submit", "safe-joins-install.pem", "--state", "safe")
	return err
}

// loseOneHSM kills the HSM that serves, in the middle of the work.
func (t *tour) loseOneHSM(ctx context.Context) error {
	if err := t.packSafe(ctx); err != nil {
		return err
	}
	hsms := t.plane.hsms()
	if len(hsms) != 2 {
		return fmt.Errorf("the plane has %d HSMs", len(hsms))
	}
	const calls, loss = 60, 20
	failed, slowest := 0, time.Duration(0)
	for i := range calls {
		if i == loss {
			if err := syscall.Kill(hsms[0], syscall.SIGKILL); err != nil {
				return err
			}
		}
		began := time.Now()
		if _, _, err := t.open(ctx, t.a); err != nil {
			failed++
		}
		slowest = max(slowest, time.Since(began))
	}
	domain, err := t.hsm(ctx, "domain", "--data", t.plane.data)
	if err != nil {
		return err
	}
	told := strings.Contains(domain, "DOES NOT RUN")
	t.add(claim{
		Promise:  "the loss of one machine loses nothing",
		Claim:    "An HSM is lost and the plane goes on with the other",
		By:       "an accident",
		Tried:    fmt.Sprintf("hospital A opens its records %d times; SIGKILL to the first HSM after %d", calls, loss),
		Happened: fmt.Sprintf("%d calls failed; the slowest took %.0f ms; leadglass hsm domain tells of the loss: %v", failed, slowest.Seconds()*1000, told),
		Evidence: "processes " + fmt.Sprint(hsms),
		Holds:    failed == 0 && told,
	})
	return nil
}

// loseAllHSMs destroys every HSM but the one in the safe, and rebuilds the
// plane from it and from custodians' signatures.
func (t *tour) loseAllHSMs(ctx context.Context) error {
	if err := t.plane.stop(); err != nil {
		return err
	}
	// What an attacker would do who has the machine, before the machine is gone.
	if err := t.forgeFront(ctx); err != nil {
		return err
	}
	for _, name := range []string{"hsm", "hsm-2", "hsm.lock", "hsm-2.lock"} {
		if err := os.RemoveAll(filepath.Join(t.plane.data, name)); err != nil {
			return err
		}
	}
	began := time.Now()
	safe := []string{"--state", "safe"}
	if _, err := t.hsm(ctx, "member", "--state", filepath.Join(t.plane.data, "hsm"), "--label", "new machine", "--out", "new.pem"); err != nil {
		return err
	}
	if _, err := t.hsm(ctx, slices.Concat([]string{"domain", "--out", "state3.pem"}, safe)...); err != nil {
		return err
	}
	if err := t.enact(ctx, "recovery", safe, []string{"add-member", "--member", "new.pem"}, "Ana", "Cy"); err != nil {
		return err
	}
	recovered, err := startPlane(ctx, t.plane.data, append(slices.Clone(t.flags), "--hsm-await-domain", "--hsm-command", filepath.Join(t.desk, "recovery-install.pem"))...)
	if err != nil {
		return fmt.Errorf("the recovered plane: %w", err)
	}
	t.plane = recovered
	took := time.Since(began)
	t.moved(recovered.url)
	opened, id, err := t.open(ctx, t.a)
	lines := []string{fmt.Sprintf("hospital A's records: %d bytes, the same: %v", len(opened), bytes.Equal(opened, records))}
	holds := err == nil && bytes.Equal(opened, records)
	for _, k := range t.kept {
		text, _, err := t.decrypt(ctx, k.by, k.sealed, k.context)
		same := err == nil && bytes.Equal(text, k.text)
		holds = holds && same
		lines = append(lines, fmt.Sprintf("%s: opens: %v", k.what, same))
	}
	t.add(claim{
		Promise:  "the loss of one machine loses nothing",
		Claim:    "Every HSM is lost but the one in the safe, and no key is lost",
		By:       "Ana and Cy, with the medium from the safe",
		Tried:    "destroy the state of both HSMs; a new HSM joins the domain at the one from the safe; leadglass serve --hsm-await-domain --hsm-command; open everything",
		Happened: fmt.Sprintf("after %.1f s: ", took.Seconds()) + strings.Join(lines, "; "),
		Evidence: "request " + id + "; docs/custodians.md section 8 is this procedure",
		Holds:    holds && len(t.kept) > 0,
	})
	return nil
}

// moved makes everybody call a plane at its new address.
func (t *tour) moved(url string) {
	for _, c := range []*client{t.operator, t.a, t.b} {
		c.Endpoint = url
	}
}

// hsms are the processes of a plane's HSMs, the eldest first.
func (p *plane) hsms() (out []int) {
	for _, pid := range children(p.pid()) {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.HasSuffix(line, []byte("\x00hsm\x00")) {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// A kept ciphertext is one that must open again at the end.
type kept struct {
	what    string
	by      *client
	sealed  []byte
	context map[string]string
	text    []byte
}

// keep seals something under a key and remembers it.
func (t *tour) keep(ctx context.Context, c *client, what, key string, text []byte) error {
	var out struct{ CiphertextBlob []byte }
	if _, err := c.json(ctx, "kms", "Encrypt", map[string]any{"KeyId": key, "Plaintext": text}, &out); err != nil {
		return err
	}
	if len(out.CiphertextBlob) == 0 {
		return errors.New("an empty ciphertext")
	}
	t.kept = append(t.kept, kept{what: what, by: c, sealed: out.CiphertextBlob, text: text})
	return nil
}
