package kms_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
)

const doesNotExpire = "KEY_MATERIAL_DOES_NOT_EXPIRE"

// wrap asks for import parameters and wraps material for them: the members of
// ImportKeyMaterial that follow.
func (d *desk) wrap(k string, material []byte) (token, wrapped string) {
	d.Helper()
	const alg = "RSA_AES_KEY_WRAP_SHA_256"
	p := d.ok(d.admin, "GetParametersForImport", obj("KeyId", k, "WrappingAlgorithm", alg, "WrappingKeySpec", "RSA_2048"))
	if p.str("KeyId") != keyARN+k {
		d.Errorf("parameters of %s", p.raw)
	}
	public, err := base64.StdEncoding.DecodeString(p.str("PublicKey"))
	if err != nil {
		d.Fatal(err)
	}
	b, err := hsmtest.Wrap(public, alg, material)
	if err != nil {
		d.Fatal(err)
	}
	return p.str("ImportToken"), base64.StdEncoding.EncodeToString(b)
}

func (d *desk) bring(k string, material []byte, pairs ...any) string {
	d.Helper()
	token, wrapped := d.wrap(k, material)
	return obj(append([]any{"KeyId", k, "ImportToken", token, "EncryptedKeyMaterial", wrapped}, pairs...)...)
}

func TestWhatMetadataSaysOfImportedMaterial(t *testing.T) {
	d := newDesk(t)
	d.clock.Set(time.Now())
	k := d.key(d.admin, `{"Origin":"EXTERNAL"}`)
	shown := func(members ...string) map[string]any {
		t.Helper()
		m := d.ok(d.admin, "DescribeKey", obj("KeyId", k)).body["KeyMetadata"].(map[string]any)
		got := map[string]any{}
		for _, name := range []string{"Enabled", "KeyState", "Origin", "ExpirationModel", "ValidTo", "CurrentKeyMaterialId"} {
			if v, there := m[name]; there {
				got[name] = v
			}
		}
		return got
	}
	want := func(got map[string]any, pairs ...any) {
		t.Helper()
		if js(got) != obj(pairs...) {
			t.Errorf("metadata %s\nwant %s", js(got), obj(pairs...))
		}
	}
	want(shown(), "Enabled", false, "KeyState", "PendingImport", "Origin", "EXTERNAL")
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	material := bytes.Repeat([]byte{7}, 32)
	in := d.ok(d.admin, "ImportKeyMaterial", d.bring(k, material, "ValidTo", end.Unix()))
	id := in.str("KeyMaterialId")
	if in.str("KeyId") != keyARN+k || len(id) != 64 {
		t.Errorf("imported: %s", in.raw)
	}
	want(shown(), "Enabled", true, "KeyState", "Enabled", "Origin", "EXTERNAL", "ExpirationModel", "KEY_MATERIAL_EXPIRES", "ValidTo", end.Unix(), "CurrentKeyMaterialId", id)
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")).str("CiphertextBlob")
	out := d.ok(d.admin, "DeleteImportedKeyMaterial", obj("KeyId", k))
	if out.str("KeyId") != keyARN+k || out.str("KeyMaterialId") != id {
		t.Errorf("deleted: %s", out.raw)
	}
	d.fails(d.admin, "Decrypt", obj("CiphertextBlob", blob), "KMSInvalidStateException", keyARN+k+" is pending import.")
	want(shown(), "Enabled", false, "KeyState", "PendingImport", "Origin", "EXTERNAL")
	d.ok(d.admin, "ImportKeyMaterial", d.bring(k, material, "ExpirationModel", doesNotExpire))
	want(shown(), "Enabled", true, "KeyState", "Enabled", "Origin", "EXTERNAL", "ExpirationModel", doesNotExpire, "CurrentKeyMaterialId", id)
	if got := d.ok(d.admin, "Decrypt", obj("CiphertextBlob", blob)); got.str("Plaintext") != "AAAA" {
		t.Errorf("decrypted %s", got.raw)
	}

	// Asymmetric and HMAC keys have no current material id; their public half is there with the material.
	for spec, usage := range map[string]string{"HMAC_256": "GENERATE_VERIFY_MAC", "ECC_NIST_P256": "SIGN_VERIFY"} {
		k = d.key(d.admin, obj("Origin", "EXTERNAL", "KeySpec", spec, "KeyUsage", usage))
		if spec != "HMAC_256" {
			d.fails(d.admin, "GetPublicKey", obj("KeyId", k), "KMSInvalidStateException", keyARN+k+" is pending import.")
			continue // its material is imported by the tests of the keys and of the plane
		}
		d.ok(d.admin, "ImportKeyMaterial", d.bring(k, material, "ExpirationModel", doesNotExpire))
		want(shown(), "Enabled", true, "KeyState", "Enabled", "Origin", "EXTERNAL", "ExpirationModel", doesNotExpire)
	}
}

func TestRefusalsOfImportAndRotation(t *testing.T) {
	d := newDesk(t)
	d.clock.Set(time.Now())
	own, ext, rsa := d.key(d.admin, `{}`), d.key(d.admin, `{"Origin":"EXTERNAL"}`), d.key(d.admin, `{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}`)
	extRSA := d.key(d.admin, `{"Origin":"EXTERNAL","KeySpec":"RSA_2048","KeyUsage":"SIGN_VERIFY"}`)
	ext521 := d.key(d.admin, `{"Origin":"EXTERNAL","KeySpec":"ECC_NIST_P521","KeyUsage":"SIGN_VERIFY"}`)
	disabled := d.key(d.admin, `{}`)
	d.ok(d.admin, "DisableKey", obj("KeyId", disabled))
	material := bytes.Repeat([]byte{1}, 32)
	token, wrapped := d.wrap(ext, material)
	parameters := func(k, alg, spec string) string {
		return obj("KeyId", k, "WrappingAlgorithm", alg, "WrappingKeySpec", spec)
	}
	imports := func(k string, pairs ...any) string {
		return obj(append([]any{"KeyId", k, "ImportToken", token, "EncryptedKeyMaterial", wrapped}, pairs...)...)
	}
	const unsupported, invalid, state = "UnsupportedOperationException", "ValidationException", "KMSInvalidStateException"
	own1 := keyARN + own + " origin is AWS_KMS which is not valid for this operation."
	ext1 := keyARN + ext + " origin is EXTERNAL which is not valid for this operation."
	asymmetric := keyARN + rsa + " key spec is ECC_NIST_P256 which is not valid for this operation."
	tooFar := time.Now().Add(366 * 24 * time.Hour).Unix()
	d.ok(d.admin, "CreateAlias", obj("AliasName", "alias/own", "TargetKeyId", own))
	for _, c := range []struct{ op, body, code, text string }{
		{"CreateKey", `{"Origin":"EXTERNAL","KeySpec":"ML_DSA_44","KeyUsage":"SIGN_VERIFY"}`, unsupported, "Origin EXTERNAL is not supported with KeySpec ML_DSA_44."},
		{"GetParametersForImport", parameters(own, "RSAES_OAEP_SHA_1", "RSA_2048"), unsupported, own1},
		{"GetParametersForImport", parameters("alias/own", "RSAES_OAEP_SHA_1", "RSA_2048"), "NotFoundException", "Invalid keyId 'alias/own'"},
		{"GetParametersForImport", parameters(ext, "RSAES_PKCS1_V1_5", "RSA_2048"), unsupported, "WrappingAlgorithm RSAES_PKCS1_V1_5 is not supported."},
		{"GetParametersForImport", parameters(ext, "RSAES_OAEP_SHA_1", "SM2"), unsupported, "WrappingKeySpec SM2 is not supported."},
		{"GetParametersForImport", parameters(ext, "AES", "RSA_2048"), invalid, "1 validation error detected: Value 'AES' at 'wrappingAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RSAES_PKCS1_V1_5, RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, RSA_AES_KEY_WRAP_SHA_1, RSA_AES_KEY_WRAP_SHA_256, SM2PKE]"},
		{"GetParametersForImport", parameters(extRSA, "RSAES_OAEP_SHA_256", "RSA_4096"), unsupported, "WrappingAlgorithm RSAES_OAEP_SHA_256 with WrappingKeySpec RSA_4096 cannot wrap key material of KeySpec RSA_2048."},
		{"GetParametersForImport", parameters(ext521, "RSAES_OAEP_SHA_1", "RSA_2048"), unsupported, "WrappingAlgorithm RSAES_OAEP_SHA_1 with WrappingKeySpec RSA_2048 cannot wrap key material of KeySpec ECC_NIST_P521."},
		{"ImportKeyMaterial", imports(own, "ExpirationModel", doesNotExpire), unsupported, own1},
		{"ImportKeyMaterial", imports(ext), invalid, "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"},
		{"ImportKeyMaterial", imports(ext, "ExpirationModel", doesNotExpire, "ValidTo", tooFar), invalid, "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE"},
		{"ImportKeyMaterial", imports(ext, "ValidTo", 1), invalid, "The validTo date must be in the future"},
		{"ImportKeyMaterial", imports(ext, "ValidTo", tooFar), invalid, "The validTo date must not be more than 365 days in the future"},
		{"ImportKeyMaterial", imports(ext, "ExpirationModel", doesNotExpire, "KeyMaterialDescription", "a*b"), invalid, `1 validation error detected: Value 'a*b' at 'keyMaterialDescription' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_\s.-]+$`},
		{"ImportKeyMaterial", imports(ext, "ExpirationModel", doesNotExpire, "ImportType", "EXISTING_KEY_MATERIAL"), "IncorrectKeyMaterialException", "The key material in the request is not what is expected for this KMS key."},
		{"ImportKeyMaterial", imports(ext521, "ExpirationModel", doesNotExpire), "InvalidImportTokenException", "The import token is not valid for this KMS key."},
		{"ImportKeyMaterial", imports(ext521, "ExpirationModel", doesNotExpire, "ImportType", "NEW_KEY_MATERIAL"), unsupported, "ImportType, KeyMaterialId and KeyMaterialDescription are valid only for symmetric encryption keys."},
		{"ImportKeyMaterial", obj("KeyId", ext, "ImportToken", token, "EncryptedKeyMaterial", token, "ExpirationModel", doesNotExpire), "InvalidCiphertextException", ""},
		{"ImportKeyMaterial", d.bring(ext, material[:31], "ExpirationModel", doesNotExpire), "IncorrectKeyMaterialException", "The key material in the request is not what is expected for this KMS key."},
		{"DeleteImportedKeyMaterial", obj("KeyId", own), unsupported, own1},
		{"DeleteImportedKeyMaterial", obj("KeyId", ext, "KeyMaterialId", strings.Repeat("a", 64)), "NotFoundException", "Key material (id: " + strings.Repeat("a", 64) + ") is not associated with the KMS key " + keyARN + ext + "."},
		{"EnableKeyRotation", obj("KeyId", own, "RotationPeriodInDays", 89), invalid, "1 validation error detected: Value '89' at 'rotationPeriodInDays' failed to satisfy constraint: Member must have value greater than or equal to 90"},
		{"EnableKeyRotation", obj("KeyId", ext), unsupported, ext1},
		{"DisableKeyRotation", obj("KeyId", ext), unsupported, ext1},
		{"RotateKeyOnDemand", obj("KeyId", ext), state, keyARN + ext + " is pending import."},
		{"EnableKeyRotation", obj("KeyId", rsa), unsupported, asymmetric},
		{"DisableKeyRotation", obj("KeyId", rsa), unsupported, asymmetric},
		{"RotateKeyOnDemand", obj("KeyId", rsa), unsupported, asymmetric},
		{"GetKeyRotationStatus", obj("KeyId", rsa), unsupported, asymmetric},
		{"ListKeyRotations", obj("KeyId", rsa), unsupported, asymmetric},
		{"EnableKeyRotation", obj("KeyId", disabled), "DisabledException", keyARN + disabled + " is disabled."},
		{"DisableKeyRotation", obj("KeyId", disabled), "DisabledException", keyARN + disabled + " is disabled."},
		{"RotateKeyOnDemand", obj("KeyId", disabled), "DisabledException", keyARN + disabled + " is disabled."},
		{"EnableKeyRotation", obj("KeyId", "alias/own"), "NotFoundException", "Invalid keyId 'alias/own'"},
		{"ListKeyRotations", obj("KeyId", own, "Marker", "x"), "InvalidMarkerException", "Could not deserialize marker"},
	} {
		t.Run(c.op+" "+c.text[:min(len(c.text), 60)], func(t *testing.T) { d.TB = t; d.fails(d.admin, c.op, c.body, c.code, c.text) })
	}
	d.TB = t
	// An external key that waits for its material can still be asked for what it waits for.
	for _, op := range []string{"GetKeyRotationStatus", "ListKeyRotations"} {
		d.ok(d.admin, op, obj("KeyId", ext))
	}
}

func TestARotationOnTheWire(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	first := d.ok(d.admin, "DescribeKey", obj("KeyId", k)).str("KeyMetadata", "CurrentKeyMaterialId")
	blob := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA")).str("CiphertextBlob")
	for _, op := range []string{"EnableKeyRotation", "DisableKeyRotation"} {
		if a := d.ok(d.admin, op, obj("KeyId", k)); a.raw != "" {
			t.Errorf("%s answers %s", op, a.raw)
		}
	}
	d.ok(d.admin, "EnableKeyRotation", obj("KeyId", k))
	next := d.clock.Now().AddDate(0, 0, 365).Unix()
	status := func(want string) {
		t.Helper()
		if a := d.ok(d.admin, "GetKeyRotationStatus", obj("KeyId", k)); js(a.body) != want {
			t.Errorf("status %s\nwant %s", js(a.body), want)
		}
	}
	status(obj("KeyId", k, "KeyRotationEnabled", true, "RotationPeriodInDays", 365, "NextRotationDate", next))
	if a := d.ok(d.admin, "RotateKeyOnDemand", obj("KeyId", k)); a.str("KeyId") != k {
		t.Errorf("rotated %s", a.raw)
	}
	status(obj("KeyId", k, "KeyRotationEnabled", true, "RotationPeriodInDays", 365, "NextRotationDate", next))
	second := d.ok(d.admin, "DescribeKey", obj("KeyId", k)).str("KeyMetadata", "CurrentKeyMaterialId")
	if second == first {
		t.Error("the material is the same")
	}
	got := d.ok(d.admin, "Decrypt", obj("CiphertextBlob", blob))
	if got.str("Plaintext") != "AAAA" || got.str("KeyMaterialId") != first {
		t.Errorf("decrypted %s", got.raw)
	}
	now := d.clock.Now().Unix()
	turned := fmt.Sprintf(`{"KeyId":"%s","KeyMaterialId":"%s","KeyMaterialState":"CURRENT","RotationDate":%d,"RotationType":"ON_DEMAND"}`, k, second, now)
	if a := d.ok(d.admin, "ListKeyRotations", obj("KeyId", k)); js(a.body) != `{"Rotations":[`+turned+`],"Truncated":false}` {
		t.Errorf("rotations %s", a.raw)
	}
	began := fmt.Sprintf(`{"KeyId":"%s","KeyMaterialId":"%s","KeyMaterialState":"NON_CURRENT"}`, k, first)
	if a := d.ok(d.admin, "ListKeyRotations", obj("KeyId", k, "IncludeKeyMaterial", "ALL_KEY_MATERIAL")); js(a.body) != `{"Rotations":[`+began+`,`+turned+`],"Truncated":false}` {
		t.Errorf("all material %s", a.raw)
	}
	a := d.ok(d.admin, "ListKeyRotations", obj("KeyId", k, "IncludeKeyMaterial", "ALL_KEY_MATERIAL", "Limit", 1))
	if a.body["Truncated"] != true {
		t.Errorf("first page %s", a.raw)
	}
	a = d.ok(d.admin, "ListKeyRotations", obj("KeyId", k, "IncludeKeyMaterial", "ALL_KEY_MATERIAL", "Marker", a.str("NextMarker")))
	if js(a.body) != `{"Rotations":[`+turned+`],"Truncated":false}` {
		t.Errorf("second page %s", a.raw)
	}
	for range 24 {
		d.ok(d.admin, "RotateKeyOnDemand", obj("KeyId", k))
	}
	d.fails(d.admin, "RotateKeyOnDemand", obj("KeyId", k), "LimitExceededException",
		"The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: "+keyARN+k)
}

func TestConditionsOfImportAndRotation(t *testing.T) {
	d := newDesk(t)
	d.clock.Set(time.Now())
	ext, own := d.key(d.admin, `{"Origin":"EXTERNAL"}`), d.key(d.admin, `{}`)
	latest := time.Now().Add(48 * time.Hour).Unix()
	who := d.user(acct, "importer", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"kms:GetParametersForImport","Resource":"*","Condition":{"StringEquals":{"kms:WrappingAlgorithm":"RSAES_OAEP_SHA_256","kms:WrappingKeySpec":"RSA_4096"}}},
		{"Effect":"Allow","Action":"kms:ImportKeyMaterial","Resource":"*","Condition":{"StringEquals":{"kms:ExpirationModel":"KEY_MATERIAL_EXPIRES"},"NumericLessThanEquals":{"kms:ValidTo":"%d"},"DateGreaterThan":{"kms:ValidTo":"2026-01-01T00:00:00Z"}}},
		{"Effect":"Allow","Action":"kms:EnableKeyRotation","Resource":"*","Condition":{"NumericLessThanEquals":{"kms:RotationPeriodInDays":"180"}}}]}`, latest))
	may := func(op, body string, want bool) {
		t.Helper()
		if a := d.do(who, op, body); (a.code() != "AccessDeniedException") != want {
			t.Errorf("%s %s: %s", op, body, a.raw)
		}
	}
	for _, alg := range []string{"RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"} {
		for _, spec := range []string{"RSA_2048", "RSA_4096"} {
			may("GetParametersForImport", obj("KeyId", ext, "WrappingAlgorithm", alg, "WrappingKeySpec", spec), alg == "RSAES_OAEP_SHA_256" && spec == "RSA_4096")
		}
	}
	in := func(pairs ...any) string {
		return obj(append([]any{"KeyId", ext, "ImportToken", "AAAA", "EncryptedKeyMaterial", "AAAA"}, pairs...)...)
	}
	may("ImportKeyMaterial", in("ValidTo", latest), true)
	may("ImportKeyMaterial", in("ValidTo", latest, "ExpirationModel", "KEY_MATERIAL_EXPIRES"), true)
	may("ImportKeyMaterial", in("ValidTo", latest+1), false)
	may("ImportKeyMaterial", in("ExpirationModel", doesNotExpire), false)
	may("EnableKeyRotation", obj("KeyId", own, "RotationPeriodInDays", 180), true)
	may("EnableKeyRotation", obj("KeyId", own, "RotationPeriodInDays", 181), false)
	may("EnableKeyRotation", obj("KeyId", own), false)
}
