package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEveryKindOfRecordIsExplained(t *testing.T) {
	decision := func(d string) string {
		return `{"eventSource":"s3.amazonaws.com","eventName":"GetObject","errorCode":"AccessDenied","userIdentity":{"arn":"arn:aws:iam::111111111111:user/eve"},"additionalEventData":{"leadglass":{"policyDecision":` + d + `}}}`
	}
	for name, c := range map[string]struct{ event, verdict, why, remedy string }{
		"another account's resource": {`{"errorCode":"AccessDeniedException"}`, "denied", "says only that it was denied", "Ask the owner"},
		"a signature that is wrong":  {`{"errorCode":"InvalidSignatureException"}`, "failed", "No policy was asked", ""},
		"a free operation":           {`{"eventName":"GetCallerIdentity"}`, "allowed", "No policy had to be asked", ""},
		"a call that failed later":   {`{"errorCode":"NoSuchEntity","additionalEventData":{"leadglass":{"policyDecision":{"allow":["p#0"],"reason":"allow: identity"}}}}`, "failed", "Allowed by identity-based policy. The call failed afterwards, with NoSuchEntity.", ""},
		"an organization's policy":   {decision(`{"reason":"explicit deny: scp","policy":"arn:aws:organizations::999999999999:policy/p-1"}`), "denied", "A statement of a service control policy denies it", "nothing inside the account can lift that"},
		"a level that allows nothing": {decision(`{"reason":"implicit deny: rcp"}`), "denied", "No resource control policy allows it.",
			"Ask the administrators of the organization"},
		"a boundary": {decision(`{"reason":"implicit deny: boundary","action":"s3:GetObject","resource":"arn:aws:s3:::b/1","statements":[{"by":"boundary","policy":"arn:aws:iam::111111111111:policy/edge","index":1,"line":3,"column":5,"effect":"Allow","text":"{}","resource":false}]}`),
			"denied", "No permissions boundary allows it.", "Statement 2 of arn:aws:iam::111111111111:policy/edge (line 3, column 5) would allow it if it named this resource."},
		"a key policy that names others": {decision(`{"reason":"implicit deny: resource","action":"kms:Decrypt","statements":[{"by":"resource","policy":"","index":0,"line":1,"column":1,"effect":"Allow","text":"{}","principal":false}]}`),
			"denied", "No resource-based policy allows it.", "Statement 1 of the resource-based policy (line 1, column 1) would allow it if it named this caller."},
		"a variable that stood for something else": {decision(`{"reason":"implicit deny: identity","statements":[{"by":"identity","policy":"ward","effect":"Allow","text":"{}","conditions":[{"operator":"StringEquals","key":"aws:ResourceTag/Ward","wants":["${aws:PrincipalTag/Ward}"],"found":["4"],"variables":[{"key":"aws:PrincipalTag/Ward","found":["3"]}]}]}]}`),
			"denied", "No identity-based policy allows it.", "held (it wants ${aws:PrincipalTag/Ward}, where aws:PrincipalTag/Ward is 3; the request says 4)"},
		"a variable that stood for nothing": {decision(`{"reason":"implicit deny: identity","statements":[{"by":"identity","policy":"ward","effect":"Allow","text":"{}","conditions":[{"operator":"StringEquals","key":"aws:ResourceTag/Ward","wants":["${aws:PrincipalTag/Ward}"],"found":["4"],"variables":[{"key":"aws:PrincipalTag/Ward","absent":true}]}]}]}`),
			"denied", "No identity-based policy allows it.", "held (it wants ${aws:PrincipalTag/Ward}, and the request has no aws:PrincipalTag/Ward; the request says 4)"},
		"a register that measures nothing": {decision(`{"reason":"implicit deny: resource","statements":[{"by":"resource","policy":"","effect":"Allow","text":"{}","conditions":[{"operator":"StringLike","key":"kms:RecipientAttestation:PCR0","wants":["*"],"found":["000000"],"unproven":true}]}]}`),
			"denied", "No resource-based policy allows it.", "the request says 000000, which proves nothing"},
		"a denial for want of a second factor": {decision(`{"reason":"explicit deny: identity","statements":[{"by":"identity","policy":"mfa","sid":"MFA","effect":"Deny","text":"{}","conditions":[{"operator":"BoolIfExists","key":"aws:MultiFactorAuthPresent","wants":["false"],"absent":true}]}]}`),
			"denied", "A statement of an identity-based policy denies it", "it applies while aws:MultiFactorAuthPresent is absent"},
		"a second factor that is wrong":     {`{"errorCode":"AccessDenied","errorMessage":"MultiFactorAuthentication failed with invalid MFA one time pass code."}`, "denied", "No policy denied it, the operation itself did: MultiFactorAuthentication failed", ""},
		"a password that is wrong":          {`{"errorCode":"AccessDenied","errorMessage":"The old password was incorrect.","additionalEventData":{"leadglass":{"policyDecision":{"allow":["p#0"],"reason":"allow: identity"}}}}`, "denied", "the operation itself did: The old", ""},
		"another account's resource, named": {`{"errorCode":"AccessDenied","errorMessage":"User: x is not authorized to perform: sts:AssumeRole on resource: y"}`, "denied", "says only that it was denied", "Ask the owner"},
		"nothing near":                      {decision(`{"reason":"implicit deny: identity","action":"s3:GetObject","resource":"*"}`), "denied", "No identity-based policy allows it.", "\x00Add to a policy of the caller: {"},
		"a session that may not":            {decision(`{"reason":"implicit deny: none"}`), "denied", "may not make this call at all", "Use other credentials"},
	} {
		var e whyEvent
		if err := json.Unmarshal([]byte(c.event), &e); err != nil {
			t.Fatal(err)
		}
		x := explain(&e)
		if x.Verdict != c.verdict || !strings.Contains(x.Why, c.why) || !strings.Contains("\x00"+strings.Join(x.Remedies, "\n"), c.remedy) || c.remedy == "" && x.Remedies != nil {
			t.Errorf("%s: %s, %s, %q", name, x.Verdict, x.Why, x.Remedies)
		}
		var text strings.Builder
		x.text(&text)
		if !strings.Contains(text.String(), x.Why) {
			t.Errorf("%s: %s", name, text.String())
		}
	}
}

func TestAStatementThatMatchedIsCountedAsTheOthersAre(t *testing.T) {
	for match, want := range map[string]string{
		"tagged#1":                             "statement 2 of tagged",
		"resource#Enable IAM User Permissions": `statement "Enable IAM User Permissions" of the resource-based policy`,
		"grant":                                "grant",
	} {
		var text strings.Builder
		(&explanation{Matched: []string{match}}).text(&text)
		if !strings.Contains(text.String(), "  matched: "+want+"\n") {
			t.Errorf("%s is told as %s", match, text.String())
		}
	}
}
