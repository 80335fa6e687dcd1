package authz_test

import (
	"testing"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

// A role that trusts its account to assume it does not trust it to say with
// which tags and in whose name: that takes the trust policy's word, too.
func TestTagsAndSourceIdentityOfASessionTakeTheTrustPolicysWord(t *testing.T) {
	const account, role = "111111111111", "arn:aws:iam::111111111111:role/ward"
	everything := parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	trust := func(actions string) *policy.Document {
		return parse(t, policy.Trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":`+actions+`}]}`)
	}
	for _, action := range []string{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"} {
		for _, c := range []struct {
			name  string
			trust *policy.Document
			want  bool
		}{
			{"a trust policy that names the action", trust(`"` + action + `"`), true},
			{"a trust policy that names another", trust(`"sts:GetFederationToken"`), false},
		} {
			for _, temporary := range []bool{false, true} {
				d := authz.Decide(&authz.Request{
					Principal: &authz.Principal{Type: authz.User, ARN: "arn:aws:iam::111111111111:user/u", Account: account, ID: "AIDAU", TemporaryUser: temporary},
					Policies:  &authz.Policies{Identity: []*policy.Document{everything}},
					Ask:       &authz.Ask{Action: action, Resource: role, Owner: account, Policy: c.trust},
				}, nil)
				if d.Allowed != c.want {
					t.Errorf("%s, %s, temporary %v: %v", action, c.name, temporary, d.Allowed)
				}
			}
		}
	}
	// GetFederationToken asks for TagSession where there is no trust policy.
	d := authz.Decide(&authz.Request{
		Principal: &authz.Principal{Type: authz.User, ARN: "arn:aws:iam::111111111111:user/u", Account: account, ID: "AIDAU"},
		Policies:  &authz.Policies{Identity: []*policy.Document{everything}},
		Ask:       &authz.Ask{Action: "sts:TagSession", Resource: "arn:aws:sts::111111111111:federated-user/f", Owner: account},
	}, nil)
	if !d.Allowed {
		t.Error("a federated user's tags")
	}
}
