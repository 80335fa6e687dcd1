package directory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
)

func TestTheURLOfAProvider(t *testing.T) {
	for url, want := range map[string]string{
		"https://token.actions.githubusercontent.com":        "token.actions.githubusercontent.com",
		"https://Keycloak.Hospital.example/realms/Ward":      "keycloak.hospital.example/realms/Ward",
		"https://tenant.auth0.example/":                      "tenant.auth0.example/",
		"https://keycloak.hospital.example:8443/realms/w":    "keycloak.hospital.example:8443/realms/w",
		"https://keycloak:8443/realms/w":                     "keycloak:8443/realms/w",
		"https://i.example:443":                              "",
		"https://i.example:":                                 "",
		"http://i.example":                                   "",
		"HTTPS://i.example":                                  "",
		"i.example":                                          "",
		"https://":                                           "",
		"https://aws":                                        "",
		"https://i.example?x=y":                              "",
		"https://i.example?":                                 "",
		"https://i.example#x":                                "",
		"https://i.example#":                                 "",
		"https://u:p@i.example":                              "",
		"https://i.example/*":                                "",
		"https://i.example/${aws:username}":                  "",
		"https://i.example/a b":                              "",
		"https://i.example/ä":                                "",
		"https://i.example/a/../b":                           "",
		"https://i.example/a//b":                             "",
		"https://i.example/.well-known/openid-configuration": "",
		"https://i.example/" + strings.Repeat("x", 255):      "",
		"https://i.example/\"x":                              "",
	} {
		got, err := directory.IssuerOf(url)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q %v", url, got, err)
		}
	}
}

func TestAProviderIsKeptAsItWasMade(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	print := strings.Repeat("aB", 20)
	p, err := w.CreateOIDCProvider(ctx, w.account, directory.NewOIDCProvider{
		URL: "https://I.example/realms/w", ClientIDs: []string{"a", "b", "a"}, Thumbprints: []string{print, print}, Tags: []directory.Tag{{Key: "House", Value: "north"}},
	})
	w.must(err)
	want := directory.OIDCProvider{
		Account: w.account, ARN: "arn:aws:iam::" + w.account + ":oidc-provider/i.example/realms/w", ID: p.ID, URL: "i.example/realms/w",
		ClientIDs: []string{"a", "b"}, Thumbprints: []string{strings.ToLower(print)}, Created: start, Tags: []directory.Tag{{Key: "House", Value: "north"}},
	}
	if !reflect.DeepEqual(*p, want) || !strings.HasPrefix(p.ID, "OIDC") || accountOf(p.ID) != w.account || p.Issuer() != "https://i.example/realms/w" {
		t.Errorf("%+v", p)
	}
	_, err = w.CreateOIDCProvider(ctx, w.account, directory.NewOIDCProvider{URL: "https://i.EXAMPLE/realms/w"})
	w.refused(err, directory.EntityAlreadyExists, "Provider with url https://i.example/realms/w already exists.")
	w.must(w.AddOIDCClientID(ctx, w.account, p.ARN, "c"))
	w.must(w.AddOIDCClientID(ctx, w.account, p.ARN, "c"))
	w.must(w.RemoveOIDCClientID(ctx, w.account, p.ARN, "a"))
	w.must(w.RemoveOIDCClientID(ctx, w.account, p.ARN, "never"))
	w.must(w.UpdateOIDCThumbprints(ctx, w.account, p.ARN, []string{strings.Repeat("0", 40)}))
	w.must(w.TagOIDCProvider(ctx, w.account, p.ARN, []directory.Tag{{Key: "house", Value: "south"}, {Key: "k", Value: "v"}}))
	w.must(w.UntagOIDCProvider(ctx, w.account, p.ARN, []string{"K"}))
	want.ClientIDs, want.Thumbprints, want.Tags = []string{"b", "c"}, []string{strings.Repeat("0", 40)}, []directory.Tag{{Key: "house", Value: "south"}}
	for _, when := range []string{"now", "after a restart"} {
		got, err := w.GetOIDCProvider(w.account, p.ARN)
		w.must(err)
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v", when, got)
		}
		if byID, ok := w.OIDCProviderByID(p.ID); !ok || !reflect.DeepEqual(*byID, want) {
			t.Errorf("%s: by id %+v", when, byID)
		}
		all, err := w.ListOIDCProviders(w.account)
		if err != nil || len(all) != 1 || all[0].ARN != p.ARN {
			t.Errorf("%s: list %v %v", when, all, err)
		}
		w.restart()
	}
	tags, err := w.ListOIDCProviderTags(w.account, p.ARN, directory.List{})
	if err != nil || len(tags.Items) != 1 {
		t.Errorf("tags %+v %v", tags, err)
	}
}

func TestAProviderThatIsMadeAnewIsAnother(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	p, err := w.CreateOIDCProvider(ctx, w.account, directory.NewOIDCProvider{URL: "https://i.example"})
	w.must(err)
	w.must(w.DeleteOIDCProvider(ctx, w.account, p.ARN))
	w.must(w.DeleteOIDCProvider(ctx, w.account, p.ARN)) // as with AWS
	if !reflect.DeepEqual(w.outside.revoked, []authority.Revocation{{CredentialID: p.ID, By: w.account}}) {
		t.Errorf("the authority was told %+v", w.outside.revoked)
	}
	_, err = w.GetOIDCProvider(w.account, p.ARN)
	w.refused(err, directory.NoSuchEntity, "OpenIDConnect Provider not found for arn "+p.ARN)
	again, err := w.CreateOIDCProvider(ctx, w.account, directory.NewOIDCProvider{URL: "https://i.example"})
	w.must(err)
	if again.ID == p.ID || again.ARN != p.ARN {
		t.Errorf("%+v", again)
	}
	if _, ok := w.OIDCProviderByID(p.ID); ok {
		t.Error("the id of the deleted one is somebody's")
	}
	other, err := w.CreateAccount(ctx, "other", false)
	w.must(err)
	_, err = w.GetOIDCProvider(other.ID, again.ARN)
	w.refused(err, directory.NoSuchEntity, "")
}

func TestTheLimitsOfProviders(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for i := range 100 {
		_, err := w.CreateOIDCProvider(ctx, w.account, directory.NewOIDCProvider{URL: fmt.Sprintf("https://i%d.example", i)})
		w.must(err)
	}
	create := func(in directory.NewOIDCProvider) error {
		if in.URL == "" {
			in.URL = "https://more.example"
		}
		_, err := w.CreateOIDCProvider(ctx, w.account, in)
		return err
	}
	w.refused(create(directory.NewOIDCProvider{}), directory.LimitExceeded, "Cannot exceed quota for OpenIdConnectProvidersPerAccount: 100")
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprint("client", i))
	}
	w.refused(create(directory.NewOIDCProvider{ClientIDs: many}), directory.LimitExceeded, "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100")
	w.refused(create(directory.NewOIDCProvider{ClientIDs: []string{""}}), directory.ValidationError, "")
	w.refused(create(directory.NewOIDCProvider{ClientIDs: []string{strings.Repeat("x", 256)}}), directory.ValidationError, "")
	w.refused(create(directory.NewOIDCProvider{Thumbprints: []string{strings.Repeat("g", 40)}}), directory.InvalidInput, "")
	w.refused(create(directory.NewOIDCProvider{Thumbprints: slices.Repeat([]string{strings.Repeat("a", 40)}, 6)}), directory.InvalidInput, "")
	w.refused(create(directory.NewOIDCProvider{URL: "http://i.example"}), directory.InvalidInput, "Invalid Open ID Connect Provider URL")
	w.refused(create(directory.NewOIDCProvider{Tags: []directory.Tag{{Key: "aws:x"}}}), directory.InvalidInput, "")
	arn := directory.ProviderARN(w.account, "i0.example")
	for _, c := range many[:100] {
		w.must(w.AddOIDCClientID(ctx, w.account, arn, c))
	}
	w.refused(w.AddOIDCClientID(ctx, w.account, arn, "one more"), directory.LimitExceeded, "")
	w.must(w.AddOIDCClientID(ctx, w.account, arn, "client7")) // is there
	for _, err := range []error{
		w.AddOIDCClientID(ctx, w.account, arn+"x", "c"), w.RemoveOIDCClientID(ctx, w.account, arn+"x", "c"), w.UpdateOIDCThumbprints(ctx, w.account, arn+"x", nil),
		w.TagOIDCProvider(ctx, w.account, arn+"x", nil), w.UntagOIDCProvider(ctx, w.account, arn+"x", nil),
	} {
		w.refused(err, directory.NoSuchEntity, "")
	}
}

var signers atomic.Int64

// newSigner stands for the authority's.
func newSigner(_ context.Context, account, algorithm string) (sealed, jwk []byte, err error) {
	n := signers.Add(1)
	return fmt.Appendf(nil, "%s %s %d", account, algorithm, n), fmt.Appendf(nil, `{"kid":"%d","alg":%q}`, n, algorithm), nil
}

func TestAnIssuersKeysChangeWithoutAnybodyWaiting(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	const day = 24 * time.Hour
	_, err := w.GetOutbound(w.account)
	w.refused(err, directory.FeatureDisabled, "")
	_, err = w.OutboundSigner(ctx, w.account, "ES384", newSigner)
	w.refused(err, directory.FeatureDisabled, "")
	o, err := w.EnableOutbound(ctx, w.account, newSigner)
	w.must(err)
	_, err = w.EnableOutbound(ctx, w.account, newSigner)
	w.refused(err, directory.FeatureEnabled, "")
	signer := func() string {
		t.Helper()
		s, err := w.OutboundSigner(ctx, w.account, "ES384", newSigner)
		w.must(err)
		if s.Issuer != o.Issuer || !strings.HasPrefix(string(s.Sealed), w.account+" ES384 ") {
			t.Errorf("%+v", s)
		}
		return string(s.Sealed)
	}
	published := func() int {
		t.Helper()
		keys, ok := w.IssuerKeys(o.Issuer)
		if !ok {
			t.Error("nothing is published")
		}
		return len(keys)
	}
	steps := []struct {
		name    string
		pass    time.Duration
		same    bool // signs by the same key as before
		publish int
	}{
		{"at first", 0, true, 2},
		{"after 89 days", 89 * day, true, 2},
		{"after 90 days the next key is published, and does not sign", day, true, 3},
		{"nearly a day later", day - time.Second, true, 3},
		{"a day later it signs, and the old one is published", time.Second, false, 3},
		{"another day later the old one is not published", day, true, 2},
		{"90 days later there is the next", 88 * day, true, 3},
	}
	last := signer()
	for _, s := range steps {
		w.clock.Advance(s.pass)
		now := signer()
		if (now == last) != s.same || published() != s.publish {
			t.Errorf("%s: %q after %q, %d published", s.name, now, last, published())
		}
		last = now
		w.restart()
		if again := signer(); again != now {
			t.Errorf("%s: after a restart %q, not %q", s.name, again, now)
		}
	}
	_, err = w.OutboundSigner(ctx, w.account, "HS256", newSigner)
	w.refused(err, directory.ValidationError, "")
	t.Run("an end and a new beginning", func(t *testing.T) {
		w.must(w.DisableOutbound(ctx, w.account))
		w.refused(w.DisableOutbound(ctx, w.account), directory.FeatureDisabled, "")
		if _, ok := w.IssuerKeys(o.Issuer); ok {
			t.Error("keys are published")
		}
		again, err := w.EnableOutbound(ctx, w.account, newSigner)
		w.must(err)
		if again.Issuer != o.Issuer || signer() == last || published() != 2 {
			t.Errorf("%+v", again)
		}
		problems, err := w.Check(ctx)
		if err != nil || len(problems) > 0 {
			t.Errorf("%q %v", problems, err)
		}
	})
	t.Run("without an authority nothing is enabled", func(t *testing.T) {
		other, err := w.CreateAccount(ctx, "other", false)
		w.must(err)
		down := func(context.Context, string, string) ([]byte, []byte, error) {
			return nil, nil, authority.ErrUnavailable
		}
		if _, err := w.EnableOutbound(ctx, other.ID, down); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		_, err = w.GetOutbound(other.ID)
		w.refused(err, directory.FeatureDisabled, "")
	})
	if keys, _ := w.IssuerKeys(o.Issuer); !json.Valid(keys[0]) {
		t.Errorf("%s", keys)
	}
}

// accountOf is the account that the id of a provider carries, for revocations.
func accountOf(unique string) string {
	account, _ := id.AccessKeyAccount(unique)
	return account
}
