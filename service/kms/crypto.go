package kms

import (
	"context"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/operation"
)

const symmetric = kms.EncryptionAlgorithmSpecSymmetricDefault

// contextKeys sets the condition keys of an operation with an encryption
// context. Names that differ only in case become one key with several values.
func contextKeys(k *operation.Keys, encCtx map[string]string) {
	if len(encCtx) == 0 {
		return
	}
	names := make([]string, 0, len(encCtx))
	for name, value := range encCtx {
		k.Add("kms:EncryptionContext:"+name, value)
		names = append(names, name)
	}
	k.Set("kms:EncryptionContextKeys", names...)
}

// cipher prepares the subject of an operation that encrypts or decrypts.
func (c *call) cipher(granted string, alg kms.EncryptionAlgorithmSpec, encCtx map[string]string) func(*subject) {
	return func(j *subject) {
		j.grants = c.byGrant(granted, encCtx)
		j.fill = func(k *operation.Keys) {
			k.Set("kms:EncryptionAlgorithm", string(orSymmetric(alg)))
			contextKeys(k, encCtx)
		}
	}
}

func orSymmetric(alg kms.EncryptionAlgorithmSpec) kms.EncryptionAlgorithmSpec {
	if alg == "" {
		return symmetric
	}
	return alg
}

// shape checks what every cryptographic operation has, before anything is
// looked up.
func (c *call) shape(ctx context.Context, tokens []string, encCtx map[string]string, alg kms.EncryptionAlgorithmSpec, recipient *kms.RecipientInfo) error {
	if alg != "" && alg != symmetric && len(encCtx) > 0 {
		return invalid("EncryptionContext is valid only with the algorithm %s.", symmetric)
	}
	if err := keys.CheckContext(encCtx); err != nil {
		return err
	}
	if err := keys.CheckTokens(tokens); err != nil {
		return err
	}
	return c.attest(ctx, recipient)
}

// usable checks, in this order, the key's state and whether it can do what the
// request asks of it (steps 4 and 5 of kms-api section 1).
func usable(operationName string, key *keys.Key, alg kms.EncryptionAlgorithmSpec) error {
	return key.Fits(operationName, string(orSymmetric(alg)))
}

func encryptAsks(ctx context.Context, c *call, in *kms.EncryptInput) error {
	if err := c.shape(ctx, in.GrantTokens, in.EncryptionContext, in.EncryptionAlgorithm, nil); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:Encrypt", in.KeyId, anyAccount|byAlias, c.cipher("Encrypt", in.EncryptionAlgorithm, in.EncryptionContext))
}

func encrypt(ctx context.Context, c *call, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	key := c.key()
	if err := usable("Encrypt", key, in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := keys.CheckTokens(in.GrantTokens, key); err != nil {
		return nil, err
	}
	var blob []byte
	var err error
	alg := orSymmetric(in.EncryptionAlgorithm)
	if use := c.subjects[0].use(in.DryRun); alg == symmetric {
		blob, err = c.keys.Encrypt(ctx, use, in.Plaintext, in.EncryptionContext)
	} else {
		blob, err = c.keys.EncryptWith(ctx, use, string(alg), in.Plaintext)
	}
	if err != nil {
		return nil, err
	}
	return &kms.EncryptOutput{CiphertextBlob: blob, KeyId: key.ARN, EncryptionAlgorithm: alg}, nil
}

// ciphertext checks the members by which a request names what to decrypt, and
// says whether the ciphertext itself is to be looked at.
func ciphertext(blob []byte, dryRun *bool, modifiers []kms.DryRunModifierType, keyID string, alg kms.EncryptionAlgorithmSpec) (ignore bool, err error) {
	ignore = len(modifiers) > 0 // the model knows one modifier only
	if ignore && !isSet(dryRun) {
		return false, invalid("DryRunModifiers can be used only with DryRun.")
	}
	if len(blob) == 0 && !ignore {
		return false, invalid("1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null")
	}
	if keyID == "" && (len(blob) == 0 || alg != "" && alg != symmetric) {
		return false, invalid("The key must be named when it cannot be read from the ciphertext.")
	}
	return ignore, nil
}

// source makes the subject about the key that is to decrypt: the one that the
// request names, or else the one whose material the ciphertext names.
func (c *call) source(ctx context.Context, action, keyID string, blob []byte, prepare func(*subject)) error {
	if keyID != "" {
		return c.resolve(ctx, action, keyID, anyAccount|byAlias, prepare)
	}
	key, err := c.keys.ByCiphertext(ctx, blob)
	if err != nil {
		return err
	}
	j := c.add(action, key)
	prepare(j)
	if key.Account != c.Account {
		j.refusal = func(operation.Decision) error { return errForeignCiphertext }
	}
	return nil
}

func decryptAsks(ctx context.Context, c *call, in *kms.DecryptInput) error {
	if err := c.shape(ctx, in.GrantTokens, in.EncryptionContext, in.EncryptionAlgorithm, in.Recipient); err != nil {
		return err
	}
	if _, err := ciphertext(in.CiphertextBlob, in.DryRun, in.DryRunModifiers, in.KeyId, in.EncryptionAlgorithm); err != nil {
		return err
	}
	return c.source(ctx, "kms:Decrypt", in.KeyId, in.CiphertextBlob, c.cipher("Decrypt", in.EncryptionAlgorithm, in.EncryptionContext))
}

func decrypt(ctx context.Context, c *call, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	key := c.key()
	if err := usable("Decrypt", key, in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := keys.CheckTokens(in.GrantTokens, key); err != nil {
		return nil, err
	}
	blob := in.CiphertextBlob
	if len(in.DryRunModifiers) > 0 {
		blob = nil
	}
	var plaintext []byte
	var material string
	var err error
	alg := orSymmetric(in.EncryptionAlgorithm)
	if use := c.subjects[0].use(in.DryRun); alg == symmetric {
		plaintext, material, err = c.keys.Decrypt(ctx, use, blob, in.EncryptionContext)
	} else {
		plaintext, err = c.keys.DecryptWith(ctx, use, string(alg), blob)
	}
	if err != nil {
		return nil, err
	}
	return &kms.DecryptOutput{
		KeyId: key.ARN, Plaintext: plaintext, CiphertextForRecipient: c.sealed(), EncryptionAlgorithm: alg, KeyMaterialId: material,
	}, nil
}

func reEncryptAsks(ctx context.Context, c *call, in *kms.ReEncryptInput) error {
	if err := c.shape(ctx, in.GrantTokens, in.SourceEncryptionContext, in.SourceEncryptionAlgorithm, nil); err != nil {
		return err
	}
	if err := c.shape(ctx, nil, in.DestinationEncryptionContext, in.DestinationEncryptionAlgorithm, nil); err != nil {
		return err
	}
	if _, err := ciphertext(in.CiphertextBlob, in.DryRun, in.DryRunModifiers, in.SourceKeyId, in.SourceEncryptionAlgorithm); err != nil {
		return err
	}
	// Each ask needs to know whether the other is about the same key.
	same := func(k *operation.Keys) {
		k.Set("kms:ReEncryptOnSameKey", "false")
		if len(c.subjects) == 2 && c.subjects[0].key.ID == c.subjects[1].key.ID {
			k.Set("kms:ReEncryptOnSameKey", "true")
		}
	}
	side := func(granted string, alg kms.EncryptionAlgorithmSpec, encCtx map[string]string) func(*subject) {
		prepare := c.cipher(granted, alg, encCtx)
		return func(j *subject) {
			prepare(j)
			fill := j.fill
			j.fill = func(k *operation.Keys) { fill(k); same(k) }
		}
	}
	err := c.source(ctx, "kms:ReEncryptFrom", in.SourceKeyId, in.CiphertextBlob,
		side("ReEncryptFrom", in.SourceEncryptionAlgorithm, in.SourceEncryptionContext))
	if err != nil {
		return err
	}
	return c.resolveNext(ctx, "kms:ReEncryptTo", in.DestinationKeyId, anyAccount|byAlias,
		side("ReEncryptTo", in.DestinationEncryptionAlgorithm, in.DestinationEncryptionContext))
}

func reEncrypt(ctx context.Context, c *call, in *kms.ReEncryptInput) (*kms.ReEncryptOutput, error) {
	from, to := c.subjects[0], c.subjects[1]
	if err := usable("ReEncrypt", from.key, in.SourceEncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := usable("ReEncrypt", to.key, in.DestinationEncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := keys.CheckTokens(in.GrantTokens, from.key, to.key); err != nil {
		return nil, err
	}
	blob := in.CiphertextBlob
	if len(in.DryRunModifiers) > 0 {
		blob = nil
	}
	var out []byte
	var fromMaterial, toMaterial string
	var err error
	fromAlg, toAlg := orSymmetric(in.SourceEncryptionAlgorithm), orSymmetric(in.DestinationEncryptionAlgorithm)
	if fromAlg == symmetric && toAlg == symmetric {
		out, fromMaterial, toMaterial, err = c.keys.ReEncrypt(ctx, from.use(in.DryRun), to.use(in.DryRun), blob,
			in.SourceEncryptionContext, in.DestinationEncryptionContext)
	} else {
		out, fromMaterial, toMaterial, err = c.keys.ReEncryptWith(ctx,
			keys.Side{Use: from.use(in.DryRun), Algorithm: string(fromAlg), Context: in.SourceEncryptionContext},
			keys.Side{Use: to.use(in.DryRun), Algorithm: string(toAlg), Context: in.DestinationEncryptionContext}, blob)
	}
	if err != nil {
		return nil, err
	}
	return &kms.ReEncryptOutput{
		CiphertextBlob: out, SourceKeyId: from.key.ARN, KeyId: to.key.ARN,
		SourceEncryptionAlgorithm: fromAlg, DestinationEncryptionAlgorithm: toAlg,
		SourceKeyMaterialId: fromMaterial, DestinationKeyMaterialId: toMaterial,
	}, nil
}

// dataKeySize is the length that a request for a data key asks for.
func dataKeySize(n *int32, spec kms.DataKeySpec) (int, error) {
	switch {
	case (n == nil) == (spec == ""):
		return 0, invalid("Please specify either number of bytes or key spec.")
	case n != nil:
		return int(*n), nil
	case spec == kms.DataKeySpecAES128:
		return 16, nil
	}
	return 32, nil
}

func generateDataKeyAsks(ctx context.Context, c *call, in *kms.GenerateDataKeyInput) error {
	if _, err := dataKeySize(in.NumberOfBytes, in.KeySpec); err != nil {
		return err
	}
	if err := c.shape(ctx, in.GrantTokens, in.EncryptionContext, "", in.Recipient); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:GenerateDataKey", in.KeyId, anyAccount|byAlias, c.cipher("GenerateDataKey", "", in.EncryptionContext))
}

// dataKey is the common part of the two operations that make data keys.
func (c *call) dataKey(ctx context.Context, operationName string, tokens []string, dryRun *bool, n *int32, spec kms.DataKeySpec, encCtx map[string]string) (plaintext, blob []byte, material string, err error) {
	size, err := dataKeySize(n, spec)
	if err != nil {
		return nil, nil, "", err
	}
	if err := usable(operationName, c.key(), ""); err != nil {
		return nil, nil, "", err
	}
	if err := keys.CheckTokens(tokens, c.key()); err != nil {
		return nil, nil, "", err
	}
	return c.keys.GenerateDataKey(ctx, c.subjects[0].use(dryRun), size, encCtx, operationName == "GenerateDataKey")
}

func generateDataKey(ctx context.Context, c *call, in *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error) {
	plaintext, blob, material, err := c.dataKey(ctx, "GenerateDataKey", in.GrantTokens, in.DryRun, in.NumberOfBytes, in.KeySpec, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyOutput{
		CiphertextBlob: blob, Plaintext: plaintext, CiphertextForRecipient: c.sealed(), KeyId: c.key().ARN, KeyMaterialId: material,
	}, nil
}

func generateDataKeyWithoutPlaintextAsks(ctx context.Context, c *call, in *kms.GenerateDataKeyWithoutPlaintextInput) error {
	if _, err := dataKeySize(in.NumberOfBytes, in.KeySpec); err != nil {
		return err
	}
	if err := c.shape(ctx, in.GrantTokens, in.EncryptionContext, "", nil); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:GenerateDataKeyWithoutPlaintext", in.KeyId, anyAccount|byAlias,
		c.cipher("GenerateDataKeyWithoutPlaintext", "", in.EncryptionContext))
}

func generateDataKeyWithoutPlaintext(ctx context.Context, c *call, in *kms.GenerateDataKeyWithoutPlaintextInput) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	_, blob, material, err := c.dataKey(ctx, "GenerateDataKeyWithoutPlaintext", in.GrantTokens, in.DryRun, in.NumberOfBytes, in.KeySpec, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyWithoutPlaintextOutput{CiphertextBlob: blob, KeyId: c.key().ARN, KeyMaterialId: material}, nil
}

func generateRandomAsks(ctx context.Context, c *call, in *kms.GenerateRandomInput) error {
	switch {
	case in.NumberOfBytes == nil:
		return invalid("NumberOfBytes is required.")
	}
	c.addAccount("kms:GenerateRandom", "*")
	return c.attest(ctx, in.Recipient)
}

func generateRandom(ctx context.Context, c *call, in *kms.GenerateRandomInput) (*kms.GenerateRandomOutput, error) {
	if err := c.randomStore(in.CustomKeyStoreId); err != nil {
		return nil, err
	}
	if c.recipient != nil {
		if err := c.keys.RandomFor(ctx, int(*in.NumberOfBytes), c.recipient); err != nil {
			return nil, err
		}
		return &kms.GenerateRandomOutput{CiphertextForRecipient: c.sealed()}, nil
	}
	b, err := c.keys.Random(ctx, int(*in.NumberOfBytes))
	if err != nil {
		return nil, err
	}
	return &kms.GenerateRandomOutput{Plaintext: b}, nil
}
