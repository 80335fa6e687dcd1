package simulator_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/simulator"
)

// Whatever a simulation is given, it is refused or answered, and nothing but an allow allows.
func FuzzSimulation(f *testing.F) {
	f.Add(reads, "s3:GetObject", "arn:aws:s3:::records/alice/1", "aws:MultiFactorAuthPresent", "boolean", "true", "111111111111")
	f.Add(`{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`, "iam:x", "*", "a:b", "ipList", "::1", "")
	f.Add("{", "a", "arn:", ":", "dateList", "2026", "me")
	f.Fuzz(func(t *testing.T, text, action, resource, key, kind, value, owner string) {
		d, err := policy.Parse(policy.Identity, []byte(text))
		if err != nil {
			return
		}
		policy.ContextKeys(d)
		s := &simulator.Simulation{
			Caller: authz.Principal{Type: authz.User, Account: account, ARN: alice}, Policies: authz.Policies{Identity: []*policy.Document{d}}, Owner: owner,
			Context: []simulator.Entry{{Key: key, Type: kind, Values: []string{value}}}, Actions: []string{action}, Resources: []string{resource},
		}
		results, err := s.Run(t.Context(), 0, 1)
		if err != nil {
			if _, ok := errors.AsType[*simulator.Error](err); !ok {
				t.Fatal(err)
			}
			return
		}
		if r := results[0]; r.Verdict == simulator.Allowed && len(r.Matched) == 0 && !strings.EqualFold(action, "sts:GetCallerIdentity") {
			t.Errorf("allowed by nothing: %+v", r)
		}
	})
}
