package kms_test

import (
	"strings"
	"testing"

	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/identity/arn"
)

// every is one request of each operation that names a key, for a key id.
func every(ref, foreignRef string) map[string]string {
	grantee := "arn:aws:iam::" + acct + ":user/admin"
	return map[string]string{
		"DescribeKey": obj("KeyId", ref), "Encrypt": obj("KeyId", ref, "Plaintext", "AAAA"),
		"GenerateDataKey": obj("KeyId", ref, "KeySpec", "AES_256"), "GenerateDataKeyWithoutPlaintext": obj("KeyId", ref, "KeySpec", "AES_256"),
		"Decrypt":     obj("KeyId", ref, "CiphertextBlob", "AAAA"),
		"CreateGrant": obj("KeyId", foreignRef, "GranteePrincipal", grantee, "Operations", []string{"Decrypt"}),
		"ListGrants":  obj("KeyId", foreignRef), "RevokeGrant": obj("KeyId", foreignRef, "GrantId", strings.Repeat("a", 64)),
		"RetireGrant": obj("KeyId", foreignRef, "GrantId", strings.Repeat("a", 64)),
		"EnableKey":   obj("KeyId", foreignRef), "DisableKey": obj("KeyId", foreignRef), "ScheduleKeyDeletion": obj("KeyId", foreignRef),
		"CancelKeyDeletion": obj("KeyId", foreignRef), "UpdateKeyDescription": obj("KeyId", foreignRef, "Description", ""),
		"GetKeyPolicy": obj("KeyId", foreignRef), "PutKeyPolicy": obj("KeyId", foreignRef, "Policy", keys.DefaultPolicy(acct)),
		"ListKeyPolicies": obj("KeyId", foreignRef), "TagResource": obj("KeyId", foreignRef, "Tags", []any{}),
		"UntagResource": obj("KeyId", foreignRef, "TagKeys", []any{}), "ListResourceTags": obj("KeyId", foreignRef),
		"EnableKeyRotation": obj("KeyId", foreignRef), "DisableKeyRotation": obj("KeyId", foreignRef), "RotateKeyOnDemand": obj("KeyId", foreignRef),
		"ListKeyRotations": obj("KeyId", foreignRef), "DeleteImportedKeyMaterial": obj("KeyId", foreignRef),
		"GetParametersForImport": obj("KeyId", foreignRef, "WrappingAlgorithm", "RSAES_OAEP_SHA_1", "WrappingKeySpec", "RSA_2048"),
		"ImportKeyMaterial":      obj("KeyId", foreignRef, "ImportToken", "AAAA", "EncryptedKeyMaterial", "AAAA", "ExpirationModel", "KEY_MATERIAL_DOES_NOT_EXPIRE"),
		"GetKeyRotationStatus":   obj("KeyId", foreignRef), "GetKeyLastUsage": obj("KeyId", foreignRef),
		"CreateAlias": obj("AliasName", "alias/new", "TargetKeyId", foreignRef),
	}
}

func TestNobodyCanTellAMissingKeyFromAForbiddenOne(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	d.ok(d.admin, "CreateAlias", obj("AliasName", "alias/there", "TargetKeyId", k))
	alias := "arn:aws:kms:us-east-1:" + acct + ":alias/"
	for name, who := range map[string]*caller{
		"a stranger with every permission of its own account": d.stranger,
		"a stranger with none":                                d.strangerPoor,
		"someone of the account without permissions":          d.nobody,
	} {
		t.Run(name, func(t *testing.T) {
			d.TB = t
			for _, pair := range [][2]string{{keyARN + k, keyARN + absent}, {alias + "there", alias + "gone"}} {
				there, gone := every(pair[0], keyARN+k), every(pair[1], keyARN+absent)
				for op, body := range there {
					if op == "CreateAlias" && who != d.nobody {
						continue // the stranger may make aliases of its own, but not to this key: see below
					}
					a, b := d.do(who, op, body), d.do(who, op, gone[op])
					hide := strings.NewReplacer(pair[0], "X", pair[1], "X", keyARN+k, "X", keyARN+absent, "X")
					if a.code() != "AccessDeniedException" || hide.Replace(a.raw) != hide.Replace(b.raw) {
						t.Errorf("%s:\nthere %s\ngone  %s", op, a.raw, b.raw)
					}
					if strings.Contains(pair[0], "alias/") && op != "CreateGrant" && strings.Contains(body, "alias/") && strings.Contains(a.raw, k) {
						t.Errorf("%s tells where the alias leads: %s", op, a.raw)
					}
				}
			}
		})
	}
	d.TB = t
	for _, who := range []*caller{d.stranger, d.strangerPoor} {
		a := d.do(who, "CreateAlias", obj("AliasName", "alias/new", "TargetKeyId", keyARN+k))
		b := d.do(who, "CreateAlias", obj("AliasName", "alias/new", "TargetKeyId", keyARN+absent))
		if a.code() != "AccessDeniedException" || strings.ReplaceAll(a.raw, k, absent) != b.raw {
			t.Errorf("an alias to a foreign key: %s, %s", a.raw, b.raw)
		}
	}
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")).str("CiphertextBlob")
	for _, who := range []*caller{d.nobody, d.stranger} {
		a := d.do(who, "ReEncrypt", obj("CiphertextBlob", blob, "DestinationKeyId", keyARN+k))
		b := d.do(who, "ReEncrypt", obj("CiphertextBlob", blob, "DestinationKeyId", keyARN+absent))
		if a.code() != "AccessDeniedException" || a.raw != b.raw {
			t.Errorf("re-encryption to a key: %s, %s", a.raw, b.raw)
		}
	}
	// Those who may act on keys of their account are told the truth.
	for op, body := range every(absent, absent) {
		if op == "RetireGrant" || op == "CreateAlias" {
			continue
		}
		d.fails(d.admin, op, body, "NotFoundException", "Key '"+keyARN+absent+"' does not exist")
	}
	d.fails(d.admin, "DescribeKey", obj("KeyId", "alias/gone"), "NotFoundException", "Alias "+alias+"gone is not found.")
	d.fails(d.admin, "DeleteAlias", obj("AliasName", "alias/gone"), "NotFoundException", "Alias "+alias+"gone is not found.")
	d.fails(d.admin, "EnableKey", obj("KeyId", "alias/there"), "NotFoundException", "Invalid keyId 'alias/there'")
	d.fails(d.admin, "EnableKey", obj("KeyId", "arn:aws:kms:eu-west-1:"+acct+":key/"+k), "NotFoundException", "Invalid arn eu-west-1")
}

func TestDenialText(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	d.fails(d.nobody, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"), "AccessDeniedException",
		"User: arn:aws:iam::"+acct+":user/nobody is not authorized to perform: kms:Encrypt on resource: "+keyARN+k+" because no identity-based policy allows the kms:Encrypt action")
	d.fails(d.stranger, "Encrypt", obj("KeyId", keyARN+k, "Plaintext", "AAAA"), "AccessDeniedException",
		"User: arn:aws:iam::"+other+":user/stranger is not authorized to perform: kms:Encrypt on resource: "+keyARN+k)
	if a := d.do(d.nobody, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")); !strings.Contains(a.raw, `"Message"`) {
		t.Errorf("the member is Message: %s", a.raw)
	}
}

func TestOtherAccountsNeedBothSides(t *testing.T) {
	d := newDesk(t)
	both := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + arn.Root(acct) + `","` + arn.Root(other) + `"]},"Action":"kms:*","Resource":"*"}]}`
	k := d.key(d.admin, obj("Policy", both))
	d.ok(d.admin, "CreateAlias", obj("AliasName", "alias/shared", "TargetKeyId", k))
	d.ok(d.stranger, "Encrypt", obj("KeyId", keyARN+k, "Plaintext", "AAAA"))
	d.ok(d.stranger, "DescribeKey", obj("KeyId", "arn:aws:kms:us-east-1:"+acct+":alias/shared"))
	d.ok(d.stranger, "ListGrants", obj("KeyId", keyARN+k))
	if a := d.do(d.strangerPoor, "Encrypt", obj("KeyId", keyARN+k, "Plaintext", "AAAA")); a.code() != "AccessDeniedException" {
		t.Errorf("without permission at home: %s", a.raw)
	}
	d.fails(d.stranger, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"), "NotFoundException", "Key 'arn:aws:kms:us-east-1:"+other+":key/"+k+"' does not exist")
	for op, body := range every(keyARN+k, keyARN+k) {
		switch op {
		case "DescribeKey", "Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "CreateGrant", "ListGrants", "RevokeGrant", "RetireGrant":
			continue
		}
		if a := d.do(d.stranger, op, body); a.code() != "AccessDeniedException" {
			t.Errorf("%s works across accounts: %s", op, a.raw)
		}
	}
}

func TestKeyPolicyRules(t *testing.T) {
	d := newDesk(t)
	only := func(who string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + who + `"},"Action":"kms:*","Resource":"*"}]}`
	}
	const lockout = "The new key policy will not allow you to update the key policy in the future."
	d.fails(d.admin, "CreateKey", obj("Policy", only(d.nobody.principal.ARN)), "MalformedPolicyDocumentException", lockout)
	d.fails(d.admin, "CreateKey", obj("Policy", only("arn:aws:iam::"+acct+":user/ghost")), "MalformedPolicyDocumentException", "Policy contains a statement with one or more invalid principals.")
	k := d.key(d.admin, obj("Policy", only(d.nobody.principal.ARN), "BypassPolicyLockoutSafetyCheck", true))
	// The account's policies no longer count, not even for its root.
	for _, who := range []*caller{d.admin, d.root} {
		a := d.do(who, "DescribeKey", obj("KeyId", k))
		if a.code() != "AccessDeniedException" || !strings.HasSuffix(a.text(), "because no resource-based policy allows the kms:DescribeKey action") {
			t.Errorf("%s: %s", who.principal.ARN, a.raw)
		}
	}
	d.ok(d.nobody, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"))
	d.fails(d.nobody, "PutKeyPolicy", obj("KeyId", k, "Policy", only(d.admin.principal.ARN)), "MalformedPolicyDocumentException", lockout)
	d.ok(d.nobody, "PutKeyPolicy", obj("KeyId", k, "Policy", keys.DefaultPolicy(acct), "BypassPolicyLockoutSafetyCheck", true))
	d.ok(d.admin, "DescribeKey", obj("KeyId", k))
	d.ok(d.root, "DescribeKey", obj("KeyId", k))
	if a := d.do(d.nobody, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")); a.code() != "AccessDeniedException" {
		t.Errorf("the old policy still gives: %s", a.raw)
	}
	// A user of the same name is not the same user.
	d.ok(d.admin, "PutKeyPolicy", obj("KeyId", k, "Policy", strings.Replace(only(arn.Root(acct)), `"`+arn.Root(acct)+`"`, `["`+arn.Root(acct)+`","`+d.nobody.principal.ARN+`"]`, 1)))
	d.ok(d.nobody, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"))
	again := d.user(acct, "nobody", "")
	if a := d.do(again, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")); a.code() != "AccessDeniedException" {
		t.Errorf("the new nobody: %s", a.raw)
	}
	if a := d.ok(d.admin, "GetKeyPolicy", obj("KeyId", k)); !strings.Contains(a.str("Policy"), d.nobody.principal.ID) || strings.Contains(a.str("Policy"), "user/nobody") {
		t.Errorf("shown %s", a.str("Policy"))
	}
}

func TestConditionKeys(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{"Tags":[{"TagKey":"ward","TagValue":"3"}]}`)
	d.ok(d.admin, "CreateAlias", obj("AliasName", "alias/a", "TargetKeyId", k))
	d.ok(d.admin, "CreateAlias", obj("AliasName", "alias/b", "TargetKeyId", k))
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")).str("CiphertextBlob")
	second := d.key(d.admin, `{}`)
	grantee := d.stranger.principal.ARN
	encrypt := obj("KeyId", k, "Plaintext", "AAAA", "EncryptionContext", ctxPairs{"Ward": "3", "x": "y"})
	grant := obj("KeyId", k, "GranteePrincipal", grantee, "RetiringPrincipal", d.admin.principal.ARN, "Operations", []string{"Decrypt", "DescribeKey"}, "Constraints", map[string]any{"EncryptionContextEquals": ctxPairs{"ward": "3"}})
	for _, c := range []struct {
		op, body, condition string
		allowed             bool
	}{
		{"Encrypt", encrypt, `{"StringEquals":{"kms:EncryptionContext:ward":"3"}}`, true},
		{"Encrypt", encrypt, `{"StringEquals":{"kms:EncryptionContext:ward":"4"}}`, false},
		{"Encrypt", encrypt, `{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["Ward","x"]}}`, true},
		{"Encrypt", encrypt, `{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["Ward"]}}`, false},
		{"Encrypt", encrypt, `{"StringEquals":{"kms:CallerAccount":"` + acct + `"}}`, true},
		{"Encrypt", encrypt, `{"StringEquals":{"kms:EncryptionAlgorithm":"SYMMETRIC_DEFAULT","kms:KeySpec":"SYMMETRIC_DEFAULT","kms:KeyUsage":"ENCRYPT_DECRYPT","kms:KeyOrigin":"AWS_KMS","kms:CustomerMasterKeySpec":"SYMMETRIC_DEFAULT"},"Bool":{"kms:MultiRegion":"false"}}`, true},
		{"Encrypt", encrypt, `{"StringEquals":{"aws:ResourceTag/Ward":"3"}}`, true},
		{"Encrypt", encrypt, `{"StringEquals":{"aws:ResourceTag/ward":"4"}}`, false},
		{"Encrypt", encrypt, `{"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/b"}}`, true},
		{"Encrypt", encrypt, `{"Null":{"kms:RequestAlias":"true"}}`, true},
		{"Encrypt", obj("KeyId", "alias/a", "Plaintext", "AAAA"), `{"StringEquals":{"kms:RequestAlias":"alias/a"}}`, true},
		{"Encrypt", obj("KeyId", "alias/b", "Plaintext", "AAAA"), `{"StringEquals":{"kms:RequestAlias":"alias/a"}}`, false},
		{"Encrypt", encrypt, `{"Null":{"kms:ViaService":"true"}}`, true},
		{"Encrypt", obj("KeyId", k, "Plaintext", "AAAA", "EncryptionContext", ctxPairs{"Ward": "3", "ward": "4"}), `{"StringEquals":{"kms:EncryptionContext:ward":"3"}}`, false},
		{"ReEncrypt", obj("CiphertextBlob", blob, "DestinationKeyId", k), `{"Bool":{"kms:ReEncryptOnSameKey":"true"}}`, true},
		{"ReEncrypt", obj("CiphertextBlob", blob, "DestinationKeyId", second), `{"Bool":{"kms:ReEncryptOnSameKey":"true"}}`, false},
		{"ReEncrypt", obj("CiphertextBlob", blob, "DestinationKeyId", second), `{"Bool":{"kms:ReEncryptOnSameKey":"false"}}`, true},
		{"CreateGrant", grant, `{"StringEquals":{"kms:GranteePrincipal":"` + grantee + `","kms:RetiringPrincipal":"` + d.admin.principal.ARN + `","kms:GrantConstraintType":"EncryptionContextEquals","kms:EncryptionContext:ward":"3"},"Bool":{"kms:GrantIsForAWSResource":"false"},"ForAllValues:StringEquals":{"kms:GrantOperations":["Decrypt","DescribeKey"]}}`, true},
		{"CreateGrant", grant, `{"ForAllValues:StringEquals":{"kms:GrantOperations":["Decrypt"]}}`, false},
		{"CreateGrant", grant, `{"Bool":{"kms:GrantIsForAWSResource":"true"}}`, false},
		{"ScheduleKeyDeletion", obj("KeyId", second, "PendingWindowInDays", 9), `{"NumericEquals":{"kms:ScheduleKeyDeletionPendingWindowInDays":"9"}}`, true},
		{"PutKeyPolicy", obj("KeyId", k, "Policy", keys.DefaultPolicy(acct), "BypassPolicyLockoutSafetyCheck", true), `{"Bool":{"kms:BypassPolicyLockoutSafetyCheck":"false"}}`, false},
		{"CreateKey", `{"Tags":[{"TagKey":"a","TagValue":"1"}]}`, `{"StringEquals":{"aws:RequestTag/a":"1"},"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}`, true},
		{"CreateKey", `{"Tags":[{"TagKey":"b","TagValue":"1"}]}`, `{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}`, false},
		{"TagResource", obj("KeyId", k, "Tags", []any{map[string]string{"TagKey": "a", "TagValue": "2"}}), `{"StringEquals":{"aws:RequestTag/a":"1"}}`, false},
		{"UntagResource", obj("KeyId", k, "TagKeys", []string{"a"}), `{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}`, true},
	} {
		who := d.user(acct, "conditional", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":`+c.condition+`}]}`)
		a := d.do(who, c.op, c.body)
		if c.allowed && a.status != 200 || !c.allowed && a.code() != "AccessDeniedException" {
			t.Errorf("%s with %s: %s", c.op, c.condition, a.raw)
		}
	}
}

func TestAliasesNeedPermissionOnBothSides(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	allow := func(resources ...string) *caller {
		return d.user(acct, "some", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":`+js(resources)+`}]}`)
	}
	const alias = "arn:aws:kms:us-east-1:" + acct + ":alias/x"
	for _, who := range []*caller{allow(alias), allow(keyARN + k)} {
		if a := d.do(who, "CreateAlias", obj("AliasName", "alias/x", "TargetKeyId", k)); a.code() != "AccessDeniedException" {
			t.Errorf("one side is enough: %s", a.raw)
		}
	}
	if a := d.ok(allow(alias, keyARN+k), "CreateAlias", obj("AliasName", "alias/x", "TargetKeyId", k)); a.raw != "" {
		t.Errorf("no output is an empty body: %q", a.raw)
	}
	second := d.key(d.admin, `{}`)
	if a := d.do(allow(alias, keyARN+second), "UpdateAlias", obj("AliasName", "alias/x", "TargetKeyId", second)); a.code() != "AccessDeniedException" {
		t.Errorf("the old key was not asked: %s", a.raw)
	}
	d.ok(allow(alias, keyARN+second, keyARN+k), "UpdateAlias", obj("AliasName", "alias/x", "TargetKeyId", second))
	if a := d.do(allow(alias, keyARN+k), "DeleteAlias", obj("AliasName", "alias/x")); a.code() != "AccessDeniedException" {
		t.Errorf("the key was not asked: %s", a.raw)
	}
	d.ok(allow(alias, keyARN+second), "DeleteAlias", obj("AliasName", "alias/x"))
	d.fails(d.admin, "DescribeKey", obj("KeyId", "alias/x"), "NotFoundException", "Alias "+alias+" is not found.")
	d.ok(d.root, "CreateAlias", obj("AliasName", "alias/root", "TargetKeyId", k))
}

func TestAForeignCiphertextDoesNotTellWhoseItIs(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")).str("CiphertextBlob")
	own := d.key(d.stranger, `{}`)
	for op, body := range map[string]string{
		"Decrypt":   obj("CiphertextBlob", blob),
		"ReEncrypt": obj("CiphertextBlob", blob, "DestinationKeyId", own),
	} {
		a := d.do(d.stranger, op, body)
		if a.code() != "AccessDeniedException" || strings.Contains(a.raw, k) || strings.Contains(a.raw, acct) {
			t.Errorf("%s: %s", op, a.raw)
		}
	}
	d.fails(d.nobody, "Decrypt", obj("CiphertextBlob", blob), "AccessDeniedException", "User: "+d.nobody.principal.ARN+
		" is not authorized to perform: kms:Decrypt on resource: "+keyARN+k+" because no identity-based policy allows the kms:Decrypt action")
}

func TestReEncryptOnSameKeyHoldsForAnAliasToo(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	d.ok(d.admin, "CreateAlias", obj("AliasName", "alias/a", "TargetKeyId", k))
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")).str("CiphertextBlob")
	who := d.user(acct, "same", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"Bool":{"kms:ReEncryptOnSameKey":"true"}}}]}`)
	d.ok(who, "ReEncrypt", obj("CiphertextBlob", blob, "SourceKeyId", "alias/a", "DestinationKeyId", "alias/a"))
}
