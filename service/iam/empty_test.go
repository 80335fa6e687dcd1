package iam_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/service/iam"
)

// IAM answers a list that holds nothing as an empty element, and scripts rely
// on it: list_attached_user_policies(...)["AttachedPolicies"] must be there. The
// models say so of some lists alone; api/overrides.txt of the others.
func TestEveryListingAnswersItsListEvenWhenItIsEmpty(t *testing.T) {
	p := newPlane(t)
	seen := 0
	for _, op := range iam.New(p.directory).Operations() {
		name := op.Info.Name
		if !strings.HasPrefix(name, "List") && !strings.HasPrefix(name, "Simulate") && name != "GetAccountAuthorizationDetails" && name != "GetOpenIDConnectProvider" {
			continue
		}
		for f := range op.Info.Output.Fields() {
			if f.Type.Kind() != reflect.Slice || f.Name == "Tags" && !strings.HasSuffix(name, "Tags") { // of a thing itself, tags may be absent
				continue
			}
			seen++
			if facts := strings.Split(f.Tag.Get("aws"), ","); !slices.Contains(facts, "always") && !slices.Contains(facts, "req") {
				t.Errorf("%s leaves out %s when it is empty", name, f.Name)
			}
		}
	}
	if seen < 25 {
		t.Errorf("only %d lists were looked at", seen)
	}
}
