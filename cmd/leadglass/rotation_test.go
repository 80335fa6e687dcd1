package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The custodians rotate the domain key. The plane seals every token anew,
// those of keys, of the log, of accounts' audit keys and of the authority, and
// says so in health and in the operator's log; everything works on, also after
// another start.
func TestAllTokensOfAPlaneFollowARotation(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := newPlane(t, data)
	customer := p.client(t, "customer")
	var key struct{ KeyMetadata struct{ KeyId string } }
	var made struct{ CiphertextBlob string }
	ask := func(c *client, service, operation string, in, out any) {
		t.Helper()
		if _, err := c.json(t.Context(), service, operation, in, out); err != nil {
			t.Fatal(err)
		}
	}
	ask(customer, "kms", "CreateKey", struct{}{}, &key)
	ask(customer, "kms", "Encrypt", map[string]string{"KeyId": key.KeyMetadata.KeyId, "Plaintext": "aGVsbG8="}, &made)
	d := newDesk(t)
	d.found(data)
	d.run("command", "rotate", "--data", data, "--reason", "test", "--out", "rotate.pem")
	d.run("sign", "rotate.pem", "--key", "ana.key")
	d.run("sign", "rotate.pem", "--key", "ben.key")
	d.run("submit", "rotate.pem", "--data", data)
	for start := range 2 {
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		p = newPlane(t, data)
		customer, operator := p.client(t, "customer"), p.client(t, "operator")
		var health struct {
			DomainKeys struct {
				ActiveKeyId, Problem              string
				Keys, TokensRewrapped, TokensLeft int64
				Rewrapping                        bool
			}
		}
		for range 100 {
			ask(operator, "leadglass", "GetHealth", struct{}{}, &health)
			if k := health.DomainKeys; k.ActiveKeyId != "" && !k.Rewrapping && k.TokensLeft == 0 && (start > 0 || k.TokensRewrapped > 0) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		// The authority has brought its own along when it started. The rest: the key, two audit keys and the log's.
		want := []int64{4, 0}[start]
		if k := health.DomainKeys; k.TokensRewrapped != want || k.TokensLeft != 0 || k.Problem != "" || k.Keys != 2 {
			t.Errorf("start %d: %+v", start, k)
		}
		var plain struct{ Plaintext string }
		ask(customer, "kms", "Decrypt", map[string]string{"CiphertextBlob": made.CiphertextBlob}, &plain)
		if plain.Plaintext != "aGVsbG8=" {
			t.Errorf("start %d: %q", start, plain.Plaintext)
		}
		var found struct {
			Events []struct{ CloudTrailEvent string }
		}
		ask(operator, "cloudtrail", "LookupEvents", map[string]any{
			"LookupAttributes": []map[string]string{{"AttributeKey": "EventName", "AttributeValue": "RewrapEnded"}},
		}, &found)
		if len(found.Events) != 1 || !strings.Contains(found.Events[0].CloudTrailEvent, `"tokens":4`) {
			t.Errorf("start %d: the operator's log has %q", start, found.Events)
		}
	}
}
