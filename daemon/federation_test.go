package daemon_test

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/daemon"
	"github.com/leadglass/leadglass/identity/federation/exampleissuer"
)

// A plane whose settings cannot mean what was meant does not start, and starts
// no boundary before it says so.
func TestSettingsOfFederationThatMakeNoSenseAreRefused(t *testing.T) {
	i, err := exampleissuer.Start("ward")
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	for _, c := range []struct {
		name string
		cfg  daemon.Config
		want string
	}{
		{"a file that is not there", daemon.Config{IssuerCA: filepath.Join(dir, "none.pem")}, "no such file"},
		{"a file without certificates", daemon.Config{IssuerCA: file("empty.pem", nil)}, "holds no certificate"},
		{"a private key beside certificates", daemon.Config{IssuerCA: file("key.pem", append(i.Roots(), key...))}, "holds a PRIVATE KEY"},
		{"a certificate that is none", daemon.Config{IssuerCA: file("bad.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))}, "x509"},
		{"a URL with a path", daemon.Config{PublicURL: "https://plane.example/iam"}, "without a path"},
		{"a URL that ends in a slash", daemon.Config{PublicURL: "https://plane.example/"}, "without a path"},
		{"a host that is no URL", daemon.Config{PublicURL: "plane.example"}, "use https://HOST"},
	} {
		c.cfg.DataDir, c.cfg.Listen = filepath.Join(dir, "data"), "127.0.0.1:0"
		if _, err := daemon.Start(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a data folder was made")
	}
}
