package gate_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/operation"
)

func parsePolicy(t *testing.T, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(policy.Key, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The caller reads its own log. What is refused on another account's resource
// leaves the same record whether the resource is there or not.
func TestTheRecordOfARefusalDoesNotTellWhatTheAnswerHides(t *testing.T) {
	own := operation.Ask{Action: "kms:ReEncryptFrom", Resource: "arn:aws:kms:us-east-1:" + account + ":key/1", Owner: account,
		Policy: parsePolicy(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"kms:*","Resource":"*"}}`)}
	foreign := operation.Ask{Action: "kms:Encrypt", Resource: "arn:aws:kms:us-east-1:222222222222:key/2", Owner: "222222222222"}
	there := foreign
	there.Policy = parsePolicy(t, `{"Version":"2012-10-17","Statement":{"Sid":"ForeignSecretName","Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*"}}`)

	recordOf := func(asks func() ([]operation.Ask, error)) map[string]any {
		f := newFixture(t)
		f.asks = asks
		if a := f.encrypt(encrypt); a.status != 400 {
			t.Fatalf("answer %d %s", a.status, a.body)
		}
		e := f.last()
		for _, changing := range []string{"eventID", "requestID"} {
			delete(e, changing)
		}
		return e
	}
	for name, asks := range map[string][]operation.Ask{"alone": {there}, "after one that is allowed": {own, there}} {
		is := recordOf(func() ([]operation.Ask, error) { return asks, nil })
		isNot := recordOf(func() ([]operation.Ask, error) { return nil, &operation.Denied{Ask: foreign} })
		if !reflect.DeepEqual(is, isNot) {
			a, _ := json.Marshal(is)
			b, _ := json.Marshal(isNot)
			t.Errorf("%s: the records differ:\n%s\n%s", name, a, b)
		}
		if is["requestParameters"] == nil || is["resources"] == nil {
			t.Errorf("%s: the record does not say what was asked for: %v", name, is)
		}
	}
}

func TestEveryAccountWhoseResourceWasUsedGetsACopy(t *testing.T) {
	f := newFixture(t)
	f.asks = func() (asks []operation.Ask, _ error) {
		for _, owner := range []string{account, "222222222222", "333333333333", "222222222222"} {
			asks = append(asks, operation.Ask{Action: "kms:Encrypt", Resource: "arn:aws:kms:us-east-1:" + owner + ":key/1", Owner: owner,
				Policy: parsePolicy(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"kms:*","Resource":"*"}}`)})
		}
		return asks, nil
	}
	if a := f.encrypt(encrypt); a.status != 200 {
		t.Fatalf("answer %d %s", a.status, a.body)
	}
	var of []string
	for _, e := range f.events {
		of = append(of, e.Account)
	}
	if want := []string{account, "222222222222", "333333333333"}; !reflect.DeepEqual(of, want) {
		t.Errorf("records of %v, want %v", of, want)
	}
}
