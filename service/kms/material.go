package kms

import (
	"context"
	"strconv"
	"time"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/operation"
)

// Import of key material, and rotation (kms-api sections 9 and 10).

// materialMetadata sets what metadata says of a key's material. The id is
// that of a symmetric key which has its material.
func materialMetadata(m *kms.KeyMetadata, key *keys.Key) {
	if key.Symmetric() && key.Origin != keys.OriginStore && key.State != keys.StatePendingImport && key.State != keys.StateCreating {
		m.CurrentKeyMaterialId = key.MaterialID
	}
	model, validTo := key.Expiration()
	m.ExpirationModel, m.ValidTo = kms.ExpirationModelType(model), validTo
}

func getParametersForImportAsks(ctx context.Context, c *call, in *kms.GetParametersForImportInput) error {
	return c.resolve(ctx, "kms:GetParametersForImport", in.KeyId, ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) {
			k.Set("kms:WrappingAlgorithm", string(in.WrappingAlgorithm))
			k.Set("kms:WrappingKeySpec", string(in.WrappingKeySpec))
		}
	})
}

func getParametersForImport(ctx context.Context, c *call, in *kms.GetParametersForImportInput) (*kms.GetParametersForImportOutput, error) {
	p, err := c.keys.ImportParameters(ctx, c.key(), string(in.WrappingAlgorithm), string(in.WrappingKeySpec))
	if err != nil {
		return nil, err
	}
	return &kms.GetParametersForImportOutput{KeyId: c.key().ARN, PublicKey: p.PublicKey, ImportToken: p.Token, ParametersValidTo: p.ValidTo}, nil
}

// imported is what the request brings, completed with the defaults.
func imported(c *call, in *kms.ImportKeyMaterialInput) (keys.Import, error) {
	i := keys.Import{
		Token: in.ImportToken, Wrapped: in.EncryptedKeyMaterial, Type: string(in.ImportType), MaterialID: in.KeyMaterialId,
		Description: in.KeyMaterialDescription, ExpirationModel: string(in.ExpirationModel), ValidTo: in.ValidTo,
	}
	return i, i.Check(c.Time)
}

func importKeyMaterialAsks(ctx context.Context, c *call, in *kms.ImportKeyMaterialInput) error {
	i, err := imported(c, in)
	if err != nil {
		return err
	}
	return c.resolve(ctx, "kms:ImportKeyMaterial", in.KeyId, ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) {
			k.Set("kms:ExpirationModel", i.ExpirationModel)
			if !i.ValidTo.IsZero() {
				k.Set("kms:ValidTo", epoch(i.ValidTo))
			}
		}
	})
}

// epoch is an instant as seconds since 1970 with a fraction, which numeric and
// date operators compare alike: as policies for kms:ValidTo have it.
func epoch(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

func importKeyMaterial(ctx context.Context, c *call, in *kms.ImportKeyMaterialInput) (*kms.ImportKeyMaterialOutput, error) {
	i, err := imported(c, in)
	if err != nil {
		return nil, err
	}
	id, err := c.keys.ImportMaterial(ctx, c.key(), i)
	if err != nil {
		return nil, err
	}
	return &kms.ImportKeyMaterialOutput{KeyId: c.key().ARN, KeyMaterialId: id}, nil
}

func deleteImportedKeyMaterial(ctx context.Context, c *call, in *kms.DeleteImportedKeyMaterialInput) (*kms.DeleteImportedKeyMaterialOutput, error) {
	id, err := c.keys.DeleteMaterial(ctx, c.key(), in.KeyMaterialId)
	if err != nil {
		return nil, err
	}
	return &kms.DeleteImportedKeyMaterialOutput{KeyId: c.key().ARN, KeyMaterialId: id}, nil
}

func rotationPeriod(in *kms.EnableKeyRotationInput) int {
	return limit(in.RotationPeriodInDays, keys.DefaultRotationDays)
}

func enableKeyRotationAsks(ctx context.Context, c *call, in *kms.EnableKeyRotationInput) error {
	return c.resolve(ctx, "kms:EnableKeyRotation", in.KeyId, ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) { k.Set("kms:RotationPeriodInDays", strconv.Itoa(rotationPeriod(in))) }
	})
}

func enableKeyRotation(ctx context.Context, c *call, in *kms.EnableKeyRotationInput) (*kms.EnableKeyRotationOutput, error) {
	return &kms.EnableKeyRotationOutput{}, c.keys.EnableRotation(ctx, c.key(), rotationPeriod(in))
}

func disableKeyRotation(ctx context.Context, c *call, in *kms.DisableKeyRotationInput) (*kms.DisableKeyRotationOutput, error) {
	return &kms.DisableKeyRotationOutput{}, c.keys.DisableRotation(ctx, c.key())
}

// getKeyRotationStatus never shows a rotation on demand under way: it is done
// when its call is answered.
func getKeyRotationStatus(ctx context.Context, c *call, in *kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput, error) {
	days, next, err := c.keys.RotationStatus(c.key())
	if err != nil {
		return nil, err
	}
	out := &kms.GetKeyRotationStatusOutput{KeyId: c.key().ID, KeyRotationEnabled: new(days > 0)}
	if days > 0 {
		out.RotationPeriodInDays, out.NextRotationDate = new(int32(days)), next
	}
	return out, nil
}

func rotateKeyOnDemand(ctx context.Context, c *call, in *kms.RotateKeyOnDemandInput) (*kms.RotateKeyOnDemandOutput, error) {
	return &kms.RotateKeyOnDemandOutput{KeyId: c.key().ID}, c.keys.RotateOnDemand(ctx, c.key())
}

func listKeyRotations(ctx context.Context, c *call, in *kms.ListKeyRotationsInput) (*kms.ListKeyRotationsOutput, error) {
	rs, next, err := c.keys.ListRotations(c.key(), in.IncludeKeyMaterial == kms.IncludeKeyMaterialAllKeyMaterial, in.Marker, limit(in.Limit, 100))
	if err != nil {
		return nil, err
	}
	out := &kms.ListKeyRotationsOutput{Rotations: []kms.RotationsListEntry{}, NextMarker: next, Truncated: new(next != "")}
	for _, r := range rs {
		out.Rotations = append(out.Rotations, kms.RotationsListEntry{
			KeyId: c.key().ID, KeyMaterialId: r.MaterialID, KeyMaterialDescription: r.Description,
			ImportState: kms.ImportState(r.ImportState), KeyMaterialState: kms.KeyMaterialState(r.State),
			ExpirationModel: kms.ExpirationModelType(r.ExpirationModel), ValidTo: r.ValidTo,
			RotationDate: r.Date, RotationType: kms.RotationType(r.Type),
		})
	}
	return out, nil
}
