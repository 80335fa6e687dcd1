package authz_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

const (
	alice   = "arn:aws:iam::111111111111:user/alice"
	appRole = "arn:aws:iam::111111111111:role/team/app"
	session = "arn:aws:sts::111111111111:assumed-role/app/s1"
	key     = "arn:aws:kms:eu-central-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	object  = "arn:aws:s3:::records/x"

	allowAll   = `{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Action":"*","Resource":"*"}]}`
	delegating = `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"kms:*","Resource":"*"}]}`
)

func parse(t testing.TB, k policy.Kind, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(k, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func user() *authz.Principal {
	return &authz.Principal{Type: authz.User, ARN: alice, Account: "111111111111", ID: "AIDAALICE"}
}

func roleSession() *authz.Principal {
	return &authz.Principal{Type: authz.AssumedRole, ARN: session, RoleARN: appRole, Account: "111111111111", ID: "AROAAPP"}
}

func identity(t testing.TB, texts ...string) *authz.Policies {
	p := &authz.Policies{}
	for _, text := range texts {
		p.Identity = append(p.Identity, parse(t, policy.Identity, text))
	}
	return p
}

func TestAnIncompleteRequestIsDenied(t *testing.T) {
	all := identity(t, allowAll)
	for name, r := range map[string]*authz.Request{
		"no request":           nil,
		"no principal":         {Ask: &authz.Ask{}},
		"no ask":               {Principal: user()},
		"no type":              {Principal: &authz.Principal{Account: "111111111111"}, Policies: all, Ask: &authz.Ask{Action: "s3:GetObject", Owner: "111111111111"}},
		"unknown type":         {Principal: &authz.Principal{Type: 99, Account: "111111111111"}, Policies: all, Ask: &authz.Ask{Action: "s3:GetObject", Owner: "111111111111"}},
		"no owner":             {Principal: user(), Policies: all, Ask: &authz.Ask{Action: "s3:GetObject", Resource: object}},
		"no account nor owner": {Principal: &authz.Principal{Type: authz.User, ARN: alice}, Policies: all, Ask: &authz.Ask{Action: "s3:GetObject", Resource: object}},
		"no policies":          {Principal: user(), Ask: &authz.Ask{Action: "s3:GetObject", Resource: object, Owner: "111111111111"}},
	} {
		if d := authz.Decide(r, nil); d.Allowed {
			t.Errorf("%s: allowed by %s", name, d.By)
		}
	}
}

func TestADocumentWithoutPrincipalsAllowsNobodyInAResourcesPlace(t *testing.T) {
	misplaced := parse(t, policy.Identity, allowAll)
	for name, ask := range map[string]*authz.Ask{
		"resource": {Policy: misplaced},
		"vpce":     {Policy: parse(t, policy.Resource, strings.Replace(allowAll, `"Effect"`, `"Principal":"*","Effect"`, 1)), Endpoint: misplaced},
	} {
		ask.Action, ask.Resource, ask.Owner = "s3:GetObject", object, "111111111111"
		if d := authz.Decide(&authz.Request{Principal: &authz.Principal{Type: authz.Anonymous}, Ask: ask}, nil); d.Allowed || d.By.String() != name {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestANewUserOfAnOldNameHasNothingOfTheOldOne(t *testing.T) {
	text := `{"Statement":[{"Effect":"Allow","Principal":{"AWS":["` + alice + `","` + appRole + `"]},"Action":"s3:*","Resource":"*"}]}`
	doc := parse(t, policy.Resource, text)
	ask := func(p *authz.Principal, d *policy.Document) bool {
		return authz.Decide(&authz.Request{Principal: p, Ask: &authz.Ask{Action: "s3:GetObject", Resource: object, Owner: "111111111111", Policy: d}}, nil).Allowed
	}
	old := doc.Bind(map[string]string{alice: "AIDAOLD", appRole: "AROAAPP"})
	gone := doc.Bind(map[string]string{alice: ""})
	for _, c := range []struct {
		name string
		p    *authz.Principal
		d    *policy.Document
		want bool
	}{
		{"unbound, the ARN matches", user(), doc, true},
		{"bound to another id, the new user is not meant", user(), old, false},
		{"bound to the id of the role, its session is meant", roleSession(), old, true},
		{"bound to nobody, nobody is meant", user(), gone, false},
		{"bound to nobody, not even somebody without an id", &authz.Principal{Type: authz.User, ARN: alice, Account: "111111111111"}, gone, false},
		{"a role that was not bound matches by ARN", roleSession(), gone, true},
	} {
		if got := ask(c.p, c.d); got != c.want {
			t.Errorf("%s: allowed is %v", c.name, got)
		}
	}
	if !ask(user(), doc) {
		t.Error("Bind changed the document it was called on")
	}
}

func TestNotPrincipalSparesASessionOnlyIfAllOfItIsListed(t *testing.T) {
	deny := func(exempt string) *policy.Document {
		return parse(t, policy.Resource, `{"Statement":[{"Effect":"Deny","NotPrincipal":{"AWS":`+exempt+`},"Action":"*","Resource":"*"}]}`)
	}
	for _, c := range []struct {
		exempt string
		want   bool
	}{
		{`["` + session + `","` + appRole + `","111111111111"]`, true},
		{`["` + session + `","` + appRole + `"]`, false},
		{`["` + session + `","111111111111"]`, false},
		{`["` + appRole + `","111111111111"]`, false},
	} {
		d := authz.Decide(&authz.Request{Principal: roleSession(), Policies: identity(t, allowAll),
			Ask: &authz.Ask{Action: "s3:GetObject", Resource: object, Owner: "111111111111", Policy: deny(c.exempt)}}, nil)
		if d.Allowed != c.want {
			t.Errorf("%s listed: allowed is %v", c.exempt, d.Allowed)
		}
	}
}

func TestGrantsAllowWhatTheyNameUnderTheirConstraints(t *testing.T) {
	type context map[string]string
	policyOfKey := parse(t, policy.Key, delegating)
	for _, c := range []struct {
		name    string
		grant   authz.Grant
		action  string
		context context
		want    bool
	}{
		{"the role's session uses the role's grant", authz.Grant{Grantee: appRole}, "kms:Decrypt", nil, true},
		{"an operation that is not granted", authz.Grant{Grantee: appRole}, "kms:Encrypt", nil, false},
		{"another service's operation of that name", authz.Grant{Grantee: appRole}, "s3:Decrypt", nil, false},
		{"the session itself is the grantee", authz.Grant{Grantee: session}, "kms:Decrypt", nil, true},
		{"another role", authz.Grant{Grantee: "arn:aws:iam::111111111111:role/app"}, "kms:Decrypt", nil, false},
		{"by id", authz.Grant{Grantee: appRole, GranteeID: "AROAAPP"}, "kms:Decrypt", nil, true},
		{"by the id of a deleted role of that name", authz.Grant{Grantee: appRole, GranteeID: "AROAOLD"}, "kms:Decrypt", nil, false},
		{"a grant to the account only delegates", authz.Grant{Grantee: "arn:aws:iam::111111111111:root"}, "kms:Decrypt", nil, false},
		{"subset met by more", authz.Grant{Grantee: appRole, Subset: context{"dept": "x"}}, "kms:Decrypt", context{"dept": "x", "n": "1"}, true},
		{"subset: the key's case does not matter", authz.Grant{Grantee: appRole, Subset: context{"Dept": "x"}}, "kms:Decrypt", context{"dEPT": "x"}, true},
		{"subset: the value's case does", authz.Grant{Grantee: appRole, Subset: context{"dept": "X"}}, "kms:Decrypt", context{"dept": "x"}, false},
		{"subset: absent", authz.Grant{Grantee: appRole, Subset: context{"dept": "x"}}, "kms:Decrypt", nil, false},
		{"subset: two spellings of one key", authz.Grant{Grantee: appRole, Subset: context{"dept": "x"}}, "kms:Decrypt", context{"dept": "x", "Dept": "y"}, false},
		{"equals met", authz.Grant{Grantee: appRole, Equals: context{"dept": "x"}}, "kms:Decrypt", context{"DEPT": "x"}, true},
		{"equals: one more", authz.Grant{Grantee: appRole, Equals: context{"dept": "x"}}, "kms:Decrypt", context{"dept": "x", "n": "1"}, false},
		{"equals nothing", authz.Grant{Grantee: appRole, Equals: context{}}, "kms:Decrypt", context{"n": "1"}, false},
		{"equals nothing, nothing given", authz.Grant{Grantee: appRole, Equals: context{}}, "kms:Decrypt", nil, true},
		{"both, one broken", authz.Grant{Grantee: appRole, Subset: context{"dept": "x"}, Equals: context{"n": "1"}}, "kms:Decrypt", context{"n": "1"}, false},
		{"DescribeKey takes no context", authz.Grant{Grantee: appRole, Subset: context{"dept": "x"}}, "kms:DescribeKey", nil, true},
		{"no grantee", authz.Grant{}, "kms:Decrypt", nil, false},
	} {
		c.grant.ID, c.grant.Operations = "g1", []string{"Decrypt", "DescribeKey"}
		a := &authz.Ask{Action: c.action, Resource: key, Owner: "111111111111", Policy: policyOfKey, Grants: []authz.Grant{c.grant}}
		for k, v := range c.context {
			a.Context.Set("kms:EncryptionContext:"+k, v)
		}
		d := authz.Decide(&authz.Request{Principal: roleSession(), Ask: a}, nil)
		if d.Allowed != c.want || d.Allowed && (d.By != authz.ByGrant || d.GrantID != "g1") {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func TestAGrantIsLimitedLikeTheRole(t *testing.T) {
	a := &authz.Ask{Action: "kms:Decrypt", Resource: key, Owner: "111111111111", Policy: parse(t, policy.Key, delegating),
		Grants: []authz.Grant{{ID: "g", Grantee: appRole, Operations: []string{"Decrypt"}}}}
	only := parse(t, policy.Boundary, `{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	for _, c := range []struct {
		policies *authz.Policies
		owner    string
		want     authz.Decision
	}{
		{&authz.Policies{Boundary: only}, "111111111111", authz.Decision{By: authz.ByBoundary}},
		{&authz.Policies{Session: []*policy.Document{only}, SessionPassed: true}, "111111111111", authz.Decision{By: authz.BySession}},
		{&authz.Policies{}, "222222222222", authz.Decision{By: authz.ByIdentity}},
		{identity(t, allowAll), "222222222222", authz.Decision{Allowed: true, By: authz.ByGrant, GrantID: "g"}},
	} {
		a.Owner = c.owner
		if c.owner != "111111111111" {
			a.Policy = parse(t, policy.Key, strings.ReplaceAll(delegating, "111111111111", c.owner))
		}
		d := authz.Decide(&authz.Request{Principal: roleSession(), Policies: c.policies, Ask: a}, nil)
		if d.Allowed != c.want.Allowed || d.By != c.want.By || d.GrantID != c.want.GrantID {
			t.Errorf("owner %s: got %+v, want %+v", c.owner, d, c.want)
		}
	}
}

func TestCallerIdentityNeedsNoPermissionAndKnowsNoDeny(t *testing.T) {
	denyAll := `{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`
	none := parse(t, policy.Endpoint, `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}`)
	ask := &authz.Ask{Action: "sts:GetCallerIdentity", Resource: "*", Owner: "111111111111"}
	if d := authz.Decide(&authz.Request{Principal: user(), Policies: identity(t, denyAll), Ask: ask}, nil); !d.Allowed {
		t.Errorf("denied: %+v", d)
	}
	ask.Endpoint = none
	if d := authz.Decide(&authz.Request{Principal: user(), Ask: ask}, nil); d.Allowed || d.By != authz.ByEndpoint {
		t.Errorf("through an endpoint that does not allow it: %+v", d)
	}
	ask.Endpoint = nil
	if d := authz.Decide(&authz.Request{Principal: &authz.Principal{Type: authz.Anonymous}, Ask: ask}, nil); d.Allowed {
		t.Error("an anonymous caller has no identity")
	}
}

func TestATemporaryUserMayNotCallIAMWithoutMFANorMostOfSTS(t *testing.T) {
	for _, c := range []struct {
		action, mfa string
		temporary   bool
		want        bool
	}{
		{"iam:ListUsers", "", true, false},
		{"IAM:ListUsers", "false", true, false},
		{"iam:ListUsers", "true", true, true},
		{"iam:ListUsers", "", false, true},
		{"sts:GetFederationToken", "true", true, false},
		{"sts:GetSessionToken", "", true, false},
		{"s3:ListAllMyBuckets", "", true, true},
	} {
		p := user()
		p.TemporaryUser = c.temporary
		var common authz.Keys
		if c.mfa != "" {
			common.Set("aws:MultiFactorAuthPresent", c.mfa)
		}
		d := authz.Decide(&authz.Request{Principal: p, Policies: identity(t, allowAll), Common: &common,
			Ask: &authz.Ask{Action: c.action, Resource: "*", Owner: "111111111111"}}, nil)
		if d.Allowed != c.want {
			t.Errorf("%+v: %+v", c, d)
		}
	}
}

func TestKeysOfTheAskHideThoseOfTheCall(t *testing.T) {
	text := `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/a":"ask"}}}]}`
	var common authz.Keys
	common.Set("aws:ResourceTag/a", "call")
	r := &authz.Request{Principal: user(), Policies: identity(t, text), Common: &common,
		Ask: &authz.Ask{Action: "s3:GetObject", Resource: object, Owner: "111111111111"}}
	if authz.Decide(r, nil).Allowed {
		t.Error("allowed by the call's value")
	}
	r.Ask.Context.Set("aws:resourcetag/A", "ask")
	if !authz.Decide(r, nil).Allowed {
		t.Error("denied although the ask's key has the value")
	}
}

func TestARootSessionForATaskIsHeldToIt(t *testing.T) {
	const root = "arn:aws:iam::111111111111:root"
	const key = "arn:aws:kms:us-east-1:111111111111:key/k"
	task := parse(t, policy.Session, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListAccessKeys","Resource":"*"}]}`)
	byRoot := parse(t, policy.Key, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+root+`"},"Action":"kms:*","Resource":"*"}]}`)
	for _, c := range []struct {
		name, action, resource string
		policy                 *policy.Document
		limited, want          bool
	}{
		{"the task", "iam:ListAccessKeys", root, nil, true, true},
		{"beyond the task", "iam:CreateUser", root, nil, true, false},
		{"beyond the task where a key policy names the root", "kms:Decrypt", key, byRoot, true, false},
		{"a root without a task", "iam:CreateUser", root, nil, false, true},
		{"a root without a task where a key policy names it", "kms:Decrypt", key, byRoot, false, true},
	} {
		policies := &authz.Policies{}
		if c.limited {
			policies = &authz.Policies{Session: []*policy.Document{task}, SessionPassed: true}
		}
		d := authz.Decide(&authz.Request{
			Principal: &authz.Principal{Type: authz.Root, ARN: root, Account: "111111111111", ID: "111111111111"}, Policies: policies,
			Ask: &authz.Ask{Action: c.action, Resource: c.resource, Owner: "111111111111", Policy: c.policy},
		}, nil)
		if d.Allowed != c.want {
			t.Errorf("%s: %+v", c.name, d)
		}
		if !c.want && d.By != authz.BySession {
			t.Errorf("%s: denied by %v", c.name, d.By)
		}
	}
}

func TestDenialsAreToldInAWSsWords(t *testing.T) {
	scp := parse(t, policy.SCP, `{"Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`).Named("arn:aws:organizations::999999999999:policy/o-a/service_control_policy/p-1")
	inline := parse(t, policy.Identity, `{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`).Named("inline")
	bucket := parse(t, policy.Resource, `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}]}`).Named("arn:aws:s3:::records")
	const start = "User: " + alice + " is not authorized to perform: s3:GetObject on resource: " + object
	for _, c := range []struct {
		name     string
		policies *authz.Policies
		ask      authz.Ask
		orgs     [2]string
		want     string
	}{
		{"nothing allows", &authz.Policies{}, authz.Ask{Owner: "111111111111"}, [2]string{},
			start + " because no identity-based policy allows the s3:GetObject action"},
		{"an SCP denies", &authz.Policies{SCPs: [][]*policy.Document{{scp}}}, authz.Ask{Owner: "111111111111"}, [2]string{},
			start + " with an explicit deny in a service control policy: arn:aws:organizations::999999999999:policy/o-a/service_control_policy/p-1"},
		{"an inline policy has no ARN to tell", &authz.Policies{Identity: []*policy.Document{inline}}, authz.Ask{Owner: "111111111111"}, [2]string{},
			start + " with an explicit deny in an identity-based policy"},
		{"a resource policy is not named", &authz.Policies{}, authz.Ask{Owner: "111111111111", Policy: bucket}, [2]string{},
			start + " with an explicit deny in a resource-based policy"},
		{"a stranger learns only that", &authz.Policies{}, authz.Ask{Owner: "222222222222", Policy: bucket}, [2]string{}, start},
		{"of another organisation, too", &authz.Policies{}, authz.Ask{Owner: "222222222222"}, [2]string{"o-a", "o-b"}, start},
		{"of the same organisation learns what stands above both", &authz.Policies{SCPs: [][]*policy.Document{{scp}}}, authz.Ask{Owner: "222222222222"}, [2]string{"o-a", "o-a"},
			start + " with an explicit deny in a service control policy: arn:aws:organizations::999999999999:policy/o-a/service_control_policy/p-1"},
		{"of the same organisation, but not what the resource says", &authz.Policies{}, authz.Ask{Owner: "222222222222", Policy: bucket}, [2]string{"o-a", "o-a"}, start},
		{"nor what its own policies say, which may turn on the resource's tags", &authz.Policies{Identity: []*policy.Document{inline}}, authz.Ask{Owner: "222222222222"}, [2]string{"o-a", "o-a"}, start},
		{"nor that it says nothing", &authz.Policies{}, authz.Ask{Owner: "222222222222"}, [2]string{"o-a", "o-a"}, start},
	} {
		c.ask.Action, c.ask.Resource = "s3:GetObject", object
		var common authz.Keys
		if c.orgs[0] != "" {
			common.Set("aws:PrincipalOrgID", c.orgs[0])
			c.ask.Context.Set("aws:ResourceOrgID", c.orgs[1])
		}
		d := authz.Decide(&authz.Request{Principal: user(), Policies: c.policies, Ask: &c.ask, Common: &common}, nil)
		if got := d.Message(user(), &c.ask); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestATraceNamesStatementsAndMissingKeys(t *testing.T) {
	guard := parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Deny","Action":"s3:Put*","Resource":"*"},
		{"Sid":"Mfa","Effect":"Deny","Action":"*","Resource":"*","Condition":{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"},"StringEqualsIfExists":{"aws:Absent":"x"}}},
		{"Sid":"Home","Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::records/${aws:PrincipalTag/dir}"}]}`).Named("arn:aws:iam::111111111111:policy/guard")
	r := &authz.Request{Principal: user(), Policies: &authz.Policies{Identity: []*policy.Document{guard, parse(t, policy.Identity, allowAll)}},
		Ask: &authz.Ask{Action: "s3:GetObject", Resource: object, Owner: "111111111111"}}
	trace := authz.Trace{Missing: []string{}}
	d := authz.Decide(r, &trace)
	want := `{"allow":["identity#All"],"deny":["arn:aws:iam::111111111111:policy/guard#Mfa"],"reason":"explicit deny: identity"}`
	if got := string(trace.AppendJSON(nil, d)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	missing := []string{"aws:MultiFactorAuthPresent", "aws:Absent", "aws:PrincipalTag/dir"}
	if diff := cmp.Diff(missing, trace.Missing); diff != "" {
		t.Error(diff)
	}
	trace.Reset()
	if len(trace.Allow)+len(trace.Deny)+len(trace.Missing) != 0 {
		t.Error("Reset leaves something")
	}
}

func TestExplainGivesTheDecodedMessage(t *testing.T) {
	deny := parse(t, policy.Identity, `{"Statement":[{"Sid":"No","Effect":"Deny","Action":"ec2:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}`)
	var common authz.Keys
	common.Set("aws:SecureTransport", "true")
	common.Set("ec2:Region", "hidden")
	ask := &authz.Ask{Action: "ec2:RunInstances", Resource: "*", Owner: "111111111111"}
	ask.Context.Set("ec2:region", "eu-central-1")
	r := &authz.Request{Principal: user(), Policies: &authz.Policies{Identity: []*policy.Document{deny}}, Ask: ask, Common: &common}
	var trace authz.Trace
	got := string(authz.Explain(r, authz.Decide(r, &trace), &trace))
	want := `{"allowed":false,"explicitDeny":true,"matchedStatements":{"items":[{"statementId":"No","effect":"DENY","principals":{"items":[]},` +
		`"principalGroups":{"items":[]},"actions":{"items":[{"value":"ec2:*"}]},"resources":{"items":[{"value":"*"}]},` +
		`"conditions":{"items":[{"key":"aws:SecureTransport","values":{"items":[{"value":"true"}]}}]}}]},"failures":{"items":[]},` +
		`"context":{"principal":{"id":"AIDAALICE","name":"alice","arn":"` + alice + `"},"action":"ec2:RunInstances","resource":"*",` +
		`"conditions":{"items":[{"key":"ec2:region","values":{"items":[{"value":"eu-central-1"}]}},{"key":"aws:SecureTransport","values":{"items":[{"value":"true"}]}}]}}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !json.Valid(authz.Explain(r, authz.Decision{}, nil)) {
		t.Error("without a trace it is no JSON")
	}
}

func TestARequestIsDecidedWithoutAllocation(t *testing.T) {
	r := fiveDocuments(t)
	trace := &authz.Trace{Allow: make([]authz.Matched, 0, 64), Deny: make([]authz.Matched, 0, 64), Missing: make([]string, 0, 64)}
	for name, tr := range map[string]*authz.Trace{"without a trace": nil, "with a trace": trace} {
		if n := testing.AllocsPerRun(100, func() {
			if tr != nil {
				tr.Reset()
			}
			authz.Decide(r, tr)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestReasonsAreShort(t *testing.T) {
	got := []string{
		authz.Decision{Allowed: true, By: authz.ByIdentityAndResource}.Reason(),
		authz.Decision{Explicit: true, By: authz.ByRCP}.Reason(),
		authz.Decision{By: authz.ByEndpoint}.Reason(),
		authz.Decision{}.Reason(),
	}
	want := []string{"allow: identity+resource", "explicit deny: rcp", "implicit deny: vpce", "implicit deny: none"}
	if !slices.Equal(got, want) {
		t.Error(strings.Join(got, ", "))
	}
}
