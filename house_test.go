package leadglass_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/leadglass/leadglass/"

// A rule is one line of house.txt.
type rule struct {
	pattern    string
	alone      bool // "!": without the right to base/..., identity/arn and cryptography/secret
	everything bool // "..."
	own        []string
	std, mod   []string
	stdLimited bool
}

func readHouse(t *testing.T) []rule {
	t.Helper()
	f, err := os.Open("house.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rules []rule
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		left, right, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("house.txt: no colon in %q", line)
		}
		r := rule{pattern: strings.TrimSpace(left)}
		if strings.HasPrefix(r.pattern, "!") {
			r.alone, r.pattern = true, r.pattern[1:]
		}
		for _, w := range strings.Fields(right) {
			switch {
			case w == "...":
				r.everything = true
			case strings.HasPrefix(w, "std:"):
				r.std, r.stdLimited = append(r.std, w[4:]), true
			case strings.HasPrefix(w, "mod:"):
				r.mod = append(r.mod, w[4:])
			default:
				r.own = append(r.own, w)
			}
		}
		rules = append(rules, r)
	}
	return rules
}

func matches(pattern, path string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return pattern == path
}

func anyMatches(patterns []string, path string) bool {
	for _, p := range patterns {
		if matches(p, path) {
			return true
		}
	}
	return false
}

// under says whether path is one of the modules or a package below one.
func under(modules []string, path string) bool {
	for _, m := range modules {
		if path == m || strings.HasPrefix(path, m+"/") {
			return true
		}
	}
	return false
}

// allowed returns "" when the edge is allowed by r, else why it is not.
func (r rule) allowed(pkg, imp string) string {
	if r.everything {
		return ""
	}
	if own, ok := strings.CutPrefix(imp, module); ok {
		if matches(r.pattern, own) && strings.HasSuffix(r.pattern, "/...") && strings.HasPrefix(own, pkg+"/") {
			return fmt.Sprintf("%s must not import %s, a package below it", pkg, own)
		}
		if anyMatches(r.own, own) || !r.alone && anyMatches([]string{"base/...", "identity/arn", "cryptography/secret"}, own) {
			return ""
		}
		return pkg + " must not import " + own
	}
	if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") {
		if under(r.mod, imp) {
			return ""
		}
		return pkg + " must not import the module package " + imp + " (house.txt has no mod: entry for it)"
	}
	if r.stdLimited && imp != "C" && !anyMatches(r.std, imp) {
		return pkg + " must not import " + imp + " of the standard library"
	}
	return ""
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestEveryImportIsAllowedByTheHouse(t *testing.T) {
	rules := readHouse(t)
	for _, line := range goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		fields := strings.Fields(line)
		pkg, ok := strings.CutPrefix(fields[0], module)
		if !ok {
			continue // the root package holds only this test
		}
		found := false
		for _, r := range rules {
			if !matches(r.pattern, pkg) {
				continue
			}
			found = true
			for _, imp := range fields[1:] {
				if why := r.allowed(pkg, imp); why != "" {
					t.Error(why)
				}
			}
			break
		}
		if !found {
			t.Errorf("%s has no line in house.txt", pkg)
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, line := range goList(t, "-f", `{{.ImportPath}}{{"\t"}}{{.Doc}}`, "./...") {
		path, doc, _ := strings.Cut(line, "\t")
		if strings.TrimSpace(doc) == "" && strings.HasPrefix(path, module) {
			t.Errorf("%s has no package doc", path)
		}
	}
}

// The boundaries hold secrets: what they link, however indirectly, must have
// no way to the network, to other programs, or to a log.
func TestTheBoundariesLinkNoWayOut(t *testing.T) {
	forbidden := map[string]string{
		"net":           "the boundary has no network",
		"os/exec":       "the boundary starts no program",
		"log":           "a log line could carry a secret",
		"log/slog":      "a log line could carry a secret",
		"encoding/json": "reflection over secrets; CBOR is the boundary's only encoding",
	}
	for _, core := range []string{"cryptography/hsm/core", "identity/authority/core"} {
		if _, err := os.Stat(core); err != nil {
			t.Errorf("%s is gone: %v", core, err)
			continue
		}
		for _, dep := range goList(t, "-deps", "./"+core) {
			if why, bad := forbidden[dep]; bad {
				t.Errorf("%s reaches %s: %s", core, dep, why)
			}
		}
	}
}

// The packages that serve the boundaries' cores to tests (hsmtest, logtest and
// their like) use known keys or no boundary at all.
func TestTheProgramLinksNoTestCode(t *testing.T) {
	for _, dep := range goList(t, "-deps", "./cmd/...") {
		if dep == module+"isolation/attest" { // which is a word of its own
			continue
		}
		if dep == "testing" || strings.HasPrefix(dep, module) && strings.HasSuffix(dep, "test") {
			t.Errorf("the program links %s", dep)
		}
	}
}
