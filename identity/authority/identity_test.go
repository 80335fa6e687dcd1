package authority_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
)

// identityOf is a good identity of an account.
func identityOf(account, algorithm string) authority.Identity {
	return authority.Identity{
		Account: account, Issuer: "https://plane.example/_outbound/x", Subject: "arn:aws:iam::" + account + ":role/r",
		Audience: []string{"https://partner.example"}, Algorithm: algorithm, Seconds: 300,
	}
}

func TestIdentityTokensAreGoodForOthers(t *testing.T) {
	a := authoritytest.Start(t, t.TempDir()).Client()
	const account = "123456789012"
	for _, alg := range []string{authority.RS256, authority.ES384} {
		sealed, jwk, err := a.NewSigner(t.Context(), account, alg)
		if err != nil {
			t.Fatal(err)
		}
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(jwk); err != nil || !key.IsPublic() || key.Algorithm != alg || key.Use != "sig" {
			t.Fatalf("%s: key %s: %v", alg, jwk, err)
		}
		in := identityOf(account, alg)
		in.Audience, in.Region, in.SessionExpires, in.Organization = []string{"a", `b"\`}, "eu-central-1", 1800000000, "o-abc"
		in.PrincipalTags = map[string]string{"Ward": "3", `quote"back\slash`: "line\nfeed\x00\x1f\u007f é 漢 \u2028"}
		in.RequestTags = map[string]string{"job": ""}
		token, expires, err := a.SignIdentity(t.Context(), sealed, in)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := jws.Verify(key.Key)
		if err != nil || jws.Signatures[0].Header.KeyID != key.KeyID {
			t.Fatalf("%s: %v", alg, err)
		}
		var got struct {
			Iss, Sub, Jti string
			Aud           []string
			Iat, Exp      int64
			AWS           struct {
				Account       string            `json:"aws_account"`
				Region        string            `json:"source_region"`
				Organization  string            `json:"org_id"`
				Session       int64             `json:"original_session_exp"`
				PrincipalTags map[string]string `json:"principal_tags"`
				RequestTags   map[string]string `json:"request_tags"`
			} `json:"https://sts.amazonaws.com/"`
		}
		if err := json.Unmarshal(payload, &got); err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		if got.Iss != in.Issuer || got.Sub != in.Subject || !reflect.DeepEqual(got.Aud, in.Audience) || len(got.Jti) != 36 || got.Exp-got.Iat != 300 || got.Exp != expires.Unix() ||
			got.AWS.Account != account || got.AWS.Region != in.Region || got.AWS.Organization != in.Organization || got.AWS.Session != in.SessionExpires ||
			!reflect.DeepEqual(got.AWS.PrincipalTags, in.PrincipalTags) || !reflect.DeepEqual(got.AWS.RequestTags, in.RequestTags) {
			t.Errorf("%s: %+v", alg, got)
		}
		if now := time.Now().Unix(); got.Iat < now-5 || got.Iat > now {
			t.Errorf("%s: issued at %d", alg, got.Iat)
		}
		t.Run("the key signs for its account and by its algorithm alone", func(t *testing.T) {
			other := identityOf("210987654321", alg)
			if _, _, err := a.SignIdentity(t.Context(), sealed, other); !errors.Is(err, authority.ErrToken) {
				t.Errorf("another account: %v", err)
			}
			swapped := identityOf(account, map[string]string{authority.RS256: authority.ES384, authority.ES384: authority.RS256}[alg])
			if _, _, err := a.SignIdentity(t.Context(), sealed, swapped); !errors.Is(err, authority.ErrToken) {
				t.Errorf("another algorithm: %v", err)
			}
			for i := 0; i < len(sealed); i++ {
				if i > 64 && i < len(sealed)-20 {
					i += 15 // the ciphertext is long and its bytes are alike
				}
				changed := append([]byte(nil), sealed...)
				changed[i] ^= 1
				if _, _, err := a.SignIdentity(t.Context(), changed, identityOf(account, alg)); !errors.Is(err, authority.ErrToken) {
					t.Fatalf("byte %d changed: %v", i, err)
				}
			}
		})
	}
}

func TestAnIdentityTokenSaysNothingThatIsNotTheAccounts(t *testing.T) {
	a := authoritytest.Start(t, t.TempDir()).Client()
	const account = "123456789012"
	sealed, _, err := a.NewSigner(t.Context(), account, authority.ES384)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*authority.Identity)
		want   error
	}{
		{"as it is", func(*authority.Identity) {}, nil},
		{"another account's principal", func(i *authority.Identity) { i.Subject = "arn:aws:iam::210987654321:role/r" }, authority.ErrBadRequest},
		{"no principal", func(i *authority.Identity) { i.Subject = "" }, authority.ErrBadRequest},
		{"no account", func(i *authority.Identity) { i.Account = "" }, authority.ErrBadRequest},
		{"no issuer", func(i *authority.Identity) { i.Issuer = "" }, authority.ErrBadRequest},
		{"no audience", func(i *authority.Identity) { i.Audience = nil }, authority.ErrBadRequest},
		{"an audience that is no text", func(i *authority.Identity) { i.Audience = []string{"\xff"} }, authority.ErrBadRequest},
		{"less than a minute", func(i *authority.Identity) { i.Seconds = 59 }, authority.ErrBadRequest},
		{"more than an hour", func(i *authority.Identity) { i.Seconds = 3601 }, authority.ErrBadRequest},
		{"no algorithm", func(i *authority.Identity) { i.Algorithm = "none" }, authority.ErrToken},
		{"more than a token holds", func(i *authority.Identity) { i.RequestTags = map[string]string{"k": strings.Repeat("v", 8<<10)} }, authority.ErrTooLarge},
	} {
		i := identityOf(account, authority.ES384)
		c.change(&i)
		if _, _, err := a.SignIdentity(t.Context(), sealed, i); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, _, err := a.NewSigner(t.Context(), account, "HS256"); !errors.Is(err, authority.ErrBadRequest) {
		t.Errorf("a shared secret: %v", err)
	}
	if _, _, err := a.NewSigner(t.Context(), "12345678901x", authority.ES384); !errors.Is(err, authority.ErrBadRequest) {
		t.Errorf("no account: %v", err)
	}
}

// An identity token costs one signature in the authority; at most 10 ms by RSA.
func BenchmarkSignIdentity(b *testing.B) {
	a := authoritytest.Start(b, b.TempDir()).Client()
	for _, alg := range []string{authority.RS256, authority.ES384} {
		sealed, _, err := a.NewSigner(b.Context(), "123456789012", alg)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(alg, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := a.SignIdentity(b.Context(), sealed, identityOf("123456789012", alg)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
