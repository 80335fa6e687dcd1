package simulator_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/authz/authztest"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/simulator"
)

const (
	account = "111111111111"
	other   = "222222222222"
	alice   = "arn:aws:iam::111111111111:user/ward/alice"
)

// simulate runs a simulation whole.
func simulate(t *testing.T, s *simulator.Simulation) []simulator.Result {
	t.Helper()
	r, err := s.Run(t.Context(), 0, len(s.Actions))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t *testing.T, k policy.Kind, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(k, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// live makes, out of a random world, a request that the API can simulate and that is asked the way the gate asks, and
// the simulation of it. What the API has no words for is taken out of both.
func live(w *authztest.World) (*authz.Request, *simulator.Simulation, bool) {
	r := w.Request
	p := *r.Principal
	if p.Type != authz.User && p.Type != authz.AssumedRole || p.TemporaryUser {
		return nil, nil, false
	}
	a := *r.Ask
	a.Endpoint, a.Grants = nil, nil
	if parsed, err := arn.Parse(a.Resource); err == nil && arn.IsAccount(parsed.Account) {
		a.Owner = parsed.Account
	}
	policies := authz.Policies{Identity: r.Policies.Identity, Boundary: r.Policies.Boundary, SCPs: r.Policies.SCPs}

	// What the request says: the target's keys hide those of the call. A key in two spellings cannot be given.
	context := map[string][]string{}
	spelled := map[string]string{}
	for _, keys := range []*authz.Keys{r.Common, &r.Ask.Context} {
		for name, values := range keys.All() {
			if before, ok := spelled[strings.ToLower(name)]; ok {
				delete(context, before)
			}
			spelled[strings.ToLower(name)] = name
			context[name] = slices.Clone(values)
		}
	}
	s := &simulator.Simulation{
		Caller: p, UserID: "AIDAALICE", Tags: map[string]string{"ward": "7"}, Policies: authz.Policies{Identity: policies.Identity, Boundary: policies.Boundary},
		Limits:   simulator.Limits{Organization: "o-abcdefghij", Path: "o-abcdefghij/r-ab12/", Management: p.ManagementAccount, SCPs: policies.SCPs},
		Resource: a.Policy, Owner: r.Ask.Owner, Actions: []string{a.Action}, Resources: []string{a.Resource},
	}
	ofOwner := simulator.Limits{Organization: "o-abcdefghij", Path: "o-abcdefghij/r-ab12/", Management: a.OwnerManagement, RCPs: a.RCPs}
	if a.Owner == p.Account {
		s.Limits.RCPs = a.RCPs
		a.OwnerManagement = p.ManagementAccount // one account
	} else {
		s.OwnerLimits = func(string) simulator.Limits { return ofOwner }
	}
	for name, values := range context {
		s.Context = append(s.Context, simulator.Entry{Key: name, Values: values, Type: "stringList"})
	}

	common := new(authz.Keys)
	derived := map[string]string{
		"aws:PrincipalAccount": p.Account, "aws:userid": "AIDAALICE", "aws:PrincipalIsAWSService": "false", "aws:ViaAWSService": "false",
		"aws:PrincipalArn": p.ARN, "aws:PrincipalType": "User", "aws:PrincipalTag/ward": "7", "aws:ResourceAccount": a.Owner,
		"aws:PrincipalOrgID": "o-abcdefghij", "aws:PrincipalOrgPaths": "o-abcdefghij/r-ab12/", "aws:ResourceOrgID": "o-abcdefghij", "aws:ResourceOrgPaths": "o-abcdefghij/r-ab12/",
	}
	if p.Type == authz.User {
		derived["aws:username"] = p.ARN[strings.LastIndexByte(p.ARN, '/')+1:]
	} else {
		derived["aws:PrincipalArn"], derived["aws:PrincipalType"] = p.RoleARN, "AssumedRole"
	}
	for name, v := range derived {
		if _, given := spelled[strings.ToLower(name)]; !given {
			common.Set(name, v)
		}
	}
	for name, values := range context {
		common.Set(name, values...)
	}
	a.Context = authz.Keys{}
	return &authz.Request{Principal: &p, Policies: &policies, Ask: &a, Common: common}, s, true
}

func TestTheSimulatorAndTheLiveDecisionAgreeOnEveryCase(t *testing.T) {
	count := map[simulator.Verdict]int{}
	for seed := range uint64(3000) {
		w := authztest.New(seed)
		for range 5 {
			w.Next()
			request, s, ok := live(w)
			if !ok {
				continue
			}
			trace := new(authz.Trace)
			want := authz.Decide(request, trace)
			got := simulate(t, s)[0]
			decision := got.Resources[0].Decision
			if decision.Allowed != want.Allowed || decision.Explicit != want.Explicit || decision.By != want.By || decision.Policy != want.Policy {
				t.Fatalf("seed %d: simulated %+v, live %+v\n%s", seed, decision, want, w)
			}
			verdict := simulator.ImplicitDeny
			switch {
			case want.Allowed:
				verdict = simulator.Allowed
			case want.Explicit:
				verdict = simulator.ExplicitDeny
			}
			if got.Verdict != verdict {
				t.Fatalf("seed %d: verdict %s of %+v", seed, got.Verdict, want)
			}
			deciding := trace.Allow
			if want.Explicit {
				deciding = trace.Deny
			}
			for _, m := range got.Matched {
				if !slices.Contains(deciding, m) {
					t.Fatalf("seed %d: %s decided in the simulation only", seed, m.Name())
				}
			}
			if want.By == authz.BySCP && (got.Org == nil || *got.Org) || want.By == authz.ByBoundary && (got.Boundary == nil || *got.Boundary) {
				t.Fatalf("seed %d: denied by %s, which the details deny: %+v", seed, want.By, got)
			}
			count[got.Verdict]++
		}
	}
	for _, v := range []simulator.Verdict{simulator.Allowed, simulator.ExplicitDeny, simulator.ImplicitDeny} {
		if count[v] < 300 {
			t.Errorf("%s came up %d times only", v, count[v])
		}
	}
}

const reads = `{"Version":"2012-10-17","Statement":[
  {"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::records/${aws:username}/*",
   "Condition":{"StringEquals":{"aws:PrincipalTag/ward":"7"},"Bool":{"aws:MultiFactorAuthPresent":"true"}}},
  {"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::records/alice/closed/*"}]}`

func TestWhatNobodyGaveIsMissing(t *testing.T) {
	s := &simulator.Simulation{
		Caller: authz.Principal{Type: authz.User, Account: account}, Policies: authz.Policies{Identity: []*policy.Document{parse(t, policy.Identity, reads)}},
		Actions: []string{"s3:GetObject"}, Resources: []string{"arn:aws:s3:::records/alice/1"},
	}
	r := simulate(t, s)[0]
	if r.Verdict != simulator.ImplicitDeny || !slices.Equal(r.Missing, []string{"aws:username"}) {
		t.Errorf("nobody in particular: %+v, want the user's name missing", r)
	}
	s.Caller.ARN = alice
	if r = simulate(t, s)[0]; !slices.Equal(r.Missing, []string{"aws:PrincipalTag/ward", "aws:MultiFactorAuthPresent"}) {
		t.Errorf("alice: missing %v", r.Missing)
	}
	s.Tags = map[string]string{"Ward": "6"}
	s.Context = []simulator.Entry{{Key: "aws:multifactorauthpresent", Values: []string{"true"}, Type: "boolean"}, {Key: "aws:PrincipalTag/WARD", Values: []string{"7"}, Type: "string"}}
	if r = simulate(t, s)[0]; r.Verdict != simulator.Allowed || len(r.Missing) > 0 || len(r.Matched) != 1 || r.Matched[0].Statement().Start.Line != 2 {
		t.Errorf("with all keys: %+v", r)
	}
}

func TestTheWorstOfSeveralResourcesIsTheAnswer(t *testing.T) {
	s := &simulator.Simulation{
		Caller: authz.Principal{Type: authz.User, Account: account, ARN: alice}, Policies: authz.Policies{Identity: []*policy.Document{parse(t, policy.Identity, reads)}},
		Context: []simulator.Entry{{Key: "aws:MultiFactorAuthPresent", Values: []string{"true"}}, {Key: "aws:PrincipalTag/ward", Values: []string{"7"}}},
		Actions: []string{"s3:GetObject", "s3:PutObject"}, Resources: []string{"arn:aws:s3:::records/alice/1", "arn:aws:s3:::records/alice/closed/2"},
	}
	r := simulate(t, s)
	if r[0].Verdict != simulator.ExplicitDeny || r[0].Resources[0].Verdict != simulator.Allowed || r[0].Resources[1].Verdict != simulator.ExplicitDeny {
		t.Errorf("GetObject: %+v", r[0])
	}
	if len(r[0].Resources[1].Matched) != 1 || r[0].Resources[1].Matched[0].Index != 1 {
		t.Errorf("the deny is the only statement that decides: %+v", r[0].Resources[1].Matched)
	}
	if r[1].Resources[0].Verdict != simulator.ImplicitDeny || len(r[1].Resources[0].Matched) != 0 {
		t.Errorf("PutObject: %+v", r[1])
	}
}

func TestATrustPolicyIsEvaluated(t *testing.T) {
	trust := parse(t, policy.Trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+alice+`"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"7"}}}]}`)
	s := &simulator.Simulation{
		Caller: authz.Principal{Type: authz.User, Account: account, ARN: alice}, Resource: trust,
		Actions: []string{"sts:AssumeRole"}, Resources: []string{"arn:aws:iam::111111111111:role/app"},
	}
	if r := simulate(t, s)[0]; r.Verdict != simulator.ImplicitDeny || !slices.Equal(r.Missing, []string{"sts:ExternalId"}) {
		t.Errorf("without external id: %+v", r)
	}
	s.Context = []simulator.Entry{{Key: "sts:ExternalId", Values: []string{"7"}}}
	if r := simulate(t, s)[0]; r.Verdict != simulator.Allowed {
		t.Errorf("with external id: %+v", r)
	}
}

func TestAcrossAccountsEachTypeIsTold(t *testing.T) {
	bucket := parse(t, policy.Resource, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+alice+`"},"Action":"s3:GetObject","Resource":"*"}]}`)
	s := &simulator.Simulation{
		Caller: authz.Principal{Type: authz.User, Account: account, ARN: alice}, Resource: bucket, Owner: other,
		Policies: authz.Policies{Boundary: parse(t, policy.Boundary, reads)},
		Actions:  []string{"s3:GetObject"}, Resources: []string{"arn:aws:s3:::records/alice/1"},
	}
	r := simulate(t, s)[0]
	want := map[string]simulator.Verdict{"IAM Policy": simulator.ImplicitDeny, "Resource Policy": simulator.Allowed, "Permissions Boundary Policy": simulator.ImplicitDeny}
	if r.Verdict != simulator.ImplicitDeny || !maps.Equal(r.Details, want) {
		t.Errorf("got %s, %v", r.Verdict, r.Details)
	}
	s.Owner = account
	if r := simulate(t, s)[0]; r.Verdict != simulator.Allowed || r.Details != nil {
		t.Errorf("in one account: %+v", r)
	}
}

func TestAnotherOrganizationsPoliciesAreNotLookedAt(t *testing.T) {
	s := &simulator.Simulation{
		Caller: authz.Principal{Type: authz.User, Account: account, ARN: alice}, Owner: other, Limits: simulator.Limits{Organization: "o-mine"},
		OwnerLimits: func(string) simulator.Limits {
			return simulator.Limits{Organization: "o-theirs", Path: "o-theirs/r-ab12/", RCPs: [][]*policy.Document{{}}}
		},
		Policies: authz.Policies{Identity: []*policy.Document{parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"aws:ResourceOrgID":"true"}}}]}`)}},
		Resource: parse(t, policy.Resource, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+alice+`"},"Action":"s3:GetObject","Resource":"*"}]}`),
		Actions:  []string{"s3:GetObject"}, Resources: []string{"arn:aws:s3:::x/1"},
	}
	if r := simulate(t, s)[0]; r.Verdict != simulator.Allowed || r.Org != nil {
		t.Errorf("got %+v: what another organization forbids shows", r)
	}
}

func TestInputsThatMeanNothingAreRefused(t *testing.T) {
	good := func() *simulator.Simulation {
		return &simulator.Simulation{Caller: authz.Principal{Type: authz.User, Account: account, ARN: alice}, Actions: []string{"s3:GetObject"}}
	}
	entry := func(key, kind string, values ...string) func(*simulator.Simulation) {
		return func(s *simulator.Simulation) {
			s.Context = append(s.Context, simulator.Entry{Key: key, Type: kind, Values: values})
		}
	}
	for name, change := range map[string]func(*simulator.Simulation){
		"an action with a wildcard":        func(s *simulator.Simulation) { s.Actions = []string{"s3:Get*"} },
		"an action without service":        func(s *simulator.Simulation) { s.Actions = []string{"GetObject"} },
		"a resource that is no ARN":        func(s *simulator.Simulation) { s.Resources = []string{"records/1"} },
		"an unknown scenario":              func(s *simulator.Simulation) { s.Scenario = "EC2-Moon" },
		"a scenario without its resources": func(s *simulator.Simulation) { s.Scenario = "EC2-VPC-EBS" },
		"a key without vendor":             entry("team", "string", "red"),
		"a number that is none":            entry("s3:max-keys", "numeric", "ten"),
		"a date that is none":              entry("aws:CurrentTime", "date", "noon"),
		"a boolean that is none":           entry("aws:SecureTransport", "boolean", "yes"),
		"an address that is none":          entry("aws:SourceIp", "ip", "10.1.2.3.4"),
		"base64 that is none":              entry("svc:blob", "binary", "%"),
		"one bad value of a list":          entry("svc:flags", "booleanList", "true", "no"),
		"two values where one is due":      entry("aws:username", "string", "a", "b"),
		"no value where one is due":        entry("aws:username", "string"),
		"a type that there is not":         entry("aws:username", "text", "a"),
		"a key given twice": func(s *simulator.Simulation) {
			entry("aws:username", "string", "a")(s)
			entry("AWS:UserName", "string", "b")(s)
		},
	} {
		s := good()
		change(s)
		_, err := s.Run(t.Context(), 0, len(s.Actions))
		if _, ok := errors.AsType[*simulator.Error](err); !ok {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	s := good()
	for _, e := range []struct{ key, kind, value string }{
		{"a:s", "string", "x"}, {"a:n", "numeric", "-1.5"}, {"a:b", "boolean", "TRUE"}, {"a:i", "ip", "2001:db8::1"}, {"a:d", "date", "2026-11-24T12:00:00Z"}, {"a:x", "binary", "QUJD"},
	} {
		entry(e.key, e.kind, e.value)(s)
		entry(e.key+"s", e.kind+"List", e.value, e.value)(s)
	}
	s.Scenario = "EC2-VPC-InstanceStore"
	for _, kind := range []string{"instance", "image", "security-group", "network-interface"} {
		s.Resources = append(s.Resources, "arn:aws:ec2:us-east-1:111111111111:"+kind+"/x")
	}
	simulate(t, s)
}
