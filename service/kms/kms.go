// Package kms serves the KMS API: it turns requests into questions for the
// policy engine and into calls of package keys, and refusals of keys into the
// API's errors. The table in Operations is everything that can be done.
//
// Each operation has two halves. Its target resolves which keys the request
// means and says what the caller must be allowed to do with them; its handler
// does it, with the very snapshots that the decision was made on (see call).
//
// Who may not use a key does not learn whether it exists: a key that is
// missing is denied like one that refuses, unless the caller would have been
// allowed to use it (see resolve). Not done here: the life of keys
// (cryptography/keys), signatures and the decision itself (gate), and what an
// attestation document proves: here it is read for the condition keys of
// policies alone (recipient.go), and the HSM reads it again.
//
// What the model has and a key cannot do is refused, never ignored.
package kms

import (
	"context"
	"errors"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// Service is the KMS API over the keys of all Regions of a deployment.
type Service struct {
	keys *keys.Keys // of the home Region; those of a call: call.keys
}

// New returns the service.
func New(k *keys.Keys) *Service { return &Service{keys: k} }

// Operations is the table of what is served.
func (s *Service) Operations() []operation.Operation {
	return []operation.Operation{
		entry(s, kms.CreateKey, createKeyAsks, createKey),
		entry(s, kms.DescribeKey, describeKeyAsks, describeKey),
		entry(s, kms.ListKeys, onAccount[kms.ListKeysInput]("kms:ListKeys"), listKeys),
		entry(s, kms.EnableKey, manage("kms:EnableKey", func(in *kms.EnableKeyInput) string { return in.KeyId }), enableKey),
		entry(s, kms.DisableKey, manage("kms:DisableKey", func(in *kms.DisableKeyInput) string { return in.KeyId }), disableKey),
		entry(s, kms.ScheduleKeyDeletion, scheduleKeyDeletionAsks, scheduleKeyDeletion),
		entry(s, kms.CancelKeyDeletion, manage("kms:CancelKeyDeletion", func(in *kms.CancelKeyDeletionInput) string { return in.KeyId }), cancelKeyDeletion),
		entry(s, kms.UpdateKeyDescription, manage("kms:UpdateKeyDescription", func(in *kms.UpdateKeyDescriptionInput) string { return in.KeyId }), updateKeyDescription),
		entry(s, kms.EnableKeyRotation, enableKeyRotationAsks, enableKeyRotation),
		entry(s, kms.DisableKeyRotation, manage("kms:DisableKeyRotation", func(in *kms.DisableKeyRotationInput) string { return in.KeyId }), disableKeyRotation),
		entry(s, kms.RotateKeyOnDemand, manage("kms:RotateKeyOnDemand", func(in *kms.RotateKeyOnDemandInput) string { return in.KeyId }), rotateKeyOnDemand),
		entry(s, kms.ListKeyRotations, manage("kms:ListKeyRotations", func(in *kms.ListKeyRotationsInput) string { return in.KeyId }), listKeyRotations),
		entry(s, kms.GetKeyRotationStatus, manage("kms:GetKeyRotationStatus", func(in *kms.GetKeyRotationStatusInput) string { return in.KeyId }), getKeyRotationStatus),
		entry(s, kms.GetKeyLastUsage, manage("kms:GetKeyLastUsage", func(in *kms.GetKeyLastUsageInput) string { return in.KeyId }), getKeyLastUsage),

		entry(s, kms.ReplicateKey, replicateKeyAsks, replicateKey),
		entry(s, kms.UpdatePrimaryRegion, updatePrimaryRegionAsks, updatePrimaryRegion),
		entry(s, kms.GetParametersForImport, getParametersForImportAsks, getParametersForImport),
		entry(s, kms.ImportKeyMaterial, importKeyMaterialAsks, importKeyMaterial),
		entry(s, kms.DeleteImportedKeyMaterial, manage("kms:DeleteImportedKeyMaterial", func(in *kms.DeleteImportedKeyMaterialInput) string { return in.KeyId }), deleteImportedKeyMaterial),

		entry(s, kms.GetKeyPolicy, manage("kms:GetKeyPolicy", func(in *kms.GetKeyPolicyInput) string { return in.KeyId }), getKeyPolicy),
		entry(s, kms.PutKeyPolicy, putKeyPolicyAsks, putKeyPolicy),
		entry(s, kms.ListKeyPolicies, manage("kms:ListKeyPolicies", func(in *kms.ListKeyPoliciesInput) string { return in.KeyId }), listKeyPolicies),

		entry(s, kms.TagResource, tagResourceAsks, tagResource),
		entry(s, kms.UntagResource, untagResourceAsks, untagResource),
		entry(s, kms.ListResourceTags, manage("kms:ListResourceTags", func(in *kms.ListResourceTagsInput) string { return in.KeyId }), listResourceTags),

		entry(s, kms.CreateAlias, createAliasAsks, createAlias),
		entry(s, kms.UpdateAlias, updateAliasAsks, updateAlias),
		entry(s, kms.DeleteAlias, deleteAliasAsks, deleteAlias),
		entry(s, kms.ListAliases, onAccount[kms.ListAliasesInput]("kms:ListAliases"), listAliases),

		entry(s, kms.Encrypt, encryptAsks, encrypt),
		entry(s, kms.Decrypt, decryptAsks, decrypt),
		entry(s, kms.ReEncrypt, reEncryptAsks, reEncrypt),
		entry(s, kms.GenerateDataKey, generateDataKeyAsks, generateDataKey),
		entry(s, kms.GenerateDataKeyWithoutPlaintext, generateDataKeyWithoutPlaintextAsks, generateDataKeyWithoutPlaintext),
		entry(s, kms.GenerateRandom, generateRandomAsks, generateRandom),

		entry(s, kms.GetPublicKey, getPublicKeyAsks, getPublicKey),
		entry(s, kms.Sign, signAsks, sign),
		entry(s, kms.Verify, verifyAsks, verify),
		entry(s, kms.GenerateMac, generateMacAsks, generateMac),
		entry(s, kms.VerifyMac, verifyMacAsks, verifyMac),
		entry(s, kms.DeriveSharedSecret, deriveSharedSecretAsks, deriveSharedSecret),
		entry(s, kms.GenerateDataKeyPair, generateDataKeyPairAsks, generateDataKeyPair),
		entry(s, kms.GenerateDataKeyPairWithoutPlaintext, generateDataKeyPairWithoutPlaintextAsks, generateDataKeyPairWithoutPlaintext),

		entry(s, kms.CreateCustomKeyStore, onAccount[kms.CreateCustomKeyStoreInput]("kms:CreateCustomKeyStore"), createCustomKeyStore),
		entry(s, kms.DescribeCustomKeyStores, onAccount[kms.DescribeCustomKeyStoresInput]("kms:DescribeCustomKeyStores"), describeCustomKeyStores),
		entry(s, kms.UpdateCustomKeyStore, onAccount[kms.UpdateCustomKeyStoreInput]("kms:UpdateCustomKeyStore"), updateCustomKeyStore),
		entry(s, kms.DeleteCustomKeyStore, onAccount[kms.DeleteCustomKeyStoreInput]("kms:DeleteCustomKeyStore"), deleteCustomKeyStore),
		entry(s, kms.ConnectCustomKeyStore, onAccount[kms.ConnectCustomKeyStoreInput]("kms:ConnectCustomKeyStore"), connectCustomKeyStore),
		entry(s, kms.DisconnectCustomKeyStore, onAccount[kms.DisconnectCustomKeyStoreInput]("kms:DisconnectCustomKeyStore"), disconnectCustomKeyStore),

		entry(s, kms.CreateGrant, createGrantAsks, createGrant),
		entry(s, kms.ListGrants, listGrantsAsks, listGrants),
		entry(s, kms.ListRetirableGrants, listRetirableGrantsAsks, listRetirableGrants),
		entry(s, kms.RetireGrant, retireGrantAsks, retireGrant),
		entry(s, kms.RevokeGrant, revokeGrantAsks, revokeGrant),
	}
}

// A target fills the call with its subjects; entry makes the asks of them.
type target[I any] func(ctx context.Context, c *call, in *I) error

var (
	errNoTarget = errors.New("service/kms: the handler ran without its target")
	errNoRegion = errors.New("service/kms: a request for a Region that is not served")
)

// entry joins the halves of an operation. What the target found reaches the
// handler through the call's Local, so that the handler acts on exactly what
// was authorised.
func entry[I, O any](s *Service, op wire.Op[I, O], find target[I], serve func(context.Context, *call, *I) (*O, error)) operation.Operation {
	return operation.New(op,
		func(ctx context.Context, in *I) (*O, error) {
			c, ok := operation.CallFrom(ctx).Local.(*call)
			if !ok {
				return nil, errNoTarget
			}
			ctx, err := c.proven(ctx)
			if err != nil {
				return nil, fault(err)
			}
			out, err := serve(ctx, c, in)
			if err != nil {
				return nil, fault(err)
			}
			return out, nil
		},
		func(ctx context.Context, in *I) ([]operation.Ask, error) {
			c := &call{Call: operation.CallFrom(ctx)}
			var served bool
			if c.keys, served = s.keys.In(c.Region); !served {
				return nil, errNoRegion // the gate lets no such request in
			}
			if err := find(ctx, c, in); err != nil {
				return nil, fault(err)
			}
			if err := c.refused(); err != nil {
				return nil, fault(err)
			}
			c.Local = c
			asks := make([]operation.Ask, 0, len(c.subjects))
			for _, subj := range c.subjects {
				asks = append(asks, subj.ask(subj.key))
			}
			return asks, nil
		})
}
