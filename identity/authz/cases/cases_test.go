package cases_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/leadglass/leadglass/identity/authz/cases"
)

// folders are the project's own vectors and, if the environment names more, those.
func folders() []string {
	all := []string{filepath.Join("..", "..", "..", "testdata", "vectors", "policy-eval")}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		all = append(all, filepath.Join(extra, "policy-eval"))
	}
	return all
}

func load(t *testing.T, path string) []cases.Case {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := cases.Load(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return all
}

func TestEveryVectorComesOutAsExpected(t *testing.T) {
	ran := 0
	for _, folder := range folders() {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, c := range load(t, file) {
				ran++
				if r := c.Run(); !r.OK {
					t.Error(r.Failure)
				}
			}
		}
	}
	if ran < 206 {
		t.Errorf("only %d cases were found", ran)
	}
}
