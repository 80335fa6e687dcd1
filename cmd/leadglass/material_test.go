package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
)

// An importer brings its own key material with the Go SDK.
type importer struct {
	*testing.T
	kms *kms.Client
}

func newImporter(t *testing.T) *importer {
	return &importer{t, kms.NewFromConfig(sdkConfig(t, sharedPlane(t).client(t, "customer")))}
}

func (i *importer) create(spec kmstypes.KeySpec, usage kmstypes.KeyUsageType) *kmstypes.KeyMetadata {
	i.Helper()
	m := must(i.kms.CreateKey(i.Context(), &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal, KeySpec: spec, KeyUsage: usage})).KeyMetadata
	if m.KeyState != kmstypes.KeyStatePendingImport || m.Enabled || m.Origin != kmstypes.OriginTypeExternal || m.CurrentKeyMaterialId != nil || m.ExpirationModel != "" {
		i.Errorf("%s: a new key is %+v", spec, m)
	}
	return m
}

// parameters are those of an import, which are good for a day.
func (i *importer) parameters(key *string, alg kmstypes.AlgorithmSpec, spec kmstypes.WrappingKeySpec) *kms.GetParametersForImportOutput {
	i.Helper()
	p := must(i.kms.GetParametersForImport(i.Context(), &kms.GetParametersForImportInput{KeyId: key, WrappingAlgorithm: alg, WrappingKeySpec: spec}))
	if left := time.Until(*p.ParametersValidTo); left < 24*time.Hour-time.Minute || left > 24*time.Hour {
		i.Errorf("the parameters are good for %v", left)
	}
	return p
}

func (i *importer) wrapped(key *string, alg kmstypes.AlgorithmSpec, spec kmstypes.WrappingKeySpec, material []byte) *kms.ImportKeyMaterialInput {
	i.Helper()
	p := i.parameters(key, alg, spec)
	b := must(hsmtest.Wrap(p.PublicKey, string(alg), material))
	return &kms.ImportKeyMaterialInput{KeyId: key, ImportToken: p.ImportToken, EncryptedKeyMaterial: b, ExpirationModel: kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire}
}

const (
	oaep256 = kmstypes.AlgorithmSpecRsaesOaepSha256
	wrap1   = kmstypes.AlgorithmSpecRsaAesKeyWrapSha1
	wrap256 = kmstypes.AlgorithmSpecRsaAesKeyWrapSha256
)

func TestTheGoSDKImportsSymmetricKeyMaterial(t *testing.T) {
	defer ended(t)
	i := newImporter(t)
	ctx := t.Context()
	key := i.create("", "").Arn
	_, err := i.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("x")})
	refusedAs[*kmstypes.KMSInvalidStateException](t, "Encrypt before the import", err)
	material, second := make([]byte, 32), make([]byte, 32)
	rand.Read(material)
	rand.Read(second)
	id := must(i.kms.ImportKeyMaterial(ctx, i.wrapped(key, oaep256, kmstypes.WrappingKeySpecRsa2048, material))).KeyMaterialId
	bound := map[string]string{"ward": "3"}
	blob := must(i.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("x-ray"), EncryptionContext: bound})).CiphertextBlob

	// Every algorithm and size, for the same material again; and what is none.
	for _, alg := range []kmstypes.AlgorithmSpec{kmstypes.AlgorithmSpecRsaesOaepSha1, oaep256, wrap1, wrap256} {
		for _, spec := range []kmstypes.WrappingKeySpec{kmstypes.WrappingKeySpecRsa2048, kmstypes.WrappingKeySpecRsa3072} {
			if got := must(i.kms.ImportKeyMaterial(ctx, i.wrapped(key, alg, spec, material))); *got.KeyMaterialId != *id || *got.KeyId != *key {
				t.Errorf("%s, %s: imported as %+v", alg, spec, got)
			}
		}
	}
	_, err = i.kms.ImportKeyMaterial(ctx, i.wrapped(key, wrap256, kmstypes.WrappingKeySpecRsa2048, second))
	refusedAs[*kmstypes.IncorrectKeyMaterialException](t, "other material", err)
	in := i.wrapped(key, oaep256, kmstypes.WrappingKeySpecRsa2048, material)
	in.EncryptedKeyMaterial[0] ^= 1
	_, err = i.kms.ImportKeyMaterial(ctx, in)
	refusedAs[*kmstypes.InvalidCiphertextException](t, "a changed ciphertext", err)
	in.ImportToken = i.parameters(i.create("", "").KeyId, oaep256, kmstypes.WrappingKeySpecRsa2048).ImportToken
	_, err = i.kms.ImportKeyMaterial(ctx, in)
	refusedAs[*kmstypes.InvalidImportTokenException](t, "another key's token", err)
	_, err = i.kms.GetParametersForImport(ctx, &kms.GetParametersForImportInput{KeyId: key, WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesPkcs1V15, WrappingKeySpec: kmstypes.WrappingKeySpecRsa2048})
	refusedAs[*kmstypes.UnsupportedOperationException](t, "PKCS#1 v1.5", err)

	// A second material, and the rotation to it.
	in = i.wrapped(key, wrap1, kmstypes.WrappingKeySpecRsa2048, second)
	in.ImportType, in.KeyMaterialDescription = kmstypes.ImportTypeNewKeyMaterial, aws.String("the second")
	next := must(i.kms.ImportKeyMaterial(ctx, in)).KeyMaterialId
	must(i.kms.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: key}))
	var ids []string
	for p := kms.NewListKeyRotationsPaginator(i.kms, &kms.ListKeyRotationsInput{KeyId: key, IncludeKeyMaterial: kmstypes.IncludeKeyMaterialAllKeyMaterial, Limit: aws.Int32(1)}); p.HasMorePages(); {
		for _, r := range must(p.NextPage(ctx)).Rotations {
			ids = append(ids, *r.KeyMaterialId)
			if r.ImportState != kmstypes.ImportStateImported || r.ExpirationModel != kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire {
				t.Errorf("rotation %+v", r)
			}
		}
	}
	if !slices.Equal(ids, []string{*id, *next}) {
		t.Errorf("materials %v, want %s and %s", ids, *id, *next)
	}
	if got := must(i.kms.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: bound})); string(got.Plaintext) != "x-ray" || *got.KeyMaterialId != *id {
		t.Errorf("decrypted %+v", got)
	}

	// The owner takes the first one away, and the key waits for it.
	if got := must(i.kms.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: key, KeyMaterialId: id})); *got.KeyMaterialId != *id {
		t.Errorf("deleted %+v", got)
	}
	_, err = i.kms.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: bound})
	refusedAs[*kmstypes.KMSInvalidStateException](t, "Decrypt without the material", err)
	end := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	in = i.wrapped(key, oaep256, kmstypes.WrappingKeySpecRsa2048, material)
	in.ExpirationModel, in.ValidTo = "", &end
	must(i.kms.ImportKeyMaterial(ctx, in))
	if m := must(i.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key})).KeyMetadata; m.KeyState != kmstypes.KeyStateEnabled ||
		m.ExpirationModel != kmstypes.ExpirationModelTypeKeyMaterialExpires || !m.ValidTo.Equal(end) || *m.CurrentKeyMaterialId != *next {
		t.Errorf("metadata %+v", m)
	}
	must(i.kms.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: bound}))

	// It is all on record, and nothing of the material is.
	found := must(cloudtrail.NewFromConfig(sdkConfig(t, sharedPlane(t).client(t, "customer"))).LookupEvents(ctx, &cloudtrail.LookupEventsInput{
		LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyResourceName, AttributeValue: key}}, MaxResults: aws.Int32(50)}))
	var names []string
	for _, e := range found.Events {
		names = append(names, *e.EventName)
	}
	for _, want := range []string{"GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial", "RotateKeyOnDemand"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among the key's events %v", want, names)
		}
	}
}

// Imported material ends by the plane's own clock, without a restart.
func TestImportedKeyMaterialExpiresOnTheServedPlane(t *testing.T) {
	defer ended(t)
	i := newImporter(t)
	ctx := t.Context()
	key := i.create("", "").Arn
	material := make([]byte, 32)
	rand.Read(material)
	in := i.wrapped(key, oaep256, kmstypes.WrappingKeySpecRsa2048, material)
	end := time.Now().Add(2 * time.Second)
	in.ExpirationModel, in.ValidTo = "", &end
	must(i.kms.ImportKeyMaterial(ctx, in))
	blob := must(i.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("x")})).CiphertextBlob
	time.Sleep(time.Until(end) + 10*time.Millisecond)
	_, err := i.kms.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob})
	refusedAs[*kmstypes.KMSInvalidStateException](t, "after its end", err)
	if m := must(i.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key})).KeyMetadata; m.KeyState != kmstypes.KeyStatePendingImport || m.ValidTo != nil || m.CurrentKeyMaterialId != nil {
		t.Errorf("metadata %+v", m)
	}
}

// One key of each kind: what it does with the plane is what it does at home.
func TestTheGoSDKImportsAsymmetricAndHMACKeys(t *testing.T) {
	defer ended(t)
	i := newImporter(t)
	ctx := t.Context()
	msg := []byte("a message")
	digest := sha256.Sum256(msg)
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec  kmstypes.KeySpec
		alg   kmstypes.SigningAlgorithmSpec
		wrap  kmstypes.AlgorithmSpec
		key   crypto.Signer
		valid func(sig []byte) bool
	}{
		{kmstypes.KeySpecRsa2048, kmstypes.SigningAlgorithmSpecRsassaPkcs1V15Sha256, wrap256, rsaKey, func(sig []byte) bool {
			return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, digest[:], sig) == nil
		}},
		{kmstypes.KeySpecEccNistP521, kmstypes.SigningAlgorithmSpecEcdsaSha512, wrap1, p521, nil},
		{kmstypes.KeySpecEccNistP256, kmstypes.SigningAlgorithmSpecEcdsaSha256, oaep256, p256, func(sig []byte) bool { return ecdsa.VerifyASN1(&p256.PublicKey, digest[:], sig) }},
		{kmstypes.KeySpecEccNistEdwards25519, kmstypes.SigningAlgorithmSpecEd25519Sha512, oaep256, ed, func(sig []byte) bool { return ed25519.Verify(ed.Public().(ed25519.PublicKey), msg, sig) }},
	} {
		key := i.create(c.spec, kmstypes.KeyUsageTypeSignVerify).Arn
		_, err := i.kms.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: key})
		refusedAs[*kmstypes.KMSInvalidStateException](t, "the public key before the import", err)
		pkcs8 := must(x509.MarshalPKCS8PrivateKey(c.key))
		must(i.kms.ImportKeyMaterial(ctx, i.wrapped(key, c.wrap, kmstypes.WrappingKeySpecRsa2048, pkcs8)))
		if got := must(i.kms.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: key})).PublicKey; !bytes.Equal(got, must(x509.MarshalPKIXPublicKey(c.key.Public()))) {
			t.Errorf("%s: another public key", c.spec)
		}
		sig := must(i.kms.Sign(ctx, &kms.SignInput{KeyId: key, Message: msg, SigningAlgorithm: c.alg})).Signature
		if c.valid != nil && !c.valid(sig) {
			t.Errorf("%s: the signature is not the key's", c.spec)
		}
		// Its material can go and come, but is never another.
		must(i.kms.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: key}))
		_, err = i.kms.Sign(ctx, &kms.SignInput{KeyId: key, Message: msg, SigningAlgorithm: c.alg})
		refusedAs[*kmstypes.KMSInvalidStateException](t, "Sign without the material", err)
		must(i.kms.ImportKeyMaterial(ctx, i.wrapped(key, c.wrap, kmstypes.WrappingKeySpecRsa2048, pkcs8)))
		must(i.kms.Verify(ctx, &kms.VerifyInput{KeyId: key, Message: msg, SigningAlgorithm: c.alg, Signature: sig}))
		if c.spec == kmstypes.KeySpecEccNistP256 {
			other := must(x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
			_, err = i.kms.ImportKeyMaterial(ctx, i.wrapped(key, oaep256, kmstypes.WrappingKeySpecRsa2048, other))
			refusedAs[*kmstypes.IncorrectKeyMaterialException](t, "another key", err)
			_, err = i.kms.ImportKeyMaterial(ctx, i.wrapped(key, wrap1, kmstypes.WrappingKeySpecRsa2048, must(x509.MarshalPKCS8PrivateKey(p521))))
			refusedAs[*kmstypes.IncorrectKeyMaterialException](t, "a key on another curve", err)
		}
		_, err = i.kms.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: key})
		refusedAs[*kmstypes.UnsupportedOperationException](t, "rotation of an asymmetric key", err)
	}
	key := i.create(kmstypes.KeySpecHmac256, kmstypes.KeyUsageTypeGenerateVerifyMac).Arn
	raw := make([]byte, 32)
	rand.Read(raw)
	must(i.kms.ImportKeyMaterial(ctx, i.wrapped(key, oaep256, kmstypes.WrappingKeySpecRsa2048, raw)))
	h := hmac.New(sha256.New, raw)
	h.Write(msg)
	if got := must(i.kms.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: key, Message: msg, MacAlgorithm: kmstypes.MacAlgorithmSpecHmacSha256})).Mac; !bytes.Equal(got, h.Sum(nil)) {
		t.Error("the MAC is not the key's")
	}
}

// The customer wraps with openssl, by the command lines of AWS's guide.
func TestKeyMaterialWrappedByOpensslIsImported(t *testing.T) {
	o := newOpenssl(t)
	defer ended(t)
	i := newImporter(t)
	ctx := t.Context()
	at := func(name string) string { return filepath.Join(o.dir, name) }
	run := func(args ...string) {
		t.Helper()
		if out, err := o.run(args...); err != nil {
			panic(failed{errors.Join(err, errors.New(string(out)))})
		}
	}
	oaep := func(public []byte, hash, in, out string) {
		t.Helper()
		run("pkeyutl", "-encrypt", "-in", at(in), "-out", at(out), "-inkey", o.file("WrappingPublicKey.bin", public), "-keyform", "DER", "-pubin",
			"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:"+hash, "-pkeyopt", "rsa_mgf1_md:"+hash)
	}
	bring := func(key *string, p *kms.GetParametersForImportOutput, wrapped []byte) {
		t.Helper()
		must(i.kms.ImportKeyMaterial(ctx, &kms.ImportKeyMaterialInput{KeyId: key, ImportToken: p.ImportToken, EncryptedKeyMaterial: wrapped, ExpirationModel: kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire}))
	}
	run("rand", "-out", at("PlaintextKeyMaterial.bin"), "32")
	for alg, hash := range map[kmstypes.AlgorithmSpec]string{kmstypes.AlgorithmSpecRsaesOaepSha1: "sha1", oaep256: "sha256"} {
		key := i.create("", "").KeyId
		p := i.parameters(key, alg, kmstypes.WrappingKeySpecRsa3072)
		oaep(p.PublicKey, hash, "PlaintextKeyMaterial.bin", "EncryptedKeyMaterial.bin")
		bring(key, p, must(os.ReadFile(at("EncryptedKeyMaterial.bin"))))
		must(i.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("x")}))
	}
	for spec, generate := range map[kmstypes.KeySpec][]string{
		kmstypes.KeySpecRsa4096:             {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"},
		kmstypes.KeySpecEccNistP384:         {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
		kmstypes.KeySpecEccSecgP256k1:       {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"},
		kmstypes.KeySpecEccNistEdwards25519: {"-algorithm", "ED25519"},
	} {
		run(append([]string{"genpkey", "-outform", "PEM", "-out", at("key.pem")}, generate...)...)
		run("pkcs8", "-topk8", "-inform", "PEM", "-outform", "DER", "-nocrypt", "-in", at("key.pem"), "-out", at("key.der"))
		run("pkey", "-in", at("key.pem"), "-pubout", "-outform", "DER", "-out", at("public.der"))
		run("rand", "-out", at("aes-key.bin"), "32")
		run("enc", "-id-aes256-wrap-pad", "-K", hex.EncodeToString(must(os.ReadFile(at("aes-key.bin")))), "-iv", "A65959A6", "-in", at("key.der"), "-out", at("key-wrapped.bin"))
		key := i.create(spec, kmstypes.KeyUsageTypeSignVerify).KeyId
		p := i.parameters(key, wrap256, kmstypes.WrappingKeySpecRsa4096)
		oaep(p.PublicKey, "sha256", "aes-key.bin", "aes-key-wrapped.bin")
		bring(key, p, append(must(os.ReadFile(at("aes-key-wrapped.bin"))), must(os.ReadFile(at("key-wrapped.bin")))...))
		got := must(i.kms.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: key}))
		if !bytes.Equal(got.PublicKey, must(os.ReadFile(at("public.der")))) {
			t.Errorf("%s: another public key than openssl's", spec)
		}
	}
}

func TestTheGoSDKRotatesKeys(t *testing.T) {
	defer ended(t)
	i := newImporter(t)
	ctx := t.Context()
	m := must(i.kms.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	blob := must(i.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: m.Arn, Plaintext: []byte("x")})).CiphertextBlob
	must(i.kms.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: m.KeyId, RotationPeriodInDays: aws.Int32(90)}))
	status := must(i.kms.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: m.Arn}))
	if left := time.Until(aws.ToTime(status.NextRotationDate)); !status.KeyRotationEnabled || aws.ToInt32(status.RotationPeriodInDays) != 90 || left < 89*24*time.Hour || left > 91*24*time.Hour {
		t.Errorf("status %+v", status)
	}
	if got := must(i.kms.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: m.Arn})); *got.KeyId != *m.KeyId {
		t.Errorf("rotated %s", *got.KeyId)
	}
	must(i.kms.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: m.KeyId}))
	if status := must(i.kms.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: m.KeyId})); status.KeyRotationEnabled || status.NextRotationDate != nil {
		t.Errorf("status %+v", status)
	}
	rotations := must(i.kms.ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: m.Arn})).Rotations
	now := must(i.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: m.Arn})).KeyMetadata
	if len(rotations) != 1 || rotations[0].RotationType != kmstypes.RotationTypeOnDemand || *rotations[0].KeyMaterialId != *now.CurrentKeyMaterialId || *now.CurrentKeyMaterialId == *m.CurrentKeyMaterialId {
		t.Errorf("rotations %+v of %+v", rotations, now)
	}
	if got := must(i.kms.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob})); string(got.Plaintext) != "x" || *got.KeyMaterialId != *m.CurrentKeyMaterialId {
		t.Errorf("decrypted %+v", got)
	}
	_, err := i.kms.GetParametersForImport(ctx, &kms.GetParametersForImportInput{KeyId: m.KeyId, WrappingAlgorithm: oaep256, WrappingKeySpec: kmstypes.WrappingKeySpecRsa2048})
	refusedAs[*kmstypes.UnsupportedOperationException](t, "import into a key of the plane", err)
}

// What no other test here asks the plane with the Go SDK: the last use, a dry
// run without a ciphertext, the grants that a principal may retire.
func TestTheGoSDKAsksForUsesAndRights(t *testing.T) {
	defer ended(t)
	i := newImporter(t)
	ctx := t.Context()
	key := must(i.kms.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	u := must(i.kms.GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: key.KeyId}))
	if u.KeyLastUsage != nil || !u.KeyCreationDate.Equal(*key.CreationDate) || !u.TrackingStartDate.Equal(*key.CreationDate) {
		t.Errorf("a new key: %+v", u)
	}
	must(i.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: key.Arn, Plaintext: []byte("x")}))
	_, err := i.kms.Decrypt(ctx, &kms.DecryptInput{KeyId: key.Arn, DryRun: aws.Bool(true), DryRunModifiers: []kmstypes.DryRunModifierType{kmstypes.DryRunModifierTypeIgnoreCiphertext}})
	refusedAs[*kmstypes.DryRunOperationException](t, "may I decrypt", err)
	u = must(i.kms.GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: key.Arn}))
	if l := u.KeyLastUsage; l == nil || l.Operation != kmstypes.KeyLastUsageTrackingOperationEncrypt || aws.ToString(l.CloudTrailEventId) == "" ||
		aws.ToString(l.KmsRequestId) == "" || time.Since(*l.Timestamp) > time.Minute {
		t.Errorf("after Encrypt: %+v", u)
	}
	me := must(sts.NewFromConfig(sdkConfig(t, sharedPlane(t).client(t, "customer"))).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})).Arn
	grant := must(i.kms.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: me, RetiringPrincipal: me, Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt}}))
	var found bool
	for p := kms.NewListRetirableGrantsPaginator(i.kms, &kms.ListRetirableGrantsInput{RetiringPrincipal: me, Limit: aws.Int32(1)}); p.HasMorePages(); {
		for _, g := range must(p.NextPage(ctx)).Grants {
			found = found || *g.GrantId == *grant.GrantId && *g.KeyId == *key.Arn
		}
	}
	if !found {
		t.Error("the grant is not among those that may be retired")
	}
	must(i.kms.RetireGrant(ctx, &kms.RetireGrantInput{KeyId: key.Arn, GrantId: grant.GrantId}))
}
