package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

// The attacks on the HSM by a forged front are in cryptography/hsm/redteam;
// here are those on a whole plane.

// measuredAs is a set of registers as the API has it.
func measuredAs(image byte) map[string]any {
	registers := make(map[string]string)
	for i, value := range attesttest.Measured(image) {
		if len(bytes.Trim(value, "\x00")) > 0 {
			registers[strconv.Itoa(i)] = hex.EncodeToString(value)
		}
	}
	return map[string]any{"Registers": registers}
}

// Root on the machine reads the memory of all three processes while and after
// an enclave fetches data keys under a key that asks for it: none of them is in
// there. The key's own administrator, who may write any policy, gets none
// either.
func TestRootOnTheFrontFindsNoDataKeyOfAnEnclave(t *testing.T) {
	defer ended(t)
	p, pki := newEnclavePlane(t)
	ctx := t.Context()
	admin := p.client(t, "customer")
	keys, ordinary := newV4A(t, admin, admin.Region).kms, kms.NewFromConfig(sdkConfig(t, admin))
	enclave, spki := attesttest.EnclaveKey(t)
	to := func(s attest.Statement) *kmstypes.RecipientInfo {
		s.PublicKey = spki
		return &kmstypes.RecipientInfo{KeyEncryptionAlgorithm: kmstypes.KeyEncryptionMechanismRsaesOaepSha256, AttestationDocument: pki.Document(t, s)}
	}
	key := must(ordinary.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	if err := sealKey(t, admin, *key.Arn, map[string]any{"CallerProof": true, "Measurements": []any{measuredAs(1)}}); err != nil {
		t.Fatal(err)
	}
	var plain, blobs [][]byte
	for range 20 {
		r := must(keys.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: kmstypes.DataKeySpecAes256, Recipient: to(attest.Statement{})}))
		again := must(keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: r.CiphertextBlob, Recipient: to(attest.Statement{})}))
		got := must(attesttest.OpenEnvelope(enclave, r.CiphertextForRecipient))
		if !bytes.Equal(got, must(attesttest.OpenEnvelope(enclave, again.CiphertextForRecipient))) || r.Plaintext != nil || again.Plaintext != nil {
			t.Fatal("the enclave does not get its data key")
		}
		plain, blobs = append(plain, got), append(blobs, r.CiphertextBlob)
	}
	for name, pid := range map[string]int{"front": p.pid(), "HSM": childOf(t, p.pid(), "hsm"), "authority": childOf(t, p.pid(), "authority")} {
		for i, needle := range plain {
			if i%5 == 0 && hsmtest.Holds(t, pid, masked(needle)) {
				t.Errorf("data key %d is in the memory of the %s", i, name)
			}
		}
	}
	// What passes the front is found there: the search works.
	if !hsmtest.Holds(t, p.pid(), masked([]byte(admin.AccessKeyID))) {
		t.Error("the search does not find what is there")
	}

	// The administrator lets everybody do everything, and asks as everybody could.
	account := strings.Split(*key.Arn, ":")[4]
	must(ordinary.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::` + account + `:root","*"]},"Action":"kms:*","Resource":"*"}]}`)}))
	open := must(ordinary.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	for what, ask := range map[string]func() error{
		"Decrypt with SigV4": func() error {
			_, err := ordinary.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blobs[0]})
			return err
		},
		"Decrypt without the enclave": func() error {
			_, err := keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blobs[0]})
			return err
		},
		"Decrypt for the enclave with SigV4": func() error {
			_, err := ordinary.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blobs[0], Recipient: to(attest.Statement{})})
			return err
		},
		"Decrypt for another image": func() error {
			_, err := keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blobs[0], Recipient: to(attest.Statement{PCRs: attesttest.Measured(2)})})
			return err
		},
		"ReEncrypt to an open key": func() error {
			_, err := keys.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blobs[0], DestinationKeyId: open.KeyId})
			return err
		},
		"GenerateDataKey in the clear": func() error {
			_, err := keys.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: kmstypes.DataKeySpecAes256})
			return err
		},
	} {
		refusedWith(t, what, ask(), "AccessDeniedException")
	}
	refusedSeal(t, "to take the conditions off", sealKey(t, admin, *key.Arn, map[string]any{}), "AccessDeniedException")
	data := must(ordinary.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: open.KeyId, KeySpec: kmstypes.DataKeySpecAes256}))
	if got := must(ordinary.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: data.CiphertextBlob})); !bytes.Equal(got.Plaintext, data.Plaintext) {
		t.Error("the same with a key without conditions does not work")
	}
}

// masked is a needle for hsmtest.Holds.
func masked(b []byte) []byte {
	b = bytes.Clone(b)
	for i := range b {
		b[i] ^= hsmtest.Mask
	}
	return b
}

// Material for a key that asks for caller proof comes from a request that the
// HSM sees: a front cannot put its own in the place.
func TestMaterialForAKeyWithCallerProofIsProven(t *testing.T) {
	defer ended(t)
	ctx := t.Context()
	admin := sharedPlane(t).client(t, "customer")
	proven, ordinary := newV4A(t, admin, admin.Region).kms, kms.NewFromConfig(sdkConfig(t, admin))
	key := must(ordinary.CreateKey(ctx, &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal})).KeyMetadata
	material := make([]byte, 32)
	rand.Read(material)
	bring := func(c *kms.Client) error {
		p := must(ordinary.GetParametersForImport(ctx, &kms.GetParametersForImportInput{
			KeyId: key.KeyId, WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesOaepSha256, WrappingKeySpec: kmstypes.WrappingKeySpecRsa2048}))
		_, err := c.ImportKeyMaterial(ctx, &kms.ImportKeyMaterialInput{
			KeyId: key.KeyId, ImportToken: p.ImportToken, ExpirationModel: kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire,
			EncryptedKeyMaterial: must(hsmtest.Wrap(p.PublicKey, "RSAES_OAEP_SHA_256", material))})
		return err
	}
	if err := bring(ordinary); err != nil {
		t.Fatal(err)
	}
	if err := sealKey(t, admin, *key.Arn, map[string]any{"CallerProof": true}); err != nil {
		t.Fatal(err)
	}
	sealed := must(proven.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x-ray")})).CiphertextBlob
	must(ordinary.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: key.KeyId}))
	refusedWith(t, "an import with SigV4", bring(ordinary), "AccessDeniedException")
	if err := bring(proven); err != nil {
		t.Fatalf("an import with SigV4A: %v", err)
	}
	if got := must(proven.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed})); string(got.Plaintext) != "x-ray" {
		t.Errorf("%q", got.Plaintext)
	}
}
