package gate_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/operation"
)

// A request is for the region that it is signed for: handler, condition key
// and record have it. A global service is in the home region, whoever asks.
func TestARequestIsForTheRegionThatItIsSignedFor(t *testing.T) {
	const refused = ""
	const forEU = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-central-1"}}}}`
	for _, c := range []struct {
		name, service, region, set, policy string
		want                               string // region of the call; refused: none
	}{
		{"home", "kms", "us-east-1", "", "", "us-east-1"},
		{"another region", "kms", "eu-central-1", "", "", "eu-central-1"},
		{"a region of nobody", "kms", "ap-southeast-2", "", "", refused},
		{"a global service, asked from another region", "sts", "eu-central-1", "", "", "us-east-1"},
		{"a global service, asked from nowhere", "sts", "ap-southeast-2", "", "", refused},
		{"a region set with one of ours", "kms", "", "eu-central-1,ap-southeast-2", "", "eu-central-1"},
		{"a region set with a star that is one of ours", "kms", "", "eu-c*", "", "eu-central-1"},
		{"a region set with two of ours", "kms", "", "eu-central-1,us-east-1", "", refused},
		{"a region set of the whole world", "kms", "", "*", "", refused},
		{"a region set of the whole world, for a global service", "sts", "", "*", "", "us-east-1"},
		{"a region set with none of ours", "kms", "", "ap-*", "", refused},
		{"a policy that wants the region", "kms", "eu-central-1", "", forEU, "eu-central-1"},
		{"a policy that wants another region", "kms", "us-east-1", "", forEU, "denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, "eu-central-1", "eu-west-1")
			f.region, f.set = c.region, c.set
			if c.policy != "" {
				f.policy = c.policy
			}
			var got string
			f.serve = func(ctx context.Context, _ *kms.EncryptInput) (*kms.EncryptOutput, error) {
				got = operation.CallFrom(ctx).Region
				return &kms.EncryptOutput{CiphertextBlob: []byte("sealed")}, nil
			}
			header, body := http.Header{"X-Amz-Target": {"TrentService.Encrypt"}, "Content-Type": {"application/x-amz-json-1.1"}}, `{"KeyId":"1","Plaintext":"eA=="}`
			if c.service == "sts" {
				header, body = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "Action=GetCallerIdentity&Version=2011-06-15"
			}
			a := f.send("AKIACUSTOMER", c.service, header, body)
			switch c.want {
			case refused:
				if a.status == 200 || !strings.Contains(a.body, "Credential should be scoped to a valid region.") {
					t.Errorf("answered %d %s", a.status, a.body)
				}
				return
			case "denied":
				if a.status != 400 || !strings.Contains(a.body, "AccessDenied") {
					t.Errorf("answered %d %s", a.status, a.body)
				}
				return
			}
			if a.status != 200 || c.service == "kms" && got != c.want {
				t.Errorf("answered %d %s, in %q", a.status, a.body, got)
			}
			if r := f.last()["awsRegion"]; r != c.want {
				t.Errorf("recorded in %v", r)
			}
		})
	}
}
