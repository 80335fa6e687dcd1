package iam_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/authz/authztest"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/service/iam"
	"github.com/leadglass/leadglass/state/kv/memory"
)

func TestTheSDKSimulatesAPrincipal(t *testing.T) {
	p := newPlane(t)
	c, tr := p.client(p.admin)
	ctx := t.Context()
	p.user("/ward/", "bob", `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::records/*","Condition":{"StringEquals":{"aws:PrincipalTag/ward":"7","s3:x-amz-acl":"private"}}},
 {"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*"}]}`)
	managed := do[api.CreatePolicyOutput](p, p.admin, &api.CreatePolicyInput{PolicyName: "Keys", PolicyDocument: allowRead})
	do[api.AttachUserPolicyOutput](p, p.admin, &api.AttachUserPolicyInput{UserName: "bob", PolicyArn: managed.Policy.Arn})
	do[api.TagUserOutput](p, p.admin, &api.TagUserInput{UserName: "bob", Tags: []api.Tag{{Key: "ward", Value: "7"}}})

	out, err := c.SimulatePrincipalPolicy(ctx, &sdk.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String(p.arnOf("user/ward/bob")), ActionNames: []string{"s3:GetObject", "s3:DeleteObject", "s3:PutObject", "kms:GetKeyPolicy"},
		ResourceArns: []string{"arn:aws:s3:::records/1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.IsTruncated || len(out.EvaluationResults) != 4 {
		t.Fatalf("got %s", tr.last)
	}
	get, del, put, key := out.EvaluationResults[0], out.EvaluationResults[1], out.EvaluationResults[2], out.EvaluationResults[3]
	if get.EvalDecision != "implicitDeny" || !slices.Equal(get.MissingContextValues, []string{"s3:x-amz-acl"}) || len(get.ResourceSpecificResults) != 1 ||
		!slices.Equal(get.ResourceSpecificResults[0].MissingContextValues, []string{"s3:x-amz-acl"}) || *get.EvalResourceName != "arn:aws:s3:::records/1" {
		t.Errorf("GetObject: %s", tr.last)
	}
	if del.EvalDecision != "explicitDeny" || len(del.MatchedStatements) != 1 || *del.MatchedStatements[0].SourcePolicyId != "user_bob_inline" ||
		del.MatchedStatements[0].SourcePolicyType != types.PolicySourceTypeUser || del.MatchedStatements[0].StartPosition.Line != 3 || del.MatchedStatements[0].StartPosition.Column != 2 ||
		del.MatchedStatements[0].EndPosition.Line != 3 || del.MatchedStatements[0].EndPosition.Column != 61 {
		t.Errorf("DeleteObject: %s", tr.last)
	}
	if put.EvalDecision != "implicitDeny" || len(put.MatchedStatements) != 0 {
		t.Errorf("PutObject: %s", tr.last)
	}
	// No key policy is given, and without one no identity policy opens a key; this resource is none.
	if key.EvalDecision != "allowed" || *key.MatchedStatements[0].SourcePolicyId != "Keys" || key.MatchedStatements[0].SourcePolicyType != types.PolicySourceTypeUserManaged {
		t.Errorf("GetKeyPolicy: %s", tr.last)
	}

	// A policy more, and a boundary in the place of the one that bob has.
	out, err = c.SimulatePrincipalPolicy(ctx, &sdk.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String(p.arnOf("user/ward/bob")), ActionNames: []string{"s3:PutObject"},
		PolicyInputList: []string{allowAll}, PermissionsBoundaryPolicyInputList: []string{allowRead},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := out.EvaluationResults[0]; r.EvalDecision != "implicitDeny" || r.PermissionsBoundaryDecisionDetail == nil || r.PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary ||
		*r.EvalResourceName != "*" || r.ResourceSpecificResults != nil || r.OrganizationsDecisionDetail != nil {
		t.Errorf("under a boundary: %s", tr.last)
	}
	keys, err := c.GetContextKeysForPrincipalPolicy(ctx, &sdk.GetContextKeysForPrincipalPolicyInput{
		PolicySourceArn: aws.String(p.arnOf("user/ward/bob")), PolicyInputList: []string{allow(`"s3:*"`, `"arn:aws:s3:::${aws:username}/*"`, `{"Bool":{"AWS:PrincipalTag/Ward":"true"}}`)},
	})
	if want := []string{"aws:PrincipalTag/ward", "aws:username", "s3:x-amz-acl"}; err != nil || !slices.EqualFunc(keys.ContextKeyNames, want, strings.EqualFold) {
		t.Errorf("context keys %v (%v), want %v", keys, err, want)
	}
}

func TestAMemberIsSimulatedWithThePoliciesOfItsGroups(t *testing.T) {
	p := newPlane(t)
	p.user("/", "bob", "")
	do[api.CreateGroupOutput](p, p.admin, &api.CreateGroupInput{GroupName: "nurses", Path: "/ward/"})
	do[api.PutGroupPolicyOutput](p, p.admin, &api.PutGroupPolicyInput{GroupName: "nurses", PolicyName: "beds", PolicyDocument: allow(`"s3:GetObject"`, `"*"`, `{"Bool":{"aws:MultiFactorAuthPresent":"true"}}`)})
	do[api.AddUserToGroupOutput](p, p.admin, &api.AddUserToGroupInput{GroupName: "nurses", UserName: "bob"})
	mfa := []api.ContextEntry{{ContextKeyName: "aws:MultiFactorAuthPresent", ContextKeyValues: []string{"true"}, ContextKeyType: "boolean"}}
	for _, who := range []string{"user/bob", "group/ward/nurses"} {
		out := do[api.SimulatePrincipalPolicyOutput](p, p.admin, &api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf(who), ActionNames: []string{"s3:GetObject"}, ContextEntries: mfa})
		r := out.EvaluationResults[0]
		if r.EvalDecision != "allowed" || len(r.MatchedStatements) != 1 || r.MatchedStatements[0].SourcePolicyId != "group_nurses_beds" || r.MatchedStatements[0].SourcePolicyType != "group" {
			t.Errorf("%s: %+v", who, r)
		}
		keys := do[api.GetContextKeysForPrincipalPolicyOutput](p, p.admin, &api.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: p.arnOf(who)})
		if !slices.Equal(keys.ContextKeyNames, []string{"aws:MultiFactorAuthPresent"}) {
			t.Errorf("%s: %v", who, keys.ContextKeyNames)
		}
	}
	p.wantCode(p.admin, &api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf("group/nurses"), ActionNames: []string{"s3:GetObject"}}, "NoSuchEntity")
}

func TestTheSDKSimulatesCustomPolicies(t *testing.T) {
	p := newPlane(t)
	c, tr := p.client(p.admin)
	ctx := t.Context()
	bucket := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:user/eve"},"Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}]}`
	in := &sdk.SimulateCustomPolicyInput{
		PolicyInputList: []string{allowRead, allow(`"s3:Get*"`, `"*"`)}, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::records/1"},
		ResourcePolicy: &bucket, ResourceOwner: aws.String("arn:aws:iam::" + p.account + ":root"), CallerArn: aws.String("arn:aws:iam::999999999999:user/eve"),
		ContextEntries: []types.ContextEntry{{ContextKeyName: aws.String("aws:SourceIp"), ContextKeyType: types.ContextKeyTypeEnumIp, ContextKeyValues: []string{"10.1.2.3"}}},
	}
	out, err := c.SimulateCustomPolicy(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	r := out.EvaluationResults[0]
	var from []string
	for _, s := range r.MatchedStatements {
		from = append(from, *s.SourcePolicyId+" "+string(s.SourcePolicyType))
	}
	slices.Sort(from)
	if r.EvalDecision != "allowed" || !slices.Equal(from, []string{"PolicyInputList.2 none", "ResourcePolicy resource"}) ||
		r.EvalDecisionDetails["IAM Policy"] != "allowed" || r.EvalDecisionDetails["Resource Policy"] != "allowed" {
		t.Errorf("across accounts: %s", tr.last)
	}
	in.ContextEntries = nil
	if out, err = c.SimulateCustomPolicy(ctx, in); err != nil || out.EvaluationResults[0].EvalDecision != "implicitDeny" || out.EvaluationResults[0].MissingContextValues[0] != "aws:SourceIp" {
		t.Errorf("without address: %v %s", err, tr.last)
	}
	keys, err := c.GetContextKeysForCustomPolicy(ctx, &sdk.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{bucket, allowAll, p.trust()}})
	if err != nil || !slices.Equal(keys.ContextKeyNames, []string{"aws:SourceIp"}) {
		t.Errorf("context keys: %v, %v", keys, err)
	}

	for name, in := range map[string]sdk.SimulateCustomPolicyInput{
		"a malformed policy":               {PolicyInputList: []string{"{}"}},
		"an identity policy for a bucket":  {PolicyInputList: []string{allowAll}, ResourcePolicy: aws.String(allowAll), CallerArn: aws.String(p.arnOf("user/a"))},
		"a resource policy without caller": {PolicyInputList: []string{allowAll}, ResourcePolicy: &bucket},
		"two boundaries":                   {PolicyInputList: []string{allowAll}, PermissionsBoundaryPolicyInputList: []string{allowAll, allowAll}},
		"a root as caller":                 {PolicyInputList: []string{allowAll}, CallerArn: aws.String(p.arnOf("root"))},
		"a session as caller":              {PolicyInputList: []string{allowAll}, CallerArn: aws.String("arn:aws:sts::999999999999:assumed-role/a/b")},
		"an owner that is none":            {PolicyInputList: []string{allowAll}, ResourceOwner: aws.String("me")},
		"an unknown scenario":              {PolicyInputList: []string{allowAll}, ResourceHandlingOption: aws.String("moon")},
	} {
		in.ActionNames = []string{"s3:GetObject"}
		_, err := c.SimulateCustomPolicy(ctx, &in)
		if _, ok := errors.AsType[*types.InvalidInputException](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the client's version of the API has and the plane does not enforce must not be ignored: the
// answer would be about something else than was asked (I-2).
func TestParametersThatAreNotSimulatedAreRefused(t *testing.T) {
	p := newPlane(t)
	c, _ := p.client(p.admin)
	_, err := c.SimulatePrincipalPolicy(t.Context(), &sdk.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String(p.arnOf("user/administrator")), ActionNames: []string{"s3:GetObject"},
		PolicyExclusionList: []types.PolicyIdentifier{&types.PolicyIdentifierMemberPolicyArn{Value: "arn:aws:iam::aws:policy/AdministratorAccess"}},
	})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "MalformedInput" {
		t.Errorf("PolicyExclusionList: %v", err)
	}
	_, err = c.SimulateCustomPolicy(t.Context(), &sdk.SimulateCustomPolicyInput{
		PolicyInputList: []string{allowAll}, ActionNames: []string{"s3:GetObject"},
		OrderedOrganizationPolicyInputList: []types.OrderedOrganizationPolicyType{{ServiceControlPolicyInputList: []string{allowRead}}},
	})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "MalformedInput" {
		t.Errorf("OrderedOrganizationPolicyInputList: %v", err)
	}
}

func TestSimulationsComeInPages(t *testing.T) {
	p := newPlane(t)
	c, _ := p.client(p.admin)
	var actions, resources []string
	for i := range 250 {
		actions = append(actions, fmt.Sprintf("s3:Get%d", i))
	}
	for i := range 100 {
		resources = append(resources, fmt.Sprintf("arn:aws:s3:::b/%d", i))
	}
	for _, want := range []struct {
		resources []string
		maxItems  *int32
		page      int
	}{{nil, nil, 100}, {nil, aws.Int32(7), 7}, {resources, nil, 10}} {
		pages := sdk.NewSimulateCustomPolicyPaginator(c, &sdk.SimulateCustomPolicyInput{
			PolicyInputList: []string{allowAll}, ActionNames: actions, ResourceArns: want.resources, MaxItems: want.maxItems,
		})
		var got []string
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(page.EvaluationResults) > want.page {
				t.Errorf("a page of %d, want %d", len(page.EvaluationResults), want.page)
			}
			for _, r := range page.EvaluationResults {
				got = append(got, *r.EvalActionName)
			}
		}
		if !slices.Equal(got, actions) {
			t.Errorf("pages of %d: %d results of %d", want.page, len(got), len(actions))
		}
	}
	for _, marker := range []string{"0", "-1", "250", "07", "x"} {
		p.wantCode(p.admin, &api.SimulateCustomPolicyInput{PolicyInputList: []string{allowAll}, ActionNames: actions, Marker: marker}, "ValidationError")
	}
}

func TestWhoMayNotSimulateLearnsNothing(t *testing.T) {
	p := newPlane(t)
	p.user("/", "bob", "")
	other, _ := p.open("other")
	eve := p.user("/", "eve", allow(`"iam:Simulate*"`, `"`+p.arnOf("user/eve")+`"`))
	for _, target := range []string{p.arnOf("user/bob"), p.arnOf("user/nobody"), p.arnOf("role/nobody"), "arn:aws:iam::" + other + ":user/administrator", "arn:aws:iam::" + other + ":user/nobody"} {
		p.wantCode(eve, &api.SimulatePrincipalPolicyInput{PolicySourceArn: target, ActionNames: []string{"s3:GetObject"}}, "AccessDenied")
		p.wantCode(eve, &api.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: target}, "AccessDenied")
	}
	p.wantCode(eve, &api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf("user/eve"), ActionNames: []string{"s3:GetObject"}}, "")
	p.wantCode(eve, &api.SimulateCustomPolicyInput{PolicyInputList: []string{allowAll}, ActionNames: []string{"s3:GetObject"}}, "AccessDenied")
	p.wantCode(p.admin, &api.SimulatePrincipalPolicyInput{PolicySourceArn: "arn:aws:iam::" + other + ":user/administrator", ActionNames: []string{"s3:GetObject"}}, "AccessDenied")
	p.wantCode(p.admin, &api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf("user/nobody"), ActionNames: []string{"s3:GetObject"}}, "NoSuchEntity")
	p.wantCode(p.admin, &api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf("user/wrong/path/bob"), ActionNames: []string{"s3:GetObject"}}, "NoSuchEntity")
	p.wantCode(p.admin, &api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf("policy/something"), ActionNames: []string{"s3:GetObject"}}, "InvalidInput")
}

func TestASimulatedPrincipalIsUnderItsOrganization(t *testing.T) {
	p := newPlane(t)
	ctx := t.Context()
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	orgs, err := organization.Open(ctx, store, organization.Config{Clock: p.clock, Directory: p.directory})
	if err != nil {
		t.Fatal(err)
	}
	org, err := orgs.CreateOrganization(ctx, p.account)
	if err != nil {
		t.Fatal(err)
	}
	root := orgs.Roots(org.ID)[0].ID
	if _, err := orgs.EnableType(ctx, org.ID, root, organization.SCP); err != nil {
		t.Fatal(err)
	}
	member, admin := p.open("ward")
	invitation, err := orgs.Invite(ctx, org.ID, member, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := orgs.AcceptHandshake(ctx, member, invitation.ID); err != nil {
		t.Fatal(err)
	}
	scp, err := orgs.CreatePolicy(ctx, org.ID, organization.NewPolicy{Type: organization.SCP, Name: "guard",
		Text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-central-1"}}}]}`})
	if err != nil {
		t.Fatal(err)
	}
	if err := orgs.AttachPolicy(ctx, org.ID, scp.ID, member); err != nil {
		t.Fatal(err)
	}
	if err := orgs.DetachPolicy(ctx, org.ID, "p-FullAWSAccess", member); err != nil {
		t.Fatal(err)
	}
	for _, op := range iam.New(p.directory).WithOrganizations(orgs).Operations() {
		p.table[op.Info.Name] = op
	}
	managing := &api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf("user/administrator"), ActionNames: []string{"s3:GetObject"}}
	if r := do[api.SimulatePrincipalPolicyOutput](p, p.admin, managing).EvaluationResults[0]; r.EvalDecision != "allowed" || r.OrganizationsDecisionDetail != nil {
		t.Errorf("the management account is exempt: %+v", r)
	}
	p.account, p.admin = member, admin
	in := &api.SimulatePrincipalPolicyInput{PolicySourceArn: p.arnOf("user/administrator"), ActionNames: []string{"s3:GetObject", "kms:ListKeys"}}
	out := do[api.SimulatePrincipalPolicyOutput](p, p.admin, in)
	for _, r := range out.EvaluationResults {
		if r.EvalDecision != "implicitDeny" || r.OrganizationsDecisionDetail == nil || *r.OrganizationsDecisionDetail.AllowedByOrganizations || len(r.MissingContextValues) != 0 {
			t.Errorf("%+v: the keys of the organization's policies are not the account's to read", r)
		}
	}
	in.ContextEntries = []api.ContextEntry{{ContextKeyName: "aws:RequestedRegion", ContextKeyValues: []string{"eu-central-1"}, ContextKeyType: "string"}}
	out = do[api.SimulatePrincipalPolicyOutput](p, p.admin, in)
	if r := out.EvaluationResults[1]; r.EvalDecision != "allowed" || !*r.OrganizationsDecisionDetail.AllowedByOrganizations {
		t.Errorf("ListKeys where the organization allows it: %+v", r)
	}
}

// Every random case, through the public operation: texts in, decision out.
func TestTheOperationAndTheLiveDecisionAgreeOnEveryCase(t *testing.T) {
	p := newPlane(t)
	count := map[api.PolicyEvaluationDecisionType]int{}
	for seed := range uint64(1500) {
		w := authztest.New(seed)
		w.Next()
		r := w.Request
		if r.Principal.Type != authz.User || r.Principal.TemporaryUser || len(r.Policies.Identity) == 0 {
			continue
		}
		in := &api.SimulateCustomPolicyInput{ActionNames: []string{r.Ask.Action}, ResourceArns: []string{r.Ask.Resource}, CallerArn: r.Principal.ARN, ResourceOwner: r.Ask.Owner}
		for _, d := range r.Policies.Identity {
			in.PolicyInputList = append(in.PolicyInputList, string(d.Text()))
		}
		policies := authz.Policies{Identity: r.Policies.Identity, Boundary: r.Policies.Boundary}
		if d := policies.Boundary; d != nil {
			in.PermissionsBoundaryPolicyInputList = []string{string(d.Text())}
		}
		ask := authz.Ask{Action: r.Ask.Action, Resource: r.Ask.Resource, Owner: r.Ask.Owner}
		if strings.Contains(ask.Resource, ":111111111111:") {
			ask.Owner = "111111111111"
		}
		if d := r.Ask.Policy; d != nil && d.Kind() == policy.Resource && !strings.HasPrefix(ask.Action, "kms:") && !strings.HasPrefix(ask.Action, "sts:") {
			in.ResourcePolicy = string(d.Text())
			unbound, err := policy.Parse(policy.Resource, d.Text())
			if err != nil {
				t.Fatal(err)
			}
			ask.Policy = unbound
		}
		common := new(authz.Keys)
		common.Set("aws:PrincipalArn", r.Principal.ARN)
		common.Set("aws:PrincipalType", "User")
		common.Set("aws:PrincipalAccount", r.Principal.Account)
		common.Set("aws:username", r.Principal.ARN[strings.LastIndexByte(r.Principal.ARN, '/')+1:])
		common.Set("aws:ViaAWSService", "false")
		for name, values := range r.Ask.Context.All() {
			if !slices.ContainsFunc(in.ContextEntries, func(e api.ContextEntry) bool { return strings.EqualFold(e.ContextKeyName, name) }) {
				in.ContextEntries = append(in.ContextEntries, api.ContextEntry{ContextKeyName: name, ContextKeyValues: slices.Clone(values), ContextKeyType: api.ContextKeyTypeEnumStringList})
				common.Set(name, values...)
			}
		}
		live := authz.Decide(&authz.Request{Principal: &authz.Principal{Type: authz.User, ARN: r.Principal.ARN, Account: r.Principal.Account}, Policies: &policies, Ask: &ask, Common: common}, nil)
		want := api.PolicyEvaluationDecisionTypeImplicitDeny
		switch {
		case live.Allowed:
			want = api.PolicyEvaluationDecisionTypeAllowed
		case live.Explicit:
			want = api.PolicyEvaluationDecisionTypeExplicitDeny
		}
		out := do[api.SimulateCustomPolicyOutput](p, p.admin, in)
		if got := out.EvaluationResults[0].EvalDecision; got != want {
			t.Fatalf("seed %d: simulated %s, live %s by %s\n%s", seed, got, want, live.By, w)
		}
		count[want]++
	}
	if len(count) != 3 {
		t.Errorf("only %v came up", count)
	}
}
