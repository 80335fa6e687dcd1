package kms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func unb64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (d *desk) keyOf(spec, usage string) string {
	d.Helper()
	return d.key(d.admin, obj("KeySpec", spec, "KeyUsage", usage))
}

// list is a list of texts of a metadata member, joined.
func list(m map[string]any, member string) string {
	var out []string
	all, _ := m[member].([]any)
	for _, v := range all {
		out = append(out, v.(string))
	}
	return strings.Join(out, " ")
}

func TestEveryKeySpecIsMadeAndDescribedWithWhatItCanDo(t *testing.T) {
	d := newDesk(t)
	const rsaSigning = "RSASSA_PKCS1_V1_5_SHA_256 RSASSA_PKCS1_V1_5_SHA_384 RSASSA_PKCS1_V1_5_SHA_512 RSASSA_PSS_SHA_256 RSASSA_PSS_SHA_384 RSASSA_PSS_SHA_512"
	const oaep = "RSAES_OAEP_SHA_1 RSAES_OAEP_SHA_256"
	members := []string{"EncryptionAlgorithms", "SigningAlgorithms", "MacAlgorithms", "KeyAgreementAlgorithms"}
	for _, c := range []struct {
		spec, usage, member, algorithms string
		public, old                     bool
	}{
		{"SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", members[0], "SYMMETRIC_DEFAULT", false, true},
		{"RSA_2048", "ENCRYPT_DECRYPT", members[0], oaep, true, true},
		{"RSA_3072", "SIGN_VERIFY", members[1], rsaSigning, true, true},
		{"RSA_4096", "ENCRYPT_DECRYPT", members[0], oaep, true, true},
		{"ECC_NIST_P256", "SIGN_VERIFY", members[1], "ECDSA_SHA_256", true, true},
		{"ECC_NIST_P384", "SIGN_VERIFY", members[1], "ECDSA_SHA_384", true, true},
		{"ECC_NIST_P521", "SIGN_VERIFY", members[1], "ECDSA_SHA_512", true, true},
		{"ECC_NIST_P256", "KEY_AGREEMENT", members[3], "ECDH", true, true},
		{"ECC_SECG_P256K1", "SIGN_VERIFY", members[1], "ECDSA_SHA_256", true, true},
		{"ECC_NIST_EDWARDS25519", "SIGN_VERIFY", members[1], "ED25519_SHA_512 ED25519_PH_SHA_512", true, false},
		{"HMAC_224", "GENERATE_VERIFY_MAC", members[2], "HMAC_SHA_224", false, true},
		{"HMAC_256", "GENERATE_VERIFY_MAC", members[2], "HMAC_SHA_256", false, true},
		{"HMAC_384", "GENERATE_VERIFY_MAC", members[2], "HMAC_SHA_384", false, true},
		{"HMAC_512", "GENERATE_VERIFY_MAC", members[2], "HMAC_SHA_512", false, true},
		{"ML_DSA_44", "SIGN_VERIFY", members[1], "ML_DSA_SHAKE_256", true, false},
		{"ML_DSA_65", "SIGN_VERIFY", members[1], "ML_DSA_SHAKE_256", true, false},
		{"ML_DSA_87", "SIGN_VERIFY", members[1], "ML_DSA_SHAKE_256", true, false},
	} {
		id := d.keyOf(c.spec, c.usage)
		a := d.ok(d.admin, "DescribeKey", obj("KeyId", id))
		m := a.body["KeyMetadata"].(map[string]any)
		for _, member := range members {
			want := ""
			if member == c.member {
				want = c.algorithms
			}
			if list(m, member) != want || want == "" && m[member] != nil {
				t.Errorf("%s: %s is %v, want %q", c.spec, member, m[member], want)
			}
		}
		old := ""
		if c.old {
			old = c.spec
		}
		if a.str("KeyMetadata", "KeySpec") != c.spec || a.str("KeyMetadata", "KeyUsage") != c.usage || a.str("KeyMetadata", "CustomerMasterKeySpec") != old {
			t.Errorf("%s: %s", c.spec, a.raw)
		}
		if has := m["CurrentKeyMaterialId"] != nil; has != (c.spec == "SYMMETRIC_DEFAULT") {
			t.Errorf("%s: CurrentKeyMaterialId %v", c.spec, m["CurrentKeyMaterialId"])
		}
		if !c.public {
			d.fails(d.admin, "GetPublicKey", obj("KeyId", id), "UnsupportedOperationException", keyARN+id+" key spec is "+c.spec+" which is not valid for GetPublicKey.")
			continue
		}
		p := d.ok(d.admin, "GetPublicKey", obj("KeyId", id))
		if p.str("KeyId") != keyARN+id || p.str("KeySpec") != c.spec || p.str("KeyUsage") != c.usage || p.str("CustomerMasterKeySpec") != old ||
			list(p.body, c.member) != c.algorithms || len(p.body) > 6 {
			t.Errorf("%s: %s", c.spec, p.raw)
		}
		if spki := unb64(t, p.str("PublicKey")); c.spec != "ECC_SECG_P256K1" && !strings.HasPrefix(c.spec, "ML_DSA") {
			if _, err := x509.ParsePKIXPublicKey(spki); err != nil {
				t.Errorf("%s: %v", c.spec, err)
			}
		}
	}
	d.fails(d.admin, "CreateKey", obj("KeySpec", "RSA_2048"), "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	d.fails(d.admin, "CreateKey", obj("KeySpec", "RSA_2048", "KeyUsage", "KEY_AGREEMENT"), "ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048")
	d.fails(d.admin, "CreateKey", obj("KeySpec", "SM2", "KeyUsage", "SIGN_VERIFY"), "UnsupportedOperationException", "KeySpec SM2 is not supported.")
}

func TestSignAndVerify(t *testing.T) {
	d := newDesk(t)
	k := d.keyOf("ECC_NIST_P256", "SIGN_VERIFY")
	msg := b64([]byte("message"))
	digest := sha256.Sum256([]byte("message"))
	a := d.ok(d.admin, "Sign", obj("KeyId", k, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_256"))
	if a.str("KeyId") != keyARN+k || a.str("SigningAlgorithm") != "ECDSA_SHA_256" {
		t.Errorf("%s", a.raw)
	}
	sig := a.str("Signature")
	public, err := x509.ParsePKIXPublicKey(unb64(t, d.ok(d.admin, "GetPublicKey", obj("KeyId", k)).str("PublicKey")))
	if err != nil {
		t.Fatal(err)
	}
	if !ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), digest[:], unb64(t, sig)) {
		t.Error("the signature does not verify")
	}
	for _, body := range []string{
		obj("KeyId", k, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_256", "Signature", sig),
		obj("KeyId", k, "Message", b64(digest[:]), "MessageType", "DIGEST", "SigningAlgorithm", "ECDSA_SHA_256", "Signature", sig),
	} {
		if v := d.ok(d.admin, "Verify", body); v.body["SignatureValid"] != true || v.str("KeyId") != keyARN+k || v.str("SigningAlgorithm") != "ECDSA_SHA_256" {
			t.Errorf("%s", v.raw)
		}
	}
	if v := d.do(d.admin, "Verify", obj("KeyId", k, "Message", b64([]byte("another")), "SigningAlgorithm", "ECDSA_SHA_256", "Signature", sig)); v.raw != `{"__type":"KMSInvalidSignatureException"}` || v.status != 400 {
		t.Errorf("a wrong signature: %d %s", v.status, v.raw)
	}
	if u := d.ok(d.admin, "GetKeyLastUsage", obj("KeyId", k)); u.str("KeyLastUsage", "Operation") != "Verify" {
		t.Errorf("last usage %s", u.raw)
	}
	mldsa, ed := d.keyOf("ML_DSA_44", "SIGN_VERIFY"), d.keyOf("ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
	mac, symmetric := d.keyOf("HMAC_256", "GENERATE_VERIFY_MAC"), d.key(d.admin, `{}`)
	for _, c := range []struct{ body, code, text string }{
		{obj("KeyId", k, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_384"), "InvalidKeyUsageException", "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256."},
		{obj("KeyId", k, "Message", msg, "SigningAlgorithm", "SM2DSA"), "InvalidKeyUsageException", "Algorithm SM2DSA is incompatible with key spec ECC_NIST_P256."},
		{obj("KeyId", k, "Message", msg, "MessageType", "DIGEST", "SigningAlgorithm", "ECDSA_SHA_256"), "ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256."},
		{obj("KeyId", k, "Message", msg, "MessageType", "EXTERNAL_MU", "SigningAlgorithm", "ECDSA_SHA_256"), "ValidationException", "MessageType EXTERNAL_MU is not compatible with algorithm ECDSA_SHA_256."},
		{obj("KeyId", mldsa, "Message", msg, "MessageType", "EXTERNAL_MU", "SigningAlgorithm", "ML_DSA_SHAKE_256"), "ValidationException", "Digest is invalid length for algorithm ML_DSA_SHAKE_256."},
		{obj("KeyId", mldsa, "Message", msg, "MessageType", "DIGEST", "SigningAlgorithm", "ML_DSA_SHAKE_256"), "ValidationException", "MessageType DIGEST is not compatible with algorithm ML_DSA_SHAKE_256."},
		{obj("KeyId", ed, "Message", msg, "SigningAlgorithm", "ED25519_PH_SHA_512"), "ValidationException", "MessageType RAW is not compatible with algorithm ED25519_PH_SHA_512."},
		{obj("KeyId", ed, "Message", b64(make([]byte, 64)), "MessageType", "DIGEST", "SigningAlgorithm", "ED25519_SHA_512"), "ValidationException", "MessageType DIGEST is not compatible with algorithm ED25519_SHA_512."},
		{obj("KeyId", ed, "Message", msg, "MessageType", "DIGEST", "SigningAlgorithm", "ED25519_PH_SHA_512"), "ValidationException", "Digest is invalid length for algorithm ED25519_PH_SHA_512."},
		{obj("KeyId", mac, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_256"), "InvalidKeyUsageException", keyARN + mac + " key usage is GENERATE_VERIFY_MAC which is not valid for Sign."},
		{obj("KeyId", symmetric, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_256"), "InvalidKeyUsageException", keyARN + symmetric + " key usage is ENCRYPT_DECRYPT which is not valid for Sign."},
		{obj("KeyId", k, "Message", b64(make([]byte, 4097)), "SigningAlgorithm", "ECDSA_SHA_256"), "ValidationException", "1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		{obj("KeyId", k, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_256", "DryRun", true), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set."},
		{obj("KeyId", absent, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_256"), "NotFoundException", "Key '" + keyARN + absent + "' does not exist"},
	} {
		d.fails(d.admin, "Sign", c.body, c.code, c.text)
	}
	for _, c := range []struct{ sig, code string }{{sig, "DryRunOperationException"}, {b64([]byte("x")), "KMSInvalidSignatureException"}} {
		if v := d.do(d.admin, "Verify", obj("KeyId", k, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_256", "Signature", c.sig, "DryRun", true)); v.code() != c.code {
			t.Errorf("a dry run of Verify: %s", v.raw)
		}
	}
	mu := b64(bytes.Repeat([]byte{7}, 64))
	signed := d.ok(d.admin, "Sign", obj("KeyId", mldsa, "Message", mu, "MessageType", "EXTERNAL_MU", "SigningAlgorithm", "ML_DSA_SHAKE_256")).str("Signature")
	d.ok(d.admin, "Verify", obj("KeyId", mldsa, "Message", mu, "MessageType", "EXTERNAL_MU", "SigningAlgorithm", "ML_DSA_SHAKE_256", "Signature", signed))
	d.ok(d.admin, "DisableKey", obj("KeyId", k))
	for _, op := range []string{"Sign", "Verify"} {
		d.fails(d.admin, op, obj("KeyId", k, "Message", msg, "SigningAlgorithm", "ECDSA_SHA_384", "Signature", sig), "DisabledException", keyARN+k+" is disabled.")
	}
	d.fails(d.admin, "GetPublicKey", obj("KeyId", k), "DisabledException", keyARN+k+" is disabled.")
}

func TestMACs(t *testing.T) {
	d := newDesk(t)
	k := d.keyOf("HMAC_256", "GENERATE_VERIFY_MAC")
	msg := b64([]byte("message"))
	a := d.ok(d.admin, "GenerateMac", obj("KeyId", k, "Message", msg, "MacAlgorithm", "HMAC_SHA_256"))
	if a.str("KeyId") != keyARN+k || a.str("MacAlgorithm") != "HMAC_SHA_256" || len(unb64(t, a.str("Mac"))) != 32 {
		t.Errorf("%s", a.raw)
	}
	if v := d.ok(d.admin, "VerifyMac", obj("KeyId", k, "Message", msg, "MacAlgorithm", "HMAC_SHA_256", "Mac", a.str("Mac"))); v.body["MacValid"] != true || v.str("KeyId") != keyARN+k {
		t.Errorf("%s", v.raw)
	}
	for _, bad := range [][]byte{unb64(t, a.str("Mac"))[1:], make([]byte, 32)} {
		if v := d.do(d.admin, "VerifyMac", obj("KeyId", k, "Message", msg, "MacAlgorithm", "HMAC_SHA_256", "Mac", b64(bad))); v.raw != `{"__type":"KMSInvalidMacException"}` || v.status != 400 {
			t.Errorf("a wrong MAC: %d %s", v.status, v.raw)
		}
	}
	d.fails(d.admin, "GenerateMac", obj("KeyId", k, "Message", msg, "MacAlgorithm", "HMAC_SHA_512"), "InvalidKeyUsageException", "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_256.")
	d.fails(d.admin, "GenerateMac", obj("KeyId", k, "Message", msg, "MacAlgorithm", "HMAC_SHA_256", "DryRun", true), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
	d.fails(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", msg), "InvalidKeyUsageException", keyARN+k+" key usage is GENERATE_VERIFY_MAC which is not valid for Encrypt.")
	d.fails(d.admin, "GenerateMac", obj("KeyId", k, "Message", msg, "MacAlgorithm", "HMAC_SHA_1"), "ValidationException",
		"1 validation error detected: Value 'HMAC_SHA_1' at 'macAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [HMAC_SHA_224, HMAC_SHA_256, HMAC_SHA_384, HMAC_SHA_512]")
}

func TestRSAEncryption(t *testing.T) {
	d := newDesk(t)
	k, symmetric := d.keyOf("RSA_2048", "ENCRYPT_DECRYPT"), d.key(d.admin, `{}`)
	secret := b64([]byte("secret"))
	public, err := x509.ParsePKIXPublicKey(unb64(t, d.ok(d.admin, "GetPublicKey", obj("KeyId", k)).str("PublicKey")))
	if err != nil {
		t.Fatal(err)
	}
	outside, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public.(*rsa.PublicKey), []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", secret, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256"))
	if e.str("KeyId") != keyARN+k || e.str("EncryptionAlgorithm") != "RSAES_OAEP_SHA_256" || len(unb64(t, e.str("CiphertextBlob"))) != 256 {
		t.Errorf("%s", e.raw)
	}
	for blob, alg := range map[string]string{e.str("CiphertextBlob"): "RSAES_OAEP_SHA_256", b64(outside): "RSAES_OAEP_SHA_1"} {
		p := d.ok(d.admin, "Decrypt", obj("KeyId", k, "CiphertextBlob", blob, "EncryptionAlgorithm", alg))
		if p.str("Plaintext") != secret || p.str("KeyId") != keyARN+k || p.str("EncryptionAlgorithm") != alg || p.body["KeyMaterialId"] != nil {
			t.Errorf("%s", p.raw)
		}
		if a := d.do(d.admin, "Decrypt", obj("KeyId", k, "CiphertextBlob", blob, "EncryptionAlgorithm", map[string]string{"RSAES_OAEP_SHA_1": "RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_256": "RSAES_OAEP_SHA_1"}[alg])); a.raw != `{"__type":"InvalidCiphertextException"}` {
			t.Errorf("with the other hash: %s", a.raw)
		}
	}
	blob := e.str("CiphertextBlob")
	big, fits := b64(make([]byte, 191)), b64(make([]byte, 190))
	d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", fits, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256"))
	large := d.ok(d.admin, "Encrypt", obj("KeyId", symmetric, "Plaintext", big)).str("CiphertextBlob")
	for _, c := range []struct{ op, body, code, text string }{
		{"Encrypt", obj("KeyId", k, "Plaintext", big, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256"), "ValidationException", "Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes."},
		{"ReEncrypt", obj("CiphertextBlob", large, "DestinationKeyId", k, "DestinationEncryptionAlgorithm", "RSAES_OAEP_SHA_256"), "ValidationException", "Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes."},
		{"Encrypt", obj("KeyId", k, "Plaintext", secret), "InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048."},
		{"Encrypt", obj("KeyId", k, "Plaintext", secret, "EncryptionAlgorithm", "SM2PKE"), "InvalidKeyUsageException", "Algorithm SM2PKE is incompatible with key spec RSA_2048."},
		{"GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256"), "InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048."},
		{"GenerateDataKeyPair", obj("KeyId", k, "KeyPairSpec", "ECC_NIST_P256"), "InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048."},
		{"Encrypt", obj("KeyId", k, "Plaintext", secret, "EncryptionAlgorithm", "RSAES_OAEP_SHA_1", "EncryptionContext", ctxPairs{"a": "b"}), "ValidationException", "EncryptionContext is valid only with the algorithm SYMMETRIC_DEFAULT."},
		{"Decrypt", obj("CiphertextBlob", blob, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256"), "ValidationException", "The key must be named when it cannot be read from the ciphertext."},
		{"Sign", obj("KeyId", k, "Message", secret, "SigningAlgorithm", "RSASSA_PSS_SHA_256"), "InvalidKeyUsageException", keyARN + k + " key usage is ENCRYPT_DECRYPT which is not valid for Sign."},
		{"Encrypt", obj("KeyId", k, "Plaintext", secret, "EncryptionAlgorithm", "RSAES_OAEP_SHA_1", "DryRun", true), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set."},
		{"Decrypt", obj("KeyId", k, "CiphertextBlob", blob, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256", "DryRun", true), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set."},
		{"Decrypt", obj("KeyId", k, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256", "DryRun", true, "DryRunModifiers", []string{"IGNORE_CIPHERTEXT"}), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set."},
		{"ReEncrypt", obj("SourceKeyId", k, "SourceEncryptionAlgorithm", "RSAES_OAEP_SHA_256", "DestinationKeyId", symmetric, "DryRun", true, "DryRunModifiers", []string{"IGNORE_CIPHERTEXT"}), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set."},
		{"Decrypt", obj("KeyId", k, "CiphertextBlob", b64(make([]byte, 256)), "EncryptionAlgorithm", "RSAES_OAEP_SHA_256", "DryRun", true), "InvalidCiphertextException", ""},
	} {
		d.fails(d.admin, c.op, c.body, c.code, c.text)
	}
	to := d.ok(d.admin, "ReEncrypt", obj("CiphertextBlob", blob, "SourceKeyId", k, "SourceEncryptionAlgorithm", "RSAES_OAEP_SHA_256", "DestinationKeyId", symmetric, "DestinationEncryptionContext", ctxPairs{"a": "b"}))
	if to.str("SourceEncryptionAlgorithm") != "RSAES_OAEP_SHA_256" || to.str("DestinationEncryptionAlgorithm") != "SYMMETRIC_DEFAULT" ||
		to.body["SourceKeyMaterialId"] != nil || len(to.str("DestinationKeyMaterialId")) != 64 || to.str("SourceKeyId") != keyARN+k {
		t.Errorf("%s", to.raw)
	}
	if p := d.ok(d.admin, "Decrypt", obj("CiphertextBlob", to.str("CiphertextBlob"), "EncryptionContext", ctxPairs{"a": "b"})); p.str("Plaintext") != secret {
		t.Errorf("%s", p.raw)
	}
	back := d.ok(d.admin, "ReEncrypt", obj("CiphertextBlob", to.str("CiphertextBlob"), "SourceEncryptionContext", ctxPairs{"a": "b"}, "DestinationKeyId", k, "DestinationEncryptionAlgorithm", "RSAES_OAEP_SHA_1"))
	if p := d.ok(d.admin, "Decrypt", obj("KeyId", k, "CiphertextBlob", back.str("CiphertextBlob"), "EncryptionAlgorithm", "RSAES_OAEP_SHA_1")); p.str("Plaintext") != secret {
		t.Errorf("%s", p.raw)
	}
	for _, id := range []string{k, symmetric} {
		d.ok(d.admin, "ReEncrypt", obj("CiphertextBlob", to.str("CiphertextBlob"), "SourceEncryptionContext", ctxPairs{"a": "b"}, "DestinationKeyId", k, "DestinationEncryptionAlgorithm", "RSAES_OAEP_SHA_1"))
		if u := d.ok(d.admin, "GetKeyLastUsage", obj("KeyId", id)); u.str("KeyLastUsage", "Operation") != "ReEncrypt" {
			t.Errorf("last usage %s", u.raw)
		}
	}
}

func TestKeyAgreement(t *testing.T) {
	d := newDesk(t)
	k := d.keyOf("ECC_NIST_P384", "KEY_AGREEMENT")
	own, err := ecdh.P384().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, _ := x509.MarshalPKIXPublicKey(own.PublicKey())
	public, err := x509.ParsePKIXPublicKey(unb64(t, d.ok(d.admin, "GetPublicKey", obj("KeyId", k)).str("PublicKey")))
	if err != nil {
		t.Fatal(err)
	}
	theirs, _ := public.(*ecdsa.PublicKey).ECDH()
	want, _ := own.ECDH(theirs)
	a := d.ok(d.admin, "DeriveSharedSecret", obj("KeyId", k, "KeyAgreementAlgorithm", "ECDH", "PublicKey", b64(spki)))
	if a.str("SharedSecret") != b64(want) || a.str("KeyId") != keyARN+k || a.str("KeyOrigin") != "AWS_KMS" || a.str("KeyAgreementAlgorithm") != "ECDH" {
		t.Errorf("%s", a.raw)
	}
	p256, _ := ecdh.P256().GenerateKey(rand.Reader)
	wrong, _ := x509.MarshalPKIXPublicKey(p256.PublicKey())
	d.fails(d.admin, "DeriveSharedSecret", obj("KeyId", k, "KeyAgreementAlgorithm", "ECDH", "PublicKey", b64(wrong)), "ValidationException", "The public key is not a valid key of the key spec ECC_NIST_P384.")
	d.fails(d.admin, "DeriveSharedSecret", obj("KeyId", k, "KeyAgreementAlgorithm", "ECDH", "PublicKey", b64(spki), "DryRun", true), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
	d.fails(d.admin, "DeriveSharedSecret", obj("KeyId", k, "KeyAgreementAlgorithm", "DH", "PublicKey", b64(spki)), "ValidationException",
		"1 validation error detected: Value 'DH' at 'keyAgreementAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [ECDH]")
	signer := d.keyOf("ECC_NIST_P384", "SIGN_VERIFY")
	d.fails(d.admin, "DeriveSharedSecret", obj("KeyId", signer, "KeyAgreementAlgorithm", "ECDH", "PublicKey", b64(spki)), "InvalidKeyUsageException", keyARN+signer+" key usage is SIGN_VERIFY which is not valid for DeriveSharedSecret.")
}

func TestDataKeyPairs(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	enc := ctxPairs{"patient": "12"}
	for _, spec := range []string{"RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"} {
		a := d.ok(d.admin, "GenerateDataKeyPair", obj("KeyId", k, "KeyPairSpec", spec, "EncryptionContext", enc))
		if a.str("KeyId") != keyARN+k || a.str("KeyPairSpec") != spec || len(a.str("KeyMaterialId")) != 64 {
			t.Errorf("%s", a.raw)
		}
		if spec != "ECC_SECG_P256K1" {
			private, err := x509.ParsePKCS8PrivateKey(unb64(t, a.str("PrivateKeyPlaintext")))
			if err != nil {
				t.Fatal(err)
			}
			public, err := x509.ParsePKIXPublicKey(unb64(t, a.str("PublicKey")))
			if err != nil {
				t.Fatal(err)
			}
			if !private.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
				t.Errorf("%s: the halves do not belong together", spec)
			}
		}
		if p := d.ok(d.admin, "Decrypt", obj("CiphertextBlob", a.str("PrivateKeyCiphertextBlob"), "EncryptionContext", enc)); p.str("Plaintext") != a.str("PrivateKeyPlaintext") {
			t.Errorf("%s: the ciphertext holds something else", spec)
		}
		w := d.ok(d.admin, "GenerateDataKeyPairWithoutPlaintext", obj("KeyId", k, "KeyPairSpec", spec, "EncryptionContext", enc))
		if w.body["PrivateKeyPlaintext"] != nil || w.str("KeyPairSpec") != spec || w.str("PublicKey") == "" {
			t.Errorf("%s", w.raw)
		}
	}
	if u := d.ok(d.admin, "GetKeyLastUsage", obj("KeyId", k)); u.str("KeyLastUsage", "Operation") != "GenerateDataKeyPairWithoutPlaintext" {
		t.Errorf("last usage %s", u.raw)
	}
	for _, op := range []string{"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"} {
		d.fails(d.admin, op, obj("KeyId", k, "KeyPairSpec", "SM2"), "UnsupportedOperationException", "KeyPairSpec SM2 is not supported.")
		d.fails(d.admin, op, obj("KeyId", k, "KeyPairSpec", "RSA_4096", "DryRun", true), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
		if a := d.do(d.nobody, op, obj("KeyId", k, "KeyPairSpec", "RSA_2048")); a.code() != "AccessDeniedException" {
			t.Errorf("%s by nobody: %s", op, a.raw)
		}
	}
}

// A wrong, a missing or a further pair: nothing opens, on any of the paths on
// which something is opened.
func TestAnotherContextNeverDecryptsOnAnyPath(t *testing.T) {
	d := newDesk(t)
	k := d.key(d.admin, `{}`)
	random := mathrand.New(mathrand.NewPCG(5, 6))
	word := func() string { return []string{"a", "A", "b", "ab", "é", " "}[random.IntN(6)] }
	contexts := func() ctxPairs {
		m := ctxPairs{}
		for range random.IntN(3) {
			m[word()] = word()
		}
		return m
	}
	for range 150 {
		made, asked := contexts(), contexts()
		blobs := []string{
			d.ok(d.admin, "Encrypt", obj("KeyId", k, "Plaintext", "AAAA", "EncryptionContext", made)).str("CiphertextBlob"),
			d.ok(d.admin, "GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256", "EncryptionContext", made)).str("CiphertextBlob"),
			d.ok(d.admin, "GenerateDataKeyWithoutPlaintext", obj("KeyId", k, "KeySpec", "AES_256", "EncryptionContext", made)).str("CiphertextBlob"),
			d.ok(d.admin, "GenerateDataKeyPair", obj("KeyId", k, "KeyPairSpec", "ECC_NIST_P256", "EncryptionContext", made)).str("PrivateKeyCiphertextBlob"),
			d.ok(d.admin, "GenerateDataKeyPairWithoutPlaintext", obj("KeyId", k, "KeyPairSpec", "ECC_NIST_P256", "EncryptionContext", made)).str("PrivateKeyCiphertextBlob"),
		}
		blobs = append(blobs, d.ok(d.admin, "ReEncrypt", obj("CiphertextBlob", blobs[0], "SourceEncryptionContext", made, "DestinationKeyId", k, "DestinationEncryptionContext", made)).str("CiphertextBlob"))
		for i, blob := range blobs {
			for op, body := range map[string]string{
				"Decrypt":   obj("CiphertextBlob", blob, "EncryptionContext", asked),
				"ReEncrypt": obj("CiphertextBlob", blob, "SourceEncryptionContext", asked, "DestinationKeyId", k),
			} {
				a := d.do(d.admin, op, body)
				if same := maps.Equal(made, asked); same && a.status != 200 || !same && a.code() != "InvalidCiphertextException" {
					t.Fatalf("path %d made with %v, %s with %v: %d %s", i, made, op, asked, a.status, a.raw)
				}
			}
		}
	}
}

func TestConditionKeysOfAsymmetricOperations(t *testing.T) {
	d := newDesk(t)
	msg := b64([]byte("message"))
	own, _ := ecdh.P256().GenerateKey(rand.Reader)
	spki, _ := x509.MarshalPKIXPublicKey(own.PublicKey())
	for _, c := range []struct {
		condition, value string
		op               string
		spec, usage      string
		good, bad        []any
	}{
		{"kms:SigningAlgorithm", "RSASSA_PSS_SHA_256", "Sign", "RSA_2048", "SIGN_VERIFY", []any{"Message", msg, "SigningAlgorithm", "RSASSA_PSS_SHA_256"}, []any{"Message", msg, "SigningAlgorithm", "RSASSA_PSS_SHA_512"}},
		{"kms:MessageType", "RAW", "Sign", "ECC_NIST_P256", "SIGN_VERIFY", []any{"Message", msg, "SigningAlgorithm", "ECDSA_SHA_256"}, []any{"Message", b64(make([]byte, 32)), "MessageType", "DIGEST", "SigningAlgorithm", "ECDSA_SHA_256"}},
		{"kms:MacAlgorithm", "HMAC_SHA_384", "GenerateMac", "HMAC_384", "GENERATE_VERIFY_MAC", []any{"Message", msg, "MacAlgorithm", "HMAC_SHA_384"}, []any{"Message", msg, "MacAlgorithm", "HMAC_SHA_256"}},
		{"kms:DataKeyPairSpec", "ECC_NIST_P256", "GenerateDataKeyPair", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", []any{"KeyPairSpec", "ECC_NIST_P256"}, []any{"KeyPairSpec", "ECC_NIST_P384"}},
		{"kms:EncryptionContext:a", "b", "GenerateDataKeyPairWithoutPlaintext", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", []any{"KeyPairSpec", "ECC_NIST_P256", "EncryptionContext", ctxPairs{"a": "b"}}, []any{"KeyPairSpec", "ECC_NIST_P256"}},
		{"kms:KeyAgreementAlgorithm", "ECDH", "DeriveSharedSecret", "ECC_NIST_P256", "KEY_AGREEMENT", []any{"KeyAgreementAlgorithm", "ECDH", "PublicKey", b64(spki)}, nil},
		{"kms:EncryptionAlgorithm", "RSAES_OAEP_SHA_256", "Encrypt", "RSA_2048", "ENCRYPT_DECRYPT", []any{"Plaintext", msg, "EncryptionAlgorithm", "RSAES_OAEP_SHA_256"}, []any{"Plaintext", msg, "EncryptionAlgorithm", "RSAES_OAEP_SHA_1"}},
		{"kms:KeySpec", "ECC_NIST_P256", "GetPublicKey", "ECC_NIST_P256", "SIGN_VERIFY", nil, nil},
	} {
		user := d.user(acct, "user-"+c.op+c.spec+c.condition[4:8], js(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
			"Effect": "Allow", "Action": "kms:" + c.op, "Resource": "*", "Condition": map[string]any{"StringEquals": map[string]any{c.condition: c.value}},
		}}}))
		id := d.keyOf(c.spec, c.usage)
		d.ok(user, c.op, obj(append([]any{"KeyId", id}, c.good...)...))
		if c.bad != nil {
			if a := d.do(user, c.op, obj(append([]any{"KeyId", id}, c.bad...)...)); a.code() != "AccessDeniedException" {
				t.Errorf("%s without %s=%s: %s", c.op, c.condition, c.value, a.raw)
			}
		}
	}
}

func TestGrantsFitTheUsageOfTheKey(t *testing.T) {
	d := newDesk(t)
	all := []string{
		"Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
		"ReEncryptFrom", "ReEncryptTo", "Sign", "Verify", "GetPublicKey", "CreateGrant", "RetireGrant", "DescribeKey", "GenerateMac", "VerifyMac", "DeriveSharedSecret",
	}
	always := []string{"CreateGrant", "RetireGrant", "DescribeKey"}
	for _, c := range []struct {
		spec, usage string
		may         []string
	}{
		{"SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", all[:8]},
		{"RSA_2048", "ENCRYPT_DECRYPT", []string{"Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo", "GetPublicKey"}},
		{"ECC_NIST_P256", "SIGN_VERIFY", []string{"Sign", "Verify", "GetPublicKey"}},
		{"ECC_NIST_P256", "KEY_AGREEMENT", []string{"DeriveSharedSecret", "GetPublicKey"}},
		{"HMAC_256", "GENERATE_VERIFY_MAC", []string{"GenerateMac", "VerifyMac"}},
		{"ML_DSA_44", "SIGN_VERIFY", []string{"Sign", "Verify", "GetPublicKey"}},
	} {
		id := d.keyOf(c.spec, c.usage)
		for _, op := range all {
			body := obj("KeyId", id, "GranteePrincipal", d.nobody.principal.ARN, "Operations", []string{op})
			if slices.Contains(c.may, op) || slices.Contains(always, op) {
				d.ok(d.admin, "CreateGrant", body)
			} else {
				d.fails(d.admin, "CreateGrant", body, "ValidationException", "Grant operation "+op+" is not supported for KeyUsage "+c.usage+".")
			}
		}
		constrained := obj("KeyId", id, "GranteePrincipal", d.nobody.principal.ARN, "Operations", []string{"DescribeKey"}, "Constraints", map[string]any{"EncryptionContextSubset": ctxPairs{"a": "b"}})
		if c.spec == "SYMMETRIC_DEFAULT" {
			d.ok(d.admin, "CreateGrant", constrained)
		} else {
			d.fails(d.admin, "CreateGrant", constrained, "ValidationException", "Encryption context constraints are valid only in grants on symmetric encryption keys.")
		}
		if slices.Contains(c.may, "Sign") && c.spec != "ML_DSA_44" {
			body := obj("KeyId", id, "Message", "AAAA", "SigningAlgorithm", "ECDSA_SHA_256")
			d.ok(d.nobody, "Sign", body)
			d.ok(d.nobody, "GetPublicKey", obj("KeyId", id))
			if a := d.do(d.nobody, "DisableKey", obj("KeyId", id)); a.code() != "AccessDeniedException" {
				t.Errorf("a grantee disables: %s", a.raw)
			}
			// Another account signs by a grant and its own policies, and not without them.
			foreign := obj("KeyId", keyARN+id, "Message", "AAAA", "SigningAlgorithm", "ECDSA_SHA_256")
			if a := d.do(d.stranger, "Sign", foreign); a.code() != "AccessDeniedException" {
				t.Errorf("a stranger signs: %s", a.raw)
			}
			d.ok(d.admin, "CreateGrant", obj("KeyId", id, "GranteePrincipal", d.stranger.principal.ARN, "Operations", []string{"Sign"}))
			d.ok(d.stranger, "Sign", foreign)
		}
	}
}

func TestAnAliasMovesOnlyToAKeyOfTheSameTypeAndUsage(t *testing.T) {
	d := newDesk(t)
	p256, p384, agrees := d.keyOf("ECC_NIST_P256", "SIGN_VERIFY"), d.keyOf("ECC_NIST_P384", "SIGN_VERIFY"), d.keyOf("ECC_NIST_P256", "KEY_AGREEMENT")
	mac, rsaKey, symmetric := d.keyOf("HMAC_256", "GENERATE_VERIFY_MAC"), d.keyOf("RSA_2048", "ENCRYPT_DECRYPT"), d.key(d.admin, `{}`)
	name := "alias/signer"
	d.ok(d.admin, "CreateAlias", obj("AliasName", name, "TargetKeyId", p256))
	d.ok(d.admin, "UpdateAlias", obj("AliasName", name, "TargetKeyId", p384))
	d.ok(d.admin, "Sign", obj("KeyId", name, "Message", "AAAA", "SigningAlgorithm", "ECDSA_SHA_384"))
	const text = "Alias arn:aws:kms:us-east-1:" + acct + ":alias/signer cannot be changed to a key of another type or with another key usage."
	for _, id := range []string{agrees, mac, rsaKey, symmetric} {
		d.fails(d.admin, "UpdateAlias", obj("AliasName", name, "TargetKeyId", id), "ValidationException", text)
	}
	d.ok(d.admin, "CreateAlias", obj("AliasName", "alias/data", "TargetKeyId", symmetric))
	d.fails(d.admin, "UpdateAlias", obj("AliasName", "alias/data", "TargetKeyId", rsaKey), "ValidationException", strings.Replace(text, "signer", "data", 1))
}
