package iam_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	api "github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/federation"
	"github.com/leadglass/leadglass/service/iam"
)

// federationOperations are those on OpenID Connect providers and on an
// account's own issuer.
var federationOperations = strings.Fields(`
	CreateOpenIDConnectProvider GetOpenIDConnectProvider ListOpenIDConnectProviders DeleteOpenIDConnectProvider
	UpdateOpenIDConnectProviderThumbprint AddClientIDToOpenIDConnectProvider RemoveClientIDFromOpenIDConnectProvider
	TagOpenIDConnectProvider UntagOpenIDConnectProvider ListOpenIDConnectProviderTags
	EnableOutboundWebIdentityFederation DisableOutboundWebIdentityFederation GetOutboundWebIdentityFederationInfo`)

// federationAskCases are askCases about these.
func federationAskCases(p *plane) map[string]struct {
	in   any
	want []asked
} {
	type keys = map[string][]string
	type c = struct {
		in   any
		want []asked
	}
	arn := do[api.CreateOpenIDConnectProviderOutput](p, p.admin, &api.CreateOpenIDConnectProviderInput{Url: "https://i.example/realms/w", Tags: []api.Tag{{Key: "Team", Value: "Heart"}}}).OpenIDConnectProviderArn
	passed := []api.Tag{{Key: "a", Value: "1"}, {Key: "b", Value: ""}}
	passes := keys{"aws:RequestTag/a": {"1"}, "aws:RequestTag/b": {""}, "aws:TagKeys": {"a", "b"}}
	has := keys{"aws:ResourceTag/Team": {"Heart"}}
	both := keys{"aws:ResourceTag/Team": {"Heart"}, "aws:RequestTag/a": {"1"}, "aws:RequestTag/b": {""}, "aws:TagKeys": {"a", "b"}}
	drops := keys{"aws:ResourceTag/Team": {"Heart"}, "aws:TagKeys": {"a", "b"}}
	const it = "oidc-provider/i.example/realms/w"
	on := func(action string, in any, k keys) c { return c{in, []asked{{action, it, k}}} }
	all := map[string]c{
		"CreateOpenIDConnectProvider": {&api.CreateOpenIDConnectProviderInput{Url: "https://New.example", Tags: passed},
			[]asked{{"CreateOpenIDConnectProvider", "oidc-provider/new.example", passes}, {"TagOpenIDConnectProvider", "oidc-provider/new.example", passes}}},
		"ListOpenIDConnectProviders":              {&api.ListOpenIDConnectProvidersInput{}, []asked{{"ListOpenIDConnectProviders", "*", keys{}}}},
		"GetOpenIDConnectProvider":                on("GetOpenIDConnectProvider", &api.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}, has),
		"DeleteOpenIDConnectProvider":             on("DeleteOpenIDConnectProvider", &api.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}, has),
		"UpdateOpenIDConnectProviderThumbprint":   on("UpdateOpenIDConnectProviderThumbprint", &api.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn}, has),
		"AddClientIDToOpenIDConnectProvider":      on("AddClientIDToOpenIDConnectProvider", &api.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}, has),
		"RemoveClientIDFromOpenIDConnectProvider": on("RemoveClientIDFromOpenIDConnectProvider", &api.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}, has),
		"ListOpenIDConnectProviderTags":           on("ListOpenIDConnectProviderTags", &api.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn}, has),
		"TagOpenIDConnectProvider":                on("TagOpenIDConnectProvider", &api.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: passed}, both),
		"UntagOpenIDConnectProvider":              on("UntagOpenIDConnectProvider", &api.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"a", "b"}}, drops),
	}
	for name, in := range map[string]any{
		"EnableOutboundWebIdentityFederation": &api.EnableOutboundWebIdentityFederationInput{}, "DisableOutboundWebIdentityFederation": &api.DisableOutboundWebIdentityFederationInput{},
		"GetOutboundWebIdentityFederationInfo": &api.GetOutboundWebIdentityFederationInfoInput{},
	} {
		all[name] = c{in, []asked{{name, "*", keys{}}}}
	}
	return all
}

// The calls of Terraform's aws_iam_openid_connect_provider, in its order:
// create, read, update of thumbprints, client ids and tags, read, delete, and
// the read that must say that it is gone.
func TestTheSDKKeepsAProviderAsTerraformDoes(t *testing.T) {
	p := newPlane(t)
	c, tr := p.client(p.admin)
	ctx := t.Context()
	made, err := c.CreateOpenIDConnectProvider(ctx, &sdk.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://token.actions.githubusercontent.com"), ClientIDList: []string{"sts.amazonaws.com"},
		ThumbprintList: []string{strings.Repeat("f", 40)}, Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("ci")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := made.OpenIDConnectProviderArn
	if *arn != p.arnOf("oidc-provider/token.actions.githubusercontent.com") || len(made.Tags) != 1 {
		t.Errorf("%s", tr.last)
	}
	_, err = c.CreateOpenIDConnectProvider(ctx, &sdk.CreateOpenIDConnectProviderInput{Url: aws.String("https://token.actions.githubusercontent.com")})
	if _, ok := errors.AsType[*types.EntityAlreadyExistsException](err); !ok {
		t.Errorf("twice: %v", err)
	}
	_, err = c.CreateOpenIDConnectProvider(ctx, &sdk.CreateOpenIDConnectProviderInput{Url: aws.String("http://token.actions.githubusercontent.com")})
	if _, ok := errors.AsType[*types.InvalidInputException](err); !ok {
		t.Errorf("http: %v", err)
	}
	get := func() *sdk.GetOpenIDConnectProviderOutput {
		t.Helper()
		got, err := c.GetOpenIDConnectProvider(ctx, &sdk.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := get(); *got.Url != "token.actions.githubusercontent.com" || !reflect.DeepEqual(got.ClientIDList, []string{"sts.amazonaws.com"}) || got.ThumbprintList[0] != strings.Repeat("f", 40) || *got.Tags[0].Value != "ci" || !got.CreateDate.Equal(second) {
		t.Errorf("%s", tr.last)
	}
	for name, err := range map[string]error{
		"thumbprints": errorOf(c.UpdateOpenIDConnectProviderThumbprint(ctx, &sdk.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{strings.Repeat("0", 40)}})),
		"add":         errorOf(c.AddClientIDToOpenIDConnectProvider(ctx, &sdk.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("other")})),
		"untag":       errorOf(c.UntagOpenIDConnectProvider(ctx, &sdk.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"Team"}})),
		"tag":         errorOf(c.TagOpenIDConnectProvider(ctx, &sdk.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: []types.Tag{{Key: aws.String("Env"), Value: aws.String("test")}}})),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.RemoveClientIDFromOpenIDConnectProvider(ctx, &sdk.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("sts.amazonaws.com")}); err != nil {
		t.Error(err)
	}
	if got := get(); !reflect.DeepEqual(got.ClientIDList, []string{"other"}) || got.ThumbprintList[0] != strings.Repeat("0", 40) || len(got.Tags) != 1 || *got.Tags[0].Key != "Env" {
		t.Errorf("%s", tr.last)
	}
	tags, err := c.ListOpenIDConnectProviderTags(ctx, &sdk.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn, MaxItems: aws.Int32(1)})
	if err != nil || len(tags.Tags) != 1 || tags.IsTruncated {
		t.Errorf("%v %s", err, tr.last)
	}
	list, err := c.ListOpenIDConnectProviders(ctx, &sdk.ListOpenIDConnectProvidersInput{})
	if err != nil || len(list.OpenIDConnectProviderList) != 1 || *list.OpenIDConnectProviderList[0].Arn != *arn {
		t.Errorf("%v %s", err, tr.last)
	}
	for range 2 { // as AWS documents it, the second is no error
		if _, err := c.DeleteOpenIDConnectProvider(ctx, &sdk.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}); err != nil {
			t.Error(err)
		}
	}
	_, err = c.GetOpenIDConnectProvider(ctx, &sdk.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	if _, ok := errors.AsType[*types.NoSuchEntityException](err); !ok {
		t.Errorf("after its deletion: %v", err)
	}
}

func TestAProviderOfAnotherAccountIsReachedByNobody(t *testing.T) {
	p := newPlane(t)
	_, other := p.open("other")
	arn := do[api.CreateOpenIDConnectProviderOutput](p, p.admin, &api.CreateOpenIDConnectProviderInput{Url: "https://i.example"}).OpenIDConnectProviderArn
	for _, a := range []string{arn, arn + "x"} {
		p.wantCode(other, &api.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: a}, "AccessDenied")
		p.wantCode(other, &api.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: a}, "AccessDenied")
		p.wantCode(other, &api.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: a, ClientID: "x"}, "AccessDenied")
	}
	for _, a := range []string{"arn:aws:iam::" + p.account + ":saml-provider/x", "arn:aws:iam::aws:oidc-provider/x.y", "arn:aws:iam::" + p.account + ":oidc-provider/", "arn:aws:sts::" + p.account + ":oidc-provider/x.y"} {
		p.wantCode(p.admin, &api.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: a}, "InvalidInput")
	}
}

// NewSigner and SignIdentity make a keeper the signer of identity tokens.
func (k *keeper) NewSigner(context.Context, string, string) (sealed, jwk []byte, err error) {
	return []byte("sealed"), []byte("{}"), k.down
}

func (k *keeper) SignIdentity(context.Context, []byte, authority.Identity) (string, time.Time, error) {
	return "", time.Time{}, authority.ErrDenied
}

func TestAnAccountsIssuerIsEnabledAndDisabled(t *testing.T) {
	p := newPlane(t)
	p.wantCode(p.admin, &api.EnableOutboundWebIdentityFederationInput{}, "FeatureDisabled") // without an issuer there is none
	i, err := federation.NewIssuer(p.directory, p.keeper, func() string { return "https://plane.example" })
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range iam.New(p.directory).WithIssuer(i).Operations() {
		p.table[op.Info.Name] = op
	}
	p.wantCode(p.admin, &api.GetOutboundWebIdentityFederationInfoInput{}, "FeatureDisabled")
	p.wantCode(p.admin, &api.DisableOutboundWebIdentityFederationInput{}, "FeatureDisabled")
	url := do[api.EnableOutboundWebIdentityFederationOutput](p, p.admin, &api.EnableOutboundWebIdentityFederationInput{}).IssuerIdentifier
	if !strings.HasPrefix(url, "https://plane.example/_outbound/") || strings.Contains(url, p.account) {
		t.Errorf("issuer %s", url)
	}
	p.wantCode(p.admin, &api.EnableOutboundWebIdentityFederationInput{}, "FeatureEnabled")
	if info := do[api.GetOutboundWebIdentityFederationInfoOutput](p, p.admin, &api.GetOutboundWebIdentityFederationInfoInput{}); info.IssuerIdentifier != url || !*info.JwtVendingEnabled {
		t.Errorf("%+v", info)
	}
	do[api.DisableOutboundWebIdentityFederationOutput](p, p.admin, &api.DisableOutboundWebIdentityFederationInput{})
	p.wantCode(p.admin, &api.GetOutboundWebIdentityFederationInfoInput{}, "FeatureDisabled")
}
