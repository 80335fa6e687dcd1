package authz_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

// A denial is the record's policyDecision, as its readers see it.
type denial struct {
	Allow, Deny              []string
	Reason, Action, Resource string
	Policy                   string
	More                     int
	Statements               []struct {
		By, Policy, Sid, Effect, Text string
		Index, Line, Column           int
		Principal, Resource           *bool
		Conditions                    []struct {
			Operator, Key  string
			Wants, Found   []string
			Absent, Hidden bool
		}
	}
}

func denialOf(t *testing.T, r *authz.Request) (denial, string) {
	t.Helper()
	var trace authz.Trace
	d := authz.Decide(r, &trace)
	if d.Allowed {
		t.Fatal("allowed")
	}
	text := trace.AppendDenial(nil, r, d)
	var out denial
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out, string(text)
}

func TestARecordedDenialNamesTheConditionThatDidNotHold(t *testing.T) {
	r := &authz.Request{Principal: user(), Common: new(authz.Keys), Policies: &authz.Policies{Identity: []*policy.Document{
		parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":[
  {"Sid":"Ward","Effect":"Allow","Action":"kms:Decrypt","Resource":"*","Condition":{
    "StringEquals":{"aws:PrincipalTag/ward":"7","kms:EncryptionContext:patient":"12","aws:username":"alice"},
    "IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}},
  {"Effect":"Allow","Action":"kms:*","Resource":"arn:aws:kms:us-east-1:111111111111:key/other"},
  {"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`).Named("ward-policy"),
	}}, Ask: &authz.Ask{Action: "kms:Decrypt", Resource: "arn:aws:kms:us-east-1:111111111111:key/k1", Owner: "111111111111",
		Policy: parse(t, policy.Key, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"kms:*","Resource":"*"}}`)}}
	r.Common.Set("aws:username", "alice")
	r.Common.Set("aws:SourceIp", "192.0.2.1")
	r.Ask.Context.Set("kms:EncryptionContext:patient", "the patient's number")
	d, text := denialOf(t, r)
	if d.Reason != "implicit deny: identity" || d.Action != "kms:Decrypt" || d.Resource != r.Ask.Resource || len(d.Statements) != 2 || d.More != 0 {
		t.Fatalf("%s", text)
	}
	s := d.Statements[0]
	if s.By != "identity" || s.Policy != "ward-policy" || s.Sid != "Ward" || s.Index != 0 || s.Line != 2 || s.Column != 3 || s.Resource != nil || !strings.HasPrefix(s.Text, `{"Sid":"Ward"`) || !strings.HasSuffix(s.Text, `}}}`) {
		t.Errorf("statement %+v", s)
	}
	got := map[string]string{}
	for _, c := range s.Conditions {
		got[c.Operator+" "+c.Key] = fmt.Sprint(c.Wants, c.Found, c.Absent, c.Hidden)
	}
	want := map[string]string{
		"StringEquals aws:PrincipalTag/ward":         "[7] [] true false",
		"StringEquals kms:EncryptionContext:patient": "[12] [] false true",
		"IpAddress aws:SourceIp":                     "[10.0.0.0/8] [192.0.2.1] false false",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("conditions %v\nwant %v", got, want)
	}
	if strings.Contains(text, "the patient's number") {
		t.Errorf("a value of the encryption context is in the record: %s", text)
	}
	if s := d.Statements[1]; s.Resource == nil || *s.Resource || len(s.Conditions) != 0 {
		t.Errorf("the statement on another key: %+v", s)
	}
}

func TestARecordedDenialSaysWhatTheVariablesOfAConditionStoodFor(t *testing.T) {
	r := &authz.Request{Principal: user(), Common: new(authz.Keys), Policies: &authz.Policies{Identity: []*policy.Document{
		parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{
  "StringEquals":{"aws:ResourceTag/ward":["${aws:PrincipalTag/ward}","x-${aws:principaltag/Ward}"]},
  "StringLike":{"aws:ResourceTag/house":"${aws:PrincipalTag/house, 'none'}/${kms:EncryptionContext:patient}/*"}}}}`).Named("wards"),
	}}, Ask: &authz.Ask{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/1", Owner: "111111111111"}}
	r.Common.Set("aws:PrincipalTag/ward", "3")
	r.Ask.Context.Set("aws:ResourceTag/ward", "4")
	r.Ask.Context.Set("aws:ResourceTag/house", "north")
	r.Ask.Context.Set("kms:EncryptionContext:patient", "the patient's number")
	_, text := denialOf(t, r)
	for _, want := range []string{
		`"found":["4"],"variables":[{"key":"aws:PrincipalTag/ward","found":["3"]}]}`,
		`"found":["north"],"variables":[{"key":"aws:PrincipalTag/house","absent":true},{"key":"kms:EncryptionContext:patient","hidden":true}]}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "the patient's number") {
		t.Errorf("a value of the encryption context is in the record: %s", text)
	}
}

func TestARecordedExplicitDenialShowsTheStatementThatDenies(t *testing.T) {
	r := fiveDocuments(t)
	r.Policies.Identity = append(r.Policies.Identity[:1], parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":{"Sid":"NeedsMFA","Effect":"Deny","Action":"*","Resource":"*","Condition":{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}}}`).Named("arn:aws:iam::111111111111:policy/mfa"))
	common := new(authz.Keys)
	common.Set("aws:MultiFactorAuthPresent", "false")
	r.Common = common
	d, text := denialOf(t, r)
	if d.Reason != "explicit deny: identity" || d.Policy != "arn:aws:iam::111111111111:policy/mfa" || len(d.Statements) != 1 {
		t.Fatalf("%s", text)
	}
	if s := d.Statements[0]; s.Sid != "NeedsMFA" || s.Effect != "Deny" || len(s.Conditions) != 1 || s.Conditions[0].Operator != "BoolIfExists" || s.Conditions[0].Found[0] != "false" {
		t.Errorf("%+v", s)
	}
}

func TestPoliciesOfTheOrganizationAreNamedNotShown(t *testing.T) {
	for name, scp := range map[string]string{
		"implicit": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"the-secret-place"}}}}`,
		"explicit": `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"the-secret-place"}}}}`,
	} {
		r := fiveDocuments(t)
		r.Policies.SCPs = [][]*policy.Document{{parse(t, policy.SCP, scp).Named("arn:aws:organizations::999999999999:policy/o-abcdefghij/service_control_policy/p-12345678")}}
		d, text := denialOf(t, r)
		if len(d.Statements) != 0 || strings.Contains(text, "the-secret-place") || !strings.HasSuffix(d.Reason, "deny: scp") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestTheRecordOfADenialStaysSmall(t *testing.T) {
	var values, conditions []string
	for i := range 5 {
		values = append(values, fmt.Sprintf("%q", strings.Repeat("é\\", 60)+fmt.Sprint(i)))
	}
	for i := range 8 {
		conditions = append(conditions, fmt.Sprintf(`"aws:PrincipalTag/%d%s":[%s]`, i, strings.Repeat("x", 100), strings.Join(values[:5], ",")))
	}
	var statements []string
	for range 6 {
		statements = append(statements, `{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{`+strings.Join(conditions, ",")+`}}}`)
	}
	r := &authz.Request{Principal: user(), Common: new(authz.Keys), Policies: &authz.Policies{Identity: []*policy.Document{
		parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`).Named("big"),
	}}, Ask: &authz.Ask{Action: "s3:GetObject", Resource: "*", Owner: "111111111111"}}
	d, text := denialOf(t, r)
	if len(text) > 7<<10 || len(d.Statements)+d.More != 6 || d.More == 0 {
		t.Errorf("%d bytes, %d statements and %d more", len(text), len(d.Statements), d.More)
	}
}
