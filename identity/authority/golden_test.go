package authority_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/identity/authority"
)

var update = flag.Bool("update", false, "make testdata/golden anew; only for a new version of a format")

// golden is what a node of format version 1 had handed out.
type golden struct {
	EKT, Blob, Plain, Rotated string // hex; the token under a rotated domain key
	AccessKeyID, Sealed       string // Sealed in hex
	Secret                    string
	SessionID, SessionSecret  string
	Token, Message            string
	Claims                    authority.Claims
	Time                      time.Time
}

var goldenContext = map[string]string{"purpose": "golden", "": "empty key"}

// What was stored once stays readable: testdata/golden holds the state
// directories of a node and what it handed out (docs/formats).
func TestStoredFormatsStayReadable(t *testing.T) {
	if *update {
		makeGolden(t)
	}
	dir := t.TempDir() // starting a node rewraps its root key
	if err := os.CopyFS(dir, os.DirFS("testdata/golden")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	clock := &held{}
	clock.ms.Store(g.Time.Add(time.Minute).UnixMilli())
	h, c := startAt(t, dir, clock)
	for _, token := range []string{g.EKT, g.Rotated} {
		got, err := h.Client().Decrypt(t.Context(), unhex(t, token), unhex(t, g.Blob), goldenContext)
		if err != nil || hex.EncodeToString(got) != g.Plain {
			t.Errorf("the blob opens to %q, %v", got, err)
		}
	}
	if _, err := c.Witness(t.Context(), sign(g.AccessKeyID, g.Secret, "", unhex(t, g.Sealed))); err != nil {
		t.Errorf("the sealed record: %v", err)
	}
	claims, err := c.Witness(t.Context(), sign(g.SessionID, g.SessionSecret, g.Token, nil))
	if err != nil {
		t.Fatalf("the session token: %v", err)
	}
	if diff := cmp.Diff(g.Claims, *claims); diff != "" {
		t.Error(diff)
	}
	if got, err := c.OpenMessage(t.Context(), account, g.Message); err != nil || string(got) != "a refusal" {
		t.Errorf("the message opens to %q, %v", got, err)
	}
	if list, epoch, err := c.Revocations(t.Context(), 0); err != nil || epoch != 1 || len(list) != 1 || list[0].PrincipalID != "AROAREVOKED" {
		t.Errorf("revocations %+v, epoch %d, %v", list, epoch, err)
	}
}

func startAt(t *testing.T, dir string, clock *held) (*hsm.Process, *authority.Client) {
	t.Helper()
	h := startHSM(t, dir+"/hsm")
	return h, serveInProcess(t, h, dir, clock.now)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func makeGolden(t *testing.T) {
	dir := t.TempDir()
	clock := newHeld()
	h, c := startAt(t, dir, clock)
	g := golden{Time: clock.now(), Plain: hex.EncodeToString([]byte("a plaintext"))}
	key, err := h.Client().GenerateKey(t.Context(), hsm.KeySpec{
		Spec: hsm.SymmetricDefault, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", KeyARN: "arn:aws:kms:us-east-1:111122223333:key/golden",
	})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := h.Client().Encrypt(t.Context(), key.EKT, []byte("a plaintext"), goldenContext)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Client().RotateDomainKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	rotated, err := h.Client().Rewrap(t.Context(), key.EKT)
	if err != nil {
		t.Fatal(err)
	}
	g.EKT, g.Blob, g.Rotated = hex.EncodeToString(key.EKT), hex.EncodeToString(blob), hex.EncodeToString(rotated)
	akid, sealed, sec := newKey(t, c)
	g.AccessKeyID, g.Sealed, g.Secret = akid, hex.EncodeToString(sealed), sec
	sessionID, sessionSecret, token, err := c.IssueSession(t.Context(), claimsFor(12*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	g.SessionID, g.SessionSecret, g.Token = sessionID, reveal(sessionSecret), token
	claims, err := c.Witness(t.Context(), sign(g.SessionID, g.SessionSecret, g.Token, nil))
	if err != nil {
		t.Fatal(err)
	}
	g.Claims = *claims
	if g.Message, err = c.SealMessage(t.Context(), account, []byte("a refusal")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revoke(t.Context(), authority.Revocation{PrincipalID: "AROAREVOKED"}); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(&g, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll("testdata/golden"); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join("testdata/golden", rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/golden/golden.json", append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
