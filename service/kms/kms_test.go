package kms_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/service/kms"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/wire"
)

const (
	acct   = "111122223333"
	other  = "444455556666"
	absent = "01234567-89ab-cdef-0123-456789abcdef"
	region = "us-east-1"
	keyARN = "arn:aws:kms:us-east-1:" + acct + ":key/"
)

// A caller is who a request comes from.
type caller struct {
	principal authz.Principal
	policies  *authz.Policies
}

// A desk answers requests as the gate does, without signatures and audit.
type desk struct {
	testing.TB
	keys  *keys.Keys
	clock *clock.Fake
	table map[string]operation.Operation
	ids   map[string]string // ARN -> unique id

	call  *operation.Call // the last one
	proof bool            // calls want a signed answer

	admin, nobody, root    *caller // of the first account
	stranger, strangerPoor *caller // of the other account: with and without permissions of its own
}

func newDesk(t testing.TB, roots ...hsm.Root) *desk {
	t.Helper()
	d := &desk{
		TB: t, clock: clock.NewFake(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)), table: map[string]operation.Operation{},
		ids: map[string]string{arn.Root(acct): "", arn.Root(other): ""},
	}
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	k, err := keys.Open(t.Context(), store, keys.Config{
		Boundary: hsmtest.Open(t, t.TempDir(), roots...), Clock: d.clock, Region: region,
		Principals: func(a string) (string, bool) { id, ok := d.ids[a]; return id, ok },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.keys = k
	for _, op := range kms.New(k).Operations() {
		d.table[op.Info.Name] = op
	}
	const all = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`
	d.admin = d.user(acct, "admin", all)
	d.nobody = d.user(acct, "nobody", "")
	d.stranger = d.user(other, "stranger", all)
	d.strangerPoor = d.user(other, "poor", "")
	d.root = &caller{principal: authz.Principal{Type: authz.Root, ARN: arn.Root(acct), Account: acct, ID: acct}, policies: &authz.Policies{}}
	return d
}

func (d *desk) user(account, name, policyText string) *caller {
	d.Helper()
	c := &caller{policies: &authz.Policies{}}
	c.principal = authz.Principal{Type: authz.User, ARN: arn.IAM(account, "user", "/", name), Account: account, ID: id.Unique("AIDA")}
	d.ids[c.principal.ARN] = c.principal.ID
	if policyText != "" {
		p, err := policy.Parse(policy.Identity, []byte(policyText))
		if err != nil {
			d.Fatal(err)
		}
		c.policies.Identity = []*policy.Document{p}
	}
	return c
}

// An answer is what a client sees.
type answer struct {
	status int
	body   map[string]any
	raw    string
}

func (a answer) code() string { s, _ := a.body["__type"].(string); return s }

func (a answer) text() string {
	for _, k := range []string{"message", "Message"} {
		if s, ok := a.body[k].(string); ok {
			return s
		}
	}
	return ""
}

func (a answer) str(path ...string) string {
	var v any = a.body
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

type refusal struct {
	ask      operation.Ask
	decision authz.Decision
}

func (r *refusal) Error() string { return "refused" }

// do answers one request, given as JSON.
func (d *desk) do(who *caller, name, body string) answer {
	d.Helper()
	op, ok := d.table[name]
	if !ok {
		d.Fatalf("%s is not served", name)
	}
	call := &operation.Call{
		RequestID: id.UUID(), EventID: id.UUID(), Time: d.clock.Now(), Region: region,
		Account: who.principal.Account, Principal: who.principal, PrincipalID: who.principal.ID,
		Body: []byte(body), WantProof: d.proof,
	}
	d.call = call
	call.Evaluate = func(a operation.Ask) operation.Decision {
		return authz.Decide(&authz.Request{Principal: &who.principal, Policies: who.policies, Ask: &a}, nil)
	}
	out, err := d.run(operation.WithCall(context.Background(), call), call, op, body)
	var res wire.Response
	if err == nil {
		if res, err = wire.EncodeOutput(op.Info, wire.JSON11, call.RequestID, out, nil); err != nil {
			d.Fatal(err)
		}
	} else {
		res = wire.EncodeError(op.Info.Service, wire.JSON11, call.RequestID, d.fault(op, who, err), nil)
	}
	a := answer{status: res.Status, raw: string(res.Body)}
	if len(res.Body) > 0 {
		if err := json.Unmarshal(res.Body, &a.body); err != nil {
			d.Fatalf("%s: %v in %s", name, err, res.Body)
		}
	}
	return a
}

func (d *desk) run(ctx context.Context, call *operation.Call, op operation.Operation, body string) (any, error) {
	req := wire.Request{Method: "POST", RawPath: "/", Body: []byte(body)}
	in := op.NewInput()
	if err := wire.Decode(op.Info, wire.JSON11, &req, in); err != nil {
		return nil, err
	}
	if err := wire.Validate(op.Info, &req, in); err != nil {
		return nil, err
	}
	asks, err := op.Target(ctx, in)
	if err != nil {
		return nil, err
	}
	if len(asks) == 0 {
		d.Fatalf("%s asks nothing", op.Info.Name)
	}
	for _, a := range asks {
		if dec := call.Evaluate(a); !dec.Allowed {
			return nil, &refusal{a, dec}
		}
	}
	return op.Serve(ctx, in)
}

func (d *desk) fault(op operation.Operation, who *caller, err error) *wire.Fault {
	var (
		r      *refusal
		denied *operation.Denied
	)
	switch {
	case errors.As(err, &r):
		return wire.CommonFault(wire.AccessDenied, op.Info.Service, wire.JSON11, r.decision.Message(&who.principal, &r.ask))
	case errors.As(err, &denied):
		return wire.CommonFault(wire.AccessDenied, op.Info.Service, wire.JSON11, denied.Decision.Message(&who.principal, &denied.Ask))
	}
	f, ok := wire.FaultOf(err)
	if !ok {
		d.Errorf("%s: internal error: %v", op.Info.Name, err)
		f = wire.CommonFault(wire.Internal, op.Info.Service, wire.JSON11, "")
	}
	return f
}

// ok is do for what must succeed.
func (d *desk) ok(who *caller, name, body string) answer {
	d.Helper()
	a := d.do(who, name, body)
	if a.status != 200 {
		d.Fatalf("%s %s: %d %s", name, body, a.status, a.raw)
	}
	return a
}

// fails is do for what must be refused with this code and text.
func (d *desk) fails(who *caller, name, body, code, text string) {
	d.Helper()
	a := d.do(who, name, body)
	status := 400
	if a.code() != code || a.text() != text || a.status != status {
		d.Errorf("%s %s:\n got %d %s\nwant %d %s %s", name, body, a.status, a.raw, status, code, text)
	}
}

// key makes a key and gives its id.
func (d *desk) key(who *caller, body string) string {
	d.Helper()
	return d.ok(who, "CreateKey", body).str("KeyMetadata", "KeyId")
}

func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func obj(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return js(m)
}

type ctxPairs = map[string]string

func TestEveryOperationOfTheTableIsInTheModelOnce(t *testing.T) {
	d := newDesk(t)
	if n := len(kms.New(d.keys).Operations()); n != len(d.table) || n != 54 {
		t.Errorf("%d operations under %d names; KMS has 54", n, len(d.table))
	}
	for name, op := range d.table {
		if op.Free || op.Target == nil {
			t.Errorf("%s is not authorised", name)
		}
		if op.Info.Service.Name != "kms" {
			t.Errorf("%s is of %s", name, op.Info.Service.Name)
		}
	}
}

func TestCreateAndDescribe(t *testing.T) {
	d := newDesk(t)
	a := d.ok(d.admin, "CreateKey", `{"Description":"ward","Tags":[{"TagKey":"dep","TagValue":"7"}]}`)
	m := a.body["KeyMetadata"].(map[string]any)
	k := m["KeyId"].(string)
	want := map[string]any{
		"AWSAccountId": acct, "KeyId": k, "Arn": keyARN + k, "CreationDate": m["CreationDate"], "Enabled": true, "Description": "ward",
		"KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
		"CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": []any{"SYMMETRIC_DEFAULT"},
		"MultiRegion": false, "CurrentKeyMaterialId": m["CurrentKeyMaterialId"],
	}
	if js(m) != js(want) || len(m["CurrentKeyMaterialId"].(string)) != 64 {
		t.Errorf("metadata %s", js(m))
	}
	if got := d.ok(d.admin, "DescribeKey", obj("KeyId", k)); js(got.body["KeyMetadata"]) != js(m) {
		t.Errorf("described as %s", got.raw)
	}
	if d.ok(d.admin, "CreateKey", `{}`).body["KeyMetadata"].(map[string]any)["Description"] != "" {
		t.Error("no description is an empty one")
	}
	if got := d.ok(d.admin, "GetKeyPolicy", obj("KeyId", k)); got.str("Policy") != keys.DefaultPolicy(acct) || got.str("PolicyName") != "default" {
		t.Errorf("policy %s", got.raw)
	}
	if got := d.ok(d.admin, "GetKeyRotationStatus", obj("KeyId", k)); got.body["KeyRotationEnabled"] != false || got.str("KeyId") != k {
		t.Errorf("rotation %s", got.raw)
	}
}

func TestRefusalsBeforeAnythingIsLookedUp(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	const unsupported = "UnsupportedOperationException"
	for _, c := range []struct{ op, body, code, text string }{
		{"CreateKey", `{"KeySpec":"SYMMETRIC_DEFAULT","CustomerMasterKeySpec":"SYMMETRIC_DEFAULT"}`, "ValidationException", "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."},
		{"CreateKey", `{"KeySpec":"RSA_2048"}`, "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."},
		{"CreateKey", `{"KeySpec":"RSA_2048","KeyUsage":"KEY_AGREEMENT"}`, "ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048"},
		{"CreateKey", `{"CustomerMasterKeySpec":"SM2","KeyUsage":"SIGN_VERIFY"}`, unsupported, "KeySpec SM2 is not supported."},
		{"CreateKey", `{"MultiRegion":true,"CustomKeyStoreId":"cks-1"}`, "ValidationException", "CustomKeyStoreId is valid only for KMS keys with an Origin of AWS_CLOUDHSM or EXTERNAL_KEY_STORE."},
		{"CreateKey", `{"CustomKeyStoreId":"cks-1"}`, "ValidationException", "CustomKeyStoreId is valid only for KMS keys with an Origin of AWS_CLOUDHSM or EXTERNAL_KEY_STORE."},
		{"GenerateRandom", `{}`, "ValidationException", "NumberOfBytes is required."},
		{"GenerateRandom", `{"NumberOfBytes":0}`, "ValidationException", "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"GenerateRandom", `{"NumberOfBytes":1025}`, "ValidationException", "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024"},
		{"GenerateRandom", `{"NumberOfBytes":8,"CustomKeyStoreId":"cks-1"}`, "CustomKeyStoreNotFoundException", "Custom key store cks-1 does not exist."},
		{"GenerateDataKey", obj("KeyId", k), "ValidationException", "Please specify either number of bytes or key spec."},
		{"GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256", "NumberOfBytes", 32), "ValidationException", "Please specify either number of bytes or key spec."},
		{"GenerateDataKeyWithoutPlaintext", obj("KeyId", k), "ValidationException", "Please specify either number of bytes or key spec."},
		{"Encrypt", obj("KeyId", k, "Plaintext", base64.StdEncoding.EncodeToString(make([]byte, 4097))), "ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		{"Encrypt", obj("KeyId", k), "ValidationException", "1 validation error detected: Value null at 'plaintext' failed to satisfy constraint: Member must not be null"},
		{"Encrypt", obj("KeyId", k, "Plaintext", "AAAA", "EncryptionAlgorithm", "RSAES_OAEP_SHA_1", "EncryptionContext", ctxPairs{"a": "b"}), "ValidationException", "EncryptionContext is valid only with the algorithm SYMMETRIC_DEFAULT."},
		{"Encrypt", obj("KeyId", k, "Plaintext", "AAAA", "EncryptionContext", ctxPairs{"a": strings.Repeat("x", 8192)}), "ValidationException", "The encryption context exceeds the limit of 8192 bytes."},
		{"Encrypt", obj("KeyId", k, "Plaintext", "AAAA", "GrantTokens", []string{"x"}), "InvalidGrantTokenException", "Invalid grant token"},
		{"Decrypt", `{}`, "ValidationException", "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null"},
		{"Decrypt", obj("CiphertextBlob", "AAAA", "DryRunModifiers", []string{"IGNORE_CIPHERTEXT"}), "ValidationException", "DryRunModifiers can be used only with DryRun."},
		{"Decrypt", obj("DryRun", true, "DryRunModifiers", []string{"IGNORE_CIPHERTEXT"}), "ValidationException", "The key must be named when it cannot be read from the ciphertext."},
		{"Decrypt", obj("CiphertextBlob", "AAAA", "EncryptionAlgorithm", "RSAES_OAEP_SHA_1"), "ValidationException", "The key must be named when it cannot be read from the ciphertext."},
		{"ScheduleKeyDeletion", obj("KeyId", k, "PendingWindowInDays", 31), "ValidationException", "PendingWindowInDays must be between 7 and 30 (inclusive)."},
		{"CreateAlias", obj("AliasName", "x", "TargetKeyId", k), "ValidationException", `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`},
		{"CreateAlias", obj("AliasName", "alias/aws/s3", "TargetKeyId", k), "NotAuthorizedException", ""},
		{"CreateAlias", obj("AliasName", "alias/a:b", "TargetKeyId", k), "InvalidAliasNameException", "The alias name alias/a:b is not valid."},
		{"RetireGrant", obj("KeyId", keyARN+k), "ValidationException", "Specify either a grant token or a key ID and a grant ID."},
		{"RetireGrant", obj("KeyId", keyARN+k, "GrantId", "x", "GrantToken", "y"), "ValidationException", "Specify either a grant token or a key ID and a grant ID."},
		{"RetireGrant", obj("GrantToken", "y"), "InvalidGrantTokenException", "Invalid grant token"},
		{"ListResourceTags", obj("KeyId", k, "Limit", 51), "ValidationException", "1 validation error detected: Value '51' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50"},
		{"ListKeyPolicies", obj("KeyId", k, "Marker", "x"), "InvalidMarkerException", "Could not deserialize marker"},
		{"ListKeys", obj("Marker", "x"), "InvalidMarkerException", "Could not deserialize marker"},
		{"GetKeyPolicy", obj("KeyId", k, "PolicyName", "mine"), "NotFoundException", "No such policy exists"},
		{"TagResource", obj("KeyId", k, "Tags", []any{map[string]string{"TagKey": strings.Repeat("k", 129), "TagValue": ""}}), "ValidationException", "1 validation error detected: Value '" + strings.Repeat("k", 129) + "' at 'tags.1.member.tagKey' failed to satisfy constraint: Member must have length less than or equal to 128"},
		{"TagResource", obj("KeyId", k, "Tags", []any{map[string]string{"TagKey": "aws:x", "TagValue": ""}}), "TagException", "Tags beginning with aws: are reserved"},
		{"PutKeyPolicy", obj("KeyId", k, "Policy", "{}"), "MalformedPolicyDocumentException", malformed("{}")},
	} {
		t.Run(c.op+" "+c.text[:min(len(c.text), 40)], func(t *testing.T) {
			d.TB = t
			d.fails(d.admin, c.op, c.body, c.code, c.text)
		})
	}
}

func malformed(text string) string {
	_, err := policy.Parse(policy.Key, []byte(text))
	var e *policy.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Message
}

func TestEncryptAndDecrypt(t *testing.T) {
	d := newDesk(t)
	k, second := d.key(d.admin, `{}`), d.key(d.admin, `{}`)
	d.ok(d.admin, "CreateAlias", obj("AliasName", "alias/ward", "TargetKeyId", k))
	enc := ctxPairs{"patient": "12"}
	for _, ref := range []string{k, keyARN + k, "alias/ward", "arn:aws:kms:us-east-1:" + acct + ":alias/ward"} {
		a := d.ok(d.admin, "Encrypt", obj("KeyId", ref, "Plaintext", "c2VjcmV0", "EncryptionContext", enc))
		if a.str("KeyId") != keyARN+k || a.str("EncryptionAlgorithm") != "SYMMETRIC_DEFAULT" {
			t.Errorf("%s: %s", ref, a.raw)
		}
		p := d.ok(d.admin, "Decrypt", obj("CiphertextBlob", a.str("CiphertextBlob"), "EncryptionContext", enc))
		if p.str("Plaintext") != "c2VjcmV0" || p.str("KeyId") != keyARN+k || len(p.str("KeyMaterialId")) != 64 {
			t.Errorf("decrypted %s", p.raw)
		}
	}
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "c2VjcmV0", "EncryptionContext", enc)).str("CiphertextBlob")
	for _, wrong := range []ctxPairs{nil, {"patient": "13"}, {"Patient": "12"}, {"patient": "12", "x": ""}} {
		d.fails(d.admin, "Decrypt", obj("CiphertextBlob", blob, "EncryptionContext", wrong), "InvalidCiphertextException", "")
	}
	if a := d.do(d.admin, "Decrypt", obj("CiphertextBlob", "AAAA")); a.raw != `{"__type":"InvalidCiphertextException"}` {
		t.Errorf("an error without text: %s", a.raw)
	}
	d.fails(d.admin, "Decrypt", obj("CiphertextBlob", blob, "EncryptionContext", enc, "KeyId", second), "IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
	d.fails(d.admin, "Decrypt", obj("CiphertextBlob", blob, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256", "KeyId", k), "InvalidKeyUsageException", "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT.")
	re := d.ok(d.admin, "ReEncrypt", obj("CiphertextBlob", blob, "SourceEncryptionContext", enc, "DestinationKeyId", second))
	if re.str("SourceKeyId") != keyARN+k || re.str("KeyId") != keyARN+second || len(re.str("SourceKeyMaterialId")) != 64 || re.str("SourceKeyMaterialId") == re.str("DestinationKeyMaterialId") {
		t.Errorf("re-encrypted %s", re.raw)
	}
	if p := d.ok(d.admin, "Decrypt", obj("CiphertextBlob", re.str("CiphertextBlob"))); p.str("Plaintext") != "c2VjcmV0" {
		t.Errorf("after re-encryption %s", p.raw)
	}
	dk := d.ok(d.admin, "GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_128"))
	if p := d.ok(d.admin, "Decrypt", obj("CiphertextBlob", dk.str("CiphertextBlob"))); p.str("Plaintext") != dk.str("Plaintext") || len(dk.str("Plaintext")) != 24 {
		t.Errorf("data key %s", dk.raw)
	}
	if a := d.ok(d.admin, "GenerateDataKeyWithoutPlaintext", obj("KeyId", k, "NumberOfBytes", 1024)); a.body["Plaintext"] != nil || a.str("KeyId") != keyARN+k {
		t.Errorf("data key without plaintext %s", a.raw)
	}
	if a := d.ok(d.admin, "GenerateRandom", `{"NumberOfBytes":3}`); len(a.str("Plaintext")) != 4 {
		t.Errorf("random %s", a.raw)
	}
	// The state of a key comes before what is wrong with the rest.
	d.ok(d.admin, "DisableKey", obj("KeyId", k))
	d.fails(d.admin, "Decrypt", obj("CiphertextBlob", blob, "KeyId", k, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256"), "DisabledException", keyARN+k+" is disabled.")
	d.fails(d.admin, "Decrypt", obj("CiphertextBlob", blob), "DisabledException", keyARN+k+" is disabled.")
	d.fails(d.admin, "ReEncrypt", obj("CiphertextBlob", blob, "DestinationKeyId", second), "DisabledException", keyARN+k+" is disabled.")
	u := d.ok(d.admin, "GetKeyLastUsage", obj("KeyId", k))
	if u.str("KeyLastUsage", "Operation") != "GenerateDataKeyWithoutPlaintext" || u.str("KeyLastUsage", "KmsRequestId") == "" {
		t.Errorf("last usage %s", u.raw)
	}
	if u := d.ok(d.admin, "GetKeyLastUsage", obj("KeyId", d.key(d.admin, `{}`))); u.body["KeyLastUsage"] != nil || u.body["TrackingStartDate"] == nil {
		t.Errorf("of an unused key %s", u.raw)
	}
}

func TestDryRun(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")).str("CiphertextBlob")
	g := d.ok(d.admin, "CreateGrant", obj("KeyId", k, "GranteePrincipal", d.stranger.principal.ARN, "Operations", []string{"Decrypt"}))
	for _, c := range [][2]string{
		{"Encrypt", obj("KeyId", k, "Plaintext", "AAAA", "DryRun", true)},
		{"Decrypt", obj("CiphertextBlob", blob, "DryRun", true)},
		{"Decrypt", obj("KeyId", k, "DryRun", true, "DryRunModifiers", []string{"IGNORE_CIPHERTEXT"})},
		{"Decrypt", obj("KeyId", k, "CiphertextBlob", "AAAA", "DryRun", true, "DryRunModifiers", []string{"IGNORE_CIPHERTEXT"})},
		{"ReEncrypt", obj("CiphertextBlob", blob, "DestinationKeyId", k, "DryRun", true)},
		{"GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256", "DryRun", true)},
		{"GenerateDataKeyWithoutPlaintext", obj("KeyId", k, "KeySpec", "AES_256", "DryRun", true)},
		{"CreateGrant", obj("KeyId", k, "GranteePrincipal", d.stranger.principal.ARN, "Operations", []string{"Decrypt"}, "DryRun", true)},
		{"RevokeGrant", obj("KeyId", k, "GrantId", g.str("GrantId"), "DryRun", true)},
		{"RetireGrant", obj("GrantToken", g.str("GrantToken"), "DryRun", true)},
	} {
		d.fails(d.admin, c[0], c[1], "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
		if a := d.do(d.nobody, c[0], c[1]); a.code() != "AccessDeniedException" {
			t.Errorf("%s by nobody: %s", c[0], a.raw)
		}
	}
	d.fails(d.admin, "Decrypt", obj("CiphertextBlob", blob, "EncryptionContext", ctxPairs{"a": "b"}, "DryRun", true), "InvalidCiphertextException", "")
	if gs := d.ok(d.admin, "ListGrants", obj("KeyId", k)); len(gs.body["Grants"].([]any)) != 1 {
		t.Errorf("grants after dry runs %s", gs.raw)
	}
}

func TestListsArePaged(t *testing.T) {
	d := newDesk(t)
	for i := range 7 {
		k := d.key(d.admin, `{}`)
		d.ok(d.admin, "CreateAlias", obj("AliasName", fmt.Sprintf("alias/n%d", i), "TargetKeyId", k))
	}
	for op, list := range map[string]string{"ListKeys": "Keys", "ListAliases": "Aliases"} {
		n, marker := 0, ""
		for {
			args := []any{"Limit", 3}
			if marker != "" {
				args = append(args, "Marker", marker)
			}
			a := d.ok(d.admin, op, obj(args...))
			n += len(a.body[list].([]any))
			marker = a.str("NextMarker")
			if a.body["Truncated"] != (marker != "") {
				t.Errorf("%s: %s", op, a.raw)
			}
			if marker == "" {
				break
			}
		}
		if n != 7 {
			t.Errorf("%s gave %d", op, n)
		}
	}
	if a := d.ok(d.stranger, "ListKeys", `{}`); a.raw != `{"Keys":[],"Truncated":false}` {
		t.Errorf("an empty list: %s", a.raw)
	}
	k := d.ok(d.admin, "ListKeys", `{"Limit":1}`).body["Keys"].([]any)[0].(map[string]any)
	as := d.ok(d.admin, "ListAliases", obj("KeyId", k["KeyArn"])).body["Aliases"].([]any)
	if len(as) != 1 || as[0].(map[string]any)["TargetKeyId"] != k["KeyId"] {
		t.Errorf("aliases of one key: %v", as)
	}
	if a := d.do(d.stranger, "ListAliases", obj("KeyId", k["KeyArn"])); a.code() != "AccessDeniedException" {
		t.Errorf("another account's aliases: %s", a.raw)
	}
}

func TestScheduledDeletionThroughTheAPI(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	a := d.ok(d.admin, "ScheduleKeyDeletion", obj("KeyId", k))
	if a.str("KeyId") != keyARN+k || a.str("KeyState") != "PendingDeletion" || a.body["PendingWindowInDays"] != 30.0 ||
		a.body["DeletionDate"] != float64(d.clock.Now().AddDate(0, 0, 30).Unix()) {
		t.Errorf("%s", a.raw)
	}
	d.fails(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA"), "KMSInvalidStateException", keyARN+k+" is pending deletion.")
	if m := d.ok(d.admin, "DescribeKey", obj("KeyId", k)); m.str("KeyMetadata", "KeyState") != "PendingDeletion" || m.body["KeyMetadata"].(map[string]any)["DeletionDate"] == nil {
		t.Errorf("%s", m.raw)
	}
	if a := d.ok(d.admin, "CancelKeyDeletion", obj("KeyId", k)); a.str("KeyId") != keyARN+k {
		t.Errorf("%s", a.raw)
	}
	if m := d.ok(d.admin, "DescribeKey", obj("KeyId", k)); m.str("KeyMetadata", "KeyState") != "Disabled" || m.body["KeyMetadata"].(map[string]any)["DeletionDate"] != nil {
		t.Errorf("%s", m.raw)
	}
	d.ok(d.admin, "EnableKey", obj("KeyId", k))
	d.ok(d.admin, "ScheduleKeyDeletion", obj("KeyId", k, "PendingWindowInDays", 7))
	d.clock.Advance(7 * 24 * time.Hour)
	d.fails(d.admin, "DescribeKey", obj("KeyId", k), "NotFoundException", "Key '"+keyARN+k+"' does not exist")
	if keysOf := d.ok(d.admin, "ListKeys", `{}`); slices.Contains(strings.Split(keysOf.raw, `"`), k) {
		t.Errorf("still listed: %s", keysOf.raw)
	}
}
