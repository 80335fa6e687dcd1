package organizations_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/service/organizations"
)

// Organizations answers a list that holds nothing as an empty one, and scripts rely
// on it: list_handshakes_for_account()["Handshakes"] must be there. The
// models say so of some lists alone; api/overrides.txt of the others.
func TestEveryListingAnswersItsListEvenWhenItIsEmpty(t *testing.T) {
	seen := 0
	for _, op := range organizations.New(organizations.Config{}).Operations() {
		name := op.Info.Name
		if !strings.HasPrefix(name, "List") {
			continue
		}
		for f := range op.Info.Output.Fields() {
			if f.Type.Kind() != reflect.Slice {
				continue
			}
			seen++
			if facts := strings.Split(f.Tag.Get("aws"), ","); !slices.Contains(facts, "always") && !slices.Contains(facts, "req") {
				t.Errorf("%s leaves out %s when it is empty", name, f.Name)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d lists were looked at", seen)
	}
}
