package policy_test

import (
	"testing"

	"github.com/leadglass/leadglass/identity/policy"
)

// A value that proves nothing lets nobody in, and keeps out whoever it can,
// whatever a condition says of it.
func TestAnUnprovenKeyAllowsNothingAndEscapesNoDeny(t *testing.T) {
	const key = "kms:RecipientAttestation:PCR0"
	for _, condition := range []string{
		`"StringEquals":{"` + key + `":"00"}`,
		`"StringEqualsIgnoreCase":{"` + key + `":"00"}`,
		`"StringLike":{"` + key + `":"*"}`,
		`"StringNotEquals":{"` + key + `":"ab"}`,
		`"StringNotLike":{"` + key + `":"ab*"}`,
		`"StringEqualsIfExists":{"` + key + `":"00"}`,
		`"ForAnyValue:StringLike":{"` + key + `":"*"}`,
		`"ForAllValues:StringLike":{"` + key + `":"*"}`,
		`"Null":{"` + key + `":"false"}`,
		`"Null":{"` + key + `":"true"}`,
		`"StringEquals":{"aws:username":"${` + key + `}"}`,
	} {
		for _, effect := range []string{"Allow", "Deny"} {
			d, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"`+effect+`","Action":"*","Resource":"*","Condition":{`+condition+`}}]}`))
			if err != nil {
				t.Fatal(condition, err)
			}
			var k policy.Keys
			k.Set("aws:username", "00")
			k.SetUnproven(key, "00")
			var q policy.Question
			if !q.Reset("kms:Decrypt", "arn:aws:kms:us-east-1:111122223333:key/x", nil, &k, nil) {
				t.Fatal("the question is none")
			}
			variable := condition[:28] == `"StringEquals":{"aws:usernam`
			if got := first(d).Applies(&q); got != (effect == "Deny") && !variable || got && variable {
				t.Errorf("%s if %s: applies %v", effect, condition, got)
			}
		}
	}
	var k policy.Keys
	k.SetUnproven(key, "00")
	if v, ok := k.Get(key); !ok || v[0] != "00" {
		t.Errorf("%v, %v", v, ok)
	}
	k.Set(key, "ab")
	var q policy.Question
	q.Reset("kms:Decrypt", "*", nil, &k, nil)
	d, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"`+key+`":"ab"}}}]}`))
	if err != nil || !first(d).Applies(&q) {
		t.Error("a key that was set anew stays unproven", err)
	}
}

func first(d *policy.Document) *policy.Statement { return &d.Statements()[0] }
