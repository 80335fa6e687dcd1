package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
)

// Import of key material (kms-api section 10). The owner of a key of origin
// EXTERNAL asks for Parameters, wraps the material for the public key in them,
// and brings both back to ImportMaterial. Only the boundary sees what was
// wrapped; here it is a token like any other, which can come again after it
// was deleted or has expired: its id depends on nothing but the material and
// the key.

// Whether imported material is one that the key had before.
const (
	ImportNew      = "NEW_KEY_MATERIAL"
	ImportExisting = "EXISTING_KEY_MATERIAL"
)

// Whether imported material ends.
const (
	Expires       = "KEY_MATERIAL_EXPIRES"
	DoesNotExpire = "KEY_MATERIAL_DOES_NOT_EXPIRE"
)

const importLifetime = 24 * time.Hour

// Parameters are what the owner of a key needs to wrap its material.
type Parameters struct {
	PublicKey []byte // SPKI
	Token     []byte // to be given back with what was wrapped
	ValidTo   time.Time
}

// An Import is wrapped key material as its owner brings it.
type Import struct {
	Token, Wrapped  []byte
	Type            string // ImportNew, ImportExisting; empty: new as long as the key never had any
	MaterialID      string // the id that the material must have; empty: any that the key has
	Description     string // empty: none, or that which it had
	ExpirationModel string // empty: Expires
	ValidTo         time.Time
}

// wrappingBits are the key pairs that material can be wrapped with.
var wrappingBits = map[string]int{"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}

// wraps refuses what cannot carry the material of a key: RSAES_PKCS1_V1_5
// always, and OAEP alone where the material is longer than the modulus allows.
func wraps(key *Key, algorithm, wrappingSpec string) error {
	oaep := algorithm == "RSAES_OAEP_SHA_1" || algorithm == "RSAES_OAEP_SHA_256"
	wrap := algorithm == "RSA_AES_KEY_WRAP_SHA_1" || algorithm == "RSA_AES_KEY_WRAP_SHA_256"
	switch {
	case !oaep && !wrap:
		return refuse(Unsupported, "WrappingAlgorithm %s is not supported.", algorithm)
	case wrappingBits[wrappingSpec] == 0:
		return refuse(Unsupported, "WrappingKeySpec %s is not supported.", wrappingSpec)
	case oaep && (strings.HasPrefix(key.Spec, "RSA_") || key.Spec == "ECC_NIST_P521" && wrappingSpec == "RSA_2048"):
		return refuse(Unsupported, "WrappingAlgorithm %s with WrappingKeySpec %s cannot wrap key material of KeySpec %s.", algorithm, wrappingSpec, key.Spec)
	}
	return nil
}

// external refuses keys whose material is not the owner's.
func (k *Key) external() error {
	if k.Origin == OriginExternal {
		return nil
	}
	return refuse(Unsupported, "%s origin is %s which is not valid for this operation.", k.ARN, k.Origin)
}

// imports says whether the key takes an operation of the import family.
func (k *Key) imports(operation string) error {
	if err := k.external(); err != nil {
		return err
	}
	return k.State.Permits(operation, k.ARN)
}

// ImportParameters makes a key pair for one import into the key.
func (k *Keys) ImportParameters(ctx context.Context, key *Key, algorithm, wrappingSpec string) (Parameters, error) {
	if err := key.imports("GetParametersForImport"); err != nil {
		return Parameters{}, err
	}
	if err := wraps(key, algorithm, wrappingSpec); err != nil {
		return Parameters{}, err
	}
	valid := k.now().Add(importLifetime)
	public, token, err := k.cfg.Boundary.ImportBegin(ctx, wrappingBits[wrappingSpec], algorithm, key.boundary())
	if err != nil {
		return Parameters{}, k.boundaryError("begin an import", key, err)
	}
	return Parameters{PublicKey: public, Token: token, ValidTo: valid}, nil
}

// Check refuses an import whose parameters contradict each other, and fills
// its defaults in. It needs no key.
func (in *Import) Check(now time.Time) error {
	if in.ExpirationModel == "" {
		in.ExpirationModel = Expires
	}
	switch expires := in.ExpirationModel == Expires; {
	case expires && in.ValidTo.IsZero():
		return refuse(Validation, "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
	case !expires && !in.ValidTo.IsZero():
		return refuse(Validation, "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
	case expires && !in.ValidTo.After(now):
		return refuse(Validation, "The validTo date must be in the future")
	case expires && in.ValidTo.After(now.Add(longestImport)):
		return refuse(Validation, "The validTo date must not be more than 365 days in the future")
	case in.Type == ImportNew && in.MaterialID != "":
		return refuse(Validation, "KeyMaterialId cannot be specified when ImportType is NEW_KEY_MATERIAL")
	}
	return nil
}

// longestImport is how far ahead the end of imported material may lie.
const longestImport = 365 * 24 * time.Hour

var errMaterial = refuse(IncorrectKeyMaterial, "The key material in the request is not what is expected for this KMS key.")

// ImportMaterial gives a key the material that its owner brings, and says by
// which id it is known from then on.
func (k *Keys) ImportMaterial(ctx context.Context, key *Key, in Import) (materialID string, err error) {
	if err := in.Check(k.now()); err != nil {
		return "", err
	}
	if err := key.imports("ImportKeyMaterial"); err != nil {
		return "", err
	}
	if key.Spec != SpecSymmetric && (in.Type != "" || in.MaterialID != "" || in.Description != "") {
		return "", refuse(Unsupported, "ImportType, KeyMaterialId and KeyMaterialDescription are valid only for symmetric encryption keys.")
	}
	shut := false
	err = k.editFamily(ctx, key, "ImportKeyMaterial", func(f *family) error {
		next := f.own.next
		spec := next.boundary()
		// A key without any token has none that could be of an earlier epoch: its fence may be further than a store knows
		// that was rolled back, and its owner, who brings the material, could not enable it.
		spec.Present = !next.fences()
		made, err := k.cfg.Boundary.ImportKey(ctx, in.Token, in.Wrapped, spec, in.ValidTo) // while the key is locked: see turn
		if err != nil {
			return k.importError(next, err)
		}
		if spec.Present {
			next.fence = fenceRecord{Epoch: made.Epoch}
		}
		if shut = next.shut(); shut {
			next.fence.Behind = true // until its fence is known to be closed
		}
		materialID = hex.EncodeToString(made.MaterialID[:])
		return next.take(made, &in, k.now())
	})
	if err == nil && shut {
		// Nothing had to be closed as long as there was no token: now there is.
		if err := k.repair(ctx, key.entry); err != nil {
			return "", k.boundaryError("close the fence", key, err)
		}
	}
	return materialID, err
}

// importError is what the boundary's refusal means to the one who imports.
func (k *Keys) importError(key *Key, err error) error {
	switch {
	case errors.Is(err, hsm.ErrWrongToken), errors.Is(err, hsm.ErrStale):
		// Whatever came as a token was made for another key, by another domain, or by nobody.
		return &Error{Kind: InvalidImportToken, Message: "The import token is not valid for this KMS key.", Err: err}
	case errors.Is(err, hsm.ErrExpired):
		return &Error{Kind: ExpiredImportToken, Message: "The import token has expired.", Err: err}
	case errors.Is(err, hsm.ErrAuthFailed):
		return errCiphertext
	case errors.Is(err, hsm.ErrMaterial):
		return errMaterial
	}
	return k.boundaryError("import", key, err)
}

// take puts imported material in its place among the key's.
func (k *Key) take(made hsm.Key, in *Import, now time.Time) error {
	id := hex.EncodeToString(made.MaterialID[:])
	if in.MaterialID != "" && in.MaterialID != id {
		return errMaterial
	}
	if in.Type == ImportNew {
		if err := k.leads(); err != nil {
			return err // new material comes to the primary key first; a replica takes what that has
		}
	}
	ever := len(k.materials) > 0
	isNew := in.Type == ImportNew || in.Type == "" && !ever
	known := k.material(made.MaterialID)
	waiting := k.pending()
	switch {
	case !isNew && known == nil:
		return errMaterial
	case isNew && known != nil && known != waiting:
		return errMaterial // it would rotate to what it has used before
	case isNew && ever && k.Spec != SpecSymmetric:
		return errMaterial // only symmetric keys change their material (kms-api section 10)
	case isNew && waiting != nil && known == nil:
		return refuse(InvalidState, "New key material (id: %s) cannot be imported into KMS key %s, because another key material (id: %x) is pending rotation.",
			id, k.ID, waiting.ID)
	}
	k.materials = slices.Clone(k.materials)
	if known == nil {
		k.materials = append(k.materials, material{ID: made.MaterialID[:], Created: now.UnixMilli(), Pending: ever})
	}
	m := k.material(made.MaterialID)
	m.EKT, m.ValidTo = made.EKT, 0
	k.Public = made.Public // the same with every import, since another material would be refused
	if !in.ValidTo.IsZero() {
		m.ValidTo = in.ValidTo.UnixMilli()
	}
	if in.Description != "" {
		m.Description = in.Description
	}
	return nil
}

// DeleteMaterial takes an imported material out of the store; an empty id
// means the current one. A key that has used it waits for its return.
//
// The fence of the key moves on with it, so that a token of the material that
// lies in a backup opens nothing; the key's other tokens go along. What has
// expired needs no fence: its end is sealed into the token.
func (k *Keys) DeleteMaterial(ctx context.Context, key *Key, materialID string) (deleted string, err error) {
	const operation = "DeleteImportedKeyMaterial"
	if err := key.imports(operation); err != nil {
		return "", err
	}
	f, unlock, err := k.family(ctx, key.entry)
	if err != nil {
		return "", err
	}
	defer unlock()
	which := func(m *material) bool { return hex.EncodeToString(m.ID) == deleted }
	check := func(now *Key) error {
		if k.over(now) {
			return missing(now.ARN)
		}
		if err := now.State.Permits(operation, now.ARN); err != nil {
			return err
		}
		if deleted = materialID; deleted == "" {
			deleted = now.MaterialID
		}
		if materialID != "" && !slices.ContainsFunc(now.materials, func(m material) bool { return which(&m) }) {
			return refuse(NotFound, "Key material (id: %s) is not associated with the KMS key %s.", materialID, now.ARN)
		}
		return nil
	}
	edit := func() error {
		if err := check(f.own.next); err != nil {
			return err
		}
		f.own.next.drop(which)
		return nil
	}
	now := f.own.cur.asOf(k.now())
	if err := check(now); err != nil {
		return "", err
	}
	if !slices.ContainsFunc(now.materials, func(m material) bool { return which(&m) && len(m.EKT) > 0 }) {
		return deleted, f.change(ctx, edit) // there is no token of it
	}
	err = f.refence(ctx, edit)
	if errors.Is(err, hsm.ErrFenced) {
		// The store was rolled back: what tokens it has are dead.
		err = f.change(ctx, edit)
	}
	return deleted, err
}
