package leadglass_test

import (
	"context"
	"errors"
	"testing"
	"time"

	api "github.com/leadglass/leadglass/api/leadglass"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/operation"
)

// Who may revoke what is tried with real callers in cmd/leadglass; here is what is asked.
func TestRevokingSessionsAsksForWhatIsNamed(t *testing.T) {
	s, d := newService(t)
	own, err := d.CreateAccount(t.Context(), "A", false)
	if err != nil {
		t.Fatal(err)
	}
	const other = "111122223333"
	key := func(prefix, account string) string {
		k, err := id.AccessKey(prefix, account)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	mine, theirs := key("ASIA", own.ID), key("AKIA", other)
	var revoke operation.Operation
	for _, o := range s.Operations() {
		if o.Info == api.RevokeSessions.OpInfo {
			revoke = o
		}
	}
	ctx := operation.WithCall(context.Background(), &operation.Call{Account: own.ID, Region: "eu-west-1"})
	role := "arn:aws:iam::" + own.ID + ":role/r"
	for name, c := range map[string]struct {
		in              api.RevokeSessionsInput
		resource, owner string // empty: refused
	}{
		"a session":                {api.RevokeSessionsInput{AccessKeyId: mine}, "arn:aws:leadglass:eu-west-1:" + own.ID + ":session/" + mine, own.ID},
		"another's key":            {api.RevokeSessionsInput{AccessKeyId: theirs}, "arn:aws:leadglass:eu-west-1:" + other + ":session/" + theirs, other},
		"a role":                   {api.RevokeSessionsInput{PrincipalArn: role}, role, own.ID},
		"another's root":           {api.RevokeSessionsInput{PrincipalArn: "arn:aws:iam::" + other + ":root"}, "arn:aws:iam::" + other + ":root", other},
		"the account":              {api.RevokeSessionsInput{AccountId: own.ID}, "arn:aws:leadglass:eu-west-1:" + own.ID + ":account/" + own.ID, own.ID},
		"nothing":                  {api.RevokeSessionsInput{}, "", ""},
		"two things":               {api.RevokeSessionsInput{AccountId: own.ID, PrincipalArn: role}, "", ""},
		"no id":                    {api.RevokeSessionsInput{AccessKeyId: "ASIA0000000000000000"}, "", ""},
		"another sort of id":       {api.RevokeSessionsInput{AccessKeyId: "AIDA" + mine[4:]}, "", ""},
		"a session before an hour": {api.RevokeSessionsInput{AccessKeyId: mine, IssuedBefore: time.Now()}, "", ""},
		"a role session":           {api.RevokeSessionsInput{PrincipalArn: "arn:aws:sts::" + own.ID + ":assumed-role/r/s"}, "", ""},
		"an ARN without account":   {api.RevokeSessionsInput{PrincipalArn: "arn:aws:iam:::role/role-of-nobody"}, "", ""},
		"no ARN":                   {api.RevokeSessionsInput{PrincipalArn: "a role, any role at all"}, "", ""},
	} {
		asks, err := revoke.Target(ctx, &c.in)
		if c.resource == "" {
			if _, ok := errors.AsType[*api.InvalidParameterException](err); !ok {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || len(asks) != 1 || asks[0].Action != "leadglass:RevokeSessions" || asks[0].Resource != c.resource || asks[0].Owner != c.owner {
			t.Errorf("%s: %+v, %v", name, asks, err)
		}
	}
	// Should the question ever be answered wrongly, another's account is still not the caller's own.
	_, err = revoke.Serve(ctx, &api.RevokeSessionsInput{AccountId: other})
	if _, ok := errors.AsType[*operation.Denied](err); !ok {
		t.Errorf("another's account: %v", err)
	}
}
