package kms_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

func (d *desk) denied(who *caller, op, body string) {
	d.Helper()
	if a := d.do(who, op, body); a.code() != "AccessDeniedException" {
		d.Errorf("%s by %s: %s", op, who.principal.ARN, a.raw)
	}
}

func TestAGrantGivesExactlyWhatItSays(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	enc := ctxPairs{"ward": "3"}
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA", "EncryptionContext", enc)).str("CiphertextBlob")
	decrypt := obj("CiphertextBlob", blob, "EncryptionContext", enc)
	d.denied(d.nobody, "Decrypt", decrypt)
	g := d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", d.nobody.principal.ARN, "Operations", []string{"Decrypt", "ReEncryptFrom"},
		"Constraints", map[string]any{"EncryptionContextSubset": ctxPairs{"WARD": "3"}}))
	token := g.str("GrantToken")
	d.ok(d.nobody, "Decrypt", decrypt)
	d.ok(d.nobody, "Decrypt", obj("CiphertextBlob", blob, "EncryptionContext", enc, "GrantTokens", []string{token}))
	d.denied(d.nobody, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA", "EncryptionContext", enc))
	d.denied(d.nobody, "Decrypt", obj("CiphertextBlob", blob, "EncryptionContext", ctxPairs{"ward": "4"}))
	d.denied(d.nobody, "ReEncrypt", obj("CiphertextBlob", blob, "SourceEncryptionContext", enc, "DestinationKeyId", k))
	d.denied(d.nobody, "DescribeKey", obj("KeyId", k))
	second := d.key(d.admin, `{}`)
	d.fails(d.admin, "Encrypt", obj("KeyId", second, "Plaintext", "AAAA", "GrantTokens", []string{token}), "InvalidGrantTokenException", "Invalid grant token")
	d.ok(d.admin, "CreateGrant", obj("KeyId", second, "GranteePrincipal", d.nobody.principal.ARN, "Operations", []string{"ReEncryptTo"}))
	d.ok(d.nobody, "ReEncrypt", obj("CiphertextBlob", blob, "SourceEncryptionContext", enc, "DestinationKeyId", second, "GrantTokens", []string{token}))

	list := d.ok(d.admin, "ListGrants", obj("KeyId", k)).body["Grants"].([]any)
	want := obj("KeyId", keyARN+k, "GrantId", g.str("GrantId"), "Name", "", "CreationDate", list[0].(map[string]any)["CreationDate"],
		"GranteePrincipal", d.nobody.principal.ARN, "IssuingAccount", arn.Root(acct), "Operations", []string{"Decrypt", "ReEncryptFrom"},
		"Constraints", map[string]any{"EncryptionContextSubset": ctxPairs{"WARD": "3"}})
	if len(list) != 1 || js(list[0]) != want {
		t.Errorf("listed as %s\nwant %s", js(list), want)
	}
	d.ok(d.admin, "RevokeGrant", obj("KeyId", k, "GrantId", g.str("GrantId")))
	d.denied(d.nobody, "Decrypt", decrypt)
	d.denied(d.nobody, "Decrypt", obj("CiphertextBlob", blob, "EncryptionContext", enc, "GrantTokens", []string{token}))
	d.fails(d.admin, "RevokeGrant", obj("KeyId", k, "GrantId", g.str("GrantId")), "NotFoundException", "Grant ID "+g.str("GrantId")+" not found")
	d.fails(d.admin, "RevokeGrant", obj("KeyId", k, "GrantId", "x"), "InvalidGrantIdException", "Invalid grant id x")
}

func TestADenyWinsOverAGrant(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	who := d.user(acct, "denied", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:Encrypt","Resource":"*"}]}`)
	d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", who.principal.ARN, "Operations", []string{"Encrypt", "Decrypt"}))
	a := d.do(who, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"))
	if !strings.Contains(a.text(), "with an explicit deny in an identity-based policy") {
		t.Errorf("%s", a.raw)
	}
}

func TestGrantsAcrossAccountsNeedPermissionAtHome(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	for _, who := range []*caller{d.stranger, d.strangerPoor} {
		d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", who.principal.ARN, "Operations", []string{"Encrypt"}))
	}
	d.ok(d.stranger, "Encrypt", obj("KeyId", keyARN+k, "Plaintext", "AAAA"))
	d.denied(d.strangerPoor, "Encrypt", obj("KeyId", keyARN+k, "Plaintext", "AAAA"))
}

func TestGrantsToRolesMeanTheirSessions(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	role := arn.IAM(acct, "role", "/", "app")
	d.ids[role] = "AROAAPP"
	session := func(name string, policies *authz.Policies) *caller {
		return &caller{policies: policies, principal: authz.Principal{
			Type: authz.AssumedRole, ARN: arn.AssumedRole(acct, "app", name), Account: acct, RoleARN: role, ID: "AROAAPP",
		}}
	}
	one, two := session("one", &authz.Policies{}), session("two", &authz.Policies{})
	d.ids[one.principal.ARN] = ""
	d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", one.principal.ARN, "Operations", []string{"Encrypt"}))
	d.ok(one, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"))
	d.denied(two, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"))
	d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", role, "Operations", []string{"Encrypt"}))
	d.ok(two, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"))
	// A session policy limits what the grant gives.
	p, err := policy.Parse(policy.Session, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	limited := session("three", &authz.Policies{Session: []*policy.Document{p}, SessionPassed: true})
	d.denied(limited, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"))
}

func TestHandingGrantsOn(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	child := func(ops []string, constraints map[string]any) string {
		return obj("KeyId", keyARN+k, "GranteePrincipal", d.strangerPoor.principal.ARN, "Operations", ops, "Constraints", constraints)
	}
	subset := map[string]any{"EncryptionContextSubset": ctxPairs{"ward": "3"}}
	d.denied(d.nobody, "CreateGrant", child([]string{"Decrypt"}, subset))
	d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", d.nobody.principal.ARN, "Operations", []string{"CreateGrant", "Decrypt"}, "Constraints", subset))
	d.ok(d.nobody, "CreateGrant", child([]string{"Decrypt"}, subset))
	d.denied(d.nobody, "CreateGrant", child([]string{"Decrypt"}, nil))
	d.denied(d.nobody, "CreateGrant", child([]string{"Encrypt"}, subset))
	d.denied(d.nobody, "RevokeGrant", obj("KeyId", k, "GrantId", strings.Repeat("a", 64)))
}

func TestWhoMayNotRetireAGrant(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	retirer := d.user(acct, "retirer", "")
	g := d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", d.nobody.principal.ARN, "RetiringPrincipal", retirer.principal.ARN, "Operations", []string{"Decrypt"}))
	token, id := obj("GrantToken", g.str("GrantToken")), obj("KeyId", keyARN+k, "GrantId", g.str("GrantId"))
	for name, who := range map[string]*caller{
		"the grantee, whose operations lack it":         d.nobody,
		"a stranger":                                    d.strangerPoor,
		"a stranger with every permission at home":      d.stranger,
		"a new user with the retiring principal's name": d.user(acct, "retirer", ""),
		"the root user of another account":              {principal: authz.Principal{Type: authz.Root, ARN: arn.Root(other), Account: other, ID: other}, policies: &authz.Policies{}},
	} {
		for _, body := range []string{token, id} {
			if a := d.do(who, "RetireGrant", body); a.code() != "AccessDeniedException" {
				t.Errorf("%s: %s", name, a.raw)
			}
		}
	}
	d.ok(retirer, "RetireGrant", token)
}

func TestRetiring(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	retirer := d.user(acct, "retirer", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:ListRetirableGrants","Resource":"*"}]}`)
	grant := func(ops ...string) (token, id string) {
		a := d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", d.nobody.principal.ARN, "RetiringPrincipal", retirer.principal.ARN, "Operations", ops))
		return a.str("GrantToken"), a.str("GrantId")
	}
	list := obj("RetiringPrincipal", retirer.principal.ARN)
	for name, by := range map[string]*caller{"the retiring principal": retirer, "the root of the account": d.root, "the grantee who may": d.nobody} {
		token, id := grant("Decrypt", "RetireGrant")
		if gs := d.ok(retirer, "ListRetirableGrants", list).body["Grants"].([]any); len(gs) != 1 {
			t.Fatalf("retirable: %v", gs)
		}
		d.ok(by, "RetireGrant", obj("KeyId", keyARN+k, "GrantId", id))
		if gs := d.ok(retirer, "ListRetirableGrants", list).body["Grants"].([]any); len(gs) != 0 {
			t.Errorf("%s retired nothing: %v", name, gs)
		}
		// The token of what is gone gives nothing away and does nothing.
		d.fails(d.stranger, "RetireGrant", obj("GrantToken", token), "InvalidGrantTokenException", "Invalid grant token")
		d.fails(retirer, "RetireGrant", obj("GrantToken", token), "InvalidGrantTokenException", "Invalid grant token")
		d.fails(d.admin, "RetireGrant", obj("GrantToken", token), "NotFoundException", "Grant ID "+id+" not found")
	}
	token, _ := grant("Decrypt")
	d.ok(retirer, "RetireGrant", obj("GrantToken", token))
	d.denied(retirer, "ListRetirableGrants", obj("RetiringPrincipal", d.stranger.principal.ARN))
}

func TestGrantNamesMakeCreationIdempotent(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	body := obj("KeyId", k, "GranteePrincipal", d.nobody.principal.ARN, "Operations", []string{"Decrypt"}, "Name", "n")
	a, b := d.ok(d.admin, "CreateGrant", body), d.ok(d.admin, "CreateGrant", body)
	if a.str("GrantId") != b.str("GrantId") || a.str("GrantToken") == b.str("GrantToken") {
		t.Errorf("%s\n%s", a.raw, b.raw)
	}
	if gs := d.ok(d.admin, "ListGrants", obj("KeyId", k, "GranteePrincipal", d.nobody.principal.ARN)); len(gs.body["Grants"].([]any)) != 1 {
		t.Errorf("%s", gs.raw)
	}
	d.fails(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", "arn:aws:iam::"+acct+":user/ghost", "Operations", []string{"Decrypt"}),
		"InvalidArnException", "ARN does not refer to a valid principal: arn:aws:iam::"+acct+":user/ghost")
}

// The whole path: no answer to a use that started after RevokeGrant or
// DisableKey was answered may be a success.
func TestRevocationWinsRaces(t *testing.T) {
	for name, stop := range map[string]func(d *desk, k, grant string){
		"RevokeGrant": func(d *desk, k, grant string) { d.ok(d.admin, "RevokeGrant", obj("KeyId", k, "GrantId", grant)) },
		"DisableKey":  func(d *desk, k, grant string) { d.ok(d.admin, "DisableKey", obj("KeyId", k)) },
		"PutKeyPolicy": func(d *desk, k, grant string) {
			deny := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + arn.Root(acct) + `"},"Action":"kms:*","Resource":"*"},{"Effect":"Deny","Principal":{"AWS":"` + d.nobody.principal.ARN + `"},"Action":"kms:Decrypt","Resource":"*"}]}`
			d.ok(d.admin, "PutKeyPolicy", obj("KeyId", k, "Policy", deny))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			for range 5 {
				k := d.key(d.admin, `{}`)
				blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")).str("CiphertextBlob")
				grant := d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", d.nobody.principal.ARN, "Operations", []string{"Decrypt"})).str("GrantId")
				var stopped, done atomic.Bool
				var good, late atomic.Int64
				var wg sync.WaitGroup
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				for range 6 {
					wg.Go(func() {
						for !done.Load() && ctx.Err() == nil {
							after := stopped.Load()
							if d.do(d.nobody, "Decrypt", obj("CiphertextBlob", blob)).status == 200 {
								good.Add(1)
								if after {
									late.Add(1)
								}
							}
						}
					})
				}
				for good.Load() < 10 && ctx.Err() == nil {
					time.Sleep(100 * time.Microsecond)
				}
				stop(d, k, grant)
				stopped.Store(true)
				time.Sleep(3 * time.Millisecond)
				done.Store(true)
				wg.Wait()
				cancel()
				if good.Load() < 10 || late.Load() > 0 {
					t.Fatalf("%d successes, %d of them too late", good.Load(), late.Load())
				}
			}
		})
	}
}
