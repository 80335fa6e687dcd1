package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// An opensslBench checks with a program that is not ours.
type opensslBench struct {
	*testing.T
	path, dir string
}

func newOpenssl(t *testing.T) *opensslBench {
	return &opensslBench{t, need(t, "openssl", "version"), t.TempDir()}
}

func (o *opensslBench) file(name string, b []byte) string {
	o.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		o.Fatal(err)
	}
	return path
}

func (o *opensslBench) run(args ...string) ([]byte, error) {
	return exec.Command(o.path, args...).CombinedOutput()
}

// verifies says whether openssl takes the signature of a message.
func (o *opensslBench) verifies(alg string, spki, msg, sig []byte) (string, bool) {
	o.Helper()
	args := []string{"pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", o.file("public", spki), "-sigfile", o.file("sig", sig)}
	switch {
	case strings.HasPrefix(alg, "ED25519"):
		args = append(args, "-rawin", "-in", o.file("msg", msg))
	default:
		digest := "sha" + alg[len(alg)-3:]
		args = append(args, "-rawin", "-digest", digest, "-in", o.file("msg", msg))
		if strings.HasPrefix(alg, "RSASSA_PSS") {
			args = append(args, "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest")
		}
	}
	out, err := o.run(args...)
	return string(out), err == nil
}

func TestTheGoSDKSignsAndOpensslAgrees(t *testing.T) {
	o := newOpenssl(t)
	defer ended(t)
	ctx := t.Context()
	cfg := sdkConfig(t, sharedPlane(t).client(t, "customer"))
	keys := kms.NewFromConfig(cfg)
	msg := []byte("a message")
	for _, spec := range []kmstypes.KeySpec{
		kmstypes.KeySpecRsa2048, kmstypes.KeySpecRsa3072, kmstypes.KeySpecRsa4096, kmstypes.KeySpecEccNistP256, kmstypes.KeySpecEccNistP384, kmstypes.KeySpecEccNistP521,
		kmstypes.KeySpecEccSecgP256k1, kmstypes.KeySpecEccNistEdwards25519, kmstypes.KeySpecMlDsa44, kmstypes.KeySpecMlDsa65, kmstypes.KeySpecMlDsa87,
	} {
		made := must(keys.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: kmstypes.KeyUsageTypeSignVerify})).KeyMetadata
		public := must(keys.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: made.Arn}))
		if public.KeySpec != spec || len(public.SigningAlgorithms) == 0 || len(public.SigningAlgorithms) != len(made.SigningAlgorithms) {
			t.Errorf("%s: %+v", spec, public)
		}
		for _, alg := range made.SigningAlgorithms {
			in := &kms.SignInput{KeyId: made.KeyId, Message: msg, SigningAlgorithm: alg}
			if alg == kmstypes.SigningAlgorithmSpecEd25519PhSha512 {
				in.MessageType, in.Message = kmstypes.MessageTypeDigest, bytes.Repeat([]byte{1}, 64)
			}
			sig := must(keys.Sign(ctx, in)).Signature
			v := must(keys.Verify(ctx, &kms.VerifyInput{KeyId: made.KeyId, Message: in.Message, MessageType: in.MessageType, SigningAlgorithm: alg, Signature: sig}))
			if !v.SignatureValid {
				t.Errorf("%s, %s: not valid", spec, alg)
			}
			sig[len(sig)-1] ^= 1
			_, err := keys.Verify(ctx, &kms.VerifyInput{KeyId: made.KeyId, Message: in.Message, MessageType: in.MessageType, SigningAlgorithm: alg, Signature: sig})
			refusedAs[*kmstypes.KMSInvalidSignatureException](t, "a changed signature", err)
			sig[len(sig)-1] ^= 1
			switch {
			case in.MessageType == kmstypes.MessageTypeDigest: // openssl's Ed25519ph takes messages, core's tests have the RFC's
			case alg == kmstypes.SigningAlgorithmSpecMlDsaShake256: // before openssl 3.5 there is none
				key := must(mldsax509.ParsePKIXPublicKey(public.PublicKey)).(*mldsa.PublicKey)
				if err := mldsa.Verify(key, msg, sig, nil); err != nil {
					t.Errorf("%s: %v", spec, err)
				}
			default:
				if out, ok := o.verifies(string(alg), public.PublicKey, msg, sig); !ok {
					t.Errorf("%s, %s: openssl says %s", spec, alg, out)
				}
				if _, ok := o.verifies(string(alg), public.PublicKey, []byte("another message"), sig); ok {
					t.Errorf("%s, %s: openssl takes everything", spec, alg)
				}
			}
		}
	}
}

func TestTheGoSDKUsesEveryOtherAsymmetricOperation(t *testing.T) {
	o := newOpenssl(t)
	defer ended(t)
	ctx := t.Context()
	cfg := sdkConfig(t, sharedPlane(t).client(t, "customer"))
	keys := kms.NewFromConfig(cfg)
	create := func(spec kmstypes.KeySpec, usage kmstypes.KeyUsageType) *kmstypes.KeyMetadata {
		return must(keys.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})).KeyMetadata
	}

	// RSA encryption: openssl encrypts, the key service decrypts.
	cipher := create(kmstypes.KeySpecRsa2048, kmstypes.KeyUsageTypeEncryptDecrypt)
	public := must(keys.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: cipher.KeyId})).PublicKey
	sealed, err := o.run("pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", o.file("public", public), "-in", o.file("plain", []byte("secret")),
		"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256")
	if err != nil {
		t.Fatalf("%v: %s", err, sealed)
	}
	const oaep = kmstypes.EncryptionAlgorithmSpecRsaesOaepSha256
	if p := must(keys.Decrypt(ctx, &kms.DecryptInput{KeyId: cipher.KeyId, CiphertextBlob: sealed, EncryptionAlgorithm: oaep})); string(p.Plaintext) != "secret" || p.EncryptionAlgorithm != oaep {
		t.Errorf("decrypted %+v", p)
	}
	_, err = keys.Encrypt(ctx, &kms.EncryptInput{KeyId: cipher.KeyId, Plaintext: make([]byte, 191), EncryptionAlgorithm: oaep})
	refusedWith(t, "191 bytes", err, "ValidationException")
	ours := must(keys.Encrypt(ctx, &kms.EncryptInput{KeyId: cipher.KeyId, Plaintext: []byte("secret"), EncryptionAlgorithm: kmstypes.EncryptionAlgorithmSpecRsaesOaepSha1})).CiphertextBlob
	symmetric := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	moved := must(keys.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: ours, SourceKeyId: cipher.Arn, SourceEncryptionAlgorithm: kmstypes.EncryptionAlgorithmSpecRsaesOaepSha1,
		DestinationKeyId: symmetric.Arn, DestinationEncryptionContext: map[string]string{"a": "b"},
	}))
	if p := must(keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob, EncryptionContext: map[string]string{"a": "b"}})); string(p.Plaintext) != "secret" {
		t.Errorf("re-encrypted to %q", p.Plaintext)
	}

	// MACs.
	for spec, alg := range map[kmstypes.KeySpec]kmstypes.MacAlgorithmSpec{
		kmstypes.KeySpecHmac224: kmstypes.MacAlgorithmSpecHmacSha224, kmstypes.KeySpecHmac256: kmstypes.MacAlgorithmSpecHmacSha256,
		kmstypes.KeySpecHmac384: kmstypes.MacAlgorithmSpecHmacSha384, kmstypes.KeySpecHmac512: kmstypes.MacAlgorithmSpecHmacSha512,
	} {
		k := create(spec, kmstypes.KeyUsageTypeGenerateVerifyMac)
		mac := must(keys.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: k.KeyId, Message: []byte("m"), MacAlgorithm: alg})).Mac
		if !must(keys.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: k.Arn, Message: []byte("m"), MacAlgorithm: alg, Mac: mac})).MacValid {
			t.Errorf("%s: not valid", spec)
		}
		_, err := keys.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: k.Arn, Message: []byte("n"), MacAlgorithm: alg, Mac: mac})
		refusedAs[*kmstypes.KMSInvalidMacException](t, "another message", err)
	}

	// Key agreement.
	for spec, curve := range map[kmstypes.KeySpec]ecdh.Curve{
		kmstypes.KeySpecEccNistP256: ecdh.P256(), kmstypes.KeySpecEccNistP384: ecdh.P384(), kmstypes.KeySpecEccNistP521: ecdh.P521(),
	} {
		k := create(spec, kmstypes.KeyUsageTypeKeyAgreement)
		own := must(curve.GenerateKey(rand.Reader))
		spki := must(x509.MarshalPKIXPublicKey(own.PublicKey()))
		got := must(keys.DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: k.KeyId, KeyAgreementAlgorithm: kmstypes.KeyAgreementAlgorithmSpecEcdh, PublicKey: spki}))
		theirs := o.file("theirs", must(keys.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: k.KeyId})).PublicKey)
		mine := o.file("mine", must(x509.MarshalPKCS8PrivateKey(own)))
		want, err := o.run("pkeyutl", "-derive", "-keyform", "DER", "-inkey", mine, "-peerform", "DER", "-peerkey", theirs)
		if err != nil || !bytes.Equal(got.SharedSecret, want) || got.KeyOrigin != kmstypes.OriginTypeAwsKms {
			t.Errorf("%s: another secret than openssl's: %v", spec, err)
		}
	}

	// Data key pairs, as openssl reads them.
	for _, spec := range []kmstypes.DataKeyPairSpec{
		kmstypes.DataKeyPairSpecRsa2048, kmstypes.DataKeyPairSpecEccNistP256, kmstypes.DataKeyPairSpecEccNistP384, kmstypes.DataKeyPairSpecEccNistP521,
		kmstypes.DataKeyPairSpecEccSecgP256k1, kmstypes.DataKeyPairSpecEccNistEdwards25519, kmstypes.DataKeyPairSpecSm2,
	} {
		in := &kms.GenerateDataKeyPairInput{KeyId: symmetric.KeyId, KeyPairSpec: spec, EncryptionContext: map[string]string{"a": "b"}}
		if spec == kmstypes.DataKeyPairSpecSm2 {
			_, err := keys.GenerateDataKeyPair(ctx, in)
			refusedAs[*kmstypes.UnsupportedOperationException](t, "SM2", err)
			continue
		}
		pair := must(keys.GenerateDataKeyPair(ctx, in))
		private := o.file("private", pair.PrivateKeyPlaintext)
		spki, err := o.run("pkey", "-inform", "DER", "-in", private, "-pubout", "-outform", "DER")
		if err != nil || !bytes.Equal(spki, pair.PublicKey) {
			t.Errorf("%s: openssl reads another key: %v", spec, err)
		}
		opened := must(keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: pair.PrivateKeyCiphertextBlob, EncryptionContext: map[string]string{"a": "b"}}))
		if !bytes.Equal(opened.Plaintext, pair.PrivateKeyPlaintext) {
			t.Errorf("%s: the ciphertext holds something else", spec)
		}
		without := must(keys.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: symmetric.KeyId, KeyPairSpec: spec}))
		if len(without.PublicKey) == 0 || len(without.PrivateKeyCiphertextBlob) == 0 {
			t.Errorf("%s: %+v", spec, without)
		}
	}

	// All of it is on record, without what was signed or opened.
	found := must(cloudtrail.NewFromConfig(cfg).LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyResourceName, AttributeValue: cipher.Arn}}}))
	names := map[string]bool{}
	for _, e := range found.Events {
		names[*e.EventName] = true
		if strings.Contains(*e.CloudTrailEvent, base64.StdEncoding.EncodeToString([]byte("secret"))) {
			t.Errorf("the record of %s has the plaintext", *e.EventName)
		}
	}
	for _, want := range []string{"CreateKey", "GetPublicKey", "Encrypt", "Decrypt", "ReEncrypt"} {
		if !names[want] {
			t.Errorf("%s is not among the key's events", want)
		}
	}
}

func TestTheAWSCLISignsAFile(t *testing.T) {
	cli := need(t, "aws", "--version")
	o := newOpenssl(t)
	p := sharedPlane(t)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(cli, append(args, "--output", "text")...)
		cmd.Env = p.env("customer")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("aws %s: %v: %s", strings.Join(args, " "), err, stderr.String())
		}
		return strings.TrimSpace(string(out))
	}
	unbase := func(s string) []byte {
		t.Helper()
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := run("kms", "create-key", "--key-spec", "ECC_NIST_P256", "--key-usage", "SIGN_VERIFY", "--query", "KeyMetadata.KeyId")
	document := []byte("a document of any length")
	digest := sha256.Sum256(document)
	sig := run("kms", "sign", "--key-id", key, "--message", "fileb://"+o.file("digest", digest[:]), "--message-type", "DIGEST", "--signing-algorithm", "ECDSA_SHA_256", "--query", "Signature")
	public := run("kms", "get-public-key", "--key-id", key, "--query", "PublicKey")
	if out, ok := o.verifies("ECDSA_SHA_256", unbase(public), document, unbase(sig)); !ok {
		t.Errorf("openssl says %s", out)
	}
	if out := run("kms", "verify", "--key-id", key, "--message", "fileb://"+o.file("msg", document), "--signing-algorithm", "ECDSA_SHA_256",
		"--signature", "fileb://"+o.file("sig", unbase(sig)), "--query", "SignatureValid"); out != "True" {
		t.Errorf("verify says %q", out)
	}
}
