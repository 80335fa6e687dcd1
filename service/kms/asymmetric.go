package kms

import (
	"context"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/operation"
)

// texts are values of one of the API's enumerations.
func texts[T ~string](in []string) []T {
	out := make([]T, 0, len(in))
	for _, s := range in {
		out = append(out, T(s))
	}
	return out
}

// algorithms of a key, one list per usage; the lists of other usages are
// absent.
type algorithms struct {
	encryption []kms.EncryptionAlgorithmSpec
	signing    []kms.SigningAlgorithmSpec
	mac        []kms.MacAlgorithmSpec
	agreement  []kms.KeyAgreementAlgorithmSpec
}

func algorithmsOf(key *keys.Key) (a algorithms) {
	list := keys.Algorithms(key.Spec, key.Usage)
	switch key.Usage {
	case keys.UsageEncrypt:
		a.encryption = texts[kms.EncryptionAlgorithmSpec](list)
	case keys.UsageSign:
		a.signing = texts[kms.SigningAlgorithmSpec](list)
	case keys.UsageMac:
		a.mac = texts[kms.MacAlgorithmSpec](list)
	case keys.UsageAgree:
		a.agreement = texts[kms.KeyAgreementAlgorithmSpec](list)
	}
	return a
}

// oldSpec is the key spec under its deprecated name, which the newer specs do
// not have (kms-api section 3).
func oldSpec(key *keys.Key) kms.CustomerMasterKeySpec {
	switch key.Spec {
	case string(kms.KeySpecMLDSA44), string(kms.KeySpecMLDSA65), string(kms.KeySpecMLDSA87), string(kms.KeySpecECCNISTEDWARDS25519):
		return ""
	}
	return kms.CustomerMasterKeySpec(key.Spec)
}

// with prepares the subject of an operation whose algorithm or the like is a
// condition key. Pairs are names and values.
func (c *call) with(granted string, pairs ...string) func(*subject) {
	return func(j *subject) {
		j.grants = c.byGrant(granted, nil)
		j.fill = func(k *operation.Keys) {
			for i := 0; i < len(pairs); i += 2 {
				k.Set(pairs[i], pairs[i+1])
			}
		}
	}
}

// ready checks the rest of what every operation here has: the key's state and
// usage, and the grant tokens.
func (c *call) ready(operationName, algorithm string, tokens []string) (*keys.Key, error) {
	key := c.key()
	if err := key.Fits(operationName, algorithm); err != nil {
		return nil, err
	}
	return key, keys.CheckTokens(tokens, key)
}

func getPublicKeyAsks(ctx context.Context, c *call, in *kms.GetPublicKeyInput) error {
	if err := keys.CheckTokens(in.GrantTokens); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:GetPublicKey", in.KeyId, anyAccount|byAlias, c.with("GetPublicKey"))
}

func getPublicKey(ctx context.Context, c *call, in *kms.GetPublicKeyInput) (*kms.GetPublicKeyOutput, error) {
	key := c.key()
	public, err := c.keys.PublicKey(c.subjects[0].use(nil))
	if err != nil {
		return nil, err
	}
	if err := keys.CheckTokens(in.GrantTokens, key); err != nil {
		return nil, err
	}
	a := algorithmsOf(key)
	return &kms.GetPublicKeyOutput{
		KeyId: key.ARN, PublicKey: public, CustomerMasterKeySpec: oldSpec(key), KeySpec: kms.KeySpec(key.Spec), KeyUsage: kms.KeyUsageType(key.Usage),
		EncryptionAlgorithms: a.encryption, SigningAlgorithms: a.signing, KeyAgreementAlgorithms: a.agreement,
	}, nil
}

func messageType(t kms.MessageType) string {
	if t == "" {
		return keys.MessageRaw
	}
	return string(t)
}

func signAsks(ctx context.Context, c *call, in *kms.SignInput) error {
	if err := keys.CheckTokens(in.GrantTokens); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:Sign", in.KeyId, anyAccount|byAlias,
		c.with("Sign", "kms:SigningAlgorithm", string(in.SigningAlgorithm), "kms:MessageType", messageType(in.MessageType)))
}

func sign(ctx context.Context, c *call, in *kms.SignInput) (*kms.SignOutput, error) {
	key, err := c.ready("Sign", string(in.SigningAlgorithm), in.GrantTokens)
	if err != nil {
		return nil, err
	}
	sig, err := c.keys.Sign(ctx, c.subjects[0].use(in.DryRun), string(in.SigningAlgorithm), messageType(in.MessageType), in.Message)
	if err != nil {
		return nil, err
	}
	return &kms.SignOutput{KeyId: key.ARN, Signature: sig, SigningAlgorithm: in.SigningAlgorithm}, nil
}

func verifyAsks(ctx context.Context, c *call, in *kms.VerifyInput) error {
	if err := keys.CheckTokens(in.GrantTokens); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:Verify", in.KeyId, anyAccount|byAlias,
		c.with("Verify", "kms:SigningAlgorithm", string(in.SigningAlgorithm), "kms:MessageType", messageType(in.MessageType)))
}

func verify(ctx context.Context, c *call, in *kms.VerifyInput) (*kms.VerifyOutput, error) {
	key, err := c.ready("Verify", string(in.SigningAlgorithm), in.GrantTokens)
	if err != nil {
		return nil, err
	}
	err = c.keys.Verify(ctx, c.subjects[0].use(in.DryRun), string(in.SigningAlgorithm), messageType(in.MessageType), in.Message, in.Signature)
	if err != nil {
		return nil, err
	}
	return &kms.VerifyOutput{KeyId: key.ARN, SignatureValid: new(true), SigningAlgorithm: in.SigningAlgorithm}, nil
}

func generateMacAsks(ctx context.Context, c *call, in *kms.GenerateMacInput) error {
	if err := keys.CheckTokens(in.GrantTokens); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:GenerateMac", in.KeyId, anyAccount|byAlias, c.with("GenerateMac", "kms:MacAlgorithm", string(in.MacAlgorithm)))
}

func generateMac(ctx context.Context, c *call, in *kms.GenerateMacInput) (*kms.GenerateMacOutput, error) {
	key, err := c.ready("GenerateMac", string(in.MacAlgorithm), in.GrantTokens)
	if err != nil {
		return nil, err
	}
	mac, err := c.keys.GenerateMac(ctx, c.subjects[0].use(in.DryRun), string(in.MacAlgorithm), in.Message)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateMacOutput{KeyId: key.ARN, Mac: mac, MacAlgorithm: in.MacAlgorithm}, nil
}

func verifyMacAsks(ctx context.Context, c *call, in *kms.VerifyMacInput) error {
	if err := keys.CheckTokens(in.GrantTokens); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:VerifyMac", in.KeyId, anyAccount|byAlias, c.with("VerifyMac", "kms:MacAlgorithm", string(in.MacAlgorithm)))
}

func verifyMac(ctx context.Context, c *call, in *kms.VerifyMacInput) (*kms.VerifyMacOutput, error) {
	key, err := c.ready("VerifyMac", string(in.MacAlgorithm), in.GrantTokens)
	if err != nil {
		return nil, err
	}
	if err := c.keys.VerifyMac(ctx, c.subjects[0].use(in.DryRun), string(in.MacAlgorithm), in.Message, in.Mac); err != nil {
		return nil, err
	}
	return &kms.VerifyMacOutput{KeyId: key.ARN, MacValid: new(true), MacAlgorithm: in.MacAlgorithm}, nil
}

func deriveSharedSecretAsks(ctx context.Context, c *call, in *kms.DeriveSharedSecretInput) error {
	if err := c.shape(ctx, in.GrantTokens, nil, "", in.Recipient); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:DeriveSharedSecret", in.KeyId, anyAccount|byAlias,
		c.with("DeriveSharedSecret", "kms:KeyAgreementAlgorithm", string(in.KeyAgreementAlgorithm)))
}

func deriveSharedSecret(ctx context.Context, c *call, in *kms.DeriveSharedSecretInput) (*kms.DeriveSharedSecretOutput, error) {
	key, err := c.ready("DeriveSharedSecret", string(in.KeyAgreementAlgorithm), in.GrantTokens)
	if err != nil {
		return nil, err
	}
	shared, err := c.keys.DeriveSharedSecret(ctx, c.subjects[0].use(in.DryRun), string(in.KeyAgreementAlgorithm), in.PublicKey)
	if err != nil {
		return nil, err
	}
	return &kms.DeriveSharedSecretOutput{
		KeyId: key.ARN, SharedSecret: shared, CiphertextForRecipient: c.sealed(), KeyAgreementAlgorithm: in.KeyAgreementAlgorithm, KeyOrigin: kms.OriginType(key.Origin),
	}, nil
}

// pair prepares the subject of an operation that makes a data key pair.
func (c *call) pair(granted string, spec kms.DataKeyPairSpec, encCtx map[string]string) func(*subject) {
	prepare := c.cipher(granted, "", encCtx)
	return func(j *subject) {
		prepare(j)
		fill := j.fill
		j.fill = func(k *operation.Keys) {
			fill(k)
			k.Set("kms:DataKeyPairSpec", string(spec))
		}
	}
}

func generateDataKeyPairAsks(ctx context.Context, c *call, in *kms.GenerateDataKeyPairInput) error {
	if err := c.shape(ctx, in.GrantTokens, in.EncryptionContext, "", in.Recipient); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:GenerateDataKeyPair", in.KeyId, anyAccount|byAlias,
		c.pair("GenerateDataKeyPair", in.KeyPairSpec, in.EncryptionContext))
}

// dataKeyPair is the common part of the two operations that make data key
// pairs.
func (c *call) dataKeyPair(ctx context.Context, operationName string, tokens []string, dryRun *bool, spec kms.DataKeyPairSpec, encCtx map[string]string) (keys.KeyPair, error) {
	if _, err := c.ready(operationName, string(symmetric), tokens); err != nil {
		return keys.KeyPair{}, err
	}
	return c.keys.GenerateDataKeyPair(ctx, c.subjects[0].use(dryRun), string(spec), encCtx, operationName == "GenerateDataKeyPair")
}

func generateDataKeyPair(ctx context.Context, c *call, in *kms.GenerateDataKeyPairInput) (*kms.GenerateDataKeyPairOutput, error) {
	pair, err := c.dataKeyPair(ctx, "GenerateDataKeyPair", in.GrantTokens, in.DryRun, in.KeyPairSpec, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyPairOutput{
		PrivateKeyCiphertextBlob: pair.Blob, PrivateKeyPlaintext: pair.Private, PublicKey: pair.Public, KeyId: c.key().ARN,
		KeyPairSpec: in.KeyPairSpec, KeyMaterialId: pair.MaterialID, CiphertextForRecipient: c.sealed(),
	}, nil
}

func generateDataKeyPairWithoutPlaintextAsks(ctx context.Context, c *call, in *kms.GenerateDataKeyPairWithoutPlaintextInput) error {
	if err := c.shape(ctx, in.GrantTokens, in.EncryptionContext, "", nil); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:GenerateDataKeyPairWithoutPlaintext", in.KeyId, anyAccount|byAlias,
		c.pair("GenerateDataKeyPairWithoutPlaintext", in.KeyPairSpec, in.EncryptionContext))
}

func generateDataKeyPairWithoutPlaintext(ctx context.Context, c *call, in *kms.GenerateDataKeyPairWithoutPlaintextInput) (*kms.GenerateDataKeyPairWithoutPlaintextOutput, error) {
	pair, err := c.dataKeyPair(ctx, "GenerateDataKeyPairWithoutPlaintext", in.GrantTokens, in.DryRun, in.KeyPairSpec, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyPairWithoutPlaintextOutput{
		PrivateKeyCiphertextBlob: pair.Blob, PublicKey: pair.Public, KeyId: c.key().ARN, KeyPairSpec: in.KeyPairSpec, KeyMaterialId: pair.MaterialID,
	}, nil
}
