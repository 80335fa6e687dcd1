package policy_test

import (
	"encoding/json"
	"testing"

	"github.com/leadglass/leadglass/identity/policy"
)

const alice = "arn:aws:iam::111122223333:user/alice"

func TestOnlyPrincipalsAreRenamed(t *testing.T) {
	text := `{"Statement": [{"Sid": "arn:aws:iam::111122223333:user/alice", "Principal": {"AWS": ["` + alice + `", "*"]},
	  "Condition": {"ArnEquals": {"aws:PrincipalArn": "` + alice + `"}}}, {"NotPrincipal": {"AWS": "` + alice + `"}}]}`
	want := `{"Statement": [{"Sid": "arn:aws:iam::111122223333:user/alice", "Principal": {"AWS": ["AIDAALICE", "*"]},
	  "Condition": {"ArnEquals": {"aws:PrincipalArn": "` + alice + `"}}}, {"NotPrincipal": {"AWS": "AIDAALICE"}}]}`
	if got := policy.RenamePrincipals(text, map[string]string{alice: "AIDAALICE"}); got != want {
		t.Errorf("became %s", got)
	}
}

func FuzzRenamePrincipals(f *testing.F) {
	f.Add(`{"Statement":{"Principal":{"AWS":"` + alice + `"}}}`)
	f.Add(`{"a":[{"Principal":{"AWS":["` + alice + `"]}},{"NotPrincipal":"` + alice + `"}],"b":"` + alice + `"}`)
	f.Add(`[[[`)
	f.Fuzz(func(t *testing.T, text string) {
		shown := policy.RenamePrincipals(text, map[string]string{alice: "AIDAALICE"})
		if json.Valid([]byte(text)) && !json.Valid([]byte(shown)) {
			t.Errorf("%q became %q", text, shown)
		}
		if got := policy.RenamePrincipals(text, nil); got != text {
			t.Errorf("%q became %q though nobody has another name", text, got)
		}
	})
}
