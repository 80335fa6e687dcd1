package main

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

// sealKey seals conditions as `leadglass key seal` does.
func sealKey(t *testing.T, c *client, key string, conditions map[string]any) error {
	t.Helper()
	_, err := c.json(t.Context(), "leadglass", "PutKeyConditions", map[string]any{"KeyId": key, "Conditions": conditions}, nil)
	return err
}

func refusedSeal(t *testing.T, what string, err error, code string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), code+": ") {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// A key whose callers the HSM checks itself: the ordinary SDK works with it if
// it signs with SigV4A, with a user's key and with a role's, and nobody who
// signs otherwise does.
func TestTheGoSDKUsesAKeyWhoseCallersTheHSMChecks(t *testing.T) {
	ctx := t.Context()
	admin := sharedPlane(t).client(t, "customer")
	asymmetric, ordinary := newV4A(t, admin, "*"), kms.NewFromConfig(sdkConfig(t, admin))
	key := must(ordinary.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	must(ordinary.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/proven"), TargetKeyId: key.KeyId}))
	bound := map[string]string{"patient": "42", "emoji": "🗝\"\\/<&>\u2028"}
	sealed := must(ordinary.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x-ray"), EncryptionContext: bound})).CiphertextBlob
	if err := sealKey(t, admin, *key.Arn, map[string]any{"CallerProof": true}); err != nil {
		t.Fatal(err)
	}
	decrypt := func(c *kms.Client, id *string) (string, error) {
		out, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: bound, KeyId: id})
		if err != nil {
			return "", err
		}
		return string(out.Plaintext), nil
	}
	for name, id := range map[string]*string{"no key": nil, "its id": key.KeyId, "its ARN": key.Arn} {
		if got, err := decrypt(asymmetric.kms, id); err != nil || got != "x-ray" {
			t.Errorf("with SigV4A, naming %s: %q, %v", name, got, err)
		}
	}
	_, err := decrypt(asymmetric.kms, aws.String("alias/proven"))
	refusedWith(t, "an alias, which proves nothing", err, "AccessDeniedException")
	_, err = decrypt(ordinary, key.Arn)
	refusedWith(t, "SigV4", err, "AccessDeniedException")
	if !strings.Contains(err.Error(), "sealed into "+*key.Arn) {
		t.Errorf("the refusal does not say why: %v", err)
	}

	// All that the key can do, as the SDK writes it.
	must(asymmetric.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: key.Arn, Plaintext: []byte("y"), EncryptionContext: bound}))
	must(asymmetric.kms.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: kmstypes.DataKeySpecAes256}))
	must(asymmetric.kms.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.KeyId, NumberOfBytes: aws.Int32(17)}))
	must(asymmetric.kms.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: key.KeyId, KeySpec: kmstypes.DataKeySpecAes128}))
	must(asymmetric.kms.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: key.KeyId, KeyPairSpec: kmstypes.DataKeyPairSpecEccNistP256, EncryptionContext: bound}))
	must(asymmetric.kms.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: key.KeyId, KeyPairSpec: kmstypes.DataKeyPairSpecEccNistP256}))
	other := must(ordinary.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	must(asymmetric.kms.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: sealed, SourceEncryptionContext: bound, DestinationKeyId: other.Arn}))

	// The other kinds of keys.
	for spec, use := range map[kmstypes.KeySpec]func(c *kms.Client, id *string) error{
		kmstypes.KeySpecEccNistP256: func(c *kms.Client, id *string) error {
			out, err := c.Sign(ctx, &kms.SignInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: kmstypes.SigningAlgorithmSpecEcdsaSha256})
			if err != nil {
				return err
			}
			_, err = c.Verify(ctx, &kms.VerifyInput{KeyId: id, Message: []byte("m"), MessageType: kmstypes.MessageTypeRaw, Signature: out.Signature, SigningAlgorithm: kmstypes.SigningAlgorithmSpecEcdsaSha256})
			return err
		},
		kmstypes.KeySpecHmac256: func(c *kms.Client, id *string) error {
			out, err := c.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: id, Message: []byte("m"), MacAlgorithm: kmstypes.MacAlgorithmSpecHmacSha256})
			if err != nil {
				return err
			}
			_, err = c.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: id, Message: []byte("m"), Mac: out.Mac, MacAlgorithm: kmstypes.MacAlgorithmSpecHmacSha256})
			return err
		},
	} {
		usage := kmstypes.KeyUsageTypeSignVerify
		if spec == kmstypes.KeySpecHmac256 {
			usage = kmstypes.KeyUsageTypeGenerateVerifyMac
		}
		k := must(ordinary.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})).KeyMetadata
		if err := sealKey(t, admin, *k.Arn, map[string]any{"CallerProof": true}); err != nil {
			t.Fatal(err)
		}
		if err := use(asymmetric.kms, k.Arn); err != nil {
			t.Errorf("%s with SigV4A: %v", spec, err)
		}
		refusedWith(t, string(spec)+" with SigV4", use(ordinary, k.Arn), "AccessDeniedException")
	}

	// A role of the account signs with its session's key.
	account := strings.Split(*key.Arn, ":")[4]
	role := must(asymmetric.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("proven"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":"sts:AssumeRole"}}`)})).Role
	must(asymmetric.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: aws.String("p"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}`)}))
	session := must(asymmetric.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Arn, RoleSessionName: aws.String("one")})).Credentials
	as := *admin
	as.AccessKeyID, as.SecretAccessKey, as.Session = *session.AccessKeyId, *session.SecretAccessKey, *session.SessionToken
	if got, err := decrypt(newV4A(t, &as, admin.Region).kms, nil); err != nil || got != "x-ray" {
		t.Errorf("a session: %q, %v", got, err)
	}

	// Whoever disabled the key with what signature ever: it is opened again by a request that the HSM sees.
	must(ordinary.DisableKey(ctx, &kms.DisableKeyInput{KeyId: key.KeyId}))
	_, err = ordinary.EnableKey(ctx, &kms.EnableKeyInput{KeyId: key.KeyId})
	refusedWith(t, "EnableKey with SigV4", err, "AccessDeniedException")
	must(asymmetric.kms.EnableKey(ctx, &kms.EnableKeyInput{KeyId: key.KeyId}))
	must(ordinary.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: key.KeyId}))
	if got, err := decrypt(asymmetric.kms, nil); err != nil || got != "x-ray" {
		t.Errorf("after EnableKey and a rotation: %q, %v", got, err)
	}
	_, err = ordinary.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("z")})
	refusedWith(t, "the new material with SigV4", err, "AccessDeniedException")

	// The log says who sealed what.
	found := must(asymmetric.log.LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("PutKeyConditions")}}}))
	recorded := false
	for _, e := range found.Events {
		recorded = recorded || strings.Contains(*e.CloudTrailEvent, *key.Arn) && strings.Contains(*e.CloudTrailEvent, `"callerProof":true`)
	}
	if !recorded {
		t.Error("no event says that the key was sealed")
	}
}

// Sealed conditions are refused by the API for what they cannot be, and by
// policies for those who may not.
func TestWhoSealsWhat(t *testing.T) {
	ctx := t.Context()
	p := sharedPlane(t)
	admin := p.client(t, "customer")
	keys := kms.NewFromConfig(sdkConfig(t, admin))
	key := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	mac := must(keys.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecHmac256, KeyUsage: kmstypes.KeyUsageTypeGenerateVerifyMac})).KeyMetadata
	related := must(keys.CreateKey(ctx, &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})).KeyMetadata
	for name, c := range map[string]struct {
		key        string
		conditions map[string]any
		code       string
	}{
		"an operation that there is not":  {*key.Arn, map[string]any{"Operations": []string{"DeleteKey"}}, "ValidationException"},
		"a register of zeros":             {*key.Arn, map[string]any{"Measurements": []any{map[string]any{"Registers": map[string]string{"0": strings.Repeat("00", 48)}}}}, "ValidationException"},
		"no register":                     {*key.Arn, map[string]any{"Measurements": []any{map[string]any{"Registers": map[string]string{"pcr0": strings.Repeat("01", 48)}}}}, "ValidationException"},
		"no hexadecimal digits":           {*key.Arn, map[string]any{"Measurements": []any{map[string]any{"Registers": map[string]string{"0": "x"}}}}, "ValidationException"},
		"custodians who are none":         {*key.Arn, map[string]any{"CallerProof": true, "Custodians": []byte("x")}, "ValidationException"},
		"what this version does not know": {*key.Arn, map[string]any{"CallerProof": true, "Moon": "full"}, "SerializationException"},
		"a proof for a key in Regions":    {*related.Arn, map[string]any{"CallerProof": true}, "UnsupportedOperationException"},
		"a context for a key without one": {*mac.Arn, map[string]any{"EncryptionContext": map[string]string{"a": "b"}}, "UnsupportedOperationException"},
		"a key that there is not":         {"11111111-2222-3333-4444-555555555555", map[string]any{"CallerProof": true}, "NotFoundException"},
	} {
		refusedSeal(t, name, sealKey(t, admin, c.key, c.conditions), c.code)
	}
	refusedSeal(t, "the operator", sealKey(t, p.client(t, "operator"), *key.Arn, map[string]any{"CallerProof": true}), "AccessDeniedException")
	denied := strings.ReplaceAll(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::ACCOUNT:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Deny","Principal":"*","Action":"kms:PutKeyConditions","Resource":"*"}]}`, "ACCOUNT", strings.Split(*key.Arn, ":")[4])
	must(keys.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: aws.String(denied)}))
	refusedSeal(t, "a denial in the key policy", sealKey(t, admin, *key.Arn, map[string]any{"CallerProof": true}), "AccessDeniedException")

	// A context that every ciphertext must have.
	bound := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	if err := sealKey(t, admin, *bound.Arn, map[string]any{"EncryptionContext": map[string]string{"stage": "prod"}, "Operations": []string{"Encrypt", "Decrypt"}}); err != nil {
		t.Fatal(err)
	}
	_, err := keys.Encrypt(ctx, &kms.EncryptInput{KeyId: bound.Arn, Plaintext: []byte("p")})
	refusedWith(t, "no context", err, "AccessDeniedException")
	must(keys.Encrypt(ctx, &kms.EncryptInput{KeyId: bound.Arn, Plaintext: []byte("p"), EncryptionContext: map[string]string{"stage": "prod"}}))
	_, err = keys.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: bound.Arn, KeySpec: kmstypes.DataKeySpecAes256, EncryptionContext: map[string]string{"stage": "prod"}})
	refusedWith(t, "an operation that is not sealed in", err, "AccessDeniedException")
	refusedSeal(t, "looser conditions", sealKey(t, admin, *bound.Arn, map[string]any{"Operations": []string{"Encrypt", "Decrypt"}}), "AccessDeniedException")
}

// Revocations as a customer sees them: the fence is up when the answer comes.
// Target: below 100 ms.
func TestRevokeGrantIsFencedInTime(t *testing.T) {
	ctx := t.Context()
	admin := sharedPlane(t).client(t, "customer")
	keys := kms.NewFromConfig(sdkConfig(t, admin))
	key := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	root := aws.String("arn:aws:iam::" + strings.Split(*key.Arn, ":")[4] + ":root")
	var all, longest time.Duration
	const rounds = 20
	for range rounds {
		g := must(keys.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: key.Arn, GranteePrincipal: root, Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt}}))
		begin := time.Now()
		must(keys.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: key.Arn, GrantId: g.GrantId}))
		took := time.Since(begin)
		all, longest = all+took, max(longest, took)
	}
	t.Logf("RevokeGrant: %s on average, %s at the longest", all/rounds, longest)
	must(keys.Encrypt(ctx, &kms.EncryptInput{KeyId: key.Arn, Plaintext: []byte("p")}))
	if all/rounds > 100*time.Millisecond {
		t.Errorf("RevokeGrant takes %s", all/rounds)
	}
}

// A key that opens only for an enclave, whatever its policy says: policies are
// the front's, this is not.
func TestASealedMeasurementHoldsWhateverThePolicyAllows(t *testing.T) {
	ctx := t.Context()
	p, pki := newEnclavePlane(t)
	admin := p.client(t, "customer")
	keys := kms.NewFromConfig(sdkConfig(t, admin))
	enclave, spki := attesttest.EnclaveKey(t)
	to := func(s attest.Statement) *kmstypes.RecipientInfo {
		s.PublicKey = spki
		return &kmstypes.RecipientInfo{KeyEncryptionAlgorithm: kmstypes.KeyEncryptionMechanismRsaesOaepSha256, AttestationDocument: pki.Document(t, s)}
	}
	key := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	blob := must(keys.Encrypt(ctx, &kms.EncryptInput{KeyId: key.Arn, Plaintext: []byte("x-ray")})).CiphertextBlob
	must(keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob}))
	image := hex.EncodeToString(attesttest.Measured(1)[0])
	if err := sealKey(t, admin, *key.Arn, map[string]any{"Measurements": []any{map[string]any{"Registers": map[string]string{"0": image}}}}); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*kmstypes.RecipientInfo{"nobody": nil, "another image": to(attest.Statement{PCRs: attesttest.Measured(2)})} {
		_, err := keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, Recipient: r})
		refusedWith(t, "Decrypt for "+name, err, "AccessDeniedException")
		_, err = keys.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.Arn, KeySpec: kmstypes.DataKeySpecAes256, Recipient: r})
		refusedWith(t, "GenerateDataKey for "+name, err, "AccessDeniedException")
	}
	other := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	_, err := keys.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: other.Arn})
	refusedWith(t, "ReEncrypt to a key without conditions", err, "AccessDeniedException")
	got := must(keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, Recipient: to(attest.Statement{})}))
	if len(got.Plaintext) != 0 || string(must(attesttest.OpenEnvelope(enclave, got.CiphertextForRecipient))) != "x-ray" {
		t.Error("the enclave does not get its secret")
	}
}
