package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/leadglass/leadglass/identity/federation/exampleissuer"
)

// federated is a plane that knows an issuer, and an account that trusts it.
type federated struct {
	plane    *plane
	issuer   *exampleissuer.Issuer
	admin    *client
	account  string
	provider string // ARN
	iam      *iam.Client
	sts      *sts.Client // of the administrator
	stranger *sts.Client // without credentials
}

func newFederated(t *testing.T) *federated {
	t.Helper()
	issuer, err := exampleissuer.Start("ward")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { issuer.Close() })
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, issuer.Roots(), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &federated{issuer: issuer, plane: newPlane(t, filepath.Join(dir, "data"), "--issuer-ca", ca, "--private-issuers", issuer.Host())}
	f.admin = f.plane.client(t, "customer")
	cfg := sdkConfig(t, f.admin)
	f.iam, f.sts = iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	nobody := cfg.Copy()
	nobody.Credentials = aws.AnonymousCredentials{}
	f.stranger = sts.NewFromConfig(nobody, func(o *sts.Options) { o.RetryMaxAttempts = 1 })
	who, err := f.sts.GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.account = *who.Account
	p, err := f.iam.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(issuer.URL()), ClientIDList: []string{exampleissuer.ClientID},
		Tags: []iamtypes.Tag{{Key: aws.String("house"), Value: aws.String("north")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.provider = *p.OpenIDConnectProviderArn
	return f
}

// role makes a role that trusts the provider, under a condition, and may do what policy says.
func (f *federated) role(t *testing.T, name, condition, policy string) string {
	t.Helper()
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + f.provider + `"},"Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession","sts:SetSourceIdentity"],"Condition":` + condition + `}]}`
	r, err := f.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	if policy != "" {
		if _, err := f.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("may"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	return *r.Role.Arn
}

func (f *federated) mint(t *testing.T, c exampleissuer.Claims) string {
	t.Helper()
	token, err := f.issuer.Mint(time.Now(), c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// as is a client with the credentials of an answer.
func (f *federated) as(c *ststypes.Credentials) *client {
	s := *f.admin
	s.AccessKeyID, s.SecretAccessKey, s.Session = *c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken
	return &s
}

// A doctor signs in by OIDC and reaches her ward's key by tag, not another's.
func TestADoctorReachesHerWardsKeyAndNoOther(t *testing.T) {
	f := newFederated(t)
	ctx := t.Context()
	host := strings.TrimPrefix(f.issuer.URL(), "https://")
	role := f.role(t, "doctor", `{"StringEquals":{"`+host+`:aud":"`+exampleissuer.ClientID+`"},"StringLike":{"`+host+`:sub":"dr-*"}}`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:Encrypt","kms:Decrypt"],"Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/Ward":"${aws:PrincipalTag/Ward}"}}},{"Effect":"Allow","Action":"sts:*","Resource":"*"}]}`)
	admin := kms.NewFromConfig(sdkConfig(t, f.admin))
	key := map[string]string{}
	for _, ward := range []string{"3", "4"} {
		k, err := admin.CreateKey(ctx, &kms.CreateKeyInput{Tags: []kmstypes.Tag{{TagKey: aws.String("Ward"), TagValue: &ward}}})
		if err != nil {
			t.Fatal(err)
		}
		key[ward] = *k.KeyMetadata.Arn
	}
	in, err := f.stranger.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &role, RoleSessionName: aws.String("dr-schmidt"), WebIdentityToken: aws.String(f.mint(t, exampleissuer.DoctorOf("dr-schmidt", "3"))),
	})
	if err != nil {
		t.Fatal(err)
	}
	if *in.SubjectFromWebIdentityToken != "dr-schmidt" || *in.Audience != exampleissuer.ClientID || *in.Provider != f.provider || *in.SourceIdentity != "dr-schmidt" {
		t.Errorf("%+v", in)
	}
	doctor := f.as(in.Credentials)
	hers := kms.NewFromConfig(sdkConfig(t, doctor))
	if _, err := hers.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(key["3"]), Plaintext: []byte("x-ray")}); err != nil {
		t.Errorf("her ward's key: %v", err)
	}
	_, err = hers.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(key["4"]), Plaintext: []byte("x-ray")})
	refusedWith(t, "another ward's key", err, "AccessDeniedException")

	t.Run("the ward goes with her into the roles that she assumes, and cannot be changed", func(t *testing.T) {
		trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + role + `"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`
		next, err := f.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("archive"), AssumeRolePolicyDocument: &trust})
		if err != nil {
			t.Fatal(err)
		}
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/Ward":"${aws:PrincipalTag/Ward}","aws:SourceIdentity":"dr-schmidt"}}}]}`
		if _, err := f.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("archive"), PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
		mine := sts.NewFromConfig(sdkConfig(t, doctor))
		_, err = mine.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: next.Role.Arn, RoleSessionName: aws.String("s2"), Tags: []ststypes.Tag{{Key: aws.String("ward"), Value: aws.String("4")}}})
		refusedWith(t, "another ward", err, "InvalidParameterValue")
		_, err = mine.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: next.Role.Arn, RoleSessionName: aws.String("s2"), SourceIdentity: aws.String("dr-other")})
		refusedWith(t, "another source identity", err, "AccessDenied")
		second, err := mine.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: next.Role.Arn, RoleSessionName: aws.String("s2")})
		if err != nil {
			t.Fatal(err)
		}
		archive := kms.NewFromConfig(sdkConfig(t, f.as(second.Credentials)))
		if _, err := archive.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(key["3"]), Plaintext: []byte("x")}); err != nil {
			t.Errorf("her ward's key: %v", err)
		}
		_, err = archive.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(key["4"]), Plaintext: []byte("x")})
		refusedWith(t, "another ward's key", err, "AccessDeniedException")
	})

	t.Run("a session policy narrows further", func(t *testing.T) {
		out, err := f.stranger.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
			RoleArn: &role, RoleSessionName: aws.String("narrow"), WebIdentityToken: aws.String(f.mint(t, exampleissuer.DoctorOf("dr-schmidt", "3"))),
			Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}]}`), DurationSeconds: aws.Int32(900),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = kms.NewFromConfig(sdkConfig(t, f.as(out.Credentials))).Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String(key["3"]), Plaintext: []byte("x")})
		refusedWith(t, "what the session policy leaves out", err, "AccessDeniedException")
	})

	t.Run("the log of the role's account tells who came, and not by which token", func(t *testing.T) {
		token := f.mint(t, exampleissuer.Claims{"sub": "visitor-7"})
		_, err := f.stranger.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("visitor"), WebIdentityToken: &token})
		refusedWith(t, "a visitor", err, "AccessDenied")
		dir := filepath.Join(t.TempDir(), "export")
		if err := exportLog(ctx, f.admin, dir); err != nil {
			t.Fatal(err)
		}
		type event struct {
			UserIdentity struct {
				Type, PrincipalID, UserName, IdentityProvider, Arn string
				SessionContext                                     struct {
					WebIDFederationData struct{ FederatedProvider string }
				}
			}
			EventName, ErrorCode, EventSource string
			RequestParameters                 struct{ WebIdentityToken, RoleArn string }
			ResponseElements                  json.RawMessage
		}
		var came, refused, used bool
		_, err = verifyLog(dir, verifyOptions{each: func(raw []byte) error {
			if strings.Contains(string(raw), token) {
				t.Error("a token is in the log")
			}
			var e event
			if err := json.Unmarshal(raw, &e); err != nil {
				return err
			}
			u := e.UserIdentity
			switch {
			case e.EventName == "AssumeRoleWithWebIdentity" && u.UserName == "dr-schmidt" && e.ErrorCode == "":
				came = u.Type == "WebIdentityUser" && u.PrincipalID == f.provider+":"+exampleissuer.ClientID+":dr-schmidt" &&
					u.IdentityProvider == f.provider && u.Arn == "" && e.RequestParameters.RoleArn == role && strings.Contains(string(e.ResponseElements), "ASIA")
			case e.EventName == "AssumeRoleWithWebIdentity" && u.UserName == "visitor-7":
				refused = e.ErrorCode == "AccessDenied"
			case e.EventName == "Encrypt" && u.Type == "AssumedRole" && u.SessionContext.WebIDFederationData.FederatedProvider == f.provider:
				used = true
			}
			return nil
		}})
		if err != nil || !came || !refused || !used {
			t.Errorf("came %v, refused %v, used %v; %v", came, refused, used, err)
		}
	})

	t.Run("the sessions end with the provider, and do not come back with its name", func(t *testing.T) {
		again := sts.NewFromConfig(sdkConfig(t, doctor), func(o *sts.Options) { o.RetryMaxAttempts = 1 })
		if _, err := again.GetCallerIdentity(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := f.iam.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &f.provider}); err != nil {
			t.Fatal(err)
		}
		_, err := again.GetCallerIdentity(ctx, nil)
		refusedWith(t, "without the provider", err, "InvalidClientTokenId")
		if _, err := f.iam.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String(f.issuer.URL()), ClientIDList: []string{exampleissuer.ClientID}}); err != nil {
			t.Fatal(err)
		}
		_, err = again.GetCallerIdentity(ctx, nil)
		refusedWith(t, "with a new provider of the same name", err, "InvalidClientTokenId")
	})
}

// Whatever of the account's is not there or says no, a stranger hears the same.
func TestAWebIdentityLearnsNothingOfWhatItIsNotLetInto(t *testing.T) {
	f := newFederated(t)
	ctx := t.Context()
	host := strings.TrimPrefix(f.issuer.URL(), "https://")
	role := f.role(t, "doctor", `{"StringLike":{"`+host+`:sub":"dr-*"}}`, "")
	good := exampleissuer.Claims{"sub": "dr-schmidt"}
	other, err := exampleissuer.Start("ward")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	foreign, err := other.Mint(time.Now(), good)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := other.Mint(time.Now(), exampleissuer.Claims{"sub": "dr-schmidt", "iss": f.issuer.URL()})
	if err != nil {
		t.Fatal(err)
	}
	valid := f.mint(t, good)
	text := map[string]string{}
	for _, c := range []struct{ name, role, token, code string }{
		{"a role that does not trust the subject", role, f.mint(t, exampleissuer.Claims{"sub": "visitor"}), "AccessDenied"},
		{"a role that does not exist", strings.Replace(role, "doctor", "nobody", 1), valid, "AccessDenied"},
		{"an account that does not exist", "arn:aws:iam::999999999999:role/doctor", valid, "AccessDenied"},
		{"an issuer that the account does not know", role, foreign, "AccessDenied"},
		{"a key that is not the issuer's", role, forged, "AccessDenied"},
		{"a changed signature", role, valid[:len(valid)-8] + "AAAAAAAA", "AccessDenied"},
		{"an audience that is not registered", role, f.mint(t, exampleissuer.Claims{"sub": "dr-schmidt", "aud": "other"}), "AccessDenied"},
		{"a client that is not registered", role, f.mint(t, exampleissuer.Claims{"sub": "dr-schmidt", "azp": "other"}), "AccessDenied"},
		{"a token whose time is over", role, f.mint(t, exampleissuer.Claims{"sub": "dr-schmidt", "exp": time.Now().Add(-time.Second).Unix()}), "ExpiredTokenException"},
		{"a token of yesterday", role, f.mint(t, exampleissuer.Claims{"sub": "dr-schmidt", "iat": time.Now().Add(-25 * time.Hour).Unix()}), "InvalidIdentityToken"},
		{"a token without subject", role, f.mint(t, exampleissuer.Claims{}), "InvalidIdentityToken"},
		{"what is no token", role, "eyJub3QiOiJvbmUifQ.e30.", "InvalidIdentityToken"},
	} {
		_, err := f.stranger.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &c.role, RoleSessionName: aws.String("session"), WebIdentityToken: &c.token})
		refusedWith(t, c.name, err, c.code)
		if c.code == "AccessDenied" && err != nil {
			_, message, _ := strings.Cut(err.Error(), "api error ")
			text[message] = c.name
		}
	}
	if len(text) != 1 {
		t.Errorf("refusals differ: %q", text)
	}
	if _, err := f.stranger.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("session"), WebIdentityToken: &valid}); err != nil {
		t.Errorf("the good token: %v", err)
	}
	// What did not show who it is leaves no name of the account in the operator's log.
	dir := filepath.Join(t.TempDir(), "export")
	if err := exportLog(ctx, f.plane.client(t, "operator"), dir); err != nil {
		t.Fatal(err)
	}
	seen := 0
	_, err = verifyLog(dir, verifyOptions{each: func(raw []byte) error {
		if strings.Contains(string(raw), `"AssumeRoleWithWebIdentity"`) {
			seen++
		}
		if strings.Contains(string(raw), "role/doctor") {
			t.Errorf("the operator reads %s", raw)
		}
		return nil
	}})
	if err != nil || seen == 0 {
		t.Errorf("%d events, %v", seen, err)
	}
}

func TestAFederatedUserMayWhatUserAndSessionPolicyBothAllow(t *testing.T) {
	p := sharedPlane(t)
	admin := p.client(t, "customer")
	ctx := t.Context()
	cfg := sdkConfig(t, admin)
	keys := kms.NewFromConfig(cfg)
	key, err := keys.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	token := func(in *sts.GetFederationTokenInput) (*sts.GetFederationTokenOutput, *client) {
		t.Helper()
		out, err := sts.NewFromConfig(cfg).GetFederationToken(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		c := *admin
		c.AccessKeyID, c.SecretAccessKey, c.Session = *out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken
		return out, &c
	}
	out, bob := token(&sts.GetFederationTokenInput{
		Name: aws.String("bob"), Tags: []ststypes.Tag{{Key: aws.String("shift"), Value: aws.String("night")}},
		Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/shift":"night","aws:PrincipalType":"FederatedUser"}}}]}`),
	})
	who, err := sts.NewFromConfig(sdkConfig(t, bob)).GetCallerIdentity(ctx, nil)
	if err != nil || *who.Arn != *out.FederatedUser.Arn || *who.UserId != *who.Account+":bob" || !strings.HasSuffix(*who.Arn, ":federated-user/bob") || *out.FederatedUser.FederatedUserId != *who.UserId {
		t.Errorf("%+v %v", who, err)
	}
	his := kms.NewFromConfig(sdkConfig(t, bob))
	if _, err := his.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.Arn, Plaintext: []byte("x")}); err != nil {
		t.Errorf("what both allow: %v", err)
	}
	_, err = his.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.KeyMetadata.Arn})
	refusedWith(t, "what the session policy does not allow", err, "AccessDeniedException")
	_, err = iam.NewFromConfig(sdkConfig(t, bob)).ListUsers(ctx, nil)
	refusedWith(t, "IAM", err, "AccessDenied")
	_, err = sts.NewFromConfig(sdkConfig(t, bob)).GetSessionToken(ctx, nil)
	refusedWith(t, "GetSessionToken", err, "AccessDenied")
	_, err = sts.NewFromConfig(sdkConfig(t, bob)).GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("carol")})
	refusedWith(t, "GetFederationToken", err, "AccessDenied")

	_, plain := token(&sts.GetFederationTokenInput{Name: aws.String("plain"), DurationSeconds: aws.Int32(900)})
	_, err = kms.NewFromConfig(sdkConfig(t, plain)).Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.Arn, Plaintext: []byte("x")})
	refusedWith(t, "without any session policy", err, "AccessDeniedException")
}

// A token of ours is checked as a stranger would: by discovery, and by another
// implementation.
func TestAnOutsiderCanCheckTheTokensOfAnAccount(t *testing.T) {
	p := sharedPlane(t)
	cfg := sdkConfig(t, p.client(t, "customer"))
	ctx := t.Context()
	admin, tokens := iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	_, err := tokens.GetWebIdentityToken(ctx, &sts.GetWebIdentityTokenInput{Audience: []string{"https://partner.example"}, SigningAlgorithm: aws.String("ES384")})
	refusedAs[*ststypes.OutboundWebIdentityFederationDisabledException](t, "before it is enabled", err)
	_, err = admin.GetOutboundWebIdentityFederationInfo(ctx, nil)
	refusedAs[*iamtypes.FeatureDisabledException](t, "information before it is enabled", err)
	enabled, err := admin.EnableOutboundWebIdentityFederation(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.EnableOutboundWebIdentityFederation(ctx, nil)
	refusedAs[*iamtypes.FeatureEnabledException](t, "twice", err)
	info, err := admin.GetOutboundWebIdentityFederationInfo(ctx, nil)
	if err != nil || *info.IssuerIdentifier != *enabled.IssuerIdentifier || !info.JwtVendingEnabled {
		t.Errorf("%+v, %v", info, err)
	}
	who, err := tokens.GetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES384} {
		out, err := tokens.GetWebIdentityToken(ctx, &sts.GetWebIdentityTokenInput{
			Audience: []string{"https://partner.example"}, SigningAlgorithm: aws.String(string(alg)), DurationSeconds: aws.Int32(60),
			Tags: []ststypes.Tag{{Key: aws.String("job"), Value: aws.String("nightly")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var discovery struct{ Issuer, Jwks_uri string }
		get(t, *info.IssuerIdentifier+"/.well-known/openid-configuration", &discovery)
		var keys jose.JSONWebKeySet
		get(t, discovery.Jwks_uri, &keys)
		parsed, err := jwt.ParseSigned(*out.WebIdentityToken, []jose.SignatureAlgorithm{alg})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		var ours struct {
			AWS struct {
				Account string            `json:"aws_account"`
				Region  string            `json:"source_region"`
				Tags    map[string]string `json:"request_tags"`
			} `json:"https://sts.amazonaws.com/"`
		}
		found := keys.Key(parsed.Headers[0].KeyID)
		if len(found) != 1 || parsed.Claims(found[0], &claims, &ours) != nil {
			t.Fatalf("%s: %d keys, or none that fits", alg, len(found))
		}
		err = claims.ValidateWithLeeway(jwt.Expected{Issuer: discovery.Issuer, Subject: *who.Arn, AnyAudience: []string{"https://partner.example"}, Time: time.Now()}, time.Second)
		if err != nil || discovery.Issuer != *info.IssuerIdentifier || ours.AWS.Account != *who.Account || ours.AWS.Region != "us-east-1" || ours.AWS.Tags["job"] != "nightly" {
			t.Errorf("%s: %v %+v %+v", alg, err, claims, ours)
		}
		if life := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); life != time.Minute || !out.Expiration.Equal(claims.Expiry.Time()) {
			t.Errorf("%s: lives %v, until %v", alg, life, out.Expiration)
		}
	}
	if _, err := admin.DisableOutboundWebIdentityFederation(ctx, nil); err != nil {
		t.Fatal(err)
	}
	r, err := http.Get(*info.IssuerIdentifier + "/.well-known/jwks.json")
	if err != nil || r.StatusCode != http.StatusNotFound {
		t.Errorf("keys are published still: %v %v", r, err)
	}
}

func get(t *testing.T, url string, into any) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || json.Unmarshal(b, into) != nil {
		t.Fatalf("%s: %d %s %v", url, r.StatusCode, b, err)
	}
}

// A stranger's token must not cost an issuer more than one look a minute.
func TestAStrangerCannotTurnThePlaneOnAnIssuer(t *testing.T) {
	f := newFederated(t)
	role := f.role(t, "doctor", `{}`, "")
	other, err := exampleissuer.Start("ward")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	forged, err := other.Mint(time.Now(), exampleissuer.Claims{"sub": "dr-schmidt", "iss": f.issuer.URL()})
	if err != nil {
		t.Fatal(err)
	}
	in := url.Values{"RoleArn": {role}, "RoleSessionName": {"session"}, "WebIdentityToken": {forged}, "Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}}
	for range 50 {
		r, err := http.PostForm(f.plane.url, in)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusForbidden {
			t.Fatalf("answered %d", r.StatusCode)
		}
	}
	if n := f.issuer.Fetches(); n != 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
}
