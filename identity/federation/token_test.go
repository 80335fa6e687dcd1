package federation_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/federation"
	"github.com/leadglass/leadglass/identity/federation/exampleissuer"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func issuer(t testing.TB) *exampleissuer.Issuer {
	t.Helper()
	i, err := exampleissuer.Start("ward")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

func mint(t testing.TB, i *exampleissuer.Issuer, c exampleissuer.Claims) string {
	t.Helper()
	token, err := i.Mint(start, c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// kindOf is the kind of a refusal, 0 for none.
func kindOf(err error) federation.Kind {
	if e, ok := errors.AsType[*federation.Error](err); ok {
		return e.Kind
	}
	return 0
}

// unsigned makes a token with a signature that is nobody's.
func unsigned(header, payload string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(header)) + "." + b64([]byte(payload)) + "." + b64(make([]byte, 256))
}

func TestWhatNoProviderCouldMakeGoodIsRefusedWithoutAskingAnybody(t *testing.T) {
	at := func(d time.Duration) int64 { return start.Add(d).Unix() }
	payload := func(more string) string {
		return fmt.Sprintf(`{"iss":"https://i.example","sub":"s","aud":"a","iat":%d,"exp":%d%s}`, at(0), at(time.Minute), more)
	}
	const header = `{"alg":"RS256","kid":"k","typ":"JWT"}`
	i := issuer(t)
	for _, c := range []struct {
		name, token string
		kind        federation.Kind
	}{
		{"a plain token", unsigned(header, payload("")), 0},
		{"an access token that says so", unsigned(`{"alg":"RS256","typ":"at+jwt"}`, payload("")), 0},
		{"a token of the Keycloak kind", mint(t, i, exampleissuer.DoctorOf("dr", "3")), 0},
		{"times with fractions", unsigned(header, strings.Replace(payload(""), `"iat":`, `"iat":0.5e0,"x":`, 1)), federation.Invalid}, // 1970: too old
		{"nothing", "", federation.Invalid},
		{"two parts", "a.b", federation.Invalid},
		{"JSON serialization", `{"payload":"e30","protected":"e30","signature":"e30"}`, federation.Invalid},
		{"white space before it", " " + unsigned(header, payload("")), federation.Invalid},
		{"no algorithm", unsigned(`{"alg":"none"}`, payload("")), federation.Invalid},
		{"a shared secret", unsigned(`{"alg":"HS256"}`, payload("")), federation.Invalid},
		{"PSS", unsigned(`{"alg":"PS256"}`, payload("")), federation.Invalid},
		{"EdDSA", unsigned(`{"alg":"EdDSA"}`, payload("")), federation.Invalid},
		{"a critical extension", unsigned(`{"alg":"RS256","crit":["x"],"x":1}`, payload("")), federation.Invalid},
		{"an unencoded payload", unsigned(`{"alg":"RS256","crit":["b64"],"b64":false}`, payload("")), federation.Invalid},
		{"a header with a name twice", unsigned(`{"alg":"RS256","alg":"none"}`, payload("")), federation.Invalid},
		{"a logout token by its type", unsigned(`{"alg":"RS256","typ":"logout+jwt"}`, payload("")), federation.Invalid},
		{"a logout token by its events", unsigned(header, payload(`,"events":{"http://schemas.openid.net/event/backchannel-logout":{}}`)), federation.Invalid},
		{"a payload that is no JSON", unsigned(header, "x"), federation.Invalid},
		{"a payload that is a list", unsigned(header, "[]"), federation.Invalid},
		{"a payload that is null", unsigned(header, "null"), federation.Invalid},
		{"something behind the payload", unsigned(header, payload("")+"{}"), federation.Invalid},
		{"a claim twice", unsigned(header, payload(`,"sub":"t"`)), federation.Invalid},
		{"two claims that differ by case", unsigned(header, payload(`,"SUB":"t"`)), federation.Invalid},
		{"a subject that is a number", unsigned(header, strings.Replace(payload(""), `"s"`, `7`, 1)), federation.Invalid},
		{"an empty subject", unsigned(header, strings.Replace(payload(""), `"s"`, `""`, 1)), federation.Invalid},
		{"a long subject", unsigned(header, strings.Replace(payload(""), `"s"`, `"`+strings.Repeat("s", 256)+`"`, 1)), federation.Invalid},
		{"no issuer", unsigned(header, strings.Replace(payload(""), `"iss"`, `"isn"`, 1)), federation.Invalid},
		{"no audience", unsigned(header, strings.Replace(payload(""), `"aud"`, `"add"`, 1)), federation.Invalid},
		{"an empty audience", unsigned(header, strings.Replace(payload(""), `"a"`, `[""]`, 1)), federation.Invalid},
		{"an audience of numbers", unsigned(header, strings.Replace(payload(""), `"a"`, `[1]`, 1)), federation.Invalid},
		{"no end", unsigned(header, strings.Replace(payload(""), `"exp"`, `"xep"`, 1)), federation.Invalid},
		{"no beginning", unsigned(header, strings.Replace(payload(""), `"iat"`, `"ita"`, 1)), federation.Invalid},
		{"an end that is text", unsigned(header, strings.Replace(payload(""), `"exp":`, `"exp":"x","y":`, 1)), federation.Invalid},
		{"its time is over this very second", mint(t, i, exampleissuer.Claims{"sub": "s", "exp": at(0)}), federation.Expired},
		{"issued a day ago", mint(t, i, exampleissuer.Claims{"sub": "s", "iat": at(-24 * time.Hour)}), 0},
		{"issued more than a day ago", mint(t, i, exampleissuer.Claims{"sub": "s", "iat": at(-24*time.Hour - time.Second)}), federation.Invalid},
		{"issued by a clock a minute ahead", mint(t, i, exampleissuer.Claims{"sub": "s", "iat": at(time.Minute)}), 0},
		{"issued in the future", mint(t, i, exampleissuer.Claims{"sub": "s", "iat": at(61 * time.Second)}), federation.Invalid},
		{"not valid yet", mint(t, i, exampleissuer.Claims{"sub": "s", "nbf": at(61 * time.Second)}), federation.Invalid},
		{"nbf that is text", mint(t, i, exampleissuer.Claims{"sub": "s", "nbf": "soon"}), federation.Invalid},
		{"too long", unsigned(header, payload(`,"x":"`+strings.Repeat("x", 20000)+`"`)), federation.Invalid},
		{"a tag with two values", mint(t, i, exampleissuer.Claims{"sub": "s", "https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"Ward": []string{"3", "4"}}}}), federation.Invalid},
		{"a tag that is an object", mint(t, i, exampleissuer.Claims{"sub": "s", "https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"Ward": map[string]any{}}}}), federation.Invalid},
		{"tags with a member that is not known", mint(t, i, exampleissuer.Claims{"sub": "s", "https://aws.amazon.com/tags": map[string]any{"principal_tag": map[string]any{}}}), federation.Invalid},
		{"one tag in both forms", mint(t, i, exampleissuer.Claims{"sub": "s", "https://aws.amazon.com/tags/principal_tags/Ward": "4", "https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"Ward": "3"}}}), federation.Invalid},
		{"a source identity that is a list", mint(t, i, exampleissuer.Claims{"sub": "s", "https://aws.amazon.com/source_identity": []string{"x"}}), federation.Invalid},
	} {
		if _, err := federation.Parse(c.token, start); kindOf(err) != c.kind || (err != nil) != (c.kind != 0) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestTagsComeNestedOrFlat(t *testing.T) {
	i := issuer(t)
	for name, c := range map[string]exampleissuer.Claims{
		"nested": {"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"Ward": []string{"3"}, "Shift": []string{"night"}}, "transitive_tag_keys": []string{"Ward"}}},
		"flat": {"https://aws.amazon.com/tags/principal_tags/Ward": "3", "https://aws.amazon.com/tags/principal_tags/Shift": []string{"night"},
			"https://aws.amazon.com/tags/transitive_tag_keys": []string{"Ward"}},
	} {
		c["sub"] = "dr-schmidt"
		tok, err := federation.Parse(mint(t, i, c), start)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(tok.Tags, []directory.Tag{{Key: "Shift", Value: "night"}, {Key: "Ward", Value: "3"}}) || !reflect.DeepEqual(tok.TransitiveTags, []string{"Ward"}) {
			t.Errorf("%s: %+v %v", name, tok.Tags, tok.TransitiveTags)
		}
		if keys := tok.ConditionKeys("a"); len(keys) != 3 { // aud, sub and typ: tags have condition keys of their own
			t.Errorf("%s: %v", name, keys)
		}
	}
}

func TestPlainClaimsAreConditionKeys(t *testing.T) {
	tok, err := federation.Parse(mint(t, issuer(t), exampleissuer.Claims{
		"sub": "dr-schmidt", "aud": []string{"account", "wards"}, "azp": "leadglass", "amr": []string{"pwd", "otp"},
		"email_verified": true, "level": 7, "groups": []string{}, "realm_access": map[string]any{"roles": []string{"x"}}, "mixed": []any{"x", map[string]any{}}, "nothing": nil,
	}), start)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"sub": {"dr-schmidt"}, "aud": {"leadglass"}, "oaud": {"account", "wards"}, "azp": {"leadglass"}, "amr": {"pwd", "otp"},
		"email_verified": {"true"}, "level": {"7"}, "typ": {"ID"},
	}
	if got := tok.ConditionKeys("leadglass"); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

// Condition keys know no case, claims do: a claim that a person could have put
// into a token by another name is not taken for the issuer's.
func TestAClaimOfAnotherCaseIsNotTakenForTheIssuers(t *testing.T) {
	tok, err := federation.Parse(mint(t, issuer(t), exampleissuer.Claims{
		"sub": "visitor", "aud": nil, "azp": "leadglass", "AUD": "other", "Oaud": "other", "aMr": "otp",
	}), start)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.ConditionKeys("leadglass"), map[string][]string{"sub": {"visitor"}, "aud": {"leadglass"}, "azp": {"leadglass"}, "typ": {"ID"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

// Whatever the bytes, Parse answers and does not let an unknown algorithm through.
func FuzzParse(f *testing.F) {
	i, err := exampleissuer.Start("ward")
	if err != nil {
		f.Fatal(err)
	}
	defer i.Close()
	f.Add(mint(f, i, exampleissuer.DoctorOf("dr", "3")))
	f.Add(unsigned(`{"alg":"ES256"}`, `{"iss":"https://i","sub":"s","aud":["a"],"iat":1,"exp":99999999999}`))
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := federation.Parse(text, start)
		if err != nil {
			if k := kindOf(err); k != federation.Invalid && k != federation.Expired {
				t.Errorf("%v", err)
			}
			return
		}
		if tok.Issuer == "" || tok.Subject == "" || !start.Before(tok.Expires) {
			t.Errorf("%+v", tok)
		}
		var header struct{ Alg jose.SignatureAlgorithm }
		first, _, _ := strings.Cut(text, ".")
		raw, err := base64.RawURLEncoding.DecodeString(first)
		if err != nil || json.Unmarshal(raw, &header) != nil || !strings.HasPrefix(string(header.Alg), "RS") && !strings.HasPrefix(string(header.Alg), "ES") {
			t.Errorf("algorithm %q", header.Alg)
		}
		tok.ConditionKeys("a")
	})
}
