package daemon

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

var update = flag.Bool("update", false, "write docs/COVERAGE.md")

// docs/COVERAGE.md is written from the tables that the gate serves, so it
// cannot say what is not so.
func TestTheCoverageDocumentIsTrue(t *testing.T) {
	path := filepath.Join("..", "docs", "COVERAGE.md")
	// What a table has only beside its neighbour is served, too: a plane always has all of them.
	want := coverage((&Daemon{orgs: new(organization.Organizations)}).tables())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/COVERAGE.md does not say what is served; run: go test ./daemon -run Coverage -update")
	}
}

func coverage(ops []operation.Operation) string {
	served := map[*wire.Service]map[string]operation.Operation{}
	var services []*wire.Service
	for _, o := range ops {
		s := o.Info.Service
		if served[s] == nil {
			served[s] = map[string]operation.Operation{}
			services = append(services, s)
		}
		served[s][o.Info.Name] = o
	}
	slices.SortFunc(services, func(a, b *wire.Service) int { return strings.Compare(a.Name, b.Name) })
	var b strings.Builder
	b.WriteString(`# Coverage

Every operation of every API that this version speaks: served, or refused with which error. Written from the tables that the gate serves (` + "`go test ./daemon -run Coverage -update`" + `), so it cannot promise more than there is. Nothing answers success and does nothing: a member of a served operation that is not supported is refused with a modelled error.

`)
	for _, s := range services {
		fmt.Fprintf(&b, "- [%s](#%s): %d of %d\n", s.Name, s.Name, len(served[s]), len(s.Known))
	}
	b.WriteString("- every other service name: `UnknownOperationException`, or the nearest error of the protocol\n")
	for _, s := range services {
		refusal := wire.CommonFault(wire.UnknownOperation, s, s.Protocol, "")
		fmt.Fprintf(&b, "\n## %s\n\n%s, API version %s, %s. Refused operations answer `%s`, HTTP %d.\n\n| operation | answer |\n|---|---|\n", s.Name, s.EventSource, s.Version, s.Protocol, refusal.Code, refusal.Status)
		for _, name := range s.Known {
			o, ok := served[s][name]
			switch {
			case !ok:
				fmt.Fprintf(&b, "| %s | refused |\n", name)
			case o.Operator:
				fmt.Fprintf(&b, "| **%s** | served, to the operator's account alone |\n", name)
			case o.Unsigned:
				fmt.Fprintf(&b, "| **%s** | served, unsigned |\n", name)
			case o.Free:
				fmt.Fprintf(&b, "| **%s** | served, needs no permission |\n", name)
			default:
				fmt.Fprintf(&b, "| **%s** | served |\n", name)
			}
		}
	}
	return b.String()
}
