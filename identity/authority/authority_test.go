package authority_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
)

// TestMain makes the test binary its own child, as the real binary is.
func TestMain(m *testing.M) { authoritytest.Main(m) }

func startHSM(t testing.TB, dir string) *hsm.Process {
	t.Helper()
	return hsmtest.Start(t, hsm.Config{StateDir: dir})
}

// inProcess serves the same core from a goroutine, with a clock of the test; the HSM is a
// real one.
func inProcess(t testing.TB, dir string, now func() time.Time) *authority.Client {
	t.Helper()
	return authoritytest.InProcess(t, dir, authoritytest.Options{Now: now})
}

func serveInProcess(t testing.TB, h *hsm.Process, dir string, now func() time.Time) *authority.Client {
	t.Helper()
	return authoritytest.InProcess(t, dir, authoritytest.Options{Now: now, HSM: h})
}

// both runs one test against the two forms.
func both(t *testing.T, test func(t *testing.T, c *authority.Client)) {
	t.Run("in process", func(t *testing.T) { test(t, inProcess(t, t.TempDir(), time.Now)) })
	t.Run("isolated", func(t *testing.T) { test(t, authoritytest.Start(t, t.TempDir()).Client()) })
}

const account = "111122223333"

func newKey(t testing.TB, c *authority.Client) (akid string, sealed []byte, sec string) {
	t.Helper()
	akid, err := id.AccessKey("AKIA", account)
	if err != nil {
		t.Fatal(err)
	}
	sealed, s, err := c.NewSecret(t.Context(), account, akid)
	if err != nil {
		t.Fatal(err)
	}
	return akid, sealed, reveal(s)
}

// reveal makes a string of a secret, as its customer does.
func reveal(s *secret.Bytes) (out string) {
	_ = s.Use(func(b []byte) error { out = string(b); return nil })
	return out
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// sign is what a client does; written from sigv4 section 4.
func sign(akid, sec, token string, sealed []byte) authority.Request {
	digest := sha256.Sum256([]byte("a canonical request of " + akid))
	date, region, service := time.Now().UTC().Format("20060102"), "us-east-1", "kms"
	sts := "AWS4-HMAC-SHA256\n" + date + "T120000Z\n" + date + "/" + region + "/" + service + "/aws4_request\n" + hex.EncodeToString(digest[:])
	key := mac(mac(mac(mac([]byte("AWS4"+sec), date), region), service), "aws4_request")
	return authority.Request{
		AccessKeyID: akid, Sealed: sealed, StringToSign: []byte(sts), Signature: [32]byte(mac(key, sts)),
		CanonicalDigest: digest, SessionToken: token,
	}
}

func TestASignatureWithTheSecretIsWitnessed(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		akid, sealed, sec := newKey(t, c)
		if len(sec) != 40 {
			t.Errorf("a secret of %d characters", len(sec))
		}
		q := sign(akid, sec, "", sealed)
		for range 3 { // the second time from the cache
			if claims, err := c.Witness(t.Context(), q); err != nil || claims != nil {
				t.Fatalf("claims %v, error %v", claims, err)
			}
		}
	})
}

func claimsFor(d time.Duration) authority.Claims {
	return authority.Claims{
		Type: authority.AssumedRole, Account: account, PrincipalID: "AROAEXAMPLEEXAMPLE123",
		ARN: "arn:aws:sts::111122223333:assumed-role/reader/me", RoleARN: "arn:aws:iam::111122223333:role/reader",
		SessionName: "me", Expires: time.Now().Add(d).UTC().Truncate(time.Millisecond),
		Policies: []string{`{"Version":"2012-10-17","Statement":[]}`}, PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
		Tags: map[string]string{"team": "blue"}, TransitiveTags: []string{"team"}, SourceIdentity: "alice",
		CredentialID: "AKIAEXAMPLEEXAMPLE12", Depth: 1,
	}
}

func TestASessionIsIssuedAndWitnessed(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		want := claimsFor(time.Hour)
		akid, sec, token, err := c.IssueSession(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := id.AccessKeyAccount(akid); err != nil || a != account || akid[:4] != "ASIA" {
			t.Errorf("access key id %s of account %s, %v", akid, a, err)
		}
		q := sign(akid, reveal(sec), token, nil)
		for range 2 {
			got, err := c.Witness(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if got.SessionID == [16]byte{} || time.Since(got.Issued) > time.Minute {
				t.Errorf("session id %x, issued %v", got.SessionID, got.Issued)
			}
			want.SessionID, want.Issued = got.SessionID, got.Issued
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Error(diff)
			}
		}
	})
}
