package kms_test

import "testing"

// Rules by tags govern everything that can be done to a key: see the test of the same name in service/iam for the
// rules.
func TestTagsGovernEveryCallOnWhatCarriesThem(t *testing.T) {
	tags := func(pairs ...string) []any {
		list := []any{}
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, map[string]string{"TagKey": pairs[i], "TagValue": pairs[i+1]})
		}
		return list
	}
	d := newDesk(t)
	key := map[string]string{}
	for name, list := range map[string][]any{"mine": tags("ward", "7"), "theirs": tags("ward", "8"), "bare": tags()} {
		key[name] = d.key(d.admin, obj("Tags", list))
	}
	const denied = "AccessDeniedException"
	want := func(who *caller, call, body, code string) {
		t.Helper()
		if a := d.do(who, call, body); a.code() != code {
			t.Errorf("%s as %s: %s, want %q", call, who.principal.ARN, a.raw, code)
		}
	}
	rule := func(name, statement string) *caller {
		return d.user(acct, name, `{"Version":"2012-10-17","Statement":[`+statement+`]}`)
	}
	const all = `{"Effect":"Allow","Action":"kms:*","Resource":"*"}`
	calls := map[string]func(id string) string{
		"DescribeKey":      func(id string) string { return obj("KeyId", id) },
		"ListResourceTags": func(id string) string { return obj("KeyId", id) },
		"GetKeyPolicy":     func(id string) string { return obj("KeyId", id) },
		"Encrypt":          func(id string) string { return obj("KeyId", id, "Plaintext", "AAAA") },
		"UpdateKeyDescription": func(id string) string {
			return obj("KeyId", id, "Description", "x")
		},
		"CreateGrant": func(id string) string {
			return obj("KeyId", id, "GranteePrincipal", d.admin.principal.ARN, "Operations", []string{"Decrypt"})
		},
		"TagResource":   func(id string) string { return obj("KeyId", id, "Tags", tags("bed", "1")) },
		"UntagResource": func(id string) string { return obj("KeyId", id, "TagKeys", []string{"bed"}) },
	}
	allowed := rule("byAllow", `{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/ward":"7"}}}`)
	spared := rule("byDeny", all+`,{"Effect":"Deny","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/ward":"8"}}}`)
	for call, body := range calls {
		for name, code := range map[string]string{"mine": "", "theirs": denied, "bare": denied} {
			want(allowed, call, body(key[name]), code)
		}
		for name, code := range map[string]string{"mine": "", "theirs": denied, "bare": ""} {
			want(spared, call, body(key[name]), code)
		}
	}
	want(allowed, "TagResource", obj("KeyId", key["theirs"], "Tags", tags("ward", "7")), denied)
	want(spared, "UntagResource", obj("KeyId", key["theirs"], "TagKeys", []string{"ward"}), denied)
	want(allowed, "TagResource", obj("KeyId", key["mine"], "Tags", tags("ward", "8")), "")
	want(allowed, "DescribeKey", obj("KeyId", key["mine"]), denied)

	only7 := rule("only7", `{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/ward":"7"},"ForAllValues:StringEquals":{"aws:TagKeys":["ward","bed"]}}}`)
	want(only7, "CreateKey", obj("Tags", tags("ward", "8")), denied)
	want(only7, "CreateKey", `{}`, denied)
	want(only7, "CreateKey", obj("Tags", tags("ward", "7", "boss", "me")), denied)
	want(only7, "CreateKey", obj("Tags", tags("ward", "7", "bed", "1")), "")
	want(only7, "TagResource", obj("KeyId", key["bare"], "Tags", tags("ward", "8")), denied)
	want(only7, "TagResource", obj("KeyId", key["bare"], "Tags", tags("ward", "7")), "")
	neverBoss := rule("neverBoss", all+`,{"Effect":"Deny","Action":"kms:*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":"boss"}}}`)
	want(neverBoss, "CreateKey", obj("Tags", tags("boss", "me")), denied)
	want(neverBoss, "CreateKey", obj("Tags", tags("ward", "7")), "")
	want(neverBoss, "TagResource", obj("KeyId", key["bare"], "Tags", tags("boss", "me")), denied)
	want(neverBoss, "UntagResource", obj("KeyId", key["bare"], "TagKeys", []string{"boss"}), denied)

	creator := rule("creator", `{"Effect":"Allow","Action":"kms:CreateKey","Resource":"*"}`)
	want(creator, "CreateKey", obj("Tags", tags("ward", "7")), denied)
	want(creator, "CreateKey", `{}`, "")
}
